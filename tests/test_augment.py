from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.speech import augment
from avi_lib.speech.augment import (
    NOISES,
    SOUNDS,
    SPEEDS,
    Room,
    augmented,
    draw_room,
    draw_sound,
    in_another_room,
    make_noise,
    put_in_room,
    room_tone,
)
from avi_lib.speech.encoders import RATE_HZ


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def syllables(duration_s: float = 3.0) -> np.ndarray:
    """Noise in bursts at odd times, so that one lag alone fits."""
    samples = round(duration_s * RATE_HZ)
    source = rng(1)
    wave = source.standard_normal(samples)
    knots = source.random(round(duration_s * 12)) > 0.5
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, len(knots)), knots)
    return (0.1 * wave * envelope).astype(np.float32)


def lag_ms(clean: np.ndarray, other: np.ndarray) -> float:
    size = 1 << (2 * len(clean)).bit_length()
    shared = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(clean, size)), size)
    at = int(np.argmax(np.abs(shared)))
    return 1000 * (at if at < size // 2 else at - size) / RATE_HZ


def slope_db_per_octave(wave: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    edges = 100 * 2.0 ** np.arange(7)
    levels = [10 * np.log10(power[(hz >= low) & (hz < 2 * low)].mean()) for low in edges[:-1]]
    return float(np.polyfit(np.arange(6), levels, 1)[0])


def test_nothing_moves_in_time_in_any_room():
    clean = syllables()
    for seed in range(25):
        other = in_another_room(clean, rng(seed))
        assert abs(lag_ms(clean, other)) <= 1.0, draw_room(rng(seed))
        assert other.shape == clean.shape and other.dtype == np.float32
        assert np.abs(other).max() <= 1.0


def test_another_speed_and_room_give_another_sound_of_about_the_same_length():
    wave, lengths = syllables(), set()
    for seed in range(8):
        other = augmented(wave, rng(seed))
        assert other.dtype == np.float32 and np.isfinite(other).all() and np.abs(other).max() <= 1
        assert SPEEDS[0] * 0.999 <= len(wave) / len(other) <= SPEEDS[1] * 1.001
        assert np.array_equal(other, augmented(wave, rng(seed)))
        lengths.add(len(other))
    assert len(wave) in lengths and len(lengths) > 2


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_are_as_long_as_asked_and_of_any_level(kind):
    for seconds in (0.05, 1.0, 3.3):
        wave = draw_sound(seconds, rng(3), kind)
        assert len(wave) == round(seconds * RATE_HZ) and wave.dtype == np.float32
        assert np.isfinite(wave).all() and np.abs(wave).max() > 0
    assert np.array_equal(wave, draw_sound(3.3, rng(3), kind))


def test_the_same_generator_gives_the_same_room_and_another_one_another():
    clean = syllables(1.0)
    assert np.array_equal(in_another_room(clean, rng(3)), in_another_room(clean, rng(3)))
    assert not np.allclose(in_another_room(clean, rng(3)), in_another_room(clean, rng(4)))
    assert draw_room(rng(3)) == draw_room(rng(3)) != draw_room(rng(4))


def test_a_room_without_steps_changes_nothing():
    clean = syllables(1.0)
    assert np.allclose(put_in_room(clean, Room(), rng()), clean, atol=1e-6)


def test_reverberation_decays_by_60_db_in_its_time_after_a_direct_sound_in_place():
    click = np.zeros(RATE_HZ, np.float32)
    click[1000] = 1.0
    response = augment.reverberate(click, 0.5, 6.0, rng())
    assert not response[:1000].any() or np.abs(response[:1000]).max() < 1e-5
    assert response[1000] == pytest.approx(1.0, abs=1e-4)
    tail = response[1001:].astype(np.float64) ** 2
    assert 10 * np.log10(tail.sum()) == pytest.approx(-6.0, abs=0.1)
    at_ms = [tail[start : start + 800].mean() for start in (800, 5600)]  # 0.3 s apart
    assert 10 * np.log10(at_ms[0] / at_ms[1]) == pytest.approx(36.0, abs=3.0)


@pytest.mark.parametrize("slope_db", [0.0, 3.0, 6.0])
def test_room_tone_has_its_level_and_its_slope(slope_db):
    tone = room_tone(4 * RATE_HZ, -50.0, slope_db, rng())
    assert 20 * np.log10(np.sqrt(np.mean(tone**2))) == pytest.approx(-50.0, abs=0.1)
    assert slope_db_per_octave(tone) == pytest.approx(-slope_db, abs=1.5)


def test_hum_stands_at_the_harmonics_of_the_mains():
    tone = room_tone(4 * RATE_HZ, -40.0, 3.0, rng(), 50.0, 10.0)
    power = np.abs(np.fft.rfft(tone)) ** 2
    lines = power[200::200][:8]  # 50 Hz is bin 200 of 4 s
    assert 10 * np.log10(lines.sum() / (power.sum() - lines.sum())) == pytest.approx(10.0, abs=1.0)


def test_the_speech_stands_above_the_room_tone_by_what_the_room_says():
    room = Room(level_dbfs=-20.0, tone_dbfs=-45.0)
    assert augment.active_dbfs(put_in_room(syllables(), room, rng())) == pytest.approx(-20.0, abs=0.3)
    silence = np.zeros(RATE_HZ, np.float32)
    assert augment.active_dbfs(put_in_room(silence, room, rng())) == pytest.approx(-45.0, abs=0.3)


def test_limiting_clipping_and_codecs_keep_shape_and_bound():
    clean = syllables(1.0)
    peak = np.abs(clean).max()
    for changed in (augment.limit(clean, 6.0), augment.clip(clean, 6.0)):
        assert np.abs(changed).max() == pytest.approx(peak / 2, rel=0.05)
    for codec in augment.CODECS:
        coded = augment.degrade(clean, codec)
        assert coded.dtype == np.float32 and 0.3 < np.corrcoef(coded, clean)[0, 1] < 0.99999


@pytest.mark.parametrize("kind", NOISES)
def test_every_noise_has_its_length_and_level_and_is_never_twice_the_same(kind):
    first, second = (make_noise(kind, 0.4, -30.0, rng(seed)) for seed in (1, 2))
    assert len(first) == 6400 and first.dtype == np.float32 and np.isfinite(first).all()
    assert augment.active_dbfs(first) == pytest.approx(-30.0, abs=0.1)
    assert not np.allclose(first, second)
    assert np.abs(first[-16:]).max() < 0.2 * np.abs(first).max()


def test_what_cannot_be_done_is_said():
    wave = syllables(0.5)
    with pytest.raises(InputError, match="finite samples"):
        put_in_room(wave * np.float32("nan"), Room(), rng())
    with pytest.raises(InputError, match="finite samples"):
        in_another_room(wave[:0], rng())
    with pytest.raises(InputError, match="mu-law, low-rate; got 'mp3'"):
        put_in_room(wave, replace(Room(), codec="mp3"), rng())
    with pytest.raises(InputError, match="'laugh'"):
        make_noise("laugh", 0.4, -30.0, rng())
    with pytest.raises(InputError, match=r"at least 0\.02 s"):
        make_noise("breath", 0.001, -30.0, rng())
