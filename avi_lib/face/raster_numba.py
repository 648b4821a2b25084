"""The renderer that needs nothing but numba.

In: a mesh (see `RenderMesh`) and its moved vertices. Out: pictures (height, width, 3 or 4) uint8, four samples a pixel.

>>> with NumbaRenderer(mesh, View()) as renderer:
...     picture = renderer.draw(mesh.vertices)

The kernels are compiled at the first picture and kept on disk for later processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.view import View
from avi_lib.face.zbuffer import ZBuffer


class NumbaRenderer:
    """Draws a mesh on the processor; `draw` is not to be called from two threads at once."""

    def __init__(self, mesh: RenderMesh, view: View) -> None:
        check_mesh(mesh)
        self.view = view
        self._count, self._triangles, self._weld = len(mesh.vertices), mesh.triangles, mesh.weld
        self._buffer = ZBuffer(mesh, view)

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "height width channels"]:
        """One picture of the mesh with its vertices (metres) moved here."""
        vertices = check_vertices(vertices, self._count)
        picture = np.empty((self.view.height, self.view.width, self.view.channels), np.uint8)
        self._buffer.cover(vertices, vertex_normals(vertices, self._triangles, self._weld))
        self._buffer.paint(picture)
        return picture

    def stream(
        self, frames: Iterable[Float32[np.ndarray, "V 3"]]
    ) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
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
