"""A talk: one talking face, from what was heard to the motion that carries out what was asked.

>>> talk.instruction.text, talk.motion.values.shape
('She is furious.', (75, 55))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.timeline import Timeline
from avi_lib.motion.clip import MotionClip
from avi_lib.speech.audio import Speech
from avi_lib.speech.phones import PhoneTrack
from avi_lib.speech.prosody import Prosody

if TYPE_CHECKING:
    from avi_lib.instruction.instructor import Written


@dataclass(frozen=True)
class Talk:
    """One talking face: what was heard, what was asked for, and the motion that carries it out.

    Attributes:
        timeline: what was asked for; a single instruction is a timeline of one.
        seed: of every random choice in the motion.
        features: what the learned generator heard; None for the performer.
        styles: (entries, 128), what the learned generator was told; None for the performer.
        written: how the instruction was written; None where it was given.
        factors: where factors of the face come from that are not the speech's own, in words.
    """

    speech: Speech
    phones: PhoneTrack
    prosody: Prosody
    timeline: Timeline
    seed: int
    motion: MotionClip
    features: Float32[np.ndarray, "steps dim"] | None = None
    styles: Float32[np.ndarray, "entries style"] | None = None
    written: Written | None = None
    factors: tuple[str, ...] = ()

    @property
    def instruction(self) -> Instruction:
        """What was asked for first."""
        return self.timeline.instructions[0]

    def asked_at(self, time_s: float) -> Instruction:
        """What holds at a time: the instruction of which half or more has come on."""
        return [entry.instruction for entry in self.timeline.entries if entry.at_s <= max(time_s, 0.0)][-1]
