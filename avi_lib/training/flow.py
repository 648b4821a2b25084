"""Training the flow: real motion with its speech in, a network that draws brows, lids, gaze, cheeks, nose and head out.

>>> losses = FlowLosses(takes(mixture), settings, flow)                       # sets the flow's normalisation
>>> losses(flow, np.arange(16), np.random.default_rng(0), way=0.0)["loss"].backward()
>>> flow, log = train_flow(mixture, settings, folder=run / "flow")

Dynamics are those of real speech alone. What may be asked of a face beyond what these few people show is made of their
own motion: it is mirrored, grows and shrinks by groups of channels, is set on other levels, and nods and shakes. Two
clips of a person are joined, so that the network also knows the middle of long recordings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float32

from avi_lib.corpus.dataset import Item, Mixture
from avi_lib.errors import InputError
from avi_lib.files import content_sha256
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.expression import add_head_rhythm
from avi_lib.motion.flow import COLOUR, DRAWN, FPS, FlowNetwork
from avi_lib.settings import FlowSettings
from avi_lib.training.loop import How, LogLine, Losses, train

JOINED_FRAMES = 8  # frames over which two clips fade into one another
GAINS = dict.fromkeys(("brows", "gaze", "cheeks_nose", "head"), (0.55, 1.7)) | {"lids": (0.8, 1.2)}
"""By how much the movement of a group is made smaller or larger."""
HELD = 0.3
"""A channel held above this is kept within its limits; below, a clip may go beyond rest, as trackers' people do."""
_MOST = 7.0  # squared errors are counted up to this many deviations: tracks have leaps


class RealTake(NamedTuple):
    """A clip of real motion with its speech: `level` (55,), `moves` (frames, 55) about it, channels that are true."""

    person: tuple[str, str]
    features: Float32[np.ndarray, "steps dim"]
    contour: Float32[np.ndarray, "frames 5"]
    level: Float32[np.ndarray, " 55"]
    moves: Float32[np.ndarray, "frames 55"]
    present: Bool[np.ndarray, " 55"]
    neutral: bool


def takes(items: Sequence[Item]) -> list[RealTake]:
    """Every clip of real ARKIT motion with sound whose brows are true; where there is none, the performer stands in.

    Raises InputError for clips of another space.
    """
    clips = list(dict.fromkeys((item.corpus, item.clip) for item in items if item.corpus.space is ARKIT))
    brows = list(ARKIT.groups["brows"])
    real = [
        (corpus, clip) for corpus, clip in clips if clip.motion != "performed" and corpus.present(clip)[brows].all()
    ]
    found = []
    for corpus, clip in real or clips:
        motion = corpus.performance(clip, idle=True).values
        features = corpus.features(clip).astype(np.float32)
        features = np.pad(features, ((0, max(2 * len(motion) - len(features), 0)), (0, 0)), mode="edge")
        level = np.median(motion, axis=0)
        found.append(
            RealTake(
                (corpus.folder.name, clip.speaker),
                features[: 2 * len(motion)],
                corpus.prosody(clip).contour(),
                level,
                motion - level,
                corpus.present(clip),
                neutral=clip.emotion in (None, "neutral"),
            )
        )
    if not found:
        raise InputError("clips of the space ARKIT with sound", "none", "prepare av_grid_s1")
    return found


class Example(NamedTuple):
    """What a step learns from: of one clip, or padded of several."""

    features: torch.Tensor
    contour: torch.Tensor
    motion: torch.Tensor
    present: torch.Tensor
    style: torch.Tensor
    known: torch.Tensor
    shown: torch.Tensor
    valid: torch.Tensor


