"""The workbook's plots: motion, sounds, features, losses, corpora, scores, pictures, and a head to turn.

>>> plot_trajectories(talk.motion, phones=talk.phones.phones)
>>> plot_trajectories({"target": target, "learned": made}, phones=corpus.phones(clip))
>>> plot_curves({"lip gap (mm)": {"target": gap_mm}}, fps=25.0, phones=phones, speech=speech)

A function that begins with `plot` returns a matplotlib figure, one that begins with `view` or `browse` a plotly figure.
Each is shown once, where it is displayed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from textwrap import fill
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mlab import specgram
from matplotlib.pyplot import close, subplots
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from avi_lib.corpus.dataset import ClipEntry, Corpus
from avi_lib.errors import InputError
from avi_lib.evaluation.report import DIFFERENCE, Table
from avi_lib.evaluation.report import markdown_table as markdown_table  # notebooks find it here
from avi_lib.face.head import RiggedHead
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instruction import Timeline
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.expression import frame_times
from avi_lib.speech.phones import BILABIAL, SILENCE, Phone, PhoneTrack, words_in
from avi_lib.speech.prosody import Prosody
from avi_lib.speech.voice import Voice
from avi_lib.talker import Talk
from avi_lib.training.loop import LogLine

WAVE, INK, ACCENT = "#8aa0b4", "#22303c", "#c2513f"
COLOURS = (INK, ACCENT, *"#d9a441 #4f8f6f #7a68a6 #3b82c4 #8c5a3c #d17ba8 #6f8f2f #8f979e #1fa3a3".split())
_HUES = "#777777 #4db6ac #f2b134 #3b6fb6 #d1495b #7b4fa3 #6a8d3a #e07b39 #8c5a3c #b0a8b9".split()
EMOTION_COLOURS = dict(zip(EMOTIONS, _HUES, strict=True))
WIDTH_IN = 11.0

EXPRESSIVE = ("browDown", "browInnerUp", "mouthSmile")  # what differs most visibly between expressions; see `side_mean`
MOVED, SAME = 0.02, 0.05
"""Channels whose range is smaller do not move; the two sides of a face that never differ by this much are one curve."""
_LOOK: Any = {"axes.spines.top": False, "axes.spines.right": False, "axes.labelsize": 8.5, "axes.titlesize": 9}
_LEGEND: dict[str, Any] = {"fontsize": 7.5, "frameon": False}
_BESIDE: dict[str, Any] = {**_LEGEND, "loc": "upper left", "bbox_to_anchor": (1.0, 1.03)}

Curve = Float[np.ndarray, " frames"]

# Curves over time


def plot(talk: Talk) -> Figure:
    """The trajectories of a talk: the channels that move most of every group, between its wave and its phones."""
    return plot_trajectories(talk.motion, phones=talk.phones, speech=talk.speech)


def plot_trajectories(
    motions: MotionClip | Mapping[str, MotionClip],
    channels: Sequence[str] = (),
    phones: Sequence[Phone] | PhoneTrack = (),
    most: int = 4,
    speech: Voice | None = None,
) -> Figure:
    """Channels of one or several motions over time in seconds: weights in 0-1, rotations in radians.

    Without `channels` there is a panel for each group with the channels that move most; of several motions the first
    is drawn broad and pale. With `channels` (see `side_mean`) there is a panel for each of them, and each motion has
    its own colour; of two motions the band between them is shaded. Phones stand along the time axis; the wave of
    `speech`, with the words where a track of phones knows them, above.

    most: at most so many channels of a group.
    """
    track = phones if isinstance(phones, PhoneTrack) else PhoneTrack(tuple(phones), "", "")
    clips = {"": motions} if isinstance(motions, MotionClip) else dict(motions)
    first, *others = clips.values()
    groups = {channel: [channel] for channel in channels} or moving_groups(clips.values(), most)
    duration_s = max(clip.duration_s for clip in clips.values())
    over = int(speech is not None)
    figure, shown = time_panels(over + len(groups), duration_s, track.phones, 1.15 if channels else 1.35)
    if speech is not None:
        _draw_wave(shown.pop(0), speech, words_in(track.phones, track.text))
    for panel, (group, members) in zip(shown, groups.items(), strict=True):
        if channels:
            lines = {name: _line(clip, group) for name, clip in clips.items()}
            _draw_lines(panel, lines)
            if len(others) == 1 and len(first) == len(others[0]):
                (times_s, low), (_, high) = lines.values()
                panel.fill_between(times_s, low, high, color=WAVE, alpha=0.3)
        else:
            for number, clip in enumerate(clips.values()):
                broad = {"linewidth": 4.0, "alpha": 0.35} if others and number == 0 else {}
                lines = {channel: _line(clip, channel) for channel in members}
                _draw_lines(panel, lines, named=number == bool(others), **broad)
            panel.legend(**_BESIDE)
        panel.set_ylabel(f"{group.replace('_', ', ')}\n({_scale(panel, first, members)})")
    if others and channels:
        shown[0].legend(**_BESIDE)
    elif others:
        broad_one, *thin = clips
        shown[0].set_title(f"broad: {short(broad_one)}, thin: {short(', '.join(thin))}", loc="left")
    return figure


def plot_curves(
    curves: Mapping[str, Mapping[str, Curve]], fps: float, phones: Sequence[Phone] = (), speech: Voice | None = None
) -> Figure:
    """Curves over time: a panel for each y label with its curves by name, under the spectrogram of `speech`.

    Phones stand along the time axis; /m b p/, on which the lips must touch, are shaded. NaN leaves a gap.
    """
    duration_s = max(len(curve) for named in curves.values() for curve in named.values()) / fps
    figure, panels_ = time_panels(len(curves), duration_s, phones, 1.6, speech)
    for panel, (label, named) in zip(panels_, curves.items(), strict=True):
        panel.axhline(0, color=WAVE, linewidth=0.6)
        _draw_lines(panel, {name: (frame_times(len(c), fps), c) for name, c in named.items()})
        panel.set_ylabel(label)
        for phone, begin_s, end_s in phones:
            if phone in BILABIAL:
                panel.axvspan(begin_s, end_s, color=ACCENT, alpha=0.2, linewidth=0)
        if any(named):
            panel.legend(**_BESIDE)
    return figure


def plot_timeline(motion: MotionClip, timeline: Timeline, phones: Sequence[Phone] = ()) -> Figure:
    """The share of every instruction over time, and the channels that they move."""
    weights = timeline.weights(len(motion), motion.fps)
    shares = {entry.instruction.text: weights[:, number] for number, entry in enumerate(timeline.entries)}
    moved = {channel: side_mean(motion, channel) for channel in EXPRESSIVE}
    figure = plot_curves({"share": shares, "weight": moved}, motion.fps, phones)
    for panel in figure.axes[:2]:
        panel.set_ylim(0, 1.05)
    return figure


def plot_recording(speech: Voice, phones: Sequence[Phone], prosody: Prosody) -> Figure:
    """Waveform, spectrogram, pitch with level, and phones, on one axis of time."""
    figure, (top, bottom) = time_panels(2, speech.duration_s, phones, 1.4, speech)
    _draw_wave(top, speech)
    times_s = frame_times(len(prosody.f0_hz), prosody.fps)
    bottom.plot(times_s, np.where(prosody.voiced, prosody.f0_hz, np.nan), ".", color=ACCENT, markersize=4)
    bottom.set_ylabel("F0 (Hz)", color=ACCENT)
    level, loudest_db = bottom.twinx(), prosody.energy_db.max()
    level.spines["top"].set_visible(False)
    level.plot(times_s, prosody.energy_db, color=INK, linewidth=1)
    level.set_ylabel("level (dB)", color=INK)
    level.set_ylim(max(prosody.energy_db.min(), loudest_db - 60.0) - 3, loudest_db + 3)
    return figure


def plot_heat(
    rows: Float[np.ndarray, "rows columns"],
    duration_s: float,
    label: str,
    names: Sequence[str] = (),
    limits: tuple[float, float] = (-1.0, 1.0),
    phones: Sequence[Phone] = (),
    speech: Voice | None = None,
) -> Figure:
    """Rows over time as colours, the first on top; what is NaN stays white. `label` says what a colour means.

    Rows without names are numbered. The spectrogram of `speech` stands above, phones stand along the time axis.
    """
    height_in = max(2.4, 0.16 * len(names) + 0.3)
    figure, (panel,) = time_panels(1, duration_s, phones, height_in, speech)
    extent = (0.0, duration_s, len(rows), 0.0)
    colours = "RdBu_r" if limits[0] == -limits[1] else "viridis"
    ranges: dict[str, Any] = {"vmin": limits[0], "vmax": limits[1], "cmap": colours, "interpolation": "nearest"}
    image = panel.imshow(rows, aspect="auto", extent=extent, **ranges)
    panel.grid(False)
    if names:
        panel.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=6)
    else:
        panel.set_ylabel("row")
    figure.colorbar(image, ax=panel, label=label, pad=0.01)
    return figure


def plot_heat_map(motion: MotionClip, phones: Sequence[Phone] = ()) -> Figure:
    """Every channel that moves over time, by group; each in shares of its own largest value."""
    order = [(name, i) for name, members in motion.space.groups.items() for i in members]
    order = [(name, i) for name, i in order if np.ptp(motion.values[:, i]) >= MOVED] or order[:1]
    rows = np.stack([motion.values[:, i] for _, i in order])
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-6)
    names = [motion.space.channels[i] for _, i in order]
    figure = plot_heat(rows, motion.duration_s, "share of its largest value", names, phones=phones)
    for row, ((above, _), (below, _)) in enumerate(pairwise(order), 1):
        if above != below:
            figure.axes[0].axhline(row, color=INK, linewidth=0.8)
    return figure


def time_panels(
    count: int, duration_s: float, phones: Sequence[Phone] = (), height_in: float = 1.4, speech: Voice | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure and `count` panels on one axis of time in seconds, below a spectrogram of speech and above phones."""
    heights = [1.4] * (speech is not None) + [height_in] * count + [0.4] * bool(phones)
    height_in = sum(heights) + 0.7
    figure, grid = panels(len(heights), 1, height_in, sharex=True, squeeze=False, height_ratios=heights)
    column, first = list(grid[:, 0]), int(speech is not None)
    if speech is not None:  # level in dB, down to 70 dB below the loudest point; 32 ms every 10 ms
        spectra = specgram(np.pad(speech.wave, 256), NFFT=512, Fs=speech.rate_hz, noverlap=512 - 160)
        power, hertz, times_s = map(np.asarray, spectra)
        level_db, middles_s = 10 * np.log10(np.maximum(power, 1e-14)), times_s - 256 / speech.rate_hz
        top_khz, half_s = hertz[-1] / 1000, 80 / speech.rate_hz
        extent = (middles_s[0] - half_s, middles_s[-1] + half_s, 0.0, top_khz)
        ranges: dict[str, Any] = {"vmin": level_db.max() - 70.0, "vmax": level_db.max(), "cmap": "magma"}
        column[0].imshow(level_db, aspect="auto", origin="lower", extent=extent, interpolation="bilinear", **ranges)
        column[0].set_facecolor("black")
        column[0].set(ylim=(0, top_khz), ylabel="frequency (kHz)")
    if phones:
        _draw_phones(column[-1], phones, duration_s)
    shown = column[first : first + count]
    for panel in shown:
        panel.grid(axis="y", linewidth=0.4, alpha=0.6)
    column[-1].set(xlabel="time (s)", xlim=(0, duration_s))
    return figure, shown


