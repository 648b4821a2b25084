"""Action units: what a face can be asked to do, its FACS code, and the ARKit channels that carry it out.

>>> ACTION_UNITS["brow_down"].channels
{'browDownLeft': 1.0, 'browDownRight': 1.0}
>>> unit_channels({"jaw_drop": 0.5})
{'jawOpen': 0.3}

Codes follow Ekman, Friesen & Hager, "Facial Action Coding System" (2002); left and right are the person's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avi_lib.instruction.instruction import Instruction


@dataclass(frozen=True)
class ActionUnit:
    """One movement of the face, head or eyes.

    `channels` are ARKit weights (0-1) or head rotations (signed radians) at strength 1; strength scales them linearly.
    A unit with a `rhythm` unfolds over time instead (nods, blinks): it has no channels and its performer decides when.
    """

    name: str
    facs: str
    channels: Mapping[str, float] = field(default_factory=dict)
    rhythm: bool = False

    def main_channels(self) -> tuple[str, ...]:
        """The channels this unit is about; the others only accompany it."""
        peak = max((abs(weight) for weight in self.channels.values()), default=0.0)
        return tuple(channel for channel, weight in self.channels.items() if abs(weight) >= 0.5 * peak)


def _both(**weights: float) -> dict[str, float]:
    """The same weight on the left and on the right channel."""
    return {f"{stem}{side}": weight for stem, weight in weights.items() for side in ("Left", "Right")}


_UNITS = (
    ActionUnit("inner_brow_raise", "AU1", {"browInnerUp": 1.0}),
    ActionUnit("outer_brow_raise", "AU2", _both(browOuterUp=1.0)),
    ActionUnit("left_brow_raise", "L2", {"browOuterUpLeft": 1.0, "browInnerUp": 0.25}),
    ActionUnit("right_brow_raise", "R2", {"browOuterUpRight": 1.0, "browInnerUp": 0.25}),
    ActionUnit("brow_down", "AU4", _both(browDown=1.0)),
    ActionUnit("upper_lid_raise", "AU5", _both(eyeWide=1.0)),
    ActionUnit("cheek_raise", "AU6", _both(cheekSquint=1.0, eyeSquint=0.35)),
    ActionUnit("lid_tighten", "AU7", _both(eyeSquint=1.0)),
    ActionUnit("lid_droop", "AU41", _both(eyeBlink=0.5)),
    ActionUnit("eyes_closed", "AU43", _both(eyeBlink=1.0)),
    ActionUnit("left_wink", "L46", {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.4}),
    ActionUnit("right_wink", "R46", {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.4}),
    ActionUnit("nose_wrinkle", "AU9", _both(noseSneer=1.0, mouthUpperUp=0.2)),
    ActionUnit("upper_lip_raise", "AU10", _both(mouthUpperUp=0.8, noseSneer=0.25)),
    ActionUnit("lip_corner_pull", "AU12", _both(mouthSmile=1.0, cheekSquint=0.25)),
    ActionUnit("left_lip_corner_pull", "L12", {"mouthSmileLeft": 0.8, "mouthDimpleLeft": 0.35}),
    ActionUnit("right_lip_corner_pull", "R12", {"mouthSmileRight": 0.8, "mouthDimpleRight": 0.35}),
    ActionUnit("dimple", "AU14", _both(mouthDimple=1.0)),
    ActionUnit("lip_corner_down", "AU15", _both(mouthFrown=1.0)),
    ActionUnit("lower_lip_down", "AU16", _both(mouthLowerDown=0.8)),
    ActionUnit("chin_raise", "AU17", {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.4}),
    ActionUnit("pucker", "AU18", {"mouthPucker": 0.9}),
    ActionUnit("tongue_show", "AU19", {"tongueOut": 1.0, "jawOpen": 0.25}),
    ActionUnit("lip_stretch", "AU20", _both(mouthStretch=1.0)),
    ActionUnit("funnel", "AU22", {"mouthFunnel": 0.9}),
    ActionUnit("lip_tighten", "AU23", {**_both(mouthPress=0.5), "mouthRollLower": 0.35, "mouthRollUpper": 0.35}),
    ActionUnit("lip_press", "AU24", {**_both(mouthPress=1.0), "mouthShrugLower": 0.2}),
    ActionUnit("lips_part", "AU25", {**_both(mouthLowerDown=0.3, mouthUpperUp=0.2), "jawOpen": 0.06}),
    ActionUnit("jaw_drop", "AU26", {"jawOpen": 0.6}),
    ActionUnit("lip_roll", "AU28", {"mouthRollLower": 0.9, "mouthRollUpper": 0.9}),
    ActionUnit("jaw_forward", "AU29", {"jawForward": 1.0}),
    ActionUnit("jaw_left", "AU30L", {"jawLeft": 1.0}),
    ActionUnit("jaw_right", "AU30R", {"jawRight": 1.0}),
    ActionUnit("cheek_puff", "AU34", {"cheekPuff": 1.0}),
    ActionUnit("head_turn_left", "M51", {"headYaw": 0.5}),
    ActionUnit("head_turn_right", "M52", {"headYaw": -0.5}),
    ActionUnit("head_up", "M53", {"headPitch": -0.3}),
    ActionUnit("head_down", "M54", {"headPitch": 0.35}),
    ActionUnit("head_tilt_left", "M55", {"headRoll": -0.3}),
    ActionUnit("head_tilt_right", "M56", {"headRoll": 0.3}),
    ActionUnit("gaze_left", "M61", {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}),
    ActionUnit("gaze_right", "M62", {"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8}),
    ActionUnit("gaze_up", "M63", _both(eyeLookUp=0.8)),
    ActionUnit("gaze_down", "M64", _both(eyeLookDown=0.8)),
    ActionUnit("gaze_away", "M61+M64", {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6, **_both(eyeLookDown=0.35)}),
    ActionUnit("blink_more", "AU45", rhythm=True),
    ActionUnit("blink_less", "AU45", rhythm=True),
    ActionUnit("head_nod", "M59", rhythm=True),
    ActionUnit("head_shake", "M60", rhythm=True),
)

ACTION_UNITS: dict[str, ActionUnit] = {unit.name: unit for unit in _UNITS}
"""Every action unit by name."""

_OPPOSITE_STEMS = (
    ("browOuterUp", "browDown"),
    ("eyeWide", "eyeSquint"),
    ("eyeWide", "eyeBlink"),
    ("mouthSmile", "mouthFrown"),
    ("eyeLookUp", "eyeLookDown"),
    ("eyeLookIn", "eyeLookOut"),
)
_OPPOSITE_CHANNELS = (
    *((first + side, second + side) for first, second in _OPPOSITE_STEMS for side in ("Left", "Right")),
    *(("jawOpen", f"mouthPress{side}") for side in ("Left", "Right")),
    *((rounded, f"mouthStretch{side}") for rounded in ("mouthPucker", "mouthFunnel") for side in ("Left", "Right")),
    ("jawOpen", "mouthShrugLower"),
    ("jawLeft", "jawRight"),
)


def opposites() -> dict[str, frozenset[str]]:
    """For each channel, those that cannot be at full weight together with it (a raised brow cannot be down)."""
    found: dict[str, set[str]] = {}
    for first, second in _OPPOSITE_CHANNELS:
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return {channel: frozenset(others) for channel, others in found.items()}


def unit_channels(strengths: Mapping[str, float]) -> dict[str, float]:
    """ARKit channels of several action units together.

    Args:
        strengths: strength 0-1 of each action unit by name; a name without channels (a rhythm) adds nothing.

    Returns:
        channel to weight: the largest weight where units share a blendshape, the sum where they share a head rotation.

    Raises:
        KeyError: a name is no action unit.
    """
    channels: dict[str, float] = {}
    for name, strength in strengths.items():
        for channel, weight in ACTION_UNITS[name].channels.items():
            value = weight * strength
            if channel.startswith("head"):
                channels[channel] = channels.get(channel, 0.0) + value
            else:
                channels[channel] = max(channels.get(channel, 0.0), value)
    return channels


# Emotion prototypes, and the face an instruction asks for as ARKit channels.


EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgusted", "surprised", "contempt", "bored")
"""The ten emotions; `neutral` and `calm` have one level, the others three."""

_PROTOTYPES: dict[str, dict[str, tuple[float, ...]]] = {
    "neutral": {},
    "calm": {"lip_corner_pull": (0.2,), "lid_droop": (0.2,)},
    "happy": {
        "lip_corner_pull": (0.4, 0.65, 0.9),
        "cheek_raise": (0.25, 0.55, 0.85),
        "lips_part": (0.0, 0.3, 0.6),
        "outer_brow_raise": (0.0, 0.1, 0.2),
    },
    "sad": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "brow_down": (0.1, 0.25, 0.4),
        "lip_corner_down": (0.3, 0.55, 0.85),
        "chin_raise": (0.0, 0.2, 0.4),
        "lid_droop": (0.2, 0.35, 0.45),
        "gaze_down": (0.1, 0.25, 0.35),
        "head_down": (0.1, 0.25, 0.4),
    },
    "angry": {
        "brow_down": (0.4, 0.7, 0.95),
        "upper_lid_raise": (0.1, 0.3, 0.5),
        "lid_tighten": (0.2, 0.35, 0.45),
        "lip_tighten": (0.2, 0.4, 0.6),
        "nose_wrinkle": (0.0, 0.15, 0.4),
        "upper_lip_raise": (0.0, 0.1, 0.35),
        "head_down": (0.0, 0.1, 0.15),
    },
    "fear": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "outer_brow_raise": (0.2, 0.4, 0.6),
        "brow_down": (0.1, 0.2, 0.3),
        "upper_lid_raise": (0.3, 0.65, 0.95),
        "lip_stretch": (0.25, 0.5, 0.8),
        "lips_part": (0.1, 0.3, 0.5),
        "jaw_drop": (0.0, 0.1, 0.25),
        "head_up": (0.0, 0.1, 0.2),
    },
    "disgusted": {
        "nose_wrinkle": (0.4, 0.7, 0.95),
        "upper_lip_raise": (0.25, 0.5, 0.8),
        "brow_down": (0.15, 0.3, 0.45),
        "lid_tighten": (0.15, 0.3, 0.45),
        "lip_corner_down": (0.1, 0.25, 0.45),
        "chin_raise": (0.0, 0.15, 0.3),
    },
    "surprised": {
        "inner_brow_raise": (0.4, 0.7, 0.95),
        "outer_brow_raise": (0.4, 0.7, 0.95),
        "upper_lid_raise": (0.3, 0.6, 0.95),
        "jaw_drop": (0.1, 0.3, 0.5),
        "head_up": (0.0, 0.1, 0.2),
    },
    "contempt": {
        "left_lip_corner_pull": (0.4, 0.7, 0.95),
        "dimple": (0.1, 0.25, 0.35),
        "right_brow_raise": (0.0, 0.2, 0.4),
        "lid_droop": (0.15, 0.25, 0.35),
        "head_up": (0.15, 0.3, 0.45),
    },
    "bored": {
        "lid_droop": (0.4, 0.65, 0.9),
        "lip_corner_down": (0.1, 0.2, 0.3),
        "dimple": (0.0, 0.1, 0.2),
        "gaze_away": (0.0, 0.25, 0.45),
        "head_tilt_left": (0.1, 0.25, 0.4),
        "head_down": (0.05, 0.15, 0.25),
    },
}


def levels(emotion: str) -> tuple[int, ...]:
    """The levels an emotion has: (1,) for neutral and calm, (1, 2, 3) for the others."""
    return (1,) if emotion in ("neutral", "calm") else (1, 2, 3)


def prototype(emotion: str, level: int) -> dict[str, float]:
    """Action units (name to strength 0-1) that show an emotion at a level.

    Raises:
        KeyError: no such emotion.
        ValueError: the emotion has no such level.
    """
    units = _PROTOTYPES[emotion]
    if level not in levels(emotion):
        raise ValueError(f"{emotion} has levels {levels(emotion)}; got {level}")
    return {name: strengths[level - 1] for name, strengths in units.items() if strengths[level - 1] > 0}


def expression_targets(instruction: Instruction) -> dict[str, float]:
    """ARKit channels of the expression an instruction asks for, at its apex.

    The emotion's prototype is the base. A unit the instruction names takes its main channels over at the named strength
    (0 switches them off), weakens the prototype's channels that oppose it (raised brows undo an angry face's lowered
    ones) and otherwise only adds. Two named units that oppose each other are both kept: the sentence asked for both.
    Jaw and mouth channels are meant as offsets to the speech movement; units with a rhythm (`ActionUnit.rhythm`) are
    not in here and are read from `instruction.action_units`.

    Returns:
        channel to target: blendshape weights in 0-1, head rotations in radians; absent channels rest at 0.
    """
    base = unit_channels(prototype(instruction.emotion, instruction.level or 1)) if instruction.emotion else {}
    return _overlay(base, instruction.action_units)


def _overlay(base: Mapping[str, float], named: Mapping[str, float]) -> dict[str, float]:
    asked = unit_channels(named)
    taken = {channel for name in named for channel in ACTION_UNITS[name].main_channels()}
    opposed = opposites()
    targets = dict(base)
    for channel in taken:
        for other in opposed.get(channel, frozenset()) - taken:
            if other in targets:
                targets[other] *= 1.0 - asked[channel]
    for channel, value in asked.items():
        head = channel.startswith("head")
        targets[channel] = value if channel in taken or head else max(targets.get(channel, 0.0), value)
    return {
        channel: round(float(value), 6) if channel.startswith("head") else round(min(max(value, 0.0), 1.0), 6)
        for channel, value in targets.items()
    }


# Words for how much and for what is felt: strengths and emotions.


@dataclass(frozen=True)
class StrengthWords:
    """One bucket of strength and its words.

    `before` stand before a participle ("slightly raised"), `after` follow a verb phrase ("raises her brows a little"),
    `adjectives` qualify a noun ("a faint smile"), `felt` qualify an emotion ("a bit sad"); `also` are understood only.
    `shift` moves an emotion's level: "slightly furious" is one level below "furious".
    """

    strength: float
    shift: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    adjectives: tuple[str, ...]
    felt: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


STRENGTH_WORDS = (
    StrengthWords(
        0.15,
        -1,
        before=("barely", "faintly", "marginally", "ever so slightly", "only just"),
        after=("ever so slightly", "just barely", "almost imperceptibly", "by a hair"),
        adjectives=("faint", "tiny", "barely visible", "fleeting"),
        felt=("ever so slightly", "faintly", "marginally"),
        also=("hardly", "scarcely", "very slightly", "very lightly", "very faintly", "very little", "hint of",
              "trace of", "minimal", "minimally", "minimum", "imperceptible", "only a touch", "just a touch", "subtle",
              "subtly", "hint", "marginal", "very small", "very slight", "very faint"),
    ),
    StrengthWords(
        0.3,
        -1,
        before=("slightly", "a little", "a bit", "lightly", "mildly", "gently"),
        after=("slightly", "a little", "a bit", "lightly", "a touch"),
        adjectives=("slight", "small", "gentle", "mild"),
        felt=("slightly", "a little", "a bit", "mildly", "a touch"),
        also=("tad", "shade", "less", "weak", "weakly", "soft", "softly", "light", "low", "kind of", "touch of",
              "bit of", "gentle", "a little bit", "just a little", "only a little", "only slightly", "only a bit",
              "reserved", "restrained", "suppressed", "less strongly", "not too much", "not too", "not very",
              "not so much", "not much", "not that", "not particularly", "not overly", "slight bit", "toned down",
              "a little less", "a bit less", "delicate", "delicately"),
    ),
    StrengthWords(
        0.45,
        -1,
        before=("somewhat", "moderately", "partly", "partially"),
        after=("somewhat", "moderately", "to some degree", "to some extent"),
        adjectives=("moderate", "modest", "half-hearted"),
        felt=("somewhat", "moderately"),
        also=("sort of", "partial", "medium", "medium-sized", "part way"),
    ),
    StrengthWords(
        0.6,
        0,
        before=("",),
        after=("",),
        adjectives=("",),
        felt=("",),
        also=("normally", "normal", "average", "a little more", "a bit more", "slightly more", "some more"),
    ),
    StrengthWords(
        0.75,
        0,
        before=("quite", "fairly", "rather", "noticeably", "clearly"),
        after=("quite a bit", "noticeably", "clearly", "visibly", "distinctly"),
        adjectives=("clear", "definite", "distinct", "noticeable"),
        felt=("quite", "fairly", "rather"),
        also=("pretty", "decidedly", "quite a lot", "considerable", "considerably", "evident", "evidently", "obvious",
              "obviously", "decent", "good deal"),
    ),
    StrengthWords(
        0.9,
        1,
        before=("strongly", "markedly", "greatly", "significantly"),
        after=("strongly", "markedly", "a lot", "very much"),
        adjectives=("strong", "marked", "pronounced", "big"),
        felt=("very", "really", "deeply", "intensely", "strongly"),
        also=("more", "firmly", "firm", "significant", "hard", "heavily", "sharply", "truly", "broadly", "broad",
              "deep", "intense", "sharp", "great", "high", "highly", "much more", "way more", "lot more", "wildly",
              "particularly", "especially", "exceedingly", "dramatic", "dramatically", "vigorous", "vigorously",
              "large", "boldly", "awfully", "forceful", "forcefully", "pretty much", "widely", "extra",
              "quite strongly", "hardly able to hide", "hardly hide", "barely hide", "hardly contain", "barely contain",
              "barely control", "hardly suppress", "barely suppress", "not hide", "not contain", "not suppress",
              "hardly conceal", "super", "barely conceal", "exceptionally", "profoundly", "genuinely", "tightly",
              "terribly", "terrible", "so much"),
    ),
    StrengthWords(
        1.0,
        1,
        before=("extremely", "fully", "completely"),
        after=("fully", "completely", "to the limit", "as far as possible", "extremely"),
        adjectives=("extreme", "very strong", "very big"),
        felt=("extremely", "utterly", "incredibly", "overwhelmingly"),
        also=("full", "full-on", "huge", "enormous", "total", "totally", "complete", "absolutely", "absolute", "utter",
              "maximally", "maximum", "maximal", "max", "incredible", "overwhelming", "entirely", "entire", "most",
              "all the way", "as much as possible", "as much as you can", "as far as you can", "very strongly",
              "very very", "immensely", "immense", "massive", "massively", "insanely", "unbelievably", "wholly",
              "exaggerated"),
    ),
)  # fmt: skip
"""The seven buckets, weakest first."""

PLAIN_STRENGTH = 0.6
"""What a movement is worth when nothing is said about how much."""


def quantise(strength: float) -> float:
    """The nearest strength that words can say; below half of "barely" that is 0, "not at all"."""
    return min((0.0, *(words.strength for words in STRENGTH_WORDS)), key=lambda bucket: abs(bucket - strength))


def strength_words(strength: float) -> StrengthWords:
    """The words of the bucket nearest to a strength in 0.075-1."""
    return min(STRENGTH_WORDS, key=lambda words: abs(words.strength - strength))


@dataclass(frozen=True)
class EmotionWords:
    """Words for one emotion, as adjectives for levels 1, 2, 3 and as nouns per level; `also` are understood only.

    "slightly" takes a word one level down, "very" one level up. An emotion without `mild` words has one level.
    """

    plain: tuple[str, ...]
    mild: tuple[str, ...] = ()
    intense: tuple[str, ...] = ()
    nouns: tuple[tuple[str, ...], ...] = ((), (), ())
    also: tuple[tuple[str, ...], ...] = ((), (), ())

    def adjectives(self, level: int) -> tuple[str, ...]:
        """Adjectives that mean the level without an adverb."""
        if self.mild:
            return (self.mild, self.plain, self.intense)[level - 1]
        return self.plain if level == 1 else ()

    def understood(self, level: int) -> tuple[str, ...]:
        """Every word of the level."""
        return self.adjectives(level) + self.nouns[level - 1] + self.also[level - 1]


EMOTION_WORDS: dict[str, EmotionWords] = {
    "neutral": EmotionWords(
        plain=("neutral", "impassive", "unemotional", "dispassionate", "matter-of-fact", "emotionless", "unmoved",
               "expressionless"),
        nouns=(("neutrality", "impassiveness", "dispassion"), (), ()),
        also=(("deadpan", "straight-faced", "stone-faced", "blank", "poker-faced", "no emotion", "no expression",
               "without emotion", "without expression", "without any emotion", "without any expression", "neutrally",
               "no particular emotion", "emotionally flat", "no feeling", "businesslike"), (), ()),
    ),
    "calm": EmotionWords(
        plain=("calm", "relaxed", "serene", "composed", "at ease", "peaceful", "tranquil", "placid"),
        nouns=(("calmness", "serenity", "composure", "peace of mind"), (), ()),
        also=(("tranquillity", "unruffled", "untroubled", "calmed", "soothed", "soothing", "laid-back", "collected",
               "easygoing", "mellow", "quiet confidence", "unhurried", "at peace", "restful", "relaxation", "calmer"),
               (), ()),
    ),
    "happy": EmotionWords(
        mild=("pleased", "content", "cheerful", "glad", "amused", "satisfied"),
        plain=("happy", "joyful", "merry", "delighted", "jolly", "gleeful", "in high spirits"),
        intense=("overjoyed", "elated", "ecstatic", "jubilant", "thrilled", "euphoric", "over the moon"),
        nouns=(("amusement", "contentment", "good cheer", "satisfaction"), ("happiness", "joy", "delight", "merriment"),
               ("elation", "ecstasy", "jubilation", "euphoria")),
        also=(("cheer", "lighthearted", "light-hearted", "upbeat", "good-humoured", "good-humored", "chipper",
               "playful", "pleasant", "good mood", "amusing", "gladness", "cheery"),
              ("joyous", "laughing", "laughter", "chuckling", "giggling", "excited", "excitement", "glee",
               "enthusiastic", "enthusiasm", "sunny", "high spirits", "mirth", "mirthful"),
              ("exhilarated", "exhilaration", "on top of the world", "on cloud nine", "blissful", "bliss", "rapturous",
               "rapture", "beside himself with joy", "beside herself with joy", "ecstatically", "happier", "happiest",
               "triumphant")),
    ),
    "sad": EmotionWords(
        mild=("glum", "downcast", "disappointed", "wistful", "gloomy", "low-spirited", "melancholy"),
        plain=("sad", "unhappy", "sorrowful", "mournful", "dejected", "downhearted", "tearful"),
        intense=("devastated", "heartbroken", "grief-stricken", "inconsolable", "distraught", "anguished",
                 "in despair"),
        nouns=(("disappointment", "gloom", "wistfulness"), ("sadness", "sorrow", "unhappiness", "dejection"),
               ("grief", "despair", "anguish", "heartbreak")),
        also=(("feeling down", "feeling blue", "feel down", "feel a bit down", "feel blue", "down in the dumps",
               "low spirits", "subdued", "sombre", "somber", "dismayed", "disheartened", "melancholic", "sullen",
               "crestfallen", "downbeat"),
              ("upset", "depressed", "depressing", "heavy heart", "tears", "weepy", "crying", "weeping", "lonely",
               "woeful", "regretful", "mourning", "sorry", "hurt", "miserable", "misery", "depression"),
              ("crushed", "desolate", "wretched", "hopeless", "sobbing", "bereft", "despairing", "broken-hearted",
               "brokenhearted", "agonised", "agony", "shattered", "grieving", "desperate", "sadder", "saddest")),
    ),
    "angry": EmotionWords(
        mild=("annoyed", "irritated", "irked", "cross", "peeved", "vexed"),
        plain=("angry", "indignant", "mad", "resentful", "riled", "hot under the collar"),
        intense=("furious", "enraged", "livid", "incensed", "infuriated", "seething", "irate"),
        nouns=(("annoyance", "irritation", "displeasure"), ("anger", "indignation", "resentment"),
               ("fury", "rage", "wrath", "blazing anger")),
        also=(("grumpy", "frustrated", "frustration", "irritable", "testy", "displeased", "impatient", "impatience",
               "grouchy", "snappy", "miffed"),
              ("hostile", "hostility", "aggressive", "aggression", "angered", "menacing", "ticked off", "stern"),
              ("raging", "fuming", "boiling", "outraged", "outrage", "apoplectic", "seeing red", "wrathful",
               "ferocious", "angrier", "angriest", "beside himself with rage", "beside herself with rage", "raving")),
    ),
    "fear": EmotionWords(
        mild=("uneasy", "nervous", "worried", "anxious", "apprehensive", "wary"),
        plain=("afraid", "scared", "frightened", "fearful", "alarmed", "spooked"),
        intense=("terrified", "petrified", "panic-stricken", "horrified", "scared stiff", "scared to death",
                 "terror-stricken"),
        nouns=(("unease", "nervousness", "worry", "apprehension"), ("fear", "fright", "alarm"),
               ("terror", "panic", "dread", "horror")),
        also=(("jittery", "timid", "concerned", "on edge", "edgy", "anxiety", "worrying", "timidly", "wariness",
               "insecure", "concern", "jumpy"),
              ("frightening", "scary", "shaken", "cowering", "threatened", "fearing", "scare"),
              ("panicked", "terrifying", "frightened to death", "frightened out of his wits",
               "frightened out of her wits", "dreading", "hysterical", "panicky")),
    ),
    "disgusted": EmotionWords(
        mild=("put off", "turned off", "squeamish", "queasy", "grossed out", "repelled"),
        plain=("disgusted", "sickened", "nauseated", "sick to the stomach", "full of distaste", "repulsed"),
        intense=("revolted", "appalled", "sick with disgust", "full of loathing", "full of revulsion",
                 "filled with abhorrence"),
        nouns=(("distaste", "aversion", "queasiness"), ("disgust", "repugnance", "nausea"),
               ("revulsion", "loathing", "abhorrence")),
        also=(("averse", "distasteful", "unappetising", "off-putting"),
              ("disgusting", "nauseous", "yuck", "eww", "gross", "grossed", "repugnant"),
              ("revolting", "abhorrent", "full of disgust", "filled with disgust", "repulsion", "repulsive",
               "filled with loathing", "filled with revulsion")),
    ),
    "surprised": EmotionWords(
        mild=("taken aback", "caught off guard", "caught unawares", "bemused", "intrigued", "curious"),
        plain=("surprised", "startled", "amazed", "taken by surprise", "full of wonder", "wonderstruck"),
        intense=("astonished", "astounded", "stunned", "dumbfounded", "flabbergasted", "thunderstruck", "shocked"),
        nouns=(("bemusement", "curiosity", "wonderment"), ("surprise", "amazement", "wonder"),
               ("astonishment", "shock", "utter disbelief", "stupefaction")),
        also=(("puzzled", "perplexed", "unprepared", "interested", "questioning", "quizzical"),
              ("amazing", "wide-eyed wonder", "awe", "awed", "unexpected"),
              ("speechless", "dumbstruck", "staggered", "disbelief", "stupefied", "gobsmacked", "in shock",
               "incredulous", "incredulity", "awestruck", "mind-blown")),
    ),
    "contempt": EmotionWords(
        mild=("unimpressed", "dismissive", "condescending", "smug", "sceptical", "aloof"),
        plain=("contemptuous", "scornful", "disdainful", "mocking", "derisive", "haughty"),
        intense=("full of contempt", "full of scorn", "full of disdain", "brimming with contempt",
                 "dripping with disdain", "consumed with scorn"),
        nouns=(("smugness", "condescension", "scepticism"), ("contempt", "disdain", "scorn", "derision"),
               ("withering scorn", "utter contempt", "absolute disdain")),
        also=(("skeptical", "skepticism", "superior", "patronising", "doubtful", "disapproving", "disapproval",
               "cynical", "sarcastic", "sarcasm", "smugly", "self-satisfied"),
              ("arrogant", "arrogance", "mockery", "ridicule", "scoffing", "jeering", "sardonic", "snide", "despise"),
              ("withering", "filled with contempt", "filled with scorn", "filled with disdain", "scathing",
               "seething with contempt")),
    ),
    "bored": EmotionWords(
        mild=("uninterested", "indifferent", "listless", "disengaged", "half-interested", "unexcited"),
        plain=("bored", "weary", "tired", "jaded", "apathetic", "fed up"),
        intense=("bored stiff", "bored to tears", "bored to death", "numb with boredom", "bored silly", "dead bored"),
        nouns=(("indifference", "listlessness", "disinterest"), ("boredom", "weariness", "apathy"),
               ("utter boredom", "crushing boredom", "mind-numbing boredom")),
        also=(("distracted", "absent-minded", "inattentive", "detached", "disinterested", "lacking interest",
               "without interest", "without much interest", "lacklustre", "lackluster", "lethargic"),
              ("sleepy", "drowsy", "dull", "fatigued", "fatigue", "tedium", "monotonous", "world-weary", "exhausted",
               "tiredness"),
              ("bored out of his mind", "bored out of her mind", "bored out of their mind", "bored out of your mind",
               "mind-numbing", "mind-numbingly", "bored rigid")),
    ),
}  # fmt: skip
"""Words for each of the ten emotions."""

NEGATIONS = (
    "not", "no", "never", "without", "neither", "nor", "none", "stop", "avoid", "dont", "doesnt", "isnt", "didnt",
    "wont",
    "cannot", "cant", "rather than", "instead of", "no longer", "not at all", "free of", "lacking", "refrain from",
    "anything but", "zero", "nothing",
)  # fmt: skip
"""Words that switch off what comes next in their clause; every word ending in n't does too."""

