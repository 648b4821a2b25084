"""Words for action units: the parts of the face, what they do, and whole phrases.

>>> COMPOSITIONS["brow", "lower"]
(('brow_down', 1.0),)

Free text is understood by pairing a part with a movement wherever they stand in a clause ("lower your brows a bit",
"her brows slightly lowered"); whole phrases ("scowl", "wide-eyed") are looked up directly.
"""

from __future__ import annotations

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
