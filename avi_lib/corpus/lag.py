"""How much later than the face the sound comes: measured, reported, never applied.

>>> lag = measure_lag(piece.curves.clip, piece.start_s, speech.wave)
>>> lag.lag_s, lag.correlation
(-0.02, 0.61)

The mouth that `articulate` expects from the recognised phones is shifted against the tracked mouth (jaw opening less
lip closing) to the best correlation. Over the ten GRID videos, which are in step, this finds -0.04 to 0.04 s; the
sound's level in place of the phones finds -0.5 to 0.5 s, since lips part well before the first sound. Slow changes are
taken out of both curves, because a wrong lag fits those as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from avi_lib.errors import InputError
from avi_lib.motion.articulation import articulate
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT
from avi_lib.speech.audio import RATE_HZ
from avi_lib.speech.recognise import recognise_phones

REACH_S = 0.5
"""Largest lag either way that is looked for."""
LOOKED_AT_S = 60.0
"""Time from the start of the motion that is compared; more makes the answer no surer."""
SHORTEST_S = 1.0
"""Motion and sound must share this much at every lag."""

_FINE_FPS = 100.0  # frames a second of the expected mouth, so that lags come in steps of 10 ms
_SLOW_S = 0.5  # standard deviation of the moving mean that is taken out


@dataclass(frozen=True)
class Lag:
    """`lag_s` > 0 when the sound comes after the face; None where it cannot be told, for the `reason` given.

    `correlation` is that of the two mouths at the best lag, None when there was nothing to correlate.
    """

    lag_s: float | None
    correlation: float | None
    reason: str = ""


def chance_correlation(duration_s: float) -> float:
    """What the best lag reaches in one of ten cases with sound of another time.

    Found on an iPhone take of English speech cut into stretches of 3 s, 72 wrong pairs; it falls with the square root
    of the length. Speech with an even rhythm of syllables (Mandarin) comes to 1.3 / sqrt(duration_s) by chance, so a
    correlation near this value deserves doubt.
    """
    return max(0.78 / math.sqrt(duration_s), 0.2)


def measure_lag(clip: MotionClip, start_s: float, wave: Float32[np.ndarray, " samples"]) -> Lag:
    """Lag of the sound behind ARKIT motion that begins `start_s` into the wave (16 kHz)."""
    first = max(round((start_s - REACH_S) * RATE_HZ), 0)
    last = round((start_s + min(clip.duration_s, LOOKED_AT_S) + REACH_S) * RATE_HZ)
    heard = wave[first:last]
    try:
        phones = recognise_phones(heard).phones
    except InputError as error:
        return Lag(None, None, f"the sound cannot be used: {error.got}")
    if not phones:
        return Lag(None, None, "no speech was heard")
    expected = articulate(phones, len(heard) / RATE_HZ, _FINE_FPS)
    openness = expected.values[:, ARKIT.index("jawOpen")] * (1 - expected.closure)
    frames = int(LOOKED_AT_S * clip.fps)
    tracked = (clip["jawOpen"] - clip["mouthClose"])[:frames]
    return best_lag(tracked, clip.fps, openness, _FINE_FPS, first / RATE_HZ - start_s)


def best_lag(
    tracked: Float[np.ndarray, " frames"],
    fps: float,
    expected: Float[np.ndarray, " steps"],
    expected_fps: float,
    expected_start_s: float,
) -> Lag:
    """The lag up to REACH_S at which an expected mouth fits a tracked one best.

    `expected_start_s` is when the expected curve begins, counted from the start of the tracked one.
    """
    quick = tracked - gaussian_filter1d(tracked.astype(np.float64), _SLOW_S * fps)
    awaited = expected - gaussian_filter1d(expected.astype(np.float64), _SLOW_S * expected_fps)
    times_s = (np.arange(len(quick)) + 0.5) / fps
    awaited_s = expected_start_s + (np.arange(len(awaited)) + 0.5) / expected_fps
    steps = round(REACH_S * expected_fps)
    lags_s = np.arange(-steps, steps + 1) / expected_fps
    fits = np.array([_fit(times_s + lag_s, quick, awaited_s, awaited, fps) for lag_s in lags_s])
    if np.isnan(fits).all():
        return Lag(None, None, f"face and sound share less than {SHORTEST_S:g} s, or one of the mouths stays still")
    best = int(np.nanargmax(fits))
    correlation, chance = float(fits[best]), chance_correlation(len(quick) / fps)
    if correlation < chance:
        reason = f"face and sound correlate by {correlation:.2f} at best, under the {chance:.2f} that chance may reach"
        return Lag(None, correlation, reason)
    if best in (0, len(fits) - 1):
        return Lag(None, correlation, f"the best lag is {REACH_S:g} s or more")
    return Lag(float(lags_s[best]), correlation)


def _fit(
    at_s: Float[np.ndarray, " frames"],
    tracked: Float[np.ndarray, " frames"],
    awaited_s: Float[np.ndarray, " steps"],
    awaited: Float[np.ndarray, " steps"],
    fps: float,
) -> float:
    """Correlation over the frames that both curves have; NaN for too few of them or a curve that is flat."""
    shared = (at_s >= awaited_s[0]) & (at_s <= awaited_s[-1])
    if shared.sum() < SHORTEST_S * fps:
        return math.nan
    a, b = tracked[shared], np.interp(at_s[shared], awaited_s, awaited)
    if min(a.std(), b.std()) < 1e-6:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
