"""Scripts: what the performer is asked to show over a clip, drawn from the clip's label and far beyond it.

A label look-up has a few hundred answers at most, from which "brow strongly down" cannot be learned. So action units
are drawn in many mixes and strengths, with and without an emotion, and the text of every script says just that.

>>> scripts = draw_scripts("clip", "angry", 2, count=3, words=Words(4), rng=np.random.default_rng(7))
>>> scripts[0].kind, scripts[0].emotion, scripts[0].texts[0]
('label', 'angry', 'He is indignant, lowering his brows clearly.')
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

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
from avi_lib.instruction.instruction import Instruction, paraphrases

KINDS = ("label", "mix", "other", "units", "caption", "measured")
"""Why a script is there.

`label`: the emotion that the clip is labelled with, some of its action units at strengths of their own; of real motion
the label alone, where no unit was measured. `mix`: that emotion with action units of any kind. `other`: another
emotion, alone or with action units. `units`: action units alone. `caption`: the sentence that came with the recording.
`measured`: action units found in real motion, and the label.
"""

_FAINTEST = 0.12
"""Strengths are drawn from here on; half of the faintest word's strength is not said."""
_DRAWN = ("mix", "other", "units", "units")
_SEEDS = 2**62
_SIDED = ("left_", "right_", "gaze_", "jaw_left", "jaw_right", "head_turn", "head_tilt")
_ONE_SIDED, _ALONE = 3.0, 0.6


@dataclass(frozen=True)
class Words:
    """How a script is put into words: how many sentences, and the gender of the speaker where it is known."""

    count: int
    gender: str | None = None


@dataclass(frozen=True)
class Script:
    """One thing for a face to do.

    `name` is unique in the corpus. `seed` makes the performance. `texts` are sentences that say the parts, the first
    one being the instruction's text.
    """

    name: str
    kind: str
    emotion: str | None
    level: int | None
    action_units: Mapping[str, float]
    seed: int
    texts: tuple[str, ...]

    def instruction(self) -> Instruction:
        """The script as the performer takes it: strengths as drawn, not as a text rounds them."""
        return Instruction(self.texts[0], self.emotion, self.level, self.action_units)


def draw_scripts(
    clip: str, emotion: str | None, level: int | None, count: int, words: Words, rng: np.random.Generator
) -> tuple[Script, ...]:
    """`count` scripts for a clip; the first one keeps to its label, or to a neutral face where there is none."""
    kinds = ["label", *rng.choice(_DRAWN, count - 1)] if count > 1 else ["label"]
    scripts = []
    for i, kind in enumerate(kinds):
        felt, how, units = _draw(str(kind), emotion or "neutral", level or 1, rng)
        scripts.append(_script(f"{clip}/{i}", str(kind), felt, how, units, words, rng))
    return tuple(scripts)


def draw_instruction(rng: np.random.Generator, alone: bool | None = None) -> Instruction:
    """What a face may be asked for, whatever the clip: action units alone, or an emotion with some or none.

    For training that performs anew at every step; the text says nothing of the parts. Units of one side are drawn more
    often: left and right differ by little, and a network that rarely sees them apart takes them for one. `alone` says
    which of the two it is, None draws that too.
    """
    if rng.random() < _ALONE if alone is None else alone:
        return Instruction("A person speaks.", action_units=_free_units(int(rng.integers(1, 5)), rng, _ONE_SIDED))
    emotion, kind = str(rng.choice(EMOTIONS)), str(rng.choice(("label", "mix")))
    return Instruction("A person speaks.", *_draw(kind, emotion, int(rng.choice(levels(emotion))), rng))


def caption_script(clip: str, instruction: Instruction, words: Words, rng: np.random.Generator) -> Script:
    """The script of a sentence that came with the recording; the sentence stays the first text as it is."""
    parts = Instruction(instruction.text, instruction.emotion, instruction.level, salient(instruction.action_units))
    others = _wordings(parts, replace(words, count=words.count - 1), rng)
    seed = int(rng.integers(_SEEDS))
    wordings = (instruction.text, *others)
    return Script(
        f"{clip}/0", "caption", instruction.emotion, instruction.level, instruction.action_units, seed, wordings
    )


