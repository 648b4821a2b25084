"""Training the instructor: clips in, a network out that lets a frozen language model write what it hears.

>>> trained = train_instructor(bank, sounds, models, settings, folder=run / "instructor")
>>> save_instructor_model(trained.model, run / "instructor.safetensors", about)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import nn
from torch.nn import functional

from avi_lib.instruction.action_units import prototype
from avi_lib.instruction.grammar import describe
from avi_lib.instruction.instructor import answer_tokens, class_tokens, dialogue
from avi_lib.instruction.instructor_network import (
    EMOTION_CLASSES,
    OPENING,
    OUT_OF_DOMAIN,
    QUESTIONS,
    EmotionClass,
    FeatureBatch,
    InstructorModel,
    InstructorShape,
    Prompter,
    answer,
    pooled,
    stack,
    worded,
)
from avi_lib.instruction.language_model import LanguageModel, answer_loss
from avi_lib.instruction.text_encoder import TextEncoder, encode_texts
from avi_lib.settings import InstructorSettings
from avi_lib.speech.augment import draw_sound
from avi_lib.speech.encoders import SpeechEncoder
from avi_lib.speech.voice import AcousticFeatures, acoustic_features
from avi_lib.training.instructor_data import BankClip, FeatureBank
from avi_lib.training.loop import LogLine, train
from avi_lib.weights import fingerprint

# Alignment: speech comes to lie beside the sentences that say how it is spoken.


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
    """Sentences of all `EMOTION_CLASSES`, and the means of their tokens' states: (feelings, paraphrases, text)."""

    def __init__(self, encoder: TextEncoder, paraphrases: int, seed: int = 0) -> None:
        self.texts = tuple(tuple(_said(label, paraphrases, seed)) for label in EMOTION_CLASSES)
        states = encode_texts([text for texts in self.texts for text in texts], encoder, progress=False)
        means = np.stack([states.of(number).mean(axis=0) for number in range(len(states))])
        self.states = torch.from_numpy(means).unflatten(0, (len(EMOTION_CLASSES), paraphrases))

    @torch.no_grad()
    def places(self, model: InstructorModel) -> Float[torch.Tensor, "classes aligned"]:
        """Where the sentences of every feeling lie, on average."""
        return torch.stack([model.sentences(states) for states in self.states]).mean(dim=1)


def fitting(clip: BankClip) -> list[int]:
    """Indices of the `EMOTION_CLASSES` of a clip: the upper levels of its emotion where its level is not known."""
    every = [number for number, label in enumerate(EMOTION_CLASSES) if label.emotion == clip.emotion]
    if clip.level is None:
        return every[-2:]
    return [number for number in every if EMOTION_CLASSES[number].level == clip.level]


def _said(label: EmotionClass, paraphrases: int, seed: int) -> list[str]:
    """Sentences that name the feeling, every other one with action units of its prototype."""
    rng = np.random.default_rng([seed, EMOTION_CLASSES.index(label)])
    units = prototype(*label)
    said = []
    for number in range(paraphrases):
        names = rng.permutation(sorted(units))[: number % 2 * int(rng.integers(1, 4))]
        said.append(describe({str(name): units[str(name)] for name in names}, *label, rng=rng))
    return said


