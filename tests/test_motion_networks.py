"""The style encoder and the talking generator: lengths, masks, chunks, styles."""

from __future__ import annotations

import pytest
import torch

from avi_lib.errors import InputError
from avi_lib.motion.generator import TalkingGenerator, generate
from avi_lib.motion.style import STYLE, Style, StyleEncoder, valid_frames


@pytest.fixture(scope="module")
def generator() -> TalkingGenerator:
    torch.manual_seed(0)
    network = TalkingGenerator(features=12, channels=55, width=32).eval()
    for block in network.blocks:
        torch.nn.init.normal_(block.film.weight, std=0.05)
    return network


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    torch.manual_seed(0)
    return StyleEncoder(channels=55, width=32).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


@pytest.mark.parametrize("chunk", [7, 100, 1000])
def test_motion_in_chunks_is_the_motion_of_the_whole(generator, chunk):
    features, style = noise(401, 12), noise(STYLE)
    whole = generate(generator, features, style, chunk=10_000)
    parts = generate(generator, features, style, chunk=chunk)
    assert whole.shape == (201, 55)
    assert (whole - parts).abs().max() < 1e-5


def test_a_frame_depends_on_its_reach_and_no_further(generator):
    features, style = noise(400, 12), noise(STYLE)
    other = features.clone()
    other[:200] += 1.0
    moved = (generate(generator, features, style) - generate(generator, other, style)).abs().amax(dim=1)
    assert moved[100 + generator.reach :].max() == 0
    assert moved[100 + generator.reach - 1] > 0
    assert 0.5 <= generator.reach / 25 <= 4


def test_what_is_padded_behind_a_clip_changes_nothing(generator):
    features, style = noise(2, 120, 12), noise(2, STYLE)
    valid = valid_frames(torch.tensor([60, 41]), 60)
    filled = features.clone()
    filled[1, 82:] = 9.0
    alone = generate(generator, features[1, :82], style[1])
    assert (generator(filled, style, valid)[1, :41] - alone).abs().max() < 1e-5
    assert generator(filled, style, valid)[1, 41:].abs().max() == 0


def test_another_style_gives_other_motion(generator):
    features = noise(100, 12)
    assert (
        generate(generator, features, noise(STYLE)) - generate(generator, features, -noise(STYLE))
    ).abs().max() > 1e-3


def test_no_features_are_an_input_error(generator):
    with pytest.raises(InputError, match="got none"):
        generate(generator, torch.zeros(0, 12), noise(STYLE))


def test_the_style_ignores_padding_and_missing_channels(encoder):
    motion = noise(2, 80, 55)
    present = torch.ones(2, 55, dtype=torch.bool)
    present[1, 10:20] = False
    valid = valid_frames(torch.tensor([80, 50]), 80)
    changed = motion.clone()
    changed[1, 50:] = 5.0
    changed[1, :, 10:20] = -3.0
    assert (encoder(motion, present, valid).mean - encoder(changed, present, valid).mean).abs().max() < 1e-5
    short = encoder(motion[1:, :50], present[1:], valid[1:, :50]).mean
    assert (encoder(motion, present, valid).mean[1] - short[0]).abs().max() < 1e-5


def test_a_missing_channel_is_not_the_same_as_one_that_rests(encoder):
    motion, valid = torch.zeros(1, 40, 55), torch.ones(1, 40, dtype=torch.bool)
    present, absent = torch.ones(1, 55, dtype=torch.bool), torch.zeros(1, 55, dtype=torch.bool)
    assert (encoder(motion, present, valid).mean - encoder(motion, absent, valid).mean).abs().max() > 1e-3


def test_divergence_is_zero_at_the_standard_normal_and_half_a_nat_at_distance_one():
    zero = torch.zeros(1, STYLE)
    one = zero.clone()
    one[0, 0] = 1.0
    assert Style(zero, zero).divergence().item() == 0
    assert Style(one, zero).divergence().item() == pytest.approx(0.5)


def test_styles_are_drawn_from_a_generator_of_their_own():
    style = Style(torch.zeros(3, STYLE), torch.zeros(3, STYLE))
    first, second = (style.sample(torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.std() == pytest.approx(1.0, abs=0.1)
