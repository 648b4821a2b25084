"""Where the nodes of a glTF file stand at rest, which of them are drawn, and which carry the head and the eyes.

>>> scene = GltfScene(open_gltf(path))
>>> scene.world[scene.drawn[0]].shape  # the node's place in the scene
(4, 4)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial.transform import Rotation

from avi_lib.face.channel_names import words
from avi_lib.face.gltf_file import GltfFile
from avi_lib.face.gltf_schema import Node

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
