"""From parts to a sentence: sentence frames, and the wording of emotions and action units.

>>> describe({"brow_down": 0.9}, "angry", 2, rng=np.random.default_rng(0))
'The woman frowns strongly, and looks indignant.'

Every sentence says exactly its parts: parsed again, it gives the same emotion and level, and each strength at its
word's bucket (`action_units.quantise`). Frames, words and phrasings are those of words.yaml.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from operator import contains

import numpy as np

from avi_lib.errors import InputError
from avi_lib.instruction import action_units
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, TABLES, EmotionClass, levels, quantise, words
from avi_lib.instruction.parser import scan

MAX_LENGTH = 400  # characters an instruction may have
MAX_UNITS = 8  # action units that one sentence is made to hold; `salient` chooses them from measured ones


_SAID = sorted((each for each in action_units.WORDINGS if each.states), key=lambda each: -len(each.units))


@dataclass(frozen=True)
class Speaker:
    """Who a sentence is about: subject, possessive and noun, and the gender these tell (None where they tell none)."""

    subject: str
    possessive: str
    noun: str
    gender: str | None = None


GENDERS = ("female", "male")  # genders that words for a speaker can tell
SPEAKERS = tuple(Speaker(*words(listed)) for listed in TABLES["speakers"])
"""Everyone that a sentence can be about when nobody is known; `speakers_of` takes those that fit a known person."""
_ADDRESSEE = Speaker("you", "your", "person")
_FACE = Speaker("a face", "its", "face")


def speakers_of(gender: str | None) -> tuple[Speaker, ...]:
    """Those of `SPEAKERS` whose words guess nothing: the neutral ones, and those of the gender where it is known.

    Raises InputError for a gender that is neither None nor one of `GENDERS`.
    """
    if gender is not None and gender not in GENDERS:
        raise InputError(f"a gender of {', '.join(GENDERS)}, or None", repr(gender), "pass None where it is not known")
    return tuple(speaker for speaker in SPEAKERS if speaker.gender in (None, gender))


FRAMES = tuple(TABLES["frames"].splitlines())
"""Sentences with slots, as words.yaml explains them; the first is the plain one of captioned talking-face corpora."""
PLAIN_FRAME = "{who} {speak} with {states}."  # the plain sentence that names action units alone
_UNIT_SLOTS = ("states", "acts", "doing", "do")
_DOUBLED, _PREDICATIVE = frozenset(words(TABLES["doubled"])), frozenset(words(TABLES["predicative"]))
_VERBS = ("feel", "speak", "look", "talk", "show", "sound", "seem", "say")


@cache
def slots(frame: str) -> frozenset[str]:
    """Names of a frame's slots."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(frame) if name)


def serves(frame: str, emotion: bool, units: bool) -> bool:
    """Whether a frame says an emotion and units just when they are there."""
    named = slots(frame)
    return bool(named & {"felt", "mood", "someone_felt"}) == emotion and bool(named & set(_UNIT_SLOTS)) == units


@dataclass(frozen=True)
class Phrasing:
    """Which frames, words and phrasings may be said, asked for by their text; remembers what was said.

    Where a place has none that may be said, all may, or with `strict` the sentence cannot be said (`UnsayableError`).
    """

    keep: Callable[[str], bool] = lambda _: True
    strict: bool = False
    said: list[str] = field(default_factory=list)

    def of(self, choices: Sequence[str], rng: np.random.Generator) -> str:
        """One of the choices that may be said."""
        kept = [choice for choice in choices if self.keep(choice)]
        if not kept and self.strict:
            raise UnsayableError(choices[0])
        chosen = (kept or choices)[int(rng.integers(len(kept or choices)))]
        self.said.append(chosen)
        return chosen


class UnsayableError(Exception):
    """A strict phrasing has no words for a place."""


def _with_article(phrase: str) -> str:
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("eu", "uni"))
    return f"an {phrase}" if vowel else f"a {phrase}"


def _third_person(verb: str) -> str:
    return f"{verb}es" if verb.endswith(("s", "sh", "ch", "x")) else f"{verb}s"


