"""Which point of the mesh each texel of the atlas shows, so that paint can be a function of places on the head.

>>> texels = Texels(part.triangles, part.uv[part.triangles])
>>> texels.spread(part.points[part.weld]).shape  # a value a vertex, interpolated to the covered texels
(covered, 3)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit
from scipy.ndimage import distance_transform_edt, map_coordinates

from tools.assets.bake_head.atlas import HEIGHT, WIDTH


class Texels:
    """The texels covered by triangles: their `rows` and `columns`, and `shares` (covered, 3), the corners' weights."""

    def __init__(self, triangles: Int64[np.ndarray, "T 3"], uv: Float64[np.ndarray, "T 3 2"]) -> None:
        pixels = uv * np.array([WIDTH, HEIGHT]) - 0.5
        owner, shares = _cover(np.ascontiguousarray(pixels), WIDTH, HEIGHT)
        self.rows, self.columns = np.nonzero(owner >= 0)
        self._corners = triangles[owner[self.rows, self.columns]]
        self.shares = shares[self.rows, self.columns]
        self._owner = owner

    def spread(self, values: Float64[np.ndarray, "V ..."]) -> Float64[np.ndarray, "covered ..."]:
        """Values of vertices interpolated to the texels."""
        corners = values[self._corners]
        result: np.ndarray = np.einsum("tc,tc...->t...", self.shares, corners)
        return result

    def paint(self, atlas: Float64[np.ndarray, "H W 3"], colour: Float64[np.ndarray, "covered 3"]) -> None:
        """Write the texels' colours into the atlas."""
        atlas[self.rows, self.columns] = colour

    def covered(self) -> np.ndarray:
        """Mask (H, W) of the texels with a triangle."""
        result: np.ndarray = self._owner >= 0
        return result


def bleed(atlas: Float64[np.ndarray, "H W 3"], painted: np.ndarray) -> Float64[np.ndarray, "H W 3"]:
    """Unpainted texels take the colour of the nearest painted one, so bilinear reads at seams stay clean."""
    nearest = distance_transform_edt(~painted, return_distances=False, return_indices=True)
    result: np.ndarray = atlas[nearest[0], nearest[1]]
    return result


def noise(points: Float64[np.ndarray, "N 3"], size_m: float, rng: np.random.Generator) -> Float64[np.ndarray, " N"]:
    """Smooth value noise in space with features of about `size_m`, standard deviation about 1; no seams."""
    lattice = rng.normal(size=(32, 32, 32))
    coordinates = (points / size_m).T + rng.uniform(0.0, 32.0, size=(3, 1))
    result: np.ndarray = 1.8 * map_coordinates(lattice, coordinates, order=1, mode="grid-wrap")
    return result


@njit(cache=True)
def _cover(pixels: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    owner = np.full((height, width), -1, np.int64)
    shares = np.zeros((height, width, 3))
    slack = 0.02
    for t in range(pixels.shape[0]):
        ax, ay, bx, by = pixels[t, 0, 0], pixels[t, 0, 1], pixels[t, 1, 0], pixels[t, 1, 1]
        cx, cy = pixels[t, 2, 0], pixels[t, 2, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12:
            continue
        for y in range(max(0, int(np.floor(min(ay, by, cy)))), min(height - 1, int(np.ceil(max(ay, by, cy)))) + 1):
            for x in range(max(0, int(np.floor(min(ax, bx, cx)))), min(width - 1, int(np.ceil(max(ax, bx, cx)))) + 1):
                b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                a = 1.0 - b - c
                if a >= -slack and b >= -slack and c >= -slack:
                    owner[y, x] = t
                    shares[y, x, 0], shares[y, x, 1], shares[y, x, 2] = a, b, c
    return owner, shares
