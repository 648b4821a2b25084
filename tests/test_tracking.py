"""Tracking a face in a video: pieces, times, which face, lag, bad videos, and agreement with given tracks."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy.ndimage import gaussian_filter1d

from avi_lib import cli as doctor
from avi_lib.cli import main
from avi_lib.errors import AssetError, InputError
from avi_lib.face import tracking
from avi_lib.face.head import rotations
from avi_lib.face.video import LONGEST_SIDE
from avi_lib.models import inspect
from avi_lib.motion.clip import ARKIT, MotionClip, load_npz
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.talker import Talker
from tools.benchmarks.tracks import CHANNELS, agreement

JAW = ARKIT.index("jawOpen")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def tracker() -> None:
    """Skips where this machine cannot track: no model in the cache, or a system library missing."""
    state, detail = inspect("face-landmarker")
    if state not in ("cached", "own"):
        pytest.skip(f"the model face-landmarker is {state}: {detail}; `avi models face-landmarker` fetches it")
    try:
        tracking.check_mediapipe()
    except AssetError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def heads() -> tuple[np.ndarray, np.ndarray]:
    """Motion (24, 55) of an opening and closing jaw with a turning head, and its pictures of 256 pixels."""
    values = np.zeros((24, len(ARKIT)), np.float32)
    phase = 2 * np.pi * np.arange(24) / 24
    values[:, JAW] = 0.4 - 0.4 * np.cos(2 * phase)
    for channel, size, cycles in (("headPitch", 0.15, 1), ("headYaw", 0.3, 1), ("headRoll", 0.2, 1.5)):
        values[:, ARKIT.index(channel)] = size * np.sin(cycles * phase)
    with Talker(TalkSettings(render=RenderSettings(size=256))) as talker:
        return values, np.stack([*talker.frames(MotionClip(values, 25.0, ARKIT))])


def write(path: Path, pictures: Sequence[np.ndarray], times_s: Sequence[float] | None = None) -> Path:
    """A silent video at 25 frames a second, or with a picture at each of the times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(1000 * (times_s[i] if times_s else i / 25)), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sightings(
    times_s: Sequence[float] | np.ndarray,
    found: Sequence[bool] | np.ndarray | None = None,
    jaw: np.ndarray | None = None,
) -> tracking.Sightings:
    """One person in the pictures `found`, whose jaw follows the middle of each picture's time unless given."""
    start_s = np.asarray(times_s, np.float64)
    values = np.zeros((len(start_s), len(ARKIT)), np.float32)
    ends_s = np.append(start_s[1:], 2 * start_s[-1] - start_s[-2]) if len(start_s) > 1 else start_s + 0.04
    values[:, JAW] = (start_s + ends_s) / 2 if jaw is None else jaw
    person = np.where(np.ones(len(start_s), bool) if found is None else found, 0, -1)
    return tracking.Sightings(start_s, person, values, np.ones(len(start_s)), np.ones(len(start_s), np.int64))


def missing(frames: int, *gaps: tuple[int, int]) -> np.ndarray:
    found = np.ones(frames, bool)
    for first, last in gaps:
        found[first:last] = False
    return found


STEADY = np.arange(75) / 25
PIECES = {
    "a face throughout": (STEADY, (), [(0.0, 75)]),
    "pictures before the sound": (STEADY - 0.2, (), [(0.0, 70)]),
    "a gap of half a second": (STEADY, ((30, 42),), [(0.0, 75)]),
    "a longer gap": (STEADY, ((30, 43),), [(0.0, 30), (43 / 25, 32)]),
    "short gaps at the ends": (STEADY, ((0, 10), (65, 75)), [(0.0, 75)]),
    "longer gaps at the ends": (STEADY, ((0, 20), (55, 75)), [(0.8, 35)]),
    "a glimpse beside a cut": (STEADY, ((3, 30),), [(1.2, 45)]),
    "a short video": (STEADY[:4], (), [(0.0, 4)]),
    "no face": (STEADY, ((0, 75),), []),
}


@pytest.mark.parametrize(("times_s", "gaps", "expected"), PIECES.values(), ids=PIECES)
def test_gaps_of_half_a_second_are_interpolated_or_held_and_longer_ones_cut(times_s, gaps, expected):
    found = missing(len(times_s), *gaps)
    pieces = tracking.cut_pieces(sightings(times_s, found), 25.0)
    assert [(piece.start_s, len(piece)) for piece in pieces] == [(pytest.approx(s), n) for s, n in expected]
    for piece in pieces:
        middles_s = piece.start_s + (np.arange(len(piece)) + 0.5) / 25
        seen_s = times_s[found] + 0.02
        held = np.clip(middles_s, seen_s.min(), seen_s.max())
        np.testing.assert_allclose(piece["jawOpen"], held, atol=1e-6)
        absent = [channel for channel, there in zip(ARKIT.channels, piece.present, strict=True) if not there]
        assert tuple(absent) == tracking.UNMOVED and "tongueOut" in absent


