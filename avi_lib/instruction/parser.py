"""From a sentence to what it asks for: words are reduced to stems, looked up as phrases, and joined clause by clause.

>>> scan("She is furious, with slightly raised brows.").units
{'inner_brow_raise': 0.3, 'outer_brow_raise': 0.3}

1. `tokenise`: words, numbers and punctuation, in lower case.
2. The longest phrase of the lexicon (words.yaml) at each place becomes an item: an emotion, units, a part of the face,
   a movement, a strength, a negation or the end of a clause; other words are kept as unknown.
3. In each clause parts and movements pair up to units, strengths and negations go to the nearest emotion or units.

Nothing in the text is executed or used as a pattern or format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import chain
from typing import Literal

from avi_lib.instruction import action_units
from avi_lib.instruction.action_units import ACTION_UNITS, PLAIN_STRENGTH, TABLES, WORDINGS, levels, words

Units = tuple[tuple[str, float], ...]  # action units with the factor a phrase puts on its strength
Kind = Literal["emotion", "units", "part", "move", "strength", "level", "not", "break", "function", "unknown"]

MARKS = frozenset("%.,;:!?()—–")  # tokens that are punctuation

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[%.,;:!?()—–]")
"""A number, a word (apostrophes inside it), or a mark; hyphens only separate words."""

_LITTLE_WAY = re.compile(
    r"\b((?:look|glanc|gaz|star|turn|tilt|lean)\w*) ((?:just )?(?:a (?:little|bit|touch)|slightly|somewhat|far)) "
    r"((?:to (?:the|his|her|their|my|your) )?(?:left|right|up|down|away|aside)\b)",
    re.IGNORECASE,
)
"""How far stands between a movement and its direction ("looking a little to the left"): said first it is one phrase."""

_DETERMINERS = frozenset(words(TABLES["determiners"]))
_IRREGULAR = dict(pair.split() for pair in words(TABLES["irregular"]))
_INVARIABLE = frozenset(words(TABLES["invariable"]))
_LIGHT_MOVES = words(TABLES["light_movements"])


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """The stem that a word shares with its inflections: raise, raises, raised, raising -> "rais".

    A light form of step 1 of Porter, "An algorithm for suffix stripping" (1980), with -ly removed as well, so that
    "slight" and "slightly" are one word, and -ize read as -ise.
    """
    word = _IRREGULAR.get(word, word)
    if word in _INVARIABLE:
        return word
    if word.endswith("ily") and len(word) > 5:
        word = word[:-3] + "y"
    elif word.endswith("bly") and len(word) > 5:
        word = word[:-1] + "e"
    elif word.endswith("ly") and len(word) > 4:
        word = word[:-2]
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    elif not word.endswith(("ss", "us")):
        rests = (word.removesuffix(suffix) for suffix in ("ing", "ed", "es", "s"))
        word = next((rest for rest in rests if word != rest and len(rest) >= 3 and re.search("[aeiouy]", rest)), word)
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if word.endswith("iz") and len(word) > 4:
        word = word[:-1] + "s"
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


def tokenise(text: str) -> list[str]:
    """Words, numbers and punctuation marks of a text in lower case; a possessive 's is cut off, n't becomes "not"."""
    tokens = _TOKEN.findall(text.casefold().replace("’", "'"))
    return ["not" if token.endswith("n't") else token.split("'")[0] for token in tokens]


def stems_of(phrase: str) -> tuple[str, ...]:
    """The stems under which a phrase is looked up, determiners left out."""
    return tuple(stem(word) for word in tokenise(phrase) if word not in _DETERMINERS)


# The lexicon: what phrases mean.


COMPOSITIONS: dict[tuple[str, str], Units] = {
    (part, moves): tuple(wording.units.items())
    for wording in WORDINGS
    for part, listed in wording.moves.items()
    for moves in listed
}  # what a part with its movements means
STILL = "still"
_OF_PART: dict[str, dict[str, None]] = {}
for (_part, _), _units in COMPOSITIONS.items():
    _OF_PART.setdefault(_part, {}).update(dict.fromkeys(name for name, _ in _units))


@dataclass(frozen=True)
class Meaning:
    """What a phrase of the lexicon stands for; which fields count depends on `kind`."""

    kind: Kind
    name: str = ""
    level: int = 0
    units: Units = ()
    strength: float = 0.0
    shift: int = 0


def lexicon_entries() -> Iterator[tuple[str, Meaning]]:
    """Every phrase with its meaning; of phrases with the same stems the first one counts."""
    for unit in ACTION_UNITS.values():
        yield unit.facs, Meaning("units", units=((unit.name, 1.0),))
    for wording in WORDINGS:
        units = tuple(wording.units.items())
        yield from ((phrase, Meaning("units", units=units)) for phrase in wording.phrases)
    for emotion, known in action_units.EMOTION_WORDS.items():
        for level, kinds in enumerate(zip(known.adjectives, known.nouns, known.also, strict=True), 1):
            yield from ((word, Meaning("emotion", emotion, level)) for word in chain(*kinds))
    for bucket in action_units.STRENGTH_WORDS:
        for word in (*bucket.before, *bucket.after, *bucket.adjectives, *bucket.emotions, *bucket.also):
            yield word, Meaning("strength", strength=bucket.strength, shift=bucket.shift)
    for word in ("half", "halfway", "half way"):
        yield word, Meaning("strength", strength=0.5, shift=-1)
    tables: dict[str, Kind] = {
        "parts": "part", "movements": "move", "negations": "not", "breaks": "break", "function_words": "function"
    }  # fmt: skip
    for table, kind in tables.items():
        listed = TABLES[table] if isinstance(TABLES[table], dict) else {word: word for word in words(TABLES[table])}
        yield from ((word, Meaning(kind, name)) for name, each in listed.items() for word in words(each))


@cache
def _lexicon() -> tuple[dict[tuple[str, ...], Meaning], int]:
    """Stems of a phrase to its meaning, and the length of the longest phrase."""
    table: dict[tuple[str, ...], Meaning] = {}
    for phrase, meaning in lexicon_entries():
        if key := stems_of(phrase):
            table.setdefault(key, meaning)
    return table, max(map(len, table))


@cache
def lexicon_words() -> tuple[str, ...]:
    """The words of the lexicon's phrases, of four letters or more."""
    every = (word for phrase, _ in lexicon_entries() for word in tokenise(phrase))
    return tuple(sorted({word for word in every if len(word) > 3 and word.isalpha()}))


