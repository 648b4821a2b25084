"""The command line: the main job, its bad inputs, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avi_lib import cli
from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.instruction import instructor
from avi_lib.instruction.instruction import load_timeline
from avi_lib.motion import generator, prior
from avi_lib.motion.clip import ARKIT, MotionClip, load_npz
from avi_lib.motion.formats import load_livelink
from avi_lib.settings import RenderSettings, TalkSettings
from avi_lib.speech.loading import load_voice
from avi_lib.talker import Talker

ROOT = Path(__file__).resolve().parents[1]
ANGRY = "A person feels quite angry and speaks with brow strongly down."
SAMPLES = ROOT / "data" / "samples"
SPOKEN = SAMPLES / "angry.flac"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real recording."""
    source = ROOT / "data" / "samples" / "arctic.flac"
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    soundfile.write(path, load_voice(source).wave[:32000], 16000)
    return path


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Shipped weights are loaded once for all commands of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((instructor, "load_instructor"), (generator, "load_generator")):
            patch.setattr(module, name, cache(getattr(module, name)))
        patch.setattr(prior, "load_prior_sampler", cache(prior.load_prior_sampler))
        yield


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_talk_writes_a_video_that_plays_as_long_as_the_recording(recording: Path, tmp_path: Path, capsys: Capture):
    video = tmp_path / "angry.mp4"
    assert main(["talk", str(recording), "--instruction", ANGRY, "-o", str(video)]) == 0
    assert "understood: angry at level 2; brow_down" in capsys.readouterr().out
    with av.open(str(video)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height, picture.average_rate) == (512, 512, 25)
        seconds = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
    assert abs(seconds[0] - seconds[1]) <= 0.04 and abs(seconds[0] - 2.0) <= 0.04


def test_json_is_one_object_and_the_motion_what_was_asked_also_as_csv_and_back(recording, tmp_path, capsys):
    npz, csv, back = (tmp_path / name for name in ("a.npz", "a.csv", "b.npz"))
    assert main(["talk", str(recording), "--instruction", ANGRY, "--no-video", "--motion", str(npz), "--json"]) == 0
    made, clip = json.loads(capsys.readouterr().out), load_npz(npz)
    assert made["path"] == str(recording) and made["video"] is None and made["frames"] == 50
    assert made["instruction"]["emotion"] == "angry" and made["instruction"]["action_units"]["brow_down"] == 0.9
    assert clip.fps == 25.0 and clip["browDownLeft"].max() > 0.6
    assert main(["export", str(npz), str(csv)]) == 0 and main(["export", str(csv), str(back)]) == 0
    for written in (load_livelink(csv), load_npz(back)):
        np.testing.assert_allclose(written.values, clip.values, atol=1e-6)


