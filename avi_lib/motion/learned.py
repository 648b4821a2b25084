"""The learned generator: speech features and an instruction in, motion out, through a talking model.

>>> generator = load_generator()                                  # the shipped weights, or a path to one's own
>>> motion = generator.perform(generator.listen(wave), performer, Instruction.parse("She is furious."), seed=7)

The style is taken from motion: the performer carries the instruction out over the recording, the style encoder looks at
it, and the talking generator speaks the recording in that style. Blinks, gaze and head sway are the performer's: chance
that no network can foretell from speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.motion.space import ARKIT
from avi_lib.motion.talking_model import FPS, TalkingModel, load_talking_model
from avi_lib.speech.encoder import SpeechEncoder, load_encoder

SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "talking.safetensors"

Features = Float32[np.ndarray, "steps dim"]


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

    def perform(self, features: Features, performer: Performer, instruction: Instruction, seed: int) -> MotionClip:
        """Motion of the recording that the performer was made for, under an instruction.

        The seed decides blinks, gaze and sway, and the small chances of the performance that shows the style. Raises
        InputError when the performer works at another frame rate than 25.
        """
        if performer.settings.fps != FPS:
            got = f"{performer.settings.fps:g}"
            raise InputError(f"{FPS:g} frames a second for the learned generator", got, "use the performer")
        performed, still = performer.perform_with_still(instruction, seed)
        spoken = self.model.motion_of(features, self.model.style_of(still)).values
        idle = performed.values - still.values
        spoken = np.pad(spoken, ((0, max(len(idle) - len(spoken), 0)), (0, 0)), mode="edge")[: len(idle)]
        return MotionClip(ARKIT.limited(spoken + idle), FPS, ARKIT)


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
