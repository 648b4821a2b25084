"""Anyone's motion scored: formats, masks, what does not go together, and the command that does it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avi_lib.cli import main
from avi_lib.errors import InputError
from avi_lib.evaluation import report as module
from avi_lib.evaluation.metrics import SpeechTrack
from avi_lib.evaluation.report import rescore
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, save_npz
from avi_lib.motion.formats import save_livelink
from avi_lib.speech.phones import SILENCE, Phone

SPOKEN = (
    Phone(SILENCE, 0.0, 0.4),
    Phone("AA", 0.4, 1.0),
    Phone("B", 1.0, 1.2),
    Phone("AE", 1.2, 1.8),
    Phone(SILENCE, 1.8, 2.4),
)


@pytest.fixture(autouse=True)
def known_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones and level are known, so that nothing is recognised; recordings are still read."""

    def known(wave: np.ndarray, phones: object = None) -> SpeechTrack:
        level = np.where((np.arange(60) >= 10) & (np.arange(60) < 45), -20.0, -60.0).astype(np.float32)
        return SpeechTrack(SPOKEN, level[: len(wave) * 25 // 16_000], len(wave) / 16_000)

    monkeypatch.setattr(module, "speech_track", known)


def wav(folder: Path, seconds: float = 2.4) -> Path:
    path = folder / f"speech{seconds}.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(path, noise.astype(np.float32), 16_000, subtype="PCM_16")
    return path


def talking(fps: float = 25.0, seconds: float = 2.4, height: float = 0.5) -> MotionClip:
    times_s = (np.arange(round(seconds * fps)) + 0.5) / fps
    values = np.zeros((len(times_s), len(ARKIT)), np.float32)
    open_now = ((times_s > 0.4) & (times_s < 1.0)) | ((times_s > 1.2) & (times_s < 1.8))
    values[:, ARKIT.index("jawOpen")] = height * open_now
    values[:, ARKIT.index("headYaw")] = 0.05 * np.sin(times_s)
    return MotionClip(values, fps, ARKIT)


def test_npz_and_live_link_csv_of_one_motion_score_alike_and_have_a_mean_with_an_interval(tmp_path: Path) -> None:
    save_npz(talking(), tmp_path / "a.npz")
    save_livelink(talking(60.0), tmp_path / "a.csv")
    found = rescore([tmp_path / "a.npz", tmp_path / "a.csv"], [wav(tmp_path)])
    first, second = (motion.scores for motion in found.motions)
    assert first["lip_closure_d"] > 1.5 and first["closed_share"] == 1.0
    assert second["lip_closure_d"] == pytest.approx(first["lip_closure_d"], abs=0.1)
    assert second["head_sd_deg"] == pytest.approx(first["head_sd_deg"], rel=0.05)
    mean = found.tables[0].estimates["jitter_mm", "motion"]
    assert mean.clips == 2 and mean.low <= mean.value <= mean.high


def test_a_reference_adds_errors_and_its_missing_channels_are_not_compared(tmp_path: Path) -> None:
    save_npz(talking(), tmp_path / "mine.npz")
    other, present = talking(height=0.3), np.ones(len(ARKIT), bool)
    present[[ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]] = False
    save_npz(replace(other, present=present), tmp_path / "true.npz")
    scored = rescore([tmp_path / "mine.npz"], [wav(tmp_path)], [tmp_path / "true.npz"]).motions[0]
    assert 0 < scored.scores["lve_mm"] < 10 and scored.scores["lip_gap_r"] == pytest.approx(1)
    rescored = rescore([tmp_path / "true.npz"], [wav(tmp_path)])
    masked, [stored] = rescored.motions[0], rescored.as_dict()["motions"]
    assert masked.missing_channels == ["eyeBlinkLeft", "eyeBlinkRight"] and np.isnan(masked.scores["blinks_per_min"])
    assert stored["scores"]["blinks_per_min"] is None and np.isnan(masked.scores["lve_mm"])


def test_lengths_that_differ_are_reported_and_a_short_overlap_is_refused(tmp_path: Path) -> None:
    save_npz(talking(seconds=2.4), tmp_path / "long.npz")
    short = rescore([tmp_path / "long.npz"], [wav(tmp_path, 1.6)]).motions[0]
    assert "the first 1.60 s are scored" in short.warnings[0]
    with pytest.raises(InputError, match="at least 1 s"):
        rescore([tmp_path / "long.npz"], [wav(tmp_path, 0.5)])


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    save_npz(talking(), tmp_path / "a.npz")
    save_npz(MotionClip(np.zeros((60, len(FLAME)), np.float32), 25.0, FLAME), tmp_path / "flame.npz")
    speech, one = wav(tmp_path), tmp_path / "a.npz"
    for motions, speeches, references, expected in (
        ([one, one, one], [speech, speech], [], "one recording for all motions"),
        ([one, one, one], [speech], [one, one], "one reference for all motions"),
        ([tmp_path / "flame.npz"], [speech], [], "ARKIT space"),
        ([], [speech], [], "at least one motion"),
        ([tmp_path / "a.txt"], [speech], [], "ending in"),
    ):
        with pytest.raises(InputError, match=expected):
            rescore(motions, speeches, references)
    with pytest.raises(InputError, match="one recording with a transcript"):
        rescore([one, one], [speech, speech], text="hello")


def test_the_command_prints_one_object_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_npz(talking(), tmp_path / "a.npz")
    command = ["evaluate", f"{tmp_path}/a.npz", "--speech", f"{wav(tmp_path)}", "--report", f"{tmp_path}/r.html"]
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert printed.err == "" and found["motions"][0]["scores"]["closed_share"] == 1.0
    assert found["tables"]["motion"]["measures"]["lip_closure_d"]["unit"] == "SD"
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")
    assert main(command) == 0
    assert "lip closure d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("motion", "speech", "page"),
    [
        ("none.npz", "speech2.4.wav", "r.html"),
        ("bad.csv", "speech2.4.wav", "r.html"),
        ("a.npz", "none.wav", "r.html"),
        ("a.npz", "speech2.4.wav", "r.pdf"),
        ("a.npz", "speech2.4.wav", "no/r.html"),
    ],
)
def test_bad_input_of_the_command_is_one_line_and_leaves_no_file(tmp_path, capsys, motion, speech, page) -> None:
    save_npz(talking(), tmp_path / "a.npz")
    (tmp_path / "bad.csv").write_bytes(b"\xff\x00,,,\n1,2")
    wav(tmp_path)
    paths = [str(tmp_path / name) for name in (motion, speech, page)]
    assert main(["evaluate", paths[0], "--speech", paths[1], "--report", paths[2]]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and printed.err.startswith("avi: expected")
    assert not (tmp_path / page).exists()
