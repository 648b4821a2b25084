"""Motion files by their suffix: what is read, what is written, and from one space into the other.

>>> save_motion(load_motion(Path("talk.csv")), Path("talk.glb"), load_head())
>>> save_motion(clip, Path("frames"), load_head())      # a folder: one OBJ a frame
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count, islice, takewhile
from pathlib import Path
from posixpath import splitext
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from avi_lib.errors import Finding, InputError, cause
from avi_lib.face.head import Head, RiggedHead, load_head
from avi_lib.files import atomic_path, decoded, number, table_rows
from avi_lib.motion import clip as clips
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, by_channel, match_channels, read_array, read_clip, words

WRITABLE = {
    ".npz": "the motion itself; of FLAME motion expression, jaw_pose and global_pose",
    ".csv": "Live Link Face",
    ".glb": "glTF: the head with morph targets, head and eye rotation",
    ".bvh": "the head's rotation alone",
    ".usda": "USD as text: the head with blendshapes and a skeleton",
    ".usdc": "the same, binary",
    ".usdz": "the same, with its texture",
}  # what is written by suffix; a name without one is a folder with one OBJ a frame
READABLE = (".npz", ".csv", ".glb", ".gltf", ".bvh")
_HEADS = {
    **dict.fromkeys((".usda", ".usdc", ".usdz"), ("export", "write_usd")),
    ".glb": ("export", "write_glb"),
    "": ("obj", "write_obj_sequence"),
}  # formats that show a head, and what writes them in the room `heads`, which is imported when it is called


def save_motion(motion: MotionClip, output: Path | str, head: RiggedHead | None = None) -> None:
    """Write motion by the suffix of `output`, atomically; formats with a head show `head`, the open one if None.

    Raises InputError for another suffix, for motion of a space that the format does not know, for a head that it cannot
    hold, and OutputError where nothing can be written.
    """
    output = Path(output)
    check_motion(output, head)
    if (suffix := output.suffix.lower()) in _HEADS:
        module, write = _HEADS[suffix]
        getattr(import_module(f"avi_lib.heads.{module}"), write)(head or load_head(), motion, output)
    else:
        plain = save_flame_coefficients if motion.space is FLAME else clips.save_npz
        {".csv": save_livelink, ".bvh": save_bvh, ".npz": plain}[suffix](motion, output)


def load_motion(path: Path | str, animation: str | None = None) -> MotionClip:
    """Read motion by the suffix of `path`; an npz may be this library's or hold FLAME coefficients.

    `animation` names the one of a glTF file to read. What was mended on the way, and what was left out, are the clip's
    `repairs` and `warnings`. Raises InputError for another suffix, a damaged file, and what no face does.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise InputError(f"a motion file ending in {', '.join(READABLE)}", str(path), "change the suffix")
    if suffix in (".glb", ".gltf"):
        from avi_lib.heads.gltf import read_glb_motion

        return read_glb_motion(path, animation)
    if animation is not None:
        raise InputError("a glTF file for an animation's name", str(path), "leave the name out")
    plain = load_flame if suffix == ".npz" and _holds_coefficients(path) else clips.load_npz
    return {".csv": load_livelink, ".bvh": load_bvh, ".npz": plain}[suffix](path)


def load_arkit(path: Path) -> MotionClip:
    """Read motion in the ARKIT space; InputError for another space."""
    clip = load_motion(path)
    if clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"{path} in {clip.space.name}", "convert it first")
    return clip


def converted(motion: MotionClip, space: str, head: RiggedHead | None) -> tuple[MotionClip, str]:
    """Motion in the space of a name, by the map of a FLAME head, and what was lost in words, if anything.

    Raises InputError for another name, and where the spaces differ and the head is not FLAME's.
    """
    if space not in clips.SPACES:
        raise InputError(f"a space: {' or '.join(clips.SPACES)}", repr(space), "name one of them")
    if motion.space.name == space:
        return motion, ""
    from avi_lib.heads.flame_head import FlameHead

    if not isinstance(head, FlameHead):
        got = head.name if head else "none"
        raise InputError(f"a FLAME head to go from {motion.space.name} to {space}", got, "name it with --head")
    if space == FLAME.name:
        return head.fitted.to_flame(motion), head.fitted.describe()
    clip, off_mm, share = head.fitted.to_arkit(motion)
    return clip, f"{off_mm:.2f} mm off on average, {100 * share:.0f} % of the movement"


