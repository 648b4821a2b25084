"""FLAME motion as an npz of coefficients under the names that the field's tools use.

    expression (frames, 50), jaw_pose (frames, 3), global_pose (frames, 3), fps

>>> save_flame_coefficients(clip, Path("hello.npz"))

Rotations are axis-angle in radians; the corpus adapter `flame` reads the file back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import FLAME


def save_flame_coefficients(clip: MotionClip, path: Path) -> None:
    """Write a FLAME clip as npz without pickle, atomically; InputError for another space."""
    if clip.space is not FLAME:
        expected = "motion in the FLAME space"
        raise InputError(expected, f"the space {clip.space.name}", "convert it with a FLAME model file first")
    expression, jaw, turned = (clip.values[:, list(FLAME.groups[group])] for group in ("expression", "lips", "head"))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, expression=expression, jaw_pose=jaw, global_pose=turned, fps=np.float64(clip.fps))
