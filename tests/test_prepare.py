"""Preparing corpora: sound, labels, and motion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from preparing import read_quickly, stand_in
from raw_corpora import RATE_HZ, StillEncoder, phone_rows, talkers, voice, write_table_corpus

from avi_lib.cli import main
from avi_lib.corpus import prepare as preparing
from avi_lib.corpus import segments
from avi_lib.corpus.adapters import RawCorpus
from avi_lib.corpus.dataset import Corpus, Mixture, prepare_corpora
from avi_lib.corpus.prepare import Health, claim, prepare
from avi_lib.errors import AssetError, AviError, InputError
from avi_lib.face import tracking
from avi_lib.face import tracking as landmarker
from avi_lib.face.tracking import TrackReport
from avi_lib.files import folder_files, folder_sha256
from avi_lib.instruction.action_units import quantise
from avi_lib.instruction.instruction import Instruction
from avi_lib.models import resolve
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.formats import save_livelink
from avi_lib.settings import PrepareSettings
from avi_lib.speech.loading import load_voice
from avi_lib.speech.prosody import prosody
from avi_lib.speech.voice import Voice


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four speakers with three clips each and five scripts a clip; the source lies beside it."""
    folder = tmp_path_factory.mktemp("prepared")
    source = write_table_corpus(folder / "raw", talkers(speakers=4, clips=3))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        patch.setattr(segments, "load_voice", read_quickly)
        prepare("table", source, folder / "out", PrepareSettings(scripts=5), workers=1)
    return Corpus(folder / "out")


