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
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import View
from avi_lib.face.head import RenderMesh, check_mesh
from avi_lib.face.surface import (
    ATTRIBUTES,
    CLOTH,
    Studio,
    Surface,
    bare_kernel,
    cast_shadows,
    casters,
    copied,
    kernel,
    project,
    shade_corners,
    shaded,
    slopes,
    split_long_edges,
    strand_directions,
    surface_of,
    texture,
    vertex_normals,
    with_middles,
)
from avi_lib.workers import one_blas_thread

Picture = UInt8[np.ndarray, "height width channels"]

ROUNDS = 2  # of splitting long edges
BAND = 32
"""Rows that are drawn together, so that their samples stay in the processor's cache."""
BLOCK = 16  # samples, of four pixels, that are tested together
ACROSS = np.add.outer(np.arange(4), [0.375, 0.875, 0.125, 0.625]).ravel().astype(np.float32)
DOWN = np.tile([0.125, 0.375, 0.625, 0.875], 4).astype(np.float32)
"""Where the samples of four pixels lie, from the first one's corner: the usual rotated grid, as graphics cards do."""
BITS = np.tile([1, 2, 4, 8], 4).astype(np.uint8)
HIDDEN = np.float32(0.02)
"""What is seen of a surface in a pixel, in samples, up to which it is left out."""
FLAT_M = np.float32(0.0015)
"""How much the depth of a pixel may differ from that between both beside it where these tell how shaded it is."""
WARMTH = (np.float32(0.85), np.float32(1.05), np.float32(1.1))
"""How much each channel takes part where what is pictured grows lighter or darker: red light goes around in skin."""
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
    """Surfaces seen in one row, in order of pixel, first what is see-through, then what is solid.

    `share` says how much of the pixel each of them gives, `left` (width, 4) how much of a sample can still be seen.
    """

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
        bdx, bdy, cdx, cdy, zdx, zdy = slopes(screen, a, b, c, area)
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
        bdx, bdy, cdx, cdy, zdx, zdy = slopes(screen, a, b, c, area)
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
    for x in range(width):
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


