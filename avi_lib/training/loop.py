"""The training loop: a model and a loss in, averaged weights out; killed at any moment it goes on as if it never was.

>>> result = train(model, loss_of, items=len(clips), settings=TrainSettings(steps=400), folder=run, recipe="first")
>>> result.model.eval(), result.log[-1]["loss"]

`loss_of(model, items, rng)` gives named losses of a batch, of which "loss" is minimised; `items` are numbers of the
training items and `rng` is the step's own random stream. The folder holds `last.safetensors`, the checkpoint, and
`log.jsonl`, a line every so many steps.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from avi_lib.errors import AviError
from avi_lib.files import atomic_path, make_folder
from avi_lib.settings import TrainSettings
from avi_lib.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from avi_lib.training.order import batch_at, rng_at, torch_seed_at

Losses = Mapping[str, torch.Tensor]
LossOf = Callable[[nn.Module, np.ndarray, np.random.Generator], Losses]
LogLine = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """The averaged weights in a model of their own, and the log's lines."""

    model: nn.Module
    log: list[LogLine]


def train(
    model: nn.Module,
    loss_of: LossOf,
    items: int,
    settings: TrainSettings,
    folder: Path,
    recipe: str,
    device: torch.device | None = None,
    progress: bool | None = None,
    on_log: Callable[[LogLine], None] | None = None,
) -> Trained:
    """Train a model in place, going on from the folder's checkpoint where there is one.

    Args:
        model: the network; it is moved to the device.
        loss_of: losses of a batch, see above.
        items: number of training items.
        settings: the recipe's numbers.
        folder: where checkpoint and log are kept.
        recipe: what is trained on what, in words or a digest; with the settings it decides whether a checkpoint fits.
        device: where to compute; the processor when None. On CUDA losses are computed in bfloat16 where that is safe.
        progress: show a bar; on a terminal only when None.
        on_log: called with every line of the log.

    Raises:
        AviError: a loss is not a finite number; the checkpoint before is kept.
        InputError: the folder holds a checkpoint of another recipe, or a damaged one.
    """
    device = device or torch.device("cpu")
    model.to(device).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    make_folder(folder)
    kept, address = folder / "last.safetensors", _address(settings, recipe)
    step = load_checkpoint(kept, address, model, average, optimizer).step if kept.is_file() else 0
    log = _log_until(folder / "log.jsonl", step)
    begun_s = time.perf_counter()
    hidden = None if progress is None else not progress
    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device.type == "cuda" else ()),
        tqdm(desc="training", total=settings.steps, initial=step, unit=" steps", leave=False, disable=hidden) as shown,
    ):
        while step < settings.steps:
            losses = _update(model, average, optimizer, loss_of, items, settings, step, device)
            step += 1
            shown.update()
            if step % settings.log_every == 0 or step == settings.steps:
                line = {
                    "step": step,
                    "epoch": step * settings.batch / items,
                    **losses,
                    "s": time.perf_counter() - begun_s,
                }
                log.append(line)
                shown.set_postfix(loss=f"{losses['loss']:.4g}")
                if on_log is not None:
                    on_log(line)
            if step % settings.save_every == 0 or step == settings.steps:
                _write_log(folder / "log.jsonl", log)
                save_checkpoint(kept, Checkpoint(step, address), model, average, optimizer)
    return Trained(average.module, log)


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """A linear rise over the warm-up, then a cosine down to a hundredth."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    way = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(way, 1.0))))


def _update(
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    loss_of: LossOf,
    items: int,
    settings: TrainSettings,
    step: int,
    device: torch.device,
) -> dict[str, float]:
    torch.manual_seed(torch_seed_at(step, settings.seed))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, settings)
    batch = batch_at(step, items, settings.batch, settings.seed)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        losses = loss_of(model, batch, rng_at(step, settings.seed))
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not all(map(math.isfinite, values.values())):
        got = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise AviError("finite losses", f"{got} at step {step}", "lower the learning rate, or look for bad items")
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    average.update_parameters(model)
    return values


def _address(settings: TrainSettings, recipe: str) -> str:
    """What a checkpoint must agree in to be gone on with."""
    kept = settings.model_dump_json(exclude={"save_every", "log_every"})
    return hashlib.sha256(f"{recipe}\n{kept}".encode()).hexdigest()


def _log_until(path: Path, step: int) -> list[LogLine]:
    """Lines of an earlier run up to a step."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line["step"] <= step]


def _write_log(path: Path, log: list[LogLine]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in log), "utf-8")
