"""Curves: motion that was recorded or tracked, and which of its channels are really there.

>>> curves = Curves(load_motion(path), present=np.ones(55, bool))
>>> curves.at_fps(25.0).clip.values.shape
(250, 55)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import FLAME

FPS_RANGE = (1.0, 1000.0)
"""Frame rates of cameras and trackers."""
_PARTS = 8
"""Points of time in each frame over which a curve is averaged."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Motion of a real face.

    `present` (channels,) is False for channels that the recording does not have or does not move; their values are 0
    and mean nothing. Raises InputError when its length is not the number of channels or no channel is there.
    """

    clip: MotionClip
    present: Bool[np.ndarray, " channels"]

    def __post_init__(self) -> None:
        """Refuse a mask of another space."""
        if self.present.shape != (len(self.clip.space),):
            expected = f"a mask of the {len(self.clip.space)} channels of {self.clip.space.name}"
            raise InputError(expected, f"shape {self.present.shape}", "make one entry for each channel")
        if not FPS_RANGE[0] <= self.clip.fps <= FPS_RANGE[1]:
            expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames a second"
            raise InputError(expected, f"{self.clip.fps:g}", "write the rate of the recording")
        if not self.present.any():
            raise InputError("at least one channel of motion", "none", "check the names of the channels")

    def at_fps(self, fps: float) -> Curves:
        """The same curves at another frame rate; frame i shows the time (i + 0.5) / fps, averaged when going down.

        Curves are taken as straight between frames; going down, a frame is their mean over its duration.
        FLAME's rotations are made continuous first: the result may hold rotation vectors longer than pi.
        """
        if fps == self.clip.fps:
            return self
        values, old = self.clip.values.astype(np.float64), self.clip.fps
        if self.clip.space is FLAME:
            for group in ("lips", "head"):
                rotation = list(FLAME.groups[group])
                values[:, rotation] = _continuous(values[:, rotation])
        frames = max(int(np.ceil(len(values) / old * fps - 1e-6)), 1)
        parts = 1 if fps > old else _PARTS
        times_s = (np.arange(frames * parts) + 0.5) / (fps * parts)
        straight = [np.interp(times_s, (np.arange(len(values)) + 0.5) / old, channel) for channel in values.T]
        resampled = np.stack(straight, axis=1).reshape(frames, parts, -1).mean(axis=1)
        return Curves(MotionClip(resampled.astype(np.float32), fps, self.clip.space), self.present)

    def between(self, first: int, last: int) -> Curves:
        """The frames from `first` to before `last`."""
        return Curves(self.clip.at(range(first, last)), self.present)


def _continuous(vectors: Float64[np.ndarray, "frames 3"]) -> Float64[np.ndarray, "frames 3"]:
    """Rotation vectors in radians, each turned by whole turns about its axis to lie nearest to the one before."""
    if np.linalg.norm(np.diff(vectors, axis=0), axis=1).max(initial=0.0) <= np.pi:
        return vectors  # no other equivalent can lie nearer
    angles = np.linalg.norm(vectors, axis=1)
    axes = vectors / np.maximum(angles, 1e-12)[:, None]
    continuous = vectors.copy()
    for i in range(1, len(vectors)):
        turns = np.rint((continuous[i - 1] @ axes[i] - angles[i]) / (2 * np.pi))
        continuous[i] += 2 * np.pi * turns * axes[i]
    return continuous


@dataclass(frozen=True)
class Piece:
    """Motion without a gap, from `start_s` seconds of its recording on."""

    start_s: float
    curves: Curves
