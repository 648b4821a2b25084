r"""A head from a folder of OBJ files: one at rest, and one for every ARKit blendshape at full weight.

In: `neutral.obj`, `jawOpen.obj`, `eyeBlink_L.obj`, ... in any unit, and a texture beside them or none.
Out: a Head that all motion drives; what is missing stands in its notes.

>>> head = load_obj_head(Path("ada"))
>>> print("\n".join(head.notes))
51 of 52 ARKit channels found
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer, UInt8
from PIL import Image

from avi_lib.errors import InputError, OutputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RiggedHead, ShapedMesh, check_head, check_mesh
from avi_lib.face.raster import kernel
from avi_lib.files import atomic_folder, atomic_path
from avi_lib.heads.placing import (
    describe,
    head_behind_wall,
    match_channels,
    material_of,
    parts_of,
    placed_head,
    words,
)
from avi_lib.motion.clip import MotionClip

# Wavefront OBJ: one mesh read from text, or written as text.


MAX_BYTES = 64 << 20
MAX_POINTS = 500_000
MAX_TRIANGLES = 1_000_000
MAX_CORNERS = 1000
MAX_NAMES = 200
MAX_COORDINATE = 1e9
AGAIN = "export it again"

_COUNTED_BACK = re.compile(rb"^f[^\n]*-", re.MULTILINE)
_INTEGER = re.compile(rb"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """One OBJ file, whatever objects and groups it is cut into.

    `corners` holds each triangle's points and texture places, -1 where it has none; `material` is each triangle's place
    in `materials`, whose first is "" for faces before any `usemtl`; `libraries` are the .mtl files it names.
    """

    points: Float64[np.ndarray, "P 3"]
    uv: Float64[np.ndarray, "U 2"]
    corners: Int32[np.ndarray, "T 3 2"]
    material: Int32[np.ndarray, " T"]
    materials: tuple[str, ...] = ("",)
    libraries: tuple[str, ...] = ()
    face_text: bytes = b""


class _Line(NamedTuple):
    number: int
    words: list[bytes]


class _Face(NamedTuple):
    """A face's line, its material, and how many points and texture places stand before it."""

    number: int
    words: list[bytes]
    material: int
    points: int
    uv: int


def read_obj(path: Path, like: ObjMesh | None = None) -> ObjMesh:
    """The mesh in an OBJ file; `like` is a mesh whose faces this one may share.

    Raises InputError, which tells the line, for a file that cannot be read or is larger than MAX_BYTES, no points or
    more than MAX_POINTS, more than MAX_TRIANGLES, numbers that are none, and faces of points that there are not.
    """
    text = _text(path)
    if like is not None and (points := _points_of(path, text, like)) is not None:
        return replace(like, points=points)
    positions: list[_Line] = []
    places: list[_Line] = []
    faces: list[_Face] = []
    materials, current, libraries = {"": 0}, 0, []
    for line in _lines(text):
        number, (keyword, *rest) = line
        if keyword == b"v":
            positions.append(_Line(number, rest[:3]))
        elif keyword == b"vt":
            places.append(_Line(number, [*rest, b"0"][:2]))
        elif keyword == b"f":
            faces.append(_Face(number, rest, current, len(positions), len(places)))
        elif keyword == b"usemtl":
            current = materials.setdefault(_name(rest), len(materials))
        elif keyword == b"mtllib":
            libraries.append(_name(rest))
        if len(positions) > MAX_POINTS or len(places) > 3 * MAX_POINTS or len(faces) > MAX_TRIANGLES:
            most = f"at most {MAX_POINTS} vertices and {MAX_TRIANGLES} triangles"
            raise InputError(most, f"more by line {number} of {path}", "thin the mesh")
        if len(materials) > MAX_NAMES or len(libraries) > MAX_NAMES:
            most = f"at most {MAX_NAMES} materials and as many files of them"
            raise InputError(most, f"more by line {number} of {path}", "join them")
    if not positions:
        raise InputError(f"vertices (v) in {path}", "none", "export one head as OBJ")
    points, uv = _numbers(path, positions, 3), _numbers(path, places, 2)
    corners, material = _triangles(path, faces, len(points), len(uv))
    return ObjMesh(points, uv, corners, material, tuple(materials), tuple(libraries), _split(text)[1])


