"""A prepared corpus: shards of tensors, an index of clips in partitions, a description and a health report.

>>> corpus = Corpus("data/prepared/ravdess")                        # or "s3://bucket/ravdess"
>>> clip = corpus.select(split="train")[0]
>>> corpus.features(clip).shape, corpus.motion(clip, script=0).shape
((197, 384), (99, 55))

Files are written once, as a whole, and named by the address of their content: a digest of the recordings, their labels,
the settings and the code that made them. So they may lie on any file system of fsspec: a listing of `index/` says which
clips there are, partitions and shards are fetched as clips are asked for, and the last ones are kept.
"""

from __future__ import annotations

import json
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from jaxtyping import Bool, Float16, Int
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from upath import UPath

from avi_lib.corpus.adapters import RawCorpus
from avi_lib.corpus.layouts import Refusal
from avi_lib.corpus.scripts import Script
from avi_lib.errors import InputError, cause
from avi_lib.files import Place, listed, place, write_file
from avi_lib.motion.clip import SPACES, MotionClip, MotionSpace
from avi_lib.motion.performer import Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Beat, Prosody
from avi_lib.speech.voice import Voice

# The index: a partition holds the clips of one job of `prepare` and the scripts that are their own.


@dataclass(frozen=True)
class ClipEntry:
    """One clip: a recording, or a part of one. Its tensors are in its shard, see `save_shard`."""

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


def _fields(kind: type[ClipEntry] | type[Script]) -> list[pa.Field]:
    types = {field.name: str(field.type) for field in fields(kind)}
    return [pa.field(name, _TYPES[t.removesuffix(" | None")], t.endswith("None")) for name, t in types.items()]


_CLIPS = _fields(ClipEntry)
_SCHEMA = pa.schema([*_CLIPS, pa.field("own_scripts", pa.list_(pa.struct(_fields(Script))), nullable=False)])
_PART = re.compile(r"(train|validation|test)-([0-9a-z]+)-(\d+)\.parquet")  # split, key and number of clips


class Part(NamedTuple):
    """A partition: clips, scripts that are their own, recordings that were left out, and bytes of every shard."""

    clips: tuple[ClipEntry, ...]
    scripts: tuple[Script, ...]
    refused: tuple[Refusal, ...] = ()
    shards: Mapping[str, int] = {}


def save_part(folder: Place, split: str, key: str, part: Part) -> None:
    """Write a partition of the index of the corpus in a folder, atomically."""
    own: dict[str, list[dict[str, Any]]] = {clip.clip: [] for clip in part.clips}
    for script in part.scripts:
        own[script.clip].append(vars(script))
    clips = sorted(part.clips, key=lambda clip: clip.clip)
    notes = {"refused": [vars(refusal) for refusal in part.refused], "shards": dict(part.shards)}
    rows = [vars(clip) | {"own_scripts": own[clip.clip]} for clip in clips]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, _SCHEMA.with_metadata({"avi": json.dumps(notes, sort_keys=True)}))
    pq.write_table(table, sink, compression="zstd")
    write_file(folder / "index" / f"{split}-{key}-{len(clips):05d}.parquet", sink.getvalue().to_pybytes())


def load_part(path: Place, clips: bool = True, scripts: bool = True) -> Part:
    """Read a partition or some of it; InputError when the file is missing, damaged or has other columns."""
    try:
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()))
        if not file.schema_arrow.equals(_SCHEMA):
            raise InputError("a partition of a prepared corpus", f"{path} with other columns", "prepare it again")
        notes = json.loads(file.schema_arrow.metadata[b"avi"])
        rows = file.read([field.name for field in _CLIPS]).to_pylist() if clips else []
        own = file.read(["own_scripts"]).column(0).combine_chunks().flatten().to_pylist() if scripts else []
        return TypeAdapter(Part).validate_python((rows, own, notes["refused"], notes["shards"]))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        got = f"{path}: {cause(error)}"
        raise InputError("a partition of a prepared corpus", got, "remove it and prepare again") from error


HELD = 200_000  # clips of the partitions that an index keeps in memory: of the last ones that were read, some 2 KB each


