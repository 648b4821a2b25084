"""Smooth vertex normals of a mesh whose render vertices are split at texture seams.

>>> normals = vertex_normals(vertices, triangles, weld)  # (V, 3) float32, unit length
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Integer

from avi_lib.face.kernel import kernel


def vertex_normals(
    vertices: Float32[np.ndarray, "V 3"], triangles: Integer[np.ndarray, "T 3"], weld: Integer[np.ndarray, " V"]
) -> Float32[np.ndarray, "V 3"]:
    """Area-weighted triangle normals summed per welded point `weld` (the geometric point of each vertex), unit length.

    Vertices of no triangle get a zero normal.
    """
    points = int(weld.max()) + 1
    result: np.ndarray = _welded_normals(
        vertices, triangles.astype(np.uint32, copy=False), weld.astype(np.uint32, copy=False), points
    )
    return result


@kernel
def _welded_normals(vertices: np.ndarray, triangles: np.ndarray, weld: np.ndarray, points: int) -> np.ndarray:
    sums = np.zeros((points, 3), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            point = weld[corner]
            sums[point, 0] += nx
            sums[point, 1] += ny
            sums[point, 2] += nz
    normals = np.empty_like(vertices)
    for v in range(vertices.shape[0]):
        x, y, z = sums[weld[v], 0], sums[weld[v], 1], sums[weld[v], 2]
        scale = np.float32(1.0) / np.sqrt(x * x + y * y + z * z + np.float32(1e-30))
        normals[v, 0], normals[v, 1], normals[v, 2] = x * scale, y * scale, z * scale
    return normals
