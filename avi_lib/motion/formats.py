"""Motion files by their suffix: what is read, what is written, and from one space into the other.

>>> write_motion(read_motion(Path("talk.csv")), Path("talk.glb"), load_head())
>>> write_motion(clip, Path("frames"), load_head())      # a folder: one OBJ a frame
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from posixpath import splitext
from typing import IO

import numpy as np
from jaxtyping import Float32, Float64

from avi_lib.errors import InputError
from avi_lib.face.head import Head, RiggedHead, load_head
from avi_lib.files import atomic_path
from avi_lib.motion.clip import (
    ARKIT,
    ARKIT_BLENDSHAPES,
    FLAME,
    HEAD_ROTATION,
    UNREADABLE,
    Curves,
    MotionClip,
    load_curves,
    load_motion,
    read_array,
    save_motion,
)

# Live Link Face CSV: the file Apple's face capture leaves on an iPhone, in and out.


EYE_RANGE_RAD = 0.6
"""Eye rotation at a gaze blendshape of 1."""
MAX_GAP_S = 0.5
"""Longest time without a row that is filled in; a longer one is refused."""
USUAL_COUNTS = (24, 25, 30, 48, 50, 60)
"""Frames a second that phones and editors count; the app counts 60 at most."""
SLOWEST_FPS = 0.5
"""Rows at this rate or below pass over so many seconds that none is seen to change into the next."""

_DAY_S = 86_400
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+):(\d+(?:\.\d+)?)", re.ASCII)

_MIRRORED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
_COLUMNS = tuple(_MIRRORED.get(name, name) for name in ARKIT_BLENDSHAPES)  # the app lists right before left here
_ROTATIONS = ("headYaw", "headPitch", "headRoll")
_EYES = ("LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll")


def _title(channel: str) -> str:
    return channel[0].upper() + channel[1:]


HEADER = ("Timecode", "BlendShapeCount", *map(_title, _COLUMNS + _ROTATIONS), *_EYES)


def save_livelink(clip: MotionClip, path: Path) -> None:
    """Write an ARKIT clip as Live Link Face CSV, atomically.

    Raises InputError for another space and for what such a file cannot tell: a single frame, a rate of SLOWEST_FPS or
    less, and a clip within one second at a rate above those of USUAL_COUNTS that would be read as the highest of them.
    """
    if clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {clip.space.name}", "export FLAME motion as npz")
    _check_tellable(clip)
    columns = np.stack([clip[channel] for channel in _COLUMNS + _ROTATIONS], axis=1)
    table = np.concatenate([columns, _eye_rotations(clip)], axis=1)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for frame, row in enumerate(table):
            writer.writerow([_timecode(frame, clip.fps), len(HEADER) - 2, *(f"{value:.7g}" for value in row)])


def load_livelink(path: Path, fps: float | None = None) -> MotionClip:
    """Read Live Link Face CSV into the ARKIT space at the steady frame rate that its timecodes show.

    Dropped frames are filled in by linear interpolation. With `fps` the timecodes are not looked at and the rows are
    taken as evenly spaced. Columns are found by name, so either order of left and right is read rightly. Raises
    InputError for a missing column, a row of another length, a value that is no number, fewer than two frames, a gap
    of more than MAX_GAP_S, and timecodes that run backwards or, within one second, could be of several rates.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("a Live Link Face CSV", f"{path}: {error}", "export it again from the app") from error
    wanted = [_title(channel) for channel in ARKIT.channels]
    missing = [title for title in ["Timecode", *wanted] if title not in header]
    if missing:
        raise InputError(
            "a Live Link Face CSV with the 52 blendshapes and head rotation",
            f"{path} without {', '.join(missing[:4])}",
            "switch on head rotation in the app and export again",
        )
    if len(rows) < 2:
        raise InputError("at least two frames", f"{len(rows)} in {path}", "record a longer take")
    picks = [header.index(title) for title in wanted]
    try:
        values = np.array([[row[pick] for pick in picks] for row in rows], dtype=np.float32)
        if fps is None:
            values, fps = _steady(values, [row[header.index("Timecode")] for row in rows], path)
        return MotionClip(values, fps, ARKIT)
    except (ValueError, IndexError) as error:
        raise InputError("numbers in every column of every row", f"{path}: {error}", "export it again") from error


