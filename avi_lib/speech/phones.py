"""Phones with times: what the mouth says, and when, as a tuple that covers a recording without gaps.

>>> recognise_phones(wave).phones                   # from the recording alone
>>> align_phones(wave, "Hi.").phones                # where the words are known
(Phone('SIL', 0.0, 0.31), Phone('HH', 0.31, 0.38), Phone('AY', 0.38, 0.6), Phone('SIL', 0.6, 1.0))

Two frozen acoustic models, both inside their Python packages: hama tells which phones are said, pocketsphinx when.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Float32, Int, Num
from tqdm import tqdm

from avi_lib.errors import InputError
from avi_lib.speech.encoders import RATE_HZ, check_wave

SILENCE = "SIL"
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = frozenset("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
ARPABET = VOWELS | CONSONANTS
BILABIAL = frozenset({"M", "B", "P"})
SHORTEST_S = 0.1

Wave = Float32[np.ndarray, " samples"]
Pronunciation = tuple[str, ...]


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


_TABLES: dict[str, Any] = yaml.load(Path(__file__).with_name("phones.yaml").read_text("utf-8"), yaml.CBaseLoader)
_IPA = {symbol: phones for phones, symbols in _TABLES["ipa"].items() for symbol in symbols.split()}


def arpabet(ipa: str) -> tuple[str, ...]:
    """The ARPAbet phones of one IPA symbol; empty for marks (length, tone, glottal stop) that none stands for.

    Accents and secondary articulations are dropped first, so "pʰ" and "p͈" read as "p".
    """
    found = _IPA.get(unicodedata.normalize("NFC", ipa))
    if found is None:
        parts = unicodedata.normalize("NFD", ipa)
        letters = (
            c for c in parts if c == "\u0361" or not (unicodedata.combining(c) or unicodedata.category(c) == "Lm")
        )
        found = _IPA.get("".join(letters), "")
    return tuple(found.split())


def tidy(phones: Iterable[Phone], duration_s: float, shortest_s: float = 0.02) -> tuple[Phone, ...]:
    """Make phones contiguous from 0 to `duration_s`: gaps become silence, overlaps meet halfway, silences are merged.

    A gap shorter than `shortest_s` seconds is closed by its neighbours; phones outside the recording are dropped.
    """
    inside = (phone for phone in phones if phone.end_s > 0 and phone.start_s < duration_s)
    result: list[Phone] = []
    for phone in sorted(inside, key=lambda phone: phone.start_s):
        start, end = max(phone.start_s, 0.0), min(phone.end_s, duration_s)
        last_s = result[-1].end_s if result else 0.0
        gap = start - last_s
        if gap >= shortest_s:
            result.append(Phone(SILENCE, last_s, start))
        elif gap != 0 and result:
            start = last_s + gap / 2
            result[-1] = result[-1]._replace(end_s=start)
        elif gap > 0:
            start = 0.0
        if end > start:
            result.append(Phone(phone.phone, start, end))
    end = result[-1].end_s if result else 0.0
    if duration_s - end >= shortest_s or not result:
        result.append(Phone(SILENCE, end, duration_s))
    else:
        result[-1] = result[-1]._replace(end_s=duration_s)
    tidied: list[Phone] = []
    for phone in result:
        if tidied and phone.phone == SILENCE == tidied[-1].phone:
            tidied[-1] = tidied[-1]._replace(end_s=phone.end_s)
        else:
            tidied.append(phone)
    return tuple(tidied)


def shift(phones: Iterable[Phone], seconds: float) -> list[Phone]:
    """The same phones `seconds` later."""
    return [Phone(phone, start_s + seconds, end_s + seconds) for phone, start_s, end_s in phones]


# How words are pronounced: a transcript in, the words with their alternative pronunciations in ARPAbet out.


ONES, TENS = _TABLES["ones"].split(), _TABLES["tens"].split()
SCALES = {int(scale): name for scale, name in _TABLES["scales"].items()}
LARGEST_NUMBER = 10**12 - 1

_TOKEN = re.compile(r"[$€£]?\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?\b|[^\W\d_]+(?:'[^\W\d_]+)*'?|[&%+@=°]", re.IGNORECASE)


class Word(NamedTuple):
    """A spoken word in lower case and the ways it may be pronounced, likeliest first."""

    text: str
    pronunciations: tuple[Pronunciation, ...]


def pronounce(text: str) -> tuple[Word, ...]:
    """The words of a transcript as they are spoken, in order; punctuation and words without a sound are left out."""
    words = (Word(s, _look_up(s) or _look_up(s.strip("'")) or _guess(s)) for s in spoken_words(text))
    return tuple(word for word in words if word.pronunciations)


def spoken_words(text: str) -> list[str]:
    """Split a transcript into the words that are said: numbers and common symbols spelled out, capitals as letters.

    "At 9:30 Dr. O'Neil's AVQ show" gives at, nine, thirty, dr, o'neil's, a, v, q, show.
    """
    normal = unicodedata.normalize("NFKC", text).translate(str.maketrans("\u2019\u2018`", "'''"))
    words: list[str] = []
    for token in _TOKEN.findall(normal):
        letters = token.isupper() and 1 < len(token) <= 5 and normal != normal.upper()
        if any(character.isdigit() for character in token):
            words += _spoken_number(token)
        elif letters and token.lower() not in _dictionary():
            words += token.lower()
        else:
            words.append(_TABLES["symbols"].get(token, token.lower()))
    return words


def spell_number(number: int) -> str:
    """A whole number from 0 to 999,999,999,999 in English words, as "three hundred five"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    scale, name = next((scale, name) for scale, name in SCALES.items() if number >= scale)
    head = f"{spell_number(number // scale)} {name}"
    return head + (f" {spell_number(number % scale)}" if number % scale else "")


