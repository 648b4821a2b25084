"""Training the instructor: clips in, a network out that lets a frozen language model write how they are spoken.

>>> model = untrained(bank, models, settings)
>>> losses = AlignLosses(bank, sounds, sentence_states(models.texts, 8), settings)
>>> losses(model, np.arange(16), np.random.default_rng(0), 0.0)["loss"].backward()
>>> trained = train_instructor(bank, sounds, models, settings, folder=run / "instructor")

Three parts: `align`, speech comes to lie beside the sentences that say how it is spoken; `speak`, a soft prompt makes
the language model name emotion classes of given probabilities; `write`, the same on clips.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple, Unpack, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import nn
from torch.nn import functional

from avi_lib.files import content_sha256
from avi_lib.instruction.action_units import EMOTION_CLASSES, prototype
from avi_lib.instruction.grammar import OPENING, QUESTIONS, answer, describe, worded
from avi_lib.instruction.instructor import answer_tokens, class_tokens, dialogue
from avi_lib.instruction.instructor_network import (
    OUT_OF_DOMAIN,
    FeatureBatch,
    InstructorModel,
    InstructorShape,
    Prompter,
    pooled,
    stack,
)
from avi_lib.instruction.language_model import LanguageModel, TextEncoder, answer_loss, encode_texts
from avi_lib.settings import InstructorSettings
from avi_lib.speech.augment import draw_sound
from avi_lib.speech.encoders import SpeechEncoder
from avi_lib.speech.voice import AcousticFeatures, Voice
from avi_lib.training.instructor_data import BankClip, FeatureBank
from avi_lib.training.loop import How, LogLine, Losses, train
from avi_lib.weights import fingerprint

ROUNDS = 4096
"""Items of an epoch: clips, as often as balance asks for, or drawn probabilities."""
SOUNDS_SHARE = 8
"""One sound that is no speech to so many clips."""
SOUND_WEIGHT = 0.2
HIDE, CROP = 0.5, 0.7
"""Share of clips of which a part is hidden, and of those that are cut at their ends."""
CROP_SHARE = 5
"""At most a fifth of a clip is cut off at either end."""
SHORTEST = 20
"""Steps that a clip keeps."""
AS_OUT_OF_DOMAIN = 0.3
"""Share of clips whose states count as little in writing as those of another training domain."""
CONSIDERED, NEAR = 5, 3.0
"""Classes that drawn logits consider, at most, and how far from 0 these lie."""
FAR, SPREAD = -6.0, 1.5
"""Mean and deviation of the logits of all other classes."""
DIRECTIONS = 24
"""Directions in which the clips of a corpus differ, for the out-of-domain score."""
AT_ONCE = 64

OnLog = Callable[[str, LogLine], None]


class FrozenModels(NamedTuple):
    """The models an instructor is trained for; none of their weights changes."""

    encoder: SpeechEncoder
    texts: TextEncoder
    language: LanguageModel


class TrainedInstructor(NamedTuple):
    """The network with averaged weights, and the lines of the three logs."""

    model: InstructorModel
    aligned: list[LogLine]
    spoken: list[LogLine]
    written: list[LogLine]


def sentence_states(encoder: TextEncoder, paraphrases: int, seed: int = 0) -> Float[torch.Tensor, "classes some text"]:
    """Means of the tokens' states of sentences that name every emotion class, every other one with action units."""
    said = []
    for number, label in enumerate(EMOTION_CLASSES):
        rng, units = np.random.default_rng([seed, number]), prototype(*label)
        for paraphrase in range(paraphrases):
            names = rng.permutation(sorted(units))[: paraphrase % 2 * int(rng.integers(1, 4))]
            said.append(describe({str(name): units[str(name)] for name in names}, *label, rng=rng))
    states = encode_texts(said, encoder, progress=False)
    means = np.stack([states.of(number).mean(axis=0) for number in range(len(states))])
    return torch.from_numpy(means).unflatten(0, (len(EMOTION_CLASSES), paraphrases))


