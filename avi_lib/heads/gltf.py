"""A glTF 2.0 file of anyone, .glb or .gltf: its checked document, its numbers, its nodes and its motion.

>>> read_glb_motion(Path("talk.glb")).fps
25.0

Bytes come from the file itself, from data URIs, and from files in the same folder; nothing is fetched. Files are read
behind the wall, which limits time and memory and tells in a line what a reader stumbles over.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from scipy.spatial.transform import Rotation, Slerp

from avi_lib.errors import Finding, InputError, cause
from avi_lib.heads.placing import inside
from avi_lib.motion.clip import (
    ARKIT,
    ARKIT_BLENDSHAPES,
    HEAD_ROTATION,
    MotionClip,
    match_channels,
    read_clip,
    words,
)
from avi_lib.wall import behind_wall

MAX_FRAMES = 500_000
FPS_RANGE = (1.0, 240.0)
STILL_FPS = 25.0  # the rate of a clip whose animation has one key and notes no rate
EXTENSIONS = {
    *("KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp", "KHR_texture_basisu"),
    *("KHR_lights_punctual", "KHR_xmp_json_ld", "KHR_materials_variants", "KHR_materials_unlit"),
}
"""Extensions a file may require: read, or of no matter to the shape of a head. So is every KHR_materials_*."""
EYES = ({"eye", "left"}, {"eye", "l"}), ({"eye", "right"}, {"eye", "r"})
"""The last two words of a left and of a right eye's name."""

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}

Part = dict[str, Any]  # an object of a document, without what is null


