"""Live Link Face CSV: the file Apple's face capture leaves on an iPhone, in and out.

    Timecode,BlendShapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,...,RightEyeRoll
    00:00:00:00.000,61,0.0213,...

A timecode is HH:MM:SS:FF.mmm by the clock of the day: FF counts frames within the second, the fraction is part of a
frame. The app may count 60 frames a second while it keeps 30 rows, and real takes run at 59.9 rows a second. How many
frames a second has is not written: it shows where the second changes, so that a take within one second tells its rate
only where its highest frame leaves one of USUAL_COUNTS. Eye rotations are written from the gaze blendshapes and ignored
when reading.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES

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
