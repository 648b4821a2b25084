"""Samplers of the prior: where they arrive, seeds, guidance, mixtures, what is kept, what is refused."""

from __future__ import annotations

import pytest
import torch
from small_priors import TEXT, network
from test_prior_network import read

from avi_lib.errors import AviError, InputError
from avi_lib.motion.prior import (
    STEP_NOISE,
    Condition,
    Kept,
    PriorNetwork,
    candidate_seed,
    noise_of,
    sample,
    training_scheduler,
)
from avi_lib.settings import SampleSettings

SAMPLERS = ("ddim", "dpm++", "ddpm")
TARGET = torch.linspace(-1, 1, 128)


class Stub(PriorNetwork):
    """A network whose answers a test knows."""

    def __init__(self) -> None:
        super().__init__(TEXT, width=32, blocks=1, heads=4)


class Certain(Stub):
    """Predicts the same style whatever the noise, and 0 without a sentence."""

    def forward(self, noisy, times, embedding):
        seen = embedding.mask.sum(dim=1) > 1
        return TARGET.expand(len(noisy), -1) * seen[:, None]


class Linear(Stub):
    """The golden model: a fixed share of the noise is the style."""

    def forward(self, noisy, times, embedding):
        return noisy * (0.3 + 0.4 * times[:, None].float() / 1000)


def drawn(net, seeds, settings, texts=("angry",), **options):
    embedding = read(network(), *texts).at(torch.arange(len(seeds)) % len(texts))
    return sample(net, [Condition(embedding)], noise_of(seeds), settings, seeds, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_certain_network_is_believed(sampler):
    styles = drawn(Certain(), [1, 2], SampleSettings(sampler=sampler, steps=20))
    torch.testing.assert_close(styles, TARGET.expand(2, -1), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("sampler", "total", "size"),
    [("ddim", -1.21719, 0.157057), ("dpm++", -1.03785, 0.133916), ("ddpm", -0.81792, 0.094168)],
)
def test_golden_sums_of_a_linear_network(sampler, total, size):
    styles = drawn(Linear(), [7], SampleSettings(sampler=sampler, steps=10))
    assert float(styles.sum()) == pytest.approx(total, abs=1e-3)
    assert float(styles.abs().mean()) == pytest.approx(size, abs=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_what_its_samples_are_one_by_one(sampler):
    net, settings = network(), SampleSettings(sampler=sampler, steps=8, guidance=1.5)
    together = drawn(net, [3, 4, 5], settings, ("angry", "calm and sad", "happy"))
    for i, text in enumerate(("angry", "calm and sad", "happy")):
        alone = drawn(net, [3 + i], settings, (text,))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_draws_the_same_bytes_and_another_one_something_else(sampler):
    net, settings = network(), SampleSettings(sampler=sampler, steps=5)
    first, again, other = (drawn(net, [seed], settings) for seed in (9, 9, 10))
    assert first.numpy().tobytes() == again.numpy().tobytes() != other.numpy().tobytes()


def test_noise_is_that_of_the_seed_in_any_batch():
    torch.testing.assert_close(noise_of([5, 6])[1], noise_of([6])[0], rtol=0, atol=0)


def test_guidance_0_forgets_the_sentence_and_more_than_1_goes_beyond_it():
    styles = [drawn(Certain(), [1], SampleSettings(guidance=w, steps=20)).mean(dim=0) for w in (0.0, 1.0, 2.0)]
    assert float(styles[0].abs().max()) < 0.05
    torch.testing.assert_close(styles[2], 2 * TARGET, atol=0.1, rtol=0)
    net = network()
    one, another = (drawn(net, [1], SampleSettings(guidance=0.0), (text,)) for text in ("angry", "happy"))
    torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)


def test_mixed_conditions_lie_between_and_one_of_weight_1_is_that_condition():
    net, how = network(), SampleSettings(steps=5)
    first, second = read(net, "angry"), read(net, "happy")

    def mixed(share):
        return sample(net, [Condition(first, 1 - share), Condition(second, share)], noise_of([2]), how)

    torch.testing.assert_close(mixed(0.0), drawn(net, [2], how, ("angry",)))
    path = torch.cat([mixed(share / 8) for share in range(9)])
    steps = path.diff(dim=0).norm(dim=1)
    assert float(steps.max()) < 3 * float(steps.mean()), "no jump on the way"


def test_what_is_kept_of_a_style_stays_and_the_rest_is_drawn():
    net, basis = network(), torch.linalg.qr(torch.randn(128, 20, generator=torch.Generator().manual_seed(0)))[0]
    given = noise_of([99])[0]
    styles = drawn(net, [1, 2], SampleSettings(steps=10), kept=Kept(given, basis @ basis.T))
    torch.testing.assert_close(styles @ basis, (given @ basis).expand(2, -1), atol=1e-4, rtol=0)
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
    class Broken(Stub):
        def forward(self, noisy, times, embedding):
            return noisy * float("nan")

    with pytest.raises(AviError, match="a finite style"):
        drawn(Broken(), [1], SampleSettings())
    styles = drawn(network(), [1], SampleSettings(guidance=10.0))
    assert bool(styles.isfinite().all()) and float(styles.abs().max()) <= 6.0


def test_conditions_whose_weights_do_not_add_up_are_refused():
    for conditions in ([Condition(read(network(), "angry"), 0.4)], []):
        with pytest.raises(InputError, match="add up to 1"):
            sample(network(), conditions, noise_of([1]), SampleSettings())


@pytest.mark.parametrize("steps", [7, 61, 334, 999])
def test_step_counts_that_do_not_divide_the_times_are_refused_with_ones_that_do(steps):
    with pytest.raises(ValueError, match="a divisor of 1000, such as"):
        SampleSettings(steps=steps)


class Gaussian(Stub):
    """Knows that styles are normal with the deviation 0.5: the best guess of the style shrinks what is seen."""

    def forward(self, noisy, times, embedding):
        kept = training_scheduler().alphas_cumprod[times][:, None]
        return noisy * kept.sqrt() * 0.25 / (kept * 0.25 + 1 - kept)


@pytest.mark.parametrize("steps", [20, 50, 100])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_styles_are_as_spread_as_they_were(sampler, steps):
    styles = drawn(Gaussian(), list(range(64)), SampleSettings(sampler=sampler, steps=steps))
    assert float(styles.std()) == pytest.approx(0.5, rel=0.16)


def test_the_noise_of_ddpm_is_of_no_other_sample():
    seeds = {candidate_seed(seed, number) for seed in (7, 8) for number in (*range(64), STEP_NOISE)}
    assert len(seeds) == 130
