"""A motion clip: channel curves of a face over time, kept as npz, and the factors that it is composed of.

>>> clip = MotionClip(np.zeros((50, 55), np.float32), fps=25.0, space=ARKIT)
>>> clip.duration_s, clip["jawOpen"].shape
(2.0, (50,))
"""

from __future__ import annotations

import math
import re
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Bool, Float32, Float64, Int
from numpy.lib import format as npy

from avi_lib.errors import Finding, InputError, cause
from avi_lib.files import atomic_path

FPS_RANGE = (1.0, 1000.0)  # frame rates of cameras and trackers
_PARTS = 8  # points of time in each frame over which a curve is averaged

# Motion spaces: the named channels of a talking face and their groups.

TABLES: dict[str, Any] = yaml.load(Path(__file__).with_name("spaces.yaml").read_text("utf-8"), yaml.CSafeLoader)
ARKIT_BLENDSHAPES: tuple[str, ...] = tuple(TABLES["blendshapes"].split())
"""The 52 face blendshapes of Apple's ARKit in the order of `ARFaceAnchor.BlendShapeLocation`; weights in 0-1."""

HEAD_ROTATION = ("headPitch", "headYaw", "headRoll")
"""Head rotation in radians: pitch > 0 nods down, yaw > 0 turns to the person's left, roll > 0 tilts to their right."""

HEAD_LIMIT_RAD = 0.6  # how far a head turns from facing the viewer, about any axis


