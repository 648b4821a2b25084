"""A voice: prosody of known sounds, functionals and acoustic features, and that each is computed once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import tone

from avi_lib.errors import InputError
from avi_lib.speech import voice as module
from avi_lib.speech.augment import Room, put_in_room
from avi_lib.speech.encoders import HOP, RATE_HZ, SpeechEncoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.prosody import FUNCTIONALS, Prosody, functionals, prosody
from avi_lib.speech.voice import CONTOUR, Voice, acoustic_features

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
NUMBER = {name: number for number, name in enumerate(FUNCTIONALS)}


def glide(from_hz, to_hz, seconds=2.0, strength=None):
    """A buzz of 15 harmonics (samples,) float32 whose pitch glides, and its pitch in Hz at each sample."""
    f0_hz = np.geomspace(from_hz, to_hz, round(RATE_HZ * seconds))
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    weights = 1 / np.arange(1, 16) if strength is None else np.asarray(strength)
    wave = 0.2 * sum(w * np.sin(k * phase) for k, w in enumerate(weights, 1))
    return (wave + 0.003 * np.random.default_rng(0).standard_normal(len(wave))).astype(np.float32), f0_hz


def syllables(levels, pitches_hz):
    """Syllables of 0.2 s and pauses of 0.06 s."""
    pieces = []
    for level, pitch_hz in zip(levels, pitches_hz, strict=True):
        sound = glide(pitch_hz, pitch_hz, 0.2)[0]
        pieces += [level * sound * np.hanning(len(sound)).astype(np.float32), np.zeros(960, np.float32)]
    return np.concatenate(pieces)


def sung(hz, depth_st=0.0, rate_hz=4.0, level=0.5):
    """A voice-like tone with harmonics (1.5 s), whose pitch and loudness move."""
    times_s = np.arange(round(1.5 * RATE_HZ)) / RATE_HZ
    pitch = hz * 2 ** (depth_st / 12 * np.sin(2 * np.pi * 1.5 * times_s))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    wave = sum(np.sin(n * phase) / n for n in range(1, 12))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * rate_hz * times_s)
    return (level * wave * envelope / np.abs(wave).max()).astype(np.float32)


class Counting(SpeechEncoder):
    """Two layers: the frame's number, and its negative."""

    name = reason = fingerprint = "counting"
    dim, layers, window, overlap = 1, 2, 10_000, 12

    def __init__(self):
        self.runs = 0

    def _prepare(self, wave, frames):
        return np.arange(frames, dtype=np.float32)[None]

    def _encode_window(self, prepared, start, stop, every_layer):
        self.runs += 1
        count = prepared[0, start:stop, None]
        return np.stack([count, -count])[0 if every_layer else 1 :]


def cents_off(result: Prosody, f0_hz):
    """Distance in cents from the pitch at the middle of each voiced frame."""
    middle = ((np.arange(len(result.voiced)) + 0.5) * RATE_HZ / result.fps).astype(int)
    return 1200 * np.abs(np.log2(result.f0_hz[result.voiced] / f0_hz[middle][result.voiced]))


# Prosody


@pytest.mark.parametrize(("from_hz", "to_hz"), [(75, 150), (110, 220), (300, 120), (200, 450)])
def test_pitch_follows_a_glide_without_octave_errors(from_hz, to_hz):
    wave, f0_hz = glide(from_hz, to_hz)
    result = prosody(wave)
    assert result.voiced.mean() > 0.95
    assert cents_off(result, f0_hz).max() < 15


@pytest.mark.parametrize("strength", [[0, 1, 0.8, 0.6, 0.4], [0.3, 1, 0.3, 0.9, 0.3], [1, 0, 0.7, 0, 0.5]])
def test_pitch_is_the_fundamental_when_other_harmonics_are_stronger(strength):
    wave, f0_hz = glide(120, 180, strength=strength)
    result = prosody(wave)
    assert result.voiced.mean() > 0.95
    assert np.percentile(cents_off(result, f0_hz), 99) < 30


def test_noise_and_silence_are_unvoiced_and_have_no_beats():
    noise = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)
    for wave in (noise, np.zeros(48000, np.float32)):
        result = prosody(wave)
        assert not result.voiced.any() and not result.f0_hz.any()
        assert result.beats() == ()
    assert result.energy_db.max() == -100


