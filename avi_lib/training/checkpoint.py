"""Checkpoints: everything that training needs to go on as if it had never stopped, in one safetensors file.

>>> save_checkpoint(folder / "last.safetensors", Checkpoint(step=400, recipe=recipe), model, average, optimizer)
>>> load_checkpoint(folder / "last.safetensors", recipe, model, average, optimizer).step
400

Random numbers and the order of batches follow from seed and step (see `order`), so no generator's state is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Checkpoint:
    """How far training is, and the recipe it follows: a checkpoint of another recipe is not gone on with."""

    step: int
    recipe: str


def recipe_digest(recipe: str, items: int, settings: TrainSettings) -> str:
    """What a checkpoint must agree in to be gone on with: the recipe, the items, settings that decide the result."""
    numbers = settings.model_dump_json(exclude={"save_every", "log_every"})
    return hashlib.sha256(f"{recipe}\n{items}\n{numbers}".encode()).hexdigest()


def save_checkpoint(
    path: Path, checkpoint: Checkpoint, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write weights, averaged weights and the optimizer's state, atomically."""
    state = optimizer.state_dict()
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
    for number, moments in state["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
    header = {"step": checkpoint.step, "recipe": checkpoint.recipe}
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {"avi": json.dumps(header)}
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(
    path: Path, recipe: str, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Checkpoint:
    """Put a checkpoint into model, average and optimizer.

    Raises InputError when it is damaged, of another recipe or of another model; all three are as they were then.
    """
    try:
        with safe_open(path, "pt") as stored:
            header = json.loads((stored.metadata() or {})["avi"])
            checkpoint = Checkpoint(int(header["step"]), header["recipe"])
            if checkpoint.recipe != recipe:
                raise InputError("a checkpoint of this recipe", f"{path} of another one", REMEDY)
            shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
            _check_shapes(path, shapes, model, average)
            tensors = {name: stored.get_tensor(name) for name in shapes}
        moments: dict[int, dict[str, Any]] = {}
        for name, value in _below("optimizer/", tensors).items():
            number, _, moment = name.partition("/")
            moments.setdefault(int(number), {})[moment] = value
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError("a whole checkpoint", f"{path}: {error}", REMEDY) from error
    model.load_state_dict(_below("model/", tensors))
    average.load_state_dict(_below("average/", tensors))
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return checkpoint


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]], model: nn.Module, average: nn.Module) -> None:
    """InputError naming the first tensor that is not as the model has it."""
    expected = {f"model/{name}": tuple(value.shape) for name, value in model.state_dict().items()}
    expected |= {f"average/{name}": tuple(value.shape) for name, value in average.state_dict().items()}
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


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# What weights were trained on and how, for the header of their file.


def about_training(
    corpora: Sequence[Corpus], settings: Settings, licences: Mapping[str, str], digest: str
) -> dict[str, object]:
    """Corpora with their licences, settings, and the content of the bank that was trained on.

    licences: by the name of the corpus; digest: of the bank.
    """
    named = {corpus.folder.name: licences.get(corpus.folder.name, "unknown") for corpus in corpora}
    return {"corpora": named, "settings": settings.model_dump(), "bank": digest}
