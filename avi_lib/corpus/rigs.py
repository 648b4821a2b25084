"""Corpora of recorded motion: rigs and face trackers as ARKit curves, FLAME coefficients.

    {"name": "my rig", "source": "where it comes from", "channels": {"jawOpen": {"mouth_stretch_c": 1.0}, ...},
     "ignored": ["tooth_r"], "animated": ["mouth_stretch_c"]}

A rig map says which named weights of a rig feed which ARKit channel. A channel is the weighted sum of its rig weights,
kept to 0-1 (head rotations in radians are not limited). A channel with no rig weight, `{}`, is one the rig shows by
other channels: it is there and 0. `ignored` are names of the rig that no channel needs; `animated` names that
recordings of the rig do move, even where one of them holds them still. A channel is present when a name that feeds it
moves or is `animated`, or when it is `{}`.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import BaseModel, Field, ValidationError

from avi_lib.corpus.layouts import RuleError, read_json
from avi_lib.errors import Finding, InputError, cause
from avi_lib.motion import clip as clips
from avi_lib.motion.clip import ARKIT, UNREADABLE, MotionClip, MotionSpace, read_array, read_clip
from avi_lib.motion.formats import load_livelink

RIG_MAPS = Path(__file__).parent / "rig_maps"  # folder of the maps that ship with the package
MOVES = 0.03  # range over a recording (a share of a weight, or radians) from which a curve counts as moving

_Channel = Annotated[str, Field(pattern=f"^({'|'.join(ARKIT.channels)})$")]
_ARRAYS = {"weights": ("f", 1 << 30), "fps": ("fiu", 64), "names": ("U", 1 << 20)}
"""Kinds and largest size in bytes of the arrays of a rig file."""


class RigMap(BaseModel, frozen=True, strict=True):
    """A rig's names and the ARKit channels they feed; names are compared without regard to case.

    `tracker` marks curves of a face tracker, which follows all channels of a group or none: a channel is then present
    when any channel of its group moves. Live Link Face writes 0 for the head when head rotation is off, which is no
    still head; a tongue that never shows is tracked all the same.
    """

    name: str = ""
    channels: dict[_Channel, dict[str, Annotated[float, Field(ge=-10, le=10)]]] = Field(min_length=1)
    ignored: list[str] = []
    animated: list[str] = []
    tracker: bool = False

    def fed(self) -> set[str]:
        """The rig's names that feed a channel, in lower case."""
        return {name.lower() for feeds in self.channels.values() for name in feeds}

    def known(self) -> set[str]:
        """The rig's names that the map speaks of, in lower case."""
        return self.fed() | {name.lower() for name in (*self.ignored, *self.animated)}

    def apply(
        self, weights: Float32[np.ndarray, "frames names"], names: Sequence[str]
    ) -> tuple[Float32[np.ndarray, "frames 55"], Bool[np.ndarray, " 55"], list[Finding]]:
        """ARKIT values, which channels are present, and how much was clipped; names that the rig lacks are still."""
        curves = {name.lower(): weights[:, i] for i, name in enumerate(names)}
        moving = {name for name, curve in curves.items() if np.ptp(curve) >= MOVES}
        moving |= curves.keys() & {name.lower() for name in self.animated}
        values = np.zeros((len(weights), len(ARKIT)), np.float32)
        present = np.zeros(len(ARKIT), dtype=bool)
        for channel, feeds in self.channels.items():
            i = ARKIT.index(channel)
            given = [(name.lower(), weight) for name, weight in feeds.items() if name.lower() in curves]
            for name, weight in given:
                values[:, i] += np.float32(weight) * curves[name]
            present[i] = bool(given) if self.tracker else not feeds or any(name in moving for name, _ in given)
        head = ARKIT.groups["head"][0]
        clipped = clips.outside(values[:, :head], ARKIT.channels)
        values[:, :head] = np.clip(values[:, :head], 0.0, 1.0)  # trackers step over it by a few hundredths
        if self.tracker:
            for group in map(list, ARKIT.groups.values()):
                present[group] &= (np.ptp(values[:, group], axis=0) >= MOVES).any()
        return values, present, clipped


