"""A voice: prosody of known sounds, acoustic features, and that each is computed once."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from preparing import contiguous
from small_encoders import tone

from avi_lib.errors import InputError
from avi_lib.speech import voice as module
from avi_lib.speech.encoders import HOP, RATE_HZ, WindowedEncoder
from avi_lib.speech.loading import load_voice
from avi_lib.speech.phones import (
    ARPABET,
    BLANK,
    CTC_DELAY_S,
    CTC_PAD_S,
    LONGEST_SECTION_S,
    SILENCE,
    AlignmentError,
    Phone,
    PhonePosteriors,
    align_phones,
    arpabet,
    pronounce,
    recognise_phones,
    sections,
    spoken_words,
    tidy,
)
from avi_lib.speech.prosody import Prosody, prosody
from avi_lib.speech.voice import Voice
from tools.benchmarks.phones import read_source, score

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()


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


class Counting(WindowedEncoder):
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


def test_noise_and_silence_are_unvoiced_without_beats_and_loudness_is_the_rms():
    noise = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)
    for wave in (noise, np.zeros(48000, np.float32)):
        result = prosody(wave)
        assert not result.voiced.any() and not result.f0_hz.any()
        assert result.beats() == ()
    assert result.energy_db.max() == -100
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


def test_beats_fall_on_syllables_that_lean_out_keep_their_distance_and_even_speech_has_none():
    result = prosody(syllables([1, 1, 1, 1, 2.5, 1, 1, 1, 1], [120] * 9))
    assert len(result.syllables) == 9
    (beat,) = result.beats()
    assert beat.time_s == pytest.approx(4 * 0.26 + 0.1, abs=0.02)
    assert 0.4 < beat.strength <= 1
    higher = prosody(syllables([1.0] * 9, [120] * 6 + [190] + [120] * 2))
    strengths = [syllable.strength for syllable in higher.syllables]
    assert int(np.argmax(strengths)) == 6
    assert strengths[6] > 0.25 and np.median(strengths) < 0.05
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
    with pytest.raises(InputError, match="a wave with samples; got an empty one"):
        prosody(np.zeros(0, np.float32))
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
    for path in paths:
        speech = load_voice(path)
        result = speech.prosody()
        vowels = [(start, end) for _, phone, start, end in phones[path.stem] if phone in VOWELS]
        for start, end in vowels:
            voiced += list(result.voiced[int(start * 25) + 1 : int(end * 25)])
        for syllable in result.syllables:
            hits += any(start - 0.02 <= syllable.time_s <= end + 0.02 for start, end in vowels)
        found += len(result.syllables)
        beats += len(result.beats())
        seconds += speech.duration_s
    assert np.mean(voiced) > 0.9
    assert hits / found > 0.9
    assert 0.4 < beats / seconds < 1.5


@pytest.mark.parametrize("samples", [1, HOP, 3 * HOP + 7, 48_111])
def test_states_of_early_layers_are_joined_in_pairs(samples):
    found = Voice(tone(samples / RATE_HZ)[:samples]).acoustic_features(Counting())
    frames = -(-samples // HOP)
    steps = -(-frames // 2)
    assert found.shape == (2, steps, 1)
    pairs = [(2 * i + min(2 * i + 1, frames - 1)) / 2 for i in range(steps)]
    np.testing.assert_allclose(found[0, :, 0], pairs, rtol=1e-3)
    np.testing.assert_allclose(found[1], -found[0])


def test_the_contour_is_about_the_clips_own_pitch_and_level():
    waves = sung(110, depth_st=3.0, level=0.05), sung(220, depth_st=3.0, level=0.8)
    low, high = (prosody(wave).contour()[2:-2] for wave in waves)
    np.testing.assert_allclose(low[:, 0], high[:, 0], atol=0.12)
    np.testing.assert_allclose(low[:, 2], high[:, 2], atol=0.25)


def test_pitch_phones_and_states_are_computed_once_and_unwanted_layers_not_at_all(monkeypatch):
    calls = []
    for name in ("track_pitch", "recognise_phones", "align_phones"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, name=name, real=real: calls.append(name) or real(*a))
    voice, encoder = Voice(sung(140)), Counting()
    for _ in range(2):
        assert len(voice.prosody(25.0).f0_hz) == 38 and len(voice.prosody(100.0).f0_hz) == 150
        np.testing.assert_array_equal(voice.features(encoder), voice.states(encoder)[-1])
        assert voice.phones() is voice.phones() and voice.phones("Ah.").text == "Ah."
    assert sorted(calls) == ["align_phones", "recognise_phones", "track_pitch"]
    assert encoder.runs == 2  # `features` first, then every layer
    voice = Voice(sung(140))
    assert voice.features(Counting()).shape == (75, 1) and not voice._states


def test_breath_groups_are_the_voice_itself_or_parts_of_it_in_whole_frames():
    voice = Voice(np.tile(sung(140), 8))
    assert voice.groups(12.0) == [(0.0, voice)]
    starts_s, parts = zip(*voice.groups(5.0), strict=True)
    assert max(part.duration_s for part in parts) <= 5.0
    np.testing.assert_array_equal(np.concatenate([part.wave for part in parts]), voice.wave)
    assert list(starts_s) == [sum(part.duration_s for part in parts[:i]) for i in range(len(parts))]


def load(path):
    wave, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == RATE_HZ
    return wave


def ravdess(folder, clip):
    with (folder / "ravdess" / "index.csv").open() as file:
        text = next(row["text"] for row in csv.DictReader(file) if row["clip"] == clip)
    return load(folder / "ravdess" / "flac" / f"{clip}.flac"), text


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [("b", "B"), ("aɪ", "AY"), ("t͡ʃ", "CH"), ("pʰ", "P"), ("p͈", "P"), ("ɪə", "IH R"), ("ː", ""), ("˥", "")],
)
def test_an_ipa_symbol_becomes_the_arpabet_phone_with_its_mouth_shape(ipa, phones):
    assert " ".join(arpabet(ipa)) == phones


def test_every_token_of_the_network_is_arpabet_or_a_mark():
    from hama import ASRModel

    tokens = ASRModel().decoder_tokens
    assert {phone for token in tokens for phone in arpabet(token)} <= ARPABET
    assert [token for token in "mbpfvwszʃθðŋaeiouəɛɪʊʌɔæɑɹ" if token in tokens and not arpabet(token)] == []


def test_tidy_makes_phones_contiguous():
    phones = tidy([Phone("B", 0.5, 0.6), Phone("AY", 0.58, 0.8), Phone("M", 0.81, 0.9)], 1.0)
    assert [phone.phone for phone in phones] == [SILENCE, "B", "AY", "M", SILENCE]
    assert np.allclose([phone.start_s for phone in phones], [0, 0.5, 0.59, 0.805, 0.9]), "overlaps meet halfway"
    assert contiguous(phones, 1.0)
    assert tidy([], 2.0) == (Phone(SILENCE, 0.0, 2.0),)
    across = [Phone("B", -0.2, -0.1), Phone("AY", -0.1, 0.3), Phone("M", 0.9, 1.2), Phone("P", 1.3, 1.4)]
    assert tidy(across, 1.0) == (Phone("AY", 0.0, 0.3), Phone(SILENCE, 0.3, 0.9), Phone("M", 0.9, 1.0))
    assert not contiguous([Phone("B", 0.0, 0.4), Phone("AY", 0.5, 1.0)], 1.0)
    joined = tidy([Phone(SILENCE, 0.0, 1.0), Phone(SILENCE, 1.0, 2.0), Phone("B", 2.0, 3.0)], 3.0)
    assert joined == (Phone(SILENCE, 0, 2), Phone("B", 2, 3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world -- again!", "hello world again"),
        ("At 9:30, I\u2019m 21st.", "at nine thirty i'm twenty first"),
        (
            "In 1999 & 1905: 50% of $1,200",
            "in nineteen ninety nine and nineteen oh five fifty percent of one thousand two hundred dollars",
        ),
        ("3.14 007", "three point one four zero zero seven"),
        ("0 13 42 305", "zero thirteen forty two three hundred five"),
        (
            "2,024 12345678",
            "two thousand twenty four twelve million three hundred forty five thousand six hundred seventy eight",
        ),
        ("Our AVQ & NATO 9th", "our a v q and nato ninth"),
    ],
)
def test_a_transcript_becomes_the_words_that_are_said(text, words):
    assert spoken_words(text) == words.split()


def test_words_keep_their_alternatives_letters_are_spelled_and_other_words_are_read_by_the_network():
    read, letter, made_up = pronounce("read b blorptastic")
    assert read.pronunciations == (("R", "EH", "D"), ("R", "IY", "D"))
    assert letter.pronunciations[0] == ("B", "IY")
    assert made_up.pronunciations == (("B", "L", "AO", "R", "P", "T", "AE", "S", "T", "IH", "K"),)


def test_ctc_alignment_finds_the_spikes():
    labels = (BLANK, ("B",), ("IY",))
    log_posteriors = np.full((60, 3), np.log(0.05), dtype=np.float32)
    log_posteriors[:, 0] = np.log(0.9)
    log_posteriors[20] = log_posteriors[31] = np.log([0.05, 0.9, 0.05])
    log_posteriors[40] = np.log([0.05, 0.05, 0.9])
    posteriors = PhonePosteriors(log_posteriors, labels)
    starts = [phone.start_s for phone in posteriors.align(["B", "B", "IY"])]
    assert np.allclose(starts, np.array([20, 31, 40]) * 0.02 - CTC_PAD_S - CTC_DELAY_S)
    with pytest.raises(AlignmentError, match="too short"):
        posteriors.align(["B"] * 70)


def test_long_recordings_are_cut_in_their_pauses():
    wave = np.random.default_rng(0).normal(scale=0.1, size=40 * RATE_HZ).astype(np.float32)
    for pause_s in (10.0, 22.0, 35.0):
        wave[int(pause_s * RATE_HZ) : int((pause_s + 0.4) * RATE_HZ)] *= 0.01
    cut = sections(wave)
    starts = [start_s for start_s, _ in cut]
    assert len(cut) == 4
    assert all(0 <= start - pause <= 0.4 for start, pause in zip(starts[1:], (10.0, 22.0, 35.0), strict=True))
    assert max(len(part) for _, part in cut) <= LONGEST_SECTION_S * RATE_HZ
    assert sum(len(part) for _, part in cut) == len(wave)


@pytest.mark.parametrize(
    ("wave", "got"),
    [
        (np.zeros(RATE_HZ), "float64"),
        (np.zeros((RATE_HZ, 2), np.float32), r"shape \(16000, 2\)"),
        (np.zeros(100, np.float32), "0.006 s"),
        (np.full(RATE_HZ, np.nan, np.float32), "not finite"),
    ],
)
def test_an_array_that_is_no_recording_is_refused(wave, got):
    with pytest.raises(InputError, match=got):
        recognise_phones(wave)
    with pytest.raises(InputError, match=got):
        align_phones(wave, "hello")
    for text in ("", "  ... !?"):
        with pytest.raises(InputError, match="transcript"):
            align_phones(np.zeros(RATE_HZ, np.float32), text)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_is_one_silent_phone(level):
    wave = np.random.default_rng(0).normal(scale=level, size=2 * RATE_HZ).astype(np.float32)
    track = recognise_phones(wave)
    assert track.phones == (Phone(SILENCE, 0.0, 2.0),)
    assert "no phone was heard" in track.reason


def test_a_hum_that_sounds_like_a_word_but_cannot_be_aligned_still_gives_phones():
    times_s = np.arange(16_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 120 * k * times_s) / k for k in range(1, 12))
    swell = 0.1 * (1.2 + np.sin(2 * np.pi * 3.1 * times_s)) * ((times_s > 0.15) & (times_s < 0.85))
    track = recognise_phones((tone * swell).astype(np.float32))
    assert contiguous(track.phones, 1.0)


def test_a_recording_alone_gives_the_closures_of_real_speech(real_data):
    pairs = []
    for path, _, reference in read_source(real_data / "grid10")[:4]:
        wave = load(path)
        track = recognise_phones(wave)
        assert track.method == "hama+pocketsphinx"
        assert contiguous(track.phones, len(wave) / RATE_HZ)
        pairs.append((reference, track.phones))
    result = score(pairs)
    assert result["bilabials_hit"] == 1.0
    assert result["matched"] > 0.75
    assert abs(result["bilabial_bias_ms"]) <= 12


def test_the_text_gives_the_phones_of_the_dictionary_in_time(real_data):
    wave, text = ravdess(real_data, "03-01-05-01-01-02-04")
    track = align_phones(wave, text)
    rows = json.loads((real_data / "ravdess" / "phones.json").read_text())["03-01-05-01-01-02-04"]
    reference = tidy((Phone(phone, start, end) for _, phone, start, end in rows), len(wave) / RATE_HZ)
    assert (track.method, track.warning) == ("pocketsphinx", "")
    assert score([(reference, track.phones)])["frames"] > 0.85
    assert align_phones(wave, text) == track


def test_a_text_of_another_recording_is_not_used_and_said_so(real_data):
    wave, _ = ravdess(real_data, "03-01-05-01-01-02-04")
    track = align_phones(wave, "She bought a new computer yesterday")
    assert "the text may not be what is said" in track.warning
    assert track.phones == recognise_phones(wave).phones


def test_a_long_recording_keeps_its_words_in_their_sections(real_data):
    clips = ["03-01-01-01-01-01-01", "03-01-01-01-02-01-01"] * 5
    waves, texts = zip(*(ravdess(real_data, clip) for clip in clips), strict=True)
    wave = np.concatenate(waves)
    track = align_phones(wave, " ".join(texts))
    single = align_phones(waves[-1], texts[-1])
    start_s = sum(len(part) for part in waves[:-1]) / RATE_HZ
    late = [phone for phone in track.phones if phone.start_s > start_s and phone.phone != SILENCE]
    alone = [phone for phone in single.phones if phone.phone != SILENCE]
    assert len(sections(wave)) > 1
    assert (track.method, track.warning) == ("pocketsphinx", "")
    assert contiguous(track.phones, len(wave) / RATE_HZ)
    assert [phone.phone for phone in late] == [phone.phone for phone in alone]
    assert np.abs([a.start_s - start_s - b.start_s for a, b in zip(late, alone, strict=True)]).max() < 0.05
