"""Measures of drawn styles against true ones: cosine, retrieval, energy distance, diversity, with intervals.

>>> mean, low, high = interval(cosines(drawn, true), np.random.default_rng(0))
>>> retrieval(similarity(drawn, true), k=5)       # per row: whether its own column is among the five best
array([True, True, False, ...])

Styles are normalised as the prior sees them, so that a cosine is about what makes them differ.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from avi_lib.errors import InputError

Styles = Float[np.ndarray, "n style"]
Others = Float[np.ndarray, "m style"]

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""


def cosines(drawn: Styles, true: Styles) -> Float[np.ndarray, " n"]:
    """Cosine between every drawn style and its true one; 0 where one of them is 0."""
    return np.einsum("ns,ns->n", _unit(drawn), _unit(true))


def similarity(drawn: Styles, true: Others) -> Float[np.ndarray, "n m"]:
    """Cosines of all with all."""
    return _unit(drawn) @ _unit(true).T


def retrieval(similar: Float[np.ndarray, "n columns"], k: int) -> Bool[np.ndarray, " n"]:
    """Whether the own column is among the k most similar of each row; a tie counts against it."""
    rows, columns = similar.shape
    if rows != columns or not 1 <= k <= columns:
        raise InputError("a square table and k within it", f"{similar.shape} and {k}", "pair every row with a column")
    own = np.diag(similar)
    better = (similar >= own[:, None]).sum(axis=1) - 1
    return better < k


def energy_distance(drawn: Styles, true: Others) -> float:
    """Energy distance of two samples (Szekely and Rizzo 2013): 0 when they are of one distribution, in style units."""
    between = _distances(drawn, true).mean()
    within = [_distances(each, each).sum() / (len(each) * max(len(each) - 1, 1)) for each in (drawn, true)]
    return float(2 * between - within[0] - within[1])


def diversity(samples: Float[np.ndarray, "texts samples style"]) -> Float[np.ndarray, " texts"]:
    """Mean distance of all pairs of samples of one text, as the public AVI-Talking code takes it over ten samples.

    The sum over ordered pairs divided by their number: with K = 10 samples, sum_ij |s_i - s_j| / (10 * 9).
    """
    count = samples.shape[1]
    if count < 2:
        raise InputError("at least two samples of every text", f"{count}", "draw ten")
    apart = np.linalg.norm(samples[:, :, None] - samples[:, None], axis=-1)
    return np.asarray(apart.sum(axis=(1, 2)) / (count * (count - 1)))


def interval(
    values: Shaped[np.ndarray, " n"], rng: np.random.Generator, share: float = 0.95
) -> tuple[float, float, float]:
    """The mean of some values and its bootstrap interval (Efron and Tibshirani 1993, percentiles)."""
    numbers = np.asarray(values, float)
    if not len(numbers):
        raise InputError("at least one value", "none", "measure something")
    means = numbers[rng.integers(len(numbers), size=(RESAMPLES, len(numbers)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(numbers.mean()), float(low), float(high)


def nearest_centroid(styles: Styles, centroids: Others, labels: list[str]) -> list[str]:
    """The label of the centroid nearest to each style."""
    return [labels[int(i)] for i in _distances(styles, centroids).argmin(axis=1)]


def _distances(first: Styles, second: Others) -> Float[np.ndarray, "n m"]:
    squared = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squared, 0.0))


def _unit(styles: Styles) -> Styles:
    length = np.linalg.norm(styles, axis=1, keepdims=True)
    return np.asarray(styles / np.maximum(length, 1e-9))