def test_loudness_is_the_rms_of_each_frame():
    wave = np.sin(2 * np.pi * 200 * np.arange(32000) / RATE_HZ).astype(np.float32)
    wave[16000:] *= 0.1
    np.testing.assert_allclose(prosody(wave).energy_db, np.repeat([-3.01, -23.01], 25), atol=0.05)


@pytest.mark.parametrize(
    ("samples", "fps", "frames"),
    [(16000, 25.0, 25), (16001, 25.0, 26), (1, 25.0, 1), (100, 30.0, 1), (48000, 29.97, 90)],
)
def test_frames_cover_the_wave(samples, fps, frames):
    result = prosody(glide(120, 130, 3.1)[0][:samples], fps)
    assert result.f0_hz.shape == result.voiced.shape == result.energy_db.shape == (frames,)
    assert np.isfinite(result.f0_hz).all() and np.isfinite(result.energy_db).all()


def test_a_beat_falls_on_the_syllable_that_leans_out_by_loudness_or_pitch():
    result = prosody(syllables([1, 1, 1, 1, 2.5, 1, 1, 1, 1], [120] * 9))
    assert len(result.syllables) == 9
    (beat,) = result.beats()
    assert beat.time_s == pytest.approx(4 * 0.26 + 0.1, abs=0.02)
    assert 0.4 < beat.strength <= 1
    higher = prosody(syllables([1.0] * 9, [120] * 6 + [190] + [120] * 2))
    strengths = [syllable.strength for syllable in higher.syllables]
    assert int(np.argmax(strengths)) == 6
    assert strengths[6] > 0.25 and np.median(strengths) < 0.05


def test_beats_keep_their_distance_and_even_speech_has_none():
    assert prosody(syllables([1.0] * 12, [120] * 12)).beats() == ()
    levels = [1, 1, 2.5, 2.4, 1, 1, 1, 2.5, 1, 1, 1]
    times_s = [beat.time_s for beat in prosody(syllables(levels, [120] * 11)).beats()]
    assert len(times_s) == 2
    assert min(np.diff(times_s)) > 0.35


def test_a_long_recording_agrees_with_its_part_and_with_itself():
    wave = np.tile(syllables([1, 1, 2.5, 1, 1], [120, 125, 130, 125, 120]), 40)
    assert len(wave) > 50 * RATE_HZ
    whole, again, part = prosody(wave), prosody(wave), prosody(wave[: 20 * RATE_HZ])
    assert whole.f0_hz.tobytes() == again.f0_hz.tobytes() and whole.syllables == again.syllables
    np.testing.assert_allclose(whole.f0_hz[:490], part.f0_hz[:490], rtol=1e-3)
    assert whole.beats()[:10] == part.beats()[:10]


def test_an_empty_wave_and_a_wrong_rate_are_refused():
    for measure in (prosody, functionals):
        with pytest.raises(InputError, match="a wave with samples; got an empty one"):
            measure(np.zeros(0, np.float32))
    with pytest.raises(InputError, match="1 to 100 frames"):
        prosody(np.zeros(RATE_HZ, np.float32), fps=0.0)


def test_loading_a_recording_imports_nothing_heavy():
    heavy = ("librosa", "numba", "torch", "ctranslate2", "hama", "pocketsphinx")
    code = f"import sys, avi_lib.speech.loading; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_on_real_speech_vowels_are_voiced_and_syllables_fall_on_them(real_data: Path):
    phones = json.loads((real_data / "ravdess" / "phones.json").read_text())
    paths = [p for p in sorted((real_data / "ravdess" / "flac").glob("*.flac"))[::60] if p.stem in phones]
    assert len(paths) >= 12
    voiced: list[bool] = []
    hits, found, beats, seconds = 0, 0, 0, 0.0
    strengths: dict[str, list[float]] = {"content": [], "function": []}
    for path in paths:
        speech = load_voice(path)
        result = speech.prosody()
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


# Prosodic functionals


def test_functionals_do_not_depend_on_the_recordings_gain_nor_on_who_found_the_pitch():
    wave = sung(140, depth_st=2.0)
    for gain in (0.002, 0.02, 0.3, 1.9):
        changed = wave * np.float32(gain)
        np.testing.assert_allclose(functionals(changed), functionals(wave), rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            functionals(changed, Voice(changed).track), functionals(changed), rtol=1e-4, atol=1e-5
        )


