"""A glTF 2.0 file of anyone, .glb or .gltf: its checked document and the numbers and pictures that it holds.

>>> file = open_gltf(Path("head.glb"))
>>> file.numbers(0).shape  # accessor 0 as float32: normalised integers and sparse elements resolved
(1043, 3)

Bytes come from the file itself, from data URIs, and from files in the same folder; nothing is fetched. What a count or
an offset claims is checked against the bytes that are there before anything of that size is allocated.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.heads.placing import words

# The parts of a glTF 2.0 document that heads and their motion are read from, as models that check types and ranges.


MAX_ELEMENTS = 1 << 24
"""Most elements of one accessor."""
MAX_BYTES = 1 << 29
"""Largest buffer, in bytes: 512 MiB."""
MAX_PARTS = 1 << 16
"""Most nodes, accessors or other parts of one kind."""

Index = Annotated[int, Field(ge=0, lt=MAX_PARTS)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Vec3 = tuple[float, float, float]
Vec4 = tuple[float, float, float, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, allow_inf_nan=False)


class Asset(_Part):
    """Which specification the file follows."""

    version: str


class Buffer(_Part):
    """Raw bytes: of the GLB itself, of a data URI or of a file."""

    byte_length: Bytes
    uri: str | None = None


class BufferView(_Part):
    """A range of a buffer."""

    buffer: Index
    byte_offset: Bytes = 0
    byte_length: Bytes
    byte_stride: Annotated[int, Field(ge=1, le=255)] | None = None


class SparseIndices(_Part):
    """Where the elements are that differ."""

    buffer_view: Index
    byte_offset: Bytes = 0
    component_type: Literal[5121, 5123, 5125]


class SparseValues(_Part):
    """What the elements are that differ."""

    buffer_view: Index
    byte_offset: Bytes = 0


class Sparse(_Part):
    """Elements that differ from the accessor's own."""

    count: Annotated[int, Field(ge=1, le=MAX_ELEMENTS)]
    indices: SparseIndices
    values: SparseValues


class Accessor(_Part):
    """A typed view of a buffer view."""

    buffer_view: Index | None = None
    byte_offset: Bytes = 0
    component_type: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    normalized: bool = False
    count: Annotated[int, Field(ge=1, le=MAX_ELEMENTS)]
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]
    sparse: Sparse | None = None


class Primitive(_Part):
    """Triangles of one material, and what its morph targets add to each attribute."""

    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Annotated[int, Field(ge=0, le=6)] = 4
    targets: tuple[dict[str, Index], ...] = ()
    extras: Any = None


