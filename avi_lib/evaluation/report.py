"""The evaluation report: scores with intervals in tables, how the judge sees faces, pictures; kept as JSON and HTML.

>>> table = tabulate("held_out", "Held-out speakers", how, rows, MEASURES)
>>> report = Report("Evaluation", about={"seed": 0}, tables=(table,))
>>> report.write(Path("outputs/evaluation"))        # report.json and report.html, each whole or not at all
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import MEASURES, Measure, SpeechTrack, measure_motion, speech_track
from avi_lib.face.head import Head, load_head
from avi_lib.files import atomic_path, check_writable, make_folder
from avi_lib.motion.clip import ARKIT, Curves
from avi_lib.motion.formats import read_curves
from avi_lib.speech.loading import load_speech
from avi_lib.speech.phones import align_phones

# The report as one HTML page: pictures within, no script, nothing from the network, all text escaped.


ARROWS = {"higher": "↑", "lower": "↓", "near": "≈"}
LEGEND = (
    "↑ higher is better, ↓ lower is better, ≈ best near real people. "
    "Small figures are 95 % bootstrap intervals; n is the number of clips with evidence. "
    "“–” stands for no evidence: a region that no channel moves, or no such sound."
)
_STYLE = """
:root { color-scheme: light; --ink: #22303c; --pale: #5d6f7e; --line: #d7dee4; --accent: #b4442f; --wash: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 21px; margin: 44px 0 6px; padding-top: 14px; border-top: 2px solid var(--ink); }
p { margin: 6px 0 12px; max-width: 76ch; }
.how, .legend { color: var(--pale); font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; background: var(--wash); }
th:first-child, td:first-child, th.words { text-align: left; }
td.words { text-align: left; color: var(--pale); font-size: 12.5px; min-width: 210px; max-width: 330px; }
td small { display: block; color: var(--pale); font-size: 11.5px; white-space: nowrap; }
td:first-child small { white-space: normal; }
.unit { color: var(--pale); font-weight: 400; }
.matrix { width: auto; } .matrix td, .matrix th { text-align: center; }
.matrix td:first-child, .matrix th:first-child { text-align: left; }
figure { margin: 22px 0; } figure img { max-width: 100%; border: 1px solid var(--line); }
figcaption { color: var(--pale); font-size: 14px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 14px; margin: 16px 0; }
dt { color: var(--pale); } dd { margin: 0; overflow-wrap: anywhere; }
ul { padding-left: 20px; max-width: 80ch; }
"""


def render_page(report: Report) -> str:
    """The page."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        _about(report),
        f'<p class="legend">{escape(LEGEND)}</p>',
        *(_table(table) + _pictures(report, table.name) for table in report.tables),
        *(_matrix(matrix) for matrix in report.matrices),
    ]
    sections = {table.name for table in report.tables}
    rest = [picture for picture in report.pictures if picture.section not in sections]
    if rest:
        parts += ["<h2>Pictures</h2>", *map(_picture, rest)]
    if report.notes:
        parts += ["<h2>What to know</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in report.notes), "</ul>"]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _about(report: Report) -> str:
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(_said_page(value))}</dd>" for name, value in report.about.items()
    )
    return f"<dl>{items}</dl>"


