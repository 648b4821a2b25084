"""Tracking: the video of a face in, its ARKit motion with a report out.

>>> track = track_video(Path("my.mp4"))
>>> [(piece.start_s, piece.values.shape) for piece in track.pieces]
[(0.0, (250, 55))]

Frame i of the motion shows the time (i + 0.5) / fps from the start of the video's sound, whatever the video's own rate
and however unsteady it is.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from scipy.ndimage import gaussian_filter1d, label
from tqdm import tqdm

from avi_lib.errors import AssetError, InputError, cause
from avi_lib.face.video import read_pictures
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, MotionClip
from avi_lib.motion.performer import articulate
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import recognise_phones
from avi_lib.wall import behind_wall

NOTICED_LAG_S = 0.08  # a lag from here on is noted: twice the scatter of the measurement on videos that are in step
MAX_GAP_S = 0.5  # longest time without the face that is interpolated; then another person may be followed
MIN_PIECE_S = 0.5  # a shorter piece beside a cut is cut out too
MIN_OVERLAP = 0.2  # boxes whose intersection is at least this share of their union are of the same face
UNMOVED = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
"""Channels that MediaPipe lacks (tongueOut) or leaves at 0 whatever the face does (its issues 4403, 4436 and 4450)."""

_TRACKED = tuple(channel for channel in ARKIT_BLENDSHAPES if channel not in UNMOVED)
_COLUMNS = [ARKIT.index(channel) for channel in _TRACKED]
_TURNS = [ARKIT.index(channel) for channel in HEAD_ROTATION]


# Results.


@dataclass(frozen=True)
class TrackReport:
    """How a video was tracked; pictures are those of the video, whatever the frame rate of the motion.

    `confidence` says that there is a face, not how right the weights are: no such measure exists. It is 0 in pictures
    where the detector missed what the landmarks followed.
    """

    path: str
    frames: int  # pictures that were looked at
    video_fps: float  # their median rate
    found: int  # pictures with the followed face
    interpolated: int  # pictures without it inside a piece, or held over at the video's ends
    gaps: int  # in so many gaps
    cut: int  # pictures outside every piece
    cuts: int  # in so many stretches
    cut_s: float  # of the video outside every piece
    faces_seen: int  # most faces that one picture shows
    crowded: float  # share 0-1 of the pictures that show more than one face
    confidence: float  # mean score 0-1 of the face detector over the pictures with the face
    lag_s: float | None  # how much later than the face the sound comes; None where that is unknown
    lag_correlation: float | None  # of the tracked mouth with the mouth expected from the sound at that lag
    warnings: tuple[str, ...]  # sentences for a person

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def findings(self) -> tuple[str, ...]:
        """What a corpus notes of the recording, by name: gaps cut out, several faces, a lag that an eye notices."""
        late = self.lag_s is not None and abs(self.lag_s) >= NOTICED_LAG_S
        named = {"face_gaps": self.cuts > 0, "several_faces": self.crowded > 0, "face_lag": late}
        return tuple(name for name, found in named.items() if found)

    def lines(self) -> Iterator[str]:
        """The report for a person: the counts, the lag, then a line for each warning."""
        rate = f"{self.frames} pictures at {self.video_fps:.4g} a second"
        yield f"{self.path}: {rate}, face found in {self.found}, confidence {self.confidence:.2f}"
        if self.gaps:
            yield f"interpolated: {_count(self.gaps, 'gap')}, {_count(self.interpolated, 'picture')}"
        if self.cuts:
            yield f"cut: {_count(self.cuts, 'stretch', 'es')}, {_count(self.cut, 'picture')}, {self.cut_s:.2f} s"
        if self.lag_s is not None:
            side = "after" if self.lag_s > 0 else "before"
            place = f"{abs(self.lag_s):.2f} s {side} the face" if abs(self.lag_s) >= 0.005 else "in step with the face"
            yield f"sound: {place} (correlation {self.lag_correlation:.2f})"
        yield from (f"note: {warning}" for warning in self.warnings)


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural if number != 1 else ''}"


@dataclass(frozen=True, eq=False)
class Track:
    """Motion of one face: its pieces in order of time, at least one, each from a whole frame on; and a report."""

    pieces: tuple[MotionClip, ...]
    report: TrackReport


def track_video(
    path: Path, fps: float = 25.0, model: Path | None = None, sound: Path | None = None, track: int | None = None
) -> Track:
    """Follow the largest face of a video.

    Times without it of up to MAX_GAP_S are interpolated, or held at the video's ends; longer ones, and changes from one
    person to another, part the motion into pieces. Memory does not grow with the video but by the curves.

    Args:
        path: the video.
        fps: frame rate of the motion.
        model: a face_landmarker.task of your own.
        sound: another file that holds the video's sound from its first sample on; for the lag alone.
        track: which sound track is the video's; see `load_voice`.

    Raises:
        InputError: no video, or no face in it.
        AssetError: the model or a system library is missing.
    """
    bundle = resolve("face-landmarker", model).files["face_landmarker.task"]
    voice, lag = None, Lag(None, None)
    try:
        voice = load_voice(sound or path, track=track)
    except InputError as error:
        lag = Lag(None, None, f"no sound: {error.got}")
    tracks = voice.report.finding("tracks") if voice else None
    counts: dict[str, Any] = {}
    pictures, seen = pictures_of(path, int(tracks.value) if tracks and sound is None else 0, counts), []
    with FaceFollower(bundle) as follower, tqdm(desc="tracking", unit=" frames", leave=False, disable=None) as bar:
        for start_s, rgb in pictures:
            seen.append((start_s, *follower.follow(start_s, rgb)))
            bar.total = counts["expected"]
            bar.update()
    if not seen:
        raise InputError("a video with pictures", f"{path}, none of which could be decoded", "export it again")
    sightings = Sightings(*map(np.array, zip(*seen, strict=True)))
    pieces = cut_pieces(sightings, fps)
    if not pieces:
        got = f"{path} with one in {(sightings.person >= 0).sum()} of {len(seen)} pictures"
        raise InputError("a face that stays in view", got, "choose a video of a face that looks towards the camera")
    if voice:
        lag = measure_lag(max(pieces, key=len), voice.wave)
    return Track(pieces, _report(str(path), counts, sightings, pieces, lag, tracks.text if tracks else ""))


def _report(
    path: str, counts: dict[str, Any], sightings: Sightings, pieces: tuple[MotionClip, ...], lag: Lag, tracks: str
) -> TrackReport:
    found, middle_s = sightings.person >= 0, (sightings.start_s + sightings.end_s) / 2
    spans_s = [(piece.start_s, piece.start_s + piece.duration_s) for piece in pieces]
    kept = np.zeros(len(found), bool)
    for start_s, end_s in spans_s:
        kept |= (middle_s >= start_s) & (middle_s <= end_s)
    duration_s = float(sightings.end_s[-1]) - min(float(sightings.start_s[0]), 0.0)
    crowded, faces_seen, anew = (sightings.faces > 1).mean(), int(sightings.faces.max()), int(sightings.person.max())
    chosen = f": the largest was followed{f', chosen anew {anew} times' if anew > 0 else ''}"
    warnings = (
        (crowded, f"up to {faces_seen} faces, more than one in {crowded:.0%} of the pictures{chosen}"),
        (counts["damaged"], f"damaged: {counts['damaged']} packets or pictures could not be decoded and were left out"),
        (
            counts["unordered"],
            f"{counts['unordered']} pictures whose time does not follow the one before were left out",
        ),
        (counts["anew"], f"time stamps begin anew {counts['anew']} times on the way; joined without a gap"),
        (counts["others"], f"the largest picture track was followed; not used: {'; '.join(counts['others'])}"),
        (tracks, tracks),
        (counts["truncated_s"], f"truncated: {counts['truncated_s']:.2f} s less than the header promises"),
        (lag.reason, f"the lag of the sound is not known: {lag.reason}"),
    )
    return TrackReport(
        path=path,
        frames=len(found),
        video_fps=round(1 / sightings.step_s, 3),
        found=int(found.sum()),
        interpolated=int((kept & ~found).sum()),
        gaps=label(kept & ~found)[1],
        cut=int((~kept).sum()),
        cuts=label(~kept)[1],
        cut_s=max(duration_s - sum(end_s - start_s for start_s, end_s in spans_s), 0.0),
        faces_seen=faces_seen,
        crowded=float(crowded),
        confidence=float(sightings.score[found].mean()),
        lag_s=lag.lag_s,
        lag_correlation=lag.correlation,
        warnings=tuple(warning for due, warning in warnings if due),
    )


# Pictures of a video one at a time, read behind the wall.


def pictures_of(
    path: Path, track: int = 0, counts: dict[str, Any] | None = None
) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"]]]:
    """When each picture of a video begins to be shown, and the picture, in order; InputError for what is no video.

    Times are counted from the beginning of the sound `track`, from 1 on; 0 for the only one. `counts` comes to hold
    what `video.read_pictures` counts: how many pictures are `expected` from the first on, the rest after the last.
    """
    expected = "a video in MP4, MOV, MKV, WebM, AVI, MPEG, FLV or Ogg"
    try:
        if not path.is_file() or not path.stat().st_size:
            state = "a folder" if path.is_dir() else "an empty file" if path.is_file() else "not there"
            raise InputError(expected, f"{path}, which is {state}", "check the path")
        file, seconds = path.open("rb"), min(60 + path.stat().st_size / 25e3, 7200.0)
    except OSError as error:
        raise InputError(expected, f"{path}: {cause(error)}", "check the path") from error
    terms = {"name": str(path), "expected": expected, "do": "convert what plays, as with `ffmpeg -i IN OUT.mp4`"}
    parts = behind_wall(read_pictures, file, str(path), track, **terms, seconds=seconds, memory_mb=4096)
    with file, closing(parts):
        for part in parts:
            if "rgb" in part:
                yield part["start_s"], part["rgb"]
            elif counts is not None:
                counts.update(part)


# One face through a video with MediaPipe's FaceLandmarker: ARKit weights and head rotation of each picture.


Seen = tuple[int, Float32[np.ndarray, " channels"], float, int]
"""What a picture shows, as the columns of `Sightings` but the first."""


class FaceFollower:
    """Follows a face through pictures given in order of time; a context manager.

    The largest face is chosen, and kept for as long as it is seen; another is chosen MAX_GAP_S after it is lost. `box`
    holds left, top, right and bottom in pixels of its `landmarks`, as last seen; None without one. The landmarks are
    (478, 3): column, row, and depth in pixels, which grows away from the camera. Raises AssetError when `bundle` is no
    face landmarker file or a system library is missing.
    """

    def __init__(self, bundle: Path) -> None:
        self.box: Float[np.ndarray, " 4"] | None = None
        self.landmarks = np.zeros((0, 3))
        self._bundle, self._person = bundle, -1
        self._seen_s, self._stamp_ms = -np.inf, -1
        self._first_s: float | None = None

    def __enter__(self) -> FaceFollower:
        try:
            with zipfile.ZipFile(self._bundle) as archive:
                buffer = archive.read("face_detector.tflite")
            with _mediapipe() as mediapipe, ExitStack() as stack:
                tasks, vision = mediapipe.tasks, mediapipe.tasks.vision
                detector = vision.FaceDetectorOptions(base_options=tasks.BaseOptions(model_asset_buffer=buffer))
                landmarker = vision.FaceLandmarkerOptions(
                    base_options=tasks.BaseOptions(model_asset_path=str(self._bundle)),
                    running_mode=vision.RunningMode.VIDEO,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
                self._detector = stack.enter_context(vision.FaceDetector.create_from_options(detector))
                self._landmarker = stack.enter_context(vision.FaceLandmarker.create_from_options(landmarker))
                self._mediapipe, self._close = mediapipe, stack.pop_all().close
        except (zipfile.BadZipFile, KeyError, OSError, ValueError, RuntimeError) as error:
            expected, do = "MediaPipe's face_landmarker.task", "leave the path out to use the pinned model"
            raise AssetError(expected, f"{self._bundle}: {cause(error)}", do) from error
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self._close()

    def follow(self, start_s: float, rgb: UInt8[np.ndarray, "height width 3"]) -> Seen:
        """What the next picture shows, which begins to be shown at `start_s`."""
        if self._first_s is None:
            self._first_s = start_s
        with _quiet():
            detections = self._detector.detect(self._image(rgb)).detections
        found = (detection.bounding_box for detection in detections)
        corners = [(b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height) for b in found]
        boxes = np.array(corners, np.float64).reshape(-1, 4)
        if start_s - self._seen_s > MAX_GAP_S:
            self.box = None
        chosen = choose_face(boxes, self.box)
        own = boxes[chosen] if chosen is not None else self.box
        nothing = (-1, np.zeros(len(ARKIT), np.float32), 0.0, len(boxes))
        if own is None:
            return nothing
        others = [box for i, box in enumerate(boxes) if i != chosen]
        self._stamp_ms = max(self._stamp_ms + 1, round(1000 * (start_s - self._first_s)))
        with _quiet():
            shown = self._image(paint_over(rgb, others, own) if others else rgb)
            result = self._landmarker.detect_for_video(shown, self._stamp_ms)
        if not result.face_landmarks:
            return nothing
        marks = np.array([(mark.x, mark.y, mark.z) for mark in result.face_landmarks[0]])
        marks *= (rgb.shape[1], rgb.shape[0], rgb.shape[1])
        face = np.concatenate([marks[:, :2].min(axis=0), marks[:, :2].max(axis=0)])
        if overlap(face, own) < MIN_OVERLAP:
            return nothing
        weights = {category.category_name: category.score for category in result.face_blendshapes[0]}
        values = np.zeros(len(ARKIT), np.float32)
        values[_COLUMNS] = [weights[channel] for channel in _TRACKED]
        values[_TURNS] = head_angles(result.facial_transformation_matrixes[0][:3, :3])
        self._person += self.box is None
        self.box, self.landmarks, self._seen_s = face, marks, start_s
        score = float(detections[chosen].categories[0].score) if chosen is not None else 0.0
        return self._person, values, score, len(boxes)

    def _image(self, rgb: UInt8[np.ndarray, "height width 3"]) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)


def choose_face(boxes: Float[np.ndarray, "faces 4"], last: Float[np.ndarray, " 4"] | None) -> int | None:
    """Which box (left, top, right, bottom) to follow: the one that lies on `last`, the largest when there is no last.

    None when there is no box, or none that overlaps `last` by MIN_OVERLAP.
    """
    if not len(boxes):
        return None
    if last is None:
        return int(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).argmax())
    best = max(range(len(boxes)), key=lambda i: overlap(boxes[i], last))
    return best if overlap(boxes[best], last) >= MIN_OVERLAP else None


def overlap(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0-1."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0))
    both = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / both) if both > 0 else 0.0


def paint_over(
    rgb: UInt8[np.ndarray, "height width 3"], others: list[Float[np.ndarray, " 4"]], own: Float[np.ndarray, " 4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of the picture with the boxes `others` black and 1.4 times as large, `own` spared 1.2 times as large."""

    def pixels(box: np.ndarray, larger: float) -> tuple[slice, slice]:
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * larger
        left, top = np.maximum(middle - half, 0).astype(int)
        right, bottom = np.maximum(middle + half, 0).astype(int)
        return slice(top, bottom), slice(left, right)

    painted = rgb.copy()
    for box in others:
        painted[pixels(box, 1.4)] = 0
    spared = pixels(own, 1.2)
    painted[spared] = rgb[spared]
    return painted


