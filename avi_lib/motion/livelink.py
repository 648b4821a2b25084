"""Live Link Face CSV: the file Apple's face capture leaves on an iPhone, in and out.

    Timecode,BlendshapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,...,RightEyeRoll
    00:00:00:00.000,61,0.0213,...

Eye rotations are written from the gaze blendshapes and ignored when reading.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES

EYE_RANGE_RAD = 0.6
"""Eye rotation at a gaze blendshape of 1."""

_MIRRORED = {"jawLeft": "jawRight", "jawRight": "jawLeft", "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}
_COLUMNS = tuple(_MIRRORED.get(name, name) for name in ARKIT_BLENDSHAPES)  # the app lists right before left here
_ROTATIONS = ("headYaw", "headPitch", "headRoll")
_EYES = ("LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll")


def _title(channel: str) -> str:
    return channel[0].upper() + channel[1:]


HEADER = ("Timecode", "BlendshapeCount", *map(_title, _COLUMNS + _ROTATIONS), *_EYES)


def save_livelink(clip: MotionClip, path: Path) -> None:
    """Write an ARKIT clip as Live Link Face CSV, atomically; InputError for another space."""
    if clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {clip.space.name}", "export FLAME motion as npz")
    columns = np.stack([clip[channel] for channel in _COLUMNS + _ROTATIONS], axis=1)
    table = np.concatenate([columns, _eye_rotations(clip)], axis=1)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for frame, row in enumerate(table):
            writer.writerow([_timecode(frame, clip.fps), len(HEADER) - 2, *(f"{value:.7g}" for value in row)])


def load_livelink(path: Path, fps: float | None = None) -> MotionClip:
    """Read Live Link Face CSV into the ARKIT space; the frame rate comes from the timecodes unless given.

    Columns are found by name, so either order of left and right is read rightly. Raises InputError for a missing
    column, a row of another length, a value that is no number, or fewer than two frames.
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
        timecodes = [row[header.index("Timecode")] for row in rows]
        return MotionClip(values, _rate(timecodes, path) if fps is None else fps, ARKIT)
    except (ValueError, IndexError) as error:
        raise InputError("numbers in every column of every row", f"{path}: {error}", "export it again") from error


def _eye_rotations(clip: MotionClip) -> Float32[np.ndarray, "frames 6"]:
    still = np.zeros(len(clip), np.float32)
    left_yaw = EYE_RANGE_RAD * (clip["eyeLookOutLeft"] - clip["eyeLookInLeft"])
    right_yaw = EYE_RANGE_RAD * (clip["eyeLookInRight"] - clip["eyeLookOutRight"])
    left_pitch = EYE_RANGE_RAD * (clip["eyeLookDownLeft"] - clip["eyeLookUpLeft"])
    right_pitch = EYE_RANGE_RAD * (clip["eyeLookDownRight"] - clip["eyeLookUpRight"])
    return np.stack([left_yaw, left_pitch, still, right_yaw, right_pitch, still], axis=1).astype(np.float32)


def _timecode(frame: int, fps: float) -> str:
    """Timecode HH:MM:SS:FF.mmm, the last field counting frames within the second."""
    seconds = int(frame / fps + 1e-9)
    within = frame - seconds * fps
    hours, rest = divmod(seconds, 3600)
    return f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}:{max(within, 0.0):06.3f}"


def _rate(timecodes: list[str], path: Path) -> float:
    """Frame rate from the first and last timecode: frames between them over whole seconds between them."""
    (first_s, first_frame), (last_s, last_frame) = _clock(timecodes[0]), _clock(timecodes[-1])
    if last_s == first_s:
        raise InputError(
            "timecodes that span a whole second", f"{path} within one second", "pass fps, the recording's frame rate"
        )
    return round((len(timecodes) - 1 - (last_frame - first_frame)) / (last_s - first_s), 2)


def _clock(timecode: str) -> tuple[int, float]:
    hours, minutes, seconds, frames = timecode.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds), float(frames)
