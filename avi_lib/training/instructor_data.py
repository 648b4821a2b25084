"""The feature bank: acoustic features of every labelled recording of raw corpora, as recorded and augmented.

>>> bank = make_feature_bank(corpora, "whisper-tiny-en", views=3, seed=0, folder=Path("data/cache/features"))
>>> bank.clips[0].emotion, bank.clips[0].level, bank.views[0][0].shape
('angry', 3, (3, 69, 384))

The first view of a clip is the recording itself, the others are `augmented`. Features are kept by content: a file's
digest, the encoder's fingerprint and the seed are their address.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from tqdm import tqdm

from avi_lib.corpus.adapters import RawCorpus, scan_source
from avi_lib.corpus.prepare import split_speakers
from avi_lib.errors import InputError
from avi_lib.files import cached, content_sha256, file_sha256
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instructor_network import UNITS
from avi_lib.speech.augment import augmented, draw_sound
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder, load_encoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import RECIPE, AcousticFeatures, Voice
from avi_lib.workers import worker_pool

SHARD = 64
"""Clips that are kept in one file: what an interruption costs at most."""
ALONE = 24
"""Up to so many views are encoded in this process, more by all processors."""
LONGEST_S = 12.0
"""What is read of a recording."""
SILENT = 8
"""Of sounds without speech every so many is silence."""
HELD_SHARES = (0.1, 0.1)
"""Shares of a corpus' speakers that are held out for validation and for the test."""

Views = tuple[AcousticFeatures, ...]


class BankClip(NamedTuple):
    """Labels of a clip; `level` is None where its corpus does not tell one from another."""

    name: str
    corpus: str
    speaker: str
    split: str
    emotion: str
    level: int | None
    units: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """Clips and their views, the recording itself first."""

    clips: tuple[BankClip, ...]
    views: tuple[Views, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, keep: Sequence[bool]) -> FeatureBank:
        """Those clips that are to be kept."""
        chosen = [number for number, kept in enumerate(keep) if kept]
        digest = content_sha256([self.digest, chosen])
        return FeatureBank(tuple(self.clips[i] for i in chosen), tuple(self.views[i] for i in chosen), digest)


class _Task(NamedTuple):
    """A recording to encode: the file, how many views, and what seeds them."""

    sound: str
    views: int
    seed: tuple[int, ...]


def make_feature_bank(
    corpora: Sequence[RawCorpus],
    encoder: str,
    views: int,
    seed: int,
    folder: Path,
    progress: bool | None = None,
    most: Mapping[str, int] | None = None,
) -> FeatureBank:
    """Features of every recording with sound and an emotion, of its first 12 s.

    Args:
        corpora: raw ones.
        encoder: name or path of the frozen speech encoder.
        views: of each clip, at least one.
        seed: of the augmentation.
        folder: where features are kept.
        progress: as in `train`.
        most: clips at most of corpora by name, spread evenly over each; all of the others.

    Raises:
        InputError: no clip with sound and an emotion, or a sound that is gone or damaged.
    """
    found = [pair for corpus in corpora for pair in _clips(corpus, views, seed, (most or {}).get(corpus.name))]
    if not found:
        got = f"none in {', '.join(corpus.name for corpus in corpora)}"
        raise InputError("clips with sound and an emotion", got, "add a corpus whose emotions are labelled")
    loaded, keys, every = load_encoder(encoder), [], []
    hidden = None if progress is None else not progress
    with (
        tqdm(desc="encoding speech", total=len(found), leave=False, disable=hidden) as shown,
        worker_pool(os.cpu_count() or 1) as pool,
    ):

        def encode(tasks: Sequence[_Task]) -> dict[str, np.ndarray]:
            if len(tasks) * views <= ALONE:
                made = [_encode(task, loaded) for task in tasks]
            else:
                made = list(pool.map(_encode_apart, tasks, [encoder] * len(tasks), chunksize=4))
            states = [view for own in made for view in own]
            steps = np.array([view.shape[1] for view in states])
            return {"states": np.concatenate(states, axis=1), "steps": steps}

        for part in _shards(found):
            tasks = [task for _, task in part]
            keys.append([RECIPE, loaded.fingerprint, _content(tasks)])
            kept = cached(folder, keys[-1], partial(encode, tasks))
            own = np.split(kept["states"], np.cumsum(kept["steps"])[:-1], axis=1)
            every += [tuple(own[i : i + views]) for i in range(0, len(own), views)]
            shown.update(len(tasks))
    clips = tuple(clip for clip, _ in found)
    return FeatureBank(clips, tuple(every), content_sha256([keys, clips]))


