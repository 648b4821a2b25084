"""The rasteriser that needs nothing but numba: a z-buffer with four samples a pixel, shaded once per surface and pixel.

In: a mesh (see `RenderMesh`) and its moved vertices. Out: pictures (size, size, 3) uint8.

>>> with NumbaRenderer(mesh, 512, PORTRAIT) as renderer:
...     picture = renderer.draw(mesh.vertices)

The picture is cut into bands of rows that worker threads draw independently (the kernels release the interpreter lock), so
the result does not depend on the number of threads. The kernels are compiled at the first picture and cached on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, UInt8
from numba import njit

from avi_lib.face.camera import Camera
from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import DECODE, DISPLAY_LINEAR, DISPLAY_ROOT, RIM_REACH, background, light_table, material_table

BAND_ROWS = 32
SAMPLES = np.array([(-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)], np.float32)
"""Sample places within a pixel, from its middle: the usual rotated grid, as graphics cards have it."""
SAMPLE_REACH = (np.float32(0.375), np.float32(0.125))
SAME_SURFACE = np.float32(0.004)
"""Samples of one material whose distances differ by less than this share of it are one surface."""
RESPONSE = np.array([*DECODE, DISPLAY_ROOT, DISPLAY_LINEAR, RIM_REACH], np.float32)


class Surface(NamedTuple):
    """What the mesh looks like: per-triangle material and the texture."""

    material: np.ndarray
    atlas: np.ndarray


class Look(NamedTuple):
    """The constants of the shading formula and the rays towards the camera."""

    materials: np.ndarray
    lights: np.ndarray
    response: np.ndarray
    rays: np.ndarray


class NumbaRenderer:
    """Draws a mesh on the processor; `draw` is not to be called from two threads at once."""

    def __init__(self, mesh: RenderMesh, size: int, camera: Camera) -> None:
        self.size = size
        check_mesh(mesh)
        self._count = len(mesh.vertices)
        self._triangles = np.ascontiguousarray(mesh.triangles, np.int32)
        self._weld = np.ascontiguousarray(mesh.weld, np.int32)
        self._surface = Surface(np.ascontiguousarray(mesh.material, np.uint8), np.ascontiguousarray(mesh.atlas, np.uint8))
        self._look = Look(material_table(), light_table(), RESPONSE, camera.rays(size))
        self._matrix = camera.matrix()
        self._background = background(size)
        self._corners = np.empty((self._count, 9), np.float32)
        self._corners[:, 6:8] = mesh.uv
        self._corners[:, 8] = mesh.occlusion
        self._depth = np.empty((size, size, 4), np.float32)
        self._owner = np.empty((size, size, 4), np.int32)
        self._bands = (size + BAND_ROWS - 1) // BAND_ROWS
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="raster")

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """One picture of the mesh with its vertices (metres) moved here."""
        vertices = check_vertices(vertices, self._count)
        corners, triangles = self._corners, self._triangles
        corners[:, 3:6] = vertex_normals(vertices, triangles, self._weld)
        _project(vertices, self._matrix, self.size, corners)
        starts, members = _bin(corners, triangles, self.size, BAND_ROWS)
        picture = self._background.copy()

        def draw_band(band: int) -> None:
            top, bottom = band * BAND_ROWS, min((band + 1) * BAND_ROWS, self.size)
            inside = members[starts[band] : starts[band + 1]]
            _cover(corners, triangles, inside, top, bottom, SAMPLES, self._depth, self._owner)
            _shade(top, bottom, self._owner, self._depth, corners, triangles, self._surface, self._look, picture)

        list(self._pool.map(draw_band, range(self._bands)))
        return picture

    def stream(self, frames: Iterable[Float32[np.ndarray, "V 3"]]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Pictures of many frames, in order."""
        return map(self.draw, frames)

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")(function)
    return compiled


