"""The neural renderer of a portrait, in the manner of PIRender (Ren et al., ICCV 2021, arXiv 2109.08379).

>>> networks = load_networks(Path("me.safetensors"))
>>> with portrait.rasteriser() as rasteriser:                              # the layers' pictures, made better
...     pictures = list(refined(portrait, networks, motion, rasteriser.draw_all(portrait.move(motion))))

A window of motion becomes a code (mapping); under it the layers' picture of the face is bent by a flow (warping), what
no flow can show is added under a mask (editing), and the mouth, cut out larger, is drawn once more. All three begin at
zero: an untrained renderer draws the layers' own pictures, to the bit. The layers have carried the photograph to the
motion by the mesh's flow already, so the flow learned here is what that one lacks.

Colours are sRGB in 0-1. Crops are stabilised: eyes and nose keep their place and size in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import nn
from torch.nn import functional

from avi_lib.face.portrait import Place, Portrait
from avi_lib.face.portrait_pages import resample
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.weights import build_network, read_weights, save_weights, weights_of

RADIUS = 13  # frames of motion to either side of a picture
CHANNELS = len(ARKIT) + 3  # and shift right, shift down (of the face's box) and the logarithm of its size
FORMAT, KIND = 1, "portrait renderer"
MOST_FLOW = 2.0  # pixels of the flow's own grid, a quarter of the picture's
EDGE = 0.12  # share of a crop over which what is learned fades towards its edge
GENTLE = 0.1  # of what the last layer of an editing network gives: it begins at zero, and AdamW's first steps are large
STRONG = 0.1  # of what is drawn in a mouth, from which on it takes the place of the layers' finest lines too
SOFT = 0.7  # deviation of the bell that takes these out, in pixels of the mouth's crop
TOGETHER = 8  # pictures that go through the networks at a time
_REMEDY = "train it with notebook 08"

Picture = UInt8[np.ndarray, "_ _ 3"]
Maps = Float[torch.Tensor, "batch _ _ _"]
Code = Float[torch.Tensor, "batch code"]


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks. `stem` pixels a side go into one before the first convolution."""

    size: int = 128  # side of the face's crop
    mouth: tuple[int, int] = (96, 64)  # width and height of the mouth's
    code: int = 128
    stem: int = 2
    warp: tuple[int, ...] = (24, 48, 64, 96, 96)
    edit: tuple[int, ...] = (32, 48, 64)
    draw: tuple[int, ...] = (48, 64, 96)
    blocks: int = 1  # residual blocks at each size of the editing network
    photo: tuple[int, int] = (0, 0)  # height and width of the person's own photograph, where the weights are one's


SIZES = {
    "tiny": Shape(64, (48, 32), 32, 2, (8, 16, 16, 24, 24), (12, 16, 24), (16, 24, 24)),
    "small": Shape(),
    "paper": Shape(256, (128, 96), 256, 1, (32, 64, 128, 256, 256, 256), (64, 128, 256, 256), (64, 128, 256), 2),
}
"""For tests, for two cores (some 0.7 GMAC a picture), and with the widths of the paper."""


class Crops(NamedTuple):
    """What the networks see: motion about a picture, the photograph and the layers' picture, the mouth of both."""

    motion: Float[torch.Tensor, "batch 27 58"]
    photo: Maps
    drawn: Maps
    photo_mouth: Maps
    drawn_mouth: Maps
    box: Float[torch.Tensor, "batch 4"]  # of the mouth in the face's crop, from -1 to 1: middle, half width and height


class Made(NamedTuple):
    """What they draw: the face warped and edited, the mouth; and what these are made of."""

    warped: Maps
    edited: Maps
    mouth: Maps
    flow: Maps  # right and down, in halves of the crop's side
    mask: Maps
    edit: Maps
    mouth_edit: Maps


# The three networks.


