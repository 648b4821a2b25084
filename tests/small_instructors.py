"""A made-up feature bank in which every emotion class looks like itself, and instructors that are trained on it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from conftest import SCRATCH
from small_language_models import llama
from small_priors import Letters

from avi_lib.instruction.instructor_network import UNITS
from avi_lib.settings import InstructorSettings, TrainSettings
from avi_lib.speech.encoders import HOP, WindowedEncoder
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.instructor import FrozenModels, TrainedInstructor, train_instructor
from avi_lib.training.instructor_data import BankClip, FeatureBank

STATES = 6
FELT = {"angry": (2, 3), "sad": (2, 3), "neutral": (1,), "calm": (1,)}
QUICK = TrainSettings(steps=60, batch=16, learning_rate=5e-3, warmup=5, average=0.8, save_every=20, log_every=5)
SETTINGS = InstructorSettings(
    features=32,
    penalty=0.1,
    queries=2,
    blocks=1,
    heads=2,
    aligned=16,
    tokens=3,
    hidden=32,
    views=2,
    paraphrases=2,
    sounds=4,
    align=QUICK.model_copy(update={"steps": 200}),
    speak=QUICK.model_copy(update={"steps": 12, "batch": 4}),
)


class Mirror(WindowedEncoder):
    """A speech encoder whose states are the first samples of every frame."""

    name = reason = fingerprint = "mirror"
    dim, layers, window, overlap = STATES, 1, 10_000, 12

    def _prepare(self, wave: np.ndarray, frames: int) -> np.ndarray:
        return np.pad(wave, (0, frames * HOP - len(wave)))

    def _encode_window(self, prepared: np.ndarray, start: int, stop: int, every_layer: bool) -> np.ndarray:
        return prepared.reshape(-1, HOP)[None, start:stop, :STATES]


def example_features(emotion: str, level: int | None, seed: int, steps: int = 30) -> AcousticFeatures:
    """States that lie in the direction of an emotion, and in another one for the highest level."""
    rng = np.random.default_rng([seed, steps])
    states = rng.normal(0, 0.3, (1, steps, STATES)) + rng.normal(0, 0.1, STATES)
    states[..., list(FELT).index(emotion)] += 2
    states[..., -1] += 2 * (level == 3)
    return states.astype(np.float16)


def bank(speakers: int = 4, views: int = 2) -> FeatureBank:
    """Two corpora: one tells levels, the other has none."""
    clips, every = [], []
    for corpus, with_levels in (("labelled", True), ("unlabelled", False)):
        for speaker in range(speakers):
            for emotion, levels in FELT.items():
                for level in levels if with_levels else levels[-1:]:
                    known = level if with_levels else None
                    name, split = f"{corpus}-{speaker}-{emotion}-{level}", "train" if speaker else "test"
                    clips.append(BankClip(name, corpus, f"s{speaker}", split, emotion, known))
                    every.append(
                        tuple(example_features(emotion, level, 97 * len(every) + v, 24 + speaker) for v in range(views))
                    )
    return FeatureBank(tuple(clips), tuple(every), f"bank of {speakers}, {views}")


def sounds() -> list[AcousticFeatures]:
    """Features unlike any clip's."""
    rng = np.random.default_rng(1)
    return [(rng.normal(0, 0.3, (1, 26, STATES)) - 3).astype(np.float16) for _ in range(4)]


def faces(clips: FeatureBank) -> np.ndarray:
    """Faces of the clips of the corpus that tells levels: the first action unit tells anger, the others nothing."""
    found = np.full((len(clips), len(UNITS)), np.nan)
    for row, clip in zip(found, clips.clips, strict=True):
        if clip.corpus == "labelled":
            row[:] = [2.0 * (clip.emotion == "angry"), *[0.0] * (len(UNITS) - 1)]
    return found


@cache
def frozen() -> FrozenModels:
    """Small frozen models."""
    return FrozenModels(Mirror(), Letters(), llama(Path(tempfile.mkdtemp(dir=SCRATCH))))


@cache
def trained() -> TrainedInstructor:
    """An instructor of the bank; its language model is random, so that it says nothing sensible."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    return train_instructor(bank(), sounds(), faces(bank()), frozen(), SETTINGS, folder, progress=False)
