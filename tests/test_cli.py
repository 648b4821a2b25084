"""The command line: the main job, its bad inputs, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avi_lib.cli import main
from avi_lib.motion.clip import load_motion
from avi_lib.motion.livelink import load_livelink
from avi_lib.speech.audio import load_speech

ROOT = Path(__file__).resolve().parents[1]
ANGRY = "A person feels quite angry and speaks with brow strongly down."
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real recording."""
    source = ROOT / "data" / "samples" / "arctic.flac"
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    soundfile.write(path, load_speech(source).wave[:32000], 16000)
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_talk_writes_a_video_that_plays_as_long_as_the_recording(recording: Path, tmp_path: Path, capsys: Capture):
    video = tmp_path / "angry.mp4"
    assert main(["talk", str(recording), "--instruction", ANGRY, "-o", str(video), "--renderer", "numba"]) == 0
    printed = capsys.readouterr()
    assert "understood: angry at level 2; brow_down" in printed.out and "renderer: numba" in printed.out
    with av.open(str(video)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height, picture.average_rate) == (512, 512, 25)
        seconds = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
    assert abs(seconds[0] - seconds[1]) <= 0.04 and abs(seconds[0] - 2.0) <= 0.04


def test_json_is_one_object_and_the_motion_is_what_was_asked(recording: Path, tmp_path: Path, capsys: Capture):
    motion = tmp_path / "motion.npz"
    arguments = ["talk", str(recording), "--instruction", ANGRY, "--no-video", "--motion", str(motion), "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(recording) and told["video"] is None and told["frames"] == 50
    assert told["instruction"]["emotion"] == "angry" and told["instruction"]["action_units"]["brow_down"] == 0.9
    clip = load_motion(motion)
    assert clip.fps == 25.0 and clip["browDownLeft"].max() > 0.6


def test_the_same_command_twice_gives_the_same_bytes(recording: Path, tmp_path: Path):
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path, seed in zip(paths, ("5", "5", "6"), strict=True):
        assert main(["talk", str(recording), "--no-video", "--motion", str(path), "--seed", seed]) == 0
    first, again, other = (load_motion(path).values for path in paths)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_export_turns_npz_into_live_link_csv_and_back(recording: Path, tmp_path: Path):
    npz, csv, back = (tmp_path / name for name in ("a.npz", "a.csv", "b.npz"))
    assert main(["talk", str(recording), "--no-video", "--motion", str(npz)]) == 0
    assert main(["export", str(npz), str(csv)]) == 0 and main(["export", str(csv), str(back)]) == 0
    np.testing.assert_allclose(load_livelink(csv).values, load_motion(npz).values, atol=1e-6)
    np.testing.assert_allclose(load_motion(back).values, load_motion(npz).values, atol=1e-6)


def test_a_folder_of_recordings_goes_on_after_one_fails(recording: Path, tmp_path: Path, capsys: Capture):
    source, motions = tmp_path / "in", tmp_path / "motions"
    source.mkdir()
    (source / "b_broken.wav").write_bytes(b"RIFF....WAVEjunk")
    for name in ("a.wav", "c.wav"):
        (source / name).write_bytes(recording.read_bytes())
    assert main(["talk", str(source), "--no-video", "--motion", str(motions), "--json"]) == 1
    printed = capsys.readouterr()
    told = [json.loads(line) for line in printed.out.splitlines()]
    assert [Path(each["path"]).name for each in told] == ["a.wav", "b_broken.wav", "c.wav"]
    assert "error" in told[1] and "b_broken.wav" in printed.err and len(printed.err.splitlines()) == 1
    assert left(motions) == ["a.npz", "c.npz"]


Prepare = Callable[[Path], list[str]]


def _absent(folder: Path) -> list[str]:
    return ["talk", str(folder / "absent.wav"), "-o", str(folder / "a.mp4")]


def _noise(folder: Path) -> list[str]:
    (folder / "noise.wav").write_bytes(np.random.default_rng(0).bytes(4096))
    return ["talk", str(folder / "noise.wav"), "-o", str(folder / "a.mp4")]


def _empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["talk", str(folder / "empty"), "-o", str(folder / "videos")]


BAD: dict[str, tuple[Prepare, str]] = {
    "absent recording": (_absent, "absent.wav"),
    "bytes that are no sound": (_noise, "noise.wav"),
    "folder without recordings": (_empty_folder, "none in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_speech_ends_with_one_clear_line_and_nothing_written(case: str, tmp_path: Path, capsys: Capture):
    prepare, named = BAD[case]
    arguments = prepare(tmp_path)
    before = left(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and named in error and "expected" in error
    assert left(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-o", "missing/a.mp4"], "existing folder"),
        (["-o", "a.gif"], ".mp4"),
        (["-o", "hello.wav"], "recording"),
        (["--no-video"], "something to write"),
        (["--no-video", "--motion", "a.txt"], ".npz or .csv"),
        (["--instruction", "", "-o", "a.mp4"], "instruction"),
        (["--instruction", "x" * 500, "-o", "a.mp4"], "400"),
        (["--text", "", "-o", "a.mp4"], "text"),
        (["--size", "33", "-o", "a.mp4"], "size"),
        (["--seed", "-1", "-o", "a.mp4"], "seed"),
        (["--head", "nobody", "-o", "a.mp4"], "nobody"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_bad_arguments_end_with_exit_code_2_and_one_line(
    arguments: list[str], named: str, recording: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.wav").write_bytes(recording.read_bytes())
    assert main(["talk", "hello.wav", *arguments]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and named in error.lower().replace("nobody", "nobody")
    assert left(tmp_path) == ["hello.wav"]


@pytest.mark.parametrize("arguments", [["talk"], ["sing"], [], ["talk", "a.wav", "--generator", "magic"]])
def test_a_mistyped_command_ends_with_exit_code_2_and_one_line(arguments: list[str], capsys: Capture):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_an_unwritable_folder_is_exit_code_2_with_nothing_written(recording: Path, tmp_path: Path):
    """Run as another user, since root may write anywhere."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-m", "avi_lib", "talk", str(recording), "-o", str(locked / "a.mp4")]
    if os.geteuid() == 0:
        target = "/proc/a.mp4"
        command[-1] = target
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1
    assert left(locked) == []


def test_a_ten_minute_recording_is_performed_in_bounded_memory(recording: Path, tmp_path: Path):
    """Ten minutes at 44.1 kHz in stereo with four seconds of speech in every hundred; pictures come one at a time."""
    spoken = load_speech(recording).wave
    wave = np.zeros(600 * 44100, np.float32)
    for start in range(0, len(wave), 100 * 44100):
        stretched = np.interp(np.arange(0, len(spoken), 16000 / 44100), np.arange(len(spoken)), spoken)
        wave[start + 44100 : start + 44100 + len(stretched)] = stretched
    soundfile.write(tmp_path / "long.wav", np.stack([wave, 0.5 * wave], axis=1), 44100)
    code = (
        "import resource, sys; from avi_lib.cli import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "talk", str(tmp_path / "long.wav")]
    command += ["--no-video", "--motion", str(tmp_path / "long.npz")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert len(load_motion(tmp_path / "long.npz")) == 15000
    assert int(result.stdout.splitlines()[-1]) / 1024 < 1500
