"""The FLAME model at work: expression and joints to vertices by linear blend skinning with pose correctives.

>>> model = flame_model(load_flame_file(path), shape)    # shape: up to 300 coefficients of a person, or None
>>> vertices = model.vertices(expression, jaw=jaw_rad)   # (frames, 5023, 3) float32, metres

A frame's vertices are v = sum_j w_j (R_j u + t_j), u = template + expression directions + pose directions (R - I), as
in Li et al. 2017 and Loper et al. 2015 (SMPL), whose joints follow the shape and the expression. Rotations are
axis-angle in radians, each in the frame of its joint's parent; frames are independent, so motion can come in chunks.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
import zipfile
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import UNREADABLE, read_array

# Arrays out of a pickle, without unpickling: nothing that the file names is ever imported or called.


Kind = TypeVar("Kind")

MOST_OPCODES = 20_000
"""A FLAME file has some hundreds; what they can build stays small."""
MOST_DENSE = 1 << 20
"""Numbers of a sparse matrix with its zeros: FLAME's joint regressor has 25 115."""

_ARRAY = {f"numpy{core}.multiarray _reconstruct" for core in (".core", "._core")}
_SPARSE = {
    f"scipy.sparse{module} {kind}_matrix": kind for kind in ("csc", "csr") for module in ("", f".{kind}", f"._{kind}")
}
_CHUMPY = {"chumpy.ch Ch", "chumpy Ch"}
_BYTES = "_codecs encode"
_SETS = {"__builtin__ set", "builtins set"}
ALLOWED = frozenset({*_ARRAY, *_SPARSE, *_CHUMPY, *_SETS, _BYTES, "numpy ndarray", "numpy dtype"})
"""Names, as "module name", that a file may speak of. Sets are what chumpy keeps about itself; nothing reads them."""

_LITERALS = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DTYPE = re.compile(r"[fiu][1248]|b1")
_ORDERS = {"<": "<", ">": ">", "|": "|", "=": "="}


class PickleRefusedError(ValueError):
    """The file asks for something that is no data."""


@dataclass(frozen=True)
class Name:
    """A class or function that the file speaks of, as "module name"."""

    text: str


@dataclass(eq=False)
class Thing:
    """What the file would make by calling `name` with `args` and giving it `state`."""

    name: str
    args: tuple[object, ...]
    state: object = None


