"""Phones with times from a recording alone: hama hears which phones, pocketsphinx's hidden Markov model tells when.

>>> track = recognise_phones(wave)
>>> track.phones[1], track.method
(Phone(phone='B', start_s=0.928, end_s=0.998), 'hama+pocketsphinx')
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Num

from avi_lib.errors import InputError
from avi_lib.speech.acoustic import RATE_HZ, AlignmentError, Heard, hear
from avi_lib.speech.phones import Phone, PhoneTrack, shift, tidy
from avi_lib.speech.timing import time_phones

SHORTEST_S = 0.1
LONGEST_SECTION_S = 16.0
SMOOTH_S = 0.2
SILENT_RMS = 1e-4


class Section(NamedTuple):
    """A stretch of a recording that is worked on at once: where it starts in seconds and its samples."""

    start_s: float
    wave: Float32[np.ndarray, " samples"]


def recognise_phones(wave: Num[np.ndarray, "*channels samples"]) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz without a transcript.

    Time is linear in length and memory bounded, since long recordings are cut at their quietest moments into sections
    of 16 s at most. The result is the same at every call. Raises InputError for an array that is no such recording.
    """
    check_wave(wave)
    phones: list[Phone] = []
    failures = []
    for section in filter(audible, sections(wave)):
        found, failure = recognise_section(section, hear(section.wave))
        phones += found
        failures += [failure] if failure else []
    reason = "; ".join(["no text was given", *([] if phones else ["no phone was heard"]), *failures[:1]])
    warning = f"times are rough in {len(failures)} sections" if failures else ""
    return PhoneTrack(tidy(phones, len(wave) / RATE_HZ), method_name(bool(failures)), reason, warning=warning)


def recognise_section(section: Section, heard: Heard) -> tuple[list[Phone], str]:
    """Phones of one section, times from the recording's start, and why hama timed them, "" if pocketsphinx did."""
    words = [[tuple(phone.phone for phone in word)] for word in heard.words()]
    if not words or not audible(section):
        return [], ""
    try:
        phones, failure = time_phones(section.wave, heard, words)
    except AlignmentError as error:
        phones, failure = [phone for word in heard.words() for phone in word], str(error)
    where = f"pocketsphinx could not align the phones heard at {section.start_s:.1f} s ({failure})"
    return shift(phones, section.start_s), where if failure else ""


def audible(section: Section) -> bool:
    """Whether a section is loud enough to be listened to."""
    return bool(np.sqrt(np.mean(np.square(section.wave, dtype=np.float64))) >= SILENT_RMS)


def method_name(failed: bool) -> str:
    """The method of phones that were heard: who named them and who timed them."""
    return "hama" if failed else "hama+pocketsphinx"


def sections(wave: Float32[np.ndarray, " samples"]) -> list[Section]:
    """Cut a 16-kHz recording into sections of 16 s at most, each at the quietest 0.2 s of its second half."""
    longest = round(LONGEST_SECTION_S * RATE_HZ)
    smooth = round(SMOOTH_S * RATE_HZ)
    cuts = [0]
    while len(wave) - cuts[-1] > longest:
        near = cuts[-1] + longest // 2
        power = np.cumsum(np.square(wave[near - smooth : near + longest // 2], dtype=np.float64))
        cuts.append(near - smooth // 2 + int(np.argmin(power[smooth:] - power[:-smooth])))
    return [Section(a / RATE_HZ, wave[a:b]) for a, b in zip(cuts, [*cuts[1:], len(wave)], strict=True)]


def check_wave(wave: Any) -> None:
    """Raise InputError unless `wave` is one channel of finite float32 samples and lasts at least 0.1 s at 16 kHz."""
    expected, do = "float32 samples of one channel at 16 kHz", "load the recording with load_speech"
    if not isinstance(wave, np.ndarray):
        raise InputError(expected, type(wave).__name__, do)
    if wave.dtype != np.float32 or wave.ndim != 1:
        raise InputError(expected, f"{wave.dtype} of shape {wave.shape}", do)
    if len(wave) < SHORTEST_S * RATE_HZ:
        raise InputError(f"at least {SHORTEST_S} s of speech", f"{len(wave) / RATE_HZ:.3f} s", "record a longer clip")
    if not np.isfinite(wave).all():
        raise InputError(expected, "samples that are not numbers", do)
