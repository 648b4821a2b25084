"""A glTF 2.0 file of anyone, .glb or .gltf: its checked document, its numbers, its nodes, its motion and its head.

>>> read_glb_motion(Path("talk.glb")).fps
25.0
>>> head_behind_wall(read_gltf_head, Path("ada.glb")).notes  # what it lacks, and how it was placed
("missing, so they do not move: tongueOut", ...)

Bytes come from the file itself, from data URIs, and from files in the same folder; nothing is fetched. Files are read
behind the wall, which limits time and memory and tells in a line what a reader stumbles over.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped
from scipy.spatial.transform import Rotation, Slerp

from avi_lib.errors import Finding, InputError, cause, expect
from avi_lib.face.head import ball_middle, parts_of
from avi_lib.heads import placing
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, HEAD_ROTATION, MotionClip, match_channels, read_clip, words
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


class Gltf:
    """A file: its document, access to its bytes, and its tree of nodes.

    Of every node `parent` (-1: none) and its matrix in the file's `world`; `order` from the roots down. `drawn` are the
    nodes of the default scene that show a mesh, `joints` those of skins. Nodes named head that show no mesh are
    `heads`, nodes named as the left and the right eye are `eyes`; `carried` tells which nodes are, or stand below, the
    head, the left and the right eye. Raises InputError for what is no glTF 2.0, needs an extension that is not read,
    such as the compression of Draco and meshopt, or has nodes with two parents or in a circle.
    """

    def __init__(self, path: Path) -> None:
        got = f"{path}, which is {'no file' if path.exists() else 'not there'}"
        expect(path.is_file(), "a .glb or .gltf file", got, "check the path")
        self.path, self._buffers, text = path, dict[int, bytes](), path.read_bytes()
        try:
            if text[:4] == b"glTF":
                (size,) = struct.unpack_from("<12xI", text)
                self._buffers[0], text = text[28 + size :], text[20 : 20 + size]
            self.document: Part = json.loads(
                text,
                object_pairs_hook=lambda fields: {k: v for k, v in fields if v is not None},
                parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text),  # as in 24.0
            )
        except (ValueError, RecursionError, struct.error) as error:
            do = "copy it again, or export it anew"
            raise InputError(f"a glTF 2.0 document in {path}", cause(error), do) from error
        version = self.document["asset"]["version"]
        self.expect(version.startswith("2."), "glTF 2.0", f"version {version[:20]}", "convert it to glTF 2.0")
        for extension in self.document.get("extensionsRequired", ()):
            read = extension in EXTENSIONS or extension.startswith("KHR_materials_")
            expect(read, f"a file that can be read without {extension[:120]}", path, "export it without")
        self.nodes = self.document.get("nodes", [])
        self.parent, self.world = [-1] * len(self.nodes), np.zeros((len(self.nodes), 4, 4))
        for index, node in enumerate(self.nodes):
            for child in node.get("children", ()):
                self.part("nodes", child)
                self.expect(self.parent[child] < 0, "a tree of nodes", f"node {child} with two parents")
                self.parent[child] = index
        self.order = [node for node, parent in enumerate(self.parent) if parent < 0]
        for index in self.order:  # grows while it is walked
            local, above = local_matrix(self.nodes[index]), self.parent[index]
            self.world[index] = local if above < 0 else self.world[above] @ local
            self.order.extend(self.nodes[index].get("children", ()))
        self.expect(len(self.order) == len(self.nodes), "a tree of nodes", "nodes in a circle")
        self.number, scenes = self.document.get("scene", 0), self.document.get("scenes")
        self.roots = self.part("scenes", self.number).get("nodes", []) if scenes else self.order
        shown = self.below(set(self.roots))
        self.drawn = [node for node in self.order if shown[node] and "mesh" in self.nodes[node]]
        self.joints = {joint for skin in self.document.get("skins", ()) for joint in skin["joints"]}
        spoken = [[word for word in words(node.get("name", "")) if not word.isdigit()] for node in self.nodes]
        named = [
            {node for node, said in enumerate(spoken) if any(set(said[-len(name) :]) == name for name in names)}
            for names in (({"head"},), *EYES)  # by the last words but a number: "Wolf3D_EyeLeft.001" ends in eye, left
        ]
        self.heads, self.eyes = {node for node in named[0] if "mesh" not in self.nodes[node]}, named[1:]
        self.carried = np.stack([self.below(nodes) for nodes in (self.heads, *self.eyes)])

    def expect(self, good: object, expected: str, got: object, do: str = "export it again as a plain .glb") -> None:
        """InputError that names this file, unless what is expected of it holds."""
        if not good:
            raise InputError(f"{expected} in {self.path}", str(got), do)

    def part(self, kind: str, index: int, parent: Part | None = None) -> Part:
        """The part of that number in a list of the document, or of a part of it; InputError when there are fewer."""
        parts = (self.document if parent is None else parent).get(kind, ())
        self.expect(0 <= index < len(parts), f"number {index} of the {kind}", f"{len(parts)} of them")
        part: Part = parts[index]
        return part

    def numbers(
        self, index: int, width: int | None = None, count: int | None = None, whole: bool = False
    ) -> Shaped[np.ndarray, "count width"]:
        """An accessor's elements: finite float32, or where `whole` is asked for int64, which are not normalised.

        Raises InputError unless they are of this width and this count.
        """
        accessor, what = self.part("accessors", index), f"accessor {index}"
        wide, kind, size = (
            _WIDTHS.get(accessor["type"], 0),
            _TYPES.get(accessor["componentType"], ""),
            accessor["count"],
        )
        fit = type(size) is int and size > 0 and width in (None, wide) and count in (None, size)
        wanted = f"{count or 'some'} elements of {width or 'some'} {'integers' if whole else 'numbers'} in {what}"
        got = f"{size} of type {accessor['type']} and {accessor['componentType']}"[:200]
        self.expect(wide and kind and fit and not (whole and "f" in kind), wanted, got)
        try:
            values = self._range(accessor, size, wide, kind)
            if "sparse" in accessor:
                sparse = accessor["sparse"]
                places = self._range(sparse["indices"], sparse["count"], 1, _TYPES[sparse["indices"]["componentType"]])
                if (np.diff(places[:, 0].astype(int)) <= 0).any():
                    raise ValueError("sparse indices that fall")
                values[places[:, 0]] = self._range(sparse["values"], sparse["count"], wide, kind)
        except (ValueError, TypeError, IndexError) as error:
            self.expect(False, f"{what} within its buffer view", f"{size} elements ({cause(error)})")
        if whole:
            return values.astype(np.int64)
        if accessor.get("normalized") and "f" not in kind:
            values = np.maximum(values / np.float32(np.iinfo(values.dtype).max), np.float32(-1.0))
        values = values.astype(np.float32)
        self.expect(np.isfinite(values).all(), f"finite numbers in {what}", "NaN or infinity")
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
        whole = len(content) == buffer["byteLength"] and 0 <= start <= len(content) - size <= len(content)
        within = f"buffer view {index} within its {len(content)} bytes"
        self.expect(whole, within, f"{size} from byte {start}", "copy it again")
        return content[start : start + size], view.get("byteStride")

    def resource(self, uri: str) -> bytes:
        """The bytes of a data URI or of a file in this file's folder or below it."""
        expected, do = f"a file in the folder of {self.path.name}, or data in base64", "put it there and name it so"
        try:
            if uri.startswith("data:"):
                head, _, body = uri.partition(",")
                return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote(body).encode()
            return placing.inside(self.path.parent, unquote(uri)).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(expected, f"{uri[:80]!r}, which {error}", do) from error

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
    gltf = Gltf(Path(path))
    animations = gltf.document.get("animations", [])
    called = [str(each.get("name", f"number {number}"))[:80] for number, each in enumerate(animations)]
    there = ", ".join(called)[:400] or "none"
    gltf.expect(name in (None, *called), f"an animation {str(name)[:80]!r}", there, "name one of them")
    moves: list[dict[tuple[int, str], Move]] = [{} for _ in animations]  # of a face, by node and property
    for found, animation in zip(moves, animations, strict=True):
        for channel in animation["channels"]:
            node, moved = channel["target"].get("node", -1), channel["target"]["path"]
            if moved == "weights" or (moved == "rotation" and node in gltf.heads):
                found[node, moved] = animation, channel["sampler"]
    chosen = (place for place in range(len(called)) if name in (None, called[place]))
    first = next((place for place in chosen if _weight_curves(gltf, moves[place])[0]), None)
    if first is None:
        do = "export it with its animation"
        raise InputError(f"an animation of morph targets with ARKit's names in {path}", "none", do)
    merged, left = moves[first], []
    for place, other in enumerate(moves):
        if place != first and animations[place]["channels"]:
            left += [called[place]] if not other or other.keys() & merged.keys() else []
            merged = other | merged
    weights, notes = _weight_curves(gltf, merged)
    if left:
        notes.append(f"animations that are not read beside {called[first]}: {', '.join(left)}; --animation chooses one")
    return _sampled(gltf, merged, weights, animations[first].get("extras")) | {"notes": notes}


