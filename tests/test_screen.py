from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.face.video import (
    COLOURS,
    Strip,
    _wrapped,
    captioned,
    columns_of,
    font,
    save_picture,
    tiled,
    titled,
    write_video,
)
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, FACTORS, MotionClip
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.talker import Renderer, Talk, Talker

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "angry.flac"
GREY = np.full((128, 192, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def talk() -> Talk:
    with Talker(TalkSettings(generator="performer", seed=3)) as talker:
        return talker.listen(SAMPLE, Instruction.parse("She is furious."))


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_caption_is_white_letters_over_the_foot_alone():
    shown = captioned(GREY, "She is furious.")
    changed = np.flatnonzero((shown != GREY).any(axis=(1, 2)))
    assert shown.max() > 240 and changed.min() > 0.6 * len(GREY)
    assert np.array_equal(GREY, np.full_like(GREY, 90)), "the picture itself stays as it is"
    assert captioned(GREY, "  ") is GREY


def test_a_long_caption_ends_in_three_lines_and_names_no_line_break():
    shown = captioned(GREY, "A person feels quite angry and speaks with brow strongly down. " * 8)
    assert (shown != GREY).any(axis=(1, 2)).sum() < 0.6 * len(GREY)
    assert shown.shape == GREY.shape


WIDE = ("WWWW " * 40, "W" * 300, "MMMM MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM MMM", "iiii " * 300, "x" * 100_000)


@pytest.mark.parametrize("text", WIDE)
def test_a_caption_of_any_letters_stays_within_the_picture(text: str):
    shown = (captioned(GREY, text) != GREY).any(axis=(0, 2))
    assert not shown[:3].any() and not shown[-3:].any()
    assert shown.sum() > 0.7 * GREY.shape[1], "and its lines are filled"


@pytest.mark.parametrize("text", WIDE)
def test_a_title_of_any_letters_stays_within_the_picture(text: str):
    bar = titled(GREY, text)[: -len(GREY)]
    shown = (bar != bar[0, 0]).any(axis=(0, 2))
    assert shown.any() and not shown[:2].any() and not shown[-2:].any()


def test_lines_that_are_cut_say_so_and_others_lose_nothing():
    letters = font(12)
    lines = _wrapped("one two three four " * 20, letters, 150.0, 3)
    assert len(lines) == 3 and lines[-1].endswith(" …") and not any("…" in line for line in lines[:2])
    assert all(letters.getlength(line) <= 150.0 for line in lines)
    whole = _wrapped(f"a {'W' * 30} b", letters, 150.0, 9)
    assert "".join(whole).replace(" ", "") == f"a{'W' * 30}b"
    assert _wrapped("W" * 100, letters, 150.0, 2)[-1].endswith("W …")


def test_control_characters_are_left_out_of_a_caption():
    assert np.array_equal(captioned(GREY, "S\x00a\x07d\x1b.\n\tNow\x9f\ud800"), captioned(GREY, "Sad. Now"))
    assert captioned(GREY, "\x00 \x1b\n") is GREY


def test_a_caption_covers_what_is_transparent():
    clear = np.zeros((128, 192, 4), np.uint8)
    shown = captioned(clear, "Sad.")
    assert shown[..., 3].max() == 255 and shown[0, 0, 3] == 0


def test_a_title_stands_above_the_picture():
    shown = titled(GREY, "0.28 s")
    assert np.array_equal(shown[-len(GREY) :], GREY) and len(shown) > len(GREY) and len(shown) % 2 == 0


def test_pictures_are_tiled_in_rows_with_dark_gaps():
    sheet = tiled([GREY, GREY + 1, GREY + 2], columns=2)
    assert sheet.shape == (256, 384, 3)
    assert (sheet[:128, 192:] == 91).all() and (sheet[128:, 192:] < 40).all()
    assert [columns_of(n) for n in (1, 2, 3, 4, 5, 9, 30)] == [1, 2, 3, 2, 3, 3, 4]


def test_pictures_that_do_not_go_together_are_refused(tmp_path: Path):
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


def test_a_strip_of_one_frame_can_be_drawn():
    assert Strip(MotionClip(np.zeros((1, len(ARKIT)), np.float32), 25.0, ARKIT), 256).at(0).shape == (64, 256, 3)


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


def test_an_mp4_refuses_what_is_transparent_and_another_suffix_is_no_video(tmp_path: Path):
    clear = np.zeros((64, 64, 4), np.uint8)
    with pytest.raises(InputError, match="webm"):
        write_video(tmp_path / "a.mp4", [clear], 25.0, np.zeros(640, np.float32), 16_000)
    with pytest.raises(InputError, match="video ending in"):
        write_video(tmp_path / "a.gif", [GREY], 25.0, np.zeros(640, np.float32), 16_000)
    assert not list(tmp_path.iterdir())


def test_a_comparison_shows_both_talks_frame_by_frame(talk: Talk, tmp_path: Path):
    turned = MotionClip(talk.motion.values.copy(), 25.0, ARKIT)
    turned.values[:, ARKIT.index("headYaw")] = 0.5
    other = Talk(talk.speech, talk.phones, talk.prosody, talk.timeline, 3, turned)
    with Renderer("open", RenderSettings(size=96, strip=True)) as renderer:
        renderer.write_comparison([talk, other], tmp_path / "both.mp4")
        alone = next(renderer.pictures(talk))
    frames = decoded(tmp_path / "both.mp4")
    assert len(frames) == len(talk.motion) and frames[0].shape == (96 + 24, 192, 3)
    assert np.abs(frames[0][:64, :96].astype(int) - alone[:64]).mean() < 4
    assert np.abs(frames[0][:, :96].astype(int) - frames[0][:, 96:]).mean() > 4


def test_talks_of_different_lengths_cannot_stand_side_by_side(talk: Talk, tmp_path: Path):
    short = Talk(talk.speech, talk.phones, talk.prosody, talk.timeline, 3, talk.motion.at(range(10)))
    with Renderer("open", RenderSettings(size=64)) as renderer, pytest.raises(InputError, match="same recording"):
        renderer.write_comparison([talk, short], tmp_path / "both.mp4")
    assert not list(tmp_path.iterdir())


def test_a_wide_picture_from_the_side_before_a_colour(talk: Talk):
    settings = RenderSettings(size=96, width=160, backdrop="#102030", turn_deg=60, framing="face")
    with Renderer("open", settings) as renderer:
        picture = next(renderer.frames(talk.motion))
    assert picture.shape == (96, 160, 3) and picture[2, 2].tolist() == [16, 32, 48]


def test_an_identity_slider_moves_the_face_and_a_wrong_one_is_named():
    with (
        Renderer("open", RenderSettings(size=64), {"old": 1.0}) as older,
        Renderer("open", RenderSettings(size=64)) as plain,
    ):
        assert np.abs(older.head.vertices - plain.head.vertices).max() > 0.002
    with Renderer("open", RenderSettings(size=64), {"beard": 1.0}) as wrong, pytest.raises(InputError, match="slider"):
        _ = wrong.head


def test_the_command_makes_what_is_asked_of_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        "talk",
        str(SAMPLE),
        "--instruction",
        "She is sad.",
        "--beside",
        "She is happy.",
        "--generator",
        "performer",
    ]
    arguments += ["--gaze", "off", "--strength", "blink=0.5", "--identity", "old=0.5", "--size", "96x128", "--strip"]
    arguments += ["-o", str(tmp_path / "a.mp4"), "--sheet", str(tmp_path / "a.png"), "--json"]
    assert main(arguments) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["factors"] == ["gaze: off", "blink: 0.5 times"] and made["beside"][0]["text"] == "She is happy."
    assert decoded(tmp_path / "a.mp4")[0].shape == (128 + 24, 192, 3)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size[0] == 4 * 96


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gaze", "seed:x"], "seed:7"),
        (["--strength", "nose=1"], "factors among"),
        (["--strength", "gaze"], "NAME=NUMBER"),
        (["--strength", "gaze=9"], "strength"),
        (["--size", "12x"], "1920x1080"),
        (["--size", "4000"], "size"),
        (["--framing", "feet"], "framing"),
        (["--backdrop", "red"], "backdrop"),
        (["--backdrop", "transparent"], r"\.webm"),
        (["--identity", "beard=1"], "slider"),
        (["--identity", "old"], "NAME=NUMBER"),
        (["--sheet", "sheet.jpg"], r"\.png"),
        (["-o", "face.gif"], "ending in"),
        (["--size", 5000 * "9"], "1920x1080"),
        (["--gaze", "m.npz", "--motion", "m.npz", "--no-video"], "which is read"),
        (["--head", "h.glb", "--motion", "h.glb"], "which is read"),
        (["--motion", "z.usda", "--sheet", "z_atlas.png"], "twice"),
        (["--beside", "Sad.", "--no-video", "--motion", "b.npz"], "no video"),
        ([*["--beside", "Sad."] * 9], "up to 8"),
        (["--seed", str(2**63 - 1), "--samples", "2"], "2\\^63"),
    ],
)
def test_bad_arguments_of_the_picture_are_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    for name in ("m.npz", "h.glb"):
        (tmp_path / name).write_bytes(b"kept")
    assert main(["talk", str(SAMPLE), "--instruction", "Sad.", "--generator", "performer", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search(words, said)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.npz": b"kept", "h.glb": b"kept"}
