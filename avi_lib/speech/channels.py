"""What must be known of all channels of a recording before they may be mixed, gathered block by block.

>>> statistics = ChannelStatistics(channels=2)
>>> for block in blocks:
...     clean = statistics.add(block)
>>> mix = choose_mix(statistics)
>>> mono = (clean - mix.offsets) @ mix.weights

Mixing, removing an offset and resampling are linear, so means, covariance and peak decide everything in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from avi_lib.speech.report import Finding

LARGEST_SAMPLE = 1e36
"""Samples beyond this magnitude count as not finite: filters of float32 would overflow on them."""

DC_OF_SCALE, DC_OF_RMS = 0.005, 0.1
"""Constant offsets are removed from this fraction of full scale (or of a higher peak), or of the channel's RMS, on."""

CANCELLED_RATIO = 0.1
"""The channels cancel when their mean has less than this fraction of the power it would have were they unrelated."""

DEAD_RATIO = 1e-5
"""A channel is dead when its power is below this fraction (-50 dB) of the strongest channel's."""

_CLIP_STEP = 1.5 / 32768
_CLIP_RUN = 3


class ChannelStatistics:
    """Sums over all samples of a recording: enough for means, covariance, peak, clipping and repaired samples."""

    def __init__(self, channels: int) -> None:
        self.samples = 0
        self.not_finite = 0
        self.peak = 0.0
        self._sum = np.zeros(channels)
        self._product = np.zeros((channels, channels))
        self._last = np.zeros(channels, np.float32)
        self._clip_level = np.zeros(channels)
        self._clip_count = np.zeros(channels, np.int64)

    def add(self, block: Float32[np.ndarray, "samples channels"]) -> Float32[np.ndarray, "samples channels"]:
        """Take in the next block and return it with samples that are not finite interpolated."""
        block = self._finite(block)
        columns = np.ascontiguousarray(block.T, np.float64)
        self.samples += len(block)
        self._sum += columns.sum(axis=1)
        self._product += columns @ columns.T
        self._count_clipping(columns)
        self._last = block[-1]
        return block

    @property
    def mean(self) -> Float64[np.ndarray, " channels"]:
        """Mean of each channel."""
        return self._sum / self.samples

    @property
    def covariance(self) -> Float64[np.ndarray, "channels channels"]:
        """Covariance of the channels; its diagonal holds their powers without the offset."""
        return self._product / self.samples - np.outer(self.mean, self.mean)

    @property
    def clipping_fraction(self) -> float:
        """Fraction of samples in runs of at least three at their channel's extreme value."""
        return float(self._clip_count.sum() / (self.samples * len(self._sum)))

    def _finite(self, block: Float32[np.ndarray, "samples channels"]) -> Float32[np.ndarray, "samples channels"]:
        if block.min() >= -LARGEST_SAMPLE and block.max() <= LARGEST_SAMPLE:
            return block
        good = np.abs(block) <= LARGEST_SAMPLE
        self.not_finite += int(good.size - good.sum())
        block = block.copy()
        index = np.arange(len(block))
        for channel, (column, fine) in enumerate(zip(block.T, good.T, strict=True)):
            known = column[fine] if fine.any() else self._last[channel : channel + 1]
            column[~fine] = np.interp(index[~fine], index[fine] if fine.any() else [0], known)
        return block

    def _count_clipping(self, columns: Float64[np.ndarray, "channels samples"]) -> None:
        """Count flat tops at the highest level so far; a level that turns out higher starts the count again."""
        top = np.maximum(columns.max(axis=1), -columns.min(axis=1))
        self._clip_count[top > self._clip_level * (1 + _CLIP_STEP)] = 0
        self._clip_level = np.maximum(self._clip_level, top)
        self.peak = float(self._clip_level.max())
        near = self._clip_level * (1 - _CLIP_STEP)
        for channel in np.flatnonzero((top >= near) & (top > 0)):
            flat = np.abs(columns[channel]) >= near[channel]
            edges = np.flatnonzero(np.diff(flat, prepend=False, append=False))
            runs = edges[1::2] - edges[::2]
            self._clip_count[channel] += int(runs[runs >= _CLIP_RUN].sum())


@dataclass(frozen=True)
class Mix:
    """How channels become one: subtract `offsets`, then weigh and add; `repairs` says what was out of the ordinary."""

    offsets: Float32[np.ndarray, " channels"]
    weights: Float32[np.ndarray, " channels"]
    repairs: tuple[Finding, ...]


def choose_mix(statistics: ChannelStatistics) -> Mix:
    """The mean of all channels, without constant offsets, dead channels and cancelling phases."""
    repairs = []
    covariance = statistics.covariance
    power = np.maximum(np.diagonal(covariance), 0.0)
    offsets = statistics.mean
    share = np.abs(offsets) / max(1.0, statistics.peak)
    if (share >= DC_OF_SCALE).any() or (np.abs(offsets) > DC_OF_RMS * np.sqrt(power)).any():
        worst = float(share.max())
        text = f"constant offset of {worst:.2g} of full scale removed"
        repairs.append(Finding(name="dc_offset", value=worst, text=text))
    else:
        offsets = np.zeros_like(offsets)
    loudest = int(power.argmax())
    live = power > DEAD_RATIO * power[loudest]
    if 0 < live.sum() < len(live):
        dead = int(len(live) - live.sum())
        repairs.append(
            Finding(
                name="dead_channels", value=dead, text=f"{dead} of {len(live)} channels carry nothing and were left out"
            )
        )
    weights = live / max(1, live.sum())
    unrelated = float((weights**2 * power).sum())
    if unrelated and weights @ covariance @ weights < CANCELLED_RATIO * unrelated:
        loss_db = float(10 * np.log10(max(weights @ covariance @ weights / unrelated, 1e-12)))
        weights = weights * np.where(covariance[loudest] < 0, -1.0, 1.0)
        repairs.append(
            Finding(
                name="phase_cancelled",
                value=loss_db,
                text=f"the channels cancel each other ({loss_db:.0f} dB in their mean); opposite phases inverted",
            )
        )
    return Mix(offsets.astype(np.float32), weights.astype(np.float32), tuple(repairs))
