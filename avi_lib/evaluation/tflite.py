"""Weights out of a TensorFlow Lite file, in the order in which its operators use them.

>>> for layer in read_layers(Path("emotion_model_quantized.tflite")):
...     print(layer.kind, layer.weight.shape, layer.bias.shape)

Only constants are read and nothing in the file is run: who knows the network needs no more. The format is a FlatBuffer;
its schema is schema.fbs of TensorFlow Lite, whose field numbers are named below.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError

KINDS = {3: "convolution", 4: "depthwise convolution"}
"""Operators whose weights are read, by their number in the schema."""
MOST_BYTES = 1 << 24
"""Larger files are no small network."""

_FLOAT32, _INT8 = 0, 9
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4  # of Model
_TENSORS, _OPERATORS = 0, 3  # of SubGraph
_SHAPE, _TYPE, _BUFFER, _QUANTIZATION = 0, 1, 2, 4  # of Tensor
_SCALE, _AXIS = 2, 6  # of QuantizationParameters
_DATA = 0  # of Buffer
_CODE, _INPUTS = 0, 1  # of OperatorCode, and Operator


@dataclass(frozen=True, eq=False)
class Layer:
    """Weight (out, height, width, in), of a depthwise convolution (1, height, width, out), and bias (out,)."""

    kind: str
    weight: Float32[np.ndarray, "out height width in"]
    bias: Float32[np.ndarray, " channels"]


def read_layers(path: Path) -> list[Layer]:
    """The convolutions of the first graph of a file; InputError when it is no such file or damaged.

    Weights kept as 8-bit numbers are brought to float32 by their scales.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, more than {MOST_BYTES}")
        content = path.read_bytes()
        if content[4:8] != b"TFL3":
            raise ValueError("not a TensorFlow Lite file")
        model = _Table(content, struct.unpack_from("<I", content)[0])
        codes = [code.number(_CODE, "b") for code in model.tables(_OPERATOR_CODES)]
        buffers, graph = model.tables(_BUFFERS), model.tables(_SUBGRAPHS)[0]
        tensors, found = graph.tables(_TENSORS), []
        for operator in graph.tables(_OPERATORS):
            kind = KINDS.get(codes[operator.number(0, "I")])
            if kind is not None:
                weight, bias = (_constant(tensors[i], buffers) for i in operator.vector(_INPUTS, np.int32)[1:3])
                found.append(Layer(kind, weight, bias))
        return found
    except (OSError, struct.error, ValueError, IndexError) as error:
        raise InputError("weights in the TensorFlow Lite format", f"{path}: {error}", "fetch the file again") from error


class _Table:
    """A table of a FlatBuffer: fields by number, each where the table of offsets says, or left out."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at
        self.offsets = at - struct.unpack_from("<i", content, at)[0]
        self.size = struct.unpack_from("<H", content, self.offsets)[0]

    def _place(self, field: int) -> int | None:
        if 4 + 2 * field >= self.size:
            return None
        offset = struct.unpack_from("<H", self.content, self.offsets + 4 + 2 * field)[0]
        return self.at + offset if offset else None

    def number(self, field: int, kind: str) -> int:
        """A number, 0 when it is left out."""
        place = self._place(field)
        return 0 if place is None else int(struct.unpack_from(f"<{kind}", self.content, place)[0])

    def _follow(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self.content, place)[0])

    def table(self, field: int) -> _Table:
        """A table; ValueError when it is left out."""
        place = self._place(field)
        if place is None:
            raise ValueError(f"a table without its field {field}")
        return _Table(self.content, self._follow(place))

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._span(field, 4)
        return [_Table(self.content, self._follow(start + 4 * i)) for i in range(count)]

    def vector(self, field: int, dtype: Any) -> np.ndarray:
        """A vector of numbers."""
        start, count = self._span(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self.content, dtype, count, start)

    def _span(self, field: int, size: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = self._follow(place)
        count = int(struct.unpack_from("<I", self.content, start)[0])
        if start + 4 + size * count > len(self.content):
            raise ValueError(f"a vector of {count} entries beyond the end")
        return start + 4, count


def _constant(tensor: _Table, buffers: list[_Table]) -> np.ndarray:
    shape = tensor.vector(_SHAPE, np.int32).tolist()
    kind, data = tensor.number(_TYPE, "b"), buffers[tensor.number(_BUFFER, "I")]
    dtype = {_FLOAT32: np.float32, _INT8: np.int8}.get(kind)
    if dtype is None or any(side < 0 for side in shape):
        raise ValueError(f"a constant of the type {kind} and shape {shape}")
    values = data.vector(_DATA, np.uint8).tobytes()
    if len(values) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"{len(values)} bytes for the shape {shape}")
    numbers = np.frombuffer(values, dtype).reshape(shape).astype(np.float32)
    if kind == _INT8:
        quantised = tensor.table(_QUANTIZATION)
        along = [1] * len(shape)
        along[quantised.number(_AXIS, "i")] = -1
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = numbers * quantised.vector(_SCALE, np.float32).reshape(along)
    if not np.isfinite(numbers).all():
        raise ValueError("a constant that is not finite")
    return numbers
