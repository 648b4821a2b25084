"""The open head: a textured bust with the 52 ARKit blendshapes, identity sliders, eyes that turn and a neck that bends.

>>> head = load_head()                                  # the shipped head; or a path to another baked one
>>> older = head.with_identity({"old": 0.6, "noseWidth": -0.5})
>>> vertices = head.deform(motion.values)               # (frames, V, 3) float32, metres
>>> gap_m = head.lip_gap(motion.values)                 # (frames,) inner-lip gap at the mouth's middle

Coordinates: metres, y up, +z towards the viewer, x to the person's left, origin midway between the eyes.

Blendshapes are linear except for the gaze: a straight displacement would shrink an eyeball that turns, so `deform`
turns the eyeballs rigidly about their centres by up to GAZE_YAW_RAD sideways and GAZE_PITCH_RAD up or down. `shapes`
holds the same turn at full weight as a displacement, for losses and exports that need linear shapes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, UInt8
from PIL import Image

from avi_lib.errors import AssetError, AviError, InputError
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, UNREADABLE, MotionClip, read_array, read_header

# The fields of a baked head, read from an .npz that may be anyone's and checked before they are used.


FORMAT = 1
REGIONS = ("lips", "upper_lip_inner", "lower_lip_inner", "eyes", "upper_face", "face")
REBAKE = "bake it again with python -m tools.assets.bake_head"
MAX_SIDE = 8192
"""Pixels a side of the largest atlas."""
REACH_M = 10.0
"""No point of a head in metres lies further from the origin along an axis, and none is moved further."""

_MOST = {"vertices": 200_000, "points": 200_000, "triangles": 400_000, "moves": 10_000_000, "bytes": 16 << 20}
_MOST |= {"sliders": 100, "slider starts": 101, "members": 200_000}
"""Largest sizes by name; 152 shapes of so many points take 365 MB."""
_MAY_BE_EMPTY = ("moves", "sliders")
_MOST_NAME = 80

_SHAPES = len(ARKIT_BLENDSHAPES)
_FIELDS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "weld": ("iu", ("vertices",)),
    "points": ("f", ("points", 3)),
    "shape_names": ("U", (_SHAPES,)),
    "shape_starts": ("iu", (_SHAPES + 1,)),
    "shape_points": ("iu", ("shape moves",)),
    "shape_steps": ("iu", ("shape moves", 3)),
    "shape_step_m": ("f", ()),
    "identity_names": ("U", ("sliders",)),
    "identity_starts": ("iu", ("slider starts",)),
    "identity_points": ("iu", ("identity moves",)),
    "identity_steps": ("iu", ("identity moves", 3)),
    "identity_step_m": ("f", ()),
    "triangles": ("iu", ("triangles", 3)),
    "uv": ("u", ("vertices", 2)),
    "material": ("u", ("triangles",)),
    "occlusion": ("u", ("vertices",)),
    "head_weight": ("u", ("vertices",)),
    "pivot": ("f", (3,)),
    "eyeball_bounds": ("iu", (2, 2)),
    "eye_centres": ("f", (2, 3)),
    "atlas": ("u", ("bytes",)),
    **{f"region_{region}": ("iu", (f"{region} members",)) for region in REGIONS},
}
"""Letters of numpy's types and the shape of each field; one name of a size is one size throughout."""
_LARGEST = {"uv": 65535, "head_weight": 65535, "occlusion": 255, "material": 255, "atlas": 255}
"""Of the fractions of 1, and of bytes."""


def read_head_file(path: Path, refused: type[AviError]) -> dict[str, np.ndarray]:
    """The fields of a baked head: lengths as float32, the rest as it is kept.

    No array is made before its size is known to be within limits, and none is unpickled. Raises `refused`, in one
    line, for a file that is no archive, of another format, or whose fields do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            opened = partial(archive.open, "format.npy")
            version = read_array(opened, "format", "iufU", 64) if "format" in names else "none"
            if not np.array_equal(version, FORMAT):
                raise refused(f"format {FORMAT} in {path}", _line(str(version)), REBAKE)
            if missing := [name for name in _FIELDS if name not in names]:
                raise refused(f"every field of a baked head in {path}", f"none of {', '.join(missing[:6])}", REBAKE)
            try:
                sizes: dict[str, int] = {}
                fields = {name: _field(archive, name, sizes) for name in _FIELDS}
                _check(fields, sizes)
            except ValueError as error:
                raise refused(f"every field of a baked head in {path}", _line(str(error)), REBAKE) from error
    except (*UNREADABLE, IndexError, OverflowError) as error:
        raise refused(f"a baked head in {path}", f"an unreadable file ({_line(str(error))})", REBAKE) from error
    return fields


def open_atlas(content: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of an atlas's bytes; ValueError for no WebP, PNG or JPEG, or sides above MAX_SIDE."""
    stream = io.BytesIO(content.tobytes())
    try:
        with warnings.catch_warnings(action="error"), Image.open(stream, formats=("WEBP", "PNG", "JPEG")) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ValueError(f"{picture.width} x {picture.height}, more than {MAX_SIDE} a side")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise ValueError(f"an atlas that is no picture ({error})") from error


