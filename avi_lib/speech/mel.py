"""Whisper's log-mel spectrogram, computed with numpy, so that the default encoder needs no torch.

>>> log_mel(speech.wave, bins=80).shape
(80, 931)

Radford et al. 2022, "Robust speech recognition via large-scale weak supervision", section 2.2: windows of 25 ms every
10 ms, mel bands on Slaney's scale to 8 kHz, the logarithm cut off 80 dB below its maximum, and (x + 4) / 4.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float32
from scipy.sparse import csr_array

RATE_HZ = 16_000
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
