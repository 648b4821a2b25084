"""Wavefront OBJ: one mesh read from text, or written as text.

>>> mesh = read_obj(Path("neutral.obj"))
>>> mesh.points.shape, mesh.corners.shape  # (P, 3) in the file's units, (T, 3, 2): point and texture place
>>> shape = read_obj(Path("jawOpen.obj"), like=mesh)  # quicker where the faces are the same text

Read are `v`, `vt`, `f` (v, v/vt, v//vn, v/vt/vn, negative numbers counted back from where they stand, polygons as fans
of triangles), `usemtl` and `mtllib`; points keep their order. Everything else, such as normals, groups, lines and
curves, is left out. Format: Wavefront's "Object Files (.obj)", Advanced Visualizer manual, appendix B1.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64, Integer

from avi_lib.errors import InputError
from avi_lib.files import atomic_path

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
