"""The instructor: speech in, the sentence that says what the face should do out.

>>> instructor = load_instructor()                     # the shipped one, or a path to one's own weights
>>> written = instructor.instruct(load_voice("my.wav"))
>>> written.instruction.text, written.confidence
('A person feels quite angry and speaks with a noticeable frown and lips somewhat tightened.', 0.81)

What is heard decides on the emotion class, at a temperature that makes probabilities what they claim to be, and is told
to the frozen language model in a soft prompt. Behind the class the model takes the likeliest of the sentences that the
grammar has for the action units that are heard, or writes freely where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTION_CLASSES, EMOTIONS, REALISED, EmotionClass, opposites
from avi_lib.instruction.grammar import MAX_LENGTH, OPENING, QUESTIONS, answer, class_words, continuations
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.instruction.instructor_network import UNITS, Heard, InstructorModel, load_instructor_model, means, stack
from avi_lib.instruction.language_model import KVCache, LanguageModel, load_language_model
from avi_lib.instruction.reader import shipped_reader
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.voice import AcousticFeatures, Voice

SHIPPED_INSTRUCTOR = Path(__file__).resolve().parents[1] / "assets" / "instructor.safetensors"

UNSURE = 0.45
"""Below this probability of its emotion an answer is written one level lower, and below one that the weights name it is
neutral: a face that shows nothing is less wrong than one that shows anything."""
FAINT = 0.3
"""Strength from which an action unit that is heard is written, and `MOST_UNITS` of them."""
MOST_UNITS = 5
WORDS = 0.5
"""How much the log probabilities of what is said count beside those of how it is said, and the least of the former."""
LEAST_SHARE = 0.02
HEARD = "-"
"""In place of a text: what is said is to be heard too."""
SPEECH = 0.5
"""Least probability of there being speech."""
MOST_TOKENS = 64
"""Tokens of an answer."""
GROUP_S = 8.0
"""Longest stretch that is embedded by itself; longer recordings are cut at pauses."""
PARTS = 64
"""Stretches that are embedded at once."""
NEUTRAL = EmotionClass("neutral", 1)

Wave = Float32[np.ndarray, " samples"]
Means = Float32[np.ndarray, "1 numbers"]
"""Means over time of the layers that are read, see `Instructor.own_means`."""


def dialogue(
    language: LanguageModel, prompts: Float[torch.Tensor, "clips tokens width"], question: str
) -> Float[torch.Tensor, "clips length width"]:
    """Embeddings of what is read before the answer: the mark of the start, the prompt and the question."""
    start = language.bos().expand(len(prompts), 1, -1)
    asked = language.embed(language.tokens(f"\n{question}\n")).expand(len(prompts), -1, -1)
    return torch.cat([start, prompts, asked], dim=1)


def answer_tokens(language: LanguageModel, sentence: str) -> tuple[list[int], range]:
    """Tokens of an answer with the mark of its end, and which of them are the word for the level.

    The range is empty where the answer names no level.
    """
    named = [class_words(label) for label in EMOTION_CLASSES]
    graded = any(sentence.startswith(f"{OPENING} {each}") for each in named if " " in each)
    first = len(language.tokens(OPENING))
    degree = sentence.removeprefix(OPENING).split()[0] if graded else ""
    last = len(language.tokens(f"{OPENING} {degree}")) if graded else first
    return [*language.tokens(sentence), language.end], range(first, last)


def class_tokens(language: LanguageModel, classes: Sequence[EmotionClass] = EMOTION_CLASSES) -> list[list[int]]:
    """Tokens that name each emotion class at its place in the answer, behind `OPENING`."""
    first = len(language.tokens(OPENING))
    return [language.tokens(f"{OPENING} {class_words(label)}")[first:] for label in classes]


@dataclass(frozen=True, eq=False)
class ClassProbabilities:
    """How likely the emotion classes of recordings are, before anything is written.

    Attributes:
        kv_cache: of the language model, which has read each one's prompt, the question and the answer's opening.
        log_probabilities: of each of `EMOTION_CLASSES`, calibrated.
        speech: probability of there being speech.
        units: strengths of `UNITS`, in most clips within -1 to 1.
        lost: probability of an emotion below which it is neutral.
    """

    kv_cache: KVCache
    log_probabilities: Float32[np.ndarray, "recordings classes"]
    speech: Float32[np.ndarray, " recordings"]
    units: Float32[np.ndarray, "recordings units"]
    lost: float = 0.0


@dataclass(frozen=True)
class Written:
    """An instruction as it was written, and how sure of it the instructor is.

    Attributes:
        instruction: the sentence and what is understood of it.
        predicted: the likeliest class, which the sentence may soften.
        probabilities: of every emotion; they add up to 1.
        speech: probability of there being speech.
        units: action units that are heard, with strengths, whether or not the sentence names them.
        warnings: what a person should know of it.
    """

    instruction: Instruction
    predicted: EmotionClass
    probabilities: dict[str, float]
    speech: float
    units: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def confidence(self) -> float:
        """Probability of the likeliest emotion."""
        return self.probabilities[self.predicted.emotion]


def emotion_probabilities(log_probabilities: Float32[np.ndarray, " classes"]) -> dict[str, float]:
    """Probability of every emotion from the log probabilities of `EMOTION_CLASSES`."""
    shares = dict.fromkeys(EMOTIONS, 0.0)
    for label, value in zip(EMOTION_CLASSES, log_probabilities.tolist(), strict=True):
        shares[label.emotion] += math.exp(value)
    return shares


def likeliest(log_probabilities: Float32[np.ndarray, " classes"]) -> EmotionClass:
    """The likeliest emotion, and its likeliest level."""
    shares = emotion_probabilities(log_probabilities)
    emotion = max(shares, key=lambda name: shares[name])
    values = dict(zip(EMOTION_CLASSES, log_probabilities.tolist(), strict=True))
    return max((label for label in EMOTION_CLASSES if label.emotion == emotion), key=lambda label: values[label])


def softened(
    log_probabilities: Float32[np.ndarray, " classes"], speech: float, lost: float = 0.0
) -> tuple[EmotionClass, list[str]]:
    """The class that is put down, nearer to neutral where it is unsure, with what to know of it.

    speech: probability of there being speech; lost: of an emotion, below which it is neutral.
    """
    predicted = likeliest(log_probabilities)
    if speech < SPEECH:
        return NEUTRAL, [f"hardly any speech is heard (probability {speech:.2f}): the sentence is neutral"]
    sure = emotion_probabilities(log_probabilities)[predicted.emotion]
    unsure = f"unsure: {predicted.emotion} has a probability of {sure:.2f}"
    if sure < lost:
        return NEUTRAL, [f"{unsure}; the sentence is neutral"]
    if sure < UNSURE and predicted.level > 1:
        return EmotionClass(predicted.emotion, predicted.level - 1), [f"{unsure}; the sentence is weakened"]
    return predicted, []


def heard_units(strengths: Float32[np.ndarray, " units"]) -> dict[str, float]:
    """The strongest action units that are heard, at most `MOST_UNITS`, none against a stronger one."""
    against = opposites()
    kept: dict[str, float] = {}
    for name, strength in sorted(zip(UNITS.values(), strengths.tolist(), strict=True), key=lambda pair: -pair[1]):
        taken = {channel for other in kept for channel in ACTION_UNITS[other].channels}
        clashes = any(against.get(channel, frozenset()) & taken for channel in ACTION_UNITS[name].channels)
        if strength >= FAINT and not clashes and len(kept) < MOST_UNITS:
            kept[name] = min(strength, 1.0)
    return kept


def to_write(
    log_probabilities: Float32[np.ndarray, " classes"],
    speech: float,
    strengths: Float32[np.ndarray, " units"],
    lost: float = 0.0,
) -> tuple[EmotionClass, dict[str, float], list[str]]:
    """The class and the heard units that a sentence names, and what to know of it; see `softened`, `heard_units`.

    Where the class is lost the units are too: a face that shows nothing is less wrong than one that shows anything.
    Where it is unsure, those that nobody shows with it are left out: they are misheard more likely than shown.
    """
    label, warnings = softened(log_probabilities, speech, lost)
    units = {} if warnings and label == NEUTRAL else heard_units(strengths)
    if warnings and (faces := REALISED.get(label.emotion)):
        shown = {name for face in faces for name, (*levels, _) in face.units.items() if max(levels) >= FAINT}
        units = {name: strength for name, strength in units.items() if name in shown}
    return label, units, warnings


@dataclass(frozen=True, eq=False)
class Instructor:
    """Trained weights with the frozen encoder and language model they were trained for."""

    model: InstructorModel
    encoder: SpeechEncoder
    language: LanguageModel
    reason: str

    def instruct(
        self,
        voice: Voice | Wave,
        temperature: float = 0.0,
        seed: int = 0,
        free: bool = False,
        neutral: Voice | Wave | Means | None = None,
        text: str | None = None,
    ) -> Written:
        """The instruction for a voice, or a wave (samples,) float32 at 16 kHz, of any length.

        Args:
            voice: the speech; what is longer than `GROUP_S` is embedded in parts, which are averaged.
            temperature: of the words behind the class; 0 writes the likeliest ones.
            seed: draws them otherwise.
            free: let the language model write what it will behind the class, in place of choosing among sentences
                that are understood.
            neutral: the same person speaking calmly, any words, or `own_means` of whatever they said; what differs from
                it is easier to hear.
            text: what is said, in English, or `HEARD` where the encoder's decoder should write it down; what the words
                tell (`reader.Reader.shares`) counts beside the voice.

        Raises InputError for an empty wave or samples that are not finite.
        """
        groups = (features for _, features in self._groups(voice))
        beside = self._beside(neutral)
        if text == HEARD:
            text = self.encoder.transcribe(voice.wave if isinstance(voice, Voice) else voice)
        told = shipped_reader().shares([text]) if text else None
        return self.write(self.classify([groups], beside, told), temperature, seed, free)[0]

    def own_means(self, voices: Iterable[Voice | Float32[np.ndarray, " _"]]) -> Means:
        """What may stand for a neutral recording: of all that a person says, in recordings or breath groups."""
        *_, last = None, *self.running_means(voices)
        if last is None:
            raise InputError("speech of the person", "none that can be read", "name other recordings")
        return last

    def running_means(self, voices: Iterable[Voice | Float32[np.ndarray, " _"]]) -> Iterator[Means]:
        """As `own_means`, of what a person has said up to the end of each recording."""
        for own in self._running(map(self.means_of, voices)):
            yield np.asarray(own.numpy())

    def _running(self, every: Iterable[Float[torch.Tensor, "1 numbers"]]) -> Iterator[Float[torch.Tensor, "1 numbers"]]:
        total = torch.zeros_like(self.model.usual)
        for number, each in enumerate(every, 1):
            total = total + each
            yield total / number - self.model.usual

    def _beside(self, neutral: Voice | Wave | Means | None) -> Float[torch.Tensor, "1 numbers"] | None:
        if isinstance(neutral, np.ndarray) and neutral.ndim == 2:
            return torch.from_numpy(neutral)
        return None if neutral is None else self.means_of(neutral)

    def means_of(self, voice: Voice | Wave) -> Float[torch.Tensor, "1 numbers"]:
        """Means of the layers of a whole recording, to be `neutral` for others of the same person."""
        parts = [features for _, features in self._groups(voice)]
        lengths = torch.tensor([float(part.shape[1]) for part in parts])
        return (means(stack(parts)) * (lengths / lengths.sum())[:, None]).sum(dim=0, keepdim=True)

    def timeline(
        self, voice: Voice | Wave, neutral: Voice | Wave | Means | None = None, running: bool = False
    ) -> tuple[Timeline, list[Written]]:
        """An instruction for every breath group; groups in a row with the same sentence share one. As `instruct`.

        running: from the second on each group is heard beside the mean of all up to it, in place of what is neutral.
        """
        beside = self._beside(neutral)
        entries: list[Entry] = []
        every, heard = [], list[Float[torch.Tensor, "1 numbers"]]()
        for start_s, features in self._groups(voice):
            if running:
                heard.append(means(stack([features])))
                *_, own = self._running(heard)
                beside = own if len(heard) > 1 else None
            (written,) = self.write(self.classify([[features]], beside))
            if not entries or entries[-1].instruction.text != written.instruction.text:
                entries.append(Entry(start_s, written.instruction))
                every.append(written)
        return Timeline(tuple(entries)), every

    def _groups(self, voice: Voice | Wave) -> Iterator[tuple[float, AcousticFeatures]]:
        """Where each breath group of up to `GROUP_S` starts, in seconds, and its features; none is kept longer."""
        groups = (voice if isinstance(voice, Voice) else Voice(voice)).groups(GROUP_S)
        for _ in tqdm(range(len(groups)), "listening", unit=" breath groups", leave=False, disable=None, delay=5):
            start_s, group = groups.pop(0)
            yield start_s, group.acoustic_features(self.encoder)

    @torch.inference_mode()
    def classify(
        self,
        recordings: Sequence[Iterable[AcousticFeatures]],
        neutral: Float[torch.Tensor, "recordings numbers"] | None = None,
        told: Float32[np.ndarray, "recordings emotions"] | None = None,
    ) -> ClassProbabilities:
        """How likely every emotion class is for recordings, from the parts of each, which count by their length.

        neutral: means of calm recordings of the same people, see `means_of`; told: of emotions, by what is said.
        """
        heard = []
        for number, parts in enumerate(map(iter, recordings)):
            beside = None if neutral is None else neutral[number : number + 1]
            found, steps = list[Heard](), list[float]()
            while some := list(islice(parts, PARTS)):
                found.append(self.model.hear(stack(some), beside))
                steps += [float(part.shape[1]) for part in some]
            shares = torch.tensor(steps)[:, None] / sum(steps)
            columns = ([each.logits, each.units, each.speech.sigmoid()[:, None]] for each in found)
            heard.append((torch.cat([torch.cat(each, dim=1) for each in columns]) * shares).sum(dim=0))
        logits, units, speech = torch.stack(heard).split([self.model.shape.classes, self.model.shape.units, 1], dim=1)
        which = int(neutral is not None)
        logits = logits / self.model.temperature[which]
        if told is not None:
            words = torch.from_numpy(told).clamp(min=LEAST_SHARE).log()
            logits = logits + WORDS * words[:, [EMOTIONS.index(label.emotion) for label in EMOTION_CLASSES]]
        asked = dialogue(self.language, self.model.prompter(logits), QUESTIONS[0])
        opening = self.language.embed(self.language.tokens(OPENING)).expand(len(heard), -1, -1)
        kv_cache = self.language.read(torch.cat([asked, opening], dim=1))
        classes, lost = logits.log_softmax(dim=1), float(self.model.lost[which])
        return ClassProbabilities(kv_cache, classes.numpy(), speech[:, 0].numpy(), units.numpy(), lost)

    def write(
        self, classified: ClassProbabilities, temperature: float = 0.0, seed: int = 0, free: bool = False
    ) -> list[Written]:
        """Put classes into words: the likeliest of the sentences that are understood, or what comes when `free`."""
        rows, speech = classified.log_probabilities, classified.speech.tolist()
        every = zip(rows, speech, classified.units, strict=True)
        chosen = [to_write(row, share, own, classified.lost) for row, share, own in every]
        if free:
            texts = self._free(classified.kv_cache, [label for label, *_ in chosen], temperature, seed)
        else:
            texts = self._choose(classified.kv_cache, [(label, own) for label, own, _ in chosen], temperature, seed)
        written = []
        units = [heard_units(each) for each in classified.units]
        for text, row, share, own, (label, _, warnings) in zip(texts, rows, speech, units, chosen, strict=True):
            try:
                instruction = Instruction.parse(text)
            except InputError:  # too long, or nothing that can be read
                instruction = Instruction.parse(text[:MAX_LENGTH].strip() or answer(*NEUTRAL))
            if (instruction.emotion, instruction.level) != label or instruction.unknown:
                words = ", ".join(instruction.unknown)
                warnings.append(f"the sentence is not understood in full{f': {words}' if words else ''}")
            shares = emotion_probabilities(row)
            written.append(Written(instruction, likeliest(row), shares, share, own, tuple(warnings)))
        return written

    def _choose(
        self, kv_cache: KVCache, asked: Sequence[tuple[EmotionClass, dict[str, float]]], temperature: float, seed: int
    ) -> list[str]:
        """For each recording the sentence for what is heard that the language model chooses, piece by piece."""
        said = []
        for number, (label, units) in enumerate(asked):
            follow = partial(continuations, label, tuple(units.items()))
            said.append(
                "".join([OPENING, *self.language.choose(kv_cache.row(number), OPENING, follow, temperature, seed)])
            )
        return said

    def _free(self, kv_cache: KVCache, labels: Sequence[EmotionClass], temperature: float, seed: int) -> list[str]:
        """What the language model writes behind the classes, whatever it is."""
        begin = class_tokens(self.language, labels)
        every = self.language.go_on(kv_cache, MOST_TOKENS, begin, temperature, seed)
        return [f"{OPENING} {self.language.text(tokens)}" for tokens in every]


def load_instructor(weights: Path | None = None, encoder: str | None = None, language: str | None = None) -> Instructor:
    """The instructor of a file of weights, the shipped ones when None.

    encoder, language: names of the speech encoder and the language model or paths to them; those that the weights were
    trained with when None.

    Raises:
        AssetError: a model is to be had nowhere.
        InputError: the weights are missing or damaged, or a model does not fit.
    """
    path = weights or SHIPPED_INSTRUCTOR
    model = load_instructor_model(path)
    shape, do = model.shape, "name that one, or train an instructor for yours with notebook 02"
    speech = load_encoder(encoder or shape.encoder)
    size = speech.dim, len(speech.early)
    if speech.fingerprint != shape.encoder_fingerprint or size != (shape.states, shape.layers):
        got = f"{speech.name} with {speech.dim} numbers a state"
        raise InputError(f"the speech encoder {shape.encoder} that {path.name} was trained with", got, do)
    writer = load_language_model(language or shape.language_model)
    if writer.width != shape.width or writer.fingerprint != shape.language_fingerprint:
        got = f"{writer.name} with {writer.width} numbers a token"
        raise InputError(f"the language model {shape.language_model} that {path.name} was trained with", got, do)
    where = "shipped weights" if weights is None else str(path)
    reason = f"{where}; encoder {speech.name}: {speech.reason}; language model {writer.name}: {writer.reason}"
    return Instructor(model, speech, writer, reason)
