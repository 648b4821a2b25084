"""The FLAME model, read from a person's own file; nothing of FLAME comes with this library.

In: `generic_model.pkl` of FLAME 2019, 2020 or 2023 as its makers give it out, or an npz of the same arrays.
Out: the checked arrays. The pickle is read as data (`flame_pickle`); converting it once makes loading quicker.

>>> file = load_flame_file(Path("generic_model.pkl"))
>>> save_flame_npz(file, Path("flame.npz"))

FLAME is from Li et al., "Learning a model of facial shape and expression from 4D scans", 2017; its licence forbids
passing it on, the npz included.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from avi_lib.errors import InputError
from avi_lib.face.flame_pickle import PickleRefusedError, as_array, read_pickle
from avi_lib.files import atomic_path
from avi_lib.motion.arrays import UNREADABLE, read_array

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
