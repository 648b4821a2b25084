"""Paints the atlas: skin, eyes, teeth, tongue, hair and cloth, all computed; no picture is shipped.

>>> atlas = paint_atlas(skin_uv, skin.triangles, places, seed=7)  # (1024, 2048, 3) uint8 sRGB
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from tools.assets.bake_head.atlas import HEIGHT, TILES, WIDTH, tile_grid
from tools.assets.bake_head.complexion import Look, Places, complexion
from tools.assets.bake_head.eyes import IRIS_DEG, SHOWN_DEG
from tools.assets.bake_head.locks import VARIANTS
from tools.assets.bake_head.mouth import GUM_SHARE, UPPER
from tools.assets.bake_head.part import smoothstep
from tools.assets.bake_head.texels import Texels, bleed

PUPIL_DEG = 8.5
SCLERA_RGB, VEIN_RGB = np.array([0.690, 0.645, 0.620]), np.array([0.70, 0.42, 0.39])
IRIS_INNER_RGB, LIMBUS_RGB = np.array([0.46, 0.36, 0.22]), np.array([0.07, 0.08, 0.09])
ENAMEL_RGB, GUM_RGB = np.array([0.890, 0.860, 0.790]), np.array([0.72, 0.40, 0.39])
TONGUE_RGB = np.array([0.70, 0.38, 0.37])
LASH_RGB = np.array([0.075, 0.055, 0.045])


def paint_atlas(texels: Texels, places: Places, seed: int, look: Look) -> UInt8[np.ndarray, "H W 3"]:
    """The whole atlas; `places` describes the texels of the skin."""
    rng = np.random.default_rng(seed)
    atlas = np.zeros((HEIGHT, WIDTH, 3))
    texels.paint(atlas, complexion(places, seed, look))
    painted = texels.covered()
    pictures = {
        "eye": _eye(rng, look), "teeth": _teeth(rng), "tongue": _tongue(rng), "hair": _strands(rng, look),
        "cloth": _cloth(rng, look),
        "collar": _collar(look), "lash": _plain("lash", LASH_RGB),
    }  # fmt: skip
    for tile, picture in pictures.items():
        left, top, width, height = TILES[tile]
        atlas[top : top + height, left : left + width] = picture
        painted[top : top + height, left : left + width] = True
    return np.rint(np.clip(bleed(atlas, painted), 0.0, 1.0) * 255.0).astype(np.uint8)


def _plain(tile: str, colour: np.ndarray) -> np.ndarray:
    _, _, width, height = TILES[tile]
    return np.broadcast_to(colour, (height, width, 3))


def _blend(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.asarray(colour * (1.0 - share[..., None]) + other * share[..., None])


def _eye(rng: np.random.Generator, look: Look) -> np.ndarray:
    across, down = tile_grid("eye")
    x, y = across - 0.5, down - 0.5
    polar = np.hypot(x, y) / 0.5 * SHOWN_DEG
    turn = np.arctan2(y, x)
    spokes = 1024
    fibre = gaussian_filter1d(rng.normal(size=spokes), 2.0, mode="wrap") * 1.6
    fine = gaussian_filter1d(rng.normal(size=spokes), 0.8, mode="wrap")
    at = ((turn / (2.0 * np.pi) + 0.5) * spokes).astype(int) % spokes
    radius = polar / IRIS_DEG
    iris = np.array(look.iris_rgb) * (1.0 + 0.22 * fibre[at] + 0.08 * fine[at])[..., None]
    iris = _blend(
        iris,
        IRIS_INNER_RGB * (1.0 + 0.2 * fibre[at])[..., None],
        0.8 * smoothstep(radius + 0.05 * fibre[at], 0.72, 0.42),
    )
    iris = iris * (0.80 + 0.40 * smoothstep(y, -0.10, 0.10))[..., None]
    iris = _blend(iris, LIMBUS_RGB, smoothstep(radius, 0.74, 0.98) * 0.92)
    iris = _blend(iris, np.array([0.012, 0.011, 0.011]), smoothstep(polar, PUPIL_DEG + 1.2, PUPIL_DEG - 0.6))
    sclera = _blend(
        np.broadcast_to(SCLERA_RGB, iris.shape), np.array([0.72, 0.50, 0.46]), 0.60 * smoothstep(polar, 36.0, 78.0)
    )
    winding = gaussian_filter(rng.spawn(1)[0].normal(size=polar.shape), 7.0) * 25.0
    veins = np.exp(-((winding / 0.10) ** 2)) * smoothstep(polar, IRIS_DEG + 5.0, 65.0)
    sclera = _blend(sclera, VEIN_RGB, 0.32 * veins)
    sclera = _blend(sclera, np.array([0.52, 0.50, 0.50]), 0.50 * smoothstep(polar, IRIS_DEG + 7.0, IRIS_DEG))
    return _blend(sclera, iris, smoothstep(polar, IRIS_DEG + 2.0, IRIS_DEG - 2.0))


def _teeth(rng: np.random.Generator) -> np.ndarray:
    across, down = tile_grid("teeth")
    teeth = 2 * len(UPPER.widths_m)
    share = (across * teeth) % 1.0
    number = np.clip(np.floor(across * teeth), 0, teeth - 1).astype(int)
    middle = np.sin(np.pi * share)
    tint = rng.normal(0.0, 0.012, teeth)[number] - 0.03 * np.abs(number - teeth / 2 + 0.5) / teeth
    colour = ENAMEL_RGB * (1.0 + tint)[..., None]
    along = (down - GUM_SHARE) / (0.92 - GUM_SHARE)
    colour = _blend(colour, np.array([0.83, 0.74, 0.60]), 0.5 * smoothstep(along, 0.45, 0.0))
    colour = _blend(colour, np.array([0.80, 0.81, 0.81]), 0.35 * smoothstep(along, 0.78, 1.0))
    colour = colour * (1.0 - 0.16 * smoothstep(along, 0.96, 1.1))[..., None]
    gap = smoothstep(middle, 0.22, 0.02) * (0.55 + 0.45 * smoothstep(along, 0.0, 0.3))
    colour = _blend(colour, np.array([0.42, 0.29, 0.23]), 0.72 * gap)
    gum_line = GUM_SHARE + 0.10 * (1.0 - middle) ** 1.5 - 0.03
    gum = GUM_RGB * (1.0 + 0.06 * (middle - 0.5))[..., None]
    edge = np.exp(-(((down - gum_line) / 0.02) ** 2))
    colour = _blend(colour, gum, smoothstep(down, gum_line + 0.012, gum_line - 0.012))
    return np.asarray(colour * (1.0 - 0.12 * edge)[..., None])


def _tongue(rng: np.random.Generator) -> np.ndarray:
    across, down = tile_grid("tongue")
    grain = gaussian_filter(rng.normal(size=across.shape), 1.6) * 3.0
    groove = np.exp(-(((across - 0.5) / 0.05) ** 2)) * smoothstep(down, 0.06, 0.25)
    colour = TONGUE_RGB * (1.0 + 0.05 * grain - 0.20 * groove)[..., None]
    return _blend(colour, TONGUE_RGB * np.array([0.95, 1.05, 1.05]), 0.4 * smoothstep(down, 0.2, 0.6))


def _strands(rng: np.random.Generator, look: Look) -> np.ndarray:
    across, down = tile_grid("hair")
    height, width = across.shape
    strands = gaussian_filter(rng.normal(size=(height, width)), (90.0, 1.2), mode="wrap")
    strands /= strands.std()
    wide = gaussian_filter(rng.normal(size=(height, width)), (140.0, 4.0), mode="wrap")
    wide /= wide.std()
    share = (np.clip(across, 0.0, 0.9999) * VARIANTS) % 1.0
    edge = smoothstep(np.minimum(share, 1.0 - share), 0.0, 0.32)
    light = (0.62 + 0.40 * edge) * (0.72 + 0.42 * smoothstep(down, 0.0, 0.45)) + 0.13 * strands + 0.10 * wide
    tips = np.array([1.18, 1.08, 0.98])
    colour = np.array(look.hair_rgb) * (1.0 + smoothstep(down, 0.3, 1.0)[..., None] * (tips - 1.0))
    return np.asarray(colour * np.clip(light, 0.25, 1.8)[..., None])


def _cloth(rng: np.random.Generator, look: Look) -> np.ndarray:
    across, _ = tile_grid("cloth")
    weave = gaussian_filter(rng.normal(size=across.shape), 0.7)
    patch = gaussian_filter(rng.normal(size=across.shape), 14.0) * 14.0
    return np.asarray(np.array(look.cloth_rgb) * (1.0 + 0.05 * weave + 0.02 * patch)[..., None])


def _collar(look: Look) -> np.ndarray:
    across, down = tile_grid("collar")
    ribs = 0.5 + 0.5 * np.cos(2.0 * np.pi * 8.0 * across)
    stitch = np.exp(-(((down - 0.86) / 0.05) ** 2))
    return np.asarray(np.array(look.cloth_rgb) * (0.90 + 0.10 * ribs - 0.25 * stitch)[..., None])
