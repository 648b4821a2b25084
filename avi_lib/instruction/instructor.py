"""The instructor: speech in, the sentence that says what the face should do out.

>>> instructor = load_instructor()                     # the shipped one, or a path to one's own weights
>>> written = instructor.instruct(load_speech("my.wav"))
>>> written.instruction.text, written.confidence
('A person feels quite angry and speaks with a noticeable frown and lips somewhat tightened.', 0.81)

The frozen language model reads the soft prompt and a question. What it thinks of the voice is read at the place of the
emotion in its answer: the probabilities of all feelings there, at a temperature that makes them what they claim to be.
The likeliest one is put down; behind it the model takes the likeliest of the sentences that the grammar has for it, or
writes freely where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.grammar import MAX_LENGTH, OPENING, QUESTIONS, answer, choices, class_words
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.instruction.instructor_network import InstructorModel, load_instructor_model, stack
from avi_lib.instruction.language_model import KVCache, LanguageModel, draw, load_language_model
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.voice import AcousticFeatures, Voice


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
    tokens = language.tokens(sentence)
    first = len(language.tokens(OPENING))
    words = sentence.removeprefix(OPENING).split()
    degree = any(
        sentence.startswith(f"{OPENING} {class_words(label)}") for label in EMOTION_CLASSES if " " in class_words(label)
    )
    last = len(language.tokens(f"{OPENING} {words[0]}")) if degree else first
    return [*tokens, language.end], range(first, last)


def class_tokens(language: LanguageModel, classes: Sequence[EmotionClass] = EMOTION_CLASSES) -> list[list[int]]:
    """Tokens that name each feeling at its place in the answer, behind `OPENING`."""
    first = len(language.tokens(OPENING))
    return [language.tokens(f"{OPENING} {class_words(label)}")[first:] for label in classes]


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
"""Longest stretch that is heard at once; longer recordings are cut at pauses."""
NEUTRAL = EmotionClass("neutral", 1)

Wave = Float32[np.ndarray, " samples"]


@dataclass(frozen=True, eq=False)
class ClassProbabilities:
    """What is thought of recordings before anything is written.

    Attributes:
        reading: the language model, having read each one's prompt, the question and the answer's opening.
        log_probabilities: of each of `EMOTION_CLASSES`, calibrated.
        speech: probability of there being speech.
    """

    kv_cache: KVCache
    log_probabilities: Float32[np.ndarray, "recordings classes"]
    speech: Float32[np.ndarray, " recordings"]

    def emotions(self, number: int) -> dict[str, float]:
        """Probability of every emotion for a recording; they add up to 1."""
        shares = dict.fromkeys(EMOTIONS, 0.0)
        for label, value in zip(EMOTION_CLASSES, self.log_probabilities[number].tolist(), strict=True):
            shares[label.emotion] += math.exp(value)
        return shares


@dataclass(frozen=True)
class Written:
    """An instruction as it was written, and how sure of it the instructor is.

    Attributes:
        instruction: the sentence and what is understood of it.
        heard: the feeling that seemed likeliest, which the sentence may tone down.
        probabilities: of every emotion.
        speech: probability of there being speech.
        warnings: what a person should know of it.
    """

    instruction: Instruction
    heard: EmotionClass
    probabilities: dict[str, float]
    speech: float
    warnings: tuple[str, ...]

    @property
    def confidence(self) -> float:
        """Probability of the emotion that seemed likeliest."""
        return self.probabilities[self.heard.emotion]


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
            voice: the speech; what is longer than `GROUP_S` is heard in parts, whose opinions are averaged.
            temperature: of the words behind the feeling; 0 writes the likeliest ones.
            seed: draws them otherwise.
            free: let the language model write what it will behind the feeling, in place of choosing among sentences
                that are understood.

        Raises InputError for an empty wave or samples that are not finite.
        """
        return self.write(self.classify([self.acoustic_features(voice)]), temperature, seed, free)[0]

    def timeline(self, voice: Voice | Wave) -> tuple[Timeline, list[Written]]:
        """An instruction for every breath group; groups in a row with the same sentence share one."""
        entries: list[Entry] = []
        every = []
        for start_s, hearing in self._groups(voice):
            (written,) = self.write(self.classify([[hearing]]))
            if not entries or entries[-1].instruction.text != written.instruction.text:
                entries.append(Entry(start_s, written.instruction))
                every.append(written)
        return Timeline(tuple(entries)), every

    def acoustic_features(self, voice: Voice | Wave) -> list[AcousticFeatures]:
        """What each breath group of a voice sounds like."""
        return [heard for _, heard in self._groups(voice)]

    def _groups(self, voice: Voice | Wave) -> list[tuple[float, AcousticFeatures]]:
        """Where each breath group of up to `GROUP_S` starts, in seconds, and what it sounds like."""
        voice = voice if isinstance(voice, Voice) else Voice(voice)
        return [(start_s, group.acoustic_features(self.encoder)) for start_s, group in voice.groups(GROUP_S)]

    @torch.inference_mode()
    def classify(self, recordings: Sequence[Sequence[AcousticFeatures]]) -> ClassProbabilities:
        """What is thought of recordings from what the parts of each sound like, each part counting by its length."""
        places, speech = [], []
        for hearings in recordings:
            embedding = self.model.embed_speech(stack(hearings))
            shares = torch.tensor([float(len(hearing.contour)) for hearing in hearings])
            shares = shares / shares.sum()
            places.append((self.model.align(embedding) * shares[:, None]).sum(dim=0))
            speech.append(float((embedding.speech.sigmoid() * shares).sum()))
        asked = dialogue(self.language, self.model.prompt(torch.stack(places)), QUESTIONS[0])
        opening = self.language.embed(self.language.tokens(OPENING)).expand(len(places), -1, -1)
        kv_cache = self.language.read(torch.cat([asked, opening], dim=1))
        scores = self.language.log_probabilities(kv_cache, class_tokens(self.language))
        classes = (scores / self.model.temperature).log_softmax(dim=1)
        return ClassProbabilities(kv_cache, classes.numpy(), np.array(speech, np.float32))

    def write(
        self, classified: ClassProbabilities, temperature: float = 0.0, seed: int = 0, free: bool = False
    ) -> list[Written]:
        """Put opinions into words: the likeliest of the sentences that are understood, or what comes when `free`."""
        heard = [likeliest(row) for row in classified.log_probabilities]
        told = [
            softened(row, float(speech))
            for row, speech in zip(classified.log_probabilities, classified.speech, strict=True)
        ]
        chosen = [label for label, _ in told]
        said = (self._freely if free else self._chosen)(classified.kv_cache, chosen, temperature, seed)
        written = []
        for number, (text, (label, warnings)) in enumerate(zip(said, told, strict=True)):
            instruction = _parsed(text)
            if (instruction.emotion, instruction.level) != tuple(label) or instruction.unknown:
                words = ", ".join(instruction.unknown)
                warnings.append(f"the sentence is not understood in full{f': {words}' if words else ''}")
            shares, speech = classified.emotions(number), float(classified.speech[number])
            written.append(Written(instruction, heard[number], shares, speech, tuple(warnings)))
        return written

    def _chosen(self, kv_cache: KVCache, classes: Sequence[EmotionClass], temperature: float, seed: int) -> list[str]:
        """For each recording one of the sentences for its feeling, by how likely a token of it is on average."""
        said = []
        first = len(self.language.tokens(OPENING))
        for number, label in enumerate(classes):
            texts = choices(label)
            tokens = [[*self.language.tokens(text)[first:], self.language.end] for text in texts]
            scores = self.language.log_probabilities(kv_cache.rows([number]), tokens)[0]
            means = scores / torch.tensor([len(each) for each in tokens])
            said.append(texts[draw(means, temperature, torch.Generator().manual_seed(seed))])
        return said

    def _freely(self, kv_cache: KVCache, classes: Sequence[EmotionClass], temperature: float, seed: int) -> list[str]:
        """What the language model writes behind the feelings, whatever it is."""
        begin = class_tokens(self.language, classes)
        every = self.language.go_on(kv_cache, MOST_TOKENS, begin, temperature, seed)
        return [f"{OPENING} {self.language.text(tokens)}" for tokens in every]