class GltfFile:
    """The document of a file and access to its bytes.

    Raises InputError when it is no glTF 2.0, or needs an extension that is not read, such as the compression of Draco
    and meshopt.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError("a .glb or .gltf file", f"{path}, which is none", "check the path")
        self.path, self._buffers, text = path, dict[int, bytes](), path.read_bytes()
        try:
            if text[:4] == b"glTF":
                (size,) = struct.unpack_from("<12xI", text)
                self._buffers[0], text = text[28 + size :], text[20 : 20 + size]
            self.document: Part = json.loads(
                text, object_pairs_hook=lambda fields: {k: v for k, v in fields if v is not None}, parse_float=_number
            )
        except (ValueError, RecursionError, struct.error) as error:
            raise self.refused("a glTF 2.0 document", cause(error), "copy it again, or export it anew") from error
        version = self.document["asset"]["version"]
        if not version.startswith("2."):
            raise self.refused("glTF 2.0", f"version {version[:20]}", "convert it to glTF 2.0")
        for extension in self.document.get("extensionsRequired", ()):
            if extension not in EXTENSIONS and not extension.startswith("KHR_materials_"):
                raise InputError(f"a file that can be read without {extension[:120]}", str(path), "export it without")

    def refused(self, expected: str, got: str, do: str = "export it again as a plain .glb") -> InputError:
        """An error that names this file."""
        return InputError(f"{expected} in {self.path}", got, do)

    def part(self, kind: str, index: int, parent: Part | None = None) -> Part:
        """The part of that number in a list of the document, or of a part of it; InputError when there are fewer."""
        parts = (self.document if parent is None else parent).get(kind, ())
        if not 0 <= index < len(parts):
            raise self.refused(f"number {index} of the {kind}", f"{len(parts)} of them")
        part: Part = parts[index]
        return part

    def numbers(
        self, index: int, width: int | None = None, count: int | None = None, whole: bool = False
    ) -> Shaped[np.ndarray, "count width"]:
        """An accessor's elements: finite float32, or where `whole` is asked for int64, which are not normalised.

        Raises InputError unless they are of this width and this count.
        """
        accessor, what = self.part("accessors", index), f"accessor {index}"
        wide, kind, size = _WIDTHS.get(accessor["type"]), _TYPES.get(accessor["componentType"], ""), accessor["count"]
        fit = type(size) is int and size > 0 and width in (None, wide) and count in (None, size)
        if wide is None or not kind or not fit or (whole and "f" in kind):
            wanted = f"{count or 'some'} elements of {width or 'some'} {'integers' if whole else 'numbers'} in {what}"
            raise self.refused(wanted, f"{size} of type {accessor['type']} and {accessor['componentType']}"[:200])
        try:
            values = self._range(accessor, size, wide, kind)
            if "sparse" in accessor:
                sparse = accessor["sparse"]
                places = self._range(sparse["indices"], sparse["count"], 1, _TYPES[sparse["indices"]["componentType"]])
                if (np.diff(places[:, 0].astype(int)) <= 0).any():
                    raise ValueError("sparse indices that fall")
                values[places[:, 0]] = self._range(sparse["values"], sparse["count"], wide, kind)
        except (ValueError, TypeError, IndexError) as error:
            raise self.refused(f"{what} within its buffer view", f"{size} elements ({cause(error)})") from error
        if whole:
            return values.astype(np.int64)
        if accessor.get("normalized") and "f" not in kind:
            values = np.maximum(values / np.float32(np.iinfo(values.dtype).max), np.float32(-1.0))
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise self.refused(f"finite numbers in {what}", "NaN or infinity")
        return values

    def _range(self, part: Part, count: int, width: int, kind: str) -> np.ndarray:
        """`count` elements of `width` numbers from the buffer view that a part names, zeros where it names none.

        numpy raises ValueError or TypeError for elements that reach out of the view.
        """
        if "bufferView" not in part:
            return np.zeros((count, width), kind)
        content, stride = self.view(part["bufferView"])
        item = np.dtype(kind).itemsize
        steps = (stride or width * item, item)
        return np.ndarray((count, width), kind, content, part.get("byteOffset", 0), steps).copy()

    def view(self, index: int) -> tuple[memoryview, int | None]:
        """The bytes of a buffer view, and its stride."""
        view = self.part("bufferViews", index)
        number, start, size = view["buffer"], view.get("byteOffset", 0), view["byteLength"]
        buffer = self.part("buffers", number)
        if "uri" in buffer and number not in self._buffers:
            self._buffers[number] = self.resource(buffer["uri"])
        content = memoryview(self._buffers.get(number, b""))[: buffer["byteLength"]]
        if start < 0 or not 0 <= size <= buffer["byteLength"] - start or len(content) < buffer["byteLength"]:
            got = f"{size} from byte {start}"
            raise self.refused(f"buffer view {index} within its {len(content)} bytes", got, "copy it again")
        return content[start : start + size], view.get("byteStride")

    def resource(self, uri: str) -> bytes:
        """The bytes of a data URI or of a file in this file's folder or below it."""
        expected, do = f"a file in the folder of {self.path.name}, or data in base64", "put it there and name it so"
        try:
            if uri.startswith("data:"):
                head, _, body = uri.partition(",")
                return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote(body).encode()
            return inside(self.path.parent, unquote(uri)).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(expected, f"{uri[:80]!r}, which {error}", do) from error


def _number(text: str) -> float:
    """Some exporters write whole numbers as 24.0."""
    number = float(text)
    return int(number) if number.is_integer() else number