def _check_tellable(clip: MotionClip) -> None:
    """Raise InputError for a clip whose rate no reader can find in its timecodes, or finds wrongly."""
    if len(clip) < 2:
        raise InputError("at least two frames for a Live Link Face CSV", "1", "export it as npz")
    if clip.fps <= SLOWEST_FPS:
        expected = f"more than {SLOWEST_FPS:g} frames per second for a Live Link Face CSV"
        raise InputError(expected, f"{clip.fps:g}", "export it as npz, or at another rate")
    last, most = _timecode(len(clip) - 1, clip.fps), USUAL_COUNTS[-1]
    if round(clip.fps) > most and last.startswith("00:00:00:") and USUAL_COUNTS[-2] <= float(last[9:]) < most:
        expected = f"a clip of more than a second for a Live Link Face CSV above {most} frames per second"
        raise InputError(expected, f"{clip.duration_s:.2f} s at {clip.fps:g}", "export it as npz")


def _eye_rotations(clip: MotionClip) -> Float32[np.ndarray, "frames 6"]:
    still = np.zeros(len(clip), np.float32)
    left_yaw = EYE_RANGE_RAD * (clip["eyeLookOutLeft"] - clip["eyeLookInLeft"])
    right_yaw = EYE_RANGE_RAD * (clip["eyeLookInRight"] - clip["eyeLookOutRight"])
    left_pitch = EYE_RANGE_RAD * (clip["eyeLookDownLeft"] - clip["eyeLookUpLeft"])
    right_pitch = EYE_RANGE_RAD * (clip["eyeLookDownRight"] - clip["eyeLookUpRight"])
    return np.stack([left_yaw, left_pitch, still, right_yaw, right_pitch, still], axis=1).astype(np.float32)


def _timecode(frame: int, fps: float) -> str:
    """Timecode HH:MM:SS:FF.mmm, FF counting whole frames per second as the app does: 60 for a rate of 59.94."""
    per_second = max(round(fps), 1)
    seconds, thousandths = divmod(round(1000 * per_second * frame / fps), 1000 * per_second)
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}:{thousandths / 1000:06.3f}"


def _steady(
    values: Float32[np.ndarray, "rows channels"], timecodes: list[str], path: Path
) -> tuple[Float32[np.ndarray, "frames channels"], float]:
    """Values at a steady rate and that rate; rows that step evenly, as those of a whole take do, stay as they are."""
    times_s = _times(timecodes, path)
    steps_s = np.diff(times_s)
    step_s = np.median(steps_s)
    if steps_s.min() < 0 or step_s == 0:
        raise InputError("timecodes that run forward", f"{path}, where they do not", "export the take again")
    regular = np.abs(steps_s - step_s) < step_s / 2
    if regular.all():
        return values, round(float(len(steps_s) / (times_s[-1] - times_s[0])), 3)
    longest = int(steps_s.argmax())
    if steps_s[longest] > MAX_GAP_S:
        raise InputError(
            f"no gap of more than {MAX_GAP_S:g} s between rows",
            f"{path} with {steps_s[longest]:.2f} s after {timecodes[longest]}",
            "cut the take there",
        )
    rate = round(float(1 / steps_s[regular].mean()), 3)
    grid_s = times_s[0] + np.arange(round((times_s[-1] - times_s[0]) * rate) + 1) / rate
    filled = np.stack([np.interp(grid_s, times_s, channel) for channel in values.T], axis=1)
    return filled.astype(np.float32), rate


