"""How well the instructor classifies and writes, on a feature bank of clips whose emotions are labelled.

>>> predictions = predict_bank(instructor, bank)
>>> found = predictions.classified(temperature=1.4)
>>> found.accuracy, found.recall, found.calibration_error
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.metrics import confusion_matrix

from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import Instructor, softened
from avi_lib.instruction.instructor_network import InstructorModel, stack
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.instructor_data import BankClip, FeatureBank

BATCH = 16
NEAREST_BATCH = 64
BINS = 10
"""Of confidence, for the calibration error."""
EVERY = 12
"""Every so many clips one has its sentence written out to the end."""

Shares = Float[np.ndarray, "clips emotions"]


@dataclass(frozen=True, eq=False)
class Classification:
    """Probabilities of `EMOTIONS` for clips, and the emotion each was meant to have."""

    shares: Shares
    meant: tuple[str, ...]

    @property
    def predicted(self) -> list[str]:
        """The likeliest emotion of each clip."""
        return [EMOTIONS[number] for number in self.shares.argmax(axis=1)]

    @property
    def right(self) -> list[bool]:
        """Whether it is the one that was meant."""
        return [a == b for a, b in zip(self.predicted, self.meant, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of clips classified as they were meant."""
        return float(np.mean(self.right))

    @property
    def recall(self) -> float:
        """Unweighted recall of the likeliest emotions."""
        return recall(self.predicted, self.meant)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, in bins of equal width (Guo et al. 2017)."""
        sure, right = self.shares.max(axis=1), np.array(self.right, float)
        number = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [abs(sure[number == n].sum() - right[number == n].sum()) for n in range(BINS)]
        return float(np.sum(gaps) / len(sure))

    def confusion(self) -> Float[np.ndarray, "emotions emotions"]:
        """Share of each meant emotion (row) that is taken for another (column)."""
        return np.asarray(confusion_matrix(self.meant, self.predicted, labels=list(EMOTIONS), normalize="true"))


def recall(predicted: Sequence[str | None], meant: Sequence[str]) -> float:
    """Unweighted recall: the mean over the emotions that were meant of the share of their clips that are found."""
    pairs = list(zip(predicted, meant, strict=True))
    return float(np.mean([np.mean([a == b for a, b in pairs if b == emotion]) for emotion in sorted(set(meant))]))


@torch.inference_mode()
def nearest(model: InstructorModel, clips: Sequence[AcousticFeatures]) -> Float[np.ndarray, "clips classes"]:
    """Probabilities of `EMOTION_CLASSES` for clips, by where these lie among the sentences: nothing is written."""
    found = []
    for first in range(0, len(clips), NEAREST_BATCH):
        embedding = model.embed_speech(stack(clips[first : first + NEAREST_BATCH]))
        found.append(model.likeness(model.align(embedding), model.anchors).softmax(dim=1))
    return torch.cat(found).numpy().astype(np.float64)


def by_emotion(shares: Float[np.ndarray, "clips classes"], among: Sequence[str] = EMOTIONS) -> Shares:
    """Probabilities of emotions from those of emotion classes, of some emotions only where these are named."""
    summed = np.zeros((len(shares), len(EMOTIONS)))
    for number, label in enumerate(EMOTION_CLASSES):
        if label.emotion in among:
            summed[:, EMOTIONS.index(label.emotion)] += shares[:, number]
    return summed / np.maximum(summed.sum(axis=1, keepdims=True), 1e-12)


def level_agreement(predicted: Sequence[tuple[str | None, int | None]], clips: Sequence[BankClip]) -> float:
    """Share of the clips of level 2 or 3 that are taken for strong or not as they are, whatever the emotion."""
    pairs = [(level, clip.level) for (_, level), clip in zip(predicted, clips, strict=True) if clip.level in (2, 3)]
    return float(np.mean([(level == 3) == (true == 3) for level, true in pairs])) if pairs else float("nan")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Log probabilities of `EMOTION_CLASSES` for clips before any temperature, and of there being speech."""

    bank: FeatureBank
    classes: Float32[np.ndarray, "clips classes"]
    speech: Float32[np.ndarray, " clips"]

    def classified(self, temperature: float = 1.0, among: Sequence[str] = EMOTIONS) -> Classification:
        """The emotions, at a temperature of confidence."""
        shares = by_emotion(self.shares(temperature), among)
        return Classification(shares, tuple(clip.emotion for clip in self.bank.clips))

    def shares(self, temperature: float = 1.0) -> Float[np.ndarray, "clips classes"]:
        """Probabilities of `EMOTION_CLASSES`."""
        scores = self.classes.astype(np.float64) / temperature
        scores -= scores.max(axis=1, keepdims=True)
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    def written(self, temperature: float) -> list[tuple[str | None, int | None]]:
        """Emotion and level that sentences name, unsure ones nearer to neutral."""
        rows = np.log(self.shares(temperature) + 1e-12).astype(np.float32)
        return [softened(row, float(speech))[0] for row, speech in zip(rows, self.speech, strict=True)]


def predict_bank(instructor: Instructor, bank: FeatureBank) -> Predictions:
    """Emotion classes of every clip of a bank as it was recorded."""
    chosen = [[views[0]] for views in bank.views]
    found = [instructor.classify(chosen[first : first + BATCH]) for first in range(0, len(bank), BATCH)]
    classes = np.concatenate([each.log_probabilities for each in found])
    return Predictions(bank, classes, np.concatenate([each.speech for each in found]))


def write_out(instructor: Instructor, bank: FeatureBank, every: int = EVERY, free: bool = False) -> list[Instruction]:
    """Sentences of every so many clips."""
    chosen = [[views[0]] for views in bank.views[::every]]
    batches = (chosen[first : first + BATCH] for first in range(0, len(chosen), BATCH))
    return [each.instruction for batch in batches for each in instructor.write(instructor.classify(batch), free=free)]