def written_files(output: Path) -> tuple[Path, ...]:
    """Every file that is written for a result of this name: beside .usda and .usdc lies their texture."""
    textured = output.suffix.lower() in (".usda", ".usdc")
    return (output, output.with_name(f"{output.stem}_atlas.png")) if textured else (output,)


def writable_here() -> tuple[str, ...]:
    """The suffixes that this environment can write: .usdc and .usdz need the package usd-core."""
    return tuple(suffix for suffix in WRITABLE if suffix not in (".usdc", ".usdz") or find_spec("pxr") is not None)


def check_motion(output: Path, head: RiggedHead | None = None) -> None:
    """Raise InputError unless a motion file of this name can be written with this head."""
    suffix = output.suffix.lower()
    if suffix and suffix not in WRITABLE:
        expected = f"a motion file ending in {', '.join(WRITABLE)}, or a folder's name"
        raise InputError(expected, str(output), "change the suffix")
    if suffix and suffix in _HEADS and not (head is None or isinstance(head, Head)):
        expected = f"a head with blendshapes for {suffix}"
        raise InputError(expected, f"the FLAME head {head.name}", "write its coefficients, or a folder of OBJ")


def _must_be(clip: MotionClip, space: clips.MotionSpace) -> None:
    if clip.space is not space:
        do = f"convert it: --space {space.name}, with a FLAME model file as --head"
        raise InputError(f"motion in the {space.name} space", f"the space {clip.space.name}", do)


# Live Link Face CSV: the file Apple's face capture leaves on an iPhone, in and out.

EYE_RANGE_RAD = 0.6  # eye rotation at a gaze blendshape of 1
USUAL_COUNTS = (24, 25, 30, 48, 50, 60)  # frames a second that phones and editors count; the app counts 60 at most
SLOWEST_FPS = 0.5  # rows at this rate or below pass over so many seconds that none is seen to change into the next

_DAY_S = 86_400
_TIMECODE = re.compile(r"(\d+)[:;](\d+)[:;](\d+)([:;])(\d+(?:[.,]\d+)?)", re.ASCII)
_BESIDE = re.compile("^timecode$|^blendshapecount$|eye(yaw|pitch|roll)$")  # columns known to be of no channel
_MIRRORED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
_COLUMNS = (*(_MIRRORED.get(name, name) for name in clips.ARKIT_BLENDSHAPES), "headYaw", "headPitch", "headRoll")
_EYES = tuple(f"{side}Eye{axis}" for side in ("Left", "Right") for axis in ("Yaw", "Pitch", "Roll"))


HEADER = ("Timecode", "BlendShapeCount", *(f"{name[0].upper()}{name[1:]}" for name in _COLUMNS), *_EYES)


def save_livelink(clip: MotionClip, path: Path) -> None:
    """Write an ARKIT clip as Live Link Face CSV, atomically.

    Raises InputError for another space and for what such a file cannot hold: a single frame, a rate of SLOWEST_FPS or
    less, and a clip within one second at a rate above those of USUAL_COUNTS that would be read as the highest of them.
    """
    _must_be(clip, ARKIT)
    if len(clip) < 2:
        raise InputError("at least two frames for a Live Link Face CSV", "1", "export it as npz")
    if clip.fps <= SLOWEST_FPS:
        expected = f"more than {SLOWEST_FPS:g} frames per second for a Live Link Face CSV"
        raise InputError(expected, f"{clip.fps:g}", "export it as npz, or at another rate")
    last, most = _timecode(len(clip) - 1, clip.fps), USUAL_COUNTS[-1]
    if round(clip.fps) > most and last.startswith("00:00:00:") and USUAL_COUNTS[-2] <= float(last[9:]) < most:
        expected = f"a clip of more than a second for a Live Link Face CSV above {most} frames per second"
        raise InputError(expected, f"{clip.duration_s:.2f} s at {clip.fps:g}", "export it as npz")
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for frame, row in enumerate(livelink_rows(clip)):
            writer.writerow([_timecode(frame, clip.fps), len(HEADER) - 2, *(f"{value:.7g}" for value in row)])


