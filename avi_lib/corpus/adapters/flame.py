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
from pathlib import Path

from avi_lib.corpus.adapters.layout import RuleError, collect, find, speaker_folder, stem
from avi_lib.corpus.adapters.takes import SOUND_SUFFIXES, labels_of, read_rows, sound_beside
from avi_lib.corpus.recording import MotionFile, Recording, Scan, scanned
from avi_lib.motion.clip import FLAME
from avi_lib.motion.formats import EXPRESSION_NAMES, load_flame, require_coefficients

LAYOUT = "FLAME coefficients: CLIP.npz or CLIP/*.npy with expression and jaw, sound of the same name beside"


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
        elif path.suffix.lower() == ".npy" and path.stem.lower() in EXPRESSION_NAMES:
            clips[posixpath.dirname(name) or stem(name)] = path

    def read(name: str, path: Path) -> Recording:
        try:
            require_coefficients(_stored(path))
        except ValueError as error:
            raise RuleError(str(error)) from error
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


def _stored(path: Path) -> list[str]:
    """Names of the arrays a clip has, without opening them."""
    if path.suffix.lower() == ".npy":
        return [file.stem for file in path.parent.glob("*.npy")]
    try:
        with zipfile.ZipFile(path) as archive:
            return [stem(name) for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise RuleError(f"no npz: {error}") from error
