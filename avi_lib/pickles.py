"""Pickles of others, read as data behind the wall. A pickle is a program: only the few names that are given may occur.

>>> unpickled(file, {"numpy.ndarray": np.ndarray})
>>> (tensors,) = behind_wall(torch_tensors, file, name="weights.pth", expected="torch weights", do="fetch it again")
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
_KINDS = {"Float": np.float32, "Half": np.float16, "Double": np.float64, "Long": np.int64}


class _Tensor(NamedTuple):
    """A tensor whose numbers come later in the file."""

    storage: tuple[str, type[np.generic]]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of the names that are given."""
        asked = f"{module}.{name}"
        if asked not in self.names:
            raise ValueError(f"a pickle that holds the name {asked[:80]!r}; nothing of it was run; do not trust it")
        return self.names[asked]

    def __init__(self, file: BinaryIO, names: Mapping[str, Any], stored: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file, encoding="latin-1")
        self.names, self._stored = names, stored

    def persistent_load(self, pid: Any) -> Any:
        """What is kept beside the pickle."""
        if self._stored is None:
            raise ValueError("a pickle with a persistent name, of something that it does not hold")
        return self._stored(pid)


def unpickled(file: BinaryIO, names: Mapping[str, Any]) -> Any:
    """What a pickle holds; ValueError, before anything of it is run, for one with other names than these."""
    return _Unpickler(file, names).load()


def torch_tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Arrays by name of a state dict as `torch.save` wrote it before 1.6; ValueError for a file with anything else."""
    names: dict[str, Any] = {f"torch.{name}Storage": kind for name, kind in _KINDS.items()}
    names |= {"collections.OrderedDict": OrderedDict, "torch._utils._rebuild_tensor_v2": lambda *of: _Tensor(*of[:4])}
    kinds: dict[str, type[np.generic]] = {}

    def stored(pid: Any) -> tuple[str, type[np.generic]]:
        _, kind, key, *_ = pid
        kinds[key] = kind
        return key, kind

    if unpickled(file, {}) != MAGIC:
        raise ValueError("no weights of torch")
    unpickled(file, {}), unpickled(file, {})  # the protocol, the machine
    held, contents = _Unpickler(file, names, stored).load(), {}
    for key in unpickled(file, {}):
        (count,) = struct.unpack("<q", file.read(8))
        contents[key] = np.frombuffer(file.read(count * np.dtype(kinds[key]).itemsize), kinds[key])
    if not isinstance(held, dict) or not all(isinstance(each, _Tensor) for each in held.values()):
        raise ValueError("no state dict")
    return {str(name): _array(each, contents[each.storage[0]]) for name, each in held.items()}


def _array(of: _Tensor, numbers: np.ndarray) -> np.ndarray:
    last = of.offset + sum((count - 1) * step for count, step in zip(of.size, of.stride, strict=True))
    if min((of.offset, *of.size, *of.stride)) < 0 or last >= len(numbers):
        raise ValueError("a tensor beyond its numbers")
    steps = [step * numbers.itemsize for step in of.stride]
    return np.lib.stride_tricks.as_strided(numbers[of.offset :], of.size, steps).copy()
