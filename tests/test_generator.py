"""The talking model: its networks, styles from motion, motion of any length, its file, and motion over a recording."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_corpora import StillEncoder
from safetensors.torch import load_file, save_file

from avi_lib.errors import InputError, OutputError
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion import generator as talking
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, MotionSpace
from avi_lib.motion.flow import DRAWN
from avi_lib.motion.performer import Performer
from avi_lib.settings import PerformerSettings
from avi_lib.speech.phones import Phone
from avi_lib.speech.prosody import prosody

DIM = 6


def made(space: MotionSpace = ARKIT, encoder: str = "still", features: int = DIM) -> talking.TalkingModel:
    """A small untrained model whose styles have a part in the motion: without this they start with none."""
    torch.manual_seed(0)
    model = talking.TalkingModel(
        talking.Shape(space.name, encoder, "f" * 64, features, 16, 16 * (space is ARKIT)), dropout=0.1
    ).eval()
    for block in model.generator.blocks:
        torch.nn.init.normal_(block.film.weight, std=0.05)
    if model.flow is not None:
        torch.nn.init.normal_(model.flow.say.weight, std=0.05)
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
    assert moved[100 + reach :].max() == 0 < moved[100 + reach - 3 :].max()
    assert 0.5 <= reach / 25 <= 4


def test_what_is_padded_behind_a_clip_changes_nothing(model):
    spoken, two = noise(2, 120, DIM), noise(2, talking.STYLE)
    spoken[1, 82:] = 9.0
    alone = talking.generate(model.generator, spoken[1, :82], two[1])
    padded = model.generator(spoken, two, talking.valid_frames(torch.tensor([60, 41]), 60))
    assert (padded[1, :41] - alone).abs().max() < 1e-5
    assert padded[1, 41:].abs().max() == 0


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
    with pytest.raises(InputError, match=r"talking\.safetensors: format 9, not 3"):
        talking.load_talking_model(rewrite(weights, header | {"format": 9}))


# Motion over a recording

ANGRY = Instruction.parse("She is furious.")
PHONES = (Phone("SIL", 0.0, 0.4), Phone("M", 0.4, 0.6), Phone("AA", 0.6, 1.1), Phone("SIL", 1.1, 2.02))
SPOKEN = features(101, width=2)


@pytest.fixture(scope="module")
def generator() -> talking.LearnedGenerator:
    return talking.LearnedGenerator(made(features=2), StillEncoder(), "made for the test")


def performer(**settings: object) -> Performer:
    return Performer(PHONES, prosody(np.zeros(32_320, np.float32)), 2.02, PerformerSettings(**settings))


def perform(generator: talking.LearnedGenerator, seed: int = 3, **switches: bool) -> np.ndarray:
    return generator.perform(SPOKEN, performer(**switches), ANGRY, seed).values


def test_the_same_seed_gives_the_same_bytes_and_another_another_face_with_the_same_lips(generator):
    again, other = (generator.perform(SPOKEN, performer(), ANGRY, seed, style()).values for seed in (3, 4))
    assert again.shape == (51, 55) and np.array_equal(again, ARKIT.limited(again))
    assert perform(generator).tobytes() == perform(generator).tobytes()
    apart = np.abs(other - again)
    assert all(apart[:, list(ARKIT.groups[group])].max() > 0.05 for group in ("brows", "lids", "gaze", "head"))
    assert np.delete(apart, DRAWN, axis=1).max() == 0


def test_what_the_performer_switches_off_is_held_at_the_level_of_the_style(generator):
    held = style().clip(0.0, 0.5)
    still = generator.perform(SPOKEN, performer(blinks=False, sway=False), ANGRY, 3, held).values
    for group in ("lids", "head"):
        channels = list(ARKIT.groups[group])
        np.testing.assert_allclose(still[:, channels], np.broadcast_to(held[channels], (51, len(channels))), atol=1e-6)
    assert still[:, list(ARKIT.groups["gaze"])].std(axis=0).max() > 0.01


def test_another_instruction_gives_other_motion_over_the_same_speech(generator):
    calm = generator.perform(SPOKEN, performer(), Instruction.parse("A person speaks calmly."), 3).values
    assert np.delete(np.abs(calm - perform(generator)), DRAWN, axis=1).max() > 0.01


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