class Mesh(_Part):
    """Primitives that share morph weights."""

    name: str = ""
    primitives: tuple[Primitive, ...]
    weights: tuple[float, ...] = ()
    extras: Any = None

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the morph targets, which exporters put into `extras.targetNames` of the mesh or of a primitive."""
        for extras in (self.extras, *(primitive.extras for primitive in self.primitives)):
            names = extras.get("targetNames") if isinstance(extras, dict) else None
            if isinstance(names, list):
                return tuple(str(name) for name in names)
        return ()


class Node(_Part):
    """A place in the scene, moved against its parent."""

    name: str = ""
    children: tuple[Index, ...] = ()
    mesh: Index | None = None
    skin: Index | None = None
    matrix: Annotated[tuple[float, ...], Field(min_length=16, max_length=16)] | None = None
    translation: Vec3 = (0.0, 0.0, 0.0)
    rotation: Vec4 = (0.0, 0.0, 0.0, 1.0)
    scale: Vec3 = (1.0, 1.0, 1.0)
    weights: tuple[float, ...] = ()


class Skin(_Part):
    """Nodes that carry the vertices of a mesh."""

    joints: Annotated[tuple[Index, ...], Field(min_length=1, max_length=MAX_PARTS)]
    inverse_bind_matrices: Index | None = None


class Scene(_Part):
    """The nodes that a scene begins with."""

    nodes: tuple[Index, ...] = ()


class TextureInfo(_Part):
    """Which texture, by which texture coordinates."""

    index: Index
    tex_coord: Index = 0
    extensions: dict[str, Any] = {}


class BaseColour(_Part):
    """The part of a material that gives its colour."""

    base_color_factor: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = Field(
        (1.0, 1.0, 1.0, 1.0), min_length=4, max_length=4
    )
    base_color_texture: TextureInfo | None = None


class SurfaceMaterial(_Part):
    """How a surface looks."""

    name: str = ""
    pbr_metallic_roughness: BaseColour = BaseColour()
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5


class Texture(_Part):
    """An image and how it is sampled."""

    source: Index | None = None
    extensions: dict[str, Any] = {}


class ImageSource(_Part):
    """A picture file."""

    uri: str | None = None
    buffer_view: Index | None = None


class AnimationSampler(_Part):
    """Keys: times in seconds and what is at them."""

    input: Index
    output: Index
    interpolation: Literal["LINEAR", "STEP", "CUBICSPLINE"] = "LINEAR"


class AnimationTarget(_Part):
    """What the keys move."""

    node: Index | None = None
    path: str


class AnimationChannel(_Part):
    """Keys of one property of one node."""

    sampler: Index
    target: AnimationTarget


class Animation(_Part):
    """Keys that are played together."""

    channels: Annotated[tuple[AnimationChannel, ...], Field(max_length=MAX_PARTS)]
    samplers: tuple[AnimationSampler, ...]
    extras: Any = None


def _parts() -> Any:
    return Field((), max_length=MAX_PARTS)


class Document(_Part):
    """The JSON of a glTF file."""

    asset: Asset
    scene: Index = 0
    scenes: tuple[Scene, ...] = _parts()
    nodes: tuple[Node, ...] = _parts()
    meshes: tuple[Mesh, ...] = _parts()
    skins: tuple[Skin, ...] = _parts()
    materials: tuple[SurfaceMaterial, ...] = _parts()
    textures: tuple[Texture, ...] = _parts()
    images: tuple[ImageSource, ...] = _parts()
    animations: tuple[Animation, ...] = _parts()
    accessors: tuple[Accessor, ...] = _parts()
    buffer_views: tuple[BufferView, ...] = _parts()
    buffers: tuple[Buffer, ...] = _parts()
    extensions_required: tuple[str, ...] = ()


EXTENSIONS = {
    *("KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp", "KHR_texture_basisu"),
    *("KHR_lights_punctual", "KHR_xmp_json_ld", "KHR_materials_variants", "KHR_materials_unlit"),
}
"""Extensions a file may require: read, or of no matter to the shape of a head. So is every KHR_materials_*."""
COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"}

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_EXPORT = "export it again as a plain .glb"

T = TypeVar("T")


def open_gltf(path: Path) -> GltfFile:
    """Read and check the document of a file.

    Raises InputError when it is no glTF 2.0, larger than 512 MiB, or needs an extension that is not read, such as the
    compression of Draco and meshopt.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("a .glb or .gltf file", f"{path}, which is none", "check the path")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"a file of at most {MAX_BYTES >> 20} MiB", f"{path.stat().st_size >> 20} MiB", _EXPORT)
    text, binary = _chunks(path, path.read_bytes())
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise InputError(f"a glTF 2.0 document in {path}", one_line(f"{where}: {first['msg']}"), _EXPORT) from error
    if not document.asset.version.startswith("2."):
        raise InputError(f"glTF 2.0 in {path}", one_line(f"version {document.asset.version}"), "convert it to glTF 2.0")
    for extension in document.extensions_required:
        if extension in COMPRESSED:
            raise InputError(f"a mesh without compression in {path}", extension, "export it without compression")
        if extension not in EXTENSIONS and not extension.startswith("KHR_materials_"):
            raise InputError(f"a file that can be read without {one_line(extension)}", str(path), "export it without")
    return GltfFile(path, document, binary)


