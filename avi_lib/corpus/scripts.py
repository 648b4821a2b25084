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
from avi_lib.instruction import action_units
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, STRENGTH_WORDS, WORDINGS, levels, prototype
from avi_lib.instruction.grammar import MAX_UNITS, Phrasing, UnsayableError, describe, salient, speakers_of
from avi_lib.instruction.instruction import Instruction

_FAINTEST = 0.12  # strengths are drawn from here on; half of the faintest word's strength is not said
_SEEDS = 2**62
_SIDED = ("left_", "right_", "gaze_", "jaw_left", "jaw_right", "head_turn", "head_tilt")
_ONE_SIDED, _ALONE = 3.0, 0.6
_EQUAL, _FORBIDDEN = 0.35, 0.18  # shares of scripts whose movements have one strength, and that forbid a movement
BUNDLES: tuple[dict[str, float], ...] = (
    *({name: 1.0} for name in sorted(ACTION_UNITS)),
    *(wording.units for wording in WORDINGS if len(wording.units) > 1),
)  # what is drawn together: every unit alone, and the composites ("brows", "a scowl") with the factor of each unit
_MOST_UNITS = MAX_UNITS - max(map(len, BUNDLES))  # movements that are drawn at most, so that one more can be forbidden
_COMPOSITE_PAIRS = {" ".join(pair) for bundle in BUNDLES for pair in combinations(sorted(bundle), 2)}


