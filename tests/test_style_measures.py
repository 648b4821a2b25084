"""Measures of styles and of what was asked: golden numbers on small examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avi_lib.corpus.scripts import StyleScript
from avi_lib.errors import InputError
from avi_lib.evaluation.prior_scores import (
    asked_units,
    cosines,
    diversity,
    energy_distance,
    retrieval,
    similarity,
)
from avi_lib.instruction.instruction import Instruction
from tools.benchmarks.prior import nearest_centroid, score_asked


def rng():
    return np.random.default_rng(0)


def test_cosines_of_equal_opposite_and_no_styles():
    a = np.array([[1.0, 0], [0, 2], [0, 0]])
    assert cosines(a, np.array([[3.0, 0], [0, -1], [1, 1]])).tolist() == [1, -1, 0]


def test_retrieval_counts_rows_whose_own_column_is_among_the_best_and_a_tie_counts_against():
    table = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert retrieval(table, 1).tolist() == [True, False, False]
    assert retrieval(table, 2).tolist() == [True, True, False]
    with pytest.raises(InputError):
        retrieval(table[:2], 1)
    styles = rng().normal(size=(20, 8))
    assert retrieval(similarity(styles, styles), 1).all()


def test_energy_distance_is_near_0_for_one_distribution_and_large_for_two():
    first, second = rng().normal(size=(2, 400, 6))
    assert abs(energy_distance(first, second)) < 0.05
    assert energy_distance(first, second + 3) > 2


def test_diversity_is_the_mean_over_ordered_pairs_as_the_reference_has_it():
    samples = rng().normal(size=(2, 10, 128))
    by_hand = sum(np.linalg.norm(a - b) for a in samples[0] for b in samples[0]) / (10 * 9)
    assert diversity(samples)[0] == pytest.approx(by_hand)
    assert diversity(np.repeat(samples[:, :1], 10, axis=1)).tolist() == [0, 0]
    with pytest.raises(InputError, match="two samples"):
        diversity(samples[:, :1])


def test_the_nearest_centroid_names_a_style():
    assert nearest_centroid(np.array([[0.0, 1], [5, 5]]), np.array([[0.0, 0], [4, 4]]), ["sad", "happy"]) == [
        "sad",
        "happy",
    ]


def test_asked_and_moved_units_are_scored_together():
    score = score_asked(
        [({"brow_down": 0.9, "jaw_drop": 0.3}, {"brow_down": 0.8}), ({"funnel": 0.6}, {"funnel": 0.5, "pucker": 0.2})]
    )
    assert (score.precision, score.recall, score.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert score.rho == pytest.approx(1.0)
    assert score.missed == {"jaw_drop": 1} and score.false == {"pucker": 1}


def test_without_evidence_a_score_is_nan():
    assert math.isnan(score_asked([({"brow_down": 0.5}, {"brow_down": 0.5})]).rho)
    assert math.isnan(score_asked([({}, {})]).f1)


def test_units_are_asked_by_the_names_they_are_measured_under():
    parts = {"eyes_closed": 0.3, "blink_more": 0.9, "head_nod": 0.9, "brow_down": 0.0, "funnel": 0.6}
    script = StyleScript("units", Instruction("x", action_units=parts), ("x",))
    assert asked_units(script) == {"lid_droop": 0.6, "funnel": 0.6}
    shut = StyleScript("units", Instruction("x", action_units={"eyes_closed": 0.9}), ("x",))
    assert asked_units(shut) == {"eyes_closed": 0.9}
