"""Timelines: instructions with the times they begin at, one fading into the next.

    [{"at_s": 0.0, "instruction": "She is calm."},
     {"at_s": 2.4, "instruction": "She is furious, brows strongly down.", "fade_s": 0.8}]

>>> timeline = load_timeline(Path("timeline.json"))
>>> timeline.weights(frames=100, fps=25.0).shape
(100, 2)
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction

FADE_S = 0.6
"""How long an instruction takes to come on where nothing is said: about the onset of an expression."""
MOST_ENTRIES = 1000
MOST_BYTES, MOST_S = 1 << 20, 1e9
_NAMES = {"at_s", "instruction", "fade_s"}


@dataclass(frozen=True)
class Entry:
    """An instruction, the time at which half of it has come on, and how long that takes, in seconds."""

    at_s: float
    instruction: Instruction
    fade_s: float = FADE_S


@dataclass(frozen=True)
class Timeline:
    """Entries in order of time; the first one holds from the start.

    Raises InputError when there is none, or too many, for times that do not rise or are not finite, and for fades that
    are negative.
    """

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MOST_ENTRIES:
            got = f"{len(self.entries)}"
            raise InputError(f"1 to {MOST_ENTRIES} instructions in a timeline", got, "join or part some")
        for number, entry in enumerate(self.entries, 1):
            if not (
                math.isfinite(entry.at_s) and entry.at_s >= 0 and math.isfinite(entry.fade_s) and entry.fade_s >= 0
            ):
                got = f"at_s {entry.at_s:g}, fade_s {entry.fade_s:g} in number {number}"
                raise InputError("times of 0 s and more", got, "correct the timeline")
        for number, (first, second) in enumerate(zip(self.entries, self.entries[1:], strict=False), 2):
            if second.at_s <= first.at_s:
                got = f"{second.at_s:g} s after {first.at_s:g} s in number {number}"
                raise InputError("instructions in order of time", got, "sort the timeline")

    def weights(self, frames: int, fps: float) -> Float32[np.ndarray, "frames entries"]:
        """How much of every instruction holds in every frame; the weights of a frame add up to 1.

        A fade is half a cosine about its time, so that motion has no jump; where fades overlap the later one wins.
        """
        times_s = (np.arange(frames) + 0.5) / fps
        weights = np.zeros((frames, len(self.entries)), np.float32)
        weights[:, 0] = 1.0
        for number, entry in enumerate(self.entries[1:], 1):
            way = np.clip((times_s - entry.at_s) / max(entry.fade_s, 1 / fps) + 0.5, 0.0, 1.0)
            share = (0.5 - 0.5 * np.cos(np.pi * way)).astype(np.float32)
            weights *= 1.0 - share[:, None]
            weights[:, number] = share
        return weights

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions in order."""
        return tuple(entry.instruction for entry in self.entries)


def load_timeline(path: Path) -> Timeline:
    """Read a timeline from JSON; InputError says which entry is wrong and how."""
    expected = 'a timeline such as [{"at_s": 0, "instruction": "She is calm."}]'
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(expected, f"{path} of more than {MOST_BYTES} bytes", "shorten it")
        stored = json.loads(content)
    except OSError as error:
        raise InputError(expected, f"{path}: {error.strerror or error}", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(expected, f"{path}, which is no JSON: {error}", "correct it") from error
    if not isinstance(stored, list):
        raise InputError(expected, f"{path} with {type(stored).__name__}", "write a list")
    return Timeline(tuple(_entry(each, number, path) for number, each in enumerate(stored, 1)))


def as_json(timeline: Timeline) -> list[dict[str, Any]]:
    """What `load_timeline` reads."""
    return [
        {"at_s": entry.at_s, "instruction": entry.instruction.text, "fade_s": entry.fade_s}
        for entry in timeline.entries
    ]


def evenly(instructions: Sequence[Instruction], duration_s: float, fade_s: float = FADE_S) -> Timeline:
    """A timeline that gives every instruction the same time."""
    step_s = duration_s / max(len(instructions), 1)
    return Timeline(tuple(Entry(i * step_s, instruction, fade_s) for i, instruction in enumerate(instructions)))


def _entry(stored: Any, number: int, path: Path) -> Entry:
    where = f"number {number} of {path}"
    if not isinstance(stored, dict) or not {"at_s", "instruction"} <= stored.keys() <= _NAMES:
        got = f"{', '.join(map(str, stored)) if isinstance(stored, dict) else type(stored).__name__} in {where}"
        raise InputError("at_s, instruction and, at will, fade_s", got, "correct the timeline")
    for name in ("at_s", "fade_s"):
        value = stored.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MOST_S:
            raise InputError(f"a number of seconds as {name}", f"{value!r:.40} in {where}", "correct the timeline")
    if not isinstance(text := stored["instruction"], str):
        raise InputError("an instruction as text", f"{type(text).__name__} in {where}", "correct the timeline")
    try:
        instruction = Instruction.parse(text)
    except InputError as error:
        raise InputError(error.expected, f"{error.got} in {where}", error.do) from error
    return Entry(float(stored["at_s"]), instruction, float(stored.get("fade_s", FADE_S)))


def as_timeline(asked: Instruction | Timeline) -> Timeline:
    """A single instruction as a timeline of one entry."""
    return asked if isinstance(asked, Timeline) else Timeline((Entry(0.0, asked),))
