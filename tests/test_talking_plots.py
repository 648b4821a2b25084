"""Plots of a talking model: what their panels say, judged by numbers, labels and colours, not by pictures."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from raw_corpora import voice
from talking_corpora import performed, recorded
from test_corpus_plots import PHONES, moving, spoken

from avi_lib.corpus.dataset import Mixture
from avi_lib.errors import InputError
from avi_lib.evaluation.report import one_thread
from avi_lib.settings import TalkingSettings, TrainSettings
from avi_lib.training.generator import train_talking
from avi_lib.workbook import talking_plots
from avi_lib.workbook.talking_plots import EMOTION_COLOURS, LOSS_COLOURS, MOTION_LOSSES, LiveLosses


def lines(steps: int, **losses: float) -> list[dict[str, float]]:
    every = dict.fromkeys((*MOTION_LOSSES, "loss", "divergence"), 0.5) | losses
    return [{"step": 10 * (i + 1), "epoch": 0.1, "s": float(i), **every, "lips": 1 / (i + 1)} for i in range(steps)]


def labels(panel) -> list[str]:
    return [line.get_label() for line in panel.lines if not line.get_label().startswith("_")]


def test_losses_of_the_motion_stand_beside_the_others_at_their_steps():
    left, right, beside = talking_plots.plot_losses(lines(4, style=0.2, content=0.1)).axes
    assert labels(left) == list(MOTION_LOSSES)
    assert labels(right) == ["loss", "style", "content"] and labels(beside) == ["divergence"]
    lips = left.lines[0]
    assert lips.get_xdata().tolist() == [10, 20, 30, 40] and lips.get_ydata()[-1] == 0.25
    assert [line.get_color() for line in right.lines] == [LOSS_COLOURS[name] for name in labels(right)]
    entries = [text.get_text() for text in right.get_legend().get_texts()]
    assert entries == ["loss", "style", "content", "divergence"]


def test_everything_that_training_logs_is_drawn(tmp_path):
    mixture = Mixture.of([performed(), recorded()], split="train", frames=25)
    train = TrainSettings(steps=1, batch=2, warmup=1)
    small = TalkingSettings(width=16, style_width=16, frames=25, style_frames=25, train=train)
    with one_thread():
        _, log = train_talking(mixture, small, tmp_path, progress=False)
    drawn = [name for panel in talking_plots.plot_losses(log).axes for name in labels(panel)]
    assert sorted(drawn) == sorted(log[0].keys() - {"step", "epoch", "s"})


def test_losses_that_were_not_used_are_left_out_and_one_line_is_a_dot():
    _, right, _ = talking_plots.plot_losses(lines(1)).axes
    assert labels(right) == ["loss"] and right.lines[0].get_marker() == "."


def test_a_long_log_is_shown_as_means_that_keep_its_end():
    log = lines(900)
    log[-1]["loss"] = 6.5
    curve = talking_plots.plot_losses(log).axes[1].lines[0]
    assert len(curve.get_xdata()) == 150 and curve.get_xdata()[-1] == 9000
    assert curve.get_ydata()[-1] == pytest.approx((5 * 0.5 + 6.5) / 6)


def test_live_losses_are_drawn_at_once_and_then_only_every_so_often():
    shown: list[Figure] = []
    seldom = LiveLosses(shown.append, every_s=1e6)
    for line in lines(3):
        seldom(line)
    assert len(shown) == 1 and len(seldom.lines) == 3
    often = LiveLosses(shown.append, every_s=0.0)
    for line in lines(2):
        often(line)
    assert [len(figure.axes[1].lines[0].get_xdata()) for figure in shown] == [1, 1, 2]


def test_target_and_what_was_made_share_a_colour_and_twins_are_one_curve():
    wave = np.linspace(0, 0.5, 25, dtype=np.float32)
    target = moving(jawOpen=wave, mouthSmileLeft=0.8 * wave, mouthSmileRight=0.8 * wave, headYaw=-wave)
    made = moving(jawOpen=wave / 2)
    lips, head = talking_plots.plot_target(target, made).axes
    assert labels(lips) == ["jawOpen", "mouthSmileLeft"]
    colours = [line.get_color() for line in lips.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [line.get_ydata()[-1] for line in lips.lines] == pytest.approx([0.5, 0.25, 0.4, 0.0])
    assert lips.lines[0].get_linewidth() > lips.lines[1].get_linewidth()
    assert head.get_ylabel() == "head (rad)" and head.get_ylim()[0] < -0.5 and head.get_ylim()[1] == 0.1


def test_lip_gaps_lie_under_the_waveform_with_bilabials_shaded():
    gaps_mm = {"target": np.zeros(25), "learned": np.ones(25)}
    top, bottom = talking_plots.plot_gaps(spoken(voice(1.0)), PHONES, gaps_mm, 25.0).axes
    assert top.get_ylabel() == "wave" and [text.get_text() for text in top.texts] == ["M", "AA"]
    assert labels(bottom) == ["target", "learned"] and bottom.get_xlim() == (0, 1)
    (shade,) = bottom.patches
    assert (shade.get_x(), shade.get_width()) == pytest.approx((0.2, 0.1))


def test_every_sound_without_speech_has_its_gap_beneath_and_all_share_a_scale():
    names = ("silence", "breath", "hiss", "knock", "keys")
    sounds = {name: np.zeros(16000, np.float32) for name in names}
    gaps_mm = {name: np.full(25, float(i)) for i, name in enumerate(names)}
    figure = talking_plots.plot_rest(sounds, gaps_mm, 25.0, spoken_mm=10.0)
    assert [panel.get_title() for panel in figure.axes if panel.get_title()] == list(names)
    below = [panel for panel in figure.axes if len(panel.lines) == 2]
    assert [panel.lines[1].get_ydata()[0] for panel in below] == [0, 1, 2, 3, 4]
    assert {panel.get_ylim()[1] for panel in below} == {11.5}
    assert {panel.lines[0].get_ydata()[0] for panel in below} == {10.0}


def test_the_map_keeps_the_distances_of_styles_that_lie_in_a_plane():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2)) * (3.0, 1.0)
    turned = flat @ np.linalg.qr(rng.normal(size=(128, 2)))[0].T + 5.0
    where = talking_plots.principal_map(turned)
    apart = [np.linalg.norm(points[:, None] - points, axis=2) for points in (flat, where.points)]
    assert np.allclose(*apart, atol=1e-6)
    assert where.shares[0] > 0.7 and sum(where.shares) == pytest.approx(1)


def test_a_map_of_two_styles_is_refused_and_one_of_equal_styles_is_a_point():
    with pytest.raises(InputError, match="three styles"):
        talking_plots.principal_map(np.zeros((2, 128)))
    where = talking_plots.principal_map(np.ones((3, 128)))
    assert np.allclose(where.points, 0) and where.shares == (0, 0)


def test_dots_take_the_colour_of_their_emotion_whatever_others_are_there():
    where = talking_plots.principal_map(np.random.default_rng(0).normal(size=(4, 128)))
    figure = talking_plots.plot_styles(where, ["sad", None, "happy", "sad"], {"smile": np.array([0.0, 0.2, 0.9, 0.1])})
    first, second = figure.axes[:2]
    drawn = {dots.get_label(): dots for dots in first.collections}
    assert list(drawn) == ["none", "happy", "sad"]
    assert to_hex(drawn["sad"].get_facecolor()[0]) == to_hex(EMOTION_COLOURS["sad"])
    assert np.allclose(drawn["sad"].get_offsets(), where.points[[0, 3]])
    (dots,) = second.collections
    assert second.get_title() == "smile" and dots.get_array().tolist() == [0.0, 0.1, 0.2, 0.9]
    assert np.allclose(dots.get_offsets()[-1], where.points[2])
    assert figure.axes[2].get_xlabel() == "strength"


def test_the_way_between_two_styles_has_a_curve_for_each_share_in_every_panel():
    motions = [moving(browDownLeft=share, browDownRight=share) for share in (0.0, 0.5, 1.0)]
    jaw, brow = talking_plots.plot_between(motions, [0.0, 0.5, 1.0], ("jawOpen", "browDown")).axes
    assert [text.get_text() for text in jaw.get_legend().get_texts()] == ["0", "0.5", "1"]
    assert [line.get_ydata()[0] for line in brow.lines] == [0.0, 0.5, 1.0]
    assert len({line.get_color() for line in brow.lines}) == 3 and jaw.get_ylim()[1] == 0.1


def test_styles_that_differ_most_are_chosen_once_each():
    styles = np.array([[0.0, 0], [0.1, 0], [9, 0], [0, 5], [8.9, 0]])
    assert talking_plots.far_apart(styles, 3) == [2, 3, 1]
    assert sorted(talking_plots.far_apart(styles[:2], 3)) == [0, 1]
    assert talking_plots.far_apart(np.zeros((3, 2)), 2) == [0, 1]
