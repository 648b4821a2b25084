"""Whisper's encoder in CTranslate2 form: the default speech encoder, fast on a processor and without torch.

>>> encoder = CTranslateWhisper(folder, "whisper-tiny-en", "given path", threads=1)
>>> encoder.encode(wave).shape  # 2 s
(100, 384)

Inputs are encoded at their own length instead of being filled up to 30 s, which CTranslate2 allows and which takes a
fifteenth of the time for a clip of 2 s. Numbers are float32: int8 saves a fifth of the time and moves single frames
to a cosine of 0.89.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctranslate2
import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.speech.encoder import SpeechEncoder, fingerprint_of
from avi_lib.speech.mel import centred_log_mel

WINDOW = 300
"""Frames encoded at once. Whisper adds absolute positions, and the features of a sound that lies 10 s later in its
window have a cosine of 0.5 to those before. Clips to train on are short, so windows of 6 s keep a long recording to the
positions that such clips teach: a linear map to mouth motion trained on cuts of 3 to 6 s is as good on recordings of
minutes, while with windows of 28 s its correlation falls by 4 to 9 %."""
OVERLAP = 50
"""Frames that windows share; sharing 2 s was no better."""


class CTranslateWhisper(SpeechEncoder):
    """Whisper's encoder from a folder with config.json and model.bin; InputError when they cannot be loaded."""

    layers = 1
    window = WINDOW
    overlap = OVERLAP

    def __init__(self, folder: Path, name: str, reason: str, threads: int) -> None:
        options = {"device": "cpu", "compute_type": "float32", "inter_threads": 1, "intra_threads": threads}
        try:
            # it sets the number of OpenMP threads of the thread that makes it, which torch would then keep to
            with ThreadPoolExecutor(1) as apart:
                self._model = apart.submit(ctranslate2.models.Whisper, str(folder), **options).result()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise InputError(
                "Whisper in CTranslate2 form",
                f"{folder}: {' '.join(str(error).split())}",
                "copy the model again, or for a model of `avi models` run `avi models --check`",
            ) from error
        self.name = name
        self.reason = reason
        self.fingerprint = fingerprint_of(
            "ctranslate2", {"window": WINDOW, "overlap": OVERLAP}, (folder / "config.json", folder / "model.bin")
        )
        self.dim = self._run(np.zeros((self._model.n_mels, 2), np.float32)).shape[-1]

    def _prepare(self, wave: Float32[np.ndarray, " samples"], frames: int) -> Float32[np.ndarray, "bins steps"]:
        return centred_log_mel(wave, frames, self._model.n_mels)

    def _encode_window(
        self, prepared: Float32[np.ndarray, "bins steps"], start: int, stop: int, every_layer: bool
    ) -> Float32[np.ndarray, "1 frames dim"]:
        return self._run(prepared[:, 2 * start : 2 * stop])

    def _run(self, mel: Float32[np.ndarray, "bins steps"]) -> Float32[np.ndarray, "1 frames dim"]:
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None]))
        return np.array(self._model.encode(features, to_cpu=True))
