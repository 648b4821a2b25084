"""Speech in: every recording ends as a sound 16 kHz wave with a report, or as an error a person can act on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bad_audio import FORMATS, NO_ERROR_TALK, REFUSED, REPAIRED, encoded, save, stamped, voice, wav_bytes, write_video

from avi_lib.errors import InputError
from avi_lib.speech.decode import MAX_CHANNELS, SOUND_SUFFIXES, timed
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import SpeechReport

ROOT = Path(__file__).resolve().parents[1]
LOSSLESS = ("wav", "flac", "aiff", "caf", "w64", "au", "oga")
UNTRIMMED = ("mpg", "ts", "flv", "avi", "loas", "ac3", "ec3")
"""Formats that keep the silence with which their codecs begin."""


def lag_and_snr_db(wave: np.ndarray, reference: np.ndarray) -> tuple[int, float]:
    """Delay in samples at which the two agree best, and the agreement in dB there (delays up to 0.1 s)."""
    n = min(len(wave), len(reference))
    x, y = reference[:n].astype(np.float64), wave[:n].astype(np.float64)
    size = 1 << (2 * n).bit_length()
    products = np.fft.irfft(np.fft.rfft(y, size) * np.conj(np.fft.rfft(x, size)))
    lag = max(range(-1600, 1601), key=lambda k: products[k])
    inner = slice(1600, n - 1600)
    difference = np.roll(y, -lag)[inner] - x[inner]
    return lag, float(10 * np.log10((x[inner] ** 2).sum() / (difference**2).sum()))


@pytest.mark.parametrize("suffix", ["wav", *FORMATS])
def test_every_format_gives_the_same_wave_in_place(tmp_path: Path, suffix: str) -> None:
    wave = voice(1.0)
    speech = load_voice(save(tmp_path / f"a.{suffix}", encoded(wave, suffix)))
    assert f".{suffix}" in SOUND_SUFFIXES
    assert speech.wave.dtype == np.float32
    assert speech.rate_hz == 16_000
    assert speech.duration_s == pytest.approx(1.0, abs=0.1 if suffix in UNTRIMMED else 0.05)
    if suffix in LOSSLESS:
        np.testing.assert_allclose(speech.wave, wave, atol=1.5 / 32768)
        assert speech.report.repairs == ()
    elif suffix not in UNTRIMMED:
        lag, snr_db = lag_and_snr_db(speech.wave, wave)
        assert abs(lag) <= 1
        assert snr_db > 10


def test_sound_track_of_a_video_is_loaded_and_a_silent_film_refused(tmp_path: Path) -> None:
    wave = voice(1.0)
    speech = load_voice(write_video(tmp_path / "film.mp4", wave))
    assert lag_and_snr_db(speech.wave, wave)[0] == 0
    with pytest.raises(InputError, match="without a sound track"):
        load_voice(write_video(tmp_path / "silent.mp4", None))


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_recording_is_refused_in_words(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        load_voice(save(tmp_path / name, make()))
    message = str(caught.value)
    assert words in message
    assert name in message
    assert not NO_ERROR_TALK.search(message)
    assert "\n" not in message


@pytest.mark.parametrize("name", REPAIRED)
def test_repair_is_made_and_recorded_with_its_number(tmp_path: Path, name: str) -> None:
    make, repair, value = REPAIRED[name]
    speech = load_voice(save(tmp_path / name, make()))
    finding = speech.report.finding(repair)
    assert finding is not None
    assert finding.value == pytest.approx(value, rel=1e-3)
    assert any(finding.text in line for line in speech.report.lines())
    assert np.isfinite(speech.wave).all()
    assert np.abs(speech.wave).max() <= 1
    correlation = np.corrcoef(speech.wave, voice(len(speech.wave) / 16000))[0, 1]
    assert abs(correlation) > 0.999


@pytest.mark.parametrize("suffix", ["flac", "mp3", "webm", "aiff", "caf", "w64"])
def test_file_cut_off_in_the_middle_keeps_its_beginning_and_says_so(tmp_path: Path, suffix: str) -> None:
    whole = encoded(voice(2.0), suffix)
    speech = load_voice(save(tmp_path / f"cut.{suffix}", whole[: 2 * len(whole) // 3]))
    assert 0.5 < speech.duration_s < 1.7
    assert speech.report.finding("truncated") or speech.report.finding("damaged")


def test_streams_that_break_off_or_change_on_the_way_are_loaded_and_recorded(tmp_path: Path) -> None:
    whole = encoded(voice(4.0), "ogg")
    speech = load_voice(save(tmp_path / "cut.ogg", whole[: whole.rfind(b"OggS")]))
    assert 0.5 < speech.duration_s < 4.0
    assert speech.report.finding("unfinished") is not None
    assert load_voice(save(tmp_path / "whole.ogg", whole)).report.finding("unfinished") is None
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
    whole = encoded(voice(3.0), "m4a", options=options)
    speech = load_voice(save(tmp_path / "cut.m4a", whole[: len(whole) // 2]))
    assert 0.4 < speech.duration_s < 2.5
    assert speech.report.repairs
    bare = {"write_xing": "0", "id3v2_version": "0"}
    parts = [encoded(voice(1.0, rate_hz), "mp3", rate_hz, bare) for rate_hz in (16000, 32000)]
    speech = load_voice(save(tmp_path / "joined.mp3", b"".join(parts)))
    assert speech.report.finding("changes").value >= 1
    assert speech.duration_s == pytest.approx(2.1, abs=0.1)
    speech = load_voice(save(tmp_path / "joined.ogg", encoded(voice(2.0), "ogg") + encoded(voice(1.0), "ogg")))
    assert speech.duration_s == pytest.approx(3.0, abs=0.1)
    assert speech.report.finding("anew").value == 1


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF, "caf", "avi"])
def test_a_file_that_was_written_to_a_pipe_is_whole(tmp_path: Path, size: int | str) -> None:
    content = bytearray(encoded(voice(1.0), size) if isinstance(size, str) else wav_bytes(voice(1.0), claim_bytes=size))
    if size == "caf":
        content[(first := content.index(b"data") + 4) : first + 8] = b"\xff" * 8
    elif size == "avi":
        content[4:8] = b"\xff" * 4
    report = load_voice(save(tmp_path / "a.wav", bytes(content))).report
    assert report.duration_s == pytest.approx(1.0, abs=0.1)
    assert (report.repairs, report.claimed_s) == ((), None)
    assert report.finding("open_length") is not None


PARTS = {
    "filled": ([(0.0, 1.0), (2.0, 0.5)], 2.5, 1.0),
    "cut": ([(0.0, 1.0), (0.95, 0.55)], 1.5, 0.05),
    "late": ([(1.0, 1.0)], 1.0, 0.0),
    "close": ([(0.0, 0.5), (0.53, 0.5)], 1.0, 0.0),
    "stray": ([(0.0, 0.5), (0.58, 0.1), (0.6, 0.4)], 1.0, 0.0),
}


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("case", PARTS)
def test_sound_comes_when_its_time_stamps_say(tmp_path: Path, case: str, picture: bool) -> None:
    parts, duration_s, value = PARTS[case]
    waves = [voice(seconds) for _, seconds in parts]
    timed_parts = [(start_s, wave) for (start_s, _), wave in zip(parts, waves, strict=True)]
    speech = load_voice(stamped(tmp_path / "a.mkv", timed_parts, picture=picture))
    assert speech.duration_s == pytest.approx(duration_s, abs=0.002)
    assert [(each.name, each.value) for each in speech.report.repairs] == (
        [(case, pytest.approx(value, abs=0.002))] if value else []
    )
    np.testing.assert_allclose(speech.wave[-3200:], waves[-1][-3200:], atol=2e-4)
    if case == "filled":
        assert not speech.wave[16_100:31_900].any()


STAMPS: dict[str, tuple[list[float | None], list[float], int]] = {
    "a gap": ([0, 1, 5, 6], [0, 1, 5, 6], 0),
    "joined files": ([10, 11, 0, 1], [10, 11, 12, 13], 1),
    "hours ahead": ([0, 1, 9000, 9001], [0, 1, 2, 3], 1),
    "a stray stamp": ([0, 1, 7, 3, 4], [0, 1, 2, 3, 4], 0),
    "one far back": ([10, 11, 0, 13], [10, 11, 12, 13], 0),
    "none": ([None, None, 2], [0, 1, 2], 0),
}


@pytest.mark.parametrize("name", STAMPS)
def test_stamps_that_stray_or_begin_anew_do_not_move_what_follows(name: str) -> None:
    stamps, expected, anew = STAMPS[name]
    counts = {"anew": 0}
    frames = (SimpleNamespace(time=stamp) for stamp in stamps)
    assert [at_s for _, at_s in timed(frames, None, lambda frame: 1.0, counts)] == expected
    assert counts["anew"] == anew


def test_of_several_tracks_the_one_with_speech_is_used_and_the_others_are_listed(tmp_path: Path) -> None:
    spoken = load_voice(ROOT / "data" / "samples" / "arctic.flac").wave
    seconds = np.arange(len(spoken)) / 16_000
    chord = sum(np.sin(2 * np.pi * hz * seconds) for hz in (220, 277, 330)) * np.exp(-2 * (seconds % 0.5)) / 6
    tracks = [[(0.0, wave.astype(np.float32))] for wave in (chord, 0 * spoken, spoken)]
    path = stamped(tmp_path / "a.mka", *tracks)
    speech = load_voice(path)
    np.testing.assert_allclose(speech.wave, spoken, atol=2e-4)
    finding = speech.report.finding("tracks")
    assert finding.value == 3 and "track 1 (pcm" in finding.text and "track 2 (pcm" in finding.text
    np.testing.assert_allclose(load_voice(path, track=1).wave, tracks[0][0][1], atol=2e-4)
    for track, words in ((2, "silent throughout"), (4, "from 1 to 3"), (0, "from 1 on")):
        with pytest.raises(InputError, match=words):
            load_voice(path, track=track)
    with pytest.raises(InputError, match=r"2 tracks, none of which.*track 1.*silent.*track 2.*silent"):
        load_voice(stamped(tmp_path / "b.mka", tracks[1], tracks[1]))


def test_paths_that_are_no_recordings_are_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    cases = {
        tmp_path: "folder",
        tmp_path / "missing.wav": "not there",
        tmp_path / "dangling.wav": "not there",
        fifo: "pipe",
        Path("/dev/zero"): "device",
        tmp_path / ("x" * 300): "too long",
        tmp_path / "nul\0.wav": "null",
    }
    started = time.monotonic()
    for path, words in cases.items():
        with pytest.raises(InputError, match=words):
            load_voice(path)
    assert time.monotonic() - started < 2


def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "secret.wav", encoded(voice(0.3), "wav")).chmod(0)
    tmp_path.chmod(0o711)
    code = (
        "import os\nfrom avi_lib.errors import InputError\nfrom avi_lib.speech.loading import load_voice\n"
        "if os.getuid() == 0:\n    os.setuid(65534)\n"
        "try:\n    load_voice('secret.wav')\nexcept InputError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "secret.wav: Permission denied; check the path and its permissions" in run.stdout


def test_name_that_no_terminal_can_show_is_loaded_and_reported(tmp_path: Path) -> None:
    content = REPAIRED["antiphase.wav"][0]()
    path = save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\x1b[2J\nb.wav")), content)
    report = load_voice(path).report
    assert SpeechReport.model_validate_json(report.model_dump_json()) == report
    assert json.loads(report.model_dump_json())["repairs"][0]["name"] == "phase_cancelled"
    assert "\n" not in "".join(report.lines())
    path.write_bytes(b"nothing")
    with pytest.raises(InputError) as caught:
        load_voice(path)
    assert str(caught.value).isprintable()


def test_caps_of_size_and_length_are_named(tmp_path: Path) -> None:
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(InputError, match="at most 4295 MB"):
        load_voice(tmp_path / "huge.wav")
    path = save(tmp_path / "long.flac", encoded(voice(3), "flac"))
    with pytest.raises(InputError, match="0 MB"):
        load_voice(path, max_bytes=1000)
    with pytest.raises(InputError, match="max_minutes"):
        load_voice(path, max_minutes=2.9 / 60)
    assert load_voice(path, max_minutes=3 / 60).duration_s == 3.0


@pytest.mark.parametrize("rate_hz", [4000, 8000, 11025, 44100, 48000, 192000])
def test_resampling_keeps_length_and_time(tmp_path: Path, rate_hz: int) -> None:
    wave = 0.4 * np.sin(2 * np.pi * 300 * np.arange(rate_hz) / rate_hz)
    speech = load_voice(save(tmp_path / "a.wav", wav_bytes(np.stack((wave, wave), 1), rate_hz=rate_hz)))
    assert speech.wave.shape == (16000,)
    expected = 0.4 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)
    np.testing.assert_allclose(speech.wave[1000:-1000], expected[1000:-1000], atol=3e-4)
    assert (speech.report.channels, speech.report.source_rate_hz) == (2, rate_hz)
    assert (speech.report.finding("narrow_band") is not None) == (rate_hz < 16000)


@pytest.mark.parametrize("channels", range(1, MAX_CHANNELS + 1))
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    rng = np.random.default_rng(channels)
    block = 0.1 * rng.standard_normal((8000, channels)).clip(-3, 3)
    speech = load_voice(save(tmp_path / "a.wav", wav_bytes(block, kind="<f4")))
    np.testing.assert_allclose(speech.wave, block.mean(axis=1), atol=1e-6)


def test_levels_of_known_recordings_are_measured_and_a_full_scale_tone_is_not_clipped(tmp_path: Path):
    t = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 110 * t)
    clipped = load_voice(save(tmp_path / "c.wav", wav_bytes(np.clip(2 * tone, -1, 1))))
    assert clipped.report.finding("clipping").value == pytest.approx(2 / 3, abs=0.02)
    assert load_voice(save(tmp_path / "t.wav", wav_bytes(tone))).report.clipping_fraction < 1e-3
    rng = np.random.default_rng(0)
    wave = 1e-3 * rng.standard_normal(32000)
    wave[8000:24000] += 0.5 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    report = load_voice(save(tmp_path / "a.wav", wav_bytes(wave, kind="<f4"))).report
    assert report.peak_dbfs == pytest.approx(-6.0, abs=0.1)
    assert report.speech_dbfs == pytest.approx(-9.03, abs=0.1)
    assert report.noise_dbfs == pytest.approx(-60.0, abs=0.5)
    assert report.snr_db == pytest.approx(51.0, abs=0.6)
    assert report.silence_ratio == pytest.approx(0.5, abs=0.02)


def test_silence_and_a_low_level_are_noted(tmp_path: Path) -> None:
    wave = np.zeros(32000)
    wave[:3200] = voice(0.2)
    report = load_voice(save(tmp_path / "a.wav", wav_bytes(wave))).report
    assert report.finding("mostly_silent").value == pytest.approx(0.9, abs=0.06)
    speech = load_voice(save(tmp_path / "b.wav", wav_bytes(voice(1) / 100, kind="<f4")))
    np.testing.assert_allclose(speech.wave, voice(1) / 100, atol=1e-7)
    assert speech.report.finding("quiet").value == pytest.approx(speech.report.speech_dbfs)
    wave = np.zeros(16000 * 20)
    wave[50_000:53_200] = 3 * voice(0.2)
    report = load_voice(save(tmp_path / "c.wav", wav_bytes(wave, kind="<f4"))).report
    assert report.finding("peak").value == pytest.approx(1.5)
    assert report.finding("mostly_silent").value > 0.98, "one loud word in a long silence is speech"


def test_real_recordings_need_no_repair_and_videos_sound_as_their_recordings(real_data: Path) -> None:
    videos = sorted((real_data / "grid10").glob("*.mpg"))
    assert len(videos) == 10
    for path in videos:
        lag, snr_db = lag_and_snr_db(load_voice(path).wave, load_voice(path.with_suffix(".flac")).wave)
        assert lag == 0
        assert snr_db > 30
    paths = [
        *sorted((real_data / "ravdess" / "flac").glob("*.flac"))[::240],
        *sorted((real_data / "emodb" / "flac_full").glob("*.flac"))[::120],
        *sorted((real_data / "demo_speech").glob("*.flac")),
    ]
    assert len(paths) >= 8
    for path in paths:
        report = load_voice(path).report
        assert {finding.name for finding in report.repairs} <= {"peak"}
        assert report.snr_db > 5