@pytest.fixture
def whisper() -> None:
    try:
        resolve("whisper-tiny-en")
    except AssetError as error:
        pytest.skip(f"the speech encoder is not in the cache: {error}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_table_corpus(tmp_path / "raw", talkers(speakers=3, clips=3), duration_s=0.7)


def make(source: Path, out: Path | str, **settings: object) -> Health:
    return prepare("table", source, out, PrepareSettings(**settings), workers=1)


def test_every_recording_becomes_a_clip_with_features_phones_prosody_motion_and_text(prepared):
    corpus = prepared
    assert len(corpus) == 12
    clip = corpus.select(clip="s3-2")[0]
    speech = load_voice(corpus.sound(clip))
    assert corpus.features(clip) == pytest.approx(StillEncoder().encode(speech.wave), rel=1e-3, abs=1e-4)
    assert [phone.phone for phone in corpus.phones(clip)] == [str(row[1]) for row in phone_rows(clip.duration_s)]
    expected = prosody(speech.wave)
    assert corpus.prosody(clip).f0_hz == pytest.approx(expected.f0_hz, rel=1e-3)
    assert (corpus.prosody(clip).voiced == expected.voiced).all()
    assert corpus.motion(clip).shape == (clip.frames, 55)
    assert clip.frames == -(-len(speech.wave) // 640)
    assert clip.speech == "flac/s3-2.flac"


def test_every_clip_of_a_group_performs_the_scripts_of_all_and_the_pairs_are_the_performers_own(prepared):
    corpus = prepared
    assert Counter(split for split, _ in {(clip.split, clip.speaker) for clip in corpus.clips}) == {
        **{"train": 2, "validation": 1, "test": 1}
    }, "no speaker is in two splits"
    assert all(clip.split == corpus.scripts[name].split for clip in corpus.clips for name in clip.scripts)
    held = {frozenset(clip.scripts) for clip in corpus.select(split="train")}
    assert sum(map(len, held)) == 5 * len(corpus.select(split="train"))
    assert min(map(len, held)) >= 20
    clip = next(clip for clip in corpus.select(split="train") if len(clip.scripts) > 5)
    exchanged = corpus.scripts[clip.scripts[-1]]
    partner = corpus.clip(exchanged.clip)
    assert partner in corpus.partners(clip)
    assert clip in corpus.partners(partner)
    assert exchanged.script in partner.scripts[: partner.own]
    performer = corpus.performer(clip)
    parts = Instruction(exchanged.texts[0], exchanged.emotion, exchanged.level, exchanged.action_units)
    full, still = performer.perform_with_still(parts, exchanged.seed)
    number = len(clip.scripts) - 1
    assert corpus.motion(clip, number) == pytest.approx(still.values, abs=2e-3)
    together = corpus.motion(clip, number).astype(np.float32) + corpus.idle(clip, number)
    assert together == pytest.approx(full.values, abs=2e-3)
    assert np.abs(corpus.idle(clip, number)).max() > 0.01


def test_scripts_go_beyond_the_label_and_every_text_says_the_parts_of_its_script(prepared):
    scripts = list(prepared.scripts.values())
    kinds = Counter(script.kind for script in scripts)
    assert len(scripts) == 60 and kinds["label"] == 12
    assert min(kinds[kind] for kind in ("mix", "other", "units")) >= 6
    labels = {clip.clip: clip.emotion for clip in prepared.clips}
    assert all((s.emotion == labels[s.clip]) == (s.kind in ("label", "mix")) for s in scripts)
    assert len({frozenset(script.action_units.items()) for script in scripts}) > 45
    for script in scripts:
        assert len(set(script.texts)) == 4
        for said in map(Instruction.parse, script.texts):
            assert (said.emotion, said.level) == (script.emotion, script.level)
            assert dict(said.action_units) == {unit: quantise(s) for unit, s in script.action_units.items()}


def test_the_same_again_writes_nothing_and_one_more_recording_leaves_other_shards_alone(
    in_one_process, tmp_path, monkeypatch
):
    rows = [{"clip": f"c{i}", "speaker": "one", "emotion": "happy", "level": 2} for i in range(34)]
    source = write_table_corpus(tmp_path / "raw", rows, duration_s=0.5)
    make(source, tmp_path / "out", scripts=1, texts=1)
    before = {name: path.stat().st_mtime_ns for name, path in folder_files(tmp_path / "out" / "shards").items()}
    assert len(before) == 2
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "carry_out", lambda *_: pytest.fail("nothing is left to do"))
        assert make(source, tmp_path / "out", scripts=1, texts=1).clips == 34
    soundfile.write(source / "flac" / "more.flac", voice(0.8), RATE_HZ, subtype="PCM_16")
    with (source / "index.csv").open("a", encoding="utf-8") as stream:
        stream.write("more,happy,2,one\n")
    make(source, tmp_path / "out", scripts=1, texts=1)
    after = {name: path.stat().st_mtime_ns for name, path in folder_files(tmp_path / "out" / "shards").items()}
    assert len(after) == 2
    assert len(set(before.items()) & set(after.items())) == 1
    assert Corpus(tmp_path / "out").select(clip="more")


def test_in_an_object_store_a_corpus_is_prepared_gone_on_with_and_read_as_on_a_disk(
    in_one_process, source, tmp_path, monkeypatch
):
    there = f"memory://{tmp_path.name}/corpus"
    assert make(source, there, scripts=1).clips == make(source, tmp_path / "here", scripts=1).clips == 9
    monkeypatch.setattr(preparing, "carry_out", lambda *_: pytest.fail("nothing is left to do"))
    assert make(source, there, scripts=1).clips == 9
    theirs, ours = Corpus(there), Corpus(tmp_path / "here")
    assert list(theirs.clips) == list(ours.clips) and theirs.description == ours.description
    assert all((theirs.features(clip) == ours.features(clip)).all() for clip in ours.clips)
    names = [path.name for path in (theirs.folder / "shards").iterdir()]
    assert sorted(names) == sorted(folder_files(tmp_path / "here" / "shards"))
    mixtures = [Mixture.of([corpus], "train", 25) for corpus in (theirs, ours)]
    assert [item.clip for item in mixtures[0].items] == [item.clip for item in mixtures[1].items] != []


def test_a_damaged_shard_is_made_again_and_other_settings_make_other_shards(in_one_process, source, tmp_path):
    make(source, tmp_path / "out", seed=1)
    first = set(folder_files(tmp_path / "out" / "shards"))
    shard = next((tmp_path / "out" / "shards").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:500])
    assert make(source, tmp_path / "out", seed=1).clips == 9
    assert shard.read_bytes() == whole
    make(source, tmp_path / "out", seed=2)
    second = set(folder_files(tmp_path / "out" / "shards"))
    assert first.isdisjoint(second) and len(first) == len(second)