class _Curve:
    """Keys of one property: times in seconds and values (keys, width)."""

    def __init__(self, gltf: Gltf, move: Move, width: int) -> None:
        sampler = gltf.part("samplers", move[1], move[0])
        self.times = gltf.numbers(sampler["input"], 1)[:, 0].astype(np.float64)
        rise = (np.diff(self.times) > 0.0).all() and self.times[0] >= 0.0
        gltf.expect(rise, f"rising times in accessor {sampler['input']}", "times that stand still or go back")
        self.kind = sampler.get("interpolation", "LINEAR")
        parts = {"LINEAR": 1, "STEP": 1, "CUBICSPLINE": 3}[self.kind]
        values = gltf.numbers(sampler["output"]).astype(np.float64).ravel()
        wanted = f"{parts * width} numbers for each of {len(self.times)} keys in accessor {sampler['output']}"
        gltf.expect(values.size == parts * width * len(self.times), wanted, values.size)
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


def _weight_curves(gltf: Gltf, moves: dict[tuple[int, str], Move]) -> tuple[Weights, list[str]]:
    """The weights that move ARKit channels, each of the first mesh that has it; and notes."""
    curves: Weights = []
    notes: dict[str, None] = {}
    found: set[str] = set()
    for (node, path), move in moves.items():
        if path != "weights" or node < 0:
            continue
        mesh = gltf.part("meshes", gltf.part("nodes", node)["mesh"])
        targets = max((len(primitive.get("targets", ())) for primitive in mesh["primitives"]), default=0)
        match = match_channels(target_names(mesh)[:targets])
        if new := {name: places for name, places in match.parts.items() if name not in found}:
            notes |= dict.fromkeys(match.notes)
            curves.append((_Curve(gltf, move, targets), new))
            found |= new.keys()
    return curves, list(notes)


