"""Two frozen acoustic models, both inside their Python packages: what hama hears, and when pocketsphinx says it happens.

hama is a phoneme CTC network: right about which phones, vague about when. pocketsphinx is a hidden Markov model with a
10-ms hop: poor at guessing phones, exact about their boundaries once it knows them.

>>> heard = hear(wave)                                   # posteriors of ARPAbet phones, 20-ms frames
>>> force_align(wave, [[("HH", "AY")], [("DH", "EH", "R")]])   # two words, one pronunciation each
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float32

from avi_lib.speech.phones import Phone, arpabet

RATE_HZ = 16_000
FRAME_S = 0.02
BLANK, WORD_END = "<blank>", "<wb>"
Pronunciation = tuple[str, ...]

_hama_lock = threading.Lock()


class AlignmentFailed(Exception):
    """The hidden Markov model found no path through the recording for the words it was given."""


@dataclass(frozen=True)
class Heard:
    """log_posteriors (frames, classes) of 20-ms frames; `labels` gives each class: phones, or BLANK or WORD_END alone."""

    log_posteriors: Float32[np.ndarray, "frames classes"]
    labels: tuple[Pronunciation, ...]

    @property
    def blank(self) -> int:
        return self.labels.index((BLANK,))


@cache
def _hama() -> tuple[Any, tuple[Pronunciation, ...], np.ndarray]:
    """The CTC network, its classes folded to ARPAbet, and for each of its tokens the folded class."""
    from hama import ASRModel

    model = ASRModel()
    marks = {model.decode_cfg.blank_token: (BLANK,), model.decode_cfg.word_boundary_token: (WORD_END,)}
    folded = [marks.get(token) or arpabet(token) or (BLANK,) for token in model.decoder_tokens]
    labels = tuple(sorted(set(folded)))
    return model, labels, np.array([labels.index(label) for label in folded])


def hear(wave: Float32[np.ndarray, " samples"]) -> Heard:
    """Phone posteriors of a 16-kHz recording, IPA tokens summed into ARPAbet classes; linear in time, one thread."""
    model, labels, fold = _hama()
    feeds = {"waveform": np.clip(wave, -1, 1)[None], "waveform_lengths": np.array([len(wave)])}
    with _hama_lock:
        log_probabilities, lengths = model.session.run(["log_probs", "out_lengths"], feeds)
    probabilities = np.exp(log_probabilities[0, : int(lengths[0])].astype(np.float64))
    summed = np.zeros((len(probabilities), len(labels)))
    for token, label in enumerate(fold):
        summed[:, label] += probabilities[:, token]
    return Heard(np.log(np.maximum(summed, 1e-12)).astype(np.float32), labels)


def force_align(
    wave: Float32[np.ndarray, " samples"], words: Sequence[Sequence[Pronunciation]]
) -> list[tuple[int, Phone]]:
    """Times of the phones of `words` in a 16-kHz recording, with optional silence around each word.

    Each word is its alternative pronunciations, of which the likeliest is taken. Returns (index of the word or -1 for
    silence, phone) in order, 10-ms steps. Raises AlignmentFailed when no path fits. A decoder lives for one call:
    its running cepstral mean would otherwise make results depend on what was aligned before.
    """
    from pocketsphinx import Decoder

    names: dict[str, int] = {}
    decoder = Decoder(lm=None, dict=None, loglevel="FATAL")
    for index, alternatives in enumerate(words):
        for number, pronunciation in enumerate(alternatives, 1):
            name = f"w{index}" if number == 1 else f"w{index}({number})"
            decoder.add_word(name, " ".join(pronunciation), update=False)
            names[name] = index
    pcm = (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
    try:
        decoder.set_align_text(" ".join(f"w{index}" for index in range(len(words))))
        _decode(decoder, pcm)
        if decoder.hyp() is None:
            raise AlignmentFailed("no path reaches the last word")
        decoder.set_alignment()
        _decode(decoder, pcm)
        return [
            (names.get(word.name, -1), Phone(phone.name, phone.start / 100, (phone.start + phone.duration) / 100))
            for word in decoder.get_alignment()
            for phone in word
        ]
    except RuntimeError as error:
        raise AlignmentFailed(str(error)) from error


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
