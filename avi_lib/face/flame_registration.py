"""Where each vertex of a FLAME face lies on the open head: the way from blendshapes of one to motion of the other.

In: a FLAME model at rest and the open head. Out: for every vertex that has one, its counterpart on the open head.

>>> found = register(model, load_head())
>>> moved = found.transfer(head.shapes)  # (52, 5023, 3) metres, in FLAME's space

No file of landmarks is needed. The eye joints and the line where the lips part, which the jaw shows, give the place;
an affine map and then a smooth displacement bring the face onto the open head's skin by iterated closest points (Besl
and McKay 1992; Amberg et al. 2007). Points count as close when they also face the same way and follow the jaw alike,
so that lips and lids find their own side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Integer
from scipy.sparse import coo_matrix, csc_matrix, diags_array, identity
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from avi_lib.errors import InputError
from avi_lib.face.flame import EXPRESSIONS, LEFT_EYE, FlameModel
from avi_lib.face.head import Head
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import MATERIAL_NAMES
from avi_lib.motion.space import ARKIT

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
    lips, `lips_m` (5023,) the distance of each vertex from them; `error_m` is the face's median distance from the open
    head's skin.
    """

    members: Int64[np.ndarray, " members"]
    corners: Int64[np.ndarray, "members 3"]
    shares: Float64[np.ndarray, "members 3"]
    to_flame: Float64[np.ndarray, "3 3"]
    seam: Float64[np.ndarray, "S 3"]
    lips_m: Float64[np.ndarray, " V"]
    error_m: float

    def transfer(self, shapes: Float32[np.ndarray, "K H 3"]) -> Float32[np.ndarray, "K members 3"]:
        """Displacements of the open head's vertices, at the members and in FLAME's space."""
        found = np.einsum("mc,kmci->kmi", self.shares.astype(np.float32), shapes[:, self.corners])
        moved: np.ndarray = found @ self.to_flame.T.astype(np.float32)
        return moved


@dataclass(frozen=True, eq=False)
class _Skin:
    """Points of a face that faces +z: where they are, where they face, and how far the jaw carries them, 0-1."""

    points: Float64[np.ndarray, "P 3"]
    normals: Float64[np.ndarray, "P 3"]
    jaw: Float64[np.ndarray, " P"]

    def features(self) -> Float64[np.ndarray, "P 7"]:
        return np.column_stack([self.points, _NORMAL_M * self.normals, _JAW_M * self.jaw])


class _Landmarks(NamedTuple):
    """The eye joints, then the mouth's middle, left and right corner, of both heads; FLAME's line between the lips."""

    flame: Float64[np.ndarray, "5 3"]
    head: Float64[np.ndarray, "5 3"]
    seam: Float64[np.ndarray, "S 3"]


def register(model: FlameModel, head: Head) -> Registration:
    """Counterparts of the vertices of a FLAME model's face on the open head.

    Raises InputError when the file's template does not come to lie on it, as when it does not face +z with y up.
    """
    skin = np.flatnonzero(model.weights[:, LEFT_EYE:].sum(axis=1) < 0.5)
    triangles = _renumbered(model.triangles, skin, len(model.template))
    rest = _flame_skin(model, skin, triangles)
    target, corners, shares = _head_skin(head)
    linear, offset, marks = _placed(model, rest, head)
    tree = cKDTree(target.features())
    near_face = np.linalg.norm(rest.points @ linear.T + offset - _FACE_CENTRE_M, axis=1) < _FACE_REACH_M
    linear, offset = _affine(rest, near_face, (linear, offset), marks, tree, target)
    points = _draped(rest.points @ linear.T + offset, triangles, rest.jaw, tree, target)
    moved = _Skin(points, _normals(points, triangles), rest.jaw)
    nearest = tree.query(moved.features())[1]
    distance = np.linalg.norm(target.points[nearest] - points, axis=1)
    fits = (distance < _NEAR_M) & (np.einsum("pi,pi->p", moved.normals, target.normals[nearest]) > _FACING)
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
        seam=marks.seam,
        lips_m=cKDTree(marks.seam).query(model.template.astype(np.float64))[0],
        error_m=error_m,
    )


