"""The prior: its network, its samplers, styles for any text, candidates, mixtures, edits, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_priors import TEXT, Letters, network, prior

from avi_lib.errors import AviError, InputError
from avi_lib.motion.clip import ARKIT
from avi_lib.motion.generator import SHIPPED
from avi_lib.motion.prior import (
    BINDINGS,
    REACH,
    STEP_NOISE,
    Condition,
    Kept,
    PriorNetwork,
    PriorSampler,
    candidate_seed,
    load_prior,
    noise_of,
    read_prior_about,
    sample,
    save_prior,
    training_scheduler,
)
from avi_lib.settings import SampleSettings

SAMPLERS = ("ddim", "dpm++", "ddpm")
TARGET = torch.linspace(-1, 1, 128)
QUICK = SampleSettings(steps=5)


def read(net: PriorNetwork, *texts: str):
    states = [torch.from_numpy(each) for each in Letters().encode(texts)]
    mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
    padded = torch.full((*mask.shape, TEXT), 1e6)
    padded[mask] = torch.cat(states)
    return net.read(padded, mask)


# The network


def test_padding_has_no_part_in_anything():
    net, x, times = network(), noise_of([0, 1]), torch.tensor([10, 900])
    together, alone = read(net, "angry", "a much longer sentence"), read(net, "angry")
    torch.testing.assert_close(net(x, times, together)[:1], net(x[:1], times[:1], alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.aligned[:1], alone.aligned, rtol=1e-4, atol=1e-5)


def test_a_sentence_that_is_taken_away_leaves_nothing():
    net, x, times = network(), noise_of([0]), torch.tensor([500])
    gone = [net(x, times, net.drop_text(read(net, text), torch.tensor([True]))) for text in ("angry", "happy and calm")]
    torch.testing.assert_close(gone[0], gone[1], rtol=1e-5, atol=1e-6)
    kept = net(x, times, net.drop_text(read(net, "angry"), torch.tensor([False])))
    assert float((kept - gone[0]).abs().max()) > 0.01


def test_sentence_time_and_noise_all_count():
    net = network()
    cases = [(0, 500, "angry"), (0, 500, "happy"), (0, 20, "angry"), (1, 500, "angry")]
    base, *others = (net(noise_of([seed]), torch.tensor([time]), read(net, text)) for seed, time, text in cases)
    assert all(float((base - other).abs().max()) > 0.01 for other in others)


def test_a_token_knows_its_neighbours_within_its_text_so_order_counts():
    net = network()
    states = torch.randn(1, 12, TEXT, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 12, dtype=torch.bool)
    plain, turned = net.read(states, mask), net.read(states.flip(1), mask)
    assert float((plain.pooled - turned.pooled).abs().max()) > 0.01
    other = states.clone()
    other[0, 0] = torch.linspace(-1, 1, TEXT)
    changed = (net.read(other, mask).values - plain.values).abs().amax(dim=(0, 1, 3))[1:] > 1e-6
    assert changed.tolist() == [place <= REACH * BINDINGS for place in range(12)]


# Samplers


class Stub(PriorNetwork):
    """A network whose answers a test knows: `answer` of the noise, its times and whether a sentence is there."""

    def __init__(self, answer) -> None:
        super().__init__(TEXT, width=32, blocks=1, heads=4)
        self.answer = answer

    def forward(self, noisy, times, embedding):
        return self.answer(noisy, times[:, None], embedding.mask.sum(dim=1, keepdim=True) > 1)


def certain() -> Stub:
    """Predicts the same style whatever the noise, and 0 without a sentence."""
    return Stub(lambda noisy, _, there: TARGET.expand(len(noisy), -1) * there)


def gaussian() -> Stub:
    """Knows that styles are normal with the deviation 0.5: the best guess of the style shrinks what is seen."""
    kept = training_scheduler().alphas_cumprod
    return Stub(lambda noisy, times, _: noisy * kept[times].sqrt() * 0.25 / (kept[times] * 0.25 + 1 - kept[times]))


def drawn(net, seeds, settings, texts=("angry",), **options):
    embedding = read(network(), *texts).at(torch.arange(len(seeds)) % len(texts))
    return sample(net, [Condition(embedding)], noise_of(seeds), settings, seeds, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_certain_network_is_believed(sampler):
    styles = drawn(certain(), [1, 2], SampleSettings(sampler=sampler, steps=20))
    torch.testing.assert_close(styles, TARGET.expand(2, -1), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("sampler", "total", "size"),
    [("ddim", -1.21719, 0.157057), ("dpm++", -1.03785, 0.133916), ("ddpm", -0.81792, 0.094168)],
)
def test_golden_sums_of_a_linear_network(sampler, total, size):
    linear = Stub(lambda noisy, times, _: noisy * (0.3 + 0.4 * times.float() / 1000))
    styles = drawn(linear, [7], SampleSettings(sampler=sampler, steps=10))
    assert float(styles.sum()) == pytest.approx(total, abs=1e-3)
    assert float(styles.abs().mean()) == pytest.approx(size, abs=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_what_its_samples_are_one_by_one_to_the_byte_by_seed(sampler):
    net, settings = network(), SampleSettings(sampler=sampler, steps=8, guidance=1.5)
    texts = ("angry", "calm and sad", "happy")
    together = drawn(net, [3, 4, 5], settings, texts)
    alone = [drawn(net, [3 + i], settings, (text,)) for i, text in enumerate(texts)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    again, other = (drawn(net, [seed], settings, texts[:1]) for seed in (3, 10))
    assert alone[0].numpy().tobytes() == again.numpy().tobytes() != other.numpy().tobytes()


def test_noise_is_that_of_the_seed_in_any_batch_and_of_nothing_else():
    torch.testing.assert_close(noise_of([5, 6])[1], noise_of([6])[0], rtol=0, atol=0)
    seeds = {candidate_seed(seed, number) for seed in (7, 8) for number in (*range(64), STEP_NOISE)}
    assert len(seeds) == 130


def test_guidance_0_forgets_the_sentence_and_more_than_1_goes_beyond_it():
    styles = [drawn(certain(), [1], SampleSettings(guidance=w, steps=20)).mean(dim=0) for w in (0.0, 1.0, 2.0)]
    assert float(styles[0].abs().max()) < 0.05
    torch.testing.assert_close(styles[2], 2 * TARGET, atol=0.1, rtol=0)
    one, another = (drawn(network(), [1], SampleSettings(guidance=0.0), (text,)) for text in ("angry", "happy"))
    torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)


def test_mixed_conditions_lie_between_and_one_of_weight_1_is_that_condition():
    net = network()
    first, second = read(net, "angry"), read(net, "happy")

    def mixed(share):
        return sample(net, [Condition(first, 1 - share), Condition(second, share)], noise_of([2]), QUICK)

    torch.testing.assert_close(mixed(0.0), drawn(net, [2], QUICK, ("angry",)))
    steps = torch.cat([mixed(share / 8) for share in range(9)]).diff(dim=0).norm(dim=1)
    assert float(steps.max()) < 3 * float(steps.mean()), "no jump on the way"


def test_conditions_whose_weights_do_not_add_up_are_refused():
    for conditions in ([Condition(read(network(), "angry"), 0.4)], []):
        with pytest.raises(InputError, match="add up to 1"):
            sample(network(), conditions, noise_of([1]), SampleSettings())


def test_what_is_kept_of_a_style_stays_and_the_rest_is_drawn():
    basis = torch.linalg.qr(torch.randn(128, 20, generator=torch.Generator().manual_seed(0)))[0]
    kept = Kept(noise_of([99])[0], basis @ basis.T)
    styles = drawn(network(), [1, 2], SampleSettings(steps=10), kept=kept)
    torch.testing.assert_close(styles @ basis, (kept.style @ basis).expand(2, -1), atol=1e-4, rtol=0)
    free = styles - styles @ basis @ basis.T
    assert float((free[0] - free[1]).abs().max()) > 0.01


def test_predicted_styles_are_shown_step_by_step():
    seen = []
    last = drawn(network(), [1], SampleSettings(steps=8), callback=lambda step, style: seen.append((step, style)))
    assert [step for step, _ in seen] == list(range(8))
    torch.testing.assert_close(seen[-1][1], last, atol=0.05, rtol=0)


def test_the_forward_process_ends_in_noise_and_begins_with_the_style():
    scheduler = training_scheduler()
    assert float(scheduler.alphas_cumprod[0]) > 0.999 and float(scheduler.alphas_cumprod[-1]) < 1e-6


def test_a_network_that_gives_nan_is_an_error_and_extreme_guidance_stays_finite():
    with pytest.raises(AviError, match="a finite style"):
        drawn(Stub(lambda noisy, *_: noisy * float("nan")), [1], SampleSettings())
    styles = drawn(network(), [1], SampleSettings(guidance=10.0))
    assert bool(styles.isfinite().all()) and float(styles.abs().max()) <= 6.0


@pytest.mark.parametrize("steps", [7, 61, 334, 999])
def test_step_counts_that_do_not_divide_the_times_are_refused_with_ones_that_do(steps):
    with pytest.raises(ValueError, match="a divisor of 1000, such as"):
        SampleSettings(steps=steps)


@pytest.mark.parametrize("steps", [20, 50, 100])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_styles_are_as_spread_as_they_were(sampler, steps):
    styles = drawn(gaussian(), list(range(64)), SampleSettings(sampler=sampler, steps=steps))
    assert float(styles.std()) == pytest.approx(0.5, rel=0.16)


# Styles for sentences


@pytest.fixture(scope="module")
def prior_sampler():
    return PriorSampler(prior(), Letters(), "for tests")


def test_styles_have_the_mean_and_scale_of_those_that_were_trained_on(prior_sampler):
    model, raw = prior_sampler.prior, torch.randn(4, 128)
    torch.testing.assert_close(model.normal(raw) * 1.5 + model.mean, raw)


def test_the_nearest_of_several_candidates_is_taken_and_the_first_is_the_seeds_own(prior_sampler):
    chosen = prior_sampler.style("angry", 4, SampleSettings(steps=5, candidates=6))
    each = prior_sampler.styles("angry", [candidate_seed(4, i) for i in range(6)], QUICK)
    normal = torch.nn.functional.normalize(prior_sampler.prior.normal(torch.from_numpy(each)), dim=1)
    near = (normal @ prior_sampler.read("angry").aligned[0]).numpy()
    np.testing.assert_allclose(chosen, each[near.argmax()], atol=1e-4)
    np.testing.assert_allclose(prior_sampler.style("angry", 4, QUICK), each[0], atol=1e-4)


def test_between_two_sentences_the_ends_are_the_sentences(prior_sampler):
    for text, weights in (("angry", (1.0, 0.0)), ("calm", (0.0, 1.0))):
        end = prior_sampler.between(["angry", "calm"], weights, 3, QUICK)
        np.testing.assert_allclose(end, prior_sampler.style(text, 3, QUICK), atol=1e-4)


def test_an_edit_keeps_what_a_style_holds_some_groups_at_and_draws_the_rest(prior_sampler):
    before, free = prior_sampler.style("angry", 1, QUICK), prior_sampler.style("calm", 2, QUICK)
    edited, whole, none = (
        prior_sampler.edit(before, groups, "calm", 2, QUICK) for groups in (["brows"], list(ARKIT.groups), [])
    )
    held = prior_sampler.prior.held.numpy()
    brows, lips = (list(ARKIT.groups[group]) for group in ("brows", "lips"))
    np.testing.assert_allclose(held[brows] @ edited, held[brows] @ before, atol=0.02)
    assert np.abs(held[brows] @ (free - before)).max() > 0.1
    assert np.abs(held[lips] @ (edited - before)).max() > 0.1
    np.testing.assert_allclose(held @ whole, held @ before, atol=0.05)
    np.testing.assert_allclose(none, free, atol=1e-4)


def test_edits_of_unknown_groups_or_broken_styles_and_broken_states_are_refused(prior_sampler):
    style, model = np.zeros(128, np.float32), prior_sampler.prior
    with pytest.raises(InputError, match="nostrils"):
        prior_sampler.edit(style, ["nostrils"], "calm", 1, QUICK)
    with pytest.raises(InputError, match="finite style"):
        prior_sampler.edit(style + np.nan, ["brows"], "calm", 1, QUICK)
    for states in (np.full((3, 12), np.nan, np.float32), np.zeros((3, 7), np.float32)):
        with pytest.raises(InputError, match=r"finite states \(tokens, 12\) of letters"):
            model.read([states])


@settings(max_examples=30, deadline=None)
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


# Its file


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
    with safe_open(path, "pt") as stored:
        metadata, tensors = stored.metadata(), load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage in ("nan", "shape"):
        tensors["mean"] = torch.full((128,), torch.nan) if damage == "nan" else torch.zeros(7)
        save_file(tensors, path, metadata)
    elif damage == "header":
        save_file(tensors, path, {"avi": "{}"})
    else:
        path = SHIPPED if damage == "talking" else tmp_path / "nowhere.safetensors"
    with pytest.raises(InputError, match=path.name):
        load_prior(path)
