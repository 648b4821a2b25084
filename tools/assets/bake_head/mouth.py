"""Teeth, gums and tongue.

>>> upper, lower, tongue = teeth_part(body, UPPER), teeth_part(body, LOWER), tongue_part(body)

Each jaw is one sheet swept along a superelliptic arch, from the gum over the biting edge to the back, with every tooth
rounded and the gaps between teeth recessed. The upper sheet stays with the skull; the lower follows the jaw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.body import Body
from tools.assets.bake_head.part import TEETH, TONGUE, Part, smoothstep

SAMPLES = 3
"""Columns a tooth."""

FLATNESS = 0.82
"""Exponent of the superellipse the arch follows; 1 is an ellipse, less is flatter in front."""

TONGUE_WIDTH = 0.80
"""Share of MakeHuman's tongue kept sideways, so that it lies within the lower teeth."""

TONGUE_TIP_M = 0.020
"""Length of the tongue's rounded tip."""

GUM_SHARE = 0.42
"""Share of the tile's rows, from its top, that shows gum."""


class Jaw(NamedTuple):
    """An arch of teeth in metres: widths from the middle outwards, half axes, front, gum line and biting edge."""

    helper: str
    widths_m: tuple[float, ...]
    half_width_m: float
    depth_m: float
    front_m: float
    gum_m: float
    edge_m: float


UPPER = Jaw(
    "helper-upper-teeth", (0.0086, 0.0068, 0.0076, 0.0070, 0.0068, 0.0098), 0.0243, 0.042, 0.0192, -0.0598, -0.0712
)
LOWER = Jaw(
    "helper-lower-teeth", (0.0056, 0.0060, 0.0068, 0.0070, 0.0070, 0.0104), 0.0220, 0.040, 0.0160, -0.0772, -0.0686
)
EDGE_DROP = np.array([0.0, -0.09, 0.02, -0.10, -0.12, -0.16])
"""How much longer (shorter when negative) each tooth is than the first, as a share of its height."""


def teeth_part(body: Body, jaw: Jaw) -> Part:
    """One jaw's teeth and gum."""
    count = len(jaw.widths_m)
    inner = np.arange(count * SAMPLES + 1)
    tooth = np.minimum(inner // SAMPLES, count - 1)
    share = inner / SAMPLES - tooth
    starts = np.r_[0.0, np.cumsum(jaw.widths_m)]
    arc = starts[tooth] + share * np.array(jaw.widths_m)[tooth]
    side = np.r_[-np.ones(len(arc) - 1), np.ones(len(arc))]
    arc, tooth, share = (np.r_[values[:0:-1], values] for values in (arc, tooth, share))
    angle = _angle_at(jaw, arc)
    roundness = np.sin(np.pi * share)
    height = jaw.edge_m - jaw.gum_m
    length = height * (1.0 + EDGE_DROP[tooth]) * (0.93 + 0.07 * roundness)
    scallop = height * -0.06 * roundness
    rows = []
    for down, out in ((-0.85, -0.0020), (-0.30, 0.0006), (0.0, 0.0), (0.5, 0.0007), (0.93, -0.0002), (1.0, -0.0009),
                      (0.8, -0.0034), (0.0, -0.0050)):  # fmt: skip
        bulge = out + (0.0007 * (roundness - 1.0) if down > 0.0 else 0.0)
        x = side * (jaw.half_width_m + bulge) * np.sin(angle) ** FLATNESS
        z = jaw.front_m - jaw.depth_m + (jaw.depth_m + bulge) * np.cos(angle) ** FLATNESS
        y = jaw.gum_m + np.where(down > 0.0, down * length, down * height) + (scallop if down == 0.0 else 0.0)
        rows.append(np.column_stack([x, y, z]))
    points = np.concatenate(rows)
    across = 0.5 + side * (tooth + share) / (2 * count)
    down_rows = np.array([0.05, 0.28, GUM_SHARE, 0.68, 0.9, 0.94, 0.98, 1.0])
    uv = np.column_stack([np.tile(across, len(rows)), np.repeat(down_rows, len(across))])
    triangles = _sheet(len(rows), len(across), flip=height > 0.0)
    return Part(
        points, _nearest(body, jaw.helper, points), np.arange(len(points)), place(uv, "teeth"), triangles,
        np.full(len(triangles), TEETH),
    )  # fmt: skip


def tongue_part(body: Body) -> Part:
    """The tongue; `jawOpen` and `tongueOut` move it."""
    source = body.source
    picked = source.groups == "helper-tongue"
    triangles = source.triangles[picked]
    members, faces = np.unique(triangles, return_inverse=True)
    points = body.vertices[members] * np.array([TONGUE_WIDTH, 1.0, 1.0])
    points = _rounded(points)
    low, high = points.min(axis=0), points.max(axis=0)
    local = (points - low) / (high - low)
    binding = sparse.identity(len(body.vertices), format="csr")[members]
    uv = place(np.column_stack([local[:, 0], 1.0 - local[:, 2]]), "tongue")
    return Part(points, binding, np.arange(len(points)), uv, faces.reshape(-1, 3), np.full(len(triangles), TONGUE))


def _rounded(points: np.ndarray) -> np.ndarray:
    """The tongue's tip drawn back at its sides, its back raised in the middle, with a groove along it."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = points[:, 0] / high[0]
    front = smoothstep(points[:, 2], high[2] - TONGUE_TIP_M, high[2])
    above = smoothstep(points[:, 1], 0.6 * low[1] + 0.4 * high[1], high[1])
    rounded: np.ndarray = points.copy()
    rounded[:, 2] -= 0.017 * front * side**2
    rounded[:, 1] += above * (0.0022 * np.cos(0.5 * np.pi * side) - 0.0011 * np.exp(-((side / 0.10) ** 2)))
    return rounded


def depth_openness(points: np.ndarray) -> np.ndarray:
    """Ambient light that reaches places in the mouth when it opens, falling with depth behind the lips."""
    result: np.ndarray = np.interp(points[:, 2], [-0.06, -0.02, 0.005, 0.018, 0.026], [0.03, 0.10, 0.40, 0.85, 0.95])
    return result


def _angle_at(jaw: Jaw, arc: np.ndarray) -> np.ndarray:
    angle = np.linspace(0.0, 1.5, 4000)
    x, z = jaw.half_width_m * np.sin(angle) ** FLATNESS, jaw.depth_m * np.cos(angle) ** FLATNESS
    length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    return np.interp(arc, length, angle)


def _sheet(rows: int, columns: int, flip: bool) -> np.ndarray:
    triangles = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            a = row * columns + column
            b, c, d = a + 1, a + columns, a + columns + 1
            triangles += [(a, b, c), (b, d, c)] if flip else [(a, c, b), (b, c, d)]
    return np.array(triangles)


def _nearest(body: Body, helper: str, points: np.ndarray) -> sparse.csr_matrix:
    members = body.source.group_vertices(helper)
    _, near = cKDTree(body.vertices[members]).query(points, k=4)
    rows = np.repeat(np.arange(len(points)), 4)
    data = np.full(near.size, 0.25)
    return sparse.csr_matrix((data, (rows, members[near].ravel())), shape=(len(points), len(body.vertices)))
