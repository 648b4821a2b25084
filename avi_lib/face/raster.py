"""The rasteriser: a mesh before a camera as pictures, drawn on the processor from four samples a pixel.

>>> with Rasteriser(load_head(), View.square(512)) as rasteriser:
...     picture = rasteriser.draw(vertices)              # (512, 512, 3) uint8
...     pictures = list(rasteriser.draw_all(moved))      # several at a time

The kernels are compiled at the first picture, which takes some seconds, and kept on disk for later processes.

Triangles that the atlas's alpha makes see-through in part (hair cards, brows, lashes) are chained per pixel, nearest
first, and blended sample by sample before what lies behind them: neither their order nor an edge between two of them
shows.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from avi_lib.errors import InputError
from avi_lib.face.camera import View
from avi_lib.face.head import RenderMesh, check_mesh
from avi_lib.face.surface import (
    ShadowMap,
    Studio,
    Surface,
    casters,
    split_long_edges,
    strand_directions,
    surface_of,
)

Picture = UInt8[np.ndarray, "height width channels"]

ROUNDS = 2  # of splitting long edges
SAMPLES = np.array([(-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)], np.float32)
"""Sample places within a pixel, from its middle: the usual rotated grid, as graphics cards have it."""
SAME_SURFACE = np.float32(0.004)
"""Samples of one connected part of the mesh whose distances differ by less than this share of it are one surface."""


def kernel(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    """Compile at the first call and keep the result beside the module, in the user's cache or in NUMBA_CACHE_DIR.

    Where none of these can be written, each process compiles anew.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"} | more
    try:
        compiled: Callable[..., Any] = njit(cache=True, **options)(unwrap(function))
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(**options)(unwrap(function))
    return compiled


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
    triangle: np.ndarray
    samples: np.ndarray
    share: np.ndarray
    material: np.ndarray
    values: np.ndarray
    rgb: np.ndarray


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
def cover(screen: np.ndarray, surface: Surface, layers: Layers) -> None:
    """Nearest triangle (owner) and its inverse distance (depth, 0 for none) at each sample."""
    triangles, two_sided = surface.triangles, surface.two_sided
    depth, owner, across, down = layers.depth, layers.owner, layers.across, layers.down
    depth[:] = 0
    half, one = np.float32(0.5), np.float32(1)
    width, height = depth.shape[1] // 4, depth.shape[0]
    for t in surface.solid:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        if max(ay, by, cy) < 0 or min(ay, by, cy) >= height or min(az, bz, cz) <= 0:
            continue
        if max(ax, bx, cx) < 0 or min(ax, bx, cx) > width:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and not two_sided[t]):
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(0, int(min(ay, by, cy))), min(height - 1, int(max(ay, by, cy))) + 1):
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
def cast_shadows(places: np.ndarray, triangles: np.ndarray, heights: np.ndarray) -> None:
    """A light's map from the vertices' columns, rows and heights in it; what turns away casts nothing."""
    heights[:] = np.float32(-1e6)
    one, width, height = np.float32(1), heights.shape[1], heights.shape[0]
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = places[a, 0], places[a, 1], places[a, 2]
        bx, by, cx, cy = places[b, 0], places[b, 1], places[c, 0], places[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if max(ay, by, cy) < 0 or min(ay, by, cy) >= height or area <= 0:
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(places, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(0, int(min(ay, by, cy))), min(height - 1, int(max(ay, by, cy))) + 1):
            dy = np.float32(y) - ay
            for x in range(left, right + 1):
                dx = np.float32(x) - ax
                wb, wc = bdx * dx + bdy * dy, cdx * dx + cdy * dy
                if wb >= 0 and wc >= 0 and wb + wc <= one:
                    heights[y, x] = max(heights[y, x], az + zdx * dx + zdy * dy)


@partial(kernel, inline="always")
def _shaded(shadow: ShadowMap, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> np.float32:
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
    rise, fall = one / shadow.rise_m, one / shadow.end_m
    total = zero
    for j in range(4):
        part, under = zero, plane + shadow.start_m + down * np.float32(j)
        for i in range(4):
            over = heights[up + j, left + i] - under - across * np.float32(i)
            blocked = min(max(over * rise, zero), one) - min(max(over * fall - one, zero), one)
            part += blocked * (one - u if i == 0 else (u if i == 3 else one))
        total += part * (one - v if j == 0 else (v if j == 3 else one))
    return total * np.float32(1 / 9)


@kernel
def shade_vertices(surface: Surface) -> None:
    """How much far blockers keep of the key light from the vertices, and how close lies what is before them."""
    attributes = surface.attributes
    for v in range(attributes.shape[0]):
        x, y, z = attributes[v, 6], attributes[v, 7], attributes[v, 8]
        nx, ny, nz = attributes[v, 0], attributes[v, 1], attributes[v, 2]
        for number in (1, 2):
            m, side = surface.shadows[number].place, np.float32(1)
            if surface.thin[v] and m[2, 0] * nx + m[2, 1] * ny + m[2, 2] * nz < 0:
                side = -side
            attributes[v, 8 + number] = _shaded(surface.shadows[number], x, y, z, side * nx, side * ny, side * nz)


@kernel
def chain(screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils) -> int:
    """Chain what is see-through before the nearest solid surface, nearest first; how many nodes it takes.

    Where it takes more than there are, the chains are not whole.
    """
    triangles, depth, across, down = surface.triangles, layers.depth, layers.across, layers.down
    first, following = veils.first, veils.following
    half, one, count = np.float32(0.5), np.float32(1), 0
    width, height = depth.shape[1] // 4, depth.shape[0]
    first[:], veils.in_row[:] = -1, 0
    for t in surface.veils:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        far, near = min(az, bz, cz), max(az, bz, cz)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if max(ay, by, cy) < 0 or min(ay, by, cy) >= height or far <= 0 or area == 0:
            continue
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, int(min(ax, bx, cx))), min(width - 1, int(max(ax, bx, cx)))
        for y in range(max(0, int(min(ay, by, cy))), min(height - 1, int(max(ay, by, cy))) + 1):
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
def _list(y: int, surface: Surface, layers: Layers, veils: Veils, found: Found) -> int:
    """List what row y shows: in each pixel the nearest first, each surface once, with the samples it covers."""
    part, depth, owner = surface.part, layers.depth[y], layers.owner[y]
    veiled, count = surface.veils.shape[0] > 0, 0
    for x in range(owner.shape[0] // 4):
        at = veils.first[y, x] if veiled else -1
        while at >= 0:
            found.pixel[count], found.triangle[count], found.samples[count] = x, veils.owner[at], veils.samples[at]
            count += 1
            at = veils.following[at]
        first = 4 * x
        t = owner[first]
        if max(depth[first], depth[first + 1], depth[first + 2], depth[first + 3]) <= 0:
            continue
        deepest = min(depth[first], depth[first + 1], depth[first + 2], depth[first + 3])
        if deepest > 0 and t == owner[first + 1] and t == owner[first + 2] and t == owner[first + 3]:
            found.pixel[count], found.triangle[count], found.samples[count] = x, t, 15
            count += 1
            continue
        done = 0
        for s in range(4):
            here = depth[first + s]
            if here <= 0 or done & (1 << s):
                continue
            t, samples = owner[first + s], 1 << s
            for other in range(s + 1, 4):
                if depth[first + other] > 0 and not done & (1 << other):
                    o = owner[first + other]
                    if o == t or (part[o] == part[t] and abs(depth[first + other] - here) < here * SAME_SURFACE):
                        samples |= 1 << other
            done |= samples
            found.pixel[count], found.triangle[count], found.samples[count] = x, t, samples
            count += 1
    return count


@kernel
def _look(y: int, count: int, screen: np.ndarray, surface: Surface, found: Found) -> None:
    """Enter attributes, texture colour and share in the pixel of what row y shows.

    Attributes hold for the middle of the pixel, or for the triangle's edge beside it.
    """
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    triangles, attributes, values, left = surface.triangles, surface.attributes, found.values, np.ones(4, np.float32)
    for i in range(count):
        t, x = found.triangle[i], found.pixel[i]
        kind = surface.material[t]
        found.material[i] = kind
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
        side = one if inverse < zero else -one
        for number in range(3):
            values[number, i] = side * _mix(attributes, number, a, b, c, wa, wb, wc)
        values[3, i] = max(zero, _mix(attributes, 3, a, b, c, wa, wb, wc))
        u, v = _mix(attributes, 4, a, b, c, wa, wb, wc), _mix(attributes, 5, a, b, c, wa, wb, wc)
        for number in range(6, 11):
            values[number + 1, i] = _mix(attributes, number, a, b, c, wa, wb, wc)
        if surface.materials[kind, 11] > zero:
            for number in range(11, 14):
                values[number + 1, i] = _mix(attributes, number, a, b, c, wa, wb, wc)

        atlas = surface.atlases[surface.levels[kind]]
        wide, high = np.float32(atlas.shape[1] - 1), np.float32(atlas.shape[0] - 1)
        u = min(max(u * (wide + one) - half, zero), wide)
        v = min(max(v * (high + one) - half, zero), high)
        west, north = np.uint32(u), np.uint32(v)
        east, south = np.uint32(min(u + one, wide)), np.uint32(min(v + one, high))
        u, v = u - np.float32(west), v - np.float32(north)
        alpha = _texel(atlas, 3, west, east, north, south, u, v)
        scale = one / max(alpha, np.float32(1 / 255))
        for channel in range(3):
            values[4 + channel, i] = min(one, _texel(atlas, channel, west, east, north, south, u, v) * scale)

        if i == 0 or found.pixel[i - 1] != x:
            left[:] = one
        share = zero
        for s in range(4):
            if found.samples[i] & (1 << s):
                share += alpha * left[s]
                left[s] -= alpha * left[s]
        found.share[i] = np.float32(0.25) * share


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
    specular, width, rim_share, contact = material[6], material[7], material[8], material[9]
    shadow, strands = material[10], material[11]
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
        square, facing = cosine * cosine / (hx * hx + hy * hy + hz * hz), max(zero, key)
        if strands > zero:
            tx, ty, tz = values[12, i], values[13, i], values[14, i]
            along = tx * hx + ty * hy + tz * hz
            square = max(zero, tx * tx + ty * ty + tz * tz - along * along / (hx * hx + hy * hy + hz * hz))
            along = tx * studio.key[0] + ty * studio.key[1] + tz * studio.key[2]
            facing = np.sqrt(max(zero, one - along * along)) * (half + half * key)
            key += strands * (facing - key)
        spread = square * (width - one) + one
        gloss = specular * facing * width / (spread * spread)
        edge = one - max(zero, nx * ex + ny * ey + nz * ez)
        rim = rim_share * edge * edge * edge * max(zero, back + studio.rim_reach) * values[3, i] * values[3, i]
        sky = half + half * ny
        lit = one - shadow * min(one, values[10, i])
        for channel in range(3):
            coded = values[4 + channel, i]
            albedo = coded * (studio.decode[0] + coded * (studio.decode[1] + coded * studio.decode[2]))
            diffuse = lit * max(zero, slope[channel] * key + offset[channel]) * studio.key_rgb[channel]
            diffuse += max(zero, slope[channel] * fill + offset[channel]) * studio.fill_rgb[channel]
            ambient = studio.ground_rgb[channel] + (studio.sky_rgb[channel] - studio.ground_rgb[channel]) * sky
            glint = lit * gloss * (one + strands * (half + coded + coded - one)) * studio.key_rgb[channel]
            light = albedo * (diffuse + ambient) + glint + rim * studio.rim_rgb[channel]
            light *= values[3, i] * (one - contact * values[11, i])
            bent = studio.curve[1] * light
            rgb[channel, i] = min(one, (studio.curve[0] * np.sqrt(light) + bent) / (one + bent))


@kernel
def paint(
    screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils, rays: np.ndarray, studio: Studio,
    picture: np.ndarray,
) -> None:  # fmt: skip
    """Draw the mesh over `picture`, which is the backdrop.

    A picture of four channels has the mesh's own colour and says with the fourth how much of a pixel it covers.
    """
    most = layers.owner.shape[1] + (veils.in_row.max() if surface.veils.shape[0] else 0) + 1
    pixel, triangle = np.empty(most, np.uint32), np.empty(most, np.uint32)
    samples, share, material = np.empty(most, np.uint8), np.empty(most, np.float32), np.empty(most, np.uint8)
    values, rgb = np.empty((15, most), np.float32), np.empty((3, most), np.float32)
    found = Found(pixel, triangle, samples, share, material, values, rgb)
    half, one, full, transparent = np.float32(0.5), np.float32(1), np.float32(255), picture.shape[2] == 4
    for y in range(picture.shape[0]):
        count = _list(y, surface, layers, veils, found)
        _look(y, count, screen, surface, found)
        for i in range(count):
            lit = surface.materials[found.material[i], 12] == 0
            if lit and found.share[i] > 0 and values[10, i] < one:
                x, z, nx, nz = values[7, i], values[9, i], values[0, i], values[2, i]
                values[10, i] += _shaded(surface.shadows[0], x, values[8, i], z, nx, values[1, i], nz)
        first = 0
        while first < count:
            kind, stop = found.material[first], first + 1
            while stop < count and found.material[stop] == kind:
                stop += 1
            if surface.materials[kind, 12] > 0:
                found.rgb[:, first:stop] = values[4:7, first:stop]
            else:
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


Canvas = tuple[Surface, Layers, np.ndarray, np.ndarray]


class Rasteriser:
    """Draws a view of a mesh, each picture in one thread (the kernels release the interpreter lock).

    A `backdrop` takes the place of the view's own. Materials that are `pictured` are drawn without light and cast no
    shadow; edges stay straight then. Raises InputError for a mesh whose arrays do not fit.
    """

    def __init__(
        self, mesh: RenderMesh, view: View, backdrop: np.ndarray | None = None, pictured: Collection[int] = ()
    ) -> None:
        check_mesh(mesh)
        self.view = view
        self._count, self._rounds = len(mesh.vertices), []
        self._coarse = mesh.triangles.astype(np.uint32), mesh.weld.astype(np.uint32)
        self._casters = casters(mesh, pictured)
        for _ in range(0 if pictured else ROUNDS):
            mesh, pairs = split_long_edges(mesh, view)
            self._rounds.append(pairs)
        self._hairy, self._strands = strand_directions(mesh)
        self._surface, self._nodes = surface_of(mesh, view, pictured), 0
        self._matrix, self._wall = view.matrix(), view.wall() if backdrop is None else backdrop
        self._light = view.camera.rays(view.width, view.height), Studio()
        self._idle: list[Canvas] = []
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="raster")

    def _canvas(self) -> Canvas:
        """What no thread draws on: a surface, samples, the first node of each chain, the number of nodes in a row."""
        if self._idle:
            return self._idle.pop()
        width, height, surface = self.view.width, self.view.height, self._surface
        columns = np.arange(width, dtype=np.float32)[:, None] + np.float32(0.5) + SAMPLES[:, 0]
        samples, rows = (height, 4 * width), np.tile(SAMPLES[:, 1], width)
        layers = Layers(np.empty(samples, np.float32), np.zeros(samples, np.uint32), columns.ravel(), rows)
        shadows = tuple(each._replace(heights=np.empty_like(each.heights)) for each in surface.shadows)
        own = surface._replace(attributes=surface.attributes.copy(), shadows=shadows)
        first = np.full((height, width) if len(surface.veils) else (0, 0), -1, np.int32)
        return own, layers, first, np.zeros(height, np.int32)

    def draw_all(self, shapes: Iterable[Float32[np.ndarray, "V 3"]]) -> Iterator[Picture]:
        """Pictures as `draw` makes them, in order, as many at a time as there are processors."""
        begun: deque[Future[Picture]] = deque()
        for vertices in shapes:
            begun.append(self._pool.submit(self.draw, vertices))
            if len(begun) > self._threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> Picture:
        """One sRGB picture of the mesh with its vertices (metres) moved here; see `View.wall`."""
        vertices = np.ascontiguousarray(vertices, np.float32)
        if vertices.shape != (self._count, 3):
            raise InputError(f"vertices of shape ({self._count}, 3)", str(vertices.shape), "pass one of this mesh")
        if not np.isfinite(vertices).all():
            raise InputError("finite vertices", "NaN or infinity", "check the motion that moved them")
        canvas = self._canvas()
        surface, layers, first, in_row = canvas
        for shadow in surface.shadows:
            cast_shadows(vertices @ shadow.place[:, :3].T + shadow.place[:, 3], self._casters, shadow.heights)
        normals = vertex_normals(vertices, *self._coarse)
        for pairs in self._rounds:
            vertices, normals = with_middles(vertices, normals, pairs)
        surface.attributes[:, :3] = normals
        surface.attributes[:, 6:9] = vertices
        runs = self._strands @ vertices
        runs /= np.maximum(np.linalg.norm(runs, axis=1, keepdims=True), np.float32(1e-9))
        surface.attributes[self._hairy, 11:] = runs
        shade_vertices(surface)
        screen = project(vertices, self._matrix, self.view.width, self.view.height)
        cover(screen, surface, layers)
        while True:  # with room for as much see-through as was found before, or is found now
            room, kinds = self._nodes, (np.int32, np.float32, np.uint8, np.uint32)
            veils = Veils(first, in_row, *(np.empty(room, kind) for kind in kinds))
            count = chain(screen, surface, layers, veils) if len(surface.veils) else 0
            if count <= room:
                break
            self._nodes = max(self._nodes, count + count // 8)
        picture = self._wall.copy()
        paint(screen, surface, layers, veils, *self._light, picture)
        self._idle.append(canvas)
        return picture

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()

    def __enter__(self) -> Rasteriser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
