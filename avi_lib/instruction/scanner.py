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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from avi_lib.instruction.action_units import ACTION_UNITS
from avi_lib.instruction.unit_phrases import COMPOSITIONS, LIGHT_MOVES, MOVES, PARTS, PHRASES, Units
from avi_lib.instruction.vocabulary import (
    BREAKS,
    DETERMINERS,
    EMOTION_WORDS,
    FUNCTION_WORDS,
    NEGATIONS,
    PLAIN_STRENGTH,
    STRENGTH_WORDS,
)
from avi_lib.instruction.words import MARKS, stem, stems_of, tokenise

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
