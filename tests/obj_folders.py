"""Folders of OBJ files made from the open head, as a stranger's head would come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

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


COLOURS = {"Face": "0.6 0.6 0.6", "GumsTongue": ".30 .03 .06", "Teeth": "0.8 0.8 0.8", "Sclera": "0.6 0.6 0.6"}
COLOURS |= {"Iris": "0.2 0.2 0.2", "EyeOcclusion": "0.5 0.5 0.5"}


def write_strangers_folder(folder: Path, head: Head, channels: Iterable[str]) -> Path:
    """As scanned heads come: in centimetres, coloured by its .mtl, shells over the eyes, both-sided shapes halved."""
    folder.mkdir()
    named = np.array(["M_Face", "M_Face", "M_Sclera", "M_Teeth", "M_GumsTongue", "M_Face", "M_Face"])[head.material]
    front = head.vertices[head.triangles].mean(axis=1)[:, 2] > head.eye_centres[:, 2].mean() + 0.0148
    named[(named == "M_Sclera") & front] = "M_Iris"
    members, shell = np.unique(head.triangles[named == "M_Iris"], return_inverse=True)
    shelled = SimpleNamespace(
        vertices=np.concatenate([head.vertices, head.vertices[members] + np.float32([0.0, 0.0, 0.0005])]),
        triangles=np.concatenate([head.triangles, len(head.vertices) + shell.reshape(-1, 3)]),
        uv=np.concatenate([head.uv, head.uv[members]]),
        weld=np.concatenate([head.weld, head.weld.max() + 1 + np.arange(len(members))]),
        shapes=np.pad(head.shapes, ((0, 0), (0, len(members)), (0, 0))),
    )
    named = np.append(named, ["M_EyeOcclusion"] * (len(shell.ravel()) // 3))
    (folder / "head.mtl").write_text("".join(f"newmtl M_{name}\nKd {rgb}\n" for name, rgb in COLOURS.items()))

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
