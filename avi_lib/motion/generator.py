"""The style encoder and the talking generator: motion to a style; speech features and a style to motion, all at once.

>>> generator = load_generator()                                  # the shipped weights, or a path to one's own
>>> motion = generator.perform(generator.listen(wave), performer, Instruction.parse("She is furious."), seed=7)

The style is one that a `PriorSampler` draws for a sentence, or that of the performer's own performance of it. Blinks,
gaze, sway, nods and shakes are the performer's: speech does not say when they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import nn

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.motion.clip import ARKIT, SPACES, MotionClip, MotionSpace
from avi_lib.motion.performer import Performer
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.weights import build_network, read_about, read_weights, save_weights, weights_of

# The style encoder: motion of any length in, a style embedding of 128 numbers out.


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
class StylePosterior:
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
    ) -> StylePosterior:
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
        return StylePosterior(style, log_variance.clamp(-8, 4))


SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "talking.safetensors"
FORMATS = (1, 2)  # 1 is the same without the generator's `hold`, which then holds nothing
KIND, REMEDY = "talking model", "train them with notebook 03, or check the path"
FPS = 25.0
DILATIONS = (1, 2, 4, 1, 2, 4, 1, 1)
LEAST_STYLE = 0.1
RESTARTED_LOG_VARIANCE = -4.0

Features = Float32[np.ndarray, "steps dim"]
Style = Float32[np.ndarray, " style"]


class TalkingGenerator(nn.Module):
    """Temporal blocks over speech features, each conditioned on the style; positions are relative only.

    `hold` takes what a style shows all the time (a raised left brow) straight to the channels: through the blocks alone
    rare movements of one side were never learned.

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
        motion = self.motion_mean + self.motion_deviation * (self.say(self.norm(x)) + self.hold(style))
        return motion * valid[..., None]


@torch.no_grad()
def generate(
    generator: TalkingGenerator,
    features: Float[torch.Tensor, "steps features"],
    style: Float[torch.Tensor, "*frames style"],
    chunk: int = 500,
) -> Float[torch.Tensor, "frames channels"]:
    """Motion of a recording of any length, `chunk` frames at a time, in one style or in one for every frame.

    Each chunk is computed with as many frames on both sides as it depends on: chunks join without a seam, the result is
    that of the whole, and memory stays the same. An odd number of steps is filled up with the last one. Raises
    InputError when there is no feature, or another number of styles than frames.
    """
    if not len(features):
        raise InputError("speech features", "none", "load a recording")
    if len(features) % 2:
        features = torch.cat([features, features[-1:]])
    frames, reach = len(features) // 2, generator.reach
    if style.ndim == 2 and len(style) != frames:
        raise InputError(f"a style for each of {frames} frames", f"{len(style)}", "interpolate them to the frames")
    pieces = []
    for start in range(0, frames, chunk):
        first, last = max(start - reach, 0), min(start + chunk + reach, frames)
        valid = torch.ones(1, last - first, dtype=torch.bool, device=features.device)
        styles = style[None] if style.ndim == 1 else style[None, first:last]
        motion = generator(features[None, 2 * first : 2 * last], styles, valid)[0]
        pieces.append(motion[start - first : start - first + chunk])
    return torch.cat(pieces)


# The talking model: a style encoder and a talking generator that were trained together, and the file they live in.


@dataclass(frozen=True)
class Shape:
    """What a talking model is made for and how large it is."""

    space: str  # name of the motion space
    encoder: str  # name of the speech encoder whose features it reads
    fingerprint: str  # digest of that encoder's weights
    features: int  # dimensions of them
    width: int  # features within the generator
    style_width: int  # features within the style encoder


