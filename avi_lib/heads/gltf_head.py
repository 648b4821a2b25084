"""Reads a head with blendshapes from anyone's .glb or .gltf file.

>>> head = load_gltf_head(Path("ada.glb"))
>>> head.notes  # what it lacks, and how it was placed
("1 of 52 channels move nothing: tongueOut", ...)

The head at rest is the file's nodes as they stand, skins applied, without morph weights. A joint named as the head
carries what it carries in the file; joints or nodes named as the left and the right eye become eyeballs that turn.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from PIL import Image

from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head
from avi_lib.heads.gltf import GltfFile, GltfScene, Primitive, SurfaceMaterial, TextureInfo, one_line, open_gltf
from avi_lib.heads.placing import (
    Eyes,
    Neck,
    head_behind_wall,
    match_channels,
    material_of,
    missing_among,
    parts_of,
    placed_head,
)

# One primitive of a glTF file as a node shows it: its vertices in the file's world, and what moves them.


MAX_VERTICES = 200_000
MAX_READ = 8 * MAX_VERTICES
"""Most vertices of all primitives together as the file lists them; primitives may list the same ones again."""
MAX_TRIANGLES = 2 * MAX_VERTICES
MAX_PIECES = 1000
MAX_TEXTURE_PLACE = 1e4
GREY = 0.01
"""How far the red, green and blue of a grey may be apart."""


@dataclass(frozen=True)
class Piece:
    """One primitive as one node shows it, in the file's world: vertices that its triangles use, and what moves them.

    Grey vertex colours are baked `occlusion`; a `coloured` piece has others, which are not kept. `head` is how much of
    each vertex the head's joint carries, `eye` the eyeball (0, 1) that it belongs to, else -1; `names` are of the mesh
    and of the node.
    """

    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int64[np.ndarray, "T 3"]
    uv: Float32[np.ndarray, "V 2"]
    normals: Float32[np.ndarray, "V 3"]
    shapes: dict[str, Float32[np.ndarray, "V 3"]]
    occlusion: Float32[np.ndarray, " V"]
    coloured: bool
    head: Float32[np.ndarray, " V"]
    eye: Int64[np.ndarray, " V"]
    primitive: Primitive
    names: tuple[str, str]


@dataclass(frozen=True)
class _Carriers:
    """Which nodes stand for the head, and which for each eye, or stand below one that does."""

    head: Bool[np.ndarray, " nodes"]
    eyes: Bool[np.ndarray, "2 nodes"]


def read_pieces(file: GltfFile, scene: GltfScene, notes: list[str]) -> list[Piece]:
    """Every primitive of triangles that the default scene shows; `notes` is told of others.

    Raises InputError for indices out of range, accessors that do not fit, and more than MAX_VERTICES vertices.
    """
    carriers = _Carriers(scene.below(scene.heads()), np.stack([scene.below(scene.eyes(side)) for side in (0, 1)]))
    used: list[tuple[int, Primitive, int]] = []
    budget, left_out = MAX_READ, 0
    for node in scene.drawn:
        mesh = file.part(file.document.meshes, scene.nodes[node].mesh or 0, "mesh")
        for primitive in mesh.primitives:
            if primitive.mode < 4:
                left_out += 1
                continue
            if "POSITION" not in primitive.attributes:
                raise file.refused("POSITION in every primitive", f"none in mesh {mesh.name!r}")
            count = file.part(file.document.accessors, primitive.attributes["POSITION"], "accessor").count
            budget -= count
            if budget < 0 or len(used) == MAX_PIECES:
                raise file.refused(f"at most {MAX_READ} vertices in {MAX_PIECES} parts", "more", "simplify the mesh")
            used.append((node, primitive, count))
    if left_out:
        notes.append(f"{left_out} primitives of points and lines are left out")
    pieces: list[Piece] = []
    for node, primitive, count in used:
        pieces.append(_piece(file, scene, carriers, node, primitive, count))
        check_size(file, sum(len(piece.vertices) for piece in pieces))
    if any(piece.coloured for piece in pieces):
        notes.append("its vertex colours are not shown")
    return pieces


def check_size(file: GltfFile, vertices: int) -> None:
    """Raise InputError when a head has too many vertices."""
    if vertices > MAX_VERTICES:
        raise file.refused(f"at most {MAX_VERTICES} vertices", str(vertices), "simplify the mesh")


def _piece(
    file: GltfFile, scene: GltfScene, carriers: _Carriers, number: int, primitive: Primitive, count: int
) -> Piece:
    node = scene.nodes[number]
    mesh = file.part(file.document.meshes, node.mesh or 0, "mesh")
    attributes = primitive.attributes
    corners = _triangles(file, primitive, count)
    kept, triangles = np.unique(corners, return_inverse=True)
    check_size(file, len(kept))
    triangles = triangles.reshape(-1, 3)
    if node.skin is None:
        turn = np.broadcast_to(scene.world[number], (len(kept), 4, 4))
        head = np.full(len(kept), float(carriers.head[number]))
        eye = np.full(len(kept), next((side for side in (0, 1) if carriers.eyes[side, number]), -1))
    else:
        turn, head, eye = _skinned(file, scene, carriers, node.skin, primitive, count, kept)
    places = file.numbers(attributes["POSITION"], 3, count)[kept]
    turn = turn.astype(np.float32)
    vertices = np.einsum("vij,vj->vi", turn[:, :3, :3], places) + turn[:, :3, 3]
    if np.linalg.det(turn[0, :3, :3].astype(float)) < 0.0:
        triangles = triangles[:, ::-1]
    shapes, offset = _shapes(
        file, primitive, mesh.target_names, node.weights or mesh.weights, count, kept, turn[:, :3, :3]
    )
    normals = np.zeros((len(kept), 3), np.float32)
    if "NORMAL" in attributes:
        normals = np.einsum("vij,vj->vi", turn[:, :3, :3], file.numbers(attributes["NORMAL"], 3, count)[kept])
    colours = _colours(file, primitive, count)[kept]
    grey = bool(np.ptp(colours, axis=1).max() < GREY)
    return Piece(
        vertices=vertices + offset,
        triangles=triangles,
        uv=_texture_places(file, primitive, count)[kept],
        normals=normals,
        shapes=shapes,
        occlusion=colours[:, 0].copy() if grey else np.ones(len(kept), np.float32),
        coloured=not grey,
        head=head.astype(np.float32),
        eye=eye,
        primitive=primitive,
        names=(mesh.name, node.name),
    )


def _triangles(file: GltfFile, primitive: Primitive, count: int) -> Int64[np.ndarray, "T 3"]:
    corners = np.arange(count) if primitive.indices is None else file.integers(primitive.indices, 1)[:, 0]
    if len(corners) < 3 or corners.max() >= count:
        raise file.refused(f"three or more indices below {count}", f"{len(corners)} up to {corners.max()}")
    if primitive.mode == 5:
        strip = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
        strip[1::2] = strip[1::2, [1, 0, 2]]
        triangles = strip
    elif primitive.mode == 6:
        triangles = np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], axis=1)
    elif len(corners) % 3:
        raise file.refused("three indices a triangle", f"{len(corners)} of them")
    else:
        triangles = corners.reshape(-1, 3)
    if len(triangles) > MAX_TRIANGLES:
        raise file.refused(f"at most {MAX_TRIANGLES} triangles", str(len(triangles)), "simplify the mesh")
    return triangles


def _shapes(
    file: GltfFile,
    primitive: Primitive,
    names: Sequence[str],
    weights: Sequence[float],
    count: int,
    kept: Int64[np.ndarray, " V"],
    turn: Float32[np.ndarray, "V 3 3"],
) -> tuple[dict[str, Float32[np.ndarray, "V 3"]], Float32[np.ndarray, "V 3"]]:
    """What each ARKit channel adds to each vertex, and what the weights of other targets add at rest."""
    names = names[: len(primitive.targets)]
    match = match_channels(names)
    others = {place: weights[place] for place in range(min(len(weights), len(primitive.targets))) if weights[place]}
    shapes: dict[str, np.ndarray] = {}
    rest = np.zeros((len(kept), 3), np.float32)

    def moved(place: int) -> np.ndarray | None:
        accessor = primitive.targets[place].get("POSITION")
        if accessor is None:
            return None
        displacement: np.ndarray = np.einsum("vij,vj->vi", turn, file.numbers(accessor, 3, count)[kept])
        return displacement

    for channel, place in match.places.items():
        others.pop(place, None)
        shape = moved(place)
        if shape is not None:
            shapes[channel] = shape
    for place, weight in others.items():
        shape = moved(place)
        if shape is not None:
            rest += np.float32(weight) * shape
    return shapes, rest


def _skinned(
    file: GltfFile,
    scene: GltfScene,
    carriers: _Carriers,
    number: int,
    primitive: Primitive,
    count: int,
    kept: Int64[np.ndarray, " V"],
) -> tuple[Float64[np.ndarray, "V 4 4"], Float64[np.ndarray, " V"], Int64[np.ndarray, " V"]]:
    """Each vertex's matrix from its skin, how much of it the head's joint carries, and which eye it belongs to."""
    skin = file.part(file.document.skins, number, "skin")
    for joint in skin.joints:
        file.part(scene.nodes, joint, "node")
    inverse = np.broadcast_to(np.eye(4), (len(skin.joints), 4, 4))
    if skin.inverse_bind_matrices is not None:
        columns = file.numbers(skin.inverse_bind_matrices, 16)
        if len(columns) < len(skin.joints):
            raise file.refused(f"{len(skin.joints)} inverse bind matrices", str(len(columns)))
        inverse = columns[: len(skin.joints)].reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
    matrices = scene.world[list(skin.joints)] @ inverse
    carried, turning = carriers.head[list(skin.joints)], carriers.eyes[:, list(skin.joints)]
    turn, total = np.zeros((len(kept), 4, 4)), np.zeros(len(kept))
    head, ball = np.zeros(len(kept)), np.zeros((2, len(kept)))
    for joints, weights in _influences(file, primitive, count, kept, len(skin.joints)):
        turn += weights[:, None, None] * matrices[joints]
        total, head, ball = total + weights, head + weights * carried[joints], ball + weights * turning[:, joints]
    turn[total == 0.0], total[total == 0.0] = matrices[0], 1.0
    eye = np.where(ball[0] > 0.99 * total, 0, np.where(ball[1] > 0.99 * total, 1, -1))
    return turn / total[:, None, None], head / total, eye


def _influences(
    file: GltfFile, primitive: Primitive, count: int, kept: Int64[np.ndarray, " V"], joints: int
) -> Iterator[tuple[Int64[np.ndarray, " V"], Float32[np.ndarray, " V"]]]:
    """Joint numbers and weights, one of each vertex's several at a time."""
    for group in range(4):
        named = [primitive.attributes.get(f"{kind}_{group}") for kind in ("JOINTS", "WEIGHTS")]
        if named[0] is None or named[1] is None:
            return
        weights = np.maximum(file.numbers(named[1], 4, count)[kept], 0.0)
        numbers = np.where(weights > 0.0, file.integers(named[0], 4, count)[kept], 0)
        if numbers.max() >= joints or numbers.min() < 0:
            raise file.refused(f"joint numbers below {joints}", str(numbers.max()))
        yield from zip(numbers.T, weights.T, strict=True)


