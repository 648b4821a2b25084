r"""A head from a folder of OBJ files: one at rest, and one for every ARKit blendshape at full weight.

In: `neutral.obj`, `jawOpen.obj`, `eyeBlink_L.obj`, ... in any unit, and a texture beside them or none.
Out: a Head that all motion drives; what is missing stands in its notes.

>>> head = load_obj_head(Path("ada"))
>>> print("\n".join(head.notes))
51 of 52 ARKit channels found
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from avi_lib.errors import InputError
from avi_lib.face.channel_names import describe, match_channels, words
from avi_lib.face.head import Head
from avi_lib.face.obj_files import ObjMesh, read_obj
from avi_lib.face.obj_textures import atlas_of
from avi_lib.face.placing import placed_head

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
    folder = Path(folder)
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
    return placed_head(
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
