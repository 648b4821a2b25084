"""Chooses a rasteriser that works on this machine and says why.

>>> renderer, reason = choose_renderer(load_head(), size=512)
>>> with renderer:
...     write_video(path, renderer.stream(head.deform(motion.values)), 25.0, wave, 16_000)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from jaxtyping import Float32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.camera import PORTRAIT, Camera
from avi_lib.face.mesh import RenderMesh

Preference = Literal["auto", "moderngl", "numba"]
MIN_SIZE, MAX_SIZE = 64, 4096


class Renderer(Protocol):
    """Turns moved vertices into pictures; a context manager."""

    size: int

    def draw(self, vertices: Float32[np.ndarray, "V 3"]) -> UInt8[np.ndarray, "size size 3"]:
        """One sRGB picture of the mesh with its vertices (metres) moved here."""
        ...

    def stream(self, frames: Iterable[Float32[np.ndarray, "V 3"]]) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Pictures of many frames in order; faster than `draw` one by one where work can overlap."""
        ...

    def close(self) -> None:
        """Give back threads and graphics memory."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def choose_renderer(
    mesh: RenderMesh, size: int = 512, prefer: Preference = "auto", camera: Camera = PORTRAIT
) -> tuple[Renderer, str]:
    """A renderer for `mesh` with pictures of `size` x `size` pixels (even, 64-4096), and the reason for the choice."""
    if size % 2 or not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"an even picture size of {MIN_SIZE}-{MAX_SIZE}", str(size), "use 512")
    from avi_lib.face.raster_numba import NumbaRenderer

    return NumbaRenderer(mesh, size, camera), "numba z-buffer: asked for"
