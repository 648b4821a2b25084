"""The t-shirt: a shell over the body below the neckline, and the ribbed collar along it.

>>> shirt, collar = shirt_part(surface), collar_part(surface)
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.part import CLOTH, Part
from tools.assets.bake_head.skin import BUST_EDGE_M, neckline_field

THICKNESS_M = 0.006
COLLAR_M = 0.016
CARRIERS = 24
"""Body points that carry a point of the collar together, so that it stays round on other bodies."""

SECTORS, NECK_DEPTH_M = 60, -0.100


def shirt_part(surface: Part) -> Part:
    """The shirt over the body surface, ending under the collar and on the bust's edge."""
    shirt = surface.cut(-neckline_field(surface.points) - 0.003)
    points = shirt.points + THICKNESS_M * shirt.normals()
    points[:, 1] = np.maximum(points[:, 1], BUST_EDGE_M)
    points[shirt.points[:, 1] < BUST_EDGE_M + 1e-6, 1] = BUST_EDGE_M
    local = np.column_stack([0.5 + shirt.points[:, 0] / 0.72, (-0.10 - shirt.points[:, 1]) / 0.26])
    uv = place(local, "cloth")
    return Part(
        points, shirt.binding, np.arange(len(points)), uv, shirt.point_triangles(), np.full(len(shirt.triangles), CLOTH)
    )


def collar_part(surface: Part) -> Part:
    """A rounded band from the skin over the neckline to the shirt."""
    normals = surface.normals()
    tree = cKDTree(surface.points)
    ring = _neckline(surface)
    rows = []
    for share, out in ((0.0, -0.0025), (0.03, 0.0056), (0.22, 0.0084), (0.6, 0.0094), (0.92, 0.0082), (1.0, 0.0045)):
        foot = _slide(ring, surface.points, normals, tree, share * COLLAR_M)
        rows.append(foot + out * _smooth(normals[tree.query(foot)[1]]))
    points = np.concatenate(rows)
    columns = np.tile(np.arange(SECTORS + 1) % 2, len(rows))
    uv = place(np.column_stack([columns, np.repeat([0.0, 0.05, 0.3, 0.6, 0.9, 1.0], SECTORS + 1)]), "collar")
    weld = np.arange(len(points)).reshape(len(rows), SECTORS + 1)
    triangles = []
    for row in range(len(rows) - 1):
        for sector in range(SECTORS):
            a, b = weld[row, sector], weld[row, sector + 1]
            c, d = weld[row + 1, sector], weld[row + 1, sector + 1]
            triangles += [(a, c, b), (b, c, d)]
    weld[:, -1] = weld[:, 0]
    near = tree.query(points, k=CARRIERS)[1]
    carried = np.repeat(np.arange(len(points)), CARRIERS)
    carriers = sparse.csr_matrix((np.full(near.size, 1.0 / CARRIERS), (carried, near.ravel())))
    carriers.resize(len(points), len(surface.points))
    part = Part(
        points, sparse.csr_matrix(carriers @ surface.binding), weld.ravel(), uv, np.array(triangles),
        np.full(len(triangles), CLOTH),
    )  # fmt: skip
    return part.compact()


def _neckline(surface: Part) -> np.ndarray:
    """The body's section with the neckline's plane at even angles about the neck, (SECTORS + 1, 3), closed."""
    side = surface.cut(neckline_field(surface.points))
    loops = side.boundary_loops()
    on_plane = [loop for loop in loops if np.abs(neckline_field(side.points[loop])).max() < 1e-4]
    ring = side.points[max(on_plane, key=len)]
    angle = np.arctan2(ring[:, 0], ring[:, 2] - NECK_DEPTH_M)
    even = np.linspace(-np.pi, np.pi, SECTORS + 1)
    order = np.argsort(angle)
    return np.column_stack([np.interp(even, angle[order], ring[order, axis], period=2.0 * np.pi) for axis in range(3)])


def _slide(ring: np.ndarray, surface: np.ndarray, normals: np.ndarray, tree: cKDTree, distance: float) -> np.ndarray:
    """The ring moved over the surface away from the neck by a distance in metres."""
    away = ring - np.array([0.0, ring[:, 1].max() + 0.04, NECK_DEPTH_M])
    steps = 4
    for _ in range(steps):
        near = tree.query(ring)[1]
        normal = _smooth(normals[near])
        along = away - (away * normal).sum(axis=1, keepdims=True) * normal
        ring = ring + along / np.linalg.norm(along, axis=1, keepdims=True) * (distance / steps)
        near = tree.query(ring, k=4)[1]
        offset = ((ring[:, None] - surface[near]) * normals[near]).sum(axis=2).mean(axis=1)
        ring = ring - _smooth(offset[:, None]) * normal
    return _smooth(ring)


def _smooth(ring: np.ndarray) -> np.ndarray:
    """Average of neighbours around the closed ring, whose last entry repeats the first."""
    open_ring = ring[:-1]
    soft = np.zeros_like(open_ring)
    for shift, share in ((-2, 0.1), (-1, 0.2), (0, 0.4), (1, 0.2), (2, 0.1)):
        soft += share * np.roll(open_ring, shift, axis=0)
    return np.concatenate([soft, soft[:1]])
