"""The learning rate of a step, a function of the settings.

>>> learning_rate_at(0, TrainSettings(learning_rate=1.0, warmup=4))
0.25
"""

from __future__ import annotations

import math

from avi_lib.settings import TrainSettings


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """A linear rise over the warm-up, then a cosine down to a hundredth (Loshchilov and Hutter 2017, SGDR)."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    way = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(way, 1.0))))
