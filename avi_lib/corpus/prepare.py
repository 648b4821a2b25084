r"""Preparation: a raw corpus in, a prepared one out; the same again does nothing, an interrupted one goes on.

>>> health = prepare("ravdess", Path("data/raw/ravdess"), Path("data/prepared/ravdess"))
>>> print("\n".join(health.lines()))

The destination, a folder here or on a file system of fsspec, holds `corpus.json` (what it was made of), `index/` (the
clips), `shards/` (their tensors), `tracks/` (faces tracked in videos) and `health.json`. A job writes its shards and
then its partition of the index, addressed by their content and each as a whole, so whatever stops the work leaves a
corpus that can be read and gone on with.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import re
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Bool, Float16
from tqdm import tqdm

import avi_lib
from avi_lib.corpus import dataset
from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.dataset import DESCRIPTION, FORMAT, ClipEntry, Index, Part, load_part, read_description, save_part
from avi_lib.corpus.layouts import Recording, Refusal
from avi_lib.corpus.measure import neutral_face
from avi_lib.corpus.scripts import Script
from avi_lib.corpus.segments import IDLE_CHANNELS, PHONES, Plan, Segment, assemble, make_segments, motion_of
from avi_lib.errors import AviError, InputError, OutputError, cause
from avi_lib.files import Place, content_sha256, file_sha256, listed, make_folder, place, write_file
from avi_lib.motion.clip import ARKIT, FLAME, SPACES
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.voice import VIDEO_FPS
from avi_lib.workers import as_done, bar_file, result_of, worker_pool

# Jobs: recordings that become a partition of the index and its shards.

RECORDINGS_PER_JOB = 16  # about how many recordings are prepared together
MOST_JOBS = 4096  # of a split, so that millions of clips do not lie in as many files
SHARD_S = 600.0  # seconds of clips after which a job begins another shard: what a worker holds in memory

Digests = Mapping[Path, str]  # SHA-256 of files


class Job(NamedTuple):
    """Recordings of one split that are prepared together; `key` is the address of the result."""

    key: str
    split: str
    recordings: tuple[Recording, ...]
    digests: Digests


def make_jobs(
    recordings: Sequence[Recording],
    digests: Digests,
    splits: Mapping[str, str],
    neutrals: Mapping[str, str],
    common: str,
) -> list[Job]:
    """Jobs in order of split and bucket.

    A recording's bucket follows from its name and the rough size of its split, so one more recording changes one job
    and leaves the addresses of the others as they are. `splits` is by name of recording, `neutrals` holds the digest of
    the neutral face by `Recording.face`, `common` is the digest of all else that decides: settings, code, encoder.
    """

    def number(recording: Recording) -> int:
        return int.from_bytes(hashlib.sha256(recording.name.encode()).digest()[:8], "big")

    sizes = Counter(splits[recording.name] for recording in recordings)
    buckets: dict[tuple[str, int], list[Recording]] = {}
    for recording in sorted(recordings, key=number):
        split = splits[recording.name]
        count = 1 << max((sizes[split] // RECORDINGS_PER_JOB).bit_length() - 1, 0)  # a power of two: buckets last
        count = min(count, MOST_JOBS)
        buckets.setdefault((split, number(recording) % count), []).append(recording)
    jobs = []
    for (split, _), bucket in sorted(buckets.items(), key=lambda item: item[0]):
        files = [[digests[path] for path in recording.files] for recording in bucket]
        faces = {recording.face: neutrals.get(recording.face) for recording in bucket}
        content = [common, split, [_labels(r) for r in bucket], files, sorted(faces.items())]
        own = {path: digests[path] for recording in bucket for path in recording.files}
        jobs.append(Job(content_sha256(content)[:32], split, tuple(bucket), own))
    return jobs


def _labels(recording: Recording) -> list[object]:
    names = ("name", "speaker", "gender", "emotion", "level", "text", "language", "phones", "caption")
    roles = [recording.files.index(path) if path else None for path in (recording.speech, recording.video)]
    motion = recording.motion
    read = getattr(motion.read, "func", motion.read).__qualname__ if motion else None
    return [*(getattr(recording, name) for name in names), *roles, motion.space if motion else None, read]


def carry_out(job: Job, plan: Plan) -> None:
    """Prepare the recordings of a job and write its files; a recording that cannot be used is refused, not fatal."""
    segments: list[Segment] = []
    refused: list[Refusal] = []
    clips: tuple[ClipEntry, ...] = ()
    scripts: tuple[Script, ...] = ()
    sizes: dict[str, int] = {}
    for recording in job.recordings:
        with _refusing(recording, refused):
            motion = motion_of(recording, plan.folder / "tracks", job.digests)
            segments += make_segments(recording, _encoder(plan.settings.encoder), plan.settings, *motion)
        try:
            unchanged = all(file_sha256(path) == job.digests[path] for path in recording.files)
        except OSError:
            unchanged = False
        if not unchanged:  # an address never holds what was made of other files, nor a refusal of files that went away
            got = f"{recording.name}, whose files changed or went away meanwhile"
            raise AviError("sources that stay as they are", got, "run the same again; what is finished is kept")
        last = recording is job.recordings[-1]
        if segments and (last or sum(segment.entry.duration_s for segment in segments) > SHARD_S):
            name = f"{job.key}-{len(sizes):03d}"
            arrays, made, said = assemble(segments, plan, job.split, name)
            sizes[name] = dataset.save_shard(plan.folder / "shards" / f"{name}{dataset.SHARD_SUFFIX}", arrays)
            clips, scripts, segments = clips + made, scripts + said, []
    save_part(plan.folder, job.split, job.key, Part(clips, scripts, tuple(refused), sizes))


@contextmanager
def _refusing(recording: Recording, refused: list[Refusal]) -> Iterator[None]:
    """Note a recording that cannot be used; a result that cannot be written is an error all the same."""
    try:
        yield
    except OutputError:
        raise
    except InputError as error:
        refused.append(Refusal(recording.name, str(error)))


Sample = tuple[Float16[np.ndarray, "frames channels"], Bool[np.ndarray, " channels"]]


def sample(recording: Recording, tracks: Place, digests: Digests) -> Sample:
    """Up to 64 frames spread evenly over a recording's real motion, and which channels it has; see `motion_of`.

    The speaker's neutral face is found from them.
    """
    pieces, _ = motion_of(recording, tracks, digests)
    values = np.concatenate([piece.values for piece in pieces])
    picks = np.unique(np.linspace(0, len(values) - 1, 64).round().astype(int))
    return values[picks].astype(np.float16), np.all([piece.present for piece in pieces], axis=0)


def describe_encoder(name: str) -> dict[str, Any]:
    """What there is to say of an encoder; asked for in a worker, so that the process that waits loads none."""
    encoder = _encoder(name)
    return {field: getattr(encoder, field) for field in ("name", "dim", "fps", "fingerprint")}


@cache
def _encoder(name: str) -> SpeechEncoder:
    return load_encoder(name)


# Digests of source files, kept between runs, and of the code that prepares them.

ROOMS = ("corpus", "face", "instruction", "motion", "speech")
"""Parts of the library whose code decides what a prepared corpus contains; settings count by their values."""
PACKAGES = "av ctranslate2 hama librosa mediapipe numpy pocketsphinx scipy soxr transformers".split()
"""Packages whose version decides numbers."""
_SETTLED_S = 2.0
"""A file changed less than this before its digest was taken may change again within the clock's resolution."""


