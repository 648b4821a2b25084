"""Plots of motion for inline use: beside its speech, with and without idle behaviour, exchanged, tracked.

>>> figure = plot_exchange(exchange.motions, rows=["angry", "happy"], columns=["clip a", "clip b"])

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from avi_lib.motion.clip import MotionClip, Piece
from avi_lib.speech.loading import Speech
from avi_lib.speech.phones import Phone
from avi_lib.workbook.corpus_plots import draw_spectrogram
from avi_lib.workbook.plots import (
    ACCENT,
    INK,
    WAVE,
    WIDTH_IN,
    draw_phones,
    frame_times_s,
    group_label,
    moving_groups,
    panels,
    shade_bilabials,
)

Measure = Callable[[MotionClip], np.ndarray]
"""From a motion of n frames to a curve (n,)."""

SAME = 0.005
"""Channels that never differ by this much are shown as one."""

LEAST_SHOWN = 0.1
"""A panel reaches to this weight at least, so that what hardly moves looks like it."""

EXPRESSIVE = ("browDown", "browInnerUp", "mouthSmile")
"""What differs most visibly from one expression to another; see `side_mean`."""

CURVE_COLOURS = (INK, ACCENT, "#d9a441", "#4f8f6f", "#7a68a6")


def plot_idle(still: MotionClip, full: MotionClip, most: int = 6, moved: float = 0.02) -> Figure:
    """The channels that move most in every group, without idle behaviour on the left and with it on the right.

    Two sides of a face that do the same are one curve.
    """
    shown = moving_groups(full, most, moved)
    figure, grid = panels(
        len(shown), 2, figsize=(WIDTH_IN, 1.4 * len(shown) + 0.6), sharex=True, sharey="row", squeeze=False
    )
    for row, (name, members) in zip(grid, shown.items(), strict=True):
        labels = _labels(members, (still, full))
        for panel, motion in zip(row, (still, full), strict=True):
            for i, label in labels.items():
                panel.plot(frame_times_s(len(motion), motion.fps), motion.values[:, i], linewidth=1.2, label=label)
        row[0].set_ylabel(group_label(name))
        row[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=7, frameon=False)
    for panel, title in zip(grid[0], ("without idle behaviour", "with blinks, gaze and sway"), strict=True):
        panel.set_title(title, fontsize=9)
    for panel in grid[-1]:
        panel.set(xlabel="time (s)", xlim=(0, full.duration_s))
    return figure


def _labels(members: Sequence[int], motions: Sequence[MotionClip]) -> dict[int, str]:
    """Names by the index of a channel; one that does the same as an earlier one in every motion lends it its name."""
    names: dict[int, list[str]] = {}
    for i in members:
        twins = [
            other
            for other in names
            if all(np.abs(motion.values[:, i] - motion.values[:, other]).max() < SAME for motion in motions)
        ]
        names.setdefault(twins[0] if twins else i, []).append(motions[0].space.channels[i])
    return {i: _joint(channels) for i, channels in names.items()}


def _joint(channels: Sequence[str]) -> str:
    """One name for channels: the left and right of one thing without the side, others side by side."""
    bases = {channel.removesuffix("Left").removesuffix("Right") for channel in channels}
    return bases.pop() if len(channels) == 2 and len(bases) == 1 else " = ".join(channels)


def plot_under_speech(
    speech: Speech,
    phones: Sequence[Phone],
    curves: Mapping[str, Float[np.ndarray, " frames"]],
    fps: float,
    ylabel: str,
) -> Figure:
    """Curves by name under the spectrogram with its phones; /m b p/ are shaded."""
    figure, (top, bottom) = panels(2, figsize=(WIDTH_IN, 4.4), sharex=True)
    draw_spectrogram(top, speech)
    draw_phones(top, phones)
    shade_bilabials(bottom, phones)
    bottom.axhline(0, color=WAVE, linewidth=0.6)
    for number, (name, curve) in enumerate(curves.items()):
        colour = CURVE_COLOURS[number % len(CURVE_COLOURS)]
        bottom.plot(frame_times_s(len(curve), fps), curve, color=colour, linewidth=1.3, label=name)
    bottom.set(xlabel="time (s)", ylabel=ylabel, xlim=(0, speech.duration_s))
    bottom.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.25), ncols=1)
    return figure


def plot_exchange(
    motions: Sequence[Sequence[MotionClip]],
    rows: Sequence[str],
    columns: Sequence[str],
    channels: Sequence[str] = ("jawOpen", *EXPRESSIVE),
) -> Figure:
    """Motions in a grid, the clip being the same down a column and the script along a row (see `side_mean`)."""
    figure, grid = panels(
        len(rows), len(columns), figsize=(WIDTH_IN, 2.3 * len(rows) + 0.6), sharex="col", sharey=True, squeeze=False
    )
    for panel, motion in zip(grid.flat, (motion for row in motions for motion in row), strict=True):
        times_s = frame_times_s(len(motion), motion.fps)
        for channel, colour in zip(channels, CURVE_COLOURS, strict=False):
            panel.plot(times_s, side_mean(motion, channel), color=colour, linewidth=1.3, label=channel)
        panel.set_xlim(0, motion.duration_s)
    for panel, name in zip(grid[0], columns, strict=True):
        panel.set_title(name, fontsize=8)
    for panel, name in zip(grid[:, 0], rows, strict=True):
        panel.set_ylabel(f"{name}\nweight")
    for panel in grid[-1]:
        panel.set_xlabel("time (s)")
    grid[0, -1].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def plot_tracked(pieces: Sequence[Piece], performed: MotionClip | None, measures: Mapping[str, Measure]) -> Figure:
    """Measures of tracked motion, one panel each, over those of what the face performed where that is known."""
    figure, grid = panels(len(measures), 1, figsize=(WIDTH_IN, 1.5 * len(measures) + 0.6), sharex=True, squeeze=False)
    for panel, (name, measure) in zip(grid[:, 0], measures.items(), strict=True):
        if performed is not None:
            times_s = frame_times_s(len(performed), performed.fps)
            panel.plot(times_s, measure(performed), color=WAVE, linewidth=2.4, label="performed")
        for number, piece in enumerate(pieces):
            clip = piece.curves.clip
            label = "_" if number else "tracked"
            times_s = piece.start_s + frame_times_s(len(clip), clip.fps)
            panel.plot(times_s, measure(clip), color=ACCENT, linewidth=1.2, label=label)
        panel.set(ylabel=name, ylim=(None, max(panel.get_ylim()[1], LEAST_SHOWN)))
    grid[0, 0].legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    grid[-1, 0].set_xlabel("time (s)")
    grid[-1, 0].set_xlim(left=0)
    return figure


def side_mean(motion: MotionClip, channel: str) -> Float[np.ndarray, " frames"]:
    """A channel's curve; of a name such as `browDown` that has a left and a right side, their mean."""
    if channel in motion.space.channels:
        return motion[channel]
    return (motion[f"{channel}Left"] + motion[f"{channel}Right"]) / 2
