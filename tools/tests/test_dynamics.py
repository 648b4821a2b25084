"""How much, how fast and at which rates the parts of a face move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avi_lib.motion.clip import ARKIT, MotionClip
from tools.benchmarks.dynamics import measure_dynamics
from tools.benchmarks.flow import level_on_head, pitch_on_brows


def swinging(seconds: float = 6.0, **curves: tuple[float, float]) -> MotionClip:
    """A clip whose channels swing as sines of an amplitude and a rate in Hz; the others rest at 0."""
    times_s = np.arange(round(seconds * 25)) / 25
    values = np.zeros((len(times_s), len(ARKIT)), np.float32)
    for channel, (amplitude, rate_hz) in curves.items():
        values[:, ARKIT.index(channel)] = amplitude * (1 + np.sin(2 * np.pi * rate_hz * times_s)) / 2
    return MotionClip(values, 25.0, ARKIT)


def test_dynamics_of_sines_are_those_of_sines_and_fast_is_above_0_7_hz():
    slow, fast = (measure_dynamics(swinging(browInnerUp=(0.4, rate_hz))) for rate_hz in (1 / 3, 3.0))
    one_of_five = 0.2 / np.sqrt(2) / np.sqrt(5)
    assert slow["brows_sd"] == pytest.approx(one_of_five, rel=0.01) and slow["brows_fast"] < 0.05
    assert fast["brows_sd"] == pytest.approx(one_of_five, rel=0.01) and fast["brows_fast"] > 0.95
    assert fast["brows_speed"] == pytest.approx(one_of_five * 2 * np.pi * 3, rel=0.05)
    assert fast["brows_jitter"] > 300 * slow["brows_jitter"] and fast["brows_2_hz"] > 100 * fast["brows_0.2_hz"]
    assert measure_dynamics(swinging())["brows_still"] == 1.0 and fast["brows_still"] == 0.0
    turned = measure_dynamics(swinging(headYaw=(0.2, 1.0)))
    assert turned["head_sd"] == pytest.approx(np.degrees(0.1 / np.sqrt(2) / np.sqrt(3)), rel=0.01)


def test_what_is_missing_has_no_dynamics_and_the_trackers_noise_is_taken_off():
    still = swinging()
    present = np.array([not name.startswith(("cheek", "nose", "eyeBlink")) for name in ARKIT.channels])
    scores = measure_dynamics(replace(still, present=present))
    assert np.isnan([scores["cheeks_sd"], scores["blink_rate"], scores["blink_width_s"]]).all()
    assert np.isnan(list(measure_dynamics(swinging(1.5)).values())).all()
    rng = np.random.default_rng(0)
    noise = replace(still, values=rng.normal(0, 0.02, still.values.shape).astype(np.float32))
    noisy = replace(still, values=rng.normal(0, 0.02, still.values.shape).astype(np.float32))
    assert measure_dynamics(noisy)["mouth_sd"] > 0.015 > 3 * measure_dynamics(noisy, noise)["mouth_sd"]


def test_blinks_are_counted_with_their_width_and_do_not_move_the_gaze():
    clip = swinging()
    lids, gaze = ([ARKIT.index(f"{name}{side}") for side in ("Left", "Right")] for name in ("eyeBlink", "eyeLookDown"))
    for start in (30, 90):
        clip.values[start : start + 9, lids] += np.bartlett(9)[:, None] * 0.8
        clip.values[start : start + 9, gaze] += np.bartlett(9)[:, None] * 0.5
    scores = measure_dynamics(clip)
    assert scores["blink_rate"] == pytest.approx(20.0) and scores["blink_width_s"] == pytest.approx(0.16, abs=0.01)
    assert scores["gaze_sd"] < 1e-6


def test_brows_that_follow_the_pitch_and_nods_that_follow_the_level_correlate_with_them():
    clip, times_s = swinging(headPitch=(0.2, 0.5)), np.arange(150) / 25
    speed = np.abs(np.gradient(clip["headPitch"]))
    contour = np.stack([np.sin(7 * times_s), np.ones(150), speed, 0 * times_s, 0 * times_s], axis=1)
    clip.values[:, ARKIT.index("browInnerUp")] = 0.3 + 0.1 * contour[:, 0]
    clip.values[:, ARKIT.index("browDownLeft")] = 0.2 - 0.1 * contour[:, 0]
    assert pitch_on_brows(clip.values, contour) == pytest.approx(1.0, abs=0.01)
    assert level_on_head(clip.values, contour) == pytest.approx(1.0, abs=0.01)
    assert np.isnan(pitch_on_brows(clip.values, 0 * contour))
