"""A small untrained prior with a text encoder that makes states of letters, for tests that need both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from avi_lib.instruction.language_model import TextEncoder
from avi_lib.motion.prior import PriorModel, PriorNetwork, PriorShape

TEXT = 12


class Letters(TextEncoder):
    """Stands in for a text encoder: a state for each letter, the same for the same letter at the same place."""

    name = fingerprint = reason = "letters"
    dim = TEXT

    def __init__(self) -> None:
        """Nothing is loaded."""

    def each(self, texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """The number of every text and its states (letters + 1, 12), of at most 64 letters."""
        for number, text in enumerate(texts):
            rows = [np.random.default_rng([ord(c), i]).normal(size=TEXT) for i, c in enumerate("^" + text[:64])]
            yield number, np.stack(rows).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The states of every text, none of which is kept in a cache."""
        return [states for _, states in self.each(texts)]


def network(seed: int = 0) -> PriorNetwork:
    """Two blocks of 32 features that depend on sentence, time and noise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PriorNetwork(TEXT, width=32, blocks=2, heads=4, words=16)
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.eval().requires_grad_(False)


def prior() -> PriorModel:
    """The network with a mean and a scale."""
    shape = PriorShape("letters", "letters", TEXT, "ARKIT", 32, 2, 4, 16)
    model = PriorModel(shape)
    model.network = network()
    rng = np.random.default_rng(1)
    model.mean.copy_(torch.from_numpy(rng.normal(size=128).astype(np.float32)))
    model.scale.fill_(1.5)
    return model.eval().requires_grad_(False)
