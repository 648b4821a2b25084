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
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Num

from avi_lib.assets.digest import file_sha256
from avi_lib.assets.manifest import load_manifest
from avi_lib.assets.resolver import resolve
from avi_lib.errors import InputError

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
        from avi_lib.speech.whisper import CTranslateWhisper

        encoder = CTranslateWhisper(folder, name, reason, threads)
    else:
        from avi_lib.speech.hub_encoder import load_hub_encoder

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
