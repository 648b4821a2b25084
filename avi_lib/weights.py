"""Files of weights: float16 tensors and a header in one safetensors file, looked at before they are believed.

>>> save_weights(model, path, {"format": 2, "shape": asdict(shape), "about": {"corpora": ...}})
>>> header, tensors = read_weights(path, formats=(1, 2))
>>> model = build_network(lambda: TalkingModel(Shape(**header["shape"])), tensors)
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from avi_lib.errors import InputError, cause
from avi_lib.files import atomic_path

UNREADABLE = (OSError, SafetensorError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError)
"""What a damaged or a foreign file makes reading and checking raise."""

Network = TypeVar("Network", bound=nn.Module)


def save_weights(model: nn.Module, path: Path, header: Mapping[str, object]) -> None:
    """Write a network's weights as float16 with a header of `format`, `shape` and `about`, atomically.

    Raises InputError for weights that are not finite or too large for float16.
    """
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()}
    if name := _not_finite(tensors):
        raise InputError("finite weights within float16", f"others in {name}", "train again, with a lower rate")
    content = save(tensors, {"avi": json.dumps(header, sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_weights(
    path: Path, formats: tuple[int, ...], kind: str = ""
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors in float32; one of `UNREADABLE` for a file that is something else."""
    with safe_open(path, "pt") as stored:
        header = _header(stored, formats, kind)
        return header, {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118 (no mapping)


def read_about(path: Path, formats: tuple[int, ...], kind: str = "") -> dict[str, object]:
    """What a file says it was trained on; one of `UNREADABLE` when it says nothing."""
    with safe_open(path, "pt") as stored:
        about: dict[str, object] = _header(stored, formats, kind)["about"]
        return about


def check_weights(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """ValueError naming the first tensor that is not as the model has it, or not finite."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in [*expected, *sorted(tensors.keys() - expected.keys())]:
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if expected.get(name, "nothing") != got:
            raise ValueError(f"{got} for {name}, not {expected.get(name, 'nothing')}")
    if name := _not_finite(tensors):
        raise ValueError(f"weights that are not finite in {name}")


def build_network(build: Callable[[], Network], tensors: Mapping[str, torch.Tensor]) -> Network:
    """The network that `build` makes, with these weights and in evaluation mode; one of `UNREADABLE` if they differ.

    A header may ask for any size: nothing is allocated before the tensors are seen to have it. Arithmetic that makes a
    new tensor on the meta device imports torch's compiler, which costs more seconds than the rest of the loading:
    networks scale their initial values in place.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # `check_weights` tells of them
        model = build()
    check_weights(model, tensors)
    model.load_state_dict(dict(tensors), assign=True)
    return model.eval()


@contextmanager
def weights_of(kind: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn what a damaged or foreign file raises into an InputError that names it."""
    try:
        yield
    except UNREADABLE as error:
        article = "an" if kind.startswith(("a", "e", "i", "o", "u")) else "a"
        raise InputError(f"weights of {article} {kind}", f"{path}: {cause(error)}", remedy) from error


def check_encoder(found: Any, name: str, features: int, fingerprint: str, option: str) -> str | None:
    """A warning where an encoder is another build than weights were trained with; InputError for another encoder."""
    same = found.fingerprint == fingerprint
    if found.dim != features or not (same or found.name == name):
        expected = f"the encoder {name} with {features} features, which the weights were trained with"
        raise InputError(expected, f"{found.name} with {found.dim}", f"name that one, by {option} where it is a path")
    if same:
        return None
    return f"{found.name} is not the build that the weights were trained with: look at its faces before trusting them"


@dataclass(frozen=True)
class WeightsFile(Generic[Network]):
    """Files of weights of one kind of network, which has its `shape`, a dataclass or settings.

    They are of one format; `build` makes the network of the fields of its shape, `remedy` is what to do about others;
    `marked` files name their kind.
    """

    kind: str
    format: int
    build: Callable[..., Network]
    remedy: str
    marked: bool = True

    def save(self, model: Network, path: Path, about: Mapping[str, object] | None = None) -> None:
        """Write weights as float16, atomically; `about` says what they were trained on, and under which licences.

        Raises InputError for weights that are not finite or too large for float16.
        """
        shape: Any = model.shape
        fields = shape.model_dump() if hasattr(shape, "model_dump") else asdict(shape)
        header = {"format": self.format, "shape": fields, "about": about or {}}
        save_weights(model, path, header | ({"kind": self.kind} if self.marked else {}))

    def load(self, path: Path) -> Network:
        """Read a network, ready to be used; InputError when the file is missing, damaged or something else."""
        with weights_of(self.kind, path, self.remedy):
            header, tensors = read_weights(path, (self.format,), self.kind * self.marked)
            return build_network(lambda: self.build(**header["shape"]), tensors)

    def about(self, path: Path) -> dict[str, object]:
        """What a file says it was trained on; InputError when it says nothing."""
        with weights_of(self.kind, path, self.remedy):
            return read_about(path, (self.format,), self.kind * self.marked)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of a network's weights as a file keeps them, in float16: the same before saving and after loading."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _header(stored: safe_open, formats: tuple[int, ...], kind: str) -> dict[str, Any]:
    """What `save_weights` wrote beside the weights; ValueError when it did not write them."""
    header = json.loads((stored.metadata() or {}).get("avi", "null"))
    if not isinstance(header, dict) or not {"format", "shape", "about"} <= header.keys():
        raise ValueError("a header of something else")
    if header.get("kind", "") != kind:
        raise ValueError(f"a header of {header.get('kind') or 'something else'}")
    if header["format"] not in formats:
        raise ValueError(f"format {header['format']}, not {' or '.join(map(str, formats))}")
    return header


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> str:
    """The name of the first tensor that holds NaN or infinity, empty when all are finite."""
    return next((name for name, value in tensors.items() if not value.isfinite().all()), "")
