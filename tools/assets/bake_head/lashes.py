"""Eyelashes: thin opaque spikes along the lid margins and a dark line at their roots, carried by the lids.

>>> lashes = lash_part(body, seed=7)
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.interpolate import BSpline, make_interp_spline
from scipy.spatial import cKDTree

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.body import Body
from tools.assets.bake_head.part import HAIR, Part

UPPER_ROOTS = (14763, 14762, 14761, 14760, 14743, 14742, 14744, 14745, 14746, 14747, 14748)
LOWER_ROOTS = (14765, 14759, 14758, 14757, 14756, 14755, 14754, 14753, 14752, 14751)
"""Body vertices of the left eye's lid margins, from the nose outwards."""

SWING = 0.7
"""How much of MakeHuman's turning of the lash cards the spikes take over."""

UPPER_COUNT, LOWER_COUNT = 28, 11


def margins(body: Body) -> list[tuple[np.ndarray, bool, int]]:
    """Vertex numbers along each lid margin, whether it is the upper lid, and the eye (0 left, 1 right)."""
    found = []
    tree = cKDTree(body.source.vertices)
    for roots, upper in ((UPPER_ROOTS, True), (LOWER_ROOTS, False)):
        left = np.array(roots)
        right = tree.query(body.source.vertices[left] * np.array([-1.0, 1.0, 1.0]))[1]
        found += [(left, upper, 0), (right, upper, 1)]
    return found


def lash_part(body: Body, seed: int) -> Part:
    """Spikes of both lids of both eyes; each lid's line is a strip under its spikes."""
    rng = np.random.default_rng(seed)
    points: list[np.ndarray] = []
    triangles: list[tuple[int, int, int]] = []
    rows: list[sparse.csr_matrix] = []
    for members, upper, eye in margins(body):
        curve = make_interp_spline(np.linspace(0.0, 1.0, len(members)), body.vertices[members], k=3)
        count = UPPER_COUNT if upper else LOWER_COUNT
        for share in np.linspace(0.04, 0.985, count) + rng.uniform(-0.008, 0.008, count):
            spike = _spike(curve, share, body.eye_centres[eye], upper, 1.0 if eye == 0 else -1.0, rng)
            first = len(points)
            points += list(spike)
            triangles += [
                (first, first + 1, first + 2),
                (first + 1, first + 3, first + 2),
                (first + 2, first + 3, first + 4),
            ]
            root = _on_curve(body, members, share)
            swing = _swing(body, members, share, upper, eye) if upper else 0.0 * root
            rows.append(sparse.vstack([root, root, root + 0.5 * swing, root + 0.5 * swing, root + swing]))
        if upper:
            shares = np.linspace(0.0, 1.0, 15)
            first = len(points)
            for share in shares:
                points += list(_line(curve, share, body.eye_centres[eye]))
                rows.append(sparse.vstack([_on_curve(body, members, share)] * 2))
            for i in range(len(shares) - 1):
                a = first + 2 * i
                triangles += [(a, a + 1, a + 2), (a + 1, a + 3, a + 2)]
    count = len(points)
    uv = place(np.full((count, 2), 0.5), "lash")
    faces = np.array(triangles)
    return Part(np.array(points), sparse.vstack(rows).tocsr(), np.arange(count), uv, faces, np.full(len(faces), HAIR))


def lid_line(body: Body, members: np.ndarray) -> np.ndarray:
    """Points close together along a lid margin, (60, 3)."""
    curve = make_interp_spline(np.linspace(0.0, 1.0, len(members)), body.vertices[members], k=3)
    result: np.ndarray = curve(np.linspace(0.0, 1.0, 60))
    return result


def _spike(
    curve: BSpline, share: float, centre: np.ndarray, upper: bool, outwards: float, rng: np.random.Generator
) -> np.ndarray:
    root = curve(share)
    tangent = curve.derivative()(share)
    tangent /= np.linalg.norm(tangent)
    away = (root - centre) / np.linalg.norm(root - centre)
    length = (0.0042 + 0.0024 * share) if upper else (0.0022 + 0.0010 * share)
    length *= rng.uniform(0.8, 1.1) * min(1.0, 0.45 + 3.0 * share)
    splay = np.array([outwards * (-0.25 + 0.85 * share + rng.normal(0.0, 0.10)), 0.0, 0.0])
    lift = np.array([0.0, 0.55 if upper else -0.75, 0.0])
    middle = root + length * 0.55 * _unit(away + 0.4 * lift + 0.7 * splay)
    tip = middle + length * 0.55 * _unit(0.9 * away + (1.25 if upper else 1.2) * lift + 1.2 * splay)
    half = tangent * (0.00045 if upper else 0.00018)
    start = root + 0.0006 * away
    return np.array([start - half, start + half, middle - 0.7 * half, middle + 0.7 * half, tip])


def _line(curve: BSpline, share: float, centre: np.ndarray) -> np.ndarray:
    root = curve(share)
    away = (root - centre) / np.linalg.norm(root - centre)
    return np.array([root + 0.0004 * away, root + 0.0026 * away + np.array([0.0, 0.0003, 0.0])])


def _on_curve(body: Body, members: np.ndarray, share: float) -> sparse.csr_matrix:
    place_on = np.clip(share, 0.0, 1.0) * (len(members) - 1)
    low = min(int(place_on), len(members) - 2)
    row = np.zeros((1, len(body.vertices)))
    row[0, members[low]], row[0, members[low + 1]] = 1.0 - (place_on - low), place_on - low
    return sparse.csr_matrix(row)


def _swing(body: Body, members: np.ndarray, share: float, upper: bool, eye: int) -> sparse.csr_matrix:
    """What the tip of MakeHuman's lash card does beyond its root: lashes point down on a closed lid."""
    group = f"helper-{'lr'[eye]}-eyelashes-{2 if upper else 1}"
    card = body.source.group_vertices(group)
    root = body.vertices[members[round(share * (len(members) - 1))]]
    reach = body.vertices[card, 2] + body.vertices[card, 1] - 3.0 * np.abs(body.vertices[card, 0] - root[0])
    tip = sparse.csr_matrix(([1.0], ([0], [card[reach.argmax()]])), shape=(1, len(body.vertices)))
    return SWING * (tip - _on_curve(body, members, share))


def _unit(vector: np.ndarray) -> np.ndarray:
    result: np.ndarray = vector / np.linalg.norm(vector)
    return result
