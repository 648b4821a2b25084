"""Training the talking model: prepared corpora in, a style encoder and a talking generator out.

>>> mixture = Mixture.of(corpora, split="train", frames=settings.frames)
>>> model, log = train_talking(mixture, settings, folder=run / "talking")
>>> save_talking_model(model, run / "talking.safetensors", about(mixture, settings, licences))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from avi_lib.corpus.mixture import Mixture
from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.face.mesh_error import MotionError, coefficient_error, mesh_error, with_channels
from avi_lib.motion.space import ARKIT, MotionSpace
from avi_lib.motion.talking_losses import Scale, content_loss, motion_losses
from avi_lib.motion.talking_model import Shape, TalkingModel, whiten_styles
from avi_lib.settings import TalkingSettings
from avi_lib.stages.talking_batch import Shown, Spoken, draw, draw_unlabelled
from avi_lib.training.loop import LogLine, train
from avi_lib.training.weights import fingerprint

LOOKED_AT, SHOWN = 256, 2000
"""Items from which features and motion are normalised and losses scaled, and from which styles are whitened."""
LEAST_DEVIATION = 0.02
"""Channels that hardly move are normalised as if they moved this much."""
NOTEWORTHY = 0.05
"""An error this large counts in any channel, however seldom it moves."""


def train_talking(
    mixture: Mixture,
    settings: TalkingSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[LogLine], None] | None = None,
    board: Path | None = None,
    start: TalkingModel | None = None,
) -> tuple[TalkingModel, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged model and the log's lines.

    start: a model whose weights and normalisation are begun with, its styles whitened; it stays as it is.

    Raises:
        AviError: a loss is not finite.
        InputError: the folder holds a checkpoint of something else, or `start` is of another shape.
    """
    first = mixture.corpora[0].description["features"]
    shape = Shape(
        mixture.space.name,
        first["name"],
        first["fingerprint"],
        mixture.features,
        settings.width,
        settings.style_width,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        model = TalkingModel(shape, settings.dropout)
    if start is not None and start.shape != shape:
        raise InputError(f"weights to begin with of the shape {shape}", f"{start.shape}", "choose others, or none")
    losses = TalkingLosses(mixture, settings, model)
    if start is not None:
        model.load_state_dict(start.state_dict())
        whiten_styles(model, _styles_shown(model, mixture, settings))
    trained = train(
        model,
        losses,
        items=len(mixture.items),
        settings=settings.train,
        folder=folder,
        recipe=recipe(mixture, settings, start),
        device=device,
        progress=progress,
        on_log=on_log,
        board=board,
    )
    assert isinstance(trained.model, TalkingModel)
    return trained.model.eval(), trained.log


class TalkingLosses:
    """The losses of a batch, as the training loop asks for them; sets the model's normalisation when made."""

    def __init__(self, mixture: Mixture, settings: TalkingSettings, model: TalkingModel) -> None:
        self.mixture, self.settings = mixture, settings
        rng = np.random.default_rng([settings.train.seed, 3])
        looked_at = rng.choice(len(mixture.items), min(LOOKED_AT, len(mixture.items)), replace=False)
        spoken, _ = draw(mixture, [mixture.items[i] for i in np.sort(looked_at)], settings, rng)
        heard = spoken.features[spoken.valid.repeat_interleave(2, dim=1)]
        model.generator.mean.copy_(heard.mean(dim=0))
        model.generator.deviation.copy_(heard.std(dim=0).clamp_min(1e-3))
        mean, deviation = _moments(spoken)
        for network, names in (
            (model.style, ("mean", "deviation")),
            (model.generator, ("motion_mean", "motion_deviation")),
        ):
            for name, value in zip(names, (mean, deviation), strict=True):
                getattr(network, name).copy_(value)
        self.error = with_channels(motion_error(mixture.space), deviation.clamp_min(NOTEWORTHY))
        self.scale = Scale.of(self.error, spoken.motion, spoken.present, spoken.valid)

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the items of these numbers; "loss" is their weighted sum."""
        assert isinstance(model, TalkingModel)
        settings, mixture = self.settings, self.mixture
        chosen = [mixture.items[int(number)] for number in items]
        spoken, shown = draw(mixture, chosen, settings, rng)
        spoken, shown = _on(spoken, model), _on(shown, model)
        style = model.style(shown.motion, shown.present, shown.valid)
        motion = model.generator(spoken.features, style.sample(), spoken.valid)
        losses = motion_losses(
            self.error, self.scale, motion, spoken.motion, spoken.present, spoken.valid, settings.closed
        )
        losses["divergence"] = style.divergence().mean()
        if settings.unlabelled and mixture.real:
            few = max(1, round(settings.unlabelled * len(chosen)))
            losses |= self._unlabelled(model, *draw_unlabelled(mixture, chosen[:few], settings, rng))
        weights = settings.model_dump()
        losses["loss"] = sum((weights[name] * value for name, value in losses.items()), torch.zeros(()))
        return losses

    def _unlabelled(self, model: TalkingModel, spoken: Spoken, shown: Shown) -> dict[str, torch.Tensor]:
        """Speech under another's real style: the style must be found again in the motion, and the lips keep time."""
        spoken, shown = _on(spoken, model), _on(shown, model)
        with torch.no_grad():
            style = model.style(shown.motion, shown.present, shown.valid).mean
        motion = model.generator(spoken.features, style, spoken.valid)
        fixed = {name: value.detach() for name, value in model.style.named_parameters()}
        found = functional_call(model.style, fixed, (motion, shown.present, spoken.valid)).mean
        return {
            "style": (found.float() - style.float()).square().mean(),
            "content": content_loss(self.error, motion, spoken.motion, spoken.valid),
        }


def motion_error(space: MotionSpace) -> MotionError:
    """The errors that training lowers: on the open head's mesh for ARKit, on the coefficients for FLAME."""
    return mesh_error(load_head()) if space is ARKIT else coefficient_error()


def about(
    mixture: Mixture,
    settings: TalkingSettings,
    licences: Mapping[str, str],
    start: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """What weights were trained on and how, for their header.

    licences: by the name of the corpus; start: what the weights that were begun with say of themselves.
    """
    minutes: dict[str, float] = {}
    for corpus, clip in {(item.corpus, item.clip): None for item in (*mixture.items, *mixture.real)}:
        name = corpus.folder.name
        minutes[name] = minutes.get(name, 0.0) + clip.duration_s / 60
    corpora = {
        name: {"minutes": round(value, 1), "licence": licences.get(name, "unknown")}
        for name, value in sorted(minutes.items())
    }
    said: dict[str, object] = {"corpora": corpora, "settings": settings.model_dump()}
    if start is None:
        return {**said, "recipe": recipe(mixture, settings)}
    return {**said, "start": dict(start)}


def recipe(mixture: Mixture, settings: TalkingSettings, start: TalkingModel | None = None) -> str:
    """What is trained on what: settings but the loop's own, the content of every corpus, weights begun with."""
    held = [[item.corpus.folder.name, item.clip.clip, item.clip.shard] for item in (*mixture.items, *mixture.real)]
    kept = settings.model_dump(exclude={"train"})
    begun = [] if start is None else [fingerprint(start)]
    return hashlib.sha256(json.dumps([held, kept, *begun], sort_keys=True).encode()).hexdigest()


def _moments(spoken: Spoken) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every channel over the clips in which it is present."""
    weights = (spoken.valid[:, :, None] & spoken.present[:, None]).float()
    count = weights.sum(dim=(0, 1)).clamp_min(1)
    mean = (spoken.motion * weights).sum(dim=(0, 1)) / count
    variance = ((spoken.motion - mean).square() * weights).sum(dim=(0, 1)) / count
    return mean, variance.sqrt().clamp_min(LEAST_DEVIATION)


@torch.no_grad()
def _styles_shown(model: TalkingModel, mixture: Mixture, settings: TalkingSettings) -> np.ndarray:
    """Styles of performances as training shows them."""
    if not mixture.performed:
        raise InputError("performed clips whose styles are whitened", "none", "begin with random weights")
    rng = np.random.default_rng([settings.train.seed, 4])
    styles: list[np.ndarray] = []
    while sum(map(len, styles)) < SHOWN:
        chosen = [mixture.performed[int(i)] for i in rng.integers(len(mixture.performed), size=64)]
        shown = draw(mixture, chosen, settings, rng)[1]
        styles.append(model.style.eval()(shown.motion, shown.present, shown.valid).mean.numpy())
    return np.concatenate(styles)


_Batch = TypeVar("_Batch", Spoken, Shown)


def _on(batch: _Batch, model: TalkingModel) -> _Batch:
    """The batch on the model's device."""
    device = model.generator.mean.device
    return type(batch)(**{name: value.to(device) for name, value in vars(batch).items()})
