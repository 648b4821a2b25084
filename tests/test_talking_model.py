"""The talking model: styles from motion, motion of any length, and its file."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from avi_lib.errors import InputError, OutputError
from avi_lib.evaluation.report import one_thread
from avi_lib.motion.clip import ARKIT, FLAME, MotionClip, MotionSpace
from avi_lib.motion.generator import (
    Shape,
    TalkingGenerator,
    TalkingModel,
    generate,
    load_talking_model,
    read_talking_about,
    save_talking_model,
    whiten_styles,
)
from avi_lib.motion.style import STYLE

DIM = 6


@pytest.fixture(autouse=True)
def alone():
    """Two threads that wait for each other on busy cores take many times as long."""
    with one_thread():
        yield


def made(space: MotionSpace) -> TalkingModel:
    torch.manual_seed(0)
    model = TalkingModel(Shape(space.name, "still", "f" * 64, DIM, 16, 16), dropout=0.1).eval()
    for block in model.generator.blocks:
        torch.nn.init.normal_(block.film.weight, std=0.05)
    model.generator.motion_mean.fill_(0.3)
    model.generator.motion_deviation.fill_(0.2)
    return model


@pytest.fixture(scope="module")
def model() -> TalkingModel:
    return made(ARKIT)


@pytest.fixture
def weights(model, tmp_path) -> Path:
    save_talking_model(model, tmp_path / "talking.safetensors", {"corpora": ["a"]})
    return tmp_path / "talking.safetensors"


def features(steps: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, DIM)).astype(np.float32)


def style(seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=STYLE).astype(np.float32)


def motion(frames: int = 40, space: MotionSpace = ARKIT, fps: float = 25.0) -> MotionClip:
    return MotionClip(np.random.default_rng(3).uniform(0, 1, (frames, len(space))).astype(np.float32), fps, space)


def rewrite(path: Path, header: object, **tensors: torch.Tensor) -> Path:
    """The same file with other tensors and another header."""
    save_file(load_file(path) | tensors, path, {"avi": json.dumps(header)})
    return path


def header_of(path: Path) -> dict:
    length = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["avi"])


@pytest.mark.parametrize("space", [ARKIT, FLAME], ids=lambda space: space.name)
def test_a_style_of_motion_makes_motion_of_either_space_within_its_limits(space):
    model = made(space)
    shown = model.style_of(motion(space=space))
    spoken = model.motion_of(20 * features(61), shown)
    low, high = np.array(space.limits, np.float32).T
    assert shown.shape == (STYLE,)
    assert spoken.space is space
    assert (spoken.values.shape, spoken.fps) == ((31, len(space)), 25.0)
    assert (spoken.values >= low).all()
    assert (spoken.values <= high).all()
    assert spoken.values.std(axis=0).max() > 0.01


def test_a_saved_model_speaks_as_before_within_float16(model, weights):
    loaded = load_talking_model(weights)
    assert loaded.shape == model.shape
    assert not loaded.training
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    assert loaded.style_of(motion()) == pytest.approx(model.style_of(motion()), abs=5e-3)
    before, after = (each.motion_of(features(100), style()).values for each in (model, loaded))
    assert after == pytest.approx(before, abs=5e-3)
    save_talking_model(loaded, weights.with_name("again.safetensors"), {"corpora": ["a"]})
    assert weights.with_name("again.safetensors").read_bytes() == weights.read_bytes()


def test_a_loaded_model_can_be_trained_on(weights):
    loaded = load_talking_model(weights)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    valid = torch.ones(1, 30, dtype=torch.bool)
    loaded.generator(torch.randn(1, 60, DIM), torch.zeros(1, STYLE), valid).square().mean().backward()
    assert loaded.generator.read.weight.grad.abs().max() > 0


def test_the_file_says_what_it_was_trained_on(weights, model, tmp_path):
    assert read_talking_about(weights) == {"corpora": ["a"]}
    assert header_of(weights)["shape"]["encoder"] == "still"
    assert {value.dtype for value in load_file(weights).values()} == {torch.float16}
    save_talking_model(model, tmp_path / "plain.safetensors")
    assert read_talking_about(tmp_path / "plain.safetensors") == {}


def test_a_minute_in_chunks_is_the_minute_as_a_whole(model):
    heard, in_style = torch.from_numpy(features(3000)), torch.from_numpy(style())
    whole = generate(model.generator, heard, in_style, chunk=10_000)
    parts = generate(model.generator, heard, in_style, chunk=100)
    assert whole.shape == (1500, len(ARKIT))
    assert (whole - parts).abs().max() < 1e-4  # asked for: 1e-3 away from the ends
    assert model.motion_of(features(3000), style()).values == pytest.approx(ARKIT.limited(whole.numpy()), abs=1e-4)


def test_no_more_frames_are_computed_at_a_time_however_long_the_recording(model, monkeypatch):
    widest, forward = [], TalkingGenerator.forward

    def noted(self, features, style, valid):
        widest.append(valid.shape[1])
        return forward(self, features, style, valid)

    monkeypatch.setattr(TalkingGenerator, "forward", noted)
    generate(model.generator, torch.from_numpy(features(1000)), torch.from_numpy(style()), chunk=50)
    assert len(widest) == 10
    assert max(widest) == 50 + 2 * model.generator.reach


@pytest.mark.parametrize("steps", [1, 2, 3, 99])
def test_an_odd_number_of_steps_is_filled_up_with_the_last_one(model, steps):
    heard = features(steps)
    filled = np.concatenate([heard, heard[-1:]])[: 2 * ((steps + 1) // 2)]
    made = model.motion_of(heard, style())
    assert len(made) == (steps + 1) // 2
    assert (made.values == model.motion_of(filled, style()).values).all()


def test_between_two_styles_lie_finite_motions_that_change_step_by_step(model):
    here, there = model.style_of(motion()), style()
    way = [
        model.motion_of(features(60), ((1 - share) * here + share * there).astype(np.float32)).values
        for share in np.linspace(0, 1, 9)
    ]
    steps = [np.abs(after - before).max() for before, after in pairwise(way)]
    assert np.isfinite(way).all()
    assert max(steps) < np.abs(way[-1] - way[0]).max() < 9 * max(steps)


def test_channels_that_are_not_present_are_not_looked_at(model):
    clip, present = motion(), np.ones(len(ARKIT), bool)
    present[list(ARKIT.groups["brows"])] = False
    other = clip.values.copy()
    other[:, ~present] = 0.9
    changed = MotionClip(other, 25.0, ARKIT)
    assert (model.style_of(clip, present) == model.style_of(changed, present)).all()
    assert np.abs(model.style_of(clip) - model.style_of(changed)).max() > 1e-4


def test_the_same_motion_shows_the_same_style_at_any_batch_and_any_time(model):
    torch.manual_seed(5)
    first = model.style_of(motion())
    assert (first == model.style_of(motion())).all()
    assert model.style_of(motion(frames=1)).shape == (STYLE,)
    assert np.isfinite(model.style_of(motion(frames=3000))).all()


@pytest.mark.parametrize(
    ("clip", "got"),
    [(motion(space=FLAME), "FLAME at 25"), (motion(fps=30.0), "ARKIT at 30"), (motion(fps=24.99), "at 24.99")],
    ids=["space", "rate", "nearly the rate"],
)
def test_motion_of_another_space_or_rate_shows_no_style(model, clip, got):
    with pytest.raises(InputError, match=got):
        model.style_of(clip)


def test_features_of_another_width_empty_or_not_finite_are_refused(model):
    spoilt = features(10)
    spoilt[2, 1] = np.inf
    for heard, match in (
        (features(10)[:, :4], r"\(steps, 6\) of still.*got \(10, 4\)"),
        (features(0), "speech features; got none"),
        (spoilt, "finite features"),
    ):
        with pytest.raises(InputError, match=match):
            model.motion_of(heard, style())
    with pytest.raises(InputError, match="a finite style"):
        model.motion_of(features(10), np.full(STYLE, np.nan, np.float32))


def test_arrays_that_are_read_only_half_precision_or_run_backwards_are_taken(model):
    heard, in_style, clip = features(40), style(), motion()
    expected = model.motion_of(heard[::-1].copy(), in_style).values
    heard.flags.writeable = in_style.flags.writeable = False
    assert (model.motion_of(heard[::-1], in_style).values == expected).all()
    halved = model.motion_of(heard.astype(np.float16), in_style.astype(np.float64)).values
    assert halved == pytest.approx(model.motion_of(heard, in_style).values, abs=0.01)
    backwards = MotionClip(clip.values[::-1], 25.0, ARKIT)
    backwards.values.flags.writeable = False
    assert model.style_of(backwards).shape == (STYLE,)


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"weights": [1.0]}), b"\xff" * 64])
def test_a_file_of_something_else_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    for read in (load_talking_model, read_talking_about):
        with pytest.raises(InputError, match=r"odd\.safetensors"):
            read(path)


def test_no_file_and_a_folder_are_errors_that_name_them(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        for read in (load_talking_model, read_talking_about):
            with pytest.raises(InputError, match=path.name):
                read(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_an_error_that_names_it(weights, share):
    weights.write_bytes(weights.read_bytes()[: int(share * weights.stat().st_size)])
    with pytest.raises(InputError, match=r"talking\.safetensors"):
        load_talking_model(weights)


def test_tensors_without_our_header_or_with_that_of_a_shard_are_something_else(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"avi": "[1]"}, {"avi": "null"}, {"avi": "{"}, {"avi": json.dumps({"clips": []})}):
        save_file({"a": torch.zeros(3)}, path, metadata)
        for read in (load_talking_model, read_talking_about):
            with pytest.raises(InputError, match=r"other\.safetensors"):
                read(path)


def test_another_format_is_named(weights):
    header = header_of(weights) | {"format": 9}
    with pytest.raises(InputError, match=r"talking\.safetensors: format 9, not 1 or 2"):
        load_talking_model(rewrite(weights, header))


def test_a_tensor_of_another_shape_is_named_and_so_is_one_too_many(weights):
    header = header_of(weights)
    with pytest.raises(InputError, match=r"\(3,\) for generator\.mean, not \(6,\)"):
        load_talking_model(rewrite(weights, header, **{"generator.mean": torch.zeros(3)}))
    rewrite(weights, header, **{"generator.mean": torch.zeros(DIM), "extra": torch.zeros(2)})
    with pytest.raises(InputError, match=r"\(2,\) for extra, not nothing"):
        load_talking_model(weights)


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
        load_talking_model(rewrite(weights, header))


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(model, weights, tmp_path):
    header = header_of(weights)
    with pytest.raises(InputError, match=r"not finite in generator\.mean"):
        load_talking_model(rewrite(weights, header, **{"generator.mean": torch.full((DIM,), torch.nan)}))
    large = made(ARKIT)
    large.generator.mean.fill_(1e5)
    with pytest.raises(InputError, match=r"others in generator\.mean"):
        save_talking_model(large, tmp_path / "large.safetensors")
    assert not (tmp_path / "large.safetensors").exists()


def test_weights_are_not_written_where_no_folder_is(model, tmp_path):
    with pytest.raises(OutputError):
        save_talking_model(model, tmp_path / "none" / "talking.safetensors")


def test_whitened_styles_are_white_and_move_the_face_as_before():
    model = made(ARKIT)
    torch.nn.init.normal_(model.generator.hold.weight, std=0.05)
    shown = np.random.default_rng(0).uniform(0, 1, (300, 20, len(ARKIT))).astype(np.float32)
    clips = [MotionClip(values * values[:1, :1], 25.0, ARKIT) for values in shown]
    before, styles = (np.stack([model.style_of(clip) for clip in clips]) for _ in range(2))
    spoken = model.motion_of(features(40), before[3]).values
    whiten_styles(model, styles)
    white = np.stack([model.style_of(clip) for clip in clips])
    np.testing.assert_allclose(model.motion_of(features(40), white[3]).values, spoken, atol=1e-4)
    covariance = np.cov(white.T)
    assert np.abs(white.mean(axis=0)).max() < 1e-3
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.05 and covariance.max() < 1.1
