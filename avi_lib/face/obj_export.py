"""A motion as a sequence of OBJ files, one a frame, for tools that read nothing else.

In: a head and its motion. Out: a folder with `frame_000000.obj`, `frame_000001.obj`, ..., `head.mtl` and `head.png`.

>>> write_obj_sequence(load_head(), motion, Path("talk_obj"))

Points are metres with DECIMALS decimals, one `v` a welded point and one `vt` a render vertex, so that seams of the
texture do not open the surface. What the files share, places in the texture and faces, is put into text once. OBJ
knows no frame rate: `head.mtl` tells it in a comment.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from PIL import Image

from avi_lib.errors import InputError, OutputError
from avi_lib.face.driven import DrivenHead
from avi_lib.face.kernel import kernel
from avi_lib.face.mesh import ShapedMesh, check_head, check_mesh
from avi_lib.face.obj_files import face_lines, number_lines
from avi_lib.files import atomic_folder
from avi_lib.motion.clip import MotionClip

DECIMALS = 5
"""Of a coordinate in metres: hundredths of a millimetre."""
UV_DECIMALS = 5
MATERIAL, LIBRARY, TEXTURE = "head", "head.mtl", "head.png"
FRAMES_AT_ONCE = 8
MOST_METRES = 9.99
"""Coordinates that a line has room for."""
NUMBER_BYTES = 4 + DECIMALS
LINE_BYTES = 2 + 3 * NUMBER_BYTES

_STEPS = 10**DECIMALS


def write_obj_sequence(head: DrivenHead, motion: MotionClip, folder: Path) -> None:
    """Write one OBJ a frame into `folder`, which must not exist and appears whole or not at all.

    Frames are made and written a few at a time, so memory does not grow with length. Raises InputError for a motion
    that the head cannot follow or a folder that exists, OutputError where there is no room or permission.
    """
    folder = Path(folder)
    if isinstance(head, ShapedMesh):
        check_head(head)
    else:
        check_mesh(head)
    if folder.exists():
        raise InputError("a folder that does not exist yet", str(folder), "remove it or choose another name")
    if not folder.parent.is_dir():
        raise OutputError("an existing folder to write into", str(folder.parent), "create it or choose another place")
    frames = _Frames.of(head)
    need = len(motion) * frames.file_bytes
    if shutil.disk_usage(folder.parent).free < need:
        got = f"less beside {folder}"
        raise OutputError(f"{need / 1e9:.1f} GB of room for {len(motion)} files", got, "free space or shorten the clip")
    try:
        with atomic_folder(folder) as room:
            _write_material(head, motion.fps, room)
            starts = range(0, len(motion), FRAMES_AT_ONCE)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in pool.map(partial(frames.write, motion, room), starts):
                    pass
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError(
            f"room and permission to write {folder}", got, "free space or choose another place"
        ) from error


@dataclass(frozen=True, eq=False)
class _Frames:
    """A head and the text that its files share: all before the points, and all behind them."""

    head: DrivenHead
    first: Integer[np.ndarray, " P"]
    before: bytes
    behind: bytes

    @classmethod
    def of(cls, head: DrivenHead) -> _Frames:
        _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
        corners = np.stack([point[head.triangles], head.triangles], axis=2)
        upwards = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1)
        before = f"mtllib {LIBRARY}\no head\n".encode()
        behind = number_lines("vt", upwards, UV_DECIMALS) + f"usemtl {MATERIAL}\n".encode() + face_lines(corners)
        return cls(head, first, before, behind)

    @property
    def file_bytes(self) -> int:
        """What one file takes."""
        return len(self.before) + LINE_BYTES * len(self.first) + len(self.behind)

    def write(self, motion: MotionClip, folder: Path, start: int) -> None:
        numbers = range(start, min(start + FRAMES_AT_ONCE, len(motion)))
        lines = np.empty((len(self.first), LINE_BYTES), np.uint8)
        for number, vertices in zip(numbers, self.head.move(motion.at(numbers)), strict=True):
            points = vertices[self.first]
            if not np.abs(points).max() < MOST_METRES:
                raise InputError(f"points within {MOST_METRES:g} m", f"others in frame {number}", "check the motion")
            _point_lines(points, lines)
            with (folder / f"frame_{number:06d}.obj").open("xb") as stream:
                stream.writelines((self.before, lines.data, self.behind))


def _write_material(head: DrivenHead, fps: float, folder: Path) -> None:
    (folder / LIBRARY).write_text(f"# {fps:g} frames a second\nnewmtl {MATERIAL}\nKd 1 1 1\nmap_Kd {TEXTURE}\n")
    Image.fromarray(head.atlas).save(folder / TEXTURE, compress_level=1)


@kernel
def _point_lines(points: Float32[np.ndarray, "P 3"], lines: UInt8[np.ndarray, "P bytes"]) -> None:
    """Put `v x y z` into `lines`, all of one width, so that no line waits for the length of another."""
    ten, ascii_zero = np.uint32(10), np.uint32(48)
    for i in range(points.shape[0]):
        line = lines[i]
        line[0], line[LINE_BYTES - 1] = 118, 10  # v, line feed
        for axis in range(3):
            value = points[i, axis]
            start = 1 + NUMBER_BYTES * axis
            line[start] = 32  # space
            line[start + 1] = 45 if value < 0 else 32  # minus
            rest = np.uint32(np.abs(value) * np.float32(_STEPS) + np.float32(0.5))
            for digit in range(DECIMALS):
                left = rest // ten
                line[start + NUMBER_BYTES - 1 - digit] = ascii_zero + (rest - left * ten)
                rest = left
            line[start + 3] = 46  # point
            line[start + 2] = ascii_zero + rest
