"""A style is a statistic of motion: what is asked reads back, what is not tracked is not known."""

from __future__ import annotations

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import style as styles
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip
from avi_lib.motion.performer import Performer
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import Beat, Prosody

FPS = 25.0


def performer(seconds: float = 4.0) -> Performer:
    """Somebody who speaks for all but half a second at both ends, with a beat each second."""
    frames = int(seconds * FPS)
    voiced, energy = np.ones(frames, bool), np.zeros(frames, np.float32)
    prosody = Prosody(FPS, np.full(frames, 120.0, np.float32), voiced, energy, tuple(Beat(t, 0.8) for t in (1.0, 2.0)))
    phones = [Phone("SIL", 0.0, 0.5), Phone("AA", 0.5, seconds - 0.5), Phone("SIL", seconds - 0.5, seconds)]
    return Performer(phones, prosody, seconds)


def blinking(times_s: tuple[float, ...], width: int) -> MotionClip:
    values = np.zeros((100, len(ARKIT)), np.float32)
    for time_s in times_s:
        first = int(time_s * FPS)
        values[first : first + width, [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]] = 0.9
    return MotionClip(values, FPS, ARKIT)


@pytest.mark.parametrize(("unit", "channel"), [("brow_down", "browDownLeft"), ("left_brow_raise", "browOuterUpLeft")])
@pytest.mark.parametrize("strength", [0.3, 0.9])
def test_an_asked_strength_reads_back_as_the_level_of_its_channel(unit, channel, strength):
    motion = performer().perform(Instruction("", action_units={unit: strength}), seed=4)
    style = styles.style_of(motion, (0.5, 3.5))
    assert styles.levels(style, ARKIT)[ARKIT.index(channel)] == pytest.approx(strength, rel=0.06)


def test_blinks_are_counted_and_measured_and_change_no_level():
    style = styles.style_of(blinking((1.0, 2.0, 3.0), width=4))
    entries = dict(zip(styles.names(ARKIT), style.tolist(), strict=True))
    assert entries["blinks a second"] == pytest.approx(0.75)
    assert entries["width of a blink in s"] == pytest.approx(0.16)
    assert entries["eyeBlinkLeft"] == 0.0


def test_entries_of_channels_that_are_missing_are_zero_and_not_known():
    present = np.ones(len(ARKIT), bool)
    present[list(ARKIT.groups["lids"])] = False
    motion = MotionClip(blinking((1.0,), 4).values, FPS, ARKIT, present)
    style, mask = styles.style_of(motion), styles.known(ARKIT, present)
    assert not style[~mask].any() and not mask[ARKIT.index("eyeBlinkLeft")]
    assert (
        not mask[styles.names(ARKIT).index("blinks a second")] and mask[styles.names(ARKIT).index("reach of the jaw")]
    )


def test_a_style_enlivened_keeps_its_levels_and_its_mouth():
    still = styles.style_of(performer().perform(Instruction("", action_units={"brow_down": 0.5}), seed=4))
    mixed = styles.enlivened(still, styles.style_of(blinking((1.0, 2.0), 4)))
    assert (styles.levels(mixed, ARKIT) == styles.levels(still, ARKIT)).all()
    assert mixed[len(ARKIT) :][ARKIT.index("eyeBlinkLeft")] > 0.2
    assert mixed[styles.names(ARKIT).index("reach of the jaw")] == still[styles.names(ARKIT).index("reach of the jaw")]


def test_a_style_of_another_space_has_levels_and_spreads_alone_and_no_frames_have_none():
    values = np.ones((30, len(FLAME)), np.float32)
    style = styles.style_of(MotionClip(values, FPS, FLAME))
    assert style.shape == (styles.STYLE,) and style[: len(FLAME)] == pytest.approx(1.0)
    assert not style[len(FLAME) :].any()
    with pytest.raises(InputError):
        styles.style_of(MotionClip(values[:0], FPS, FLAME))
