"""Does the tracker see what another run of the same landmarker saw, on videos that come with their tracks?

For every clip: the correlation of four channels, NaN where a curve is flat, how far apart the head angles are at most,
and the lag of the sound, as it is and as found after the sound was shifted by 0.2 s either way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.errors import InputError
from avi_lib.face.tracking import Lag, Track, head_angles, measure_lag, track_video
from avi_lib.motion.clip import ARKIT, HEAD_ROTATION
from avi_lib.speech.decode import VIDEO_SUFFIXES
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from tools.benchmarks.measuring import Figure, Options, there

CHANNELS = ("jawOpen", "mouthClose", "eyeBlinkLeft", "eyeBlinkRight")
SHIFTS_S = (-0.2, 0.2)


@dataclass(frozen=True)
class Agreement:
    """How a track compares with the given one.

    Attributes:
        name: the clip.
        correlation: of each of CHANNELS.
        head_rad: largest difference of pitch, yaw or roll.
        lag: of the sound behind the face; None as the value where it is unknown.
        shift_errors_s: lag found less the lag expected after each of SHIFTS_S; NaN where it is unknown.
        picture_ms: time for a picture, everything but the lag and the start of MediaPipe included.
    """

    name: str
    correlation: dict[str, float]
    head_rad: float
    lag: Lag
    shift_errors_s: tuple[float, ...]
    picture_ms: float


def agreement(video: Path) -> Agreement:
    """Track a video and compare with the npz beside it; InputError when that is not as described above."""
    begun_s = time.perf_counter()
    track = track_video(video)
    taken_s = time.perf_counter() - begun_s
    if len(track.pieces) != 1:
        raise InputError("a face throughout the video", f"{len(track.pieces)} pieces of {video}", "choose another clip")
    clip = track.pieces[0]
    weights, angles = read_track(video.with_suffix(".npz"))
    frames = min(len(clip), len(angles))
    correlation = {channel: _correlation(clip[channel][:frames], weights[channel][:frames]) for channel in CHANNELS}
    apart = np.abs(clip.values[:frames, -len(HEAD_ROTATION) :] - angles[:frames])
    lag, errors, lag_s = _lags(track, video)
    picture_ms = 1000 * (taken_s - lag_s) / track.report.frames
    return Agreement(video.stem, correlation, float(apart.max()), lag, errors, picture_ms)


def read_track(path: Path) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "frames 3"]]:
    """Weights (frames,) by channel and head angles of a given track."""
    try:
        with np.load(path, allow_pickle=False) as track:
            names, values = track["arkit_names"].tolist(), track["arkit"].astype(np.float64)
            angles = np.stack([head_angles(matrix[:3, :3].astype(np.float64)) for matrix in track["head"]])
        return {name: values[:, names.index(name)] for name in ARKIT.channels if name in names}, angles
    except (OSError, KeyError, ValueError) as error:
        raise InputError("an npz with arkit, arkit_names and head", f"{path}: {error}", "check the folder") from error


def _lags(track: Track, video: Path) -> tuple[Lag, tuple[float, ...], float]:
    """The lag, errors after each shift of the sound, and the seconds that measuring one lag takes."""
    beside = video.with_suffix(".flac")
    wave = load_voice(beside if beside.exists() else video).wave
    clip, errors = track.pieces[0], []
    begun_s = time.perf_counter()
    lag = measure_lag(clip, wave)
    taken_s = time.perf_counter() - begun_s
    for shift_s in SHIFTS_S:
        samples = round(abs(shift_s) * RATE_HZ)
        shifted = np.append(np.zeros(samples, np.float32), wave) if shift_s > 0 else wave[samples:]
        found_s = measure_lag(clip, shifted).lag_s
        errors.append(np.nan if found_s is None or lag.lag_s is None else found_s - lag.lag_s - shift_s)
    return lag, tuple(errors), taken_s


def _correlation(a: Float[np.ndarray, " frames"], b: Float[np.ndarray, " frames"]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-6 else float("nan")


def measure(options: Options) -> Iterator[Figure]:
    """Means over the videos of grid10/, and the largest deviations."""
    folder = options.real / "grid10"
    if not there(folder, "tracks"):
        return
    rows = [agreement(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
    how = f"{len(rows)} GRID videos against the given tracks of the same landmarker"
    for channel in CHANNELS:
        values = [row.correlation[channel] for row in rows]
        yield Figure(f"{channel} r", float(np.nanmean(values)), "", ">= 0.9", f"{how}, lowest {np.nanmin(values):.2f}")
    yield Figure("head angles apart, largest", max(row.head_rad for row in rows), "rad", "<= 0.02", how)
    errors = np.abs([row.shift_errors_s for row in rows])
    found = int(np.isfinite(errors).all(axis=1).sum())
    how = f"sound shifted by 0.2 s either way; it could be found in {found} of {len(rows)}"
    yield Figure("error of the lag, median", float(np.nanmedian(errors)), "s", "<= 0.05", how)
    picture_ms = float(np.median([row.picture_ms for row in rows]))
    yield Figure("a picture tracked", picture_ms, "ms", "-", "everything but the lag and the start of MediaPipe")
