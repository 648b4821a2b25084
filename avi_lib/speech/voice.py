"""Hearing: what a clip sounds like to the instructor, from a frozen encoder and from measures of the voice itself.

>>> heard = hear(speech.wave, load_encoder())
>>> heard.states.shape, heard.melody.shape, heard.manner.shape
((1, 96, 384), (96, 5), (35,))

States and melody have 25 steps a second.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float16, Float32

from avi_lib.speech.augment import in_another_room
from avi_lib.speech.encoders import FPS, SpeechEncoder
from avi_lib.speech.loading import RATE_HZ
from avi_lib.speech.prosody import functionals, prosody

STEPS_S = 25
CONTOUR = ("pitch", "voiced", "level", "pitch_movement", "level_movement")
"""What a step of the melody holds: semitones about the clip's median in halves of an octave (0 unvoiced), whether it is
voiced, dB below the clip's loud parts (95th percentile) in units of 20, and the change of pitch and level a step."""
RECIPE = 1
"""Part of the address of everything that is kept; to be raised when the way from wave to hearing changes."""
SPEEDS = (0.88, 1.14)
"""Slowest and fastest that another voice is imitated by playing a clip at another speed."""

_HALF_OCTAVE_ST = 6.0
_LEVEL_DB = 20.0
_FLOOR_DB = -60.0

Wave = Float32[np.ndarray, " samples"]


class AcousticFeatures(NamedTuple):
    """One clip: states of every layer the encoder gives, the melody, and the numbers of its manner."""

    states: Float16[np.ndarray, "layers steps dim"]
    contour: Float16[np.ndarray, "steps 5"]
    functionals: Float32[np.ndarray, " manner"]


def acoustic_features(wave: Wave, encoder: SpeechEncoder) -> AcousticFeatures:
    """What a wave (samples,) float32 at 16 kHz sounds like; its recording level makes no difference.

    Raises InputError for an empty wave and samples that are not finite.
    """
    states = encoder.encode_layers(wave)
    every = round(FPS / STEPS_S)
    steps = -(-states.shape[1] // every)
    padded = np.pad(states, ((0, 0), (0, steps * every - states.shape[1]), (0, 0)), mode="edge")
    joined = padded.reshape(len(states), steps, every, -1).mean(axis=2)
    return AcousticFeatures(joined.astype(np.float16), _melody(wave, steps), functionals(wave))


def augmented(wave: Wave, rng: np.random.Generator) -> Float32[np.ndarray, " samples_"]:
    """The wave as somebody else might have said it elsewhere: at another speed one time in two, in another room.

    The speed moves pitch and rate alike and keeps the contour of both.
    """
    if rng.random() < 0.5:
        length = max(2, round(len(wave) / rng.uniform(*SPEEDS)))
        wave = np.interp(np.linspace(0, len(wave) - 1, length), np.arange(len(wave)), wave).astype(np.float32)
    return in_another_room(wave, rng)


def _melody(wave: Wave, steps: int) -> Float16[np.ndarray, "steps 5"]:
    heard = prosody(wave, fps=float(STEPS_S))
    voiced = heard.voiced
    pitch = 12 * np.log2(np.maximum(heard.f0_hz, 1.0))
    pitch = np.where(voiced, pitch - (np.median(pitch[voiced]) if voiced.any() else 0.0), 0.0) / _HALF_OCTAVE_ST
    level = np.maximum(heard.energy_db - np.percentile(heard.energy_db, 95), _FLOOR_DB) / _LEVEL_DB
    columns = [pitch, voiced, level, np.diff(pitch, prepend=pitch[:1]) * voiced, np.diff(level, prepend=level[:1])]
    contour = np.stack(columns, axis=1).astype(np.float16)[:steps]
    return np.pad(contour, ((0, steps - len(contour)), (0, 0)), mode="edge")


# Cutting: where a long recording is parted into clips, in whole video frames.


VIDEO_FPS = 25
SAMPLES = RATE_HZ // VIDEO_FPS
"""Samples of one video frame."""
_PAUSE = 7
"""Frames over which a pause is looked for, about a quarter of a second."""
_FLOOR = 1e-8


def cut_at_pauses(wave: Float32[np.ndarray, " samples"], frames: int, longest: int) -> list[tuple[int, int]]:
    """First and last (exclusive) frame of each part of a wave; parts follow on and have at most `longest` frames.

    Each cut is the quietest quarter of a second in the second half of what a part may be; no part is shorter than half
    of `longest`.
    """
    if frames <= longest:
        return [(0, frames)]
    quiet = _quiet(wave, frames)
    parts, start = [], 0
    while frames - start > longest:
        least = longest // 2
        most = min(longest, frames - start - least)
        end = start + least + int(np.argmin(quiet[start + least : start + most + 1]))
        parts.append((start, end))
        start = end
    return [*parts, (start, frames)]


def cut_evenly(frames: int, longest: int) -> list[tuple[int, int]]:
    """Parts of like length, for motion without sound."""
    count = -(-frames // longest)
    edges = [round(i * frames / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _quiet(wave: Float32[np.ndarray, " samples"], frames: int) -> Float[np.ndarray, " frames"]:
    """Level in dB around the start of each frame."""
    padded = np.pad(wave, (0, max(frames * SAMPLES - len(wave), 0)))[: frames * SAMPLES]
    power = np.square(padded, dtype=np.float32).reshape(frames, SAMPLES).mean(axis=1)
    around = np.convolve(np.pad(power, _PAUSE // 2, mode="edge"), np.full(_PAUSE, 1 / _PAUSE), mode="valid")
    return 10 * np.log10(around + _FLOOR)
