"""A stranger's head made ours: what the names of its surfaces say, their pictures as one atlas, and where it stands.

In: pieces, each a surface of one material, in any unit. Out: a Head in metres, y up, facing +z, the origin midway
between the eyes.

>>> head = placed_head("ada", pieces, pictures, weld, notes)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import yaml
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64, UInt8
from PIL import Image

from avi_lib.errors import InputError, cause, expect
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, with_gaze, with_texels
from avi_lib.motion.clip import ARKIT_BLENDSHAPES, words

_TABLES: dict[str, Any] = yaml.load(Path(__file__).with_name("materials.yaml").read_text("utf-8"), yaml.CSafeLoader)
MATERIAL_WORDS = {material: set(marks.split()) for material, marks in _TABLES["words"].items()}
"""Words that make a name one of `camera.MATERIALS`; earlier rows first, so that an eye's lashes are hair."""
CLEAR_WORDS, CLEAR_AT_EYES = (set(_TABLES[which].split()) for which in ("clear", "clear_at_eyes"))
"""Words of shells over an eye that one sees through, and such as are where the name speaks of an eye as well."""
PLAIN_RGB: dict[str, tuple[int, int, int]] = {part: tuple(rgb) for part, rgb in _TABLES["plain_rgb"].items()}
"""Of a material without a picture and without a colour, by a word in its name or by its kind."""

MAX_SIDE = 4096
MAX_PIXELS = 1 << 26  # of one picture: 8192 x 8192
EDGE = 8  # pixels around each of several pictures, so that the smaller levels of the atlas mix no neighbours in
PLAIN_SIDE = 16  # of the picture of a plain colour
SLACK = 1e-3  # how far texture coordinates may leave their picture unseen

Picture = UInt8[np.ndarray, "h w 4"]


@dataclass(frozen=True)
class Piece:
    """One surface of one material, in the file's units, and what moves it.

    `names` are those of its material and of what holds it; `uv` are places in the picture of the key `picture`, v
    growing downwards; texels less opaque than `cutoff` are not seen. `traits` are what else a reader knows of vertices.
    """

    names: tuple[str, ...]
    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int64[np.ndarray, "T 3"]
    uv: Float32[np.ndarray, "V 2"]
    occlusion: Float32[np.ndarray, " V"]
    shapes: dict[str, Float32[np.ndarray, "V 3"]]
    picture: Any
    cutoff: float = 0.0
    traits: dict[str, np.ndarray] = field(default_factory=dict)


def material_of(*names: str) -> str:
    """The material that the first telling name speaks of; skin where none does."""
    for name in names:
        spoken = set(words(name))
        for material, marks in MATERIAL_WORDS.items():
            if spoken & marks:
                return material
    return "skin"


def clear_shells(surfaces: Sequence[Sequence[str]], notes: list[str]) -> list[bool]:
    """Which surfaces, by their names, are shells over the eyes that one sees through, with a note on them.

    None is where there is nothing else of the eyes.
    """
    shells = [_shell(names) for names in surfaces]
    if not any(material_of(*names) == "eye" for names, shell in zip(surfaces, shells, strict=True) if not shell):
        return [False] * len(shells)
    if told := ", ".join(dict.fromkeys(filter(None, shells))):
        notes.append(f"left out, since one sees the eyes through them: {told}")
    return list(map(bool, shells))


def _shell(names: Sequence[str]) -> str:
    """The name that makes a surface a shell over an eye; none where an earlier one speaks of something else."""
    for name in names:
        said, kind = set(words(name)), material_of(name)
        if kind in ("eye", "skin") and (said & CLEAR_WORDS or ("eye" in said and said & CLEAR_AT_EYES)):
            return name
        if kind != "skin":
            break
    return ""


# Pictures, and one atlas of them all.


