"""Action units and emotions: what a face can be asked to do, the ARKit channels that carry it out, the words for it.

>>> ACTION_UNITS["brow_down"].channels
{'browDownLeft': 1.0, 'browDownRight': 1.0}
>>> prototype("happy", 1)
{'lip_corner_pull': 0.3, 'cheek_raise': 0.25, 'upper_lip_raise': 0.23, 'lips_part': 0.17}

Everything is read from words.yaml and realisations.yaml. Codes follow Ekman, Friesen & Hager, "Facial Action Coding
System" (2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import yaml
from pydantic import BeforeValidator, TypeAdapter

TABLES: dict[str, Any] = yaml.load(Path(__file__).with_name("words.yaml").read_text("utf-8"), yaml.CBaseLoader)
"""The tables of words.yaml; every value is text, so that "no" stays a word."""


def words(listed: str | None) -> tuple[str, ...]:
    """The words of a list in words.yaml; none where there is no list."""
    return () if listed is None else tuple(listed.split(", "))


Words = Annotated[tuple[str, ...], BeforeValidator(words)]
"""A list of words.yaml, where a table is read as what its classes say."""


def _sides(channel: str) -> tuple[str, ...]:
    """The channels that a name of words.yaml stands for: LR at its end is left and right."""
    return (f"{channel[:-2]}Left", f"{channel[:-2]}Right") if channel.endswith("LR") else (channel,)


@dataclass(frozen=True)
class ActionUnit:
    """One movement of the face, head or eyes.

    `channels` are ARKit weights (0-1) or head rotations (signed radians) at strength 1; strength scales them linearly.
    """

    name: str
    facs: str
    channels: Mapping[str, float] = field(default_factory=dict)

    @property
    def rhythm(self) -> bool:
        """Whether it unfolds over time (nods, blinks): it has no channels, and its performer decides when."""
        return not self.channels

    def main_channels(self) -> tuple[str, ...]:
        """The channels this unit is about; the others only accompany it."""
        peak = max((abs(weight) for weight in self.channels.values()), default=0.0)
        return tuple(channel for channel, weight in self.channels.items() if abs(weight) >= 0.5 * peak)


ACTION_UNITS = {
    name: ActionUnit(
        name,
        entry["facs"],
        {channel: float(weight) for key, weight in entry.get("channels", {}).items() for channel in _sides(key)},
    )
    for name, entry in TABLES["action_units"].items()
}  # every action unit by name


@dataclass(frozen=True)
class Wording:
    """How units are said and understood that share a strength, each with the factor that the words put on it.

    `states` stand in lists after "with", `acts` begin with a verb in its base form; `*` is the place of an adverb, `~`
    of an adjective, `@` of a possessive ("his"). `phrases` are understood only, as are the `moves` of a part of the
    face: movements in alphabetical order with a space between them.
    """

    units: dict[str, float]
    states: Words = ()
    acts: Words = ()
    phrases: Words = ()
    moves: dict[str, Words] = field(default_factory=dict)


WORDINGS = TypeAdapter(tuple[Wording, ...]).validate_python(
    [
        *({**entry, "units": {name: 1}} for name, entry in TABLES["action_units"].items()),
        *({**entry, "units": dict.fromkeys(words(entry["units"]), 1)} for entry in TABLES["joint_units"]),
        *TABLES["expressions"],
    ]
)  # wordings of single units, of pairs that move together ("brows raised") and of expressions ("a scowl")


def opposites() -> dict[str, frozenset[str]]:
    """For each channel, those that cannot be at full weight together with it (a raised brow cannot be down)."""
    found: dict[str, set[str]] = {}
    for one, other in map(words, TABLES["opposite_channels"]):
        sides = _sides(other)
        for first, second in zip(_sides(one) if one.endswith("LR") else (one,) * len(sides), sides, strict=True):
            found.setdefault(first, set()).add(second)
            found.setdefault(second, set()).add(first)
    return {channel: frozenset(others) for channel, others in found.items()}


def unit_channels(strengths: Mapping[str, float]) -> dict[str, float]:
    """ARKit channels of several action units (name to strength 0-1) together: the weight of each.

    That is the largest where units share a blendshape, the sum where they share a head rotation. A rhythm adds nothing.
    Raises KeyError for a name that is no action unit.
    """
    channels: dict[str, float] = {}
    for name, strength in strengths.items():
        for channel, weight in ACTION_UNITS[name].channels.items():
            value, before = weight * strength, channels.get(channel, 0.0)
            channels[channel] = before + value if channel.startswith("head") else max(before, value)
    return channels


@dataclass(frozen=True)
class StrengthWords:
    """One bucket of strength and its words; words.yaml says where each kind stands and what `shift` does to a level."""

    strength: float
    shift: int
    before: Words
    after: Words
    adjectives: Words
    emotions: Words
    also: Words


STRENGTH_WORDS = TypeAdapter(tuple[StrengthWords, ...]).validate_python(TABLES["strengths"])
"""The seven buckets, weakest first."""

PLAIN_STRENGTH = 0.6  # what a movement is worth when nothing is said about how much


def quantise(strength: float) -> float:
    """The nearest strength that words can say; below half of "barely" that is 0, "not at all"."""
    return min((0.0, *(bucket.strength for bucket in STRENGTH_WORDS)), key=lambda value: abs(value - strength))


@dataclass(frozen=True)
class EmotionWords:
    """Words for one emotion, a tuple for each of its levels; `also` are understood only."""

    adjectives: tuple[tuple[str, ...], ...]
    nouns: tuple[tuple[str, ...], ...]
    also: tuple[tuple[str, ...], ...]


EMOTION_WORDS = {
    name: EmotionWords(
        *(tuple(words(level.get(kind)) for level in entry["levels"]) for kind in ("adjectives", "nouns", "also"))
    )
    for name, entry in TABLES["emotions"].items()
}  # words for each of the ten emotions

EMOTIONS = tuple(EMOTION_WORDS)  # the ten emotions; `neutral` and `calm` have one level, the others three


def levels(emotion: str) -> tuple[int, ...]:
    """The levels an emotion has: (1,) for neutral and calm, (1, 2, 3) for the others."""
    return tuple(range(1, len(EMOTION_WORDS[emotion].adjectives) + 1))


def prototype(emotion: str, level: int) -> dict[str, float]:
    """Action units (name to strength 0-1) that show an emotion at a level.

    Raises KeyError for another emotion, ValueError for a level that it does not have.
    """
    if level not in levels(emotion):
        raise ValueError(f"{emotion} has levels {levels(emotion)}; got {level}")
    face = {name: float(words(listed)[level - 1]) for name, listed in TABLES["emotions"][emotion]["face"].items()}
    return {name: strength for name, strength in face.items() if strength > 0}


def carriers(emotion: str) -> tuple[str, ...]:
    """The action units that carry an emotion's face: those of half its strongest one; none of a face at rest."""
    face = prototype(emotion, levels(emotion)[-1]) if len(levels(emotion)) > 1 else {}
    return tuple(name for name, strength in face.items() if strength >= 0.5 * max(face.values()))


