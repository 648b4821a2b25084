"""Parts of a prepared corpus: curves, cuts, splits, tables, shards, and reading them back."""

from __future__ import annotations

import itertools
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avi_lib.corpus import dataset
from avi_lib.corpus import prepare as fingerprint
from avi_lib.corpus.adapters import RawCorpus, choose_corpora, find_corpora
from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.layouts import Recording, Refusal
from avi_lib.corpus.prepare import make_jobs, source_digests
from avi_lib.corpus.scripts import Script, ScriptWriter
from avi_lib.errors import InputError
from avi_lib.files import file_sha256
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.speech.prosody import Beat
from avi_lib.speech.voice import cut_at_pauses, cut_evenly


def curves(values: np.ndarray, fps: float) -> MotionClip:
    wide = np.zeros((len(values), len(ARKIT)), np.float32)
    wide[:, ARKIT.index("jawOpen")] = values
    return MotionClip(wide, fps, ARKIT)


def clip_entry(**changes: object) -> dataset.ClipEntry:
    values = {
        "clip": "a", "recording": "a", "speech": "a.wav", "start_s": 0.0, "duration_s": 0.2, "speaker": "s",
        "gender": None, "split": "train", "emotion": "happy", "level": 2, "text": None, "language": "en",
        "motion": "performed", "phones_from": "corpus", "scripts": ("a/0",), "own": 1, "repairs": (),
        "warnings": ("quiet",), "shard": "k-000", "frames": 5, "features": 10,
    }  # fmt: skip
    return dataset.ClipEntry(**(values | changes))


SCRIPT = Script("a/0", "a", "train", "label", "happy", 2, ("brow_down",), (0.5,), 7, ("Look happy.",))
DESCRIPTION = {
    "fps": 25.0, "space": "ARKIT", "idle_channels": ["eyeBlinkLeft", "headYaw"], "phones": ["SIL", "AA"],
    "features": {"dim": 3}, "adapter": "table", "source": "/raw", "settings": {},
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """One clip of 5 frames with two motions, made by hand."""
    arrays = {
        "features": np.arange(30, dtype=np.float16).reshape(10, 3),
        "prosody": np.tile(np.array([[120, 1, -20]], np.float16), (5, 1)),
        "motion": np.repeat(np.arange(10, dtype=np.float16).reshape(2, 5, 1), 55, axis=2) / 10,
        "idle": np.tile(np.array([0.25, 0.5], np.float16), (2, 5, 1)),
        "present": np.ones(55, bool),
        "phones": np.array([0, 1], np.int16),
        "phone_times": np.array([[0, 0.1], [0.1, 0.2]], np.float32),
        "syllables": np.array([[0.15, 0.5]], np.float32),
    }
    contents = dataset.Contents((clip_entry(scripts=("a/0", "b/0")),), (SCRIPT,), (), True)
    with dataset.claim(tmp_path / "made", "table", Path("/raw")) as place:
        place.describe(DESCRIPTION)
        named = {dataset.tensor_name("a", what): array for what, array in arrays.items()}
        dataset.save_shard(place.shards / "k-000.safetensors", named, contents)
        place.gather([contents])
        place.publish()
    return Corpus(tmp_path / "made")


def test_curves_at_another_rate_keep_their_mean_and_their_times():
    times_s = (np.arange(120) + 0.5) / 60
    slow = curves((0.5 + 0.4 * np.sin(2 * np.pi * times_s)).astype(np.float32), 60.0).at_fps(25.0)
    expected = 0.5 + 0.4 * np.sin(2 * np.pi * (np.arange(50) + 0.5) / 25)
    assert slow["jawOpen"] == pytest.approx(expected, abs=0.01)
    assert slow["jawOpen"].mean() == pytest.approx(0.5, abs=1e-3)
    fast = curves(np.linspace(0, 1, 25, dtype=np.float32), 25.0).at_fps(50.0)
    assert len(fast) == 50 and np.diff(fast["jawOpen"]).min() >= 0
    for mask, rule in ((np.zeros(55, bool), "at least one channel"), (np.ones(56, bool), "55 channels")):
        with pytest.raises(InputError, match=rule):
            replace(slow, present=mask)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2000), st.integers(50, 300))
def test_cuts_cover_every_frame_once_and_no_part_is_too_long(frames, longest):
    wave = np.random.default_rng(frames).normal(size=frames * 640).astype(np.float32)
    for parts in (cut_at_pauses(wave, frames, longest), cut_evenly(frames, longest)):
        assert parts[0][0] == 0
        assert parts[-1][1] == frames
        assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))
        assert all(0 < last - first <= longest for first, last in parts)
        assert frames <= longest or min(last - first for first, last in parts) >= longest // 2


