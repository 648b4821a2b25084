"""Reads a head with blendshapes from anyone's .glb or .gltf file.

>>> head = head_behind_wall(read_gltf_head, Path("ada.glb"))
>>> head.notes  # what it lacks, and how it was placed
("missing, so they do not move: tongueOut", ...)

The head at rest is the file's nodes as they stand, skins applied, without morph weights. A joint named as the head
carries what it carries in the file; joints or nodes named as the left and the right eye become eyeballs that turn.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

from avi_lib.face.camera import MATERIAL_NAMES
from avi_lib.face.head import Head, RenderMesh, parts_of, with_texels
from avi_lib.heads import placing
from avi_lib.heads.gltf import GltfFile, GltfScene, Part, target_names
from avi_lib.motion.clip import match_channels

MAX_VERTICES = 200_000
GREY = 0.01
"""How far the red, green and blue of a grey may be apart."""
SLACK = 1e-3
"""How far texture coordinates may leave their picture unseen."""


@dataclass(frozen=True)
class Piece:
    """One primitive as one node shows it, in the file's world: vertices that its triangles use, and what moves them.

    Grey vertex colours are baked `occlusion`; a `coloured` piece has others, which are not kept. `head` is how much of
    each vertex the head's joint carries, `eye` the eyeball (0, 1) that it belongs to, else -1. `look` is one of
    `camera.MATERIALS`, as `names` of material, mesh and node tell; `material` is the file's number of one. `notes` tell
    how names of shapes were matched.
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
    names: tuple[str, ...]
    look: int
    material: int | None
    notes: tuple[str, ...]


def read_gltf_head(path: str) -> dict[str, Any]:
    """The head in a .glb or .gltf file whose morph targets are named for ARKit's blendshapes, as `head.parts_of`.

    It is placed by `placing.placed_head`. What is missing or was chosen is in its `notes`. Raises InputError for a file
    that is no glTF 2.0, compressed by Draco or meshopt, damaged, too large, or without such morph targets.
    """
    file = GltfFile(Path(path))
    scene = GltfScene(file)
    notes = [
        f"scene {scene.number} names node {node} of {len(scene.nodes)}"
        for node in [node for node in scene.roots if node >= len(scene.nodes)][:1]
    ]
    if not scene.drawn:
        why = "no node has a mesh" if scene.roots else f"scene {scene.number} names no nodes"
        raise file.refused("a scene that draws a mesh", f"nothing is drawn: {''.join(notes) or why}")
    pieces: list[Piece] = []
    left_out = 0
    for node in scene.drawn:
        mesh = file.part("meshes", scene.nodes[node]["mesh"])
        surfaces = [primitive for primitive in mesh["primitives"] if primitive.get("mode", 4) >= 4]
        left_out += len(mesh["primitives"]) - len(surfaces)
        for primitive in surfaces:
            pieces.append(_piece(file, scene, node, mesh, primitive))
            if (count := sum(len(piece.vertices) for piece in pieces)) > MAX_VERTICES:
                raise file.refused(f"at most {MAX_VERTICES} vertices", str(count), "simplify the mesh")
    if left_out:
        notes.append(f"{left_out} primitives of points and lines are left out")
    if any(piece.coloured for piece in pieces):
        notes.append("its vertex colours are not shown")
    if not pieces:
        raise file.refused("meshes of triangles", "; ".join(notes) or "no primitives, so nothing is drawn")
    if not any(piece.shapes for piece in pieces):
        names = ", ".join(name for mesh in file.document["meshes"] for name in target_names(mesh))[:120]
        got = f"only the targets {names}" if names else "no named morph targets"
        raise file.refused("morph targets with ARKit's names (mesh.extras.targetNames)", got)
    notes += dict.fromkeys(note for piece in pieces for note in piece.notes)
    shells = placing.clear_shells([piece.names for piece in pieces], notes)
    pieces = [piece for piece, shell in zip(pieces, shells, strict=True) if not shell]
    atlas, pieces = _painted(file, pieces, notes)
    return parts_of(_joined(file, scene, pieces, atlas, notes))