def _texture_places(file: GltfFile, primitive: Primitive, count: int) -> Float32[np.ndarray, "V 2"]:
    coordinates = 0
    if primitive.material is not None:
        material = file.part(file.document.materials, primitive.material, "material")
        texture = material.pbr_metallic_roughness.base_color_texture
        coordinates = texture.tex_coord if texture is not None else 0
    accessor = primitive.attributes.get(f"TEXCOORD_{coordinates}")
    if accessor is None:
        return np.zeros((count, 2), np.float32)
    places = file.numbers(accessor, 2, count)
    if np.abs(places).max() > MAX_TEXTURE_PLACE:
        raise file.refused(f"texture coordinates up to {MAX_TEXTURE_PLACE:g}", f"{np.abs(places).max():.3g}")
    return places


def _colours(file: GltfFile, primitive: Primitive, count: int) -> Float32[np.ndarray, "V 3"]:
    accessor = primitive.attributes.get("COLOR_0")
    if accessor is None:
        return np.ones((count, 3), np.float32)
    colours = file.numbers(accessor, None, count)
    if colours.shape[1] not in (3, 4):
        raise file.refused("three or four numbers a vertex as COLOR_0", str(colours.shape[1]))
    return np.clip(colours[:, :3], 0.0, 1.0)


# The colours of a glTF file's materials as one atlas.


