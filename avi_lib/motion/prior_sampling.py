"""Samplers of the diffusion prior: from noise to styles, with the schedulers of diffusers.

>>> noise = noise_of([7, 8, 9])
>>> styles = sample(network, [Wish(reading)], noise, SampleSettings(steps=20, guidance=2.0), seeds=[7, 8, 9])
>>> styles.shape
torch.Size([3, 128])

Every sample has a seed of its own, so a batch is what its samples are one by one. Styles are normalised here as the
network sees them; `style_prior` knows their scale.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from avi_lib.errors import AviError, InputError
from avi_lib.motion.prior_network import TIMES, PriorNetwork, Reading
from avi_lib.motion.style_encoder import STYLE
from avi_lib.settings import SampleSettings

Styles = Float[torch.Tensor, "samples style"]

_STEPS = 0x57E9
FARTHEST = 6.0
"""No number of a predicted style is beyond this many units, whatever the guidance."""


@dataclass(frozen=True, eq=False)
class Wish:
    """A sentence for every sample, and its weight among several wishes, which add up to 1."""

    reading: Reading
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Kept:
    """What of a given style is kept: `projection` (style, style) onto it."""

    style: Float[torch.Tensor, " style"]
    projection: Float[torch.Tensor, "style style"]


def noise_of(seeds: Sequence[int]) -> Styles:
    """Standard normal noise of every seed, on the processor: the same on any machine and in any batch."""
    return torch.stack([torch.randn(STYLE, generator=_generator(seed)) for seed in seeds])


def training_scheduler() -> Any:
    """The forward process: a cosine schedule (Nichol and Dhariwal 2021) over `TIMES`, of which x0 is predicted."""
    return _scheduler("ddpm")


@torch.no_grad()
def sample(
    network: PriorNetwork,
    wishes: Sequence[Wish],
    noise: Styles,
    settings: SampleSettings,
    seeds: Sequence[int] = (),
    kept: Kept | None = None,
    callback: Callable[[int, Styles], None] | None = None,
) -> Styles:
    """Denoise.

    DDIM (Song et al. 2021), DPM-Solver++ (Lu et al. 2022) or ancestral DDPM (Ho et al. 2020), each with classifier-free
    guidance (Ho and Salimans 2022): guidance 1 follows the sentence, more exaggerates it, 0 forgets it.

    Args:
        network: in evaluation mode.
        wishes: one, or several whose predictions are mixed by their weights.
        noise: where to begin; see `noise_of`.
        settings: sampler, steps, guidance.
        seeds: of the noise that DDPM adds at every step, one a sample; not looked at by the others.
        kept: a part of a given style that all samples keep.
        callback: called with the number of every step and the styles foreseen after it.

    Raises:
        AviError: a prediction is not finite.
        InputError: no wish, weights that do not add up to 1, noise or wishes that are not finite, seeds missing.
    """
    _check(wishes, noise, settings, seeds)
    scheduler = _stepped(settings.sampler, settings.steps)
    generators = [_generator(step_seed(seed)) for seed in seeds] if settings.sampler == "ddpm" else None
    readings = [(_doubled(network, wish.reading, settings.guidance), wish.weight) for wish in wishes]
    x = noise
    for step, time in enumerate(scheduler.timesteps):
        foreseen = sum((weight * _foresee(network, x, time, reading, settings) for reading, weight in readings), 0 * x)
        if kept is not None:
            foreseen = foreseen + (kept.style - foreseen) @ kept.projection
        if not foreseen.isfinite().all():
            raise AviError("a finite style", f"others at step {step}", "check the weights of the prior")
        foreseen = foreseen.clamp(-FARTHEST, FARTHEST)
        extra = {"generator": generators} if generators else {}
        x = scheduler.step(foreseen, time, x, **extra).prev_sample
        if callback is not None:
            callback(step, foreseen)
    return x if kept is None else x + (kept.style - x) @ kept.projection


@torch.no_grad()
def foretell(network: PriorNetwork, wishes: Sequence[Wish], count: int) -> Styles:
    """Styles of a network that was trained without diffusion: told at once, at the last time and from no noise."""
    blank = torch.zeros(count, STYLE, device=wishes[0].reading.mask.device)
    times = torch.full((count,), TIMES - 1, device=blank.device)
    return sum((wish.weight * network(blank, times, wish.reading).float() for wish in wishes), blank)


def _foresee(
    network: PriorNetwork, x: Styles, time: torch.Tensor, reading: Reading, settings: SampleSettings
) -> Styles:
    times = time.expand(len(x))
    if settings.guidance == 1.0:
        return network(x, times, reading).float()
    with_text, without = network(torch.cat([x, x]), torch.cat([times, times]), reading).float().chunk(2)
    return without + settings.guidance * (with_text - without)


def _doubled(network: PriorNetwork, reading: Reading, guidance: float) -> Reading:
    """The sentences, and behind them the same ones unread, so that guidance is one pass."""
    texts = len(reading.mask)
    if guidance == 1.0:
        return reading
    rows = torch.arange(texts).repeat(2)
    dropped = torch.arange(2 * texts) >= texts
    return network.unread(reading.at(rows.to(reading.mask.device)), dropped.to(reading.mask.device))


def _check(wishes: Sequence[Wish], noise: Styles, settings: SampleSettings, seeds: Sequence[int]) -> None:
    if not wishes or abs(sum(wish.weight for wish in wishes) - 1) > 1e-6:
        got = ", ".join(f"{wish.weight:g}" for wish in wishes) or "none"
        raise InputError("wishes whose weights add up to 1", got, "divide them by their sum")
    values = [
        noise,
        *(value for wish in wishes for value in (wish.reading.keys, wish.reading.values, wish.reading.gist)),
    ]
    if not all(value.isfinite().all() for value in values):
        raise InputError("finite noise and a finite reading of the sentence", "NaN or infinity", "encode it again")
    if any(len(wish.reading.mask) != len(noise) for wish in wishes):
        got = f"{len(noise)} and {', '.join(str(len(wish.reading.mask)) for wish in wishes)}"
        raise InputError("a sentence for every sample", got, "repeat the reading with `Reading.at`")
    if settings.sampler == "ddpm" and len(seeds) != len(noise):
        raise InputError("a seed for every sample of DDPM", f"{len(seeds)} for {len(noise)}", "pass seeds")


def step_seed(seed: int) -> int:
    """The seed of the noise that DDPM adds, apart from that of any sample's first noise."""
    return int(np.random.SeedSequence([seed, _STEPS]).generate_state(1, np.uint64)[0] >> 1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def _scheduler(sampler: str) -> Any:
    common = {"num_train_timesteps": TIMES, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}
    spaced = common | {"timestep_spacing": "trailing"}
    if sampler == "ddim":
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        return DDIMScheduler(clip_sample=False, **spaced)
    if sampler == "ddpm":
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        return DDPMScheduler(clip_sample=False, **spaced)
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", lambda_min_clipped=-5.1, **spaced)


def _stepped(sampler: str, steps: int) -> Any:
    """A scheduler of its own, set to a number of steps: schedulers keep what they have seen."""
    scheduler = type(_scheduler(sampler)).from_config(_scheduler(sampler).config)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # diffusers with numpy 2
        scheduler.set_timesteps(steps)
    return scheduler
