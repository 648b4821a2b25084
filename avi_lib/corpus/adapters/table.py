"""A table of clips: `index.csv` beside sound and motion, as in the sample corpus.

    clip,speaker,emotion,level,text,language
    kal_001,kal,angry,2,Where did you put it?,en

In: a folder with `index.csv`. Out: one Recording for each row. Columns, of which one of the first two is needed:

clip: the name; its sound is `<clip>.wav` (or another suffix) in the folder, in `flac/` or in `wav/`.
file: the sound or video, as a path below the folder. A video is tracked where there is no motion.
speaker: "unknown" for all rows without one, so that splits do not part them.
gender: the speaker's: female, f or woman; male, m or man. Other words leave it open.
emotion, level: in words of `EMOTIONS` or as nouns; without a level the middle one.
text, language: what is said, and in which language ("en").
instruction: a sentence for the face; it gives emotion and level where their cells are empty.
motion: a motion npz; without this cell `<clip>.npz` or `motion/<clip>.npz` if it has the arrays of a motion npz.

`phones.json` maps a clip to [[word, phone, start_s, end_s], ...]. Other columns are ignored.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from avi_lib.corpus.adapters.labels import emotion_of, level_of, phones_of, read_phones, read_table, understood
from avi_lib.corpus.adapters.layout import Files, RuleError, collect, find, inside, printable, stem
from avi_lib.corpus.recording import (
    SPEECH_SUFFIXES,
    UNKNOWN_SPEAKER,
    VIDEO_SUFFIXES,
    MotionFile,
    Recording,
    Scan,
    scanned,
    source_folder,
)
from avi_lib.errors import InputError
from avi_lib.motion.clip import SPACES, UNREADABLE, load_curves, read_header

LAYOUT = "a folder with index.csv (a column clip or file) and the sound it names"

_GENDERS = {**dict.fromkeys(("female", "f", "woman"), "female"), **dict.fromkeys(("male", "m", "man"), "male")}


def scan(source: Path) -> Scan:
    """Every row of a folder's table.

    Raises:
        InputError: no `index.csv`, a damaged one, a damaged `phones.json`, or no row that fits.
    """
    index = source_folder(source) / "index.csv"
    if not index.is_file():
        raise InputError(LAYOUT, f"{source} without index.csv", "write the table, or choose another adapter")
    rows = read_table(index)
    if rows and not {"clip", "file"} & rows[0][1].keys():
        raise InputError("a column clip or file", f"{index} without", "name the sound of every row")
    found, unreadable = find(source, (*SPEECH_SUFFIXES, *VIDEO_SUFFIXES, ".npz"))
    sounds = Files({name: path for name, path in found.items() if path.suffix.lower() != ".npz"})
    motions = Files({name: path for name, path in found.items() if path.suffix.lower() == ".npz"})
    phones = read_phones(source)
    cells = {f"{_clip(row)} (line {line})": row for line, row in rows}

    def read(_: str, row: dict[str, str]) -> Recording:
        return _recording(row, sounds, motions, phones)

    recordings, refused = collect(cells, read)
    return scanned(source, LAYOUT, recordings, unreadable + refused)


def _clip(row: Mapping[str, str]) -> str:
    return row.get("clip") or stem(row.get("file", ""))


def _recording(row: Mapping[str, str], sounds: Files, motions: Files, phones: Mapping[str, object]) -> Recording:
    name = inside(_clip(row))
    motion = _motion(row.get("motion", ""), name, motions)
    if file := row.get("file"):
        sound = sounds.at(inside(file))
    else:
        sound = next(filter(None, (sounds.at(folder + name) for folder in ("", "flac/", "wav/"))), None)
    if sound is None and (file or motion is None):
        raise RuleError(f"no sound or video named {file or name}")
    caption, emotion, level = understood(row["instruction"]) if row.get("instruction") else (None, None, None)
    if row.get("emotion"):
        emotion = emotion_of(row["emotion"])
        level = level_of(emotion, _level(row.get("level", "")))
    elif row.get("level"):
        raise RuleError(f"level {row['level']} without an emotion")
    return Recording(
        name,
        speaker=printable(row.get("speaker", "")) or UNKNOWN_SPEAKER,
        speech=sound,
        video=sound if sound and motion is None and sound.suffix.lower() in VIDEO_SUFFIXES else None,
        motion=motion,
        emotion=emotion,
        level=level,
        text=" ".join(row.get("text", "").split()) or None,
        language=row.get("language") or "en",
        phones=phones_of(phones[_clip(row)]) if _clip(row) in phones else None,
        caption=caption,
        gender=_GENDERS.get(row.get("gender", "").strip().lower()),
    )


def _level(cell: str) -> int | None:
    if cell and cell not in ("1", "2", "3"):
        raise RuleError(f"the level {cell!r}; levels are 1, 2 and 3")
    return int(cell) if cell else None


def _motion(cell: str, name: str, motions: Files) -> MotionFile | None:
    if cell:
        path = motions.at(inside(cell))
        space = _space(path) if path else None
        if path is None or space is None:
            raise RuleError(f"{'no motion named' if path is None else 'no motion npz in'} {cell}")
        return MotionFile(path, load_curves, space)
    for path in filter(None, (motions.at(f"{folder}{name}.npz") for folder in ("", "motion/"))):
        if space := _space(path):
            return MotionFile(path, load_curves, space)
    return None


def _space(path: Path) -> str | None:
    """The space of a motion npz by its number of channels, from headers alone; None for an npz of something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            if not {"values.npy", "fps.npy", "channels.npy"} <= set(archive.namelist()):
                return None  # tracks and rigs are kept in npz files too
            shape, _ = read_header(partial(archive.open, "channels.npy"))
    except UNREADABLE as error:
        raise RuleError(f"{path.name} cannot be read as npz: {error}") from error
    return next((space.name for space in SPACES.values() if shape == (len(space),)), None)
