"""Attribution: which phrase of a sentence moved what.

>>> attribute(prior_sampler, generator, features, performer, instruction, seed=0)[0].change
{'lips': 0.01, 'brows': 0.14, ...}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avi_lib.instruction.action_units import TABLES, words
from avi_lib.instruction.instruction import Instruction
from avi_lib.instruction.parser import scan, stems_of
from avi_lib.motion.clip import MotionClip
from avi_lib.motion.generator import Features, LearnedGenerator
from avi_lib.motion.performer import Performer
from avi_lib.motion.prior import PriorSampler
from avi_lib.settings import SampleSettings


class Attributed(NamedTuple):
    """A phrase, the sentence without it, and what it changed by group of channels, see `group_change`."""

    phrase: str
    rest: str
    change: dict[str, float]


def attribute(
    prior_sampler: PriorSampler,
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

    def motion_of(text: str) -> MotionClip:
        """The motion of a sentence; idle behaviour is the same whatever it says."""
        asked = Instruction.parse(text) if text else Instruction("")
        plain = Instruction(text, action_units={n: v for n, v in asked.action_units.items() if n.startswith("head_")})
        return generator.perform(features, performer, plain, seed, prior_sampler.style(text, seed, how))

    sentence, whole = instruction.text, motion_of(instruction.text)
    said = phrases(sentence) or (Phrase(0, len(sentence), sentence),)
    parts = [(phrase.text, without(sentence, phrase)) for phrase in said]
    return [Attributed(phrase, rest, group_change(whole, motion_of(rest))) for phrase, rest in parts]


def group_change(first: MotionClip, second: MotionClip) -> dict[str, float]:
    """Mean absolute difference of two motions by group of channels, over its frames; weights, or radians."""
    apart = np.abs(first.values - second.values)
    return {group: float(apart[:, list(members)].mean()) for group, members in first.space.groups.items()}


# The phrases of a sentence, and the sentence without one of them.

_BREAKS = words(TABLES["breaks"])
_JOINTS = "|".join(map(re.escape, sorted(_BREAKS, key=len, reverse=True)))
_BREAK = re.compile(rf"\s*[,.;:!?()—–]+\s*|\s+(?:{_JOINTS})(?=\s)\s*", re.IGNORECASE)
_LAST_JOINT = re.compile(rf"(?:^|\s)(?:{_JOINTS})$", re.IGNORECASE)
_GRAMMAR = frozenset(stem for word in (*words(TABLES["function_words"]), *_BREAKS) for stem in stems_of(word))
_LEADING = re.compile(r"^[\s,;]*(?:(?:with|and|but|or|while|as|then)\s+)*", re.IGNORECASE)
_SUBJECT = re.compile(r"^(?:a|an|the)\s+(?:person|man|woman|speaker|face)\s+|^(?:he|she|they|you)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Phrase:
    """Characters `start` to `stop` of a sentence."""

    start: int
    stop: int
    text: str


def phrases(sentence: str) -> tuple[Phrase, ...]:
    """The phrases of a sentence in order.

    Those the scanner understands something of; where there are none, all that are more than grammar.
    """
    found, start = [], 0
    for stop, following in [*(gap.span() for gap in _BREAK.finditer(sentence)), (len(sentence), 0)]:
        found.append(_trimmed(sentence, start, stop))
        start = following
    scans = [scan(phrase.text) for phrase in found]
    meant = tuple(phrase for phrase, said in zip(found, scans, strict=True) if said.emotion or said.units)
    return meant or tuple(phrase for phrase in found if set(stems_of(phrase.text)) - _GRAMMAR)


def _trimmed(sentence: str, start: int, stop: int) -> Phrase:
    """A piece without the joint and the subject it begins with."""
    start += len(sentence[start:stop]) - len(_LEADING.sub("", sentence[start:stop]))
    subject = _SUBJECT.match(sentence[start:stop])
    if subject and subject.end() < stop - start:
        start += subject.end()
    text = sentence[start:stop]
    start += len(text) - len(text.lstrip())
    return Phrase(start, start + len(text.strip()), text.strip())


def without(sentence: str, phrase: Phrase) -> str:
    """The sentence with a phrase cut out, and the joint before it; empty when nothing but grammar is left."""
    before, after = sentence[: phrase.start].rstrip(), sentence[phrase.stop :].lstrip()
    if not after or after[0] in ".!?;,)":
        shorter = None
        while shorter != before:
            shorter = before
            before = _LAST_JOINT.sub("", before.rstrip(" ,;:(—–"))
    else:
        after = _LEADING.sub("", after)
    left = re.sub(r"\s+([,.;:!?])", r"\1", f"{before} {after}".strip()).strip(" ,;:")
    return left if re.search(r"\w", left) else ""
