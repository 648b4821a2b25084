"""Speech encoders as transformers saves them: HuBERT, wav2vec 2.0, WavLM and Whisper from a folder with safetensors.

>>> encoder = load_hub_encoder(folder, "hubert", "hubert-base-ls960", "given path", threads=1)
>>> encoder.encode_layers(wave).shape  # 2 s: the input embedding and 12 layers
(13, 100, 768)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from transformers import AutoModel

from avi_lib.errors import InputError
from avi_lib.models import loading
from avi_lib.speech.encoders import (
    HOP,
    OVERLAP,
    RATE_HZ,
    WINDOW,
    SpeechEncoder,
    centred_log_mel,
    fingerprint_of,
    read_json,
)

WAVEFORM_KINDS = ("hubert", "wav2vec2", "wavlm")
KINDS = (*WAVEFORM_KINDS, "whisper")
WAVEFORM_WINDOW, WAVEFORM_OVERLAP = 1000, 100
"""These networks have no absolute positions and were trained on up to 16-30 s: windows of 20 s that share 2 s."""

_PREPROCESSOR = "preprocessor_config.json"


class HubEncoder(SpeechEncoder):
    """A network of transformers on the processor in float32; a subclass says what it reads."""

    def __init__(self, model: Any, folder: Path, name: str, reason: str, threads: int) -> None:
        self._model = model
        self._threads = threads
        self.name = name
        self.reason = reason
        self.dim = int(model.config.hidden_size)
        self.layers = int(model.config.num_hidden_layers) + 1
        settings = {"window": self.window, "overlap": self.overlap}
        extra = [folder / _PREPROCESSOR] if (folder / _PREPROCESSOR).exists() else []
        files = [folder / "config.json", *extra, *sorted(folder.glob("*.safetensors*"))]
        self.fingerprint = fingerprint_of("transformers", settings, files)

    def _encode_window(
        self, prepared: Float32[np.ndarray, "*bins steps"], start: int, stop: int, every_layer: bool
    ) -> Float32[np.ndarray, "layers frames dim"]:
        with _threads(self._threads), torch.inference_mode():
            hidden = self._hidden(torch.from_numpy(self._cut(prepared, start, stop))[None])
            return torch.cat(hidden if every_layer else hidden[-1:]).numpy()

    @abstractmethod
    def _cut(
        self, prepared: Float32[np.ndarray, "*bins total"], start: int, stop: int
    ) -> Float32[np.ndarray, "*bins steps"]:
        """What the network reads for frames `start` to `stop`."""

    @abstractmethod
    def _hidden(self, read: Float[torch.Tensor, "1 *bins steps"]) -> list[Float[torch.Tensor, "1 frames dim"]]:
        """The input embedding and every layer's output, the last one normalised as the network gives it."""


class WaveformEncoder(HubEncoder):
    """HuBERT, wav2vec 2.0 or WavLM: convolutions over the wave, 400 samples wide and 320 apart, then a transformer.

    The wave gets the same silence at both ends, 40 samples, by which the network's frame i lies on the middle of frame
    i without interpolation. It is brought to mean 0 and variance 1 unless preprocessor_config.json says
    `"do_normalize": false`; a folder without that file counts as true, the default of transformers.
    """

    window = WAVEFORM_WINDOW
    overlap = WAVEFORM_OVERLAP

    def __init__(self, model: Any, folder: Path, name: str, reason: str, threads: int) -> None:
        super().__init__(model, folder, name, reason, threads)
        stride, reach = 1, 1
        for kernel, step in zip(model.config.conv_kernel, model.config.conv_stride, strict=True):
            reach += (kernel - 1) * stride
            stride *= step
        options = read_json(folder / _PREPROCESSOR) if (folder / _PREPROCESSOR).exists() else {}
        rate_hz = options.get("sampling_rate", RATE_HZ)
        if stride != HOP or reach < HOP or rate_hz != RATE_HZ:
            got = f"{folder}, which reads {reach} samples every {stride} at {rate_hz} Hz"
            raise InputError("convolutions that step 320 samples at 16000 Hz", got, "use a model of that kind")
        self._reach = reach
        self._normalise = bool(options.get("do_normalize", True))

    def _prepare(self, wave: Float32[np.ndarray, " samples"], frames: int) -> Float32[np.ndarray, " steps"]:
        if self._normalise:
            mean = wave.mean(dtype=np.float64)
            variance = np.einsum("i,i->", wave, wave, dtype=np.float64) / len(wave) - mean**2
            wave = ((wave - np.float32(mean)) / np.float32(np.sqrt(max(variance, 0) + 1e-7))).astype(np.float32)
        before, both = (self._reach - HOP) // 2, self._reach - HOP
        return np.pad(wave, (before, frames * HOP - len(wave) + both - before))

    def _cut(self, prepared: Float32[np.ndarray, " total"], start: int, stop: int) -> Float32[np.ndarray, " steps"]:
        return prepared[start * HOP : stop * HOP + self._reach - HOP]

    def _hidden(self, read: Float[torch.Tensor, "1 steps"]) -> list[Float[torch.Tensor, "1 frames dim"]]:
        result = self._model(read, output_hidden_states=True)
        # Of large models the last hidden state lacks the final normalisation, hence the result in its place.
        return [*result.hidden_states[:-1], result.last_hidden_state]


