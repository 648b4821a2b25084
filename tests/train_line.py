"""A small training for tests; as a script one for another process, which ends by a kill, or for several under torchrun.

python train_line.py stuck FOLDER
torchrun --nproc-per-node 2 train_line.py shared FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from avi_lib.settings import TrainSettings
from avi_lib.training.loop import train

SETTINGS = TrainSettings(steps=30, batch=4, warmup=5, save_every=7, log_every=5, average=0.9, learning_rate=0.05)
SHARED = SETTINGS.model_copy(update={"batch": 5})
POINTS = np.linspace(-1, 1, 20, dtype=np.float32)


class StoppedError(Exception):
    """Raised in the middle of a training."""


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def loss_of(model, items, rng, way):
    x = torch.from_numpy(POINTS[items, None]) + torch.from_numpy(
        rng.normal(0, 0.01, (len(items), 1)).astype(np.float32)
    )
    return {"loss": (model(x) - 2 * x).square().mean()}


class Parts(nn.Module):
    """A network without a forward pass: a part for all items, one for the first item alone, one for none."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.every = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.rare = nn.Linear(1, 1)
        self.never = nn.Linear(1, 1)


def loss_of_parts(model, items, rng, way):
    """A loss that draws nothing, so that it is the same however items are shared."""
    x = torch.from_numpy(POINTS[items, None])
    y = model.every(x)
    if 0 in items:
        y = y + model.rare(x) * (torch.from_numpy(items) == 0)[:, None]
    error = (y - 2 * x).square().mean()
    return {"loss": error + 0.1 * y.abs().mean(), "error": error}


def stop_at(*last):
    """A log that ends a training at a step, or at a part of it and a step of that."""

    def on_log(*now):
        if (*now[:-1], now[-1]["step"]) == last:
            raise StoppedError

    return on_log


def untimed(lines: list[dict]) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "s"} for line in lines]


def stopping_after(steps: int, loss=loss_of, stop=None):
    """The loss, until that many steps are done."""
    done = 0

    def stops(model, items, rng, way):
        nonlocal done
        if done == steps:
            if stop is None:
                raise StoppedError
            stop()
        done += 1
        return loss(model, items, rng, way)

    return stops


def weights(model: nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def train_parts(folder: Path, device=None, progress=None) -> tuple[nn.Module, list[dict]]:
    """A stage as notebooks train it."""
    return train(Parts(3), loss_of_parts, 20, SHARED, folder, "line", device)


def main(kind: str, folder: Path) -> None:
    if kind == "stuck":
        train(network(), stopping_after(17, stop=lambda: time.sleep(600)), 20, SETTINGS, folder, "line")
        return
    rank, lines = int(os.environ["RANK"]), []
    whole = train(Parts(3 + rank), loss_of_parts, 20, SHARED, folder / "whole", "line", on_log=lines.append)
    (folder / f"whole{rank}").write_bytes(weights(whole[0]))
    (folder / f"lines{rank}").write_text(str(len(lines)))
    try:
        train(Parts(3 + rank), stopping_after(17, loss_of_parts), 20, SHARED, folder / "parts", "line")
    except StoppedError:
        parts = train(Parts(5 + rank), loss_of_parts, 20, SHARED, folder / "parts", "line")
        (folder / f"parts{rank}").write_bytes(weights(parts[0]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