def measured_script(
    clip: str,
    emotion: str | None,
    level: int | None,
    action_units: Mapping[str, float],
    caption: Instruction | None,
    words: Words,
    rng: np.random.Generator,
) -> Script:
    """The script that real motion followed: its label and measured action units; a caption is its first text."""
    kind = "measured" if action_units or not emotion else "label"
    script = _script(f"{clip}/0", kind, emotion, level, salient(action_units), words, rng)
    return script if caption is None else replace(script, texts=(caption.text, *script.texts[: words.count - 1]))


def _script(
    name: str,
    kind: str,
    emotion: str | None,
    level: int | None,
    units: Mapping[str, float],
    words: Words,
    rng: np.random.Generator,
) -> Script:
    plain = Instruction("A person speaks.", emotion, level, units)
    return Script(name, kind, emotion, level, dict(units), int(rng.integers(_SEEDS)), _wordings(plain, words, rng))


def _wordings(instruction: Instruction, words: Words, rng: np.random.Generator) -> tuple[str, ...]:
    """That many different sentences, or as many as the grammar has for parts so few."""
    if words.count < 1:
        return ()
    seed = int(rng.integers(_SEEDS))
    who = speakers_of(words.gender)
    try:
        return paraphrases(instruction, words.count, seed, speakers=who)
    except InputError:
        again = np.random.default_rng(seed)
        parts = (instruction.action_units, instruction.emotion, instruction.level)
        return tuple(dict.fromkeys(describe(*parts, rng=again, speakers=who) for _ in range(50 * words.count)))


def _draw(
    kind: str, emotion: str, level: int, rng: np.random.Generator
) -> tuple[str | None, int | None, dict[str, float]]:
    """Emotion, level and action units of one script."""
    if kind == "label":
        return emotion, level, _of_prototype(emotion, level, rng)
    if kind == "mix":
        return emotion, level, _free_units(int(rng.integers(1, 4)), rng)
    if kind == "other":
        other = str(rng.choice([name for name in EMOTIONS if name != emotion]))
        return other, int(rng.choice(levels(other))), _free_units(int(rng.integers(0, 3)), rng)
    return None, None, _free_units(int(rng.integers(1, 5)), rng)


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
    opposed = opposites()
    units: dict[str, float] = {}
    taken: set[str] = set()
    for name in _order(rng, favoured):
        if len(units) == count:
            break
        main = set(ACTION_UNITS[name].main_channels()) or {str(name).partition("_")[0]}
        if "blink" in main or taken & (main | {other for channel in main for other in opposed.get(channel, ())}):
            continue
        units[str(name)] = round(float(rng.uniform(_FAINTEST, 1.0)), 3)
        taken |= main
    return units


def _order(rng: np.random.Generator, favoured: float) -> list[str]:
    """All action units in random order."""
    names = sorted(ACTION_UNITS)
    if favoured == 1.0:
        return [str(name) for name in rng.permutation(names)]
    chances = np.array([favoured if name.startswith(_SIDED) else 1.0 for name in names])
    return [str(name) for name in rng.choice(names, len(names), replace=False, p=chances / chances.sum())]


# Free English: sentences that no frame of the grammar makes, with what the scanner understands of them.


ONE_EMOTION = (
    "{he} can hardly hide {his} {mood}",
    "{he} can barely contain {his} {mood}",
    "there is a hint of {mood} in {his} face",
    "a trace of {mood} in {his} eyes",
    "you can tell that {he} is {felt}",
    "you can hear {mood} in every word",
    "{mood} is written all over {his} face",
    "{he} says it as if {he} were {felt}",
    "make {him} look {felt}",
    "make it more {felt}",
    "more {mood}, please",
    "eyes full of {mood}",
    "i want {him} to seem {felt}",
    "read this like someone who is {felt}",
    "say it the way {felt} people do",
    "{his} voice is full of {mood}",
    "{felt}",
    "very {felt}",
    "a little {felt}",
    "only slightly {felt}",
    "{mood}",
    "pure {mood}",
    "{he} answers, {felt}",
    "talk like {someone} who is {felt}",
    "{he} is so {felt}",
    "{he} does not say it, but {he} is {felt}",
    "deeply {felt}, {he} goes on speaking",
    "the face of {someone} who is really {felt}",
    "whatever {he} says, {he} feels {felt}",
    "{he} could not be more {felt}",
    "a {felt} face",
    "the look of {mood}",
    "act {felt}",
    "please be {felt} here",
    "somewhat {felt}, i would say",
    "extremely {felt}!",
)
"""Loose sentences with one emotion: `{felt}` an adjective, `{mood}` a noun, `{he}`, `{his}`, `{him}` the speaker."""

