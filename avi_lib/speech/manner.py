"""Manner: how something is said, in numbers that hold in another room, through another microphone, by another voice.

>>> manner(speech.wave).shape, MANNER[:3]
((35,), ('f0_median_st', 'f0_low_st', 'f0_high_st'))

Pitch is in semitones, its spread about the clip's own median; loudness is in dB about the clip's own level, so that the
recording's gain is not in it; the movement of both, of the spectrum, and the rate of the syllables say how lively the
speech was. They follow Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set", but for its measures of the
spectrum's balance: those tell a microphone as much as a voice, and a judge of emotion that knows them does worse in a
studio that it was not trained in (logistic regression, unweighted recall of four emotions, RAVDESS to EMO-DB and back:
0.61 and 0.52 with them, 0.69 and 0.56 without).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.fft import dct

from avi_lib.speech.encoder import SILENT_PEAK
from avi_lib.speech.prosody import RATE_HZ, prosody

HOP = RATE_HZ // 100
WINDOW = 400
FFT = 512
ACTIVE_DB = 35.0
"""A frame sounds when it is at most this far below the clip's loud parts (95th percentile)."""
CEPSTRA = 12
BANDS = 26
LEAST_SOUND = 10
"""Frames of 10 ms that must sound, or there is no manner to tell and every number is 0."""

MANNER = (
    "f0_median_st", "f0_low_st", "f0_high_st", "f0_spread_st", "f0_movement_st", "f0_slope_st_s", "voiced",
    "level_low_db", "level_high_db", "level_spread_db", "level_movement_db", "shimmer_db", "sounding",
    "alpha_with_level", "f0_with_level", "flux", "syllables_s", "voiced_run_s", "pause_run_s",
    *(f"cepstrum_{i + 1}_mean" for i in range(4)),
    *(f"cepstrum_{i + 1}_spread" for i in range(CEPSTRA)),
)  # fmt: skip
"""Names of the numbers."""


def manner(wave: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " manner"]:
    """The numbers named in `MANNER` for a wave (samples,) float32 at 16 kHz; zeros where next to nothing sounds.

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
        return np.zeros(len(MANNER), np.float32)
    spoken = sounding & voiced if (sounding & voiced).sum() >= LEAST_SOUND else sounding
    semitones = 12 * np.log2(np.maximum(f0_hz, 1.0) / 65.0)
    numbers = [
        *_pitch(semitones, voiced & sounding),
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


def _pitch(semitones: Float[np.ndarray, " frames"], voiced: Bool[np.ndarray, " frames"]) -> list[float]:
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
