"""Heads: a textured mesh, what moves it, and the loaders of any head, by name or by path.

>>> head = load_head()                                  # the open head: 52 blendshapes, two eyeballs, a neck that bends
>>> older = head.with_identity({"old": 0.6, "noseWidth": -0.5})
>>> vertices = head.move(motion)                        # (frames, V, 3) float32, metres
>>> gap_m = head.lip_gap(motion.values)                 # (frames,) inner-lip gap at the mouth's middle

Coordinates: metres, y up, +z towards the viewer, x to the person's left, origin midway between the eyes.

Blendshapes are linear except for the gaze: a straight displacement would shrink an eyeball that turns, so `move` turns
the eyeballs rigidly about their centres by up to GAZE_YAW_RAD sideways and GAZE_PITCH_RAD up or down. `shapes` holds
the same turn at full weight as a displacement, for losses and exports that need linear shapes.
"""

from __future__ import annotations

import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, UInt8
from PIL import Image
from scipy.sparse import coo_array

from avi_lib.errors import AssetError, InputError, cause
from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip
from avi_lib.wall import behind_wall

_SHIPPED = sorted((Path(__file__).resolve().parents[1] / "assets").glob("head_*.npz"))
HEADS = {path.stem.removeprefix("head_"): path for path in _SHIPPED}
"""Shipped heads: the open head, and the people of the cast."""

FORMAT = 1
REGIONS = ("lips", "upper_lip_inner", "lower_lip_inner", "eyes", "upper_face", "face")
MAX_ATLAS_SIDE = 8192
REACH_M = 10.0
"""No point of a baked head lies further from the origin along an axis, and none is moved further."""
ROUNDING = 1e-6
"""By which a bound kept in single precision may be passed."""
UNFOLDING, WIDER, LEAST_SIZE = 40, 12, 0.06
"""Most rounds of smoothing displacements, after how many its reach grows by a ring of neighbours, and the least share
of a triangle's size it keeps along its normal."""
FRAMES_AT_ONCE = 8
"""Frames deformed together, so that their vertices stay in the processor's cache."""
GAZE_YAW_RAD, GAZE_PITCH_RAD = float(np.radians(32.0)), float(np.radians(26.0))

