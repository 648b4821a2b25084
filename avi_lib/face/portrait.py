"""A photograph as a head: its face found, the open head fitted to it, and the photograph laid over the fit.

>>> portrait = load_portrait(Path("me.jpg"), RenderSettings())      # a Head: `move`, shapes, eyeballs, notes
>>> with portrait.rasteriser() as rasteriser:
...     picture = rasteriser.draw(portrait.move(motion)[0])

The tracker's landmarks of the photograph and those of a picture of the open head name the same points of a face. A thin
plate through them carries the open head, its 52 shapes, its lids and its lips over to the person (expression
cloning, Noh and Neumann 2001); teeth, tongue and the inside of the mouth follow by a similarity. The expression
that the photograph shows is part of the fit and taken out of the rest pose. World as in `face.head`: metres, the origin
between the person's eyes; a weight of 0 is the person at rest, a turn of 0 the turn of the photograph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import FRAMINGS, MATERIAL_NAMES, STUDIO, Camera, View
from avi_lib.face.head import Head, load_head
from avi_lib.files import cached, file_sha256
from avi_lib.models import cache_folder, resolve
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, MotionClip
from avi_lib.settings import RenderSettings
from avi_lib.wall import behind_wall

if TYPE_CHECKING:
    from avi_lib.face.portrait_networks import PortraitNetworks

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
RENDERER_SUFFIX = ".safetensors"
"""Of a neural renderer, which holds the photograph of its person."""
SYNTHETIC = "Synthetic video: a photograph animated from speech by avi. No such words were spoken before a camera."
RECIPE = 9
"""Part of the key under which a prepared photograph is kept: raise it when what is prepared changes."""
LOOKS = 6  # times the tracker looks at one picture, as its landmarks settle over some frames
LONGEST_SIDE, MOST_BYTES = 4096, 100 << 20
SMALLEST_FACE_PX, SMALL_FACE_PX = 48, 120  # from cheek to cheek in the photograph
MOST_TURNED_RAD, TURNED_RAD = np.radians(30.0), np.radians(15.0)
SHUT, AJAR, AGAPE = 0.6, 0.12, 0.5  # scores of closed eyes, of a mouth a little open, of one too far open
DISTANCE_M = 1.2  # from the person to the camera, which no photograph tells
MOST_TURN_RAD = np.radians([8.0, 12.0, 10.0]).astype(np.float32)
"""Pitch, yaw and roll beyond which the photograph has nothing to show."""
SEALS_M = 0.0015
"""How much smaller a wide gap of the lips is drawn, so that small ones close."""
PICTURED = MATERIAL_NAMES.index("skin")
"""The material of all that the photograph shows."""
_LIPS = ("mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthPucker", "mouthFunnel")
OWN = tuple(channel for channel in ARKIT_BLENDSHAPES if channel.startswith(_LIPS))
"""Channels of the photograph's own expression that are taken out; jawOpen beside them, by the gap of the lips."""


class Answer(NamedTuple):
    """Channels that answer together, and the bounds of their gain and bend."""

    channels: tuple[str, ...]
    gain: tuple[float, float]
    bend: tuple[float, float]


