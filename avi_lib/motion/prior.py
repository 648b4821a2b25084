"""The diffusion prior: sentences in, styles out.

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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import nn
from torch.nn import functional

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.language_model import TextEncoder, load_text_encoder
from avi_lib.motion.clip import SPACES, MotionSpace
from avi_lib.motion.generator import STYLE, TalkingModel, check_encoder
from avi_lib.settings import SampleSettings
from avi_lib.weights import build_network, fingerprint, read_about, read_weights, save_weights, weights_of

SHIPPED_PRIOR = Path(__file__).resolve().parents[1] / "assets" / "prior.safetensors"
FORMAT, KIND, REMEDY = 1, "diffusion prior", "train them with notebook 04, or check the path"

TIMES = 1000  # of the diffusion; 0 has the least noise
REACH, BINDINGS = 3, 2  # tokens to each side that a token is mixed with, and how many times
FARTHEST = 6.0  # no number of a predicted style is beyond this many units, whatever the guidance
_WAVES, _QUERIES = 64, 4
STEP_NOISE = 0x57E9  # in place of a candidate's number: the noise that DDPM adds is of no sample's beginning
_KEPT_SHARE = 0.02  # directions that hold a group's channels less, beside the strongest one, are free to change
_KEPT_TEXTS = 256
_PLAIN = SampleSettings()

Style = Float32[np.ndarray, " style"]
Styles = Float32[np.ndarray, "samples style"]
StyleTensor = Float[torch.Tensor, "samples style"]
Tokens = Float[torch.Tensor, "texts heads _ features"]
Callback = Callable[[int, torch.Tensor], None]

# The network: a noisy style, a time and the tokens of a sentence in, the style without noise out.


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Sentences as the network attends to them."""

    keys: Tokens  # of every token of every head; the first token is empty and always there
    values: Tokens
    mask: Bool[torch.Tensor, "texts tokens"]
    pooled: Float[torch.Tensor, "texts width"]  # what some learned queries find in the sentence
    aligned: Float[torch.Tensor, "texts style"]  # the sentence in the space of normalised styles, of length 1

    def at(self, texts: Int[torch.Tensor, " rows"]) -> TextEmbedding:
        """The sentences of these numbers."""
        return TextEmbedding(**{name: value[texts] for name, value in vars(self).items()})


