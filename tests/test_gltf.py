"""GLB files: what is written moves as the head moves, and comes back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gltf_files import FPS, Glb, in_file_order

from avi_lib.errors import InputError, OutputError
from avi_lib.face.camera import MATERIALS
from avi_lib.face.head import Head, load_head
from avi_lib.heads.gltf_head import load_gltf_head
from avi_lib.heads.gltf_writing import read_glb_motion, write_glb
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME, MotionClip


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


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
    for frame in (0, 7, 31, 59):
        assert np.abs(glb.played(frame) - expected[frame]).max() < 1e-6


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
    for told, material in zip(glb.json["materials"], MATERIALS, strict=True):
        assert told["name"] == material.name
        assert told["pbrMetallicRoughness"]["roughnessFactor"] == material.roughness
        assert told.get("doubleSided", False) == material.two_sided
    (sampler, *_) = glb.json["animations"][0]["samplers"]
    np.testing.assert_allclose(glb.array(sampler["input"])[:, 0], np.arange(len(motion)) / FPS, atol=1e-6)


def test_bounds_and_alignment_follow_the_specification(written: Path) -> None:
    glb = Glb(written)
    assert all(view["byteOffset"] % 4 == 0 for view in glb.json["bufferViews"])
    for primitive in glb.json["meshes"][0]["primitives"]:
        for number in (primitive["attributes"]["POSITION"], *(t["POSITION"] for t in primitive["targets"])):
            told, values = glb.json["accessors"][number], glb.array(number)
            np.testing.assert_array_equal(np.float32(told["min"]), values.min(axis=0))
            np.testing.assert_array_equal(np.float32(told["max"]), values.max(axis=0))
        np.testing.assert_allclose(np.linalg.norm(glb.array(primitive["attributes"]["NORMAL"]), axis=1), 1.0, atol=1e-6)


def test_motion_comes_back_as_it_was_written(motion: MotionClip, written: Path) -> None:
    back = read_glb_motion(written)
    assert (back.fps, back.space) == (FPS, ARKIT)
    np.testing.assert_allclose(back.values, motion.values, atol=1e-6)


@pytest.mark.parametrize(("fps", "frames"), [(24.0, 1), (29.97, 2000), (60.0, 2000)])
def test_any_rate_comes_back(head: Head, tmp_path: Path, fps: float, frames: int) -> None:
    values = np.random.default_rng(1).uniform(0.0, 1.0, (frames, len(ARKIT))).astype(np.float32)
    write_glb(head, MotionClip(values, fps, ARKIT), tmp_path / "face.glb")
    back = read_glb_motion(tmp_path / "face.glb")
    assert back.fps == fps and len(back) == frames
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


def test_a_head_that_was_read_is_written_with_the_same_bytes_of_shape(written: Path, tmp_path: Path) -> None:
    back, motion = load_gltf_head(written), read_glb_motion(written)
    write_glb(back, motion, tmp_path / "again.glb")
    np.testing.assert_allclose(Glb(tmp_path / "again.glb").played(9), Glb(written).played(9), atol=1e-6)


def test_the_same_head_and_motion_give_the_same_bytes(motion: MotionClip, written: Path, tmp_path: Path) -> None:
    write_glb(load_head(), motion, tmp_path / "face.glb")
    assert (tmp_path / "face.glb").read_bytes() == written.read_bytes()


def test_a_minute_is_written_in_less_than_a_second(head: Head, written: Path, tmp_path: Path) -> None:
    assert written.is_file()  # kernels are compiled
    values = np.random.default_rng(2).uniform(0.0, 1.0, (1500, len(ARKIT))).astype(np.float32)
    start = time.process_time()
    write_glb(replace(head), MotionClip(values, FPS, ARKIT), tmp_path / "minute.glb")
    assert time.process_time() - start < 1.0


def test_bad_motion_and_heads_leave_nothing_behind(head: Head, motion: MotionClip, tmp_path: Path) -> None:
    path = tmp_path / "face.glb"
    spoilt = MotionClip(motion.values.copy(), FPS, ARKIT)
    spoilt.values[3, 3] = np.nan
    shapes = head.shapes.copy()
    shapes[0, 0, 0] = np.inf
    flame = MotionClip(np.zeros((2, len(FLAME)), np.float32), FPS, FLAME)
    for bad_head, bad_motion in ((head, spoilt), (replace(head, shapes=shapes), motion), (head, flame)):
        with pytest.raises(InputError):
            write_glb(bad_head, bad_motion, path)
    with pytest.raises(OutputError):
        write_glb(head, motion, tmp_path / "nowhere" / "face.glb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.5, 241.0, 300.0])
def test_rates_that_would_not_come_back_are_not_written(head: Head, tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match=f"1 to 240 frames per second for glTF; got {fps:g}"):
        write_glb(head, MotionClip(np.zeros((300, len(ARKIT)), np.float32), fps, ARKIT), tmp_path / "face.glb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [1.0, 240.0])
def test_rates_at_the_ends_of_the_range_come_back(head: Head, tmp_path: Path, fps: float) -> None:
    write_glb(head, MotionClip(np.zeros((300, len(ARKIT)), np.float32), fps, ARKIT), tmp_path / "face.glb")
    back = read_glb_motion(tmp_path / "face.glb")
    assert (back.fps, len(back)) == (fps, 300)


def test_a_clip_of_half_an_hour_keeps_its_last_frame(head: Head, tmp_path: Path) -> None:
    values = np.zeros((100_001, len(ARKIT)), np.float32)
    values[-1] = 0.25
    write_glb(head, MotionClip(values, 90.0, ARKIT), tmp_path / "face.glb")
    back = read_glb_motion(tmp_path / "face.glb")
    assert len(back) == 100_001
    np.testing.assert_allclose(back.values[-1], 0.25, atol=1e-6)
