"""Sentences for the playground's sliders: plain ones, and the same said otherwise.

>>> plain_sentence({"brow_down": 0.9}, "angry", 3)
'A person feels furious and speaks with brow strongly down.'

A sentence that is rewritten at every move of a slider must not jump about: every word is the first of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from avi_lib.instruction.grammar import SPEAKERS, Speaker, describe
from avi_lib.instruction.vocabulary import STRENGTH_WORDS

PLAIN = "plainly"
"""Name of the strength that is said by no word at all."""

STRENGTHS: dict[str, float] = {"without": 0.0} | {words.before[0] or PLAIN: words.strength for words in STRENGTH_WORDS}
"""What a slider can be set to, by the word that says it; `without` forbids the movement."""


class _First(np.random.Generator):
    """Draws the first of everything, in the order given."""

    def random(self, *_: Any, **__: Any) -> Any:
        """The least there is."""
        return 0.0

    def integers(self, *_: Any, **__: Any) -> Any:
        """The first place."""
        return 0

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """The order as it is."""
        return np.arange(x) if isinstance(x, int) else np.asarray(x)


def plain_sentence(
    action_units: Mapping[str, float], emotion: str | None, level: int | None, speaker: Speaker = SPEAKERS[0]
) -> str:
    """The plainest sentence of the grammar that says these parts of a speaker.

    Raises InputError for more action units than a sentence holds (`grammar.MAX_UNITS`), or parts that are none.
    """
    return describe(action_units, emotion, level, rng=_First(np.random.PCG64(0)), speakers=(speaker,))


def speaker_of(sentence: str) -> Speaker:
    """Whom a sentence is about, by its first subject; a person where it names none."""
    found = ((re.search(rf"\b{speaker.subject}\b", sentence.lower()), speaker) for speaker in SPEAKERS)
    placed = [(match.start(), speaker) for match, speaker in found if match]
    return min(placed, key=lambda each: each[0])[1] if placed else SPEAKERS[0]
