"""The t-shirt: a shell over the body below the neckline.

>>> shirt = shirt_part(surface)
"""

from __future__ import annotations

import numpy as np

from avi_lib.face.bake.atlas import place
from avi_lib.face.bake.part import CLOTH, Part
from avi_lib.face.bake.skin import neckline_field

THICKNESS_M = 0.005


def shirt_part(surface: Part) -> Part:
    """The shirt over the body surface, ending on the neckline and on the bust's edge."""
    shirt = surface.cut(-neckline_field(surface.points))
    points = shirt.points + THICKNESS_M * shirt.normals()
    points[:, 1] = np.maximum(points[:, 1], shirt.points[:, 1].min())
    local = np.column_stack([0.5 + shirt.points[:, 0] / 0.7, (-0.12 - shirt.points[:, 1]) / 0.24])
    uv = place(local, "cloth")
    return Part(
        points, shirt.binding, np.arange(len(points)), uv, shirt.point_triangles(), np.full(len(shirt.triangles), CLOTH)
    )
