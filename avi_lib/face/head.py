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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, UInt8

from avi_lib.errors import AssetError, AviError, InputError
from avi_lib.face.head_file import REBAKE, REGIONS, open_atlas, read_head_file
from avi_lib.face.mesh import check_head
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.space import ARKIT, ARKIT_BLENDSHAPES

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