def head_angles(rotation: Float[np.ndarray, "3 3"]) -> Float32[np.ndarray, " 3"]:
    """Pitch, yaw and roll in radians of a rotation from face to camera axes (x right, y up, z to the camera).

    The rotation is taken apart as yaw @ pitch @ roll, which is how `face.head.rotations` puts one together. A face that
    looks into the camera has all three near 0; the open head at rest is read as pitched down by 0.1.
    """
    pitch = np.arcsin(np.clip(-rotation[1, 2], -1.0, 1.0))
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.array([pitch, yaw, roll], np.float32)


def check_mediapipe() -> str:
    """MediaPipe's version; AssetError names the system library without which it cannot start."""
    with _mediapipe() as mediapipe:
        mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((4, 4, 3), np.uint8))
        return str(mediapipe.__version__)


@contextmanager
def _mediapipe() -> Iterator[Any]:
    """The package mediapipe, quiet while the block runs; what it cannot load becomes an AssetError."""
    try:
        with _quiet():
            import mediapipe

            yield mediapipe
    except (ImportError, OSError) as error:
        missing = re.search(r"lib[\w.+-]+?\.so[.\d]*", str(error))
        if missing is None:
            raise AssetError("the package mediapipe", str(error), "install the environment again") from error
        do = "install the Debian packages libgl1 libegl1 libgles2 libglib2.0-0; tracking alone needs them"
        raise AssetError("the system libraries of MediaPipe", f"no {missing.group()}", do) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere while the block runs; exceptions pass as ever.

    MediaPipe logs there from its own threads, now and then in the middle of a video, and has no switch for it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