def _sampled(gltf: Gltf, moves: dict[tuple[int, str], Move], weights: Weights, extras: Any) -> dict[str, Any]:
    """Frames at an even rate of an animation: its weights, and the turns of the head."""
    heads = gltf.topmost({node for node, path in moves if path == "rotation"})[:1]
    turned = [_Curve(gltf, moves[node, "rotation"], 4) for node in heads]
    every = [*(curve for curve, _ in weights), *turned]
    keys = max((curve.times for curve in every), key=len)
    noted = extras.get("fps") if isinstance(extras, dict) else None
    fps = _rate(noted if isinstance(noted, int | float) and FPS_RANGE[0] <= noted <= FPS_RANGE[1] else None, keys)
    start, end = min(curve.times[0] for curve in every), max(curve.times[-1] for curve in every)
    grain = min(max(1e-3, fps * float(np.spacing(np.float32(end)))), 0.5)  # in frames: keys are 32-bit seconds
    count = int(np.floor((end - start) * fps + grain)) + 1
    gltf.expect(count <= MAX_FRAMES, f"at most {MAX_FRAMES} frames", f"{count} at {fps:g} frames per second", "cut it")
    times = start + np.arange(count) / fps
    nearest = keys[np.searchsorted((keys[1:] + keys[:-1]) / 2.0, times)]
    times = np.where(np.abs(nearest - times) < grain / fps, nearest, times)
    values = np.zeros((count, len(ARKIT)), np.float32)
    for curve, places in weights:
        weight = curve.at(times)
        for name, parts in places.items():
            values[:, ARKIT_BLENDSHAPES.index(name)] = weight[:, parts].mean(axis=1)
    for node, curve in zip(heads, turned, strict=True):
        above = gltf.parent[node]
        frame = Rotation.identity() if above < 0 else _rotation(gltf.world[above])
        turn = frame * curve.turned(times) * _rotation(local_matrix(gltf.nodes[node])).inv() * frame.inv()
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


