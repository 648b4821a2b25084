"""A prepared corpus, read: clips and scripts from its tables, tensors from its shards by memory map.

>>> corpus = Corpus(Path("data/prepared/ravdess"))
>>> clips = corpus.select(split="train")
>>> batch = corpus.batch(clips[:32], scripts=[0] * 32, longest=50)
>>> batch.features.shape, batch.motion.shape
((32, 100, 384), (32, 50, 55))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float16, Int
from safetensors import SafetensorError, safe_open

from avi_lib.corpus.adapters import RawCorpus
from avi_lib.corpus.scripts import Script
from avi_lib.corpus.shards import CLIPS, SCRIPTS, SHARD_SUFFIX, ClipEntry, read_description, read_rows, tensor_name
from avi_lib.errors import InputError, cause
from avi_lib.motion.clip import SPACES, MotionClip, MotionSpace
from avi_lib.motion.performer import Performer
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Beat, Prosody
from avi_lib.speech.voice import Voice


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips side by side, padded with zeros at the end: the first `frames` and `feature_frames` of a row are true.

    `features` (clips, 2 * frames, dim) at 50 a second, `motion` (clips, frames, channels) at 25, `idle` what blinks,
    gaze and sway add to it in the same channels, `present` (clips, channels) which channels are true. A clip may have
    one feature less than twice its frames.
    """

    features: Float16[np.ndarray, "clips features dim"]
    motion: Float16[np.ndarray, "clips frames channels"]
    idle: Float16[np.ndarray, "clips frames channels"]
    present: Bool[np.ndarray, "clips channels"]
    feature_frames: Int[np.ndarray, " clips"]
    frames: Int[np.ndarray, " clips"]


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

    def batch(
        self, clips: Sequence[ClipEntry], scripts: Sequence[int], longest: int | None = None, starts: Sequence[int] = ()
    ) -> Batch:
        """Features and motion of clips side by side: of each the motion numbered in `scripts`.

        `longest` is the most frames of a row, all when None; `starts` are the frames of the clips at which the rows
        begin, the first when empty. Raises InputError for no clip, another number of scripts or starts, a start outside
        its clip, or no frames asked for.
        """
        starts = list(starts) or [0] * len(clips)
        if not clips or not len(clips) == len(scripts) == len(starts):
            got = f"{len(clips)}, {len(scripts)} and {len(starts)}"
            raise InputError("clips with a script and a start for each", got, "pass as many of each")
        room = np.array([clip.frames for clip in clips]) - starts
        if room.min() < 1 or min(starts) < 0 or (longest is not None and longest < 1):
            got = f"starts {min(starts)} to {max(starts)}, longest {longest}"
            raise InputError("starts within their clips and at least one frame", got, "see `ClipEntry.frames`")
        frames = np.minimum(room, longest or room)
        left = np.array([clip.features for clip in clips]) - 2 * np.array(starts)
        feature_frames = np.clip(left, 0, 2 * frames)
        shape = (len(clips), int(frames.max()), len(self.space))
        motion, idle = np.zeros(shape, np.float16), np.zeros(shape, np.float16)
        features = np.zeros((len(clips), 2 * shape[1], self.description["features"]["dim"]), np.float16)
        for i, (clip, script, start) in enumerate(zip(clips, scripts, starts, strict=True)):
            shown = slice(start, start + frames[i])
            motion[i, : frames[i]] = self.motion(clip, script)[shown]
            idle[i, : frames[i]] = self.idle(clip, script)[shown]
            features[i, : feature_frames[i]] = self.features(clip)[2 * start :][: feature_frames[i]]
        present = np.stack([self.present(clip) for clip in clips])
        return Batch(features, motion, idle, present, feature_frames, frames)

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