def inside(folder: Path, name: str) -> Path:
    """The file of this name below `folder`; a path from another machine is looked for by its last part.

    Raises ValueError, which says why, for one that is not there or leads out of the folder, as by a link.
    """
    why = "is not in the folder"
    for part in (name, PureWindowsPath(name).name):
        try:
            path = (folder / part).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
            if os.path.lexists(folder / part) and Path(part).name == part:
                why = "is not in the folder but a link out of it" if (folder / part).is_symlink() else "is no file"
        except (OSError, ValueError):  # too long for a name, or a NUL in it
            continue
    raise ValueError(why)


def read_picture(source: Path | BytesIO, called: str) -> Picture:
    """A picture in sRGB with its opacity; InputError for one that is damaged or has more than MAX_PIXELS."""
    try:
        with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                got = f"{picture.width} x {picture.height} in {called}"
                raise InputError(f"a picture of at most {MAX_PIXELS} pixels", got, "make it smaller")
            return np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputError("a PNG, JPEG or WebP picture", f"{called}: {cause(error)}", "save it again as PNG") from error


def plain_picture(rgb: tuple[int, int, int]) -> Picture:
    """A small picture of one colour."""
    return np.full((PLAIN_SIDE, PLAIN_SIDE, 4), (*rgb, 255), np.uint8)


def _painted(
    pieces: Sequence[Piece], pictures: Mapping[Any, Picture], notes: list[str]
) -> tuple[UInt8[np.ndarray, "H W 4"], list[Piece]]:
    """All pictures as one atlas, and the pieces placed in it, without what one sees through; notes tell what is lost.

    Raises InputError where nothing is left to see.
    """
    veils = {piece.picture for piece in pieces if piece.cutoff}
    solid = {key: rgba if key in veils else rgba | np.array([0, 0, 0, 255], np.uint8) for key, rgba in pictures.items()}
    atlas, places = _atlas_of(solid)
    placed, clear, repeated = [], 0, False
    for piece in pieces:
        (corner, size), uv = places[piece.picture], piece.uv
        repeated |= min(size) > PLAIN_SIDE and bool((np.ptp(uv, axis=0) > 1.0 + SLACK).any())
        uv = uv - np.floor(uv.min(axis=0) + SLACK)  # by whole pictures where that suffices
        if (uv.max(axis=0) > 1.0 + SLACK).any():
            uv = uv - np.floor(uv)
        uv = np.clip(uv, 0.0, 1.0)
        unseen = ~with_texels(pictures[piece.picture][..., 3] >= 255 * piece.cutoff, uv, piece.triangles)
        clear += int(unseen.sum())
        uv = ((uv * size + corner) / atlas.shape[1::-1]).astype(np.float32)
        placed.append(replace(piece, uv=uv, triangles=piece.triangles[~unseen]))
    if repeated:
        notes.append("a texture that repeats itself is shown once, with seams")
    if clear:
        notes.append(f"{clear} triangles that one sees through are left out")
    expect(any(len(piece.triangles) for piece in placed), "surfaces that one can see", "none", "export it again")
    return atlas, placed


def _atlas_of(
    pictures: Mapping[Any, Picture],
) -> tuple[UInt8[np.ndarray, "H W 4"], dict[Any, Int64[np.ndarray, "2 2"]]]:
    """Pictures in shelves, the highest first, in one atlas; the corner and the size in pixels of each, x and y.

    They are made smaller until all fit, and have sides that are multiples of four.
    """
    edge = EDGE if len(pictures) > 1 else 0
    scale, height = 1.0, MAX_SIDE + 1
    while height > MAX_SIDE:
        framed = {key: _framed(rgba, scale, edge) for key, rgba in pictures.items()}
        area, widest = sum(tile[:, :, 0].size for tile in framed.values()), max(t.shape[1] for t in framed.values())
        most = min(MAX_SIDE, max(widest, round(1.1 * area**0.5)))
        starts: dict[Any, tuple[int, int]] = {}
        left = top = shelf = width = 0
        for key in sorted(framed, key=lambda key: -len(framed[key])):
            high, wide = framed[key].shape[:2]
            if left + wide > most:
                left, top, shelf = 0, top + shelf, 0
            starts[key] = (left, top)
            left, shelf, width = left + wide, max(shelf, high), max(width, left + wide)
        height = top + shelf
        scale *= 0.7
    atlas = np.zeros((height, width, 4), np.uint8)
    for key, (left, top) in starts.items():
        high, wide = framed[key].shape[:2]
        atlas[top : top + high, left : left + wide] = framed[key]
    places = {key: [start, framed[key].shape[1::-1]] for key, start in starts.items()}
    return atlas, {key: np.add(place, [[edge], [-2 * edge]]) for key, place in places.items()}


