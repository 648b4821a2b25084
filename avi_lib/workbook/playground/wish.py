"""A wish: everything that is asked of a talking face, whatever the recording.

>>> Wish(timeline, seed=7, samples=2).as_json()["seeds"]
[7, 8]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from avi_lib.instruction.timeline import Timeline, as_json
from avi_lib.settings import Factors, SampleSettings


@dataclass(frozen=True)
class Wish:
    """What a face shall do.

    Attributes:
        timeline: the instruction, or several with their times.
        seed: of every random choice; further samples take the seeds that follow.
        samples: how many faces are made.
        sample: how styles are drawn.
        factors: where factors of the face come from.
    """

    timeline: Timeline
    seed: int = 0
    samples: int = 1
    sample: SampleSettings = field(default_factory=SampleSettings)
    factors: Factors = field(default_factory=Factors)

    def from_noise_of(self, other: Wish) -> Wish:
        """The same wish, once, from the noise of another: what differs then is what was asked for."""
        return replace(self, seed=other.seed, samples=1)

    @property
    def seeds(self) -> range:
        """A seed for each sample."""
        return range(self.seed, self.seed + self.samples)

    def as_json(self) -> dict[str, Any]:
        """Enough to make the same again."""
        return {
            "timeline": as_json(self.timeline),
            "seeds": list(self.seeds),
            "sample": self.sample.model_dump(),
            "factors": self.factors.model_dump(),
        }
