"""The evaluation report: scores with intervals in tables, how the judge sees faces, pictures; kept as JSON and HTML.

>>> table = tabulate("held_out", "Held-out speakers", how, rows, MEASURES)
>>> report = Report("Evaluation", about={"seed": 0}, tables=(table,))
>>> report.write(Path("outputs/evaluation"))        # report.json and report.html, each whole or not at all
>>> rescore([Path("mine.csv")], [Path("speech.wav")]).lines()      # a report too
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from jinja2 import Environment, StrictUndefined
from pydantic_core import to_json

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MEASURES, Measure, measure_motion, speech_track
from avi_lib.face.head import load_head
from avi_lib.files import atomic_path, make_folder
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.formats import load_arkit
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import align_phones

RESAMPLES = 1000
SHARE = 0.95
LEAST_GROUPS = 5
DIFFERENCE = "difference"  # the column of a second system less a first one, clip by clip
LEAST_S = 1.0  # motion and sound must share at least this
MOST_APART_S = 0.5  # lengths of motion and sound that differ by more are warned of


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % bootstrap interval; NaN bounds where one clip, or one group, tells nothing of others.

    `clips` have the measure; `resampled` is what was drawn anew: the groups that rows name, or "clips" where few.
    """

    value: float
    low: float
    high: float
    clips: int
    resampled: str


class Row(NamedTuple):
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


