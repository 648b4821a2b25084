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
EXPANSION = 2


class TemporalBlock(nn.Module):
    """A depthwise convolution over time and a pointwise network, added to what comes in (ConvNeXt, Liu et al. 2022).

    With `style` its dimensions, a style scales and shifts the features after their normalisation (FiLM, Perez et al.
    2018); it starts by changing nothing. Dropout leaves out whole features of a clip.
    """

    def __init__(self, width: int, dilation: int = 1, style: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.reach = dilation * (KERNEL // 2)
        self.dilation, self.dropout = dilation, dropout
        self.mix = nn.Conv2d(width, width, (KERNEL, 1), padding=(KERNEL // 2, 0), groups=width)
        self.norm = nn.LayerNorm(width)
        self.film = nn.Linear(style, 2 * width) if style else None
        self.network = nn.Sequential(
            nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width)
        )
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self,
        x: Float[torch.Tensor, "clips frames width"],
        valid: Bool[torch.Tensor, "clips frames"],
        style: Float[torch.Tensor, "clips _ style"] | None = None,
    ) -> Float[torch.Tensor, "clips frames width"]:
        """Frames that are not valid stay 0, as if the clip ended before them; one style for all frames or one each."""
        y = self.norm(self._mixed(x))
        if self.film is not None and style is not None:
            scale, shift = self.film(style).chunk(2, dim=-1)
            y = y * (1 + scale) + shift
        kept = nn.functional.dropout(y.new_ones(len(y), 1, y.shape[-1]), self.dropout, self.training)
        return (x + self.network(y) * kept) * valid[..., None]

    def _mixed(self, x: Float[torch.Tensor, "clips frames width"]) -> Float[torch.Tensor, "clips frames width"]:
        """The convolution over time.

        Frames are folded into a picture as wide as the dilation, on whose columns it is undilated: on processors
        several times as fast as a dilated one, forward and backward.
        """
        clips, frames, width = x.shape
        folded = nn.functional.pad(x, (0, 0, 0, -frames % self.dilation)).reshape(clips, -1, self.dilation, width)
        mixed: torch.Tensor = self.mix(folded.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return mixed.reshape(clips, -1, width)[:, :frames]


def valid_frames(counts: torch.Tensor, frames: int) -> Bool[torch.Tensor, "clips frames"]:
    """Which frames of each clip are there, of `counts` (clips,) in a batch `frames` long."""
    return torch.arange(frames, device=counts.device) < counts[:, None]
