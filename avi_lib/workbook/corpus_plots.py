"""Plots of a corpus for inline use: a recording, its features, who is where, what scripts ask for, a batch.

>>> figure = plot_recording(speech, draft.phones, draft.prosody)
>>> figure = plot_split(corpus.clips)

Every function returns a matplotlib figure that is shown once, where it is displayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mlab import specgram
from matplotlib.ticker import MaxNLocator

from avi_lib.corpus.dataset import Batch
from avi_lib.corpus.shards import SPLITS, ClipEntry, ScriptEntry
from avi_lib.motion.clip import MotionSpace
from avi_lib.speech.loading import Speech
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Prosody
from avi_lib.workbook.plots import ACCENT, INK, WAVE, WIDTH_IN, draw_phones, draw_prosody, draw_wave, panels

SPLIT_COLOURS = dict(zip(SPLITS, (WAVE, "#d9a441", ACCENT), strict=True))

_SPECTRUM, _STEP = 512, 160
"""Samples of a spectrum (32 ms) and between two of them (10 ms)."""
_RANGE_DB = 70.0
_MOST_NAMES = 40
"""More speakers than this are shown without their names."""


def plot_recording(speech: Speech, phones: Sequence[Phone], heard: Prosody) -> Figure:
    """Waveform with phones above, spectrogram, and pitch with level, on one axis of time."""
    figure, (top, middle, bottom) = panels(3, figsize=(WIDTH_IN, 6.0), sharex=True, height_ratios=(2, 3, 2))
    draw_wave(top, speech)
    draw_phones(top, phones)
    draw_spectrogram(middle, speech)
    draw_prosody(bottom, heard)
    bottom.set(xlabel="time (s)", xlim=(0, speech.duration_s))
    return figure


def plot_features(
    speech: Speech, phones: Sequence[Phone], features: Float[np.ndarray, "frames dim"], fps: float = 50.0
) -> Figure:
    """The spectrogram with phones above, and under it every feature in deviations from its mean over the recording."""
    figure, (top, bottom) = panels(2, figsize=(WIDTH_IN, 5.4), sharex=True, height_ratios=(2, 3))
    draw_spectrogram(top, speech)
    draw_phones(top, phones)
    centred = features.astype(np.float32) - features.mean(axis=0, dtype=np.float32)
    spread = centred.std(axis=0)
    scores = centred / np.where(spread > 0, spread, 1)
    extent = (0.0, len(features) / fps, 0.0, float(features.shape[1]))
    image = bottom.imshow(
        scores.T,
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        aspect="auto",
        origin="lower",
        extent=extent,
        interpolation="none",
    )
    for phone in phones:
        bottom.axvline(phone.start_s, color=INK, linewidth=0.5, alpha=0.6)
    bottom.set(xlabel="time (s)", ylabel="feature", xlim=(0, speech.duration_s))
    figure.colorbar(image, ax=bottom, label="standard deviations", pad=0.01)
    return figure


def plot_split(clips: Sequence[ClipEntry]) -> Figure:
    """Clips of every emotion by split, and clips of every speaker by split: a speaker's bar has one colour."""
    figure, (left, right) = panels(1, 2, figsize=(WIDTH_IN, 3.6), gridspec_kw={"wspace": 0.06})
    emotions = sorted({clip.emotion or "none" for clip in clips})
    _stack(left, emotions, Counter((clip.emotion or "none", clip.split) for clip in clips))
    ranks = {clip.speaker: SPLITS.index(clip.split) for clip in clips}
    speakers = sorted(ranks, key=lambda name: (ranks[name], name))
    _stack(right, speakers, Counter((clip.speaker, clip.split) for clip in clips))
    left.set_xlabel("emotion")
    right.set_xlabel("speaker")
    if len(speakers) > _MOST_NAMES:
        right.set_xticks([])
        right.set_xlabel(f"{len(speakers)} speakers")
    return figure


def _stack(panel: Axes, names: Sequence[str], counts: Mapping[tuple[str, str], int]) -> None:
    """Bars of counts by (name, split), the splits on top of each other."""
    below = np.zeros(len(names), int)
    for split in SPLITS:
        heights = np.array([counts[name, split] for name in names])
        panel.bar(range(len(names)), heights, bottom=below, color=SPLIT_COLOURS[split], label=split, width=0.8)
        below += heights
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    panel.set(ylabel="clips", ylim=(0, 1.06 * max(below, default=1)), xlim=(-0.7, max(len(names), 5) - 0.3))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(fontsize=7, frameon=False, ncols=len(SPLITS), loc="lower right", bbox_to_anchor=(1.0, 1.0))


def plot_units(scripts: Sequence[ScriptEntry]) -> Figure:
    """How many scripts ask for every action unit: those that keep to a label, and those that go beyond it."""
    labelled = Counter(unit for script in scripts if script.kind == "label" for unit in script.units)
    beyond = Counter(unit for script in scripts if script.kind != "label" for unit in script.units)
    names = sorted({*labelled, *beyond}, key=lambda name: (-labelled[name] - beyond[name], name))
    figure, panel = panels(1, figsize=(WIDTH_IN, 3.4))
    below = np.array([labelled[name] for name in names])
    panel.bar(range(len(names)), below, color=WAVE, label="of the label")
    panel.bar(range(len(names)), [beyond[name] for name in names], bottom=below, color=ACCENT, label="beyond it")
    panel.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=90, fontsize=7)
    panel.set(ylabel="scripts", xlim=(-0.7, len(names) - 0.3))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(fontsize=8, frameon=False)
    return figure


def plot_batch(batch: Batch, space: MotionSpace, channel: str = "jawOpen", fps: float = 25.0) -> Figure:
    """One channel of every row of a batch; what is padding stays white."""
    curves = batch.motion[:, :, space.index(channel)].astype(np.float32)
    curves[np.arange(curves.shape[1]) >= batch.frames[:, None]] = np.nan
    figure, panel = panels(1, figsize=(WIDTH_IN, 3.2))
    extent = (0.0, curves.shape[1] / fps, len(curves) - 0.5, -0.5)
    image = panel.imshow(curves, cmap="viridis", aspect="auto", extent=extent, interpolation="none")
    panel.set(xlabel="time (s)", ylabel="row of the batch")
    figure.colorbar(image, ax=panel, label=channel, pad=0.01)
    return figure


def draw_spectrogram(panel: Axes, speech: Speech) -> None:
    """Level in dB by time and frequency, down to 70 dB below the loudest point."""
    padded = np.pad(speech.wave, _SPECTRUM // 2)
    spectra = specgram(padded, NFFT=_SPECTRUM, Fs=speech.rate_hz, noverlap=_SPECTRUM - _STEP)
    power, hertz, times_s = map(np.asarray, spectra)
    level_db = 10 * np.log10(np.maximum(power, 1e-14))
    middles_s, step_s = times_s - _SPECTRUM / 2 / speech.rate_hz, _STEP / speech.rate_hz
    extent = (middles_s[0] - step_s / 2, middles_s[-1] + step_s / 2, 0.0, hertz[-1] / 1000)
    loudest_db = level_db.max()
    panel.imshow(
        level_db,
        cmap="magma",
        vmin=loudest_db - _RANGE_DB,
        vmax=loudest_db,
        aspect="auto",
        origin="lower",
        extent=extent,
        interpolation="bilinear",
    )
    panel.set_facecolor("black")
    panel.set(ylabel="frequency (kHz)", xlim=(0, speech.duration_s), ylim=(0, hertz[-1] / 1000))
