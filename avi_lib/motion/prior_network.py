"""The diffusion prior's network: a noisy style, a time and the tokens of a sentence in, the style without noise out.

>>> network = PriorNetwork(text=384)
>>> reading = network.read(states, mask)                       # once a sentence
>>> network(noisy, times, reading).shape, reading.aligned.shape
(torch.Size([4, 128]), torch.Size([4, 128]))

The style is one token; in every block it attends to the tokens of the sentence (Vaswani et al. 2017) and is scaled and
shifted by the time (Peebles and Xie 2023, adaptive normalisation). Keys and values of the sentence are the same for all
blocks and all steps, so a step costs next to nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.nn import functional

from avi_lib.motion.style_encoder import STYLE

TIMES = 1000
"""Times of the diffusion; 0 has the least noise."""
REACH, BINDINGS = 3, 2
"""Tokens to each side that a token is told of, and how many times."""
_WAVES = 64


@dataclass(frozen=True, eq=False)
class Reading:
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

    def at(self, texts: Int[torch.Tensor, " rows"]) -> Reading:
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
    ) -> Reading:
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
        return Reading(keys, values, full, gist, functional.normalize(self.align(gist).float(), dim=1))

    def _tokens(
        self, rows: Float[torch.Tensor, "rows words"], mask: Bool[torch.Tensor, "texts tokens"], which: int
    ) -> Float[torch.Tensor, "texts heads all_tokens features"]:
        """Rows put in their places, behind the token that says nothing, parted by heads."""
        texts, tokens = mask.shape
        placed = rows.new_zeros(texts, tokens, rows.shape[1])
        placed[mask] = rows
        nothing = self.nothing[which].to(rows.dtype).expand(texts, 1, -1)
        return torch.cat([nothing, placed], dim=1).unflatten(2, (self.heads, -1)).transpose(1, 2)

    def unread(self, reading: Reading, dropped: Bool[torch.Tensor, " texts"]) -> Reading:
        """The same with some sentences taken away: nothing of them is left but the token that says nothing."""
        first = torch.arange(reading.mask.shape[1], device=dropped.device) == 0
        mask = reading.mask & (first | ~dropped[:, None])
        gist = torch.where(dropped[:, None], self.no_gist.to(reading.gist.dtype), reading.gist)
        return replace(reading, mask=mask, gist=gist)

    def forward(
        self, noisy: Float[torch.Tensor, "texts style"], times: Int[torch.Tensor, " texts"], reading: Reading
    ) -> Float[torch.Tensor, "texts style"]:
        """The styles without noise, as well as they can be told."""
        when = self.modulate(functional.silu(self.time(_waves(times))))
        x = self.noisy(noisy) + self.gist(reading.gist)
        mask = reading.mask[:, None, None]
        for block in self.blocks:
            x = block(x, when, reading.keys, reading.values, mask)
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
