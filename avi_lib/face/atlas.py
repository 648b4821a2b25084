"""Texture levels: the atlas at full, half and quarter size, and which of them each material should show.

A texture with many more texels than the picture has pixels flickers when the head moves, and is slow to read.

>>> levels = atlas_levels(mesh.atlas)
>>> material_levels(mesh, View())  # uint8: [1, 1, 2, ...]
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from avi_lib.errors import InputError
from avi_lib.face.mesh import RenderMesh
from avi_lib.face.shading import MATERIALS
from avi_lib.face.view import View

LEVELS = 3
SHARPNESS = 1.7
"""Texels a pixel, along a line, that half of a material's picture may exceed before the next level is taken."""


def atlas_levels(atlas: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, ...]:
    """The atlas and its halvings by averages of 2 x 2 texels, in the sRGB code.

    Raises InputError when the sides are not multiples of four.
    """
    if atlas.shape[0] % 4 or atlas.shape[1] % 4:
        raise InputError("an atlas whose sides are multiples of 4", f"{atlas.shape[1]} x {atlas.shape[0]}", "resize it")
    levels = [np.ascontiguousarray(atlas)]
    for _ in range(LEVELS - 1):
        fine = levels[-1].astype(np.uint16)
        levels.append(
            ((fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2] + 2) // 4).astype(np.uint8)
        )
    return tuple(levels)


def material_levels(mesh: RenderMesh, view: View) -> UInt8[np.ndarray, " materials"]:
    """The level for each material in a picture of the mesh at rest, 0 for what is not seen."""
    clip = np.column_stack([mesh.vertices, np.ones(len(mesh.vertices), np.float32)]) @ view.matrix().T
    places = clip[:, :2] / clip[:, 3:] * (0.5 * np.array([view.width, view.height], np.float32))
    texels = mesh.uv * np.array(mesh.atlas.shape[1::-1], np.float32)
    pixel_area, texel_area = -_signed_areas(places, mesh.triangles), np.abs(_signed_areas(texels, mesh.triangles))
    levels = np.zeros(len(MATERIALS), np.uint8)
    for material in np.unique(mesh.material):
        facing = (mesh.material == material) & (pixel_area > 0.0)
        order = np.argsort(texel_area[facing] / pixel_area[facing])
        shares = np.cumsum(pixel_area[facing][order])
        if len(shares) == 0:
            continue
        middle = order[np.searchsorted(shares, 0.5 * shares[-1])]
        density = np.sqrt(texel_area[facing][middle] / pixel_area[facing][middle])
        levels[material] = np.clip(np.floor(np.log2(max(density, 1e-6) / SHARPNESS)) + 1, 0, LEVELS - 1)
    return levels


def _signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    areas: np.ndarray = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return areas
