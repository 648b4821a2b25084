"""Sounds that are no speech: quiet, noise, hum, tones and music, so that a model can learn to tell them from voices.

>>> wave = draw_sound(3.0, np.random.default_rng(7))
>>> wave.shape
(48000,)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from avi_lib.speech.audio import RATE_HZ
from avi_lib.speech.augment import NOISES, at_level, make_noise, room_tone

Wave = Float32[np.ndarray, " samples"]

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10))
"""Steps of the scales that music keeps to, in semitones."""


def draw_sound(duration_s: float, rng: np.random.Generator, kind: str | None = None) -> Wave:
    """A sound of `SOUNDS`, (duration_s * 16000,) float32 at any level; a kind is drawn when None."""
    samples = max(2, round(duration_s * RATE_HZ))
    made = SOUNDS[kind or str(rng.choice(tuple(SOUNDS)))](samples, rng)
    return at_level(made.astype(np.float32), float(rng.uniform(-45, -12)))


def _steady(samples: int, rng: np.random.Generator) -> np.ndarray:
    return room_tone(samples, -30.0, float(rng.uniform(0, 6)), rng)


def _swelling(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that rises and falls, as of wind, rain or traffic."""
    knots = rng.uniform(0.05, 1.0, 2 + samples // RATE_HZ * 2)
    return _steady(samples, rng) * np.interp(np.arange(samples), np.linspace(0, samples, len(knots)), knots)


def _humming(samples: int, rng: np.random.Generator) -> np.ndarray:
    return room_tone(samples, -30.0, 3.0, rng, float(rng.choice((50.0, 60.0, 100.0))), float(rng.uniform(3, 20)))


def _cluttered(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Short noises one after another over a room's tone."""
    wave = room_tone(samples, -55.0, 3.0, rng)
    for _ in range(int(rng.integers(2, 9))):
        short = make_noise(
            str(rng.choice(tuple(NOISES))), float(rng.uniform(0.05, 0.6)), float(rng.uniform(-40, -20)), rng
        )
        at = int(rng.integers(max(1, samples - len(short))))
        wave[at : at + len(short)] += short[: samples - at]
    return wave


def _tone(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A steady or a gliding tone, or beeps."""
    first_hz, last_hz = (float(hz) for hz in rng.uniform(80, 2500, 2))
    hz = np.geomspace(first_hz, last_hz if rng.random() < 0.4 else first_hz, samples)
    wave = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    if rng.random() < 0.4:
        wave = wave * (np.sin(2 * np.pi * rng.uniform(0.5, 4) * np.arange(samples) / RATE_HZ) > 0)
    return wave + 0.01 * rng.standard_normal(samples)


def _music(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Notes of a scale in time: a melody, chords below it, a beat."""
    beat = round(RATE_HZ * 60 / rng.uniform(70, 160))
    scale, root_hz = SCALES[int(rng.integers(len(SCALES)))], rng.uniform(110, 330)
    wave = np.zeros(samples)
    brightness, decay = rng.uniform(0.3, 0.8), rng.uniform(1.5, 8)
    for at in range(0, samples, beat):
        degrees = [int(rng.integers(-3, 10))] + ([0, 2, 4] if rng.random() < 0.5 else [])
        length = min(samples - at, beat * int(rng.integers(1, 3)))
        for degree in degrees:
            semitones = scale[degree % len(scale)] + 12 * (degree // len(scale))
            wave[at : at + length] += _note(root_hz * 2 ** (semitones / 12), length, brightness, decay)
        if rng.random() < 0.4:
            strike = min(samples - at, RATE_HZ // 12)
            wave[at : at + strike] += 0.6 * rng.standard_normal(strike) * np.exp(-np.arange(strike) / (RATE_HZ / 60))
    return wave + 1e-3 * rng.standard_normal(samples)


def _note(hz: float, length: int, brightness: float, decay: float) -> np.ndarray:
    """A tone with harmonics that begins at once and dies away."""
    time_s = np.arange(length) / RATE_HZ
    harmonics = np.arange(1, max(2, min(9, int(7000 / hz))))
    tones = np.sin(2 * np.pi * hz * harmonics[:, None] * time_s) * (brightness ** (harmonics - 1))[:, None]
    return tones.sum(axis=0) * np.exp(-decay * time_s) * np.minimum(1, time_s / 0.008)


SOUNDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "steady": _steady,
    "swelling": _swelling,
    "humming": _humming,
    "cluttered": _cluttered,
    "tone": _tone,
    "music": _music,
}
"""Kinds of sounds; each gives its samples at any level."""
