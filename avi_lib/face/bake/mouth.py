"""Teeth, gums and tongue.

>>> upper, lower, tongue = teeth(body, "upper"), teeth(body, "lower"), tongue_part(body)
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from avi_lib.face.bake.atlas import place
from avi_lib.face.bake.body import Body
from avi_lib.face.bake.part import TEETH, TONGUE, Part


def helper_part(body: Body, group: str, tile: str, material: int) -> Part:
    """One of MakeHuman's helper meshes, its uv stretched over a tile."""
    source = body.source
    picked = source.groups == group
    triangles, uv_triangles = source.triangles[picked], source.uv_triangles[picked]
    unique, inverse = np.unique(triangles * (len(source.uv) + 1) + uv_triangles, return_inverse=True)
    weld, uv_index = unique // (len(source.uv) + 1), unique % (len(source.uv) + 1)
    uv = source.uv[uv_index]
    low, high = uv.min(axis=0), uv.max(axis=0)
    local = np.column_stack([(uv[:, 0] - low[0]) / (high[0] - low[0]), (high[1] - uv[:, 1]) / (high[1] - low[1])])
    identity = sparse.identity(len(body.vertices), format="csr")
    return Part(
        body.vertices, identity, weld, place(local, tile), inverse.reshape(-1, 3), np.full(len(triangles), material)
    ).compact()


def teeth(body: Body, jaw: str) -> Part:
    """The teeth of the "upper" or "lower" jaw."""
    return helper_part(body, f"helper-{jaw}-teeth", "teeth", TEETH)


def tongue_part(body: Body) -> Part:
    """The tongue; `jawOpen` and `tongueOut` move it."""
    return helper_part(body, "helper-tongue", "tongue", TONGUE)
