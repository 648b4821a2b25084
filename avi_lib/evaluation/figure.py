"""A measured figure beside what it must reach, and a table of them.

>>> print(markdown([Figure("import avi_lib", 0.04, "CPU s", "<= 0.3", "median of 7")]))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number beside what it must reach."""

    name: str
    value: float
    unit: str
    must: str
    how: str


def markdown(figures: Iterable[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | measured | must reach | how |", "|---|---|---|---|"]
    lines += [f"| {f.name} | {f.value:.2f} {f.unit} | {f.must} | {f.how} |" for f in figures]
    return "\n".join(lines)
