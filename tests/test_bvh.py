"""Head movement as BVH: ours comes back, others' are read by their chain, damage is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.face.head import rotations
from avi_lib.motion import formats
from avi_lib.motion.clip import ARKIT, HEAD_ROTATION, MotionClip
from avi_lib.motion.formats import load_bvh, save_bvh

BODY = """HIERARCHY
ROOT Hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT LeftLeg {{
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {{
      OFFSET 0 -1 0
    }}
  }}
  JOINT mixamorig:{head}
  {{
    OFFSET 0 1 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    JOINT HeadTop_End {{ OFFSET 0 1 0 CHANNELS 0 }}
  }}
}}
MOTION
Frames: 2
Frame Time: 0.0083333
0 90 0 {hips} 5 6 7 {turn}
0 90 0 0 0 0 5 6 7 0 0 0
"""
STIFF = """HIERARCHY ROOT Head {
CHANNELS 3 Xposition Yposition Zposition }
MOTION
Frames: 1
Frame Time: 0.04
0 0 0
"""
JOINT = "JOINT a\n{\nOFFSET 0 0 0\n"


def body(head: str = "Head", hips: str = "0 0 0", turn: str = "0 0 0") -> str:
    return BODY.format(head=head, hips=hips, turn=turn)


def load_text(folder: Path, text: str) -> MotionClip:
    (folder / "a.bvh").write_text(text)
    return load_bvh(folder / "a.bvh")


def nodding(frames: int = 200, fps: float = 25.0) -> MotionClip:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    values[:, 52:] = np.random.default_rng(1).uniform(-1.2, 1.2, (frames, 3))
    return MotionClip(values, fps, ARKIT)


@pytest.mark.parametrize("fps", [0.01, 0.0123, 0.5, 1.0, 23.976, 25.0, 29.97, 120.0, 10_000.0])
def test_head_rotation_comes_back_and_nothing_else(tmp_path: Path, fps: float) -> None:
    clip = nodding(fps=fps)
    clip.values[:, ARKIT.index("jawOpen")] = 0.5
    save_bvh(clip, tmp_path / "a.bvh")
    again = load_bvh(tmp_path / "a.bvh")
    assert again.fps == pytest.approx(fps, rel=1e-6) and again.space is ARKIT
    np.testing.assert_allclose(again.values[:, 52:], clip.values[:, 52:], atol=1e-6)
    assert not again.values[:, :52].any()


def test_channels_are_in_the_order_in_which_the_head_multiplies_them(tmp_path: Path) -> None:
    clip = nodding(1)
    save_bvh(clip, tmp_path / "a.bvh")
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    assert lines[-2] == "Frame Time: 0.04" and lines[-3] == "Frames: 1"
    angles = np.radians([float(word) for word in lines[-1].split()[-3:]])
    assert sum("CHANNELS 3 Yrotation Xrotation Zrotation" in line for line in lines) == 2
    pitch, yaw, roll = (clip[channel] for channel in HEAD_ROTATION)
    product = Rotation.from_euler("YXZ", angles).as_matrix()
    np.testing.assert_allclose(product, rotations(pitch, yaw, roll)[0], atol=1e-6)


def test_rotations_of_the_chain_to_the_head_are_multiplied_and_those_beside_it_left_out(tmp_path: Path) -> None:
    clip = load_text(tmp_path, body(hips="0 0 30", turn="0 15 0"))
    assert clip.fps == 120.0
    np.testing.assert_allclose(clip["headYaw"], np.radians([45.0, 0.0]), atol=1e-6)
    np.testing.assert_allclose(clip["headPitch"], 0.0, atol=1e-6)
    turned = load_text(tmp_path, body(hips="0 0 90", turn="20 0 0"))
    np.testing.assert_allclose(turned["headPitch"][0], np.radians(20.0), atol=1e-6)


def test_a_head_that_turns_round_and_round_does_not_jump(tmp_path: Path) -> None:
    clip = nodding(100)
    clip.values[:, 52:] = 0.0
    clip.values[:, ARKIT.index("headYaw")] = np.linspace(0.0, 9.0, 100)
    save_bvh(clip, tmp_path / "a.bvh")
    np.testing.assert_allclose(load_bvh(tmp_path / "a.bvh").values, clip.values, atol=1e-5)


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n\n"])
def test_line_endings_and_blank_lines_do_not_matter(tmp_path: Path, ending: str) -> None:
    (tmp_path / "a.bvh").write_bytes(body(turn="0 15 0").replace("\n", ending).encode())
    assert load_bvh(tmp_path / "a.bvh")["headYaw"][0] == pytest.approx(np.radians(15.0))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no MOTION"),
        ("HIERARCHY\nROOT Head\n{\n" * 2, "'HIERARCHY'"),
        ("HIERARCHY\nROOT a\n{\n" + JOINT * 5000, "1000 joints"),
        ("HIERARCHY\nROOT a\n{\n" + (JOINT + "}\n") * 5000, "1000 joints"),
        (body("Skull"), "0 joints named after the head .Hips"),
        (body().replace("LeftLeg", "Head"), "2 joints"),
        (body().replace("CHANNELS 3 X", "CHANNELS 4 X"), "channels Xrotation"),
        (body().replace("CHANNELS 3 X", "CHANNELS three X"), "three"),
        (body().replace("Yrotation Zrotation", "Yrotation Wrotation"), "Wrotation of mixamorig:Head"),
        (body().replace("MOTION", "}\nMOTION"), "'}'"),
        (body().replace("Frames: 2", "Frames: 3"), "2 rows"),
        (body().replace("Frames: 2", "Frames: 999999999"), "2 rows"),
        (body().replace("Frames: 2", "Frames: -2"), "Frames: N"),
        (body().replace("0.0083333", "0"), "frame time"),
        (body().replace("0.0083333", "1e-300"), "frame time"),
        (body().replace("0.0083333", "nan"), "Frame Time"),
        (body(turn="0 0"), "columns changed from 11 to 12"),
        (body(turn="0 0 x"), "x"),
        (body(turn="0 0 nan"), "NaN"),
        (body().split("MOTION")[0] + "MOTION\n", "Frames: N"),
        (STIFF, "no channel turns"),
    ],
)
def test_what_is_no_bvh_of_a_head_is_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_text(tmp_path, text)


def test_large_and_absent_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"absent\.bvh"):
        load_bvh(tmp_path / "absent.bvh")
    monkeypatch.setattr(formats, "MAX_BYTES", 20)
    with pytest.raises(InputError, match="MiB"):
        load_text(tmp_path, body())
    with pytest.raises(InputError, match="MiB"):
        save_bvh(nodding(60), tmp_path / "b.bvh")
    assert not (tmp_path / "b.bvh").exists()


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    rng, whole = np.random.default_rng(4), body().encode()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "a.bvh").write_bytes(damaged)
        try:
            assert len(load_bvh(tmp_path / "a.bvh")) == 2
        except InputError as error:
            assert "a.bvh" in str(error)


@pytest.mark.parametrize("fps", [1e9, 10_001.0, 0.0099, 1e-6])
def test_rates_that_are_not_read_are_not_written(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match=r"0\.01 to 10000 frames per second for BVH"):
        save_bvh(nodding(3, fps), tmp_path / "a.bvh")
    assert not list(tmp_path.iterdir())
