"""Motion files by their suffix: what is read, what is written.

>>> write_motion(read_motion(Path("talk.csv")), Path("talk.glb"), load_head())
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avi_lib.errors import InputError
from avi_lib.face.driven import DrivenHead
from avi_lib.motion.clip import MotionClip, load_motion, save_motion
from avi_lib.motion.livelink import load_livelink, save_livelink

READABLE: dict[str, Callable[[Path], MotionClip]] = {".npz": load_motion, ".csv": load_livelink}
MOTION_SUFFIXES = (".npz", ".csv")


def write_motion(motion: MotionClip, output: Path, head: DrivenHead | None = None) -> None:
    """Write motion as npz or Live Link Face CSV, by the suffix of `output`."""
    check_motion_suffix(output)
    (save_livelink if output.suffix.lower() == ".csv" else save_motion)(motion, output)


def read_motion(path: Path) -> MotionClip:
    """Read motion from npz or Live Link Face CSV, by the suffix of `path`."""
    read = READABLE.get(path.suffix.lower())
    if read is None:
        raise InputError(f"a motion file ending in {' or '.join(READABLE)}", str(path), "change the suffix")
    return read(path)


def check_motion_suffix(path: Path) -> None:
    """Raise InputError unless the suffix names a motion format."""
    if path.suffix.lower() not in MOTION_SUFFIXES:
        raise InputError(f"a motion file ending in {' or '.join(MOTION_SUFFIXES)}", str(path), "change the suffix")
