"""The people of the cast: who they are, and what of them differs from the open head.

In: the open head's parts, a person's identity, MakeHuman's skins and cards. Out: the fields that
`avi_lib.face.people` adds to the open head, with which a person has its points, triangles, channels and regions.

>>> fields = person_fields(bust, MakeHumanData(archive), "anna")
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.spatial import cKDTree

from tools.assets.bake_head.assembly import IN_MOUTH, SEED, Bust, dyed_tiles, shapes_of
from tools.assets.bake_head.asset import pack_displacements, pack_fraction, pack_picture
from tools.assets.bake_head.atlas import HEIGHT, WIDTH
from tools.assets.bake_head.body import Body, Identity, dyes, slider_scale
from tools.assets.bake_head.cards import Cards, MakeHumanData
from tools.assets.bake_head.complexion import Look
from tools.assets.bake_head.corrections import correct, fit_lids, meet_lips
from tools.assets.bake_head.eyes import eyeballs
from tools.assets.bake_head.hair import hairline_field
from tools.assets.bake_head.light import ambient_occlusion
from tools.assets.bake_head.paint import paint_atlas
from tools.assets.bake_head.part import SKIN, point_normals, smoothstep
from tools.assets.bake_head.regions import sample_mask
from tools.assets.bake_head.texels import bleed

LEFT_OUT = ("lashes", "locks")
"""Parts of the open head that people have as cards instead; its hair's shell becomes their scalp."""

CARD_TILES = {"hair": (0, 1024, 1024, 1024), "brows": (1024, 1024, 512, 512), "lashes": (1024, 1536, 512, 512)}
"""Where cards lie in a person's atlas, below the open head's: left, top, width, height."""


class Person(NamedTuple):
    """Who somebody is, and how they look; the words are for the table of the cast."""

    sex: str
    age: str
    skin: str
    hair: str
    identity: Identity
    makehuman_skin: str
    tone_rgb: tuple[float, float, float]
    lip_rgb: tuple[float, float, float]
    hair_rgb: tuple[float, float, float]
    iris_rgb: tuple[float, float, float]
    cards: tuple[str, str, str]
    cloth_rgb: tuple[float, float, float]
    beard: float = 0.0
    brows_up_m: float = 0.004