def _line(text: str) -> str:
    return " ".join(text[:200].split())


def _field(archive: zipfile.ZipFile, name: str, sizes: dict[str, int]) -> np.ndarray:
    """One field, read once its header's shape is known to fit those before it."""
    kinds, expected = _FIELDS[name]
    opened = partial(archive.open, f"{name}.npy")
    shape, dtype = read_header(opened)
    _fit(name, shape, expected, sizes)
    if dtype.kind == "U" and dtype.itemsize > 4 * _MOST_NAME:
        raise ValueError(f"{name} of more than {_MOST_NAME} signs")
    array = read_array(opened, name, kinds, math.prod(shape) * dtype.itemsize)
    with np.errstate(over="ignore"):  # what is beyond measure is refused by _check
        return array.astype(np.float32) if kinds == "f" else array


def _most(size: str) -> int:
    return _MOST[size] if size in _MOST else _MOST[size.rpartition(" ")[2]]


def _check(fields: dict[str, np.ndarray], sizes: dict[str, int]) -> None:
    """Raise ValueError unless the fields, whose sizes fit, are those of one head."""
    if sizes["slider starts"] != sizes["sliders"] + 1:
        raise ValueError(f"{sizes['slider starts']} identity_starts for {sizes['sliders']} sliders")
    if tuple(fields["shape_names"].tolist()) != ARKIT_BLENDSHAPES:
        raise ValueError("the blendshapes are not ARKit's 52 in order")
    if not all(name.isprintable() for name in fields["identity_names"].tolist()):
        raise ValueError("identity_names that cannot be printed")
    vertices, points = sizes["vertices"], sizes["points"]
    _within(fields, "weld", points - 1)
    _within(fields, "triangles", vertices - 1)
    _within(fields, "eyeball_bounds", vertices)
    if (np.diff(fields["eyeball_bounds"].astype(np.int64), axis=1) < 0).any():
        raise ValueError("eyeball_bounds that fall")
    for name, largest in _LARGEST.items():
        _within(fields, name, largest)
    for region in REGIONS:
        _within(fields, f"region_{region}", vertices - 1)
    for kind in ("shape", "identity"):
        _within(fields, f"{kind}_points", points - 1)
        _check_starts(fields, kind)
    for name in ("points", "pivot", "eye_centres"):
        if not (np.abs(fields[name]) <= REACH_M).all():
            raise ValueError(f"{name} with NaN or beyond {REACH_M:g} m")


def _fit(name: str, shape: tuple[int, ...], expected: tuple[str | int, ...], sizes: dict[str, int]) -> None:
    """Raise ValueError unless a field's shape is the expected one; sizes that are met for the first time are noted."""
    fits = len(shape) == len(expected)
    for got, size in zip(shape, expected, strict=False):
        if isinstance(size, int):
            fits &= got == size
        else:
            empty_fits = size.rpartition(" ")[2] in _MAY_BE_EMPTY
            fits &= sizes.setdefault(size, got) == got and (got > 0 or empty_fits) and got <= _most(size)
    if not fits:
        wanted = ", ".join(str(sizes.get(size, size)) if isinstance(size, str) else str(size) for size in expected)
        raise ValueError(f"{name} of the shape {shape}, not ({wanted}), or larger than a head's")


def _within(fields: dict[str, np.ndarray], name: str, largest: int) -> None:
    values = fields[name]
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= largest:
        raise ValueError(f"{name} from {values.min()} to {values.max()}, not within 0 to {largest}")


