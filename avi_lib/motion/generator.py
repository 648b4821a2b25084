"""The learned generator: speech features and an instruction in, motion out, through a talking model.

>>> generator = load_generator()                                  # the shipped weights, or a path to one's own
>>> motion = generator.perform(generator.listen(wave), performer, Instruction.parse("She is furious."), seed=7)

The talking generator speaks the recording in a style: one that a `PriorSampler` draws for the sentence, or the style
of the performer's own performance of it. Blinks, gaze, sway, nods and shakes are the performer's: when they come is
chance that no network can foretell from speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import nn

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import ARKIT, SPACES, MotionClip, MotionSpace
from avi_lib.motion.performer import Performer
from avi_lib.motion.style import KERNEL, STYLE, StyleEncoder, TemporalBlock
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.weights import UNREADABLE, check_weights, read_about, read_weights, save_weights

# The talking generator: speech features and a style in, motion out, all frames at once and recordings of any length.


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


# The talking model: a style encoder and a talking generator that were trained together, and the file they live in.


FORMATS = (1, 2)
"""1 is the same without the generator's `hold`, which then holds nothing."""
FPS = 25.0
LEAST_STYLE = 0.1
RESTARTED_LOG_VARIANCE = -4.0
EXPECTED, REMEDY = "weights of a talking model", "train them with notebook 03, or check the path"


@dataclass(frozen=True)
class Shape:
    """What a talking model is made for and how large it is.

    Attributes:
        space: name of the motion space.
        encoder: name of the speech encoder whose features it reads.
        fingerprint: digest of that encoder's weights.
        features: dimensions of them.
        width: features within the generator.
        style_width: features within the style encoder.
    """

    space: str
    encoder: str
    fingerprint: str
    features: int
    width: int
    style_width: int


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
    def style_of(
        self, motion: MotionClip, present: Bool[np.ndarray, " channels"] | None = None
    ) -> Float32[np.ndarray, " style"]:
        """The style that a motion of any length shows; channels that are not present are not looked at.

        Raises InputError for motion of another space or rate, without a frame, or not finite, and when `present` is no
        mask of the space's channels or says that none is there.
        """
        if motion.space is not self.space or motion.fps != FPS:
            expected = f"motion of the space {self.shape.space} at {FPS:g} frames a second"
            raise InputError(expected, f"{motion.space.name} at {motion.fps:g}", "convert it first")
        if not len(motion) or not np.isfinite(motion.values).all():
            raise InputError("finite motion of at least one frame", f"{motion.values.shape}", "check the clip")
        there = np.ones(len(self.space), bool) if present is None else present
        if there.shape != (len(self.space),) or not there.any():
            got = f"{int(there.sum())} of {there.shape}"
            raise InputError(f"a mask of {len(self.space)} channels, some present", got, "take the corpus' mask")
        values, device = _tensor(motion.values)[None], self._device
        valid = torch.ones(1, len(motion), dtype=torch.bool, device=device)
        style = self.style(values.to(device), torch.from_numpy(there)[None].to(device), valid)
        return np.asarray(style.mean[0].float().cpu())

    def motion_of(
        self, features: Float[np.ndarray, "steps dim"], style: Float[np.ndarray, "*frames style"]
    ) -> MotionClip:
        """Motion of a recording of any length in a style, or in one for every frame, within the limits of the space.

        Raises InputError for features of another width or a style of another size, or when one is not finite, and for
        another number of styles than frames.
        """
        if features.ndim != 2 or features.shape[1] != self.shape.features:
            expected = f"features (steps, {self.shape.features}) of {self.shape.encoder}"
            raise InputError(expected, f"{features.shape}", "encode the speech with that encoder")
        if (
            style.shape[-1:] != (STYLE,)
            or style.ndim > 2
            or not np.isfinite(style).all()
            or not np.isfinite(features).all()
        ):
            raise InputError(f"finite features and a finite style ({STYLE},)", f"{style.shape}", "check what made them")
        motion = generate(self.generator, _tensor(features).to(self._device), _tensor(style).to(self._device))
        return MotionClip(self.space.limited(motion.float().cpu().numpy()), FPS, self.space)

    @property
    def _device(self) -> torch.device:
        return self.generator.mean.device


@torch.no_grad()
def whiten_styles(model: TalkingModel, styles: Float[np.ndarray, "clips style"]) -> None:
    """Turn and stretch the space of styles, in place, so that the styles of some clips are white: the motion stays.

    The generator learns to heed a direction at the pace of the styles' variance in it, so that what moves styles little
    (the left brow without the right) would never be learned. Directions in which they hardly vary are stretched up to
    1 / `LEAST_STYLE`. The spread of single styles begins again at `RESTARTED_LOG_VARIANCE`.
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
    for block in model.generator.blocks:
        film = block.film
        assert isinstance(film, nn.Linear), "every block of the generator is told the style"
        film.bias.add_(film.weight @ mean)
        film.weight.copy_(film.weight @ turn.T / stretch)
    hold = model.generator.hold.weight
    model.generator.say.bias.add_(hold @ mean)
    hold.copy_(hold @ turn.T / stretch)


def save_talking_model(model: TalkingModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences.

    Raises InputError for weights that are not finite or too large for float16.
    """
    save_weights(model, path, {"format": FORMATS[-1], "shape": asdict(model.shape), "about": about or {}})


