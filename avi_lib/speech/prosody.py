"""Prosody: pitch, voicing and loudness of every video frame, and the syllables on which a speaker leans.

>>> melody = prosody(speech.wave)
>>> melody.f0_hz.shape, melody.voiced.mean(), [(b.time_s, b.strength) for b in melody.beats()]

Pitch is YIN (de Cheveigné & Kawahara 2002, "YIN, a fundamental frequency estimator for speech and music"), run twice:
the second time within the range of pitch that the first found (De Looze & Hirst 2008), which takes away octave errors.
Syllables are voiced peaks of intensity (Mermelstein 1975; de Jong & Wempe 2009). A syllable leans out by loudness and
length more than by pitch (Kochanski, Grabe, Coleman & Rosner 2005, "Loudness predicts prominence").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.fft import dct

from avi_lib.errors import InputError
from avi_lib.speech.encoders import SILENT_PEAK

RATE_HZ = 16_000
HOP_S = 0.01
F0_RANGE_HZ = (60.0, 500.0)
YIN_THRESHOLD = 0.15
"""A lag counts as the period from this depth of the normalised difference on (0 = repeats exactly)."""
VOICED_BELOW = 0.4
"""A frame is voiced below this depth; on real speech this finds the vowels and hardly anything of noise."""
SILENT_DB = -75.0
SILENT_BELOW_LOUD_DB = 35.0
SYLLABLE_DIP_DB = 2.0
BEAT_SPACING_S = 0.35
BEAT_STRENGTH = 0.25

_HOP = round(RATE_HZ * HOP_S)
_WINDOW = 400
_FFT = 1024
_CHUNK = 4096
_SMOOTHING = 5
_NEIGHBOURS_S = 2.0


class Beat(NamedTuple):
    """A syllable: the time of its loudest point and how far it leans out of its neighbours, 0 (not) to 1 (strongly)."""

    time_s: float
    strength: float


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
        near = [self.syllables[start:stop] for start, stop in zip(first, last, strict=True)]
        return tuple(
            beat
            for beat, rivals in zip(self.syllables, near, strict=True)
            if beat.strength >= least and beat == max(rivals, key=lambda rival: (rival.strength, rival.time_s))
        )


def prosody(wave: Float32[np.ndarray, " samples"], fps: float = 25.0) -> Prosody:
    """Prosody of a mono wave (samples,) float32 at 16 kHz, in ceil(duration * fps) frames.

    Raises InputError for a wave without samples or an `fps` that is not between 1 and 100.
    """
    if not len(wave):
        raise InputError("a wave with samples", "an empty one", "load a recording with load_speech")
    if not 1 <= fps <= 1 / HOP_S:
        raise InputError(f"1 to {1 / HOP_S:.0f} frames a second", f"{fps:g}", "25 is the rate of every model here")
    power = _hop_power(wave)
    level_db = _decibel(power)
    audible = level_db > max(SILENT_DB, float(np.percentile(level_db, 95)) - SILENT_BELOW_LOUD_DB)
    f0_hz = _pitch(wave, audible)
    times_s = (np.arange(len(power)) + 0.5) * HOP_S
    frames = int(np.ceil(len(wave) / RATE_HZ * fps - 1e-9))
    frame = np.minimum((times_s * fps).astype(np.int64), frames - 1)
    count = np.bincount(frame, minlength=frames)
    sounding = f0_hz > 0
    voiced_count = np.bincount(frame, sounding, frames)
    log_sum = np.bincount(frame[sounding], np.log(f0_hz[sounding]), frames)
    voiced = 2 * voiced_count > count
    energy_db = _decibel(np.bincount(frame, power, frames) / np.maximum(count, 1))
    f0_frames = np.where(voiced, np.exp(log_sum / np.maximum(voiced_count, 1)), 0.0)
    return Prosody(
        fps=float(fps),
        f0_hz=f0_frames.astype(np.float32),
        voiced=voiced,
        energy_db=energy_db.astype(np.float32),
        syllables=tuple(_syllables(power, f0_hz)),
    )


def _decibel(power: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 10 * np.log10(np.maximum(power, 1e-10))


def _hop_power(wave: Float32[np.ndarray, " samples"]) -> Float[np.ndarray, " hops"]:
    """Mean square of each 10 ms; the last one may be shorter."""
    whole = wave[: len(wave) // _HOP * _HOP].reshape(-1, _HOP)
    power = np.einsum("ij,ij->i", whole, whole).astype(np.float64) / _HOP
    rest = wave[whole.size :]
    return np.append(power, np.square(rest, dtype=np.float64).mean()) if len(rest) else power


def _pitch(wave: Float32[np.ndarray, " samples"], audible: Bool[np.ndarray, " hops"]) -> Float[np.ndarray, " hops"]:
    """f0 in Hz of each 10 ms, 0 where unvoiced: YIN over the whole range, then over the speaker's."""
    f0_hz = _yin(wave, audible, *F0_RANGE_HZ)
    if (f0_hz > 0).sum() >= 10:
        low, high = np.percentile(f0_hz[f0_hz > 0], (25, 75))
        f0_hz = _yin(wave, audible, max(F0_RANGE_HZ[0], 0.75 * low), min(F0_RANGE_HZ[1], 2.0 * high))
    return _median_smooth(f0_hz)