class Index(Sequence[ClipEntry]):
    """The clips of a corpus in order of partitions, each read when one of its clips is asked for.

    `paths` are the partitions by key; to open an index lists them and reads none.
    """

    def __init__(self, folder: Place) -> None:
        found = {match[2]: path for path in listed(folder / "index") if (match := _PART.fullmatch(path.name))}
        self.paths = dict(sorted(found.items()))
        self._order = list(self.paths.values())
        self._ends = list(accumulate(int(path.stem.rpartition("-")[2]) for path in self._order))
        self._held: dict[Place, tuple[ClipEntry, ...]] = {}
        self._count = 0

    def _clips(self, path: Place) -> tuple[ClipEntry, ...]:
        if (clips := self._held.pop(path, None)) is None:
            clips = load_part(path, scripts=False).clips
            self._count += len(clips)
            while self._count > HELD and self._held:
                self._count -= len(self._held.pop(next(iter(self._held))))
        self._held[path] = clips  # the last one that was asked for
        return clips

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        wanted = range(len(self))[number]
        place = bisect_right(self._ends, wanted)
        return self._clips(self._order[place])[wanted - self._ends[place]]  # counted from the partition's end

    def __iter__(self) -> Iterator[ClipEntry]:
        for path in self._order:
            yield from self._clips(path)

    def neighbours(self, clip: ClipEntry, scripts: bool = False) -> Part:
        """The clips of a clip's partition, with `scripts` their scripts: all that it performs are among them."""
        path = self.paths[clip.shard.partition("-")[0]]
        return Part(self._clips(path), load_part(path, clips=False).scripts if scripts else ())

    def columns(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all clips, in order, a part at a time, without making entries of them."""
        found = [path.path if isinstance(path, UPath) else str(path) for path in self._order]
        system = next((path.fs for path in self._order if isinstance(path, UPath)), None)
        yield from pads.dataset(found, _SCHEMA, format="parquet", filesystem=system).to_batches(columns=list(names))


# Shards: tensors of some clips.

SHARD_SUFFIX = ".safetensors"


def tensor_name(clip: str, what: str) -> str:
    """The name in a shard of one tensor of a clip.

    Of all clips: motion (scripts, frames, channels) float16, present (channels,) bool. Of those with sound: features
    (features, dim) and prosody (frames, 3: F0 in Hz or 0, voiced 0 or 1, level in dB) float16, phones (n,) int16 with
    phone_times (n, 2) float32 in seconds, syllables (n, 2: time in seconds, strength) float32. Of performed ones: idle
    (scripts, frames, idle channels) float16; from real motion idle behaviour cannot be parted.
    """
    return f"{clip}:{what}"


def save_shard(path: Place, arrays: Mapping[str, np.ndarray]) -> int:
    """Write tensors in one file, atomically, and give its size; the same content gives the same bytes."""
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_file(path, content)
    return len(content)


FORMAT = 3
DESCRIPTION = "corpus.json"


def read_description(folder: Place) -> dict[str, Any] | None:
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


# A corpus to read.
class Corpus:
    """A prepared corpus at a `place`; InputError when there is none or it is damaged.

    One that is being prepared can be read: it shows what was finished when it was opened.
    """

    def __init__(self, folder: Place | str) -> None:
        self.folder = place(folder)
        description = read_description(self.folder)
        if description is None:
            do = f"make it with `avi prepare ADAPTER SOURCE {folder}` (adapters: docs/corpora.md)"
            raise InputError("a prepared corpus", f"{folder} without one", do)
        if (made := description.get("format")) != FORMAT:
            raise InputError(f"a corpus of format {FORMAT}", f"format {made} in {folder}", "prepare it again")
        self.description: dict[str, Any] = description
        self.index = Index(self.folder)
        self.clips: Sequence[ClipEntry] = self.index

    @property
    def space(self) -> MotionSpace:
        """The motion space of every clip."""
        return SPACES[self.description["space"]]

    @cached_property
    def scripts(self) -> dict[str, Script]:
        """Every script by name."""
        parts = (load_part(path, clips=False) for path in self.index.paths.values())
        return {script.script: script for part in parts for script in part.scripts}

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, **labels: object) -> list[ClipEntry]:
        """Clips whose columns have these values, such as `split="train", emotion="angry"`, in order of names."""
        columns = sorted(field.name for field in fields(ClipEntry))
        if unknown := sorted(set(labels) - set(columns)):
            raise InputError(f"columns of {', '.join(columns)}", ", ".join(unknown), "see `ClipEntry`")
        found = (clip for clip in self.clips if all(getattr(clip, name) == value for name, value in labels.items()))
        return sorted(found, key=lambda clip: clip.clip)

    def clip(self, name: str) -> ClipEntry:
        """The clip of a name; InputError when there is none."""
        for clip in self.clips:
            if clip.clip == name:
                return clip
        raise InputError(f"a clip of {self.folder}", repr(name), "see `Corpus.clips`")

    def partners(self, clip: ClipEntry) -> list[ClipEntry]:
        """The other clips of its group: each performs this clip's scripts, and this clip performs theirs.

        With `number` that is a true exchanged pair: motion(a, i), motion(b, number(b, a.scripts[i])) and the reverse.
        """
        owners = dict.fromkeys(name.rpartition("/")[0] for name in clip.scripts if not name.startswith(f"{clip.clip}/"))
        near = {each.clip: each for each in self.index.neighbours(clip).clips} if owners else {}
        return [near[name] for name in owners]

    def number(self, clip: ClipEntry, script: str) -> int:
        """The number under which a clip's motion of a script is read; InputError when it does not perform it."""
        if script not in clip.scripts:
            raise InputError(f"a script that {clip.clip} performs", repr(script), "see `ClipEntry.scripts`")
        return clip.scripts.index(script)

    def texts(self, clip: ClipEntry, script: int = 0) -> tuple[str, ...]:
        """Sentences that say what the face does in the clip's motion of that number."""
        near = self.index.neighbours(clip, scripts=True).scripts
        return next(each.texts for each in near if each.script == clip.scripts[script])

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
            name = tensor_name(clip.clip, what)
            shard = _shard(self, clip.shard)
            found: np.ndarray = shard.get_tensor(name) if script is None else shard.get_slice(name)[script]
        except (OSError, SafetensorError) as error:
            got = f"{clip.shard}{SHARD_SUFFIX}: {cause(error)}"
            raise InputError(f"the shard of {clip.clip} with {what}", got, "prepare the corpus again") from error
        return found


@lru_cache(maxsize=256)
def _shard(corpus: Corpus, name: str) -> Any:
    """A shard, mapped into memory; the last ones asked for stay so. One that lies on no disk here is fetched whole."""
    if name != Path(name).name:
        raise InputError("a shard's name", repr(name), "prepare the corpus again: it names files outside its folder")
    path = corpus.folder / "shards" / f"{name}{SHARD_SUFFIX}"
    if isinstance(path, Path):
        return safe_open(path, "np")
    with tempfile.NamedTemporaryFile(suffix=SHARD_SUFFIX) as file:  # what is mapped outlives its name
        path.fs.get_file(path.path, file.name)
        return safe_open(file.name, "np")


def prepare_corpora(
    chosen: Sequence[RawCorpus], prepared: Place, settings: PrepareSettings, use: str = ""
) -> list[Corpus]:
    """Corpora prepared, each below a folder under its own name, and opened; what is there already is found again.

    `chosen` are raw corpora, see `choose_corpora`; `use` names corpora in the folder `prepared` that are taken just as
    they are instead, with commas between them; of the chosen ones that are not there yet, they are prepared. Where
    these lack what a training needs, the shipped samples among the chosen ones are taken as well, which is printed.
    """
    from avi_lib.corpus.prepare import prepare

    names = [name.strip() for name in use.split(",") if name.strip()]
    for raw in chosen:
        if raw.name in names and read_description(prepared / raw.name) is None:
            prepare(raw.adapter, raw.folder, prepared / raw.name, settings, progress=True)
    if absent := [name for name in names if read_description(prepared / name) is None]:
        there = sorted(path.name for path in prepared.iterdir() if read_description(path)) if prepared.exists() else []
        got = f"no {', '.join(absent)} in {prepared}, where there are: {', '.join(there) or 'none'}"
        do = f"name one of these, or make it with `avi prepare ADAPTER SOURCE {prepared / absent[0]}` (docs/corpora.md)"
        raise InputError("names of prepared corpora", got, do)
    corpora, wanted = [Corpus(prepared / name) for name in names], list(() if names else chosen)
    if corpora and (missing := lacking(corpora)) and "samples" not in names:
        wanted = [raw for raw in chosen if raw.name == "samples"]
        print(f"{use}: no {', no '.join(missing)}; goes on with {', '.join([*(raw.name for raw in wanted), *names])}")
    for raw in wanted:
        prepare(raw.adapter, raw.folder, prepared / raw.name, settings, progress=True)
    return [*(Corpus(prepared / raw.name) for raw in wanted), *corpora]


def lacking(corpora: Sequence[Corpus]) -> list[str]:
    """What of these is missing for a training that can be judged, in words."""
    clips = [clip for corpus in corpora for clip in corpus.clips]
    needs = {
        "clip to train on": any(clip.split == "train" for clip in clips),
        "performed clips of speakers that are held out, two or more of a split": bool(_judged(corpora, set())),
        "performed motion, from which is learned what can be asked for": any(c.motion == "performed" for c in clips),
    }
    return [what for what, there in needs.items() if not there]


# Several prepared corpora as one: which clips a network is trained on, and how often each.
@dataclass(frozen=True)
class Item:
    """A clip and the corpus that holds it."""

    corpus: Corpus
    clip: ClipEntry

    @property
    def real(self) -> bool:
        """Whether its motion was recorded or tracked, not performed."""
        return self.clip.motion != "performed"


class Items(Sequence[Item]):
    """Clips of corpora, some more than once, each read when it is asked for.

    times: of every clip of every corpus, in order, how often it comes.
    """

    def __init__(self, corpora: Sequence[Corpus], times: Sequence[Int[np.ndarray, " _"]]) -> None:
        self.corpora, every = corpora, np.concatenate(times)
        self._clips = np.flatnonzero(every)
        self._ends = np.cumsum(every[self._clips])
        self._firsts = list(accumulate(map(len, times), initial=0))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        clip = int(self._clips[np.searchsorted(self._ends, range(len(self))[number], side="right")])
        whose = bisect_right(self._firsts, clip) - 1
        return Item(self.corpora[whose], self.corpora[whose].index[clip - self._firsts[whose]])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Training items of several corpora.

    `items` are clips with sound, each as often as it holds `frames` frames, so that all parts of long ones are seen;
    `performed` are those of them whose motion is performed, any of which can perform any script; `real` are clips of
    real motion, with sound or without; `without` are names of recordings left out; `minutes` are those of each corpus;
    `content` says in JSON what all of it is.
    """

    corpora: tuple[Corpus, ...]
    items: Items
    performed: Items
    real: Items
    without: frozenset[str]
    minutes: Mapping[str, float]
    content: list[Any]

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
        left_out, seen = frozenset(without), set[str]()
        times: list[list[np.ndarray]] = [[], [], []]
        minutes: dict[str, float] = {}
        leaving = pa.array(sorted(left_out), pa.string())
        for corpus in corpora:
            minutes[corpus.folder.name] = 0.0
            found: list[list[np.ndarray]] = [[np.zeros(0, np.int32)] for _ in times]
            for rows in corpus.index.columns("split recording frames features motion duration_s".split()):
                out = pc.is_in(rows["recording"], value_set=leaving)
                seen |= set(rows["recording"].filter(out).to_pylist())
                long, sounds = rows["frames"].to_numpy(), rows["features"].to_numpy() > 0
                chosen, played = (
                    pc.equal(rows[name], value).to_numpy(zero_copy_only=False)
                    for name, value in (("split", split), ("motion", "performed"))
                )
                kept = chosen & ~out.to_numpy(zero_copy_only=False) & (long >= shortest)
                often = np.where(kept & sounds, np.maximum(long // frames, 1), 0)
                for each, count in zip(found, (often, often * played, kept & ~played), strict=True):
                    each.append(count.astype(np.int32))
                used_s = rows["duration_s"].to_numpy()[kept & (sounds | ~played)]
                minutes[corpus.folder.name] += float(used_s.sum()) / 60
            for each, parts in zip(times, found, strict=True):
                each.append(np.concatenate(parts))
        if unknown := left_out - seen:
            raise InputError("recordings of these corpora to leave out", ", ".join(sorted(unknown)), "check the names")
        items, performed, real = (Items(corpora, each) for each in times)
        if not items:
            names = ", ".join(str(corpus.folder) for corpus in corpora)
            raise InputError(f"clips with sound in the split {split}", f"none in {names}", "prepare more recordings")
        held = [[corpus.folder.name, [path.name for path in corpus.index.paths.values()]] for corpus in corpora]
        content = [split, frames, shortest, sorted(left_out), held]
        return cls(tuple(corpora), items, performed, real, left_out, minutes, content)

    def partners(self, item: Item) -> list[ClipEntry]:
        """Clips that perform the same scripts, without those of recordings that are left out; none for real motion."""
        return [partner for partner in item.corpus.partners(item.clip) if partner.recording not in self.without]

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
    found = _judged(corpora, trained_on)
    if not found:
        names = ", ".join(str(corpus.folder) for corpus in corpora) or "no corpus"
        do = "add a corpus of three speakers or more that is performed, such as the samples"
        raise InputError("performed clips whose speaker and words are held out", f"none in {names}", do)
    return found


def _judged(corpora: Sequence[Corpus], known: Set[str | None]) -> list[Item]:
    """Performed clips of the test and the validation that have a partner, but for those whose text is known."""
    return [
        Item(corpus, clip)
        for split in ("test", "validation")
        for corpus in corpora
        for clip in corpus.select(split=split, motion="performed")
        if clip.features and corpus.partners(clip) and clip.text not in known
    ]


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