@partial(kernel, inline="always")
def _shares(x: int, y: int, screen: np.ndarray, a: int, b: int, c: int) -> Any:
    """Shares (3) of a triangle's corners in the middle of a pixel or at its edge beside it; whether its front shows."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    ax, ay = screen[a, 0], screen[a, 1]
    ux, uy, vx, vy = screen[b, 0] - ax, screen[b, 1] - ay, screen[c, 0] - ax, screen[c, 1] - ay
    px, py = np.float32(x) + half - ax, np.float32(y) + half - ay
    inverse = one / (ux * vy - uy * vx)
    wb, wc = (px * vy - py * vx) * inverse, (ux * py - uy * px) * inverse
    wa = max(zero, one - wb - wc) * screen[a, 2]
    wb, wc = max(zero, wb) * screen[b, 2], max(zero, wc) * screen[c, 2]
    scale = one / (wa + wb + wc)
    return wa * scale, wb * scale, wc * scale, inverse < zero


@bare_kernel
def _look_through(
    y: int, count: int, screen: np.ndarray, surface: Surface, found: Found, rays: np.ndarray, studio: Studio
) -> int:  # fmt: skip
    """Enter light, texture colour and share of what is see-through in row y, and keep what shows; how much that is.

    Light is that of the corners, between them.
    """
    one, values, left, mixed, lit = np.float32(1), found.values, found.left, found.mixed, surface.lit
    triangles, shown = surface.triangles, 0
    for i in range(count):
        t, x, samples = found.triangle[i], found.pixel[i], found.samples[i]
        share = np.float32(0)
        for s in range(4):
            if samples & (1 << s):
                share += left[x, s]
        if share <= HIDDEN:
            continue
        kind, a, b, c = surface.material[t], triangles[t, 0], triangles[t, 1], triangles[t, 2]
        wa, wb, wc, front = _shares(x, y, screen, a, b, c)
        across = wa * lit[0, a, 6] + wb * lit[0, b, 6] + wc * lit[0, c, 6]
        down = wa * lit[0, a, 7] + wb * lit[0, b, 7] + wc * lit[0, c, 7]
        red, green, blue, alpha = texture(surface, surface.levels[kind], across, down)
        if alpha <= 0:
            continue
        side = 0 if front else 1
        if lit[side, a, 5] <= 0 or lit[side, b, 5] <= 0 or lit[side, c, 5] <= 0:
            _light_corners(t, side, screen, surface, rays, studio)
        for number in range(8):
            mixed[number] = wa * lit[side, a, number] + wb * lit[side, b, number] + wc * lit[side, c, number]
        for number in range(5):
            values[number, shown] = mixed[number]
        scale = one / alpha
        values[5, shown], values[6, shown], values[7, shown] = red * scale, green * scale, blue * scale
        values[8, shown], values[9, shown] = surface.materials[kind, 11], surface.materials[kind, 12]
        for s in range(4):
            if samples & (1 << s):
                left[x, s] -= alpha * left[x, s]
        found.pixel[shown], found.share[shown] = x, np.float32(0.25) * alpha * share
        shown += 1
    return shown


@bare_kernel
def _light_corners(
    t: int, side: int, screen: np.ndarray, surface: Surface, rays: np.ndarray, studio: Studio
) -> None:  # fmt: skip
    """Enter the light that a side of a triangle's corners answers with."""
    if not surface.found[t]:
        shade_corners(t, surface)
    attributes, lit, one, turn = surface.attributes, surface.lit, np.float32(1), np.float32(1 - 2 * side)
    material = _numbers(surface.materials[surface.material[t]])
    for corner in range(3):
        v = surface.triangles[t, corner]
        if lit[side, v, 5] > 0:
            continue
        nx, ny, nz = turn * attributes[v, 0], turn * attributes[v, 1], turn * attributes[v, 2]
        ex = rays[0, 0] + screen[v, 0] * rays[1, 0] + screen[v, 1] * rays[2, 0]
        ey = rays[0, 1] + screen[v, 0] * rays[1, 1] + screen[v, 1] * rays[2, 1]
        ez = rays[0, 2] + screen[v, 0] * rays[1, 2] + screen[v, 1] * rays[2, 2]
        shade = attributes[v, 9]
        if shade < one and surface.material[t] != CLOTH:
            shade += shaded(surface.shadows[0], attributes[v, 6], attributes[v, 7], attributes[v, 8], nx, ny, nz)
        runs = attributes[v, 11], attributes[v, 12], attributes[v, 13]
        shades = attributes[v, 3], shade, attributes[v, 10]
        red, green, blue, glint, rim = _answer((nx, ny, nz), (ex, ey, ez), runs, shades, material, studio)
        here = lit[side, v]
        here[0], here[1], here[2], here[3], here[4], here[5] = red, green, blue, glint, rim, one


@bare_kernel
def _look(y: int, first: int, stop: int, screen: np.ndarray, surface: Surface, found: Found) -> int:
    """Enter attributes, texture colour and share of the solid surfaces first to stop of row y, and keep what shows.

    Returns where that ends. Attributes hold for the middle of the pixel, or for the triangle's edge beside it.
    """
    zero, one, values, left, mixed = np.float32(0), np.float32(1), found.values, found.left, found.mixed
    triangles, attributes, shown = surface.triangles, surface.attributes, first
    for i in range(first, stop):
        t, x, samples = found.triangle[i], found.pixel[i], found.samples[i]
        share = zero
        for s in range(4):
            if samples & (1 << s):
                share += left[x, s]
        if share <= HIDDEN:
            continue
        if not surface.found[t]:
            shade_corners(t, surface)
        kind, a, b, c = surface.material[t], triangles[t, 0], triangles[t, 1], triangles[t, 2]
        wa, wb, wc, front = _shares(x, y, screen, a, b, c)
        for number in range(ATTRIBUTES):
            mixed[number] = wa * attributes[a, number] + wb * attributes[b, number] + wc * attributes[c, number]
        side = one if front else -one
        for number in range(3):
            values[number, shown] = side * mixed[number]
        values[3, shown] = max(zero, mixed[3])
        for number in range(7, 15):
            values[number, shown] = mixed[number - 1]
        red, green, blue, alpha = texture(surface, surface.levels[kind], mixed[4], mixed[5])
        scale = one / max(alpha, np.float32(1 / 255))
        values[4, shown], values[5, shown], values[6, shown] = red * scale, green * scale, blue * scale
        found.pixel[shown], found.material[shown], found.share[shown] = x, kind, np.float32(0.25) * share
        shown += 1
    return shown