def livelink_rows(clip: MotionClip) -> Float32[np.ndarray, "frames 61"]:
    """What the app sends of every frame: 52 blendshapes, the head's yaw, pitch and roll, and those of both eyes."""
    columns = [clip[channel] for channel in _COLUMNS]
    for side, to_left, to_right in (("Left", "Out", "In"), ("Right", "In", "Out")):
        yaw = clip[f"eyeLook{to_left}{side}"] - clip[f"eyeLook{to_right}{side}"]
        pitch = clip[f"eyeLookDown{side}"] - clip[f"eyeLookUp{side}"]
        columns += [EYE_RANGE_RAD * yaw, EYE_RANGE_RAD * pitch, np.zeros_like(yaw)]
    return np.stack(columns, axis=1)


def _timecode(frame: int, fps: float) -> str:
    """Timecode HH:MM:SS:FF.mmm, FF counting whole frames per second as the app does: 60 for a rate of 59.94."""
    per_second = max(round(fps), 1)
    seconds, thousandths = divmod(round(1000 * per_second * frame / fps), 1000 * per_second)
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}:{thousandths / 1000:06.3f}"


def load_livelink(path: Path, fps: float | None = None) -> MotionClip:
    """Read Live Link Face CSV into the ARKIT space at the steady frame rate that its timecodes show.

    Any delimiter, decimal mark and spelling of the columns will do. Dropped frames and rows without a face are filled
    in by linear interpolation, those before the first and after the last face left out, and so is a last row that is
    cut. With `fps` the timecodes are not looked at and the rows are taken as evenly spaced. Raises InputError for a
    table without timecodes or blendshapes, a row that is cut, a value that is no number, fewer than two frames, a gap
    of more than MAX_GAP_S, timecodes that run backwards or, within one second, could be of several rates, and what
    `read_clip` refuses.
    """
    path, expected = Path(path), "a Live Link Face CSV with Timecode and blendshapes such as EyeBlinkLeft"
    try:
        table = table_rows(path.read_bytes())
        _, header = next(table, (0, []))
        known = ["".join(words(title)) for title in header]
        others = [title for title, plain in zip(header, known, strict=True) if plain and not _BESIDE.search(plain)]
        match = match_channels(others, ARKIT.channels)
        names = [others[place] for places in match.parts.values() for place in places]
        columns, names = [header.index(name) for name in names], [*names, *match.unused]
        if "timecode" not in known or not match.parts:
            got = f"{path} with the columns {', '.join(header[:6])[:120] or 'of nothing'}"
            raise InputError(expected, got, "export it again from the app, or name its columns so")
        time, rows, cut = known.index("timecode"), list[tuple[int, str, np.ndarray]](), tuple[Finding, ...]()
        width, torn = len(header), False
        for line, cells in table:
            torn, width = len(cells) < width == len(header), len(cells)
            there = [cells[place] for place in columns if place < len(cells)]
            if any(there) and len(there) < len(columns):
                raise ValueError(f"{len(there)} of {len(columns)} values")
            whole = len(there) == len(columns)  # else the row has none
            values = np.array(list(map(number, there)) if whole else [np.nan] * len(columns), np.float32)
            rows.append((line, cells[time] if time < len(cells) else "", values))
        if torn and not (np.isnan(rows[-1][2]).all() and _TIMECODE.fullmatch(rows[-1][1])):
            rows.pop()
            raise ValueError(f"{width} of {len(header)} cells")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(expected, f"{path}: {cause(error)}", "export it again from the app") from error
    except ValueError as error:
        if next(table, None) is not None or len(rows) < 2:
            got = f"row {line} of {path} with {error}"
            raise InputError("numbers in every column of every row", got, "export it again") from error
        cut = (Finding("cut_row", float(line), f"row {line}, the last, is cut ({error}) and left out"),)
    if len(rows) < 2:
        raise InputError("at least two frames", f"{len(rows)} in {path}", "record a longer take")
    lines, timecodes, found = zip(*rows, strict=True)
    times_s = _times(timecodes, path) if fps is None else np.arange(len(rows)) / fps
    values, traits = by_channel(np.stack(found), names)
    lost = np.isnan(values[:, traits["present"]])
    seen = np.flatnonzero(~lost[:, ~lost.all(axis=0)].any(axis=1) & ~lost.all(axis=1))
    if len(seen) < 2:
        raise InputError("a face in two rows at least", f"{len(seen)} in {path}", "record it again")
    last = len(rows) - 1 - seen[-1]
    if seen[0] or last:
        text = f"{seen[0]} rows before and {last} after all with a face are left out"
        cut += (Finding("rows_without_face", float(seen[0] + last), text),)

    def called(row: int) -> str:
        return f"{timecodes[seen[row]]} (row {lines[seen[row]]})"

    even, rate, filled = clips.evenly(values[seen], times_s[seen], called, path, fps)
    traits |= {"repairs": (*cut, *filled), "start_s": float(times_s[seen[0]] - times_s[0])}
    return read_clip(even, rate, ARKIT, path, **traits)


