"""Frozen models of text: encoding, reading, scoring and writing on, quantised weights, and what is refused."""

from __future__ import annotations

import copy
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

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
    load_language_model,
    load_text_encoder,
)
from avi_lib.models import Resolved, loading

SENTENCE = "she is furious , brow strongly down ."


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_text_encoder(str(save_bert(tmp_path_factory.mktemp("bert"))))


def test_every_token_of_every_text_has_the_state_it_has_alone(bert):
    texts = [SENTENCE, "she is calm", "", "he is happy and sad ."]
    together = bert.encode(texts)
    assert [states.shape for states in together[:3]] == [(10, DIM), (5, DIM), (2, DIM)]
    assert together[0].dtype == np.float32
    for text, states in zip(texts, together, strict=True):
        np.testing.assert_allclose(states, bert.encode([text])[0], atol=1e-5)
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


@pytest.mark.parametrize("damage", ["kind", "json", "weights", "tokenizer", "pickled", "missing"])
def test_a_folder_that_holds_no_whole_text_encoder_is_refused_by_name(tmp_path, damage):
    folder = save_bert(tmp_path / "bert") if damage != "missing" else tmp_path / "nowhere"
    if damage in ("kind", "json"):
        (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}) if damage == "kind" else "{")
    elif damage == "weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    elif damage == "tokenizer":
        for path in folder.glob("tokenizer*.json"):
            path.write_text("{}")
    elif damage == "pickled":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=f"weights as safetensors.*{folder}" if damage == "pickled" else str(folder)):
        load_text_encoder(str(folder))


def test_states_of_many_texts_come_padded_with_a_mask(bert):
    texts = ["she is calm", SENTENCE, ""]
    states = encode_texts(texts, bert, progress=False)
    batch, mask = states.batch([2, 0])
    assert batch.shape == (2, 5, DIM) and mask.sum(axis=1).tolist() == [2, 5]
    assert (batch[~mask] == 0).all()
    np.testing.assert_allclose(batch[1], bert.encode([texts[0]])[0], atol=5e-3)
    np.testing.assert_array_equal(states.of(0), batch[1])