@given(st.sets(st.text(min_size=1, max_size=4), min_size=1, max_size=60), st.integers(0, 99))
def test_every_speaker_has_one_split_and_three_speakers_make_all_three(speakers, seed):
    split = fingerprint.split_speakers(speakers, seed, 0.1, 0.1)
    assert set(split) == speakers
    kinds = set(split.values())
    assert kinds == ({"train", "validation", "test"} if len(speakers) >= 3 else {"train"})
    assert split == fingerprint.split_speakers(sorted(speakers), seed, 0.1, 0.1)
    if len(speakers) > 20:
        assert len({frozenset(fingerprint.split_speakers(speakers, other, 0.1, 0.1).items()) for other in range(9)}) > 5


def test_named_speakers_are_the_test_and_an_unknown_one_is_refused():
    split = fingerprint.split_speakers(["a", "b", "c"], 0, 0.1, 0.1, "b")
    assert split == {"a": "train", "b": "test", "c": "train"}
    with pytest.raises(InputError, match="x among 3"):
        fingerprint.split_speakers(["a", "b", "c"], 0, 0.1, 0.1, "b, x")


def test_scripts_begin_with_the_label_ask_for_everything_but_blinks_and_depend_on_their_stream_alone():
    def writer(emotion, level, texts, seed):
        return ScriptWriter("c", "train", emotion, level, None, texts, np.random.default_rng(seed))

    many = writer("sad", 2, 1, 0)
    units = {unit for _ in range(200) for script in many.draw(4) for unit in script.units}
    assert len(units) > 40 and not any("blink" in unit for unit in units)
    first, second, other = (writer("sad", 2, 3, seed).draw(5) for seed in (4, 4, 5))
    assert first == second != other
    for emotion in EMOTIONS:
        (script,) = writer(emotion, levels(emotion)[-1], 2, 0).draw(1)
        assert (script.kind, script.emotion, script.level) == ("label", emotion, levels(emotion)[-1])


def test_tables_and_shards_give_back_what_was_written_and_damaged_ones_are_input_errors(tmp_path):
    table, shard = tmp_path / "clips.parquet", tmp_path / "x.safetensors"
    for content in (b"", b"PAR1 but no more", b"\0" * 100):
        table.write_bytes(content)
        with pytest.raises(InputError, match=r"clips\.parquet"):
            dataset.read_rows(table, dataset.ClipEntry)
    dataset.write_rows(table, Script, [SCRIPT])
    with pytest.raises(InputError, match="other columns"):
        dataset.read_rows(table, dataset.ClipEntry)
    for content in (b"", b"\xff" * 64, (8).to_bytes(8, "little") + b"{}      "):
        shard.write_bytes(content)
        with pytest.raises(InputError, match="shard"):
            dataset.load_contents(shard)
    clips = [clip_entry(), clip_entry(clip="b", emotion=None, level=None, speech=None, scripts=())]
    for kind, rows in ((dataset.ClipEntry, clips), (Script, [SCRIPT])):
        dataset.write_rows(table, kind, rows)
        assert dataset.read_rows(table, kind) == rows
    contents = dataset.Contents((clip_entry(),), (SCRIPT,), (Refusal("bad", "why"),), False)
    dataset.save_shard(shard, {"motion": np.zeros((2, 3), np.float16)}, contents)
    assert dataset.load_contents(shard) == contents


@pytest.mark.parametrize("way", ["../../x", "{}/x", "/dev/null", "../shards/x"])
def test_a_shard_elsewhere_is_not_read(corpus, tmp_path, way):
    with pytest.raises(InputError, match="a shard's name"):
        corpus.features(replace(corpus.clips[0], shard=way.format(tmp_path)))


def test_reading_finds_each_motion_and_what_idle_adds(corpus):
    clip = corpus.clips[0]
    assert corpus.motion(clip, 1)[:, 0] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9], abs=1e-3)
    idle = corpus.idle(clip, 1)
    assert idle[:, ARKIT.index("eyeBlinkLeft")] == pytest.approx(0.25)
    assert idle[:, ARKIT.index("headYaw")] == pytest.approx(0.5)
    assert np.count_nonzero(idle) == 10
    assert [(phone.phone, phone.start_s) for phone in corpus.phones(clip)] == [("SIL", 0.0), ("AA", pytest.approx(0.1))]
    assert corpus.prosody(clip).syllables == (Beat(pytest.approx(0.15), 0.5),)
    assert corpus.texts(clip) == ("Look happy.",)
    with pytest.raises(InputError, match="from 0 to 1"):
        corpus.motion(clip, 2)


