"""A stranger's head made ours: whose shapes are which channels and materials, and where it stands.

In: a mesh in any unit and its shapes by channel. Out: a Head in metres, y up, facing +z, the origin midway between the
eyes.

>>> head = placed_head("ada", mesh, {"jawOpen": moved - mesh.vertices}, notes)
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, UInt8
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.head import Head, RenderMesh, with_gaze
from avi_lib.motion.clip import ARKIT_BLENDSHAPES, ChannelMatch, words

EYES_APART_M = 0.063
"""Between the pupils of an adult (Dodgson, 2004: the mean of 3976 people)."""
EYES_APART_RANGE_M = (0.050, 0.076)
"""A head whose eyes are this far apart is taken to be in metres, and keeps its size."""
HEAD_HEIGHT_M = 0.23
NECK = np.array([0.0, -0.893, -1.460])
"""Where the open head's neck bends, from midway between its eyes, in distances between them."""
LIDS_FROM_BALLS, BALLS_NARROWER = np.array([0.0, -0.046, 0.186]), 0.939
"""Where the blinks of the open head move skin, from the middles of its eyeballs, in distances between the two places;
and how much nearer to each other the eyeballs are."""

Shapes = Mapping[str, Float32[np.ndarray, "V 3"]]
Eyes = tuple[list[Int32[np.ndarray, " E"]], Float[np.ndarray, "2 3"]]
"""Vertex numbers of the left and of the right eyeball, and the points about which they turn, in the file's units."""
Neck = tuple[Float[np.ndarray, " V"], Float[np.ndarray, " 3"]]
"""How much of the head's rotation each vertex takes, and the point about which it turns, in the file's units."""


def placed_head(
    name: str,
    mesh: RenderMesh,
    shapes: Shapes,
    notes: Sequence[str],
    eyes: Eyes | None = None,
    neck: Neck | None = None,
) -> Head:
    """A head made of a file's mesh, which is turned upright, moved, and scaled unless it is in metres.

    The eyes are found where `eyes` says, else from what blinks and looks move, else from the bounding box. Without
    `neck` the whole head turns rigidly about a point where the open head's neck bends. What was chosen is in the
    head's notes. Raises InputError for a mesh without extent and for numbers that are not finite.
    """
    if not all(np.isfinite(array).all() for array in (mesh.vertices, mesh.uv, *shapes.values())):
        raise InputError("a head of finite numbers", f"NaN or infinity in {name}", "export it again")
    notes, nobody, vertices = list(notes), np.empty(0, np.int32), mesh.vertices
    eyeballs, centres = eyes or ([nobody, nobody], None)
    head_weight, pivot = neck or (np.ones(len(vertices)), None)
    axes = _axes(vertices, mesh.triangles, shapes)
    if not np.array_equal(axes, np.eye(3)):
        notes.append("turned upright and to the front by what its shapes move")
        vertices = vertices @ axes.T
        shapes = {channel: moved @ axes.T for channel, moved in shapes.items()}
        centres, pivot = (None if place is None else place @ axes.T for place in (centres, pivot))
    if centres is None:
        centres = _seen_eyes(vertices, shapes)
    centres, scale = _sized_eyes(vertices, centres, notes)
    origin = centres.mean(axis=0)
    if pivot is None:
        pivot = origin + NECK * np.linalg.norm(centres[0] - centres[1])
        notes.append("the head turns as one rigid piece")
    still = np.zeros_like(vertices)
    dense = np.stack([(shapes.get(channel, still) * scale).astype(np.float32) for channel in ARKIT_BLENDSHAPES])
    placed = {
        "vertices": ((vertices - origin) * scale).astype(np.float32),
        "shapes": dense,
        "identity": np.empty((0, len(vertices), 3), np.float32),
        "head_weight": head_weight.astype(np.float32),
        "pivot": ((pivot - origin) * scale).astype(np.float32),
        "eyeballs": (eyeballs[0], eyeballs[1]),
        "eye_centres": ((centres - origin) * scale).astype(np.float32),
    }
    return with_gaze(Head(**(vars(mesh) | placed), name=name, notes=tuple(notes)))


