"""Who is in a picture: 128 numbers of a face by dlib's network as face-api carries it (MIT), near for one person.

    npm pack @vladmandic/face-api@1.7.15
    tar xzf vladmandic-face-api-1.7.15.tgz package/model

>>> identity = load_identity(Path("package/model"))
>>> np.linalg.norm(np.subtract(*identity(pictures, landmarks)))       # some 0.3 of one person, over 0.55 of two

Its distances are no other network's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from avi_lib.errors import InputError
from avi_lib.face.portrait_pages import resample
from avi_lib.files import file_sha256

Identity = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]
"""Pictures and landmarks (pictures, marks, 2) in, (pictures, 128) out."""
NAME, SHA256 = "face_recognition_model", "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589"
SIDE, MARGIN = 150, 1.15  # pixels of a face's square, and its side in those of the landmarks' box
MEAN_RGB = torch.tensor([122.782, 117.001, 104.298])[:, None, None]
BLOCKS = "32_1 32_2 32_3 64_down 64_1 64_2 64_3 128_down 128_1 128_2 256_down 256_1 256_2 256_down_out".split()


def load_identity(folder: Path) -> Identity:
    """The network of the package's folder of models; InputError for other weights."""
    path, weights, start = folder / f"{NAME}.bin", dict[str, torch.Tensor](), 0
    if not path.is_file() or file_sha256(path) != SHA256:
        raise InputError(f"a folder with {NAME}.bin of face-api 1.7.15", str(folder), "fetch it as said in identity.py")
    [told] = json.loads((folder / f"{NAME}-weights_manifest.json").read_text("utf-8"))
    content = path.read_bytes()
    for each in told["weights"]:  # most of eight bits
        how = each.get("quantization", {"dtype": each["dtype"], "scale": 1.0, "min": 0.0})
        values = np.frombuffer(content, how["dtype"], int(np.prod(each["shape"])), start)
        scaled = (values * how["scale"] + how["min"]).astype(np.float32).reshape(each["shape"])
        weights[each["name"]], start = torch.from_numpy(scaled), start + values.nbytes

    def convolved(maps: torch.Tensor, name: str, halves: bool) -> torch.Tensor:
        parts = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
        filters, bias, scale, shift = (weights[f"{name}/{part}"] for part in parts)
        found = functional.conv2d(maps, filters.permute(3, 2, 0, 1), bias, 2 if halves else 1, 0 if halves else 1)
        return found * scale[:, None, None] + shift[:, None, None]

    @torch.inference_mode()
    def identity(pictures: Sequence[np.ndarray], landmarks: np.ndarray) -> np.ndarray:
        faces = np.stack([_square(*each) for each in zip(pictures, landmarks, strict=True)])
        maps = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() - MEAN_RGB) / 255
        maps = functional.max_pool2d(convolved(maps, "conv32_down", True).relu(), 3, 2)
        for block in BLOCKS:
            found = convolved(maps, f"conv{block}/conv1", "down" in block).relu()
            found = convolved(found, f"conv{block}/conv2", False)
            if "down" in block:
                maps = functional.avg_pool2d(maps, 2)
                high, wide = maps.shape[2] - found.shape[2], maps.shape[3] - found.shape[3]
                found = functional.pad(found, (0, wide, 0, high))
                maps = functional.pad(maps, (0, 0, 0, 0, 0, found.shape[1] - maps.shape[1]))
            maps = (maps + found).relu()
        numbers: np.ndarray = (maps.mean(dim=(2, 3)) @ weights["fc"]).numpy()
        return numbers

    return identity


def _square(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A face with a margin."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    scale = SIDE / (MARGIN * float((high - low).max()))
    shift = SIDE / 2 - scale * (low + high) / 2
    return resample(picture, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), SIDE, SIDE)
