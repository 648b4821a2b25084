"""Weights of a named rig: recorded or animated blendshapes of any character, turned into ARKit channels.

    1114_2_01.npz   weights (frames, names) in 0-1, fps, names (names,) str
    1114_2_01.flac  the sound of the same name, if there is any

In: a folder of such npz files, with an optional `index.csv` (see `takes`). Out: one Recording for each npz. Names that
are ARKit's own ("EyeBlinkLeft", "HeadYaw", any order) and the names of FACEGOOD's rig are known; a `rig_map.json` in
the source overrides both (its form: `avi_lib.corpus.rigs`). The speaker is the table's, else the folder directly
below the source.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.adapters.layout import RuleError, collect, find, speaker_folder, stem
from avi_lib.corpus.adapters.takes import SOUND_SUFFIXES, labels_of, read_rows, sound_beside
from avi_lib.corpus.recording import MotionFile, Recording, Scan, scanned
from avi_lib.corpus.rigs import map_for
from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, UNREADABLE, Curves, MotionClip, read_array

LAYOUT = "a folder of npz files with weights (frames, names), fps and names, sound of the same name beside"
OWN_MAP = "rig_map.json"

_ARRAYS = {"weights": ("f", 1 << 30), "fps": ("fiu", 64), "names": ("U", 1 << 20)}
"""Kinds and largest size in bytes of the arrays of a rig file."""


def load_rig(path: Path, rig_map: Path | None = None) -> Curves:
    """ARKIT curves of a rig's npz at its own frame rate; channels the rig does not move are not present.

    Args:
        path: npz with `weights` (frames, names) of any float type, `fps` and `names`.
        rig_map: the user's map, None to choose a shipped one by the names.

    Raises:
        InputError: no such npz, weights of another shape or with NaN, or names that no map knows.
    """
    weights, fps, names = _read(path, ("weights", "fps", "names"))
    named = _names(names, path)
    rig = map_for(named, rig_map)
    values, present = rig.apply(_checked(weights, len(named), path), named)
    if not present.any():
        raise InputError("a rig that moves", f"{path}, in which no weight that {rig.name} maps does", "leave it out")
    if fps.size != 1:
        raise InputError("one frame rate", f"{fps.size} in {path}", "write fps as a single number")
    return Curves(MotionClip(values, float(fps.item()), ARKIT), present)


def scan(source: Path) -> Scan:
    """Every rig file of a folder.

    Raises:
        InputError: no rig file, a damaged `index.csv`, or a damaged `rig_map.json`.
    """
    found, unreadable = find(source, (*SOUND_SUFFIXES, ".npz"))
    rows, own = read_rows(source), source / OWN_MAP
    chosen = own if own.is_file() else None

    def read(name: str, path: Path) -> Recording:
        (names,) = _read(path, ("names",))
        map_for(_names(names, path), chosen)
        labels = labels_of(stem(name), rows)
        return Recording(
            stem(name),
            speaker=labels.speaker or speaker_folder(name),
            speech=sound_beside(stem(name), found),
            motion=MotionFile(path, partial(load_rig, rig_map=chosen), also=(chosen,) if chosen else ()),
            emotion=labels.emotion,
            level=labels.level,
            text=labels.text,
            language=labels.language,
        )

    rigs = {name: path for name, path in found.items() if path.suffix.lower() == ".npz"}
    recordings, refused = collect(rigs, read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _read(path: Path, wanted: tuple[str, ...]) -> list[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := [f"{name}.npy" for name in _ARRAYS if f"{name}.npy" not in archive.namelist()]:
                raise RuleError(f"no {missing[0].removesuffix('.npy')}; a rig file has weights, fps and names")
            return [read_array(partial(archive.open, f"{name}.npy"), name, *_ARRAYS[name]) for name in wanted]
    except UNREADABLE as error:
        raise InputError(
            "an npz with weights, fps and names", f"{path}: {error}", "write it without pickles"
        ) from error


def _names(names: np.ndarray, path: Path) -> list[str]:
    listed = [str(name) for name in names.ravel()]
    twice = [name for name, count in Counter(name.lower() for name in listed).items() if count > 1]
    if twice:
        raise InputError("rig names that differ", f"{path} with {min(twice)} twice", "rename one of them")
    return listed


def _checked(weights: np.ndarray, names: int, path: Path) -> Float32[np.ndarray, "frames names"]:
    if weights.ndim != 2 or weights.shape[1] != names or not len(weights):
        raise InputError(f"weights (frames, {names})", f"shape {weights.shape} in {path}", "one column for each name")
    with np.errstate(over="ignore"):
        curves = weights.astype(np.float32)
    if bad := int((~np.isfinite(curves)).any(axis=1).sum()):
        raise InputError("finite weights", f"{bad} frames with NaN or infinity in {path}", "repair or cut those frames")
    return curves
