"""A linear map between ARKit blendshapes and FLAME coefficients, fitted to a FLAME model of a person's own.

>>> fitted = fit_flame_map(model, load_head())
>>> flame = fitted.to_flame(arkit)              # MotionClip in the FLAME space
>>> arkit, error = fitted.to_arkit(flame)       # weights in 0-1, and how far the mesh is off
>>> fitted.describe()

Each of the open head's blendshapes is carried to the FLAME face (`flame_registration`) and rebuilt there, by ridge
least squares over the vertices, from 50 expression coefficients and the jaw's rotation, linear about rest. Weights add
linearly, and so does what becomes of them.

The head's pitch, yaw and roll become the global rotation, about the joint at the foot of the neck: the FLAME space has
no other channel for it. It has none for the eyeballs either. The eyeLook weights keep what they do to the lids; a
`FlameHead` turns the eyeballs besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.flame import EXPRESSIONS, FlameModel
from avi_lib.face.flame_registration import Registration, register
from avi_lib.face.head import Head, rotations
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES, FLAME

MM = 1000.0
JAW_UNIT_RAD = 0.1
"""Turn of the jaw that counts as much as an expression coefficient of 1."""
RIDGE_MM2 = 1e-3
"""What a squared coefficient costs, against the mean squared error of the vertices."""
FAINT_MM2 = 1e-4
"""The same for a squared ARKit weight on the way back; what moves nothing stays at rest."""

_PROBE_RAD = 0.1
_SHAPES = len(ARKIT_BLENDSHAPES)
_FACE = EXPRESSIONS + 3
_DESCENT_STEPS = 400


@dataclass(frozen=True)
class ReturnError:
    """How far ARKit weights are from the FLAME motion they stand for.

    `rms_mm` is the root mean square distance of the face's vertices over all frames; `relative` is that over the root
    mean square of how far they move from rest, 1 where nothing is captured and 0 where nothing moves.
    """

    rms_mm: float
    relative: float


@dataclass(frozen=True, eq=False)
class FlameMap:
    """What every ARKit blendshape is in FLAME coefficients.

    `coefficients` (52, 53): 50 of expression, then the jaw's axis-angle in radians; `residual` (52,) is the error of
    each over its size, root mean squares over the vertices: 0 is all of it, 1 nothing. `factor` (53, 53) turns
    coefficients into numbers whose square sums to the mean squared displacement in mm^2.
    """

    coefficients: Float32[np.ndarray, "52 53"]
    residual: Float64[np.ndarray, " 52"]
    factor: Float64[np.ndarray, "53 53"]
    registration: Registration

    def to_flame(self, clip: MotionClip) -> MotionClip:
        """FLAME motion of ARKit motion, frame by frame; InputError for another space."""
        if clip.space is not ARKIT:
            raise InputError("motion in the ARKIT space", f"the space {clip.space.name}", "pass ARKit motion")
        face = clip.values[:, :_SHAPES] @ self.coefficients
        turned = Rotation.from_matrix(rotations(*clip.values[:, _SHAPES:].T)).as_rotvec()
        return MotionClip(np.concatenate([face, turned], axis=1).astype(np.float32), clip.fps, FLAME)

    def to_arkit(self, clip: MotionClip) -> tuple[MotionClip, ReturnError]:
        """ARKit weights in 0-1 whose face is nearest to FLAME motion, frame by frame, and how near that is.

        The gaze stays at rest, since FLAME motion does not tell it. Raises InputError for another space.
        """
        if clip.space is not FLAME:
            raise InputError("motion in the FLAME space", f"the space {clip.space.name}", "pass FLAME motion")
        values = np.zeros((len(clip), len(ARKIT)), np.float32)
        wanted = clip.values[:, :_FACE].astype(np.float64) @ self.factor
        told = np.setdiff1d(np.arange(_SHAPES), ARKIT.groups["gaze"])
        shapes = self.coefficients[told].astype(np.float64) @ self.factor
        weights = _bounded(shapes, wanted)
        values[:, told] = weights
        turned = Rotation.from_rotvec(clip.values[:, _FACE:]).as_euler("YXZ")
        values[:, _SHAPES:] = turned[:, [1, 0, 2]]
        off, moved = (float(np.sqrt(np.square(x).sum(axis=1).mean())) for x in (weights @ shapes - wanted, wanted))
        return MotionClip(values, clip.fps, ARKIT), ReturnError(off, off / moved if moved > 1e-9 else 0.0)

    def describe(self) -> str:
        """One line: the mean and the worst error of the blendshapes but the gaze's and the tongue's, and the lids'."""
        told = [i for i in range(_SHAPES) if i not in (*ARKIT.groups["gaze"], ARKIT.index("tongueOut"))]
        worst = max(told, key=lambda i: self.residual[i])
        blink = max(self.residual[ARKIT.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
        return (
            f"fitted from ARKit: {100 * self.residual[told].mean():.0f} % of a blendshape's movement is lost on average"
            f", {100 * self.residual[worst]:.0f} % of {ARKIT_BLENDSHAPES[worst]}, the worst,"
            f" and {100 * blink:.0f} % of a blink; the template lies {MM * self.registration.error_m:.1f} mm"
            f" from the open head"
        )


def fit_flame_map(model: FlameModel, head: Head) -> FlameMap:
    """Fit the map of a FLAME model; InputError when its face does not come to lie on the open head's."""
    found = register(model, head)
    wanted = MM * found.transfer(head.shapes).reshape(_SHAPES, -1).astype(np.float64)
    basis = _basis(model)[:, found.members].reshape(_FACE, -1)
    vertices = len(found.members)
    unit = np.array([1.0] * EXPRESSIONS + [JAW_UNIT_RAD] * 3)
    form = basis @ basis.T / vertices
    scaled = unit[:, None] * form * unit + RIDGE_MM2 * np.eye(_FACE)
    coefficients = np.linalg.solve(scaled, unit[:, None] * (basis @ wanted.T / vertices)).T * unit
    size = np.linalg.norm(wanted, axis=1)
    off = np.linalg.norm(coefficients @ basis - wanted, axis=1)
    return FlameMap(
        coefficients=coefficients.astype(np.float32),
        residual=np.where(size > 0.0, off / np.maximum(size, 1e-12), 1.0),
        factor=np.linalg.cholesky(form + 1e-12 * np.trace(form) * np.eye(_FACE)),
        registration=found,
    )


def _basis(model: FlameModel) -> Float64[np.ndarray, "53 V 3"]:
    """Displacements in millimetres of a coefficient of 1, and of the jaw's turn by a radian as it begins."""
    still = np.zeros((6, EXPRESSIONS), np.float32)
    turns = _PROBE_RAD * np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    there, back = np.split(model.vertices(still, jaw=turns).astype(np.float64), 2)
    expressions = model.expressions.reshape(EXPRESSIONS, -1, 3).astype(np.float64)
    return MM * np.concatenate([expressions, (there - back) / (2 * _PROBE_RAD)])


def _bounded(
    shapes: Float64[np.ndarray, "K F"], wanted: Float64[np.ndarray, "frames F"]
) -> Float64[np.ndarray, "frames K"]:
    """Weights in 0-1 of least |weights shapes - wanted|^2 for all frames at once.

    Accelerated projected gradient descent, FISTA of Beck and Teboulle 2009, with a fixed number of steps.
    """
    form = shapes @ shapes.T + FAINT_MM2 * np.eye(len(shapes))
    pull, rate = wanted @ shapes.T, 1.0 / np.linalg.eigvalsh(form)[-1]
    weights = ahead = np.zeros_like(pull)
    momentum = 1.0
    for _ in range(_DESCENT_STEPS):
        before, weights = weights, np.clip(ahead - rate * (ahead @ form - pull), 0.0, 1.0)
        faster = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum * momentum))
        ahead = weights + (momentum - 1.0) / faster * (weights - before)
        momentum = faster
    return weights
