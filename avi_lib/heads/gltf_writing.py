"""Writes a head with its motion as one binary glTF 2.0 file, which browsers and 3D programs play.

>>> write_glb(load_head(), motion, Path("face.glb"))  # motion in the ARKIT space

The file holds one mesh, a primitive for each material, with the 52 blendshapes as morph targets under Apple's names.
A skin turns the head just as `Head.deform` does: the joint `body` stays, `head` bends the neck by the head weights, and
`leftEye` and `rightEye`, below it, turn the eyeballs rigidly. Its animation has keys for every frame: the 52 weights
and the rotations of head and eyes. Metres, y up, the face looks along +z.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, check_eyes_turn_with_head, check_head, gaze, quaternions
from avi_lib.face.raster import vertex_normals
from avi_lib.files import atomic_path
from avi_lib.heads.gltf import Animation, AnimationSampler, GltfFile, GltfScene, local_matrix, open_gltf
from avi_lib.heads.placing import match_channels
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip
from avi_lib.wall import behind_wall

# Reads the animation of anyone's .glb or .gltf file as ARKit motion.


MAX_FRAMES = 500_000
FPS_RANGE = (1.0, 240.0)
STILL_FPS = 25.0
"""The rate of a clip whose animation has one key and tells no rate."""


def read_glb_motion(path: Path) -> MotionClip:
    """The first animation of a file that moves morph targets with ARKit's names, as frames at an even rate.

    The rate is the one that `write_glb` notes beside the keys, else that of their usual distance. The head's rotation
    is that of the topmost animated node named head, against its rest, seen in the file's world. Channels that nothing
    moves are zero; rotations of eyes are not read, since eyeLook weights tell the gaze. Raises InputError for a file
    without such an animation, for keys out of order, and for more than MAX_FRAMES frames.
    """
    terms = {"name": str(path), "expected": "a glTF file with an animation", "do": "export it again"}
    (clip,) = behind_wall(read_motion, str(Path(path).absolute()), **terms, seconds=120.0, memory_mb=4096)
    return MotionClip(clip["values"], float(clip["fps"]), ARKIT)


def read_motion(path: str) -> dict[str, Any]:
    """What `read_glb_motion` runs behind the wall."""
    file = open_gltf(Path(path))
    for animation in file.document.animations:
        weights = _weight_curves(file, animation)
        if weights:
            with np.errstate(over="ignore", invalid="ignore"):  # MotionClip refuses what is not finite
                clip = _clip(file, animation, weights)
            return {"values": clip.values, "fps": clip.fps}
    raise file.refused("an animation of morph targets with ARKit's names", "none", "export it with its animation")


class _Curve:
    """Keys of one property: times in seconds and values (keys, width)."""

    def __init__(self, file: GltfFile, sampler: AnimationSampler, width: int) -> None:
        self.times: Float64[np.ndarray, " keys"] = file.numbers(sampler.input, 1)[:, 0].astype(np.float64)
        if (np.diff(self.times) <= 0.0).any() or self.times[0] < 0.0:
            raise file.refused(f"rising times in accessor {sampler.input}", "times that stand still or go back")
        self.kind = sampler.interpolation
        parts = 3 if self.kind == "CUBICSPLINE" else 1
        values = file.numbers(sampler.output).astype(np.float64).ravel()
        if values.size != parts * width * len(self.times):
            wanted = f"{parts * width} numbers for each of {len(self.times)} keys in accessor {sampler.output}"
            raise file.refused(wanted, str(values.size))
        spline = values.reshape(len(self.times), parts, width)
        self.values = spline[:, parts // 2]
        self._into, self._out = spline[:, 0], spline[:, -1]

    def at(self, times: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames width"]:
        """Values at these times, held before the first and after the last key (glTF 2.0, appendix C)."""
        low = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 1)
        high = np.minimum(low + 1, len(self.times) - 1)
        step = self.times[high] - self.times[low]
        share = np.clip((times - self.times[low]) / np.where(step > 0.0, step, 1.0), 0.0, 1.0)[:, None]
        if self.kind == "STEP":
            return self.values[low]
        before, after = self.values[low], self.values[high]
        if self.kind == "LINEAR":
            return before + share * (after - before)
        squared, cubed = share**2, share**3
        bends = (cubed - 2.0 * squared + share) * self._out[low] + (cubed - squared) * self._into[high]
        return before + (3.0 * squared - 2.0 * cubed) * (after - before) + step[:, None] * bends

    def turned(self, times: Float64[np.ndarray, " frames"]) -> Rotation:
        """Quaternions as rotations at these times; between linear keys along the shortest way."""
        if self.kind == "LINEAR" and len(self.times) > 1:
            return Slerp(self.times, _rotations(self.values))(np.clip(times, self.times[0], self.times[-1]))
        return _rotations(self.at(times))


def _rotations(quaternions: Float64[np.ndarray, "keys 4"]) -> Rotation:
    """Rotations of quaternions (x, y, z, w) of any length; none where one is zero."""
    lost = np.linalg.norm(quaternions, axis=1, keepdims=True) < 1e-6
    return Rotation.from_quat(np.where(lost, (0.0, 0.0, 0.0, 1.0), quaternions))


def _weight_curves(file: GltfFile, animation: Animation) -> dict[str, tuple[_Curve, int]]:
    """For each ARKit channel the curve and the place in it, of the first mesh that has it."""
    curves: dict[str, tuple[_Curve, int]] = {}
    for channel in animation.channels:
        if channel.target.path != "weights" or channel.target.node is None:
            continue
        node = file.part(file.document.nodes, channel.target.node, "node")
        if node.mesh is None:
            raise file.refused("weights of a mesh", f"weights of node {node.name!r}, which shows none")
        mesh = file.part(file.document.meshes, node.mesh, "mesh")
        targets = max((len(primitive.targets) for primitive in mesh.primitives), default=0)
        places = match_channels(mesh.target_names[:targets]).places
        if set(places) <= set(curves):
            continue
        curve = _Curve(file, file.part(animation.samplers, channel.sampler, "sampler"), targets)
        for name, place in places.items():
            curves.setdefault(name, (curve, place))
    return curves


def _clip(file: GltfFile, animation: Animation, weights: dict[str, tuple[_Curve, int]]) -> MotionClip:
    scene = GltfScene(file)
    turning = _head_channel(file, scene, animation)
    curves = list({id(curve): curve for curve, _ in weights.values()}.values())
    every = [*curves, *([] if turning is None else [turning[1]])]
    longest = max(every, key=lambda curve: len(curve.times))
    fps = _rate(animation, longest.times)
    start, end = min(curve.times[0] for curve in every), max(curve.times[-1] for curve in every)
    grain = min(max(1e-3, fps * float(np.spacing(np.float32(end)))), 0.5)  # in frames: keys are 32-bit seconds
    count = int(np.floor((end - start) * fps + grain)) + 1
    if count > MAX_FRAMES:
        raise file.refused(f"at most {MAX_FRAMES} frames", f"{count} at {fps:g} frames per second", "cut it")
    times = _snapped(start + np.arange(count) / fps, longest.times, grain / fps)
    values = np.zeros((count, len(ARKIT)), np.float64)
    for curve in curves:
        sampled = curve.at(times)
        for name, (own, place) in weights.items():
            if own is curve:
                values[:, ARKIT_BLENDSHAPES.index(name)] = sampled[:, place]
    if turning is not None:
        values[:, len(ARKIT_BLENDSHAPES) :] = _angles(scene, *turning, times)
    return MotionClip(values.astype(np.float32), fps, ARKIT)


def _snapped(
    times: Float64[np.ndarray, " frames"], keys: Float64[np.ndarray, " keys"], reach_s: float
) -> Float64[np.ndarray, " frames"]:
    """Times moved to the keys that are this near: keys are 32-bit numbers, which miss even times a little."""
    after = np.clip(np.searchsorted(keys, times), 1, max(len(keys) - 1, 1))
    near = [keys[np.minimum(after + side, len(keys) - 1)] for side in (-1, 0)]
    nearest = np.where(np.abs(near[0] - times) <= np.abs(near[1] - times), near[0], near[1])
    return np.where(np.abs(nearest - times) < reach_s, nearest, times)


def _rate(animation: Animation, keys: Float64[np.ndarray, " keys"]) -> float:
    """Frames per second: the one that was noted, where the keys agree with it, else from the keys' usual distance."""
    told = animation.extras.get("fps") if isinstance(animation.extras, dict) else None
    noted = float(told) if isinstance(told, (int, float)) and FPS_RANGE[0] <= told <= FPS_RANGE[1] else None
    if len(keys) == 1:
        return noted or STILL_FPS
    usual = float(np.clip(1.0 / np.median(np.diff(keys)), *FPS_RANGE))
    if noted is not None and abs(noted / usual - 1.0) < 1e-2:
        return noted
    return float(round(usual)) if abs(round(usual) / usual - 1.0) < 1e-3 else usual


