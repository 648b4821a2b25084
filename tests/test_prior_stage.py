"""Training the prior: the bank, losses, a training that learns and goes on, and what directs with it."""

from __future__ import annotations

import pytest
import torch
from small_priors import Letters
from talking_corpora import flame, performed, recorded

from avi_lib.errors import InputError
from avi_lib.motion.generator import Shape, TalkingModel
from avi_lib.motion.prior import PriorSampler, load_prior, save_prior
from avi_lib.settings import PriorSettings, SampleSettings, TrainSettings
from avi_lib.training.loop import about_training
from avi_lib.training.prior import PriorLosses, make_bank, soft_contrast, train_prior
from avi_lib.weights import fingerprint

TRAIN = TrainSettings(steps=60, batch=16, learning_rate=3e-3, warmup=5, average=0.8, save_every=20, log_every=5)
SETTINGS = PriorSettings(width=32, blocks=1, heads=4, scripts=40, texts=2, held_out=8, train=TRAIN)


@pytest.fixture(scope="module")
def talking():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TalkingModel(Shape("ARKIT", "echo", "echo", 12, 16, 16)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def bank(talking):
    return make_bank([performed()], talking, Letters(), 40, 2, seed=0, progress=False)


@pytest.fixture(scope="module")
def trained(bank, talking, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    return train_prior(bank, Letters(), talking, SETTINGS, folder, progress=False)


def test_a_bank_has_a_style_a_held_face_and_sentences_for_every_script_drawn_by_its_seed(bank, talking):
    assert bank.styles.shape == (40, 128) and bank.levels.shape == (40, 55) and len(bank) == 40
    assert all(len(texts) == len(script.texts) >= 1 for texts, script in zip(bank.texts_of, bank.scripts, strict=True))
    assert len(bank.texts) == sum(map(len, bank.texts_of))
    again = make_bank([performed()], talking, Letters(), 40, 2, seed=0, progress=False)
    assert again.digest == bank.digest and again.styles.tobytes() == bank.styles.tobytes()
    mixed = make_bank([performed(), recorded()], talking, Letters(), 8, 1, seed=0, progress=False)
    whole = [c for c in recorded().select(split="train") if recorded().present(c).all()]
    assert len(mixed) == 8 + len(whole), "real motion goes in where all its channels are true"


def test_a_bank_needs_performed_clips_in_the_arkit_space(talking):
    for corpora in ([recorded()], [performed(), flame()]):
        with pytest.raises(InputError, match="performed clips"):
            make_bank(corpora, talking, Letters(), 4, 1, seed=0, progress=False)


def test_training_learns_styles_and_their_sentences(bank, trained):
    model, log = trained
    first, last = log[0], log[-1]
    assert last["diffusion"] < 0.8 * first["diffusion"]
    assert last["contrast"] < first["contrast"]
    assert float(model.scale) > 0 and float(model.held.abs().max()) > 0
    losses = PriorLosses(bank, SETTINGS, model)
    assert losses.temperature(0.0) == SETTINGS.cold and losses.temperature(1.0) == pytest.approx(SETTINGS.warm)
    assert losses.temperature(0.5) == pytest.approx((SETTINGS.cold + SETTINGS.warm) / 2)


def test_a_training_that_is_stopped_goes_on_to_the_same_bytes_with_the_same_bank_alone(
    bank, talking, trained, tmp_path
):
    class StopError(Exception):
        pass

    def stop(line):
        if line["step"] >= 45:
            raise StopError

    with pytest.raises(StopError):
        train_prior(bank, Letters(), talking, SETTINGS, tmp_path, progress=False, on_log=stop)
    other = make_bank([performed()], talking, Letters(), 40, 2, seed=1, progress=False)
    with pytest.raises(InputError, match="another"):
        train_prior(other, Letters(), talking, SETTINGS, tmp_path, progress=False)
    again, _ = train_prior(bank, Letters(), talking, SETTINGS, tmp_path, progress=False)
    assert fingerprint(again) == fingerprint(trained[0])


def test_contrast_is_least_when_sentences_are_like_all_styles_as_their_own_style_is():
    styles = torch.nn.functional.normalize(torch.randn(8, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    right, wrong = soft_contrast(styles, styles, 0.1), soft_contrast(styles.roll(1, 0), styles, 0.1)
    assert float(right) < float(wrong)
    twins = torch.cat([styles[:1], styles[:1], styles[2:]])
    assert float(soft_contrast(twins, twins, 0.1)) < float(soft_contrast(styles.roll(1, 0), twins, 0.1))


def test_a_prior_draws_for_the_generator_it_was_trained_with_and_no_other(trained, talking, tmp_path):
    path = tmp_path / "prior.safetensors"
    save_prior(trained[0], path, about_training([performed()], SETTINGS, {"performed": "CC0-1.0"}, "digest"))
    prior_sampler = PriorSampler(load_prior(path), Letters(), "for tests")
    prior_sampler.check_fits(talking)
    other = TalkingModel(talking.shape).eval()
    with pytest.raises(InputError, match="other styles"):
        prior_sampler.check_fits(other)
    assert prior_sampler.style("He is angry.", 1, SampleSettings(steps=4)).shape == (128,)
