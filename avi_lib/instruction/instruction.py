"""An instruction: the sentence a person reads and edits, and what is understood of it; and timelines of instructions.

>>> Instruction.parse("A person feels quite angry and speaks with brow strongly down.")
Instruction(text='A person feels quite angry ...', emotion='angry', level=2, action_units={...}, unknown=())

A timeline file names instructions and the times they begin at, one fading into the next:

    [{"at_s": 0.0, "instruction": "She is calm."},
     {"at_s": 2.4, "instruction": "She is furious, brows strongly down.", "fade_s": 0.8}]
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from avi_lib.errors import InputError, cause, kind_of
from avi_lib.instruction import action_units
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, levels, opposites, prototype, quantise
from avi_lib.instruction.grammar import MAX_LENGTH, SPEAKERS
from avi_lib.instruction.parser import lexicon_words, scan
from avi_lib.speech.phones import is_word

SECOND_EMOTION = 0.7  # how much of a second emotion's prototype a mix ("happy and surprised") takes over as named units
FADE_S = 0.6  # how long an instruction takes to come on where nothing is said: about the onset of an expression
MOST_ENTRIES = 1000
MOST_BYTES = 1 << 20
SHORTEST_SLIP, SLIP = 4, 0.8  # letters of a word whose spelling is mended, and how much of a known word it must have
_DIRECTION = r"(?:left|right|up|down)(?:wards?)?"
_ALONE = re.compile(
    rf"^(?:(?:at )?first,?\s+)?(?P<begin>[^,;.]+?\s)(?:to\s+\w+\s+)?{_DIRECTION}\b,?\s+(?:and\s+)?then\s+"
    rf"(?P<end>(?:back\s+)?(?:to\s+\w+\s+)?{_DIRECTION}\W*)$",
    re.IGNORECASE,
)
Faces = Mapping[str, Mapping[str, float]]  # the action units (name to strength) that show each emotion


def normalise_text(text: object) -> str:
    """One line of plain text: NFKC, straight quotes, single spaces; control and format characters and emoji removed.

    Raises InputError for what is not a string, empty, or longer than `MAX_LENGTH`.
    """
    if not isinstance(text, str):
        got, do = kind_of(text), 'write a sentence such as "She is furious."'
        raise InputError("an instruction as text", got, do)
    kept = []
    for char in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(char)
        if char in "\t\n\r\v\f\x1c\x1d\x1e\x85" or category in ("Zs", "Zl", "Zp", "So"):
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            kept.append({"‘": "'", "’": "'", "“": '"', "”": '"'}.get(char, char))
    plain = unicodedata.normalize("NFKC", " ".join("".join(kept).split()))  # what was removed may have stood between
    if not plain:
        do = 'write for example "She is furious."'
        raise InputError("an instruction with at least one word", "an empty text", do)
    if len(plain) > MAX_LENGTH:
        raise InputError(f"an instruction of at most {MAX_LENGTH} characters", f"{len(plain)}", "shorten the sentence")
    return plain


@dataclass(frozen=True)
class Instruction:
    """A sentence and its understood parts; InputError for a part outside its range.

    `action_units` maps names of `ACTION_UNITS` to strengths 0-1; 0 means the sentence forbids the movement ("without
    smiling"). `level` is 1-3 and there is one whenever there is an emotion. `others` are emotions, with their levels,
    that are mixed into the first. `unknown` are the words not understood, `said` is what was written where the text is
    the reader's words for it (`understand`).
    """

    text: str
    emotion: str | None = None
    level: int | None = None
    action_units: Mapping[str, float] = field(default_factory=dict, hash=False)
    unknown: tuple[str, ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    said: str | None = None

    def __post_init__(self) -> None:
        if self.emotion is not None and self.emotion not in EMOTIONS:
            raise InputError(f"an emotion of {', '.join(EMOTIONS)}", repr(self.emotion), "choose one of them")
        allowed = levels(self.emotion) if self.emotion else (None,)
        if self.level not in allowed:
            raise InputError(f"for emotion {self.emotion} a level of {allowed}", repr(self.level), "choose one of them")
        for name, strength in self.action_units.items():
            if name not in ACTION_UNITS:
                raise InputError("a known action unit", repr(name), "see avi_lib.instruction.action_units.ACTION_UNITS")
            if not (math.isfinite(strength) and 0.0 <= strength <= 1.0):
                raise InputError(f"a strength of {name} in 0-1", f"{strength}", "scale it into this range")

    @classmethod
    def parse(cls, text: str) -> Instruction:
        """Understand template sentences and free English; other words are kept in `unknown` and ignored.

        Raises InputError for what is not a string, empty, or longer than `MAX_LENGTH` characters after normalisation.
        """
        plain = normalise_text(text)
        found = scan(plain)
        return cls(plain, found.emotion, found.level, dict(found.units), found.unknown, found.others)

    @property
    def emotions(self) -> dict[str, tuple[int, float]]:
        """Level and share of every emotion that is asked for; shares add up to 1."""
        named = [(self.emotion, self.level or 1)] if self.emotion else []
        whole = len(named) + SECOND_EMOTION * len(self.others)
        return {
            emotion: (level, (SECOND_EMOTION if number else 1.0) / whole)
            for number, (emotion, level) in enumerate([*named, *self.others])
        }

    def folded(self, faces: Faces | None = None) -> Instruction:
        """The same with one emotion: others ("happy and surprised") as the units of their faces that are not named.

        `faces` are those of emotions where they are not the usual ones. Compound expressions: Du, Tao & Martinez, PNAS
        111(15), 2014.
        """
        units = dict(self.action_units)
        first = _face(self.emotion, self.level or 1, faces) if self.emotion else {}
        for emotion, level in self.others:
            for name, strength in _face(emotion, level, faces).items():
                lent = round(strength * SECOND_EMOTION, 4)
                if name not in self.action_units and lent > first.get(name, 0.0) and quantise(lent) > 0.0:
                    units[name] = max(units.get(name, 0.0), lent)
        return replace(self, action_units=units, others=())


def _face(emotion: str, level: int, faces: Faces | None) -> Mapping[str, float]:
    return prototype(emotion, level) if faces is None else faces[emotion]


def understand(text: str) -> Instruction:
    """What any sentence asks for: the parser's reading where it knows every word, else the reader's (`reader.read`).

    Raises InputError as `Instruction.parse` does.
    """
    asked = Instruction.parse(text)
    if (plain := mended(asked)) != asked.text:
        asked = replace(Instruction.parse(plain), said=asked.text)
    if not asked.unknown:
        return asked
    from avi_lib.instruction import reader  # which takes torch

    found = reader.read(asked.text)
    return replace(found, said=asked.said or found.said)


def mended(asked: Instruction) -> str:
    """The text of a parsed sentence with its slips mended.

    A word of no dictionary becomes the parser's own word that it nearly is ("hapy"), names aside; a direction that
    stands alone in the second half gets the words of the first ("looks left, then right").
    """
    text = asked.text
    for word in asked.unknown:
        name = re.search(rf"\S\s+{re.escape(word)}\b", text) if word[:1].isupper() else None
        if len(word) >= SHORTEST_SLIP and word.isalpha() and not name and not is_word(word.casefold()):
            like = [known for known in lexicon_words() if known[0] == word[0].casefold()]
            near = get_close_matches(word.casefold(), like, 3, SLIP)
            for best in sorted(near, key=lambda known: _slips(word.casefold(), known))[:1]:
                text = re.sub(rf"\b{re.escape(word)}\b", best, text)
    if not (found := _ALONE.match(text)):
        return text
    begin = re.sub(r"^(He|She|They|A|The)\b", lambda who: who[0].lower(), found["begin"])
    return f"{text[: found.start('end')]}{begin}{found['end']}"


def _slips(word: str, known: str) -> int:
    """How many letters one spelling has other than another."""
    steps = SequenceMatcher(None, word, known, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in steps if kind != "equal")


def expression_targets(instruction: Instruction, faces: Faces | None = None) -> dict[str, float]:
    """ARKit channels of an instruction's expression at its apex: weights in 0-1, head rotations in radians.

    `faces` are the action units of each of its emotions, where these are not shown by their prototypes. The emotion's
    prototype is the base. A unit the instruction names takes its main channels over at the named strength (0 switches
    them off), weakens the prototype's channels that oppose it (raised brows undo an angry face's lowered ones) and
    otherwise only adds. Two named units that oppose each other are both kept: the sentence asked for both. Jaw and
    mouth channels are meant as offsets to the speech movement; units with a rhythm (`ActionUnit.rhythm`) are not in
    here and are read from `instruction.action_units`.
    """
    instruction, emotion = instruction.folded(faces), instruction.emotion
    targets = action_units.unit_channels(_face(emotion, instruction.level or 1, faces)) if emotion else {}
    asked = action_units.unit_channels(instruction.action_units)
    named = (channel for name in instruction.action_units for channel in ACTION_UNITS[name].main_channels())
    taken = dict.fromkeys(named)  # in order: the same every time
    opposed = opposites()
    for channel in taken:
        for other in opposed.get(channel, frozenset()) - taken.keys():
            if other in targets:
                targets[other] *= 1.0 - asked[channel]
    for channel, value in asked.items():
        head = channel.startswith("head")
        targets[channel] = value if channel in taken or head else max(targets.get(channel, 0.0), value)
    return {
        channel: round(float(value), 6) if channel.startswith("head") else round(min(max(value, 0.0), 1.0), 6)
        for channel, value in targets.items()
    }


@dataclass(frozen=True)
class Entry:
    """An instruction, the time at which half of it has come on, and how long that takes, in seconds."""

    at_s: float
    instruction: Instruction
    fade_s: float = FADE_S


@dataclass(frozen=True)
class Timeline:
    """Entries in order of time; the first one holds from the start.

    Raises InputError when there is none, or too many, for times that do not rise or are not finite, and for fades that
    are negative.
    """

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MOST_ENTRIES:
            got = f"{len(self.entries)}"
            raise InputError(f"1 to {MOST_ENTRIES} instructions in a timeline", got, "join or part some")
        for number, entry in enumerate(self.entries, 1):
            if not (0 <= entry.at_s < math.inf and 0 <= entry.fade_s < math.inf):
                got = f"at_s {entry.at_s:g}, fade_s {entry.fade_s:g} in number {number}"
                raise InputError("times of 0 s and more", got, "correct the timeline")
        for number, (first, second) in enumerate(zip(self.entries, self.entries[1:], strict=False), 2):
            if second.at_s <= first.at_s:
                got = f"{second.at_s:g} s after {first.at_s:g} s in number {number}"
                raise InputError("instructions in order of time", got, "sort the timeline")

    def weights(self, frames: int, fps: float) -> Float32[np.ndarray, "frames entries"]:
        """How much of every instruction holds in every frame; the weights of a frame add up to 1.

        A fade is half a cosine about its time, so that motion has no jump; where fades overlap the later one wins.
        """
        times_s = (np.arange(frames) + 0.5) / fps
        weights = np.zeros((frames, len(self.entries)), np.float32)
        weights[:, 0] = 1.0
        settled = 0  # from here on the entry before holds alone
        for number, entry in enumerate(self.entries[1:], 1):
            way = np.clip((times_s - entry.at_s) / max(entry.fade_s, 1 / fps) + 0.5, 0.0, 1.0)
            share = (0.5 - 0.5 * np.cos(np.pi * way)).astype(np.float32)
            begins, ends = np.searchsorted(way, 0.0, "right"), np.searchsorted(way, 1.0)
            settled = max(settled, int(ends))
            weights[begins:settled] *= 1.0 - share[begins:settled, None]
            weights[settled:, number - 1] = 0.0
            weights[:, number] = share
        return weights

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions in order."""
        return tuple(entry.instruction for entry in self.entries)