def _draw_lines(panel: Axes, lines: Mapping[str, tuple[Curve, Curve]], named: bool = True, **style: Any) -> None:
    """Times and values by name, each in its colour; with its name in the legend where `named`."""
    for (name, (times_s, values)), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
        label = fill(short(name, 90), 30) if named else "_"
        panel.plot(times_s, values, color=colour, label=label, **{"linewidth": 1.3, **style})


def _draw_wave(panel: Axes, speech: Voice, words: Sequence[Phone] = ()) -> None:
    """The wave, and words over it; one that would run into the one before is left out."""
    columns = max(1, min(2000, len(speech.wave)))
    step = len(speech.wave) // columns
    blocks = speech.wave[: step * columns].reshape(columns, step)
    times_s, low, high = (np.arange(columns) + 0.5) * step / speech.rate_hz, blocks.min(axis=1), blocks.max(axis=1)
    panel.fill_between(times_s, low, high, color=WAVE, linewidth=0)
    panel.set_ylabel("wave")
    letter_s, ended_s = 0.009 * speech.duration_s, -1.0
    for word, start_s, end_s in words:
        middle_s, half_s = (start_s + end_s) / 2, letter_s * len(word) / 2
        panel.axvline(start_s, color=WAVE, linewidth=0.6)
        if middle_s - half_s >= ended_s:
            panel.text(middle_s, 1.02, word, transform=panel.get_xaxis_transform(), ha="center", fontsize=8, color=INK)
            ended_s = middle_s + half_s


