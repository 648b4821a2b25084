"""A head of a person's own FLAME file that moves by FLAME coefficients or in ARKit blendshapes.

>>> head = load_flame_head(Path("generic_model.pkl"), {"shape0": 1.5})  # or an npz of it
>>> vertices = head.move(motion)                       # (frames, V, 3) float32, metres, as the open head stands
>>> print(head.notes)                                  # how well it follows ARKit, and what FLAME has not

The file has neither colours nor an inside of the mouth: colours are the open head's, and a dark sheet of some vertices
more than FLAME's 5023 hangs behind the lips.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer
from scipy.sparse import coo_matrix, csc_matrix, diags_array, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError, expect
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RiggedHead, gaze_rotations, load_head, rotations
from avi_lib.face.surface import vertex_normals
from avi_lib.heads.flame import (
    EXPRESSIONS,
    JAW,
    JOINTS,
    LEFT_EYE,
    NECK,
    RIGHT_EYE,
    SHAPE_DIRECTIONS,
    FlameModel,
    flame_model,
    load_flame_file,
)
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionClip

SKIN, LIPS, EYE, TONGUE = (MATERIAL_NAMES.index(name) for name in ("skin", "lips", "eye", "tongue"))

# Registration: where each vertex of a FLAME face lies on the open head, the way from blendshapes of one to motion of
# the other. The face is placed by its eyes, brought near by an affine map and draped over the open head smoothly.

JAW_PROBE_RAD = 0.2  # opening of the jaw that shows which vertices it carries

_NORMAL_M, _JAW_M = 0.004, 0.010
"""Distances that count as much as normals one unit apart, and as a jaw that carries one point and not the other."""
_FACE_CENTRE_M, _FACE_REACH_M = np.array([0.0, -0.035, 0.0]), 0.090
_AFFINE_STEPS, _STIFFNESS = 8, (60.0, 20.0, 6.0, 2.0)
_LANDMARK_WEIGHT = 40.0
_NEAR_M, _FACING = 0.005, 0.5
_SEAM_PAIR_M, _SEAM_JUMP = 0.006, 0.3
_MOST_STRETCH, _MOST_MEDIAN_M, _LEAST_EYES_M = 1.5, 0.004, 0.02
_UPRIGHT, _UNCHANGED = "a FLAME template in metres, y up and facing +z", "use the model's own file unchanged"


class Registration(NamedTuple):
    """Counterparts of FLAME's vertices on the open head.

    `members` are the vertices that have one; `corners` name the open head's vertices around it, `shares` their weights.
    `to_flame` takes displacements of the open head to FLAME's. `seam` are places between FLAME's lips; `error_m` is the
    face's median distance from the open head's skin.
    """

    members: Int64[np.ndarray, " members"]
    corners: Int64[np.ndarray, "members 3"]
    shares: Float64[np.ndarray, "members 3"]
    to_flame: Float64[np.ndarray, "3 3"]
    seam: Float64[np.ndarray, "S 3"]
    error_m: float


def _features(points: np.ndarray, normals: np.ndarray, jaw: np.ndarray) -> Float64[np.ndarray, "P 7"]:
    """What makes points of two faces alike: where they are, where they face, and how far the jaw carries them, 0-1."""
    return np.column_stack([points, _NORMAL_M * normals, _JAW_M * jaw])


def _nearest(skin: cKDTree, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The point of a skin most like each of these, its distance, and whether it faces the same way."""
    found = skin.query(features)[1]
    theirs = skin.data[found]
    distance = np.linalg.norm(theirs[:, :3] - features[:, :3], axis=1)
    return found, distance, np.einsum("pi,pi->p", features[:, 3:6], theirs[:, 3:6]) > _FACING * _NORMAL_M**2


