from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile

from avi_lib.errors import InputError
from avi_lib.speech.encoders import RATE_HZ
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
    agreement,
    align_phones,
    arpabet,
    contiguous,
    merge_silence,
    pronounce,
    recognise_phones,
    sections,
    spoken_words,
    tidy,
)
from tools.benchmarks.phones import match, read_source, score


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
    joined = merge_silence([Phone(SILENCE, 0, 1), Phone(SILENCE, 1, 2), Phone("B", 2, 3)])
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


def test_agreement_is_one_for_equal_and_counts_edits():
    assert agreement(["B", "IH", "N"], ["B", "IH", "N"]) == 1.0
    assert agreement(["B", "IH", "N"], ["B", "IH", "M", "N"]) == pytest.approx(0.75)
    assert agreement([], ["B"]) == 0.0


def test_ctc_alignment_finds_the_spikes():
    labels = (BLANK, ("B",), ("IY",))
    log_posteriors = np.full((60, 3), np.log(0.05), dtype=np.float32)
    log_posteriors[:, 0] = np.log(0.9)
    log_posteriors[20] = log_posteriors[31] = np.log([0.05, 0.9, 0.05])
    log_posteriors[40] = np.log([0.05, 0.05, 0.9])
    heard = PhonePosteriors(log_posteriors, labels)
    starts = [phone.start_s for phone in heard.align(["B", "B", "IY"])]
    assert np.allclose(starts, np.array([20, 31, 40]) * 0.02 - CTC_PAD_S - CTC_DELAY_S)
    with pytest.raises(AlignmentError, match="too short"):
        heard.align(["B"] * 70)


def test_long_recordings_are_cut_in_their_pauses():
    wave = np.random.default_rng(0).normal(scale=0.1, size=40 * RATE_HZ).astype(np.float32)
    for pause_s in (10.0, 22.0, 35.0):
        wave[int(pause_s * RATE_HZ) : int((pause_s + 0.4) * RATE_HZ)] *= 0.01
    cut = sections(wave)
    starts = [section.start_s for section in cut]
    assert len(cut) == 4
    assert all(0 <= start - pause <= 0.4 for start, pause in zip(starts[1:], (10.0, 22.0, 35.0), strict=True))
    assert max(len(section.wave) for section in cut) <= LONGEST_SECTION_S * RATE_HZ
    assert sum(len(section.wave) for section in cut) == len(wave)


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


def test_score_counts_bilabials_and_bias():
    reference = tidy([Phone("B", 0.1, 0.2), Phone("AY", 0.2, 0.4), Phone("M", 0.4, 0.5)], 0.6)
    found = tidy([Phone("B", 0.12, 0.22), Phone("AY", 0.22, 0.4), Phone("N", 0.4, 0.5)], 0.6)
    result = score([(reference, found)])
    assert [pair[1].phone for pair in match(reference, found)] == ["B", "AY"]
    assert result["bilabials_hit"] == 0.5
    assert result["bilabials_false"] == 0.0
    assert result["bias_ms"] == pytest.approx(20)
    assert result["frames"] == pytest.approx(46 / 60)


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
