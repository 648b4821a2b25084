"""A head of a person's own FLAME file that motion drives, in FLAME coefficients or in ARKit blendshapes.

>>> head = load_flame_head(Path("generic_model.pkl"))  # or an npz of it
>>> vertices = head.move(motion)                       # (frames, V, 3) float32, metres, as the open head stands
>>> print(head.notes)                                  # how well it follows ARKit, and what FLAME has not

The file has neither colours nor an inside of the mouth: colours are the open head's (`flame_paint`), and a dark sheet
of some vertices more than FLAME's 5023 hangs behind the lips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.flame import EXPRESSIONS, JAW, LEFT_EYE, NECK, RIGHT_EYE, FlameModel, flame_model
from avi_lib.face.flame_file import load_flame_file
from avi_lib.face.flame_map import FlameMap, fit_flame_map
from avi_lib.face.flame_paint import MOUTH_PLACE, ambient_occlusion, eye_places, paint, skin_places
from avi_lib.face.head import gaze_rotations, load_head
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import MATERIAL_NAMES
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES, FLAME

MOUTH_SHADE = 0.25
"""How much light gets to the sheet behind the lips."""

_LIPS_M = 0.009
"""Skin nearer than this to the line between the lips has their gloss."""
_SHEET = 9
_SHEET_DEPTH_M, _SHEET_ABOVE_M, _SHEET_BELOW_M = 0.014, 0.008, 0.030


@dataclass(frozen=True, eq=False)
class FlameHead:
    """A `DrivenHead` from a FLAME file; see `face.mesh.RenderMesh` for the arrays.

    `model` stands in FLAME's own coordinates, from which `origin` (3,), midway between the eye joints, is taken away;
    `fitted` is the map from ARKit.
    """

    name: str
    notes: tuple[str, ...]
    model: FlameModel
    fitted: FlameMap
    origin: Float32[np.ndarray, " 3"]
    uv: Float32[np.ndarray, "V 2"]
    material: UInt8[np.ndarray, " T"]
    occlusion: Float32[np.ndarray, " V"]
    atlas: UInt8[np.ndarray, "H W 3"]

    @cached_property
    def vertices(self) -> Float32[np.ndarray, "V 3"]:
        """Positions at rest in metres."""
        return self.model.template - self.origin

    @property
    def triangles(self) -> Int32[np.ndarray, "T 3"]:
        """Vertex numbers, counter-clockwise seen from outside."""
        return self.model.triangles

    @cached_property
    def weld(self) -> Int32[np.ndarray, " V"]:
        """Every vertex is a point of its own."""
        return np.arange(len(self.model.template), dtype=np.int32)

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame of FLAME motion, or of ARKIT motion through the fitted map.

        The eyeballs turn with ARKit's gaze and look ahead in FLAME motion, which does not tell it. Raises InputError
        for any other space.
        """
        if motion.space not in (ARKIT, FLAME):
            expected = "motion in the ARKIT or the FLAME space"
            raise InputError(expected, f"the space {motion.space.name}", "convert it")
        flame, eyes = motion, None
        if motion.space is ARKIT:
            flame = self.fitted.to_flame(motion)
            turns = gaze_rotations(motion.values[:, : len(ARKIT_BLENDSHAPES)])
            eyes = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec().reshape(2, -1, 3).transpose(1, 0, 2)
        expression, jaw, turned = np.split(flame.values, [EXPRESSIONS, EXPRESSIONS + 3], axis=1)
        vertices = self.model.vertices(expression, jaw=jaw, eyes=eyes, global_rotation=turned)
        vertices -= self.origin
        return vertices