def _head_channel(file: GltfFile, scene: GltfScene, animation: Animation) -> tuple[int, _Curve] | None:
    """The topmost node named head whose rotation is animated, and its curve."""
    turned = {c.target.node: c.sampler for c in animation.channels if c.target.path == "rotation"}
    for node in scene.topmost(scene.heads() & turned.keys()):
        return node, _Curve(file, file.part(animation.samplers, turned[node], "sampler"), 4)
    return None


def _angles(
    scene: GltfScene, node: int, curve: _Curve, times: Float64[np.ndarray, " frames"]
) -> Float32[np.ndarray, "frames 3"]:
    """Pitch, yaw and roll in radians by which a node is turned in the world from its rest, its parents at rest."""
    above = scene.parent[node]
    frame = Rotation.identity() if above < 0 else _rotation(scene.world[above])
    rest = _rotation(local_matrix(scene.nodes[node]))
    turn = frame * curve.turned(times) * rest.inv() * frame.inv()
    yaw, pitch, roll = turn.as_euler("YXZ").T
    return np.stack([pitch, yaw, roll], axis=1).astype(np.float32)


def _rotation(matrix: Float[np.ndarray, "4 4"]) -> Rotation:
    """The rotation of a node's matrix, without its scale."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    turn = left @ right
    return Rotation.from_matrix(turn if np.linalg.det(turn) > 0.0 else -turn)


GENERATOR = "avi_lib"
JOINTS = ("body", "head", "leftEye", "rightEye")
FACE_NODE = len(JOINTS)
JPEG_QUALITY = 95
"""Within 11/255 of the open head's atlas, 0.5/255 on average, at 2/5 of the size of a PNG."""
NORMAL_GRAIN = 1e-3
"""Smaller changes of a normal by a morph target are left out."""

