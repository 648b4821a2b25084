"""From samples to colours: the shading formula of `shading` as numba kernels.

Rows of pixels are worked on one at a time: the surfaces each pixel sees are listed with their attributes, lit, mixed.

>>> paint_rows(0, 32, screen, surface, layers, view.rays(), studio(), picture)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avi_lib.face.kernel import kernel
from avi_lib.face.shading import Studio

SAME_SURFACE = np.float32(0.004)
"""Samples of one connected part of the mesh whose distances differ by less than this share of it are one surface."""


class Surface(NamedTuple):
    """What the mesh looks like. Attributes of a vertex: normal (0:3), openness (3), place in the atlas (4:6)."""

    triangles: np.ndarray
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


class Found(NamedTuple):
    """Surfaces seen in one row of pixels, in order of pixel."""

    pixel: np.ndarray
    share: np.ndarray
    material: np.ndarray
    values: np.ndarray
    rgb: np.ndarray


@kernel
def _list(y: int, screen: np.ndarray, surface: Surface, layers: Layers, found: Found) -> int:
    """List what row y shows, each surface of a pixel once: pixel, share of its samples, attributes, texture colour.

    Attributes hold for the middle of the pixel, or for the triangle's edge beside it.
    """
    zero, half, one, quarter = np.float32(0), np.float32(0.5), np.float32(1), np.float32(0.25)
    triangles, material, part = surface.triangles, surface.material, surface.part
    attributes = surface.attributes
    depth, owner = layers.depth[y], layers.owner[y]
    line = np.float32(y) + half
    count = 0
    for x in range(owner.shape[0] // 4):
        first = 4 * x
        deepest = min(depth[first], depth[first + 1], depth[first + 2], depth[first + 3])
        t = owner[first]
        whole = deepest > zero and t == owner[first + 1] and t == owner[first + 2] and t == owner[first + 3]
        if max(depth[first], depth[first + 1], depth[first + 2], depth[first + 3]) <= zero:
            continue
        done = 14 if whole else 0
        for s in range(first, first + 4):
            here = depth[s]
            if here <= zero or done & (1 << (s - first)):
                continue
            t, share = owner[s], quarter
            if whole:
                share = one
            for other in range(s + 1, first + 4):
                if depth[other] > zero and not done & (1 << (other - first)):
                    o = owner[other]
                    if o == t or (part[o] == part[t] and abs(depth[other] - here) < here * SAME_SURFACE):
                        done |= 1 << (other - first)
                        share += quarter
            found.pixel[count], found.share[count], found.material[count] = x, share, material[t]

            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay = screen[a, 0], screen[a, 1]
            ux, uy, vx, vy = screen[b, 0] - ax, screen[b, 1] - ay, screen[c, 0] - ax, screen[c, 1] - ay
            px, py = np.float32(x) + half - ax, line - ay
            inverse = one / (ux * vy - uy * vx)
            wb, wc = (px * vy - py * vx) * inverse, (ux * py - uy * px) * inverse
            wa, wb, wc = (
                max(zero, one - wb - wc) * screen[a, 2],
                max(zero, wb) * screen[b, 2],
                max(zero, wc) * screen[c, 2],
            )
            scale = one / (wa + wb + wc)
            wa, wb, wc = wa * scale, wb * scale, wc * scale
            nx, ny = _mix(attributes, 0, a, b, c, wa, wb, wc), _mix(attributes, 1, a, b, c, wa, wb, wc)
            nz, clear = _mix(attributes, 2, a, b, c, wa, wb, wc), _mix(attributes, 3, a, b, c, wa, wb, wc)
            u, v = _mix(attributes, 4, a, b, c, wa, wb, wc), _mix(attributes, 5, a, b, c, wa, wb, wc)

            atlas = surface.atlases[surface.levels[material[t]]]
            wide, high = np.float32(atlas.shape[1] - 1), np.float32(atlas.shape[0] - 1)
            u = min(max(u * (wide + one) - half, zero), wide)
            v = min(max(v * (high + one) - half, zero), high)
            left, up = np.uint32(u), np.uint32(v)
            right, low = np.uint32(min(u + one, wide)), np.uint32(min(v + one, high))
            u, v = u - np.float32(left), v - np.float32(up)
            red, green, blue = (
                _texel(atlas, 0, left, right, up, low, u, v),
                _texel(atlas, 1, left, right, up, low, u, v),
                _texel(atlas, 2, left, right, up, low, u, v),
            )
            values = found.values
            side = one if inverse < zero else -one
            values[0, count], values[1, count], values[2, count], values[3, count] = (
                side * nx,
                side * ny,
                side * nz,
                max(zero, clear),
            )
            values[4, count], values[5, count], values[6, count] = red, green, blue
            count += 1
    return count


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
def _light(
    y: int,
    first: int,
    stop: int,
    found: Found,
    material: np.ndarray,
    rays: np.ndarray,
    studio: Studio,
) -> None:
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
    top: int,
    bottom: int,
    screen: np.ndarray,
    surface: Surface,
    layers: Layers,
    rays: np.ndarray,
    studio: Studio,
    picture: np.ndarray,
) -> None:
    """Draw what the rows top to bottom show of the mesh over `picture`, which is the backdrop.

    A picture of four channels has the mesh's own colour and says with the fourth how much of a pixel it covers.
    """
    most = layers.owner.shape[1]
    found = Found(
        np.empty(most, np.uint32),
        np.empty(most, np.float32),
        np.empty(most, np.uint8),
        np.empty((7, most), np.float32),
        np.empty((3, most), np.float32),
    )
    half, one, full = np.float32(0.5), np.float32(1), np.float32(255)
    for y in range(top, bottom):
        count = _list(y, screen, surface, layers, found)
        first = 0
        while first < count:
            kind, stop = found.material[first], first + 1
            while stop < count and found.material[stop] == kind:
                stop += 1
            _light(y, first, stop, found, surface.materials[kind], rays, studio)
            first = stop
        i = 0
        while i < count:
            x, rest = found.pixel[i], one
            red, green, blue = half, half, half
            while i < count and found.pixel[i] == x:
                share = full * found.share[i]
                red, green, blue = (
                    red + share * found.rgb[0, i],
                    green + share * found.rgb[1, i],
                    blue + share * found.rgb[2, i],
                )
                rest -= found.share[i]
                i += 1
            if picture.shape[2] == 4:
                scale = one / max(one - rest, np.float32(0.25))
                picture[y, x, 0] = np.uint8(half + (red - half) * scale)
                picture[y, x, 1] = np.uint8(half + (green - half) * scale)
                picture[y, x, 2] = np.uint8(half + (blue - half) * scale)
                picture[y, x, 3] = np.uint8(half + full * (one - rest))
            else:
                picture[y, x, 0] = np.uint8(red + rest * np.float32(picture[y, x, 0]))
                picture[y, x, 1] = np.uint8(green + rest * np.float32(picture[y, x, 1]))
                picture[y, x, 2] = np.uint8(blue + rest * np.float32(picture[y, x, 2]))
