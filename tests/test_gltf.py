"""glTF files: what is written moves as the head moves and comes back; heads of others stand as they should."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_files import FPS, Builder, Glb, frame, in_file_order
from PIL import Image

from avi_lib.errors import InputError
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, load_head
from avi_lib.heads.gltf import read_glb_motion
from avi_lib.heads.gltf_head import load_gltf_head
from avi_lib.heads.gltf_writing import write_glb
from avi_lib.heads.placing import EYES_APART_M
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionClip


@pytest.fixture(scope="module")
def motion() -> MotionClip:
    values = np.random.default_rng(5).uniform(0.0, 1.0, (60, len(ARKIT))).astype(np.float32)
    values[:, 52:] = values[:, 52:] * 1.2 - 0.6
    values[0] = 0.0
    return MotionClip(values, FPS, ARKIT)


@pytest.fixture(scope="module")
def written(head: Head, motion: MotionClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "face.glb"
    write_glb(head, motion, path)
    return path


def test_the_file_moves_as_the_head_moves(head: Head, motion: MotionClip, written: Path) -> None:
    glb, expected = Glb(written), head.deform(motion.values)[:, in_file_order(head)]
    for place in (0, 7, 31, 59):
        assert np.abs(glb.played(place) - expected[place]).max() < 1e-6


def test_names_counts_and_materials_are_those_of_the_head(head: Head, motion: MotionClip, written: Path) -> None:
    glb = Glb(written)
    (mesh,) = glb.json["meshes"]
    assert glb.json["asset"] == {"version": "2.0", "generator": "avi_lib"}
    assert tuple(mesh["extras"]["targetNames"]) == ARKIT_BLENDSHAPES
    assert [node["name"] for node in glb.json["nodes"]] == ["body", "head", "leftEye", "rightEye", "face"]
    assert len(mesh["primitives"]) == len(MATERIALS)
    assert all(len(primitive["targets"]) == 52 for primitive in mesh["primitives"])
    triangles = sum(len(glb.array(primitive["indices"])) // 3 for primitive in mesh["primitives"])
    assert triangles == len(head.triangles)
    for entry, material in zip(glb.json["materials"], MATERIALS, strict=True):
        assert entry["name"] == material.name
        assert entry["pbrMetallicRoughness"]["roughnessFactor"] == material.roughness
        assert entry.get("doubleSided", False) == material.two_sided
    (sampler, *_) = glb.json["animations"][0]["samplers"]
    np.testing.assert_allclose(glb.array(sampler["input"])[:, 0], np.arange(len(motion)) / FPS, atol=1e-6)


def test_bounds_and_alignment_follow_the_specification(written: Path) -> None:
    glb = Glb(written)
    assert all(view["byteOffset"] % 4 == 0 for view in glb.json["bufferViews"])
    for primitive in glb.json["meshes"][0]["primitives"]:
        for number in (primitive["attributes"]["POSITION"], *(t["POSITION"] for t in primitive["targets"])):
            accessor, values = glb.json["accessors"][number], glb.array(number)
            np.testing.assert_array_equal(np.float32(accessor["min"]), values.min(axis=0))
            np.testing.assert_array_equal(np.float32(accessor["max"]), values.max(axis=0))
        np.testing.assert_allclose(np.linalg.norm(glb.array(primitive["attributes"]["NORMAL"]), axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("fps", "frames"), [(FPS, 60), (24.0, 1), (29.97, 2000), (1.0, 300), (240.0, 300), (90.0, 100_001)]
)
def test_motion_comes_back_at_any_rate_with_its_last_frame(head: Head, tmp_path: Path, fps: float, frames: int) -> None:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    values[-2000:] = np.random.default_rng(1).uniform(-0.6, 0.6, (min(frames, 2000), len(ARKIT)))
    write_glb(head, MotionClip(values, fps, ARKIT), tmp_path / "face.glb")
    back = read_glb_motion(tmp_path / "face.glb")
    assert (back.fps, back.space, len(back)) == (fps, ARKIT, frames)
    np.testing.assert_allclose(back.values, values, atol=1e-5)


def test_the_head_comes_back_and_follows_the_same_motion(head: Head, motion: MotionClip, written: Path) -> None:
    back = load_gltf_head(written)
    order = in_file_order(head)
    assert back.notes == ()
    np.testing.assert_allclose(back.move(motion), head.move(motion)[:, order], atol=1e-6)
    np.testing.assert_allclose(back.shapes, head.shapes[:, order], atol=1e-6)
    np.testing.assert_allclose(back.occlusion, head.occlusion[order], atol=1e-6)
    np.testing.assert_array_equal(np.sort(back.material), np.sort(head.material))
    assert abs(int(back.weld.max()) - int(head.weld.max())) <= 2
    assert np.abs(back.atlas.astype(int) - head.atlas).mean() < 1.0


def test_a_head_that_was_read_is_written_as_it_was_and_twice_with_the_same_bytes(
    motion: MotionClip, written: Path, tmp_path: Path
) -> None:
    write_glb(load_head(), motion, tmp_path / "face.glb")
    assert (tmp_path / "face.glb").read_bytes() == written.read_bytes()
    write_glb(load_gltf_head(written), read_glb_motion(written), tmp_path / "again.glb")
    np.testing.assert_allclose(Glb(tmp_path / "again.glb").played(9), Glb(written).played(9), atol=1e-6)


def test_bad_motion_and_heads_leave_nothing_behind(head: Head, motion: MotionClip, tmp_path: Path) -> None:
    spoilt, still = MotionClip(motion.values.copy(), FPS, ARKIT), np.zeros((300, len(ARKIT)), np.float32)
    spoilt.values[3, 3] = np.nan
    bad_head = replace(head, shapes=np.full_like(head.shapes, np.inf))
    rate = "1 to 240 frames per second for glTF; got"
    for shown, bad, name, message in (
        (head, spoilt, "face.glb", "finite motion"),
        (bad_head, motion, "face.glb", "finite shapes"),
        (head, MotionClip(np.zeros((2, len(FLAME)), np.float32), FPS, FLAME), "face.glb", "ARKIT"),
        (head, MotionClip(still, 0.5, ARKIT), "face.glb", f"{rate} 0.5"),
        (head, MotionClip(still, 241.0, ARKIT), "face.glb", f"{rate} 241"),
        (head, motion, "nowhere/face.glb", "existing folder"),
    ):
        with pytest.raises(InputError, match=message):
            write_glb(shown, bad, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("scale", "rotation"), [(1.0, [0, 0, 0, 1]), (100.0, [0.7071068, 0, 0, 0.7071068])])
def test_without_its_skin_a_head_stands_where_it_stood(
    head: Head, written: Path, tmp_path: Path, scale: float, rotation: list[float]
) -> None:
    glb, path = Glb(written), tmp_path / "face.gltf"
    glb.json["nodes"] = [{"mesh": 0, "scale": [scale] * 3, "rotation": rotation, "translation": [1.0, 2.0, 3.0]}]
    glb.json["scenes"] = [{"nodes": [0]}]
    del glb.json["skins"], glb.json["animations"]
    glb.json["buffers"][0]["uri"] = "face.bin"
    (tmp_path / "face.bin").write_bytes(glb.blob)
    path.write_text(json.dumps(glb.json))
    back, order = load_gltf_head(path), in_file_order(head)
    apart = np.linalg.norm(head.eye_centres[0] - head.eye_centres[1])
    size = 1.0 if scale == 1.0 else EYES_APART_M / apart
    values = frame("jawOpen") + frame("mouthSmileLeft")
    np.testing.assert_allclose(back.deform(values), size * head.deform(values)[:, order], atol=5e-4)
    np.testing.assert_allclose(back.pivot, size * head.pivot, atol=5e-4)
    assert any("rigid" in note for note in back.notes)


def test_somebody_elses_head_tells_what_it_lacks_and_where_its_eyes_are(tmp_path: Path) -> None:
    head = load_gltf_head(Builder().mesh().save(tmp_path / "ada.glb"))
    assert head.name == "ada"
    assert any("missing, so they do not move" in note and "tongueOut" in note for note in head.notes)
    assert any("rigid" in note for note in head.notes)
    np.testing.assert_allclose(head.eye_centres.mean(axis=0), 0.0, atol=1e-7)
    apart = np.linalg.norm(head.eye_centres[0] - head.eye_centres[1])
    assert apart == pytest.approx(0.062, rel=0.1)
    moved = head.deform(frame("jawOpen"))[0] - head.vertices
    np.testing.assert_allclose(moved[16:, 1], -0.01, atol=1e-6)
    np.testing.assert_array_equal(moved[:16], 0.0)
    assert head.pivot[1] < 0.0 and head.pivot[2] < 0.0
    turned = head.deform(frame("headYaw") * 0.5)[0] - head.pivot
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=1), np.linalg.norm(head.vertices - head.pivot, axis=1), atol=1e-6
    )


@pytest.mark.parametrize(("unit", "node"), [
    (100.0, {}), (39.37, {}), (0.01, {}), (1.0, {"translation": [3.0, 1.6, -2.0]}),
    (1.0, {"rotation": [0.7071068, 0.0, 0.0, 0.7071068]}),
    (1.0, {"rotation": [0.0, 1.0, 0.0, 0.0], "translation": [0.0, 1.5, 0.0]}),
    (1.0, {"matrix": [0, 0, -1, 0, 1, 0, 0, 0, 0, -1, 0, 0, 5, 5, 5, 1]}),
])  # fmt: skip
def test_a_head_of_another_unit_lying_or_turned_away_is_set_upright_and_scaled_by_its_eyes(
    tmp_path: Path, unit: float, node: dict[str, Any]
) -> None:
    plain = load_gltf_head(Builder().mesh().save(tmp_path / "plain.glb"))
    moved = load_gltf_head(Builder(unit).mesh(node).save(tmp_path / "moved.glb"))
    plain_apart, apart = (float(np.linalg.norm(np.diff(each.eye_centres, axis=0))) for each in (plain, moved))
    assert apart == pytest.approx(plain_apart if unit == 1.0 else EYES_APART_M, rel=1e-5)
    assert any("scaled" in note for note in moved.notes) == (unit != 1.0)
    np.testing.assert_allclose(moved.vertices, plain.vertices * apart / plain_apart, atol=1e-5)
    np.testing.assert_allclose(moved.shapes, plain.shapes * apart / plain_apart, atol=1e-6)


def test_buffers_in_data_uris_and_beside_the_file_are_the_same(tmp_path: Path) -> None:
    builder = Builder().mesh()
    heads = [load_gltf_head(builder.save(tmp_path / "ada.glb")), load_gltf_head(builder.save(tmp_path / "ada.gltf"))]
    (tmp_path / "with space.bin").write_bytes(builder.blob)
    heads.append(load_gltf_head(builder.save(tmp_path / "beside.gltf", "with%20space.bin")))
    for head in heads[1:]:
        np.testing.assert_array_equal(head.vertices, heads[0].vertices)
        np.testing.assert_array_equal(head.shapes, heads[0].shapes)


def test_normalised_integers_are_read_as_their_fractions(tmp_path: Path) -> None:
    builder = Builder().mesh()
    primitive = builder.json["meshes"][0]["primitives"][0]
    steps = np.zeros((len(builder.points), 4), np.int16)
    steps[:, :3] = np.rint(builder.points * 32767.0)
    primitive["attributes"]["POSITION"] = builder.add(steps, type="VEC3", normalized=True)
    builder.json["bufferViews"][-1]["byteStride"] = 8
    builder.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    plain = load_gltf_head(Builder().mesh().save(tmp_path / "plain.glb"))
    head = load_gltf_head(builder.save(tmp_path / "ada.glb"))
    np.testing.assert_allclose(head.vertices, plain.vertices, atol=5e-5)


def test_several_textures_and_colours_share_one_atlas(tmp_path: Path) -> None:
    builder = Builder().mesh(TEXCOORD_0=np.full((19, 2), 0.5, np.float32))
    colours = {"png": (200, 40, 40), "jpeg": (40, 60, 220)}
    for form, colour in colours.items():
        stream = io.BytesIO()
        Image.new("RGB", (33, 20), colour).save(stream, form)
        uri = f"data:image/{form};base64," + base64.b64encode(stream.getvalue()).decode()
        builder.json.setdefault("images", []).append({"uri": uri})
    builder.json["textures"] = [{"source": 0}, {"source": 1}]
    builder.json["materials"] = [
        {"name": "Skin", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}},
        {"name": "Teeth_Upper", "pbrMetallicRoughness": {"baseColorTexture": {"index": 1}}},
        {"name": "hair", "pbrMetallicRoughness": {"baseColorFactor": [0.0, 1.0, 0.0, 1.0]}},
        {"name": "tear", "alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1.0, 1.0, 1.0, 0.1]}},
    ]
    (mesh,) = builder.json["meshes"]
    mesh["primitives"] = [{**copy.deepcopy(mesh["primitives"][0]), "material": number} for number in range(4)]
    head = load_gltf_head(builder.save(tmp_path / "ada.glb"))
    assert head.atlas.shape[0] % 4 == 0 and head.atlas.shape[1] % 4 == 0
    places = (head.uv * head.atlas.shape[1::-1]).astype(int)
    for number, expected in enumerate(((200, 40, 40), (40, 60, 220), (0, 255, 0))):
        u, v = places[number * 19]
        np.testing.assert_allclose(head.atlas[v, u].astype(int), expected, atol=4)
    names = [MATERIALS[kind].name for kind in head.material]
    assert [names.count(name) for name in ("skin", "teeth", "hair")] == [13, 13, 13]
    assert len(head.triangles) == 39


def test_joints_named_for_head_and_eyes_carry_what_they_carry_in_the_file(tmp_path: Path) -> None:
    builder = Builder()
    joints, weights = np.zeros((19, 4), np.uint8), np.zeros((19, 4), np.float32)
    weights[:, 0] = 1.0
    joints[2:8, 0], joints[8:, 0] = 1, 1
    joints[8:12, 0], joints[12:16, 0] = 2, 3
    builder.mesh({"skin": 0}, JOINTS_0=joints, WEIGHTS_0=weights)
    builder.json["nodes"] += [
        {"name": "mixamorig:Neck", "children": [2]},
        {"name": "mixamorig:Head", "translation": [0.0, -0.1, -0.05], "children": [3, 4]},
        {"name": "mixamorig:LeftEye", "translation": [0.031, 0.1, 0.05]},
        {"name": "mixamorig:RightEye", "translation": [-0.031, 0.1, 0.05]},
    ]
    places = np.array([[0, 0, 0], [0, -0.1, -0.05], [0.031, 0.0, 0.0], [-0.031, 0.0, 0.0]])
    inverse = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    inverse[:, 3, :3] = -places
    builder.json["skins"] = [{"joints": [1, 2, 3, 4], "inverseBindMatrices": builder.add(inverse.reshape(4, 16))}]
    builder.json["scenes"] = [{"nodes": [0, 1]}]
    head = load_gltf_head(builder.save(tmp_path / "ada.glb"))
    np.testing.assert_allclose(head.vertices, builder.points, atol=1e-6)
    np.testing.assert_allclose(head.pivot, (0.0, -0.1, -0.05), atol=1e-6)
    np.testing.assert_allclose(head.eye_centres, places[2:], atol=1e-6)
    assert [ball.tolist() for ball in head.eyeballs] == [[8, 9, 10, 11], [12, 13, 14, 15]]
    np.testing.assert_array_equal(head.head_weight, [0, 0] + [1] * 17)


def test_a_head_whose_eyes_are_not_found_is_placed_by_its_box(tmp_path: Path) -> None:
    builder = Builder(10.0)
    builder.targets = {"jawOpen": builder.targets["jawOpen"]}
    head = load_gltf_head(builder.mesh().save(tmp_path / "ada.glb"))
    assert any("bounding box" in note for note in head.notes)
    assert np.ptp(head.vertices[:, 1]) == pytest.approx(0.23, rel=1e-4)


@pytest.mark.parametrize(("kind", "expected"), [("LINEAR", 0.5), ("STEP", 0.0), ("CUBICSPLINE", 0.5)])
def test_keys_of_every_kind_are_sampled_evenly(tmp_path: Path, kind: str, expected: float) -> None:
    builder = Builder().mesh()
    times = np.array([0.0, 0.1, 0.2, 0.4], np.float32)
    keys = np.zeros((4, 4), np.float32)
    keys[3, 2] = 1.0
    if kind == "CUBICSPLINE":
        keys = np.stack([np.zeros_like(keys), keys, np.zeros_like(keys)], axis=1)
    turns = np.zeros((4, 4), np.float32)
    turns[:, 3] = 1.0
    turns[3] = (0.0, -np.sin(0.2), 0.0, -np.cos(0.2))
    samplers = [
        {"input": builder.add(times), "output": builder.add(keys.ravel()), "interpolation": kind},
        {"input": builder.add(times), "output": builder.add(turns)},
    ]
    targets = [{"node": 0, "path": "weights"}, {"node": 1, "path": "rotation"}]
    channels = [{"sampler": number, "target": target} for number, target in enumerate(targets)]
    builder.json["nodes"].append({"name": "Head"})
    builder.json["animations"] = [{"channels": [], "samplers": []}, {"channels": channels, "samplers": samplers}]
    motion = read_glb_motion(builder.save(tmp_path / "ada.glb"))
    assert (motion.fps, len(motion)) == (10.0, 5)
    np.testing.assert_allclose(motion["jawOpen"][[0, 1, 2, 4]], (0.0, 0.0, 0.0, 1.0), atol=1e-6)
    assert motion["jawOpen"][3] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(motion["headYaw"][[2, 3, 4]], (0.0, 0.2, 0.4), atol=1e-3)
    np.testing.assert_allclose(motion["headPitch"], 0.0, atol=1e-6)


def test_nodes_that_a_scene_names_in_vain_are_told(tmp_path: Path) -> None:
    builder = Builder().mesh()
    builder.json["scenes"] = [{"nodes": [0, 9]}]
    assert "scene 0 names node 9 of 1" in load_gltf_head(builder.save(tmp_path / "ada.glb")).notes


# Hostile and damaged files


def _accessor(**traits: Any) -> Callable[[Builder], None]:
    return lambda builder: builder.json["accessors"][0].update(traits)


def _index(builder: Builder) -> None:
    builder.json["meshes"][0]["primitives"][0]["indices"] = builder.add(np.array([0, 1, 19], np.uint16))


def _sparse(builder: Builder) -> None:
    view = len(builder.json["bufferViews"]) - 1
    places = {"bufferView": view, "componentType": 5123}
    builder.json["accessors"][2]["sparse"] = {"count": 3, "indices": places, "values": {"bufferView": 0}}


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
    "many zeros": (lambda b: (b.json["accessors"][0].pop("bufferView"), _accessor(count=1 << 20)(b)), "1048576"),
    "negative offset": (_accessor(byteOffset=-4), "from byte -4"),
    "unknown type": (_accessor(type="VEC9"), "a type.*VEC9"),
    "integers as words": (_accessor(count="many"), "a count.*many"),
    "wrong width": (_accessor(type="VEC2"), "accessor 0"),
    "view past the end": (lambda b: b.json["bufferViews"][0].update(byteLength=1 << 20), "buffer view 0"),
    "missing view": (_accessor(bufferView=999), "number 999 of the bufferViews"),
    "not a number": (lambda b: setattr(b, "blob", np.float32(np.nan).tobytes() + b.blob[4:]), "NaN"),
    "nodes in a circle": (lambda b: b.json.update(nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}]), "circle"),
    "two parents": (lambda b: b.json.update(nodes=[{"mesh": 0}, {"children": [0]}, {"children": [0]}]), "two parents"),
    "index out of range": (_index, "indices below 19"),
    "falling sparse indices": (_sparse, "sparse"),
    "no names": (lambda b: b.json["meshes"][0].pop("extras"), "targetNames"),
    "no targets": (lambda b: b.json["meshes"][0]["primitives"][0].pop("targets"), "morph targets"),
    "scale beyond measure": (lambda b: b.json["nodes"][0].update(scale=[1e300, 1e300, 1e300]), "measure"),
    "missing mesh": (lambda b: b.json["nodes"][0].update(mesh=7), "number 7 of the meshes"),
    "picture too large": (_bomb, "pixels"),
    "no scene of that number": (lambda b: b.json.update(scene=5), "number 5 of the scenes"),
    "a scene of nothing": (lambda b: b.json.update(scenes=[{"nodes": []}]), "nothing is drawn: scene 0 names no nodes"),
    "a scene of other nodes": (lambda b: b.json.update(scenes=[{"nodes": [9]}]), "drawn: scene 0 names node 9 of 1"),
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
        *("../outside.bin", "/etc/hostname", "https://localhost/x.bin", "sub/../../outside.bin"),
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


@pytest.mark.parametrize("times", [[0.0, 0.0], [1.0, 0.5], [0.0, 1e9], [-1.0, 1.0]])
def test_animations_with_absurd_times_are_refused(tmp_path: Path, times: list[float]) -> None:
    builder = Builder().mesh()
    sampler = {"input": builder.add(np.array(times, np.float32)), "output": builder.add(np.zeros(8, np.float32))}
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    with pytest.raises(InputError, match="animation"):
        read_glb_motion(builder.save(tmp_path / "still.glb"))
    builder.json["animations"] = [{"channels": [channel], "samplers": [sampler]}]
    with pytest.raises(InputError):
        read_glb_motion(builder.save(tmp_path / "ada.glb"))
