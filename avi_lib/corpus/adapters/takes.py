"""What the adapters of recorded motion share: the sound of a take, and the labels of an optional table.

    clip,speaker,emotion,level,text,language
    anna/take_1,anna,angry,3,I told you so!,en

In: files of a source by name. Out: the sound beside a take, and its row of `index.csv`. All columns but `clip` may be
missing; `label` stands for `emotion` where a table calls it so. A label that is none of our emotions, such as
"neutral_idle", leaves the emotion open.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avi_lib.corpus.adapters.labels import emotion_of, level_of, read_table
from avi_lib.corpus.adapters.layout import RuleError, by_preference, stem
from avi_lib.corpus.recording import SPEECH_SUFFIXES, VIDEO_SUFFIXES
from avi_lib.errors import InputError

INDEX = "index.csv"
SOUND_SUFFIXES = (*SPEECH_SUFFIXES, *VIDEO_SUFFIXES)


@dataclass(frozen=True)
class Labels:
    """What a table says of a take; None or "" where it says nothing."""

    speaker: str = ""
    emotion: str | None = None
    level: int | None = None
    text: str | None = None
    language: str = "en"


def read_rows(source: Path) -> dict[str, dict[str, str]]:
    """The rows of `index.csv` by clip; empty when there is no such file.

    Raises:
        InputError: not a readable table, no column `clip`, or a clip twice.
    """
    path = source / INDEX
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, str]] = {}
    for line, row in read_table(path, "clip"):
        if row["clip"] in rows:
            raise InputError("one row for each clip", f"{row['clip']} again in line {line} of {path}", "remove one")
        rows[row["clip"]] = row
    return rows


def labels_of(name: str, rows: Mapping[str, Mapping[str, str]]) -> Labels:
    """The labels of a take by its name or the last part of it; RuleError for a level that the emotion has not."""
    row = rows.get(name) or rows.get(posixpath.basename(name)) or {}
    try:
        emotion = emotion_of(row.get("emotion") or row.get("label") or "")
    except RuleError:
        emotion = None
    cell = row.get("level", "")
    if cell not in ("", "1", "2", "3"):
        raise RuleError(f"the level {cell!r} in {INDEX}; levels are 1, 2 and 3")
    level = level_of(emotion, int(cell) if cell else None) if emotion else None
    return Labels(row.get("speaker", ""), emotion, level, row.get("text") or None, row.get("language") or "en")


def sound_beside(name: str, found: Mapping[str, Path]) -> Path | None:
    """The sound of the same name, a recording before a video; None when there is none."""
    return next((path for other, path in by_preference(sounds(found)).items() if stem(other) == name), None)


def sounds(found: Mapping[str, Path]) -> dict[str, Path]:
    """Those of the files that hold sound."""
    return {name: path for name, path in found.items() if path.suffix.lower() in SOUND_SUFFIXES}
