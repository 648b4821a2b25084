"""From parts to a sentence: sentence frames, and the wording of emotions and action units.

>>> describe({"brow_down": 0.9}, "angry", 2, rng=np.random.default_rng(0))
'The woman frowns strongly, and looks indignant.'

Every sentence says exactly its parts: parsed again, it gives the same emotion and level, and each strength at its
word's bucket (`vocabulary.quantise`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    EMOTION_WORDS,
    EMOTIONS,
    STRENGTH_WORDS,
    levels,
    quantise,
    strength_words,
)

if TYPE_CHECKING:
    from avi_lib.instruction.instruction import Instruction


# How action units are put into sentences: nominal phrases for "with ..." lists and verb phrases.


@dataclass(frozen=True)
class Wording:
    """Phrasings of one unit, or of several that share a strength.

    `*` is the place of an adverb, `~` of an adjective, `@` of a possessive ("his"). `states` stand in lists after
    "with"; `acts` begin with a verb in its base form. Every phrasing is understood again by `scanner.scan`.
    """

    units: tuple[str, ...]
    states: tuple[str, ...]
    acts: tuple[str, ...]


WORDINGS = (
    Wording(
        ("inner_brow_raise", "outer_brow_raise"),
        ("brow * raised", "brows * raised", "eyebrows * lifted", "brows * up", "eyebrows * arched", "* raised eyebrows",
         "* lifted brows", "both brows * raised", "a * raised forehead"),
        ("raise @ eyebrows *", "lift @ brows *", "arch @ eyebrows *", "raise both brows *", "hike @ eyebrows up *"),
    ),
    Wording(
        ("inner_brow_raise",),
        ("inner brow * raised", "inner brows * lifted", "the inner ends of @ eyebrows * raised", "* raised inner brows",
         "the inner corners of @ brows * up", "inner eyebrows * drawn up", "* lifted inner eyebrows"),
        ("raise @ inner brows *", "lift the inner corners of @ eyebrows *", "draw @ inner brows up *"),
    ),
    Wording(
        ("outer_brow_raise",),
        ("outer brow * raised", "outer brows * lifted", "the outer ends of @ eyebrows * raised", "* raised outer brows",
         "the tails of @ eyebrows * lifted", "outer eyebrows * arched", "outer brows * up"),
        ("raise @ outer brows *", "lift the tails of @ eyebrows *", "arch @ outer eyebrows *"),
    ),
    Wording(
        ("left_brow_raise",),
        ("left brow * raised", "the left eyebrow * lifted", "one eyebrow * raised", "* raised left brow",
         "one brow * arched", "the left brow * up"),
        ("raise one eyebrow *", "lift @ left eyebrow *", "cock one eyebrow *"),
    ),
    Wording(
        ("right_brow_raise",),
        ("right brow * raised", "the right eyebrow * lifted", "* raised right eyebrow", "the right eyebrow * arched",
         "the right brow * up"),
        ("raise @ right eyebrow *", "lift @ right brow *", "cock @ right eyebrow *"),
    ),
    Wording(
        ("brow_down",),
        ("brow * down", "brow * lowered", "eyebrows * lowered", "* furrowed brows", "brows * knitted", "a ~ frown",
         "brows * drawn together", "eyebrows * pulled down", "a * furrowed brow", "* lowered eyebrows"),
        ("frown *", "lower @ brows *", "furrow @ brow *", "knit @ eyebrows *", "draw @ brows together *",
         "pull @ eyebrows down *"),
    ),
    Wording(
        ("upper_lid_raise",),
        ("upper lids * raised", "upper lid * lifted", "eyes * widened", "eyes * wide", "* widened eyes",
         "eyes * wide open", "eyelids * raised", "* raised upper eyelids"),
        ("widen @ eyes *", "raise @ upper eyelids *", "open @ eyes wide *", "lift @ upper lids *"),
    ),
    Wording(
        ("cheek_raise",),
        ("cheek * raised", "cheeks * lifted", "* raised cheeks", "cheeks * pushed up", "* lifted cheeks", "cheeks * up",
         "both cheeks * raised"),
        ("raise @ cheeks *", "lift @ cheeks *", "push @ cheeks up *"),
    ),
    Wording(
        ("lid_tighten",),
        ("eyes * narrowed", "lids * tightened", "* narrowed eyes", "lower lids * tensed", "eyelids * tightened",
         "eyes * squinting", "a ~ squint", "* tightened lower eyelids"),
        ("narrow @ eyes *", "squint *", "tighten @ eyelids *", "tense @ lower lids *"),
    ),
    Wording(
        ("lid_droop",),
        ("eyelids * drooping", "lids * lowered", "* drooping eyelids", "upper lids * lowered", "eyes * drooping",
         "* lowered eyelids"),
        ("lower @ eyelids *", "let @ eyelids droop *", "let @ lids sink *"),
    ),
    Wording(
        ("eyes_closed",),
        ("eyes * closed", "eyes * shut", "* closed eyes", "eyelids * closed"),
        ("close @ eyes *", "shut @ eyes *", "close both eyes *"),
    ),
    Wording(
        ("left_wink",),
        ("the left eye * closed", "one eye * shut", "a ~ wink", "one eye * closed"),
        ("wink *", "close one eye *", "shut @ left eye *"),
    ),
    Wording(
        ("right_wink",),
        ("the right eye * closed", "the right eye * shut", "* closed right eye"),
        ("close @ right eye *", "shut @ right eye *"),
    ),
    Wording(
        ("nose_wrinkle",),
        ("nose * wrinkled", "a * wrinkled nose", "the nose * scrunched up", "nose * crinkled", "a * crinkled nose",
         "the bridge of @ nose * wrinkled"),
        ("wrinkle @ nose *", "scrunch up @ nose *", "crinkle @ nose *", "screw up @ nose *"),
    ),
    Wording(
        ("upper_lip_raise",),
        ("upper lip * raised", "a * raised upper lip", "the upper lip * lifted", "the top lip * pulled up",
         "the upper lip * curled up", "a * lifted upper lip"),
        ("raise @ upper lip *", "lift @ top lip *", "pull up @ upper lip *"),
    ),
    Wording(
        ("lip_corner_pull",),
        ("a ~ smile", "lip corner * pulled", "lip corners * raised", "the corners of @ mouth * pulled up",
         "mouth corners * lifted", "the corners of @ mouth * turned up", "* raised lip corners",
         "mouth corners * up"),
        ("smile *", "pull up the corners of @ mouth *", "lift the corners of @ mouth *", "raise @ lip corners *"),
    ),
    Wording(
        ("left_lip_corner_pull",),
        ("one corner of @ mouth * raised", "left lip corner * pulled", "a ~ smirk", "one corner of @ mouth * pulled up",
         "the left corner of @ mouth * lifted", "one side of @ mouth * raised", "one lip corner * tightened"),
        ("smirk *", "raise one corner of @ mouth *", "lift the left corner of @ mouth *", "pull up one lip corner *"),
    ),
    Wording(
        ("right_lip_corner_pull",),
        ("right lip corner * pulled", "the right corner of @ mouth * raised", "the right side of @ mouth * lifted",
         "the right corner of @ mouth * pulled up"),
        ("raise the right corner of @ mouth *", "pull up @ right lip corner *", "lift the right side of @ mouth *"),
    ),
    Wording(
        ("dimple",),
        ("lip corners * tightened", "lip corner * dimpled", "* dimpled cheeks", "cheeks * dimpled",
         "mouth corners * tucked in", "the corners of @ mouth * tightened"),
        ("tighten the corners of @ mouth *", "dimple @ cheeks *", "tuck in the corners of @ mouth *"),
    ),
    Wording(
        ("lip_corner_down",),
        ("lip corner * down", "lip corners * lowered", "the corners of @ mouth * turned down",
         "mouth corners * pulled down", "* downturned lip corners", "* drooping mouth corners",
         "the mouth * turned down", "a * downturned mouth"),
        ("lower the corners of @ mouth *", "pull down @ lip corners *", "turn down the corners of @ mouth *",
         "draw @ mouth corners down *"),
    ),
    Wording(
        ("lower_lip_down",),
        ("lower lip * lowered", "a * lowered lower lip", "the bottom lip * pulled down", "the lower lip * down"),
        ("lower @ bottom lip *", "pull down @ lower lip *", "drop @ lower lip *"),
    ),
    Wording(
        ("chin_raise",),
        ("chin * wrinkled", "a * wrinkled chin", "the lower lip * pushed up", "the chin * bunched",
         "the chin * pushed up", "the lower lip * pushed out"),
        ("push up @ chin *", "bunch @ chin *", "push @ lower lip up *", "wrinkle @ chin *"),
    ),
    Wording(
        ("pucker",),
        ("lips * puckered", "lips * pursed", "* pursed lips", "* puckered lips", "the mouth * pursed",
         "a * puckered mouth"),
        ("pucker @ lips *", "purse @ lips *", "pucker @ mouth *"),
    ),
    Wording(
        ("tongue_show",),
        ("the tongue * out", "the tongue * showing", "the tongue * exposed", "tongue * stuck out"),
        ("stick out @ tongue *", "show @ tongue *", "poke out @ tongue *"),
    ),
    Wording(
        ("lip_stretch",),
        ("lips * stretched", "* stretched lips", "the mouth * stretched", "lips * pulled back", "lips * drawn sideways",
         "a * stretched mouth"),
        ("stretch @ lips *", "pull back @ lips *", "stretch @ mouth sideways *"),
    ),
    Wording(
        ("funnel",),
        ("lips * funneled", "lips * pushed forward", "* rounded lips", "the mouth * rounded", "lips * rounded"),
        ("round @ lips *", "push @ lips forward *", "funnel @ lips *"),
    ),
    Wording(
        ("lip_tighten",),
        ("lips * tightened", "* tightened lips", "lips * tensed", "the mouth * tensed", "* thinned lips",
         "lips * narrowed"),
        ("tighten @ lips *", "tense @ lips *", "thin @ lips *"),
    ),
    Wording(
        ("lip_press",),
        ("lips * pressed together", "lips * pressed", "* pressed lips", "* compressed lips", "lips * clamped together"),
        ("press @ lips together *", "press together @ lips *", "clamp @ lips *", "compress @ lips *"),
    ),
    Wording(
        ("lips_part",),
        ("lips * parted", "* parted lips", "lips * apart", "lips * open", "* opened lips"),
        ("part @ lips *", "open @ lips *"),
    ),
    Wording(
        ("jaw_drop",),
        ("jaw * dropped", "a * dropped jaw", "the mouth * open", "the jaw * lowered", "a * opened mouth",
         "the jaw * open", "mouth * agape", "jaw * fallen"),
        ("drop @ jaw *", "open @ mouth *", "lower @ jaw *", "let @ jaw fall *"),
    ),
    Wording(
        ("lip_roll",),
        ("lips * rolled in", "lips * sucked in", "lips * tucked inward", "* tucked in lips"),
        ("roll @ lips in *", "suck in @ lips *", "tuck in @ lips *"),
    ),
    Wording(
        ("jaw_forward",),
        ("the jaw * pushed forward", "the jaw * thrust out", "a * protruding jaw", "jaw * forward"),
        ("push @ jaw forward *", "thrust @ jaw out *", "jut out @ jaw *"),
    ),
    Wording(
        ("jaw_left",),
        ("the jaw * to the left", "jaw * pushed to the left", "the lower jaw * left"),
        ("move @ jaw to the left *", "push @ jaw left *"),
    ),
    Wording(
        ("jaw_right",),
        ("the jaw * to the right", "jaw * pushed to the right", "the lower jaw * right"),
        ("move @ jaw to the right *", "push @ jaw right *"),
    ),
    Wording(
        ("cheek_puff",),
        ("cheeks * puffed", "* puffed cheeks", "cheeks * blown out", "cheeks * inflated", "* swollen cheeks"),
        ("puff out @ cheeks *", "blow out @ cheeks *", "inflate @ cheeks *"),
    ),
    Wording(
        ("head_turn_left",),
        ("the head * turned to the left", "head * turned left", "a ~ turn of the head to the left",
         "the head * rotated left"),
        ("turn @ head to the left *", "turn @ head left *"),
    ),
    Wording(
        ("head_turn_right",),
        ("the head * turned to the right", "head * turned right", "a ~ turn of the head to the right",
         "the head * rotated right"),
        ("turn @ head to the right *", "turn @ head right *"),
    ),
    Wording(
        ("head_up",),
        ("the head * raised", "head * up", "a * raised head", "the head * lifted"),
        ("raise @ head *", "lift @ chin *", "lift @ head *"),
    ),
    Wording(
        ("head_down",),
        ("the head * lowered", "head * down", "a * bowed head", "the head * bowed", "the chin * lowered"),
        ("lower @ head *", "bow @ head *", "drop @ chin *"),
    ),
    Wording(
        ("head_tilt_left",),
        ("the head * tilted", "the head * tilted to the left", "a ~ tilt of the head", "head * leaning to the left",
         "a * tilted head"),
        ("tilt @ head *", "tilt @ head to the left *", "lean @ head to the left *"),
    ),
    Wording(
        ("head_tilt_right",),
        ("the head * tilted to the right", "head * leaning to the right", "a ~ tilt of the head to the right"),
        ("tilt @ head to the right *", "lean @ head to the right *"),
    ),
    Wording(
        ("gaze_left",),
        ("eyes * to the left", "the gaze * turned left", "a ~ glance to the left", "eyes * turned to the left"),
        ("look to the left *", "glance to the left *", "turn @ eyes to the left *"),
    ),
    Wording(
        ("gaze_right",),
        ("eyes * to the right", "the gaze * turned right", "a ~ glance to the right", "eyes * turned to the right"),
        ("look to the right *", "glance to the right *", "turn @ eyes to the right *"),
    ),
    Wording(
        ("gaze_up",),
        ("eyes * raised", "the gaze * up", "a ~ upward glance", "the gaze * lifted"),
        ("look up *", "glance up *", "raise @ gaze *"),
    ),
    Wording(
        ("gaze_down",),
        ("eyes * lowered", "eyes * cast down", "a * lowered gaze", "the gaze * down", "a * downward gaze"),
        ("look down *", "lower @ gaze *", "glance down *"),
    ),
    Wording(
        ("gaze_away",),
        ("the gaze * averted", "eyes * averted", "a * averted gaze", "the gaze * turned away"),
        ("look away *", "avert @ eyes *", "turn @ gaze away *"),
    ),
    Wording(
        ("blink_more",),
        ("~ blinking", "* frequent blinking", "* rapid blinking"),
        ("flutter @ eyelids *", "bat @ eyelashes *"),
    ),
    Wording(
        ("blink_less",),
        ("a ~ stare", "a * unblinking stare", "a * fixed gaze", "* unblinking eyes"),
        ("stare *", "fix @ gaze *"),
    ),
    Wording(
        ("head_nod",),
        ("a ~ nod", "a ~ nod of the head", "a ~ bob of the head"),
        ("nod *", "nod @ head *", "bob @ head *"),
    ),
    Wording(
        ("head_shake",),
        ("a ~ shake of the head", "a ~ headshake"),
        ("shake @ head *",),
    ),
)  # fmt: skip
"""Wordings of every action unit; a pair that moves together ("brows raised") stands before its single units."""


MAX_LENGTH = 400
"""Characters an instruction may have."""

MAX_UNITS = 8
"""Action units that one sentence is made to hold; `salient` chooses them from measured ones."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Speaker:
    """Who a sentence is about.

    Its subject, possessive and noun, the gender these words tell (None where they tell none), and whether verbs take
    the plural form.
    """

    subject: str
    possessive: str
    noun: str
    gender: str | None = None
    plural: bool = False


