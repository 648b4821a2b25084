"""Frozen models of text: encoding, reading, scoring and writing on, quantised weights, and what is refused."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_language_models import DIM, WIDTH, llama, save_bert, save_clip, save_gpt2, save_llama, tokenizer

from avi_lib.errors import InputError
from avi_lib.instruction import language_model as module
from avi_lib.instruction.action_units import EMOTION_CLASSES
from avi_lib.instruction.grammar import OPENING, QUESTIONS, answer, class_words
from avi_lib.instruction.instructor import answer_tokens, class_tokens, dialogue
from avi_lib.instruction.language_model import (
    answer_loss,
    dequantised,
    encode_texts,
    language_fingerprint,
    load_language_model,
    load_text_encoder,
    pack,
)
from avi_lib.models import Resolved, loading

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


def test_an_empty_text_has_start_and_end_alone_and_what_is_no_list_is_refused(bert):
    assert bert.encode([""])[0].shape == (2, DIM)
    with pytest.raises(InputError, match="a list of texts"):
        bert.encode("she is calm")


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


def test_the_fingerprint_of_an_encoder_follows_its_weights(tmp_path):
    first, same, other = (
        load_text_encoder(str(save_bert(tmp_path / name, seed))) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("damage", ["kind", "json", "weights", "tokenizer", "pickled", "missing"])
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
    elif damage == "pickled":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    else:
        folder = tmp_path / "nowhere"
    with pytest.raises(InputError, match=f"weights as safetensors.*{folder}" if damage == "pickled" else str(folder)):
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


# Causal models.


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


def embedded(model, text):
    return torch.cat([model.bos(), model.embed(model.tokens(text))])[None]


def test_text_comes_back_from_its_tokens(model):
    sentence = answer("angry", 3)
    assert model.text(model.tokens(sentence)) == sentence
    assert model.width == WIDTH
    assert model.bos().shape == (1, WIDTH)


def test_continuations_are_as_likely_as_when_each_is_read_alone(model):
    kv_cache = model.read(embedded(model, OPENING))
    said = [model.tokens(f" {class_words(label)}") for label in EMOTION_CLASSES]
    together = model.log_probabilities(kv_cache, said)[0]
    for tokens, found in zip(said, together.tolist(), strict=True):
        whole = torch.cat([embedded(model, OPENING), model.embed(tokens)[None]], dim=1)
        scores = model.scores(whole[:, :-1], len(tokens)).log_softmax(dim=-1)[0]
        alone = sum(float(scores[i, token]) for i, token in enumerate(tokens))
        assert found == pytest.approx(alone, abs=1e-4)


def test_the_likeliest_words_are_those_of_a_model_without_a_cache(model):
    kv_cache = model.read(embedded(model, OPENING))
    begin = model.tokens(" quite angry")
    (said,) = model.go_on(kv_cache, most=9, begin=[begin])
    assert said[: len(begin)] == begin
    assert len(said) <= 9
    text = [*model.tokens(OPENING), *begin]
    for token in said[len(begin) :]:
        scores = model.scores(torch.cat([model.bos(), model.embed(text)])[None], 1)
        assert int(scores[0, -1].argmax()) == token
        text.append(token)


def test_a_reading_serves_many_times_and_words_are_drawn_by_their_seed(model):
    kv_cache = model.read(embedded(model, OPENING))
    first = model.go_on(kv_cache, most=12, temperature=1.0, seed=5)[0]
    model.log_probabilities(kv_cache, [[3, 4], [5]])
    assert model.go_on(kv_cache, most=12, temperature=1.0, seed=5)[0] == first
    assert any(model.go_on(kv_cache, most=12, temperature=1.0, seed=seed)[0] != first for seed in range(6, 10))


def test_several_prompts_are_read_and_go_on_as_each_alone(model):
    texts = ["A person feels", "They speak and"]
    prompts = [embedded(model, text) for text in texts]
    assert prompts[0].shape == prompts[1].shape or pytest.fail("of one length")
    begin, said = (
        [model.tokens(" sad"), model.tokens(" quite angry")],
        [model.tokens(" calm"), model.tokens(" up a bit")],
    )
    both = model.read(torch.cat(prompts))
    together = model.go_on(both, most=7, begin=begin)
    likely = model.log_probabilities(both, said)
    for number, prompt in enumerate(prompts):
        alone = model.read(prompt)
        assert model.go_on(alone, most=7, begin=begin[number : number + 1]) == together[number : number + 1]
        torch.testing.assert_close(model.log_probabilities(alone, said)[0], likely[number], atol=1e-4, rtol=1e-4)


def test_writing_ends_with_the_mark_of_the_end_or_a_line(model):
    kv_cache = model.read(embedded(model, OPENING))

    class Says(type(kv_cache)):
        pass

    for token in (model.end, model.tokens("\n")[0]):
        forced = Says(
            kv_cache.cache, torch.nn.functional.one_hot(torch.tensor(token), kv_cache.next.shape[1])[None].float()
        )
        assert model.go_on(forced, most=5) == [[]]


def test_gradients_reach_the_prompt_and_no_weight(model):
    prompt = (0.1 * torch.randn(2, 3, WIDTH)).requires_grad_()
    before = dialogue(model, prompt, QUESTIONS[0])
    ids = torch.tensor([answer_tokens(model, answer("sad", 2))[0]] * 2)
    scores = model.scores(torch.cat([before, model.embed(ids[:, :-1])], dim=1), ids.shape[1])
    answer_loss(scores, ids, torch.ones(ids.shape)).backward()
    assert prompt.grad is not None and bool((prompt.grad != 0).any())
    assert all(weight.grad is None for weight in model.network.parameters())


def test_the_loss_leaves_out_what_has_no_weight():
    scores, tokens = torch.randn(1, 3, 7), torch.tensor([[1, 2, 3]])
    weights = torch.tensor([[1.0, 0.0, 1.0]])
    expected = -scores.log_softmax(-1)[0, [0, 2], [1, 3]].mean()
    assert float(answer_loss(scores, tokens, weights)) == pytest.approx(float(expected), abs=1e-6)


def test_the_level_has_its_tokens_in_an_answer_and_a_feeling_its_continuation(model):
    for label in EMOTION_CLASSES:
        tokens, level = answer_tokens(model, answer(*label))
        assert tokens[-1] == model.end
        words = model.text(tokens[level.start : level.stop])
        assert words == (class_words(label).split()[0] if " " in class_words(label) else "")
    opening = len(model.tokens(OPENING))
    for label, tokens in zip(EMOTION_CLASSES, class_tokens(model), strict=True):
        assert (
            model.tokens(answer(*label))[opening : opening + len(tokens)] == tokens or class_words(label) == "neutral"
        )


def test_a_tokenizer_without_a_start_begins_with_the_end(tmp_path):
    model = load_language_model(str(save_llama(tmp_path, start=False)))
    torch.testing.assert_close(model.bos(), model.embed([model.end]))


def test_a_fingerprint_is_of_weights_and_words(tmp_path):
    one, two, other = (save_llama(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert language_fingerprint(one) == language_fingerprint(two) != language_fingerprint(other)


def refuse(path, match):
    with pytest.raises(InputError, match=match):
        load_language_model(str(path))


def test_what_is_no_language_model_is_refused(tmp_path, small):
    refuse(tmp_path / "absent", "a folder with a language model, or a name")
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(empty, "config.json")
    without = shutil.copytree(small, tmp_path / "without")
    (without / "model.safetensors").rename(without / "pytorch_model.bin")
    refuse(without, "weights as safetensors")
    torn = shutil.copytree(small, tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:200])
    refuse(torn, "a causal language model with its tokenizer")
    lacking = shutil.copytree(small, tmp_path / "lacking")
    tensors = load_file(lacking / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, lacking / "model.safetensors", {"format": "pt"})
    refuse(lacking, "all weights of a language model")
    broken = shutil.copytree(small, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    refuse(broken, "whose scores are not finite")
    foreign = shutil.copytree(small, tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps(config | {"model_type": "no_such_model"}))
    refuse(foreign, "a causal language model with its tokenizer")
    refuse(save_gpt2(tmp_path / "gpt2"), "built as Llama is")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("small"))


# Quantised weights are read once, and kept whole; models load one at a time.


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