# The head of a file: nodes as they stand, skins applied, no morph weights. A joint named as the head carries what it
# carries in the file; joints or nodes named as the left and the right eye become eyeballs that turn.

MAX_VERTICES = 200_000
GREY = 0.01  # how far the red, green and blue of a grey may be apart


def read_gltf_head(path: str) -> dict[str, Any]:
    """The head in a .glb or .gltf file whose morph targets are named for ARKit's blendshapes, as `head.parts_of`.

    What is missing or was chosen is in its `notes`. Raises InputError for a file that is no glTF 2.0, compressed by
    Draco or meshopt, damaged, too large, or without such morph targets.
    """
    gltf = Gltf(Path(path))
    absent = [node for node in gltf.roots if node >= len(gltf.nodes)][:1]
    notes = [f"scene {gltf.number} names node {node} of {len(gltf.nodes)}" for node in absent]
    why = "no node has a mesh" if gltf.roots else f"scene {gltf.number} names no nodes"
    gltf.expect(gltf.drawn, "a scene that draws a mesh", f"nothing is drawn: {''.join(notes) or why}")
    pieces, left_out, count = list[placing.Piece](), 0, 0
    for node in gltf.drawn:
        mesh = gltf.part("meshes", gltf.nodes[node]["mesh"])
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) < 4:
                left_out += 1
                continue
            pieces.append(_piece(gltf, node, mesh, primitive, notes))
            count += len(pieces[-1].vertices)
            gltf.expect(count <= MAX_VERTICES, f"at most {MAX_VERTICES} vertices", count, "simplify the mesh")
    notes = [*dict.fromkeys(notes)]
    if left_out:
        notes.append(f"{left_out} primitives of points and lines are left out")
    gltf.expect(pieces, "meshes of triangles", "; ".join(notes) or "no primitives, so nothing is drawn")
    names = ", ".join(name for mesh in gltf.document["meshes"] for name in target_names(mesh))[:120]
    got = f"only the targets {names}" if names else "no named morph targets"
    shaped = any(piece.shapes for piece in pieces)
    gltf.expect(shaped, "morph targets with ARKit's names (mesh.extras.targetNames)", got)
    shells = placing.clear_shells([piece.names for piece in pieces], notes)
    pieces = [piece for piece, shell in zip(pieces, shells, strict=True) if not shell]
    vertices, shapes = np.concatenate([piece.vertices for piece in pieces]), placing.joined_shapes(pieces)
    traits = {name: np.concatenate([piece.traits[name] for piece in pieces], axis=-1) for name in pieces[0].traits}
    extent = float(np.ptp(vertices, axis=0).max())
    reach = max(float(np.abs(moved).max()) for moved in shapes.values())
    measured = 1e-9 < extent < 1e9 and reach <= extent and np.abs(vertices).max() < 1e6 * extent
    gltf.expect(measured, "a head within measure", f"{extent:.3g} units, which its targets move by {reach:.3g}")
    weld, carried = _weld(vertices, traits["normals"].T, shapes), traits["carried"]
    eyes, neck = _eyes(gltf, carried[1:], vertices), None
    carrying = gltf.topmost(gltf.heads & gltf.joints)
    moved = np.any([shape.any(axis=1) for shape in shapes.values()], axis=0)
    if len(carrying) == 1 and carried[0][moved].mean() >= 0.5:  # or else the face hardly hangs on that joint
        neck = carried[0], gltf.world[carrying[0], :3, 3]
    pictures = {key: _picture(gltf, key, notes) for key in {piece.picture: None for piece in pieces}}
    return parts_of(placing.placed_head(gltf.path.stem, pieces, pictures, weld, notes, eyes, neck))