def read_pickle(data: bytes) -> object:
    """The data of a pickle; text is str, and so are Python 2's byte strings, decoded as latin-1.

    Raises PickleRefusedError for a name that is not ALLOWED, an opcode that does more than build data, or too many
    of them; ValueError, IndexError, KeyError or TypeError for a damaged file.
    """
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a backslash in a name, which is refused anyway
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MOST_OPCODES:
                raise PickleRefusedError(f"more than {MOST_OPCODES} steps")
            machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """The stack machine: a stack, the places where groups of values begin, and what was put by for later."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def step(self, opcode: str, argument: object) -> None:
        """Carry out one opcode."""
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self.stack.append(_EMPTY[opcode]())
        elif opcode in _TUPLES:
            self.stack.append(tuple(self._last(_TUPLES[opcode])))
        elif opcode in ("GLOBAL", "STACK_GLOBAL"):
            parts = [argument] if opcode == "GLOBAL" else self._last(2)
            self.stack.append(_allowed(" ".join(_expected(part, str) for part in parts)))
        elif opcode in ("REDUCE", "NEWOBJ"):
            self.stack.append(_thing(*self._last(2)))
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            self._move(opcode, argument)

    def _move(self, opcode: str, argument: object) -> None:
        match opcode, argument:
            case "MARK", _:
                self._marks.append(len(self.stack))
            case "TUPLE", _:
                self.stack.append(tuple(self._group()))
            case (("BINPUT" | "LONG_BINPUT"), int(place)):
                self._memo[place] = self.stack[-1]
            case "MEMOIZE", _:
                self._memo[len(self._memo)] = self.stack[-1]
            case (("BINGET" | "LONG_BINGET"), int(place)):
                self.stack.append(self._memo[place])
            case (("APPEND" | "APPENDS" | "ADDITEMS"), _):
                items = self._last(1) if opcode == "APPEND" else self._group()
                _expected(self.stack[-1], list).extend(items)
            case (("SETITEM" | "SETITEMS"), _):
                items = self._last(2) if opcode == "SETITEM" else self._group()
                keys = [_expected(key, str) for key in items[::2]]  # hashing nested tuples can take forever
                _expected(self.stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "BUILD", _:
                (state,) = self._last(1)
                _expected(self.stack[-1], Thing).state = state
            case _:
                raise PickleRefusedError(f"the opcode {opcode}")

    def _last(self, count: int) -> list[object]:
        if len(self.stack) < count:
            raise ValueError("a value is missing")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _group(self) -> list[object]:
        start = self._marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken


def _allowed(name: str) -> Name:
    if name not in ALLOWED:
        raise PickleRefusedError(f"the name {name.replace(' ', '.')[:80]!r}")
    return Name(name)


def _thing(called: object, args: object) -> Thing:
    if not isinstance(called, Name):
        raise PickleRefusedError(f"a call of a {type(called).__name__}")
    return Thing(called.text, _expected(args, tuple))


def _expected(value: object, kind: type[Kind]) -> Kind:
    """The value; ValueError when it is of another type."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def as_array(value: object) -> np.ndarray:
    """The array that a numpy array, a sparse matrix (made dense) or a chumpy `Ch` holds.

    Raises ValueError where it is none of these, holds anything but plain numbers, or its parts do not fit together.
    """
    if isinstance(value, Thing) and value.name in _CHUMPY:
        value = _expected(value.state, dict)["x"]
    if isinstance(value, Thing) and value.name in _SPARSE:
        return _dense(_SPARSE[value.name], _expected(value.state, dict))
    if not isinstance(value, Thing) or value.name not in _ARRAY:
        raise ValueError(f"{value.name if isinstance(value, Thing) else type(value).__name__}, which is no array")
    _, shape, dtype, by_columns, data = _expected(value.state, tuple)
    return _numbers(_whole(shape), _dtype(dtype), "F" if by_columns else "C", _bytes(data))


def _numbers(shape: tuple[int, ...], dtype: np.dtype, order: str, data: bytes) -> np.ndarray:
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array of the shape {shape} and type {dtype}")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _whole(shape: object) -> tuple[int, ...]:
    sizes = tuple(_expected(size, int) for size in _expected(shape, tuple))
    if len(sizes) > 4 or min(sizes, default=0) < 0:
        raise ValueError(f"an array of {len(sizes)} axes or a negative size")
    return sizes


def _dtype(value: object) -> np.dtype:
    thing = _expected(value, Thing)
    code, state = _expected(thing.args[0], str), _expected(thing.state, tuple)
    if thing.name != "numpy dtype" or not _DTYPE.fullmatch(code):
        raise PickleRefusedError(f"an array of the type {code[:40]!r}")
    return np.dtype(_ORDERS[_expected(state[1], str)] + code)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Thing) and value.name == _BYTES:
        value = value.args[0]
    return _expected(value, str).encode("latin-1")


