"""Scripts: what the performer is asked to show over a clip, drawn from the clip's label and far beyond it.

A label look-up has a few hundred answers at most, from which "brow strongly down" cannot be learned. So action units
are drawn in many mixes and strengths, with and without an emotion, and the text of every script says just that.

>>> writer = ScriptWriter("clip", "train", "angry", 2, None, texts=4, rng=np.random.default_rng(7))
>>> scripts = writer.draw(3)
>>> scripts[0].kind, scripts[0].emotion, scripts[0].texts[0]
('label', 'angry', 'He is indignant, lowering his brows clearly.')
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    EMOTION_WORDS,
    EMOTIONS,
    levels,
    opposites,
    prototype,
    quantise,
)
from avi_lib.instruction.grammar import Phrasing, UnsayableError, describe, salient, speakers_of
from avi_lib.instruction.instruction import Instruction

_FAINTEST = 0.12
"""Strengths are drawn from here on; half of the faintest word's strength is not said."""
_SEEDS = 2**62
_SIDED = ("left_", "right_", "gaze_", "jaw_left", "jaw_right", "head_turn", "head_tilt")
_ONE_SIDED, _ALONE = 3.0, 0.6


@dataclass(frozen=True)
class Script:
    """One thing for a face to do over a clip and sentences that say it: a row of `scripts.parquet`.

    Its kind is why it is there. `label`: the emotion that the clip is labelled with, some of its action units at
    strengths of their own; of real motion the label alone, where no unit was measured. `mix`: that emotion with action
    units of any kind. `other`: another emotion, alone or with action units. `units`: action units alone. `caption`:
    the sentence that came with the recording. `measured`: action units found in real motion, and the label.
    """

    script: str  # unique name: the clip's and a number
    clip: str  # the clip it was drawn for
    split: str  # that clip's
    kind: str
    emotion: str | None
    level: int | None
    units: tuple[str, ...]  # names of action units
    strengths: tuple[float, ...]  # of theirs, 0-1 as drawn, not as a text rounds them
    seed: int  # makes the performance
    texts: tuple[str, ...]  # sentences that say the parts, the first one being the instruction's text

    @property
    def action_units(self) -> dict[str, float]:
        """Strength 0-1 by the name of the action unit."""
        return dict(zip(self.units, self.strengths, strict=True))

    def instruction(self) -> Instruction:
        """The script as the performer takes it."""
        return Instruction(self.texts[0], self.emotion, self.level, self.action_units)


@dataclass(frozen=True)
class ScriptWriter:
    """Writes the scripts of a clip with a label, or without: `texts` sentences each; no gender is guessed."""

    clip: str
    split: str
    emotion: str | None
    level: int | None
    gender: str | None
    texts: int
    rng: np.random.Generator

    def draw(self, count: int) -> tuple[Script, ...]:
        """`count` scripts; the first one keeps to the label, or to a neutral face where there is none."""
        others = self.rng.choice(("mix", "other", "units", "units"), count - 1) if count > 1 else ()
        kinds = ("label", *map(str, others))
        label = self.emotion or "neutral", self.level or 1
        return tuple(self._script(i, kind, _draw(kind, *label, self.rng)) for i, kind in enumerate(kinds))

    def of_caption(self, caption: Instruction) -> Script:
        """The script of a sentence that came with the recording; the sentence stays the first text as it is."""
        others = self._say(replace(caption, action_units=salient(caption.action_units)), self.texts - 1)
        return self._script(0, "caption", caption, (caption.text, *others))

    def of_motion(self, action_units: Mapping[str, float], caption: Instruction | None) -> Script:
        """The script that real motion followed: its label and measured action units; a caption is its first text."""
        kind = "measured" if action_units or not self.emotion else "label"
        parts = Instruction("A person speaks.", self.emotion, self.level, salient(action_units))
        script = self._script(0, kind, parts)
        return script if caption is None else replace(script, texts=(caption.text, *script.texts[: self.texts - 1]))

    def _script(self, number: int, kind: str, parts: Instruction, texts: tuple[str, ...] | None = None) -> Script:
        seed, said = int(self.rng.integers(_SEEDS)), texts or self._say(parts, self.texts)
        units = dict(parts.action_units)
        what = (parts.emotion, parts.level, tuple(units), tuple(map(float, units.values())))
        return Script(f"{self.clip}/{number}", self.clip, self.split, kind, *what, seed, said)

    def _say(self, parts: Instruction, count: int) -> tuple[str, ...]:
        """That many different sentences, or as many as the grammar has for parts so few."""
        if count < 1:
            return ()
        rng = np.random.default_rng(int(self.rng.integers(_SEEDS)))
        return _different(parts, count, 50 * count, rng, speakers=speakers_of(self.gender))


