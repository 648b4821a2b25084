"""What anny's face needs to look awake at rest, close its lids and lips, and read from afar.

>>> correct(body)  # changes body.vertices and body.shapes in place
"""

from __future__ import annotations

import numpy as np

from avi_lib.face.bake.body import Body
from avi_lib.motion.space import ARKIT_BLENDSHAPES

REST = {"eyeWide": 0.62, "mouthSmile": 0.06}
"""Shapes that become part of the face at rest: higher lids, the trace of a smile."""

GAINS = {
    "browDown": 1.45, "browInnerUp": 1.7, "browOuterUp": 1.15, "eyeSquint": 1.5, "eyeWide": 0.95, "noseSneer": 1.5,
    "mouthFrown": 1.35, "mouthLowerDown": 1.5, "mouthUpperUp": 1.3, "mouthPress": 1.2, "tongueOut": 1.35,
}  # fmt: skip
"""Shapes that are too faint at 512 x 512 pixels and by how much they grow."""

SEAL = 0.024
"""Share of jawOpen that lifts the lower lip at rest, so that no slit shows between the lips."""

TONGUE_DROP_M = np.array([0.0, -0.006, -0.004])
"""How much further the tongue sinks than the jaw when it opens, so that it lies behind the lower teeth."""


def correct(body: Body) -> None:
    """Change the rest face and the shapes of `body`."""
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
    tongue = body.source.group_vertices("helper-tongue")
    body.shapes[ARKIT_BLENDSHAPES.index("jawOpen"), tongue] += TONGUE_DROP_M


def _rows(stem: str) -> list[int]:
    return [row for row, shape in enumerate(ARKIT_BLENDSHAPES) if shape in (stem, f"{stem}Left", f"{stem}Right")]