def _check_starts(fields: dict[str, np.ndarray], kind: str) -> None:
    """Raise ValueError unless the shapes lie one behind the other among the moves and move within reach."""
    starts, steps, step_m = fields[f"{kind}_starts"].astype(np.int64), fields[f"{kind}_steps"], fields[f"{kind}_step_m"]
    if starts[0] != 0 or starts[-1] != len(steps) or (np.diff(starts) < 0).any():
        raise ValueError(f"{kind}_starts that do not rise from 0 to {len(steps)}")
    most = float(np.abs(steps.astype(np.float64)).max()) if steps.size else 1.0
    if not abs(float(step_m)) * most <= REACH_M:
        raise ValueError(f"{kind}_step_m of {step_m:g}, which moves points beyond {REACH_M:g} m")


# What a renderer needs to know of a mesh, whichever head it comes from.


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


HEADS = {"open": Path(__file__).resolve().parents[1] / "assets" / "head_open.npz"}
FRAMES_AT_ONCE = 8
"""Frames deformed together, so that their vertices stay in the processor's cache."""

GAZE_YAW_RAD, GAZE_PITCH_RAD = float(np.radians(32.0)), float(np.radians(26.0))
MOST_IDENTITY = 3.0
"""Largest strength of an identity slider, either way; the sliders are made for -1 to 1."""

_GAZE = np.zeros((2, 2, len(ARKIT_BLENDSHAPES)), np.float32)
"""(eye, yaw or pitch, blendshape): signs of the eyeLook weights; yaw > 0 to the person's left, pitch > 0 down."""
for _eye, (_side, _out) in enumerate((("Left", 1.0), ("Right", -1.0))):
    _GAZE[_eye, 0, ARKIT.index(f"eyeLookOut{_side}")] = _out
    _GAZE[_eye, 0, ARKIT.index(f"eyeLookIn{_side}")] = -_out
    _GAZE[_eye, 1, ARKIT.index(f"eyeLookDown{_side}")] = 1.0
    _GAZE[_eye, 1, ARKIT.index(f"eyeLookUp{_side}")] = -1.0


