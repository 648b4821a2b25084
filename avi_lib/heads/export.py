"""Writes a head with its motion as one file for browsers, phones and 3D programs: binary glTF 2.0, or USD.

>>> write_glb(load_head(), motion, Path("face.glb"))  # motion in the ARKIT space
>>> write_usd(load_head(), motion, Path("talk.usdz"))  # needs the package usd-core, unlike .usda

Metres, y up, the face looks along +z. A skin turns the head just as `Head.deform` does: the joint `body` stays, `head`
bends the neck by the head weights, and `leftEye` and `rightEye`, below it, turn the eyeballs rigidly. Blendshapes go by
Apple's names. The animation has keys for every frame: weights and rotations of head and eyes.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from jinja2 import Environment
from PIL import Image

from avi_lib.errors import InputError, OutputError, cause, expect
from avi_lib.face.camera import MATERIALS, Material
from avi_lib.face.head import Head, check_head, gaze, quaternions
from avi_lib.face.surface import vertex_normals
from avi_lib.files import atomic_path
from avi_lib.heads.gltf import FPS_RANGE, MAX_FRAMES
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip

PARENTS = (0, 0, 1, 1)  # of the joints body, head, leftEye and rightEye; the first has none


def _check(head: Head, motion: MotionClip, do: str) -> None:
    expect(motion.space is ARKIT, "motion in the ARKIT space", f"the space {motion.space.name}", do)
    check_head(head)
    balls = np.concatenate(head.eyeballs)
    if len(balls) and (head.head_weight[balls] != 1.0).any():
        raise InputError("eyeballs that turn wholly with the head", "head weights below 1", "set them to 1")


def _joints(head: Head) -> tuple[Float32[np.ndarray, "4 3"], Float32[np.ndarray, "4 3"]]:
    """Where the joints stand, and where each stands against its parent."""
    joints = np.stack([np.zeros(3, np.float32), head.pivot, *head.eye_centres])
    return joints, joints - joints[list(PARENTS)]


def _turns(motion: MotionClip) -> list[Float32[np.ndarray, "frames 4"]]:
    """Quaternions x, y, z, w of the head, the left and the right eye in every frame, each against its parent."""
    values = motion.values.astype(np.float64)
    eyes = [quaternions(pitch, yaw, np.zeros_like(yaw)) for pitch, yaw in zip(*gaze(values), strict=True)]
    return [quaternions(*values[:, len(ARKIT_BLENDSHAPES) :].T), *eyes]


def _shapes(head: Head) -> Float32[np.ndarray, "52 V 3"]:
    """What the blendshapes move but the eyeballs, which turn by their joints."""
    shapes = head.shapes.copy()
    shapes[:, np.concatenate(head.eyeballs)] = 0.0
    return shapes


def _surfaces(head: Head) -> list[tuple[int, Material, bool]]:
    """Number and look of every kind of surface of the head, and whether one sees through some of it."""
    veils = np.unique(head.material[head.see_through])
    return [(int(kind), MATERIALS[kind], bool(kind in veils)) for kind in np.unique(head.material)]


def _picture(head: Head) -> UInt8[np.ndarray, "H W channels"]:
    """The atlas, with its opacity where it has any."""
    return head.atlas if head.alpha is None else np.dstack([head.atlas, head.alpha])


# glTF after the template scene.gltf: one mesh, a primitive for each material, with the 52 blendshapes as morph targets.

FACE_NODE = len(PARENTS)
JPEG_QUALITY = 95  # within 11/255 of the open head's atlas, 0.5/255 on average, at 2/5 of the size of a PNG

CUTOFF = 0.35
"""Hair is shown from this opacity on: players sort blended triangles by their middles, and hair is many layers."""
NORMAL_GRAIN = 1e-3  # smaller changes of a normal by a morph target are left out

_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_COMPONENTS = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}
_VERTICES, _INDICES = 34962, 34963


def write_glb(head: Head, motion: MotionClip, path: Path) -> None:
    """Write a head and its motion to `path`, atomically; the same head and motion give the same bytes.

    Raises InputError, before anything is written, for motion outside the ARKIT space, for a rate outside FPS_RANGE or
    more than MAX_FRAMES, which `read_glb_motion` would change or refuse, and for a head whose arrays do not fit or are
    not finite; OutputError where the file cannot be written.
    """
    _check(head, motion, "convert it first")
    if not FPS_RANGE[0] <= motion.fps <= FPS_RANGE[1]:
        expected = f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames per second for glTF"
        raise InputError(expected, f"{motion.fps:g}", "export it as npz, or at another rate")
    expect(len(motion) <= MAX_FRAMES, f"at most {MAX_FRAMES} frames for glTF", len(motion), "export it in parts")
    still, binary = deepcopy(_still(head))
    clock = binary.add("times", (np.arange(len(motion)) / motion.fps).astype(np.float32)[:, None], bounds=True)
    keys = [binary.add("weights", motion.values[:, : len(ARKIT_BLENDSHAPES)].reshape(-1, 1))]
    keys += [binary.add("rotations", turns) for turns in _turns(motion)]
    targets = [{"node": FACE_NODE, "path": "weights"}, *({"node": 1 + joint, "path": "rotation"} for joint in range(3))]
    animation = {
        "name": "motion",
        "channels": [{"sampler": place, "target": target} for place, target in enumerate(targets)],
        "samplers": [{"input": clock, "output": key, "interpolation": "LINEAR"} for key in keys],
        "extras": {"fps": motion.fps},
    }
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
    """Bytes on their way into the file: one buffer view for each kind of data, its accessors one behind the other."""

    def __init__(self) -> None:
        self.accessors: list[dict[str, Any]] = []
        self._views: dict[str, tuple[dict[str, int], bytearray]] = {}

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
    binary = _Binary()
    document: dict[str, Any] = json.loads(Path(__file__).with_name("scene.gltf").read_text("utf-8"))
    (mesh,), (skin,), (image,) = (document[kind] for kind in ("meshes", "skins", "images"))
    names = list(ARKIT_BLENDSHAPES)
    mesh |= {"primitives": _primitives(head, binary), "weights": [0.0] * len(names), "extras": {"targetNames": names}}
    places, from_parents = _joints(head)
    for joint in range(1, len(PARENTS)):
        document["nodes"][joint]["translation"] = from_parents[joint].tolist()
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(PARENTS), 1, 1))
    inverse[1:, 3, :3] = -places[1:]
    skin["inverseBindMatrices"] = binary.add("inverse bind matrices", inverse.reshape(-1, 16))
    for _, material, veil in _surfaces(head):
        look = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": material.roughness}
        more: dict[str, Any] = {"doubleSided": True} if material.two_sided else {}
        more |= {"alphaMode": "MASK", "alphaCutoff": CUTOFF} if veil else {}
        document["materials"].append({"name": material.name, "pbrMetallicRoughness": look, **more})
    picture, form = io.BytesIO(), "jpeg" if head.alpha is None else "png"
    Image.fromarray(_picture(head)).save(picture, form, quality=JPEG_QUALITY, subsampling=0, compress_level=1)
    atlas = binary.view("atlas", picture.getvalue())
    image |= {"mimeType": f"image/{form}", "bufferView": atlas["bufferView"]}
    return document, binary


def _primitives(head: Head, binary: _Binary) -> list[dict[str, Any]]:
    """One primitive for each material, with vertices of its own; its morph targets tell what moves, and no more."""
    normals = vertex_normals(head.vertices, head.triangles, head.weld)
    shapes = _shapes(head)
    turns = np.stack([vertex_normals(head.vertices + s, head.triangles, head.weld) - normals for s in shapes])
    lengths = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    unit = np.where(lengths > 0.5, normals / np.maximum(lengths, 0.5), (0.0, 0.0, 1.0)).astype(np.float32)
    colours = np.full((len(head.vertices), 4), 255, np.uint8)
    colours[:, :3] = np.rint(255.0 * head.occlusion)[:, None]
    share = head.head_weight  # body and head share a vertex, an eyeball belongs to its eye
    joints, weights = np.zeros((len(share), 4), np.uint8), np.zeros((len(share), 4), np.float32)
    weights[:, 0], weights[:, 1] = 1.0 - share, share
    joints[:, 1] = share > 0.0
    joints[share == 1.0], weights[share == 1.0] = (1, 0, 0, 0), (1.0, 0.0, 0.0, 0.0)
    for eye, members in enumerate(head.eyeballs):
        joints[members, 0] = 2 + eye
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


# USD: a skinned mesh with blendshapes and their curves, a time code a frame, after the template scene.usda. A point is
# a welded one; how points are shared between body and head bends the neck.

SUFFIXES = (".usda", ".usdc", ".usdz")
_JOINT_PATHS = ("body", "body/head", "body/head/leftEye", "body/head/rightEye")


def write_usd(head: Head, motion: MotionClip, path: Path) -> None:
    """Write a head and its motion as USD, atomically; beside .usda and .usdc lies the texture `<name>_atlas.png`.

    Raises InputError for another suffix, motion that is not of the ARKIT space, a head whose arrays do not fit or are
    not finite, and for .usdc and .usdz where usd-core is not installed; OutputError where a file cannot be written.
    """
    path = Path(path)
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise InputError(f"a file of the type {', '.join(SUFFIXES)}", path.name, "rename it")
    _check(head, motion, "export FLAME motion as npz")
    texture = path.with_name(f"{path.stem}_atlas.png")
    scene: Any = _scene(head, motion, texture.name)

    def write(scene_path: Path, picture: Path) -> None:
        Image.fromarray(_picture(head)).save(picture, compress_level=1)
        if isinstance(scene, str):
            scene_path.write_text(scene)
        elif not scene.Export(str(scene_path)):
            raise OSError("USD did not write it")

    if suffix != ".usda":
        try:
            sdf = importlib.import_module("pxr.Sdf")
        except ImportError as error:
            raise InputError("the package usd-core", str(error), "pip install usd-core") from error
        text, scene = scene, sdf.Layer.CreateAnonymous(".usda")
        scene.ImportFromString(text)
    if suffix == ".usdz":
        with atomic_path(path) as temporary, _clear(path), tempfile.TemporaryDirectory(prefix="avi-usd-") as folder:
            files = Path(folder, "head.usdc"), Path(folder, texture.name)
            write(*files)
            _package(files, temporary)
        return
    with atomic_path(path) as temporary, atomic_path(texture) as picture, _clear(path):
        write(temporary, picture)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())  # so that a full disk shows before the first of the two moves


def _scene(head: Head, motion: MotionClip, texture: str) -> str:
    """The scene as the text of a .usda."""
    _, first, point = np.unique(head.weld, return_index=True, return_inverse=True)
    eyeballs = [np.unique(point[members]) for members in head.eyeballs]
    points, (places, from_parents), share = head.vertices[first], _joints(head), head.head_weight[first]
    shapes = {}
    for channel, offsets in zip(ARKIT_BLENDSHAPES, _shapes(head)[:, first], strict=True):
        moving = np.flatnonzero(np.abs(offsets).max(axis=1) > 0.0)
        if len(moving):
            shapes[channel] = moving, offsets[moving]
    carriers = np.tile([1, 0], (len(points), 1))  # the joints that share a point: head and body
    for eye, members in enumerate(eyeballs, 2):
        carriers[members, 0] = eye
    turns = np.stack([np.zeros((len(motion), 4)), *_turns(motion)], axis=1)
    turns[:, [0, *(eye for eye, ball in enumerate(eyeballs, 2) if not len(ball))]] = (0, 0, 0, 1)
    surfaces = _surfaces(head)
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"usd": _usd_numbers, "moves": _usd_moves}
    return environment.from_string(Path(__file__).with_name("scene.usda").read_text("utf-8")).render(
        frames=len(motion),
        fps=motion.fps,
        texture=texture.replace("@@@", "\\@@@"),
        two_sided=any(look.two_sided for _, look, _ in surfaces),
        extent=np.stack([points.min(axis=0), points.max(axis=0)]),
        points=points,
        counts=np.full(len(head.triangles), 3),
        corners=point[head.triangles].ravel(),
        uv=np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1),  # v upwards
        uv_corners=head.triangles.ravel(),
        carriers=carriers.ravel(),
        shares=np.stack([share, 1.0 - share], axis=1).ravel(),
        shapes=shapes,
        surfaces=[(look, veil, np.flatnonzero(head.material == kind)) for kind, look, veil in surfaces],
        joints=_JOINT_PATHS,
        places=places,
        from_parents=from_parents,
        turns=turns[..., [3, 0, 1, 2]],
        weights=motion.values[:, [ARKIT.index(channel) for channel in shapes]],
    )


def _usd_numbers(values: np.ndarray) -> str:
    """Numbers (count,), or tuples (count, width)."""
    one = "%d" if values.dtype.kind in "iu" else "%.9g"
    one = f"({', '.join([one] * values.shape[1])})" if values.ndim == 2 else one
    return f"[{', '.join([one] * len(values))}]" % tuple(values.ravel().tolist())


def _usd_moves(places: Float32[np.ndarray, "joints 3"]) -> str:
    """Matrices that move the origin to each of the places."""
    one = "((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (%.9g, %.9g, %.9g, 1))"
    return f"[{', '.join([one] * len(places))}]" % tuple(places.ravel().tolist())


def _package(files: tuple[Path, ...], path: Path) -> None:
    """These files as one .usdz: a zip without compression, in which every file begins at a multiple of 64 bytes."""
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as package:
        for file in files:
            info = zipfile.ZipInfo(file.name)  # of 1980, so that two runs write the same bytes
            gap = -(stream.tell() + 34 + len(os.fsencode(file.name))) % 64
            info.extra = struct.pack("<HH", 0x1986, gap) + bytes(gap)
            package.writestr(info, file.read_bytes())


@contextmanager
def _clear(path: Path) -> Iterator[None]:
    """USD's own errors, and those of the files that are its parts, as ours."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # pxr.Tf.ErrorException is a RuntimeError
        causes = re.findall(r" : '(.+)'$", str(error), re.MULTILINE) or [str(error)]
        got = cause(error if isinstance(error, OSError) else RuntimeError(causes[0]))
        raise OutputError(f"to write {path}", got, "free space or choose another place") from error
