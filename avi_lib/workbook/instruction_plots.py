"""Plots of the instructor for inline use: losses, where clips lie among sentences, confusions, confidence.

>>> figure = plot_shares([written.probabilities for written in every], names)

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from avi_lib.evaluation.instructor_scores import BINS, Verdict
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.training.loop import LogLine
from avi_lib.workbook.plots import ACCENT, INK, WAVE, WIDTH_IN, panels

EMOTION_COLOURS = dict(
    zip(
        EMOTIONS,
        ("#777777", "#4db6ac", "#f2b134", "#3b6fb6", "#d1495b", "#7b4fa3", "#6a8d3a", "#e07b39", "#8c5a3c", "#b0a8b9"),
        strict=True,
    )
)
PARTS = {"align": ("states", "manner"), "speak": ("loss",), "write": ("loss",)}
"""Losses that are shown of every part of a training."""


def plot_instructor_losses(logs: Mapping[str, Sequence[LogLine]]) -> Figure:
    """The losses of the parts of a training side by side: both ears, and what the language model is told."""
    figure, grid = panels(1, len(PARTS), figsize=(WIDTH_IN, 2.8))
    for panel, (part, names) in zip(grid, PARTS.items(), strict=True):
        log = logs.get(part, ())
        for name, colour in zip(names, (INK, ACCENT), strict=False):
            if lines := [line for line in log if name in line]:
                panel.plot([line["step"] for line in lines], [line[name] for line in lines], color=colour, label=name)
        panel.set(xlabel="step", title=part)
        if panel.lines and len(names) > 1:
            panel.legend(fontsize=7, frameon=False)
    grid[0].set_ylabel("nats")
    return figure


def plot_places(
    places: Float[np.ndarray, "clips aligned"],
    emotions: Sequence[str],
    anchors: Float[np.ndarray, "feelings aligned"],
    named: Sequence[str],
) -> Figure:
    """Clips among sentences, in the plane in which emotions differ most.

    Crosses are sentences, about their own middle and as wide as the clips: what matters is the direction.
    """
    known = sorted(set(emotions), key=EMOTIONS.index)
    labels = np.array(emotions)
    unit = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-9)
    middles = np.stack([unit[labels == emotion].mean(axis=0) for emotion in known])
    centre = middles.mean(axis=0)
    plane = np.linalg.svd(middles - centre, full_matrices=False)[2][:2].T
    figure, panel = panels(1, 1, figsize=(WIDTH_IN, 4.2))
    for emotion in known:
        on = (unit[labels == emotion] - centre) @ plane
        panel.scatter(*on.T, s=12, color=EMOTION_COLOURS[emotion], alpha=0.7, linewidths=0, label=emotion)
    crosses = (anchors - anchors.mean(axis=0)) @ plane
    crosses *= np.abs((unit - centre) @ plane).max() / max(float(np.abs(crosses).max()), 1e-9)
    for place, emotion in zip(crosses, named, strict=True):
        panel.plot(*place, marker="x", color=EMOTION_COLOURS[emotion], markersize=8, markeredgewidth=2)
    panel.set(xlabel="first direction", ylabel="second direction")
    panel.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def plot_confusion(verdict: Verdict) -> Figure:
    """What was meant (rows) and what is heard (columns), as shares of the row."""
    known = [number for number, emotion in enumerate(EMOTIONS) if emotion in {*verdict.meant, *verdict.heard}]
    table = verdict.confusion()[np.ix_(known, known)]
    figure, panel = panels(1, 1, figsize=(WIDTH_IN, 0.42 * len(known) + 1.2))
    panel.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(table.shape):
        if table[i, j] >= 0.005:
            colour = "white" if table[i, j] > 0.6 else INK
            panel.text(j, i, f"{table[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
    names = [EMOTIONS[number] for number in known]
    panel.set_xticks(range(len(names)), names, fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set(xlabel="heard", ylabel="meant")
    return figure


def plot_reliability(verdict: Verdict) -> Figure:
    """Accuracy by confidence beside what it should be, and how many clips have which."""
    sure, right = verdict.shares.max(axis=1), np.array(verdict.right, float)
    number = np.minimum((sure * BINS).astype(int), BINS - 1)
    figure, (left, under) = panels(1, 2, figsize=(WIDTH_IN, 3.0))
    left.plot([0, 1], [0, 1], color=WAVE, linestyle="--", linewidth=0.8)
    there = [n for n in range(BINS) if (number == n).any()]
    left.plot([sure[number == n].mean() for n in there], [right[number == n].mean() for n in there], "o-", color=INK)
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    left.set_title(f"calibration error {verdict.calibration_error:.2f}", fontsize=9)
    under.hist(sure, bins=BINS, range=(0, 1), color=ACCENT)
    under.set(xlabel="confidence", ylabel="clips")
    return figure


def plot_shares(shares: Sequence[Mapping[str, float]], names: Sequence[str]) -> Figure:
    """The probability of every emotion for some clips, a bar a clip."""
    figure, panel = panels(1, 1, figsize=(WIDTH_IN, 0.42 * len(names) + 1.3))
    left = np.zeros(len(names))
    for emotion in EMOTIONS:
        width = np.array([share[emotion] for share in shares])
        panel.barh(range(len(names)), width, left=left, color=EMOTION_COLOURS[emotion], label=emotion)
        left += width
    panel.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names], fontsize=8)
    panel.invert_yaxis()
    panel.set(xlim=(0, 1), xlabel="probability")
    panel.legend(fontsize=7, frameon=False, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.32))
    return figure