@dataclass(frozen=True)
class Script:
    """One thing for a face to do over a clip and sentences that say it: a row of the index.

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
        caption = caption.folded()
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
        return different(parts, count, 50 * count, rng, speakers=speakers_of(self.gender))


def different(parts: Instruction, count: int, tries: int, rng: np.random.Generator, **how: Any) -> tuple[str, ...]:
    """Up to `count` different sentences that say parts, found in so many tries; `how` as `describe` takes it."""
    said: dict[str, None] = {}
    for _ in range(tries):
        if len(said) < count:
            with suppress(UnsayableError):
                said[describe(parts.action_units, parts.emotion, parts.level, rng=rng, **how)] = None
    return tuple(said)


def draw_instruction(rng: np.random.Generator) -> Instruction:
    """What a face may be asked for, whatever the clip: action units alone, or an emotion with some or none.

    For training that performs anew at every step; the text says nothing of the parts. Units of one side are drawn more
    often: left and right differ by little, and a network that rarely sees them apart takes them for one.
    """
    if rng.random() < _ALONE:
        units = _free_units(int(rng.integers(1, 5)), rng, _ONE_SIDED)
        return Instruction("A person speaks.", action_units=_forbidding(units, rng))
    emotion, kind = str(rng.choice(EMOTIONS)), str(rng.choice(("label", "mix")))
    return _draw(kind, emotion, int(rng.choice(levels(emotion))), rng)


def _draw(kind: str, emotion: str, level: int, rng: np.random.Generator) -> Instruction:
    """Emotion, level and action units of one script."""
    if kind == "units":
        units = _free_units(int(rng.integers(1, 5)), rng)
        return Instruction("A person speaks.", action_units=_forbidding(units, rng))
    if kind == "other":
        emotion = str(rng.choice([name for name in EMOTIONS if name != emotion]))
        level = int(rng.choice(levels(emotion)))
    if kind == "label":  # up to two of the emotion's own units at a strength near or far from their usual one
        usual = sorted(prototype(emotion, level))
        count = min(int(rng.integers(0, 3)), len(usual))
        chosen = rng.choice(usual, count, replace=False).tolist() if count else []
        units = {name: round(float(rng.uniform(_FAINTEST, 1.0)), 3) for name in chosen}
    else:
        units = _free_units(int(rng.integers(1, 4) if kind == "mix" else rng.integers(0, 3)), rng)
    return Instruction("A person speaks.", emotion, level, _forbidding(units, rng, emotion, level))


def _forbidding(
    units: dict[str, float], rng: np.random.Generator, emotion: str | None = None, level: int | None = None
) -> dict[str, float]:
    """The same; in some scripts a movement is forbidden, half the time one that the emotion would show."""
    if rng.random() >= _FORBIDDEN:
        return units
    usual = list(prototype(emotion, level or 1)) if emotion else []
    if usual and rng.random() < 0.5:
        return units | {str(rng.choice(usual)): 0.0}
    bundle = BUNDLES[int(rng.integers(len(BUNDLES)))]
    return units | {name: 0.0 for name in bundle if name not in units and not name.startswith("blink")}


def _free_units(count: int, rng: np.random.Generator, favoured: float = 1.0, blinks: bool = False) -> dict[str, float]:
    """`count` of `BUNDLES` that a face can show together, at strengths of their own or all at one.

    Those of one side of the face, of the gaze and of the head are `favoured` times as likely as others.
    Blinking is idle behaviour, which is stored apart from the motion that a text has to be true of.
    """
    opposed = action_units.opposites()
    chances = np.array([favoured if next(iter(bundle)).startswith(_SIDED) else 1.0 for bundle in BUNDLES])
    order = rng.choice(len(BUNDLES), len(BUNDLES), replace=False, p=chances / chances.sum())
    same = float(rng.uniform(_FAINTEST, 1.0))
    equal = rng.random() < _EQUAL
    units: dict[str, float] = {}
    taken: set[str] = set()
    for bundle in (BUNDLES[number] for number in order):
        if not count or len(units) + len(bundle) > _MOST_UNITS:
            break
        main = {channel for name in bundle for channel in ACTION_UNITS[name].main_channels() or (name[:5],)}
        apart = taken.isdisjoint(main | {other for channel in main for other in opposed.get(channel, ())})
        if apart and (blinks or "blink" not in main):
            strength = same if equal else float(rng.uniform(_FAINTEST, 1.0))
            units |= {name: round(min(factor * strength, 1.0), 3) for name, factor in bundle.items()}
            taken |= main
            count -= 1
    return units


# Free English: sentences that no frame of the grammar makes, with what the parser understands of them.

_SENTENCES = yaml.load(Path(__file__).with_name("sentences.yaml").read_text("utf-8"), yaml.CBaseLoader)
ONE_EMOTION, TWO_EMOTIONS = tuple(_SENTENCES["one_emotion"]), tuple(_SENTENCES["two_emotions"])
_ACTED = [wording for wording in WORDINGS if wording.acts]
_PHRASED, _COMPOSED = ([w for w in WORDINGS if w.phrases and (len(w.units) > 1) == many] for many in (False, True))


def draw_loose(kind: str, rng: np.random.Generator, phrasing: Phrasing | None = None) -> Instruction:
    """A loose sentence as it is understood; one that is not understood is drawn again.

    kind: "free" speaks of one or two emotions, "moves" of what a face shall not feel or do, or of a phrase such as "a
    scowl". phrasing: which sentences and words may be drawn, as in `grammar.describe`.
    """
    phrasing = phrasing or Phrasing()
    while True:
        if kind == "free":
            templates = TWO_EMOTIONS if rng.random() < 0.3 else ONE_EMOTION
        else:
            templates = _SENTENCES[str(rng.choice(("denied", "forbidden", "phrased"), p=(0.15, 0.25, 0.6)))]
        found = _loose(templates, rng, phrasing)
        if found.emotion if kind == "free" else found.action_units and not found.unknown:
            return found


def _loose(templates: Sequence[str], rng: np.random.Generator, phrasing: Phrasing) -> Instruction:
    template = phrasing.of(templates, rng)
    slots = dict(_SENTENCES["speakers"][int(rng.integers(len(_SENTENCES["speakers"])))])
    pair = rng.choice(EMOTIONS, 2, replace=False)
    for suffix, emotion in zip(("", "2"), map(str, pair), strict=True):
        words = action_units.EMOTION_WORDS[emotion]
        if f"{{felt{suffix}}}" in template:
            level = int(rng.integers(3)) if len(words.adjectives) > 1 else 0
            slots[f"felt{suffix}"] = phrasing.of(words.adjectives[level], rng)
        if f"{{mood{suffix}}}" in template:  # a noun that the grammar says, or a word that is only understood
            level = int(rng.integers(3)) if len(words.nouns) > 1 else 0
            nouns = (words.also if rng.random() < 0.3 and words.also[level] else words.nouns)[level]
            slots[f"mood{suffix}"] = phrasing.of(nouns, rng)
    if "{act}" in template:
        acts = _ACTED[int(rng.integers(len(_ACTED)))].acts
        slots["act"] = " ".join(phrasing.of(acts, rng).replace("*", "").replace("@", slots["his"]).split())
    if "{phrase}" in template:
        known = _COMPOSED if rng.random() < 0.6 else _PHRASED
        slots["phrase"] = phrasing.of(known[int(rng.integers(len(known)))].phrases, rng)
        bucket = STRENGTH_WORDS[int(rng.integers(len(STRENGTH_WORDS)))]
        slots["degree"] = phrasing.of(bucket.adjectives, rng)
    return Instruction.parse(" ".join(template.format_map(slots).split()) or "speak")


def loosened(text: str, rng: np.random.Generator) -> str:
    """A sentence as people type: at times without capital or full stop, with more marks, or all in capitals."""
    bare, kind = text.rstrip("."), rng.random()
    ways = ((0.5, text), (0.7, bare.lower()), (0.8, bare))
    if kind < 0.8:
        return next(way for share, way in ways if kind < share)
    if kind < 0.88:
        return bare + ("!" if rng.random() < 0.7 else "...")
    return text.replace("-", " ") if kind < 0.96 else text.upper()


# Scripts for the diffusion prior: instructions with sentences that say them, and what is held out of training.

HELD_PAIRS, HELD_WORDINGS = 1 / 8, 1 / 6
"""Shares that are held out: of pairs of units that are no composite, or of emotion and unit; and of wordings."""

Kind = Literal["emotion", "mix", "units", "free", "moves", "plain"]
Draw = Literal["train", "combination", "wording"]

_LOOSE = ("free", "moves")
_SHARES: dict[Kind, float] = {"emotion": 0.12, "mix": 0.19, "units": 0.34, "free": 0.15, "moves": 0.15, "plain": 0.05}
_NEVER_HELD_OUT: dict[Draw, tuple[Kind, ...]] = {
    "train": (),
    "combination": ("emotion", "free", "moves", "plain"),
    "wording": ("plain",),
}  # kinds that have no combination, or no wording, to be held out
_COUNTS = (0.3, 0.3, 0.25, 0.15)  # shares of scripts of one to four movements


@dataclass(frozen=True)
class StyleScript:
    """What to perform, and sentences that ask for it.

    `kind`: an emotion, action units with one ("mix") or alone, free English of emotions, or of movements that are
    forbidden or said by a phrase ("moves"), or a sentence that asks for nothing.
    """

    kind: Kind
    instruction: Instruction
    texts: tuple[str, ...]


def is_held_combination(instruction: Instruction) -> bool:
    """Whether an instruction holds a pair of parts that training does not see."""
    named = sorted(name for name, strength in instruction.action_units.items() if strength > 0)
    pairs = [pair for pair in map(" ".join, combinations(named, 2)) if pair not in _COMPOSITE_PAIRS]
    pairs += [f"{instruction.emotion} {name}" for name in named if instruction.emotion]
    return any(_held(pair, HELD_PAIRS) for pair in pairs)


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

    `plain` are sentences that ask for nothing, such as transcripts, for the kind of that name; a kind (see
    `StyleScript`) is drawn when None. `draw` is for training, which nothing held out gets into; or for an evaluation on
    held-out combinations, said in training's wordings, or on held-out wordings of combinations that training sees.
    Raises InputError for a kind that has no combination or wording to be held out.
    """
    if kind in _NEVER_HELD_OUT[draw]:
        raise InputError(f"a kind that combines parts or words for a held-out {draw}", str(kind), "ask for units")
    shares = {name: share for name, share in _SHARES.items() if name not in _NEVER_HELD_OUT[draw]}
    total = sum(shares.values())
    while True:
        phrasing = Phrasing(is_held_wording) if draw == "wording" else _training_phrasing()
        chosen = kind or list(shares)[int(rng.choice(len(shares), p=[share / total for share in shares.values()]))]
        try:
            parts = _parts(chosen, rng, phrasing)
            if is_held_combination(parts) != (draw == "combination") and chosen not in _LOOSE:
                continue
            script = _said(chosen, parts, rng, texts, plain, phrasing, loose=draw == "train")
        except UnsayableError:
            continue
        if draw != "wording" or any(map(is_held_wording, phrasing.said)):
            return script


