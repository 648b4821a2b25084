"""Who says what and how: sentences and a seed in, the clips of a corpus out.

Every eighth clip of a speaker is neutral and repeats one of the seven sentences before it, so that there are pairs with
the same words. The first clips of a plan do not depend on how many there are.

>>> [clip.name for clip in planned([Sentence("The moon is up.")], clips=2, speakers=2, seed=1)]
['af_heart_contempt_3_0000', 'am_michael_surprised_3_0001']
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from emotional_prosody import EMOTIONS, levels

# Kokoro's voices: accent (a American, b British), gender (f, m), name; women and men of both accents in turn.
SPEAKERS = (
    "af_heart", "am_michael", "bf_emma", "bm_george", "af_bella", "am_fenrir", "bf_isabella", "bm_lewis", "af_sarah",
    "am_puck", "bf_alice", "bm_daniel", "af_nova", "am_eric", "bf_lily", "am_echo", "af_kore", "am_liam", "af_aoede",
    "am_onyx", "af_alloy", "am_adam", "af_sky", "af_jessica",
)  # fmt: skip
EXPRESSIVE = tuple(emotion for emotion in EMOTIONS if emotion != "neutral")
BLOCK = 8
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sentence:
    """What may be said, and the emotion it is said with, None for any."""

    text: str
    emotion: str | None = None


@dataclass(frozen=True)
class Clip:
    """One clip to make; `number` and `seed` decide its random choices."""

    number: int
    seed: int
    speaker: str
    emotion: str
    level: int
    text: str

    @property
    def name(self) -> str:
        """Unique in the corpus."""
        return f"{self.speaker}_{self.emotion}_{self.level}_{self.number:04d}"

    @property
    def accent(self) -> str:
        """American (us) or British (gb)."""
        return {"a": "us", "b": "gb"}[self.speaker[0]]

    @property
    def gender(self) -> str:
        """Of the voice."""
        return {"f": "female", "m": "male"}[self.speaker[1]]


def shuffled(items: Sequence[Item], chance: np.random.Generator) -> Iterator[Item]:
    """All items in random order, again and again without end."""
    while True:
        for index in chance.permutation(len(items)):
            yield items[index]


def planned(
    sentences: Sequence[Sentence], clips: int, speakers: int, seed: int, without: Sequence[str] = ()
) -> list[Clip]:
    """The clips of a corpus: emotions, levels and speakers in equal parts.

    An emotion's own sentences are used first, each once; then come those for any emotion, again and again. Of the
    speakers those named last are passed over.
    """
    voices = [speaker for speaker in SPEAKERS if speaker not in without]
    chance = np.random.default_rng(seed)
    order = [EXPRESSIVE[index] for index in chance.permutation(len(EXPRESSIVE))]
    depth = {emotion: shuffled(levels(emotion), chance) for emotion in EXPRESSIVE}
    own: dict[str, list[str]] = {emotion: [] for emotion in EXPRESSIVE}
    for index in chance.permutation(len(sentences)):
        if sentences[index].emotion is not None:
            own[sentences[index].emotion].append(sentences[index].text)
    common = [sentence.text for sentence in sentences if sentence.emotion is None]
    shared = shuffled(common or [sentence.text for sentence in sentences], chance)
    result: list[Clip] = []
    said: dict[str, list[str]] = {speaker: [] for speaker in SPEAKERS}
    for number in range(clips):
        turn, index = divmod(number, speakers)
        speaker, (block, place) = voices[index], divmod(turn, BLOCK)
        if place == BLOCK - 1:
            emotion, level, text = "neutral", 1, said[speaker][int(chance.integers(1, BLOCK)) * -1]
        else:
            emotion = order[(index * (BLOCK - 1) + block * (BLOCK - 1) + place) % len(order)]
            level, text = next(depth[emotion]), own[emotion].pop() if own[emotion] else next(shared)
            said[speaker].append(text)
        result.append(Clip(number, seed, speaker, emotion, level, text))
    return result