@pytest.mark.parametrize("rate", [30.0, 29.97, 60.0, 15.0, 24.0])
def test_frames_show_the_middle_of_their_time_whatever_the_rate_of_the_video(rate: float):
    (piece,) = tracking.cut_pieces(sightings(np.arange(int(2 * rate)) / rate), 25.0)
    middles_s = (np.arange(len(piece)) + 0.5) / 25
    np.testing.assert_allclose(piece["jawOpen"][2:-2], middles_s[2:-2], atol=2e-3)
    assert abs(len(piece) - 25 * int(2 * rate) / rate) <= 1


def test_unsteady_times_are_brought_to_a_steady_rate_and_faster_pictures_averaged():
    (piece,) = tracking.cut_pieces(sightings(np.cumsum(np.random.default_rng(1).uniform(0.02, 0.06, 75))), 25.0)
    middles_s = (np.arange(len(piece)) + 0.5) / 25
    np.testing.assert_allclose(piece["jawOpen"][3:-3], middles_s[3:-3], atol=1e-3)
    (piece,) = tracking.cut_pieces(sightings(np.arange(100) / 50, jaw=np.tile(np.float32([0, 1]), 50)), 25.0)
    np.testing.assert_allclose(piece["jawOpen"], 0.5, atol=1e-6)


def test_pauses_and_another_person_part_the_motion_and_a_roll_past_half_a_turn_goes_the_short_way():
    pieces = tracking.cut_pieces(sightings(np.append(np.arange(25) / 25, 2.0 + np.arange(25) / 25)), 25.0)
    assert [piece.start_s for piece in pieces] == [0.0, 2.0]
    assert len(pieces[0]) == 26  # the last picture counts for two steps
    seen = sightings(STEADY)
    seen.person[40:] = 1
    assert [len(piece) for piece in tracking.cut_pieces(seen, 25.0)] == [40, 35]
    seen = sightings(np.arange(60) / 30)
    angle = np.linspace(3.0, 3.3, 60)
    seen.values[:, ARKIT.index("headRoll")] = np.where(angle > np.pi, angle - 2 * np.pi, angle)
    roll = tracking.cut_pieces(seen, 25.0)[0]["headRoll"]
    assert np.abs(np.diff(roll)).max() < 0.02


def test_the_largest_face_is_chosen_and_kept_and_others_are_painted_over():
    small, large = [0.0, 0.0, 50.0, 50.0], [100.0, 0.0, 180.0, 90.0]
    boxes = np.array([small, large])
    assert tracking.choose_face(boxes, None) == 1
    assert tracking.choose_face(boxes, np.array([4.0, 2.0, 55.0, 52.0])) == 0
    assert tracking.choose_face(boxes, np.array([300.0, 0.0, 350.0, 50.0])) is None
    assert tracking.choose_face(np.zeros((0, 4)), None) is None
    picture = np.full((100, 200, 3), 9, np.uint8)
    own, other = np.array([80.0, 20.0, 120.0, 60.0]), np.array([110.0, 20.0, 150.0, 60.0])
    painted = tracking.paint_over(picture, [other], own)
    assert (painted[20:60, 80:121] == 9).all() and (painted[20:60, 130:150] == 0).all() and (picture == 9).all()


@pytest.mark.parametrize("angles", [(0.2, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, -0.4), (0.3, -0.6, 0.2)])
def test_head_angles_undo_the_rotation_that_the_head_is_drawn_with(angles: tuple[float, float, float]):
    rotation = rotations(*(np.array([angle]) for angle in angles))[0]
    np.testing.assert_allclose(tracking.head_angles(rotation), angles, atol=1e-6)


@pytest.mark.parametrize("lag_s", [-0.3, -0.04, 0.0, 0.2])
def test_the_lag_of_the_sound_is_read_back(lag_s: float):
    rng = np.random.default_rng(2)
    mouth = gaussian_filter1d(rng.standard_normal(600), 8.0)  # 6 s at 100 steps a second
    steps_s = (np.arange(600) + 0.5) / 100
    tracked = np.interp((np.arange(100) + 0.5) / 25 + 1.0 + lag_s, steps_s, mouth) + 0.02 * rng.standard_normal(100)
    lag = tracking.best_lag(tracked, 25.0, mouth, 100.0, -1.0)
    assert lag.lag_s == pytest.approx(lag_s, abs=0.011) and lag.correlation > 0.9 and not lag.reason


