"""Reads a head with blendshapes from anyone's .glb or .gltf file.

>>> head = load_gltf_head(Path("ada.glb"))
>>> head.notes  # what it lacks, and how it was placed
("1 of 52 channels move nothing: tongueOut", ...)

The head at rest is the file's nodes as they stand, skins applied, without morph weights. A joint named as the head
carries what it carries in the file; joints or nodes named as the left and the right eye become eyeballs that turn.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32

from avi_lib.face.channel_names import missing_among
from avi_lib.face.gltf_file import GltfFile, one_line, open_gltf
from avi_lib.face.gltf_primitives import Piece, read_pieces
from avi_lib.face.gltf_scene import GltfScene
from avi_lib.face.gltf_textures import Painted, paint_atlas
from avi_lib.face.head import Head
from avi_lib.face.material_names import material_of
from avi_lib.face.placing import Eyes, Neck, placed_head
from avi_lib.face.shading import MATERIAL_NAMES


def load_gltf_head(path: Path) -> Head:
    """The head in a .glb or .gltf file whose morph targets are named for ARKit's blendshapes.

    It is placed by `placing.placed_head`. What is missing or was chosen is in its `notes`. Raises InputError for a file
    that is no glTF 2.0, compressed by Draco or meshopt, damaged, too large, or without such morph targets.
    """
    file = open_gltf(path)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond measure is refused by _joined
        return _read(file, GltfScene(file))


def _read(file: GltfFile, scene: GltfScene) -> Head:
    notes = _undrawn(file, scene)
    pieces = read_pieces(file, scene, notes)
    if not pieces:
        raise file.refused("meshes of triangles", "; ".join(notes) or "no primitives, so nothing is drawn")
    if not any(piece.shapes for piece in pieces):
        names = [name for mesh in file.document.meshes for name in mesh.target_names]
        got = f"only the targets {one_line(', '.join(names[:6]))}" if names else "no named morph targets"
        raise file.refused("morph targets with ARKit's names (mesh.extras.targetNames)", got)
    painted = paint_atlas(file, [piece.primitive.material for piece in pieces])
    notes.extend(painted.notes)
    if any(painted.repeats(piece.primitive.material, piece.uv) for piece in pieces):
        notes.append("a texture that repeats itself is shown once, with seams")
    seen = [_without_clear(piece, painted) for piece in pieces]
    clear = sum(len(piece.triangles) - len(shown.triangles) for piece, shown in zip(pieces, seen, strict=True))
    if clear:
        notes.append(f"{clear} triangles that one sees through are left out")
    if not any(len(piece.triangles) for piece in seen):
        raise file.refused("surfaces that one can see", "none")
    return _joined(file, scene, seen, painted, notes)


def _undrawn(file: GltfFile, scene: GltfScene) -> list[str]:
    """A note on nodes that the default scene names and the file lacks; InputError when the scene shows no mesh."""
    document = file.document
    roots = document.scenes[document.scene].nodes if document.scenes else None
    lost = [node for node in roots or () if node >= len(document.nodes)]
    told = [f"scene {document.scene} names node {lost[0]} of {len(document.nodes)}"] if lost else []
    if not scene.drawn:
        why = told[0] if told else f"scene {document.scene} names no nodes" if roots == () else "no node has a mesh"
        raise file.refused("a scene that draws a mesh", f"nothing is drawn: {why}")
    return told


def _look(file: GltfFile, piece: Piece) -> int:
    """The material of `shading.MATERIALS` that a piece's names speak of."""
    number = piece.primitive.material
    painted = () if number is None else (file.part(file.document.materials, number, "material").name,)
    return MATERIAL_NAMES.index(material_of(*painted, *piece.names))


def _without_clear(piece: Piece, painted: Painted) -> Piece:
    """The piece without triangles that one sees through at all corners; the vertices are kept."""
    clear = painted.clear(piece.primitive.material, piece.uv)[piece.triangles].all(axis=1)
    return replace(piece, triangles=piece.triangles[~clear])


def _joined(file: GltfFile, scene: GltfScene, pieces: list[Piece], painted: Painted, notes: list[str]) -> Head:
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    vertices = np.concatenate([piece.vertices for piece in pieces])
    triangles = np.concatenate([piece.triangles + first for piece, first in zip(pieces, firsts, strict=False)])
    channels = dict.fromkeys(channel for piece in pieces for channel in piece.shapes)
    shapes = {channel: np.zeros_like(vertices) for channel in channels}
    for piece, first in zip(pieces, firsts, strict=False):
        for channel, moved in piece.shapes.items():
            shapes[channel][first : first + len(moved)] = moved
    extent = float(np.ptp(vertices, axis=0).max())
    reach = max(float(np.abs(moved).max()) for moved in shapes.values())
    if not (1e-9 < extent < 1e9 and reach <= extent and np.abs(vertices).max() < 1e6 * extent):
        raise file.refused("a head within measure", f"{extent:.3g} units, which its targets move by {reach:.3g}")
    normals = np.concatenate([piece.normals for piece in pieces])
    return placed_head(
        file.path.stem,
        vertices,
        triangles.astype(np.int32),
        np.concatenate([painted.place(piece.primitive.material, piece.uv) for piece in pieces]),
        shapes,
        painted.atlas,
        np.concatenate([np.full(len(piece.triangles), _look(file, piece), np.uint8) for piece in pieces]),
        _weld(vertices, normals, shapes),
        (*notes, *missing_among(shapes)),
        occlusion=np.concatenate([piece.occlusion for piece in pieces]),
        eyes=_eyes(scene, pieces, vertices),
        neck=_neck(scene, pieces, shapes),
    )


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


def _eyes(scene: GltfScene, pieces: list[Piece], vertices: Float32[np.ndarray, "V 3"]) -> Eyes | None:
    """Both eyeballs where the file has both: a joint is the middle of what it carries, else a sphere is fitted."""
    eye = np.concatenate([piece.eye for piece in pieces])
    members = tuple(np.flatnonzero(eye == side).astype(np.int32) for side in (0, 1))
    if min(len(ball) for ball in members) < 4:
        return None
    joints = {joint for skin in scene.file.document.skins for joint in skin.joints}
    centres = []
    for side, ball in enumerate(members):
        carrying = scene.topmost(scene.eyes(side) & joints)
        centres.append(scene.world[carrying[0], :3, 3] if carrying else _sphere_middle(vertices[ball]))
    return Eyes((members[0], members[1]), np.stack(centres))


def _sphere_middle(points: Float32[np.ndarray, "E 3"]) -> Float64[np.ndarray, " 3"]:
    """The middle of the sphere nearest to the points: |p|^2 = 2 p.c + constant, by least squares."""
    mean = points.mean(axis=0, dtype=np.float64)
    arms = points - mean
    solution = np.linalg.lstsq(np.column_stack([2.0 * arms, np.ones(len(arms))]), (arms**2).sum(axis=1), rcond=None)[0]
    middle: np.ndarray = mean + solution[:3]
    return middle


def _neck(scene: GltfScene, pieces: list[Piece], shapes: dict[str, np.ndarray]) -> Neck | None:
    """What the joint named as the head carries, unless the face hardly hangs on it."""
    joints = {joint for skin in scene.file.document.skins for joint in skin.joints}
    carrying = scene.topmost(scene.heads() & joints)
    weight = np.concatenate([piece.head for piece in pieces])
    moved = np.any([shape.any(axis=1) for shape in shapes.values()], axis=0)
    if len(carrying) != 1 or weight[moved].mean() < 0.5:
        return None
    return Neck(weight, scene.world[carrying[0], :3, 3])
