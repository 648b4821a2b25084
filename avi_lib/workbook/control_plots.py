"""Plots of what was changed: all channels as a heat map, two motions with the band between them, factors apart.

>>> figure = plot_difference(talk.motion, edited.motion, labels=("angry", "happy"))

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from avi_lib.errors import InputError
from avi_lib.motion.clip import FACTORS, MotionClip
from avi_lib.workbook.motion_plots import LEAST_SHOWN
from avi_lib.workbook.plots import ACCENT, INK, WAVE, WIDTH_IN, frame_times_s, group_label, panels

LEAST_MOVED = 0.02
"""Channels that never leave a range of this width, or differ less, are left out."""


def plot_heat_map(motion: MotionClip) -> Figure:
    """Every channel that moves over time, in the order of its group; each in units of its own largest value."""
    order = [(name, i) for name, members in motion.space.groups.items() for i in members]
    order = [(name, i) for name, i in order if np.ptp(motion.values[:, i]) >= LEAST_MOVED] or order[:1]
    rows = np.stack([motion.values[:, i] for _, i in order])
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-6)
    figure, panel = panels(1, figsize=(WIDTH_IN, 0.16 * len(rows) + 1.0))
    extent = (0.0, motion.duration_s, len(rows), 0.0)
    shown = panel.imshow(rows, aspect="auto", extent=extent, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    panel.set_yticks(np.arange(len(rows)) + 0.5, [motion.space.channels[i] for _, i in order], fontsize=6)
    for row, ((above, _), (below, _)) in enumerate(pairwise(order), 1):
        if above != below:
            panel.axhline(row, color=INK, linewidth=0.8)
    panel.set_xlabel("time (s)")
    figure.colorbar(shown, ax=panel, label="share of its largest value", pad=0.01)
    return figure


def plot_difference(
    first: MotionClip, second: MotionClip, labels: tuple[str, str], most: int = 2, moved: float = LEAST_MOVED
) -> Figure:
    """Two motions of one recording: in each group the channels that differ most, with the band between them.

    Groups that differ nowhere by `moved` are left out. Raises InputError for motions of different lengths or spaces.
    """
    if first.values.shape != second.values.shape or first.space is not second.space:
        got = f"{len(first)} and {len(second)} frames, {first.space.name} and {second.space.name}"
        raise InputError("two motions of one recording", got, "compare what one talker made of it")
    chosen = _differing(first, second, most, moved)
    figure, grid = panels(len(chosen), 1, figsize=(WIDTH_IN, 1.25 * len(chosen) + 0.8), sharex=True, squeeze=False)
    times_s = frame_times_s(len(first), first.fps)
    for panel, (group, i) in zip(grid[:, 0], chosen, strict=True):
        curves = first.values[:, i], second.values[:, i]
        panel.fill_between(times_s, *curves, color=WAVE, alpha=0.45, linewidth=0, label="difference")
        for curve, colour, label in zip(curves, (INK, ACCENT), labels, strict=True):
            panel.plot(times_s, curve, color=colour, linewidth=1.3, label=label)
        panel.set_ylabel(f"{group_label(group)}\n{first.space.channels[i]}", fontsize=7)
    grid[0, 0].legend(fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    grid[-1, 0].set(xlabel="time (s)", xlim=(0, first.duration_s))
    return figure


def _differing(first: MotionClip, second: MotionClip, most: int, moved: float) -> list[tuple[str, int]]:
    """Group and channel of what differs most; the channel that differs most of all where none differs by `moved`."""
    apart = np.abs(first.values - second.values).mean(axis=0)
    chosen: list[tuple[str, int]] = []
    for group, members in first.space.groups.items():
        wide = [i for i in members if np.abs(first.values[:, i] - second.values[:, i]).max() >= moved]
        chosen += [(group, i) for i in _one_side(first, sorted(wide, key=lambda i: -apart[i]))[:most]]
    widest = int(apart.argmax())
    group = next(name for name, members in first.space.groups.items() if widest in members)
    return chosen or [(group, widest)]


def _one_side(motion: MotionClip, channels: Sequence[int]) -> list[int]:
    """The channels without those whose twin on the other side of the face came before."""
    seen: dict[str, int] = {}
    for i in channels:
        seen.setdefault(motion.space.channels[i].removesuffix("Left").removesuffix("Right"), i)
    return list(seen.values())


def plot_factors(motions: Sequence[MotionClip], labels: Sequence[str]) -> Figure:
    """How far each motion differs from the first, factor by factor: the mean over channels, a row for each factor."""
    first, *others = motions
    figure, grid = panels(len(FACTORS), 1, figsize=(WIDTH_IN, 0.95 * len(FACTORS) + 0.9), sharex=True)
    times_s = frame_times_s(len(first), first.fps)
    for panel, (factor, channels) in zip(grid, FACTORS.items(), strict=True):
        curves = [_apart(first, other, channels) for other in others]
        for curve, label in zip(curves, labels, strict=True):
            panel.plot(times_s, curve, linewidth=1.3, label=label)
        panel.set(ylabel=factor, ylim=(0, max(LEAST_SHOWN, 1.1 * float(np.max(curves)))))
    grid[0].legend(fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(labels))
    grid[-1].set(xlabel="time (s)", xlim=(0, first.duration_s))
    return figure


def _apart(first: MotionClip, other: MotionClip, channels: Sequence[int]) -> Float[np.ndarray, " frames"]:
    columns = list(channels)
    distance: np.ndarray = np.abs(other.values[:, columns] - first.values[:, columns]).mean(axis=1)
    return distance
