"""Tracking: the video of a face in, its ARKit motion with a report out.

>>> track = track_video(Path("my.mp4"))
>>> [(piece.start_s, piece.curves.clip.values.shape) for piece in track.pieces]
[(0.0, (250, 55))]
>>> track.report.lag_s, track.report.warnings
(-0.02, ())

Frame i of the motion shows the time (i + 0.5) / fps from the start of the video's sound, whatever the video's own rate
and however unsteady it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from tqdm import tqdm

from avi_lib.assets.resolver import resolve
from avi_lib.corpus.curves import Curves, Piece
from avi_lib.corpus.lag import Lag, measure_lag
from avi_lib.corpus.landmarker import MAX_GAP_S, UNMOVED, FaceFollower
from avi_lib.corpus.track_report import TrackReport
from avi_lib.corpus.video import Footage
from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, HEAD_ROTATION
from avi_lib.speech.audio import load_speech

MIN_PIECE_S = 0.5
"""A shorter piece beside a cut is cut out too."""

_TURNS = [ARKIT.index(channel) for channel in HEAD_ROTATION]


@dataclass(frozen=True, eq=False)
class Track:
    """Motion of one face: its pieces in order of time, at least one, and how they were found.

    Each piece begins at a whole number of its frames.
    """

    pieces: tuple[Piece, ...]
    report: TrackReport


@dataclass(frozen=True, eq=False)
class Sightings:
    """What every picture of a video shows.

    Attributes:
        start_s: when each picture begins to be shown, rising.
        person: number of the followed person, -1 in pictures without the face.
        values: ARKIT values; of no meaning in pictures without the face.
        score: confidence 0-1 in the face.
        faces: how many faces there are.
    """

    start_s: Float[np.ndarray, " pictures"]
    person: Int[np.ndarray, " pictures"]
    values: Float32[np.ndarray, "pictures channels"]
    score: Float[np.ndarray, " pictures"]
    faces: Int[np.ndarray, " pictures"]

    @property
    def step_s(self) -> float:
        """Median time from one picture to the next; 1/25 s for a single picture."""
        return float(np.median(np.diff(self.start_s))) if len(self.start_s) > 1 else 1 / 25

    @property
    def end_s(self) -> Float[np.ndarray, " pictures"]:
        """When each picture ceases to be true: as the next one comes, or after two usual steps at most."""
        after = np.append(self.start_s[1:], self.start_s[-1] + self.step_s)
        return np.minimum(after, self.start_s + 2 * self.step_s)


def track_video(path: Path, fps: float = 25.0, model: Path | None = None, sound: Path | None = None) -> Track:
    """Follow the largest face of a video.

    Times without it of up to MAX_GAP_S are interpolated, or held at the video's ends; longer ones, and changes from one
    person to another, part the motion into pieces. Pictures are looked at one by one, so memory does not grow with the
    video but by the curves.

    Args:
        path: the video.
        fps: frame rate of the motion.
        model: a face_landmarker.task of your own.
        sound: what is heard, from the video's first sound on, where it lies in another file; for the lag alone.

    Raises:
        InputError: no video, or no face in it.
        AssetError: the model or a system library is missing.
    """
    bundle = resolve("face-landmarker", model).files["face_landmarker.task"]
    with Footage(path) as footage:
        sightings = _look(footage, bundle)
    if not len(sightings.start_s):
        raise InputError("a video with pictures", f"{path}, none of which could be decoded", "export it again")
    pieces = cut_pieces(sightings, fps)
    if not pieces:
        found = int((sightings.person >= 0).sum())
        got = f"{path} with one in {found} of {len(sightings.start_s)} pictures"
        expected = "a face that stays in view" if found else "a face in the video"
        raise InputError(expected, got, "choose a video of a face that looks towards the camera")
    lag = _lag(max(pieces, key=lambda piece: len(piece.curves.clip)), sound or path)
    return Track(pieces, _report(path, footage, sightings, pieces, lag))


def cut_pieces(sightings: Sightings, fps: float) -> tuple[Piece, ...]:
    """Motion at `fps` from what the pictures show, without the times for which no face is known.

    Between pictures values are interpolated; where the video has several pictures a frame, the frame is their mean.
    """
    found = np.flatnonzero(sightings.person >= 0)
    if not len(found):
        return ()
    starts_s, ends_s = sightings.start_s[found], sightings.end_s[found]
    breaks = (starts_s[1:] - ends_s[:-1] > MAX_GAP_S) | (np.diff(sightings.person[found]) != 0)
    runs = np.split(np.arange(len(found)), np.flatnonzero(breaks) + 1)
    pieces = []
    for run in runs:
        begin_s, end_s = starts_s[run[0]], ends_s[run[-1]]
        whole = len(runs) == 1
        if run is runs[0]:
            whole &= begin_s <= MAX_GAP_S
            begin_s = 0.0 if begin_s <= MAX_GAP_S else begin_s
        if run is runs[-1]:
            whole &= sightings.end_s[-1] - end_s <= MAX_GAP_S
            end_s = sightings.end_s[-1] if sightings.end_s[-1] - end_s <= MAX_GAP_S else end_s
        first, last = (max(int(np.ceil(time_s * fps - 0.5 - 1e-6)), 0) for time_s in (begin_s, end_s))
        if last - first < (1 if whole else MIN_PIECE_S * fps):
            continue
        values = sightings.values[found[run]].astype(np.float64)
        values[:, _TURNS] = np.unwrap(values[:, _TURNS], axis=0)
        each = max(round(1 / (sightings.step_s * fps)), 1)
        times_s = (first + (np.arange((last - first) * each) + 0.5) / each) / fps
        middles_s = (starts_s[run] + ends_s[run]) / 2
        drawn = np.stack([np.interp(times_s, middles_s, channel) for channel in values.T], axis=1)
        steady = drawn.reshape(last - first, each, -1).mean(axis=1).astype(np.float32)
        present = np.array([channel not in UNMOVED for channel in ARKIT.channels])
        pieces.append(Piece(first / fps, Curves(MotionClip(steady, fps, ARKIT), present)))
    return tuple(pieces)


def _look(footage: Footage, bundle: Path) -> Sightings:
    """Every picture of a video through the landmarker, with a progress bar where there is a terminal."""
    with FaceFollower(bundle) as follower:
        bar = tqdm(footage.pictures(), "tracking", footage.expected, unit=" frames", leave=False, disable=None)
        seen = [follower.follow(picture) for picture in bar]
    return Sightings(
        start_s=np.array([sighting.start_s for sighting in seen]),
        person=np.array([sighting.person for sighting in seen], np.int64),
        values=np.array([sighting.values for sighting in seen], np.float32).reshape(-1, len(ARKIT)),
        score=np.array([sighting.score for sighting in seen]),
        faces=np.array([sighting.faces for sighting in seen], np.int64),
    )


def _lag(piece: Piece, video: Path) -> Lag:
    try:
        speech = load_speech(video)
    except InputError as error:
        return Lag(None, None, f"no sound: {error.got}")
    return measure_lag(piece.curves.clip, piece.start_s, speech.wave)


def _report(path: Path, footage: Footage, sightings: Sightings, pieces: tuple[Piece, ...], lag: Lag) -> TrackReport:
    found, middle_s = sightings.person >= 0, (sightings.start_s + sightings.end_s) / 2
    spans_s = [(piece.start_s, piece.start_s + piece.curves.clip.duration_s) for piece in pieces]
    kept = np.zeros(len(found), bool)
    for start_s, end_s in spans_s:
        kept |= (middle_s >= start_s) & (middle_s <= end_s)
    duration_s = float(sightings.end_s[-1]) - min(float(sightings.start_s[0]), 0.0)
    crowded = float((sightings.faces > 1).mean())
    warnings = list(_warnings(footage, sightings, crowded))
    if lag.reason:
        warnings.append(f"the lag of the sound is not known: {lag.reason}")
    return TrackReport(
        path=str(path),
        frames=len(found),
        video_fps=round(1 / sightings.step_s, 3),
        found=int(found.sum()),
        interpolated=int((kept & ~found).sum()),
        gaps=_stretches(kept & ~found),
        cut=int((~kept).sum()),
        cuts=_stretches(~kept),
        cut_s=max(duration_s - sum(end_s - start_s for start_s, end_s in spans_s), 0.0),
        faces_seen=int(sightings.faces.max()),
        crowded=crowded,
        confidence=float(sightings.score[found].mean()),
        lag_s=lag.lag_s,
        lag_correlation=lag.correlation,
        warnings=tuple(warnings),
    )


def _warnings(footage: Footage, sightings: Sightings, crowded: float) -> Iterator[str]:
    if crowded:
        anew = int(sightings.person.max())
        again = f", chosen anew {anew} times" if anew > 0 else ""
        most = int(sightings.faces.max())
        yield f"up to {most} faces, more than one in {crowded:.0%} of the pictures: the largest was followed{again}"
    if footage.damaged:
        yield f"damaged: {footage.damaged} packets or pictures could not be decoded and were left out"
    if footage.unordered:
        yield f"{footage.unordered} pictures whose time does not follow the one before were left out"
    if footage.truncated_s:
        yield f"truncated: {footage.truncated_s:.2f} s less than the header promises"


def _stretches(mask: np.ndarray) -> int:
    """How many runs of True a mask has."""
    return int((np.diff(np.concatenate([[False], mask]).astype(int)) == 1).sum())
