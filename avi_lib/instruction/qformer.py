"""The Q-Former: learnable queries that gather from any length of speech what is told of the speaker.

>>> qformer = QFormer(states=384, layers=1, width=160, queries=8, blocks=2, heads=4, dropout=0.2)
>>> qformer(states, melody, there).shape      # (clips, layers, steps, 384), (clips, steps, 5), (clips, steps)
torch.Size([4, 8, 160])

The network is that of BLIP-2 (Li et al. 2023, "BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image
Encoders and Large Language Models") as transformers implements it, reading speech in the place of a picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from avi_lib.speech.hearing import MELODY


class QFormer(nn.Module):
    """Queries over states and melody; states of several layers are mixed by weights that are learned."""

    def __init__(
        self, states: int, layers: int, width: int, queries: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, 1, states))
        self.register_buffer("deviation", torch.ones(layers, 1, states))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.layers = nn.Parameter(torch.zeros(layers))
        self.states = nn.Linear(states, width)
        self.melody = nn.Linear(len(MELODY), width, bias=False)
        self.queries = nn.Parameter(0.02 * torch.randn(1, queries, width))
        self.dropout = nn.Dropout(dropout)
        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=blocks,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout / 2,
            encoder_hidden_size=width,
            cross_attention_frequency=1,
        )
        self.network = Blip2QFormerModel(config)

    def forward(
        self,
        states: Float[torch.Tensor, "clips layers steps dim"],
        melody: Float[torch.Tensor, "clips steps 5"],
        there: Bool[torch.Tensor, "clips steps"],
    ) -> Float[torch.Tensor, "clips queries width"]:
        """What the queries gather from the steps that are there."""
        normal = (states - self.mean) / self.deviation
        mixed = torch.einsum("blsd,l->bsd", normal, self.layers.softmax(dim=0))
        heard = self.dropout(self.states(mixed) + self.melody(melody))
        queries = self.queries.expand(len(states), -1, -1)
        gathered: torch.Tensor = self.network(
            query_embeds=queries, encoder_hidden_states=heard, encoder_attention_mask=there.long()
        ).last_hidden_state
        return gathered
