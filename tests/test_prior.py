"""The prior: what a reading fixes, its network, its sampler, styles for any text, its training and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_priors import TEXT, Letters, network, prior
from talking_corpora import flame, performed, recorded
from train_line import StoppedError, stop_at

from avi_lib.errors import AviError, InputError
from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import generator as talking
from avi_lib.motion import prior as priors
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.style import DYNAMICS, STYLE
from avi_lib.settings import PriorSettings, SampleSettings, TrainSettings
from avi_lib.training.loop import about_training
from avi_lib.training.prior import PriorLosses, make_bank, train_prior
from avi_lib.weights import fingerprint

TARGET = torch.linspace(-1, 1, STYLE)
QUICK = SampleSettings(steps=4)
parse = Instruction.parse


def fixed_of(text: str) -> dict[str, float]:
    """Values of the fixed entries by channel; spreads and dynamics by their names."""
    names = (*ARKIT.channels, *(f"spread {name}" for name in ARKIT.channels), *DYNAMICS)
    values, fixed = priors.asked_style(parse(text))
    return {name: float(value) for name, value, there in zip(names, values, fixed, strict=False) if there}


def test_named_units_are_held_at_their_strength_with_what_they_oppose_and_forbidden_ones_do_not_move():
    raised = fixed_of("A person speaks with brows strongly raised.")
    brows = {"browInnerUp": 0.9, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9}
    assert raised == pytest.approx(brows | {"browDownLeft": 0.0, "browDownRight": 0.0})
    assert fixed_of("Do not smile.") == {"mouthSmileLeft": 0.0, "mouthSmileRight": 0.0}, "lips go on speaking"
    still = {"browInnerUp": 0.0, "spread browInnerUp": 0.0}
    assert still.items() <= fixed_of("She is happy without raising her inner brows.").items()
    assert set(fixed_of("rolls his eyes")) >= {"eyeLookUpLeft"} and not [
        n for n in fixed_of("rolls his eyes") if "mouth" in n
    ]
    assert fixed_of("She is furious.") == {}, "an emotion is drawn"
    angry, both = fixed_of("She is furious, brows slightly raised."), fixed_of("He is furious, brows fully raised.")
    assert "browDownLeft" not in angry and both["browDownLeft"] == 0.0
    head = fixed_of("Keep your head still.")
    assert {name for name in head if name.startswith("spread")} == {f"spread {name}" for name in ARKIT.channels[-3:]}
    assert head["nods of 0.9 to 2 Hz in rad"] == 0.0


def test_a_motion_that_is_not_what_was_understood_is_told():
    values = np.zeros((50, 55), np.float32)
    assert priors.deviations(parse("A person speaks."), MotionClip(values, 25.0, ARKIT)) == []
    lines = priors.deviations(parse("brows strongly raised"), MotionClip(values, 25.0, ARKIT))
    assert lines == [f"{side} brow raise was asked for at 0.90 and shows 0.00" for side in ("inner", "outer")]
    assert priors.deviations(parse("She is furious."), MotionClip(values, 25.0, ARKIT)) == [
        "angry hardly shows: 0% of its usual face"
    ]
    values[:, ARKIT.index("browInnerUp")] = 0.3
    (line,) = priors.deviations(parse("He does not raise his inner brows."), MotionClip(values, 25.0, ARKIT))
    assert line == "inner brow raise was asked for at 0.00 and shows 0.30"


def test_every_unit_and_emotion_has_a_token_of_its_own():
    rows = priors.asked_tokens(parse("happy and surprised, head nodding, without frowning"))
    there = [(*ACTION_UNITS, *priors.EMOTIONS)[int(i)] for i in np.flatnonzero(rows[:, 0])]
    assert sorted(there) == ["brow_down", "happy", "head_nod", "surprised"]
    assert rows[priors.UNITS.index("brow_down")].tolist() == [1.0, 0.0, 1.0]


def read(net: priors.PriorNetwork, *texts: str, hidden: bool = False):
    """Readings of the texts alone; with `hidden` of nothing."""
    states = [torch.from_numpy(each) for each in Letters().encode(texts)]
    mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
    padded = torch.full((*mask.shape, TEXT), 1e6)
    padded[mask] = torch.cat(states)
    blank = torch.zeros(len(texts), STYLE)
    return net.read(padded, mask & (not hidden), torch.zeros(len(texts), priors.ASKED, 3), blank, blank > 0)


def test_padding_has_no_part_in_anything():
    net, x, times = network(), priors.noise_of([0, 1]), torch.tensor([0.1, 0.9])
    together, alone = read(net, "angry", "a much longer sentence"), read(net, "angry")
    torch.testing.assert_close(net(x, times, together)[:1], net(x[:1], times[:1], alone), rtol=1e-4, atol=1e-5)


def test_sentence_reading_time_and_noise_all_count_and_a_sentence_taken_away_leaves_nothing():
    net = network()
    cases = [(0, 0.5, "angry"), (0, 0.5, "happy"), (0, 0.9, "angry"), (1, 0.5, "angry")]
    base, *others = (net(priors.noise_of([seed]), torch.tensor([time]), read(net, text)) for seed, time, text in cases)
    assert all(float((base - other).abs().max()) > 0.01 for other in others)
    x, times = priors.noise_of([0]), torch.tensor([0.5])
    gone = [net(x, times, read(net, text, hidden=True)) for text in ("angry", "happy and calm")]
    torch.testing.assert_close(gone[0], gone[1], rtol=1e-5, atol=1e-6)
    model = prior()
    states = [np.zeros((0, TEXT), np.float32)]
    parsed = [model.network(x, times, model.read(states, [parse(text)])) for text in ("angry", "happy")]
    assert float((parsed[0] - parsed[1]).abs().max()) > 0.01


def test_a_token_knows_its_neighbours_within_its_text_so_order_counts():
    net, blank = network(), torch.zeros(1, STYLE)
    states = torch.randn(1, 12, TEXT, generator=torch.Generator().manual_seed(0))
    rest = torch.ones(1, 12, dtype=torch.bool), torch.zeros(1, priors.ASKED, 3), blank, blank > 0
    plain, turned = net.read(states, *rest), net.read(states.flip(1), *rest)
    assert float((plain.pooled - turned.pooled).abs().max()) > 0.01
    other = states.clone()
    other[0, 0] = torch.linspace(-1, 1, TEXT)
    changed = (net.read(other, *rest).values - plain.values).abs().amax(dim=(0, 1, 3))[1:13] > 1e-6
    assert changed.tolist() == [place <= priors.REACH * priors.BINDINGS for place in range(12)]


class Stub(priors.PriorNetwork):
    """A network whose answers a test knows: `answer` of the noise, its times and whether a sentence is there."""

    def __init__(self, answer) -> None:
        super().__init__(TEXT, width=32, blocks=1, heads=4)
        self.answer = answer

    def forward(self, noisy, times, reading):
        return self.answer(noisy, times[:, None], reading.mask.sum(dim=1, keepdim=True) > 1)


def certain() -> Stub:
    """Predicts the same style whatever the noise, and 0 without a sentence."""
    return Stub(lambda noisy, _, there: TARGET.expand(len(noisy), -1) * there)


def gaussian(deviation: float) -> Stub:
    """Knows that styles are normal with a deviation: the best guess of the style shrinks what is seen."""
    kept = deviation**2
    return Stub(lambda noisy, times, _: noisy * times * kept / (times**2 * kept + (1 - times) ** 2))


def drawn(net, seeds, settings, texts=("angry",), **options):
    rows, whole = torch.arange(len(seeds)), network()
    reading, nothing = read(whole, *texts).at(rows % len(texts)), read(whole, "x", hidden=True).at(rows * 0)
    return priors.sample(net, [priors.Condition(reading)], priors.noise_of(seeds), settings, nothing, **options)


@pytest.mark.parametrize("steps", [2, 7, 20])
def test_a_certain_network_gives_its_style_and_a_spread_one_its_spread_at_every_step_count(steps):
    styles = drawn(certain(), [1, 2], SampleSettings(steps=steps))
    torch.testing.assert_close(styles, TARGET.expand(2, -1), atol=1e-5, rtol=0)
    for deviation in (0.1, 0.5, 1.0) if steps > 4 else ():
        spread = drawn(gaussian(deviation), list(range(64)), SampleSettings(steps=steps)).std()
        assert float(spread) == pytest.approx(deviation, rel=0.1)


def test_a_batch_is_what_its_samples_are_one_by_one_to_the_byte_by_seed():
    net, settings = network(), SampleSettings(guidance=1.5)
    texts = ("angry", "calm and sad", "happy")
    together = drawn(net, [3, 4, 5], settings, texts)
    alone = [drawn(net, [3 + i], settings, (text,)) for i, text in enumerate(texts)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    again, other = (drawn(net, [seed], settings, texts[:1]) for seed in (3, 10))
    assert alone[0].numpy().tobytes() == again.numpy().tobytes() != other.numpy().tobytes()
    torch.testing.assert_close(priors.noise_of([5, 6])[1], priors.noise_of([6])[0], rtol=0, atol=0)


def test_guidance_0_forgets_the_sentence_and_more_than_1_goes_beyond_it():
    styles = [drawn(certain(), [1], SampleSettings(guidance=w)).mean(dim=0) for w in (0.0, 1.0, 2.0)]
    assert float(styles[0].abs().max()) < 1e-5
    torch.testing.assert_close(styles[2], 2 * TARGET, atol=1e-4, rtol=0)


def test_mixed_conditions_lie_between_and_one_of_weight_1_is_that_condition():
    net = network()
    first, second = read(net, "angry"), read(net, "happy")

    def mixed(share):
        return priors.sample(
            net, [priors.Condition(first, 1 - share), priors.Condition(second, share)], priors.noise_of([2]), QUICK
        )

    torch.testing.assert_close(mixed(0.0), drawn(net, [2], QUICK, ("angry",)))
    steps = torch.cat([mixed(share / 8) for share in range(9)]).diff(dim=0).norm(dim=1)
    assert float(steps.max()) < 3 * float(steps.mean()), "no jump on the way"


def test_weights_that_do_not_add_up_and_nan_are_errors_and_extreme_guidance_stays_finite():
    for conditions in ([priors.Condition(read(network(), "angry"), 0.4)], []):
        with pytest.raises(InputError, match="add up to 1"):
            priors.sample(network(), conditions, priors.noise_of([1]), SampleSettings())
    with pytest.raises(AviError, match="a finite style"):
        drawn(Stub(lambda noisy, *_: noisy * float("nan")), [1], SampleSettings())
    styles = drawn(network(), [1], SampleSettings(guidance=10.0))
    assert bool(styles.isfinite().all()) and float(styles.abs().max()) <= priors.FARTHEST


def test_predicted_styles_are_shown_step_by_step():
    seen = []
    last = drawn(network(), [1], SampleSettings(steps=8), callback=lambda step, style: seen.append((step, style)))
    assert [step for step, _ in seen] == list(range(8))
    torch.testing.assert_close(seen[-1][1], last, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def prior_sampler():
    return priors.PriorSampler(prior(), Letters(), "for tests")


def test_what_is_explicit_comes_out_exactly_with_every_seed_and_what_is_left_open_differs(prior_sampler):
    styles = prior_sampler.styles("A person speaks with brows strongly raised.", range(6), SampleSettings(guidance=3.0))
    brows, others = (
        [ARKIT.index(name) for name in names] for names in (("browInnerUp", "browOuterUpLeft"), ("noseSneerLeft",))
    )
    np.testing.assert_allclose(styles[:, brows], 0.9, atol=1e-4)
    assert styles[:, others].std() > 0.01
    forbidden = prior_sampler.styles("He is angry but does not smile.", range(6))
    np.testing.assert_allclose(forbidden[:, ARKIT.index("mouthSmileLeft")], 0.0, atol=1e-4)
    parts = prior_sampler.style(Instruction("whatever", action_units={"cheek_puff": 0.4}), 1)
    assert parts[ARKIT.index("cheekPuff")] == pytest.approx(0.4, abs=1e-4), "the parts of an instruction count"


def test_between_two_sentences_the_ends_are_the_sentences_and_unknown_or_broken_edits_are_refused(prior_sampler):
    for text, weights in (("angry", (1.0, 0.0)), ("calm", (0.0, 1.0))):
        end = prior_sampler.between(["angry", "calm"], weights, 3, QUICK)
        np.testing.assert_allclose(end, prior_sampler.style(text, 3, QUICK), atol=1e-4)
    style, model = np.zeros(STYLE, np.float32), prior_sampler.prior
    with pytest.raises(InputError, match="nostrils"):
        prior_sampler.edit(style, ["nostrils"], "calm", 1, QUICK)
    with pytest.raises(InputError, match="finite style"):
        prior_sampler.edit(style + np.nan, ["brows"], "calm", 1, QUICK)
    for states in (np.full((3, 12), np.nan, np.float32), np.zeros((3, 7), np.float32)):
        with pytest.raises(InputError, match=r"finite states \(tokens, 12\) of letters"):
            model.read([states])


def test_an_edit_keeps_what_a_style_says_of_some_groups_and_draws_the_rest(prior_sampler):
    before, free = prior_sampler.style("angry", 1, QUICK), prior_sampler.style("calm", 2, QUICK)
    edited, none = (prior_sampler.edit(before, groups, "calm", 2, QUICK) for groups in (["brows"], []))
    brows = [part + i for i in ARKIT.groups["brows"] for part in (0, len(ARKIT))]
    np.testing.assert_allclose(edited[brows], before[brows], atol=1e-4)
    assert np.abs(np.delete(edited - before, brows)).max() > 0.1
    np.testing.assert_allclose(none, free, atol=1e-4)


@settings(max_examples=8, deadline=None)
@example("")
@example("x" * 10_000)
@example("<img src=x onerror=alert(1)>")
@example("\x00\x07\u202e{0.__class__}%s$(rm)")
@given(st.text(max_size=300))
def test_any_text_has_a_finite_style(prior_sampler, text):
    style = prior_sampler.style(text, 1, SampleSettings(steps=2, guidance=3.0))
    assert np.isfinite(style).all()


# Its training

TRAIN = TrainSettings(steps=60, batch=16, learning_rate=3e-3, warmup=5, average=0.8, save_every=20, log_every=5)
SETTINGS = PriorSettings(width=32, blocks=1, heads=4, scripts=40, texts=2, held_out=8, train=TRAIN)


@pytest.fixture(scope="module")
def bank():
    return make_bank([performed()], Letters(), 40, 2, seed=0, progress=False)


@pytest.fixture(scope="module")
def trained(bank, tmp_path_factory):
    return train_prior(bank, Letters(), SETTINGS, tmp_path_factory.mktemp("prior"), progress=False)


def test_a_bank_has_a_style_and_sentences_for_every_script_drawn_by_its_seed(bank):
    assert bank.styles.shape == bank.known.shape == (40, STYLE) and bank.known.all() and len(bank) == 40
    assert all(len(texts) == len(script.texts) >= 1 for texts, script in zip(bank.texts_of, bank.scripts, strict=True))
    assert len(bank.texts) == sum(map(len, bank.texts_of))
    again = make_bank([performed()], Letters(), 40, 2, seed=0, progress=False)
    assert again.digest == bank.digest and again.styles.tobytes() == bank.styles.tobytes()
    mixed = make_bank([performed(), recorded()], Letters(), 8, 1, seed=0, progress=False)
    real = mixed.known[mixed.performed :]
    assert len(real) and not real.all(), "real motion goes in with what is known of it"
    assert (mixed.styles[mixed.performed :][~real] == 0).all()
    for corpora in ([recorded()], [performed(), flame()]):
        with pytest.raises(InputError, match="performed clips"):
            make_bank(corpora, Letters(), 4, 1, seed=0, progress=False)


def test_training_learns_styles_and_hides_texts_and_readings_at_random(bank, trained):
    model, log = trained
    assert log[-1]["style"] < 0.8 * log[0]["style"]
    losses = PriorLosses(bank, SETTINGS, model)
    reads, parses, fixed = losses.hidden(torch.arange(40).repeat(50), torch.Generator().manual_seed(0))
    assert float((~reads & ~parses).float().mean()) == pytest.approx(SETTINGS.dropped, abs=0.03)
    assert float((reads & ~parses).float().mean()) == pytest.approx(SETTINGS.text_alone, abs=0.04)
    assert float((~reads & parses).float().mean()) == pytest.approx(SETTINGS.parse_alone, abs=0.03)
    assert fixed.any() and not fixed.all(dim=1).any()


def test_a_training_that_is_stopped_goes_on_to_the_same_bytes_with_the_same_bank_alone(bank, trained, tmp_path):
    with pytest.raises(StoppedError):
        train_prior(bank, Letters(), SETTINGS, tmp_path, progress=False, on_log=stop_at(45))
    other = make_bank([performed()], Letters(), 8, 1, seed=1, progress=False)
    with pytest.raises(InputError, match="another"):
        train_prior(other, Letters(), SETTINGS, tmp_path, progress=False)
    again, _ = train_prior(bank, Letters(), SETTINGS, tmp_path, progress=False)
    assert fingerprint(again) == fingerprint(trained[0])


def test_a_saved_prior_draws_as_before_within_float16_and_says_what_it_was_trained_on(trained, tmp_path):
    path = tmp_path / "prior.safetensors"
    about = about_training([performed().folder.name], SETTINGS, {"performed": "CC0-1.0"}, "digest")
    priors.save_prior(trained[0], path, about)
    first, again = (priors.PriorSampler(each, Letters(), "") for each in (trained[0], priors.load_prior(path)))
    np.testing.assert_allclose(again.style("angry", 1, QUICK), first.style("angry", 1, QUICK), atol=0.05)
    assert (
        priors.read_prior_about(path)["digest" if "digest" in about else "corpora"]
        and again.prior.shape == first.prior.shape
    )


@pytest.mark.parametrize("damage", ["cut", "nan", "shape", "header", "talking", "missing"])
def test_a_damaged_file_is_an_error_that_names_it(prior_sampler, tmp_path, damage):
    path = tmp_path / "prior.safetensors"
    priors.save_prior(prior_sampler.prior, path)
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
        path = talking.SHIPPED if damage == "talking" else tmp_path / "nowhere.safetensors"
    with pytest.raises(InputError, match=path.name):
        priors.load_prior(path)