def one_line(text: str) -> str:
    """At most 120 characters of a stranger's text, its line breaks made spaces."""
    return " ".join(text[:120].split())


def _chunks(path: Path, content: bytes) -> tuple[bytes, bytes | None]:
    """The JSON text, and the binary chunk where there is one."""
    if content[:4] != struct.pack("<I", _MAGIC):
        return content, None
    chunks: dict[int, bytes] = {}
    try:
        _, version, length = struct.unpack_from("<III", content)
        if version != 2 or length > len(content):
            raise InputError(
                f"a GLB of version 2 in {path}",
                f"version {version}, {len(content)} of {length} bytes",
                "copy it again, or export it as glTF 2.0",
            )
        at = 12
        while at < length:
            size, kind = struct.unpack_from("<II", content, at)
            if at + 8 + size > length:
                raise InputError(f"a whole GLB in {path}", "a chunk that reaches past the end", "copy it again")
            chunks.setdefault(kind, content[at + 8 : at + 8 + size])
            at += 8 + size
    except struct.error as error:
        raise InputError(f"a whole GLB in {path}", "a torn header", "copy it again") from error
    if _JSON not in chunks:
        raise InputError(f"a JSON chunk in {path}", "none", _EXPORT)
    return chunks[_JSON], chunks.get(_BIN)