TWO_EMOTIONS = (
    "{felt} and {felt2}",
    "{he} looks {felt} and {felt2}",
    "half {felt}, half {felt2}",
    "a mixture of {mood} and {mood2}",
    "{he} is {felt} but also {felt2}",
    "{mood} mixed with {mood2}",
    "{he} feels both {felt} and {felt2}",
    "with {mood} and a touch of {mood2}",
    "{felt}, yet a little {felt2}",
    "caught between {mood} and {mood2}",
)
"""Loose sentences with two of them."""

_SPEAKERS = (
    ("he", "his", "him", "a man"),
    ("she", "her", "her", "a woman"),
    ("they", "their", "them", "someone"),
    ("the speaker", "their", "the speaker", "somebody"),
)

_ANYTHING = Phrasing()


def draw_free(rng: np.random.Generator, phrasing: Phrasing = _ANYTHING) -> Instruction:
    """A loose sentence as it is understood; one in which no emotion is understood is drawn again.

    phrasing: which sentences and words may be drawn, as in `grammar.describe`.
    """
    while True:
        template = phrasing.of(TWO_EMOTIONS if rng.random() < 0.3 else ONE_EMOTION, rng)
        he, his, him, someone = _SPEAKERS[int(rng.integers(len(_SPEAKERS)))]
        first, second = (str(name) for name in rng.choice(EMOTIONS, 2, replace=False))
        slots = {"he": he, "his": his, "him": him, "someone": someone}
        for suffix, emotion in (("", first), ("2", second)):
            if f"{{felt{suffix}}}" in template:
                slots[f"felt{suffix}"] = _adjective(emotion, rng, phrasing)
            if f"{{mood{suffix}}}" in template:
                slots[f"mood{suffix}"] = _noun(emotion, rng, phrasing)
        found = Instruction.parse(template.format_map(slots))
        if found.emotion is not None:
            return found


def loosened(text: str, rng: np.random.Generator) -> str:
    """A sentence as people type: at times without capital or full stop, with more marks, or all in capitals."""
    kind = rng.random()
    if kind < 0.5:
        return text
    if kind < 0.7:
        return text.rstrip(".").lower()
    if kind < 0.8:
        return text.rstrip(".")
    if kind < 0.88:
        return text.rstrip(".") + ("!" if rng.random() < 0.7 else "...")
    if kind < 0.96:
        return text.replace("-", " ")
    return text.upper()


def _adjective(emotion: str, rng: np.random.Generator, phrasing: Phrasing) -> str:
    words = EMOTION_WORDS[emotion]
    return phrasing.of(words.adjectives[int(rng.integers(3)) if len(words.adjectives) > 1 else 0], rng)


def _noun(emotion: str, rng: np.random.Generator, phrasing: Phrasing) -> str:
    """A noun that the grammar says, or a word that is only understood."""
    words = EMOTION_WORDS[emotion]
    level = int(rng.integers(3)) if len(words.nouns) > 1 else 0
    return phrasing.of((words.also if rng.random() < 0.3 and words.also[level] else words.nouns)[level], rng)


# Scripts for the diffusion prior: instructions with sentences that say them, and what is held out of training.


HELD_PAIRS, HELD_STRENGTHS, HELD_WORDINGS = 1 / 8, 1 / 10, 1 / 6
"""Shares that are held out: of pairs of units or of emotion and unit, of strengths of a unit, of wordings."""

Kind = Literal["emotion", "mix", "units", "free", "plain"]
Draw = Literal["train", "combination", "wording"]

_IDLE = frozenset(name for name in ACTION_UNITS if name.startswith("blink"))
"""Blinking is idle behaviour, which no style tells."""
_ALONE_STYLE_SCRIPTS: dict[Draw, tuple[Kind, ...]] = {
    "combination": ("emotion", "free", "plain"),
    "wording": ("plain",),
}
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
    if draw != "train" and kind in _ALONE_STYLE_SCRIPTS[draw]:
        raise InputError(f"a kind that combines parts or words for a held-out {draw}", str(kind), "ask for units")
    shares = {name: share for name, share in _SHARES if draw == "train" or name not in _ALONE_STYLE_SCRIPTS[draw]}
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
