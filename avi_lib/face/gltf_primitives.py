"""One primitive of a glTF file as a node shows it: its vertices in the file's world, and what moves them.

>>> pieces = read_pieces(file, GltfScene(file), notes)
>>> pieces[0].shapes["jawOpen"].shape == pieces[0].vertices.shape
True
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from avi_lib.face.channel_names import match_channels
from avi_lib.face.gltf_file import GltfFile
from avi_lib.face.gltf_scene import GltfScene
from avi_lib.face.gltf_schema import Primitive

MAX_VERTICES = 200_000
MAX_READ = 8 * MAX_VERTICES
"""Most vertices of all primitives together as the file lists them; primitives may list the same ones again."""
MAX_TRIANGLES = 2 * MAX_VERTICES
MAX_PIECES = 1000
MAX_TEXTURE_PLACE = 1e4
GREY = 0.01
"""How far the red, green and blue of a grey may be apart."""


@dataclass(frozen=True)
class Piece:
    """One primitive as one node shows it, in the file's world: vertices that its triangles use, and what moves them.

    Grey vertex colours are baked `occlusion`; a `coloured` piece has others, which are not kept. `head` is how much of
    each vertex the head's joint carries, `eye` the eyeball (0, 1) that it belongs to, else -1; `names` are of the mesh
    and of the node.
    """

    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int64[np.ndarray, "T 3"]
    uv: Float32[np.ndarray, "V 2"]
    normals: Float32[np.ndarray, "V 3"]
    shapes: dict[str, Float32[np.ndarray, "V 3"]]
    occlusion: Float32[np.ndarray, " V"]
    coloured: bool
    head: Float32[np.ndarray, " V"]
    eye: Int64[np.ndarray, " V"]
    primitive: Primitive
    names: tuple[str, str]


@dataclass(frozen=True)
class _Carriers:
    """Which nodes stand for the head, and which for each eye, or stand below one that does."""

    head: Bool[np.ndarray, " nodes"]
    eyes: Bool[np.ndarray, "2 nodes"]


def read_pieces(file: GltfFile, scene: GltfScene, notes: list[str]) -> list[Piece]:
    """Every primitive of triangles that the default scene shows; `notes` is told of others.

    Raises InputError for indices out of range, accessors that do not fit, and more than MAX_VERTICES vertices.
    """
    carriers = _Carriers(scene.below(scene.heads()), np.stack([scene.below(scene.eyes(side)) for side in (0, 1)]))
    used: list[tuple[int, Primitive, int]] = []
    budget, left_out = MAX_READ, 0
    for node in scene.drawn:
        mesh = file.part(file.document.meshes, scene.nodes[node].mesh or 0, "mesh")
        for primitive in mesh.primitives:
            if primitive.mode < 4:
                left_out += 1
                continue
            if "POSITION" not in primitive.attributes:
                raise file.refused("POSITION in every primitive", f"none in mesh {mesh.name!r}")
            count = file.part(file.document.accessors, primitive.attributes["POSITION"], "accessor").count
            budget -= count
            if budget < 0 or len(used) == MAX_PIECES:
                raise file.refused(f"at most {MAX_READ} vertices in {MAX_PIECES} parts", "more", "simplify the mesh")
            used.append((node, primitive, count))
    if left_out:
        notes.append(f"{left_out} primitives of points and lines are left out")
    pieces: list[Piece] = []
    for node, primitive, count in used:
        pieces.append(_piece(file, scene, carriers, node, primitive, count))
        check_size(file, sum(len(piece.vertices) for piece in pieces))
    if any(piece.coloured for piece in pieces):
        notes.append("its vertex colours are not shown")
    return pieces


def check_size(file: GltfFile, vertices: int) -> None:
    """Raise InputError when a head has too many vertices."""
    if vertices > MAX_VERTICES:
        raise file.refused(f"at most {MAX_VERTICES} vertices", str(vertices), "simplify the mesh")


def _piece(
    file: GltfFile, scene: GltfScene, carriers: _Carriers, number: int, primitive: Primitive, count: int
) -> Piece:
    node = scene.nodes[number]
    mesh = file.part(file.document.meshes, node.mesh or 0, "mesh")
    attributes = primitive.attributes
    corners = _triangles(file, primitive, count)
    kept, triangles = np.unique(corners, return_inverse=True)
    check_size(file, len(kept))
    triangles = triangles.reshape(-1, 3)
    if node.skin is None:
        turn = np.broadcast_to(scene.world[number], (len(kept), 4, 4))
        head = np.full(len(kept), float(carriers.head[number]))
        eye = np.full(len(kept), next((side for side in (0, 1) if carriers.eyes[side, number]), -1))
    else:
        turn, head, eye = _skinned(file, scene, carriers, node.skin, primitive, count, kept)
    places = file.numbers(attributes["POSITION"], 3, count)[kept]
    turn = turn.astype(np.float32)
    vertices = np.einsum("vij,vj->vi", turn[:, :3, :3], places) + turn[:, :3, 3]
    if np.linalg.det(turn[0, :3, :3].astype(float)) < 0.0:
        triangles = triangles[:, ::-1]
    shapes, offset = _shapes(
        file, primitive, mesh.target_names, node.weights or mesh.weights, count, kept, turn[:, :3, :3]
    )
    normals = np.zeros((len(kept), 3), np.float32)
    if "NORMAL" in attributes:
        normals = np.einsum("vij,vj->vi", turn[:, :3, :3], file.numbers(attributes["NORMAL"], 3, count)[kept])
    colours = _colours(file, primitive, count)[kept]
    grey = bool(np.ptp(colours, axis=1).max() < GREY)
    return Piece(
        vertices=vertices + offset,
        triangles=triangles,
        uv=_texture_places(file, primitive, count)[kept],
        normals=normals,
        shapes=shapes,
        occlusion=colours[:, 0].copy() if grey else np.ones(len(kept), np.float32),
        coloured=not grey,
        head=head.astype(np.float32),
        eye=eye,
        primitive=primitive,
        names=(mesh.name, node.name),
    )


def _triangles(file: GltfFile, primitive: Primitive, count: int) -> Int64[np.ndarray, "T 3"]:
    corners = np.arange(count) if primitive.indices is None else file.integers(primitive.indices, 1)[:, 0]
    if len(corners) < 3 or corners.max() >= count:
        raise file.refused(f"three or more indices below {count}", f"{len(corners)} up to {corners.max()}")
    if primitive.mode == 5:
        strip = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
        strip[1::2] = strip[1::2, [1, 0, 2]]
        triangles = strip
    elif primitive.mode == 6:
        triangles = np.stack([np.full(len(corners) - 2, corners[0]), corners[1:-1], corners[2:]], axis=1)
    elif len(corners) % 3:
        raise file.refused("three indices a triangle", f"{len(corners)} of them")
    else:
        triangles = corners.reshape(-1, 3)
    if len(triangles) > MAX_TRIANGLES:
        raise file.refused(f"at most {MAX_TRIANGLES} triangles", str(len(triangles)), "simplify the mesh")
    return triangles


def _shapes(
    file: GltfFile,
    primitive: Primitive,
    names: Sequence[str],
    weights: Sequence[float],
    count: int,
    kept: Int64[np.ndarray, " V"],
    turn: Float32[np.ndarray, "V 3 3"],
) -> tuple[dict[str, Float32[np.ndarray, "V 3"]], Float32[np.ndarray, "V 3"]]:
    """What each ARKit channel adds to each vertex, and what the weights of other targets add at rest."""
    names = names[: len(primitive.targets)]
    match = match_channels(names)
    others = {place: weights[place] for place in range(min(len(weights), len(primitive.targets))) if weights[place]}
    shapes: dict[str, np.ndarray] = {}
    rest = np.zeros((len(kept), 3), np.float32)

    def moved(place: int) -> np.ndarray | None:
        accessor = primitive.targets[place].get("POSITION")
        if accessor is None:
            return None
        displacement: np.ndarray = np.einsum("vij,vj->vi", turn, file.numbers(accessor, 3, count)[kept])
        return displacement

    for channel, place in match.places.items():
        others.pop(place, None)
        shape = moved(place)
        if shape is not None:
            shapes[channel] = shape
    for place, weight in others.items():
        shape = moved(place)
        if shape is not None:
            rest += np.float32(weight) * shape
    return shapes, rest


def _skinned(
    file: GltfFile,
    scene: GltfScene,
    carriers: _Carriers,
    number: int,
    primitive: Primitive,
    count: int,
    kept: Int64[np.ndarray, " V"],
) -> tuple[Float64[np.ndarray, "V 4 4"], Float64[np.ndarray, " V"], Int64[np.ndarray, " V"]]:
    """Each vertex's matrix from its skin, how much of it the head's joint carries, and which eye it belongs to."""
    skin = file.part(file.document.skins, number, "skin")
    for joint in skin.joints:
        file.part(scene.nodes, joint, "node")
    inverse = np.broadcast_to(np.eye(4), (len(skin.joints), 4, 4))
    if skin.inverse_bind_matrices is not None:
        columns = file.numbers(skin.inverse_bind_matrices, 16)
        if len(columns) < len(skin.joints):
            raise file.refused(f"{len(skin.joints)} inverse bind matrices", str(len(columns)))
        inverse = columns[: len(skin.joints)].reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
    matrices = scene.world[list(skin.joints)] @ inverse
    carried, turning = carriers.head[list(skin.joints)], carriers.eyes[:, list(skin.joints)]
    turn, total = np.zeros((len(kept), 4, 4)), np.zeros(len(kept))
    head, ball = np.zeros(len(kept)), np.zeros((2, len(kept)))
    for joints, weights in _influences(file, primitive, count, kept, len(skin.joints)):
        turn += weights[:, None, None] * matrices[joints]
        total, head, ball = total + weights, head + weights * carried[joints], ball + weights * turning[:, joints]
    turn[total == 0.0], total[total == 0.0] = matrices[0], 1.0
    eye = np.where(ball[0] > 0.99 * total, 0, np.where(ball[1] > 0.99 * total, 1, -1))
    return turn / total[:, None, None], head / total, eye


def _influences(
    file: GltfFile, primitive: Primitive, count: int, kept: Int64[np.ndarray, " V"], joints: int
) -> Iterator[tuple[Int64[np.ndarray, " V"], Float32[np.ndarray, " V"]]]:
    """Joint numbers and weights, one of each vertex's several at a time."""
    for group in range(4):
        named = [primitive.attributes.get(f"{kind}_{group}") for kind in ("JOINTS", "WEIGHTS")]
        if named[0] is None or named[1] is None:
            return
        weights = np.maximum(file.numbers(named[1], 4, count)[kept], 0.0)
        numbers = np.where(weights > 0.0, file.integers(named[0], 4, count)[kept], 0)
        if numbers.max() >= joints or numbers.min() < 0:
            raise file.refused(f"joint numbers below {joints}", str(numbers.max()))
        yield from zip(numbers.T, weights.T, strict=True)


def _texture_places(file: GltfFile, primitive: Primitive, count: int) -> Float32[np.ndarray, "V 2"]:
    coordinates = 0
    if primitive.material is not None:
        material = file.part(file.document.materials, primitive.material, "material")
        texture = material.pbr_metallic_roughness.base_color_texture
        coordinates = texture.tex_coord if texture is not None else 0
    accessor = primitive.attributes.get(f"TEXCOORD_{coordinates}")
    if accessor is None:
        return np.zeros((count, 2), np.float32)
    places = file.numbers(accessor, 2, count)
    if np.abs(places).max() > MAX_TEXTURE_PLACE:
        raise file.refused(f"texture coordinates up to {MAX_TEXTURE_PLACE:g}", f"{np.abs(places).max():.3g}")
    return places


def _colours(file: GltfFile, primitive: Primitive, count: int) -> Float32[np.ndarray, "V 3"]:
    accessor = primitive.attributes.get("COLOR_0")
    if accessor is None:
        return np.ones((count, 3), np.float32)
    colours = file.numbers(accessor, None, count)
    if colours.shape[1] not in (3, 4):
        raise file.refused("three or four numbers a vertex as COLOR_0", str(colours.shape[1]))
    return np.clip(colours[:, :3], 0.0, 1.0)