class Scored(NamedTuple):
    """Anyone's motion and its scores by the names of `MEASURES`, NaN where there is no evidence."""

    path: Path
    speech: Path
    reference: Path | None
    scores: dict[str, float]
    missing_channels: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class Report:
    """Everything that was measured; `about` says of what, with which settings."""

    title: str
    about: Mapping[str, Any]
    tables: tuple[Table, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    motions: tuple[Scored, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report without its pictures; what is not known is None."""
        tables: dict[str, dict[str, Any]] = {}
        for table in self.tables:
            measures = {key: {**asdict(measure), "systems": {}} for key, measure in table.measures.items()}
            for (key, system), found in table.estimates.items():
                measures[key]["systems"][system] = found
            tables[table.name] = {"title": table.title, "how": table.how, "measures": measures}
        matrices = {each.name: {key: v for key, v in vars(each).items() if key != "name"} for each in self.matrices}
        content: dict[str, Any] = {"title": self.title, "about": self.about, "tables": tables, "matrices": matrices}
        content |= {"notes": self.notes, "motions": [each._asdict() for each in self.motions]}
        # JSON has no arrays, no NaN and no infinity
        plain: dict[str, Any] = json.loads(to_json(content, inf_nan_mode="null", fallback=lambda array: array.tolist()))
        return plain

    def lines(self) -> list[str]:
        """For a person: means with intervals, then what to know of every motion."""
        lines: list[str] = []
        for table in self.tables:
            for (name, _), found in table.estimates.items():
                measure = table.measures[name]
                span = f"  ({found.low:.2f} to {found.high:.2f})" if np.isfinite(found.low) else ""
                lines.append(f"{measure.title:20s} {found.value:8.2f} {measure.unit:9s} {measure.counts}{span}")
        missing = ((motion.path, ", ".join(motion.missing_channels)) for motion in self.motions)
        return [*lines, *self.notes, *(f"{path}: without {names}" for path, names in missing if names)]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `report.json` and `report.html` into a folder, atomically; their paths."""
        make_folder(folder)
        paths = folder / "report.json", folder / "report.html"
        with atomic_path(paths[0]) as temporary:
            text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", "utf-8")
        self.write_html(paths[1])
        return paths

    def write_html(self, path: Path) -> None:
        """Write the report as one page: pictures within, no script, nothing from the network, all text escaped."""
        with atomic_path(path) as temporary:
            temporary.write_text(page_of(Path(__file__).with_name("report.html"), report=self), "utf-8")


def page_of(template: Path, **values: Any) -> str:
    """A page of a template that shows these values; text is escaped."""
    pages = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    pages.filters |= {"number": _number, "words": _words, "base64": lambda png: base64.b64encode(png).decode("ascii")}
    return pages.from_string(template.read_text("utf-8")).render(values)


def _number(value: float) -> str:
    """Two decimals, three for what is small; a minus sign and never a minus zero."""
    digits = 3 if 0 < abs(value) < 0.1 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def estimate(
    values: Sequence[Any] | np.ndarray,
    rng: np.random.Generator,
    groups: Sequence[str] = (),
    statistic: Callable[[Any], float] | None = None,
    named: str = "speakers",
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of the values that are known, or another statistic of all items, and its percentile interval.

    Clips of one speaker are alike, so that speakers are drawn anew and not clips (a cluster bootstrap), where there
    are `LEAST_GROUPS` of them; with fewer such an interval would be a guess, and clips are (Efron and Tibshirani
    1993). `groups` names the speaker of every value, `named` says what the groups are.
    """
    numbers = np.arange(len(values)) if statistic else np.asarray(values, float)
    have = np.isfinite(numbers)
    count = int(have.sum())
    if count < 2:
        lone = statistic(values) if statistic and count else numbers[have].sum() if count else math.nan
        return Estimate(float(lone), math.nan, math.nan, count, "clips")
    kinds, member = np.unique(np.array(groups, str)[have] if groups else np.zeros(count), return_inverse=True)
    resampled = named if len(kinds) >= LEAST_GROUPS else "clips"
    if resampled == "clips":
        member = np.arange(count)
    drawn = rng.integers(member.max() + 1, size=(resamples, member.max() + 1))
    if statistic is None:
        sums, counts = np.bincount(member, numbers[have]), np.bincount(member)
        value, found = numbers[have].mean(), sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    else:
        value = statistic(values)
        found = np.array([statistic([values[i] for i in row]) for row in drawn])
        found = found[np.isfinite(found)]
    low, high = np.quantile(found, [(1 - SHARE) / 2, (1 + SHARE) / 2]) if len(found) else (math.nan, math.nan)
    return Estimate(float(value), float(low), float(high), count, resampled)


def tabulate(
    name: str,
    title: str,
    how: str,
    rows: Sequence[Row],
    measures: Mapping[str, Measure],
    seed: int = 0,
    named: str = "speakers",
    whole: Mapping[tuple[str, str], Estimate] = MappingProxyType({}),
) -> Table:
    """Estimates of every system on every measure that some clip has, systems in the order of their first row.

    `whole` are estimates, by measure and system, of which only all clips together have a value, such as F1.
    """
    systems = tuple(dict.fromkeys(row.system for row in rows))
    estimates = {}
    for key, system in product(measures, systems):
        own = [row for row in rows if row.system == system]
        values = np.array([row.scores.get(key, math.nan) for row in own], float)
        estimates[key, system] = estimate(values, np.random.default_rng(seed), [row.group for row in own], named=named)
    alone = {key for key, _ in whole}
    estimates = {key: found for key, found in estimates.items() if key[0] not in alone} | dict(whole)
    measured = {key: m for key, m in measures.items() if any(k == key and e.clips for (k, _), e in estimates.items())}
    return Table(name, title, how, measured, systems, {key: e for key, e in estimates.items() if key[0] in measured})


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars and line ends in cells are replaced, marks and tags are shown and not followed."""
    marks = {mark: f"\\{mark}" for mark in "\\`*[]$"}
    shown = str.maketrans({"|": "/", "&": "&amp;", "<": "&lt;", ">": "&gt;", **marks})
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(str(cell).translate(shown).split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def rescore(
    motions: Sequence[Path],
    speeches: Sequence[Path],
    references: Sequence[Path] = (),
    text: str | None = None,
    seed: int = 0,
) -> Report:
    """Score anyone's motions, npz or Live Link Face CSV in the ARKIT space, against the speech they go with.

    Recordings and true motions are of each, or one for all; `text` is what is said in the one recording, for sharper
    times of its phones. The report has means, with intervals where there are several motions.

    Raises InputError for numbers that do not go together, a file that cannot be read, and motion and sound that share
    less than a second.
    """
    if not motions:
        raise InputError("at least one motion", "none", "name npz or CSV files")
    if text is not None and len(speeches) != 1:
        raise InputError("one recording with a transcript", f"{len(speeches)}", "leave the transcript out")
    for paths, what in ((speeches, "recording"), (references or speeches, "reference")):
        if len(paths) not in (1, len(motions)):
            got = f"{len(paths)} for {len(motions)}"
            raise InputError(f"one {what} for all motions, or one for each", got, "name as many")
    read = {
        path: load_arkit(path).whole() for path in dict.fromkeys([*motions, *references])
    }  # refused before all else
    head, tracks, found = load_head(), {}, []
    for path in dict.fromkeys(speeches):
        wave = load_voice(path).wave
        tracks[path] = speech_track(wave, None if text is None else align_phones(wave, text).phones)
    for path, speech, truth in zip(motions, cycle(speeches), cycle(references or [None]), strict=False):
        curves, reference, track = read[path], read[truth] if truth else None, tracks[speech]
        lengths_s = {"motion": curves.duration_s, "sound": track.duration_s}
        lengths_s |= {"reference": reference.duration_s} if reference is not None else {}
        said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in lengths_s.items())
        shortest_s, longest_s = min(lengths_s.values()), max(lengths_s.values())
        if shortest_s < LEAST_S:
            raise InputError(f"at least {LEAST_S:g} s of motion with its sound", f"{path}: {said}", "name longer ones")
        warnings = list(curves.lines())
        if longest_s - shortest_s > MOST_APART_S:
            warnings.append(f"lengths differ: {said}; the first {shortest_s:.2f} s are scored")
        missing = [name for name, there in zip(ARKIT.channels, curves.present, strict=True) if not there]
        found.append(Scored(path, speech, truth, measure_motion(curves, track, head, reference), missing, warnings))
    how = (
        f"Motion clips: {len(found)}. Phones are recognised in the recording, or aligned with its "
        "transcript where that is given. What needs a reference motion is left out without one."
    )
    rows = [Row("motion", str(each.speech), each.scores) for each in found]
    table = tabulate("motion", "Scores", how, rows, MEASURES, seed, "recordings")
    about = {"motion": [str(path) for path in motions], "seed": seed}
    notes = tuple(f"{each.path}: {warning}" for each in found for warning in each.warnings)
    return Report("Scores of motion", about, (table,), notes=notes, motions=tuple(found))
