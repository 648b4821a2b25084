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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, check_eyes_turn_with_head, check_head, gaze, quaternions
from avi_lib.face.raster import vertex_normals
from avi_lib.files import atomic_path
from avi_lib.heads.gltf import FPS_RANGE, MAX_FRAMES
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip

GENERATOR = "avi_lib"
JOINTS = ("body", "head", "leftEye", "rightEye")
FACE_NODE = len(JOINTS)
JPEG_QUALITY = 95
"""Within 11/255 of the open head's atlas, 0.5/255 on average, at 2/5 of the size of a PNG."""

CUTOFF = 0.35
"""Hair is shown from this opacity on: players sort blended triangles by their middles, and hair is many layers."""
NORMAL_GRAIN = 1e-3
"""Smaller changes of a normal by a morph target are left out."""

_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_COMPONENTS = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
_VERTICES, _INDICES = 34962, 34963


def write_glb(head: Head, motion: MotionClip, path: Path) -> None:
    """Write a head and its motion to `path`, atomically; the same head and motion give the same bytes.

    Raises InputError, before anything is written, for motion outside the ARKIT space, for a rate outside FPS_RANGE or
    more than MAX_FRAMES, which `read_glb_motion` would change or refuse, and for a head whose arrays do not fit or are
    not finite; OutputError where the file cannot be written.
    """
    if motion.space is not ARKIT:
        raise InputError("motion in the ARKIT space", f"the space {motion.space.name}", "convert it first")
    if not FPS_RANGE[0] <= motion.fps <= FPS_RANGE[1]:
        expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames per second for glTF"
        raise InputError(expected, f"{motion.fps:g}", "export it as npz, or at another rate")
    if len(motion) > MAX_FRAMES:
        raise InputError(f"at most {MAX_FRAMES} frames for glTF", str(len(motion)), "export it in parts")
    times = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    still, binary = _still(head)
    binary = _Binary(binary)
    animation = _animation(binary, motion, times)
    views, content = binary.joined()
    size = len(content)
    arrays = {"accessors": binary.accessors, "bufferViews": views, "buffers": [{"byteLength": size}]}
    document = {**still, **arrays, "animations": [animation]}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    opening = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + size, len(text), b"JSON")
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as stream:
        stream.writelines((opening, text, struct.pack("<I4s", size, b"BIN\0"), content))


class _Binary:
    """Bytes on their way into the file: one buffer view for each kind of data, its accessors one behind the other.

    `before` is what comes first; kinds that it has are not added to.
    """

    def __init__(self, before: _Binary | None = None) -> None:
        self.accessors: list[dict[str, Any]] = [*before.accessors] if before else []
        self._views: dict[str, tuple[dict[str, int], bytearray]] = {**before._views} if before else {}

    def view(self, kind: str, content: bytes, **traits: int) -> dict[str, int]:
        """Append bytes to the view of a kind; the view's number and the bytes' place in it, a multiple of four."""
        _, held = self._views.setdefault(kind, (traits, bytearray()))
        place = {"bufferView": list(self._views).index(kind), "byteOffset": len(held)}
        held += content + bytes(-len(content) % 4)
        return place

    def add(self, kind: str, values: np.ndarray, bounds: bool = False, target: int = 0, **traits: Any) -> int:
        """Add elements (count, width), of vertices or triangles where `target` says so; the number of the accessor."""
        values = np.ascontiguousarray(values)
        of_view = {"target": target} if target else {}
        if target == _VERTICES:
            of_view["byteStride"] = values.strides[0]
        return self._described(values, bounds, **self.view(kind, values.tobytes(), **of_view), **traits)

    def sparse(self, places: Int64[np.ndarray, " N"], values: Float32[np.ndarray, "N 3"], count: int) -> int:
        """Add an accessor of `count` zeros but for some places, if any; the number of the accessor."""
        span = values if len(values) == count else np.concatenate([values, np.zeros((1, 3), np.float32)])
        if not len(places):
            return self._described(span, True, count=count)
        kind = np.dtype(np.uint16 if count < 1 << 16 else np.uint32)
        indices = self.view("sparse indices", places.astype(kind).tobytes())
        sparse = {
            "count": len(places),
            "indices": {**indices, "componentType": _COMPONENTS[kind.name]},
            "values": self.view("sparse values", values.tobytes()),
        }
        return self._described(span, True, count=count, sparse=sparse)

    def _described(self, values: np.ndarray, bounds: bool, **traits: Any) -> int:
        component, width = _COMPONENTS[values.dtype.name], _TYPES[values.shape[1]]
        accessor = {"componentType": component, "count": len(values), "type": width}
        if bounds:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor | traits)
        return len(self.accessors) - 1

    def joined(self) -> tuple[list[dict[str, int]], bytes]:
        """The buffer views and the bytes of all of them."""
        views, start = [], 0
        for traits, held in self._views.values():
            views.append({"buffer": 0, "byteOffset": start, "byteLength": len(held), **traits})
            start += len(held)
        return views, b"".join(held for _, held in self._views.values())


