"""Motion files by their suffix: what is read, what is written, and from one space into the other.

>>> write_motion(read_motion(Path("talk.csv")), Path("talk.glb"), load_head())
>>> write_motion(clip, Path("frames"), load_head())      # a folder: one OBJ a frame
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from avi_lib.corpus.adapters.flame import holds_coefficients, load_flame
from avi_lib.corpus.curve_files import load_curves
from avi_lib.corpus.curves import Curves
from avi_lib.errors import InputError
from avi_lib.face.driven import DrivenHead
from avi_lib.face.head import Head, load_head
from avi_lib.motion.bvh import load_bvh, save_bvh
from avi_lib.motion.clip import MotionClip, load_motion, save_motion
from avi_lib.motion.flame_coefficients import save_flame_coefficients
from avi_lib.motion.livelink import load_livelink, save_livelink
from avi_lib.motion.space import ARKIT, FLAME, HEAD_ROTATION

WRITABLE = {
    ".npz": "the motion itself; of FLAME motion expression, jaw_pose and global_pose",
    ".csv": "Live Link Face",
    ".glb": "glTF: the head with morph targets, head and eye rotation",
    ".bvh": "the head's rotation alone",
    ".usda": "USD as text: the head with blendshapes and a skeleton",
    ".usdc": "the same, binary",
    ".usdz": "the same, with its texture",
}
"""What is written by suffix; a name without one is a folder with one OBJ a frame."""
READABLE = (".npz", ".csv", ".glb", ".gltf", ".bvh")
MOTION_SUFFIXES = tuple(WRITABLE)
_WITH_HEAD = (".glb", ".usda", ".usdc", ".usdz")


def write_motion(motion: MotionClip, output: Path, head: DrivenHead | None = None) -> None:
    """Write motion by the suffix of `output`, atomically; formats with a head show `head`, the open one if None.

    Raises InputError for another suffix, for motion of a space that the format does not know, for a head that it cannot
    hold, and OutputError where nothing can be written.
    """
    check_motion(output, head)
    suffix = output.suffix.lower()
    if suffix == ".csv":
        save_livelink(motion, output)
    elif suffix == ".bvh":
        save_bvh(motion, output)
    elif suffix == ".npz":
        (save_flame_coefficients if motion.space is FLAME else save_motion)(motion, output)
    else:
        _write_with_head(motion, output, head)


def _write_with_head(motion: MotionClip, output: Path, head: DrivenHead | None) -> None:
    """Formats that hold a head; what they need is loaded where it is used."""
    if output.suffix.lower() == ".glb":
        from avi_lib.face.gltf_writing import write_glb

        write_glb(_shaped(head), motion, output)
    elif output.suffix:
        from avi_lib.face.usd import write_usd

        write_usd(_shaped(head), motion, output)
    else:
        from avi_lib.face.obj_export import write_obj_sequence

        write_obj_sequence(head or load_head(), motion, output)


def read_motion(path: Path) -> MotionClip:
    """Read motion by the suffix of `path`; an npz may be this library's or hold FLAME coefficients."""
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise InputError(f"a motion file ending in {', '.join(READABLE)}", str(path), "change the suffix")
    if suffix == ".csv":
        return load_livelink(path)
    if suffix == ".bvh":
        return load_bvh(path)
    if suffix == ".npz":
        return load_flame(path).clip if holds_coefficients(path) else load_motion(path)
    from avi_lib.face.gltf_motion import read_glb_motion

    return read_glb_motion(path)


def read_curves(path: Path) -> Curves:
    """ARKit motion of a file and which of its channels are there; InputError for another space."""
    suffix = path.suffix.lower()
    if suffix == ".npz" and not holds_coefficients(path):
        curves = load_curves(path)
    else:
        clip = read_motion(path)
        turns = np.isin(clip.space.channels, HEAD_ROTATION)
        curves = Curves(clip, turns if suffix == ".bvh" else np.ones(len(clip.space), dtype=bool))
    if curves.clip.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"{path} in {curves.clip.space.name}", "convert it first")
    return curves


def converted(motion: MotionClip, space: str, head: DrivenHead | None) -> tuple[MotionClip, str]:
    """Motion in the space of a name, by the map of a FLAME head, and what was lost in words, if anything.

    Raises InputError for another name, and where the spaces differ and the head is not FLAME's.
    """
    if space not in (ARKIT.name, FLAME.name):
        raise InputError(f"a space: {ARKIT.name} or {FLAME.name}", repr(space), "name one of them")
    if motion.space.name == space:
        return motion, ""
    from avi_lib.face.flame_head import FlameHead

    if not isinstance(head, FlameHead):
        got = head.name if head else "none"
        raise InputError(f"a FLAME head to go from {motion.space.name} to {space}", got, "name it with --head")
    if space == FLAME.name:
        return head.fitted.to_flame(motion), head.fitted.describe()
    clip, error = head.fitted.to_arkit(motion)
    return clip, f"{error.rms_mm:.2f} mm off on average, {100 * error.relative:.0f} % of the movement"


def written_files(output: Path) -> tuple[Path, ...]:
    """Every file that is written for a result of this name: USD keeps its texture beside it."""
    if not output.suffix.lower().startswith(".usd"):
        return (output,)
    from avi_lib.face.usd import companions

    return (output, *companions(output))


def writable_here() -> tuple[str, ...]:
    """The suffixes that this environment can write: those of USD need the package usd-core."""
    has_usd = find_spec("pxr") is not None
    return tuple(suffix for suffix in MOTION_SUFFIXES if has_usd or not suffix.startswith(".usd"))


def check_motion(output: Path, head: DrivenHead | None = None) -> None:
    """Raise InputError unless a motion file of this name can be written with this head."""
    suffix = output.suffix.lower()
    if suffix and suffix not in MOTION_SUFFIXES:
        expected = f"a motion file ending in {', '.join(MOTION_SUFFIXES)}, or a folder's name"
        raise InputError(expected, str(output), "change the suffix")
    if suffix in _WITH_HEAD:
        _shaped(head)


def _shaped(head: DrivenHead | None) -> Head:
    if head is None:
        return load_head()
    if not isinstance(head, Head):
        expected = f"a head with blendshapes for {', '.join(_WITH_HEAD)}"
        raise InputError(expected, f"the FLAME head {head.name}", "write its coefficients, or a folder of OBJ")
    return head
