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

import errno
import math
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import Float, Float32, Int, UInt8
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from avi_lib.errors import AssetError, InputError
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, Curves, MotionClip, Piece
from avi_lib.motion.performer import articulate
from avi_lib.speech.decode import CONTAINERS
from avi_lib.speech.loading import RATE_HZ, load_speech
from avi_lib.speech.phones import recognise_phones

# How well a face could be followed through a video: counts, confidence, lag, and what a person should know.


NOTICED_LAG_S = 0.08
"""A lag from here on is noted: twice the scatter of the measurement on videos that are in step."""


@dataclass(frozen=True)
class TrackReport:
    """How a video was tracked; pictures are those of the video, whatever the frame rate of the motion.

    Attributes:
        path: the video.
        frames: pictures that were looked at.
        video_fps: their median rate.
        found: pictures with the followed face.
        interpolated: pictures without it inside a piece, in `gaps` gaps.
        gaps: gaps that were interpolated, or held over at the video's ends.
        cut: pictures outside every piece, in `cuts` stretches.
        cuts: stretches that were cut out.
        cut_s: seconds of the video outside every piece.
        faces_seen: most faces that one picture shows.
        crowded: share 0-1 of the pictures that show more than one face.
        confidence: mean score 0-1 of the face detector over the pictures with the face, 0 where it missed what the
            landmarks followed. It says that there is a face, not how right the weights are: no such measure exists.
        lag_s: how much later than the face the sound comes; None where that cannot be told.
        lag_correlation: of the tracked mouth with the mouth expected from the sound at that lag.
        warnings: sentences for a person.
    """

    path: str
    frames: int
    video_fps: float
    found: int
    interpolated: int
    gaps: int
    cut: int
    cuts: int
    cut_s: float
    faces_seen: int
    crowded: float
    confidence: float
    lag_s: float | None
    lag_correlation: float | None
    warnings: tuple[str, ...]

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


# Pictures of a video one at a time: upright, with square pixels, and with the times at which they are shown.


SIDES = (32, 8192)
"""Smallest and largest width and height that are read."""
LONGEST_SIDE = 1280
"""Larger pictures are scaled down to this; face detectors look at far fewer pixels."""
TRUNCATED_S = 0.15
"""A video that ends this much before the length its header promises is called truncated."""

_VIDEO = "a video in MP4, MOV, MKV, WebM, AVI, MPEG, FLV or Ogg"
_CONVERT = "see whether it plays; convert what plays, for example with `ffmpeg -i IN OUT.mp4`"


@dataclass(frozen=True)
class Picture:
    """A picture (height, width, 3) sRGB, and when it begins to be shown."""

    start_s: float
    rgb: UInt8[np.ndarray, "height width 3"]


