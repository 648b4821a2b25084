"""A z-buffer: which triangle each of four samples a pixel sees, and how far away it is, as numba kernels.

>>> screen = project(vertices, view.matrix(), view.width, view.height)
>>> starts, members = bin_triangles(screen, triangles, view.width, view.height, 32)
>>> cover_rows(screen, surface, members[starts[0] : starts[1]], 0, 32, layers)
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avi_lib.face.kernel import kernel
from avi_lib.face.mesh import RenderMesh
from avi_lib.face.pixels import Layers, Surface
from avi_lib.face.shading import MATERIALS

SAMPLES = np.array([(-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)], np.float32)
"""Sample places within a pixel, from its middle: the usual rotated grid, as graphics cards have it."""


def connected_parts(mesh: RenderMesh) -> np.ndarray:
    """A number for each triangle's part: triangles of one material that hang together through welded points."""
    points = mesh.weld[mesh.triangles]
    links = coo_array(
        (np.ones(2 * len(points)), (np.repeat(points[:, 0], 2), points[:, 1:].ravel())),
        shape=2 * (mesh.weld.max() + 1,),
    )
    _, component = connected_components(links, directed=False)
    parts: np.ndarray = component[points[:, 0]] * len(MATERIALS) + mesh.material
    return parts.astype(np.uint32)


def empty_layers(width: int, height: int) -> Layers:
    """The samples of a picture, before anything is seen."""
    columns = np.arange(width, dtype=np.float32)[:, None] + np.float32(0.5) + SAMPLES[:, 0]
    rows = np.tile(SAMPLES[:, 1], width)
    empty = (height, 4 * width)
    return Layers(np.empty(empty, np.float32), np.zeros(empty, np.uint32), columns.ravel(), rows)


@kernel
def project(vertices: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixel x, pixel y and the inverse of the distance (zero behind the camera), which is linear across the picture."""
    screen = np.zeros((vertices.shape[0], 3), np.float32)
    half_x, half_y = np.float32(0.5 * width), np.float32(0.5 * height)
    for v in range(vertices.shape[0]):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        w = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        if w > np.float32(1e-3):
            near = np.float32(1.0) / w
            screen[v, 0] = half_x + half_x * near * (
                matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
            )
            screen[v, 1] = half_y + half_y * near * (
                matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
            )
            screen[v, 2] = near
    return screen


@kernel
def _rows(screen: np.ndarray, a: int, b: int, c: int, width: int, height: int) -> tuple[int, int]:
    """First and last row whose samples the triangle can touch; last < first when it cannot be seen."""
    if screen[a, 2] <= 0 or screen[b, 2] <= 0 or screen[c, 2] <= 0:
        return 0, -1
    low = min(screen[a, 1], screen[b, 1], screen[c, 1])
    high = max(screen[a, 1], screen[b, 1], screen[c, 1])
    left = min(screen[a, 0], screen[b, 0], screen[c, 0])
    right = max(screen[a, 0], screen[b, 0], screen[c, 0])
    if right < 0 or left > width or high < 0 or low > height:
        return 0, -1
    return max(0, int(low)), min(height - 1, int(high))


@kernel
def bin_triangles(
    screen: np.ndarray, triangles: np.ndarray, width: int, height: int, band_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that touch each band of rows: members[starts[band]:starts[band + 1]], in the mesh's order."""
    bands = (height + band_rows - 1) // band_rows
    starts = np.zeros(bands + 1, np.int64)
    for t in range(triangles.shape[0]):
        first, last = _rows(screen, triangles[t, 0], triangles[t, 1], triangles[t, 2], width, height)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                starts[band + 1] += 1
    for band in range(bands):
        starts[band + 1] += starts[band]
    members = np.empty(starts[bands], np.uint32)
    fill = starts.copy()
    for t in range(triangles.shape[0]):
        first, last = _rows(screen, triangles[t, 0], triangles[t, 1], triangles[t, 2], width, height)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                members[fill[band]] = t
                fill[band] += 1
    return starts, members


@kernel
def cover_rows(
    screen: np.ndarray, surface: Surface, members: np.ndarray, top: int, bottom: int, layers: Layers
) -> None:
    """Nearest triangle (owner) and its inverse distance (depth, 0 for none) at each sample of rows top to bottom."""
    triangles, two_sided = surface.triangles, surface.two_sided
    depth, owner, across, down = layers.depth, layers.owner, layers.across, layers.down
    depth[top:bottom] = 0
    half, one = np.float32(0.5), np.float32(1)
    width = depth.shape[1] // 4
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and not two_sided[t]):
            continue
        inverse = one / area
        bdx, bdy = (cy - ay) * inverse, (ax - cx) * inverse
        cdx, cdy = (ay - by) * inverse, (bx - ax) * inverse
        zdx, zdy = bdx * (bz - az) + cdx * (cz - az), bdy * (bz - az) + cdy * (cz - az)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(bottom - 1, int(max(ay, by, cy))) + 1):
            middle = np.float32(y) + half - ay
            first, stop = 4 * left, 4 * right + 4
            depths, owners = depth[y, first:stop], owner[y, first:stop]
            places, heights = across[first:stop], down[first:stop]
            for i in range(stop - first):
                dx, dy = places[i] - ax, middle + heights[i]
                wb, wc = bdx * dx + bdy * dy, cdx * dx + cdy * dy
                z = az + zdx * dx + zdy * dy
                seen, shown = depths[i], owners[i]
                nearer = (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > seen)
                depths[i] = z if nearer else seen
                owners[i] = t if nearer else shown
