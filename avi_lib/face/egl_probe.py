"""Finds out whether OpenGL without a window works here, in a child process that a broken driver may crash.

>>> probe_egl()
EglProbe(works=True, finding='llvmpipe (LLVM 15.0.6, 256 bits)')

As a program (`python -m avi_lib.face.egl_probe`) it draws a known triangle and prints the device's name, or fails.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from functools import lru_cache
from typing import NamedTuple

PROBE_S = 30.0
SIDE = 16
SOFTWARE = ("llvmpipe", "softpipe", "swr", "swiftshader", "software")


class EglProbe(NamedTuple):
    """Whether drawing works, and the device's name or what went wrong."""

    works: bool
    finding: str

    @property
    def on_processor(self) -> bool:
        """Whether the device is a program that draws on the processor."""
        return self.finding.lower().startswith(SOFTWARE)


@lru_cache(maxsize=1)
def probe_egl() -> EglProbe:
    """Draw a triangle in a child process; asked once a process, the answer is kept."""
    command = [sys.executable, "-m", "avi_lib.face.egl_probe"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return EglProbe(False, f"a test picture took more than {PROBE_S:g} s")
    if child.returncode < 0:
        return EglProbe(False, f"the driver ended the process with signal {-child.returncode}")
    lines = (child.stdout if child.returncode == 0 else child.stderr).strip().splitlines()
    return EglProbe(child.returncode == 0, lines[-1] if lines else f"exit status {child.returncode}")


def draw_triangle() -> str:
    """Cover half of a small picture and look at it; the device's name. Raises RuntimeError saying what is wrong."""
    import moderngl

    try:
        context = moderngl.create_context(standalone=True, backend="egl", require=330)  # type: ignore[arg-type]
    except Exception as error:  # moderngl's EGL backend raises plain Exception for every failure to open a context
        raise RuntimeError(str(error)) from error
    with context:
        program = context.program(
            vertex_shader="#version 330\nin vec2 at; void main() { gl_Position = vec4(at, 0.0, 1.0); }",
            fragment_shader="#version 330\nout vec4 shown; void main() { shown = vec4(1.0, 0.5, 0.0, 1.0); }",
        )
        corners = context.buffer(struct.pack("6f", -1.0, -1.0, 1.0, -1.0, -1.0, 1.0))
        target = context.simple_framebuffer((SIDE, SIDE), components=4)
        target.use()
        target.clear(0.0, 0.0, 0.0, 0.0)
        context.simple_vertex_array(program, corners, "at").render()
        seen = target.read(components=4)
        name = str(context.info["GL_RENDERER"])
    inside, outside = seen[4 * (SIDE + 1) :][:4], seen[4 * (SIDE * SIDE - SIDE - 2) :][:4]
    if (inside[0], inside[3]) != (255, 255) or abs(inside[1] - 128) > 1 or any(outside):
        raise RuntimeError(f"{name} drew a test triangle wrongly")
    return name


def main() -> int:
    """Print the device's name and return 0, or say on stderr what is wrong and return 1."""
    try:
        print(draw_triangle())
    except (ImportError, RuntimeError) as error:
        print(str(error).replace("\n", " ") or type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
