"""Files of a prepared corpus: two tables of clips and scripts, shards of tensors, a description and a health report.

A shard's name is the address of its content: a digest of the recordings, their labels, the settings and the code that
made it. It holds its own part of both tables, so it is whole by itself.

>>> save_shard(folder / "0a1b2c.safetensors", arrays, Contents(clips, scripts, (), last=True))
>>> load_contents(folder / "0a1b2c.safetensors").clips[0].clip
'Actor_01/03-01-05-02-01-01-01'
"""

from __future__ import annotations

import hashlib
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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.corpus.layouts import Refusal
from avi_lib.errors import InputError
from avi_lib.files import atomic_path, make_folder

# Entries: the rows of the two tables, `clips.parquet` and `scripts.parquet`.

_Names = tuple[str, ...]


@dataclass(frozen=True)
class ClipEntry:
    """One clip: a recording, or a part of one.

    Rows of the shard's tensors: `frames` rows of `prosody` from `frames_at` on, at 25 a second; `features` rows of
    `features` from `features_at` on, at 50 a second; `phones` rows of `phones` and `phone_times`; `syllables` rows of
    `syllables`; `frames` rows of `motion` for each script in order, from `motion_at` on, and as many of `idle` (-1:
    the clip has real motion, from which idle behaviour cannot be parted); row `row` of `present`.
    """

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
    scripts: _Names  # names of the scripts whose motion is stored, the clip's own first
    own: int  # how many of them are its own
    repairs: _Names  # what was mended in the sound, by name
    warnings: _Names  # what a person should know of the sound, by name
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
    "int": pa.int64(),
    "float": pa.float64(),
    "_Names": pa.list_(pa.string()),
    "tuple[float, ...]": pa.list_(pa.float64()),
}
_Entry = TypeVar("_Entry", bound=ClipEntry | ScriptEntry)


def _schema(kind: type[_Entry]) -> pa.Schema:
    types = {field.name: str(field.type) for field in fields(kind)}
    return pa.schema([pa.field(n, _TYPES[t.removesuffix(" | None")], t.endswith("None")) for n, t in types.items()])


def _entry(kind: type[_Entry], row: Mapping[str, Any]) -> _Entry:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return kind(**values)


def to_table(kind: type[_Entry], entries: Iterable[_Entry]) -> pa.Table:
    """Entries as an Arrow table, a fifth of their size in memory."""
    rows = [{name: list(v) if isinstance(v, tuple) else v for name, v in vars(item).items()} for item in entries]
    return pa.Table.from_pylist(rows, _schema(kind))


