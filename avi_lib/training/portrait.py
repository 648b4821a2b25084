"""Training a portrait's neural renderer: examples of `portrait_data` in, networks with their photograph out.

>>> networks, log = train_renderer(filmed([Path("me.mp4")], settings), settings, folder=run / "renderer")
>>> save_networks(networks, run / "me.safetensors", {"corpora": {"me.mp4": "my own"}})

Losses as in PIRender, its two stages in one training: perceptual on what is warped, then also perceptual, style (Gram
matrices) and absolute error on what is edited, more about mouth and eyes. EfficientNet-Lite0 takes VGG-19's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from avi_lib.errors import InputError
from avi_lib.face.portrait_networks import SIZES, Crops, Made, PortraitNetworks, quick, untrained
from avi_lib.files import content_sha256
from avi_lib.models import resolve
from avi_lib.pickles import torch_tensors
from avi_lib.settings import PortraitSettings
from avi_lib.training.loop import How, LogLine, Losses, train
from avi_lib.training.portrait_data import Examples
from avi_lib.wall import behind_wall
from avi_lib.weights import fingerprint

EYES = (0.0, -0.44, 0.52, 0.13)
"""Where eyes are in a face's crop: middle, half the width and half the height, as `Crops.box`."""
HEAVY = 5.0  # times that errors about mouth and eyes count
WARPING_ALONE = 0.2  # share of the training in which nothing is edited


