"""An independent judge of emotion: what a network that saw photographs of people only says of rendered faces.

>>> judge = load_judge()
>>> shares = judge.judge(pictures, face_boxes(head, motion.values, size=320))     # (pictures, 7)
>>> EXPRESSIONS[shares.mean(axis=0).argmax()]
'happy'

No network of this project was trained with the judge or by it. The brows of the shipped heads were shaped with a look
at what it says of anger, so that it is not independent of these heads there. It knows seven expressions; calm, contempt
and boredom are none of them. How far to trust it: see `PUBLISHED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from avi_lib.errors import InputError
from avi_lib.face.camera import PORTRAIT
from avi_lib.face.head import Head
from avi_lib.models import ASSETS, load_manifest
from avi_lib.weights import build_network, weights_of

# Mini-Xception, a small network that tells seven expressions of a face, in torch.


EXPRESSIONS = ("angry", "disgusted", "fear", "happy", "sad", "surprised", "neutral")
"""What the network tells apart, in its order, in the words of instructions."""
SIDE = 64
WIDTHS = (8, 16, 32, 64, 128)
SHIPPED_JUDGE = ASSETS / "judge.safetensors"


class Block(nn.Module):
    """Two separable convolutions and a pooling, beside a shortcut of one convolution; padded as TensorFlow does."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(before, after, 1, stride=2)
        self.depth = nn.Conv2d(before, before, 3, padding=1, groups=before)
        self.point = nn.Conv2d(before, after, 1)
        self.depth_2 = nn.Conv2d(after, after, 3, padding=1, groups=after)
        self.point_2 = nn.Conv2d(after, after, 1)

    def forward(self, x: Float[torch.Tensor, "n before side side"]) -> torch.Tensor:
        """Half the size, more channels."""
        found = self.point_2(self.depth_2(functional.relu(self.point(self.depth(x)))))
        odd = found.shape[-1] % 2  # where one pixel is missing it lies below and right
        return torch.as_tensor(functional.max_pool2d(found, 3, 2, odd, ceil_mode=True) + self.shortcut(x))


class ExpressionNetwork(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, WIDTHS[0], 3)
        self.second = nn.Conv2d(WIDTHS[0], WIDTHS[0], 3)
        self.blocks = nn.ModuleList(Block(*sides) for sides in pairwise(WIDTHS))
        self.last = nn.Conv2d(WIDTHS[-1], len(EXPRESSIONS), 3, padding=1)

    @torch.inference_mode()
    def forward(self, faces: Float[torch.Tensor, "n 1 height width"]) -> Float[torch.Tensor, "n expressions"]:
        """Probabilities of `EXPRESSIONS` for grey faces with values from -1 to 1."""
        x = functional.relu(self.second(functional.relu(self.first(faces))))
        for block in self.blocks:
            x = block(x)
        said: torch.Tensor = self.last(x).mean(dim=(2, 3)).softmax(dim=1)
        return said


PUBLISHED = "66 % of the photographs of FER-2013, seven expressions (published: Arriaga et al. 2017; not measured here)"
MARGINS = (1.0, 1.1, 1.2)
"""Sides of the squares that are cut out, in sides of the face's box. The network tells one crop from another, so that
several, each also mirrored, are judged and averaged."""
LANDMARKS = 0.82
"""Share of the height of a head's region `face`, from the chin, that the landmarks of face trackers cover."""

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Judge:
    """The network, where its weights come from and under which licence."""

    network: ExpressionNetwork
    reason: str
    licence: str

    def judge(
        self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], boxes: Float[np.ndarray, "pictures 4"]
    ) -> Float32[np.ndarray, "pictures expressions"]:
        """Probabilities of `EXPRESSIONS` for the face in every picture.

        boxes: left, top, right and bottom of each face in pixels; InputError when there is not one for each picture.
        """
        if len(pictures) != len(boxes):
            got = f"{len(pictures)} pictures and {len(boxes)} boxes"
            raise InputError("a box for every picture", got, "leave out pictures without a face")
        if not pictures:
            return np.zeros((0, len(EXPRESSIONS)), np.float32)
        views = np.stack([cut for pair in zip(pictures, boxes, strict=True) for cut in _views(*pair)])
        faces = torch.from_numpy(views)[:, None]
        shares = torch.cat([self.network(faces[first : first + _BATCH]) for first in range(0, len(faces), _BATCH)])
        return np.asarray(shares.unflatten(0, (len(pictures), -1)).mean(dim=1).numpy())


def load_judge(path: Path | None = None) -> Judge:
    """The judge with the shipped weights, or with those of a safetensors file; InputError for other weights."""
    weights = path or SHIPPED_JUDGE
    with weights_of("mini-Xception with seven expressions", weights, "convert them again"):
        network = build_network(ExpressionNetwork, load_file(weights)).requires_grad_(False)
    if path is not None:
        return Judge(network, f"weights of {path}", "that of your own copy")
    [shipped] = (asset for asset in load_manifest().shipped if asset.path == weights)
    return Judge(network, "shipped weights", shipped.licence)


def face_boxes(head: Head, values: Float[np.ndarray, "frames channels"], size: int) -> Float32[np.ndarray, "frames 4"]:
    """Boxes of the face in pictures of a head by the portrait camera: left, top, right, bottom in pixels.

    They reach from the chin up to where the landmarks of a face tracker end, so that renders and photographs are cut
    alike: on the open head MediaPipe's box is 127 pixels high of 320, this one too.
    """
    vertices = head.deform(values)[:, head.regions["face"]]
    clip = np.concatenate([vertices, np.ones_like(vertices[..., :1])], axis=2) @ PORTRAIT.matrix().T
    at = (clip[..., :2] / clip[..., 3:] + 1) / 2 * size
    (left, top), (right, bottom) = at.min(axis=1).T, at.max(axis=1).T
    return np.stack([left, bottom - LANDMARKS * (bottom - top), right, bottom], axis=1).astype(np.float32)


def _views(rgb: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"]) -> list[Float32[np.ndarray, "s s"]]:
    """Grey squares about the face with values from -1 to 1, each also mirrored; beyond the picture its edge goes on."""
    if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise InputError("a box: left, top, right, bottom", f"{box.tolist()}", "leave out pictures without a face")
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    middle, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    views = []
    for margin in MARGINS:
        scale = side * margin / SIDE
        corner = middle - side * margin / 2 + scale / 2 - 0.5  # OpenCV counts from the middle of the first pixel
        onto = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        smooth = cv2.GaussianBlur(grey, (0, 0), scale / 2) if scale > 1 else grey
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(smooth, onto, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        face = cut.astype(np.float32) / 127.5 - 1
        views += [face, face[:, ::-1].copy()]
    return views
