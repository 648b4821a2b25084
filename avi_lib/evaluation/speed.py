"""How fast the talking generator is, beside an autoregressive decoder: `python -m avi_lib.evaluation.speed`.

Everything runs on one thread, in turns. Times are of the processor, all threads of the process together: what else the
machine does meanwhile would count for more in long work than in short. Speech features are taken as already computed.
Weights and features are random: how long these networks take depends on shapes alone.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from avi_lib.evaluation.autoregressive import AutoregressiveDecoder, decode, decode_cached
from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.motion.style_encoder import STYLE
from avi_lib.motion.talking_generator import TalkingGenerator, generate
from avi_lib.motion.temporal import TemporalBlock

FPS = 25
FEATURES, CHANNELS, WIDTH = 384, 55, 192
"""Dimensions of the speech encoder, of the ARKIT space, and of both networks."""
LENGTHS_S = (10, 20, 40, 80)
PEER_FRAMES = 200

Kind = TypeVar("Kind")


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


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch inside, as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_turns_ms(work: Mapping[Kind, Callable[[], object]], turns: int) -> dict[Kind, list[float]]:
    """Processor milliseconds of each piece of work in each turn, one piece after the other; a first turn warms up."""
    spent: dict[Kind, list[float]] = {kind: [] for kind in work}
    for turn in range(turns + 1):
        for kind, task in work.items():
            begun = time.process_time()
            task()
            if turn:
                spent[kind].append(1000 * (time.process_time() - begun))
    return spent


def spread(values: Sequence[float]) -> str:
    """How many values a median is of, and between which they lie."""
    return f"median of {len(values)}, {min(values):.1f} to {max(values):.1f}"


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores\n\n{markdown(measure_speed())}")
