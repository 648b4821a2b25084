"""Speech encoders: 50 frames a second of any length and level, the same at every call, and clear errors."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_encoders import Echo, tone
from transformers import (
    AutoModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    WhisperModel,
)
from transformers.utils import logging

from avi_lib.models import inspect
from avi_lib.speech.encoders import (
    HOP,
    RATE_HZ,
    SpeechEncoder,
    centred_log_mel,
    levelled,
    load_encoder,
    log_mel,
    window_starts,
)

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("wav2vec2", "hubert", "wavlm", "whisper", "ctranslate2")


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each frame of `a` with the same frame of `b`."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="session")
def load(models: Path) -> Callable[[str], SpeechEncoder]:
    """The encoder of that name, loaded once."""
    loaded: dict[str, SpeechEncoder] = {}

    def get(kind: str) -> SpeechEncoder:
        if kind not in loaded:
            loaded[kind] = load_encoder(str(models / kind))
        return loaded[kind]

    return get


@pytest.fixture(scope="session")
def whisper_tiny() -> SpeechEncoder:
    """The product's default encoder, where set-up has fetched it."""
    state, detail = inspect("whisper-tiny-en")
    if state not in ("cached", "own"):
        pytest.skip(f"whisper-tiny-en is not at hand ({detail}); `avi models` fetches it")
    return load_encoder()


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """A sentence of the samples at 16 kHz, 7.1 s."""
    wave, rate_hz = soundfile.read(ROOT / "data/samples/librivox.flac", dtype="float32")
    return soxr.resample(wave, rate_hz, RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("bins", [80, 128])
def test_log_mel_equals_the_extractor_of_transformers(bins: int) -> None:
    wave = tone(24.3)
    extractor = WhisperFeatureExtractor(feature_size=bins)
    theirs = extractor(wave, sampling_rate=RATE_HZ, padding="do_not_pad", return_tensors="np")["input_features"][0]
    ours = log_mel(wave, bins)
    assert ours.shape == theirs.shape == (bins, 2430)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_click_in_the_middle_of_a_frame_lies_on_the_column_that_whisper_centres_on() -> None:
    wave = np.zeros(RATE_HZ, np.float32)
    wave[20 * HOP + HOP // 2] = 1
    columns = centred_log_mel(wave, 50, 80).sum(0)
    assert columns.argmax() == 2 * 20
    assert columns[39] == pytest.approx(columns[41], rel=1e-4)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "ctranslate2"])
