"""Training the talking generator: prepared corpora in, a network that moves a face to speech in a style out.

>>> mixture = Mixture.of(corpora, split="train", frames=settings.frames)
>>> losses = TalkingLosses(mixture, settings, model)                   # sets the model's normalisation
>>> losses.of(model, *draw(mixture, mixture.items[:8], settings, rng))["loss"].backward()
>>> model, log = train_talking(mixture, settings, folder=run / "talking")
>>> save_talking_model(model, run / "talking.safetensors", about(mixture, settings, licences))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float

from avi_lib.corpus.dataset import Item, Mixture, performer_of
from avi_lib.corpus.scripts import draw_instruction
from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.files import content_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip, MotionSpace
from avi_lib.motion.flow import FPS
from avi_lib.motion.generator import Shape, TalkingModel, valid_frames
from avi_lib.motion.performer import IDLE_GROUPS
from avi_lib.settings import TalkingSettings
from avi_lib.training.loop import How, LogLine, Losses, train
from avi_lib.weights import fingerprint

MM = 1000.0
FACE_REGIONS = ("lips", "eyes", "upper_face", "face")
FAINT = 0.02
"""mm^2 that a channel at full weight counts beyond what it moves: some, such as the tongue's, move no
vertex of a region, and would be left free."""
CLOSED_MM = 0.5  # lips less than this apart are closed
LOOKED_AT = 256  # items from which features, styles and motion are normalised and losses scaled
LEAST_DEVIATION = 0.02  # channels that hardly move are normalised as if they moved this much
LEAST_STYLE = 0.1
"""Entries of a style that hardly differ are normalised as if they differed by this share of what is usual."""
NOTEWORTHY = 0.05  # an error this large counts in any channel, however seldom it moves

Motion = Float[torch.Tensor, "clips frames channels"]
Present = Bool[torch.Tensor, "clips channels"]
Valid = Bool[torch.Tensor, "clips frames"]


# The batch: speech with its true motion, and other motion that shows the style.
class MotionBatch(NamedTuple):
    """Motion at 25 frames a second, which channels of each clip are true, which frames are there.

    features: of the speech that goes with it, at 50 steps a second; None for motion that only shows a style.
    """

    motion: Motion
    present: Present
    valid: Valid
    features: Float[torch.Tensor, "clips steps features"] | None = None

    def to(self, device: torch.device) -> MotionBatch:
        """The same on a device."""
        features = None if self.features is None else self.features.to(device)
        return MotionBatch(self.motion.to(device), self.present.to(device), self.valid.to(device), features)


Drawn = tuple[MotionBatch, MotionBatch, tuple[MotionBatch, MotionBatch] | None]
"""Speech with its motion, what shows its style, and the two of speech under real styles."""


class Take(NamedTuple):
    """A clip and its motions, by name of script, with the share of each in every channel; None for the whole of one.

    With `fresh`, an instruction and a seed, the clip performs that instead.
    """

    item: Item
    motions: tuple[tuple[str, Float[np.ndarray, " channels"] | None], ...] = ()
    fresh: tuple[Instruction, int] | None = None

    @classmethod
    def whole(cls, item: Item, script: int = 0) -> Take:
        """One motion of a clip as it is."""
        return cls(item, ((item.clip.scripts[script], None),))


def draw(
    mixture: Mixture, items: Sequence[Item], settings: TalkingSettings, rng: np.random.Generator
) -> tuple[MotionBatch, MotionBatch]:
    """Speech with true motion, and what shows its style: scripts, a part and who shows the style are drawn for each.

    Of some clips two performances are mixed, another share of them for every group of channels: with the same shares
    in what shows the style and in the answer there are many more styles than scripts.
    """
    takes = [_take(item, mixture.space, settings, rng) for item in items]
    shows = [_shown_by(mixture, take, settings, rng) for take in takes]
    return _speech(mixture, takes, settings, rng), _style(mixture, shows, settings, rng)


def draw_unlabelled(
    mixture: Mixture, items: Sequence[Item], settings: TalkingSettings, rng: np.random.Generator
) -> tuple[MotionBatch, MotionBatch]:
    """Any speech, and real motion that shows another style: the motion is the speech's own, not the answer."""
    real = [mixture.real[int(number)] for number in rng.integers(len(mixture.real), size=len(items))]
    style = _style(mixture, list(map(Take.whole, real)), settings, rng)
    return _speech(mixture, list(map(Take.whole, items)), settings, rng), style


