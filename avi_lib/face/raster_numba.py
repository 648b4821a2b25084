"""The rasteriser that needs nothing but numba: a z-buffer with four samples a pixel, shaded once per surface and pixel.

In: a mesh (see `RenderMesh`) and its moved vertices. Out: pictures (size, size, 3) uint8.

>>> with NumbaRenderer(mesh, 512, PORTRAIT) as renderer:
...     picture = renderer.draw(mesh.vertices)

The picture is cut into bands of rows that worker threads draw independently (the kernels release the interpreter lock), so
the result does not depend on the number of threads. The kernels are compiled at the first picture and cached on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avi_lib.face.atlas import atlas_levels, material_levels
from avi_lib.face.camera import Camera
from avi_lib.face.kernel import is_kept, kernel
from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import (
    DECODE,
    DISPLAY_LINEAR,
    DISPLAY_ROOT,
    MATERIALS,
    RIM_REACH,
    Studio,
    background,
    material_table,
    studio,
)

BAND_ROWS = 32
SAMPLES = np.array([(-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)], np.float32)
"""Sample places within a pixel, from its middle: the usual rotated grid, as graphics cards have it."""
SAME_SURFACE = np.float32(0.004)
"""Samples of one connected part of the mesh whose distances differ by less than this share of it are one surface."""
BEYOND = np.float32(-1)
"""How far outside its triangle, in barycentric coordinates, a pixel's middle may lie that is seen by some samples only."""
TWO_SIDED = np.array([material.two_sided for material in MATERIALS])
RESPONSE = tuple(np.float32(value) for value in (*DECODE, DISPLAY_ROOT, DISPLAY_LINEAR, RIM_REACH))


class Surface(NamedTuple):
    """What the mesh looks like. Attributes of a vertex: normal (0:3), openness (3), place in the atlas (4:6), padding."""

    triangles: np.ndarray
    material: np.ndarray
    part: np.ndarray
    two_sided: np.ndarray
    attributes: np.ndarray
    atlases: tuple[np.ndarray, ...]
    levels: np.ndarray
    materials: np.ndarray


class Layers(NamedTuple):
    """Four samples a pixel, side by side in each row: inverse distance, triangle; and where in its row each sample lies."""

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


class ZBuffer:
    """Finds what four samples of every pixel see, and shades it: every pixel, or only those at edges."""

    def __init__(self, mesh: RenderMesh, size: int, camera: Camera) -> None:
        attributes = np.zeros((len(mesh.vertices), 8), np.float32)
        attributes[:, 3], attributes[:, 4:6] = mesh.occlusion, mesh.uv
        atlases = tuple(np.dstack([level, np.zeros(level.shape[:2], np.uint8)]) for level in atlas_levels(mesh.atlas))
        levels = np.zeros(len(MATERIALS), np.uint8)
        for material, level in material_levels(mesh, camera, size).items():
            levels[material] = level
        triangles = mesh.triangles.astype(np.uint32)
        two_sided = TWO_SIDED[mesh.material]
        self._surface = Surface(
            triangles, mesh.material, _parts(mesh), two_sided, attributes, atlases, levels, material_table()
        )
        self._light = (camera.rays(size), studio(), RESPONSE)
        self._matrix = camera.matrix()
        self._wall = background(size)
        self._size = size
        self._layers = _layers(size)
        self._bands = (size + BAND_ROWS - 1) // BAND_ROWS
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="raster")

    def paint(
        self,
        vertices: Float32[np.ndarray, "V 3"],
        normals: Float32[np.ndarray, "V 3"],
        picture: UInt8[np.ndarray, "size size 3"],
        edges_only: bool,
    ) -> None:
        """Draw the mesh over `picture`; with `edges_only` just the pixels whose samples see more than one surface.

        Past the mesh the background shows.
        """
        surface, layers, size = self._surface, self._layers, self._size
        surface.attributes[:, :3] = normals
        screen = _project(vertices, self._matrix, size)
        starts, members = _bin(screen, surface.triangles, size, BAND_ROWS)

        def paint_band(band: int) -> None:
            top, bottom = band * BAND_ROWS, min((band + 1) * BAND_ROWS, size)
            _cover(screen, surface, members[starts[band] : starts[band + 1]], top, bottom, layers)
            _paint(top, bottom, screen, surface, layers, *self._light, self._wall, picture, edges_only)

        list(self._pool.map(paint_band, range(self._bands)))

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()


