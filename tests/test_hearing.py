"""What a clip sounds like: manner, melody and states; sounds that are no speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import tone

from avi_lib.errors import InputError
from avi_lib.speech.augment import SOUNDS, SPEEDS, Room, augmented, draw_sound, put_in_room
from avi_lib.speech.encoders import HOP, RATE_HZ, SpeechEncoder
from avi_lib.speech.loading import load_speech
from avi_lib.speech.prosody import FUNCTIONALS, functionals
from avi_lib.speech.voice import CONTOUR, acoustic_features

NUMBER = {name: number for number, name in enumerate(FUNCTIONALS)}


class Counting(SpeechEncoder):
    """Two layers: the frame's number, and its negative."""

    name = reason = fingerprint = "counting"
    dim, layers, window, overlap = 1, 2, 10_000, 12

    def _prepare(self, wave, frames):
        return np.arange(frames, dtype=np.float32)[None]

    def _encode_window(self, prepared, start, stop, every_layer):
        count = prepared[0, start:stop, None]
        return np.stack([count, -count])[0 if every_layer else 1 :]


def sung(hz, seconds=1.5, depth_st=0.0, rate_hz=4.0, level=0.5):
    """A voice-like tone with harmonics, whose pitch and loudness move."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = hz * 2 ** (depth_st / 12 * np.sin(2 * np.pi * 1.5 * times_s))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    wave = sum(np.sin(n * phase) / n for n in range(1, 12))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * rate_hz * times_s)
    return (level * wave * envelope / np.abs(wave).max()).astype(np.float32)


def test_manner_does_not_depend_on_the_recordings_gain():
    wave = sung(140, depth_st=2.0)
    for gain in (0.02, 0.3, 1.9):
        np.testing.assert_allclose(functionals(wave * np.float32(gain)), functionals(wave), rtol=2e-3, atol=2e-3)


def test_a_livelier_voice_has_more_movement_and_a_higher_one_another_median():
    flat, lively, high = functionals(sung(120)), functionals(sung(120, depth_st=5.0)), functionals(sung(240))
    for name in ("f0_spread_st", "f0_movement_st", "f0_high_st"):
        assert lively[NUMBER[name]] > flat[NUMBER[name]] + 0.05
    assert high[NUMBER["f0_median_st"]] - flat[NUMBER["f0_median_st"]] == pytest.approx(12, abs=0.5)
    assert (
        functionals(sung(120, rate_hz=6.0))[NUMBER["syllables_s"]]
        > functionals(sung(120, rate_hz=2.5))[NUMBER["syllables_s"]]
    )


def test_manner_is_nearly_the_same_through_another_microphone():
    wave = load_speech("data/samples/arctic.flac").wave
    there = put_in_room(wave, Room(tilt_db=2.0, low_shelf_db=-6.0, level_dbfs=-30.0), np.random.default_rng(0))
    apart = np.abs(functionals(there) - functionals(wave))
    for name in ("f0_median_st", "f0_spread_st", "f0_high_st"):
        assert apart[NUMBER[name]] < 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9000), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_wave_has_a_finite_manner(samples, seed, level):
    wave = (level * np.random.default_rng(seed).uniform(-1, 1, samples)).astype(np.float32)
    numbers = functionals(wave)
    assert numbers.shape == (len(FUNCTIONALS),) and numbers.dtype == np.float32
    assert np.isfinite(numbers).all()


def test_nothing_has_no_manner_and_an_empty_wave_is_refused():
    assert not functionals(np.zeros(RATE_HZ, np.float32)).any()
    with pytest.raises(InputError, match="a wave with samples"):
        functionals(np.zeros(0, np.float32))


@pytest.mark.parametrize("samples", [1, HOP, 3 * HOP + 7, 48_111])
def test_states_are_joined_in_pairs_and_the_melody_has_as_many_steps(samples):
    heard = acoustic_features(tone(samples / RATE_HZ)[:samples], Counting())
    frames = -(-samples // HOP)
    steps = -(-frames // 2)
    assert heard.states.shape == (2, steps, 1) and heard.contour.shape == (steps, len(CONTOUR))
    pairs = [(2 * i + min(2 * i + 1, frames - 1)) / 2 for i in range(steps)]
    np.testing.assert_allclose(heard.states[0, :, 0], pairs, rtol=1e-3)
    np.testing.assert_allclose(heard.states[1], -heard.states[0])


def test_the_melody_is_about_the_clips_own_pitch_and_level():
    low, high = (
        acoustic_features(sung(hz, depth_st=3.0, level=level), Counting()) for hz, level in ((110, 0.05), (220, 0.8))
    )
    np.testing.assert_allclose(low.contour[2:-2, 0], high.contour[2:-2, 0], atol=0.12)
    np.testing.assert_allclose(low.contour[2:-2, 2], high.contour[2:-2, 2], atol=0.25)


def test_elsewhere_is_another_sound_of_about_the_same_length_from_its_stream():
    wave = load_speech("data/samples/arctic.flac").wave
    lengths = set()
    for seed in range(8):
        there = augmented(wave, np.random.default_rng(seed))
        assert there.dtype == np.float32 and np.isfinite(there).all() and np.abs(there).max() <= 1
        assert SPEEDS[0] * 0.999 <= len(wave) / len(there) <= SPEEDS[1] * 1.001
        assert np.array_equal(there, augmented(wave, np.random.default_rng(seed)))
        lengths.add(len(there))
    assert len(wave) in lengths and len(lengths) > 2


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_are_as_long_as_asked_and_of_any_level(kind):
    for seconds in (0.05, 1.0, 3.3):
        wave = draw_sound(seconds, np.random.default_rng(3), kind)
        assert len(wave) == round(seconds * RATE_HZ) and wave.dtype == np.float32
        assert np.isfinite(wave).all() and np.abs(wave).max() > 0
    assert np.array_equal(
        draw_sound(1.0, np.random.default_rng(1), kind), draw_sound(1.0, np.random.default_rng(1), kind)
    )
