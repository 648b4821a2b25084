"""Surfaces as the rasteriser needs them: what is prepared once for a mesh, a view and the lights of the studio.

>>> finer, middles = split_long_edges(head, View.square(1024))  # curved where the mesh is coarse: a round outline
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8, UInt32
from numba import njit
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIAL_NAMES, MATERIALS, View
from avi_lib.face.head import RenderMesh, with_texels

ATTRIBUTES = 16
LEVELS = 3  # sizes of the atlas: full, half and quarter
SHARPNESS = 1.7  # texels a pixel, along a line, that half of a material may exceed before the next level is taken
LONG_PX = 10.0
"""Edges that are longer than this in a picture of the mesh at rest are split; hair and cloth may be twice as coarse."""
MARGIN_M = 0.06
"""How far a head may move within the maps of its shadows."""
CLOTH = MATERIAL_NAMES.index("cloth")
MOST_TEXELS = 1024
"""Longest side of such a map."""

Rgb = tuple[np.float32, np.float32, np.float32]


def kernel(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    """Compile at the first call and keep the result beside the module, in the user's cache or in NUMBA_CACHE_DIR.

    What would let the compiler round otherwise from one place of use to the next (reordering, reciprocals) stays off:
    a picture has the same bits whether a process compiles its kernels or loads them. What a kernel calls from another
    file is kept with it: touch both files when that one changes.

    Where none of these can be written, each process compiles anew.
    """
    rounded = {"nnan", "ninf", "nsz", "contract"}
    options: dict[str, Any] = {"nogil": True, "fastmath": rounded, "error_model": "numpy"} | more
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(unwrap(function))
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(**options)(unwrap(function))
    return compiled


bare_kernel = partial(kernel, _nrt=False)
"""A kernel that makes no arrays, compiled without counting who holds them, which its loops would do for each pixel."""


class ShadowMap(NamedTuple):
    """Heights (metres) of what is nearest to a light; `place` (3, 4) takes a point to column, row and height.

    `highest` of 4 x 4 texels, from each to the right and downwards.
    """

    place: np.ndarray
    heights: np.ndarray
    highest: np.ndarray
    texel_m: np.float32
    lift_m: np.float32
    start_m: np.float32
    rise_m: np.float32
    end_m: np.float32


class Surface(NamedTuple):
    """What the mesh looks like.

    Attributes of a vertex: normal (0:3), openness (3), place in the atlas (4:6), point (6:9), how much far blockers
    keep of the key light (9), how close it lies to what is before it (10), where its hair runs to (11:14) or by how
    much it is lighter than what is pictured (11). What the two sides of a vertex answer (lit): scattered light (0:3),
    mirrored of the key light (3) and of the rim light (4), whether that is known (5), place in the atlas (6:8).
    """

    triangles: np.ndarray
    solid: np.ndarray
    veils: np.ndarray
    material: np.ndarray
    part: np.ndarray
    two_sided: np.ndarray
    thin: np.ndarray
    found: np.ndarray
    attributes: np.ndarray
    lit: np.ndarray
    atlas: np.ndarray
    sizes: np.ndarray
    levels: np.ndarray
    materials: np.ndarray
    shadows: tuple[ShadowMap, ...]


OPAQUE = 243
"""Opacity (0-255) from which on a texel hides what is behind it."""
EXPOSURE = 0.62


def _rgb(values: Any) -> Rgb:
    x, y, z = np.asarray(values, np.float32)
    return x, y, z


def _towards(*direction: float) -> Rgb:
    return _rgb(np.divide(direction, np.linalg.norm(direction)))


def _exposed(*rgb: float) -> Rgb:
    return _rgb(np.multiply(rgb, EXPOSURE))


class Studio(NamedTuple):
    """The shading formula: unit directions towards distant lights, their linear colours exposed, the display curve."""

    key: Rgb = _towards(-0.50, 0.55, 0.75)
    key_rgb: Rgb = _exposed(2.10, 1.98, 1.82)
    fill: Rgb = _towards(0.75, 0.05, 0.60)
    fill_rgb: Rgb = _exposed(0.48, 0.54, 0.64)
    rim: Rgb = _towards(0.55, 0.45, -0.60)
    rim_rgb: Rgb = _exposed(1.30, 1.36, 1.45)
    ahead: Rgb = _towards(-0.05, 0.50, 0.80)
    sky_rgb: Rgb = _exposed(0.46, 0.48, 0.52)
    ground_rgb: Rgb = _exposed(0.26, 0.23, 0.21)
    decode: Rgb = _rgb((0.0324, 0.6004, 0.3762))
    curve: tuple[np.float32, np.float32] = (np.float32(0.7), np.float32(1.9))
    rim_reach: np.float32 = np.float32(0.3)


SHADOWS = (
    (Studio().key, 0.0010, 0.002, 0.0006, 0.001, 0.008),
    (Studio().key, 0.0040, 0.008, 0.0080, 0.008, 1e6),
    (Studio().ahead, 0.0016, 0.003, 0.0002, 0.001, 1e6),
)
"""Of each map its light; in metres: a texel; how far points of surfaces that turn away from the light are lifted; from
where and over what distance a blocker grows effective; from where to twice where it ceases to be."""


def surface_of(mesh: RenderMesh, view: View, pictured: Collection[int] = ()) -> Surface:
    """What is prepared once of a mesh before a camera; materials that are `pictured` are drawn without light.

    The atlas and its halvings are in the sRGB code, premultiplied by alpha, or else fringes are dark. A part are
    triangles of one material that hang together through welded points. Raises InputError when the sides of the atlas
    are not multiples of four.
    """
    if mesh.atlas.shape[0] % 4 or mesh.atlas.shape[1] % 4:
        got = f"{mesh.atlas.shape[1]} x {mesh.atlas.shape[0]}"
        raise InputError("an atlas whose sides are multiples of 4", got, "resize it")
    attributes, thin = np.zeros((len(mesh.vertices), ATTRIBUTES), np.float32), np.zeros(len(mesh.vertices), bool)
    attributes[:, 3], attributes[:, 4:6] = mesh.occlusion, mesh.uv
    thin[mesh.triangles[two_sided(mesh)]] = True
    lit = np.zeros((2, len(mesh.vertices), 8), np.float32)
    lit[..., 6:] = mesh.uv
    faint = np.zeros(len(mesh.triangles), bool)
    if mesh.alpha is not None:
        faint = with_texels(mesh.alpha < OPAQUE, mesh.uv, mesh.triangles)
    solid, veils = (np.flatnonzero(each).astype(np.uint32) for each in (~faint, faint))
    alpha = np.full(mesh.atlas.shape[:2], 255, np.uint8) if mesh.alpha is None else mesh.alpha
    shown = np.rint(mesh.atlas * (alpha[..., None] / np.float32(255))).astype(np.uint8)
    atlases = [np.ascontiguousarray(np.dstack([shown, alpha]))]
    for _ in range(LEVELS - 1):
        fine = atlases[-1].astype(np.uint16)
        four = fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]
        atlases.append(((four + 2) // 4).astype(np.uint8))
    sizes = [each.shape[1::-1] for each in atlases]
    starts = np.cumsum([0, *(width * height for width, height in sizes)])[:-1]
    points = mesh.weld[mesh.triangles]
    links = np.ones(2 * len(points)), (np.repeat(points[:, 0], 2), points[:, 1:].ravel())
    _, component = connected_components(coo_array(links, shape=2 * (mesh.weld.max() + 1,)), directed=False)
    return Surface(
        triangles=mesh.triangles.astype(np.uint32),
        solid=solid,
        veils=veils,
        material=mesh.material,
        part=(component[points[:, 0]] * len(MATERIALS) + mesh.material).astype(np.uint32),
        two_sided=two_sided(mesh),
        thin=thin,
        found=np.zeros(len(mesh.triangles), bool),
        attributes=attributes,
        lit=lit,
        atlas=np.concatenate([each.view(np.uint32).ravel() for each in atlases]),
        sizes=np.array([(start, *size) for start, size in zip(starts, sizes, strict=True)], np.uint32),
        levels=material_levels(mesh, view),
        materials=material_table(pictured),
        shadows=shadow_maps(mesh),
    )


def copied(surface: Surface) -> Surface:
    """A surface for another thread: what changes from picture to picture is its own."""
    shadows = tuple(
        each._replace(heights=np.empty_like(each.heights), highest=np.empty_like(each.heights))
        for each in surface.shadows
    )
    own = {name: getattr(surface, name).copy() for name in ("attributes", "lit", "found")}
    return surface._replace(shadows=shadows, **own)


def material_levels(mesh: RenderMesh, view: View) -> UInt8[np.ndarray, " materials"]:
    """The level for each material in a picture of the mesh at rest, 0 for what is not seen."""
    places = _places(mesh, view)
    texels = mesh.uv * np.array(mesh.atlas.shape[1::-1], np.float32)
    pixel_area, texel_area = -_signed_areas(places, mesh.triangles), np.abs(_signed_areas(texels, mesh.triangles))
    levels = np.zeros(len(MATERIALS), np.uint8)
    for material in np.unique(mesh.material):
        facing = (mesh.material == material) & (pixel_area > 0.0)
        order = np.argsort(texel_area[facing] / pixel_area[facing])
        shares = np.cumsum(pixel_area[facing][order])
        if len(shares) == 0:
            continue
        middle = order[np.searchsorted(shares, 0.5 * shares[-1])]
        density = np.sqrt(texel_area[facing][middle] / pixel_area[facing][middle])
        levels[material] = np.clip(np.floor(np.log2(max(density, 1e-6) / SHARPNESS)) + 1, 0, LEVELS - 1)
    return levels


def _places(mesh: RenderMesh, view: View) -> np.ndarray:
    """Where the vertices at rest lie in the picture, in pixels from its middle."""
    clip = np.column_stack([mesh.vertices, np.ones(len(mesh.vertices), np.float32)]) @ view.matrix().T
    places: np.ndarray = clip[:, :2] / clip[:, 3:] * (0.5 * np.array([view.width, view.height], np.float32))
    return places


def _signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    areas: np.ndarray = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return areas


CROWN_M = np.array([0.0, 0.100, -0.110])
"""Where the hair of cards runs from: their pictures lie in the atlas as it suits, unlike those of painted locks."""


def strand_directions(mesh: RenderMesh) -> tuple[np.ndarray, csr_array]:
    """The vertices of hair, and what takes all vertices to the directions in which hair runs there.

    Painted locks run down the atlas, see-through cards away from the crown.
    """
    hair = np.array([material.strands > 0.0 for material in MATERIALS])[mesh.material]
    corners = mesh.triangles[hair]
    if mesh.alpha is None:
        (bu, bv), (cu, cv) = ((mesh.uv[corners[:, number]] - mesh.uv[corners[:, 0]]).T for number in (1, 2))
        turn = np.sign(bu * cv - cu * bv)
        to_b, to_c = -cu * turn, bu * turn
    else:
        first, *others = (mesh.vertices[corners[:, number]].astype(np.float64) for number in range(3))
        b, c, away = others[0] - first, others[1] - first, first - CROWN_M
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        bb, bc, cc, ba, ca = ((x * y).sum(axis=1) for x, y in ((b, b), (b, c), (c, c), (b, away), (c, away)))
        size = np.maximum(bb * cc - bc * bc, 1e-18)
        to_b, to_c = (ba * cc - ca * bc) / size, (ca * bb - ba * bc) / size
    weights = np.tile(np.stack([-to_b - to_c, to_b, to_c], axis=1), (1, 3)).ravel()
    rows, columns = np.repeat(corners, 3, axis=1).ravel(), np.tile(corners, (1, 3)).ravel()
    hairy, rows = np.unique(rows, return_inverse=True)
    return hairy, csr_array((weights, (rows, columns)), shape=(len(hairy), len(mesh.vertices)))


def two_sided(mesh: RenderMesh) -> np.ndarray:
    """Which triangles are seen from behind, too."""
    found: np.ndarray = np.array([material.two_sided for material in MATERIALS])[mesh.material] | mesh.see_through
    return found


def casters(mesh: RenderMesh, pictured: Collection[int] = ()) -> UInt32[np.ndarray, "C 3"]:
    """The triangles that cast shadows: what is solid except cloth, with both its sides where it has two."""
    casts = ~np.isin(mesh.material, [CLOTH, *pictured]) & ~mesh.see_through
    backs = mesh.triangles[casts & two_sided(mesh), ::-1]
    return np.concatenate([mesh.triangles[casts], backs]).astype(np.uint32)


def material_table(pictured: Collection[int] = ()) -> Float32[np.ndarray, "materials 13"]:
    """One row a material: scale (3) and offset (3) of n.l for wrapped light, which is max(0, scale * n.l + offset).

    Then specular, roughness^4, rim, contact, shadow, strands, and 1 for what is `pictured`: drawn without light.
    """
    wrap = np.array([material.wrap_rgb for material in MATERIALS])
    numbers = [(m.specular, m.roughness**4, m.rim, m.contact, m.shadow, m.strands) for m in MATERIALS]
    unlit = np.isin(np.arange(len(MATERIALS)), list(pictured))
    return np.column_stack([(1.0 + wrap) ** -2, wrap * (1.0 + wrap) ** -2, numbers, unlit]).astype(np.float32)


# Finer meshes: edges split where they are long, new points on the curved surface that the normals tell.


def split_long_edges(mesh: RenderMesh, view: View) -> tuple[RenderMesh, Int32[np.ndarray, "M 2"]]:
    """The mesh with edges above LONG_PX halved, and the two vertices between which each of its new ones lies.

    Open edges and those of see-through triangles stay, so that no crack opens beside them.
    """
    sides = mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]]
    points = np.sort(mesh.weld[sides], axis=2)
    keys = points[..., 0].astype(np.int64) * (mesh.weld.max() + 1) + points[..., 1]
    _, edge, count = np.unique(keys, return_inverse=True, return_counts=True)
    edge = edge.reshape(keys.shape)
    places = _places(mesh, view)
    lengths = np.linalg.norm(places[sides[..., 0]] - places[sides[..., 1]], axis=2)
    long = lengths > np.where(two_sided(mesh), 2.0 * LONG_PX, LONG_PX)[:, None]
    wanted = np.zeros(len(count), bool)
    wanted[edge[long]] = True
    wanted[edge[mesh.see_through]] = False
    split = (wanted & (count > 1))[edge]
    ends, middle = np.unique(np.sort(sides[split], axis=1), axis=0, return_inverse=True)
    number = np.full(split.shape, -1, np.int64)
    number[split] = len(mesh.vertices) + middle.ravel()
    triangles, parents = [], []
    for turn in range(3):
        (a, b, c), (ab, bc, ca) = (np.roll(each, -turn, axis=1).T for each in (mesh.triangles, number))
        one, two = (ab >= 0) & (bc < 0) & (ca < 0), (ab >= 0) & (bc >= 0) & (ca < 0)
        three, none = (ab >= 0) & (bc >= 0) & (ca >= 0), (ab < 0) & (bc < 0) & (ca < 0)
        cuts = [(one, (a, ab, c)), (one, (ab, b, c)), (two, (ab, b, bc)), (two, (a, ab, bc)), (two, (a, bc, c))]
        cuts += [(three, (a, ab, ca))] + ([(three, (ab, bc, ca)), (none, (a, b, c))] if turn == 0 else [])
        for which, corners in cuts:
            triangles.append(np.stack(corners, axis=1)[which])
            parents.append(np.flatnonzero(which))
    welds = np.sort(mesh.weld[ends], axis=1)
    _, weld = np.unique(welds, axis=0, return_inverse=True)
    parent = np.concatenate(parents)
    finer = RenderMesh(
        vertices=np.concatenate([mesh.vertices, mesh.vertices[ends].mean(axis=1)]),
        triangles=np.concatenate(triangles).astype(np.int32),
        uv=np.concatenate([mesh.uv, mesh.uv[ends].mean(axis=1)]),
        weld=np.concatenate([mesh.weld, mesh.weld.max() + 1 + weld.ravel()]).astype(np.int32),
        material=mesh.material[parent],
        occlusion=np.concatenate([mesh.occlusion, mesh.occlusion[ends].mean(axis=1)]),
        atlas=mesh.atlas,
        alpha=mesh.alpha,
    )
    return finer, ends.astype(np.int32)


@kernel
def project(vertices: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixel x, pixel y and the inverse of the distance (zero behind the camera), which is linear across the picture."""
    screen = np.zeros((vertices.shape[0], 3), np.float32)
    half_x, half_y = np.float32(0.5 * width), np.float32(0.5 * height)
    for v in range(vertices.shape[0]):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        w = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        if w > np.float32(1e-3):
            near = np.float32(1.0) / w
            across = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
            down = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
            screen[v, 0], screen[v, 1] = half_x + half_x * near * across, half_y + half_y * near * down
            screen[v, 2] = near
    return screen


