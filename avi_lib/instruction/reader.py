"""The reader: any sentence in, what it asks of the face out, as a sentence of the grammar that is printed and moves.

>>> understand("He looks like he just won the lottery.").text
'A person feels quite happy.'

Where the parser knows every word its own reading stays. Otherwise a network reads the states of the tokens, from a
frozen text encoder, beside what the parser found. Its answer is written in the grammar: one state, or two in order.
What it cannot read, such as another language, is neutral, with every word not understood.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import nn

from avi_lib.errors import AssetError, OutputError
from avi_lib.files import cached, file_sha256
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, EmotionClass, levels
from avi_lib.instruction.grammar import PLAIN_FRAME, SPEAKERS, class_words, describe
from avi_lib.instruction.instruction import Instruction, in_order
from avi_lib.instruction.language_model import TextEncoder, TextStates, encode_texts, load_text_encoder
from avi_lib.instruction.parser import Scan, scan
from avi_lib.models import cache_folder
from avi_lib.speech.phones import is_word
from avi_lib.weights import build_network, check_encoder, read_about, read_weights, save_weights, weights_of

SHIPPED_READER = Path(__file__).resolve().parents[1] / "assets" / "reader.safetensors"
UNITS = tuple(ACTION_UNITS)
MOODS = (*EMOTIONS, "none")
"""What a state may show; "none" where only movements are asked for."""
FLAGS = ("in order", "readable")
"""Whether a sentence asks for two states one after the other, and whether it can be read at all."""
FOUND = 2 * len(UNITS) + len(EMOTIONS) + 2
"""Numbers of what the parser found: units asked and forbidden, emotions, words it does not know."""
SECOND_SHARE = 0.3
"""Share from which on an emotion beside the first is part of the answer."""
UNREAD = "A person feels no particular emotion."
MOST_UNITS = 4
_FORMAT, _KIND, _REMEDY = 1, "reader", "train them with notebook 02, or check the path"
_LATIN_SHARE = 0.6
_ORDER = re.compile(
    r"[,;.:]*\s+(?:(?:and|but)\s+)?(?:(?:right |just |soon )?after(?:wards|ward| that)|later(?: on)?|then|finally|"
    r"suddenly|(?:a |one |two |the next )?(?:moments?|seconds?|minutes?|instant) later|followed by|until|till|before|"
    r"all of a sudden|at once|in the end|at last|turns? (?:in)?to|gives? way to|ends? (?:in|up|with|when))\b[,:]*\s*",
    re.IGNORECASE,
)
"""What joins two states in time."""


_FROM_TO = re.compile(r"\bfrom (.+?) (?:in)?to (.+)", re.IGNORECASE)

# The answer, and how it is written.


class State(NamedTuple):
    """What a face shows at one time: emotions with levels, the first one most; units with strengths; what is denied."""

    emotions: Mapping[str, int]
    units: Mapping[str, float]
    denied: tuple[str, ...] = ()


def written(states: Sequence[State]) -> str:
    """States, one after the other, as a sentence that the parser reads as just these."""
    clauses = [_clause(state).removesuffix(".") for state in states]
    text = ", then ".join([clauses[0], *(clause.removeprefix("A person ") for clause in clauses[1:])])
    return f"First {text[0].lower()}{text[1:]}." if len(states) > 1 else f"{text}."


def _clause(state: State) -> str:
    words = " and ".join(class_words(EmotionClass(*each)) for each in state.emotions.items())
    plain = (class_words(EmotionClass(emotion, levels(emotion)[-1])).split()[-1] for emotion in state.denied)
    felt = ", ".join(filter(None, [words, *(f"not {word}" for word in plain)]))
    said = "speaks"
    if state.units:
        frame = PLAIN_FRAME if any(state.units.values()) else "{who} {speak}."
        said = describe(state.units, rng=np.random.default_rng(0), frame=frame, speakers=SPEAKERS[:1])
        said = said.removeprefix("A person ")
    joined = f" and {said}" if any(state.units.values()) else said.removeprefix("speaks")
    return f"A person feels {felt}{joined if state.units else ''}" if felt else f"A person {said}"


# The network.


def parser_features(text: str) -> Float32[np.ndarray, " found"]:
    """What the parser makes of a sentence, beside its words."""
    found = scan(text)
    features = np.zeros(FOUND, np.float32)
    for name, strength in found.units.items():
        features[UNITS.index(name) + len(UNITS) * (strength == 0.0)] = strength or 1.0
    named = [found.emotion] if found.emotion else []
    for number, emotion in enumerate([*named, *(emotion for emotion, _ in found.others)]):
        features[2 * len(UNITS) + EMOTIONS.index(emotion)] = 0.7 if number else 1.0
    features[-2:] = min(len(found.unknown), 8) / 8, not found.unknown
    return features


@dataclass(frozen=True)
class ReaderShape:
    """What a reader is made for and how large it is."""

    text_encoder: str
    text_fingerprint: str  # digest of the text encoder
    text: int  # numbers in a token's state
    width: int = 192
    queries: int = 2  # of each state, and of the whole


class Answers(NamedTuple):
    """Logits of a batch of sentences; `strengths` as logits too."""

    moods: Any  # (texts, 2 states, moods)
    levels: Any  # (texts, 2, 3)
    units: Any  # (texts, 2, units)
    strengths: Any  # (texts, 2, units)
    forbidden: Any  # (texts, units and emotions)
    flags: Any  # (texts, 2)


class ReaderModel(nn.Module):
    """What reads the tokens of a frozen text encoder: a block of attention, and queries for each state."""

    def __init__(self, shape: ReaderShape, dropout: float = 0.2) -> None:
        super().__init__()
        self.shape = shape
        width, gathered, hidden = shape.width, (shape.queries + 1) * shape.width, 2 * shape.width
        self.tokens = nn.Sequential(nn.LayerNorm(shape.text), nn.Dropout(dropout), nn.Linear(shape.text, width))
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.queries = nn.Linear(width, 3 * shape.queries)
        self.found = nn.Linear(FOUND, width)
        self.state, self.whole = (
            nn.Sequential(nn.LayerNorm(gathered), nn.Dropout(dropout), nn.Linear(gathered, hidden), nn.GELU())
            for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)
        self.moods, self.levels = nn.Linear(hidden, len(MOODS)), nn.Linear(hidden, 3)
        self.units, self.strengths = nn.Linear(hidden, len(UNITS)), nn.Linear(hidden, len(UNITS))
        self.forbidden = nn.Linear(hidden, len(UNITS) + len(EMOTIONS))
        self.flags = nn.Linear(hidden, len(FLAGS))

    def forward(
        self,
        states: Float[torch.Tensor, "texts tokens text"],
        there: Bool[torch.Tensor, "texts tokens"],
        found: Float[torch.Tensor, "texts found"],
    ) -> Answers:
        """Answers from the states of the encoder's tokens and the parser's features."""
        tokens = self.block(self.tokens(states), src_key_padding_mask=~there)
        attention = self.queries(tokens).masked_fill(~there[..., None], -1e4).softmax(dim=1)
        gathered = torch.einsum("ntw,ntq->nqw", tokens, attention).unflatten(1, (3, -1)).flatten(2)
        gathered = torch.cat([gathered, self.found(found)[:, None].expand(-1, 3, -1)], dim=2)
        state, whole = self.dropout(self.state(gathered[:, :2])), self.dropout(self.whole(gathered[:, 2]))
        moods, degrees = self.moods(state), self.levels(state)
        return Answers(
            moods, degrees, self.units(state), self.strengths(state), self.forbidden(whole), self.flags(whole)
        )


def read_reader_about(path: Path) -> dict[str, object]:
    """What a file of weights says it was trained on; InputError when it says nothing."""
    with weights_of(_KIND, path, _REMEDY):
        return read_about(path, (_FORMAT,), _KIND)


# Reading.


class Thresholds(NamedTuple):
    """From which probability on something counts; fitted on sentences kept out of training."""

    readable: float = 0.5
    sure: float = 0.0  # of the first emotion: below it the sentence is not understood
    unit: float = 0.5
    forbidden: float = 0.5


@dataclass(frozen=True, eq=False)
class Reader:
    """A network, its text encoder, and why these."""

    model: ReaderModel
    encoder: TextEncoder
    thresholds: Thresholds
    reason: str

    def answers(self, texts: Sequence[str]) -> Answers:
        """Logits of sentences, in order."""
        return read_states(self.model, encode_texts(texts, self.encoder, progress=False), texts)

    def shares(self, texts: Sequence[str]) -> Float32[np.ndarray, "texts emotions"]:
        """Probabilities of `EMOTIONS` in what sentences tell; all alike for one that cannot be read."""
        found = self.answers(texts)
        shares = found.moods[:, 0].softmax(dim=1).numpy()
        shares[:, EMOTIONS.index("neutral")] += shares[:, -1]
        readable = _sigmoid(found.flags[:, 1].numpy()) >= self.thresholds.readable
        kept = readable & np.array([is_english(text) for text in texts])
        return np.where(kept[:, None], shares[:, :-1], np.float32(1 / len(EMOTIONS)))

    def states(self, texts: Sequence[str]) -> list[tuple[State, ...]]:
        """What every sentence asks for; no state for one that is not understood.

        A sentence in order is read once more in its two halves, where words of time join them; parts in each of which
        the parser finds something, each for itself.
        """
        found = self._each(texts)
        for i, text in enumerate(texts):
            parts = [part.text for part in in_order(Instruction.parse(text))] if found[i] else []
            if len(parts) > 1:
                every = [_said(part, True) or read for part, read in zip(parts, self._each(parts), strict=True)]
                if all(every):
                    found[i] = tuple(states[-1] for states in every)
        halves = {i: both for i, states in enumerate(found) if len(states) == 2 and (both := in_halves(texts[i]))}
        if halves:
            each = [half for parts in halves.values() for half in parts]
            read = [_said(half) or states for half, states in zip(each, self._each(each), strict=True)]
            for i, first, second in zip(halves, read[::2], read[1::2], strict=True):
                last = second[-1] if second else None
                last = last._replace(denied=()) if last else found[i][-1]
                found[i] = ((first[0] if first else None) or found[i][0], last)
        return [tuple(state for state in states if state) if all(states) else () for states in found]

    def _each(self, texts: Sequence[str]) -> list[tuple[State | None, ...]]:
        found = Answers(*(each.numpy() for each in self.answers(texts)))
        return [self._states(text, Answers(*row)) for text, *row in zip(texts, *found, strict=True)]

    def _states(self, text: str, answer: Answers) -> tuple[State | None, ...]:
        """States, None for one that is not sure; none at all of a text that cannot be read."""
        in_order, readable = _sigmoid(answer.flags)
        if readable < self.thresholds.readable or not is_english(text):
            return ()
        found = scan(text)
        said = found if in_order <= 0.5 else None
        first, *rest = (self._state(answer, number, said) for number in range(2 if in_order > 0.5 else 1))
        if first is None:
            return None, *rest
        forbidden = _sigmoid(answer.forbidden) >= self.thresholds.forbidden
        still = {name: 0.0 for name, no in zip(UNITS, forbidden, strict=False) if no and name not in first.units}
        denied = [name for name, no in zip(EMOTIONS, forbidden[len(UNITS) :], strict=True) if no]
        asked = {name for each in (first, *rest) if each for name in each.emotions} | _named(found).keys()
        denied = [name for name in denied if name not in asked]
        return first._replace(units={**first.units, **dict([*still.items()][:MOST_UNITS])}, denied=tuple(denied)), *rest

    def _state(self, answer: Answers, number: int, said: Scan | None) -> State | None:
        """A state; None where no emotion is sure enough. What the parser found denied or asked for is so."""
        shares = np.exp(answer.moods[number] - answer.moods[number].max())
        asked, strengths = _sigmoid(answer.units[number]), _sigmoid(answer.strengths[number])
        for name in said.denied if said else ():
            shares[MOODS.index(name)] = 0.0
        for name, strength in said.units.items() if said else ():
            asked[UNITS.index(name)], strengths[UNITS.index(name)] = float(strength > 0), strength
        shares = shares / shares.sum()
        order = [int(i) for i in np.argsort(-asked)[:MOST_UNITS]]
        chosen = {UNITS[i]: float(strengths[i].clip(0.15, 1.0)) for i in order if asked[i] >= self.thresholds.unit}
        first, second = (int(i) for i in np.argsort(-shares, kind="stable")[:2])
        if MOODS[first] == "none":
            if chosen:
                return State({}, chosen)
            first, second = second, first
        if shares[first] < self.thresholds.sure:
            return None
        level = int(answer.levels[number].argmax()) + 1
        emotions = {MOODS[first]: min(level, levels(MOODS[first])[-1])}
        if said and said.emotion and MOODS[first] == "neutral":
            return State(_named(said), chosen)
        mixed = shares[second] >= SECOND_SHARE and MOODS[second] not in ("none", "neutral")
        if mixed and MOODS[first] != "neutral":
            emotions[MOODS[second]] = min(max(level - 1, 1), levels(MOODS[second])[-1])
        return State(emotions, chosen)

    def save(self, path: Path, about: Mapping[str, object]) -> None:
        """Write weights as float16 and thresholds, atomically; `about`: what they were trained on, and the licence."""
        about = {**about, "thresholds": self.thresholds._asdict()}
        header = {"format": _FORMAT, "kind": _KIND, "shape": asdict(self.model.shape), "about": about}
        save_weights(self.model, path, header)

    def instructions(self, texts: Sequence[str]) -> list[Instruction]:
        """Every sentence as an instruction in the words of the grammar; `said` is what was written."""
        return [
            _instruction(text, written(states) if states else "")
            for text, states in zip(texts, self.states(texts), strict=True)
        ]


def _said(text: str, moved: bool = False) -> tuple[State, ...]:
    """What the parser reads of a text whose words it knows; where none is `moved` one that names an emotion."""
    found = scan(text)
    named = {} if found.unknown else _named(found)
    known = bool(named) or (moved and not found.unknown and bool(found.units))
    return (State(named, found.units, found.denied),) if known else ()


def _named(found: Scan) -> dict[str, int]:
    return {found.emotion: found.level or 1, **dict(found.others)} if found.emotion else {}


@torch.inference_mode()
def read_states(model: ReaderModel, states: TextStates, texts: Sequence[str]) -> Answers:
    """Logits of sentences from the states of their tokens; those of like length are computed together."""
    order, rows = sorted(range(len(texts)), key=lambda i: len(texts[i])), []
    for first in range(0, len(order), 32):
        here = order[first : first + 32]
        found = np.stack([parser_features(texts[i]) for i in here])
        rows.append(model(*map(torch.from_numpy, (*states.batch(here), found))))
    back = torch.tensor(order).argsort()
    return Answers(*(torch.cat(each)[back] for each in zip(*rows, strict=True)))


def _sigmoid(logits: Float32[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def in_halves(text: str) -> tuple[str, str] | None:
    """The sentence before and after the first words of time between two states; None where there are none."""
    for joint in _ORDER.finditer(text):
        before, after = text[: joint.start()], text[joint.end() :]
        if len(before.split()) > 1 and after:
            return f"{before}.", after
    ends = _FROM_TO.search(text)
    return (f"{ends[1]}.", ends[2]) if ends else None


def is_english(text: str) -> bool:
    """Whether most letters of a text are Latin, and most of its words in a dictionary: the encoder knows no others."""
    letters, words = [char for char in text if char.isalpha()], re.findall(r"[^\W\d_]{2,}", text.casefold())
    latin = sum("LATIN" in unicodedata.name(char, "") for char in letters)
    known = sum(map(is_word, words))
    return bool(letters) and latin >= _LATIN_SHARE * len(letters) and 2 * known > len(words)


def _instruction(said: str, text: str) -> Instruction:
    """What is carried out for a sentence; "" for one that is not understood."""
    if text:
        return replace(Instruction.parse(text), said=said, unknown=())
    return replace(Instruction.parse(UNREAD), said=said, unknown=tuple(re.findall(r"\w+", said)) or (said,))


def load_reader(weights: Path | None = None, encoder: str | None = None) -> Reader:
    """The reader of a file of weights, the shipped ones when None.

    encoder: name of the text encoder or path to it; the one the reader was trained with when None.

    Raises AssetError when the text encoder is to be had nowhere, InputError for weights or an encoder that do not fit.
    """
    path = weights or SHIPPED_READER
    with weights_of(_KIND, path, _REMEDY):
        header, tensors = read_weights(path, (_FORMAT,), _KIND)
        shape = ReaderShape(**header["shape"])
        model = build_network(lambda: ReaderModel(shape), tensors)
        thresholds = Thresholds(**header["about"].get("thresholds", {}))
    text = load_text_encoder(encoder or shape.text_encoder)
    check_encoder(text, shape.text_encoder, shape.text, shape.text_fingerprint, "--text-encoder")
    where = "shipped weights" if weights is None else str(path)
    return Reader(model, text, thresholds, f"{where}; reads through {text.name}: {text.reason}")


@cache
def shipped_reader() -> Reader:
    """The shipped reader, loaded once."""
    return load_reader()


def read(text: str) -> Instruction:
    """The shipped reader's answer to a sentence, kept in the user's cache.

    The parser's reading where the text encoder is to be had nowhere.
    """

    def answer() -> dict[str, np.ndarray]:
        states = shipped_reader().states([text])[0]
        return {"text": np.frombuffer(written(states).encode() if states else b"", np.uint8)}

    try:
        found = cached(cache_folder() / "sentences", ["reading of words, 3", file_sha256(SHIPPED_READER), text], answer)
    except OutputError:  # a full or protected cache is no reason not to answer
        found = answer()
    except AssetError:
        return Instruction.parse(text)
    return _instruction(text, found["text"].tobytes().decode())