def test_texts_that_were_encoded_before_are_read_and_a_damaged_file_is_made_again(bert, tmp_path, monkeypatch):
    texts = ["she is calm", SENTENCE]
    first = encode_texts(texts, bert, tmp_path, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(type(bert), "each", lambda *_: pytest.fail("encoded again"))
        again = encode_texts(texts, bert, tmp_path, progress=False)
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:60])
    mended = encode_texts(texts, bert, tmp_path, progress=False)
    assert mended.rows.tobytes() == again.rows.tobytes() == first.rows.tobytes()
    assert kept.stat().st_size > 60
    encode_texts(list(reversed(texts)), bert, tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


def embedded(model, text):
    return torch.cat([model.bos(), model.embed(model.tokens(text))])[None]


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


def test_several_prompts_are_read_and_go_on_as_each_alone(model):
    prompts = [embedded(model, text) for text in ("A person feels", "They speak and")]
    begin = [model.tokens(" sad"), model.tokens(" quite angry")]
    said = [model.tokens(" calm"), model.tokens(" up a bit")]
    both = model.read(torch.cat(prompts))
    together = model.go_on(both, most=7, begin=begin)
    likely = model.log_probabilities(both, said)
    for number, prompt in enumerate(prompts):
        alone = model.read(prompt)
        assert model.go_on(alone, most=7, begin=begin[number : number + 1]) == together[number : number + 1]
        torch.testing.assert_close(model.log_probabilities(alone, said)[0], likely[number], atol=1e-4, rtol=1e-4)


def test_pieces_are_chosen_token_by_token_and_drawn_by_a_seed(model):
    kv_cache, pieces = model.read(embedded(model, OPENING)), (" quite angry.", " quite sad.", " calm and")
    follow = lambda said: () if said and said[-1].endswith(".") else pieces  # noqa: E731
    said = model.choose(kv_cache, OPENING, follow)
    text, place = model.tokens(OPENING), 0
    for token in model.tokens(OPENING + "".join(said))[len(text) :]:
        left = {ids[place] for ids in map(model.tokens, pieces) if ids[:place] == text[len(text) - place :]}
        scores = model.scores(torch.cat([model.bos(), model.embed(text)])[None], 1)[0, -1]
        assert token == max(left, key=lambda each: float(scores[each]))
        text, place = [*text, token], 0 if text and model.text([token]) == "and" else place + 1
    assert said == model.choose(kv_cache, OPENING, follow) and said[-1] in pieces[:2]
    drawn = [model.choose(kv_cache, OPENING, follow, 3.0, seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert drawn[0] == drawn[1] and len(set(map(tuple, drawn))) > 1


def test_writing_ends_with_the_mark_of_the_end_or_a_line(model):
    kv_cache = model.read(embedded(model, OPENING))

    class Says(type(kv_cache)):
        pass

    for token in (model.end, model.tokens("\n")[0]):
        forced = Says(
            kv_cache.cache, torch.nn.functional.one_hot(torch.tensor(token), kv_cache.next.shape[1])[None].float()
        )
        assert model.go_on(forced, most=5) == [[]]


def test_gradients_reach_the_prompt_and_no_weight_and_the_loss_leaves_out_what_has_none(model):
    prompt = (0.1 * torch.randn(2, 3, WIDTH)).requires_grad_()
    before = dialogue(model, prompt, QUESTIONS[0])
    ids = torch.tensor([answer_tokens(model, answer("sad", 2))[0]] * 2)
    scores = model.scores(torch.cat([before, model.embed(ids[:, :-1])], dim=1), ids.shape[1])
    answer_loss(scores, ids, torch.ones(ids.shape)).backward()
    assert prompt.grad is not None and bool((prompt.grad != 0).any())
    assert all(weight.grad is None for weight in model.network.parameters())
    scores, tokens = torch.randn(1, 3, 7), torch.tensor([[1, 2, 3]])
    expected = -scores.log_softmax(-1)[0, [0, 2], [1, 3]].mean()
    assert float(answer_loss(scores, tokens, torch.tensor([[1.0, 0, 1]]))) == pytest.approx(float(expected), abs=1e-6)


def test_text_comes_back_from_its_tokens_and_level_and_class_have_theirs_in_an_answer(model, tmp_path):
    assert model.width == WIDTH and model.bos().shape == (1, WIDTH)
    opening = len(model.tokens(OPENING))
    for label, begin in zip(EMOTION_CLASSES, class_tokens(model), strict=True):
        sentence, words = answer(*label), class_words(label)
        tokens, level = answer_tokens(model, sentence)
        assert model.text(model.tokens(sentence)) == sentence and tokens[-1] == model.end
        assert model.text(tokens[level.start : level.stop]) == (words.split()[0] if " " in words else "")
        assert model.tokens(sentence)[opening : opening + len(begin)] == begin or words == "neutral"
    startless = load_language_model(str(save_llama(tmp_path, start=False)))
    torch.testing.assert_close(startless.bos(), startless.embed([startless.end]))


def test_fingerprints_follow_weights_and_words(tmp_path):
    for save, load in ((save_bert, load_text_encoder), (save_llama, load_language_model)):
        folders = (save(tmp_path / f"{save.__name__}{i}", seed) for i, seed in enumerate((0, 0, 1)))
        one, two, other = (load(str(folder)).fingerprint for folder in folders)
        assert one == two != other


def test_what_is_no_language_model_is_refused(tmp_path):
    small = save_llama(tmp_path / "small")
    tensors = load_file(small / "model.safetensors")
    config = json.loads((small / "config.json").read_text()) | {"model_type": "no_such_model"}
    lacking = {name: value for name, value in tensors.items() if name != "model.layers.1.mlp.up_proj.weight"}
    broken = tensors | {"model.norm.weight": torch.full_like(tensors["model.norm.weight"], float("nan"))}

    def changed(name, change):
        folder = shutil.copytree(small, tmp_path / name)
        change(folder, folder / "model.safetensors")
        return folder

    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "absent", "a folder with a causal language model, or a name"),
        (tmp_path / "empty", "config.json"),
        (changed("pickled", lambda f, w: w.rename(f / "pytorch_model.bin")), "weights as safetensors"),
        (changed("torn", lambda f, w: w.write_bytes(w.read_bytes()[:200])), "expected a language model"),
        (changed("lacking", lambda f, w: save_file(lacking, w, {"format": "pt"})), "all weights of a language model"),
        (changed("broken", lambda f, w: save_file(broken, w, {"format": "pt"})), "whose scores are not finite"),
        (
            changed("foreign", lambda f, w: (f / "config.json").write_text(json.dumps(config))),
            "expected a language model",
        ),
        (save_gpt2(tmp_path / "gpt2"), "built as Llama is"),
    ):
        with pytest.raises(InputError, match=words):
            load_language_model(str(folder))


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

    def load(_):
        with loading():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(4)))
    assert most == [1] * 4


def test_one_sentence_is_read_from_the_cache_and_without_one_again(bert, monkeypatch, tmp_path):
    encoder = copy.copy(bert)
    encoder.named = True
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "cache"))
    (states,) = encoder.encode(["She is furious."])
    with monkeypatch.context() as patch:
        patch.setattr(type(encoder), "each", None)
        np.testing.assert_array_equal(encoder.encode(["She is furious."])[0], states)
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setenv("AVI_CACHE", str(tmp_path / "full"))
    np.testing.assert_array_equal(encoder.encode(["She is furious."])[0], states)
