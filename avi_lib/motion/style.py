"""The style encoder: motion of any length in, a style embedding of 128 numbers out.

The style of a clip is what its motion shows, never what a label says of it.

>>> style = StyleEncoder(channels=55)(motion, present, valid)
>>> style.mean.shape, style.sample(generator).shape
(torch.Size([4, 128]), torch.Size([4, 128]))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import nn

KERNEL, EXPANSION = 7, 2
STYLE = 128
Frames = Float[torch.Tensor, "clips frames width"]
Valid = Bool[torch.Tensor, "clips frames"]
LOG_VARIANCE = -3.0  # where log variances start: with the noise of a variance of 1 a generator ignores styles


class TemporalBlock(nn.Module):
    """A depthwise convolution over time and a pointwise network, added to what comes in (ConvNeXt, Liu et al. 2022).

    With `style` dimensions, a style scales and shifts the normalised features (FiLM, Perez et al. 2018); it starts by
    changing nothing. Dropout leaves out whole features of a clip.
    """

    def __init__(self, width: int, dilation: int = 1, style: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
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

    def forward(self, x: Frames, valid: Valid, style: Float[torch.Tensor, "clips _ style"] | None = None) -> Frames:
        """Frames that are not valid stay 0, as if the clip ended before them; one style for all frames or one each."""
        clips, frames, width = x.shape
        # The convolution over time. Frames are folded into a picture as wide as the dilation, on whose columns it is
        # undilated: on processors several times as fast as a dilated one, forward and backward.
        folded = nn.functional.pad(x, (0, 0, 0, -frames % self.dilation)).reshape(clips, -1, self.dilation, width)
        mixed = self.mix(folded.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = self.norm(mixed.reshape(clips, -1, width)[:, :frames])
        if self.film is not None and style is not None:
            scale, shift = self.film(style).chunk(2, dim=-1)
            y = y * (1 + scale) + shift
        kept = nn.functional.dropout(y.new_ones(len(y), 1, y.shape[-1]), self.dropout, self.training)
        return (x + self.network(y) * kept) * valid[..., None]


def valid_frames(counts: torch.Tensor, frames: int) -> Valid:
    """Which frames of each clip are there, of `counts` (clips,) in a batch `frames` long."""
    return torch.arange(frames, device=counts.device) < counts[:, None]


@dataclass(frozen=True)
class Style:
    """A normal distribution for each clip (Kingma and Welling 2014): `mean` and `log_variance` (clips, 128).

    Training keeps it near the standard normal, so that styles can be drawn and interpolated.
    """

    mean: Float[torch.Tensor, "clips style"]
    log_variance: Float[torch.Tensor, "clips style"]

    def sample(self, generator: torch.Generator | None = None) -> Float[torch.Tensor, "clips style"]:
        """A draw from each."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Float[torch.Tensor, " clips"]:
        """Kullback-Leibler divergence from the standard normal, in nats."""
        mean, log_variance = self.mean.float(), self.log_variance.float()
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class StyleEncoder(nn.Module):
    """Temporal blocks, then pooling over frames by learned queries (Lee et al. 2019).

    A channel that is not present is put to its mean; a second input says which channels are present. The buffers
    `mean` and `deviation` (channels,) normalise what comes in.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, channels: int, width: int = 160, blocks: int = 4, queries: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.read = nn.Linear(2 * channels, width)
        self.blocks = nn.ModuleList(TemporalBlock(width, 2**i, dropout=dropout) for i in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Linear(width, queries)
        self.say = nn.Linear(2 * queries * width, 2 * STYLE)
        nn.init.constant_(self.say.bias[STYLE:], LOG_VARIANCE)

    def forward(
        self,
        motion: Float[torch.Tensor, "clips frames channels"],
        present: Bool[torch.Tensor, "clips channels"],
        valid: Valid,
    ) -> Style:
        """The style of each clip; padding frames and missing channels have no part in it."""
        there = present[:, None].expand_as(motion)
        normal = (motion - self.mean) / self.deviation * there
        x = self.read(torch.cat([normal, there.to(motion.dtype)], dim=-1)) * valid[..., None]
        for block in self.blocks:
            x = block(x, valid)
        x = self.norm(x)
        attention = self.queries(x).masked_fill(~valid[..., None], -torch.inf).softmax(dim=1)
        with torch.autocast(x.device.type, enabled=False):  # a difference of near equals
            attention, x = attention.float(), x.float()
            mean = torch.einsum("nfq,nfw->nqw", attention, x)
            spread = (torch.einsum("nfq,nfw->nqw", attention, x.square()) - mean.square()).clamp_min(1e-6).sqrt()
        style, log_variance = self.say(torch.cat([mean, spread], dim=-1).flatten(1)).chunk(2, dim=1)
        return Style(style, log_variance.clamp(-8, 4))