@dataclass(frozen=True, eq=False)
class Head:
    """A head at rest and everything that moves it.

    `weld` names the geometric point of each render vertex; `material` indexes `shading.MATERIALS`; `eyeballs` holds the
    vertex numbers of the left and the right eyeball (none where the gaze moves no ball), `eye_centres` their middles;
    `regions` are named vertex numbers; `notes` is what a person should know of it.
    """

    name: str
    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "T 3"]
    uv: Float32[np.ndarray, "V 2"]
    weld: Int32[np.ndarray, " V"]
    shapes: Float32[np.ndarray, "52 V 3"]
    identity_names: tuple[str, ...]
    identity: Float32[np.ndarray, "K V 3"]
    material: UInt8[np.ndarray, " T"]
    occlusion: Float32[np.ndarray, " V"]
    head_weight: Float32[np.ndarray, " V"]
    pivot: Float32[np.ndarray, " 3"]
    eyeballs: tuple[Int32[np.ndarray, " E"], Int32[np.ndarray, " E"]]
    eye_centres: Float32[np.ndarray, "2 3"]
    regions: dict[str, Int32[np.ndarray, " R"]]
    atlas: UInt8[np.ndarray, "H W 3"]
    notes: tuple[str, ...] = ()

    @cached_property
    def _moving(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices that blendshapes displace linearly, and their basis (52, 3 moving)."""
        moved = np.abs(self.shapes).max(axis=(0, 2)) > 0.0
        moved[np.concatenate(self.eyeballs)] = False
        moving = np.flatnonzero(moved)
        return moving, np.ascontiguousarray(self.shapes[:, moving].reshape(len(self.shapes), -1))

    @cached_property
    def _turning(self) -> int:
        """How many vertices, counted from the first, hold all that the head's rotation moves."""
        turning = np.flatnonzero(self.head_weight > 0.0)
        return int(turning[-1]) + 1 if len(turning) else 0

    @cached_property
    def _lip_gap_basis(self) -> np.ndarray:
        if not {"upper_lip_inner", "lower_lip_inner"} <= self.regions.keys():
            raise InputError("a head whose inner lips are known", self.name, "measure the lips of the open head")
        heights = [self.shapes[:, self.regions[f"{lip}_lip_inner"], 1].mean(axis=1) for lip in ("upper", "lower")]
        basis: np.ndarray = heights[0] - heights[1]
        return basis

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame of a motion; InputError unless it is in the ARKIT space."""
        if motion.space is not ARKIT:
            raise InputError("motion in the ARKIT space", f"the space {motion.space.name}", "name a FLAME head for it")
        return self.deform(motion.values)

    def deform(self, values: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame of ARKit motion: 52 weights, then head pitch, yaw and roll in radians.

        Frames are independent, so long motion can be passed in chunks. Raises InputError for another shape or for
        values that are not finite.
        """
        values = _checked(values)
        vertices = np.empty((len(values), *self.vertices.shape), np.float32)
        for first in range(0, len(values), FRAMES_AT_ONCE):
            self._deform_into(vertices[first : first + FRAMES_AT_ONCE], values[first : first + FRAMES_AT_ONCE])
        return vertices

    def _deform_into(
        self, vertices: Float32[np.ndarray, "frames V 3"], values: Float32[np.ndarray, "frames 55"]
    ) -> None:
        weights = values[:, : len(ARKIT_BLENDSHAPES)]
        vertices[:] = self.vertices
        moving, basis = self._moving
        vertices[:, moving] += (weights @ basis).reshape(len(values), len(moving), 3)
        for members, centre, turn in zip(self.eyeballs, self.eye_centres, gaze_rotations(weights), strict=True):
            vertices[:, members] = (self.vertices[members] - centre) @ turn.transpose(0, 2, 1) + centre
        bend = rotations(*values[:, len(ARKIT_BLENDSHAPES) :].T) - np.eye(3, dtype=np.float32)
        if bend.any():
            turning = vertices[:, : self._turning]
            arms = (turning - self.pivot) @ bend.transpose(0, 2, 1)
            arms *= self.head_weight[: self._turning, None]
            turning += arms

    def lip_gap(self, values: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, " frames"]:
        """Vertical distance in metres of the inner lips at the mouth's middle; 0 at rest, negative when pressed."""
        gap: np.ndarray = _checked(values)[:, : len(ARKIT_BLENDSHAPES)] @ self._lip_gap_basis
        return gap

    def with_identity(self, sliders: Mapping[str, float]) -> Head:
        """The same head with another face: slider name (see `identity_names`) to strength, about -1 to 1; 0 leaves it.

        Raises InputError for a name that is no slider, and for a strength that is not within MOST_IDENTITY.
        """
        for name, strength in sliders.items():
            if name not in self.identity_names:
                raise InputError(f"an identity slider of {', '.join(self.identity_names)}", name, "rename it")
            if not abs(strength) <= MOST_IDENTITY:
                expected = f"identity sliders from {-MOST_IDENTITY:g} to {MOST_IDENTITY:g}"
                raise InputError(expected, f"{name}={strength:g}", "stay within about -1 to 1")
        strengths = np.array([sliders.get(name, 0.0) for name in self.identity_names], np.float32)
        moved = np.tensordot(strengths, self.identity, axes=1)
        centres = np.stack([moved[members].mean(axis=0) if len(members) else np.zeros(3) for members in self.eyeballs])
        return replace(
            self, vertices=self.vertices + moved, eye_centres=(self.eye_centres + centres).astype(np.float32)
        )


def rotations(
    pitch: Float[np.ndarray, " frames"], yaw: Float[np.ndarray, " frames"], roll: Float[np.ndarray, " frames"]
) -> Float32[np.ndarray, "frames 3 3"]:
    """Rotation matrices of angles in radians: pitch > 0 down, yaw > 0 to the person's left, roll > 0 to the right."""
    (cp, sp), (cy, sy), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (pitch, yaw, roll))
    zero, one = np.zeros_like(cp), np.ones_like(cp)
    about_x = np.array([[one, zero, zero], [zero, cp, -sp], [zero, sp, cp]]).transpose(2, 0, 1)
    about_y = np.array([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]]).transpose(2, 0, 1)
    about_z = np.array([[cr, -sr, zero], [sr, cr, zero], [zero, zero, one]]).transpose(2, 0, 1)
    matrices: np.ndarray = (about_y @ about_x @ about_z).astype(np.float32)
    return matrices


