"""Training the instructor: clips in, a network out that lets a frozen language model write how they are spoken.

>>> model = untrained(bank, models, settings)
>>> listen(model, bank, sounds, faces)               # linear maps, by convex optimisation: some seconds
>>> trained = train_instructor(bank, sounds, faces, models, settings, folder=run / "instructor")

Three parts: `listen`, linear maps from the means of early layers to emotion classes, action units and speech, with the
temperature and threshold that corpora left out ask for; `align`, where there is a Q-Former, speech comes to lie beside
the sentences that say how it is spoken; `speak`, a soft prompt makes the language model name emotion classes of given
probabilities.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Unpack, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import nn

from avi_lib.files import content_sha256
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, prototype
from avi_lib.instruction.grammar import OPENING, QUESTIONS, answer, describe
from avi_lib.instruction.instructor import answer_tokens, class_tokens, dialogue
from avi_lib.instruction.instructor_network import (
    FeatureBatch,
    InstructorModel,
    InstructorShape,
    Listener,
    Prompter,
    load_instructor_model,
    means,
    stack,
)
from avi_lib.instruction.language_model import LanguageModel, TextEncoder, answer_loss, encode_texts
from avi_lib.settings import InstructorSettings
from avi_lib.speech.encoders import SpeechEncoder
from avi_lib.speech.voice import AcousticFeatures
from avi_lib.training.instructor_data import BankClip, FeatureBank
from avi_lib.training.loop import How, LogLine, Losses, train, trained_by

ROUNDS = 4096
"""Items of an epoch: clips, as often as balance asks for, or drawn probabilities."""
HIDE, CROP = 0.5, 0.7
"""Share of clips of which a part is hidden, and of those that are cut at their ends."""
CROP_SHARE = 5
"""At most a fifth of a clip is cut off at either end."""
SHORTEST = 20
"""Steps that a clip keeps."""
CONSIDERED, NEAR = 5, 3.0
"""Classes that drawn logits consider, at most, and how far from 0 these lie."""
FAR, SPREAD = -6.0, 1.5
"""Mean and deviation of the logits of all other classes."""
PRIOR = 0.5
"""How far emotions are made alike often over all corpora together: 1 wholly, 0 not at all."""
UNITS_PENALTY, SPEECH_PENALTY = 3.0, 0.03
"""As `InstructorSettings.penalty`, of action units and of speech."""
ABSENT = 3.0
"""How far below the rarest class one that no clip of training fits begins."""
REACH = 95.0
"""Percentile of what is heard of an action unit that counts as its strength 1."""
LEAST_NEUTRAL = 3
"""Neutral clips of a speaker of which two can be the reference for all others."""
LEAST_CORPUS = 3
"""Emotions that a corpus has whose clips calibrate when it is left out."""
SACRIFICED = 0.01
"""Unweighted recall that may be lost by writing the least sure answers as neutral."""
TEMPERATURES = np.geomspace(0.3, 6.0, 61)

OnLog = Callable[[str, LogLine], None]
Numbers = Float64[np.ndarray, "_rows _numbers"]


class FrozenModels(NamedTuple):
    """The models an instructor is trained for; none of their weights changes."""

    encoder: SpeechEncoder
    texts: TextEncoder
    language: LanguageModel


class TrainedInstructor(NamedTuple):
    """The network with averaged weights, and the lines of the logs."""

    model: InstructorModel
    aligned: list[LogLine]
    spoken: list[LogLine]


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


def clip_fits(clip: BankClip) -> Bool[np.ndarray, " classes"]:
    """Which of `EMOTION_CLASSES` fit a clip."""
    return np.isin(np.arange(len(EMOTION_CLASSES)), fitting(clip))


def corpus_weights(clips: Sequence[BankClip]) -> Float64[np.ndarray, " clips"]:
    """Weights of clips: within a corpus emotions count alike, and corpora by the root of their size."""
    weights = np.zeros(len(clips))
    corpora, emotions = (np.array([getattr(clip, name) for clip in clips]) for name in ("corpus", "emotion"))
    for corpus in np.unique(corpora):
        here = corpora == corpus
        _, kind, counts = np.unique(emotions[here], return_inverse=True, return_counts=True)
        each = (1 / counts)[kind]
        weights[here] = each / each.sum() * math.sqrt(here.sum())
    return weights


def balanced(clips: Sequence[BankClip], rounds: int = ROUNDS) -> Int64[np.ndarray, " rounds"]:
    """Numbers of clips, each as often as its weight asks for, see `corpus_weights`."""
    weights = corpus_weights(clips)
    ends = np.cumsum(weights / weights.sum()) * rounds
    return np.searchsorted(ends, np.arange(rounds) + 0.5).clip(max=len(clips) - 1)


# Listening: linear maps from means of layers, strongly regularised.


class Rows(NamedTuple):
    """Means of the first view of all clips, then of the second one, and so on, and which clip each row is of."""

    numbers: Numbers
    clip: Int64[np.ndarray, " rows"]


def rows_of(bank: FeatureBank) -> Rows:
    """The means of every view of a bank."""
    states = [view for views in zip(*bank.views, strict=True) for view in views]
    return Rows(clip_means(states), np.arange(len(states)) % len(bank))


def clip_means(clips: Sequence[AcousticFeatures]) -> Numbers:
    """Means over time of clips, each by itself."""
    return np.stack([clip.astype(np.float64).mean(axis=1).ravel() for clip in clips])


def neutral_means(
    clips: Sequence[BankClip], rows: Rows, rng: np.random.Generator
) -> tuple[Numbers, Bool[np.ndarray, " rows"]]:
    """For every row the mean of two neutral recordings of its speaker, not its own, and whether there are so many."""
    speakers = [(clip.corpus, clip.speaker) for clip in clips]
    calm: dict[tuple[str, str], list[int]] = {}
    for number, clip in enumerate(clips):
        if clip.emotion == "neutral":
            calm.setdefault(speakers[number], []).append(number)
    found, there = np.zeros_like(rows.numbers), np.zeros(len(rows.clip), bool)
    for row, number in enumerate(rows.clip.tolist()):
        own = calm.get(speakers[number], [])
        if len(own) >= LEAST_NEUTRAL:  # of the same view: a reference comes from the same room
            chosen = rng.permutation([each for each in own if each != number])[:2]
            found[row], there[row] = rows.numbers[row - row % len(clips) + chosen].mean(axis=0), True
    return found, there


def usual_means(clips: Sequence[BankClip], numbers: Numbers) -> Float64[np.ndarray, " numbers"]:
    """How far the means of all emotions of a speaker lie from those of the neutral clips, on average over speakers."""
    apart = []
    names, emotions = [(clip.corpus, clip.speaker) for clip in clips], np.array([clip.emotion for clip in clips])
    for name in dict.fromkeys(names):
        own = np.array([each == name for each in names])
        of = {each: numbers[own & (emotions == each)] for each in np.unique(emotions[own])}
        if len(of.get("neutral", ())) >= LEAST_NEUTRAL and len(of) >= LEAST_CORPUS:
            apart.append(np.mean([each.mean(axis=0) for each in of.values()], axis=0) - of["neutral"].mean(axis=0))
    return np.mean(apart, axis=0) if apart else np.zeros(numbers.shape[1])


def clip_weights(clips: Sequence[BankClip]) -> Float64[np.ndarray, " clips"]:
    """Weights with a mean of 1: `corpus_weights`, with emotions over all corpora nearer to alike, see `PRIOR`."""
    weights, emotions = corpus_weights(clips), np.array([clip.emotion for clip in clips])
    for emotion in np.unique(emotions):
        weights[emotions == emotion] /= weights[emotions == emotion].sum() ** PRIOR
    return np.asarray(weights / weights.mean())


def fit_classes(
    numbers: Numbers, fits: Bool[np.ndarray, "clips classes"], weights: Float64[np.ndarray, " clips"], penalty: float
) -> tuple[Float64[np.ndarray, "classes numbers"], Float64[np.ndarray, " classes"]]:
    """Weights and biases of a multinomial logistic regression in which several classes may fit a clip.

    The mean negative log likelihood plus `penalty` times half the square of the weights is least. A class that fits no
    clip lies below all others.
    """
    present = np.asarray(fits.any(axis=0))
    x, may = torch.from_numpy(numbers), torch.from_numpy(fits[:, present])
    share = torch.from_numpy(weights / weights.sum())
    learned = torch.zeros(int(present.sum()), numbers.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [learned], max_iter=100, tolerance_grad=1e-4, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    @torch.enable_grad()
    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (x @ learned[:, :-1].T + learned[:, -1]).log_softmax(dim=1)
        value = -(scores.masked_fill(~may, -math.inf).logsumexp(dim=1) * share).sum()
        value = value + penalty / 2 * learned[:, :-1].square().sum()
        value.backward()
        return value.detach()

    optimizer.step(loss)
    found = learned.detach().numpy()
    slopes, biases = np.zeros((len(present), numbers.shape[1])), np.full(len(present), found[:, -1].min() - ABSENT)
    slopes[present], biases[present] = found[:, :-1], found[:, -1]
    return slopes, biases


def fit_listener(
    listener: Listener,
    numbers: Numbers,
    clips: Sequence[BankClip],
    faces: Float64[np.ndarray, "clips units"],
    sounds: Numbers,
    settings: InstructorSettings,
) -> None:
    """Set a listener from rows of means, the clip of each, and the faces of those that are known (else not a number).

    sounds: means of what is no speech; there may be none.
    """
    mean, deviation = numbers.mean(axis=0), numbers.std(axis=0) + 1e-5
    listener.mean.copy_(torch.from_numpy(mean))
    listener.deviation.copy_(torch.from_numpy(deviation))
    normal = listener.normal(torch.from_numpy(numbers)).double().numpy()
    axes = np.linalg.eigh(normal.T @ normal)[1][:, -settings.axes :]
    found = np.zeros((sum(listener.sizes), len(mean)))
    biases = np.zeros(len(found))
    emotions, grades, units, _ = listener.sizes
    fits = np.array([[clip.emotion == emotion for emotion in EMOTIONS] for clip in clips])
    weights, bias = fit_classes(normal @ axes, fits, clip_weights(clips), settings.penalty)
    found[:emotions], biases[:emotions] = weights @ axes.T, bias
    classes = emotions + grades
    graded = np.array([clip.level is not None for clip in clips])
    if graded.any():
        labels = [clip for clip, kept in zip(clips, graded, strict=True) if kept]
        fits = np.array([[clip.level == 1 + level for level in range(grades)] for clip in labels])
        weights, bias = fit_classes((normal @ axes)[graded], fits, clip_weights(labels), settings.penalty)
        found[emotions:classes], biases[emotions:classes] = weights @ axes.T, bias
    known = np.isfinite(faces).all(axis=1)
    if known.any():
        x, y = normal[known], faces[known]
        x0, y0 = x.mean(axis=0), y.mean(axis=0)
        square = (x - x0).T @ (x - x0) / len(x) + UNITS_PENALTY * np.eye(x.shape[1])
        slope = np.linalg.solve(square, (x - x0).T @ (y - y0) / len(x)).T
        reach = np.percentile(x @ slope.T + y0 - slope @ x0, REACH, axis=0).clip(min=1e-3)
        found[classes : classes + units] = slope / reach[:, None]
        biases[classes : classes + units] = (y0 - slope @ x0) / reach
    if len(sounds):
        other = listener.normal(torch.from_numpy(sounds)).double().numpy()
        both = np.concatenate([normal, other]) @ axes
        voiced = np.arange(len(both)) < len(normal)
        share = np.where(voiced, 1 / len(normal), 1 / len(other)) * len(both) / 2
        weights, bias = fit_classes(both, np.stack([~voiced, voiced], axis=1), share, SPEECH_PENALTY)
        found[-1], biases[-1] = (weights[1] - weights[0]) @ axes.T, bias[1] - bias[0]
    listener.linear.weight.copy_(torch.from_numpy(found))
    listener.linear.bias.copy_(torch.from_numpy(biases))


@torch.no_grad()
def listen(
    model: InstructorModel,
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    faces: Float64[np.ndarray, "clips units"],
    settings: InstructorSettings,
) -> None:
    """Set both listeners of a model; `faces` are those of the bank's clips, see `instructor_data.read_faces`."""
    rows = rows_of(bank)
    clips = [bank.clips[number] for number in rows.clip]
    silent = clip_means(sounds) if sounds else np.zeros((0, rows.numbers.shape[1]))
    fit_listener(model.alone, rows.numbers, clips, faces[rows.clip], silent, settings)
    plain = Rows(rows.numbers[: len(bank)], rows.clip[: len(bank)])  # a reference comes from the same room
    neutral, there = neutral_means(bank.clips, plain, np.random.default_rng(settings.align.seed))
    if there.any():
        known = [clip for clip, kept in zip(bank.clips, there, strict=True) if kept]
        fit_listener(model.beside, (plain.numbers - neutral)[there], known, faces[there], silent[:0], settings)
        model.usual.copy_(torch.from_numpy(usual_means(bank.clips, plain.numbers)))