def said_in_training(parts: Instruction, texts: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Up to `texts` different sentences that say parts in wordings of training; none where it has no words for them."""
    parts = replace(parts, action_units=salient(parts.action_units))
    return different(parts, texts, 50, rng, phrasing=_training_phrasing())


def _parts(kind: Kind, rng: np.random.Generator, phrasing: Phrasing) -> Instruction:
    """What a script of a kind asks for; strengths are those of words: what a sentence says is what is performed."""
    if kind in _LOOSE:
        return draw_loose(kind, rng, phrasing)
    if kind == "plain":
        return Instruction("A person speaks.")
    if kind == "units":
        units = _forbidding(_free_units(int(rng.choice((1, 2, 3, 4), p=_COUNTS)), rng, _ONE_SIDED, blinks=True), rng)
        parts = Instruction("A person speaks.", action_units=units)
    else:
        emotion = str(rng.choice(EMOTIONS))
        level = int(rng.choice(levels(emotion)))
        parts = _draw(str(rng.choice(("label", "mix"))), emotion, level, rng)
        if kind == "emotion":
            forbidden = {name: 0.0 for name, strength in parts.action_units.items() if strength == 0}
            return replace(parts, action_units=forbidden)
    units = {name: action_units.quantise(strength) for name, strength in parts.action_units.items()}
    return replace(parts, action_units={n: v for n, v in units.items() if v > 0 or parts.action_units[n] == 0})


def _said(
    kind: Kind,
    parts: Instruction,
    rng: np.random.Generator,
    texts: int,
    plain: Sequence[str],
    phrasing: Phrasing,
    loose: bool,
) -> StyleScript:
    """A script of these parts, in so many sentences."""
    if kind == "plain":
        said = [_plain(rng, plain) for _ in range(texts)]
        understood = {text: Instruction.parse(text[:400] if text.strip() else "speak") for text in said}
        quiet = [text for text, found in understood.items() if not text or not (found.emotion or found.action_units)]
        return StyleScript(kind, parts, tuple(quiet or [""]))
    if kind in _LOOSE:
        said = [parts.text, *(loosened(parts.text, rng) for _ in range(texts - 1))]
        return StyleScript(kind, parts, tuple(dict.fromkeys(said)))
    said = []
    for _ in range(texts):
        text = describe(parts.action_units, parts.emotion, parts.level, rng=rng, phrasing=phrasing)
        said.append(loosened(text, rng) if loose else text)
    return StyleScript(kind, replace(parts, text=said[0] if said else parts.text), tuple(dict.fromkeys(said)))


def _plain(rng: np.random.Generator, plain: Sequence[str]) -> str:
    """A sentence that says nothing of a face, words in any order, letters in any order, or no text at all."""
    words = str(plain[int(rng.integers(len(plain)))]) if plain else ""
    kind = rng.random()
    if kind < 0.5:
        return " ".join(rng.permutation(words.split())) if kind < 0.3 else "".join(rng.permutation(list(words)))
    return "" if kind < 0.6 else words
