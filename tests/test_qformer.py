"""The Q-Former: any length, several layers, what is padded makes no difference."""

from __future__ import annotations

import torch

from avi_lib.instruction.instructor_network import QFormer


def qformer(layers=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return QFormer(states=6, layers=layers, width=16, queries=3, blocks=2, heads=2, dropout=0.0).eval()


def test_queries_gather_any_length_and_padding_makes_no_difference():
    model = qformer()
    states, contour = torch.randn(2, 1, 9, 6), torch.randn(2, 9, 5)
    there = torch.arange(9) < torch.tensor([[9], [4]])
    both = model(states, contour, there)
    assert both.shape == (2, 3, 16)
    alone = model(states[1:, :, :4], contour[1:, :4], there[1:, :4])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    other = states.clone()
    other[1, :, 5] = 100
    torch.testing.assert_close(model(other, contour, there), both, atol=1e-5, rtol=1e-4)


def test_layers_are_mixed_by_weights_that_are_learned():
    model = qformer(layers=3)
    states, contour, there = torch.randn(2, 3, 7, 6), torch.randn(2, 7, 5), torch.ones(2, 7, dtype=torch.bool)
    model(states, contour, there).square().sum().backward()
    assert model.layers.grad is not None and bool((model.layers.grad != 0).any())
    with torch.no_grad():
        model.layers.copy_(torch.tensor([50.0, 0.0, 0.0]))
        first = model(states, contour, there)
        states[:, 1:] = 0
        torch.testing.assert_close(model(states, contour, there), first)


def test_the_melody_is_heard():
    model = qformer()
    states, there = torch.randn(1, 1, 7, 6), torch.ones(1, 7, dtype=torch.bool)
    with torch.no_grad():
        flat, lively = (model(states, contour, there) for contour in (torch.zeros(1, 7, 5), torch.randn(1, 7, 5)))
    assert float((flat - lively).abs().max()) > 1e-3
