"""Measures of a talking face: on motion made by hand, where every figure can be worked out, and lips on real speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.evaluation.metrics import (
    closures,
    correlation,
    eve_mm,
    fdd_mm,
    frame_phones,
    jitter_mm,
    lip_closure,
    lve_mm,
)
from avi_lib.face.head import Head, load_head
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.performer import Performer
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import Phone, align_phones
from avi_lib.speech.prosody import prosody
from tools.benchmarks.systems import read_clips

JAW, BROW, BLINK, YAW = (ARKIT.index(name) for name in ("jawOpen", "browInnerUp", "eyeBlinkLeft", "headYaw"))
PHONES = (Phone("SIL", 0.0, 0.2), Phone("M", 0.2, 0.4), Phone("AA", 0.4, 0.8), Phone("SIL", 0.8, 1.0))
EVERY_MEASURE: tuple[Callable[..., float], ...] = (lve_mm, eve_mm, fdd_mm)


def rest(frames: int = 8) -> np.ndarray:
    return np.zeros((frames, len(ARKIT)), np.float32)


def moving(channel: int, curve: np.ndarray) -> np.ndarray:
    """Motion in which one channel follows a curve."""
    values = rest(len(curve))
    values[:, channel] = curve
    return values


def talk(seed: int, frames: int = 300) -> np.ndarray:
    """Smooth motion of every channel."""
    rough = np.random.default_rng(seed).random((frames, len(ARKIT)))
    return np.cumsum(rough - 0.5, axis=0).astype(np.float32) * 0.02


def lengths_mm(head: Head, channel: int, region: str) -> np.ndarray:
    """How far a blendshape at full weight moves each vertex of a region."""
    return 1000.0 * np.linalg.norm(head.shapes[channel, head.regions[region]].astype(np.float64), axis=1)


def test_errors_are_those_of_the_deformed_mesh_and_a_turn_of_the_head_changes_nothing(head: Head):
    one, other = np.clip(talk(1), 0, 1), np.clip(talk(2), 0, 1)  # more frames than are held together
    one[:, YAW - 1 :] = other[:, YAW - 1 :] = 0.0
    turned = one.copy()
    turned[:, YAW - 1 :] += 0.4
    for measure, region in ((lve_mm, "lips"), (eve_mm, "upper_face")):
        at = head.regions[region]
        apart_mm = 1000.0 * np.linalg.norm(head.deform(one)[:, at] - head.deform(other)[:, at], axis=2)
        assert measure(one, other, head) == pytest.approx(apart_mm.max(axis=1).mean(), rel=1e-4)
    assert all(measure(turned, other, head) == measure(one, other, head) for measure in EVERY_MEASURE)
    assert jitter_mm(turned, head) == jitter_mm(one, head)


def test_fdd_of_a_sine_is_its_standard_deviation_times_the_mean_displacement(head: Head):
    sine = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(400) / 40)
    expected = 0.4 / np.sqrt(2) * lengths_mm(head, BLINK, "upper_face").mean()
    lively, still = moving(BLINK, sine), moving(BLINK, np.full(400, 0.5))
    assert fdd_mm(still, lively, head) == pytest.approx(expected, rel=1e-5)
    assert fdd_mm(lively, still, head) == pytest.approx(-expected, rel=1e-5)
    assert fdd_mm(lively, lively[::-1], head) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(fdd_mm(lively[:1], lively[:1], head))


def test_jitter_is_the_third_difference_and_unknown_below_four_frames(head: Head):
    time = np.arange(20.0)
    for curve in (np.full(20, 0.7), 0.01 * time, 0.002 * time**2):
        assert jitter_mm(moving(JAW, curve), head) == pytest.approx(0.0, abs=1e-4)
    cubic = moving(JAW, 0.0001 * time**3)
    assert jitter_mm(cubic, head) == pytest.approx(6e-4 * lengths_mm(head, JAW, "lips").mean(), rel=1e-3)
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


def test_a_phone_is_closed_where_a_frame_it_touches_is_below_a_fifth_of_the_wide_gap_in_any_unit():
    assert frame_phones(PHONES, 5, 5.0).tolist() == ["SIL", "M", "AA", "AA", "SIL"]
    for frame, value, closed in ((7, 2.1, 0), (7, 1.9, 1), (4, 0, 0), (5, 0, 1), (9, 0, 1), (10, 0, 0)):
        gap = np.full(25, 10.0)
        gap[frame] = value
        assert closures(gap, PHONES, 25.0).tolist() == closures(0.01 * gap, PHONES, 25.0).tolist() == [closed]
    assert closures(np.full(25, 0.5), PHONES, 25.0).tolist() == [False]
    phones = (*PHONES, Phone("B", 1.0, 1.1), Phone("P", 1.1, 1.2), Phone("M", 2.0, 2.2))
    gap = np.full(30, 10.0)
    gap[[6, 29]] = 0.0
    assert closures(gap, phones, 25.0).tolist() == [True, False, True]
    assert closures(gap[:25], phones, 25.0).tolist() == [True], "what lies behind the curve is no evidence"
    assert not len(closures(gap, PHONES[2:], 25.0)) and not len(closures(np.zeros(30), phones, 25.0))


def test_correlation_takes_the_frames_both_have():
    rising = np.arange(10.0)
    assert correlation(rising, rising[:7]) == pytest.approx(1.0)
    assert correlation(rising, -rising) == pytest.approx(-1.0)
    assert np.isnan(correlation(rising, np.ones(10)))


def test_motion_and_curves_that_cannot_be_measured_are_refused(head: Head):
    broken, gap = rest(), np.ones(25)
    broken[3, JAW], gap[2] = np.nan, np.inf
    for made, true, words in (
        (broken, rest(), "1 frames with NaN"),
        (rest(), broken, "1 frames with NaN"),
        (rest(), rest(9), "8 and 9 frames"),
        (rest(), rest()[:, :52], r"\(frames, 55\).*\(8, 52\)"),
        (rest(0), rest(0), "at least one frame"),
    ):
        for measure in EVERY_MEASURE:
            with pytest.raises(InputError, match=words):
                measure(made, true, head)
    for curve, phones, fps, words in (
        (gap, PHONES, 25.0, "1 frames with NaN or infinity"),
        (np.ones(25), PHONES, 0.0, "a positive frame rate"),
        (np.ones(0), PHONES, 25.0, "at least one frame"),
        (np.ones(25), (), 25.0, "phones that cover the recording"),
    ):
        for measure in (lip_closure, closures) if phones else (lip_closure,):
            with pytest.raises(InputError, match=words):
                measure(curve, phones, fps)


def test_real_lips_close_on_bilabials_and_not_on_those_of_another_clip(real_data: Path):
    clips = read_clips(real_data / "grid10")
    closed = np.concatenate([closures(clip.gap, clip.phones, clip.fps) for clip in clips])
    assert len(closed) == 13 and closed.mean() >= 0.9
    others = [closures(a.gap, b.phones, b.fps) for a in clips for b in clips if a is not b]
    assert np.concatenate(others).mean() < 0.35
    assert np.nanmean([lip_closure(clip.gap, clip.phones, clip.fps) for clip in clips]) == pytest.approx(2.0, abs=0.05)


ROOT = Path(__file__).resolve().parents[1]
DASHWOOD = (
    "Mister John Dashwood had then leisure to consider how much there might be prudently in his power to do for them."
)
EMOTIONS = (
    "She speaks with a neutral face.",
    "He is furious.",
    "She is extremely happy.",
    "He is terrified.",
    "She is deeply disgusted.",
    "They are extremely surprised.",
)


def performed(name: str, words: str, sentences: tuple[str, ...]) -> tuple[tuple[Phone, ...], list[np.ndarray]]:
    """Phones of a sample recording, and the lip gap in mm under each sentence."""
    speech = load_voice(ROOT / "data" / "samples" / name)
    phones = align_phones(speech.wave, words).phones
    performer = Performer(phones, prosody(speech.wave), speech.duration_s)
    motions = [performer.perform(Instruction.parse(sentence), 1) for sentence in sentences]
    return phones, [1000 * load_head().lip_gap(motion.values) for motion in motions]


def test_lips_meet_on_real_bilabials_whatever_the_face_expresses():
    phones, gaps_mm = performed("librivox.flac", DASHWOOD, EMOTIONS)
    closed = [phone for phone in phones if phone.phone in ("M", "B", "P")]
    assert len(closed) >= 6
    for gap_mm in gaps_mm:
        for _, start_s, end_s in closed:
            assert gap_mm[int(start_s * 25) : int(np.ceil(end_s * 25)) + 1].min() < 1.0
        assert np.percentile(gap_mm, 90) > 4.0
        assert lip_closure(gap_mm, phones, 25.0) > 1.5


def test_the_mouth_is_closed_before_and_after_real_speech():
    words = "And you always want to see it in the superlative degree."
    _, (gap_mm,) = performed("arctic.flac", words, EMOTIONS[:1])
    assert gap_mm[0] < 1.0 and gap_mm[-3:].max() < 1.0


def test_a_folder_without_clips_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"index\.csv"):
        read_clips(tmp_path)
