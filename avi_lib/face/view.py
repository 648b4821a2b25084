"""How a mesh is pictured: the size of the picture, the camera, and what is behind.

>>> View(1080, 1920).matrix().shape  # world coordinates to clip coordinates of an upright picture
(4, 4)
>>> View(512, 512, backdrop="transparent").channels
4
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import PORTRAIT, Camera
from avi_lib.face.shading import background

MIN_SIDE, MAX_SIDE = 64, 4096
STUDIO, TRANSPARENT = "studio", "transparent"
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class View:
    """A picture of width x height pixels; `backdrop` is studio (a soft grey wall), transparent, or #rrggbb.

    Raises InputError for sides that are odd or not of 64-4096 pixels, and for another backdrop.
    """

    width: int = 512
    height: int = 512
    camera: Camera = PORTRAIT
    backdrop: str = STUDIO

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn or encoded."""
        for side in (self.width, self.height):
            if side % 2 or not MIN_SIDE <= side <= MAX_SIDE:
                raise InputError(f"an even picture size of {MIN_SIDE}-{MAX_SIDE}", str(side), "use 512")
        check_backdrop(self.backdrop)

    @classmethod
    def square(cls, side: int, camera: Camera = PORTRAIT, backdrop: str = STUDIO) -> View:
        """A picture as wide as it is high."""
        return cls(side, side, camera, backdrop)

    @property
    def channels(self) -> int:
        """4 where the picture says how much of a pixel is covered, else 3."""
        return 4 if self.backdrop == TRANSPARENT else 3

    def matrix(self) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates; see `Camera.matrix`."""
        return self.camera.matrix(self.width / self.height)

    def rays(self) -> Float32[np.ndarray, "3 3"]:
        """From what a pixel shows towards the camera; see `Camera.rays`."""
        return self.camera.rays(self.width, self.height)

    def wall(self) -> UInt8[np.ndarray, "height width channels"]:
        """What is seen where the mesh is not; all zeros where that is nothing."""
        if self.backdrop == STUDIO:
            return background(self.width, self.height)
        wall = np.zeros((self.height, self.width, self.channels), np.uint8)
        if self.backdrop != TRANSPARENT:
            wall[:] = np.frombuffer(bytes.fromhex(self.backdrop[1:]), np.uint8)
        return wall


def check_backdrop(backdrop: str) -> None:
    """Raise InputError unless `backdrop` is one that a View takes."""
    if backdrop not in (STUDIO, TRANSPARENT) and not _COLOUR.fullmatch(backdrop):
        raise InputError(f"a backdrop: {STUDIO}, {TRANSPARENT} or #rrggbb", repr(backdrop), "write for example #20242a")