class FlowLosses:
    """The loss of a batch, as the training loop asks for it; sets the flow's normalisation when made."""

    def __init__(self, real: Sequence[RealTake], settings: FlowSettings, flow: FlowNetwork) -> None:
        self.real, self.settings = list(real), settings
        self.of_person: dict[tuple[str, str], list[RealTake]] = {}
        for take in self.real:
            self.of_person.setdefault(take.person, []).append(take)
        neutral = {who: [take for take in own if take.neutral] or own for who, own in self.of_person.items()}
        rest = {who: np.median([take.level for take in own], axis=0) for who, own in neutral.items()}
        self.rest = {who: level.astype(np.float32) for who, level in rest.items()}
        rng = np.random.default_rng([settings.train.seed, 3])
        seen = self.draw(rng.integers(len(self.real), size=256), rng)
        spoken = seen.features[seen.valid.repeat_interleave(2, dim=1)]
        flow.mean.copy_(spoken.mean(dim=0))
        flow.deviation.copy_(spoken.std(dim=0).clamp_min(1e-3))
        count = seen.known.sum(dim=0).clamp_min(1)
        mean = (seen.style * seen.known).sum(dim=0) / count
        variance = ((seen.style - mean).square() * seen.known).sum(dim=0) / count
        flow.style_mean.copy_(mean)
        flow.style_deviation.copy_(torch.maximum(variance.sqrt(), 0.1 * torch.from_numpy(styles.scale(ARKIT))))
        flow.usual.copy_(mean[torch.tensor(DRAWN) + len(ARKIT)].clamp_min(0.005))
        flow.least.copy_((0.15 * flow.usual).clamp(0.002, 0.01))
        motion, true = _in_units(flow, seen)
        flow.match_noise(motion, true)

    def __call__(self, flow: FlowNetwork, items: np.ndarray | Example, rng: np.random.Generator, way: float) -> Losses:
        """The mean squared error of the velocity (conditional flow matching) of takes by number, or of drawn ones."""
        device, drawn = flow.mean.device, items if isinstance(items, Example) else self.draw(items, rng)
        batch = Example(*(part.to(device) for part in drawn))
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        motion, true = _in_units(flow, batch)
        white = torch.randn(len(motion), motion.shape[1] + 2 * COLOUR, len(DRAWN), generator=random)
        noise = flow.colour(white.to(device))
        times = torch.randn(len(motion), generator=random).sigmoid().to(device)
        off = torch.randn(batch.style.shape, generator=random).to(device)
        seen = flow.read_styles(batch.style + self.settings.jitter * flow.style_deviation * off, batch.shown)
        heard = flow.hear(batch.features, batch.contour, batch.valid)
        noisy = torch.lerp(noise, motion, times[:, None, None])
        velocity = flow(noisy, times, heard, seen, batch.valid)
        with torch.autocast(device.type, enabled=False):
            error = (velocity.float() - (motion - noise)).square().clamp_max(_MOST**2) * true
            loss = (error.sum(dim=(1, 2)) / true.sum(dim=(1, 2)).clamp_min(1)).mean()
        return {"loss": loss}

    def draw(self, items: np.ndarray, rng: np.random.Generator) -> Example:
        """Takes of these numbers, each changed, cut to a part and with some of its style hidden."""
        drawn = [self.example(self.real[int(item)], rng) for item in items]
        frames = self.settings.frames
        padded = []
        for name in Example._fields:
            rows = [getattr(each, name) for each in drawn]
            length = {"features": 2 * frames, "contour": frames, "motion": frames, "valid": frames}.get(name)
            if length is not None:
                rows = [torch.cat([row, row.new_zeros(length - len(row), *row.shape[1:])]) for row in rows]
            padded.append(torch.stack(rows))
        return Example(*padded)

    def example(self, take: RealTake, rng: np.random.Generator) -> Example:
        """A take as it is, or joined, mirrored, exaggerated, on another level; the style is that of what comes out."""
        settings = self.settings
        features, contour, level, moves = take.features, take.contour, take.level, take.moves
        if rng.random() < settings.joined:
            own = self.of_person[take.person]
            other = own[int(rng.integers(len(own)))]
            features, contour, moves = _joined(take, other)
            level = level + rng.random(dtype=np.float32) * (other.level - level)
        moves, level = moves.copy(), level.copy()
        if rng.random() < settings.exaggerated:
            for group, gains in GAINS.items():
                moves[:, list(ARKIT.groups[group])] *= np.exp(rng.uniform(*np.log(gains)))
        if rng.random() < 0.6:
            level = level - self.rest[take.person] * (1.0 if rng.random() < 0.5 else rng.random())
        if rng.random() < settings.raised:
            level += _asked(rng)
        shapes = slice(0, len(ARKIT) - 3)
        within = np.clip(level + moves, -np.inf, 1.0)[:, shapes] - level[shapes]
        moves[:, shapes] = np.where(level[shapes] > HELD, within, moves[:, shapes])
        motion = (level + moves).astype(np.float32)
        if rng.random() < 0.1:
            nod, shake = rng.random(2) * (rng.random(2) < 0.6)
            add_head_rhythm(motion, FPS, rng, nod=nod, shake=shake)
        present = take.present
        if rng.random() < 0.5:
            motion, present = motion[:, MIRRORED] * TURNED, present[MIRRORED]
        style, known = styles.style_of(MotionClip(motion, FPS, ARKIT, present)), styles.known(ARKIT, present)
        shown = known.copy()
        if (chance := rng.random()) < settings.hidden:
            shown &= rng.random(len(shown)) > (1.0 if chance < 0.25 * settings.hidden else rng.choice([0.1, 0.3]))
        first = int(rng.integers(max(len(motion) - settings.frames, 0) + 1))
        length = settings.frames if rng.random() < 0.7 else int(rng.integers(settings.frames // 2, settings.frames + 1))
        part = slice(first, first + length)
        arrays = features[2 * part.start : 2 * part.stop], contour[part], motion[part], present, style, known, shown
        parts = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        return Example(*[*parts, torch.ones(len(motion[part]), dtype=torch.bool)])


def _in_units(flow: FlowNetwork, batch: Example) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion in units of its style, and where it is true."""
    level, spread = flow.units(batch.style, batch.known)
    motion = (batch.motion[:, :, list(DRAWN)] - level[:, None]) / spread[:, None]
    return motion, batch.valid[..., None] & batch.present[:, None, list(DRAWN)]


def _joined(first: RealTake, second: RealTake) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, contour and moves of two takes, one after the other."""
    fade = np.linspace(0.0, 1.0, JOINED_FRAMES + 2, dtype=np.float32)[1:-1, None]
    joint = first.moves[-JOINED_FRAMES:] * (1 - fade) + second.moves[:JOINED_FRAMES] * fade
    half = JOINED_FRAMES // 2
    return (
        np.concatenate([first.features[: -2 * half], second.features[2 * half :]]),
        np.concatenate([first.contour[:-half], second.contour[half:]]),
        np.concatenate([first.moves[:-JOINED_FRAMES], joint, second.moves[JOINED_FRAMES:]]),
    )


def _asked(rng: np.random.Generator) -> Float32[np.ndarray, " 55"]:
    """What one to three drawn shapes are held at beyond what they were, often on both sides."""
    added = np.zeros(len(ARKIT), np.float32)
    shapes = [channel for channel in DRAWN if channel < len(ARKIT) - 3 and channel not in ARKIT.groups["gaze"]]
    for channel in rng.choice(shapes, int(rng.integers(1, 4)), replace=False):
        both = [channel, MIRRORED[channel]] if rng.random() < 0.7 else [channel]
        added[both] = rng.uniform(0.0, 0.9)
    return added


_OTHER = {"Left": "Right", "Right": "Left"}
MIRRORED = np.array([ARKIT.index(re.sub("Left$|Right$", lambda side: _OTHER[side[0]], c)) for c in ARKIT.channels])
TURNED = np.array([-1.0 if name in ("headYaw", "headRoll") else 1.0 for name in ARKIT.channels], np.float32)


def untrained(features: int, settings: FlowSettings) -> FlowNetwork:
    """A flow of random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        return FlowNetwork(features, settings.width, dropout=settings.dropout)


def train_flow(
    mixture: Mixture, settings: FlowSettings, folder: Path, **how: Unpack[How]
) -> tuple[FlowNetwork, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged network and the log's lines; see `train`."""
    flow, real = untrained(mixture.features, settings), takes(mixture.items)
    losses = FlowLosses(real, settings, flow)
    held = [take.moves.tobytes().hex()[:64] for take in real]
    digest = content_sha256([held, settings.model_dump(exclude={"train"})])
    flow, log = train(flow, losses, len(real), settings.train, folder, digest, **how)
    return flow.eval(), log
