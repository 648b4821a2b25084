"""Speech encoders: 50 frames a second of any length and level, the same at every call, and clear errors."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_encoders import Echo, tone
from transformers import AutoModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor, WhisperModel
from transformers.utils import logging

from avi_lib.errors import InputError
from avi_lib.models import inspect
from avi_lib.speech import augment
from avi_lib.speech import encoders as module
from avi_lib.speech.encoders import HOP, RATE_HZ, centred_log_mel, levelled, load_encoder, log_mel

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("wav2vec2", "hubert", "wavlm", "whisper", "ctranslate2")


def cosine(a, b):
    """Cosine of each frame of `a` with the same frame of `b`."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="session")
def load(models):
    """The encoder of that name, loaded once."""
    loaded = {}
    return lambda kind: loaded.get(kind) or loaded.setdefault(kind, load_encoder(str(models / kind)))


@pytest.fixture(scope="session")
def speech():
    """A sentence of the samples at 16 kHz, 7.1 s."""
    wave, rate_hz = soundfile.read(ROOT / "data/samples/librivox.flac", dtype="float32")
    return soxr.resample(wave, rate_hz, RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("bins", [80, 128])
def test_log_mel_equals_the_extractor_of_transformers(bins):
    wave = tone(24.3)
    extractor = WhisperFeatureExtractor(feature_size=bins)
    theirs = extractor(wave, sampling_rate=RATE_HZ, padding="do_not_pad", return_tensors="np")["input_features"][0]
    ours = log_mel(wave, bins)
    assert ours.shape == theirs.shape == (bins, 2430)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_click_in_the_middle_of_a_frame_lies_on_the_column_that_whisper_centres_on():
    wave = np.zeros(RATE_HZ, np.float32)
    wave[20 * HOP + HOP // 2] = 1
    columns = centred_log_mel(wave, 50, 80).sum(0)
    assert columns.argmax() == 2 * 20
    assert columns[39] == pytest.approx(columns[41], rel=1e-4)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "ctranslate2"])
