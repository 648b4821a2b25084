"""FLAME: a person's own model file, and expression and joints to vertices by linear blend skinning.

>>> model = flame_model(load_flame_file(path), shape)    # shape: up to 300 coefficients of a person, or None
>>> vertices = model.vertices(expression, pose_rad)      # (frames, 5023, 3) float32, metres

A frame's vertices are v = sum_j w_j (R_j u + t_j), u = template + expression directions + pose directions (R - I), as
in Li et al. 2017 and Loper et al. 2015 (SMPL), whose joints follow the shape and the expression. Rotations are
axis-angle in radians, each in the frame of its joint's parent; frames are independent, so motion can come in chunks.
Nothing of FLAME comes with this library.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.sparse import csc_matrix, csr_matrix
from scipy.spatial.transform import Rotation

from avi_lib.errors import expect
from avi_lib.files import atomic_path
from avi_lib.pickles import unpickled
from avi_lib.wall import behind_wall

# Arrays out of somebody's FLAME file, read behind the wall. A pickle is a program: this one may name numpy's arrays,
# scipy's sparse matrices, chumpy's `Ch` and sets; any other name ends the reading before anything of it is run.


class _Held:
    """Stands for a chumpy `Ch` or a sparse matrix: what the file says about it, as attributes."""


class _Csc(_Held): ...


class _Csr(_Held): ...


_NAMES: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
_NAMES |= {"_codecs.encode": lambda text, _: text.encode("latin-1")}  # how Python 3 writes bytes in protocol 2
_NAMES |= {"chumpy.ch.Ch": _Held, "chumpy.Ch": _Held, "builtins.set": set, "__builtin__.set": set}
_NAMES |= {f"numpy.{core}.multiarray._reconstruct": np.empty(0).__reduce__()[0] for core in ("core", "_core")}
_NAMES |= {f"scipy.sparse{module}.csc_matrix": _Csc for module in ("", ".csc", "._csc")}
_NAMES |= {f"scipy.sparse{module}.csr_matrix": _Csr for module in ("", ".csr", "._csr")}


def read_flame_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of a model file, sparse ones made dense; ValueError for a pickle that asks for anything but arrays."""
    zipped = zipfile.is_zipfile(file)
    file.seek(0)
    held = dict(np.load(file, allow_pickle=False)) if zipped else unpickled(file, _NAMES)
    if not isinstance(held, dict):
        raise ValueError(f"a {type(held).__name__}, not a dict")
    if missing := [name for name in _SHAPES if name not in held]:
        raise ValueError(f"no {', '.join(missing)}")
    return {name: _array(name, held[name]) for name in _SHAPES}


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, _Csc | _Csr):
        held, kind = vars(value), csc_matrix if isinstance(value, _Csc) else csr_matrix
        matrix = kind((held["data"], held["indices"], held["indptr"]), held.get("_shape") or held["shape"])
        matrix.check_format(full_check=True)  # scipy trusts the indices otherwise
        return matrix.toarray()
    if isinstance(value, _Held):
        value = vars(value)["x"]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise ValueError(f"{name} is {getattr(value, 'dtype', type(value).__name__)}, no array of numbers")
    return value.astype(value.dtype.newbyteorder("="), copy=False)


VERTICES, TRIANGLES = 5023, 9976
JOINTS = ("global", "neck", "jaw", "left eye", "right eye")
NECK, JAW, LEFT_EYE, RIGHT_EYE = 1, 2, 3, 4
SHAPE_DIRECTIONS, EXPRESSION_DIRECTIONS = 300, 100

_SHAPES = {
    "v_template": (VERTICES, 3),
    "f": (TRIANGLES, 3),
    "shapedirs": (VERTICES, 3, SHAPE_DIRECTIONS + EXPRESSION_DIRECTIONS),
    "posedirs": (VERTICES, 3, 9 * (len(JOINTS) - 1)),
    "J_regressor": (len(JOINTS), VERTICES),
    "weights": (VERTICES, len(JOINTS)),
    "kintree_table": (2, len(JOINTS)),
}
_WHOLE = ("f", "kintree_table")
SECONDS = 20.0  # that reading a file may take
_REACH_M = 2.0  # no vertex of a head in metres lies further from the origin
_GET = "download the model again from its makers' page, flame.is.tue.mpg.de"


