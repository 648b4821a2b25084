"""Training the diffusion prior: a bank of sentences and styles in, a network that draws styles for sentences out.

>>> model, log = train_prior(bank, encoder, talking, settings, folder=run / "prior")
>>> save_prior(model, run / "prior.safetensors", about)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from avi_lib.instruction.text_encoder import TextEncoder
from avi_lib.motion.prior_network import TIMES
from avi_lib.motion.prior_sampling import training_scheduler
from avi_lib.motion.style_prior import PriorModel, PriorShape
from avi_lib.motion.talking_model import TalkingModel
from avi_lib.settings import PriorSettings
from avi_lib.stages.style_bank import StyleBank
from avi_lib.training.loop import LogLine, train
from avi_lib.training.weights import fingerprint

RIDGE = 1e-3
"""Weight of the size of the map from styles to channels, in units of the styles' variance."""


def train_prior(
    bank: StyleBank,
    encoder: TextEncoder,
    talking: TalkingModel,
    settings: PriorSettings,
    folder: Path,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[LogLine], None] | None = None,
    board: Path | None = None,
) -> tuple[PriorModel, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged model and the log's lines.

    Raises:
        AviError: a loss is not finite.
        InputError: the folder holds a checkpoint of something else.
    """
    shape = PriorShape(
        text_encoder=encoder.name,
        text_fingerprint=encoder.fingerprint,
        text=encoder.dim,
        space=talking.shape.space,
        styles=fingerprint(talking),
        width=settings.width,
        blocks=settings.blocks,
        heads=settings.heads,
        words=settings.words,
        regression=settings.regression,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.train.seed)
        model = PriorModel(shape, settings.dropout)
    _normalise(model, bank)
    trained = train(
        model,
        PriorLosses(bank, settings, model),
        items=len(bank),
        settings=settings.train,
        folder=folder,
        recipe=recipe(bank, settings),
        device=device,
        progress=progress,
        on_log=on_log,
        board=board,
    )
    assert isinstance(trained.model, PriorModel)
    return trained.model.eval(), trained.log


class PriorLosses:
    """The losses of a batch, as the training loop asks for them."""

    def __init__(self, bank: StyleBank, settings: PriorSettings, model: PriorModel) -> None:
        self.bank, self.settings = bank, settings
        self.styles = model.normal(torch.from_numpy(bank.styles))
        self.scheduler = training_scheduler()

    def __call__(
        self, model: nn.Module, items: np.ndarray, rng: np.random.Generator, way: float
    ) -> dict[str, torch.Tensor]:
        """Named losses of the scripts of these numbers; "loss" is their weighted sum."""
        assert isinstance(model, PriorModel)
        device = model.mean.device
        texts = [int(rng.choice(self.bank.texts_of[int(item)])) for item in items]
        states, mask = (torch.from_numpy(array).to(device) for array in self.bank.texts.batch(texts))
        styles = self.styles[torch.from_numpy(items)].to(device)
        random = torch.Generator().manual_seed(int(rng.integers(2**62)))
        times = torch.randint(TIMES, (len(items),), generator=random)
        noise = torch.randn(styles.shape, generator=random).to(device)
        dropped = (torch.rand(len(items), generator=random) < self.settings.dropped).to(device)
        reading = model.network.read(states, mask)
        if self.settings.regression:
            times, noisy = torch.full_like(times, TIMES - 1), torch.zeros_like(styles)
        else:
            noisy = self.scheduler.add_noise(styles, noise, times.to(device))
        foreseen = model.network(noisy, times.to(device), model.network.unread(reading, dropped)).float()
        losses = {
            "diffusion": (foreseen - styles).square().mean(),
            "contrast": soft_contrast(reading.aligned, functional.normalize(styles, dim=1), self.temperature(way)),
        }
        weights = self.settings.model_dump()
        losses["loss"] = sum((weights[name] * value for name, value in losses.items()), torch.zeros((), device=device))
        return losses

    def temperature(self, way: float) -> float:
        """From cold to warm along half a cosine."""
        return self.settings.cold + (self.settings.warm - self.settings.cold) * (0.5 - 0.5 * math.cos(math.pi * way))


def soft_contrast(sentences: torch.Tensor, styles: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrast with soft labels, both ways: sentences should be as near to all styles as the own style is to them.

    sentences, styles: (batch, 128) of length 1. Labels are the styles' own similarities, so that two scripts that look
    alike are no opposites (Gao et al. 2023, SoftCLIP).
    """
    with torch.autocast(sentences.device.type, enabled=False):  # cosines near 1, divided by a small number
        labels = (styles @ styles.T / temperature).softmax(dim=1)
        alike = sentences @ styles.T / temperature
        there = -(labels * alike.log_softmax(dim=1)).sum(dim=1).mean()
        back = -(labels * alike.T.log_softmax(dim=1)).sum(dim=1).mean()
        return 0.5 * (there + back)


def recipe(bank: StyleBank, settings: PriorSettings) -> str:
    """What is trained on what: settings but the loop's own, and the bank's content."""
    kept = settings.model_dump(exclude={"train"})
    return hashlib.sha256(json.dumps([bank.digest, kept], sort_keys=True).encode()).hexdigest()


@torch.no_grad()
def _normalise(model: PriorModel, bank: StyleBank) -> None:
    """Set the styles' mean and scale, and the map from styles to what they hold every channel at."""
    mean = bank.styles.mean(axis=0)
    centred = bank.styles - mean
    variance = np.linalg.eigvalsh(np.cov(centred.T))
    effective = variance.sum() ** 2 / np.square(variance).sum()  # participation ratio
    scale = float(np.sqrt(variance.sum() / effective))
    normal = centred / scale
    levels = bank.levels - bank.levels.mean(axis=0)
    gram = normal.T @ normal + RIDGE * len(normal) * np.eye(normal.shape[1], dtype=np.float32)
    model.mean.copy_(torch.from_numpy(mean))
    model.scale.fill_(scale)
    model.held.copy_(torch.from_numpy(np.linalg.solve(gram, normal.T @ levels).T.astype(np.float32)))