def _times(timecodes: list[str], path: Path) -> Float64[np.ndarray, " rows"]:
    """Seconds of every row, going on after midnight.

    How many frames a second has follows from the rows where the second changes: one step on from the last frame of a
    second is that many frames past the first of the next, or fewer where rows are missing, hence the upper quartile.
    All of three such places or less may lack rows; the highest frame counts too then.
    """
    found = [_TIMECODE.fullmatch(timecode.strip()) for timecode in timecodes]
    hours, minutes, seconds, frames = (
        np.array([match.groups() for match in found if match], np.float64).reshape(-1, 4).T
    )
    if len(frames) < len(timecodes):
        bad = timecodes[found.index(None)]
        raise InputError("timecodes HH:MM:SS:FF.mmm", f"{bad!r} in {path}", "export the take again")
    clock_s = 3600 * hours + 60 * minutes + seconds
    clock_s[1:] += _DAY_S * np.cumsum(np.diff(clock_s) < -_DAY_S / 2)
    within, change = np.diff(clock_s) == 0, np.diff(clock_s) == 1
    if not change.any():
        return np.asarray(clock_s + frames / _count_within(frames, path))
    step = np.median(np.diff(frames)[within]) if within.any() else 1.0
    counted = np.quantile((frames[:-1] + step - frames[1:])[change], 0.75, method="higher")
    per_second = max(np.round(counted), np.floor(frames.max()) + 1 if change.sum() <= 3 else 1.0)
    return np.asarray(clock_s + frames / per_second)


def _count_within(frames: Float64[np.ndarray, " rows"], path: Path) -> int:
    """Frames a second of a take within one second: the one of USUAL_COUNTS above its highest frame."""
    steps = np.diff(frames)
    if (steps > 0.0).all() and np.ptp(steps) < 0.01:
        possible = [count for count in USUAL_COUNTS if count > frames.max()]
        if len(possible) == 1:
            return possible[0]
    raise InputError(
        "timecodes that span a whole second, or evenly spaced ones that only one frame rate has",
        f"{path} within one second",
        "record longer, or name its rate in Python: load_livelink(path, fps=...)",
    )


# Head movement as Biovision BVH: the track that animation tools retarget to a skeleton's head.


MAX_BYTES = 128 << 20
MAX_LINES = 3_000_000
MAX_JOINTS = 1000
MAX_DEPTH = 200
MAX_NUMBERS = 50_000_000
"""Frames times channels: 400 MB of them, or a body's 100 channels for two hours at 60 frames a second."""
FPS_RANGE = (0.01, 10_000.0)
"""Frame rates of a BVH that is read."""
AGAIN = "export it again as BVH"

_SKELETON = """HIERARCHY
ROOT Hips
{
	OFFSET 0.0 95.0 0.0
	CHANNELS 6 Xposition Yposition Zposition Yrotation Xrotation Zrotation
	JOINT Neck
	{
		OFFSET 0.0 52.0 0.0
		CHANNELS 3 Yrotation Xrotation Zrotation
		JOINT Head
		{
			OFFSET 0.0 8.0 0.0
			CHANNELS 3 Yrotation Xrotation Zrotation
			End Site
			{
				OFFSET 0.0 22.0 0.0
			}
		}
	}
}
MOTION
"""
_STILL = "0 95 0 0 0 0 0 0 0 "
"""Hips where they stand, then no rotation of Hips and Neck."""

_AXES = {"Xrotation": 0, "Yrotation": 1, "Zrotation": 2}
_CHANNELS = {*_AXES, "Xposition", "Yposition", "Zposition"}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class _Joint:
    """A joint: where its channels begin among a frame's numbers, and its parent's place in the list of joints."""

    name: str
    parent: int
    first: int
    channels: list[str] = field(default_factory=list)


