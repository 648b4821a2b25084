"""Prosody: pitch, voicing and loudness of a voice, its syllables and beats.

>>> track = track_pitch(voice.wave)              # one pass over the wave, a value every 10 ms
>>> track.at(25.0).f0_hz.shape, [(beat.time_s, beat.strength) for beat in track.at(25.0).beats()]

Pitch is YIN (de Cheveigné & Kawahara 2002, "YIN, a fundamental frequency estimator for speech and music"), run twice:
the second time within the range of pitch that the first found (De Looze & Hirst 2008), which takes away octave errors.
librosa's YIN gives other values, which the shipped weights were not trained on. Syllables are voiced peaks of intensity
(Mermelstein 1975; de Jong & Wempe 2009). A syllable leans out by loudness and length more than by pitch (Kochanski,
Grabe, Coleman & Rosner 2005, "Loudness predicts prominence").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from avi_lib.errors import InputError
from avi_lib.speech.encoders import RATE_HZ

HOP_S = 0.01
F0_RANGE_HZ = (60.0, 500.0)
YIN_THRESHOLD = 0.15
"""A lag counts as the period from this depth of the normalised difference on (0 = repeats exactly)."""
VOICED_BELOW = 0.4
"""A frame is voiced below this depth; on real speech this finds the vowels and hardly anything of noise."""
SILENT_DB = -75.0
SILENT_BELOW_LOUD_DB = 35.0
"""A frame sounds when it is at most this far below the loud parts (95th percentile)."""
SYLLABLE_DIP_DB = 2.0
BEAT_SPACING_S = 0.35
BEAT_STRENGTH = 0.25

_HOP = round(RATE_HZ * HOP_S)
_WINDOW = 400
_CHUNK = 4096
_SMOOTHING = 5
_NEIGHBOURS_S = 2.0

Wave = Float32[np.ndarray, " samples"]
Hops = Float[np.ndarray, " hops"]


class Beat(NamedTuple):
    """A syllable: the time of its loudest point and how far it leans out of its neighbours, 0 (not) to 1 (strongly)."""

    time_s: float
    strength: float


CONTOUR = ("pitch", "voiced", "level", "pitch_movement", "level_movement")
"""What a step of the contour holds: semitones about the clip's median in halves of an octave (0 unvoiced), whether it
is voiced, dB below the clip's loud parts (95th percentile) in units of 20, and the change of pitch and level a step."""
_HALF_OCTAVE_ST = 6.0
_LEVEL_DB = 20.0
_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Prosody:
    """Voice by video frame; frame i covers the times i/fps to (i+1)/fps.

    `f0_hz` is 0 where `voiced` is False; `energy_db` is the RMS level in dB of full scale, at least -100.
    """

    fps: float
    f0_hz: Float32[np.ndarray, " frames"]
    voiced: Bool[np.ndarray, " frames"]
    energy_db: Float32[np.ndarray, " frames"]
    syllables: tuple[Beat, ...]

    def beats(self, least: float = BEAT_STRENGTH) -> tuple[Beat, ...]:
        """The syllables a face moves on: strength of at least `least`, and the strongest within 0.35 s."""
        times_s = np.array([beat.time_s for beat in self.syllables])
        first = np.searchsorted(times_s, times_s - BEAT_SPACING_S, side="right")
        last = np.searchsorted(times_s, times_s + BEAT_SPACING_S)
        return tuple(
            beat
            for beat, start, stop in zip(self.syllables, first, last, strict=True)
            if beat.strength >= least and beat == max(self.syllables[start:stop], key=lambda b: (b.strength, b.time_s))
        )

    def contour(self, usual: Prosody | None = None) -> Float32[np.ndarray, "frames 5"]:
        """The columns of `CONTOUR` for every frame; the speaker's pitch and the recording's level do not matter.

        usual: what tells these, where it is not the voice itself.
        """
        usual = usual or self
        pitch, others = (12 * np.log2(np.maximum(each.f0_hz, 1.0)) for each in (self, usual))
        median = np.median(others[usual.voiced]) if usual.voiced.any() else 0.0
        pitch = np.where(self.voiced, pitch - median, 0.0) / _HALF_OCTAVE_ST
        level = np.maximum(self.energy_db - np.percentile(usual.energy_db, 95), _FLOOR_DB) / _LEVEL_DB
        moves = np.diff(pitch, prepend=pitch[:1]) * self.voiced, np.diff(level, prepend=level[:1])
        return np.stack([pitch, self.voiced, level, *moves], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """Power (mean square) and f0 in Hz, 0 where unvoiced, of every 10 ms of a wave."""

    samples: int
    power: Hops
    f0_hz: Hops

    @cached_property
    def syllables(self) -> tuple[Beat, ...]:
        """Voiced peaks of the smoothed intensity, at least 2 dB above the dips beside them, with their strength."""
        return tuple(_syllables(self.power, self.f0_hz))

    def at(self, fps: float) -> Prosody:
        """Prosody in ceil(duration * fps) frames; InputError for an `fps` that is not between 1 and 100."""
        if not 1 <= fps <= 1 / HOP_S:
            raise InputError(f"1 to {1 / HOP_S:.0f} frames a second", f"{fps:g}", "25 is the rate of every model here")
        times_s = (np.arange(len(self.power)) + 0.5) * HOP_S
        frames = int(np.ceil(self.samples / RATE_HZ * fps - 1e-9))
        frame = np.minimum((times_s * fps).astype(np.int64), frames - 1)
        count = np.bincount(frame, minlength=frames)
        sounding = self.f0_hz > 0
        voiced_count = np.bincount(frame, sounding, frames)
        log_sum = np.bincount(frame[sounding], np.log(self.f0_hz[sounding]), frames)
        voiced = 2 * voiced_count > count
        energy_db = _decibel(np.bincount(frame, self.power, frames) / np.maximum(count, 1))
        f0_hz = np.where(voiced, np.exp(log_sum / np.maximum(voiced_count, 1)), 0.0)
        return Prosody(float(fps), f0_hz.astype(np.float32), voiced, energy_db.astype(np.float32), self.syllables)


def prosody(wave: Wave, fps: float = 25.0) -> Prosody:
    """Prosody of a mono wave (samples,) float32 at 16 kHz, in ceil(duration * fps) frames.

    Raises InputError for a wave without samples or an `fps` that is not between 1 and 100.
    """
    return track_pitch(wave).at(fps)


def track_pitch(wave: Wave) -> PitchTrack:
    """Power and pitch of every 10 ms of a mono wave (samples,) float32 at 16 kHz; InputError for an empty one."""
    if not len(wave):
        raise InputError("a wave with samples", "an empty one", "load a recording with load_voice")
    whole = wave[: len(wave) // _HOP * _HOP].reshape(-1, _HOP)
    power = np.einsum("ij,ij->i", whole, whole).astype(np.float64) / _HOP
    if len(rest := wave[whole.size :]):
        power = np.append(power, np.square(rest, dtype=np.float64).mean())
    audible = _decibel(power) > max(SILENT_DB, _loud_db(power) - SILENT_BELOW_LOUD_DB)
    f0_hz = _yin(wave, audible, *F0_RANGE_HZ)
    if (f0_hz > 0).sum() >= 10:
        low, high = np.percentile(f0_hz[f0_hz > 0], (25, 75))
        f0_hz = _yin(wave, audible, max(F0_RANGE_HZ[0], 0.75 * low), min(F0_RANGE_HZ[1], 2.0 * high))
    return PitchTrack(len(wave), power, _median_smooth(f0_hz))


def _decibel(power: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 10 * np.log10(np.maximum(power, 1e-10))


def _loud_db(power: Hops) -> float:
    return float(np.percentile(_decibel(power), 95))


def _yin(wave: Wave, audible: Bool[np.ndarray, " hops"], low_hz: float, high_hz: float) -> Hops:
    """f0 in Hz by YIN's steps 2 to 5 with a 25 ms window centred on each audible hop, in bounded memory."""
    shortest, longest = int(RATE_HZ / high_hz), int(np.ceil(RATE_HZ / low_hz))
    margin = (_WINDOW + longest - _HOP) // 2
    padded = np.concatenate((np.zeros(margin, np.float32), wave, np.zeros(margin + _HOP + 1, np.float32)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW + longest)
    f0_hz = np.zeros(len(audible))
    wanted = np.flatnonzero(audible)
    for start in range(0, len(wanted), _CHUNK):
        hops = wanted[start : start + _CHUNK]
        f0_hz[hops] = _first_dip(_yin_depth(windows[hops * _HOP], longest), shortest, longest)
    return f0_hz


def _yin_depth(segments: Float32[np.ndarray, "hops length"], longest: int) -> Float[np.ndarray, "hops lags"]:
    """The difference of each segment and itself a lag later, divided by its mean over all shorter lags."""
    size = 1024
    energy = np.cumsum(np.pad(np.square(segments, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    energy = energy[:, _WINDOW:] - energy[:, :-_WINDOW]
    spectrum, head = np.fft.rfft(segments, size), np.fft.rfft(segments[:, :_WINDOW], size)
    product = np.fft.irfft(spectrum * np.conj(head), size)[:, : longest + 1]
    difference = np.maximum(energy[:, :1] + energy[:, : longest + 1] - 2 * product, 0.0)
    mean = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, longest + 1)
    depth = np.ones_like(difference)
    np.divide(difference[:, 1:], mean, out=depth[:, 1:], where=mean > 1e-12)
    return depth


def _first_dip(depth: Float[np.ndarray, "hops lags"], shortest: int, longest: int) -> Hops:
    """f0 at the first local minimum below the threshold, or the deepest one, refined by a parabola; 0 if unvoiced."""
    inner = depth[:, shortest:longest]
    valley = (inner <= depth[:, shortest - 1 : longest - 1]) & (inner <= depth[:, shortest + 1 : longest + 1])
    first = (valley & (inner < YIN_THRESHOLD)).argmax(axis=1)
    deepest = np.where(valley, inner, np.inf).argmin(axis=1)
    row = np.arange(len(depth))
    chosen = np.where(inner[row, first] < YIN_THRESHOLD, first, deepest)
    period = chosen + shortest
    before, at, after = depth[row, period - 1], depth[row, period], depth[row, period + 1]
    bend = before - 2 * at + after
    shift = np.where(bend > 1e-9, 0.5 * (before - after) / np.maximum(bend, 1e-9), 0.0)
    return np.where(valley[row, chosen] & (at < VOICED_BELOW), RATE_HZ / (period + np.clip(shift, -0.5, 0.5)), 0.0)


def _median_smooth(f0_hz: Hops) -> Hops:
    """Median of five 10 ms values; a lone voiced or unvoiced value goes with its surroundings."""
    half = _SMOOTHING // 2
    window = np.lib.stride_tricks.sliding_window_view(np.pad(f0_hz, half), _SMOOTHING)
    count = (window > 0).sum(axis=1)
    ordered = np.sort(np.where(window > 0, window, np.inf), axis=1)
    return np.where(count > half, ordered[np.arange(len(window)), np.maximum(count - 1, 0) // 2], 0.0)


def _syllables(power: Hops, f0_hz: Hops) -> Iterator[Beat]:
    bell = np.hanning(9)[1:-1]
    level_db = _decibel(np.convolve(power, bell / bell.sum(), mode="same") if len(power) >= len(bell) else power)
    kept: list[int] = []  # peaks, and the dips between them
    dips: list[int] = []
    for turn in np.flatnonzero(np.diff(np.sign(np.diff(level_db, prepend=-np.inf, append=-np.inf))) < 0).tolist():
        if kept:
            dip = kept[-1] + int(level_db[kept[-1] : turn + 1].argmin())
            if min(level_db[kept[-1]], level_db[turn]) - level_db[dip] < SYLLABLE_DIP_DB:
                kept[-1] = max(kept[-1], turn, key=lambda hop: level_db[hop])
                continue
            dips.append(dip)
        kept.append(turn)
    peaks = np.array(kept, np.int64)
    voiced = f0_hz[peaks] > 0
    lengths_s = np.clip(np.diff([0, *dips, len(level_db)])[: len(peaks)] * HOP_S, 0.05, 0.5)[voiced]
    peaks = peaks[voiced]
    times_s = (peaks + 0.5) * HOP_S
    pitch = 12 * np.log2([f0_hz[max(0, peak - 5) : peak + 6].max() for peak in peaks])
    loud, length = level_db[peaks], np.log2(lengths_s)
    first = np.searchsorted(times_s, times_s - _NEIGHBOURS_S)
    last = np.searchsorted(times_s, times_s + _NEIGHBOURS_S)
    for i, time_s in enumerate(times_s):
        near = slice(first[i], last[i])
        louder_db, longer, higher = (float(x[i] - np.median(x[near])) for x in (loud, length, pitch))
        lean = 0.5 * louder_db / 6 + 0.3 * longer + 0.2 * higher / 4
        yield Beat(float(time_s), float(np.clip(lean, 0.0, 1.0)))
