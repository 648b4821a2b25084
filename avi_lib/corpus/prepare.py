r"""Preparation: a raw corpus in, a prepared one out; the same again does nothing, an interrupted one goes on.

>>> health = prepare("ravdess", Path("data/raw/ravdess"), Path("data/prepared/ravdess"))
>>> print("\n".join(health.lines()))

The destination holds `corpus.json` (what it was made of), `clips.parquet` and `scripts.parquet` (the index), `shards/`
(the tensors), `tracks/` (faces tracked in videos) and `health.json`. Shards are addressed by their content and every
file is replaced as a whole, so whatever stops the work leaves a corpus that can be read and gone on with.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float16, Float32
from tqdm import tqdm

import avi_lib
from avi_lib.corpus.adapters import scan_source
from avi_lib.corpus.clips import IDLE_CHANNELS, PHONES, Draft, Place, assemble, make_drafts, motion_of, sample_frames
from avi_lib.corpus.layouts import Recording, Refusal
from avi_lib.corpus.measure import neutral_face
from avi_lib.corpus.shards import SHARD_SUFFIX, Contents, Destination, Health, load_contents, save_shard, split_speakers
from avi_lib.errors import AviError, InputError, OutputError
from avi_lib.files import atomic_path, file_sha256
from avi_lib.motion.clip import ARKIT, FLAME, SPACES
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.voice import VIDEO_FPS

# The plan of a preparation: which recordings go into which shard, under which address.


RECORDINGS_PER_JOB = 16
"""About how many recordings are prepared together."""


@dataclass(frozen=True)
class Job:
    """Recordings of one split that are prepared together; `key` is the address of the result.

    `digests` holds the SHA-256 of every file, in the order of each recording's `files`.
    """

    key: str
    split: str
    recordings: tuple[Recording, ...]
    digests: tuple[tuple[str, ...], ...]


def make_plan(
    recordings: Sequence[Recording],
    digests: Mapping[str, tuple[str, ...]],
    splits: Mapping[str, str],
    neutrals: Mapping[str, str],
    common: str,
) -> list[Job]:
    """Jobs in order of split and bucket.

    A recording's bucket follows from its name and the rough size of its split, so one more recording changes one job
    and leaves the addresses of the others as they are.

    Args:
        recordings: what is to be prepared.
        digests: SHA-256 of each recording's files, by its name.
        splits: split of each speaker.
        neutrals: digest of the neutral face that real motion is measured against, by `Recording.face`.
        common: digest of all else that decides the result: settings, code, encoder.
    """
    by_split: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_split.setdefault(splits[recording.speaker], []).append(recording)
    jobs = []
    for split, members in sorted(by_split.items()):
        buckets: dict[int, list[Recording]] = {}
        for recording in members:
            buckets.setdefault(_name_number(recording.name) % _bucket_count(len(members)), []).append(recording)
        for _, bucket in sorted(buckets.items()):
            bucket.sort(key=lambda recording: _name_number(recording.name))
            files = tuple(digests[recording.name] for recording in bucket)
            faces = {recording.face: neutrals.get(recording.face) for recording in bucket}
            content = [common, split, [_labels(r) for r in bucket], files, sorted(faces.items())]
            key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
            jobs.append(Job(key, split, tuple(bucket), files))
    return jobs


def _bucket_count(recordings: int) -> int:
    """A power of two that gives each bucket `RECORDINGS_PER_JOB` to twice as many on average."""
    return 1 << max((recordings // RECORDINGS_PER_JOB).bit_length() - 1, 0)


def _name_number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _labels(recording: Recording) -> list[object]:
    names = ("name", "speaker", "gender", "emotion", "level", "text", "language", "phones", "caption")
    roles = [recording.files.index(path) if path else None for path in (recording.speech, recording.video)]
    motion = recording.motion
    read = getattr(motion.read, "func", motion.read).__qualname__ if motion else None
    return [*(getattr(recording, name) for name in names), *roles, motion.space if motion else None, read]


# The work of one process: jobs of a plan become shards.


SHARD_S = 600.0
"""Seconds of clips after which a job begins another shard: what a worker holds in memory."""


@dataclass(frozen=True)
class Bench:
    """What every job of a corpus needs: folders, settings, the motion space, neutral faces by `Recording.face`."""

    source: Path
    shards: Path
    tracks: Path
    settings: PrepareSettings
    space: str
    neutrals: Mapping[str, Float32[np.ndarray, " channels"]]


def finished(job: Job, shards: Path) -> list[Contents] | None:
    """The contents of a job's shards when all of them are there and whole, else None: they are made again then."""
    found: list[Contents] = []
    while not found or not found[-1].last:
        try:
            found.append(load_contents(_shard(shards, job, len(found))))
        except InputError:
            return None
    return found