@partial(kernel, inline="always")
def slopes(screen: np.ndarray, a: int, b: int, c: int, area: float) -> tuple[float, float, float, float, float, float]:
    """How the shares of the corners b and c and the inverse distance grow to the right and downwards."""
    inverse = np.float32(1) / area
    ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
    bdx, bdy = (screen[c, 1] - ay) * inverse, (ax - screen[c, 0]) * inverse
    cdx, cdy = (ay - screen[b, 1]) * inverse, (screen[b, 0] - ax) * inverse
    bz, cz = screen[b, 2] - az, screen[c, 2] - az
    return bdx, bdy, cdx, cdy, bdx * bz + cdx * cz, bdy * bz + cdy * cz


@kernel
def vertex_normals(vertices: np.ndarray, triangles: np.ndarray, weld: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) of vertices (V, 3): those of their triangles (T, 3), weighted by area, summed per point.

    `weld` (V,) names the point of each vertex, since vertices are split at seams of the texture. Vertices of no
    triangle get a zero normal.
    """
    sums = np.zeros((weld.max() + 1, 3), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            point = weld[corner]
            sums[point, 0] += nx
            sums[point, 1] += ny
            sums[point, 2] += nz
    normals = np.empty_like(vertices)
    for v in range(vertices.shape[0]):
        x, y, z = sums[weld[v], 0], sums[weld[v], 1], sums[weld[v], 2]
        scale = np.float32(1.0) / np.sqrt(x * x + y * y + z * z + np.float32(1e-30))
        normals[v, 0], normals[v, 1], normals[v, 2] = x * scale, y * scale, z * scale
    return normals


@kernel
def with_middles(vertices: np.ndarray, normals: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices, and after them a point for each pair: the middle of the curve between them; and all the normals.

    Positions as in Vlachos, Peters, Boyd and Mitchell, Curved PN triangles, 2001; normals are the means.
    """
    count = vertices.shape[0]
    finer, smooth = np.empty((count + pairs.shape[0], 3), np.float32), np.empty((count + pairs.shape[0], 3), np.float32)
    finer[:count], smooth[:count] = vertices, normals
    half, eighth = np.float32(0.5), np.float32(0.125)
    for m in range(pairs.shape[0]):
        a, b = pairs[m, 0], pairs[m, 1]
        rise = fall = length = np.float32(0)
        for axis in range(3):
            step = vertices[b, axis] - vertices[a, axis]
            rise += step * normals[a, axis]
            fall -= step * normals[b, axis]
            length += (normals[a, axis] + normals[b, axis]) ** 2
        scale = np.float32(1) / np.sqrt(length + np.float32(1e-12))
        for axis in range(3):
            middle = half * (vertices[a, axis] + vertices[b, axis])
            finer[count + m, axis] = middle - eighth * (rise * normals[a, axis] + fall * normals[b, axis])
            smooth[count + m, axis] = (normals[a, axis] + normals[b, axis]) * scale
    return finer, smooth


