"""The prior sampler: sentences in, styles out, by the diffusion prior.

>>> prior_sampler = load_prior_sampler()                       # the shipped prior, or a path to one's own
>>> prior_sampler.style("She is furious.", seed=7).shape
(128,)
>>> prior_sampler.styles("She is furious.", seeds=[7, 8, 9], settings=SampleSettings(guidance=2.0)).shape
(3, 128)

Any text is taken: what it says is data, is cut at the encoder's limit and never run.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import nn
from torch.nn import functional

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.text_encoder import TextEncoder, load_text_encoder
from avi_lib.motion.clip import SPACES, MotionSpace
from avi_lib.motion.generator import TalkingModel
from avi_lib.motion.style import STYLE
from avi_lib.settings import SampleSettings
from avi_lib.weights import UNREADABLE, check_weights, fingerprint, read_about, read_weights, save_weights

# The diffusion prior's network: a noisy style, a time and the tokens of a sentence in, the style without noise out.


TIMES = 1000
"""Times of the diffusion; 0 has the least noise."""
REACH, BINDINGS = 3, 2
"""Tokens to each side that a token is told of, and how many times."""
_WAVES = 64


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Sentences as the network reads them.

    Attributes:
        keys, values: of every token of every head; the first token says nothing and is always there.
        mask: which tokens are there.
        gist: what some learned queries find in the sentence.
        aligned: the sentence in the space of normalised styles, of length 1.
    """

    keys: Float[torch.Tensor, "texts heads tokens features"]
    values: Float[torch.Tensor, "texts heads tokens features"]
    mask: Bool[torch.Tensor, "texts tokens"]
    gist: Float[torch.Tensor, "texts width"]
    aligned: Float[torch.Tensor, "texts style"]

    def at(self, texts: Int[torch.Tensor, " rows"]) -> TextEmbedding:
        """The sentences of these numbers."""
        rows = {name: value[texts] for name, value in vars(self).items()}
        return replace(self, **rows)