def _dense(kind: str, state: dict[str, object]) -> np.ndarray:
    """A sparse matrix with its zeros. Scipy's own conversion trusts the indices and crashes on bad ones."""
    rows, columns = _whole(state["_shape"] if "_shape" in state else state["shape"])
    if rows * columns > MOST_DENSE:
        raise ValueError(f"a sparse matrix of {rows} x {columns}, which is too large to write out")
    data, indices, starts = (as_array(state[name]) for name in ("data", "indices", "indptr"))
    lines, places = (columns, rows) if kind == "csc" else (rows, columns)
    if data.dtype.kind != "f" or {indices.dtype.kind, starts.dtype.kind} != {"i"}:
        raise ValueError(f"a sparse matrix of the types {data.dtype}, {indices.dtype} and {starts.dtype}")
    if starts.shape != (lines + 1,) or not data.size == indices.size == starts[-1] or data.ndim != 1:
        raise ValueError("a sparse matrix whose parts are of other lengths")
    counts: np.ndarray = starts[1:].astype(np.int64) - starts[:-1]
    if starts[0] != 0 or (counts < 0).any() or (indices < 0).any() or (indices >= places).any():
        raise ValueError("a sparse matrix with indices out of range")
    dense = np.zeros((lines, places), data.dtype)
    np.add.at(dense, (np.repeat(np.arange(lines), counts), indices.ravel()), data)
    return dense.T if kind == "csc" else dense


# The FLAME model, read from a person's own file; nothing of FLAME comes with this library.


VERTICES, TRIANGLES = 5023, 9976
JOINTS = ("global", "neck", "jaw", "left eye", "right eye")
SHAPE_DIRECTIONS, EXPRESSION_DIRECTIONS = 300, 100

_POSED_JOINTS = len(JOINTS) - 1
_SHAPES = {
    "v_template": (VERTICES, 3),
    "f": (TRIANGLES, 3),
    "shapedirs": (VERTICES, 3, SHAPE_DIRECTIONS + EXPRESSION_DIRECTIONS),
    "posedirs": (VERTICES, 3, 9 * _POSED_JOINTS),
    "J_regressor": (len(JOINTS), VERTICES),
    "weights": (VERTICES, len(JOINTS)),
    "kintree_table": (2, len(JOINTS)),
}
_KINDS = {"f": "iu", "kintree_table": "iu"}
_MOST_BYTES = 1 << 28
"""Of the file and of each array: the makers' files have some 55 MB."""
_REACH_M = 2.0
"""No vertex of a head in metres lies further from the origin."""
_GET = "download the model again from its makers' page, flame.is.tue.mpg.de"


@dataclass(frozen=True, eq=False)
class FlameFile:
    """The arrays of a FLAME model under their names in the file, in metres; the joints are JOINTS in order.

    `shapedirs` holds 300 directions of shape, then 100 of expression; `kintree_table` the parent of every joint, -1
    for the first, and its number.
    """

    v_template: Float32[np.ndarray, "5023 3"]
    f: Int32[np.ndarray, "9976 3"]
    shapedirs: Float32[np.ndarray, "5023 3 400"]
    posedirs: Float32[np.ndarray, "5023 3 36"]
    J_regressor: Float32[np.ndarray, "5 5023"]
    weights: Float32[np.ndarray, "5023 5"]
    kintree_table: Int32[np.ndarray, "2 5"]


def load_flame_file(path: Path) -> FlameFile:
    """Read and check a FLAME model, a pickle or an npz by its content.

    Raises InputError for a file that is missing, larger than 256 MiB, damaged, asks for anything but arrays (which is
    named; nothing of it is carried out), or holds arrays that are no FLAME: 5023 vertices, 9976 triangles, 5 joints.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("a FLAME model file, generic_model.pkl or an npz of it", str(path), "check the path")
    if path.stat().st_size > _MOST_BYTES:
        got = f"{path} with {path.stat().st_size} bytes"
        raise InputError(f"a FLAME model of at most {_MOST_BYTES} bytes", got, "name the model's own file")
    try:
        arrays = _from_npz(path) if zipfile.is_zipfile(path) else _from_pickle(path)
    except PickleRefusedError as error:
        got = f"{path}, a pickle that holds {error}; nothing of it was run"
        raise InputError("a FLAME model of plain arrays", got, f"do not trust this file; {_GET}") from error
    except (*UNREADABLE, IndexError, OverflowError) as error:
        raise InputError("a FLAME model of plain arrays", f"{path}: {_said(error)}", _GET) from error
    return _checked(arrays, path)


def save_flame_npz(file: FlameFile, path: Path) -> None:
    """Write the arrays as npz without pickle, atomically, for quicker loading; FLAME's licence holds for it as well."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{field.name: getattr(file, field.name) for field in fields(file)})


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: read_array(partial(archive.open, f"{name}.npy"), name, _KINDS.get(name, "f"), _MOST_BYTES)
            for name in _SHAPES
        }


