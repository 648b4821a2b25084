"""Losses of generated motion: the quadratic form of a mesh, what they are measured in, what has no part in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME
from avi_lib.motion.generator import valid_frames
from avi_lib.training.generator import (
    CLOSED_MM,
    FACE_REGIONS,
    FAINT,
    MM,
    MotionError,
    Scale,
    content_loss,
    motion_error,
    motion_losses,
    with_channels,
)

JAW = ARKIT.index("jawOpen")


@pytest.fixture(scope="module")
def error() -> MotionError:
    return motion_error(ARKIT)


def clips(count: int = 3, frames: int = 40, channels: int = len(ARKIT)) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion that wanders between 0.3 and 0.7, and which frames of it are there."""
    times = torch.arange(frames)[:, None] / 7
    phases = torch.rand(count, 1, channels, generator=torch.Generator().manual_seed(3)) * 6
    valid = valid_frames(torch.tensor([frames, *[frames - 10] * (count - 1)]), frames)
    return (0.5 + 0.2 * torch.sin(times + phases)) * valid[..., None], valid


def everywhere(motion: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(motion), motion.shape[2], dtype=torch.bool)


def values(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize("space", [ARKIT, FLAME], ids=lambda space: space.name)
def test_the_truth_costs_nothing_and_a_guess_of_the_mean_costs_one(space, error):
    error = error if space is ARKIT else motion_error(FLAME)
    motion, valid = clips(channels=len(space))
    present = everywhere(motion)
    present[1, 5:15] = False
    motion = motion * present[:, None]
    scale = Scale.of(error, motion, present, valid)
    exact = values(motion_losses(error, scale, motion, motion, present, valid, closed=1.0))
    count = (valid[..., None] & present[:, None]).sum(dim=(0, 1))
    mean = (motion.sum(dim=(0, 1)) / count).expand_as(motion)
    guessed = values(motion_losses(error, scale, mean, motion, present, valid, closed=1.0))
    assert exact.keys() == {*error.factors, "velocity"} | ({"gap"} if space is ARKIT else set())
    assert set(exact.values()) == {0.0}
    assert guessed == pytest.approx(dict.fromkeys(guessed, 1.0), rel=1e-4)


def test_missing_channels_padding_and_a_constant_errors_velocity_have_no_part(error):
    motion, valid = clips()
    present = everywhere(motion)
    present[0, JAW] = False
    scale = Scale.of(error, motion, present, valid)
    guess = (motion + 0.1) * valid[..., None]  # a jump at the end of a clip
    before = values(motion_losses(error, scale, guess, motion, present, valid, closed=3.0))
    assert before["velocity"] < 1e-6
    guess[0, :, JAW], guess[1:, 30:] = 9.0, 9.0
    assert values(motion_losses(error, scale, guess, motion, present, valid, closed=3.0)) == pytest.approx(before)
    dirty = motion.clone()
    dirty[1:, 30:] = 9.0
    padded = Scale.of(error, dirty, present, valid)
    assert padded.position == pytest.approx(scale.position, rel=1e-5)
    assert padded.velocity == pytest.approx(scale.velocity, rel=1e-5)
    assert padded.gap == pytest.approx(scale.gap, rel=1e-5)
    still = torch.zeros_like(motion)
    rest = Scale.of(error, still, present, valid)
    assert {*rest.position.values(), *rest.velocity.values(), rest.gap} == {1e-6}, "a region at rest has a scale, too"


def test_frames_with_closed_lips_count_as_often_as_asked_for_the_gap_alone(error):
    shut, apart = torch.zeros(1, 20, len(ARKIT)), torch.zeros(1, 20, len(ARKIT))
    apart[..., JAW] = 0.5
    assert (apart @ error.gap).min() > CLOSED_MM
    valid = torch.ones(1, 20, dtype=torch.bool)
    scale = Scale(dict.fromkeys(error.factors, 1.0), dict.fromkeys(error.factors, 1.0), 1.0)
    wrong = torch.zeros(len(ARKIT))
    wrong[JAW] = 0.1
    costs = {
        (name, closed): motion_losses(error, scale, true + wrong, true, everywhere(true), valid, closed)
        for name, true in (("shut", shut), ("apart", apart))
        for closed in (1.0, 3.0)
    }
    assert costs["apart", 3.0]["gap"].item() == pytest.approx(costs["shut", 1.0]["gap"].item(), rel=1e-4)
    assert costs["shut", 3.0]["gap"].item() == pytest.approx(3 * costs["shut", 1.0]["gap"].item(), rel=1e-4)
    assert costs["shut", 3.0]["lips"].item() == costs["shut", 1.0]["lips"].item()


def test_losses_are_float32_under_autocast_and_those_without_it(error):
    motion, valid = clips()
    present = everywhere(motion)
    scale = Scale.of(error, motion, present, valid)
    guess = (motion + 0.05 * torch.randn(motion.shape, generator=torch.Generator().manual_seed(1))).bfloat16()
    plain = values(motion_losses(error, scale, guess, motion, present, valid, 3.0))
    with torch.autocast("cpu", torch.bfloat16):
        cast = motion_losses(error, scale, guess, motion, present, valid, 3.0)
        kept = content_loss(error, guess, motion, valid)
    assert {loss.dtype for loss in (*cast.values(), kept)} == {torch.float32}
    assert values(cast) == plain
    assert kept.item() == content_loss(error, guess, motion, valid).item()


def test_content_is_kept_by_a_scaled_gap_and_lost_by_an_inverted_one(error):
    motion, valid = torch.zeros(2, 40, len(ARKIT)), valid_frames(torch.tensor([40, 25]), 40)
    motion[..., JAW] = 0.3 + 0.2 * torch.sin(torch.arange(40) / 3)
    other = motion.clone()
    other[1, 25:] = 7.0
    mean = motion[..., JAW].mean()
    for factor, expected in ((0.5, 0.0), (2.0, 0.0), (-1.0, 2.0)):
        other[0, :, JAW] = mean + factor * (motion[0, :, JAW] - mean)
        other[1, :25, JAW] = mean + factor * (motion[1, :25, JAW] - mean)
        assert content_loss(error, other, motion, valid).item() == pytest.approx(expected, abs=1e-3)
    assert 0.2 < content_loss(error, motion.roll(10, dims=1), motion, valid).item() < 2
    still = torch.zeros_like(motion, requires_grad=True)
    lost = content_loss(error, still, motion, valid)
    assert lost.item() == pytest.approx(1.0)
    lost.backward()
    assert still.grad.isfinite().all()
    flame, there = clips(channels=len(FLAME))
    assert content_loss(motion_error(FLAME), -flame, flame, there).item() == 0, "a space without a mesh"


GAZE = list(ARKIT.groups["gaze"])


def changes(frames: int = 6) -> np.ndarray:
    """Changes of every weight but the gaze's, whose eyeballs turn and are not displaced straight."""
    values = np.random.default_rng(0).normal(0, 0.3, (frames, len(ARKIT))).astype(np.float32)
    values[:, GAZE] = 0.0
    return values


def test_the_form_is_the_mean_squared_displacement_of_each_regions_vertices_and_the_gap_the_heads(head, error):
    change = changes()
    weights = change.copy()
    weights[:, list(ARKIT.groups["head"])] = 0.0
    moved_mm = MM * (head.deform(weights) - head.deform(np.zeros((1, len(ARKIT)), np.float32))).astype(np.float64)
    faint = FAINT * np.square(weights[:, : len(ARKIT_BLENDSHAPES)]).sum(axis=1)
    squared = error.squared(torch.from_numpy(change))
    for region in FACE_REGIONS:
        expected = np.square(moved_mm[:, head.regions[region]]).sum(axis=2).mean(axis=1) + faint
        assert squared[region].numpy() == pytest.approx(expected, rel=2e-3), region
    assert error.gap is not None
    gap = (torch.from_numpy(change) @ error.gap).numpy()
    assert gap == pytest.approx(MM * head.lip_gap(change), abs=1e-3) and np.abs(gap).max() > 1


def test_a_channel_counts_where_it_moves_the_face_and_a_little_everywhere(error):
    alone = error.squared(torch.eye(len(ARKIT)))
    shapes, turns = slice(len(ARKIT_BLENDSHAPES)), list(ARKIT.groups["head"])
    for region in FACE_REGIONS:
        assert alone[region][shapes].min() > 0.99 * FAINT and not alone[region][turns].any()
    assert alone["head"][turns].min() > 0 and not alone["head"][shapes].any()
    brow = ARKIT.index("browInnerUp")
    assert alone["upper_face"][brow] > 20 * alone["lips"][brow]
    assert alone["lips"][JAW] > 20 * alone["upper_face"][JAW]


def test_flames_errors_are_sums_of_squared_coefficients():
    error = motion_error(FLAME)
    change = torch.arange(len(FLAME), dtype=torch.float32)[None]
    squared = {region: value.item() for region, value in error.squared(change).items()}
    assert error.space is FLAME
    assert error.gap is None
    assert squared == {
        "face": sum(i * i for i in range(50)),
        "lips": 50**2 + 51**2 + 52**2,
        "head": 53**2 + 54**2 + 55**2,
    }


def test_every_channel_can_be_counted_in_units_of_its_deviation_beside_the_regions(error):
    deviation = torch.linspace(0.05, 0.5, len(ARKIT))
    wider = with_channels(error, deviation)
    assert wider.factors.keys() == error.factors.keys() | {"channels"}
    squared = wider.squared(torch.diag(deviation))
    assert squared["channels"].numpy() == pytest.approx(np.ones(len(ARKIT)), rel=1e-5)
    assert torch.equal(squared["lips"], error.squared(torch.diag(deviation))["lips"])
    assert "channels" not in error.factors
