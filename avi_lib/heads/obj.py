r"""A head from a folder of OBJ files: one at rest, and one for every ARKit blendshape at full weight.

In: `neutral.obj`, `jawOpen.obj`, `eyeBlink_L.obj`, ... in any unit, and a texture beside them or none.
Out: a Head that all motion moves; what is missing stands in its notes.

>>> head = head_behind_wall(read_obj_head, Path("ada"))
>>> print("\n".join(head.notes))
51 of 52 ARKit channels found
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Integer, UInt8
from PIL import Image

from avi_lib.errors import InputError, OutputError, cause
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import RenderMesh, RiggedHead, check_head, parts_of
from avi_lib.files import atomic_folder
from avi_lib.heads import placing
from avi_lib.motion.clip import MotionClip, match_channels, words

# One mesh, read from text by own code: trimesh tells no line of what it refuses, keeps no order of points, has no
# limits and leaves the several textures to be joined.

MAX_BYTES = 64 << 20
MAX_POINTS = 500_000
MAX_TRIANGLES = 1_000_000
MAX_CORNERS = 1000
MAX_NAMES = 200
MAX_COORDINATE = 1e9

_BESIDE_FACES = re.compile(rb"^(?:(v) .*|(?:vn|#|o|g|s|mtllib)\b.*\n?)", re.MULTILINE)
"""What may differ in files whose faces are the same."""
_ABSENT = -(10**17)
"""For the texture place of a corner that has none."""
_WIDTHS = {b"v": 3, b"vt": 2}
_FORMS = {
    b"v": f"v with three numbers below {MAX_COORDINATE:g}",
    b"vt": f"vt with one or two numbers below {MAX_COORDINATE:g}",
    b"f": f"f with 3 to {MAX_CORNERS} of the points and texture places there are",
}


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """One OBJ file, whatever objects and groups it is cut into.

    `corners` holds each triangle's points and texture places, -1 where it has none; `material` is each triangle's place
    in `materials`, whose first is "" for faces before any `usemtl`; `libraries` are the .mtl files it names; `faces` is
    the text that makes the faces.
    """

    points: Float64[np.ndarray, "P 3"]
    uv: Float64[np.ndarray, "U 2"]
    corners: Int32[np.ndarray, "T 3 2"]
    material: Int32[np.ndarray, " T"]
    materials: tuple[str, ...]
    libraries: tuple[str, ...]
    faces: bytes


def read_obj(path: Path, like: ObjMesh | None = None) -> ObjMesh:
    """The mesh in an OBJ file, polygons as fans; `like` is a mesh whose faces this one may share.

    Raises InputError, which tells the line, for a file that cannot be read or is larger than MAX_BYTES, no points or
    more than MAX_POINTS, more than MAX_TRIANGLES, numbers that are none, and faces of points that there are not.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"an OBJ file of at most {MAX_BYTES >> 20} MiB", f"{size >> 20} MiB in {path}", "thin it")
        text = path.read_bytes()
    except OSError as error:
        raise InputError("an OBJ file", f"{path}: {cause(error)}", "check the path") from error
    same = _BESIDE_FACES.sub(rb"\1", text)
    if like is not None and same == like.faces and (beside := _points_alone(text, len(like.points))) is not None:
        return replace(like, points=beside)
    rows: dict[bytes, list[list[float]]] = {keyword: [] for keyword in _WIDTHS}
    points, uv = rows.values()
    faces: list[tuple[int, ...]] = []
    corners: list[int] = []
    materials, current, libraries = {"": 0}, 0, []

    def refused(keyword: bytes, number: int, got: str) -> InputError:
        return InputError(_FORMS[keyword], f"{got[:60]!r} in line {number} of {path}", "export it again")

    for number, (keyword, *rest) in _lines(text):
        try:
            if keyword in rows:
                row = [float(word) for word in (rest[:3] if keyword == b"v" else [*rest, b"0"][:2])]
                if len(row) < _WIDTHS[keyword] or not all(abs(x) < MAX_COORDINATE for x in row):  # or NaN
                    raise ValueError
                rows[keyword].append(row)
            elif keyword == b"f":
                if not 3 <= len(rest) <= MAX_CORNERS:
                    raise ValueError
                parts = [part for word in rest for part in (word + b"/").split(b"/")[:2]]
                corners += [int(part[:18]) if part else _ABSENT for part in parts]
                faces.append((number, current, len(rest), len(points), len(uv)))
        except ValueError as error:
            raise refused(keyword, number, _text(rest)) from error
        if keyword == b"usemtl":
            current = materials.setdefault(_text(rest), len(materials))
        elif keyword == b"mtllib":
            libraries.append(_text(rest))
        vertices = max(len(points), len(uv) // 3)
        triangles = len(corners) // 2 - 2 * len(faces)
        if vertices > MAX_POINTS or triangles > MAX_TRIANGLES or len(materials) + len(libraries) > MAX_NAMES:
            most = f"at most {MAX_POINTS} vertices, {MAX_TRIANGLES} triangles and {MAX_NAMES} materials"
            raise InputError(most, f"more by line {number} of {path}", "thin the mesh")
    if not points:
        raise InputError(f"vertices (v) in {path}", "none", "export one head as OBJ")
    numbers, owners, sizes, *before = np.array(faces, np.int64).reshape(-1, 5).T
    given = np.array(corners, np.int64).reshape(-1, 2)
    index = np.where(given > 0, given - 1, np.repeat(np.stack(before, axis=1), sizes, axis=0) + given)
    absent = given[:, 1] == _ABSENT
    index[absent, 1] = -1
    fits = (given != 0) & (index >= 0) & (index < [len(points), len(uv)])
    if (wrong := ~(fits[:, 0] & (fits[:, 1] | absent))).any():
        got = f"{given[wrong][0].tolist()} of {len(points)} points and {len(uv)} places"
        raise refused(b"f", int(np.repeat(numbers, sizes)[wrong][0]), got)
    face = np.repeat(np.arange(len(faces)), sizes - 2)
    starts = np.cumsum(sizes) - sizes
    step = np.arange(len(face)) - np.repeat(starts - 2 * np.arange(len(faces)), sizes - 2)
    fan = starts[face, None] + np.stack([np.zeros_like(step), step + 1, step + 2], axis=1)
    return ObjMesh(
        points=np.array(points),
        uv=np.array(uv).reshape(-1, 2),
        corners=index[fan].astype(np.int32),
        material=owners[face].astype(np.int32),
        materials=tuple(materials),
        libraries=tuple(libraries),
        faces=same,
    )


def _text(rest: list[bytes]) -> str:
    return b" ".join(rest).decode("utf-8", "replace")


def _lines(text: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Lines that say something, numbered from 1 and split into words; a backslash at a line's end continues it."""
    before = b""
    for number, line in enumerate(io.BytesIO(text), 1):
        whole, before = before + line.rstrip(), b""
        if whole.endswith(b"\\"):
            before = whole[:-1] + b" "
        elif found := whole.split():
            yield number, found


def _points_alone(text: bytes, count: int) -> Float64[np.ndarray, "P 3"] | None:
    """The points of a text without continued lines; None where they are not so many or not plain numbers."""
    lines = [line.split()[1:4] for line in io.BytesIO(text) if line.startswith(b"v ")]
    try:
        points = np.array([] if b"\\" in text else lines, np.float64)
    except ValueError:
        return None
    return points if points.shape == (count, 3) and np.abs(points).max() < MAX_COORDINATE else None


# The texture of an OBJ head: what its .mtl files name, put together into one atlas, or plain colours.

MAX_MTL_BYTES = 1 << 17
CLEAR = 0.5
"""Surfaces of less opacity are left out."""


Look = Path | tuple[int, int, int]


def _textured(
    mesh: ObjMesh, folder: Path
) -> tuple[ObjMesh, UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, " T"], Float64[np.ndarray, "T 3 2"], list[str]]:
    """The mesh without what one sees through, atlas, material of each triangle, its corners in the atlas, and notes."""
    looks, clear, notes = _looks(mesh, folder)
    hidden = placing.clear_shells([[name] for name in mesh.materials], notes)
    hidden = [shell or name in clear for shell, name in zip(hidden, mesh.materials, strict=True)]
    kept = ~np.array(hidden)[mesh.material]
    kept |= not kept.any()
    mesh = replace(mesh, corners=mesh.corners[kept], material=mesh.material[kept])
    used, of_triangle = np.unique(mesh.material, return_inverse=True)
    names = [mesh.materials[index] for index in used]
    kinds = [placing.material_of(name) for name in names]
    plain = [
        next((part for part in placing.PLAIN_RGB if part in words(name)), kind)
        for name, kind in zip(names, kinds, strict=True)
    ]
    bare = [name or "faces without a material" for name in names if name not in looks]
    if not any(isinstance(looks.get(name), Path) for name in names):
        notes.append(f"no texture found: {'plain colours' if len(bare) == len(names) else 'colours of its materials'}")
    if bare and len(bare) < len(names):
        notes.append(f"plain colours for {', '.join(bare)}")
    sources = [looks.get(name, placing.PLAIN_RGB[part]) for name, part in zip(names, plain, strict=True)]
    pictures = {
        source: placing.read_picture(source, str(source)) if isinstance(source, Path) else placing.plain_picture(source)
        for source in dict.fromkeys(sources)
    }
    atlas, places = placing.atlas_of(pictures)
    uv = np.full((len(mesh.corners), 3, 2), 0.5)
    if len(mesh.uv):
        uv = np.where(mesh.corners[..., 1, None] >= 0, mesh.uv[mesh.corners[..., 1]], 0.5)
        uv -= np.floor(uv.mean(axis=1, keepdims=True) - 1e-9)  # triangles in other tiles are moved into the first
        uv[..., 1] = 1.0 - uv[..., 1]
    corner, size = np.array([places[source] for source in sources])[of_triangle].swapaxes(0, 1)
    uv = (np.clip(uv, 0.0, 1.0) * size[:, None] + corner[:, None]) / atlas.shape[1::-1]
    material = np.array([MATERIAL_NAMES.index(kind) for kind in kinds], np.uint8)[of_triangle]
    return mesh, np.ascontiguousarray(atlas[..., :3]), material, uv, notes


def _looks(mesh: ObjMesh, folder: Path) -> tuple[dict[str, Look], set[str], list[str]]:
    """The picture or the colour of every material that has one, materials that one sees through, and notes.

    One grey for all is what exporters write for want of a colour, and none.
    """
    maps: dict[str, Path | None] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    opacity, masked = dict[str, float](), set[str]()
    notes: dict[str, None] = {}
    for library in dict.fromkeys(mesh.libraries):
        try:
            path = placing.inside(folder, library)
            if (size := path.stat().st_size) > MAX_MTL_BYTES:
                raise ValueError(f"has {size >> 10} KiB, of at most {MAX_MTL_BYTES >> 10}")
            text = path.read_bytes().decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            notes[f"the material file {library[:80]} {getattr(error, 'strerror', None) or error}"] = None
            continue
        material = ""
        for line in text.splitlines():
            keyword, _, name = line.strip().partition(" ")
            name = name.strip()
            if keyword == "newmtl":
                material = name
            elif keyword == "map_Kd" and name:
                try:
                    maps[material] = placing.inside(folder, name)
                except ValueError as error:
                    maps[material] = None
                    with suppress(ValueError):  # options may stand before it
                        maps[material] = placing.inside(folder, name.split()[-1])
                    if maps[material] is None:
                        notes[f"the texture {name[:80]} {error}"] = None
            elif keyword == "map_d":
                masked.add(material)
            elif keyword in ("Kd", "d", "Tr") and material in mesh.materials:
                numbers = _fractions(name)
                if len(numbers) != (3 if keyword == "Kd" else 1):
                    notes[f"{material[:80]}: {line.strip()[:40]} is not from 0 to 1, so it does not count"] = None
                elif keyword == "Kd":
                    red, green, blue = (round(255.0 * number) for number in numbers)
                    colours[material] = red, green, blue
                elif keyword == "d" or material not in opacity:
                    opacity[material] = numbers[0] if keyword == "d" else 1.0 - numbers[0]
    colours = {name: rgb for name, rgb in colours.items() if name not in maps}
    if len({part for rgb in colours.values() for part in rgb}) == 1:
        colours = {}
    clear = {name for name, share in opacity.items() if share < CLEAR and name not in masked}
    if clear and np.isin(mesh.material, [mesh.materials.index(name) for name in clear]).mean() > 0.5:
        notes[f"its .mtl makes most of it transparent, which does not count: {', '.join(sorted(clear))[:200]}"] = None
        clear = set()
    elif clear:
        notes[f"left out, since its .mtl makes them transparent: {', '.join(sorted(clear))[:200]}"] = None
    pictures = {name: picture for name, picture in maps.items() if picture is not None}
    return {**colours, **pictures}, clear, list(notes)


def _fractions(text: str) -> list[float]:
    """The numbers in a text; none where one is not from 0 to 1."""
    numbers = []
    for word in text.split():
        with suppress(ValueError):
            numbers.append(float(word))
    return numbers if all(0.0 <= number <= 1.0 for number in numbers) else []


NEUTRAL_NAMES = ("neutral", "rest", "base", "basis")
MAX_FILES = 500
MAX_VERTICES = 200_000
"""Of one head: 52 shapes of so many take 125 MB."""


def read_obj_head(path: str) -> dict[str, Any]:
    """The head whose shapes lie in a folder as OBJ files, named as `match_channels` reads names, as `head.parts_of`.

    The neutral is the file with a word of NEUTRAL_NAMES in its name, as a whole name or else as a part. Raises
    InputError, which names the file, without a neutral, without a single channel, with two files for one channel, for a
    file that `read_obj` refuses, and for one whose vertices or faces are not those of the neutral.
    """
    folder = Path(path)
    neutral, others = _sorted_files(folder)
    match = match_channels([path.stem for path in others])
    if not match.parts:
        raise InputError(
            f"OBJ files named after ARKit blendshapes in {folder}, such as jawOpen.obj",
            ", ".join(path.name for path in others[:5]) or f"only {neutral.name}",
            "export one OBJ a blendshape at full weight",
        )
    rest = read_obj(neutral)
    if not len(rest.corners):
        raise InputError(f"faces in {neutral}", "points only", "export the mesh with its faces")
    moved = {
        channel: np.sum([_moved(rest, neutral, others[place]) for place in parts], axis=0)
        for channel, parts in match.parts.items()
    }
    rest, atlas, material, uv, notes = _textured(rest, folder)
    # one vertex for each pair of a point and a texture place, in the order of points
    places = uv.reshape(-1, 2)
    point = rest.corners[..., 0].reshape(-1)
    corners = np.column_stack([point, np.round(places * 65535.0)]).astype(np.int64)
    _, first, vertex = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    if len(first) > MAX_VERTICES:
        raise InputError(f"a head of at most {MAX_VERTICES} vertices", str(len(first)), "thin the mesh")
    point = point[first]
    mesh = RenderMesh(
        vertices=rest.points[point].astype(np.float32),
        triangles=vertex.reshape(-1, 3).astype(np.int32),
        uv=places[first].astype(np.float32),
        weld=np.unique(point, return_inverse=True)[1].astype(np.int32),
        material=material,
        occlusion=np.ones(len(point), np.float32),
        atlas=atlas,
    )
    shapes = {channel: moves[point].astype(np.float32) for channel, moves in moved.items()}
    name = folder.name or folder.resolve().name
    return parts_of(placing.placed_head(name, mesh, shapes, (*placing.describe(match), *notes)))


def _sorted_files(folder: Path) -> tuple[Path, list[Path]]:
    """The neutral, and the other OBJ files in order of name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".obj" and path.is_file())
    except OSError as error:
        raise InputError("a folder of OBJ files", f"{folder}: {cause(error)}", "check the path") from error
    if len(paths) > MAX_FILES:
        raise InputError(f"at most {MAX_FILES} OBJ files in {folder}", str(len(paths)), "give the head its own folder")
    if outside := [path.name for path in paths if not path.resolve().is_relative_to(folder.resolve())]:
        raise InputError(
            f"OBJ files that lie in {folder}", f"{outside[0]}, a link out of the folder", "copy it into the folder"
        )
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
    shape, again = read_obj(path, like=rest), "export all shapes of one mesh"
    if len(shape.points) != len(rest.points):
        got = f"{len(shape.points)} in {path}"
        raise InputError(f"the {len(rest.points)} vertices of {neutral.name}", got, again)
    if not np.array_equal(shape.corners[..., 0], rest.corners[..., 0]):
        raise InputError(f"the faces of {neutral.name}, in its order", f"others in {path}", again)
    return shape.points - rest.points


# A motion as a sequence of OBJ files, one a frame, for tools that read nothing else.

FRAMES_AT_ONCE = 8
MOST_METRES = 9.99
"""Coordinates that a line has room for."""
_POINT = "v%9.5f%9.5f%9.5f\n"
"""A line of a point in metres, to hundredths of a millimetre."""


def write_obj_sequence(head: RiggedHead, motion: MotionClip, folder: Path) -> None:
    """Write one OBJ a frame into `folder`, which must not exist and appears whole or not at all.

    Frames are made and written a few at a time, so memory does not grow with length. Raises InputError for a motion
    that the head cannot follow or a folder that exists, OutputError where there is no room or permission.
    """
    folder = Path(folder)
    check_head(head)
    if folder.exists():
        raise InputError("a folder that does not exist yet", str(folder), "remove it or choose another name")
    if not folder.parent.is_dir():
        raise OutputError("an existing folder to write into", str(folder.parent), "create it or choose another place")
    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    before, behind = b"mtllib head.mtl\no head\n", _faces(head, point)
    need = len(motion) * (len(before) + len(_POINT % (0, 0, 0)) * len(first) + len(behind))
    if shutil.disk_usage(folder.parent).free < need:
        got = f"less beside {folder}"
        raise OutputError(f"{need / 1e9:.1f} GB of room for {len(motion)} files", got, "free space or shorten the clip")

    try:
        with atomic_folder(folder) as room:
            material = f"# {motion.fps:g} frames a second\nnewmtl head\nKd 1 1 1\nmap_Kd head.png\n"
            Image.fromarray(head.atlas).save(room / "head.png", compress_level=1)
            if head.alpha is not None:
                material += "map_d alpha.png\n"
                Image.fromarray(head.alpha).save(room / "alpha.png", compress_level=1)
            (room / "head.mtl").write_text(material)
            for number in range(len(motion)):
                if number % FRAMES_AT_ONCE == 0:
                    frames = head.move(motion.at(range(len(motion))[number : number + FRAMES_AT_ONCE]))
                points = frames[number % FRAMES_AT_ONCE][first]
                if not np.abs(points).max() < MOST_METRES:
                    raise InputError(
                        f"points within {MOST_METRES:g} m", f"others in frame {number}", "check the motion"
                    )
                lines = _POINT * len(points) % tuple(points.ravel().tolist())
                (room / f"frame_{number:06d}.obj").write_bytes(before + lines.encode() + behind)
    except OSError as error:
        expected, got = f"room and permission to write {folder}", cause(error)
        raise OutputError(expected, got, "free space or choose another place") from error


def _faces(head: RiggedHead, point: Integer[np.ndarray, " V"]) -> bytes:
    """What stands behind the points in every file; `point` is the point of each vertex."""
    places = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1)
    corners = np.stack([point[head.triangles], head.triangles], axis=2) + 1
    text = "vt %.5f %.5f\n" * len(places) % tuple(places.ravel().tolist()) + "usemtl head\n"
    return (text + "f %d/%d %d/%d %d/%d\n" * len(corners) % tuple(corners.ravel().tolist())).encode()
