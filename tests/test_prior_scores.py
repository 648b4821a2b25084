"""Scores of a prior: measures of styles and of what was asked, and the share of each phrase in the motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_corpora import StillEncoder
from small_priors import Letters, prior
from test_generator import SPOKEN, made, performer

from avi_lib.corpus.scripts import StyleScript
from avi_lib.errors import InputError
from avi_lib.evaluation.scores import (
    asked_units,
    attribute,
    cosines,
    diversity,
    energy_distance,
    group_change,
    retrieval,
    similarity,
)
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import LearnedGenerator
from avi_lib.motion.prior import PriorSampler
from avi_lib.settings import SampleSettings


def rng():
    return np.random.default_rng(0)


def test_retrieval_counts_rows_whose_own_column_is_among_the_best_and_a_tie_counts_against():
    table = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert retrieval(table, 1).tolist() == [True, False, False]
    assert retrieval(table, 2).tolist() == [True, True, False]
    with pytest.raises(InputError):
        retrieval(table[:2], 1)
    styles = rng().normal(size=(20, 8))
    assert retrieval(similarity(styles, styles), 1).all()


def test_styles_are_compared_by_cosine_energy_distance_and_diversity():
    a = np.array([[1.0, 0], [0, 2], [0, 0]])
    assert cosines(a, np.array([[3.0, 0], [0, -1], [1, 1]])).tolist() == [1, -1, 0]
    first, second = rng().normal(size=(2, 400, 6))
    assert abs(energy_distance(first, second)) < 0.05 and energy_distance(first, second + 3) > 2
    samples = rng().normal(size=(2, 10, 128))
    by_hand = sum(np.linalg.norm(a - b) for a in samples[0] for b in samples[0]) / (10 * 9)
    assert diversity(samples)[0] == pytest.approx(by_hand)
    assert diversity(np.repeat(samples[:, :1], 10, axis=1)).tolist() == [0, 0]
    with pytest.raises(InputError, match="two samples"):
        diversity(samples[:, :1])


def test_units_are_asked_by_the_names_they_are_measured_under():
    parts = {"eyes_closed": 0.3, "blink_more": 0.9, "head_nod": 0.9, "brow_down": 0.0, "funnel": 0.6}
    script = StyleScript("units", Instruction("x", action_units=parts), ("x",))
    assert asked_units(script) == {"lid_droop": 0.6, "funnel": 0.6}
    shut = StyleScript("units", Instruction("x", action_units={"eyes_closed": 0.9}), ("x",))
    assert asked_units(shut) == {"eyes_closed": 0.9}


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