# From pictures to motion at a steady rate.


@dataclass(frozen=True, eq=False)
class Sightings:
    """What every picture of a video shows."""

    start_s: Float[np.ndarray, " pictures"]  # when it begins to be shown, rising
    person: Int[np.ndarray, " pictures"]  # counted from 0 as one is lost and another found; -1 without the face
    values: Float32[np.ndarray, "pictures channels"]  # ARKIT; zeros without the face
    score: Float[np.ndarray, " pictures"]  # confidence 0-1 in the face; 0 where only the landmarks still follow it
    faces: Int[np.ndarray, " pictures"]  # how many the detector sees

    @property
    def step_s(self) -> float:
        """Median time from one picture to the next; 1/25 s for a single picture."""
        return float(np.median(np.diff(self.start_s))) if len(self.start_s) > 1 else 1 / 25

    @property
    def end_s(self) -> Float[np.ndarray, " pictures"]:
        """When each picture ceases to be true: as the next one comes, or after two usual steps at most."""
        after = np.append(self.start_s[1:], self.start_s[-1] + self.step_s)
        return np.minimum(after, self.start_s + 2 * self.step_s)


def cut_pieces(sightings: Sightings, fps: float) -> tuple[MotionClip, ...]:
    """Motion at `fps` from what the pictures show, without the times for which no face is known.

    Between pictures values are interpolated; where the video has several pictures a frame, the frame is their mean.
    """
    found = np.flatnonzero(sightings.person >= 0)
    if not len(found):
        return ()
    starts_s, ends_s = sightings.start_s[found], sightings.end_s[found]
    breaks = (starts_s[1:] - ends_s[:-1] > MAX_GAP_S) | (np.diff(sightings.person[found]) != 0)
    runs = np.split(np.arange(len(found)), np.flatnonzero(breaks) + 1)
    from_start = starts_s[0] <= MAX_GAP_S
    to_end = sightings.end_s[-1] - ends_s[-1] <= MAX_GAP_S
    whole = len(runs) == 1 and from_start and to_end
    pieces = []
    for run in runs:
        begin_s = 0.0 if run is runs[0] and from_start else starts_s[run[0]]
        end_s = sightings.end_s[-1] if run is runs[-1] and to_end else ends_s[run[-1]]
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
        pieces.append(MotionClip(steady, fps, ARKIT, present, first / fps))
    return tuple(pieces)


