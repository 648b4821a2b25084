"""The talking generator: speech features and a style in, motion out, all at once.

>>> generator = load_generator()                                  # the shipped weights, or a path to one's own
>>> motion = generator.perform(generator.listen(wave), performer, Instruction.parse("She is furious."), seed=7)

The style is one that a `PriorSampler` draws for a sentence, or that of the performer's own performance of it. The lips
are regressed from speech and style; the rest of the face is drawn by the flow, another one for every seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import nn

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, SPACES, MotionClip, MotionSpace
from avi_lib.motion.flow import DRAWN, FPS, STEPS, FlowNetwork, TemporalBlock, Valid, draw, noise_of
from avi_lib.motion.performer import Performer
from avi_lib.motion.style import STYLE, Style
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.weights import WeightsFile
from avi_lib.weights import check_encoder as check_encoder

SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "talking.safetensors"
DILATIONS = (1, 2, 4, 1, 2, 4, 1, 1)

Features = Float32[np.ndarray, "steps dim"]


def valid_frames(counts: torch.Tensor, frames: int) -> Valid:
    """Which frames of each clip are there, of `counts` (clips,) in a batch `frames` long."""
    return torch.arange(frames, device=counts.device) < counts[:, None]


class TalkingGenerator(nn.Module):
    """Temporal blocks over speech features, each conditioned on the style; positions are relative only.

    `hold` takes what a style shows all the time (a raised left brow) straight to the channels: through the blocks alone
    rare movements of one side were never learned. In the ARKIT space blocks and lips read only what a style says of
    lips: brows that are asked for would part them.

    features: dimensions of the speech encoder, at 50 frames a second; channels: of the motion space, at 25. The buffers
    `mean` and `deviation` (features,) and `style_mean` and `style_deviation` (128,) normalise what comes in,
    `motion_mean` and `motion_deviation` (channels,) scale what goes out.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    style_mean: torch.Tensor
    style_deviation: torch.Tensor
    motion_mean: torch.Tensor
    motion_deviation: torch.Tensor
    about_lips: torch.Tensor
    held: torch.Tensor

    def __init__(self, features: int, channels: int, width: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("style_mean", torch.zeros(STYLE))
        self.register_buffer("style_deviation", torch.ones(STYLE))
        self.register_buffer("motion_mean", torch.zeros(channels))
        self.register_buffer("motion_deviation", torch.ones(channels))
        self.read = nn.Linear(2 * features, width)
        self.blocks = nn.ModuleList(TemporalBlock(width, dilation, STYLE, dropout) for dilation in DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, channels)
        self.hold = nn.Linear(STYLE, channels, bias=False)
        nn.init.zeros_(self.hold.weight)
        lips, about_lips = np.ones(channels, bool), np.ones(STYLE, bool)
        if channels == len(ARKIT):
            lips = np.isin(np.arange(channels), ARKIT.groups["lips"])
            about_lips = styles.known(ARKIT, lips)
        self.register_buffer("about_lips", torch.from_numpy(about_lips), persistent=False)
        self.register_buffer("held", torch.from_numpy(about_lips | ~lips[:, None]), persistent=False)

    @property
    def reach(self) -> int:
        """Frames to each side that a frame of motion depends on."""
        return sum(block.reach for block in self.blocks if isinstance(block, TemporalBlock))

    def forward(
        self,
        features: Float[torch.Tensor, "clips steps features"],
        style: Float[torch.Tensor, "clips *frames style"],
        valid: Bool[torch.Tensor, "clips frames"],
    ) -> Float[torch.Tensor, "clips frames channels"]:
        """Motion of each clip, in one style or in one for every frame; `features` has two steps for each frame."""
        clips, frames = valid.shape
        style = (style - self.style_mean) / self.style_deviation
        if style.ndim == 2:
            style = style[:, None]
        x = ((features - self.mean) / self.deviation).reshape(clips, frames, -1)
        x = self.read(x) * valid[..., None]
        for block in self.blocks:
            x = block(x, valid, style * self.about_lips)
        held = nn.functional.linear(style, self.hold.weight * self.held)
        motion = self.motion_mean + self.motion_deviation * (self.say(self.norm(x)) + held)
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


# The talking model: lips and all else, and the file they live in.
@dataclass(frozen=True)
class Shape:
    """What a talking model is made for and how large it is."""

    space: str  # name of the motion space
    encoder: str  # name of the speech encoder whose features it reads
    fingerprint: str  # digest of that encoder's weights
    features: int  # dimensions of them
    width: int  # features within the generator
    flow_width: int = 0  # features within the flow; 0: there is none, and the generator moves the whole face


class TalkingModel(nn.Module):
    """`generator`, and `flow`, which draws all but the lips; None in other spaces than ARKIT, and in an ablation."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.generator = TalkingGenerator(shape.features, len(self.space), shape.width, dropout)
        self.flow = FlowNetwork(shape.features, shape.flow_width) if shape.flow_width else None

    @property
    def space(self) -> MotionSpace:
        """The motion space of what it writes."""
        return SPACES[self.shape.space]

    def with_flow(self, flow: FlowNetwork) -> TalkingModel:
        """The same generator beside a flow."""
        model = TalkingModel(replace(self.shape, flow_width=flow.width)).eval()
        model.generator, model.flow = self.generator, flow
        return model

    def style_of(self, motion: MotionClip, spoken_s: tuple[float, float] | None = None) -> Style:
        """The style (128,) that a motion shows, see `style.style_of`; what is not known is as it mostly is.

        Raises InputError for motion of another space or rate.
        """
        if motion.space is not self.space or motion.fps != FPS:
            expected = f"motion of the space {self.shape.space} at {FPS:g} frames a second"
            raise InputError(expected, f"{motion.space.name} at {motion.fps:g}", "convert it first")
        known = styles.known(motion.space, motion.present)
        usual = self.generator.style_mean.cpu().numpy()
        return np.where(known, styles.style_of(motion, spoken_s), usual).astype(np.float32)

    def motion_of(
        self,
        features: Float[np.ndarray, "steps dim"],
        style: Float[np.ndarray, "*frames style"],
        contour: Float[np.ndarray, "frames 5"] | None = None,
        seed: int = 0,
        steps: int = STEPS,
    ) -> MotionClip:
        """Motion of a recording of any length in a style, or in one for every frame, within the limits of the space.

        With the voice's contour (`Prosody.contour`) all but the lips is drawn by the flow from `seed`; without it, or
        without a flow, the generator regresses the whole face. Raises InputError for features of another width, for
        values that are not finite, and for another number of styles than frames.
        """
        if features.shape[1] != self.shape.features or not (np.isfinite(features).all() and np.isfinite(style).all()):
            expected = f"finite features (steps, {self.shape.features}) of {self.shape.encoder}, and a finite style"
            raise InputError(expected, f"{features.shape}", "encode the speech with that encoder")
        spoken, styled = self._tensor(features), self._tensor(style)
        motion = generate(self.generator, spoken, styled)
        if self.flow is not None and contour is not None:
            voice = self._tensor(_as_long(contour.astype(np.float32), len(motion)))
            even = torch.cat([spoken, spoken[-1:]])[: 2 * len(motion)]
            motion[:, DRAWN] = draw(self.flow, even, voice, styled, noise_of(seed, len(motion)), steps)
        return MotionClip(self.space.limited(motion.float().cpu().numpy()), FPS, self.space)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """A float32 copy: arrays may be read-only or run backwards, which torch cannot share."""
        return torch.from_numpy(np.array(values, np.float32, order="C")).to(self.generator.mean.device)


TALKING_FILE = WeightsFile(
    "talking model",
    3,
    lambda **shape: TalkingModel(Shape(**shape)),
    "train them with notebook 03, or check the path",
    marked=False,
)
save_talking_model, load_talking_model, read_talking_about = TALKING_FILE.save, TALKING_FILE.load, TALKING_FILE.about


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
        """The style of the performer's own performance of an instruction, as lively as faces mostly are."""
        style = self.model.style_of(performer.perform(instruction, seed), performer.spoken_s)
        flow = self.model.flow
        return style if flow is None else styles.enlivened(style, flow.style_mean.cpu().numpy())

    def perform(
        self, features: Features, performer: Performer, instruction: Instruction, seed: int, style: Style | None = None
    ) -> MotionClip:
        """Motion of the recording that the performer was made for, under an instruction.

        style: (128,), such as a `PriorSampler` draws; that of the performer's own performance when None. The seed
        decides all that is drawn. Raises InputError when the performer has not 25 frames a second.
        """
        style = self.style_of(performer, instruction, seed) if style is None else style
        return self.perform_timeline(features, performer, Timeline((Entry(0.0, instruction),)), seed, [style])

    def perform_timeline(
        self, features: Features, performer: Performer, timeline: Timeline, seed: int, drawn: Sequence[Style]
    ) -> MotionClip:
        """Motion under a timeline: its styles, one an entry, fade into one another frame by frame.

        Lids are held as the style says and blink as the performer's do: what the flow draws of blinks is too rare on
        voices that it never heard. Nods and shakes that are asked for are the performer's too, as speech does not say
        when they come. What the performer's settings switch off of blinks, gaze and sway is held still.
        """
        settings, frames = performer.settings, len(performer)
        if settings.fps != FPS:
            do = "use the performer"
            raise InputError(f"{FPS:g} frames a second for the learned generator", f"{settings.fps:g}", do)
        style, first = drawn[0], timeline.instructions[0]
        if len(drawn) > 1:
            style = _as_long(timeline.weights(frames, FPS) @ np.stack(drawn), (len(features) + 1) // 2)
        motion = self.model.motion_of(features, style, performer.prosody.contour(), seed)
        values, held = _as_long(motion.values, frames), _as_long(np.atleast_2d(style), frames)
        for moves, group in ((settings.blinks, "lids"), (settings.gaze, "gaze"), (settings.sway, "head")):
            if not moves:
                values[:, list(ARKIT.groups[group])] = held[:, list(ARKIT.groups[group])]
        for weight, asked in zip(timeline.weights(frames, FPS).T, timeline.instructions, strict=True):
            values += weight[:, None] * performer.rhythm(asked, seed)
        if settings.blinks:
            # what colours blinks, without what is asked of the face itself, such as shut eyes
            blinks = {name: strength for name, strength in first.action_units.items() if name.startswith("blink")}
            coloured = Instruction(first.text, first.emotion, first.level, blinks)
            lids = ARKIT.columns("eyeBlink")
            values[:, lids] = held[:, lids] + performer.idle(coloured, seed)[:, lids]
        return MotionClip(ARKIT.limited(values), FPS, ARKIT)


def _as_long(values: Float32[np.ndarray, "_ columns"], frames: int) -> Float32[np.ndarray, "frames columns"]:
    """Rows cut, or the last one repeated, to a number of frames."""
    return np.pad(values, ((0, max(frames - len(values), 0)), (0, 0)), mode="edge")[:frames]


def load_generator(weights: Path | None = None, encoder: str | None = None) -> LearnedGenerator:
    """The learned generator of a file of weights, the shipped ones when None.

    encoder: name of the speech encoder or path to it; the one the model was trained with when None. Raises InputError
    for weights that are missing, damaged or of another motion space, and an encoder that does not fit.
    """
    path = weights or SHIPPED
    model = load_talking_model(path)
    if model.space is not ARKIT:
        raise InputError("a talking model of the space ARKIT", f"{path} of {model.shape.space}", "name another")
    found = load_encoder(encoder or model.shape.encoder)
    warning = check_encoder(found, model.shape.encoder, model.shape.features, model.shape.fingerprint, "--encoder")
    where = "shipped weights" if weights is None else str(path)
    return LearnedGenerator(model, found, f"{where}; reads through {found.name}: {found.reason}", warning)