class GltfFile:
    """A checked document and access to its bytes."""

    def __init__(self, path: Path, document: Document, binary: bytes | None) -> None:
        self.path, self.document, self._binary = path, document, binary
        self._buffers: dict[int, bytes] = {}

    def refused(self, expected: str, got: str, do: str = _EXPORT) -> InputError:
        """An error that names this file."""
        return InputError(f"{expected} in {self.path}", got, do)

    def part(self, parts: Sequence[T], index: int, kind: str) -> T:
        """The part of that number; InputError when there are fewer."""
        if index >= len(parts):
            raise self.refused(f"a {kind} {index}", f"{len(parts)} of them")
        return parts[index]

    def numbers(
        self, index: int, width: int | None = None, count: int | None = None
    ) -> Float32[np.ndarray, "count width"]:
        """An accessor's elements as finite float32; InputError unless it has this width and this count."""
        accessor = self._accessor(index, width, count)
        values = self._elements(index, accessor)
        if accessor.normalized and values.dtype.kind in "iu":
            values = np.maximum(values / np.float32(np.iinfo(values.dtype).max), np.float32(-1.0))
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise self.refused(f"finite numbers in accessor {index}", "NaN or infinity")
        return values

    def integers(self, index: int, width: int, count: int | None = None) -> Int64[np.ndarray, "count width"]:
        """An accessor's elements as integers, not normalised."""
        accessor = self._accessor(index, width, count)
        if accessor.component_type == 5126:
            raise self.refused(f"integers in accessor {index}", "floating-point numbers")
        return self._elements(index, accessor).astype(np.int64)

    def _accessor(self, index: int, width: int | None, count: int | None) -> Accessor:
        accessor = self.part(self.document.accessors, index, "accessor")
        if width is not None and _WIDTHS[accessor.type] != width:
            raise self.refused(f"{width} numbers an element in accessor {index}", accessor.type)
        if count is not None and accessor.count != count:
            raise self.refused(f"{count} elements in accessor {index}", str(accessor.count))
        return accessor

    def _elements(self, index: int, accessor: Accessor) -> np.ndarray:
        width, dtype = _WIDTHS[accessor.type], np.dtype(_TYPES[accessor.component_type])
        what = f"accessor {index}"
        if accessor.buffer_view is None:
            elements = np.zeros((accessor.count, width), dtype)
        else:
            elements = self._range(what, accessor.buffer_view, accessor.byte_offset, accessor.count, width, dtype)
        sparse = accessor.sparse
        if sparse is None:
            return elements
        if sparse.count > accessor.count:
            raise self.refused(f"at most {accessor.count} sparse elements in {what}", str(sparse.count))
        kind, places_at, values_at = np.dtype(_TYPES[sparse.indices.component_type]), sparse.indices, sparse.values
        places = self._range(what, places_at.buffer_view, places_at.byte_offset, sparse.count, 1, kind)[:, 0]
        if (np.diff(places.astype(np.int64)) <= 0).any() or places[-1] >= accessor.count:
            raise self.refused(f"rising sparse indices below {accessor.count} in {what}", "others")
        elements[places] = self._range(what, values_at.buffer_view, values_at.byte_offset, sparse.count, width, dtype)
        return elements

    def _range(self, what: str, view: int, offset: int, count: int, width: int, dtype: np.dtype) -> np.ndarray:
        """A copy of `count` elements of `width` numbers from a buffer view."""
        content, stride = self.view(view)
        size = width * dtype.itemsize
        stride = stride or size
        if stride < size or offset + stride * (count - 1) + size > len(content):
            raise self.refused(
                f"{what} within buffer view {view}",
                f"{count} elements of {size} bytes, {stride} apart from byte {offset}, in {len(content)} bytes",
            )
        strides = (stride, dtype.itemsize)
        return np.ndarray((count, width), dtype, content, offset, strides).copy()

    def view(self, index: int) -> tuple[memoryview, int | None]:
        """The bytes of a buffer view, and its stride."""
        view = self.part(self.document.buffer_views, index, "buffer view")
        content = memoryview(self._buffer(view.buffer))
        if view.byte_offset + view.byte_length > len(content):
            raise self.refused(f"buffer view {index} within its {len(content)} bytes", f"{view.byte_length} more")
        return content[view.byte_offset : view.byte_offset + view.byte_length], view.byte_stride

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            buffer = self.part(self.document.buffers, index, "buffer")
            if buffer.uri is not None:
                content = self.resource(buffer.uri)
            elif index == 0 and self._binary is not None:
                content = self._binary
            else:
                raise self.refused(f"the bytes of buffer {index}", "none")
            if len(content) < buffer.byte_length:
                raise self.refused(f"{buffer.byte_length} bytes in buffer {index}", str(len(content)), "copy it again")
            self._buffers[index] = content[: buffer.byte_length]
        return self._buffers[index]

    def resource(self, uri: str) -> bytes:
        """The bytes of a data URI or of a file in this file's folder or below it."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote(body).encode()
            except (binascii.Error, ValueError) as error:
                raise self.refused("a data URI in base64", str(error)) from error
        name, folder = unquote(uri), self.path.parent.resolve()
        inside = f"a file in the folder of {self.path.name}"
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|[/\\]", name) or "\0" in name:
            raise InputError(inside, f"{name[:80]!r}", "put the file beside it and name it so")
        try:
            place = (folder / name).resolve()
            if not place.is_relative_to(folder):
                raise InputError(inside, f"{name[:80]!r}", "put the file beside it and name it so")
            if not place.is_file():
                raise InputError(inside, f"{name[:80]!r}, which is not there", "copy it together with its files")
            if place.stat().st_size > MAX_BYTES:
                raise InputError(f"{inside} of at most {MAX_BYTES >> 20} MiB", name[:80], _EXPORT)
            return place.read_bytes()
        except OSError as error:
            raise InputError(f"{inside} that can be read", f"{name[:80]!r}: {error.strerror}", "check it") from error


# Where the nodes of a glTF file stand at rest, which of them are drawn, and which carry the head and the eyes.


SIDES = ({"eye", "left"}, {"eye", "l"}), ({"eye", "right"}, {"eye", "r"})
"""The last two words of a left and of a right eye's name."""


