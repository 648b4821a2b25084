"""The flow: speech, a style and noise in; brows, lids, gaze, cheeks, nose and head out, another face for every seed.

What a voice says moves the lips in one way and the rest of the face in many. So that rest is drawn: a network learns
the velocity that carries noise to motion (rectified flow, Liu et al. 2023; flow matching, Lipman et al. 2023), and a
few steps along it make a face. Motion is drawn in units of the style: a channel's level plus its spread times the draw.

>>> flow = FlowNetwork(features=384)
>>> noise = noise_of(seed=7, frames=100)
>>> draw(flow, features, contour, style, noise, steps=6).shape      # (200, 384), (100, 5), (128,) -> drawn channels
torch.Size([100, 27])
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

from avi_lib.motion.clip import ARKIT
from avi_lib.motion.style import STYLE, scale
from avi_lib.speech.prosody import CONTOUR

DRAWN = tuple(channel for channel in range(len(ARKIT)) if channel not in ARKIT.groups["lips"])
"""Channels that are drawn: all but those of the lips, jaw and tongue."""
STEPS = 6  # steps from noise to motion

FPS = 25.0
_LIDS = list(map(DRAWN.index, ARKIT.columns("eyeBlink")))
_BLINK = 0.25  # lids are drawn in units of their own: how much they move is a matter of how often they blink
COLOUR = 25  # frames to each side over which noise is smoothed to the spectrum of motion
_STEADY = {
    share: [DRAWN.index(channel) for group in groups for channel in ARKIT.groups[group]]
    for share, groups in ((1 / 6, ("gaze", "head")), (1 / 4, ("cheeks_nose",)))
}  # channels in which six steps leave two or three times the tremble of real ones, and what is taken of a neighbour
_WAVES = 32
_DILATIONS = (1, 2, 4, 1, 2, 4, 8, 1)

KERNEL, EXPANSION = 7, 2
Frames = Float[torch.Tensor, "clips frames width"]
Drawn = Float[torch.Tensor, "clips frames drawn"]
Valid = Bool[torch.Tensor, "clips frames"]
Styles = Float[torch.Tensor, "clips *frames style"]
Mask = Bool[torch.Tensor, "clips style"]


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

    @property
    def reach(self) -> int:
        """Frames to each side that a frame depends on."""
        return KERNEL // 2 * self.dilation

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


class FlowNetwork(nn.Module):
    """Temporal blocks over noisy motion and speech, scaled and shifted by time and style.

    features: dimensions of the speech encoder, at 50 a second; width: features of a frame. The buffers `mean` and
    `deviation` (features,) normalise speech, `style_mean` and `style_deviation` (128,) styles; `least` (27,) is the
    smallest spread in whose units a channel is drawn, `usual` (27,) the spread of one that is not known. `kernel`
    (27, 51) and `mix` (27, 27) give noise the spectrum and the correlations of motion: from white noise few steps and
    little training leave a tremble.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    style_mean: torch.Tensor
    style_deviation: torch.Tensor
    least: torch.Tensor
    usual: torch.Tensor
    kernel: torch.Tensor
    mix: torch.Tensor

    def __init__(self, features: int, width: int = 112, condition: int = 96, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("style_mean", torch.zeros(STYLE))
        self.register_buffer("style_deviation", torch.from_numpy(scale(ARKIT)))
        self.register_buffer("least", torch.full((len(DRAWN),), 0.01))
        self.register_buffer("usual", torch.full((len(DRAWN),), 0.05))
        kernel = np.zeros((len(DRAWN), 2 * COLOUR + 1), np.float32)
        kernel[:, COLOUR] = 1.0
        self.register_buffer("kernel", torch.from_numpy(kernel))
        self.register_buffer("mix", torch.from_numpy(np.eye(len(DRAWN), dtype=np.float32)))
        self.read_features = nn.Linear(2 * features, 64)
        self.read_speech = nn.Linear(64, width)
        self.read_contour = nn.Linear(len(CONTOUR), width)
        self.speech = nn.ModuleList(TemporalBlock(width, dilation, dropout=dropout) for dilation in (1, 2))
        self.read_style = nn.Sequential(nn.Linear(2 * STYLE, condition), nn.GELU(), nn.Linear(condition, condition))
        self.read_time = nn.Sequential(nn.Linear(2 * _WAVES, condition), nn.GELU(), nn.Linear(condition, condition))
        self.read = nn.Linear(len(DRAWN), width)
        self.blocks = nn.ModuleList(TemporalBlock(width, dilation, condition, dropout) for dilation in _DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, len(DRAWN))
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)

    @property
    def reach(self) -> int:
        """Frames to each side that a frame of a step depends on."""
        blocks = (*self.speech, *self.blocks)
        return sum(block.reach for block in blocks if isinstance(block, TemporalBlock))

    def units(self, style: Styles, known: Mask) -> tuple[torch.Tensor, torch.Tensor]:
        """Level and spread (clips, *frames, 27) of a style: motion is drawn about the one in units of the other."""
        if style.ndim == 3:
            known = known[:, None]
        channels = torch.tensor(DRAWN, device=style.device)
        level = style[..., channels] * known[..., channels]
        spread = torch.where(known[..., channels + len(ARKIT)], style[..., channels + len(ARKIT)], self.usual)
        spread = (spread.square() + self.least.square()).sqrt()
        spread[..., _LIDS] = _BLINK
        return level, spread

    def colour(self, white: Float[torch.Tensor, "clips longer drawn"]) -> Drawn:
        """Noise with the spectrum and correlations of motion, of white noise from `COLOUR` before to as many after."""
        mixed = (white @ self.mix.T).transpose(1, 2)
        return nn.functional.conv1d(mixed, self.kernel[:, None], groups=len(DRAWN)).transpose(1, 2)

    @torch.no_grad()
    def match_noise(self, motion: Drawn, true: Bool[torch.Tensor, "clips frames drawn"]) -> None:
        """Set the noise's spectrum and correlations to those of motion in units of its style, where it is true.

        Channels that never are, or hardly move, keep white noise's smooth neighbour: the mean of the others' spectra.
        """
        motion, weight = motion * true, true.float()
        size = 2 * motion.shape[1]
        power = torch.fft.rfft(motion, size, dim=1).abs().square().sum(dim=0)
        counted = weight.sum(dim=(0, 1))
        moving = (power.sum(dim=0) > 0) & (counted > 0)
        power = power / counted.clamp_min(1)
        power = torch.where(moving, power, power[:, moving].mean(dim=1, keepdim=True))
        shape = torch.fft.irfft(power.sqrt(), size, dim=0).roll(COLOUR, dims=0)[: 2 * COLOUR + 1]
        shape = shape * torch.hann_window(2 * COLOUR + 3)[1:-1, None]
        self.kernel.copy_((shape / shape.square().sum(dim=0).sqrt()).T)
        flat, there = motion.flatten(0, 1), weight.flatten(0, 1)
        scale = ((flat.square().sum(dim=0) / counted.clamp_min(1)).sqrt()).clamp_min(1e-6)
        together = (there.T @ there).clamp_min(1)
        matrix = (flat / scale).T @ (flat / scale) / together
        matrix = torch.where(torch.eye(len(DRAWN), dtype=torch.bool), 1.0, 0.97 * matrix)
        values, vectors = torch.linalg.eigh(matrix)
        root = vectors * values.clamp_min(1e-3).sqrt()
        self.mix.copy_(root / root.square().sum(dim=1, keepdim=True).sqrt())

    def hear(
        self,
        features: Float[torch.Tensor, "clips steps features"],
        contour: Float[torch.Tensor, "clips frames 5"],
        valid: Valid,
    ) -> Float[torch.Tensor, "clips frames width"]:
        """What the steps read of speech, computed once; `contour` is that of `Prosody.contour`."""
        weight = self.read_features.weight / self.deviation.repeat(2)  # on normalised features, without making them
        bias = self.read_features.bias - weight @ self.mean.repeat(2)
        narrow = nn.functional.gelu(nn.functional.linear(features.reshape(*valid.shape, -1), weight, bias))
        x = (self.read_speech(narrow) + self.read_contour(contour)) * valid[..., None]
        for block in self.speech:
            x = block(x, valid)
        return x

    def read_styles(self, style: Styles, known: Mask) -> Float[torch.Tensor, "clips _ condition"]:
        """What the steps read of a style: entries that are not known are left out and marked."""
        if style.ndim == 2:
            style = style[:, None]
        there = known[:, None].expand_as(style).to(style.dtype)
        read: torch.Tensor = self.read_style(
            torch.cat([(style - self.style_mean) / self.style_deviation * there, there], dim=-1)
        )
        return read

    def forward(
        self,
        noisy: Drawn,
        time: Float[torch.Tensor, " clips"],
        heard: Float[torch.Tensor, "clips frames width"],
        style: Float[torch.Tensor, "clips _ condition"],
        valid: Valid,
    ) -> Drawn:
        """Velocity from noise, at time 0, to motion in units of its style, at 1."""
        rates = torch.exp(torch.arange(_WAVES, device=time.device) * (math.log(1000.0) / (_WAVES - 1)))
        angles = time[:, None] * rates
        condition = style + self.read_time(torch.cat([angles.sin(), angles.cos()], dim=1))[:, None]
        x = (self.read(noisy) + heard) * valid[..., None]
        for block in self.blocks:
            x = block(x, valid, condition)
        velocity: torch.Tensor = self.say(self.norm(x)) * valid[..., None]
        return velocity


