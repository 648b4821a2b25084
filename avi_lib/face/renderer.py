"""Chooses a rasteriser that works on this machine and says why.

>>> renderer, reason = choose_renderer(load_head(), View.square(512))
>>> with renderer:
...     write_video(path, renderer.stream(head.deform(motion.values)), 25.0, wave, 16_000)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.egl_probe import probe_egl
from avi_lib.face.mesh import RenderMesh
from avi_lib.face.view import View

Preference = Literal["auto", "moderngl", "numba"]
PLAIN = View()
AGREEMENT_MEAN, AGREEMENT_PIXEL, AGREEMENT_SHARE = 0.5, 12, 0.995
"""Both renderers draw the same picture: mean difference at most 0.5 of 255, and 99.5 % of pixels within 12 of 255."""


@runtime_checkable
class Renderer(Protocol):
    """Turns moved vertices into pictures; a context manager."""

    view: View

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "height width channels"]:
        """One sRGB picture of the mesh with its vertices (metres) moved here; see `View.channels`."""
        ...

    def stream(
        self, frames: Iterable[Float32[np.ndarray, "V 3"]]
    ) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
        """Pictures of many frames in order; faster than `draw` one by one where work can overlap."""
        ...

    def close(self) -> None:
        """Give back threads and graphics memory."""
        ...

    def __enter__(self) -> Renderer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def choose_renderer(mesh: RenderMesh, view: View = PLAIN, prefer: Preference = "auto") -> tuple[Renderer, str]:
    """A renderer of a view of `mesh`, and the reason for the choice.

    "auto" takes moderngl where a test picture in a child process comes out right on a graphics card. Where EGL draws on
    the processor, or not at all, it takes the numba z-buffer: the same picture in about two thirds of the time.
    Raises InputError for a preference that is not offered, a mesh whose arrays do not fit, and for "moderngl" where it
    does not work.
    """
    if prefer not in get_args(Preference):
        raise InputError(f"a renderer among {', '.join(get_args(Preference))}", prefer, "use auto")
    if prefer == "numba":
        return _numba(mesh, view, "asked for")
    probe = probe_egl()
    if prefer == "auto" and probe.works and probe.on_processor:
        why = f"EGL works, but draws on the processor ({probe.finding}), where the z-buffer is faster"
        return _numba(mesh, view, why)
    if probe.works:
        from avi_lib.face.raster_gl import GlRenderer

        return GlRenderer(mesh, view), f"moderngl on {probe.finding} via EGL: a test picture came out right"
    if prefer == "moderngl":
        raise InputError(
            "OpenGL through EGL", probe.finding, "install libegl1 and libgl1-mesa-dri, or use the numba renderer"
        )
    return _numba(mesh, view, f"EGL is not available ({probe.finding})")


def _numba(mesh: RenderMesh, view: View, why: str) -> tuple[Renderer, str]:
    from avi_lib.face.raster_numba import NumbaRenderer
    from avi_lib.face.zbuffer import compiled_before

    compiling = "" if compiled_before() else "; the first picture waits some seconds while it is compiled"
    return NumbaRenderer(mesh, view), f"numba z-buffer: {why}{compiling}"
