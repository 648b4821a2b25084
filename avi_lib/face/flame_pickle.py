"""Arrays out of a pickle, without unpickling: nothing that the file names is ever imported or called.

    fields = read_pickle(path.read_bytes())   # {"v_template": Thing(...), "bs_type": "lrotmin", ...}
    template = as_array(fields["v_template"])  # (5023, 3) float64

A pickle is a program for a stack machine. This reader carries out the part of it that builds data. Where the program
asks for a class or a function, the name must be one of ALLOWED, and all that comes of it is a `Thing`: the name, its
arguments and its state as data. `as_array` then reads numpy arrays, scipy's sparse matrices and chumpy's `Ch` from it.
The opcodes are decoded by the standard library's `pickletools`, which only reads.

Protocols 2 to 4 as Python 2 and 3 write them; text protocols are refused.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

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
