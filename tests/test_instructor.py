"""The instructor: probabilities, sentences, what is unsure and what is no speech, timelines, models that do not fit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_instructors import Mirror, example_features, frozen, sounds, trained
from small_language_models import llama

from avi_lib.errors import InputError
from avi_lib.instruction import instructor as module
from avi_lib.instruction.action_units import EMOTION_CLASSES, EMOTIONS, EmotionClass
from avi_lib.instruction.grammar import OPENING, class_words
from avi_lib.instruction.instructor import (
    NEUTRAL,
    UNSURE,
    Instructor,
    heard_units,
    likeliest,
    load_instructor,
    softened,
    to_write,
)
from avi_lib.instruction.instructor_network import UNITS, QFormer, means, save_instructor_model, stack
from avi_lib.speech.encoders import RATE_HZ


@pytest.fixture(scope="module")
def instructor():
    return Instructor(trained().model, Mirror(), frozen().language, "for tests")


def logs(**shares):
    """Log probabilities of emotion classes, such as angry3=0.7; what is left is spread over the others."""
    named = {EmotionClass(name[:-1], int(name[-1])): share for name, share in shares.items()}
    rest = (1 - sum(shares.values())) / (len(EMOTION_CLASSES) - len(named))
    return np.log([max(named.get(label, rest), 1e-9) for label in EMOTION_CLASSES]).astype(np.float32)


def wave(seconds=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.2, round(seconds * RATE_HZ)).clip(-1, 1).astype(np.float32)


def test_an_instruction_begins_with_its_emotion_and_is_the_same_every_time(instructor):
    written = instructor.instruct(wave())
    assert written.instruction.text.startswith(OPENING)
    assert written == instructor.instruct(wave())
    assert set(written.probabilities) == set(EMOTIONS)
    assert sum(written.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert written.confidence == written.probabilities[written.predicted.emotion]


def test_probabilities_of_a_batch_are_those_of_each_clip_alone(instructor):
    clips = [
        [example_features("angry", 3, 1)],
        [example_features("calm", 1, 2), example_features("calm", 1, 3, 50)],
        [example_features("sad", 2, 4)],
    ]
    together = instructor.classify(clips)
    sentences = instructor.write(together)
    for number, clip in enumerate(clips):
        alone = instructor.classify([clip])
        np.testing.assert_allclose(alone.log_probabilities[0], together.log_probabilities[number], atol=1e-3)
        assert instructor.write(alone)[0].instruction == sentences[number].instruction


def test_what_sounds_like_no_speech_is_neutral_with_a_warning(instructor):
    (written,) = instructor.write(instructor.classify([sounds()[:1]]))
    assert written.instruction.text.startswith(f"{OPENING} {class_words(NEUTRAL)}")
    assert written.speech < 0.5
    assert any("hardly any speech" in warning for warning in written.warnings)


def test_an_unsure_emotion_is_one_level_weaker_and_a_lost_one_neutral():
    assert softened(logs(angry3=0.5, angry2=0.2), 0.9) == (EmotionClass("angry", 3), [])
    assert likeliest(logs(sad2=0.3, angry1=0.2, angry2=0.25, angry3=0.05)) == EmotionClass("angry", 2)
    chosen, warnings = softened(logs(angry3=UNSURE - 0.1), 0.9)
    assert chosen == EmotionClass("angry", 2) and "weakened" in warnings[0]
    chosen, warnings = softened(logs(angry3=0.2), 0.9, lost=0.3)
    assert chosen == NEUTRAL and "neutral" in warnings[0]
    assert softened(logs(angry3=0.9), 0.2)[0] == NEUTRAL
    assert softened(logs(calm1=UNSURE - 0.03), 0.9) == (EmotionClass("calm", 1), [])


def test_units_that_are_heard_are_written_the_strongest_first_and_none_against_another(instructor):
    strengths = dict.fromkeys(UNITS.values(), 0.0) | {"lip_corner_pull": 0.9, "cheek_raise": 1.4, "dimple": 0.2}
    units = heard_units(np.array(list(strengths.values()), np.float32))
    assert list(units.items()) == [("cheek_raise", 1.0), ("lip_corner_pull", pytest.approx(0.9))]
    classified = instructor.classify([[example_features("angry", 3, 1)]])
    sure = logs(happy3=0.9)[None]
    row = np.array([list(strengths.values())], np.float32)
    (written,) = instructor.write(replace(classified, log_probabilities=sure, units=row))
    assert written.instruction.emotion == "happy" and set(written.instruction.action_units) == set(units)
    assert written.units == units


def test_a_smile_is_not_written_into_a_sadness_that_is_unsure():
    strengths = dict.fromkeys(UNITS.values(), 0.0) | {"lip_corner_pull": 0.7, "lid_tighten": 0.4}
    row = np.array(list(strengths.values()), np.float32)
    assert set(to_write(logs(sad2=UNSURE + 0.1), 0.9, row)[1]) == {"lip_corner_pull", "lid_tighten"}
    assert set(to_write(logs(sad2=UNSURE - 0.1), 0.9, row)[1]) == {"lid_tighten"}
    assert set(to_write(logs(happy2=UNSURE - 0.1), 0.9, row)[1]) == {"lip_corner_pull", "lid_tighten"}


@pytest.mark.parametrize("free", [False, True])
def test_words_are_drawn_by_their_seed_behind_the_same_emotion(instructor, free):
    units = np.zeros((1, len(UNITS)), np.float32)
    units[0, :3] = 0.9
    classified = replace(
        instructor.classify([[example_features("angry", 3, 1)]]), log_probabilities=logs(angry3=0.9)[None], units=units
    )
    first, again, *others = (instructor.write(classified, 2.0, seed, free)[0] for seed in (1, 1, 2, 3, 4))
    assert first == again
    assert any(first.instruction.text != other.instruction.text for other in others)
    assert all(other.predicted == first.predicted for other in others)


def test_the_mean_of_what_somebody_says_may_stand_for_a_neutral_recording(instructor):
    voices = [wave(1.0, 1), wave(2.0, 2)]
    own = instructor.own_means(voices)
    mean = np.mean([instructor.means_of(voice).numpy() for voice in voices], axis=0)
    np.testing.assert_allclose(own, mean - instructor.model.usual.numpy(), atol=1e-5)
    assert instructor.instruct(voices[0], neutral=own).probabilities.keys() == set(EMOTIONS)
    first, both = instructor.running_means(voices)
    np.testing.assert_allclose(first, instructor.own_means(voices[:1]), atol=1e-5)
    np.testing.assert_allclose(both, own, atol=1e-5)


def test_in_a_running_timeline_every_group_but_the_first_is_heard_beside_the_mean_up_to_it(instructor, monkeypatch):
    real, beside = Instructor.classify, []

    def classify(self, recordings, neutral=None):
        beside.append(neutral)
        return real(self, recordings, neutral)

    monkeypatch.setattr(Instructor, "classify", classify)
    speech = wave(21.0)
    instructor.timeline(speech, running=True)
    assert beside[0] is None and len(beside) >= 3
    groups = [means(stack([features])) for _, features in instructor._groups(speech)]
    np.testing.assert_allclose(beside[1], (groups[0] + groups[1]) / 2 - instructor.model.usual, atol=1e-5)


def test_words_count_beside_the_voice_and_tell_nothing_where_they_are_alike(instructor):
    clip = [[example_features("calm", 1, 2)]]
    told = np.full((1, len(EMOTIONS)), 1 / len(EMOTIONS), np.float32)
    alone = instructor.classify(clip).log_probabilities
    np.testing.assert_allclose(instructor.classify(clip, told=told).log_probabilities, alone, atol=1e-5)
    told[0, EMOTIONS.index("sad")] = 0.9
    gained = (instructor.classify(clip, told=told).log_probabilities - alone)[0]
    sad = np.array([label.emotion == "sad" for label in EMOTION_CLASSES])
    assert gained[sad].min() > gained[~sad].max() + 1


def test_a_text_that_is_not_understood_is_used_with_a_warning(instructor, monkeypatch):
    babble = instructor.language.tokens(" brows and smile and lips")
    monkeypatch.setattr(
        type(instructor.language), "go_on", lambda self, kv_cache, most, begin, *_: [[*begin[0], *babble * 9]]
    )
    written = instructor.instruct(wave(), free=True)
    assert "brows and smile" in written.instruction.text
    monkeypatch.setattr(type(instructor.language), "text", lambda self, tokens: "xyzzy plugh")
    written = instructor.instruct(wave(), free=True)
    assert written.instruction.text == f"{OPENING} xyzzy plugh"
    assert any("not understood in full: xyzzy, plugh" in warning for warning in written.warnings)
    monkeypatch.setattr(type(instructor.language), "text", lambda self, tokens: "very " * 200)
    assert len(instructor.instruct(wave(), free=True).instruction.text) <= 400


def test_a_long_recording_is_read_in_parts(instructor, monkeypatch):
    parts = [features for _, features in instructor._groups(wave(21.0))]
    assert len(parts) >= 3
    assert sum(part.shape[1] for part in parts) == pytest.approx(21 * 25, abs=len(parts))
    together = instructor.instruct(wave(21.0))
    assert together.instruction.text.startswith(OPENING)
    monkeypatch.setattr(module, "PARTS", 2)
    assert instructor.instruct(wave(21.0)).probabilities == pytest.approx(together.probabilities, abs=1e-5)


def test_a_timeline_has_an_entry_for_every_change(instructor, monkeypatch):
    said = iter(["angry", "angry", "sad", "sad", "angry"] * 3)
    real = Instructor.classify

    def classify(self, recordings, neutral=None):
        return real(self, [[example_features(next(said), 3, 5)]])

    monkeypatch.setattr(Instructor, "classify", classify)
    timeline, written = instructor.timeline(wave(30.0))
    assert len(timeline.entries) == len(written) >= 1
    assert timeline.entries[0].at_s == 0
    texts = [entry.instruction.text for entry in timeline.entries]
    assert all(a != b for a, b in itertools.pairwise(texts))


def test_any_short_sound_has_an_instruction_and_what_is_no_sound_is_refused(instructor):
    for samples in (1, 40, 3200):
        written = instructor.instruct(wave(1.0)[:samples])
        assert written.instruction.text.startswith(OPENING)
        assert all(math.isfinite(share) for share in written.probabilities.values())
    for bad in (np.zeros(0, np.float32), np.full(1600, np.nan, np.float32)):
        with pytest.raises(InputError):
            instructor.instruct(bad)


def test_models_that_weights_were_not_trained_with_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "i.safetensors"
    save_instructor_model(trained().model, path)
    other = type("Other", (Mirror,), {"fingerprint": "another"})
    wrong = llama(tmp_path / "llama", seed=4)
    for encoder, language, words in (
        (Mirror(), frozen().language, None),
        (other(), frozen().language, "the speech encoder mirror that"),
        (Mirror(), wrong, "the language model"),
    ):
        monkeypatch.setattr(module, "load_encoder", lambda name, found=encoder: found)
        monkeypatch.setattr(module, "load_language_model", lambda name, found=language: found)
        if words is None:
            assert load_instructor(path).instruct(wave()).instruction.text
            continue
        with pytest.raises(InputError, match=words):
            load_instructor(path)


def test_layers_are_mixed_by_weights_that_are_learned_and_padding_does_not_matter():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = QFormer(states=6, layers=3, width=16, queries=3, blocks=2, heads=2, dropout=0.0).eval()
    states = torch.randn(2, 3, 7, 6)
    there = torch.arange(7) < torch.tensor([[7], [4]])
    both = model(states, there)
    assert both.shape == (2, 3, 16)
    both.square().sum().backward()
    assert model.layers.grad is not None and bool((model.layers.grad != 0).any())
    with torch.no_grad():
        states[1, :, 5] = 100
        torch.testing.assert_close(model(states, there), both, atol=1e-5, rtol=1e-4)
        model.layers.copy_(torch.tensor([50.0, 0.0, 0.0]))
        first = model(states, there)
        states[:, 1:] = 0
        torch.testing.assert_close(model(states, there), first)