# The atlas.


@partial(kernel, inline="always")
def _lanes(texel: int) -> np.uint64:
    """The four bytes of a texel, each with 16 bits: the first, third, second and fourth."""
    wide = np.uint64(texel)
    return wide & np.uint64(0x00FF00FF) | (wide & np.uint64(0xFF00FF00)) << np.uint64(24)


@partial(kernel, inline="always")
def texture(surface: Surface, level: int, across: float, down: float) -> Any:
    """Premultiplied colour (3) and opacity, 0-1, between four texels, whose weights are whole 256ths."""
    zero, half, one, atlas = np.float32(0), np.float32(0.5), np.float32(1), surface.atlas
    start, width = surface.sizes[level, 0], surface.sizes[level, 1]
    wide, high = np.float32(width) - one, np.float32(surface.sizes[level, 2]) - one
    u = min(max(across * (wide + one) - half, zero), wide)
    v = min(max(down * (high + one) - half, zero), high)
    west, north = np.uint32(u), np.uint32(v)
    east, south = np.uint32(min(u + one, wide)), np.uint32(min(v + one, high))
    u, v = np.float32(256) * (u - np.float32(west)), v - np.float32(north)
    right, below = np.int64(u + half), np.int64(np.float32(256) * v + half)
    both = max(np.int64(u * v + half), right + below - np.int64(256))
    north, south = start + north * width, start + south * width
    lanes = _lanes(atlas[north + west]) * np.uint64(np.int64(256) - right - below + both)
    lanes += _lanes(atlas[north + east]) * np.uint64(right - both)
    lanes += _lanes(atlas[south + west]) * np.uint64(below - both)
    lanes += _lanes(atlas[south + east]) * np.uint64(both)
    scale, lane = np.float32(1 / 65280), np.uint64(0xFFFF)
    red, blue = np.float32(np.int32(lanes & lane)), np.float32(np.int32(lanes >> np.uint64(16) & lane))
    green, alpha = np.float32(np.int32(lanes >> np.uint64(32) & lane)), np.float32(np.int32(lanes >> np.uint64(48)))
    return red * scale, green * scale, blue * scale, alpha * scale