# Items: the phrases of a sentence.
@dataclass
class Item:
    """A phrase found in a text: its meaning, its words, and what its clause says about it."""

    meaning: Meaning
    words: tuple[str, ...]
    place: int
    end: int
    strengths: list[Meaning] = field(default_factory=list)
    negated: bool = False

    @property
    def kind(self) -> Kind:
        """The kind of its meaning."""
        return self.meaning.kind


def _number(tokens: list[str], i: int) -> tuple[Meaning, int] | None:
    """The meaning of "70 %", "70 percent" or "level 2" at place i, with the number of words it takes."""
    following = tokens[i + 1] if i + 1 < len(tokens) else ""
    if tokens[i][0].isdecimal() and following in ("%", "percent", "per"):
        strength = min(float(tokens[i]), 100.0) / 100.0
        shift = -1 if strength < 0.5 else 0 if strength < 0.85 else 1
        return Meaning("strength", strength=strength, shift=shift), 2 + (tokens[i + 1 : i + 3] == ["per", "cent"])
    if tokens[i] in ("level", "intensity") and following in ("1", "2", "3"):
        return Meaning("level", level=int(following)), 2
    return None


def _items(tokens: list[str]) -> list[Item]:
    table, longest = _lexicon()
    kept = [(token, before in _DETERMINERS) for before, token in zip(["", *tokens], tokens, strict=False)]
    kept = [(token, owned) for token, owned in kept if token not in _DETERMINERS]
    texts = [token for token, _ in kept]
    # "lower lip" is a part, "lower your lip" is not: a determiner tears it apart
    tears = [owned and texts[i - 1] not in ("of", "on") for i, (_, owned) in enumerate(kept)]
    stems = [stem(token) for token in texts]
    items: list[Item] = []
    i = 0
    while i < len(texts):
        meaning, taken = Meaning("unknown"), 1
        if number := _number(texts, i):
            meaning, taken = number
        elif texts[i] in MARKS:
            meaning = Meaning("break", texts[i])
        else:
            for length in range(min(longest, len(texts) - i), 0, -1):
                found = table.get(tuple(stems[i : i + length]))
                if found and not (found.kind == "part" and any(tears[i + 1 : i + length])):
                    meaning, taken = found, length
                    break
        items.append(Item(meaning, tuple(texts[i : i + taken]), i, i + taken))
        i += taken
    return items