def _from_pickle(path: Path) -> dict[str, np.ndarray]:
    held = read_pickle(path.read_bytes())
    if not isinstance(held, dict):
        raise ValueError(f"a {type(held).__name__}, not a dict")
    if missing := [name for name in _SHAPES if name not in held]:
        raise ValueError(f"no {', '.join(missing)}")
    return {name: _named(name, held[name]) for name in _SHAPES}


def _named(name: str, value: object) -> np.ndarray:
    try:
        return as_array(value)
    except PickleRefusedError as error:
        raise PickleRefusedError(f"{error} as {name}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{name}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    said = (str(error).splitlines() or ["cut short"])[0][:200]
    return f"no {said}" if isinstance(error, KeyError) else said


def _checked(arrays: dict[str, np.ndarray], path: Path) -> FlameFile:
    """The arrays with the types that are worked with; InputError where they are no FLAME."""
    worked = {}
    for name, shape in _SHAPES.items():
        array, kinds = arrays[name], _KINDS.get(name, "f")
        if array.shape != shape:
            expected = f"FLAME's {VERTICES} vertices and {len(JOINTS)} joints, {name} of the shape {shape}"
            raise InputError(expected, f"{array.shape} in {path}", "name a FLAME model, not another body's or hand's")
        if array.dtype.kind not in kinds:
            raise InputError(f"{name} of numbers of the kind {kinds}", f"{array.dtype} in {path}", _GET)
        with np.errstate(over="ignore"):
            worked[name] = np.ascontiguousarray(array, np.float32 if kinds == "f" else np.int64)
        if not np.isfinite(worked[name]).all():
            raise InputError(f"finite {name}", f"NaN or infinity in {path}", _GET)
    if np.abs(worked["v_template"]).max() > _REACH_M:
        got = f"vertices {np.abs(worked['v_template']).max():.3g} from the origin in {path}"
        raise InputError(f"a template in metres, within {_REACH_M:g} m of its origin", got, _GET)
    _check_relations(worked, path)
    worked["kintree_table"][0, 0] = -1  # the makers write 2^32 - 1
    return FlameFile(**{name: a if a.dtype == np.float32 else a.astype(np.int32) for name, a in worked.items()})


def _check_relations(arrays: dict[str, np.ndarray], path: Path) -> None:
    faces, weights, table = arrays["f"], arrays["weights"], arrays["kintree_table"]
    if faces.min() < 0 or faces.max() >= VERTICES:
        got = f"vertices {faces.min()} to {faces.max()} in {path}"
        raise InputError(f"triangles of the vertices 0-{VERTICES - 1}", got, _GET)
    off = np.abs(weights.sum(axis=1) - 1.0).max()
    if off > 1e-3 or weights.min() < -1e-3:
        raise InputError("skinning weights that sum to 1", f"a sum {off:.3g} off or a negative one in {path}", _GET)
    if np.abs(arrays["J_regressor"].sum(axis=1) - 1.0).max() > 1e-2:
        raise InputError("a joint regressor whose rows sum to 1", f"other sums in {path}", _GET)
    numbers, parents = table[1], table[0, 1:]
    if (numbers != np.arange(len(JOINTS))).any() or (parents < 0).any() or (parents >= numbers[1:]).any():
        expected = f"a tree of the {len(JOINTS)} joints {', '.join(JOINTS)}, every parent before its children"
        raise InputError(expected, f"parents {table[0].tolist()} in {path}", _GET)


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