def _shards(found: Sequence[tuple[BankClip, _Task]]) -> Iterator[list[tuple[BankClip, _Task]]]:
    """So many clips of one corpus at a time, so that a corpus more or less leaves what is kept of the others."""
    for _, own in groupby(found, key=lambda pair: pair[0].corpus):
        clips = list(own)
        yield from (clips[first : first + SHARD] for first in range(0, len(clips), SHARD))


def _clips(corpus: RawCorpus, views: int, seed: int, most: int | None) -> Iterator[tuple[BankClip, _Task]]:
    """Labelled recordings with sound, each with what there is to encode; of many of one emotion every other one."""
    found = [each for each in scan_source(corpus.adapter, corpus.folder).recordings if each.emotion and each.speech]
    found = found[:: 1 if len({each.emotion for each in found}) > 1 else 2]
    if most is not None and len(found) > most:
        found = [found[number] for number in np.linspace(0, len(found) - 1, most).round().astype(int).tolist()]
    splits = split_speakers((each.speaker for each in found), seed, *HELD_SHARES)
    levels = {emotion: {each.level for each in found if each.emotion == emotion} for emotion in EMOTIONS}
    for each in found:
        level = each.level if len(levels[str(each.emotion)]) > 1 else None
        words = hashlib.sha256(f"{corpus.name}/{each.name}".encode()).digest()
        label = BankClip(each.name, corpus.name, each.speaker, splits[each.speaker], str(each.emotion), level)
        yield label, _Task(str(each.speech), views, (seed, int.from_bytes(words[:8], "little")))


def _content(tasks: Sequence[_Task]) -> list[tuple[object, ...]]:
    try:
        return [(_file_digest(task.sound), *task[1:]) for task in tasks]
    except OSError as error:
        do = "put the corpus back"
        raise InputError("the sound of every clip", f"{error.filename}: {error.strerror}", do) from error


@cache
def _file_digest(path: str) -> str:
    return file_sha256(Path(path))


def _encode(task: _Task, encoder: SpeechEncoder) -> Views:
    wave = load_voice(task.sound).wave[: round(LONGEST_S * RATE_HZ)]
    others = (augmented(wave, np.random.default_rng([*task.seed, view])) for view in range(1, task.views))
    return tuple(Voice(view).acoustic_features(encoder) for view in (wave, *others))


@cache
def _encoder(name: str) -> SpeechEncoder:
    import torch

    torch.set_num_threads(1)
    return load_encoder(name)


def _encode_apart(task: _Task, encoder: str) -> Views:
    return _encode(task, _encoder(encoder))


def read_faces(path: Path | None, clips: Sequence[BankClip]) -> Float64[np.ndarray, "clips units"]:
    """Strengths of `UNITS` that faces showed in clips, OpenFace's intensity of 0 to 5 above the speaker's neutral face.

    path: a table of means of clips named as RAVDESS names them (`clip`, `speaker`, `emotion`, `AU01_mean` ...); where a
    clip is not in it, or there is none, the rows are not numbers. Raises InputError for a table of other columns.
    """
    found = np.full((len(clips), len(UNITS)), np.nan)
    if path is None:
        return found
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        values = np.array([[float(row[f"{code}_mean"]) for code in UNITS] for row in rows])
        speakers = np.array([row["speaker"] for row in rows])
        calm = np.array([row["emotion"] == "neutral" for row in rows])
        names = {_take(row["clip"]): number for number, row in enumerate(rows)}
    except (OSError, KeyError, ValueError) as error:
        expected = "a table of means of action units with the columns clip, speaker, emotion, AU01_mean ..."
        raise InputError(expected, f"{path}: {error}", "check the path, or leave it out") from error
    for speaker in np.unique(speakers):
        here = speakers == speaker
        values[here] -= values[here & calm].mean(axis=0) if (here & calm).any() else np.nan
    for number, clip in enumerate(clips):
        if (row := names.get(_take(clip.name))) is not None and clip.name.count("-") == 6:
            found[number] = values[row]
    return found


def _take(name: str) -> str:
    """The name of a clip of RAVDESS without the first two numbers, which say whether it is sound, video or both."""
    return "-".join(name.rsplit("/", 1)[-1].split("-")[2:])


def sound_features(encoder: SpeechEncoder, count: int, seed: int = 0) -> list[AcousticFeatures]:
    """Features of sounds that are no speech, of 1 to 4 seconds, every `SILENT`th of them silence."""
    rng = np.random.default_rng([seed, count])
    drawn = [draw_sound(float(rng.uniform(1, 4)), rng) for _ in range(count)]
    waves = [wave * np.float32(number % SILENT > 0) for number, wave in enumerate(drawn)]
    return [Voice(wave).acoustic_features(encoder) for wave in waves]
