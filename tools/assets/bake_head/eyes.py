"""Eyeballs: spheres with a slight corneal bulge, turned rigidly by `Head.deform`.

>>> eyeballs(body)  # a Part: the left eye's points, then the right eye's
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.body import Body
from tools.assets.bake_head.part import EYE, Part

RINGS, SECTORS = 13, 22
SHOWN_DEG = 110.0
"""How far from the pupil the ball is modelled; the rest stays behind the lids."""

CORNEA_DEG, CORNEA_M = 24.0, 0.0007
IRIS_DEG = 23.5
"""Half the angle that the iris takes on the ball."""


def eyeballs(body: Body) -> Part:
    """Both eyeballs, looking straight ahead (+z)."""
    polar = np.radians(np.concatenate([np.linspace(0.0, 30.0, 8)[1:], np.linspace(30.0, SHOWN_DEG, RINGS - 7)[1:]]))
    azimuth = np.arange(SECTORS) * 2.0 * np.pi / SECTORS
    theta, phi = (grid.ravel() for grid in np.meshgrid(polar, azimuth, indexing="ij"))
    theta, phi = np.r_[0.0, theta], np.r_[0.0, phi]
    bulge = CORNEA_M * np.clip(1.0 - (np.degrees(theta) / CORNEA_DEG) ** 2, 0.0, 1.0)
    ball = np.column_stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    ball *= (body.eye_radius_m + bulge)[:, None]
    disc = theta / np.radians(SHOWN_DEG) * 0.5
    uv = place(np.column_stack([0.5 + disc * np.cos(phi), 0.5 - disc * np.sin(phi)]), "eye")
    triangles = [(0, 1 + s, 1 + (s + 1) % SECTORS) for s in range(SECTORS)]
    for ring in range(len(polar) - 1):
        for s in range(SECTORS):
            a, b = 1 + ring * SECTORS + s, 1 + ring * SECTORS + (s + 1) % SECTORS
            triangles += [(a, a + SECTORS, b), (b, a + SECTORS, b + SECTORS)]
    count = len(ball)
    faces = np.concatenate([np.array(triangles), np.array(triangles) + count])
    points = np.concatenate([ball + centre for centre in body.eye_centres])
    rows = []
    for side in "lr":
        helper = body.source.group_vertices(f"helper-{side}-eye")
        row = np.zeros(len(body.vertices))
        row[helper] = 1.0 / len(helper)
        rows.append(np.repeat(row[None], count, axis=0))
    binding = sparse.csr_matrix(np.concatenate(rows))
    return Part(points, binding, np.arange(2 * count), np.tile(uv, (2, 1)), faces, np.full(len(faces), EYE))