ANSWERED = (
    Answer(("jawOpen",), (0.85, 1.2), (-0.2, 0.3)),
    Answer(("mouthSmileLeft", "mouthSmileRight"), (0.9, 1.15), (0.0, 0.5)),
    Answer(("eyeBlinkLeft", "eyeBlinkRight"), (1.0, 1.0), (0.0, 0.8)),
    Answer(("eyeLookOutLeft", "eyeLookInRight"), (0.9, 1.2), (-0.1, 0.4)),
    Answer(("eyeLookOutRight", "eyeLookInLeft"), (0.9, 1.2), (-0.1, 0.4)),
    Answer(("eyeLookUpLeft", "eyeLookUpRight"), (0.9, 1.2), (-0.1, 0.4)),
    Answer(("eyeLookDownLeft", "eyeLookDownRight"), (0.9, 1.2), (-0.1, 0.4)),
    Answer(("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), (0.8, 1.25), (-0.2, 0.4)),
    Answer(("browDownLeft", "browDownRight"), (0.8, 1.1), (-0.2, 1.0)),
)
UNREAD = (
    Answer(("noseSneer", "mouthFrown", "cheekSquint", "eyeSquint"), (1.0, 1.0), (1.0, 1.0)),
    Answer(("eyeWide",), (1.3, 1.3), (0.4, 0.4)),
    Answer(("mouthPress", "mouthRoll", "mouthShrug"), (1.0, 1.0), (-0.8, -0.8)),
)
"""How channels that begin so and that the tracker hardly reads are drawn: half a weight of nose, corners and lids shows
too little on a photograph; half a weight of pressed lips moves them further than those of the talkers in GRID."""
PLAIN = np.stack([np.ones(len(ARKIT), np.float32), np.zeros(len(ARKIT), np.float32)])
"""Gain and bend where a weight is drawn as it is."""
PROBED = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEN = 0.25  # of the tracker's score at full strength, from which on it is believed
SETTLED = 3  # times the tracker looks at each of these pictures

LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_IRIS, RIGHT_IRIS = (473, 474, 475, 476, 477), (468, 469, 470, 471, 472)
UPPER_LIP, LOWER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324)
LIP_CORNERS = (78, 308)
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
"""Landmarks of MediaPipe's canonical face by what they lie on, in order around it; left is the person's."""
FIRM = (33, 133, 362, 263, 168, 6, 197, 195, 5, 1, 98, 327)
"""Landmarks of eye corners and nose, which no expression moves far."""
_MESH = 468  # landmarks without the irises
FACE_SIDE, FACE_DOWN = 7.2, 1.0  # of a face's box, and how far its middle lies below theirs, in spreads of these
MOUTH_WIDE, MOUTH_DOWN = 0.95, 0.12  # half the width of a mouth's box, and how far it lies below, in widths of it


class Place(NamedTuple):
    """Where a face is in pictures: its box (left, top, right, bottom in pixels), and how that differs from at rest."""

    boxes: Float[np.ndarray, "frames 4"]
    shift: Float[np.ndarray, "frames 2"]  # right and down, in sides of the box at rest
    scale: Float[np.ndarray, " frames"]


def place_of(firm: Float[np.ndarray, "frames 12 2"], rest: Float[np.ndarray, "12 2"]) -> Place:
    """The places of faces from their FIRM landmarks, and from those of the photograph."""
    middles, spread = firm.mean(axis=1), np.sqrt(firm.var(axis=1).sum(axis=1))
    usual = float(np.sqrt(rest.var(axis=0).sum()))
    centres = middles + np.array([0.0, FACE_DOWN]) * spread[:, None]
    half = FACE_SIDE / 2 * spread[:, None]
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    return Place(boxes, (middles - rest.mean(axis=0)) / (FACE_SIDE * usual), spread / usual)


@dataclass(frozen=True, eq=False, kw_only=True)
class Portrait(Head):
    """A person of one photograph, before the camera and the backdrop of that photograph."""

    view: View
    backdrop: UInt8[np.ndarray, "height width 3"]  # what is seen where nothing moves
    own: Float32[np.ndarray, " channels"]  # ARKIT values at which the portrait is its photograph
    answers: Float32[np.ndarray, "2 channels"]  # gain and bend of each channel: see `answering`
    lip_pairs: Int32[np.ndarray, "2 pairs"]  # vertices of the inner lips that meet, upper and lower
    lip_followers: Int32[np.ndarray, " followers"]
    lip_shares: Float32[np.ndarray, "followers pairs"]  # how much of each gap that is closed they go
    relit: Float32[np.ndarray, " V"]  # how much of a change of light each vertex shows, 0-1
    photo: UInt8[np.ndarray, "height width 3"]  # the photograph as it is shown
    landmarks: Float32[np.ndarray, "478 2"]  # its own, column and row in pixels
    networks: PortraitNetworks | None = None  # what draws its pictures anew

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """`Head.move` with turns that come to rest before what the photograph does not show, and lips that seal."""
        if motion.space is ARKIT:
            values, turns = motion.values.copy(), [ARKIT.index(channel) for channel in HEAD_ROTATION]
            values[:, turns] = MOST_TURN_RAD * np.tanh(values[:, turns] / MOST_TURN_RAD)
            values *= self.answers[0] + self.answers[1] * (1 - np.clip(values, 0, 1))
            motion = replace(motion, values=values)
        vertices = super().move(motion)
        upper, lower = self.lip_pairs
        gaps = np.maximum(
            vertices[:, upper, 1] - vertices[:, lower, 1] - self.vertices[upper, 1] + self.vertices[lower, 1], 0
        )
        vertices[:, self.lip_followers, 1] += (gaps * SEALS_M / (gaps + SEALS_M)) @ self.lip_shares.T
        return vertices

    def rasteriser(self) -> Any:
        """What draws the portrait over its own backdrop; numba is loaded for it."""
        from avi_lib.face.portrait_layers import Creases
        from avi_lib.face.raster import Rasteriser

        shown = self.move(MotionClip(self.own[None], 25.0, ARKIT))[0]
        return Rasteriser(self, self.view, self.backdrop, (PICTURED,), Creases(self, shown))

    def refined(self, motion: MotionClip, pictures: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
        """The rasteriser's pictures of a motion, drawn anew by the networks where there are some."""
        if self.networks is None:
            return pictures
        from avi_lib.face.portrait_networks import refined

        return refined(self, self.networks, motion, pictures)

    @property
    def face_box(self) -> Float[np.ndarray, " 4"]:
        """The face in the photograph, as in `Place`."""
        firm = self.landmarks[list(FIRM)].astype(np.float64)
        box: np.ndarray = place_of(firm[None], firm).boxes[0]
        return box

    @property
    def mouth_box(self) -> Float[np.ndarray, " 4"]:
        """The mouth within the face's box, which goes from -1 to 1: its middle, half its width and half its height."""
        corners = self.landmarks[[61, 291]].astype(np.float64)
        wide = float(np.linalg.norm(corners[0] - corners[1]))
        face = self.face_box
        middle = self.landmarks[[61, 291, 0, 17]].mean(axis=0) + np.array([0, MOUTH_DOWN * wide])
        inner = (middle - face[:2]) / (face[2:] - face[:2]) * 2 - 1
        half = MOUTH_WIDE * wide * np.array([1.0, 2 / 3]) / (face[2:] - face[:2]) * 2
        return np.concatenate([inner, half])

    def places(self, motion: MotionClip) -> Place:
        """Where the face is in each picture of a motion."""
        from avi_lib.face.portrait_layers import project

        firm, off = self._firm
        rest = self.landmarks[list(FIRM)].astype(np.float64)
        moved = firm.move(motion).astype(np.float64)
        pixels = project(moved.reshape(-1, 3), self.view).reshape(len(moved), -1, 2) + off
        return place_of(pixels, rest)

    @cached_property
    def _firm(self) -> tuple[Portrait, Float[np.ndarray, "12 2"]]:
        """The vertices beside the FIRM landmarks as a portrait of these alone, and how far from them these lie."""
        from avi_lib.face.portrait_layers import project

        blinks = [ARKIT.index(f"eyeBlink{side}") for side in ("Left", "Right")]
        skin = np.unique(self.triangles[self.material == PICTURED])
        skin = skin[(self.head_weight[skin] == 1) & (np.abs(self.shapes[blinks][:, skin]).max(axis=(0, 2)) < 0.002)]
        shown = project(self.move(MotionClip(self.own[None], 25.0, ARKIT))[0].astype(np.float64), self.view)
        marks = self.landmarks[list(FIRM)].astype(np.float64)
        members = skin[np.linalg.norm(shown[skin] - marks[:, None], axis=2).argmin(axis=1)]
        none, pairs = np.zeros(0, np.int32), np.zeros((2, 0), np.int32)
        rows = ("vertices", "uv", "weld", "occlusion", "head_weight", "relit")
        parts: dict[str, Any] = {name: getattr(self, name)[members] for name in rows}
        parts |= {"shapes": self.shapes[:, members], "identity": self.identity[:, members], "eyeballs": (none, none)}
        parts |= {"lip_pairs": pairs, "lip_followers": none, "lip_shares": np.zeros((0, 0), np.float32)}
        return replace(self, **parts), marks - shown[members]


def is_photo(name: str) -> bool:
    """Whether the name of a head is that of a photograph, or of a neural renderer with one."""
    return Path(name).suffix.lower() in (*PHOTO_SUFFIXES, RENDERER_SUFFIX)


# The photograph and its face.


def read_photo(file: BinaryIO) -> dict[str, np.ndarray]:
    """The picture `rgb` (height, width, 3) of a file, upright, at most LONGEST_SIDE; what runs behind the wall."""
    from PIL import Image, ImageOps

    with Image.open(file, formats=("JPEG", "PNG", "WEBP", "BMP", "TIFF")) as picture:
        picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
        upright: Any = ImageOps.exif_transpose(picture)
        if upright.mode in ("RGBA", "LA", "PA", "P"):
            flat = Image.new("RGBA", upright.size, (128, 128, 128, 255))
            upright = Image.alpha_composite(flat, upright.convert("RGBA"))
        upright = upright.convert("RGB")
        upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return {"rgb": np.ascontiguousarray(upright)}


def load_photo(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a photograph, decoded behind the wall; InputError for what is none."""
    terms: dict[str, Any] = {"expected": "a photograph as JPEG, PNG, WebP, BMP or TIFF", "do": "save it anew as PNG"}
    if not path.is_file() or not 0 < path.stat().st_size <= MOST_BYTES:
        raise InputError(terms["expected"], f"{path}, which is not there, empty or over 100 MB", "check the path")
    with path.open("rb") as file:
        (parts,) = behind_wall(read_photo, file, name=str(path), **terms, seconds=30.0, memory_mb=1500)
    rgb: np.ndarray = parts["rgb"]
    if min(rgb.shape[:2]) < 64:
        raise InputError("a photograph of 64 pixels a side or more", f"{rgb.shape[1]} x {rgb.shape[0]}", "use another")
    return rgb


class Face(NamedTuple):
    """What the tracker sees in one picture."""

    landmarks: Float[np.ndarray, "478 3"]  # column, row, depth away from the camera, in pixels
    values: Float32[np.ndarray, " channels"]  # ARKIT
    score: float
    faces: int


def _tracker() -> Path:
    return resolve("face-landmarker").files["face_landmarker.task"]


def find_face(rgb: UInt8[np.ndarray, "height width 3"], name: str) -> Face:
    """The largest face of a picture; InputError where there is none."""
    from avi_lib.face.tracking import FaceFollower

    with FaceFollower(_tracker()) as follower:
        seen = [follower.follow(look / 25, rgb) for look in range(LOOKS)][-1]
        landmarks = follower.landmarks
    if seen[0] < 0:
        do = "choose a photograph of a person, or of a drawing that is drawn like one, who looks at the camera"
        raise InputError("a photograph of a face", f"{name} with none that is found", do)
    return Face(landmarks, seen[1], seen[2], seen[3])


def check_face(face: Face, name: str) -> tuple[str, ...]:
    """What a person should know of a face that is to talk; InputError for one that cannot."""
    turns = face.values[[ARKIT.index(channel) for channel in HEAD_ROTATION]]
    width = float(np.linalg.norm(face.landmarks[234, :2] - face.landmarks[454, :2]))
    blink = min(face.values[ARKIT.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    jaw = float(face.values[ARKIT.index("jawOpen")])
    turned = float(np.degrees(np.abs(turns[:2]).max()))
    refused = (
        (width < SMALLEST_FACE_PX, f"a face of {width:.0f} pixels", "use a larger picture of it"),
        (np.abs(turns[:2]).max() > MOST_TURNED_RAD, f"one turned by {turned:.0f}°", "use one that looks at the camera"),
        (blink > SHUT, "one with the eyes shut", "use one with open eyes"),
        (jaw > AGAPE, "one with the mouth wide open", "use one with closed lips"),
    )
    for due, got, do in refused:
        if due:
            raise InputError("a photograph of a face that can be moved", f"{name}: {got}", do)
    notes = (
        (face.faces > 1, f"{face.faces} faces: the largest talks"),
        (width < SMALL_FACE_PX, f"the face is {width:.0f} pixels wide; from {SMALL_FACE_PX} on it is sharp"),
        (np.abs(turns[:2]).max() > TURNED_RAD, f"the face is turned by {turned:.0f}°; the far cheek may smear"),
        (jaw > AJAR, "the mouth is open: closed lips move better"),
        (0 < face.score < 0.6, f"the face is found with a confidence of {face.score:.2f} only: is it covered?"),
    )
    return tuple(f"photograph: {note}" for due, note in notes if due)


# The open head's own landmarks.


class Anchors(NamedTuple):
    """Where the landmarks lie on the open head at rest."""

    points: Float[np.ndarray, "468 3"]
    vertices: np.ndarray  # (468,) the vertex beside each
    irises: Float[np.ndarray, "2 3"]  # middles, left and right, on the eyeballs' fronts
    depth: float  # how many metres nearer a point is for each metre that the tracker says


def anchors_of(head: Head) -> Anchors:
    """The landmarks that the tracker finds in a picture of the head, on its skin; kept once found."""
    from avi_lib.face import portrait_layers as layers

    def find() -> dict[str, np.ndarray]:
        from avi_lib.face.raster import Rasteriser

        view = View.square(1024, FRAMINGS["face"])
        with Rasteriser(head, view) as rasteriser:
            return {"landmarks": find_face(rasteriser.draw(head.vertices), head.name).landmarks}

    key = {"what": "anchors", "recipe": RECIPE, "head": head.name, "points": head.vertices.tobytes().hex()[:4096]}
    view = View.square(1024, FRAMINGS["face"])
    marks = cached(cache_folder() / "portraits", key, find)["landmarks"]
    skin = head.triangles[head.material <= 1]
    seen = layers.facing(head.vertices, skin, view)
    front = np.unique(skin[seen])
    pixels = layers.project(head.vertices, view)
    depth_m, hit = layers.surface(pixels, head.vertices[:, 2], skin[seen], marks[:_MESH, :2])
    near = front[np.argmin(np.linalg.norm(pixels[front] - marks[:_MESH, None, :2], axis=2), axis=1)]
    depth_m = np.where(hit & (np.abs(depth_m - head.vertices[near, 2]) < 0.012), depth_m, head.vertices[near, 2])
    points = layers.unproject(marks[:_MESH, :2], depth_m, view)
    lips = np.unique(head.triangles[head.material == 1])
    drop = head.shapes[ARKIT.index("jawOpen"), :, 1]
    for marks_of, members in ((UPPER_LIP, lips[drop[lips] > -0.006]), (LOWER_LIP, lips[drop[lips] < -0.012])):
        far = np.linalg.norm(head.vertices[members] - points[list(marks_of), None], axis=2)
        near[list(marks_of)] = members[np.argmin(far, axis=1)]
    irises = np.stack([
        layers.unproject(marks[[iris[0]], :2], np.array([centre[2] + 0.015]), view)[0]
        for iris, centre in zip((LEFT_IRIS, RIGHT_IRIS), head.eye_centres, strict=True)
    ])  # fmt: skip
    told = -marks[:_MESH, 2] * np.linalg.norm(points[234] - points[454]) / np.linalg.norm(marks[234] - marks[454])
    slope = float(np.polyfit(told, points[:, 2], 1)[0])
    return Anchors(points, near, irises, slope)


# From a photograph to a portrait.


def crop_of(
    face: Face, size: tuple[int, int], settings: RenderSettings
) -> tuple[Float[np.ndarray, "2 3"], tuple[int, int]]:
    """The part of a picture (width, height) that is shown: an affine map of its pixels, and the size shown.

    A bust where the picture has one, as the open head is framed; never beyond the picture.
    """
    width, height = settings.width or settings.size, settings.size
    marks = face.landmarks[:, :2]
    tall = float(np.linalg.norm(marks[10] - marks[152]))
    middle = marks[[10, 152]].mean(axis=0)
    base, chosen = FRAMINGS["portrait"], FRAMINGS[settings.framing]
    share = np.tan(np.radians(chosen.fov_deg) / 2) / np.tan(np.radians(base.fov_deg) / 2)
    if settings.framing == "mouth":
        middle = marks[[13, 14]].mean(axis=0)
    elif settings.framing == "eyes":
        middle = marks[[33, 263]].mean(axis=0)
    shown = share * min(2.9 * tall, min(size[1] / height, size[0] / width) * min(width, height))
    scale = min(width, height) / shown
    corner = middle - 0.5 * np.array([width, height]) / scale
    corner = np.clip(corner, 0, np.maximum(np.array(size) - np.array([width, height]) / scale, 0))
    return np.array([[scale, 0.0, -scale * corner[0]], [0.0, scale, -scale * corner[1]]]), (width, height)


def own_expression(head: Head, face: Face, gap_m: float) -> Float32[np.ndarray, " channels"]:
    """The expression of a face as ARKIT values without turns: what the tracker reads of its lips, and their gap."""
    own = np.zeros(len(ARKIT), np.float32)
    for channel in OWN:
        own[ARKIT.index(channel)] = max(float(face.values[ARKIT.index(channel)]) - 0.1, 0.0) / 0.9
    jaw = np.zeros_like(own)
    jaw[ARKIT.index("jawOpen")] = 1.0
    slope = float(head.lip_gap(jaw[None])[0])
    left = gap_m - float(head.lip_gap(own[None])[0])
    own[ARKIT.index("jawOpen")] = np.clip(left / slope, 0.0, 1.0)
    if left < 0:
        own *= max(gap_m, 0.0) / max(gap_m - left, 1e-6)
    return own


def similarity(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Scale, rotation and shift that carry points nearest to others in the mean square (Umeyama 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    left, strength, right = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ flip @ right
    scale = float((strength * np.diag(flip)).sum() / (a**2).sum())
    return scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)


def load_portrait(path: Path, settings: RenderSettings) -> Portrait:
    """The person of a photograph, prepared for pictures of one size; what is prepared is kept by content.

    A file of a neural renderer stands for the photograph that it holds, and draws the pictures.

    Raises:
        InputError: no photograph, or no face in it that can be moved; no neural renderer, or one without a photograph.
        AssetError: the tracker's model or a system library is missing.
    """
    if settings.backdrop != STUDIO or settings.turn_deg or settings.tilt_deg:
        do = "leave out the backdrop, the turn and the tilt"
        raise InputError("a photograph before its own backdrop", "another backdrop or camera", do)
    if not path.is_file():
        raise InputError("a photograph", f"{path}, which is not there", "check the path")
    if path.suffix.lower() != RENDERER_SUFFIX:
        return _portrait(lambda: load_photo(path), file_sha256(path), path, settings)
    from avi_lib.face.portrait_networks import load_networks

    networks = load_networks(path)
    rgb = networks.photo.numpy().astype(np.uint8)
    if not rgb.size:
        raise InputError(
            "a neural renderer with its person's photograph", f"{path} without", "train one with notebook 08"
        )
    return replace(portrait_of(rgb, path, settings), networks=networks)


def portrait_of(
    rgb: UInt8[np.ndarray, "height width 3"], path: Path, settings: RenderSettings, answered: bool = True
) -> Portrait:
    """The person of a picture that comes from `path`; without what the tracker reads back unless `answered`."""
    return _portrait(lambda: rgb, hashlib.sha256(rgb.tobytes()).hexdigest(), path, settings, answered)


def _portrait(
    read: Callable[[], np.ndarray], digest: str, path: Path, settings: RenderSettings, answered: bool = True
) -> Portrait:
    head = load_head()
    shown = settings.model_dump(include={"size", "width", "framing"})
    key = {"what": "portrait", "recipe": RECIPE, "photo": digest, **shown}
    arrays = dict(cached(cache_folder() / "portraits", key, lambda: _prepare(read(), str(path), settings, head)))
    target, fov_deg = arrays.pop("target"), float(arrays.pop("fov_deg")[0])
    notes = tuple(bytes(arrays.pop("notes")).decode().strip().splitlines())
    x, y = map(float, target)
    height, width = arrays["backdrop"].shape[:2]
    camera = Camera((x, y, DISTANCE_M), (x, y, 0.0), fov_deg)
    eyeballs = arrays.pop("left_eyeball"), arrays.pop("right_eyeball")
    plain: dict[str, Any] = {each.name: arrays[each.name] for each in fields(Portrait) if each.name in arrays}
    portrait = Portrait(
        name=path.stem, notes=notes, view=View(width, height, camera), eyeballs=eyeballs, answers=PLAIN,
        identity=np.zeros((0, *plain["vertices"].shape), np.float32), **plain,
    )  # fmt: skip
    if not answered:
        return portrait
    kept = cached(cache_folder() / "portraits", key | {"what": "answers"}, lambda: {"answers": answering(portrait)})
    gain, bend = kept["answers"]
    own = portrait.own.copy()
    for _ in range(8):  # the weights that are answered by the photograph's expression
        own = portrait.own / (gain + bend * (1 - own))
    return replace(portrait, answers=kept["answers"], own=own)


# What the tracker reads back of what is asked.


def read_back(
    portrait: Portrait, motion: MotionClip
) -> tuple[Float[np.ndarray, "frames 478 3"], Float32[np.ndarray, "frames channels"], list[np.ndarray]]:
    """Landmarks and ARKIT values that the tracker finds in pictures of a motion, and the pictures."""
    with portrait.rasteriser() as rasteriser:
        return look_at(portrait.refined(motion, rasteriser.draw_all(portrait.move(motion))))


def look_at(
    pictures: Iterable[np.ndarray],
) -> tuple[Float[np.ndarray, "frames 478 3"], Float32[np.ndarray, "frames channels"], list[np.ndarray]]:
    """The same of any pictures of a face."""
    from avi_lib.face.tracking import FaceFollower

    marks, values, shown = [], [], []
    with FaceFollower(_tracker()) as follower:
        for number, picture in enumerate(pictures):
            for look in range(SETTLED):
                seen = follower.follow(number + look / 25, picture)
            marks.append(follower.landmarks.copy())
            values.append(seen[1])
            shown.append(picture)
    return np.array(marks), np.array(values), shown


def answering(portrait: Portrait) -> Float32[np.ndarray, "2 channels"]:
    """Gain and bend, w -> w (gain + bend (1 - w)), by which the tracker reads of the pictures what is asked.

    They stay within the bounds of `ANSWERED`, since the tracker has a bias of its own on every person; what it does not
    see stays as it is, or as `UNREAD` says.
    """
    strengths = np.array(PROBED[1:])
    values = np.zeros((1 + len(ANSWERED) * len(strengths), len(ARKIT)), np.float32)  # the first picture shows rest
    count = len(strengths)
    asked = [(slice(1 + at * count, 1 + (at + 1) * count), answer) for at, answer in enumerate(ANSWERED)]
    for rows, answer in asked:
        for channel in answer.channels:
            values[rows, ARKIT.index(channel)] = strengths
    _, read, _ = read_back(portrait, MotionClip(values, 25.0, ARKIT))
    answers = PLAIN.copy()
    for names, (gain, _), (bend, _) in UNREAD:
        answers[:, [channel.startswith(names) for channel in ARKIT.channels]] = [[gain], [bend]]
    wanted = np.linspace(0.1, 0.8, 8)
    for rows, answer in asked:
        members = [ARKIT.index(channel) for channel in answer.channels]
        curve = np.maximum.accumulate([read[0, members].mean(), *read[rows, members].mean(axis=1)])
        if curve[-1] - curve[0] < SEEN:
            continue
        choices = []
        for gain in np.linspace(*answer.gain, 11):
            for bend in np.linspace(*answer.bend, 11):
                drawn = wanted * (gain + bend * (1 - wanted))
                off = np.interp(drawn, PROBED, curve) - curve[0] - wanted
                choices.append((float((off**2).mean() + 0.01 * ((gain - 1) ** 2 + bend**2)), gain, bend))
        answers[:, members] = np.array(min(choices)[1:], np.float32)[:, None]
    return answers


def _prepare(rgb: np.ndarray, name: str, settings: RenderSettings, head: Head) -> dict[str, np.ndarray]:
    """Everything of a portrait as arrays."""
    from avi_lib.face import portrait_layers as layers
    from avi_lib.face.portrait_pages import Landmarks, resample

    face = find_face(rgb, name)
    notes = check_face(face, name)
    onto, (width, height) = crop_of(face, (rgb.shape[1], rgb.shape[0]), settings)
    picture = resample(rgb, onto, width, height)
    marks = face.landmarks * onto[0, 0] + np.array([onto[0, 2], onto[1, 2], 0.0])
    anchors = anchors_of(head)

    def world(m_a_pixel: float, depth_m: np.ndarray) -> tuple[View, np.ndarray]:
        """The camera, and the landmarks before it, where a pixel at the eyes' depth is so wide."""
        middle = marks[[*LEFT_EYE, *RIGHT_EYE], :2].mean(axis=0)
        x, y = (np.array([width, height]) / 2 - middle) * m_a_pixel * (1, -1)
        fov_deg = 2 * np.degrees(np.arctan(min(width, height) / 2 * m_a_pixel / DISTANCE_M))
        view = View(width, height, Camera((float(x), float(y), DISTANCE_M), (float(x), float(y), 0.0), float(fov_deg)))
        return view, layers.unproject(marks[:_MESH, :2], depth_m, view)

    m_a_pixel, own = 0.14 / float(np.linalg.norm(marks[234] - marks[454])), np.zeros(len(ARKIT), np.float32)
    eyes = marks[[*LEFT_EYE, *RIGHT_EYE], 2].mean()
    for _ in range(4):  # the photograph's scale, its expression and its turn depend on each other
        depth_m = (eyes - marks[:_MESH, 2]) * m_a_pixel * anchors.depth
        view, target = world(m_a_pixel, depth_m)
        posed = anchors.points + np.tensordot(own[: len(head.shapes)], head.shapes[:, anchors.vertices], axes=1)
        scale, rotation, shift = similarity(posed, target)
        m_a_pixel /= scale
        gap_m = float((target[13] - target[14]) @ rotation[:, 1]) / scale
        own = own_expression(head, face, gap_m)
    fit = layers.Fit(posed, target, scale, rotation, shift)
    regions = Landmarks(OVAL, (LEFT_EYE, RIGHT_EYE), (LEFT_IRIS, RIGHT_IRIS), (UPPER_LIP, LOWER_LIP), LIP_CORNERS)
    made = layers.build(
        head, fit, own[: len(head.shapes)], picture, marks, anchors.irises, anchors.vertices, view, regions
    )
    lines = np.frombuffer("\n".join(notes).encode() or b" ", np.uint8)
    camera = {"target": np.array(view.camera.position[:2]), "fov_deg": np.array([view.camera.fov_deg])}
    seen = {"photo": picture, "landmarks": marks[:, :2].astype(np.float32)}
    return {**made, **camera, **seen, "own": own, "notes": lines}