PEOPLE = {
    "anna": Person(
        *("woman", "young", "light", "blond bob"),
        Identity(0.0, 0.0, 1.0, 0.0, 0.0, {"eyeSize": 0.2, "noseWidth": -0.2}),
        *("young_caucasian_female", (0.86, 0.68, 0.59), (0.74, 0.42, 0.40)),
        *((0.60, 0.46, 0.29), (0.33, 0.43, 0.48)),
        ("bob02", "eyebrow001", "03"),
        (0.29, 0.38, 0.36),
    ),
    "ben": Person(
        *("man", "young", "light", "brown, short"),
        Identity(1.0, 0.0, 1.0, 0.0, 0.0, {"jawWidth": 0.2}),
        *("young_caucasian_male", (0.83, 0.645, 0.545), (0.68, 0.40, 0.37)),
        *((0.235, 0.155, 0.105), (0.34, 0.30, 0.20)),
        ("short01", "eyebrow012", "Eyelashes01"),
        (0.205, 0.270, 0.345),
        beard=1.0,
    ),
    "clara": Person(
        *("woman", "old", "light", "grey, short"),
        Identity(0.0, 0.85, 1.0, 0.0, 0.0, {"mouthAngles": 0.5}),
        *("old_caucasian_female", (0.83, 0.67, 0.60), (0.66, 0.42, 0.40)),
        *((0.62, 0.60, 0.57), (0.35, 0.42, 0.44)),
        ("short03", "eyebrow008", "Eyelashes01"),
        (0.36, 0.25, 0.33),
    ),
    "david": Person(
        *("man", "middle-aged", "dark", "black, cropped"),
        Identity(1.0, 0.35, 0.0, 0.0, 1.0),
        *("middleage_african_male", (0.42, 0.28, 0.21), (0.42, 0.25, 0.22)),
        *((0.055, 0.045, 0.04), (0.16, 0.10, 0.06)),
        ("short01", "eyebrow012", "Eyelashes01"),
        (0.42, 0.40, 0.36),
        beard=0.8,
    ),
    "ella": Person(
        *("woman", "young", "dark", "black bob"),
        Identity(0.0, 0.0, 0.0, 0.0, 1.0),
        *("young_african_female", (0.50, 0.335, 0.25), (0.50, 0.27, 0.25)),
        *((0.075, 0.055, 0.045), (0.18, 0.11, 0.07)),
        ("bob01", "eyebrow010", "03"),
        (0.55, 0.33, 0.17),
    ),
    "frank": Person(
        *("man", "old", "light", "grey, short"),
        Identity(1.0, 0.9, 1.0, 0.0, 0.0, {"noseLength": 0.3, "mouthAngles": 0.7}),
        *("old_caucasian_male", (0.80, 0.61, 0.52), (0.64, 0.40, 0.37)),
        *((0.55, 0.54, 0.52), (0.33, 0.40, 0.46)),
        ("short04", "eyebrow009", "Eyelashes01"),
        (0.27, 0.30, 0.25),
        beard=0.8,
    ),
    "grace": Person(
        *("woman", "young", "light brown", "black, long"),
        Identity(0.0, 0.0, 0.0, 1.0, 0.0),
        *("young_asian_female", (0.85, 0.67, 0.575), (0.74, 0.42, 0.39)),
        *((0.075, 0.060, 0.055), (0.20, 0.13, 0.08)),
        ("long01", "eyebrow004", "03"),
        (0.40, 0.19, 0.21),
    ),
    "henry": Person(
        *("man", "middle-aged", "brown", "black, short"),
        Identity(1.0, 0.4, 0.2, 0.6, 0.2),
        *("middleage_asian_male", (0.68, 0.49, 0.37), (0.58, 0.35, 0.31)),
        *((0.085, 0.070, 0.065), (0.18, 0.11, 0.07)),
        ("short04", "eyebrow012", "Eyelashes01"),
        (0.30, 0.30, 0.33),
        beard=1.0,
    ),
    "iris": Person(
        *("woman", "middle-aged", "light brown", "brown ponytail"),
        Identity(0.0, 0.35, 0.45, 0.2, 0.35),
        *("middleage_caucasian_female", (0.73, 0.54, 0.43), (0.66, 0.38, 0.35)),
        *((0.20, 0.125, 0.085), (0.27, 0.20, 0.10)),
        ("ponytail01", "eyebrow002", "03"),
        (0.23, 0.24, 0.40),
    ),
}


FRINGED = ("bob01", "bob02", "short03")
UNEVEN = ("eyebrow012",)
"""Brows whose left one hangs lower and is cut off square: both are made from the right one."""

SIDE_M, FRINGE_M = 0.062, 0.060
"""Hair in front of the face keeps this far from its middle; below this height it is lifted."""

BROAD, FINE = 0.5, 0.8
"""Shares of MakeHuman's broad and fine shading of the skin that are kept."""

EYE_M, EYE_REACH_M, EYE_EVEN = np.array([0.032, 0.004]), np.array([0.019, 0.012]), 0.7
"""Where and how far around the eyes, and by what share, MakeHuman's shading is taken back: raised brows draw its dark
hollow out over the lids."""

BROW_SHARE, SHADE = 0.8, {"hair": 0.7, "brows": 0.2, "lashes": 0.7}
"""How bright brows and lashes are beside the hair, and how much of the cards' own shading is kept."""

MENS_LASHES = 0.55
"""How much of the lashes' opacity men have."""

BROW_M, UNDER_HAIR, LASH_OPENNESS = 0.0009, 0.35, 0.9
"""How far brows lie over the skin; how much light gets under the hair, and to brows and lashes."""

GRAIN, EDGE_ROOTS_M = 4, (0.003, 0.014)
"""Into how many pieces a card's edges are cut to find where hair is seen, and how far from it roots are painted at the
hairline and within."""

HEAD_MIDDLE_M = np.array([0.0, 0.02, -0.08])