def balanced(clips: Sequence[BankClip], rounds: int = ROUNDS) -> Int64[np.ndarray, " rounds"]:
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
    """

    def __init__(
        self,
        bank: FeatureBank,
        sounds: Sequence[AcousticFeatures],
        sentences: Sentences,
        settings: InstructorSettings,
    ) -> None:
        self.bank, self.sounds, self.sentences, self.settings = bank, sounds, sentences, settings
        self.order = balanced(bank.clips)
        fits = torch.zeros(len(bank.clips), len(EMOTION_CLASSES), dtype=torch.bool)
        for number, clip in enumerate(bank.clips):
            fits[number, fitting(clip)] = True
        self.fits = fits

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the items of these numbers; "loss" is their weighted sum."""
        assert isinstance(model, InstructorModel)
        device = model.temperature.device
        numbers = self.order[items]
        hearings = [varied(self.bank.views[number], rng, self.settings) for number in numbers]
        hearings += [self.sounds[int(rng.integers(len(self.sounds)))] for _ in range(-(-len(items) // SOUNDS_SHARE))]
        embedding = model.embed_speech(_to(stack(hearings), device))
        here = slice(0, len(items))
        drawn = torch.from_numpy(rng.integers(self.sentences.states.shape[1], size=len(EMOTION_CLASSES)))
        states = self.sentences.states[torch.arange(len(drawn)), drawn].to(device)
        sentences = model.sentences(states)
        fits = self.fits[torch.from_numpy(numbers)].to(device)
        speech = torch.zeros(len(hearings), device=device)
        speech[here] = 1
        losses = {
            "states": info_nce(model.likeness(embedding.states[here], sentences), fits, self.settings.smoothing),
            "speech": functional.binary_cross_entropy_with_logits(embedding.speech, speech),
        }
        losses["loss"] = losses["states"] + SOUND_WEIGHT * losses["speech"]
        if self.settings.manner:
            losses["functionals"] = info_nce(
                model.likeness(embedding.functionals[here], sentences), fits, self.settings.smoothing
            )
            losses["loss"] = losses["loss"] + losses["functionals"]
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


def varied(
    views: Sequence[AcousticFeatures], rng: np.random.Generator, settings: InstructorSettings
) -> AcousticFeatures:
    """One of a clip's views, often cut at its ends, often with a part hidden."""
    states, contour, functionals = views[int(rng.integers(len(views)))]
    steps = len(contour)
    if steps > SHORTEST and rng.random() < CROP:
        first = int(rng.integers(steps // CROP_SHARE + 1))
        last = max(first + SHORTEST, steps - int(rng.integers(steps // CROP_SHARE + 1)))
        states, contour, steps = states[:, first:last], contour[first:last], min(last, steps) - first
    if settings.masked and rng.random() < HIDE:
        hidden = int(rng.integers(int(steps * settings.masked) + 1))
        first = int(rng.integers(steps - hidden + 1))
        kept = np.r_[0:first, first + hidden : steps]
        states, contour = states[:, kept], contour[kept]
    return AcousticFeatures(states, contour, functionals)


def _to(heard: FeatureBatch, device: torch.device) -> FeatureBatch:
    return FeatureBatch(*(value.to(device) for value in vars(heard).values()))


# Writing: the projection learns to tell a frozen language model what was heard, so that it writes the sentence.


ESTRANGED = 0.3
"""Share of clips whose states count as little as those of another world: their prompts come to be read too."""
BELIEFS = 4096
"""Items of an epoch of drawn beliefs."""
CONSIDERED = 5
"""Feelings that a drawn belief considers, at most."""
APART = 3.0
"""How far these lie about the same logit; all others lie far below."""
FAR, SPREAD = -6.0, 1.5


class BeliefLosses:
    """The losses of a batch of drawn beliefs, as the training loop asks for them."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language
        self.opening = language.tokens(OPENING)
        self.names = class_tokens(language)
        self.places = [range(len(self.opening), len(self.opening) + len(name)) for name in self.names]

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """The loss of as many beliefs as there are items."""
        assert isinstance(model, nn.ModuleDict)
        belief = drawn_beliefs(len(items), rng)
        shares = belief.softmax(dim=1)
        classes = [int(rng.choice(len(EMOTION_CLASSES), p=(row / row.sum()).numpy())) for row in shares.double()]
        answers = [answer_tokens(self.language, answer(*EMOTION_CLASSES[number]))[0] for number in classes]
        asked = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        before = dialogue(self.language, model["prompter"](belief), asked)
        ids, weights = _side_by_side(self.language, answers, [self.places[number] for number in classes])
        scores = _scores(self.language, before, ids)
        return {"loss": answer_loss(scores, ids, weights) + self._named(scores.log_softmax(dim=2), shares, classes)}

    def _named(
        self,
        logs: Float[torch.Tensor, "clips last vocabulary"],
        shares: Float[torch.Tensor, "clips classes"],
        classes: Sequence[int],
    ) -> torch.Tensor:
        """Cross-entropy with the belief at every place along the names of the feelings that are written.

        What may come next there are the next tokens of all names that begin alike.
        """
        losses = []
        for row, number in enumerate(classes):
            own = self.names[number]
            for place in range(len(own)):
                may = [n for n, name in enumerate(self.names) if name[:place] == own[:place] and len(name) > place]
                told = shares[row, may] / shares[row, may].sum()
                next_tokens = [self.names[n][place] for n in may]
                losses.append(-(told * logs[row, len(self.opening) + place, next_tokens]).sum())
        return torch.stack(losses).mean()


def drawn_beliefs(count: int, rng: np.random.Generator) -> Float[torch.Tensor, "count feelings"]:
    """Logits of all feelings, of which a few are considered."""
    logits = rng.normal(FAR, SPREAD, (count, len(EMOTION_CLASSES)))
    for row in logits:
        few = rng.permutation(len(EMOTION_CLASSES))[: int(rng.integers(1, CONSIDERED + 1))]
        row[few] = rng.uniform(-APART, APART, len(few))
    return torch.from_numpy(logits.astype(np.float32))


class WriteLosses:
    """The losses of a batch of clips, as the training loop asks for them.

    Attributes:
        order: number of the clip behind every item.
    """

    def __init__(
        self, bank: FeatureBank, model: InstructorModel, language: LanguageModel, settings: InstructorSettings
    ) -> None:
        self.bank, self.model, self.language, self.settings = bank, model, language, settings
        self.order = balanced(bank.clips)

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """The loss of the items of these numbers."""
        assert isinstance(model, nn.ModuleDict)
        clips = [self.bank.clips[number] for number in self.order[items]]
        if "ears" in model:
            ears = model["ears"]
            assert isinstance(ears, InstructorModel)
            aligned = self._heard(ears, self.order[items], rng)
        else:
            aligned = self.align(self.order[items], rng)
        rng.random(len(clips))  # drawn for nothing, so that training repeats that of the shipped weights
        asked = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        prompts = model["prompter"](self.model.likeness(aligned, self.model.anchors), aligned)
        answers = [answer_tokens(self.language, _answer(clip, rng)) for clip in clips]
        open_levels = [at if clip.level is None else range(0) for (_, at), clip in zip(answers, clips, strict=True)]
        ids, weights = _side_by_side(self.language, [tokens for tokens, _ in answers], open_levels)
        scores = _scores(self.language, dialogue(self.language, prompts, asked), ids)
        return {"loss": answer_loss(scores, ids, weights)}

    @torch.no_grad()
    def align(self, numbers: np.ndarray, rng: np.random.Generator) -> Float[torch.Tensor, "clips aligned"]:
        """Where varied views of clips lie, with features left out as in alignment."""
        self.model.train()
        aligned = self._heard(self.model, numbers, rng)
        self.model.eval()
        return aligned

    def _heard(
        self, ears: InstructorModel, numbers: np.ndarray, rng: np.random.Generator
    ) -> Float[torch.Tensor, "clips aligned"]:
        embedding = ears.embed_speech(
            stack([varied(self.bank.views[number], rng, self.settings) for number in numbers])
        )
        strange = torch.from_numpy(rng.random(len(numbers)) < ESTRANGED * self.settings.familiar)
        in_domain = torch.where(strange, torch.full_like(embedding.in_domain, OUT_OF_DOMAIN), embedding.in_domain)
        return in_domain[:, None] * embedding.states + embedding.functionals


def _answer(clip: BankClip, rng: np.random.Generator) -> str:
    """The sentence of a clip, with its own action units where they are known; a level that is not is drawn."""
    may = fitting(clip)
    label = EMOTION_CLASSES[may[int(rng.integers(len(may)))]]
    return worded(label, dict(clip.units)) if clip.units else answer(*label)


def _side_by_side(
    language: LanguageModel, answers: Sequence[Sequence[int]], without: Sequence[Sequence[int]]
) -> tuple[Int64[torch.Tensor, "clips last"], Float[torch.Tensor, "clips last"]]:
    """Tokens of answers, filled up, and what each counts: nothing where it fills up or is one of those `without`."""
    longest = max(map(len, answers))
    ids = torch.tensor([[*tokens, *[language.end] * (longest - len(tokens))] for tokens in answers])
    weights = (torch.arange(longest) < torch.tensor([[len(tokens)] for tokens in answers])).float()
    for row, numbers in zip(weights, without, strict=True):
        row[list(numbers)] = 0
    return ids, weights


def _scores(
    language: LanguageModel,
    before: Float[torch.Tensor, "clips length width"],
    ids: Int64[torch.Tensor, "clips last"],
) -> Float[torch.Tensor, "clips last vocabulary"]:
    """Scores of the answers' tokens behind what was read."""
    whole = torch.cat([before, language.embed(ids[:, :-1])], dim=1)
    return language.scores(whole, ids.shape[1])


USUAL = 24
"""Directions in which the clips of a corpus differ, at most half of all."""
SUMMARISED = 64
"""Hearings that are summarised at once."""


OnLog = Callable[[str, LogLine], None]


@dataclass(frozen=True, eq=False)
class FrozenModels:
    """The models an instructor is trained for; none of their weights changes."""

    encoder: SpeechEncoder
    texts: TextEncoder
    language: LanguageModel


@dataclass(frozen=True, eq=False)
class TrainedInstructor:
    """The network with averaged weights, and the lines of the three logs."""

    model: InstructorModel
    aligned: list[LogLine]
    spoken: list[LogLine]
    written: list[LogLine]


def train_instructor(
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
    spoken: Path | None = None,
) -> TrainedInstructor:
    """Align, then learn to write, or go on with either, in a folder.

    Args:
        bank: the clips of training, heard with the models' speech encoder.
        sounds: what is no speech.
        models: speech encoder, text encoder and language model.
        settings: the recipe.
        folder: where checkpoints and logs are kept, in `align`, `speak` and `write`.
        device: where the alignment is computed; the processor when None.
        progress: as in `train`.
        on_log: called with "align", "speak" or "write" and every line of its log.
        spoken: where the checkpoint of `speak` is kept, below `folder` when None; it depends on no clip, so that
            several trainings may share it.

    Raises:
        AviError: a loss is not finite.
        InputError: the folder holds a checkpoint of something else.
    """
    model, aligned = align(bank, sounds, models, settings, folder, device, progress, on_log)
    model.prompter, said = speak(models.language, model.shape, settings, spoken or folder / "speak", progress, on_log)
    written = write(model, bank, models.language, settings, folder, progress, on_log)
    return TrainedInstructor(model, aligned, said, written)


def align(
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> tuple[InstructorModel, list[LogLine]]:
    """The first part of `train_instructor`: a model whose ears are trained, and the log's lines.

    Without contrast the ears stay as chance made them, and are left to `write`.
    """
    encoder, texts, language = models.encoder, models.texts, models.language
    shape = InstructorShape(
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        states=encoder.dim,
        layers=encoder.layers,
        text_encoder=texts.name,
        text_fingerprint=texts.fingerprint,
        text=texts.dim,
        language_model=language.name,
        language_fingerprint=language.fingerprint,
        width=language.width,
        aligned=settings.aligned,
        features=settings.features,
        queries=settings.queries,
        blocks=settings.blocks,
        heads=settings.heads,
        tokens=settings.tokens,
        hidden=settings.hidden,
        worlds=len(corpora_of(bank)),
        usual=min(USUAL, encoder.dim),
        manner=settings.manner,
        familiar=settings.familiar,
    )
    sentences = Sentences(texts, settings.paraphrases, settings.align.seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.align.seed)
        model = InstructorModel(shape, settings.dropout)
    _normalise(model, bank)
    if not settings.contrast:
        model.anchors.copy_(sentences.places(model.eval()))
        return model, []
    losses = AlignLosses(bank, sounds, sentences, settings)
    trained = train(
        model,
        losses,
        items=len(losses.order),
        settings=settings.align,
        folder=folder / "align",
        recipe=recipe("align", bank, settings, vars(shape)),
        device=device,
        progress=progress,
        on_log=(lambda line: on_log("align", line)) if on_log else None,
    )
    assert isinstance(trained.model, InstructorModel)
    learned = trained.model.cpu().eval()
    learned.anchors.copy_(sentences.places(learned))
    return learned, trained.log


def speak(
    language: LanguageModel,
    shape: InstructorShape,
    settings: InstructorSettings,
    folder: Path,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> tuple[Prompter, list[LogLine]]:
    """The second part: a projection through which the language model says what it is told to believe."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.speak.seed)
        prompter = Prompter(shape)
    prompter.loudness.data.fill_(language.scale)
    kept = [language.fingerprint, *prompter.size, shape.hidden, shape.aligned, settings.speak.model_dump()]
    trained = train(
        nn.ModuleDict({"prompter": prompter}),
        BeliefLosses(language),
        items=BELIEFS,
        settings=settings.speak,
        folder=folder,
        recipe=hashlib.sha256(
            json.dumps([kept, [answer(*f) for f in EMOTION_CLASSES], QUESTIONS]).encode()
        ).hexdigest(),
        progress=progress,
        on_log=(lambda line: on_log("speak", line)) if on_log else None,
    )
    learned = trained.model.get_submodule("prompter")
    assert isinstance(learned, Prompter)
    return learned, trained.log


def write(
    model: InstructorModel,
    bank: FeatureBank,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> list[LogLine]:
    """The third part: the projection of an aligned model is trained on clips, in place; the log's lines.

    Without contrast the ears are trained with it.
    """
    start = fingerprint(model)
    losses = WriteLosses(bank, model.requires_grad_(False), language, settings)
    learner = nn.ModuleDict({"prompter": model.prompter.requires_grad_(True)})
    if not settings.contrast:
        learner["ears"] = _ears(model)
    trained = train(
        learner,
        losses,
        items=len(losses.order),
        settings=settings.write,
        folder=folder / "write",
        recipe=recipe("write", bank, settings, {**vars(model.shape), "start": start}),
        progress=progress,
        on_log=(lambda line: on_log("write", line)) if on_log else None,
    )
    learned = trained.model.get_submodule("prompter")
    assert isinstance(learned, Prompter)
    model.prompter = learned
    if not settings.contrast:
        model.load_state_dict({**model.state_dict(), **trained.model.get_submodule("ears").state_dict()})
    model.eval()
    return trained.log


def _ears(model: InstructorModel) -> InstructorModel:
    """A copy of a model to be trained, without its projection."""
    ears = deepcopy(model).requires_grad_(True)
    ears.prompter = nn.Identity()  # type: ignore[assignment]
    return ears


def sound_features(encoder: SpeechEncoder, count: int, seed: int = 0) -> list[AcousticFeatures]:
    """Hearings of sounds that are no speech, of 1 to 4 seconds."""
    rng = np.random.default_rng([seed, count])
    return [acoustic_features(draw_sound(float(rng.uniform(1, 4)), rng), encoder) for _ in range(count)]


def recipe(part: str, bank: FeatureBank, settings: InstructorSettings, shape: Mapping[str, object]) -> str:
    """What is trained on what: settings but those of the loops, shape, and the bank's content."""
    kept = settings.model_dump(exclude={"align", "speak", "write"})
    return hashlib.sha256(json.dumps([part, bank.digest, kept, dict(shape)], sort_keys=True).encode()).hexdigest()


@torch.no_grad()
def _normalise(model: InstructorModel, bank: FeatureBank) -> None:
    """Set means and deviations, and the directions and the range of what is usual."""
    every = [hearing for views in bank.views for hearing in views]
    sums, squares, count = 0.0, 0.0, 0
    for hearing in every:
        states = hearing.states.astype(np.float64)
        sums, squares = sums + states.sum(axis=1), squares + np.square(states).sum(axis=1)
        count += states.shape[1]
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-8))
    model.qformer.mean.copy_(torch.from_numpy(mean)[:, None])
    model.qformer.deviation.copy_(torch.from_numpy(deviation)[:, None])
    numbers = np.stack([hearing.functionals for hearing in every]).astype(np.float64)
    model.manner_mean.copy_(torch.from_numpy(numbers.mean(axis=0)))
    model.manner_deviation.copy_(torch.from_numpy(numbers.std(axis=0) + 1e-4))
    for world, corpus in enumerate(corpora_of(bank)):
        here = [clip.corpus == corpus for clip in bank.clips]
        own = [hearing for views in bank.select(here).views for hearing in views]
        parts = [stack(own[i : i + SUMMARISED]) for i in range(0, len(own), SUMMARISED)]
        model.usual.learn(world, torch.cat([pooled(part.states, part.there) for part in parts]))


def corpora_of(bank: FeatureBank) -> list[str]:
    """Names of the corpora of a bank, each a world of its own."""
    return sorted({clip.corpus for clip in bank.clips})
