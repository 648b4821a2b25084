"""Hair: a shell over the scalp that ends on a clean hairline.

>>> hair = hair_part(surface)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from avi_lib.face.bake.atlas import place
from avi_lib.face.bake.part import HAIR, Part, smoothstep


def hairline_field(points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, " P"]:
    """Metres above the hairline, about; positive where hair grows."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    front = 0.058 - 0.035 * smoothstep(x, 0.045, 0.066) - 0.055 * smoothstep(-z, 0.02, 0.06)
    back = -0.085 * smoothstep(-z, 0.085, 0.13)
    result: np.ndarray = y - front - back
    return result


def hair_part(surface: Part) -> Part:
    """The shell, thicker away from the hairline."""
    field = hairline_field(surface.points)
    shell = surface.cut(field)
    depth = np.clip(hairline_field(shell.points), 0.0, None)
    points = shell.points + (0.002 + 0.016 * smoothstep(depth, 0.0, 0.03))[:, None] * shell.normals()
    local = np.column_stack([0.5 + shell.points[:, 0] / 0.2, (0.13 - shell.points[:, 2]) / 0.4])
    return Part(
        points,
        shell.binding,
        np.arange(len(points)),
        place(local, "hair"),
        shell.point_triangles(),
        np.full(len(shell.triangles), HAIR),
    )
