"""A motion as a sequence of OBJ files: what they hold, how fast they come, what is left after a failure."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avi_lib.errors import InputError, OutputError
from avi_lib.face.head import Head, load_head
from avi_lib.heads import obj as obj_export
from avi_lib.heads.obj import FRAMES_AT_ONCE, read_obj, write_obj_sequence
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def clip(frames: int) -> MotionClip:
    values = np.random.default_rng(2).uniform(0.0, 0.5, (frames, len(ARKIT))).astype(np.float32)
    values[:, 52:] -= 0.25
    return MotionClip(values, 25.0, ARKIT)


@pytest.fixture(scope="module")
def sequence(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sequence") / "talk"
    write_obj_sequence(head, clip(19), folder)
    yield folder
    shutil.rmtree(folder)


def test_there_is_one_file_a_frame_with_one_material_and_texture(sequence: Path, head: Head) -> None:
    names = sorted(path.name for path in sequence.iterdir())
    assert names == [*(f"frame_{i:06d}.obj" for i in range(19)), "head.mtl", "head.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(sequence / "head.png")), head.atlas)
    material = (sequence / "head.mtl").read_text()
    assert "map_Kd head.png" in material and "25 frames a second" in material


@pytest.mark.parametrize("frame", [0, 7, 8, 18])
def test_every_frame_holds_the_vertices_of_the_head_to_a_hundredth_of_a_millimetre(
    sequence: Path, head: Head, frame: int
) -> None:
    mesh = read_obj(sequence / f"frame_{frame:06d}.obj")
    expected = head.move(clip(19))[frame]
    assert len(mesh.points) == head.weld.max() + 1 and len(mesh.uv) == len(head.vertices)
    np.testing.assert_allclose(mesh.points[mesh.corners[..., 0]], expected[head.triangles], atol=6e-6)
    np.testing.assert_array_equal(mesh.corners[..., 1], head.triangles)
    upwards = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1)
    np.testing.assert_allclose(mesh.uv, upwards, atol=6e-6)
    assert mesh.libraries == ("head.mtl",)


def test_numbers_of_every_size_and_sign_are_written_as_python_rounds_them() -> None:
    points = np.array([[0.0, -0.000004, 0.000006], [-9.98999, 1.0, -0.5], [0.09999, 0.99999, 3.14159]], np.float32)
    lines = np.empty((3, obj_export.LINE_BYTES), np.uint8)
    obj_export._point_lines(points, lines)
    rows = lines.tobytes().decode().splitlines()
    assert rows[1] == "v -9.98999  1.00000 -0.50000"
    for row, point in zip(rows, points, strict=True):
        assert row.split() == ["v", *(f"{value:.5f}" for value in point.tolist())]


def test_two_runs_write_the_same_bytes_and_need_the_room_that_was_asked_for(tmp_path: Path, head: Head) -> None:
    for name in ("a", "b"):
        write_obj_sequence(head, clip(3), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    size = (tmp_path / "a" / "frame_000000.obj").stat().st_size
    assert size == obj_export._Frames.of(head).file_bytes


def test_a_long_motion_is_moved_a_few_frames_at_a_time(
    tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    move = Head.move

    def watched(self: Head, motion: MotionClip) -> np.ndarray:
        lengths.append(len(motion))
        return move(self, motion)

    monkeypatch.setattr(Head, "move", watched)
    write_obj_sequence(head, clip(20), tmp_path / "a")
    assert sorted(lengths) == [4, FRAMES_AT_ONCE, FRAMES_AT_ONCE]


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, head: Head) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(InputError, match="does not exist yet"):
        write_obj_sequence(head, clip(1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]
    with pytest.raises(OutputError, match="existing folder"):
        write_obj_sequence(head, clip(1), tmp_path / "absent" / "a")


def test_nothing_is_left_of_a_motion_that_the_head_cannot_follow(tmp_path: Path, head: Head) -> None:
    with pytest.raises(InputError, match="ARKIT"):
        write_obj_sequence(head, MotionClip(np.zeros((2, 56), np.float32), 25.0, FLAME), tmp_path / "a")
    far = clip(20)
    far.values[17, ARKIT.index("jawOpen")] = 1e4
    with pytest.raises(InputError, match="frame 17"):
        write_obj_sequence(head, far, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(obj_export, "_write_material", full)
        with pytest.raises(OutputError, match="No space left"):
            write_obj_sequence(head, clip(2), tmp_path / "a")
    monkeypatch.setattr(obj_export.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 10**6))
    with pytest.raises(OutputError, match="GB of room for 2 files"):
        write_obj_sequence(head, clip(2), tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["pivot", "shapes", "vertices"])
def test_a_head_with_nan_is_not_written(head: Head, tmp_path: Path, field: str) -> None:
    spoilt = getattr(head, field).copy()
    spoilt.flat[0] = np.nan
    still = MotionClip(np.zeros((2, len(ARKIT)), np.float32), 25.0, ARKIT)
    with pytest.raises(InputError, match=f"finite {field}"):
        write_obj_sequence(replace(head, **{field: spoilt}), still, tmp_path / "frames")
    assert not list(tmp_path.iterdir())