GENDERS = ("female", "male")
"""Genders that words for a speaker can tell."""


SPEAKERS = (
    Speaker("a person", "their", "person"),
    Speaker("the person", "their", "person"),
    Speaker("he", "his", "man", "male"),
    Speaker("she", "her", "woman", "female"),
    Speaker("they", "their", "speaker", plural=True),
    Speaker("the woman", "her", "woman", "female"),
    Speaker("the man", "his", "man", "male"),
    Speaker("the speaker", "their", "speaker"),
)
"""Everyone that a sentence can be about when nobody is known; `speakers_of` takes those that fit a known person."""

_ADDRESSEE = Speaker("you", "your", "person", plural=True)
_FACE = Speaker("a face", "its", "face")


def speakers_of(gender: str | None) -> tuple[Speaker, ...]:
    """Those of `SPEAKERS` whose words guess nothing: the neutral ones, and those of the gender where it is known.

    Raises:
        InputError: a gender that is neither None nor one of `GENDERS`.
    """
    if gender is not None and gender not in GENDERS:
        raise InputError(f"a gender of {', '.join(GENDERS)}, or None", repr(gender), "pass None where it is not known")
    return tuple(speaker for speaker in SPEAKERS if speaker.gender in (None, gender))


@dataclass(frozen=True)
class Frame:
    """A sentence with slots; it serves an instruction that has exactly the parts its slots name.

    `{who}` subject, `{someone_felt}` noun phrase with the emotion, `{noun}`, `{poss}`; `{felt}` adjective phrase,
    `{mood}` noun phrase; `{states}` list after "with"; `{acts}`, `{doing}`, `{do}` verb phrases in the third person, as
    participles, as orders; `{feel}`, `{speak}` ... verbs that agree with the subject.
    """

    text: str

    def slots(self) -> frozenset[str]:
        """Names of the slots."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.text) if name)

    def serves(self, emotion: bool, units: bool) -> bool:
        """Whether the frame says an emotion and units just when they are there."""
        slots = self.slots()
        return bool(slots & {"felt", "mood", "someone_felt"}) == emotion and bool(slots & set(_UNIT_SLOTS)) == units

    def speakers(self, known: Sequence[Speaker]) -> Sequence[Speaker]:
        """Those the sentence can be about: the ones that are `known`, or the one it addresses, or a face."""
        if self.slots() & {"who", "someone_felt", "noun"}:
            return known
        return (_FACE,) if "face" in self.text else (_ADDRESSEE,)


_UNIT_SLOTS = ("states", "acts", "doing", "do")
_VERBS = ("feel", "speak", "look", "talk", "show", "sound", "seem", "say")

FRAMES = tuple(
    Frame(text)
    for text in (
        "{who} {feel} {felt} and {speak} with {states}.",
        "{who} {look} {felt} and {talk} with {states}.",
        "{someone_felt} speaks with {states}.",
        "{who} {show} {mood} and {speak} with {states}.",
        "{who} {sound} {felt}, speaking with {states}.",
        "speaking with {states}, {who} {seem} {felt}.",
        "with {states}, {who} {look} {felt}.",
        "{who} {are} {felt}, {doing}.",
        "{who} {seem} {felt} and, while speaking, {acts}.",
        "feeling {felt}, {who} {acts} while speaking.",
        "look {felt}, and {do}.",
        "speak as if you were {felt}: {do}.",
        "{someone_felt}, with {states}.",
        "{who} {acts}, and {look} {felt}.",
        "with {mood} in {poss} voice, {who} {talk} with {states}.",
        "{who} {speak} with {mood}, {doing}.",
        "{who} {feel} {felt}.",
        "{who} {look} {felt} while speaking.",
        "{someone_felt} is speaking.",
        "{who} {speak} with {mood}.",
        "{who} {sound} {felt}.",
        "sound {felt}.",
        "you can see {mood} on the {noun}'s face.",
        "feeling {felt}, {who} {speak}.",
        "there is {mood} in {poss} voice as {who} {speak}.",
        "{who} {speak} with {states}.",
        "{who} {talk}, {doing}.",
        "{who} {acts} while speaking.",
        "while speaking, {who} {acts}.",
        "please {do}.",
        "when you speak, {do}.",
        "a face with {states}.",
        "{who} {say} this with {states}.",
        "{who} {speak}.",
        "{who} {talk} to the camera.",
        "just speak.",
    )
)
"""Sentence frames; the first is the plain template of captioned talking-face corpora."""

_PREDICATIVE = frozenset(("afraid", "glad", "content", "cross", "mad", "aloof", "riled", "put", "turned", "sickened"))
_LOOSE_DEGREES = ("a ", "to some", "ever so")
_DOUBLED = frozenset(("drop", "knit", "shut", "let", "nod", "bob", "jut", "thin"))


@dataclass(frozen=True)
class Phrasing:
    """Which frames, words and phrasings may be said, asked for by their text; remembers what was said.

    Where a place has none that may be said, all may, or with `strict` the sentence cannot be said (`UnsayableError`).
    """

    keep: Callable[[str], bool]
    strict: bool = False
    said: list[str] = field(default_factory=list)

    def of(self, choices: Sequence[_T], rng: np.random.Generator, text: Callable[[_T], str] = str) -> _T:
        """One of the choices that may be said."""
        kept = [choice for choice in choices if self.keep(text(choice))]
        if not kept and self.strict:
            raise UnsayableError(text(choices[0]))
        chosen = (kept or choices)[int(rng.integers(len(kept or choices)))]
        self.said.append(text(chosen))
        return chosen


class UnsayableError(Exception):
    """A strict phrasing has no words for a place."""


@dataclass(frozen=True)
class _Draw:
    """Where words come from: a random stream, and the phrasing, anything when None."""

    rng: np.random.Generator
    phrasing: Phrasing | None = None

    def of(self, choices: Sequence[_T], text: Callable[[_T], str] = str) -> _T:
        if self.phrasing is not None:
            return self.phrasing.of(choices, self.rng, text)
        return choices[int(self.rng.integers(len(choices)))]


def _with_article(phrase: str) -> str:
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("eu", "uni"))
    return f"an {phrase}" if vowel else f"a {phrase}"


def _third_person(verb: str) -> str:
    return f"{verb}es" if verb.endswith(("s", "sh", "ch", "x")) else f"{verb}s"


def _participle(verb: str) -> str:
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1]}ing" if verb.endswith("e") else f"{verb}ing"


def _felt(emotion: str, level: int, draw: _Draw) -> str:
    """An adjective phrase that means the emotion at the level: a word of that level, or a plain word with a degree."""
    words = EMOTION_WORDS[emotion]
    if not words.mild or draw.rng.random() < 0.5:
        return draw.of(words.adjectives(level))
    degrees = [degree for bucket in STRENGTH_WORDS if bucket.shift == level - 2 for degree in bucket.felt]
    single = [word for word in words.plain if " " not in word]
    return f"{draw.of(degrees)} {draw.of(single)}".strip()


def _someone(felt: str, noun: str) -> str:
    """Such as "an angry man", or "a man who is full of scorn" where the adjective cannot stand before the noun."""
    *degree, last = felt.split()
    clumsy = last in _PREDICATIVE or felt.startswith(_LOOSE_DEGREES) or len(degree) > 1 or not felt.isascii()
    phrasal = bool(degree) and all(felt not in (f"{word} {last}" for word in bucket.felt) for bucket in STRENGTH_WORDS)
    return f"a {noun} who is {felt}" if clumsy or phrasal else _with_article(f"{felt} {noun}")


def _fill(phrase: str, strength: float, possessive: str, draw: _Draw) -> str:
    """A phrasing with its adverb or adjective, possessive and article put in."""
    words = strength_words(strength)
    phrase = phrase.replace("~", draw.of(words.adjectives)) if "~" in phrase else phrase
    phrase = phrase.replace("*", draw.of(words.after if phrase.endswith("*") else words.before))
    phrase = " ".join(phrase.replace("@", possessive).split())
    if not phrase.startswith("a "):
        return phrase
    noun_phrase = phrase.removeprefix("a ")
    return noun_phrase if noun_phrase.startswith("a ") else _with_article(noun_phrase)


def _listed(phrases: Sequence[str], joint: str = "and") -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} {joint} {phrases[-1]}"


def _groups(units: Mapping[str, float], draw: _Draw) -> list[tuple[Wording, float]]:
    """Wordings that cover the units, in random order; units that move together at one strength are said together."""
    left = dict(units)
    found = []
    for wording in WORDINGS:
        strengths = {left.get(name) for name in wording.units}
        strength = strengths.pop()
        if strength is not None and not strengths:
            found.append((wording, strength))
            for name in wording.units:
                del left[name]
    return [found[i] for i in draw.rng.permutation(len(found))]


def _act(wording: Wording, strength: float, form: str, speaker: Speaker, draw: _Draw) -> str:
    verb, _, rest = draw.of(wording.acts).partition(" ")
    if form == "acts" and not speaker.plural:
        verb = _third_person(verb)
    elif form == "doing":
        verb = _participle(verb)
    return _fill(f"{verb} {rest}", strength, speaker.possessive, draw)


def _said(slot: str, groups: Sequence[tuple[Wording, float]], speaker: Speaker, draw: _Draw) -> str:
    if slot == "states":
        return _listed([_fill(draw.of(w.states), s, speaker.possessive, draw) for w, s in groups])
    return _listed([_act(wording, strength, slot, speaker, draw) for wording, strength in groups])


def _denied(groups: Sequence[tuple[Wording, float]], speaker: Speaker, draw: _Draw) -> str:
    """Such as ", without smiling or lowering his brows" for the units at strength 0."""
    phrases = []
    for wording, _ in groups:
        verb, _, rest = draw.of(wording.acts).removesuffix("*").replace("@", speaker.possessive).partition(" ")
        phrases.append(f"{_participle(verb)} {rest}".strip())
    return f", without {' or '.join(phrases)}" if phrases else ""


def _sentence(
    units: Mapping[str, float],
    emotion: str | None,
    level: int | None,
    draw: _Draw,
    frame: Frame,
    speakers: Sequence[Speaker],
) -> str:
    speaker = _Draw(draw.rng).of(frame.speakers(speakers))
    groups = _groups(units, draw)
    moving = [group for group in groups if group[1] > 0]
    slots = {
        "who": speaker.subject,
        "noun": speaker.noun,
        "poss": speaker.possessive,
        "are": "are" if speaker.plural else "is",
        **{verb: verb if speaker.plural else _third_person(verb) for verb in _VERBS},
    }
    if emotion and level:
        felt = _felt(emotion, level, draw)
        slots |= {"felt": felt, "someone_felt": _someone(felt, speaker.noun)}
        slots |= {"mood": draw.of(EMOTION_WORDS[emotion].nouns[level - 1])}
    slots |= {slot: _said(slot, moving, speaker, draw) for slot in _UNIT_SLOTS if slot in frame.slots()}
    text = frame.text.format_map(slots)
    text = text.removesuffix(".") + _denied([group for group in groups if group[1] == 0], speaker, draw) + "."
    return text[0].upper() + text[1:]


def _spoken(action_units: Mapping[str, float]) -> dict[str, float]:
    """Strengths at their words' buckets, without those too faint for the faintest word; an exact 0 stays."""
    return {name: quantise(value) for name, value in action_units.items() if value == 0.0 or quantise(value) > 0.0}


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
    frame: Frame | None = None,
    speakers: Sequence[Speaker] = SPEAKERS,
    phrasing: Phrasing | None = None,
) -> str:
    """A sentence that says an emotion and action units, and nothing else.

    Args:
        action_units: name to strength 0-1, at most `MAX_UNITS`; said at the bucket nearest to it. Exactly 0 is said as
            "without ...", less than half of the faintest word is left out.
        emotion: one of `EMOTIONS`, or None to say none.
        level: the emotion's level; None takes 2, or 1 where the emotion has no other.
        rng: draws the frame, the speaker and the words.
        frame: one of `FRAMES`; drawn among those that fit when None.
        speakers: whom the sentence may be about, such as `speakers_of("female")`; anyone by default. A sentence that
            addresses its reader, or is about a face, names none of them.
        phrasing: which frames, words and phrasings (as in `wordings`) may be said, anything when None. For texts that
            hold out wordings from others.

    Raises:
        UnsayableError: a strict phrasing has no words for a place.
        InputError: an unknown emotion, level or unit, too many units, a frame with other slots than there are parts,
            or no speaker.
    """
    if emotion is not None and emotion not in EMOTIONS:
        raise InputError(f"an emotion of {', '.join(EMOTIONS)}", repr(emotion), "choose one of them")
    if emotion is not None and level is None:
        level = levels(emotion)[len(levels(emotion)) // 2]
    if emotion is not None and level not in levels(emotion):
        raise InputError(f"for emotion {emotion} a level of {levels(emotion)}", repr(level), "choose one of them")
    if unknown := sorted(set(action_units) - set(ACTION_UNITS)):
        raise InputError("known action units", ", ".join(unknown), "see avi_lib.instruction.action_units.ACTION_UNITS")
    if len(action_units) > MAX_UNITS:
        raise InputError(
            f"at most {MAX_UNITS} action units", f"{len(action_units)}", "keep the strongest with `salient`"
        )
    if not speakers:
        raise InputError("at least one speaker", "none", "pass those of `speakers_of`")
    units = _spoken(action_units)
    fitting = [f for f in FRAMES if f.serves(emotion is not None, any(units.values()))]
    if frame is not None and frame not in fitting:
        raise InputError("a frame with a slot for each part", repr(frame.text), "leave the frame out to have one drawn")
    draw = _Draw(rng, phrasing)
    while True:  # a draw is rarely too long: 8 units take 250 characters on average
        text = _sentence(units, emotion, level, draw, frame or draw.of(fitting, lambda each: each.text), speakers)
        if len(text) <= MAX_LENGTH:
            return text


def paraphrases(
    instruction: Instruction, n: int, seed: int, *, speakers: Sequence[Speaker] = SPEAKERS
) -> tuple[str, ...]:
    """`n` different sentences that say what an instruction asks for; the same seed gives the same ones.

    `speakers` are those that the sentences may be about, as in `describe`.

    Raises:
        InputError: the grammar has fewer sentences for it, it holds more than `MAX_UNITS` units, or no speaker.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    for _ in range(50 * n):
        if len(found) == n:
            break
        parts = (instruction.action_units, instruction.emotion, instruction.level)
        found[describe(*parts, rng=rng, speakers=speakers)] = None
    if len(found) < n:
        raise InputError(f"an instruction with {n} paraphrases", f"about {len(found)}", "ask for fewer")
    return tuple(found)
