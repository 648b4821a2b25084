"""A made-up face in the true layout of a FLAME model file, and pickles as Python 2 writes them.

Its head is the open head's skin, filled up to FLAME's counts with points and triangles of no size; it is stretched,
moved and sampled anew, so that it has to be registered. Its first expression directions are a random mix of what the
open head's blendshapes do to it.
"""

from __future__ import annotations

import pickle
import struct
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from avi_lib.face.head import Head, load_head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES

HEAD_VERTICES, HEAD_TRIANGLES, BALL_RINGS, BALL_SIDES = 3931, 7800, 17, 32
NECK_CUT_M = -0.150
STRETCH, SHIFT_M = np.array([1.05, 1.02, 1.04]), np.array([0.0, 0.025, -0.04])
"""From the open head's coordinates to those of the made-up file."""
EXPRESSION_M = 0.004
"""Largest displacement at a coefficient of 1."""


class Ch:
    """What chumpy's array of that name looks like in a pickle."""

    def __init__(self, x: np.ndarray) -> None:
        self._dirty_vars, self._itr = {"x"}, None
        self._make_dense = self._make_sparse = False
        self._depends_on_deps: dict = {}
        self.x = x


@cache
def flame_arrays() -> dict[str, np.ndarray]:
    """Dense float64 and uint32 arrays under the names of the file."""
    rng = np.random.default_rng(7)
    head = load_head()
    points, fields, faces = _skin(head, rng)
    balls = [_ball(centre, _radius(head, eye)) for eye, centre in enumerate(head.eye_centres.astype(np.float64))]
    points = np.concatenate([points, *(ball for ball, _ in balls)])
    first = HEAD_VERTICES
    for ball, triangles in balls:
        faces = np.concatenate([faces, triangles + first])
        first += len(ball)
    fields = np.concatenate([fields, np.zeros((len(points) - HEAD_VERTICES, *fields.shape[1:]))])
    template = points * STRETCH + SHIFT_M
    weights = _weights(fields)
    return {
        "v_template": template,
        "f": faces.astype(np.uint32),
        "shapedirs": np.concatenate([_smooth(template, 300, 0.002, rng), _expressions(template, fields, rng)], axis=2),
        "posedirs": _smooth(template, 36, 0.0005, rng) * (np.arange(len(template)) < HEAD_VERTICES)[:, None, None],
        "J_regressor": _regressor(template),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
    }


def flame_fields(**changes: object) -> dict[str, object]:
    """The file's dict as its makers pickle it."""
    arrays = flame_arrays()
    regressor = scipy.sparse.csc_matrix(arrays["J_regressor"])
    extra = {"J": arrays["J_regressor"] @ arrays["v_template"], "bs_style": "lbs", "bs_type": "lrotmin"}
    return {**arrays, "J_regressor": regressor, "shapedirs": Ch(arrays["shapedirs"]), **extra, **changes}


def write_flame(path: Path, **changes: object) -> Path:
    """A made-up model file, with some of its fields changed; None leaves one out."""
    held = {name: value for name, value in flame_fields(**changes).items() if value is not None}
    with path.open("wb") as stream:
        Python2Pickler(stream, 2).dump(held)
    return path


class Python2Pickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 does: byte strings as such, and the module names of its day."""

    names: ClassVar = {
        "_reconstruct": "numpy.core.multiarray _reconstruct",
        "ndarray": "numpy ndarray",
        "dtype": "numpy dtype",
        "csc_matrix": "scipy.sparse.csc csc_matrix",
        "Ch": "chumpy.ch Ch",
        "set": "__builtin__ set",
    }
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_global(self, obj, name=None):
        module, name = self.names[name or obj.__name__].split()
        self.write(b"c" + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    def save_text(self, obj):
        data = obj.encode("latin-1") if isinstance(obj, str) else obj
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        if id(obj) not in self.memo:
            self.memoize(obj)

    dispatch[bytes] = dispatch[str] = save_text
    dispatch[type] = save_global


def _skin(head: Head, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, what the 52 blendshapes and the head's turn do there (P, 53, 3), and triangles, in FLAME's numbers."""
    first = np.zeros(head.weld.max() + 1, np.int64)
    first[head.weld] = np.arange(len(head.weld))
    faces = first[head.weld[head.triangles[head.material <= 1]]]
    used, faces = np.unique(faces[(head.vertices[faces, 1] > NECK_CUT_M).all(axis=1)], return_inverse=True)
    faces = faces.reshape(-1, 3)
    moves = np.concatenate([head.shapes, np.repeat(head.head_weight[None, :, None], 3, axis=2)]).transpose(1, 0, 2)
    points, fields = head.vertices[used].astype(np.float64), moves[used].astype(np.float64)
    slid = rng.permutation(np.unique(np.sort(np.concatenate([faces[:, :2], faces[:, 1:]]), axis=1), axis=0))
    share, other = np.zeros(len(points)), np.arange(len(points))
    share[slid[:, 0]], other[slid[:, 0]] = rng.uniform(0.0, 0.35, len(slid)), slid[:, 1]
    points += share[:, None] * (points[other] - points)
    fields += share[:, None, None] * (fields[other] - fields)
    spare = np.concatenate([np.arange(len(points)), np.full(HEAD_VERTICES - len(points), points[:, 2].argmin())])
    empty = np.full((HEAD_TRIANGLES - len(faces), 3), HEAD_VERTICES - 1)
    return points[spare], fields[spare], np.concatenate([faces, empty])