class Footage:
    """An open video; a context manager.

    `rate` is the mean frame rate and `expected` the number of frames that the header promises, each None where it
    promises nothing. Known after the last picture: `damaged`, the packets and pictures that could not be decoded whole
    and were left out, `unordered`, the pictures left out because their time does not follow the one before, and
    `truncated_s`, how much of the promised length is missing. Raises InputError for whatever is no video.
    """

    damaged: int = 0
    unordered: int = 0
    truncated_s: float = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Footage:
        with ExitStack() as stack:
            file = stack.enter_context(_open_file(self._path))
            options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
            try:
                container = stack.enter_context(av.open(file, options=options, metadata_errors="replace"))
            except av.FFmpegError as error:
                raise InputError(
                    _VIDEO, f"{self._path}, which could not be read ({error.strerror})", _CONVERT
                ) from error
            self._container: Any = container
            self._stream = _picture_track(container, self._path)
            self._close = stack.pop_all().close
        self.rate = float(self._stream.average_rate) if self._stream.average_rate else None
        self.expected: int | None = self._stream.frames or None
        self._zero_s = _sound_start_s(self._container)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def pictures(self) -> Iterator[Picture]:
        """The pictures in order of their times, once."""
        before_s = shown_s = -np.inf
        for frame in self._frames():
            step_s = 1 / (self.rate or 25.0)
            shown_s = frame.time if frame.time is not None else max(before_s, -step_s) + step_s
            if shown_s <= before_s:
                self.unordered += 1
                continue
            before_s = shown_s
            if self._zero_s is None:
                self._zero_s = shown_s
            yield Picture(float(shown_s - self._zero_s), self._upright(frame))
        stream = self._stream
        if stream.duration is not None and self._container.format.name not in ("mpeg", "mpegts"):
            promised_s = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
            missing_s = promised_s - max(shown_s, 0.0) - 1 / (self.rate or 25.0)
            self.truncated_s = missing_s if missing_s > TRUNCATED_S else 0.0

    def _frames(self) -> Iterator[Any]:
        """Decoded frames; what cannot be decoded whole is counted and skipped, a broken container ends the stream."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.FFmpegError as error:
                if error.errno == errno.ENOMEM:
                    got = f"{self._path}, which wants more"
                    raise InputError("decoding to fit in memory", got, "scale the video down") from error
                self.damaged += 1
                continue
            for frame in frames:
                _check_size(frame.width, frame.height, self._path)
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    yield frame

    def _upright(self, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
        """RGB with square pixels and turned as a player turns it, at most LONGEST_SIDE wide and high."""
        wide = frame.width * float(self._stream.sample_aspect_ratio or 1)
        scale = min(1.0, LONGEST_SIDE / max(wide, frame.height))
        width, height = max(round(wide * scale), 1), max(round(frame.height * scale), 1)
        rgb = frame.reformat(width, height, format="rgb24", interpolation="AREA" if scale < 1 else "BILINEAR")
        # FFmpeg pads the rows of many widths; MediaPipe reads the memory as if it did not
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file with something in it, without waiting on a pipe."""
    try:
        if path.is_file():
            if path.stat().st_size:
                return path.open("rb")
            raise InputError(_VIDEO, f"{path}, an empty file (0 bytes)", "copy or record it again")
    except OSError as error:
        raise InputError(_VIDEO, f"{path}: {error.strerror}", "check the path and its permissions") from error
    state = "a folder" if path.is_dir() else "no regular file" if path.exists() else "not there"
    raise InputError(_VIDEO, f"{path}, which is {state}", "check the path")