def _times(timecodes: Sequence[str], path: Path) -> Float64[np.ndarray, " rows"]:
    """Seconds of every row, going on after midnight.

    How many frames a second has follows from the rows where the second changes: one step on from the last frame of a
    second is that many frames past the first of the next, or fewer where rows are missing, hence the upper quartile.
    All of three such places or less may lack rows; the highest frame counts too then. A take within one second has the
    only one of USUAL_COUNTS above its highest frame. A semicolon before the frame marks drop-frame timecode of 29.97 or
    59.94 frames a second: the first 2 or 4 numbers of every minute but each tenth are skipped (SMPTE ST 12-1).
    """
    found = [_TIMECODE.fullmatch(timecode.strip()) for timecode in timecodes]
    if None in found:
        bad = timecodes[found.index(None)]
        raise InputError("timecodes HH:MM:SS:FF.mmm", f"{bad!r} in {path}", "export the take again")
    fields = [match.groups() for match in found if match]
    hours, minutes, seconds, frames = np.array([(*each[:3], each[4].replace(",", ".")) for each in fields], float).T
    clock_s = 3600 * hours + 60 * minutes + seconds
    clock_s[1:] += _DAY_S * np.cumsum(np.diff(clock_s) < -_DAY_S / 2)
    steps, within, change = np.diff(frames), np.diff(clock_s) == 0, np.diff(clock_s) == 1
    if change.any():
        step = np.median(steps[within]) if within.any() else 1.0
        counted = np.quantile((step - steps)[change], 0.75, method="higher")
        per_second = max(np.round(counted), np.floor(frames.max()) + 1 if change.sum() <= 3 else 1.0)
    else:
        possible = [count for count in USUAL_COUNTS if count > frames.max()]
        if len(possible) != 1 or (steps <= 0.0).any() or np.ptp(steps) >= 0.01:
            expected = "timecodes that span a whole second, or evenly spaced ones that only one frame rate has"
            do = "record longer, or name its rate in Python: load_livelink(path, fps=...)"
            raise InputError(expected, f"{path} within one second", do)
        per_second = possible[0]
    if fields[0][3] == ";" and per_second in (30, 60):
        minute = clock_s // 60
        skipped = per_second / 15 * (minute - minute // 10)
        return np.asarray((clock_s * per_second + frames - skipped) * 1.001 / per_second)
    return np.asarray(clock_s + frames / per_second)


# Head movement as Biovision BVH: the track that animation tools retarget to a skeleton's head.

MAX_BYTES = 128 << 20
MAX_JOINTS = 1000
FPS_RANGE = (0.01, 10_000.0)  # frame rates of a BVH that is read

_SKELETON = Path(__file__).with_name("skeleton.bvh").read_text("ascii")
_STILL = "0 95 0 0 0 0 0 0 0 "  # hips where they stand, then no rotation of Hips and Neck
_CHANNEL = re.compile(r"([XYZ])(rotation|position)")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class _Joint(NamedTuple):
    """A joint: its parent's place in the list of joints, and its channels with their places in a frame."""

    name: str
    parent: int
    channels: dict[int, str]


def save_bvh(clip: MotionClip, path: Path) -> None:
    """Write the head's rotation of an ARKIT clip as BVH, atomically.

    Raises InputError for another space, and for a rate or a length that `load_bvh` would refuse.
    """
    _must_be(clip, ARKIT)
    if not FPS_RANGE[0] <= clip.fps <= FPS_RANGE[1]:
        expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames per second for BVH"
        raise InputError(expected, f"{clip.fps:g}", "export it as npz, or at another rate")
    degrees = np.degrees(np.stack([clip[channel] for channel in ("headYaw", "headPitch", "headRoll")], axis=1))
    head = f"{_SKELETON}Frames: {len(clip)}\nFrame Time: {1 / clip.fps:.10g}\n"
    rows = (_STILL + "%.6f %.6f %.6f\n") * len(clip) % tuple(degrees.ravel().tolist())
    if len(head) + len(rows) > MAX_BYTES:
        raise InputError(f"a BVH of at most {MAX_BYTES >> 20} MiB", f"{len(clip)} frames", "export it in parts")
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
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError("a BVH file", f"{path}: {cause(error)}", "check the path") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"a BVH of at most {MAX_BYTES >> 20} MiB", f"more in {path}", "cut it")
    text = io.StringIO(decoded(content, "replace"), newline=None).read()
    text = text.replace(",", " " if re.search(r"\d\.\d", text) else ".")
    try:
        joints, rest = _hierarchy(text)
        numbers, fps, repairs = _frames(rest, sum(len(joint.channels) for joint in joints))
        yaw, pitch, roll = _head_angles(joints, numbers).T
    except (ValueError, IndexError, StopIteration, OverflowError) as error:
        got = f"{path}: {cause(error)}"
        raise InputError("a BVH file with a head's rotation", got, "export it again as BVH") from error
    values = np.zeros((len(numbers), len(ARKIT)), np.float32)
    for channel, angles in zip(clips.HEAD_ROTATION, (pitch, np.unwrap(yaw), np.unwrap(roll)), strict=True):
        values[:, ARKIT.index(channel)] = angles
    return read_clip(values, fps, ARKIT, path, present=np.isin(ARKIT.channels, clips.HEAD_ROTATION), repairs=repairs)


