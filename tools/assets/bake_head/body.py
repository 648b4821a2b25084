"""The person the open head shows: MakeHuman's body at a chosen identity, in metres about the eyes, and what moves it.

>>> body = Body(MakeHuman(source))
>>> body.shapes.shape, body.identity.shape  # ARKit shapes and identity sliders
((52, 19158, 3), (K, 19158, 3))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.makehuman import MakeHuman

SKIN_RGB, GREY_RGB = (0.845, 0.655, 0.555), (0.55, 0.54, 0.52)
"""Colours of the open head's skin, and of grey hair."""

METRES = 0.1
"""MakeHuman counts decimetres."""


class Identity(NamedTuple):
    """Who is shown: 0 female to 1 male, 0 young to 1 old, three origins that sum to 1, and features by slider."""

    sex: float
    old: float
    caucasian: float
    asian: float
    african: float
    features: Mapping[str, float] = {}


OPEN = Identity(0.70, 0.0, 0.60, 0.20, 0.20)
"""The open head."""

PAIRED_SLIDERS: dict[str, tuple[str, str]] = {
    "headWidth": ("head/head-scale-horiz", "incr decr"),
    "headRound": ("head/head-round", ""),
    "foreheadHeight": ("forehead/forehead-scale-vert", "incr decr"),
    "browRidge": ("eyebrows/eyebrows-trans", "forward backward"),
    "eyeSize": ("eyes/{side}-eye-scale", "incr decr"),
    "eyeSpacing": ("eyes/{side}-eye-trans", "out in"),
    "noseWidth": ("nose/nose-scale-horiz", "incr decr"),
    "noseLength": ("nose/nose-scale-vert", "incr decr"),
    "noseHump": ("nose/nose-hump", "incr decr"),
    "mouthWidth": ("mouth/mouth-scale-horiz", "incr decr"),
    "mouthAngles": ("mouth/mouth-angles", "up down"),
    "upperLipVolume": ("mouth/mouth-upperlip-volume", "incr decr"),
    "lowerLipVolume": ("mouth/mouth-lowerlip-volume", "incr decr"),
    "cheekbones": ("cheek/{side}-cheek-bones", "incr decr"),
    "cheekVolume": ("cheek/{side}-cheek-volume", "incr decr"),
    "chinHeight": ("chin/chin-height", "incr decr"),
    "chinProminence": ("chin/chin-prominent", "incr decr"),
    "jawWidth": ("chin/chin-width", "incr decr"),
    "earSize": ("ears/{side}-ear-scale", "incr decr"),
}
"""Slider name to MakeHuman target stem and its two ends; -1 to 1, half the difference of the ends a unit."""

ORIGINS = ("asian", "african", "caucasian")
COLOURS = ("skinTone", "hairTone", "hairGrey")
IDENTITY_NAMES = ("male", "female", "old", *ORIGINS, *COLOURS, *PAIRED_SLIDERS)
BOUNDS = {
    **dict.fromkeys(("male", "female", *ORIGINS, "hairGrey"), (0.0, 1.0)),
    "old": (-0.3, 1.0),
    "skinTone": (-0.25, 1.0),
    "noseLength": (-1.0, 0.4),
    "asian": (0.0, 0.9),
    "chinHeight": (-0.7, 1.0),
    "headWidth": (-0.7, 1.0),
    **dict.fromkeys(("browRidge", "mouthAngles", "lowerLipVolume"), (-0.8, 1.0)),
}
"""Least and most of the sliders that do not go from -1 to 1: beyond these the mesh folds, or colours are nobody's."""


