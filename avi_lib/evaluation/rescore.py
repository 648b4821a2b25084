"""Anyone's motion, scored against the speech it goes with, and against a reference motion where there is one.

>>> scored = rescore([Path("theirs.csv")], [Path("my.wav")])
>>> scored.report("theirs.csv").write_html(Path("theirs.html"))

Motion is an npz as `avi talk --motion` writes it, with or without a mask of its channels, or the CSV of Live Link Face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avi_lib.corpus.curves import Curves
from avi_lib.errors import InputError
from avi_lib.evaluation.measures import MEASURES, Heard, hear_recording, measure_motion
from avi_lib.evaluation.report import Report, Row, tabulate
from avi_lib.face.head import Head, load_head
from avi_lib.formats import read_curves
from avi_lib.motion.space import ARKIT
from avi_lib.speech.align import align_phones
from avi_lib.speech.audio import load_speech

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
    heard_by: dict[Path, Heard] = {}
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
    path: Path, speech: Path, truth: Path | None, curves: Curves, heard: Heard, reference: Curves | None, head: Head
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


def _hear(path: Path, text: str | None) -> Heard:
    wave = load_speech(path).wave
    return hear_recording(wave, None if text is None else align_phones(wave, text).phones)


def _spread(paths: Sequence[Path], count: int, what: str) -> list[Path]:
    if len(paths) not in (1, count):
        raise InputError(f"one {what} for all motions, or one for each", f"{len(paths)} for {count}", "name as many")
    return list(paths) if len(paths) == count else list(paths) * count
