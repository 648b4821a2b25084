"""The prior's network: padding, taken-away sentences, time."""

from __future__ import annotations

import torch
from small_priors import TEXT, Letters, network

from avi_lib.motion.prior import BINDINGS, REACH, PriorNetwork


def read(net: PriorNetwork, *texts: str):
    states = [torch.from_numpy(each) for each in Letters().encode(texts)]
    mask = torch.arange(max(map(len, states))) < torch.tensor([len(each) for each in states])[:, None]
    padded = torch.full((*mask.shape, TEXT), 1e6)
    padded[mask] = torch.cat(states)
    return net.read(padded, mask)


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 128, generator=torch.Generator().manual_seed(seed))


def test_padding_has_no_part_in_anything():
    net, x, times = network(), noise(2), torch.tensor([10, 900])
    together = read(net, "angry", "a much longer sentence")
    alone = read(net, "angry")
    torch.testing.assert_close(net(x, times, together)[:1], net(x[:1], times[:1], alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.aligned[:1], alone.aligned, rtol=1e-4, atol=1e-5)


def test_a_sentence_that_is_taken_away_leaves_nothing():
    net, x, times = network(), noise(1), torch.tensor([500])
    gone = [net(x, times, net.drop_text(read(net, text), torch.tensor([True]))) for text in ("angry", "happy and calm")]
    torch.testing.assert_close(gone[0], gone[1], rtol=1e-5, atol=1e-6)
    kept = net(x, times, net.drop_text(read(net, "angry"), torch.tensor([False])))
    assert float((kept - gone[0]).abs().max()) > 0.01


def test_sentence_time_and_noise_all_count():
    net, x = network(), noise(1)
    base = net(x, torch.tensor([500]), read(net, "angry"))
    for other in (
        net(x, torch.tensor([500]), read(net, "happy")),
        net(x, torch.tensor([20]), read(net, "angry")),
        net(noise(1, 1), torch.tensor([500]), read(net, "angry")),
    ):
        assert float((base - other).abs().max()) > 0.01


def test_a_token_knows_its_neighbours_within_its_text_so_order_counts():
    net = network()
    states = torch.randn(1, 12, TEXT, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 12, dtype=torch.bool)
    plain, turned = net.read(states, mask), net.read(states.flip(1), mask)
    assert float((plain.pooled - turned.pooled).abs().max()) > 0.01
    other = states.clone()
    other[0, 0] = torch.linspace(-1, 1, TEXT)
    changed = (net.read(other, mask).values - plain.values).abs().amax(dim=(0, 1, 3))[1:] > 1e-6
    assert changed.tolist() == [place <= REACH * BINDINGS for place in range(12)]


def test_aligned_sentences_have_length_one_and_rows_can_be_picked():
    embedding = read(network(), "angry", "calm", "sad")
    torch.testing.assert_close(embedding.aligned.norm(dim=1), torch.ones(3))
    picked = embedding.at(torch.tensor([2, 0, 2]))
    torch.testing.assert_close(picked.pooled, embedding.pooled[[2, 0, 2]])
    assert picked.mask.shape == (3, 7)


def test_an_untrained_network_predicts_nothing():
    torch.manual_seed(0)
    net = PriorNetwork(TEXT, width=32, blocks=1, heads=4).eval().requires_grad_(False)
    assert float(net(noise(2), torch.tensor([1, 2]), read(net, "a", "b")).abs().max()) == 0
