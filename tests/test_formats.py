from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from obj_folders import write_folder
from scipy.spatial.transform import Rotation

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.face.head import load_any_head, load_head, rotations
from avi_lib.heads.flame_head import FlameHead
from avi_lib.motion import formats
from avi_lib.motion.clip import ARKIT, FACTORS, FLAME, HEAD_ROTATION, MotionClip, save_npz


@pytest.fixture(scope="module")
def clip() -> MotionClip:
    values = np.random.default_rng(0).uniform(0.0, 0.4, (40, len(ARKIT))).astype(np.float32)
    return MotionClip(values, 25.0, ARKIT)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".glb", ".bvh"])
def test_what_is_written_is_read_again(clip: MotionClip, suffix: str, tmp_path: Path):
    formats.save_motion(clip, tmp_path / f"a{suffix}")
    back = formats.load_motion(tmp_path / f"a{suffix}")
    kept = list(FACTORS["pose"]) if suffix == ".bvh" else range(len(ARKIT))
    assert back.fps == pytest.approx(25.0) and np.abs(back.values - clip.values)[:, kept].max() < 1e-4


@pytest.mark.parametrize("name", [*(f"a{suffix}" for suffix in formats.WRITABLE), "frames"])
def test_every_format_is_whole_or_not_there(clip: MotionClip, name: str, tmp_path: Path):
    if name.endswith((".usdc", ".usdz")):
        pytest.importorskip("pxr", reason="usd-core is not installed")
    few = 30 if name == "a.csv" else 2  # a Live Link CSV tells its rate by whole seconds
    formats.save_motion(clip.at(range(few)), tmp_path / name)
    assert (tmp_path / name).exists()
    other = MotionClip(np.zeros((3, len(FLAME)), np.float32), 25.0, FLAME)
    if name != "a.npz":
        with pytest.raises(InputError):
            formats.save_motion(other, tmp_path / f"other_{name}")
        assert not [path for path in tmp_path.iterdir() if "other" in path.name]


@pytest.mark.parametrize("name", ["a.fbx", "a.NPY", "a.pkl"])
def test_other_suffixes_are_refused_both_ways(clip: MotionClip, name: str, tmp_path: Path):
    with pytest.raises(InputError, match="ending in"):
        formats.save_motion(clip, tmp_path / name)
    with pytest.raises(InputError, match="ending in"):
        formats.load_motion(tmp_path / name)


@pytest.mark.parametrize(("out", "flags"), [("a.npz", []), ("h.glb", ["--head", "h.glb"])])
def test_what_is_read_is_never_written_over(out, flags, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_npz(clip, tmp_path / "a.npz")
    formats.save_motion(clip.at([0]), tmp_path / "h.glb")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["export", "a.npz", out, *flags]) == 2
    assert "which is read" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_another_that_looks_unfinished_stays(clip: MotionClip, tmp_path: Path):
    (tmp_path / ".frames.old").mkdir()
    (tmp_path / ".frames.bak").write_text("mine")
    formats.save_motion(clip.at([0]), tmp_path / "frames")
    assert {path.name for path in tmp_path.iterdir()} == {".frames.old", ".frames.bak", "frames"}