def test_no_lag_is_given_for_another_sound_a_still_mouth_or_too_little_of_both():
    rng = np.random.default_rng(3)
    mouth, other = (gaussian_filter1d(rng.standard_normal(3000), 8.0) for _ in range(2))
    unlike = tracking.best_lag(other[::4], 25.0, mouth, 100.0, 0.0)
    assert unlike.lag_s is None and unlike.correlation < 0.3 and "chance" in unlike.reason
    assert "still" in tracking.best_lag(np.zeros(750), 25.0, mouth, 100.0, 0.0).reason
    assert "less than" in tracking.best_lag(other[:20], 25.0, mouth, 100.0, 0.0).reason
    far = tracking.best_lag(np.roll(mouth, 55)[::4], 25.0, mouth, 100.0, 0.0)
    assert far.lag_s is None or abs(far.lag_s) < tracking.REACH_S


def test_pictures_come_with_their_times_upright_and_not_larger_than_needed(tmp_path: Path):
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80] = 255  # a white upper left quarter
    times_s = [0.0, 0.04, 0.1, 0.3]
    path = write(tmp_path / "turned.mp4", [np.rot90(picture)] * 4, times_s)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # 90° clockwise
    path.write_bytes(data)
    starts_s, pictures = zip(*tracking.pictures_of(path), strict=True)
    assert [round(start_s, 3) for start_s in starts_s] == times_s
    assert pictures[0].shape == (96, 160, 3) and pictures[0].flags.c_contiguous
    assert pictures[0][10, 10].min() > 200 and pictures[0][80, 150].max() < 50
    write(tmp_path / "large.mp4", [np.zeros((1200, 1600, 3), np.uint8)])
    assert next(tracking.pictures_of(tmp_path / "large.mp4"))[1].shape == (960, LONGEST_SIDE, 3)


def test_time_begins_with_the_sound(tmp_path: Path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        pictures, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=16000)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        sound.layout = "mono"
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        samples.pts, samples.rate, samples.time_base = 3200, 16000, Fraction(1, 16000)
        container.mux(sound.encode(samples))
    assert next(tracking.pictures_of(path))[0] == pytest.approx(-0.2, abs=0.002)