MAX_SIDE = 4096
MAX_PIXELS = 1 << 26
"""Most pixels of all pictures together: one of 8192 x 8192, or sixteen of 2048 x 2048."""
EDGE = 8
"""Pixels around each of several tiles, so that the smaller levels of the atlas mix no neighbours in."""
PLAIN_SIDE = 16
"""Side of the tile of a plain colour."""
SLACK = 1e-3
"""How far texture coordinates may leave their picture unseen."""

_DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Tile:
    """One material's picture: sRGB and opacity, and how its texture coordinates are moved first."""

    rgba: UInt8[np.ndarray, "h w 4"]
    matrix: Float32[np.ndarray, "2 3"]
    cutoff: float | None


@dataclass(frozen=True)
class Painted:
    """The atlas, its tiles and each one's corner in pixels, and which tile shows each material."""

    atlas: UInt8[np.ndarray, "H W 3"]
    tiles: tuple[Tile, ...]
    corners: tuple[tuple[int, int], ...]
    showing: dict[int | None, int]
    notes: tuple[str, ...]

    def place(self, material: int | None, uv: Float32[np.ndarray, "V 2"]) -> Float32[np.ndarray, "V 2"]:
        """Where a material's texture coordinates are in the atlas."""
        tile, (left, top) = self.tiles[self.showing[material]], self.corners[self.showing[material]]
        height, width = tile.rgba.shape[:2]
        inside = _inside(tile, uv)
        placed = (inside * np.array([width, height]) + [left, top]) / np.array(self.atlas.shape[1::-1])
        return placed.astype(np.float32)

    def repeats(self, material: int | None, uv: Float32[np.ndarray, "V 2"]) -> bool:
        """Whether a picture is laid side by side with itself, so that triangles across its edge cannot show it well."""
        tile = self.tiles[self.showing[material]]
        return min(tile.rgba.shape[:2]) > PLAIN_SIDE and bool((np.ptp(_moved(tile, uv), axis=0) > 1.0 + SLACK).any())

    def clear(self, material: int | None, uv: Float32[np.ndarray, "V 2"]) -> Bool[np.ndarray, " V"]:
        """At which texture coordinates one sees through."""
        tile = self.tiles[self.showing[material]]
        if tile.cutoff is None:
            return np.zeros(len(uv), bool)
        height, width = tile.rgba.shape[:2]
        columns, rows = np.minimum((_inside(tile, uv) * [width, height]).astype(int), [width - 1, height - 1]).T
        see_through: np.ndarray = tile.rgba[rows, columns, 3] < 255 * tile.cutoff
        return see_through


