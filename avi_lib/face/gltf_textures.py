"""The colours of a glTF file's materials as one atlas.

>>> painted = paint_atlas(file, [0, 1, None])  # material numbers; None: the default material
>>> painted.atlas.shape, painted.place(1, uv)  # texture coordinates in the atlas
((2048, 2048, 3), ...)
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from avi_lib.face.gltf_file import GltfFile
from avi_lib.face.gltf_schema import SurfaceMaterial, TextureInfo

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