def register(model: FlameModel, head: Head) -> Registration:
    """Counterparts of the vertices of a FLAME model's face on the open head.

    Raises InputError when the file's template does not come to lie on it, as when it does not face +z with y up.
    """
    skin = np.flatnonzero(model.weights[:, LEFT_EYE:].sum(axis=1) < 0.5)
    place = np.full(len(model.template), -1)
    place[skin] = np.arange(len(skin))
    triangles = place[model.triangles]
    triangles = triangles[(triangles >= 0).all(axis=1)]
    points = model.template[skin].astype(np.float64)
    opened = np.zeros((1, len(JOINTS), 3), np.float32)
    opened[0, JAW, 0] = JAW_PROBE_RAD
    carried = _share(model.vertices(np.zeros((1, EXPRESSIONS)), opened)[0, skin] - points)
    target, corners, shares = _head_skin(head)
    linear, offset, marks, their_marks, seam = _placed(model, points, carried, head)
    near_face = np.linalg.norm(points @ linear.T + offset - _FACE_CENTRE_M, axis=1) < _FACE_REACH_M
    face = _features(points, _normals(points, triangles), carried)[near_face]
    weight, around = np.sqrt(_LANDMARK_WEIGHT), np.column_stack([face[:, :3], np.ones(len(face))])
    fixed = weight * np.column_stack([marks, np.ones(len(marks))])
    for _ in range(_AFFINE_STEPS):  # the affine map that brings the face onto the skin, and landmarks onto landmarks
        nearest, distance, _ = _nearest(target, np.column_stack([face[:, :3] @ linear.T + offset, face[:, 3:]]))
        close = distance < 2 * _NEAR_M
        goals = np.concatenate([target.data[nearest[close], :3], weight * their_marks])
        found = np.linalg.lstsq(np.concatenate([around[close], fixed]), goals, rcond=None)[0]
        linear, offset = found[:3].T, found[3]
    draped = _draped(points @ linear.T + offset, triangles, carried, target)
    nearest, distance, facing = _nearest(target, _features(draped, _normals(draped, triangles), carried))
    fits = (distance < _NEAR_M) & facing
    stretch = np.linalg.svd(linear, compute_uv=False)
    error_m = float(np.median(distance[near_face]))
    if error_m > _MOST_MEDIAN_M or stretch.max() > _MOST_STRETCH or stretch.min() < 1 / _MOST_STRETCH:
        got = f"{1000 * error_m:.1f} mm from it, stretched {stretch.min():.2f}-{stretch.max():.2f} times"
        raise InputError(_UPRIGHT, got, _UNCHANGED)
    found = nearest[fits]
    return Registration(skin[fits], corners[found], shares[found], np.linalg.inv(linear), seam, error_m)


def _normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    every = np.arange(len(points), dtype=np.int32)
    normals: np.ndarray = vertex_normals(points.astype(np.float32), triangles, every).astype(np.float64)
    return normals


def _share(moved: np.ndarray, of: np.ndarray | slice = slice(None)) -> np.ndarray:
    """How far points go under an open jaw, the furthest percent of `of` as 1."""
    far = np.linalg.norm(moved.astype(np.float64), axis=1)
    share: np.ndarray = np.clip(far / max(float(np.quantile(far[of], 0.99)), 1e-9), 0.0, 1.0)
    return share


def _head_skin(head: Head) -> tuple[cKDTree, np.ndarray, np.ndarray]:
    """Features all over the open head's skin and lips, the vertices (S, 3) around each and their weights (S, 3)."""
    used = head.triangles[np.isin(head.material, (SKIN, LIPS))]
    used = used[(head.vertices[used, 2] > _FACE_CENTRE_M[2] - _FACE_REACH_M).all(axis=1)].astype(np.int64)
    corners, shares = _sampled(used, 3)
    jaw = _share(head.shapes[ARKIT.index("jawOpen")].astype(np.float64), np.unique(used))
    normals = vertex_normals(head.vertices, head.triangles, head.weld).astype(np.float64)
    spread = (np.einsum("sc,sc...->s...", shares, v[corners]) for v in (head.vertices.astype(np.float64), normals, jaw))
    return cKDTree(_features(*spread)), corners, shares


def _placed(model: FlameModel, points: np.ndarray, jaw: np.ndarray, head: Head) -> tuple[np.ndarray, ...]:
    """Linear map and offset by the eye joints; landmarks of FLAME and of the open head; FLAME's line between the lips.

    The landmarks (5, 3) are the eye joints, then the mouth's middle, left and right corner.
    """
    joints, eyes = model.joints[LEFT_EYE:].astype(np.float64), head.eye_centres.astype(np.float64)
    apart = joints[0] - joints[1]
    if apart[0] < 0.9 * np.linalg.norm(apart) or apart[0] < _LEAST_EYES_M:
        raise InputError(_UPRIGHT, f"eye joints {np.round(apart, 3).tolist()} m apart", _UNCHANGED)
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(apart))
    linear, offset = scale * np.eye(3), eyes.mean(axis=0) - scale * joints.mean(axis=0)
    seam, mouth = _mouth(points @ linear.T + offset, jaw)
    covers = np.unique(head.triangles[np.isin(head.material, (SKIN, LIPS))])
    _, theirs = _mouth(head.vertices[covers].astype(np.float64), _share(head.shapes[ARKIT.index("jawOpen")][covers]))
    marks = np.concatenate([joints, (mouth - offset) / scale])
    return linear, offset, marks, np.concatenate([eyes, theirs]), (seam - offset) / scale