def write_obj(path: Path, mesh: ObjMesh, decimals: int = 6) -> None:
    """Write a mesh atomically, its triangles by material; where a corner has no texture place, none of them is written.

    Numbers have so many decimals. Raises OutputError where the file cannot be written.
    """
    head = [f"mtllib {library}\n" for library in mesh.libraries]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write("".join(head).encode())
        stream.write(number_lines("v", mesh.points, decimals))
        stream.write(number_lines("vt", mesh.uv, decimals))
        for material in np.unique(mesh.material):
            if mesh.materials[material]:
                stream.write(f"usemtl {mesh.materials[material]}\n".encode())
            stream.write(face_lines(mesh.corners[mesh.material == material]))


def number_lines(keyword: str, rows: np.ndarray, decimals: int) -> bytes:
    """Text of one line a row: the keyword and its numbers."""
    pattern = " ".join([keyword, *[f"%.{decimals}f"] * rows.shape[1]]) + "\n"
    return (pattern * len(rows) % tuple(rows.ravel().tolist())).encode()


def face_lines(corners: Integer[np.ndarray, "T 3 2"]) -> bytes:
    """Text of one `f` line a triangle, its point and texture numbers counted from 1."""
    pattern = "f %d/%d %d/%d %d/%d\n" if (corners[..., 1] >= 0).all() else "f %d %d %d\n"
    numbers = corners if "/" in pattern else corners[..., 0]
    return (pattern * len(corners) % tuple((numbers + 1).ravel().tolist())).encode()


def _text(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"an OBJ file of at most {MAX_BYTES >> 20} MiB", f"{size >> 20} MiB in {path}", "thin it")
        return path.read_bytes()
    except OSError as error:
        raise InputError("an OBJ file", f"{path}: {error.strerror or error}", "check the path") from error


def _split(text: bytes) -> tuple[list[_Line], bytes]:
    """Words of the lines of points, and the lines that make faces as they stand; no more than `read_obj` takes."""
    positions: list[_Line] = []
    others: list[bytes] = []
    for number, line in enumerate(io.BytesIO(text), 1):
        if line.startswith(b"v "):
            positions.append(_Line(number, line.split()[1:4]))
        elif line.startswith((b"f", b"vt", b"usemtl")):
            others.append(line)
        if len(positions) > MAX_POINTS or len(others) > 3 * MAX_POINTS + 2 * MAX_TRIANGLES:
            break
    return positions, b"".join(others)


def _points_of(path: Path, text: bytes, like: ObjMesh) -> Float64[np.ndarray, "P 3"] | None:
    """The points of a text whose faces are `like`'s, word for word; None where they may be others."""
    if b"\\" in text or _COUNTED_BACK.search(like.face_text):
        return None
    positions, face_text = _split(text)
    if len(positions) != len(like.points) or face_text != like.face_text:
        return None
    return _numbers(path, positions, 3)


def _lines(text: bytes) -> Iterator[_Line]:
    """Lines that say something, numbered from 1 and split into words; a backslash at a line's end continues it."""
    before: list[bytes] = []
    continued = b"\\" in text
    for number, line in enumerate(io.BytesIO(text), 1):
        words = line.split()
        if not words:
            continue
        if continued and words[-1].endswith(b"\\"):
            before += [*words[:-1], words[-1][:-1]] if words[-1] != b"\\" else words[:-1]
            continue
        if before:
            words, before = before + words, []
        yield _Line(number, words)


def _name(words: Sequence[bytes]) -> str:
    return b" ".join(words).decode("utf-8", "replace")