def save_bvh(clip: MotionClip, path: Path) -> None:
    """Write the head's rotation of an ARKIT clip as BVH, atomically.

    Raises InputError for another space, and for a rate or a length that `load_bvh` would refuse.
    """
    if clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {clip.space.name}", "export FLAME motion as npz")
    if not FPS_RANGE[0] <= clip.fps <= FPS_RANGE[1]:
        expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames per second for BVH"
        raise InputError(expected, f"{clip.fps:g}", "export it as npz, or at another rate")
    degrees = np.degrees(np.stack([clip[channel] for channel in ("headYaw", "headPitch", "headRoll")], axis=1))
    pattern = _STILL + "%.6f %.6f %.6f\n"
    head = f"{_SKELETON}Frames: {len(clip)}\nFrame Time: {1 / clip.fps:.10g}\n"
    rows = pattern * len(clip) % tuple(degrees.ravel().tolist())
    if len(clip) + head.count("\n") > MAX_LINES or len(head) + len(rows) > MAX_BYTES:
        expected = f"a BVH of at most {MAX_LINES} lines and {MAX_BYTES >> 20} MiB"
        raise InputError(expected, f"{len(clip)} frames", "export it in parts")
    with atomic_path(path) as temporary, temporary.open("w", newline="\n", encoding="ascii") as stream:
        stream.write(head)
        stream.write(rows)


def load_bvh(path: Path) -> MotionClip:
    """Head rotation of a BVH file as an ARKIT clip; yaw and roll go on past half a turn rather than jump.

    Raises InputError for a file that is no BVH, is larger than MAX_BYTES, has no joint named after the head or several,
    whose head has no rotation, or whose frames are not as many numbers as its channels and its header say.
    """
    path = Path(path)
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"a BVH of at most {MAX_BYTES >> 20} MiB", f"{size >> 20} MiB in {path}", "cut it")
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = list(islice(stream, MAX_LINES + 1))
    except OSError as error:
        raise InputError("a BVH file", f"{path}: {error.strerror or error}", "check the path") from error
    if len(lines) > MAX_LINES:
        raise InputError(f"a BVH of at most {MAX_LINES} lines", f"more in {path}", "cut it")
    try:
        joints, rest = _hierarchy(lines)
        frames, fps, start = _timing(lines, rest)
        chain = _chain(joints)
        numbers = _numbers(lines[start:], frames, joints[-1].first + len(joints[-1].channels))
        matrices = _product(chain, numbers)
    except (ValueError, IndexError) as error:
        raise InputError("a BVH file with a head's rotation", f"{path}: {error}", AGAIN) from error
    values = np.zeros((frames, len(ARKIT)), np.float32)
    values[:, [ARKIT.index(channel) for channel in HEAD_ROTATION]] = _angles(matrices)
    return MotionClip(values, fps, ARKIT)


def _hierarchy(lines: list[str]) -> tuple[list[_Joint], int]:
    """The joints in the file's order, and the number of the line after them."""
    joints: list[_Joint] = []
    open_joints: list[int] = []
    waiting, count = -1, 0
    for number, words in _words(lines):
        match words:
            case ["HIERARCHY"] if not joints:
                pass
            case ["ROOT" | "JOINT" as kind, *name] if name and (kind == "ROOT") == (not joints):
                waiting = len(joints)
                joints.append(_Joint(" ".join(name)[:80], open_joints[-1] if open_joints else -1, count))
            case ["End" | "end", "Site" | "site", *_] if open_joints:
                waiting = open_joints[-1]
            case ["{"] if waiting >= 0:
                open_joints.append(waiting)
                waiting = -1
            case ["}"] if open_joints:
                open_joints.pop()
            case ["OFFSET", _, _, _] if open_joints:
                pass
            case ["CHANNELS", many, *channels] if open_joints and open_joints[-1] == len(joints) - 1:
                if int(many) != len(channels) or not _CHANNELS.issuperset(channels) or joints[-1].channels:
                    raise ValueError(f"channels that do not fit in line {number + 1}")
                joints[-1].channels.extend(channels)
                count += len(channels)
            case ["MOTION"] if joints and not open_joints:
                return joints, number + 1
            case _:
                raise ValueError(f"{' '.join(words)[:60]!r} in line {number + 1}")
        if len(joints) > MAX_JOINTS or len(open_joints) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_JOINTS} joints or {MAX_DEPTH} levels")
    raise ValueError("no MOTION after its joints")