ARKIT_MAP = RigMap(
    name="ARKit names",
    channels={channel: {channel: 1.0} for channel in ARKIT.channels},
    ignored=[f"{side}Eye{axis}" for side in ("Left", "Right") for axis in ("Yaw", "Pitch", "Roll")],
    tracker=True,
)  # rigs whose weights are named as ARKit and Live Link Face do; the order is free, head rotations are radians


def load_rig_map(path: Path) -> RigMap:
    """Read a rig map; InputError when it is no JSON of that form, names an unknown channel or has no finite weights."""
    try:
        return RigMap.model_validate(
            {"name": path.stem, **entry} if isinstance(entry := read_json(path), dict) else entry
        )
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{path} of another form: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        form = 'a rig map {"name": ..., "channels": {"jawOpen": {"rig name": weight, ...}, ...}} with weights to 10'
        raise InputError(form, got, "see avi_lib/corpus/rig_maps/facegood.json") from error


@cache
def shipped_maps() -> tuple[RigMap, ...]:
    """ARKit's own names, then the maps of `RIG_MAPS` in order of their files."""
    return (ARKIT_MAP, *(load_rig_map(path) for path in sorted(RIG_MAPS.glob("*.json"))))


def map_for(names: Sequence[str], own: Path | None = None) -> RigMap:
    """The map for a rig with these names: the user's `own`, else the shipped one that speaks of every name.

    Raises InputError when the own map needs names the rig lacks, or no shipped map knows all names.
    """
    given = {name.lower() for name in names}
    if own is not None:
        chosen = load_rig_map(own)
        if absent := sorted(chosen.fed() - given):
            got = f"{own} with {', '.join(absent[:4])}, which the rig lacks"
            raise InputError("names of the rig", got, "write them as the npz has them")
        return chosen
    nearest = max(shipped_maps(), key=lambda rig: len(given & rig.known()))
    match = clips.match_channels(names, ARKIT.channels)
    if {name.lower() for name in match.unused} <= ARKIT_MAP.known() and given - nearest.known():
        fed = {channel: {names[i]: 1.0 / len(parts) for i in parts} for channel, parts in match.parts.items()}
        return ARKIT_MAP.model_copy(update={"channels": fed})
    if strangers := sorted(name for name in names if name.lower() not in nearest.known()):
        got = f"{', '.join(strangers[:4])} ({len(strangers)} of {len(given)} are not of {nearest.name})"
        known = ", ".join(rig.name for rig in shipped_maps())
        raise InputError(f"the names of a known rig: {known}", got, "put a rig_map.json into the source")
    return nearest


def load_rig(path: Path, rig_map: Path | None = None) -> MotionClip:
    """ARKIT curves of a rig's npz at its own frame rate; channels the rig does not move are not present.

    The npz holds `weights` (frames, names) of any float type, `fps` and `names`; without the user's own `rig_map` a
    shipped one is chosen by the names. Raises InputError for another npz, weights of another shape or with NaN, and
    names that no map knows.
    """
    weights, fps = _read_arrays(path, _ARRAYS, "weights", "fps")
    names = rig_names(path)
    rig = map_for(names, rig_map)
    if weights.ndim != 2 or weights.shape[1] != len(names) or not len(weights):
        got = f"shape {weights.shape} in {path}"
        raise InputError(f"weights (frames, {len(names)})", got, "one column for each name")
    if fps.size != 1:
        raise InputError("one frame rate", f"{fps.size} in {path}", "write fps as a single number")
    with np.errstate(over="ignore"):
        space = MotionSpace(rig.name, tuple(names), {}, ())
        clip = read_clip(weights.astype(np.float32), float(fps.item()), space, path)
    turning = {name.lower() for channel in clips.HEAD_ROTATION for name in rig.channels.get(channel, {})}
    eyes = {name.lower() for name in rig.ignored}
    heads = [i for i, name in enumerate(names) if name.lower() in turning]
    others = [i for i, name in enumerate(names) if name.lower() not in turning | eyes]
    values, repairs = clips.in_units(clip.values, names, others, [((i,), clips.MOST_HEAD_RAD) for i in heads], path)
    return _curves(path, rig, replace(clip, values=values, repairs=(*clip.repairs, *repairs)), names)


