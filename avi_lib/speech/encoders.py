"""Frozen speech encoders: a wave in, features at 50 frames a second out, whatever its length and recording level.

>>> encoder = load_encoder()  # Whisper-tiny.en; load_encoder("models/hubert-base") takes a folder
>>> encoder.encode(voice.wave).shape, encoder.dim, encoder.reason
((466, 384), 384, 'found in the cache ...; licence MIT')

Frame i covers the times i/50 to (i+1)/50 s and is centred on their middle, so a recording has ceil(50 * duration)
frames; the last is filled up with silence. The wave is first scaled to a peak of 1. A recording longer than the
encoder's window is encoded in windows that overlap and are cross-faded, which bounds memory but for wave and features.
The default encoder needs no torch for its last layer; others import it when they are loaded.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Num
from scipy.sparse import csr_array
from tqdm import tqdm

from avi_lib.errors import InputError, expect
from avi_lib.files import content_sha256, file_sha256
from avi_lib.models import load_pretrained, locate, read_config
from avi_lib.workers import one_blas_thread

RATE_HZ = 16_000
FPS = 50.0
HOP = 320
"""Samples of a frame."""
SILENT_PEAK = 1e-4
"""A wave whose peak is lower (-80 dB of full scale) is raised no further than if this were its peak."""
RECIPE = 1
"""Part of every fingerprint; to be raised when the way from wave to features changes."""

Wave = Float32[np.ndarray, " samples"]
Read = Float32[np.ndarray, "*bins steps"]
"""What a network reads: samples, or columns of a spectrogram."""
States = Float32[np.ndarray, "layers frames dim"]
Which = Literal["last", "every", "early"]


class SpeechEncoder(ABC):
    """A frozen network from speech to features.

    Attributes:
        name: what the encoder is called in figures and records.
        dim: length of a feature vector.
        layers: number of layers that `encode_layers` gives.
        early: which of them tell how something is said, see `WindowedEncoder`.
        fps: frames a second, always 50.
        fingerprint: SHA-256 over the model's files, the library that runs it and the settings that decide the numbers.
        reason: why this model and where from, and its licence.
    """

    name: str
    dim: int
    layers: int
    early: tuple[int, ...]
    fps: float = FPS
    fingerprint: str
    reason: str

    def transcribe(self, wave: Wave) -> str:
        """The words of a wave; "" of an encoder that has no decoder."""
        return ""

    def encode(self, wave: Num[np.ndarray, "*channels samples"]) -> Float32[np.ndarray, "frames dim"]:
        """Features of the last layer for a wave (samples,) float32 at 16 kHz, of any length and level.

        The same wave gives the same bytes at every call. Raises InputError for an empty wave, another type or shape
        and samples that are not finite.
        """
        return self._encode(wave, "last")[0]

    def encode_layers(self, wave: Num[np.ndarray, "*channels samples"]) -> States:
        """Features of every layer, the network's input embedding first and what `encode` gives last."""
        return self._encode(wave, "every")

    def encode_early(self, wave: Num[np.ndarray, "*channels samples"]) -> States:
        """Features of the layers named in `early` alone."""
        return self._encode(wave, "early")

    def encode_piece(self, wave: Wave, peak: float, loudest_log10: float) -> Float32[np.ndarray, "frames dim"]:
        """Features of the last layer for a piece of a longer sound, of a window at most, while that is still spoken.

        The sound's peak, and the loudest band of its spectrum at that level, are told, as the piece does not know them.
        """
        raise InputError("an encoder that can be asked while speech goes on", self.name, "use one encoder alone")

    @abstractmethod
    def _encode(self, wave: Any, which: Which) -> States:
        """Features of some layers of the whole wave."""


