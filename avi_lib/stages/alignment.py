"""Alignment: speech comes to lie beside the sentences that say how it is spoken.

>>> losses = AlignLosses(bank, sounds, sentences, settings)
>>> train(model, losses, items=len(losses.order), settings=settings.align, folder=folder, recipe=...)

The loss is InfoNCE (van den Oord et al. 2018) between what an ear hears and the text embeddings of the sentences of all
feelings. Each ear has a loss of its own: heard together, the one that knows the studio would keep
the other from learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import nn
from torch.nn import functional

from avi_lib.instruction.answers import FEELINGS, Feeling
from avi_lib.instruction.grammar import describe
from avi_lib.instruction.instructor_model import Heard, InstructorModel, stack
from avi_lib.instruction.prototypes import prototype
from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.instruction.text_states import encode_texts
from avi_lib.settings import InstructorSettings
from avi_lib.speech.hearing import Hearing
from avi_lib.stages.hearing_bank import HeardClip, HearingBank

ROUNDS = 4096
"""Items of an epoch: clips, as often as balance asks for."""
SOUNDS_SHARE = 8
"""One sound that is no speech to so many clips."""
SOUND_WEIGHT = 0.2
HIDE = 0.5
CROP = 0.7
CROP_SHARE = 5
"""At most a fifth of a clip is cut off at either end."""
SHORTEST = 20
"""Steps that a clip keeps."""


class Sentences:
    """Sentences of all `FEELINGS`, and the means of their tokens' states: (feelings, paraphrases, text)."""

    def __init__(self, encoder: TextEncoder, paraphrases: int, seed: int = 0) -> None:
        self.texts = tuple(tuple(_said(feeling, paraphrases, seed)) for feeling in FEELINGS)
        states = encode_texts([text for texts in self.texts for text in texts], encoder, progress=False)
        means = np.stack([states.of(number).mean(axis=0) for number in range(len(states))])
        self.states = torch.from_numpy(means).unflatten(0, (len(FEELINGS), paraphrases))

    @torch.no_grad()
    def places(self, model: InstructorModel) -> Float[torch.Tensor, "feelings aligned"]:
        """Where the sentences of every feeling lie, on average."""
        return torch.stack([model.sentences(states) for states in self.states]).mean(dim=1)


def fitting(clip: HeardClip) -> list[int]:
    """Numbers of the `FEELINGS` that may be a clip's: the upper levels of its emotion where its level is not known."""
    every = [number for number, feeling in enumerate(FEELINGS) if feeling.emotion == clip.emotion]
    if clip.level is None:
        return every[-2:]
    return [number for number in every if FEELINGS[number].level == clip.level]


def _said(feeling: Feeling, paraphrases: int, seed: int) -> list[str]:
    """Sentences that name the feeling, every other one with action units of its prototype."""
    rng = np.random.default_rng([seed, FEELINGS.index(feeling)])
    units = prototype(*feeling)
    said = []
    for number in range(paraphrases):
        names = rng.permutation(sorted(units))[: number % 2 * int(rng.integers(1, 4))]
        said.append(describe({str(name): units[str(name)] for name in names}, *feeling, rng=rng))
    return said


def balanced(clips: Sequence[HeardClip], rounds: int = ROUNDS) -> Int64[np.ndarray, " rounds"]:
    """Numbers of clips so that within a corpus emotions come alike often, and corpora by the root of their size."""
    weights = np.zeros(len(clips))
    corpora = np.array([clip.corpus for clip in clips])
    emotions = np.array([clip.emotion for clip in clips])
    for corpus in np.unique(corpora):
        here = corpora == corpus
        kinds, counts = np.unique(emotions[here], return_counts=True)
        share = dict(zip(kinds.tolist(), (1 / counts).tolist(), strict=True))
        each = np.array([share[emotion] for emotion in emotions[here].tolist()])
        weights[here] = each / each.sum() * math.sqrt(here.sum())
    ends = np.cumsum(weights / weights.sum()) * rounds
    return np.searchsorted(ends, np.arange(rounds) + 0.5).clip(max=len(clips) - 1)