# How much later than the face the sound comes: measured, reported, never applied.


REACH_S = 0.5  # largest lag either way that is looked for
LOOKED_AT_S = 60.0  # time from the start of the motion that is compared; more makes the answer no surer
SHORTEST_S = 1.0  # motion and sound must share this much at every lag
FINE_FPS = 100.0  # frames a second of the expected mouth, so that lags come in steps of 10 ms
SLOW_S = 0.5  # standard deviation of the moving mean that is taken out


class Lag(NamedTuple):
    """How much later than the face the sound comes; None where it is unknown, for the `reason` given."""

    lag_s: float | None
    correlation: float | None  # of the two mouths at the best lag, None when there was nothing to correlate
    reason: str = ""


def measure_lag(clip: MotionClip, wave: Float32[np.ndarray, " samples"]) -> Lag:
    """Lag of the sound (16 kHz) behind ARKIT motion, which begins at its `start_s`."""
    first = max(round((clip.start_s - REACH_S) * RATE_HZ), 0)
    last = round((clip.start_s + min(clip.duration_s, LOOKED_AT_S) + REACH_S) * RATE_HZ)
    part = wave[first:last]
    try:
        phones = recognise_phones(part).phones
    except InputError as error:
        return Lag(None, None, f"the sound cannot be used: {error.got}")
    if not phones:
        return Lag(None, None, "no speech was found in the sound")
    expected = articulate(phones, len(part) / RATE_HZ, FINE_FPS)
    openness = expected.values[:, ARKIT.index("jawOpen")] * (1 - expected.closure)
    tracked = (clip["jawOpen"] - clip["mouthClose"])[: int(LOOKED_AT_S * clip.fps)]
    return best_lag(tracked, clip.fps, openness, FINE_FPS, first / RATE_HZ - clip.start_s)


