"""The shipped instructor: what it writes of real and synthesised speech, of what is no speech, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.instructor import SHIPPED_INSTRUCTOR, load_instructor
from avi_lib.instruction.instructor_network import read_instructor_about
from avi_lib.models import ASSETS, load_manifest
from avi_lib.speech.augment import SOUNDS, draw_sound, gain
from avi_lib.speech.loading import RATE_HZ, load_voice

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"


@pytest.fixture(scope="module")
def instructor():
    return load_instructor()


def test_the_weights_are_small_and_say_what_they_were_trained_on():
    assert SHIPPED_INSTRUCTOR.stat().st_size <= 14e6
    entry = next(asset for asset in load_manifest().shipped if asset.file == SHIPPED_INSTRUCTOR.name)
    corpora = read_instructor_about(ASSETS / entry.file)["corpora"]
    assert set(corpora) == {"samples", "ravdess", "emodb"}
    assert entry.licence == corpora["ravdess"] == "CC-BY-NC-SA-4.0"


@pytest.mark.parametrize("name", ["angry", "happy", "sad", "surprised", "arctic", "librivox"])
def test_every_sentence_is_understood(instructor, name):
    written = instructor.instruct(load_voice(SAMPLES / f"{name}.flac").wave)
    understood = Instruction.parse(written.instruction.text)
    assert understood.emotion and not understood.unknown
    assert 4 <= len(written.instruction.text.split()) <= 25
    assert written.speech > 0.9


def test_an_angry_voice_is_angrier_than_a_sad_one(instructor):
    angry, sad = (instructor.instruct(load_voice(SAMPLES / f"{n}.flac").wave).probabilities for n in ("angry", "sad"))
    assert angry["angry"] > sad["angry"]
    assert sad["sad"] > angry["sad"]


def test_the_recordings_level_makes_no_difference(instructor):
    wave = load_voice(SAMPLES / "angry.flac").wave
    plain = instructor.instruct(wave)
    for level_db in (-6.0, -20.0):
        other = instructor.instruct(gain(wave, level_db))
        assert other.instruction.text == plain.instruction.text
        assert other.confidence == pytest.approx(plain.confidence, abs=0.02)


@pytest.mark.parametrize("kind", ["silence", *SOUNDS])
def test_what_is_no_speech_is_neutral_with_a_warning(instructor, kind):
    rng = np.random.default_rng(5)
    for seconds in (1.5, 4.0):
        wave = np.zeros(round(seconds * RATE_HZ), np.float32) if kind == "silence" else draw_sound(seconds, rng, kind)
        written = instructor.instruct(wave)
        assert written.instruction.emotion == "neutral"
        assert written.warnings


def test_clips_of_another_studio_are_heard_as_speech_with_less_confidence_than_those_of_training(instructor, real_data):
    strange = [
        instructor.instruct(load_voice(path).wave) for path in sorted((real_data / "demo_speech").glob("*.flac"))
    ]
    known = [
        instructor.instruct(load_voice(path).wave)
        for path in sorted((real_data / "ravdess" / "flac").glob("03-01-0[3-6]-02-01-01-01.flac"))
    ]
    assert len(strange) == 3 and len(known) == 4
    assert all(written.speech > 0.9 and not written.instruction.unknown for written in strange)
    assert np.mean([written.confidence for written in strange]) < np.mean([written.confidence for written in known])


def test_the_same_wave_has_the_same_sentence_whatever_is_asked_before(instructor):
    wave = load_voice(SAMPLES / "happy.flac").wave
    first = instructor.instruct(wave)
    instructor.instruct(load_voice(SAMPLES / "sad.flac").wave)
    assert instructor.instruct(wave) == first


def test_no_weight_of_a_frozen_model_wants_a_gradient(instructor):
    assert not any(weight.requires_grad for weight in instructor.language.network.parameters())
    assert instructor.language.network.dtype == torch.float32
