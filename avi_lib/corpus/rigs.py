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

import csv
import json
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from avi_lib.corpus.layouts import (
    SOUND_SUFFIXES,
    UNKNOWN_SPEAKER,
    Entries,
    Found,
    MotionFile,
    Recording,
    Refusal,
    RuleError,
    by_preference,
    emotion_of,
    find,
    level_of,
    read_json,
    read_table,
    stem,
)
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, UNREADABLE, Curves, MotionClip, read_array
from avi_lib.motion.formats import EXPRESSION_NAMES, load_flame, load_livelink, require_coefficients

RIG_MAPS = Path(__file__).parent / "rig_maps"
"""Folder of the maps that ship with the package."""
MOVES = 0.03
"""Range over a recording (a share of a weight, or radians) from which a curve counts as moving."""

_ARRAYS = {"weights": ("f", 1 << 30), "fps": ("fiu", 64), "names": ("U", 1 << 20)}
"""Kinds and largest size in bytes of the arrays of a rig file."""


@dataclass(frozen=True)
class RigMap:
    """A rig's names and the ARKit channels they feed; names are compared without regard to case.

    `tracker` marks curves of a face tracker, which follows all channels of a group or none: a channel is then present
    when any channel of its group moves.
    """

    name: str
    channels: Mapping[str, Mapping[str, float]]
    ignored: tuple[str, ...] = ()
    animated: tuple[str, ...] = ()
    tracker: bool = False

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
            given = [name.lower() for name in feeds if name.lower() in column]
            for name, weight in feeds.items():
                if name.lower() in column:
                    values[:, i] += np.float32(weight) * weights[:, column[name.lower()]]
            present[i] = bool(given) if self.tracker else not feeds or any(name in moving for name in given)
        values = within_range(values)
        return values, present & tracked(values) if self.tracker else present


ARKIT_MAP = RigMap(
    "ARKit names",
    {channel: {channel: 1.0} for channel in ARKIT.channels},
    tuple(f"{side}Eye{axis}" for side in ("Left", "Right") for axis in ("Yaw", "Pitch", "Roll")),
    tracker=True,
)
"""Rigs whose weights are named as ARKit and Live Link Face do; the order is free, head rotations are radians."""


def within_range(values: Float32[np.ndarray, "frames 55"]) -> Float32[np.ndarray, "frames 55"]:
    """ARKIT values with blendshapes kept to 0-1; trackers step over it by a few hundredths."""
    head = ARKIT.groups["head"][0]
    return np.concatenate([np.clip(values[:, :head], 0.0, 1.0), values[:, head:]], axis=1)


def tracked(values: Float32[np.ndarray, "frames 55"]) -> Bool[np.ndarray, " 55"]:
    """Channels a face tracker followed: those of every group with a channel that moves.

    Live Link Face writes 0 for the head when head rotation is off, which is no still head; a tongue that never shows
    is tracked all the same.
    """
    present = np.zeros(len(ARKIT), dtype=bool)
    for members in ARKIT.groups.values():
        present[list(members)] = bool((np.ptp(values[:, list(members)], axis=0) >= MOVES).any())
    return present


def load_rig_map(path: Path) -> RigMap:
    """Read a rig map; InputError when it is no JSON of that form, names an unknown channel or has no finite weights."""
    entry = read_json(path)
    if not isinstance(entry, dict) or not isinstance(entry.get("channels"), dict) or not entry["channels"]:
        form = 'a rig map {"name": ..., "channels": {"jawOpen": {"rig name": weight, ...}, ...}}'
        raise InputError(form, f"{path} of another form", "see avi_lib/corpus/rig_maps/facegood.json")
    if unknown := sorted(set(entry["channels"]) - set(ARKIT.channels)):
        raise InputError("ARKit channels such as jawOpen", f"{path} with {', '.join(unknown[:4])}", "mend their names")
    for channel, feeds in entry["channels"].items():
        weights: list[Any] = list(feeds.values()) if isinstance(feeds, dict) else [None]
        if not all(type(weight) in (int, float) and abs(weight) <= 10 for weight in weights):
            got = f"{path} with {channel}: {json.dumps(feeds)[:60]}"
            raise InputError("weights as numbers from -10 to 10 by rig name", got, "mend this channel")
    lists = {key: entry.get(key, []) for key in ("ignored", "animated")}
    for key, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"a list of rig names as {key}", f"{path} with another value", "mend it or remove it")
    channels = {channel: {name: float(w) for name, w in feeds.items()} for channel, feeds in entry["channels"].items()}
    return RigMap(str(entry.get("name", path.stem)), channels, tuple(lists["ignored"]), tuple(lists["animated"]))