class PriorNetwork(nn.Module):
    """See the module.

    text: numbers in a token's state; width: features of the style token; heads: what it attends with; words: features
    of a token; dropout: share of features left out in training.
    """

    def __init__(
        self, text: int, width: int = 256, blocks: int = 4, heads: int = 8, words: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.read_norm = nn.LayerNorm(text)
        self.read_words = nn.Linear(text, words)
        self.binding = nn.ModuleList(Binding(words) for _ in range(BINDINGS))
        self.read_keys = nn.Linear(words, words)
        self.read_values = nn.Linear(words, words)
        self.nothing = nn.Parameter(torch.randn(2, words) * 0.02)
        self.queries = nn.Parameter(torch.randn(_QUERIES, heads, words // heads) * 0.5)
        self.gather = nn.Sequential(nn.LayerNorm(_QUERIES * words), nn.Linear(_QUERIES * words, width), nn.GELU())
        self.align = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, STYLE))
        self.no_gist = nn.Parameter(torch.zeros(width))
        self.gist = nn.Linear(width, width)
        self.noisy = nn.Linear(STYLE, width)
        self.time = nn.Sequential(nn.Linear(2 * _WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.Linear(width, 4 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.blocks = nn.ModuleList(PriorBlock(width, words, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, STYLE)
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)

    def read(
        self, states: Float[torch.Tensor, "texts tokens text"], mask: Bool[torch.Tensor, "texts tokens"]
    ) -> TextEmbedding:
        """Read sentences, from the states of their tokens and which of them are there; padding is never looked at."""
        texts = len(mask)
        there = self.read_words(self.read_norm(states[mask]))
        for bind in self.binding:
            there = bind(there, mask)
        keys, values = (self._tokens(read(there), mask, i) for i, read in enumerate((self.read_keys, self.read_values)))
        full = torch.cat([mask.new_ones(texts, 1), mask], dim=1)
        asked = self.queries.transpose(0, 1).expand(texts, -1, -1, -1)
        found = _attend(asked, keys, values, full[:, None, None])
        gist = self.gather(found.transpose(1, 2).flatten(1))
        return TextEmbedding(keys, values, full, gist, functional.normalize(self.align(gist).float(), dim=1))

    def _tokens(
        self, rows: Float[torch.Tensor, "rows words"], mask: Bool[torch.Tensor, "texts tokens"], which: int
    ) -> Float[torch.Tensor, "texts heads all_tokens features"]:
        """Rows put in their places, behind the token that says nothing, parted by heads."""
        texts, tokens = mask.shape
        placed = rows.new_zeros(texts, tokens, rows.shape[1])
        placed[mask] = rows
        nothing = self.nothing[which].to(rows.dtype).expand(texts, 1, -1)
        return torch.cat([nothing, placed], dim=1).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def drop_text(self, embedding: TextEmbedding, dropped: Bool[torch.Tensor, " texts"]) -> TextEmbedding:
        """The same with some sentences taken away: nothing of them is left but the token that says nothing."""
        first = torch.arange(embedding.mask.shape[1], device=dropped.device) == 0
        mask = embedding.mask & (first | ~dropped[:, None])
        gist = torch.where(dropped[:, None], self.no_gist.to(embedding.gist.dtype), embedding.gist)
        return replace(embedding, mask=mask, gist=gist)

    def forward(
        self, noisy: Float[torch.Tensor, "texts style"], times: Int[torch.Tensor, " texts"], embedding: TextEmbedding
    ) -> Float[torch.Tensor, "texts style"]:
        """The styles without noise, as well as they can be told."""
        when = self.modulate(functional.silu(self.time(_waves(times))))
        x = self.noisy(noisy) + self.gist(embedding.gist)
        mask = embedding.mask[:, None, None]
        for block in self.blocks:
            x = block(x, when, embedding.keys, embedding.values, mask)
        said: torch.Tensor = self.say(self.norm(x))
        return said


class Binding(nn.Module):
    """Tells every token of its neighbours, so that an adverb goes with the movement it stands beside.

    What a single style attends to are tokens; without this it found which movements and which adverbs a sentence holds,
    and not which belong together. `REACH` tokens to each side are read through a narrow layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, width // 4)
        self.near = nn.Linear((2 * REACH + 1) * (width // 4), width)
        self.say = nn.Linear(width, width)

    def forward(
        self, rows: Float[torch.Tensor, "rows width"], mask: Bool[torch.Tensor, "texts tokens"]
    ) -> Float[torch.Tensor, "rows width"]:
        """The tokens of all texts, one after another, each knowing its neighbours within its text."""
        narrow = self.narrow(self.norm(rows))
        placed = narrow.new_zeros(len(mask), mask.shape[1] + 2 * REACH, narrow.shape[1])
        placed[:, REACH:-REACH][mask] = narrow
        near = placed.unfold(1, 2 * REACH + 1, 1)[mask].flatten(1)
        said: torch.Tensor = self.say(functional.gelu(self.near(near)))
        return rows + said


class PriorBlock(nn.Module):
    """Attention from the style to the sentence, then a network; the time scales and shifts what both read.

    Scales and shifts are computed once for all blocks, which add offsets of their own (Chen et al. 2023, PixArt).
    """

    def __init__(self, width: int, words: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.ask_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.ask = nn.Linear(width, words)
        self.answer = nn.Linear(words, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.offset = nn.Parameter(torch.zeros(4 * width))

    def forward(
        self,
        x: Float[torch.Tensor, "texts width"],
        when: Float[torch.Tensor, "texts four_widths"],
        keys: Float[torch.Tensor, "texts heads tokens features"],
        values: Float[torch.Tensor, "texts heads tokens features"],
        mask: Bool[torch.Tensor, "texts 1 1 tokens"],
    ) -> Float[torch.Tensor, "texts width"]:
        """The style token of each text, knowing more of it."""
        scale, shift, scale_2, shift_2 = (when + self.offset).chunk(4, dim=1)
        asked = self.ask(self.ask_norm(x) * (1 + scale) + shift).unflatten(1, (self.heads, 1, -1))
        found = _attend(asked, keys, values, mask).flatten(1)
        x = x + self.answer(found)
        y = self.network(self.norm(x) * (1 + scale_2) + shift_2)
        return x + functional.dropout(y, self.dropout, self.training)


_QUERIES = 4


def _attend(
    asked: Float[torch.Tensor, "texts heads queries features"],
    keys: Float[torch.Tensor, "texts heads tokens features"],
    values: Float[torch.Tensor, "texts heads tokens features"],
    mask: Bool[torch.Tensor, "texts 1 1 tokens"],
) -> Float[torch.Tensor, "texts heads queries features"]:
    """Scaled dot-product attention; for one query on a processor faster written out than fused."""
    alike = asked @ keys.transpose(-1, -2) * asked.shape[-1] ** -0.5
    return alike.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ values


def _waves(times: Int[torch.Tensor, " texts"]) -> Float[torch.Tensor, "texts waves"]:
    """Sines and cosines of the times, of wavelengths from 2 pi to 2 pi * 10,000."""
    rates = torch.exp(torch.arange(_WAVES, device=times.device) * (-math.log(10_000) / (_WAVES - 1)))
    angles = times[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# Samplers of the diffusion prior: from noise to styles, with the schedulers of diffusers.


Styles_prior_sampling = Float[torch.Tensor, "samples style"]

_STEPS = 0x57E9
FARTHEST = 6.0
"""No number of a predicted style is beyond this many units, whatever the guidance."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A sentence for every sample, and its weight among several, which add up to 1."""

    embedding: TextEmbedding
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Kept:
    """What of a given style is kept: `projection` (style, style) onto it."""

    style: Float[torch.Tensor, " style"]
    projection: Float[torch.Tensor, "style style"]


def noise_of(seeds: Sequence[int]) -> Styles_prior_sampling:
    """Standard normal noise of every seed, on the processor: the same on any machine and in any batch."""
    return torch.stack([torch.randn(STYLE, generator=_generator(seed)) for seed in seeds])


def training_scheduler() -> Any:
    """The forward process: a cosine schedule (Nichol and Dhariwal 2021) over `TIMES`, of which x0 is predicted."""
    return _scheduler("ddpm")


@torch.no_grad()
def sample(
    network: PriorNetwork,
    conditions: Sequence[Condition],
    noise: Styles_prior_sampling,
    settings: SampleSettings,
    seeds: Sequence[int] = (),
    kept: Kept | None = None,
    callback: Callable[[int, Styles_prior_sampling], None] | None = None,
) -> Styles_prior_sampling:
    """Denoise.

    DDIM (Song et al. 2021), DPM-Solver++ (Lu et al. 2022) or ancestral DDPM (Ho et al. 2020), each with classifier-free
    guidance (Ho and Salimans 2022): guidance 1 follows the sentence, more exaggerates it, 0 forgets it.

    Args:
        network: in evaluation mode.
        conditions: one, or several whose predictions are mixed by their weights.
        noise: where to begin; see `noise_of`.
        settings: sampler, steps, guidance.
        seeds: of the noise that DDPM adds at every step, one a sample; not looked at by the others.
        kept: a part of a given style that all samples keep.
        callback: called with the number of every step and the styles predicted after it.

    Raises:
        AviError: a prediction is not finite.
        InputError: no condition, weights that do not add up to 1, values that are not finite, seeds missing.
    """
    _check(conditions, noise, settings, seeds)
    scheduler = _stepped(settings.sampler, settings.steps)
    generators = [_generator(step_seed(seed)) for seed in seeds] if settings.sampler == "ddpm" else None
    embeddings = [
        (_doubled(network, condition.embedding, settings.guidance), condition.weight) for condition in conditions
    ]
    x = noise
    for step, time in enumerate(scheduler.timesteps):
        predicted = sum(
            (weight * _predict(network, x, time, embedding, settings) for embedding, weight in embeddings), 0 * x
        )
        if kept is not None:
            predicted = predicted + (kept.style - predicted) @ kept.projection
        if not predicted.isfinite().all():
            raise AviError("a finite style", f"others at step {step}", "check the weights of the prior")
        predicted = predicted.clamp(-FARTHEST, FARTHEST)
        extra = {"generator": generators} if generators else {}
        x = scheduler.step(predicted, time, x, **extra).prev_sample
        if callback is not None:
            callback(step, predicted)
    return x if kept is None else x + (kept.style - x) @ kept.projection


@torch.no_grad()
def predict(network: PriorNetwork, conditions: Sequence[Condition], count: int) -> Styles_prior_sampling:
    """Styles of a network that was trained without diffusion: told at once, at the last time and from no noise."""
    blank = torch.zeros(count, STYLE, device=conditions[0].embedding.mask.device)
    times = torch.full((count,), TIMES - 1, device=blank.device)
    return sum(
        (condition.weight * network(blank, times, condition.embedding).float() for condition in conditions), blank
    )


def _predict(
    network: PriorNetwork,
    x: Styles_prior_sampling,
    time: torch.Tensor,
    embedding: TextEmbedding,
    settings: SampleSettings,
) -> Styles_prior_sampling:
    times = time.expand(len(x))
    if settings.guidance == 1.0:
        return network(x, times, embedding).float()
    with_text, without = network(torch.cat([x, x]), torch.cat([times, times]), embedding).float().chunk(2)
    return without + settings.guidance * (with_text - without)


def _doubled(network: PriorNetwork, embedding: TextEmbedding, guidance: float) -> TextEmbedding:
    """The sentences, and behind them the same ones unread, so that guidance is one pass."""
    texts = len(embedding.mask)
    if guidance == 1.0:
        return embedding
    rows = torch.arange(texts).repeat(2)
    dropped = torch.arange(2 * texts) >= texts
    return network.drop_text(embedding.at(rows.to(embedding.mask.device)), dropped.to(embedding.mask.device))


def _check(
    conditions: Sequence[Condition], noise: Styles_prior_sampling, settings: SampleSettings, seeds: Sequence[int]
) -> None:
    if not conditions or abs(sum(condition.weight for condition in conditions) - 1) > 1e-6:
        got = ", ".join(f"{condition.weight:g}" for condition in conditions) or "none"
        raise InputError("conditions whose weights add up to 1", got, "divide them by their sum")
    values = [
        noise,
        *(
            value
            for condition in conditions
            for value in (condition.embedding.keys, condition.embedding.values, condition.embedding.gist)
        ),
    ]
    if not all(value.isfinite().all() for value in values):
        raise InputError("finite noise and a finite reading of the sentence", "NaN or infinity", "encode it again")
    if any(len(condition.embedding.mask) != len(noise) for condition in conditions):
        got = f"{len(noise)} and {', '.join(str(len(condition.embedding.mask)) for condition in conditions)}"
        raise InputError("a sentence for every sample", got, "repeat the reading with `TextEmbedding.at`")
    if settings.sampler == "ddpm" and len(seeds) != len(noise):
        raise InputError("a seed for every sample of DDPM", f"{len(seeds)} for {len(noise)}", "pass seeds")


def step_seed(seed: int) -> int:
    """The seed of the noise that DDPM adds, apart from that of any sample's first noise."""
    return int(np.random.SeedSequence([seed, _STEPS]).generate_state(1, np.uint64)[0] >> 1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def _scheduler(sampler: str) -> Any:
    common = {"num_train_timesteps": TIMES, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}
    spaced = common | {"timestep_spacing": "trailing"}
    if sampler == "ddim":
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        return DDIMScheduler(clip_sample=False, **spaced)
    if sampler == "ddpm":
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        return DDPMScheduler(clip_sample=False, **spaced)
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", lambda_min_clipped=-5.1, **spaced)


def _stepped(sampler: str, steps: int) -> Any:
    """A scheduler of its own, set to a number of steps: schedulers keep what they have seen."""
    scheduler = type(_scheduler(sampler)).from_config(_scheduler(sampler).config)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # diffusers with numpy 2
        scheduler.set_timesteps(steps)
    return scheduler


# The diffusion prior as a whole: network, scale of styles, the file it lives in, and styles for sentences.


FORMAT = 1
KIND = "diffusion prior"
REMEDY = "train them with notebook 04, or check the path"
_KEPT_SHARE = 0.02
"""Directions that hold a group's channels by less than this share of the strongest one are free to change."""

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
    def read(self, states: Sequence[States]) -> TextEmbedding:
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
        embedding: TextEmbedding,
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
        return self.draw_mixed([(embedding, 1.0)], seeds, settings, kept, callback)

    def draw_mixed(
        self,
        conditions: Sequence[tuple[TextEmbedding, float]],
        seeds: Sequence[int],
        settings: SampleSettings,
        kept: Kept | None = None,
        callback: Callable[[int, torch.Tensor], None] | None = None,
    ) -> Styles:
        """Styles between sentences: at every step their predictions are mixed by the weights, from the same noise."""
        many = settings.candidates
        drawn = [candidate_seed(seed, number) for seed in seeds for number in range(many)]
        rows = torch.arange(len(seeds)).repeat_interleave(many)
        per_sample = [
            Condition(embedding.at(rows if len(embedding.mask) > 1 else torch.zeros_like(rows)), weight)
            for embedding, weight in conditions
        ]
        if self.shape.regression:
            styles = predict(self.network, per_sample, len(drawn))
        else:
            styles = sample(self.network, per_sample, noise_of(drawn), settings, drawn, kept, callback)
        if many > 1:
            aligned = sum((condition.weight * condition.embedding.aligned for condition in per_sample), torch.zeros(()))
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


SHIPPED_PRIOR = Path(__file__).resolve().parents[1] / "assets" / "prior.safetensors"

Style = Float32[np.ndarray, " style"]
Styles = Float32[np.ndarray, "samples style"]
_PLAIN = SampleSettings()


@dataclass(frozen=True, eq=False)
class PriorSampler:
    """A prior, the text encoder it reads through, why these, and what a person should know of them."""

    prior: PriorModel
    encoder: TextEncoder
    reason: str
    warning: str | None = None
    _readings: dict[str, TextEmbedding] = field(default_factory=dict, repr=False)

    def read(self, text: str) -> TextEmbedding:
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
        conditions = [(self.read(text), float(weight)) for text, weight in zip(texts, weights, strict=True)]
        return np.asarray(self.prior.draw_mixed(conditions, [seed], settings)[0])

    def edit(self, style: Style, keep: Sequence[str], text: str, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """A style for a sentence that keeps what a given style holds some groups of channels at."""
        kept = self.prior.keep(style, keep)
        return np.asarray(self.prior.draw(self.read(text), [seed], settings, kept)[0])

    def check_fits(self, talking: TalkingModel) -> None:
        """Raise InputError unless the styles are those of a talking model."""
        if self.prior.shape.styles != fingerprint(talking):
            got = "a talking model with other styles"
            do = "train a prior for it with notebook 04, or take styles from the performer"
            raise InputError("the talking model whose styles the prior draws", got, do)


_KEPT_READINGS = 256


def load_prior_sampler(weights: Path | None = None, encoder: str | None = None) -> PriorSampler:
    """The prior sampler of a file of weights, the shipped ones when None.

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
    return PriorSampler(prior, read, f"{where}; reads through {read.name}: {read.reason}", None if same else other)