def test_what_is_no_video_is_refused_with_its_reason(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "empty.mp4").touch()
    soundfile.write(tmp_path / "sound.wav", np.zeros(16000), 16000)
    write(tmp_path / "tiny.mp4", [np.zeros((16, 16, 3), np.uint8)])
    reasons = {
        "text.mp4": "could not be decoded",
        "empty.mp4": "empty file",
        "sound.wav": "a sound track and no pictures",
        "tiny.mp4": "16 x 16",
        "gone.mp4": "not there",
        ".": "a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason):
            next(tracking.pictures_of(tmp_path / name))


def test_a_damaged_video_gives_what_could_be_decoded_and_says_so(tmp_path: Path):
    noise = np.random.default_rng(4).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    data = bytearray(write(tmp_path / "whole.mkv", noise).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "damaged.mkv").write_bytes(data)
    pictures = list(tracking.pictures_of(tmp_path / "damaged.mkv", counts=(counts := {})))
    assert 5 <= len(pictures) < 30 and counts["damaged"]


def test_joined_videos_go_on_and_a_long_last_picture_is_no_loss(tmp_path: Path):
    grey = [np.full((64, 64, 3), 6 * i, np.uint8) for i in range(40)]
    part = write(tmp_path / "part.ts", grey).read_bytes()
    (tmp_path / "two.ts").write_bytes(part + part)
    counts = {}
    starts_s = [start_s for start_s, _ in tracking.pictures_of(tmp_path / "two.ts", counts=counts)]
    assert (len(starts_s), counts["anew"], counts["unordered"]) == (80, 1, 0)
    np.testing.assert_allclose(np.diff(starts_s), 0.04, atol=0.002)
    slow = write(tmp_path / "slow.mp4", grey, [0.5 * i for i in range(40)])
    assert len([*tracking.pictures_of(slow, counts=counts)]) == 40 and counts["truncated_s"] == 0


def test_a_missing_system_library_is_named_with_its_package_and_a_model_of_another_kind_refused(tmp_path, monkeypatch):
    (tmp_path / "mediapipe.py").write_text(
        "raise ImportError('libGLESv2.so.2: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    with pytest.raises(AssetError, match=r"no libGLESv2\.so\.2.*libgles2"):
        tracking.check_mediapipe()
    detail = doctor._tracking()
    assert "libgles2" in detail and "nothing else" in detail
    (tmp_path / "own.task").write_bytes(b"no model")
    with pytest.raises(AssetError, match=r"face_landmarker\.task"), tracking.FaceFollower(tmp_path / "own.task"):
        pass


def test_a_video_without_a_face_is_refused(tracker: None, tmp_path: Path):
    path = write(tmp_path / "grey.mp4", [np.full((64, 96, 3), 128, np.uint8)] * 5)
    with pytest.raises(InputError, match="0 of 5 pictures"):
        tracking.track_video(path)
    data = bytearray(path.read_bytes())
    first, last = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[first:last] = bytes(last - first)
    (tmp_path / "zeros.mp4").write_bytes(data)
    with pytest.raises(InputError, match="none of which could be decoded"):
        tracking.track_video(tmp_path / "zeros.mp4")


def test_a_drawn_head_is_tracked_the_same_every_time(tracker, heads, tmp_path, capfd):
    values, pictures = heads
    path = write(tmp_path / "head.mp4", pictures)
    tracks = [tracking.track_video(path) for _ in range(2)]
    clips = [track.pieces[0] for track in tracks]
    assert clips[0].values.tobytes() == clips[1].values.tobytes()
    assert np.corrcoef(clips[0]["jawOpen"], values[:, JAW])[0, 1] > 0.95
    for channel in ("headPitch", "headYaw", "headRoll"):
        drawn = values[:, ARKIT.index(channel)]
        slope, offset = np.polyfit(drawn, clips[0][channel], 1)
        assert 0.7 < slope < 1.2 and abs(offset) < 0.15, channel
    report = tracks[0].report
    assert (report.frames, report.found, report.faces_seen, report.cut) == (24, 24, 1, 0)
    assert 0.5 < report.confidence <= 1 and report.lag_s is None and "sound" in report.warnings[0]
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""  # MediaPipe's log would be here


def test_the_larger_of_two_faces_is_tracked_with_a_warning(tracker, heads, tmp_path):
    values, pictures = heads
    canvas = np.full((12, 256, 384, 3), 90, np.uint8)
    canvas[:, 64:192, :128] = pictures[12:, ::2, ::2]
    canvas[:, :, 128:] = pictures[:12]
    track = tracking.track_video(write(tmp_path / "two.mp4", canvas))
    assert np.corrcoef(track.pieces[0]["jawOpen"], values[:12, JAW])[0, 1] > 0.95
    assert track.report.faces_seen == 2 and track.report.crowded > 0.5
    assert "up to 2 faces" in track.report.warnings[0]


def test_the_command_writes_a_file_for_every_piece(tracker, heads, tmp_path, capsys):
    still = [heads[1][0]] * 13
    video = write(tmp_path / "away.mp4", [*still, *[np.full((256, 256, 3), 90, np.uint8)] * 13, *still])
    assert main(["track", str(video), "-o", str(tmp_path / "face.npz"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [piece["start_s"] for piece in answer["pieces"]] == [0.0, pytest.approx(26 / 25)]
    assert [Path(piece["path"]).name for piece in answer["pieces"]] == ["face-1.npz", "face-2.npz"]
    assert (answer["found"], answer["cut"], answer["cuts"], answer["cut_s"]) == (26, 13, 1, pytest.approx(0.52))
    again = load_npz(tmp_path / "face-1.npz")
    assert {ARKIT.channels[i] for i in np.flatnonzero(~again.present)} == set(tracking.UNMOVED)
    assert len(load_npz(tmp_path / "face-2.npz")) == 13 and not (tmp_path / "face.npz").exists()


def test_the_command_ends_with_2_and_one_line_for_bad_input(tmp_path: Path, capsys: Capture):
    (tmp_path / "text.mp4").write_text("no video")
    reasons = {"face.npz": "expected a video", "face.txt": ".npz, .csv", "nowhere/face.csv": "existing folder"}
    for output, reason in reasons.items():
        assert main(["track", str(tmp_path / "text.mp4"), "-o", str(tmp_path / output)]) == 2
        printed = capsys.readouterr()
        assert reason in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_a_real_video_is_tracked_as_its_given_track_says_and_its_lag_read_back(tracker: None, real_data: Path):
    found = agreement(real_data / "grid10" / "lbax4n.mpg")
    assert all(found.correlation[channel] >= 0.9 for channel in CHANNELS)
    assert found.head_rad < 0.02
    assert found.lag.lag_s == pytest.approx(0.0, abs=0.08)
    assert np.abs(found.shift_errors_s).max() < 0.05