@cache
def code_digest() -> str:
    """SHA-256 of the code that prepares, of the settings' defaults and of versions: another code, another corpus."""
    root = Path(avi_lib.__file__).parent
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    defaults = PerformerSettings().model_dump_json()
    digest = hashlib.sha256("\n".join((avi_lib.__version__, defaults, *versions)).encode())
    for path in sorted(prepared_by()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prepared_by() -> set[Path]:
    """Files of `ROOMS` that a preparation runs: this module, what it imports, and the tables of these rooms."""
    root = Path(avi_lib.__file__).parents[1]
    tables = (path for room in ROOMS for path in Path(avi_lib.__file__).parent.joinpath(room).rglob("*"))
    found = {path for path in tables if path.suffix in (".json", ".yaml")}
    waiting = [Path(__file__)]
    while waiting:
        path = waiting.pop()
        if path in found or path.relative_to(root).parts[1] not in ROOMS:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(avi_lib.__name__):
                place = root.joinpath(*str(node.module).split("."))
                names = [place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)]
                waiting += [name for name in names if name.is_file()]
    return found


def source_digests(recordings: Sequence[Recording], memory: Place, hidden: bool | None = None) -> dict[Path, str]:
    """SHA-256 of the files of recordings; InputError when one cannot be read.

    A file whose size and times of change are as in `memory`, which an earlier run left, is not read again.
    """
    try:
        known = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    kept = {}

    def digest(path: Path) -> str:
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            *before, found = known.get(str(path), [None])
            found = found if before == state else file_sha256(path)
        except OSError as error:
            got = f"{path}: {cause(error)}"
            raise InputError("a readable file", got, "check its permissions") from error
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
            kept[str(path)] = [*state, found]
        return found

    try:
        listed = tqdm(recordings, "reading", unit=" recordings", leave=False, disable=hidden, file=bar_file(hidden))
        return {path: digest(path) for recording in listed for path in recording.files}
    finally:
        write_file(memory, json.dumps(known | kept, sort_keys=True).encode())


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
    def of(cls, parts: Iterable[Part], refused: Iterable[Refusal] = ()) -> Health:
        """The health of partitions, read one after the other, and of recordings that none of them knows."""
        recordings, texts, motions, left_out = 0, 0, 0, list(refused)
        seconds, speakers = dict.fromkeys(SPLITS, 0.0), {split: set[str]() for split in SPLITS}
        names = "emotions motion phones scripts repaired warned".split()
        counts: dict[str, Counter[str]] = {name: Counter() for name in names}
        for clips, scripts, own_refused, _ in parts:
            left_out += own_refused
            recordings += len({clip.recording for clip in clips})
            texts += sum(len(script.texts) for script in scripts)
            counts["scripts"].update(script.kind for script in scripts)
            for clip in clips:
                motions += len(clip.scripts)
                seconds[clip.split] += clip.duration_s
                speakers[clip.split].add(clip.speaker)
                counts["emotions"][clip.emotion or "none"] += 1
                counts["motion"][clip.motion] += 1
                counts["phones"][clip.phones_from] += 1
            counts["repaired"].update(name for _, name in {(c.recording, name) for c in clips for name in c.repairs})
            counts["warned"].update(name for _, name in {(c.recording, name) for c in clips for name in c.warnings})
        return cls(
            recordings=recordings,
            clips=sum(counts["motion"].values()),
            minutes=round(sum(seconds.values()) / 60, 3),
            minutes_by_split={split: round(own / 60, 3) for split, own in seconds.items()},
            speakers={split: sorted(own) for split, own in speakers.items()},
            texts=texts,
            motions=motions,
            refused=sorted(left_out, key=lambda refusal: refusal.name),
            **{name: dict(sorted(counted.items())) for name, counted in counts.items()},
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


_OWN = frozenset((".lock", "sources.json", "health.json", "shards", "index", "tracks"))
"""What a preparation leaves behind that was stopped before it said what it makes, or whose description is gone."""
_TORN = re.compile(r"\.[\w-]+\.[0-9a-f]{8}\.(json|parquet|safetensors|probe)")
"""Names of files in the making, see `atomic_path`."""
_SHARD = re.compile(rf"(([0-9a-f]{{32}})-\d{{3}}){re.escape(dataset.SHARD_SUFFIX)}")


@contextmanager
def claim(folder: Place, adapter: str, source: Path) -> Iterator[Place]:
    """A folder for the corpus of one source; only files of a preparation are removed there.

    On a disk it is locked within the block; object stores know no locks. Raises InputError for a folder with other
    files, or with a corpus of another source or adapter, in the source or around it, or that another process writes.
    """
    if isinstance(folder, Path):
        given, folder = folder, folder.resolve()
        if folder.is_relative_to(source) or source.is_relative_to(folder):
            got = f"{str(given)!a}, which is the source, in it or around it"
            raise InputError("a destination of its own", got, "name another folder")
    make_folder(folder)
    held = read_description(folder)
    names = {path.name for path in listed(folder)}
    if held is None and names and not (".lock" in names and all(n in _OWN or _TORN.fullmatch(n) for n in names)):
        raise InputError("an empty folder or a prepared corpus", f"{folder} with other files", "name another folder")
    if held is not None and (held.get("adapter"), held.get("source")) != (adapter, str(source)):
        got = f"{folder} with one of {held.get('adapter')} {held.get('source')}"
        raise InputError(f"a corpus of {adapter} {source}", got, "name another folder, or remove that one")
    if not isinstance(folder, Path):
        write_file(folder / ".lock", b"")
        yield folder
        return
    try:
        lock = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout as error:
        got = f"{folder}, which is locked"
        raise InputError("a corpus nobody else is preparing", got, "wait for the other process") from error
    with lock:
        for each in (folder, *(folder / name for name in ("shards", "index", "tracks"))):
            make_folder(each)
            for path in listed(each):
                if _TORN.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        yield folder


def finished(folder: Place, keys: Collection[str]) -> set[str]:
    """Which of these keys have their partition and all shards; partitions and shards of other keys are removed."""
    sizes = {}
    for path in listed(folder / "shards"):
        if (match := _SHARD.fullmatch(path.name)) and match[2] not in keys:
            path.unlink(missing_ok=True)
        elif match:
            sizes[match[1]] = path.stat().st_size
    found = set()
    for key, path in Index(folder).paths.items():
        if key not in keys:
            path.unlink(missing_ok=True)
            continue
        with suppress(InputError):
            if load_part(path, clips=False, scripts=False).shards.items() <= sizes.items():
                found.add(key)
    return found


def _write_json(path: Place, content: object) -> None:
    """Write JSON for people to read, atomically."""
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


# The whole.

_PART_NAME = re.compile(r"@\d+\.\d\d$")


def prepare(
    adapter: str,
    source: Path,
    destination: Place | str,
    settings: PrepareSettings | None = None,
    *,
    workers: int | str | None = None,
    progress: bool | None = None,
) -> Health:
    """Prepare a raw corpus and say how it went.

    Nothing is written to the source; the destination is a `place`. `workers` are those of `worker_pool`; the result
    does not depend on them. `progress` shows bars, on a terminal only when None. Raises InputError for a source that
    does not fit the adapter, and what `claim` raises; AviError for a worker that died.
    """
    settings = settings or PrepareSettings()
    try:
        source = source.resolve(strict=True)
        str(source).encode("utf-8")
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or "links in a circle or a name that is no text"
        got = f"{str(source)!a}: {reason}"
        raise InputError("a folder with a raw corpus", got, "pass the corpus' folder") from error
    hidden = None if progress is None else not progress  # None hides a bar where there is no terminal
    scan = scan_source(adapter, source)
    with worker_pool(workers) as pool, claim(place(destination), adapter, source) as folder:
        refused = list(scan.refused)
        speakers = {recording.speaker for recording in scan.recordings}
        shares = settings.validation_share, settings.test_share
        by_speaker = split_speakers(speakers, settings.seed, *shares, settings.test_speakers)
        splits = {recording.name: recording.split or by_speaker[recording.speaker] for recording in scan.recordings}
        space, recordings = _chosen(scan.recordings, settings, refused)
        digests = source_digests(recordings, folder / "sources.json", hidden)
        first: dict[tuple[str, ...], Recording] = {}
        for recording in recordings:
            content = tuple(digests[path] for path in recording.files)
            if (earlier := first.setdefault(content, recording)) is not recording:
                refused.append(Refusal(recording.name, f"the same content as {earlier.name}"))
        recordings = list(first.values())
        encoder = result_of(pool.submit(describe_encoder, settings.encoder))
        plan = Plan(source, folder, settings, space, {})
        neutrals, unusable = _neutrals(pool, recordings, digests, plan, hidden)
        refused += unusable
        left_out = {refusal.name for refusal in unusable}
        recordings = [recording for recording in recordings if recording.name not in left_out]
        faces = {face: hashlib.sha256(values.tobytes()).hexdigest() for face, values in neutrals.items()}
        decides = settings.model_dump(exclude={"encoder", "limit", "validation_share", "test_share", "test_speakers"})
        common = content_sha256([FORMAT, decides, encoder["fingerprint"], space, code_digest()])
        jobs = make_jobs(recordings, digests, splits, faces, common)
        channels, keys = SPACES[space].channels, {job.key for job in jobs}
        description = {
            "format": FORMAT,
            "adapter": adapter,
            "source": str(source),
            "settings": settings.model_dump(),
            "fps": float(VIDEO_FPS),
            "space": space,
            "channels": list(channels),
            "idle_channels": [channels[i] for i in IDLE_CHANNELS] if space == ARKIT.name else [],
            "phones": list(PHONES),
            "features": encoder,
            "performer": PerformerSettings().model_dump(),
            "code": code_digest(),
        }
        done, plan = finished(folder, keys), replace(plan, neutrals=neutrals)
        _write_json(folder / DESCRIPTION, description)
        futures = {pool.submit(carry_out, job, plan): len(job.recordings) for job in jobs if job.key not in done}
        for future in as_done(futures, "preparing", hidden):
            result_of(future)
        health = Health.of(map(load_part, Index(folder).paths.values()), refused)
        _write_json(folder / "health.json", asdict(health))
        return health


def split_speakers(
    speakers: Iterable[str], seed: int, validation_share: float, test_share: float, test_speakers: str = ""
) -> dict[str, str]:
    """The split of each speaker, so that nobody is in two; the same for the same speakers and seed.

    `test_speakers`, with commas between them, are kept for the test instead of a share of all; InputError when one of
    them is unknown.

    Speakers are put in an order that depends on the seed and their names only. The test takes its share of them,
    rounded, and at least one speaker when there are three or more and the share is above 0; then validation likewise;
    training takes the rest. One or two speakers are all for training.
    """
    order = sorted(set(speakers), key=lambda speaker: hashlib.sha256(f"{seed}/{speaker}".encode()).hexdigest())
    split = dict.fromkeys(sorted(order), "train")
    if chosen := [name.strip() for name in test_speakers.split(",") if name.strip()]:
        if unknown := sorted(set(chosen) - set(order)):
            got = f"{', '.join(unknown)} among {len(order)} beginning {', '.join(sorted(order)[:3])}"
            raise InputError("speakers of the corpus to keep for the test", got, "name them as the corpus does")
        split |= dict.fromkeys(chosen, "test")
        order, test_share = [name for name in order if name not in chosen], 0.0
    kept = 0
    for name, share in (("test", test_share), ("validation", validation_share)):
        count = max(round(share * len(order)), 1) if share and len(order) >= 3 else 0
        split |= dict.fromkeys(order[kept : kept + count], name)
        kept += count
    return split


def _chosen(
    recordings: Sequence[Recording], settings: PrepareSettings, refused: list[Refusal]
) -> tuple[str, list[Recording]]:
    """The motion space of a corpus and the recordings to prepare: all that fit, or as many as the limit allows.

    The space is FLAME when any motion comes as FLAME coefficients: there is no performer for it, so the rest is left
    out. A name that a part of another recording could get is refused.
    """
    reason = "a name that ends like a part of a recording, @ and seconds"
    refused += [Refusal(recording.name, reason) for recording in recordings if _PART_NAME.search(recording.name)]
    kept = [recording for recording in recordings if not _PART_NAME.search(recording.name)]
    if settings.limit:
        order = {r.name: hashlib.sha256(f"{settings.seed}/{r.name}".encode()).hexdigest() for r in kept}
        drawn = set(sorted(order, key=order.__getitem__)[: settings.limit])
        kept = [recording for recording in kept if recording.name in drawn]
    flame = [recording for recording in kept if recording.motion and recording.motion.space == FLAME.name]
    if not flame:
        return ARKIT.name, kept
    reason = "no FLAME motion, which the other recordings have; prepare it as a corpus of its own"
    refused += [Refusal(recording.name, reason) for recording in kept if recording not in flame]
    return FLAME.name, flame


def _neutrals(
    pool: Executor, recordings: Sequence[Recording], digests: Digests, plan: Plan, hidden: bool | None
) -> tuple[dict[str, np.ndarray], list[Refusal]]:
    """The neutral faces that real ARKit motion is measured against; videos are tracked on the way.

    Recordings whose motion cannot be read are refused.
    """
    moving = [recording for recording in recordings if recording.motion or recording.video]
    if plan.space != ARKIT.name or not moving:
        return {}, []
    own_digests = ({path: digests[path] for path in recording.files} for recording in moving)
    futures = [pool.submit(sample, r, plan.folder / "tracks", own) for r, own in zip(moving, own_digests, strict=True)]
    deque(as_done(dict.fromkeys(futures, 1), "motion", hidden), maxlen=0)
    refused: list[Refusal] = []
    faces: dict[str, list[tuple[str | None, Sample]]] = {}
    for recording, future in zip(moving, futures, strict=True):
        with _refusing(recording, refused):
            sampled = result_of(future)
            faces.setdefault(recording.face, []).append((recording.emotion, sampled))
    neutrals = {
        face: neutral_face([(values.astype(np.float32), present) for _, (values, present) in own], [e for e, _ in own])
        for face, own in faces.items()
    }
    return neutrals, refused