def carry_out(job: Job, bench: Bench) -> None:
    """Prepare the recordings of a job and write its shards; a recording that cannot be used is refused, not fatal."""
    shards = 0
    drafts: list[Draft] = []
    refused: list[Refusal] = []
    for recording, digests in zip(job.recordings, job.digests, strict=True):
        try:
            motion = motion_of(recording, bench.tracks, dict(zip(recording.files, digests, strict=True)))
            drafts += make_drafts(recording, _encoder(bench.settings.encoder), bench.settings, job.split, motion)
        except OutputError:
            raise
        except InputError as error:
            refused.append(Refusal(recording.name, str(error)))
        _check_unchanged(recording, digests)
        if sum(draft.duration_s for draft in drafts) > SHARD_S and recording is not job.recordings[-1]:
            _write(job, bench, drafts, refused, shards, last=False)
            shards, drafts, refused = shards + 1, [], []
    _write(job, bench, drafts, refused, shards, last=True)


Sample = tuple[Float16[np.ndarray, "frames channels"], Bool[np.ndarray, " channels"]]


def sample(recording: Recording, digests: tuple[str, ...], tracks: Path) -> Sample | Refusal:
    """Frames of a recording's real motion, from which its speaker's neutral face is found."""
    try:
        return sample_frames(motion_of(recording, tracks, dict(zip(recording.files, digests, strict=True))))
    except OutputError:
        raise
    except InputError as error:
        return Refusal(recording.name, str(error))


def _check_unchanged(recording: Recording, digests: tuple[str, ...]) -> None:
    """Refuse to store under an address what was made of other files, or a refusal for files that went away."""
    try:
        unchanged = tuple(map(file_sha256, recording.files)) == digests
    except OSError:
        unchanged = False
    if not unchanged:
        got = f"{recording.name}, whose files changed or went away meanwhile"
        raise AviError("sources that stay as they are", got, "run the same again; what is finished is kept")


@dataclass(frozen=True)
class EncoderCard:
    """What there is to say of an encoder without loading it."""

    name: str
    dim: int
    fps: float
    fingerprint: str


def describe_encoder(name: str) -> EncoderCard:
    """The card of an encoder; asked for in a worker, so that the process that waits needs no memory for it."""
    encoder = _encoder(name)
    return EncoderCard(encoder.name, encoder.dim, encoder.fps, encoder.fingerprint)


@cache
def _encoder(name: str) -> SpeechEncoder:
    return load_encoder(name)


def _write(job: Job, bench: Bench, drafts: list[Draft], refused: list[Refusal], number: int, last: bool) -> None:
    path = _shard(bench.shards, job, number)
    place = Place(bench.source, SPACES[bench.space], path.name.removesuffix(SHARD_SUFFIX))
    arrays, clips, scripts = assemble(drafts, bench.settings, bench.neutrals, place)
    save_shard(path, arrays, Contents(clips, scripts, tuple(refused), last))


def _shard(shards: Path, job: Job, number: int) -> Path:
    return shards / f"{job.key}-{number:03d}{SHARD_SUFFIX}"


# Workers: processes that prepare recordings, and the bar that shows how far they are.


