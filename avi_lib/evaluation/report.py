"""The evaluation report: scores with intervals in tables, how the judge sees faces, pictures; kept as JSON and HTML.

>>> table = tabulate("held_out", "Held-out speakers", how, rows, MEASURES)
>>> report = Report("Evaluation", about={"seed": 0}, tables=(table,))
>>> report.write(Path("outputs/evaluation"))        # report.json and report.html, each whole or not at all
>>> rescore([Path("mine.csv")], [Path("speech.wav")]).lines()
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from jinja2 import Environment, StrictUndefined

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MEASURES, Measure, measure_motion, speech_track
from avi_lib.face.head import load_head
from avi_lib.files import atomic_path, check_writable, make_folder
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.formats import load_arkit
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import align_phones

RESAMPLES = 1000
SHARE = 0.95
LEAST_GROUPS = 5
DIFFERENCE = "difference"
"""The column of a second system less a first one, clip by clip."""
LEAST_S = 1.0
"""Motion and sound must share at least this."""
MOST_APART_S = 0.5
"""Lengths of motion and sound that differ by more are warned of."""


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
        tables = {
            table.name: {
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
            for table in self.tables
        }
        matrices = {
            each.name: {name: value for name, value in vars(each).items() if name != "name"} for each in self.matrices
        }
        content = {"title": self.title, "about": dict(self.about), "tables": tables, "matrices": matrices}
        return _known({**content, "notes": list(self.notes)})

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
        check_writable(path)
        pages = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
        pages.filters |= {
            "number": _number,
            "words": _words,
            "base64": lambda png: base64.b64encode(png).decode("ascii"),
        }
        template = pages.from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
        with atomic_path(path) as temporary:
            temporary.write_text(template.render(report=self), "utf-8")


def _number(value: float) -> str:
    """Two decimals, three for what is small; a minus sign and never a minus zero."""
    digits = 3 if 0 < abs(value) < 0.1 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _known(value: Any) -> Any:
    """The same for JSON, which has no arrays, no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {str(key): _known(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


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
    if groups and len(values) != len(groups):
        raise InputError("a group for every clip", f"{len(groups)} for {len(values)}", "name them all")
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
) -> Table:
    """Estimates of every system on every measure that some clip has, systems in the order of their first row."""
    systems = tuple(dict.fromkeys(row.system for row in rows))
    estimates, measured = {}, {}
    for key, measure in measures.items():
        for system in systems:
            own = [row for row in rows if row.system == system]
            values = np.array([row.scores.get(key, math.nan) for row in own], float)
            groups = [row.group for row in own]
            estimates[key, system] = estimate(values, np.random.default_rng(seed), groups, named=named)
        if any(estimates[key, system].clips for system in systems):
            measured[key] = measure
    return Table(name, title, how, measured, systems, {key: v for key, v in estimates.items() if key[0] in measured})


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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars and line ends in cells are replaced, marks and tags are shown and not followed."""
    marks = {mark: f"\\{mark}" for mark in "\\`*[]$"}
    shown = str.maketrans({"|": "/", "&": "&amp;", "<": "&lt;", ">": "&gt;", **marks})
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(str(cell).translate(shown).split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def markdown_of(table: Table) -> str:
    """The table in Markdown: a row a measure, a column a system, intervals in brackets."""

    def cell(found: Estimate | None) -> str:
        if found is None or not math.isfinite(found.value):
            return "-"
        between = f" ({found.low:.3f} to {found.high:.3f})" if math.isfinite(found.low) else ""
        return f"{found.value:.3f}{between}"

    rows = [
        (
            f"{each.title}{each.unit and f', {each.unit}'}",
            *(cell(table.estimates.get((name, s))) for s in table.systems),
        )
        for name, each in table.measures.items()
    ]
    return markdown_table((table.title, *table.systems), rows)


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


# Anyone's motion, scored against the speech it goes with, and against a reference motion where there is one.


class Scored(NamedTuple):
    """A motion's scores by the names of `MEASURES`, NaN where there is no evidence."""

    path: Path
    speech: Path
    reference: Path | None
    scores: dict[str, float]
    missing_channels: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class Rescored:
    """The scores of some motions."""

    motions: tuple[Scored, ...]

    def report(self, title: str, seed: int = 0) -> Report:
        """Their means, with intervals where there are several."""
        rows = [Row("motion", str(each.speech), each.scores) for each in self.motions]
        how = (
            f"Motion clips: {len(self.motions)}. Phones are recognised in the recording, or aligned with its "
            "transcript where that is given. What needs a reference motion is left out without one."
        )
        table = tabulate("motion", "Scores", how, rows, MEASURES, seed, "recordings")
        about = {"motion": [str(each.path) for each in self.motions], "seed": seed}
        notes = tuple(f"{each.path}: {warning}" for each in self.motions for warning in each.warnings)
        return Report(title, about, (table,), notes=notes)

    def lines(self) -> list[str]:
        """For a person: means over the motions with intervals, then what to know of each."""
        [table] = self.report("motion").tables
        lines = []
        for name, measure in table.measures.items():
            found = table.estimates[name, "motion"]
            span = f"  ({found.low:.2f} to {found.high:.2f})" if np.isfinite(found.low) else ""
            lines.append(f"{measure.title:20s} {found.value:8.2f} {measure.unit:9s} {measure.counts}{span}")
        for each in self.motions:
            lines += [f"{each.path}: {warning}" for warning in each.warnings]
            if each.missing_channels:
                lines.append(f"{each.path}: without {', '.join(each.missing_channels)}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The report's object, and every motion's own scores."""
        return {**self.report("motion").as_dict(), "motions": [_known(each._asdict()) for each in self.motions]}


def rescore(
    motions: Sequence[Path],
    speeches: Sequence[Path],
    references: Sequence[Path] = (),
    text: str | None = None,
) -> Rescored:
    """Score motions.

    Args:
        motions: npz or Live Link Face CSV in the ARKIT space.
        speeches: the recording of each, or one for all.
        references: true motion of each, or one for all, or none.
        text: what is said in the one recording, for sharper times of its phones.

    Raises:
        InputError: numbers that do not go together, a file that cannot be read, motion and sound that share less than a
            second.
    """
    if not motions:
        raise InputError("at least one motion", "none", "name npz or CSV files")
    if text is not None and len(speeches) != 1:
        raise InputError("one recording with a transcript", f"{len(speeches)}", "leave the transcript out")
    for paths, what in ((speeches, "recording"), (references or speeches, "reference")):
        if len(paths) not in (1, len(motions)):
            got = f"{len(paths)} for {len(motions)}"
            raise InputError(f"one {what} for all motions, or one for each", got, "name as many")
    read = {path: load_arkit(path) for path in dict.fromkeys([*motions, *references])}  # refused before all else
    head, tracks, found = load_head(), {}, []
    for path in dict.fromkeys(speeches):
        wave = load_voice(path).wave
        tracks[path] = speech_track(wave, None if text is None else align_phones(wave, text).phones)
    for number, path in enumerate(motions):
        speech = speeches[number % len(speeches)]
        truth = references[number % len(references)] if references else None
        curves, reference, track = read[path], read[truth] if truth else None, tracks[speech]
        lengths_s = {"motion": curves.duration_s, "sound": track.duration_s}
        if reference is not None:
            lengths_s["reference"] = reference.duration_s
        said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in lengths_s.items())
        shortest_s = min(lengths_s.values())
        if shortest_s < LEAST_S:
            raise InputError(f"at least {LEAST_S:g} s of motion with its sound", f"{path}: {said}", "name longer ones")
        warnings = []
        if max(lengths_s.values()) - shortest_s > MOST_APART_S:
            warnings.append(f"lengths differ: {said}; the first {shortest_s:.2f} s are scored")
        missing = [name for name, there in zip(ARKIT.channels, curves.present, strict=True) if not there]
        scores = measure_motion(curves, track, head, reference)
        found.append(Scored(path, speech, truth, scores, missing, warnings))
    return Rescored(tuple(found))