def _moved(tile: Tile, uv: np.ndarray) -> np.ndarray:
    moved: np.ndarray = uv @ tile.matrix[:, :2].T + tile.matrix[:, 2]
    return moved


def _inside(tile: Tile, uv: np.ndarray) -> np.ndarray:
    """The texture coordinates in 0-1: all moved by whole tiles where that suffices, else each for itself."""
    moved = _moved(tile, uv)
    moved = moved - np.floor(moved.min(axis=0) + SLACK)
    if (moved.max(axis=0) > 1.0 + SLACK).any():
        moved = moved - np.floor(moved)
    inside: np.ndarray = np.clip(moved, 0.0, 1.0)
    return inside


def paint_atlas(file: GltfFile, materials: Sequence[int | None]) -> Painted:
    """Base colour textures and factors of these materials in one atlas, whose sides are multiples of four.

    A texture that cannot be read gives way to the plain colour, and a note. Raises InputError for pictures of more
    than MAX_PIXELS pixels together and for damaged ones.
    """
    notes: list[str] = []
    looks: dict[str, int] = {}
    tiles: list[Tile] = []
    showing: dict[int | None, int] = {}
    room = MAX_PIXELS
    for number in dict.fromkeys(materials):
        material = SurfaceMaterial() if number is None else file.part(file.document.materials, number, "material")
        look = material.model_dump_json(exclude={"name"})
        if look not in looks:
            looks[look] = len(tiles)
            tile = _tile(file, material, room, notes)
            room -= tile.rgba[:, :, 0].size
            tiles.append(_resized(tile, 1.0))
        showing[number] = looks[look]
    if len(tiles) == 1:
        return Painted(tiles[0].rgba[:, :, :3].copy(), tuple(tiles), ((0, 0),), showing, tuple(notes))
    scale = 1.0
    while True:
        sized = tuple(_resized(tile, scale) for tile in tiles)
        corners, width, height = _shelves([tile.rgba.shape[1::-1] for tile in sized])
        if height <= MAX_SIDE:
            break
        scale *= 0.7
    atlas = np.zeros((height, width, 3), np.uint8)
    for tile, (left, top) in zip(sized, corners, strict=True):
        rows, columns = tile.rgba.shape[:2]
        framed = np.pad(tile.rgba[:, :, :3], ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), mode="edge")
        atlas[top - EDGE : top + rows + EDGE, left - EDGE : left + columns + EDGE] = framed
    return Painted(atlas, sized, corners, showing, tuple(notes))


