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
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import View
from avi_lib.face.head import RenderMesh, check_mesh
from avi_lib.face.surface import (
    ATTRIBUTES,
    ShadowMap,
    Studio,
    Surface,
    bare_kernel,
    casters,
    copied,
    kernel,
    split_long_edges,
    strand_directions,
    surface_of,
    vertex_normals,
    with_middles,
)

Picture = UInt8[np.ndarray, "height width channels"]

ROUNDS = 2  # of splitting long edges
BAND = 32
"""Rows that are drawn together, so that their samples stay in the processor's cache."""
BLOCK = 16  # samples, of four pixels, that are tested together
ACROSS = np.add.outer(np.arange(4), [0.375, 0.875, 0.125, 0.625]).ravel().astype(np.float32)
DOWN = np.tile([0.125, 0.375, 0.625, 0.875], 4).astype(np.float32)
"""Where the samples of four pixels lie, from the first one's corner: the usual rotated grid, as graphics cards do."""
BITS = np.tile([1, 2, 4, 8], 4).astype(np.uint8)
SAME_SURFACE = np.float32(0.004)
"""Samples of one connected part of the mesh whose distances differ by less than this share of it are one surface."""


class Layers(NamedTuple):
    """A band of rows, four samples a pixel side by side: the inverse distance of what is nearest, and its triangle."""

    depth: np.ndarray
    owner: np.ndarray


class Veils(NamedTuple):
    """See-through triangles as chains of nodes, one a pixel: its nearest node (first, -1 for none) and their number."""

    first: np.ndarray
    in_row: np.ndarray
    following: np.ndarray
    depth: np.ndarray
    samples: np.ndarray
    owner: np.ndarray
    hit: np.ndarray


class Found(NamedTuple):
    """Surfaces seen in one row of pixels, in order of pixel; `share` says how much of the pixel each of them gives."""

    pixel: np.ndarray
    triangle: np.ndarray
    samples: np.ndarray
    share: np.ndarray
    material: np.ndarray
    values: np.ndarray
    rgb: np.ndarray
    left: np.ndarray
    mixed: np.ndarray


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


@partial(kernel, inline="always")
def _slopes(screen: np.ndarray, a: int, b: int, c: int, area: float) -> tuple[float, float, float, float, float, float]:
    """How the shares of the corners b and c and the inverse distance grow to the right and downwards."""
    inverse = np.float32(1) / area
    ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
    bdx, bdy = (screen[c, 1] - ay) * inverse, (ax - screen[c, 0]) * inverse
    cdx, cdy = (ay - screen[b, 1]) * inverse, (screen[b, 0] - ax) * inverse
    bz, cz = screen[b, 2] - az, screen[c, 2] - az
    return bdx, bdy, cdx, cdy, bdx * bz + cdx * cz, bdy * bz + cdy * cz


@kernel
def bands(screen: np.ndarray, surface: Surface, chosen: np.ndarray, height: int, width: int) -> tuple[Any, Any]:
    """The chosen triangles that the picture shows, band by band, and where among them each band begins."""
    triangles, begin = surface.triangles, np.zeros((height - 1) // BAND + 3, np.uint32)
    first, last = np.ones(chosen.shape[0], np.int32), np.zeros(chosen.shape[0], np.int32)
    for i in range(chosen.shape[0]):
        t = chosen[i]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area, high, low = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax), min(ay, by, cy), max(ay, by, cy)
        before = min(screen[a, 2], screen[b, 2], screen[c, 2]) > 0 and (area < 0 or (area > 0 and surface.two_sided[t]))
        if before and low >= 0 and high < height and max(ax, bx, cx) >= 0 and min(ax, bx, cx) <= width:
            first[i], last[i] = max(0, int(high)) // BAND, min(height - 1, int(low)) // BAND
            for band in range(first[i], last[i] + 1):
                begin[band + 2] += 1
    for band in range(2, begin.shape[0]):
        begin[band] += begin[band - 1]
    order = np.empty(begin[-1], np.uint32)
    for i in range(chosen.shape[0]):
        for band in range(first[i], last[i] + 1):
            order[begin[band + 1]] = chosen[i]
            begin[band + 1] += 1
    return order, begin