class AdaIN(nn.Module):
    """Instance normalisation whose scale and shift follow from the code (Huang and Belongie 2017)."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(code, min(128, code)), nn.ReLU(), nn.Linear(min(128, code), 2 * channels))

    def forward(self, maps: Maps, code: Code) -> Maps:
        """The maps, normalised and set anew."""
        scale, shift = self.read(code)[:, :, None, None].chunk(2, dim=1)
        return functional.instance_norm(maps) * (1 + scale) + shift


class Styled(nn.Module):
    """AdaIN, LeakyReLU and a convolution."""

    def __init__(self, convolution: nn.Module, channels: int, code: int) -> None:
        super().__init__()
        self.norm, self.convolution = AdaIN(channels, code), convolution

    def forward(self, maps: Maps, code: Code) -> Maps:
        """The next maps."""
        made: Maps = self.convolution(functional.leaky_relu(self.norm(maps, code), 0.1))
        return made


def _convolved(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    """A convolution, layer normalisation and LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.GroupNorm(1, outputs), nn.LeakyReLU(0.1)
    )


def _doubled(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1)


def _zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class MotionMapping(nn.Module):
    """Motion around a picture to the code: 27 frames shrink to 3 through dilated convolutions, and their mean is it."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(CHANNELS, code, 7)
        self.blocks = nn.ModuleList(nn.Conv1d(code, code, 3, dilation=3) for _ in range(3))

    def forward(self, motion: Float[torch.Tensor, "batch 27 58"]) -> Code:
        """One code for each window."""
        features = self.first(motion.transpose(1, 2))
        for block in self.blocks:
            features = features[..., 3:-3] + block(functional.leaky_relu(features, 0.1))
        return features.mean(dim=2)


class Warping(nn.Module):
    """An hourglass over photograph and layers' picture: flow and mask at a quarter of the size."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths, code = shape.warp, shape.code
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(shape.stem),
            nn.Conv2d(6 * shape.stem**2, widths[0], 7 if shape.stem == 1 else 3, padding="same"),
        )
        steps = list(pairwise(widths))
        self.halve = nn.ModuleList(Styled(nn.Conv2d(a, b, 4, 2, 1), a, code) for a, b in steps)
        self.look = nn.ModuleList(Styled(nn.Conv2d(b, b, 3, padding=1), b, code) for _, b in steps)
        self.keep, self.grow, self.jump = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = widths[-1]
        for outputs in widths[-2:-5:-1]:
            self.keep.append(Styled(nn.Conv2d(inputs, outputs, 3, padding=1), inputs, code))
            self.grow.append(Styled(_doubled(outputs, outputs), outputs, code))
            self.jump.append(Styled(_doubled(inputs, outputs), inputs, code))
            inputs = 2 * outputs
        self.last = nn.Sequential(
            nn.GroupNorm(1, inputs), nn.LeakyReLU(0.1), _zeroed(nn.Conv2d(inputs, 3, 7, padding=3))
        )

    def forward(self, photo: Maps, drawn: Maps, code: Code) -> tuple[Maps, Maps]:
        """Flow in halves of the side, and the mask, both as large as the pictures."""
        maps = self.stem(torch.cat([photo, drawn], dim=1))
        skips = []
        for halve, look in zip(self.halve, self.look, strict=True):
            skips.append(maps)
            maps = look(halve(maps, code), code)
        for keep, grow, jump in zip(self.keep, self.grow, self.jump, strict=True):
            maps = torch.cat([grow(keep(maps, code), code) + jump(maps, code), skips.pop()], dim=1)
        found = self.last(maps)
        found = functional.interpolate(found, size=photo.shape[-2:], mode="bilinear", align_corners=False)
        flow = MOST_FLOW * torch.tanh(found[:, :2] / MOST_FLOW) * (8 / photo.shape[-1])
        return flow, torch.sigmoid(found[:, 2:])


