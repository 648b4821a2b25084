"""Reads a head with blendshapes from anyone's .glb or .gltf file.

>>> head = head_behind_wall(read_gltf_head, Path("ada.glb"))
>>> head.notes  # what it lacks, and how it was placed
("missing, so they do not move: tongueOut", ...)

The head at rest is the file's nodes as they stand, skins applied, without morph weights. A joint named as the head
carries what it carries in the file; joints or nodes named as the left and the right eye become eyeballs that turn.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from avi_lib.face.head import ball_middle, parts_of
from avi_lib.heads import placing
from avi_lib.heads.gltf import GltfFile, GltfScene, Part, target_names
from avi_lib.motion.clip import match_channels

MAX_VERTICES = 200_000
GREY = 0.01  # how far the red, green and blue of a grey may be apart


def read_gltf_head(path: str) -> dict[str, Any]:
    """The head in a .glb or .gltf file whose morph targets are named for ARKit's blendshapes, as `head.parts_of`.

    What is missing or was chosen is in its `notes`. Raises InputError for a file that is no glTF 2.0, compressed by
    Draco or meshopt, damaged, too large, or without such morph targets.
    """
    file = GltfFile(Path(path))
    scene = GltfScene(file)
    absent = [node for node in scene.roots if node >= len(scene.nodes)][:1]
    notes = [f"scene {scene.number} names node {node} of {len(scene.nodes)}" for node in absent]
    if not scene.drawn:
        why = "no node has a mesh" if scene.roots else f"scene {scene.number} names no nodes"
        raise file.refused("a scene that draws a mesh", f"nothing is drawn: {''.join(notes) or why}")
    pieces, left_out, count = list[placing.Piece](), 0, 0
    for node in scene.drawn:
        mesh = file.part("meshes", scene.nodes[node]["mesh"])
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) < 4:
                left_out += 1
                continue
            pieces.append(_piece(file, scene, node, mesh, primitive, notes))
            count += len(pieces[-1].vertices)
            if count > MAX_VERTICES:
                raise file.refused(f"at most {MAX_VERTICES} vertices", str(count), "simplify the mesh")
    notes = [*dict.fromkeys(notes)]
    if left_out:
        notes.append(f"{left_out} primitives of points and lines are left out")
    if not pieces:
        raise file.refused("meshes of triangles", "; ".join(notes) or "no primitives, so nothing is drawn")
    if not any(piece.shapes for piece in pieces):
        names = ", ".join(name for mesh in file.document["meshes"] for name in target_names(mesh))[:120]
        got = f"only the targets {names}" if names else "no named morph targets"
        raise file.refused("morph targets with ARKit's names (mesh.extras.targetNames)", got)
    shells = placing.clear_shells([piece.names for piece in pieces], notes)
    pieces = [piece for piece, shell in zip(pieces, shells, strict=True) if not shell]
    vertices, shapes = np.concatenate([piece.vertices for piece in pieces]), placing.joined_shapes(pieces)
    traits = {name: np.concatenate([piece.traits[name] for piece in pieces], axis=-1) for name in pieces[0].traits}
    extent = float(np.ptp(vertices, axis=0).max())
    reach = max(float(np.abs(moved).max()) for moved in shapes.values())
    if not (1e-9 < extent < 1e9 and reach <= extent and np.abs(vertices).max() < 1e6 * extent):
        raise file.refused("a head within measure", f"{extent:.3g} units, which its targets move by {reach:.3g}")
    weld, carried = _weld(vertices, traits["normals"].T, shapes), traits["carried"]
    eyes, neck = _eyes(scene, carried[1:], vertices), None
    carrying = scene.topmost(scene.heads & scene.joints)
    moved = np.any([shape.any(axis=1) for shape in shapes.values()], axis=0)
    if len(carrying) == 1 and carried[0][moved].mean() >= 0.5:  # or else the face hardly hangs on that joint
        neck = carried[0], scene.world[carrying[0], :3, 3]
    pictures = {key: _picture(file, key, notes) for key in {piece.picture: None for piece in pieces}}
    return parts_of(placing.placed_head(file.path.stem, pieces, pictures, weld, notes, eyes, neck))


def _piece(
    file: GltfFile, scene: GltfScene, number: int, mesh: Part, primitive: Part, notes: list[str]
) -> placing.Piece:
    """A primitive as a node shows it, with the vertices that its triangles use.

    Grey vertex colours are baked occlusion; others are not kept. Its traits are `normals` (3, V), and `carried` (3, V):
    how much of each vertex the head and the left and right eye carry.
    """
    node, attributes = scene.nodes[number], primitive["attributes"]
    places = file.numbers(attributes["POSITION"], 3)
    count = len(places)
    kept, triangles = np.unique(_triangles(file, primitive, count), return_inverse=True)
    triangles = triangles.reshape(-1, 3)

    def attribute(name: str, width: int | None, default: float) -> Float32[np.ndarray, "V width"]:
        if name not in attributes:
            return np.full((len(kept), width or 3), default, np.float32)
        return file.numbers(attributes[name], width, count)[kept]

    if "skin" in node:
        turn, carried = _skinned(file, scene, node["skin"], attributes, count, kept)
    else:
        turn = np.broadcast_to(scene.world[number], (len(kept), 4, 4))
        carried = np.repeat(scene.carried[:, [number]].astype(float), len(kept), axis=1)
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
            moved = np.einsum("vij,vj->vi", turn[:, :3, :3], file.numbers(target["POSITION"], 3, count)[kept])
            if place in channels:
                shapes[channels[place]] = shapes.get(channels[place], 0.0) + moved
            else:
                rest += np.float32(weight) * moved

    material = file.part("materials", primitive["material"]) if "material" in primitive else {}
    colour = material.get("pbrMetallicRoughness", {})
    texture = colour.get("baseColorTexture", {})
    cutoffs = {"OPAQUE": 0.0, "MASK": material.get("alphaCutoff", 0.5), "BLEND": 0.5}
    moved = _uv_matrix(texture)
    uv = attribute(f"TEXCOORD_{texture.get('texCoord', 0)}", 2, 0.0) @ moved[:, :2].T + moved[:, 2]
    colours = np.clip(attribute("COLOR_0", None, 1.0), 0.0, 1.0)
    if colours.shape[1] not in (3, 4):
        raise file.refused("three or four numbers a vertex as COLOR_0", str(colours.shape[1]))
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


def _triangles(file: GltfFile, primitive: Part, count: int) -> Int64[np.ndarray, "T 3"]:
    """Vertex numbers of a primitive's triangles, of a strip's or of a fan's."""
    corners = file.numbers(primitive["indices"], 1, whole=True)[:, 0] if "indices" in primitive else np.arange(count)
    if len(corners) < 3 or corners.max() >= count or corners.min() < 0:
        raise file.refused(f"three or more indices below {count}", f"{len(corners)} up to {corners.max()}")
    mode = primitive.get("mode", 4)
    if mode > 6 or (mode == 4 and len(corners) % 3) or len(corners) > 6 * MAX_VERTICES:
        expected = f"at most {2 * MAX_VERTICES} whole triangles"
        raise file.refused(expected, f"{len(corners)} indices of mode {mode}", "simplify the mesh")
    if mode == 4:
        return corners.reshape(-1, 3)
    triangles = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    if mode == 6:
        triangles[:, 0] = corners[0]
    else:
        triangles[1::2] = triangles[1::2, [1, 0, 2]]
    return triangles