class GltfScene:
    """The tree of nodes: `parent` of each (-1: none) and its matrix in the file's `world`; `order` from the roots down.

    `drawn` are the nodes of the default scene that show a mesh. Nodes named head that show no mesh are `heads`, nodes
    named as the left and the right eye are `eyes`; `carried` tells which nodes are, or stand below, the head, the left
    and the right eye. Raises InputError for nodes with two parents, or in a circle.
    """

    def __init__(self, file: GltfFile) -> None:
        self.file, self.nodes = file, file.document.get("nodes", [])
        self.parent, self.world = [-1] * len(self.nodes), np.zeros((len(self.nodes), 4, 4))
        for index, node in enumerate(self.nodes):
            for child in node.get("children", ()):
                file.part("nodes", child)
                if self.parent[child] >= 0:
                    raise file.refused("a tree of nodes", f"node {child} with two parents")
                self.parent[child] = index
        self.order = [node for node, parent in enumerate(self.parent) if parent < 0]
        for index in self.order:  # grows while it is walked
            local, above = local_matrix(self.nodes[index]), self.parent[index]
            self.world[index] = local if above < 0 else self.world[above] @ local
            self.order.extend(self.nodes[index].get("children", ()))
        if len(self.order) < len(self.nodes):
            raise file.refused("a tree of nodes", "nodes in a circle")
        self.number = file.document.get("scene", 0)
        scenes = "scenes" in file.document and file.document["scenes"]
        self.roots = file.part("scenes", self.number).get("nodes", []) if scenes else self.order
        shown = self.below(set(self.roots))
        self.drawn = [node for node in self.order if shown[node] and "mesh" in self.nodes[node]]
        self.joints = {joint for skin in file.document.get("skins", ()) for joint in skin["joints"]}
        self.heads = {node for node in self._named({"head"}) if "mesh" not in self.nodes[node]}
        self.eyes = tuple(self._named(*names) for names in EYES)
        self.carried = np.stack([self.below(nodes) for nodes in (self.heads, *self.eyes)])

    def _named(self, *names: set[str]) -> set[int]:
        """Nodes whose name ends in these words, but for a number: "Wolf3D_EyeLeft.001" ends in eye, left."""
        spoken = [[word for word in words(node.get("name", "")) if not word.isdigit()] for node in self.nodes]
        return {node for node, said in enumerate(spoken) if any(set(said[-len(name) :]) == name for name in names)}

    def below(self, nodes: set[int]) -> Bool[np.ndarray, " nodes"]:
        """Which nodes are among these or stand somewhere below one of them."""
        below = np.zeros(len(self.nodes), bool)
        for node in self.order:
            below[node] = node in nodes or (self.parent[node] >= 0 and below[self.parent[node]])
        return below

    def topmost(self, nodes: set[int]) -> list[int]:
        """Those of these nodes that stand below none of the others."""
        below = self.below(nodes)
        return [node for node in sorted(nodes) if self.parent[node] < 0 or not below[self.parent[node]]]