def _shelves(sizes: Sequence[tuple[int, ...]]) -> tuple[tuple[tuple[int, int], ...], int, int]:
    """Corners of tiles set side by side, the highest first, and the width and height that they take."""
    framed = [(width + 2 * EDGE, height + 2 * EDGE) for width, height in sizes]
    area, widest = sum(width * height for width, height in framed), max(width for width, _ in framed)
    room = min(MAX_SIDE, max(widest, round(1.1 * area**0.5)))
    corners = [(0, 0)] * len(framed)
    left = top = shelf = reached = 0
    for place in sorted(range(len(framed)), key=lambda place: -framed[place][1]):
        width, height = framed[place]
        if left + width > room:
            left, top, shelf = 0, top + shelf, 0
        corners[place] = (left + EDGE, top + EDGE)
        left, shelf = left + width, max(shelf, height)
        reached = max(reached, left)
    return tuple(corners), reached, top + shelf


def _resized(tile: Tile, scale: float) -> Tile:
    """The tile with sides that are multiples of four and leave room for a frame."""
    height, width = tile.rgba.shape[:2]
    scale = min(scale, (MAX_SIDE - 2 * EDGE) / max(height, width))
    sides = (max(4, round(width * scale / 4) * 4), max(4, round(height * scale / 4) * 4))
    if sides == (width, height):
        return tile
    smaller = np.asarray(Image.fromarray(tile.rgba).resize(sides, Image.Resampling.LANCZOS))
    return Tile(smaller, tile.matrix, tile.cutoff)


def _tile(file: GltfFile, material: SurfaceMaterial, room: int, notes: list[str]) -> Tile:
    """A material's picture, its colour factor applied, of at most `room` pixels."""
    colour, info = material.pbr_metallic_roughness, material.pbr_metallic_roughness.base_color_texture
    cutoff = {"OPAQUE": None, "MASK": material.alpha_cutoff, "BLEND": 0.5}[material.alpha_mode]
    factor = np.array(colour.base_color_factor)
    picture = None if info is None else _picture(file, info, room, notes)
    if picture is None:
        picture = np.full((PLAIN_SIDE, PLAIN_SIDE, 4), 255, np.uint8)
    if (factor != 1.0).any():
        steps = np.arange(256) / 255.0
        channels = [_encoded(_decoded(steps) * factor[c]) if c < 3 else steps * factor[3] for c in range(4)]
        tables = np.rint(255.0 * np.array(channels)).astype(np.uint8)
        picture = np.stack([tables[c][picture[:, :, c]] for c in range(4)], axis=-1)
    return Tile(picture, _uv_matrix(file, info), cutoff)


def _picture(file: GltfFile, info: TextureInfo, room: int, notes: list[str]) -> np.ndarray | None:
    texture = file.part(file.document.textures, info.index, "texture")
    webp = texture.extensions.get("EXT_texture_webp")
    source = webp.get("source") if isinstance(webp, dict) else texture.source
    if not isinstance(source, int) or source < 0:
        notes.append(f"texture {info.index} is in a form that is not read (KTX2); its surface has a plain colour")
        return None
    image = file.part(file.document.images, source, "image")
    if image.buffer_view is not None:
        content = bytes(file.view(image.buffer_view)[0])
    elif image.uri is not None:
        content = file.resource(image.uri)
    else:
        raise file.refused(f"the bytes of image {source}", "none")
    if content[1:7] == b"KTX 20":
        notes.append(f"texture {info.index} is in a form that is not read (KTX2); its surface has a plain colour")
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > room:
                raise file.refused(f"at most {MAX_PIXELS} pixels of pictures", f"{picture.width} x {picture.height}")
            return np.asarray(picture.convert("RGBA"))
    except _DAMAGE as error:
        raise file.refused(f"a PNG, JPEG or WebP picture as image {source}", f"{type(error).__name__}") from error