@settings(max_examples=12, deadline=None)
@given(samples=st.one_of(st.integers(1, 2000), st.integers(1, 20_000), st.integers(95_000, 130_000)))
def test_any_number_of_samples_gives_fifty_frames_a_second(
    load: Callable[[str], SpeechEncoder], kind: str, samples: int
) -> None:
    encoder = load(kind)
    features = encoder.encode(tone(samples / RATE_HZ))
    assert features.shape == (-(-samples // HOP), encoder.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        *(("ctranslate2", seconds) for seconds in (5.99, 6.0, 6.02, 30.01, 65.0)),
        *(("hubert", seconds) for seconds in (19.99, 20.0, 20.02, 41.7)),
        *(("whisper", seconds) for seconds in (6.0, 31.7)),
    ],
)
def test_long_recordings_keep_the_frame_count(load: Callable[[str], SpeechEncoder], kind: str, seconds: float) -> None:
    wave = tone(seconds)
    assert len(load(kind).encode(wave)) == -(-len(wave) // HOP)


@pytest.mark.parametrize("kind", KINDS)
def test_features_do_not_depend_on_the_recording_level(load: Callable[[str], SpeechEncoder], kind: str) -> None:
    wave = tone(2.0)
    loud, quiet = load(kind).encode(wave), load(kind).encode((0.1 * wave).astype(np.float32))
    np.testing.assert_allclose(quiet, loud, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_and_a_constant_give_finite_features(load: Callable[[str], SpeechEncoder], kind: str) -> None:
    for value in (0.0, 1e-9, 1.0):
        assert np.isfinite(load(kind).encode(np.full(8000, value, np.float32))).all()


def test_noise_below_the_silent_peak_is_not_raised_to_full_scale() -> None:
    noise = np.array([1e-5, -1e-5], np.float32)
    np.testing.assert_allclose(levelled(noise), [0.1, -0.1], rtol=1e-5)
    np.testing.assert_allclose(levelled(np.float32(100) * noise), [1, -1], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_loads_give_the_same_bytes_and_fingerprint(
    models: Path, load: Callable[[str], SpeechEncoder], kind: str
) -> None:
    again, wave = load_encoder(str(models / kind)), tone(7.0)
    assert again.encode(wave).tobytes() == load(kind).encode(wave).tobytes()
    assert again.encode(wave).tobytes() == again.encode(wave).tobytes()
    assert again.fingerprint == load(kind).fingerprint
    assert (again.name, again.fps) == (kind, 50.0)
    assert "your own copy" in again.reason


def test_fingerprints_differ_between_models_and_settings(
    models: Path, load: Callable[[str], SpeechEncoder], tmp_path: Path
) -> None:
    fingerprints = {load(kind).fingerprint for kind in (*KINDS, "whisper128")}
    folder = shutil.copytree(models / "wav2vec2", tmp_path / "wav2vec2")
    options = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(options | {"do_normalize": False}))
    raw = load_encoder(str(folder))
    assert len({*fingerprints, raw.fingerprint}) == len(KINDS) + 2
    assert np.abs(raw.encode(tone(1.0)) - load("wav2vec2").encode(tone(1.0))).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_ends_in_the_features_of_the_last(load: Callable[[str], SpeechEncoder], kind: str) -> None:
    encoder, wave = load(kind), tone(1.3)
    layers = encoder.encode_layers(wave)
    assert encoder.layers == (1 if kind == "ctranslate2" else 3)
    assert layers.shape == (encoder.layers, 65, 16)
    assert layers[-1].tobytes() == encoder.encode(wave).tobytes()


def test_whisper_equals_the_forward_pass_of_transformers_at_thirty_seconds(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(models / "whisper128"))
    monkeypatch.setattr(encoder, "window", 1500)
    wave = tone(30.0)
    network = WhisperModel.from_pretrained(models / "whisper128").eval().get_encoder()
    mel = torch.from_numpy(centred_log_mel(levelled(wave), 1500, 128))[None]
    with torch.no_grad():
        theirs = torch.cat(network(mel, output_hidden_states=True).hidden_states).numpy()
    np.testing.assert_allclose(encoder.encode_layers(wave), theirs, atol=1e-5)


def test_whisper_gives_the_same_features_through_both_libraries(load: Callable[[str], SpeechEncoder]) -> None:
    wave = tone(9.0)
    np.testing.assert_allclose(load("whisper").encode(wave), load("ctranslate2").encode(wave), atol=1e-5)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_networks_on_the_wave_equal_transformers_on_the_wave_with_silent_ends(
    models: Path, load: Callable[[str], SpeechEncoder], kind: str
) -> None:
    wave = tone(2.0)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    read = extractor(levelled(wave), sampling_rate=RATE_HZ, return_tensors="pt")["input_values"]
    with torch.no_grad():
        network = AutoModel.from_pretrained(models / kind).eval()
        theirs = network(torch.nn.functional.pad(read, (40, 40))).last_hidden_state[0].numpy()
    assert theirs.shape == (100, 16)
    np.testing.assert_allclose(load(kind).encode(wave), theirs, atol=1e-4)


@settings(max_examples=40)
@given(frames=st.integers(1, 400))
def test_windows_cover_every_frame_once_in_sum(frames: int) -> None:
    wave = tone(frames * HOP / RATE_HZ)
    np.testing.assert_allclose(Echo().encode(wave)[:, 0], levelled(wave)[::HOP], rtol=1e-5, atol=1e-7)


def test_windows_share_the_overlap_and_end_with_the_recording() -> None:
    assert window_starts(301, 300, 50) == [0, 1]
    assert window_starts(800, 300, 50) == [0, 250, 500]
    assert window_starts(810, 300, 50) == [0, 250, 500, 510]


def test_networks_on_the_wave_hardly_notice_their_windows(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, wave = load_encoder(str(models / "wav2vec2")), tone(18.0)
    whole = encoder.encode(wave)
    monkeypatch.setattr(encoder, "window", 400)
    assert cosine(encoder.encode(wave), whole).min() > 0.99


def test_whisper_tiny_starts_a_long_recording_as_it_starts_a_short_one(
    whisper_tiny: SpeechEncoder, speech: np.ndarray
) -> None:
    short = speech[: 6 * RATE_HZ]
    long = np.concatenate([short, short[::-1], short, short[::-1]])
    encoded = whisper_tiny.encode(long)
    assert encoded.shape == (1200, 384)
    assert cosine(encoded[:250], whisper_tiny.encode(short)[:250]).min() > 0.999


def test_whisper_tiny_windows_leave_no_jump_where_they_meet(whisper_tiny: SpeechEncoder, speech: np.ndarray) -> None:
    encoded = whisper_tiny.encode(np.concatenate([speech, speech, speech]))
    steps = np.linalg.norm(np.diff(encoded, axis=0), axis=1)
    starts = window_starts(len(encoded), whisper_tiny.window, whisper_tiny.overlap)[1:]
    meeting = np.concatenate([steps[start - 1 : start + whisper_tiny.overlap + 1] for start in starts])
    assert meeting.max() < 1.1 * steps.max()
    assert np.median(meeting) < 1.3 * np.median(steps)


def test_whisper_tiny_does_not_depend_on_the_recording_level(whisper_tiny: SpeechEncoder, speech: np.ndarray) -> None:
    loud, quiet = whisper_tiny.encode(speech), whisper_tiny.encode((0.1 * speech).astype(np.float32))
    assert np.abs(loud - quiet).max() < 1e-3
    assert cosine(loud, quiet).min() > 0.99999


def test_whisper_tiny_hears_a_change_of_twenty_milliseconds_where_it_is(
    whisper_tiny: SpeechEncoder, speech: np.ndarray
) -> None:
    changed = speech[: 2 * RATE_HZ].copy()
    changed[60 * HOP : 63 * HOP] = 0
    distance = np.linalg.norm(whisper_tiny.encode(changed) - whisper_tiny.encode(speech[: 2 * RATE_HZ]), axis=1)
    assert 58 <= distance.argmax() <= 65


def test_whisper_tiny_gives_the_same_bytes_in_another_process_without_torch(
    whisper_tiny: SpeechEncoder, speech: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "wave.npy", speech)
    code = (
        "import hashlib, sys, numpy; from avi_lib.speech.encoders import load_encoder; encoder = load_encoder()\n"
        "features = encoder.encode(numpy.load(sys.argv[1], allow_pickle=False))\n"
        "print(hashlib.sha256(features.tobytes()).hexdigest(), encoder.fingerprint, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "wave.npy")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    digest = hashlib.sha256(whisper_tiny.encode(speech).tobytes()).hexdigest()
    assert printed.stdout.split() == [digest, whisper_tiny.fingerprint, "False"]
    assert printed.stderr == ""
    assert "MIT" in whisper_tiny.reason


def test_loading_says_nothing_and_leaves_settings_as_they_were(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level, bar, threads = logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()
    load_encoder(str(models / "wav2vec2")).encode(tone(0.5))
    load_encoder(str(models / "ctranslate2")).encode(tone(0.5))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()) == (
        level,
        bar,
        threads,
    )
