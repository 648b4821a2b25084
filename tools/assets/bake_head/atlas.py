"""The layout of the texture atlas, 2048 x 1024: one tile for each kind of surface.

>>> place(np.array([[0.0, 0.0], [1.0, 1.0]]), "eye")  # corners of a tile in the atlas, 0-1
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

WIDTH, HEIGHT = 2048, 1024
MARGIN_PX = 4


class Tile(NamedTuple):
    """A rectangle of the atlas in pixels: left, top, width, height."""

    left: int
    top: int
    width: int
    height: int


TILES = {
    "face": Tile(0, 0, 1152, 1024),
    "left_socket": Tile(1156, 0, 120, 120),
    "right_socket": Tile(1280, 0, 120, 120),
    "lash": Tile(1404, 0, 64, 120),
    "collar": Tile(1472, 0, 60, 120),
    "mouth": Tile(1156, 124, 376, 300),
    "neck": Tile(1156, 428, 376, 300),
    "tongue": Tile(1156, 732, 120, 292),
    "cloth": Tile(1280, 732, 252, 292),
    "eye": Tile(1536, 0, 404, 404),
    "teeth": Tile(1536, 408, 512, 120),
    "hair": Tile(1536, 532, 512, 492),
}


def place(local: Float64[np.ndarray, "V 2"], tile: str) -> Float64[np.ndarray, "V 2"]:
    """Coordinates within a tile (0-1, rows downwards) as atlas coordinates; a margin keeps bilinear reads inside."""
    left, top, width, height = TILES[tile]
    inner = np.array([width - 2 * MARGIN_PX, height - 2 * MARGIN_PX])
    pixels = np.array([left, top]) + MARGIN_PX + np.clip(local, 0.0, 1.0) * inner
    return pixels / np.array([WIDTH, HEIGHT])


def tile_grid(tile: str) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates 0-1 (columns, rows) of the pixel centres of a tile, the inverse of `place`, each (height, width)."""
    _, _, width, height = TILES[tile]
    columns = (np.arange(width) + 0.5 - MARGIN_PX) / (width - 2 * MARGIN_PX)
    rows = (np.arange(height) + 0.5 - MARGIN_PX) / (height - 2 * MARGIN_PX)
    grid = np.meshgrid(columns, rows)
    return grid[0], grid[1]
