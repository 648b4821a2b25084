"""The talking model: a style encoder and a talking generator that were trained together, and the file they live in.

>>> model = load_talking_model(Path("talking.safetensors"))
>>> style = model.style_of(clip)                         # (128,) from any motion
>>> motion = model.motion_of(features, style)            # MotionClip at 25 fps from speech features at 50
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import SPACES, MotionSpace
from avi_lib.motion.style_encoder import STYLE, StyleEncoder
from avi_lib.motion.talking_generator import TalkingGenerator, generate

FORMAT = 1
FPS = 25.0
EXPECTED, REMEDY = "weights of a talking model", "train them with notebook 03, or check the path"
_UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError)


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

    def motion_of(self, features: Float[np.ndarray, "steps dim"], style: Float[np.ndarray, " style"]) -> MotionClip:
        """Motion of a recording of any length in a style, within the limits of the space.

        Raises InputError for features of another width or a style of another size, or when one is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.shape.features:
            expected = f"features (steps, {self.shape.features}) of {self.shape.encoder}"
            raise InputError(expected, f"{features.shape}", "encode the speech with that encoder")
        if style.shape != (STYLE,) or not np.isfinite(style).all() or not np.isfinite(features).all():
            raise InputError(f"finite features and a finite style ({STYLE},)", f"{style.shape}", "check what made them")
        motion = generate(self.generator, _tensor(features).to(self._device), _tensor(style).to(self._device))
        return MotionClip(self.space.limited(motion.float().cpu().numpy()), FPS, self.space)

    @property
    def _device(self) -> torch.device:
        return self.generator.mean.device


def save_talking_model(model: TalkingModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences.

    Raises InputError for weights that are not finite or too large for float16.
    """
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()}
    if name := _not_finite(tensors):
        raise InputError("finite weights within float16", f"others in {name}", "train again, with a lower rate")
    header = {"format": FORMAT, "shape": asdict(model.shape), "about": about or {}}
    content = save(tensors, {"avi": json.dumps(header, sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_talking_model(path: Path) -> TalkingModel:
    """Read a talking model, ready to be used; InputError when the file is missing, damaged or something else."""
    try:
        with safe_open(path, "pt") as stored:
            header = _header(stored)
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118 (no mapping)
        with torch.device("meta"):  # a header may ask for any size: no memory before the file is seen to hold it
            model = TalkingModel(Shape(**header["shape"]))
        _check(model, tensors)
    except _UNREADABLE as error:
        raise InputError(EXPECTED, f"{path}: {error}", REMEDY) from error
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def read_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    try:
        with safe_open(path, "pt") as stored:
            about: dict[str, object] = _header(stored)["about"]
            return about
    except _UNREADABLE as error:
        raise InputError(EXPECTED, f"{path}: {error}", REMEDY) from error


def _header(stored: safe_open) -> dict[str, Any]:
    """What `save_talking_model` wrote beside the weights; ValueError when it did not write them."""
    header = json.loads((stored.metadata() or {}).get("avi", "null"))
    if not isinstance(header, dict) or not {"format", "shape", "about"} <= header.keys():
        raise ValueError("a header of something else")
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']}, not {FORMAT}")
    return header


def _check(model: TalkingModel, tensors: dict[str, torch.Tensor]) -> None:
    """ValueError naming the first tensor that is not as the model has it, or not finite."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in [*expected, *sorted(tensors.keys() - expected.keys())]:
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if expected.get(name, "nothing") != got:
            raise ValueError(f"{got} for {name}, not {expected.get(name, 'nothing')}")
    if name := _not_finite(tensors):
        raise ValueError(f"weights that are not finite in {name}")


def _not_finite(tensors: dict[str, torch.Tensor]) -> str:
    """The name of the first tensor that holds NaN or infinity, empty when all are finite."""
    return next((name for name, value in tensors.items() if not value.isfinite().all()), "")


def _tensor(values: np.ndarray) -> torch.Tensor:
    """A float32 copy: arrays may be read-only or run backwards, which torch cannot share."""
    return torch.from_numpy(np.array(values, np.float32, order="C"))
