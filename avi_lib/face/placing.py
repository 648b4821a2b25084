"""A head of a stranger's file, placed as the open head stands, so that one camera fits it.

In: a mesh in any unit with its shapes. Out: a Head in metres, the origin midway between the eyes, facing +z.

>>> head = placed_head("ada", vertices, triangles, uv, {"jawOpen": moved - vertices}, atlas, material, weld, notes)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.head import REGIONS, Head
from avi_lib.motion.space import ARKIT_BLENDSHAPES

EYES_APART_M = 0.063
"""Between the pupils of an adult, mean of both sexes."""
HEAD_HEIGHT_M = 0.25
NECK_M = (0.0, -0.052, -0.085)
"""Where the open head's neck bends, from midway between its eyes."""


def placed_head(
    name: str,
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "T 3"],
    uv: Float[np.ndarray, "V 2"],
    shapes: Mapping[str, Float[np.ndarray, "V 3"]],
    atlas: UInt8[np.ndarray, "H W 3"],
    material: UInt8[np.ndarray, " T"],
    weld: Int32[np.ndarray, " V"],
    notes: tuple[str, ...],
) -> Head:
    """A head whose eyes, found by what the blinks move, are EYES_APART_M apart; its box stands in without blinks.

    Raises InputError for a mesh without extent.
    """
    origin, scale, how = _place(vertices, shapes)
    dense = np.zeros((len(ARKIT_BLENDSHAPES), len(vertices), 3), np.float32)
    for channel, moved in shapes.items():
        dense[ARKIT_BLENDSHAPES.index(channel)] = scale * moved
    nothing = np.empty(0, np.int32)
    half = 0.5 * EYES_APART_M
    return Head(
        name=name,
        vertices=(scale * (vertices - origin)).astype(np.float32),
        triangles=triangles,
        uv=uv.astype(np.float32),
        weld=weld,
        shapes=dense,
        identity_names=(),
        identity=np.zeros((0, len(vertices), 3), np.float32),
        material=material,
        occlusion=np.ones(len(vertices), np.float32),
        head_weight=np.ones(len(vertices), np.float32),
        pivot=np.array(NECK_M, np.float32),
        eyeballs=(nothing, nothing),
        eye_centres=np.array([[half, 0.0, 0.0], [-half, 0.0, 0.0]], np.float32),
        regions=dict.fromkeys(REGIONS, nothing),
        atlas=atlas,
        notes=(*notes, how),
    )


def _place(
    vertices: Float[np.ndarray, "V 3"], shapes: Mapping[str, Float[np.ndarray, "V 3"]]
) -> tuple[np.ndarray, float, str]:
    """Origin, metres a unit, and how they were found."""
    reach = {
        side: np.linalg.norm(shapes[f"eyeBlink{side}"], axis=1)
        for side in ("Left", "Right")
        if f"eyeBlink{side}" in shapes
    }
    if len(reach) == 2 and all(moved.any() for moved in reach.values()):
        left, right = (vertices[moved > 0.5 * moved.max()].mean(axis=0) for moved in reach.values())
        if (apart := float(np.linalg.norm(left - right))) > 0.0:
            return 0.5 * (left + right), EYES_APART_M / apart, "placed by what the blinks move"
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if not (height := float(high[1] - low[1])) > 0.0:
        raise InputError("a head with some height", "a flat mesh", "check the file")
    middle = 0.5 * (low + high)
    return np.array([middle[0], middle[1], high[2] - 0.1 * height]), HEAD_HEIGHT_M / height, "placed by its box"