def _piece(gltf: Gltf, number: int, mesh: Part, primitive: Part, notes: list[str]) -> placing.Piece:
    """A primitive as a node shows it, with the vertices that its triangles use.

    Grey vertex colours are baked occlusion; others are not kept. Its traits are `normals` (3, V), and `carried` (3, V):
    how much of each vertex the head and the left and right eye carry.
    """
    node, attributes = gltf.nodes[number], primitive["attributes"]
    places = gltf.numbers(attributes["POSITION"], 3)
    count = len(places)
    kept, triangles = np.unique(_triangles(gltf, primitive, count), return_inverse=True)
    triangles = triangles.reshape(-1, 3)

    def attribute(name: str, width: int | None, default: float) -> Float32[np.ndarray, "V width"]:
        if name not in attributes:
            return np.full((len(kept), width or 3), default, np.float32)
        return gltf.numbers(attributes[name], width, count)[kept]

    if "skin" in node:
        turn, carried = _skinned(gltf, node["skin"], attributes, count, kept)
    else:
        turn = np.broadcast_to(gltf.world[number], (len(kept), 4, 4))
        carried = np.repeat(gltf.carried[:, [number]].astype(float), len(kept), axis=1)
    turn = turn.astype(np.float32)
    if np.linalg.det(turn[0, :3, :3].astype(float)) < 0.0:
        triangles = triangles[:, ::-1]
    vertices = np.einsum("vij,vj->vi", turn[:, :3, :3], places[kept]) + turn[:, :3, 3]

    targets = primitive.get("targets", ())
    match = match_channels(target_names(mesh)[: len(targets)])
    notes.extend(match.notes)
    channels = {place: channel for channel, parts in match.parts.items() for place in parts}
    weights = node.get("weights") or mesh.get("weights", ())
    shapes, rest = dict[str, np.ndarray](), np.zeros((len(kept), 3), np.float32)
    for place, target in enumerate(targets):
        weight = weights[place] if place < len(weights) else 0.0
        if "POSITION" in target and (place in channels or weight):
            moved = np.einsum("vij,vj->vi", turn[:, :3, :3], gltf.numbers(target["POSITION"], 3, count)[kept])
            if place in channels:
                shapes[channels[place]] = shapes.get(channels[place], 0.0) + moved
            else:
                rest += np.float32(weight) * moved

    material = gltf.part("materials", primitive["material"]) if "material" in primitive else {}
    colour = material.get("pbrMetallicRoughness", {})
    texture = colour.get("baseColorTexture", {})
    cutoffs = {"OPAQUE": 0.0, "MASK": material.get("alphaCutoff", 0.5), "BLEND": 0.5}
    moved = _uv_matrix(texture)
    uv = attribute(f"TEXCOORD_{texture.get('texCoord', 0)}", 2, 0.0) @ moved[:, :2].T + moved[:, 2]
    colours = np.clip(attribute("COLOR_0", None, 1.0), 0.0, 1.0)
    gltf.expect(colours.shape[1] in (3, 4), "three or four numbers a vertex as COLOR_0", colours.shape[1])
    if coloured := bool(np.ptp(colours[:, :3], axis=1).max() >= GREY):
        notes.append("its vertex colours are not shown")
    normals = np.einsum("vij,vj->vi", turn[:, :3, :3], attribute("NORMAL", 3, 0.0))
    return placing.Piece(
        names=tuple(part.get("name", "") for part in (material, mesh, node)),
        vertices=vertices + rest,
        triangles=triangles,
        uv=uv,
        occlusion=np.ones(len(kept), np.float32) if coloured else colours[:, 0].copy(),
        shapes={channel: shapes[channel] for channel in match.parts if channel in shapes},
        picture=(texture.get("index"), *colour.get("baseColorFactor", (1.0,) * 4)),
        cutoff=cutoffs[material.get("alphaMode", "OPAQUE")],
        traits={"normals": normals.T, "carried": carried.astype(np.float32)},
    )


