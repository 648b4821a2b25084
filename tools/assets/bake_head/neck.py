"""How much each point of the skin follows the head's rotation: 1 on the skull, 0 on the shoulders, harmonic between.

>>> weights = head_weights(skin)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.sparse.linalg import spsolve

from tools.assets.bake_head.part import Part

PIVOT_M = (0.0, -0.052, -0.085)
"""The skull's joint on the spine."""


def head_weights(surface: Part) -> Float64[np.ndarray, " P"]:
    """Solve the Laplace equation on the mesh between the jaw's rim (1) and the neck's foot (0)."""
    y, z = surface.points[:, 1], surface.points[:, 2]
    rigid = y + 0.45 * z > -0.112
    still = y - 0.45 * z < -0.142
    still &= ~rigid
    triangles = surface.point_triangles()
    next_corner = np.roll(triangles, 1, axis=1)
    a, b = (np.concatenate(pair).ravel() for pair in ((triangles, next_corner), (next_corner, triangles)))
    count = len(y)
    links = sparse.csr_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).sign()
    laplacian = sparse.diags(np.asarray(links.sum(axis=1)).ravel()) - links
    fixed = rigid | still
    free = np.flatnonzero(~fixed)
    weights = rigid.astype(np.float64)
    right = -laplacian[free][:, np.flatnonzero(fixed)] @ weights[fixed]
    weights[free] = spsolve(laplacian[free][:, free].tocsc(), right)
    result: np.ndarray = np.clip(weights, 0.0, 1.0)
    return result