def _spoken_number(token: str) -> list[str]:
    currency = _TABLES["currencies"].get(token[0])
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
        words[-1] = _TABLES["ordinals"].get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    if decimals:
        words += ["point", *(ONES[int(digit)] for digit in decimals)]
    return [*words, currency] if currency else words


def _look_up(spelling: str) -> tuple[Pronunciation, ...]:
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


def _guess(spelling: str) -> tuple[Pronunciation, ...]:
    """The reading hama gives a word the dictionary lacks; none where the network gives no sound."""
    phones = [phone for part in _reader().predict(spelling).alignments for phone in arpabet(part.phoneme)]
    kept = phones[:1] + [after for before, after in pairwise(phones) if after != before]
    return (tuple(kept),) if kept else ()


# The acoustic models.


CTC_HOP_S = 0.02
CTC_PAD_S = 0.3
# Spikes trail the starts of phones by this much (median over RAVDESS and EMO-DB).
CTC_DELAY_S = 0.06
BLANK: Pronunciation = ("<blank>",)
WORD_END: Pronunciation = ("<wb>",)
# A closure that is missed shows more than one too many: this bonus (nats) evens out their number on EMO-DB.
CLOSURE_BONUS = 0.5
LONGEST_CTC_PHONE_S = 0.2

HMM_HOP_S = 0.01
# A frame's label belongs to the middle of its 25.6-ms window; against EMO-DB's hand labels this leaves a bias of 1 ms.
HMM_CENTRE_S = (0.025625 - HMM_HOP_S) / 2
HMM_PAD_LEVEL = 1e-4

_hama_lock = threading.Lock()


class AlignmentError(Exception):
    """No path leads through the recording for the phones that were given."""