def _hierarchy(text: str) -> tuple[list[_Joint], str]:
    """The joints in the file's order, and the text after MOTION."""
    head, *rest = re.split(r"^\s*MOTION\s*$", text, maxsplit=1, flags=re.MULTILINE)
    joints: list[_Joint] = []
    stack, places = [-1], count()
    words = iter(head.split())
    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            name = " ".join(takewhile("{".__ne__, words))[:80]
            if word == "End":
                stack.append(stack[-1])
            elif (word == "ROOT") == (not joints) and name and len(joints) < MAX_JOINTS:
                joints.append(_Joint(name, stack[-1], {}))
                stack.append(len(joints) - 1)
            else:
                raise ValueError(f"{word} {name} in the wrong place, or more than {MAX_JOINTS} joints")
        elif word == "}" and len(stack) > 1:
            stack.pop()
        elif word == "OFFSET" and len(stack) > 1:
            [number(each) for each in islice(words, 3)]
        elif word == "CHANNELS" and stack[-1] == len(joints) - 1 >= 0 and not joints[-1].channels:
            channels = list(islice(words, round(number(next(words)))))
            if not all(map(_CHANNEL.fullmatch, channels)):
                raise ValueError(f"channels {' '.join(channels)[:60]} of {joints[-1].name}")
            joints[-1].channels.update((place, channel) for channel, place in zip(channels, places, strict=False))
        elif word != "HIERARCHY" or joints:
            raise ValueError(f"{word[:60]!r} in its hierarchy")
    if not rest or not joints or len(stack) > 1:
        raise ValueError("no MOTION after its joints")
    return joints, rest[0]