def _renumbered(
    triangles: Integer[np.ndarray, "T 3"], kept: Int64[np.ndarray, " K"], count: int
) -> Int64[np.ndarray, "S 3"]:
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    numbered = place[triangles]
    return numbered[(numbered >= 0).all(axis=1)]


def _normals(points: Float64[np.ndarray, "P 3"], triangles: Int64[np.ndarray, "T 3"]) -> Float64[np.ndarray, "P 3"]:
    every = np.arange(len(points), dtype=np.int32)
    return vertex_normals(points.astype(np.float32), triangles, every).astype(np.float64)


def _flame_skin(model: FlameModel, skin: Int64[np.ndarray, " P"], triangles: Int64[np.ndarray, "T 3"]) -> _Skin:
    points = model.template[skin].astype(np.float64)
    opened = np.array([[JAW_PROBE_RAD, 0.0, 0.0]], np.float32)
    moved = model.vertices(np.zeros((1, EXPRESSIONS), np.float32), jaw=opened)[0, skin] - points
    return _Skin(points, _normals(points, triangles), _share(moved))


def _head_skin(head: Head) -> tuple[_Skin, Int64[np.ndarray, "S 3"], Float64[np.ndarray, "S 3"]]:
    """Points all over the open head's skin and lips, with the vertices around each and their weights."""
    used = head.triangles[_covering(head)]
    used = used[(head.vertices[used, 2] > _FACE_CENTRE_M[2] - _FACE_REACH_M).all(axis=1)].astype(np.int64)
    grid = np.array([(i, j, 3 - i - j) for i in range(4) for j in range(4 - i)]) / 3.0
    corners, shares = np.repeat(used, len(grid), axis=0), np.tile(grid, (len(used), 1))
    jaw = _share(head.shapes[ARKIT.index("jawOpen")].astype(np.float64), np.unique(used))
    normals = vertex_normals(head.vertices, head.triangles, head.weld).astype(np.float64)

    def spread(values: Float64[np.ndarray, "V ..."]) -> Float64[np.ndarray, "S ..."]:
        found: np.ndarray = np.einsum("sc,sc...->s...", shares, values[corners])
        return found

    return _Skin(spread(head.vertices.astype(np.float64)), spread(normals), spread(jaw)), corners, shares


def _covering(head: Head) -> Bool[np.ndarray, " T"]:
    """The open head's triangles of skin and lips."""
    covers: np.ndarray = np.isin(head.material, [MATERIAL_NAMES.index(name) for name in ("skin", "lips")])
    return covers


def _share(
    moved: Float[np.ndarray, "P 3"], of: Int64[np.ndarray, " some"] | slice = slice(None)
) -> Float64[np.ndarray, " P"]:
    """How far points go under an open jaw, the furthest percent of `of` as 1."""
    far = np.linalg.norm(moved.astype(np.float64), axis=1)
    return np.clip(far / max(float(np.quantile(far[of], 0.99)), 1e-9), 0.0, 1.0)


def _seam(skin: _Skin) -> Float64[np.ndarray, "S 3"]:
    """Points between the lips of a face at the open head's place: middles of neighbours that the jaw draws apart."""
    p = skin.points
    front = np.flatnonzero((np.abs(p[:, 0]) < 0.04) & (p[:, 1] < -0.03) & (p[:, 1] > -0.12) & (p[:, 2] > -0.01))
    pairs = front[cKDTree(p[front]).query_pairs(_SEAM_PAIR_M, output_type="ndarray")]
    apart = np.abs(skin.jaw[pairs[:, 0]] - skin.jaw[pairs[:, 1]]) > _SEAM_JUMP
    if apart.sum() < 20:
        got = f"{int(apart.sum())} places between lips"
        raise InputError("a face whose lips part when its jaw turns", got, _UNCHANGED)
    middles: np.ndarray = p[pairs[apart]].mean(axis=1)
    return middles


