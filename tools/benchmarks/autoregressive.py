"""A peer to time the talking generator against: an autoregressive decoder in the shape of FaceFormer, frame by frame.

Fan et al. 2022, "FaceFormer: Speech-Driven 3D Facial Animation with Transformers". It has random weights and is never
trained: what it says means nothing, only how long it takes.

>>> peer = AutoregressiveDecoder(features=384, channels=55, width=192).eval()
>>> motion = decode(peer, features, style)  # (frames, 55) for features (2 * frames, 384)
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional

from avi_lib.errors import InputError
from avi_lib.motion.generator import STYLE

HEADS = 4
PERIOD = 25
"""Frames after which positions repeat, one second, as in the paper for 25 frames a second."""


class AutoregressiveDecoder(nn.Module):
    """Transformer decoder over the motion so far, attending to the speech features of its own frame.

    features: dimensions of the speech encoder, at 50 frames a second; channels: of the motion, at 25; layers: 1 in the
    paper. Four heads and a feed-forward network of twice the width, as there; the style takes the place of the speaker.
    """

    def __init__(self, features: int, channels: int, width: int, layers: int = 1) -> None:
        super().__init__()
        self.listen = nn.Linear(features, width)
        self.embed = nn.Linear(channels, width)
        self.adopt = nn.Linear(STYLE, width, bias=False)
        layer = nn.TransformerDecoderLayer(width, HEADS, 2 * width, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.say = nn.Linear(width, channels)

    def forward(
        self,
        x: Float[torch.Tensor, "frames width"],
        memory: Float[torch.Tensor, "steps width"],
        bias: Float[torch.Tensor, "heads frames frames"],
        hidden: Bool[torch.Tensor, "frames steps"],
    ) -> Float[torch.Tensor, "frames channels"]:
        """Motion of each frame, from the embedding of the frame before it and its position in `x`, and from speech."""
        x = self.decoder(x[None], memory[None], tgt_mask=bias, memory_mask=hidden, tgt_is_causal=False)[0]
        motion: torch.Tensor = self.say(x)
        return motion


def positions(frames: int, width: int) -> Float[torch.Tensor, "frames width"]:
    """Sines and cosines of the time within the period (periodic positional encoding)."""
    rates = 10_000 ** (-torch.arange(0, width, 2) / width)
    angles = (torch.arange(frames) % PERIOD)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def causal_bias(frames: int) -> Float[torch.Tensor, "heads frames frames"]:
    """What is added to self-attention: less for each whole period past (as ALiBi, Press et al. 2022), nothing ahead."""
    lag = torch.arange(frames)[:, None] - torch.arange(frames)
    slopes = 2.0 ** (-8 / HEADS * torch.arange(1, HEADS + 1))
    bias = -slopes[:, None, None] * torch.div(lag, PERIOD, rounding_mode="floor")
    return bias.masked_fill(lag < 0, -torch.inf)


def aligned_mask(frames: int) -> Bool[torch.Tensor, "frames steps"]:
    """The steps of speech that a frame does not see: all but its own two."""
    return torch.arange(2 * frames) // 2 != torch.arange(frames)[:, None]


@torch.no_grad()
def decode(
    peer: AutoregressiveDecoder,
    features: Float[torch.Tensor, "steps features"],
    style: Float[torch.Tensor, " style"],
) -> Float[torch.Tensor, "frames channels"]:
    """Motion frame by frame, the whole past run again for each, as the published code does.

    Masks are made once, which the published code does for each frame. Raises InputError for fewer than two steps.
    """
    frames = _frames(features)
    memory, adopted = peer.listen(features[: 2 * frames]), peer.adopt(style)
    bias, hidden, time = causal_bias(frames), aligned_mask(frames), positions(frames, len(adopted))
    past = adopted[None]
    for frame in range(1, frames + 1):
        motion = peer(past + time[:frame], memory, bias[:, :frame, :frame], hidden[:frame])
        past = torch.cat([past, peer.embed(motion[-1:]) + adopted])
    return motion


@torch.no_grad()
def decode_cached(
    peer: AutoregressiveDecoder,
    features: Float[torch.Tensor, "steps features"],
    style: Float[torch.Tensor, " style"],
) -> Float[torch.Tensor, "frames channels"]:
    """The motion of `decode`, with keys and values kept, and attention to the two steps of a frame alone.

    This is the least such a decoder can do: one frame at a time, each once. Raises InputError as `decode` does.
    """
    frames = _frames(features)
    memory, adopted = peer.listen(features[: 2 * frames]), peer.adopt(style)
    bias, time = causal_bias(frames), positions(frames, len(adopted))
    layers = [_CachedLayer(cast(nn.TransformerDecoderLayer, layer), memory) for layer in peer.decoder.layers]
    before, motion = adopted[None], []
    for frame in range(frames):
        x = before + time[frame]
        for layer in layers:
            x = layer.step(x, frame, bias[:, frame : frame + 1, : frame + 1])
        motion.append(peer.say(x))
        before = peer.embed(motion[-1]) + adopted
    return torch.cat(motion)


class _CachedLayer:
    """A decoder layer that is given one frame after the other and remembers their keys and values."""

    def __init__(self, layer: nn.TransformerDecoderLayer, memory: Float[torch.Tensor, "steps width"]) -> None:
        self.layer = layer
        _, self.memory_keys, self.memory_values = _project(layer.multihead_attn, memory)
        heads, steps, size = self.memory_keys.shape
        self.keys, self.values = torch.empty(2, heads, steps // 2, size)

    def step(
        self, x: Float[torch.Tensor, "1 width"], frame: int, bias: Float[torch.Tensor, "heads 1 past"]
    ) -> Float[torch.Tensor, "1 width"]:
        """What the layer makes of `frame`, all frames before it having gone through."""
        layer, own = self.layer, slice(2 * frame, 2 * frame + 2)
        query, self.keys[:, frame : frame + 1], self.values[:, frame : frame + 1] = _project(layer.self_attn, x)
        past = self.keys[:, : frame + 1], self.values[:, : frame + 1]
        x = layer.norm1(x + _attend(layer.self_attn, query, *past, bias))
        query, _, _ = _project(layer.multihead_attn, x)
        x = layer.norm2(x + _attend(layer.multihead_attn, query, self.memory_keys[:, own], self.memory_values[:, own]))
        out: torch.Tensor = layer.norm3(x + layer.linear2(layer.linear1(x).relu()))
        return out


def _project(attention: nn.MultiheadAttention, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Query, key and value of each frame, (heads, frames, width / heads)."""
    projected = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    return projected.view(len(x), 3, HEADS, -1).permute(1, 2, 0, 3).unbind()


def _attend(
    attention: nn.MultiheadAttention,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """What one frame takes from those it may look at, (1, width)."""
    taken = functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
    out: torch.Tensor = attention.out_proj(taken.transpose(0, 1).flatten(1))
    return out


def _frames(features: torch.Tensor) -> int:
    if len(features) < 2:
        raise InputError("at least two steps of speech features", f"{len(features)}", "load a longer recording")
    return len(features) // 2
