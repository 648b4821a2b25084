"""Locks of hair: tapered ribbons that follow the hair's flow over the shell and break up its outline and light.

>>> locks = lock_part(surface, seed=7)
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.hair import flow, hairline_field, scalp, volume
from tools.assets.bake_head.part import HAIR, Part, smoothstep

SEGMENTS = 5
ROOT_M = 0.0030
"""How deep a lock's root lies in the shell, so that its end is not seen."""
VARIANTS = 5
"""Painted strands side by side in the hair tile; each lock shows one."""

SPACING_M = 0.0118


def lock_part(surface: Part, seed: int) -> Part:
    """Ribbons of SEGMENTS pieces ending in a point, rooted about SPACING_M apart."""
    rng = np.random.default_rng(seed)
    samples, normals = _scatter(scalp(surface), 30000, rng)
    tree = cKDTree(samples)
    roots = _spread(samples, rng)
    count = len(roots)
    position, normal = samples[roots], normals[roots]
    length = _length(position) * rng.uniform(0.85, 1.2, count)
    width = (
        0.0080 + 0.0045 * smoothstep(position[:, 1], 0.04, 0.09) + 0.0035 * smoothstep(position[:, 2], -0.08, -0.13)
    ) * rng.uniform(0.8, 1.2, count)
    stray = rng.normal(0.0, 0.13, count)
    rise = rng.uniform(0.0005, 0.0030, count) * (0.4 + smoothstep(position[:, 1], 0.03, 0.08))
    variant = rng.integers(0, VARIANTS, count)
    edge = smoothstep(hairline_field(position), -0.002, 0.014)
    nearest_point = cKDTree(surface.points)
    rows, places, carriers = [], [], []
    for step in range(SEGMENTS + 1):
        share = step / SEGMENTS
        direction = flow(position, normal)
        direction += stray[:, None] * np.cross(normal, direction)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        across = np.cross(normal, direction)
        height = volume(position) * edge + rise * np.sin(np.pi * min(share * 1.2, 1.0)) - 0.0022 * share**2
        height = np.maximum(height + 0.0010 - ROOT_M * (1.0 - share) ** 4, 0.0012 * share)
        half = 0.5 * width * (1.0 - share**2.4) ** 0.6 * (0.45 + 0.55 * np.sin(np.pi * share))
        carrier = nearest_point.query(position)[1]
        for side in (-1.0, 1.0) if step < SEGMENTS else (0.0,):
            rows.append(position + height[:, None] * normal + side * half[:, None] * across)
            places.append(np.column_stack([(variant + 0.5 + 0.47 * side) / VARIANTS, np.full(count, share)]))
            carriers.append(carrier)
        position = position + direction * (length / SEGMENTS)[:, None]
        near = tree.query(position)[1]
        normal = normals[near]
        position = position - ((position - samples[near]) * normal).sum(axis=1, keepdims=True) * normal
        edge = np.maximum(edge, smoothstep(hairline_field(position), -0.002, 0.014))
    return _ribbons(surface, rows, places, carriers)


def _ribbons(surface: Part, rows: list[np.ndarray], places: list[np.ndarray], carriers: list[np.ndarray]) -> Part:
    count, corners = len(rows[0]), len(rows)
    points = np.stack(rows, axis=1).reshape(-1, 3)
    uv = place(np.stack(places, axis=1).reshape(-1, 2), "hair")
    strip = []
    for a in range(0, 2 * SEGMENTS, 2):
        tip = a == 2 * (SEGMENTS - 1)
        strip += [(a, corners - 1, a + 1)] if tip else [(a, a + 2, a + 1), (a + 1, a + 2, a + 3)]
    triangles = (np.arange(count)[:, None, None] * corners + np.array(strip)).reshape(-1, 3)
    carrier = np.stack(carriers, axis=1).ravel()
    binding = sparse.csr_matrix(surface.binding[carrier])
    return Part(points, binding, np.arange(len(points)), uv, triangles, np.full(len(triangles), HAIR))


def _length(points: np.ndarray) -> np.ndarray:
    top = smoothstep(points[:, 1], 0.03, 0.08)
    result: np.ndarray = 0.027 + 0.025 * top + 0.010 * smoothstep(-points[:, 2], 0.10, 0.14) * (1.0 - top)
    return result


def _scatter(part: Part, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points spread evenly over a surface, with smooth normals."""
    triangles, normals = part.point_triangles(), part.normals()
    a, b, c = (part.points[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), size=count, p=area / area.sum())
    u, v = np.sqrt(rng.uniform(size=count)), rng.uniform(size=count)
    shares = np.column_stack([1.0 - u, u * (1.0 - v), u * v])
    points = np.einsum("nc,ncd->nd", shares, part.points[triangles[chosen]])
    smooth = np.einsum("nc,ncd->nd", shares, normals[triangles[chosen]])
    return points, smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def _spread(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of samples that keep apart (dart throwing), closer over the forehead, wider behind."""
    tree = cKDTree(samples)
    forehead = smoothstep(samples[:, 2], -0.050, -0.005) * smoothstep(samples[:, 1], 0.045, 0.070)
    behind = smoothstep(samples[:, 2], -0.08, -0.13)
    spacing = SPACING_M * (1.10 - 0.45 * forehead + 0.30 * behind)
    free = np.ones(len(samples), bool)
    chosen = []
    for index in rng.permutation(len(samples)):
        if free[index]:
            chosen.append(index)
            free[tree.query_ball_point(samples[index], spacing[index])] = False
    return np.array(chosen)
