"""Temporal blocks: what the networks over motion and speech features are made of.

A block sees a few frames to each side, so a stack of them has a known reach and knows nothing of where in a clip a
frame lies: the same surroundings give the same answer at any time.

>>> block = TemporalBlock(width=192, dilation=2, style=128)
>>> block(x, valid, style).shape, block.reach
(torch.Size([4, 50, 192]), 6)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import nn

KERNEL = 7


class TemporalBlock(nn.Module):
    """A depthwise convolution over time and a pointwise network, added to what comes in (ConvNeXt, Liu et al. 2022).

    With `style` its dimensions, a style scales and shifts the features after their normalisation (FiLM, Perez et al.
    2018); it starts by changing nothing.
    """

    def __init__(self, width: int, dilation: int = 1, style: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.reach = dilation * (KERNEL // 2)
        self.mix = nn.Conv1d(width, width, KERNEL, padding=self.reach, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(style, 2 * width) if style else None
        self.network = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))
        self.dropout = nn.Dropout(dropout)
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self,
        x: Float[torch.Tensor, "clips frames width"],
        valid: Bool[torch.Tensor, "clips frames"],
        style: Float[torch.Tensor, "clips style"] | None = None,
    ) -> Float[torch.Tensor, "clips frames width"]:
        """Frames that are not valid stay 0, as if the clip ended before them."""
        y = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        if self.film is not None and style is not None:
            scale, shift = self.film(style)[:, None].chunk(2, dim=-1)
            y = y * (1 + scale) + shift
        return (x + self.dropout(self.network(y))) * valid[..., None]


def valid_frames(counts: torch.Tensor, frames: int) -> Bool[torch.Tensor, "clips frames"]:
    """Which frames of each clip are there, of `counts` (clips,) in a batch `frames` long."""
    return torch.arange(frames, device=counts.device) < counts[:, None]
