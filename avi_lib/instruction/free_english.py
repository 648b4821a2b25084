"""Free English: sentences that no frame of the grammar makes, with what the scanner understands of them.

>>> draw_free(np.random.default_rng(0))
Instruction(text='Trying to hide her grief.', emotion='sad', level=3, ...)

Where the grammar puts parts into words, here words come first: a loose sentence is drawn and parsed. It is the way
people write who never saw a template, with words that the grammar understands and does not say itself.
"""

from __future__ import annotations

import numpy as np

from avi_lib.instruction.grammar import Phrasing
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.prototypes import EMOTIONS
from avi_lib.instruction.vocabulary import EMOTION_WORDS

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

_ANYTHING = Phrasing(lambda _: True)


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
    return phrasing.of(words.adjectives(int(rng.integers(1, 4)) if words.mild else 1), rng)


def _noun(emotion: str, rng: np.random.Generator, phrasing: Phrasing) -> str:
    """A noun that the grammar says, or a word that is only understood."""
    words = EMOTION_WORDS[emotion]
    level = int(rng.integers(3)) if words.mild else 0
    return phrasing.of((words.also if rng.random() < 0.3 and words.also[level] else words.nouns)[level], rng)
