"""The diffusion prior on held-out voices, and beside DALLE2-pytorch's where that is installed."""

from __future__ import annotations

from collections.abc import Iterator

from avi_lib.evaluation.prior_scores import measure_prior
from avi_lib.evaluation.report import Figure
from avi_lib.motion.generator import load_generator
from avi_lib.motion.prior import load_prior_sampler
from avi_lib.settings import profile
from tools.benchmarks.measuring import Options, corpora, left_out
from tools.benchmarks.peer_prior import MISSING, find_peer, measure_peer

STEPS, SCRIPTS = 1000, 12000
"""How long, and on how many scripts, both priors are trained for the comparison."""


def measure(options: Options) -> Iterator[Figure]:
    """Figures of the prior, then both priors trained on the same bank."""
    prior_sampler, generator = load_prior_sampler(options.prior, options.text_encoder), load_generator(options.talking)
    prepared = corpora(options)
    yield from measure_prior(prior_sampler, generator, prepared)
    if find_peer() is None:
        left_out("the peer of the prior", MISSING)
        return
    settings = profile("full").prior
    train = settings.train.model_copy(update={"steps": STEPS, "average": 0.99})
    few = settings.model_copy(update={"scripts": SCRIPTS, "train": train})
    yield from measure_peer(prepared, generator, prior_sampler.encoder, few, options.work / "peer")
