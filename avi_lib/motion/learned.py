"""The learned generator: speech features and an instruction in, motion out, through a talking model.

>>> generator = load_generator()                                  # the shipped weights, or a path to one's own
>>> motion = generator.perform(generator.listen(wave), performer, Instruction.parse("She is furious."), seed=7)

The talking generator speaks the recording in a style: one that a `Director` draws for the sentence, or else the style
of the performer's own performance of it. Blinks, gaze, sway, nods and shakes are the performer's: when they come is
chance that no network can foretell from speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Entry, Timeline
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.motion.talking_model import FPS, TalkingModel, load_talking_model
from avi_lib.speech.encoder import SpeechEncoder, load_encoder

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

        style: (128,), such as a `Director` draws; that of the performer's own performance when None. The seed decides
        blinks, gaze, sway, nods and shakes. Raises InputError when the performer works at another frame rate than 25.
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