def _draw_phones(panel: Axes, phones: Sequence[Phone], duration_s: float) -> None:
    """Phones as boxes in turn on two rows; a name that would run into the one before is left out."""
    least_s, ends_s = 0.075 * duration_s / 9.0, [-1.0, -1.0]
    spoken = [phone for phone in phones if phone.phone != SILENCE]
    for number, (phone, start_s, end_s) in enumerate(spoken):
        row, middle_s = number % 2, (start_s + end_s) / 2
        tint = ACCENT if phone in BILABIAL else WAVE
        panel.axvspan(start_s, end_s, ymin=0.5 - row / 2, ymax=1 - row / 2, color=tint, alpha=0.35, linewidth=0)
        half_s = least_s * len(phone) / 2
        if middle_s - half_s >= ends_s[row] and middle_s + half_s <= duration_s:
            panel.text(middle_s, 0.75 - row / 2, phone, ha="center", va="center", fontsize=6.5, color=INK)
            ends_s[row] = middle_s + half_s
    panel.set(ylim=(0, 1), yticks=[])
    panel.set_ylabel("phones", rotation=0, ha="right", va="center")
    panel.spines["left"].set_visible(False)


def _scale(panel: Axes, motion: MotionClip, members: Sequence[str]) -> str:
    """Weights from 0 to 1, and further where they go; other values about 0. Gives the unit."""
    low, high = panel.dataLim.intervaly
    columns = _columns(motion, members)
    if all(motion.space.limits[column] == (0.0, 1.0) for column in columns):
        panel.set_ylim(min(0.0, low), max(1.0, high))
        panel.set_yticks((0.0, 0.5, 1.0))
        return "weight"
    reach = 1.1 * max(0.2, abs(low), abs(high))  # at least, so that what hardly moves looks like it
    panel.set_ylim(-reach, reach)
    return "coefficient" if motion.space.channels[columns[0]].startswith("expression") else "rad"


