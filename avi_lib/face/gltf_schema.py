"""The parts of a glTF 2.0 document that heads and their motion are read from, as models that check types and ranges.

>>> Document.model_validate_json(text).accessors[0].count  # pydantic's ValidationError names what does not fit

Names are those of the specification (Khronos, glTF 2.0, section 5), written the way of Python. Parts that are not
listed here are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

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
