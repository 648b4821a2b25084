"""From a sentence to what it asks for: words are reduced to stems, looked up as phrases, and joined clause by clause.

>>> scan("She is furious, with slightly raised brows.").units
{'inner_brow_raise': 0.3, 'outer_brow_raise': 0.3}

1. `tokenise`: words, numbers and punctuation, in lower case.
2. The longest phrase of the lexicon at each place becomes an item: an emotion, units, a part of the face, a movement, a
   strength, a negation or the end of a clause; other words are kept as unknown.
3. In each clause parts and movements pair up to units, strengths and negations go to the nearest emotion or units.

Nothing in the text is executed or used as a pattern or format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Literal

from avi_lib.instruction.action_units import (
    ACTION_UNITS,
    BREAKS,
    DETERMINERS,
    EMOTION_WORDS,
    FUNCTION_WORDS,
    NEGATIONS,
    PLAIN_STRENGTH,
    STRENGTH_WORDS,
)

# Words of a sentence: tokens, and the stems that inflections share.


_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[%.,;:!?()—–]")
"""A number, a word (apostrophes inside it), or a mark; hyphens only separate words."""

MARKS = frozenset("%.,;:!?()—–")
"""Tokens that are punctuation."""

_IRREGULAR = {
    "drawn": "draw", "drew": "draw", "fell": "fall", "fallen": "fall", "sank": "sink", "sunk": "sink", "rose": "rise",
    "risen": "rise", "shook": "shake", "shown": "show", "blown": "blow", "blew": "blow", "hung": "hang",
    "stuck": "stick", "bitten": "bite", "biting": "bite", "swollen": "swell", "thrown": "throw", "threw": "throw",
    "wept": "weep", "hidden": "hide", "kept": "keep", "wore": "wear", "women": "woman", "men": "man",
    "tooth": "teeth", "goes": "go", "lowers": "lowered", "lowering": "lowered", "knitted": "knit", "eyed": "eye",
}  # fmt: skip
"""Forms that no rule leads to their base; "lowers" is kept from "lower", which is also an adjective ("lower lip")."""

_WHOLE = frozenset(
    "bite made please hardly barely bare lately nearly openly closely only this does has was during something nothing"
    " anything less feeling shed need speed indeed content contentment shaken seething sidelong sideways always"
    " widely tightly partly heavily visibly lowered".split()
)
"""Words that the rules would turn into other words ("hardly" into "hard", "pleased" and "please" into one)."""


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """The stem that a word shares with its inflections: raise, raises, raised, raising -> "rais".

    A light form of step 1 of Porter, "An algorithm for suffix stripping" (1980), with -ly removed as well, so that
    "slight" and "slightly" are one word, and -ize read as -ise.
    """
    word = _IRREGULAR.get(word, word)
    if word in _WHOLE:
        return word
    if word.endswith("ily") and len(word) > 5:
        word = word[:-3] + "y"
    elif word.endswith("bly") and len(word) > 5:
        word = word[:-1] + "e"
    elif word.endswith("ly") and len(word) > 4:
        word = word[:-2]
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    else:
        for suffix in ("ing", "ed", "es", "s"):
            rest = word[: -len(suffix)]
            if word.endswith(suffix) and len(rest) >= 3 and not word.endswith(("ss", "us")) and _has_vowel(rest):
                word = rest
                break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if word.endswith("iz") and len(word) > 4:
        word = word[:-1] + "s"
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


def _has_vowel(word: str) -> bool:
    return any(letter in "aeiouy" for letter in word)


def tokenise(text: str) -> list[str]:
    """Words, numbers and punctuation marks of a text in lower case; a possessive 's is cut off, n't becomes "not"."""
    tokens = []
    for token in _TOKEN.findall(text.casefold().replace("’", "'")):
        if token.endswith("n't"):
            tokens.append("not")
        else:
            tokens.append(token.split("'")[0] if "'" in token else token)
    return tokens


def stems_of(phrase: str) -> tuple[str, ...]:
    """The stems under which a phrase is looked up, determiners left out."""
    return tuple(stem(word) for word in tokenise(phrase) if word not in DETERMINERS)


# Words for action units: the parts of the face, what they do, and whole phrases.


Units = tuple[tuple[str, float], ...]
"""Action units with the factor a phrase puts on its strength."""

PARTS: dict[str, tuple[str, ...]] = {
    "inner brow": ("inner brow", "inner eyebrow", "inner corner of brow", "inner corner of eyebrow",
                   "inner end of brow", "inner end of eyebrow", "inner part of brow", "inner part of eyebrow",
                   "inner half of brow", "middle of brow", "inner edge of brow", "inside of brow"),
    "outer brow": ("outer brow", "outer eyebrow", "outer corner of brow", "outer corner of eyebrow",
                   "outer end of brow", "outer end of eyebrow", "outer part of brow", "outer part of eyebrow",
                   "outer half of brow", "tail of brow", "tail of eyebrow", "outer edge of brow"),
    "left brow": ("left brow", "left eyebrow", "one brow", "one eyebrow", "single eyebrow", "single brow"),
    "right brow": ("right brow", "right eyebrow", "other brow", "other eyebrow"),
    "brow": ("brow", "eyebrow", "both brow", "both eyebrow"),
    "forehead": ("forehead",),
    "upper lid": ("upper lid", "upper eyelid", "top lid", "top eyelid"),
    "lower lid": ("lower lid", "lower eyelid", "bottom lid", "bottom eyelid"),
    "lid": ("lid", "eyelid"),
    "left eye": ("left eye", "one eye"),
    "right eye": ("right eye", "other eye"),
    "eye": ("eye", "both eye"),
    "gaze": ("gaze", "glance", "line of sight", "eyeline"),
    "nose": ("nose", "bridge of nose"),
    "cheek": ("cheek", "both cheek"),
    "upper lip": ("upper lip", "top lip"),
    "lower lip": ("lower lip", "bottom lip"),
    "lip corner": ("lip corner", "mouth corner", "corner of mouth", "corner of lip", "both corner of mouth",
                   "both mouth corner", "both lip corner", "edge of mouth", "side of mouth"),
    "left lip corner": ("left lip corner", "left mouth corner", "left corner of mouth", "left side of mouth",
                        "one lip corner", "one mouth corner", "one corner of mouth", "one side of mouth",
                        "corner of mouth on left", "single mouth corner", "one corner of lip", "left corner of lip"),
    "right lip corner": ("right lip corner", "right mouth corner", "right corner of mouth", "right side of mouth",
                         "other corner of mouth", "corner of mouth on right", "right corner of lip"),
    "lip": ("lip", "both lip"),
    "mouth": ("mouth",),
    "jaw": ("jaw", "lower jaw", "mandible"),
    "teeth": ("teeth", "tooth"),
    "chin": ("chin", "chin boss"),
    "tongue": ("tongue", "tip of tongue"),
    "head": ("head",),
}  # fmt: skip
"""Parts of the face and the words for them."""

MOVES: dict[str, tuple[str, ...]] = {
    "raise": ("raise", "lift", "up", "upward", "upwards", "elevate", "arch", "hike", "climb", "rise", "cock",
              "upturned"),
    "lower": ("lower", "down", "downward", "downwards", "drop", "fall", "sink", "downturned", "sag", "bow", "lowered",
              "lowers", "lowering"),
    "furrow": ("furrow", "knit", "knot", "pinch", "contract", "crease", "bunch", "scrunch together"),
    "together": ("together",),
    "widen": ("wide", "widen", "bulge", "pop", "wide open", "big and round"),
    "narrow": ("narrow", "slit", "squinty", "squeeze"),
    "tighten": ("tight", "tighten", "tense", "taut", "thin"),
    "close": ("close", "shut"),
    "open": ("open", "agape", "gape", "ajar", "slack", "unhinge"),
    "part": ("part", "separate", "apart"),
    "press": ("press", "clamp", "compress", "press tight", "tight press"),
    "pucker": ("pucker", "purse"),
    "funnel": ("funnel", "trumpet", "round"),
    "stretch": ("stretch", "sideways", "back", "horizontal", "horizontally"),
    "roll": ("roll", "suck", "tuck", "bite", "fold"),
    "in": ("in",),
    "inward": ("inward", "inwards"),
    "wrinkle": ("wrinkle", "crinkle", "scrunch", "screw", "wrinkled up"),
    "puff": ("puff", "blow", "balloon", "swell", "swollen", "inflate", "fill with air", "full of air", "bloat"),
    "dimple": ("dimple",),
    "out": ("out", "protrude", "stick", "poke", "jut", "thrust", "outward", "outwards", "forward", "forwards"),
    "show": ("show", "visible", "bare", "expose"),
    "droop": ("droop", "droopy", "heavy", "hood", "half close", "half shut", "half-mast", "half down"),
    "left": ("left", "leftward", "leftwards"),
    "right": ("right", "rightward", "rightwards"),
    "side": ("side", "aside", "one side"),
    "away": ("away", "avert", "elsewhere", "off to side", "off"),
    "tilt": ("tilt", "lean", "incline"),
    "turn": ("turn", "rotate", "swivel"),
    "nod": ("bob",),
    "shake": ("shake",),
    "carry": ("pull", "draw", "push", "move", "bring", "put", "tug", "set", "cast", "direct", "point", "curl"),
}  # fmt: skip
"""Movements and the words for them; `in`, `carry` and `turn` give way to another movement ("pulled down" is "down")."""

LIGHT_MOVES = ("in", "carry", "turn")
"""Movements that give way to any other in the same pairing, weakest first."""


def _one(unit: str) -> Units:
    return ((unit, 1.0),)


_BROWS_UP: Units = (("inner_brow_raise", 1.0), ("outer_brow_raise", 1.0))

_UNITS_OF: dict[Units, tuple[tuple[str, str], ...]] = {
    _BROWS_UP: (("brow", "raise"), ("forehead", "wrinkle"), ("forehead", "raise"), ("forehead", "furrow raise")),
    _one("inner_brow_raise"): (("inner brow", "raise"), ("inner brow", "carry"), ("inner brow", "raise together")),
    _one("outer_brow_raise"): (("outer brow", "raise"), ("outer brow", "carry")),
    _one("left_brow_raise"): (("left brow", "raise"),),
    _one("right_brow_raise"): (("right brow", "raise"),),
    _one("brow_down"): (
        ("brow", "lower"), ("brow", "furrow"), ("brow", "together"), ("brow", "furrow together"), ("brow", "wrinkle"),
        ("brow", "lower together"), ("brow", "droop"), ("forehead", "furrow"), ("forehead", "lower"),
        ("inner brow", "lower"), ("outer brow", "lower"), ("brow", "tighten"), ("brow", "inward"),
        ("brow", "furrow lower"),
    ),
    _one("upper_lid_raise"): (
        ("eye", "widen"), ("eye", "open"), ("upper lid", "raise"), ("lid", "raise"), ("upper lid", "open"),
        ("lid", "open"), ("lid", "widen"), ("eye", "open widen"), ("upper lid", "widen"),
    ),
    _one("cheek_raise"): (("cheek", "raise"), ("cheek", "carry"), ("cheek", "wrinkle")),
    _one("lid_tighten"): (
        ("eye", "narrow"), ("lid", "tighten"), ("lower lid", "tighten"), ("lower lid", "raise"), ("eye", "tighten"),
        ("lid", "narrow"), ("eye", "wrinkle"), ("eye", "raise wrinkle"), ("lower lid", "narrow"),
    ),
    _one("lid_droop"): (
        ("lid", "droop"), ("upper lid", "droop"), ("eye", "droop"), ("lid", "lower"), ("upper lid", "lower"),
    ),
    _one("eyes_closed"): (("eye", "close"), ("lid", "close"), ("eye", "close narrow"), ("upper lid", "close")),
    _one("left_wink"): (("left eye", "close"), ("left eye", "narrow")),
    _one("right_wink"): (("right eye", "close"), ("right eye", "narrow")),
    _one("nose_wrinkle"): (("nose", "wrinkle"), ("nose", "raise wrinkle"), ("nose", "furrow"), ("nose", "raise")),
    _one("upper_lip_raise"): (
        ("upper lip", "raise"), ("upper lip", "carry"), ("upper lip", "carry raise"), ("teeth", "show"),
    ),
    _one("lip_corner_pull"): (
        ("lip corner", "raise"), ("lip corner", "carry"), ("mouth", "raise"), ("lip corner", "raise stretch"),
        ("lip corner", "raise turn"), ("lip", "raise"),
    ),
    _one("left_lip_corner_pull"): (
        ("left lip corner", "raise"), ("left lip corner", "carry"), ("left lip corner", "tighten"),
        ("left lip corner", "stretch"), ("left lip corner", "dimple"), ("left lip corner", "raise tighten"),
    ),
    _one("right_lip_corner_pull"): (
        ("right lip corner", "raise"), ("right lip corner", "carry"), ("right lip corner", "tighten"),
        ("right lip corner", "stretch"), ("right lip corner", "dimple"), ("right lip corner", "raise tighten"),
    ),
    _one("dimple"): (
        ("lip corner", "tighten"), ("lip corner", "dimple"), ("cheek", "dimple"), ("lip corner", "inward"),
        ("lip corner", "roll"), ("lip corner", "press"), ("lip corner", "inward roll"),
    ),
    _one("lip_corner_down"): (
        ("lip corner", "lower"), ("mouth", "lower"), ("lip corner", "droop"), ("mouth", "droop"), ("lip", "lower"),
    ),
    _one("lower_lip_down"): (("lower lip", "lower"), ("lower lip", "carry")),
    _one("chin_raise"): (
        ("chin", "raise"), ("chin", "wrinkle"), ("chin", "furrow"), ("lower lip", "raise"), ("lower lip", "out"),
        ("lower lip", "pucker"), ("chin", "carry"),
    ),
    _one("pucker"): (("lip", "pucker"), ("mouth", "pucker"), ("lip", "pucker together")),
    _one("tongue_show"): (("tongue", "show"), ("tongue", "out"), ("tongue", "out show")),
    _one("lip_stretch"): (
        ("lip", "stretch"), ("mouth", "stretch"), ("lip corner", "stretch"), ("lip", "widen"),
        ("lip", "stretch widen"), ("mouth", "stretch widen"), ("mouth", "side"), ("lip corner", "side"),
        ("lip", "carry"),
    ),
    _one("funnel"): (
        ("lip", "funnel"), ("mouth", "funnel"), ("lip", "out"), ("lip", "funnel out"), ("mouth", "funnel out"),
    ),
    _one("lip_tighten"): (("lip", "tighten"), ("mouth", "tighten"), ("mouth", "narrow"), ("lip", "narrow")),
    _one("lip_press"): (
        ("lip", "press"), ("lip", "press together"), ("lip", "together"), ("mouth", "press"), ("mouth", "close press"),
        ("mouth", "close"), ("mouth", "close tighten"), ("lip", "close"), ("lip", "press tighten"),
        ("lip", "tighten together"), ("lip", "press tighten together"), ("lip", "close press"),
        ("lip", "close tighten"),
    ),
    _one("lips_part"): (("lip", "part"), ("lip", "open"), ("lip", "open part"), ("mouth", "part")),
    _one("jaw_drop"): (
        ("jaw", "lower"), ("jaw", "open"), ("mouth", "open"), ("jaw", "lower open"), ("mouth", "open widen"),
        ("mouth", "widen"), ("chin", "lower open"), ("jaw", "droop"), ("jaw", "widen"), ("jaw", "open widen"),
        ("mouth", "lower open"),
    ),
    _one("lip_roll"): (
        ("lip", "roll"), ("lip", "inward roll"), ("lip", "inward"), ("lower lip", "roll"), ("upper lip", "roll"),
        ("lower lip", "inward roll"), ("upper lip", "inward roll"),
    ),
    _one("jaw_forward"): (("jaw", "out"), ("chin", "out")),
    _one("jaw_left"): (("jaw", "left"),),
    _one("jaw_right"): (("jaw", "right"),),
    _one("cheek_puff"): (("cheek", "puff"), ("cheek", "out puff"), ("cheek", "out"), ("cheek", "puff raise")),
    _one("head_turn_left"): (
        ("head", "left"), ("head", "turn"), ("head", "side"), ("head", "left side"), ("head", "away"),
    ),
    _one("head_turn_right"): (("head", "right"), ("head", "right side")),
    _one("head_up"): (("head", "raise"), ("head", "stretch"), ("head", "raise tilt"), ("head", "stretch tilt")),
    _one("head_down"): (
        ("head", "lower"), ("head", "lower tilt"), ("head", "droop"), ("chin", "lower"), ("chin", "roll"),
        ("chin", "inward roll"), ("chin", "lower roll"), ("head", "out"), ("head", "out tilt"),
    ),
    _one("head_tilt_left"): (
        ("head", "tilt"), ("head", "left tilt"), ("head", "side tilt"), ("head", "left side tilt"),
    ),
    _one("head_tilt_right"): (("head", "right tilt"), ("head", "right side tilt")),
    _one("gaze_left"): (
        ("eye", "left"), ("gaze", "left"), ("eye", "side"), ("gaze", "side"), ("gaze", "left side"),
        ("eye", "left side"),
    ),
    _one("gaze_right"): (("eye", "right"), ("gaze", "right"), ("gaze", "right side"), ("eye", "right side")),
    _one("gaze_up"): (("eye", "raise"), ("gaze", "raise"), ("eye", "roll"), ("eye", "raise roll")),
    _one("gaze_down"): (("eye", "lower"), ("gaze", "lower")),
    _one("gaze_away"): (("eye", "away"), ("gaze", "away"), ("gaze", "turn"), ("eye", "away side")),
    _one("head_nod"): (("head", "nod"), ("head", "lower nod raise")),
    _one("head_shake"): (("head", "shake"), ("head", "left right shake"), ("head", "shake side")),
}  # fmt: skip

COMPOSITIONS: dict[tuple[str, str], Units] = {pair: units for units, pairs in _UNITS_OF.items() for pair in pairs}
"""What a part with its movements means; several movements are in alphabetical order with a space between them."""

PHRASES: dict[Units, tuple[str, ...]] = {
    _one("lip_corner_pull"): ("smile", "smiley", "simper"),
    (("lip_corner_pull", 1.0), ("cheek_raise", 1.0)): ("smiling eyes", "warm smile", "genuine smile", "real smile",
                                                       "heartfelt smile"),
    (("lip_corner_pull", 1.3), ("lips_part", 0.8)): ("grin", "toothy smile", "smile with teeth"),
    (("lip_corner_pull", 1.5), ("cheek_raise", 1.2)): ("beam", "wide smile", "smile wide", "smile from ear to ear",
                                                       "grin from ear to ear", "smile ear to ear"),
    (("left_lip_corner_pull", 1.0),): ("smirk", "crooked smile", "lopsided smile", "one-sided smile", "half smile",
                                       "half a smile", "one-sided smirk", "crooked mouth", "wry smile", "lopsided grin",
                                       "crooked grin"),
    _one("right_lip_corner_pull"): ("smirk on right", "smirk to right", "smirk on the right side"),
    (("lip_press", 1.0), ("lip_corner_pull", 0.6)): ("tight-lipped smile", "thin smile", "tight smile"),
    _one("brow_down"): ("frown", "frowny"),
    (("brow_down", 1.2), ("lid_tighten", 0.8)): ("scowl", "glower", "lour", "lower at"),
    (("brow_down", 1.0), ("upper_lid_raise", 0.6), ("lid_tighten", 0.6)): ("glare", "look daggers", "dagger"),
    (("brow_down", 1.0), ("lid_tighten", 1.0), ("cheek_raise", 0.6)): ("wince", "screw up face", "scrunch up face"),
    (("brow_down", 0.8), ("lip_stretch", 1.0), ("lid_tighten", 0.6)): ("grimace",),
    (("nose_wrinkle", 0.6), ("upper_lip_raise", 1.0)): ("sneer", "snarl", "curl of lip", "curl upper lip", "curl lip",
                                                        "lip curl", "lip curled up"),
    (("chin_raise", 1.0), ("pucker", 0.8)): ("pout", "pouty", "sulk"),
    (("lip_corner_down", 1.0), ("chin_raise", 0.6)): ("quivering lip", "trembling lip", "long face", "down in mouth"),
    (("upper_lid_raise", 1.0), ("jaw_drop", 0.8)): ("gasp", "open-mouthed stare", "gawp", "gawk"),
    _one("jaw_drop"): ("open-mouthed", "slack-jawed", "mouth agape", "jaw hanging", "jaw hang", "yawn",
                       "open up mouth"),
    _one("upper_lid_raise"): ("wide-eyed", "bug-eyed", "saucer-eyed", "goggle", "goggle-eyed"),
    _one("lid_tighten"): ("squint", "squinting eyes", "screw up eyes", "screwed-up eyes", "beady-eyed", "narrow-eyed"),
    _one("lid_droop"): ("heavy-lidded", "sleepy eyes", "sleepy-eyed", "droopy-eyed", "half-lidded", "bleary-eyed",
                        "tired eyes", "heavy eyes", "weary eyes"),
    _one("left_wink"): ("wink", "wink on left", "wink with left eye", "left wink", "left-eyed wink"),
    _one("right_wink"): ("wink on right", "wink with right eye", "right wink", "right-eyed wink"),
    _one("lip_press"): ("tight-lipped", "tight-lipped mouth", "pursed and pressed lips", "set mouth", "set of mouth"),
    _one("lip_tighten"): ("thin-lipped", "clenched teeth", "clenched jaw", "clench", "grit teeth", "grit", "set jaw"),
    _one("pucker"): ("kissing mouth", "kissy face", "duck face", "whistle", "kiss", "blow a kiss"),
    _one("funnel"): ("lips like a trumpet", "fish mouth", "rounded o", "o-shaped mouth", "o-shaped lips"),
    _one("lip_roll"): ("bite lip", "lip bite", "lip-biting", "bite lower lip", "chew lip", "suck in lip"),
    _one("tongue_show"): ("tongue between teeth", "tongue between lips", "tongue poking out"),
    _one("cheek_puff"): ("puffy-cheeked", "chubby-cheeked", "puffed-up cheeks"),
    _one("nose_wrinkle"): ("turn up nose", "wrinkly nose", "screw up nose", "scrunch up nose", "nose turned up"),
    _one("head_up"): ("chin up", "chin lift", "lift chin", "chin high", "raise chin in air", "head high",
                      "head thrown back", "hold head high", "throw head back", "nose in air", "nose up in air",
                      "head back"),
    _one("head_down"): ("chin on chest", "chin to chest", "hang head", "head hung", "head hang", "bow head",
                        "bowed head", "tuck chin", "drop chin"),
    _one("head_tilt_left"): ("cocked head", "cock head", "head on one side", "head to one side"),
    _one("head_tilt_right"): ("cock head to right", "head on right side"),
    _one("gaze_up"): ("look up", "look upward", "look upwards", "glance up", "gaze up", "stare at ceiling",
                      "look at ceiling", "look skyward", "eye-roll", "eye roll", "upward look", "upward glance",
                      "look to sky"),
    _one("gaze_down"): ("look down", "look downward", "look downwards", "glance down", "gaze down", "downcast eye",
                        "downcast gaze", "look at floor", "stare at floor", "look at ground", "downward look",
                        "downward glance", "eye on floor", "gaze at floor", "glance at floor"),
    _one("gaze_left"): ("look left", "look to left", "glance left", "glance to left", "gaze to left", "look sideways",
                        "leftward glance", "sidelong glance", "side eye", "glance sideways", "leftward look",
                        "sideways glance", "look aside", "look to side"),
    _one("gaze_right"): ("look right", "look to right", "glance right", "glance to right", "gaze to right",
                         "rightward glance", "rightward look"),
    _one("gaze_away"): ("look away", "glance away", "gaze away", "avoid eye contact", "avoid eye", "evasive look",
                        "avoid camera", "avoid gaze", "without eye contact", "no eye contact", "look off",
                        "shifty-eyed", "look elsewhere", "evasive gaze", "absent gaze", "stare off",
                        "stare into space"),
    _one("blink_more"): ("blink", "blink more", "blink often", "blink rapidly", "blink fast", "blink a lot",
                         "bat eyelashes", "frequent blink", "rapid blink", "blink quickly", "blink frequently",
                         "blink more often", "flutter eyelids", "eyelids flutter", "fluttering eyelids",
                         "flutter eyelashes", "nervous blink"),
    _one("blink_less"): ("stare", "blink less", "blink rarely", "unblinking", "without blinking", "fixed stare",
                         "do not blink", "hardly blink", "barely blink", "fixed gaze", "fix gaze", "no blinking",
                         "rarely blink", "blink less often", "seldom blink", "rare blink", "unblinking eyes",
                         "unblinking gaze", "dont blink", "unblinking stare", "unwavering gaze", "steady gaze",
                         "steady stare"),
    _one("head_nod"): ("nod", "nod of head", "nod head", "head nod", "head bob", "head goes up and down", "bob of head",
                       "move head up and down", "nod along", "nod up and down"),
    _one("head_shake"): ("shake of head", "headshake", "head shake", "shake head", "move head from side to side",
                         "wag head", "head wag", "head from side to side", "shake head from side to side"),
}  # fmt: skip
"""Phrases that name units as a whole."""


Kind = Literal["emotion", "units", "part", "move", "strength", "level", "not", "break", "function", "unknown"]


@dataclass(frozen=True)
class Meaning:
    """What a phrase of the lexicon stands for; which fields count depends on `kind`."""

    kind: Kind
    name: str = ""
    level: int = 0
    units: Units = ()
    strength: float = 0.0
    shift: int = 0


@dataclass
class Item:
    """A phrase found in a text: its meaning, its words, and what its clause says about it."""

    meaning: Meaning
    words: tuple[str, ...]
    place: int
    end: int
    strengths: list[Meaning] = field(default_factory=list)
    negated: bool = False


@dataclass(frozen=True)
class Scan:
    """Everything a sentence asks for; `others` are the (emotion, level) named after the first."""

    emotion: str | None
    level: int | None
    others: tuple[tuple[str, int], ...]
    units: dict[str, float]
    unknown: tuple[str, ...]


def lexicon_entries() -> Iterator[tuple[str, Meaning]]:
    """Every phrase with its meaning; of phrases with the same stems the first one counts."""
    for unit in ACTION_UNITS.values():
        yield unit.facs, Meaning("units", units=((unit.name, 1.0),))
    for units, phrases in PHRASES.items():
        yield from ((phrase, Meaning("units", units=units)) for phrase in phrases)
    for emotion, words in EMOTION_WORDS.items():
        for level in (1, 2, 3):
            yield from ((word, Meaning("emotion", emotion, level)) for word in words.understood(level))
    for bucket in STRENGTH_WORDS:
        for word in (*bucket.before, *bucket.after, *bucket.adjectives, *bucket.felt, *bucket.also):
            yield word, Meaning("strength", strength=bucket.strength, shift=bucket.shift)
    for word in ("half", "halfway", "half way"):
        yield word, Meaning("strength", strength=0.5, shift=-1)
    for part, nouns in PARTS.items():
        yield from ((noun, Meaning("part", part)) for noun in nouns)
    for move, verbs in MOVES.items():
        yield from ((verb, Meaning("move", move)) for verb in verbs)
    for kind, group in (("not", NEGATIONS), ("break", BREAKS), ("function", FUNCTION_WORDS)):
        for word in group:
            yield word, Meaning(kind, word)  # type: ignore[arg-type]


@cache
def _lexicon() -> tuple[dict[tuple[str, ...], Meaning], int]:
    """Stems of a phrase to its meaning, and the length of the longest phrase."""
    table: dict[tuple[str, ...], Meaning] = {}
    for phrase, meaning in lexicon_entries():
        if key := stems_of(phrase):
            table.setdefault(key, meaning)
    return table, max(map(len, table))


_COUNTED = ("level", "intensity")


def _number(words: list[str], i: int) -> tuple[Meaning, int] | None:
    """The meaning of "70 %", "70 percent" or "level 2" at place i, with the number of words it takes."""
    following = words[i + 1] if i + 1 < len(words) else ""
    if words[i][0].isdecimal() and following in ("%", "percent", "per"):
        strength = min(float(words[i]), 100.0) / 100.0
        shift = -1 if strength < 0.5 else 0 if strength < 0.85 else 1
        taken = 3 if words[i + 1 : i + 3] == ["per", "cent"] else 2
        return Meaning("strength", strength=strength, shift=shift), taken
    if words[i] in _COUNTED and following in ("1", "2", "3"):
        return Meaning("level", level=int(following)), 2
    return None


def _split(words: list[str], owned: list[bool], i: int, length: int) -> bool:
    """Whether a determiner tears a noun apart: "lower lip" is a part, "lower your lip" is not."""
    return any(owned[j] and words[j - 1] not in ("of", "on") for j in range(i + 1, i + length))


def _items(tokens: list[str]) -> list[Item]:
    table, longest = _lexicon()
    words, owned = [], []
    for previous, token in zip(["", *tokens], tokens, strict=False):
        if token not in DETERMINERS:
            words.append(token)
            owned.append(previous in DETERMINERS)
    stems = [stem(word) for word in words]
    items: list[Item] = []
    i = 0
    while i < len(words):
        meaning, taken = Meaning("unknown"), 1
        counts = words[i][0].isdecimal() or words[i] in _COUNTED
        if counts and (number := _number(words, i)):
            meaning, taken = number
        elif words[i] in MARKS:
            meaning = Meaning("break", words[i])
        else:
            for length in range(min(longest, len(words) - i), 0, -1):
                found = table.get(tuple(stems[i : i + length]))
                torn = found and length > 1 and found.kind == "part" and _split(words, owned, i, length)
                if found and not torn:
                    meaning, taken = found, length
                    break
        items.append(Item(meaning, tuple(words[i : i + taken]), i, i + taken))
        i += taken
    return items


def _clauses(items: Iterable[Item]) -> Iterator[tuple[str, list[Item]]]:
    """Clauses without function words, each with the break before it."""
    opener = "."
    clause: list[Item] = []
    for item in items:
        if item.meaning.kind == "break":
            if clause:
                yield opener, clause
                opener, clause = item.meaning.name, []
            elif opener not in (".", ";", "!", "?"):
                opener = item.meaning.name
        elif item.meaning.kind != "function":
            clause.append(item)
    if clause:
        yield opener, clause


def _compose(part: str, moves: Iterable[str]) -> Units | None:
    """The units of a part with its movements: of the exact mix, else without light movements, else of one that fits."""
    named = set(moves)
    candidates = [named]
    for light in LIGHT_MOVES:
        if len(named) > 1 and light in named:
            named = named - {light}
            candidates.append(named)
    candidates += [{move} for move in sorted(named)]
    for candidate in candidates:
        units = COMPOSITIONS.get((part, " ".join(sorted(candidate))))
        if units:
            return units
    return None


def _join(part: Item, moves: list[Item]) -> list[Item]:
    """One item of units from a part and its movements; the same items when they mean nothing together."""
    units = _compose(part.meaning.name, (move.meaning.name for move in moves))
    group = sorted([part, *moves], key=lambda item: item.place)
    if units is None:
        return group
    words = tuple(word for item in group for word in item.words)
    return [Item(Meaning("units", units=units), words, group[0].place, group[-1].end)]


def _pair(clause: list[Item]) -> list[Item]:
    """Parts of a clause joined with their movements.

    Where the clause begins with a movement ("raise your brows") each part takes the movements before it and the last
    one also those after it; otherwise ("brows raised") each part takes the movements that follow.
    """
    bodies = [item for item in clause if item.meaning.kind in ("part", "move")]
    rest = [item for item in clause if item.meaning.kind not in ("part", "move")]
    parts = [item for item in bodies if item.meaning.kind == "part"]
    if not parts or len(parts) == len(bodies):
        return clause
    verb_first = bodies[0].meaning.kind == "move"
    groups: list[tuple[Item, list[Item]]] = [(part, []) for part in parts]
    for move in (item for item in bodies if item.meaning.kind == "move"):
        before = sum(part.place < move.place for part in parts)
        groups[min(before, len(parts) - 1) if verb_first else before - 1][1].append(move)
    return sorted(rest + [item for group in groups for item in _join(*group)], key=lambda item: item.place)


def _lacks(clause: list[Item]) -> Kind | None:
    """What would complete a clause of parts alone or of movements alone."""
    kinds = {item.meaning.kind for item in clause}
    if "units" in kinds or ("part" in kinds) == ("move" in kinds):
        return None
    return "move" if "part" in kinds else "part"


def _share(clauses: list[tuple[str, list[Item]]]) -> None:
    """Let joined clauses share a movement ("brows and lids raised") or a part ("eyes raised and narrowed")."""
    original = [list(clause) for _, clause in clauses]
    openers = [opener for opener, _ in clauses]
    for i, (opener, clause) in enumerate(clauses):
        lacking = _lacks(clause)
        neighbours = []
        if lacking == "move" and i + 1 < len(clauses) and openers[i + 1] in ("and", "or", ":"):
            neighbours.append(original[i + 1])
        if i > 0 and opener in (("and", "or", ":") if lacking == "move" else ("and", "or", "but", "then", ",")):
            neighbours.append(original[i - 1])
        for neighbour in neighbours if lacking else ():
            lent = [item for item in neighbour if item.meaning.kind == lacking]
            if lent and (lacking == "move" or len(lent) == 1):
                place = clause[-1].end if lacking == "move" else clause[0].place
                clause += [replace(item, place=place, end=place, words=()) for item in lent]
                break


def _attach(clause: list[Item]) -> list[Item]:
    """Emotions and units of a clause with their strengths and negations; strengths without one are returned too."""
    heads = [item for item in clause if item.meaning.kind in ("emotion", "units")]
    if not heads:
        return [item for item in clause if item.meaning.kind in ("strength", "not")]
    for item in clause:
        kind = item.meaning.kind
        following = next((head for head in heads if head.end > item.place), None)
        preceding = next((head for head in reversed(heads) if head.end <= item.place), None)
        if kind == "not" and following:
            following.negated = True
        elif kind == "strength":
            touches = preceding is not None and preceding.end == item.place
            leads = following is not None and following.place <= item.end
            target = preceding if touches and not leads else following
            (target or heads[-1]).strengths.append(item.meaning)
    return heads


def _heads(clauses: list[tuple[str, list[Item]]]) -> list[Item]:
    heads: list[Item] = []
    for opener, clause in clauses:
        found = _attach(_pair(clause))
        loose = [item for item in found if item.meaning.kind == "strength"]
        if loose and heads and not heads[-1].strengths:
            heads[-1].strengths.append(loose[-1].meaning)
        new = [item for item in found if item.meaning.kind in ("emotion", "units")]
        if opener in ("or", "nor") and heads and heads[-1].negated and new:
            new[0].negated = True
        heads.extend(new)
    return heads


def _level(item: Item) -> int:
    shift = item.strengths[-1].shift if item.strengths else 0
    if item.negated:
        shift = -1
    return min(max(item.meaning.level + shift, 1), 3)


def _strength(item: Item) -> float:
    said = item.strengths[-1].strength if item.strengths else None
    if item.negated:
        return 0.3 if said is not None and said > PLAIN_STRENGTH else 0.0
    return PLAIN_STRENGTH if said is None else said


def _denied(item: Item) -> bool:
    """Whether an emotion is denied: "not angry" is, "not very angry" is only weak."""
    return item.negated and not (item.strengths and item.strengths[-1].strength > PLAIN_STRENGTH)


def _unknown(items: list[Item], clauses: list[tuple[str, list[Item]]], heads: list[Item]) -> tuple[str, ...]:
    """Words that are in no lexicon, and parts and movements of clauses that ask for nothing."""
    places = {head.place for head in heads}
    idle = {
        item.place
        for _, clause in clauses
        if places.isdisjoint(range(clause[0].place, max(item.end for item in clause)))
        for item in clause
        if item.meaning.kind in ("part", "move")
    }
    lost = (item for item in items if item.meaning.kind == "unknown" or item.place in idle)
    return tuple(word for item in lost for word in item.words)


def scan(text: str) -> Scan:
    """What a sentence asks for; see the module's docstring for how. Any text is allowed; most words may be unknown."""
    items = _items(tokenise(text))
    clauses = list(_clauses(items))
    _share(clauses)
    heads = _heads(clauses)

    felt: dict[str, int] = {}
    units: dict[str, float] = {}
    for head in heads:
        if head.meaning.kind == "units":
            strength = _strength(head)
            for name, factor in head.meaning.units:
                units[name] = round(min(strength * factor, 1.0), 4)
        elif not _denied(head):
            felt[head.meaning.name] = max(felt.get(head.meaning.name, 0), _level(head))
    stated = next((item.meaning.level for item in items if item.meaning.kind == "level"), None)
    if felt and stated:
        felt[next(iter(felt))] = stated
    single = {name: level if EMOTION_WORDS[name].mild else 1 for name, level in felt.items()}
    emotion = next(iter(single), None)
    level = single.pop(emotion) if emotion else None
    return Scan(emotion, level, tuple(single.items()), units, _unknown(items, clauses, heads))