class Residual(nn.Module):
    """Two styled convolutions beside what goes in."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Styled(nn.Conv2d(channels, channels, 3, padding=1), channels, code) for _ in "12")

    def forward(self, maps: Maps, code: Code) -> Maps:
        """The next maps."""
        first, second = self.parts
        made: Maps = maps + second(first(maps, code), code)
        return made


class Editing(nn.Module):
    """A U-net whose skips are added: what is to be added to a picture, -1 to 1, at first nothing."""

    def __init__(self, inputs: int, widths: tuple[int, ...], shape: Shape) -> None:
        super().__init__()
        stem, code = shape.stem, shape.code
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(stem), _convolved(inputs * stem**2, widths[0], 7 if stem == 1 else 3)
        )
        steps = list(pairwise(widths))
        self.halve = nn.ModuleList(nn.Sequential(_convolved(a, b), nn.AvgPool2d(2)) for a, b in steps)
        self.blocks = nn.ModuleList(
            nn.ModuleList(Residual(b, code) for _ in range(shape.blocks)) for _, b in reversed(steps)
        )
        self.grow = nn.ModuleList(
            nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), _convolved(b, a)) for a, b in reversed(steps)
        )
        self.jump = nn.ModuleList(_convolved(a, a) for a, _ in reversed(steps))
        side = 7 if stem == 1 else 3
        self.last = nn.Sequential(
            _zeroed(nn.Conv2d(widths[0], 3 * stem**2, side, padding=side // 2)), nn.PixelShuffle(stem)
        )

    def forward(self, pictures: Maps, code: Code) -> Maps:
        """Three channels."""
        maps, skips = self.stem(pictures), []
        blocks: Any
        for halve in self.halve:
            skips.append(maps)
            maps = halve(maps)
        for blocks, grow, jump in zip(self.blocks, self.grow, self.jump, strict=True):
            for block in blocks:
                maps = block(maps, code)
            maps = grow(maps) + jump(skips.pop())
        return torch.tanh(GENTLE * self.last(maps))


def warp(pictures: Maps, flow: Maps) -> Maps:
    """Pictures that show at each place what lies `flow` away from it."""
    return functional.grid_sample(
        pictures, _grid(pictures) + flow.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def _grid(pictures: Maps) -> Float[torch.Tensor, "batch height width 2"]:
    """The middles of all pixels, from -1 to 1."""
    count, _, height, width = pictures.shape
    rows, columns = ((torch.arange(side).to(pictures) * 2 + 1) / side - 1 for side in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).expand(count, -1, -1, -1)


def fade(height: int, width: int) -> Float32[np.ndarray, "height width"]:
    """1 in the middle of a crop, 0 at its edge."""
    sides = [np.clip(np.minimum(row := np.arange(side), row[::-1]) / (EDGE * side), 0, 1) for side in (height, width)]
    rows, columns = (side * side * (3 - 2 * side) for side in sides)
    return np.outer(rows, columns).astype(np.float32)


class PortraitNetworks(nn.Module):
    """Mapping, warping, editing and the mouth's drawing together; `photo` is the person's own, where there is one."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping, self.warping = MotionMapping(shape.code), Warping(shape)
        self.editing, self.drawing = Editing(7, shape.edit, shape), Editing(6, shape.draw, shape)
        self.register_buffer("photo", torch.zeros(*shape.photo, 3))
        self.photo: torch.Tensor

    def forward(self, crops: Crops) -> Made:
        """Face and mouth of every item."""
        code = self.mapping(crops.motion)
        (height, width), side = crops.drawn_mouth.shape[-2:], crops.drawn.shape[-1]
        edge, mouth_edge = (torch.from_numpy(fade(*each)).to(code) for each in ((side, side), (height, width)))
        flow, mask = self.warping(crops.photo, crops.drawn, code)
        flow, mask = flow * edge, mask * edge
        warped = warp(crops.drawn, flow)
        edit = mask * self.editing(torch.cat([crops.photo, warped, mask], dim=1), code)
        half = crops.box[:, None, None, 2:]
        places = _grid(crops.drawn_mouth) * half + crops.box[:, None, None, :2]
        here = functional.grid_sample(torch.cat([flow, edit], dim=1), places, align_corners=False)
        mouth = warp(crops.drawn_mouth, here[:, :2] / half.permute(0, 3, 1, 2)) + here[:, 2:]
        mouth_edit = mouth_edge * self.drawing(torch.cat([crops.photo_mouth, mouth], dim=1), code)
        return Made(warped, warped + edit, mouth + mouth_edit, flow, mask, edit, mouth_edit)