@bare_kernel
def _shade_near(first: int, stop: int, surface: Surface, found: Found, studio: Studio) -> None:
    """Add what near blockers keep of the key light from what a row shows, but from cloth, whose corners tell.

    Of a surface that goes on, every other pixel is looked at; those between take the mean of both beside them.
    """
    pixel, kinds, values, materials = found.pixel, found.material, found.values, surface.materials
    for i in range(first, stop):
        kind, between = kinds[i], False
        if pixel[i] & 1 and i > first and i + 1 < stop and pixel[i - 1] + 2 == pixel[i + 1]:
            bent = abs(values[9, i - 1] + values[9, i + 1] - values[9, i] - values[9, i])
            between = kinds[i - 1] == kind and kinds[i + 1] == kind and bent < FLAT_M
        found.samples[i], values[15, i] = between, 0
        if between or kind == CLOTH or materials[kind, 12] > 0 or values[10, i] >= np.float32(1):
            continue
        nx, ny, nz = values[0, i], values[1, i], values[2, i]
        key = nx * studio.key[0] + ny * studio.key[1] + nz * studio.key[2]
        wrapped = materials[kind, 3] * np.sqrt(nx * nx + ny * ny + nz * nz)
        if materials[kind, 11] > 0 or materials[kind, 0] * key + wrapped > 0:  # else none of the key light arrives
            values[15, i] = shaded(surface.shadows[0], values[7, i], values[8, i], values[9, i], nx, ny, nz)
    for i in range(first, stop):
        mean = np.float32(0.5) * (values[15, i - 1] + values[15, i + 1]) if found.samples[i] else values[15, i]
        values[10, i] += mean


@partial(kernel, inline="always")
def _numbers(row: np.ndarray) -> Any:
    """A material's row of `material_table` for `_answer`."""
    return (row[0], row[1], row[2]), (row[3], row[4], row[5]), row[6], row[7], row[8], row[9], row[10], row[11]


