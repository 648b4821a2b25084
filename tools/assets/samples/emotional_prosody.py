"""How an emotion is spoken, by rule: an emotion and a level in, the changes to what the voice predicts by itself out.

The directions at the full level follow Scherer (2003), "Vocal communication of emotion: a review of research
paradigms", Speech Communication 40: anger, joy and fear raise mean F0, F0 range, rate and high-frequency energy;
sadness and boredom lower them. Disgust and contempt are slow and low, surprise is high and wide with a rise at the end
(Murray & Arnott 1993, JASA 93); fear trembles. Level 1 goes a third of the way, level 2 two thirds.

>>> prosody_of("sad", 3, numpy.random.default_rng(0)).speed < 1
True
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np

LEVELS = (1, 2, 3)
AMOUNT_SPREAD = 0.12
SPEED_SPREAD, F0_SPREAD, LEVEL_SPREAD_DB = 0.025, 0.02, 0.8
TREMOR_HZ = 6.5
F0_FPS = 80
HIGHEST_F0 = 2.6


@dataclass(frozen=True)
class Prosody:
    """Changes to a voice's own prosody.

    `speed`, `f0_mean` and `f0_range` are natural logarithms of factors on the rate, on the mean F0 and on the distance
    from it; `final_rise` that of the F0 factor reached at the end, growing over the last 0.6 s; `energy` is added to
    the predicted energy, which is logarithmic; `tilt_db` is the gain above 2 kHz against below 500 Hz; `level_db` is
    the level of the sounding part in dB of full scale; `tremor_semitones` is how far F0 swings to each side.
    """

    speed: float
    f0_mean: float
    f0_range: float
    energy: float
    tilt_db: float
    level_db: float
    final_rise: float = 0.0
    tremor_semitones: float = 0.0


NEUTRAL = Prosody(speed=0.0, f0_mean=0.0, f0_range=0.0, energy=0.0, tilt_db=0.0, level_db=-21.0)
# At level 3; calm, which has one level, as it is.
EMOTIONS = {
    "neutral": NEUTRAL,
    "calm": Prosody(-0.09, -0.05, -0.25, -0.8, -2.0, -23.5),
    "happy": Prosody(0.11, 0.23, 0.36, 1.2, 2.0, -18.5),
    "sad": Prosody(-0.19, -0.10, -0.80, -2.5, -6.0, -27.0),
    "angry": Prosody(0.17, 0.34, 0.30, 2.5, 5.0, -15.5),
    "fear": Prosody(0.20, 0.40, 0.10, 0.6, 2.5, -20.0, tremor_semitones=0.7),
    "disgusted": Prosody(-0.15, -0.16, 0.20, 0.8, -1.0, -21.5, final_rise=-0.08),
    "surprised": Prosody(0.02, 0.26, 0.40, 0.6, 1.0, -19.0, final_rise=0.24),
    "contempt": Prosody(-0.08, -0.11, 0.10, -0.8, 0.5, -23.0, final_rise=-0.16),
    "bored": Prosody(-0.25, -0.13, -1.00, -1.4, -3.0, -24.5),
}


def levels(emotion: str) -> tuple[int, ...]:
    """The levels an emotion is spoken at."""
    return (1,) if emotion in ("neutral", "calm") else LEVELS


def prosody_of(emotion: str, level: int, chance: np.random.Generator) -> Prosody:
    """The prosody of one clip: every change by an amount of its own around the level's, on top of a small variation."""
    way = 1.0 if emotion == "calm" else level / LEVELS[-1]
    plain, full = np.array(astuple(NEUTRAL)), np.array(astuple(EMOTIONS[emotion]))
    amounts = way * (1 + AMOUNT_SPREAD * chance.standard_normal(len(full)).clip(-2, 2))
    spread = {"speed": SPEED_SPREAD, "f0_mean": F0_SPREAD, "level_db": LEVEL_SPREAD_DB}
    variation = np.array([spread.get(field.name, 0.0) for field in fields(Prosody)])
    values = plain + (full - plain) * amounts + variation * chance.standard_normal(len(full)).clip(-2, 2)
    return Prosody(*(float(value) for value in values))


def shaped_f0(f0: np.ndarray, prosody: Prosody) -> np.ndarray:
    """Change the voiced part of a predicted F0 contour (1, 1, frames) in Hz at 80 fps: mean, range, end, tremor."""
    voiced = f0 > 10.0
    mean = f0[voiced].mean()
    contour = mean * np.exp(prosody.f0_mean) * np.exp(np.log(np.maximum(f0, 10.0) / mean) * np.exp(prosody.f0_range))
    times_s = np.arange(f0.shape[-1]) / F0_FPS
    last_s = times_s[np.flatnonzero(voiced[0, 0])[-1]]
    contour *= np.exp(prosody.final_rise * np.clip(1 - (last_s - times_s) / 0.6, 0.0, 1.0))
    contour *= 2 ** (prosody.tremor_semitones / 12 * np.sin(2 * np.pi * TREMOR_HZ * times_s))
    return np.where(voiced, contour.clip(0.55 * mean, HIGHEST_F0 * mean), f0).astype(np.float32)
