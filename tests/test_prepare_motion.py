"""Preparing recordings that bring motion of their own: takes, rigs, FLAME coefficients, tracked videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from raw_corpora import RATE_HZ, voice, write_table_corpus

from avi_lib.corpus import segments
from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.prepare import prepare
from avi_lib.face import tracking
from avi_lib.face import tracking as landmarker
from avi_lib.face.tracking import TrackReport
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT, Curves, MotionClip, Piece
from avi_lib.motion.formats import save_livelink
from avi_lib.settings import PrepareSettings

pytestmark = pytest.mark.usefixtures("in_one_process")


def take(seconds: float, fps: float = 60.0, **held: float) -> MotionClip:
    """A take that talks (the jaw swings), whose brows stir a little and hold some weights."""
    times_s = (np.arange(round(seconds * fps)) + 0.5) / fps
    values = np.zeros((len(times_s), len(ARKIT)), np.float32)
    values[:, ARKIT.index("jawOpen")] = 0.15 * (1 - np.cos(2 * np.pi * 3 * times_s))
    values[:, ARKIT.index("headYaw")] = 0.05 * np.sin(times_s)
    for channel in ("browDownLeft", "browDownRight", "browInnerUp"):
        values[:, ARKIT.index(channel)] = held.get(channel, 0.02) + 0.02 * np.sin(2 * np.pi * 1.3 * times_s)
    return MotionClip(values, fps, ARKIT)


def write_takes(folder: Path, sound_s: float = 3.0, motion_s: float = 3.0) -> Path:
    """Two takes of one actor: one plain, one with brows down, with sound beside."""
    for name, held in (("plain", {}), ("cross", {"browDownLeft": 0.8, "browDownRight": 0.8})):
        (folder / "anna").mkdir(parents=True, exist_ok=True)
        save_livelink(take(motion_s, **held), folder / "anna" / f"{name}.csv")
        soundfile.write(folder / "anna" / f"{name}.wav", voice(sound_s), RATE_HZ, subtype="PCM_16")
    return folder


def test_a_recorded_take_keeps_its_motion_at_25_fps_and_its_text_says_what_was_measured(tmp_path):
    source = write_takes(tmp_path / "raw", sound_s=3.1)  # a little longer leaves the recording whole
    health = prepare("livelink", source, tmp_path / "out", workers=1)
    assert health.motion == {"recorded": 2}
    corpus = Corpus(tmp_path / "out")
    cross, plain = corpus.clip("anna/cross"), corpus.clip("anna/plain")
    jaw = corpus.motion(plain)[:, ARKIT.index("jawOpen")].astype(float)
    expected = 0.15 * (1 - np.cos(2 * np.pi * 3 * (np.arange(plain.frames) + 0.5) / 25))
    assert np.corrcoef(jaw, expected)[0, 1] > 0.99
    assert corpus.motion(cross)[:, ARKIT.index("browDownLeft")].astype(float) == pytest.approx(0.8, abs=0.03)
    script = corpus.scripts[cross.scripts[0]]
    assert script.kind == "measured"
    assert script.action_units["brow_down"] == pytest.approx(0.8, abs=0.15)
    assert "brow_down" not in corpus.scripts[plain.scripts[0]].action_units
    assert all(Instruction.parse(text).action_units.keys() == script.action_units.keys() for text in script.texts)
    assert not corpus.idle(cross).any()


def test_takes_without_sound_are_kept_as_motion_alone(tmp_path):
    source = write_takes(tmp_path / "raw")
    for path in source.rglob("*.wav"):
        path.unlink()
    assert prepare("livelink", source, tmp_path / "out", workers=1).phones == {"none": 2}
    corpus = Corpus(tmp_path / "out")
    clip = corpus.clip("anna/plain")
    assert (clip.features, clip.phones, clip.speech, clip.frames) == (0, 0, None, 75)
    assert corpus.phones(clip) == ()
    assert corpus.batch([clip], [0]).feature_frames.tolist() == [0]


def test_nobodys_takes_are_each_measured_against_themselves(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, weight in (("a", 0.15), ("b", 0.75)):
        save_livelink(take(3.0, browInnerUp=weight), folder / f"{name}.csv")
    prepare("livelink", folder, tmp_path / "out", workers=1)
    corpus = Corpus(tmp_path / "out")
    assert {clip.speaker for clip in corpus.clips} == {"unknown"}
    assert "inner_brow_raise" not in corpus.scripts["a/0"].action_units


def test_flame_coefficients_make_a_corpus_of_their_own_space(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    frames = 60
    np.savez(
        folder / "one.npz", expression=np.full((frames, 50), 0.5, np.float32), jaw=np.zeros((frames, 3), np.float32)
    )
    soundfile.write(folder / "one.wav", voice(2.4), RATE_HZ, subtype="PCM_16")
    prepare("flame", folder, tmp_path / "out", workers=1)
    corpus = Corpus(tmp_path / "out")
    clip = corpus.clips[0]
    assert corpus.space.name == "FLAME"
    assert corpus.motion(clip).shape == (60, 56)
    assert corpus.motion(clip)[:, :50] == pytest.approx(0.5)
    assert corpus.present(clip)[:53].all()
    assert not corpus.present(clip)[53:].any()


def test_recordings_of_another_space_are_refused_not_mixed(tmp_path):
    source = write_table_corpus(tmp_path / "raw", [{"clip": "sound"}, {"clip": "flame"}])
    channels = [f"expression{i}" for i in range(50)] + [f"{part}{axis}" for part in ("jaw", "global") for axis in "XYZ"]
    np.savez(
        source / "flame.npz", values=np.zeros((30, 56), np.float32), fps=np.float64(25), channels=np.array(channels)
    )
    health = prepare("table", source, tmp_path / "out", workers=1)
    assert [refusal.name for refusal in health.refused] == ["sound"]
    assert "FLAME" in health.refused[0].reason
    assert Corpus(tmp_path / "out").space.name == "FLAME"


def test_a_caption_is_the_first_text_and_one_that_is_not_understood_is_not_performed(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    captions = {"a.wav": "She is furious, brows strongly down.", "b.wav": "He thinks of the sea."}
    for number, name in enumerate(captions):
        soundfile.write(folder / name, voice(1.5, 100 + 20 * number), RATE_HZ, subtype="PCM_16")
    (folder / "captions.json").write_text(json.dumps(captions), "utf-8")
    prepare("captioned", folder, tmp_path / "out", workers=1)
    corpus = Corpus(tmp_path / "out")
    said = {clip.clip: corpus.scripts[clip.scripts[0]] for clip in corpus.clips}
    assert said["a"].kind == "caption"
    assert said["a"].texts[0] == "She is furious, brows strongly down."
    assert len(said["a"].texts) == PrepareSettings().texts
    assert said["b"].kind == "label"
    assert "He thinks of the sea." not in said["b"].texts


def test_a_video_is_tracked_once_and_what_was_noted_reaches_the_health_report(tmp_path, monkeypatch):
    (tmp_path / "raw" / "anna").mkdir(parents=True)
    video, sound = tmp_path / "raw" / "anna" / "talk.mp4", tmp_path / "raw" / "anna" / "talk.wav"
    video.write_bytes(b"a video that only the stand-in reads")
    soundfile.write(sound, voice(4.0), RATE_HZ, subtype="PCM_16")
    tracked = []

    def track_video(path: Path, *, sound: Path | None) -> tracking.Track:
        tracked.append((path.name, sound.name if sound else None))
        present = np.array([channel not in landmarker.UNMOVED for channel in ARKIT.channels])
        pieces = (Piece(0.0, Curves(take(1.6, 25.0), present)), Piece(2.4, Curves(take(1.2, 25.0), present)))
        counts = dict.fromkeys(("frames", "found", "interpolated", "gaps", "cut", "faces_seen"), 1)
        shares = {"video_fps": 25.0, "cut_s": 0.8, "crowded": 0.0, "confidence": 0.9}
        shares |= {"lag_s": 0.2, "lag_correlation": 0.7}
        return tracking.Track(pieces, TrackReport(path=str(path), cuts=1, warnings=(), **counts, **shares))

    monkeypatch.setattr(segments.tracking, "track_video", track_video)
    monkeypatch.setattr(segments, "tracker_digest", lambda: "tracker")
    health = prepare("videos", tmp_path / "raw", tmp_path / "out", workers=1)
    assert tracked == [("talk.mp4", "talk.wav")]
    assert health.motion == {"tracked": 2}
    assert health.warned.keys() >= {"face_gaps", "face_lag"}
    clips = Corpus(tmp_path / "out").clips
    assert [(clip.clip, clip.frames) for clip in clips] == [("anna/talk@0.00", 40), ("anna/talk@2.40", 30)]
    assert not Corpus(tmp_path / "out").present(clips[0])[ARKIT.index("cheekPuff")]
    prepare("videos", tmp_path / "raw", tmp_path / "out", PrepareSettings(seed=5), workers=1)
    assert len(tracked) == 1