def _triangles(gltf: Gltf, primitive: Part, count: int) -> Int64[np.ndarray, "T 3"]:
    """Vertex numbers of a primitive's triangles, of a strip's or of a fan's."""
    corners = gltf.numbers(primitive["indices"], 1, whole=True)[:, 0] if "indices" in primitive else np.arange(count)
    known = len(corners) >= 3 and 0 <= corners.min() <= corners.max() < count
    gltf.expect(known, f"three or more indices below {count}", f"{len(corners)} up to {corners.max()}")
    mode, got = primitive.get("mode", 4), f"{len(corners)} indices of mode {primitive.get('mode', 4)}"
    whole = mode <= 6 and not (mode == 4 and len(corners) % 3) and len(corners) <= 6 * MAX_VERTICES
    gltf.expect(whole, f"at most {2 * MAX_VERTICES} whole triangles", got, "simplify the mesh")
    if mode == 4:
        return corners.reshape(-1, 3)
    triangles = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    if mode == 6:
        triangles[:, 0] = corners[0]
    else:
        triangles[1::2] = triangles[1::2, [1, 0, 2]]
    return triangles


def _skinned(
    gltf: Gltf, number: int, attributes: Part, count: int, kept: Int64[np.ndarray, " V"]
) -> tuple[Float64[np.ndarray, "V 4 4"], Float64[np.ndarray, "3 V"]]:
    """Each vertex's matrix from its skin, and how much of it the head's and the eyes' joints carry."""
    skin = gltf.part("skins", number)
    joints = skin["joints"]
    for joint in (min(joints), max(joints)):
        gltf.part("nodes", joint)
    matrices = gltf.world[joints]
    if "inverseBindMatrices" in skin:
        columns = gltf.numbers(skin["inverseBindMatrices"], 16)
        gltf.expect(len(columns) >= len(joints), f"{len(joints)} inverse bind matrices", len(columns))
        matrices = matrices @ columns[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
    turn, total, carried = np.zeros((len(kept), 4, 4)), np.zeros(len(kept)), np.zeros((3, len(kept)))
    for group in range(4):
        if not {f"JOINTS_{group}", f"WEIGHTS_{group}"} <= attributes.keys():
            break
        shares = np.maximum(gltf.numbers(attributes[f"WEIGHTS_{group}"], 4, count)[kept], 0.0)
        numbers = gltf.numbers(attributes[f"JOINTS_{group}"], 4, count, whole=True)[kept]
        numbers = np.where(shares > 0.0, numbers, 0)
        known = 0 <= numbers.min() <= numbers.max() < len(joints)
        gltf.expect(known, f"joint numbers below {len(joints)}", numbers.max())
        for share, joint in zip(shares.T, numbers.T, strict=True):
            turn += share[:, None, None] * matrices[joint]
            total += share
            carried += share * gltf.carried[:, joints][:, joint]
    turn[total == 0.0], total[total == 0.0] = matrices[0], 1.0
    return turn / total[:, None, None], carried / total


def _picture(gltf: Gltf, key: tuple[int | None, ...], notes: list[str]) -> placing.Picture:
    """The picture of a texture, or white, times a factor of colour in linear light and opacity.

    A texture that is not read gives way to the plain colour, and a note.
    """
    index, rgba, factor = key[0], placing.plain_picture((255, 255, 255)), np.array(key[1:], float)
    gltf.expect(((factor >= 0.0) & (factor <= 1.0)).all(), "colour factors of 0 to 1", factor.tolist())
    if index is not None:
        texture, content = gltf.part("textures", index), b""
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source")
        if isinstance(source, int) and source >= 0:
            image = gltf.part("images", source)
            content = bytes(gltf.view(image["bufferView"])[0]) if "bufferView" in image else gltf.resource(image["uri"])
        if content and content[1:7] != b"KTX 20":
            rgba = placing.read_picture(io.BytesIO(content), f"image {source} of {gltf.path}")
        else:
            notes.append(f"texture {index} is in a form that is not read (KTX2); its surface has a plain colour")
    if (factor == 1.0).all():
        return rgba
    code = np.arange(256) / 255.0
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)[:, None] * factor[:3]
    colours = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1.0 / 2.4) - 0.055)
    table = np.rint(255.0 * np.column_stack([colours, code * factor[3]])).astype(np.uint8)
    tinted: placing.Picture = table[rgba, np.arange(4)]
    return tinted


