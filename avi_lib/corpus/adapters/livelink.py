"""Live Link Face takes: what Apple's face capture leaves on an iPhone, with the sound recorded along.

    20240101_MySlate_1/MySlate_1_iPhone.csv      curves
    20240101_MySlate_1/MySlate_1_iPhone.mov      sound: of the same name, or the only one in the take's folder

In: a folder of takes at any depth, with an optional `index.csv` (see `takes`). Out: one Recording for each take; a CSV
without sound is motion alone. The app also writes `_cal` and `_raw` of one take: the calibrated file is taken, else the
plain, else the raw one, since calibration subtracts the performer's face at rest, which is what a neutral blendshape
means. Other CSVs (`frame_log.csv`) have no Live Link header and are left alone. The speaker is the table's, else the
first folder below the source that is no take's own (the app names those DATE_SLATE_NUMBER), else "unknown".
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from avi_lib.corpus.adapters.layout import RuleError, collect, find, stem
from avi_lib.corpus.adapters.takes import INDEX, SOUND_SUFFIXES, labels_of, read_rows, sound_beside, sounds
from avi_lib.corpus.recording import UNKNOWN_SPEAKER, MotionFile, Recording, Refusal, Scan, scanned
from avi_lib.corpus.rigs import tracked, within_range
from avi_lib.errors import InputError
from avi_lib.motion.clip import Curves, MotionClip
from avi_lib.motion.formats import load_livelink

LAYOUT = "Live Link Face takes: TAKE.csv as the app writes it, sound or video of the same name beside"

_VARIANTS = ("_cal", "", "_raw")
"""Endings of the files of one take, best first."""
_TAKE_FOLDER = re.compile(r"\d{8}_.+_\d+", re.ASCII)


def load_take(path: Path) -> Curves:
    """Curves of a take at its own frame rate, eye rotations ignored.

    The app tracks a whole face: all channels are present, but for groups that never move at all, such as the head with
    head rotation switched off. Raises InputError for a damaged CSV or a face that never moves.
    """
    clip = load_livelink(path)
    values = within_range(clip.values)
    present = tracked(values)
    if not present.any():
        raise InputError("a take in which the face moves", f"{path}, where nothing does", "leave the take out")
    return Curves(MotionClip(values, clip.fps, clip.space), present)


def scan(source: Path) -> Scan:
    """Every take of a folder.

    Raises:
        InputError: no take, or a damaged `index.csv`.
    """
    found, unreadable = find(source, (*SOUND_SUFFIXES, ".csv"))
    rows = read_rows(source)
    takes: dict[str, dict[str, Path]] = {}
    for name, path in found.items():
        if path.suffix.lower() == ".csv" and name != INDEX:
            try:
                live = _is_live_link(path)
            except RuleError as error:
                unreadable.append(Refusal(name, str(error)))
                continue
            if live:
                base, variant = _parts(stem(name))
                takes.setdefault(base, {})[variant] = path
    folders = [posixpath.dirname(base) for base in takes]

    def read(base: str, variants: Mapping[str, Path]) -> Recording:
        labels = labels_of(base, rows)
        return Recording(
            base,
            speaker=labels.speaker or _speaker(base),
            speech=_sound(base, found, alone=folders.count(posixpath.dirname(base)) == 1),
            motion=MotionFile(next(variants[v] for v in _VARIANTS if v in variants), load_take),
            emotion=labels.emotion,
            level=labels.level,
            text=labels.text,
            language=labels.language,
        )

    recordings, refused = collect(takes, read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _is_live_link(path: Path) -> bool:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader([stream.readline(1 << 16)]), [])
    except UnicodeDecodeError:
        return False
    except (OSError, csv.Error) as error:
        raise RuleError(f"a CSV that cannot be read: {error}") from error
    return [cell.strip().lower() for cell in header[:2]] == ["timecode", "blendshapecount"]


def _parts(name: str) -> tuple[str, str]:
    """A take's name and which of its files this is."""
    return next((name.removesuffix(end), end) for end in ("_cal", "_raw", "") if name.endswith(end))


def _sound(base: str, found: Mapping[str, Path], alone: bool) -> Path | None:
    """Sound of the take's name, with or without an ending; else the only sound beside the only take of a folder."""
    named = (sound_beside(base + variant, found) for variant in ("", "_cal", "_raw"))
    if (sound := next(filter(None, named), None)) is not None or not alone:
        return sound
    beside = [path for name, path in sounds(found).items() if posixpath.dirname(name) == posixpath.dirname(base)]
    return beside[0] if len(beside) == 1 else None


def _speaker(base: str) -> str:
    folders = base.split("/")[:-1]
    return next((folder for folder in folders if not _TAKE_FOLDER.fullmatch(folder)), UNKNOWN_SPEAKER)