STRANDS, EDGE = 0.5, (0.05, 0.85)
"""How far the strands that a picture of hair shows part its soft edges, and from which opacity on they are there, and
whole: MakeHuman's edges are a fog through which skin is seen."""


def person_fields(bust: Bust, data: MakeHumanData, name: str) -> dict[str, np.ndarray]:
    """Every field of a person's asset."""
    person, head = PEOPLE[name], bust.head
    body = Body(bust.body.source, person.identity)
    correct(body, bust.body)
    fit_lids(body, bust.body)
    _meet_lips(body, bust)
    points, shapes = _points(body, bust), shapes_of(body, head, bust.regions)
    kept, material = _kept(bust)
    used = np.unique(head.weld()[np.unique(head.triangles()[kept])])
    cards = _cards(data, person, body)
    lashes = np.stack([data.follow(_card_names(person)[2], displacements) for displacements in body.shapes])
    openness, of_hair = _openness(bust, points, kept, cards["hair"])
    return {
        "format": np.array(1),
        "about": np.array([person.sex, person.age, person.skin, person.hair]),
        "licence": np.array("CC0-1.0"),
        "kept": np.packbits(kept),
        "material": material[kept].astype(np.uint8),
        "moved": (points - head.positions())[used].astype(np.float16),
        "eye_centres": body.eye_centres.astype(np.float32),
        "occlusion": pack_fraction(openness[used], np.uint8),
        "identity_scale": slider_scale(person.identity).astype(np.float32),
        "identity_dyes": dyes(person.tone_rgb, person.hair_rgb).astype(np.float32),
        "dyed_tiles": dyed_tiles((1, *CARD_TILES["hair"]), (1, *CARD_TILES["brows"])),
        "atlas": pack_picture(_atlas(bust, data, person, body, cards)),
        **pack_displacements("shape", [(mine - its)[used] for mine, its in zip(shapes, bust.shapes, strict=True)]),
        **_card_fields(cards, of_hair, points[used], [shape[used] for shape in shapes], lashes),
    }


def _kept(bust: Bust) -> tuple[Bool[np.ndarray, " T"], Int64[np.ndarray, " T"]]:
    """Which of the open head's triangles people have, and the material of all."""
    kept, material = [], []
    for name, part in bust.head.parts.items():
        kept.append(np.full(len(part.triangles), name not in LEFT_OUT))
        material.append(np.full(len(part.triangles), SKIN) if name == "hair" else part.material)
    return np.concatenate(kept), np.concatenate(material)


def _cards(data: MakeHumanData, person: Person, body: Body) -> dict[str, Cards]:
    """Hair, brows and lashes on a person's body."""
    hair, brows, lashes = (data.cards(each, body).seen() for each in _card_names(person))
    hair = _swept(hair) if person.cards[0] in FRINGED else hair
    brows = _mirrored(brows) if person.cards[1] in UNEVEN else brows
    return {"hair": hair, "brows": _lifted(brows, body, person.brows_up_m), "lashes": lashes}


def _card_fields(
    cards: dict[str, Cards],
    of_hair: Float64[np.ndarray, " H"],
    points: Float64[np.ndarray, "P 3"],
    shapes: list[Float64[np.ndarray, "P 3"]],
    lashes: Float64[np.ndarray, "52 L 3"],
) -> dict[str, np.ndarray]:
    """The cards one after another; each of their points is carried by the three nearest of the head's `points`.

    `lashes` are the displacements of the lashes by the shapes, of which what their carriers do not do is kept.
    """
    together = np.concatenate([each.points for each in cards.values()])
    weld, triangles, uv, point, vertex = [], [], [], 0, 0
    for tile, each in cards.items():
        weld.append(each.weld + point)
        triangles.append(each.triangles + vertex)
        uv.append(_place(each.uv, tile))
        point, vertex = point + len(each.points), vertex + len(each.weld)
    distance, near = cKDTree(points).query(together, k=3)
    shares = 1.0 / (distance + 1e-4)
    shares /= shares.sum(axis=1, keepdims=True)
    change = np.zeros((len(shapes), *together.shape))
    for row, shape in enumerate(shapes):
        carried = (shares[..., None] * shape[near]).sum(axis=1)
        change[row, -len(lashes[row]) :] = lashes[row] - carried[-len(lashes[row]) :]
    openness = np.full(len(together), LASH_OPENNESS)
    openness[: len(of_hair)] = of_hair
    return {
        "card_points": together.astype(np.float32),
        "card_weld": np.concatenate(weld).astype(np.uint16),
        "card_triangles": np.concatenate(triangles).astype(np.uint16),
        "card_uv": pack_fraction(np.concatenate(uv), np.uint16),
        "card_occlusion": pack_fraction(openness, np.uint8),
        "card_near": near.astype(np.uint16),
        "card_shares": pack_fraction(shares, np.uint8),
        "card_hair": np.array(len(of_hair)),
        **pack_displacements("card_shape", list(change)),
    }


