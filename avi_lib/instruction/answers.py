"""Answers: the plain sentence that is written of a clip, the questions asked of the language model, and their words.

>>> answer("angry", 3)
'A person feels extremely angry and speaks with a big frown and lips tightened.'
>>> question()
'How does this person feel?'

Every answer has one frame, in which the emotion's level and name have their place: what a model thinks of a voice is
read there, from the probabilities of the `feelings`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from avi_lib.instruction.grammar import FRAMES, SPEAKERS, Frame, describe, salient
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS, levels, prototype

OPENING = "A person feels"
"""How every answer begins; the emotion has its place behind it."""
UNITS = 2
"""Action units that an answer names."""
WORDINGS = 24
"""Wordings of the units that are drawn; the shortest is taken."""
CONSIDERED = 3
"""Action units of a prototype that a choice of sentences is about."""
CHOICES = 3
"""Wordings of each part of them that are drawn."""
DEGREES = ("slightly", "quite", "extremely")
"""Words for the levels 1 to 3."""
NAMES = {
    "neutral": "neutral",
    "calm": "calm",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fear": "afraid",
    "disgusted": "disgusted",
    "surprised": "surprised",
    "contempt": "contemptuous",
    "bored": "bored",
}
"""The word for every emotion."""

QUESTIONS = (
    "How does this person feel?",
    "What does the speaker feel, and how does it show?",
    "Describe the feeling and the face of the speaker.",
    "Which emotion is in this voice?",
    "What goes on in the face of this person?",
    "Say what the speaker feels.",
    "Write down the expression that fits this voice.",
    "How does the face move?",
)
"""Ways to ask; the first is the one that is asked outside of training."""


class Feeling(NamedTuple):
    """An emotion of `EMOTIONS` at one of its levels."""

    emotion: str
    level: int


FEELINGS = tuple(Feeling(emotion, level) for emotion in EMOTIONS for level in levels(emotion))
"""Every feeling an answer can name."""


def question(number: int = 0) -> str:
    """One of `QUESTIONS`."""
    return QUESTIONS[number]


def felt(feeling: Feeling) -> str:
    """The words for a feeling, such as "quite angry"."""
    name = NAMES[feeling.emotion]
    return name if len(levels(feeling.emotion)) == 1 else f"{DEGREES[feeling.level - 1]} {name}"


@cache
def answer(emotion: str, level: int) -> str:
    """The sentence for an emotion at a level, with the strongest action units of its prototype."""
    return worded(Feeling(emotion, level), prototype(emotion, level))


@cache
def choices(feeling: Feeling) -> tuple[str, ...]:
    """Sentences for a feeling, each understood in full: one or two of its strongest action units in several wordings.

    The first is `answer`.
    """
    units = salient(prototype(*feeling), CONSIDERED)
    some = [subset for size in (2, 1) for subset in itertools.combinations(units, size)]
    found = dict.fromkeys([answer(*feeling)])
    for subset in some:
        frame = _frame()
        for seed in range(CHOICES):
            said = describe(
                {name: units[name] for name in subset},
                rng=np.random.default_rng(seed),
                frame=frame,
                speakers=SPEAKERS[:1],
            )
            found[f"{OPENING} {felt(feeling)} and {said.removeprefix('A person ')}"] = None
    return tuple(text for text in found if _means(text, feeling))


def _means(text: str, feeling: Feeling) -> bool:
    understood = Instruction.parse(text)
    return (understood.emotion, understood.level) == feeling and not understood.unknown


def _frame() -> Frame:
    """The plain sentence that names action units."""
    return next(frame for frame in FRAMES if frame.text == "{who} {speak} with {states}.")


def worded(feeling: Feeling, units: Mapping[str, float]) -> str:
    """The sentence for a feeling and action units (name to strength 0-1), of which it names the strongest `UNITS`."""
    opening = f"{OPENING} {felt(feeling)}"
    if not (kept := salient(units, UNITS)):
        return f"{opening}."
    frame = _frame()
    drawn = [describe(kept, rng=np.random.default_rng(i), frame=frame, speakers=SPEAKERS[:1]) for i in range(WORDINGS)]
    return f"{opening} and {min(drawn, key=len).removeprefix('A person ')}"
