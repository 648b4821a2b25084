"""Attribution: which phrase of a sentence moved what.

>>> rows = attribute(director, generator, features, performer, asked, seed=7)
>>> rows[1].phrase, max(rows[1].change, key=rows[1].change.get)
('head tilted', 'head')

Every phrase is left out in turn and the style is drawn again from the same noise, so that what changes is what the
phrase did (leave-one-out; Li, Monroe and Jurafsky 2016, "Understanding neural networks through representation
erasure").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.phrases import Phrase, phrases, without
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.director import Director
from avi_lib.motion.learned import Features, LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.settings import SampleSettings


@dataclass(frozen=True, eq=False)
class Attributed:
    """A phrase, the sentence without it, the motion without it, and what it changed.

    `change` by group of channels: mean over frames and channels of the absolute difference, weights or radians.
    """

    phrase: str
    rest: str
    motion: MotionClip
    change: dict[str, float]


def attribute(
    director: Director,
    generator: LearnedGenerator,
    features: Features,
    performer: Performer,
    instruction: Instruction,
    seed: int,
    settings: SampleSettings | None = None,
) -> list[Attributed]:
    """What every phrase of an instruction changes over a recording, in order of the sentence.

    A sentence that is one phrase, or in which there is none, is compared with a face of which nothing is asked.
    """
    how = settings or SampleSettings()
    whole = _motion(director, generator, features, performer, instruction.text, seed, how)
    rows = []
    whole_text = Phrase(0, len(instruction.text), instruction.text)
    for phrase in phrases(instruction.text) or (whole_text,):
        rest = without(instruction.text, phrase)
        motion = _motion(director, generator, features, performer, rest, seed, how)
        rows.append(Attributed(phrase.text, rest, motion, group_change(whole, motion)))
    return rows


def group_change(first: MotionClip, second: MotionClip) -> dict[str, float]:
    """Mean absolute difference of two motions by group of channels."""
    apart = np.abs(first.values - second.values)
    return {group: float(apart[:, list(members)].mean()) for group, members in first.space.groups.items()}


def _motion(
    director: Director,
    generator: LearnedGenerator,
    features: Features,
    performer: Performer,
    text: str,
    seed: int,
    settings: SampleSettings,
) -> MotionClip:
    """The motion of a sentence; idle behaviour is the same whatever it says."""
    asked = Instruction.parse(text) if text else Instruction("")
    plain = Instruction(text, action_units={n: v for n, v in asked.action_units.items() if n.startswith("head_")})
    return generator.perform(features, performer, plain, seed, director.style(text, seed, settings))
