r"""A head from a folder of OBJ files: one at rest, and one for every ARKit blendshape at full weight.

In: `neutral.obj`, `jawOpen.obj`, `eyeBlink_L.obj`, ... in any unit, and a texture beside them or none.
Out: a Head that all motion moves; what is missing stands in its notes.

>>> head = head_behind_wall(read_obj_head, Path("ada"))
>>> print("\n".join(head.notes))
51 of 52 ARKit channels found
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Integer
from PIL import Image

from avi_lib.errors import InputError, OutputError, cause, expect
from avi_lib.face.head import RiggedHead, check_head, parts_of
from avi_lib.files import atomic_folder
from avi_lib.heads import placing
from avi_lib.motion.clip import ARKIT_BLENDSHAPES, MotionClip, match_channels, words

# One mesh, read by own code: trimesh keeps no order of points, has no limits and leaves the textures to be joined.

MAX_BYTES = 64 << 20
MAX_POINTS = 500_000
MAX_TRIANGLES = 1_000_000
MAX_CORNERS = 1000
MAX_NAMES = 200
MAX_COORDINATE = 1e9

_CONTINUED = re.compile(rb"\\[ \t\r]*\n|[ \t\r]+")


class ObjMesh(NamedTuple):
    """One OBJ file, whatever objects and groups it is cut into.

    `corners` holds each triangle's points and texture places, -1 where it has none; `material` is each triangle's place
    in `materials`, whose first is "" for faces before any `usemtl`; `libraries` are the .mtl files it names.
    """

    points: Float64[np.ndarray, "P 3"]
    libraries: tuple[str, ...]
    uv: Float64[np.ndarray, "U 2"]
    corners: Int32[np.ndarray, "T 3 2"]
    material: Int32[np.ndarray, " T"]
    materials: tuple[str, ...]


def read_obj(path: Path) -> ObjMesh:
    """The mesh in an OBJ file, polygons as fans.

    Raises InputError for a file that cannot be read or is larger than MAX_BYTES, no points or more than MAX_POINTS,
    more than MAX_TRIANGLES, numbers that are none, and faces of points that there are not.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"an OBJ file of at most {MAX_BYTES >> 20} MiB", f"{size >> 20} MiB in {path}", "thin it")
        lines = [line.strip() for line in _CONTINUED.sub(b" ", path.read_bytes()).split(b"\n")]
    except OSError as error:
        raise InputError("an OBJ file", f"{path}: {cause(error)}", "check the path") from error
    faces = [
        line if line[:2] != b"v " else b"v" for line in lines if line.startswith((b"v ", b"vt ", b"f ", b"usemtl"))
    ]
    libraries = tuple(_text(line[7:]) for line in lines if line.startswith(b"mtllib "))
    try:
        points = _numbers([line for line in lines if line[:2] == b"v "], 3)
        mesh = ObjMesh(points, libraries, *_read_faces(b"\n".join(faces)))
        if mesh.corners.size and mesh.corners[..., 0].max() >= len(points):
            raise ValueError(f"a face of point {mesh.corners[..., 0].max() + 1} of {len(points)}")
    except ValueError as error:
        forms = f"v with three numbers below {MAX_COORDINATE:g}, vt with two, f of 3 to {MAX_CORNERS} points there are"
        raise InputError(forms, f"{str(error)[:80]} in {path}", "export it again") from error
    expect(len(points), f"vertices (v) in {path}", "none", "export one head as OBJ")
    names = len(mesh.materials) + len(libraries)
    if max(len(points), len(mesh.uv) // 3) > MAX_POINTS or len(mesh.corners) > MAX_TRIANGLES or names > MAX_NAMES:
        most = f"at most {MAX_POINTS} vertices, {MAX_TRIANGLES} triangles and {MAX_NAMES} materials"
        got = f"{len(points)}, {len(mesh.corners)} and {names} in {path}"
        raise InputError(most, got, "thin the mesh")
    return mesh


def _text(rest: bytes) -> str:
    return rest.decode("utf-8", "replace").strip()


def _numbers(lines: list[bytes], width: int) -> Float64[np.ndarray, "lines width"]:
    """The first numbers of every line behind its keyword; ValueError where one has fewer, or none within measure."""
    rows = [line.split()[1 : width + 1] for line in lines]
    try:
        numbers = np.array(rows or np.empty((0, width)), np.float64)
        fit = numbers.shape == (len(rows), width) and bool((np.abs(numbers) < MAX_COORDINATE).all())  # which NaN is not
    except ValueError:
        fit = False
    if not fit:
        raise ValueError(f"others in the lines of {_text(lines[0].split()[0])}")
    return numbers


@lru_cache(maxsize=1)
def _read_faces(text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """All of an ObjMesh but its points, from the lines that tell it: the shapes of one head have them in common."""
    points, places, materials, current = 0, list[bytes](), {"": 0}, 0
    triangles, owners = list[tuple[tuple[int, int], ...]](), list[int]()
    for line in filter(None, text.split(b"\n")):
        keyword, *rest = line.split()
        if keyword == b"v":
            points += 1
        elif keyword == b"vt":
            places.append(line + b" 0")
        elif keyword == b"usemtl":
            current = materials.setdefault(_text(line[7:]), len(materials))
        else:
            try:
                parts = [(word + b"/").split(b"/") for word in rest[: MAX_CORNERS + 1]]
                face = [(_place(p[0], points), _place(p[1], len(places)) if p[1] else -1) for p in parts]
            except ValueError:
                face = []
            if not 3 <= len(face) <= MAX_CORNERS:
                raise ValueError(repr(_text(line[:60])))
            fan = [(face[0], *pair) for pair in pairwise(face[1:])]
            triangles += fan
            owners += [current] * len(fan)
    uv, corners = _numbers(places, 2), np.array(triangles, np.int32).reshape(-1, 3, 2)
    if corners.size and corners[..., 1].max() >= len(uv):
        raise ValueError(f"a face of place {corners[..., 1].max() + 1} of {len(uv)}")
    return uv, corners, np.array(owners, np.int32), tuple(materials)


def _place(word: bytes, before: int) -> int:
    """The place from 0 of a number that counts from 1 or, below 0, back from the last one before."""
    number = int(word[:9])
    place = number - 1 if number > 0 else before + number
    if number == 0 or place < 0:
        raise ValueError
    return place


# The texture of an OBJ head: what its .mtl files name, or plain colours.

MAX_MTL_BYTES = 1 << 17
CLEAR = 0.5  # surfaces of less opacity are left out

Look = Path | tuple[int, int, int]


def _said(libraries: tuple[str, ...], folder: Path, notes: list[str]) -> dict[str, dict[str, str]]:
    """What .mtl files say of each material, by keyword; what is said twice counts as said last."""
    said: dict[str, dict[str, str]] = {}
    for library in dict.fromkeys(libraries):
        try:
            path = placing.inside(folder, library)
            if (size := path.stat().st_size) > MAX_MTL_BYTES:
                raise ValueError(f"has {size >> 10} KiB, of at most {MAX_MTL_BYTES >> 10}")
            text = path.read_bytes().decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            notes.append(f"the material file {library[:80]} {getattr(error, 'strerror', None) or error}")
            continue
        of_material: dict[str, str] = {}
        for line in text.splitlines():
            keyword, _, rest = line.strip().partition(" ")
            if keyword == "newmtl":
                of_material = said.setdefault(rest.strip(), {})
            elif rest.strip():
                of_material[keyword] = rest.strip()
    return said


def _looks(mesh: ObjMesh, folder: Path, notes: list[str]) -> tuple[dict[str, Look], set[str]]:
    """The picture or the colour of every material that has one, and the materials that one sees through.

    One grey for all is what exporters write for want of a colour, and none.
    """
    pictures: dict[str, Look] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    clear: set[str] = set()
    said = _said(mesh.libraries, folder, notes)
    for name in [name for name in mesh.materials if name in said]:
        numbers: dict[str, list[float]] = {}
        for keyword, count in (("Kd", 3), ("Tr", 1), ("d", 1)):
            if keyword in said[name]:
                numbers[keyword] = _fractions(said[name][keyword])
                if len(numbers[keyword]) != count:
                    line = f"{keyword} {said[name][keyword]}"[:40]
                    notes.append(f"{name[:80]}: {line} is not from 0 to 1, so it does not count")
                    del numbers[keyword]
        opacity = numbers.get("d", [1.0 - numbers.get("Tr", [0.0])[0]])[0]
        if opacity < CLEAR and "map_d" not in said[name]:
            clear.add(name)
        if picture := said[name].get("map_Kd"):
            for called in (picture.split()[-1], picture):  # options may stand before it
                try:
                    pictures[name] = placing.inside(folder, called)
                except ValueError as error:
                    why = f"the texture {picture[:80]} {error}"
            if name not in pictures:
                notes.append(why)
        elif "Kd" in numbers:
            red, green, blue = (round(255.0 * number) for number in numbers["Kd"])
            colours[name] = red, green, blue
    if len({part for rgb in colours.values() for part in rgb}) == 1:
        colours = {}
    if clear and np.isin(mesh.material, [mesh.materials.index(name) for name in clear]).mean() > 0.5:
        notes.append(f"its .mtl makes most of it transparent, which does not count: {', '.join(sorted(clear))[:200]}")
        clear = set()
    elif clear:
        notes.append(f"left out, since its .mtl makes them transparent: {', '.join(sorted(clear))[:200]}")
    return {**colours, **pictures}, clear


def _fractions(text: str) -> list[float]:
    """The numbers in a text; none where one is not from 0 to 1."""
    numbers = []
    for word in text.split():
        with suppress(ValueError):
            numbers.append(float(word))
    return numbers if all(0.0 <= number <= 1.0 for number in numbers) else []


NEUTRAL_NAMES = ("neutral", "rest", "base", "basis")
MAX_FILES = 500
MAX_VERTICES = 200_000  # of one head: 52 shapes of so many take 125 MB


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
    expect(len(rest.corners), f"faces in {neutral}", "points only", "export the mesh with its faces")
    moved: dict[str, np.ndarray] = {}
    for channel, place in [(channel, place) for channel, places in match.parts.items() for place in places]:
        shape, again = read_obj(others[place]), "export all shapes of one mesh"
        got = f"{len(shape.points)} in {others[place]}"
        expect(len(shape.points) == len(rest.points), f"the {len(rest.points)} vertices of {neutral.name}", got, again)
        if not np.array_equal(shape.corners[..., 0], rest.corners[..., 0]):
            raise InputError(f"the faces of {neutral.name}, in its order", f"others in {others[place]}", again)
        moved[channel] = moved.get(channel, 0.0) + shape.points - rest.points
    notes = [f"{len(match.parts)} of {len(ARKIT_BLENDSHAPES)} ARKit channels found", *match.notes]
    looks, clear = _looks(rest, folder, notes)
    names = [rest.materials[number] for number in np.unique(rest.material)]
    shells = placing.clear_shells([[name] for name in names], notes)
    shown = [name for name, shell in zip(names, shells, strict=True) if not shell and name not in clear] or names
    bare = [name or "faces without a material" for name in shown if name not in looks]
    if not any(isinstance(looks.get(name), Path) for name in shown):
        notes.append(f"no texture found: {'plain colours' if len(bare) == len(shown) else 'colours of its materials'}")
    if bare and len(bare) < len(shown):
        notes.append(f"plain colours for {', '.join(bare)}")
    pieces = [_piece(rest, moved, name, looks) for name in shown]
    if (count := sum(len(piece.vertices) for piece in pieces)) > MAX_VERTICES:
        raise InputError(f"a head of at most {MAX_VERTICES} vertices", str(count), "thin the mesh")
    pictures: dict[Any, placing.Picture] = {}
    for look in {piece.picture: None for piece in pieces}:
        is_file = isinstance(look, Path)
        pictures[look] = placing.read_picture(look, str(look)) if is_file else placing.plain_picture(look)
    weld = np.concatenate([piece.traits["point"] for piece in pieces])
    return parts_of(placing.placed_head(folder.name or folder.resolve().name, pieces, pictures, weld, notes))


def _piece(mesh: ObjMesh, moved: Mapping[str, np.ndarray], name: str, looks: Mapping[str, Look]) -> placing.Piece:
    """The triangles of a material, with a vertex for each pair of a point and a texture place; its `point` is a trait.

    Triangles in other tiles of the texture are moved into the first.
    """
    corners = mesh.corners[mesh.material == mesh.materials.index(name)]
    uv = np.full((len(corners), 3, 2), 0.5)
    if len(mesh.uv):
        uv = np.where(corners[..., 1, None] >= 0, mesh.uv[corners[..., 1]], 0.5)
        uv = np.clip(uv - np.floor(uv.mean(axis=1, keepdims=True) - 1e-9), 0.0, 1.0)
        uv[..., 1] = 1.0 - uv[..., 1]
    places, point = uv.reshape(-1, 2), corners[..., 0].reshape(-1)
    keys = np.column_stack([point, np.round(places * 65535.0)]).astype(np.int64)
    _, first, vertex = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    point = point[first]
    kind = next((part for part in placing.PLAIN_RGB if part in words(name)), placing.material_of(name))
    return placing.Piece(
        names=(name,),
        vertices=mesh.points[point].astype(np.float32),
        triangles=vertex.reshape(-1, 3),
        uv=places[first].astype(np.float32),
        occlusion=np.ones(len(point), np.float32),
        shapes={channel: moves[point].astype(np.float32) for channel, moves in moved.items()},
        picture=looks.get(name, placing.PLAIN_RGB[kind]),
        traits={"point": point},
    )


def _sorted_files(folder: Path) -> tuple[Path, list[Path]]:
    """The neutral, and the other OBJ files in order of name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".obj" and path.is_file())
    except OSError as error:
        raise InputError("a folder of OBJ files", f"{folder}: {cause(error)}", "check the path") from error
    expect(
        len(paths) <= MAX_FILES, f"at most {MAX_FILES} OBJ files in {folder}", len(paths), "make a folder for the head"
    )
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


# A motion as a sequence of OBJ files, one a frame, for tools that read nothing else.

FRAMES_AT_ONCE = 8
MOST_METRES = 9.99  # coordinates that a line has room for
_POINT = "v%9.5f%9.5f%9.5f\n"  # a line of a point in metres, to hundredths of a millimetre


def write_obj_sequence(head: RiggedHead, motion: MotionClip, folder: Path) -> None:
    """Write one OBJ a frame into `folder`, which must not exist and appears whole or not at all.

    Frames are made and written a few at a time, so memory does not grow with length. Raises InputError for a motion
    that the head cannot follow or a folder that exists, OutputError where there is no room or permission.
    """
    folder = Path(folder)
    check_head(head)
    expect(not folder.exists(), "a folder that does not exist yet", folder, "remove it or choose another name")
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
