"""Light: how much of the sky each point of a mesh sees."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from avi_lib.face.surface import kernel

_DIRECTIONS, _DEPTH_SIZE, _BIAS_M = 160, 384, 0.0025
"""Directions, pixels along a side of a depth picture, depth within which a point is seen."""


def ambient_occlusion(
    points: Float64[np.ndarray, "P 3"], normals: Float64[np.ndarray, "P 3"], triangles: Int64[np.ndarray, "T 3"]
) -> Float64[np.ndarray, " P"]:
    """The cosine-weighted share of the sky that each point sees, 1 = open; directions from a Fibonacci sphere."""
    index = np.arange(_DIRECTIONS) + 0.5
    height = 1.0 - 2.0 * index / _DIRECTIONS
    turn = np.pi * (1.0 + np.sqrt(5.0)) * index
    ring = np.sqrt(1.0 - height**2)
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    for direction in np.column_stack([ring * np.cos(turn), height, ring * np.sin(turn)]):
        side = np.cross(direction, (0.3, 0.9, 0.1))
        side /= np.linalg.norm(side)
        view = np.column_stack([points @ side, points @ np.cross(direction, side), points @ direction])
        low, high = view[:, :2].min(axis=0), view[:, :2].max(axis=0)
        pixels = (view[:, :2] - low) / (high - low).max() * (_DEPTH_SIZE - 1)
        nearest = _depth(pixels, view[:, 2].copy(), triangles, _DEPTH_SIZE)
        cells = np.rint(pixels).astype(int)
        cosine = np.clip(normals @ direction, 0.0, None)
        total += cosine
        seen += cosine * (view[:, 2] + _BIAS_M > nearest[cells[:, 1], cells[:, 0]])
    result: np.ndarray = seen / np.maximum(total, 1e-9)
    return result


@kernel
def _depth(pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int) -> np.ndarray:
    nearest = np.full((size, size), -1e9)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t]
        ax, ay, bx, by, cx, cy = pixels[i, 0], pixels[i, 1], pixels[j, 0], pixels[j, 1], pixels[k, 0], pixels[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12:
            continue
        for y in range(int(np.ceil(min(ay, by, cy))), int(np.floor(max(ay, by, cy))) + 1):
            for x in range(int(np.ceil(min(ax, bx, cx))), int(np.floor(max(ax, bx, cx))) + 1):
                b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                if b >= 0.0 and c >= 0.0 and b + c <= 1.0:
                    z = (1.0 - b - c) * depth[i] + b * depth[j] + c * depth[k]
                    nearest[y, x] = max(nearest[y, x], z)
    return nearest