def _take(item: Item, space: MotionSpace, settings: TalkingSettings, rng: np.random.Generator) -> Take:
    if not item.real and rng.random() < settings.fresh:
        return Take(item, fresh=(draw_instruction(rng), int(rng.integers(2**62))))
    scripts = item.clip.scripts
    first = int(rng.integers(len(scripts)))
    if item.real or len(scripts) < 2 or rng.random() >= settings.mixed:
        return Take.whole(item, first)
    second = (first + 1 + int(rng.integers(len(scripts) - 1))) % len(scripts)
    share = np.zeros(len(space), np.float32)
    for group in space.groups.values():
        share[list(group)] = rng.random() if rng.random() < 0.5 else float(rng.random() < 0.5)
    return Take(item, ((scripts[first], share), (scripts[second], 1 - share)))


def _shown_by(mixture: Mixture, take: Take, settings: TalkingSettings, rng: np.random.Generator) -> Take:
    """The same scripts in the same shares, at times as performed over another clip."""
    others: Sequence[Item] = mixture.performed
    if take.fresh is None:
        others = [Item(take.item.corpus, partner) for partner in mixture.partners(take.item)]
    if not others or rng.random() >= settings.exchanged:
        return take
    return take._replace(item=others[int(rng.integers(len(others)))])


def _speech(
    mixture: Mixture, takes: Sequence[Take], settings: TalkingSettings, rng: np.random.Generator
) -> MotionBatch:
    parts = [_part(take, settings.frames, rng) for take in takes]
    features = np.zeros((len(takes), 2 * settings.frames, mixture.features), np.float32)
    for row, (own, curve, _, _) in zip(features, parts, strict=True):
        row[: len(own)] = own
        row[len(own) : 2 * len(curve)] = own[-1]  # as generate fills up an odd number
    idle = [channel for group in IDLE_GROUPS for channel in mixture.space.groups.get(group, ())]
    present = np.stack([part[3] for part in parts])
    for channels, take in zip(present, takes, strict=True):
        if take.item.real and mixture.performed:  # in real motion alone idle behaviour is a part of it
            channels[idle] = False
    motion, valid = _padded([part[1] for part in parts], settings.frames)
    return MotionBatch(motion, torch.from_numpy(present), valid, torch.from_numpy(features))


def _style(mixture: Mixture, takes: Sequence[Take], settings: TalkingSettings, rng: np.random.Generator) -> MotionBatch:
    """Motion that shows styles, with idle behaviour in half of it, and at times with a group of channels hidden."""
    parts = [_part(take, settings.style_frames, rng) for take in takes]
    present = np.stack([part[3] for part in parts])
    for channels in present:
        shown = [list(group) for group in mixture.space.groups.values() if channels[list(group)].any()]
        if len(shown) > 1 and rng.random() < settings.partial:
            channels[shown[int(rng.integers(len(shown)))]] = False
    curves = [curve + idle if rng.random() < 0.5 else curve for _, curve, idle, _ in parts]
    motion, valid = _padded(curves, settings.style_frames)
    return MotionBatch(motion, torch.from_numpy(present), valid)


def styles_shown(shown: MotionBatch, space: MotionSpace) -> tuple[torch.Tensor, torch.Tensor]:
    """The style (clips, 128) that each clip shows, and which entries are known."""
    rows = zip(shown.motion.numpy(), shown.present.numpy(), shown.valid.numpy(), strict=True)
    clips = [MotionClip(motion[valid], FPS, space, present) for motion, present, valid in rows]
    known = np.stack([styles.known(space, clip.present) for clip in clips])
    return torch.from_numpy(np.stack([styles.style_of(clip) for clip in clips])), torch.from_numpy(known)


def _part(
    take: Take, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Bool[np.ndarray, " channels"]]:
    """Features, motion, idle behaviour of a part `frames` long or as long as the clip; the channels that are true."""
    corpus, clip = take.item.corpus, take.item.clip
    start = int(rng.integers(max(clip.frames - frames, 0) + 1))
    rows = slice(start, start + frames)
    features, present = corpus.features(clip)[2 * rows.start : 2 * rows.stop], corpus.present(clip)
    if take.fresh is not None:
        full, still = performer_of(take.item).perform_with_still(*take.fresh)
        return features, still.values[rows], full.values[rows] - still.values[rows], present
    parts = [(corpus.number(clip, name), np.float32(1) if share is None else share) for name, share in take.motions]
    motion, idle = (
        np.sum([read(clip, script)[rows] * share for script, share in parts], axis=0)
        for read in (corpus.motion, corpus.idle)
    )
    return features, motion, idle, present


