"""Plots of the diffusion prior for inline use: losses, retrieval, denoising, guidance, samples, phrases, timelines.

>>> figure = plot_attribution(attribute(director, generator, features, performer, instruction, seed=7))

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32
from matplotlib.figure import Figure

from avi_lib.evaluation.prior_scores import Attributed
from avi_lib.instruction.timeline import Timeline
from avi_lib.motion.clip import MotionClip
from avi_lib.training.loop import LogLine
from avi_lib.workbook.motion_plots import CURVE_COLOURS, EXPRESSIVE, LEAST_SHOWN, side_mean
from avi_lib.workbook.plots import ACCENT, INK, WAVE, WIDTH_IN, frame_times_s, group_label, panels

_MOST_POINTS = 150
_LONGEST = 46
"""Characters of a sentence that a label shows."""


def plot_prior_losses(log: Sequence[LogLine]) -> Figure:
    """The error of the style without noise on the left, the contrast of sentences and styles on the right."""
    figure, (left, right) = panels(1, 2, figsize=(WIDTH_IN, 3.0))
    parts = np.array_split(np.arange(len(log)), min(len(log), _MOST_POINTS))
    steps = [log[part[-1]]["step"] for part in parts]
    for panel, name, colour in ((left, "diffusion", INK), (right, "contrast", ACCENT)):
        means = [float(np.mean([log[i][name] for i in part])) for part in parts]
        panel.plot(steps, means, color=colour, linewidth=1.3)
        panel.set(xlabel="step", title=name)
    left.set(ylabel="squared error", yscale="log")
    return figure


def plot_retrieval(alike: Float[np.ndarray, "n n"], texts: Sequence[str]) -> Figure:
    """How near every sentence's style (rows) is to every true one (columns); the diagonal should be brightest."""
    figure, panel = panels(1, 1, figsize=(WIDTH_IN, 0.22 * len(texts) + 1.2))
    image = panel.imshow(alike, cmap="magma", vmin=-0.2, vmax=1, aspect="auto")
    panel.set_yticks(range(len(texts)), [_short(text) for text in texts], fontsize=7)
    panel.set_xticks([])
    panel.set_xlabel("true styles, in the same order")
    figure.colorbar(image, ax=panel, label="cosine", shrink=0.8)
    return figure


def plot_denoising(
    foreseen: Mapping[str, Float[np.ndarray, "steps style"]], cloud: Float[np.ndarray, "styles style"]
) -> Figure:
    """Styles foreseen step by step.

    On the left in the plane of the cloud's two principal components, on the right how far they are from the last one.
    """
    centre = cloud.mean(axis=0)
    plane = np.linalg.svd(cloud - centre, full_matrices=False)[2][:2].T
    figure, (left, right) = panels(1, 2, figsize=(WIDTH_IN, 3.8))
    left.scatter(*((cloud - centre) @ plane).T, s=3, color=WAVE, linewidths=0)
    for (text, path), colour in zip(foreseen.items(), CURVE_COLOURS, strict=False):
        on = (path - centre) @ plane
        left.plot(*on.T, color=colour, linewidth=1, marker=".", markersize=3)
        left.plot(*on[-1], color=colour, marker="o", markersize=6, label=_short(text))
        right.plot(np.linalg.norm(path - path[-1], axis=1), color=colour, linewidth=1.3)
    left.set(xlabel="first component", ylabel="second component")
    right.set(xlabel="denoising step", ylabel="distance from the last")
    left.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18))
    return figure


def plot_guidance(curve: Mapping[float, tuple[float, float, float]]) -> Figure:
    """By guidance: diversity of ten samples, cosine to the true style, length of the styles."""
    figure, grid = panels(1, 3, figsize=(WIDTH_IN, 2.6))
    for number, (panel, name) in enumerate(zip(grid, ("diversity", "cosine to the true style", "length"), strict=True)):
        panel.plot(list(curve), [values[number] for values in curve.values()], color=INK, marker="o", markersize=4)
        panel.set(xlabel="guidance", title=name)
        panel.axvline(1, color=WAVE, linewidth=0.8, linestyle="--")
        panel.set_ylim(0, 1.1 * max(values[number] for values in curve.values()))
    return figure


def plot_samples(motions: Mapping[str, Sequence[MotionClip]], channels: Sequence[str] = EXPRESSIVE) -> Figure:
    """Several motions of each sentence: a row a sentence, a column a channel as the mean of its sides."""
    figure, grid = panels(
        len(motions), len(channels), figsize=(WIDTH_IN, 1.5 * len(motions) + 0.8), sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    for row, (text, clips) in zip(grid, motions.items(), strict=True):
        for panel, channel in zip(row, channels, strict=True):
            for number, clip in enumerate(clips):
                colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
                curve = side_mean(clip, channel)
                panel.plot(frame_times_s(len(clip), clip.fps), curve, color=colour, linewidth=1.1)
        row[0].set_title(_short(text, 90), fontsize=8, loc="left")
    for panel, channel in zip(grid[-1], channels, strict=True):
        panel.set_xlabel(f"{channel}, seconds")
    grid[0][0].set_ylim(0, max(LEAST_SHOWN, grid[0][0].get_ylim()[1]))
    return figure


def plot_attribution(rows: Sequence[Attributed]) -> Figure:
    """What each phrase changed in each group of channels: the darker, the more."""
    groups = list(rows[0].change)
    table = np.array([[row.change[group] for group in groups] for row in rows])
    figure, panel = panels(1, 1, figsize=(WIDTH_IN, 0.45 * len(rows) + 1.1))
    panel.imshow(table, cmap="Blues", aspect="auto", vmin=0)
    for i, j in np.ndindex(table.shape):
        dark = table[i, j] > 0.6 * table.max()
        panel.text(j, i, f"{table[i, j]:.3f}", ha="center", va="center", fontsize=8, color="white" if dark else INK)
    panel.set_xticks(range(len(groups)), [group_label(group) for group in groups])
    panel.set_yticks(range(len(rows)), [_short(row.phrase) for row in rows])
    panel.set_title("mean change when the phrase is left out (weights; head: radians)", fontsize=9)
    return figure


def plot_timeline(motion: MotionClip, timeline: Timeline, channels: Sequence[str] = EXPRESSIVE) -> Figure:
    """The share of every instruction over time, and the channels it moves below."""
    weights: Float32[np.ndarray, "frames entries"] = timeline.weights(len(motion), motion.fps)
    times_s = frame_times_s(len(motion), motion.fps)
    figure, (upper, lower) = panels(2, 1, figsize=(WIDTH_IN, 3.8), sharex=True)
    for number, entry in enumerate(timeline.entries):
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        upper.fill_between(times_s, weights[:, number], color=colour, alpha=0.35, linewidth=0)
        upper.plot(times_s, weights[:, number], color=colour, label=_short(entry.instruction.text, 70))
    upper.set(ylim=(0, 1.05), ylabel="share")
    upper.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))
    for channel, colour in zip(channels, CURVE_COLOURS, strict=False):
        lower.plot(times_s, side_mean(motion, channel), color=colour, label=channel)
    lower.set(xlabel="seconds", ylabel="weight")
    lower.legend(fontsize=7, frameon=False, ncols=len(channels))
    return figure


def _short(text: str, longest: int = _LONGEST) -> str:
    """A sentence as a label: matplotlib would take a dollar sign for mathematics."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return cut.replace("$", r"\$")
