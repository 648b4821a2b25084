"""What the talking generator is trained on: speech, the motion a style is taken from, and the true motion.

Of a performed clip the style is taken from another clip that performs the same script, so that a style cannot tell what
is said, and the clip's own performance of that script is the true answer (supervised exchange). Real motion has its own
style; under the style of another real clip its answer is not known, only what must stay and what must change (EMOTE,
Danecek et al. 2023, "Emotional speech-driven animation with content-emotion disentanglement").

>>> spoken, shown = draw(mixture, mixture.items[:8], settings, rng)
>>> spoken.motion.shape, shown.motion.shape
(torch.Size([8, 80, 55]), torch.Size([8, 100, 55]))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from avi_lib.corpus.corpus import Corpus
from avi_lib.corpus.entries import ClipEntry
from avi_lib.corpus.mixture import Item, Mixture
from avi_lib.motion.performer import IDLE_GROUPS
from avi_lib.motion.temporal import valid_frames
from avi_lib.settings import TalkingSettings


@dataclass(frozen=True, eq=False)
class Shown:
    """Motion that shows styles: values, which channels of each clip are true, which frames are there."""

    motion: Float[torch.Tensor, "clips frames channels"]
    present: Bool[torch.Tensor, "clips channels"]
    valid: Bool[torch.Tensor, "clips frames"]


@dataclass(frozen=True, eq=False)
class Spoken:
    """Speech features at 50 a second and the motion that goes with them at 25, with its masks."""

    features: Float[torch.Tensor, "clips steps features"]
    motion: Float[torch.Tensor, "clips frames channels"]
    present: Bool[torch.Tensor, "clips channels"]
    valid: Bool[torch.Tensor, "clips frames"]


def draw(
    mixture: Mixture, items: Sequence[Item], settings: TalkingSettings, rng: np.random.Generator
) -> tuple[Spoken, Shown]:
    """A batch with true answers: a script, a part and one who shows the style are drawn for each item."""
    scripts = [int(rng.integers(len(item.clip.scripts))) for item in items]
    shows = [_who_shows(item, script, settings, rng) for item, script in zip(items, scripts, strict=True)]
    return _spoken(mixture, items, scripts, settings, rng), _shown(mixture, shows, settings, rng)


def draw_unlabelled(
    mixture: Mixture, items: Sequence[Item], settings: TalkingSettings, rng: np.random.Generator
) -> tuple[Spoken, Shown]:
    """A batch of any speech under styles of real motion: the motion is the speech's own, not the answer."""
    real = [mixture.real[int(number)] for number in rng.integers(len(mixture.real), size=len(items))]
    style = _shown(mixture, [(item.corpus, item.clip, 0) for item in real], settings, rng)
    return _spoken(mixture, items, [0] * len(items), settings, rng), style


_Show = tuple[Corpus, ClipEntry, int]


def _who_shows(item: Item, script: int, settings: TalkingSettings, rng: np.random.Generator) -> _Show:
    """A clip and the number of its motion in which the script's style is seen."""
    partners = [] if item.real else item.corpus.partners(item.clip)
    if not partners or rng.random() >= settings.exchanged:
        return item.corpus, item.clip, script
    name = item.clip.scripts[script]
    partner = partners[int(rng.integers(len(partners)))]
    return item.corpus, partner, item.corpus.number(partner, name)


def _spoken(
    mixture: Mixture, items: Sequence[Item], scripts: Sequence[int], settings: TalkingSettings, rng: np.random.Generator
) -> Spoken:
    frames, count, channels = settings.frames, len(items), len(mixture.space)
    features = np.zeros((count, 2 * frames, mixture.features), np.float32)
    motion = np.zeros((count, frames, channels), np.float32)
    present = np.zeros((count, channels), bool)
    lengths = np.zeros(count, np.int64)
    idle = [
        channel for group in IDLE_GROUPS if group in mixture.space.groups for channel in mixture.space.groups[group]
    ]
    for row, (item, script) in enumerate(zip(items, scripts, strict=True)):
        start = int(rng.integers(max(item.clip.frames - frames, 0) + 1))
        part = item.corpus.batch([item.clip], [script], frames, [start])
        lengths[row] = part.frames[0]
        motion[row, : lengths[row]] = part.motion[0]
        features[row, : 2 * lengths[row]] = part.features[0]
        present[row] = part.present[0]
        if item.real:  # their idle behaviour cannot be told apart from the rest
            present[row, idle] = False
    valid = valid_frames(torch.from_numpy(lengths), frames)
    return Spoken(torch.from_numpy(features), torch.from_numpy(motion), torch.from_numpy(present), valid)


def _shown(mixture: Mixture, shows: Sequence[_Show], settings: TalkingSettings, rng: np.random.Generator) -> Shown:
    """Motion that shows styles, with idle behaviour in half of it, and at times with a group of channels hidden."""
    frames, channels = settings.style_frames, len(mixture.space)
    motion = np.zeros((len(shows), frames, channels), np.float32)
    present = np.zeros((len(shows), channels), bool)
    lengths = np.zeros(len(shows), np.int64)
    groups = list(mixture.space.groups.values())
    for row, (corpus, clip, script) in enumerate(shows):
        start = int(rng.integers(max(clip.frames - frames, 0) + 1))
        part = corpus.batch([clip], [script], frames, [start])
        lengths[row] = part.frames[0]
        values = part.motion[0].astype(np.float32)
        motion[row, : lengths[row]] = values + part.idle[0] if rng.random() < 0.5 else values
        present[row] = part.present[0]
        if rng.random() < settings.partial:
            present[row, list(groups[int(rng.integers(len(groups)))])] = False
    valid = valid_frames(torch.from_numpy(lengths), frames)
    return Shown(torch.from_numpy(motion), torch.from_numpy(present), valid)