# What to show
def moving_groups(motions: Iterable[MotionClip], most: int = 4) -> dict[str, list[str]]:
    """By group the names of the channels that move most in any of the motions; never without a channel.

    The two sides of a face are one name where they do the same: `browDown`, or `eyeLookInLeft = eyeLookOutRight`.
    """
    clips = list(motions)
    space, ranges = clips[0].space, np.max([np.ptp(clip.values, axis=0) for clip in clips], axis=0)
    groups: dict[str, list[str]] = {}
    for group, members in space.groups.items():
        names: dict[int, list[str]] = {}
        for i in sorted((i for i in members if ranges[i] >= MOVED), key=lambda i: -ranges[i]):
            apart = [np.abs(clip.values - clip.values[:, [i]]).max(axis=0) for clip in clips]
            sided = names if space.channels[i].endswith(("Left", "Right")) else ()
            twin = next((n for n in sided if max(each[n] for each in apart) < SAME), i)
            names.setdefault(twin, []).append(space.channels[i])
        for channels in list(names.values())[:most]:
            bases = {channel.removesuffix("Left").removesuffix("Right") for channel in channels}
            joint = bases.pop() if len(channels) == 2 and len(bases) == 1 else " = ".join(channels)
            groups.setdefault(group, []).append(joint)
    widest = int(ranges.argmax())
    group = next(name for name, members in space.groups.items() if widest in members)
    return groups or {group: [space.channels[widest]]}