def local_matrix(node: Part) -> Float64[np.ndarray, "4 4"]:
    """A node's transform against its parent: its matrix, or translation, rotation (none where it is zero) and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    local, rotation = np.eye(4), np.array([node.get("rotation", (0.0, 0.0, 0.0, 1.0))], np.float64)
    scale, place = (np.array(node.get(name, (x,) * 3), float) for name, x in (("scale", 1.0), ("translation", 0.0)))
    local[:3, :3] = _rotations(rotation)[0].as_matrix() * scale.reshape(3)
    local[:3, 3] = place.reshape(3)
    return local


def _rotations(quaternions: Float64[np.ndarray, "keys 4"]) -> Rotation:
    """Rotations of quaternions (x, y, z, w) of any length; none where one is zero."""
    lost = np.linalg.norm(quaternions, axis=1, keepdims=True) < 1e-6
    return Rotation.from_quat(np.where(lost, (0.0, 0.0, 0.0, 1.0), quaternions))


def target_names(mesh: Part) -> tuple[str, ...]:
    """Names of the morph targets, which exporters put into `extras.targetNames` of the mesh or of a primitive."""
    for part in (mesh, *mesh["primitives"]):
        extras = part.get("extras")
        names = extras.get("targetNames") if isinstance(extras, dict) else None
        if isinstance(names, list):
            return tuple(map(str, names))
    return ()


def read_glb_motion(path: Path, animation: str | None = None) -> MotionClip:
    """The first animation of a file that moves morph targets with ARKit's names, as frames at an even rate.

    With the name of an `animation` that one. Others are merged with it in order where they move something else, as
    exporters write one an action; those that are not are warned of, and so are shapes that are no channels.
    The rate is the one that `write_glb` notes beside the keys, else that of their usual distance. The head's rotation
    is that of the topmost animated node named head, against its rest, seen in the file's world. Channels that nothing
    moves are zero and not present; rotations of eyes are not read, since eyeLook weights tell the gaze. Raises
    InputError for a file without such an animation, for keys out of order, for more than MAX_FRAMES frames, and for
    what `read_clip` refuses.
    """
    terms = {"name": str(path), "expected": "a glTF file with an animation", "do": "export it again"}
    given = (str(Path(path).absolute()), animation)
    (clip,) = behind_wall(read_animation, *given, **terms, seconds=120.0, memory_mb=4096)
    warnings = tuple(Finding("not_read", 1.0, note) for note in clip["notes"])
    present = np.isin(ARKIT.channels, clip["moved"])
    return read_clip(clip["values"], float(clip["fps"]), ARKIT, Path(path), present=present, warnings=warnings)


Move = tuple[Part, int]  # an animation, and the number of one of its samplers
Weights = list[tuple["_Curve", dict[str, list[int]]]]
"""Curves of the weights of meshes, and the places of each ARKit channel in them."""


def read_animation(path: str, name: str | None) -> dict[str, Any]:
    """What `read_glb_motion` runs behind the wall: values (frames, channels) float32, fps, channels moved, notes."""
    file = GltfFile(Path(path))
    scene, animations = GltfScene(file), file.document.get("animations", [])
    called = [str(each.get("name", f"number {number}"))[:80] for number, each in enumerate(animations)]
    if name is not None and name not in called:
        raise file.refused(f"an animation {name[:80]!r}", ", ".join(called)[:400] or "none", "name one of them")
    moves = [_moves(scene, animation) for animation in animations]
    chosen = (place for place in range(len(called)) if name in (None, called[place]))
    first = next((place for place in chosen if _weight_curves(file, moves[place])[0]), None)
    if first is None:
        raise file.refused("an animation of morph targets with ARKit's names", "none", "export it with its animation")
    merged, left = moves[first], []
    for place, other in enumerate(moves):
        if place != first and animations[place]["channels"]:
            left += [called[place]] if not other or other.keys() & merged.keys() else []
            merged = other | merged
    weights, notes = _weight_curves(file, merged)
    if left:
        notes.append(f"animations that are not read beside {called[first]}: {', '.join(left)}; --animation chooses one")
    return _sampled(file, scene, merged, weights, animations[first].get("extras")) | {"notes": notes}


def _moves(scene: GltfScene, animation: Part) -> dict[tuple[int, str], Move]:
    """What an animation moves of a face, by node and property: weights, and rotations of heads."""
    moves = {}
    for channel in animation["channels"]:
        node, path = channel["target"].get("node", -1), channel["target"]["path"]
        if path == "weights" or (path == "rotation" and node in scene.heads):
            moves[node, path] = animation, channel["sampler"]
    return moves


class _Curve:
    """Keys of one property: times in seconds and values (keys, width)."""

    def __init__(self, file: GltfFile, move: Move, width: int) -> None:
        sampler = file.part("samplers", move[1], move[0])
        self.times = file.numbers(sampler["input"], 1)[:, 0].astype(np.float64)
        if (np.diff(self.times) <= 0.0).any() or self.times[0] < 0.0:
            raise file.refused(f"rising times in accessor {sampler['input']}", "times that stand still or go back")
        self.kind = sampler.get("interpolation", "LINEAR")
        parts = {"LINEAR": 1, "STEP": 1, "CUBICSPLINE": 3}[self.kind]
        values = file.numbers(sampler["output"]).astype(np.float64).ravel()
        if values.size != parts * width * len(self.times):
            wanted = f"{parts * width} numbers for each of {len(self.times)} keys in accessor {sampler['output']}"
            raise file.refused(wanted, str(values.size))
        self.values, self._into, self._out = values.reshape(-1, parts, width).swapaxes(0, 1)[[parts // 2, 0, -1]]

    def at(self, times: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames width"]:
        """Values at these times, held before the first and after the last key (glTF 2.0, appendix C)."""
        low = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 1)
        high = np.minimum(low + 1, len(self.times) - 1)
        step = self.times[high] - self.times[low]
        share = np.clip((times - self.times[low]) / np.where(step > 0.0, step, 1.0), 0.0, 1.0)[:, None]
        before, after = self.values[low], self.values[high]
        if self.kind == "STEP":
            return before
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


def _weight_curves(file: GltfFile, moves: dict[tuple[int, str], Move]) -> tuple[Weights, list[str]]:
    """The weights that move ARKit channels, each of the first mesh that has it; and notes."""
    curves: Weights = []
    notes: dict[str, None] = {}
    found: set[str] = set()
    for (node, path), move in moves.items():
        if path != "weights" or node < 0:
            continue
        mesh = file.part("meshes", file.part("nodes", node)["mesh"])
        targets = max((len(primitive.get("targets", ())) for primitive in mesh["primitives"]), default=0)
        match = match_channels(target_names(mesh)[:targets])
        if new := {name: places for name, places in match.parts.items() if name not in found}:
            notes |= dict.fromkeys(match.notes)
            curves.append((_Curve(file, move, targets), new))
            found |= new.keys()
    return curves, list(notes)


def _sampled(
    file: GltfFile, scene: GltfScene, moves: dict[tuple[int, str], Move], weights: Weights, extras: Any
) -> dict[str, Any]:
    """Frames at an even rate of an animation: its weights, and the turns of the head."""
    heads = scene.topmost({node for node, path in moves if path == "rotation"})[:1]
    turned = [_Curve(file, moves[node, "rotation"], 4) for node in heads]
    every = [*(curve for curve, _ in weights), *turned]
    keys = max((curve.times for curve in every), key=len)
    noted = extras.get("fps") if isinstance(extras, dict) else None
    fps = _rate(noted if isinstance(noted, int | float) and FPS_RANGE[0] <= noted <= FPS_RANGE[1] else None, keys)
    start, end = min(curve.times[0] for curve in every), max(curve.times[-1] for curve in every)
    grain = min(max(1e-3, fps * float(np.spacing(np.float32(end)))), 0.5)  # in frames: keys are 32-bit seconds
    count = int(np.floor((end - start) * fps + grain)) + 1
    if count > MAX_FRAMES:
        raise file.refused(f"at most {MAX_FRAMES} frames", f"{count} at {fps:g} frames per second", "cut it")
    times = start + np.arange(count) / fps
    nearest = keys[np.searchsorted((keys[1:] + keys[:-1]) / 2.0, times)]
    times = np.where(np.abs(nearest - times) < grain / fps, nearest, times)
    values = np.zeros((count, len(ARKIT)), np.float32)
    for curve, places in weights:
        weight = curve.at(times)
        for name, parts in places.items():
            values[:, ARKIT_BLENDSHAPES.index(name)] = weight[:, parts].mean(axis=1)
    for node, curve in zip(heads, turned, strict=True):
        above = scene.parent[node]
        frame = Rotation.identity() if above < 0 else _rotation(scene.world[above])
        turn = frame * curve.turned(times) * _rotation(local_matrix(scene.nodes[node])).inv() * frame.inv()
        values[:, len(ARKIT_BLENDSHAPES) :] = turn.as_euler("YXZ")[:, [1, 0, 2]]  # pitch, yaw, roll
    moved = [name for _, places in weights for name in places]
    return {"values": values, "fps": fps, "moved": [*moved, *(HEAD_ROTATION if heads else ())]}


def _rate(noted: float | None, keys: Float64[np.ndarray, " keys"]) -> float:
    """Frames per second: the one that was noted, where the keys agree with it, else from the keys' usual distance."""
    if len(keys) == 1:
        return float(noted or STILL_FPS)
    usual = float(np.clip(1.0 / np.median(np.diff(keys)), *FPS_RANGE))
    if noted is not None and abs(noted / usual - 1.0) < 1e-2:
        return float(noted)
    return float(round(usual)) if abs(round(usual) / usual - 1.0) < 1e-3 else usual


def _rotation(matrix: Float64[np.ndarray, "4 4"]) -> Rotation:
    """The rotation of a node's matrix, without its scale."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    turn = left @ right
    return Rotation.from_matrix(turn if np.linalg.det(turn) > 0.0 else -turn)