@partial(kernel, inline="always")
def _answer(normal: Any, eye: Any, runs: Any, shades: Any, material: Any, studio: Studio) -> Any:
    """What a surface of albedo 1 scatters of all lights (3), and the shares of the key and the rim light it mirrors.

    Shades are its openness, how much of the key light is kept from it, and how close lies what is before it.
    """
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    bends, offsets, specular, width, rim_share, contact, shadow, strands = material
    (nx, ny, nz), (ex, ey, ez), (tx, ty, tz), (openness, shade, close) = normal, eye, runs, shades
    scale = one / np.sqrt(ex * ex + ey * ey + ez * ez)
    ex, ey, ez = ex * scale, ey * scale, ez * scale
    scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    key = nx * studio.key[0] + ny * studio.key[1] + nz * studio.key[2]
    fill = nx * studio.fill[0] + ny * studio.fill[1] + nz * studio.fill[2]
    back = nx * studio.rim[0] + ny * studio.rim[1] + nz * studio.rim[2]
    hx, hy, hz = ex + studio.key[0], ey + studio.key[1], ez + studio.key[2]
    cosine = nx * hx + ny * hy + nz * hz
    square, facing = cosine * cosine / (hx * hx + hy * hy + hz * hz), max(zero, key)
    if strands > zero:
        along = tx * hx + ty * hy + tz * hz
        square = max(zero, tx * tx + ty * ty + tz * tz - along * along / (hx * hx + hy * hy + hz * hz))
        along = tx * studio.key[0] + ty * studio.key[1] + tz * studio.key[2]
        facing = np.sqrt(max(zero, one - along * along)) * (half + half * key)
        key += strands * (facing - key)
    spread = square * (width - one) + one
    edge, sky = one - max(zero, nx * ex + ny * ey + nz * ez), half + half * ny
    arriving = openness * (one - contact * close)
    rim = arriving * rim_share * edge * edge * edge * max(zero, back + studio.rim_reach) * openness * openness
    lit = arriving * (one - shadow * min(one, shade))
    glint = lit * specular * facing * width / (spread * spread)
    lights, slants = (lit, key, arriving, fill, sky), (bends, offsets)
    red, green = _scattered(lights, slants, 0, studio), _scattered(lights, slants, 1, studio)
    return red, green, _scattered(lights, slants, 2, studio), glint, rim


@partial(kernel, inline="always")
def _scattered(lights: Any, slants: Any, channel: int, studio: Studio) -> np.float32:
    """One channel of what a surface of albedo 1 scatters of the key light, the fill light and the surroundings."""
    (lit, key, arriving, fill, sky), (bends, offsets) = lights, slants
    zero, ground, above = np.float32(0), studio.ground_rgb[channel], studio.sky_rgb[channel]
    ahead = max(zero, bends[channel] * fill + offsets[channel]) * studio.fill_rgb[channel]
    keyed = max(zero, bends[channel] * key + offsets[channel]) * studio.key_rgb[channel]
    return lit * keyed + arriving * (ahead + ground + (above - ground) * sky)


@partial(kernel, inline="always")
def _displayed(coded: float, answer: Any, strands: float, channel: int, studio: Studio) -> np.float32:
    """Displayed colour (0-1) of one channel from its coded albedo and that channel of what `_answer` gave."""
    scattered, glint, rim = answer
    half, one = np.float32(0.5), np.float32(1)
    albedo = coded * (studio.decode[0] + coded * (studio.decode[1] + coded * studio.decode[2]))
    tinted = glint * (one + strands * (half + coded + coded - one)) * studio.key_rgb[channel]
    light = albedo * scattered + tinted + rim * studio.rim_rgb[channel]
    bent = studio.curve[1] * light
    return min(one, (studio.curve[0] * np.sqrt(light) + bent) / (one + bent))


@bare_kernel
def _light(y: int, first: int, stop: int, found: Found, material: np.ndarray, rays: np.ndarray, studio: Studio) -> None:
    """Displayed colour (0-1) of a run of solid surfaces of one material, in a loop that vectorises."""
    half = np.float32(0.5)
    row = np.float32(y) + half
    x0, y0, z0 = rays[0, 0] + row * rays[2, 0], rays[0, 1] + row * rays[2, 1], rays[0, 2] + row * rays[2, 2]
    x1, y1, z1 = rays[1, 0], rays[1, 1], rays[1, 2]
    numbers, strands = _numbers(material), material[11]
    pixel, values, rgb = found.pixel, found.values, found.rgb
    for i in range(np.uint64(first), np.uint64(stop)):
        column = np.float32(pixel[i]) + half
        normal, eye = (values[0, i], values[1, i], values[2, i]), (x0 + column * x1, y0 + column * y1, z0 + column * z1)
        runs, shades = (values[12, i], values[13, i], values[14, i]), (values[3, i], values[10, i], values[11, i])
        red, green, blue, glint, rim = _answer(normal, eye, runs, shades, numbers, studio)
        rgb[0, i] = _displayed(values[4, i], (red, glint, rim), strands, 0, studio)
        rgb[1, i] = _displayed(values[5, i], (green, glint, rim), strands, 1, studio)
        rgb[2, i] = _displayed(values[6, i], (blue, glint, rim), strands, 2, studio)