@torch.no_grad()
def place_anchors(model: InstructorModel, sentences: Float[torch.Tensor, "classes some text"]) -> None:
    """Set the anchors: where the sentences of every class lie, on average."""
    model.anchors.copy_(torch.stack([model.sentences(states) for states in sentences]).mean(dim=1))


def fitting(clip: BankClip) -> list[int]:
    """Indices of the `EMOTION_CLASSES` of a clip: the upper levels of its emotion where its level is not known."""
    every = [number for number, label in enumerate(EMOTION_CLASSES) if label.emotion == clip.emotion]
    if clip.level is None:
        return every[-2:]
    return [number for number in every if EMOTION_CLASSES[number].level == clip.level]


def balanced(clips: Sequence[BankClip], rounds: int = ROUNDS) -> Int64[np.ndarray, " rounds"]:
    """Numbers of clips so that within a corpus emotions come alike often, and corpora by the root of their size."""
    weights = np.zeros(len(clips))
    corpora, emotions = (np.array([getattr(clip, name) for clip in clips]) for name in ("corpus", "emotion"))
    for corpus in np.unique(corpora):
        here = corpora == corpus
        _, kind, counts = np.unique(emotions[here], return_inverse=True, return_counts=True)
        each = (1 / counts)[kind]
        weights[here] = each / each.sum() * math.sqrt(here.sum())
    ends = np.cumsum(weights / weights.sum()) * rounds
    return np.searchsorted(ends, np.arange(rounds) + 0.5).clip(max=len(clips) - 1)


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