@_kernel
def _project(vertices: np.ndarray, matrix: np.ndarray, size: int, corners: np.ndarray) -> None:
    """Set pixel x, pixel y and the inverse of the distance (zero behind the camera), which is linear across the picture."""
    half = np.float32(0.5 * size)
    for v in range(vertices.shape[0]):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        w = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        corners[v, 2] = 0
        if w > np.float32(1e-3):
            near = np.float32(1.0) / w
            corners[v, 0] = half + half * near * (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3])
            corners[v, 1] = half + half * near * (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3])
            corners[v, 2] = near


@_kernel
def _rows(corners: np.ndarray, a: int, b: int, c: int, size: int) -> tuple[int, int]:
    """First and last row whose samples the triangle can touch; last < first when it cannot be seen."""
    if corners[a, 2] <= 0 or corners[b, 2] <= 0 or corners[c, 2] <= 0:
        return 0, -1
    low = min(corners[a, 1], corners[b, 1], corners[c, 1])
    high = max(corners[a, 1], corners[b, 1], corners[c, 1])
    left = min(corners[a, 0], corners[b, 0], corners[c, 0])
    right = max(corners[a, 0], corners[b, 0], corners[c, 0])
    if right < 0 or left > size or high < 0 or low > size:
        return 0, -1
    return max(0, int(low)), min(size - 1, int(high))