def quaternions(
    pitch: Float64[np.ndarray, " frames"], yaw: Float64[np.ndarray, " frames"], roll: Float64[np.ndarray, " frames"]
) -> Float32[np.ndarray, "frames 4"]:
    """Quaternions (x, y, z, w) of `rotations`: roll about z first, then pitch about x, then yaw about y."""
    (sp, cp), (sy, cy), (sr, cr) = ((np.sin(angle / 2.0), np.cos(angle / 2.0)) for angle in (pitch, yaw, roll))
    turns = [cy * sp * cr + sy * cp * sr, sy * cp * cr - cy * sp * sr, cy * cp * sr - sy * sp * cr]
    quaternions: np.ndarray = np.stack([*turns, cy * cp * cr + sy * sp * sr], axis=1).astype(np.float32)
    return quaternions


def load_head(name_or_path: str | Path = "open") -> Head:
    """The head shipped under a name (HEADS) or a person's own, baked at a path.

    Raises InputError when there is no such file of a person's own or it is no baked head, AssetError when that is so of
    a shipped one; pickled arrays are refused.
    """
    name = str(name_or_path)
    path = HEADS.get(name, Path(name_or_path))
    kind: type[AviError] = AssetError if name in HEADS else InputError
    if not path.is_file():
        raise kind(f"a head's name ({', '.join(HEADS)}) or a baked .npz file", str(path), "check the path")
    fields = read_head_file(path, kind)
    try:
        head = _assemble(name if name in HEADS else path.stem, fields)
        check_head(head)
    except ValueError as error:
        raise kind(f"every field of a baked head in {path}", str(error), REBAKE) from error
    except InputError as error:
        raise kind(error.expected, f"{error.got} in {path}", REBAKE) from error
    return head


def _assemble(name: str, fields: Mapping[str, np.ndarray]) -> Head:
    weld = fields["weld"].astype(np.int32)
    points = len(fields["points"])
    eyeballs = tuple(np.arange(low, high, dtype=np.int32) for low, high in fields["eyeball_bounds"])
    head = Head(
        name=name,
        vertices=fields["points"][weld],
        triangles=fields["triangles"].astype(np.int32),
        uv=fields["uv"].astype(np.float32) / np.float32(65535.0),
        weld=weld,
        shapes=_unpack(fields, "shape", points)[:, weld],
        identity_names=tuple(str(slider) for slider in fields["identity_names"]),
        identity=_unpack(fields, "identity", points)[:, weld],
        material=fields["material"].astype(np.uint8),
        occlusion=fields["occlusion"].astype(np.float32) / np.float32(255.0),
        head_weight=fields["head_weight"].astype(np.float32) / np.float32(65535.0),
        pivot=fields["pivot"],
        eyeballs=(eyeballs[0], eyeballs[1]),
        eye_centres=fields["eye_centres"],
        regions={region: fields[f"region_{region}"].astype(np.int32) for region in REGIONS},
        atlas=open_atlas(fields["atlas"].astype(np.uint8)),
    )
    return with_gaze(head)


def with_gaze(head: Head) -> Head:
    """The same head with the eyeballs' turns at full weight among its `shapes`, which `deform` makes without them."""
    shapes = head.shapes.copy()
    shapes[:, np.concatenate(head.eyeballs)] = 0.0
    for eye, (members, centre) in enumerate(zip(head.eyeballs, head.eye_centres, strict=True)):
        arms = head.vertices[members] - centre
        for axis, (yaw, pitch) in enumerate(((GAZE_YAW_RAD, 0.0), (0.0, GAZE_PITCH_RAD))):
            for shape in np.flatnonzero(_GAZE[eye, axis]):
                sign = _GAZE[eye, axis, shape]
                turn = rotations(np.array([sign * pitch]), np.array([sign * yaw]), np.zeros(1))[0]
                shapes[shape, members] = arms @ turn.T - arms
    return replace(head, shapes=shapes)


def gaze(
    weights: Float[np.ndarray, "frames channels"],
) -> tuple[Float[np.ndarray, "2 frames"], Float[np.ndarray, "2 frames"]]:
    """Pitch (> 0 down) and yaw (> 0 to the person's left) in radians of the left and the right eyeball."""
    pitch, yaw = (_GAZE[:, axis] @ weights[:, : len(ARKIT_BLENDSHAPES)].T for axis in (1, 0))
    return pitch * GAZE_PITCH_RAD, yaw * GAZE_YAW_RAD


