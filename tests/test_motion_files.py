"""Motion clips, curves with channels that are missing, other frame rates, npz and Live Link CSV."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, MotionSpace, in_units, load_npz, save_npz
from avi_lib.motion.formats import HEADER, load_livelink, load_motion, save_livelink, save_motion


def random_clip(frames: int = 130, fps: float = 25.0, space: MotionSpace = ARKIT) -> MotionClip:
    return MotionClip(np.random.default_rng(3).random((frames, len(space)), np.float32), fps, space)


def lines_of(path: Path, clip: MotionClip) -> list[str]:
    """The lines of a clip written as CSV."""
    save_livelink(clip, path)
    return path.read_text().splitlines()


def load_lines(path: Path, lines: list[str], fps: float | None = None) -> MotionClip:
    path.write_text("\n".join(lines))
    return load_livelink(path, fps)


def load_retimed(path: Path, clip: MotionClip, timecodes: list[str]) -> MotionClip:
    """A clip read from a CSV with other timecodes."""
    header, *rows = lines_of(path, clip)
    rows = [",".join([timecode, *row.split(",")[1:]]) for timecode, row in zip(timecodes, rows, strict=True)]
    return load_lines(path, [header, *rows])


def clock_timecode(time_s: float, per_second: float) -> str:
    seconds = int(time_s + 1e-9)
    within = max(0.0, (time_s - seconds) * per_second)
    seconds %= 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{within:06.3f}"


def test_spaces_have_the_documented_channels_and_disjoint_groups():
    assert len(ARKIT) == 55 and ARKIT.channels[-3:] == ("headPitch", "headYaw", "headRoll")
    assert len(FLAME) == 56
    members = [i for group in ARKIT.groups.values() for i in group]
    assert sorted(members) == list(range(55))
    with pytest.raises(KeyError, match="jawWide"):
        ARKIT.index("jawWide")


@pytest.mark.parametrize(
    ("values", "fps", "named"),
    [
        (np.full((3, 55), np.nan, np.float32), 25.0, "3 frames with NaN"),
        (np.zeros((3, 52), np.float32), 25.0, "55"),
        (np.zeros((3, 55), np.float32), 0.0, "frame rate"),
        (np.zeros((0, 55), np.float32), 25.0, "one frame"),
    ],
)
def test_clips_that_are_not_finite_or_of_another_width_are_refused(values: np.ndarray, fps: float, named: str):
    with pytest.raises(InputError, match=named):
        MotionClip(values, fps, ARKIT)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        *((200, 25.0), (200, 30.0), (200, 60.0), (200, 29.97), (51, 60.0), (60, 60.0), (58, 59.94)),
        *((5, 0.51), (5, 0.7), (5, 1.0), (450, 300.0), (1500, 1000.0)),
    ],
)
def test_live_link_csv_returns_the_same_curves_and_rate(tmp_path: Path, frames: int, fps: float):
    clip = random_clip(frames, fps)
    save_livelink(clip, tmp_path / "a.csv")
    again = load_livelink(tmp_path / "a.csv")
    assert again.fps == pytest.approx(fps, rel=2e-3)
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert header == list(HEADER) and len(header) == 63
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert header[-7:-5] == ["HeadRoll", "LeftEyeYaw"]


def test_live_link_csv_is_read_by_name_whatever_the_order_and_spelling(tmp_path: Path):
    clip = random_clip(60)
    rows = [line.split(",") for line in lines_of(tmp_path / "a.csv", clip)]
    rows[0][1] = "BlendshapeCount"
    left, right = rows[0].index("JawLeft"), rows[0].index("JawRight")
    for row in rows:
        row[left], row[right] = row[right], row[left]
    again = load_lines(tmp_path / "b.csv", [",".join(row) for row in rows])
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)


def apple(title: str) -> str:
    sided = title not in ("JawLeft", "JawRight", "MouthLeft", "MouthRight")
    return title.replace("Left", "_L").replace("Right", "_R") if sided else title


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace(",", ";"),
        lambda text: "sep=;\r\n" + text.replace(",", ";").replace(".", ","),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", ", "),
        lambda text: ",".join(title[0].lower() + title[1:] for title in text.split(",")),
        lambda text: ",".join(map(apple, text.split(","))),
        lambda text: text.replace("JawOpen", "face_ctrl.jawOpen") if text.startswith("x") else text.upper(),
    ],
    ids=["semicolons", "german", "tabs", "spaces", "camel", "apple", "capitals"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_other_writers_are_read_as_ours(tmp_path: Path, written: Callable[[str], str], encoding: str):
    clip = random_clip(60)
    (tmp_path / "b.csv").write_text(written("\n".join(lines_of(tmp_path / "a.csv", clip))), encoding)
    again = load_livelink(tmp_path / "b.csv")
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)
    assert again.fps == 25.0 and again.present.all() and not list(again.lines())


def test_missing_and_unknown_columns_are_told_and_halves_are_averaged(tmp_path: Path):
    clip = random_clip(60)
    head, *rows = lines_of(tmp_path / "a.csv", clip)
    again = load_lines(tmp_path / "b.csv", [head.replace("TongueOut", "Tung").replace("JawOpen", ""), *rows])
    assert np.flatnonzero(~again.present).tolist() == [ARKIT.index("jawOpen"), ARKIT.index("tongueOut")]
    told = " ".join(again.lines())
    assert "not used: Tung" in told and "missing: jawOpen, tongueOut" in told
    sided = head.replace("BrowInnerUp", "BrowInnerUp_L").replace("CheekPuff", "BrowInnerUp_R")
    both = load_lines(tmp_path / "b.csv", [sided, *rows])
    np.testing.assert_allclose(both["browInnerUp"], (clip["browInnerUp"] + clip["cheekPuff"]) / 2, atol=1e-6)


def test_rows_without_a_face_are_filled_in_and_a_last_row_that_is_cut_is_left_out(tmp_path: Path):
    clip = swaying_clip(120, 30.0)
    lines = lines_of(tmp_path / "a.csv", clip)
    cells = [line.split(",") for line in lines]
    for empty in ([cells[1][0], "0"], [*cells[1][:2], *[""] * 61]):
        spoilt = [
            ",".join([row[0], *empty[1:]]) if place in range(40, 46) else ",".join(row)
            for place, row in enumerate(cells)
        ]
        again = load_lines(tmp_path / "b.csv", spoilt)
        np.testing.assert_allclose(again.values, clip.values, atol=0.13)
        np.testing.assert_allclose(again.values[:39], clip.values[:39], atol=1e-6)
        (finding,) = again.repairs
        assert finding.name == "gaps_filled" and "6 of 120 frames" in finding.text and "(row 40)" in finding.text
    for length in (3, 14, 200, len(lines[-1]) - 3):
        again = load_lines(tmp_path / "b.csv", [*lines[:-1], lines[-1][:length]])
        assert len(again) == 119 and again.repairs, length
    begun = [lines[0], *(f"{row[0]},0" for row in cells[1:31]), *lines[31:]]
    late = load_lines(tmp_path / "b.csv", begun)
    assert late.start_s == 1.0 and len(late) == 90 and len(late.whole()) == 120
    np.testing.assert_allclose(late.whole().values[30:], clip.values[30:], atol=1e-6)
    with pytest.raises(InputError, match=r"0\.70 s after 00:00:01:09\.000 \(row 41\)"):
        load_lines(tmp_path / "b.csv", [*lines[:41], *(f"{row[0]},0" for row in cells[41:61]), *lines[61:]])


@pytest.mark.parametrize("count", [30, 60])
def test_drop_frame_timecodes_run_evenly_over_the_minute(tmp_path: Path, count: int):
    numbers, dropped = np.arange(count * 55, count * 65), count // 15
    numbers = numbers + np.where(numbers >= 60 * count, dropped, 0)
    codes = [f"00:{n // (60 * count):02d}:{n // count % 60:02d};{n % count:02d}" for n in numbers]
    again = load_retimed(tmp_path / "a.csv", random_clip(len(codes)), codes)
    assert again.fps == pytest.approx(count / 1.001, abs=1e-3) and len(again) == len(codes) and not again.repairs


def test_what_counts_to_100_or_in_degrees_is_rescaled_and_named_and_the_implausible_refused(tmp_path: Path):
    clip = swaying_clip(60, 30.0)
    clip.values[:, 52:] = 0.18 * clip.values[:, 52:] - 0.09
    percent, degrees, yaw = (clip.values.copy() for _ in range(3))
    percent[:, :52] *= 100
    degrees[:, 52:] = np.degrees(degrees[:, 52:])
    yaw[:, ARKIT.index("headYaw")] = degrees[:, ARKIT.index("headYaw")]
    named = ("weights_in_percent", "rotations_in_degrees", "rotations_in_degrees")
    for values, name in zip((percent, degrees, yaw), named, strict=True):
        for suffix in (".csv", ".npz"):
            save_motion(replace(clip, values=values), tmp_path / f"a{suffix}")
            again = load_motion(tmp_path / f"a{suffix}")
            np.testing.assert_allclose(again.values, clip.values, atol=1e-5)
            assert [finding.name for finding in again.repairs] == [name]
    yaw[:, 52] *= 2.0
    with pytest.raises(InputError, match="headYaw in degrees"):
        in_units(yaw, ARKIT.channels, [], [((place,), 3.2) for place in range(52, 55)], Path("a.csv"))
    for channel, value in ((3, 37.0), (0, -2.5), (53, 9.0), (54, 1640.0)):
        spoilt = clip.values.copy()
        spoilt[7 if value < 1000 else slice(None), channel] = value
        save_npz(replace(clip, values=spoilt), tmp_path / "a.npz")
        with pytest.raises(InputError, match=rf"{ARKIT.channels[channel]}, frame \d+ of .*a\.npz"):
            load_npz(tmp_path / "a.npz")


def test_the_share_of_weights_outside_their_range_is_told_from_one_percent_of_the_frames_on(tmp_path: Path):
    clip = random_clip(200)
    for frames, told in ((2, 0), (3, 1)):
        clip.values[:frames, 5] = 1.5
        save_npz(clip, tmp_path / "a.npz")
        again = load_npz(tmp_path / "a.npz")
        assert len(again.warnings) == told and np.array_equal(again.values, clip.values)
    assert again.warnings[0].text.startswith("1.5 % of the frames have weights outside 0-1, most in eyeSquintLeft")


def swaying_clip(frames: int, fps: float) -> MotionClip:
    phase = np.arange(frames)[:, None] / fps * 2 * np.pi + np.arange(len(ARKIT))
    return MotionClip((0.5 + 0.5 * np.sin(phase)).astype(np.float32), fps, ARKIT)


@pytest.mark.parametrize(
    ("frames", "fps", "dropped"),
    [
        *((400, 60.0, [7, 8, 200, 359, 360, 361]), (400, 25.0, [24, 40, 41, 100])),
        *((400, 60.0, [60, 61]), (90, 60.0, [60, 61])),
    ],
)
def test_dropped_frames_of_a_live_link_take_are_filled_in(tmp_path: Path, frames: int, fps: float, dropped: list[int]):
    clip = swaying_clip(frames, fps)
    lines = lines_of(tmp_path / "a.csv", clip)
    again = load_lines(tmp_path / "a.csv", [line for i, line in enumerate(lines) if i - 1 not in dropped])
    assert again.fps == pytest.approx(fps, abs=1e-3)
    assert len(again) == frames
    np.testing.assert_allclose(again.values, clip.values, atol=0.04)
    kept = np.setdiff1d(np.arange(frames), dropped)
    np.testing.assert_allclose(again.values[kept], clip.values[kept], atol=1e-3)


def test_a_long_gap_in_a_live_link_take_is_named_and_midnight_keeps_its_rate(tmp_path: Path):
    lines = lines_of(tmp_path / "a.csv", random_clip(400, 60.0))
    with pytest.raises(InputError, match=r"0\.68 s after 00:00:01:38\.000"):
        load_lines(tmp_path / "a.csv", lines[:100] + lines[140:])
    assert len(load_livelink(tmp_path / "a.csv", fps=60.0)) == 360
    clip = random_clip(300, 60.0)
    again = load_retimed(tmp_path / "a.csv", clip, [clock_timecode(86_398 + i / 60, 60) for i in range(300)])
    assert again.fps == 60.0
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)


@pytest.mark.parametrize("take", ["MySlate_161_iPhone_cal", "alex_rom_3", "neutral_idle"])
def test_rates_of_real_takes_follow_from_their_first_and_last_timecode(tmp_path: Path, real_data: Path, take: str):
    with np.load(real_data / "arkit_iphone" / f"{take}.npz", allow_pickle=False) as arrays:
        rows, nominal = len(arrays["weights"]), float(arrays["fps"])
        fields = [str(arrays[key]).split(":") for key in ("first_timecode", "last_timecode")]
    first_s, last_s = (3600 * int(h) + 60 * int(m) + int(s) + float(f) / 60 for h, m, s, f in fields)
    timecodes = [clock_timecode(time_s, 60) for time_s in np.linspace(first_s, last_s, rows)]
    clip = load_retimed(tmp_path / "a.csv", random_clip(rows, nominal), timecodes)
    assert len(clip) == rows
    assert clip.fps == pytest.approx((rows - 1) / (last_s - first_s), abs=2e-3)
    assert nominal * 0.998 < clip.fps < nominal


@pytest.mark.parametrize("timecodes", [["00:00:00:00.000"] * 60, ["1.25"] * 60, ["00:00:00:nan"] * 60])
def test_timecodes_that_show_no_rate_or_run_backwards_are_refused(tmp_path: Path, timecodes: list[str]):
    with pytest.raises(InputError, match="timecodes"):
        load_retimed(tmp_path / "a.csv", random_clip(60), timecodes)
    header, *rows = lines_of(tmp_path / "a.csv", random_clip(60))
    for order in (rows[::-1], rows + rows, [*rows[:30], rows[3], *rows[30:]]):
        with pytest.raises(InputError, match="timecodes"):
            load_lines(tmp_path / "a.csv", [header, *order])


def test_files_that_are_no_live_link_csv_are_refused(tmp_path: Path):
    lines = lines_of(tmp_path / "a.csv", random_clip(60))
    for content, named in (
        ([""], "Timecode"),
        (["Timecode"], "EyeBlinkLeft"),
        (["not,a,csv", "1,2,3"], "Timecode"),
        ([lines[0].replace("JawOpen", "EyeBlinkLeft"), *lines[1:]], "one name for eyeBlinkLeft"),
        ([*lines[:9], lines[9][:200], *lines[10:]], r"numbers in every column.* row 10 .* \d+ of 55 values"),
        (
            [*lines[:9], lines[9].replace("0.", "x."), *lines[10:]],
            r"numbers in every .* row 10 .*'x\.\d+', which is no",
        ),
        (lines[:2], "two frames"),
        ([lines[0], *(f"{line[:15]},0" for line in lines[1:])], "a face in two rows at least"),
    ):
        with pytest.raises(InputError, match=named):
            load_lines(tmp_path / "b.csv", content)


def test_a_short_csv_that_could_have_several_rates_needs_its_rate_and_says_what_to_do(tmp_path: Path):
    save_livelink(random_clip(10), tmp_path / "a.csv")
    with pytest.raises(InputError, match="fps"):
        load_livelink(tmp_path / "a.csv")
    assert load_livelink(tmp_path / "a.csv", fps=25.0).fps == 25.0
    uneven = [f"00:00:00:{row + (row > 20):02d}.000" for row in range(58)]
    save_livelink(random_clip(25), tmp_path / "several.csv")
    save_livelink(random_clip(80, 100.0), tmp_path / "none.csv")
    expected = "record longer, or name its rate in Python"
    with pytest.raises(InputError, match=expected):
        load_retimed(tmp_path / "uneven.csv", random_clip(58, 60.0), uneven)
    for name in ("several", "none"):
        with pytest.raises(InputError, match=expected):
            load_livelink(tmp_path / f"{name}.csv")


def test_a_short_csv_of_every_other_frame_is_read_at_half_the_count(tmp_path: Path):
    timecodes = [f"10:20:30:{2 * row:02d}.125" for row in range(28)]
    assert load_retimed(tmp_path / "a.csv", random_clip(28), timecodes).fps == 30.0


@pytest.mark.parametrize(
    ("frames", "fps", "named"),
    [(1, 25.0, "two frames"), (20, 0.5, "more than 0.5 frames per second"), (55, 100.0, "more than a second")],
)
def test_what_a_csv_cannot_tell_is_not_written(tmp_path: Path, frames: int, fps: float, named: str):
    with pytest.raises(InputError, match=named):
        save_livelink(random_clip(frames, fps), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


# npz


def test_npz_with_other_names_or_frames_without_values_is_read_by_name_and_filled(tmp_path: Path):
    clip = swaying_clip(60, 30.0)
    values, names = clip.values[:, ::-1].copy(), [apple(name[0].upper() + name[1:]) for name in ARKIT.channels[::-1]]
    values[20:24] = np.nan
    again = load_npz(stored(tmp_path / "a.npz", values=values[:, :-1], channels=np.array(names[:-1])))
    np.testing.assert_allclose(again.values[:, 1:], clip.values[:, 1:], atol=0.07)
    assert not again.present[0] and again.present[1:].all()
    assert "4 of 60 frames" in again.repairs[0].text and "frame 20" in again.repairs[0].text
    values[20:40] = np.nan
    with pytest.raises(InputError, match=r"0\.70 s after frame 20"):
        load_npz(stored(tmp_path / "a.npz", values=values, channels=np.array(names)))


def stored(path: Path, **changes: object) -> Path:
    """A motion npz with other arrays."""
    arrays = {"values": random_clip(5).values, "fps": 30.0, "channels": np.array(ARKIT.channels)} | changes
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("space", [ARKIT, FLAME], ids=lambda space: space.name)
def test_npz_returns_the_same_clip_and_the_channels_that_are_missing(tmp_path: Path, space: MotionSpace):
    clip, present = random_clip(5, 30.0, space), np.arange(len(space)) != 46
    save_npz(clip, tmp_path / "a.npz")
    assert load_npz(tmp_path / "a.npz").present.all()
    clip.values[:, 46] = 0.0
    save_npz(replace(clip, present=present), tmp_path / "a.npz")
    again = load_npz(tmp_path / "a.npz")
    assert again.fps == 30.0 and again.space is space
    np.testing.assert_array_equal(again.values, clip.values)
    np.testing.assert_array_equal(again.present, present)


def test_what_a_missing_channel_holds_is_read_as_0(tmp_path: Path):
    present = np.array([channel != "cheekPuff" for channel in ARKIT.channels])
    clip = load_npz(stored(tmp_path / "a.npz", present=present))
    assert not clip["cheekPuff"].any()
    assert np.array_equal(clip.values[:, present], random_clip(5).values[:, present])


def test_empty_damaged_and_other_npz_are_refused_by_name_and_never_crash(tmp_path: Path):
    np.savez(tmp_path / "empty.npz", values=np.zeros((2, 55), np.float32))
    (tmp_path / "text.npz").write_text("hello")
    letters = np.frombuffer(np.array([0x110000, 0xFFFFFFFF] * 3, "<u4").tobytes(), "<U2")
    stored(tmp_path / "letters.npz", channels=letters)
    for name in ("empty.npz", "text.npz", "absent.npz", "letters.npz"):
        with pytest.raises(InputError, match=name):
            load_npz(tmp_path / name)
    path, rng = tmp_path / "a.npz", np.random.default_rng(1)
    save_npz(replace(random_clip(5), present=np.arange(55) > 0), path)
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_npz(path)
    for start in 30 * [0, whole.index(b"present.npy")]:
        damaged = bytearray(whole)
        damaged[rng.integers(start, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert load_npz(path).present.shape == (55,)
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("name", "array", "named"),
    [
        ("values", np.full((2, 55), "wide"), "values of the type <U4"),
        ("values", np.zeros((2, 55), "datetime64[s]"), "values of the type datetime64"),
        ("values", np.zeros((2, 55), np.complex64), "values of the type complex64"),
        ("values", np.zeros((2, 55), bool), "values of the type bool"),
        ("values", np.array([{}], dtype=object), "values of the type object"),
        ("values", np.zeros((0, 55), np.float32), "one frame"),
        ("values", np.full((2, 55), 1e300), "2 frames with NaN or infinity"),
        ("fps", np.zeros(2), "a motion npz"),
        ("fps", "fast", "fps of the type"),
        ("channels", np.array(["x"] * 55), "the channels of ARKIT or FLAME"),
        ("present", np.ones(55, np.uint8), "present of the type uint8"),
        ("present", np.ones(54, bool), r"present of the shape \(54,\)"),
        ("present", np.ones((1, 55), bool), r"present of the shape \(1, 55\)"),
        ("present", np.ones(1 << 17, bool), "more than 65536 bytes"),
        ("present", np.zeros(55, bool), "or without any"),
        ("present", np.array([None] * 55), "present of the type object"),
    ],
)
def test_npz_of_another_type_or_shape_or_of_nothing_is_refused(tmp_path: Path, name: str, array: object, named: str):
    with pytest.raises(InputError, match=named) as caught:
        load_npz(stored(tmp_path / "a.npz", **{name: array}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(5 << 36, 55), (10**9, 1), (-1, 55)])
def test_npz_header_that_claims_too_much_is_refused(tmp_path: Path, shape: tuple[int, int]):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    save_npz(random_clip(5), tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, header.getvalue() if name == "values.npy" else good.read(name))
    with pytest.raises(InputError, match="values of the shape" if shape[0] > 0 else "a motion npz"):
        load_npz(tmp_path / "bad.npz")


def turning(axis: tuple[float, float, float], fps: float, group: str) -> MotionClip:
    """FLAME curves that turn at 2 rad/s from 2 to 8 rad about an axis, as rotation vectors of at most pi."""
    angles = 2.0 + 2.0 * (np.arange(round(3 * fps)) + 0.5) / fps
    values = np.zeros((len(angles), len(FLAME)), np.float32)
    turns = Rotation.from_rotvec(angles[:, None] * np.array(axis) / np.linalg.norm(axis))
    values[:, list(FLAME.groups[group])] = turns.as_rotvec()
    values[:, 0] = angles
    return MotionClip(values, fps, FLAME)


@pytest.mark.parametrize("group", ["lips", "head"])
@pytest.mark.parametrize("fps", [30.0, 60.0, 24.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0.9, -0.3, 0.2)])
def test_a_steady_rotation_across_pi_keeps_its_speed(axis: tuple, fps: float, group: str) -> None:
    slow = turning(axis, fps, group).at_fps(25.0).values
    turns = Rotation.from_rotvec(slow[:, list(FLAME.groups[group])])
    speeds = (turns[:-1].inv() * turns[1:]).magnitude() * 25.0
    assert speeds[1:-1].mean() == pytest.approx(2.0, rel=0.01)
    plain = np.diff(slow[:, 0]) * 25.0  # an expression that rises as the angle does, resampled in the same way
    assert speeds == pytest.approx(plain, abs=1e-3)


def test_a_rotation_that_jumps_by_a_turn_stays_where_it_is_and_others_are_resampled_as_channels_are():
    values = np.zeros((30, len(FLAME)), np.float32)
    values[:, 53] = np.where(np.arange(30) % 2, -3.13, 3.13)
    values[:, 54] = 0.01
    slow = MotionClip(values, 30.0, FLAME).at_fps(25.0).values
    away = Rotation.from_rotvec(slow[:, 53:]) * Rotation.from_rotvec([-np.pi, 0, 0])
    assert away.magnitude().max() < 0.03
    values = np.random.default_rng(4).uniform(-1, 1, (30, len(FLAME))).astype(np.float32)
    values[:, :3] = values[:, 53:]
    slow = MotionClip(values, 30.0, FLAME).at_fps(25.0).values
    assert np.array_equal(slow[:, :3], slow[:, 53:])