class NumbaRenderer:
    """Draws a mesh on the processor; `draw` is not to be called from two threads at once."""

    def __init__(self, mesh: RenderMesh, size: int, camera: Camera) -> None:
        check_mesh(mesh)
        self.size = size
        self._count, self._triangles, self._weld = len(mesh.vertices), mesh.triangles, mesh.weld
        self._wall = background(size)
        self._buffer = ZBuffer(mesh, size, camera)

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """One picture of the mesh with its vertices (metres) moved here."""
        vertices = check_vertices(vertices, self._count)
        picture = self._wall.copy()
        self._buffer.paint(vertices, vertex_normals(vertices, self._triangles, self._weld), picture, edges_only=False)
        return picture

    def stream(self, frames: Iterable[Float32[np.ndarray, "V 3"]]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Pictures of many frames, in order."""
        return map(self.draw, frames)

    def close(self) -> None:
        """Stop the worker threads."""
        self._buffer.close()

    def __enter__(self) -> NumbaRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compiled_before() -> bool:
    """Whether the kernels are on disk already; if not, the first picture waits while they are compiled."""
    return is_kept(_paint)


def _parts(mesh: RenderMesh) -> np.ndarray:
    """A number for each triangle's part: triangles of one material that hang together through welded points."""
    points = mesh.weld[mesh.triangles]
    links = coo_array(
        (np.ones(2 * len(points)), (np.repeat(points[:, 0], 2), points[:, 1:].ravel())),
        shape=2 * (mesh.weld.max() + 1,),
    )
    _, component = connected_components(links, directed=False)
    parts: np.ndarray = component[points[:, 0]] * len(MATERIALS) + mesh.material
    return parts.astype(np.uint32)


def _layers(size: int) -> Layers:
    columns = np.arange(size, dtype=np.float32)[:, None] + np.float32(0.5) + SAMPLES[:, 0]
    rows = np.tile(SAMPLES[:, 1], size)
    empty = (size, 4 * size)
    return Layers(np.empty(empty, np.float32), np.zeros(empty, np.uint32), columns.ravel(), rows)


@kernel
def _project(vertices: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Pixel x, pixel y and the inverse of the distance (zero behind the camera), which is linear across the picture."""
    screen = np.zeros((vertices.shape[0], 3), np.float32)
    half = np.float32(0.5 * size)
    for v in range(vertices.shape[0]):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        w = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        if w > np.float32(1e-3):
            near = np.float32(1.0) / w
            screen[v, 0] = half + half * near * (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3])
            screen[v, 1] = half + half * near * (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3])
            screen[v, 2] = near
    return screen


@kernel
def _rows(screen: np.ndarray, a: int, b: int, c: int, size: int) -> tuple[int, int]:
    """First and last row whose samples the triangle can touch; last < first when it cannot be seen."""
    if screen[a, 2] <= 0 or screen[b, 2] <= 0 or screen[c, 2] <= 0:
        return 0, -1
    low = min(screen[a, 1], screen[b, 1], screen[c, 1])
    high = max(screen[a, 1], screen[b, 1], screen[c, 1])
    left = min(screen[a, 0], screen[b, 0], screen[c, 0])
    right = max(screen[a, 0], screen[b, 0], screen[c, 0])
    if right < 0 or left > size or high < 0 or low > size:
        return 0, -1
    return max(0, int(low)), min(size - 1, int(high))


@kernel
def _bin(screen: np.ndarray, triangles: np.ndarray, size: int, band_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that touch each band of rows: members[starts[band]:starts[band + 1]], in the mesh's order."""
    bands = (size + band_rows - 1) // band_rows
    starts = np.zeros(bands + 1, np.int64)
    for t in range(triangles.shape[0]):
        first, last = _rows(screen, triangles[t, 0], triangles[t, 1], triangles[t, 2], size)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                starts[band + 1] += 1
    for band in range(bands):
        starts[band + 1] += starts[band]
    members = np.empty(starts[bands], np.uint32)
    fill = starts.copy()
    for t in range(triangles.shape[0]):
        first, last = _rows(screen, triangles[t, 0], triangles[t, 1], triangles[t, 2], size)
        if last >= first:
            for band in range(first // band_rows, last // band_rows + 1):
                members[fill[band]] = t
                fill[band] += 1
    return starts, members


@kernel
def _cover(screen: np.ndarray, surface: Surface, members: np.ndarray, top: int, bottom: int, layers: Layers) -> None:
    """Nearest triangle (owner) and its inverse distance (depth, 0 for none) at every sample of the rows top to bottom."""
    triangles, two_sided = surface.triangles, surface.two_sided
    depth, owner, across, down = layers.depth, layers.owner, layers.across, layers.down
    depth[top:bottom] = 0
    half, one = np.float32(0.5), np.float32(1)
    width = depth.shape[1] // 4
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and not two_sided[t]):
            continue
        inverse = one / area
        bdx, bdy = (cy - ay) * inverse, (ax - cx) * inverse
        cdx, cdy = (ay - by) * inverse, (bx - ax) * inverse
        zdx, zdy = bdx * (bz - az) + cdx * (cz - az), bdy * (bz - az) + cdy * (cz - az)
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
def _list(y: int, screen: np.ndarray, surface: Surface, layers: Layers, edges_only: bool, found: Found) -> int:
    """List what row y shows, each surface seen in a pixel once: pixel, share of its samples, attributes, texture colour.

    With edges_only, pixels that show one surface alone are left out.
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
        if (whole and edges_only) or max(depth[first], depth[first + 1], depth[first + 2], depth[first + 3]) <= zero:
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
            if edges_only and share == one:
                continue
            found.pixel[count], found.share[count], found.material[count] = x, share, material[t]

            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay = screen[a, 0], screen[a, 1]
            ux, uy, vx, vy = screen[b, 0] - ax, screen[b, 1] - ay, screen[c, 0] - ax, screen[c, 1] - ay
            px, py = np.float32(x) + half - ax, line - ay
            inverse = one / (ux * vy - uy * vx)
            wb, wc = (px * vy - py * vx) * inverse, (ux * py - uy * px) * inverse
            wa, wb, wc = (
                max(BEYOND, one - wb - wc) * screen[a, 2],
                max(BEYOND, wb) * screen[b, 2],
                max(BEYOND, wc) * screen[c, 2],
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
def _mix(attributes: np.ndarray, part: int, a: int, b: int, c: int, wa: float, wb: float, wc: float) -> float:
    return wa * attributes[a, part] + wb * attributes[b, part] + wc * attributes[c, part]


@kernel
def _texel(atlas: np.ndarray, channel: int, left: int, right: int, up: int, low: int, u: float, v: float) -> float:
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
    response: tuple[float, ...],
) -> None:
    """Displayed colour (0-1) of a run of listed surfaces of one material: the formula of `shading`, in a loop that vectorises."""
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
        rim = rim_share * edge * edge * edge * max(zero, back + response[5])
        sky = half + half * ny
        for channel in range(3):
            coded = values[4 + channel, i]
            albedo = coded * (response[0] + coded * (response[1] + coded * response[2]))
            diffuse = max(zero, slope[channel] * key + offset[channel]) * studio.key_rgb[channel]
            diffuse += max(zero, slope[channel] * fill + offset[channel]) * studio.fill_rgb[channel]
            ambient = studio.ground_rgb[channel] + (studio.sky_rgb[channel] - studio.ground_rgb[channel]) * sky
            light = albedo * (diffuse + ambient) + gloss * studio.key_rgb[channel] + rim * studio.rim_rgb[channel]
            light *= values[3, i]
            bent = response[4] * light
            rgb[channel, i] = min(one, (response[3] * np.sqrt(light) + bent) / (one + bent))


@kernel
def _paint(
    top: int,
    bottom: int,
    screen: np.ndarray,
    surface: Surface,
    layers: Layers,
    rays: np.ndarray,
    studio: Studio,
    response: tuple[float, ...],
    wall: np.ndarray,
    picture: np.ndarray,
    edges_only: bool,
) -> None:
    """Colour what the rows top to bottom of `picture` show of the mesh, in front of the wall."""
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
        count = _list(y, screen, surface, layers, edges_only, found)
        first = 0
        while first < count:
            kind, stop = found.material[first], first + 1
            while stop < count and found.material[stop] == kind:
                stop += 1
            _light(y, first, stop, found, surface.materials[kind], rays, studio, response)
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
            picture[y, x, 0] = np.uint8(red + rest * np.float32(wall[y, x, 0]))
            picture[y, x, 1] = np.uint8(green + rest * np.float32(wall[y, x, 1]))
            picture[y, x, 2] = np.uint8(blue + rest * np.float32(wall[y, x, 2]))