_T = TypeVar("_T")


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """A pool of processes, started when first needed; whatever ends the block early ends them at once."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield pool
    except BaseException:
        running = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        raise
    pool.shutdown()


def as_done(
    futures: Collection[Future[_T]], what: str, total: int, weight: Callable[[Future[_T]], int], progress: bool | None
) -> Iterator[tuple[Future[_T], _T]]:
    """Futures and their results as they come, with a bar of `total` recordings; AviError when a worker died."""
    with tqdm(desc=what, total=total, unit=" recordings", leave=False, disable=_hidden(progress)) as shown:
        for future in as_completed(futures):
            result = result_of(future)
            shown.update(weight(future))
            yield future, result


def result_of(future: Future[_T]) -> _T:
    """What a worker gave; AviError when it died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        got = "one that died, most likely for want of memory"
        do = "run it again with fewer --workers; what is finished is kept"
        raise AviError("worker processes that live", got, do) from error


def bar(items: Collection[_T], what: str, progress: bool | None) -> Iterable[_T]:
    """The items behind a bar."""
    return tqdm(items, what, unit=" recordings", leave=False, disable=_hidden(progress))


def _hidden(progress: bool | None) -> bool | None:
    """What tqdm's `disable` says: None hides a bar where there is no terminal."""
    return None if progress is None else not progress


