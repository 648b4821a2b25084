"""The MP4 writer: what is written can be read back with the right pictures, sound and times, or nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.face.video import write_video

RATE_HZ = 16_000


def moving_bar(count: int, width: int = 128, height: int = 96) -> Iterator[np.ndarray]:
    """A bright bar that is at column 2 * n of frame n."""
    for number in range(count):
        picture = np.full((height, width, 3), (40, 60, 90), np.uint8)
        picture[:, (2 * number) % width : (2 * number) % width + 8] = (220, 180, 150)
        yield picture


def clicks(duration_s: float, at_s: list[float], rate_hz: int = RATE_HZ) -> np.ndarray:
    wave = np.zeros(round(duration_s * rate_hz), np.float32)
    for moment in at_s:
        wave[round(moment * rate_hz) : round(moment * rate_hz) + rate_hz // 1000] = 0.9
    return wave


def sound_of(path: Path) -> tuple[np.ndarray, float]:
    """The decoded samples with time zero at the first picture, and their rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        start = frames[0].pts * frames[0].time_base
        wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return np.concatenate([np.zeros(round(start * 48_000)), wave]), frames[0].sample_rate


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    write_video(path, moving_bar(50), 25.0, clicks(2.0, [0.5]), RATE_HZ)
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.pix_fmt, float(video.average_rate)) == (128, 96, "yuv420p", 25.0)
        assert (sound.rate, sound.channels, video.frames) == (48_000, 1, 50)
        assert float(video.duration * video.time_base) == pytest.approx(2.0, abs=1e-6)
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.04)
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    difference = np.abs(np.stack(pictures).astype(int) - np.stack(list(moving_bar(50))))
    assert len(pictures) == 50
    assert difference.mean() < 3.0


def test_frames_keep_their_order_and_times(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    write_video(path, moving_bar(40), 25.0, clicks(1.6, []), RATE_HZ)
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            assert float(frame.pts * frame.time_base) == pytest.approx(number / 25.0, abs=1e-6)
            row = frame.to_ndarray(format="rgb24")[48, :, 0].astype(int)
            assert abs(int(np.argmax(np.convolve(row, np.ones(8), "valid"))) - 2 * number) <= 1


def test_colours_survive_within_the_tolerance_of_a_good_encoding(tmp_path: Path) -> None:
    colours = [(200, 60, 50), (60, 160, 70), (50, 70, 190), (225, 172, 150)]
    picture = np.concatenate([np.full((64, 32, 3), colour, np.uint8) for colour in colours], axis=1)
    write_video(tmp_path / "a.mp4", [picture] * 3, 25.0, clicks(0.12, []), RATE_HZ)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        seen = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
    for number, colour in enumerate(colours):
        assert np.abs(seen[32, 32 * number + 16].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_clicks_stay_within_20_ms_of_where_they_were(tmp_path: Path, rate_hz: int) -> None:
    moments = [0.2, 1.0, 2.7]
    write_video(tmp_path / "a.mp4", moving_bar(75), 25.0, clicks(3.0, moments, rate_hz), rate_hz)
    wave, rate = sound_of(tmp_path / "a.mp4")
    for moment in moments:
        near = slice(round((moment - 0.1) * rate), round((moment + 0.1) * rate))
        peak = np.argmax(np.abs(wave[near])) / rate + moment - 0.1
        assert peak == pytest.approx(moment, abs=0.02)


@pytest.mark.parametrize(("sound_s", "frames"), [(3.0, 50), (0.4, 50), (2.013, 50), (0.0, 3)])
def test_sound_ends_with_the_pictures(tmp_path: Path, sound_s: float, frames: int) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(frames), 25.0, clicks(sound_s, []), RATE_HZ)
    with av.open(str(tmp_path / "a.mp4")) as container:
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert lengths[0] == pytest.approx(frames / 25.0, abs=1e-6)
    assert abs(lengths[1] - lengths[0]) <= 0.04


@pytest.mark.parametrize("fps", [24.0, 29.97, 30000 / 1001, 50.0])
def test_other_frame_rates_do_not_drift(tmp_path: Path, fps: float) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(100), fps, clicks(100 / fps, [3.0 * 0.6]), RATE_HZ)
    with av.open(str(tmp_path / "a.mp4")) as container:
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert lengths[0] == pytest.approx(100 / fps, abs=0.002)
    assert abs(lengths[1] - lengths[0]) <= 0.04


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures, wave = rng.integers(0, 256, (12, 64, 64, 3), np.uint8), rng.normal(0, 0.1, 8000).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, pictures, 25.0, wave, RATE_HZ)
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.mp4", "b.mp4")}
    assert len(digests) == 1


