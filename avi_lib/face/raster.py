"""The rasteriser: a mesh before a camera as pictures, drawn on the processor from four samples a pixel.

>>> with Rasteriser(load_head(), View.square(512)) as rasteriser:
...     picture = rasteriser.draw(vertices)              # (512, 512, 3) uint8

The kernels are compiled at the first picture, which takes some seconds, and kept on disk for later processes.

Triangles that the atlas's alpha makes see-through in part (hair cards, brows, lashes) are chained per pixel, nearest
first, and blended sample by sample before what lies behind them: neither their order nor an edge between two of them
shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIALS, View
from avi_lib.face.head import RenderMesh, check_mesh, check_vertices

BANDS_A_THREAD = 3
LEVELS = 3  # sizes of the atlas: full, half and quarter
SHARPNESS = 1.7  # texels a pixel, along a line, that half of a material may exceed before the next level is taken
SAMPLES = np.array([(-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)], np.float32)
"""Sample places within a pixel, from its middle: the usual rotated grid, as graphics cards have it."""
SAME_SURFACE = np.float32(0.004)
"""Samples of one connected part of the mesh whose distances differ by less than this share of it are one surface."""

Rgb = tuple[np.float32, np.float32, np.float32]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call and keep the result beside the module, in the user's cache or in NUMBA_CACHE_DIR.

    Where none of these can be written, each process compiles anew.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(unwrap(function))
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(**options)(unwrap(function))
    return compiled


class Surface(NamedTuple):
    """What the mesh looks like. Attributes of a vertex: normal (0:3), openness (3), place in the atlas (4:6)."""

    triangles: np.ndarray
    solid: np.ndarray
    veils: np.ndarray
    material: np.ndarray
    part: np.ndarray
    two_sided: np.ndarray
    attributes: np.ndarray
    atlases: tuple[np.ndarray, ...]
    levels: np.ndarray
    materials: np.ndarray


class Layers(NamedTuple):
    """Four samples a pixel, side by side: inverse distance, triangle; and where in its row each sample lies."""

    depth: np.ndarray
    owner: np.ndarray
    across: np.ndarray
    down: np.ndarray


class Veils(NamedTuple):
    """See-through triangles as chains of nodes, one a pixel: its nearest node (first, -1 for none) and their number."""

    first: np.ndarray
    in_row: np.ndarray
    following: np.ndarray
    depth: np.ndarray
    samples: np.ndarray
    owner: np.ndarray


class Found(NamedTuple):
    """Surfaces seen in one row of pixels, in order of pixel; `share` says how much of the pixel each of them gives."""

    pixel: np.ndarray
    share: np.ndarray
    material: np.ndarray
    values: np.ndarray
    rgb: np.ndarray


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
    sky_rgb: Rgb = _exposed(0.46, 0.48, 0.52)
    ground_rgb: Rgb = _exposed(0.26, 0.23, 0.21)
    decode: Rgb = _rgb((0.0324, 0.6004, 0.3762))
    curve: tuple[np.float32, np.float32] = (np.float32(0.7), np.float32(1.9))
    rim_reach: np.float32 = np.float32(0.3)


# What is prepared once for a mesh and a view.


def atlas_levels(atlas: UInt8[np.ndarray, "H W 4"]) -> tuple[np.ndarray, ...]:
    """The atlas and its halvings by averages of 2 x 2 texels, in the sRGB code and its alpha.

    Raises InputError when the sides are not multiples of four.
    """
    if atlas.shape[0] % 4 or atlas.shape[1] % 4:
        raise InputError("an atlas whose sides are multiples of 4", f"{atlas.shape[1]} x {atlas.shape[0]}", "resize it")
    levels = [np.ascontiguousarray(atlas)]
    for _ in range(LEVELS - 1):
        fine = levels[-1].astype(np.uint16)
        four = fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]
        levels.append(((four + 2) // 4).astype(np.uint8))
    return tuple(levels)


def material_levels(mesh: RenderMesh, view: View) -> UInt8[np.ndarray, " materials"]:
    """The level for each material in a picture of the mesh at rest, 0 for what is not seen."""
    clip = np.column_stack([mesh.vertices, np.ones(len(mesh.vertices), np.float32)]) @ view.matrix().T
    places = clip[:, :2] / clip[:, 3:] * (0.5 * np.array([view.width, view.height], np.float32))
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


def _signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    areas: np.ndarray = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return areas


def connected_parts(mesh: RenderMesh) -> np.ndarray:
    """A number for each triangle's part: triangles of one material that hang together through welded points."""
    points = mesh.weld[mesh.triangles]
    links = np.ones(2 * len(points)), (np.repeat(points[:, 0], 2), points[:, 1:].ravel())
    _, component = connected_components(coo_array(links, shape=2 * (mesh.weld.max() + 1,)), directed=False)
    parts: np.ndarray = component[points[:, 0]] * len(MATERIALS) + mesh.material
    return parts.astype(np.uint32)


