"""Parts of a prepared corpus: curves, cuts, splits, tables, shards, and reading them back."""

from __future__ import annotations

import itertools
import json
import os
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avi_lib.corpus import dataset
from avi_lib.corpus import prepare as fingerprint
from avi_lib.corpus.adapters import RawCorpus, choose_corpora, find_corpora
from avi_lib.corpus.dataset import Corpus, load_part
from avi_lib.corpus.layouts import Recording, Refusal
from avi_lib.corpus.prepare import make_jobs, source_digests
from avi_lib.corpus.scripts import Script, ScriptWriter
from avi_lib.errors import AssetError, InputError
from avi_lib.files import file_sha256, place, write_file
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
    "features": {"dim": 3}, "adapter": "table", "source": "/raw", "settings": {}, "format": dataset.FORMAT,
}  # fmt: skip


@pytest.fixture(params=["disk", "memory"])
def corpus(tmp_path: Path, request: pytest.FixtureRequest) -> Corpus:
    """One clip of 5 frames with two motions, made by hand, in a folder and in an object store."""
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
    folder = place(f"memory://{tmp_path.name}") if request.param == "memory" else tmp_path / "made"
    if request.param == "disk":
        for name in ("index", "shards"):
            (folder / name).mkdir(parents=True)
    write_file(folder / "corpus.json", json.dumps(DESCRIPTION).encode())
    named = {dataset.tensor_name("a", what): array for what, array in arrays.items()}
    size = dataset.save_shard(folder / "shards" / "k-000.safetensors", named)
    part = dataset.Part((clip_entry(scripts=("a/0", "b/0")),), (SCRIPT,), shards={"k-000": size})
    dataset.save_part(folder, "train", "k", part)
    return Corpus(str(folder))


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


def test_a_partition_gives_back_what_was_written_and_a_damaged_one_is_an_input_error(tmp_path):
    clips = (clip_entry(), clip_entry(clip="b", emotion=None, level=None, speech=None, scripts=()))
    part = dataset.Part(clips, (SCRIPT,), (Refusal("bad", "why"),), {"k-000": 9})
    (tmp_path / "index").mkdir()
    dataset.save_part(tmp_path, "train", "k", part)
    (path,) = (tmp_path / "index").iterdir()
    assert path.name == "train-k-00002.parquet" and dataset.load_part(path) == part
    assert dataset.load_part(path, clips=False)[:2] == ((), (SCRIPT,))
    for content in (b"", b"PAR1 but no more", b"\0" * 100, path.read_bytes()[:-20]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"train-k-00002\.parquet"):
            dataset.load_part(path)
    pq.write_table(pa.table({"clip": ["a"]}), path)
    with pytest.raises(InputError, match="other columns"):
        dataset.load_part(path)


def test_an_index_reads_the_partition_of_the_clip_that_is_asked_for_and_keeps_the_last_ones(tmp_path, monkeypatch):
    (tmp_path / "index").mkdir()
    for key in "cab":
        clips = [clip_entry(clip=f"{key}{n}", recording=f"{key}{n}", scripts=(), shard=f"{key}-000") for n in range(4)]
        dataset.save_part(tmp_path, "train", key, dataset.Part(tuple(clips), ()))
    read = []
    monkeypatch.setattr(dataset, "load_part", lambda path, **k: (read.append(path.name[6]), load_part(path, **k))[1])
    monkeypatch.setattr(dataset, "HELD", 8)
    index = dataset.Index(tmp_path)
    assert len(index) == 12 and read == []
    assert [index[n].clip for n in (5, 4, -1, 0)] == ["b1", "b0", "c3", "a0"] and read == ["b", "c", "a"]
    assert [clip.clip for clip in index[2:9:3]] == ["a2", "b1", "c0"] and read == ["b", "c", "a", "b", "c"]
    assert [clip.clip for clip in index.neighbours(index[9]).clips] == ["c0", "c1", "c2", "c3"]
    assert [clip.clip for clip in index][::4] == ["a0", "b0", "c0"]
    with pytest.raises(IndexError):
        index[12]


def test_a_file_system_that_is_not_there_and_one_that_is_not_known_are_named(tmp_path):
    assert place(f"file://{tmp_path}") == tmp_path
    with pytest.raises(InputError, match="a file system such as s3"):
        place("cloud://corpus")
    if find_spec("s3fs") is None:
        with pytest.raises(AssetError, match=r"pip install 'avi-lib\[s3\]'"):
            place("s3://bucket/corpus")


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
    (corpus.folder / "shards" / "k-000.safetensors").unlink()
    with pytest.raises(InputError, match="k-000"):
        Corpus(str(corpus.folder)).features(clip)
    write_file(corpus.folder / "corpus.json", json.dumps(DESCRIPTION | {"format": 2}).encode())
    with pytest.raises(InputError, match=r"format 3; got format 2 .*prepare it again"):
        Corpus(str(corpus.folder))


def test_health_counts_recordings_clips_and_reasons():
    clips = [clip_entry(), clip_entry(clip="a@1", repairs=("peak",)), clip_entry(clip="b", recording="b", split="test")]
    parts = [dataset.Part(tuple(clips), (SCRIPT,), (Refusal("z", "too short"),))]
    health = fingerprint.Health.of(parts, [Refusal("c", "silent")])
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
