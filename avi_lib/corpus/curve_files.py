"""Curves as files: the motion npz of `motion.clip` with the array `present`, which says what channels are there.

>>> save_curves(curves, Path("talk.npz"))
>>> load_curves(Path("talk.npz")).present.sum(), load_motion(Path("talk.npz")).values.shape
(49, (250, 55))
"""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from avi_lib.corpus.curves import Curves
from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.arrays import UNREADABLE, read_array
from avi_lib.motion.clip import MotionClip, load_motion

_MOST_BYTES = 1 << 16


def save_curves(curves: Curves, path: Path) -> None:
    """Write what `save_motion` writes and `present` (channels,) bool as npz, atomically."""
    clip = curves.clip
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            values=clip.values,
            fps=np.float64(clip.fps),
            channels=np.array(clip.space.channels),
            present=curves.present,
        )


def load_curves(path: Path) -> Curves:
    """Curves of a motion npz; without `present` all channels are there, and those that are missing are read as 0.

    Raises:
        InputError: no motion npz, a `present` of another type or length, or one without a channel.
    """
    clip = load_motion(path)
    present = np.ones(len(clip.space), dtype=bool)
    try:
        with zipfile.ZipFile(path) as archive:
            if "present.npy" in archive.namelist():
                present = read_array(partial(archive.open, "present.npy"), "present", "b", _MOST_BYTES)
        if present.shape != (len(clip.space),):
            raise ValueError(f"present of the shape {present.shape}")
        if not present.any():
            raise ValueError("present without a channel")
    except UNREADABLE as error:
        expected = f"a mask present (bool) of the {len(clip.space)} channels of {clip.space.name}"
        raise InputError(expected, f"{path}: {error}", "leave it out where every channel is there") from error
    return Curves(MotionClip(np.where(present, clip.values, np.float32(0)), clip.fps, clip.space), present)