@settings(max_examples=12, deadline=None)
@given(samples=st.one_of(st.integers(1, 2000), st.integers(1, 20_000), st.integers(95_000, 130_000)))
def test_any_number_of_samples_gives_fifty_frames_a_second(load, kind, samples):
    encoder = load(kind)
    features = encoder.encode(tone(samples / RATE_HZ))
    assert features.shape == (-(-samples // HOP), encoder.dim)
    assert features.dtype == np.float32 and np.isfinite(features).all()


@pytest.mark.parametrize("kind", KINDS)
def test_features_depend_on_the_sound_alone(models, load, kind):
    encoder, wave = load(kind), tone(2.0)
    features = encoder.encode(wave)
    np.testing.assert_allclose(encoder.encode((0.1 * wave).astype(np.float32)), features, atol=1e-4)
    for value in (0.0, 1e-9, 1.0):
        assert np.isfinite(encoder.encode(np.full(8000, value, np.float32))).all()
    layers = encoder.encode_layers(wave)
    assert encoder.layers == 3 and encoder.early == (0, 1, 2)
    assert layers.shape == (encoder.layers, 100, 16)
    assert layers[-1].tobytes() == features.tobytes() == encoder.encode(wave).tobytes()
    module._load.cache_clear()
    again = load_encoder(str(models / kind))
    assert again is not encoder and load_encoder(str(models / kind)) is again, "loaded once"
    assert again.encode(wave).tobytes() == features.tobytes()
    assert (again.fingerprint, again.name, again.fps) == (encoder.fingerprint, kind, 50.0)
    assert "your own copy" in again.reason


def test_fingerprints_differ_between_models_and_settings_and_a_changed_folder_is_read_again(models, load, tmp_path):
    fingerprints = {load(kind).fingerprint for kind in (*KINDS, "whisper128")}
    folder = shutil.copytree(models / "wav2vec2", tmp_path / "wav2vec2")
    assert load_encoder(str(folder)).fingerprint in fingerprints
    options = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(options | {"do_normalize": False}))
    raw = load_encoder(str(folder))
    assert len({*fingerprints, raw.fingerprint}) == len(KINDS) + 2
    assert np.abs(raw.encode(tone(1.0)) - load("wav2vec2").encode(tone(1.0))).max() > 0.01


def test_whisper_equals_the_forward_pass_of_transformers_at_thirty_seconds(models, monkeypatch):
    encoder = load_encoder(str(models / "whisper128"))
    monkeypatch.setattr(encoder, "window", 1500)
    wave = tone(30.0)
    network = WhisperModel.from_pretrained(models / "whisper128").eval().get_encoder()
    mel = torch.from_numpy(centred_log_mel(levelled(wave), 1500, 128))[None]
    with torch.no_grad():
        theirs = torch.cat(network(mel, output_hidden_states=True).hidden_states).numpy()
    np.testing.assert_allclose(encoder.encode_layers(wave), theirs, atol=1e-5)


def test_whisper_is_the_same_through_both_libraries_and_faint_noise_is_not_raised_to_full_scale(load):
    wave = tone(9.0)
    np.testing.assert_allclose(load("whisper").encode_layers(wave), load("ctranslate2").encode_layers(wave), atol=1e-5)
    noise = np.array([1e-5, -1e-5], np.float32)
    np.testing.assert_allclose(levelled(noise), [0.1, -0.1], rtol=1e-5)
    np.testing.assert_allclose(levelled(np.float32(100) * noise), [1, -1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_networks_on_the_wave_equal_transformers_on_the_wave_with_silent_ends(models, load, kind):
    wave = tone(2.0)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    read = extractor(levelled(wave), sampling_rate=RATE_HZ, return_tensors="pt")["input_values"]
    with torch.no_grad():
        network = AutoModel.from_pretrained(models / kind).eval()
        theirs = network(torch.nn.functional.pad(read, (40, 40))).last_hidden_state[0].numpy()
    np.testing.assert_allclose(load(kind).encode(wave), theirs, atol=1e-4)


@pytest.mark.parametrize("second", ["hubert", "ctranslate2"])
def test_encoders_side_by_side_give_each_its_numbers_in_order(models, load, second):
    wave, both = tone(7.3), load_encoder(f"{models / 'whisper'}+{models / second}")
    own = [load("whisper"), load(second)]
    assert both.dim == sum(each.dim for each in own) and both.name == f"whisper+{second}"
    early = np.concatenate([each.encode_early(wave) for each in own], axis=2)
    assert np.array_equal(both.encode_early(wave), early)
    assert np.array_equal(both.encode_layers(wave)[list(both.early)], early)
    assert np.array_equal(both.encode(wave), np.concatenate([each.encode(wave) for each in own], axis=1))
    other = load_encoder(f"{models / second}+{models / 'whisper'}")
    assert len({both.fingerprint, other.fingerprint, own[0].fingerprint}) == 3


@settings(max_examples=40)
@given(frames=st.integers(1, 400))
def test_windows_cover_every_frame_once_in_sum(frames):
    wave = tone(frames * HOP / RATE_HZ)
    np.testing.assert_allclose(Echo().encode(wave)[:, 0], levelled(wave)[::HOP], rtol=1e-5, atol=1e-7)


def test_networks_on_the_wave_hardly_notice_their_windows(models, monkeypatch):
    encoder, wave = load_encoder(str(models / "wav2vec2")), tone(18.0)
    whole = encoder.encode(wave)
    monkeypatch.setattr(encoder, "window", 400)
    assert cosine(encoder.encode(wave), whole).min() > 0.99


@pytest.fixture(scope="session")
def whisper_tiny():
    state, detail = inspect("whisper-tiny-en")
    if state not in ("cached", "own"):
        pytest.skip(f"whisper-tiny-en is not at hand ({detail}); `avi models` fetches it")
    return load_encoder()


def test_whisper_tiny_tells_a_change_of_twenty_milliseconds_where_it_is_and_no_change_of_level(whisper_tiny, speech):
    loud, quiet = whisper_tiny.encode(speech), whisper_tiny.encode((0.1 * speech).astype(np.float32))
    assert np.abs(loud - quiet).max() < 1e-3
    changed = speech[: 2 * RATE_HZ].copy()
    changed[60 * HOP : 63 * HOP] = 0
    distance = np.linalg.norm(whisper_tiny.encode(changed) - whisper_tiny.encode(speech[: 2 * RATE_HZ]), axis=1)
    assert 58 <= distance.argmax() <= 65


def test_whisper_tiny_gives_the_same_bytes_in_another_process_without_torch(whisper_tiny, speech, tmp_path):
    np.save(tmp_path / "wave.npy", speech)
    code = (
        "import sys, hashlib, numpy as np; from avi_lib.speech.encoders import load_encoder; encoder = load_encoder()\n"
        "features = encoder.encode(np.load(sys.argv[1], allow_pickle=False))\n"
        "print(hashlib.sha256(features.tobytes()).hexdigest(), encoder.fingerprint, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "wave.npy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    digest = hashlib.sha256(whisper_tiny.encode(speech).tobytes()).hexdigest()
    assert said.stdout.split() == [digest, whisper_tiny.fingerprint, "False"]
    assert said.stderr == ""
    assert "MIT" in whisper_tiny.reason


def test_whisper_tiny_writes_down_what_is_said_and_an_encoder_without_a_decoder_nothing(whisper_tiny, load):
    angry, rate_hz = soundfile.read(Path(__file__).parents[1] / "data/samples/angry.flac", dtype="float32")
    angry = soxr.resample(angry, rate_hz, RATE_HZ)
    assert whisper_tiny.transcribe(angry).startswith("I told you twice to leave it alone")
    assert load("wav2vec2").transcribe(angry) == load("ctranslate2").transcribe(angry) == ""


def test_loading_says_nothing_and_leaves_settings_and_threads_as_they_were(whisper_tiny, models, capfd):
    module._load.cache_clear()
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()
    for kind in ("wav2vec2", "ctranslate2"):
        load_encoder(str(models / kind)).encode_layers(tone(0.5))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()) == before


@pytest.mark.parametrize(
    ("wave", "got"),
    [
        (np.zeros(0, np.float32), "an empty wave"),
        (np.zeros((2, 8), np.float32), r"float32 of shape \(2, 8\)"),
        (np.zeros(8), r"float64 of shape \(8,\)"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_a_wave_that_is_none_is_refused(wave, got):
    with pytest.raises(InputError, match=got):
        Echo().encode(wave)


def refused(path):
    """The one line with which a folder is refused."""
    with pytest.raises(InputError) as caught:
        load_encoder(str(path))
    line = str(caught.value)
    assert "\n" not in line and len(line) < 700
    return line


def test_a_path_that_is_no_folder_is_refused_and_names_are_listed(tmp_path):
    for path in ("nowhere/at-all", "x" * 5000, "nul\0byte", "~nobody-of-that-name/model", "minilm"):
        with pytest.raises(InputError, match="whisper-tiny-en"):
            load_encoder(path)
    (tmp_path / "file").touch()
    assert "which is a file" in refused(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((content, "config.json") for content in (None, "", "{nope", "[1]", "\udcff", "[" * 100_000)),
        *((json.dumps(config), "hubert, wav2vec2, wavlm, whisper") for config in (
            {}, {"model_type": "bert"}, {"model_type": ["hubert"]}, {"model_type": 3}
        )),
    ],
    ids=["absent", "empty", "broken", "list", "not_text", "deep", "untyped", "bert", "types", "number"],
)  # fmt: skip
def test_a_folder_with_no_config_of_a_speech_encoder_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    assert said in refused(tmp_path)


def test_pickled_weights_are_refused_with_the_way_out(models, tmp_path):
    shutil.copy(models / "hubert" / "config.json", tmp_path)
    assert "with none" in refused(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    line = refused(tmp_path)
    assert "pytorch_model.bin, a pickle" in line and "save_pretrained" in line


@pytest.mark.parametrize("kind", ["hubert", "whisper", "ctranslate2"])
def test_damaged_and_missing_weights_are_refused(models, tmp_path, kind):
    folder = shutil.copytree(models / kind, tmp_path / kind)
    file = folder / ("model.bin" if kind == "ctranslate2" else "model.safetensors")
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole[:-100], b"\xff" * 500, bytes(5000)):
        file.write_bytes(damaged)
        line = refused(folder)
        assert ("avi models --check" if kind == "ctranslate2" else f"expected a {kind} model") in line
    if kind == "ctranslate2":
        return
    file.write_bytes(whole)
    content = {name: value.clone() for name, value in load_file(file).items()}
    key = next(name for name in content if name.endswith("layers.1.final_layer_norm.weight") and "decoder" not in name)
    save_file({name: value for name, value in content.items() if name != key}, file)
    assert "without 1 of them: encoder.layers.1.final_layer_norm.weight" in refused(folder)
    save_file(content | {key: torch.full_like(content[key], float("nan"))}, file)
    assert "not finite" in refused(folder)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        *(("config.json", change, "changed") for change in (
            {"hidden_size": -1}, {"hidden_size": 24}, {"num_hidden_layers": "two"}, {"conv_stride": [5, 2]},
            {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, {"add_adapter": True}
        )),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "at 8000 Hz"),
        ("preprocessor_config.json", None, "preprocessor_config.json"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_is_refused(models, tmp_path, name, change, said):
    folder = shutil.copytree(models / "wav2vec2", tmp_path / "changed")
    options = json.loads((folder / name).read_text())
    (folder / name).write_text("{" if change is None else json.dumps(options | change))
    assert said in refused(folder)


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
        other = augment.put_in_room(clean, augment.draw_room(rng(seed)), rng(seed))
        assert abs(lag_ms(clean, other)) <= 1.0, augment.draw_room(rng(seed))
        assert other.shape == clean.shape and other.dtype == np.float32
        assert np.abs(other).max() <= 1.0


def test_pauses_are_cut_or_stretched_and_silence_comes_around_while_what_sounds_stays_as_it_is():
    loud = np.concatenate([np.full(4000, 0.5), np.zeros(8000), np.full(4000, -0.5)]).astype(np.float32)
    for factor in (0.0, 0.5, 1.0, 2.0):
        other = augment.change_pauses(loud, factor, np.array([0.25, 0.5]))
        assert len(other) == 8000 + 8000 * factor + 0.75 * RATE_HZ
        assert np.array_equal(other[other != 0], loud[loud != 0])


def test_another_speed_other_pauses_and_another_room_give_another_sound():
    wave, lengths = syllables(), set()
    for seed in range(8):
        other = augment.augmented(wave, rng(seed))
        assert other.dtype == np.float32 and np.isfinite(other).all() and np.abs(other).max() <= 1
        assert np.array_equal(other, augment.augmented(wave, rng(seed)))
        lengths.add(len(other))
    assert len(wave) in lengths and len(lengths) > 2


@pytest.mark.parametrize("kind", augment.SOUNDS)
def test_sounds_are_as_long_as_asked_and_of_any_level(kind):
    for seconds in (0.05, 1.0, 3.3):
        wave = augment.draw_sound(seconds, rng(3), kind)
        assert len(wave) == round(seconds * RATE_HZ) and wave.dtype == np.float32
        assert np.isfinite(wave).all() and np.abs(wave).max() > 0
    assert np.array_equal(wave, augment.draw_sound(3.3, rng(3), kind))


def test_an_empty_room_changes_nothing_and_speech_stands_above_the_tone_by_what_the_room_says():
    clean = syllables(1.0)
    assert np.allclose(augment.put_in_room(clean, augment.Room(), rng()), clean, atol=1e-6)
    room = augment.Room(level_dbfs=-20.0, tone_dbfs=-45.0)
    assert augment.active_dbfs(augment.put_in_room(syllables(), room, rng())) == pytest.approx(-20.0, abs=0.3)
    silence = np.zeros(RATE_HZ, np.float32)
    assert augment.active_dbfs(augment.put_in_room(silence, room, rng())) == pytest.approx(-45.0, abs=0.3)


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
    tone = augment.room_tone(4 * RATE_HZ, -50.0, slope_db, rng())
    assert 20 * np.log10(np.sqrt(np.mean(tone**2))) == pytest.approx(-50.0, abs=0.1)
    assert slope_db_per_octave(tone) == pytest.approx(-slope_db, abs=1.5)


def test_hum_stands_at_its_harmonics_and_limiting_and_codecs_keep_shape_and_bound():
    tone = augment.room_tone(4 * RATE_HZ, -40.0, 3.0, rng(), 50.0, 10.0)
    power = np.abs(np.fft.rfft(tone)) ** 2
    lines = power[200::200][:8]  # 50 Hz is bin 200 of 4 s
    assert 10 * np.log10(lines.sum() / (power.sum() - lines.sum())) == pytest.approx(10.0, abs=1.0)
    clean = syllables(1.0)
    peak = np.abs(clean).max()
    for step in ({"limit_db": 6.0}, {"clip_db": 6.0}):
        changed = augment.put_in_room(clean, augment.Room(**step), rng())
        assert np.abs(changed).max() == pytest.approx(peak / 2, rel=0.05)
    for codec in augment.CODECS:
        coded = augment.degrade(clean, codec)
        assert coded.dtype == np.float32 and 0.3 < np.corrcoef(coded, clean)[0, 1] < 0.99999


def test_what_cannot_be_done_is_said():
    wave = syllables(0.5)
    with pytest.raises(InputError, match="finite samples"):
        augment.put_in_room(wave * np.float32("nan"), augment.Room(), rng())
    with pytest.raises(InputError, match="finite samples"):
        augment.put_in_room(wave[:0], augment.Room(), rng())
    with pytest.raises(InputError, match="mu-law, low-rate; got 'mp3'"):
        augment.put_in_room(wave, replace(augment.Room(), codec="mp3"), rng())
