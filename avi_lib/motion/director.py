"""The director: sentences in, styles out, by the diffusion prior.

>>> director = load_director()                       # the shipped prior, or a path to one's own
>>> director.style("She is furious.", seed=7).shape
(128,)
>>> director.styles("She is furious.", seeds=[7, 8, 9], settings=SampleSettings(guidance=2.0)).shape
(3, 128)

Any text is taken: what it says is data, is cut at the encoder's limit and never run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.instruction.text_encoder import TextEncoder, load_text_encoder
from avi_lib.motion.prior_network import Reading
from avi_lib.motion.style_prior import PriorModel, load_prior
from avi_lib.motion.talking_model import TalkingModel
from avi_lib.settings import SampleSettings
from avi_lib.training.weights import fingerprint

SHIPPED_PRIOR = Path(__file__).resolve().parents[1] / "assets" / "prior.safetensors"

Style = Float32[np.ndarray, " style"]
Styles = Float32[np.ndarray, "samples style"]
_PLAIN = SampleSettings()


@dataclass(frozen=True, eq=False)
class Director:
    """A prior, the text encoder it reads through, why these, and what a person should know of them."""

    prior: PriorModel
    encoder: TextEncoder
    reason: str
    warning: str | None = None
    _readings: dict[str, Reading] = field(default_factory=dict, repr=False)

    def read(self, text: str) -> Reading:
        """A sentence as the prior reads it; the last ones read are kept."""
        if text not in self._readings:
            if len(self._readings) >= _KEPT_READINGS:
                self._readings.pop(next(iter(self._readings)))
            self._readings[text] = self.prior.read(self.encoder.encode([text]))
        return self._readings[text]

    def style(self, text: str, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """One style for a sentence."""
        return np.asarray(self.styles(text, [seed], settings)[0])

    def styles(
        self,
        text: str,
        seeds: Sequence[int],
        settings: SampleSettings = _PLAIN,
        callback: Callable[[int, torch.Tensor], None] | None = None,
    ) -> Styles:
        """Styles for a sentence, one for each seed; see `prior_sampling.sample` for the callback."""
        return self.prior.draw(self.read(text), seeds, settings, callback=callback)

    def between(
        self, texts: Sequence[str], weights: Sequence[float], seed: int, settings: SampleSettings = _PLAIN
    ) -> Style:
        """A style between sentences, by weights that add up to 1: interpolation from the same noise."""
        wishes = [(self.read(text), float(weight)) for text, weight in zip(texts, weights, strict=True)]
        return np.asarray(self.prior.draw_mixed(wishes, [seed], settings)[0])

    def edit(self, style: Style, keep: Sequence[str], text: str, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """A style for a sentence that keeps what a given style holds some groups of channels at."""
        kept = self.prior.keep(style, keep)
        return np.asarray(self.prior.draw(self.read(text), [seed], settings, kept)[0])

    def must_direct(self, talking: TalkingModel) -> None:
        """Raise InputError unless the styles are those of a talking model."""
        if self.prior.shape.styles != fingerprint(talking):
            got = "a talking model with other styles"
            do = "train a prior for it with notebook 04, or take styles from the performer"
            raise InputError("the talking model whose styles the prior draws", got, do)


_KEPT_READINGS = 256


def load_director(weights: Path | None = None, encoder: str | None = None) -> Director:
    """The director of a file of weights, the shipped ones when None.

    encoder: name of the text encoder or path to it; the one the prior was trained with when None.

    Raises:
        AssetError: the text encoder is to be had nowhere.
        InputError: the weights are missing or damaged, or the encoder does not fit.
    """
    path = weights or SHIPPED_PRIOR
    prior = load_prior(path)
    try:
        read = load_text_encoder(encoder or prior.shape.text_encoder)
    except InputError as error:
        if encoder is not None:
            raise
        expected = f"the text encoder {prior.shape.text_encoder} that {path} was trained with"
        raise InputError(expected, "none of that name", "name its folder by --text-encoder") from error
    same = read.fingerprint == prior.shape.text_fingerprint
    if read.dim != prior.shape.text or not (same or read.name == prior.shape.text_encoder):
        expected = f"the text encoder {prior.shape.text_encoder} with {prior.shape.text} numbers a token"
        raise InputError(
            expected, f"{read.name} with {read.dim}", "name that one, by --text-encoder where it is a path"
        )
    where = "shipped weights" if weights is None else str(path)
    other = f"{read.name} is not the build that the prior was trained with: look at its faces before trusting them"
    return Director(prior, read, f"{where}; reads through {read.name}: {read.reason}", None if same else other)
