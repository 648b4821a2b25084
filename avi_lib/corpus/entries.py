"""Entries: the rows of a prepared corpus' two tables, `clips.parquet` and `scripts.parquet`.

>>> write_table(path, to_table(ClipEntry, entries))
>>> read_table(path, ClipEntry)[0].speaker
'01'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from avi_lib.errors import InputError
from avi_lib.files import atomic_path

_Names = tuple[str, ...]


@dataclass(frozen=True)
class ClipEntry:
    """One clip: a recording, or a part of one.

    Rows of the shard's tensors: `frames` rows of `prosody` from `frames_at` on, at 25 a second; `features` rows of
    `features` from `features_at` on, at 50 a second; `phones` rows of `phones` and `phone_times` from `phones_at` on;
    `syllables` rows of `syllables` from `syllables_at` on; `frames` rows of
    `motion` for each script in order, from `motion_at` on, and as many of `idle` from `idle_at` on (-1: the clip has
    real motion, from which idle behaviour cannot be parted); row `row` of `present`.

    Attributes:
        clip: unique name; the recording's, with the start in seconds behind an @ where the recording was cut.
        recording: name of the recording.
        speech: file of the sound below the source, None for motion without sound.
        start_s: start in the recording.
        duration_s: length.
        speaker: who speaks.
        gender: "female", "male", or None where it is not known.
        split: train, validation or test.
        emotion: label of the recording, None where there is none.
        level: level of the emotion, 1-3.
        text: what is said, None where it is not known or the recording was cut.
        language: of what is said.
        motion: "performed", "recorded" or "tracked".
        phones_from: "corpus", "text" (aligned), "speech" (recognised) or "none" (no sound).
        scripts: names of the scripts whose motion is stored, the clip's own first.
        own: how many of them are its own.
        repairs: what was mended in the sound, by name.
        warnings: what a person should know of the sound, by name.
    """

    clip: str
    recording: str
    speech: str | None
    start_s: float
    duration_s: float
    speaker: str
    gender: str | None
    split: str
    emotion: str | None
    level: int | None
    text: str | None
    language: str
    motion: str
    phones_from: str
    scripts: _Names
    own: int
    repairs: _Names
    warnings: _Names
    shard: str
    row: int
    frames: int
    frames_at: int
    features: int
    features_at: int
    motion_at: int
    idle_at: int
    phones: int
    phones_at: int
    syllables: int
    syllables_at: int


@dataclass(frozen=True)
class ScriptEntry:
    """One script (see `scripts.Script`) with the clip it was drawn for and that clip's split."""

    script: str
    clip: str
    split: str
    kind: str
    emotion: str | None
    level: int | None
    units: _Names
    strengths: tuple[float, ...]
    seed: int
    texts: _Names

    @property
    def action_units(self) -> dict[str, float]:
        """Strength 0-1 by the name of the action unit."""
        return dict(zip(self.units, self.strengths, strict=True))


_TYPES = {
    "str": pa.string(),
    "str | None": pa.string(),
    "int": pa.int64(),
    "int | None": pa.int64(),
    "float": pa.float64(),
    "_Names": pa.list_(pa.string()),
    "tuple[float, ...]": pa.list_(pa.float64()),
}
_Entry = TypeVar("_Entry", bound=ClipEntry | ScriptEntry)


def schema(kind: type[_Entry]) -> pa.Schema:
    """The Parquet schema of a kind of entry."""
    return pa.schema(
        [pa.field(field.name, _TYPES[str(field.type)], "None" in str(field.type)) for field in fields(kind)]
    )


def entry(kind: type[_Entry], row: dict[str, Any]) -> _Entry:
    """An entry of a row; lists become tuples."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return kind(**values)


def to_table(kind: type[_Entry], entries: Iterable[_Entry]) -> pa.Table:
    """Entries as an Arrow table, a fifth of their size in memory."""
    rows = [{name: list(v) if isinstance(v, tuple) else v for name, v in vars(item).items()} for item in entries]
    return pa.Table.from_pylist(rows, schema(kind))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, kind: type[_Entry]) -> Sequence[_Entry]:
    """Read entries; InputError when the file is missing, damaged or has other columns."""
    expected = f"a table {path.name} of a prepared corpus"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(expected, f"{path}: {reason}", "make it with `avi prepare`") from error
    if not table.schema.equals(schema(kind)):
        raise InputError(expected, f"{path} with other columns", "make it again with `avi prepare`")
    return [entry(kind, row) for row in table.to_pylist()]