# Shadows: what a distant light sees of the solid surfaces, as maps of heights towards it.


def shadow_maps(mesh: RenderMesh) -> tuple[ShadowMap, ...]:
    """Empty maps of the key light, for what is near and what is far, and of the light ahead; they hold what casts."""
    casting = casters(mesh)
    points = mesh.vertices[np.unique(casting if len(casting) else mesh.triangles)]
    maps = []
    for towards, texel_m, *limits_m in SHADOWS:
        right = np.cross((0.0, 1.0, 0.0), towards)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(towards, right), towards])
        places = points @ axes.T
        low, high = places.min(axis=0) - MARGIN_M, places.max(axis=0) + MARGIN_M
        texel_m = max(texel_m, float((high - low)[:2].max()) / MOST_TEXELS)
        columns, rows = np.ceil((high - low)[:2] / texel_m).astype(int)
        place = np.column_stack([axes, [-low[0], -low[1], 0.0]])
        place[:2] /= texel_m
        heights = np.empty((rows, columns), np.float32)
        maps.append(ShadowMap(place.astype(np.float32), heights, heights, *map(np.float32, (texel_m, *limits_m))))
    return tuple(maps)


@bare_kernel
def cast_shadows(places: np.ndarray, triangles: np.ndarray, shadow: ShadowMap) -> None:
    """A light's map from the vertices' columns, rows and heights in it; what turns away casts nothing."""
    heights, highest = shadow.heights, shadow.highest
    heights[:], highest[:] = np.float32(-1e6), np.float32(-1e6)
    one, width, height = np.float32(1), heights.shape[1], heights.shape[0]
    north, south, west, east = height, 0, width, 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = places[a, 0], places[a, 1], places[a, 2]
        bx, by, cx, cy = places[b, 0], places[b, 1], places[c, 0], places[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if max(ay, by, cy) < 0 or min(ay, by, cy) >= height or area <= 0:
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = slopes(places, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        up, down = max(0, int(min(ay, by, cy))), min(height - 1, int(max(ay, by, cy)))
        north, south, west, east = min(north, up), max(south, down), min(west, left), max(east, right)
        for y in range(up, down + 1):
            dy = np.float32(y) - ay
            for x in range(left, right + 1):
                dx = np.float32(x) - ax
                wb, wc, z, seen = bdx * dx + bdy * dy, cdx * dx + cdy * dy, az + zdx * dx + zdy * dy, heights[y, x]
                heights[y, x] = z if (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > seen) else seen
    third = np.float32(1 / 3)
    for y in range(max(north - 3, 0), min(south + 1, height - 3)):
        for x in range(max(west - 3, 0), min(east + 1, width - 3)):
            across, down = third * (heights[y, x + 3] - heights[y, x]), third * (heights[y + 3, x] - heights[y, x])
            most = heights[y, x]
            for j in range(4):
                for i in range(4):
                    most = max(most, heights[y + j, x + i] - np.float32(i) * across - np.float32(j) * down)
            highest[y, x] = most


@partial(kernel, inline="always")
def shaded(shadow: ShadowMap, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> np.float32:
    """Which share of a distant light is kept from a point with this normal: the mean over 3 x 3 texels.

    The surface's own slope is told from its normal. Where it turns away from the light, the point is lifted off it.
    """
    zero, one, m, heights = np.float32(0), np.float32(1), shadow.place, shadow.heights
    facing = m[2, 0] * nx + m[2, 1] * ny + m[2, 2] * nz
    lift = shadow.lift_m * (one - facing) * (one - facing)
    x, y, z = x + lift * nx, y + lift * ny, z + lift * nz
    column = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    row = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    if column < one or row < one or column >= heights.shape[1] - 3 or row >= heights.shape[0] - 3:
        return zero
    left, up = int(column) - 1, int(row) - 1
    steep = -shadow.texel_m * shadow.texel_m / max(facing, np.float32(0.3))
    across = (m[0, 0] * nx + m[0, 1] * ny + m[0, 2] * nz) * steep
    down = (m[1, 0] * nx + m[1, 1] * ny + m[1, 2] * nz) * steep
    plane = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z
    plane += across * (np.float32(left) - column) + down * (np.float32(up) - row)
    u, v = column - np.float32(left + 1), row - np.float32(up + 1)
    under = plane + shadow.start_m
    corner, three = heights[up, left], np.float32(3)
    steeper = max(zero, heights[up, left + 3] - corner - three * across)
    if shadow.highest[up, left] + steeper + max(zero, heights[up + 3, left] - corner - three * down) <= under:
        return zero
    rise, fall = one / shadow.rise_m, one / shadow.end_m
    total = zero
    for j in range(4):
        part, here = zero, under + down * np.float32(j)
        for i in range(4):
            over = heights[up + j, left + i] - here - across * np.float32(i)
            blocked = min(max(over * rise, zero), one) - min(max(over * fall - one, zero), one)
            part += blocked * (one - u if i == 0 else (u if i == 3 else one))
        total += part * (one - v if j == 0 else (v if j == 3 else one))
    return total * np.float32(1 / 9)


@partial(kernel, inline="always")
def _side_towards(shadow: ShadowMap, thin: bool, nx: float, ny: float, nz: float) -> np.float32:
    """Which side of a thin surface faces a light: 1 for that of its normal, -1 for the other."""
    m = shadow.place
    return np.float32(-1 if thin and m[2, 0] * nx + m[2, 1] * ny + m[2, 2] * nz < 0 else 1)


@bare_kernel
def shade_corners(t: int, surface: Surface) -> None:
    """How much far blockers keep of the key light from a triangle's corners, and how close lies what is before them.

    From cloth also what near ones keep.
    """
    attributes, thin, zero = surface.attributes, surface.thin, np.float32(0)
    key, ahead = surface.shadows[1], surface.shadows[2]
    surface.found[t] = True
    for corner in range(3):
        v = surface.triangles[t, corner]
        if attributes[v, 9] >= zero:
            continue
        x, y, z = attributes[v, 6], attributes[v, 7], attributes[v, 8]
        nx, ny, nz = attributes[v, 0], attributes[v, 1], attributes[v, 2]
        side = _side_towards(key, thin[v], nx, ny, nz)
        attributes[v, 9] = shaded(key, x, y, z, side * nx, side * ny, side * nz)
        if surface.material[t] == CLOTH:
            attributes[v, 9] += shaded(surface.shadows[0], x, y, z, side * nx, side * ny, side * nz)
        side = _side_towards(ahead, thin[v], nx, ny, nz)
        attributes[v, 10] = shaded(ahead, x, y, z, side * nx, side * ny, side * nz)
