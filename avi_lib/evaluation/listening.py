"""Listening, measured: how often the feeling that is heard is the one that was meant, and how sure one may be of it.

>>> verdict = Verdict.of(shares, meant)            # (clips, emotions) probabilities, names
>>> verdict.accuracy, verdict.recall, verdict.calibration_error
(0.71, 0.69, 0.06)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from avi_lib.instruction.answers import FEELINGS
from avi_lib.instruction.instructor_model import InstructorModel, stack
from avi_lib.instruction.prototypes import EMOTIONS
from avi_lib.speech.hearing import Hearing
from avi_lib.stages.hearing_bank import HeardClip, HearingBank

BATCH = 64
BINS = 10
"""Of confidence, for the calibration error."""

Shares = Float[np.ndarray, "clips emotions"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """Probabilities of `EMOTIONS` for clips, and the emotion each was meant to have."""

    shares: Shares
    meant: tuple[str, ...]

    @property
    def heard(self) -> list[str]:
        """The likeliest emotion of each clip."""
        return [EMOTIONS[number] for number in self.shares.argmax(axis=1)]

    @property
    def right(self) -> list[bool]:
        """Whether it is the one that was meant."""
        return [a == b for a, b in zip(self.heard, self.meant, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of clips heard as they were meant."""
        return float(np.mean(self.right))

    @property
    def recall(self) -> float:
        """Mean over emotions of the share of their clips that are heard as they were meant (unweighted recall)."""
        return recall(self.heard, self.meant)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, in bins of equal width (Guo et al. 2017)."""
        sure, right = self.shares.max(axis=1), np.array(self.right, float)
        number = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [abs(sure[number == n].sum() - right[number == n].sum()) for n in range(BINS)]
        return float(np.sum(gaps) / len(sure))

    def confusion(self) -> Float[np.ndarray, "emotions emotions"]:
        """Share of each meant emotion (row) that is heard as another (column)."""
        counts = np.zeros((len(EMOTIONS), len(EMOTIONS)))
        for meant, heard in zip(self.meant, self.heard, strict=True):
            counts[EMOTIONS.index(meant), EMOTIONS.index(heard)] += 1
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def recall(heard: Sequence[str | None], meant: Sequence[str]) -> float:
    """Mean over the emotions that were meant of the share of their clips that are heard so."""
    shares = []
    for emotion in sorted(set(meant)):
        here = [a == emotion for a, b in zip(heard, meant, strict=True) if b == emotion]
        shares.append(np.mean(here))
    return float(np.mean(shares))


def folds(bank: HearingBank, count: int) -> Iterator[tuple[HearingBank, HearingBank]]:
    """Banks for training and for measuring, by speaker: every corpus' speakers are dealt out in turn."""
    for number in range(count):
        held = {
            (corpus, speaker)
            for corpus in {clip.corpus for clip in bank.clips}
            for speaker in sorted({clip.speaker for clip in bank.clips if clip.corpus == corpus})[number::count]
        }
        out = [(clip.corpus, clip.speaker) in held for clip in bank.clips]
        yield bank.select([not each for each in out]), bank.select(out)


@torch.inference_mode()
def nearest(model: InstructorModel, hearings: Sequence[Hearing]) -> Float[np.ndarray, "clips feelings"]:
    """Probabilities of `FEELINGS` for clips, by where these lie among the sentences: nothing is written."""
    found = []
    for first in range(0, len(hearings), BATCH):
        ear = model.listen(stack(hearings[first : first + BATCH]))
        found.append(model.likeness(model.meaning(ear), model.anchors).softmax(dim=1))
    return torch.cat(found).numpy().astype(np.float64)


def by_emotion(shares: Float[np.ndarray, "clips feelings"], among: Sequence[str] = EMOTIONS) -> Shares:
    """Probabilities of emotions from those of feelings, of some emotions only where these are named."""
    summed = np.zeros((len(shares), len(EMOTIONS)))
    for number, feeling in enumerate(FEELINGS):
        if feeling.emotion in among:
            summed[:, EMOTIONS.index(feeling.emotion)] += shares[:, number]
    return summed / np.maximum(summed.sum(axis=1, keepdims=True), 1e-12)


def level_agreement(heard: Sequence[tuple[str | None, int | None]], clips: Sequence[HeardClip]) -> float:
    """Share of the clips of level 2 or 3 that are heard as strong or not as they are, whatever the emotion heard."""
    right = [
        (level == 3) == (clip.level == 3) for (_, level), clip in zip(heard, clips, strict=True) if clip.level in (2, 3)
    ]
    return float(np.mean(right)) if right else float("nan")
