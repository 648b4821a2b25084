"""The recordings that are shipped: six samples and a corpus."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt

from avi_lib.corpus.adapters import scan_source
from avi_lib.files import file_sha256
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.instruction.instruction import Instruction
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import ARPABET, BILABIAL, SILENCE, VOWELS, Phone, contiguous, recognise_phones
from avi_lib.speech.prosody import prosody

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
CORPUS = SAMPLES / "corpus"
RATE_HZ = 16_000


def index_of(folder: Path, name: str) -> dict[str, dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        return {row[name]: row for row in csv.DictReader(stream)}


NAMED, ROWS = index_of(SAMPLES, "name"), index_of(CORPUS, "clip")
PHONES = json.loads((CORPUS / "phones.json").read_text("utf-8"))


def flac(clip: str) -> Path:
    return CORPUS / "flac" / f"{clip}.flac"


@pytest.fixture(scope="module")
def waves() -> dict[str, np.ndarray]:
    found = {}
    for clip in ROWS:
        found[clip], rate_hz = soundfile.read(flac(clip), dtype="float32")
        assert rate_hz == RATE_HZ
    return found


def test_six_small_samples_of_five_emotions_are_listed_with_their_source_and_licence():
    assert {row["file"] for row in NAMED.values()} == {path.name for path in SAMPLES.glob("*.flac")}
    assert all(file_sha256(SAMPLES / row["file"]) == row["sha256"] for row in NAMED.values())
    assert sum(path.stat().st_size for path in SAMPLES.iterdir() if path.is_file()) <= 3_000_000
    emotions = [row["emotion"] for row in NAMED.values()]
    assert sorted(emotions) == ["angry", "happy", "neutral", "neutral", "sad", "surprised"]
    assert all(row["licence"] and row["source"] and row["speaker"] and row["text"] for row in NAMED.values())


def test_samples_load_whole_and_healthy_and_anger_is_louder_than_joy_and_sadness_softest():
    level_db = {}
    for name, row in NAMED.items():
        speech = load_voice(SAMPLES / row["file"])
        assert abs(speech.duration_s - float(row["duration_s"])) < 0.01 and 3.0 <= speech.duration_s <= 10.0, name
        assert 0.1 < np.abs(speech.wave).max() < 0.99, name
        found = prosody(speech.wave)
        level_db[name] = float(np.mean(found.energy_db[found.voiced]))
    assert level_db["angry"] > level_db["happy"] + 1.0 > 1.0 + level_db["sad"] + 4.0


def test_suggested_instructions_are_understood_and_fit_the_emotion():
    for row in NAMED.values():
        instruction = Instruction.parse(row["instruction"])
        assert instruction.unknown == ()
        assert instruction.emotion == {"neutral": "calm"}.get(row["emotion"], row["emotion"])


def test_a_recogniser_finds_the_words_of_the_angry_sample_and_most_phones_of_a_clip(waves: dict[str, np.ndarray]):
    pytest.importorskip("hama", reason="the phone recogniser is not installed")
    found = " ".join(phone.phone for phone in recognise_phones(load_voice(SAMPLES / "angry.flac").wave).phones)
    for word in ("T OW L D", "T W AY S", "L IY V", "AH L OW N", "B R EY K", "M AY"):
        assert word in found
    clip = next(clip for clip, row in ROWS.items() if row["emotion"] == "neutral")
    recognised = Counter(phone.phone for phone in recognise_phones(waves[clip]).phones)
    known = Counter(phone for _, phone, *_ in PHONES[clip])
    assert (recognised & known).total() >= 0.75 * known.total()


# The corpus


def test_the_index_lists_exactly_the_clips_there_are_and_what_they_are():
    assert {path.name for path in (CORPUS / "flac").iterdir()} == {flac(clip).name for clip in ROWS}
    assert set(PHONES) == set(ROWS)
    for clip, row in ROWS.items():
        info = soundfile.info(flac(clip))
        assert file_sha256(flac(clip)) == row["sha256"], clip
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1)
        assert info.frames / RATE_HZ == float(row["duration_s"]) and 2.0 <= info.duration <= 5.0, clip
        assert (row["licence"], row["language"]) == ("Apache-2.0", "en") and row["source"]


def test_emotions_come_at_all_their_levels_from_many_speakers_and_sentences_do_not_reveal_them():
    found, speakers, emotions, said, own = (defaultdict(set) for _ in range(5))
    for row in ROWS.values():
        found[row["emotion"]].add(int(row["level"]))
        speakers[row["emotion"]].add(row["speaker"])
        emotions[row["speaker"]].add(row["emotion"])
        said[row["text"]].add(row["emotion"])
        own[row["speaker"], row["text"]].add(row["emotion"])
    assert found == {emotion: set(levels(emotion)) for emotion in EMOTIONS}
    assert min(map(len, speakers.values())) >= 8 and min(map(len, emotions.values())) >= 8
    assert len(said) >= 60 and np.mean([len(each) <= 2 for each in said.values()]) > 0.9
    paired = {speaker for (speaker, _), each in own.items() if "neutral" in each and len(each) > 1}
    assert paired == set(emotions) and len(emotions) >= 10


def test_phones_are_those_of_the_words_and_run_from_true_silence_to_true_silence_without_gaps(
    waves: dict[str, np.ndarray],
):
    for clip, rows in PHONES.items():
        phones = [Phone(phone, start_s, end_s) for _, phone, start_s, end_s in rows]
        assert contiguous(phones, float(ROWS[clip]["duration_s"])), clip
        assert {phone.phone for phone in phones} <= ARPABET | {SILENCE}, clip
        assert not any(a.phone == b.phone == SILENCE for a, b in pairwise(phones)), clip
        assert min(phone.end_s - phone.start_s for phone in phones) >= 0.015, clip
        words = re.findall(r"[a-z']+", ROWS[clip]["text"].lower())
        spoken = [word for word, phone, *_ in rows if phone != SILENCE]
        assert list(dict.fromkeys(spoken)) == list(dict.fromkeys(words)), clip
        for name, start_s, end_s in (phones[0], phones[-1]):
            assert name == SILENCE and 0.2 <= end_s - start_s <= 0.45, clip
        ends = np.concatenate([waves[clip][: int(0.19 * RATE_HZ)], waves[clip][-int(0.19 * RATE_HZ) :]])
        assert np.abs(ends).max() < 1e-4, clip


def test_closed_lips_let_through_far_less_above_1_khz_than_vowels(waves: dict[str, np.ndarray]):
    above_1_khz = butter(4, 1000.0, "highpass", fs=RATE_HZ, output="sos")
    levels_db = defaultdict(list)
    for clip, rows in PHONES.items():
        power = sosfiltfilt(above_1_khz, waves[clip].astype(np.float64)) ** 2
        for _, phone, start_s, end_s in rows:
            third_s = (end_s - start_s) / 3
            middle = power[int((start_s + third_s) * RATE_HZ) : int((end_s - third_s) * RATE_HZ)]
            levels_db[phone].append(10 * np.log10(middle.mean() + 1e-12))
    vowels = np.median(np.concatenate([levels_db[phone] for phone in VOWELS]))
    assert all(len(levels_db[phone]) >= 50 for phone in BILABIAL)
    below = {phone: vowels - np.median(levels_db[phone]) for phone in sorted(BILABIAL)}
    assert below["B"] > 10.0 and below["P"] > 10.0 and below["M"] > 6.0, below


def test_anger_is_spoken_louder_and_faster_than_sadness_and_both_more_so_at_level_3():
    found = defaultdict(list)
    for row in ROWS.values():
        found[row["emotion"], row["level"]].append((float(row["level_db"]), float(row["speed"])))
    mean = {key: np.mean(values, axis=0) for key, values in found.items()}
    order = [mean["sad", "3"], mean["sad", "1"], mean["neutral", "1"], mean["angry", "1"], mean["angry", "3"]]
    assert all((before < after).all() for before, after in pairwise(order))


def test_the_table_adapter_reads_every_clip_with_its_labels_and_phones():
    found = scan_source("table", CORPUS)
    assert found.refused == ()
    assert {recording.name for recording in found.recordings} == set(ROWS)
    for recording in found.recordings:
        row = ROWS[recording.name]
        labels = recording.speaker, recording.emotion, recording.level
        assert labels == (row["speaker"], row["emotion"], int(row["level"]))
        assert recording.speech == flac(recording.name) and recording.text == row["text"]
        assert recording.phones is not None and len(recording.phones) == len(PHONES[recording.name])