def quick(device: torch.device) -> torch.autocast:
    """Convolutions in bfloat16 where a processor has units for its matrices (AMX); what there is on CUDA stays."""
    units = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.autocast("cpu", torch.bfloat16, enabled=units)


# From a portrait to crops, and back into the picture.


def windows(motion: Float32[np.ndarray, "frames 55"], places: Place) -> Float32[np.ndarray, "frames 27 58"]:
    """Motion about every frame with the box's shift and size beside it; the ends are repeated."""
    box = np.column_stack([places.shift, np.log(places.scale)])
    rows = np.clip(np.arange(len(motion))[:, None] + np.arange(-RADIUS, RADIUS + 1), 0, len(motion) - 1)
    windowed: np.ndarray = np.concatenate([motion, box], axis=1, dtype=np.float32)[rows]
    return windowed


def crop(picture: Picture, box: Float[np.ndarray, " 4"], width: int, height: int) -> Picture:
    """The part of a picture within a box (left, top, right, bottom in pixels), in another size."""
    left, top, right, bottom = box
    scale = width / (right - left)
    first = np.maximum(np.floor([left, top]).astype(int) - 4, 0)
    last = np.ceil([right, bottom]).astype(int) + 5
    part = np.ascontiguousarray(picture[first[1] : max(last[1], first[1] + 1), first[0] : max(last[0], first[0] + 1)])
    return resample(part, np.array([[scale, 0, -scale * (left - first[0])], [0, scale, -scale * (top - first[1])]]),
                    width, height)  # fmt: skip


def crops_of(
    pictures: Iterable[Picture], boxes: Float[np.ndarray, "frames 4"], mouth: Float[np.ndarray, " 4"], shape: Shape
) -> tuple[UInt8[np.ndarray, "frames _ _ 3"], UInt8[np.ndarray, "frames _ _ 3"]]:
    """Face and mouth of pictures; boxes of faces in pixels, and the mouth's within the face's, as `Crops.box`."""
    pairs = [
        (crop(picture, box, shape.size, shape.size), crop(picture, mouth_box(box, mouth), *shape.mouth))
        for picture, box in zip(pictures, boxes, strict=True)
    ]
    return np.stack([face for face, _ in pairs]), np.stack([mouth for _, mouth in pairs])


def mouth_box(face: Float[np.ndarray, " 4"], mouth: Float[np.ndarray, " 4"]) -> Float[np.ndarray, " 4"]:
    """The mouth's box in pixels of the picture."""
    side = face[2:] - face[:2]
    middle, half = face[:2] + (1 + mouth[:2]) / 2 * side, mouth[2:] / 2 * side
    return np.concatenate([middle - half, middle + half])


def as_maps(pictures: UInt8[np.ndarray, "batch height width 3"]) -> Maps:
    """Pictures as the networks take them."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def refined(
    portrait: Portrait, networks: PortraitNetworks, motion: MotionClip, pictures: Iterable[Picture]
) -> Iterator[Picture]:
    """The layers' pictures of a motion, drawn again."""
    places = portrait.places(motion)
    return redrawn(portrait, networks, windows(motion.values, places), places.boxes, pictures)


