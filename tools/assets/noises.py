"""Short noises that are no speech: breaths, clicks, knocks, keys, hisses, beeps, for scenes and benchmarks.

>>> inhaled = make_noise("breath", duration_s=0.4, dbfs=-45.0, rng=np.random.default_rng(7))
"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Float64

from avi_lib.errors import InputError
from avi_lib.speech.augment import Gains, Maker, Wave, at_level, band_gains, filtered
from avi_lib.speech.encoders import RATE_HZ


def make_noise(kind: str, duration_s: float, dbfs: float, rng: np.random.Generator) -> Wave:
    """A short noise, one of NOISES, in round(duration_s * 16000) samples, its sounding part at a level.

    Raises InputError for another kind and for less than 20 ms.
    """
    if kind not in NOISES or duration_s < 0.02:
        got = f"{kind!r} of {duration_s:g} s"
        raise InputError(f"a noise of {', '.join(NOISES)} and at least 0.02 s", got, "choose one of them")
    return at_level(NOISES[kind](round(duration_s * RATE_HZ), rng).astype(np.float32), dbfs)


def _breath(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Air drawn in: noise with the resonances of an open throat, that swells and stops sooner than it began."""
    peaks_hz, widths = rng.uniform((700, 1700, 3200), (1300, 2700, 5500)), rng.uniform(0.25, 0.5, 3)
    low_hz, high_hz = rng.uniform((150, 4500), (400, 7800))

    def gains(hz: Float64[np.ndarray, " bins"]) -> Float64[np.ndarray, " bins"]:
        octaves = np.log2(np.maximum(hz, 20.0)[:, None] / peaks_hz)
        resonances = (np.exp(-0.5 * (octaves / widths) ** 2) * (1.0, 0.7, 0.4)).sum(axis=1)
        return (0.1 + resonances) * band_gains(hz, (low_hz, high_hz))

    part = np.linspace(0.0, 1.0, samples)
    swell = part ** rng.uniform(0.8, 1.6) * (1 - part) ** rng.uniform(0.4, 0.9)
    flutter = np.interp(part, np.linspace(0, 1, 12), rng.uniform(0.75, 1.0, 12))
    return _shaped(samples, gains, rng) * swell * flutter


def _hiss(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Air from a valve, paper, a coat."""
    low_hz, high_hz = rng.uniform((800, 5000), (3500, 7900))
    part = np.linspace(0.0, 1.0, samples)
    rustle = np.interp(part, np.linspace(0, 1, 10), rng.uniform(0.3, 1.0, 10))
    return _shaped(samples, lambda hz: band_gains(hz, (low_hz, high_hz)), rng) * rustle * _faded(samples)


def _tone(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A beep with a few overtones."""
    base_hz, times_s = np.exp(rng.uniform(np.log(120), np.log(3000))), np.arange(samples) / RATE_HZ
    strengths = rng.uniform(0.0, 0.5, 4) * (rng.random() < 0.5)
    strengths[0] = 1.0
    parts = [a * np.sin(2 * np.pi * base_hz * k * times_s) for k, a in enumerate(strengths, 1) if base_hz * k < 7500]
    return np.sum(parts, axis=0) * _faded(samples)


def _hits(
    every_s: float | None,
    resonance_hz: tuple[float, float],
    decay_s: tuple[float, float],
    noise: float,
    samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Damped resonances with a burst of noise, one or two or one in so many seconds, spread over the time there is."""
    count = int(rng.integers(1, 3)) if every_s is None else max(1, round(samples / RATE_HZ / every_s))
    wave, ring = np.zeros(samples), rng.uniform(*resonance_hz, 3)
    for start in np.sort(rng.uniform(0.0, 0.7 if count > 1 else 0.3, count)) * samples:
        at, dies_s = int(start), rng.uniform(*decay_s)
        times_s = np.arange(samples - at) / RATE_HZ
        rung = np.sin(2 * np.pi * ring[:, None] * times_s).sum(axis=0) + noise * rng.standard_normal(len(times_s))
        wave[at:] += rng.uniform(0.5, 1.0) * rung * np.exp(-times_s / dies_s)
    return wave * np.minimum(1.0, (samples - np.arange(samples)) / min(80, samples))


NOISES: dict[str, Maker] = {
    "breath": _breath,
    "exhale": lambda samples, rng: _breath(samples, rng)[::-1].copy(),
    "click": partial(_hits, None, (1000.0, 4500.0), (0.001, 0.004), 0.5),  # lips or tongue coming apart
    "knock": partial(_hits, 0.2, (80.0, 450.0), (0.012, 0.04), 0.15),
    "keys": partial(_hits, 0.13, (1500.0, 5500.0), (0.002, 0.008), 1.0),
    "hiss": _hiss,
    "tone": _tone,
}
"""Short noises by name; each gives its samples at any level."""


def _faded(samples: int) -> np.ndarray:
    edge = min(RATE_HZ // 50, samples // 2)
    return np.interp(np.arange(samples), (0, edge, samples - 1 - edge, samples - 1), (0.0, 1.0, 1.0, 0.0))


def _shaped(samples: int, gains: Gains, rng: np.random.Generator) -> Wave:
    return filtered(rng.standard_normal(samples, np.float32), gains)
