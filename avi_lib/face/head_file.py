"""The fields of a baked head, read from an .npz that may be anyone's and checked before they are used.

In: the file that `python -m tools.assets.bake_head` writes. Out: its arrays by name, whose sizes fit each other, whose
indices name what is there, and whose lengths are finite.

>>> fields = read_head_file(Path("head_open.npz"), InputError)
>>> fields["points"].shape, fields["weld"].shape
((9582, 3), (9783,))
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avi_lib.errors import AviError
from avi_lib.motion.arrays import UNREADABLE, read_array, read_header
from avi_lib.motion.space import ARKIT_BLENDSHAPES

FORMAT = 1
REGIONS = ("lips", "upper_lip_inner", "lower_lip_inner", "eyes", "upper_face", "face")
REBAKE = "bake it again with python -m tools.assets.bake_head"
MAX_SIDE = 8192
"""Pixels a side of the largest atlas."""
REACH_M = 10.0
"""No point of a head in metres lies further from the origin along an axis, and none is moved further."""

_MOST = {"vertices": 200_000, "points": 200_000, "triangles": 400_000, "moves": 10_000_000, "bytes": 16 << 20}
_MOST |= {"sliders": 100, "slider starts": 101, "members": 200_000}
"""Largest sizes by name; 152 shapes of so many points take 365 MB."""
_MAY_BE_EMPTY = ("moves", "sliders")
_MOST_NAME = 80

_SHAPES = len(ARKIT_BLENDSHAPES)
_FIELDS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "weld": ("iu", ("vertices",)),
    "points": ("f", ("points", 3)),
    "shape_names": ("U", (_SHAPES,)),
    "shape_starts": ("iu", (_SHAPES + 1,)),
    "shape_points": ("iu", ("shape moves",)),
    "shape_steps": ("iu", ("shape moves", 3)),
    "shape_step_m": ("f", ()),
    "identity_names": ("U", ("sliders",)),
    "identity_starts": ("iu", ("slider starts",)),
    "identity_points": ("iu", ("identity moves",)),
    "identity_steps": ("iu", ("identity moves", 3)),
    "identity_step_m": ("f", ()),
    "triangles": ("iu", ("triangles", 3)),
    "uv": ("u", ("vertices", 2)),
    "material": ("u", ("triangles",)),
    "occlusion": ("u", ("vertices",)),
    "head_weight": ("u", ("vertices",)),
    "pivot": ("f", (3,)),
    "eyeball_bounds": ("iu", (2, 2)),
    "eye_centres": ("f", (2, 3)),
    "atlas": ("u", ("bytes",)),
    **{f"region_{region}": ("iu", (f"{region} members",)) for region in REGIONS},
}
"""Letters of numpy's types and the shape of each field; one name of a size is one size throughout."""
_LARGEST = {"uv": 65535, "head_weight": 65535, "occlusion": 255, "material": 255, "atlas": 255}
"""Of the fractions of 1, and of bytes."""


def read_head_file(path: Path, refused: type[AviError]) -> dict[str, np.ndarray]:
    """The fields of a baked head: lengths as float32, the rest as it is kept.

    No array is made before its size is known to be within limits, and none is unpickled. Raises `refused`, in one
    line, for a file that is no archive, of another format, or whose fields do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            opened = partial(archive.open, "format.npy")
            version = read_array(opened, "format", "iufU", 64) if "format" in names else "none"
            if not np.array_equal(version, FORMAT):
                raise refused(f"format {FORMAT} in {path}", _line(str(version)), REBAKE)
            if missing := [name for name in _FIELDS if name not in names]:
                raise refused(f"every field of a baked head in {path}", f"none of {', '.join(missing[:6])}", REBAKE)
            try:
                sizes: dict[str, int] = {}
                fields = {name: _field(archive, name, sizes) for name in _FIELDS}
                _check(fields, sizes)
            except ValueError as error:
                raise refused(f"every field of a baked head in {path}", _line(str(error)), REBAKE) from error
    except (*UNREADABLE, IndexError, OverflowError) as error:
        raise refused(f"a baked head in {path}", f"an unreadable file ({_line(str(error))})", REBAKE) from error
    return fields


def open_atlas(content: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of an atlas's bytes; ValueError for no WebP, PNG or JPEG, or sides above MAX_SIDE."""
    stream = io.BytesIO(content.tobytes())
    try:
        with warnings.catch_warnings(action="error"), Image.open(stream, formats=("WEBP", "PNG", "JPEG")) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ValueError(f"{picture.width} x {picture.height}, more than {MAX_SIDE} a side")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"an atlas that is no picture ({error})") from error


