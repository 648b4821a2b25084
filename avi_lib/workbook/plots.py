"""Plots for inline use: speech with its phones, motion by groups, the lip gap under the waveform, pictures in a row.

>>> figure = plot_trajectories(motion)

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.pyplot import close, subplots

from avi_lib.motion.clip import MotionClip
from avi_lib.speech.loading import Speech
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone
from avi_lib.speech.prosody import Prosody

WAVE, INK, ACCENT = "#8aa0b4", "#22303c", "#c2513f"
WIDTH_IN = 11.0
LEVELS_DB = 60.0
"""Levels further below the highest one are not shown."""


def plot_speech(speech: Speech, phones: Sequence[Phone], heard: Prosody) -> Figure:
    """Waveform with phones above, pitch and loudness below."""
    figure, (top, bottom) = panels(2, figsize=(WIDTH_IN, 4.2), sharex=True)
    draw_wave(top, speech)
    draw_phones(top, phones)
    draw_prosody(bottom, heard)
    bottom.set_xlabel("time (s)")
    return figure


def plot_trajectories(motion: MotionClip, most: int = 5, moved: float = 0.02) -> Figure:
    """The channels that move most, one panel a group; channels whose range is below `moved` are left out."""
    shown = moving_groups(motion, most, moved)
    figure, grid = panels(len(shown), 1, figsize=(WIDTH_IN, 1.5 * len(shown) + 0.6), sharex=True, squeeze=False)
    times_s = frame_times_s(len(motion), motion.fps)
    for panel, (name, members) in zip(grid[:, 0], shown.items(), strict=True):
        for i in members:
            panel.plot(times_s, motion.values[:, i], linewidth=1.2, label=motion.space.channels[i])
        panel.set_ylabel(group_label(name))
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
    grid[-1, 0].set(xlabel="time (s)", xlim=(0, motion.duration_s))
    return figure


def plot_lip_gap(speech: Speech, phones: Sequence[Phone], gap_m: Float[np.ndarray, " frames"], fps: float) -> Figure:
    """The inner-lip gap of the mesh in millimetres under the waveform; /m b p/ are shaded."""
    figure, (top, bottom) = panels(2, figsize=(WIDTH_IN, 3.8), sharex=True)
    draw_wave(top, speech)
    draw_phones(top, phones)
    bottom.plot(frame_times_s(len(gap_m), fps), 1000 * gap_m, color=INK, linewidth=1.3)
    shade_bilabials(bottom, phones)
    bottom.set(xlabel="time (s)", ylabel="lip gap (mm)")
    return figure


def plot_pictures(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], titles: Sequence[str], columns: int = 4
) -> Figure:
    """Pictures in rows, each under its title."""
    rows = -(-len(pictures) // columns)
    side = WIDTH_IN / columns
    figure, grid = panels(rows, columns, figsize=(WIDTH_IN, rows * side * 1.08), squeeze=False)
    for panel in grid.flat:
        panel.axis("off")
    for panel, picture, title in zip(grid.flat, pictures, titles, strict=False):
        panel.imshow(picture)
        panel.set_title("\n".join(wrap(title, 96 // columns)), fontsize=8)
    return figure


def panels(rows: int, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure with panels that pyplot does not keep, so that a notebook does not show it a second time."""
    figure, grid = subplots(rows, columns, layout="constrained", **options)
    close(figure)
    return figure, grid


def frame_times_s(frames: int, fps: float) -> Float[np.ndarray, " frames"]:
    """The middle of every frame."""
    return (np.arange(frames) + 0.5) / fps


def moving_groups(motion: MotionClip, most: int = 5, moved: float = 0.02) -> dict[str, list[int]]:
    """By group the channels that move most, at most `most`; those whose range is below `moved` are left out."""
    ranges = np.ptp(motion.values, axis=0)
    groups = {
        name: sorted((i for i in members if ranges[i] >= moved), key=lambda i: -ranges[i])[:most]
        for name, members in motion.space.groups.items()
    }
    return {name: members for name, members in groups.items() if members}


def group_label(group: str) -> str:
    """The name of a group of channels with its unit; blendshape weights have none."""
    return f"{group} (rad)" if group == "head" else group.replace("_", ", ")


def draw_wave(panel: Axes, speech: Speech) -> None:
    """The waveform as its extremes in at most 2,000 columns."""
    columns = max(1, min(2000, len(speech.wave)))
    step = len(speech.wave) // columns
    blocks = speech.wave[: step * columns].reshape(columns, step)
    times_s = (np.arange(columns) + 0.5) * step / speech.rate_hz
    panel.fill_between(times_s, blocks.min(axis=1), blocks.max(axis=1), color=WAVE, linewidth=0)
    panel.set(ylabel="wave", xlim=(0, speech.duration_s))


def draw_phones(panel: Axes, phones: Sequence[Phone]) -> None:
    """Names of phones above a panel whose range is set, with a line where each begins; silence is left out."""
    top = panel.get_ylim()[1]
    for phone, start_s, end_s in phones:
        if phone == SILENCE:
            continue
        panel.axvline(start_s, color=INK, linewidth=0.3, alpha=0.5)
        panel.text((start_s + end_s) / 2, top, phone, ha="center", va="bottom", fontsize=6, color=INK)


def draw_prosody(panel: Axes, heard: Prosody) -> None:
    """Pitch where there is voice as dots, on the left axis; the level as a line, on the right one."""
    times_s = frame_times_s(len(heard.f0_hz), heard.fps)
    panel.plot(times_s, np.where(heard.voiced, heard.f0_hz, np.nan), ".", color=ACCENT, markersize=4)
    panel.set_ylabel("F0 (Hz)", color=ACCENT)
    level = panel.twinx()
    level.plot(times_s, heard.energy_db, color=WAVE, linewidth=1)
    level.set_ylabel("level (dB)", color=WAVE)
    level.set_ylim(max(heard.energy_db.min(), heard.energy_db.max() - LEVELS_DB) - 3, heard.energy_db.max() + 3)


def shade_bilabials(panel: Axes, phones: Sequence[Phone]) -> None:
    """Shade /m b p/, where the lips must touch."""
    for phone, start_s, end_s in phones:
        if phone in BILABIAL:
            panel.axvspan(start_s, end_s, color=ACCENT, alpha=0.25, linewidth=0)
