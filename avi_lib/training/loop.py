"""The training loop: a model and a loss in, averaged weights out; killed at any moment it goes on as if it never was.

>>> device, reason = choose_device()
>>> settings = TrainSettings(steps=400)
>>> result = train(model, loss_of, len(clips), settings, Path("outputs/run"), recipe="first", device=device)
>>> result.model.eval(), result.log[-1]["loss"]

`loss_of(model, items, rng, way)` gives named losses of a batch, each a mean over its items, of which "loss" is
minimised. `items` are numbers of the training items, `rng` is the step's own random stream, `way` is how far training
is, 0 to 1. The folder holds the checkpoint, `last.safetensors`, and `log.jsonl`. Under `torchrun` several processes
share every batch (see `processes`).

On CUDA `loss_of` runs under autocast to bfloat16: linear layers, convolutions and matrix products round, and give
bfloat16. A loss keeps float32 by taking what the networks give as `.float()` and computing from there on inside
`torch.autocast(device.type, enabled=False)`. Weights, gradients, moments and averages are float32 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from avi_lib.errors import AviError, InputError
from avi_lib.files import check_writable, make_folder
from avi_lib.settings import TrainSettings
from avi_lib.training.checkpoint import Checkpoint, load_checkpoint, recipe_digest, save_checkpoint
from avi_lib.training.device import computes_bfloat16
from avi_lib.training.log import LogLine, TrainingLog
from avi_lib.training.order import batch_at, rng_at, torch_seed_at
from avi_lib.training.processes import Processes, join_processes
from avi_lib.training.schedule import learning_rate_at

LossOf = Callable[[nn.Module, np.ndarray, np.random.Generator, float], Mapping[str, torch.Tensor]]


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
    board: Path | None = None,
) -> Trained:
    """Train a model in place, going on from the folder's checkpoint where there is one.

    Killed or not, the result is the same to the bit, on a processor with as many threads; CUDA adds in any order.

    Args:
        model: the network; it is moved to the device.
        loss_of: losses of a batch, see above.
        items: number of training items.
        settings: the recipe's numbers.
        folder: where checkpoint and log are kept.
        recipe: what is trained on what, in words or a digest; with the settings it decides whether a checkpoint fits.
        device: where to compute; the processor when None.
        progress: show a bar; on a terminal only when None.
        on_log: called with every line of the log, in the first process alone.
        board: folder of a TensorBoard that shows the losses, none when None.

    Raises:
        AviError: a loss or the gradient is not finite; the checkpoint before is kept.
        InputError: there is no item, or fewer in a batch than processes; the folder cannot be written, or holds a
            checkpoint of another recipe or model, or a damaged one; a board is asked for without its package.
    """
    if items < 1:
        raise InputError("at least one training item", str(items), "check the corpus and what is selected from it")
    device = device or torch.device("cpu")
    processes = join_processes(device)
    make_folder(folder)
    kept, digest = folder / "last.safetensors", recipe_digest(recipe, items, settings)
    check_writable(kept)
    model.to(device).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    rate, decay = settings.learning_rate, settings.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    step = load_checkpoint(kept, digest, model, average, optimizer).step if kept.is_file() else 0
    processes.start_alike(model, step)
    hidden = True if not processes.first else None if progress is None else not progress
    with (
        TrainingLog(folder / "log.jsonl", step, board, written=processes.first) as log,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else ()),
        tqdm(desc="training", total=settings.steps, initial=step, unit=" steps", leave=False, disable=hidden) as shown,
    ):
        while step < settings.steps:
            losses = _update(model, average, optimizer, loss_of, items, settings, step, device, processes)
            step += 1
            shown.update()
            if step % settings.log_every == 0 or step == settings.steps:
                line = log.add(step, losses, epoch=step * settings.batch / items)
                shown.set_postfix(loss=f"{losses['loss']:.4g}")
                if on_log is not None and processes.first:
                    on_log(line)
            if (step % settings.save_every == 0 or step == settings.steps) and processes.first:
                save_checkpoint(kept, Checkpoint(step, digest), model, average, optimizer)
    processes.wait()
    return Trained(average.module, log.lines)


def _update(
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    loss_of: LossOf,
    items: int,
    settings: TrainSettings,
    step: int,
    device: torch.device,
    processes: Processes,
) -> dict[str, float]:
    torch.manual_seed(torch_seed_at(step, settings.seed, processes.rank))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, settings)
    share = processes.share(batch_at(step, items, settings.batch, settings.seed))
    weight = len(share) / settings.batch
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device)):
        losses = loss_of(model, share, rng_at(step, settings.seed, processes.rank), step / settings.steps)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    processes.average_gradients(model, weight)
    values = processes.average_losses(losses, weight)
    norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip, foreach=True)
    if not all(map(math.isfinite, [*values.values(), float(norm)])):
        got = ", ".join(f"{name} {value:g}" for name, value in values.items()) + f", gradient {float(norm):g}"
        raise AviError("finite losses", f"{got} at step {step}", "lower the learning rate, or look for bad items")
    optimizer.step()
    average.update_parameters(model)
    return values