_FLOAT, _SHORT, _LONG, _BYTE = 5126, 5123, 5125, 5121
_VERTICES, _INDICES = 34962, 34963
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_COMPONENTS = {"float32": _FLOAT, "uint32": _LONG, "uint16": _SHORT, "uint8": _BYTE}

_kept: WeakKeyDictionary[Head, _Still] = WeakKeyDictionary()


def write_glb(head: Head, motion: MotionClip, path: Path) -> None:
    """Write a head and its motion to `path`, atomically; the same head and motion give the same bytes.

    What does not change with the motion is kept for the next clip of the same head in this process. Raises InputError,
    before anything is written, for motion outside the ARKIT space, for values that are not finite, for a rate outside
    FPS_RANGE or more than MAX_FRAMES, which `read_glb_motion` would change or refuse, and for a head whose arrays do
    not fit or are not finite; OutputError where the file cannot be written.
    """
    if motion.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {motion.space.name}", "convert it first")
    if not np.isfinite(motion.values).all():
        raise InputError("finite motion", "NaN or infinity", "check the clip it came from")
    if not FPS_RANGE[0] <= motion.fps <= FPS_RANGE[1]:
        expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames per second for glTF"
        raise InputError(expected, f"{motion.fps:g}", "export it as npz, or at another rate")
    if len(motion) > MAX_FRAMES:
        raise InputError(f"at most {MAX_FRAMES} frames for glTF", str(len(motion)), "export it in parts")
    times = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    if (np.diff(times) <= 0.0).any():
        raise InputError("frames that 32-bit times tell apart", f"{motion.duration_s:.0f} s", "export it in parts")
    if head not in _kept:
        _kept[head] = _still(head)
    content = _with_motion(_kept[head], motion, times)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        stream.writelines(content)