def see_through(mesh: RenderMesh) -> np.ndarray:
    """Which triangles have texels that are not opaque, or lie beside such ones."""
    if mesh.alpha is None:
        return np.zeros(len(mesh.triangles), bool)
    clear = np.pad(np.cumsum(np.cumsum(mesh.alpha < 255, axis=0), axis=1), ((1, 0), (1, 0)))
    size = np.array(mesh.alpha.shape[::-1])
    texels = mesh.uv[mesh.triangles] * size
    left, top = np.clip(texels.min(axis=1) - 1.0, 0, size - 1).astype(int).T
    right, bottom = np.clip(texels.max(axis=1) + 2.0, 1, size).astype(int).T
    found: np.ndarray = clear[bottom, right] - clear[top, right] - clear[bottom, left] + clear[top, left] > 0
    return found


def material_table() -> Float32[np.ndarray, "materials 9"]:
    """One row a material: scale (3) and offset (3) of n.l for wrapped light; specular, roughness^4, rim.

    Wrapped light is max(0, scale * n.l + offset).
    """
    wraps = [np.asarray(material.wrap_rgb) for material in MATERIALS]
    rows = [
        [*(1.0 + wrap) ** -2, *wrap * (1.0 + wrap) ** -2, material.specular, material.roughness**4, material.rim]
        for material, wrap in zip(MATERIALS, wraps, strict=True)
    ]
    return np.array(rows, np.float32)


# The z-buffer: which triangle each sample sees, and how far away it is.


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


@kernel
def _slopes(screen: np.ndarray, a: int, b: int, c: int, area: float) -> tuple[float, float, float, float, float, float]:
    """How the shares of the corners b and c and the inverse distance grow to the right and downwards."""
    inverse = np.float32(1) / area
    ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
    bdx, bdy = (screen[c, 1] - ay) * inverse, (ax - screen[c, 0]) * inverse
    cdx, cdy = (ay - screen[b, 1]) * inverse, (screen[b, 0] - ax) * inverse
    bz, cz = screen[b, 2] - az, screen[c, 2] - az
    return bdx, bdy, cdx, cdy, bdx * bz + cdx * cz, bdy * bz + cdy * cz


@kernel
def cover_rows(top: int, bottom: int, screen: np.ndarray, surface: Surface, layers: Layers) -> None:
    """Nearest triangle (owner) and its inverse distance (depth, 0 for none) at each sample of rows top to bottom."""
    triangles, two_sided = surface.triangles, surface.two_sided
    depth, owner, across, down = layers.depth, layers.owner, layers.across, layers.down
    depth[top:bottom] = 0
    half, one = np.float32(0.5), np.float32(1)
    width = depth.shape[1] // 4
    for t in surface.solid:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        if max(ay, by, cy) < top or min(ay, by, cy) >= bottom or min(az, bz, cz) <= 0:
            continue
        if max(ax, bx, cx) < 0 or min(ax, bx, cx) > width:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and not two_sided[t]):
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(bottom - 1, int(max(ay, by, cy))) + 1):
            middle = np.float32(y) + half - ay
            first, stop = 4 * left, 4 * right + 4
            depths, owners = depth[y, first:stop], owner[y, first:stop]
            places, heights = across[first:stop], down[first:stop]
            for i in range(stop - first):
                dx, dy = places[i] - ax, middle + heights[i]
                wb, wc = bdx * dx + bdy * dy, cdx * dx + cdy * dy
                z = az + zdx * dx + zdy * dy
                seen, shown = depths[i], owners[i]
                nearer = (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > seen)
                depths[i] = z if nearer else seen
                owners[i] = t if nearer else shown


