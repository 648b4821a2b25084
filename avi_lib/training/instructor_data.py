"""The hearing bank: every clip of prepared corpora as the instructor hears it, as it is and elsewhere, with its labels.

>>> bank = make_feature_bank(corpora, "whisper-tiny-en", views=6, seed=0, folder=Path("data/cache/hearing"))
>>> bank.clips[0].emotion, bank.clips[0].level, bank.views[0][0].states.shape
('angry', 3, (1, 69, 384))

The first view of a clip is the recording itself, the others are `augment.augmented`. What was heard is kept by content:
a file's digest, the encoder's fingerprint and the seed are its address.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.shards import ClipEntry
from avi_lib.errors import InputError
from avi_lib.files import atomic_path, file_sha256, make_folder
from avi_lib.speech.encoders import SpeechEncoder, load_encoder
from avi_lib.speech.loading import RATE_HZ, load_speech
from avi_lib.speech.voice import RECIPE, AcousticFeatures, acoustic_features, augmented

SHARD = 64
"""Clips that are kept in one file: what an interruption costs at most."""
ALONE = 24
"""Up to so many clips are heard in this process, more by all processors."""


@dataclass(frozen=True)
class BankClip:
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
    views: tuple[tuple[AcousticFeatures, ...], ...]
    digest: str

    def __len__(self) -> int:
        return len(self.clips)

    def select(self, keep: Sequence[bool]) -> FeatureBank:
        """Those clips that are to be kept."""
        chosen = [number for number, kept in enumerate(keep) if kept]
        content = json.dumps([self.digest, chosen])
        return FeatureBank(
            tuple(self.clips[number] for number in chosen),
            tuple(self.views[number] for number in chosen),
            hashlib.sha256(content.encode()).hexdigest(),
        )


class _Task(NamedTuple):
    """A clip to hear: the file, the part of it, how many views, and what seeds them."""

    sound: str
    start_s: float
    duration_s: float
    views: int
    seed: tuple[int, ...]


def make_feature_bank(
    corpora: Sequence[Corpus],
    encoder: str,
    views: int,
    seed: int,
    folder: Path,
    progress: bool | None = None,
    most: int | None = None,
) -> FeatureBank:
    """Hear every clip with sound and an emotion.

    Args:
        corpora: prepared ones.
        encoder: name or path of the frozen speech encoder.
        views: of each clip, at least one.
        seed: of the other rooms.
        folder: where hearings are kept.
        progress: as in `train`.
        most: clips at most, spread evenly over all; all when None.

    Raises:
        InputError: no clip with sound and an emotion, or a sound that is gone or damaged.
    """
    clips = [(corpus, clip) for corpus in corpora for clip in corpus.clips if clip.emotion and clip.speech]
    if not clips:
        got = f"none in {', '.join(str(corpus.folder) for corpus in corpora)}"
        raise InputError("clips with sound and an emotion", got, "add a corpus whose emotions are labelled")
    labels = tuple(_labels(corpora))
    if most is not None and len(clips) > most:
        chosen = np.linspace(0, len(clips) - 1, most).round().astype(int).tolist()
        clips, labels = [clips[number] for number in chosen], tuple(labels[number] for number in chosen)
    loaded = load_encoder(encoder)
    hidden = None if progress is None else not progress
    found: list[tuple[AcousticFeatures, ...]] = []
    digests = []
    with (
        tqdm(desc="listening", total=len(clips), leave=False, disable=hidden) as shown,
        _Listeners(encoder) as listeners,
    ):
        for first in range(0, len(clips), SHARD):
            part = clips[first : first + SHARD]
            tasks = [_task(corpus, clip, views, seed) for corpus, clip in part]
            digest = _digest(tasks, loaded)
            heard = _kept(folder / f"{digest}.safetensors", tasks, listeners, loaded)
            found += heard
            digests.append(digest)
            shown.update(len(part))
    content = json.dumps([digests, [str(label) for label in labels]])
    return FeatureBank(labels, tuple(found), hashlib.sha256(content.encode()).hexdigest())


def _labels(corpora: Sequence[Corpus]) -> Iterator[BankClip]:
    for corpus in corpora:
        labelled = [clip for clip in corpus.clips if clip.emotion and clip.speech]
        told = {emotion for emotion in {clip.emotion for clip in labelled} if len(_levels(labelled, emotion)) > 1}
        for clip in labelled:
            script = corpus.scripts[clip.scripts[0]] if clip.scripts else None
            own = script is not None and script.kind == "measured"
            units = tuple(sorted(script.action_units.items())) if script is not None and own else ()
            yield BankClip(
                clip.clip,
                corpus.folder.name,
                clip.speaker,
                clip.split,
                str(clip.emotion),
                clip.level if clip.emotion in told else None,
                units,
            )


def _levels(clips: Sequence[ClipEntry], emotion: str | None) -> set[int | None]:
    return {clip.level for clip in clips if clip.emotion == emotion}


def _task(corpus: Corpus, clip: ClipEntry, views: int, seed: int) -> _Task:
    words = hashlib.sha256(f"{corpus.folder.name}/{clip.clip}".encode()).digest()
    return _Task(
        str(corpus.sound(clip)), clip.start_s, clip.duration_s, views, (seed, int.from_bytes(words[:8], "little"))
    )


def _digest(tasks: Sequence[_Task], encoder: SpeechEncoder) -> str:
    try:
        content = [(_file_digest(task.sound), *task[1:]) for task in tasks]
    except OSError as error:
        do = "put the corpus back, or prepare it again where it is now"
        raise InputError("the sound of every clip", f"{error.filename}: {error.strerror}", do) from error
    known = json.dumps([RECIPE, encoder.fingerprint, content], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:32]


@cache
def _file_digest(path: str) -> str:
    return file_sha256(Path(path))


class _Listeners:
    """Processes that listen, one a processor, started when they are first needed."""

    def __init__(self, encoder: str) -> None:
        self._encoder = encoder
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Listeners:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def listen(self, tasks: Sequence[_Task]) -> list[tuple[AcousticFeatures, ...]]:
        """What the tasks' clips sound like."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        return list(self._pool.map(_listen_apart, tasks, [self._encoder] * len(tasks), chunksize=4))