@dataclass(frozen=True, eq=False)
class MotionSpace:
    """Named channels and named groups of them.

    `groups` maps a group's name to channel indices, `limits` is the lowest and the highest value of every channel that
    a face is asked to carry out. A space is equal only to itself.
    """

    name: str
    channels: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    limits: tuple[tuple[float, float], ...]

    def index(self, channel: str) -> int:
        """Position of a channel; KeyError names the space when it has no such channel."""
        if channel not in self.channels:
            raise KeyError(f"motion space {self.name} has no channel {channel!r}")
        return self.channels.index(channel)

    def columns(self, *names: str) -> list[int]:
        """Positions of channels; a name without Left or Right may mean both sides."""
        sided = [[name] if name in self.channels else [f"{name}Left", f"{name}Right"] for name in names]
        return [self.index(channel) for channels in sided for channel in channels]

    def __len__(self) -> int:
        return len(self.channels)

    def limited(self, values: Float32[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames channels"]:
        """The same motion with every value within its limits."""
        low, high = np.array(self.limits, np.float32).T
        return np.clip(values, low, high)


def _starting(beginnings: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """ARKit channels by group, from the beginnings of their names."""
    starts = {group: tuple(words.split()) for group, words in beginnings.items()}
    return {group: tuple(i for i, name in enumerate(_ARKIT) if name.startswith(starts[group])) for group in starts}


_ARKIT = ARKIT_BLENDSHAPES + HEAD_ROTATION
ARKIT = MotionSpace(
    "ARKIT",
    _ARKIT,
    _starting(TABLES["groups"]),
    ((0.0, 1.0),) * len(ARKIT_BLENDSHAPES) + ((-HEAD_LIMIT_RAD, HEAD_LIMIT_RAD),) * len(HEAD_ROTATION),
)  # 52 ARKit blendshapes, then head pitch, yaw and roll in radians: 55 channels

FLAME = MotionSpace(
    "FLAME",
    (*(f"expression{i}" for i in range(50)), *(f"{joint}{axis}" for joint in ("jaw", "global") for axis in "XYZ")),
    {"expression": tuple(range(50)), "lips": (50, 51, 52), "head": (53, 54, 55)},
    ((-6.0, 6.0),) * 50 + ((-1.0, 1.0),) * 3 + ((-math.pi, math.pi),) * 3,
)  # FLAME expression coefficients 50, jaw 3 and global rotation 3, both axis-angle in radians: 56 channels

SPACES = {space.name: space for space in (ARKIT, FLAME)}

FACTORS = _starting(TABLES["factors"])  # channels of each factor, see spaces.yaml

# Which channel a name is: of a head's shape, a table's column, a rig's weight, however it is written.

MAX_NAME = 200  # characters of the longest name that is looked at
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SIDES = {"Left": ("left", "l"), "Right": ("right", "r")}


class ChannelMatch(NamedTuple):
    """Channels found among names.

    `parts` are the places of the names that add up to a channel: one, or those of its left and its right half; `unused`
    names are no channel's.
    """

    parts: dict[str, list[int]]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


def match_channels(names: Sequence[str], channels: tuple[str, ...] = ARKIT_BLENDSHAPES) -> ChannelMatch:
    """Channels among names in any spelling: those with the prefix under which most are found.

    Raises InputError, which tells both, when two names are one channel's.
    """
    whole, half = ([_readings(name, spellings) for name in names] for spellings in _spellings(channels))
    found_by: dict[str, set[str]] = {}
    for reading in whole:
        for prefix, channel in reading.items():
            found_by.setdefault(prefix, set()).add(channel)
    prefix = min(found_by, key=lambda prefix: (-len(found_by[prefix]), len(prefix), prefix), default="")
    found: dict[str, int] = {}
    for index, reading in enumerate(whole):
        if channel := reading.get(prefix, ""):
            if channel in found:
                both = f"{names[found[channel]]!r} and {names[index]!r}"
                raise InputError(f"one name for {channel}", both, "rename or remove one of them")
            found[channel] = index
    sided = {reading[prefix]: index for index, reading in enumerate(half) if prefix in reading}
    pairs = {channel: (f"{channel}Left", f"{channel}Right") for channel in channels if channel not in found}
    halves = {channel: [sided[side] for side in sides] for channel, sides in pairs.items() if {*sides} <= sided.keys()}
    parts = {channel: [found[channel]] for channel in channels if channel in found} | halves
    used = {place for places in parts.values() for place in places}
    told = [re.sub(r"[^\w.-]+", " ", name)[:60] for name in names]
    rest = [name for index, name in enumerate(told) if index not in used]
    notes = [f"{told[a]} and {told[b]} are merged into {channel}" for channel, (a, b) in halves.items()]
    if rest:
        rest[5:] = [f"{len(rest) - 5} more" for _ in rest[5:6]]
        notes.append(f"no channels of ARKit, so they are not used: {', '.join(rest)}")
    unused = (name for index, name in enumerate(names) if index not in used)
    return ChannelMatch(parts, tuple(unused), tuple(notes))


def words(name: str) -> list[str]:
    """A name cut where case, separators or digits change, in lower case: "headJaw_L01" is head, jaw, l, 01."""
    return [word.lower() for word in _WORDS.findall(name[: MAX_NAME + 1])]


def _readings(name: str, spellings: Mapping[str, str]) -> dict[str, str]:
    """Every way to read a name as a prefix and one of the spellings.

    A prefix is taken without what a tool counts its shapes with, which differs from name to name: "00" or "A25".
    """
    readings, parts = {}, words(name) if len(name) <= MAX_NAME else []
    counted = {i for i, part in enumerate(parts) if part.isdigit()}
    counted |= {i - 1 for i in counted if i > 0 and len(parts[i - 1]) == 1}
    for start in range(len(parts)):
        channel = spellings.get("".join(parts[start:]))
        if channel is not None:
            readings[" ".join(part for i, part in enumerate(parts[:start]) if i not in counted)] = channel
    return readings


@cache
def _spellings(channels: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Channels by their lower-case spellings without separators, and their halves, such as cheekPuffLeft, by theirs."""
    spellings: dict[str, str] = {}
    halves: dict[str, str] = {}
    for channel in channels:
        spellings[channel.lower()] = channel
        side = next((side for side in _SIDES if channel.endswith(side)), "")
        stem, into = channel.removesuffix(side).lower(), spellings if side else halves
        for way in [side] if side else _SIDES:
            for mark in _SIDES[way]:
                into[stem + mark] = channel if side else channel + way
                if stem not in ("jaw", "mouth"):  # which move to a side as a whole: the side is a direction
                    into[mark + stem] = into[stem + mark]
    return spellings, halves


# Arrays from files of others: the header is checked before anything of the size it claims is allocated.

UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, MemoryError),
    *(KeyError, ValueError, TypeError, SyntaxError, tokenize.TokenError),
)  # what a damaged archive, and then a damaged array header, make the readers of both raise


def read_array(opened: Callable[[], IO[bytes]], name: str, kinds: str, most_bytes: int) -> np.ndarray:
    """One array in npy format, whose stream `opened` opens, of numpy's `kinds`, such as "fiu", and a largest size.

    Raises ValueError for another type or a larger array; other damage raises one of `UNREADABLE`.
    """
    with opened() as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} of the type {dtype}")
    if math.prod(shape) * dtype.itemsize > most_bytes:
        raise ValueError(f"{name} of the shape {shape} and type {dtype}, more than {most_bytes} bytes")
    with opened() as stream:
        found: np.ndarray = npy.read_array(stream, allow_pickle=False)
    letters = dtype.kind == "U" and found.nbytes
    if letters and np.frombuffer(found.tobytes(), dtype.byteorder + "u4").max() > sys.maxunicode:
        raise ValueError(f"{name} with letters that are none")
    return found


# Clips.
@dataclass(frozen=True, eq=False, repr=False)
class MotionClip:
    """Curves of every channel of a motion space at a fixed frame rate.

    `values` is (frames, channels) float32: blendshape weights in 0-1, rotations in radians. `present` (channels,) is
    False for channels that a recording does not have or does not move; their values are 0 and mean nothing. Motion
    begins `start_s` seconds into its recording. `repairs` changed what a file had, `warnings` left it as it is. Raises
    InputError when shapes do not fit the space, there is no frame or no channel, a value is not finite, or the frame
    rate is not positive. A clip is equal only to itself.
    """

    values: Float32[np.ndarray, "frames channels"]
    fps: float
    space: MotionSpace
    present: Bool[np.ndarray, " _"] = field(default_factory=lambda: np.ones((), bool))
    start_s: float = 0.0
    repairs: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """Its space, size and rate; not its curves."""
        return f"<MotionClip of {self.space.name}: {len(self.values)} frames at {self.fps:g} a second>"

    def __post_init__(self) -> None:
        """Refuse curves that no face can carry out."""
        if self.values.ndim != 2 or self.values.shape[1] != len(self.space):
            expected = f"(frames, {len(self.space)}) values for the space {self.space.name}"
            raise InputError(expected, f"shape {self.values.shape}", "pass the space these curves belong to")
        if not len(self.values):
            raise InputError("at least one frame of motion", "none", "record or export it again")
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).any(axis=1).sum())
            raise InputError("finite motion values", f"{bad} frames with NaN or infinity", "repair or cut those frames")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise InputError("a positive frame rate", f"{self.fps} frames per second", "pass the rate of the recording")
        if self.present.ndim == 0:
            object.__setattr__(self, "present", np.full(len(self.space), self.present))
        if self.present.shape != (len(self.space),):
            expected = f"a mask of the {len(self.space)} channels of {self.space.name}"
            raise InputError(expected, f"shape {self.present.shape}", "make one entry for each channel")
        if not self.present.any():
            raise InputError("at least one channel of motion", "none", "check the names of the channels")

    def __getitem__(self, channel: str) -> Float32[np.ndarray, " frames"]:
        return self.values[:, self.space.index(channel)]

    def __len__(self) -> int:
        return len(self.values)

    def at(self, frames: Sequence[int] | Int[np.ndarray, " frames"]) -> MotionClip:
        """The frames with these numbers, in this order."""
        picks = np.asarray(frames, np.int64)
        return replace(self, values=self.values[picks], start_s=self.start_s + float(picks[0]) / self.fps)

    def lines(self) -> Iterator[str]:
        """What a person should know of how it was read: a line for each repair and each warning."""
        yield from (f"repaired: {finding.text}" for finding in self.repairs)
        yield from (f"note: {finding.text}" for finding in self.warnings)

    def whole(self) -> MotionClip:
        """The same from the start of its recording, the first frame held until it begins."""
        before = np.repeat(self.values[:1], round(self.start_s * self.fps), axis=0)
        return replace(self, values=np.concatenate([before, self.values]), start_s=0.0) if len(before) else self

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.values) / self.fps

    def at_fps(self, fps: float) -> MotionClip:
        """The same curves at another frame rate; frame i shows the time (i + 0.5) / fps, averaged when going down.

        Curves are taken as straight between frames; going down, a frame is their mean over its duration.
        FLAME's rotations are made continuous first: the result may hold rotation vectors longer than pi.
        """
        if not FPS_RANGE[0] <= self.fps <= FPS_RANGE[1]:
            expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames a second"
            raise InputError(expected, f"{self.fps:g}", "write the rate of the recording")
        if fps == self.fps:
            return self
        values, old = self.values.astype(np.float64), self.fps
        if self.space is FLAME:
            for group in ("lips", "head"):
                rotation = list(FLAME.groups[group])
                values[:, rotation] = _continuous(values[:, rotation])
        frames = max(int(np.ceil(len(values) / old * fps - 1e-6)), 1)
        parts = 1 if fps > old else _PARTS
        times_s = (np.arange(frames * parts) + 0.5) / (fps * parts)
        straight = [np.interp(times_s, (np.arange(len(values)) + 0.5) / old, channel) for channel in values.T]
        resampled = np.stack(straight, axis=1).reshape(frames, parts, -1).mean(axis=1)
        return replace(self, values=resampled.astype(np.float32), fps=fps)


def _continuous(vectors: Float64[np.ndarray, "frames 3"]) -> Float64[np.ndarray, "frames 3"]:
    """Rotation vectors in radians, each turned by whole turns about its axis to lie nearest to the one before."""
    if np.linalg.norm(np.diff(vectors, axis=0), axis=1).max(initial=0.0) <= np.pi:
        return vectors  # no other equivalent can lie nearer
    angles = np.linalg.norm(vectors, axis=1)
    axes = vectors / np.maximum(angles, 1e-12)[:, None]
    continuous = vectors.copy()
    for i in range(1, len(vectors)):
        turns = np.rint((continuous[i - 1] @ axes[i] - angles[i]) / (2 * np.pi))
        continuous[i] += 2 * np.pi * turns * axes[i]
    return continuous


# Motion as a stranger's file has it: gaps are filled, units told from each other, and what is implausible is refused.

MAX_GAP_S = 0.5  # longest time without values that is filled in; a longer one is refused
MOST_WEIGHT, MOST_PERCENT = 2.0, 150.0
"""Largest weights of a blendshape that are believed, counted to 1 and to 100: animators exaggerate."""
MOST_EXPRESSION = 20.0  # largest FLAME expression coefficient that is believed, in standard deviations of faces
CUT_OFF, CUT_SHARE = 0.05, 0.01
"""Trackers step out of 0-1 by less than the first; from the second share of frames on, more than that is told."""
MOST_HEAD_RAD = 3.2
_TURNS = {
    "ARKIT": tuple(((channel,), MOST_HEAD_RAD) for channel in ARKIT.groups["head"]),
    "FLAME": ((FLAME.groups["lips"], 1.6), (FLAME.groups["head"], 6.3)),
}  # channels of rotations that count in one unit, and the most radians of each that are believed
_DEGREES_SHARE, _SWAY_DEG = 0.05, (0.2, 0.6)
"""Share of frames with more radians than are believed that proves degrees. Beside them a channel with less range than
the first counts in radians, since no head that moves is so still, and one with more than the second in degrees too."""


def read_clip(
    values: Float32[np.ndarray, "frames channels"], fps: float, space: MotionSpace, source: Path, **traits: Any
) -> MotionClip:
    """A clip of a file's values, NaN where it has none, with `repairs` and `warnings` for all that is not as it was.

    Frames without a value are filled in, those before the first and after the last whole one left out; weights that
    count to 100 and rotations in degrees are rescaled. Raises InputError, which names the frame, for gaps of more than
    MAX_GAP_S, magnitudes that no face has, and whatever a MotionClip refuses.
    """
    void = np.isnan(values).all(axis=0) if values.ndim == 2 else np.zeros(1, bool)
    if void.any() and not void.all():
        values = np.where(void, np.float32(0), values)
        traits["present"] = traits.get("present", True) & ~void
        names = ", ".join(channel for channel, nothing in zip(space.channels, void, strict=True) if nothing)
        empty = Finding("empty_channels", float(void.sum()), f"missing, for want of any value: {names}")
        traits["warnings"] = (*traits.get("warnings", ()), empty)
    lost = np.isnan(values).any(axis=1) if values.ndim == 2 else void
    if lost.any() and not lost.all() and fps > 0:
        seen = np.flatnonzero(~lost)
        values, _, found = evenly(values[seen], seen / fps, lambda row: f"frame {seen[row] + 1}", source, fps)
        traits["repairs"] = (*traits.get("repairs", ()), *found)
        traits["start_s"] = traits.get("start_s", 0.0) + seen[0] / fps
    try:
        clip = MotionClip(values, fps, space, **traits)
    except InputError as error:
        raise InputError(error.expected, f"{error.got} in {source}", error.do) from error
    weights = range(len(ARKIT_BLENDSHAPES)) if space is ARKIT else ()
    values, repairs = in_units(clip.values, space.channels, weights, _TURNS.get(space.name, ()), source)
    if space is FLAME:
        _refuse_above(values, space.channels, range(50), MOST_EXPRESSION, "an expression coefficient", source)
    beyond = outside(values[:, list(weights)], space.channels)
    return replace(clip, values=values, repairs=(*clip.repairs, *repairs), warnings=(*clip.warnings, *beyond))


def evenly(
    values: Float32[np.ndarray, "rows channels"],
    times_s: Float64[np.ndarray, " rows"],
    called: Callable[[int], str],
    source: Path,
    fps: float | None = None,
) -> tuple[Float32[np.ndarray, "frames channels"], float, list[Finding]]:
    """Values at a steady rate, the one that the times show without `fps`; rows that step evenly stay as they are.

    `called` names a row for a person. Raises InputError for times that go back and a gap of more than MAX_GAP_S.
    """
    if len(times_s) < 2:
        return values, fps or 0.0, []
    steps_s = np.diff(times_s)
    step_s, longest = 1 / fps if fps else np.median(steps_s), int(steps_s.argmax())
    if steps_s.min() < 0 or step_s == 0:
        raise InputError("timecodes that run forward", f"{source}, where they do not", "export the take again")
    regular = np.abs(steps_s - step_s) < step_s / 2
    if regular.all():
        return values, fps or round(float(len(steps_s) / (times_s[-1] - times_s[0])), 3), []
    if steps_s[longest] > MAX_GAP_S:
        got = f"{source} with {steps_s[longest]:.2f} s after {called(longest)}"
        raise InputError(f"no gap of more than {MAX_GAP_S:g} s between rows", got, "cut the take there")
    rate = fps or round(float(1 / steps_s[regular].mean()), 3)
    grid_s = times_s[0] + np.arange(round((times_s[-1] - times_s[0]) * rate) + 1) / rate
    filled = np.stack([np.interp(grid_s, times_s, channel) for channel in values.T], axis=1)
    missing = len(grid_s) - len(values)
    text = f"{missing} of {len(grid_s)} frames had no values and were filled in, the most after {called(longest)}"
    return filled.astype(np.float32), rate, [Finding("gaps_filled", missing / len(grid_s), text)] if missing > 0 else []


def in_units(
    values: Float32[np.ndarray, "frames names"],
    names: Sequence[str],
    weights: Sequence[int],
    turns: Sequence[tuple[Sequence[int], float]],
    source: Path,
) -> tuple[Float32[np.ndarray, "frames names"], list[Finding]]:
    """Values whose columns `weights` count to 1 and whose `turns` are radians, rescaled where the file proves another.

    `turns` are columns that count in one unit, and the most radians of them. Raises InputError for what is neither.
    """
    repairs: list[Finding] = []
    weights, most = list(weights), np.abs(values[:, list(weights)]).max(axis=1, initial=0.0)
    if MOST_WEIGHT < most.max() <= MOST_PERCENT and np.median(most) > MOST_WEIGHT:
        values = values.copy()
        values[:, weights] /= np.float32(100.0)
        text = f"weights count to 100 (the largest is {most.max():.4g}): divided by 100"
        repairs.append(Finding("weights_in_percent", float(most.max()), text))
    _refuse_above(values, names, weights, MOST_WEIGHT, "a weight", source)
    moves = not weights or bool(most.any())  # the head of a body, which comes without a face, turns round and round
    far = [np.abs(values[:, list(group)]).max(axis=1) for group, _ in turns]
    beyond = [reach > limit for reach, (_, limit) in zip(far, turns, strict=True)] if moves else []
    if any(each.mean() >= _DEGREES_SHARE for each in beyond) and max(reach.max() for reach in far) <= 180.0:
        ranges = [np.ptp(values[:, list(group)], axis=0).max() for group, _ in turns]
        sure = [off.any() or moved >= _SWAY_DEG[1] for off, moved in zip(beyond, ranges, strict=True)]
        degrees = [column for (group, _), yes in zip(turns, sure, strict=True) if yes for column in group]
        called, most = ", ".join(names[column] for column in degrees), float(np.abs(values[:, degrees]).max())
        if any(_SWAY_DEG[0] < moved for moved, yes in zip(ranges, sure, strict=True) if not yes):
            got = f"{called} in degrees (up to {most:.4g}) beside others that may be in radians in {source}"
            raise InputError("one unit for all rotations", got, "write all in radians")
        text = f"counted in degrees: {called} (up to {most:.4g}); turned into radians"
        repairs.append(Finding("rotations_in_degrees", most, text))
        values = values.copy()
        values[:, degrees] = np.radians(values[:, degrees])
    for group, limit in turns if moves else ():
        _refuse_above(values, names, group, limit, "a rotation in radians", source)
    return values, repairs


def _refuse_above(
    values: np.ndarray, names: Sequence[str], columns: Sequence[int], most: float, what: str, source: Path
) -> None:
    reach = np.abs(values[:, list(columns)])
    if reach.size and reach.max() > most:
        frame, column = np.unravel_index(reach.argmax(), reach.shape)
        at = columns[int(column)]
        got = f"{values[frame, at]:.4g} in {names[at]}, frame {frame + 1} of {source}"
        raise InputError(f"{what} of at most {most:g}", got, "rescale the file, or cut those frames")


def outside(values: Float32[np.ndarray, "frames names"], names: Sequence[str]) -> list[Finding]:
    """A finding where more than CUT_SHARE of the frames have weights that leave 0-1 by more than CUT_OFF."""
    off = np.maximum(values - 1.0, -values)
    share = float((off > CUT_OFF).any(axis=1).mean()) if off.size else 0.0
    if share <= CUT_SHARE:
        return []
    frame, column = np.unravel_index(off.argmax(), off.shape)
    worst = f"most in {names[column]} with {values[frame, column]:.3g} in frame {frame + 1}"
    return [Finding("weights_clipped", share, f"{100 * share:.1f} % of the frames have weights outside 0-1, {worst}")]


def by_channel(
    values: Float32[np.ndarray, "frames names"], names: Sequence[str]
) -> tuple[Float32[np.ndarray, "frames 55"], dict[str, Any]]:
    """ARKIT values of columns with these names, and the clip's `present` and `warnings`; halves are averaged.

    Raises InputError when two names are one channel's.
    """
    match = match_channels(names, ARKIT.channels)
    arranged, present = np.zeros((len(values), len(ARKIT)), np.float32), np.zeros(len(ARKIT), bool)
    for channel, parts in match.parts.items():
        present[ARKIT.index(channel)] = True
        arranged[:, ARKIT.index(channel)] = values[:, parts].mean(axis=1)
    missing = [channel for channel, there in zip(ARKIT.channels, present, strict=True) if not there]
    notes = [*match.notes, *([f"missing: {', '.join(missing)}"] if missing else [])]
    warnings = tuple(Finding("names_of_channels", float(len(missing)), note) for note in notes)
    return arranged, {"present": present, "warnings": warnings}


# Clips as files.

ARRAYS = {"values": ("fiu", 1 << 30), "fps": ("fiu", 64), "channels": ("U", 1 << 16), "present": ("b", 1 << 16)}
"""Types and largest size of each array that is read; 1 GiB of values is 22 hours at 60 frames per second."""


def save_npz(clip: MotionClip, path: Path) -> None:
    """Write `values` (frames, channels) float32, `fps` float64 and `channels` (channels,) str as npz, atomically.

    Where channels are missing, `present` (channels,) bool says which are there.
    """
    mask: dict[str, Any] = {} if clip.present.all() else {"present": clip.present}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        names = np.array(clip.space.channels)
        np.savez(stream, values=clip.values, fps=np.float64(clip.fps), channels=names, **mask)


def space_of(channels: Sequence[str]) -> MotionSpace | None:
    """The space that these are channels of, ARKit's in any spelling; None for neither."""
    if tuple(channels) == FLAME.channels:
        return FLAME
    return ARKIT if match_channels(channels, ARKIT.channels).parts else None


def load_npz(path: Path) -> MotionClip:
    """Read a motion npz, its space recognised by the channels' names; what a missing channel holds is read as 0.

    ARKit's channels may come in any order and spelling, and some may be missing; of values see `read_clip`. Raises
    InputError for no motion npz, a `present` of another type or length, or one without a channel.
    """
    try:
        with zipfile.ZipFile(path) as archive, np.errstate(over="ignore"):
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            if missing := [name for name in ARRAYS if name != "present" and name not in held]:
                raise ValueError(f"{', '.join(held[:12])[:200] or 'nothing'} in it, but not {' or '.join(missing)}")
            names = [name for name in ARRAYS if name in held]
            found = {name: read_array(partial(archive.open, f"{name}.npy"), name, *ARRAYS[name]) for name in names}
            values, fps = np.ascontiguousarray(found["values"], np.float32), float(found["fps"].item())
            channels = tuple(found["channels"].ravel().tolist())
        present = found.get("present", np.ones(len(channels), bool))
        if present.shape != (len(channels),) or not present.any():
            raise ValueError(f"present of the shape {present.shape} for {len(channels)} channels, or without any")
    except UNREADABLE as error:
        expected = "a motion npz with values, fps and channels, or one of FLAME's expression and jaw"
        raise InputError(expected, f"{path}: {cause(error)}", "write one with `avi talk --motion`") from error
    if values.ndim == 2 and values.shape[1] == len(channels):
        values = np.where(present, values, np.float32(0))
    space = space_of(channels)
    if space and channels == space.channels:
        return read_clip(values, fps, space, path, present=present)
    if not space or values.ndim != 2 or values.shape[1] != len(channels):
        got = f"{path} with {len(channels)} channels beginning {', '.join(channels[:3])}"
        raise InputError(f"the channels of {' or '.join(SPACES)}", got, "convert it with `avi export`")
    kept = np.flatnonzero(present)
    values, traits = by_channel(values[:, kept], [channels[place] for place in kept])
    return read_clip(values, fps, ARKIT, path, **traits)


# Factors of a face, lips, expression, blink, gaze and pose, each from a source of its own.

REST_S = 0.2  # in which lips come to rest after the end of a source that is too short


def compose(base: MotionClip, sources: Mapping[str, MotionClip], strengths: Mapping[str, float]) -> MotionClip:
    """The base's motion with some factors taken from sources as long as it, and some stronger or weaker.

    A strength multiplies the factor's channels: 0 is its rest, 1 (also where none is given) leaves it. Channels of
    factors with neither source nor strength are the base's to the bit; all others are kept within the space's limits.
    Raises InputError for a factor that is none, and motion of another space than ARKIT, of another length or frame
    rate.
    """
    for factor in (*sources, *strengths):
        if factor not in FACTORS:
            raise InputError(f"a factor among {', '.join(FACTORS)}", repr(factor), "rename it")
    values = base.values.copy()
    for factor, channels in FACTORS.items():
        source, strength = sources.get(factor, base), strengths.get(factor, 1.0)
        if source.space is not ARKIT:
            raise InputError("factors in the ARKIT space", f"{factor} in {source.space.name}", "convert it first")
        if len(source) != len(base) or source.fps != base.fps:
            expected = f"{len(base)} frames at {base.fps:g} a second for {factor}"
            raise InputError(expected, f"{len(source)} at {source.fps:g}", "fit the source to the speech first")
        if source is not base or strength != 1.0:
            columns = list(channels)
            values[:, columns] = ARKIT.limited(np.float32(strength) * source.values)[:, columns]
    return MotionClip(values, base.fps, base.space)


def fitted(clip: MotionClip, frames: int, factor: str) -> MotionClip:
    """A clip cut or continued to a number of frames.

    What is too short is played to and fro, without a jump; lips would speak backwards, so they come to rest instead.
    """
    if factor != "lips":
        period = max(2 * len(clip) - 2, 1)
        place = np.arange(frames) % period
        return clip.at(np.minimum(place, period - place))
    values = np.zeros((frames, len(clip.space)), np.float32)
    known = min(len(clip), frames)
    values[:known] = clip.values[:known]
    fade = np.linspace(1.0, 0.0, max(round(REST_S * clip.fps), 1) + 2, dtype=np.float32)[1:-1, None]
    tail = values[known : known + len(fade)]
    tail[:] = clip.values[known - 1] * fade[: len(tail)]
    return MotionClip(values, clip.fps, clip.space)