class Body:
    """Rest `vertices` (N, 3), `shapes` (52, N, 3) and `identity` (K, N, 3) displacements and eyes; metres.

    Sliders are the open head's alone: whoever else is shown shares them.
    """

    def __init__(self, source: MakeHuman, who: Identity = OPEN) -> None:
        self.source = source
        rest = source.vertices + self._macro(who)
        for name, strength in who.features.items():
            rest += strength * self._paired(name)
        centres = np.array([sphere(rest[source.group_vertices(f"helper-{side}-eye")])[0] for side in "lr"])
        self._origin = centres.mean(axis=0)
        self.vertices: Float64[np.ndarray, "N 3"] = (rest - self._origin) * METRES
        spheres = [sphere(self.vertices[source.group_vertices(f"helper-{side}-eye")]) for side in "lr"]
        self.eye_centres: Float64[np.ndarray, "2 3"] = np.array([centre for centre, _ in spheres])
        self.eye_radius_m = float(np.mean([radius for _, radius in spheres]))
        self.shapes: Float64[np.ndarray, "52 N 3"] = METRES * np.stack([source.face_unit(s) for s in ARKIT_BLENDSHAPES])
        self.identity: Float64[np.ndarray, "K N 3"] = (
            METRES * self._identity() if who is OPEN else np.zeros((0, *rest.shape))
        )

    def lip_weights(self) -> Float64[np.ndarray, " N"]:
        """1 on the lips, 0 off them, for every body vertex."""
        mask = self.source.mask("lips")
        rows = np.clip((1.0 - self.source.uv[:, 1]) * mask.shape[0], 0, mask.shape[0] - 1).astype(int)
        columns = np.clip(self.source.uv[:, 0] * mask.shape[1], 0, mask.shape[1] - 1).astype(int)
        weights = np.zeros(len(self.vertices))
        body = self.source.groups == "body"
        corners, uv_corners = self.source.triangles[body].ravel(), self.source.uv_triangles[body].ravel()
        np.maximum.at(weights, corners, mask[rows, columns][uv_corners])
        return weights

    def _macro(self, who: Identity) -> np.ndarray:
        total = np.zeros_like(self.source.vertices)
        folder = "targets/macrodetails/"
        for gender, of_sex in (("female", 1.0 - who.sex), ("male", who.sex)):
            for age, of_age in (("young", 1.0 - who.old), ("old", who.old)):
                if not (share := of_sex * of_age):
                    continue
                for origin in ("caucasian", "asian", "african"):
                    if part := share * getattr(who, origin):
                        total += part * self.source.target(f"{folder}{origin}-{gender}-{age}.target.gz")
                name = f"{folder}universal-{gender}-{age}-averagemuscle-averageweight.target.gz"
                total += share * self.source.target(name)
        return total

    def _paired(self, name: str) -> np.ndarray:
        stem, ends = PAIRED_SLIDERS[name]
        if not ends:
            return _both_sides(self.source, stem)
        more, less = (_both_sides(self.source, f"{stem}-{end}") for end in ends.split())
        result: np.ndarray = (more - less) / 2.0
        return result

    def _identity(self) -> np.ndarray:
        shown, male = self._macro(OPEN), self._macro(OPEN._replace(sex=1.0)) - self._macro(OPEN._replace(sex=0.0))
        displacements = [male * (1.0 - OPEN.sex), -male * OPEN.sex, self._macro(OPEN._replace(old=1.0)) - shown]
        for origin in ORIGINS:
            alone = OPEN._replace(**{each: float(each == origin) for each in ORIGINS})
            displacements.append(self._macro(alone) - shown)
        displacements += [np.zeros_like(shown) for _ in COLOURS]
        displacements += [self._paired(name) for name in PAIRED_SLIDERS]
        eyes = np.concatenate([self.source.group_vertices(f"helper-{side}-eye") for side in "lr"])
        return np.stack([d - d[eyes].mean(axis=0) for d in displacements])


def dyes(skin: Sequence[float], hair: Sequence[float]) -> Float64[np.ndarray, "K 2 3"]:
    """By what each slider at 1 multiplies somebody's colours of skin and hair: towards an origin's, or those of age."""
    own = np.array([skin, hair])
    found = {
        "asian": np.array([(0.83, 0.66, 0.53), (0.080, 0.065, 0.060)]) / own,
        "african": np.minimum(np.array([(0.42, 0.28, 0.21), (0.060, 0.050, 0.045)]) / own, 1.0),
        "caucasian": np.array([np.maximum(np.array(SKIN_RGB) / own[0], 1.0), np.ones(3)]),
        "old": np.array([np.ones(3), np.maximum(np.array(GREY_RGB) / own[1], 1.0)]),
        "skinTone": np.array([(0.62, 0.54, 0.48), (1.0, 1.0, 1.0)]),
        "hairTone": np.array([(1.0, 1.0, 1.0), (0.36, 0.34, 0.32)]),
        "hairGrey": np.array([np.ones(3), np.array(GREY_RGB) / own[1]]),
    }
    return np.stack([np.clip(found.get(name, np.ones((2, 3))), 0.25, 4.0) for name in IDENTITY_NAMES])


def slider_scale(who: Identity) -> Float64[np.ndarray, " K"]:
    """How much of each of the open head's sliders leads from somebody to its end: wholly male, old, or of an origin."""
    own = {"male": (1.0 - who.sex) / (1.0 - OPEN.sex), "female": who.sex / OPEN.sex, "old": 1.0 - who.old}
    own |= {origin: min((1.0 - getattr(who, origin)) / (1.0 - getattr(OPEN, origin)), 1.0) for origin in ORIGINS}
    return np.array([own.get(name, 1.0) for name in IDENTITY_NAMES])


def bounds() -> Float64[np.ndarray, "K 2"]:
    """Least and most of every slider."""
    return np.array([BOUNDS.get(name, (-1.0, 1.0)) for name in IDENTITY_NAMES])


def _both_sides(source: MakeHuman, stem: str) -> np.ndarray:
    sides = ("l", "r") if "{side}" in stem else ("",)
    total = np.zeros_like(source.vertices)
    for side in sides:
        total += source.target(f"targets/{stem.format(side=side)}.target.gz")
    return total


def sphere(points: Float64[np.ndarray, "P 3"]) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere nearest to points."""
    system = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))
