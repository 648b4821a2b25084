"""A prepared corpus: two tables of clips and scripts, shards of tensors, a description and a health report.

>>> corpus = Corpus(Path("data/prepared/ravdess"))
>>> clip = corpus.select(split="train")[0]
>>> corpus.features(clip).shape, corpus.motion(clip, script=0).shape
((197, 384), (99, 55))

A shard's name is the address of its content: a digest of the recordings, their labels, the settings and the code that
made it. It holds its own part of both tables, so it is whole by itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from jaxtyping import Bool, Float16
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.corpus.adapters import RawCorpus
from avi_lib.corpus.layouts import Refusal
from avi_lib.corpus.scripts import Script
from avi_lib.errors import InputError, cause
from avi_lib.files import atomic_path, make_folder
from avi_lib.motion.clip import SPACES, MotionClip, MotionSpace
from avi_lib.motion.performer import Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Beat, Prosody
from avi_lib.speech.voice import Voice

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


# A corpus to read: tensors by memory map.


class Corpus:
    """A prepared corpus in a folder; InputError when there is none or it is damaged.

    One that is being prepared can be read: it shows what was published when it was opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        description = read_description(self.folder)
        if description is None:
            raise InputError("a prepared corpus", f"{folder} without one", "make it with `avi prepare`")
        self.description: dict[str, Any] = description
        self.clips: Sequence[ClipEntry] = read_rows(self.folder / CLIPS, ClipEntry)

    @property
    def space(self) -> MotionSpace:
        """The motion space of every clip."""
        return SPACES[self.description["space"]]

    @cached_property
    def scripts(self) -> dict[str, Script]:
        """Every script by name."""
        return {script.script: script for script in read_rows(self.folder / SCRIPTS, Script)}

    @cached_property
    def _by_name(self) -> dict[str, ClipEntry]:
        return {clip.clip: clip for clip in self.clips}

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, **labels: object) -> list[ClipEntry]:
        """Clips whose columns have these values, such as `split="train", emotion="angry"`, in order of names."""
        columns = sorted(field.name for field in fields(ClipEntry))
        if unknown := sorted(set(labels) - set(columns)):
            raise InputError(f"columns of {', '.join(columns)}", ", ".join(unknown), "see `ClipEntry`")
        return [clip for clip in self.clips if all(getattr(clip, name) == value for name, value in labels.items())]

    def clip(self, name: str) -> ClipEntry:
        """The clip of a name; InputError when there is none."""
        if name not in self._by_name:
            raise InputError(f"a clip of {self.folder}", repr(name), "see `Corpus.clips`")
        return self._by_name[name]

    def partners(self, clip: ClipEntry) -> list[ClipEntry]:
        """The other clips of its group: each performs this clip's scripts, and this clip performs theirs.

        With `number` that is a true exchanged pair: motion(a, i), motion(b, number(b, a.scripts[i])) and the reverse.
        """
        owners = dict.fromkeys(name.rpartition("/")[0] for name in clip.scripts)
        return [self.clip(name) for name in owners if name != clip.clip]

    def number(self, clip: ClipEntry, script: str) -> int:
        """The number under which a clip's motion of a script is read; InputError when it does not perform it."""
        if script not in clip.scripts:
            raise InputError(f"a script that {clip.clip} performs", repr(script), "see `ClipEntry.scripts`")
        return clip.scripts.index(script)

    def texts(self, clip: ClipEntry, script: int = 0) -> tuple[str, ...]:
        """Sentences that say what the face does in the clip's motion of that number."""
        return self.scripts[clip.scripts[script]].texts

    def features(self, clip: ClipEntry) -> Float16[np.ndarray, "features dim"]:
        """Speech features at 50 a second."""
        if not clip.features:
            return np.zeros((0, self.description["features"]["dim"]), np.float16)
        return self._tensor(clip, "features")

    def motion(self, clip: ClipEntry, script: int = 0) -> Float16[np.ndarray, "frames channels"]:
        """Motion at 25 frames a second; of a performed clip without blinks, gaze and sway (see `idle`)."""
        return self._tensor(clip, "motion", script)

    def idle(self, clip: ClipEntry, script: int = 0) -> Float16[np.ndarray, "frames channels"]:
        """What idle behaviour adds to a performed clip's motion; zeros for real motion, which has it within."""
        added = np.zeros((clip.frames, len(self.space)), np.float16)
        if clip.motion == "performed":
            channels = [self.space.index(channel) for channel in self.description["idle_channels"]]
            added[:, channels] = self._tensor(clip, "idle", script)
        return added

    def present(self, clip: ClipEntry) -> Bool[np.ndarray, " channels"]:
        """Which channels of the motion are true; the others are 0 and mean nothing."""
        return self._tensor(clip, "present")

    def phones(self, clip: ClipEntry) -> tuple[Phone, ...]:
        """Phones with times in seconds from the start of the clip; none for motion without sound."""
        if not clip.features:
            return ()
        numbers, times_s = (self._tensor(clip, name).tolist() for name in ("phones", "phone_times"))
        names = self.description["phones"]
        return tuple(Phone(names[number], *edges_s) for number, edges_s in zip(numbers, times_s, strict=True))

    def prosody(self, clip: ClipEntry) -> Prosody:
        """Pitch, voicing and level of every video frame, and the syllables; InputError for motion without sound."""
        f0_hz, voiced, energy_db = np.ascontiguousarray(self._tensor(clip, "prosody").astype(np.float32).T)
        beats = tuple(Beat(*syllable) for syllable in self._tensor(clip, "syllables").tolist())
        return Prosody(float(self.description["fps"]), f0_hz, voiced > 0.5, energy_db, beats)

    def performer(self, clip: ClipEntry) -> Performer:
        """The clip made ready to be performed under any other script; InputError for motion without sound."""
        settings = PerformerSettings.model_validate(self.description["performer"])
        return Performer(self.phones(clip), self.prosody(clip), clip.duration_s, settings)

    def sound(self, clip: ClipEntry) -> Path | None:
        """The file of the raw corpus with the clip's sound from `start_s` on, None for motion without sound."""
        return None if clip.speech is None else Path(self.description["source"], clip.speech)

    def speech(self, clip: ClipEntry) -> Voice:
        """The clip's sound, with the report of the whole recording; InputError for motion without sound."""
        if (path := self.sound(clip)) is None:
            raise InputError("a clip with sound", f"{clip.clip}, which is motion alone", "choose one with features")
        whole = load_voice(path)
        first = round(clip.start_s * whole.rate_hz)
        return Voice(whole.wave[first : first + round(clip.duration_s * whole.rate_hz)], whole.report)

    def performance(self, clip: ClipEntry, script: int = 0, idle: bool = False) -> MotionClip:
        """The clip's motion of that number as a `MotionClip`, with blinks, gaze and sway or without them."""
        values = self.motion(clip, script).astype(np.float32)
        return MotionClip(values + self.idle(clip, script) * idle, float(self.description["fps"]), self.space)

    def _tensor(self, clip: ClipEntry, what: str, script: int | None = None) -> np.ndarray:
        """A tensor of the clip, see `tensor_name`, or the part of it that belongs to the script of that number."""
        if script is not None and not 0 <= script < len(clip.scripts):
            raise InputError(f"a script of {clip.clip} from 0 to {len(clip.scripts) - 1}", f"{script}", "choose one")
        try:
            shard, name = _shard(self, clip.shard), tensor_name(clip.clip, what)
            found: np.ndarray = shard.get_tensor(name) if script is None else shard.get_slice(name)[script]
        except (OSError, SafetensorError) as error:
            got = f"{clip.shard}{SHARD_SUFFIX}: {cause(error)}"
            raise InputError(f"the shard of {clip.clip} with {what}", got, "prepare the corpus again") from error
        return found