def _framed(rgba: Picture, scale: float, edge: int) -> Picture:
    """The picture made smaller where it must be, with its border repeated around it."""
    scale = min(scale, (MAX_SIDE - 2 * edge) / max(rgba.shape))
    height, width = (max(4, round(side * scale / 4) * 4) for side in rgba.shape[:2])
    if (height, width) != rgba.shape[:2]:
        rgba = np.asarray(Image.fromarray(rgba).resize((width, height), Image.Resampling.LANCZOS))
    return np.pad(rgba, ((edge, edge), (edge, edge), (0, 0)), mode="edge")


# The head: turned upright, moved, and scaled unless it is in metres.

EYES_APART_M = 0.063  # between the pupils of an adult (Dodgson, 2004: the mean of 3976 people)
EYES_APART_RANGE_M = (0.050, 0.076)  # a head whose eyes are this far apart is taken to be in metres, and keeps its size
WIDEST_EYE = 0.45
"""How far from its middle what a shape moves at one eye lies on average, at most, in distances between the eyes: 0.25
for the lids of the open head, more where the shape moves the other eye as well."""
HEAD_HEIGHT_M, TALLEST_M, LEAST_HEAD_M, MOST_FACE_M = 0.23, 2.1, 0.10, 0.40
"""Of a human head, of a person; a mesh's largest side is at least so long, that of what its shapes move at most."""
LEAST_FACING = 0.05  # the share of moving skin that looks to the front, more than to the back, where a front is seen
STILL = 5e-5
"""A shape moves nothing when no point goes further than this, in largest sides of the mesh: numbers were rounded."""
NECK = np.array([0.0, -0.893, -1.460])
"""Where the open head's neck bends, from midway between its eyes, in distances between them."""
NECK_TOP, NECK_FOOT, NECK_SLOPE, SHOULDER_SLOPE = -1.924, -2.439, 0.45, 0.5
"""Heights at which a neck begins and ends below the eyes, in distances between them; backwards it grows longer by the
slope at either end, and its end rises towards the shoulders, from one distance beside the middle."""
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
    pieces: Sequence[Piece],
    pictures: Mapping[Any, Picture],
    weld: Int[np.ndarray, " V"],
    notes: Sequence[str],
    eyes: Eyes | None = None,
    neck: Neck | None = None,
) -> Head:
    """All pieces as one head, which has all pictures as one; `weld` names the point of each vertex.

    The eyes are found where `eyes` says, else from what blinks and looks move, else from the bounding box; what would
    make no human head is passed over. Without `neck` the head turns about a point where the open head's neck bends, and
    over shoulders that stay, where it has such. What was chosen is in the head's notes. Raises InputError for a mesh
    without extent, shapes that move nothing and numbers that are not finite.
    """
    notes = list(notes)
    atlas, pieces = _painted(pieces, pictures, notes)
    vertices, uv, occlusion = (
        np.concatenate([getattr(piece, each) for piece in pieces]) for each in ("vertices", "uv", "occlusion")
    )
    shapes = joined_shapes(pieces)
    if not all(np.isfinite(array).all() for array in (vertices, uv, *shapes.values())):
        raise InputError("a head of finite numbers", f"NaN or infinity in {name}", "export it again")
    if missing := [channel for channel in ARKIT_BLENDSHAPES if channel not in shapes]:
        notes.append(f"missing, so they do not move: {', '.join(missing)}")
    least = STILL * float(np.ptp(vertices, axis=0).max())
    if still := [channel for channel, moved in shapes.items() if not np.abs(moved).max() > least]:
        notes.append(f"the same as at rest, so they do not move: {', '.join(still)}")
        shapes = {channel: moved for channel, moved in shapes.items() if channel not in still}
    expect(shapes, "shapes that move the face", f"none but the same as at rest in {name}", "export them anew")
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])[:-1]
    triangles = [piece.triangles + first for piece, first in zip(pieces, firsts, strict=True)]
    corners = np.concatenate(triangles).astype(np.int32)
    eyeballs, known = eyes or (None, None)
    head_weight, pivot = neck or (np.ones(len(vertices)), None)
    axes = _axes(vertices, corners, shapes, notes)
    if not np.array_equal(axes, np.eye(3)):
        notes.append("turned upright and to the front by what its shapes move")
        vertices = vertices @ axes.T
        shapes = {channel: moved @ axes.T for channel, moved in shapes.items()}
        known, pivot = (None if place is None else place @ axes.T for place in (known, pivot))
    sign, centres, scale = _sized_eyes(vertices, shapes, known, notes)
    if eyeballs is None or sign != "names":
        eyeballs = [np.empty(0, np.int32)] * 2
    origin, apart = centres.mean(axis=0), float(np.linalg.norm(centres[0] - centres[1]))
    if pivot is None:
        pivot = origin + NECK * apart
        if sign:
            head_weight = _neck_weight((vertices - origin) / apart, shapes)
        bends = (head_weight < 1.0).any()
        how = "its neck bends over still shoulders" if bends else "the head turns as one rigid piece"
        notes.append(f"without a neck joint {how}")
    resting = np.zeros_like(vertices)
    dense = np.stack([(shapes.get(channel, resting) * scale).astype(np.float32) for channel in ARKIT_BLENDSHAPES])
    looks = [MATERIAL_NAMES.index(material_of(*piece.names)) for piece in pieces]
    head = Head(
        name=name,
        notes=tuple(notes),
        vertices=((vertices - origin) * scale).astype(np.float32),
        triangles=corners,
        uv=uv,
        weld=np.unique(weld, return_inverse=True)[1].astype(np.int32),
        material=np.repeat(looks, [len(each) for each in triangles]).astype(np.uint8),
        occlusion=occlusion,
        atlas=np.ascontiguousarray(atlas[..., :3]),
        alpha=None if (atlas[..., 3] == 255).all() else np.ascontiguousarray(atlas[..., 3]),
        shapes=dense,
        identity=np.empty((0, len(vertices), 3), np.float32),
        head_weight=head_weight.astype(np.float32),
        pivot=((pivot - origin) * scale).astype(np.float32),
        eyeballs=(eyeballs[0], eyeballs[1]),
        eye_centres=((centres - origin) * scale).astype(np.float32),
    )
    return with_gaze(head)


