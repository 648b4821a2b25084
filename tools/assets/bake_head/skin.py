"""The skin: the body's head, neck and shoulders laid out in the atlas, with the face given most of the texture.

>>> skin = skin_part(above_shirt(body_surface(body)))
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from tools.assets.bake_head.atlas import place
from tools.assets.bake_head.body import Body
from tools.assets.bake_head.hair import hairline_field, on_scalp
from tools.assets.bake_head.part import SKIN, Part

BUST_EDGE_M = -0.325
"""Height of the plane that ends the bust, below what the portrait camera sees."""

SCALP_RIM_M = 0.014
"""How far the skin goes on under the hair."""

SOCKET_DEPTH_M, THROAT_DEPTH_M = 0.005, -0.085
"""Linings of the eye sockets and the throat end here, where eyeballs and tongue hide them."""

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
    part = Part(body.vertices, identity, weld, uv, inverse.reshape(-1, 3), np.full(len(triangles), SKIN)).compact()
    return part.cut(part.points[:, 1] - BUST_EDGE_M)


def above_shirt(surface: Part, under_shirt_m: float = 0.012) -> Part:
    """The body's surface down to a rim under the shirt; the painter colours all of it, the scalp too."""
    return surface.cut(neckline_field(surface.points) + under_shirt_m)


def skin_part(above: Part) -> Part:
    """The skin that shows and a rim of it under the hair, with MakeHuman's own uv (see `layout`)."""
    shown = above.cut(np.where(on_scalp(above), SCALP_RIM_M - hairline_field(above.points), SCALP_RIM_M))
    socket = shown.uv[shown.triangles, 0].max(axis=1) < 0.16
    throat = (shown.uv[shown.triangles, 0].min(axis=1) > 0.74) & (shown.uv[shown.triangles, 1].max(axis=1) < 0.143)
    depth = shown.points[shown.weld[shown.triangles], 2].max(axis=1)
    return shown.keep(~(socket & (depth < SOCKET_DEPTH_M)) & ~(throat & (depth < THROAT_DEPTH_M)))


def layout(uv: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, "V 2"]:
    """MakeHuman's uv (rows growing upwards, the face lying on its side) to the atlas."""
    u, v = uv[:, 0], uv[:, 1]
    placed = place(np.column_stack([(u - 0.18) / 0.41, (0.985 - v) / 0.22]), "neck")
    face = (u > 0.63) & (v > 0.143) & (v < 0.83)
    across = _magnify((v[face] - 0.484) / 0.337)
    down = _magnify((u[face] - 0.86) / np.where(u[face] < 0.86, 0.221, 0.137))
    placed[face] = place(np.column_stack([0.5 - 0.5 * across, 0.5 + 0.5 * down]), "face")
    mouth = (u > 0.74) & (v < 0.143)
    placed[mouth] = place(np.column_stack([(u[mouth] - 0.755) / 0.172, (0.141 - v[mouth]) / 0.131]), "mouth")
    for tile, low in (("left_socket", 0.008), ("right_socket", 0.084)):
        socket = (u > low) & (u < low + 0.0755) & (v > 0.53) & (v < 0.65)
        placed[socket] = place(np.column_stack([(u[socket] - low) / 0.0755, (0.64 - v[socket]) / 0.1]), tile)
    return placed


def _magnify(x: np.ndarray) -> np.ndarray:
    """Monotone map of [-1, 1] onto itself that doubles the scale at 0, where the face is."""
    result: np.ndarray = np.tanh(1.6 * x) / np.tanh(1.6)
    return result
