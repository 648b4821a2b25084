"""The texture of an OBJ head: what its .mtl files name, put together into one atlas, or plain colours.

In: a mesh, and the folder that it and its pictures lie in. Out: one sRGB atlas, each triangle's material and its
corners' places in the atlas (v downwards), and notes on what was not found.

>>> atlas, material, uv, notes = atlas_of(read_obj(folder / "neutral.obj"), folder)

What kind of surface a material is follows from its name (`material_names`). Pictures are read from the folder
or below it only, PNG or JPEG. Several lie in a grid of cells, each as large as the largest.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.material_names import material_of
from avi_lib.face.obj_files import ObjMesh
from avi_lib.face.shading import MATERIAL_NAMES

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