@dataclass(frozen=True)
class _Still:
    """The document and the bytes of a head that does not move."""

    document: dict[str, Any]
    binary: bytes


class _Binary:
    """Bytes on their way into the file: one buffer view for each kind of data, its accessors one behind the other."""

    def __init__(self) -> None:
        self.accessors: list[dict[str, Any]] = []
        self._traits: dict[str, dict[str, int]] = {}
        self._pieces: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}

    def view(self, kind: str, content: bytes, **traits: int) -> tuple[int, int]:
        """Append bytes to the view of a kind; the view's number and the bytes' place in it, a multiple of four."""
        self._traits.setdefault(kind, traits)
        offset = self._sizes.get(kind, 0)
        padded = content + bytes(-len(content) % 4)
        self._pieces.setdefault(kind, []).append(padded)
        self._sizes[kind] = offset + len(padded)
        return list(self._traits).index(kind), offset

    def attribute(self, name: str, values: np.ndarray, bounds: bool = False, **traits: bool) -> int:
        """Add an attribute of vertices (count, width); the number of its accessor."""
        values = np.ascontiguousarray(values)
        view, offset = self.view(name, values.tobytes(), target=_VERTICES, byteStride=values.strides[0])
        return self._described(values, bounds, bufferView=view, byteOffset=offset, **traits)

    def indices(self, values: np.ndarray) -> int:
        """Add vertex numbers (count, 1); the number of their accessor."""
        view, offset = self.view("indices", values.tobytes(), target=_INDICES)
        return self._described(values, bufferView=view, byteOffset=offset)

    def plain(self, kind: str, values: np.ndarray, bounds: bool = False) -> int:
        """Add elements (count, width) that are no vertices'; the number of their accessor."""
        view, offset = self.view(kind, values.tobytes())
        return self._described(values, bounds, bufferView=view, byteOffset=offset)

    def sparse(self, places: Int64[np.ndarray, " N"], values: Float32[np.ndarray, "N 3"], count: int) -> int:
        """Add an accessor of `count` zeros but for some places."""
        kind = np.uint16 if count < 1 << 16 else np.uint32
        at_view, at = self.view("sparse indices", places.astype(kind).tobytes())
        of_view, of = self.view("sparse values", values.tobytes())
        zero = np.zeros((1, 3), np.float32)
        span = values if len(values) == count else np.concatenate([values, zero])
        told = {
            "count": len(places),
            "indices": {"bufferView": at_view, "byteOffset": at, "componentType": _COMPONENTS[np.dtype(kind).name]},
            "values": {"bufferView": of_view, "byteOffset": of},
        }
        return self._described(span, True, count=count, sparse=told)

    def zeros(self, count: int) -> int:
        """Add an accessor of zeros alone."""
        return self._described(np.zeros((1, 3), np.float32), True, count=count)

    def _described(self, values: np.ndarray, bounds: bool = False, **traits: Any) -> int:
        accessor = {
            "componentType": _COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": _TYPES[values.shape[1]],
        }
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor | traits)
        return len(self.accessors) - 1

    def joined(self, start: int = 0) -> tuple[list[dict[str, int]], bytes]:
        """The buffer views, their places counted from `start`, and the bytes of all of them."""
        views = []
        for kind, traits in self._traits.items():
            views.append({"buffer": 0, "byteOffset": start, "byteLength": self._sizes[kind], **traits})
            start += self._sizes[kind]
        return views, b"".join(piece for pieces in self._pieces.values() for piece in pieces)


