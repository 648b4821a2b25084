"""The diffusion prior as a whole: network, scale of styles, the file it lives in, and styles for sentences.

>>> prior = load_prior(Path("prior.safetensors"))
>>> reading = prior.read(encoder.encode(["She is furious."]))
>>> prior.draw(reading, seeds=[7], settings=SampleSettings()).shape
(1, 128)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from avi_lib.errors import InputError
from avi_lib.motion.prior_network import PriorNetwork, Reading
from avi_lib.motion.prior_sampling import Kept, Wish, foretell, noise_of, sample
from avi_lib.motion.space import SPACES, MotionSpace
from avi_lib.motion.style_encoder import STYLE
from avi_lib.settings import SampleSettings
from avi_lib.training.weights import UNREADABLE, check_weights, read_about, read_weights, save_weights

FORMAT = 1
KIND = "diffusion prior"
REMEDY = "train them with notebook 04, or check the path"
_KEPT_SHARE = 0.02
"""Directions that hold a group's channels by less than this share of the strongest one are free to change."""

Style = Float32[np.ndarray, " style"]
Styles = Float32[np.ndarray, "samples style"]
States = Float32[np.ndarray, "_ dim"]


@dataclass(frozen=True)
class PriorShape:
    """What a prior is made for and how large it is.

    Attributes:
        text_encoder, text_fingerprint, text: name of the text encoder, digest of it, numbers in its states.
        space: name of the motion space.
        styles: fingerprint of the talking model whose styles it draws.
        width, blocks, heads, words: size of the network.
        regression: whether the network tells the style at once, without diffusion.
    """

    text_encoder: str
    text_fingerprint: str
    text: int
    space: str
    styles: str
    width: int
    blocks: int
    heads: int
    words: int
    regression: bool = False


class PriorModel(nn.Module):
    """`network`, and as buffers the mean and scale of styles and what a normalised style holds every channel at."""

    mean: torch.Tensor
    scale: torch.Tensor
    held: torch.Tensor

    def __init__(self, shape: PriorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.network = PriorNetwork(shape.text, shape.width, shape.blocks, shape.heads, shape.words, dropout)
        self.register_buffer("mean", torch.zeros(STYLE))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("held", torch.zeros(len(self.space), STYLE))

    @property
    def space(self) -> MotionSpace:
        """The motion space of the styles."""
        return SPACES[self.shape.space]

    def normal(self, styles: Float[torch.Tensor, "n style"]) -> Float[torch.Tensor, "n style"]:
        """Styles as the network sees them."""
        return (styles - self.mean) / self.scale

    @torch.no_grad()
    def read(self, states: Sequence[States]) -> Reading:
        """Read sentences from the states of their tokens; InputError when these are not finite or of another width."""
        if any(each.ndim != 2 or each.shape[1] != self.shape.text for each in states) or not states:
            got = ", ".join(str(each.shape) for each in states) or "none"
            expected = f"states (tokens, {self.shape.text}) of {self.shape.text_encoder}"
            raise InputError(expected, got, "encode the sentences with that encoder")
        if not all(np.isfinite(each).all() for each in states):
            raise InputError("finite states of tokens", "NaN or infinity", "encode the sentences again")
        mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
        padded = torch.zeros(*mask.shape, self.shape.text)
        padded[mask] = torch.from_numpy(np.concatenate(states)).float()
        return self.network.read(padded.to(self.mean.device), mask.to(self.mean.device))

    def draw(
        self,
        reading: Reading,
        seeds: Sequence[int],
        settings: SampleSettings,
        kept: Kept | None = None,
        callback: Callable[[int, torch.Tensor], None] | None = None,
    ) -> Styles:
        """Styles for the sentences of a reading, one each with its seed; a single sentence serves all seeds.

        With several candidates each of them is drawn from seeds of its own and the one nearest to its sentence in the
        aligned space is taken; the first is the one drawn from the seed itself. Without diffusion all seeds give the
        same style, and nothing can be kept.
        """
        return self.draw_mixed([(reading, 1.0)], seeds, settings, kept, callback)

    def draw_mixed(
        self,
        wishes: Sequence[tuple[Reading, float]],
        seeds: Sequence[int],
        settings: SampleSettings,
        kept: Kept | None = None,
        callback: Callable[[int, torch.Tensor], None] | None = None,
    ) -> Styles:
        """Styles between sentences: at every step their predictions are mixed by the weights, from the same noise."""
        many = settings.candidates
        drawn = [candidate_seed(seed, number) for seed in seeds for number in range(many)]
        rows = torch.arange(len(seeds)).repeat_interleave(many)
        wished = [
            Wish(reading.at(rows if len(reading.mask) > 1 else torch.zeros_like(rows)), weight)
            for reading, weight in wishes
        ]
        if self.shape.regression:
            styles = foretell(self.network, wished, len(drawn))
        else:
            styles = sample(self.network, wished, noise_of(drawn), settings, drawn, kept, callback)
        if many > 1:
            aligned = sum((wish.weight * wish.reading.aligned for wish in wished), torch.zeros(()))
            near = nn.functional.cosine_similarity(styles, aligned).unflatten(0, (-1, many))
            styles = styles.unflatten(0, (-1, many))[torch.arange(len(seeds)), near.argmax(dim=1)]
        return np.asarray((styles * self.scale + self.mean).cpu().numpy(), np.float32)

    def keep(self, style: Style, groups: Sequence[str]) -> Kept:
        """What of a style holds the channels of some groups: they stay while the rest is drawn anew.

        Raises InputError for a group that the space does not have, or a style that is not finite or of another size.
        """
        if unknown := sorted(set(groups) - set(self.space.groups)):
            raise InputError(f"groups of {', '.join(self.space.groups)}", ", ".join(unknown), "name some of them")
        if style.shape != (STYLE,) or not np.isfinite(style).all():
            raise InputError(f"a finite style ({STYLE},)", f"{style.shape}", "take one from `draw` or `style_of`")
        channels = [channel for group in groups for channel in self.space.groups[group]]
        _, strengths, directions = torch.linalg.svd(self.held[channels], full_matrices=False)
        basis = directions[strengths > _KEPT_SHARE * strengths.max()] if len(channels) else directions[:0]
        return Kept(self.normal(torch.from_numpy(style)[None])[0], basis.T @ basis)


def candidate_seed(seed: int, number: int) -> int:
    """The seed of a sample's candidate; the first one's is the sample's own."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def save_prior(model: PriorModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences."""
    header = {"format": FORMAT, "kind": KIND, "shape": asdict(model.shape), "about": about or {}}
    save_weights(model, path, header)


def load_prior(path: Path) -> PriorModel:
    """Read a prior, ready to be used; InputError when the file is missing, damaged or something else."""
    try:
        header, tensors = read_weights(path, (FORMAT,), KIND)
        with torch.device("meta"):  # a header may ask for any size: no memory before the file is seen to hold it
            model = PriorModel(PriorShape(**header["shape"]))
        check_weights(model, tensors)
    except UNREADABLE as error:
        raise InputError(f"weights of a {KIND}", f"{path}: {error}", REMEDY) from error
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def read_prior_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    try:
        return read_about(path, (FORMAT,), KIND)
    except UNREADABLE as error:
        raise InputError(f"weights of a {KIND}", f"{path}: {error}", REMEDY) from error