def _uv_matrix(file: GltfFile, info: TextureInfo | None) -> Float32[np.ndarray, "2 3"]:
    """How KHR_texture_transform moves texture coordinates."""
    told = info.extensions.get("KHR_texture_transform", {}) if info is not None else {}
    try:
        (x, y), (wide, high) = told.get("offset", (0.0, 0.0)), told.get("scale", (1.0, 1.0))
        c, s = np.cos(told.get("rotation", 0.0)), np.sin(told.get("rotation", 0.0))
        matrix = np.array([[c * wide, s * high, x], [-s * wide, c * high, y]], np.float32)
    except (TypeError, ValueError, AttributeError) as error:
        raise file.refused("an offset, a scale and a rotation as KHR_texture_transform", str(error)) from error
    if not (np.abs(matrix) < 1e6).all():
        raise file.refused("a finite KHR_texture_transform", "numbers beyond 1e6")
    return matrix


def _decoded(code: np.ndarray) -> np.ndarray:
    """Linear light of an sRGB code."""
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _encoded(light: np.ndarray) -> np.ndarray:
    """The sRGB code of linear light."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1.0 / 2.4) - 0.055)


def load_gltf_head(path: Path) -> Head:
    """The head in a .glb or .gltf file whose morph targets are named for ARKit's blendshapes.

    It is placed by `placing.placed_head`. What is missing or was chosen is in its `notes`. Raises InputError for a file
    that is no glTF 2.0, compressed by Draco or meshopt, damaged, too large, or without such morph targets.
    """
    return head_behind_wall(read_gltf_head, Path(path))


def read_gltf_head(path: str) -> dict[str, Any]:
    """What `load_gltf_head` runs behind the wall."""
    file = open_gltf(Path(path))
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond measure is refused by _joined
        return parts_of(_read(file, GltfScene(file)))


def _read(file: GltfFile, scene: GltfScene) -> Head:
    notes = _undrawn(file, scene)
    pieces = read_pieces(file, scene, notes)
    if not pieces:
        raise file.refused("meshes of triangles", "; ".join(notes) or "no primitives, so nothing is drawn")
    if not any(piece.shapes for piece in pieces):
        names = [name for mesh in file.document.meshes for name in mesh.target_names]
        got = f"only the targets {one_line(', '.join(names[:6]))}" if names else "no named morph targets"
        raise file.refused("morph targets with ARKit's names (mesh.extras.targetNames)", got)
    painted = paint_atlas(file, [piece.primitive.material for piece in pieces])
    notes.extend(painted.notes)
    if any(painted.repeats(piece.primitive.material, piece.uv) for piece in pieces):
        notes.append("a texture that repeats itself is shown once, with seams")
    seen = [_without_clear(piece, painted) for piece in pieces]
    clear = sum(len(piece.triangles) - len(shown.triangles) for piece, shown in zip(pieces, seen, strict=True))
    if clear:
        notes.append(f"{clear} triangles that one sees through are left out")
    if not any(len(piece.triangles) for piece in seen):
        raise file.refused("surfaces that one can see", "none")
    return _joined(file, scene, seen, painted, notes)


def _undrawn(file: GltfFile, scene: GltfScene) -> list[str]:
    """A note on nodes that the default scene names and the file lacks; InputError when the scene shows no mesh."""
    document = file.document
    roots = document.scenes[document.scene].nodes if document.scenes else None
    lost = [node for node in roots or () if node >= len(document.nodes)]
    told = [f"scene {document.scene} names node {lost[0]} of {len(document.nodes)}"] if lost else []
    if not scene.drawn:
        why = told[0] if told else f"scene {document.scene} names no nodes" if roots == () else "no node has a mesh"
        raise file.refused("a scene that draws a mesh", f"nothing is drawn: {why}")
    return told


def _look(file: GltfFile, piece: Piece) -> int:
    """The material of `shading.MATERIALS` that a piece's names speak of."""
    number = piece.primitive.material
    painted = () if number is None else (file.part(file.document.materials, number, "material").name,)
    return MATERIAL_NAMES.index(material_of(*painted, *piece.names))


def _without_clear(piece: Piece, painted: Painted) -> Piece:
    """The piece without triangles that one sees through at all corners; the vertices are kept."""
    clear = painted.clear(piece.primitive.material, piece.uv)[piece.triangles].all(axis=1)
    return replace(piece, triangles=piece.triangles[~clear])