@_kernel
def _bin(corners: np.ndarray, triangles: np.ndarray, size: int, band_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that touch each band of rows: members[starts[band]:starts[band + 1]], in the mesh's order."""
    bands = (size + band_rows - 1) // band_rows
    starts = np.zeros(bands + 1, np.int64)
    for t in range(triangles.shape[0]):
        first, last = _rows(corners, triangles[t, 0], triangles[t, 1], triangles[t, 2], size)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                starts[band + 1] += 1
    for band in range(bands):
        starts[band + 1] += starts[band]
    members = np.empty(starts[bands], np.int32)
    fill = starts.copy()
    for t in range(triangles.shape[0]):
        first, last = _rows(corners, triangles[t, 0], triangles[t, 1], triangles[t, 2], size)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                members[fill[band]] = t
                fill[band] += 1
    return starts, members


@_kernel
def _cover(
    corners: np.ndarray,
    triangles: np.ndarray,
    members: np.ndarray,
    top: int,
    bottom: int,
    samples: np.ndarray,
    depth: np.ndarray,
    owner: np.ndarray,
) -> None:
    """Nearest triangle (owner, -1 for none) and its inverse distance (depth) at every sample of the rows top to bottom."""
    depth[top:bottom] = 0
    owner[top:bottom] = -1
    half, far, near = np.float32(0.5), SAMPLE_REACH[0], SAMPLE_REACH[1]
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = corners[a, 0], corners[a, 1], corners[a, 2]
        bx, by, bz = corners[b, 0], corners[b, 1], corners[b, 2]
        cx, cy, cz = corners[c, 0], corners[c, 1], corners[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        inverse = np.float32(1.0) / area
        bdx, bdy = (cy - ay) * inverse, -(cx - ax) * inverse
        cdx, cdy = -(by - ay) * inverse, (bx - ax) * inverse
        adx, ady = -bdx - cdx, -bdy - cdy
        zdx, zdy = adx * az + bdx * bz + cdx * cz, ady * az + bdy * bz + cdy * cz
        reach_a = max(far * abs(adx) + near * abs(ady), near * abs(adx) + far * abs(ady))
        reach_b = max(far * abs(bdx) + near * abs(bdy), near * abs(bdx) + far * abs(bdy))
        reach_c = max(far * abs(cdx) + near * abs(cdy), near * abs(cdx) + far * abs(cdy))
        left, right = max(0, int(min(ax, bx, cx))), min(depth.shape[1] - 1, int(max(ax, bx, cx)))
        for y in range(max(top, int(min(ay, by, cy))), min(bottom - 1, int(max(ay, by, cy))) + 1):
            dx, dy = np.float32(left) + half - ax, np.float32(y) + half - ay
            wb, wc = bdx * dx + bdy * dy, cdx * dx + cdy * dy
            wa = np.float32(1.0) - wb - wc
            z = az + zdx * dx + zdy * dy
            for x in range(left, right + 1):
                if wa >= -reach_a and wb >= -reach_b and wc >= -reach_c:
                    inside = wa >= reach_a and wb >= reach_b and wc >= reach_c
                    for s in range(4):
                        ox, oy = samples[s, 0], samples[s, 1]
                        if inside or (
                            wa + adx * ox + ady * oy >= 0 and wb + bdx * ox + bdy * oy >= 0 and wc + cdx * ox + cdy * oy >= 0
                        ):
                            here = z + zdx * ox + zdy * oy
                            if here > depth[y, x, s]:
                                depth[y, x, s] = here
                                owner[y, x, s] = t
                wa += adx
                wb += bdx
                wc += cdx
                z += zdx


@_kernel
def _shade(
    top: int,
    bottom: int,
    owner: np.ndarray,
    depth: np.ndarray,
    corners: np.ndarray,
    triangles: np.ndarray,
    surface: Surface,
    look: Look,
    picture: np.ndarray,
) -> None:
    """Colour the rows top to bottom of `picture`, which holds the background."""
    rgb = np.empty(3, np.float32)
    material = surface.material
    for y in range(top, bottom):
        for x in range(picture.shape[1]):
            if owner[y, x, 0] < 0 and owner[y, x, 1] < 0 and owner[y, x, 2] < 0 and owner[y, x, 3] < 0:
                continue
            rgb[:] = np.float32(0.5)
            done = 0
            for s in range(4):
                t = owner[y, x, s]
                if t < 0:
                    for channel in range(3):
                        rgb[channel] += np.float32(0.25) * picture[y, x, channel]
                elif not done & (1 << s):
                    share = np.float32(0.25)
                    near = depth[y, x, s] * SAME_SURFACE
                    for other in range(s + 1, 4):
                        o = owner[y, x, other]
                        if not done & (1 << other) and (
                            o == t or (o >= 0 and material[o] == material[t] and abs(depth[y, x, other] - depth[y, x, s]) < near)
                        ):
                            done |= 1 << other
                            share += np.float32(0.25)
                    _colour(x, y, t, share * np.float32(255), corners, triangles, surface, look, rgb)
            for channel in range(3):
                picture[y, x, channel] = np.uint8(rgb[channel])


@_kernel
def _colour(
    x: int,
    y: int,
    t: int,
    share: float,
    corners: np.ndarray,
    triangles: np.ndarray,
    surface: Surface,
    look: Look,
    rgb: np.ndarray,
) -> None:
    """Add `share` of the displayed colour of triangle t at the pixel's middle, or at the triangle's edge beside it."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    materials, lights, response, rays, atlas = look.materials, look.lights, look.response, look.rays, surface.atlas
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = corners[a, 0], corners[a, 1]
    ux, uy, vx, vy = corners[b, 0] - ax, corners[b, 1] - ay, corners[c, 0] - ax, corners[c, 1] - ay
    column, row = np.float32(x) + half, np.float32(y) + half
    px, py = column - ax, row - ay
    inverse = one / (ux * vy - uy * vx)
    wb, wc = (px * vy - py * vx) * inverse, (ux * py - uy * px) * inverse
    wa = max(zero, one - wb - wc) * corners[a, 2]
    wb, wc = max(zero, wb) * corners[b, 2], max(zero, wc) * corners[c, 2]
    scale = one / (wa + wb + wc)
    wa, wb, wc = wa * scale, wb * scale, wc * scale

    nx = wa * corners[a, 3] + wb * corners[b, 3] + wc * corners[c, 3]
    ny = wa * corners[a, 4] + wb * corners[b, 4] + wc * corners[c, 4]
    nz = wa * corners[a, 5] + wb * corners[b, 5] + wc * corners[c, 5]
    ex = rays[0, 0] + column * rays[1, 0] + row * rays[2, 0]
    ey = rays[0, 1] + column * rays[1, 1] + row * rays[2, 1]
    ez = rays[0, 2] + column * rays[1, 2] + row * rays[2, 2]
    scale = one / np.sqrt(ex * ex + ey * ey + ez * ez)
    ex, ey, ez = ex * scale, ey * scale, ez * scale
    scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
    if nx * ex + ny * ey + nz * ez < zero:
        scale = -scale
    nx, ny, nz = nx * scale, ny * scale, nz * scale

    kind = surface.material[t]
    strength, roughness = materials[kind, 3], materials[kind, 4]
    key = nx * lights[0, 0] + ny * lights[0, 1] + nz * lights[0, 2]
    fill = nx * lights[2, 0] + ny * lights[2, 1] + nz * lights[2, 2]
    back = nx * lights[4, 0] + ny * lights[4, 1] + nz * lights[4, 2]
    key_gloss = strength * max(zero, key) * _gloss(nx, ny, nz, ex + lights[0, 0], ey + lights[0, 1], ez + lights[0, 2], roughness)
    fill_gloss = strength * max(zero, fill) * _gloss(nx, ny, nz, ex + lights[2, 0], ey + lights[2, 1], ez + lights[2, 2], roughness)
    edge = one - (nx * ex + ny * ey + nz * ez)
    rim = materials[kind, 5] * edge * edge * edge * max(zero, back + response[5])
    sky = half + half * ny
    open_share = wa * corners[a, 8] + wb * corners[b, 8] + wc * corners[c, 8]

    wide, high = atlas.shape[1] - 1, atlas.shape[0] - 1
    u = (wa * corners[a, 6] + wb * corners[b, 6] + wc * corners[c, 6]) * np.float32(wide + 1) - half
    v = (wa * corners[a, 7] + wb * corners[b, 7] + wc * corners[c, 7]) * np.float32(high + 1) - half
    u, v = min(max(u, zero), np.float32(wide)), min(max(v, zero), np.float32(high))
    left, up = int(u), int(v)
    right, down = min(left + 1, wide), min(up + 1, high)
    u, v = u - np.float32(left), v - np.float32(up)
    for channel in range(3):
        above = atlas[up, left, channel] * (one - u) + atlas[up, right, channel] * u
        below = atlas[down, left, channel] * (one - u) + atlas[down, right, channel] * u
        coded = (above * (one - v) + below * v) * np.float32(1 / 255)
        albedo = coded * (response[0] + coded * (response[1] + coded * response[2]))
        wrap = one / (one + materials[kind, channel])
        key_diffuse = max(zero, (key + materials[kind, channel]) * wrap) * wrap
        fill_diffuse = max(zero, (fill + materials[kind, channel]) * wrap) * wrap
        ambient = lights[7, channel] + (lights[6, channel] - lights[7, channel]) * sky
        light = albedo * (key_diffuse * lights[1, channel] + fill_diffuse * lights[3, channel] + ambient)
        light += key_gloss * lights[1, channel] + fill_gloss * lights[3, channel] + rim * lights[5, channel]
        light *= open_share
        shown = response[4] * light
        rgb[channel] += share * min(one, (response[3] * np.sqrt(light) + shown) / (one + shown))


@_kernel
def _gloss(nx: float, ny: float, nz: float, hx: float, hy: float, hz: float, roughness: float) -> float:
    """GGX lobe around the half vector h (any length), without 1 / pi."""
    one = np.float32(1)
    cosine = nx * hx + ny * hy + nz * hz
    squared = cosine * cosine / (hx * hx + hy * hy + hz * hz)
    alpha = roughness * roughness
    width = alpha * alpha
    spread = squared * (width - one) + one
    return width / (spread * spread)
