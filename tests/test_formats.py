from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from obj_folders import write_folder

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.face.head import load_any_head, load_head
from avi_lib.heads.flame_head import FlameHead
from avi_lib.heads.obj import read_obj
from avi_lib.motion.clip import ARKIT, FACTORS, FLAME, MotionClip, save_npz
from avi_lib.motion.formats import MOTION_SUFFIXES, READABLE, converted, load_flame, load_motion, save_motion

FRAMES = 30
"""More than a second: a Live Link CSV tells its rate by whole seconds."""


@pytest.fixture(scope="module")
def clip() -> MotionClip:
    values = np.random.default_rng(0).uniform(0.0, 0.4, (40, len(ARKIT))).astype(np.float32)
    return MotionClip(values, 25.0, ARKIT)


@pytest.fixture(scope="module")
def flame_head(flame_path: Path) -> FlameHead:
    head = load_any_head(str(flame_path))
    assert isinstance(head, FlameHead)
    return head


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".glb", ".bvh"])
def test_what_is_written_is_read_again(clip: MotionClip, suffix: str, tmp_path: Path):
    save_motion(clip, tmp_path / f"a{suffix}")
    back = load_motion(tmp_path / f"a{suffix}")
    kept = list(FACTORS["pose"]) if suffix == ".bvh" else range(len(ARKIT))
    assert back.fps == pytest.approx(25.0) and np.abs(back.values - clip.values)[:, kept].max() < 1e-4


@pytest.mark.parametrize("name", [*(f"a{suffix}" for suffix in MOTION_SUFFIXES), "frames"])
def test_every_format_is_whole_or_not_there(clip: MotionClip, name: str, tmp_path: Path):
    if ".usd" in name:
        pytest.importorskip("pxr", reason="usd-core is not installed")
    save_motion(clip.at(range(FRAMES)), tmp_path / name)
    assert is_whole(tmp_path / name)
    other = MotionClip(np.zeros((3, len(FLAME)), np.float32), 25.0, FLAME)
    if name != "a.npz":
        with pytest.raises(InputError):
            save_motion(other, tmp_path / f"other_{name}")
        assert not [path for path in tmp_path.iterdir() if "other" in path.name]


def is_whole(path: Path) -> bool:
    """Whether a result can be read to its end by what reads its kind."""
    if path.is_dir():
        return [len(read_obj(frame).points) for frame in sorted(path.glob("*.obj"))] == [
            int(load_head().weld.max()) + 1
        ] * FRAMES
    if path.suffix == ".usdz":
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and len(archive.namelist()) == 2
    if path.suffix.startswith(".usd"):
        from pxr import Usd

        return Usd.Stage.Open(str(path)).GetEndTimeCode() == FRAMES - 1
    return len(load_motion(path)) == FRAMES


@pytest.mark.parametrize("name", ["a.fbx", "a.NPY", "a.pkl"])
def test_other_suffixes_are_refused_both_ways(clip: MotionClip, name: str, tmp_path: Path):
    with pytest.raises(InputError, match="ending in"):
        save_motion(clip, tmp_path / name)
    with pytest.raises(InputError, match="ending in"):
        load_motion(tmp_path / name)


@pytest.mark.parametrize(("out", "flags"), [("a.npz", []), ("h.glb", ["--head", "h.glb"])])
def test_what_is_read_is_never_written_over(
    out: str, flags: list[str], clip: MotionClip, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    save_npz(clip, tmp_path / "a.npz")
    save_motion(clip.at([0]), tmp_path / "h.glb")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["export", "a.npz", out, *flags]) == 2
    assert "which is read" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_another_that_looks_unfinished_stays(clip: MotionClip, tmp_path: Path):
    (tmp_path / ".frames.old").mkdir()
    (tmp_path / ".frames.bak").write_text("mine")
    save_motion(clip.at([0]), tmp_path / "frames")
    assert {path.name for path in tmp_path.iterdir()} == {".frames.old", ".frames.bak", "frames"}


@pytest.mark.parametrize("suffix", READABLE)
def test_damaged_files_are_one_line(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / f"a{suffix}").write_bytes(b"\x00 no motion \xff")
    assert main(["export", str(tmp_path / f"a{suffix}"), str(tmp_path / "b.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "b.npz").exists()


def test_motion_goes_to_flame_and_back_through_a_flame_head(clip: MotionClip, flame_head: FlameHead):
    flame, fit = converted(clip, "FLAME", flame_head)
    back, lost = converted(flame, "ARKIT", flame_head)
    assert flame.space is FLAME and "fitted from ARKit" in fit and "mm off" in lost
    assert np.corrcoef(back["jawOpen"], clip["jawOpen"])[0, 1] > 0.9
    assert converted(clip, "ARKIT", None) == (clip, "")


def test_without_a_flame_head_there_is_no_way_between_the_spaces(clip: MotionClip):
    with pytest.raises(InputError, match="FLAME head"):
        converted(clip, "FLAME", load_head())
    with pytest.raises(InputError, match="a space"):
        converted(clip, "SMPL", None)


def test_a_flame_head_holds_no_blendshapes_for_gltf(clip: MotionClip, flame_head: FlameHead, tmp_path: Path):
    with pytest.raises(InputError, match="blendshapes"):
        save_motion(clip, tmp_path / "a.glb", flame_head)
    save_motion(clip.at(range(2)), tmp_path / "frames", flame_head)
    assert (tmp_path / "frames" / "frame_000001.obj").is_file()


def test_the_command_converts_motion_and_models(
    clip: MotionClip, flame_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_npz(clip, tmp_path / "a.npz")
    flags = ["--head", str(flame_path), "--space", "flame"]
    assert main(["export", str(tmp_path / "a.npz"), str(tmp_path / "flame.npz"), *flags]) == 0
    assert "converted: fitted from ARKit" in capsys.readouterr().out
    assert load_flame(tmp_path / "flame.npz").clip.values.shape == (40, len(FLAME))
    assert main(["export", str(flame_path), str(tmp_path / "model.npz")]) == 0
    again = load_any_head(str(tmp_path / "model.npz"), {"shape0": 1.0})
    assert isinstance(again, FlameHead) and again.notes


def test_heads_are_told_apart_by_what_they_are(tmp_path: Path, clip: MotionClip):
    folder = write_folder(tmp_path / "ada", load_head(), ["jawOpen", "eyeBlinkLeft", "eyeBlinkRight"])
    save_motion(clip.at([0]), tmp_path / "face.glb")
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
    save_motion(clip.at([0]), tmp_path / "face.glb")
    with pytest.raises(InputError, match="identity sliders"):
        load_any_head(str(tmp_path / "face.glb"), {"old": 1.0})