def test_a_player_can_start_before_the_file_has_arrived(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(25), 25.0, clicks(1.0, []), RATE_HZ)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_pictures_and_sound_are_interleaved(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE_HZ).astype(np.float32)
    write_video(tmp_path / "a.mp4", moving_bar(250), 25.0, noise, RATE_HZ)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [(packet.pos, float(packet.dts * packet.time_base)) for packet in container.demux() if packet.size]
    times = np.array([time for _, time in sorted(packets)])
    assert np.abs(np.diff(times)).max() <= 1.5


def test_frames_are_taken_one_by_one_in_bounded_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    picture = next(moving_bar(1, 512, 512))
    write_video(tmp_path / "a.mp4", itertools.repeat(picture, 600), 25.0, clicks(24.0, []), RATE_HZ)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 250  # all frames together are 450 MiB


def test_a_generator_that_fails_midway_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from moving_bar(10)
        raise ValueError("the renderer lost its device")

    kept = tmp_path / "a.mp4"
    kept.write_bytes(b"the film of yesterday")
    with pytest.raises(ValueError, match="lost its device"):
        write_video(kept, failing(), 25.0, clicks(1.0, []), RATE_HZ)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert kept.read_bytes() == b"the film of yesterday"


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    program = f"""
import itertools, pathlib, resource
import numpy as np
from avi_lib.errors import InputError
from avi_lib.face.video import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
frames = (rng.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(100))
try:
    write_video(pathlib.Path({str(tmp_path)!r}) / "a.mp4", frames, 25.0, np.zeros(16_000, np.float32), 16_000)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "room and permission to write" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame; got none"),
        ([np.zeros((63, 64, 3), np.uint8)], "even sides.*got 64 x 63"),
        ([np.zeros((64, 64), np.uint8)], r"\(height, width, 3\) uint8"),
        ([np.zeros((64, 64, 3), np.float32)], "uint8"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)], r"frame 1 is \(64, 32, 3\) uint8"),
    ],
)
def test_frames_that_cannot_be_written_are_refused(tmp_path: Path, frames: list[np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "a.mp4", iter(frames), 25.0, clicks(1.0, []), RATE_HZ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fps", "wave", "rate_hz", "message"),
    [
        (0.0, np.zeros(10, np.float32), RATE_HZ, "frame rate above 0.*got 0"),
        (float("nan"), np.zeros(10, np.float32), RATE_HZ, "frame rate above 0.*got nan"),
        (25.0, np.zeros(10, np.float32), 100, "sound rate of 4000-192000 Hz; got 100"),
        (25.0, np.full(10, np.nan, np.float32), RATE_HZ, "finite wave"),
    ],
)
def test_times_and_sound_that_cannot_be_written_are_refused(
    tmp_path: Path, fps: float, wave: np.ndarray, rate_hz: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "a.mp4", moving_bar(2), fps, wave, rate_hz)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    def never() -> Iterator[np.ndarray]:
        raise AssertionError("drawn for nothing")
        yield

    with pytest.raises(InputError, match="existing folder"):
        write_video(tmp_path / "absent" / "a.mp4", never(), 25.0, clicks(1.0, []), RATE_HZ)
