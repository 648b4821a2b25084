"""How deep the library is: its frames from the command `avi talk` to a vertex that moves and to a pixel that is drawn.

A frame is a function, generator or expression of `avi_lib` on the stack when the head moves, or when a picture is
handed to the thread that draws it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from avi_lib.cli import main
from avi_lib.face.head import Head
from avi_lib.face.raster import Rasteriser
from tools.benchmarks.measuring import ROOT, Figure, Options

LIBRARY = str(ROOT / "avi_lib")
TOLD = ["talk", str(ROOT / "data" / "samples" / "arctic.flac"), "--instruction", "She is happy.", "--size", "64"]


def measure(options: Options) -> Iterator[Figure]:
    """Frames and files, to a vertex and to a pixel."""
    found: dict[str, list[str]] = {}

    def seen(what: str, function: Any) -> Any:
        def wrapped(*args: Any, **named: Any) -> Any:
            found.setdefault(what, [*_frames(), "head.py:move"])
            return function(*args, **named)

        return wrapped

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Head, "move", seen("vertex", Head.move)),
        patch.object(Rasteriser, "draw_all", _watched(Rasteriser.draw_all, found)),
    ):
        assert main([*TOLD, "-o", str(Path(folder) / "talk.mp4")]) == 0
    for what, most, files in (("vertex", 8, 4), ("pixel", 10, 6)):
        stack = found[what]
        names = list(dict.fromkeys(each.partition(":")[0] for each in stack))
        yield Figure(f"frames to a {what}", float(len(stack)), "", f"<= {most}", " > ".join(stack))
        yield Figure(f"files to a {what}", float(len(names)), "", f"<= {files}", ", ".join(names))


def _watched(draw_all: Any, found: dict[str, list[str]]) -> Any:
    """`draw_all` that tells what lies below a picture; the drawing itself, in another thread, is one frame more."""

    def wrapped(self: Any, shapes: Any) -> Any:
        for picture in draw_all(self, shapes):
            found.setdefault("pixel", [*_frames(), "raster.py:draw_all", "raster.py:draw"])
            yield picture

    return wrapped


def _frames() -> list[str]:
    """Frames of the library on the stack, the command first."""
    stack, frame = list[str](), sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(LIBRARY):
            stack.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return stack[::-1]
