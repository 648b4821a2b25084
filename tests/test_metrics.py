"""Measures of a talking face on motion made by hand, where every figure can be worked out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import (
    closed_fraction,
    closures,
    correlation,
    eve_mm,
    fdd_mm,
    frame_phones,
    jitter_mm,
    lip_closure,
    lve_mm,
)
from avi_lib.evaluation.systems import read_clips
from avi_lib.face.head import Head, load_head
from avi_lib.motion.clip import ARKIT
from avi_lib.speech.phones import Phone

JAW, BROW, BLINK, YAW = (ARKIT.index(name) for name in ("jawOpen", "browInnerUp", "eyeBlinkLeft", "headYaw"))
PHONES = (Phone("SIL", 0.0, 0.2), Phone("M", 0.2, 0.4), Phone("AA", 0.4, 0.8), Phone("SIL", 0.8, 1.0))
EVERY_MEASURE: tuple[Callable[..., float], ...] = (lve_mm, eve_mm, fdd_mm)


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


def rest(frames: int = 8) -> np.ndarray:
    return np.zeros((frames, len(ARKIT)), np.float32)


def moving(channel: int, curve: np.ndarray) -> np.ndarray:
    """Motion in which one channel follows a curve."""
    values = rest(len(curve))
    values[:, channel] = curve
    return values


def talk(seed: int, frames: int = 300) -> np.ndarray:
    """Smooth motion of every channel, with more frames than are held together."""
    rough = np.random.default_rng(seed).random((frames, len(ARKIT)))
    return np.cumsum(rough - 0.5, axis=0).astype(np.float32) * 0.02


def lengths_mm(head: Head, channel: int, region: str) -> np.ndarray:
    """How far a blendshape at full weight moves each vertex of a region."""
    return 1000.0 * np.linalg.norm(head.shapes[channel, head.regions[region]].astype(np.float64), axis=1)


def test_lve_of_one_blendshape_is_its_weight_times_the_farthest_lip_vertex(head: Head):
    half = moving(JAW, np.full(4, 0.5))
    assert lve_mm(half, rest(4), head) == pytest.approx(0.5 * lengths_mm(head, JAW, "lips").max())
    ramp = moving(JAW, np.array([0.0, 0.2, 0.4, 0.6]))
    assert lve_mm(ramp, rest(4), head) == pytest.approx(0.3 * lengths_mm(head, JAW, "lips").max(), rel=1e-6)
    assert lve_mm(half, half, head) == 0.0


def test_eve_of_one_blendshape_is_its_weight_times_the_farthest_upper_face_vertex(head: Head):
    raised = moving(BROW, np.full(4, 0.25))
    assert eve_mm(raised, rest(4), head) == pytest.approx(0.25 * lengths_mm(head, BROW, "upper_face").max())


def test_errors_are_those_of_the_deformed_mesh(head: Head):
    one, other = np.clip(talk(1, 40), 0, 1), np.clip(talk(2, 40), 0, 1)
    one[:, YAW - 1 :] = other[:, YAW - 1 :] = 0.0
    for measure, region in ((lve_mm, "lips"), (eve_mm, "upper_face")):
        at = head.regions[region]
        apart_mm = 1000.0 * np.linalg.norm(head.deform(one)[:, at] - head.deform(other)[:, at], axis=2)
        assert measure(one, other, head) == pytest.approx(apart_mm.max(axis=1).mean(), rel=1e-4)


def test_brows_are_no_lip_error_and_move_only_the_upper_face(head: Head):
    speaking = talk(3)
    raised = speaking.copy()
    raised[:, BROW] += 0.3
    assert lve_mm(raised, speaking, head) == pytest.approx(0.0, abs=1e-6)
    assert lve_mm(raised, rest(300), head) == pytest.approx(lve_mm(speaking, rest(300), head))
    assert eve_mm(raised, speaking, head) == pytest.approx(0.3 * lengths_mm(head, BROW, "upper_face").max(), rel=1e-3)


def test_a_turn_of_the_head_changes_nothing(head: Head):
    one, other = talk(4), talk(5)
    turned = one.copy()
    turned[:, YAW - 1 :] += 0.4
    for measure in EVERY_MEASURE:
        assert measure(turned, other, head) == measure(one, other, head)
    assert jitter_mm(turned, head) == jitter_mm(one, head)


def test_fdd_of_a_sine_is_its_standard_deviation_times_the_mean_displacement(head: Head):
    sine = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(400) / 40)
    expected = 0.4 / np.sqrt(2) * lengths_mm(head, BLINK, "upper_face").mean()
    lively, still = moving(BLINK, sine), moving(BLINK, np.full(400, 0.5))
    assert fdd_mm(still, lively, head) == pytest.approx(expected, rel=1e-5)
    assert fdd_mm(lively, still, head) == pytest.approx(-expected, rel=1e-5)
    assert fdd_mm(lively, lively[::-1], head) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(fdd_mm(lively[:1], lively[:1], head))


def test_polynomials_up_to_the_second_degree_have_no_jitter(head: Head):
    time = np.arange(20.0)
    for curve in (np.full(20, 0.7), 0.01 * time, 0.002 * time**2):
        assert jitter_mm(moving(JAW, curve), head) == pytest.approx(0.0, abs=1e-4)
    cubic = moving(JAW, 0.0001 * time**3)
    assert jitter_mm(cubic, head) == pytest.approx(6e-4 * lengths_mm(head, JAW, "lips").mean(), rel=1e-3)


def test_jitter_of_a_sine_is_its_amplitude_times_the_cube_of_its_chord(head: Head):
    sine = 0.3 * np.sin(2 * np.pi * np.arange(4003) / 40)
    expected = 0.3 * (2 * np.sin(np.pi / 40)) ** 3 * 2 / np.pi * lengths_mm(head, JAW, "lips").mean()
    assert jitter_mm(moving(JAW, sine), head) == pytest.approx(expected, rel=0.01)


def test_errors_of_too_few_frames_are_unknown(head: Head):
    assert all(np.isnan(jitter_mm(talk(7)[:n], head)) for n in (1, 2, 3))


def test_channels_that_are_not_there_neither_blame_nor_praise(head: Head):
    speaking, raised = moving(JAW, np.full(8, 0.5)), moving(BROW, np.full(8, 0.5))
    present = np.ones(len(ARKIT), bool)
    present[BROW] = False
    raised[:, BROW] = np.nan
    assert eve_mm(raised, rest(), head, present=present) == 0.0
    assert lve_mm(speaking, rest(), head, present=present) == lve_mm(speaking, rest(), head)
    only = np.zeros(len(ARKIT), bool)
    only[[BROW, YAW]] = True
    assert np.isnan(lve_mm(speaking, rest(), head, present=only))
    assert np.isnan(jitter_mm(speaking, head, present=only))
    assert eve_mm(speaking, rest(), head, present=only) == 0.0


def test_lip_closure_is_the_difference_of_means_in_standard_deviations():
    gap = np.array([0.0] * 5 + [0.0] * 5 + [2.0] * 10 + [0.0] * 5)
    assert lip_closure(gap, PHONES, 25.0) == pytest.approx(2.0 / gap.std())
    assert lip_closure(3.0 * gap + 1.0, PHONES, 25.0) == pytest.approx(2.0 / gap.std())
    assert np.isnan(lip_closure(gap, PHONES[2:], 25.0))
    assert np.isnan(lip_closure(np.zeros(25), PHONES, 25.0))


def test_a_frame_belongs_to_the_phone_at_its_middle():
    assert frame_phones(PHONES, 5, 5.0).tolist() == ["SIL", "M", "AA", "AA", "SIL"]


def test_lips_are_closed_below_a_fifth_of_their_wide_gap_in_any_unit():
    gap = np.full(25, 10.0)
    gap[7] = 2.1
    assert closures(gap, PHONES, 25.0).tolist() == [False]
    gap[7] = 1.9
    assert closures(gap, PHONES, 25.0).tolist() == [True]
    assert closures(0.01 * gap, PHONES, 25.0).tolist() == [True]
    assert closures(np.full(25, 0.5), PHONES, 25.0).tolist() == [False]


def test_a_phone_has_the_frames_it_touches():
    for frame, closed in ((4, False), (5, True), (9, True), (10, False)):
        gap = np.full(25, 10.0)
        gap[frame] = 0.0
        assert closed_fraction(gap, PHONES, 25.0) == closed


def test_closed_fraction_counts_instances_with_evidence():
    phones = (*PHONES, Phone("B", 1.0, 1.1), Phone("P", 1.1, 1.2), Phone("M", 2.0, 2.2))
    gap = np.full(30, 10.0)
    gap[[6, 29]] = 0.0
    assert closures(gap, phones, 25.0).tolist() == [True, False, True]
    assert closed_fraction(gap, phones, 25.0) == pytest.approx(2 / 3)
    assert closures(gap[:25], phones, 25.0).tolist() == [True]
    assert np.isnan(closed_fraction(gap, PHONES[2:], 25.0))
    assert np.isnan(closed_fraction(np.zeros(30), phones, 25.0))


def test_correlation_takes_the_frames_both_have():
    rising = np.arange(10.0)
    assert correlation(rising, rising[:7]) == pytest.approx(1.0)
    assert correlation(rising, -rising) == pytest.approx(-1.0)
    assert np.isnan(correlation(rising, np.ones(10)))


def test_motion_that_cannot_be_measured_is_refused(head: Head):
    broken = rest()
    broken[3, JAW] = np.nan
    for measure in EVERY_MEASURE:
        with pytest.raises(InputError, match="1 frames with NaN"):
            measure(broken, rest(), head)
        with pytest.raises(InputError, match="1 frames with NaN"):
            measure(rest(), broken, head)
        with pytest.raises(InputError, match="8 and 9 frames"):
            measure(rest(), rest(9), head)
        with pytest.raises(InputError, match=r"\(frames, 55\).*\(8, 52\)"):
            measure(rest(), rest()[:, :52], head)
        with pytest.raises(InputError, match="at least one frame"):
            measure(rest(0), rest(0), head)


def test_curves_that_cannot_be_measured_are_refused():
    gap = np.ones(25)
    gap[2] = np.inf
    for measure in (lip_closure, closed_fraction):
        with pytest.raises(InputError, match="1 frames with NaN or infinity"):
            measure(gap, PHONES, 25.0)
        with pytest.raises(InputError, match="a positive frame rate"):
            measure(np.ones(25), PHONES, 0.0)
        with pytest.raises(InputError, match="at least one frame"):
            measure(np.ones(0), PHONES, 25.0)
    with pytest.raises(InputError, match="phones that cover the recording"):
        lip_closure(np.ones(25), (), 25.0)


def test_real_lips_close_on_bilabials_and_not_on_those_of_another_clip(real_data: Path):
    clips = read_clips(real_data / "grid10")
    closed = np.concatenate([closures(clip.gap, clip.phones, clip.fps) for clip in clips])
    assert len(closed) == 13 and closed.mean() >= 0.9
    others = [closures(a.gap, b.phones, b.fps) for a in clips for b in clips if a is not b]
    assert np.concatenate(others).mean() < 0.35
    assert np.nanmean([lip_closure(clip.gap, clip.phones, clip.fps) for clip in clips]) == pytest.approx(2.0, abs=0.05)