def _skinned(
    file: GltfFile, scene: GltfScene, number: int, attributes: Part, count: int, kept: Int64[np.ndarray, " V"]
) -> tuple[Float64[np.ndarray, "V 4 4"], Float64[np.ndarray, "3 V"]]:
    """Each vertex's matrix from its skin, and how much of it the head's and the eyes' joints carry."""
    skin = file.part("skins", number)
    joints = skin["joints"]
    for joint in (min(joints), max(joints)):
        file.part("nodes", joint)
    matrices = scene.world[joints]
    if "inverseBindMatrices" in skin:
        columns = file.numbers(skin["inverseBindMatrices"], 16)
        if len(columns) < len(joints):
            raise file.refused(f"{len(joints)} inverse bind matrices", str(len(columns)))
        matrices = matrices @ columns[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
    turn, total, carried = np.zeros((len(kept), 4, 4)), np.zeros(len(kept)), np.zeros((3, len(kept)))
    for group in range(4):
        if not {f"JOINTS_{group}", f"WEIGHTS_{group}"} <= attributes.keys():
            break
        shares = np.maximum(file.numbers(attributes[f"WEIGHTS_{group}"], 4, count)[kept], 0.0)
        numbers = file.numbers(attributes[f"JOINTS_{group}"], 4, count, whole=True)[kept]
        numbers = np.where(shares > 0.0, numbers, 0)
        if numbers.max() >= len(joints) or numbers.min() < 0:
            raise file.refused(f"joint numbers below {len(joints)}", str(numbers.max()))
        for share, joint in zip(shares.T, numbers.T, strict=True):
            turn += share[:, None, None] * matrices[joint]
            total += share
            carried += share * scene.carried[:, joints][:, joint]
    turn[total == 0.0], total[total == 0.0] = matrices[0], 1.0
    return turn / total[:, None, None], carried / total


def _picture(file: GltfFile, key: tuple[int | None, ...], notes: list[str]) -> placing.Picture:
    """The picture of a texture, or white, times a factor of colour in linear light and opacity.

    A texture that is not read gives way to the plain colour, and a note.
    """
    index, rgba, factor = key[0], placing.plain_picture((255, 255, 255)), np.array(key[1:], float)
    if not ((factor >= 0.0) & (factor <= 1.0)).all():
        raise file.refused("colour factors of 0 to 1", f"{factor.tolist()}")
    if index is not None:
        texture, content = file.part("textures", index), b""
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source")
        if isinstance(source, int) and source >= 0:
            image = file.part("images", source)
            content = bytes(file.view(image["bufferView"])[0]) if "bufferView" in image else file.resource(image["uri"])
        if content and content[1:7] != b"KTX 20":
            rgba = placing.read_picture(io.BytesIO(content), f"image {source} of {file.path}")
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


def _eyes(
    scene: GltfScene, carried: Float32[np.ndarray, "2 V"], vertices: Float32[np.ndarray, "V 3"]
) -> placing.Eyes | None:
    """Both eyeballs where the file has both: a joint is the middle of what it carries, else a sphere is fitted."""
    left = carried[0] > 0.99
    members = [np.flatnonzero(ball).astype(np.int32) for ball in (left, ~left & (carried[1] > 0.99))]
    if min(len(ball) for ball in members) < 4:
        return None
    joints = [scene.topmost(nodes & scene.joints) for nodes in scene.eyes]
    centres = [
        scene.world[found[0], :3, 3] if found else ball_middle(vertices[ball])
        for found, ball in zip(joints, members, strict=True)
    ]
    return members, np.stack(centres)
