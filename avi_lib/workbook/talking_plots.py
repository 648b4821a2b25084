"""Plots of a talking model for inline use: its losses, trajectories, lips, mouth at rest and space of styles.

>>> live = LiveLosses(handle.update)
>>> model, log = train_talking(mixture, settings, folder, on_log=live)
>>> figure = plot_losses(log)

Every function that begins with `plot` returns a matplotlib figure that is shown once, where it is displayed; the others
choose what to show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.motion.clip import MotionClip
from avi_lib.speech.loading import RATE_HZ, Speech
from avi_lib.speech.phones import Phone
from avi_lib.training.loop import LogLine
from avi_lib.workbook.motion_plots import CURVE_COLOURS, EXPRESSIVE, LEAST_SHOWN, SAME, side_mean
from avi_lib.workbook.plots import (
    ACCENT,
    INK,
    WAVE,
    WIDTH_IN,
    draw_phones,
    draw_wave,
    frame_times_s,
    group_label,
    moving_groups,
    panels,
    shade_bilabials,
)

MOTION_LOSSES = ("lips", "gap", "upper_face", "eyes", "face", "head", "channels", "velocity")
"""Losses in units of the motion's own variance: 1 is the error of a face that keeps its mean."""
OTHER_LOSSES = ("loss", "style", "content")
_TEN = [INK if name == "tab:gray" else colour for name, colour in TABLEAU_COLORS.items()]
LOSS_COLOURS = {
    **dict(zip(MOTION_LOSSES, _TEN, strict=False)),
    **dict(zip(OTHER_LOSSES, (INK, *CURVE_COLOURS[2:4]), strict=True)),
    "divergence": ACCENT,
}
EMOTION_COLOURS = dict(zip(EMOTIONS, _TEN, strict=True))
NO_EMOTION = "#c9d1d8"

_MOST_POINTS = 150


class LiveLosses:
    """Shows the losses while a model is trained: pass it as `on_log`.

    Args:
        show: takes every figure, such as the `update` of an IPython display handle.
        every_s: seconds from one figure to the next, so that drawing takes little of the time.
        plot: draws the lines so far; the losses of a talking model when None.
    """

    def __init__(
        self,
        show: Callable[[Figure], object],
        every_s: float = 4.0,
        plot: Callable[[Sequence[LogLine]], Figure] | None = None,
    ) -> None:
        self.show, self.every_s = show, every_s
        self.plot = plot or plot_losses
        self.lines: list[LogLine] = []
        self._shown_s = -float("inf")

    def __call__(self, line: LogLine) -> None:
        """Take a line of the log."""
        self.lines.append(line)
        if time.monotonic() - self._shown_s >= self.every_s:
            self.show(self.plot(self.lines))
            self._shown_s = time.monotonic()


def plot_losses(log: Sequence[LogLine]) -> Figure:
    """Errors of the motion on the left, what is minimised and what keeps the styles in order on the right.

    A long log is shown as means over as many lines as leave 150 points. Losses that were not used are left out.
    """
    figure, (left, right) = panels(1, 2, figsize=(WIDTH_IN, 3.6))
    _draw_losses(left, log, MOTION_LOSSES)
    left.axhline(1, color=WAVE, linewidth=0.8, linestyle="--")
    left.set(xlabel="step", ylabel="error (1: a face that keeps its mean)", yscale="log")
    _draw_losses(right, log, OTHER_LOSSES)
    right.set(xlabel="step", ylabel="loss", yscale="log")
    beside = right.twinx()
    _draw_losses(beside, log, ("divergence",))
    beside.set_ylabel("divergence of the styles (nats)", color=LOSS_COLOURS["divergence"])
    beside.set_ylim(bottom=0)
    left.legend(fontsize=7, frameon=False, ncols=2)
    right.legend(handles=[*right.lines, *beside.lines], fontsize=7, frameon=False)
    return figure


def _draw_losses(panel: Axes, log: Sequence[LogLine], names: Sequence[str]) -> None:
    parts = np.array_split(np.arange(len(log)), min(len(log), _MOST_POINTS))
    steps = [log[part[-1]]["step"] for part in parts]
    for name in names:
        if all(name in line for line in log):
            means = [float(np.mean([log[i][name] for i in part])) for part in parts]
            marker = "." if len(means) < 12 else None
            panel.plot(steps, means, color=LOSS_COLOURS[name], linewidth=1.3, marker=marker, label=name)


