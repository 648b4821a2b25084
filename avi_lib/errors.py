"""Errors that a person can act on: what was expected, what came, what to do.

>>> raise InputError("a recording of at least 0.1 s", "0.02 s in hello.wav", "record a longer clip")
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_LETTERS = 600  # of each part of an error: of a longer one the beginning and the end are kept
_TURNS = {
    r"^Error (?:-?\d+ while|while|occurred) \w+ \w+: ": "",
    r"^(?:invalid literal for|could not convert string to) \w+(?:\(\) with base \d+)?: (.*)$": r"\1 is no number",
    r"^.*\[[Ee]rrno -?\d+\] ": "",
    r"^This file contains pickled .*$|^Object arrays cannot be loaded .*$": "it holds pickled objects",
    r"^(?:Exceeds|Exceeded) .*limit .*$": "a number in it is too long",
    r"'?utf-\d+\S* codec.*$|^.*invalid UTF-8.*$": "it is not text in UTF-8",
}  # fmt: skip
"""What libraries say of a damaged file, and how a person would."""


class AviError(Exception):
    """Base of every error this library raises on purpose; the command line ends with `exit_code`."""

    exit_code = 1

    def __init__(self, expected: str, got: str, do: str) -> None:
        self.expected, self.got, self.do = map(one_line, (expected, got, do))
        super().__init__(f"expected {self.expected}; got {self.got}; {self.do}")

    def __reduce__(self) -> tuple[type[AviError], tuple[str, str, str]]:
        """So that an error can come from another process."""
        return type(self), (self.expected, self.got, self.do)


class InputError(AviError):
    """An argument or an input file cannot be used."""

    exit_code = 2


class OutputError(InputError):
    """A result cannot be written where it was asked for: no room, no permission, no folder."""


class AssetError(AviError):
    """A frozen model or a shipped asset is missing, damaged or cannot be fetched."""


def expect(good: object, expected: str, got: object, do: str) -> None:
    """InputError, with what came and what to do about it, unless what is expected holds."""
    if not good:
        raise InputError(expected, str(got), do)


def one_line(text: str) -> str:
    """A text as it may stand in a line for a person: what a terminal would obey, or cannot show, becomes a space."""
    line = "".join(each if each.isprintable() else " " for each in str(text))
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 200]} … {line[-190:]}"


def kind_of(value: object) -> str:
    """What a value of JSON is, in words."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"{type(value).__name__}")


def cause(error: BaseException) -> str:
    """What went wrong with a file, from what a library raised over it: a line without the words of programmers."""
    if isinstance(error, UnicodeError):
        return "it is not text in UTF-8"
    if isinstance(error, KeyError | IndexError | StopIteration | EOFError):
        known = isinstance(error, KeyError) and error.args and isinstance(error.args[0], str)
        return f"{one_line(error.args[0])} is missing" if known else "a part of it is missing"
    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else "it wants more memory than there is"
    if isinstance(error, TypeError | AttributeError | ArithmeticError):
        return "a part of it is of another kind"
    if hasattr(error, "errors"):  # pydantic's
        first = error.errors()[0]
        return one_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "))
    said = getattr(error, "strerror", None) or str(error)  # of OSError, and of FFmpeg's
    line = " ".join(said.split()) or "it is damaged"
    if len(line) > 300:  # torch tells where in its source
        line = said.strip().splitlines()[0]
    for pattern, words in _TURNS.items():
        line = re.sub(pattern, words, line)
    return one_line(line)


@dataclass(frozen=True)
class Finding:
    """One thing found in a file: a stable name, the number that tells how much, and a sentence for a person."""

    name: str
    value: float
    text: str
