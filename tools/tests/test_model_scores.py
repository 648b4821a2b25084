"""Scores of priors and of talking models, and which phrase of a sentence moved what."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from raw_corpora import StillEncoder
from small_priors import Letters, prior
from talking_corpora import performed
from test_generator import SPOKEN, made, performer

from avi_lib.corpus.dataset import Item
from avi_lib.corpus.scripts import StyleScript
from avi_lib.errors import InputError
from avi_lib.face.head import load_head
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import STYLE, LearnedGenerator, Shape, TalkingModel
from avi_lib.motion.prior import PriorSampler
from avi_lib.settings import SampleSettings
from avi_lib.speech.encoders import RATE_HZ, one_thread
from tools.benchmarks import scores
from tools.benchmarks.attribution import attribute, group_change, phrases, without
from tools.benchmarks.systems import score_exchange, still_sounds


def rng():
    return np.random.default_rng(0)


def test_retrieval_counts_rows_whose_own_column_is_among_the_best_and_a_tie_counts_against():
    table = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert scores.retrieval(table, 1).tolist() == [True, False, False]
    assert scores.retrieval(table, 2).tolist() == [True, True, False]
    with pytest.raises(InputError):
        scores.retrieval(table[:2], 1)
    styles = rng().normal(size=(20, 8))
    assert scores.retrieval(scores.similarity(styles, styles), 1).all()


def test_styles_are_compared_by_cosine_energy_distance_and_diversity():
    a = np.array([[1.0, 0], [0, 2], [0, 0]])
    assert scores.cosines(a, np.array([[3.0, 0], [0, -1], [1, 1]])).tolist() == [1, -1, 0]
    first, second = rng().normal(size=(2, 400, 6))
    assert abs(scores.energy_distance(first, second)) < 0.05 and scores.energy_distance(first, second + 3) > 2
    samples = rng().normal(size=(2, 10, 128))
    by_hand = sum(np.linalg.norm(a - b) for a in samples[0] for b in samples[0]) / (10 * 9)
    assert scores.diversity(samples)[0] == pytest.approx(by_hand)
    assert scores.diversity(np.repeat(samples[:, :1], 10, axis=1)).tolist() == [0, 0]
    with pytest.raises(InputError, match="two samples"):
        scores.diversity(samples[:, :1])


def test_units_are_asked_by_the_names_they_are_measured_under():
    parts = {"eyes_closed": 0.3, "blink_more": 0.9, "head_nod": 0.9, "brow_down": 0.0, "funnel": 0.6}
    script = StyleScript("units", Instruction("x", action_units=parts), ("x",))
    assert scores.asked_units(script) == {"lid_droop": 0.6, "funnel": 0.6}
    shut = StyleScript("units", Instruction("x", action_units={"eyes_closed": 0.9}), ("x",))
    assert scores.asked_units(shut) == {"eyes_closed": 0.9}


QUICK = SampleSettings(steps=4)


@pytest.fixture(scope="module")
def prior_sampler():
    return PriorSampler(prior(), Letters(), "for tests")


@pytest.fixture(scope="module")
def generator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = made(features=2).requires_grad_(False)
        model.generator.hold.weight.normal_(0, 0.02)
    return LearnedGenerator(model, StillEncoder(), "for tests")


def test_every_phrase_has_a_row_and_every_group_a_change(prior_sampler, generator):
    asked = Instruction.parse("She is furious, brows raised, head nodding.")
    rows, again = (attribute(prior_sampler, generator, SPOKEN, performer(), asked, 7, QUICK) for _ in range(2))
    assert [row.phrase for row in rows] == ["is furious", "brows raised", "head nodding"]
    assert all(set(row.change) == set(ARKIT.groups) and min(row.change.values()) >= 0 for row in rows)
    assert rows[1].rest == "She is furious, head nodding."
    assert [row.change for row in rows] == [row.change for row in again]
    (row,) = attribute(prior_sampler, generator, SPOKEN, performer(), Instruction.parse("A person speaks."), 3, QUICK)
    assert (row.phrase, row.rest) == ("A person speaks.", "")


def test_shut_eyes_at_the_start_of_a_timeline_go_on_blinking_later(generator):
    shut, plain = Instruction.parse("Eyes extremely tightly closed."), Instruction.parse("A person speaks.")
    timeline = Timeline((Entry(0.0, shut), Entry(0.5, plain)))
    styles = [np.zeros(128, np.float32)] * 2
    blinking = [generator.perform_timeline(SPOKEN, performer(), timeline, seed, styles) for seed in range(12)]
    still = generator.perform_timeline(SPOKEN, performer(blinks=False), timeline, 0, styles)
    assert max((each["eyeBlinkLeft"] - still["eyeBlinkLeft"]).max() for each in blinking) > 0.4


def test_a_change_is_the_mean_absolute_difference_of_a_group():
    first, second = (np.zeros((10, 55), np.float32) for _ in range(2))
    second[:, list(ARKIT.groups["brows"])] = 0.25
    change = group_change(MotionClip(first, 25.0, ARKIT), MotionClip(second, 25.0, ARKIT))
    assert change["brows"] == pytest.approx(0.25) and change["lips"] == 0


def test_a_timeline_fades_from_style_to_style_without_a_jump(generator):
    calm, furious = Instruction.parse("She is calm."), Instruction.parse("She is furious.")
    styles = [np.full(128, value, np.float32) for value in (-1.0, 1.0)]
    person = performer(blinks=False, gaze=False, sway=False)
    timeline = Timeline((Entry(0.0, calm), Entry(len(person) / 50, furious, 0.6)))
    motion = generator.perform_timeline(SPOKEN, person, timeline, 1, styles)
    ends = [
        generator.perform(SPOKEN, person, asked, 1, style) for asked, style in zip((calm, furious), styles, strict=True)
    ]
    np.testing.assert_allclose(motion.values[:4], ends[0].values[:4], atol=0.02)
    np.testing.assert_allclose(motion.values[-4:], ends[1].values[-4:], atol=0.02)
    apart = np.abs(ends[0].values - ends[1].values).max()
    fastest = max(np.abs(np.diff(end.values, axis=0)).max() for end in ends)
    assert np.abs(np.diff(motion.values, axis=0)).max() < fastest + 0.25 * apart


# Talking models


JAW = ARKIT.index("jawOpen")


@pytest.fixture(autouse=True)
def alone():
    """Two threads that wait for each other on busy cores take many times as long."""
    with one_thread():
        yield


class Knowing(TalkingModel):
    """Knows all performances of a corpus: the clip is found by its features, the script by what is shown.

    `heeds` the style or speaks in the clip's own, and is `off` in every channel.
    """

    def __init__(self, items: list[Item], heeds: bool = True, off: float = 0.0) -> None:
        super().__init__(Shape("ARKIT", "still", "0" * 64, 2, 16))
        self.heeds, self.off, self.shown, self.true = heeds, np.float32(off), {}, {}
        for corpus, clip in ((item.corpus, item.clip) for item in items):
            features = corpus.features(clip).astype(np.float32).tobytes()
            for number, script in enumerate(clip.scripts):
                motion = corpus.motion(clip, number).astype(np.float32)
                self.shown[motion.tobytes()] = script
                self.true[features, script if heeds else number] = motion
        self.scripts = sorted({script for item in items for script in item.clip.scripts})

    def style_of(self, motion):
        style = np.zeros(STYLE, np.float32)
        style[self.scripts.index(self.shown[motion.values.tobytes()])] = 1.0
        return style

    def motion_of(self, features, style, contour=None):
        script = self.scripts[int(style.argmax())] if self.heeds else 0
        return MotionClip(self.true[features.tobytes(), script] + self.off, 25.0, ARKIT)


def held_out() -> list[Item]:
    return [Item(performed(), clip) for clip in performed().select(split="test")]


def test_a_model_that_knows_every_performance_makes_no_error_and_one_without_style_their_distance():
    items = held_out()
    scores, same = (score_exchange(Knowing(items, heeds=heeds), items, load_head()) for heeds in (True, False))
    assert {scores[name] for name in ("EVE exchanged", "EVE own", "LVE exchanged", "LVE own")} == {0.0}
    assert scores["EVE distance"] > 0.1
    assert same["EVE exchanged"] == pytest.approx(same["EVE distance"]) and same["EVE own"] == 0.0


def test_sounds_without_speech_are_the_same_every_time_and_of_known_levels():
    first, second = still_sounds(), still_sounds()
    assert first.keys() == second.keys() >= {"silence", "room tone", "breath", "hiss", "knock", "keys"}
    assert all((first[name] == second[name]).all() for name in first)
    assert {len(wave) for wave in first.values()} == {4 * RATE_HZ} and not first["silence"].any()
    level = {name: float(np.sqrt(np.mean(np.square(wave)))) for name, wave in first.items()}
    assert level["faint noise"] < level["room tone"] < level["loud noise"] < 1


# Phrases of a sentence, and the sentence without them.


@pytest.mark.parametrize(
    ("sentence", "found", "rests"),
    [
        ("A person feels quite angry and speaks with brow strongly down.", ["feels quite angry", "brow strongly down"],
         ["A person speaks with brow strongly down.", "A person feels quite angry and speaks."]),
        ("The moon over water, silver light.", ["The moon over water", "silver light"], None),  # nothing is understood
        ("and, with; but.", [], []),
        ("She is furious, without smiling.", None, ["She, without smiling.", "She is furious."]),
        ("Sadness and a touch of fear", None, ["a touch of fear", "Sadness"]),
        ("Happy", ["Happy"], [""]),
    ],
)  # fmt: skip
def test_phrases_ask_for_something_and_a_sentence_without_one_is_still_one(sentence, found, rests):
    assert found is None or [phrase.text for phrase in phrases(sentence)] == found
    assert rests is None or [without(sentence, phrase) for phrase in phrases(sentence)] == rests


@given(st.text(max_size=200))
def test_phrases_are_where_they_say_and_leaving_one_out_never_adds(sentence):
    for phrase in phrases(sentence):
        assert sentence[phrase.start : phrase.stop] == phrase.text
        assert len(without(sentence, phrase)) <= len(sentence)


def test_cutting_a_phrase_out_takes_time_that_grows_with_the_length_only():
    start = time.process_time()
    many = "she is happy" + "," * 400 + "x, smiling."
    assert without(many, phrases(many)[-1]) == "she is happy" + "," * 400 + "x."
    assert time.process_time() - start < 0.05