_WEIGHTS = len(ARKIT_BLENDSHAPES)
_GAZE = np.zeros((2, 2, _WEIGHTS), np.float32)
"""(eye, yaw or pitch, blendshape): signs of the eyeLook weights; yaw > 0 to the person's left, pitch > 0 down."""
for _eye, (_side, _out) in enumerate((("Left", 1.0), ("Right", -1.0))):
    _GAZE[_eye, 0, ARKIT.index(f"eyeLookOut{_side}")] = _out
    _GAZE[_eye, 0, ARKIT.index(f"eyeLookIn{_side}")] = -_out
    _GAZE[_eye, 1, ARKIT.index(f"eyeLookDown{_side}")] = 1.0
    _GAZE[_eye, 1, ARKIT.index(f"eyeLookUp{_side}")] = -1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderMesh:
    """What a renderer needs: a textured triangle mesh, its vertices split at texture seams."""

    vertices: Float32[np.ndarray, "V 3"]  # at rest in metres, y up, facing +z
    triangles: Int32[np.ndarray, "T 3"]  # vertex numbers, counter-clockwise seen from outside
    uv: Float32[np.ndarray, "V 2"]  # places in the atlas, 0-1, v growing downwards as the atlas rows do
    weld: Int32[np.ndarray, " V"]  # the geometric point of each vertex; vertices of one point share a normal
    material: UInt8[np.ndarray, " T"]  # places in `camera.MATERIALS`
    occlusion: Float32[np.ndarray, " V"]  # ambient occlusion, 1 = open, 0 = no light gets there
    atlas: UInt8[np.ndarray, "H W 3"]  # one sRGB texture
    alpha: UInt8[np.ndarray, "H W"] | None = None  # how opaque each texel of the atlas is; None where all are

    @cached_property
    def see_through(self) -> Bool[np.ndarray, " T"]:
        """Which triangles have texels that are not opaque, or lie beside such ones."""
        if self.alpha is None:
            return np.zeros(len(self.triangles), bool)
        return with_texels(self.alpha < 255, self.uv, self.triangles)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RiggedHead(RenderMesh, ABC):
    """A mesh that motion moves, whichever file it comes from; it stands as the open head does, for the same camera."""

    name: str
    notes: tuple[str, ...] = ()  # what a person should know of it: channels it lacks, how well it follows

    def __repr__(self) -> str:
        """Its name and size; not its arrays."""
        return f"<{type(self).__name__} {self.name}: {len(self.vertices)} vertices, {len(self.triangles)} triangles>"

    @abstractmethod
    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame; InputError for motion of a space that the head cannot follow."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Head(RiggedHead):
    """A head at rest and everything that moves it: blendshapes, a neck and two eyeballs."""

    shapes: Float32[np.ndarray, "52 V 3"]  # displacements in metres of each blendshape at full weight
    head_weight: Float32[np.ndarray, " V"]  # how much of the head's rotation about `pivot` each vertex takes, 0-1
    pivot: Float32[np.ndarray, " 3"]
    eyeballs: tuple[Int32[np.ndarray, " L"], Int32[np.ndarray, " R"]]  # left and right; none where no ball turns
    eye_centres: Float32[np.ndarray, "2 3"]
    identity_names: tuple[str, ...] = ()
    identity: Float32[np.ndarray, "K V 3"]  # displacements in metres of each identity slider at 1
    identity_bounds: Float32[np.ndarray, "K 2"] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    identity_dyes: Float32[np.ndarray, "K 2 3"] = field(default_factory=lambda: np.ones((0, 2, 3), np.float32))
    """By what each slider at 1 multiplies the colours of skin and of hair."""
    dyed_tiles: Int32[np.ndarray, "N 5"] = field(default_factory=lambda: np.zeros((0, 5), np.int32))
    """Where the atlas shows skin (0) or hair (1): which, left, top, width, height."""
    regions: dict[str, Int32[np.ndarray, " _"]] = field(default_factory=dict)  # named vertex numbers

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

    def move(self, motion: MotionClip) -> Float32[np.ndarray, "frames V 3"]:
        """Vertices in metres of every frame of a motion; InputError unless it is in the ARKIT space."""
        if motion.space is not ARKIT:
            raise InputError("motion in the ARKIT space", f"the space {motion.space.name}", "name a FLAME head for it")
        moving, basis = self._moving
        moved = np.empty((len(motion), *self.vertices.shape), np.float32)
        for first in range(0, len(motion), FRAMES_AT_ONCE):
            vertices, values = (array[first : first + FRAMES_AT_ONCE] for array in (moved, motion.values))
            weights = values[:, :_WEIGHTS]
            vertices[:] = self.vertices
            vertices[:, moving] += (weights @ basis).reshape(len(values), len(moving), 3)
            for members, centre, turn in zip(self.eyeballs, self.eye_centres, gaze_rotations(weights), strict=True):
                vertices[:, members] = (self.vertices[members] - centre) @ turn.transpose(0, 2, 1) + centre
            bend = rotations(*values[:, _WEIGHTS:].T) - np.eye(3, dtype=np.float32)
            if bend.any():
                turning = vertices[:, : self._turning]
                arms = (turning - self.pivot) @ bend.transpose(0, 2, 1)
                arms *= self.head_weight[: self._turning, None]
                turning += arms
        return moved

    def deform(self, values: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames V 3"]:
        """`move` of plain ARKit values: 52 weights, then head pitch, yaw and roll in radians; InputError for others."""
        return self.move(_clip_of(values))

    def lip_gap(self, values: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, " frames"]:
        """Vertical distance in metres of the inner lips at the mouth's middle; 0 at rest, negative when pressed."""
        if not {"upper_lip_inner", "lower_lip_inner"} <= self.regions.keys():
            raise InputError("a head whose inner lips are known", self.name, "measure the lips of the open head")
        upper, lower = (self.shapes[:, self.regions[f"{lip}_lip_inner"], 1].mean(axis=1) for lip in ("upper", "lower"))
        gap: np.ndarray = _clip_of(values).values[:, :_WEIGHTS] @ (upper - lower)
        return gap

    def with_identity(self, sliders: Mapping[str, float]) -> Head:
        """The same head with another face and its colours: slider (see `identity_names`) to strength; 0 leaves it.

        Raises InputError for a name that is no slider, and for a strength that is not within its `identity_bounds`.
        """
        bounds = dict(zip(self.identity_names, self.identity_bounds.tolist(), strict=True))
        for name, strength in sliders.items():
            if name not in bounds:
                raise InputError(f"an identity slider of {', '.join(bounds)}", name, "rename it; see `avi heads`")
            least, most = bounds[name]
            if not least - ROUNDING <= strength <= most + ROUNDING:
                expected = f"{name} from {least:g} to {most:g}"
                raise InputError(expected, f"{name}={strength:g}", "stay within these bounds; see `avi heads`")
        strengths = np.array([sliders.get(name, 0.0) for name in self.identity_names], np.float32)
        moved = self._unfolded(np.tensordot(strengths, self.identity, axes=1))
        balls = [members for members in self.eyeballs if len(members)]
        centres = [ball_middle((self.vertices + moved)[each]) - ball_middle(self.vertices[each]) for each in balls]
        dyes = np.prod(self.identity_dyes ** strengths[:, None, None], axis=0)
        atlas = self.atlas if (dyes == 1.0).all() else self.atlas.copy()
        for kind, left, top, width, height in self.dyed_tiles.tolist() if atlas is not self.atlas else ():
            tile = atlas[top : top + height, left : left + width]
            tile[:] = np.clip(tile * dyes[kind] + 0.5, 0.0, 255.0)
        return replace(
            self,
            vertices=self.vertices + moved,
            eye_centres=(self.eye_centres + np.array(centres or 0.0)).astype(np.float32),
            atlas=atlas,
        )

    def _unfolded(self, moved: Float32[np.ndarray, "V 3"]) -> Float32[np.ndarray, "V 3"]:
        """Displacements of all vertices, smoothed where several sliders together would turn triangles of the face over.

        Points of such triangles take the mean of their neighbours' displacements until none is turned; those around
        them do so too where that lasts.
        """
        members = [self.regions[name] for name in ("face", "eyes") if name in self.regions]
        if not members or not moved.any():
            return moved
        shown = np.isin(np.arange(len(self.vertices)), np.concatenate(members))[self.triangles].all(axis=1)
        corners = self.triangles[shown & (self.material < MATERIAL_NAMES.index("eye"))]
        points = self.weld[corners]
        ends, count = np.roll(points, -1, axis=1).ravel(), int(self.weld.max()) + 1
        links = coo_array((np.ones(2 * len(ends)), (np.r_[points.ravel(), ends], np.r_[ends, points.ravel()])))
        links.resize(count, count)
        near, (_, first) = links.tocsr(), np.unique(self.weld, return_index=True)
        rest = _normals(self.vertices[corners])
        size = (rest**2).sum(axis=1)
        for turn in range(UNFOLDING):
            along = (_normals((self.vertices + moved)[corners]) * rest).sum(axis=1)
            turned = np.unique(points[(along < LEAST_SIZE * size) & (size > 0.0)])
            if len(turned) == 0:
                break
            for _ in range(turn // WIDER):
                turned = np.union1d(turned, near[turned].indices)
            there = near[turned]
            smooth = (there @ moved[first]) / there.sum(axis=1)[:, None]
            place = np.searchsorted(turned, self.weld)
            changed = turned[np.minimum(place, len(turned) - 1)] == self.weld
            moved = np.where(changed[:, None], smooth[np.minimum(place, len(turned) - 1)], moved).astype(np.float32)
        return moved


def _normals(corners: Float32[np.ndarray, "T 3 3"]) -> Float64[np.ndarray, "T 3"]:
    """Normals of triangles by their corners, as long as twice their areas."""
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    result: np.ndarray = np.cross(b - a, c - a)
    return result


def ball_middle(points: Float32[np.ndarray, "P 3"]) -> Float64[np.ndarray, " 3"]:
    """The middle of the sphere nearest to points."""
    system = np.column_stack([2.0 * points.astype(np.float64), np.ones(len(points))])
    centre: np.ndarray = np.linalg.lstsq(system, np.square(points, dtype=np.float64).sum(axis=1), rcond=None)[0][:3]
    return centre


def _clip_of(values: Float[np.ndarray, "frames channels"]) -> MotionClip:
    return MotionClip(np.asarray(values, np.float32), 25.0, ARKIT)


# Rotations.


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
    from scipy.spatial.transform import Rotation

    turns: np.ndarray = Rotation.from_euler("YXZ", np.stack([yaw, pitch, roll], axis=1)).as_quat().astype(np.float32)
    return turns


def gaze(
    weights: Float[np.ndarray, "frames channels"],
) -> tuple[Float[np.ndarray, "2 frames"], Float[np.ndarray, "2 frames"]]:
    """Pitch (> 0 down) and yaw (> 0 to the person's left) in radians of the left and the right eyeball."""
    pitch, yaw = (_GAZE[:, axis] @ weights[:, :_WEIGHTS].T for axis in (1, 0))
    return pitch * GAZE_PITCH_RAD, yaw * GAZE_YAW_RAD


def gaze_rotations(weights: Float[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "2 frames 3 3"]:
    """Rotation matrices of the left and the right eyeball by the eyeLook weights."""
    still = np.zeros(len(weights), np.float32)
    return np.stack([rotations(pitch, yaw, still) for pitch, yaw in zip(*gaze(weights), strict=True)])


def with_gaze(head: Head) -> Head:
    """The same head with the eyeballs' turns at full weight among its `shapes`, which `move` makes without them."""
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


# Checks, for whatever draws, plays or writes a mesh.


def check_mesh(mesh: RenderMesh) -> None:
    """Raise InputError when the arrays of `mesh` do not fit together or a number in them is not finite."""
    count, triangles = len(mesh.vertices), len(mesh.triangles)
    shapes = {"vertices": (count, 3), "uv": (count, 2), "weld": (count,), "occlusion": (count,)}
    shapes |= {"triangles": (triangles, 3), "material": (triangles,), "atlas": (*mesh.atlas.shape[:2], 3)}
    if mesh.alpha is not None:
        shapes["alpha"] = mesh.atlas.shape[:2]
    _check_arrays(mesh, shapes)
    for name, most in (("triangles", count - 1), ("weld", count - 1), ("material", len(MATERIAL_NAMES) - 1)):
        numbers = getattr(mesh, name)
        if not 0 <= numbers.min() <= numbers.max() <= most:
            expected = f"numbers 0-{most} in the mesh's {name}"
            raise InputError(expected, f"{numbers.min()} to {numbers.max()}", "check the head's file")


def check_head(head: RiggedHead) -> None:
    """Raise InputError unless all that moves `head` fits its mesh and is finite."""
    check_mesh(head)
    if not isinstance(head, Head):
        return
    count = len(head.vertices)
    shapes = {"shapes": (_WEIGHTS, count, 3), "head_weight": (count,), "pivot": (3,), "eye_centres": (2, 3)}
    _check_arrays(head, shapes)
    balls = np.concatenate(head.eyeballs)
    if len(balls) and not 0 <= balls.min() <= balls.max() < count:
        raise InputError(f"eyeballs of vertices 0-{count - 1}", f"{balls.min()} to {balls.max()}", "check the file")


def _check_arrays(mesh: RenderMesh, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, expected in shapes.items():
        array = getattr(mesh, name)
        if array.shape != expected or 0 in expected:
            raise InputError(f"mesh {name} of shape {expected}, not empty", str(array.shape), "check the head's file")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            called = getattr(mesh, "name", "mesh")
            raise InputError(f"finite {name} of the head {called}", "NaN or infinity", "bake or export it again")


def with_texels(
    chosen: Bool[np.ndarray, "H W"], uv: Float32[np.ndarray, "V 2"], triangles: Int32[np.ndarray, "T 3"]
) -> Bool[np.ndarray, " T"]:
    """Which triangles have a chosen texel in their box of the atlas, or beside it."""
    sums = np.pad(np.cumsum(np.cumsum(chosen, axis=0, dtype=np.int32), axis=1), ((1, 0), (1, 0)))
    size = np.array(chosen.shape[::-1])
    texels = uv[triangles] * size
    left, top = np.clip(texels.min(axis=1) - 1.0, 0, size - 1).astype(int).T
    right, bottom = np.clip(texels.max(axis=1) + 2.0, 1, size).astype(int).T
    found: np.ndarray = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0
    return found


# Baked heads: what `tools.assets.bake_head` writes.


def load_head(name_or_path: str | Path = "open") -> Head:
    """The head shipped under a name (HEADS; see `avi heads`) or one's own, baked at a path and read behind the wall.

    Raises InputError when there is no such file of a person's own or it is no baked head, AssetError when that is so of
    a shipped one; pickled arrays are refused.
    """
    if (name := str(name_or_path)) in HEADS:
        try:
            open_head = replace(read_baked_head(HEADS["open"]), name="open")
            if name == "open":
                return open_head
            from avi_lib.face.people import read_person

            return read_person(HEADS[name], open_head)
        except Exception as error:
            expected = f"the shipped head {HEADS[name]}"
            raise AssetError(expected, f"a damaged one ({cause(error)})", "install the package again") from error
    path = Path(name_or_path)
    if not path.is_file():
        near = "".join(f" (is {name} meant?)" for name in get_close_matches(str(name_or_path), HEADS, 1))
        expected = f"a head's name ({', '.join(HEADS)}) or a baked .npz file"
        raise InputError(expected, f"{path}{near}", "choose one, or check the path")
    return head_behind_wall(read_baked_parts, path)


def head_behind_wall(read: Callable[[str], dict[str, Any]], path: Path) -> Head:
    """The head that `read(path)` gives as `parts_of` in a child with limits; InputError where it gives none."""
    terms = {"name": str(path), "expected": "a head that can be read", "do": "export it again"}
    (parts,) = behind_wall(read, str(path.absolute()), **terms, seconds=120.0, memory_mb=4096)
    plain: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in parts.items()}
    eyeballs = (plain.pop("left eyeball"), plain.pop("right eyeball"))
    regions = {name[7:]: plain.pop(name) for name in parts if name.startswith("region ")}
    head = Head(**plain, eyeballs=eyeballs, regions=regions)
    check_mesh(head)
    return head


def parts_of(head: Head) -> dict[str, Any]:
    """The head as one dict of arrays and plain values, as it comes through the wall."""
    parts = {each.name: getattr(head, each.name) for each in fields(head)}
    left, right = parts.pop("eyeballs")
    regions = {f"region {name}": places for name, places in parts.pop("regions").items()}
    return {**parts, "left eyeball": left, "right eyeball": right, **regions}


def read_baked_parts(path: str) -> dict[str, Any]:
    """What `load_head` runs behind the wall."""
    return parts_of(read_baked_head(Path(path)))


def read_baked_head(path: Path) -> Head:
    """The head of a baked file; InputError, or whatever numpy and Pillow raise, for another file."""

    def refuse(expected: str, got: object) -> InputError:
        return InputError(f"{expected} in {path}", str(got), "bake it again with python -m tools.assets.bake_head")

    def fraction(name: str, kind: type[np.unsignedinteger]) -> np.ndarray:
        if held[name].dtype != kind:
            raise refuse(f"{name} of {kind.__name__}", held[name].dtype)
        return held[name].astype(np.float32) / np.float32(np.iinfo(kind).max)

    def displacements(kind: str) -> np.ndarray:
        return dense_displacements(held, kind, len(held["points"]))[:, weld]

    with np.load(path, allow_pickle=False) as archive:
        if not np.array_equal(archive["format"], FORMAT):
            raise refuse(f"format {FORMAT}", archive["format"])
        held = {name: archive[name] for name in archive.files}
    if tuple(held["shape_names"].tolist()) != ARKIT_BLENDSHAPES:
        raise refuse("the 52 blendshapes of ARKit in order", "others")
    weld = held["weld"].astype(np.int32)
    with Image.open(io.BytesIO(held["atlas"].tobytes()), formats=("WEBP", "PNG", "JPEG")) as picture:
        if max(picture.size) > MAX_ATLAS_SIDE:
            raise refuse(f"an atlas of at most {MAX_ATLAS_SIDE} pixels a side", max(picture.size))
        atlas = np.asarray(picture.convert("RGB"))
        alpha = np.asarray(picture.getchannel("A")) if picture.mode == "RGBA" else None
    left, right = (np.arange(low, high, dtype=np.int32) for low, high in held["eyeball_bounds"])
    head = Head(
        name=path.stem,
        vertices=held["points"].astype(np.float32)[weld],
        triangles=held["triangles"].astype(np.int32),
        uv=fraction("uv", np.uint16),
        weld=weld,
        shapes=displacements("shape"),
        identity_names=tuple(map(str, held["identity_names"])),
        identity=displacements("identity"),
        identity_bounds=held["identity_bounds"].astype(np.float32),
        identity_dyes=held["identity_dyes"].astype(np.float32),
        dyed_tiles=held["dyed_tiles"].astype(np.int32),
        material=held["material"].astype(np.uint8),
        occlusion=fraction("occlusion", np.uint8),
        head_weight=fraction("head_weight", np.uint16),
        pivot=held["pivot"].astype(np.float32),
        eyeballs=(left, right),
        eye_centres=held["eye_centres"].astype(np.float32),
        regions={region: held[f"region_{region}"].astype(np.int32) for region in REGIONS},
        atlas=atlas,
        alpha=alpha,
    )
    for array in (head.vertices, head.shapes, head.identity, head.pivot, head.eye_centres):
        if not (np.abs(array) <= REACH_M).all():
            raise refuse(f"points and displacements within {REACH_M:g} m", "NaN or more")
    for region, members in head.regions.items():
        if not len(members) or not 0 <= members.min() <= members.max() < len(weld):
            raise refuse(f"vertices of the region {region}", f"{len(members)} of others")
    sliders = {len(head.identity), len(head.identity_bounds), len(head.identity_dyes)}
    if {len(head.identity_names)} != sliders or not "".join(head.identity_names).isprintable():
        raise refuse(f"{len(head.identity)} printable names of identity sliders, with bounds", head.identity_names)
    try:
        check_head(head)
    except InputError as error:
        raise refuse(error.expected, error.got) from error
    return with_gaze(head)


def dense_displacements(held: Mapping[str, np.ndarray], kind: str, points: int) -> Float32[np.ndarray, "K P 3"]:
    """Displacements in metres, kept as the moved points of each shape and 16-bit steps."""
    counts = np.diff(held[f"{kind}_starts"])
    dense = np.zeros((len(counts), points, 3), np.float32)
    steps = held[f"{kind}_steps"].astype(np.float32) * held[f"{kind}_step_m"]
    dense[np.repeat(np.arange(len(counts)), counts), held[f"{kind}_points"]] = steps
    return dense


# Any head: the open head, FLAME, glTF, a folder of OBJ shapes.


def load_any_head(name_or_path: str, identity: Mapping[str, float] | None = None) -> RiggedHead:
    """The head of a name or a path, with its identity sliders set.

    A folder holds OBJ shapes; .glb and .gltf are read with their morph targets; a .pkl, or an .npz with `v_template`,
    is a FLAME model, whose sliders are shape0 to shape299; any other .npz is a baked head.

    Raises:
        InputError: nothing of these, damaged, or without the sliders that are set.
    """
    sliders, path = dict(identity or {}), Path(name_or_path)
    head: Head
    if name_or_path in HEADS:
        head = load_head(name_or_path)
    elif _is_flame(path):
        from avi_lib.heads.flame_head import load_flame_head

        return load_flame_head(path, sliders)
    elif path.is_dir():
        from avi_lib.heads.obj import read_obj_head

        head = head_behind_wall(read_obj_head, path)
    elif path.suffix.lower() in (".glb", ".gltf"):
        from avi_lib.heads.gltf import read_gltf_head

        head = head_behind_wall(read_gltf_head, path)
    else:
        head = load_head(path)
    if sliders and not head.identity_names:
        raise InputError("a head with identity sliders, such as open", name_or_path, "leave the sliders out")
    return head.with_identity(sliders) if sliders else head


def _is_flame(path: Path) -> bool:
    """Whether a file is a FLAME model: by its suffix, or by what an npz holds."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return path.suffix.lower() == ".pkl"
    try:
        with zipfile.ZipFile(path) as archive:
            return "v_template.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
