"""The person the open head shows: MakeHuman's body at a chosen identity, in metres about the eyes, and what moves it.

>>> body = Body(MakeHuman(source))
>>> body.shapes.shape, body.identity.shape  # ARKit shapes and identity sliders
((52, 19158, 3), (K, 19158, 3))
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.makehuman import MakeHuman

METRES = 0.1
"""MakeHuman counts decimetres."""

REST = {"sex": 0.70, "caucasian": 0.60, "asian": 0.20, "african": 0.20}
"""The shown identity: 0 female to 1 male, and the mix of the three ethnic targets."""

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

MACRO_SLIDERS = ("male", "old", "asian", "african", "caucasian")
IDENTITY_NAMES = MACRO_SLIDERS + tuple(PAIRED_SLIDERS)


class Body:
    """Rest `vertices` (N, 3), `shapes` (52, N, 3) and `identity` (K, N, 3) displacements and eyes; metres."""

    def __init__(self, source: MakeHuman) -> None:
        self.source = source
        rest = source.vertices + self._macro(REST["sex"], "young", REST)
        centres = np.array([_sphere(rest[source.group_vertices(f"helper-{side}-eye")])[0] for side in "lr"])
        self._origin = centres.mean(axis=0)
        self.vertices: Float64[np.ndarray, "N 3"] = (rest - self._origin) * METRES
        spheres = [_sphere(self.vertices[source.group_vertices(f"helper-{side}-eye")]) for side in "lr"]
        self.eye_centres: Float64[np.ndarray, "2 3"] = np.array([centre for centre, _ in spheres])
        self.eye_radius_m = float(np.mean([radius for _, radius in spheres]))
        self.shapes: Float64[np.ndarray, "52 N 3"] = METRES * np.stack([source.face_unit(s) for s in ARKIT_BLENDSHAPES])
        self.identity: Float64[np.ndarray, "K N 3"] = METRES * self._identity()

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

    def _macro(self, sex: float, age: str, mix: dict[str, float]) -> np.ndarray:
        total = np.zeros_like(self.source.vertices)
        folder = "targets/macrodetails/"
        for gender, share in (("female", 1.0 - sex), ("male", sex)):
            for race in ("caucasian", "asian", "african"):
                if share * mix[race]:
                    total += share * mix[race] * self.source.target(f"{folder}{race}-{gender}-{age}.target.gz")
            if share:
                name = f"{folder}universal-{gender}-{age}-averagemuscle-averageweight.target.gz"
                total += share * self.source.target(name)
        return total

    def _identity(self) -> np.ndarray:
        races = ("asian", "african", "caucasian")
        shown = self._macro(REST["sex"], "young", REST)
        displacements = [
            self._macro(1.0, "young", REST) - self._macro(0.0, "young", REST),
            self._macro(REST["sex"], "old", REST) - shown,
        ]
        for race in races:
            displacements.append(self._macro(REST["sex"], "young", {r: float(r == race) for r in races}) - shown)
        for stem, ends in PAIRED_SLIDERS.values():
            if not ends:
                displacements.append(_both_sides(self.source, stem))
                continue
            more, less = (_both_sides(self.source, f"{stem}-{end}") for end in ends.split())
            displacements.append((more - less) / 2.0)
        eyes = np.concatenate([self.source.group_vertices(f"helper-{side}-eye") for side in "lr"])
        return np.stack([d - d[eyes].mean(axis=0) for d in displacements])


def _both_sides(source: MakeHuman, stem: str) -> np.ndarray:
    sides = ("l", "r") if "{side}" in stem else ("",)
    total = np.zeros_like(source.vertices)
    for side in sides:
        total += source.target(f"targets/{stem.format(side=side)}.target.gz")
    return total


def _sphere(points: Float64[np.ndarray, "P 3"]) -> tuple[np.ndarray, float]:
    system = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))
