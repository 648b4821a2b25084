"""Familiarity: how much what is heard resembles what was heard in training.

>>> known = Familiarity(worlds=3, numbers=768, axes=24)
>>> known.learn(0, summaries)                # of the first corpus' clips, as recorded and elsewhere
>>> known(pooled(states, there))             # 1 familiar, down to UNFAMILIAR
tensor([1.0000, 0.1000])

A corpus is a world of its own: its clips differ from one another in some directions, and hardly in the others. How far
a clip lies from these directions, about that corpus' mean and in its deviations, tells whether it is of that world; it
need be of one only. (The rest of a principal component analysis as a measure of novelty: Jackson & Mudholkar 1979.)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import nn

UNFAMILIAR = 0.1
"""How much is left of the states' opinion where they are of no world that is known."""
RAMP = 0.25
"""How much further away than the clips of a world, as a share of their reach, a clip is when it is of another."""
REACH = 99.0
"""Percentile of the distances of a world's own clips up to which it reaches."""


class Familiarity(nn.Module):
    """Means, deviations, directions and reach of some worlds."""

    mean: torch.Tensor
    deviation: torch.Tensor
    axes: torch.Tensor
    reach: torch.Tensor

    def __init__(self, worlds: int, numbers: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(worlds, numbers))
        self.register_buffer("deviation", torch.ones(worlds, numbers))
        self.register_buffer("axes", torch.zeros(worlds, axes, numbers))
        self.register_buffer("reach", torch.ones(worlds))

    @torch.no_grad()
    def learn(self, world: int, summaries: Float[torch.Tensor, "clips numbers"]) -> None:
        """Take a world from the summaries of its clips."""
        self.mean[world] = summaries.mean(dim=0)
        self.deviation[world] = summaries.std(dim=0) + 1e-5
        normal = (summaries - self.mean[world]) / self.deviation[world]
        found = torch.linalg.svd(normal.double(), full_matrices=False).Vh[: self.axes.shape[1]].float()
        self.axes[world, : len(found)] = found
        self.reach[world] = 1.0
        self.reach[world] = float(np.percentile(self.distance(summaries)[:, world].numpy(), REACH))

    def distance(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, "clips worlds"]:
        """How far clips lie from each world's directions, in units of its reach."""
        normal = (summaries[:, None] - self.mean) / self.deviation
        within = torch.einsum("cwn,wan->cwa", normal, self.axes)
        rest = normal - torch.einsum("cwa,wan->cwn", within, self.axes)
        return rest.square().mean(dim=2).sqrt() / self.reach

    def forward(self, summaries: Float[torch.Tensor, "clips numbers"]) -> Float[torch.Tensor, " clips"]:
        """1 for clips of a known world, down to `UNFAMILIAR`."""
        beyond = self.distance(summaries).min(dim=1).values - 1
        return 1 - (1 - UNFAMILIAR) * (beyond / RAMP).clamp(0, 1)


def pooled(
    states: Float[torch.Tensor, "clips layers steps dim"], there: Bool[torch.Tensor, "clips steps"]
) -> Float[torch.Tensor, "clips numbers"]:
    """Mean and deviation over time of the last layer's states."""
    present = there[..., None].float()
    count = present.sum(dim=1).clamp(min=1)
    last = states[:, -1]
    mean = (last * present).sum(dim=1) / count
    variance = ((last - mean[:, None]).square() * present).sum(dim=1) / count
    return torch.cat([mean, variance.sqrt()], dim=1)