@kernel
def chain_rows(top: int, bottom: int, screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils) -> int:
    """Chain what is see-through before the nearest solid surface in these rows, nearest first; how many nodes it takes.

    Where it takes more than there are, the chains are not whole.
    """
    triangles, depth, across, down = surface.triangles, layers.depth, layers.across, layers.down
    first, following = veils.first, veils.following
    half, one, width, count = np.float32(0.5), np.float32(1), layers.depth.shape[1] // 4, 0
    first[top:bottom], veils.in_row[top:bottom] = -1, 0
    for t in surface.veils:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        far, near = min(az, bz, cz), max(az, bz, cz)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if max(ay, by, cy) < top or min(ay, by, cy) >= bottom or far <= 0 or area == 0:
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(bottom - 1, int(max(ay, by, cy))) + 1):
            middle = np.float32(y) + half - ay
            for x in range(left, right + 1):
                samples = 0
                for s in range(4):
                    dx, dy = across[4 * x + s] - ax, middle + down[s]
                    wb, wc = bdx * dx + bdy * dy, cdx * dx + cdy * dy
                    if wb >= 0 and wc >= 0 and wb + wc <= one and az + zdx * dx + zdy * dy > depth[y, 4 * x + s]:
                        samples |= 1 << s
                if samples:
                    if count < following.shape[0]:
                        z = min(max(az + zdx * (np.float32(x) + half - ax) + zdy * middle, far), near)
                        nearer, at = -1, first[y, x]
                        while at >= 0 and veils.depth[at] > z:
                            nearer, at = at, following[at]
                        if nearer < 0:
                            first[y, x] = count
                        else:
                            following[nearer] = count
                        following[count], veils.depth[count] = at, z
                        veils.samples[count], veils.owner[count] = samples, t
                        veils.in_row[y] += 1
                    count += 1
    return count


# Shading: from samples to colours.


