"""A measured figure beside what it must reach, a table of them, and times taken in turns.

>>> print(markdown([Figure("import avi_lib", 0.04, "CPU s", "<= 0.3", "median of 7")]))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Kind = TypeVar("Kind")


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


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch inside, as many as before outside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_turns_ms(
    work: Mapping[Kind, Callable[[], object]], turns: int, clock: Callable[[], float] = time.process_time
) -> dict[Kind, list[float]]:
    """Milliseconds of each piece of work in each turn, one piece after the other; a first turn warms up.

    clock: seconds, those of the processor unless another is given.
    """
    spent: dict[Kind, list[float]] = {kind: [] for kind in work}
    for turn in range(turns + 1):
        for kind, task in work.items():
            begun = clock()
            task()
            if turn:
                spent[kind].append(1000 * (clock() - begun))
    return spent


def spread(values: Sequence[float], digits: int = 1) -> str:
    """How many values a median is of, and between which they lie."""
    return f"median of {len(values)}, {min(values):.{digits}f} to {max(values):.{digits}f}"
