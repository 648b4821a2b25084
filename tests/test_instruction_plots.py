"""Plots of the instructor show what they are given."""

from __future__ import annotations

import numpy as np

from avi_lib.evaluation.instructor_scores import Verdict
from avi_lib.instruction.action_units import EMOTIONS
from avi_lib.instruction.instructor_network import FEELINGS
from avi_lib.workbook.instruction_plots import (
    plot_confusion,
    plot_instructor_losses,
    plot_places,
    plot_reliability,
    plot_shares,
)


def verdict():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(EMOTIONS)), 40)
    return Verdict(shares, tuple(str(name) for name in rng.choice(EMOTIONS[:4], 40)))


def test_losses_have_a_panel_for_every_part_and_an_empty_log_is_no_error():
    logs = {
        "align": [{"step": n, "states": 3.0 - n, "manner": 3.0} for n in (1, 2)],
        "speak": [{"step": 1, "loss": 2.0}],
    }
    figure = plot_instructor_losses(logs)
    assert [axes.get_title() for axes in figure.axes] == ["align", "speak", "write"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 0]
    assert list(figure.axes[0].lines[0].get_ydata()) == [2.0, 1.0]


def test_places_show_every_clip_and_a_cross_for_every_sentence():
    rng = np.random.default_rng(1)
    emotions = [EMOTIONS[n % 3] for n in range(30)]
    anchors = rng.normal(size=(len(FEELINGS), 8))
    figure = plot_places(rng.normal(size=(30, 8)), emotions, anchors, [feeling.emotion for feeling in FEELINGS])
    (axes,) = figure.axes
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == 30
    assert len(axes.lines) == len(FEELINGS)


def test_a_confusion_has_a_number_for_every_share_that_can_be_seen():
    figure = plot_confusion(verdict())
    shown = [float(text.get_text()) for text in figure.axes[0].texts]
    assert sum(shown) > 3.5
    assert figure.axes[0].get_xlabel() == "heard"


def test_reliability_names_the_error():
    assert f"{verdict().calibration_error:.2f}" in plot_reliability(verdict()).axes[0].get_title()


def test_bars_of_shares_fill_the_whole():
    shares = [dict.fromkeys(EMOTIONS, 0.1), {**dict.fromkeys(EMOTIONS, 0.0), "sad": 1.0}]
    (axes,) = plot_shares(shares, ["a$b", "c"]).axes
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    np.testing.assert_allclose(widths.sum(axis=0), [1, 1])
