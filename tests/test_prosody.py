"""Prosody: pitch, voicing, loudness and beats of known sounds and of real speech."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.speech.loading import load_speech
from avi_lib.speech.prosody import Prosody, prosody

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()


def glide(from_hz: float, to_hz: float, seconds: float = 2.0, strength: object = None) -> tuple[np.ndarray, np.ndarray]:
    """A buzz of 15 harmonics (samples,) float32 whose pitch glides, and its pitch in Hz at each sample."""
    f0_hz = np.geomspace(from_hz, to_hz, round(16000 * seconds))
    phase = 2 * np.pi * np.cumsum(f0_hz) / 16000
    weights = 1 / np.arange(1, 16) if strength is None else np.asarray(strength)
    wave = 0.2 * sum(w * np.sin(k * phase) for k, w in enumerate(weights, 1))
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(wave))
    return (wave + noise).astype(np.float32), f0_hz


def cents_off(result: Prosody, f0_hz: np.ndarray) -> np.ndarray:
    """Distance in cents from the pitch at the middle of each voiced frame."""
    middle = ((np.arange(len(result.voiced)) + 0.5) * 16000 / result.fps).astype(int)
    return 1200 * np.abs(np.log2(result.f0_hz[result.voiced] / f0_hz[middle][result.voiced]))


@pytest.mark.parametrize(("from_hz", "to_hz"), [(75, 150), (110, 220), (300, 120), (200, 450)])
def test_pitch_follows_a_glide_without_octave_errors(from_hz: float, to_hz: float) -> None:
    wave, f0_hz = glide(from_hz, to_hz)
    result = prosody(wave)
    assert result.voiced.mean() > 0.95
    assert cents_off(result, f0_hz).max() < 15


@pytest.mark.parametrize("strength", [[0, 1, 0.8, 0.6, 0.4], [0.3, 1, 0.3, 0.9, 0.3], [1, 0, 0.7, 0, 0.5]])
def test_pitch_is_the_fundamental_when_other_harmonics_are_stronger(strength: list[float]) -> None:
    wave, f0_hz = glide(120, 180, strength=strength)
    result = prosody(wave)
    assert result.voiced.mean() > 0.95
    assert np.percentile(cents_off(result, f0_hz), 99) < 30


def test_noise_and_silence_are_unvoiced_and_have_no_beats() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)
    for wave in (noise, np.zeros(48000, np.float32)):
        result = prosody(wave)
        assert not result.voiced.any()
        assert not result.f0_hz.any()
        assert result.beats() == ()
    assert result.energy_db.max() == -100


def test_loudness_is_the_rms_of_each_frame() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(32000) / 16000).astype(np.float32)
    tone[16000:] *= 0.1
    energy_db = prosody(tone).energy_db
    assert energy_db.shape == (50,)
    np.testing.assert_allclose(energy_db[:25], -3.01, atol=0.05)
    np.testing.assert_allclose(energy_db[25:], -23.01, atol=0.05)


@pytest.mark.parametrize(
    ("samples", "fps", "frames"),
    [(16000, 25.0, 25), (16001, 25.0, 26), (1, 25.0, 1), (100, 30.0, 1), (48000, 29.97, 90)],
)
def test_frames_cover_the_wave(samples: int, fps: float, frames: int) -> None:
    wave = glide(120, 130, 3.1)[0][:samples]
    result = prosody(wave, fps)
    assert result.f0_hz.shape == result.voiced.shape == result.energy_db.shape == (frames,)
    assert np.isfinite(result.f0_hz).all()
    assert np.isfinite(result.energy_db).all()


def syllables(levels: list[float], pitches_hz: list[float], seconds: float = 0.2, gap_s: float = 0.06) -> np.ndarray:
    pieces = []
    for level, pitch_hz in zip(levels, pitches_hz, strict=True):
        tone = glide(pitch_hz, pitch_hz, seconds)[0]
        pieces += [level * tone * np.hanning(len(tone)).astype(np.float32), np.zeros(round(16000 * gap_s), np.float32)]
    return np.concatenate(pieces)


def test_beat_falls_on_the_syllable_that_leans_out() -> None:
    levels = [1.0] * 9
    levels[4] = 2.5
    result = prosody(syllables(levels, [120] * 9))
    assert len(result.syllables) == 9
    (beat,) = result.beats()
    assert beat.time_s == pytest.approx(4 * 0.26 + 0.1, abs=0.02)
    assert 0.4 < beat.strength <= 1


def test_higher_pitch_alone_makes_a_syllable_stronger() -> None:
    pitches = [120.0] * 9
    pitches[6] = 190.0
    strengths = [syllable.strength for syllable in prosody(syllables([1.0] * 9, pitches)).syllables]
    assert int(np.argmax(strengths)) == 6
    assert strengths[6] > 0.25
    assert np.median(strengths) < 0.05


def test_beats_keep_their_distance_and_even_speech_has_none() -> None:
    assert prosody(syllables([1.0] * 12, [120] * 12)).beats() == ()
    levels = [1, 1, 2.5, 2.4, 1, 1, 1, 2.5, 1, 1, 1]
    times = [beat.time_s for beat in prosody(syllables(levels, [120] * 11)).beats()]
    assert len(times) == 2
    assert min(np.diff(times)) > 0.35


def test_same_wave_gives_the_same_prosody() -> None:
    wave = glide(100, 200)[0]
    one, two = prosody(wave), prosody(wave)
    assert one.f0_hz.tobytes() == two.f0_hz.tobytes()
    assert one.syllables == two.syllables


def test_long_recording_agrees_with_its_part() -> None:
    wave = np.tile(syllables([1, 1, 2.5, 1, 1], [120, 125, 130, 125, 120]), 40)
    assert len(wave) > 50 * 16000
    whole, part = prosody(wave), prosody(wave[: 20 * 16000])
    np.testing.assert_allclose(whole.f0_hz[:490], part.f0_hz[:490], rtol=1e-3)
    assert whole.beats()[:10] == part.beats()[:10]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        prosody(np.zeros(0, np.float32))
    with pytest.raises(InputError, match="1 to 100 frames"):
        prosody(np.zeros(16000, np.float32), fps=0.0)


def test_ten_seconds_take_less_than_a_third_of_a_second_and_nothing_heavy_is_imported() -> None:
    wave = glide(100, 200, 10)[0]
    prosody(wave)
    started = time.process_time()
    prosody(wave)
    assert time.process_time() - started < 0.3
    heavy = ("librosa", "numba", "torch")
    code = f"import sys, avi_lib.speech.prosody; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_on_real_speech_vowels_are_voiced_and_syllables_fall_on_them(real_data: Path) -> None:
    phones = json.loads((real_data / "ravdess" / "phones.json").read_text())
    paths = [p for p in sorted((real_data / "ravdess" / "flac").glob("*.flac"))[::60] if p.stem in phones]
    assert len(paths) >= 12
    voiced: list[bool] = []
    hits, found, beats, seconds = 0, 0, 0, 0.0
    strengths: dict[str, list[float]] = {"content": [], "function": []}
    for path in paths:
        speech = load_speech(path)
        result = prosody(speech.wave)
        vowels = [(word, start, end) for word, phone, start, end in phones[path.stem] if phone in VOWELS]
        for _, start, end in vowels:
            voiced += list(result.voiced[int(start * 25) + 1 : int(end * 25)])
        for syllable in result.syllables:
            inside = [word for word, start, end in vowels if start - 0.02 <= syllable.time_s <= end + 0.02]
            hits += bool(inside)
            kind = "content" if inside and inside[0] in ("kids", "talking", "dogs", "sitting", "door") else "function"
            strengths[kind].append(syllable.strength)
        found += len(result.syllables)
        beats += len(result.beats())
        seconds += speech.duration_s
    assert np.mean(voiced) > 0.9
    assert hits / found > 0.9
    assert 0.4 < beats / seconds < 1.5
    assert np.mean(strengths["content"]) > 2 * np.mean(strengths["function"])