def _words(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines that say something; a brace behind other words counts as a line."""
    for number, line in enumerate(lines):
        words = line.split()
        if len(words) > 1 and words[-1] == "{":
            yield number, words[:-1]
            words = ["{"]
        if words:
            yield number, words


def _timing(lines: list[str], first: int) -> tuple[int, float, int]:
    """Frames, frames a second, and the number of the first frame's line."""
    found = [number for number in range(first, len(lines)) if lines[number].strip()][:2]
    if len(found) < 2:
        raise ValueError("no frames")
    frames = re.fullmatch(r"Frames\s*:\s*(\d{1,9})", lines[found[0]].strip(), re.ASCII)
    step = re.fullmatch(r"Frame Time\s*:\s*([\d.eE+-]{1,30})", lines[found[1]].strip(), re.ASCII)
    if not frames or not step:
        raise ValueError(f"no 'Frames: N' and 'Frame Time: seconds' in lines {found[0] + 1} and {found[1] + 1}")
    step_s = float(step[1])
    if not 1 / FPS_RANGE[1] <= step_s <= 1 / FPS_RANGE[0]:
        raise ValueError(f"a frame time of {step[1]} s")
    return int(frames[1]), round(1 / step_s, 3 if step_s <= 1.0 else 6), found[1] + 1


def _chain(joints: list[_Joint]) -> list[_Joint]:
    """The joints from the root to the head."""
    last_words = [(_WORDS.findall(joint.name) or [""])[-1].lower() for joint in joints]
    heads = [index for index, word in enumerate(last_words) if word == "head"]
    if len(heads) != 1:
        names = " and ".join(joints[index].name for index in heads[:3]) or ", ".join(joint.name for joint in joints[:8])
        raise ValueError(f"{len(heads)} joints named after the head ({names})")
    chain = [joints[heads[0]]]
    while chain[-1].parent >= 0:
        chain.append(joints[chain[-1].parent])
    if not any(channel in _AXES for joint in chain for channel in joint.channels):
        raise ValueError("a head that no channel turns")
    return chain[::-1]


def _numbers(lines: list[str], frames: int, channels: int) -> Float64[np.ndarray, "frames channels"]:
    rows = [line for line in lines if line.strip()]
    if len(rows) != frames or not frames:
        raise ValueError(f"{len(rows)} rows, but 'Frames: {frames}'")
    if frames * channels > MAX_NUMBERS:
        raise ValueError(f"more than {MAX_NUMBERS} numbers")
    numbers = np.loadtxt(rows, np.float64, comments=None, ndmin=2)
    if numbers.shape[1] != channels:
        raise ValueError(f"{numbers.shape[1]} numbers a frame for {channels} channels")
    if not np.isfinite(numbers).all():
        raise ValueError("NaN or infinity")
    return numbers


def _product(chain: list[_Joint], numbers: Float64[np.ndarray, "frames channels"]) -> Float64[np.ndarray, "frames 3 3"]:
    """The product of all rotations of a chain, each joint's in the order of its channels."""
    matrices = np.tile(np.eye(3), (len(numbers), 1, 1))
    for joint in chain:
        for offset, channel in enumerate(joint.channels):
            if channel in _AXES:
                matrices = matrices @ _about(_AXES[channel], np.radians(numbers[:, joint.first + offset]))
    return matrices


def _about(axis: int, angle_rad: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames 3 3"]:
    """Rotations about x, y or z."""
    matrices = np.tile(np.eye(3), (len(angle_rad), 1, 1))
    after, last = (axis + 1) % 3, (axis + 2) % 3
    matrices[:, after, after] = matrices[:, last, last] = np.cos(angle_rad)
    matrices[:, last, after] = np.sin(angle_rad)
    matrices[:, after, last] = -matrices[:, last, after]
    return matrices


def _angles(matrices: Float64[np.ndarray, "frames 3 3"]) -> Float64[np.ndarray, "frames 3"]:
    """Pitch, yaw and roll in radians of matrices about y, x and z in this order."""
    pitch = -np.arcsin(np.clip(matrices[:, 1, 2], -1.0, 1.0))
    yaw = np.unwrap(np.arctan2(matrices[:, 0, 2], matrices[:, 2, 2]))
    roll = np.unwrap(np.arctan2(matrices[:, 1, 0], matrices[:, 1, 1]))
    return np.stack([pitch, yaw, roll], axis=1)


# FLAME motion as an npz of coefficients under the names that the field's tools use.


def save_flame_coefficients(clip: MotionClip, path: Path) -> None:
    """Write a FLAME clip as npz without pickle, atomically; InputError for another space."""
    if clip.space is not FLAME:
        expected = "motion in the FLAME space"
        raise InputError(expected, f"the space {clip.space.name}", "convert it with a FLAME model file first")
    expression, jaw, turned = (clip.values[:, list(FLAME.groups[group])] for group in ("expression", "lips", "head"))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, expression=expression, jaw_pose=jaw, global_pose=turned, fps=np.float64(clip.fps))


WRITABLE = {
    ".npz": "the motion itself; of FLAME motion expression, jaw_pose and global_pose",
    ".csv": "Live Link Face",
    ".glb": "glTF: the head with morph targets, head and eye rotation",
    ".bvh": "the head's rotation alone",
    ".usda": "USD as text: the head with blendshapes and a skeleton",
    ".usdc": "the same, binary",
    ".usdz": "the same, with its texture",
}
"""What is written by suffix; a name without one is a folder with one OBJ a frame."""
READABLE = (".npz", ".csv", ".glb", ".gltf", ".bvh")
MOTION_SUFFIXES = tuple(WRITABLE)
_WITH_HEAD = (".glb", ".usda", ".usdc", ".usdz")


def write_motion(motion: MotionClip, output: Path, head: RiggedHead | None = None) -> None:
    """Write motion by the suffix of `output`, atomically; formats with a head show `head`, the open one if None.

    Raises InputError for another suffix, for motion of a space that the format does not know, for a head that it cannot
    hold, and OutputError where nothing can be written.
    """
    check_motion(output, head)
    suffix = output.suffix.lower()
    if suffix == ".csv":
        save_livelink(motion, output)
    elif suffix == ".bvh":
        save_bvh(motion, output)
    elif suffix == ".npz":
        (save_flame_coefficients if motion.space is FLAME else save_motion)(motion, output)
    else:
        _write_with_head(motion, output, head)


def _write_with_head(motion: MotionClip, output: Path, head: RiggedHead | None) -> None:
    """Formats that hold a head; what they need is loaded where it is used."""
    if output.suffix.lower() == ".glb":
        from avi_lib.heads.gltf_writing import write_glb

        write_glb(_shaped(head), motion, output)
    elif output.suffix:
        from avi_lib.heads.usd import write_usd

        write_usd(_shaped(head), motion, output)
    else:
        from avi_lib.heads.obj import write_obj_sequence

        write_obj_sequence(head or load_head(), motion, output)


def read_motion(path: Path) -> MotionClip:
    """Read motion by the suffix of `path`; an npz may be this library's or hold FLAME coefficients."""
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise InputError(f"a motion file ending in {', '.join(READABLE)}", str(path), "change the suffix")
    if suffix == ".csv":
        return load_livelink(path)
    if suffix == ".bvh":
        return load_bvh(path)
    if suffix == ".npz":
        return load_flame(path).clip if holds_coefficients(path) else load_motion(path)
    from avi_lib.heads.gltf_writing import read_glb_motion

    return read_glb_motion(path)


def read_curves(path: Path) -> Curves:
    """ARKit motion of a file and which of its channels are there; InputError for another space."""
    suffix = path.suffix.lower()
    if suffix == ".npz" and not holds_coefficients(path):
        curves = load_curves(path)
    else:
        clip = read_motion(path)
        turns = np.isin(clip.space.channels, HEAD_ROTATION)
        curves = Curves(clip, turns if suffix == ".bvh" else np.ones(len(clip.space), dtype=bool))
    if curves.clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"{path} in {curves.clip.space.name}", "convert it first")
    return curves


