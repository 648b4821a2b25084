"""A skin for a FLAME head, whose file has none: the open head's colours, carried over by the registration.

>>> uv = skin_places(points)                     # a place in the atlas for each vertex, without a seam
>>> atlas = paint(points, openness, found, head)  # (ATLAS, ATLAS, 3) sRGB

The atlas holds two discs, each an equal-area map of directions (Lambert's azimuthal) around +z: the large one of the
head as seen from its middle, the small one of an eyeball, both eyes alike. Below that lies
the dark of the mouth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from avi_lib.face.flame_registration import Registration
from avi_lib.face.head import Head
from avi_lib.face.kernel import kernel
from avi_lib.face.shading import MATERIAL_NAMES

ATLAS = 1024
MOUTH_PLACE = (0.89, 0.60)
"""Middle of the patch that the dark of the mouth shows."""

_SKIN_DISC, _EYE_DISC = (0.385, 0.385, 0.375), (0.885, 0.115, 0.105)
"""Middle and radius of the discs."""
_MIDDLE_M = np.array([0.0, -0.02, -0.075])
"""The place in a head that the directions of its skin are seen from."""
_MOUTH_RGB = (52, 20, 20)
_HIDDEN = 0.12
"""Openness below which a vertex lies inside."""
_GRID = 6
"""Steps along an edge of a triangle at which the open head's colours are looked up."""
_DIRECTIONS, _DEPTH_SIZE, _BIAS_M = 160, 384, 0.0025
"""Of ambient occlusion: directions, pixels along a side of a depth picture, depth within which a point is seen."""


def skin_places(points: Float[np.ndarray, "P 3"]) -> Float32[np.ndarray, "P 2"]:
    """Places in the atlas of points on a head in the open head's coordinates."""
    return _places(points - _MIDDLE_M, _SKIN_DISC)


def eye_places(arms: Float[np.ndarray, "P 3"]) -> Float32[np.ndarray, "P 2"]:
    """Places in the atlas of points on an eyeball, seen from its middle."""
    return _places(arms, _EYE_DISC)


def paint(
    points: Float[np.ndarray, "V 3"], openness: Float[np.ndarray, " V"], found: Registration, head: Head
) -> UInt8[np.ndarray, "size size 3"]:
    """The atlas for a FLAME head with its vertices at these places, each with its ambient occlusion (1 = open).

    What lies hidden, as the inside of a mouth, is not painted over the skin in front of it.
    Where a place has no counterpart on the open head, such as the scalp, it takes the nearest colour that there is.
    """
    atlas = np.zeros((ATLAS, ATLAS, 3), np.uint8)
    outside = openness[found.members] > _HIDDEN
    landed = np.einsum("mc,mci->mi", found.shares, head.vertices[found.corners])[outside]
    places = skin_places(points[found.members[outside]])
    columns, rows, inside = _texels(_SKIN_DISC)
    there = LinearNDInterpolator(places, landed)(np.column_stack([columns, rows])[inside])
    known = np.isfinite(there).all(axis=1)
    coloured = np.zeros((len(columns), 3), np.uint8)
    looked_up = np.flatnonzero(inside)[known]
    coloured[looked_up] = _colours(head, ("skin", "lips"), there[known])
    _fill(atlas, coloured, looked_up, _box(_SKIN_DISC))
    columns, rows, _ = _texels(_EYE_DISC)
    balls = _directions(columns, rows, _EYE_DISC)
    ball = head.vertices[head.eyeballs[0]] - head.eye_centres[0]
    shown = balls * np.linalg.norm(ball, axis=1).mean() + head.eye_centres[0]
    _fill(atlas, _colours(head, ("eye",), shown), np.arange(len(shown)), _box(_EYE_DISC))
    atlas[ATLAS // 2 :, int(ATLAS * 0.80) :] = _MOUTH_RGB
    return atlas


def _places(arms: Float[np.ndarray, "P 3"], disc: tuple[float, float, float]) -> Float32[np.ndarray, "P 2"]:
    x, y, radius = disc
    unit = arms / np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
    across = np.linalg.norm(unit[:, :2], axis=1)
    reach = np.sqrt(np.clip(0.5 * (1.0 - unit[:, 2]), 0.0, 1.0)) * radius / np.maximum(across, 1e-9)
    return np.column_stack([x + reach * unit[:, 0], y - reach * unit[:, 1]]).astype(np.float32)


def _directions(
    columns: Float64[np.ndarray, " N"], rows: Float64[np.ndarray, " N"], disc: tuple[float, float, float]
) -> Float64[np.ndarray, "N 3"]:
    """The unit directions that lie at places of a disc."""
    x, y, radius = disc
    a, b = (columns - x) / radius, (y - rows) / radius
    half = np.minimum(a * a + b * b, 1.0)
    slope = 2.0 * np.sqrt(1.0 - half)
    return np.column_stack([slope * a, slope * b, 1.0 - 2.0 * half])


def _box(disc: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of the square around a disc, a little wider."""
    x, y, radius = disc
    low = [max(round((middle - radius) * ATLAS) - 6, 0) for middle in (y, x)]
    high = [min(round((middle + radius) * ATLAS) + 6, ATLAS) for middle in (y, x)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def _texels(disc: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the texels in the square around a disc, and which of them lie in it."""
    rows, columns = (
        (grid.ravel() + 0.5) / ATLAS for grid in np.meshgrid(*(np.r_[part] for part in _box(disc)), indexing="ij")
    )
    return columns, rows, (columns - disc[0]) ** 2 + (rows - disc[1]) ** 2 < disc[2] ** 2


def _fill(
    atlas: UInt8[np.ndarray, "H W 3"],
    colours: UInt8[np.ndarray, "N 3"],
    known: np.ndarray,
    box: tuple[slice, slice],
) -> None:
    """Write a square of the atlas; texels that are not known take the colour of the nearest that is."""
    part = atlas[box]
    unknown = np.ones(len(colours), bool)
    unknown[known] = False
    square = colours.reshape(part.shape)
    nearest = distance_transform_edt(unknown.reshape(part.shape[:2]), return_distances=False, return_indices=True)
    part[:] = square[nearest[0], nearest[1]]


def _colours(head: Head, materials: tuple[str, ...], places: Float[np.ndarray, "N 3"]) -> UInt8[np.ndarray, "N 3"]:
    """Colours of the open head's surface nearest to places."""
    triangles = head.triangles[np.isin(head.material, [MATERIAL_NAMES.index(name) for name in materials])]
    steps = [(i, j, _GRID - i - j) for i in range(_GRID + 1) for j in range(_GRID + 1 - i)]
    shares = np.array(steps, np.float32) / _GRID
    points = np.einsum("sc,tci->tsi", shares, head.vertices[triangles]).reshape(-1, 3)
    uv = np.einsum("sc,tci->tsi", shares, head.uv[triangles]).reshape(-1, 2)
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    at = uv[tree.query(places)[1]] * np.array(head.atlas.shape[1::-1])
    columns, rows = np.minimum(at.astype(np.int64), np.array(head.atlas.shape[1::-1]) - 1).T
    found: np.ndarray = head.atlas[rows, columns]
    return found


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