@cache
def shipped_maps() -> tuple[RigMap, ...]:
    """ARKit's own names, then the maps of `RIG_MAPS` in order of their files."""
    return (ARKIT_MAP, *(load_rig_map(path) for path in sorted(RIG_MAPS.glob("*.json"))))


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
    nearest = max(shipped_maps(), key=lambda rig: len(given & rig.known()))
    if strangers := sorted(name for name in names if name.lower() not in nearest.known()):
        got = f"{', '.join(strangers[:4])} ({len(strangers)} of {len(given)} are not of {nearest.name})"
        known = ", ".join(rig.name for rig in shipped_maps())
        raise InputError(f"the names of a known rig: {known}", got, "put a rig_map.json into the source")
    return nearest


def load_rig(path: Path, rig_map: Path | None = None) -> Curves:
    """ARKIT curves of a rig's npz at its own frame rate; channels the rig does not move are not present.

    Args:
        path: npz with `weights` (frames, names) of any float type, `fps` and `names`.
        rig_map: the user's map, None to choose a shipped one by the names.

    Raises:
        InputError: no such npz, weights of another shape or with NaN, or names that no map knows.
    """
    weights, fps = _read_arrays(path, "weights", "fps")
    names = rig_names(path)
    rig = map_for(names, rig_map)
    if weights.ndim != 2 or weights.shape[1] != len(names) or not len(weights):
        got = f"shape {weights.shape} in {path}"
        raise InputError(f"weights (frames, {len(names)})", got, "one column for each name")
    with np.errstate(over="ignore"):
        weights = weights.astype(np.float32)
    if bad := int((~np.isfinite(weights)).any(axis=1).sum()):
        raise InputError("finite weights", f"{bad} frames with NaN or infinity in {path}", "repair or cut those frames")
    values, present = rig.apply(weights, names)
    if not present.any():
        raise InputError("a rig that moves", f"{path}, in which no weight that {rig.name} maps does", "leave it out")
    if fps.size != 1:
        raise InputError("one frame rate", f"{fps.size} in {path}", "write fps as a single number")
    return Curves(MotionClip(values, float(fps.item()), ARKIT), present)


def rig_names(path: Path) -> list[str]:
    """The names of a rig file's weights; InputError for a damaged file, RuleError for an npz of something else."""
    (names,) = _read_arrays(path, "names")
    listed = [str(name) for name in names.ravel()]
    twice = [name for name, count in Counter(map(str.lower, listed)).items() if count > 1]
    if twice:
        raise InputError("rig names that differ", f"{path} with {min(twice)} twice", "rename one of them")
    return listed