@pytest.mark.parametrize("suffix", formats.READABLE)
def test_damaged_files_are_one_line(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / f"a{suffix}").write_bytes(b"\x00 no motion \xff")
    assert main(["export", str(tmp_path / f"a{suffix}"), str(tmp_path / "b.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "b.npz").exists()


def test_motion_goes_to_flame_and_back_through_a_flame_head(clip: MotionClip, flame_head: FlameHead):
    flame, fit = formats.converted(clip, "FLAME", flame_head)
    back, lost = formats.converted(flame, "ARKIT", flame_head)
    assert flame.space is FLAME and "fitted from ARKit" in fit and "mm off" in lost
    assert np.corrcoef(back["jawOpen"], clip["jawOpen"])[0, 1] > 0.9
    assert formats.converted(clip, "ARKIT", None) == (clip, "")


def test_without_a_flame_head_there_is_no_way_between_the_spaces_and_with_one_no_gltf(clip, flame_head, tmp_path):
    with pytest.raises(InputError, match="FLAME head"):
        formats.converted(clip, "FLAME", load_head())
    with pytest.raises(InputError, match="a space"):
        formats.converted(clip, "SMPL", None)
    with pytest.raises(InputError, match="blendshapes"):
        formats.save_motion(clip, tmp_path / "a.glb", flame_head)
    formats.save_motion(clip.at(range(2)), tmp_path / "frames", flame_head)
    assert (tmp_path / "frames" / "frame_000001.obj").is_file()


def test_the_command_converts_motion_and_models(clip, flame_path, tmp_path, capsys):
    save_npz(clip, tmp_path / "a.npz")
    flags = ["--head", str(flame_path), "--space", "flame"]
    assert main(["export", str(tmp_path / "a.npz"), str(tmp_path / "flame.npz"), *flags]) == 0
    assert "converted: fitted from ARKit" in capsys.readouterr().out
    assert formats.load_flame(tmp_path / "flame.npz").values.shape == (40, len(FLAME))
    assert main(["export", str(flame_path), str(tmp_path / "model.npz")]) == 0
    again = load_any_head(str(tmp_path / "model.npz"), {"shape0": 1.0})
    assert isinstance(again, FlameHead) and again.notes


def test_heads_are_recognised_by_their_content(tmp_path: Path, clip: MotionClip):
    folder = write_folder(tmp_path / "ada", load_head(), ["jawOpen", "eyeBlinkLeft", "eyeBlinkRight"])
    formats.save_motion(clip.at([0]), tmp_path / "face.glb")
    assert load_any_head(str(folder)).notes[0].startswith("3 of 52")
    assert len(load_any_head(str(tmp_path / "face.glb")).vertices) > 9000
    assert load_any_head("open", {"old": 0.5}).name == "open"


@pytest.mark.parametrize(
    ("name", "sliders", "words"),
    [
        ("open", {"beard": 1.0}, "slider"),
        ("nowhere.glb", {}, "nowhere"),
        ("nowhere", {}, "head"),
        ("a.txt", {}, "head"),
    ],
)
def test_heads_that_are_none_are_refused(name: str, sliders: dict[str, float], words: str):
    with pytest.raises(InputError, match=words):
        load_any_head(name, sliders)


def test_sliders_of_other_heads_are_named(flame_path: Path, clip: MotionClip, tmp_path: Path):
    with pytest.raises(InputError, match="shape0 to shape299"):
        load_any_head(str(flame_path), {"old": 1.0})
    for value in (1e9, float("nan")):
        with pytest.raises(InputError, match="at most 10"):
            load_any_head(str(flame_path), {"shape0": value})
    formats.save_motion(clip.at([0]), tmp_path / "face.glb")
    with pytest.raises(InputError, match="identity sliders"):
        load_any_head(str(tmp_path / "face.glb"), {"old": 1.0})


# BVH: ours comes back, others' are read by their chain, damage is refused

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
    return formats.load_bvh(folder / "a.bvh")


def nodding(frames: int = 200, fps: float = 25.0) -> MotionClip:
    values = np.zeros((frames, len(ARKIT)), np.float32)
    values[:, 52:] = np.random.default_rng(1).uniform(-1.2, 1.2, (frames, 3))
    return MotionClip(values, fps, ARKIT)


@pytest.mark.parametrize("fps", [0.01, 0.0123, 0.5, 1.0, 23.976, 25.0, 29.97, 120.0, 10_000.0])
def test_head_rotation_comes_back_and_nothing_else(tmp_path: Path, fps: float) -> None:
    clip = nodding(fps=fps)
    clip.values[:, ARKIT.index("jawOpen")] = 0.5
    formats.save_bvh(clip, tmp_path / "a.bvh")
    again = formats.load_bvh(tmp_path / "a.bvh")
    assert again.fps == pytest.approx(fps, rel=1e-6) and again.space is ARKIT
    np.testing.assert_allclose(again.values[:, 52:], clip.values[:, 52:], atol=1e-6)
    assert not again.values[:, :52].any()


def test_channels_are_in_the_order_in_which_the_head_multiplies_them(tmp_path: Path) -> None:
    clip = nodding(1)
    formats.save_bvh(clip, tmp_path / "a.bvh")
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
    formats.save_bvh(clip, tmp_path / "a.bvh")
    np.testing.assert_allclose(formats.load_bvh(tmp_path / "a.bvh").values, clip.values, atol=1e-5)


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_endings_blank_lines_and_marks_of_bytes_or_decimals_do_not_matter(tmp_path, ending, encoding) -> None:
    for text in (body(turn="0 15.5 0"), body(turn="0 15,5 0").replace("0.0083333", "0,0083333")):
        (tmp_path / "a.bvh").write_bytes(text.replace("\n", ending).encode(encoding))
        assert formats.load_bvh(tmp_path / "a.bvh")["headYaw"][0] == pytest.approx(np.radians(15.5))


def test_a_last_row_of_a_bvh_that_is_cut_is_left_out(tmp_path: Path) -> None:
    formats.save_bvh(nodding(50), tmp_path / "a.bvh")
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    clip = load_text(tmp_path, "\n".join([*lines[:-3], lines[-3][:30]]))
    assert len(clip) == 47 and "row 48 of 50 is cut" in clip.repairs[0].text


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
        (body().replace("CHANNELS 3 X", "CHANNELS inf X"), "of another kind"),
        (body().replace("Yrotation Zrotation", "Yrotation Wrotation"), "Wrotation of mixamorig:Head"),
        (body().replace("MOTION", "}\nMOTION"), "'}'"),
        (body().replace("Frames: 2", "Frames: 3"), "2 rows"),
        (body().replace("Frames: 2", "Frames: 999999999"), "2 rows"),
        (body().replace("Frames: 2", "Frames: -2"), "Frames: N"),
        (body().replace("0.0083333", "0"), "frame time"),
        (body().replace("0.0083333", "1e-300"), "frame time"),
        (body().replace("0.0083333", "nan"), "Frame Time"),
        (body(turn="0 0"), "11 numbers in frame 1 for 12 channels"),
        (body(turn="0 0 x"), "x"),
        (body(turn="0 0 nan"), "NaN"),
        (body().split("MOTION")[0] + "MOTION\n", "Frames: N"),
        (STIFF, "no channel turns"),
    ],
)
def test_what_is_no_bvh_of_a_head_is_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_text(tmp_path, text)


def test_large_and_absent_bvh_are_refused_and_damaged_bytes_never_crash(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"absent\.bvh"):
        formats.load_bvh(tmp_path / "absent.bvh")
    monkeypatch.setattr(formats, "MAX_BYTES", 20)
    with pytest.raises(InputError, match="MiB"):
        load_text(tmp_path, body())
    with pytest.raises(InputError, match="MiB"):
        formats.save_bvh(nodding(60), tmp_path / "b.bvh")
    assert not (tmp_path / "b.bvh").exists()
    rng, whole = np.random.default_rng(4), body().encode()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "a.bvh").write_bytes(damaged)
        try:
            assert len(formats.load_bvh(tmp_path / "a.bvh")) == 2
        except InputError as error:
            assert "a.bvh" in str(error)


@pytest.mark.parametrize("fps", [1e9, 10_001.0, 0.0099, 1e-6])
def test_rates_that_are_not_read_are_not_written(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match=r"0\.01 to 10000 frames per second for BVH"):
        formats.save_bvh(nodding(3, fps), tmp_path / "a.bvh")
    assert not list(tmp_path.iterdir())