@pytest.mark.processes
def test_killed_at_any_moment_a_corpus_can_be_read_and_going_on_gives_the_bytes_of_an_unbroken_run(tmp_path, whisper):
    rows = [{"clip": f"c{i:02d}", "speaker": f"s{i % 2}"} for i in range(34)]
    source = write_table_corpus(tmp_path / "raw", rows, duration_s=0.5)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    command = [sys.executable, "-m", "avi_lib", "prepare", "table", str(source), str(out), "--workers", "1"]
    with subprocess.Popen([*command, "--scripts", "1"], stderr=subprocess.PIPE, start_new_session=True) as run:
        deadline = time.monotonic() + 60
        while run.poll() is None and not list(out.glob("shards/[!.]*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(run.pid, signal.SIGKILL)
    assert len(list(out.glob("shards/[!.]*"))) == 1
    corpus = Corpus(out)
    for clip in corpus.clips:
        assert corpus.motion(clip).shape == (clip.frames, 55)
    assert make(source, out, scripts=1).clips == 34
    prepare("table", source, fresh, PrepareSettings(scripts=1), workers=2)
    for folder in (out, fresh):
        for name in (".lock", "sources.json"):
            (folder / name).unlink()
    assert folder_sha256(out) == folder_sha256(fresh)


def test_a_broken_recording_is_refused_with_its_reason_and_the_rest_is_kept(source, tmp_path, monkeypatch):
    stand_in(monkeypatch)
    (source / "flac" / "s0-0.flac").write_bytes(b"no sound at all")
    (source / "flac" / "s0-1.flac").write_bytes((source / "flac" / "s0-2.flac").read_bytes())
    soundfile.write(source / "flac" / "s1-0.flac", voice(2.0)[4800:10400], RATE_HZ, subtype="PCM_16")
    health = make(source, tmp_path / "out")
    reasons = {refusal.name: refusal.reason for refusal in health.refused}
    assert set(reasons) == {"s0-0", "s0-2", "s1-0"}
    assert "got" in reasons["s0-0"]
    assert reasons["s0-2"] == "the same content as s0-1"
    assert "0.4 s" in reasons["s1-0"]
    assert health.recordings == 6
    assert json.loads((tmp_path / "out" / "health.json").read_text())["refused"][0]["name"] == "s0-0"


def test_a_long_recording_is_cut_at_its_pauses(in_one_process, tmp_path):
    source = write_table_corpus(tmp_path / "raw", [{"clip": "long", "duration_s": 9.0, "text": "whole"}])
    soundfile.write(source / "flac" / "long.flac", voice(9.0, gaps_s=(2.6, 5.0, 7.1)), RATE_HZ, subtype="PCM_16")
    make(source, tmp_path / "out", longest_s=3.0)
    corpus = Corpus(tmp_path / "out")
    clips = sorted(corpus.clips, key=lambda clip: clip.start_s)
    assert [clip.start_s for clip in clips] == pytest.approx([0.0, 2.6, 5.0, 7.1], abs=0.12)
    assert sum(clip.duration_s for clip in clips) == pytest.approx(9.0)
    assert {clip.text for clip in clips} == {None}
    whole = StillEncoder().encode(load_voice(source / "flac" / "long.flac").wave)
    loud = np.concatenate([corpus.features(clip)[:, 0] for clip in clips])
    assert loud == pytest.approx(whole[:, 0], rel=1e-2, abs=1e-3)


def test_a_corpus_of_ones_own_that_lacks_something_says_so_and_goes_on_with_the_samples(
    in_one_process, source, tmp_path, capsys
):
    mine = write_table_corpus(tmp_path / "mine", talkers(speakers=1, clips=2), duration_s=0.7)
    out, settings = tmp_path / "prepared", PrepareSettings(scripts=1)
    prepare("table", mine, out / "mine", settings, workers=1)
    chosen = [RawCorpus("samples", "table", source)]
    found = prepare_corpora(chosen, out, settings, "mine")
    said = capsys.readouterr().out
    assert [corpus.folder.name for corpus in found] == ["samples", "mine"]
    assert "mine: no performed clips of speakers that are held out, two or more of a split; goes" in said
    assert [corpus.folder.name for corpus in prepare_corpora(chosen, out, settings, "samples")] == ["samples"]
    assert not capsys.readouterr().out


def test_one_clip_alone_has_its_own_scripts_and_no_name_that_a_part_of_another_could_get(
    in_one_process, source, tmp_path
):
    only = write_table_corpus(tmp_path / "one", [{"clip": "only", "speaker": "me"}, {"clip": "only@17.24"}])
    health = prepare("table", only, tmp_path / "only", workers=1)
    assert [refusal.name for refusal in health.refused] == ["only@17.24"]
    clip = Corpus(tmp_path / "only").clips[0]
    assert (clip.split, clip.own, len(clip.scripts)) == ("train", 3, 3)
    assert any("three" in line for line in health.lines())
    assert make(source, tmp_path / "out", limit=6).recordings == 6


def test_a_destination_that_holds_something_else_or_is_locked_is_left_alone(in_one_process, source, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="empty folder"):
        prepare("table", source, other, workers=1)
    make(source, tmp_path / "out")
    second = write_table_corpus(tmp_path / "second", talkers(1, 1))
    with pytest.raises(InputError, match="name another folder"):
        prepare("table", second, tmp_path / "out", workers=1)
    with claim(tmp_path / "out", "table", source.resolve()), pytest.raises(InputError, match="locked"):
        make(source, tmp_path / "out")
    for own in (source, source / "prepared", source.parent):
        with pytest.raises(InputError, match="of its own"):
            prepare("table", source, own, workers=1)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="a folder with a raw corpus"):
        prepare("table", tmp_path / "a", tmp_path / "none")
    assert sorted(path.name for path in other.iterdir()) == ["thesis.txt"]


def test_files_of_others_are_never_removed_and_those_torn_by_a_kill_are(in_one_process, source, tmp_path):
    out = tmp_path / "out"
    mine = out / "shards" / "model-1.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"weights")
    with pytest.raises(InputError, match="with other files"):
        make(source, out)
    mine.unlink()
    mine.parent.rmdir()
    torn = [out / name for name in (".sources.0123abcd.json", ".corpus.0123abcd.json", ".clips.0123abcd.parquet")]
    for leftover in (out / ".lock", *torn):
        leftover.touch()
    assert make(source, out).clips == 9 and not any(path.exists() for path in torn)
    mine.write_bytes(b"weights")
    (out / ".notes.txt").write_text("mine")
    make(source, out, seed=3)
    assert mine.read_bytes() == b"weights" and (out / ".notes.txt").exists()


def test_without_its_description_a_corpus_is_described_again_and_a_damaged_one_is_named(
    in_one_process, source, tmp_path
):
    make(source, tmp_path / "out")
    (tmp_path / "out" / "corpus.json").write_text("{}")
    with pytest.raises(InputError, match="remove it and prepare again"):
        make(source, tmp_path / "out")
    (tmp_path / "out" / "corpus.json").unlink()
    assert make(source, tmp_path / "out").clips == 9


def test_a_source_that_changes_meanwhile_stops_the_run_and_stores_nothing_wrong(
    in_one_process, source, tmp_path, monkeypatch
):
    def replaced(path: Path, max_minutes: float) -> Voice:
        speech = read_quickly(path, max_minutes)
        path.write_bytes(path.read_bytes() + b" ")
        return speech

    monkeypatch.setattr(segments, "load_voice", replaced)
    with pytest.raises(AviError, match="changed or went away"):
        make(source, tmp_path / "out")
    assert not list((tmp_path / "out" / "shards").iterdir())


def test_the_command_prints_the_health_report(in_one_process, source, tmp_path, capsys):
    assert main(["prepare", "table", str(source), str(tmp_path / "out"), "--json", "--scripts", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["recordings"] == 9
    assert main(["prepare", "table", str(source), str(tmp_path / "out"), "--scripts", "1"]) == 0
    assert "kept       9 recordings as 9 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "SOURCE"], "an adapter of ravdess"),
        (["table", "missing"], "missing"),
        (["table", "SOURCE", "--workers", "0"], "1 to 256 workers"),
        (["table", "SOURCE", "--scripts", "0"], "scripts"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(source, tmp_path, capsys, arguments, message):
    adapter, given, *options = arguments
    path = str(source) if given == "SOURCE" else str(tmp_path / given)
    assert main(["prepare", adapter, path, str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_ravdess_is_prepared_with_its_labels_and_phones(real_data, whisper, tmp_path):
    health = prepare("ravdess", real_data / "ravdess", tmp_path / "out", PrepareSettings(limit=6), workers=1)
    assert (health.recordings, len(health.refused)) == (6, 0)
    assert health.phones.get("corpus", 0) >= 5
    corpus = Corpus(tmp_path / "out")
    assert corpus.description["features"]["dim"] == 384
    assert {corpus.features(clip).shape[1] for clip in corpus.clips} == {384}


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


def test_a_recorded_take_keeps_its_motion_at_25_fps_and_its_text_says_what_was_measured(in_one_process, tmp_path):
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


def test_takes_without_sound_are_kept_as_motion_alone(in_one_process, tmp_path):
    source = write_takes(tmp_path / "raw")
    for path in source.rglob("*.wav"):
        path.unlink()
    assert prepare("livelink", source, tmp_path / "out", workers=1).phones == {"none": 2}
    corpus = Corpus(tmp_path / "out")
    clip = corpus.clip("anna/plain")
    assert (clip.features, clip.speech, clip.frames) == (0, None, 75)
    assert corpus.phones(clip) == ()
    assert corpus.features(clip).shape == (0, 2) and corpus.motion(clip).shape == (75, 55)


def test_nobodys_takes_are_each_measured_against_themselves(in_one_process, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, weight in (("a", 0.15), ("b", 0.75)):
        save_livelink(take(3.0, browInnerUp=weight), folder / f"{name}.csv")
    prepare("livelink", folder, tmp_path / "out", workers=1)
    corpus = Corpus(tmp_path / "out")
    assert {clip.speaker for clip in corpus.clips} == {"unknown"}
    assert "inner_brow_raise" not in corpus.scripts["a/0"].action_units


def test_flame_coefficients_make_a_corpus_of_their_own_space(in_one_process, tmp_path):
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


def test_recordings_of_another_space_are_refused_not_mixed(in_one_process, tmp_path):
    source = write_table_corpus(tmp_path / "raw", [{"clip": "sound"}, {"clip": "flame"}])
    channels = [f"expression{i}" for i in range(50)] + [f"{part}{axis}" for part in ("jaw", "global") for axis in "XYZ"]
    np.savez(
        source / "flame.npz", values=np.zeros((30, 56), np.float32), fps=np.float64(25), channels=np.array(channels)
    )
    health = prepare("table", source, tmp_path / "out", workers=1)
    assert [refusal.name for refusal in health.refused] == ["sound"]
    assert "FLAME" in health.refused[0].reason
    assert Corpus(tmp_path / "out").space.name == "FLAME"


def test_a_caption_is_the_first_text_and_one_that_is_not_understood_is_not_performed(in_one_process, tmp_path):
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


def test_a_video_is_tracked_once_and_what_was_noted_reaches_the_health_report(in_one_process, tmp_path, monkeypatch):
    (tmp_path / "raw" / "anna").mkdir(parents=True)
    video, sound = tmp_path / "raw" / "anna" / "talk.mp4", tmp_path / "raw" / "anna" / "talk.wav"
    video.write_bytes(b"a video that only the stand-in reads")
    soundfile.write(sound, voice(4.0), RATE_HZ, subtype="PCM_16")
    tracked = []

    def track_video(path: Path, *, sound: Path | None) -> tracking.Track:
        tracked.append((path.name, sound.name if sound else None))
        present = np.array([channel not in landmarker.UNMOVED for channel in ARKIT.channels])
        pieces = (replace(take(1.6, 25.0), present=present), replace(take(1.2, 25.0), present=present, start_s=2.4))
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
