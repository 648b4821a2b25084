"""Phones with times from a recording alone.

hama's CTC network says which phones were spoken, pocketsphinx's hidden Markov model then says when.

>>> track = recognise_phones(wave)
>>> track.phones[:2], track.method
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.speech.acoustic import (
    BLANK,
    FRAME_S,
    RATE_HZ,
    WORD_END,
    AlignmentFailed,
    Heard,
    Pronunciation,
    force_align,
    hear,
)
from avi_lib.speech.phones import ARPABET, SILENCE, Phone, PhoneTrack, tidy

SHORTEST_S = 0.1
CTC_DELAY_S = 0.08


def check_wave(wave: Float32[np.ndarray, " samples"]) -> None:
    """Raise InputError unless `wave` is one channel of finite float32 samples of at least 0.1 s at 16 kHz."""
    expected = "float32 samples of one channel at 16 kHz"
    if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 1:
        got = f"{wave.dtype} of shape {wave.shape}" if isinstance(wave, np.ndarray) else type(wave).__name__
        raise InputError(expected, got, "load the recording with load_speech")
    if len(wave) < SHORTEST_S * RATE_HZ:
        raise InputError(f"at least {SHORTEST_S} s of speech", f"{len(wave) / RATE_HZ:.3f} s", "record a longer clip")
    if not np.isfinite(wave).all():
        raise InputError(expected, "NaN or infinite samples", "load the recording with load_speech")


def recognise_phones(wave: Float32[np.ndarray, " samples"]) -> PhoneTrack:
    """Phones of a 16-kHz recording without a transcript. Raises InputError for an unusable array."""
    check_wave(wave)
    duration_s = len(wave) / RATE_HZ
    heard = hear(wave)
    words = greedy_words(heard)
    if not words:
        return PhoneTrack(tidy((), duration_s), "silence", "no phone was heard in the recording")
    try:
        aligned = force_align(wave, [[tuple(p.phone for p in word)] for word in words])
        phones = [phone for _, phone in aligned if phone.phone in ARPABET]
        method, reason = "hama+pocketsphinx", "no text was given"
    except AlignmentFailed as error:
        phones = [phone for word in words for phone in word]
        method, reason = "hama", f"no text was given; pocketsphinx could not align the phones heard: {error}"
    return PhoneTrack(tidy(phones, duration_s), method, reason)


def greedy_words(heard: Heard) -> list[list[Phone]]:
    """Most likely phones frame by frame, repeats joined, as words; times are CTC spikes moved back by their delay."""
    path = heard.log_posteriors.argmax(axis=1)
    words: list[list[Phone]] = [[]]
    before: Pronunciation = (BLANK,)
    for frame, index in enumerate(path):
        label = heard.labels[index]
        if label == (WORD_END,):
            if words[-1]:
                words.append([])
        elif label not in (before, (BLANK,)):
            start = max(frame * FRAME_S - CTC_DELAY_S, 0.0)
            if words[-1]:
                words[-1][-1] = words[-1][-1]._replace(end_s=start)
            for number, phone in enumerate(label):
                words[-1].append(Phone(phone, start + number * 0.04, start + 0.1 + number * 0.04))
        before = label
    return [word for word in words if word]


__all__ = ["SILENCE", "check_wave", "greedy_words", "recognise_phones"]
