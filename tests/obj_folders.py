"""Folders of OBJ files made from the open head, as a stranger's head would come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT


def write_obj(
    path: Path, head: Any, vertices: np.ndarray, library: str = "", materials: np.ndarray | str = "face"
) -> Path:
    """Vertices of a head as one OBJ of welded points with texture places, its triangles by material."""
    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    corners = 1 + np.stack([point[head.triangles], head.triangles], axis=2)
    lines = [f"mtllib {library}"] if library else []
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices[first].astype(np.float64)]
    lines += [f"vt {u:.6f} {1.0 - v:.6f}" for u, v in head.uv.astype(np.float64)]
    named = np.broadcast_to(materials, len(corners))
    for name in dict.fromkeys(named.tolist()):
        lines += [f"usemtl {name}"] if library else []
        lines += ["f " + " ".join(f"{p}/{t}" for p, t in row) for row in corners[named == name]]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_folder(folder: Path, head: Head, channels: Iterable[str], unit: float = 1.0, textured: bool = True) -> Path:
    """A neutral, one OBJ a channel at full weight, and the texture with its .mtl."""
    folder.mkdir()
    library = "face.mtl" if textured else ""
    if textured:
        (folder / library).write_text("newmtl face\nKd 1 1 1\nmap_Kd skin texture.png\n")
        Image.fromarray(head.atlas).save(folder / "skin texture.png", compress_level=1)
    write_obj(folder / "neutral.obj", head, unit * head.vertices, library)
    for channel in channels:
        moved = head.vertices + head.shapes[ARKIT.index(channel)]
        write_obj(folder / f"{channel}.obj", head, unit * moved, library)
    return folder


STRANGERS_COLOURS = {
    **{"M_Face": "0.60 0.60 0.60", "M_GumsTongue": "0.30 0.03 0.06", "M_Teeth": "0.80 0.80 0.80"},
    **{"M_ScleraLeft": "0.60 0.60 0.60", "M_IrisLeft": "0.20 0.20 0.20", "M_EyeOcclusion": "0.50 0.50 0.50"},
}


def write_strangers_folder(folder: Path, head: Head, channels: Iterable[str]) -> Path:
    """As scanned heads come: in centimetres, coloured by its .mtl, shells over the eyes, both-sided shapes halved."""
    folder.mkdir()
    balls = np.isin(head.triangles, np.concatenate(head.eyeballs)).all(axis=1)
    front = head.vertices[head.triangles].mean(axis=1) - head.eye_centres[:, None]
    radius = np.linalg.norm(front, axis=2).min(axis=0)
    iris = balls & (front[0, :, 2] > 0.88 * radius)
    named = np.array(["M_Face", "M_Face", "M_ScleraLeft", "M_Teeth", "M_GumsTongue", "M_Face", "M_Face"])[head.material]
    assert MATERIAL_NAMES[2:5] == ("eye", "teeth", "tongue")
    named[iris] = "M_IrisLeft"
    shells, count = head.triangles[balls & (front[0, :, 2] > 0.0)], len(head.vertices)
    members, shell = np.unique(shells, return_inverse=True)
    nearest = np.linalg.norm(head.vertices[members] - head.eye_centres[:, None], axis=2).argmin(axis=0)
    over = head.eye_centres[nearest] + 1.03 * (head.vertices[members] - head.eye_centres[nearest])
    shelled = SimpleNamespace(
        vertices=np.concatenate([head.vertices, over]),
        triangles=np.concatenate([head.triangles, count + shell.reshape(-1, 3)]),
        uv=np.concatenate([head.uv, head.uv[members]]),
        weld=np.concatenate([head.weld, head.weld.max() + 1 + np.arange(len(members))]),
        shapes=np.pad(head.shapes, ((0, 0), (0, len(members)), (0, 0))),
    )
    named = np.append(named, ["M_EyeOcclusion"] * len(shells))
    (folder / "head.mtl").write_text("".join(f"newmtl {name}\nKd {rgb}\n" for name, rgb in STRANGERS_COLOURS.items()))

    def write(name: str, moved: np.ndarray | float) -> None:
        write_obj(folder / f"{name}.obj", shelled, 100.0 * (shelled.vertices + moved), "head.mtl", named)

    write("generic_neutral_mesh", 0.0)
    for channel in channels:
        moved = shelled.shapes[ARKIT.index(channel)]
        if channel in ("browInnerUp", "cheekPuff"):
            left = np.clip(0.5 + shelled.vertices[:, :1] / 0.01, 0.0, 1.0)
            write(f"{channel}_L", left * moved)
            write(f"{channel}_R", (1.0 - left) * moved)
        else:
            write(channel.replace("Left", "_L").replace("Right", "_R") if channel[:3] != "jaw" else channel, moved)
    write("PupilDilate_L", 0.0)
    return folder