@dataclass(frozen=True)
class PhonePosteriors:
    """What the CTC network makes of a recording.

    log_posteriors: (frames, classes), 20-ms frames from 0.3 s before the recording to 0.3 s after it.
    labels: the phones of each class, or BLANK or WORD_END.
    """

    log_posteriors: Float32[np.ndarray, "frames classes"]
    labels: tuple[Pronunciation, ...]

    def words(self) -> list[list[Phone]]:
        """The likeliest phones as words; a CTC spike is a phone's start once its usual delay is taken off."""
        scores = self.log_posteriors.copy()
        closures = [index for index, label in enumerate(self.labels) if label[0] in BILABIAL]
        strongest = np.array(closures)[scores[:, closures].argmax(axis=1)]
        together = np.logaddexp.reduce(scores[:, closures], axis=1) + CLOSURE_BONUS
        scores[np.arange(len(scores)), strongest] = together
        path = [self.labels[index] for index in scores.argmax(axis=1)]
        changes = (frame for frame, label in enumerate(path) if label != BLANK)
        return _words([(frame, path[frame]) for frame in changes if frame == 0 or path[frame - 1] != path[frame]])

    def align(self, phones: Sequence[str]) -> list[Phone]:
        """Times of known phones along the likeliest CTC path (Viterbi). Raises AlignmentError when they do not fit."""
        columns = {label[0]: index for index, label in enumerate(self.labels) if len(label) == 1}
        states = np.full(2 * len(phones) + 1, columns[BLANK[0]])
        states[1::2] = [columns[phone] for phone in phones]
        starts = _ctc_viterbi(self.log_posteriors[:, states])
        return list(chain.from_iterable(_words([(at, (phone,)) for at, phone in zip(starts, phones, strict=True)])))


def phone_posteriors(wave: Wave) -> PhonePosteriors:
    """Phone posteriors of a 16-kHz recording, IPA tokens summed into ARPAbet classes; linear in time, one thread."""
    model, labels, fold = _hama()
    padded = np.pad(np.clip(wave, -1, 1), round(CTC_PAD_S * RATE_HZ))
    feeds = {"waveform": padded[None], "waveform_lengths": np.array([len(padded)])}
    with _hama_lock:
        log_probabilities, lengths = model.session.run(["log_probs", "out_lengths"], feeds)
    probabilities = np.exp(log_probabilities[0, : int(lengths[0])])
    return PhonePosteriors(np.log(np.maximum(probabilities @ fold, 1e-9)), labels)


@cache
def _hama() -> tuple[Any, tuple[Pronunciation, ...], Float32[np.ndarray, "tokens classes"]]:
    """The CTC network, its classes in ARPAbet, and the 0/1 matrix that sums its tokens into them."""
    from hama import ASRModel

    model = ASRModel()
    marks = {model.decode_cfg.blank_token: BLANK, model.decode_cfg.word_boundary_token: WORD_END}
    folded = [marks.get(token) or arpabet(token) or BLANK for token in model.decoder_tokens]
    labels = tuple(sorted(set(folded)))
    return model, labels, np.array([[label == wanted for wanted in labels] for label in folded], dtype=np.float32)


def _words(spikes: Sequence[tuple[int, Pronunciation]]) -> list[list[Phone]]:
    """CTC spikes (frame, phones) to words of phones that last until the next spike, 0.2 s at most."""
    words: list[list[Phone]] = [[]]
    for number, (frame, label) in enumerate(spikes):
        if label == WORD_END:
            words.append([])
            continue
        start = frame * CTC_HOP_S - CTC_PAD_S - CTC_DELAY_S
        following = spikes[number + 1][0] if number + 1 < len(spikes) else frame + LONGEST_CTC_PHONE_S / CTC_HOP_S
        step = min((following - frame) * CTC_HOP_S, LONGEST_CTC_PHONE_S) / len(label)
        words[-1] += [Phone(phone, start + i * step, start + (i + 1) * step) for i, phone in enumerate(label)]
    return [word for word in words if word]


def _ctc_viterbi(scores: Float32[np.ndarray, "frames states"]) -> list[int]:
    """First frame of every odd state on the best path through blank, phone, blank, ... (Graves et al. 2006)."""
    frames, states = scores.shape
    skip = np.full(states, -np.inf)
    skip[3::2] = 0.0
    best = np.full(states, -np.inf)
    best[:2] = scores[0, :2]
    came = np.zeros((frames, states), dtype=np.int8)
    for frame in range(1, frames):
        options = np.stack([best, np.r_[-np.inf, best[:-1]], np.r_[-np.inf, -np.inf, best[:-2]] + skip])
        came[frame] = options.argmax(axis=0)
        best = options.max(axis=0) + scores[frame]
    state = states - 1 - int(best[-2] > best[-1])
    if not np.isfinite(best[state]):
        raise AlignmentError("the recording is too short for the phones")
    entered = np.zeros(states, dtype=int)
    for frame in range(frames - 1, -1, -1):
        entered[state] = frame
        state -= int(came[frame, state])
    return entered[1::2].tolist()