def _axes(
    vertices: Float32[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "T 3"], shapes: Shapes
) -> Float32[np.ndarray, "3 3"]:
    """Rows: the person's left, up and front among the file's axes, as columns of a turn by right angles.

    Lids close downwards, and jaws open downwards; moving skin faces the front. Nothing is turned without such shapes.
    """
    falling = [shapes[channel] for channel in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen") if channel in shapes]
    falling = [shape for shape in falling if shape.any()]
    if not falling:
        return np.eye(3, dtype=np.float32)
    up = _nearest_axis(-falling[0].sum(axis=0))
    moved = np.sum([np.linalg.norm(shape, axis=1) for shape in shapes.values()], axis=0)
    a, b, c = vertices[triangles].swapaxes(0, 1)
    facing = (np.cross(b - a, c - a) * moved[triangles].sum(axis=1)[:, None]).sum(axis=0)
    front = _nearest_axis(np.where(up == 0.0, facing, 0.0))
    return np.stack([np.cross(up, front), up, front]).astype(np.float32)


def _nearest_axis(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    axis = int(np.abs(direction).argmax())
    nearest: np.ndarray = np.eye(3)[axis] * (1.0 if direction[axis] >= 0.0 else -1.0)
    return nearest


def _sized_eyes(
    vertices: Float32[np.ndarray, "V 3"], centres: Float[np.ndarray, "2 3"] | None, notes: list[str]
) -> tuple[Float[np.ndarray, "2 3"], float]:
    """Middles of both eyes in the file's units, and metres per unit; halfway up the box where no eyes are seen."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    apart = 0.0 if centres is None else float(np.linalg.norm(centres[0] - centres[1]))
    if centres is not None and apart >= 1e-3 * float((high - low).max()):
        if EYES_APART_RANGE_M[0] <= apart <= EYES_APART_RANGE_M[1]:
            return centres, 1.0
        notes.append(f"scaled so that its eyes, {apart:.4g} apart, are {EYES_APART_M} m apart")
        return centres, EYES_APART_M / apart
    low, high = low.astype(float), high.astype(float)
    height = high[1] - low[1]
    if not height > 0.0:
        raise InputError("a head with some height", "a flat mesh", "check which axis is up: it should be y")
    scale = 1.0 if 0.8 <= height / HEAD_HEIGHT_M <= 1.25 else HEAD_HEIGHT_M / height
    middle = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, high[2] - 0.19 * height])
    reach = np.array([0.5 * EYES_APART_M / scale, 0.0, 0.0])
    scaled = f", scaled by {scale:.4g}" if scale != 1.0 else ""
    notes.append(f"its eyes were not found: placed by its bounding box{scaled}")
    return np.stack([middle + reach, middle - reach]), scale


def _seen_eyes(vertices: Float32[np.ndarray, "V 3"], shapes: Shapes) -> Float[np.ndarray, "2 3"] | None:
    """Middles of the eyes from what moves there: lids half closed, else what looks turn."""
    lids = [shapes[f"eyeBlink{side}"] for side in ("Left", "Right") if f"eyeBlink{side}" in shapes]
    if len(lids) == 2 and all(lid.any() for lid in lids):
        seen = np.stack([_middle(vertices + 0.5 * lid, lid) for lid in lids])
        middle = seen.mean(axis=0)
        balls: np.ndarray = middle - LIDS_FROM_BALLS * np.linalg.norm(seen[0] - seen[1])
        return balls + BALLS_NARROWER * (seen - middle)
    middles = []
    for side in ("Left", "Right"):
        looks = [name for way in ("In", "Out", "Up", "Down") if (name := f"eyeLook{way}{side}") in shapes]
        moved = np.sum([np.abs(shapes[name]) for name in looks], axis=0)
        if not np.any(moved):
            return None
        middles.append(_middle(vertices, moved))
    return np.stack(middles)


def _middle(places: Float32[np.ndarray, "V 3"], moved: Float32[np.ndarray, "V 3"]) -> Float[np.ndarray, " 3"]:
    """The mean place, weighted by how far each vertex moves."""
    weights = np.linalg.norm(moved.astype(np.float64), axis=1)
    middle: np.ndarray = weights @ places / weights.sum()
    return middle


# What a person should know of the shapes that were found.


def describe(match: ChannelMatch) -> tuple[str, ...]:
    """What a person should know of a match: how many channels it found, what is missing, merged and not used."""
    found = f"{len(match.parts)} of {len(ARKIT_BLENDSHAPES)} ARKit channels found"
    return (found, *missing_among(match.parts), *match.notes)


def missing_among(found: Collection[str]) -> tuple[str, ...]:
    """The note on channels that a head lacks; none where it has all 52."""
    missing = [channel for channel in ARKIT_BLENDSHAPES if channel not in found]
    return (f"missing, so they do not move: {', '.join(missing)}",) if missing else ()


MATERIAL_WORDS = {
    "hair": {"hair", "brow", "brows", "eyebrow", "eyebrows", "lash", "lashes", "eyelash", "eyelashes", "beard"},
    "lips": {"lip", "lips"},
    "teeth": {"teeth", "tooth", "gum", "gums"},
    "tongue": {"tongue"},
    "eye": {"eye", "eyes", "eyeball", "eyeballs", "sclera", "iris", "cornea", "pupil"},
    "cloth": {"cloth", "clothes", "shirt", "jacket", "suit", "outfit", "top", "garment"},
}
"""Words that make a name one of `camera.MATERIALS`; earlier rows first, so that an eye's lashes are hair."""


def material_of(*names: str) -> str:
    """The material that the first telling name speaks of; skin where none does."""
    for name in names:
        spoken = set(words(name))
        for material, marks in MATERIAL_WORDS.items():
            if spoken & marks:
                return material
    return "skin"


# The files beside a head, and one atlas of all its pictures.

MAX_SIDE = 4096
MAX_PIXELS = 1 << 26
"""Of one picture: 8192 x 8192."""
EDGE = 8
"""Pixels around each of several pictures, so that the smaller levels of the atlas mix no neighbours in."""
PLAIN_SIDE = 16
"""Of the picture of a plain colour."""

Picture = UInt8[np.ndarray, "h w 4"]
Key = TypeVar("Key")


def inside(folder: Path, name: str) -> Path | None:
    """The file of this name below `folder`; a path from another machine is looked for by its last part."""
    for part in (name, PureWindowsPath(name).name):
        try:
            path = (folder / part).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError):  # too long for a name, or a NUL in it
            continue
    return None


def read_picture(source: Path | BytesIO, called: str) -> Picture:
    """A picture in sRGB with its opacity; InputError for one that is damaged or has more than MAX_PIXELS."""
    try:
        with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                got = f"{picture.width} x {picture.height} in {called}"
                raise InputError(f"a picture of at most {MAX_PIXELS} pixels", got, "make it smaller")
            return np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputError("a PNG, JPEG or WebP picture", f"{called}: {error}", "save it again as PNG") from error


def plain_picture(rgb: tuple[int, int, int]) -> Picture:
    """A small picture of one colour."""
    return np.full((PLAIN_SIDE, PLAIN_SIDE, 4), (*rgb, 255), np.uint8)


def atlas_of(
    pictures: Mapping[Key, Picture],
) -> tuple[UInt8[np.ndarray, "H W 3"], dict[Key, Int64[np.ndarray, "2 2"]]]:
    """Pictures in shelves, the highest first, in one atlas; the corner and the size in pixels of each, x and y.

    They are made smaller until all fit, and have sides that are multiples of four.
    """
    edge = EDGE if len(pictures) > 1 else 0
    frame = ((edge, edge), (edge, edge), (0, 0))
    scale, height = 1.0, MAX_SIDE + 1
    while height > MAX_SIDE:
        framed = {
            key: np.pad(_resized(rgba, scale, MAX_SIDE - 2 * edge)[:, :, :3], frame, mode="edge")
            for key, rgba in pictures.items()
        }
        area, widest = sum(tile[:, :, 0].size for tile in framed.values()), max(t.shape[1] for t in framed.values())
        most = min(MAX_SIDE, max(widest, round(1.1 * area**0.5)))
        starts: dict[Key, tuple[int, int]] = {}
        left = top = shelf = width = 0
        for key in sorted(framed, key=lambda key: -len(framed[key])):
            high, wide = framed[key].shape[:2]
            if left + wide > most:
                left, top, shelf = 0, top + shelf, 0
            starts[key] = (left, top)
            left, shelf, width = left + wide, max(shelf, high), max(width, left + wide)
        height = top + shelf
        scale *= 0.7
    atlas = np.zeros((height, width, 3), np.uint8)
    for key, (left, top) in starts.items():
        high, wide = framed[key].shape[:2]
        atlas[top : top + high, left : left + wide] = framed[key]
    sizes = {key: np.array(tile.shape[1::-1]) - 2 * edge for key, tile in framed.items()}
    return atlas, {key: np.stack([np.array(starts[key]) + edge, size]) for key, size in sizes.items()}


def _resized(rgba: Picture, scale: float, most: int) -> Picture:
    scale = min(scale, most / max(rgba.shape))
    height, width = (max(4, round(side * scale / 4) * 4) for side in rgba.shape[:2])
    if (height, width) == rgba.shape[:2]:
        return rgba
    return np.asarray(Image.fromarray(rgba).resize((width, height), Image.Resampling.LANCZOS))