class JoinedEncoder(SpeechEncoder):
    """Several encoders side by side: their numbers follow on one another; layers are the early ones and the last."""

    def __init__(self, encoders: Sequence[SpeechEncoder]) -> None:
        counts = {len(each.early) for each in encoders}
        expect(len(counts) == 1, "encoders with as many early layers", f"{sorted(counts)}", "join deeper ones")
        self._encoders, self.layers = encoders, 1 + counts.pop()
        self.early = tuple(range(self.layers - 1))
        self.name, self.reason = "+".join(each.name for each in encoders), "; ".join(each.reason for each in encoders)
        self.dim = sum(each.dim for each in encoders)
        self.fingerprint = content_sha256([each.fingerprint for each in encoders])

    def transcribe(self, wave: Wave) -> str:
        """As the first of them that has a decoder."""
        return next(filter(None, (each.transcribe(wave) for each in self._encoders)), "")

    def _encode(self, wave: Any, which: Which) -> States:
        own = [(each, each._encode(wave, which)) for each in self._encoders]
        kept = [states[[*each.early, -1]] if which == "every" else states for each, states in own]
        return np.concatenate(kept, axis=2)


class WindowedEncoder(SpeechEncoder):
    """A network that reads a long wave in windows that overlap.

    Attributes:
        window: longest stretch that is encoded at once, in frames.
        overlap: frames that consecutive windows share.
    """

    window: int
    overlap: int

    @cached_property
    def early(self) -> tuple[int, ...]:  # type: ignore[override]  # layers are known once it is loaded
        """Numbers of the layers at a quarter, half and three quarters of the depth.

        They tell how something is said wherever it was recorded; the last ones tell what is said, and the studio.
        """
        return tuple(sorted({round((self.layers - 1) * share) for share in (0.25, 0.5, 0.75)}))

    def encode_piece(self, wave: Wave, peak: float, loudest_log10: float) -> Float32[np.ndarray, "frames dim"]:
        """As `SpeechEncoder.encode_piece`."""
        frames = -(-len(wave) // HOP)
        return self._encode_window(self._prepare(wave / np.float32(peak), frames, loudest_log10), 0, frames, False)[0]

    def _encode(self, wave: Any, which: Which) -> States:
        every = partial(self._encode_window, every_layer=which == "every")
        layers = {"last": 1, "every": self.layers, "early": len(self.early)}[which]
        return self._features(wave, layers, self._encode_early if which == "early" else every)

    def _features(self, wave: Any, layers: int, encode: Callable[[Read, int, int], States]) -> States:
        check_wave(wave)
        frames = -(-len(wave) // HOP)
        prepared = self._prepare(levelled(wave), frames)
        if frames <= self.window:
            return encode(prepared, 0, frames)
        sums = np.zeros((layers, frames, self.dim), np.float32)
        weights = np.zeros((frames, 1), np.float32)
        rise = np.minimum(1, (np.arange(self.window) + 0.5) / self.overlap)
        fade = np.minimum(rise, rise[::-1]).astype(np.float32)[:, None]
        starts = window_starts(frames, self.window, self.overlap)
        for start in tqdm(starts, "encoding speech", unit=" windows", leave=False, disable=None, delay=5):
            stop = start + self.window
            sums[:, start:stop] += fade * encode(prepared, start, stop)
            weights[start:stop] += fade
        sums /= weights
        return sums

    @abstractmethod
    def _prepare(self, wave: Wave, frames: int, loudest_log10: float | None = None) -> Read:
        """What the network reads for `frames` frames of the whole wave; see `log_mel`."""

    @abstractmethod
    def _encode_window(self, prepared: Read, start: int, stop: int, every_layer: bool) -> States:
        """Features of frames `start` to `stop`; of the last layer alone unless `every_layer`."""

    def _encode_early(self, prepared: Read, start: int, stop: int) -> States:
        return self._encode_window(prepared, start, stop, every_layer=True)[list(self.early)]


def load_encoder(name_or_path: str = "whisper-tiny-en", last: bool = True) -> SpeechEncoder:
    """A frozen speech encoder by its name in `avi models`, or from a folder; the last three loaded are kept.

    A folder holds Whisper in CTranslate2 form (config.json, model.bin), or HuBERT, wav2vec 2.0, WavLM or Whisper as
    transformers saves them (config.json and safetensors). Several, with a + between them, are read side by side. One
    processor thread is used, and results are the same at every call. Where the `last` layer will hardly be asked for,
    what it alone needs is loaded when it is. Raises InputError for a folder that is no such
    model or is damaged, and AssetError when a model named cannot be found.
    """
    parts = name_or_path.split("+")
    if len(parts) > 1 and not os.path.isdir(name_or_path):  # noqa: PTH112 (False for what no path can be)
        # the first one writes words down, and serves the talking generator too
        return JoinedEncoder([load_encoder(parts[0]), *(load_encoder(each, last=False) for each in parts[1:])])
    found = locate(name_or_path, "speech encoder")
    files = sorted(path for path in found.folder.iterdir() if path.is_file())
    contents = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return _load(found.folder, contents, found.name, found.described, last)


@lru_cache(maxsize=3)
def _load(folder: Path, contents: tuple[Any, ...], name: str, reason: str, last: bool) -> SpeechEncoder:
    """The encoder of a folder whose files are as `contents` says."""
    kind = read_config(folder / "config.json").get("model_type")
    converted = kind is None and (folder / "model.bin").is_file()
    encoder = CTranslateWhisper(folder, name, reason) if converted else HubEncoder(folder, kind, name, reason)
    every_layer = not converted  # the default one needs no torch until its other layers are asked for
    silence = np.zeros(RATE_HZ // 2, np.float32)
    every = encoder.encode_layers if every_layer else (lambda wave: encoder.encode(wave)[None])
    features = every(silence) if last or every_layer else encoder.encode_early(silence)[:1]
    expected, do = "a speech encoder with 50 frames a second", "copy the model again, or use another"
    if features.shape != (shape := (encoder.layers if every_layer else 1, 25, encoder.dim)):
        raise InputError(expected, f"features of shape {features.shape} instead of {shape} from {folder}", do)
    if not np.isfinite(features).all():
        raise InputError(expected, f"{folder}, whose features are not finite", do)
    return encoder


def check_wave(wave: Any, shortest_s: float = 0.0) -> None:
    """Raise InputError unless `wave` is one channel of finite float32 samples, of 1 at least and of `shortest_s`."""
    expected, do = "float32 samples of one channel at 16 kHz", "load the recording with load_voice"
    if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 1:
        shape = f"{wave.dtype} of shape {wave.shape}" if isinstance(wave, np.ndarray) else type(wave).__name__
        raise InputError(expected, shape, do)
    if len(wave) < shortest_s * RATE_HZ:
        raise InputError(f"at least {shortest_s} s of speech", f"{len(wave) / RATE_HZ:.3f} s", "record a longer clip")
    if not len(wave):
        raise InputError(expected, "an empty wave", "record a longer clip")
    if not np.isfinite(wave).all():
        raise InputError(expected, "samples that are not finite", do)


def levelled(wave: Wave) -> Wave:
    """The wave scaled to a peak of 1, so that features do not depend on the recording's gain; silence stays silent."""
    peak = max(float(wave.max()), -float(wave.min()))
    return wave * np.float32(1 / max(peak, SILENT_PEAK))


def window_starts(frames: int, window: int, overlap: int) -> list[int]:
    """First frames of windows that cover more than `window` frames, sharing `overlap`; the last shares more."""
    return [*range(0, frames - window, window - overlap), frames - window]


def _fingerprint(library: str, encoder: WindowedEncoder, files: Iterable[Path]) -> str:
    """SHA-256 that stands for the features a model gives, from the content of its files."""
    digests = {path.name: file_sha256(path) for path in files}
    settings = {"window": encoder.window, "overlap": encoder.overlap}
    return content_sha256({"recipe": RECIPE, "library": library, "settings": settings, "files": digests})


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch and numpy run on one thread; on their number the last digits depend."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_blas_thread:
            yield
    finally:
        torch.set_num_threads(before)


# Whisper's log-mel spectrogram, computed with numpy, so that the default encoder needs no torch.


STEP = 160
"""Samples from one spectrum to the next."""

_WIDTH = 400
_CHUNK = 2048


def log_mel(wave: Wave, bins: int, loudest_log10: float | None = None) -> Float32[np.ndarray, "bins steps"]:
    """The spectrogram of a wave at 16 kHz of more than 200 samples, one column for each whole 10 ms.

    Column j is centred on sample 160 j; the wave is mirrored at its ends, as in the original. Memory beyond the result
    is that of the wave and of 20 s of spectra. What lies 80 dB below the loudest band is cut off: the wave's own, or
    `loudest_log10`, the logarithm of a power.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, _WIDTH // 2, mode="reflect"), _WIDTH)[::STEP]
    hann = np.hanning(_WIDTH + 1)[:-1].astype(np.float32)
    steps = len(wave) // STEP
    mel = np.empty((bins, steps), np.float32)
    for start in range(0, steps, _CHUNK):
        spectrum = np.fft.rfft(windows[start : min(start + _CHUNK, steps)] * hann)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel[:, start : start + _CHUNK] = np.log10(np.maximum(_slaney_filters(bins) @ power.T, 1e-10))
    np.maximum(mel, (mel.max() if loudest_log10 is None else loudest_log10) - 8.0, out=mel)
    mel += 4
    mel /= 4
    return mel


def centred_log_mel(
    wave: Wave, frames: int, bins: int, loudest_log10: float | None = None
) -> Float32[np.ndarray, "bins steps"]:
    """Two columns for each of `frames` frames of 20 ms, the wave filled up with silence.

    Whisper halves the number of columns by a convolution centred on the even ones. The first column, centred on the
    wave's first sample, is left out, so that these are centred on the middle of their frames.
    """
    return log_mel(np.pad(wave, (0, (2 * frames + 1) * STEP - len(wave))), bins, loudest_log10)[:, 1:]


@cache
def _slaney_filters(bins: int) -> csr_array:
    """Filters (bins, frequencies), sparse: faster, and without the threads that a dense product starts.

    Triangles of equal area between `bins` + 2 frequencies at even distances on Slaney's mel scale ("Auditory toolbox",
    1998): linear to 1 kHz, logarithmic above. Libraries that have them take seconds to import.
    """
    highest = 15.0 + 27.0 * np.log(RATE_HZ / 2 / 1000.0) / np.log(6.4)
    mels = np.linspace(0.0, highest, bins + 2)
    edges_hz = np.where(mels < 15.0, 200.0 / 3.0 * mels, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0)))
    areas = 2.0 / (edges_hz[2:] - edges_hz[:-2])[:, None]
    return csr_array((triangles(edges_hz, np.linspace(0.0, RATE_HZ / 2, _WIDTH // 2 + 1)) * areas).astype(np.float32))


def triangles(edges_hz: Float[np.ndarray, " edges"], hz: Float[np.ndarray, " bins"]) -> Float[np.ndarray, "bands bins"]:
    """Filters that rise from each edge to the next one and fall to the one after it, edges - 2 of them."""
    distances, widths = edges_hz[:, None] - hz, np.diff(edges_hz)[:, None]
    return np.maximum(0.0, np.minimum(-distances[:-2] / widths[:-1], distances[2:] / widths[1:]))


# Whisper's encoder in CTranslate2 form: the default speech encoder, fast on a processor and without torch.


WINDOW = 300
"""Frames encoded at once. Whisper adds absolute positions, and the features of a sound that lies 10 s later in its
window have a cosine of 0.5 to those before. Clips to train on are short, so windows of 6 s keep a long recording to the
positions that such clips teach: a linear map to mouth motion trained on cuts of 3 to 6 s is as good on recordings of
minutes, while with windows of 28 s its correlation falls by 4 to 9 %."""
HEARD_S, MOST_WORDS = 28.0, 160
"""Longest stretch whose words are written, in seconds, and the most tokens of it."""
OVERLAP = 50
"""Frames that windows share; sharing 2 s was no better."""


class CTranslateWhisper(WindowedEncoder):
    """Whisper's encoder from a folder with config.json and model.bin; InputError when they cannot be loaded.

    The last layer comes from the library, which gives no other; those before it from the same weights in torch.
    """

    window = WINDOW
    overlap = OVERLAP

    def __init__(self, folder: Path, name: str, reason: str) -> None:
        self.name, self.reason, self._file = name, reason, folder / "model.bin"
        self.fingerprint = _fingerprint("ctranslate2", self, (folder / "config.json", self._file))
        with self._readable():
            self._places = _encoder_tensors(self._file)
            self.dim, self._bins = self._places["conv1/weight"][2][:2]
        self.layers = 1 + len(
            {name.split("/")[0] for name in self._places if name.startswith("layer_")} - {"layer_norm"}
        )

    @cached_property
    def _model(self) -> Any:
        from ctranslate2.models import Whisper

        folder, options = str(self._file.parent), {"inter_threads": 1, "intra_threads": 1}
        # it sets the number of OpenMP threads of the thread that makes it, which torch would then keep to
        with self._readable(), ThreadPoolExecutor(1) as apart:
            return apart.submit(Whisper, folder, device="cpu", compute_type="float32", **options).result()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """InputError for whatever damaged files make of being read."""
        try:
            yield
        except (RuntimeError, ValueError, MemoryError, struct.error, LookupError, OverflowError, OSError) as error:
            got = f"{self._file.parent}: {' '.join(str(error).split())}"
            do = "copy the model again, or for a model of `avi models` run `avi models --check`"
            raise InputError("Whisper in CTranslate2 form", got, do) from error

    def _prepare(self, wave: Wave, frames: int, loudest_log10: float | None = None) -> Read:
        return centred_log_mel(wave, frames, self._bins, loudest_log10)

    def transcribe(self, wave: Wave) -> str:
        """The words of at most `HEARD_S` of a wave, as Whisper's decoder writes them; "" where it is not all there."""
        from ctranslate2 import StorageView
        from tokenizers import Tokenizer

        tokenizer = self._file.with_name("tokenizer.json")
        if not tokenizer.is_file():
            return ""
        words = Tokenizer.from_file(str(tokenizer))
        begin = [words.token_to_id(mark) for mark in ("<|startoftranscript|>", "<|notimestamps|>")]
        check_wave(wave)
        part = wave[: round(HEARD_S * RATE_HZ)]
        states = self._run(self._prepare(levelled(part), -(-len(part) // HOP)))
        said = self._model.generate(StorageView.from_array(states), [begin], beam_size=1, max_length=MOST_WORDS)
        return str(words.decode(said[0].sequences_ids[0])).strip()

    def _encode_window(self, prepared: Read, start: int, stop: int, every_layer: bool) -> States:
        read = prepared[:, 2 * start : 2 * stop]
        last = self._run(read)
        return np.concatenate([self._before(read), last]) if every_layer else last

    def _encode_early(self, prepared: Read, start: int, stop: int) -> States:
        if self.early[-1] == self.layers - 1:  # of a network with two layers or fewer the last one is among them
            return super()._encode_early(prepared, start, stop)
        return self._before(prepared[:, 2 * start : 2 * stop])[list(self.early)]

    def _before(self, mel: Read) -> States:
        """The embedding and the layers before the last one (Radford et al. 2022, "Robust speech recognition")."""
        import torch
        from torch.nn.functional import conv1d, gelu, layer_norm, linear, scaled_dot_product_attention

        weights = self._weights

        def affine(change: Callable[..., Any], x: Any, name: str, **how: int) -> Any:
            return change(x, weights[f"{name}/weight"], weights[f"{name}/bias"], **how)

        def normal(x: Any, name: str) -> Any:
            return layer_norm(x, x.shape[-1:], weights[f"{name}/layer_norm/gamma"], weights[f"{name}/layer_norm/beta"])

        with torch.inference_mode(), one_thread():
            x = gelu(affine(conv1d, torch.from_numpy(np.ascontiguousarray(mel))[None], "conv1", padding=1))
            x = gelu(affine(conv1d, x, "conv2", padding=1, stride=2))[0].T
            found = [x + weights["position_encodings/encodings"][: len(x)]]
            for number in range(self.layers - 2):
                x, attention, ffn = found[-1], f"layer_{number}/self_attention", f"layer_{number}/ffn"
                joined = affine(linear, normal(x, attention), f"{attention}/linear_0")
                query, key, value = joined.unflatten(1, (3, int(weights["num_heads"]), -1)).permute(1, 2, 0, 3)
                attended = scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
                x = x + affine(linear, attended, f"{attention}/linear_1")
                x = x + affine(linear, gelu(affine(linear, normal(x, ffn), f"{ffn}/linear_0")), f"{ffn}/linear_1")
                found.append(x)
            return np.asarray(torch.stack(found).numpy())

    @cached_property
    def _weights(self) -> dict[str, Any]:
        import torch

        found = {name: np.memmap(self._file, kind, "r", at, shape) for name, (kind, at, shape) in self._places.items()}
        scales = {name.removesuffix("_scale"): found.pop(name) for name in [*found] if name.endswith("_scale")}
        plain = {name: value.astype(np.float32) for name, value in found.items()}
        for name, scale in scales.items():  # of weights with 8 bits
            plain[name] /= scale.reshape(-1, *[1] * (plain[name].ndim - 1))
        return {name: torch.from_numpy(value) for name, value in plain.items()}

    def _run(self, mel: Read) -> States:
        from ctranslate2 import StorageView

        return np.array(self._model.encode(StorageView.from_array(np.ascontiguousarray(mel[None])), to_cpu=True))


def _encoder_tensors(file: Path) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    """Type, place and shape of the encoder's tensors in a model that CTranslate2 has opened, by name."""
    kinds = ("float32", "int8", "int16", "int32", "float16")
    found: dict[str, tuple[str, int, tuple[int, ...]]] = {}
    with file.open("rb") as opened:

        def number(form: str) -> int:
            return int(struct.unpack(form, opened.read(struct.calcsize(form)))[0])

        def text() -> str:
            return opened.read(number("<H"))[:-1].decode()

        opened.seek(4)
        text(), opened.seek(4, os.SEEK_CUR)
        for _ in range(number("<I")):
            name, shape = text(), tuple(number("<I") for _ in range(number("<B")))
            kind, size = number("<B"), number("<I")
            found[name] = kinds[kind], opened.tell(), shape
            opened.seek(size, os.SEEK_CUR)
        for _ in range(number("<I")):  # tensors that are equal are stored once
            name, same = text(), text()
            found[name] = found[same]
    own = ((name.removeprefix("encoder/"), place) for name, place in found.items() if name.startswith("encoder/"))
    return dict(own)


# Encoders as transformers saves them: HuBERT, wav2vec 2.0, WavLM and Whisper from a folder with safetensors.


KINDS = ("hubert", "wav2vec2", "wavlm", "whisper")
WAVEFORM_WINDOW, WAVEFORM_OVERLAP = 1000, 100
"""Networks on the wave have no absolute positions and were trained on up to 16-30 s: windows of 20 s that share 2 s."""


class HubEncoder(WindowedEncoder):
    """A network of transformers on the processor in float32, from a folder with config.json and safetensors.

    HuBERT, wav2vec 2.0 and WavLM are convolutions over the wave, 400 samples wide and 320 apart, then a transformer.
    The wave gets the same silence at both ends, 40 samples, by which the network's frame i lies on the middle of
    frame i without interpolation. It is brought to mean 0 and variance 1 unless preprocessor_config.json says
    `"do_normalize": false`; a folder without that file counts as true, the default of transformers.

    Whisper's encoder is run at the true length of its input with the first of its positions: the forward pass of
    transformers insists on 30 s, and this one equals it at 30 s. It gives the features of the same weights in
    CTranslate2 form.
    """

    def __init__(self, folder: Path, kind: Any, name: str, reason: str) -> None:
        if kind not in KINDS:
            expected = f"a speech encoder: {', '.join(KINDS)}, or Whisper in CTranslate2 form"
            raise InputError(expected, f"{folder}, whose config.json has the model_type {kind!r}", "use one of these")
        self._whisper = kind == "whisper"
        spare = r"(?!encoder\.)" if self._whisper else "masked_spec_embed$"  # which serves training alone
        model, _ = load_pretrained(folder, "AutoModel", f"{kind} model", spare=spare, dtype="float32")
        self._model = model.get_encoder() if self._whisper else model
        self.name, self.reason = name, reason
        config, extra = self._model.config, folder / "preprocessor_config.json"
        self.dim, self.layers = int(config.hidden_size), int(config.num_hidden_layers) + 1
        self.window, self.overlap = (WINDOW, OVERLAP) if self._whisper else (WAVEFORM_WINDOW, WAVEFORM_OVERLAP)
        extras = [extra] if extra.exists() else []
        files = [folder / "config.json", *extras, *sorted(folder.glob("*.safetensors*"))]
        self.fingerprint = _fingerprint("transformers", self, files)
        if self._whisper:
            if (positions := config.max_source_positions) < WINDOW:
                expected = f"Whisper with at least {WINDOW} positions"
                raise InputError(expected, f"{positions} in {folder}", "use another model")
            return
        stride, reach = 1, 1
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            reach += (kernel - 1) * stride
            stride *= step
        options = read_config(extra) if extras else {}
        rate_hz = options.get("sampling_rate", RATE_HZ)
        if stride != HOP or reach < HOP or rate_hz != RATE_HZ:
            got = f"{folder}, which reads {reach} samples every {stride} at {rate_hz} Hz"
            raise InputError("convolutions that step 320 samples at 16000 Hz", got, "use a model of that kind")
        self._beyond = reach - HOP
        self._normalise = bool(options.get("do_normalize", True))

    def _prepare(self, wave: Wave, frames: int, loudest_log10: float | None = None) -> Read:
        if self._whisper:
            return centred_log_mel(wave, frames, self._model.config.num_mel_bins, loudest_log10)
        if self._normalise:
            mean = wave.mean(dtype=np.float64)
            variance = np.einsum("i,i->", wave, wave, dtype=np.float64) / len(wave) - mean**2
            wave = ((wave - np.float32(mean)) / np.float32(np.sqrt(max(variance, 0) + 1e-7))).astype(np.float32)
        before = self._beyond // 2
        return np.pad(wave, (before, frames * HOP - len(wave) + self._beyond - before))

    def _encode_window(self, prepared: Read, start: int, stop: int, every_layer: bool) -> States:
        import torch

        first, last = (2 * start, 2 * stop) if self._whisper else (start * HOP, stop * HOP + self._beyond)
        read = torch.from_numpy(prepared[..., first:last])[None]
        with torch.inference_mode(), one_thread():
            hidden = self._run_whisper(read) if self._whisper else self._run(read)
            return torch.cat(hidden if every_layer else hidden[-1:]).numpy()

    def _run(self, read: Any) -> list[Any]:
        """The input embedding and every layer's output (1, frames, dim)."""
        result = self._model(read, output_hidden_states=True)
        # Of large models the last hidden state lacks the final normalisation, hence the result in its place.
        return [*result.hidden_states[:-1], result.last_hidden_state]

    def _run_whisper(self, read: Any) -> list[Any]:
        from torch.nn.functional import gelu

        embedded = gelu(self._model.conv2(gelu(self._model.conv1(read)))).transpose(1, 2)
        hidden = [embedded + self._model.embed_positions.weight[: embedded.shape[1]]]
        for layer in self._model.layers:
            hidden.append(layer(hidden[-1], None))
        return [*hidden[:-1], self._model.layer_norm(hidden[-1])]
