"""Curves: motion that was recorded or tracked, and which of its channels are really there.

>>> curves = Curves(load_motion(path), present=np.ones(55, bool))
>>> curves.at_fps(25.0).clip.values.shape
(250, 55)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip


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
        if not self.present.any():
            raise InputError("at least one channel of motion", "none", "check the names of the channels")

    def at_fps(self, fps: float) -> Curves:
        """The same curves at another frame rate; frame i shows the time (i + 0.5) / fps, averaged when going down.

        A frame of the result is the mean of the curve, taken as straight between frames, over the frame's duration.
        """
        if fps == self.clip.fps:
            return self
        values, old = self.clip.values.astype(np.float64), self.clip.fps
        frames = max(int(np.ceil(len(values) / old * fps - 1e-6)), 1)
        if fps > old:
            times_s = (np.arange(frames) + 0.5) / fps
            held = [np.interp(times_s, (np.arange(len(values)) + 0.5) / old, channel) for channel in values.T]
            resampled = np.stack(held, axis=1)
        else:
            edges_s = np.minimum(np.arange(frames + 1) / fps, len(values) / old)
            area = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)]) / old
            until = np.stack([np.interp(edges_s, np.arange(len(area)) / old, column) for column in area.T], axis=1)
            resampled = np.diff(until, axis=0) / np.maximum(np.diff(edges_s), 1e-9)[:, None]
        return Curves(MotionClip(resampled.astype(np.float32), fps, self.clip.space), self.present)

    def between(self, first: int, last: int) -> Curves:
        """The frames from `first` to before `last`."""
        return Curves(self.clip.at(range(first, last)), self.present)


@dataclass(frozen=True)
class Piece:
    """Motion without a gap, from `start_s` seconds of its recording on."""

    start_s: float
    curves: Curves
