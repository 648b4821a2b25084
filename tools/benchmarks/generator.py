"""How well and how fast the talking generator speaks, beside an autoregressive decoder.

Speed is of one thread, in turns, with random weights and features: how long networks take depends on shapes alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from avi_lib.corpus.dataset import Corpus
from avi_lib.corpus.prepare import prepare
from avi_lib.motion.generator import SHIPPED, STYLE, TalkingGenerator, TemporalBlock, generate, load_talking_model
from avi_lib.settings import profile
from avi_lib.speech.encoders import one_thread
from tools.benchmarks.autoregressive import AutoregressiveDecoder, decode, decode_cached
from tools.benchmarks.measuring import Figure, Options, corpora, in_turns_ms, spread, there
from tools.benchmarks.talking import measure_talking

HELD_OUT = "1114_2_05"
"""The recording of facegood/ that the shipped weights were not trained on."""
FPS = 25
FEATURES, CHANNELS, WIDTH = 384, 55, 192
"""Dimensions of the speech encoder, of the ARKIT space, and of both networks."""
LENGTHS_S = (10, 20, 40, 80)
PEER_FRAMES = 200


def measure(options: Options) -> Iterator[Figure]:
    """Speed, then the model on real videos, on held-out voices and on a real rig."""
    yield from measure_speed()
    prepared, held_out = corpora(options), list(options.held_out)
    if not options.corpus and there(options.real / "facegood", "the jaw of a real rig"):
        prepare("rig", options.real / "facegood", options.work / "facegood", profile("full").prepare)
        prepared.append(Corpus(options.work / "facegood"))
        held_out = [HELD_OUT]
    real = options.real if there(options.real / "grid10", "lips on real videos") else None
    yield from measure_talking(load_talking_model(options.talking or SHIPPED), real, prepared, held_out)


def measure_speed(
    turns: int = 9, lengths_s: Sequence[int] = LENGTHS_S, peer_frames: int = PEER_FRAMES
) -> Iterator[Figure]:
    """Time of a motion, how it grows with length, and the autoregressive decoder beside it.

    lengths_s: of the recordings, in seconds from short to long; the first is the one to take at most 60 ms.
    """
    style = torch.randn(STYLE)
    generator = TalkingGenerator(FEATURES, CHANNELS, WIDTH).eval()
    with one_thread():
        yield from _growth(generator, style, turns, lengths_s)
        yield from _beside_peers(generator, style, turns, peer_frames)


def _growth(generator: TalkingGenerator, style: torch.Tensor, turns: int, lengths_s: Sequence[int]) -> Iterator[Figure]:
    work = {s: partial(generate, generator, torch.randn(2 * FPS * s, FEATURES), style) for s in lengths_s}
    spent = in_turns_ms(work, turns)
    first, last = lengths_s[0], lengths_s[-1]
    yield Figure(
        f"{first} s of motion", statistics.median(spent[first]), "CPU ms", "<= 60", f"1 thread, {spread(spent[first])}"
    )
    each = {s: statistics.median(spent[s]) / s for s in lengths_s}
    how = "CPU ms for each second: " + ", ".join(f"{cost:.2f} in {s} s" for s, cost in each.items())
    yield Figure(f"a second in {last} s to one in {first} s", each[last] / each[first], "x", "about 1", how)


def _beside_peers(generator: TalkingGenerator, style: torch.Tensor, turns: int, frames: int) -> Iterator[Figure]:
    blocks = sum(isinstance(module, TemporalBlock) for module in generator.modules())
    shallow, deep = (AutoregressiveDecoder(FEATURES, CHANNELS, WIDTH, layers).eval() for layers in (1, blocks))
    features = torch.randn(2 * frames, FEATURES)
    work = {
        "ours": partial(generate, generator, features, style),
        "as published": partial(decode, shallow, features, style),
        "keys kept": partial(decode_cached, shallow, features, style),
        "as deep as ours, keys kept": partial(decode_cached, deep, features, style),
    }
    spent = in_turns_ms(work, turns)
    ours = spent.pop("ours")
    yield Figure(f"{frames} frames of motion", statistics.median(ours), "CPU ms", "-", f"1 thread, {spread(ours)}")
    for kind, times_ms in spent.items():
        ratios = [theirs / own for theirs, own in zip(times_ms, ours, strict=True)]
        depth = f"{blocks} layers" if "deep" in kind else "1 layer"
        how = f"{depth} of width {WIDTH}, {statistics.median(times_ms):.0f} CPU ms; ratio {spread(ratios)}"
        must = ">= 20" if kind == "as published" else "-"
        yield Figure(f"faster than autoregressive, {kind}", statistics.median(ratios), "x", must, how)