def _atlas(
    bust: Bust, data: MakeHumanData, person: Person, body: Body, cards: dict[str, Cards]
) -> UInt8[np.ndarray, "H W 4"]:
    """The open head's tiles in a person's colours, and the cards below them."""
    tone, roots = _tone(bust, data, person), _roots(bust, body, cards["hair"])
    look = Look(person.lip_rgb, person.hair_rgb, person.iris_rgb, person.cloth_rgb, person.beard, tone, roots)
    atlas = np.zeros((2 * HEIGHT, WIDTH, 4), np.uint8)
    atlas[:HEIGHT, :, :3], atlas[:HEIGHT, :, 3] = paint_atlas(bust.texels, bust.places, SEED, look), 255
    for kind, (left, top, width, height) in CARD_TILES.items():
        dyed = _dyed(cards[kind], person, kind, width)
        atlas[top : top + height, left : left + width] = np.rint(255.0 * dyed).astype(np.uint8)
    return atlas


def _card_names(person: Person) -> tuple[str, str, str]:
    hair, brows, lashes = person.cards
    return f"hair/{hair}", f"eyebrows/{brows}", f"eyelashes/{lashes if lashes[0] == 'E' else 'eyelashes' + lashes}"


def _meet_lips(body: Body, bust: Bust) -> None:
    """Close the lips at rest as far as the open head's are closed."""
    skin, weld = bust.head.parts["skin"], bust.head.parts["skin"].weld
    upper, lower = (skin.binding[weld[bust.regions[f"{lip}_lip_inner"]]] for lip in ("upper", "lower"))

    def gap(displacements: np.ndarray) -> float:
        return float((upper @ displacements)[:, 1].mean() - (lower @ displacements)[:, 1].mean())

    meet_lips(body, gap, gap(bust.body.vertices))


def _swept(hair: Cards) -> Cards:
    """A fringe that hangs over an eye swept to its side, beside the face, and lifted off the brows."""
    x, y, z = hair.points.T
    over = smoothstep(z, -0.025, 0.010) * smoothstep(y, 0.090, 0.030) * smoothstep(x, 0.045, 0.025)
    points = hair.points.copy()
    points[:, 0] -= over * 0.88 * np.clip(x + SIDE_M, 0.0, None)
    points[:, 1] += over * 0.3 * np.clip(FRINGE_M - y, 0.0, None) * smoothstep(x, -0.075, -0.020)
    points[:, 2] -= over * 0.6 * np.clip(z - 0.005, 0.0, None) * smoothstep(x, -SIDE_M, 0.0)
    return replace(hair, points=points)


def _mirrored(brows: Cards) -> Cards:
    """The brow of the person's right, and its mirror image."""
    right = brows.triangles[brows.points[brows.weld[brows.triangles], 0].max(axis=1) < 0.0]
    used, triangles = np.unique(right, return_inverse=True)
    points, weld = np.unique(brows.weld[used], return_inverse=True)
    triangles, uv = triangles.reshape(-1, 3), brows.uv[used]
    return replace(
        brows,
        points=np.concatenate([brows.points[points], brows.points[points] * [-1.0, 1.0, 1.0]]),
        weld=np.concatenate([weld, weld + len(points)]),
        uv=np.concatenate([uv, uv]),
        triangles=np.concatenate([triangles, triangles[:, ::-1] + len(used)]),
    )


