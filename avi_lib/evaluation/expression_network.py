"""Mini-Xception, a small network that tells seven expressions of a face, in torch.

>>> network = load_network()
>>> network(torch.zeros(1, 1, 64, 64)).shape            # grey faces with values from -1 to 1
torch.Size([1, 7])

Arriaga, Valdenegro-Toro and Plöger 2017, "Real-time convolutional neural networks for emotion and gender
classification": 58 thousand weights, trained on FER-2013. Batch normalisation lies within the convolutions.
`tools/assets/convert_judge.py` makes the file of weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from avi_lib.assets.manifest import ASSETS
from avi_lib.errors import InputError

EXPRESSIONS = ("angry", "disgusted", "fear", "happy", "sad", "surprised", "neutral")
"""What the network tells apart, in its order, in the words of instructions."""
SIDE = 64
WIDTHS = (16, 32, 64, 128)
_FIRST = 8
SHIPPED_JUDGE = ASSETS / "judge.safetensors"


class Spread(nn.Conv2d):
    """A convolution that pads as TensorFlow does: where an odd number of pixels is missing, more below and right."""

    def forward(self, pictures: Float[torch.Tensor, "n channels height width"]) -> torch.Tensor:
        """The convolved pictures, of the same size over the stride."""
        return super().forward(_padded(pictures, self.kernel_size[0], self.stride[0], 0.0))


class Block(nn.Module):
    """Two separable convolutions and a pooling, beside a shortcut of one convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shortcut = Spread(before, after, 1, stride=2)
        self.depth = Spread(before, before, 3, groups=before)
        self.point = Spread(before, after, 1)
        self.depth_2 = Spread(after, after, 3, groups=after)
        self.point_2 = Spread(after, after, 1)

    def forward(self, x: Float[torch.Tensor, "n before height width"]) -> torch.Tensor:
        """Half the size, more channels."""
        found = self.point_2(self.depth_2(functional.relu(self.point(self.depth(x)))))
        pooled = functional.max_pool2d(_padded(found, 3, 2, -torch.inf), 3, 2)
        return torch.as_tensor(pooled + self.shortcut(x))


class ExpressionNetwork(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, _FIRST, 3)
        self.second = nn.Conv2d(_FIRST, _FIRST, 3)
        self.blocks = nn.ModuleList(Block(b, a) for b, a in zip((_FIRST, *WIDTHS), WIDTHS, strict=False))
        self.last = Spread(WIDTHS[-1], len(EXPRESSIONS), 3)

    @torch.inference_mode()
    def forward(self, faces: Float[torch.Tensor, "n 1 height width"]) -> Float[torch.Tensor, "n expressions"]:
        """Probabilities of `EXPRESSIONS` for grey faces with values from -1 to 1."""
        x = functional.relu(self.second(functional.relu(self.first(faces))))
        for block in self.blocks:
            x = block(x)
        said: torch.Tensor = self.last(x).mean(dim=(2, 3)).softmax(dim=1)
        return said


def load_network(path: Path = SHIPPED_JUDGE) -> ExpressionNetwork:
    """The network with the weights of a safetensors file, the shipped one by default; InputError for another file."""
    network = ExpressionNetwork()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        got = f"{path}: {str(error).splitlines()[0]}"
        raise InputError("the weights of mini-Xception with seven expressions", got, "convert them again") from error
    return network.eval().requires_grad_(False)


def _padded(x: torch.Tensor, kernel: int, stride: int, value: float) -> torch.Tensor:
    missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:1:-1]]
    sides = [part for each in missing for part in (each // 2, each - each // 2)]
    return functional.pad(x, sides, value=value)