class Perceptual(nn.Module):
    """Features of EfficientNet-Lite0 (Tan and Le 2019; ImageNet) at strides 2, 4, 8 and 16, frozen."""

    STAGES = ((1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (2, 40, 5, 2, 6), (3, 80, 3, 2, 6), (3, 112, 5, 1, 6))
    KEPT = (0, 2, 4, 10)
    """Blocks, channels, side, stride and growth of each stage; and the blocks whose features are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.blocks, inputs = nn.Conv2d(3, 32, 3, 2), nn.ModuleList(), 32
        for count, channels, side, stride, growth in self.STAGES:
            for number in range(count):
                wide, step = inputs * growth, stride if number == 0 else 1
                parts = [] if growth == 1 else [nn.Conv2d(inputs, wide, 1)]
                parts += [nn.Conv2d(wide, wide, side, step, groups=wide), nn.Conv2d(wide, channels, 1)]
                self.blocks.append(nn.ModuleList(parts))
                inputs = channels
        self.requires_grad_(False)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Features of pictures (batch, 3, height, width) in 0-1."""
        maps, kept = functional.relu6(self.first(_padded(pictures * (255 / 128) - 127 / 128, self.first))), []
        block: Any
        for number, block in enumerate(self.blocks):
            before, (*wide, last) = maps, block
            for convolution in wide:
                maps = functional.relu6(convolution(_padded(maps, convolution)))
            maps = last(maps)
            maps = maps + before if maps.shape == before.shape else maps
            if number in self.KEPT:
                kept.append(maps)
        return kept


def _padded(maps: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """Zeros about the maps as TensorFlow's `same` has them."""
    side, step = convolution.kernel_size[0], convolution.stride[0]
    if side == 1:
        return maps
    short = [max((-(-extent // step) - 1) * step + side - extent, 0) for extent in maps.shape[:-3:-1]]
    return functional.pad(maps, [each for more in short for each in (more // 2, more - more // 2)])


def load_perceptual() -> Perceptual:
    """The network with its pinned weights, its normalisations folded in."""
    path = resolve("efficientnet-lite0").files["efficientnet-lite0.pth"]
    with path.open("rb") as file:
        (read,) = behind_wall(torch_tensors, file, name=str(path), expected="torch weights", do="fetch them again")
    held = {name: torch.from_numpy(np.array(array)) for name, array in read.items()}

    def folded(convolution: nn.Conv2d, name: str, norm: str) -> None:
        scale = held[f"{norm}.weight"] / (held[f"{norm}.running_var"] + 1e-3).sqrt()
        convolution.weight.copy_(held[f"{name}.weight"] * scale[:, None, None, None])
        assert convolution.bias is not None
        convolution.bias.copy_(held[f"{norm}.bias"] - held[f"{norm}.running_mean"] * scale)

    network: Any = Perceptual()
    with torch.no_grad():
        folded(network.first, "_conv_stem", "_bn0")
        for number, block in enumerate(network.blocks):
            names = ("_expand_conv", "_depthwise_conv", "_project_conv")[3 - len(block) :]
            for convolution, name in zip(block, names, strict=True):
                norm = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}[name]
                folded(convolution, f"_blocks.{number}.{name}", f"_blocks.{number}.{norm}")
    loaded: Perceptual = network.eval().to(memory_format=torch.channels_last)
    return loaded


def perceptual_distance(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Float[torch.Tensor, " batch"]:
    """How far features lie apart, in means of their absolute values; the mean over the strides."""
    apart = [(a - b).abs().mean(dim=(1, 2, 3)) / b.abs().mean(dim=(1, 2, 3)) for a, b in zip(ours, theirs, strict=True)]
    return torch.stack(apart).mean(dim=0)


def style_distance(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Float[torch.Tensor, " batch"]:
    """The same of the Gram matrices of features, which say what goes with what, wherever it is (Gatys et al. 2016)."""
    grams = [[torch.einsum("bchw,bdhw->bcd", each, each) for each in side] for side in (ours, theirs)]
    apart = [(a - b).abs().mean(dim=(1, 2)) / b.abs().mean(dim=(1, 2)) for a, b in zip(*grams, strict=True)]
    return torch.stack(apart).mean(dim=0)


class PortraitLosses:
    """The losses of a batch, as the training loop asks for them."""

    def __init__(self, examples: Examples, settings: PortraitSettings) -> None:
        self.examples, self.settings, self.features = examples, settings, load_perceptual()

    def __call__(self, model: PortraitNetworks, items: np.ndarray, rng: np.random.Generator, way: float) -> Losses:
        """Named losses of the items of these numbers; in the first WARPING_ALONE of the way those of the warp."""
        device = model.photo.device
        self.features.to(device)
        seen, true, true_mouth = self.examples.crops(items)
        light = 1 + self.settings.light * rng.uniform(-1, 1, (len(items), 1, 1, 1)) * rng.uniform(0.5, 1, (1, 3, 1, 1))
        lit = torch.from_numpy(light).float()
        seen = Crops(*(each.to(device) for each in (seen[0], *(lit * maps for maps in seen[1:5]), seen[5])))
        true, true_mouth = lit * true, lit * true_mouth
        whole = way >= WARPING_ALONE or self.settings.learns == "mouth"
        with quick(device):
            made = model(seen)
        return self.of(made, seen, true.to(device), true_mouth.to(device), whole)

    def of(self, made: Made, seen: Crops, true: torch.Tensor, true_mouth: torch.Tensor, whole: bool = True) -> Losses:
        """Losses of what was drawn against what is true."""
        settings, found = self.settings, Losses()
        with torch.autocast(true.device.type, enabled=False):
            made, faces = Made(*(each.float() for each in made)), settings.learns == "all"
            with torch.no_grad():
                aim, aim_mouth = self._features(true) if faces else [], self._features(true_mouth) if whole else []
            if faces:
                if not whole:  # later the face holds it, and time is short
                    found["warped"] = perceptual_distance(self._features(made.warped), aim).mean()
                found["warped_error"] = self._error(made.warped, true, seen.box)
            if whole:
                mouth = self._features(made.mouth)
                found["mouth"], found["mouth_style"] = (
                    distance(mouth, aim_mouth).mean() for distance in (perceptual_distance, style_distance)
                )
                found["mouth_error"] = (made.mouth - true_mouth).abs().mean()
            if whole and faces:
                face = self._features(made.edited)
                found["face"], found["style"] = (
                    distance(face, aim).mean() for distance in (perceptual_distance, style_distance)
                )
                found["error"], found["mask"] = self._error(made.edited, true, seen.box), made.mask.mean()
            weights = settings.model_dump() | {"mouth_style_weight": settings.style_weight}
            found["loss"] = torch.stack([weights[f"{name}_weight"] * value for name, value in found.items()]).sum()
        return found

    def _features(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        with quick(pictures.device):
            return [each.float() for each in self.features(pictures)]

    def _error(self, made: torch.Tensor, true: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Mean absolute error in which mouth and eyes count HEAVY times."""
        rows, columns = (torch.linspace(-1, 1, side, device=box.device) for side in made.shape[-2:])
        weights = torch.ones(len(box), *made.shape[-2:], device=box.device)
        for x, y, wide, high in (box.T[:, :, None, None], torch.tensor(EYES, device=box.device)[:, None, None, None]):
            inside = ((columns[None, None] - x).abs() < wide) & ((rows[None, :, None] - y).abs() < high)
            weights = torch.where(inside, HEAVY, weights)
        return (weights[:, None] * (made - true).abs()).mean() / weights.mean()


def train_renderer(
    examples: Examples,
    settings: PortraitSettings,
    folder: Path,
    start: PortraitNetworks | None = None,
    own: bool = True,
    **how: Unpack[How],
) -> tuple[PortraitNetworks, list[LogLine]]:
    """Train, or go on training, in a folder; the averaged networks and the log's lines. `how`, and errors: see `train`.

    start: networks of the same size to begin with. own: whether the first photograph goes into the weights.
    """
    shape = SIZES[settings.size]
    if own:
        height, width = examples.picture.shape[:2]
        shape = replace(shape, photo=(height, width))
    model = untrained(shape, settings.train.seed)
    if start is not None:
        if replace(start.shape, photo=(0, 0)) != SIZES[settings.size]:
            raise InputError(
                f"weights of the size {settings.size}", "others", "choose that size, or none to begin with"
            )
        model.load_state_dict({**start.state_dict(), "photo": model.photo})
    if own:
        model.photo.copy_(torch.from_numpy(examples.picture).float())
    if settings.learns == "mouth":
        model.requires_grad_(False).drawing.requires_grad_(True)
    digest = [content_sha256(each[:: max(len(each) // 8, 1)].tobytes().hex()[:4096]) for each in examples[5:10]]
    begun = None if start is None else fingerprint(start)
    recipe = content_sha256([digest, settings.model_dump(exclude={"train"}), begun])
    networks, log = train(
        model, PortraitLosses(examples, settings), len(examples.of), settings.train, folder, recipe, **how
    )
    return networks.eval(), log
