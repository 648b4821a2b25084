"""Cutting: where a long recording is parted into clips, in whole video frames.

>>> cut_at_pauses(wave, frames=3000, longest=300)
[(0, 287), (287, 561), ...]
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Float32

from avi_lib.speech.audio import RATE_HZ

FPS = 25
SAMPLES = RATE_HZ // FPS
"""Samples of one video frame."""
_PAUSE = 7
"""Frames over which a pause is looked for, about a quarter of a second."""
_FLOOR = 1e-8


def cut_at_pauses(wave: Float32[np.ndarray, " samples"], frames: int, longest: int) -> list[tuple[int, int]]:
    """First and last (exclusive) frame of each part of a wave; parts follow on and have at most `longest` frames.

    Each cut is the quietest quarter of a second in the second half of what a part may be; no part is shorter than half
    of `longest`.
    """
    if frames <= longest:
        return [(0, frames)]
    quiet = _quiet(wave, frames)
    parts, start = [], 0
    while frames - start > longest:
        least = longest // 2
        most = min(longest, frames - start - least)
        end = start + least + int(np.argmin(quiet[start + least : start + most + 1]))
        parts.append((start, end))
        start = end
    return [*parts, (start, frames)]


def cut_evenly(frames: int, longest: int) -> list[tuple[int, int]]:
    """Parts of like length, for motion without sound."""
    count = -(-frames // longest)
    edges = [round(i * frames / count) for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def _quiet(wave: Float32[np.ndarray, " samples"], frames: int) -> Float[np.ndarray, " frames"]:
    """Level in dB around the start of each frame."""
    padded = np.pad(wave, (0, max(frames * SAMPLES - len(wave), 0)))[: frames * SAMPLES]
    power = np.square(padded, dtype=np.float32).reshape(frames, SAMPLES).mean(axis=1)
    around = np.convolve(np.pad(power, _PAUSE // 2, mode="edge"), np.full(_PAUSE, 1 / _PAUSE), mode="valid")
    return 10 * np.log10(around + _FLOOR)
