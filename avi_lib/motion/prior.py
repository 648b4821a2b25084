"""The diffusion prior: what is asked in, styles out.

>>> prior_sampler = load_prior_sampler()                       # the shipped prior, or a path to one's own
>>> prior_sampler.style("She is furious.", seed=7).shape
(128,)
>>> prior_sampler.styles(Instruction.parse("She is furious."), seeds=[7, 8, 9], settings=SampleSettings(steps=12)).shape
(3, 128)

One reading of a sentence, its `Instruction`, is what is printed and what moves. It goes in twice: as tokens beside
those of the text, which carry what the parser does not know, and as entries of the style that are fixed
(`asked_style`). The network draws the others to fit them. Any text is taken: it is data, cut at a limit, never run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import nn
from torch.nn import functional

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, opposites
from avi_lib.instruction.grammar import MAX_LENGTH
from avi_lib.instruction.instruction import Instruction, expression_targets
from avi_lib.instruction.language_model import TextEncoder, load_text_encoder
from avi_lib.motion.clip import ARKIT, SPACES, MotionClip, MotionSpace
from avi_lib.motion.generator import check_encoder
from avi_lib.motion.style import DYNAMICS, STYLE, known, style_of
from avi_lib.settings import SampleSettings
from avi_lib.weights import WeightsFile

SHIPPED_PRIOR = Path(__file__).resolve().parents[1] / "assets" / "prior.safetensors"
REACH, BINDINGS = 3, 2  # tokens to each side that a token is mixed with, and how many times
FARTHEST = 8.0  # no number of a predicted style is beyond this many units, whatever the guidance
_WAVES, _QUERIES = 64, 4
_KEPT_TEXTS = 256
_PLAIN = SampleSettings()

Style = Float32[np.ndarray, " style"]
Styles = Float32[np.ndarray, "samples style"]
StyleTensor = Float[torch.Tensor, "samples style"]
Tokens = Float[torch.Tensor, "texts heads _ features"]
Callback = Callable[[int, torch.Tensor], None]

# The reading: what is asked, as the network takes it.

UNITS = tuple(ACTION_UNITS)
ASKED = len(UNITS) + len(EMOTIONS)  # tokens of a reading: one for every action unit, one for every emotion
Asked = Float32[np.ndarray, "59 3"]


def asked_tokens(asked: Instruction) -> Asked:
    """Features (units and emotions, 3) of a reading: 1 where it is asked for, else 0.

    Behind it strength and 1 where forbidden of a unit, share and level / 3 of an emotion.
    """
    rows = np.zeros((ASKED, 3), np.float32)
    for name, strength in asked.action_units.items():
        rows[UNITS.index(name)] = 1.0, strength, strength == 0.0
    for emotion, (level, share) in asked.emotions.items():
        rows[len(UNITS) + EMOTIONS.index(emotion)] = 1.0, share, level / 3
    return rows


_RHYTHMS = {"head_nod": "nods of 0.9 to 2 Hz in rad", "head_shake": "shakes of 0.7 to 1.8 Hz in rad"}
_OPPOSING = 0.6  # from this strength on a unit decides over the channels that it opposes
_ABOUT = {
    channel: [name for name, unit in ACTION_UNITS.items() if channel in unit.main_channels()]
    for channel in ARKIT.channels
}
_BOTH_WAYS = {ARKIT.channels[i] for group in ("gaze", "head") for i in ARKIT.groups[group]}
_UNSTILLED = {ARKIT.channels[i] for i in ARKIT.groups["lips"]} | {"eyeBlinkLeft", "eyeBlinkRight"}


def asked_style(asked: Instruction) -> tuple[Style, Bool[np.ndarray, " style"]]:
    """What a reading fixes of a style in the ARKIT space: values and which entries.

    The channels of a named unit are held at its strength, what accompanies them where no emotion might show it too; of
    those that it opposes what it leaves of an emotion's face. What is forbidden does not move, but lips speak and lids
    blink. Nods and shakes have entries of their own. Values of lips and rhythms are as they are asked, not as a
    style shows them over speech: see `PriorModel.fixed`.
    """
    values, fixed, size = np.zeros(STYLE, np.float32), np.zeros(STYLE, bool), len(ARKIT)
    targets, opposed, units = expression_targets(asked), opposites(), asked.action_units
    for name, strength in units.items():
        unit = ACTION_UNITS[name]
        if name in _RHYTHMS:
            number = 2 * size + list(DYNAMICS).index(_RHYTHMS[name])
            values[number], fixed[number] = strength, True
        for channel in unit.channels if strength and not asked.emotion else unit.main_channels():
            number = ARKIT.index(channel)
            values[number], fixed[number] = targets[channel], True
            for other in opposed.get(channel, ()) if strength >= _OPPOSING else ():
                number = ARKIT.index(other)
                values[number], fixed[number] = targets.get(other, 0.0), True
    for number, channel in enumerate(ARKIT.channels):
        said = [units.get(name) for name in _ABOUT[channel]]
        ways = all(strength == 0.0 for strength in said) if channel in _BOTH_WAYS else not any(said)
        fixed[size + number] = 0.0 in said and ways and channel not in _UNSTILLED
    return values, fixed


def deviations(asked: Instruction, motion: MotionClip, prior: PriorModel | None = None) -> list[str]:
    """Where a motion over speech is not what was understood, in words: named units, and the emotion's face.

    prior: knows what lips show over speech; without one they are not looked at. Raises InputError for an empty motion.
    """
    (values, fixed), shown, there = asked_style(asked), style_of(motion), known(ARKIT, motion.present)
    if prior is not None:
        shown = (shown - prior.rest.cpu().numpy()) / prior.gain.cpu().numpy()
    lips, found = ARKIT.groups["lips"], []
    for name, strength in asked.action_units.items():
        unit = ACTION_UNITS[name]
        main = {ARKIT.index(channel): unit.channels[channel] for channel in unit.main_channels()}
        if name in _RHYTHMS:
            main = {2 * len(ARKIT) + list(DYNAMICS).index(_RHYTHMS[name]): 1.0}
        spoken = {*lips, *range(2 * len(ARKIT), STYLE)} if prior is None else ()
        seen = [i for i in main if fixed[i] and there[i] and i not in spoken]
        want, got = (float(np.mean([each[i] / main[i] for i in seen])) if seen else 0.0 for each in (values, shown))
        if abs(want - got) > (_FORBIDDEN if strength == 0.0 else _DEVIATION):
            found.append(f"{name.replace('_', ' ')} was asked for at {want:.2f} and shows {max(got, 0.0):.2f}")
    targets = expression_targets(replace(asked, action_units={}))
    face = {ARKIT.index(channel): value for channel, value in targets.items() if ARKIT.index(channel) not in lips}
    free = [number for number in face if not fixed[number] and motion.present[number]]
    whole = sum(face[number] ** 2 for number in free)
    if whole > 0.1 and (share := sum(face[number] * shown[number] for number in free) / whole) < _HARDLY:
        found.append(f"{asked.emotion} hardly shows: {max(share, 0.0):.0%} of its usual face")
    return found


_DEVIATION, _FORBIDDEN, _HARDLY = 0.2, 0.1, 0.2

# The network: a noisy style, a time and what is asked in, the style without noise out.


@dataclass(frozen=True, eq=False)
class Reading:
    """Sentences as the network attends to them, and what they fix of a style."""

    keys: Tokens  # of every token of every head; the first token is empty and always there
    values: Tokens
    mask: Bool[torch.Tensor, "texts tokens"]
    pooled: Float[torch.Tensor, "texts width"]  # what some learned queries find in the tokens
    known: Float[torch.Tensor, "texts style"]  # normalised styles
    fixed: Bool[torch.Tensor, "texts style"]  # which of their entries are fixed

    def at(self, texts: Int[torch.Tensor, " rows"]) -> Reading:
        """The sentences of these numbers."""
        return Reading(**{name: value[texts] for name, value in vars(self).items()})


class PriorNetwork(nn.Module):
    """Attention from one style token to the tokens of a sentence and of its reading.

    text: numbers in a token's state; width: features of the style token; words: features of a token.
    """

    def __init__(
        self, text: int, width: int = 192, blocks: int = 4, heads: int = 8, words: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.read_norm = nn.LayerNorm(text)
        self.read_words = nn.Linear(text, words)
        self.binding = nn.ModuleList(Binding(words) for _ in range(BINDINGS))
        self.read_asked = nn.Parameter(torch.randn(ASKED, 3, words).mul_(0.5))  # in place: see build_network
        self.read_keys = nn.Linear(words, words)
        self.read_values = nn.Linear(words, words)
        self.nothing = nn.Parameter(torch.randn(words).mul_(0.02))
        self.queries = nn.Parameter(torch.randn(_QUERIES, heads, words // heads).mul_(0.5))
        self.gather = nn.Sequential(nn.LayerNorm(_QUERIES * words), nn.Linear(_QUERIES * words, width), nn.GELU())
        self.gist = nn.Linear(width, width)
        self.noisy = nn.Linear(3 * STYLE, width)
        self.time = nn.Sequential(nn.Linear(2 * _WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulate = nn.Linear(width, 4 * width)
        self.blocks = nn.ModuleList(PriorBlock(width, words, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, STYLE)
        for layer in (self.modulate, self.say):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def read(
        self,
        states: Float[torch.Tensor, "texts tokens text"],
        mask: Bool[torch.Tensor, "texts tokens"],
        asked: Float[torch.Tensor, "texts asked 3"],
        known: Float[torch.Tensor, "texts style"],
        fixed: Bool[torch.Tensor, "texts style"],
    ) -> Reading:
        """Embed sentences and readings.

        From the states of the tokens and which of them are there, features as of `asked_tokens`, and what is fixed of a
        normalised style. Padding, and units that are not asked for, are never looked at; all may be absent.
        """
        texts = len(mask)
        rows = self.read_words(self.read_norm(states[mask]))
        for bind in self.binding if len(rows) else ():
            rows = bind(rows, mask)
        said = rows.new_zeros(*mask.shape, rows.shape[1])
        said[mask] = rows
        there = asked[..., 0] > 0
        most = int(there.sum(dim=1).max())
        named = there.float().argsort(dim=1, descending=True, stable=True)[:, :most]
        features = asked.gather(1, named[..., None].expand(-1, -1, 3))
        parts = (features[..., None] * self.read_asked[named]).sum(dim=2).to(said.dtype)
        tokens = torch.cat([self.nothing.to(said.dtype).expand(texts, 1, -1), said, parts], dim=1)
        full = torch.cat([mask.new_ones(texts, 1), mask, there.gather(1, named)], dim=1)
        keys, values = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.read_keys, self.read_values)
        )
        found = _attend(self.queries.transpose(0, 1).expand(texts, -1, -1, -1), keys, values, full)
        return Reading(keys, values, full, self.gather(found.transpose(1, 2).flatten(1)), known, fixed)

    def forward(
        self, noisy: Float[torch.Tensor, "texts style"], times: Float[torch.Tensor, " texts"], reading: Reading
    ) -> Float[torch.Tensor, "texts style"]:
        """The predicted styles without noise, fixed entries as they are; times are 0, all noise, to 1, none."""
        rates = torch.exp(torch.arange(_WAVES, device=times.device) * (-math.log(10_000) / (_WAVES - 1)))
        angles = 1000 * times[:, None].float() * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        modulation = self.modulate(functional.silu(self.time(waves)))
        fixed = reading.fixed.to(noisy.dtype)
        x = self.noisy(torch.cat([noisy, reading.known * fixed, fixed], dim=1)) + self.gist(reading.pooled)
        for block in self.blocks:
            x = block(x, modulation, reading)
        predicted: torch.Tensor = self.say(self.norm(x))
        return torch.where(reading.fixed, reading.known, predicted.float())


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
        reading: Reading,
    ) -> Float[torch.Tensor, "texts width"]:
        """The style token of each text after this block."""
        scale, shift, scale_2, shift_2 = (modulation + self.offset).chunk(4, dim=1)
        queries = self.ask(self.ask_norm(x) * (1 + scale) + shift).unflatten(1, (self.heads, 1, -1))
        x = x + self.answer(_attend(queries, reading.keys, reading.values, reading.mask).flatten(1))
        y = self.network(self.norm(x) * (1 + scale_2) + shift_2)
        return x + functional.dropout(y, self.dropout, self.training)


def _attend(queries: Tokens, keys: Tokens, values: Tokens, mask: Bool[torch.Tensor, "texts tokens"]) -> Tokens:
    """Scaled dot-product attention; for one query on a processor faster written out than fused."""
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    return logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1) @ values


# The sampler: from noise to styles.
class Condition(NamedTuple):
    """A sentence for every sample, and its weight among several, which add up to 1."""

    reading: Reading
    weight: float = 1.0


def noise_of(seeds: Sequence[int]) -> StyleTensor:
    """Standard normal noise of every seed, on the processor: the same on any machine and in any batch."""
    return torch.stack([torch.randn(STYLE, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.no_grad()
def sample(
    network: PriorNetwork,
    conditions: Sequence[Condition],
    noise: StyleTensor,
    settings: SampleSettings,
    nothing: Reading | None = None,
    callback: Callback | None = None,
) -> StyleTensor:
    """Denoise along the straight path from noise to style (rectified flow, Liu et al. 2022), of which x1 is predicted.

    Heun's method on a grid that is densest near the style (Karras et al. 2022), with classifier-free guidance (Ho and
    Salimans 2022, equation 6, with 1 + w there as w here):

    =================  ===========================================================================================
    symbol             variable
    x_0, x_t           `noise`, `x` = (1 - t) x_0 + t x_1 (samples, 128), of normalised styles
    t_k                `grid` = sin(pi k / 2 N), N of `settings.steps`
    c, its absence     `conditions`, `nothing`, which fixes the same entries and asks for nothing
    w                  `settings.guidance`: 0 forgets the sentence, more than 1 exaggerates it
    x1_hat             `predicted` = x1(x_t, t) + w (x1(x_t, t, c) - x1(x_t, t))
    v                  (x1_hat - x_t) / (1 - t)
    =================  ===========================================================================================

    Begins at `noise` (see `noise_of`) with a network in evaluation mode. Predictions for several conditions are mixed
    by their weights. `nothing` is looked at with a guidance other than 1. `callback` gets the number of every step and
    the styles predicted in it. Raises AviError for a prediction that is not finite, InputError for weights that do not
    add up to 1.
    """
    if abs(sum(condition.weight for condition in conditions) - 1) > 1e-6:
        got = ", ".join(f"{condition.weight:g}" for condition in conditions) or "none"
        raise InputError("conditions whose weights add up to 1", got, "divide them by their sum")
    w = settings.guidance

    def predict(x: StyleTensor, time: float) -> StyleTensor:
        predicted, times = 0 * x, x.new_full((len(x),), time)
        for reading, weight in conditions:
            x1 = network(x, times, reading)
            if w != 1.0 and nothing is not None:
                without = network(x, times, replace(nothing, known=reading.known, fixed=reading.fixed))
                x1 = without + w * (x1 - without)
            predicted = predicted + weight * x1
        if not predicted.isfinite().all():
            raise AviError("a finite style", f"others at time {time:.2f}", "check the weights of the prior")
        return predicted.clamp(-FARTHEST, FARTHEST)

    x, grid = noise, [math.sin(0.5 * math.pi * k / settings.steps) for k in range(settings.steps)]
    for step, (now, then) in enumerate(pairwise([*grid, 1.0])):
        predicted = predict(x, now)
        velocity = (predicted - x) / (1 - now)
        ahead = x + (then - now) * velocity
        if then < 1:
            velocity = (velocity + (predict(ahead, then) - ahead) / (1 - then)) / 2
            ahead = x + (then - now) * velocity
        x = ahead
        if callback is not None:
            callback(step, predicted)
    return x


# The prior as a whole: network, scale of styles, and the file it lives in.
@dataclass(frozen=True)
class PriorShape:
    """What a prior is made for and how large it is: see `PriorNetwork` for the sizes."""

    text_encoder: str
    text_fingerprint: str  # digest of the text encoder
    text: int
    space: str  # name of the motion space
    width: int
    blocks: int
    heads: int
    words: int
    regression: bool = False  # the network predicts the style at once, without diffusion


class PriorModel(nn.Module):
    """`network`, and as buffers mean and scale of styles, and what a style shows of what is asked.

    `rest` and `gain` (128,) are the line from asked to shown values, such as of a jaw that speaks.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    rest: torch.Tensor
    gain: torch.Tensor

    def __init__(self, shape: PriorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.network = PriorNetwork(shape.text, shape.width, shape.blocks, shape.heads, shape.words, dropout)
        for name, value in (("mean", 0.0), ("scale", 1.0), ("rest", 0.0), ("gain", 1.0)):
            self.register_buffer(name, torch.full((STYLE,), value))

    @property
    def space(self) -> MotionSpace:
        """The motion space of the styles."""
        return SPACES[self.shape.space]

    def normal(self, styles: Float[torch.Tensor, "n style"]) -> Float[torch.Tensor, "n style"]:
        """Styles as the network sees them."""
        return (styles - self.mean) / self.scale

    def fixed(self, asked: Sequence[Instruction]) -> tuple[StyleTensor, Bool[torch.Tensor, "texts style"]]:
        """What readings fix of normalised styles: values and which entries."""
        values, fixed = zip(*map(asked_style, asked), strict=True)
        shown = torch.from_numpy(np.stack(values)).to(self.rest.device) * self.gain + self.rest
        return self.normal(shown), torch.from_numpy(np.stack(fixed)).to(self.rest.device)

    @torch.no_grad()
    def read(
        self,
        states: Sequence[Float32[np.ndarray, "_ dim"]],
        asked: Sequence[Instruction] | None = None,
        style: Style | None = None,
        keep: Sequence[str] = (),
    ) -> Reading:
        """Embed sentences and their readings.

        states: (tokens, text) of every sentence, without tokens for none; asked: what was understood of each, None
        leaves all to the text; of `style` the groups of channels named in `keep` are kept. Raises InputError for states
        of another width or NaN, an unknown group, and a style that is not finite or of another size.
        """
        if any(each.ndim != 2 or each.shape[1] != self.shape.text or not np.isfinite(each).all() for each in states):
            expected = f"finite states (tokens, {self.shape.text}) of {self.shape.text_encoder}"
            got = ", ".join(str(each.shape) for each in states)
            raise InputError(expected, got, "encode the sentences with that encoder")
        mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
        padded, device = torch.zeros(*mask.shape, self.shape.text), self.mean.device
        padded[mask] = torch.from_numpy(np.concatenate(states)).float()
        tokens = torch.zeros(len(states), ASKED, 3)
        known, fixed = (
            torch.zeros(len(states), STYLE, dtype=kind, device=device) for kind in (torch.float, torch.bool)
        )
        if asked is not None:
            tokens = torch.from_numpy(np.stack([asked_tokens(each) for each in asked]))
            known, fixed = self.fixed(asked)
        if style is not None:
            kept = self.kept(style, keep)
            known, fixed = torch.where(kept, self.normal(torch.from_numpy(style).to(device)[None]), known), fixed | kept
        return self.network.read(padded.to(device), mask.to(device), tokens.to(device), known, fixed)

    def kept(self, style: Style, groups: Sequence[str]) -> Bool[torch.Tensor, " style"]:
        """Entries of a style, levels and spreads, that are about groups of channels; errors as in `read`."""
        if unknown := sorted(set(groups) - set(self.space.groups)):
            raise InputError(f"groups of {', '.join(self.space.groups)}", ", ".join(unknown), "name some of them")
        if style.shape != (STYLE,) or not np.isfinite(style).all():
            raise InputError(f"a finite style ({STYLE},)", f"{style.shape}", "take one from `draw` or `style_of`")
        kept = torch.zeros(STYLE, dtype=torch.bool, device=self.mean.device)
        for group in groups:
            for channel in self.space.groups[group]:
                kept[[channel, len(self.space) + channel]] = True
        return kept

    @torch.no_grad()
    def draw(
        self,
        readings: Reading | Sequence[Condition],
        seeds: Sequence[int],
        settings: SampleSettings,
        callback: Callback | None = None,
    ) -> Styles:
        """Styles (samples, 128) for sentences, one each with its seed; a single sentence serves all seeds.

        Predictions for several conditions are mixed at every step. A regression draws the same for all seeds.
        """
        one = torch.zeros(len(seeds), dtype=torch.long)
        conditions = [
            Condition(reading if len(reading.mask) > 1 else reading.at(one), weight)
            for reading, weight in ([Condition(readings)] if isinstance(readings, Reading) else readings)
        ]
        if self.shape.regression:  # from no noise
            blank = torch.zeros(len(seeds), STYLE, device=self.mean.device)
            styles = sum((share * self.network(blank, blank[:, 0], each) for each, share in conditions), blank)
        else:
            empty = np.zeros((0, self.shape.text), np.float32)
            nothing = self.read([empty]).at(one) if settings.guidance != 1.0 else None
            noise = noise_of(seeds).to(self.mean.device)
            styles = sample(self.network, conditions, noise, settings, nothing, callback)
        return np.asarray((styles * self.scale + self.mean).cpu().numpy(), np.float32)


PRIOR_FILE = WeightsFile(
    "diffusion prior",
    2,
    lambda **shape: PriorModel(PriorShape(**shape)),
    "train them with notebook 04, or check the path",
)
save_prior, load_prior, read_prior_about = PRIOR_FILE.save, PRIOR_FILE.load, PRIOR_FILE.about


@dataclass(frozen=True, eq=False)
class PriorSampler:
    """A prior, its text encoder, why these, and a warning for the user, if any.

    Sentences are texts, or instructions, whose parts count as they are, whatever the text says.
    """

    prior: PriorModel
    encoder: TextEncoder
    reason: str
    warning: str | None = None
    _texts: dict[str, Float32[np.ndarray, "_ dim"]] = field(default_factory=dict, repr=False)

    def read(self, asked: str | Instruction, style: Style | None = None, keep: Sequence[str] = ()) -> Reading:
        """A sentence and its reading; see `PriorModel.read`. States of the last texts are kept."""
        said = Instruction(asked) if isinstance(asked, str) else asked
        if isinstance(asked, str):
            with suppress(InputError):  # a text that is empty asks for nothing
                said = Instruction.parse(asked[:MAX_LENGTH])
        if said.text not in self._texts:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[said.text] = self.encoder.encode([said.text])[0]
        return self.prior.read([self._texts[said.text]], [said], style, keep)

    def style(self, asked: str | Instruction, seed: int, settings: SampleSettings = _PLAIN) -> Style:
        """One style (128,) for a sentence."""
        return np.asarray(self.styles(asked, [seed], settings)[0])

    def styles(
        self,
        asked: str | Instruction,
        seeds: Sequence[int],
        settings: SampleSettings = _PLAIN,
        callback: Callback | None = None,
    ) -> Styles:
        """Styles (seeds, 128) for a sentence, one for each seed; see `sample` for the callback."""
        return self.prior.draw(self.read(asked), seeds, settings, callback)

    def between(
        self, asked: Sequence[str | Instruction], weights: Sequence[float], seed: int, settings: SampleSettings = _PLAIN
    ) -> Style:
        """A style between sentences, by weights that add up to 1: interpolation from the same noise."""
        conditions = [Condition(self.read(each), float(weight)) for each, weight in zip(asked, weights, strict=True)]
        return np.asarray(self.prior.draw(conditions, [seed], settings)[0])

    def edit(
        self, style: Style, keep: Sequence[str], asked: str | Instruction, seed: int, settings: SampleSettings = _PLAIN
    ) -> Style:
        """A style for a sentence that keeps what a given style says of some groups of channels."""
        return np.asarray(self.prior.draw(self.read(asked, style, keep), [seed], settings)[0])


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