def load_talking_model(path: Path) -> TalkingModel:
    """Read a talking model, ready to be used; InputError when the file is missing, damaged or something else."""
    try:
        header, tensors = read_weights(path, FORMATS)
        with torch.device("meta"):  # a header may ask for any size: no memory before the file is seen to hold it
            model = TalkingModel(Shape(**header["shape"]))
        if header["format"] == 1:
            tensors["generator.hold.weight"] = torch.zeros(len(model.space), STYLE)
        check_weights(model, tensors)
    except UNREADABLE as error:
        raise InputError(EXPECTED, f"{path}: {error}", REMEDY) from error
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def read_talking_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    try:
        return read_about(path, FORMATS)
    except UNREADABLE as error:
        raise InputError(EXPECTED, f"{path}: {error}", REMEDY) from error


def _tensor(values: np.ndarray) -> torch.Tensor:
    """A float32 copy: arrays may be read-only or run backwards, which torch cannot share."""
    return torch.from_numpy(np.array(values, np.float32, order="C"))


SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "talking.safetensors"

Features = Float32[np.ndarray, "steps dim"]
Style = Float32[np.ndarray, " style"]


@dataclass(frozen=True, eq=False)
class LearnedGenerator:
    """A talking model, the speech encoder it reads, why these, and what a person should know of them."""

    model: TalkingModel
    encoder: SpeechEncoder
    reason: str
    warning: str | None = None

    def listen(self, wave: Float32[np.ndarray, " samples"]) -> Features:
        """The features of a recording (samples,) at 16 kHz."""
        return self.encoder.encode(wave)

    def style_of(self, performer: Performer, instruction: Instruction, seed: int) -> Style:
        """The style of the performer's own performance of an instruction; the seed decides its small chances."""
        _must_fit(performer)
        return self.model.style_of(performer.perform_with_still(instruction, seed)[1])

    def perform(
        self, features: Features, performer: Performer, instruction: Instruction, seed: int, style: Style | None = None
    ) -> MotionClip:
        """Motion of the recording that the performer was made for, under an instruction.

        style: (128,), such as a `PriorSampler` draws; that of the performer's own performance when None. The seed
        decides blinks, gaze, sway, nods and shakes. InputError when the performer has another frame rate than 25.
        """
        style = self.style_of(performer, instruction, seed) if style is None else style
        return self.perform_timeline(features, performer, Timeline((Entry(0.0, instruction),)), seed, [style])

    def perform_timeline(
        self, features: Features, performer: Performer, timeline: Timeline, seed: int, styles: Sequence[Style]
    ) -> MotionClip:
        """Motion under a timeline: its styles, one an entry, fade into one another frame by frame.

        Nods and shakes fade with them. Blinks, gaze and sway stay those of the first entry: faces go on looking about.
        """
        _must_fit(performer)
        weights = timeline.weights(len(performer), FPS)
        chance = performer.idle(_manner_of(timeline.instructions[0]), seed)
        for weight, instruction in zip(weights.T, timeline.instructions, strict=True):
            chance = chance + weight[:, None] * performer.rhythm(instruction, seed)
        return self._with(chance, features, weights @ np.stack(styles) if len(styles) > 1 else styles[0])

    def _with(
        self,
        chance: Float32[np.ndarray, "frames 55"],
        features: Features,
        style: Float32[np.ndarray, "*frames style"],
    ) -> MotionClip:
        frames = (len(features) + 1) // 2
        held = style
        if style.ndim == 2:
            held = np.pad(style, ((0, max(frames - len(style), 0)), (0, 0)), mode="edge")[:frames]
        spoken = self.model.motion_of(features, held).values
        spoken = np.pad(spoken, ((0, max(len(chance) - len(spoken), 0)), (0, 0)), mode="edge")[: len(chance)]
        return MotionClip(ARKIT.limited(spoken + chance), FPS, ARKIT)


def _manner_of(instruction: Instruction) -> Instruction:
    """What of an instruction colours idle behaviour, without what it asks of the face itself, such as shut eyes."""
    blinks = {name: strength for name, strength in instruction.action_units.items() if name.startswith("blink")}
    return Instruction(instruction.text, instruction.emotion, instruction.level, blinks)


def _must_fit(performer: Performer) -> None:
    if performer.settings.fps != FPS:
        got = f"{performer.settings.fps:g}"
        raise InputError(f"{FPS:g} frames a second for the learned generator", got, "use the performer")


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
    heard = load_encoder(encoder or model.shape.encoder)
    same = heard.fingerprint == model.shape.fingerprint
    if heard.dim != model.shape.features or not (same or heard.name == model.shape.encoder):
        expected = (
            f"the encoder {model.shape.encoder} with {model.shape.features} features, which {path} was trained with"
        )
        raise InputError(expected, f"{heard.name} with {heard.dim}", "name that one, by --encoder where it is a path")
    where = "shipped weights" if weights is None else str(path)
    reason = f"{where}; hears through {heard.name}: {heard.reason}"
    other = f"{heard.name} is not the build that the generator was trained with: compare its lips before trusting them"
    return LearnedGenerator(model, heard, reason, None if same else other)
