"""Phones with times: what the mouth says, and when, as a tuple that covers a recording without gaps.

In: labels and times from a recogniser or an aligner. Out: `Phone` tuples in ARPAbet without stress, silence explicit.

>>> tidy([Phone("HH", 0.31, 0.38), Phone("AY", 0.38, 0.60)], duration_s=1.0)
(Phone('SIL', 0.0, 0.31), Phone('HH', 0.31, 0.38), Phone('AY', 0.38, 0.6), Phone('SIL', 0.6, 1.0))
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

SILENCE = "SIL"
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = frozenset("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
ARPABET = VOWELS | CONSONANTS
BILABIAL = frozenset({"M", "B", "P"})


class Phone(NamedTuple):
    """One phone: ARPAbet without stress, or "SIL"; times in seconds from the start of the recording."""

    phone: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class PhoneTrack:
    """The phones of a recording and how they were found.

    `phones` run from 0 to the recording's duration without gaps; `method` names what produced them and `reason` says
    why that one; `text` is the transcript that was given, None without one; `warning` is empty unless the phones
    deserve doubt.
    """

    phones: tuple[Phone, ...]
    method: str
    reason: str
    text: str | None = None
    warning: str = ""


_IPA = {
    "a": "AA", "aɪ": "AY", "aʊ": "AW", "b": "B", "c": "K", "d": "D", "d͡ʒ": "JH", "e": "EH", "eə": "EH R",
    "eɪ": "EY", "f": "F", "g": "G", "h": "HH", "i": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N",
    "o": "OW", "oʊ": "OW", "p": "P", "r": "R", "s": "S", "t": "T", "t͡ɕ": "CH", "t͡ʃ": "CH", "u": "UW",
    "v": "V", "w": "W", "x": "HH", "y": "UW", "z": "Z", "æ": "AE", "ç": "HH", "ð": "DH", "ø": "ER", "ħ": "HH",
    "ŋ": "NG", "œ": "ER", "ɐ": "AH", "ɑ": "AA", "ɒ": "AO", "ɓ": "B", "ɔ": "AO", "ɔɪ": "OY", "ɕ": "SH",
    "ɖ": "D", "ɗ": "D", "ɘ": "AH", "ə": "AH", "ɚ": "ER", "ɛ": "EH", "ɜ": "ER", "ɝ": "ER", "ɟ": "G", "ɡ": "G",
    "ɣ": "G", "ɤ": "AH", "ɥ": "W", "ɦ": "HH", "ɨ": "IH", "ɪ": "IH", "ɪə": "IH R", "ɫ": "L", "ɮ": "L",
    "ɯ": "UH", "ɯi": "UH IY", "ɰ": "G", "ɱ": "M", "ɲ": "N", "ɴ": "NG", "ɵ": "UH", "ɸ": "F", "ɹ": "R",
    "ɻ": "R", "ɽ": "R", "ɾ": "D", "ʀ": "R", "ʁ": "R", "ʂ": "SH", "ʃ": "SH", "ʈ": "T", "ʉ": "UW", "ʊ": "UH",
    "ʋ": "V", "ʌ": "AH", "ʎ": "L", "ʏ": "UH", "ʐ": "ZH", "ʑ": "ZH", "ʒ": "ZH", "ʙ": "B", "ʝ": "Y", "β": "V",
    "θ": "TH", "χ": "HH", "ᵊ": "AH", "ja": "Y AA", "je": "Y EH", "jo": "Y OW", "ju": "Y UW", "jʌ": "Y AH",
    "wa": "W AA", "we": "W EH", "wi": "W IY", "wʌ": "W AH",
}  # fmt: skip


def arpabet(ipa: str) -> tuple[str, ...]:
    """The ARPAbet phones of one IPA symbol; empty for marks (length, tone, glottal stop) that none stands for.

    Accents and secondary articulations are dropped first, so "pʰ" and "p͈" read as "p". Symbols of other languages map
    to the phone with the nearest lip shape (front rounded "y" to UW).
    """
    symbol = unicodedata.normalize("NFC", ipa)
    found = _IPA.get(symbol)
    if found is None:
        base = "".join(
            part
            for part in unicodedata.normalize("NFD", symbol)
            if part == "\u0361" or (not unicodedata.combining(part) and unicodedata.category(part) != "Lm")
        )
        found = _IPA.get(base, "")
    return tuple(found.split())


def tidy(phones: Iterable[Phone], duration_s: float, shortest_s: float = 0.02) -> tuple[Phone, ...]:
    """Make phones contiguous from 0 to `duration_s`: gaps become silence, overlaps meet halfway, silences are merged.

    A gap shorter than `shortest_s` seconds is closed by its neighbours; phones outside the recording are dropped.
    """
    kept = sorted(
        (phone for phone in phones if phone.end_s > 0 and phone.start_s < duration_s), key=lambda p: p.start_s
    )
    result: list[Phone] = []
    for phone in kept:
        start, end = max(phone.start_s, 0.0), min(phone.end_s, duration_s)
        last = result[-1] if result else Phone(SILENCE, 0.0, 0.0)
        gap = start - last.end_s
        if gap >= shortest_s:
            result.append(Phone(SILENCE, last.end_s, start))
        elif gap != 0 and result:
            start = last.end_s + gap / 2
            result[-1] = last._replace(end_s=start)
        elif gap > 0:
            start = 0.0
        if end > start:
            result.append(Phone(phone.phone, start, end))
    end = result[-1].end_s if result else 0.0
    if duration_s - end >= shortest_s or not result:
        result.append(Phone(SILENCE, end, duration_s))
    else:
        result[-1] = result[-1]._replace(end_s=duration_s)
    return merge_silence(result)


def shift(phones: Iterable[Phone], seconds: float) -> list[Phone]:
    """The same phones `seconds` later."""
    return [Phone(phone, start_s + seconds, end_s + seconds) for phone, start_s, end_s in phones]


def merge_silence(phones: Iterable[Phone]) -> tuple[Phone, ...]:
    """Join neighbouring silences into one."""
    merged: list[Phone] = []
    for phone in phones:
        if merged and phone.phone == SILENCE == merged[-1].phone:
            merged[-1] = merged[-1]._replace(end_s=phone.end_s)
        else:
            merged.append(phone)
    return tuple(merged)


def contiguous(phones: Iterable[Phone], duration_s: float) -> bool:
    """Whether phones run from 0 to `duration_s` without gap, overlap or empty phone."""
    end = 0.0
    for phone in phones:
        if phone.start_s != end or phone.end_s <= phone.start_s:
            return False
        end = phone.end_s
    return end == duration_s
