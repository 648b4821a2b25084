"""Cameras and views of a head: from where it is pictured, how large, before what; and its materials.

>>> View(512, 512, FRAMINGS["face"].orbit(20.0), "#20242a").matrix()  # world (x, y, z, 1) to clip coordinates
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError

MOST_PITCH_RAD = math.radians(80.0)
NEAR_M, FAR_M = 0.2, 4.0


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks (metres, y up, the head faces +z); `fov_deg` is what the shorter side sees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_deg: float = 24.0

    def matrix(self, aspect: float = 1.0) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates of a picture `aspect` times as wide as high.

        Rows of the picture run downwards, so clip y grows towards the chin.
        """
        back, right, up = self._axes()
        view = np.eye(4)
        view[:3, :3] = right, up, back
        view[:3, 3] = -view[:3, :3] @ np.asarray(self.position)
        focal = 1.0 / math.tan(math.radians(self.fov_deg) / 2.0)
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = focal / max(aspect, 1.0), -focal * min(aspect, 1.0)
        projection[2, 2:] = -(FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2.0 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
        projection[3, 2] = -1.0
        return (projection @ view).astype(np.float32)

    def rays(self, width: int, height: int) -> Float32[np.ndarray, "3 3"]:
        """From what a pixel shows towards the camera: rays[0] + column * rays[1] + row * rays[2], not of unit length.

        Columns and rows count from the picture's upper left corner; a pixel's middle is at its number plus one half.
        """
        back, right, up = self._axes()
        step = 2.0 * math.tan(math.radians(self.fov_deg) / 2.0) / min(width, height)
        corner = back + 0.5 * step * (width * right - height * up)
        return np.array([corner, -step * right, step * up], np.float32)

    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        back = np.asarray(self.position) - np.asarray(self.target)
        back /= np.linalg.norm(back)
        right = np.cross((0.0, 1.0, 0.0), back)
        right /= np.linalg.norm(right)
        return back, right, np.cross(back, right)

    def orbit(self, yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
        """The same camera carried around its target: yaw > 0 to the picture's right, pitch > 0 up (within +-80)."""
        x, y, z = np.asarray(self.position) - np.asarray(self.target)
        distance, across = math.hypot(x, y, z), math.hypot(x, z)
        yaw = math.atan2(x, z) + math.radians(yaw_deg)
        pitch = min(max(math.atan2(y, across) + math.radians(pitch_deg), -MOST_PITCH_RAD), MOST_PITCH_RAD)
        offset = (math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw))
        x, y, z = (at + distance * part for at, part in zip(self.target, offset, strict=True))
        return replace(self, position=(x, y, z))

    def nearer(self, times: float) -> Camera:
        """The same camera seeing a part `times` smaller, as with a longer lens."""
        half = math.atan(math.tan(math.radians(self.fov_deg) / 2.0) / times)
        return replace(self, fov_deg=math.degrees(2.0 * half))


PORTRAIT = Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.047, 0.0))
"""A bust, seen as with an 85 mm lens from a metre away, the eyes a little above the middle."""

FRAMINGS = {
    "portrait": PORTRAIT,
    "face": Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.018, 0.0)).nearer(1.55),
    "mouth": Camera(position=(0.0, -0.070, 0.96), target=(0.0, -0.078, 0.05)).nearer(3.6),
    "eyes": Camera(position=(0.0, 0.0, 0.96), target=(0.0, -0.004, 0.03)).nearer(3.0),
}
"""Cameras by the name of what fills the picture."""


# Materials: how surfaces answer light.


class Material(NamedTuple):
    """How one kind of surface answers light.

    `contact` says how much of all light is kept by what lies close before it, `shadow` how much of the key light by
    what stands in it, `strands` how far it answers as hair along the atlas's columns (Kajiya and Kay, 1989).
    """

    name: str
    wrap_rgb: tuple[float, float, float]
    specular: float
    roughness: float
    rim: float
    contact: float
    shadow: float
    strands: float = 0.0
    two_sided: bool = False


MATERIALS = (
    Material("skin", (0.32, 0.18, 0.12), 0.0095, 0.50, 0.30, 0.20, 0.90),
    Material("lips", (0.32, 0.18, 0.14), 0.0090, 0.42, 0.20, 0.25, 0.85),
    Material("eye", (0.25, 0.22, 0.20), 0.0200, 0.15, 0.0, 0.75, 0.80),
    Material("teeth", (0.30, 0.26, 0.22), 0.0100, 0.28, 0.0, 0.25, 0.55),
    Material("tongue", (0.36, 0.18, 0.14), 0.0120, 0.36, 0.0, 0.40, 0.75),
    Material("hair", (0.15, 0.13, 0.12), 0.0040, 0.46, 0.12, 0.30, 0.85, strands=0.5, two_sided=True),
    Material("cloth", (0.10, 0.10, 0.10), 0.0, 0.80, 0.0, 0.25, 0.90, two_sided=True),
)
"""Triangles name their material by its place in this table."""

MATERIAL_NAMES = tuple(material.name for material in MATERIALS)


# Views: the size of the picture, the camera, and what is behind the head.


WALL_TOP, WALL_BOTTOM = (116, 125, 136), (62, 68, 77)
MIN_SIDE, MAX_SIDE = 64, 4096
STUDIO, TRANSPARENT = "studio", "transparent"


def background(width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The studio wall behind the head: a soft vertical gradient."""
    down = np.linspace(0.0, 1.0, height)[:, None]
    smooth = down * down * (3.0 - 2.0 * down)
    rows = np.asarray(WALL_TOP) * (1.0 - smooth) + np.asarray(WALL_BOTTOM) * smooth
    return np.repeat(np.rint(rows).astype(np.uint8)[:, None], width, axis=1)


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
        if self.backdrop not in (STUDIO, TRANSPARENT) and not re.fullmatch("#[0-9a-fA-F]{6}", self.backdrop):
            expected = f"a backdrop: {STUDIO}, {TRANSPARENT} or #rrggbb"
            raise InputError(expected, repr(self.backdrop), "write for example #20242a")

    @classmethod
    def square(cls, side: int, camera: Camera = PORTRAIT, backdrop: str = STUDIO) -> View:
        """A picture as wide as it is high."""
        return cls(side, side, camera, backdrop)

    def matrix(self) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates; see `Camera.matrix`."""
        return self.camera.matrix(self.width / self.height)

    def wall(self) -> UInt8[np.ndarray, "height width channels"]:
        """What is seen where the mesh is not; of four channels, all zeros, where that is nothing."""
        if self.backdrop == STUDIO:
            return background(self.width, self.height)
        if self.backdrop == TRANSPARENT:
            return np.zeros((self.height, self.width, 4), np.uint8)
        return np.full((self.height, self.width, 3), list(bytes.fromhex(self.backdrop[1:])), np.uint8)