@torch.no_grad()
def calibrate(model: InstructorModel, bank: FeatureBank, settings: InstructorSettings) -> None:
    """Set temperature and threshold, alone and beside a neutral recording, by corpora left out one after another.

    Every corpus of a few emotions is heard by listeners that were fitted on the others. Where there are fewer than two
    such corpora nothing is changed.
    """
    names = sorted({clip.corpus for clip in bank.clips})
    rich = [name for name in names if len({c.emotion for c in bank.clips if c.corpus == name}) >= LEAST_CORPUS]
    if len(rich) < 2:
        return
    heard: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    meant: tuple[list[str], list[str]] = [], []
    for name in rich:
        held = leave_out(model.shape, bank, name, settings)[:2]
        for which, (logits, clips) in enumerate(held):
            heard[which].append(logits)
            meant[which].extend(clip.emotion for clip in clips)
    for which in range(2):
        if meant[which]:
            logits, emotions = np.concatenate(heard[which]), meant[which]
            temperature = best_temperature(logits, emotions)
            model.temperature[which] = temperature
            model.lost[which] = least_sure(emotion_shares(logits / temperature), emotions)


@torch.no_grad()
def leave_out(
    shape: InstructorShape, bank: FeatureBank, corpus: str, settings: InstructorSettings
) -> tuple[tuple[Numbers, list[BankClip]], ...]:
    """Logits of the recordings of a corpus by listeners fitted on all others.

    They are heard alone, beside neutral recordings, beside the mean of all other ones of their speaker, emotions
    unknown, and beside that of those up to them in a drawn order. Of the second ones there are those whose speakers
    have neutral recordings enough, without these.
    """
    out = [clip.corpus == corpus for clip in bank.clips]
    learned, held = bank.select([not each for each in out]), bank.select(out)
    model = InstructorModel(shape.model_copy(update={"queries": 0}))
    listen(model, learned, (), np.full((len(learned), shape.units), np.nan), settings)
    plain = Rows(clip_means([views[0] for views in held.views]), np.arange(len(held)))
    neutral, there = neutral_means(held.clips, plain, np.random.default_rng(0))
    alone, _, _ = model.alone(torch.from_numpy(plain.numbers).float())
    beside, _, _ = model.beside(torch.from_numpy(plain.numbers - neutral).float())
    known = [clip for clip, kept in zip(held.clips, there, strict=True) if kept]
    both = ((alone + beside) / 2)[torch.from_numpy(there)]
    speakers = np.array([clip.speaker for clip in held.clips])
    usual, first = np.zeros((2, *plain.numbers.shape)), np.zeros((2, len(held), 1), bool)
    for speaker in np.unique(speakers):
        own = np.random.default_rng(0).permutation(np.flatnonzero(speakers == speaker))
        values = plain.numbers[own]
        usual[0, own] = (values.sum(axis=0) - values) / max(len(own) - 1, 1)
        usual[1, own] = values.cumsum(axis=0) / np.arange(1, len(own) + 1)[:, None]
        first[0, own], first[1, own[0]] = len(own) == 1, True
    apart = plain.numbers - usual + model.usual.double().numpy()
    owns = (alone + torch.stack([model.beside(torch.from_numpy(each).float())[0] for each in apart])) / 2
    others, so_far = torch.where(torch.from_numpy(first), alone, owns).double().numpy()
    every = list(held.clips)
    return (alone.double().numpy(), every), (both.double().numpy(), known), (others, every), (so_far, every)


