"""Plots of the prior: they show what they are given, and a sentence in them is text and nothing else."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from avi_lib.evaluation.prior_scores import Attributed
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import evenly
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.workbook import prior_plots

NASTY = "cost $5 and $\\frac{ <b>" + "long " * 30


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def clip(smile: float, frames: int = 40) -> MotionClip:
    values = np.zeros((frames, 55), np.float32)
    values[:, ARKIT.index("mouthSmileLeft")] = values[:, ARKIT.index("mouthSmileRight")] = smile
    return MotionClip(values, 25.0, ARKIT)


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def test_losses_are_shown_as_means_over_parts_of_a_long_log():
    log = [{"step": i, "diffusion": 1 / (i + 1), "contrast": 2.0, "s": 0.0} for i in range(1000)]
    left, right = drawn(prior_plots.plot_prior_losses(log)).axes
    assert len(left.lines[0].get_xdata()) == 150
    assert right.lines[0].get_ydata().tolist() == [2.0] * 150


def test_retrieval_has_a_row_for_every_sentence():
    panel = drawn(prior_plots.plot_retrieval(np.eye(3), ["a", NASTY, "c"])).axes[0]
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert len(labels) == 3 and len(labels[1].replace("\\$", "$")) == 46


def test_denoising_ends_where_it_ends():
    paths = {NASTY: np.cumsum(np.ones((5, 128)), axis=0), "b": np.zeros((5, 128))}
    _, right = drawn(prior_plots.plot_denoising(paths, np.random.default_rng(0).normal(size=(50, 128)))).axes
    assert right.lines[0].get_ydata()[-1] == 0 < right.lines[0].get_ydata()[0]


def test_guidance_shows_its_three_curves():
    grid = drawn(prior_plots.plot_guidance({1.0: (0.5, 0.9, 4.0), 2.0: (0.3, 0.8, 4.1)})).axes
    assert [panel.lines[0].get_ydata().tolist() for panel in grid] == [[0.5, 0.3], [0.9, 0.8], [4.0, 4.1]]


def test_samples_have_a_row_a_sentence_and_a_curve_a_sample():
    figure = drawn(prior_plots.plot_samples({NASTY: [clip(0.2), clip(0.6)], "b": [clip(0.1)]}))
    assert len(figure.axes) == 6
    assert [len(panel.lines) for panel in figure.axes] == [2, 2, 2, 1, 1, 1]
    assert figure.axes[2].lines[1].get_ydata()[0] == pytest.approx(0.6)


def test_attribution_writes_every_change():
    change = dict.fromkeys(ARKIT.groups, 0.0) | {"brows": 0.25}
    rows = [Attributed("brows up", "", clip(0.0), change), Attributed(NASTY, "", clip(0.0), change)]
    texts = [text.get_text() for text in drawn(prior_plots.plot_attribution(rows)).axes[0].texts]
    assert len(texts) == 12 and texts.count("0.250") == 2


def test_a_timeline_shows_shares_and_channels():
    timeline = evenly([Instruction.parse("She is calm."), Instruction.parse("She is furious.")], 1.6)
    upper, lower = drawn(prior_plots.plot_timeline(clip(0.4), timeline)).axes
    assert len(upper.lines) == 2 and len(lower.lines) == 3
    assert upper.lines[0].get_ydata()[0] == 1 and upper.lines[1].get_ydata()[-1] == 1
