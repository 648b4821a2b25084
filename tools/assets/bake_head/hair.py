"""Hair: where it grows, which way it lies, and the shell that gives it volume.

>>> hair = hair_shell(surface)
>>> towards = flow(points, normals)  # unit tangents from root to tip

A short cut with a side parting: the sides are cropped and lie downwards, the top is swept across from the parting.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from tools.assets.bake_head.part import HAIR, Part, smoothstep

PARTING_M = 0.034
"""The parting lies this far to the person's left."""

CROWN_M = np.array([0.010, 0.094, -0.125])
EAR_CENTRE_M, EAR_REACH_M = (-0.018, -0.077), (0.031, 0.021)
"""Height and depth of the ear's middle, and how far from it hair keeps away."""


def hairline_field(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, " P"]:
    """Metres inside the hairline, about; negative on bare skin."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    forehead = y - 0.071 - 0.006 * smoothstep(x, 0.012, 0.045) + 0.004 * smoothstep(x, 0.0, 0.012)
    temple = np.interp(y, [-0.03, 0.0, 0.02, 0.05, 0.08], [-0.058, -0.054, -0.043, -0.026, -0.020]) - z
    temple = np.where((x > 0.03) | (z < -0.07), temple, -0.05)
    nape = y - np.interp(-z, [0.05, 0.064, 0.095, 0.125, 0.15], [-0.020, -0.020, -0.040, -0.078, -0.084])
    ear = (np.hypot((y - EAR_CENTRE_M[0]) / EAR_REACH_M[0], (z - EAR_CENTRE_M[1]) / EAR_REACH_M[1]) - 1.0) * 0.024
    ear = np.where(x > 0.05, ear, 0.05)
    return -_soft_max(-_soft_max(forehead, temple), _soft_max(-nape, -ear))


def volume(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, " P"]:
    """Height of the shell above the scalp in metres: cropped sides, a full top, highest over the forehead."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    top = smoothstep(y, 0.030, 0.085)
    front = smoothstep(z, -0.075, -0.005) * top
    parting = np.exp(-(((x - PARTING_M) / 0.007) ** 2)) * smoothstep(z, -0.11, -0.08) * top
    height = 0.0035 + 0.0095 * top + 0.0075 * front * smoothstep(x, 0.045, 0.0)
    result: np.ndarray = height * (1.0 - 0.55 * parting)
    return result


def flow(points: Float64[np.ndarray, "P 3"], normals: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
    """Unit tangents along which hair lies, from root to tip."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    front = smoothstep(z, -0.050, -0.015)
    top = smoothstep(y - 0.088 + 0.035 * front, -0.043, 0.0)[:, None] * smoothstep(z, -0.135, -0.105)[:, None]
    across = np.tanh((PARTING_M - x) / 0.006)
    swept = np.column_stack([-0.95 * across, np.zeros_like(x), 0.28 - 0.40 * smoothstep(z, -0.035, 0.0)])
    side = np.column_stack([0.12 * np.sign(x), -np.ones_like(x), -0.35 + 0.3 * smoothstep(-z, 0.09, 0.13)])
    whorl = points - CROWN_M
    whorl = whorl / (np.linalg.norm(whorl, axis=1, keepdims=True) + 1e-6)
    back = smoothstep(-z, 0.09, 0.125)[:, None] * smoothstep(y, 0.02, 0.06)[:, None]
    direction = top * swept + (1.0 - top) * side
    direction = (1.0 - back) * direction + back * whorl
    direction -= (direction * normals).sum(axis=1, keepdims=True) * normals
    result: np.ndarray = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9)
    return result


def hair_shell(surface: Part) -> Part:
    """The scalp above the hairline, lifted along its normals; it keeps the scalp's uv, where hair is painted."""
    shell = scalp(surface, inset_m=0.002)
    inside = np.clip(hairline_field(shell.points) - 0.002, 0.0, None)
    lift = volume(shell.points) * smoothstep(inside, -0.002, 0.014)
    points = shell.points + lift[:, None] * shell.normals()
    return Part(points, shell.binding, shell.weld, shell.uv, shell.triangles, np.full(len(shell.triangles), HAIR))


def scalp(surface: Part, inset_m: float = 0.0) -> Part:
    """The part of the surface at least `inset_m` inside the hairline."""
    field = np.where(
        on_scalp(surface), hairline_field(surface.points), np.minimum(hairline_field(surface.points), -0.001)
    )
    return surface.cut(field - inset_m)


def on_scalp(surface: Part) -> Bool[np.ndarray, " P"]:
    """Points inside the hairline that belong to the scalp, not to the ears, the eye sockets or the mouth's lining."""
    triangles = surface.point_triangles()
    inside = hairline_field(surface.points) > 0.0
    a, b = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    joined = inside[a] & inside[b]
    links = csr_matrix((np.ones(joined.sum()), (a[joined], b[joined])), shape=(len(inside),) * 2)
    _, label = connected_components(links, directed=False)
    result: np.ndarray = inside & (label == np.bincount(label[inside]).argmax())
    return result


def _soft_max(a: np.ndarray, b: np.ndarray, width: float = 0.008) -> np.ndarray:
    """The larger of two fields with the corner between them rounded over `width` metres."""
    overlap = np.clip(width - np.abs(a - b), 0.0, None) / width
    result: np.ndarray = np.maximum(a, b) + overlap**2 * width * 0.25
    return result