def redrawn(
    portrait: Portrait,
    networks: PortraitNetworks,
    motions: Float32[np.ndarray, "frames 27 58"],
    faces: Float[np.ndarray, "frames 4"],
    pictures: Iterable[Picture],
) -> Iterator[Picture]:
    """The same for windows of motion and boxes of faces in the pictures."""
    shape = networks.shape
    photo = crops_of([portrait.photo], portrait.face_box[None], portrait.mouth_box, shape)
    photo_maps, photo_mouth = map(as_maps, photo)
    box = torch.from_numpy(portrait.mouth_box).float()
    numbered = enumerate(pictures)
    while together := list(islice(numbered, TOGETHER)):
        frames = [frame for frame, _ in together]
        boxes, count = faces[frames], len(frames)
        drawn = crops_of((picture for _, picture in together), boxes, portrait.mouth_box, shape)
        repeated = [each.expand(count, -1, -1, -1) for each in (photo_maps, photo_mouth)]
        seen = Crops(
            torch.from_numpy(motions[frames]), repeated[0], as_maps(drawn[0]), repeated[1], as_maps(drawn[1]),
            box.expand(count, 4),
        )  # fmt: skip
        with torch.inference_mode(), quick(networks.photo.device):
            made = networks(seen)
        parts = [each.float().permute(0, 2, 3, 1).numpy() for each in (made.flow, made.edit, made.mouth_edit)]
        for (_, picture), face, flow, edit, mouth_edit in zip(together, boxes, *parts, strict=True):
            yield _applied(picture, face, mouth_box(face, portrait.mouth_box), flow, edit, mouth_edit)


def _applied(
    picture: Picture, face: np.ndarray, mouth: np.ndarray, flow: np.ndarray, edit: np.ndarray, mouth_edit: np.ndarray
) -> Picture:
    """The whole picture bent by the flow of its face, with what is added to face and mouth.

    Lines too fine for the mouth's crop, such as the edges of teeth, fade where much is drawn over them.
    """
    result = picture.copy()
    height, width = picture.shape[:2]
    left, top = np.clip(np.floor(face[:2]).astype(int), 0, (width - 1, height - 1))
    right, low = np.clip(np.ceil(face[2:]).astype(int), (left + 1, top + 1), (width, height))
    size, origin = (int(right - left), int(low - top)), np.array([left, top])
    bent = _laid(flow, face, origin, size) * (float(face[2] - face[0]) / 2)
    columns, rows = (np.arange(side, dtype=np.float32) for side in size)
    places = np.stack(np.meshgrid(columns, rows), axis=-1) + bent + origin.astype(np.float32)
    changed: Any = cv2.remap(picture, places, np.zeros(0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    drawn = _laid(mouth_edit, mouth, origin, size)
    soft = SOFT * float(mouth[2] - mouth[0]) / mouth_edit.shape[1]
    new = cv2.GaussianBlur(np.clip(np.abs(drawn).max(axis=2) / STRONG, 0, 1), (0, 0), soft)[..., None]
    changed = changed + new * (cv2.GaussianBlur(changed, (0, 0), soft).astype(np.float32) - changed)
    added = _laid(edit, face, origin, size) + drawn
    result[top:low, left:right] = np.clip(np.rint(changed + 255 * added), 0, 255)
    return result


def _laid(values: np.ndarray, box: np.ndarray, origin: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of a crop over a part of the picture, 0 beyond the crop."""
    scale = (box[2:] - box[:2]) / values.shape[1::-1]
    shift = box[:2] - origin + 0.5 * scale - 0.5
    onto = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    laid: np.ndarray = cv2.warpAffine(values, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return laid


# Files.


def untrained(shape: Shape, seed: int = 0) -> PortraitNetworks:
    """Networks of random weights, the same for the same seed, that change nothing yet."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return PortraitNetworks(shape)


def save_networks(networks: PortraitNetworks, path: Path, about: Mapping[str, object]) -> None:
    """Write the networks, with the person's photograph where they have one; see `weights.save_weights`."""
    save_weights(networks, path, {"format": FORMAT, "kind": KIND, "shape": asdict(networks.shape), "about": about})


def load_networks(path: Path) -> PortraitNetworks:
    """The networks of a file; InputError for another or a damaged one."""
    with weights_of(KIND, path, _REMEDY):
        header, tensors = read_weights(path, (FORMAT,), KIND)
        lists: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in header["shape"].items()
        }
        shape = Shape(**lists)
        networks: Any = build_network(lambda: PortraitNetworks(shape), tensors)
        loaded: PortraitNetworks = networks.to(memory_format=torch.channels_last)
        return loaded