class GltfScene:
    """The tree of nodes.

    `parent` (-1 where there is none) and `world` (4, 4) are of every node, `drawn` are the nodes of the default scene
    that show a mesh. Raises InputError for nodes with two parents, in a circle, or without an inverse.
    """

    def __init__(self, file: GltfFile) -> None:
        self.file, self.nodes = file, file.document.nodes
        self.parent = self._parents()
        self.world, self._order = self._places()
        shown = self._shown(self._order)
        self.drawn = tuple(node for node in self._order if node in shown and self.nodes[node].mesh is not None)

    def _parents(self) -> list[int]:
        parent = [-1] * len(self.nodes)
        for index, node in enumerate(self.nodes):
            for child in node.children:
                self.file.part(self.nodes, child, "node")
                if parent[child] >= 0:
                    raise self.file.refused("a tree of nodes", f"node {child} with two parents")
                parent[child] = index
        return parent

    def _places(self) -> tuple[Float64[np.ndarray, "nodes 4 4"], list[int]]:
        """World matrices, and the nodes from the roots down."""
        world = np.zeros((len(self.nodes), 4, 4))
        order = [node for node, parent in enumerate(self.parent) if parent < 0]
        for node in order:  # grows while it is walked
            local, above = local_matrix(self.nodes[node]), self.parent[node]
            with np.errstate(over="ignore", invalid="ignore"):
                world[node] = local if above < 0 else world[above] @ local
            order.extend(self.nodes[node].children)
        if len(order) < len(self.nodes):
            raise self.file.refused("a tree of nodes", "nodes in a circle")
        if not (np.abs(world) < 1e12).all():
            raise self.file.refused("nodes whose places are finite", "scales that multiply beyond all measure")
        return world, order

    def _shown(self, order: list[int]) -> set[int]:
        scenes = self.file.document.scenes
        if not scenes:
            return set(order)
        shown: set[int] = set()
        roots = set(self.file.part(scenes, self.file.document.scene, "scene").nodes)
        for node in order:
            if node in roots or self.parent[node] in shown:
                shown.add(node)
        return shown

    def below(self, nodes: set[int]) -> Bool[np.ndarray, " nodes"]:
        """Which nodes are among these or stand somewhere below one of them."""
        below = np.zeros(len(self.nodes), bool)
        for node in self._order:
            below[node] = node in nodes or (self.parent[node] >= 0 and below[self.parent[node]])
        return below

    def topmost(self, nodes: set[int]) -> list[int]:
        """Those of these nodes that stand below none of the others."""
        below = self.below(nodes)
        return [node for node in sorted(nodes) if self.parent[node] < 0 or not below[self.parent[node]]]

    def heads(self) -> set[int]:
        """Nodes whose name ends with the word head, and which show no mesh themselves."""
        named = (index for index, node in enumerate(self.nodes) if _last_words(node.name, 1) == ["head"])
        return {index for index in named if self.nodes[index].mesh is None}

    def eyes(self, side: int) -> set[int]:
        """Nodes named as the left (0) or the right (1) eye."""
        return {index for index, node in enumerate(self.nodes) if set(_last_words(node.name, 2)) in SIDES[side]}


def _last_words(name: str, count: int) -> list[str]:
    """The last words of a node's name, which tools number: "Wolf3D_EyeLeft.001" ends with eye, left."""
    return [word for word in words(name) if not word.isdigit()][-count:]


def local_matrix(node: Node) -> Float64[np.ndarray, "4 4"]:
    """A node's transform against its parent: its matrix, or translation, rotation (none where it is zero) and scale."""
    if node.matrix is not None:
        return np.array(node.matrix, np.float64).reshape(4, 4).T
    local = np.eye(4)
    rotation = np.array(node.rotation)
    turn = Rotation.from_quat(rotation).as_matrix() if np.linalg.norm(rotation) > 1e-8 else np.eye(3)
    local[:3, :3] = turn * np.array(node.scale)
    local[:3, 3] = node.translation
    return local