@lru_cache(maxsize=256)
def _shard(corpus: Corpus, name: str) -> Any:
    """A shard, mapped into memory; the last ones asked for stay so."""
    if name != Path(name).name:
        raise InputError("a shard's name", repr(name), "prepare the corpus again: it names files outside its folder")
    return safe_open(corpus.folder / "shards" / f"{name}{SHARD_SUFFIX}", "np")


def prepare_corpora(
    chosen: Sequence[RawCorpus], prepared: Path, settings: PrepareSettings, use: str = ""
) -> list[Corpus]:
    """Corpora prepared, each below a folder under its own name, and opened; what is there already is found again.

    `chosen` are raw corpora, see `choose_corpora`; `use` names corpora in the folder `prepared` that are taken just as
    they are instead, with commas between them.
    """
    from avi_lib.corpus.prepare import prepare

    names = [name.strip() for name in use.split(",") if name.strip()]
    for raw in () if names else chosen:
        prepare(raw.adapter, raw.folder, prepared / raw.name, settings, progress=True)
    return [Corpus(prepared / name) for name in names or [raw.name for raw in chosen]]


# Several prepared corpora as one: which clips a network is trained on, and how often each.


@dataclass(frozen=True, eq=False)
class Item:
    """A clip and the corpus that holds it."""

    corpus: Corpus
    clip: ClipEntry

    @property
    def real(self) -> bool:
        """Whether its motion was recorded or tracked, not performed."""
        return self.clip.motion != "performed"