def differing_channels(first: MotionClip, second: MotionClip, most: int = 1) -> list[str]:
    """In each group the names, as of `moving_groups`, in which two motions of one recording differ most; never none.

    Raises InputError for motions of other lengths or spaces.
    """
    if first.values.shape != second.values.shape or first.space is not second.space:
        got = f"{len(first)} and {len(second)} frames, {first.space.name} and {second.space.name}"
        raise InputError("two motions of one recording", got, "compare motions of the same speech")
    apart = np.vstack([np.zeros_like(first.values[:1]), first.values - second.values])
    groups = moving_groups([MotionClip(apart, first.fps, first.space)], most)
    return [channel for channels in groups.values() for channel in channels]


def side_mean(motion: MotionClip, channel: str) -> Curve:
    """A channel's curve; of a name such as `browDown` that has a left and a right side, their mean."""
    sides = motion.values[:, _columns(motion, [channel])]
    return np.asarray(sides.mean(axis=1, dtype=np.float32))


def _columns(motion: MotionClip, names: Sequence[str]) -> list[int]:
    """Positions of the channels of names that `moving_groups` gives."""
    return motion.space.columns(*(name.partition(" = ")[0] for name in names))


def _line(motion: MotionClip, channel: str) -> tuple[Curve, Curve]:
    """Times in seconds and values of a channel, as `side_mean` gives them."""
    return frame_times(len(motion), motion.fps), side_mean(motion, channel)


def choose_exchange(corpus: Corpus, clip: ClipEntry) -> tuple[ClipEntry, tuple[int, int]]:
    """Another clip that performs the clip's scripts, and the numbers of the two whose faces differ most.

    Raises InputError when the clip exchanges its scripts with none.
    """
    if clip.motion != "performed" or not (partners := corpus.partners(clip)):
        do = "put a corpus with performed clips, such as samples=table:data/samples/corpus, first"
        raise InputError("a performed clip that exchanges its scripts", f"{clip.clip}, which does not", do)
    motions = [corpus.performance(clip, i) for i in range(len(clip.scripts))]
    means = np.array([[side_mean(motion, channel).mean() for channel in EXPRESSIVE] for motion in motions])
    apart = np.linalg.norm(means[:, None] - means, axis=2)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    return partners[0], (int(first), int(second))


def mouth_moments(motion: MotionClip, phones: Sequence[Phone]) -> tuple[int, int]:
    """The frame of the widest mouth, and one in which it is shut: in the first /m b p/, or else the narrowest."""
    mouth = motion["jawOpen"] - motion["mouthClose"]
    middles_s = [(start_s + end_s) / 2 for phone, start_s, end_s in phones if phone in BILABIAL]
    shut = int(middles_s[0] * motion.fps) if middles_s else int(mouth.argmin())
    return int(mouth.argmax()), min(shut, len(motion) - 1)


