"""Files of a prepared corpus: two tables of clips and scripts, shards of tensors, a description and a health report.

A shard's name is the address of its content: a digest of the recordings, their labels, the settings and the code that
made it. It holds its own part of both tables, so it is whole by itself.

>>> save_shard(folder / "0a1b2c.safetensors", arrays, Contents(clips, scripts, (), last=True))
>>> load_contents(folder / "0a1b2c.safetensors").clips[0].clip
'Actor_01/03-01-05-02-01-01-01'
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.corpus.layouts import Refusal
from avi_lib.corpus.scripts import Script
from avi_lib.errors import InputError, cause
from avi_lib.files import atomic_path, make_folder

# The two tables, `clips.parquet` and `scripts.parquet`; a row of the second is a `Script`.


@dataclass(frozen=True)
class ClipEntry:
    """One clip: a recording, or a part of one. Its tensors are in its shard, see `tensor_name`."""

    clip: str  # unique name; the recording's, with the start in seconds behind an @ where the recording was cut
    recording: str  # name of the recording
    speech: str | None  # file of the sound below the source, None for motion without sound
    start_s: float  # start in the recording
    duration_s: float  # length
    speaker: str  # who speaks
    gender: str | None  # "female", "male", or None where it is not known
    split: str  # train, validation or test
    emotion: str | None  # label of the recording, None where there is none
    level: int | None  # level of the emotion, 1-3
    text: str | None  # what is said, None where it is not known or the recording was cut
    language: str  # of what is said
    motion: str  # "performed", "recorded" or "tracked"
    phones_from: str  # "corpus", "text" (aligned), "speech" (recognised) or "none" (no sound)
    scripts: tuple[str, ...]  # names of the scripts whose motion is stored, the clip's own first
    own: int  # how many of them are its own
    repairs: tuple[str, ...]  # what was mended in the sound, by name
    warnings: tuple[str, ...]  # what a person should know of the sound, by name
    shard: str  # name of the file with its tensors
    frames: int  # of motion, 25 a second
    features: int  # frames of speech features, 50 a second; 0 for motion without sound


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
_TYPES |= {f"tuple[{name}, ...]": pa.list_(kind) for name, kind in _TYPES.items()}
_Row = TypeVar("_Row", ClipEntry, Script)


def _schema(kind: type[ClipEntry] | type[Script]) -> pa.Schema:
    types = {field.name: str(field.type) for field in fields(kind)}
    return pa.schema([pa.field(n, _TYPES[t.removesuffix(" | None")], t.endswith("None")) for n, t in types.items()])


def write_rows(path: Path, kind: type[_Row], rows: Iterable[_Row]) -> None:
    """Write a table as Parquet, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(map(vars, rows)), _schema(kind)), temporary, compression="zstd")


def read_rows(path: Path, kind: type[_Row]) -> list[_Row]:
    """Read a table; InputError when the file is missing, damaged or has other columns."""
    expected = f"a table {path.name} of a prepared corpus"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        got = f"{path}: {cause(error)}"
        raise InputError(expected, got, "make it with `avi prepare`") from error
    if not table.schema.equals(_schema(kind)):
        raise InputError(expected, f"{path} with other columns", "make it again with `avi prepare`")
    return TypeAdapter(list[kind]).validate_python(table.to_pylist())  # type: ignore[valid-type]


# Shards: tensors of some clips, whose rows travel in the header, so that both tables can be made again from them.

SHARD_SUFFIX = ".safetensors"


def tensor_name(clip: str, what: str) -> str:
    """The name in a shard of one tensor of a clip.

    Of all clips: motion (scripts, frames, channels) float16, present (channels,) bool. Of those with sound: features
    (features, dim) and prosody (frames, 3: F0 in Hz or 0, voiced 0 or 1, level in dB) float16, phones (n,) int16 with
    phone_times (n, 2) float32 in seconds, syllables (n, 2: time in seconds, strength) float32. Of performed ones: idle
    (scripts, frames, idle channels) float16; from real motion idle behaviour cannot be parted.
    """
    return f"{clip}:{what}"


@dataclass(frozen=True)
class Contents:
    """Rows of a shard: clips, their own scripts, and recordings that had to be left out.

    A job that holds more than fits one shard has several; only its last one is `last`.
    """

    clips: tuple[ClipEntry, ...]
    scripts: tuple[Script, ...]
    refused: tuple[Refusal, ...]
    last: bool


