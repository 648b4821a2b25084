"""Errors that a person can act on: what was expected, what came, what to do.

>>> raise InputError("a recording of at least 0.1 s", "0.02 s in hello.wav", "record a longer clip")
"""

from __future__ import annotations


class AviError(Exception):
    """Base of every error this library raises on purpose; the command line ends with `exit_code`."""

    exit_code = 1

    def __init__(self, expected: str, got: str, do: str) -> None:
        self.expected, self.got, self.do = expected, got, do
        super().__init__(f"expected {expected}; got {got}; {do}")

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
