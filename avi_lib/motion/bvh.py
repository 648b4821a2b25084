"""Head movement as Biovision BVH: the track that animation tools retarget to a skeleton's head.

>>> save_bvh(motion, Path("nod.bvh"))
>>> again = load_bvh(Path("nod.bvh"))  # a MotionClip of the ARKIT space; only the head's channels are not zero

Written is a chain Hips > Neck > Head, of which only Head turns. Its channels are `Yrotation Xrotation Zrotation` in
degrees, which BVH multiplies in this order: about y by the yaw, about x by the pitch, about z by the roll, the same
matrix as `face.head.rotations`. Frame Time is the frame rate's inverse. Lengths are centimetres of an adult and carry
nothing.

Read is the joint named after the head, in any order of channels. Its rotation is the product of all rotations from the
root down to it: how a viewer ahead sees the head, whatever part the hips, the spine and the neck have in it. A file
whose person faces another way than +z therefore gives a head turned away.

Format: M. Meredith and S. Maddock, "Motion Capture File Formats Explained", University of Sheffield, 2001.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, HEAD_ROTATION

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
