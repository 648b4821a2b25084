"""Text encoders: a state for every token of any text, no padding, models by path, refusals; states kept by content."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_text_encoders import DIM, save_bert, save_clip

from avi_lib.errors import InputError
from avi_lib.instruction.language_model import encode_texts, load_text_encoder, pack

SENTENCE = "she is furious , brow strongly down ."


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_text_encoder(str(save_bert(tmp_path_factory.mktemp("bert"))))


def test_every_token_has_a_state_and_padding_has_none(bert):
    short, long = bert.encode(["she is calm", SENTENCE])
    assert short.shape == (5, DIM) and long.shape == (10, DIM)
    assert short.dtype == np.float32


def test_texts_together_are_what_they_are_one_by_one_and_in_their_order(bert):
    texts = [SENTENCE, "calm", "he is happy and sad .", ""]
    for text, states in zip(texts, bert.encode(texts), strict=True):
        np.testing.assert_allclose(states, bert.encode([text])[0], atol=1e-5)


def test_an_empty_text_has_start_and_end_alone(bert):
    assert bert.encode([""])[0].shape == (2, DIM)


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "calm " * 3000, "\x00\x1b[31m\u202e\ud800", "<script>alert(1)</script>", "她很生气"]
)
def test_any_text_has_finite_states_within_the_positions_of_the_network(bert, text):
    states = bert.encode([text])[0]
    assert 2 <= len(states) <= 40
    assert np.isfinite(states).all()


def test_the_text_tower_of_clip_is_read_by_path_and_cut_at_its_positions(tmp_path):
    clip = load_text_encoder(str(save_clip(tmp_path / "clip")))
    assert clip.dim == DIM and clip.max_tokens == 12
    assert clip.encode([SENTENCE + " " + SENTENCE])[0].shape == (12, DIM)
    assert "given path" in clip.reason


def test_a_fingerprint_follows_the_weights(tmp_path):
    first, same, other = (
        load_text_encoder(str(save_bert(tmp_path / name, seed))) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_something_that_is_no_list_of_texts_is_refused(bert):
    with pytest.raises(InputError, match="a list of texts"):
        bert.encode("she is calm")


def test_pickled_weights_are_refused(tmp_path):
    folder = save_bert(tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights as safetensors"):
        load_text_encoder(str(folder))


@pytest.mark.parametrize("damage", ["kind", "json", "weights", "tokenizer", "missing"])
def test_a_folder_that_holds_no_whole_text_encoder_is_refused_by_name(tmp_path, damage):
    folder = save_bert(tmp_path / "bert")
    config = folder / "config.json"
    if damage == "kind":
        config.write_text(json.dumps({"model_type": "gpt2"}))
    elif damage == "json":
        config.write_text("{")
    elif damage == "weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    elif damage == "tokenizer":
        for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
            path.write_text("{}")
    else:
        folder = tmp_path / "nowhere"
    with pytest.raises(InputError, match=str(folder)):
        load_text_encoder(str(folder))


def test_states_of_many_texts_come_padded_with_a_mask(bert):
    texts = ["she is calm", SENTENCE, ""]
    states = encode_texts(texts, bert, progress=False)
    batch, mask = states.batch([2, 0])
    assert batch.shape == (2, 5, DIM) and mask.sum(axis=1).tolist() == [2, 5]
    assert (batch[~mask] == 0).all()
    np.testing.assert_allclose(batch[1], bert.encode([texts[0]])[0], atol=5e-3)


def test_the_states_of_one_text_are_its_own_rows():
    states = [np.full((2, 3), 1.0, np.float32), np.full((5, 3), 4.0, np.float32)]
    assert pack(states).of(1).tolist() == states[1].tolist()


def test_texts_that_were_encoded_before_are_read_and_not_encoded_again(bert, tmp_path, monkeypatch):
    texts = ["she is calm", SENTENCE]
    first = encode_texts(texts, bert, tmp_path, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(type(bert), "encode", lambda *_: pytest.fail("encoded again"))
        again = encode_texts(texts, bert, tmp_path, progress=False)
    assert again.rows.tobytes() == first.rows.tobytes()
    encode_texts(list(reversed(texts)), bert, tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_damaged_file_of_states_is_made_again(bert, tmp_path):
    texts = ["she is calm"]
    first = encode_texts(texts, bert, tmp_path, progress=False)
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:60])
    again = encode_texts(texts, bert, tmp_path, progress=False)
    assert again.rows.tobytes() == first.rows.tobytes()
    assert Path(kept).stat().st_size > 60
