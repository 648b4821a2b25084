"""Errors on a head's mesh: the quadratic form is what its vertices say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avi_lib.face.head import Head, load_head
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, FLAME
from avi_lib.training.generator import (
    FACE_REGIONS,
    FAINT,
    MM,
    MotionError,
    motion_error,
    with_channels,
)

GAZE = list(ARKIT.groups["gaze"])


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="module")
def error() -> MotionError:
    return motion_error(ARKIT)


def changes(frames: int = 6) -> np.ndarray:
    """Changes of every weight but the gaze's, whose eyeballs turn and are not displaced straight."""
    values = np.random.default_rng(0).normal(0, 0.3, (frames, len(ARKIT))).astype(np.float32)
    values[:, GAZE] = 0.0
    return values


@pytest.mark.parametrize("region", FACE_REGIONS)
def test_the_form_is_the_mean_squared_displacement_of_the_regions_vertices(head, error, region):
    change = changes()
    weights = change.copy()
    weights[:, list(ARKIT.groups["head"])] = 0.0
    moved_mm = MM * (head.deform(weights) - head.deform(np.zeros((1, len(ARKIT)), np.float32)))[:, head.regions[region]]
    expected = np.square(moved_mm.astype(np.float64)).sum(axis=2).mean(axis=1)
    expected += FAINT * np.square(weights[:, : len(ARKIT_BLENDSHAPES)]).sum(axis=1)
    assert error.squared(torch.from_numpy(change))[region].numpy() == pytest.approx(expected, rel=2e-3)


def test_the_gap_of_weights_is_that_of_the_head_in_millimetres(head, error):
    values = changes()
    assert error.gap is not None
    gap = torch.from_numpy(values) @ error.gap
    assert gap.numpy() == pytest.approx(MM * head.lip_gap(values), abs=1e-3)
    assert np.abs(gap.numpy()).max() > 1


def test_the_heads_rotation_moves_no_region_and_no_weight_turns_the_head(error):
    turned = torch.zeros(1, len(ARKIT))
    turned[0, list(ARKIT.groups["head"])] = torch.tensor([0.1, 0.2, 0.3])
    squared = {region: value.item() for region, value in error.squared(turned).items()}
    assert squared["head"] == pytest.approx(0.14)
    assert {squared[region] for region in FACE_REGIONS} == {0.0}
    smiling = torch.zeros(1, len(ARKIT))
    smiling[0, : len(ARKIT_BLENDSHAPES)] = 1.0
    assert error.squared(smiling)["head"].item() == 0


def test_every_channel_counts_in_every_region_a_little_and_a_brow_counts_where_it_is(error):
    alone = error.squared(torch.eye(len(ARKIT))[: len(ARKIT_BLENDSHAPES)])
    assert all(alone[region].min() > 0.99 * FAINT for region in FACE_REGIONS)
    brow, jaw = ARKIT.index("browInnerUp"), ARKIT.index("jawOpen")
    assert alone["upper_face"][brow] > 20 * alone["lips"][brow]
    assert alone["lips"][jaw] > 20 * alone["upper_face"][jaw]


def test_any_number_of_rows_is_measured_and_gradients_come_back(error):
    change = torch.full((2, 3, len(ARKIT)), 0.1, requires_grad=True)
    squared = error.squared(change)
    assert squared["lips"].shape == (2, 3)
    sum(value.sum() for value in squared.values()).backward()
    assert change.grad.abs().amin(dim=(0, 1)).min() > 0


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
