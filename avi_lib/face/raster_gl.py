"""The rasteriser for OpenGL without a window: EGL finds a graphics card, or Mesa's llvmpipe on the processor.

In: a mesh (see `RenderMesh`) and its moved vertices. Out: pictures (height, width, 3 or 4) uint8.

The driver shades one sample a pixel of whatever faces the camera. Pixels at edges and the backs of two-sided surfaces
are then drawn by `zbuffer` from four samples: on llvmpipe that takes half the time of multisampling, and edges look the
same from both rasterisers.

>>> with GlRenderer(mesh, View()) as renderer:
...     picture = renderer.draw(mesh.vertices)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

import moderngl
import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.face.atlas import atlas_levels, material_levels
from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import MATERIALS, VERTEX_GLSL, fragment_glsl
from avi_lib.face.view import View
from avi_lib.face.zbuffer import ZBuffer


class _Moved(NamedTuple):
    """A mesh on its way to a picture: vertices (V, 3) in metres and unit normals (V, 3)."""

    vertices: np.ndarray
    normals: np.ndarray


class GlRenderer:
    """Draws a mesh with OpenGL 3.3 and its edges with the z-buffer; to be used in the thread that made it."""

    def __init__(self, mesh: RenderMesh, view: View) -> None:
        check_mesh(mesh)
        self.view = view
        self._count, self._triangles, self._weld = len(mesh.vertices), mesh.triangles, mesh.weld
        self._moving = np.empty((self._count, 6), np.float32)
        self._context = moderngl.create_context(standalone=True, backend="egl", require=330)  # type: ignore[arg-type]
        with self._context:
            self._build(mesh)
        self._edges = ZBuffer(mesh, view)

    def _build(self, mesh: RenderMesh) -> None:
        context, view = self._context, self.view
        size = (view.width, view.height)
        context.front_face = "cw"
        self._moved = context.buffer(reserve=self._moving.nbytes, dynamic=True)
        surface = context.buffer(np.column_stack([mesh.uv, mesh.occlusion]).astype(np.float32).tobytes())
        atlases = [
            context.texture(level.shape[1::-1], 3, level.tobytes(), alignment=1) for level in atlas_levels(mesh.atlas)
        ]
        for atlas in atlases:
            atlas.repeat_x = atlas.repeat_y = False
        self._parts: list[tuple[moderngl.Texture, moderngl.VertexArray]] = []
        for kind, level in material_levels(mesh, view).items():
            program = context.program(vertex_shader=VERTEX_GLSL, fragment_shader=fragment_glsl(MATERIALS[kind]))
            for name, constant in (("to_clip", view.matrix().T), ("rays", view.rays())):
                uniform = program.get(name, None)
                if isinstance(uniform, moderngl.Uniform):  # the compiler drops what a material does not use
                    uniform.write(constant.tobytes())
            members = context.buffer(mesh.triangles[mesh.material == kind].astype(np.uint32).tobytes())
            layout = [(self._moved, "3f 3f", "position", "normal"), (surface, "3f", "surface")]
            self._parts.append((atlases[level], context.vertex_array(program, layout, members)))
        self._aside = context.simple_framebuffer((1, 1))
        self._target = context.framebuffer([context.renderbuffer(size, 4)], context.depth_renderbuffer(size))

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "height width channels"]:
        """One picture of the mesh with its vertices (metres) moved here."""
        return self._finish(self._collect(self._submit(vertices)))

    def stream(
        self, frames: Iterable[Float32[np.ndarray, "V 3"]]
    ) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
        """Pictures of many frames, in order: the driver draws one while the edges of the one before are finished."""
        ahead: _Moved | None = None
        for vertices in frames:
            seen = None if ahead is None else self._collect(ahead)
            ahead = self._submit(vertices)
            if seen is not None:
                yield self._finish(seen)
        if ahead is not None:
            yield self._finish(self._collect(ahead))

    def _submit(self, vertices: Float32[np.ndarray, "V 3"]) -> _Moved:
        """Set the driver to work on a picture."""
        vertices = check_vertices(vertices, self._count)
        normals = vertex_normals(vertices, self._triangles, self._weld)
        self._moving[:, :3], self._moving[:, 3:] = vertices, normals
        with self._context as context:
            self._moved.orphan()
            self._moved.write(self._moving)
            self._target.use()
            self._target.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
            context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
            for atlas, part in self._parts:
                atlas.use(0)
                part.render()
            self._aside.use()
            self._aside.clear()  # leaving the target makes the driver start on it
        return _Moved(vertices, normals)

    def _collect(self, moved: _Moved) -> UInt8[np.ndarray, "height width 4"]:
        """Find the edges of the picture submitted last, then wait for the driver's part of it."""
        self._edges.cover(moved.vertices, moved.normals)
        with self._context:
            seen = self._target.read(components=4, alignment=1)
        return np.frombuffer(seen, np.uint8).reshape(self.view.height, self.view.width, 4)

    def _finish(self, seen: UInt8[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "height width channels"]:
        """The picture collected last, in front of the wall and with its edges."""
        picture = np.empty((self.view.height, self.view.width, self.view.channels), np.uint8)
        self._edges.paint(picture, seen)
        return picture

    def close(self) -> None:
        """Give the context and all it holds back to the driver."""
        self._edges.close()
        self._context.release()

    def __enter__(self) -> GlRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