def load_take(path: Path) -> MotionClip:
    """Motion of a Live Link Face take at its own frame rate, eye rotations ignored.

    The app tracks a whole face: all channels are present, but for groups that never move at all. Raises InputError for
    a damaged CSV or a face that never moves.
    """
    return _curves(path, ARKIT_MAP, load_livelink(path), ARKIT.channels)


OPENFACE = Path(__file__).with_name("openface.json")
_OPENFACE_ARRAYS = {
    **{"au_restored": ("f", 1 << 30), "au_names": ("U", 1 << 16)},
    **dict.fromkeys(("fps", "sound_delay_s"), ("fiu", 64)),
}


def load_action_units(path: Path) -> MotionClip:
    """ARKIT curves of action units a frame as OpenFace counts them, 0-5, at their own frame rate.

    The npz holds `au_restored` (frames, units), held units put back and the person's neutral taken off, `au_names`,
    `fps` and `sound_delay_s`, by which the sound comes after the face; the curves come as much later. What no unit
    shows is missing: `openface.json` says which channels units feed. Raises InputError for another npz.
    """
    try:
        units, names, fps, delay_s = _read_arrays(path, _OPENFACE_ARRAYS, *_OPENFACE_ARRAYS)
    except RuleError as error:
        raise InputError("action units a frame", f"{path} with {error}", "leave other files out") from error
    if units.ndim != 2 or not len(units) or names.shape != units.shape[1:] or fps.size != 1 or delay_s.size != 1:
        got = f"{units.shape} of {names.size} names in {path}"
        raise InputError("au_restored (frames, units) with one fps and delay", got, "one column for each name")
    rate = float(fps.item())
    own = read_clip(units.astype(np.float32), rate, MotionSpace("OpenFace", tuple(names.tolist()), {}, ()), path)
    times_s = np.arange(len(own)) / rate
    later = np.stack([np.interp(times_s - float(delay_s.item()), times_s, unit) for unit in own.values.T], axis=1)
    values, present, _ = load_rig_map(OPENFACE).apply(later.astype(np.float32), own.space.channels)
    return MotionClip(values, rate, ARKIT, present, own.start_s, own.repairs, own.warnings)


def _curves(path: Path, rig: RigMap, clip: MotionClip, names: Sequence[str]) -> MotionClip:
    """ARKIT curves of a clip whose columns are names of the rig; what is cut off from 0-1 is a repair of them."""
    there = np.flatnonzero(clip.present).tolist()
    values, present, clipped = rig.apply(clip.values[:, there], [names[i] for i in there])
    if not present.any():
        raise InputError("a rig that moves", f"{path}, in which no weight of {rig.name} does", "leave it out")
    warnings = tuple(finding for finding in clip.warnings if finding.name != "weights_clipped")
    return MotionClip(values, clip.fps, ARKIT, present, clip.start_s, (*clip.repairs, *clipped), warnings)


def rig_names(path: Path) -> list[str]:
    """The names of a rig file's weights; InputError for a damaged file, RuleError for an npz of something else."""
    (names,) = _read_arrays(path, _ARRAYS, "names")
    listed = [str(name) for name in names.ravel()]
    twice = [name for name, count in Counter(map(str.lower, listed)).items() if count > 1]
    if twice:
        raise InputError("rig names that differ", f"{path} with {min(twice)} twice", "rename one of them")
    return listed


def _read_arrays(path: Path, arrays: Mapping[str, tuple[str, int]], *wanted: str) -> list[np.ndarray]:
    needed = " and ".join((", ".join(list(arrays)[:-1]), list(arrays)[-1]))
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := [name for name in arrays if f"{name}.npy" not in archive.namelist()]:
                raise RuleError(f"no {missing[0]}; a rig file has {needed}")
            return [read_array(partial(archive.open, f"{name}.npy"), name, *arrays[name]) for name in wanted]
    except UNREADABLE as error:
        expected = f"an npz with {needed}"
        raise InputError(expected, f"{path}: {cause(error)}", "write it without pickles") from error