class PriorNetwork(nn.Module):
    """Attention from one style token to the tokens of a sentence.

    text: numbers in a token's state; width: features of the style token; words: features of a token.
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
        self.nothing = nn.Parameter(torch.randn(2, words).mul_(0.02))  # in place: see build_network
        self.queries = nn.Parameter(torch.randn(_QUERIES, heads, words // heads).mul_(0.5))
        self.gather = nn.Sequential(nn.LayerNorm(_QUERIES * words), nn.Linear(_QUERIES * words, width), nn.GELU())
        self.align = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, STYLE))
        self.no_gist = nn.Parameter(torch.zeros(width))
        self.gist = nn.Linear(width, width)
        self.noisy = nn.Linear(STYLE, width)
        self.time = nn.Sequential(nn.Linear(2 * _WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.Linear(width, 4 * width)
        self.blocks = nn.ModuleList(PriorBlock(width, words, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, STYLE)
        for layer in (self.modulate, self.say):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def read(
        self, states: Float[torch.Tensor, "texts tokens text"], mask: Bool[torch.Tensor, "texts tokens"]
    ) -> TextEmbedding:
        """Embed sentences, from the states of their tokens and which of them are there; padding is never looked at."""
        texts = len(mask)
        rows = self.read_words(self.read_norm(states[mask]))
        for bind in self.binding:
            rows = bind(rows, mask)
        projected = []
        for layer, empty in zip((self.read_keys, self.read_values), self.nothing, strict=True):
            features = layer(rows)
            placed = features.new_zeros(*mask.shape, features.shape[1])
            placed[mask] = features
            tokens = torch.cat([empty.to(features.dtype).expand(texts, 1, -1), placed], dim=1)
            projected.append(tokens.unflatten(2, (self.heads, -1)).transpose(1, 2))
        keys, values = projected
        full = torch.cat([mask.new_ones(texts, 1), mask], dim=1)
        found = _attend(self.queries.transpose(0, 1).expand(texts, -1, -1, -1), keys, values, full)
        pooled = self.gather(found.transpose(1, 2).flatten(1))
        return TextEmbedding(keys, values, full, pooled, functional.normalize(self.align(pooled).float(), dim=1))

    def drop_text(self, embedding: TextEmbedding, dropped: Bool[torch.Tensor, " texts"]) -> TextEmbedding:
        """The same with some sentences taken away: nothing of them is left but the empty token."""
        first = torch.arange(embedding.mask.shape[1], device=dropped.device) == 0
        mask = embedding.mask & (first | ~dropped[:, None])
        pooled = torch.where(dropped[:, None], self.no_gist.to(embedding.pooled.dtype), embedding.pooled)
        return replace(embedding, mask=mask, pooled=pooled)

    def forward(
        self, noisy: Float[torch.Tensor, "texts style"], times: Int[torch.Tensor, " texts"], embedding: TextEmbedding
    ) -> Float[torch.Tensor, "texts style"]:
        """The predicted styles without noise."""
        rates = torch.exp(torch.arange(_WAVES, device=times.device) * (-math.log(10_000) / (_WAVES - 1)))
        angles = times[:, None].float() * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        modulation = self.modulate(functional.silu(self.time(waves)))
        x = self.noisy(noisy) + self.gist(embedding.pooled)
        for block in self.blocks:
            x = block(x, modulation, embedding)
        predicted: torch.Tensor = self.say(self.norm(x))
        return predicted


class Binding(nn.Module):
    """Mixes every token with its neighbours, so that the style token sees which adverb belongs to which movement."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, width // 4)
        self.near = nn.Linear((2 * REACH + 1) * (width // 4), width)
        self.say = nn.Linear(width, width)

    def forward(
        self, rows: Float[torch.Tensor, "rows width"], mask: Bool[torch.Tensor, "texts tokens"]
    ) -> Float[torch.Tensor, "rows width"]:
        """The tokens of all texts, one after another, each mixed with its neighbours within its text."""
        narrow = self.narrow(self.norm(rows))
        placed = narrow.new_zeros(len(mask), mask.shape[1] + 2 * REACH, narrow.shape[1])
        placed[:, REACH:-REACH][mask] = narrow
        near = placed.unfold(1, 2 * REACH + 1, 1)[mask].flatten(1)
        mixed: torch.Tensor = rows + self.say(functional.gelu(self.near(near)))
        return mixed


class PriorBlock(nn.Module):
    """Attention from the style to the sentence, then a network, both scaled and shifted by the time (PixArt, 2023)."""

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
        modulation: Float[torch.Tensor, "texts four_widths"],
        embedding: TextEmbedding,
    ) -> Float[torch.Tensor, "texts width"]:
        """The style token of each text after this block."""
        scale, shift, scale_2, shift_2 = (modulation + self.offset).chunk(4, dim=1)
        queries = self.ask(self.ask_norm(x) * (1 + scale) + shift).unflatten(1, (self.heads, 1, -1))
        x = x + self.answer(_attend(queries, embedding.keys, embedding.values, embedding.mask).flatten(1))
        y = self.network(self.norm(x) * (1 + scale_2) + shift_2)
        return x + functional.dropout(y, self.dropout, self.training)


def _attend(queries: Tokens, keys: Tokens, values: Tokens, mask: Bool[torch.Tensor, "texts tokens"]) -> Tokens:
    """Scaled dot-product attention; for one query on a processor faster written out than fused."""
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    return logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1) @ values


# The sampler: from noise to styles, by the schedulers of diffusers.


class Condition(NamedTuple):
    """A sentence for every sample, and its weight among several, which add up to 1."""

    embedding: TextEmbedding
    weight: float = 1.0


class Kept(NamedTuple):
    """What of a given style is kept: `projection` (style, style) onto it."""

    style: Float[torch.Tensor, " style"]
    projection: Float[torch.Tensor, "style style"]


