"""Eyebrows: single hairs painted on the skin along the brow ridge, so the brow shapes carry them.

>>> cover = brow_cover(points, seed=7)  # 0-1 at places on the skin
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tools.assets.bake_head.part import smoothstep

ACROSS_M = np.array([0.0105, 0.018, 0.028, 0.038, 0.046, 0.0535])
HEIGHT_M = np.array([0.0136, 0.0154, 0.0176, 0.0187, 0.0172, 0.0138])
THICKNESS_M = np.array([0.0050, 0.0062, 0.0058, 0.0046, 0.0030, 0.0010])
"""Middle line and thickness of the left brow seen from the front; the right one mirrors it."""

HAIRS, HAIR_WIDTH_M = 420, 0.00042


def brow_cover(points: Float64[np.ndarray, "N 3"], seed: int) -> Float64[np.ndarray, " N"]:
    """How much brow hair covers each place, both sides; places behind the face get none."""
    rng = np.random.default_rng(seed)
    along = np.sort(rng.uniform(0.0, 1.0, HAIRS)) ** 0.9
    x = ACROSS_M[0] + along * (ACROSS_M[-1] - ACROSS_M[0])
    slope = (np.interp(x + 0.002, ACROSS_M, HEIGHT_M) - np.interp(x - 0.002, ACROSS_M, HEIGHT_M)) / 0.004
    thickness = np.interp(x, ACROSS_M, THICKNESS_M)
    offset = rng.uniform(-0.55, 0.35, HAIRS)
    start = np.column_stack([x, np.interp(x, ACROSS_M, HEIGHT_M) + offset * thickness])
    lean = np.interp(along, [0.0, 0.12, 0.4, 1.0], [0.95, 0.80, 0.50, 0.22]) - 0.9 * (offset + 0.1)
    angle = np.arctan(slope) + lean + rng.normal(0.0, 0.10, HAIRS)
    length = np.interp(along, [0.0, 0.3, 1.0], [0.0045, 0.0070, 0.0050]) * rng.uniform(0.8, 1.2, HAIRS)
    end = start + length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    strength = rng.uniform(0.65, 1.0, HAIRS) * (0.35 + 0.65 * smoothstep(along, 0.0, 0.16))
    cover = np.zeros(len(points))
    mirrored = np.column_stack([np.abs(points[:, 0]), points[:, 1]])
    near = np.flatnonzero(
        (mirrored[:, 0] > 0.005)
        & (mirrored[:, 0] < 0.062)
        & (np.abs(mirrored[:, 1] - 0.020) < 0.016)
        & (points[:, 2] > -0.02)
    )
    open_share = np.ones(len(near))
    for a, b, weight in zip(start, end, strength, strict=True):
        stroke = b - a
        share = np.clip((mirrored[near] - a) @ stroke / (stroke @ stroke), 0.0, 1.0)
        distance = np.linalg.norm(mirrored[near] - a - share[:, None] * stroke, axis=1)
        open_share *= 1.0 - 0.75 * weight * np.exp(-((distance / HAIR_WIDTH_M) ** 2)) * (1.0 - 0.6 * share)
    middle = np.interp(mirrored[near, 0], ACROSS_M, HEIGHT_M)
    thick = np.interp(mirrored[near, 0], ACROSS_M, THICKNESS_M, left=0.001, right=0.001)
    shade = np.exp(-(((mirrored[near, 1] - middle) / (0.62 * thick)) ** 2))
    shade *= smoothstep(mirrored[near, 0], 0.009, 0.018) * smoothstep(mirrored[near, 0], 0.056, 0.050)
    cover[near] = 1.0 - open_share * (1.0 - 0.45 * shade)
    return cover
