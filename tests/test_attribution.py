"""Attribution: what is left out changes, what is not asked for does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_corpora import StillEncoder
from small_priors import Letters, prior
from test_generator import SPOKEN, made, performer

from avi_lib.evaluation.prior_scores import attribute, group_change
from avi_lib.instruction.instruction import Entry, Instruction, Timeline
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.generator import LearnedGenerator
from avi_lib.motion.prior import PriorSampler
from avi_lib.settings import SampleSettings

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
    rows = attribute(prior_sampler, generator, SPOKEN, performer(), asked, 7, QUICK)
    assert [row.phrase for row in rows] == ["is furious", "brows raised", "head nodding"]
    assert all(set(row.change) == set(ARKIT.groups) and min(row.change.values()) >= 0 for row in rows)
    assert rows[1].rest == "She is furious, head nodding."


def test_a_phrase_that_is_a_rhythm_moves_the_head(prior_sampler, generator):
    asked = Instruction.parse("She is calm, nodding strongly.")
    nod = attribute(prior_sampler, generator, SPOKEN, performer(), asked, 7, QUICK)[-1]
    still = Instruction.parse("She is calm, brows raised.")
    plain = attribute(prior_sampler, generator, SPOKEN, performer(), still, 7, QUICK)[-1]
    assert nod.phrase == "nodding strongly"
    assert nod.motion["headPitch"].std() < plain.motion["headPitch"].std() + 0.2


def test_a_sentence_without_a_phrase_is_one(prior_sampler, generator):
    rows = attribute(prior_sampler, generator, SPOKEN, performer(), Instruction.parse("A person speaks."), 3, QUICK)
    assert [(row.phrase, row.rest) for row in rows] == [("A person speaks.", "")]


def test_shut_eyes_at_the_start_of_a_timeline_go_on_blinking_later(generator):
    shut, plain = Instruction.parse("Eyes extremely tightly closed."), Instruction.parse("A person speaks.")
    timeline = Timeline((Entry(0.0, shut), Entry(0.5, plain)))
    styles = [np.zeros(128, np.float32)] * 2
    blinking = [generator.perform_timeline(SPOKEN, performer(), timeline, seed, styles) for seed in range(12)]
    still = generator.perform_timeline(SPOKEN, performer(blinks=False), timeline, 0, styles)
    assert max((each["eyeBlinkLeft"] - still["eyeBlinkLeft"]).max() for each in blinking) > 0.4


def test_the_same_seed_gives_the_same_rows(prior_sampler, generator):
    asked = Instruction.parse("She is furious, brows raised.")
    first, again = (attribute(prior_sampler, generator, SPOKEN, performer(), asked, 3, QUICK) for _ in range(2))
    assert [row.change for row in first] == [row.change for row in again]


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