def _padded(curves: Sequence[np.ndarray], frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    motion = np.zeros((len(curves), frames, curves[0].shape[1]), np.float32)
    for row, curve in zip(motion, curves, strict=True):
        row[: len(curve)] = curve
    return torch.from_numpy(motion), valid_frames(torch.tensor([len(curve) for curve in curves]), frames)


# Errors of motion, on a head's mesh without making its vertices: a quadratic form of the change of the weights.
@dataclass(frozen=True, eq=False)
class MotionError:
    """Quadratic errors of motion by region.

    `factors` maps a region to L (channels, rank); `gap` (channels,) is the lip gap in millimetres of every channel at
    full weight, None in a space without a mesh.
    """

    factors: dict[str, torch.Tensor]
    gap: torch.Tensor | None

    def squared(self, change: Float[torch.Tensor, "*rows channels"]) -> dict[str, Float[torch.Tensor, "*rows"]]:
        """Mean squared displacement of every region's vertices in mm^2; radians^2 for the head's rotation."""
        return {region: (change @ factor.to(change)).square().sum(dim=-1) for region, factor in self.factors.items()}


def motion_error(space: MotionSpace, deviation: Float[torch.Tensor, " channels"] | None = None) -> MotionError:
    """The errors that training lowers.

    ARKIT: FACE_REGIONS of the open head's mesh in mm^2, and "head", its rotation, in radians^2. FLAME, whose mesh is
    not to hand: squared coefficients, expression as "face", jaw as "lips", and "head". With their `deviation` also
    "channels": every channel in units of it, so that small and rare ones count as well.
    """
    every = torch.eye(len(space))
    factors = {"head": every[:, list(space.groups["head"])]}
    if deviation is not None:
        factors["channels"] = torch.diag(1 / deviation)
    if space is not ARKIT:
        named = {"face": every[:, list(space.groups["expression"])], "lips": every[:, list(space.groups["lips"])]}
        return MotionError(named | factors, None)
    head, shapes, regions = load_head(), len(ARKIT_BLENDSHAPES), {}
    for region in FACE_REGIONS:
        basis = MM * head.shapes[:, head.regions[region]].astype(np.float64)
        form = np.einsum("avi,bvi->ab", basis, basis) / basis.shape[1] + FAINT * np.eye(shapes)
        factor = np.zeros((len(ARKIT), shapes))
        factor[:shapes] = np.linalg.cholesky(form)
        regions[region] = torch.from_numpy(factor.astype(np.float32))
    gap = MM * head.lip_gap(np.eye(len(ARKIT), dtype=np.float32))
    return MotionError(regions | factors, torch.from_numpy(gap))


@dataclass(frozen=True, eq=False)
class Scale:
    """What errors are measured in.

    Mean squares of every region's movement about its mean, of its change from frame to frame, and of the lip gap.
    """

    position: dict[str, float]
    velocity: dict[str, float]
    gap: float

    @classmethod
    def of(cls, error: MotionError, motion: Motion, present: Present, valid: Valid) -> Scale:
        """The scale of some clips; a region that does not move counts as if it moved by a thousandth."""
        mean = _channel_mean(motion, present, valid)
        spread, steps = (motion - mean) * present[:, None], motion.diff(dim=1) * present[:, None]
        pairs = valid[:, 1:] & valid[:, :-1]
        gap = 1.0 if error.gap is None else float(_mean((spread @ error.gap).square(), valid))
        return cls(
            {region: max(float(_mean(e, valid)), 1e-6) for region, e in error.squared(spread).items()},
            {region: max(float(_mean(e, pairs)), 1e-6) for region, e in error.squared(steps).items()},
            max(gap, 1e-6),
        )


def motion_losses(
    error: MotionError, scale: Scale, generated: Motion, true: Motion, present: Present, valid: Valid, closed: float
) -> Losses:
    """Errors of every region, of their velocity together and of the lip gap, each about 1 for a guess of the mean.

    Channels that are not present have no part; frames where the true lips are closed count `closed` times for the gap.
    Computed in float32 whatever the network is computed in.
    """
    with torch.autocast(generated.device.type, enabled=False):
        change = (generated.float() - true) * present[:, None]
        losses = {region: _mean(e, valid) / scale.position[region] for region, e in error.squared(change).items()}
        pairs = valid[:, 1:] & valid[:, :-1]
        faster = error.squared(change.diff(dim=1))
        velocities = (_mean(e, pairs) / scale.velocity[region] for region, e in faster.items())
        losses["velocity"] = sum(velocities, torch.zeros(())) / len(faster)
        if error.gap is not None:
            row = error.gap.to(true)
            shut = 1.0 + (closed - 1.0) * ((true @ row) < CLOSED_MM)
            losses["gap"] = _mean(shut * (change @ row).square(), valid) / scale.gap
        return losses


def content_loss(error: MotionError, generated: Motion, own: Motion, valid: Valid) -> torch.Tensor:
    """How much the lips' timing differs from that of the same speech's own motion: 1 less the gap's correlation.

    A style may widen or narrow the gap; when it opens and closes is the speech's affair. 0 in a space without a mesh.
    """
    if error.gap is None:
        return torch.zeros((), device=generated.device)
    with torch.autocast(generated.device.type, enabled=False):
        row, count, curves = error.gap.to(own), valid.sum(dim=1, keepdim=True), []
        for motion in (generated.float(), own):
            curve = motion @ row
            curve = (curve - (curve * valid).sum(dim=1, keepdim=True) / count) * valid
            # a millimetre's hundredth steadies flat curves
            curves.append(curve / (curve.square().sum(dim=1, keepdim=True) / count + 1e-4).sqrt())
        return 1 - (curves[0] * curves[1] * valid).sum(dim=1).div(valid.sum(dim=1)).mean()


def _channel_mean(motion: Motion, present: Present, valid: Valid) -> Float[torch.Tensor, " channels"]:
    weights = (valid[:, :, None] & present[:, None]).float()
    return (motion * weights).sum(dim=(0, 1)) / weights.sum(dim=(0, 1)).clamp_min(1)


def _mean(values: Float[torch.Tensor, "clips frames"], valid: Valid) -> torch.Tensor:
    """The mean over clips of the mean over their valid frames, so that shares of a batch can be put together."""
    return ((values * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)).mean()


# Training.
class TalkingLosses:
    """The losses of a batch, as the training loop asks for them; sets the model's normalisation when made."""

    def __init__(self, mixture: Mixture, settings: TalkingSettings, model: TalkingModel) -> None:
        self.mixture, self.settings = mixture, settings
        rng = np.random.default_rng([settings.train.seed, 3])
        looked_at = rng.choice(len(mixture.items), min(LOOKED_AT, len(mixture.items)), replace=False)
        speech, shown = draw(mixture, [mixture.items[i] for i in np.sort(looked_at)], settings, rng)
        assert speech.features is not None
        features = speech.features[speech.valid.repeat_interleave(2, dim=1)]
        model.generator.mean.copy_(features.mean(dim=0))
        model.generator.deviation.copy_(features.std(dim=0).clamp_min(1e-3))
        mean = _channel_mean(speech.motion, speech.present, speech.valid)
        variance = _channel_mean((speech.motion - mean).square(), speech.present, speech.valid)
        deviation = variance.sqrt().clamp_min(LEAST_DEVIATION)
        model.generator.motion_mean.copy_(mean)
        model.generator.motion_deviation.copy_(deviation)
        style, known = styles_shown(shown, mixture.space)
        usual = (style * known).sum(dim=0) / known.sum(dim=0).clamp_min(1)
        differs = ((style - usual).square() * known).sum(dim=0) / known.sum(dim=0).clamp_min(1)
        model.generator.style_mean.copy_(usual)
        least = LEAST_STYLE * torch.from_numpy(styles.scale(mixture.space))
        model.generator.style_deviation.copy_(torch.maximum(differs.sqrt(), least))
        self.error = motion_error(mixture.space, deviation.clamp_min(NOTEWORTHY))
        self.scale = Scale.of(self.error, speech.motion, speech.present, speech.valid)

    def draw(self, items: np.ndarray, rng: np.random.Generator) -> Drawn:
        """The batch of the items of these numbers, and speech under real styles where that is trained on."""
        settings, mixture = self.settings, self.mixture
        chosen = [mixture.items[int(number)] for number in items]
        speech, shown = draw(mixture, chosen, settings, rng)
        if not (settings.unlabelled and mixture.real):
            return speech, shown, None
        few = max(1, round(settings.unlabelled * len(chosen)))
        return speech, shown, draw_unlabelled(mixture, chosen[:few], settings, rng)

    def __call__(self, model: TalkingModel, items: np.ndarray | Drawn, rng: np.random.Generator, way: float) -> Losses:
        """Named losses of items by number, or of drawn ones; "loss" is their weighted sum."""
        return self.of(model, *(self.draw(items, rng) if isinstance(items, np.ndarray) else items))

    def of(
        self,
        model: TalkingModel,
        speech: MotionBatch,
        shown: MotionBatch,
        unlabelled: tuple[MotionBatch, MotionBatch] | None = None,
    ) -> Losses:
        """Named losses of a batch and of speech under real styles, for which there is no true motion."""
        device = model.generator.mean.device
        style = self._style(model, shown)
        speech = speech.to(device)
        assert speech.features is not None
        motion = model.generator(speech.features, style, speech.valid)
        closed = self.settings.closed
        losses = motion_losses(self.error, self.scale, motion, speech.motion, speech.present, speech.valid, closed)
        if unlabelled is not None:  # under another's real style there is no true motion, but the lips keep time
            other, style = unlabelled[0].to(device), self._style(model, unlabelled[1])
            assert other.features is not None
            made = model.generator(other.features, style, other.valid)
            losses["content"] = content_loss(self.error, made, other.motion, other.valid)
        weights = self.settings.model_dump()
        losses["loss"] = sum((weights[name] * value for name, value in losses.items()), torch.zeros(()))
        return losses

    def _style(self, model: TalkingModel, shown: MotionBatch) -> torch.Tensor:
        """Styles as they are shown, a little off; what is not known is as it mostly is."""
        generator = model.generator
        style, known = (each.to(generator.mean.device) for each in styles_shown(shown, self.mixture.space))
        off = self.settings.jitter * generator.style_deviation * torch.randn_like(style)
        return torch.where(known, style + off, generator.style_mean)


def untrained(mixture: Mixture, settings: TalkingSettings) -> TalkingModel:
    """A model of random weights for a mixture, the same for the same seed."""
    first = mixture.corpora[0].description["features"]
    sizes = (mixture.features, settings.width)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        return TalkingModel(Shape(mixture.space.name, first["name"], first["fingerprint"], *sizes), settings.dropout)


def train_talking(
    mixture: Mixture, settings: TalkingSettings, folder: Path, start: TalkingModel | None = None, **how: Unpack[How]
) -> tuple[TalkingModel, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged model and the log's lines. `how`, and errors: see `train`.

    start: a model whose generator and normalisation are begun with; it stays as it is. InputError when it is of another
    shape.
    """
    model = untrained(mixture, settings)
    if start is not None and replace(start.shape, flow_width=0) != model.shape:
        expected = f"weights to begin with of the shape {model.shape}"
        raise InputError(expected, f"{start.shape}", "choose others, or none")
    losses = TalkingLosses(mixture, settings, model)
    if start is not None:
        model.generator.load_state_dict(start.generator.state_dict())
    digest = recipe(mixture, settings, start)
    model, log = train(model, losses, len(mixture.items), settings.train, folder, digest, **how)
    return model.eval(), log


def recipe(mixture: Mixture, settings: TalkingSettings, start: TalkingModel | None = None) -> str:
    """What is trained on what: settings but the loop's own, the content of every corpus, weights begun with."""
    kept = settings.model_dump(exclude={"train"})
    begun = [] if start is None else [fingerprint(start)]
    return content_sha256([mixture.content, kept, *begun])


def about(
    mixture: Mixture,
    settings: TalkingSettings,
    licences: Mapping[str, str],
    start: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """What weights were trained on and how, for their header.

    licences: by the name of the corpus; start: what the weights that were begun with say of themselves.
    """
    corpora = {
        name: {"minutes": round(minutes, 1), "licence": licences.get(name, "unknown")}
        for name, minutes in sorted(mixture.minutes.items())
    }
    begun: dict[str, object] = {"recipe": recipe(mixture, settings)} if start is None else {"start": dict(start)}
    return {"corpora": corpora, "settings": settings.model_dump(), **begun}