def best_lag(
    tracked: Float[np.ndarray, " frames"],
    fps: float,
    expected: Float[np.ndarray, " steps"],
    expected_fps: float,
    expected_start_s: float,
) -> Lag:
    """The lag up to REACH_S at which an expected mouth fits a tracked one best.

    `expected_start_s` is when the expected curve begins, counted from the start of the tracked one. A correlation that
    chance may reach tells no lag: the best lag reaches 0.78 / sqrt(duration) in one of ten cases with sound of another
    time (72 wrong pairs of 3 s of an iPhone take of English). Speech with an even rhythm of syllables (Mandarin) comes
    to 1.3 / sqrt(duration) by chance, so a correlation near this value deserves doubt.
    """
    quick = tracked - gaussian_filter1d(tracked.astype(np.float64), SLOW_S * fps)
    awaited = expected - gaussian_filter1d(expected.astype(np.float64), SLOW_S * expected_fps)
    times_s = (np.arange(len(quick)) + 0.5) / fps
    awaited_s = expected_start_s + (np.arange(len(awaited)) + 0.5) / expected_fps
    steps = round(REACH_S * expected_fps)
    lags_s = np.arange(-steps, steps + 1) / expected_fps
    fits = np.full(len(lags_s), np.nan)
    for i, at_s in enumerate(times_s + lags_s[:, None]):
        shared = (at_s >= awaited_s[0]) & (at_s <= awaited_s[-1])
        a, b = quick[shared], np.interp(at_s[shared], awaited_s, awaited)
        if len(a) >= SHORTEST_S * fps and min(a.std(), b.std()) >= 1e-6:
            fits[i] = np.corrcoef(a, b)[0, 1]
    if np.isnan(fits).all():
        return Lag(None, None, f"face and sound share less than {SHORTEST_S:g} s, or one of the mouths stays still")
    best = int(np.nanargmax(fits))
    correlation, chance = float(fits[best]), max(0.78 / (len(quick) / fps) ** 0.5, 0.2)
    if correlation < chance:
        reason = f"face and sound correlate by {correlation:.2f} at best, under the {chance:.2f} that chance may reach"
        return Lag(None, correlation, reason)
    if best in (0, len(fits) - 1):
        return Lag(None, correlation, f"the best lag is {REACH_S:g} s or more")
    return Lag(float(lags_s[best]), correlation)
