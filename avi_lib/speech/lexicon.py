"""How words are pronounced: a transcript in, the words with their alternative pronunciations in ARPAbet out.

Words come from the CMU pronouncing dictionary inside pocketsphinx; hama's G2P network reads the others.

>>> pronounce("Read 2 PDFs!")[0]
Word(text='read', pronunciations=(('R', 'EH', 'D'), ('R', 'IY', 'D')))
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain, count, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from avi_lib.speech.phones import arpabet

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (10**2, "hundred"))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
SYMBOLS = {"&": "and", "%": "percent", "+": "plus", "@": "at", "=": "equals", "°": "degrees"}
CURRENCIES = {"$": "dollars", "€": "euros", "£": "pounds"}
LARGEST_NUMBER = 10**12 - 1

_TOKEN = re.compile(r"[$€£]?\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?\b|[^\W\d_]+(?:'[^\W\d_]+)*'?|[&%+@=°]", re.IGNORECASE)


class Word(NamedTuple):
    """A spoken word in lower case and the ways it may be pronounced, likeliest first."""

    text: str
    pronunciations: tuple[tuple[str, ...], ...]


def pronounce(text: str) -> tuple[Word, ...]:
    """The words of a transcript as they are spoken, in order; punctuation and words without a sound are left out."""
    words = []
    for spelling in spoken_words(text):
        pronunciations = _look_up(spelling) or _look_up(spelling.strip("'")) or _guess(spelling)
        if pronunciations:
            words.append(Word(spelling, pronunciations))
    return tuple(words)


def spoken_words(text: str) -> list[str]:
    """Split a transcript into the words that are said: numbers and common symbols spelled out, capitals as letters.

    "At 9:30 Dr. O'Neil's BBC show" gives at, nine, thirty, dr, o'neil's, b, b, c, show.
    """
    normal = unicodedata.normalize("NFKC", text).translate(str.maketrans("\u2019\u2018`", "'''"))
    words: list[str] = []
    for token in _TOKEN.findall(normal):
        if token in SYMBOLS:
            words.append(SYMBOLS[token])
        elif any(character.isdigit() for character in token):
            words += _spoken_number(token)
        elif (
            token.isupper() and 1 < len(token) <= 5 and normal != normal.upper() and token.lower() not in _dictionary()
        ):
            words += token.lower()
        else:
            words.append(token.lower())
    return words


def spell_number(number: int) -> str:
    """A whole number from 0 to 999,999,999,999 in English words, as "three hundred five"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    scale, name = next((scale, name) for scale, name in SCALES if number >= scale)
    head = f"{spell_number(number // scale)} {name}"
    return head + (f" {spell_number(number % scale)}" if number % scale else "")


def _spoken_number(token: str) -> list[str]:
    currency = CURRENCIES.get(token[0])
    digits = token.lstrip("$€£").replace(",", "")
    ordinal = digits[-1].isalpha()
    digits = digits[:-2] if ordinal else digits
    whole, _, decimals = digits.partition(".")
    is_year = len(whole) == 4 and whole == digits and not currency and "," not in token and 1100 <= int(whole) <= 1999
    if int(whole) > LARGEST_NUMBER or (len(whole) > 1 and whole[0] == "0"):
        words = [ONES[int(digit)] for digit in whole]
    elif is_year and not ordinal:
        tail = "hundred" if whole.endswith("00") else ("oh " if whole[2] == "0" else "") + spell_number(int(whole[2:]))
        words = f"{spell_number(int(whole[:2]))} {tail}".split()
    else:
        words = spell_number(int(whole)).split()
    if ordinal:
        last = words[-1]
        words[-1] = ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    if decimals:
        words += ["point", *(ONES[int(digit)] for digit in decimals)]
    return [*words, currency] if currency else words


def _look_up(spelling: str) -> tuple[tuple[str, ...], ...]:
    dictionary = _dictionary()
    names = takewhile(dictionary.__contains__, chain([spelling], (f"{spelling}({number})" for number in count(2))))
    return tuple(tuple(dictionary[name].split()) for name in names)


@cache
def _dictionary() -> dict[str, str]:
    """Phones of every entry; further pronunciations of "read" are entries "read(2)", "read(3)" ..."""
    from pocketsphinx import get_model_path

    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@cache
def _reader() -> Any:
    from hama import G2PModel

    return G2PModel()


@cache
def _guess(spelling: str) -> tuple[tuple[str, ...], ...]:
    """The reading hama gives a word the dictionary lacks; none where the network gives no sound."""
    symbols = [alignment.phoneme for alignment in _reader().predict(spelling).alignments]
    phones = [phone for symbol in symbols for phone in arpabet(symbol)]
    kept = phones[:1] + [after for before, after in pairwise(phones) if after != before]
    return (tuple(kept),) if kept else ()