def joined_shapes(pieces: Sequence[Piece]) -> dict[str, Float32[np.ndarray, "V 3"]]:
    """What each channel does to all vertices of the pieces."""
    channels = dict.fromkeys(channel for piece in pieces for channel in piece.shapes)
    still = [np.zeros_like(piece.vertices) for piece in pieces]
    return {
        channel: np.concatenate([p.shapes.get(channel, rest) for p, rest in zip(pieces, still, strict=True)])
        for channel in channels
    }


def _axes(
    vertices: Float32[np.ndarray, "V 3"], triangles: Int32[np.ndarray, "T 3"], shapes: Shapes, notes: list[str]
) -> Float32[np.ndarray, "3 3"]:
    """Rows: the person's left, up and front among the file's axes, as columns of a turn by right angles.

    Lids close downwards, and jaws open downwards; moving skin faces the front. Nothing is turned without such shapes.
    Where such skin faces all ways alike, as with both sides of every triangle, it lies in front of the middle.
    """
    falling = [shapes[channel] for channel in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen") if channel in shapes]
    if not falling:
        return np.eye(3, dtype=np.float32)
    up = _nearest_axis(-falling[0].sum(axis=0))
    moved = np.sum([np.linalg.norm(shape, axis=1) for shape in shapes.values()], axis=0)
    a, b, c = vertices[triangles].swapaxes(0, 1)
    faces = np.cross(b - a, c - a) * moved[triangles].sum(axis=1)[:, None]
    facing = np.where(up == 0.0, faces.sum(axis=0), 0.0)
    if not np.abs(facing).max() > LEAST_FACING * np.linalg.norm(faces, axis=1).sum():
        middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2.0
        facing = np.where(up == 0.0, moved @ (vertices - middle), 0.0)
        notes.append("its front is where its shapes move it, since that skin looks to no side")
    front = _nearest_axis(facing)
    return np.stack([np.cross(up, front), up, front]).astype(np.float32)


def _nearest_axis(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    axis = int(np.abs(direction).argmax())
    nearest: np.ndarray = np.eye(3)[axis] * (1.0 if direction[axis] >= 0.0 else -1.0)
    return nearest


def _sized_eyes(
    vertices: Float32[np.ndarray, "V 3"], shapes: Shapes, known: Float[np.ndarray, "2 3"] | None, notes: list[str]
) -> tuple[str, Float[np.ndarray, "2 3"], float]:
    """By which sign the eyes are found, their middles in the file's units, and metres per unit.

    The first sign is taken that tells the left eye from the right and makes a head of human size; the others are noted.
    Where there is none the eyes are supposed halfway up a head: the top of a bust or a body in metres, where the sign
    is its height, else the whole box, where it is "".
    """
    low, high = vertices.min(axis=0).astype(float), vertices.max(axis=0).astype(float)
    size, height = float((high - low).max()), high[1] - low[1]
    face = float(np.ptp(vertices[_face(shapes)], axis=0).max())
    for sign, centres, wide in _seen_eyes(vertices, shapes, known):
        apart = float(np.linalg.norm(centres[0] - centres[1]))
        metric = EYES_APART_RANGE_M[0] <= apart <= EYES_APART_RANGE_M[1]
        scale = 1.0 if metric else EYES_APART_M / max(apart, 1e-12 * size)
        if wide > WIDEST_EYE * apart:
            notes.append(f"eyes not placed by {sign}: those of the left and of the right eye move the same places")
        elif size * scale < LEAST_HEAD_M or face * scale > MOST_FACE_M:
            got = f"{apart:.2g} apart in a mesh of {size:.2g} whose shapes move {face:.2g}"
            notes.append(f"eyes not placed by {sign}: {got} is no human head")
        else:
            if scale != 1.0:
                notes.append(f"scaled so that its eyes, {apart:.4g} apart, are {EYES_APART_M} m apart")
            if centres[0, 0] < centres[1, 0]:
                notes.append("its left eye is on its right: names of sides exchanged, or the mesh turned inside out")
            return sign, centres, scale
    expect(height > 0.0, "a head with some height", "a flat mesh", "check which axis is up: it should be y")
    sign = "height" if 1.25 * HEAD_HEIGHT_M < height <= TALLEST_M else ""
    if sign:  # a bust or a body in metres, whose head is at its top
        top, height = vertices[vertices[:, 1] >= high[1] - HEAD_HEIGHT_M], HEAD_HEIGHT_M
        low = high - [0.0, HEAD_HEIGHT_M, 0.0]
        low[[0, 2]], high[[0, 2]] = top.min(axis=0)[[0, 2]], top.max(axis=0)[[0, 2]]
    scale = 1.0 if 0.8 <= height / HEAD_HEIGHT_M <= 1.25 else HEAD_HEIGHT_M / height
    middle = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, high[2] - 0.19 * height])
    reach = np.array([0.5 * EYES_APART_M / scale, 0.0, 0.0])
    scaled = f", scaled by {scale:.4g}" if scale != 1.0 else ""
    box = f"the uppermost {HEAD_HEIGHT_M} m" if sign else "its bounding box"
    notes.append(f"its eyes were not found: placed by {box}{scaled}")
    return sign, np.stack([middle + reach, middle - reach]), scale


