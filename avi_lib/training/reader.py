"""Training the reader: sentences with what each asks of a face in, a network that reads others out.

>>> sentences = load_sentences(root / "data" / "sentences")
>>> learned, kept_out = split(sentences)
>>> bank = make_reading_bank(learned, load_text_encoder("mpnet"), settings.views, seed=0)
>>> reader, log = train_reader(bank, kept_out, encoder, settings, folder=run / "reader")
>>> reader.save(run / "reader.safetensors", {"licence": "CC0-1.0"})

Sentences are widened while training: put in a frame, joined two by two in time, misspelt, and mixed with sentences of
the grammar, whose answers are known. data/sentences/README.md says how the sentences came about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch.nn import functional

from avi_lib.errors import InputError, cause
from avi_lib.files import content_sha256
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, STRENGTH_WORDS, levels
from avi_lib.instruction.grammar import describe
from avi_lib.instruction.language_model import TextEncoder, TextStates, encode_texts
from avi_lib.instruction.reader import (
    MOODS,
    UNITS,
    Answers,
    Reader,
    ReaderModel,
    ReaderShape,
    Thresholds,
    parser_features,
)
from avi_lib.settings import ReaderSettings
from avi_lib.training.loop import How, LogLine, Losses, train

FRAMES = (
    "The character looks as if {}.",
    "Show the face when {}.",
    "Act like this: {}",
    "A person speaks while {}.",
    "Imagine that {}.",
    "Play it as though {}.",
)
"""What a sentence is put into."""
ORDERS = (
    "First, {}. Then {}.",
    "{}, then {}.",
    "At first {}, but then {}.",
    "{} and after that {}.",
    "{}, and a moment later {}.",
    "{}; finally {}.",
    "{} until {}.",
    "{}. All of a sudden {}.",
    "Begins when {}, ends when {}.",
    "{}, followed by: {}.",
    "To begin with, {}. Afterwards, {}.",
)
"""How two sentences follow one another."""
SCENES = (" in the kitchen", " at the wedding", " for the camera", " on stage", " as the bus leaves", " at the dog", "")
FRAMED, ORDERED, MISSPELT, LOWERED, GRAMMAR, UNFOUND = 0.08, 0.1, 0.1, 0.2, 0.06, 0.3
"""Shares of sentences that are framed, joined, misspelt, without capitals or full stop, the grammar's own; and of those
whose words the network sees without what the parser found."""
FOLDS = 5
"""One situation in so many is kept out for the thresholds."""
LEAST_SURE = 0.25
"""Share of right answers from which on an unsure answer is given."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it asks for: shares of emotions, level 1-3, strengths of units, and the state after it."""

    text: str
    kind: str
    situation: int = 0
    emotions: Mapping[str, float] = field(default_factory=dict)
    level: int = 0
    units: Mapping[str, float] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    then: Sentence | None = None
    readable: bool = True