def test_a_corpus_goes_to_another_process_and_names_what_it_lacks(corpus, tmp_path):
    clip = corpus.clip("a")
    assert (pickle.loads(pickle.dumps(corpus)).features(clip) == corpus.features(clip)).all()
    assert corpus.number(clip, "b/0") == 1
    for rule, lookup in (
        ("'c/0'", lambda: corpus.number(clip, "c/0")),
        ("'b'", lambda: corpus.clip("b")),
        ("mood", lambda: corpus.select(mood="happy")),
        ("avi prepare", lambda: Corpus(tmp_path)),
    ):
        with pytest.raises(InputError, match=rule):
            lookup()
    (tmp_path / "made" / "shards" / "k-000.safetensors").unlink()
    with pytest.raises(InputError, match="k-000"):
        Corpus(tmp_path / "made").features(clip)


def test_health_counts_recordings_clips_and_reasons():
    clips = [clip_entry(), clip_entry(clip="a@1", repairs=("peak",)), clip_entry(clip="b", recording="b", split="test")]
    health = dataset.Health.of(clips, [SCRIPT], [Refusal("z", "too short"), Refusal("c", "silent")])
    assert (health.recordings, health.clips, health.texts) == (2, 3, 1)
    assert health.minutes_by_split == {"train": 0.007, "validation": 0.0, "test": 0.003}
    assert [refusal.name for refusal in health.refused] == ["c", "z"]
    assert health.warned == {"quiet": 2}
    assert any("too short" in line for line in health.lines())


def test_a_job_has_another_address_for_another_label_file_split_or_setting():
    recording = Recording("a", "s", speech=Path("a.wav"), emotion="happy", level=1)
    louder = Recording("a", "s", speech=Path("a.wav"), emotion="happy", level=3)

    def key(given, digest="d", split="train", common="c", neutral=()):
        return make_jobs([given], {Path("a.wav"): digest}, {"a": split}, dict(neutral), common)[0].key

    keys = [
        key(recording), key(louder), key(recording, "e"), key(recording, split="test"), key(recording, common="x"),
        key(recording, neutral=[("s", "n")]),
    ]  # fmt: skip
    assert len(set(keys)) == 6
    assert keys[0] == key(recording)


def test_the_address_of_a_corpus_depends_on_the_code_that_prepares_it_and_on_no_other():
    names = {path.relative_to(Path(fingerprint.__file__).parents[1]).as_posix() for path in fingerprint.prepared_by()}
    assert names >= {"motion/performer.py", "instruction/grammar.py", "speech/phones.py", "face/tracking.py"}
    assert names >= {"corpus/adapters.py", "corpus/corpora.json", "corpus/rig_maps/facegood.json"}
    assert not names & {"motion/generator.py", "training/loop.py", "cli.py"}


def test_a_file_is_digested_again_only_when_it_changed(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(fingerprint, "_SETTLED_S", -1.0)
    monkeypatch.setattr(fingerprint, "file_sha256", lambda path: (read.append(path.name), file_sha256(path))[1])
    path, memory = tmp_path / "a.wav", tmp_path / "memory.json"

    def digest():
        return source_digests([Recording("a", "s", speech=path)], memory, hidden=True)[path]

    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    first = digest()
    assert digest() == first
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9))
    assert digest() != first, "size and time of change are put back, the time of the inode is not"
    memory.write_text("[")
    assert digest() == file_sha256(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.wav"):
        digest()


def test_corpora_are_found_by_the_names_of_their_folders_or_named(tmp_path):
    for name in ("RAVDESS", "Emo-DB", "crema_d", "holiday"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    found = [("emo-db", "emodb"), ("ravdess", "ravdess"), ("crema_d", "crema-d")]
    assert [(c.name, c.adapter) for c in find_corpora(tmp_path / "raw")] == found
    assert find_corpora(tmp_path / "none") == []
    named = [RawCorpus("a", "table", tmp_path / "x/y"), RawCorpus("b", "mead", Path("/z"))]
    assert choose_corpora(tmp_path, None, "a=table:x/y, b=mead:/z") == named
    with pytest.raises(InputError, match="NAME=ADAPTER:FOLDER"):
        choose_corpora(tmp_path, None, "table:x")
    samples = RawCorpus("samples", "table", tmp_path / "data/samples/corpus")
    assert choose_corpora(tmp_path, None) == [samples]
    assert [corpus.name for corpus in choose_corpora(tmp_path, "raw")] == ["samples", *(name for name, _ in found)]
    assert choose_corpora(tmp_path, "raw", without="ravdess, emo-db,crema_d") == [samples]
    assert choose_corpora(tmp_path, "raw", "a=table:x/y,b=mead:/z", "a") == named[1:]