def _head_angles(
    joints: list[_Joint], numbers: Float64[np.ndarray, "frames channels"]
) -> Float64[np.ndarray, "frames 3"]:
    """Yaw, pitch and roll of the product of all rotations from the root to the head, in the order of their channels."""
    from scipy.spatial.transform import Rotation

    last_words = [(_WORDS.findall(joint.name) or [""])[-1].lower() for joint in joints]
    heads = [index for index, word in enumerate(last_words) if word == "head"]
    if len(heads) != 1:
        names = " and ".join(joints[index].name for index in heads[:3]) or ", ".join(joint.name for joint in joints[:8])
        raise ValueError(f"{len(heads)} joints named after the head ({names})")
    turn, place, turned = Rotation.identity(len(numbers)), heads[0], False
    while place >= 0:
        for column, channel in reversed(joints[place].channels.items()):
            if channel.endswith("rotation"):
                turn = Rotation.from_euler(channel[0].lower(), numbers[:, [column]], degrees=True) * turn
                turned = True
        place = joints[place].parent
    if not turned:
        raise ValueError("a head that no channel turns")
    angles: np.ndarray = turn.as_euler("YXZ", suppress_warnings=True)
    return angles


def _frames(text: str, channels: int) -> tuple[Float64[np.ndarray, "frames channels"], float, tuple[Finding, ...]]:
    """Numbers of every frame and frames a second, from the text after MOTION; a last row that is cut is left out."""
    found = re.match(r"\s*Frames\s*:\s*(\d{1,9})\s*^\s*Frame Time\s*:\s*([\d.eE+-]{1,30})\s*$", text, re.ASCII | re.M)
    if not found:
        raise ValueError("no 'Frames: N' and 'Frame Time: seconds' after MOTION")
    frames, step_s = int(found[1]), float(found[2])
    if not 1 / FPS_RANGE[1] <= step_s <= 1 / FPS_RANGE[0]:
        raise ValueError(f"a frame time of {found[2]} s")
    rows = [line for line in text[found.end() :].splitlines() if line.strip()]
    repairs: tuple[Finding, ...] = ()
    if 1 < len(rows) <= frames and len(rows[-1].split()) < channels:
        text = f"row {len(rows)} of {frames} is cut: it and what should follow are left out"
        repairs = (Finding("cut_row", float(len(rows)), text),)
        frames = len(rows) - 1
    elif len(rows) != frames or not frames:
        raise ValueError(f"{len(rows)} rows, but 'Frames: {frames}'")
    numbers = np.empty((frames, channels))
    for frame, row in enumerate(map(str.split, rows[:frames])):
        if len(row) != channels:
            raise ValueError(f"{len(row)} numbers in frame {frame + 1} for {channels} channels")
        numbers[frame] = [number(word) for word in row]
    if not np.isfinite(numbers).all():
        raise ValueError("NaN or infinity")
    return numbers, round(1 / step_s, 3 if step_s <= 1.0 else 6), repairs


# FLAME motion as an npz of coefficients under the names that the field's tools use.

COEFFICIENTS_FPS = 25.0  # frame rate of files without one
_PARTS = {
    "expression": (("expression", "exp", "expcode", "expressionparams", "expr"), 50),
    "jaw": (("jaw", "jawpose", "jawparams"), 3),
    "global": (("global", "globalpose", "globalorient", "rotation"), 3),
    "pose": (("pose", "posecode"), 6),
    "fps": (("fps",), 1),
}  # names of each part of a clip, the best first, and its coefficients; `pose` is the global rotation and the jaw
_MOST_BYTES = 1 << 30


def flame_part(name: str) -> str:
    """Which part of FLAME motion an array of this name is, whatever its case and separators; "" for none."""
    return next((part for part, (names, _) in _PARTS.items() if _plain(name) in names), "")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def save_flame_coefficients(clip: MotionClip, path: Path) -> None:
    """Write a FLAME clip as npz without pickle, atomically; InputError for another space."""
    _must_be(clip, FLAME)
    expression, jaw, turned = (clip.values[:, list(FLAME.groups[group])] for group in ("expression", "lips", "head"))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, expression=expression, jaw_pose=jaw, global_pose=turned, fps=np.float64(clip.fps))


