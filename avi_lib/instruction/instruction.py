"""An instruction: the sentence a person reads and edits, and what is understood of it.

>>> Instruction.parse("A person feels quite angry and speaks with brow strongly down.")
Instruction(text='A person feels quite angry ...', emotion='angry', level=2, action_units={...}, unknown=())
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from avi_lib.errors import InputError
from avi_lib.instruction.action_units import ACTION_UNITS, EMOTIONS, levels, prototype, quantise
from avi_lib.instruction.grammar import MAX_LENGTH, Frame, describe
from avi_lib.instruction.parser import scan

SECOND_EMOTION = 0.7
"""How much of a second emotion's prototype a mix ("happy and surprised") takes over as named units."""


def normalise_text(text: object) -> str:
    """One line of plain text: NFKC, straight quotes, single spaces; control and format characters and emoji removed.

    Raises:
        InputError: not a string, empty, or longer than `MAX_LENGTH`.
    """
    if not isinstance(text, str):
        raise InputError(
            "an instruction as text", f"{type(text).__name__}", 'write a sentence such as "She is furious."'
        )
    kept = []
    for char in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(char)
        if char in "\t\n\r\v\f\x1c\x1d\x1e\x85" or category in ("Zs", "Zl", "Zp", "So"):
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cs", "Co", "Cn"):
            kept.append({"‘": "'", "’": "'", "“": '"', "”": '"'}.get(char, char))
    plain = " ".join("".join(kept).split())
    if not plain:
        raise InputError(
            "an instruction with at least one word", "an empty text", 'write for example "She is furious."'
        )
    if len(plain) > MAX_LENGTH:
        raise InputError(f"an instruction of at most {MAX_LENGTH} characters", f"{len(plain)}", "shorten the sentence")
    return plain


@dataclass(frozen=True)
class Instruction:
    """A sentence and its understood parts.

    `action_units` maps names of `ACTION_UNITS` to strengths 0-1; 0 means the sentence forbids the movement ("without
    smiling"). `level` is 1-3 and there is one whenever there is an emotion. `unknown` are the words not understood.

    Raises:
        InputError: a part is outside its range.
    """

    text: str
    emotion: str | None = None
    level: int | None = None
    action_units: Mapping[str, float] = field(default_factory=dict, hash=False)
    unknown: tuple[str, ...] = ()

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

        A second emotion ("happy and surprised") adds the units of its prototype that the sentence does not name itself
        (compound expressions, Du, Tao & Martinez, PNAS 111(15), 2014).

        Raises:
            InputError: not a string, empty, or longer than `MAX_LENGTH` characters after normalisation.
        """
        plain = normalise_text(text)
        found = scan(plain)
        units = dict(found.units)
        first = prototype(found.emotion, found.level or 1) if found.emotion else {}
        for emotion, level in found.others:
            for name, strength in prototype(emotion, level).items():
                lent = round(strength * SECOND_EMOTION, 4)
                if name not in found.units and lent > first.get(name, 0.0) and quantise(lent) > 0.0:
                    units[name] = max(units.get(name, 0.0), lent)
        return cls(plain, found.emotion, found.level, units, found.unknown)

    def render(self, rng: np.random.Generator, frame: Frame | None = None) -> str:
        """A sentence of the grammar that says the parsed parts; see `grammar.describe`.

        Raises:
            InputError: more units than a sentence holds, or a frame that does not fit.
        """
        return describe(self.action_units, self.emotion, self.level, rng=rng, frame=frame)
