"""Words of a sentence: tokens, and the stems that inflections share.

>>> stems_of("the corners of his mouth, raised")
('corner', 'of', 'mouth', ',', 'rais')
"""

from __future__ import annotations

import re
from functools import lru_cache

from avi_lib.instruction.vocabulary import DETERMINERS

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[%.,;:!?()—–]")
"""A number, a word (apostrophes inside it), or a mark; hyphens only separate words."""

MARKS = frozenset("%.,;:!?()—–")
"""Tokens that are punctuation."""

_IRREGULAR = {
    "drawn": "draw", "drew": "draw", "fell": "fall", "fallen": "fall", "sank": "sink", "sunk": "sink", "rose": "rise",
    "risen": "rise", "shook": "shake", "shown": "show", "blown": "blow", "blew": "blow", "hung": "hang",
    "stuck": "stick", "bitten": "bite", "biting": "bite", "swollen": "swell", "thrown": "throw", "threw": "throw",
    "wept": "weep", "hidden": "hide", "kept": "keep", "wore": "wear", "women": "woman", "men": "man",
    "tooth": "teeth", "goes": "go", "lowers": "lowered", "lowering": "lowered", "knitted": "knit", "eyed": "eye",
}  # fmt: skip
"""Forms that no rule leads to their base; "lowers" is kept from "lower", which is also an adjective ("lower lip")."""

_WHOLE = frozenset(
    "bite made please hardly barely bare lately nearly openly closely only this does has was during something nothing"
    " anything less feeling shed need speed indeed content contentment shaken seething sidelong sideways always"
    " widely tightly partly heavily visibly lowered".split()
)
"""Words that the rules would turn into other words ("hardly" into "hard", "pleased" and "please" into one)."""


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """The stem that a word shares with its inflections: raise, raises, raised, raising -> "rais".

    A light form of step 1 of Porter, "An algorithm for suffix stripping" (1980), with -ly removed as well, so that
    "slight" and "slightly" are one word, and -ize read as -ise.
    """
    word = _IRREGULAR.get(word, word)
    if word in _WHOLE:
        return word
    if word.endswith("ily") and len(word) > 5:
        word = word[:-3] + "y"
    elif word.endswith("bly") and len(word) > 5:
        word = word[:-1] + "e"
    elif word.endswith("ly") and len(word) > 4:
        word = word[:-2]
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    else:
        for suffix in ("ing", "ed", "es", "s"):
            rest = word[: -len(suffix)]
            if word.endswith(suffix) and len(rest) >= 3 and not word.endswith(("ss", "us")) and _has_vowel(rest):
                word = rest
                break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if word.endswith("iz") and len(word) > 4:
        word = word[:-1] + "s"
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


def _has_vowel(word: str) -> bool:
    return any(letter in "aeiouy" for letter in word)


def tokenise(text: str) -> list[str]:
    """Words, numbers and punctuation marks of a text in lower case; a possessive 's is cut off, n't becomes "not"."""
    tokens = []
    for token in _TOKEN.findall(text.casefold().replace("’", "'")):
        if token.endswith("n't"):
            tokens.append("not")
        else:
            tokens.append(token.split("'")[0] if "'" in token else token)
    return tokens


def stems_of(phrase: str) -> tuple[str, ...]:
    """The stems under which a phrase is looked up, determiners left out."""
    return tuple(stem(word) for word in tokenise(phrase) if word not in DETERMINERS)
