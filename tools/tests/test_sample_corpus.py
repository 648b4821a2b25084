"""The corpus of samples that tools/assets/samples made: its labels, phones and sound."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from preparing import contiguous
from scipy.signal import butter, sosfiltfilt
from test_samples import CORPUS, PHONES, RATE_HZ, ROWS, flac

from avi_lib.corpus.adapters import scan_source
from avi_lib.files import file_sha256
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.speech.phones import ARPABET, BILABIAL, SILENCE, VOWELS, Phone


@pytest.fixture(scope="module")
def waves() -> dict[str, np.ndarray]:
    found = {}
    for clip in ROWS:
        found[clip], rate_hz = soundfile.read(flac(clip), dtype="float32")
        assert rate_hz == RATE_HZ
    return found


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


def test_phones_are_those_of_the_words_and_run_from_true_silence_to_true_silence_without_gaps(waves):
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