@kernel
def _list(y: int, screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils, found: Found) -> int:
    """List what row y shows, each surface of a pixel once: pixel, share of its samples, attributes, texture colour.

    Attributes hold for the middle of the pixel, or for the triangle's edge beside it.
    """
    zero, one, quarter, faint = np.float32(0), np.float32(1), np.float32(0.25), np.float32(1 / 255)
    part = surface.part
    depth, owner = layers.depth[y], layers.owner[y]
    veiled, left = surface.veils.shape[0] > 0, np.ones(4, np.float32)
    count = 0
    for x in range(owner.shape[0] // 4):
        first = 4 * x
        if veiled:
            left[:] = one
            at = veils.first[y, x]
            while at >= 0 and max(left[0], left[1], left[2], left[3]) > faint:
                alpha = _sample(x, y, veils.owner[at], screen, surface, found, count)
                if alpha > faint:
                    share = zero
                    for s in range(4):
                        if veils.samples[at] & (1 << s):
                            share += quarter * left[s] * alpha
                            left[s] *= one - alpha
                    found.share[count] = share
                    count += 1
                at = veils.following[at]
        if max(depth[first], depth[first + 1], depth[first + 2], depth[first + 3]) <= zero:
            continue
        deepest = min(depth[first], depth[first + 1], depth[first + 2], depth[first + 3])
        t = owner[first]
        whole = deepest > zero and t == owner[first + 1] and t == owner[first + 2] and t == owner[first + 3]
        done = 14 if whole else 0
        for s in range(first, first + 4):
            here = depth[s]
            if here <= zero or done & (1 << (s - first)):
                continue
            t, share = owner[s], quarter * left[s - first]
            for other in range(s + 1, first + 4):
                if whole:
                    share += quarter * left[other - first]
                elif depth[other] > zero and not done & (1 << (other - first)):
                    o = owner[other]
                    if o == t or (part[o] == part[t] and abs(depth[other] - here) < here * SAME_SURFACE):
                        done |= 1 << (other - first)
                        share += quarter * left[other - first]
            if share > zero:
                _sample(x, y, t, screen, surface, found, count)
                found.share[count] = share
                count += 1
    return count


@kernel
def _sample(x: int, y: int, t: int, screen: np.ndarray, surface: Surface, found: Found, count: int) -> np.float32:
    """Enter triangle t at the middle of pixel (x, y) as surface number `count`; its alpha there."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    triangles, attributes = surface.triangles, surface.attributes
    found.pixel[count], found.material[count] = x, surface.material[t]
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = screen[a, 0], screen[a, 1]
    ux, uy, vx, vy = screen[b, 0] - ax, screen[b, 1] - ay, screen[c, 0] - ax, screen[c, 1] - ay
    px, py = np.float32(x) + half - ax, np.float32(y) + half - ay
    inverse = one / (ux * vy - uy * vx)
    wb, wc = (px * vy - py * vx) * inverse, (ux * py - uy * px) * inverse
    wa = max(zero, one - wb - wc) * screen[a, 2]
    wb, wc = max(zero, wb) * screen[b, 2], max(zero, wc) * screen[c, 2]
    scale = one / (wa + wb + wc)
    wa, wb, wc = wa * scale, wb * scale, wc * scale
    nx, ny = _mix(attributes, 0, a, b, c, wa, wb, wc), _mix(attributes, 1, a, b, c, wa, wb, wc)
    nz, clear = _mix(attributes, 2, a, b, c, wa, wb, wc), _mix(attributes, 3, a, b, c, wa, wb, wc)
    u, v = _mix(attributes, 4, a, b, c, wa, wb, wc), _mix(attributes, 5, a, b, c, wa, wb, wc)

    atlas = surface.atlases[surface.levels[surface.material[t]]]
    wide, high = np.float32(atlas.shape[1] - 1), np.float32(atlas.shape[0] - 1)
    u = min(max(u * (wide + one) - half, zero), wide)
    v = min(max(v * (high + one) - half, zero), high)
    left, up = np.uint32(u), np.uint32(v)
    right, low = np.uint32(min(u + one, wide)), np.uint32(min(v + one, high))
    u, v = u - np.float32(left), v - np.float32(up)
    values, side = found.values, one if inverse < zero else -one
    values[0, count], values[1, count], values[2, count] = side * nx, side * ny, side * nz
    values[3, count] = max(zero, clear)
    for channel in range(3):
        values[4 + channel, count] = _texel(atlas, channel, left, right, up, low, u, v)
    return _texel(atlas, 3, left, right, up, low, u, v)


@kernel
def _mix(attributes: np.ndarray, part: int, a: int, b: int, c: int, wa: float, wb: float, wc: float) -> np.float32:
    return wa * attributes[a, part] + wb * attributes[b, part] + wc * attributes[c, part]


@kernel
def _texel(atlas: np.ndarray, channel: int, left: int, right: int, up: int, low: int, u: float, v: float) -> np.float32:
    one = np.float32(1)
    above = (one - u) * np.float32(atlas[up, left, channel]) + u * np.float32(atlas[up, right, channel])
    below = (one - u) * np.float32(atlas[low, left, channel]) + u * np.float32(atlas[low, right, channel])
    return ((one - v) * above + v * below) * np.float32(1 / 255)


@kernel
def _light(y: int, first: int, stop: int, found: Found, material: np.ndarray, rays: np.ndarray, studio: Studio) -> None:
    """Displayed colour (0-1) of a run of listed surfaces of one material, in a loop that vectorises."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    row = np.float32(y) + half
    x0, y0, z0 = rays[0, 0] + row * rays[2, 0], rays[0, 1] + row * rays[2, 1], rays[0, 2] + row * rays[2, 2]
    x1, y1, z1 = rays[1, 0], rays[1, 1], rays[1, 2]
    slope, offset = (material[0], material[1], material[2]), (material[3], material[4], material[5])
    specular, width, rim_share = material[6], material[7], material[8]
    pixel, values, rgb = found.pixel, found.values, found.rgb
    for i in range(np.uint64(first), np.uint64(stop)):
        column = np.float32(pixel[i]) + half
        ex, ey, ez = x0 + column * x1, y0 + column * y1, z0 + column * z1
        scale = one / np.sqrt(ex * ex + ey * ey + ez * ez)
        ex, ey, ez = ex * scale, ey * scale, ez * scale
        nx, ny, nz = values[0, i], values[1, i], values[2, i]
        scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        key = nx * studio.key[0] + ny * studio.key[1] + nz * studio.key[2]
        fill = nx * studio.fill[0] + ny * studio.fill[1] + nz * studio.fill[2]
        back = nx * studio.rim[0] + ny * studio.rim[1] + nz * studio.rim[2]
        hx, hy, hz = ex + studio.key[0], ey + studio.key[1], ez + studio.key[2]
        cosine = nx * hx + ny * hy + nz * hz
        spread = cosine * cosine / (hx * hx + hy * hy + hz * hz) * (width - one) + one
        gloss = specular * max(zero, key) * width / (spread * spread)
        edge = one - max(zero, nx * ex + ny * ey + nz * ez)
        rim = rim_share * edge * edge * edge * max(zero, back + studio.rim_reach)
        sky = half + half * ny
        for channel in range(3):
            coded = values[4 + channel, i]
            albedo = coded * (studio.decode[0] + coded * (studio.decode[1] + coded * studio.decode[2]))
            diffuse = max(zero, slope[channel] * key + offset[channel]) * studio.key_rgb[channel]
            diffuse += max(zero, slope[channel] * fill + offset[channel]) * studio.fill_rgb[channel]
            ambient = studio.ground_rgb[channel] + (studio.sky_rgb[channel] - studio.ground_rgb[channel]) * sky
            light = albedo * (diffuse + ambient) + gloss * studio.key_rgb[channel] + rim * studio.rim_rgb[channel]
            light *= values[3, i]
            bent = studio.curve[1] * light
            rgb[channel, i] = min(one, (studio.curve[0] * np.sqrt(light) + bent) / (one + bent))


@kernel
def paint_rows(
    top: int, bottom: int, screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils, rays: np.ndarray,
    studio: Studio, picture: np.ndarray,
) -> None:  # fmt: skip
    """Draw what the rows top to bottom show of the mesh over `picture`, which is the backdrop.

    A picture of four channels has the mesh's own colour and says with the fourth how much of a pixel it covers.
    """
    most = layers.owner.shape[1] + (veils.in_row[top:bottom].max() if surface.veils.shape[0] else 0) + 1
    pixel, share, material = np.empty(most, np.uint32), np.empty(most, np.float32), np.empty(most, np.uint8)
    found = Found(pixel, share, material, np.empty((7, most), np.float32), np.empty((3, most), np.float32))
    half, one, full, transparent = np.float32(0.5), np.float32(1), np.float32(255), picture.shape[2] == 4
    for y in range(top, bottom):
        count = _list(y, screen, surface, layers, veils, found)
        first = 0
        while first < count:
            kind, stop = found.material[first], first + 1
            while stop < count and found.material[stop] == kind:
                stop += 1
            _light(y, first, stop, found, surface.materials[kind], rays, studio)
            first = stop
        i = 0
        while i < count:
            x, rest, first = found.pixel[i], one, i
            while i < count and found.pixel[i] == x:
                rest -= found.share[i]
                i += 1
            scale = one / max(one - rest, np.float32(1e-3))
            for channel in range(3):
                light = half
                for s in range(first, i):
                    light += full * found.share[s] * found.rgb[channel, s]
                if transparent:
                    picture[y, x, channel] = np.uint8(half + (light - half) * scale)
                else:
                    picture[y, x, channel] = np.uint8(light + rest * np.float32(picture[y, x, channel]))
            if transparent:
                picture[y, x, 3] = np.uint8(half + full * (one - rest))


# Drawing.


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


class Rasteriser:
    """Draws a view of a mesh; `draw` is not to be called from two threads at once.

    The picture is cut into bands of rows that worker threads draw independently (the kernels release the interpreter
    lock), so the result does not depend on the number of threads. Raises InputError for a mesh whose arrays do not fit.
    """

    def __init__(self, mesh: RenderMesh, view: View) -> None:
        check_mesh(mesh)
        self.view = view
        attributes = np.zeros((len(mesh.vertices), 8), np.float32)
        attributes[:, 3], attributes[:, 4:6] = mesh.occlusion, mesh.uv
        self._weld = mesh.weld.astype(np.uint32)
        veiled = see_through(mesh)
        solid, veils = (np.flatnonzero(each).astype(np.uint32) for each in (~veiled, veiled))
        alpha = np.zeros(mesh.atlas.shape[:2], np.uint8) if mesh.alpha is None else mesh.alpha
        self._surface = Surface(
            mesh.triangles.astype(np.uint32),
            solid,
            veils,
            mesh.material,
            connected_parts(mesh),
            np.array([material.two_sided for material in MATERIALS])[mesh.material],
            attributes,
            atlas_levels(np.dstack([mesh.atlas, alpha])),
            material_levels(mesh, view),
            material_table(),
        )
        columns = np.arange(view.width, dtype=np.float32)[:, None] + np.float32(0.5) + SAMPLES[:, 0]
        samples = (view.height, 4 * view.width)
        rows = np.tile(SAMPLES[:, 1], view.width)
        self._layers = Layers(np.empty(samples, np.float32), np.zeros(samples, np.uint32), columns.ravel(), rows)
        self._first = np.full((view.height, view.width) if len(veils) else (0, 0), -1, np.int32)
        self._in_row = np.zeros(view.height, np.int32)
        self._nodes: dict[int, int] = {}
        self._matrix, self._wall = view.matrix(), view.wall()
        self._light = view.camera.rays(view.width, view.height), Studio()
        threads = os.cpu_count() or 1
        self._band_rows = -(-view.height // (BANDS_A_THREAD * threads))
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="raster")

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "height width channels"]:
        """One sRGB picture of the mesh with its vertices (metres) moved here; see `View.wall`."""
        surface, layers, height = self._surface, self._layers, self.view.height
        vertices = check_vertices(vertices, len(self._weld))
        surface.attributes[:, :3] = vertex_normals(vertices, surface.triangles, self._weld)
        screen = project(vertices, self._matrix, self.view.width, height)
        picture = self._wall.copy()

        def draw_band(top: int) -> None:
            bottom = min(top + self._band_rows, height)
            cover_rows(top, bottom, screen, surface, layers)
            veils = self._chain(top, bottom, screen)
            paint_rows(top, bottom, screen, surface, layers, veils, *self._light, picture)

        list(self._pool.map(draw_band, range(0, height, self._band_rows)))
        return picture

    def _chain(self, top: int, bottom: int, screen: np.ndarray) -> Veils:
        """What is see-through in these rows, with room for as much as was found there before, or is found now."""
        while True:
            room = self._nodes.get(top, 0)
            kinds = (np.int32, np.float32, np.uint8, np.uint32)
            veils = Veils(self._first, self._in_row, *(np.empty(room, kind) for kind in kinds))
            if len(self._surface.veils):
                count = chain_rows(top, bottom, screen, self._surface, self._layers, veils)
                if count > room:
                    self._nodes[top] = count + count // 8
                    continue
            return veils

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()

    def __enter__(self) -> Rasteriser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