# Training and scores
def plot_losses(
    log: Sequence[LogLine] | Mapping[str, Sequence[LogLine]], parts: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """Losses by step: a panel for each part of a training, or for each y label with the losses that it names.

    A long log is shown as means over as many lines as leave 150 points. Losses that were not used are left out.
    """
    logs = log if isinstance(log, Mapping) else dict.fromkeys(parts or ["loss"], log)
    shown = [(label, lines, (parts or {}).get(label, ())) for label, lines in logs.items()]
    figure, grid = panels(1, max(len(shown), 1), 3.4, squeeze=False)
    for panel, (label, lines, names) in zip(grid[0], shown, strict=False):
        curves: dict[str, tuple[Curve, Curve]] = {}
        for name in names or [key for key in (lines[0] if lines else {}) if key not in ("step", "epoch", "s")]:
            if used := [line for line in lines if name in line]:
                chunks = np.array_split(np.arange(len(used)), min(len(used), 150))
                means = np.array([np.mean([used[i][name] for i in chunk]) for chunk in chunks])
                curves[name] = np.array([used[chunk[-1]]["step"] for chunk in chunks], float), means
        _draw_lines(panel, curves, marker="." if len(lines) < 12 else "")
        every = np.concatenate([np.ravel(line.get_ydata()) for line in panel.lines] or [np.zeros(1)])
        decades = every.min() > 0 and every.max() > 10 * every.min()
        panel.set(xlabel="step", ylabel=label, yscale="log" if decades else "linear")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if panel.lines:
            panel.legend(**_LEGEND, ncols=1 + (len(panel.lines) > 5))
    return figure


def live_losses(
    show: Callable[[Figure], object], parts: Mapping[str, Sequence[str]] | None = None, every_s: float = 4.0
) -> Callable[[LogLine], None]:
    """What to pass as `on_log`: it hands a plot of the losses so far to `show` every `every_s` seconds.

    show: such as the `update` of an IPython display handle.
    """
    lines, shown_s = list[LogLine](), [-float("inf")]

    def take(line: LogLine) -> None:
        lines.append(line)
        if time.monotonic() - shown_s[-1] >= every_s:
            show(plot_losses(lines, parts))
            shown_s.append(time.monotonic())

    return take


def plot_matrix(
    tables: Mapping[str, Float[np.ndarray, "rows columns"]],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str] = ("", ""),
    form: str = "{:.2f}",
    highest: float | None = 1.0,
) -> Figure:
    """Tables side by side by title, such as confusions: the darker a cell, the larger its number.

    Numbers of at least 0.005 are written as in `form`. The darkest cell has the number `highest`, or the largest of
    its table when that is None. `axes` says what rows and columns are.
    """
    figure, grid = panels(1, len(tables), (0.36 if form else 0.22) * len(rows) + 1.5, sharey=True, squeeze=False)
    for panel, (title, table) in zip(grid[0], tables.items(), strict=True):
        top = float(highest or max(table.max(), 1e-9))
        image = panel.imshow(table, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        for i, j in np.argwhere(np.abs(table) >= 0.005) if form else ():
            colour = "white" if table[i, j] > 0.6 * top else INK
            panel.text(j, i, form.format(table[i, j]), ha="center", va="center", fontsize=8, color=colour)
        panel.set_xticks(range(len(columns)), columns, rotation=45 * (len(columns) > 6))
        panel.set_yticks(range(len(rows)), map(short, rows))
        panel.set(xlabel=axes[1], title=title)
    grid[0, 0].set_ylabel(axes[0])
    if not form:
        figure.colorbar(image, ax=list(grid[0]), shrink=0.8)
    return figure


def plot_estimates(table: Table) -> Figure:
    """A panel for each measure: every system's mean with its 95 % interval; differences of systems are left out."""
    systems = [system for system in table.systems if system != DIFFERENCE]
    rows = -(-len(table.measures) // 4)
    figure, grid = panels(rows, 4, rows * (0.28 * len(systems) + 0.75) + 0.2, sharey=True, squeeze=False)
    for panel in grid.flat[len(table.measures) :]:
        panel.axis("off")
    for panel, (name, measure) in zip(grid.flat, table.measures.items(), strict=False):
        for row, (system, colour) in enumerate(zip(systems, COLOURS * len(systems), strict=False)):
            found = table.estimates.get((name, system))
            if found is not None and np.isfinite(found.value):
                panel.plot(found.value, row, "o", color=colour, markersize=5)
                panel.plot([found.low, found.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        arrow = {"higher": "→", "lower": "←", "near": ""}[measure.better]
        panel.set_title(f"{measure.title}{measure.unit and f' ({measure.unit})'} {arrow}", fontsize=8.5)
        panel.margins(0.12, 0.25)
        panel.grid(axis="x", linewidth=0.4, alpha=0.6)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    grid[0, 0].set_yticks(range(len(systems)), systems)
    grid[0, 0].invert_yaxis()
    return figure


def plot_map(
    points: Float[np.ndarray, "points 2"],
    emotions: Sequence[str | None],
    axes: tuple[str, str],
    strengths: Mapping[str, Float[np.ndarray, " points"]] | None = None,
) -> Figure:
    """Points on a plane by emotion, None being grey; beside it by each named strength, such as an action unit's."""
    figure, row = panels(1, 1 + len(strengths or {}), 4.6, sharex=True, sharey=True, squeeze=False)
    size = 60 if len(points) < 100 else 12
    for emotion in (None, *EMOTIONS):
        here = np.array([each == emotion for each in emotions])
        if here.any():
            colour = EMOTION_COLOURS.get(emotion or "", "#c9d1d8")
            row[0, 0].scatter(*points[here].T, s=size, color=colour, linewidth=0, label=emotion or "none")
    figure.legend(fontsize=8, frameon=False, ncols=len(EMOTIONS) + 1, loc="outside lower left", handletextpad=0.1)
    for panel, (name, values) in zip(row[0, 1:], (strengths or {}).items(), strict=True):
        order = np.argsort(values, kind="stable")
        dots = panel.scatter(*points[order].T, c=values[order], s=size, cmap="viridis", vmin=0, linewidth=0)
        panel.set_title(name)
        figure.colorbar(dots, ax=panel, location="bottom", label="strength", shrink=0.8)
    row[0, 0].set(ylabel=axes[1], title="emotion")
    for panel in row[0]:
        panel.set_xlabel(axes[0])
    return figure


def plot_bars(
    counts: Mapping[str, Mapping[str, Mapping[str, float | int]]], ylabel: str, colours: Mapping[str, str] | None = None
) -> Figure:
    """Bars of counts, stacked: a panel for each x label, in it a layer for each series with its count by name.

    More than 50 names are counted and not written.
    """
    figure, grid = panels(1, len(counts), 3.8, squeeze=False)
    for panel, (xlabel, series) in zip(grid[0], counts.items(), strict=True):
        names = list(dict.fromkeys(name for layer in series.values() for name in layer))
        below = np.zeros(len(names))
        for (label, layer), colour in zip(series.items(), (WAVE, ACCENT, *COLOURS[2:]) * len(series), strict=False):
            heights = np.array([layer.get(name, 0) for name in names])
            chosen = (colours or {}).get(label, colour)
            panel.bar(range(len(names)), heights, bottom=below, color=chosen, label=label, width=0.8)
            below += heights
        tilted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 7.5}
        panel.set_xticks(*([], []) if len(names) > 50 else (range(len(names)), [short(n) for n in names]), **tilted)
        panel.set(xlabel=f"{len(names)} {xlabel}s" if len(names) > 50 else xlabel, ylabel=ylabel)
        panel.set(xlim=(-0.7, max(len(names), 5) - 0.3), ylim=(0, 1.06 * below.max(initial=0.1)))
        panel.yaxis.set_major_locator(MaxNLocator(integer=below.max(initial=0.0) > 1))
        panel.legend(**_LEGEND, ncols=5, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure


# Pictures, tables and views
def plot_pictures(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], titles: Sequence[str], columns: int = 4
) -> Figure:
    """Pictures in rows, each under its title."""
    rows = -(-len(pictures) // columns)
    figure, grid = panels(rows, columns, rows * WIDTH_IN / columns * 1.08, squeeze=False)
    for panel in grid.flat:
        panel.axis("off")
    for panel, picture, title in zip(grid.flat, pictures, titles, strict=False):
        panel.imshow(picture)
        panel.set_title(fill(title, 96 // columns), fontsize=8)
    return figure


def png_of(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as the bytes of a PNG, the same ones whenever it is the same figure."""
    sink = BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def short(text: str, longest: int = 46) -> str:
    """A sentence as a label: cut, and without the dollar sign that matplotlib would take for mathematics."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return cut.replace("$", r"\$")


def panels(rows: int, columns: int = 1, height_in: float = 3.0, **options: Any) -> tuple[Figure, Any]:
    """A figure with panels in the look of all plots; one panel, or an array of them.

    pyplot does not keep it, so that a notebook does not show it a second time.
    """
    with rc_context(_LOOK):
        figure, grid = subplots(rows, columns, layout="constrained", figsize=(WIDTH_IN, height_in), **options)
    for panel in np.ravel(grid):
        panel.tick_params(labelsize=8)
    close(figure)
    return figure, grid


def browse_trajectories(motions: Mapping[str, MotionClip]) -> go.Figure:
    """The channels that move most in each group, hovered over for their values and clicked away in the legend.

    motions: by their names; all are drawn, a channel in one colour, those after the first one dashed. The legend has
    each channel once, and each motion.
    """
    groups = moving_groups(motions.values())
    figure = make_subplots(rows=len(groups), cols=1, shared_xaxes=True, vertical_spacing=0.03)
    dashes = dict(zip(motions, ("solid", "dash", "dot", "dashdot") * len(motions), strict=False))
    for name, dash in dashes.items() if len(motions) > 1 else ():
        figure.add_trace(go.Scatter(x=[None], y=[None], name=name, mode="lines", line={"dash": dash, "color": "grey"}))
    for row, (group, members) in enumerate(groups.items(), 1):
        for number, (name, motion) in enumerate(motions.items()):
            for channel, colour in zip(members, COLOURS, strict=False):
                times_s, values = _line(motion, channel)
                line = {"dash": dashes[name], "width": 1.5, "color": colour}
                told = {"name": channel, "legendgroup": channel, "showlegend": not number, "hovertext": name}
                figure.add_trace(go.Scatter(x=times_s, y=values, line=line, **told), row, 1)
        label = f"{group} (rad)" if group == "head" else group.replace("_", ", ")
        figure.update_yaxes(title_text=label, row=row, col=1)
    figure.update_xaxes(title_text="time (s)", row=len(groups), col=1)
    # The legend stands above: beside the curves its names would take their room.
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.01, "font_size": 10, "tracegroupgap": 0}
    figure.update_layout(height=170 * len(groups) + 80, template="plotly_white", margin={"t": 30, "b": 40})
    figure.update_layout(legend=legend)
    return figure


MOSTLY_SOLID = 70  # of 255


def view_mesh(head: RiggedHead, motion: MotionClip, most: int = 16) -> go.Figure:
    """The head in 3D at up to `most` moments spread over a motion, with a slider and a button to play them.

    Each moment costs some 100 kB of the notebook. A vertex has the texture's colour, darkened where little light gets.
    Nothing is drawn half transparent: a triangle of hair is left out where its middle is mostly seen through.
    """
    picks = np.unique(np.linspace(0, len(motion) - 1, min(most, len(motion))).astype(int)).tolist()
    names = [f"{pick / motion.fps:.2f}" for pick in picks]
    size = np.array(head.atlas.shape[1::-1])

    def texels(uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across, down = np.clip((uv * size.astype(np.float32)).astype(int), 0, size - 1).T
        return down, across

    colours = (head.atlas[texels(head.uv)] * head.occlusion[:, None]).clip(0, 255).astype(np.uint8)
    solid = head.triangles
    if head.alpha is not None:
        solid = solid[head.alpha[texels(head.uv[solid].mean(axis=1))] >= MOSTLY_SOLID]
    places = [dict(zip("xyz", np.ascontiguousarray(each.T), strict=True)) for each in head.move(motion.at(picks))]
    mesh = go.Mesh3d(
        **places[0],
        **dict(zip("ijk", solid.T, strict=True)),
        vertexcolor=colours,
        lighting={"ambient": 0.7, "diffuse": 0.6, "specular": 0.1, "roughness": 0.7},
        lightposition={"x": -1, "y": 2, "z": 3},
        hoverinfo="skip",
    )
    frames = [go.Frame(data=[go.Mesh3d(**place)], name=name) for place, name in zip(places, names, strict=True)]
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    moving = {"frame": {"duration": 1000 * motion.duration_s / len(picks), "redraw": True}, "fromcurrent": True}
    steps = [{"args": [[name], still], "label": name, "method": "animate"} for name in names]
    play = {"label": "play", "method": "animate", "args": [None, moving | {"transition": {"duration": 0}}]}
    camera = {"eye": (0.0, 0.3, 1.25), "center": (0.0, 0.24, 0.0), "up": (0, 1, 0)}
    figure = go.Figure(data=[mesh], frames=frames)
    figure.update_layout(
        scene_camera={name: dict(zip("xyz", place, strict=True)) for name, place in camera.items()},
        scene={**{f"{axis}axis": {"visible": False} for axis in "xyz"}, "aspectmode": "data"},
        height=480,
        margin=dict.fromkeys("lrtb", 0),
        sliders=[{"steps": steps, "currentvalue": {"suffix": " s"}}],
        updatemenus=[{"type": "buttons", "showactive": False, "buttons": [play]}],
    )
    return figure
