"""The evaluation report: scores with intervals in tables, how the judge sees faces, pictures; kept as JSON and HTML.

>>> table = tabulate("held_out", "Held-out speakers", how, rows, MEASURES)
>>> report = Report("Evaluation", about={"seed": 0}, tables=(table,))
>>> report.write(Path("outputs/evaluation"))        # report.json and report.html, each whole or not at all
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from avi_lib.errors import InputError
from avi_lib.evaluation.measures import Measure
from avi_lib.evaluation.page import render_page
from avi_lib.files import atomic_path, check_writable, make_folder

RESAMPLES = 1000
SHARE = 0.95
LEAST_GROUPS = 5
DIFFERENCE = "difference"
"""The column of a second system less a first one, clip by clip."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % bootstrap interval; NaN bounds where one clip, or one group, tells nothing of others.

    Attributes:
        value, low, high: in the measure's unit.
        clips: that have the measure.
        resampled: what was drawn anew: the groups that rows name, or "clips" where these are few.
    """

    value: float
    low: float
    high: float
    clips: int
    resampled: str


@dataclass(frozen=True)
class Row:
    """What one system scores on one clip, by the names of measures; NaN where there is no evidence.

    `group` names whom the clip is of: those of one group are alike and are drawn anew together.
    """

    system: str
    group: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """Estimates by measure and system, and how they were measured: split, masks, what is shuffled."""

    name: str
    title: str
    how: str
    measures: Mapping[str, Measure]
    systems: tuple[str, ...]
    estimates: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Counts of what was asked (rows) and what was seen (columns)."""

    name: str
    title: str
    how: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Int[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows; `section` names the table below which it stands, "" for the end of the page."""

    title: str
    png: bytes
    section: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that was measured; `about` says of what, with which settings."""

    title: str
    about: Mapping[str, Any]
    tables: tuple[Table, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report without its pictures; what is not known is None."""
        return _known(
            {
                "title": self.title,
                "about": dict(self.about),
                "tables": {table.name: _table_dict(table) for table in self.tables},
                "matrices": {
                    each.name: {
                        "title": each.title,
                        "how": each.how,
                        "rows": each.rows,
                        "columns": each.columns,
                        "counts": each.counts.tolist(),
                    }
                    for each in self.matrices
                },
                "notes": list(self.notes),
            }
        )

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `report.json` and `report.html` into a folder, atomically; their paths."""
        make_folder(folder)
        paths = folder / "report.json", folder / "report.html"
        self.write_json(paths[0])
        self.write_html(paths[1])
        return paths

    def write_json(self, path: Path) -> None:
        """Write the report without its pictures."""
        with atomic_path(path) as temporary:
            text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", "utf-8")

    def write_html(self, path: Path) -> None:
        """Write the report as one page that needs no other file and no network."""
        check_writable(path)
        with atomic_path(path) as temporary:
            temporary.write_text(render_page(self), "utf-8")


def estimate(
    values: Float[np.ndarray, " clips"],
    groups: Sequence[str],
    rng: np.random.Generator,
    named: str = "speakers",
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean over clips that have a value, and its percentile interval.

    Clips of one speaker are alike, so that speakers are drawn anew and not clips (a cluster bootstrap), where there
    are `LEAST_GROUPS` of them; with fewer such an interval would be a guess, and clips are. `named` says what the
    groups are.
    """
    if len(values) != len(groups):
        raise InputError("a group for every clip", f"{len(groups)} for {len(values)}", "name them all")
    have = np.isfinite(values)
    numbers, names = values[have].astype(float), np.array(groups, str)[have]
    kinds, member = np.unique(names, return_inverse=True)
    resampled = named if len(kinds) >= LEAST_GROUPS else "clips"
    if len(numbers) < 2:
        value = float(numbers[0]) if len(numbers) else math.nan
        return Estimate(value, math.nan, math.nan, len(numbers), "clips")
    if resampled == "clips":
        member, kinds = np.arange(len(numbers)), np.arange(len(numbers))
    sums = np.bincount(member, numbers, minlength=len(kinds))
    counts = np.bincount(member, minlength=len(kinds))
    drawn = rng.integers(len(kinds), size=(resamples, len(kinds)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers), resampled)


def estimate_of(
    statistic: Callable[[Sequence[Any]], float], items: Sequence[Any], rng: np.random.Generator, resamples: int = 200
) -> Estimate:
    """A statistic of all items together, such as F1, with the percentile interval over items drawn anew."""
    if len(items) < 2:
        return Estimate(statistic(items) if items else math.nan, math.nan, math.nan, len(items), "clips")
    drawn = rng.integers(len(items), size=(resamples, len(items)))
    found = np.array([statistic([items[i] for i in row]) for row in drawn])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [(1 - SHARE) / 2, (1 + SHARE) / 2]) if len(found) else (math.nan, math.nan)
    return Estimate(float(statistic(items)), float(low), float(high), len(items), "clips")


def tabulate(
    name: str,
    title: str,
    how: str,
    rows: Sequence[Row],
    measures: Mapping[str, Measure],
    seed: int = 0,
    named: str = "speakers",
) -> Table:
    """Estimates of every system on every measure that some clip has, systems in the order of their first row."""
    systems = tuple(dict.fromkeys(row.system for row in rows))
    estimates = {}
    for measure in measures:
        for system in systems:
            own = [row for row in rows if row.system == system]
            values = np.array([row.scores.get(measure, math.nan) for row in own], float)
            rng = np.random.default_rng(seed)
            estimates[measure, system] = estimate(values, [row.group for row in own], rng, named)
    measured = {key: value for key, value in measures.items() if any(estimates[key, each].clips for each in systems)}
    kept = {key: value for key, value in estimates.items() if key[0] in measured}
    return Table(name, title, how, measured, systems, kept)


def differences(rows: Sequence[Row]) -> list[Row]:
    """The second system less the first on every clip, as rows of `DIFFERENCE`.

    Both have the same clips in the same order; InputError when there are not two systems, or not as many clips of both.
    """
    systems = tuple(dict.fromkeys(row.system for row in rows))
    own = [[row for row in rows if row.system == system] for system in systems]
    if len(own) != 2 or len(own[0]) != len(own[1]):
        got = ", ".join(f"{len(each)} of {name}" for name, each in zip(systems, own, strict=True))
        raise InputError("two systems, scored on the same clips", got, "score both on all")
    return [
        Row(DIFFERENCE, one.group, {name: other.scores[name] - value for name, value in one.scores.items()})
        for one, other in zip(*own, strict=True)
    ]


def markdown_of(table: Table) -> str:
    """The table in Markdown: a row a measure, a column a system, intervals in brackets."""
    lines = [f"| {table.title} | {' | '.join(table.systems)} |", "|---" * (1 + len(table.systems)) + "|"]
    for name, measure in table.measures.items():
        cells = (_said(table.estimates.get((name, system))) for system in table.systems)
        lines.append(f"| {measure.title}{measure.unit and f', {measure.unit}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(found: Estimate | None) -> str:
    if found is None or not math.isfinite(found.value):
        return "-"
    between = f" ({found.low:.3f} to {found.high:.3f})" if math.isfinite(found.low) else ""
    return f"{found.value:.3f}{between}"


def joined(table: Table, measures: Mapping[str, Measure], estimates: Mapping[tuple[str, str], Estimate]) -> Table:
    """The table with measures of which only the whole has a value, such as F1."""
    return replace(table, measures={**table.measures, **measures}, estimates={**table.estimates, **estimates})


def _table_dict(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "how": table.how,
        "measures": {
            name: {
                **asdict(measure),
                "systems": {
                    system: asdict(table.estimates[name, system])
                    for system in table.systems
                    if (name, system) in table.estimates
                },
            }
            for name, measure in table.measures.items()
        },
    }


def _known(value: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {str(key): _known(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