def _lifted(brows: Cards, body: Body, up_m: float) -> Cards:
    """Brows laid on the skin, level where their inner ends hang.

    They move up along the forehead, away from lids that are wider open than MakeHuman's.
    """
    picked = body.source.groups == "body"
    triangles, members = body.source.triangles[picked], body.source.group_vertices("body")
    normals = point_normals(body.vertices, triangles)
    front = members[(body.vertices[members, 2] > -0.05) & (normals[members, 2] > 0.0)]
    away, up = np.abs(brows.points[:, 0]), brows.points[:, 1]
    slant = max(np.polyfit(away, up, 1)[0], 0.0)
    points = brows.points + np.array([0.0, 1.0, 0.0]) * (up_m - slant * (away - away.mean()))[:, None]
    distance, near = cKDTree(body.vertices[front]).query(points, k=5)
    shares = (1.0 / (distance + 1e-4))[..., None]
    shares /= shares.sum(axis=1, keepdims=True)
    normal = (shares * normals[front][near]).sum(axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    above = ((points[:, None] - body.vertices[front][near]) * normals[front][near]).sum(axis=2, keepdims=True)
    points += (BROW_M - (shares * above).sum(axis=1)) * normal
    return replace(brows, points=points)


def _points(body: Body, bust: Bust) -> Float64[np.ndarray, "P 3"]:
    """Where the open head's points are on another body; its hair's shell lies on the scalp."""
    points = bust.head.positions() + bust.head.follow(body.vertices - bust.body.vertices)
    points[bust.head.points["hair"]] = bust.head.parts["hair"].binding @ body.vertices
    points[bust.head.points["eyeballs"]] = eyeballs(body).points
    return points


def _place(uv: Float64[np.ndarray, "V 2"], tile: str) -> Float64[np.ndarray, "V 2"]:
    left, top, width, height = CARD_TILES[tile]
    return (np.array([left, top]) + np.clip(uv, 0.0, 1.0) * [width, height]) / [WIDTH, 2 * HEIGHT]


def _openness(
    bust: Bust, points: Float64[np.ndarray, "P 3"], kept: Bool[np.ndarray, " T"], hair: Cards
) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " H"]]:
    """Ambient light of the head's points under the hair, and of the hair's points."""
    head, count = bust.head, len(points)
    triangles = head.weld()[head.triangles()[kept]]
    opaque = hair.triangles[_alpha(hair)[hair.triangles].mean(axis=1) > 0.6]
    away = hair.points - HEAD_MIDDLE_M
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    normals = np.concatenate([point_normals(points, triangles), away])
    everything = np.concatenate([triangles, hair.weld[opaque] + count])
    found = ambient_occlusion(np.concatenate([points, hair.points]), normals, everything)
    openness, outside = np.minimum(bust.openness, 1.0), np.ones(count, bool)
    for name in (*IN_MOUTH, "eyeballs", *LEFT_OUT):
        outside[head.points[name]] = False
    openness[outside] = found[:count][outside]
    part, skin, scalp = head.parts["skin"], head.points["skin"], head.points["hair"]
    inner = np.zeros(len(part.points))
    np.maximum.at(inner, part.weld, sample_mask(bust.body, "inside-mouth", part.uv))
    seen = openness[skin] * (1.0 - inner) + bust.openness[skin] * inner
    openness[skin] = np.maximum(seen, UNDER_HAIR * (1.0 - inner) * (bust.openness[skin] > UNDER_HAIR))
    openness[scalp] = np.maximum(openness[scalp], UNDER_HAIR)
    return openness, 0.45 + 0.55 * found[count:]


def _alpha(cards: Cards) -> np.ndarray:
    """Opacity at each vertex."""
    side = np.array(cards.picture.shape[1::-1])
    return map_coordinates(cards.picture[..., 3], (cards.uv * side - 0.5)[:, ::-1].T, order=1, mode="nearest")