def _piece(file: GltfFile, scene: GltfScene, number: int, mesh: Part, primitive: Part) -> Piece:
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

    material = file.part("materials", primitive["material"]) if "material" in primitive else Part()
    coordinates = material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {}).get("texCoord", 0)
    uv = attribute(f"TEXCOORD_{coordinates}", 2, 0.0)
    colours = np.clip(attribute("COLOR_0", None, 1.0), 0.0, 1.0)
    if colours.shape[1] not in (3, 4):
        raise file.refused("three or four numbers a vertex as COLOR_0", str(colours.shape[1]))
    names = tuple(part.get("name", "") for part in (material, mesh, node))
    grey = bool(np.ptp(colours[:, :3], axis=1).max() < GREY)
    return Piece(
        vertices=vertices + rest,
        triangles=triangles,
        uv=uv,
        normals=np.einsum("vij,vj->vi", turn[:, :3, :3], attribute("NORMAL", 3, 0.0)),
        shapes={channel: shapes[channel] for channel in match.parts if channel in shapes},
        notes=match.notes,
        occlusion=colours[:, 0].copy() if grey else np.ones(len(kept), np.float32),
        coloured=not grey,
        head=carried[0].astype(np.float32),
        eye=np.where(carried[1] > 0.99, 0, np.where(carried[2] > 0.99, 1, -1)),
        look=MATERIAL_NAMES.index(placing.material_of(*names)),
        names=names,
        material=primitive.get("material"),
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


def _painted(file: GltfFile, pieces: list[Piece], notes: list[str]) -> tuple[UInt8[np.ndarray, "H W 4"], list[Piece]]:
    """Base colours and opacity of all materials as one atlas, and the pieces placed in it, without what is not seen.

    A texture that cannot be read gives way to the plain colour, and a note.
    """
    pictures: dict[tuple[Any, ...], placing.Picture] = {}
    looks: dict[int | None, tuple[tuple[Any, ...], float, np.ndarray]] = {}
    for number in dict.fromkeys(piece.material for piece in pieces):
        material = Part() if number is None else file.part("materials", number)
        colour = material.get("pbrMetallicRoughness", Part())
        info, factor = colour.get("baseColorTexture"), np.array(colour.get("baseColorFactor", (1.0,) * 4), float)
        if not ((factor >= 0.0) & (factor <= 1.0)).all():
            raise file.refused("colour factors of 0 to 1", f"{factor.tolist()}")
        key = (info and info["index"], *factor.tolist())
        if key not in pictures:
            rgba = None if info is None else _picture(file, info["index"], notes)
            pictures[key] = _tinted(placing.plain_picture((255, 255, 255)) if rgba is None else rgba, factor)
        cutoffs = {"OPAQUE": 0.0, "MASK": material.get("alphaCutoff", 0.5), "BLEND": 0.5}
        looks[number] = key, cutoffs[material.get("alphaMode", "OPAQUE")], _uv_matrix(info)
    veils = {key for key, cutoff, _ in looks.values() if cutoff}
    solid = {key: rgba if key in veils else rgba | np.array([0, 0, 0, 255], np.uint8) for key, rgba in pictures.items()}
    atlas, places = placing.atlas_of(solid)
    placed, clear, repeated = [], 0, False
    for piece in pieces:
        key, cutoff, matrix = looks[piece.material]
        corner, size = places[key]
        moved = piece.uv @ matrix[:, :2].T + matrix[:, 2]
        repeated |= min(size) > placing.PLAIN_SIDE and bool((np.ptp(moved, axis=0) > 1.0 + SLACK).any())
        moved = moved - np.floor(moved.min(axis=0) + SLACK)  # by whole pictures where that suffices
        if (moved.max(axis=0) > 1.0 + SLACK).any():
            moved = moved - np.floor(moved)
        moved = np.clip(moved, 0.0, 1.0)
        unseen = ~with_texels(pictures[key][..., 3] >= 255 * cutoff, moved, piece.triangles)
        clear += int(unseen.sum())
        uv = ((moved * size + corner) / atlas.shape[1::-1]).astype(np.float32)
        placed.append(replace(piece, uv=uv, triangles=piece.triangles[~unseen]))
    if repeated:
        notes.append("a texture that repeats itself is shown once, with seams")
    if clear:
        notes.append(f"{clear} triangles that one sees through are left out")
    if not any(len(piece.triangles) for piece in placed):
        raise file.refused("surfaces that one can see", "none")
    return atlas, placed


def _tinted(rgba: placing.Picture, factor: Float64[np.ndarray, " 4"]) -> placing.Picture:
    """The picture times a colour in linear light and an opacity."""
    if (factor == 1.0).all():
        return rgba
    code = np.arange(256) / 255.0
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)[:, None] * factor[:3]
    colours = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1.0 / 2.4) - 0.055)
    table = np.rint(255.0 * np.column_stack([colours, code * factor[3]])).astype(np.uint8)
    return table[rgba, np.arange(4)]


def _picture(file: GltfFile, index: int, notes: list[str]) -> placing.Picture | None:
    """The picture of a texture; a note and nothing where its form is not read."""
    texture = file.part("textures", index)
    source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source")
    content = b""
    if isinstance(source, int) and source >= 0:
        image = file.part("images", source)
        content = bytes(file.view(image["bufferView"])[0]) if "bufferView" in image else file.resource(image["uri"])
    if not content or content[1:7] == b"KTX 20":
        notes.append(f"texture {index} is in a form that is not read (KTX2); its surface has a plain colour")
        return None
    return placing.read_picture(io.BytesIO(content), f"image {source} of {file.path}")


