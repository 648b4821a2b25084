"""The six recordings that are shipped as samples."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avi_lib.files import file_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import recognise_phones
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


def test_a_recogniser_finds_the_words_of_the_angry_sample_and_most_phones_of_a_clip():
    pytest.importorskip("hama", reason="the phone recogniser is not installed")
    found = " ".join(phone.phone for phone in recognise_phones(load_voice(SAMPLES / "angry.flac").wave).phones)
    for word in ("T OW L D", "T W AY S", "L IY V", "AH L OW N", "B R EY K", "M AY"):
        assert word in found
    clip = next(clip for clip, row in ROWS.items() if row["emotion"] == "neutral")
    recognised = Counter(
        phone.phone for phone in recognise_phones(soundfile.read(flac(clip), dtype="float32")[0]).phones
    )
    known = Counter(phone for _, phone, *_ in PHONES[clip])
    assert (recognised & known).total() >= 0.75 * known.total()
