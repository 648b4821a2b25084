"""Outcomes: what became of one sample of a recording, in words and as JSON.

>>> print(*outcome.lines(), sep=chr(10))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avi_lib.errors import AviError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import as_json
from avi_lib.talk import Talk

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Written

LIKELY = 3
"""Emotions that are named with their probability."""


@dataclass(frozen=True)
class Outcome:
    """What became of one sample of a recording; `alone` when that was the only recording asked for."""

    path: Path
    alone: bool
    sample: int = 1
    talk: Talk | None = None
    video: Path | None = None
    motion: Path | None = None
    generator: str = ""
    prior: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: AviError | None = None
    instructor: str | None = None
    sheet: Path | None = None
    beside: tuple[Talk, ...] = ()
    head_notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The outcome in words: what was made, and every automatic choice with its reason."""
        assert self.talk is not None
        lines = [
            *self.talk.speech.report.lines(),
            f"phones: {self.talk.phones.method} ({self.talk.phones.reason})",
            *(line for entry in self.talk.timeline.entries for line in _asked_lines(entry.instruction, entry.at_s)),
        ]
        if self.talk.written:
            lines += [*written_lines(self.talk.written), f"instructor: {self.instructor}"]
        if self.talk.phones.warning:
            lines.append(f"warning: {self.talk.phones.warning}")
        lines.append(f"generator: {self.generator}")
        if self.prior:
            lines.append(f"prior: {self.prior}")
        lines += self.talk.factors
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"beside it: {talk.instruction.text}" for talk in self.beside]
        lines += [f"head: {note}" for note in self.head_notes]
        lines.append(f"seed: {self.talk.seed}")
        files = (("video", self.video), ("motion", self.motion), ("sheet", self.sheet))
        lines += [f"{kind}: {path}" for kind, path in files if path]
        return [*lines, f"took {self.seconds:.1f} s for {self.talk.speech.duration_s:.1f} s of speech"]

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object with its `path`."""
        if self.talk is None:
            return {"path": str(self.path), "sample": self.sample, "error": str(self.error)}
        return {
            "path": str(self.path),
            "video": str(self.video) if self.video else None,
            "motion": str(self.motion) if self.motion else None,
            "sheet": str(self.sheet) if self.sheet else None,
            "sample": self.sample,
            "seed": self.talk.seed,
            "instruction": asked_json(self.talk.instruction),
            "written": self.talk.written and written_json(self.talk.written),
            "timeline": as_json(self.talk.timeline) if len(self.talk.timeline.entries) > 1 else None,
            "phones": {
                "method": self.talk.phones.method,
                "reason": self.talk.phones.reason,
                "warning": self.talk.phones.warning,
            },
            "generator": {"reason": self.generator, "prior": self.prior, "warnings": list(self.warnings)},
            "factors": list(self.talk.factors),
            "beside": [asked_json(talk.instruction) for talk in self.beside],
            "head": list(self.head_notes),
            "speech": self.talk.speech.report.model_dump(mode="json"),
            "frames": len(self.talk.motion),
            "fps": self.talk.motion.fps,
            "seconds": round(self.seconds, 3),
        }


def written_lines(written: Written) -> list[str]:
    """How sure the instructor is of what it wrote."""
    likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:LIKELY]
    heard = ", ".join(f"{emotion} {share:.2f}" for emotion, share in likely)
    return [f"heard: {heard}", *(f"warning: {warning}" for warning in written.warnings)]


def written_json(written: Written) -> dict[str, Any]:
    """What the instructor wrote, with the probability of every emotion."""
    return {
        **asked_json(written.instruction),
        "emotion_probabilities": {name: round(share, 4) for name, share in written.probabilities.items()},
        "heard": {"emotion": written.heard.emotion, "level": written.heard.level},
        "speech_probability": round(written.speech, 4),
        "warnings": list(written.warnings),
    }


def _asked_lines(asked: Instruction, at_s: float) -> list[str]:
    units = ", ".join(f"{name} {strength:.2f}" for name, strength in asked.action_units.items())
    when = f" from {at_s:g} s" if at_s else ""
    lines = [
        f"instruction{when}: {asked.text}",
        f"understood: {asked.emotion or 'no emotion'}{f' at level {asked.level}' if asked.level else ''}"
        + (f"; {units}" if units else ""),
    ]
    return lines + ([f"not understood: {', '.join(asked.unknown)}"] if asked.unknown else [])


def asked_json(asked: Instruction) -> dict[str, Any]:
    """An instruction and what is understood of it."""
    return {
        "text": asked.text,
        "emotion": asked.emotion,
        "level": asked.level,
        "action_units": dict(asked.action_units),
        "unknown": list(asked.unknown),
    }
