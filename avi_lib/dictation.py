"""Dictation: recordings in, the instructions that are written of them out; one that fails does not stop the rest.

>>> for dictated in dictate_all([Path("interviews/")], InstructSettings()):
...     print(dictated.path, dictated.error or dictated.written[0].instruction.text)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avi_lib.errors import AviError
from avi_lib.instruction.instructor import Instructor, Written, load_instructor
from avi_lib.instruction.timeline import Timeline, as_json
from avi_lib.jobs import find_recordings
from avi_lib.outcome import written_json, written_lines
from avi_lib.settings import InstructSettings
from avi_lib.speech.loading import SpeechReport, load_speech


@dataclass(frozen=True)
class Dictated:
    """What was written of one recording; `alone` when that was the only one asked for.

    `timeline` is None where one instruction was asked for, else its entries go with `written`.
    """

    path: Path
    alone: bool
    written: tuple[Written, ...] = ()
    timeline: Timeline | None = None
    instructor: str = ""
    report: SpeechReport | None = None
    seconds: float = 0.0
    error: AviError | None = None

    def lines(self) -> list[str]:
        """The sentence, or the entries of the timeline, with what was heard."""
        if self.timeline is None:
            (written,) = self.written
            return [written.instruction.text, *written_lines(written), f"instructor: {self.instructor}"]
        times = [f"{entry.at_s:g} s: {entry.instruction.text}" for entry in self.timeline.entries]
        return [*times, f"instructor: {self.instructor}"]

    def as_json(self) -> dict[str, Any]:
        """One JSON object with its `path`; with a timeline what was written stands below each of its entries."""
        if self.error is not None or self.report is None:
            return {"path": str(self.path), "error": str(self.error)}
        common = {"path": str(self.path), "instructor": self.instructor, "seconds": round(self.seconds, 3)}
        common["speech"] = self.report.model_dump(mode="json")
        if self.timeline is None:
            return {**written_json(self.written[0]), **common}
        entries = [
            {**entry, "written": written_json(written)}
            for entry, written in zip(as_json(self.timeline), self.written, strict=True)
        ]
        return {"timeline": entries, **common}


def dictate_all(
    sources: Sequence[Path], settings: InstructSettings, timeline: bool = False, text: str | None = None
) -> Iterator[Dictated]:
    """Write an instruction for every recording among `sources` (files, or folders of them), or a timeline each.

    A recording in which nothing is heard has a neutral instruction with a warning. `text` is what is said, for weights
    that were trained to be told it.
    """
    recordings, alone = find_recordings(sources)
    weights = None if settings.instructor == "learned" else Path(settings.instructor)
    instructor = load_instructor(weights, settings.encoder, settings.language_model)
    for recording in recordings:
        yield _dictate(recording, alone, instructor, settings, timeline, text)


def _dictate(
    recording: Path, alone: bool, instructor: Instructor, settings: InstructSettings, timeline: bool, text: str | None
) -> Dictated:
    begun = time.perf_counter()
    try:
        speech = load_speech(recording, refuse_silence=False)
    except AviError as error:
        return Dictated(recording, alone, error=error)
    told: Timeline | None = None
    if timeline:
        told, written = instructor.timeline(speech.wave, text)
    else:
        written = [instructor.instruct(speech.wave, text, settings.temperature, settings.seed, settings.free)]
    took = time.perf_counter() - begun
    return Dictated(recording, alone, tuple(written), told, instructor.reason, speech.report, took)