def _radius(head: Head, eye: int) -> float:
    return float(np.linalg.norm(head.vertices[head.eyeballs[eye]] - head.eye_centres[eye], axis=1).mean())


def _ball(centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A sphere whose poles lie on the axis of gaze: points and triangles."""
    polar = np.arange(1, BALL_RINGS + 1) * np.pi / (BALL_RINGS + 1)
    around = np.arange(BALL_SIDES) * 2 * np.pi / BALL_SIDES
    ring = np.sin(polar)[:, None]
    grid = np.stack([ring * np.cos(around), ring * np.sin(around), np.cos(polar)[:, None] + 0 * around], axis=2)
    points = np.concatenate([grid.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]]) * radius + centre
    number = np.arange(BALL_RINGS * BALL_SIDES).reshape(BALL_RINGS, BALL_SIDES)
    after, front, back = np.roll(number, -1, axis=1), len(points) - 2, len(points) - 1
    a, b, c, d = number[:-1].ravel(), number[1:].ravel(), after[1:].ravel(), after[:-1].ravel()
    caps = [
        np.stack([np.full(BALL_SIDES, front), number[0], after[0]], 1),
        np.stack([np.full(BALL_SIDES, back), after[-1], number[-1]], 1),
    ]
    return points, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1), *caps])


def _weights(fields: np.ndarray) -> np.ndarray:
    """Jaw by how far jawOpen carries a point, the rest by the head's turn."""
    opened = -fields[:, ARKIT.index("jawOpen"), 1]
    jaw = np.clip(opened / np.quantile(opened, 0.98), 0.0, 1.0)
    turn = np.clip(fields[:, -1, 0], 0.0, 1.0)
    weights = np.stack([1 - turn, turn * (1 - jaw), turn * jaw, 0 * jaw, 0 * jaw], axis=1)
    weights[HEAD_VERTICES:] = 0.0
    balls = (len(fields) - HEAD_VERTICES) // 2
    weights[HEAD_VERTICES : HEAD_VERTICES + balls, 3] = weights[HEAD_VERTICES + balls :, 4] = 1.0
    return weights


def _regressor(template: np.ndarray) -> np.ndarray:
    """Joints as means of vertices: those next to two places each, and of all of an eyeball's."""
    matrix = np.zeros((5, len(template)))
    tree = cKDTree(template[:HEAD_VERTICES])
    for joint, (x, y, z) in enumerate([(0.05, -0.13, -0.08), (0.06, -0.06, -0.09), (0.065, -0.03, -0.075)]):
        for side in (1, -1):
            _, near = tree.query(np.array([side * x, y, z]) * STRETCH + SHIFT_M, k=8)
            matrix[joint, near] += 1 / 16
    balls = (len(template) - HEAD_VERTICES) // 2
    matrix[3, HEAD_VERTICES : HEAD_VERTICES + balls] = matrix[4, HEAD_VERTICES + balls :] = 1 / balls
    return matrix


def _smooth(template: np.ndarray, count: int, reach_m: float, rng: np.random.Generator) -> np.ndarray:
    """Random smooth displacements (V, 3, count) that fade over the directions."""
    waves = rng.normal(size=(3, count)) * 25.0
    phase, direction = rng.uniform(0, 2 * np.pi, count), rng.normal(size=(3, count))
    fading = reach_m / (1 + 0.05 * np.arange(count))
    return np.sin(template @ waves + phase)[:, None, :] * (direction * fading / np.linalg.norm(direction, axis=0))


def _expressions(template: np.ndarray, fields: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """40 random mixes of the blendshapes' principal components, then smooth directions that vanish on the eyeballs."""
    gaze = list(ARKIT.groups["gaze"])
    shapes = np.delete(fields[:, : len(ARKIT_BLENDSHAPES)], gaze, axis=1) * STRETCH
    flat = shapes.transpose(1, 0, 2).reshape(shapes.shape[1], -1)
    arms = (template - _regressor(template)[2] @ template) * _weights(fields)[:, 2:3]
    turns = np.stack([np.cross(axis, arms).ravel() for axis in np.eye(3)])
    flat -= np.linalg.lstsq(turns.T, flat.T, rcond=None)[0].T @ turns  # the jaw's part is the jaw's
    _, strength, components = np.linalg.svd(flat, full_matrices=False)
    mix = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    found = (mix @ (strength[:40, None] ** 0.5 * components[:40])).reshape(40, -1, 3).transpose(1, 2, 0)
    found *= EXPRESSION_M / np.abs(found).max(axis=(0, 1))
    rest = _smooth(template, 60, 0.001, rng) * (np.arange(len(template)) < HEAD_VERTICES)[:, None, None]
    return np.concatenate([found, rest], axis=2)