class AlignLosses:
    """Contrast of speech with sentences, as the training loop asks for it; `order` is the clip behind every item."""

    def __init__(
        self,
        bank: FeatureBank,
        sounds: Sequence[AcousticFeatures],
        sentences: Float[torch.Tensor, "classes some text"],
        settings: InstructorSettings,
    ) -> None:
        self.bank, self.sounds, self.sentences, self.settings = bank, sounds, sentences, settings
        self.order = balanced(bank.clips)
        self.fits = torch.zeros(len(bank.clips), len(EMOTION_CLASSES), dtype=torch.bool)
        for number, clip in enumerate(bank.clips):
            self.fits[number, fitting(clip)] = True

    def __call__(self, model: InstructorModel, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """Named losses of the items of these numbers; "loss" is their weighted sum."""
        settings, device, count = self.settings, model.temperature.device, len(items)
        numbers = self.order[items]
        clips = [varied(self.bank.views[number], rng, settings) for number in numbers]
        clips += [self.sounds[int(rng.integers(len(self.sounds)))] for _ in range(-(-count // SOUNDS_SHARE))]
        batch = FeatureBatch(*(value.to(device) for value in vars(stack(clips)).values()))
        embedding = model.embed_speech(batch)
        drawn = torch.from_numpy(rng.integers(self.sentences.shape[1], size=len(EMOTION_CLASSES)))
        sentences = model.sentences(self.sentences[torch.arange(len(drawn)), drawn].to(device))
        fits = self.fits[torch.from_numpy(numbers)].to(device)
        speech = (torch.arange(len(clips), device=device) < count).float()
        kinds = {"states": embedding.states}
        if settings.functionals:
            kinds["functionals"] = embedding.functionals
        likeness = {name: model.likeness(each[:count], sentences) for name, each in kinds.items()}
        losses = {name: info_nce(each, fits, settings.smoothing) for name, each in likeness.items()}
        losses["speech"] = functional.binary_cross_entropy_with_logits(embedding.speech, speech)
        # added in this order, in which the shipped weights were trained
        loss = losses["states"] + SOUND_WEIGHT * losses["speech"]
        return {**losses, "loss": loss + losses["functionals"] if settings.functionals else loss}


def info_nce(
    likeness: Float[torch.Tensor, "clips sentences"], fits: Bool[torch.Tensor, "clips sentences"], smoothing: float
) -> torch.Tensor:
    """Contrast of the sentences that fit with all others; several that fit share the probability."""
    with torch.autocast(likeness.device.type, enabled=False):
        scores = likeness.float().log_softmax(dim=1)
        fitting = scores.masked_fill(~fits, -math.inf).logsumexp(dim=1)
        return -((1 - smoothing) * fitting + smoothing * scores.mean(dim=1)).mean()


def drawn_logits(count: int, rng: np.random.Generator) -> Float[torch.Tensor, "count classes"]:
    """Logits of all emotion classes, of which a few are considered."""
    logits = rng.normal(FAR, SPREAD, (count, len(EMOTION_CLASSES)))
    for row in logits:
        few = rng.permutation(len(EMOTION_CLASSES))[: int(rng.integers(1, CONSIDERED + 1))]
        row[few] = rng.uniform(-NEAR, NEAR, len(few))
    return torch.from_numpy(logits.astype(np.float32))


def written_loss(
    language: LanguageModel,
    prompts: Float[torch.Tensor, "clips tokens width"],
    question: str,
    answers: Sequence[Sequence[int]],
    uncounted: Sequence[Sequence[int]],
) -> tuple[torch.Tensor, Float[torch.Tensor, "clips last vocabulary"]]:
    """Cross-entropy of answers behind soft prompts and a question, and the scores of their tokens.

    uncounted: of each answer, the places that do not count.
    """
    longest = max(map(len, answers))
    ids = torch.tensor([[*tokens, *[language.end] * (longest - len(tokens))] for tokens in answers])
    weights = (torch.arange(longest) < torch.tensor([[len(tokens)] for tokens in answers])).float()
    for row, places in zip(weights, uncounted, strict=True):
        row[list(places)] = 0
    whole = torch.cat([dialogue(language, prompts, question), language.embed(ids[:, :-1])], dim=1)
    scores = language.scores(whole, longest)
    return answer_loss(scores, ids, weights), scores


def train_instructor(
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    spoken: Path | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
) -> TrainedInstructor:
    """Align, then learn to write, or go on with either, in a folder; errors as in `train`.

    Args:
        bank: the clips of training, with features of the models' speech encoder.
        sounds: what is no speech.
        models: speech encoder, text encoder and language model.
        settings: the recipe.
        folder: where checkpoints and logs are kept, in `align`, `speak` and `write`.
        device: where the alignment is computed; the processor when None.
        spoken: where the checkpoint of `speak` is kept, below `folder` when None; it depends on no clip, so that
            several trainings may share it.
        progress: as in `train`.
        on_log: called with "align", "speak" or "write" and every line of its log.
    """

    def how(part: str) -> How:
        named = partial(on_log, part) if on_log else None
        return {"device": device if part == "align" else None, "progress": progress, "on_log": named}

    model, aligned = align(bank, sounds, models, settings, folder, **how("align"))
    model.prompter, said = speak(models.language, model.shape, settings, spoken or folder / "speak", **how("speak"))
    written = write(model, bank, models.language, settings, folder, **how("write"))
    return TrainedInstructor(model, aligned, said, written)


def untrained(bank: FeatureBank, models: FrozenModels, settings: InstructorSettings) -> InstructorModel:
    """A network of random weights, the same for the same seed, normalised by the clips of a bank."""
    encoder, texts, language = models.encoder, models.texts, models.language
    sizes = ("aligned", "features", "queries", "blocks", "heads", "tokens", "hidden", "functionals", "out_of_domain")
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
        domains=len({clip.corpus for clip in bank.clips}),
        axes=min(DIRECTIONS, encoder.dim),
        **{name: getattr(settings, name) for name in sizes},
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.align.seed)
        model = InstructorModel(shape, settings.dropout)
    _normalise(model, bank)
    return model


@torch.no_grad()
def _normalise(model: InstructorModel, bank: FeatureBank) -> None:
    """Set means and deviations, and the directions and the reach of every corpus."""
    every = [view for views in bank.views for view in views]
    sums, squares, count = 0.0, 0.0, 0
    for view in every:
        states = view.states.astype(np.float64)
        sums, squares = sums + states.sum(axis=1), squares + np.square(states).sum(axis=1)
        count += states.shape[1]
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-8))
    model.qformer.mean.copy_(torch.from_numpy(mean)[:, None])
    model.qformer.deviation.copy_(torch.from_numpy(deviation)[:, None])
    numbers = np.stack([view.functionals for view in every]).astype(np.float64)
    model.manner_mean.copy_(torch.from_numpy(numbers.mean(axis=0)))
    model.manner_deviation.copy_(torch.from_numpy(numbers.std(axis=0) + 1e-4))
    for domain, corpus in enumerate(sorted({clip.corpus for clip in bank.clips})):
        own = [
            view for clip, views in zip(bank.clips, bank.views, strict=True) if clip.corpus == corpus for view in views
        ]
        parts = [stack(own[i : i + AT_ONCE]) for i in range(0, len(own), AT_ONCE)]
        model.usual.learn(domain, torch.cat([pooled(part.states, part.there) for part in parts]))


def align(
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[InstructorModel, list[LogLine]]:
    """The first part of `train_instructor`: a model whose acoustic part is trained, and the log's lines.

    Without contrast that part keeps its random weights, and is left to `write`.
    """
    sentences = sentence_states(models.texts, settings.paraphrases, settings.align.seed)
    model = untrained(bank, models, settings)
    log: list[LogLine] = []
    if settings.contrast:
        losses = AlignLosses(bank, sounds, sentences, settings)
        digest = recipe("align", bank, settings, vars(model.shape))
        model, log = train(model, losses, ROUNDS, settings.align, folder / "align", digest, **how)
    place_anchors(model.cpu().eval(), sentences)
    return model, log


def speak(
    language: LanguageModel,
    shape: InstructorShape,
    settings: InstructorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[Prompter, list[LogLine]]:
    """The second part: a projection through which the language model says what probabilities it is given."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.speak.seed)
        prompter = Prompter(shape)
    prompter.loudness.data.fill_(language.scale)
    kept = [language.fingerprint, *prompter.size, shape.hidden, shape.aligned, settings.speak.model_dump()]
    content = json.dumps([kept, [answer(*label) for label in EMOTION_CLASSES], QUESTIONS])
    digest = hashlib.sha256(content.encode()).hexdigest()
    opening, names = len(language.tokens(OPENING)), class_tokens(language)

    def losses(learner: nn.ModuleDict, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        # sentences of as many drawn probabilities of the emotion classes as there are items
        logits = drawn_logits(len(items), rng)
        shares = logits.softmax(dim=1)
        classes = [int(rng.choice(len(EMOTION_CLASSES), p=(row / row.sum()).numpy())) for row in shares.double()]
        answers = [answer_tokens(language, answer(*EMOTION_CLASSES[number]))[0] for number in classes]
        question = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        named = [range(opening, opening + len(names[number])) for number in classes]
        loss, scores = written_loss(language, learner["prompter"](logits), question, answers, named)
        return {"loss": loss + name_loss(scores.log_softmax(dim=2)[:, opening:], shares, classes, names)}

    learner = nn.ModuleDict({"prompter": prompter})
    learner, log = train(learner, losses, ROUNDS, settings.speak, folder, digest, **how)
    return cast(Prompter, learner["prompter"]), log


def name_loss(
    logs: Float[torch.Tensor, "clips last vocabulary"],
    shares: Float[torch.Tensor, "clips classes"],
    classes: Sequence[int],
    names: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Cross-entropy with the probabilities at every place along the names of the classes that are written.

    What may come next there are the next tokens of all names that begin alike. logs: log probabilities of the tokens
    from the name on; names: the tokens of every class' name.
    """
    losses = []
    for row, number in enumerate(classes):
        own = names[number]
        for place in range(len(own)):
            may = [n for n, name in enumerate(names) if name[:place] == own[:place] and len(name) > place]
            target = shares[row, may] / shares[row, may].sum()
            losses.append(-(target * logs[row, place, [names[n][place] for n in may]]).sum())
    return torch.stack(losses).mean()


def write(
    model: InstructorModel,
    bank: FeatureBank,
    language: LanguageModel,
    settings: InstructorSettings,
    folder: Path,
    **how: Unpack[How],
) -> list[LogLine]:
    """The third part: the projection of an aligned model is trained on clips, in place; the log's lines.

    Without contrast the acoustic part is trained with it.
    """
    digest = recipe("write", bank, settings, {**vars(model.shape), "start": fingerprint(model)})
    order = balanced(bank.clips)
    model.requires_grad_(False)
    learner = nn.ModuleDict({"prompter": model.prompter.requires_grad_(True)})
    if not settings.contrast:
        acoustic = deepcopy(model).requires_grad_(True)
        acoustic.prompter = nn.Identity()  # type: ignore[assignment]
        learner["acoustic"] = acoustic

    def losses(learner: nn.ModuleDict, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        numbers = order[items]
        clips = [bank.clips[number] for number in numbers]
        reads = model if settings.contrast else cast(InstructorModel, learner["acoustic"])
        reads.train()  # with features left out, as in alignment
        with torch.set_grad_enabled(reads is not model):
            embedding = reads.embed_speech(stack([varied(bank.views[number], rng, settings) for number in numbers]))
            strange = torch.from_numpy(rng.random(len(numbers)) < AS_OUT_OF_DOMAIN * settings.out_of_domain)
            in_domain = embedding.in_domain.masked_fill(strange, OUT_OF_DOMAIN)
            aligned = in_domain[:, None] * embedding.states + embedding.functionals
        model.eval()
        rng.random(len(clips))  # drawn for nothing, so that training repeats that of the shipped weights
        question = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        prompts = learner["prompter"](model.likeness(aligned, model.anchors), aligned)
        answers = [answer_tokens(language, _answer(clip, rng)) for clip in clips]
        open_levels = [at if clip.level is None else range(0) for (_, at), clip in zip(answers, clips, strict=True)]
        return {"loss": written_loss(language, prompts, question, [ids for ids, _ in answers], open_levels)[0]}

    learner, log = train(learner, losses, ROUNDS, settings.write, folder / "write", digest, **how)
    model.prompter = cast(Prompter, learner["prompter"])
    if not settings.contrast:
        model.load_state_dict({**model.state_dict(), **learner["acoustic"].state_dict()})
    model.eval()
    return log


def _answer(clip: BankClip, rng: np.random.Generator) -> str:
    """The sentence of a clip, with its own action units where they are known; a level that is not is drawn."""
    may = fitting(clip)
    label = EMOTION_CLASSES[may[int(rng.integers(len(may)))]]
    return worded(label, dict(clip.units)) if clip.units else answer(*label)


def recipe(part: str, bank: FeatureBank, settings: InstructorSettings, shape: Mapping[str, object]) -> str:
    """What is trained on what: settings but those of the loops, shape, and the bank's content."""
    kept = settings.model_dump(exclude={"align", "speak", "write"})
    return content_sha256([part, bank.digest, kept, dict(shape)])


def sound_features(encoder: SpeechEncoder, count: int, seed: int = 0) -> list[AcousticFeatures]:
    """Features of sounds that are no speech, of 1 to 4 seconds."""
    rng = np.random.default_rng([seed, count])
    return [Voice(draw_sound(float(rng.uniform(1, 4)), rng)).acoustic_features(encoder) for _ in range(count)]
