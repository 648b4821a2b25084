"""Arrays from files of others: the header is checked before anything of the size it claims is allocated.

>>> with zipfile.ZipFile(path) as archive:
...     values = read_array(partial(archive.open, "values.npy"), "values", "fiu", most_bytes=1 << 30)

No pickle is ever opened: an array of objects is refused by its header.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

import numpy as np
from numpy.lib import format as npy

UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, MemoryError),
    *(KeyError, ValueError, TypeError, SyntaxError, tokenize.TokenError),
)
"""What a damaged archive, and then a damaged array header, make the readers of both raise."""


def read_header(opened: Callable[[], IO[bytes]]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in npy format, whose stream `opened` opens; damage raises one of `UNREADABLE`."""
    with opened() as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
    return shape, dtype


def read_array(opened: Callable[[], IO[bytes]], name: str, kinds: str, most_bytes: int) -> np.ndarray:
    """One array in npy format.

    Args:
        opened: opens the stream; called twice, for the header and for the whole.
        name: of the array, for the error.
        kinds: numpy's letters of the types that are allowed, such as "fiu" or "U".
        most_bytes: largest array that is read.

    Raises:
        ValueError: another type or a larger array; other damage raises one of `UNREADABLE`.
    """
    shape, dtype = read_header(opened)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} of the type {dtype}")
    if math.prod(shape) * dtype.itemsize > most_bytes:
        raise ValueError(f"{name} of the shape {shape} and type {dtype}, more than {most_bytes} bytes")
    with opened() as stream:
        return npy.read_array(stream, allow_pickle=False)
