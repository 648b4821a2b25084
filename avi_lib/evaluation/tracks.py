"""Does the tracker see what another run of the same landmarker saw? Measured on videos that come with their tracks.

    python -m avi_lib.evaluation.tracks SOURCE        (SOURCE: videos and an npz beside each with arkit (frames, names),
    arkit_names and head (frames, 4, 4), and perhaps its sound as flac)

For every clip the Pearson correlation of four channels, NaN where one of the curves is flat, how far apart the head
angles are at most, and the lag of the sound: as it is, and how far off it is found after the sound was shifted by 0.2 s
either way.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avi_lib.corpus.lag import Lag, measure_lag
from avi_lib.corpus.landmarker import head_angles
from avi_lib.corpus.recording import VIDEO_SUFFIXES
from avi_lib.corpus.tracking import Track, track_video
from avi_lib.errors import AviError, InputError
from avi_lib.motion.space import ARKIT, HEAD_ROTATION
from avi_lib.speech.audio import RATE_HZ, load_speech

CHANNELS = ("jawOpen", "mouthClose", "eyeBlinkLeft", "eyeBlinkRight")
SHIFTS_S = (-0.2, 0.2)


@dataclass(frozen=True)
class Agreement:
    """How a track compares with the given one.

    Attributes:
        name: the clip.
        correlation: of each of CHANNELS.
        head_rad: largest difference of pitch, yaw or roll.
        lag: of the sound behind the face; None as the value where it could not be told.
        shift_errors_s: lag found less the lag expected after each of SHIFTS_S; NaN where it could not be told.
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
    clip = track.pieces[0].curves.clip
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
    wave = load_speech(beside if beside.exists() else video).wave
    clip, errors = track.pieces[0].curves.clip, []
    begun_s = time.perf_counter()
    lag = measure_lag(clip, track.pieces[0].start_s, wave)
    taken_s = time.perf_counter() - begun_s
    for shift_s in SHIFTS_S:
        samples = round(abs(shift_s) * RATE_HZ)
        shifted = np.append(np.zeros(samples, np.float32), wave) if shift_s > 0 else wave[samples:]
        found_s = measure_lag(clip, track.pieces[0].start_s, shifted).lag_s
        errors.append(np.nan if found_s is None or lag.lag_s is None else found_s - lag.lag_s - shift_s)
    return lag, tuple(errors), taken_s


def _correlation(a: Float[np.ndarray, " frames"], b: Float[np.ndarray, " frames"]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-6 else float("nan")


def main() -> None:
    """Print the table for the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m avi_lib.evaluation.tracks SOURCE")
    videos = sorted(path for path in Path(sys.argv[1]).glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        sys.exit(f"tracks: expected videos in {sys.argv[1]}; got none; pass their folder")
    try:
        rows = [agreement(video) for video in videos]
    except AviError as error:
        sys.exit(f"tracks: {error}")
    titles = "".join(f"{channel:>14s}" for channel in CHANNELS)
    print(f"{'clip':10s}{titles}{'head rad':>10s}{'lag s':>8s}{'r':>6s}{'shifted by -0.2, 0.2 s':>24s}{'ms':>7s}")
    for row in rows:
        values = "".join(f"{row.correlation[channel]:14.4f}" for channel in CHANNELS)
        lag_s = np.nan if row.lag.lag_s is None else row.lag.lag_s
        errors = "".join(f"{error:12.2f}" for error in row.shift_errors_s)
        r = np.nan if row.lag.correlation is None else row.lag.correlation
        print(f"{row.name:10s}{values}{row.head_rad:10.4f}{lag_s:8.2f}{r:6.2f}{errors}{row.picture_ms:7.1f}")
    means = "".join(f"{np.nanmean([row.correlation[channel] for row in rows]):14.4f}" for channel in CHANNELS)
    print(f"{'mean':10s}{means}{max(row.head_rad for row in rows):10.4f} (largest)")


if __name__ == "__main__":
    main()
