"""The talking model: a style encoder and a talking generator that were trained together, and the file they live in.

>>> model = load_talking_model(Path("talking.safetensors"))
>>> style = model.style_of(clip)                         # (128,) from any motion
>>> motion = model.motion_of(features, style)            # MotionClip at 25 fps from speech features at 50
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import nn

from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import SPACES, MotionSpace
from avi_lib.motion.style_encoder import STYLE, StyleEncoder
from avi_lib.motion.talking_generator import TalkingGenerator, generate
from avi_lib.training.weights import UNREADABLE, check_weights, read_about, read_weights, save_weights

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