def _said_page(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _section(title: str, how: str, table: str) -> str:
    return f'<h2>{escape(title)}</h2>\n<p class="how">{escape(how)}</p>\n<div class="scroll">{table}</div>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(system)}</th>" for system in table.systems)
    return _section(
        table.title,
        table.how,
        f'<table><thead><tr><th>measure</th>{head}<th class="words">what counts</th></tr></thead>'
        f"<tbody>{''.join(_rows(table))}</tbody></table>",
    )


def _rows(table: Table) -> Iterator[str]:
    for name, measure in table.measures.items():
        unit = f' <span class="unit">{escape(measure.unit)}</span>' if measure.unit else ""
        first = (
            f"<td>{escape(measure.title)}{unit} {ARROWS[measure.better]}<small>{escape(measure.source)}</small></td>"
        )
        cells = "".join(_cell(table.estimates.get((name, system))) for system in table.systems)
        yield f'<tr>{first}{cells}<td class="words">{escape(measure.counts)}</td></tr>'


def _cell(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "<td>–</td>"
    shown = f"n {estimate.clips}"
    if math.isfinite(estimate.low):
        shown = f"{_number(estimate.low)} to {_number(estimate.high)}, {shown}"
    return f"<td>{_number(estimate.value)}<small>{shown}</small></td>"


def _number(value: float) -> str:
    """Two decimals, three for what is small; a minus sign and never a minus zero."""
    digits = 3 if 0 < abs(value) < 0.1 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _matrix(matrix: Matrix) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in matrix.columns)
    lines = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        whole = max(int(counts.sum()), 1)
        cells = "".join(
            f'<td style="background: rgba(180, 68, 47, {0.75 * count / whole:.2f})">{count or ""}</td>'
            for count in counts.tolist()
        )
        lines.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    table = f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return _section(matrix.title, matrix.how, table)


def _pictures(report: Report, section: str) -> str:
    return "".join(_picture(picture) for picture in report.pictures if picture.section == section)


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    title = escape(picture.title)
    return f'<figure><img alt="{title}" src="data:image/png;base64,{data}"><figcaption>{title}</figcaption></figure>'


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


# Anyone's motion, scored against the speech it goes with, and against a reference motion where there is one.


LEAST_S = 1.0
"""Motion and sound must share at least this."""
MOST_APART_S = 0.5
"""Lengths of motion and sound that differ by more are warned of."""


@dataclass(frozen=True)
class Scored:
    """A motion's scores by the names of `MEASURES`, NaN where there is no evidence."""

    path: Path
    speech: Path
    reference: Path | None
    scores: dict[str, float]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not known is None."""
        return {
            "path": str(self.path),
            "speech": str(self.speech),
            "reference": self.reference and str(self.reference),
            "scores": {name: value if np.isfinite(value) else None for name, value in self.scores.items()},
            "missing_channels": list(self.missing),
            "warnings": list(self.warnings),
        }


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
        table = self.report("motion").tables[0]
        lines = []
        for name, measure in table.measures.items():
            found = table.estimates[name, "motion"]
            span = f"  ({found.low:.2f} to {found.high:.2f})" if np.isfinite(found.low) else ""
            lines.append(f"{measure.title:20s} {found.value:8.2f} {measure.unit:9s} {measure.counts}{span}")
        for each in self.motions:
            lines += [f"{each.path}: {warning}" for warning in each.warnings]
            if each.missing:
                lines.append(f"{each.path}: without {', '.join(each.missing)}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The report's object, and every motion's own scores."""
        return {**self.report("motion").as_dict(), "motions": [each.as_dict() for each in self.motions]}


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
    heard_by: dict[Path, SpeechTrack] = {}
    paired = zip(motions, _spread(speeches, len(motions), "recording"), strict=True)
    truths = _spread(references, len(motions), "reference") if references else [None] * len(motions)
    found: list[Scored] = []
    loaded = [read_curves(path) for path in motions]  # before any listening: a wrong name is told at once
    true = {path: read_curves(path) for path in dict.fromkeys(truths) if path is not None}
    head = load_head()
    for (path, speech), curves, truth in zip(paired, loaded, truths, strict=True):
        if speech not in heard_by:
            heard_by[speech] = _hear(speech, text)
        reference = None if truth is None else true[truth]
        found.append(_score(path, speech, truth, curves, heard_by[speech], reference, head))
    return Rescored(tuple(found))


def _score(
    path: Path,
    speech: Path,
    truth: Path | None,
    curves: Curves,
    heard: SpeechTrack,
    reference: Curves | None,
    head: Head,
) -> Scored:
    lengths_s = {"motion": curves.clip.duration_s, "sound": heard.duration_s}
    if reference is not None:
        lengths_s["reference"] = reference.clip.duration_s
    said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in lengths_s.items())
    shortest_s = min(lengths_s.values())
    if shortest_s < LEAST_S:
        raise InputError(f"at least {LEAST_S:g} s of motion with its sound", f"{path}: {said}", "name longer ones")
    warnings = []
    if max(lengths_s.values()) - shortest_s > MOST_APART_S:
        warnings.append(f"lengths differ: {said}; the first {shortest_s:.2f} s are scored")
    missing = tuple(name for name, there in zip(ARKIT.channels, curves.present, strict=True) if not there)
    scores = measure_motion(curves, heard, head, reference)
    return Scored(path, speech, truth, scores, missing, tuple(warnings))


def _hear(path: Path, text: str | None) -> SpeechTrack:
    wave = load_speech(path).wave
    return speech_track(wave, None if text is None else align_phones(wave, text).phones)


def _spread(paths: Sequence[Path], count: int, what: str) -> list[Path]:
    if len(paths) not in (1, count):
        raise InputError(f"one {what} for all motions, or one for each", f"{len(paths)} for {count}", "name as many")
    return list(paths) if len(paths) == count else list(paths) * count


# A measured figure beside what it must reach, a table of them, and times taken in turns.


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
