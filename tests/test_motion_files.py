"""Motion clips and their files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, load_motion, save_motion
from avi_lib.motion.formats import HEADER, load_livelink, save_livelink


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
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert header[-7:-5] == ["HeadRoll", "LeftEyeYaw"]


def test_live_link_csv_is_read_by_name_whatever_the_order(tmp_path: Path):
    clip = random_clip(60)
    save_livelink(clip, tmp_path / "a.csv")
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    left, right = rows[0].index("JawLeft"), rows[0].index("JawRight")
    for row in rows:
        row[left], row[right] = row[right], row[left]
    (tmp_path / "b.csv").write_text("\n".join(",".join(row) for row in rows))
    np.testing.assert_allclose(load_livelink(tmp_path / "b.csv").values, clip.values, atol=1e-6)


def test_live_link_csv_with_the_other_spelling_of_the_count_is_read(tmp_path: Path):
    clip = random_clip(60)
    save_livelink(clip, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "b.csv").write_text(text.replace("BlendShapeCount", "BlendshapeCount"))
    np.testing.assert_allclose(load_livelink(tmp_path / "b.csv").values, clip.values, atol=1e-6)


def swaying_clip(frames: int, fps: float) -> MotionClip:
    phase = np.arange(frames)[:, None] / fps * 2 * np.pi + np.arange(len(ARKIT))
    return MotionClip((0.5 + 0.5 * np.sin(phase)).astype(np.float32), fps, ARKIT)


def retimed(path: Path, timecodes: list[str]) -> None:
    """Put other timecodes into a CSV."""
    header, *rows = path.read_text().splitlines()
    rows = [",".join([timecode, *row.split(",")[1:]]) for timecode, row in zip(timecodes, rows, strict=True)]
    path.write_text("\n".join([header, *rows]))


def clock_timecode(time_s: float, per_second: float) -> str:
    seconds = int(time_s + 1e-9)
    within = max(0.0, (time_s - seconds) * per_second)
    seconds %= 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{within:06.3f}"


@pytest.mark.parametrize(("fps", "dropped"), [(60.0, [7, 8, 200, 359, 360, 361]), (25.0, [24, 40, 41, 100])])
def test_dropped_frames_of_a_live_link_take_are_filled_in(tmp_path: Path, fps: float, dropped: list[int]):
    clip = swaying_clip(400, fps)
    save_livelink(clip, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(line for i, line in enumerate(lines) if i - 1 not in dropped))
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == pytest.approx(fps, abs=1e-3)
    assert len(again) == 400
    np.testing.assert_allclose(again.values, clip.values, atol=0.04)
    kept = np.setdiff1d(np.arange(400), dropped)
    np.testing.assert_allclose(again.values[kept], clip.values[kept], atol=1e-3)


@pytest.mark.parametrize("frames", [90, 400])
def test_frames_dropped_where_the_second_changes_do_not_change_the_rate(tmp_path: Path, frames: int):
    save_livelink(swaying_clip(frames, 60.0), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:61] + lines[63:]))
    again = load_livelink(tmp_path / "a.csv")
    assert (again.fps, len(again)) == (60.0, frames)


def test_live_link_timecodes_count_whole_frames_in_a_second(tmp_path: Path):
    save_livelink(random_clip(121, 59.94), tmp_path / "a.csv")
    frames = [float(line.split(",")[0].split(":")[3]) for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    assert max(frames) < 60
    assert frames[:2] == [0.0, 1.001]
    assert frames[60] == pytest.approx(0.06, abs=1e-3)


def test_a_long_gap_in_a_live_link_take_is_named(tmp_path: Path):
    save_livelink(random_clip(400, 60.0), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:100] + lines[140:]))
    with pytest.raises(InputError, match=r"0\.68 s after 00:00:01:38\.000"):
        load_livelink(tmp_path / "a.csv")
    assert len(load_livelink(tmp_path / "a.csv", fps=60.0)) == 360


def test_a_live_link_take_over_midnight_keeps_its_rate(tmp_path: Path):
    clip = random_clip(300, 60.0)
    save_livelink(clip, tmp_path / "a.csv")
    retimed(tmp_path / "a.csv", [clock_timecode(86_398 + i / 60, 60) for i in range(300)])
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == 60.0
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)


@pytest.mark.parametrize("take", ["MySlate_161_iPhone_cal", "alex_rom_3", "neutral_idle"])
def test_rates_of_real_takes_follow_from_their_first_and_last_timecode(tmp_path: Path, real_data: Path, take: str):
    with np.load(real_data / "arkit_iphone" / f"{take}.npz", allow_pickle=False) as arrays:
        rows, nominal = len(arrays["weights"]), float(arrays["fps"])
        fields = [str(arrays[key]).split(":") for key in ("first_timecode", "last_timecode")]
    first_s, last_s = (3600 * int(h) + 60 * int(m) + int(s) + float(f) / 60 for h, m, s, f in fields)
    save_livelink(random_clip(rows, nominal), tmp_path / "a.csv")
    retimed(tmp_path / "a.csv", [clock_timecode(time_s, 60) for time_s in np.linspace(first_s, last_s, rows)])
    clip = load_livelink(tmp_path / "a.csv")
    assert len(clip) == rows
    assert clip.fps == pytest.approx((rows - 1) / (last_s - first_s), abs=2e-3)
    assert nominal * 0.998 < clip.fps < nominal


@pytest.mark.parametrize("timecodes", [["00:00:00:00.000"] * 60, ["1.25"] * 60, ["00:00:00:nan"] * 60])
def test_timecodes_that_show_no_rate_are_refused(tmp_path: Path, timecodes: list[str]):
    save_livelink(random_clip(60), tmp_path / "a.csv")
    retimed(tmp_path / "a.csv", timecodes)
    with pytest.raises(InputError, match="timecodes"):
        load_livelink(tmp_path / "a.csv")


def test_a_live_link_take_that_runs_backwards_is_refused(tmp_path: Path):
    save_livelink(random_clip(60), tmp_path / "a.csv")
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    for name, order in (("back", rows[::-1]), ("joined", rows + rows), ("swapped", [*rows[:30], rows[3], *rows[30:]])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *order]))
        with pytest.raises(InputError, match="timecodes"):
            load_livelink(tmp_path / f"{name}.csv")


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


@pytest.mark.parametrize(("frames", "fps"), [(51, 60.0), (60, 60.0), (58, 59.94)])
def test_a_short_csv_whose_frames_fit_one_rate_alone_is_read(tmp_path: Path, frames: int, fps: float):
    clip = random_clip(frames, fps)
    save_livelink(clip, tmp_path / "a.csv")
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == pytest.approx(fps, abs=2e-3)
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)


def test_a_short_csv_of_every_other_frame_is_read_at_half_the_count(tmp_path: Path):
    save_livelink(random_clip(28), tmp_path / "a.csv")
    retimed(tmp_path / "a.csv", [f"10:20:30:{2 * row:02d}.125" for row in range(28)])
    assert load_livelink(tmp_path / "a.csv").fps == 30.0


def test_a_short_csv_that_could_have_several_rates_says_what_to_do(tmp_path: Path):
    save_livelink(random_clip(58, 60.0), tmp_path / "uneven.csv")
    retimed(tmp_path / "uneven.csv", [f"00:00:00:{row + (row > 20):02d}.000" for row in range(58)])
    save_livelink(random_clip(25), tmp_path / "several.csv")
    save_livelink(random_clip(80, 100.0), tmp_path / "none.csv")
    for name in ("uneven", "several", "none"):
        with pytest.raises(InputError, match="record longer, or name its rate in Python"):
            load_livelink(tmp_path / f"{name}.csv")


@pytest.mark.parametrize(
    ("frames", "fps", "told"),
    [(1, 25.0, "two frames"), (20, 0.5, "more than 0.5 frames per second"), (55, 100.0, "more than a second")],
)
def test_what_a_csv_cannot_tell_is_not_written(tmp_path: Path, frames: int, fps: float, told: str):
    with pytest.raises(InputError, match=told):
        save_livelink(random_clip(frames, fps), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.51, 0.7, 1.0, 300.0, 1000.0])
def test_unusual_rates_of_a_long_csv_come_back(tmp_path: Path, fps: float):
    clip = random_clip(max(5, round(1.5 * fps)), fps)
    save_livelink(clip, tmp_path / "a.csv")
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == pytest.approx(fps, rel=2e-3) and len(again) == len(clip)


def test_npz_with_objects_or_without_keys_is_refused(tmp_path: Path):
    np.savez(tmp_path / "object.npz", values=np.array([{}], dtype=object))
    np.savez(tmp_path / "empty.npz", values=np.zeros((2, 55), np.float32))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("object.npz", "empty.npz", "text.npz", "absent.npz"):
        with pytest.raises(InputError):
            load_motion(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "fps"),
    [
        (np.full((2, 55), "wide"), 25.0),
        (np.zeros((2, 55), "datetime64[s]"), 25.0),
        (np.zeros((2, 55), np.complex64), 25.0),
        (np.zeros((2, 55), bool), 25.0),
        (np.zeros((0, 55), np.float32), 25.0),
        (np.full((2, 55), 1e300), 25.0),
        (np.zeros((2, 55), np.float32), np.zeros(2)),
        (np.zeros((2, 55), np.float32), "fast"),
    ],
)
def test_npz_of_another_type_or_without_frames_is_refused(tmp_path: Path, values: np.ndarray, fps: object):
    np.savez(tmp_path / "a.npz", values=values, fps=fps, channels=np.array(ARKIT.channels))
    with pytest.raises(InputError):
        load_motion(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(5 << 36, 55), (10**9, 1), (-1, 55)])
def test_npz_header_that_claims_too_much_is_refused(tmp_path: Path, shape: tuple[int, int]):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    save_motion(random_clip(5), tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, header.getvalue() if name == "values.npy" else good.read(name))
    with pytest.raises(InputError, match="values of the shape" if shape[0] > 0 else "a motion npz"):
        load_motion(tmp_path / "bad.npz")


def test_empty_and_damaged_npz_are_refused_and_never_crash(tmp_path: Path):
    path, rng = tmp_path / "a.npz", np.random.default_rng(1)
    save_motion(random_clip(5), path)
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_motion(path)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert load_motion(path).space is ARKIT
        except InputError as error:
            assert str(path) in str(error)


def test_clips_and_spaces_are_equal_only_to_themselves():
    clip = random_clip(5)
    assert clip == clip and clip != random_clip(5)
    assert {ARKIT: 1, FLAME: 2}[FLAME] == 2 and len({clip, random_clip(5)}) == 2


def test_curves_that_are_not_finite_or_of_another_width_are_refused():
    with pytest.raises(InputError, match="NaN"):
        MotionClip(np.full((3, 55), np.nan, np.float32), 25.0, ARKIT)
    with pytest.raises(InputError, match="55"):
        MotionClip(np.zeros((3, 52), np.float32), 25.0, ARKIT)
    with pytest.raises(InputError, match="frame rate"):
        MotionClip(np.zeros((3, 55), np.float32), 0.0, ARKIT)
    with pytest.raises(InputError, match="one frame"):
        MotionClip(np.zeros((0, 55), np.float32), 25.0, ARKIT)


def test_an_unwritable_place_leaves_nothing(tmp_path: Path):
    with pytest.raises(InputError, match="existing folder"):
        save_motion(random_clip(5), tmp_path / "missing" / "a.npz")
    assert not list(tmp_path.iterdir())