def write_entries(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_entries(path: Path, kind: type[_Entry]) -> Sequence[_Entry]:
    """Read entries; InputError when the file is missing, damaged or has other columns."""
    expected = f"a table {path.name} of a prepared corpus"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(expected, f"{path}: {reason}", "make it with `avi prepare`") from error
    if not table.schema.equals(_schema(kind)):
        raise InputError(expected, f"{path} with other columns", "make it again with `avi prepare`")
    return [_entry(kind, row) for row in table.to_pylist()]


# Shards: tensors of some clips, whose entries travel in the header, so that both tables can be made again from them.

SHARD_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Contents:
    """Entries of a shard: clips, their own scripts, and recordings that had to be left out.

    A job that holds more than fits one shard has several; only its last one is `last`.
    """

    clips: tuple[ClipEntry, ...]
    scripts: tuple[ScriptEntry, ...]
    refused: tuple[Refusal, ...]
    last: bool


def save_shard(path: Path, arrays: Mapping[str, np.ndarray], contents: Contents) -> None:
    """Write tensors and entries in one file, atomically; the same content gives the same bytes."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(packed, metadata={"avi": json.dumps(asdict(contents), sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_contents(path: Path) -> Contents:
    """The entries of a shard, without reading its tensors; InputError when it is no whole shard."""
    try:
        with safe_open(path, "np") as shard:
            header = json.loads((shard.metadata() or {})["avi"])
        return Contents(
            tuple(_entry(ClipEntry, row) for row in header["clips"]),
            tuple(_entry(ScriptEntry, row) for row in header["scripts"]),
            tuple(Refusal(**row) for row in header["refused"]),
            header["last"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError("a shard of a prepared corpus", f"{path}: {error}", "remove it and prepare again") from error


SPLITS = ("train", "validation", "test")


def split_speakers(speakers: Iterable[str], seed: int, validation_share: float, test_share: float) -> dict[str, str]:
    """The split of each speaker, so that nobody is in two; the same for the same speakers and seed.

    Speakers are put in an order that depends on the seed and their names only. The test takes its share of them,
    rounded, and at least one speaker when there are three or more and the share is above 0; then validation likewise;
    training takes the rest. One or two speakers are all for training.
    """
    order = sorted(set(speakers), key=lambda speaker: hashlib.sha256(f"{seed}/{speaker}".encode()).hexdigest())
    split = dict.fromkeys(sorted(order), "train")
    kept = 0
    for name, share in (("test", test_share), ("validation", validation_share)):
        count = max(round(share * len(order)), 1) if share and len(order) >= 3 else 0
        split |= dict.fromkeys(order[kept : kept + count], name)
        kept += count
    return split


# The health of a prepared corpus, and its folder while it is made.


@dataclass(frozen=True)
class Health:
    """Counts over a prepared corpus; minutes are of clips, counts by name are sorted by name.

    `recordings` were kept, wholly or in parts, as `clips`. `repaired` and `warned` count recordings by finding.
    `emotions` counts clips by label ("none" where there is none), `speakers` lists them by split, `motion` and `phones`
    count clips by origin, `scripts` by kind, `texts` counts sentences.
    """

    recordings: int
    clips: int
    minutes: float
    minutes_by_split: dict[str, float]
    speakers: dict[str, list[str]]
    emotions: dict[str, int]
    motion: dict[str, int]
    phones: dict[str, int]
    scripts: dict[str, int]
    texts: int
    motions: int
    repaired: dict[str, int]
    warned: dict[str, int]
    refused: list[Refusal]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def lines(self, most: int = 5) -> list[str]:
        """The report for a person; of the refused recordings the first `most` are named."""

        def some(count: int, noun: str) -> str:
            return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

        def listed(counts: dict[str, int]) -> str:
            return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"

        kept = f"{some(self.recordings, 'recording')} as {some(self.clips, 'clip')}, {self.minutes:.1f} minutes"
        rows = [
            ("kept", f"{kept}, {some(sum(map(len, self.speakers.values())), 'speaker')}"),
            ("repaired", listed(self.repaired)),
            ("noted", listed(self.warned)),
            ("refused", some(len(self.refused), "recording")),
            *(("", f"{refusal.name}: {refusal.reason}") for refusal in self.refused[:most]),
        ]
        if len(self.refused) > most:
            rows.append(("", f"and {len(self.refused) - most} more, see health.json"))
        for split in SPLITS:
            people = some(len(self.speakers[split]), "speaker")
            rows.append((split, f"{people}, {self.minutes_by_split[split]:.1f} minutes"))
        rows += [
            ("emotions", listed(self.emotions)),
            ("phones", listed(self.phones)),
            ("motion", f"{listed(self.motion)}; {self.motions} performances or takes in all"),
            ("scripts", f"{listed(self.scripts)}; {self.texts} sentences"),
        ]
        if self.clips and not self.speakers["test"]:
            rows.append(("note", "no speakers are kept for a test: it takes three of them at least"))
        return [f"{label:11s}{text}" for label, text in rows]


def examine(clips: pa.Table, scripts: pa.Table, refused: Iterable[Refusal]) -> Health:
    """The health of tables of clips and scripts, and of refusals."""
    columns = ("recording", "duration_s", "speaker", "split", "emotion", "motion", "phones_from", "repairs", "warnings")
    of = {name: clips[name].to_pylist() for name in columns}

    def count(names: Iterable[str]) -> dict[str, int]:
        return dict(sorted(Counter(names).items()))

    def recordings(column: str) -> dict[str, int]:
        pairs = zip(of["recording"], of[column], strict=True)
        return count(name for _, name in {(recording, name) for recording, names in pairs for name in names})

    people = set(zip(of["split"], of["speaker"], strict=True))
    seconds = dict.fromkeys(SPLITS, 0.0)
    for split, duration_s in zip(of["split"], of["duration_s"], strict=True):
        seconds[split] += duration_s
    return Health(
        recordings=len(set(of["recording"])),
        clips=len(clips),
        minutes=round(sum(seconds.values()) / 60, 3),
        minutes_by_split={split: round(total_s / 60, 3) for split, total_s in seconds.items()},
        speakers={split: sorted(speaker for kept, speaker in people if kept == split) for split in SPLITS},
        emotions=count(emotion or "none" for emotion in of["emotion"]),
        motion=count(of["motion"]),
        phones=count(of["phones_from"]),
        scripts=count(scripts["kind"].to_pylist()),
        texts=sum(pc.list_value_length(scripts["texts"]).to_pylist()),
        motions=sum(max(held, 1) for held in pc.list_value_length(clips["scripts"]).to_pylist()),
        repaired=recordings("repairs"),
        warned=recordings("warnings"),
        refused=sorted(refused, key=lambda refusal: refusal.name),
    )


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
        self.refused: list[Refusal] = []
        self._clips, self._scripts = [to_table(ClipEntry, ())], [to_table(ScriptEntry, ())]

    def describe(self, description: dict[str, Any]) -> None:
        """Say what the corpus is made of; another description than before starts with empty tables."""
        if read_description(self.folder) != description:
            for name, kind in ((CLIPS, ClipEntry), (SCRIPTS, ScriptEntry)):
                write_entries(self.folder / name, to_table(kind, ()))
            self._write_json(DESCRIPTION, description)

    def gather(self, contents: Iterable[Contents]) -> None:
        """Take finished shards into the tables, which `publish` writes."""
        for shard in contents:
            self._clips.append(to_table(ClipEntry, shard.clips))
            self._scripts.append(to_table(ScriptEntry, shard.scripts))
            self.refused += shard.refused

    def publish(self) -> None:
        """Write the tables of what was gathered; scripts come first, so that no clip names one that is not there."""
        for name, tables, key in ((SCRIPTS, self._scripts, "script"), (CLIPS, self._clips, "clip")):
            write_entries(self.folder / name, pa.concat_tables(tables).sort_by(key))

    def finish(self, keys: Collection[str]) -> Health:
        """Write and give the health report, and remove shards of jobs that are not among `keys`."""
        health = examine(pa.concat_tables(self._clips), pa.concat_tables(self._scripts), self.refused)
        self._write_json("health.json", health.as_dict())
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
    lock = FileLock(place.folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        got = f"{place.folder}, which is locked"
        raise InputError("a corpus nobody else is preparing", got, "wait for the other process") from error
    try:
        for each in (place.folder, place.shards, place.tracks):
            make_folder(each)
            for path in each.iterdir():
                if _TORN.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        yield place
    finally:
        lock.release()


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a corpus is made of, None where there is none; InputError when the file is damaged."""
    path = folder / DESCRIPTION
    try:
        held = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        got = f"{path}: {error}"
        raise InputError("a readable description of a corpus", got, "remove it and prepare again") from error
    if not isinstance(held, dict) or not {"adapter", "source", "settings", "features"} <= held.keys():
        raise InputError("a description of a corpus", f"{path} with something else", "remove it and prepare again")
    return held