def _picture_track(container: Any, path: Path) -> Any:
    """The video stream to decode; the cover picture of a song is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        sound = "a sound track and no pictures" if container.streams.audio else "neither pictures nor sound"
        raise InputError("a video of a face", f"{path} with {sound}", "choose a file with a video track")
    stream = max(streams, key=lambda stream: stream.width * stream.height)
    if stream.codec_context is None:
        raise InputError("a video in a known codec", f"{path} in an unknown one", _CONVERT)
    stream.codec_context.thread_count = 1
    if stream.width or stream.height:
        _check_size(stream.width, stream.height, path)
    return stream


def _check_size(width: int, height: int, path: Path) -> None:
    if not SIDES[0] <= min(width, height) <= max(width, height) <= SIDES[1]:
        expected = f"pictures of {SIDES[0]} to {SIDES[1]} pixels a side"
        raise InputError(expected, f"{width} x {height} in {path}", "scale the video")


def _sound_start_s(container: Any) -> float | None:
    """When the sound begins that the file would be heard with; None when it has none or does not say."""
    if not container.streams.audio:
        return None
    stream = container.streams.best("audio") or container.streams.audio[0]
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else None


# One face through a video with MediaPipe's FaceLandmarker: ARKit weights and head rotation of each picture.


MAX_GAP_S = 0.5
"""Longest time without the face that is interpolated, and after which another person may be followed."""
MIN_OVERLAP = 0.2
"""Two boxes are of the same face when their intersection is at least this share of their union."""
UNMOVED = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
"""Channels that MediaPipe lacks (tongueOut) or leaves at 0 whatever the face does (its issues 4403, 4436 and 4450)."""
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
"""System libraries that MediaPipe and OpenCV load, and the Debian packages that hold them."""

_BUNDLE, _PINNED = "MediaPipe's face_landmarker.task", "leave the path out to use the pinned model"
_TRACKED = tuple(channel for channel in ARKIT_BLENDSHAPES if channel not in UNMOVED)
_COLUMNS = [ARKIT.index(channel) for channel in _TRACKED]
_PAINTED, _SPARED = 1.4, 1.2  # other faces are painted over this much larger, the followed one is spared that much


@dataclass(frozen=True)
class Sighting:
    """What one picture shows.

    Attributes:
        start_s: when the picture begins to be shown.
        person: number of the followed person, counted from 0 as one is lost and another found; -1 without the face.
        values: ARKIT values (55,); zeros without the face.
        score: the detector's confidence 0-1 in the followed face; 0 where only the landmarks still follow it.
        faces: how many faces the detector sees.
    """

    start_s: float
    person: int
    values: Float32[np.ndarray, " channels"]
    score: float
    faces: int


class FaceFollower:
    """Follows a face through pictures given in order of time; a context manager.

    The largest face is chosen, and kept for as long as it is seen; another is chosen MAX_GAP_S after it is lost. Raises
    AssetError when `bundle` is no face landmarker file or a system library is missing.
    """

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._person = -1
        self._last: Float[np.ndarray, " 4"] | None = None
        self._seen_s = -np.inf
        self._stamp_ms = -1
        self._first_s: float | None = None

    def __enter__(self) -> FaceFollower:
        buffer = _detector_model(self._bundle)
        with _mediapipe() as mediapipe, ExitStack() as stack:
            tasks, vision = mediapipe.tasks, mediapipe.tasks.vision
            try:
                detector = vision.FaceDetectorOptions(base_options=tasks.BaseOptions(model_asset_buffer=buffer))
                landmarker = vision.FaceLandmarkerOptions(
                    base_options=tasks.BaseOptions(model_asset_path=str(self._bundle)),
                    running_mode=vision.RunningMode.VIDEO,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
                self._detector = stack.enter_context(vision.FaceDetector.create_from_options(detector))
                self._landmarker = stack.enter_context(vision.FaceLandmarker.create_from_options(landmarker))
            except (ValueError, RuntimeError) as error:
                raise AssetError(_BUNDLE, f"{self._bundle}: {error}", _PINNED) from error
            self._mediapipe = mediapipe
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self._close()

    @property
    def box(self) -> Float[np.ndarray, " 4"] | None:
        """Left, top, right and bottom in pixels of the followed face's landmarks, as last seen; None without one."""
        return self._last

    def follow(self, picture: Picture) -> Sighting:
        """Look at the next picture."""
        if self._first_s is None:
            self._first_s = picture.start_s
        boxes, scores = self._detect(picture.rgb)
        if picture.start_s - self._seen_s > MAX_GAP_S:
            self._last = None
        chosen = choose_face(boxes, self._last)
        nothing = Sighting(picture.start_s, -1, np.zeros(len(ARKIT), np.float32), 0.0, len(boxes))
        if chosen is None and self._last is None:
            return nothing
        own = boxes[chosen] if chosen is not None else self._last
        assert own is not None
        others = [box for i, box in enumerate(boxes) if i != chosen]
        found = self._landmarks(paint_over(picture.rgb, others, own) if others else picture.rgb, picture.start_s)
        if found is None or overlap(found[0], own) < MIN_OVERLAP:
            return nothing
        self._person += self._last is None
        self._last, self._seen_s = found[0], picture.start_s
        score = scores[chosen] if chosen is not None else 0.0
        return Sighting(picture.start_s, self._person, found[1], score, len(boxes))

    def _detect(self, rgb: UInt8[np.ndarray, "height width 3"]) -> tuple[Float[np.ndarray, "faces 4"], list[float]]:
        """Boxes (left, top, right, bottom) in pixels, and scores."""
        with _quiet():
            detections = self._detector.detect(self._image(rgb)).detections
        corners = [(box.origin_x, box.origin_y, box.width, box.height) for box in (d.bounding_box for d in detections)]
        boxes = np.array(corners, np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, [float(detection.categories[0].score) for detection in detections]

    def _landmarks(
        self, rgb: UInt8[np.ndarray, "height width 3"], time_s: float
    ) -> tuple[Float[np.ndarray, " 4"], Float32[np.ndarray, " channels"]] | None:
        """Box and ARKIT values of the one face that the landmarker sees."""
        assert self._first_s is not None
        self._stamp_ms = max(self._stamp_ms + 1, round(1000 * (time_s - self._first_s)))
        with _quiet():
            result = self._landmarker.detect_for_video(self._image(rgb), self._stamp_ms)
        if not result.face_landmarks:
            return None
        marks = np.array([(mark.x, mark.y) for mark in result.face_landmarks[0]]) * (rgb.shape[1], rgb.shape[0])
        weights = {category.category_name: category.score for category in result.face_blendshapes[0]}
        values = np.zeros(len(ARKIT), np.float32)
        values[_COLUMNS] = [weights[channel] for channel in _TRACKED]
        values[len(ARKIT_BLENDSHAPES) :] = head_angles(result.facial_transformation_matrixes[0][:3, :3])
        return np.concatenate([marks.min(axis=0), marks.max(axis=0)]), values

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
    overlaps = [overlap(box, last) for box in boxes]
    best = int(np.argmax(overlaps))
    return best if overlaps[best] >= MIN_OVERLAP else None


def overlap(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0-1."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0))
    both = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / both) if both > 0 else 0.0


def paint_over(
    rgb: UInt8[np.ndarray, "height width 3"], others: list[Float[np.ndarray, " 4"]], own: Float[np.ndarray, " 4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of the picture with the boxes `others` black, except where they reach into the box `own`."""
    painted = rgb.copy()
    for box in others:
        painted[_pixels(box, _PAINTED, rgb)] = 0
    spared = _pixels(own, _SPARED, rgb)
    painted[spared] = rgb[spared]
    return painted


def _pixels(
    box: Float[np.ndarray, " 4"], larger: float, rgb: UInt8[np.ndarray, "height width 3"]
) -> tuple[slice, slice]:
    """Rows and columns of a box made larger about its middle, inside the picture."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * larger
    left, top = np.maximum(middle - half, 0).astype(int)
    right, bottom = np.maximum(middle + half, 0).astype(int)
    return slice(top, bottom), slice(left, right)


def head_angles(rotation: Float[np.ndarray, "3 3"]) -> Float32[np.ndarray, " 3"]:
    """Pitch, yaw and roll in radians of a rotation from face to camera axes (x right, y up, z to the camera).

    The rotation is taken apart as yaw @ pitch @ roll, which is how `face.head.rotations` puts one together. A face that
    looks into the camera has all three near 0; the open head at rest is read as pitched down by 0.1.
    """
    pitch = np.arcsin(np.clip(-rotation[1, 2], -1.0, 1.0))
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.array([pitch, yaw, roll], np.float32)


def _detector_model(bundle: Path) -> bytes:
    """The face detector inside the landmarker's file."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            return archive.read("face_detector.tflite")
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise AssetError(_BUNDLE, f"{bundle}: {error}", _PINNED) from error


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
        name = missing.group() if missing else ""
        if not name:
            raise AssetError("the package mediapipe", str(error), "install the environment again") from error
        packages = LIBRARIES.get(name, " ".join(dict.fromkeys(LIBRARIES.values())))
        do = f"install the Debian packages {packages}; tracking alone needs them"
        raise AssetError("the system libraries of MediaPipe", f"no {name}", do) from error


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


# How much later than the face the sound comes: measured, reported, never applied.


REACH_S = 0.5
"""Largest lag either way that is looked for."""
LOOKED_AT_S = 60.0
"""Time from the start of the motion that is compared; more makes the answer no surer."""
SHORTEST_S = 1.0
"""Motion and sound must share this much at every lag."""

_FINE_FPS = 100.0  # frames a second of the expected mouth, so that lags come in steps of 10 ms
_SLOW_S = 0.5  # standard deviation of the moving mean that is taken out


@dataclass(frozen=True)
class Lag:
    """`lag_s` > 0 when the sound comes after the face; None where it cannot be told, for the `reason` given.

    `correlation` is that of the two mouths at the best lag, None when there was nothing to correlate.
    """

    lag_s: float | None
    correlation: float | None
    reason: str = ""


def chance_correlation(duration_s: float) -> float:
    """What the best lag reaches in one of ten cases with sound of another time.

    Found on an iPhone take of English speech cut into stretches of 3 s, 72 wrong pairs; it falls with the square root
    of the length. Speech with an even rhythm of syllables (Mandarin) comes to 1.3 / sqrt(duration_s) by chance, so a
    correlation near this value deserves doubt.
    """
    return max(0.78 / math.sqrt(duration_s), 0.2)


def measure_lag(clip: MotionClip, start_s: float, wave: Float32[np.ndarray, " samples"]) -> Lag:
    """Lag of the sound behind ARKIT motion that begins `start_s` into the wave (16 kHz)."""
    first = max(round((start_s - REACH_S) * RATE_HZ), 0)
    last = round((start_s + min(clip.duration_s, LOOKED_AT_S) + REACH_S) * RATE_HZ)
    heard = wave[first:last]
    try:
        phones = recognise_phones(heard).phones
    except InputError as error:
        return Lag(None, None, f"the sound cannot be used: {error.got}")
    if not phones:
        return Lag(None, None, "no speech was heard")
    expected = articulate(phones, len(heard) / RATE_HZ, _FINE_FPS)
    openness = expected.values[:, ARKIT.index("jawOpen")] * (1 - expected.closure)
    frames = int(LOOKED_AT_S * clip.fps)
    tracked = (clip["jawOpen"] - clip["mouthClose"])[:frames]
    return best_lag(tracked, clip.fps, openness, _FINE_FPS, first / RATE_HZ - start_s)


def best_lag(
    tracked: Float[np.ndarray, " frames"],
    fps: float,
    expected: Float[np.ndarray, " steps"],
    expected_fps: float,
    expected_start_s: float,
) -> Lag:
    """The lag up to REACH_S at which an expected mouth fits a tracked one best.

    `expected_start_s` is when the expected curve begins, counted from the start of the tracked one.
    """
    quick = tracked - gaussian_filter1d(tracked.astype(np.float64), _SLOW_S * fps)
    awaited = expected - gaussian_filter1d(expected.astype(np.float64), _SLOW_S * expected_fps)
    times_s = (np.arange(len(quick)) + 0.5) / fps
    awaited_s = expected_start_s + (np.arange(len(awaited)) + 0.5) / expected_fps
    steps = round(REACH_S * expected_fps)
    lags_s = np.arange(-steps, steps + 1) / expected_fps
    fits = np.array([_fit(times_s + lag_s, quick, awaited_s, awaited, fps) for lag_s in lags_s])
    if np.isnan(fits).all():
        return Lag(None, None, f"face and sound share less than {SHORTEST_S:g} s, or one of the mouths stays still")
    best = int(np.nanargmax(fits))
    correlation, chance = float(fits[best]), chance_correlation(len(quick) / fps)
    if correlation < chance:
        reason = f"face and sound correlate by {correlation:.2f} at best, under the {chance:.2f} that chance may reach"
        return Lag(None, correlation, reason)
    if best in (0, len(fits) - 1):
        return Lag(None, correlation, f"the best lag is {REACH_S:g} s or more")
    return Lag(float(lags_s[best]), correlation)


def _fit(
    at_s: Float[np.ndarray, " frames"],
    tracked: Float[np.ndarray, " frames"],
    awaited_s: Float[np.ndarray, " steps"],
    awaited: Float[np.ndarray, " steps"],
    fps: float,
) -> float:
    """Correlation over the frames that both curves have; NaN for too few of them or a curve that is flat."""
    shared = (at_s >= awaited_s[0]) & (at_s <= awaited_s[-1])
    if shared.sum() < SHORTEST_S * fps:
        return math.nan
    a, b = tracked[shared], np.interp(at_s[shared], awaited_s, awaited)
    if min(a.std(), b.std()) < 1e-6:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


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
