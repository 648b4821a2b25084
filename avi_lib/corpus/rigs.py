"""Rig maps: which named weights of a character's rig feed which ARKit channel, and by how much.

    {"name": "my rig", "source": "where it comes from", "channels": {"jawOpen": {"mouth_stretch_c": 1.0}, ...},
     "ignored": ["tooth_r"], "animated": ["mouth_stretch_c"]}

A channel is the weighted sum of its rig weights, kept to 0-1 (head rotations in radians are not limited). A channel
with no rig weight, `{}`, is one the rig shows by other channels: it is there and 0. `ignored` are names of the rig that
no channel needs; `animated` names that recordings of the rig do move, even where one of them holds them still. A
channel is present when a name that feeds it moves or is `animated`, or when it is `{}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from avi_lib.corpus.adapters.labels import read_json
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT

RIGS = Path(__file__).parent / "rigs"
"""Folder of the maps that ship with the package."""

MOVES = 0.03
"""Range over a recording (a share of a weight, or radians) from which a curve counts as moving."""

_FORM = 'a rig map {"name": ..., "channels": {"jawOpen": {"rig name": weight, ...}, ...}}'
_EYE_ROTATIONS = tuple(f"{side}Eye{axis}" for side in ("Left", "Right") for axis in ("Yaw", "Pitch", "Roll"))
_HEAD = ARKIT.groups["head"][0]


@dataclass(frozen=True)
class RigMap:
    """A rig's names and the ARKit channels they feed.

    `whole` marks curves of one face tracker, which follows all channels of a group or none: a channel is then present
    when any channel of its group moves. Names are compared without regard to case.
    """

    name: str
    channels: Mapping[str, Mapping[str, float]]
    source: str = ""
    ignored: tuple[str, ...] = ()
    animated: tuple[str, ...] = ()
    whole: bool = field(default=False, kw_only=True)

    def known(self) -> frozenset[str]:
        """The rig's names that the map speaks of, in lower case."""
        fed = {name for feeds in self.channels.values() for name in feeds}
        return frozenset(name.lower() for name in (*fed, *self.ignored, *self.animated))

    def apply(
        self, weights: Float32[np.ndarray, "frames names"], names: Sequence[str]
    ) -> tuple[Float32[np.ndarray, "frames 55"], Bool[np.ndarray, " 55"]]:
        """ARKIT values and which channels are present; names that a channel needs and the rig lacks count as still."""
        column = {name.lower(): i for i, name in enumerate(names)}
        moving = {name for name, i in column.items() if np.ptp(weights[:, i]) >= MOVES}
        moving |= {name.lower() for name in self.animated if name.lower() in column}
        values = np.zeros((len(weights), len(ARKIT)), np.float32)
        present = np.zeros(len(ARKIT), dtype=bool)
        for channel, feeds in self.channels.items():
            i = ARKIT.index(channel)
            for name, weight in feeds.items():
                if name.lower() in column:
                    values[:, i] += np.float32(weight) * weights[:, column[name.lower()]]
            present[i] = not feeds or any(name.lower() in moving for name in feeds)
        values = within_range(values)
        if self.whole:
            fed = [any(name.lower() in column for name in self.channels.get(c, {})) for c in ARKIT.channels]
            present = tracked(values) & np.array(fed)
        return values, present


def within_range(values: Float32[np.ndarray, "frames 55"]) -> Float32[np.ndarray, "frames 55"]:
    """ARKIT values with blendshapes kept to 0-1; trackers step over it by a few hundredths."""
    values = values.copy()
    values[:, :_HEAD] = np.clip(values[:, :_HEAD], 0.0, 1.0)
    return values


def tracked(values: Float32[np.ndarray, "frames 55"]) -> Bool[np.ndarray, " 55"]:
    """Channels a face tracker followed: those of every group with a channel that moves.

    Live Link Face writes 0 for the head when head rotation is off, which is no still head; a tongue that never shows
    is tracked all the same.
    """
    present = np.zeros(len(ARKIT), dtype=bool)
    for members in ARKIT.groups.values():
        present[list(members)] = bool((np.ptp(values[:, list(members)], axis=0) >= MOVES).any())
    return present


ARKIT_MAP = RigMap(
    "ARKit names", {channel: {channel: 1.0} for channel in ARKIT.channels}, "", _EYE_ROTATIONS, whole=True
)
"""Rigs whose weights are named as ARKit and Live Link Face do; the order is free, head rotations are radians."""


def load_rig_map(path: Path) -> RigMap:
    """Read a rig map; InputError when it is no JSON of that form, names an unknown channel or has no finite weights."""
    entry = read_json(path)
    if not isinstance(entry, dict) or not isinstance(entry.get("channels"), dict) or not entry["channels"]:
        raise InputError(_FORM, f"{path} of another form", "see avi_lib/corpus/rigs/facegood.json")
    if unknown := sorted(set(entry["channels"]) - set(ARKIT.channels)):
        raise InputError("ARKit channels such as jawOpen", f"{path} with {', '.join(unknown[:4])}", "mend their names")
    channels = {}
    for channel, feeds in entry["channels"].items():
        if not isinstance(feeds, dict) or not all(_is_weight(weight) for weight in feeds.values()):
            got = f"{path} with {channel}: {json.dumps(feeds)[:60]}"
            raise InputError("weights as numbers from -10 to 10 by rig name", got, "mend this channel")
        channels[channel] = {name: float(weight) for name, weight in feeds.items()}
    name, source = str(entry.get("name", path.stem)), str(entry.get("source", ""))
    return RigMap(name, channels, source, *(_list_of(entry.get(key, []), key, path) for key in ("ignored", "animated")))


def _list_of(names: object, key: str, path: Path) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"a list of rig names as {key}", f"{path} with another value", "mend it or remove it")
    return tuple(names)


def _is_weight(weight: object) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and abs(weight) <= 10.0


@cache
def shipped_maps() -> tuple[RigMap, ...]:
    """ARKit's own names, then the maps of `RIGS` in order of their files."""
    return (ARKIT_MAP, *(load_rig_map(path) for path in sorted(RIGS.glob("*.json"))))


def map_for(names: Sequence[str], own: Path | None = None) -> RigMap:
    """The map for a rig with these names: the user's `own`, else the shipped one that speaks of every name.

    Raises:
        InputError: the own map needs names the rig lacks, or no shipped map knows all names.
    """
    given = {name.lower() for name in names}
    if own is not None:
        chosen = load_rig_map(own)
        fed = {name for feeds in chosen.channels.values() for name in feeds}
        if absent := sorted(name for name in fed if name.lower() not in given):
            got = f"{own} with {', '.join(absent[:4])}, which the rig lacks"
            raise InputError("names of the rig", got, "write them as the npz has them")
        return chosen
    maps = [rig for rig in shipped_maps() if given <= rig.known()]
    if maps:
        return maps[0]
    nearest = max(shipped_maps(), key=lambda rig: len(given & rig.known()))
    strangers = sorted(name for name in names if name.lower() not in nearest.known())
    got = f"{', '.join(strangers[:4])} ({len(strangers)} of {len(given)} are not of {nearest.name})"
    known = ", ".join(rig.name for rig in shipped_maps())
    raise InputError(f"the names of a known rig: {known}", got, "put a rig_map.json into the source")