def _numbers(path: Path, lines: list[_Line], width: int) -> Float64[np.ndarray, "rows width"]:
    try:
        rows = np.array([line.words for line in lines], np.float64).reshape(len(lines), width)
        if not len(rows) or np.abs(rows).max() < MAX_COORDINATE:  # false for NaN too
            return rows
    except ValueError:
        pass
    number, words = next(line for line in lines if not _is_numbers(line.words, width))
    got = f"{_name(words)[:60]!r} in line {number} of {path}"
    raise InputError(f"{width} numbers below {MAX_COORDINATE:g}", got, AGAIN)


def _is_numbers(words: list[bytes], width: int) -> bool:
    try:
        return len(words) == width and all(abs(float(word)) < MAX_COORDINATE for word in words)
    except ValueError:
        return False


def _triangles(
    path: Path, faces: list[_Face], points: int, uv: int
) -> tuple[Int32[np.ndarray, "T 3 2"], Int32[np.ndarray, " T"]]:
    """Corners and materials of all faces, polygons as fans."""
    sizes = np.array([len(face.words) for face in faces], np.int64)
    lines = np.array([face.number for face in faces], np.int64)
    if (bad := (sizes < 3) | (sizes > MAX_CORNERS)).any():
        got = f"{sizes[bad][0]} in line {lines[bad][0]} of {path}"
        raise InputError(f"faces of 3 to {MAX_CORNERS} corners", got, AGAIN)
    if (sizes - 2).sum() > MAX_TRIANGLES or sizes.sum() > 4 * MAX_TRIANGLES:
        raise InputError(f"at most {MAX_TRIANGLES} triangles", f"{(sizes - 2).sum()} in {path}", "thin it")
    words = [word.split(b"/", 2) for face in faces for word in face.words]
    corners = np.full((len(words), 2), -1, np.int64)
    corner_lines = np.repeat(lines, sizes)
    before = np.repeat(np.array([(face.points, face.uv) for face in faces], np.int64).reshape(-1, 2), sizes, axis=0)
    placed = np.array([len(word) > 1 and word[1] != b"" for word in words], bool)
    told = f"faces of the {points} points and {uv} texture places there are"
    try:
        corners[:, 0] = _indices([word[0] for word in words], corner_lines, before[:, 0], points)
        placed_words = [word[1] for word, has_place in zip(words, placed.tolist(), strict=True) if has_place]
        corners[placed, 1] = _indices(placed_words, corner_lines[placed], before[placed, 1], uv)
    except ValueError as error:
        raise InputError(told, f"{error} of {path}", AGAIN) from error
    face_of = np.repeat(np.arange(len(faces)), sizes - 2)
    starts = np.cumsum(sizes) - sizes
    step = np.arange(len(face_of)) - np.repeat(starts - 2 * np.arange(len(faces)), sizes - 2)
    fan = starts[face_of, None] + np.stack([np.zeros_like(step), step + 1, step + 2], axis=1)
    material = np.array([face.material for face in faces], np.int32)
    return corners[fan].astype(np.int32), material[face_of]


def _indices(
    words: list[bytes], lines: Int64[np.ndarray, " N"], before: Int64[np.ndarray, " N"], count: int
) -> Int64[np.ndarray, " N"]:
    """Numbers of the file counted from 0; a negative one counts back from the `before` that stand before its line."""
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError):  # what is no integer, or one too long for 64 bits
        bad = next(place for place, word in enumerate(words) if not _INTEGER.fullmatch(word))
    else:
        indices = np.where(numbers > 0, numbers - 1, before + numbers)
        wrong = (numbers == 0) | (indices < 0) | (indices >= count)
        if not wrong.any():
            return indices
        bad = int(wrong.argmax())
    raise ValueError(f"{_name([words[bad][:20]])!r} in line {lines[bad]}")


# The texture of an OBJ head: what its .mtl files name, put together into one atlas, or plain colours.


MAX_PICTURE = 8192
"""Pixels a side of the largest picture that is read."""
MAX_ATLAS = 4096
MAX_CELLS = 64
MAX_MTL_BYTES = 1 << 17
PLAIN_SIDE = 16