@lru_cache(maxsize=1)
def _still(head: Head) -> tuple[dict[str, Any], _Binary]:
    """The document and the bytes of a head that does not move, kept for its next clip."""
    check_head(head)
    check_eyes_turn_with_head(head)
    binary = _Binary()
    primitives = _primitives(head, binary)
    places = [head.pivot, *(head.eye_centres - head.pivot)]  # each against its parent
    children: tuple[dict[str, Any], ...] = ({"children": [1]}, {"children": [2, 3]}, {}, {})
    joints = [
        {"name": name, **({"translation": places[joint - 1].tolist()} if joint else {}), **children[joint]}
        for joint, name in enumerate(JOINTS)
    ]
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
    inverse[1:, 3, :3] = -np.stack([head.pivot, *head.eye_centres])
    picture = io.BytesIO()
    if head.alpha is None:
        Image.fromarray(head.atlas).save(picture, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(np.dstack([head.atlas, head.alpha])).save(picture, "PNG", compress_level=1)
    image = {"mimeType": "image/jpeg" if head.alpha is None else "image/png"}
    mesh = {
        "name": "face",
        "primitives": primitives,
        "weights": [0.0] * len(ARKIT_BLENDSHAPES),
        "extras": {"targetNames": list(ARKIT_BLENDSHAPES)},
    }
    skin = {
        "joints": list(range(len(JOINTS))),
        "skeleton": 0,
        "inverseBindMatrices": binary.add("inverse bind matrices", inverse.reshape(-1, 16)),
    }
    veils = {MATERIALS[kind].name for kind in np.unique(head.material[head.see_through])}
    materials = [
        {
            "name": material.name,
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": 0},
                "metallicFactor": 0.0,
                "roughnessFactor": material.roughness,
            },
            **({"doubleSided": True} if material.two_sided else {}),
            **({"alphaMode": "MASK", "alphaCutoff": CUTOFF} if material.name in veils else {}),
        }
        for material in (MATERIALS[kind] for kind in np.unique(head.material))
    ]
    document = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0, FACE_NODE]}],
        "nodes": [*joints, {"name": "face", "mesh": 0, "skin": 0}],
        "meshes": [mesh],
        "skins": [skin],
        "materials": materials,
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [image | {"bufferView": binary.view("atlas", picture.getvalue())["bufferView"]}],
    }
    return document, binary


def _primitives(head: Head, binary: _Binary) -> list[dict[str, Any]]:
    """One primitive for each material, with vertices of its own; its morph targets tell what moves, and no more."""
    normals = vertex_normals(head.vertices, head.triangles, head.weld)
    shapes = head.shapes.copy()
    shapes[:, np.concatenate(head.eyeballs)] = 0.0
    turns = np.stack([vertex_normals(head.vertices + s, head.triangles, head.weld) - normals for s in shapes])
    lengths = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(lengths > 0.5, normals / np.maximum(lengths, 0.5), (0.0, 0.0, 1.0)).astype(np.float32)
    colours = np.full((len(head.vertices), 4), 255, np.uint8)
    colours[:, :3] = np.rint(255.0 * head.occlusion)[:, None]
    joints, weights = _influences(head)
    of_vertices: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "POSITION": (head.vertices, {"bounds": True}),
        "NORMAL": (unit, {}),
        "TEXCOORD_0": (head.uv, {}),
        "COLOR_0": (colours, {"normalized": True}),
        "JOINTS_0": (joints, {}),
        "WEIGHTS_0": (weights, {}),
    }
    primitives = []
    for place, kind in enumerate(np.unique(head.material)):
        members, corners = np.unique(head.triangles[head.material == kind], return_inverse=True)
        attributes = {
            name: binary.add(name, values[members], target=_VERTICES, **traits)
            for name, (values, traits) in of_vertices.items()
        }
        width = np.uint16 if len(members) < 1 << 16 else np.uint32
        indices = binary.add("indices", corners.reshape(-1, 1).astype(width), target=_INDICES)
        zeros = None
        targets = []
        for shape, turn in zip(shapes[:, members], turns[:, members], strict=True):
            target = {}
            for name, change, grain in (("POSITION", shape, 0.0), ("NORMAL", turn, NORMAL_GRAIN)):
                moving = np.flatnonzero(np.abs(change).max(axis=1) > grain)
                if len(moving) or zeros is None:
                    target[name] = binary.sparse(moving, change[moving], len(members))
                    zeros = zeros if len(moving) else target[name]
                else:
                    target[name] = zeros
            targets.append(target)
        primitives.append({"attributes": attributes, "indices": indices, "material": place, "targets": targets})
    return primitives


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


def joint_turns(motion: MotionClip) -> list[Float32[np.ndarray, "frames 4"]]:
    """Quaternions x, y, z, w of the head, the left and the right eye in every frame, each against its parent."""
    values = motion.values.astype(np.float64)
    eyes = [quaternions(pitch, yaw, np.zeros_like(yaw)) for pitch, yaw in zip(*gaze(values), strict=True)]
    return [quaternions(*values[:, len(ARKIT_BLENDSHAPES) :].T), *eyes]


def _animation(binary: _Binary, motion: MotionClip, times: Float32[np.ndarray, " frames"]) -> dict[str, Any]:
    """Keys of the weights and of the three joints that turn, for every frame."""
    weights = np.ascontiguousarray(motion.values[:, : len(ARKIT_BLENDSHAPES)], np.float32)
    clock = binary.add("times", times[:, None], bounds=True)
    keys = [binary.add("weights", weights.reshape(-1, 1))]
    keys += [binary.add("rotations", turns) for turns in joint_turns(motion)]
    targets = [{"node": FACE_NODE, "path": "weights"}, *({"node": 1 + joint, "path": "rotation"} for joint in range(3))]
    return {
        "name": "motion",
        "channels": [{"sampler": place, "target": target} for place, target in enumerate(targets)],
        "samplers": [{"input": clock, "output": key, "interpolation": "LINEAR"} for key in keys],
        "extras": {"fps": motion.fps},
    }