def force_align(wave: Wave, words: Sequence[Sequence[Pronunciation]], pad_s: float = 0.25) -> list[Phone]:
    """Times of the phones of `words` in a 16-kHz recording, with optional silence around each word, by pocketsphinx.

    Each word is its alternative pronunciations, of which the likeliest is taken. The recording is padded with `pad_s`
    seconds of faint noise on both sides, so that it need not begin and end in silence; times are the recording's, and
    silence is left out. Raises AlignmentError when no path fits. A decoder lives for one call only, since its
    running cepstral mean would make results depend on what was aligned before.
    """
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, dict=None, loglevel="FATAL")
    names = set()
    for index, alternatives in enumerate(words):
        for number, pronunciation in enumerate(alternatives, 1):
            name = f"w{index}" if number == 1 else f"w{index}({number})"
            decoder.add_word(name, " ".join(pronunciation), update=False)
            names.add(name)
    quiet = np.random.default_rng(0).normal(scale=HMM_PAD_LEVEL, size=(2, round(pad_s * RATE_HZ)))
    pcm = (np.clip(np.concatenate([quiet[0], wave, quiet[1]]), -1, 1) * 32767).astype("<i2").tobytes()

    def decode() -> None:
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()

    try:
        decoder.set_align_text(" ".join(f"w{index}" for index in range(len(words))))
        decode()
        if decoder.hyp() is None:
            raise AlignmentError("no path reaches the last word")
        decoder.set_alignment()
        decode()
        later_s = HMM_CENTRE_S - pad_s
        found = [
            Phone(phone.name, phone.start * HMM_HOP_S + later_s, (phone.start + phone.duration) * HMM_HOP_S + later_s)
            for word in decoder.get_alignment()
            if word.name in names
            for phone in word
        ]
    except RuntimeError as error:
        raise AlignmentError(str(error)) from error
    if not found:
        raise AlignmentError("no word was placed")
    return found


# Phones of a recording: sections, the phones that are said in each, and their times.


LONGEST_SECTION_S = 16.0
SMOOTH_S = 0.2
SILENT_RMS = 1e-4
PADS_S = (0.25, 0.1, 0.4)
# 95 % of RAVDESS clips aligned with their text stay below this.
USUAL_DISAGREEMENT_S = 0.17
SAME_S = 0.01
"""Two alignments as far from hama's times as each other: a third would be no nearer."""
# Over RAVDESS, agreement of the phones recognised with the right text is >= 0.50, with another sentence <= 0.23.
TEXT_FITS = 0.3
TEXT_FITS_WELL = 0.45


class Section(NamedTuple):
    """A stretch of a recording that is worked on at once: where it starts in seconds and its samples."""

    start_s: float
    wave: Wave

    @property
    def audible(self) -> bool:
        """Whether it is loud enough for phones to be looked for."""
        return bool(np.sqrt(np.mean(np.square(self.wave, dtype=np.float64))) >= SILENT_RMS)


