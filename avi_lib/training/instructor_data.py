"""The feature bank: acoustic features of every labelled clip of prepared corpora, as recorded and augmented.

>>> bank = make_feature_bank(corpora, "whisper-tiny-en", views=6, seed=0, folder=Path("data/cache/features"))
>>> bank.clips[0].emotion, bank.clips[0].level, bank.views[0][0].states.shape
('angry', 3, (1, 69, 384))

The first view of a clip is the recording itself, the others are `augmented`. Features are kept by content: a file's
digest, the encoder's fingerprint and the seed are their address.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from avi_lib.corpus.dataset import Corpus
from avi_lib.errors import InputError
from avi_lib.files import cached, content_sha256, file_sha256
from avi_lib.speech.augment import augmented
from avi_lib.speech.encoders import RATE_HZ, SpeechEncoder, load_encoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import RECIPE, AcousticFeatures, Voice
from avi_lib.workers import worker_pool

SHARD = 64
"""Clips that are kept in one file: what an interruption costs at most."""
ALONE = 24
"""Up to so many views are encoded in this process, more by all processors."""

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
    """A clip to encode: the file, the part of it, how many views, and what seeds them."""

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
    """Features of every clip with sound and an emotion.

    Args:
        corpora: prepared ones.
        encoder: name or path of the frozen speech encoder.
        views: of each clip, at least one.
        seed: of the augmentation.
        folder: where features are kept.
        progress: as in `train`.
        most: clips at most, spread evenly over all; all when None.

    Raises:
        InputError: no clip with sound and an emotion, or a sound that is gone or damaged.
    """
    found = [pair for corpus in corpora for pair in _clips(corpus, views, seed)]
    if not found:
        got = f"none in {', '.join(str(corpus.folder) for corpus in corpora)}"
        raise InputError("clips with sound and an emotion", got, "add a corpus whose emotions are labelled")
    if most is not None and len(found) > most:
        found = [found[number] for number in np.linspace(0, len(found) - 1, most).round().astype(int).tolist()]
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
            states, contours, functionals = zip(*(view for own in made for view in own), strict=True)
            steps = np.array([len(contour) for contour in contours])
            whole = {"states": np.concatenate(states, axis=1), "contour": np.concatenate(contours), "steps": steps}
            return {**whole, "functionals": np.stack(functionals)}

        for first in range(0, len(found), SHARD):
            tasks = [task for _, task in found[first : first + SHARD]]
            keys.append([RECIPE, loaded.fingerprint, _content(tasks)])
            kept = cached(folder, keys[-1], partial(encode, tasks))
            ends = np.cumsum(kept["steps"])[:-1]
            states, contours = np.split(kept["states"], ends, axis=1), np.split(kept["contour"], ends)
            own = [AcousticFeatures(*each) for each in zip(states, contours, kept["functionals"], strict=True)]
            every += [tuple(own[i : i + views]) for i in range(0, len(own), views)]
            shown.update(len(tasks))
    clips = tuple(clip for clip, _ in found)
    return FeatureBank(clips, tuple(every), content_sha256([keys, clips]))


def _clips(corpus: Corpus, views: int, seed: int) -> Iterator[tuple[BankClip, _Task]]:
    """Labelled clips with sound, each with what there is to encode."""
    labelled = [clip for clip in corpus.clips if clip.emotion and clip.speech]
    levels = {emotion: {c.level for c in labelled if c.emotion == emotion} for emotion in {c.emotion for c in labelled}}
    for clip in labelled:
        script = corpus.scripts[clip.scripts[0]] if clip.scripts else None
        measured = script is not None and script.kind == "measured"
        units = tuple(sorted(script.action_units.items())) if script is not None and measured else ()
        level = clip.level if len(levels[clip.emotion]) > 1 else None
        label = BankClip(clip.clip, corpus.folder.name, clip.speaker, clip.split, str(clip.emotion), level, units)
        words = hashlib.sha256(f"{corpus.folder.name}/{clip.clip}".encode()).digest()
        seeds = (seed, int.from_bytes(words[:8], "little"))
        yield label, _Task(str(corpus.sound(clip)), clip.start_s, clip.duration_s, views, seeds)


def _content(tasks: Sequence[_Task]) -> list[tuple[object, ...]]:
    try:
        return [(_file_digest(task.sound), *task[1:]) for task in tasks]
    except OSError as error:
        do = "put the corpus back, or prepare it again where it is now"
        raise InputError("the sound of every clip", f"{error.filename}: {error.strerror}", do) from error


@cache
def _file_digest(path: str) -> str:
    return file_sha256(Path(path))


def _encode(task: _Task, encoder: SpeechEncoder) -> Views:
    start = round(task.start_s * RATE_HZ)
    wave = load_voice(task.sound).wave[start : start + round(task.duration_s * RATE_HZ)]
    others = (augmented(wave, np.random.default_rng([*task.seed, view])) for view in range(1, task.views))
    return tuple(Voice(view).acoustic_features(encoder) for view in (wave, *others))


@cache
def _encoder(name: str) -> SpeechEncoder:
    import torch

    torch.set_num_threads(1)
    return load_encoder(name)


def _encode_apart(task: _Task, encoder: str) -> Views:
    return _encode(task, _encoder(encoder))
