"""The autoregressive peer, and the figures of speed: what depends on what, units, threads."""

from __future__ import annotations

import math
import time

import pytest
import torch

from avi_lib.errors import InputError
from avi_lib.evaluation.autoregressive import (
    HEADS,
    PERIOD,
    AutoregressiveDecoder,
    aligned_mask,
    causal_bias,
    decode,
    decode_cached,
    positions,
)
from avi_lib.evaluation.speed import in_turns_ms, measure_speed, one_thread
from avi_lib.motion.style_encoder import STYLE


@pytest.fixture(autouse=True)
def alone():
    """Two threads that wait for each other on busy cores take many times as long."""
    with one_thread():
        yield


@pytest.fixture(scope="module", params=[1, 3], ids=["one layer", "three layers"])
def peer(request) -> AutoregressiveDecoder:
    torch.manual_seed(0)
    network = AutoregressiveDecoder(features=12, channels=5, width=32, layers=request.param).eval()
    for parameter in network.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]))


def test_keeping_keys_and_values_changes_nothing(peer):
    features, style = noise(61, 12), noise(STYLE)
    whole, cached = decode(peer, features, style), decode_cached(peer, features, style)
    assert whole.shape == cached.shape == (30, 5)
    assert (whole - cached).abs().max() < 1e-4
    assert whole.std() > 0.1


def test_a_frame_hears_its_own_two_steps_and_none_after(peer):
    features, style = noise(60, 12), noise(STYLE)
    other = features.clone()
    other[20:] += 1.0
    moved = (decode(peer, features, style) - decode(peer, other, style)).abs().amax(dim=1)
    assert moved[:10].max() < 1e-6
    assert moved[10:].min() > 1e-4


@torch.no_grad()
def test_a_frame_sees_the_motion_before_it_and_none_after(peer):
    past, heard = noise(30, 32), peer.listen(noise(60, 12))
    other = past.clone()
    other[10] += 1.0
    masks = causal_bias(30), aligned_mask(30)
    moved = (peer(past, heard, *masks) - peer(other, heard, *masks)).abs().amax(dim=1)
    assert moved[:10].max() < 1e-6
    assert moved[10:].min() > 0
    assert moved[10:].median() > 1e-5


def test_attention_falls_by_a_slope_of_its_head_for_each_whole_period():
    bias = causal_bias(3 * PERIOD)
    assert bias.shape == (HEADS, 3 * PERIOD, 3 * PERIOD)
    assert bias[:, 2 * PERIOD, PERIOD].tolist() == [-1 / 4, -1 / 16, -1 / 64, -1 / 256]
    assert bias[0, PERIOD - 1, 0] == 0
    assert bias[0, 2 * PERIOD, 0] == -1 / 2
    assert bias[:, 0, 1].tolist() == [-math.inf] * HEADS


def test_positions_repeat_after_a_period():
    time_code = positions(2 * PERIOD, 8)
    assert torch.equal(time_code[:PERIOD], time_code[PERIOD:])
    assert (time_code[0] - time_code[1]).abs().max() > 0.5


@pytest.mark.parametrize("steps", [0, 1])
def test_the_peer_refuses_speech_of_no_frame(peer, steps):
    for run in (decode, decode_cached):
        with pytest.raises(InputError, match="at least two steps"):
            run(peer, noise(2, 12)[:steps], noise(STYLE))


def test_work_is_timed_in_turns_and_in_milliseconds_of_the_processor():
    order: list[str] = []

    def work() -> None:
        order.append("work")
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    def sleep() -> None:
        order.append("sleep")
        time.sleep(0.02)

    spent = in_turns_ms({"work": work, "sleep": sleep}, turns=3)
    assert order == ["work", "sleep"] * 4
    assert [len(times) for times in spent.values()] == [3, 3]
    assert 20 <= min(spent["work"]) < 40
    assert min(spent["sleep"]) < 10


def test_one_thread_inside_and_as_many_as_before_outside():
    torch.set_num_threads(2)
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


def test_figures_of_speed_name_what_they_must_reach():
    figures = {figure.name: figure for figure in measure_speed(turns=1, lengths_s=(1, 2), peer_frames=20)}
    assert (figures["1 s of motion"].unit, figures["1 s of motion"].must) == ("CPU ms", "<= 60")
    assert figures["a second in 2 s to one in 1 s"].unit == "x"
    published = figures["faster than autoregressive, as published"]
    assert (published.unit, published.must) == ("x", ">= 20")
    assert published.how.startswith("1 layer of width 192")
    deep = figures["faster than autoregressive, as deep as ours, keys kept"]
    kept = figures["faster than autoregressive, keys kept"]
    assert deep.how.startswith("8 layers of width 192")
    assert deep.value > kept.value > 0.1
