"""Sheets: several pictures as one, side by side and in rows; contact sheets of a video as PNG.

>>> save_picture(tiled(pictures, columns=4), Path("sheet.png"))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.lettering import PAPER, titled
from avi_lib.files import atomic_path

MOST_ABREAST = 4


def columns_of(count: int) -> int:
    """How many pictures stand side by side: up to three in one row, else as square as can be, four at most."""
    return count if count <= 3 else min(math.ceil(math.sqrt(count)), MOST_ABREAST)


def tiled(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], columns: int, titles: Sequence[str] = ()
) -> UInt8[np.ndarray, "rows across 3"]:
    """Pictures of one size in rows of `columns`, each under its title where there are some; gaps stay dark.

    Raises InputError for no picture, for pictures of different sizes, and for another number of titles.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise InputError("pictures of one size", f"{sorted({p.shape for p in pictures})}", "draw them by one renderer")
    if titles and len(titles) != len(pictures):
        raise InputError(f"{len(pictures)} titles", f"{len(titles)}", "give one to each picture")
    cells = [titled(picture, title) for picture, title in zip(pictures, titles, strict=True)] if titles else pictures
    high, wide = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.empty((rows * high, min(columns, len(cells)) * wide, 3), np.uint8)
    sheet[:] = PAPER
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet[row * high : (row + 1) * high, column * wide : (column + 1) * wide] = cell
    return sheet


def save_picture(picture: UInt8[np.ndarray, "height width channels"], path: Path) -> None:
    """Write a picture as PNG, atomically; InputError for another suffix."""
    if path.suffix.lower() != ".png":
        raise InputError("a picture ending in .png", str(path), "change the suffix")
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