class WhisperEncoder(HubEncoder):
    """Whisper's encoder, run at the true length of its input with the first of its positions.

    The forward pass of transformers insists on 30 s; this is the same one without that, and equals it at 30 s. It
    gives the features of the same weights in CTranslate2 form.
    """

    window = WINDOW
    overlap = OVERLAP

    def __init__(self, model: Any, folder: Path, name: str, reason: str, threads: int) -> None:
        super().__init__(model.get_encoder(), folder, name, reason, threads)
        if (positions := self._model.config.max_source_positions) < WINDOW:
            raise InputError(
                f"Whisper with at least {WINDOW} positions", f"{positions} in {folder}", "use another model"
            )

    def _prepare(self, wave: Float32[np.ndarray, " samples"], frames: int) -> Float32[np.ndarray, "bins steps"]:
        return centred_log_mel(wave, frames, self._model.config.num_mel_bins)

    def _cut(
        self, prepared: Float32[np.ndarray, "bins total"], start: int, stop: int
    ) -> Float32[np.ndarray, "bins steps"]:
        return prepared[:, 2 * start : 2 * stop]

    def _hidden(self, read: Float[torch.Tensor, "1 bins steps"]) -> list[Float[torch.Tensor, "1 frames dim"]]:
        gelu = torch.nn.functional.gelu
        embedded = gelu(self._model.conv2(gelu(self._model.conv1(read)))).transpose(1, 2)
        hidden = [embedded + self._model.embed_positions.weight[: embedded.shape[1]]]
        for layer in self._model.layers:
            hidden.append(layer(hidden[-1], None))
        return [*hidden[:-1], self._model.layer_norm(hidden[-1])]


def load_hub_encoder(folder: Path, kind: Any, name: str, reason: str, threads: int) -> HubEncoder:
    """Load a model folder whose config.json has the `model_type` `kind`.

    Weights are read from safetensors alone, nothing is fetched and no code of the folder runs. Raises InputError for
    another kind of model, weights in pickle files, weights that are damaged and weights that are missing.
    """
    if kind not in KINDS:
        got = f"{folder}, whose config.json has the model_type {kind!r}"
        raise InputError(
            f"a speech encoder: {', '.join(KINDS)}, or Whisper in CTranslate2 form", got, "use one of these"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = ", ".join(sorted(path.name for path in folder.glob("*.bin")))
        raise InputError(
            "weights as safetensors",
            f"{folder} with " + (f"{pickled}, a pickle, which can run code when it is read" if pickled else "none"),
            "where you trust it, load it with transformers and save it again with save_pretrained",
        )
    try:
        with loading():
            model, report = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a wrong config or damaged weights make transformers raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a {kind} model", f"{folder}: {words[:300]}", "copy the model again") from error
    used = (key for key in report["missing_keys"] if kind != "whisper" or key.startswith("encoder."))
    if missing := sorted(set(used) - {"masked_spec_embed"}):  # that one serves training alone
        got = f"{folder} without {len(missing)} of them: {', '.join(missing[:3])}"
        raise InputError(f"all weights of a {kind} model", got, "copy the model again")
    encoder = WhisperEncoder if kind == "whisper" else WaveformEncoder
    return encoder(model.eval(), folder, name, reason, threads)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on that many threads, on which the last digits depend."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