class _Row(BaseModel):
    """An entry as a file has it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    at_s: float
    instruction: str
    fade_s: float = FADE_S


def load_timeline(path: Path) -> Timeline:
    """Read a timeline from JSON; InputError says which entry is wrong and how."""
    expected = 'a timeline such as [{"at_s": 0, "instruction": "She is calm."}]'
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(expected, f"{path} of more than {MOST_BYTES} bytes", "shorten it")
        rows = TypeAdapter(list[_Row]).validate_json(content)
    except OSError as error:
        raise InputError(expected, f"{path}: {cause(error)}", "check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"number {part + 1}, " if isinstance(part, int) else f"{part}: " for part in first["loc"])
        raise InputError(expected, f"{path}: {where}{first['msg']}", "correct the timeline") from error
    entries = []
    for number, row in enumerate(rows, 1):
        try:
            entries.append(Entry(row.at_s, understand(row.instruction), row.fade_s))
        except InputError as error:
            raise InputError(error.expected, f"{error.got} in number {number} of {path}", error.do) from error
    return Timeline(tuple(entries))


def as_json(timeline: Timeline) -> list[dict[str, Any]]:
    """What `load_timeline` reads."""
    return [
        {"at_s": entry.at_s, "instruction": entry.instruction.text, "fade_s": entry.fade_s}
        for entry in timeline.entries
    ]


def evenly(instructions: Sequence[Instruction], duration_s: float, fade_s: float = FADE_S) -> Timeline:
    """A timeline that gives every instruction the same time."""
    step_s = duration_s / max(len(instructions), 1)
    return Timeline(tuple(Entry(i * step_s, instruction, fade_s) for i, instruction in enumerate(instructions)))


_THEN = re.compile(
    r"[\s,;.]*\b(?:and\s+|but\s+)?(?:then|finally|afterwards|after that|followed by)\b[\s,]*", re.IGNORECASE
)
_FIRST = re.compile(r"^(?:at first|first of all|first|initially|to begin with)\b[\s,]*", re.IGNORECASE)
_FROM, _TO = re.compile(r"\bfrom\s+", re.IGNORECASE), re.compile(r"\s+(?:in)?to\s+", re.IGNORECASE)


def in_order(instruction: Instruction) -> tuple[Instruction, ...]:
    """What a sentence asks for one after the other: "first ..., then ...", "from sad to happy"; else itself alone.

    A part without anything that is understood goes with the one before or after it.
    """
    text, begun, texts = instruction.text, 0, list[str]()
    for gap in _THEN.finditer(text):
        if all(said.emotion or said.units for said in map(scan, (text[begun : gap.start()], text[gap.end() :]))):
            texts.append(_FIRST.sub("", text[begun : gap.start()]))
            begun = gap.end()
    texts.append(text[begun:])
    for number, each in reversed(list(enumerate(texts))):
        before, *rest = _FROM.split(each, maxsplit=1)
        for most in (0, 1) if rest else ():
            moods = _TO.split(rest[0], maxsplit=most)
            if len(moods) > 1 and all(scan(mood).emotion for mood in moods):
                texts[number : number + 1] = [before + mood for mood in moods]
                break
    return tuple(Instruction.parse(_whole(each)) for each in texts) if len(texts) > 1 else (instruction,)


def _whole(part: str) -> str:
    """A part of a sentence as a sentence of its own."""
    part = part.strip(" ,;.")
    part = f"{SPEAKERS[0].subject} {part}" if part.startswith(("feels ", "speaks ")) else part
    return f"{part[:1].upper()}{part[1:]}."


def as_timeline(asked: Instruction | Timeline, duration_s: float) -> Timeline:
    """A single instruction as a timeline: what it asks for in order, in equal shares of the time."""
    return asked if isinstance(asked, Timeline) else evenly(in_order(asked), duration_s)
