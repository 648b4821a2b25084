"""Scripts: what the performer is asked to show over a clip, drawn from the clip's label and far beyond it.

A label look-up has a few hundred answers at most, from which "brow strongly down" cannot be learned. So action units
are drawn in many mixes and strengths, with and without an emotion, and the text of every script says just that.

>>> scripts = draw_scripts("clip", "angry", 2, count=3, words=Words(4), rng=np.random.default_rng(7))
>>> scripts[0].kind, scripts[0].emotion, scripts[0].texts[0]
('label', 'angry', 'He is indignant, lowering his brows clearly.')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, opposites
from avi_lib.instruction.grammar import describe, paraphrases, salient, speakers_of
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS, levels, prototype

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
