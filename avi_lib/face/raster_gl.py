"""The rasteriser for OpenGL without a window: EGL finds a graphics card, or Mesa's llvmpipe on the processor.

In: a mesh (see `RenderMesh`) and its moved vertices. Out: pictures (size, size, 3) uint8, four samples a pixel.

>>> with GlRenderer(mesh, 512, PORTRAIT) as renderer:
...     picture = renderer.draw(mesh.vertices)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

import moderngl
import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.face.camera import Camera
from avi_lib.face.kernel import kernel
from avi_lib.face.mesh import RenderMesh, check_mesh, check_vertices
from avi_lib.face.normals import vertex_normals
from avi_lib.face.shading import MATERIALS, VERTEX_GLSL, background, fragment_glsl

SAMPLES = 4


class GlRenderer:
    """Draws a mesh with OpenGL 3.3; to be used in the thread that made it."""

    def __init__(self, mesh: RenderMesh, size: int, camera: Camera) -> None:
        check_mesh(mesh)
        self.size = size
        self._count = len(mesh.vertices)
        self._triangles = mesh.triangles.astype(np.uint32)
        self._weld = mesh.weld.astype(np.uint32)
        self._moving = np.empty((self._count, 6), np.float32)
        self._context = moderngl.create_context(standalone=True, backend="egl", require=330)
        self.device: str = self._context.info["GL_RENDERER"]
        self._build(mesh, camera)

    def _build(self, mesh: RenderMesh, camera: Camera) -> None:
        context, size = self._context, self.size
        self._moved = context.buffer(reserve=self._moving.nbytes, dynamic=True)
        surface = context.buffer(np.column_stack([mesh.uv, mesh.occlusion]).astype(np.float32).tobytes())
        self._atlas = context.texture(mesh.atlas.shape[1::-1], 3, np.ascontiguousarray(mesh.atlas).tobytes(), alignment=1)
        self._atlas.repeat_x = self._atlas.repeat_y = False
        self._parts: list[tuple[bool, moderngl.VertexArray]] = []
        for kind in np.unique(mesh.material):
            program = context.program(vertex_shader=VERTEX_GLSL, fragment_shader=fragment_glsl(MATERIALS[kind]))
            program["to_clip"].write(camera.matrix().T.tobytes())
            program["rays"].write(camera.rays(size).tobytes())
            members = context.buffer(self._triangles[mesh.material == kind].tobytes())
            layout = [(self._moved, "3f 3f", "position", "normal"), (surface, "3f", "surface")]
            self._parts.append((MATERIALS[kind].two_sided, context.vertex_array(program, layout, members)))
        self._sampled = context.framebuffer(
            [context.renderbuffer((size, size), 4, samples=SAMPLES)], context.depth_renderbuffer((size, size), samples=SAMPLES)
        )
        self._resolved = [context.framebuffer([context.renderbuffer((size, size), 4)]) for _ in range(2)]
        self._background = background(size)
        context.front_face = "cw"

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """One picture of the mesh with its vertices (metres) moved here."""
        self._submit(vertices, 0)
        return self._fetch(0)

    def stream(self, frames: Iterable[Float32[np.ndarray, "V 3"]]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Pictures of many frames, in order; one is drawn while the one before it is read."""
        number = -1
        for number, vertices in enumerate(frames):
            self._submit(vertices, number % 2)
            if number > 0:
                yield self._fetch((number - 1) % 2)
        if number >= 0:
            yield self._fetch(number % 2)

    def _submit(self, vertices: Float32[np.ndarray, "V 3"], slot: int) -> None:
        vertices = check_vertices(vertices, self._count)
        self._moving[:, :3] = vertices
        self._moving[:, 3:] = vertex_normals(vertices, self._triangles, self._weld)
        with self._context as context:
            self._moved.orphan()
            self._moved.write(self._moving)
            self._sampled.use()
            self._sampled.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
            self._atlas.use(0)
            for two_sided, part in self._parts:
                context.enable_only(moderngl.DEPTH_TEST | (moderngl.NOTHING if two_sided else moderngl.CULL_FACE))
                part.render()
            context.copy_framebuffer(self._resolved[slot], self._sampled)

    def _fetch(self, slot: int) -> UInt8[np.ndarray, "size size 3"]:
        with self._context:
            raw = self._resolved[slot].read(components=4, alignment=1)
        seen = np.frombuffer(raw, np.uint8).reshape(self.size, self.size, 4)
        picture: np.ndarray = _over(seen, self._background)
        return picture

    def close(self) -> None:
        """Give the context and all it holds back to the driver."""
        self._context.release()

    def __enter__(self) -> GlRenderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@kernel
def _over(seen: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The drawn colours (premultiplied, the fourth value is coverage) over the background."""
    picture = np.empty_like(background)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            clear = np.uint32(255) - seen[y, x, 3]
            for channel in range(3):
                picture[y, x, channel] = seen[y, x, channel] + (clear * background[y, x, channel] + np.uint32(127)) // np.uint32(255)
    return picture