def plot_target(target: MotionClip, made: MotionClip, most: int = 3, moved: float = 0.03) -> Figure:
    """The target's liveliest channels of every group, broad and pale, with the same of what was made, thin.

    Of channels that do the same in the target, such as the sides of a face, the first stands for all.
    """
    shown = {
        name: _distinct(target, members)[:most]
        for name, members in moving_groups(target, len(target.space), moved).items()
    }
    heights = [1 + 0.5 * (len(members) > 1) for members in shown.values()]
    size = (WIDTH_IN, 1.3 * sum(heights) + 0.8)
    figure, grid = panels(len(shown), 1, figsize=size, sharex=True, squeeze=False, height_ratios=heights)
    for panel, (name, members) in zip(grid[:, 0], shown.items(), strict=True):
        for i, colour in zip(members, CURVE_COLOURS, strict=False):
            for motion, width, alpha in ((target, 4.0, 0.35), (made, 1.2, 1.0)):
                label = target.space.channels[i] if motion is made else "_"
                times_s = frame_times_s(len(motion), motion.fps)
                panel.plot(times_s, motion.values[:, i], color=colour, linewidth=width, alpha=alpha, label=label)
        panel.set(ylabel=group_label(name), ylim=_with_zero(panel))
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=7, frameon=False)
    kinds = [Line2D([], [], color=INK, linewidth=4, alpha=0.35), Line2D([], [], color=INK, linewidth=1.2)]
    figure.legend(kinds, ["target", "learned"], fontsize=8, frameon=False, loc="outside upper left", ncols=2)
    grid[-1, 0].set(xlabel="time (s)", xlim=(0, target.duration_s))
    return figure


def _with_zero(panel: Axes) -> tuple[float, float]:
    """The panel's range widened to hold 0 and LEAST_SHOWN, so that what hardly moves looks like it."""
    low, high = panel.get_ylim()
    return min(low, 0.0), max(high, LEAST_SHOWN)


def _distinct(motion: MotionClip, members: Sequence[int]) -> list[int]:
    kept: list[int] = []
    for i in members:
        if all(np.abs(motion.values[:, i] - motion.values[:, other]).max() >= SAME for other in kept):
            kept.append(i)
    return kept


def plot_gaps(
    speech: Speech, phones: Sequence[Phone], gaps_mm: Mapping[str, Float[np.ndarray, " frames"]], fps: float
) -> Figure:
    """Lip gaps by name under the waveform with its phones; /m b p/ are shaded."""
    figure, (top, bottom) = panels(2, figsize=(WIDTH_IN, 4.0), sharex=True, height_ratios=(2, 3))
    draw_wave(top, speech)
    draw_phones(top, phones)
    shade_bilabials(bottom, phones)
    bottom.axhline(0, color=WAVE, linewidth=0.6)
    for (name, gap), colour in zip(gaps_mm.items(), CURVE_COLOURS, strict=False):
        bottom.plot(frame_times_s(len(gap), fps), gap, color=colour, linewidth=1.4, label=name)
    bottom.set(xlabel="time (s)", ylabel="lip gap (mm)")
    bottom.legend(fontsize=8, frameon=False, loc="upper right", ncols=len(gaps_mm))
    return figure