def _seen_eyes(
    vertices: Float32[np.ndarray, "V 3"], shapes: Shapes, known: Float[np.ndarray, "2 3"] | None
) -> Iterator[tuple[str, Float[np.ndarray, "2 3"], float]]:
    """Signs of the eyes, their middles, how wide each is: where names say, lids half closed, what looks turn."""
    if known is not None:
        yield "names", known, 0.0
    sides = ("Left", "Right")
    lids = [shapes[f"eyeBlink{side}"] for side in sides if f"eyeBlink{side}" in shapes]
    if len(lids) == 2:
        seen, wide = _middles([vertices + 0.5 * lid for lid in lids], lids)
        middle = seen.mean(axis=0)
        balls: np.ndarray = middle - LIDS_FROM_BALLS * np.linalg.norm(seen[0] - seen[1])
        yield "blinks", balls + BALLS_NARROWER * (seen - middle), wide
    looks = [[f"eyeLook{way}{side}" for way in ("In", "Out", "Up", "Down")] for side in sides]
    turned = [np.sum([np.abs(shapes[name]) for name in names if name in shapes], axis=0) for names in looks]
    if all(map(np.any, turned)):
        yield "looks", *_middles([vertices] * 2, turned)


def _middles(
    places: Sequence[Float32[np.ndarray, "V 3"]], moved: Sequence[Float32[np.ndarray, "V 3"]]
) -> tuple[Float[np.ndarray, "2 3"], float]:
    """Mean places, weighted by how far each vertex moves, and the larger of the mean distances from them."""
    middles, wide = [], 0.0
    for place, shape in zip(places, moved, strict=True):
        weights = np.linalg.norm(shape.astype(np.float64), axis=1)
        middles.append(weights @ place / weights.sum())
        wide = max(wide, float(weights @ ((place - middles[-1]) ** 2).sum(axis=1) / weights.sum()) ** 0.5)
    return np.stack(middles), wide


