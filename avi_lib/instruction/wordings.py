"""How action units are put into sentences: nominal phrases for "with ..." lists and verb phrases.

>>> next(w for w in WORDINGS if w.units == ("brow_down",)).states[0]
'brow * down'
"""

from __future__ import annotations

from dataclasses import dataclass


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