def _different(parts: Instruction, count: int, tries: int, rng: np.random.Generator, **how: Any) -> tuple[str, ...]:
    """Up to `count` different sentences that say parts, found in so many tries; `how` as `describe` takes it."""
    said: dict[str, None] = {}
    for _ in range(tries):
        if len(said) < count:
            with suppress(UnsayableError):
                said[describe(parts.action_units, parts.emotion, parts.level, rng=rng, **how)] = None
    return tuple(said)


def draw_instruction(rng: np.random.Generator, alone: bool | None = None) -> Instruction:
    """What a face may be asked for, whatever the clip: action units alone, or an emotion with some or none.

    For training that performs anew at every step; the text says nothing of the parts. Units of one side are drawn more
    often: left and right differ by little, and a network that rarely sees them apart takes them for one. `alone` says
    which of the two it is, None draws that too.
    """
    if rng.random() < _ALONE if alone is None else alone:
        return Instruction("A person speaks.", action_units=_free_units(int(rng.integers(1, 5)), rng, _ONE_SIDED))
    emotion, kind = str(rng.choice(EMOTIONS)), str(rng.choice(("label", "mix")))
    return _draw(kind, emotion, int(rng.choice(levels(emotion))), rng)


def _draw(kind: str, emotion: str, level: int, rng: np.random.Generator) -> Instruction:
    """Emotion, level and action units of one script."""
    if kind == "units":
        return Instruction("A person speaks.", action_units=_free_units(int(rng.integers(1, 5)), rng))
    if kind == "other":
        emotion = str(rng.choice([name for name in EMOTIONS if name != emotion]))
        level = int(rng.choice(levels(emotion)))
    if kind == "label":
        units = _of_prototype(emotion, level, rng)
    else:
        units = _free_units(int(rng.integers(1, 4) if kind == "mix" else rng.integers(0, 3)), rng)
    return Instruction("A person speaks.", emotion, level, units)


def _of_prototype(emotion: str, level: int, rng: np.random.Generator) -> dict[str, float]:
    """Up to two of the emotion's own units at a strength near or far from their usual one; rarely one is forbidden."""
    usual = prototype(emotion, level)
    count = min(int(rng.integers(0, 3)), len(usual))
    chosen = [str(name) for name in rng.choice(sorted(usual), count, replace=False)] if count else []
    units = {name: round(float(rng.uniform(_FAINTEST, 1.0)), 3) for name in chosen}
    if units and rng.random() < 0.15:
        units[chosen[0]] = 0.0
    return units


def _free_units(count: int, rng: np.random.Generator, favoured: float = 1.0) -> dict[str, float]:
    """`count` action units that a face can show together, at strengths of their own.

    Those of one side of the face, of the gaze and of the head are `favoured` times as likely as others.
    Blinking is idle behaviour, which is stored apart from the motion that a text has to be true of.
    """
    names, opposed = sorted(ACTION_UNITS), opposites()
    chances = np.array([favoured if name.startswith(_SIDED) else 1.0 for name in names])
    if favoured == 1.0:
        order = rng.permutation(names)
    else:
        order = rng.choice(names, len(names), replace=False, p=chances / chances.sum())
    units: dict[str, float] = {}
    taken: set[str] = set()
    for name in map(str, order):
        if len(units) == count:
            break
        main = set(ACTION_UNITS[name].main_channels()) or {name.partition("_")[0]}
        if "blink" in main or taken & (main | {other for channel in main for other in opposed.get(channel, ())}):
            continue
        units[name] = round(float(rng.uniform(_FAINTEST, 1.0)), 3)
        taken |= main
    return units


