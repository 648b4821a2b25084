"""Sources of a face's factors: where lips, expression, blink, gaze and pose come from when it is not the speech.

>>> parse_source("seed:7")
Source(kind='seed', value='7')
>>> drive = load_drive(Path("talk.mp4"), "gaze", frames=125, fps=25.0)   # tracked; or an npz, csv, glb or bvh
>>> drive.clip.values.shape, drive.words
((125, 55), 'talk.mp4, tracked')
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avi_lib.corpus.curves import Curves
from avi_lib.errors import InputError
from avi_lib.formats import READABLE, read_curves
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.factors import FACTORS, fitted
from avi_lib.motion.space import ARKIT

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".avi", ".m4v"))
SPEECH, OFF, SEED, TEXT, FILE = "speech", "off", "seed", "text", "file"
_DO = f"write {SPEECH}, {OFF}, {SEED}:7, {TEXT}:SENTENCE, or a file of motion or video"


class Source(NamedTuple):
    """Where a factor comes from: speech, off, seed, text or file, and which seed, sentence or file."""

    kind: str
    value: str = ""


class Drive(NamedTuple):
    """Motion for a factor, as long as the speech, and what it is in words."""

    clip: MotionClip
    words: str


def parse_source(text: str) -> Source:
    """A source as it is written on the command line; InputError for one that is none, or for a missing file."""
    if text in (SPEECH, OFF):
        return Source(text)
    kind, colon, value = text.partition(":")
    if colon and kind == SEED:
        if not value.isdecimal() or len(value) > 19 or int(value) >= 2**63:
            raise InputError("a seed as seed:7", repr(text), _DO)
        return Source(SEED, value)
    if colon and kind == TEXT:
        if not value.strip():
            raise InputError("a sentence behind text:", repr(text), _DO)
        return Source(TEXT, value)
    if Path(text).suffix.lower() not in VIDEO_SUFFIXES | set(READABLE):
        raise InputError("a source of a factor", repr(text), _DO)
    if not Path(text).is_file():
        raise InputError("a source of a factor", f"{text}, which is no file", _DO)
    return Source(FILE, text)


def check_drive(path: Path, factor: str, fps: float) -> None:
    """Read a file that drives a factor, so that what is wrong with it is found before any work; it is kept."""
    _present(path, factor, _curves(path.resolve(), path.stat().st_mtime_ns, fps).curves)


def load_drive(path: Path, factor: str, frames: int, fps: float) -> Drive:
    """Motion of a file, or tracked in a video, for a factor of a talk of `frames` at `fps`.

    Raises:
        InputError: the file is damaged, shows no face, is in another space, or lacks the factor's channels.
        AssetError: a video, and faces cannot be tracked on this machine.
    """
    found = _curves(path.resolve(), path.stat().st_mtime_ns, fps)
    missing = _present(path, factor, found.curves)
    words = f"{path}{found.words}"
    if missing:
        words += f"; without {', '.join(missing)}"
    clip = _from(found.curves.clip, round(found.start_s * fps), factor)
    if len(clip) < frames:
        how = "then at rest" if factor == "lips" else "played to and fro"
        words += f"; {clip.duration_s:.1f} s, {how}"
    return Drive(fitted(clip, frames, factor), words)


class _Found(NamedTuple):
    """Curves of a file, when they begin, and what they are in words."""

    curves: Curves
    start_s: float
    words: str


def _present(path: Path, factor: str, curves: Curves) -> list[str]:
    """Channels of a factor that a file lacks; InputError where it lacks all of them."""
    missing = [ARKIT.channels[i] for i in FACTORS[factor] if not curves.present[i]]
    if len(missing) == len(FACTORS[factor]):
        raise InputError(f"motion with the channels of {factor}", f"{path} without any of them", "name another source")
    return missing


def _from(clip: MotionClip, first: int, factor: str) -> MotionClip:
    """The clip as it begins at a frame: before that lips rest, and all else is as in its first frame."""
    if first <= 0:
        return clip
    before = np.repeat(clip.values[:1] * np.float32(factor != "lips"), first, axis=0)
    return MotionClip(np.concatenate([before, clip.values]), clip.fps, clip.space)


@lru_cache(maxsize=8)
def _curves(path: Path, changed_ns: int, fps: float) -> _Found:
    """Curves of a file at a frame rate; those of the last files are kept while the files stay as they are."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return _Found(read_curves(path).at_fps(fps), 0.0, "")
    from avi_lib.corpus.tracking import track_video

    track = track_video(path, fps)
    longest = max(track.pieces, key=lambda piece: len(piece.curves.clip))
    words = ", tracked"
    if len(track.pieces) > 1:
        words += f", the longest of {len(track.pieces)} pieces"
    if longest.start_s > 0:
        words += f", from {longest.start_s:.2f} s on"
    return _Found(longest.curves, longest.start_s, words)