def load_flame(path: Path) -> MotionClip:
    """FLAME motion of a clip: its npz, or any npy file of its folder.

    Rotations of the neck and the eyes are not read, which a warning says. Raises InputError for no expression or no
    jaw, arrays of other shapes or of objects, lengths that differ, and what `read_clip` refuses.
    """
    try:
        if path.suffix.lower() == ".npy":
            files = sorted(path.parent.glob("*.npy"))
            return _coefficients({file.stem: partial(io.FileIO, file) for file in files}, path)
        with zipfile.ZipFile(path) as archive:
            return _coefficients({splitext(name)[0]: partial(archive.open, name) for name in archive.namelist()}, path)
    except clips.UNREADABLE as error:
        expected = "FLAME coefficients with expression and jaw"
        raise InputError(expected, f"{path}: {cause(error)}", "write them as plain arrays of numbers") from error


def require_coefficients(names: Sequence[str]) -> None:
    """ValueError unless the arrays that a clip has are those of an expression and a jaw."""
    has = set(map(flame_part, names))
    for parts in (("expression",), ("jaw", "pose")):
        if not has.intersection(parts):
            wanted = [name for part in parts for name in _PARTS[part][0]]
            raise ValueError(f"no {', '.join(wanted[:-1])} or {wanted[-1]} among {', '.join(sorted(names)[:12])[:200]}")


def _holds_coefficients(path: Path) -> bool:
    """Whether a file is an npz with expression coefficients, judged by the names of its arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(flame_part(splitext(name)[0]) == "expression" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _coefficients(openers: Mapping[str, Callable[[], IO[bytes]]], path: Path) -> MotionClip:
    """Motion from the arrays of one clip; ValueError says what does not fit."""
    require_coefficients(list(openers))
    plain = {_plain(name): name for name in openers}
    picks = {part: next((plain[name] for name in names if name in plain), None) for part, (names, _) in _PARTS.items()}
    parts: dict[str, np.ndarray] = {}
    for part, name in picks.items():
        if name is None or part == "fps":
            continue
        found, width = read_array(openers[name], name, "fiu", _MOST_BYTES), _PARTS[part][1]
        if found.ndim == 3 and 1 in found.shape[:2]:
            found = found.reshape(-1, found.shape[2])
        columns = found.shape[1] if found.ndim == 2 else 0
        if columns < width or (columns != width and part != "expression"):
            raise ValueError(f"{name} of the shape {found.shape}, not (frames, {width}) axis-angle or coefficients")
        with np.errstate(over="ignore"):
            parts[part] = found[:, :width].astype(np.float32)
    expression, pose = parts["expression"], parts.get("pose")
    jaw = parts["jaw"] if pose is None or "jaw" in parts else pose[:, 3:]
    turn = parts.get("global", np.zeros_like(jaw) if pose is None else pose[:, :3])
    if not len(expression) == len(jaw) == len(turn):
        raise ValueError(f"{len(expression)} frames of expression, {len(jaw)} of jaw, {len(turn)} of global rotation")
    present = np.ones(len(FLAME), dtype=bool)
    present[list(FLAME.groups["head"])] = turn.any()
    rate = picks["fps"]
    fps = np.array(COEFFICIENTS_FPS) if rate is None else read_array(openers[rate], rate, "fiu", 64)
    values = np.concatenate([expression, jaw, turn], axis=1)
    joints = [name for name in openers if {"neck", "eye", "eyes"} & set(words(name))]
    unread = [*joints, *(name for name in openers if flame_part(name) and name not in picks.values())]
    text = f"not read: {', '.join(unread)}"
    warnings = (Finding("arrays_not_read", float(len(unread)), text),) if unread else ()
    return read_clip(values, float(fps.item()), FLAME, path, present=present, warnings=warnings)
