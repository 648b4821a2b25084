"""Words for how much and for what is felt: strengths and emotions.

>>> quantise(0.87)
0.9
>>> EMOTION_WORDS["angry"].plain[0]
'angry'

A strength is said with one of seven words and an emotion's level with one of three, so a sentence keeps them exactly:
0.15 barely, 0.3 slightly, 0.45 somewhat, 0.6 (no adverb), 0.75 quite, 0.9 strongly, 1.0 extremely.
"""

from __future__ import annotations

from dataclasses import dataclass


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
