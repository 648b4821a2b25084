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
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import chain, count, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Float32, Num
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from avi_lib.errors import expect
from avi_lib.speech.encoders import RATE_HZ, check_wave

SILENCE = "SIL"
VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = frozenset("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
ARPABET = VOWELS | CONSONANTS
BILABIAL = frozenset({"M", "B", "P"})
SHORTEST_S, SHORTEST_GAP_S = 0.1, 0.02

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


def tidy(phones: Iterable[Phone], duration_s: float) -> tuple[Phone, ...]:
    """Make phones contiguous from 0 to `duration_s`: gaps become silence, overlaps meet halfway, silences are merged.

    A gap shorter than `SHORTEST_GAP_S` is closed by its neighbours; phones outside the recording are dropped.
    """
    result: list[Phone] = []

    def put(name: str, start_s: float, end_s: float) -> None:
        if end_s > start_s:
            if result and name == SILENCE == result[-1].phone:
                start_s = result.pop().start_s
            result.append(Phone(name, start_s, end_s))

    inside = (phone for phone in phones if phone.end_s > 0 and phone.start_s < duration_s)
    for phone in sorted(inside, key=lambda phone: phone.start_s):
        start_s, last_s = max(phone.start_s, 0.0), result[-1].end_s if result else 0.0
        if start_s - last_s >= SHORTEST_GAP_S:
            put(SILENCE, last_s, start_s)
        elif result:
            start_s = last_s + (start_s - last_s) / 2
            result[-1] = result[-1]._replace(end_s=start_s)
        else:
            start_s = 0.0
        put(phone.phone, start_s, min(phone.end_s, duration_s))
    if not result or duration_s - result[-1].end_s >= SHORTEST_GAP_S:
        put(SILENCE, result[-1].end_s if result else 0.0, duration_s)
    else:
        result[-1] = result[-1]._replace(end_s=duration_s)
    return tuple(result)


def shift(phones: Iterable[Phone], seconds: float) -> list[Phone]:
    """The same phones `seconds` later."""
    return [Phone(phone, start_s + seconds, end_s + seconds) for phone, start_s, end_s in phones]


# How words are pronounced: a transcript in, the words with their alternative pronunciations in ARPAbet out.

_TOKEN = re.compile(r"[$€£]?\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?\b|[^\W\d_]+(?:'[^\W\d_]+)*'?|[&%+@=°]", re.IGNORECASE)


class Word(NamedTuple):
    """A spoken word in lower case and the ways it may be pronounced, likeliest first."""

    text: str
    pronunciations: tuple[Pronunciation, ...]


def pronounce(text: str) -> tuple[Word, ...]:
    """The words of a transcript as they are spoken, in order; punctuation and words without a sound are left out."""
    words = (Word(s, _look_up(s) or _look_up(s.strip("'")) or _guess(s)) for s in spoken_words(text))
    return tuple(word for word in words if word.pronunciations)


def words_in(phones: Iterable[Phone], text: str | None) -> list[Phone]:
    """The words of a text with their times, as phones that were aligned with it tell; up to where they tell another."""
    spoken, found = [phone for phone in phones if phone.phone != SILENCE], list[Phone]()
    for word in pronounce(text or ""):
        fits = (len(each) for each in word.pronunciations if tuple(p.phone for p in spoken[: len(each)]) == each)
        if not (count := max(fits, default=0)):
            break
        found.append(Phone(word.text, spoken[0].start_s, spoken[count - 1].end_s))
        spoken = spoken[count:]
    return found


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


def _spoken_number(token: str) -> list[str]:
    """The words of a number: years of four digits in pairs, long ones and those that begin with 0 digit by digit."""
    engine = _engine("inflect", "engine")
    digits = token.lstrip("$€£").replace(",", "")
    whole = re.split(r"\D", digits)[0]
    if len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):
        said = f"{engine.number_to_words(whole, group=1)} {engine.number_to_words('0' + digits[len(whole) :])[5:]}"
    elif token == digits and re.fullmatch("1[1-9]..", digits):
        said = engine.number_to_words(digits, group=2, zero="oh").replace("oh oh", "hundred")
    else:
        said = engine.number_to_words(digits, andword="", comma="")
    words = re.findall("[a-z]+", said)
    return [*words, _TABLES["currencies"][token[0]]] if token[0] in _TABLES["currencies"] else words