BREAKS = (
    "and", "but", "with", "while", "whilst", "as", "yet", "though", "although", "then", "plus", "because", "when", "or",
    "having", "wearing", "who", "that", "which", "despite", "even though", "even if", "also", "not only", "as if",
    "as though", "as well as", "along with", "together with", "accompanied by", "however", "except", "after", "before",
)  # fmt: skip
"""Words at which a clause ends."""

FUNCTION_WORDS = (
    *"i you he she it we they me him us them one this these those there what who someone somebody".split(),
    *"hers mine yours theirs himself herself themself themselves yourself itself".split(),
    *"person people man woman boy girl child lady guy gentleman speaker presenter actor actress character".split(),
    *"face facial feature expression mood emotion emotional feeling tone voice speech word sentence line".split(),
    *"way manner air state time strength intensity percent camera".split(),
    *"feel felt look see speak spoke spoken talk say said sound seem appear show display express deliver act".split(),
    *"whisper shout yell wear hold held hide contain keep kept get got become go went give make made let try".split(),
    *"start begin is are be being am was were been do does did has have had".split(),
    *"can could will would should may might must shall please".split(),
    *"just only even still both all each every other same some any such much again now anymore so too if how".split(),
    *"at of in on to for from into by than like through during throughout over about".split(),
    "little girl", "little boy", "pretty woman", "pretty girl", "gentle voice", "more than", "less than", "full of",
    "filled with", "side of face", "while speaking",
)  # fmt: skip
"""Words that a sentence needs but that ask for nothing; they are not reported as unknown."""

DETERMINERS = frozenset(("a", "an", "the", "his", "her", "their", "your", "my", "its", "our"))
"""Words that are dropped before phrases are looked up ("corners of his mouth" is "corners of mouth")."""