def save_shard(path: Path, arrays: Mapping[str, np.ndarray], contents: Contents) -> None:
    """Write tensors and rows in one file, atomically; the same content gives the same bytes."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(packed, metadata={"avi": json.dumps(asdict(contents), sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_contents(path: Path) -> Contents:
    """The rows of a shard, without reading its tensors; InputError when it is no whole shard."""
    try:
        with safe_open(path, "np") as shard:
            return TypeAdapter(Contents).validate_json((shard.metadata() or {})["avi"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        got = f"{path}: {cause(error)}"
        raise InputError("a shard of a prepared corpus", got, "remove it and prepare again") from error


SPLITS = ("train", "validation", "test")


# The health of a prepared corpus, and its folder while it is made.


@dataclass(frozen=True)
class Health:
    """Counts over a prepared corpus; minutes are of clips, counts by name are sorted by name."""

    recordings: int  # kept, wholly or in parts
    clips: int
    minutes: float
    minutes_by_split: dict[str, float]
    speakers: dict[str, list[str]]  # by split
    emotions: dict[str, int]  # clips by label, "none" where there is none
    motion: dict[str, int]  # clips by origin
    phones: dict[str, int]  # likewise
    scripts: dict[str, int]  # by kind
    texts: int  # sentences
    motions: int
    repaired: dict[str, int]  # recordings by finding
    warned: dict[str, int]  # likewise
    refused: list[Refusal]

    @classmethod
    def of(cls, clips: Sequence[ClipEntry], scripts: Sequence[Script], refused: Iterable[Refusal]) -> Health:
        """The health of clips, scripts and refusals."""

        def count(names: Iterable[str]) -> dict[str, int]:
            return dict(sorted(Counter(names).items()))

        by_split = {split: [clip for clip in clips if clip.split == split] for split in SPLITS}
        return cls(
            recordings=len({clip.recording for clip in clips}),
            clips=len(clips),
            minutes=round(sum(clip.duration_s for clip in clips) / 60, 3),
            minutes_by_split={split: round(sum(c.duration_s for c in own) / 60, 3) for split, own in by_split.items()},
            speakers={split: sorted({clip.speaker for clip in own}) for split, own in by_split.items()},
            emotions=count(clip.emotion or "none" for clip in clips),
            motion=count(clip.motion for clip in clips),
            phones=count(clip.phones_from for clip in clips),
            scripts=count(script.kind for script in scripts),
            texts=sum(len(script.texts) for script in scripts),
            motions=sum(len(clip.scripts) for clip in clips),
            repaired=count(name for _, name in {(clip.recording, name) for clip in clips for name in clip.repairs}),
            warned=count(name for _, name in {(clip.recording, name) for clip in clips for name in clip.warnings}),
            refused=sorted(refused, key=lambda refusal: refusal.name),
        )

    def lines(self, most: int = 5) -> list[str]:
        """The report for a person; of the refused recordings the first `most` are named."""

        def some(count: int, noun: str) -> str:
            return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

        def listed(counts: dict[str, int]) -> str:
            return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"

        people = some(len(set().union(*self.speakers.values())), "speaker")
        kept = f"{some(self.recordings, 'recording')} as {some(self.clips, 'clip')}, {self.minutes:.1f} minutes"
        rows = [("kept", f"{kept}, {people}"), ("repaired", listed(self.repaired)), ("noted", listed(self.warned))]
        rows.append(("refused", some(len(self.refused), "recording")))
        rows += [("", f"{refusal.name}: {refusal.reason}") for refusal in self.refused[:most]]
        if (left := len(self.refused) - most) > 0:
            rows.append(("", f"and {left} more, see health.json"))
        for split, names in self.speakers.items():
            rows.append((split, f"{some(len(names), 'speaker')}, {self.minutes_by_split[split]:.1f} minutes"))
        rows += [("emotions", listed(self.emotions)), ("phones", listed(self.phones))]
        rows.append(("motion", f"{listed(self.motion)}; {self.motions} performances or takes in all"))
        rows.append(("scripts", f"{listed(self.scripts)}; {self.texts} sentences"))
        if self.clips and not self.speakers["test"]:
            rows.append(("note", "no speakers are kept for a test: it takes three of them at least"))
        return [f"{label:11s}{text}" for label, text in rows]


DESCRIPTION, CLIPS, SCRIPTS = "corpus.json", "clips.parquet", "scripts.parquet"
_OWN = frozenset((".lock", "sources.json", "health.json", "shards", "tracks", CLIPS, SCRIPTS))
"""What a preparation leaves behind that was stopped before it said what it makes, or whose description is gone."""
_TORN = re.compile(r"\.[\w-]+\.[0-9a-f]{8}\.(json|parquet|safetensors|probe)")
"""Names of files in the making, see `atomic_path`."""
_SHARD = re.compile(rf"[0-9a-f]{{32}}-\d{{3}}{re.escape(SHARD_SUFFIX)}")


class Destination:
    """The folder of a corpus that this process is making, see `claim`; it can be read at any moment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards, self.tracks = folder, folder / "shards", folder / "tracks"
        self.clips: list[ClipEntry] = []
        self.scripts: list[Script] = []
        self.refused: list[Refusal] = []

    def describe(self, description: dict[str, Any]) -> None:
        """Say what the corpus is made of; another description than before starts with empty tables."""
        if read_description(self.folder) != description:
            self.publish()
            self._write_json(DESCRIPTION, description)

    def gather(self, contents: Iterable[Contents]) -> None:
        """Take finished shards into the tables, which `publish` writes."""
        for shard in contents:
            self.clips += shard.clips
            self.scripts += shard.scripts
            self.refused += shard.refused

    def publish(self) -> None:
        """Write the tables of what was gathered; scripts come first, so that no clip names one that is not there."""
        write_rows(self.folder / SCRIPTS, Script, sorted(self.scripts, key=lambda script: script.script))
        write_rows(self.folder / CLIPS, ClipEntry, sorted(self.clips, key=lambda clip: clip.clip))

    def finish(self, keys: Collection[str]) -> Health:
        """Write and give the health report, and remove shards of jobs that are not among `keys`."""
        health = Health.of(self.clips, self.scripts, self.refused)
        self._write_json("health.json", asdict(health))
        for path in self.shards.iterdir():
            if _SHARD.fullmatch(path.name) and path.name.partition("-")[0] not in keys:
                path.unlink(missing_ok=True)
        return health

    def _write_json(self, name: str, content: object) -> None:
        with atomic_path(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")


@contextmanager
def claim(folder: Path, adapter: str, source: Path) -> Iterator[Destination]:
    """A folder for the corpus of one source, locked within the block; only files of a preparation are removed there.

    Raises:
        InputError: the folder is not empty and holds no corpus, holds one of another source or adapter, lies in the
            source or around it, or is being written by another process.
    """
    place = Destination(folder.resolve())
    if place.folder.is_relative_to(source) or source.is_relative_to(place.folder):
        got = f"{str(folder)!a}, which is the source, in it or around it"
        raise InputError("a destination of its own", got, "name another folder")
    make_folder(folder)
    held = read_description(place.folder)
    names = {path.name for path in place.folder.iterdir()}
    if held is None and names and not (".lock" in names and all(n in _OWN or _TORN.fullmatch(n) for n in names)):
        got = f"{place.folder} with other files"
        raise InputError("an empty folder or a prepared corpus", got, "name another folder")
    if held is not None and (held.get("adapter"), held.get("source")) != (adapter, str(source)):
        got = f"{place.folder} with one of {held.get('adapter')} {held.get('source')}"
        raise InputError(f"a corpus of {adapter} {source}", got, "name another folder, or remove that one")
    try:
        lock = FileLock(place.folder / ".lock", timeout=0).acquire()
    except Timeout as error:
        got = f"{place.folder}, which is locked"
        raise InputError("a corpus nobody else is preparing", got, "wait for the other process") from error
    with lock:
        for each in (place.folder, place.shards, place.tracks):
            make_folder(each)
            for path in each.iterdir():
                if _TORN.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        yield place


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a corpus is made of, None where there is none; InputError when the file is damaged."""
    path = folder / DESCRIPTION
    try:
        held = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        got = f"{path}: {cause(error)}"
        raise InputError("a readable description of a corpus", got, "remove it and prepare again") from error
    if not isinstance(held, dict) or not {"adapter", "source", "settings", "features"} <= held.keys():
        raise InputError("a description of a corpus", f"{path} with something else", "remove it and prepare again")
    return held
