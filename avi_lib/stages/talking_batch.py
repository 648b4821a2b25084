"""What the talking generator is trained on: speech, the motion a style is taken from, and the true motion.

Of a performed clip the style is taken from another clip that performs the same script, so that a style cannot tell what
is said, and the clip's own performance of that script is the true answer (supervised exchange). Some scripts are drawn
anew for every batch, so that there are as many as there are steps. Real motion has its own
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
from jaxtyping import Bool, Float, Float16, Float32

from avi_lib.corpus.mixture import Item, Mixture, performer_of
from avi_lib.corpus.scripts import draw_instruction
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.performer import IDLE_GROUPS
from avi_lib.motion.space import MotionSpace
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
    """A batch with true answers: scripts, a part and one who shows the style are drawn for each item.

    Of some clips two performances are mixed, another share of them for every group of channels: with the same shares
    in what shows the style and in the answer there are many more styles than scripts.
    """
    takes = [_take(item, mixture.space, settings, rng) for item in items]
    shows = [_shown_by(mixture, take, settings, rng) for take in takes]
    return _spoken(mixture, takes, settings, rng), _shown(mixture, shows, settings, rng)


def draw_unlabelled(
    mixture: Mixture, items: Sequence[Item], settings: TalkingSettings, rng: np.random.Generator
) -> tuple[Spoken, Shown]:
    """A batch of any speech under styles of real motion: the motion is the speech's own, not the answer."""
    real = [mixture.real[int(number)] for number in rng.integers(len(mixture.real), size=len(items))]
    style = _shown(mixture, [Take(item, ((0, None),)) for item in real], settings, rng)
    return _spoken(mixture, [Take(item, ((0, None),)) for item in items], settings, rng), style


@dataclass(frozen=True, eq=False)
class Take:
    """A clip and its motions, by number, with the share of each in every channel; None for the whole of one.

    With `fresh`, an instruction and a seed, the clip performs that instead.
    """

    item: Item
    motions: tuple[tuple[int, Float[np.ndarray, " channels"] | None], ...] = ()
    fresh: tuple[Instruction, int] | None = None


def _take(item: Item, space: MotionSpace, settings: TalkingSettings, rng: np.random.Generator) -> Take:
    if not item.real and rng.random() < settings.fresh:
        return Take(item, fresh=(draw_instruction(rng), int(rng.integers(2**62))))
    scripts = len(item.clip.scripts)
    first = int(rng.integers(scripts))
    if item.real or scripts < 2 or rng.random() >= settings.mixed:
        return Take(item, ((first, None),))
    second = (first + 1 + int(rng.integers(scripts - 1))) % scripts
    share = np.zeros(len(space), np.float32)
    for group in space.groups.values():
        share[list(group)] = rng.random() if rng.random() < 0.5 else float(rng.random() < 0.5)
    return Take(item, ((first, share), (second, 1 - share)))


def _shown_by(mixture: Mixture, take: Take, settings: TalkingSettings, rng: np.random.Generator) -> Take:
    """The same scripts in the same shares, as performed by one who shows the style."""
    if take.fresh is not None:
        others = mixture.performed
        shows = rng.random() < settings.exchanged
        return Take(others[int(rng.integers(len(others)))] if shows else take.item, fresh=take.fresh)
    corpus, clip = take.item.corpus, take.item.clip
    partners = mixture.partners(take.item)
    if not partners or rng.random() >= settings.exchanged:
        return take
    partner = partners[int(rng.integers(len(partners)))]
    motions = tuple((corpus.number(partner, clip.scripts[script]), share) for script, share in take.motions)
    return Take(Item(corpus, partner), motions)


def _spoken(mixture: Mixture, takes: Sequence[Take], settings: TalkingSettings, rng: np.random.Generator) -> Spoken:
    parts = [_part(take, settings.frames, rng) for take in takes]
    features = np.zeros((len(takes), 2 * settings.frames, mixture.features), np.float32)
    for row, part in zip(features, parts, strict=True):
        row[: len(part.features)] = part.features
        row[len(part.features) : 2 * len(part.motion)] = part.features[-1]  # as generate fills up an odd number
    idle = [channel for group in IDLE_GROUPS for channel in mixture.space.groups.get(group, ())]
    told_apart = any(not item.real for item in mixture.items)
    present = np.stack([part.present for part in parts])
    for row, take in zip(present, takes, strict=True):
        if take.item.real and told_apart:  # in real motion alone idle behaviour is a part of it
            row[idle] = False
    motion, valid = _padded([part.motion for part in parts], settings.frames)
    return Spoken(torch.from_numpy(features), motion, torch.from_numpy(present), valid)


def _shown(mixture: Mixture, takes: Sequence[Take], settings: TalkingSettings, rng: np.random.Generator) -> Shown:
    """Motion that shows styles, with idle behaviour in half of it, and at times with a group of channels hidden."""
    parts = [_part(take, settings.style_frames, rng) for take in takes]
    present = np.stack([part.present for part in parts])
    for row in present:
        shown = [list(group) for group in mixture.space.groups.values() if row[list(group)].any()]
        if len(shown) > 1 and rng.random() < settings.partial:
            row[shown[int(rng.integers(len(shown)))]] = False
    curves = [part.motion + part.idle if rng.random() < 0.5 else part.motion for part in parts]
    motion, valid = _padded(curves, settings.style_frames)
    return Shown(motion, torch.from_numpy(present), valid)


@dataclass(frozen=True, eq=False)
class _Part:
    """Frames of a take, from the same start in all its tensors."""

    features: Float16[np.ndarray, "steps features"]
    motion: Float32[np.ndarray, "frames channels"]
    idle: Float32[np.ndarray, "frames channels"]
    present: Bool[np.ndarray, " channels"]


def _part(take: Take, frames: int, rng: np.random.Generator) -> _Part:
    """A part of a take, `frames` long or as long as the clip."""
    corpus, clip = take.item.corpus, take.item.clip
    start = int(rng.integers(max(clip.frames - frames, 0) + 1))
    if take.fresh is not None:
        heard = corpus.batch([clip], [0], frames, [start])
        full, still = performer_of(take.item).perform_with_still(*take.fresh)
        length = int(heard.frames[0])
        rows = slice(start, start + length)
        idle = full.values[rows] - still.values[rows]
        return _Part(heard.features[0], still.values[rows], idle, heard.present[0])
    parts = [corpus.batch([clip], [script], frames, [start]) for script, _ in take.motions]
    shares = [np.ones(1, np.float32) if share is None else share for _, share in take.motions]
    motion, idle = (
        np.sum([values.astype(np.float32) * share for values, share in zip(curves, shares, strict=True)], axis=0)
        for curves in ([part.motion[0] for part in parts], [part.idle[0] for part in parts])
    )
    return _Part(parts[0].features[0], motion, idle, parts[0].present[0])


def _padded(curves: Sequence[np.ndarray], frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    motion = np.zeros((len(curves), frames, curves[0].shape[1]), np.float32)
    for row, curve in zip(motion, curves, strict=True):
        row[: len(curve)] = curve
    counts = torch.tensor([len(curve) for curve in curves])
    return torch.from_numpy(motion), valid_frames(counts, frames)