@cache
def _engine(module: str, name: str) -> Any:
    """An engine of a package, imported and made when first needed."""
    return getattr(import_module(module), name)()


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


def is_word(spelling: str) -> bool:
    """Whether the dictionary has a word of lower-case letters."""
    return spelling in _dictionary()


def _guess(spelling: str) -> tuple[Pronunciation, ...]:
    """The reading hama gives a word the dictionary lacks; none where the network gives no sound."""
    read = _engine("hama", "G2PModel").predict(spelling)
    phones = [phone for part in read.alignments for phone in arpabet(part.phoneme)]
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
    model = _engine("hama", "ASRModel")
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


def force_align(wave: Wave, words: Sequence[Sequence[Pronunciation]], pad_s: float) -> list[Phone]:
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
SAME_S = 0.01  # two alignments as far from hama's times as each other: a third would be no nearer
# Over RAVDESS, agreement of the phones recognised with the right text is >= 0.50, with another sentence <= 0.23.
TEXT_FITS = 0.3
TEXT_FITS_WELL = 0.45


Section = tuple[float, Float32[np.ndarray, " _"]]
"""A stretch of a recording that is worked on at once: where it starts in seconds and its samples."""


def sections(wave: Wave) -> list[Section]:
    """Cut a 16-kHz recording into sections of 16 s at most, each at the quietest 0.2 s of its second half."""
    longest, smooth = round(LONGEST_SECTION_S * RATE_HZ), round(SMOOTH_S * RATE_HZ)
    cuts = [0]
    while len(wave) - cuts[-1] > longest:
        near = cuts[-1] + longest // 2
        power = np.cumsum(np.square(wave[near - smooth : near + longest // 2], dtype=np.float64))
        cuts.append(near - smooth // 2 + int(np.argmin(power[smooth:] - power[:-smooth])))
    return [(a / RATE_HZ, wave[a:b]) for a, b in pairwise([*cuts, len(wave)])]


def recognise_phones(wave: Num[np.ndarray, "*channels samples"]) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz without a transcript.

    Time is linear in length, since long recordings are cut at their quietest moments into sections of 16 s at most. The
    result is the same at every call. Raises InputError for an array that is no such recording.
    """
    return _track(wave, None, ())


def align_phones(wave: Num[np.ndarray, "*channels samples"], text: str) -> PhoneTrack:
    """Phones of a recording (samples,) float32 at 16 kHz of which the words are known (forced alignment).

    Where pocketsphinx finds no path the CTC network's own alignment stands in; where the text does not fit the phones
    that are recognised, those are taken. `method` names all methods in use, `reason` the cause, `warning` doubts about
    the text. Raises InputError for an unusable array and for a text without a word that can be pronounced.
    """
    words = pronounce(text)
    expect(words, "a transcript of what is said", repr(text[:60]), "give the words, or leave the text out")
    return _track(wave, text, words)


def _track(wave: Num[np.ndarray, "*channels samples"], text: str | None, words: Sequence[Word]) -> PhoneTrack:
    """Phones of a recording, section by section: those of its words, or where there are none those that are heard."""
    check_wave(wave, SHORTEST_S)
    bar = partial(tqdm, desc="phones", unit=" sections", leave=False, disable=None, delay=5)
    loud = [section for section in sections(wave) if np.square(section[1], dtype=np.float64).mean() >= SILENT_RMS**2]
    posteriors = [phone_posteriors(part) for _, part in bar(loud)]
    heard = [shift(chain.from_iterable(p.words()), start_s) for (start_s, _), p in zip(loud, posteriors, strict=True)]
    times_s = _word_times(words, list(chain.from_iterable(heard)), len(wave) / RATE_HZ)
    places = [bisect_right([start_s for start_s, _ in loud[1:]], time_s) for time_s in times_s]
    phones, problems, agreements = list[Phone](), list[str](), list[float]()
    methods: Counter[str] = Counter()
    for number, (start_s, part) in enumerate(bar(loud)):
        own = [word for word, place in zip(words, places, strict=True) if place == number]
        spoken = [phone for word in own for phone in word.pronunciations[0]]
        agreements.append(Levenshtein.normalized_similarity(spoken, [phone.phone for phone in heard[number]]))
        fits = agreements[-1] >= TEXT_FITS
        found, method, problem = _section(part, posteriors[number], own if fits else ())
        if words and found and not (own and fits):
            problem = "the text does not fit what is heard"
        phones += shift(found, start_s)
        methods[method] += 1
        problems += [f"{problem} at {start_s:.1f} s"] if problem else []
    warning = ""
    if not words:
        warning = f"times are rough in {len(problems)} sections" if problems else ""
    elif (least := min(agreements, default=0.0)) < TEXT_FITS_WELL:
        warning = f"the text may not be what is said (agreement {least:.2f})"
        if unused := sum(each < TEXT_FITS for each in agreements):
            warning += f"; not used in {unused} of {len(agreements)} sections"
    why = [f"{'the' if words else 'no'} text was given", *([] if phones else ["no phone was heard"]), *problems[:1]]
    used = ", ".join(name for name, _ in methods.most_common()) or "hama"
    return PhoneTrack(tidy(phones, len(wave) / RATE_HZ), used, "; ".join(why), text, warning)


def _section(wave: Wave, posteriors: PhonePosteriors, words: Sequence[Word]) -> tuple[list[Phone], str, str]:
    """Phones of a section, of these words or else those that are heard; the method, and why it is not the best."""
    problem = ""
    if words:
        try:
            phones, failure = _time(wave, posteriors, [word.pronunciations for word in words])
            problem = f"pocketsphinx could not align the words ({failure})" if failure else ""
            return phones, "hama" if failure else "pocketsphinx", problem
        except AlignmentError as error:
            problem = f"the words do not fit into the recording ({error})"
    if not (found := posteriors.words()):
        return [], "hama+pocketsphinx", problem
    try:
        phones, failure = _time(wave, posteriors, [[tuple(phone.phone for phone in word)] for word in found])
    except AlignmentError as error:
        phones, failure = list(chain.from_iterable(found)), str(error)
    problem = problem or (f"pocketsphinx could not align the phones heard ({failure})" if failure else "")
    return phones, "hama" if failure else "hama+pocketsphinx", problem


def _time(wave: Wave, posteriors: PhonePosteriors, words: Sequence[Sequence[Pronunciation]]) -> tuple[list[Phone], str]:
    """Phones of `words` by pocketsphinx as near as can be to hama's times, or hama's own and why.

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
        try:
            rough = posteriors.align([phone.phone for phone in phones])
            apart = max(abs(a.start_s - b.start_s) for a, b in zip(phones, rough, strict=True))
        except AlignmentError:
            apart = np.inf
        unmoved = abs(apart - smallest) < SAME_S
        if not nearest or apart < smallest:
            nearest, smallest = phones, apart
        if smallest <= USUAL_DISAGREEMENT_S or unmoved:
            break
    if nearest:
        return nearest, ""
    return posteriors.align([phone for word in words for phone in word[0]]), failure


def _word_times(words: Sequence[Word], recognised: Sequence[Phone], duration_s: float) -> list[float]:
    """When each word is spoken, roughly: the middle of its phones' partners, between its neighbours' if it has none."""
    spoken = [(index, phone) for index, word in enumerate(words) for phone in word.pronunciations[0]]
    partners: dict[int, list[float]] = {}
    for same in Levenshtein.opcodes([phone for _, phone in spoken], [phone.phone for phone in recognised]):
        if same.tag == "equal":
            for (index, _), heard in zip(
                spoken[same.src_start : same.src_end], recognised[same.dest_start : same.dest_end], strict=True
            ):
                partners.setdefault(index, []).append(heard.start_s)
    known = [-1, *partners, len(words)]
    times = [0.0, *(float(np.median(starts)) for starts in partners.values()), duration_s]
    return [float(time) for time in np.interp(np.arange(len(words)), known, times)]
