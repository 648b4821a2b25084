"""A reader of GLB files that shares no code with the library, and a builder of somebody else's glTF files."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from avi_lib.face.head import Head
from avi_lib.motion.clip import ARKIT

FPS = 25.0


class Glb:
    """A reader that shares no code with the library, for files that it writes."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, length, size, kind = struct.unpack_from("<4sIII4s", content)
        assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
        self.json: dict[str, Any] = json.loads(content[20 : 20 + size])
        blob, kind = struct.unpack_from("<I4s", content, 20 + size)
        assert kind == b"BIN\0" and len(content) == 28 + size + blob
        self.blob = content[28 + size :]

    def view(self, number: int, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        start = self.json["bufferViews"][number].get("byteOffset", 0) + offset
        return np.frombuffer(self.blob, dtype, int(np.prod(shape)), start).reshape(shape)

    def array(self, number: int) -> np.ndarray:
        accessor = self.json["accessors"][number]
        dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "<u1"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        if "bufferView" in accessor:
            return self.view(accessor["bufferView"], accessor.get("byteOffset", 0), dtype, (accessor["count"], width))
        dense = np.zeros((accessor["count"], width), dtype)
        if "sparse" in accessor:
            places, values = accessor["sparse"]["indices"], accessor["sparse"]["values"]
            kind = {5123: "<u2", 5125: "<u4"}[places["componentType"]]
            count = accessor["sparse"]["count"]
            index = self.view(places["bufferView"], places["byteOffset"], kind, (count,))
            assert (np.diff(index.astype(int)) > 0).all()
            dense[index] = self.view(values["bufferView"], values["byteOffset"], dtype, (count, width))
        return dense

    def outputs(self) -> dict[tuple[int, str], np.ndarray]:
        (animation,) = self.json["animations"]
        return {
            (channel["target"]["node"], channel["target"]["path"]): self.array(
                animation["samplers"][channel["sampler"]]["output"]
            )
            for channel in animation["channels"]
        }

    def played(self, frame: int) -> np.ndarray:
        """All vertices at a frame: morph targets first, then the skin, as the specification orders them."""
        outputs, nodes = self.outputs(), self.json["nodes"]
        weights = outputs[4, "weights"].reshape(-1, 52)[frame].astype(float)
        world: dict[int, np.ndarray] = {}

        def place(node: int, above: np.ndarray) -> None:
            local = np.eye(4)
            local[:3, 3] = nodes[node].get("translation", (0, 0, 0))
            if (node, "rotation") in outputs:
                local[:3, :3] = Rotation.from_quat(outputs[node, "rotation"][frame]).as_matrix()
            world[node] = above @ local
            for child in nodes[node].get("children", ()):
                place(child, world[node])

        place(0, np.eye(4))
        skin = self.json["skins"][0]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([world[joint] for joint in skin["joints"]]) @ inverse
        pieces = []
        for primitive in self.json["meshes"][0]["primitives"]:
            attributes = {name: self.array(number) for name, number in primitive["attributes"].items()}
            vertices = attributes["POSITION"].astype(float)
            for weight, target in zip(weights, primitive["targets"], strict=True):
                vertices = vertices + weight * self.array(target["POSITION"])
            matrices = np.einsum("vk,vkij->vij", attributes["WEIGHTS_0"], joints[attributes["JOINTS_0"]])
            pieces.append(np.einsum("vij,vj->vi", matrices[:, :3, :3], vertices) + matrices[:, :3, 3])
        return np.concatenate(pieces)


def in_file_order(head: Head) -> np.ndarray:
    """Vertex numbers of a head as a file lists them: material by material."""
    return np.concatenate([np.unique(head.triangles[head.material == kind]) for kind in np.unique(head.material)])


class Builder:
    """A small .gltf of somebody else's: a box of a head with lids, a jaw and brows, in any unit and place."""

    def __init__(self, scale: float = 1.0) -> None:
        self.blob = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}
        side = np.array([[x, y, z] for z in (0.0, -0.2) for y in (-0.12, 0.12) for x in (-0.08, 0.08)])
        lids = np.array(
            [[s * 0.031 + x, 0.003 + y, 0.012] for s in (1, -1) for y in (-0.005, 0.005) for x in (-0.01, 0.01)]
        )
        lids = np.concatenate([lids, [[0.0, -0.06, 0.012], [0.02, -0.06, 0.012], [0.0, -0.05, 0.012]]])
        self.points = (np.concatenate([side, lids]) * scale).astype(np.float32)
        box = [(0, 1, 3), (0, 3, 2), (4, 7, 5), (4, 6, 7), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
        eyes = [(8, 9, 11), (8, 11, 10), (12, 13, 15), (12, 15, 14), (16, 17, 18)]
        self.triangles = np.array(box + eyes)
        self.targets = {}
        for name, members in (("EyeBlink_L", range(8, 12)), ("EyeBlink_R", range(12, 16)), ("jawOpen", range(16, 19))):
            moved = np.zeros_like(self.points)
            moved[list(members), 1] = -0.01 * scale
            self.targets[name] = moved
        self.targets["wink"] = self.targets["EyeBlink_L"] * 0.5

    def add(self, values: np.ndarray, **traits: Any) -> int:
        values = np.ascontiguousarray(values)
        kind = {"f4": 5126, "u4": 5125, "u2": 5123, "u1": 5121, "i2": 5122, "i1": 5120}[values.dtype.str[1:]]
        width = values.shape[1] if values.ndim == 2 else 1
        element = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[width]
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.blob), "byteLength": values.nbytes})
        self.blob += values.tobytes() + bytes(-values.nbytes % 4)
        accessor = {"bufferView": len(self.json["bufferViews"]) - 1, "componentType": kind, "count": len(values)}
        self.json["accessors"].append({**accessor, "type": element, **traits})
        return len(self.json["accessors"]) - 1

    def mesh(self, node: dict[str, Any] | None = None, **attributes: np.ndarray) -> Builder:
        primitive = {
            "attributes": {"POSITION": self.add(self.points), **{k: self.add(v) for k, v in attributes.items()}},
            "indices": self.add(self.triangles.astype(np.uint16).ravel()),
            "targets": [{"POSITION": self.add(moved)} for moved in self.targets.values()],
        }
        self.json["meshes"] = [{"primitives": [primitive], "extras": {"targetNames": list(self.targets)}}]
        self.json["nodes"] = [{"mesh": 0, **(node or {})}]
        self.json["scenes"] = [{"nodes": [0]}]
        return self

    def save(self, path: Path, uri: str | None = None) -> Path:
        """As .glb, or as .gltf with a data URI or the buffer under a name of its own."""
        buffer: dict[str, Any] = {"byteLength": len(self.blob)}
        if path.suffix == ".gltf":
            buffer["uri"] = uri or "data:application/octet-stream;base64," + base64.b64encode(self.blob).decode()
            path.write_text(json.dumps({**self.json, "buffers": [buffer]}))
            return path
        text = json.dumps({**self.json, "buffers": [buffer]}).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(self.blob))
        parts = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(self.blob), b"BIN\0")
        path.write_bytes(head + parts + self.blob)
        return path


def frame(channel: str) -> np.ndarray:
    values = np.zeros((1, len(ARKIT)), np.float32)
    values[0, ARKIT.index(channel)] = 1.0
    return values