def plot_rest(
    sounds: Mapping[str, Float[np.ndarray, " samples"]],
    gaps_mm: Mapping[str, Float[np.ndarray, " frames"]],
    fps: float,
    spoken_mm: float,
    columns: int = 4,
) -> Figure:
    """Lip gaps in sounds without speech, each under its waveform; the dashed line is `spoken_mm`, reached in speech."""
    rows = -(-len(sounds) // columns)
    size = (WIDTH_IN, 2.2 * rows)
    figure, grid = panels(2 * rows, columns, figsize=size, squeeze=False, height_ratios=(1, 2) * rows, sharex=True)
    for panel in grid.flat:
        panel.set_axis_off()
    top_mm = 1.15 * max(spoken_mm, *(float(gap.max()) for gap in gaps_mm.values()))
    for number, (name, wave) in enumerate(sounds.items()):
        row, column = divmod(number, columns)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        above.plot(np.arange(len(wave)) / RATE_HZ, wave, color=WAVE, linewidth=0.4)
        above.set(ylim=(-0.2, 0.2))
        above.set_title(name, fontsize=8)
        below.set_axis_on()
        below.axhline(spoken_mm, color=INK, linewidth=0.8, linestyle="--")
        below.plot(frame_times_s(len(gaps_mm[name]), fps), gaps_mm[name], color=ACCENT, linewidth=1.4)
        below.set(ylim=(-0.15 * top_mm, top_mm), xlabel="time (s)" if row == rows - 1 else "")
        if column == 0:
            below.set_ylabel("lip gap (mm)")
    return figure


@dataclass(frozen=True, eq=False)
class Map:
    """Styles on a plane: where each lies, and the share of all variance that each of the two axes holds."""

    points: Float[np.ndarray, "styles 2"]
    shares: tuple[float, float]


def principal_map(styles: Float[np.ndarray, "styles dim"]) -> Map:
    """Styles in the plane of their two principal components; InputError for fewer than three."""
    if len(styles) < 3:
        raise InputError("at least three styles for a map", str(len(styles)), "prepare more clips")
    centred = styles.astype(np.float64) - styles.mean(axis=0, dtype=np.float64)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    shares = strengths**2 / max(float((strengths**2).sum()), 1e-12)
    return Map(left[:, :2] * strengths[:2], (float(shares[0]), float(shares[1])))


def plot_styles(
    where: Map, emotions: Sequence[str | None], strengths: Mapping[str, Float[np.ndarray, " styles"]]
) -> Figure:
    """The map coloured by emotion, None being grey, and by the strength of each named action unit."""
    figure, row = panels(1, 1 + len(strengths), figsize=(WIDTH_IN, 4.4), sharex=True, sharey=True, squeeze=False)
    first, points = row[0, 0], where.points
    for emotion in (None, *EMOTIONS):
        here = np.array([each == emotion for each in emotions])
        if here.any():
            colour = NO_EMOTION if emotion is None else EMOTION_COLOURS[emotion]
            first.scatter(*points[here].T, s=10, color=colour, linewidth=0, label=emotion or "none")
    first.set(title="emotion", ylabel=f"component 2 ({where.shares[1]:.0%} of the variance)")
    figure.legend(
        fontsize=8, frameon=False, ncols=len(EMOTIONS) + 1, loc="outside lower left", handletextpad=0.1, columnspacing=1
    )
    for panel, (unit, values) in zip(row[0, 1:], strengths.items(), strict=True):
        order = np.argsort(values, kind="stable")
        dots = panel.scatter(*points[order].T, c=values[order], s=10, cmap="viridis", vmin=0, linewidth=0)
        panel.set_title(unit)
        figure.colorbar(dots, ax=panel, location="bottom", label="strength", shrink=0.8)
    for panel in row[0]:
        panel.set_xlabel(f"component 1 ({where.shares[0]:.0%})")
    return figure


def plot_between(
    motions: Sequence[MotionClip], shares: Sequence[float], channels: Sequence[str] = ("jawOpen", *EXPRESSIVE)
) -> Figure:
    """The same speech on the way from one style to another, a panel a channel (see `side_mean`)."""
    figure, grid = panels(len(channels), 1, figsize=(WIDTH_IN, 1.4 * len(channels) + 0.6), sharex=True, squeeze=False)
    for panel, channel in zip(grid[:, 0], channels, strict=True):
        for motion, share in zip(motions, shares, strict=True):
            times_s = frame_times_s(len(motion), motion.fps)
            colour = colormaps["plasma"](0.85 * share)
            panel.plot(times_s, side_mean(motion, channel), color=colour, linewidth=1.3, label=f"{share:g}")
        panel.set(ylabel=channel, ylim=_with_zero(panel))
    grid[0, 0].legend(
        title="share of the second",
        title_fontsize=8,
        fontsize=8,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    grid[-1, 0].set(xlabel="time (s)", xlim=(0, motions[0].duration_s))
    return figure


def far_apart(styles: Float[np.ndarray, "styles dim"], count: int) -> list[int]:
    """Numbers of styles that differ most: the farthest from the mean, then each the farthest from those before it."""
    away = np.linalg.norm(styles - styles.mean(axis=0), axis=1)
    chosen: list[int] = []
    while len(chosen) < min(count, len(styles)):
        chosen.append(int(away.argmax()))
        nearest = np.linalg.norm(styles[:, None] - styles[chosen], axis=2).min(axis=1)
        away = np.where(np.isin(np.arange(len(styles)), chosen), -1.0, nearest)
    return chosen
