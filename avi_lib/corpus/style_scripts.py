"""Scripts for the diffusion prior: instructions with sentences that say them, and what is held out of training.

>>> script = draw_style_script(np.random.default_rng(7), texts=2, plain=("The train leaves at nine.",))
>>> script.kind, script.texts[0]
('units', 'Slightly raised brows, while speaking.')

Two things are held out, by digest, so that nothing has to be kept: *combinations* of parts that a sentence names (pairs
of action units, a unit with one of its strengths, an emotion with a unit) and *wordings* (sentence frames, words and
phrasings). Training sees neither; an evaluation draws scripts that hold a combination, or that say a held-out wording
in every place that has one. Free English names emotions alone, so it holds no combination.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from avi_lib.corpus.scripts import draw_instruction
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.free_english import draw_free, loosened
from avi_lib.instruction.grammar import Phrasing, UnsayableError, describe, salient
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS, levels
from avi_lib.instruction.vocabulary import quantise

HELD_PAIRS, HELD_STRENGTHS, HELD_WORDINGS = 1 / 8, 1 / 10, 1 / 6
"""Shares that are held out: of pairs of units or of emotion and unit, of strengths of a unit, of wordings."""

Kind = Literal["emotion", "mix", "units", "free", "plain"]
Draw = Literal["train", "combination", "wording"]

_IDLE = frozenset(name for name in ACTION_UNITS if name.startswith("blink"))
"""Blinking is idle behaviour, which no style tells."""
_ALONE: dict[Draw, tuple[Kind, ...]] = {"combination": ("emotion", "free", "plain"), "wording": ("plain",)}
"""Kinds that have no combination, or no wording, to be held out."""
_SHARES: tuple[tuple[Kind, float], ...] = (
    ("emotion", 0.12), ("mix", 0.23), ("units", 0.4), ("free", 0.2), ("plain", 0.05),
)  # fmt: skip


@dataclass(frozen=True)
class StyleScript:
    """What to perform, and sentences that ask for it.

    `kind`: an emotion, action units with one ("mix") or alone, free English, or a sentence that asks for nothing.
    """

    kind: Kind
    instruction: Instruction
    texts: tuple[str, ...]


def is_held_combination(instruction: Instruction) -> bool:
    """Whether an instruction holds a pair of parts, or a unit at a strength, that training does not see."""
    named = {name: strength for name, strength in instruction.action_units.items() if strength > 0}
    pairs = [" ".join(sorted(pair)) for pair in combinations(named, 2)]
    pairs += [f"{instruction.emotion} {name}" for name in named if instruction.emotion]
    said = [f"{name} at {quantise(strength):g}" for name, strength in named.items()]
    return any(_held(pair, HELD_PAIRS) for pair in pairs) or any(_held(each, HELD_STRENGTHS) for each in said)


def is_held_wording(phrase: str) -> bool:
    """Whether a frame, a word or a phrasing is not said in training."""
    return bool(phrase) and _held(f"wording {phrase}", HELD_WORDINGS)


def draw_style_script(
    rng: np.random.Generator, texts: int, plain: Sequence[str] = (), draw: Draw = "train", kind: Kind | None = None
) -> StyleScript:
    """One script.

    Args:
        rng: the source of every choice.
        texts: sentences that say it, at most; equal ones are dropped.
        plain: sentences that ask for nothing, such as transcripts, for the kind of that name.
        draw: for training, which nothing held out gets into; or for an evaluation on held-out combinations, said in
            training's wordings, or on held-out wordings of combinations that training sees.
        kind: see `StyleScript`; drawn when None.

    Raises:
        InputError: a kind that has no combination, or no wording, to be held out.
    """
    if draw != "train" and kind in _ALONE[draw]:
        raise InputError(f"a kind that combines parts or words for a held-out {draw}", str(kind), "ask for units")
    shares = {name: share for name, share in _SHARES if draw == "train" or name not in _ALONE[draw]}
    total = sum(shares.values())
    while True:
        phrasing = Phrasing(is_held_wording) if draw == "wording" else Phrasing(_is_trained_wording, strict=True)
        chosen = kind or list(shares)[int(rng.choice(len(shares), p=[share / total for share in shares.values()]))]
        try:
            script = _drawn(chosen, rng, texts, plain, phrasing, loose=draw == "train")
        except UnsayableError:
            continue
        holds = chosen != "free" and is_held_combination(script.instruction)
        fresh = draw != "wording" or any(map(is_held_wording, phrasing.said))
        if holds == (draw == "combination") and fresh:
            return script


def said_in_training(parts: Instruction, texts: int, rng: np.random.Generator, most: int = 50) -> tuple[str, ...]:
    """Up to `texts` different sentences that say parts in wordings of training; none where it has no words for them."""
    said: dict[str, None] = {}
    units = salient(parts.action_units)
    for _ in range(most):
        phrasing = Phrasing(_is_trained_wording, strict=True)
        try:
            said[describe(units, parts.emotion, parts.level, rng=rng, phrasing=phrasing)] = None
        except UnsayableError:
            continue
        if len(said) == texts:
            break
    return tuple(said)


def _drawn(
    kind: Kind,
    rng: np.random.Generator,
    texts: int,
    plain: Sequence[str],
    phrasing: Phrasing,
    loose: bool,
) -> StyleScript:
    if kind == "plain":
        return _plain(rng, texts, plain)
    if kind == "free":
        free = draw_free(rng, phrasing)
        said = [free.text, *(loosened(free.text, rng) for _ in range(texts - 1))]
        return StyleScript(kind, free, tuple(dict.fromkeys(said)))
    parts = _emotion(rng) if kind == "emotion" else _spoken(draw_instruction(rng, alone=kind == "units"))
    said = []
    for _ in range(texts):
        text = describe(parts.action_units, parts.emotion, parts.level, rng=rng, phrasing=phrasing)
        said.append(loosened(text, rng) if loose else text)
    return StyleScript(kind, parts, tuple(dict.fromkeys(said)))


def _emotion(rng: np.random.Generator) -> Instruction:
    emotion = str(rng.choice(EMOTIONS))
    return Instruction("A person speaks.", emotion, int(rng.choice(levels(emotion))))


def _spoken(parts: Instruction) -> Instruction:
    """The same with strengths at those of their words: what a sentence says is what is performed."""
    units: Mapping[str, float] = {
        name: quantise(strength)
        for name, strength in parts.action_units.items()
        if name not in _IDLE and (strength == 0.0 or quantise(strength) > 0.0)
    }
    return Instruction(parts.text, parts.emotion, parts.level, units)


def _plain(rng: np.random.Generator, texts: int, plain: Sequence[str]) -> StyleScript:
    """A sentence that says nothing of a face, words in any order, letters in any order, or no text at all."""
    said = []
    for _ in range(texts):
        words = str(plain[int(rng.integers(len(plain)))]) if plain else ""
        kind = rng.random()
        if kind < 0.3:
            words = " ".join(rng.permutation(words.split()))
        elif kind < 0.5:
            words = "".join(rng.permutation(list(words)))
        elif kind < 0.6:
            words = ""
        said.append(words)
    understood = [text for text in said if not text or not _asks(text)]
    return StyleScript("plain", Instruction("A person speaks."), tuple(dict.fromkeys(understood or [""])))


def _asks(text: str) -> bool:
    found = Instruction.parse(text[:400] if text.strip() else "speak")
    return found.emotion is not None or bool(found.action_units)


def _is_trained_wording(phrase: str) -> bool:
    return not is_held_wording(phrase)


def _held(what: str, share: float) -> bool:
    """A fixed pseudo-random share of all strings."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:4]) < share * 2**32
