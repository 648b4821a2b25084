"""The talking model: its networks, styles from motion, motion of any length, its file, and motion over a recording."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_corpora import StillEncoder
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_priors import TEXT, Letters, network, prior

from avi_lib.errors import AviError, InputError, OutputError
from avi_lib.evaluation.report import one_thread
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import generator as talking
from avi_lib.motion import prior as priors
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, MotionSpace
from avi_lib.motion.performer import IDLE_GROUPS, Performer
from avi_lib.settings import PerformerSettings, SampleSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody

DIM = 6


@pytest.fixture(autouse=True)
def alone():
    """Two threads that wait for each other on busy cores take many times as long."""
    with one_thread():
        yield


def made(space: MotionSpace = ARKIT, encoder: str = "still", features: int = DIM) -> talking.TalkingModel:
    """A small untrained model whose styles have a part in the motion: without this they start with none."""
    torch.manual_seed(0)
    model = talking.TalkingModel(talking.Shape(space.name, encoder, "f" * 64, features, 16, 16), dropout=0.1).eval()
    for block in model.generator.blocks:
        torch.nn.init.normal_(block.film.weight, std=0.05)
    model.generator.motion_mean.fill_(0.3)
    model.generator.motion_deviation.fill_(0.2)
    return model


@pytest.fixture(scope="module")
def model() -> talking.TalkingModel:
    return made()


@pytest.fixture
def weights(model, tmp_path) -> Path:
    talking.save_talking_model(model, tmp_path / "talking.safetensors", {"corpora": ["a"]})
    return tmp_path / "talking.safetensors"


def features(steps: int, seed: int = 1, width: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, width)).astype(np.float32)


def style(seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=talking.STYLE).astype(np.float32)


def motion(frames: int = 40, space: MotionSpace = ARKIT, fps: float = 25.0) -> MotionClip:
    return MotionClip(np.random.default_rng(3).uniform(0, 1, (frames, len(space))).astype(np.float32), fps, space)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


# The networks


@pytest.mark.parametrize("chunk", [7, 100])
def test_motion_in_chunks_is_the_motion_of_the_whole_and_no_longer_at_a_time(model, chunk, monkeypatch):
    spoken, one = torch.from_numpy(features(401)), torch.from_numpy(style())
    whole = talking.generate(model.generator, spoken, one, chunk=10_000)
    widest, forward = [], talking.TalkingGenerator.forward

    def noted(self, features, style, valid):
        widest.append(valid.shape[1])
        return forward(self, features, style, valid)

    monkeypatch.setattr(talking.TalkingGenerator, "forward", noted)
    parts = talking.generate(model.generator, spoken, one, chunk=chunk)
    assert whole.shape == (201, 55) and (whole - parts).abs().max() < 1e-5
    assert len(widest) == -(-201 // chunk) and max(widest) <= chunk + 2 * model.generator.reach


def test_a_frame_depends_on_its_reach_and_no_further(model):
    spoken, one, reach = torch.from_numpy(features(400)), torch.from_numpy(style()), model.generator.reach
    other = spoken.clone()
    other[:200] += 1.0
    moved = (
        (talking.generate(model.generator, spoken, one) - talking.generate(model.generator, other, one))
        .abs()
        .amax(dim=1)
    )
    assert moved[100 + reach :].max() == 0 < moved[100 + reach - 1]
    assert 0.5 <= reach / 25 <= 4


def test_what_is_padded_behind_a_clip_changes_nothing(model):
    spoken, two = noise(2, 120, DIM), noise(2, talking.STYLE)
    spoken[1, 82:] = 9.0
    alone = talking.generate(model.generator, spoken[1, :82], two[1])
    padded = model.generator(spoken, two, talking.valid_frames(torch.tensor([60, 41]), 60))
    assert (padded[1, :41] - alone).abs().max() < 1e-5
    assert padded[1, 41:].abs().max() == 0


def test_the_style_ignores_padding_and_missing_channels_which_are_not_the_same_as_resting_ones():
    torch.manual_seed(0)
    encoder = talking.StyleEncoder(channels=55, width=32).eval()
    shown = noise(2, 80, 55)
    present = torch.ones(2, 55, dtype=torch.bool)
    present[1, 10:20] = False
    valid = talking.valid_frames(torch.tensor([80, 50]), 80)
    changed = shown.clone()
    changed[1, 50:] = 5.0
    changed[1, :, 10:20] = -3.0
    expected = encoder(shown, present, valid).mean
    assert (expected - encoder(changed, present, valid).mean).abs().max() < 1e-5
    short = encoder(shown[1:, :50], present[1:], valid[1:, :50]).mean
    assert (expected[1] - short[0]).abs().max() < 1e-5
    still, all_valid = torch.zeros(1, 40, 55), torch.ones(1, 40, dtype=torch.bool)
    resting, missing = (encoder(still, there, all_valid).mean for there in (present[:1], ~present[:1]))
    assert (resting - missing).abs().max() > 1e-3


def test_divergence_is_zero_at_the_standard_normal_and_styles_are_drawn_by_seed():
    zero = torch.zeros(3, talking.STYLE)
    one = zero.clone()
    one[0, 0] = 1.0
    assert talking.StylePosterior(zero, zero).divergence()[0].item() == 0
    assert talking.StylePosterior(one, zero).divergence()[0].item() == pytest.approx(0.5)
    first, second = (talking.StylePosterior(zero, zero).sample(torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.std() == pytest.approx(1.0, abs=0.1)


# The model


@pytest.mark.parametrize("space", [ARKIT, FLAME], ids=lambda space: space.name)
def test_a_style_of_motion_makes_motion_of_either_space_within_its_limits(space):
    model = made(space)
    shown = model.style_of(motion(space=space))
    spoken = model.motion_of(20 * features(61), shown)
    assert shown.shape == (talking.STYLE,) and spoken.space is space
    assert (spoken.values.shape, spoken.fps) == ((31, len(space)), 25.0)
    assert np.array_equal(spoken.values, space.limited(spoken.values))
    assert spoken.values.std(axis=0).max() > 0.01


@pytest.mark.parametrize("steps", [1, 2, 3, 99])
def test_an_odd_number_of_steps_is_filled_up_with_the_last_one(model, steps):
    spoken = features(steps)
    filled = np.concatenate([spoken, spoken[-1:]])[: 2 * ((steps + 1) // 2)]
    made = model.motion_of(spoken, style())
    assert len(made) == (steps + 1) // 2
    assert (made.values == model.motion_of(filled, style()).values).all()


@pytest.mark.parametrize(
    ("clip", "got"),
    [(motion(space=FLAME), "FLAME at 25"), (motion(fps=30.0), "ARKIT at 30"), (motion(fps=24.99), "at 24.99")],
    ids=["space", "rate", "nearly the rate"],
)
def test_motion_of_another_space_or_rate_shows_no_style(model, clip, got):
    with pytest.raises(InputError, match=got):
        model.style_of(clip)


def test_unfit_features_are_refused_and_weights_that_are_too_large_or_have_no_folder_not_saved(model, tmp_path):
    spoilt, nan = features(10), np.full(talking.STYLE, np.nan, np.float32)
    spoilt[2, 1] = np.inf
    for spoken, one, match in (
        (features(10)[:, :4], style(), r"\(steps, 6\) of still.*got \(10, 4\)"),
        (features(0), style(), "speech features; got none"),
        (spoilt, style(), "finite features"),
        (features(10), nan, "a finite style"),
        (features(10), np.zeros((9, talking.STYLE), np.float32), "a style for each of 5 frames"),
    ):
        with pytest.raises(InputError, match=match):
            model.motion_of(spoken, one)
    large = made()
    large.generator.mean.fill_(1e5)
    with pytest.raises(InputError, match=r"others in generator\.mean"):
        talking.save_talking_model(large, tmp_path / "large.safetensors")
    assert not (tmp_path / "large.safetensors").exists()
    with pytest.raises(OutputError):
        talking.save_talking_model(model, tmp_path / "none" / "talking.safetensors")


def test_whitened_styles_are_white_and_move_the_face_as_before():
    model = made()
    torch.nn.init.normal_(model.generator.hold.weight, std=0.05)
    shown = np.random.default_rng(0).uniform(0, 1, (300, 20, len(ARKIT))).astype(np.float32)
    clips = [MotionClip(values * values[:1, :1], 25.0, ARKIT) for values in shown]
    styles = np.stack([model.style_of(clip) for clip in clips])
    spoken = model.motion_of(features(40), styles[3]).values
    talking.whiten_styles(model, styles)
    white = np.stack([model.style_of(clip) for clip in clips])
    np.testing.assert_allclose(model.motion_of(features(40), white[3]).values, spoken, atol=1e-4)
    covariance = np.cov(white.T)
    assert np.abs(white.mean(axis=0)).max() < 1e-3
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.05 and covariance.max() < 1.1


# Its file


def rewrite(path: Path, header: object, **tensors: torch.Tensor) -> Path:
    """The same file with other tensors and another header."""
    save_file(load_file(path) | tensors, path, {"avi": json.dumps(header)})
    return path


def header_of(path: Path) -> dict:
    length = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["avi"])


def test_a_saved_model_speaks_as_before_can_be_trained_on_and_says_what_it_was_trained_on(model, weights, tmp_path):
    loaded = talking.load_talking_model(weights)
    assert loaded.shape == model.shape and not loaded.training
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert loaded.style_of(motion()) == pytest.approx(model.style_of(motion()), abs=5e-3)
    before, after = (each.motion_of(features(100), style()).values for each in (model, loaded))
    assert after == pytest.approx(before, abs=5e-3)
    talking.save_talking_model(loaded, weights.with_name("again.safetensors"), {"corpora": ["a"]})
    assert weights.with_name("again.safetensors").read_bytes() == weights.read_bytes()
    valid = torch.ones(1, 30, dtype=torch.bool)
    loaded.generator(torch.randn(1, 60, DIM), torch.zeros(1, talking.STYLE), valid).square().mean().backward()
    assert loaded.generator.read.weight.grad.abs().max() > 0
    assert talking.read_talking_about(weights) == {"corpora": ["a"]}
    assert header_of(weights)["shape"]["encoder"] == "still"
    assert {value.dtype for value in load_file(weights).values()} == {torch.float16}
    talking.save_talking_model(model, tmp_path / "plain.safetensors")
    assert talking.read_talking_about(tmp_path / "plain.safetensors") == {}


def test_a_file_of_something_else_cut_short_or_none_is_an_error_that_names_it(weights, tmp_path):
    whole, path = weights.read_bytes(), tmp_path / "odd.safetensors"
    odd = [b"", b"not weights", pickle.dumps({"weights": [1.0]}), b"\xff" * 64]
    odd += [whole[: int(share * len(whole))] for share in (0.02, 0.3, 0.9, 0.9999)]
    for metadata in (None, {"avi": "[1]"}, {"avi": "null"}, {"avi": "{"}, {"avi": json.dumps({"clips": []})}):
        save_file({"a": torch.zeros(3)}, path, metadata)
        odd.append(path.read_bytes())
    for content in odd:
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name):
            talking.load_talking_model(path)
    for wrong in (path, tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=wrong.name):
            talking.read_talking_about(wrong)


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"generator.mean": torch.zeros(3)}, r"\(3,\) for generator\.mean, not \(6,\)"),
        ({"extra": torch.zeros(2)}, r"\(2,\) for extra, not nothing"),
        ({"generator.mean": torch.full((DIM,), torch.nan)}, r"not finite in generator\.mean"),
    ],
)
def test_a_tensor_of_another_shape_one_too_many_or_not_finite_is_named(weights, tensors, match):
    with pytest.raises(InputError, match=match):
        talking.load_talking_model(rewrite(weights, header_of(weights), **tensors))


@pytest.mark.parametrize(
    "change",
    [
        {"space": "MOCAP"}, {"width": 32}, {"width": "16"}, {"width": -4}, {"features": 8}, {"space": "FLAME"},
        {"colour": "blue"}, {"width": 10**6, "features": 10**6},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_the_tensors_do_not_bear_out_is_refused_whatever_size_it_asks_for(weights, change):
    header = header_of(weights)
    header["shape"] |= change
    with pytest.raises(InputError, match=r"talking\.safetensors"):
        talking.load_talking_model(rewrite(weights, header))
    with pytest.raises(InputError, match=r"talking\.safetensors: format 9, not 1 or 2"):
        talking.load_talking_model(rewrite(weights, header | {"format": 9}))


# Motion over a recording

ANGRY = Instruction.parse("She is furious.")
IDLE = sorted(channel for group in IDLE_GROUPS for channel in ARKIT.groups[group])
PHONES = (Phone("SIL", 0.0, 0.4), Phone("M", 0.4, 0.6), Phone("AA", 0.6, 1.1), Phone("SIL", 1.1, 2.02))
SPOKEN = features(101, width=2)


@pytest.fixture(scope="module")
def generator() -> talking.LearnedGenerator:
    return talking.LearnedGenerator(made(features=2), StillEncoder(), "made for the test")


def performer(**settings: object) -> Performer:
    return Performer(PHONES, prosody(np.zeros(32_320, np.float32)), 2.02, PerformerSettings(**settings))


def perform(generator: talking.LearnedGenerator, seed: int = 3, **switches: bool) -> np.ndarray:
    return generator.perform(SPOKEN, performer(**switches), ANGRY, seed).values


def test_the_same_seed_gives_the_same_bytes_and_another_other_idle_behaviour_and_hardly_other_speech(generator):
    again, other = perform(generator), perform(generator, seed=4)
    assert again.shape == (51, 55) and np.array_equal(again, ARKIT.limited(again))
    assert perform(generator).tobytes() == again.tobytes()
    apart = np.abs(other - again)
    assert apart[:, IDLE].max() > 0.05
    assert 0 < np.delete(apart, IDLE, axis=1).max() < 0.01  # by the performance that shows the style


def test_another_instruction_gives_other_motion_over_the_same_speech(generator):
    calm = generator.perform(SPOKEN, performer(), Instruction.parse("A person speaks calmly."), 3).values
    assert np.delete(np.abs(calm - perform(generator)), IDLE, axis=1).max() > 0.01


def test_another_frame_rate_and_weights_of_another_space_or_width_are_refused(generator, tmp_path: Path):
    for one in (None, style()):
        with pytest.raises(InputError, match="25 frames a second"):
            generator.perform(SPOKEN, performer(fps=30.0), ANGRY, 3, one)
    talking.save_talking_model(made(FLAME), tmp_path / "flame.safetensors")
    with pytest.raises(InputError, match=r"ARKIT.*flame\.safetensors of FLAME"):
        talking.load_generator(tmp_path / "flame.safetensors")
    talking.save_talking_model(made(encoder="whisper-tiny-en"), tmp_path / "narrow.safetensors")
    with pytest.raises(InputError, match=r"6 features.*384"):
        talking.load_generator(tmp_path / "narrow.safetensors")


# The prior: its network, its samplers, styles for any text, candidates, mixtures, edits, and its file

SAMPLERS = ("ddim", "dpm++", "ddpm")
TARGET = torch.linspace(-1, 1, 128)
QUICK = SampleSettings(steps=5)


def read(net: priors.PriorNetwork, *texts: str):
    states = [torch.from_numpy(each) for each in Letters().encode(texts)]
    mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
    padded = torch.full((*mask.shape, TEXT), 1e6)
    padded[mask] = torch.cat(states)
    return net.read(padded, mask)


# The network


def test_padding_has_no_part_in_anything():
    net, x, times = network(), priors.noise_of([0, 1]), torch.tensor([10, 900])
    together, alone = read(net, "angry", "a much longer sentence"), read(net, "angry")
    torch.testing.assert_close(net(x, times, together)[:1], net(x[:1], times[:1], alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.aligned[:1], alone.aligned, rtol=1e-4, atol=1e-5)


def test_sentence_time_and_noise_all_count_and_a_sentence_taken_away_leaves_nothing():
    net = network()
    cases = [(0, 500, "angry"), (0, 500, "happy"), (0, 20, "angry"), (1, 500, "angry")]
    base, *others = (net(priors.noise_of([seed]), torch.tensor([time]), read(net, text)) for seed, time, text in cases)
    assert all(float((base - other).abs().max()) > 0.01 for other in others)
    net, x, times = network(), priors.noise_of([0]), torch.tensor([500])
    gone = [net(x, times, net.drop_text(read(net, text), torch.tensor([True]))) for text in ("angry", "happy and calm")]
    torch.testing.assert_close(gone[0], gone[1], rtol=1e-5, atol=1e-6)
    kept = net(x, times, net.drop_text(read(net, "angry"), torch.tensor([False])))
    assert float((kept - gone[0]).abs().max()) > 0.01


def test_a_token_knows_its_neighbours_within_its_text_so_order_counts():
    net = network()
    states = torch.randn(1, 12, TEXT, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 12, dtype=torch.bool)
    plain, turned = net.read(states, mask), net.read(states.flip(1), mask)
    assert float((plain.pooled - turned.pooled).abs().max()) > 0.01
    other = states.clone()
    other[0, 0] = torch.linspace(-1, 1, TEXT)
    changed = (net.read(other, mask).values - plain.values).abs().amax(dim=(0, 1, 3))[1:] > 1e-6
    assert changed.tolist() == [place <= priors.REACH * priors.BINDINGS for place in range(12)]


# Samplers


class Stub(priors.PriorNetwork):
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
    kept = priors.scheduler_of().alphas_cumprod
    return Stub(lambda noisy, times, _: noisy * kept[times].sqrt() * 0.25 / (kept[times] * 0.25 + 1 - kept[times]))


def drawn(net, seeds, settings, texts=("angry",), **options):
    embedding = read(network(), *texts).at(torch.arange(len(seeds)) % len(texts))
    return priors.sample(net, [priors.Condition(embedding)], priors.noise_of(seeds), settings, seeds, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_certain_network_gives_its_style_at_every_step_count(sampler):
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
    assert bool(styles.isfinite().all()) and float(styles.abs().max()) <= 6.0


def test_what_is_kept_of_a_style_stays_and_the_rest_is_drawn():
    basis = torch.linalg.qr(torch.randn(128, 20, generator=torch.Generator().manual_seed(0)))[0]
    kept = priors.Kept(priors.noise_of([99])[0], basis @ basis.T)
    styles = drawn(network(), [1, 2], SampleSettings(steps=10), kept=kept)
    torch.testing.assert_close(styles @ basis, (kept.style @ basis).expand(2, -1), atol=1e-4, rtol=0)
    free = styles - styles @ basis @ basis.T
    assert float((free[0] - free[1]).abs().max()) > 0.01


def test_predicted_styles_are_shown_step_by_step():
    seen = []
    last = drawn(network(), [1], SampleSettings(steps=8), callback=lambda step, style: seen.append((step, style)))
    assert [step for step, _ in seen] == list(range(8))
    torch.testing.assert_close(seen[-1][1], last, atol=0.05, rtol=0)


def test_the_forward_process_ends_in_noise_which_is_that_of_the_seed_in_any_batch():
    scheduler = priors.scheduler_of()
    assert float(scheduler.alphas_cumprod[0]) > 0.999 and float(scheduler.alphas_cumprod[-1]) < 1e-6
    torch.testing.assert_close(priors.noise_of([5, 6])[1], priors.noise_of([6])[0], rtol=0, atol=0)
    seeds = {priors.candidate_seed(seed, number) for seed in (7, 8) for number in (*range(64), priors.STEP_NOISE)}
    assert len(seeds) == 130


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
    return priors.PriorSampler(prior(), Letters(), "for tests")


def test_the_nearest_of_several_candidates_is_taken_and_the_first_is_the_seeds_own(prior_sampler):
    chosen = prior_sampler.style("angry", 4, SampleSettings(steps=5, candidates=6))
    each = prior_sampler.styles("angry", [priors.candidate_seed(4, i) for i in range(6)], QUICK)
    normal = torch.nn.functional.normalize(prior_sampler.prior.normal(torch.from_numpy(each)), dim=1)
    near = (normal @ prior_sampler.read("angry").aligned[0]).numpy()
    np.testing.assert_allclose(chosen, each[near.argmax()], atol=1e-4)
    np.testing.assert_allclose(prior_sampler.style("angry", 4, QUICK), each[0], atol=1e-4)


def test_between_two_sentences_the_ends_are_the_sentences_and_unknown_or_broken_edits_are_refused(prior_sampler):
    for text, weights in (("angry", (1.0, 0.0)), ("calm", (0.0, 1.0))):
        end = prior_sampler.between(["angry", "calm"], weights, 3, QUICK)
        np.testing.assert_allclose(end, prior_sampler.style(text, 3, QUICK), atol=1e-4)
    style, model = np.zeros(128, np.float32), prior_sampler.prior
    with pytest.raises(InputError, match="nostrils"):
        prior_sampler.edit(style, ["nostrils"], "calm", 1, QUICK)
    with pytest.raises(InputError, match="finite style"):
        prior_sampler.edit(style + np.nan, ["brows"], "calm", 1, QUICK)
    for states in (np.full((3, 12), np.nan, np.float32), np.zeros((3, 7), np.float32)):
        with pytest.raises(InputError, match=r"finite states \(tokens, 12\) of letters"):
            model.read([states])


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


@settings(max_examples=30, deadline=None)
@example("")
@example("x" * 10_000)
@example("<img src=x onerror=alert(1)>")
@example("\x00\x07\u202e{0.__class__}%s$(rm)")
@given(st.text(max_size=300))
def test_any_text_has_a_finite_style(text):
    model = prior()
    style = priors.PriorSampler(model, Letters(), "for tests").style(text, 1, SampleSettings(steps=4, guidance=3.0))
    assert np.isfinite(style).all()
    assert float(model.normal(torch.from_numpy(style)[None]).abs().max()) <= 6.0 + 1e-3


# Its file


def test_a_saved_prior_draws_as_before_within_float16(prior_sampler, tmp_path):
    path = tmp_path / "prior.safetensors"
    priors.save_prior(prior_sampler.prior, path, {"corpora": ["a"]})
    again = priors.PriorSampler(priors.load_prior(path), Letters(), "for tests")
    np.testing.assert_allclose(again.style("angry", 1, QUICK), prior_sampler.style("angry", 1, QUICK), atol=0.05)
    assert priors.read_prior_about(path) == {"corpora": ["a"]}
    assert again.prior.shape == prior_sampler.prior.shape


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
