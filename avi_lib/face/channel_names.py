"""Which of a head's shapes is which ARKit blendshape, whatever its tool calls them.

In: names as files carry them. Out: ARKit's channels with the place of their name, and what is left over on either side.

>>> match = match_channels(["Basis", "Face_00_jawOpen", "Face_01_eyeBlink_L"])
>>> match.places, match.unused
({'jawOpen': 1, 'eyeBlinkLeft': 2}, ('Basis',))

A name is a channel's when, read without case and separators, it is made up of:

- a prefix that all names which count share, such as `Face_` or `head_blendShapes.`; the one that finds most channels is
  taken, so that `corrective_jawOpen` beside `jawOpen` stays unused;
- a number, such as `00_` or Character Creator's `A25_`;
- ARKit's name; its side may be written Left, Right, L or R, behind (`eyeBlink_L`, Apple's own raw values) or in front
  (`L_eyeBlink`). `jawLeft` and its like are directions, whose letter stays behind.

Shapes that a tool cuts in two, such as ICT FaceKit's `browInnerUp_L` and `browInnerUp_R`, are halves of one channel and
no channel themselves: they stay unused, and `describe` says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import NamedTuple

from avi_lib.errors import InputError
from avi_lib.motion.space import ARKIT_BLENDSHAPES

MAX_NAME = 200
"""Characters of the longest name that is looked at."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SIDES = {"Left": ("left", "l"), "Right": ("right", "r")}
_DIRECTIONS = ("jaw", "mouth")
"""What moves to a side as a whole: the side is a direction here."""


class ChannelMatch(NamedTuple):
    """Channels found among names: `places` maps a channel to its name's index; `unused` names are no channel's."""

    places: dict[str, int]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def match_channels(names: Sequence[str]) -> ChannelMatch:
    """ARKit's 52 channels among the names of a head's shapes.

    Raises InputError, which tells both, when two names are one channel's.
    """
    readings = [_readings(name) for name in names]
    found_by: dict[str, set[str]] = {}
    for reading in readings:
        for prefix, channel in reading.items():
            found_by.setdefault(prefix, set()).add(channel)
    prefix = min(found_by, key=lambda prefix: (-len(found_by[prefix]), len(prefix), prefix), default="")
    places: dict[str, int] = {}
    for index, reading in enumerate(readings):
        if prefix not in reading:
            continue
        channel = reading[prefix]
        if channel in places:
            both = f"{names[places[channel]]!r} and {names[index]!r}"
            raise InputError(f"one shape for {channel}", both, "rename or remove one of them")
        places[channel] = index
    used = set(places.values())
    return ChannelMatch(
        places={channel: places[channel] for channel in ARKIT_BLENDSHAPES if channel in places},
        missing=tuple(channel for channel in ARKIT_BLENDSHAPES if channel not in places),
        unused=tuple(name for index, name in enumerate(names) if index not in used),
    )


def describe(match: ChannelMatch) -> tuple[str, ...]:
    """What a person should know of a match: how many channels it found, what is missing, which names are halves."""
    notes = [f"{len(match.places)} of {len(ARKIT_BLENDSHAPES)} ARKit channels found", *missing_among(match.places)]
    halves = {name: channel for name in match.unused if (channel := _half_of(name)) is not None}
    for channel in dict.fromkeys(halves.values()):
        parts = " and ".join(name[:MAX_NAME] for name, whole in halves.items() if whole == channel)
        notes.append(f"{parts}: halves of {channel}, which are not merged; add them up into one shape")
    return tuple(notes)


def missing_among(found: Collection[str]) -> tuple[str, ...]:
    """The note on channels that a head lacks; none where it has all 52."""
    missing = [channel for channel in ARKIT_BLENDSHAPES if channel not in found]
    return (f"missing, so they do not move: {', '.join(missing)}",) if missing else ()


def words(name: str) -> list[str]:
    """A name cut where case, separators or digits change, in lower case: "headJaw_L01" is head, jaw, l, 01."""
    return [word.lower() for word in _WORDS.findall(name[: MAX_NAME + 1])]


def _readings(name: str) -> dict[str, str]:
    """Every way to read a name as a prefix and a channel."""
    if len(name) > MAX_NAME:
        return {}
    readings, parts = {}, words(name)
    for start in range(len(parts)):
        if (channel := _spellings().get("".join(parts[start:]))) is not None:
            readings[_without_numbers(parts[:start])] = channel
    return readings


def _without_numbers(parts: list[str]) -> str:
    """A prefix less what a tool counts its shapes with, which differs from name to name: "00" or "A25"."""
    counted = {i for i, part in enumerate(parts) if part.isdigit()}
    counted |= {i - 1 for i in counted if i > 0 and len(parts[i - 1]) == 1}
    return " ".join(part for i, part in enumerate(parts) if i not in counted)


@cache
def _spellings() -> dict[str, str]:
    """Lower-case spellings without separators, and their channels."""
    spellings = {}
    for channel in ARKIT_BLENDSHAPES:
        spellings[channel.lower()] = channel
        for side, marks in _SIDES.items():
            stem = channel.removesuffix(side).lower()
            if stem == channel.lower():
                continue
            for mark in marks:
                spellings[stem + mark] = channel
                if stem not in _DIRECTIONS:
                    spellings[mark + stem] = channel
    return spellings


@cache
def _half_spellings() -> dict[str, str]:
    whole = [channel for channel in ARKIT_BLENDSHAPES if not channel.endswith(tuple(_SIDES))]
    marks = [mark for side in _SIDES.values() for mark in side]
    return {
        spelling: channel
        for channel in whole
        for mark in marks
        for spelling in (channel.lower() + mark, mark + channel.lower())
    }


def _half_of(name: str) -> str | None:
    parts = words(name)
    found = (_half_spellings().get("".join(parts[start:])) for start in range(len(parts)))
    return next((channel for channel in found if channel is not None), None)
