"""What a renderer needs to know of a mesh, whichever head it comes from.

>>> check_mesh(head)  # raises InputError when an array does not fit the others
>>> check_head(head)  # the same of a head with blendshapes and joints
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from avi_lib.errors import InputError
from avi_lib.face.shading import MATERIAL_NAMES
from avi_lib.motion.space import ARKIT_BLENDSHAPES


@runtime_checkable
class RenderMesh(Protocol):
    """A textured triangle mesh, its render vertices split at texture seams."""

    @property
    def vertices(self) -> Float32[np.ndarray, "V 3"]:
        """Positions at rest in metres, y up, facing +z."""
        ...

    @property
    def triangles(self) -> Int32[np.ndarray, "T 3"]:
        """Vertex numbers, counter-clockwise seen from outside."""
        ...

    @property
    def uv(self) -> Float32[np.ndarray, "V 2"]:
        """Places in the atlas, 0-1, v growing downwards as the atlas rows do."""
        ...

    @property
    def weld(self) -> Int32[np.ndarray, " V"]:
        """The geometric point each vertex belongs to; vertices of one point share a normal."""
        ...

    @property
    def material(self) -> UInt8[np.ndarray, " T"]:
        """Each triangle's place in `shading.MATERIALS`."""
        ...

    @property
    def occlusion(self) -> Float32[np.ndarray, " V"]:
        """Ambient occlusion, 1 = open, 0 = no light gets there."""
        ...

    @property
    def atlas(self) -> UInt8[np.ndarray, "H W 3"]:
        """One sRGB texture."""
        ...


@runtime_checkable
class ShapedMesh(RenderMesh, Protocol):
    """A mesh that blendshapes, a neck and two eyeballs move."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...

    @property
    def shapes(self) -> Float32[np.ndarray, "52 V 3"]:
        """Displacements in metres of each blendshape at full weight."""
        ...

    @property
    def head_weight(self) -> Float32[np.ndarray, " V"]:
        """How much of the head's rotation each vertex takes, 0-1."""
        ...

    @property
    def pivot(self) -> Float32[np.ndarray, " 3"]:
        """Where the neck bends."""
        ...

    @property
    def eyeballs(self) -> tuple[Int32[np.ndarray, " left"], Int32[np.ndarray, " right"]]:
        """Vertex numbers of the left and the right eyeball."""
        ...

    @property
    def eye_centres(self) -> Float32[np.ndarray, "2 3"]:
        """Middles of the left and the right eyeball."""
        ...


def check_mesh(mesh: RenderMesh) -> None:
    """Raise InputError when the arrays of `mesh` do not fit together or a number in them is not finite."""
    count, triangles = len(mesh.vertices), len(mesh.triangles)
    shapes = {
        "vertices": (mesh.vertices.shape, (count, 3)),
        "triangles": (mesh.triangles.shape, (triangles, 3)),
        "uv": (mesh.uv.shape, (count, 2)),
        "weld": (mesh.weld.shape, (count,)),
        "material": (mesh.material.shape, (triangles,)),
        "occlusion": (mesh.occlusion.shape, (count,)),
        "atlas": (mesh.atlas.shape, (*mesh.atlas.shape[:2], 3)),
    }
    _check_shapes(shapes)
    if mesh.triangles.min() < 0 or mesh.triangles.max() >= count:
        raise InputError(
            f"triangles that name vertices 0-{count - 1}", str(mesh.triangles.max()), "check the head's file"
        )
    if mesh.weld.min() < 0 or mesh.weld.max() >= count:
        raise InputError(f"weld numbers 0-{count - 1}", str(mesh.weld.max()), "check the head's file")
    if mesh.material.max() >= len(MATERIAL_NAMES):
        raise InputError(f"materials 0-{len(MATERIAL_NAMES) - 1}", str(mesh.material.max()), "check the head's file")
    _check_finite(mesh, ("vertices", "uv", "occlusion"))


def check_head(head: ShapedMesh) -> None:
    """Raise InputError unless all that moves `head` fits its mesh and is finite, for whatever writes or plays it."""
    check_mesh(head)
    count = len(head.vertices)
    shapes = {
        "shapes": (head.shapes.shape, (len(ARKIT_BLENDSHAPES), count, 3)),
        "head_weight": (head.head_weight.shape, (count,)),
        "pivot": (head.pivot.shape, (3,)),
        "eye_centres": (head.eye_centres.shape, (2, 3)),
    }
    _check_shapes(shapes)
    balls = np.concatenate(head.eyeballs)
    if len(balls) and not 0 <= balls.min() <= balls.max() < count:
        got = f"{balls.min()} to {balls.max()}"
        raise InputError(f"eyeballs of vertices 0-{count - 1}", got, "check the head's file")
    _check_finite(head, ("shapes", "head_weight", "pivot", "eye_centres"))


def check_eyes_turn_with_head(head: ShapedMesh) -> None:
    """Raise InputError unless the eyeballs take the whole turn of the head, as joints below the head's do."""
    balls = np.concatenate(head.eyeballs)
    if len(balls) and (head.head_weight[balls] != 1.0).any():
        raise InputError("eyeballs that turn wholly with the head", "head weights below 1", "set them to 1")


def _check_shapes(shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    for name, (got, expected) in shapes.items():
        if got != expected or 0 in got:
            raise InputError(f"mesh {name} of shape {expected}, not empty", str(got), "check the head's file")


def _check_finite(mesh: RenderMesh, names: tuple[str, ...]) -> None:
    for name in names:
        if not np.isfinite(getattr(mesh, name)).all():
            called = getattr(mesh, "name", "mesh")
            raise InputError(f"finite {name} of the head {called}", "NaN or infinity", "bake or export it again")


def check_vertices(vertices: Float32[np.ndarray, "V 3"], count: int) -> Float32[np.ndarray, "V 3"]:
    """The vertices as contiguous float32; InputError unless they are `count` finite points."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    if vertices.shape != (count, 3):
        raise InputError(f"vertices of shape ({count}, 3)", str(vertices.shape), "pass one frame of this mesh")
    if not np.isfinite(vertices).all():
        raise InputError("finite vertices", "NaN or infinity", "check the motion that moved them")
    return vertices