def _mouth(seam: Float64[np.ndarray, "S 3"]) -> Float64[np.ndarray, "3 3"]:
    """The mouth's middle, its left and its right corner: the foremost points there."""
    x = seam[:, 0]
    middle, left, right = np.abs(x) < 0.003, x > np.quantile(x, 0.95), x < np.quantile(x, 0.05)
    if not middle.any():
        raise InputError("a mouth in the middle of the face", "none there", _UNCHANGED)
    return np.stack([seam[part][seam[part, 2].argmax()] for part in (middle, left, right)])


def _placed(
    model: FlameModel, rest: _Skin, head: Head
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"], _Landmarks]:
    """Scale and place by the eye joints, and the landmarks that are found there."""
    joints, eyes = model.joints[LEFT_EYE:].astype(np.float64), head.eye_centres.astype(np.float64)
    apart = joints[0] - joints[1]
    if apart[0] < 0.9 * np.linalg.norm(apart) or apart[0] < _LEAST_EYES_M:
        raise InputError(_UPRIGHT, f"eye joints {np.round(apart, 3).tolist()} m apart", _UNCHANGED)
    scale = np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(apart)
    linear, offset = scale * np.eye(3), eyes.mean(axis=0) - scale * joints.mean(axis=0)
    seam = _seam(_Skin(rest.points @ linear.T + offset, rest.normals, rest.jaw))
    covers = np.unique(head.triangles[_covering(head)])
    points = head.vertices[covers].astype(np.float64)
    theirs = _seam(_Skin(points, np.zeros_like(points), _share(head.shapes[ARKIT.index("jawOpen")][covers])))
    flame = np.concatenate([joints, (_mouth(seam) - offset) / scale])
    return linear, offset, _Landmarks(flame, np.concatenate([eyes, _mouth(theirs)]), (seam - offset) / scale)


def _affine(
    rest: _Skin,
    used: Bool[np.ndarray, " P"],
    start: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]],
    marks: _Landmarks,
    tree: cKDTree,
    target: _Skin,
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]]:
    """The affine map that brings the face region onto the target, landmarks onto landmarks."""
    linear, offset = start
    weight = np.sqrt(_LANDMARK_WEIGHT)
    points, fixed = (np.column_stack([p, np.ones(len(p))]) for p in (rest.points[used], marks.flame))
    for _ in range(_AFFINE_STEPS):
        moved = _Skin(points[:, :3] @ linear.T + offset, rest.normals[used], rest.jaw[used])
        nearest = target.points[tree.query(moved.features())[1]]
        close = np.linalg.norm(nearest - moved.points, axis=1) < 2 * _NEAR_M
        rows = np.concatenate([points[close], weight * fixed])
        found = np.linalg.lstsq(rows, np.concatenate([nearest[close], weight * marks.head]), rcond=None)[0]
        linear, offset = found[:3].T, found[3]
    return linear, offset


def _draped(
    points: Float64[np.ndarray, "P 3"],
    triangles: Int64[np.ndarray, "T 3"],
    jaw: Float64[np.ndarray, " P"],
    tree: cKDTree,
    target: _Skin,
) -> Float64[np.ndarray, "P 3"]:
    """The points displaced smoothly onto the target: ever less stiff, unmatched places follow their neighbours."""
    bending = _bending(triangles, len(points))
    start = points
    for stiffness in _STIFFNESS:
        moved = _Skin(points, _normals(points, triangles), jaw)
        nearest = tree.query(moved.features())[1]
        close = np.linalg.norm(target.points[nearest] - points, axis=1) < 2 * _NEAR_M
        facing = np.einsum("pi,pi->p", moved.normals, target.normals[nearest]) > _FACING
        counted = (close & facing).astype(np.float64)
        system = csc_matrix(diags_array(counted + 1e-6) + stiffness * bending)
        pull = counted[:, None] * (target.points[nearest] - start)
        points = start + splu(system).solve(pull)
    return points


def _bending(triangles: Int64[np.ndarray, "T 3"], count: int) -> csc_matrix:
    """The squared graph Laplacian, which is small for displacements that change evenly."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    linked = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    linked = ((linked + linked.T) > 0).astype(np.float64)
    degrees = np.maximum(np.asarray(linked.sum(axis=1)).ravel(), 1.0)
    smooth = identity(count) - diags_array(1.0 / degrees) @ linked
    return csc_matrix(smooth.T @ smooth)
