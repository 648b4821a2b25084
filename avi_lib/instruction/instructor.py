"""The instructor: speech in, the sentence that says what the face should do out.

>>> instructor = load_instructor()                     # the shipped one, or a path to one's own weights
>>> written = instructor.instruct(load_voice("my.wav"))
>>> written.instruction.text, written.confidence
('A person feels quite angry and speaks with a noticeable frown and lips somewhat tightened.', 0.81)

The frozen language model reads the soft prompt and a question. Its probabilities at the place of the emotion in the
answer decide on the emotion class, at a temperature that makes them what they claim to be. Behind it the model takes
the likeliest of the sentences that the grammar has for the class, or writes freely where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.grammar import MAX_LENGTH, OPENING, QUESTIONS, answer, choices, class_words
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.instruction.instructor_network import InstructorModel, load_instructor_model, stack
from avi_lib.instruction.language_model import KVCache, LanguageModel, draw, load_language_model
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.voice import AcousticFeatures, Voice

SHIPPED_INSTRUCTOR = Path(__file__).resolve().parents[1] / "assets" / "instructor.safetensors"

UNSURE = 0.45
"""Below this probability of its emotion an answer is written one level lower."""
LOST = 0.3
"""Below this one it is neutral: a face that shows nothing is less wrong than one that shows anything."""
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
    """

    kv_cache: KVCache
    log_probabilities: Float32[np.ndarray, "recordings classes"]
    speech: Float32[np.ndarray, " recordings"]


@dataclass(frozen=True)
class Written:
    """An instruction as it was written, and how sure of it the instructor is.

    Attributes:
        instruction: the sentence and what is understood of it.
        predicted: the likeliest class, which the sentence may soften.
        probabilities: of every emotion; they add up to 1.
        speech: probability of there being speech.
        warnings: what a person should know of it.
    """

    instruction: Instruction
    predicted: EmotionClass
    probabilities: dict[str, float]
    speech: float
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


def softened(log_probabilities: Float32[np.ndarray, " classes"], speech: float) -> tuple[EmotionClass, list[str]]:
    """The class that is put down, nearer to neutral where it is unsure, with what to know of it.

    speech: probability of there being speech.
    """
    predicted = likeliest(log_probabilities)
    if speech < SPEECH:
        return NEUTRAL, [f"hardly any speech is heard (probability {speech:.2f}): the sentence is neutral"]
    sure = emotion_probabilities(log_probabilities)[predicted.emotion]
    unsure = f"unsure: {predicted.emotion} has a probability of {sure:.2f}"
    if sure < LOST:
        return NEUTRAL, [f"{unsure}; the sentence is neutral"]
    if sure < UNSURE and predicted.level > 1:
        return EmotionClass(predicted.emotion, predicted.level - 1), [f"{unsure}; the sentence is weakened"]
    return predicted, []