def _roots(bust: Bust, body: Body, hair: Cards) -> Float64[np.ndarray, " N"]:
    """How much of the scalp's hair is painted at each texel of the skin: under the cards, fading out at their edge."""
    shares = np.array([(i, j, GRAIN - i - j) for i in range(GRAIN + 1) for j in range(GRAIN + 1 - i)]) / GRAIN
    spots, places = (np.einsum("sc,tcd->tsd", shares, of[hair.triangles]) for of in (hair.points[hair.weld], hair.uv))
    grown = spots[_alpha(replace(hair, uv=places.reshape(-1, 2))).reshape(spots.shape[:2]) > 0.9]
    at = bust.texels.spread((bust.above.binding @ body.vertices)[bust.above.weld])
    inside = hairline_field(bust.places.points)
    near = inside > -0.02
    roots = np.zeros(len(at))
    distance = cKDTree(grown).query(at[near])[0]
    reach = np.interp(inside[near], [0.0, 0.012], EDGE_ROOTS_M)
    roots[near] = 0.92 * smoothstep(distance, reach, 0.3 * reach) * smoothstep(inside[near], -0.004, 0.006)
    return roots


def _tone(bust: Bust, data: MakeHumanData, person: Person) -> Float64[np.ndarray, "N 3"]:
    """The skin's colour at each texel: MakeHuman's, its broad light and shade halved, about the person's own tone."""
    skin = data.skin(person.makehuman_skin)
    uv = bust.texels.spread(bust.above.uv)
    face = sample_mask(bust.body, "face", uv) > 0.5
    blurred = np.stack([gaussian_filter(skin[..., c], 14.0, mode="nearest") for c in range(3)], axis=-1)
    side = len(skin)
    places = np.stack([(1.0 - uv[:, 1]) * side - 0.5, uv[:, 0] * side - 0.5])

    def read(picture: np.ndarray, order: int) -> np.ndarray:
        channels = [map_coordinates(picture[..., c], places, order=order, mode="nearest") for c in range(3)]
        return np.stack(channels, axis=-1)

    broad = read(blurred, 1)
    fine = read(skin, 3) / np.maximum(broad, 0.02)
    middle = np.median(broad[face], axis=0)
    hollow = np.exp(-((((np.abs(bust.places.points[:, :2]) - EYE_M) / EYE_REACH_M) ** 2).sum(axis=1)))
    kept = (1.0 - EYE_EVEN * hollow)[:, None]
    shade = np.clip(broad / middle, 0.5, 1.5) ** BROAD * np.clip(fine, 0.6, 1.25) ** FINE
    tone = np.array(person.tone_rgb) * (1.0 + kept * (shade - 1.0))
    scalp = smoothstep(hairline_field(bust.places.points), -0.022, -0.004)[:, None]
    result: np.ndarray = tone * (1.0 - scalp) + np.array(person.tone_rgb) * scalp
    return result


def _dyed(cards: Cards, person: Person, kind: str, side: int) -> Float64[np.ndarray, "S S 4"]:
    """A card's picture at a size, in the colour of the person's hair, which goes on where it is transparent."""
    picture = cards.picture
    faint = MENS_LASHES if kind == "lashes" and person.sex == "man" else 1.0
    alpha = faint * picture[..., 3]
    light = picture[..., :3].mean(axis=-1)
    middle = np.average(light, weights=alpha + 1e-6)
    light = bleed(light[..., None], picture[..., 3] > 0.5)[..., 0] / max(middle, 0.02)
    colour = np.array(person.hair_rgb) * (1.0 if kind == "hair" else BROW_SHARE)
    shaded = colour * np.clip(light, 0.35, 2.0)[..., None] ** SHADE[kind]
    grown = zoom(np.dstack([shaded, alpha]), (side / len(picture), side / len(picture), 1), order=1)
    if kind == "hair":
        strands = grown[..., 0] - gaussian_filter(grown[..., 0], 4.0)
        parted = STRANDS * np.clip(strands / (strands.std() + 1e-6), -1.0, 1.0) * grown[..., 3] * (1.0 - grown[..., 3])
        grown[..., 3] = smoothstep(grown[..., 3] + parted, *EDGE)
    result: np.ndarray = np.clip(grown, 0.0, 1.0)
    return result