def converted(motion: MotionClip, space: str, head: RiggedHead | None) -> tuple[MotionClip, str]:
    """Motion in the space of a name, by the map of a FLAME head, and what was lost in words, if anything.

    Raises InputError for another name, and where the spaces differ and the head is not FLAME's.
    """
    if space not in (ARKIT.name, FLAME.name):
        raise InputError(f"a space: {ARKIT.name} or {FLAME.name}", repr(space), "name one of them")
    if motion.space.name == space:
        return motion, ""
    from avi_lib.heads.flame_head import FlameHead

    if not isinstance(head, FlameHead):
        got = head.name if head else "none"
        raise InputError(f"a FLAME head to go from {motion.space.name} to {space}", got, "name it with --head")
    if space == FLAME.name:
        return head.fitted.to_flame(motion), head.fitted.describe()
    clip, error = head.fitted.to_arkit(motion)
    return clip, f"{error.rms_mm:.2f} mm off on average, {100 * error.relative:.0f} % of the movement"


def written_files(output: Path) -> tuple[Path, ...]:
    """Every file that is written for a result of this name: USD keeps its texture beside it."""
    if not output.suffix.lower().startswith(".usd"):
        return (output,)
    from avi_lib.heads.usd import companions

    return (output, *companions(output))


def writable_here() -> tuple[str, ...]:
    """The suffixes that this environment can write: those of USD need the package usd-core."""
    has_usd = find_spec("pxr") is not None
    return tuple(suffix for suffix in MOTION_SUFFIXES if has_usd or not suffix.startswith(".usd"))