class TalkingModel(nn.Module):
    """`style`, the encoder, and `generator`."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        channels = len(self.space)
        self.style = StyleEncoder(channels, shape.style_width, dropout=dropout)
        self.generator = TalkingGenerator(shape.features, channels, shape.width, dropout)

    @property
    def space(self) -> MotionSpace:
        """The motion space of what it reads and writes."""
        return SPACES[self.shape.space]

    @torch.no_grad()
    def style_of(self, motion: MotionClip) -> Style:
        """The style (128,) that a motion of any length shows; channels that are not present are not looked at.

        Raises InputError for motion of another space or rate.
        """
        if motion.space is not self.space or motion.fps != FPS:
            expected = f"motion of the space {self.shape.space} at {FPS:g} frames a second"
            raise InputError(expected, f"{motion.space.name} at {motion.fps:g}", "convert it first")
        values = self._tensor(motion.values)[None]
        present = torch.tensor(motion.present, device=values.device)[None]
        style = self.style(values, present, torch.ones(1, len(motion), dtype=torch.bool, device=values.device))
        return np.asarray(style.mean[0].float().cpu())

    def motion_of(
        self, features: Float[np.ndarray, "steps dim"], style: Float[np.ndarray, "*frames style"]
    ) -> MotionClip:
        """Motion of a recording of any length in a style, or in one for every frame, within the limits of the space.

        Raises InputError for features of another width, for values that are not finite, and for another number of
        styles than frames.
        """
        if features.shape[1] != self.shape.features or not (np.isfinite(features).all() and np.isfinite(style).all()):
            expected = f"finite features (steps, {self.shape.features}) of {self.shape.encoder}, and a finite style"
            raise InputError(expected, f"{features.shape}", "encode the speech with that encoder")
        motion = generate(self.generator, self._tensor(features), self._tensor(style))
        return MotionClip(self.space.limited(motion.float().cpu().numpy()), FPS, self.space)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """A float32 copy: arrays may be read-only or run backwards, which torch cannot share."""
        return torch.from_numpy(np.array(values, np.float32, order="C")).to(self.generator.mean.device)


@torch.no_grad()
def whiten_styles(model: TalkingModel, styles: Float[np.ndarray, "clips style"]) -> None:
    """Turn and stretch the space of styles, in place, so that the styles of some clips are white: the motion stays.

    The generator learns a direction at the pace of the styles' variance in it: what moves styles little (the left brow
    without the right) would never be learned. Directions in which they hardly vary are stretched up to 1 /
    `LEAST_STYLE`. The spread of single styles begins again at `RESTARTED_LOG_VARIANCE`.
    """
    mean = torch.from_numpy(styles.mean(axis=0))
    _, deviation, directions = np.linalg.svd((styles - styles.mean(axis=0)) / np.sqrt(len(styles)), full_matrices=True)
    deviation = np.pad(deviation, (0, STYLE - len(deviation)))
    stretch = torch.from_numpy(1 / np.maximum(deviation, LEAST_STYLE)).float()
    turn = torch.from_numpy(directions).float()
    say = model.style.say
    say.weight[:STYLE] = stretch[:, None] * (turn @ say.weight[:STYLE])
    say.bias[:STYLE] = stretch * (turn @ (say.bias[:STYLE] - mean))
    say.weight[STYLE:] = 0.0
    say.bias[STYLE:] = RESTARTED_LOG_VARIANCE
    generator = model.generator
    films = [block.film for block in generator.modules() if isinstance(block, TemporalBlock) and block.film is not None]
    for weight, bias in [*((film.weight, film.bias) for film in films), (generator.hold.weight, generator.say.bias)]:
        bias.add_(weight @ mean)
        weight.copy_(weight @ turn.T / stretch)


def save_talking_model(model: TalkingModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences.

    Raises InputError for weights that are not finite or too large for float16.
    """
    save_weights(model, path, {"format": FORMATS[-1], "shape": asdict(model.shape), "about": about or {}})


def load_talking_model(path: Path) -> TalkingModel:
    """Read a talking model, ready to be used; InputError when the file is missing, damaged or something else."""
    with weights_of(KIND, path, REMEDY):
        header, tensors = read_weights(path, FORMATS)
        shape = Shape(**header["shape"])
        if header["format"] == 1:
            tensors["generator.hold.weight"] = torch.zeros(len(SPACES[shape.space]), STYLE)
        return build_network(lambda: TalkingModel(shape), tensors)


def read_talking_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    with weights_of(KIND, path, REMEDY):
        return read_about(path, FORMATS)


