"""Folders of OBJ files made from the open head, as a stranger's head would come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT


def write_obj(path: Path, head: Head, vertices: np.ndarray, library: str = "") -> Path:
    """Vertices of a head as one OBJ of welded points with texture places."""
    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    corners = 1 + np.stack([point[head.triangles], head.triangles], axis=2)
    lines = [f"mtllib {library}", "usemtl face"] if library else []
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices[first].astype(np.float64)]
    lines += [f"vt {u:.6f} {1.0 - v:.6f}" for u, v in head.uv.astype(np.float64)]
    lines += ["f " + " ".join(f"{p}/{t}" for p, t in row) for row in corners]
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