def check_motion(output: Path, head: RiggedHead | None = None) -> None:
    """Raise InputError unless a motion file of this name can be written with this head."""
    suffix = output.suffix.lower()
    if suffix and suffix not in MOTION_SUFFIXES:
        expected = f"a motion file ending in {', '.join(MOTION_SUFFIXES)}, or a folder's name"
        raise InputError(expected, str(output), "change the suffix")
    if suffix in _WITH_HEAD:
        _shaped(head)


def _shaped(head: RiggedHead | None) -> Head:
    if head is None:
        return load_head()
    if not isinstance(head, Head):
        expected = f"a head with blendshapes for {', '.join(_WITH_HEAD)}"
        raise InputError(expected, f"the FLAME head {head.name}", "write its coefficients, or a folder of OBJ")
    return head


COEFFICIENTS_FPS = 25.0
"""Frame rate of files that do not tell theirs."""

EXPRESSION_NAMES = ("expression", "exp", "expcode", "expression_params")
_JAW = ("jaw", "jaw_pose", "jawpose", "jaw_params")
_GLOBAL = ("global", "global_pose", "global_orient", "globalpose")
_POSE = ("pose", "posecode")
_NAMES = (*EXPRESSION_NAMES, *_JAW, *_GLOBAL, *_POSE, "fps")
_MOST_BYTES = 1 << 30

_Opener = Callable[[], IO[bytes]]