def _yin(
    wave: Float32[np.ndarray, " samples"], audible: Bool[np.ndarray, " hops"], low_hz: float, high_hz: float
) -> Float[np.ndarray, " hops"]:
    """YIN steps 2 to 5 with a 25 ms window centred on each audible hop, in bounded memory."""
    shortest, longest = int(RATE_HZ / high_hz), int(np.ceil(RATE_HZ / low_hz))
    margin = (_WINDOW + longest - _HOP) // 2
    padded = np.concatenate((np.zeros(margin, np.float32), wave, np.zeros(margin + _HOP + 1, np.float32)))
    segments = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW + longest)
    f0_hz = np.zeros(len(audible))
    wanted = np.flatnonzero(audible)
    for start in range(0, len(wanted), _CHUNK):
        hops = wanted[start : start + _CHUNK]
        f0_hz[hops] = _yin_periods(segments[hops * _HOP], shortest, longest)
    return f0_hz


def _yin_periods(
    segments: Float32[np.ndarray, "hops length"], shortest: int, longest: int
) -> Float[np.ndarray, " hops"]:
    """f0 in Hz of each segment; 0 where no lag makes it repeat."""
    energy = np.cumsum(np.pad(np.square(segments, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    energy = energy[:, _WINDOW:] - energy[:, :-_WINDOW]
    spectrum = np.fft.rfft(segments, _FFT)
    head = np.fft.rfft(segments[:, :_WINDOW], _FFT)
    product = np.fft.irfft(spectrum * np.conj(head), _FFT)[:, : longest + 1]
    difference = np.maximum(energy[:, :1] + energy[:, : longest + 1] - 2 * product, 0.0)
    lag = np.arange(1, longest + 1)
    mean = np.cumsum(difference[:, 1:], axis=1) / lag
    depth = np.ones_like(difference)
    np.divide(difference[:, 1:], mean, out=depth[:, 1:], where=mean > 1e-12)
    return _first_dip(depth, shortest, longest)


def _first_dip(depth: Float[np.ndarray, "hops lags"], shortest: int, longest: int) -> Float[np.ndarray, " hops"]:
    """The first local minimum below the threshold, or the deepest one; refined by a parabola."""
    inner = depth[:, shortest:longest]
    valley = (inner <= depth[:, shortest - 1 : longest - 1]) & (inner <= depth[:, shortest + 1 : longest + 1])
    first = (valley & (inner < YIN_THRESHOLD)).argmax(axis=1)
    deepest = np.where(valley, inner, np.inf).argmin(axis=1)
    row = np.arange(len(depth))
    chosen = np.where(inner[row, first] < YIN_THRESHOLD, first, deepest)
    period: Int[np.ndarray, " hops"] = chosen + shortest
    before, at, after = depth[row, period - 1], depth[row, period], depth[row, period + 1]
    bend = before - 2 * at + after
    shift = np.where(bend > 1e-9, 0.5 * (before - after) / np.maximum(bend, 1e-9), 0.0)
    return np.where(valley[row, chosen] & (at < VOICED_BELOW), RATE_HZ / (period + np.clip(shift, -0.5, 0.5)), 0.0)


def _median_smooth(f0_hz: Float[np.ndarray, " hops"]) -> Float[np.ndarray, " hops"]:
    """Median of five 10 ms values; a lone voiced or unvoiced value goes with its surroundings."""
    half = _SMOOTHING // 2
    window = np.lib.stride_tricks.sliding_window_view(np.pad(f0_hz, half), _SMOOTHING)
    known = window > 0
    ordered = np.sort(np.where(known, window, np.inf), axis=1)
    count = known.sum(axis=1)
    middle = ordered[np.arange(len(window)), np.maximum(count - 1, 0) // 2]
    return np.where(count > half, middle, 0.0)


def _syllables(power: Float[np.ndarray, " hops"], f0_hz: Float[np.ndarray, " hops"]) -> Iterator[Beat]:
    """Voiced peaks of the smoothed intensity, at least 2 dB above the dips beside them, with their strength."""
    bell = np.hanning(9)[1:-1]
    level_db = (
        _decibel(np.convolve(power, bell / bell.sum(), mode="same")) if len(power) >= len(bell) else _decibel(power)
    )
    peaks, lengths_s = _peaks(level_db, f0_hz > 0)
    if not len(peaks):
        return
    times_s = (peaks + 0.5) * HOP_S
    pitch = 12 * np.log2([f0_hz[max(0, p - 5) : p + 6].max() for p in peaks])
    loud, length = level_db[peaks], np.log2(lengths_s)
    first = np.searchsorted(times_s, times_s - _NEIGHBOURS_S)
    last = np.searchsorted(times_s, times_s + _NEIGHBOURS_S)
    for i, time_s in enumerate(times_s):
        near = slice(first[i], last[i])
        louder_db, longer, higher = (float(x[i] - np.median(x[near])) for x in (loud, length, pitch))
        lean = 0.5 * louder_db / 6 + 0.3 * longer + 0.2 * higher / 4
        yield Beat(float(time_s), float(np.clip(lean, 0.0, 1.0)))


def _peaks(
    level_db: Float[np.ndarray, " hops"], voiced: Bool[np.ndarray, " hops"]
) -> tuple[Int[np.ndarray, " syllables"], Float[np.ndarray, " syllables"]]:
    """Hops of the voiced peaks and the seconds between the dips around each (at most 0.5)."""
    turns = np.flatnonzero(np.diff(np.sign(np.diff(level_db, prepend=-np.inf, append=-np.inf))) < 0)
    kept: list[int] = []
    dips: list[int] = []
    for turn in turns:
        if kept:
            dip = kept[-1] + int(level_db[kept[-1] : turn + 1].argmin())
            if min(level_db[kept[-1]], level_db[turn]) - level_db[dip] < SYLLABLE_DIP_DB:
                kept[-1] = max(kept[-1], int(turn), key=lambda hop: level_db[hop])
                continue
            dips.append(dip)
        kept.append(int(turn))
    edges = np.array([0, *dips, len(level_db)])
    peaks = np.array(kept, np.int64)
    ok = voiced[peaks] if len(peaks) else np.zeros(0, bool)
    return peaks[ok], np.clip(np.diff(edges)[: len(peaks)] * HOP_S, 0.05, 0.5)[ok]


# Manner: how something is said, in numbers that hold in another room, through another microphone, by another voice.


HOP = RATE_HZ // 100
WINDOW = 400
FFT = 512
ACTIVE_DB = 35.0
"""A frame sounds when it is at most this far below the clip's loud parts (95th percentile)."""
CEPSTRA = 12
BANDS = 26
LEAST_SOUND = 10
"""Frames of 10 ms that must sound, or there is no manner to tell and every number is 0."""

FUNCTIONALS = (
    "f0_median_st", "f0_low_st", "f0_high_st", "f0_spread_st", "f0_movement_st", "f0_slope_st_s", "voiced",
    "level_low_db", "level_high_db", "level_spread_db", "level_movement_db", "shimmer_db", "sounding",
    "alpha_with_level", "f0_with_level", "flux", "syllables_s", "voiced_run_s", "pause_run_s",
    *(f"cepstrum_{i + 1}_mean" for i in range(4)),
    *(f"cepstrum_{i + 1}_spread" for i in range(CEPSTRA)),
)  # fmt: skip
"""Names of the numbers."""


def functionals(wave: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " functionals"]:
    """The numbers named in `FUNCTIONALS` for a wave (samples,) float32 at 16 kHz; zeros where next to nothing sounds.

    Raises InputError for a wave without samples.
    """
    wave = wave / np.float32(max(float(np.abs(wave).max(initial=0.0)), SILENT_PEAK))
    heard = prosody(wave, fps=100.0)
    power = _spectra(wave)
    frames = min(len(power), len(heard.f0_hz))
    power, f0_hz, voiced = power[:frames], heard.f0_hz[:frames].astype(np.float64), heard.voiced[:frames]
    level = heard.energy_db[:frames].astype(np.float64)
    sounding = level > max(-75.0, float(np.percentile(level, 95)) - ACTIVE_DB) if frames else np.zeros(0, bool)
    if sounding.sum() < LEAST_SOUND:
        return np.zeros(len(FUNCTIONALS), np.float32)
    spoken = sounding & voiced if (sounding & voiced).sum() >= LEAST_SOUND else sounding
    semitones = 12 * np.log2(np.maximum(f0_hz, 1.0) / 65.0)
    numbers = [
        *_pitch_manner(semitones, voiced & sounding),
        float(voiced[sounding].mean()),
        *_loudness(level, sounding, spoken),
        float(sounding.mean()),
        _together(_balance_db(power), level, spoken),
        _together(semitones, level, voiced & sounding),
        _flux(power, sounding),
        len(heard.syllables) / max(float(sounding.sum()) / 100, 0.2),
        _run_s(voiced & sounding),
        _run_s(~sounding),
    ]
    cepstra = _cepstra(power)[spoken]
    numbers += [*cepstra[:, :4].mean(axis=0), *cepstra.std(axis=0)]
    return np.nan_to_num(np.array(numbers, np.float32))


def _spectra(wave: Float32[np.ndarray, " samples"]) -> Float[np.ndarray, "frames bins"]:
    """Power of the bins of each 10 ms, windows of 25 ms centred on it."""
    frames = -(-len(wave) // HOP)
    before = (WINDOW - HOP) // 2
    padded = np.pad(wave, (before, frames * HOP + WINDOW - len(wave)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: frames * HOP : HOP]
    spectrum = np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32), FFT)
    return np.square(np.abs(spectrum)) + 1e-9


_HZ = np.fft.rfftfreq(FFT, 1 / RATE_HZ)


def _balance_db(power: Float[np.ndarray, "frames bins"]) -> Float[np.ndarray, " frames"]:
    """Energy above 1 kHz against that below, the alpha ratio."""
    high, low = ((_HZ >= 1000) & (_HZ < 5000)), ((_HZ >= 50) & (_HZ < 1000))
    return 10 * np.log10(power[:, high].sum(1) / power[:, low].sum(1))


def _spread(values: Float[np.ndarray, " n"]) -> list[float]:
    low, median, high = np.percentile(values, (10, 50, 90))
    return [float(median), float(low - median), float(high - median), float(values.std())]


def _pitch_manner(semitones: Float[np.ndarray, " frames"], voiced: Bool[np.ndarray, " frames"]) -> list[float]:
    if voiced.sum() < LEAST_SOUND:
        return [0.0] * 6
    values = semitones[voiced]
    median, low, high, spread = _spread(values)
    steps = np.diff(semitones)[voiced[1:] & voiced[:-1]]
    steps = steps[np.abs(steps) < 5]
    times = np.flatnonzero(voiced) / 100
    slope = float(np.polyfit(times - times.mean(), values, 1)[0]) if np.ptp(times) > 0.2 else 0.0
    return [
        median,
        low,
        high,
        spread,
        float(np.abs(steps).mean()) if len(steps) else 0.0,
        float(np.clip(slope, -30, 30)),
    ]


def _loudness(
    level: Float[np.ndarray, " frames"], sounding: Bool[np.ndarray, " frames"], spoken: Bool[np.ndarray, " frames"]
) -> list[float]:
    _, low, high, spread = _spread(level[sounding])
    steps = np.abs(np.diff(level))
    moved, shimmer = (steps[here[1:] & here[:-1]] for here in (sounding, spoken))
    return [
        low,
        high,
        spread,
        float(moved.mean()) if len(moved) else 0.0,
        float(np.median(shimmer)) if len(shimmer) else 0.0,
    ]


def _together(
    a: Float[np.ndarray, " frames"], b: Float[np.ndarray, " frames"], here: Bool[np.ndarray, " frames"]
) -> float:
    """Correlation of two measures over frames; 0 where one of them stands still."""
    if here.sum() < LEAST_SOUND or min(a[here].std(), b[here].std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(a[here], b[here])[0, 1])


def _flux(power: Float[np.ndarray, "frames bins"], sounding: Bool[np.ndarray, " frames"]) -> float:
    """How far the shape of the spectrum moves from frame to frame."""
    shape = np.sqrt(power / power.sum(1, keepdims=True))
    here = sounding[1:] & sounding[:-1]
    return float(np.linalg.norm(np.diff(shape, axis=0)[here], axis=1).mean()) if here.any() else 0.0


def _run_s(here: Bool[np.ndarray, " frames"]) -> float:
    """Mean length of the stretches where something holds, in seconds."""
    starts = int((np.diff(here.astype(np.int8), prepend=0) == 1).sum())
    return float(here.sum()) / 100 / starts if starts else 0.0


def _cepstra(power: Float[np.ndarray, "frames bins"]) -> Float[np.ndarray, "frames cepstra"]:
    """Mel-frequency cepstral coefficients 1 to 12 (Davis & Mermelstein 1980)."""
    return dct(np.log(power @ _MEL.T + 1e-9), axis=1, norm="ortho")[:, 1 : CEPSTRA + 1]


def _mel_bank() -> Float[np.ndarray, "bands bins"]:
    lowest, highest = (2595 * float(np.log10(1 + hz / 700)) for hz in (60.0, 7600.0))
    edges_hz = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    rise = (_HZ - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    fall = (edges_hz[2:, None] - _HZ) / np.diff(edges_hz)[1:, None]
    return np.maximum(0, np.minimum(rise, fall))


_MEL = _mel_bank()