def test_a_livelier_voice_has_more_movement_and_a_higher_one_another_median():
    flat, lively, high = functionals(sung(120)), functionals(sung(120, depth_st=5.0)), functionals(sung(240))
    for name in ("f0_spread_st", "f0_movement_st", "f0_high_st"):
        assert lively[NUMBER[name]] > flat[NUMBER[name]] + 0.05
    assert high[NUMBER["f0_median_st"]] - flat[NUMBER["f0_median_st"]] == pytest.approx(12, abs=0.5)
    fast, slow = (functionals(sung(120, rate_hz=rate_hz))[NUMBER["syllables_s"]] for rate_hz in (6.0, 2.5))
    assert fast > slow


def test_functionals_are_nearly_the_same_through_another_microphone():
    wave = load_voice("data/samples/arctic.flac").wave
    there = put_in_room(wave, Room(tilt_db=2.0, low_shelf_db=-6.0, level_dbfs=-30.0), np.random.default_rng(0))
    apart = np.abs(functionals(there) - functionals(wave))
    assert all(apart[NUMBER[name]] < 0.5 for name in ("f0_median_st", "f0_spread_st", "f0_high_st"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9000), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_wave_has_finite_functionals_and_silence_zeros(samples, seed, level):
    numbers = functionals((level * np.random.default_rng(seed).uniform(-1, 1, samples)).astype(np.float32))
    assert numbers.shape == (len(FUNCTIONALS),) and numbers.dtype == np.float32
    assert np.isfinite(numbers).all()
    assert not functionals(np.zeros(samples, np.float32)).any()


# Voice


@pytest.mark.parametrize("samples", [1, HOP, 3 * HOP + 7, 48_111])
def test_states_are_joined_in_pairs_and_the_contour_has_as_many_steps(samples):
    heard = acoustic_features(tone(samples / RATE_HZ)[:samples], Counting())
    frames = -(-samples // HOP)
    steps = -(-frames // 2)
    assert heard.states.shape == (2, steps, 1) and heard.contour.shape == (steps, len(CONTOUR))
    pairs = [(2 * i + min(2 * i + 1, frames - 1)) / 2 for i in range(steps)]
    np.testing.assert_allclose(heard.states[0, :, 0], pairs, rtol=1e-3)
    np.testing.assert_allclose(heard.states[1], -heard.states[0])


def test_the_contour_is_about_the_clips_own_pitch_and_level():
    waves = sung(110, depth_st=3.0, level=0.05), sung(220, depth_st=3.0, level=0.8)
    low, high = (acoustic_features(wave, Counting()).contour[2:-2] for wave in waves)
    np.testing.assert_allclose(low[:, 0], high[:, 0], atol=0.12)
    np.testing.assert_allclose(low[:, 2], high[:, 2], atol=0.25)


def test_pitch_phones_and_states_are_computed_once(monkeypatch):
    calls = []
    for name in ("track_pitch", "recognise_phones", "align_phones"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, name=name, real=real: calls.append(name) or real(*a))
    voice, encoder = Voice(sung(140)), Counting()
    for _ in range(2):
        assert len(voice.prosody(25.0).f0_hz) == 38 and len(voice.prosody(100.0).f0_hz) == 150
        assert len(voice.acoustic_features(encoder).contour) == 38
        np.testing.assert_array_equal(voice.features(encoder), voice.states(encoder)[-1])
        assert voice.phones() is voice.phones() and voice.phones("Ah.").text == "Ah."
    assert sorted(calls) == ["align_phones", "recognise_phones", "track_pitch"]
    assert encoder.runs == 1


def test_the_last_layer_alone_is_computed_where_the_others_are_not_wanted():
    voice = Voice(sung(140))
    assert voice.features(Counting()).shape == (75, 1) and not voice._states


def test_breath_groups_are_the_voice_itself_or_parts_of_it_in_whole_frames():
    voice = Voice(np.tile(sung(140), 8))
    assert voice.groups(12.0) == [(0.0, voice)]
    starts_s, parts = zip(*voice.groups(5.0), strict=True)
    assert max(part.duration_s for part in parts) <= 5.0
    np.testing.assert_array_equal(np.concatenate([part.wave for part in parts]), voice.wave)
    assert list(starts_s) == [sum(part.duration_s for part in parts[:i]) for i in range(len(parts))]
