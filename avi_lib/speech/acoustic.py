"""Two frozen acoustic models, both inside their Python packages: hama hears which phones, pocketsphinx tells when.

hama is a phoneme CTC network: good at which phones, vague about when. pocketsphinx is a hidden Markov model with 10-ms
frames: poor at guessing phones, exact about their boundaries once it is told them.

>>> hear(wave).words()                                                # what was said, times within some 40 ms
>>> force_align(wave, [[("HH", "AY")], [("DH", "EH", "R")]])          # two words, one pronunciation each
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float32

from avi_lib.speech.phones import BILABIAL, Phone, arpabet

RATE_HZ = 16_000
Pronunciation = tuple[str, ...]

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
class Heard:
    """What the CTC network heard in a recording.

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
        path = scores.argmax(axis=1)
        spikes = [
            (frame, self.labels[index])
            for frame, index in enumerate(path)
            if self.labels[index] != BLANK and (frame == 0 or path[frame - 1] != index)
        ]
        return _words(spikes)

    def align(self, phones: Sequence[str]) -> list[Phone]:
        """Times of known phones along the likeliest CTC path (Viterbi). Raises AlignmentError when they do not fit."""
        columns = {label[0]: index for index, label in enumerate(self.labels) if len(label) == 1}
        blank = columns[BLANK[0]]
        states = np.full(2 * len(phones) + 1, blank)
        states[1::2] = [columns[phone] for phone in phones]
        entered = _ctc_viterbi(self.log_posteriors[:, states])
        return [phone for word in _words([(f, (p,)) for f, p in zip(entered, phones, strict=True)]) for phone in word]


def hear(wave: Float32[np.ndarray, " samples"]) -> Heard:
    """Phone posteriors of a 16-kHz recording, IPA tokens summed into ARPAbet classes; linear in time, one thread."""
    model, labels, fold = _hama()
    padded = np.pad(np.clip(wave, -1, 1), round(CTC_PAD_S * RATE_HZ))
    feeds = {"waveform": padded[None], "waveform_lengths": np.array([len(padded)])}
    with _hama_lock:
        log_probabilities, lengths = model.session.run(["log_probs", "out_lengths"], feeds)
    probabilities = np.exp(log_probabilities[0, : int(lengths[0])])
    return Heard(np.log(np.maximum(probabilities @ fold, 1e-9)), labels)


def force_align(
    wave: Float32[np.ndarray, " samples"], words: Sequence[Sequence[Pronunciation]], pad_s: float = 0.25
) -> list[Phone]:
    """Times of the phones of `words` in a 16-kHz recording, with optional silence around each word.

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
    try:
        decoder.set_align_text(" ".join(f"w{index}" for index in range(len(words))))
        _decode(decoder, pcm)
        if decoder.hyp() is None:
            raise AlignmentError("no path reaches the last word")
        decoder.set_alignment()
        _decode(decoder, pcm)
        shift = HMM_CENTRE_S - pad_s
        found = [
            Phone(phone.name, phone.start * HMM_HOP_S + shift, (phone.start + phone.duration) * HMM_HOP_S + shift)
            for word in decoder.get_alignment()
            if word.name in names
            for phone in word
        ]
    except RuntimeError as error:
        raise AlignmentError(str(error)) from error
    if not found:
        raise AlignmentError("no word was placed")
    return found


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
    skip = np.zeros(states, dtype=bool)
    skip[3::2] = True
    best = np.full(states, -np.inf)
    best[:2] = scores[0, :2]
    came = np.zeros((frames, states), dtype=np.int8)
    for frame in range(1, frames):
        options = np.stack(
            [best, np.r_[-np.inf, best[:-1]], np.where(skip, np.r_[-np.inf, -np.inf, best[:-2]], -np.inf)]
        )
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


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