def _participle(verb: str) -> str:
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1]}ing" if verb.endswith("e") else f"{verb}ing"


def _someone(felt: str, noun: str) -> str:
    """Such as "an angry man", or "a man who is full of scorn" where the adjective cannot stand before the noun."""
    *degree, last = felt.split()
    clumsy = last in _PREDICATIVE or felt.startswith(("a ", "to some", "ever so")) or len(degree) > 1
    graded = any(felt == f"{word} {last}" for bucket in action_units.STRENGTH_WORDS for word in bucket.emotions)
    return f"a {noun} who is {felt}" if clumsy or (degree and not graded) else _with_article(f"{felt} {noun}")


@dataclass(frozen=True)
class _Writer:
    """What the places of a sentence are filled from."""

    rng: np.random.Generator
    phrasing: Phrasing
    speaker: Speaker

    def pick(self, choices: Sequence[str]) -> str:
        return self.phrasing.of(choices, self.rng)

    def felt(self, emotion: str, level: int) -> str:
        """An adjective phrase for the emotion at the level: a word of that level, or a plain word with a degree."""
        adjectives = action_units.EMOTION_WORDS[emotion].adjectives
        if len(adjectives) == 1 or self.rng.random() < 0.5:
            return self.pick(adjectives[level - 1])
        degrees = [
            degree for bucket in action_units.STRENGTH_WORDS if bucket.shift == level - 2 for degree in bucket.emotions
        ]
        return f"{self.pick(degrees)} {self.pick([word for word in adjectives[1] if ' ' not in word])}".strip()

    def fill(self, phrase: str, strength: float) -> str:
        """A phrasing with its adverb or adjective, possessive and article put in."""
        bucket = min(action_units.STRENGTH_WORDS, key=lambda each: abs(each.strength - strength))
        phrase = phrase.replace("~", self.pick(bucket.adjectives)) if "~" in phrase else phrase
        phrase = phrase.replace("*", self.pick(bucket.after if phrase.endswith("*") else bucket.before))
        phrase = " ".join(phrase.replace("@", self.speaker.possessive).split())
        if not phrase.startswith("a "):
            return phrase
        noun_phrase = phrase.removeprefix("a ")
        return noun_phrase if noun_phrase.startswith("a ") else _with_article(noun_phrase)

    def moving(self, slot: str, groups: Sequence[tuple[action_units.Wording, float]]) -> str:
        """What moves, as the slot wants it: noun phrases, or verbs in the third person, as participles, as orders."""
        said = []
        for wording, strength in groups:
            phrase = self.pick(wording.states if slot == "states" else wording.acts)
            verb, _, rest = phrase.partition(" ")
            if slot == "acts" and self.speaker.subject != "they":
                phrase = f"{_third_person(verb)} {rest}"
            elif slot == "doing":
                phrase = f"{_participle(verb)} {rest}"
            said.append(self.fill(phrase, strength))
        return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)

    def forbidden(self, groups: Sequence[tuple[action_units.Wording, float]]) -> str:
        """Such as ", without smiling or lowering his brows" for the units at strength 0."""
        phrases = []
        for wording, _ in groups:
            act = self.pick(wording.acts).removesuffix("*").replace("@", self.speaker.possessive)
            verb, _, rest = act.partition(" ")
            phrases.append(f"{_participle(verb)} {rest}".strip())
        return f", without {' or '.join(phrases)}" if phrases else ""


def _groups(units: Mapping[str, float], rng: np.random.Generator) -> list[tuple[action_units.Wording, float]]:
    """Wordings that cover the units, in random order; units that move together at one strength are said together."""
    left = dict(units)
    found = []
    for wording in _SAID:
        strengths = {left.get(name) for name in wording.units}
        strength = strengths.pop()
        if strength is not None and not strengths:
            found.append((wording, strength))
            for name in wording.units:
                del left[name]
    return [found[i] for i in rng.permutation(len(found))]