def test_the_same_command_twice_gives_the_same_bytes(recording: Path, tmp_path: Path):
    motions = [tmp_path / f"{i}.npz" for i in range(3)]
    videos = [path.with_suffix(".mp4") for path in motions]
    for motion, video, seed in zip(motions, videos, ("5", "5", "6"), strict=True):
        arguments = ["talk", str(recording), "--instruction", ANGRY, "--seed", seed, "--size", "64"]
        assert main([*arguments, "-o", str(video), "--motion", str(motion)]) == 0
    for first, again, other in (motions, videos):
        assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_a_folder_of_recordings_goes_on_after_one_fails(recording: Path, tmp_path: Path, capsys: Capture):
    source = tmp_path / "in"
    source.mkdir()
    (source / "b_broken.wav").write_bytes(b"RIFF....WAVEjunk")
    (source / "sub").mkdir()
    for name in ("a.wav", "c.m4v", "sub/a.au"):
        (source / name).write_bytes(recording.read_bytes())
    (source / "notes.txt").write_text("Monday")
    motions = source / "motions"
    assert main(["talk", str(source), "--instruction", ANGRY, "--no-video", "--motion", str(motions), "--json"]) == 1
    printed = capsys.readouterr()
    made = [json.loads(line) for line in printed.out.splitlines()]
    assert [Path(each["path"]).name for each in made] == ["a.wav", "b_broken.wav", "c.m4v", "a.au"]
    over, failed = printed.err.splitlines()
    assert "error" in made[1] and "b_broken.wav" in failed and "passed over notes.txt" in over
    assert left(motions) == ["a.npz", "c.npz", "sub"] and left(motions / "sub") == ["a.npz"]
    driven = ["--drive", str(motions / "a.npz"), "--blink", "off"]
    assert (
        main(["talk", str(source), "--instruction", ANGRY, "--no-video", "--motion", str(tmp_path / "b"), *driven]) == 1
    )
    ended = capsys.readouterr().err.splitlines()[-1]
    assert "3 of 4 recordings done" in ended and ended.endswith(f"failed: {source / 'b_broken.wav'}")
    again, first = load_npz(tmp_path / "b" / "c.npz"), load_npz(motions / "a.npz")
    blinks = [again.space.channels.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    others = np.delete(np.arange(len(again.space.channels)), blinks)
    assert np.array_equal(again.values[:, others], first.values[:, others]) and not again.values[:, blinks].any()


@pytest.mark.parametrize(
    ("named", "content", "words"),
    [
        *[("absent.wav", None, "absent.wav"), ("noise.wav", b"\x07\xf3" * 2048, "noise.wav"), ("empty", "", "none in")],
        ("a" * 300, None, "expected"),
    ],
)
def test_bad_speech_ends_with_one_clear_line_and_nothing_written(named, content, words, tmp_path, capsys):
    if isinstance(content, bytes):
        (tmp_path / named).write_bytes(content)
    elif content is not None:
        (tmp_path / named).mkdir()
    before = left(tmp_path)
    assert main(["talk", str(tmp_path / named), "-o", str(tmp_path / "a.mp4")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and words in error and "expected" in error
    assert left(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-o", "missing/a.mp4"], "existing folder"),
        (["-o", "a.gif"], ".mp4"),
        (["-o", "hello.wav"], ".mp4"),
        (["-o", "folder.mp4"], "folder"),
        (["-o", "a.mp4", "--motion", "missing/a.npz"], "existing folder"),
        (["--no-video", "--motion", "a.npz", "--head", "nobody"], "nobody"),
        (["--no-video"], "something to write"),
        (["--no-video", "--motion", "a.txt"], ".npz, .csv"),
        (["--instruction", "", "-o", "a.mp4"], "instruction"),
        (["--instruction", "x" * 500, "-o", "a.mp4"], "400"),
        (["--text", "", "-o", "a.mp4"], "text"),
        (["--size", "33", "-o", "a.mp4"], "size"),
        (["--seed", "-1", "-o", "a.mp4"], "seed"),
        (["--timeline", "nowhere.json"], "nowhere.json"),
        (["--timeline", "nowhere.json", "--instruction", "She is sad."], "an instruction or a timeline"),
        (["--samples", "0"], "1 to 1000 samples"),
        (["--guidance", "-1"], "guidance"),
        (["--steps", "1"], "steps"),
        (["--prior", "nowhere"], "prior: learned, performer"),
        (["--generator", "magic", "-o", "a.mp4"], "learned, performer, or a file of weights; got magic"),
        (["--generator", "performer", "--text-encoder", "minilm"], "--text-encoder"),
        (["--generator", "performer", "--guidance", "2"], "options of the prior"),
        (["--prior", "performer", "--steps", "10"], "options of the prior"),
        (["--text-encoder", "nowhere"], "a folder with a text encoder"),
        (["--gaze", "seed:x"], "seed:7"),
        (["--strength", "nose=1"], "factor=x, of lips"),
        (["--strength", "gaze"], "valid strength"),
        (["--strength", "gaze=9"], "strength"),
        (["--size", "12x"], "1920x1080"),
        (["--size", 5000 * "9"], "1920x1080"),
        (["--size", "4000"], "size"),
        (["--framing", "feet"], "framing"),
        (["--backdrop", "red"], "backdrop"),
        (["--backdrop", "transparent"], ".webm"),
        (["--identity", "beard=1"], "slider"),
        (["--identity", "old"], "valid identity.old"),
        (["--sheet", "sheet.jpg"], ".png"),
        (["--gaze", "m.npz", "--motion", "m.npz", "--no-video"], "which is read"),
        (["--head", "h.glb", "--motion", "h.glb"], "which is read"),
        (["--motion", "z.usda", "--sheet", "z_atlas.png"], "twice"),
        (["--beside", "Sad.", "--no-video", "--motion", "b.npz"], "no video"),
        ([*["--beside", "Sad."] * 9], "up to 8"),
        (["--seed", str(2**63 - 1), "--samples", "2"], "2^63"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_bad_arguments_end_with_exit_code_2_and_one_line(arguments, named, recording, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.wav").write_bytes(recording.read_bytes())
    (tmp_path / "folder.mp4").mkdir()
    for name in ("m.npz", "h.glb"):
        (tmp_path / name).write_bytes(b"kept")
    asked = [] if {"--instruction", "--timeline"} & {*arguments} else ["--instruction", ANGRY]
    assert main(["talk", "hello.wav", *asked, *arguments]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and named.lower() in error.lower()
    assert left(tmp_path) == ["folder.mp4", "h.glb", "hello.wav", "m.npz"] and left(tmp_path / "folder.mp4") == []
    assert (tmp_path / "m.npz").read_bytes() == (tmp_path / "h.glb").read_bytes() == b"kept"


@pytest.mark.parametrize("arguments", [["talk"], ["sing"], [], ["talk", "a.wav", "--sing"]])
def test_a_mistyped_command_ends_with_exit_code_2_and_one_line(arguments: list[str], capsys: Capture):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_an_unwritable_folder_is_exit_code_2_with_nothing_written(recording: Path, tmp_path: Path, capsys: Capture):
    locked = Path("/proc/self") if os.geteuid() == 0 else tmp_path  # root may write wherever permissions forbid it
    tmp_path.chmod(0o555)
    assert main(["talk", str(recording), "-o", str(locked / "a.mp4")]) == 2
    assert main(["talk", str(recording), "--no-video", "--motion", str(locked / "a.npz")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert left(tmp_path) == []


@pytest.mark.processes
def test_a_video_that_cannot_be_finished_leaves_nothing(recording: Path, tmp_path: Path):
    """The file size limit stands for a full disk."""
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); import signal;"
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from avi_lib.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-B", "-c", code, "talk", str(recording), "--instruction", ANGRY]
    command += ["--generator", "performer", "-o", str(tmp_path / "a.mp4")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1
    assert left(tmp_path) == []


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_leaves_nothing_behind(number: signal.Signals, recording: Path, tmp_path: Path):
    command = [sys.executable, "-m", "avi_lib", "talk", str(recording), "--instruction", ANGRY, "--size", "1024"]
    command += ["--generator", "performer", "-o", str(tmp_path / "a.mp4")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT) as process:
        until = time.monotonic() + 60
        while process.poll() is None and not left(tmp_path) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.decode().splitlines() == ["avi: stopped"]
    assert left(tmp_path) == []


@pytest.mark.processes
@pytest.mark.parametrize("module", ["pydantic", "torch", "av"])
def test_a_command_stopped_while_modules_are_imported_says_so_in_one_line(module: str, tmp_path: Path):
    code = f"""if True:
        import builtins, os, sys
        real = builtins.__import__
        def stopping(name, *rest, **more):
            if name.partition(".")[0] == {module!r}:
                builtins.__import__ = real
                os.killpg(0, 2)
            return real(name, *rest, **more)
        builtins.__import__ = stopping
        from avi_lib.__main__ import main
        sys.exit(main())"""
    command = [sys.executable, "-c", code, "talk", str(SPOKEN), "-o", str(tmp_path / "a.mp4"), "--instruction", "Sad."]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, start_new_session=True)
    assert (result.returncode, result.stderr, left(tmp_path)) == (130, "avi: stopped\n", [])


def test_a_reader_that_leaves_early_is_no_error():
    run = f"{sys.executable} -m avi_lib models"
    command = f"{run} --json | head -c 1 >/dev/null; {run} | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert result.stderr == ""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("reader", "code", "words"),
    [("| cat", 0, ""), ("| head -c 9", 0, ""), (">/dev/full", 2, "avi: No space left on device: standard output\n")],
)
def test_a_batch_goes_on_whatever_becomes_of_its_report(reader, code, words, recording, tmp_path):
    for name in ("a_голос\udcff.wav", "b.wav"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(recording.read_bytes())
    talk = f"{sys.executable} -m avi_lib talk {tmp_path}/in --motion {tmp_path}/out --instruction 'Sad 😀.'"
    command = ["bash", "-o", "pipefail", "-c", f"{talk} --json --no-video --generator performer {reader}"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (result.returncode, result.stderr) == (code, words)
    assert left(tmp_path / "out") == ["a_голос\udcff.npz", "b.npz"]
    if reader == "| cat":
        made = [json.loads(line) for line in result.stdout.splitlines()]
        assert [Path(each["path"]).name for each in made] == ["a_голос\udcff.wav", "b.wav"]


def test_progress_is_told_in_lines_where_there_is_no_terminal(recording, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "EVERY_S", 0.05)
    arguments = ["talk", str(recording), "--instruction", ANGRY, "--size", "256", "--progress", "--json"]
    assert main([*arguments, "-o", str(tmp_path / "a.mp4")]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert all(re.fullmatch(r"avi: \d+ s: (at work|rendering: .*/50 .*)", line) for line in lines), lines
    assert any("rendering: " in line for line in lines)
    assert json.loads(printed.out)["frames"] == 50


def test_heads_lists_people_and_sliders_with_their_bounds(capsys: Capture):
    assert main(["heads", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {("woman", "old"), ("man", "old"), ("woman", "young")} <= {(p["sex"], p["age"]) for p in found["people"]}
    assert len(found["people"]) >= 7 and found["sliders"]["old"] == [-0.3, 1.0]
    assert main(["heads"]) == 0
    assert re.search(r"^anna +woman +young .*^african +0 +1$", capsys.readouterr().out, re.DOTALL | re.MULTILINE)


def test_models_and_doctor_print_json(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "_tracking", lambda: "not looked at")
    assert main(["models", "--json"]) == 0
    assert {"noto-sans-cjk", "smollm2"} <= {row["name"] for row in json.loads(capsys.readouterr().out)["models"]}
    monkeypatch.setenv("AVI_CACHE", str(tmp_path))
    main(["doctor", "--json"])
    assert {"python", "device"} <= {check["name"] for check in json.loads(capsys.readouterr().out)["checks"]}


def test_a_folder_can_be_worked_on_twice_and_its_own_videos_are_left_alone(recording, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "a.flac", ".hidden.wav"):
        (tmp_path / name).write_bytes(recording.read_bytes())
    (tmp_path / "sub.wav").mkdir()
    for _ in range(2):
        arguments = ["--instruction", ANGRY, "--size", "64", "--json", "--generator", "performer"]
        assert main(["talk", ".", "a.wav", *arguments]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
    videos = [name for name in left(tmp_path) if name.endswith(".mp4")]
    assert videos == ["a.flac.talk.mp4", "a.wav.talk.mp4"]


def test_refused_arguments_make_no_folders(recording: Path, tmp_path: Path):
    other = tmp_path / "b.wav"
    other.write_bytes(recording.read_bytes())
    for arguments in (["-o", "new", "--head", "nobody"], ["-o", "new.mp4"], ["--motion", "m.npz"], ["--text", "hello"]):
        outputs = [str(tmp_path / each) if each in ("new", "new.mp4", "m.npz") else each for each in arguments]
        assert main(["talk", str(recording), str(other), *outputs]) == 2
    assert left(tmp_path) == ["b.wav"]


def test_a_recording_is_never_written_over_and_no_folder_is_made_for_it(recording: Path, tmp_path: Path):
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_bytes(recording.read_bytes())
    before = (films / "a.mp4").read_bytes()
    assert main(["talk", str(films), "-o", str(films), "--motion", str(tmp_path / "motions")]) == 2
    assert main(["talk", str(films / "a.mp4"), "-o", str(films / "a.mp4")]) == 2
    assert (films / "a.mp4").read_bytes() == before and left(tmp_path) == ["films"]


@pytest.mark.processes
def test_a_five_minute_recording_is_performed_in_bounded_memory(recording: Path, tmp_path: Path):
    """Five minutes at 44.1 kHz in stereo with two seconds of speech in every hundred."""
    spoken = load_voice(recording).wave
    wave = np.zeros(300 * 44100, np.float32)
    for start in range(0, len(wave), 100 * 44100):
        stretched = np.interp(np.arange(0, len(spoken), 16000 / 44100), np.arange(len(spoken)), spoken)
        wave[start + 44100 : start + 44100 + len(stretched)] = stretched
    soundfile.write(tmp_path / "long.wav", np.stack([wave, 0.5 * wave], axis=1), 44100)
    code = (
        "import sys; from avi_lib.cli import main; code = main(sys.argv[1:]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))); sys.exit(code)"
    )

    def peak_mb(spoken: Path) -> float:
        command = [sys.executable, "-c", code, "talk", str(spoken), "--no-video", "--motion", str(tmp_path / "m.npz")]
        result = subprocess.run([*command, "--instruction", ANGRY], capture_output=True, text=True, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        return int(result.stdout.splitlines()[-1]) / 1024

    short = peak_mb(recording)
    long = peak_mb(tmp_path / "long.wav")
    assert len(load_npz(tmp_path / "m.npz")) == 7500
    assert long < short + 160, f"{short:.0f} MB for two seconds"


def test_pictures_of_a_ten_minute_motion_come_one_at_a_time():
    motion = MotionClip(np.zeros((15000, 55), np.float32), 25.0, ARKIT)
    with Talker(TalkSettings(render=RenderSettings(size=64))) as talker:
        next(talker.frames(motion.at([0])))
        tracemalloc.start()
        pictures = talker.frames(motion)
        for _ in range(120):
            next(pictures)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()  # while other threads ask for memory, it would end the process
    assert peak < 100e6


def test_samples_are_numbered_and_each_is_what_its_seed_makes_alone(recording: Path, tmp_path: Path, capsys: Capture):
    asked = ["talk", str(recording), "--instruction", ANGRY, "--no-video", "--json", "--steps", "5"]
    assert main([*asked, "--samples", "3", "--guidance", "2", "--seed", "7", "--motion", str(tmp_path / "a.npz")]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["sample"], each["seed"]) for each in made] == [(1, 7), (2, 8), (3, 9)]
    assert left(tmp_path) == ["a.1.npz", "a.2.npz", "a.3.npz"]
    assert main([*asked, "--guidance", "2", "--seed", "9", "--motion", str(tmp_path / "alone.npz")]) == 0
    clips = [load_npz(tmp_path / name).values for name in ("a.1.npz", "a.3.npz", "alone.npz")]
    np.testing.assert_allclose(clips[1], clips[2], atol=1e-4)
    assert np.abs(clips[0] - clips[1]).max() > 0.01
    for more, times in (([], 1), (["-v"], 2)):
        said = [each for each in asked if each != "--json"] + ["--samples", "2", "--motion", str(tmp_path / "b.npz")]
        assert main([*said, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("generator: ") for line in lines) == times
        assert sum(line.startswith("seed: ") for line in lines) == 2


def test_a_timeline_is_carried_out_by_network_and_rules(recording: Path, tmp_path: Path, capsys: Capture):
    timeline = tmp_path / "timeline.json"
    timeline.write_text(
        '[{"at_s": 0, "instruction": "She is calm."}, {"at_s": 1, "instruction": "She is furious.", "fade_s": 0.3},'
        '{"at_s": 99, "instruction": "Sad, then glad."}]'
    )
    for kind in ("learned", "performer"):
        motion = tmp_path / f"{kind}.npz"
        arguments = ["--timeline", str(timeline), "--no-video", "--motion", str(motion), "--generator", kind]
        assert main(["talk", str(recording), *arguments]) == 0
        printed = capsys.readouterr().out
        assert "instruction from 1 s: She is furious." in printed
        assert "note: the recording ends at 2.00 s, before the instruction at 99 s" in printed
        assert "note: what the instruction at 99 s asks for in order is mixed" in printed
        brows = load_npz(motion)["browDownLeft"]
        assert brows[35:45].mean() > brows[:15].mean() + 0.3, kind


def test_an_instruction_has_its_sentence_first_and_as_json_the_probability_of_every_emotion(capsys: Capture):
    assert main(["instruct", str(SPOKEN)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A person feels ")
    assert any(line.startswith("emotion of the speech: ") for line in lines)
    assert any(line.startswith("instructor: ") for line in lines)
    assert main(["instruct", str(SPOKEN), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    made = json.loads(line)
    assert {"text", "emotion", "emotion_probabilities", "level", "action_units", "seconds", "path"} <= made.keys()
    assert sum(made["emotion_probabilities"].values()) == pytest.approx(1, abs=0.01)
    assert made["speech_probability"] > 0.9 and made["seconds"] > 0


def test_a_timeline_can_be_given_back_to_talk(tmp_path: Path, capsys: Capture):
    long = np.concatenate([load_voice(SAMPLES / f"{name}.flac").wave for name in ("angry", "sad")])
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    assert main(["instruct", str(tmp_path / "long.wav"), "--timeline"]) == 0
    (tmp_path / "t.json").write_text(capsys.readouterr().out)
    timeline = load_timeline(tmp_path / "t.json")
    assert timeline.entries[0].at_s == 0
    assert main(["instruct", str(tmp_path / "long.wav"), "--timeline", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [entry["instruction"] for entry in made["timeline"]] == [e.instruction.text for e in timeline.entries]
    assert all("emotion_probabilities" in entry["written"] for entry in made["timeline"])
    assert main(["instruct", str(tmp_path / "long.wav"), "--timeline", "--json", "--neutral", "own"]) == 0
    beside = json.loads(capsys.readouterr().out)["timeline"][0]["written"]["emotion_probabilities"]
    assert beside != made["timeline"][0]["written"]["emotion_probabilities"]


def test_a_recording_that_fails_is_reported_and_the_rest_go_on(tmp_path: Path, capsys: Capture):
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVEjunk")
    (tmp_path / "b.flac").write_bytes(SPOKEN.read_bytes())
    assert main(["instruct", str(tmp_path), "--json"]) == 1
    printed = capsys.readouterr()
    made = [json.loads(line) for line in printed.out.splitlines()]
    assert "error" in made[0] and made[1]["text"].startswith("A person feels")
    assert "a.wav" in printed.err
    assert main(["instruct", str(tmp_path / "a.wav")]) == 2
    assert main(["instruct", str(tmp_path / "absent.wav")]) == 2


def test_silence_has_a_neutral_sentence_and_a_warning(tmp_path: Path, capsys: Capture):
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * 16_000, np.float32), 16_000)
    assert main(["instruct", str(tmp_path / "silent.wav"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["emotion"] == "neutral" and made["warnings"]
    assert "mostly_silent" in [warning["name"] for warning in made["speech"]["warnings"]]
    with pytest.raises(InputError, match="somebody speaks"):
        load_voice(tmp_path / "silent.wav")


def test_a_wrong_weight_or_model_is_refused_in_one_line(tmp_path: Path, capsys: Capture):
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    for arguments in (
        ["--instructor", str(tmp_path / "junk.safetensors")],
        ["--language-model", str(tmp_path / "absent")],
        ["--encoder", str(tmp_path / "absent")],
        ["--temperature", "-1"],
        ["--neutral", "own"],
        ["--text", "Oh no!", "--timeline"],
    ):
        assert main(["instruct", str(SPOKEN), *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_talk_writes_what_nobody_asked_for_prints_it_and_carries_it_out(tmp_path: Path, capsys: Capture):
    motion = tmp_path / "m.npz"
    arguments = ["talk", str(SPOKEN), "--no-video", "--motion", str(motion), "--json"]
    assert main(arguments) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["written"]["text"] == made["instruction"]["text"]
    assert made["written"]["emotion_probabilities"]
    first = motion.read_bytes()
    assert main([*arguments, "--instruction", made["instruction"]["text"]]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["written"] is None
    assert motion.read_bytes() == first, "the sentence alone decides"
    assert main(["talk", str(SPOKEN), "--no-video", "--motion", str(motion)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("instruction: A person feels") for line in lines)
    assert any(line.startswith("instructor: shipped weights") for line in lines)
    assert main(["talk", str(SPOKEN), "--no-video", "--motion", str(motion), "--instructor", "magic"]) == 2