# Clauses: what the items of each say together.

Clauses = list[tuple[str, list[Item]]]
"""The items of clauses without function words, each clause with the break before it."""


def _clauses(items: Iterable[Item]) -> Clauses:
    clauses: Clauses = []
    opener = "."
    clause: list[Item] = []
    for item in items:
        if item.kind == "break":
            if clause:
                clauses.append((opener, clause))
                opener, clause = item.meaning.name, []
            elif opener not in (".", ";", "!", "?"):
                opener = item.meaning.name
        elif item.kind != "function":
            clause.append(item)
    return [*clauses, (opener, clause)] if clause else clauses


def _share(clauses: Clauses) -> None:
    """Let joined clauses share a movement ("brows and lids raised") or a part ("eyes raised and narrowed")."""
    original = [list(clause) for _, clause in clauses]
    openers = [opener for opener, _ in clauses]
    for i, (opener, clause) in enumerate(clauses):
        kinds = {item.kind for item in clause if item.meaning.name != STILL}
        if "units" in kinds or ("part" in kinds) == ("move" in kinds):
            continue  # nothing is lacking
        lacking = "move" if "part" in kinds else "part"
        neighbours = []
        if lacking == "move" and i + 1 < len(clauses) and openers[i + 1] in ("and", "or", ":"):
            neighbours.append(original[i + 1])
        if i > 0 and opener in (("and", "or", ":") if lacking == "move" else ("and", "or", "but", "then", ",")):
            neighbours.append(original[i - 1])
        for neighbour in neighbours:
            lent = [item for item in neighbour if item.kind == lacking]
            if lent and (lacking == "move" or len(lent) == 1):
                place = clause[-1].end if lacking == "move" else clause[0].place
                clause += [replace(item, place=place, end=place, words=()) for item in lent]
                break


def _compose(part: str, moves: Iterable[str]) -> Units | None:
    """The units of a part with its movements: of the exact mix, else without light movements, else of one that fits.

    A part that is still has none of its units.
    """
    named = set(moves)
    if named == {STILL}:
        return tuple((name, 0.0) for name in _OF_PART.get(part, ()))
    candidates = [named]
    for light in _LIGHT_MOVES:
        if len(named) > 1 and light in named:
            named = named - {light}
            candidates.append(named)
    candidates += [{move} for move in sorted(named)]
    found = (COMPOSITIONS.get((part, " ".join(sorted(candidate)))) for candidate in candidates)
    return next((units for units in found if units), None)


def _pair(clause: list[Item]) -> list[Item]:
    """Parts of a clause joined with their movements to units; those that mean nothing together stay as they are.

    Where the clause begins with a movement ("raise your brows") each part takes the movements before it and the last
    one also those after it; otherwise ("brows raised") each part takes the movements that follow.
    """
    bodies = [item for item in clause if item.kind in ("part", "move")]
    groups = [[part] for part in bodies if part.kind == "part"]
    if not groups or len(groups) == len(bodies):
        return clause
    verb_first = bodies[0].kind == "move"
    places = [group[0].place for group in groups]
    for move in (item for item in bodies if item.kind == "move"):
        before = sum(place < move.place for place in places)
        groups[min(before, len(groups) - 1) if verb_first else before - 1].append(move)
    paired = [item for item in clause if item.kind not in ("part", "move")]
    for part, *moves in groups:
        named = [move.meaning.name for move in moves]
        if "carry" in named and set(named) <= set(_LIGHT_MOVES) and any(item.kind == "not" for item in clause):
            named = [STILL]  # "does not move her brows"
        units = _compose(part.meaning.name, named)
        group = sorted([part, *moves], key=lambda item: item.place)
        if units is not None:
            said = tuple(word for item in group for word in item.words)
            group = [Item(Meaning("units", units=units), said, group[0].place, group[-1].end)]
        paired += group
    return sorted(paired, key=lambda item: item.place)