def load_flame_head(path: Path, shape: Float[np.ndarray, " coefficients"] | None = None) -> FlameHead:
    """The head of a FLAME file, of a person with these shape coefficients (at most 300) or of the average face.

    The map from ARKit is fitted as it loads. Raises InputError for a file or a shape that cannot be used.
    """
    path = Path(path)
    open_head = load_head()
    model = flame_model(load_flame_file(path), shape)
    fitted = fit_flame_map(model, open_head)
    origin = model.joints[LEFT_EYE:].mean(axis=0)
    points = model.template - origin
    eyes = _eyeballs(model)
    normals = vertex_normals(points, model.triangles, np.arange(len(points), dtype=np.int32))
    seam = fitted.registration.seam.astype(np.float32)
    uv = skin_places(points)
    for eye, members in enumerate(eyes):
        uv[members] = eye_places(model.template[members] - model.joints[LEFT_EYE + eye])
    triangles = model.triangles.astype(np.int64)
    openness = ambient_occlusion(points.astype(np.float64), normals.astype(np.float64), triangles)
    sheeted, sheet = _with_sheet(model, seam)
    extra = len(sheeted.template) - len(points)
    return FlameHead(
        name=path.stem,
        notes=_notes(fitted, eyes),
        model=sheeted,
        fitted=fitted,
        origin=origin,
        uv=np.concatenate([uv, np.tile(np.array(MOUTH_PLACE, np.float32), (extra, 1))]),
        material=np.concatenate([_materials(model, eyes, fitted.registration.lips_m), sheet]),
        occlusion=np.concatenate([openness, np.full(extra, MOUTH_SHADE)]).astype(np.float32),
        atlas=paint(points, openness, fitted.registration, open_head),
    )


def _notes(fitted: FlameMap, eyes: Bool[np.ndarray, "2 V"]) -> tuple[str, ...]:
    notes = [fitted.describe(), "FLAME has no teeth and no tongue: tongueOut moves nothing"]
    if not eyes.any(axis=1).all():
        notes.append("no eyeball of its own follows an eye joint of this file: eyes are painted as skin")
    return tuple(notes)


def _eyeballs(model: FlameModel) -> Bool[np.ndarray, "2 V"]:
    """The vertices of the left and the right eyeball: pieces of the mesh that an eye joint carries."""
    count, corners = len(model.template), model.triangles
    linked = coo_matrix((np.ones(corners.size), (corners.ravel(), np.roll(corners, 1, axis=1).ravel())), (count, count))
    pieces, piece = connected_components(linked, directed=False)
    size = np.bincount(piece, minlength=pieces)
    carried = [np.bincount(piece, model.weights[:, eye], pieces)[piece] for eye in (LEFT_EYE, RIGHT_EYE)]
    whole: np.ndarray = np.stack(carried) > 0.5 * size[piece]
    return whole


def _materials(
    model: FlameModel, eyes: Bool[np.ndarray, "2 V"], lips_m: Float[np.ndarray, " V"]
) -> UInt8[np.ndarray, " T"]:
    material = np.full(len(model.triangles), MATERIAL_NAMES.index("skin"), np.uint8)
    material[(lips_m[model.triangles] < _LIPS_M).all(axis=1)] = MATERIAL_NAMES.index("lips")
    material[np.any(eyes, axis=0, keepdims=True)[0, model.triangles].all(axis=1)] = MATERIAL_NAMES.index("eye")
    return material


def _with_sheet(
    model: FlameModel, seam: Float32[np.ndarray, "S 3"]
) -> tuple[FlameModel, UInt8[np.ndarray, " triangles"]]:
    """The model with a dark sheet behind the lips, and the sheet's materials.

    It bends as the line between the lips does; its upper edge follows the head and its lower edge the jaw.
    """
    half = np.quantile(np.abs(seam[:, 0]), 0.98)
    across, down = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, _SHEET), np.linspace(0, 1, _SHEET)))
    nearest = np.abs(seam[:, 0] - half * across[:, None]) < 0.25 * half
    front = np.where(nearest, seam[:, 2], -np.inf).max(axis=1)
    height = np.median(seam[:, 1]) + _SHEET_ABOVE_M - down * (_SHEET_ABOVE_M + _SHEET_BELOW_M)
    points = np.column_stack([half * across, height, front - _SHEET_DEPTH_M - 0.008 * down]).astype(np.float32)
    number = np.arange(len(points)).reshape(_SHEET, _SHEET) + len(model.template)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    weights = np.zeros((len(points), model.weights.shape[1]), np.float32)
    weights[:, JAW] = np.clip(2.0 * down - 0.5, 0.0, 1.0)
    weights[:, NECK] = 1.0 - weights[:, JAW]
    still = np.zeros((len(points), 3), np.float32).reshape(1, -1)
    larger = replace(
        model,
        template=np.concatenate([model.template, points]),
        triangles=np.concatenate([model.triangles, triangles]),
        expressions=np.hstack([model.expressions, np.repeat(still, len(model.expressions), axis=0)]),
        correctives=np.hstack([model.correctives, np.repeat(still, len(model.correctives), axis=0)]),
        weights=np.concatenate([model.weights, weights]),
    )
    return larger, np.full(len(triangles), MATERIAL_NAMES.index("tongue"), np.uint8)
