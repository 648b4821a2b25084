"""The peer renderer: pyrender on the same mesh, frame by frame, in turns with ours.

    make peer                                      # puts pyrender beside the environment, into .tools/pyrender
    python -m avi_lib.evaluation.peer_render       # the figures
    python -m avi_lib.evaluation.peer_render --look peer.png

pyrender (0.1.45, 2021) draws through EGL in a process of its own, as it needs an older PyOpenGL. It is given what a
talking face needs: moved vertices with smooth normals, texture, two lights.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.face.camera import PORTRAIT
from avi_lib.face.head import load_head
from avi_lib.face.normals import vertex_normals
from avi_lib.face.renderer import Renderer
from avi_lib.face.view import View
from avi_lib.motion.space import ARKIT

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".tools" / "pyrender"
MISSING = "pyrender is not installed: `make peer` puts it beside the environment"
FRAMES, TURNS, SIDE = 50, 7, 512


def measure_peer_render() -> Iterator[Figure]:
    """How many times faster than pyrender the renderer draws the same frames of the same mesh."""
    if not PLACE.is_dir():
        print(f"left out: {MISSING}", file=sys.stderr)
        return
    head = load_head()
    values = np.random.default_rng(0).uniform(0.0, 0.3, (FRAMES, len(ARKIT))).astype(np.float32)
    frames = head.deform(values)
    with tempfile.TemporaryDirectory() as folder, Renderer(head, View.square(SIDE)) as renderer:
        stored = Path(folder) / "mesh.npz"
        np.savez(stored, frames=frames, triangles=head.triangles, uv=head.uv, weld=head.weld, atlas=head.atlas)
        peer_s, our_s = _in_turns(stored, renderer, list(frames))
    ratios = sorted(theirs / ours for theirs, ours in zip(peer_s, our_s, strict=True))
    peer = f"pyrender {FRAMES / statistics.median(peer_s):.0f} fps, ours {FRAMES / statistics.median(our_s):.0f}"
    how = f"same mesh, {SIDE} x {SIDE}, in turns, {peer}; ratio {ratios[0]:.1f} to {ratios[-1]:.1f}"
    yield Figure("faster than pyrender", statistics.median(ratios), "x", ">= 3", how)


def _in_turns(stored: Path, renderer: Renderer, frames: list[np.ndarray]) -> tuple[list[float], list[float]]:
    """Wall seconds of all frames by pyrender and by ours, one after the other; a first turn warms up."""
    peer_s, our_s = [], []
    with _start(stored) as peer:
        assert peer.stdin is not None and peer.stdout is not None
        for _turn in range(TURNS + 1):
            peer_s.append(_ask(peer.stdin, peer.stdout))
            begun = time.perf_counter()
            for vertices in frames:
                renderer.draw(vertices)
            our_s.append(time.perf_counter() - begun)
        peer.stdin.close()
    return peer_s[1:], our_s[1:]


def _start(stored: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(PLACE), str(ROOT))), "PYOPENGL_PLATFORM": "egl"}
    command = [sys.executable, "-m", "avi_lib.evaluation.peer_render", "--serve", str(stored), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _ask(stdin: IO[str], stdout: IO[str]) -> float:
    stdin.write("draw\n")
    stdin.flush()
    return float(stdout.readline())


def _serve(stored: Path) -> None:
    """Draw all frames whenever a line comes, and answer with the seconds it took."""
    with np.load(stored, allow_pickle=False) as archive:
        mesh = dict(archive)
    peer = _Peer(mesh)
    for _line in sys.stdin:
        begun = time.perf_counter()
        for vertices in mesh["frames"]:
            peer.draw(vertices)
        print(time.perf_counter() - begun, flush=True)


class _Peer:
    """pyrender's scene of a textured mesh."""

    def __init__(self, mesh: dict[str, np.ndarray]) -> None:
        import pyrender
        from PIL import Image

        self._pyrender, self._mesh = pyrender, mesh
        texture = pyrender.Texture(source=Image.fromarray(mesh["atlas"]), source_channels="RGB")
        self._material = pyrender.MetallicRoughnessMaterial(
            baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=0.6
        )
        self._scene = pyrender.Scene(ambient_light=(0.35, 0.35, 0.35), bg_color=(96, 104, 115, 255))
        camera = pyrender.PerspectiveCamera(np.radians(PORTRAIT.fov_deg), aspectRatio=1.0)
        pose = np.eye(4)
        pose[:3, 3] = PORTRAIT.position
        self._scene.add(camera, pose=pose)
        for direction, strength in (((-0.5, 0.55, 0.75), 3.0), ((0.75, 0.05, 0.6), 1.0)):
            self._scene.add(pyrender.DirectionalLight(intensity=strength), pose=_towards(np.array(direction)))
        self._renderer = pyrender.OffscreenRenderer(SIDE, SIDE)

    def draw(self, vertices: np.ndarray) -> Any:
        mesh = self._mesh
        normals = vertex_normals(vertices, mesh["triangles"], mesh["weld"])
        uv = np.column_stack([mesh["uv"][:, 0], 1.0 - mesh["uv"][:, 1]])
        primitive = self._pyrender.Primitive(
            positions=vertices, normals=normals, texcoord_0=uv, indices=mesh["triangles"], material=self._material
        )
        node = self._scene.add(self._pyrender.Mesh([primitive]))
        picture, _depth = self._renderer.render(self._scene)
        self._scene.remove_node(node)
        return picture


def _towards(direction: np.ndarray) -> np.ndarray:
    """A pose whose back looks towards a direction, as a light's does."""
    back = direction / np.linalg.norm(direction)
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(back, right), back])
    return pose


def _look(path: Path) -> None:
    """Write one picture that pyrender draws of the head at rest."""
    from avi_lib.face.sheet import save_picture

    head = load_head()
    mesh = {"triangles": head.triangles, "uv": head.uv, "weld": head.weld, "atlas": head.atlas}
    save_picture(np.array(_Peer(mesh).draw(head.vertices)), path)


def main() -> None:
    """Print the figures; --serve and --look are what the process with pyrender does."""
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--look"]:
        sys.path.insert(0, str(PLACE))
        os.environ["PYOPENGL_PLATFORM"] = "egl"
        _look(Path(sys.argv[2]))
    else:
        print(f"{os.cpu_count()} cores\n\n{markdown(list(measure_peer_render()))}")


if __name__ == "__main__":
    main()
