"""A head of a person's own FLAME file that moves by FLAME coefficients or in ARKit blendshapes.

>>> head = load_flame_head(Path("generic_model.pkl"), {"shape0": 1.5})  # or an npz of it
>>> vertices = head.move(motion)                       # (frames, V, 3) float32, metres, as the open head stands
>>> print(head.notes)                                  # how well it follows ARKit, and what FLAME has not

The file has neither colours nor an inside of the mouth: colours are the open head's (`paint`), and a dark sheet of some
vertices more than FLAME's 5023 hangs behind the lips.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix, csc_matrix, diags_array, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RiggedHead, gaze_rotations, load_head, rotations
from avi_lib.face.raster import kernel, vertex_normals
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

JAW_PROBE_RAD = 0.2
"""Opening of the jaw that shows which vertices it carries."""

_NORMAL_M, _JAW_M = 0.004, 0.010
"""Distances that count as much as normals one unit apart, and as a jaw that carries one point and not the other."""
_FACE_CENTRE_M, _FACE_REACH_M = np.array([0.0, -0.035, 0.0]), 0.090
_AFFINE_STEPS, _STIFFNESS = 8, (60.0, 20.0, 6.0, 2.0)
_LANDMARK_WEIGHT = 40.0
_NEAR_M, _FACING = 0.005, 0.5
_SEAM_PAIR_M, _SEAM_JUMP = 0.006, 0.3
_MOST_STRETCH, _MOST_MEDIAN_M, _LEAST_EYES_M = 1.5, 0.004, 0.02
_UPRIGHT, _UNCHANGED = "a FLAME template in metres, y up and facing +z", "use the model's own file unchanged"


@dataclass(frozen=True, eq=False)
class Registration:
    """Counterparts of FLAME's vertices on the open head.

    `members` are the vertices that have one; `corners` (members, 3) name the open head's vertices around it, `shares`
    their weights. `to_flame` (3, 3) takes displacements of the open head to FLAME's. `seam` are places between FLAME's
    lips; `error_m` is the face's median distance from the open head's skin.
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
    linear, offset = _affine(face, target, linear, offset, marks, their_marks)
    draped = _draped(points @ linear.T + offset, triangles, carried, target)
    nearest, distance, facing = _nearest(target, _features(draped, _normals(draped, triangles), carried))
    fits = (distance < _NEAR_M) & facing
    stretch = np.linalg.svd(linear, compute_uv=False)
    error_m = float(np.median(distance[near_face]))
    if error_m > _MOST_MEDIAN_M or stretch.max() > _MOST_STRETCH or stretch.min() < 1 / _MOST_STRETCH:
        got = f"{1000 * error_m:.1f} mm from it, stretched {stretch.min():.2f}-{stretch.max():.2f} times"
        raise InputError(_UPRIGHT, got, _UNCHANGED)
    return Registration(
        members=skin[fits],
        corners=corners[nearest[fits]],
        shares=shares[nearest[fits]],
        to_flame=np.linalg.inv(linear),
        seam=seam,
        error_m=error_m,
    )


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
    grid = np.array([(i, j, 3 - i - j) for i in range(4) for j in range(4 - i)]) / 3.0
    corners, shares = np.repeat(used, len(grid), axis=0), np.tile(grid, (len(used), 1))
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
    if apart.sum() < 20:
        got = f"{int(apart.sum())} places between lips"
        raise InputError("a face whose lips part when its jaw turns", got, _UNCHANGED)
    seam: np.ndarray = p[pairs[apart]].mean(axis=1)
    x = seam[:, 0]
    middle, left, right = np.abs(x) < 0.003, x > np.quantile(x, 0.95), x < np.quantile(x, 0.05)
    if not middle.any():
        raise InputError("a mouth in the middle of the face", "none there", _UNCHANGED)
    return seam, np.stack([seam[part][seam[part, 2].argmax()] for part in (middle, left, right)])