@dataclass(frozen=True, eq=False)
class Instructor:
    """Trained weights with the frozen encoder and language model they were trained for."""

    model: InstructorModel
    encoder: SpeechEncoder
    language: LanguageModel
    reason: str

    def instruct(self, voice: Voice | Wave, temperature: float = 0.0, seed: int = 0, free: bool = False) -> Written:
        """The instruction for a voice, or a wave (samples,) float32 at 16 kHz, of any length.

        Args:
            voice: the speech; what is longer than `GROUP_S` is embedded in parts, which are averaged.
            temperature: of the words behind the class; 0 writes the likeliest ones.
            seed: draws them otherwise.
            free: let the language model write what it will behind the class, in place of choosing among sentences
                that are understood.

        Raises InputError for an empty wave or samples that are not finite.
        """
        groups = (features for _, features in self._groups(voice))
        return self.write(self.classify([groups]), temperature, seed, free)[0]

    def timeline(self, voice: Voice | Wave) -> tuple[Timeline, list[Written]]:
        """An instruction for every breath group; groups in a row with the same sentence share one."""
        entries: list[Entry] = []
        every = []
        for start_s, features in self._groups(voice):
            (written,) = self.write(self.classify([[features]]))
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
    def classify(self, recordings: Sequence[Iterable[AcousticFeatures]]) -> ClassProbabilities:
        """How likely every emotion class is for recordings, from the parts of each, which count by their length."""
        places, speech = [], []
        for parts in map(iter, recordings):
            aligned, heard, steps = list[torch.Tensor](), list[torch.Tensor](), list[float]()
            while some := list(islice(parts, PARTS)):
                embedding = self.model.embed_speech(stack(some))
                aligned.append(self.model.align(embedding))
                heard.append(embedding.speech.sigmoid())
                steps += [float(len(part.contour)) for part in some]
            shares = torch.tensor(steps) / sum(steps)
            places.append((torch.cat(aligned) * shares[:, None]).sum(dim=0))
            speech.append(float((torch.cat(heard) * shares).sum()))
        asked = dialogue(self.language, self.model.prompt(torch.stack(places)), QUESTIONS[0])
        opening = self.language.embed(self.language.tokens(OPENING)).expand(len(places), -1, -1)
        kv_cache = self.language.read(torch.cat([asked, opening], dim=1))
        scores = self.language.log_probabilities(kv_cache, class_tokens(self.language))
        classes = (scores / self.model.temperature).log_softmax(dim=1)
        return ClassProbabilities(kv_cache, classes.numpy(), np.array(speech, np.float32))

    def write(
        self, classified: ClassProbabilities, temperature: float = 0.0, seed: int = 0, free: bool = False
    ) -> list[Written]:
        """Put classes into words: the likeliest of the sentences that are understood, or what comes when `free`."""
        rows, speech = classified.log_probabilities, classified.speech.tolist()
        chosen = [softened(row, each) for row, each in zip(rows, speech, strict=True)]
        labels = [label for label, _ in chosen]
        texts = (self._free if free else self._choose)(classified.kv_cache, labels, temperature, seed)
        written = []
        for text, row, share, (label, warnings) in zip(texts, rows, speech, chosen, strict=True):
            try:
                instruction = Instruction.parse(text)
            except InputError:  # too long, or nothing that can be read
                instruction = Instruction.parse(text[:MAX_LENGTH].strip() or answer(*NEUTRAL))
            if (instruction.emotion, instruction.level) != label or instruction.unknown:
                words = ", ".join(instruction.unknown)
                warnings.append(f"the sentence is not understood in full{f': {words}' if words else ''}")
            written.append(Written(instruction, likeliest(row), emotion_probabilities(row), share, tuple(warnings)))
        return written

    def _choose(self, kv_cache: KVCache, labels: Sequence[EmotionClass], temperature: float, seed: int) -> list[str]:
        """For each recording one of the sentences for its class, by how likely a token of it is on average."""
        said = []
        first = len(self.language.tokens(OPENING))
        for number, label in enumerate(labels):
            texts = choices(label)
            tokens = [[*self.language.tokens(text)[first:], self.language.end] for text in texts]
            scores = self.language.log_probabilities(kv_cache.row(number), tokens)[0]
            means = scores / torch.tensor([len(each) for each in tokens])
            said.append(texts[draw(means, temperature, torch.Generator().manual_seed(seed))])
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
    if speech.fingerprint != shape.encoder_fingerprint or (speech.dim, speech.layers) != (shape.states, shape.layers):
        got = f"{speech.name} with {speech.dim} numbers a state"
        raise InputError(f"the speech encoder {shape.encoder} that {path.name} was trained with", got, do)
    writer = load_language_model(language or shape.language_model)
    if writer.width != shape.width or writer.fingerprint != shape.language_fingerprint:
        got = f"{writer.name} with {writer.width} numbers a token"
        raise InputError(f"the language model {shape.language_model} that {path.name} was trained with", got, do)
    where = "shipped weights" if weights is None else str(path)
    reason = f"{where}; encoder {speech.name}: {speech.reason}; language model {writer.name}: {writer.reason}"
    return Instructor(model, speech, writer, reason)