REALISATIONS = Path(__file__).with_name("realisations.yaml")


@dataclass(frozen=True)
class Realisation:
    """A way in which people show an emotion, and its `share` of their strong takes.

    Of each unit by name the strengths at each level, and last the standard deviation between takes as a share of them.
    """

    share: float
    units: dict[str, Annotated[tuple[float, ...], BeforeValidator(words)]]


REALISED = TypeAdapter(dict[str, tuple[Realisation, ...]]).validate_python(
    yaml.load(REALISATIONS.read_text("utf-8"), yaml.CBaseLoader)
)  # realisations by real people of the emotions that were recorded; realisations.yaml says how they were measured
_ALIKE, _USUAL_SPREAD = 0.5, 0.4
"""Share of the variance between takes that all units have in common; the spread where nobody was recorded."""
_LEAST = 0.075  # half of the faintest word is nothing


def draw_realisation(emotion: str, level: int, rng: np.random.Generator) -> dict[str, float]:
    """Action units (name to strength 0-1) of one take of an emotion at a level, as some person shows it.

    A realisation is drawn by its share, then how strong the take is and each unit in it; where nobody was recorded the
    prototype varies alike. Raises what `prototype` raises.
    """
    units = {name: (strength, _USUAL_SPREAD) for name, strength in prototype(emotion, level).items()}
    if ways := REALISED.get(emotion, ()):
        shares = np.array([way.share for way in ways])
        way = ways[int(rng.choice(len(ways), p=shares / shares.sum()))]
        units = {name: (listed[level - 1], min(listed[-1], 1.0)) for name, listed in way.units.items()}
    common, own = rng.normal(), rng.normal(size=len(units))
    drawn = {
        name: strength * (1.0 + spread * (np.sqrt(_ALIKE) * common + np.sqrt(1.0 - _ALIKE) * alone))
        for (name, (strength, spread)), alone in zip(units.items(), own.tolist(), strict=True)
    }
    return {name: round(float(min(value, 1.0)), 3) for name, value in drawn.items() if value > _LEAST}


class EmotionClass(NamedTuple):
    """An emotion of `EMOTIONS` at one of its levels."""

    emotion: str
    level: int


EMOTION_CLASSES = tuple(EmotionClass(emotion, level) for emotion in EMOTIONS for level in levels(emotion))
"""Every class that speech is put into."""
