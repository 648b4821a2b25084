"""When known words are spoken: pocketsphinx's boundaries, checked against the times at which hama hears the phones.

A hidden Markov model now and then squeezes words together and calls the rest silence. The CTC network is never exact
and seldom far off, so of several alignments the one nearest to it is taken.

>>> phones, failure = time_phones(wave, hear(wave), [[("HH", "AY")], [("DH", "EH", "R")]])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from avi_lib.speech.acoustic import AlignmentError, Heard, Pronunciation, force_align
from avi_lib.speech.phones import Phone

PADS_S = (0.25, 0.1, 0.4)
# 95 % of RAVDESS clips aligned with their text stay below this.
USUAL_DISAGREEMENT_S = 0.17
SAME_S = 0.01
"""Two alignments as far from hama's times as each other: a third would be no nearer."""


def time_phones(
    wave: Float32[np.ndarray, " samples"], heard: Heard, words: Sequence[Sequence[Pronunciation]]
) -> tuple[list[Phone], str]:
    """Phones of `words` (each a sequence of alternative pronunciations) and why hama timed them ("" if not).

    Raises AlignmentError when neither finds a path.
    """
    nearest: list[Phone] = []
    smallest = np.inf
    failure = ""
    for pad_s in PADS_S:
        try:
            phones = force_align(wave, words, pad_s)
        except AlignmentError as error:
            failure = str(error)
            continue
        apart = disagreement_s(phones, heard)
        unmoved = abs(apart - smallest) < SAME_S
        if not nearest or apart < smallest:
            nearest, smallest = phones, apart
        if smallest <= USUAL_DISAGREEMENT_S or unmoved:
            break
    if nearest:
        return nearest, ""
    return heard.align([phone for word in words for phone in word[0]]), failure


def disagreement_s(phones: Sequence[Phone], heard: Heard) -> float:
    """Largest distance between the starts of phones and those hama gives them; infinite where hama finds no path."""
    try:
        rough = heard.align([phone.phone for phone in phones])
    except AlignmentError:
        return float("inf")
    return max(abs(a.start_s - b.start_s) for a, b in zip(phones, rough, strict=True))