def _affine(
    face: np.ndarray, skin: cKDTree, linear: np.ndarray, offset: np.ndarray, marks: np.ndarray, their_marks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The affine map that brings the face onto a skin, landmarks onto landmarks, from a first one."""
    weight = np.sqrt(_LANDMARK_WEIGHT)
    points, fixed = (np.column_stack([p, np.ones(len(p))]) for p in (face[:, :3], marks))
    for _ in range(_AFFINE_STEPS):
        nearest, distance, _ = _nearest(skin, np.column_stack([face[:, :3] @ linear.T + offset, face[:, 3:]]))
        close = distance < 2 * _NEAR_M
        rows = np.concatenate([points[close], weight * fixed])
        goals = np.concatenate([skin.data[nearest[close], :3], weight * their_marks])
        found = np.linalg.lstsq(rows, goals, rcond=None)[0]
        linear, offset = found[:3].T, found[3]
    return linear, offset


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


# A skin for a FLAME head, whose file has none: the open head's colours, carried over by the registration.

ATLAS = 1024
MOUTH_PLACE = (0.89, 0.60)
"""Middle of the patch that the dark of the mouth shows."""

Disc = tuple[float, float, float]
_SKIN_DISC, _EYE_DISC = (0.385, 0.385, 0.375), (0.885, 0.115, 0.105)
"""Middle and radius of the discs."""
_MIDDLE_M = np.array([0.0, -0.02, -0.075])
"""The place in a head that the directions of its skin are seen from."""
_MOUTH_RGB = (52, 20, 20)
_HIDDEN = 0.12
"""Openness below which a vertex lies inside."""
_GRID = 6
"""Steps along an edge of a triangle at which the open head's colours are looked up."""
_DIRECTIONS, _DEPTH_SIZE, _BIAS_M = 160, 384, 0.0025
"""Of ambient occlusion: directions, pixels along a side of a depth picture, depth within which a point is seen."""


def paint(
    points: Float[np.ndarray, "V 3"], openness: Float[np.ndarray, " V"], found: Registration, head: Head
) -> UInt8[np.ndarray, "size size 3"]:
    """The atlas for a FLAME head with its vertices at these places, each with its ambient occlusion (1 = open).

    What lies hidden, as the inside of a mouth, is not painted over the skin in front of it.
    Where a place has no counterpart on the open head, such as the scalp, it takes the nearest colour that there is.
    """
    atlas = np.zeros((ATLAS, ATLAS, 3), np.uint8)
    outside = openness[found.members] > _HIDDEN
    landed = np.einsum("mc,mci->mi", found.shares, head.vertices[found.corners])[outside]
    places = _places(points[found.members[outside]] - _MIDDLE_M, _SKIN_DISC)
    box, texels = _texels(_SKIN_DISC)
    inside = np.flatnonzero(((texels - _SKIN_DISC[:2]) ** 2).sum(axis=1) < _SKIN_DISC[2] ** 2)
    there = LinearNDInterpolator(places, landed)(texels[inside])
    known = np.isfinite(there).all(axis=1)
    colours, unknown = np.zeros(atlas[box].shape, np.uint8), np.ones(atlas[box].shape[:2], bool)
    colours.reshape(-1, 3)[inside[known]] = _colours(head, (SKIN, LIPS), there[known])
    unknown.reshape(-1)[inside[known]] = False
    atlas[box] = colours[tuple(distance_transform_edt(unknown, return_distances=False, return_indices=True))]
    box, texels = _texels(_EYE_DISC)
    x, y, radius = _EYE_DISC
    a, b = (texels[:, 0] - x) / radius, (y - texels[:, 1]) / radius
    half = np.minimum(a * a + b * b, 1.0)
    slope = 2.0 * np.sqrt(1.0 - half)
    directions = np.column_stack([slope * a, slope * b, 1.0 - 2.0 * half])
    centre = head.eye_centres[0]
    shown = directions * np.linalg.norm(head.vertices[head.eyeballs[0]] - centre, axis=1).mean() + centre
    atlas[box] = _colours(head, (EYE,), shown).reshape(atlas[box].shape)
    atlas[ATLAS // 2 :, int(ATLAS * 0.80) :] = _MOUTH_RGB
    return atlas


def _places(arms: np.ndarray, disc: Disc) -> np.ndarray:
    """Places (P, 2) in the atlas of directions (P, 3) from the middle of a head or of an eyeball."""
    x, y, radius = disc
    unit = arms / np.maximum(np.linalg.norm(arms, axis=1, keepdims=True), 1e-9)
    across = np.linalg.norm(unit[:, :2], axis=1)
    reach = np.sqrt(np.clip(0.5 * (1.0 - unit[:, 2]), 0.0, 1.0)) * radius / np.maximum(across, 1e-9)
    return np.column_stack([x + reach * unit[:, 0], y - reach * unit[:, 1]]).astype(np.float32)


def _texels(disc: Disc) -> tuple[tuple[slice, slice], np.ndarray]:
    """Rows and columns of the square around a disc, a little wider, and the places (N, 2) of its texels."""
    x, y, radius = disc
    rows, columns = (
        slice(max(round((m - radius) * ATLAS) - 6, 0), min(round((m + radius) * ATLAS) + 6, ATLAS)) for m in (y, x)
    )
    down, across = np.mgrid[rows, columns]
    return (rows, columns), (np.column_stack([across.ravel(), down.ravel()]) + 0.5) / ATLAS


def _colours(head: Head, materials: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of the open head's surface nearest to places (N, 3)."""
    triangles = head.triangles[np.isin(head.material, materials)]
    steps = [(i, j, _GRID - i - j) for i in range(_GRID + 1) for j in range(_GRID + 1 - i)]
    shares = np.array(steps, np.float32) / _GRID
    points = np.einsum("sc,tci->tsi", shares, head.vertices[triangles]).reshape(-1, 3)
    uv = np.einsum("sc,tci->tsi", shares, head.uv[triangles]).reshape(-1, 2)
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    size = np.array(head.atlas.shape[1::-1])
    columns, rows = np.minimum((uv[tree.query(places)[1]] * size).astype(np.int64), size - 1).T
    found: np.ndarray = head.atlas[rows, columns]
    return found


def ambient_occlusion(
    points: Float64[np.ndarray, "P 3"], normals: Float64[np.ndarray, "P 3"], triangles: Int64[np.ndarray, "T 3"]
) -> Float64[np.ndarray, " P"]:
    """The cosine-weighted share of the sky that each point sees, 1 = open; directions from a Fibonacci sphere."""
    index = np.arange(_DIRECTIONS) + 0.5
    height = 1.0 - 2.0 * index / _DIRECTIONS
    turn = np.pi * (1.0 + np.sqrt(5.0)) * index
    ring = np.sqrt(1.0 - height**2)
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    for direction in np.column_stack([ring * np.cos(turn), height, ring * np.sin(turn)]):
        side = np.cross(direction, (0.3, 0.9, 0.1))
        side /= np.linalg.norm(side)
        view = np.column_stack([points @ side, points @ np.cross(direction, side), points @ direction])
        low, high = view[:, :2].min(axis=0), view[:, :2].max(axis=0)
        pixels = (view[:, :2] - low) / (high - low).max() * (_DEPTH_SIZE - 1)
        nearest = _depth(pixels, view[:, 2].copy(), triangles, _DEPTH_SIZE)
        cells = np.rint(pixels).astype(int)
        cosine = np.clip(normals @ direction, 0.0, None)
        total += cosine
        seen += cosine * (view[:, 2] + _BIAS_M > nearest[cells[:, 1], cells[:, 0]])
    result: np.ndarray = seen / np.maximum(total, 1e-9)
    return result


@kernel
def _depth(pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int) -> np.ndarray:
    nearest = np.full((size, size), -1e9)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t]
        ax, ay, bx, by, cx, cy = pixels[i, 0], pixels[i, 1], pixels[j, 0], pixels[j, 1], pixels[k, 0], pixels[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12:
            continue
        for y in range(int(np.ceil(min(ay, by, cy))), int(np.floor(max(ay, by, cy))) + 1):
            for x in range(int(np.ceil(min(ax, bx, cx))), int(np.floor(max(ax, bx, cx))) + 1):
                b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                if b >= 0.0 and c >= 0.0 and b + c <= 1.0:
                    z = (1.0 - b - c) * depth[i] + b * depth[j] + c * depth[k]
                    nearest[y, x] = max(nearest[y, x], z)
    return nearest


# A linear map between ARKit blendshapes and FLAME coefficients, fitted to a FLAME model of a person's own.

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
    return FlameMap(
        coefficients=coefficients.astype(np.float32),
        residual=np.where(size > 0.0, off / np.maximum(size, 1e-12), 1.0),
        factor=np.linalg.cholesky(form + 1e-12 * np.trace(form) * np.eye(_FACE)),
        registration=found,
    )


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
MOUTH_SHADE = 0.25
"""How much light gets to the sheet behind the lips."""

_LIPS_M = 0.009
"""Skin nearer than this to the line between the lips has their gloss."""
_SHEET = 9
_SHEET_DEPTH_M, _SHEET_ABOVE_M, _SHEET_BELOW_M = 0.014, 0.008, 0.030


@dataclass(frozen=True, eq=False, kw_only=True)
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
        if not abs(value) <= MOST_SHAPE:
            expected = f"a FLAME slider of at most {MOST_SHAPE:g} either way"
            raise InputError(expected, f"{name}={value:g}", "lower it")
        shape[int(number[1])] = value
    open_head = load_head()
    model = flame_model(load_flame_file(path), shape)
    fitted = fit_flame_map(model, open_head)
    found = fitted.registration
    origin = model.joints[LEFT_EYE:].mean(axis=0)
    points, triangles = model.template - origin, model.triangles.astype(np.int64)
    eyes = _eyeballs(model)
    uv = _places(points - _MIDDLE_M, _SKIN_DISC)
    for eye, members in enumerate(eyes):
        uv[members] = _places(model.template[members] - model.joints[LEFT_EYE + eye], _EYE_DISC)
    material = np.full(len(triangles), SKIN, np.uint8)
    lips_m = cKDTree(found.seam).query(model.template.astype(np.float64))[0]
    material[(lips_m[triangles] < _LIPS_M).all(axis=1)] = LIPS
    material[(eyes[0] | eyes[1])[triangles].all(axis=1)] = EYE
    openness = ambient_occlusion(points.astype(np.float64), _normals(points, model.triangles), triangles)
    sheeted = _with_sheet(model, found.seam.astype(np.float32))
    extra, sheet = len(sheeted.template) - len(points), len(sheeted.triangles) - len(triangles)
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
        weld=np.arange(len(sheeted.template), dtype=np.int32),
        uv=np.concatenate([uv, np.tile(np.array(MOUTH_PLACE, np.float32), (extra, 1))]),
        material=np.concatenate([material, np.full(sheet, TONGUE, np.uint8)]),
        occlusion=np.concatenate([openness, np.full(extra, MOUTH_SHADE)]).astype(np.float32),
        atlas=paint(points, openness, found, open_head),
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


def _with_sheet(model: FlameModel, seam: Float32[np.ndarray, "S 3"]) -> FlameModel:
    """The model with a sheet behind the lips.

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
    still = ((0, 0), (0, points.size))
    return replace(
        model,
        template=np.concatenate([model.template, points]),
        triangles=np.concatenate([model.triangles, triangles]),
        expressions=np.pad(model.expressions, still),
        correctives=np.pad(model.correctives, still),
        weights=np.concatenate([model.weights, weights]),
    )
