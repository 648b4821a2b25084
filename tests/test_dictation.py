"""`avi instruct`, and `avi talk` without an instruction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.instruction.instruction import load_timeline
from avi_lib.speech.loading import RATE_HZ, load_speech

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
ANGRY = SAMPLES / "angry.flac"


def test_the_sentence_comes_first_and_then_what_was_heard(capsys):
    assert main(["instruct", str(ANGRY)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A person feels ")
    assert any(line.startswith("heard: ") for line in lines)
    assert any(line.startswith("instructor: ") for line in lines)


def test_json_is_one_object_with_the_probability_of_every_emotion(capsys):
    assert main(["instruct", str(ANGRY), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert {"text", "emotion", "emotion_probabilities", "level", "action_units", "seconds", "path"} <= told.keys()
    assert sum(told["emotion_probabilities"].values()) == pytest.approx(1, abs=0.01)
    assert told["speech_probability"] > 0.9 and told["seconds"] > 0


def test_a_timeline_can_be_given_back_to_talk(tmp_path, capsys):
    long = np.concatenate([load_speech(SAMPLES / f"{name}.flac").wave for name in ("angry", "sad", "librivox")])
    soundfile.write(tmp_path / "long.wav", long, RATE_HZ)
    assert main(["instruct", str(tmp_path / "long.wav"), "--timeline"]) == 0
    (tmp_path / "t.json").write_text(capsys.readouterr().out)
    timeline = load_timeline(tmp_path / "t.json")
    assert timeline.entries[0].at_s == 0
    assert main(["instruct", str(tmp_path / "long.wav"), "--timeline", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["instruction"] for entry in told["timeline"]] == [e.instruction.text for e in timeline.entries]
    assert all("emotion_probabilities" in entry["written"] for entry in told["timeline"])


def test_a_recording_that_fails_is_told_and_the_rest_go_on(tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVEjunk")
    (tmp_path / "b.flac").write_bytes(ANGRY.read_bytes())
    assert main(["instruct", str(tmp_path), "--json"]) == 1
    printed = capsys.readouterr()
    told = [json.loads(line) for line in printed.out.splitlines()]
    assert "error" in told[0] and told[1]["text"].startswith("A person feels")
    assert "a.wav" in printed.err
    assert main(["instruct", str(tmp_path / "a.wav")]) == 2
    assert main(["instruct", str(tmp_path / "absent.wav")]) == 2


def test_silence_has_a_neutral_sentence_and_a_warning(tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE_HZ, np.float32), RATE_HZ)
    assert main(["instruct", str(tmp_path / "silent.wav"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["emotion"] == "neutral" and told["warnings"]
    assert "mostly_silent" in [warning["name"] for warning in told["speech"]["warnings"]]
    with pytest.raises(InputError, match="somebody speaks"):
        load_speech(tmp_path / "silent.wav")


def test_a_wrong_weight_or_model_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    for arguments in (
        ["--instructor", str(tmp_path / "junk.safetensors")],
        ["--language-model", str(tmp_path / "absent")],
        ["--encoder", str(tmp_path / "absent")],
        ["--temperature", "-1"],
    ):
        assert main(["instruct", str(ANGRY), *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_talk_writes_what_nobody_asked_for_prints_it_and_carries_it_out(tmp_path, capsys):
    motion = tmp_path / "m.npz"
    arguments = ["talk", str(ANGRY), "--no-video", "--motion", str(motion), "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"]["text"] == told["instruction"]["text"]
    assert told["written"]["emotion_probabilities"]
    first = motion.read_bytes()
    assert main([*arguments, "--instruction", told["instruction"]["text"]]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["written"] is None
    assert motion.read_bytes() == first, "the sentence alone decides"
    assert main(["talk", str(ANGRY), "--no-video", "--motion", str(motion)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("instruction: A person feels") for line in lines)
    assert any(line.startswith("instructor: shipped weights") for line in lines)
    assert main(["talk", str(ANGRY), "--no-video", "--motion", str(motion), "--instructor", "magic"]) == 2
