"""Which names in a file mean which ARKit channels (stand-in: exact names and spellings without capitals or marks).

>>> match_channels(["jaw_open", "smile"]).places
{'jawOpen': 0}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from avi_lib.motion.space import ARKIT_BLENDSHAPES


@dataclass(frozen=True)
class ChannelMatch:
    """Channel to place among the names; channels without a name; names without a channel."""

    places: dict[str, int]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def match_channels(names: Sequence[str]) -> ChannelMatch:
    """Match names to the 52 ARKit blendshapes, the first of several that fit."""
    spellings = {_plain(channel): channel for channel in ARKIT_BLENDSHAPES}
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        channel = spellings.get(_plain(name))
        if channel is not None:
            places.setdefault(channel, place)
    taken = set(places.values())
    return ChannelMatch(
        places,
        tuple(channel for channel in ARKIT_BLENDSHAPES if channel not in places),
        tuple(name for place, name in enumerate(names) if place not in taken),
    )


def _plain(name: str) -> str:
    name = re.sub(r"_([lr])$", lambda side: {"l": "left", "r": "right"}[side[1]], name.rpartition(".")[2].lower())
    return re.sub(r"[^a-z]", "", name)
