"""One face through a video with MediaPipe's FaceLandmarker: ARKit weights and head rotation of each picture.

>>> with FaceFollower(resolve("face-landmarker").files["face_landmarker.task"]) as follower:
...     sighting = follower.follow(picture)
>>> sighting.person, sighting.faces, sighting.score, sighting.values[ARKIT.index("jawOpen")]
(0, 1, 0.97, 0.12)

The landmarker smooths over time only when it follows a single face, so it is asked for one, and faces of other people
are painted over before it looks. Which faces there are, and how sure that is, comes from the detector (BlazeFace, short
range) that lies in the same model file; the landmarks themselves carry no confidence. On the CPU, same video, same
values.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from avi_lib.corpus.video import Picture
from avi_lib.errors import AssetError
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES

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