PLAIN_RGB = {
    "skin": (203, 158, 134), "lips": (176, 104, 98), "eye": (226, 222, 216), "teeth": (228, 220, 204),
    "tongue": (176, 92, 92), "hair": (58, 44, 36), "cloth": (92, 98, 108),
}  # fmt: skip
"""Of a material without a picture."""


def atlas_of(
    mesh: ObjMesh, folder: Path
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, " T"], Float64[np.ndarray, "T 3 2"], tuple[str, ...]]:
    """Atlas, material of each triangle, places of its corners in the atlas, and notes.

    Raises InputError for a picture that is damaged or larger than MAX_PICTURE, and for more than MAX_CELLS of them.
    """
    maps, notes = _maps(mesh, folder)
    used = np.unique(mesh.material)
    names = [mesh.materials[index] for index in used]
    kinds = [material_of(name) for name in names]
    textured = [maps.get(name) for name in names]
    if not any(textured):
        notes.append("no texture found: plain colours")
    elif bare := [name or "faces without a material" for name, path in zip(names, textured, strict=True) if not path]:
        notes.append(f"plain colours for {', '.join(bare)}")
    cells = dict.fromkeys(path or kind for path, kind in zip(textured, kinds, strict=True))
    atlas, corners, spans = _grid(list(cells))
    place = {cell: index for index, cell in enumerate(cells)}
    of_triangle = np.searchsorted(used, mesh.material)
    cell_of = np.array([place[path or kind] for path, kind in zip(textured, kinds, strict=True)])[of_triangle]
    material = np.array([MATERIAL_NAMES.index(kind) for kind in kinds], np.uint8)[of_triangle]
    uv = corners[cell_of, None] + spans[cell_of, None] * _within(mesh)
    return atlas, material, uv, tuple(notes)


def _within(mesh: ObjMesh) -> Float64[np.ndarray, "T 3 2"]:
    """Corners' places in their own picture, 0-1 and v downwards; triangles in other tiles are moved into the first."""
    if not len(mesh.uv):
        return np.full((len(mesh.corners), 3, 2), 0.5)
    uv = np.where(mesh.corners[..., 1, None] >= 0, mesh.uv[mesh.corners[..., 1]], 0.5)
    uv = uv - np.floor(uv.mean(axis=1, keepdims=True) - 1e-9)
    uv[..., 1] = 1.0 - uv[..., 1]
    return np.clip(uv, 0.0, 1.0)


