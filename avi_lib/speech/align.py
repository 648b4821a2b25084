"""Phones with times from a recording and what is said in it.

What is heard is matched with the text first: that tells which words belong to which section of a long recording, and
whether the text belongs to the recording at all. pocketsphinx then aligns each section's words.

>>> track = align_phones(wave, "Kids are talking by the door.")
>>> track.method, track.warning
('pocketsphinx', '')
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Num

from avi_lib.errors import InputError
from avi_lib.speech.acoustic import RATE_HZ, AlignmentError, Heard, hear
from avi_lib.speech.lexicon import Word, pronounce
from avi_lib.speech.phones import Phone, PhoneTrack, shift, tidy
from avi_lib.speech.recognise import Section, check_wave, method_name, recognise_section, sections
from avi_lib.speech.timing import time_phones

# Over RAVDESS, agreement of phones heard with the right text is 0.50 or more, with another sentence 0.23 or less.
TEXT_FITS = 0.3
TEXT_FITS_WELL = 0.45


class _Part(NamedTuple):
    """A section, what was heard in it, and the words of the text that fall into it."""

    section: Section
    heard: Heard
    words: Sequence[Word]
    agreement: float


def align_phones(wave: Num[np.ndarray, "*channels samples"], text: str) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz of which the words are known (forced alignment).

    Where pocketsphinx finds no path the CTC network's own alignment stands in; where the text does not fit what is
    heard, the phones heard do. `method` names all methods in use, `reason` the cause, `warning` doubts about the text.
    Raises InputError for an unusable array and for a text without a word that can be pronounced.
    """
    check_wave(wave)
    words = pronounce(text)
    if not words:
        raise InputError("a transcript of what is said", repr(text[:60]), "give the words, or leave the text out")
    phones: list[Phone] = []
    methods: Counter[str] = Counter()
    reasons = []
    agreements = []
    for part in _divide(wave, words):
        found, method, reason = _align_part(part)
        phones += found
        methods[method] += 1
        reasons += [reason] if reason else []
        agreements.append(part.agreement)
    warning = ""
    if min(agreements) < TEXT_FITS_WELL:
        unused = f"; not used in {sum(a < TEXT_FITS for a in agreements)} of {len(agreements)} sections"
        warning = f"the text may not be what is said (agreement {min(agreements):.2f})"
        warning += unused if min(agreements) < TEXT_FITS else ""
    return PhoneTrack(
        tidy(phones, len(wave) / RATE_HZ),
        ", ".join(name for name, _ in methods.most_common()),
        "; ".join(["the text was given", *reasons[:1]]),
        text,
        warning,
    )


def agreement(spoken: Sequence[str], heard: Sequence[str]) -> float:
    """1 - edit distance / longer length of two phone sequences: 1 when equal, 0 when nothing is shared."""
    longer = max(len(spoken), len(heard))
    return 1.0 if not longer else 1 - float(_edit_table(spoken, heard)[-1, -1]) / longer


def _divide(wave: np.ndarray, words: Sequence[Word]) -> list[_Part]:
    parts = [(section, hear(section.wave)) for section in sections(wave)]
    heard = [shift((p for word in ear.words() for p in word), section.start_s) for section, ear in parts]
    times = _word_times(words, [phone for phones in heard for phone in phones], len(wave) / RATE_HZ)
    edges = [section.start_s for section, _ in parts[1:]]
    owners = [bisect_right(edges, time) for time in times]
    result = []
    for index, (section, ear) in enumerate(parts):
        own = [word for word, owner in zip(words, owners, strict=True) if owner == index]
        score = agreement(_flat(own), [phone.phone for phone in heard[index]])
        result.append(_Part(section, ear, own, score))
    return result


def _align_part(part: _Part) -> tuple[list[Phone], str, str]:
    """Phones of a part, the method and, unless pocketsphinx aligned the text, the reason."""
    where = f"at {part.section.start_s:.1f} s"
    if not part.words or part.agreement < TEXT_FITS:
        phones, failure = recognise_section(part.section, part.heard)
        return phones, method_name(bool(failure)), f"the text does not fit what is heard {where}" if phones else ""
    try:
        phones, failure = time_phones(part.section.wave, part.heard, [word.pronunciations for word in part.words])
    except AlignmentError as error:
        phones, _ = recognise_section(part.section, part.heard)
        return phones, method_name(True), f"the words do not fit into the recording {where} ({error})"
    reason = f"pocketsphinx could not align the words {where} ({failure})" if failure else ""
    return shift(phones, part.section.start_s), "hama" if failure else "pocketsphinx", reason


def _word_times(words: Sequence[Word], heard: Sequence[Phone], duration_s: float) -> list[float]:
    """When each word is spoken, roughly: the middle of its phones' partners, between its neighbours' if it has none."""
    owner = [index for index, word in enumerate(words) for _ in word.pronunciations[0]]
    partners: dict[int, list[float]] = {}
    for i, j in _match(_flat(words), [phone.phone for phone in heard]):
        partners.setdefault(owner[i], []).append(heard[j].start_s)
    known = [-1, *partners, len(words)]
    times = [0.0, *(float(np.median(starts)) for starts in partners.values()), duration_s]
    return [float(time) for time in np.interp(np.arange(len(words)), known, times)]


def _flat(words: Sequence[Word]) -> list[str]:
    return [phone for word in words for phone in word.pronunciations[0]]


def _match(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of equal items along the cheapest edit path, in order."""
    table = _edit_table(a, b)
    i, j = len(a), len(b)
    pairs = []
    while i and j:
        if table[i, j] == table[i - 1, j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            if a[i] == b[j]:
                pairs.append((i, j))
        elif table[i, j] == table[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _edit_table(a: Sequence[str], b: Sequence[str]) -> Int[np.ndarray, "items_a items_b"]:
    """Levenshtein distances of all prefixes, (len(a) + 1, len(b) + 1); a row is computed at once."""
    names = {name: index for index, name in enumerate(sorted({*a, *b}))}
    columns = np.arange(len(b) + 1)
    b_index = np.array([names[item] for item in b], dtype=int)
    table = np.empty((len(a) + 1, len(b) + 1), dtype=np.int32)
    table[0] = columns
    for i, item in enumerate(a, 1):
        row = table[i - 1] + 1
        row[1:] = np.minimum(row[1:], table[i - 1, :-1] + (b_index != names[item]))
        table[i] = np.minimum.accumulate(row - columns) + columns
    return table
