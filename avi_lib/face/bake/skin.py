"""The skin: the body's head, neck and shoulders laid out in the atlas, with the face given most of the texture.

>>> skin = skin_part(body_surface(body))
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from avi_lib.face.bake.atlas import place
from avi_lib.face.bake.body import Body
from avi_lib.face.bake.part import SKIN, Part

BUST_EDGE_M = -0.34
"""Height of the plane that ends the bust, below what the portrait camera sees."""

NECKLINE_FRONT_M, NECKLINE_BACK_M = (-0.186, -0.050), (-0.140, -0.145)
"""The shirt's neckline is the body's section with the plane through these two (height, depth) points."""


def neckline_field(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, " P"]:
    """Metres above the plane of the neckline; negative where the shirt is."""
    (y0, z0), (y1, z1) = NECKLINE_FRONT_M, NECKLINE_BACK_M
    slope = (y1 - y0) / (z1 - z0)
    result: np.ndarray = (points[:, 1] - y0 - slope * (points[:, 2] - z0)) / np.hypot(1.0, slope)
    return result


def body_surface(body: Body) -> Part:
    """The body's skin above the plane of the bust's edge, with MakeHuman's own uv."""
    source = body.source
    picked = source.groups == "body"
    heights = body.vertices[source.triangles][:, :, 1]
    picked &= heights.max(axis=1) > BUST_EDGE_M
    triangles, uv_triangles = source.triangles[picked], source.uv_triangles[picked]
    keys = triangles * (len(source.uv) + 1) + uv_triangles
    unique, inverse = np.unique(keys, return_inverse=True)
    weld, uv_index = unique // (len(source.uv) + 1), unique % (len(source.uv) + 1)
    uv = source.uv[uv_index]
    identity = sparse.identity(len(body.vertices), format="csr")
    part = Part(
        body.vertices, identity, weld, uv, inverse.reshape(-1, 3), np.full(len(triangles), SKIN)
    ).compact()
    return part.cut(part.points[:, 1] - BUST_EDGE_M)


def skin_part(surface: Part, under_shirt_m: float = 0.012) -> Part:
    """The skin that shows and a rim of it under the shirt, with MakeHuman's own uv; `layout` places that in the atlas."""
    return surface.cut(neckline_field(surface.points) + under_shirt_m)


def layout(uv: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, "V 2"]:
    """MakeHuman's uv (rows growing upwards, the face lying on its side) to the atlas."""
    u, v = uv[:, 0], uv[:, 1]
    placed = place(np.column_stack([(u - 0.18) / 0.41, (0.985 - v) / 0.22]), "neck")
    face = (u > 0.63) & (v > 0.14) & (v < 0.83)
    across = _magnify((v[face] - 0.484) / 0.337)
    down = _magnify((u[face] - 0.86) / np.where(u[face] < 0.86, 0.221, 0.137))
    placed[face] = place(np.column_stack([0.5 - 0.5 * across, 0.5 + 0.5 * down]), "face")
    mouth = (u > 0.74) & (v < 0.15)
    placed[mouth] = place(np.column_stack([(u[mouth] - 0.755) / 0.172, (0.14 - v[mouth]) / 0.13]), "mouth")
    for tile, low in (("left_ear", 0.008), ("right_ear", 0.084)):
        ear = (u > low) & (u < low + 0.0755) & (v > 0.53) & (v < 0.65)
        placed[ear] = place(np.column_stack([(u[ear] - low) / 0.0755, (0.64 - v[ear]) / 0.1]), tile)
    return placed


def _magnify(x: np.ndarray) -> np.ndarray:
    """Monotone map of [-1, 1] onto itself that doubles the scale at 0, where the face is."""
    result: np.ndarray = np.tanh(1.6 * x) / np.tanh(1.6)
    return result