def _still(head: Head) -> _Still:
    check_head(head)
    check_eyes_turn_with_head(head)
    binary = _Binary()
    primitives = list(_primitives(head, binary))
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
    inverse[1:, 3, :3] = -np.stack([head.pivot, *head.eye_centres])
    document = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0, FACE_NODE]}],
        "nodes": [*_joints(head), {"name": "face", "mesh": 0, "skin": 0}],
        "meshes": [
            {
                "name": "face",
                "primitives": primitives,
                "weights": [0.0] * len(ARKIT_BLENDSHAPES),
                "extras": {"targetNames": list(ARKIT_BLENDSHAPES)},
            }
        ],
        "skins": [
            {
                "joints": list(range(len(JOINTS))),
                "skeleton": 0,
                "inverseBindMatrices": binary.plain("inverse bind matrices", inverse.reshape(-1, 16)),
            }
        ],
        "materials": [_material(kind) for kind in np.unique(head.material).tolist()],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"mimeType": "image/jpeg", "bufferView": binary.view("atlas", _jpeg(head))[0]}],
        "accessors": binary.accessors,
    }
    document["bufferViews"], content = binary.joined()
    return _Still(document, content)


def _joints(head: Head) -> list[dict[str, Any]]:
    """The nodes of the skin: each one's place is told against its parent."""
    arms = [head.pivot, *(head.eye_centres - head.pivot)]
    children: tuple[dict[str, Any], ...] = ({"children": [1]}, {"children": [2, 3]}, {}, {})
    places = ({}, *({"translation": arm.tolist()} for arm in arms))
    return [{"name": name, **place, **below} for name, place, below in zip(JOINTS, places, children, strict=True)]


def _material(kind: int) -> dict[str, Any]:
    material = MATERIALS[kind]
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": material.roughness}
    told: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
    return told | ({"doubleSided": True} if material.two_sided else {})


def _jpeg(head: Head) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(head.atlas).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _primitives(head: Head, binary: _Binary) -> Iterator[dict[str, Any]]:
    """One primitive for each material, with vertices of its own."""
    normals = vertex_normals(head.vertices, head.triangles, head.weld)
    shapes = head.shapes.copy()
    shapes[:, np.concatenate(head.eyeballs)] = 0.0
    turns = np.stack([vertex_normals(head.vertices + s, head.triangles, head.weld) - normals for s in shapes])
    joints, weights = _influences(head)
    colours = np.full((len(head.vertices), 4), 255, np.uint8)
    colours[:, :3] = np.rint(255.0 * head.occlusion)[:, None]
    for place, kind in enumerate(np.unique(head.material)):
        members, corners = np.unique(head.triangles[head.material == kind], return_inverse=True)
        width = np.uint16 if len(members) < 1 << 16 else np.uint32
        yield {
            "attributes": {
                "POSITION": binary.attribute("POSITION", head.vertices[members], bounds=True),
                "NORMAL": binary.attribute("NORMAL", _unit(normals[members])),
                "TEXCOORD_0": binary.attribute("TEXCOORD_0", head.uv[members]),
                "COLOR_0": binary.attribute("COLOR_0", colours[members], normalized=True),
                "JOINTS_0": binary.attribute("JOINTS_0", joints[members]),
                "WEIGHTS_0": binary.attribute("WEIGHTS_0", weights[members]),
            },
            "indices": binary.indices(corners.reshape(-1, 1).astype(width)),
            "material": place,
            "targets": list(_targets(binary, shapes[:, members], turns[:, members])),
        }


