"""The peer renderer: pyrender (0.1.45, 2021) on the same mesh, frame by frame.

It draws through EGL in a process of its own, as it needs an older PyOpenGL; `make peer` puts it beside the environment,
into .tools/pyrender. It is given what a talking face needs: moved vertices with smooth normals, texture, two lights.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from avi_lib.face.camera import PORTRAIT
from avi_lib.face.head import RenderMesh
from avi_lib.face.surface import vertex_normals
from tools.benchmarks.measuring import ROOT

PLACE = ROOT / ".tools" / "pyrender"
MISSING = "it is not installed: `make peer` puts it beside the environment"
SIDE = 512


def start(stored: Path, head: RenderMesh, frames: list[np.ndarray]) -> subprocess.Popen[str]:
    """A process that draws these frames of the head's mesh whenever it is asked; the mesh is kept in `stored`."""
    mesh = {"triangles": head.triangles, "uv": head.uv, "weld": head.weld, "atlas": head.atlas}
    np.savez(stored, frames=np.stack(frames), **mesh)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(PLACE), str(ROOT))), "PYOPENGL_PLATFORM": "egl"}
    command = [sys.executable, "-m", "tools.benchmarks.peer_render", str(stored)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(peer: subprocess.Popen[str]) -> float:
    """Have all frames drawn; the seconds it took there."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write("draw\n")
    peer.stdin.flush()
    return float(peer.stdout.readline())


def stop(peer: subprocess.Popen[str]) -> None:
    """End the process."""
    peer.communicate()


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


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
