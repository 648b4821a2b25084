"""Frozen speech encoders: a wave in, features at 50 frames a second out, whatever its length and recording level.

>>> encoder = load_encoder()  # Whisper-tiny.en; load_encoder("models/hubert-base") takes a folder
>>> encoder.encode(speech.wave).shape, encoder.dim, encoder.reason
((466, 384), 384, 'found in the cache ...; licence MIT')

Frame i covers the times i/50 to (i+1)/50 s and is centred on their middle, so a recording has ceil(50 * duration)
frames; the last is filled up with silence. The wave is first scaled to a peak of 1. A recording longer than the
encoder's window is encoded in windows that overlap and are cross-faded, which bounds memory but for wave and features.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from jaxtyping import Float32, Num
from scipy.sparse import csr_array

from avi_lib.errors import InputError
from avi_lib.files import file_sha256
from avi_lib.models import load_manifest, resolve

RATE_HZ = 16_000
FPS = 50.0
HOP = 320
"""Samples of a frame."""
SILENT_PEAK = 1e-4
"""A wave whose peak is lower (-80 dB of full scale) is raised no further than if this were its peak."""
RECIPE = 1
"""Part of every fingerprint; to be raised when the way from wave to features changes."""


class SpeechEncoder(ABC):
    """A frozen network from speech to features.

    Attributes:
        name: what the encoder is called in figures and records.
        dim: length of a feature vector.
        layers: number of hidden layers that `encode_layers` gives.
        fps: frames a second, always 50.
        fingerprint: SHA-256 over the model's files, the library that runs it and the settings that decide the numbers.
        reason: why this model and where from, and its licence.
        window: longest stretch that is encoded at once, in frames.
        overlap: frames that consecutive windows share.
    """

    name: str
    dim: int
    layers: int
    fps: float = FPS
    fingerprint: str
    reason: str
    window: int
    overlap: int

    def encode(self, wave: Num[np.ndarray, "*channels samples"]) -> Float32[np.ndarray, "frames dim"]:
        """Features of the last layer for a wave (samples,) float32 at 16 kHz, of any length and level.

        The same wave gives the same bytes at every call. Raises InputError for an empty wave, another type or shape
        and samples that are not finite.
        """
        return self._features(wave, False)[0]

    def encode_layers(self, wave: Num[np.ndarray, "*channels samples"]) -> Float32[np.ndarray, "layers frames dim"]:
        """Features of every layer, the network's input embedding first and what `encode` gives last."""
        return self._features(wave, True)

    def _features(self, wave: Any, every_layer: bool) -> Float32[np.ndarray, "layers frames dim"]:
        _check_wave(wave)
        frames = -(-len(wave) // HOP)
        prepared = self._prepare(levelled(wave), frames)
        if frames <= self.window:
            return self._encode_window(prepared, 0, frames, every_layer)
        sums = np.zeros((self.layers if every_layer else 1, frames, self.dim), np.float32)
        weights = np.zeros((frames, 1), np.float32)
        fade = _fade(self.window, self.overlap)[:, None]
        for start in window_starts(frames, self.window, self.overlap):
            stop = start + self.window
            sums[:, start:stop] += fade * self._encode_window(prepared, start, stop, every_layer)
            weights[start:stop] += fade
        sums /= weights
        return sums

    @abstractmethod
    def _prepare(self, wave: Float32[np.ndarray, " samples"], frames: int) -> Float32[np.ndarray, "*bins steps"]:
        """What the network reads for `frames` frames of the whole wave."""

    @abstractmethod
    def _encode_window(
        self, prepared: Float32[np.ndarray, "*bins steps"], start: int, stop: int, every_layer: bool
    ) -> Float32[np.ndarray, "layers frames dim"]:
        """Features of frames `start` to `stop`; of the last layer alone unless `every_layer`."""


def load_encoder(name_or_path: str = "whisper-tiny-en", threads: int = 1) -> SpeechEncoder:
    """Load a frozen speech encoder by its name in `avi models`, or from a folder.

    A folder holds Whisper in CTranslate2 form (config.json, model.bin), or HuBERT, wav2vec 2.0, WavLM or Whisper as
    transformers saves them (config.json and safetensors). `threads` processor threads are used; results are the same
    at every call with the same number. Raises InputError for a folder that is no such model or is damaged, and
    AssetError when a model named cannot be found.
    """
    if threads < 1:
        raise InputError("at least one thread", f"threads={threads}", "pass 1 or more")
    if name_or_path in _names():
        found = resolve(name_or_path)
        name, folder, reason = name_or_path, found.folder, f"{found.reason}; licence {found.licence}"
    else:
        folder = _folder(name_or_path)
        name, reason = folder.resolve().name, f"given path {folder}; licence: that of your own copy"
    kind = read_json(folder / "config.json").get("model_type")
    encoder: SpeechEncoder
    if kind is None and (folder / "model.bin").is_file():
        encoder = CTranslateWhisper(folder, name, reason, threads)
    else:
        from avi_lib.speech.hub_encoders import load_hub_encoder

        encoder = load_hub_encoder(folder, kind, name, reason, threads)
    _check_encoder(encoder, folder)
    return encoder


def levelled(wave: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
    """The wave scaled to a peak of 1, so that features do not depend on the recording's gain; silence stays silent."""
    peak = max(float(wave.max()), -float(wave.min()))
    return wave * np.float32(1 / max(peak, SILENT_PEAK))


def window_starts(frames: int, window: int, overlap: int) -> list[int]:
    """First frames of windows that cover more than `window` frames, sharing `overlap`; the last shares more."""
    return [*range(0, frames - window, window - overlap), frames - window]


def fingerprint_of(library: str, settings: dict[str, Any], files: Iterable[Path]) -> str:
    """SHA-256 that stands for the features a model gives, from the content of its files."""
    digests = {path.name: file_sha256(path) for path in files}
    content = {"recipe": RECIPE, "library": library, "settings": settings, "files": digests}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fade(window: int, overlap: int) -> Float32[np.ndarray, " window"]:
    """Weights that rise over the first `overlap` frames and fall over the last; those of two neighbours sum to 1."""
    rise = np.minimum(1, (np.arange(window) + 0.5) / overlap)
    return np.minimum(rise, rise[::-1]).astype(np.float32)


def _check_wave(wave: Any) -> None:
    expected, do = "float32 samples of one channel at 16 kHz", "load the recording with load_speech"
    if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 1:
        shape = f"{wave.dtype} of shape {wave.shape}" if isinstance(wave, np.ndarray) else type(wave).__name__
        raise InputError(expected, shape, do)
    if not len(wave):
        raise InputError(expected, "an empty wave", "record a longer clip")
    if not np.isfinite(wave).all():
        raise InputError(expected, "samples that are not finite", do)


def _names() -> list[str]:
    """Speech encoders among the frozen models."""
    return [model.name for model in load_manifest().models if model.purpose.startswith("speech encoder")]


def _folder(path: str) -> Path:
    try:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return folder
        got = f"{path!r}, which is " + ("a file" if folder.exists() else "not there")
    except (OSError, RuntimeError) as error:
        got = f"{path!r}: {error}"
    expected = f"a folder with a speech encoder, or a name ({', '.join(_names())})"
    raise InputError(expected, got, "correct the name or the path")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a model's JSON file."""
    do = "name the folder that holds the model's config.json and weights, and copy it again if it is damaged"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no JSON ({error})"
        raise InputError(f"a model folder with {path.name}", f"{path}: {reason}", do) from error
    if not isinstance(content, dict):
        raise InputError(f"a model folder with {path.name}", f"{path}, which holds no object", do)
    return content


def _check_encoder(encoder: SpeechEncoder, folder: Path) -> None:
    """Encode half a second of silence, which finds weights that are not numbers and networks of another frame rate."""
    features = encoder.encode_layers(np.zeros(RATE_HZ // 2, np.float32))
    expected, do = "a speech encoder with 50 frames a second", "copy the model again, or use another"
    if features.shape != (encoder.layers, 25, encoder.dim):
        shape = (encoder.layers, 25, encoder.dim)
        raise InputError(expected, f"features of shape {features.shape} instead of {shape} from {folder}", do)
    if not np.isfinite(features).all():
        raise InputError(expected, f"{folder}, whose features are not finite", do)


# Whisper's log-mel spectrogram, computed with numpy, so that the default encoder needs no torch.


STEP = 160
"""Samples from one spectrum to the next."""

_WINDOW = 400
_HANN = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
_CHUNK = 2048
_FLOOR = 1e-10
_RANGE = 8.0


def log_mel(wave: Float32[np.ndarray, " samples"], bins: int) -> Float32[np.ndarray, "bins steps"]:
    """The spectrogram of a wave at 16 kHz of more than 200 samples, one column for each whole 10 ms.

    Column j is centred on sample 160 j; the wave is mirrored at its ends, as in the original. Memory beyond the result
    is that of the wave and of 20 s of spectra.
    """
    mirrored = np.pad(wave, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, _WINDOW)[::STEP]
    steps = len(wave) // STEP
    filters = _filters(bins)
    mel = np.empty((bins, steps), np.float32)
    for start in range(0, steps, _CHUNK):
        spectrum = np.fft.rfft(windows[start : min(start + _CHUNK, steps)] * _HANN)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel[:, start : start + _CHUNK] = np.log10(np.maximum(filters @ power.T, _FLOOR))
    np.maximum(mel, mel.max() - _RANGE, out=mel)
    mel += 4
    mel /= 4
    return mel


def centred_log_mel(wave: Float32[np.ndarray, " samples"], frames: int, bins: int) -> Float32[np.ndarray, "bins steps"]:
    """Two columns for each of `frames` frames of 20 ms, the wave filled up with silence.

    Whisper halves the number of columns by a convolution centred on the even ones. The first column, centred on the
    wave's first sample, is left out, so that these are centred on the middle of their frames.
    """
    return log_mel(np.pad(wave, (0, (2 * frames + 1) * STEP - len(wave))), bins)[:, 1:]


@cache
def _filters(bins: int) -> csr_array:
    """Filters (bins, frequencies), sparse: faster, and without the threads that a dense product starts.

    Triangles of equal area between `bins` + 2 frequencies at even distances on Slaney's mel scale ("Auditory toolbox",
    1998): linear to 1 kHz, logarithmic above. Libraries that have them take seconds to import.
    """
    highest = 15.0 + 27.0 * np.log(RATE_HZ / 2 / 1000.0) / np.log(6.4)
    mels = np.linspace(0.0, highest, bins + 2)
    corners = np.where(mels < 15.0, 200.0 / 3.0 * mels, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0)))
    distances = corners[:, None] - np.linspace(0.0, RATE_HZ / 2, _WINDOW // 2 + 1)
    widths = np.diff(corners)[:, None]
    triangles = np.maximum(0.0, np.minimum(-distances[:-2] / widths[:-1], distances[2:] / widths[1:]))
    areas = 2.0 / (corners[2:] - corners[:-2])[:, None]
    return csr_array((triangles * areas).astype(np.float32))


# Whisper's encoder in CTranslate2 form: the default speech encoder, fast on a processor and without torch.


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