def _maps(mesh: ObjMesh, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The picture of every material that has one, and notes on those that were not found."""
    maps: dict[str, Path] = {}
    lost: list[str] = []
    for library in dict.fromkeys(mesh.libraries):
        path = _inside(folder, library)
        if path is None or path.stat().st_size > MAX_MTL_BYTES:
            lost.append(f"the material file {library[:80]} is not in the folder or above {MAX_MTL_BYTES >> 10} KiB")
            continue
        material = ""
        for line in path.read_bytes().decode("utf-8", "replace").splitlines():
            keyword, _, name = line.strip().partition(" ")
            name = name.strip()
            if keyword == "newmtl":
                material = name
            elif keyword == "map_Kd" and name:
                if found := _inside(folder, name) or _inside(folder, name.split()[-1]):  # options may stand before it
                    maps[material] = found
                else:
                    lost.append(f"the texture {name[:80]} is not in the folder")
    return maps, list(dict.fromkeys(lost))


def _inside(folder: Path, name: str) -> Path | None:
    """The file of this name below `folder`; a path from another machine is looked for by its last part."""
    for part in (name, PureWindowsPath(name).name):
        try:
            path = (folder / part).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError):  # too long for a name, or a NUL in it
            continue
    return None


def _picture(path: Path, most: int) -> Image.Image:
    """A picture in RGB, made smaller where a side is more than `most`."""
    try:
        with warnings.catch_warnings(action="error"), Image.open(path, formats=("PNG", "JPEG")) as picture:
            if max(picture.size) > MAX_PICTURE:
                size = f"{picture.width} x {picture.height} in {path}"
                raise InputError(f"a texture of at most {MAX_PICTURE} pixels a side", size, "make it smaller")
            picture.draft("RGB", (most, most))
            rgb = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise InputError("a PNG or JPEG texture", f"{path}: {error}", "save it again as PNG") from error
    rgb.thumbnail((most, most))
    return rgb


def _plain(kind: str) -> Image.Image:
    return Image.new("RGB", (PLAIN_SIDE, PLAIN_SIDE), PLAIN_RGB[kind])


def _grid(
    cells: list[Path | str],
) -> tuple[UInt8[np.ndarray, "H W 3"], Float64[np.ndarray, "cells 2"], Float64[np.ndarray, "cells 2"]]:
    """Pictures and plain kinds side by side in one atlas of sides of multiples of 4; cells' corners and spans, 0-1.

    A cell's span leaves out half a texel all round, so that no neighbour shines in.
    """
    if len(cells) > MAX_CELLS:
        raise InputError(f"at most {MAX_CELLS} textures", str(len(cells)), "bake them into one")
    columns = math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    most = MAX_ATLAS // columns // 4 * 4
    sources = [_picture(cell, most) if isinstance(cell, Path) else _plain(cell) for cell in cells]
    width, height = (
        min(most, max(4, 4 * round(max(sides) / 4))) for sides in zip(*(s.size for s in sources), strict=True)
    )
    atlas = Image.new("RGB", (columns * width, rows * height))
    for index, source in enumerate(sources):
        atlas.paste(source.resize((width, height)), (index % columns * width, index // columns * height))
    size = np.array([columns * width, rows * height], np.float64)
    starts = np.array([[i % columns * width, i // columns * height] for i in range(len(sources))], np.float64)
    if len(sources) == 1:
        return np.asarray(atlas), np.zeros((1, 2)), np.ones((1, 2))
    return (
        np.asarray(atlas),
        (starts + 0.5) / size,
        np.tile((np.array([width, height]) - 1.0) / size, (len(sources), 1)),
    )


NEUTRAL_NAMES = ("neutral", "rest", "base", "basis")
MAX_FILES = 500
MAX_VERTICES = 200_000
"""Of one head: 52 shapes of so many take 125 MB."""


def load_obj_head(folder: Path) -> Head:
    """The head whose shapes lie in `folder` as OBJ files, named as `match_channels` reads names.

    The neutral is the file with a word of NEUTRAL_NAMES in its name, as a whole name or else as a part. Raises
    InputError, which names the file, without a neutral, without a single channel, with two files for one channel, for a
    file that `read_obj` refuses, and for one whose vertices or faces are not those of the neutral.
    """
    return head_behind_wall(read_obj_head, Path(folder))


def read_obj_head(path: str) -> dict[str, Any]:
    """What `load_obj_head` runs behind the wall."""
    folder = Path(path)
    neutral, others = _sorted_files(folder)
    match = match_channels([path.stem for path in others])
    if not match.places:
        raise InputError(
            f"OBJ files named after ARKit blendshapes in {folder}, such as jawOpen.obj",
            ", ".join(path.name for path in others[:5]) or f"only {neutral.name}",
            "export one OBJ a blendshape at full weight",
        )
    rest = read_obj(neutral)
    if not len(rest.corners):
        raise InputError(f"faces in {neutral}", "points only", "export the mesh with its faces")
    moved = {channel: _moved(rest, neutral, others[place]) for channel, place in match.places.items()}
    atlas, material, uv, texture_notes = atlas_of(rest, folder)
    weld, places, triangles = _render_vertices(rest, uv)
    still = [channel for channel, moves in moved.items() if not moves.any()]
    still_notes = (f"the same as {neutral.name}, so they do not move: {', '.join(still)}",) if still else ()
    _, compact = np.unique(weld, return_inverse=True)
    head = placed_head(
        name=folder.name or folder.resolve().name,
        vertices=rest.points[weld].astype(np.float32),
        triangles=triangles,
        uv=places.astype(np.float32),
        shapes_by_channel={channel: moves[weld].astype(np.float32) for channel, moves in moved.items()},
        atlas=atlas,
        material=material,
        weld=compact.astype(np.int32),
        notes=(*describe(match), *still_notes, *texture_notes),
    )
    return parts_of(head)


def _sorted_files(folder: Path) -> tuple[Path, list[Path]]:
    """The neutral, and the other OBJ files in order of name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".obj" and path.is_file())
    except OSError as error:
        raise InputError("a folder of OBJ files", f"{folder}: {error.strerror or error}", "check the path") from error
    if len(paths) > MAX_FILES:
        raise InputError(f"at most {MAX_FILES} OBJ files in {folder}", str(len(paths)), "give the head its own folder")
    whole = [path for path in paths if path.stem.lower() in NEUTRAL_NAMES]
    neutrals = whole or [path for path in paths if set(words(path.stem)) & set(NEUTRAL_NAMES)]
    if len(neutrals) != 1:
        raise InputError(
            f"one file of the face at rest in {folder}, with {', '.join(NEUTRAL_NAMES)} in its name",
            " and ".join(path.name for path in neutrals[:5]) or f"none among {len(paths)} OBJ files",
            "name the face at rest neutral.obj",
        )
    return neutrals[0], [path for path in paths if path != neutrals[0]]


