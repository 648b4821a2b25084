"""When each phone is spoken: Kokoro's own durations and the sound in, ARPAbet phones with times out.

Kokoro gives every symbol a number of frames, also to stress marks, spaces and punctuation. Where the sound changes was
measured against forced alignment; README.md has the figures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pronounce import ARPABET, PUNCTUATION, STRESSES, Word

FRAME_S = 0.025
SILENCE = "SIL"
LENGTH = "ː"
STOPS = frozenset("B CH D G JH K P T".split())
QUIET = STOPS | {"F", "HH", "TH"}
# A phone sounds this long before the frames that Kokoro gives it, and begins within the marks that stand before it.
LATE_S = 0.055
STRESS_SHARE, SPACE_SHARE = 0.85, 0.5
SHORTEST_S = 0.02
LATER_S = 0.06
SHORTEST_PAUSE_S = 0.06
SILENT_RMS = 0.02
WINDOW_S, HOP_S = 0.02, 0.005


class TimedPhone(NamedTuple):
    """An ARPAbet phone without stress, or SIL with the word "", and its times in seconds."""

    word: str
    phone: str
    start_s: float
    end_s: float


def timed_phones(words: list[Word], frames: np.ndarray, wave: np.ndarray, rate_hz: int) -> list[TimedPhone]:
    """The phones of a sentence in Kokoro's sound (samples,), contiguous, with pauses but without silence at the ends.

    `frames` (symbols + 2,) are the durations of the symbols of the words joined by spaces, and of the padding around.
    """
    phones = _predicted(words, np.concatenate([[0.0], np.cumsum(frames) * FRAME_S]))
    silent = _silent(wave, rate_hz)
    last = len(phones) - 1
    timed: list[TimedPhone] = []
    for index, (phone, may_pause) in enumerate(phones):
        start = timed[-1].end_s if timed else _sound_start(silent, phone)
        if index == last:
            timed.append(phone._replace(start_s=start, end_s=_sound_end(silent, start + SHORTEST_S, phone.end_s)))
            break
        following = phones[index + 1][0]
        pause = _pause(silent, start + SHORTEST_S, _latest_start(following)) if may_pause else None
        timed.append(phone._replace(start_s=start, end_s=pause[0] if pause else following.start_s))
        timed += [TimedPhone("", SILENCE, *pause)] if pause else []
    return timed


def _predicted(words: list[Word], edges_s: np.ndarray) -> list[tuple[TimedPhone, bool]]:
    """Each phone from its start to where its own symbols end, and whether a silence after it is a pause."""
    phones: list[tuple[TimedPhone, bool]] = []
    position, lead_s = 1, 0.0
    for index, word in enumerate(words):
        symbols = word.phonemes if index + 1 == len(words) else word.phonemes + " "
        for place, symbol in enumerate(symbols):
            start, end = float(edges_s[position]), float(edges_s[position + 1])
            position += 1
            if symbol in STRESSES or symbol == " ":
                lead_s += (STRESS_SHARE if symbol in STRESSES else SPACE_SHARE) * (end - start)
            elif symbol in PUNCTUATION:
                phones[-1] = (phones[-1][0], True)
            elif symbol == LENGTH or (symbol == "ɹ" and place and symbols[place - 1] in "əɜ"):
                name = phones[-1][0].phone if symbol == LENGTH else "ER"
                phones[-1] = (phones[-1][0]._replace(phone=name, end_s=end - LATE_S), False)
            else:
                phones.append((TimedPhone(word.text, ARPABET[symbol], start - lead_s - LATE_S, end - LATE_S), False))
                lead_s = 0.0
        if phones[-1][0].phone not in QUIET:
            phones[-1] = (phones[-1][0], True)
    return phones


def _silent(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Whether each step of 5 ms is silent, (steps,)."""
    window, hop = int(WINDOW_S * rate_hz), int(HOP_S * rate_hz)
    power = np.convolve(wave.astype(np.float64) ** 2, np.full(window, 1 / window), "same")[::hop]
    return power < SILENT_RMS**2 * np.percentile(power, 95)


def _latest_start(phone: TimedPhone) -> float:
    """A stop begins with silence; other phones after silence may begin later than predicted."""
    if phone.phone in STOPS:
        return phone.start_s
    latest_s = min(phone.start_s + LATER_S, (phone.start_s + phone.end_s) / 2, phone.end_s - SHORTEST_S)
    return max(phone.start_s, latest_s)


def _sound_start(silent: np.ndarray, phone: TimedPhone) -> float:
    """Where the first phone begins: where its sound does, or earlier if it is a stop."""
    first, latest = round(phone.start_s / HOP_S), round(_latest_start(phone) / HOP_S)
    while first < latest and silent[first]:
        first += 1
    while first > 0 and not silent[first - 1]:
        first -= 1
    return first * HOP_S


def _sound_end(silent: np.ndarray, earliest_s: float, latest_s: float) -> float:
    """Where silence begins that lasts until `latest_s`."""
    audible = np.flatnonzero(~silent[: round(latest_s / HOP_S)])
    return max(earliest_s, float(audible[-1] + 1) * HOP_S)


def _pause(silent: np.ndarray, start_s: float, end_s: float) -> tuple[float, float] | None:
    """The longest silence between two times, if it is long enough for a pause."""
    first = round(start_s / HOP_S)
    steps = np.concatenate([[False], silent[first : round(end_s / HOP_S)], [False]])
    starts, ends = (np.flatnonzero(np.diff(steps.astype(int)) == sign) for sign in (1, -1))
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    pause = (first + int(starts[longest])) * HOP_S, (first + int(ends[longest])) * HOP_S
    return pause if pause[1] - pause[0] >= SHORTEST_PAUSE_S else None
