"""Named parts of the face as render vertices of the skin.

>>> find_regions(body, skin)["upper_lip_inner"]  # the middle third of the upper lip's line of contact
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64
from scipy.ndimage import map_coordinates

from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.body import Body
from tools.assets.bake_head.part import Part

CONTACT_COLUMNS = 5


def find_regions(body: Body, skin: Part) -> dict[str, Int64[np.ndarray, " R"]]:
    """Vertex numbers of each region; the skin is the first part of the head, so its numbers are the head's."""
    lips = np.flatnonzero(sample_mask(body, "lips", skin.uv) > 0.3)
    face = np.flatnonzero(sample_mask(body, "face", skin.uv) > 0.5)
    eyes = np.flatnonzero(_near_eyes(body, skin))
    heights = skin.points[skin.weld, 1]
    shift = (skin.binding @ body.shapes[ARKIT_BLENDSHAPES.index("jawOpen")])[skin.weld, 1]
    return {
        "lips": lips,
        "upper_lip_inner": _contact(skin, lips[shift[lips] > -0.010], np.argmin),
        "lower_lip_inner": _contact(skin, lips[shift[lips] < -0.016], np.argmax),
        "eyes": eyes,
        "upper_face": face[heights[face] > -0.030],
        "face": np.union1d(face, lips),
    }


def sample_mask(body: Body, name: str, uv: Float64[np.ndarray, "V 2"]) -> Float64[np.ndarray, " V"]:
    """One of MakeHuman's painted regions (lips, inside-mouth, eyelids, face, ears) read at MakeHuman's uv."""
    mask = body.source.mask(name)
    places = np.stack([(1.0 - uv[:, 1]) * mask.shape[0] - 0.5, uv[:, 0] * mask.shape[1] - 0.5])
    result: np.ndarray = map_coordinates(mask, places, order=1, mode="nearest")
    return result


def _near_eyes(body: Body, skin: Part) -> np.ndarray:
    points = skin.points[skin.weld]
    distance = np.min([np.linalg.norm(points - centre, axis=1) for centre in body.eye_centres], axis=0)
    return distance < 1.45 * body.eye_radius_m


def _contact(skin: Part, lip: np.ndarray, extreme: Callable[[np.ndarray], np.intp]) -> np.ndarray:
    """The vertex nearest the other lip in each of CONTACT_COLUMNS columns over the middle third of a lip."""
    across, heights = skin.points[skin.weld[lip], 0], skin.points[skin.weld[lip], 1]
    third = np.abs(across).max() / 3.0
    column = np.floor((across + third) / (2.0 * third) * CONTACT_COLUMNS)
    members = [np.flatnonzero(column == number) for number in range(CONTACT_COLUMNS)]
    return np.unique([lip[inside[extreme(heights[inside])]] for inside in members if len(inside)])
