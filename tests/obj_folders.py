"""Folders of OBJ files made from the open head, as a stranger's head would come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from avi_lib.face.head import Head
from avi_lib.heads.obj import ObjMesh, write_obj
from avi_lib.motion.clip import ARKIT


def obj_mesh(head: Head, vertices: np.ndarray, unit: float = 1.0, library: str = "") -> ObjMesh:
    """A head's vertices as a mesh of welded points with texture places."""
    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    return ObjMesh(
        points=unit * vertices[first].astype(np.float64),
        uv=np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1).astype(np.float64),
        corners=np.stack([point[head.triangles], head.triangles], axis=2).astype(np.int32),
        material=np.ones(len(head.triangles), np.int32) if library else np.zeros(len(head.triangles), np.int32),
        materials=("", "face") if library else ("",),
        libraries=(library,) if library else (),
    )


def write_folder(folder: Path, head: Head, channels: Iterable[str], unit: float = 1.0, textured: bool = True) -> Path:
    """A neutral, one OBJ a channel at full weight, and the texture with its .mtl."""
    folder.mkdir()
    library = "face.mtl" if textured else ""
    if textured:
        (folder / library).write_text("newmtl face\nKd 1 1 1\nmap_Kd skin texture.png\n")
        Image.fromarray(head.atlas).save(folder / "skin texture.png", compress_level=1)
    write_obj(folder / "neutral.obj", obj_mesh(head, head.vertices, unit, library))
    for channel in channels:
        moved = head.vertices + head.shapes[ARKIT.index(channel)]
        write_obj(folder / f"{channel}.obj", obj_mesh(head, moved, unit, library))
    return folder