def _uv_matrix(info: Part) -> Float32[np.ndarray, "2 3"]:
    """How KHR_texture_transform moves texture coordinates."""
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    (x, y), (wide, high) = transform.get("offset", (0.0, 0.0)), transform.get("scale", (1.0, 1.0))
    c, s = np.cos(transform.get("rotation", 0.0)), np.sin(transform.get("rotation", 0.0))
    return np.array([[c * wide, s * high, x], [-s * wide, c * high, y]], np.float32)


def _weld(
    vertices: Float32[np.ndarray, "V 3"], normals: Float32[np.ndarray, "V 3"], shapes: dict[str, np.ndarray]
) -> Int64[np.ndarray, " V"]:
    """Vertices at one place with one normal that move alike are one point: closed lips stay two."""
    moved = np.zeros_like(vertices)
    for place, shape in enumerate(shapes.values()):
        moved += np.float32(np.cos(place)) * shape
    grain = 1e-5 * float(np.ptp(vertices, axis=0).max())
    lengths = np.maximum(np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True), 1e-12)
    keys = np.concatenate([vertices / grain, moved / (10.0 * grain), 100.0 * normals / lengths], axis=1)
    weld: np.ndarray = np.unique(np.rint(keys).astype(np.int64), axis=0, return_inverse=True)[1].reshape(-1)
    return weld


def _eyes(gltf: Gltf, carried: Float32[np.ndarray, "2 V"], vertices: Float32[np.ndarray, "V 3"]) -> placing.Eyes | None:
    """Both eyeballs where the file has both: a joint is the middle of what it carries, else a sphere is fitted."""
    left = carried[0] > 0.99
    members = [np.flatnonzero(ball).astype(np.int32) for ball in (left, ~left & (carried[1] > 0.99))]
    if min(len(ball) for ball in members) < 4:
        return None
    joints = [gltf.topmost(nodes & gltf.joints) for nodes in gltf.eyes]
    centres = [
        gltf.world[found[0], :3, 3] if found else ball_middle(vertices[ball])
        for found, ball in zip(joints, members, strict=True)
    ]
    return members, np.stack(centres)
