r"""Preparation: a raw corpus in, a prepared one out; the same again does nothing, an interrupted one goes on.

>>> health = prepare("ravdess", Path("data/raw/ravdess"), Path("data/prepared/ravdess"))
>>> print("\n".join(health.lines()))

The destination holds `corpus.json` (what it was made of), `clips.parquet` and `scripts.parquet` (the index), `shards/`
(the tensors), `tracks/` (faces tracked in videos) and `health.json`. Shards are addressed by their content and every
file is replaced as a whole, so whatever stops the work leaves a corpus that can be read and gone on with.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from avi_lib.corpus.assembly import IDLE_CHANNELS, PHONES
from avi_lib.corpus.destination import Destination
from avi_lib.corpus.fingerprint import SourceDigests, code_digest
from avi_lib.corpus.health import Health
from avi_lib.corpus.measure import neutral_face
from avi_lib.corpus.plan import Job, make_plan
from avi_lib.corpus.recording import Recording, Refusal
from avi_lib.corpus.scan import scan_source
from avi_lib.corpus.splits import split_speakers
from avi_lib.corpus.work import Bench, EncoderCard, Sample, carry_out, describe_encoder, finished, sample
from avi_lib.corpus.workers import as_done, bar, result_of, worker_pool
from avi_lib.errors import InputError
from avi_lib.motion.space import ARKIT, FLAME, SPACES
from avi_lib.settings import PerformerSettings, PrepareSettings
from avi_lib.speech.cutting import FPS

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
        "fps": float(FPS),
        "space": space,
        "channels": list(SPACES[space].channels),
        "idle_channels": [SPACES[space].channels[i] for i in IDLE_CHANNELS] if space == ARKIT.name else [],
        "phones": list(PHONES),
        "features": asdict(encoder),
        "performer": PerformerSettings().model_dump(),
        "code": code_digest(),
    }
