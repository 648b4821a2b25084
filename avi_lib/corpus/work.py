"""The work of one process: jobs of a plan become shards.

>>> carry_out(job, bench)
>>> [shard.name for shard in bench.shards.iterdir()]
['5f1c0e-000.safetensors']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32

from avi_lib.assets.digest import file_sha256
from avi_lib.corpus.assembly import Place, assemble
from avi_lib.corpus.drafts import Draft, make_drafts
from avi_lib.corpus.motion_source import motion_of, sample_frames
from avi_lib.corpus.plan import Job
from avi_lib.corpus.recording import Recording, Refusal
from avi_lib.corpus.shards import SHARD_SUFFIX, Contents, load_contents, save_shard
from avi_lib.errors import AviError, InputError, OutputError
from avi_lib.motion.space import SPACES
from avi_lib.settings import PrepareSettings
from avi_lib.speech.encoder import SpeechEncoder, load_encoder

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