def _attach(clause: list[Item]) -> list[Item]:
    """Emotions and units of a clause, which take its strengths and negations; loose strengths where there are none."""
    heads = [item for item in clause if item.kind in ("emotion", "units")]
    if not heads:
        return [item for item in clause if item.kind == "strength"]
    for item in clause:
        following = next((head for head in heads if head.end > item.place), None)
        preceding = next((head for head in reversed(heads) if head.end <= item.place), None)
        if item.kind == "not" and following:
            following.negated = True
        elif item.kind == "strength":
            touches = preceding is not None and preceding.end == item.place
            leads = following is not None and following.place <= item.end
            target = preceding if touches and not leads else following
            (target or heads[-1]).strengths.append(item.meaning)
    return heads


def _heads(clauses: Clauses) -> list[Item]:
    """The emotions and units of all clauses; a clause of strengths alone speaks of the one before it."""
    heads: list[Item] = []
    for opener, clause in clauses:
        found = _attach(_pair(clause))
        if found and found[0].kind == "strength":
            if heads and not heads[-1].strengths:
                heads[-1].strengths.append(found[-1].meaning)
            continue
        if opener in ("or", "nor") and heads and heads[-1].negated and found:
            found[0].negated = True
        heads.extend(found)
    return heads


@dataclass(frozen=True)
class Scan:
    """Everything a sentence asks for; `others` are the (emotion, level) named after the first.

    An emotion that is `denied` ("not angry") forbids the units that carry its face, where nothing else asks for them.
    """

    emotion: str | None
    level: int | None
    others: tuple[tuple[str, int], ...]
    units: dict[str, float]
    unknown: tuple[str, ...]
    denied: tuple[str, ...] = ()


def scan(text: str) -> Scan:
    """What a sentence asks for; see the module's docstring for how. Any text is allowed; most words may be unknown."""
    items = _items(tokenise(_LITTLE_WAY.sub(r"\2 \1 \3", text)))
    clauses = _clauses(items)
    _share(clauses)
    heads = _heads(clauses)

    emotions: dict[str, int] = {}
    denied: list[str] = []
    units: dict[str, float] = {}
    for head in heads:
        said = head.strengths[-1] if head.strengths else None
        strong = said is not None and said.strength > PLAIN_STRENGTH
        if head.kind == "units":
            strength = said.strength if said is not None else PLAIN_STRENGTH
            if head.negated:
                strength = 0.3 if strong else 0.0
            units |= {name: round(min(strength * factor, 1.0), 4) for name, factor in head.meaning.units}
        elif strong or not head.negated:  # "not very angry" is only weak
            shift = -1 if head.negated else said.shift if said is not None else 0
            shifted = min(max(head.meaning.level + shift, 1), 3)
            emotions[head.meaning.name] = max(emotions.get(head.meaning.name, 0), shifted)
        else:
            denied.append(head.meaning.name)
    stated = next((item.meaning.level for item in items if item.kind == "level"), None)
    if emotions and stated:
        emotions[next(iter(emotions))] = stated
    named = [(name, min(found, len(levels(name)))) for name, found in emotions.items()]
    emotion, level = named[0] if named else (None, None)
    shown = {unit for each in named for unit in action_units.prototype(*each)} | units.keys()
    denied = [each for each in denied if each not in emotions]
    units |= {unit: 0.0 for each in denied for unit in action_units.carriers(each) if unit not in shown}
    return Scan(emotion, level, tuple(named[1:]), units, _unknown(items, clauses, heads), tuple(denied))


def _unknown(items: list[Item], clauses: Clauses, heads: list[Item]) -> tuple[str, ...]:
    """Words that are in no lexicon, and parts and movements of clauses that ask for nothing."""
    places = {head.place for head in heads}
    idle = {
        item.place
        for _, clause in clauses
        if places.isdisjoint(range(clause[0].place, max(item.end for item in clause)))
        for item in clause
        if item.kind == "part" or (item.kind == "move" and item.meaning.name != STILL)
    }
    lost = (item for item in items if item.kind == "unknown" or item.place in idle)
    return tuple(word for item in lost for word in item.words)