def _start() -> None:
    """Make a process ready to work: one thread, Ctrl-C left to the parent, and no life beyond the parent's."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# Fingerprints: digests of source files, kept between runs, and of the code that prepares them.


ROOMS = ("corpus", "face", "instruction", "motion", "speech")
"""Parts of the library whose code decides what a prepared corpus contains; settings count by their values."""

PACKAGES = (
    "av",
    "ctranslate2",
    "hama",
    "librosa",
    "mediapipe",
    "numpy",
    "pocketsphinx",
    "scipy",
    "soxr",
    "transformers",
)
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
    """Files of `ROOMS` that a preparation runs: the orchestrating module, the adapters, and what they import."""
    corpus = Path(avi_lib.__file__).parent / "corpus"
    found = set(corpus.rglob("*.json"))
    waiting = [corpus / "prepare.py"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


def _imports(path: Path) -> list[Path]:
    """Files of `ROOMS` that a module imports, anywhere in it."""
    found = []
    root = Path(avi_lib.__file__).parents[1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(avi_lib.__name__):
            place = root.joinpath(*str(node.module).split("."))
            names = [place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)]
            found += [name for name in names if name.is_file() and name.relative_to(root).parts[1] in ROOMS]
    return found


class SourceDigests:
    """SHA-256 of files of a source; a file whose size and times of change are as before is not read again.

    Used as a context: what was found is kept in `memory` at its end.
    """

    def __init__(self, memory: Path, source: Path) -> None:
        self._memory, self._source = memory, source
        self._known: dict[str, list[int | str]] = _remembered(memory)
        self._seen: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """Digest of a file; InputError when it cannot be read."""
        try:
            status = path.stat()
            name = path.relative_to(self._source).as_posix() if path.is_relative_to(self._source) else str(path)
            state: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            known = self._known.get(name)
            digest = str(known[3]) if known is not None and known[:3] == state else file_sha256(path)
            if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
                self._seen[name] = [*state, digest]
            return digest
        except OSError as error:
            raise InputError(
                "a readable file", f"{path}: {error.strerror or error}", "check its permissions"
            ) from error

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with atomic_path(self._memory) as temporary:
            temporary.write_text(json.dumps(self._known | self._seen, sort_keys=True), "utf-8")


def _remembered(memory: Path) -> dict[str, list[int | str]]:
    """What an earlier run kept; without a whole file the sources are read again, nothing else."""
    try:
        kept = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: row for name, row in kept.items() if isinstance(row, list) and len(row) == 4}


FORMAT = 1
PUBLISH_EVERY_S, PUBLISHING_SHARE = 5.0, 20.0
"""While shards are made, the tables are written at most this often, and at most one part in so many of the time."""

MAX_WORKERS = 256
_PART_NAME = re.compile(r"@\d+\.\d\d$")

Neutrals = dict[str, Float32[np.ndarray, " channels"]]


def prepare(
    adapter: str,
    source: Path,
    destination: Path,
    settings: PrepareSettings | None = None,
    *,
    workers: int | None = None,
    progress: bool | None = None,
) -> Health:
    """Prepare a raw corpus and say how it went.

    Args:
        adapter: name of one of `ADAPTERS`.
        source: folder of the raw corpus; nothing is written there.
        destination: folder of the prepared corpus, made where there is none.
        settings: what is prepared.
        workers: processes that work at a time; as many as the machine has processors when None. The result does not
            depend on it.
        progress: show bars; on a terminal only when None.

    Raises:
        InputError: the source does not fit the adapter, or the destination holds something else or is being written.
        AviError: a worker died.
    """
    settings = settings or PrepareSettings()
    workers = multiprocessing.cpu_count() if workers is None else workers
    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"1 to {MAX_WORKERS} workers", f"{workers}", "leave the number out for one a processor")
    source = _place_of(source)
    scan = scan_source(adapter, source)
    with Destination(destination, adapter, source) as place:
        splits = _splits(scan.recordings, settings)
        named, misnamed = _well_named(scan.recordings)
        space, recordings, strangers = _of_one_space(_chosen(named, settings))
        with SourceDigests(place.folder / "sources.json", source) as known:
            digests = {r.name: tuple(known.of(path) for path in r.files) for r in bar(recordings, "reading", progress)}
        recordings, repeated = _without_repetition(recordings, digests)
        place.refused += [*scan.refused, *misnamed, *strangers, *repeated]
        bench = Bench(source, place.shards, place.tracks, settings, space, {})
        with worker_pool(workers) as pool:
            encoder = result_of(pool.submit(describe_encoder, settings.encoder))
            neutrals, unusable = _neutrals(pool, recordings, digests, bench, progress)
            place.refused += unusable
            left_out = {refusal.name for refusal in unusable}
            recordings = [recording for recording in recordings if recording.name not in left_out]
            bench = replace(bench, neutrals=neutrals)
            jobs = make_plan(
                recordings,
                digests,
                splits,
                {face: hashlib.sha256(values.tobytes()).hexdigest() for face, values in neutrals.items()},
                _common(settings, encoder, space),
            )
            place.describe(_description(adapter, source, settings, encoder, space))
            _carry_out(pool, jobs, bench, place, progress)
        return place.finish({job.key for job in jobs})


def _place_of(source: Path) -> Path:
    """The source as an absolute path without links; InputError when there is none, or its name cannot be written."""
    try:
        place = source.resolve(strict=True)
        str(place).encode("utf-8")
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        got = f"{str(source)!a}: {getattr(error, 'strerror', None) or 'links in a circle or a name that is no text'}"
        raise InputError("a folder with a raw corpus", got, "pass the corpus' folder") from error
    return place


def _well_named(recordings: Iterable[Recording]) -> tuple[list[Recording], list[Refusal]]:
    """Recordings whose names no part of another one can get, and the others."""
    kept, refused = [], []
    for recording in recordings:
        if _PART_NAME.search(recording.name):
            refused.append(Refusal(recording.name, "a name that ends like a part of a recording, @ and seconds"))
        else:
            kept.append(recording)
    return kept, refused


def _chosen(recordings: Sequence[Recording], settings: PrepareSettings) -> list[Recording]:
    """The recordings to prepare: all, or as many as the limit allows, drawn by the seed."""
    if not settings.limit or settings.limit >= len(recordings):
        return list(recordings)

    def draw(recording: Recording) -> str:
        return hashlib.sha256(f"{settings.seed}/{recording.name}".encode()).hexdigest()

    kept = sorted(recordings, key=draw)[: settings.limit]
    return sorted(kept, key=lambda recording: recording.name)


def _without_repetition(
    recordings: Iterable[Recording], digests: Mapping[str, tuple[str, ...]]
) -> tuple[list[Recording], list[Refusal]]:
    """Recordings whose files differ from those of every one before."""
    first: dict[tuple[str, ...], str] = {}
    kept, repeated = [], []
    for recording in recordings:
        earlier = first.setdefault(digests[recording.name], recording.name)
        if earlier == recording.name:
            kept.append(recording)
        else:
            repeated.append(Refusal(recording.name, f"the same content as {earlier}"))
    return kept, repeated


def _of_one_space(recordings: Sequence[Recording]) -> tuple[str, list[Recording], list[Refusal]]:
    """The motion space of a corpus, the recordings that fit it, and the others.

    It is FLAME when any motion comes as FLAME coefficients: there is no performer for it, so the rest is left out.
    """
    flame = [recording.motion is not None and recording.motion.space == FLAME.name for recording in recordings]
    if not any(flame):
        return ARKIT.name, list(recordings), []
    reason = "no FLAME motion, which the other recordings have; prepare it as a corpus of its own"
    kept = [recording for recording, fits in zip(recordings, flame, strict=True) if fits]
    return FLAME.name, kept, [Refusal(r.name, reason) for r, fits in zip(recordings, flame, strict=True) if not fits]


def _splits(recordings: Iterable[Recording], settings: PrepareSettings) -> dict[str, str]:
    speakers = {recording.speaker for recording in recordings}
    return split_speakers(speakers, settings.seed, settings.validation_share, settings.test_share)


def _common(settings: PrepareSettings, encoder: EncoderCard, space: str) -> str:
    """Digest of what decides every shard besides its recordings and their split."""
    content = settings.model_dump(exclude={"encoder", "limit", "validation_share", "test_share"})
    return hashlib.sha256(
        json.dumps([FORMAT, content, encoder.fingerprint, space, code_digest()], sort_keys=True).encode()
    ).hexdigest()


def _neutrals(
    pool: Executor,
    recordings: Sequence[Recording],
    digests: Mapping[str, tuple[str, ...]],
    bench: Bench,
    progress: bool | None,
) -> tuple[Neutrals, list[Refusal]]:
    """The neutral faces that real ARKit motion is measured against, by `Recording.face`; videos are tracked on the way.

    Recordings whose motion cannot be read are refused.
    """
    moving = [recording for recording in recordings if recording.motion or recording.video]
    if bench.space != ARKIT.name or not moving:
        return {}, []
    futures = {pool.submit(sample, recording, digests[recording.name], bench.tracks): recording for recording in moving}
    refused: list[Refusal] = []
    samples: dict[str, Sample] = {}
    for future, found in as_done(futures, "reading motion", len(moving), lambda _: 1, progress):
        if isinstance(found, Refusal):
            refused.append(found)
        else:
            samples[futures[future].name] = found
    faces: dict[str, list[Recording]] = {}
    for recording in moving:
        if recording.name in samples:
            faces.setdefault(recording.face, []).append(recording)
    return {
        face: neutral_face(
            [(samples[r.name][0].astype(np.float32), samples[r.name][1]) for r in own], [r.emotion for r in own]
        )
        for face, own in faces.items()
    }, refused


def _carry_out(pool: Executor, jobs: Sequence[Job], bench: Bench, place: Destination, progress: bool | None) -> None:
    """Do what is not done yet; the tables follow what is finished."""
    waiting = []
    for job in jobs:
        found = finished(job, bench.shards)
        if found is None:
            waiting.append(job)
        else:
            place.gather(found)
    published_s, took_s = time.monotonic(), 0.0
    try:
        futures = {pool.submit(carry_out, job, bench): job for job in waiting}
        recordings = sum(len(job.recordings) for job in waiting)
        done = as_done(futures, "preparing", recordings, lambda future: len(futures[future].recordings), progress)
        for future, _ in done:
            place.gather(finished(futures[future], bench.shards) or ())
            if time.monotonic() - published_s > max(PUBLISH_EVERY_S, PUBLISHING_SHARE * took_s):
                begun_s = time.monotonic()
                place.publish()
                published_s, took_s = time.monotonic(), time.monotonic() - begun_s
    finally:
        place.publish()


def _description(
    adapter: str, source: Path, settings: PrepareSettings, encoder: EncoderCard, space: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "adapter": adapter,
        "source": str(source),
        "settings": settings.model_dump(),
        "fps": float(VIDEO_FPS),
        "space": space,
        "channels": list(SPACES[space].channels),
        "idle_channels": [SPACES[space].channels[i] for i in IDLE_CHANNELS] if space == ARKIT.name else [],
        "phones": list(PHONES),
        "features": asdict(encoder),
        "performer": PerformerSettings().model_dump(),
        "code": code_digest(),
    }
