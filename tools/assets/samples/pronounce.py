"""How a sentence is pronounced: text in, words with phonemes in Kokoro's symbols out, and those symbols in ARPAbet.

The words come from the dictionaries of misaki 0.9.4 (hexgrad, Apache-2.0), American or British, which Kokoro was
trained with. Endings of regular plurals, past tenses and participles are put on known words; other words are refused.

>>> [word.phonemes for word in Dictionary("us").pronounce("The bees hummed.")]
['ðə', 'bˈiz', 'hˈʌmd.']
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from pathlib import Path
from typing import NamedTuple

DICTIONARIES = {
    "us_gold": "dc414872a49a28ae6c141463d502fd945f3b2fde040484fdc47d00cc4612686f",
    "us_silver": "de8f67be911bb6c659187b4a65fd966b6a30e56350e0f790d763210b053ac475",
    "gb_gold": "29e62f4b60261c88f7f3c2c7811ca3825978948090b72d2b27d565b729282f71",
    "gb_silver": "48131e2d92ccc41655f4543e87e0f938e71463eb5a54be7f0693bb712ebb6bce",
}
STRESSES = frozenset("ˈˌ")
PUNCTUATION = frozenset(",.!?;:—…")
VOWELS = frozenset("AIOQWYaiuæɐɑɒɔəɚɛɜɪʊʌᵊᵻ")
# Weak forms of words that the dictionaries give in the form they have alone.
WEAK = {"us": {"a": "ə", "the": "ðə", "to": "tə"}, "gb": {"a": "ə", "the": "ðə", "to": "tə"}}
WEAK_BEFORE_VOWEL = {"us": {"the": "ði", "to": "tʊ"}, "gb": {"the": "ði", "to": "tʊ"}}
ARPABET = {
    "A": "EY", "I": "AY", "O": "OW", "Q": "OW", "W": "AW", "Y": "OY", "a": "AE", "b": "B", "d": "D", "f": "F",
    "h": "HH", "i": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "p": "P", "s": "S", "t": "T", "u": "UW",
    "v": "V", "w": "W", "z": "Z", "æ": "AE", "ð": "DH", "ŋ": "NG", "ɐ": "AH", "ɑ": "AA", "ɒ": "AO", "ɔ": "AO",
    "ə": "AH", "ɛ": "EH", "ɜ": "ER", "ɡ": "G", "ɪ": "IH", "ɹ": "R", "ɾ": "D", "ʃ": "SH", "ʊ": "UH", "ʌ": "AH",
    "ʒ": "ZH", "ʔ": "T", "ʤ": "JH", "ʧ": "CH", "θ": "TH", "ᵊ": "AH", "ᵻ": "IH",
}  # fmt: skip
_PLAIN = str.maketrans({"’": "'", **dict.fromkeys('"“”()', " ")})
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*'?|[,.!?;:—…]|[^\s]", re.IGNORECASE)


class Word(NamedTuple):
    """A word as it is written, in lower case, and its phonemes with the punctuation that follows it."""

    text: str
    phonemes: str


class UnknownWordError(Exception):
    """The dictionary cannot pronounce something in a sentence."""


class Dictionary:
    """One accent's pronunciations, "us" or "gb"."""

    def __init__(self, accent: str) -> None:
        self._accent = accent
        self._entries: dict[str, str | dict[str, str]] = {}
        for name in (f"{accent}_silver", f"{accent}_gold"):
            path = Path(str(importlib.metadata.distribution("misaki").locate_file(f"misaki/data/{name}.json")))
            content = path.read_bytes()
            got = hashlib.sha256(content).hexdigest()
            if got != DICTIONARIES[name]:
                raise SystemExit(f"expected {path} with SHA-256 {DICTIONARIES[name]}; got {got}; use misaki 0.9.4")
            entries = json.loads(content)
            self._entries |= {word.lower(): entry for word, entry in entries.items() if word != word.lower()} | entries

    def pronounce(self, text: str) -> list[Word]:
        """The words of a sentence.

        Raises:
            UnknownWordError: names what cannot be pronounced.
        """
        tokens = _TOKEN.findall(text.translate(_PLAIN))
        words: list[Word] = []
        for index, token in enumerate(tokens):
            if token in PUNCTUATION and words:
                words[-1] = Word(words[-1].text, words[-1].phonemes + token)
                continue
            following = tokens[index + 1].lower() if index + 1 < len(tokens) else ""
            words.append(Word(token.lower(), self._in_sentence(token.lower(), following)))
        if not words:
            raise UnknownWordError(text)
        if words[-1].phonemes[-1] not in PUNCTUATION:
            words[-1] = Word(words[-1].text, words[-1].phonemes + ".")
        return words

    def _in_sentence(self, word: str, following: str) -> str:
        last = not following or following in PUNCTUATION
        if word in WEAK[self._accent] and not last:
            first = self._word(following, last=False).lstrip("ˈˌ")[0]
            return (WEAK_BEFORE_VOWEL if first in VOWELS else WEAK)[self._accent].get(word, WEAK[self._accent][word])
        return self._word(word, last)

    def _word(self, word: str, last: bool) -> str:
        entry = self._entries.get(word)
        if isinstance(entry, dict):
            entry = entry["None"] if last and "None" in entry else entry["DEFAULT"]
        entry = entry or self._inflected(word)
        if entry is None:
            raise UnknownWordError(word)
        return entry

    def _inflected(self, word: str) -> str | None:
        """A regular form of a known word, as "kidnappers" or "welcomed"."""
        for ending, stems, inflect in (
            ("'", (word[:-1],), str),
            ("'s", (word[:-2],), self._s),
            ("s", (word[:-1],), self._s),
            ("es", (word[:-2], word[:-3] + "y"), self._s),
            ("ed", (word[:-1], word[:-2], word[:-3], word[:-3] + "y"), self._ed),
            ("ing", (word[:-3], word[:-3] + "e", word[:-4]), lambda stem: stem + "ɪŋ"),
        ):
            known = [stem for stem in stems if len(stem) > 2 and stem in self._entries]
            if word.endswith(ending) and known:
                return inflect(self._word(known[0], last=False))
        return None

    def _s(self, stem: str) -> str:
        if stem[-1] in "szʃʒʧʤ":
            return stem + ("ɪz" if self._accent == "gb" else "ᵻz")
        return stem + ("s" if stem[-1] in "ptkfθ" else "z")

    def _ed(self, stem: str) -> str:
        if stem[-1] in "td":
            return stem + ("ɪd" if self._accent == "gb" else "ᵻd")
        return stem + ("t" if stem[-1] in "pkfθʃsʧ" else "d")
