"""Checkpoints: everything that training needs to go on as if it had never stopped, in one safetensors file.

>>> save_checkpoint(folder / "last.safetensors", 400, recipe, model, average, optimizer)
>>> load_checkpoint(folder / "last.safetensors", recipe, model, average, optimizer)
400

Random numbers and the order of batches follow from seed and step, so no generator's state is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from avi_lib.corpus.dataset import Corpus
from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.settings import Settings, TrainSettings

REMEDY = "train into another folder, or remove this one"


def recipe_digest(recipe: str, items: int, settings: TrainSettings) -> str:
    """What a checkpoint must agree in to be gone on with: the recipe, the items, settings that decide the result."""
    numbers = settings.model_dump_json(exclude={"save_every", "log_every"})
    return hashlib.sha256(f"{recipe}\n{items}\n{numbers}".encode()).hexdigest()


def save_checkpoint(
    path: Path, step: int, recipe: str, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write step, recipe, weights, averaged weights and the optimizer's state, atomically."""
    moments = {
        f"{number}/{name}": v for number, each in optimizer.state_dict()["state"].items() for name, v in each.items()
    }
    parts = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": moments}
    tensors = {
        f"{part}/{name}": value.detach().cpu().contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    content = save(tensors, {"avi": json.dumps({"step": step, "recipe": recipe})})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(
    path: Path, recipe: str, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Put a checkpoint into model, average and optimizer; its step.

    Raises InputError when it is damaged, of another recipe or of another model; all three are as they were then.
    """
    try:
        with safe_open(path, "pt") as stored:
            header = json.loads((stored.metadata() or {})["avi"])
            step = int(header["step"])
            if header["recipe"] != recipe:
                raise InputError("a checkpoint of this recipe", f"{path} of another one", REMEDY)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError("a whole checkpoint", f"{path}: {error}", REMEDY) from error
    _check_shapes(path, {name: tuple(value.shape) for name, value in tensors.items()}, model, average)
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    moments: dict[int, dict[str, Any]] = {}
    for name, value in parts["optimizer"].items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    model.load_state_dict(parts["model"])
    average.load_state_dict(parts["average"])
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]], model: nn.Module, average: nn.Module) -> None:
    """InputError naming the first tensor that is not as the model has it."""
    expected = {
        f"{part}/{name}": tuple(value.shape)
        for part, module in (("model", model), ("average", average))
        for name, value in module.state_dict().items()
    }
    for number, parameter in enumerate(model.parameters()):
        moments: dict[str, tuple[int, ...]] = {f"optimizer/{number}/step": ()}
        moments |= {f"optimizer/{number}/{name}": tuple(parameter.shape) for name in ("exp_avg", "exp_avg_sq")}
        if moments.keys() & shapes.keys():  # a parameter that no loss has used so far has none
            expected |= moments
    for name in [*expected, *sorted(shapes.keys() - expected.keys())]:
        model_has, file_has = (str(where.get(name, "nothing")) for where in (expected, shapes))
        if model_has != file_has:
            got = f"{file_has} in {path}"
            raise InputError(f"a checkpoint of this model, which has {model_has} for {name}", got, REMEDY)


def about_training(
    corpora: Sequence[Corpus], settings: Settings, licences: Mapping[str, str], digest: str
) -> dict[str, object]:
    """For the header of a file of weights: corpora with their licences, settings, digest of the training data.

    licences: by the name of the corpus.
    """
    named = {corpus.folder.name: licences.get(corpus.folder.name, "unknown") for corpus in corpora}
    return {"corpora": named, "settings": settings.model_dump(), "bank": digest}