@bare_kernel
def cover(screen: np.ndarray, surface: Surface, members: np.ndarray, top: int, layers: Layers) -> None:
    """Nearest triangle (owner) and its inverse distance (depth, 0 for none) at each sample of the rows from `top`."""
    triangles, depth, owner, one = surface.triangles, layers.depth, layers.owner, np.float32(1)
    depth[:] = 0
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, cx, cy = screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, 4 * int(min(ax, bx, cx))), min(depth.shape[1] - 1, 4 * int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(top + BAND - 1, int(max(ay, by, cy))) + 1):
            below = np.float32(y) - ay
            for x in range(left - left % BLOCK, right + 1, BLOCK):
                beside = np.float32(x // 4) - ax
                depths, owners = depth[y - top, x : x + BLOCK], owner[y - top, x : x + BLOCK]
                for i in range(BLOCK):
                    dx, dy = beside + ACROSS[i], below + DOWN[i]
                    wb, wc, z = bdx * dx + bdy * dy, cdx * dx + cdy * dy, az + zdx * dx + zdy * dy
                    seen, shown = depths[i], owners[i]
                    nearer = (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > seen)
                    depths[i] = z if nearer else seen
                    owners[i] = t if nearer else shown


@bare_kernel
def cast_shadows(places: np.ndarray, triangles: np.ndarray, shadow: ShadowMap) -> None:
    """A light's map from the vertices' columns, rows and heights in it; what turns away casts nothing."""
    heights, highest = shadow.heights, shadow.highest
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
                wb, wc, z, seen = bdx * dx + bdy * dy, cdx * dx + cdy * dy, az + zdx * dx + zdy * dy, heights[y, x]
                heights[y, x] = z if (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > seen) else seen
    third = np.float32(1 / 3)
    for y in range(height - 3):
        for x in range(width - 3):
            across, down = third * (heights[y, x + 3] - heights[y, x]), third * (heights[y + 3, x] - heights[y, x])
            most = heights[y, x]
            for j in range(4):
                for i in range(4):
                    most = max(most, heights[y + j, x + i] - np.float32(i) * across - np.float32(j) * down)
            highest[y, x] = most


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


@bare_kernel
def _shade_vertices(count: int, surface: Surface, found: Found) -> None:
    """How much far blockers keep of the key light from the vertices found, and how close lies what is before them.

    Each is shaded when it is found first.
    """
    attributes, thin, zero = surface.attributes, surface.thin, np.float32(0)
    key, ahead = surface.shadows[1], surface.shadows[2]
    for i in range(count):
        t = found.triangle[i]
        if surface.found[t]:
            continue
        surface.found[t] = True
        for corner in range(3):
            v = surface.triangles[t, corner]
            if attributes[v, 9] >= zero:
                continue
            x, y, z = attributes[v, 6], attributes[v, 7], attributes[v, 8]
            nx, ny, nz = attributes[v, 0], attributes[v, 1], attributes[v, 2]
            side = _facing(key, thin[v], nx, ny, nz)
            attributes[v, 9] = _shaded(key, x, y, z, side * nx, side * ny, side * nz)
            side = _facing(ahead, thin[v], nx, ny, nz)
            attributes[v, 10] = _shaded(ahead, x, y, z, side * nx, side * ny, side * nz)


@partial(kernel, inline="always")
def _facing(shadow: ShadowMap, thin: bool, nx: float, ny: float, nz: float) -> np.float32:
    """Which side of a thin surface faces a light: 1 for that of its normal, -1 for the other."""
    m = shadow.place
    return np.float32(-1 if thin and m[2, 0] * nx + m[2, 1] * ny + m[2, 2] * nz < 0 else 1)


@bare_kernel
def chain(
    screen: np.ndarray, surface: Surface, members: np.ndarray, top: int, layers: Layers, veils: Veils
) -> int:  # fmt: skip
    """Chain what is see-through before the nearest solid surface, nearest first; how many nodes it takes.

    Where it takes more than there are, the chains are not whole.
    """
    triangles, depth, first, following = surface.triangles, layers.depth, veils.first, veils.following
    half, one, count, hit = np.float32(0.5), np.float32(1), 0, veils.hit
    first[:], veils.in_row[:] = -1, 0
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz, cx, cy, cz = screen[b, 0], screen[b, 1], screen[b, 2], screen[c, 0], screen[c, 1], screen[c, 2]
        far, near = min(az, bz, cz), max(az, bz, cz)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        bdx, bdy, cdx, cdy, zdx, zdy = _slopes(screen, a, b, c, area)
        left, right = max(0, 4 * int(min(ax, bx, cx))), min(depth.shape[1] - 1, 4 * int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(top + BAND - 1, int(max(ay, by, cy))) + 1):
            row, below = y - top, np.float32(y) - ay
            for start in range(left - left % BLOCK, right + 1, BLOCK):
                beside, depths = np.float32(start // 4) - ax, depth[row, start : start + BLOCK]
                for i in range(BLOCK):
                    dx, dy = beside + ACROSS[i], below + DOWN[i]
                    wb, wc, z = bdx * dx + bdy * dy, cdx * dx + cdy * dy, az + zdx * dx + zdy * dy
                    inside = (wb >= 0) & (wc >= 0) & (wb + wc <= one) & (z > depths[i])
                    hit[i] = BITS[i] if inside else np.uint8(0)
                for i in range(0, BLOCK, 4):
                    samples, x = hit[i] | hit[i + 1] | hit[i + 2] | hit[i + 3], (start + i) // 4
                    if samples:
                        if count < following.shape[0]:
                            z = az + zdx * (np.float32(x) + half - ax) + zdy * (below + half)
                            z = min(max(z, far), near)
                            nearer, at = -1, first[row, x]
                            while at >= 0 and veils.depth[at] > z:
                                nearer, at = at, following[at]
                            if nearer < 0:
                                first[row, x] = count
                            else:
                                following[nearer] = count
                            following[count], veils.depth[count] = at, z
                            veils.samples[count], veils.owner[count] = samples, t
                            veils.in_row[row] += 1
                        count += 1
    return count


# Shading: from samples to colours.


@bare_kernel
def _list(row: int, width: int, surface: Surface, layers: Layers, veils: Veils, found: Found) -> int:
    """List what a row shows: in each pixel the nearest first, each surface once, with the samples it covers."""
    part, depth, owner, count = surface.part, layers.depth[row], layers.owner[row], 0
    for x in range(width):
        at = veils.first[row, x]
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


@bare_kernel
def _look(y: int, count: int, screen: np.ndarray, surface: Surface, found: Found) -> None:
    """Enter attributes, texture colour and share in the pixel of what row y shows.

    Attributes hold for the middle of the pixel, or for the triangle's edge beside it.
    """
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    triangles, attributes, values, left = surface.triangles, surface.attributes, found.values, found.left
    mixed, atlas, sizes, levels = found.mixed, surface.atlas, surface.sizes, surface.levels
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
        for number in range(ATTRIBUTES):
            mixed[number] = wa * attributes[a, number] + wb * attributes[b, number] + wc * attributes[c, number]
        side = one if inverse < zero else -one
        for number in range(3):
            values[number, i] = side * mixed[number]
        values[3, i] = max(zero, mixed[3])
        for number in range(7, 15):
            values[number, i] = mixed[number - 1]

        level = levels[kind]
        start, width = sizes[level, 0], sizes[level, 1]
        wide, high = np.float32(width) - one, np.float32(sizes[level, 2]) - one
        u = min(max(mixed[4] * (wide + one) - half, zero), wide)
        v = min(max(mixed[5] * (high + one) - half, zero), high)
        west, north = np.uint32(u), np.uint32(v)
        east, south = np.uint32(min(u + one, wide)), np.uint32(min(v + one, high))
        u, v = u - np.float32(west), v - np.float32(north)
        north, south = start + north * width, start + south * width
        corners = atlas[north + west], atlas[north + east], atlas[south + west], atlas[south + east]
        alpha = _texel(corners, 24, u, v)
        scale = one / max(alpha, np.float32(1 / 255))
        for channel in range(3):
            values[4 + channel, i] = min(one, _texel(corners, 8 * channel, u, v) * scale)

        if i == 0 or found.pixel[i - 1] != x:
            left[:] = one
        share = zero
        for s in range(4):
            if found.samples[i] & (1 << s):
                share += alpha * left[s]
                left[s] -= alpha * left[s]
        found.share[i] = np.float32(0.25) * share


@partial(kernel, inline="always")
def _texel(corners: tuple[int, int, int, int], bits: int, u: float, v: float) -> np.float32:
    """One channel (0-1) between four texels."""
    one, byte = np.float32(1), np.uint32(255)
    north_west, north_east = np.float32(corners[0] >> bits & byte), np.float32(corners[1] >> bits & byte)
    south_west, south_east = np.float32(corners[2] >> bits & byte), np.float32(corners[3] >> bits & byte)
    above, below = (one - u) * north_west + u * north_east, (one - u) * south_west + u * south_east
    return ((one - v) * above + v * below) * np.float32(1 / 255)


@bare_kernel
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
def paint(screen: np.ndarray, surface: Surface, rays: np.ndarray, studio: Studio, picture: np.ndarray) -> None:
    """Draw the mesh over `picture`, which is the backdrop.

    A picture of four channels has the mesh's own colour and says with the fourth how much of a pixel it covers.
    """
    height, width = picture.shape[0], picture.shape[1]
    across = (width + 3) // 4 * BLOCK
    layers = Layers(np.empty((BAND, across), np.float32), np.zeros((BAND, across), np.uint32))
    first, in_row, hit = np.empty((BAND, across // 4), np.int32), np.zeros(BAND, np.int32), np.empty(BLOCK, np.uint8)
    depth, samples, owner = np.empty(0, np.float32), np.empty(0, np.uint8), np.empty(0, np.uint32)
    veils = Veils(first, in_row, np.empty(0, np.int32), depth, samples, owner, hit)
    solid, begin = bands(screen, surface, surface.solid, height, width)
    veiled, veiled_begin = bands(screen, surface, surface.veils, height, width)
    for band in range(begin.shape[0] - 2):
        top, members = band * BAND, veiled[veiled_begin[band] : veiled_begin[band + 1]]
        cover(screen, surface, solid[begin[band] : begin[band + 1]], top, layers)
        room = chain(screen, surface, members, top, layers, veils)
        if room > veils.owner.shape[0]:
            depth, samples, owner = np.empty(room, np.float32), np.empty(room, np.uint8), np.empty(room, np.uint32)
            veils = Veils(first, in_row, np.empty(room, np.int32), depth, samples, owner, hit)
            chain(screen, surface, members, top, layers, veils)
        paint_band(top, screen, surface, layers, veils, rays, studio, picture)


@kernel
def paint_band(
    top: int, screen: np.ndarray, surface: Surface, layers: Layers, veils: Veils, rays: np.ndarray, studio: Studio,
    picture: np.ndarray,
) -> None:  # fmt: skip
    """Draw the rows of a band."""
    most, width = layers.owner.shape[1] + veils.in_row.max() + 1, picture.shape[1]
    pixel, triangle = np.empty(most, np.uint32), np.empty(most, np.uint32)
    samples, share, material = np.empty(most, np.uint8), np.empty(most, np.float32), np.empty(most, np.uint8)
    values, rgb = np.empty((15, most), np.float32), np.empty((3, most), np.float32)
    left, mixed = np.empty(4, np.float32), np.empty(ATTRIBUTES, np.float32)
    found = Found(pixel, triangle, samples, share, material, values, rgb, left, mixed)
    half, one, full, transparent = np.float32(0.5), np.float32(1), np.float32(255), picture.shape[2] == 4
    materials, near = surface.materials, surface.shadows[0]
    for y in range(top, min(top + BAND, picture.shape[0])):
        count = _list(y - top, width, surface, layers, veils, found)
        _shade_vertices(count, surface, found)
        _look(y, count, screen, surface, found)
        for i in range(count):
            kind = material[i]
            if materials[kind, 12] > 0 or share[i] <= 0 or values[10, i] >= one:
                continue
            nx, ny, nz = values[0, i], values[1, i], values[2, i]
            key = nx * studio.key[0] + ny * studio.key[1] + nz * studio.key[2]
            wrapped = materials[kind, 3] * np.sqrt(nx * nx + ny * ny + nz * nz)
            if materials[kind, 11] > 0 or materials[kind, 0] * key + wrapped > 0:  # else none of the key light arrives
                x, y_m, z = values[7, i], values[8, i], values[9, i]
                values[10, i] += _shaded(near, x, y_m, z, nx, ny, nz)
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
        self._surface = surface_of(mesh, view, pictured)
        self._matrix, self._wall = view.matrix(), view.wall() if backdrop is None else backdrop
        self._light = view.camera.rays(view.width, view.height), Studio()
        self._idle: list[Surface] = []
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="raster")

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
        surface = self._idle.pop() if self._idle else copied(self._surface)
        for shadow in surface.shadows:
            cast_shadows(vertices @ shadow.place[:, :3].T + shadow.place[:, 3], self._casters, shadow)
        normals = vertex_normals(vertices, *self._coarse)
        for pairs in self._rounds:
            vertices, normals = with_middles(vertices, normals, pairs)
        surface.attributes[:, :3] = normals
        surface.attributes[:, 6:9] = vertices
        runs = self._strands @ vertices
        runs /= np.maximum(np.linalg.norm(runs, axis=1, keepdims=True), np.float32(1e-9))
        surface.attributes[self._hairy, 11:14] = runs
        surface.attributes[:, 9], surface.found[:] = -1.0, False
        screen = project(vertices, self._matrix, self.view.width, self.view.height)
        picture = self._wall.copy()
        paint(screen, surface, *self._light, picture)
        self._idle.append(surface)
        return picture

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()

    def __enter__(self) -> Rasteriser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