def noise_of(seeds: Sequence[int]) -> StyleTensor:
    """Standard normal noise of every seed, on the processor: the same on any machine and in any batch."""
    return torch.stack([torch.randn(STYLE, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def scheduler_of(sampler: str = "ddpm") -> Any:
    """A new scheduler of `SampleSettings.sampler`; of "ddpm", the forward process of training.

    A cosine schedule (Nichol and Dhariwal 2021) over `TIMES`, of which x0 is predicted.
    """
    import diffusers  # slow to import: only where styles are drawn

    common: dict[str, Any] = {
        "num_train_timesteps": TIMES,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }
    if sampler == "dpm++":
        return diffusers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", lambda_min_clipped=-5.1, **common)
    kind = diffusers.DDIMScheduler if sampler == "ddim" else diffusers.DDPMScheduler
    return kind(clip_sample=False, **common)


@torch.no_grad()
def sample(
    network: PriorNetwork,
    conditions: Sequence[Condition],
    noise: StyleTensor,
    settings: SampleSettings,
    seeds: Sequence[int] = (),
    kept: Kept | None = None,
    callback: Callback | None = None,
) -> StyleTensor:
    """Denoise.

    DDIM (Song et al. 2021), DPM-Solver++ (Lu et al. 2022) or ancestral DDPM (Ho et al. 2020), each with classifier-free
    guidance (Ho and Salimans 2022, equation 6, with 1 + w there as w here), on the prediction of x0:

    ==================  ================================================================================
    symbol              variable
    x_T, x_t            `noise`, `x` (samples, 128), of normalised styles
    t, alpha_bar_t      `time` of `scheduler.timesteps`, `scheduler.alphas_cumprod[time]`
    c, and its absence  `conditions`; sentences that `drop_text` took away
    w                   `settings.guidance`: 0 forgets the sentence, more than 1 exaggerates it
    x0_hat              `predicted` = x0(x_t, t) + w (x0(x_t, t, c) - x0(x_t, t))
    ==================  ================================================================================

    Begins at `noise` (see `noise_of`) with a network in evaluation mode. Predictions for several conditions are mixed
    by their weights. `seeds`, one a sample, are those of the noise that DDPM adds at every step. `kept` is a part of a
    given style that all samples keep. `callback` gets the number of every step and the styles predicted in it. Raises
    AviError for a prediction that is not finite, InputError for weights that do not add up to 1.
    """
    if abs(sum(condition.weight for condition in conditions) - 1) > 1e-6:
        got = ", ".join(f"{condition.weight:g}" for condition in conditions) or "none"
        raise InputError("conditions whose weights add up to 1", got, "divide them by their sum")
    scheduler = scheduler_of(settings.sampler)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # diffusers with numpy 2
        scheduler.set_timesteps(settings.steps)
    extra: dict[str, Any] = {}
    if settings.sampler == "ddpm":
        extra["generator"] = [torch.Generator().manual_seed(candidate_seed(seed, STEP_NOISE)) for seed in seeds]
    w, x = settings.guidance, noise
    if w != 1.0:
        # the sentences, and behind them the same ones dropped, so that guidance is one pass
        rows = torch.arange(2 * len(x), device=x.device)
        doubled = (each._replace(embedding=each.embedding.at(rows % len(x))) for each in conditions)
        conditions = [each._replace(embedding=network.drop_text(each.embedding, rows >= len(x))) for each in doubled]
    for step, time in enumerate(scheduler.timesteps):
        predicted = 0 * x
        for embedding, weight in conditions:
            copies = 1 if w == 1.0 else 2
            x0 = network(x.repeat(copies, 1), time.expand(copies * len(x)), embedding).float()
            if w != 1.0:
                with_text, without = x0.chunk(2)
                x0 = without + w * (with_text - without)
            predicted = predicted + weight * x0
        if kept is not None:
            predicted = predicted + (kept.style - predicted) @ kept.projection
        if not predicted.isfinite().all():
            raise AviError("a finite style", f"others at step {step}", "check the weights of the prior")
        predicted = predicted.clamp(-FARTHEST, FARTHEST)
        x = scheduler.step(predicted, time, x, **extra).prev_sample
        if callback is not None:
            callback(step, predicted)
    return x if kept is None else x + (kept.style - x) @ kept.projection


def candidate_seed(seed: int, number: int) -> int:
    """The seed of a sample's candidate, or of the noise in its steps; the first candidate's is the sample's own."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


# The prior as a whole: network, scale of styles, and the file it lives in.


@dataclass(frozen=True)
class PriorShape:
    """What a prior is made for and how large it is: see `PriorNetwork` for the sizes."""

    text_encoder: str
    text_fingerprint: str  # digest of the text encoder
    text: int
    space: str  # name of the motion space
    styles: str  # fingerprint of the talking model whose styles it draws
    width: int
    blocks: int
    heads: int
    words: int
    regression: bool = False  # the network predicts the style at once, without diffusion


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
    def read(self, states: Sequence[Float32[np.ndarray, "_ dim"]]) -> TextEmbedding:
        """Embed sentences, from the states (tokens, text) of each; InputError for states of another width or NaN."""
        if any(each.ndim != 2 or each.shape[1] != self.shape.text or not np.isfinite(each).all() for each in states):
            expected = f"finite states (tokens, {self.shape.text}) of {self.shape.text_encoder}"
            got = ", ".join(str(each.shape) for each in states)
            raise InputError(expected, got, "encode the sentences with that encoder")
        mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
        padded = torch.zeros(*mask.shape, self.shape.text)
        padded[mask] = torch.from_numpy(np.concatenate(states)).float()
        return self.network.read(padded.to(self.mean.device), mask.to(self.mean.device))

    @torch.no_grad()
    def draw(
        self,
        text: TextEmbedding | Sequence[Condition],
        seeds: Sequence[int],
        settings: SampleSettings,
        kept: Kept | None = None,
        callback: Callback | None = None,
    ) -> Styles:
        """Styles (samples, 128) for sentences, one each with its seed; a single sentence serves all seeds.

        Predictions for several conditions are mixed at every step. Of several candidates, drawn from seeds of their
        own, the one nearest to its sentence in the aligned space is taken. A regression draws the same for all seeds
        and can keep nothing.
        """
        many = settings.candidates
        drawn = [candidate_seed(seed, number) for seed in seeds for number in range(many)]
        rows = torch.arange(len(seeds)).repeat_interleave(many)
        conditions = [
            Condition(embedding.at(rows if len(embedding.mask) > 1 else torch.zeros_like(rows)), weight)
            for embedding, weight in ([Condition(text)] if isinstance(text, TextEmbedding) else text)
        ]
        if self.shape.regression:  # from no noise at the last time
            blank = torch.zeros(len(drawn), STYLE, device=self.mean.device)
            times = torch.full((len(drawn),), TIMES - 1, device=blank.device)
            styles = sum((share * self.network(blank, times, each).float() for each, share in conditions), blank)
        else:
            styles = sample(self.network, conditions, noise_of(drawn), settings, drawn, kept, callback)
        if many > 1:
            aligned = sum((weight * embedding.aligned for embedding, weight in conditions), torch.zeros(()))
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


def save_prior(model: PriorModel, path: Path, about: dict[str, object] | None = None) -> None:
    """Write weights as float16, atomically; `about` says what they were trained on, and under which licences."""
    save_weights(model, path, {"format": FORMAT, "kind": KIND, "shape": asdict(model.shape), "about": about or {}})


def load_prior(path: Path) -> PriorModel:
    """Read a prior, ready to be used; InputError when the file is missing, damaged or something else."""
    with weights_of(KIND, path, REMEDY):
        header, tensors = read_weights(path, (FORMAT,), KIND)
        return build_network(lambda: PriorModel(PriorShape(**header["shape"])), tensors)


def read_prior_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    with weights_of(KIND, path, REMEDY):
        return read_about(path, (FORMAT,), KIND)


@dataclass(frozen=True, eq=False)
class PriorSampler:
    """A prior, its text encoder, why these, and a warning for the user, if any."""

    prior: PriorModel
    encoder: TextEncoder
    reason: str
    warning: str | None = None
    _texts: dict[str, TextEmbedding] = field(default_factory=dict, repr=False)

    def read(self, text: str) -> TextEmbedding:
        """The embedding of a sentence; the last ones are kept."""
        if text not in self._texts:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[text] = self.prior.read(self.encoder.encode([text]))
        return self._texts[text]

    def style(self, text: str, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """One style (128,) for a sentence."""
        return np.asarray(self.styles(text, [seed], settings)[0])

    def styles(
        self, text: str, seeds: Sequence[int], settings: SampleSettings = _PLAIN, callback: Callback | None = None
    ) -> Styles:
        """Styles (seeds, 128) for a sentence, one for each seed; see `sample` for the callback."""
        return self.prior.draw(self.read(text), seeds, settings, callback=callback)

    def between(
        self, texts: Sequence[str], weights: Sequence[float], seed: int, settings: SampleSettings = _PLAIN
    ) -> Style:
        """A style between sentences, by weights that add up to 1: interpolation from the same noise."""
        conditions = [Condition(self.read(text), float(weight)) for text, weight in zip(texts, weights, strict=True)]
        return np.asarray(self.prior.draw(conditions, [seed], settings)[0])

    def edit(self, style: Style, keep: Sequence[str], text: str, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """A style for a sentence that keeps what a given style holds some groups of channels at."""
        return np.asarray(self.prior.draw(self.read(text), [seed], settings, self.prior.keep(style, keep))[0])

    def check_fits(self, talking: TalkingModel) -> None:
        """Raise InputError unless the styles are those of a talking model."""
        if self.prior.shape.styles != fingerprint(talking):
            got = "a talking model with other styles"
            do = "train a prior for it with notebook 04, or take styles from the performer"
            raise InputError("the talking model whose styles the prior draws", got, do)


def load_prior_sampler(weights: Path | None = None, encoder: str | None = None) -> PriorSampler:
    """The prior sampler of a file of weights, the shipped ones when None.

    encoder: name of the text encoder or path to it; the one the prior was trained with when None.

    Raises AssetError when the text encoder is to be had nowhere, InputError for weights or an encoder that do not fit.
    """
    path = weights or SHIPPED_PRIOR
    prior = load_prior(path)
    shape = prior.shape
    text = load_text_encoder(encoder or shape.text_encoder)
    warning = check_encoder(text, shape.text_encoder, shape.text, shape.text_fingerprint, "--text-encoder")
    where = "shipped weights" if weights is None else str(path)
    return PriorSampler(prior, text, f"{where}; reads through {text.name}: {text.reason}", warning)
