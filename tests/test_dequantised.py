"""Quantised weights are read once, and kept whole; models load one at a time."""

from __future__ import annotations

import threading
import time

import pytest
from small_language_models import llama, tokenizer

from avi_lib.errors import InputError
from avi_lib.instruction import language_model as module
from avi_lib.instruction.language_model import dequantised, load_language_model
from avi_lib.models import Resolved, loading


@pytest.fixture
def quantised(tmp_path, monkeypatch):
    """A model's one file, and how often it was read."""
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "model.gguf"
    source.write_bytes(b"GGUF")
    network, reads = llama(tmp_path / "llama").network, []
    monkeypatch.setattr(module, "_read", lambda path: reads.append(path) or (network, tokenizer()))
    return Resolved(
        "small", tmp_path, {source.name: source}, "path", "for tests", "none", {source.name: "ab" * 32}
    ), reads


def test_a_file_is_read_once_and_a_copy_that_was_cut_short_again(quantised):
    found, reads = quantised
    folder = dequantised(found)
    assert load_language_model(str(folder)).width == 24
    assert dequantised(found) == folder and len(reads) == 1
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert dequantised(found) == folder and len(reads) == 2
    assert load_language_model(str(folder)).width == 24
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_what_is_no_gguf_is_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "junk.gguf"
    source.write_bytes(b"junk")
    found = Resolved("junk", tmp_path, {source.name: source}, "path", "for tests", "none", {})
    with pytest.raises(InputError, match="a GGUF file with a causal language model"):
        dequantised(found)
    assert not [path for path in (tmp_path / "cache" / "dequantised").iterdir() if path.is_dir()]


def test_models_load_one_at_a_time():
    inside, most = [], []

    def load():
        with loading():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
