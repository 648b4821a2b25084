"""Hostile and damaged glTF files are refused in a line."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_files import FPS, Builder
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.heads.gltf import read_glb_motion
from avi_lib.heads.gltf_head import load_gltf_head
from avi_lib.heads.gltf_writing import write_glb
from avi_lib.motion.clip import ARKIT, MotionClip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "face.glb"
    write_glb(load_head(), MotionClip(np.full((9, len(ARKIT)), 0.3, np.float32), FPS, ARKIT), path)
    return path


def _accessor(**traits: Any) -> Callable[[Builder], None]:
    return lambda builder: builder.json["accessors"][0].update(traits)


def _nan(builder: Builder) -> None:
    builder.blob = np.float32(np.nan).tobytes() + builder.blob[4:]


def _cycle(builder: Builder) -> None:
    builder.json["nodes"] = [{"mesh": 0, "children": [1]}, {"children": [0]}]


def _index(builder: Builder) -> None:
    builder.json["meshes"][0]["primitives"][0]["indices"] = builder.add(np.array([0, 1, 19], np.uint16))


def _sparse(builder: Builder) -> None:
    view = len(builder.json["bufferViews"]) - 1
    places = {"bufferView": view, "componentType": 5123}
    builder.json["accessors"][2]["sparse"] = {"count": 3, "indices": places, "values": {"bufferView": 0}}


def _unnamed(builder: Builder) -> None:
    del builder.json["meshes"][0]["extras"]


def _bomb(builder: Builder) -> None:
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "png")
    builder.json["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()}]
    builder.json["textures"] = [{"source": 0}]
    builder.json["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    builder.json["meshes"][0]["primitives"][0]["material"] = 0


HOSTILE: dict[str, tuple[Callable[[Builder], Any], str]] = {
    "draco": (lambda b: b.json.update(extensionsRequired=["KHR_draco_mesh_compression"]), "compression"),
    "meshopt": (lambda b: b.json.update(extensionsRequired=["EXT_meshopt_compression"]), "compression"),
    "unknown extension": (lambda b: b.json.update(extensionsRequired=["ACME_cube"]), "ACME_cube"),
    "another version": (lambda b: b.json.update(asset={"version": "1.0"}), "1.0"),
    "count past the end": (_accessor(count=100_000), "within buffer view 0"),
    "absurd count": (_accessor(count=10**12), "1000000000000 elements"),
    "many zeros": (
        lambda b: (b.json["accessors"][0].pop("bufferView"), _accessor(count=1 << 20)(b)),
        "1048576 elements",
    ),
    "negative offset": (_accessor(byteOffset=-4), "from byte -4"),
    "unknown type": (_accessor(type="VEC9"), "a type.*VEC9"),
    "integers as words": (_accessor(count="many"), "a count.*many"),
    "wrong width": (_accessor(type="VEC2"), "accessor 0"),
    "view past the end": (lambda b: b.json["bufferViews"][0].update(byteLength=1 << 20), "buffer view 0"),
    "missing view": (_accessor(bufferView=999), "number 999 of the bufferViews"),
    "not a number": (_nan, "NaN"),
    "nodes in a circle": (_cycle, "circle"),
    "two parents": (lambda b: b.json.update(nodes=[{"mesh": 0}, {"children": [0]}, {"children": [0]}]), "two parents"),
    "index out of range": (_index, "indices below 19"),
    "falling sparse indices": (_sparse, "sparse"),
    "no names": (_unnamed, "targetNames"),
    "no targets": (lambda b: b.json["meshes"][0]["primitives"][0].pop("targets"), "morph targets"),
    "scale beyond measure": (lambda b: b.json["nodes"][0].update(scale=[1e300, 1e300, 1e300]), "measure"),
    "missing mesh": (lambda b: b.json["nodes"][0].update(mesh=7), "number 7 of the meshes"),
    "picture too large": (_bomb, "pixels"),
    "no scene of that number": (lambda b: b.json.update(scene=5), "number 5 of the scenes"),
    "a scene of nothing": (lambda b: b.json.update(scenes=[{"nodes": []}]), "nothing is drawn: scene 0 names no nodes"),
    "a scene of other nodes": (
        lambda b: b.json.update(scenes=[{"nodes": [9]}]),
        "nothing is drawn: scene 0 names node 9 of 1",
    ),
    "nodes without a mesh": (lambda b: b.json["nodes"][0].pop("mesh"), "nothing is drawn: no node has a mesh"),
    "points alone": (lambda b: b.json["meshes"][0]["primitives"][0].update(mode=0), "points and lines"),
    "a list": (lambda b: b.json.update(nodes={"0": 1}), "could not be decoded"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_a_line(tmp_path: Path, case: str) -> None:
    spoil, message = HOSTILE[case]
    builder = Builder().mesh()
    spoil(builder)
    with pytest.raises(InputError, match=message) as error:
        load_gltf_head(builder.save(tmp_path / "bad.glb"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "../outside.bin",
            "/etc/hostname",
            "file:///etc/hostname",
            "https://localhost/x.bin",
            "sub/../../outside.bin",
        ),
        *("%2e%2e/outside.bin", "link.bin", "missing.bin", "data:;base64,!!!", "C:\\x.bin", "a\0b", "x" * 5000),
    ],
)
def test_buffers_outside_the_folder_are_not_opened(tmp_path: Path, uri: str) -> None:
    builder = Builder().mesh()
    (tmp_path / "outside.bin").write_bytes(builder.blob)
    folder = tmp_path / "heads"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(InputError):
        load_gltf_head(builder.save(folder / "ada.gltf", uri))


@pytest.mark.parametrize("kept", [0, 3, 11, 19, 40, -5])
def test_torn_files_are_refused(tmp_path: Path, kept: int) -> None:
    path = Builder().mesh().save(tmp_path / "ada.glb")
    path.write_bytes(path.read_bytes()[:kept])
    for read in (load_gltf_head, read_glb_motion):
        with pytest.raises(InputError):
            read(path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.gltf").write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="recursion"):
        load_gltf_head(tmp_path / "deep.gltf")


def test_random_damage_never_leaves_a_traceback(written: Path, tmp_path: Path) -> None:
    content, rng = written.read_bytes(), np.random.default_rng(0)
    size = struct.unpack_from("<I", content, 12)[0]
    path = tmp_path / "bad.glb"
    digits = [place for place in range(20, 20 + size) if content[place : place + 1].isdigit()]
    for _ in range(4):
        bad = bytearray(content)
        for place in rng.choice(digits, 30):
            bad[place] = int(rng.integers(ord("0"), ord("9") + 1))
        path.write_bytes(bad)
        for read in (load_gltf_head, read_glb_motion):
            with contextlib.suppress(InputError):
                read(path)


def test_a_file_without_an_animation_has_no_motion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="animation"):
        read_glb_motion(Builder().mesh().save(tmp_path / "ada.glb"))


@pytest.mark.parametrize("times", [[0.0, 0.0], [1.0, 0.5], [0.0, 1e9], [-1.0, 1.0]])
def test_animations_with_absurd_times_are_refused(tmp_path: Path, times: list[float]) -> None:
    builder = Builder().mesh()
    sampler = {"input": builder.add(np.array(times, np.float32)), "output": builder.add(np.zeros(8, np.float32))}
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    builder.json["animations"] = [{"channels": [channel], "samplers": [sampler]}]
    with pytest.raises(InputError):
        read_glb_motion(builder.save(tmp_path / "ada.glb"))
