"""A motion clip: channel curves of a face over time, kept as npz or Live Link Face CSV.

>>> clip = MotionClip(np.zeros((50, 55), np.float32), fps=25.0, space=ARKIT)
>>> clip.duration_s, clip["jawOpen"].shape
(2.0, (50,))
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.arrays import UNREADABLE, read_array
from avi_lib.motion.space import SPACES, MotionSpace

_MAX_BYTES = {"values": 1 << 30, "fps": 64, "channels": 1 << 16}
"""Largest array of each name that is read; 1 GiB of values is 22 hours at 60 frames per second."""
_KINDS = {"values": "fiu", "fps": "fiu", "channels": "U"}


@dataclass(frozen=True, eq=False)
class MotionClip:
    """Curves of every channel of a motion space at a fixed frame rate.

    `values` is (frames, channels) float32: blendshape weights in 0-1, rotations in radians. Raises InputError when
    the shape does not fit the space, there is no frame, a value is not finite, or the frame rate is not positive.
    A clip is equal only to itself.
    """

    values: Float32[np.ndarray, "frames channels"]
    fps: float
    space: MotionSpace

    def __post_init__(self) -> None:
        """Refuse curves that no face can carry out."""
        if self.values.ndim != 2 or self.values.shape[1] != len(self.space):
            raise InputError(
                f"(frames, {len(self.space)}) values for the space {self.space.name}",
                f"shape {self.values.shape}",
                "pass the space these curves belong to",
            )
        if not len(self.values):
            raise InputError("at least one frame of motion", "none", "record or export it again")
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).any(axis=1).sum())
            raise InputError("finite motion values", f"{bad} frames with NaN or infinity", "repair or cut those frames")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise InputError("a positive frame rate", f"{self.fps} frames per second", "pass the rate of the recording")

    def __getitem__(self, channel: str) -> Float32[np.ndarray, " frames"]:
        return self.values[:, self.space.index(channel)]

    def __len__(self) -> int:
        return len(self.values)

    def at(self, frames: Sequence[int]) -> MotionClip:
        """The frames with these numbers, in this order."""
        return MotionClip(self.values[list(frames)], self.fps, self.space)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.values) / self.fps


def save_motion(clip: MotionClip, path: Path) -> None:
    """Write `values` (frames, channels) float32, `fps` float64 and `channels` (channels,) str as npz, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, values=clip.values, fps=np.float64(clip.fps), channels=np.array(clip.space.channels))


def load_motion(path: Path) -> MotionClip:
    """Read a motion npz; the space is recognised by its channel names. InputError when the file is not such an npz."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive, np.errstate(over="ignore"):
            values = np.ascontiguousarray(_read(archive, "values"), np.float32)
            fps, channels = float(_read(archive, "fps").item()), tuple(_read(archive, "channels").ravel().tolist())
    except UNREADABLE as error:
        raise InputError(
            "a motion npz with values, fps and channels", f"{path}: {error}", "write one with `avi talk --motion`"
        ) from error
    for space in SPACES.values():
        if channels == space.channels:
            return MotionClip(values, fps, space)
    raise InputError(
        f"the channels of {' or '.join(SPACES)}",
        f"{path} with {len(channels)} channels beginning {', '.join(channels[:3])}",
        "convert it with `avi export`",
    )


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return read_array(partial(archive.open, f"{name}.npy"), name, _KINDS[name], _MAX_BYTES[name])