def _moved(rest: ObjMesh, neutral: Path, path: Path) -> Float64[np.ndarray, "P 3"]:
    """How far a shape's file moves every point of the neutral."""
    shape = read_obj(path, like=rest)
    if len(shape.points) != len(rest.points):
        got = f"{len(shape.points)} in {path}"
        raise InputError(f"the {len(rest.points)} vertices of {neutral.name}", got, "export all shapes of one mesh")
    if shape.corners.shape != rest.corners.shape or (shape.corners[..., 0] != rest.corners[..., 0]).any():
        got = f"others in {path}"
        raise InputError(f"the faces of {neutral.name}, in its order", got, "export all shapes of one mesh")
    return shape.points - rest.points


def _render_vertices(
    mesh: ObjMesh, uv: Float64[np.ndarray, "T 3 2"]
) -> tuple[Int32[np.ndarray, " V"], Float64[np.ndarray, "V 2"], Int32[np.ndarray, "T 3"]]:
    """Point and texture place of each render vertex, in the order of points; and the triangles of render vertices."""
    steps = np.round(uv.reshape(-1, 2) * 65535.0).astype(np.int64)
    key = (mesh.corners[..., 0].reshape(-1).astype(np.int64) << 34) | (steps[:, 0] << 17) | steps[:, 1]
    _, first, vertex = np.unique(key, return_index=True, return_inverse=True)
    if len(first) > MAX_VERTICES:
        raise InputError(f"a head of at most {MAX_VERTICES} vertices", str(len(first)), "thin the mesh")
    weld = mesh.corners[..., 0].reshape(-1)[first]
    return weld, uv.reshape(-1, 2)[first], vertex.reshape(-1, 3).astype(np.int32)


# A motion as a sequence of OBJ files, one a frame, for tools that read nothing else.


DECIMALS = 5
"""Of a coordinate in metres: hundredths of a millimetre."""
UV_DECIMALS = 5
MATERIAL, LIBRARY, TEXTURE = "head", "head.mtl", "head.png"
FRAMES_AT_ONCE = 8
MOST_METRES = 9.99
"""Coordinates that a line has room for."""
NUMBER_BYTES = 4 + DECIMALS
LINE_BYTES = 2 + 3 * NUMBER_BYTES

_STEPS = 10**DECIMALS