def _uv_matrix(info: Part | None) -> Float32[np.ndarray, "2 3"]:
    """How KHR_texture_transform moves texture coordinates."""
    transform = (info or Part()).get("extensions", {}).get("KHR_texture_transform", {})
    (x, y), (wide, high) = transform.get("offset", (0.0, 0.0)), transform.get("scale", (1.0, 1.0))
    c, s = np.cos(transform.get("rotation", 0.0)), np.sin(transform.get("rotation", 0.0))
    return np.array([[c * wide, s * high, x], [-s * wide, c * high, y]], np.float32)


def _joined(file: GltfFile, scene: GltfScene, pieces: list[Piece], atlas: np.ndarray, notes: list[str]) -> Head:
    """All pieces as one head."""
    arrays = {
        field: np.concatenate([getattr(piece, field) for piece in pieces])
        for field in ("vertices", "uv", "normals", "occlusion", "head", "eye")
    }
    vertices = arrays["vertices"]
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])[:-1]
    shapes = {channel: np.zeros_like(vertices) for piece in pieces for channel in piece.shapes}
    for piece, first in zip(pieces, firsts, strict=True):
        for channel, moved in piece.shapes.items():
            shapes[channel][first : first + len(moved)] = moved
    extent = float(np.ptp(vertices, axis=0).max())
    reach = max(float(np.abs(moved).max()) for moved in shapes.values())
    if not (1e-9 < extent < 1e9 and reach <= extent and np.abs(vertices).max() < 1e6 * extent):
        raise file.refused("a head within measure", f"{extent:.3g} units, which its targets move by {reach:.3g}")
    triangles = [piece.triangles + first for piece, first in zip(pieces, firsts, strict=True)]
    mesh = RenderMesh(
        vertices=vertices,
        triangles=np.concatenate(triangles).astype(np.int32),
        uv=arrays["uv"],
        weld=_weld(vertices, arrays["normals"], shapes),
        material=np.repeat([piece.look for piece in pieces], [len(each) for each in triangles]).astype(np.uint8),
        occlusion=arrays["occlusion"],
        atlas=np.ascontiguousarray(atlas[..., :3]),
        alpha=None if (atlas[..., 3] == 255).all() else np.ascontiguousarray(atlas[..., 3]),
    )
    eyes, neck = _eyes(scene, arrays["eye"], vertices), _neck(scene, arrays["head"], shapes)
    return placing.placed_head(file.path.stem, mesh, shapes, (*notes, *placing.missing_among(shapes)), eyes, neck)


def _weld(
    vertices: Float32[np.ndarray, "V 3"], normals: Float32[np.ndarray, "V 3"], shapes: dict[str, np.ndarray]
) -> Int32[np.ndarray, " V"]:
    """Vertices at one place with one normal that move alike are one point: closed lips stay two."""
    moved = np.zeros_like(vertices)
    for place, shape in enumerate(shapes.values()):
        moved += np.float32(np.cos(place)) * shape
    grain = 1e-5 * float(np.ptp(vertices, axis=0).max())
    lengths = np.maximum(np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True), 1e-12)
    keys = np.concatenate([vertices / grain, moved / (10.0 * grain), 100.0 * normals / lengths], axis=1)
    _, weld = np.unique(np.rint(keys).astype(np.int64), axis=0, return_inverse=True)
    return weld.astype(np.int32).reshape(-1)


def _eyes(scene: GltfScene, eye: Int64[np.ndarray, " V"], vertices: Float32[np.ndarray, "V 3"]) -> placing.Eyes | None:
    """Both eyeballs where the file has both: a joint is the middle of what it carries, else a sphere is fitted."""
    members = [np.flatnonzero(eye == side).astype(np.int32) for side in (0, 1)]
    if min(len(ball) for ball in members) < 4:
        return None
    centres = []
    for nodes, ball in zip(scene.eyes, members, strict=True):
        carrying = scene.topmost(nodes & scene.joints)
        mean = vertices[ball].mean(axis=0, dtype=np.float64)
        arms = vertices[ball] - mean  # |p|^2 = 2 p.c + constant, by least squares
        terms = np.column_stack([2.0 * arms, np.ones(len(arms))])
        fitted = mean + np.linalg.lstsq(terms, (arms**2).sum(axis=1), rcond=None)[0][:3]
        centres.append(scene.world[carrying[0], :3, 3] if carrying else fitted)
    return members, np.stack(centres)


def _neck(scene: GltfScene, weight: Float32[np.ndarray, " V"], shapes: dict[str, np.ndarray]) -> placing.Neck | None:
    """What the joint named as the head carries, unless the face hardly hangs on it."""
    carrying = scene.topmost(scene.heads & scene.joints)
    moved = np.any([shape.any(axis=1) for shape in shapes.values()], axis=0)
    if len(carrying) != 1 or weight[moved].mean() < 0.5:
        return None
    return weight, scene.world[carrying[0], :3, 3]
