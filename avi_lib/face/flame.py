"""The FLAME model at work: expression and joints to vertices by linear blend skinning with pose correctives.

>>> model = flame_model(load_flame_file(path), shape)    # shape: up to 300 coefficients of a person, or None
>>> vertices = model.vertices(expression, jaw=jaw_rad)   # (frames, 5023, 3) float32, metres

A frame's vertices are v = sum_j w_j (R_j u + t_j), u = template + expression directions + pose directions (R - I), as
in Li et al. 2017 and Loper et al. 2015 (SMPL), whose joints follow the shape and the expression. Rotations are
axis-angle in radians, each in the frame of its joint's parent; frames are independent, so motion can come in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.flame_file import SHAPE_DIRECTIONS, FlameFile

NECK, JAW, LEFT_EYE, RIGHT_EYE = 1, 2, 3, 4
EXPRESSIONS = 50
"""Expression coefficients that the FLAME motion space has, the first of the file's 100."""
FRAMES_AT_ONCE = 8
"""Frames posed together, so that their vertices stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class FlameModel:
    """One person's FLAME: positions in metres.

    `expressions` (50, V * 3) displaces at a coefficient of 1, `correctives` (36, V * 3) by the entries of R - I of the
    joints but the first; `joints` (5, 3) stand at rest and move by `joint_expressions` (50, 15). `parents` of every
    joint, -1 for the first.
    """

    template: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "T 3"]
    expressions: Float32[np.ndarray, "50 _"]
    correctives: Float32[np.ndarray, "36 _"]
    weights: Float32[np.ndarray, "V 5"]
    joints: Float32[np.ndarray, "5 3"]
    joint_expressions: Float32[np.ndarray, "50 15"]
    parents: tuple[int, ...]

    def vertices(
        self,
        expression: Float[np.ndarray, "frames 50"],
        jaw: Float[np.ndarray, "frames 3"] | None = None,
        neck: Float[np.ndarray, "frames 3"] | None = None,
        eyes: Float[np.ndarray, "frames 2 3"] | None = None,
        global_rotation: Float[np.ndarray, "frames 3"] | None = None,
    ) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices of every frame.

        Args:
            expression: coefficients, about -3 to 3.
            jaw: rotation of the jaw, x > 0 opens it; as the others None for rest.
            neck: rotation of the head and neck about the neck joint.
            eyes: rotation of the left and the right eyeball.
            global_rotation: rotation of the whole about the first joint, at the foot of the neck.

        Raises:
            InputError: values that are not finite.
        """
        frames = len(expression)
        pose = np.zeros((frames, len(self.parents), 3), np.float32)
        for joint, rotation in ((0, global_rotation), (NECK, neck), (JAW, jaw), (slice(LEFT_EYE, None), eyes)):
            if rotation is not None:
                pose[:, joint] = rotation
        if not (np.isfinite(expression).all() and np.isfinite(pose).all()):
            raise InputError("finite FLAME coefficients", "NaN or infinity", "check the motion they came from")
        expression = np.asarray(expression, np.float32)
        result = np.empty((frames, *self.template.shape), np.float32)
        for first in range(0, frames, FRAMES_AT_ONCE):
            some = slice(first, first + FRAMES_AT_ONCE)
            result[some] = self._posed(expression[some], pose[some])
        return result

    def _posed(
        self, expression: Float32[np.ndarray, "frames 50"], pose: Float32[np.ndarray, "frames 5 3"]
    ) -> Float32[np.ndarray, "frames V 3"]:
        frames = len(pose)
        turns = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(frames, -1, 3, 3).astype(np.float32)
        bent = (turns[:, 1:] - np.eye(3, dtype=np.float32)).reshape(frames, -1)
        flat = self.template.reshape(-1) + expression @ self.expressions
        active = np.flatnonzero(bent.any(axis=0))
        flat += bent[:, active] @ self.correctives[active]
        joints = self.joints + (expression @ self.joint_expressions).reshape(frames, -1, 3)
        blended = (self.weights @ self._transforms(turns, joints)).reshape(frames, -1, 3, 4)
        free = flat.reshape(frames, -1, 3)
        moved: np.ndarray = np.einsum("fvij,fvj->fvi", blended[..., :3], free) + blended[..., 3]
        return moved

    def _transforms(
        self, turns: Float32[np.ndarray, "frames 5 3 3"], joints: Float32[np.ndarray, "frames 5 3"]
    ) -> Float32[np.ndarray, "frames 5 12"]:
        """Rows of [R | t] of every joint, which take a point at rest to where the joint carries it."""
        placed = np.empty((*turns.shape[:3], 4), np.float32)
        for joint, parent in enumerate(self.parents):
            turn, arm = turns[:, joint], joints[:, joint, :, None]
            own = np.concatenate([turn, arm - turn @ arm], axis=2)
            if parent >= 0:
                above = placed[:, parent]
                own = above[..., :3] @ own
                own[..., 3] += above[..., 3]
            placed[:, joint] = own
        return placed.reshape(len(turns), -1, 12)


def flame_model(file: FlameFile, shape: Float[np.ndarray, " coefficients"] | None = None) -> FlameModel:
    """The model of a person with these shape coefficients, at most 300; of the average face without.

    Raises InputError for more coefficients or values that are not finite.
    """
    shape = np.zeros(0) if shape is None else np.asarray(shape, np.float64)
    if len(shape) > SHAPE_DIRECTIONS or not np.isfinite(shape).all():
        got = f"{len(shape)} coefficients" if np.isfinite(shape).all() else "NaN or infinity"
        raise InputError(f"at most {SHAPE_DIRECTIONS} finite shape coefficients", got, "pass the shape of one person")
    directions = file.shapedirs[:, :, SHAPE_DIRECTIONS : SHAPE_DIRECTIONS + EXPRESSIONS]
    template = file.v_template + file.shapedirs[:, :, : len(shape)] @ shape.astype(np.float32)
    joint_directions = np.einsum("jv,vie->eji", file.J_regressor, directions)
    return FlameModel(
        template=template,
        triangles=file.f,
        expressions=_flat(directions),
        correctives=_flat(file.posedirs),
        weights=file.weights,
        joints=file.J_regressor @ template,
        joint_expressions=np.ascontiguousarray(joint_directions.reshape(EXPRESSIONS, -1)),
        parents=tuple(int(parent) for parent in file.kintree_table[0]),
    )


def _flat(directions: Float32[np.ndarray, "V 3 D"]) -> Float32[np.ndarray, "D _"]:
    """One row of V * 3 numbers for each direction."""
    return np.ascontiguousarray(directions.reshape(-1, directions.shape[2]).T)
