"""Phones with times from a recording and what is said in it.

>>> track = align_phones(wave, "Kids are talking by the door.")
>>> track.method, track.warning
('pocketsphinx', '')
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.speech.acoustic import RATE_HZ, AlignmentFailed, force_align
from avi_lib.speech.lexicon import Word, pronounce
from avi_lib.speech.phones import ARPABET, PhoneTrack, tidy
from avi_lib.speech.recognise import check_wave, recognise_phones


def align_phones(wave: Float32[np.ndarray, " samples"], text: str) -> PhoneTrack:
    """Phones of a 16-kHz recording of which the words are known (forced alignment).

    Raises InputError for an unusable array and for a text without a word that can be pronounced.
    """
    check_wave(wave)
    words = check_text(text)
    duration_s = len(wave) / RATE_HZ
    try:
        aligned = force_align(wave, [word.pronunciations for word in words])
    except AlignmentFailed as error:
        heard = recognise_phones(wave)
        reason = f"pocketsphinx could not align the text: {error}"
        return PhoneTrack(heard.phones, heard.method, reason, text, "the text was not used")
    phones = tidy((phone for _, phone in aligned if phone.phone in ARPABET), duration_s)
    return PhoneTrack(phones, "pocketsphinx", "the text was given", text)


def check_text(text: str) -> tuple[Word, ...]:
    """The words of `text` with their pronunciations; raises InputError when there is none."""
    words = pronounce(text)
    if not words:
        raise InputError("a transcript of what is said", repr(text[:60]), "give the words, or leave the text out")
    return words
