"""Speech encoders: what cannot be encoded or loaded ends in one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_encoders import Echo

from avi_lib.errors import InputError
from avi_lib.speech.encoders import load_encoder


@pytest.mark.parametrize(
    ("wave", "got"),
    [
        (np.zeros(0, np.float32), "an empty wave"),
        (np.zeros((2, 8), np.float32), r"float32 of shape \(2, 8\)"),
        (np.zeros(8), r"float64 of shape \(8,\)"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_a_wave_that_is_none_is_refused(wave: np.ndarray, got: str) -> None:
    with pytest.raises(InputError, match=got):
        Echo().encode(wave)


def refused(path: Path | str) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(InputError) as caught:
        load_encoder(str(path))
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize(
    "path",
    ["nowhere/at-all", "x" * 5000, "nul\0byte", "~nobody-of-that-name/model", "minilm"],
    ids=["absent", "long", "nul", "stranger", "other_model"],
)
def test_a_path_that_is_no_folder_is_refused_and_names_are_listed(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="whisper-tiny-en"):
        load_encoder(path)
    (tmp_path / "file").touch()
    assert "which is a file" in refused(tmp_path / "file")
    assert "whisper-tiny-en" in refused(tmp_path / "absent")


@pytest.mark.parametrize(
    "content",
    ["", "{nope", "[1]", "\udcff", "[" * 100_000, None],
    ids=["empty", "broken", "list", "not_text", "deep", "absent"],
)
def test_a_folder_without_a_sound_config_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "config.json" in refused(tmp_path)


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"model_type": ["hubert"]}, {"model_type": 3}])
def test_another_kind_of_model_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "hubert, wav2vec2, wavlm, whisper" in refused(tmp_path)


def test_pickled_weights_are_refused_with_the_way_out(models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "hubert" / "config.json", tmp_path)
    assert "with none" in refused(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    line = refused(tmp_path)
    assert "pytorch_model.bin, a pickle" in line
    assert "save_pretrained" in line


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_damaged_and_missing_weights_are_refused(models: Path, tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(models / kind, tmp_path / kind)
    file = folder / "model.safetensors"
    whole, content = file.read_bytes(), {name: value.clone() for name, value in load_file(file).items()}
    for damaged in (b"", whole[:100], whole[:-100], b"\xff" * 500):
        file.write_bytes(damaged)
        assert f"expected a {kind} model" in refused(folder)
    key = next(name for name in content if name.endswith("layers.1.final_layer_norm.weight") and "decoder" not in name)
    save_file({name: value for name, value in content.items() if name != key}, file)
    assert "without 1 of them: encoder.layers.1.final_layer_norm.weight" in refused(folder)
    save_file(content | {key: torch.full_like(content[key], float("nan"))}, file)
    assert "not finite" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": -1},
        {"hidden_size": 24},
        {"num_hidden_layers": "two"},
        {"conv_stride": [5, 2]},
        {"conv_stride": [5, 2, 2, 2, 2, 2, 1]},
        {"add_adapter": True},
    ],
)
def test_a_config_that_does_not_fit_is_refused(models: Path, tmp_path: Path, change: dict[str, object]) -> None:
    folder = shutil.copytree(models / "wav2vec2", tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert "changed" in refused(folder)


def test_another_sampling_rate_is_refused(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "hubert", tmp_path / "hubert")
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    assert "at 8000 Hz" in refused(folder)
    (folder / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json" in refused(folder)


def test_a_damaged_ctranslate2_model_is_refused(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "ctranslate2", tmp_path / "whisper")
    whole = (folder / "model.bin").read_bytes()
    for damaged in (b"", whole[:1000], whole[: len(whole) // 2], bytes(5000)):
        (folder / "model.bin").write_bytes(damaged)
        assert "avi models --check" in refused(folder)


def test_the_number_of_threads_is_checked() -> None:
    with pytest.raises(InputError, match="threads=0"):
        load_encoder(threads=0)