def _kept(
    path: Path, tasks: Sequence[_Task], listeners: _Listeners, loaded: SpeechEncoder
) -> list[tuple[AcousticFeatures, ...]]:
    """What a shard holds, heard first where there is none or it is damaged."""
    if (heard := _read(path, tasks)) is not None:
        return heard
    alone = len(tasks) * tasks[0].views <= ALONE
    heard = [_listen(task, loaded) for task in tasks] if alone else listeners.listen(tasks)
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(_packed(heard)))
    return heard


@cache
def _encoder(name: str) -> SpeechEncoder:
    import torch

    torch.set_num_threads(1)
    return load_encoder(name)


def _listen_apart(task: _Task, encoder: str) -> tuple[AcousticFeatures, ...]:
    return _listen(task, _encoder(encoder))


def _listen(task: _Task, encoder: SpeechEncoder) -> tuple[AcousticFeatures, ...]:
    wave = load_speech(task.sound).wave
    start = round(task.start_s * RATE_HZ)
    wave = wave[start : start + round(task.duration_s * RATE_HZ)]
    others = (augmented(wave, np.random.default_rng([*task.seed, view])) for view in range(1, task.views))
    return tuple(acoustic_features(view, encoder) for view in (wave, *others))


def _packed(heard: Sequence[tuple[AcousticFeatures, ...]]) -> dict[str, np.ndarray]:
    every = [hearing for views in heard for hearing in views]
    return {
        "states": np.concatenate([hearing.states for hearing in every], axis=1),
        "contour": np.concatenate([hearing.contour for hearing in every]),
        "functionals": np.stack([hearing.functionals for hearing in every]),
        "steps": np.array([len(hearing.contour) for hearing in every]),
    }


def _read(path: Path, tasks: Sequence[_Task]) -> list[tuple[AcousticFeatures, ...]] | None:
    if not path.is_file():
        return None
    views = tasks[0].views
    try:
        stored = load_file(path)
        ends = np.cumsum(stored["steps"]).tolist()
        if len(ends) != len(tasks) * views or stored["states"].shape[1] != ends[-1]:
            return None
        every = [
            AcousticFeatures(stored["states"][:, end - steps : end], stored["contour"][end - steps : end], numbers)
            for end, steps, numbers in zip(ends, stored["steps"].tolist(), stored["functionals"], strict=True)
        ]
    except (OSError, SafetensorError, KeyError, IndexError):
        return None
    return [tuple(every[first : first + views]) for first in range(0, len(every), views)]