def likeliest(classes: Float32[np.ndarray, " classes"]) -> EmotionClass:
    """The likeliest emotion, and its likeliest level."""
    shares: dict[str, float] = {}
    for label, value in zip(EMOTION_CLASSES, classes.tolist(), strict=True):
        shares[label.emotion] = shares.get(label.emotion, 0.0) + math.exp(value)
    emotion = max(shares, key=lambda name: shares[name])
    levels = {
        f.level: value for f, value in zip(EMOTION_CLASSES, classes.tolist(), strict=True) if f.emotion == emotion
    }
    return EmotionClass(emotion, max(levels, key=lambda level: levels[level]))


def softened(classes: Float32[np.ndarray, " classes"], speech: float) -> tuple[EmotionClass, list[str]]:
    """The feeling that is put down, nearer to neutral where the opinion is unsure, with what to know of it.

    feelings: log probabilities of `EMOTION_CLASSES`; speech: probability of there being speech.
    """
    heard = likeliest(classes)
    if speech < SPEECH:
        return NEUTRAL, [f"hardly any speech is heard (probability {speech:.2f}): the sentence is neutral"]
    sure = sum(
        math.exp(v) for f, v in zip(EMOTION_CLASSES, classes.tolist(), strict=True) if f.emotion == heard.emotion
    )
    unsure = f"unsure: {heard.emotion} has a probability of {sure:.2f}"
    if sure < LOST:
        return NEUTRAL, [f"{unsure}; the sentence is neutral"]
    if sure < UNSURE and heard.level > 1:
        return EmotionClass(heard.emotion, heard.level - 1), [f"{unsure}; the sentence is toned down"]
    return heard, []


def _parsed(text: str) -> Instruction:
    """What is understood of a text, which is cut where it is too long; a neutral sentence where nothing is left."""
    try:
        return Instruction.parse(text)
    except InputError:
        return Instruction.parse(text[:MAX_LENGTH].strip() or answer(*NEUTRAL))


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
    shape = model.shape
    heard = load_encoder(encoder or shape.encoder)
    if heard.fingerprint != shape.encoder_fingerprint or (heard.dim, heard.layers) != (shape.states, shape.layers):
        got = f"{heard.name} with {heard.dim} numbers a state"
        do = "name that one, or train an instructor for yours with notebook 02"
        raise InputError(f"the speech encoder {shape.encoder} that {path.name} was trained with", got, do)
    writer = load_language_model(language or shape.language_model)
    if writer.width != shape.width or writer.fingerprint != shape.language_fingerprint:
        got = f"{writer.name} with {writer.width} numbers a token"
        do = "name that one, or train an instructor for yours with notebook 02"
        raise InputError(f"the language model {shape.language_model} that {path.name} was trained with", got, do)
    where = "shipped weights" if weights is None else str(path)
    reason = f"{where}; hears through {heard.name}: {heard.reason}; writes with {writer.name}: {writer.reason}"
    return Instructor(model, heard, writer, reason)