# The phrases of a sentence, and the sentence without one of them.


_BREAK = re.compile(
    r"\s*[,.;:!?()—–]+\s*|\s+(?:" + "|".join(sorted(map(re.escape, BREAKS), key=len, reverse=True)) + r")(?=\s)\s*",
    re.IGNORECASE,
)
_GRAMMAR = frozenset(stem for word in (*FUNCTION_WORDS, *BREAKS) for stem in stems_of(word))
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
    found = [_trimmed(sentence, start, stop) for start, stop in _pieces(sentence)]
    meant = tuple(phrase for phrase in found if phrase.text and _asks(phrase.text))
    return meant or tuple(phrase for phrase in found if set(stems_of(phrase.text)) - _GRAMMAR)


def without(sentence: str, phrase: Phrase) -> str:
    """The sentence with a phrase cut out, and the joint before it; empty when nothing but grammar is left."""
    before, after = sentence[: phrase.start].rstrip(), sentence[phrase.stop :].lstrip()
    joints = "|".join(map(re.escape, sorted(BREAKS, key=len, reverse=True)))
    if not after or after[0] in ".!?;,)":
        shorter = None
        while shorter != before:
            shorter = before
            before = re.sub(rf"(?:^|\s)(?:{joints})$", "", before.rstrip(" ,;:(—–"), flags=re.IGNORECASE)
    else:
        after = _LEADING.sub("", after)
    left = re.sub(r"\s+([,.;:!?])", r"\1", f"{before} {after}".strip()).strip(" ,;:")
    return left if re.search(r"\w", left) else ""


def _pieces(sentence: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in _BREAK.finditer(sentence):
        yield start, found.start()
        start = found.end()
    yield start, len(sentence)


def _trimmed(sentence: str, start: int, stop: int) -> Phrase:
    """A piece without the joint and the subject it begins with."""
    start += len(sentence[start:stop]) - len(_LEADING.sub("", sentence[start:stop]))
    piece = sentence[start:stop]
    subject = _SUBJECT.match(piece)
    if subject and subject.end() < len(piece):
        start += subject.end()
    text = sentence[start:stop]
    lead = len(text) - len(text.lstrip())
    return Phrase(start + lead, start + lead + len(text.strip()), text.strip())


def _asks(text: str) -> bool:
    found = scan(text)
    return found.emotion is not None or bool(found.units)
