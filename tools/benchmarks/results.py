"""docs/results.md: a section a subject, each with its command and a table of figures beside their targets.

>>> text = with_section(path.read_text(), "talk", figures, "2 cores, torch 2.13.0")
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tools.benchmarks.measuring import Figure

TITLE = """# Results

`make bench` writes this file: every section that can be measured on the machine at hand, the others as they were.
Compare ratios rather than times. A target that a figure does not reach is marked **missed**.
"""
HEADER = "| figure | measured | target | | how |\n|---|---|---|---|---|"


def is_missed(figure: Figure) -> bool:
    """Whether the target is a bound (`<= 3`, `>= 0.5`, `0.7 to 1.3`, or a bare number to reach) that is not kept."""
    if both := re.match(r"(-?\d+(?:\.\d+)?) to (-?\d+(?:\.\d+)?)", figure.must):
        return not float(both[1]) <= figure.value <= float(both[2])
    bound = re.match(r"(<=|>=)?\s*(-?\d+(?:\.\d+)?)", figure.must)
    if not bound:
        return False
    return figure.value > float(bound[2]) if bound[1] == "<=" else not figure.value >= float(bound[2])


def row(figure: Figure) -> str:
    """A line of the table."""
    mark = "**missed**" if is_missed(figure) else ""
    value = f"{figure.value:d}" if isinstance(figure.value, int) else f"{figure.value:.2f}"
    return f"| {figure.name} | {value} {figure.unit} | {figure.must} | {mark} | {figure.how} |"


def with_section(text: str, name: str, figures: Sequence[Figure], machine: str) -> str:
    """The file's text with one section made of these figures, in its old place or at the end."""
    lines = [f"## {name}", "", f"`python -m tools.benchmarks --only {name}`; {machine}.", "", HEADER]
    section = "\n".join([*lines, *map(row, figures)]) + "\n"
    before, *sections = re.split(r"(?m)^(?=## )", text or TITLE + "\n")
    kept = {each.splitlines()[0].removeprefix("## "): each.rstrip("\n") + "\n" for each in sections}
    kept[name] = section
    return "\n".join([before.rstrip("\n") + "\n", *kept.values()])
