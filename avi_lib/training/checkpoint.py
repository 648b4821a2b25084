"""Checkpoints: everything that training needs to go on as if it had never stopped, in one safetensors file.

>>> save_checkpoint(folder / "last.safetensors", Checkpoint(step=400, recipe=recipe), model, average, optimizer)
>>> load_checkpoint(folder / "last.safetensors", recipe, model, average, optimizer).step
400

Random numbers and the order of batches follow from seed and step (see `order`), so no generator's state is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from avi_lib.errors import InputError
from avi_lib.files import atomic_path


@dataclass(frozen=True)
class Checkpoint:
    """How far training is, and the recipe it follows: a checkpoint of another recipe is not gone on with."""

    step: int
    recipe: str


def save_checkpoint(
    path: Path, checkpoint: Checkpoint, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write weights, averaged weights and the optimizer's state, atomically."""
    state = optimizer.state_dict()
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
    for number, moments in state["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
    header = {"step": checkpoint.step, "recipe": checkpoint.recipe, "groups": state["param_groups"]}
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {"avi": json.dumps(header)}
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(
    path: Path, recipe: str, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Checkpoint:
    """Put a checkpoint into model, average and optimizer; InputError when it is damaged or of another recipe."""
    remedy = "train into another folder, or remove it"
    try:
        with safe_open(path, "pt") as stored:
            header = json.loads((stored.metadata() or {})["avi"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        if header["recipe"] != recipe:
            raise InputError("a checkpoint of this recipe", f"{path} of another one", remedy)
        model.load_state_dict(_below("model/", tensors))
        average.load_state_dict(_below("average/", tensors))
        moments: dict[int, dict[str, Any]] = {}
        for name, value in _below("optimizer/", tensors).items():
            number, _, moment = name.partition("/")
            moments.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({"state": moments, "param_groups": header["groups"]})
        return Checkpoint(int(header["step"]), recipe)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("a whole checkpoint of this model", f"{path}: {reason}", remedy) from error


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