# Free English: sentences that no frame of the grammar makes, with what the parser understands of them.

_SENTENCES = yaml.load(Path(__file__).with_name("sentences.yaml").read_text("utf-8"), yaml.CBaseLoader)
ONE_EMOTION, TWO_EMOTIONS = tuple(_SENTENCES["one_emotion"]), tuple(_SENTENCES["two_emotions"])


def draw_free(rng: np.random.Generator, phrasing: Phrasing | None = None) -> Instruction:
    """A loose sentence as it is understood; one in which no emotion is understood is drawn again.

    phrasing: which sentences and words may be drawn, as in `grammar.describe`.
    """
    phrasing = phrasing or Phrasing()
    while True:
        template = phrasing.of(TWO_EMOTIONS if rng.random() < 0.3 else ONE_EMOTION, rng)
        slots = dict(_SENTENCES["speakers"][int(rng.integers(len(_SENTENCES["speakers"])))])
        pair = rng.choice(EMOTIONS, 2, replace=False)
        for suffix, emotion in zip(("", "2"), map(str, pair), strict=True):
            words = EMOTION_WORDS[emotion]
            if f"{{felt{suffix}}}" in template:
                level = int(rng.integers(3)) if len(words.adjectives) > 1 else 0
                slots[f"felt{suffix}"] = phrasing.of(words.adjectives[level], rng)
            if f"{{mood{suffix}}}" in template:  # a noun that the grammar says, or a word that is only understood
                level = int(rng.integers(3)) if len(words.nouns) > 1 else 0
                nouns = (words.also if rng.random() < 0.3 and words.also[level] else words.nouns)[level]
                slots[f"mood{suffix}"] = phrasing.of(nouns, rng)
        found = Instruction.parse(template.format_map(slots))
        if found.emotion is not None:
            return found


def loosened(text: str, rng: np.random.Generator) -> str:
    """A sentence as people type: at times without capital or full stop, with more marks, or all in capitals."""
    kind = rng.random()
    bare = text.rstrip(".")
    if kind < 0.5:
        return text
    if kind < 0.7:
        return bare.lower()
    if kind < 0.8:
        return bare
    if kind < 0.88:
        return bare + ("!" if rng.random() < 0.7 else "...")
    return text.replace("-", " ") if kind < 0.96 else text.upper()


# Scripts for the diffusion prior: instructions with sentences that say them, and what is held out of training.

HELD_PAIRS, HELD_STRENGTHS, HELD_WORDINGS = 1 / 8, 1 / 10, 1 / 6
"""Shares that are held out: of pairs of units or of emotion and unit, of strengths of a unit, of wordings."""

Kind = Literal["emotion", "mix", "units", "free", "plain"]
Draw = Literal["train", "combination", "wording"]

_SHARES: dict[Kind, float] = {"emotion": 0.12, "mix": 0.23, "units": 0.4, "free": 0.2, "plain": 0.05}
_NEVER_HELD_OUT: dict[Draw, tuple[Kind, ...]] = {
    "train": (),
    "combination": ("emotion", "free", "plain"),
    "wording": ("plain",),
}
"""Kinds that have no combination, or no wording, to be held out."""


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


