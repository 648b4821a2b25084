"""A piece of the head whose points follow the MakeHuman body: skin, shirt, hair, lashes, eyes, teeth, tongue.

In: triangles with texture coordinates, and for each point the mix of body vertices that carries it. Out: `Part`, which
can be cut along the zero line of any smooth field, so that necklines, hairlines and the bust's edge are clean curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse

SKIN, LIPS, EYE, TEETH, TONGUE, HAIR, CLOTH = range(7)


@dataclass
class Part:
    """Points (P, 3) in metres at rest; render vertices (V) split at uv seams name their point in `weld`.

    `binding` (P, N) mixes the displacements of the N body vertices into those of the points.
    `uv` (V, 2) lies in the atlas, 0-1, rows growing downwards; `material` (T,) indexes the material table.
    """

    points: Float64[np.ndarray, "P 3"]
    binding: sparse.csr_matrix
    weld: Int64[np.ndarray, " V"]
    uv: Float64[np.ndarray, "V 2"]
    triangles: Int64[np.ndarray, "T 3"]
    material: Int64[np.ndarray, " T"]

    def cut(self, field: Float64[np.ndarray, " P"]) -> Part:
        """The side where `field` is positive; triangles across the zero line are split on it."""
        inside = field > 0.0
        corner_inside = inside[self.weld[self.triangles]]
        whole = corner_inside.all(axis=1)
        crossing = np.flatnonzero(corner_inside.any(axis=1) & ~whole)
        weld, uv = list(self.weld), list(self.uv)
        new_points: dict[tuple[int, int], int] = {}
        new_vertices: dict[tuple[int, int], int] = {}
        mixes: list[tuple[int, int, float]] = []

        def split(a: int, b: int) -> int:
            edge = (min(a, b), max(a, b))
            if edge in new_vertices:
                return new_vertices[edge]
            p, q = sorted((int(self.weld[a]), int(self.weld[b])))
            share = field[p] / (field[p] - field[q])
            if (p, q) not in new_points:
                new_points[p, q] = len(field) + len(mixes)
                mixes.append((p, q, share))
            towards_b = share if self.weld[a] == p else 1.0 - share
            new_vertices[edge] = len(weld)
            weld.append(new_points[p, q])
            uv.append(self.uv[a] * (1.0 - towards_b) + self.uv[b] * towards_b)
            return new_vertices[edge]

        triangles = [tuple(t) for t in self.triangles[whole]]
        material = list(self.material[whole])
        for t in crossing:
            first = int(np.flatnonzero(corner_inside[t] != np.roll(corner_inside[t], 1))[0])
            polygon: list[int] = []
            for i in range(3):
                a, b = self.triangles[t, (first + i) % 3], self.triangles[t, (first + i + 1) % 3]
                if inside[self.weld[a]]:
                    polygon.append(int(a))
                if inside[self.weld[a]] != inside[self.weld[b]]:
                    polygon.append(split(int(a), int(b)))
            for second, third in pairwise(polygon[1:]):
                triangles.append((polygon[0], second, third))
                material.append(self.material[t])
        mixer = sparse.identity(len(field), format="csr")
        if mixes:
            p, q, shares = np.array(mixes).T
            rows, pairs = np.arange(len(mixes)), np.r_[p, q].astype(int)
            new = sparse.csr_matrix((np.r_[1.0 - shares, shares], (np.r_[rows, rows], pairs)), (len(mixes), len(field)))
            mixer = sparse.vstack([mixer, new]).tocsr()
        return Part(
            mixer @ self.points,
            sparse.csr_matrix(mixer @ self.binding),
            np.array(weld),
            np.array(uv),
            np.array(triangles),
            np.array(material),
        ).compact()

    def keep(self, triangles: np.ndarray) -> Part:
        """Only the triangles selected by the mask or the indices given."""
        return Part(
            self.points, self.binding, self.weld, self.uv, self.triangles[triangles], self.material[triangles]
        ).compact()

    def compact(self) -> Part:
        """The same part without unused vertices and points."""
        used = np.unique(self.triangles)
        place = np.full(len(self.weld), -1)
        place[used] = np.arange(len(used))
        points, weld = np.unique(self.weld[used], return_inverse=True)
        return Part(
            self.points[points], self.binding[points], weld, self.uv[used], place[self.triangles], self.material
        )

    def point_triangles(self) -> Int64[np.ndarray, "T 3"]:
        """Triangles as indices of points instead of render vertices."""
        return self.weld[self.triangles]

    def normals(self) -> Float64[np.ndarray, "P 3"]:
        """Area-weighted unit normals of the points."""
        return point_normals(self.points, self.point_triangles())

    def boundary_loops(self) -> list[list[int]]:
        """Closed loops of points along the open edges, longest first."""
        edges: dict[int, int] = {}
        triangles = self.point_triangles()
        directed = {(int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)}
        for a, b in sorted(directed):
            if (b, a) not in directed:
                edges[a] = b
        loops = []
        while edges:
            start = min(edges)
            loop = [start]
            step = edges.pop(start)
            while step != start and step in edges:
                loop.append(step)
                step = edges.pop(step)
            loops.append(loop)
        return sorted(loops, key=len, reverse=True)


def point_normals(
    points: Float64[np.ndarray, "P 3"], triangles: Int64[np.ndarray, "T 3"]
) -> Float64[np.ndarray, "P 3"]:
    """Area-weighted unit normals; zero for points of no triangle."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def smoothstep(x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth cubic between; `low` may exceed `high`."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
