"""Transcripts: the words of a recording, by Whisper's own decoder in CTranslate2 form.

>>> Transcriber().transcribe(load_speech("data/samples/arctic.flac").wave)
'And you always want to see it in the superlative degree.'

What is written is a guess of the small English model. Phones for the lips come from elsewhere; this is for the
instructor where it was trained to be told the words.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import ctranslate2
import numpy as np
from jaxtyping import Float32
from tokenizers import Tokenizer

from avi_lib.models import Resolved, resolve
from avi_lib.speech.encoders import centred_log_mel, levelled
from avi_lib.speech.loading import RATE_HZ
from avi_lib.speech.voice import SAMPLES, VIDEO_FPS, cut_at_pauses

LONGEST_S = 24.0
"""Longest stretch that is decoded at once; the network knows 30 s."""
MOST_TOKENS = 200
_START = ("<|startoftranscript|>", "<|notimestamps|>")
_PAUSE_S = 1.0
"""Silence behind the speech, without which the last word is lost."""


class Transcriber:
    """Whisper of `avi models`, loaded when it is first needed."""

    def __init__(self, model: str = "whisper-tiny-en") -> None:
        self.model = model

    @cached_property
    def _found(self) -> Resolved:
        return resolve(self.model)

    @cached_property
    def _network(self) -> ctranslate2.models.Whisper:
        options = {"device": "cpu", "compute_type": "float32", "inter_threads": 1, "intra_threads": 1}
        with ThreadPoolExecutor(1) as apart:  # it would set torch's number of threads
            return apart.submit(ctranslate2.models.Whisper, str(self._found.folder), **options).result()

    @cached_property
    def _words(self) -> Tokenizer:
        return Tokenizer.from_file(str(self._found.folder / "tokenizer.json"))

    def transcribe(self, wave: Float32[np.ndarray, " samples"]) -> str:
        """The words of a wave (samples,) float32 at 16 kHz, in one line; empty where none are found."""
        frames = max(1, -(-len(wave) // SAMPLES))
        parts = cut_at_pauses(wave, frames, round(LONGEST_S * VIDEO_FPS))
        said = (self._part(wave[start * SAMPLES : end * SAMPLES]) for start, end in parts)
        return " ".join(" ".join(said).split())

    def _part(self, wave: Float32[np.ndarray, " samples"]) -> str:
        padded = np.concatenate([levelled(wave), np.zeros(round(_PAUSE_S * RATE_HZ), np.float32)])
        steps = -(-len(padded) // (RATE_HZ // 50))
        mel = centred_log_mel(padded, steps, self._network.n_mels)
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None]))
        found = self._network.generate(features, [list(_START)], beam_size=1, max_length=MOST_TOKENS)
        return str(self._words.decode(found[0].sequences_ids[0], skip_special_tokens=True))