@bare_kernel
def _light_veils(count: int, found: Found, studio: Studio) -> None:
    """Displayed colour (0-1) of what is see-through."""
    values, rgb = found.values, found.rgb
    for i in range(np.uint64(count)):
        for channel in range(3):
            coded, answer = values[5 + channel, i], (values[channel, i], values[3, i], values[4, i])
            shown = _displayed(coded, answer, values[8, i], channel, studio)
            rgb[channel, i] = coded if values[9, i] > 0 else shown


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
    values, rgb = np.empty((16, most), np.float32), np.empty((3, most), np.float32)
    left, mixed = np.empty((width, 4), np.float32), np.empty(ATTRIBUTES, np.float32)
    found = Found(pixel, triangle, samples, share, material, values, rgb, left, mixed)
    light, rest = np.empty((3, width), np.float32), np.empty(width, np.float32)
    half, one, full, transparent = np.float32(0.5), np.float32(1), np.float32(255), picture.shape[2] == 4
    materials = surface.materials
    for y in range(top, min(top + BAND, picture.shape[0])):
        count, veiled = _list(y - top, width, surface, layers, veils, found), veils.in_row[y - top]
        left[:], light[:], rest[:] = one, half, one
        shown = _look_through(y, veiled, screen, surface, found, rays, studio)
        _light_veils(shown, found, studio)
        count = _look(y, veiled, count, screen, surface, found)
        _shade_near(veiled, count, surface, found, studio)
        stop = veiled
        while stop < count:
            kind, first = material[stop], stop
            while stop < count and material[stop] == kind:
                stop += 1
            if materials[kind, 12] > 0:
                for channel in range(3):
                    relit = one + WARMTH[channel] * values[12, first:stop]
                    rgb[channel, first:stop] = np.minimum(values[4 + channel, first:stop] * relit, one)
            else:
                _light(y, first, stop, found, materials[kind], rays, studio)
        for i in range(count):
            if shown <= i < veiled:
                continue
            x, part = pixel[i], share[i]
            rest[x] -= part
            for channel in range(3):
                light[channel, x] += full * part * rgb[channel, i]
        for x in range(width):
            if rest[x] >= one:
                continue
            scale = one / max(one - rest[x], np.float32(1e-3))
            for channel in range(3):
                if transparent:
                    picture[y, x, channel] = np.uint8(half + (light[channel, x] - half) * scale)
                else:
                    picture[y, x, channel] = np.uint8(light[channel, x] + rest[x] * np.float32(picture[y, x, channel]))
            if transparent:
                picture[y, x, 3] = np.uint8(half + full * (one - rest[x]))


# Drawing.


class Rasteriser:
    """Draws a view of a mesh, each picture in one thread (the kernels release the interpreter lock).

    A `backdrop` takes the place of the view's own. Materials that are `pictured` are drawn without light and cast no
    shadow; edges stay straight then, and `relit` says by how much each vertex is lighter than its colour, as a share.
    Raises InputError for a mesh whose arrays do not fit.
    """

    def __init__(
        self, mesh: RenderMesh, view: View, backdrop: np.ndarray | None = None, pictured: Collection[int] = (),
        relit: Callable[[Float32[np.ndarray, "V 3"]], Float32[np.ndarray, " V"]] | None = None,
    ) -> None:  # fmt: skip
        check_mesh(mesh)
        self._relit = relit
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
        with one_blas_thread:
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
        if self._relit is not None:
            surface.attributes[:, 11] = self._relit(vertices)
        surface.attributes[:, 9], surface.found[:], surface.lit[..., 5] = -1.0, False, 0.0
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