def _mouth(p: np.ndarray, jaw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places between the lips of a face at the open head's place, and the mouth's middle, left and right corner there.

    They are the middles of neighbours that the jaw draws apart, and the foremost of them.
    """
    front = np.flatnonzero((np.abs(p[:, 0]) < 0.04) & (p[:, 1] < -0.03) & (p[:, 1] > -0.12) & (p[:, 2] > -0.01))
    pairs = front[cKDTree(p[front]).query_pairs(_SEAM_PAIR_M, output_type="ndarray")]
    apart = np.abs(jaw[pairs[:, 0]] - jaw[pairs[:, 1]]) > _SEAM_JUMP
    got = f"{int(apart.sum())} places between lips"
    expect(apart.sum() >= 20, "a face whose lips part when its jaw turns", got, _UNCHANGED)
    seam: np.ndarray = p[pairs[apart]].mean(axis=1)
    x = seam[:, 0]
    middle, left, right = np.abs(x) < 0.003, x > np.quantile(x, 0.95), x < np.quantile(x, 0.05)
    expect(middle.any(), "a mouth in the middle of the face", "none there", _UNCHANGED)
    return seam, np.stack([seam[part][seam[part, 2].argmax()] for part in (middle, left, right)])


def _draped(start: np.ndarray, triangles: np.ndarray, jaw: np.ndarray, target: cKDTree) -> np.ndarray:
    """The points displaced smoothly onto the target: ever less stiff, unmatched places follow their neighbours."""
    count = len(start)
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    linked = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    linked = ((linked + linked.T) > 0).astype(np.float64)
    degrees = np.maximum(np.asarray(linked.sum(axis=1)).ravel(), 1.0)
    laplacian = identity(count) - diags_array(1.0 / degrees) @ linked
    bending = csc_matrix(laplacian.T @ laplacian)  # small for displacements that change evenly
    points = start
    for stiffness in _STIFFNESS:
        nearest, distance, facing = _nearest(target, _features(points, _normals(points, triangles), jaw))
        counted = ((distance < 2 * _NEAR_M) & facing).astype(np.float64)
        system = csc_matrix(diags_array(counted + 1e-6) + stiffness * bending)
        points = start + splu(system).solve(counted[:, None] * (target.data[nearest, :3] - start))
    return points


# A skin for a FLAME head, whose file has none: the open head's, carried over by the registration.

MOUTH_SHADE, LEAST_LIGHT = 0.1, 0.5
"""How much light gets to the sheet behind the lips, and to the skin at least: the open head's scalp lies under hair."""
_SEAM_UV = 0.15  # a triangle that is wider in the atlas spans a seam of it, and has the colour of one of its corners


def _carried(
    model: FlameModel, eyes: Bool[np.ndarray, "2 V"], found: Registration, head: Head
) -> tuple[Float32[np.ndarray, "V 2"], Float32[np.ndarray, " V"]]:
    """Places in the open head's atlas, and ambient occlusion, of the vertices: of what they lie on there.

    A vertex without a counterpart, as on the scalp, has those of the nearest that has one; an eyeball's are found by
    their directions from its middle.
    """
    traits = np.column_stack([head.uv, head.occlusion])
    traits[:, 2] = np.maximum(traits[:, 2], LEAST_LIGHT)
    own = np.einsum("mc,mci->mi", found.shares, traits[found.corners])
    carried = own[cKDTree(model.template[found.members]).query(model.template)[1]]
    for eye, members in enumerate(eyes):
        ball = head.triangles[np.isin(head.triangles, head.eyeballs[eye]).all(axis=1)]
        corners, shares = _sampled(ball, 6)
        spread = np.einsum("sc,sci->si", shares, np.column_stack([traits, head.vertices])[corners])
        theirs, ours = spread[:, 3:] - head.eye_centres[eye], model.template[members] - model.joints[LEFT_EYE + eye]
        theirs, ours = (arms / np.linalg.norm(arms, axis=1, keepdims=True) for arms in (theirs, ours))
        carried[members] = spread[cKDTree(theirs).query(ours)[1], :3]
    return carried[:, :2].astype(np.float32), carried[:, 2].astype(np.float32)


def _sampled(triangles: Integer[np.ndarray, "T 3"], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points all over triangles, so many steps along an edge: the vertices (S, 3) around each and their weights."""
    grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    return np.repeat(triangles, len(grid), axis=0), np.tile(grid, (len(triangles), 1))


# A linear map between ARKit blendshapes and FLAME coefficients, fitted to a FLAME model of a person's own.

MM = 1000.0
JAW_UNIT_RAD = 0.1  # turn of the jaw that counts as much as an expression coefficient of 1
RIDGE_MM2 = 1e-3  # what a squared coefficient costs, against the mean squared error of the vertices
FAINT_MM2 = 1e-4  # the same for a squared ARKit weight on the way back; what moves nothing stays at rest

_PROBE_RAD = 0.1
_SHAPES = len(ARKIT_BLENDSHAPES)
_FACE = EXPRESSIONS + 3
_DESCENT_STEPS = 400


class FlameMap(NamedTuple):
    """What every ARKit blendshape is in FLAME coefficients.

    `coefficients`: 50 of expression, then the jaw's axis-angle in radians; `residual` is the error of each over its
    size, root mean squares over the vertices: 0 is all of it, 1 nothing. `factor` turns coefficients into numbers whose
    square sums to the mean squared displacement in mm^2.
    """

    coefficients: Float32[np.ndarray, "52 53"]
    residual: Float64[np.ndarray, " 52"]
    factor: Float64[np.ndarray, "53 53"]
    registration: Registration

    def to_flame(self, clip: MotionClip) -> MotionClip:
        """FLAME motion of ARKit motion, frame by frame."""
        face = clip.values[:, :_SHAPES] @ self.coefficients
        turned = Rotation.from_matrix(rotations(*clip.values[:, _SHAPES:].T)).as_rotvec()
        return MotionClip(np.concatenate([face, turned], axis=1).astype(np.float32), clip.fps, FLAME)

    def to_arkit(self, clip: MotionClip) -> tuple[MotionClip, float, float]:
        """ARKit weights in 0-1 whose face is nearest to FLAME motion, frame by frame, and how near that is.

        The error is the root mean square distance of the face's vertices over all frames in mm, and that over the root
        mean square of how far they move from rest: 1 where nothing is captured, 0 where nothing moves. The gaze stays
        at rest, since FLAME motion does not tell it.
        """
        values = np.zeros((len(clip), len(ARKIT)), np.float32)
        wanted = clip.values[:, :_FACE].astype(np.float64) @ self.factor
        used = np.setdiff1d(np.arange(_SHAPES), ARKIT.groups["gaze"])
        shapes = self.coefficients[used].astype(np.float64) @ self.factor
        weights = _bounded(shapes, wanted)
        values[:, used] = weights
        values[:, _SHAPES:] = Rotation.from_rotvec(clip.values[:, _FACE:]).as_euler("YXZ")[:, [1, 0, 2]]
        off, moved = (float(np.sqrt(np.square(x).sum(axis=1).mean())) for x in (weights @ shapes - wanted, wanted))
        return MotionClip(values, clip.fps, ARKIT), off, off / moved if moved > 1e-9 else 0.0

    def describe(self) -> str:
        """One line: the mean and the worst error of the blendshapes but the gaze's and the tongue's, and the lids'."""
        used = [i for i in range(_SHAPES) if i not in (*ARKIT.groups["gaze"], ARKIT.index("tongueOut"))]
        worst = max(used, key=lambda i: self.residual[i])
        blink = max(self.residual[ARKIT.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
        return (
            f"fitted from ARKit: {100 * self.residual[used].mean():.0f} % of a blendshape's movement is lost on average"
            f", {100 * self.residual[worst]:.0f} % of {ARKIT_BLENDSHAPES[worst]}, the worst,"
            f" and {100 * blink:.0f} % of a blink; the template lies {MM * self.registration.error_m:.1f} mm"
            f" from the open head"
        )


def fit_flame_map(model: FlameModel, head: Head) -> FlameMap:
    """Fit the map of a FLAME model; InputError when its face does not come to lie on the open head's."""
    found = register(model, head)
    moved = np.einsum("mc,kmci->kmi", found.shares.astype(np.float32), head.shapes[:, found.corners])
    wanted = MM * (moved @ found.to_flame.T.astype(np.float32)).reshape(_SHAPES, -1).astype(np.float64)
    turns = np.zeros((6, len(JOINTS), 3), np.float32)
    turns[:, JAW] = _PROBE_RAD * np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    there, back = np.split(model.vertices(np.zeros((6, EXPRESSIONS)), turns).astype(np.float64), 2)
    expressions = model.expressions.reshape(EXPRESSIONS, -1, 3).astype(np.float64)
    basis = MM * np.concatenate([expressions, (there - back) / (2 * _PROBE_RAD)])  # of a coefficient of 1, in mm
    basis, vertices = basis[:, found.members].reshape(_FACE, -1), len(found.members)
    unit = np.array([1.0] * EXPRESSIONS + [JAW_UNIT_RAD] * 3)
    form = basis @ basis.T / vertices
    scaled = unit[:, None] * form * unit + RIDGE_MM2 * np.eye(_FACE)
    coefficients = np.linalg.solve(scaled, unit[:, None] * (basis @ wanted.T / vertices)).T * unit
    size = np.linalg.norm(wanted, axis=1)
    off = np.linalg.norm(coefficients @ basis - wanted, axis=1)
    residual = np.where(size > 0.0, off / np.maximum(size, 1e-12), 1.0)
    factor = np.linalg.cholesky(form + 1e-12 * np.trace(form) * np.eye(_FACE))
    return FlameMap(coefficients.astype(np.float32), residual, factor, found)


def _bounded(shapes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights (frames, K) in 0-1 of least |weights shapes - wanted|^2 for all frames at once.

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


MOST_SHAPE = 10.0
"""Standard deviations of a population's faces, in which the coefficients count; beyond a few nobody looks like it."""

_LIPS_M = 0.009  # skin nearer than this to the line between the lips has their gloss
_SHEET = 9
_SHEET_DEPTH_M, _SHEET_ABOVE_M, _SHEET_BELOW_M = 0.014, 0.008, 0.030


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FlameHead(RiggedHead):
    """The head of a FLAME file.

    `model` stands in FLAME's own coordinates, from which `origin` (3,), midway between the eye joints, is taken away;
    `fitted` is the map from ARKit.
    """

    model: FlameModel
    fitted: FlameMap
    origin: Float32[np.ndarray, " 3"]

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame of FLAME motion, or of ARKIT motion through the fitted map.

        The eyeballs turn with ARKit's gaze and look ahead in FLAME motion, which does not tell it.
        """
        flame, pose = motion, np.zeros((len(motion), len(JOINTS), 3), np.float32)
        if motion.space is ARKIT:
            flame = self.fitted.to_flame(motion)
            turns = gaze_rotations(motion.values[:, : len(ARKIT_BLENDSHAPES)])
            eyes = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec().reshape(2, -1, 3)
            pose[:, LEFT_EYE:] = eyes.transpose(1, 0, 2)
        expression, pose[:, JAW], pose[:, 0] = np.split(flame.values, [EXPRESSIONS, EXPRESSIONS + 3], axis=1)
        vertices = self.model.vertices(expression, pose)
        vertices -= self.origin
        return vertices


def load_flame_head(path: Path, sliders: Mapping[str, float]) -> FlameHead:
    """The head of a FLAME file, of a person with the shape coefficients shape0 to shape299 that are not 0.

    The map from ARKit is fitted as it loads. Raises InputError for a file or a slider that cannot be used.
    """
    shape = np.zeros(SHAPE_DIRECTIONS, np.float32)
    for name, value in sliders.items():
        number = re.fullmatch(r"shape(\d{1,3})", name, re.ASCII)
        if number is None or int(number[1]) >= SHAPE_DIRECTIONS:
            raise InputError(f"sliders shape0 to shape{SHAPE_DIRECTIONS - 1} of a FLAME head", repr(name), "rename it")
        expected = f"a FLAME slider of at most {MOST_SHAPE:g} either way"
        expect(abs(value) <= MOST_SHAPE, expected, f"{name}={value:g}", "lower it")
        shape[int(number[1])] = value
    open_head = load_head()
    model = flame_model(load_flame_file(path), shape)
    fitted = fit_flame_map(model, open_head)
    found = fitted.registration
    origin = model.joints[LEFT_EYE:].mean(axis=0)
    eyes = _eyeballs(model)
    uv, openness = _carried(model, eyes, found, open_head)
    material = np.full(len(model.triangles), SKIN, np.uint8)
    lips_m = cKDTree(found.seam).query(model.template.astype(np.float64))[0]
    material[(lips_m[model.triangles] < _LIPS_M).all(axis=1)] = LIPS
    material[(eyes[0] | eyes[1])[model.triangles].all(axis=1)] = EYE
    spans = (np.ptp(uv[model.triangles], axis=1).max(axis=1) > _SEAM_UV) & (material != EYE)
    of_spans = model.triangles[spans]
    point = np.concatenate([np.arange(len(uv)), of_spans.ravel()])
    triangles = model.triangles.copy()
    triangles[spans] = np.arange(len(uv), len(point)).reshape(-1, 3)
    uv = np.concatenate([uv, np.repeat(uv[of_spans[:, 0]], 3, axis=0)])
    sheeted = _with_sheet(model, point, triangles, found.seam.astype(np.float32))
    extra, sheet = len(sheeted.template) - len(uv), len(sheeted.triangles) - len(material)
    dark = open_head.uv[open_head.triangles[open_head.material == TONGUE][0, 0]]
    notes = [fitted.describe(), "FLAME has no teeth and no tongue: tongueOut moves nothing"]
    if not eyes.any(axis=1).all():
        notes.append("no eyeball of its own follows an eye joint of this file: eyes are painted as skin")
    return FlameHead(
        name=path.stem,
        notes=tuple(notes),
        model=sheeted,
        fitted=fitted,
        origin=origin,
        vertices=sheeted.template - origin,
        triangles=sheeted.triangles,
        weld=np.concatenate([point, np.arange(len(point), len(sheeted.template))]).astype(np.int32),
        uv=np.concatenate([uv, np.tile(dark, (extra, 1))]),
        material=np.concatenate([material, np.full(sheet, TONGUE, np.uint8)]),
        occlusion=np.concatenate([openness[point], np.full(extra, MOUTH_SHADE, np.float32)]),
        atlas=open_head.atlas,
    )


def _eyeballs(model: FlameModel) -> Bool[np.ndarray, "2 V"]:
    """The vertices of the left and the right eyeball: pieces of the mesh that an eye joint carries."""
    count, corners = len(model.template), model.triangles
    linked = coo_matrix((np.ones(corners.size), (corners.ravel(), np.roll(corners, 1, axis=1).ravel())), (count, count))
    pieces, piece = connected_components(linked, directed=False)
    size = np.bincount(piece, minlength=pieces)
    carried = [np.bincount(piece, model.weights[:, eye], pieces)[piece] for eye in (LEFT_EYE, RIGHT_EYE)]
    whole: np.ndarray = np.stack(carried) > 0.5 * size[piece]
    return whole


def _with_sheet(
    model: FlameModel, point: np.ndarray, triangles: np.ndarray, seam: Float32[np.ndarray, "S 3"]
) -> FlameModel:
    """The model's vertices, each as often as it stands in `point`, with triangles of them and a sheet behind the lips.

    The sheet bends as the line between the lips does; its upper edge follows the head and its lower edge the jaw.
    """
    half = np.quantile(np.abs(seam[:, 0]), 0.98)
    across, down = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, _SHEET), np.linspace(0, 1, _SHEET)))
    nearest = np.abs(seam[:, 0] - half * across[:, None]) < 0.25 * half
    front = np.where(nearest, seam[:, 2], -np.inf).max(axis=1)
    height = np.median(seam[:, 1]) + _SHEET_ABOVE_M - down * (_SHEET_ABOVE_M + _SHEET_BELOW_M)
    points = np.column_stack([half * across, height, front - _SHEET_DEPTH_M - 0.008 * down]).astype(np.float32)
    number = np.arange(len(points)).reshape(_SHEET, _SHEET) + len(point)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    of_sheet = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    weights = np.zeros((len(points), model.weights.shape[1]), np.float32)
    weights[:, JAW] = np.clip(2.0 * down - 0.5, 0.0, 1.0)
    weights[:, NECK] = 1.0 - weights[:, JAW]
    moves = (each.reshape(len(each), -1, 3)[:, point] for each in (model.expressions, model.correctives))
    expressions, correctives = (np.pad(each.reshape(len(each), -1), ((0, 0), (0, points.size))) for each in moves)
    return replace(
        model,
        template=np.concatenate([model.template[point], points]),
        triangles=np.concatenate([triangles, of_sheet]),
        expressions=expressions,
        correctives=correctives,
        weights=np.concatenate([model.weights[point], weights]),
    )
