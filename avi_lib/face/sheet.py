"""Contact sheets: many pictures side by side in one PNG.

>>> write_png(Path("emotions.png"), contact_sheet(pictures, columns=4))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.files import atomic_path


def contact_sheet(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], columns: int) -> UInt8[np.ndarray, "H W 3"]:
    """The pictures in rows of `columns`, left to right; the last row is filled up with black.

    Raises InputError when there are none or they differ in size.
    """
    if not pictures or columns < 1:
        raise InputError(
            "at least one picture and one column", f"{len(pictures)} and {columns}", "render something first"
        )
    if len({picture.shape for picture in pictures}) > 1:
        raise InputError("pictures of one size", str({picture.shape for picture in pictures}), "render them alike")
    height, width, _ = pictures[0].shape
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    return sheet


def write_png(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write one picture; raises InputError when `path` cannot be written."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