def load_flame(path: Path) -> Curves:
    """FLAME curves of a clip.

    Args:
        path: the clip's npz, or any npy file of its folder.

    Raises:
        InputError: no expression or no jaw, arrays of other shapes or of objects, NaN, or lengths that differ.
    """
    try:
        if path.suffix.lower() == ".npy":
            return _curves({file.stem: partial(_opened, file) for file in sorted(path.parent.glob("*.npy"))})
        with zipfile.ZipFile(path) as archive:
            return _curves({splitext(name)[0]: partial(archive.open, name) for name in archive.namelist()})
    except UNREADABLE as error:
        raise InputError(
            "FLAME coefficients with expression and jaw", f"{path}: {error}", "write them as plain arrays of numbers"
        ) from error


def holds_coefficients(path: Path) -> bool:
    """Whether a file is an npz with expression coefficients, judged by the names of its arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(splitext(name)[0].lower() in EXPRESSION_NAMES for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def require_coefficients(names: list[str]) -> None:
    """ValueError unless the arrays that a clip has are those of an expression and a jaw."""
    has = {name.lower() for name in names}
    if not has & set(EXPRESSION_NAMES):
        raise ValueError(
            f"no {', '.join(EXPRESSION_NAMES[:-1])} or {EXPRESSION_NAMES[-1]} among {', '.join(sorted(has)[:6])}"
        )
    if not has & {*_JAW, *_POSE}:
        raise ValueError(f"no {', '.join(_JAW)} or pose among {', '.join(sorted(has)[:6])}")


def _curves(openers: Mapping[str, _Opener]) -> Curves:
    """Curves from the arrays of one clip; ValueError says what does not fit."""
    require_coefficients(list(openers))
    arrays = {
        name.lower(): read_array(opened, name, "fiu", _MOST_BYTES)
        for name, opened in openers.items()
        if name.lower() in _NAMES
    }
    expression = _first(arrays, EXPRESSION_NAMES, 50, exact=False)
    pose = _first(arrays, _POSE, 6, exact=True)
    jaw, turn = _first(arrays, _JAW, 3, exact=True), _first(arrays, _GLOBAL, 3, exact=True)
    if jaw is None and pose is not None:
        jaw = pose[:, 3:]
    if turn is None and pose is not None:
        turn = pose[:, :3]
    if expression is None or jaw is None:
        raise ValueError("no expression or no jaw")
    present = np.ones(len(FLAME), dtype=bool)
    present[list(FLAME.groups["head"])] = turn is not None and bool(turn.any())
    turn = np.zeros_like(jaw) if turn is None else turn
    if not len(expression) == len(jaw) == len(turn):
        raise ValueError(f"{len(expression)} frames of expression, {len(jaw)} of jaw, {len(turn)} of global rotation")
    rate = arrays.get("fps", np.array(COEFFICIENTS_FPS))
    if rate.size != 1:
        raise ValueError(f"{rate.size} frame rates")
    fps = float(rate.item())
    return Curves(MotionClip(np.concatenate([expression[:, :50], jaw, turn], axis=1), fps, FLAME), present)


def _first(
    arrays: Mapping[str, np.ndarray], names: tuple[str, ...], width: int, exact: bool
) -> Float32[np.ndarray, "frames _"] | None:
    """The array of the first of the names that is there, as (frames, coefficients)."""
    name = next((name for name in names if name in arrays), None)
    if name is None:
        return None
    found = arrays[name]
    if found.ndim == 3 and 1 in found.shape[:2]:
        found = found.reshape(-1, found.shape[2])
    columns = found.shape[1] if found.ndim == 2 else 0
    if columns < width or (exact and columns != width):
        wanted = f"{width}" if exact else f"{width} or more"
        raise ValueError(f"{name} of the shape {found.shape}, not (frames, {wanted}) axis-angle or coefficients")
    with np.errstate(over="ignore"):
        return found.astype(np.float32)