def load_flame_file(path: Path) -> dict[str, np.ndarray]:
    """Read and check a FLAME model, a pickle or an npz by its content.

    Its arrays come under their names in the file and with the shapes of FLAME, float32 in metres, `f` and
    `kintree_table` int32. `shapedirs` holds 300 directions of shape, then 100 of expression; `kintree_table` the parent
    of every one of JOINTS, -1 for the first, and its number.

    Raises InputError for a file that is missing, damaged, asks for anything but arrays (which is named; nothing of it
    is carried out), or holds arrays that are no FLAME: 5023 vertices, 9976 triangles, 5 joints.
    """
    expect(path.is_file(), "a FLAME model file, generic_model.pkl or an npz of it", path, "check the path")
    terms = {"name": str(path), "expected": "a FLAME model of plain arrays", "do": _GET}
    with path.open("rb") as stream:
        (arrays,) = behind_wall(read_flame_arrays, stream, **terms, seconds=SECONDS, memory_mb=2048)

    def check(good: bool | np.bool, expected: str, got: object, do: str = _GET) -> None:
        expect(good, expected, f"{got} in {path}", do)

    with np.errstate(over="ignore", invalid="ignore"):
        for name, shape in _SHAPES.items():
            array, kinds = arrays[name], "iu" if name in _WHOLE else "f"
            expected = f"FLAME's {VERTICES} vertices and {len(JOINTS)} joints, {name} of the shape {shape}"
            check(array.shape == shape, expected, array.shape, "name a FLAME model, not another body's or hand's")
            check(array.dtype.kind in kinds, f"{name} of numbers of the kind {kinds}", array.dtype)
            arrays[name] = np.ascontiguousarray(array, np.int64 if name in _WHOLE else np.float32)
            check(np.isfinite(arrays[name]).all(), f"finite {name}", "NaN or infinity")
    faces, (parents, numbers) = arrays["f"], arrays["kintree_table"]
    reach, weights = np.abs(arrays["v_template"]).max(), arrays["weights"]
    off, joints_off = (np.abs(each.sum(axis=1) - 1.0).max() for each in (weights, arrays["J_regressor"]))
    metres = f"a template in metres, within {_REACH_M:g} m of its origin"
    check(reach <= _REACH_M, metres, f"a reach of {reach:.3g}")
    vertices = f"vertices {faces.min()} to {faces.max()}"
    check(faces.min() >= 0 and faces.max() < VERTICES, f"triangles of the vertices 0-{VERTICES - 1}", vertices)
    sums = f"a sum {off:.3g} off or a negative one"
    check(off <= 1e-3 and weights.min() >= -1e-3, "skinning weights that sum to 1", sums)
    check(joints_off <= 1e-2, "a joint regressor whose rows sum to 1", "other sums")
    tree = (numbers == np.arange(5)).all() and (parents[1:] >= 0).all() and (parents[1:] < numbers[1:]).all()
    of_joints = f"a tree of the {len(JOINTS)} joints {', '.join(JOINTS)}, every parent before its children"
    check(tree, of_joints, f"parents {parents.tolist()}")
    parents[0] = -1  # the makers write 2^32 - 1
    return {name: array.astype(np.int32) if name in _WHOLE else array for name, array in arrays.items()}


def save_flame_npz(arrays: dict[str, Any], path: Path) -> None:
    """Write the arrays as npz without pickle, atomically, for quicker loading; FLAME's licence holds for it as well."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


EXPRESSIONS = 50  # expression coefficients that the FLAME motion space has, the first of the file's 100
FRAMES_AT_ONCE = 8  # frames posed together, so that their vertices stay in the processor's cache


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
        self, expression: Float[np.ndarray, "frames 50"], pose: Float[np.ndarray, "frames 5 3"]
    ) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices of every frame by its expression coefficients, about -3 to 3, and the axis-angle of its JOINTS.

        The first turns the whole at the foot of the neck, the neck's the head; the jaw opens at x > 0.
        """
        expression, pose = np.asarray(expression, np.float32), np.asarray(pose, np.float32)
        result = np.empty((len(expression), *self.template.shape), np.float32)
        for first in range(0, len(expression), FRAMES_AT_ONCE):
            some = slice(first, first + FRAMES_AT_ONCE)
            result[some] = self._posed(expression[some], pose[some])
        return result

    def _posed(self, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
        frames = len(pose)
        turns = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(frames, -1, 3, 3).astype(np.float32)
        bent = (turns[:, 1:] - np.eye(3, dtype=np.float32)).reshape(frames, -1)
        flat = self.template.reshape(-1) + expression @ self.expressions
        active = np.flatnonzero(bent.any(axis=0))
        flat += bent[:, active] @ self.correctives[active]
        joints = self.joints + (expression @ self.joint_expressions).reshape(frames, -1, 3)
        placed = np.empty((*turns.shape[:3], 4), np.float32)  # [R | t] of every joint, from rest to where it stands
        for joint, parent in enumerate(self.parents):
            turn, arm = turns[:, joint], joints[:, joint, :, None]
            own = np.concatenate([turn, arm - turn @ arm], axis=2)
            if parent >= 0:
                above = placed[:, parent]
                own = above[..., :3] @ own
                own[..., 3] += above[..., 3]
            placed[:, joint] = own
        blended = (self.weights @ placed.reshape(frames, -1, 12)).reshape(frames, -1, 3, 4)
        moved: np.ndarray = np.einsum("fvij,fvj->fvi", blended[..., :3], flat.reshape(frames, -1, 3)) + blended[..., 3]
        return moved


def flame_model(file: dict[str, np.ndarray], shape: Float[np.ndarray, " coefficients"] | None = None) -> FlameModel:
    """The model of a person with these shape coefficients, at most 300; of the average face without."""
    shape = np.zeros(0) if shape is None else shape
    directions = file["shapedirs"][:, :, SHAPE_DIRECTIONS : SHAPE_DIRECTIONS + EXPRESSIONS]
    template = file["v_template"] + file["shapedirs"][:, :, : len(shape)] @ np.asarray(shape, np.float32)
    joint_directions = np.einsum("jv,vie->eji", file["J_regressor"], directions)
    expressions, correctives = (
        np.ascontiguousarray(each.reshape(-1, each.shape[2]).T) for each in (directions, file["posedirs"])
    )
    return FlameModel(
        template=template,
        triangles=file["f"],
        expressions=expressions,
        correctives=correctives,
        weights=file["weights"],
        joints=file["J_regressor"] @ template,
        joint_expressions=np.ascontiguousarray(joint_directions.reshape(EXPRESSIONS, -1)),
        parents=tuple(file["kintree_table"][0].tolist()),
    )