class AlignLosses:
    """The losses of a batch, as the training loop asks for them.

    Attributes:
        order: number of the clip behind every item.
        judge: layers that guess the corpus behind a turned gradient; None without an adversary.
    """

    def __init__(
        self,
        bank: HearingBank,
        sounds: Sequence[Hearing],
        sentences: Sentences,
        settings: InstructorSettings,
    ) -> None:
        self.bank, self.sounds, self.sentences, self.settings = bank, sounds, sentences, settings
        self.order = balanced(bank.clips)
        self.corpora = sorted({clip.corpus for clip in bank.clips})
        fits = torch.zeros(len(bank.clips), len(FEELINGS), dtype=torch.bool)
        for number, clip in enumerate(bank.clips):
            fits[number, fitting(clip)] = True
        self.fits = fits

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the items of these numbers; "loss" is their weighted sum."""
        learner = model
        judge = None
        if isinstance(model, Judged):
            learner, judge = model.learner, model.judge
        assert isinstance(learner, InstructorModel)
        device = learner.temperature.device
        numbers = self.order[items]
        hearings = [varied(self.bank.views[number], rng, self.settings) for number in numbers]
        hearings += [self.sounds[int(rng.integers(len(self.sounds)))] for _ in range(-(-len(items) // SOUNDS_SHARE))]
        ear = learner.listen(_to(stack(hearings), device))
        here = slice(0, len(items))
        drawn = torch.from_numpy(rng.integers(self.sentences.states.shape[1], size=len(FEELINGS)))
        states = self.sentences.states[torch.arange(len(drawn)), drawn].to(device)
        sentences = learner.sentences(states)
        fits = self.fits[torch.from_numpy(numbers)].to(device)
        speech = torch.zeros(len(hearings), device=device)
        speech[here] = 1
        losses = {
            "states": info_nce(learner.likeness(ear.states[here], sentences), fits, self.settings.smoothing),
            "speech": functional.binary_cross_entropy_with_logits(ear.speech, speech),
        }
        losses["loss"] = losses["states"] + SOUND_WEIGHT * losses["speech"]
        if self.settings.manner:
            losses["manner"] = info_nce(learner.likeness(ear.manner[here], sentences), fits, self.settings.smoothing)
            losses["loss"] = losses["loss"] + losses["manner"]
        if judge is not None:
            where = [self.corpora.index(self.bank.clips[number].corpus) for number in numbers]
            guessed = judge(turned(ear.gathered[here], self.settings.adversary * way))
            losses["judge"] = functional.cross_entropy(guessed, torch.tensor(where, device=device))
            losses["loss"] = losses["loss"] + losses["judge"]
        return losses


def info_nce(
    likeness: Float[torch.Tensor, "clips sentences"],
    fits: Float[torch.Tensor, "clips sentences"] | Any,
    smoothing: float,
) -> torch.Tensor:
    """Contrast of the sentences that fit with all others; several that fit share the probability."""
    with torch.autocast(likeness.device.type, enabled=False):
        scores = likeness.float().log_softmax(dim=1)
        fitting = scores.masked_fill(~fits, -math.inf).logsumexp(dim=1)
        return -((1 - smoothing) * fitting + smoothing * scores.mean(dim=1)).mean()


def varied(views: Sequence[Hearing], rng: np.random.Generator, settings: InstructorSettings) -> Hearing:
    """One of a clip's views, often cut at its ends, often with a part hidden."""
    states, melody, manner = views[int(rng.integers(len(views)))]
    steps = len(melody)
    if steps > SHORTEST and rng.random() < CROP:
        first = int(rng.integers(steps // CROP_SHARE + 1))
        last = max(first + SHORTEST, steps - int(rng.integers(steps // CROP_SHARE + 1)))
        states, melody, steps = states[:, first:last], melody[first:last], min(last, steps) - first
    if settings.masked and rng.random() < HIDE:
        hidden = int(rng.integers(int(steps * settings.masked) + 1))
        first = int(rng.integers(steps - hidden + 1))
        kept = np.r_[0:first, first + hidden : steps]
        states, melody = states[:, kept], melody[kept]
    return Hearing(states, melody, manner)


class Judged(nn.Module):
    """A model under training with a judge that guesses from its queries which corpus a clip is of."""

    def __init__(self, learner: InstructorModel, corpora: int) -> None:
        super().__init__()
        self.learner = learner
        self.judge = nn.Sequential(nn.Linear(learner.shape.features, 64), nn.GELU(), nn.Linear(64, corpora))


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def turned(values: torch.Tensor, weight: float) -> torch.Tensor:
    """The values, whose gradient is turned round on its way back (Ganin & Lempitsky 2015)."""
    result: torch.Tensor = _Turn.apply(values, weight)
    return result


def _to(heard: Heard, device: torch.device) -> Heard:
    return Heard(*(value.to(device) for value in vars(heard).values()))