def gaze_rotations(weights: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "2 frames 3 3"]:
    """Rotation matrices of the left and the right eyeball by the eyeLook weights."""
    still = np.zeros(len(weights), np.float32)
    return np.stack([rotations(pitch, yaw, still) for pitch, yaw in zip(*gaze(weights), strict=True)])


def _unpack(fields: Mapping[str, np.ndarray], kind: str, points: int) -> Float32[np.ndarray, "K P 3"]:
    """Displacements kept as the moved points of each shape and 16-bit steps."""
    starts = fields[f"{kind}_starts"]
    dense = np.zeros((len(starts) - 1, points, 3), np.float32)
    steps = fields[f"{kind}_steps"].astype(np.float32) * fields[f"{kind}_step_m"]
    for row, (low, high) in enumerate(pairwise(starts)):
        dense[row, fields[f"{kind}_points"][low:high]] = steps[low:high]
    return dense


def _checked(values: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames 55"]:
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or values.shape[1] != len(ARKIT):
        raise InputError(f"motion of shape (frames, {len(ARKIT)})", str(values.shape), "convert it to the ARKit space")
    if not np.isfinite(values).all():
        raise InputError("finite motion", "NaN or infinity", "check the clip it came from")
    return values


# What the pipeline needs to know of a head that motion drives, whichever file it comes from.


@runtime_checkable
class RiggedHead(RenderMesh, Protocol):
    """A mesh that motion moves.

    It stands as the open head does (metres, y up, +z towards the viewer, x to the person's left, the origin midway
    between the eyes), so that one camera fits all heads.
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it: channels it lacks, how well it follows; empty where there is nothing."""
        ...

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame; InputError for motion of a space that the head cannot follow."""
        ...


# Any head, by name or by path: the open head, FLAME, glTF, a folder of OBJ shapes.


FLAME_SHAPES = 300
MOST_SHAPE = 10.0
"""Standard deviations of a population's faces, in which the coefficients count; beyond a few nobody looks like it."""
_FLAME_SLIDER = re.compile(r"shape(\d{1,3})", re.ASCII)


def load_any_head(name_or_path: str, identity: Mapping[str, float] | None = None) -> RiggedHead:
    """The head of a name or a path, with its identity sliders set.

    A folder holds OBJ shapes; .glb and .gltf are read with their morph targets; a .pkl, or an .npz with `v_template`,
    is a FLAME model, whose sliders are shape0 to shape299; any other .npz is a baked head.

    Raises:
        InputError: nothing of these, damaged, or without the sliders that are set.
    """
    sliders, path = dict(identity or {}), Path(name_or_path)
    if name_or_path not in HEADS and _is_flame(path):
        from avi_lib.heads.flame_head import load_flame_head

        return load_flame_head(path, _shape(sliders) if sliders else None)
    head = _shaped_head(name_or_path, path)
    if not sliders:
        return head
    if not head.identity_names:
        raise InputError("a head with identity sliders, such as open", name_or_path, "leave the sliders out")
    return head.with_identity(sliders)


def _shaped_head(name: str, path: Path) -> Head:
    if name not in HEADS and path.is_dir():
        from avi_lib.heads.obj import load_obj_head

        return load_obj_head(path)
    if name not in HEADS and path.suffix.lower() in (".glb", ".gltf"):
        from avi_lib.heads.gltf_head import load_gltf_head

        return load_gltf_head(path)
    return load_head(name)


def _is_flame(path: Path) -> bool:
    """Whether a file is a FLAME model: by its suffix, or by what an npz holds."""
    if path.suffix.lower() == ".pkl":
        return True
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "v_template.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _shape(sliders: Mapping[str, float]) -> Float32[np.ndarray, " coefficients"]:
    """FLAME's shape coefficients of sliders by name."""
    shape = np.zeros(FLAME_SHAPES, np.float32)
    for name, value in sliders.items():
        number = _FLAME_SLIDER.fullmatch(name)
        if number is None or int(number[1]) >= FLAME_SHAPES:
            raise InputError(f"sliders shape0 to shape{FLAME_SHAPES - 1} of a FLAME head", repr(name), "rename it")
        if not abs(value) <= MOST_SHAPE:
            raise InputError(f"a FLAME slider of at most {MOST_SHAPE:g} either way", f"{name}={value:g}", "lower it")
        shape[int(number[1])] = value
    return shape