def _line(text: str) -> str:
    return " ".join(text[:200].split())


def _field(archive: zipfile.ZipFile, name: str, sizes: dict[str, int]) -> np.ndarray:
    """One field, read once its header's shape is known to fit those before it."""
    kinds, expected = _FIELDS[name]
    opened = partial(archive.open, f"{name}.npy")
    shape, dtype = read_header(opened)
    _fit(name, shape, expected, sizes)
    if dtype.kind == "U" and dtype.itemsize > 4 * _MOST_NAME:
        raise ValueError(f"{name} of more than {_MOST_NAME} signs")
    array = read_array(opened, name, kinds, math.prod(shape) * dtype.itemsize)
    with np.errstate(over="ignore"):  # what is beyond measure is refused by _check
        return array.astype(np.float32) if kinds == "f" else array


def _most(size: str) -> int:
    return _MOST[size] if size in _MOST else _MOST[size.rpartition(" ")[2]]


def _check(fields: dict[str, np.ndarray], sizes: dict[str, int]) -> None:
    """Raise ValueError unless the fields, whose sizes fit, are those of one head."""
    if sizes["slider starts"] != sizes["sliders"] + 1:
        raise ValueError(f"{sizes['slider starts']} identity_starts for {sizes['sliders']} sliders")
    if tuple(fields["shape_names"].tolist()) != ARKIT_BLENDSHAPES:
        raise ValueError("the blendshapes are not ARKit's 52 in order")
    if not all(name.isprintable() for name in fields["identity_names"].tolist()):
        raise ValueError("identity_names that cannot be printed")
    vertices, points = sizes["vertices"], sizes["points"]
    _within(fields, "weld", points - 1)
    _within(fields, "triangles", vertices - 1)
    _within(fields, "eyeball_bounds", vertices)
    if (np.diff(fields["eyeball_bounds"].astype(np.int64), axis=1) < 0).any():
        raise ValueError("eyeball_bounds that fall")
    for name, largest in _LARGEST.items():
        _within(fields, name, largest)
    for region in REGIONS:
        _within(fields, f"region_{region}", vertices - 1)
    for kind in ("shape", "identity"):
        _within(fields, f"{kind}_points", points - 1)
        _check_starts(fields, kind)
    for name in ("points", "pivot", "eye_centres"):
        if not (np.abs(fields[name]) <= REACH_M).all():
            raise ValueError(f"{name} with NaN or beyond {REACH_M:g} m")


def _fit(name: str, shape: tuple[int, ...], expected: tuple[str | int, ...], sizes: dict[str, int]) -> None:
    """Raise ValueError unless a field's shape is the expected one; sizes that are met for the first time are noted."""
    fits = len(shape) == len(expected)
    for got, size in zip(shape, expected, strict=False):
        if isinstance(size, int):
            fits &= got == size
        else:
            empty_fits = size.rpartition(" ")[2] in _MAY_BE_EMPTY
            fits &= sizes.setdefault(size, got) == got and (got > 0 or empty_fits) and got <= _most(size)
    if not fits:
        wanted = ", ".join(str(sizes.get(size, size)) if isinstance(size, str) else str(size) for size in expected)
        raise ValueError(f"{name} of the shape {shape}, not ({wanted}), or larger than a head's")


def _within(fields: dict[str, np.ndarray], name: str, largest: int) -> None:
    values = fields[name]
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= largest:
        raise ValueError(f"{name} from {values.min()} to {values.max()}, not within 0 to {largest}")


def _check_starts(fields: dict[str, np.ndarray], kind: str) -> None:
    """Raise ValueError unless the shapes lie one behind the other among the moves and move within reach."""
    starts, steps, step_m = fields[f"{kind}_starts"].astype(np.int64), fields[f"{kind}_steps"], fields[f"{kind}_step_m"]
    if starts[0] != 0 or starts[-1] != len(steps) or (np.diff(starts) < 0).any():
        raise ValueError(f"{kind}_starts that do not rise from 0 to {len(steps)}")
    most = float(np.abs(steps.astype(np.float64)).max()) if steps.size else 1.0
    if not abs(float(step_m)) * most <= REACH_M:
        raise ValueError(f"{kind}_step_m of {step_m:g}, which moves points beyond {REACH_M:g} m")
