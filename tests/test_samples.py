from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from avi_lib.files import file_sha256
from avi_lib.instruction.instruction import Instruction
from avi_lib.speech.loading import load_voice
from avi_lib.speech.prosody import prosody

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
with (SAMPLES / "index.csv").open(encoding="utf-8", newline="") as _stream:
    ROWS = {row["name"]: row for row in csv.DictReader(_stream)}


def test_index_lists_exactly_the_files_there_are_and_their_content() -> None:
    assert {row["file"] for row in ROWS.values()} == {path.name for path in SAMPLES.glob("*.flac")}
    for row in ROWS.values():
        assert file_sha256(SAMPLES / row["file"]) == row["sha256"]


def test_samples_stay_within_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir() if path.is_file()) <= 3_000_000


def test_there_are_two_real_and_four_emotional_ones_each_with_source_and_licence() -> None:
    emotions = [row["emotion"] for row in ROWS.values()]
    assert sorted(emotions) == ["angry", "happy", "neutral", "neutral", "sad", "surprised"]
    assert all(row["licence"] and row["source"] and row["speaker"] and row["text"] for row in ROWS.values())


@pytest.mark.parametrize("name", ROWS)
def test_each_loads_whole_and_healthy(name: str) -> None:
    speech = load_voice(SAMPLES / ROWS[name]["file"])
    assert abs(speech.duration_s - float(ROWS[name]["duration_s"])) < 0.01
    assert 3.0 <= speech.duration_s <= 10.0
    assert 0.1 < np.abs(speech.wave).max() < 0.99


@pytest.mark.parametrize("name", ROWS)
def test_each_suggested_instruction_is_understood_and_fits_the_emotion(name: str) -> None:
    instruction = Instruction.parse(ROWS[name]["instruction"])
    assert instruction.unknown == ()
    assert instruction.emotion == {"neutral": "calm"}.get(ROWS[name]["emotion"], ROWS[name]["emotion"])


def test_anger_is_louder_than_joy_and_sadness_softest() -> None:
    def level_db(name: str) -> float:
        found = prosody(load_voice(SAMPLES / ROWS[name]["file"]).wave)
        return float(np.mean(found.energy_db[found.voiced]))

    assert level_db("angry") > level_db("happy") + 1.0 > 1.0 + level_db("sad") + 4.0


@pytest.mark.skipif(importlib.util.find_spec("hama") is None, reason="the phone recogniser is not installed")
def test_a_recogniser_hears_the_words_of_the_angry_sample() -> None:
    from avi_lib.speech.phones import recognise_phones

    heard = " ".join(phone.phone for phone in recognise_phones(load_voice(SAMPLES / "angry.flac").wave).phones)
    for word in ("T OW L D", "T W AY S", "L IY V", "AH L OW N", "B R EY K", "M AY"):
        assert word in heard
