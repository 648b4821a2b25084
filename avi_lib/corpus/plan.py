"""The plan of a preparation: which recordings go into which shard, under which address.

>>> jobs = make_plan(recordings, digests, splits, common="...")
>>> jobs[0].key, jobs[0].split, len(jobs[0].recordings)
('5f1c0e...', 'train', 14)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avi_lib.corpus.recording import Recording

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
