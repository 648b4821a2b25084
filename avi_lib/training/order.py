"""The order of training: which items make a batch is a function of seed and step, so that no state has to be kept.

>>> batch_at(step=3, items=10, batch=4, seed=7)
array([...])
>>> rng_at(step=3, seed=7).random()
0.6...
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from avi_lib.errors import InputError


def batch_at(step: int, items: int, batch: int, seed: int) -> Int[np.ndarray, " batch"]:
    """Numbers of the items of a step's batch, `batch` of them.

    Every epoch is a permutation of all items, drawn from seed and epoch alone; epochs follow on without a rest, so a
    batch may begin in one and end in the next. Raises InputError when there is no item.
    """
    if items < 1 or batch < 1:
        raise InputError("at least one item and one place in a batch", f"{items} and {batch}", "check the corpus")
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = {int(epoch): epoch_order(int(epoch), items, seed) for epoch in np.unique(places // items)}
    return np.array([epochs[int(place // items)][place % items] for place in places])


def epoch_order(epoch: int, items: int, seed: int) -> Int[np.ndarray, " items"]:
    """The permutation of all items in an epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(items)


def rng_at(step: int, seed: int, process: int = 0) -> np.random.Generator:
    """The random stream of a step in a process: crops, scripts, noise.

    Several processes share a batch and draw from a stream each, so a step's items are those of one process alone, and
    what is drawn for them is not; the same number of processes draws the same.
    """
    return np.random.default_rng([seed, 1, step, process])


def torch_seed_at(step: int, seed: int, process: int = 0) -> int:
    """The seed of torch's own generators in a step: dropout."""
    return int(np.random.SeedSequence([seed, 2, step, process]).generate_state(1, np.uint64)[0] >> 1)
