"""Videos: what is written can be read back with the right pictures, sound, times and words, or nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from avi_lib.cli import main
from avi_lib.errors import AssetError, InputError
from avi_lib.face import video
from avi_lib.face.video import COLOURS, Strip, captioned, columns_of, save_picture, tiled, titled, write_video
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.talker import Renderer, Talk, Talker

RATE_HZ = 16_000
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "angry.flac"
GREY = np.full((128, 192, 3), 90, np.uint8)
Capture = pytest.CaptureFixture[str]


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
        frames = list(container.decode(video=0))
    assert [float(frame.pts * frame.time_base) for frame in frames] == pytest.approx([n / 25.0 for n in range(50)])
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    assert np.abs(pictures.astype(int) - np.stack(list(moving_bar(50)))).mean() < 3.0
    for number, row in enumerate(pictures[:, 48, :, 0].astype(int)):
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


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_clicks_stay_within_20_ms_of_where_they_were(tmp_path: Path, rate_hz: int) -> None:
    moments = [0.2, 1.0, 2.7]
    write_video(tmp_path / "a.mp4", moving_bar(75), 25.0, clicks(3.0, moments, rate_hz), rate_hz)
    wave, rate = sound_of(tmp_path / "a.mp4")
    for moment in moments:
        near = slice(round((moment - 0.1) * rate), round((moment + 0.1) * rate))
        peak = np.argmax(np.abs(wave[near])) / rate + moment - 0.1
        assert peak == pytest.approx(moment, abs=0.02)


@pytest.mark.parametrize("fps", [24.0, 30000 / 1001, 50.0])
@pytest.mark.parametrize(("sound_s", "frames"), [(3.0, 50), (2.013, 50), (0.0, 3)])
def test_sound_ends_with_the_pictures_at_any_rate(tmp_path: Path, sound_s: float, frames: int, fps: float) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(frames, 64, 64), fps, clicks(sound_s, []), RATE_HZ)
    with av.open(str(tmp_path / "a.mp4")) as container:
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert lengths[0] == pytest.approx(frames / fps, abs=0.002)
    assert abs(lengths[1] - lengths[0]) <= 0.045


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures, wave = rng.integers(0, 256, (12, 64, 64, 3), np.uint8), rng.normal(0, 0.1, 8000).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, pictures, 25.0, wave, RATE_HZ)
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.mp4", "b.mp4")}
    assert len(digests) == 1


def test_a_player_can_start_before_the_file_has_arrived_and_sound_comes_beside_the_pictures(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE_HZ).astype(np.float32)
    write_video(tmp_path / "a.mp4", moving_bar(250), 25.0, noise, RATE_HZ)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
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


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(room, tmp_path, files_of_at_most):
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(100))
    files_of_at_most(room)
    with pytest.raises(InputError, match="room and permission to write"):
        write_video(tmp_path / "a.mp4", frames, 25.0, np.zeros(16_000, np.float32), 16_000)
    assert list(tmp_path.iterdir()) == []


PICTURE, WAVE = np.zeros((64, 64, 3), np.uint8), np.zeros(640, np.float32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": []}, "at least one frame; got none"),
        ({"frames": [PICTURE[:63]]}, "even sides.*got 64 x 63"),
        ({"frames": [PICTURE[..., 0]]}, r"\(height, width, 3\) uint8"),
        ({"frames": [np.zeros((64, 64, 4), np.uint8)]}, "write .webm"),
        ({"frames": [PICTURE.astype(np.float32)]}, "uint8"),
        ({"frames": [PICTURE, PICTURE[:, :32]]}, r"frame 1 is \(64, 32, 3\) uint8"),
        ({"fps": 0.0}, "frame rate above 0.*got 0"),
        ({"fps": float("nan")}, "frame rate above 0.*got nan"),
        ({"rate_hz": 100}, "sound rate of 4000-192000 Hz; got 100"),
        ({"wave": np.full(10, np.nan, np.float32)}, "finite wave"),
        ({"path": "a.gif"}, "video ending in"),
        ({"path": "absent/a.mp4", "frames": iter(lambda: 1 / 0, None)}, "existing folder"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, changed: dict[str, Any], message: str):
    given = {"path": "a.mp4", "frames": [PICTURE], "fps": 25.0, "wave": WAVE, "rate_hz": RATE_HZ} | changed
    with pytest.raises(InputError, match=message):
        write_video(**(given | {"path": tmp_path / given["path"], "frames": iter(given["frames"])}))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def talk() -> Talk:
    with Talker(TalkSettings(generator="performer", seed=3)) as talker:
        return talker.listen(SAMPLE, Instruction.parse("She is furious."))


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_caption_is_white_over_the_foot_in_at_most_three_lines_without_control_characters():
    shown = captioned(GREY, "She is furious.")
    changed = np.flatnonzero((shown != GREY).any(axis=(1, 2)))
    assert shown.max() > 240 and changed.min() > 0.6 * len(GREY)
    assert np.array_equal(GREY, np.full_like(GREY, 90)), "the picture itself stays as it is"
    long = captioned(GREY, "A person feels quite angry and speaks with brow strongly down. " * 8)
    assert (long != GREY).any(axis=(1, 2)).sum() < 0.6 * len(GREY) and long.shape == GREY.shape
    clear = captioned(np.zeros((128, 192, 4), np.uint8), "Sad.")
    assert clear[..., 3].max() == 255 and clear[0, 0, 3] == 0
    assert np.array_equal(captioned(GREY, "S\x00a\x07d\x1b.\n\tNow\x9f\ud800"), captioned(GREY, "Sad. Now"))
    assert captioned(GREY, "\x00 \x1b\n") is GREY and captioned(GREY, "  ") is GREY


@pytest.mark.parametrize(
    ("text", "fonts", "fribidi", "drawn", "words"),
    [
        ("她 Sad.", False, True, " Sad.", "captions are without 她: run `avi models noto-sans-cjk`"),
        ("彼女は 그녀", False, True, " ", "noto-sans-cjk"),
        ("彼女は 그녀", True, True, "彼女は 그녀", ""),
        ("هي Happy é Она", False, True, "هي Happy é Она", ""),
        ("היא Sad", False, False, " Sad", "fribidi"),
        ("खुश Sad 🥹.", False, True, " Sad .", "no typeface"),
    ],
)
def test_letters_of_any_script_are_drawn_or_left_out_with_a_note(text, fonts, fribidi, drawn, words, monkeypatch):
    def found(name: str) -> Any:
        if not fonts:
            raise AssetError("a typeface", "none", f"run `avi models {name}`")
        return SimpleNamespace(files={"any": video.lettering("a")[0].with_name("LastResortHE-Regular.ttf")})

    monkeypatch.setattr(video, "resolve", found)
    monkeypatch.setattr(video.features, "check", lambda _: fribidi)
    for each in (video.lettering, video._caption):
        each.cache_clear()
    _, kept, note = video.lettering(text)
    assert kept == drawn and words in note and bool(note) == bool(words)
    assert note or not np.array_equal(captioned(GREY, text), GREY)
    assert np.array_equal(captioned(GREY, text), captioned(GREY, drawn))
    for each in (video.lettering, video._caption):
        each.cache_clear()


WIDE = ("WWWW " * 40, "W" * 300, "MMMM MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM MMM", "iiii " * 300, "x" * 100_000)


@pytest.mark.parametrize("text", WIDE)
def test_words_of_any_letters_stay_within_the_picture(text: str):
    shown = (captioned(GREY, text) != GREY).any(axis=(0, 2))
    assert not shown[:3].any() and not shown[-3:].any()
    assert shown.sum() > 0.7 * GREY.shape[1], "and its lines are filled"
    bar = titled(GREY, text)[: -len(GREY)]
    shown = (bar != bar[0, 0]).any(axis=(0, 2))
    assert shown.any() and not shown[:2].any() and not shown[-2:].any()


def test_pictures_are_tiled_in_rows_with_dark_gaps_or_refused_where_they_do_not_go_together(tmp_path: Path):
    sheet = tiled([GREY, GREY + 1, GREY + 2], columns=2)
    assert sheet.shape == (256, 384, 3)
    assert (sheet[:128, 192:] == 91).all() and (sheet[128:, 192:] < 40).all()
    assert [columns_of(n) for n in (1, 2, 3, 4, 5, 9, 30)] == [1, 2, 3, 2, 3, 3, 4]
    shown = titled(GREY, "0.28 s")
    assert np.array_equal(shown[-len(GREY) :], GREY) and len(shown) > len(GREY) and len(shown) % 2 == 0
    for pictures, titles in (([], ()), ([GREY, GREY[:64]], ()), ([GREY], ("a", "b"))):
        with pytest.raises(InputError):
            tiled(pictures, 2, titles)
    with pytest.raises(InputError, match=r"\.png"):
        save_picture(GREY, tmp_path / "sheet.jpg")


def test_a_strip_has_a_curve_for_every_factor_and_a_line_that_moves():
    values = 0.3 * np.random.default_rng(0).random((50, len(ARKIT))).astype(np.float32)
    strip = Strip(MotionClip(values, 25.0, ARKIT), 512)
    early, late = strip.at(0), strip.at(49)
    assert early.shape == (128, 512, 3)
    moved = np.flatnonzero((early != late).any(axis=(0, 2)))
    assert abs(moved.min() - 512 // 7) <= 5 and moved.max() >= 505
    rows = np.array_split(np.arange(128), len(FACTORS))
    for factor, band in zip(FACTORS, rows, strict=True):
        near = np.abs(early[band].astype(int) - COLOURS[factor]).max(axis=2) < 60
        assert near.sum() > 100, factor
    assert Strip(MotionClip(values[:1], 25.0, ARKIT), 256).at(0).shape == (64, 256, 3)


def test_a_transparent_video_keeps_what_is_transparent(tmp_path: Path):
    clear = np.zeros((64, 64, 4), np.uint8)
    clear[16:48, 16:48] = (200, 40, 40, 255)
    write_video(tmp_path / "a.webm", [clear] * 5, 25.0, np.zeros(3200, np.float32), 16_000)
    codec = av.codec.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(tmp_path / "a.webm")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        frame = codec.decode(packets[0])[0].to_ndarray(format="rgba")
    assert frame[4, 4, 3] < 10 and frame[32, 32, 3] > 245
    assert np.abs(frame[32, 32, :3].astype(int) - (200, 40, 40)).max() < 12


def test_a_comparison_shows_both_talks_frame_by_frame(talk: Talk, tmp_path: Path):
    turned = MotionClip(talk.motion.values.copy(), 25.0, ARKIT)
    turned.values[:, ARKIT.index("headYaw")] = 0.5
    other = Talk(talk.speech, talk.phones, talk.prosody, talk.timeline, 3, turned)
    with Renderer("open", RenderSettings(size=96, strip=True)) as renderer:
        short = Talk(talk.speech, talk.phones, talk.prosody, talk.timeline, 3, talk.motion.at(range(10)))
        with pytest.raises(InputError, match="same recording"):
            renderer.write_comparison([talk, short], tmp_path / "short.mp4")
        renderer.remember([talk.motion])
        renderer.write_comparison([talk, other], tmp_path / "both.mp4")
        drawn = list(renderer.frames(talk.motion, talk))
        alone = next(renderer.pictures(talk))
        renderer.remember([other.motion])
        assert np.array_equal(drawn, list(renderer.frames(talk.motion, talk)))
    frames = decoded(tmp_path / "both.mp4")
    assert len(frames) == len(talk.motion) and frames[0].shape == (96 + 24, 192, 3)
    assert np.abs(frames[0][:64, :96].astype(int) - alone[:64]).mean() < 4
    assert np.abs(frames[0][:, :96].astype(int) - frames[0][:, 96:]).mean() > 4


def test_the_command_makes_what_is_asked_of_the_picture(tmp_path: Path, capsys: Capture):
    arguments = ["talk", str(SAMPLE), "--instruction", "She is sad.", "--beside", "She is happy."]
    arguments += ["--generator", "performer", "--gaze", "off", "--strength", "blink=0.5", "--identity", "old=0.5"]
    arguments += ["--size", "96x128", "--strip", "-o", str(tmp_path / "a.mp4"), "--sheet", str(tmp_path / "a.png")]
    assert main([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["factors"] == ["gaze: off", "blink: 0.5 times"] and made["beside"][0]["text"] == "She is happy."
    assert made["speaker"]["name"] == "ben" and "pitch" in made["speaker"]["reason"]
    assert decoded(tmp_path / "a.mp4")[0].shape == (128 + 24, 192, 3)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width == 4 * 96 and sheet.height > 4 * 128  # two rows of both faces