@dataclass(frozen=True, eq=False)
class Mixture:
    """Training items of several corpora.

    `items` are clips with sound, each as often as it holds `frames` frames, so that all parts of long ones are seen;
    `real` are clips of real motion, with sound or without; `without` are names of recordings left out.
    """

    corpora: tuple[Corpus, ...]
    items: tuple[Item, ...]
    real: tuple[Item, ...]
    without: frozenset[str]

    @classmethod
    def of(
        cls, corpora: Sequence[Corpus], split: str, frames: int, without: Iterable[str] = (), shortest: int = 12
    ) -> Mixture:
        """The clips of a split without the recordings named in `without` and without clips under `shortest` frames.

        Raises InputError for no corpus, corpora of different motion spaces or speech encoders, no clip with sound left,
        or a recording to leave out that no corpus has.
        """
        if not corpora:
            raise InputError("at least one prepared corpus", "none", "make one with `avi prepare`")
        for corpus in corpora[1:]:
            for name in ("space", "features", "fps"):
                expected, got = corpora[0].description[name], corpus.description[name]
                if expected != got:
                    do = "prepare both with the same settings"
                    raise InputError(f"corpora with {name} {expected}", f"{got} in {corpus.folder}", do)
        left_out = frozenset(without)
        if unknown := left_out - {clip.recording for corpus in corpora for clip in corpus.clips}:
            raise InputError("recordings of these corpora to leave out", ", ".join(sorted(unknown)), "check the names")
        found = [
            Item(corpus, clip)
            for corpus in corpora
            for clip in corpus.select(split=split)
            if clip.recording not in left_out and clip.frames >= shortest
        ]
        items = tuple(item for item in found if item.clip.features for _ in range(max(1, item.clip.frames // frames)))
        if not items:
            names = ", ".join(str(corpus.folder) for corpus in corpora)
            raise InputError(f"clips with sound in the split {split}", f"none in {names}", "prepare more recordings")
        return cls(tuple(corpora), items, tuple(item for item in found if item.real), left_out)

    def partners(self, item: Item) -> list[ClipEntry]:
        """Clips that perform the same scripts, without those of recordings that are left out; none for real motion."""
        return [partner for partner in item.corpus.partners(item.clip) if partner.recording not in self.without]

    @cached_property
    def performed(self) -> tuple[Item, ...]:
        """The items whose motion is performed: any of them can perform any script."""
        return tuple(item for item in self.items if not item.real)

    @property
    def space(self) -> MotionSpace:
        """The motion space of all clips."""
        return self.corpora[0].space

    @property
    def features(self) -> int:
        """Dimensions of the speech features."""
        return int(self.corpora[0].description["features"]["dim"])


@lru_cache(maxsize=4096)
def performer_of(item: Item) -> Performer:
    """The clip's performer; the last ones asked for are kept, some 20 KB each."""
    return item.corpus.performer(item.clip)


def held_out(corpora: Sequence[Corpus], known_words: bool = False) -> list[Item]:
    """Performed clips with sound and partners, of speakers that are not trained on, test before validation.

    Clips whose text somebody says in training are left out, so that neither voice nor words are known, unless
    `known_words` keeps them. Raises InputError when there is none, as then there is nothing to compare a model with.
    """
    spoken = {clip.text for corpus in corpora for clip in corpus.select(split="train")} - {None}
    trained_on = set() if known_words else spoken
    found = [
        Item(corpus, clip)
        for split in ("test", "validation")
        for corpus in corpora
        for clip in corpus.select(split=split, motion="performed")
        if clip.features and corpus.partners(clip) and clip.text not in trained_on
    ]
    if not found:
        names = ", ".join(str(corpus.folder) for corpus in corpora) or "no corpus"
        do = "add a corpus of three speakers or more that is performed, such as the samples"
        raise InputError("performed clips whose speaker and words are held out", f"none in {names}", do)
    return found


def shared_voices(corpora: Sequence[Corpus]) -> frozenset[str]:
    """Recordings in training of voices that another corpus holds out: every corpus splits its speakers on its own.

    A voice that a corpus holds out in some clips and trains on in others is nobody held out.
    """
    clips = [clip for corpus in corpora for clip in corpus.clips]
    voices: set[tuple[str, str]] = set()
    for corpus in corpora:
        trained = {(clip.language, clip.speaker) for clip in corpus.clips if clip.split == "train"}
        voices |= {(clip.language, clip.speaker) for clip in corpus.clips} - trained
    return frozenset(c.recording for c in clips if c.split == "train" and (c.language, c.speaker) in voices)