def emotion_shares(logits: Numbers) -> Float64[np.ndarray, "clips emotions"]:
    """Probabilities of `EMOTIONS` from logits of emotion classes."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    member = np.array([[label.emotion == emotion for emotion in EMOTIONS] for label in EMOTION_CLASSES], float)
    return np.asarray(shares @ member / shares.sum(axis=1, keepdims=True))


def best_temperature(logits: Numbers, meant: Sequence[str]) -> float:
    """The temperature at which what was meant is likeliest (Guo et al. 2017)."""
    rows, own = np.arange(len(meant)), [EMOTIONS.index(emotion) for emotion in meant]

    def likelihood(temperature: float) -> float:
        return float(np.log(emotion_shares(logits / temperature)[rows, own] + 1e-9).mean())

    return float(max(TEMPERATURES, key=likelihood))


def least_sure(shares: Float64[np.ndarray, "clips emotions"], meant: Sequence[str]) -> float:
    """The probability below which answers are written as neutral: the highest that costs little, see `SACRIFICED`."""
    own, neutral = np.array([EMOTIONS.index(emotion) for emotion in meant]), EMOTIONS.index("neutral")

    def recall(least: float) -> float:
        said = np.where(shares.max(axis=1) < least, neutral, shares.argmax(axis=1))
        return float(np.mean([(said == own)[own == each].mean() for each in np.unique(own)]))

    return float(max(least for least in np.arange(0, 0.61, 0.02) if recall(least) >= recall(0.0) - SACRIFICED))


# Aligning: the Q-Former learns what the linear maps leave.


def varied(
    views: Sequence[AcousticFeatures], rng: np.random.Generator, settings: InstructorSettings
) -> AcousticFeatures:
    """One of a clip's views, often cut at its ends, often with a part hidden."""
    states = views[int(rng.integers(len(views)))]
    steps = states.shape[1]
    if steps > SHORTEST and rng.random() < CROP:
        first = int(rng.integers(steps // CROP_SHARE + 1))
        last = max(first + SHORTEST, steps - int(rng.integers(steps // CROP_SHARE + 1)))
        states, steps = states[:, first:last], min(last, steps) - first
    if settings.masked and rng.random() < HIDE:
        hidden = int(rng.integers(int(steps * settings.masked) + 1))
        first = int(rng.integers(steps - hidden + 1))
        states = states[:, np.r_[0:first, first + hidden : steps]]
    return states


class AlignLosses:
    """Contrast of speech with sentences, as the training loop asks for it; `order` is the clip behind every item."""

    def __init__(
        self, bank: FeatureBank, sentences: Float[torch.Tensor, "classes some text"], settings: InstructorSettings
    ) -> None:
        self.bank, self.sentences, self.settings = bank, sentences, settings
        self.order = balanced(bank.clips)
        self.fits = torch.from_numpy(np.stack([clip_fits(clip) for clip in bank.clips]))

    def __call__(self, model: InstructorModel, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """The loss of the items of these numbers: the listener's logits and the Q-Former's likeness together."""
        device, numbers = model.temperature.device, self.order[items]
        clips = [varied(self.bank.views[number], rng, self.settings) for number in numbers]
        batch = FeatureBatch(*(value.to(device) for value in vars(stack(clips)).values()))
        drawn = torch.from_numpy(rng.integers(self.sentences.shape[1], size=len(EMOTION_CLASSES)))
        sentences = model.sentences(self.sentences[torch.arange(len(drawn)), drawn].to(device))
        logits, _, _ = model.alone(means(batch))
        likeness = logits.detach() + model.likeness(model.align(batch), sentences)
        return {"loss": info_nce(likeness, self.fits[torch.from_numpy(numbers)].to(device), self.settings.smoothing)}


def info_nce(
    likeness: Float[torch.Tensor, "clips sentences"], fits: Bool[torch.Tensor, "clips sentences"], smoothing: float
) -> torch.Tensor:
    """Contrast of the sentences that fit with all others; several that fit share the probability."""
    with torch.autocast(likeness.device.type, enabled=False):
        scores = likeness.float().log_softmax(dim=1)
        fitting = scores.masked_fill(~fits, -math.inf).logsumexp(dim=1)
        return -((1 - smoothing) * fitting + smoothing * scores.mean(dim=1)).mean()


def train_instructor(
    bank: FeatureBank,
    sounds: Sequence[AcousticFeatures],
    faces: Float64[np.ndarray, "clips units"],
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    device: torch.device | None = None,
    spoken: Path | None = None,
    progress: bool | None = None,
    on_log: OnLog | None = None,
    processes: int = 1,
) -> TrainedInstructor:
    """Listen, align, and learn to speak, or go on with either, in a folder; errors as in `train`.

    Args:
        bank: the clips of training, with features of the models' speech encoder.
        sounds: what is no speech.
        faces: what the faces of the clips showed, see `instructor_data.read_faces`.
        models: speech encoder, text encoder and language model.
        settings: the recipe.
        folder: where checkpoints and logs are kept, in `align` and `speak`.
        device: where is trained; the processor when None.
        spoken: where the checkpoint of `speak` is kept, below `folder` when None, or the file of an instructor whose
            projection is taken; it depends on no clip, so that several trainings may share it.
        progress: as in `train`.
        on_log: called with "align" or "speak" and every line of its log.
        processes: how many learn to speak together.
    """

    def how(part: str) -> How:
        named = partial(on_log, part) if on_log else None
        return {"device": device, "progress": progress, "on_log": named}

    model = untrained(bank, models, settings)
    listen(model, bank, sounds, faces, settings)
    calibrate(model, bank, settings)
    model, aligned = align(model, bank, models, settings, folder, **how("align"))
    said: list[LogLine] = []
    if spoken is not None and spoken.is_file():
        model.prompter = load_instructor_model(spoken).prompter
    else:
        taught = models.language, model.shape, settings, spoken or folder / "speak"
        model.prompter, said = trained_by(processes, speak, *taught, **how("speak"))
    return TrainedInstructor(model.eval(), aligned, said)


def untrained(bank: FeatureBank, models: FrozenModels, settings: InstructorSettings) -> InstructorModel:
    """A network of random weights, the same for the same seed."""
    encoder, texts, language = models.encoder, models.texts, models.language
    shape = InstructorShape(
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        states=encoder.dim,
        layers=len(encoder.early),
        text_encoder=texts.name,
        text_fingerprint=texts.fingerprint,
        text=texts.dim,
        language_model=language.name,
        language_fingerprint=language.fingerprint,
        width=language.width,
        **{name: getattr(settings, name) for name in SIZES},
    )
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(settings.align.seed)
        model = InstructorModel(shape, settings.dropout)
        if settings.queries:
            _normalise(model, bank)
    return model


SIZES = ("aligned", "features", "queries", "blocks", "heads", "tokens", "hidden")


def _normalise(model: InstructorModel, bank: FeatureBank) -> None:
    """Set means and deviations of the states that the Q-Former reads."""
    sums, squares, count = 0.0, 0.0, 0
    for view in (view for views in bank.views for view in views):
        states = view.astype(np.float64)
        sums, squares = sums + states.sum(axis=1), squares + np.square(states).sum(axis=1)
        count += states.shape[1]
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 1e-8))
    model.qformer.mean.copy_(torch.from_numpy(mean)[:, None])
    model.qformer.deviation.copy_(torch.from_numpy(deviation)[:, None])


def align(
    model: InstructorModel,
    bank: FeatureBank,
    models: FrozenModels,
    settings: InstructorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[InstructorModel, list[LogLine]]:
    """The second part of `train_instructor`: a model whose Q-Former is trained, and the log's lines."""
    if not settings.queries:
        return model, []
    sentences = sentence_states(models.texts, settings.paraphrases, settings.align.seed)
    for still in (model.alone, model.beside, model.prompter):
        still.requires_grad_(False)
    digest = recipe("align", bank, settings, vars(model.shape))
    model, log = train(
        model, AlignLosses(bank, sentences, settings), ROUNDS, settings.align, folder / "align", digest, **how
    )
    place_anchors(model.cpu().eval(), sentences)
    return model, log


# Speaking: the language model learns to name what it is given.


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
    ids, weights = ids.to(prompts.device), weights.to(prompts.device)
    whole = torch.cat([dialogue(language, prompts, question), language.embed(ids[:, :-1])], dim=1)
    scores = language.scores(whole, longest)
    return answer_loss(scores, ids, weights), scores


def speak(
    language: LanguageModel,
    shape: InstructorShape,
    settings: InstructorSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[Prompter, list[LogLine]]:
    """The third part: a projection through which the language model says what probabilities it is given."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.speak.seed)
        prompter = Prompter(shape)
    prompter.loudness.data.fill_(language.scale)
    kept = [language.fingerprint, *prompter.size, shape.hidden, settings.speak.model_dump()]
    content = json.dumps([kept, [answer(*label) for label in EMOTION_CLASSES], QUESTIONS])
    digest = hashlib.sha256(content.encode()).hexdigest()
    opening, names = len(language.tokens(OPENING)), class_tokens(language)
    device = how.get("device") or torch.device("cpu")

    def losses(learner: nn.ModuleDict, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        # sentences of as many drawn probabilities of the emotion classes as there are items
        logits = drawn_logits(len(items), rng)
        shares = logits.softmax(dim=1)
        classes = [int(rng.choice(len(EMOTION_CLASSES), p=(row / row.sum()).numpy())) for row in shares.double()]
        answers = [answer_tokens(language, answer(*EMOTION_CLASSES[number]))[0] for number in classes]
        question = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        named = [range(opening, opening + len(names[number])) for number in classes]
        place = language.network.device
        loss, scores = written_loss(language, learner["prompter"](logits.to(place)), question, answers, named)
        return {"loss": loss + name_loss(scores.log_softmax(dim=2)[:, opening:], shares.to(place), classes, names)}

    learner = nn.ModuleDict({"prompter": prompter})
    language.network.to(device)
    try:
        learner, log = train(learner, losses, ROUNDS, settings.speak, folder, digest, **how)
    finally:
        language.network.cpu()
    return cast(Prompter, learner["prompter"].cpu()), log


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


def recipe(part: str, bank: FeatureBank, settings: InstructorSettings, shape: Mapping[str, object]) -> str:
    """What is trained on what: settings but those of the loops, shape, and the bank's content."""
    kept = settings.model_dump(exclude={"align", "speak"})
    return content_sha256([part, bank.digest, kept, dict(shape)])