def load_sentences(folder: Path) -> tuple[Sentence, ...]:
    """The training sentences of a folder: train.jsonl, and others.jsonl with what cannot be read or asks for nothing.

    Raises InputError for a file that is missing or damaged.
    """
    found = [Sentence(text, row["kind"], row["situation"], **_asked(row))
             for row in read_lines(folder / "train.jsonl") for text in row["texts"]]  # fmt: skip
    for number, row in enumerate(read_lines(folder / "others.jsonl")):
        plain = row["language"] == "en"
        emotions = {"neutral": 1.0} if plain else {}
        situation = FOLDS * number + (row["split"] == "train")
        found.append(Sentence(row["text"], "nothing" if plain else "language", situation, emotions, readable=plain))
    return tuple(found)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file with one JSON object a line; InputError for another file."""
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError("sentences, a JSON object a line", f"{path}: {cause(error)}", "copy them again") from error


def _asked(row: Mapping[str, Any]) -> dict[str, Any]:
    said = row["kind"] in ("negation", "stage")  # in other kinds what is forbidden is not said but absurd
    forbidden = [*row.get("forbidden_units", ()), *row.get("forbidden_emotions", ())] if said else []
    asked = {name: {of: float(share) for of, share in row.get(name, {}).items()} for name in ("emotions", "units")}
    then = Sentence("", "then", **_asked({"kind": "then", **row["then"]})) if "then" in row else None
    return {**asked, "level": row.get("level", 0), "forbidden": tuple(forbidden), "then": then}


def split(sentences: Iterable[Sentence], fold: int = 0) -> tuple[list[Sentence], list[Sentence]]:
    """Sentences to learn from, and those of every fifth situation, which are kept out."""
    parts: tuple[list[Sentence], list[Sentence]] = ([], [])
    for each in sentences:
        parts[each.situation % FOLDS == fold].append(each)
    return parts


# Widening.


def widened(sentence: Sentence, pool: Sequence[Sentence], rng: np.random.Generator) -> Sentence:
    """A sentence as it is, or put otherwise with the answer that goes with it."""
    if rng.random() < GRAMMAR:
        return _of_grammar(rng)
    if not sentence.readable:
        return sentence
    made, chance = sentence, rng.random()
    if sentence.then is None and sentence.kind not in ("negation", "nothing") and chance < FRAMED + ORDERED:
        other = pool[int(rng.integers(len(pool)))]
        if chance < FRAMED:
            made = replace(made, text=_pick(FRAMES, rng).format(_inner(made.text)))
        elif other.readable and other.then is None and other.kind not in ("negation", "nothing"):
            text = _pick(ORDERS, rng).format(_inner(made.text), _inner(other.text))
            made = replace(made, text=text[0].upper() + text[1:], kind="sequence", then=other)
    text = misspelt(made.text, rng) if rng.random() < MISSPELT else made.text
    chance = rng.random()
    return replace(made, text=text.lower() if chance < LOWERED / 2 else text.rstrip(".") if chance < LOWERED else text)


def _pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _inner(text: str) -> str:
    text = text.rstrip(".!")
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]


def misspelt(text: str, rng: np.random.Generator) -> str:
    """A text with letters swapped, left out or doubled in one or two of its words."""
    words = text.split()
    for _ in range(int(rng.integers(1, 3))):
        number = int(rng.integers(len(words)))
        word = words[number]
        if len(word) > 3:
            i = int(rng.integers(1, len(word) - 1))
            wrong = (word[i + 1] + word[i] + word[i + 2 :], word[i + 1 :], word[i] + word[i:])[int(rng.integers(3))]
            words[number] = word[:i] + wrong
    return " ".join(words)


def _of_grammar(rng: np.random.Generator) -> Sentence:
    """A sentence of the grammar with a place added, which no parser knows."""
    strengths = [bucket.strength for bucket in STRENGTH_WORDS]
    chosen = rng.choice(list(ACTION_UNITS), int(rng.integers(0, 3)), replace=False)
    units = {str(name): float(rng.choice([*strengths, 0.0])) for name in chosen}
    emotion = _pick(EMOTIONS, rng) if not any(units.values()) or rng.random() < 0.5 else None
    level = int(rng.choice(levels(emotion))) if emotion else None
    text = describe(units, emotion, level, rng=rng).removesuffix(".") + _pick(SCENES, rng) + "."
    asked = {name: strength for name, strength in units.items() if strength}
    forbidden = tuple(units.keys() - asked.keys())
    return Sentence(text, "stage", 0, {emotion: 1.0} if emotion else {}, level or 0, asked, forbidden)


# Losses.


def targets(sentences: Sequence[Sentence]) -> dict[str, torch.Tensor]:
    """What the network should answer, as numbers; `weight` says which states there are."""
    thens = [each.then or Sentence("", "") for each in sentences]
    states = [list(pair) for pair in zip(sentences, thens, strict=True)]
    moods = [[[each.emotions.get(mood, 0.0) or float(mood == "none" and not each.emotions) for mood in MOODS]
              for each in pair] for pair in states]  # fmt: skip
    names = (*UNITS, *EMOTIONS)
    return {
        "moods": functional.normalize(torch.tensor(moods), p=1, dim=-1),
        "levels": torch.tensor([[max(each.level, 1) - 1 for each in pair] for pair in states]),
        "levelled": torch.tensor([[float(each.level > 0) for each in pair] for pair in states]),
        "units": torch.tensor(
            [[[float(each.units.get(name, 0.0)) for name in UNITS] for each in pair] for pair in states]
        ),
        "forbidden": torch.tensor([[float(name in each.forbidden) for name in names] for each in sentences]),
        "flags": torch.tensor([[float(each.then is not None), float(each.readable)] for each in sentences]),
        "weight": torch.tensor([[float(each.readable), float(each.then is not None)] for each in sentences]),
    }


def reading_losses(answers: Answers, wanted: Mapping[str, torch.Tensor]) -> Losses:
    """Cross-entropies of all answers; those of states that are not there, or of what cannot be read, do not count."""
    weight = wanted["weight"] * torch.tensor([1.0, 0.6], device=wanted["weight"].device)

    def mean(each: Float[torch.Tensor, ...], counts: Float[torch.Tensor, ...]) -> torch.Tensor:
        return (each * counts).sum() / counts.sum().clamp(min=1.0)

    binary = functional.binary_cross_entropy_with_logits
    asked = (wanted["units"] > 0).float()
    level = functional.cross_entropy(answers.levels.transpose(1, 2), wanted["levels"], reduction="none")
    losses = {
        "mood": mean(-(wanted["moods"] * answers.moods.log_softmax(dim=-1)).sum(dim=-1), weight),
        "level": mean(level, weight * wanted["levelled"]),
        "units": mean(binary(answers.units, asked, reduction="none").sum(dim=-1), weight),
        "strength": mean(((answers.strengths.sigmoid() - wanted["units"]).square() * asked).sum(dim=-1), weight),
        "forbidden": mean(binary(answers.forbidden, wanted["forbidden"], reduction="none").sum(dim=-1), weight[:, 0]),
        "flags": binary(answers.flags, wanted["flags"]),
    }
    shares = {"mood": 1.0, "level": 0.4, "units": 0.3, "strength": 0.5, "forbidden": 0.4, "flags": 2.0}
    return {"loss": sum((shares[name] * loss for name, loss in losses.items()), torch.zeros(())), **losses}


@dataclass(frozen=True, eq=False)
class ReadingBank:
    """Sentences, and some of them widened, with the states of their tokens."""

    sentences: tuple[Sentence, ...]
    states: TextStates
    found: Float32[np.ndarray, "sentences found"]
    digest: str


def make_reading_bank(
    sentences: Sequence[Sentence], encoder: TextEncoder, views: int, seed: int, folder: Path | None = None
) -> ReadingBank:
    """Every sentence as it is and `views` times widened; states are kept by content in a folder."""
    rng = np.random.default_rng(seed)
    seen = (*sentences, *(widened(each, sentences, rng) for _ in range(views) for each in sentences))
    texts = [each.text for each in seen]
    states, found = encode_texts(texts, encoder, folder), np.stack([parser_features(text) for text in texts])
    return ReadingBank(seen, states, found, content_sha256([encoder.fingerprint, [repr(each) for each in seen]]))


class ReadingLosses:
    """Losses of a batch of a bank's sentences; see `reading_losses`."""

    def __init__(self, bank: ReadingBank) -> None:
        self.bank, self.wanted = bank, targets(bank.sentences)

    def __call__(self, model: ReaderModel, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """Of the sentences with these numbers."""
        device = model.queries.weight.device
        found = self.bank.found[items] * (rng.random((len(items), 1)) >= UNFOUND).astype(np.float32)
        states, there = self.bank.states.batch(items.tolist())
        answers = model(*(torch.from_numpy(each).to(device) for each in (states, there, found)))
        return reading_losses(answers, {name: value[items].to(device) for name, value in self.wanted.items()})


def train_reader(
    bank: ReadingBank,
    kept_out: Sequence[Sentence],
    encoder: TextEncoder,
    settings: ReaderSettings,
    folder: Path,
    **how: Unpack[How],
) -> tuple[Reader, list[LogLine]]:
    """Train a reader for a text encoder; thresholds are fitted on sentences that are kept out."""
    torch.manual_seed(settings.train.seed)
    model = ReaderModel(ReaderShape(encoder.name, encoder.fingerprint, encoder.dim, settings.width), settings.dropout)
    digest = content_sha256([bank.digest, settings.model_dump()])
    model, log = train(model, ReadingLosses(bank), len(bank.sentences), settings.train, folder, digest, **how)
    reader = Reader(model.eval().cpu(), encoder, Thresholds(), f"trained in {folder}")
    return replace(reader, thresholds=fit_thresholds(reader.answers([each.text for each in kept_out]), kept_out)), log


def fit_thresholds(answers: Answers, sentences: Sequence[Sentence]) -> Thresholds:
    """Thresholds that serve sentences best: F1 of units and of what is forbidden, half the error of what is readable.

    A first emotion is sure from the share on below which less than `LEAST_SURE` of answers are right.
    """
    wanted = targets(sentences)
    there = np.array([each.readable for each in sentences])
    readable = answers.flags[:, 1].sigmoid().numpy()
    levels_ = np.linspace(0.1, 0.9, 33)
    counts = max(int(there.sum()), 1), max(int((~there).sum()), 1)
    wrong = ((readable[there] < level, readable[~there] >= level) for level in levels_)
    errors = [lost.sum() / counts[0] + let.sum() / counts[1] for lost, let in wrong]
    shares, first = (each.numpy()[there] for each in answers.moods[:, 0].softmax(dim=-1).max(dim=-1))
    right = wanted["moods"][:, 0].numpy()[there][np.arange(len(first)), first] >= 0.3
    order = np.argsort(shares)
    below = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    unsure = np.flatnonzero(below < LEAST_SURE)
    units, forbidden = answers.units[:, 0].sigmoid().numpy()[there], answers.forbidden.sigmoid().numpy()[there]
    return Thresholds(
        float(levels_[int(np.argmin(errors))]),
        float(shares[order[unsure[-1]]]) if len(unsure) else 0.0,
        _best(units, wanted["units"][:, 0].numpy()[there] > 0, levels_),
        _best(forbidden, wanted["forbidden"].numpy()[there] > 0, levels_),
    )


def _best(found: Float32[np.ndarray, "texts names"], wanted: np.ndarray, choices: np.ndarray) -> float:
    """The threshold with the highest F1."""
    scores = [2 * (wanted & (found >= c)).sum() / max((wanted.sum() + (found >= c).sum()), 1) for c in choices]
    return float(choices[int(np.argmax(scores))])