def sections(wave: Wave) -> list[Section]:
    """Cut a 16-kHz recording into sections of 16 s at most, each at the quietest 0.2 s of its second half."""
    longest, smooth = round(LONGEST_SECTION_S * RATE_HZ), round(SMOOTH_S * RATE_HZ)
    cuts = [0]
    while len(wave) - cuts[-1] > longest:
        near = cuts[-1] + longest // 2
        power = np.cumsum(np.square(wave[near - smooth : near + longest // 2], dtype=np.float64))
        cuts.append(near - smooth // 2 + int(np.argmin(power[smooth:] - power[:-smooth])))
    return [Section(a / RATE_HZ, wave[a:b]) for a, b in pairwise([*cuts, len(wave)])]


_bar = partial(tqdm, desc="phones", unit=" sections", leave=False, disable=None, delay=5)
"""How far a long recording is, on a terminal."""


def recognise_phones(wave: Num[np.ndarray, "*channels samples"]) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz without a transcript.

    Time is linear in length and memory bounded, since long recordings are cut at their quietest moments into sections
    of 16 s at most. The result is the same at every call. Raises InputError for an array that is no such recording.
    """
    check_wave(wave, SHORTEST_S)
    parts = [_recognise(each, phone_posteriors(each.wave)) for each in _bar(sections(wave)) if each.audible]
    phones = list(chain.from_iterable(found for found, _ in parts))
    failures = [failure for _, failure in parts if failure]
    reason = "; ".join(["no text was given", *([] if phones else ["no phone was heard"]), *failures[:1]])
    warning = f"times are rough in {len(failures)} sections" if failures else ""
    method = "hama" if failures else "hama+pocketsphinx"
    return PhoneTrack(tidy(phones, len(wave) / RATE_HZ), method, reason, warning=warning)


def align_phones(wave: Num[np.ndarray, "*channels samples"], text: str) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz of which the words are known (forced alignment).

    Where pocketsphinx finds no path the CTC network's own alignment stands in; where the text does not fit the phones
    that are recognised, those are taken. `method` names all methods in use, `reason` the cause, `warning` doubts about
    the text. Raises InputError for an unusable array and for a text without a word that can be pronounced.
    """
    check_wave(wave, SHORTEST_S)
    words = pronounce(text)
    if not words:
        raise InputError("a transcript of what is said", repr(text[:60]), "give the words, or leave the text out")
    parts = [(section, phone_posteriors(section.wave)) for section in _bar(sections(wave))]
    recognised = [shift(chain.from_iterable(found.words()), section.start_s) for section, found in parts]
    times_s = _word_times(words, list(chain.from_iterable(recognised)), len(wave) / RATE_HZ)
    edges_s = [section.start_s for section, _ in parts[1:]]
    phones: list[Phone] = []
    methods: Counter[str] = Counter()
    reasons, agreements = [], []
    places = [bisect_right(edges_s, time_s) for time_s in times_s]
    for number, (section, posteriors) in enumerate(_bar(parts)):
        own = [word for word, place in zip(words, places, strict=True) if place == number]
        agreements.append(agreement(_flat(own), [phone.phone for phone in recognised[number]]))
        found, method, reason = _align(section, posteriors, own if agreements[-1] >= TEXT_FITS else [])
        phones += found
        methods[method] += 1
        reasons += [reason] if reason else []
    warning = ""
    if min(agreements) < TEXT_FITS_WELL:
        unused = f"; not used in {sum(a < TEXT_FITS for a in agreements)} of {len(agreements)} sections"
        warning = f"the text may not be what is said (agreement {min(agreements):.2f})"
        warning += unused if min(agreements) < TEXT_FITS else ""
    method = ", ".join(name for name, _ in methods.most_common())
    reason = "; ".join(["the text was given", *reasons[:1]])
    return PhoneTrack(tidy(phones, len(wave) / RATE_HZ), method, reason, text, warning)


def _recognise(section: Section, posteriors: PhonePosteriors) -> tuple[list[Phone], str]:
    """Phones of one section, times from the recording's start, and why hama timed them, "" if pocketsphinx did."""
    found = posteriors.words()
    if not found or not section.audible:
        return [], ""
    try:
        phones, failure = _time(section, posteriors, [[tuple(phone.phone for phone in word)] for word in found])
    except AlignmentError as error:
        phones, failure = list(chain.from_iterable(found)), str(error)
    where = f"pocketsphinx could not align the phones heard at {section.start_s:.1f} s ({failure})"
    return shift(phones, section.start_s), where if failure else ""


def _align(section: Section, posteriors: PhonePosteriors, words: Sequence[Word]) -> tuple[list[Phone], str, str]:
    """Phones of a section, the method and, unless pocketsphinx aligned the words, the reason."""
    where = f"at {section.start_s:.1f} s"
    try:
        if words:
            phones, failure = _time(section, posteriors, [word.pronunciations for word in words])
            reason = f"pocketsphinx could not align the words {where} ({failure})" if failure else ""
            return shift(phones, section.start_s), "hama" if failure else "pocketsphinx", reason
        failed = f"the text does not fit what is heard {where}"
    except AlignmentError as error:
        failed = f"the words do not fit into the recording {where} ({error})"
    phones, failure = _recognise(section, posteriors)
    return phones, "hama" if words or failure else "hama+pocketsphinx", failed if words or phones else ""


def _time(
    section: Section, posteriors: PhonePosteriors, words: Sequence[Sequence[Pronunciation]]
) -> tuple[list[Phone], str]:
    """Phones of `words` by pocketsphinx as near as can be to hama's times, or hama's own and why.

    Raises AlignmentError when neither finds a path.
    """
    nearest: list[Phone] = []
    smallest = np.inf
    failure = ""
    for pad_s in PADS_S:
        try:
            phones = force_align(section.wave, words, pad_s)
        except AlignmentError as error:
            failure = str(error)
            continue
        apart = _disagreement_s(phones, posteriors)
        unmoved = abs(apart - smallest) < SAME_S
        if not nearest or apart < smallest:
            nearest, smallest = phones, apart
        if smallest <= USUAL_DISAGREEMENT_S or unmoved:
            break
    if nearest:
        return nearest, ""
    return posteriors.align([phone for word in words for phone in word[0]]), failure


def _disagreement_s(phones: Sequence[Phone], posteriors: PhonePosteriors) -> float:
    """Largest distance between the starts of phones and those hama gives them; infinite where hama finds no path."""
    try:
        rough = posteriors.align([phone.phone for phone in phones])
    except AlignmentError:
        return float("inf")
    return max(abs(a.start_s - b.start_s) for a, b in zip(phones, rough, strict=True))


def agreement(spoken: Sequence[str], recognised: Sequence[str]) -> float:
    """1 - edit distance / longer length of two phone sequences: 1 when equal, 0 when nothing is shared."""
    longer = max(len(spoken), len(recognised))
    return 1.0 if not longer else 1 - float(_edit_table(spoken, recognised)[-1, -1]) / longer


def _word_times(words: Sequence[Word], recognised: Sequence[Phone], duration_s: float) -> list[float]:
    """When each word is spoken, roughly: the middle of its phones' partners, between its neighbours' if it has none."""
    owner = [index for index, word in enumerate(words) for _ in word.pronunciations[0]]
    partners: dict[int, list[float]] = {}
    for i, j in _match(_flat(words), [phone.phone for phone in recognised]):
        partners.setdefault(owner[i], []).append(recognised[j].start_s)
    known = [-1, *partners, len(words)]
    times = [0.0, *(float(np.median(starts)) for starts in partners.values()), duration_s]
    return [float(time) for time in np.interp(np.arange(len(words)), known, times)]


def _flat(words: Sequence[Word]) -> list[str]:
    return [phone for word in words for phone in word.pronunciations[0]]


_MOST_CELLS, _RUN = 1 << 24, 6


def _match(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of equal items along the cheapest edit path, in order.

    Long sequences, as of more than some six minutes of speech, are first parted at runs of `_RUN` items that each has
    just once: time and memory stay linear in length. What is too long even then is left without partners.
    """
    if len(a) * len(b) > _MOST_CELLS:
        runs = []
        for items in (a, b):
            places = {tuple(items[i : i + _RUN]): i for i in range(len(items) - _RUN + 1)}
            often = Counter(zip(*(items[k:] for k in range(_RUN)), strict=False))
            runs.append({run: place for run, place in places.items() if often[run] == 1})
        lowest: list[int] = []  # patience sorting: the longest chain of runs that rises in both
        chains: list[Any] = []
        for i, j in sorted((runs[0][run], runs[1][run]) for run in runs[0].keys() & runs[1].keys()):
            place = bisect_left(lowest, j)
            lowest[place : place + 1] = [j]
            chains[place : place + 1] = [((i, j), chains[place - 1] if place else None)]
        edges, chain_ = [(len(a), len(b))], chains[-1] if chains else None
        while chain_:
            edge, chain_ = chain_
            edges.append(edge)
        pairs = []
        for (i, j), (end_i, end_j) in pairwise([(0, 0), *reversed(edges)]):
            if (end_i - i) * (end_j - j) <= _MOST_CELLS:
                pairs += [(i + m, j + n) for m, n in _match(a[i:end_i], b[j:end_j])]
        return pairs
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