def _sentence(units: Mapping[str, float], emotion: str | None, level: int | None, frame: str, writer: _Writer) -> str:
    speaker, named = writer.speaker, slots(frame)
    plural = speaker.subject == "they"
    groups = _groups(units, writer.rng)
    filled = {
        "who": speaker.subject,
        "noun": speaker.noun,
        "poss": speaker.possessive,
        "are": "are" if plural else "is",
        **{verb: verb if plural else _third_person(verb) for verb in _VERBS},
    }
    if emotion and level:
        felt = writer.felt(emotion, level)
        filled |= {"felt": felt, "someone_felt": _someone(felt, speaker.noun)}
        filled |= {"mood": writer.pick(action_units.EMOTION_WORDS[emotion].nouns[level - 1])}
    moving = [group for group in groups if group[1] > 0]
    filled |= {slot: writer.moving(slot, moving) for slot in _UNIT_SLOTS if slot in named}
    text = frame.format_map(filled).removesuffix(".")
    text += writer.forbidden([group for group in groups if group[1] == 0]) + "."
    return text[0].upper() + text[1:]


def salient(action_units: Mapping[str, float], most: int = MAX_UNITS) -> dict[str, float]:
    """The strongest action units that words can say, at most `most`: what to keep of measured ones for `describe`."""
    audible = {name: value for name, value in action_units.items() if quantise(value) > 0.0}
    return dict(sorted(audible.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def describe(
    action_units: Mapping[str, float],
    emotion: str | None = None,
    level: int | None = None,
    *,
    rng: np.random.Generator,
    frame: str | None = None,
    speakers: Sequence[Speaker] = SPEAKERS,
    phrasing: Phrasing | None = None,
) -> str:
    """A sentence that says an emotion and action units, and nothing else.

    `action_units` are names with strengths 0-1, at most `MAX_UNITS`, each said at the bucket nearest to it: exactly 0
    as "without ...", less than half of the faintest word not at all. Without a level it is 2, or 1 where the emotion
    has no other. `frame` is one of `FRAMES`, drawn among those that fit when None. `speakers` are those that the
    sentence may be about; one that addresses its reader, or is about a face, names none of them. `phrasing` says which
    frames, words and phrasings may be said, for texts that hold out wordings from others. Raises UnsayableError where a
    strict phrasing has no words for a place; InputError for an unknown emotion, level or unit, too many units, a frame
    with other slots than there are parts, and no speaker.
    """
    if emotion is not None and emotion not in EMOTIONS:
        raise InputError(f"an emotion of {', '.join(EMOTIONS)}", repr(emotion), "choose one of them")
    if emotion is not None and level is None:
        level = levels(emotion)[len(levels(emotion)) // 2]
    if emotion is not None and level not in levels(emotion):
        raise InputError(f"for emotion {emotion} a level of {levels(emotion)}", repr(level), "choose one of them")
    if unknown := sorted(set(action_units) - set(ACTION_UNITS)):
        raise InputError("known action units", ", ".join(unknown), "see avi_lib.instruction.action_units.ACTION_UNITS")
    if (count := len(action_units)) > MAX_UNITS:
        raise InputError(f"at most {MAX_UNITS} action units", f"{count}", "keep the strongest with `salient`")
    if not speakers:
        raise InputError("at least one speaker", "none", "pass those of `speakers_of`")
    units = {name: quantise(value) for name, value in action_units.items() if value == 0.0 or quantise(value) > 0.0}
    fitting = [each for each in FRAMES if serves(each, emotion is not None, any(units.values()))]
    if frame is not None and frame not in fitting:
        raise InputError("a frame with a slot for each part", repr(frame), "leave the frame out to have one drawn")
    phrasing = phrasing or Phrasing()
    while True:  # a draw is rarely too long: 8 units take 250 characters on average
        chosen = frame or phrasing.of(fitting, rng)
        about = speakers if slots(chosen) & {"who", "someone_felt", "noun"} else ()
        about = about or ((_FACE,) if "face" in chosen else (_ADDRESSEE,))
        writer = _Writer(rng, phrasing, about[int(rng.integers(len(about)))])
        text = _sentence(units, emotion, level, chosen, writer)
        if len(text) <= MAX_LENGTH:
            return text


# Answers: the plain sentence that is written of a clip, the questions asked of the language model, and their words.

OPENING = "A person feels"  # how every answer begins; the emotion has its place behind it
ANSWER_UNITS = 2  # action units that an answer names
DRAWN_WORDINGS = 24  # wordings of the units that are drawn for an answer; the shortest is taken
CONSIDERED = 3  # action units of a prototype that a sentence may name where none is heard

QUESTIONS = tuple(TABLES["questions"].splitlines())
"""Ways to ask; the first is the one that is asked outside of training."""


def class_words(label: EmotionClass) -> str:
    """The words for an emotion class, such as "quite angry"."""
    words = {"fear": "afraid", "contempt": "contemptuous", "neutral": "no particular emotion"}
    name = words.get(label.emotion, label.emotion)
    degree = ("slightly", "quite", "extremely")[label.level - 1]
    return name if len(levels(label.emotion)) == 1 else f"{degree} {name}"


def worded(label: EmotionClass, units: Mapping[str, float]) -> str:
    """The sentence for an emotion class and action units (name to strength 0-1): it names the strongest two."""
    opening, kept = f"{OPENING} {class_words(label)}", salient(units, ANSWER_UNITS)
    if not kept:
        return f"{opening}."
    rngs = map(np.random.default_rng, range(DRAWN_WORDINGS))
    said = [describe(kept, rng=rng, frame=PLAIN_FRAME, speakers=SPEAKERS[:1]) for rng in rngs]
    return f"{opening} and {min(said, key=len).removeprefix('A person ')}"


@cache
def answer(emotion: str, level: int) -> str:
    """The sentence for an emotion at a level, with the strongest action units of its prototype."""
    return worded(EmotionClass(emotion, level), action_units.prototype(emotion, level))


@cache
def _said_alone(number: int, strength: float) -> tuple[str, ...]:
    """All that says the units of one of `_SAID` at a strength, behind "with", and is understood as just these."""
    wording = _SAID[number]
    bucket = min(action_units.STRENGTH_WORDS, key=lambda each: abs(each.strength - strength))
    found = dict[str, None]()
    for phrase in wording.states:
        adverbs = bucket.after if phrase.endswith("*") else bucket.before if "*" in phrase else ("",)
        for adverb, adjective in itertools.product(adverbs, bucket.adjectives if "~" in phrase else ("",)):
            kept = Phrasing(partial(contains, (adverb, adjective)))
            found[_Writer(np.random.default_rng(0), kept, SPEAKERS[0]).fill(phrase, strength)] = None
    asked = dict.fromkeys(wording.units, strength)
    scans = {phrase: scan(f"{SPEAKERS[0].subject} speaks with {phrase}.") for phrase in found}
    return tuple(text for text, each in scans.items() if each.units == asked and not each.unknown)


def continuations(
    label: EmotionClass, heard: tuple[tuple[str, float], ...], said: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """What may follow the pieces of a sentence for an emotion class that are `said`, each with the units it names.

    The first piece names the class, every other one action units, in any wording and in any order: all that are heard,
    with strengths 0-1. Where none is, they are one or two of the strongest of the class's prototype. There is nothing
    behind the end of the sentence. Any path through the pieces is understood as the class and these units.
    """
    units = {name: quantise(value) for name, value in heard if quantise(value) > 0}
    most = len(units) or 2
    units = units or {n: quantise(v) for n, v in salient(action_units.prototype(*label), CONSIDERED).items()}
    if not said:
        return {f" {class_words(label)} and speaks with" if units else f" {class_words(label)}.": ()}
    if said[-1].endswith("."):
        return {}
    groups = _groups(units, np.random.default_rng(0))
    phrases = [(_said_alone(_SAID.index(each), strength), tuple(each.units)) for each, strength in groups]
    spoken = {piece.strip(" ,").removesuffix(" and") for piece in said[1:]}
    left = [(texts, names) for texts, names in phrases if spoken.isdisjoint(texts)]
    last = len(left) == 1 or (not heard and len(said) == most)
    ends = (".",) if last else (" and", ".") if not heard else (" and",) if len(left) == 2 else (",",)
    return {f" {text}{end}": names for texts, names in left for text in texts for end in ends}
