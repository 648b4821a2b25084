"""The talking generator: speech features and a style in, motion out, all frames at once and recordings of any length.

>>> generator = TalkingGenerator(features=384, channels=55)
>>> motion = generate(generator, features, style, chunk=250)  # (frames, 55) for features (2 * frames, 384)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import nn

from avi_lib.errors import InputError
from avi_lib.motion.style_encoder import STYLE
from avi_lib.motion.temporal import KERNEL, TemporalBlock

DILATIONS = (1, 2, 4, 1, 2, 4, 1, 1)


class TalkingGenerator(nn.Module):
    """Temporal blocks over speech features, each told the style; positions are relative only.

    What a style holds all the time (a raised left brow) goes straight to the channels: told to the blocks alone, rare
    movements of one side were never learned.

    features: dimensions of the speech encoder, at 50 frames a second; channels: of the motion space, at 25. The buffers
    `mean` and `deviation` (features,) normalise what comes in, `motion_mean` and `motion_deviation` (channels,) scale
    what goes out.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    motion_mean: torch.Tensor
    motion_deviation: torch.Tensor

    def __init__(self, features: int, channels: int, width: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("motion_mean", torch.zeros(channels))
        self.register_buffer("motion_deviation", torch.ones(channels))
        self.read = nn.Linear(2 * features, width)
        self.blocks = nn.ModuleList(TemporalBlock(width, dilation, STYLE, dropout) for dilation in DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, channels)
        self.hold = nn.Linear(STYLE, channels, bias=False)
        nn.init.zeros_(self.hold.weight)

    @property
    def reach(self) -> int:
        """Frames to each side that a frame of motion depends on."""
        return KERNEL // 2 * sum(DILATIONS)

    def forward(
        self,
        features: Float[torch.Tensor, "clips steps features"],
        style: Float[torch.Tensor, "clips *frames style"],
        valid: Bool[torch.Tensor, "clips frames"],
    ) -> Float[torch.Tensor, "clips frames channels"]:
        """Motion of each clip, in one style or in one for every frame; `features` has two steps for each frame."""
        clips, frames = valid.shape
        if style.ndim == 2:
            style = style[:, None]
        x = ((features - self.mean) / self.deviation).reshape(clips, frames, -1)
        x = self.read(x) * valid[..., None]
        for block in self.blocks:
            x = block(x, valid, style)
        spoken = self.say(self.norm(x)) + self.hold(style)
        motion: torch.Tensor = self.motion_mean + self.motion_deviation * spoken
        return motion * valid[..., None]


@torch.no_grad()
def generate(
    generator: TalkingGenerator,
    features: Float[torch.Tensor, "steps features"],
    style: Float[torch.Tensor, "*frames style"],
    chunk: int = 500,
) -> Float[torch.Tensor, "frames channels"]:
    """Motion of a recording of any length, `chunk` frames at a time, in one style or in one for every frame.

    Each chunk is computed with as many frames on both sides as it depends on, so that chunks join without a seam and
    the result is that of the whole, while memory stays the same. An odd number of steps is filled up with the last one.
    Raises InputError when there is no feature, or another number of styles than frames.
    """
    if not len(features) or chunk < 1:
        raise InputError(
            "speech features and a chunk of at least 1", f"{len(features)} and {chunk}", "load a recording"
        )
    if len(features) % 2:
        features = torch.cat([features, features[-1:]])
    frames, reach = len(features) // 2, generator.reach
    if style.ndim == 2 and len(style) != frames:
        raise InputError(f"a style for each of {frames} frames", f"{len(style)}", "interpolate them to the frames")
    pieces = []
    for start in range(0, frames, chunk):
        first, last = max(start - reach, 0), min(start + chunk + reach, frames)
        valid = torch.ones(1, last - first, dtype=torch.bool, device=features.device)
        held = style[None] if style.ndim == 1 else style[None, first:last]
        motion = generator(features[None, 2 * first : 2 * last], held, valid)[0]
        pieces.append(motion[start - first : start - first + chunk])
    return torch.cat(pieces)
