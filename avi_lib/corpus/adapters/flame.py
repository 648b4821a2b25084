"""FLAME coefficients per clip, as fits of a face model to video leave them, with the sound beside.

    M003/happy_001.npz                   M003/happy_001/expression.npy, jaw.npy
    M003/happy_001.wav                   M003/happy_001.wav

In: a folder of npz files, or of folders of npy files, with an optional `index.csv` (see `takes`). Out: one Recording
in the FLAME space for each. Arrays are (frames, coefficients), a leading or middle 1 is dropped; the names that are
understood, as EMOCA, EMOTE, DiffPoseTalk and SMPL-X tools write them:

    expression   expression, exp, expcode, expression_params    at least 50, of which the first 50 count
    jaw          jaw, jaw_pose, jawpose, jaw_params; or 3 to 5 of pose, posecode    3, axis-angle in radians
    global       global, global_pose, global_orient, globalpose; or 0 to 2 of pose, posecode    3, likewise
    fps          fps; 25 where a file does not tell, the rate of EMOTE, DiffPoseTalk and MEAD fits

A global rotation that is missing, or 0 in all frames as EMOTE writes it, is not present. The speaker is the table's,
else the folder directly below the source.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.adapters.layout import RuleError, collect, find, speaker_folder, stem
from avi_lib.corpus.adapters.takes import SOUND_SUFFIXES, labels_of, read_rows, sound_beside
from avi_lib.corpus.recording import MotionFile, Recording, Scan, scanned
from avi_lib.errors import InputError
from avi_lib.motion.clip import FLAME, UNREADABLE, Curves, MotionClip, read_array

LAYOUT = "FLAME coefficients: CLIP.npz or CLIP/*.npy with expression and jaw, sound of the same name beside"
FPS = 25.0
"""Frame rate of files that do not tell theirs."""

_EXPRESSION = ("expression", "exp", "expcode", "expression_params")
_JAW = ("jaw", "jaw_pose", "jawpose", "jaw_params")
_GLOBAL = ("global", "global_pose", "global_orient", "globalpose")
_POSE = ("pose", "posecode")
_NAMES = (*_EXPRESSION, *_JAW, *_GLOBAL, *_POSE, "fps")
_MOST_BYTES = 1 << 30

_Opener = Callable[[], IO[bytes]]


def load_flame(path: Path) -> Curves:
    """FLAME curves of a clip.

    Args:
        path: the clip's npz, or any npy file of its folder.

    Raises:
        InputError: no expression or no jaw, arrays of other shapes or of objects, NaN, or lengths that differ.
    """
    try:
        if path.suffix.lower() == ".npy":
            return _curves({file.stem: partial(_opened, file) for file in sorted(path.parent.glob("*.npy"))})
        with zipfile.ZipFile(path) as archive:
            return _curves({stem(name): partial(archive.open, name) for name in archive.namelist()})
    except UNREADABLE as error:
        raise InputError(
            "FLAME coefficients with expression and jaw", f"{path}: {error}", "write them as plain arrays of numbers"
        ) from error


def holds_coefficients(path: Path) -> bool:
    """Whether a file is an npz with expression coefficients, judged by the names of its arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(stem(name).lower() in _EXPRESSION for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _beside(path: Path) -> tuple[Path, ...]:
    """The other arrays of a clip that is a folder of npy files."""
    return tuple(sorted(set(path.parent.glob("*.npy")) - {path})) if path.suffix.lower() == ".npy" else ()


def scan(source: Path) -> Scan:
    """Every clip of a folder.

    Raises:
        InputError: no clip with FLAME coefficients, or a damaged `index.csv`.
    """
    found, unreadable = find(source, (*SOUND_SUFFIXES, ".npz", ".npy"))
    rows = read_rows(source)
    clips: dict[str, Path] = {}
    for name, path in found.items():
        if path.suffix.lower() == ".npz":
            clips[name] = path
        elif path.suffix.lower() == ".npy" and path.stem.lower() in _EXPRESSION:
            clips[posixpath.dirname(name) or stem(name)] = path

    def read(name: str, path: Path) -> Recording:
        _require(_stored(path))
        clip = stem(name) if path.suffix.lower() == ".npz" else name
        labels = labels_of(clip, rows)
        return Recording(
            clip,
            speaker=labels.speaker or speaker_folder(clip),
            speech=sound_beside(clip, found),
            motion=MotionFile(path, load_flame, FLAME.name, _beside(path)),
            emotion=labels.emotion,
            level=labels.level,
            text=labels.text,
            language=labels.language,
        )

    recordings, refused = collect(clips, read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _stored(path: Path) -> list[str]:
    """Names of the arrays a clip has, without opening them."""
    if path.suffix.lower() == ".npy":
        return [file.stem for file in path.parent.glob("*.npy")]
    try:
        with zipfile.ZipFile(path) as archive:
            return [stem(name) for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise RuleError(f"no npz: {error}") from error


def _require(names: list[str]) -> None:
    has = {name.lower() for name in names}
    if not has & set(_EXPRESSION):
        raise RuleError(f"no {', '.join(_EXPRESSION[:-1])} or {_EXPRESSION[-1]} among {', '.join(sorted(has)[:6])}")
    if not has & {*_JAW, *_POSE}:
        raise RuleError(f"no {', '.join(_JAW)} or pose among {', '.join(sorted(has)[:6])}")


def _curves(openers: Mapping[str, _Opener]) -> Curves:
    """Curves from the arrays of one clip; ValueError says what does not fit."""
    _require(list(openers))
    arrays = {
        name.lower(): read_array(opened, name, "fiu", _MOST_BYTES)
        for name, opened in openers.items()
        if name.lower() in _NAMES
    }
    expression = _first(arrays, _EXPRESSION, 50, exact=False)
    pose = _first(arrays, _POSE, 6, exact=True)
    jaw, turn = _first(arrays, _JAW, 3, exact=True), _first(arrays, _GLOBAL, 3, exact=True)
    if jaw is None and pose is not None:
        jaw = pose[:, 3:]
    if turn is None and pose is not None:
        turn = pose[:, :3]
    if expression is None or jaw is None:
        raise ValueError("no expression or no jaw")
    present = np.ones(len(FLAME), dtype=bool)
    present[list(FLAME.groups["head"])] = turn is not None and bool(turn.any())
    turn = np.zeros_like(jaw) if turn is None else turn
    if not len(expression) == len(jaw) == len(turn):
        raise ValueError(f"{len(expression)} frames of expression, {len(jaw)} of jaw, {len(turn)} of global rotation")
    rate = arrays.get("fps", np.array(FPS))
    if rate.size != 1:
        raise ValueError(f"{rate.size} frame rates")
    fps = float(rate.item())
    return Curves(MotionClip(np.concatenate([expression[:, :50], jaw, turn], axis=1), fps, FLAME), present)


def _first(
    arrays: Mapping[str, np.ndarray], names: tuple[str, ...], width: int, exact: bool
) -> Float32[np.ndarray, "frames _"] | None:
    """The array of the first of the names that is there, as (frames, coefficients)."""
    name = next((name for name in names if name in arrays), None)
    if name is None:
        return None
    found = arrays[name]
    if found.ndim == 3 and 1 in found.shape[:2]:
        found = found.reshape(-1, found.shape[2])
    columns = found.shape[1] if found.ndim == 2 else 0
    if columns < width or (exact and columns != width):
        wanted = f"{width}" if exact else f"{width} or more"
        raise ValueError(f"{name} of the shape {found.shape}, not (frames, {wanted}) axis-angle or coefficients")
    with np.errstate(over="ignore"):
        return found.astype(np.float32)
