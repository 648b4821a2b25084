"""The prior as a whole: styles for any text, candidates, mixtures, edits, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_priors import Letters, prior

from avi_lib.errors import InputError
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.prior import PriorSampler, candidate_seed, load_prior, read_prior_about, save_prior
from avi_lib.settings import SampleSettings

QUICK = SampleSettings(steps=5)


@pytest.fixture(scope="module")
def prior_sampler():
    return PriorSampler(prior(), Letters(), "for tests")


def test_one_sentence_serves_all_seeds_and_several_sentences_have_one_each(prior_sampler):
    model = prior_sampler.prior
    styles = model.draw(prior_sampler.read("angry"), [1, 2, 3], QUICK)
    assert styles.shape == (3, 128) and styles.dtype == np.float32
    embedding = model.read(Letters().encode(["angry", "calm"]))
    pair = model.draw(embedding, [1, 1], QUICK)
    np.testing.assert_allclose(pair[0], styles[0], atol=1e-4)
    assert np.abs(pair[0] - pair[1]).max() > 0.01


def test_styles_have_the_mean_and_scale_of_those_that_were_trained_on(prior_sampler):
    model = prior_sampler.prior
    raw = torch.randn(4, 128)
    torch.testing.assert_close(model.normal(raw) * 1.5 + model.mean, raw)


def test_the_nearest_of_several_candidates_is_taken_and_the_first_is_the_seeds_own(prior_sampler):
    many = SampleSettings(steps=5, candidates=6)
    chosen = prior_sampler.style("angry", 4, many)
    drawn = prior_sampler.styles("angry", [candidate_seed(4, i) for i in range(6)], QUICK)
    normal = torch.nn.functional.normalize(prior_sampler.prior.normal(torch.from_numpy(drawn)), dim=1)
    near = (normal @ prior_sampler.read("angry").aligned[0]).numpy()
    np.testing.assert_allclose(chosen, drawn[near.argmax()], atol=1e-4)
    np.testing.assert_allclose(prior_sampler.style("angry", 4, QUICK), drawn[0], atol=1e-4)


def test_between_two_sentences_the_ends_are_the_sentences(prior_sampler):
    ends = [prior_sampler.between(["angry", "calm"], weights, 3, QUICK) for weights in ((1.0, 0.0), (0.0, 1.0))]
    for style, text in zip(ends, ("angry", "calm"), strict=True):
        np.testing.assert_allclose(style, prior_sampler.style(text, 3, QUICK), atol=1e-4)


def test_an_edit_keeps_what_a_style_holds_a_group_at_and_draws_the_rest(prior_sampler):
    given_style = prior_sampler.style("angry", 1, QUICK)
    edited = prior_sampler.edit(given_style, ["brows"], "calm", 2, QUICK)
    free = prior_sampler.style("calm", 2, QUICK)
    held = prior_sampler.prior.held.numpy()
    brows, lips = (list(ARKIT.groups[group]) for group in ("brows", "lips"))
    np.testing.assert_allclose(held[brows] @ edited, held[brows] @ given_style, atol=0.02)
    assert np.abs(held[brows] @ (free - given_style)).max() > 0.1
    assert np.abs(held[lips] @ (edited - given_style)).max() > 0.1


def test_keeping_every_group_keeps_all_that_shows_and_keeping_none_keeps_nothing(prior_sampler):
    given_style = prior_sampler.style("angry", 1, QUICK)
    whole = prior_sampler.edit(given_style, list(ARKIT.groups), "calm", 2, QUICK)
    held = prior_sampler.prior.held.numpy()
    np.testing.assert_allclose(held @ whole, held @ given_style, atol=0.05)
    np.testing.assert_allclose(
        prior_sampler.edit(given_style, [], "calm", 2, QUICK), prior_sampler.style("calm", 2, QUICK), atol=1e-4
    )


def test_edits_of_unknown_groups_or_broken_styles_are_refused(prior_sampler):
    style = np.zeros(128, np.float32)
    with pytest.raises(InputError, match="nostrils"):
        prior_sampler.edit(style, ["nostrils"], "calm", 1, QUICK)
    with pytest.raises(InputError, match="finite style"):
        prior_sampler.edit(style + np.nan, ["brows"], "calm", 1, QUICK)


@settings(max_examples=60, deadline=None)
@example("")
@example("x" * 10_000)
@example("<img src=x onerror=alert(1)>")
@example("\x00\x07\u202e{0.__class__}%s$(rm)")
@given(st.text(max_size=300))
def test_any_text_has_a_finite_style(text):
    model = prior()
    style = PriorSampler(model, Letters(), "for tests").style(text, 1, SampleSettings(steps=4, guidance=3.0))
    assert np.isfinite(style).all()
    assert float(model.normal(torch.from_numpy(style)[None]).abs().max()) <= 6.0 + 1e-3


def test_states_that_are_not_finite_or_of_another_width_are_refused(prior_sampler):
    with pytest.raises(InputError, match="finite states"):
        prior_sampler.prior.read([np.full((3, 12), np.nan, np.float32)])
    with pytest.raises(InputError, match=r"states \(tokens, 12\) of letters"):
        prior_sampler.prior.read([np.zeros((3, 7), np.float32)])


def test_a_saved_prior_draws_as_before_within_float16(prior_sampler, tmp_path):
    path = tmp_path / "prior.safetensors"
    save_prior(prior_sampler.prior, path, {"corpora": ["a"]})
    again = PriorSampler(load_prior(path), Letters(), "for tests")
    np.testing.assert_allclose(again.style("angry", 1, QUICK), prior_sampler.style("angry", 1, QUICK), atol=0.05)
    assert read_prior_about(path) == {"corpora": ["a"]}
    assert again.prior.shape == prior_sampler.prior.shape


@pytest.mark.parametrize("damage", ["cut", "nan", "shape", "header", "talking", "missing"])
def test_a_damaged_file_is_an_error_that_names_it(prior_sampler, tmp_path, damage):
    path = tmp_path / "prior.safetensors"
    save_prior(prior_sampler.prior, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage in ("nan", "shape", "header"):
        tensors = load_file(path)
        metadata = {"avi": "{}"} if damage == "header" else None
        if damage == "nan":
            tensors["mean"][3] = float("nan")
        if damage == "shape":
            tensors["mean"] = torch.zeros(7)
        if metadata is None:
            from safetensors import safe_open

            with safe_open(path, "pt") as stored:
                metadata = stored.metadata()
        save_file(tensors, path, metadata)
    elif damage == "talking":
        from avi_lib.motion.generator import SHIPPED

        path = SHIPPED
    else:
        path = tmp_path / "nowhere.safetensors"
    with pytest.raises(InputError, match=path.name):
        load_prior(path)
