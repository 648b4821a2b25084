"""Paints the atlas: skin, lips, brows, eyes, teeth, tongue, hair and cloth, all computed; no picture is shipped.

>>> atlas = paint_atlas(body, skin, layout(skin.uv), seed=7)  # (1024, 2048, 3) uint8 sRGB
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.ndimage import map_coordinates

from avi_lib.face.bake.atlas import HEIGHT, TILES, WIDTH, tile_grid
from avi_lib.face.bake.body import Body
from avi_lib.face.bake.eyes import IRIS_DEG, SHOWN_DEG
from avi_lib.face.bake.part import Part, smoothstep
from avi_lib.face.bake.texels import Texels, bleed, noise

SKIN_RGB = np.array([0.80, 0.60, 0.50])
LIP_RGB = np.array([0.66, 0.35, 0.33])
HAIR_RGB = np.array([0.20, 0.13, 0.09])


def paint_atlas(body: Body, skin: Part, skin_uv: Float64[np.ndarray, "V 2"], seed: int) -> UInt8[np.ndarray, "H W 3"]:
    """The whole atlas."""
    rng = np.random.default_rng(seed)
    atlas = np.zeros((HEIGHT, WIDTH, 3))
    texels = Texels(skin.triangles, skin_uv[skin.triangles])
    texels.paint(atlas, _skin(body, skin, texels, rng))
    painted = texels.covered()
    for tile, picture in (
        ("eye", _eye(rng)),
        ("teeth", np.full((120, 512, 3), (0.86, 0.83, 0.76))),
        ("tongue", np.full((252, 180, 3), (0.68, 0.34, 0.33))),
        ("cloth", np.full((252, 192, 3), (0.16, 0.22, 0.30))),
        ("hair", np.full((492, 512, 3), HAIR_RGB)),
        ("lash", np.full((404, 104, 3), (0.06, 0.045, 0.04))),
    ):
        left, top, width, height = TILES[tile]
        atlas[top : top + height, left : left + width] = picture
        painted[top : top + height, left : left + width] = True
    return np.rint(np.clip(bleed(atlas, painted), 0.0, 1.0) * 255.0).astype(np.uint8)


def sample_mask(body: Body, name: str, uv: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, " V"]:
    """One of MakeHuman's painted regions read at its own uv."""
    mask = body.source.mask(name)
    places = np.stack([(1.0 - uv[:, 1]) * mask.shape[0] - 0.5, uv[:, 0] * mask.shape[1] - 0.5])
    result: np.ndarray = map_coordinates(mask, places, order=1, mode="nearest")
    return result


def _skin(body: Body, skin: Part, texels: Texels, rng: np.random.Generator) -> np.ndarray:
    points = texels.spread(skin.points[skin.weld])
    uv = texels.spread(skin.uv)
    tone = 1.0 + 0.02 * noise(points, 0.0012, rng) + 0.02 * noise(points, 0.01, rng)
    colour = SKIN_RGB * tone[:, None]
    lips = sample_mask(body, "lips", uv)[:, None]
    colour = colour * (1.0 - 0.85 * lips) + LIP_RGB * 0.85 * lips
    inside = sample_mask(body, "inside-mouth", uv)[:, None]
    return np.asarray(colour * (1.0 - inside) + np.array([0.35, 0.12, 0.12]) * inside)


def _eye(rng: np.random.Generator) -> np.ndarray:
    across, down = tile_grid("eye")
    x, y = across - 0.5, down - 0.5
    angle = np.hypot(x, y) / 0.5 * SHOWN_DEG
    colour = np.full((*angle.shape, 3), (0.86, 0.83, 0.80))
    iris = smoothstep(angle, IRIS_DEG + 1.0, IRIS_DEG - 1.0)[..., None]
    colour = colour * (1 - iris) + np.array([0.25, 0.33, 0.36]) * iris
    pupil = smoothstep(angle, 9.0, 8.0)[..., None]
    return np.asarray(colour * (1 - pupil) + 0.02 * pupil)
