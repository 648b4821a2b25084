"""A perspective camera, and the portrait view every video uses.

>>> PORTRAIT.matrix().shape  # world coordinates (x, y, z, 1) to OpenGL clip coordinates, y pointing down the picture
(4, 4)
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


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks (metres, y up, the head faces +z); `fov_deg` is what the shorter side sees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_deg: float = 24.0
    near_m: float = 0.2
    far_m: float = 4.0

    def matrix(self, aspect: float = 1.0) -> Float32[np.ndarray, "4 4"]:
        """World to clip coordinates of a picture `aspect` times as wide as high.

        Rows of the picture run downwards, so clip y grows towards the chin.
        """
        back, right, up = self._axes()
        view = np.eye(4)
        view[:3, :3] = right, up, back
        view[:3, 3] = -view[:3, :3] @ np.asarray(self.position)
        focal = 1.0 / math.tan(math.radians(self.fov_deg) / 2.0)
        near, far = self.near_m, self.far_m
        projection = np.array(
            [
                [focal / max(aspect, 1.0), 0.0, 0.0, 0.0],
                [0.0, -focal * min(aspect, 1.0), 0.0, 0.0],
                [0.0, 0.0, -(far + near) / (far - near), -2.0 * far * near / (far - near)],
                [0.0, 0.0, -1.0, 0.0],
            ]
        )
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
        back = _unit(np.asarray(self.position) - np.asarray(self.target))
        right = _unit(np.cross((0.0, 1.0, 0.0), back))
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


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


PORTRAIT = Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.047, 0.0))
"""A bust, seen as with an 85 mm lens from a metre away, the eyes a little above the middle."""

FRAMINGS = {
    "portrait": PORTRAIT,
    "face": Camera(position=(0.0, -0.030, 0.96), target=(0.0, -0.018, 0.0)).nearer(1.55),
    "mouth": Camera(position=(0.0, -0.070, 0.96), target=(0.0, -0.078, 0.05)).nearer(3.6),
    "eyes": Camera(position=(0.0, 0.0, 0.96), target=(0.0, -0.004, 0.03)).nearer(3.0),
}
"""Cameras by the name of what fills the picture."""


# The look of a rendered head: lights, materials, background and the shading formula.


class Material(NamedTuple):
    """How one kind of surface answers light."""

    name: str
    wrap_rgb: tuple[float, float, float]
    specular: float
    roughness: float
    rim: float
    two_sided: bool = False


class Light(NamedTuple):
    """A distant light: the direction towards it (normalised when used) and its linear colour."""

    direction: tuple[float, float, float]
    rgb: tuple[float, float, float]


MATERIALS: tuple[Material, ...] = (
    Material("skin", (0.42, 0.20, 0.12), 0.0095, 0.50, 0.35),
    Material("lips", (0.36, 0.18, 0.14), 0.0120, 0.36, 0.25),
    Material("eye", (0.25, 0.22, 0.20), 0.0100, 0.13, 0.0),
    Material("teeth", (0.30, 0.26, 0.22), 0.0100, 0.28, 0.0),
    Material("tongue", (0.36, 0.18, 0.14), 0.0120, 0.36, 0.0),
    Material("hair", (0.15, 0.13, 0.12), 0.0060, 0.50, 0.12, two_sided=True),
    Material("cloth", (0.10, 0.10, 0.10), 0.0, 0.80, 0.0, two_sided=True),
)
"""Triangles name their material by its place in this table."""

MATERIAL_NAMES: tuple[str, ...] = tuple(material.name for material in MATERIALS)

KEY = Light((-0.50, 0.55, 0.75), (2.10, 1.98, 1.82))
FILL = Light((0.75, 0.05, 0.60), (0.48, 0.54, 0.64))
RIM = Light((0.55, 0.45, -0.60), (1.30, 1.36, 1.45))
SKY_RGB = (0.46, 0.48, 0.52)
GROUND_RGB = (0.26, 0.23, 0.21)
EXPOSURE = 0.62

BACKGROUND_TOP = (116, 125, 136)
BACKGROUND_BOTTOM = (62, 68, 77)

DECODE = (0.0324, 0.6004, 0.3762)
DISPLAY_ROOT, DISPLAY_LINEAR = 0.7, 1.9
RIM_REACH = 0.3


Rgb = tuple[np.float32, np.float32, np.float32]


class Studio(NamedTuple):
    """The constants of the formula as the kernels take them: unit directions, colours with the exposure applied."""

    key: Rgb
    key_rgb: Rgb
    fill: Rgb
    fill_rgb: Rgb
    rim: Rgb
    rim_rgb: Rgb
    sky_rgb: Rgb
    ground_rgb: Rgb
    decode: Rgb
    curve: tuple[np.float32, np.float32]
    rim_reach: np.float32


def studio() -> Studio:
    """The lights and curves of this module."""
    return Studio(
        key=_unit_shading(KEY.direction),
        key_rgb=_exposed(KEY.rgb),
        fill=_unit_shading(FILL.direction),
        fill_rgb=_exposed(FILL.rgb),
        rim=_unit_shading(RIM.direction),
        rim_rgb=_exposed(RIM.rgb),
        sky_rgb=_exposed(SKY_RGB),
        ground_rgb=_exposed(GROUND_RGB),
        decode=(np.float32(DECODE[0]), np.float32(DECODE[1]), np.float32(DECODE[2])),
        curve=(np.float32(DISPLAY_ROOT), np.float32(DISPLAY_LINEAR)),
        rim_reach=np.float32(RIM_REACH),
    )


def material_table() -> Float32[np.ndarray, "materials 9"]:
    """One row a material: scale (3) and offset (3) of n.l for wrapped light; specular, roughness^4, rim.

    Wrapped light is max(0, scale * n.l + offset).
    """
    rows = []
    for material in MATERIALS:
        wrap = np.asarray(material.wrap_rgb)
        rows.append(
            [*(1.0 + wrap) ** -2, *wrap * (1.0 + wrap) ** -2, material.specular, material.roughness**4, material.rim]
        )
    return np.array(rows, np.float32)


def _unit_shading(direction: tuple[float, float, float]) -> Rgb:
    x, y, z = (np.float32(value) for value in np.asarray(direction) / np.linalg.norm(direction))
    return x, y, z


def _exposed(rgb: tuple[float, float, float]) -> Rgb:
    red, green, blue = (np.float32(value * EXPOSURE) for value in rgb)
    return red, green, blue


def background(width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The studio wall behind the head: a soft vertical gradient."""
    down = np.linspace(0.0, 1.0, height)[:, None]
    smooth = down * down * (3.0 - 2.0 * down)
    rows = np.asarray(BACKGROUND_TOP) * (1.0 - smooth) + np.asarray(BACKGROUND_BOTTOM) * smooth
    return np.repeat(np.rint(rows).astype(np.uint8)[:, None], width, axis=1)


# How a mesh is pictured: the size of the picture, the camera, and what is behind.


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
