"""The renderer: a mesh before a camera as pictures, drawn on the processor from four samples a pixel.

>>> with Renderer(load_head(), View.square(512)) as renderer:
...     picture = renderer.draw(vertices)                # (512, 512, 3) uint8

The kernels are compiled at the first picture, which takes some seconds, and kept on disk for later processes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.face.atlas import atlas_levels, material_levels
from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.pixels import Surface, paint_rows
from avi_lib.face.shading import MATERIALS, material_table, studio
from avi_lib.face.view import View
from avi_lib.face.zbuffer import bin_triangles, connected_parts, cover_rows, empty_layers, project

BAND_ROWS = 32


class Renderer:
    """Draws a view of a mesh; `draw` is not to be called from two threads at once.

    The picture is cut into bands of rows that worker threads draw independently (the kernels release the interpreter
    lock), so the result does not depend on the number of threads. Raises InputError for a mesh whose arrays do not fit.
    """

    def __init__(self, mesh: RenderMesh, view: View) -> None:
        check_mesh(mesh)
        self.view = view
        self._mesh = mesh
        attributes = np.zeros((len(mesh.vertices), 8), np.float32)
        attributes[:, 3], attributes[:, 4:6] = mesh.occlusion, mesh.uv
        self._surface = Surface(
            mesh.triangles.astype(np.uint32),
            mesh.material,
            connected_parts(mesh),
            np.array([material.two_sided for material in MATERIALS])[mesh.material],
            attributes,
            tuple(np.dstack([level, np.zeros(level.shape[:2], np.uint8)]) for level in atlas_levels(mesh.atlas)),
            material_levels(mesh, view),
            material_table(),
        )
        self._layers = empty_layers(view.width, view.height)
        self._matrix, self._wall = view.matrix(), view.wall()
        self._light = view.rays(), studio()
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="raster")

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "height width channels"]:
        """One sRGB picture of the mesh with its vertices (metres) moved here; see `View.channels`."""
        mesh, view, surface, layers = self._mesh, self.view, self._surface, self._layers
        vertices = check_vertices(vertices, len(mesh.vertices))
        surface.attributes[:, :3] = vertex_normals(vertices, mesh.triangles, mesh.weld)
        screen = project(vertices, self._matrix, view.width, view.height)
        starts, members = bin_triangles(screen, surface.triangles, view.width, view.height, BAND_ROWS)
        picture = self._wall.copy()

        def draw_band(band: int) -> None:
            top, bottom = band * BAND_ROWS, min((band + 1) * BAND_ROWS, view.height)
            cover_rows(screen, surface, members[starts[band] : starts[band + 1]], top, bottom, layers)
            paint_rows(top, bottom, screen, surface, layers, *self._light, picture)

        list(self._pool.map(draw_band, range(len(starts) - 1)))
        return picture

    def close(self) -> None:
        """Stop the worker threads."""
        self._pool.shutdown()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