def write_obj_sequence(head: RiggedHead, motion: MotionClip, folder: Path) -> None:
    """Write one OBJ a frame into `folder`, which must not exist and appears whole or not at all.

    Frames are made and written a few at a time, so memory does not grow with length. Raises InputError for a motion
    that the head cannot follow or a folder that exists, OutputError where there is no room or permission.
    """
    folder = Path(folder)
    if isinstance(head, ShapedMesh):
        check_head(head)
    else:
        check_mesh(head)
    if folder.exists():
        raise InputError("a folder that does not exist yet", str(folder), "remove it or choose another name")
    if not folder.parent.is_dir():
        raise OutputError("an existing folder to write into", str(folder.parent), "create it or choose another place")
    frames = _Frames.of(head)
    need = len(motion) * frames.file_bytes
    if shutil.disk_usage(folder.parent).free < need:
        got = f"less beside {folder}"
        raise OutputError(f"{need / 1e9:.1f} GB of room for {len(motion)} files", got, "free space or shorten the clip")
    try:
        with atomic_folder(folder) as room:
            _write_material(head, motion.fps, room)
            starts = range(0, len(motion), FRAMES_AT_ONCE)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in pool.map(partial(frames.write, motion, room), starts):
                    pass
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError(
            f"room and permission to write {folder}", got, "free space or choose another place"
        ) from error


@dataclass(frozen=True, eq=False)
class _Frames:
    """A head and the text that its files share: all before the points, and all behind them."""

    head: RiggedHead
    first: Integer[np.ndarray, " P"]
    before: bytes
    behind: bytes

    @classmethod
    def of(cls, head: RiggedHead) -> _Frames:
        _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
        corners = np.stack([point[head.triangles], head.triangles], axis=2)
        upwards = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1)
        before = f"mtllib {LIBRARY}\no head\n".encode()
        behind = number_lines("vt", upwards, UV_DECIMALS) + f"usemtl {MATERIAL}\n".encode() + face_lines(corners)
        return cls(head, first, before, behind)

    @property
    def file_bytes(self) -> int:
        """What one file takes."""
        return len(self.before) + LINE_BYTES * len(self.first) + len(self.behind)

    def write(self, motion: MotionClip, folder: Path, start: int) -> None:
        numbers = range(start, min(start + FRAMES_AT_ONCE, len(motion)))
        lines = np.empty((len(self.first), LINE_BYTES), np.uint8)
        for number, vertices in zip(numbers, self.head.move(motion.at(numbers)), strict=True):
            points = vertices[self.first]
            if not np.abs(points).max() < MOST_METRES:
                raise InputError(f"points within {MOST_METRES:g} m", f"others in frame {number}", "check the motion")
            _point_lines(points, lines)
            with (folder / f"frame_{number:06d}.obj").open("xb") as stream:
                stream.writelines((self.before, lines.data, self.behind))


def _write_material(head: RiggedHead, fps: float, folder: Path) -> None:
    (folder / LIBRARY).write_text(f"# {fps:g} frames a second\nnewmtl {MATERIAL}\nKd 1 1 1\nmap_Kd {TEXTURE}\n")
    Image.fromarray(head.atlas).save(folder / TEXTURE, compress_level=1)


@kernel
def _point_lines(points: Float32[np.ndarray, "P 3"], lines: UInt8[np.ndarray, "P bytes"]) -> None:
    """Put `v x y z` into `lines`, all of one width, so that no line waits for the length of another."""
    ten, ascii_zero = np.uint32(10), np.uint32(48)
    for i in range(points.shape[0]):
        line = lines[i]
        line[0], line[LINE_BYTES - 1] = 118, 10  # v, line feed
        for axis in range(3):
            value = points[i, axis]
            start = 1 + NUMBER_BYTES * axis
            line[start] = 32  # space
            line[start + 1] = 45 if value < 0 else 32  # minus
            rest = np.uint32(np.abs(value) * np.float32(_STEPS) + np.float32(0.5))
            for digit in range(DECIMALS):
                left = rest // ten
                line[start + NUMBER_BYTES - 1 - digit] = ascii_zero + (rest - left * ten)
                rest = left
            line[start + 3] = 46  # point
            line[start + 2] = ascii_zero + rest