def _targets(
    binary: _Binary, shapes: Float32[np.ndarray, "52 V 3"], turns: Float32[np.ndarray, "52 V 3"]
) -> Iterator[dict[str, int]]:
    """Morph targets as sparse accessors: what each moves, and how normals change there."""
    count = shapes.shape[1]
    zeros = None
    for shape, turn in zip(shapes, turns, strict=True):
        target = {}
        for name, change, grain in (("POSITION", shape, 0.0), ("NORMAL", turn, NORMAL_GRAIN)):
            places = np.flatnonzero(np.abs(change).max(axis=1) > grain)
            if len(places):
                target[name] = binary.sparse(places, change[places], count)
            else:
                zeros = binary.zeros(count) if zeros is None else zeros
                target[name] = zeros
        yield target


def _influences(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Joints (V, 4) uint8 and weights (V, 4) float32: body and head share a vertex, an eyeball belongs to its eye."""
    weight = head.head_weight
    joints, weights = np.zeros((len(weight), 4), np.uint8), np.zeros((len(weight), 4), np.float32)
    weights[:, 0], weights[:, 1] = 1.0 - weight, weight
    joints[:, 1] = weight > 0.0
    alone = np.flatnonzero(weight == 1.0)
    joints[alone], weights[alone] = (1, 0, 0, 0), (1.0, 0.0, 0.0, 0.0)
    for eye, members in enumerate(head.eyeballs):
        joints[members, 0] = 2 + eye
    return joints, weights


def _unit(normals: Float32[np.ndarray, "V 3"]) -> Float32[np.ndarray, "V 3"]:
    """Normals of unit length; those of vertices without one point to the front."""
    lengths = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    unit: np.ndarray = np.where(lengths > 0.5, normals / np.maximum(lengths, 0.5), (0.0, 0.0, 1.0)).astype(np.float32)
    return unit


def _with_motion(still: _Still, motion: MotionClip, times: Float32[np.ndarray, " frames"]) -> tuple[bytes, ...]:
    """The whole file: the still head, and an animation with a key for each frame."""
    document, binary = still.document, _Binary()
    animation = _animation(binary, motion, times, len(document["accessors"]))
    views, content = binary.joined(len(still.binary))
    for accessor in binary.accessors:
        accessor["bufferView"] += len(document["bufferViews"])
    size = len(still.binary) + len(content)
    document = {
        **document,
        "accessors": [*document["accessors"], *binary.accessors],
        "bufferViews": [*document["bufferViews"], *views],
        "buffers": [{"byteLength": size}],
        "animations": [animation],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    opening = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + size, len(text), b"JSON")
    return opening, text, struct.pack("<I4s", size, b"BIN\0"), still.binary, content


def _animation(
    binary: _Binary, motion: MotionClip, times: Float32[np.ndarray, " frames"], first: int
) -> dict[str, Any]:
    """Keys of the weights and of three joints; `first` is the number that the first accessor of `binary` gets."""
    weights = np.ascontiguousarray(motion.values[:, : len(ARKIT_BLENDSHAPES)], np.float32)
    pitch, yaw = gaze(weights.astype(np.float64))
    turns = [quaternions(*motion.values[:, len(ARKIT_BLENDSHAPES) :].astype(np.float64).T)]
    turns += [quaternions(pitch[eye], yaw[eye], np.zeros(len(times))) for eye in (0, 1)]
    clock = first + binary.plain("times", times[:, None], bounds=True)
    keys = [binary.plain("weights", weights.reshape(-1, 1)), *(binary.plain("rotations", turn) for turn in turns)]
    targets = [{"node": FACE_NODE, "path": "weights"}, *({"node": 1 + joint, "path": "rotation"} for joint in range(3))]
    return {
        "name": "motion",
        "channels": [{"sampler": place, "target": target} for place, target in enumerate(targets)],
        "samplers": [{"input": clock, "output": first + key, "interpolation": "LINEAR"} for key in keys],
        "extras": {"fps": motion.fps},
    }
