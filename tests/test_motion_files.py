"""Motion clips and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.motion.clip import MotionClip, load_motion, save_motion
from avi_lib.motion.livelink import HEADER, load_livelink, save_livelink
from avi_lib.motion.space import ARKIT, FLAME


def random_clip(frames: int = 130, fps: float = 25.0) -> MotionClip:
    values = np.random.default_rng(3).uniform(0, 1, (frames, len(ARKIT))).astype(np.float32)
    return MotionClip(values, fps, ARKIT)


def test_spaces_have_the_documented_channels_and_disjoint_groups():
    assert len(ARKIT) == 55 and ARKIT.channels[-3:] == ("headPitch", "headYaw", "headRoll")
    assert len(FLAME) == 56
    members = [i for group in ARKIT.groups.values() for i in group]
    assert sorted(members) == list(range(55))
    with pytest.raises(KeyError, match="jawWide"):
        ARKIT.index("jawWide")


def test_npz_returns_the_same_clip(tmp_path: Path):
    clip = random_clip()
    save_motion(clip, tmp_path / "a.npz")
    again = load_motion(tmp_path / "a.npz")
    assert again.fps == 25.0 and again.space is ARKIT
    np.testing.assert_array_equal(again.values, clip.values)


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0, 29.97])
def test_live_link_csv_returns_the_same_curves_and_rate(tmp_path: Path, fps: float):
    clip = random_clip(200, fps)
    save_livelink(clip, tmp_path / "a.csv")
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == pytest.approx(fps, abs=0.02)
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert header == list(HEADER) and len(header) == 63


def test_live_link_csv_is_read_by_name_whatever_the_order(tmp_path: Path):
    clip = random_clip(60)
    save_livelink(clip, tmp_path / "a.csv")
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    left, right = rows[0].index("JawLeft"), rows[0].index("JawRight")
    for row in rows:
        row[left], row[right] = row[right], row[left]
    (tmp_path / "b.csv").write_text("\n".join(",".join(row) for row in rows))
    np.testing.assert_allclose(load_livelink(tmp_path / "b.csv").values, clip.values, atol=1e-6)


def test_a_csv_without_a_column_names_it(tmp_path: Path):
    save_livelink(random_clip(60), tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text().replace("JawOpen", "JawAjar"))
    with pytest.raises(InputError, match="JawOpen"):
        load_livelink(tmp_path / "b.csv")


@pytest.mark.parametrize("content", ["", "Timecode\n", "not,a,csv\n1,2,3\n"])
def test_files_that_are_no_live_link_csv_are_refused(tmp_path: Path, content: str):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError):
        load_livelink(tmp_path / "a.csv")


def test_a_short_csv_needs_its_rate(tmp_path: Path):
    save_livelink(random_clip(10), tmp_path / "a.csv")
    with pytest.raises(InputError, match="fps"):
        load_livelink(tmp_path / "a.csv")
    assert load_livelink(tmp_path / "a.csv", fps=25.0).fps == 25.0


def test_npz_with_objects_or_without_keys_is_refused(tmp_path: Path):
    np.savez(tmp_path / "object.npz", values=np.array([{}], dtype=object))
    np.savez(tmp_path / "empty.npz", values=np.zeros((2, 55), np.float32))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("object.npz", "empty.npz", "text.npz", "absent.npz"):
        with pytest.raises(InputError):
            load_motion(tmp_path / name)


def test_curves_that_are_not_finite_or_of_another_width_are_refused():
    with pytest.raises(InputError, match="NaN"):
        MotionClip(np.full((3, 55), np.nan, np.float32), 25.0, ARKIT)
    with pytest.raises(InputError, match="55"):
        MotionClip(np.zeros((3, 52), np.float32), 25.0, ARKIT)
    with pytest.raises(InputError, match="frame rate"):
        MotionClip(np.zeros((3, 55), np.float32), 0.0, ARKIT)


def test_an_unwritable_place_leaves_nothing(tmp_path: Path):
    with pytest.raises(InputError, match="existing folder"):
        save_motion(random_clip(5), tmp_path / "missing" / "a.npz")
    assert not list(tmp_path.iterdir())
