"""Errors of motion measured on a head's mesh without making its vertices.

Blendshapes are linear, so the squared displacement of a region's vertices under a change of weights is a quadratic form
of that change: with B the shapes at the region's V vertices, |dw B|^2 / V = dw G dw, G = B B^T / V = L L^T, and L has
as many rows as there are channels whatever V is.

>>> error = mesh_error(load_head())
>>> error.squared(torch.from_numpy(a.values - b.values))["lips"].sqrt()  # (frames,) mm, root mean square
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from avi_lib.face.head import Head
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionSpace

MM = 1000.0
FACE_REGIONS = ("lips", "eyes", "upper_face", "face")
FAINT = 0.02
"""mm^2 that a channel at full weight counts beyond what it moves: some, such as the tongue's, move no
vertex of a region, and would be left free."""


@dataclass(frozen=True, eq=False)
class MotionError:
    """Quadratic errors of motion by region, of one motion space.

    `factors` maps a region to L (channels, rank); `gap` (channels,) is the lip gap in millimetres of every channel at
    full weight, None in a space without a mesh.
    """

    space: MotionSpace
    factors: dict[str, torch.Tensor]
    gap: torch.Tensor | None

    def squared(self, change: Float[torch.Tensor, "*rows channels"]) -> dict[str, Float[torch.Tensor, "*rows"]]:
        """Mean squared displacement of every region's vertices in mm^2; radians^2 for the head's rotation."""
        return {region: (change @ factor.to(change)).square().sum(dim=-1) for region, factor in self.factors.items()}


def mesh_error(head: Head) -> MotionError:
    """Errors on the mesh of a head: FACE_REGIONS in mm^2, and "head", its rotation, in radians^2."""
    shapes, factors = len(ARKIT_BLENDSHAPES), {}
    for region in FACE_REGIONS:
        basis = MM * head.shapes[:, head.regions[region]].astype(np.float64)
        form = np.einsum("avi,bvi->ab", basis, basis) / basis.shape[1] + FAINT * np.eye(shapes)
        factor = np.zeros((len(ARKIT), shapes))
        factor[:shapes] = np.linalg.cholesky(form)
        factors[region] = torch.from_numpy(factor.astype(np.float32))
    factors["head"] = _channels(ARKIT, "head")
    weights = np.eye(len(ARKIT), dtype=np.float32)
    return MotionError(ARKIT, factors, torch.from_numpy(MM * head.lip_gap(weights)))


def coefficient_error() -> MotionError:
    """Errors on FLAME's coefficients themselves, whose mesh is not to hand: expression as "face", jaw as "lips"."""
    groups = {"face": "expression", "lips": "lips", "head": "head"}
    return MotionError(FLAME, {region: _channels(FLAME, group) for region, group in groups.items()}, None)


def with_channels(error: MotionError, deviation: Float[torch.Tensor, " channels"]) -> MotionError:
    """The same and "channels": every channel in units of its deviation, so that small and rare ones count as well."""
    return replace(error, factors={**error.factors, "channels": torch.diag(1 / deviation)})


def _channels(space: MotionSpace, group: str) -> torch.Tensor:
    return torch.eye(len(space))[:, list(space.groups[group])]