def _joined(file: GltfFile, scene: GltfScene, pieces: list[Piece], painted: Painted, notes: list[str]) -> Head:
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    vertices = np.concatenate([piece.vertices for piece in pieces])
    triangles = np.concatenate([piece.triangles + first for piece, first in zip(pieces, firsts, strict=False)])
    channels = dict.fromkeys(channel for piece in pieces for channel in piece.shapes)
    shapes = {channel: np.zeros_like(vertices) for channel in channels}
    for piece, first in zip(pieces, firsts, strict=False):
        for channel, moved in piece.shapes.items():
            shapes[channel][first : first + len(moved)] = moved
    extent = float(np.ptp(vertices, axis=0).max())
    reach = max(float(np.abs(moved).max()) for moved in shapes.values())
    if not (1e-9 < extent < 1e9 and reach <= extent and np.abs(vertices).max() < 1e6 * extent):
        raise file.refused("a head within measure", f"{extent:.3g} units, which its targets move by {reach:.3g}")
    normals = np.concatenate([piece.normals for piece in pieces])
    return placed_head(
        file.path.stem,
        vertices,
        triangles.astype(np.int32),
        np.concatenate([painted.place(piece.primitive.material, piece.uv) for piece in pieces]),
        shapes,
        painted.atlas,
        np.concatenate([np.full(len(piece.triangles), _look(file, piece), np.uint8) for piece in pieces]),
        _weld(vertices, normals, shapes),
        (*notes, *missing_among(shapes)),
        occlusion=np.concatenate([piece.occlusion for piece in pieces]),
        eyes=_eyes(scene, pieces, vertices),
        neck=_neck(scene, pieces, shapes),
    )


def _weld(
    vertices: Float32[np.ndarray, "V 3"], normals: Float32[np.ndarray, "V 3"], shapes: dict[str, np.ndarray]
) -> Int32[np.ndarray, " V"]:
    """Vertices at one place with one normal that move alike are one point: closed lips stay two."""
    moved = np.zeros_like(vertices)
    for place, shape in enumerate(shapes.values()):
        moved += np.float32(np.cos(place)) * shape
    grain = 1e-5 * float(np.ptp(vertices, axis=0).max())
    lengths = np.maximum(np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True), 1e-12)
    keys = np.concatenate([vertices / grain, moved / (10.0 * grain), 100.0 * normals / lengths], axis=1)
    _, weld = np.unique(np.rint(keys).astype(np.int64), axis=0, return_inverse=True)
    return weld.astype(np.int32).reshape(-1)


def _eyes(scene: GltfScene, pieces: list[Piece], vertices: Float32[np.ndarray, "V 3"]) -> Eyes | None:
    """Both eyeballs where the file has both: a joint is the middle of what it carries, else a sphere is fitted."""
    eye = np.concatenate([piece.eye for piece in pieces])
    members = tuple(np.flatnonzero(eye == side).astype(np.int32) for side in (0, 1))
    if min(len(ball) for ball in members) < 4:
        return None
    joints = {joint for skin in scene.file.document.skins for joint in skin.joints}
    centres = []
    for side, ball in enumerate(members):
        carrying = scene.topmost(scene.eyes(side) & joints)
        centres.append(scene.world[carrying[0], :3, 3] if carrying else _sphere_middle(vertices[ball]))
    return Eyes((members[0], members[1]), np.stack(centres))


def _sphere_middle(points: Float32[np.ndarray, "E 3"]) -> Float64[np.ndarray, " 3"]:
    """The middle of the sphere nearest to the points: |p|^2 = 2 p.c + constant, by least squares."""
    mean = points.mean(axis=0, dtype=np.float64)
    arms = points - mean
    solution = np.linalg.lstsq(np.column_stack([2.0 * arms, np.ones(len(arms))]), (arms**2).sum(axis=1), rcond=None)[0]
    middle: np.ndarray = mean + solution[:3]
    return middle


def _neck(scene: GltfScene, pieces: list[Piece], shapes: dict[str, np.ndarray]) -> Neck | None:
    """What the joint named as the head carries, unless the face hardly hangs on it."""
    joints = {joint for skin in scene.file.document.skins for joint in skin.joints}
    carrying = scene.topmost(scene.heads() & joints)
    weight = np.concatenate([piece.head for piece in pieces])
    moved = np.any([shape.any(axis=1) for shape in shapes.values()], axis=0)
    if len(carrying) != 1 or weight[moved].mean() < 0.5:
        return None
    return Neck(weight, scene.world[carrying[0], :3, 3])