@dataclass(frozen=True, eq=False)
class LearnedGenerator:
    """A talking model, its speech encoder, why these, and a warning for the user, if any."""

    model: TalkingModel
    encoder: SpeechEncoder
    reason: str
    warning: str | None = None

    def listen(self, wave: Float32[np.ndarray, " samples"]) -> Features:
        """The features (steps, dim) of a recording (samples,) at 16 kHz."""
        return self.encoder.encode(wave)

    def style_of(self, performer: Performer, instruction: Instruction, seed: int) -> Style:
        """The style of the performer's own performance of an instruction; the seed decides its small variations."""
        return self.model.style_of(performer.perform_with_still(instruction, seed)[1])

    def perform(
        self, features: Features, performer: Performer, instruction: Instruction, seed: int, style: Style | None = None
    ) -> MotionClip:
        """Motion of the recording that the performer was made for, under an instruction.

        style: (128,), such as a `PriorSampler` draws; that of the performer's own performance when None. The seed
        decides blinks, gaze, sway, nods and shakes. Raises InputError when the performer has not 25 frames a second.
        """
        style = self.style_of(performer, instruction, seed) if style is None else style
        return self.perform_timeline(features, performer, Timeline((Entry(0.0, instruction),)), seed, [style])

    def perform_timeline(
        self, features: Features, performer: Performer, timeline: Timeline, seed: int, styles: Sequence[Style]
    ) -> MotionClip:
        """Motion under a timeline: its styles, one an entry, fade into one another frame by frame.

        Nods and shakes fade with them. Blinks, gaze and sway stay those of the first entry.
        """
        if performer.settings.fps != FPS:
            got = f"{performer.settings.fps:g}"
            raise InputError(f"{FPS:g} frames a second for the learned generator", got, "use the performer")
        first, frames = timeline.instructions[0], len(performer)
        weights = timeline.weights(frames, FPS)
        # what colours idle behaviour, without what is asked of the face itself, such as shut eyes
        blinks = {name: strength for name, strength in first.action_units.items() if name.startswith("blink")}
        added = performer.idle(Instruction(first.text, first.emotion, first.level, blinks), seed)
        for weight, instruction in zip(weights.T, timeline.instructions, strict=True):
            if {"head_nod", "head_shake"} & instruction.action_units.keys():
                added = added + weight[:, None] * performer.rhythm(instruction, seed)
        style = styles[0]
        if len(styles) > 1:
            style = _as_long(weights @ np.stack(styles), (len(features) + 1) // 2)
        values = _as_long(self.model.motion_of(features, style).values, frames) + added
        return MotionClip(ARKIT.limited(values), FPS, ARKIT)


def _as_long(values: Float32[np.ndarray, "_ columns"], frames: int) -> Float32[np.ndarray, "frames columns"]:
    """Rows cut, or the last one repeated, to a number of frames."""
    return np.pad(values, ((0, max(frames - len(values), 0)), (0, 0)), mode="edge")[:frames]


def load_generator(weights: Path | None = None, encoder: str | None = None) -> LearnedGenerator:
    """The learned generator of a file of weights, the shipped ones when None.

    encoder: name of the speech encoder or path to it; the one the model was trained with when None.

    Raises:
        InputError: the weights are missing, damaged or of another motion space, or the encoder does not fit.
    """
    path = weights or SHIPPED
    model = load_talking_model(path)
    if model.space is not ARKIT:
        raise InputError("a talking model of the space ARKIT", f"{path} of {model.shape.space}", "name another")
    found = load_encoder(encoder or model.shape.encoder)
    warning = check_encoder(found, model.shape.encoder, model.shape.features, model.shape.fingerprint, "--encoder")
    where = "shipped weights" if weights is None else str(path)
    return LearnedGenerator(model, found, f"{where}; reads through {found.name}: {found.reason}", warning)


def check_encoder(found: Any, name: str, features: int, fingerprint: str, option: str) -> str | None:
    """A warning where an encoder is another build than weights were trained with; InputError for another encoder."""
    same = found.fingerprint == fingerprint
    if found.dim != features or not (same or found.name == name):
        expected = f"the encoder {name} with {features} features, which the weights were trained with"
        raise InputError(expected, f"{found.name} with {found.dim}", f"name that one, by {option} where it is a path")
    if same:
        return None
    return f"{found.name} is not the build that the weights were trained with: look at its faces before trusting them"