def _held(what: str, share: float) -> bool:
    """A fixed pseudo-random share of all strings."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:4]) < share * 2**32


def _training_phrasing() -> Phrasing:
    return Phrasing(lambda phrase: not is_held_wording(phrase), strict=True)


def draw_style_script(
    rng: np.random.Generator, texts: int, plain: Sequence[str] = (), draw: Draw = "train", kind: Kind | None = None
) -> StyleScript:
    """One script said in at most `texts` different sentences.

    Args:
        rng: the source of every choice.
        texts: sentences that say it, at most; equal ones are dropped.
        plain: sentences that ask for nothing, such as transcripts, for the kind of that name.
        draw: for training, which nothing held out gets into; or for an evaluation on held-out combinations, said in
            training's wordings, or on held-out wordings of combinations that training sees.
        kind: see `StyleScript`; drawn when None. InputError when it has no combination or wording to be held out.
    """
    if kind in _NEVER_HELD_OUT[draw]:
        raise InputError(f"a kind that combines parts or words for a held-out {draw}", str(kind), "ask for units")
    shares = {name: share for name, share in _SHARES.items() if name not in _NEVER_HELD_OUT[draw]}
    total = sum(shares.values())
    while True:
        phrasing = Phrasing(is_held_wording) if draw == "wording" else _training_phrasing()
        chosen = kind or list(shares)[int(rng.choice(len(shares), p=[share / total for share in shares.values()]))]
        try:
            script = _drawn(chosen, rng, texts, plain, phrasing, loose=draw == "train")
        except UnsayableError:
            continue
        holds = chosen != "free" and is_held_combination(script.instruction)
        fresh = draw != "wording" or any(map(is_held_wording, phrasing.said))
        if holds == (draw == "combination") and fresh:
            return script


def said_in_training(parts: Instruction, texts: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Up to `texts` different sentences that say parts in wordings of training; none where it has no words for them."""
    parts = replace(parts, action_units=salient(parts.action_units))
    return _different(parts, texts, 50, rng, phrasing=_training_phrasing())


def _drawn(
    kind: Kind, rng: np.random.Generator, texts: int, plain: Sequence[str], phrasing: Phrasing, loose: bool
) -> StyleScript:
    if kind == "plain":
        said = [_plain(rng, plain) for _ in range(texts)]
        quiet = [text for text in said if not text or not _asks(text)]
        return StyleScript(kind, Instruction("A person speaks."), tuple(dict.fromkeys(quiet or [""])))
    if kind == "free":
        parts = draw_free(rng, phrasing)
        said = [parts.text, *(loosened(parts.text, rng) for _ in range(texts - 1))]
        return StyleScript(kind, parts, tuple(dict.fromkeys(said)))
    if kind == "emotion":
        emotion = str(rng.choice(EMOTIONS))
        parts = Instruction("A person speaks.", emotion, int(rng.choice(levels(emotion))))
    else:  # strengths at those of their words: what a sentence says is what is performed; blinks are idle behaviour
        parts = draw_instruction(rng, alone=kind == "units")
        units = {
            name: quantise(strength)
            for name, strength in parts.action_units.items()
            if not name.startswith("blink") and (strength == 0.0 or quantise(strength) > 0.0)
        }
        parts = replace(parts, action_units=units)
    said = []
    for _ in range(texts):
        text = describe(parts.action_units, parts.emotion, parts.level, rng=rng, phrasing=phrasing)
        said.append(loosened(text, rng) if loose else text)
    return StyleScript(kind, parts, tuple(dict.fromkeys(said)))


def _plain(rng: np.random.Generator, plain: Sequence[str]) -> str:
    """A sentence that says nothing of a face, words in any order, letters in any order, or no text at all."""
    words = str(plain[int(rng.integers(len(plain)))]) if plain else ""
    kind = rng.random()
    if kind < 0.3:
        return " ".join(rng.permutation(words.split()))
    if kind < 0.5:
        return "".join(rng.permutation(list(words)))
    return "" if kind < 0.6 else words


def _asks(text: str) -> bool:
    found = Instruction.parse(text[:400] if text.strip() else "speak")
    return found.emotion is not None or bool(found.action_units)