def noise_of(seed: int, frames: int) -> Float[torch.Tensor, "longer drawn"]:
    """White noise of a seed for so many frames of motion, from `COLOUR` before to as many after.

    A frame's is the same however many follow, on any machine.
    """
    rng = np.random.default_rng(seed)  # one number after the other; torch's depend on how many are drawn
    return torch.from_numpy(rng.standard_normal((frames + 2 * COLOUR, len(DRAWN)), np.float32))


@torch.no_grad()
def draw(
    network: FlowNetwork,
    features: Float[torch.Tensor, "steps features"],
    contour: Float[torch.Tensor, "frames 5"],
    style: Float[torch.Tensor, "*frames style"],
    noise: Float[torch.Tensor, "longer drawn"],
    steps: int = STEPS,
    chunk: int = 500,
) -> Float[torch.Tensor, "frames drawn"]:
    """Motion (frames, 27) of the channels `DRAWN`, in one style or in one for every frame.

    ==============================  =====================================================
    Liu et al. 2023                 variable
    Z_t, Z_0, Z_1                   `x`, the noise coloured, motion in units of its style
    v(Z_t, t), here with speech     `velocity`
    Z_(t + 1/N) = Z_t + v / N       a step
    ==============================  =====================================================

    In every step the recording is gone through `chunk` frames at a time, each with as many on both sides as it depends
    on: the result is that of the whole.
    """
    device = network.mean.device
    frames = len(noise) - 2 * COLOUR
    styles = style.expand(frames, -1) if style.ndim == 1 else style
    known = torch.ones(1, STYLE, dtype=torch.bool, device=device)
    one = torch.ones(1, frames, dtype=torch.bool, device=device)
    pieces = [
        (max(first - reach, 0), first, min(first + chunk, frames), min(first + chunk + reach, frames))
        for reach in [network.reach]
        for first in range(0, frames, chunk)
    ]
    prepared = []
    for begin, _, _, end in pieces:
        valid = one[:, begin:end]
        heard = network.hear(features[None, 2 * begin : 2 * end], contour[None, begin:end], valid)
        read = network.read_styles(style[None] if style.ndim == 1 else styles[None, begin:end], known)
        prepared.append((heard, read, valid))
    x = network.colour(noise[None].to(device))[0]

    def velocity(at: torch.Tensor, time: float) -> torch.Tensor:
        times = torch.full((1,), time, device=device)
        parts = []
        for (begin, first, last, end), (heard, read, valid) in zip(pieces, prepared, strict=True):
            part = network(at[None, begin:end], times, heard, read, valid)[0]
            parts.append(part[first - begin : last - begin])
        return torch.cat(parts)

    for step in range(steps):
        x = x + velocity(x, step / steps) / steps
    held = torch.cat([x[:1], x, x[-1:]])
    for share, channels in _STEADY.items():
        x[:, channels] = ((1 - 2 * share) * x + share * (held[:-2] + held[2:]))[:, channels]
    level, spread = network.units(styles[None], known)
    return level[0] + spread[0] * x
