"""The look of a rendered head: lights, materials, background and the shading formula.

In: the constants below. Out: the same as arrays for the kernels, and the background picture.

>>> material_table().shape  # one row a material
(7, 9)

The formula, in linear light, for a surface of colour `albedo` with unit normal n, unit vector v to the camera and
ambient occlusion o (1 = open):

    n         turned over on the back of a triangle; backs are drawn for two-sided materials only
    diffuse   sum over key and fill of colour * max(0, n.l + wrap) / (1 + wrap)^2, one wrap per colour channel: where
              light ends, red reaches further than green and blue, as it does under skin (Green, GPU Gems, chapter 16)
    ambient   from ground to sky colour by the height of n
    specular  key colour * strength * GGX(n.h, roughness) * n.l (Walter et al., 2007)
    rim       colour * (1 - n.v)^3 * max(0, n.l_rim + 0.3) * rim weight of the material
    light     (albedo * (diffuse + ambient) + specular + rim) * o * exposure
    display   (0.7 sqrt(x) + 1.9 x) / (1 + 1.9 x), within 7/255 of the sRGB curve with a soft shoulder for highlights

Texture colours are decoded by a cubic that stays within 3/255 of the sRGB curve after encoding. Samples of one pixel
are averaged as displayed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8


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
        key=_unit(KEY.direction),
        key_rgb=_exposed(KEY.rgb),
        fill=_unit(FILL.direction),
        fill_rgb=_exposed(FILL.rgb),
        rim=_unit(RIM.direction),
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


def _unit(direction: tuple[float, float, float]) -> Rgb:
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