def _face(shapes: Shapes) -> Bool[np.ndarray, " V"]:
    """Which vertices some shape moves nearly as far as any."""
    reaches = [np.linalg.norm(moved, axis=1) for moved in shapes.values()]
    face: np.ndarray = np.any([reach > 0.7 * reach.max() for reach in reaches], axis=0)
    return face


def _neck_weight(places: Float[np.ndarray, "V 3"], shapes: Shapes) -> Float[np.ndarray, " V"]:
    """How much of the head's rotation each vertex takes: 1 above the neck, 0 below; 1 all over where nothing is below.

    `places` are from midway between the eyes in distances between them. Above is at least what a shape moves well.
    """
    x, y, z = places.T
    lower = max(NECK_TOP - float((y + NECK_SLOPE * z)[_face(shapes)].min()), 0.0)
    under = NECK_TOP - lower - (y + NECK_SLOPE * z)
    foot = NECK_FOOT - lower + NECK_SLOPE * z + SHOULDER_SLOPE * np.maximum(np.abs(x) - 1.0, 0.0)
    over = np.maximum(y - foot, 0.0)
    weight: np.ndarray = np.where(under > 0.0, over / np.maximum(under + over, 1e-9), 1.0)
    return weight if (weight == 0.0).any() else np.ones(len(places))