def _read_arrays(path: Path, *wanted: str) -> list[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := [name for name in _ARRAYS if f"{name}.npy" not in archive.namelist()]:
                raise RuleError(f"no {missing[0]}; a rig file has weights, fps and names")
            return [read_array(partial(archive.open, f"{name}.npy"), name, *_ARRAYS[name]) for name in wanted]
    except UNREADABLE as error:
        expected = "an npz with weights, fps and names"
        raise InputError(expected, f"{path}: {error}", "write it without pickles") from error


def load_take(path: Path) -> Curves:
    """Curves of a Live Link Face take at its own frame rate, eye rotations ignored.

    The app tracks a whole face: all channels are present, but for groups that never move at all, such as the head with
    head rotation switched off. Raises InputError for a damaged CSV or a face that never moves.
    """
    clip = load_livelink(path)
    values = within_range(clip.values)
    present = tracked(values)
    if not present.any():
        raise InputError("a take in which the face moves", f"{path}, where nothing does", "leave the take out")
    return Curves(MotionClip(values, clip.fps, clip.space), present)


# Corpora of recorded motion: takes, the sound of the same name, and `index.csv` with labels where there is one.


class MotionRule(NamedTuple):
    """Which files are takes, by the name of each, and how the motion of one is read."""

    suffixes: tuple[str, ...]
    takes: Callable[[Found, list[Refusal]], Found]
    motion: Callable[[Path, Path], MotionFile]
    lone_sound: bool = False
    """Whether the only sound beside the only take of a folder is the take's, whatever its name."""


_ENDINGS = ("_cal", "", "_raw")
"""Endings of the files that Live Link Face writes of one take, best first: calibration subtracts the face at rest."""
_TAKE_FOLDER = re.compile(r"\d{8}_.+_\d+", re.ASCII)


def motion_entries(rule: MotionRule, source: Path, refused: list[Refusal]) -> Entries:
    """The takes of a source; `index.csv` labels them where there is one."""
    found, broken = find(source, (*SOUND_SUFFIXES, *rule.suffixes))
    refused += broken
    rows: dict[str, dict[str, str]] = {}
    index = source / "index.csv"
    for line, row in read_table(index, "clip") if index.is_file() else ():
        if row["clip"] in rows:
            raise InputError("one row for each clip", f"{row['clip']} again in line {line} of {index}", "remove one")
        rows[row["clip"]] = row
    takes = rule.takes(found, refused)
    folders = [posixpath.dirname(name) for name in takes]
    sounds = {name: path for name, path in by_preference(found).items() if path.suffix.lower() in SOUND_SUFFIXES}
    by_stem = {stem(name): path for name, path in reversed(sounds.items())}

    def sound(name: str) -> Path | None:
        named = (by_stem.get(name + ending) for ending in ("", "_cal", "_raw"))
        folder = posixpath.dirname(name)
        beside = [path for other, path in sounds.items() if posixpath.dirname(other) == folder]
        alone = rule.lone_sound and folders.count(folder) == 1 and len(beside) == 1
        return next(filter(None, named), beside[0] if alone else None)

    def read(label: str, path: Path) -> Recording:
        name = stem(label) if path.suffix.lower() == ".npz" else label
        row = rows.get(name) or rows.get(posixpath.basename(name)) or {}
        own = [folder for folder in name.split("/")[:-1] if not _TAKE_FOLDER.fullmatch(folder)]
        try:
            emotion = emotion_of(row.get("emotion") or row.get("label") or "")
        except RuleError:
            emotion = None  # a label such as "neutral_idle" leaves it open
        return Recording(
            name,
            speaker=row.get("speaker") or (own[0] if own else UNKNOWN_SPEAKER),
            speech=sound(name),
            motion=rule.motion(source, path),
            emotion=emotion,
            level=level_of(emotion, row.get("level")) if emotion else None,
            text=row.get("text") or None,
            language=row.get("language") or "en",
        )

    return {label: partial(read, label, path) for label, path in takes.items()}


def _live_link_takes(found: Found, refused: list[Refusal]) -> Found:
    """The best file of every take; other CSVs (`frame_log.csv`) have no Live Link header and are left alone."""
    variants: dict[str, Found] = {}
    for name, path in found.items():
        if path.suffix.lower() == ".csv" and name != "index.csv":
            try:
                with path.open(newline="", encoding="utf-8-sig") as stream:
                    header = next(csv.reader([stream.readline(1 << 16)]), [])
            except UnicodeDecodeError:
                continue
            except (OSError, csv.Error) as error:
                refused.append(Refusal(name, f"a CSV that cannot be read: {error}"))
                continue
            if [cell.strip().lower() for cell in header[:2]] == ["timecode", "blendshapecount"]:
                base = re.sub("_(cal|raw)$", "", stem(name))
                variants.setdefault(base, {})[stem(name).removeprefix(base)] = path
    return {base: next(of[ending] for ending in _ENDINGS if ending in of) for base, of in variants.items()}


def _npz_files(found: Found, _: list[Refusal]) -> Found:
    return {name: path for name, path in found.items() if path.suffix.lower() == ".npz"}


def _rig_motion(source: Path, path: Path) -> MotionFile:
    own = source / "rig_map.json"
    chosen = own if own.is_file() else None
    map_for(rig_names(path), chosen)
    return MotionFile(path, partial(load_rig, rig_map=chosen), also=(chosen,) if chosen else ())


def _flame_takes(found: Found, refused: list[Refusal]) -> Found:
    folders = {
        posixpath.dirname(name) or stem(name): path
        for name, path in found.items()
        if path.suffix.lower() == ".npy" and path.stem.lower() in EXPRESSION_NAMES
    }
    return _npz_files(found, refused) | folders


def _flame_motion(_: Path, path: Path) -> MotionFile:
    beside = sorted(path.parent.glob("*.npy")) if path.suffix.lower() == ".npy" else []
    try:
        if beside:
            require_coefficients([file.stem for file in beside])
        else:
            with zipfile.ZipFile(path) as archive:
                require_coefficients([stem(name) for name in archive.namelist()])
    except (OSError, zipfile.BadZipFile) as error:
        raise RuleError(f"no npz: {error}") from error
    except ValueError as error:
        raise RuleError(str(error)) from error
    return MotionFile(path, load_flame, FLAME.name, tuple(file for file in beside if file != path))


MOTION_RULES = {
    "livelink": MotionRule((".csv",), _live_link_takes, lambda _, path: MotionFile(path, load_take), lone_sound=True),
    "rig": MotionRule((".npz",), _npz_files, _rig_motion),
    "flame": MotionRule((".npz", ".npy"), _flame_takes, _flame_motion),
}
