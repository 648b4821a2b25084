"""The phone labels of EMO-DB: narrow German transcription in, ARPAbet phones with times out.

    0.427091   -1 p
    0.509149   -1 !p	+na
    0.551660   -1 m	+sil
    1.841390   -1 .

A line holds the time at which its label BEGINS: over 107 complete clips the energy of "s" above its level is 15 dB
higher after the time than before it. A label is a SAMPA-like symbol, then marks of voice and articulation (+na, -sth),
then stress. A line of marks alone goes on with the phone before it; "!p" is the release of a stop and "pasp" its
aspiration, "_d" a closure without voice, "?" a glottal stop (given to the phone after it, whose shape the mouth takes
already), "(" and "(gef" a pause, and "." the end of speech.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from avi_lib.corpus.adapters.layout import RuleError
from avi_lib.speech.phones import SILENCE, Phone

_ARPABET = {
    "a": "AA", "A": "AA", "e": "EH", "E": "EH", "i": "IY", "I": "IH", "o": "OW", "O": "AO", "u": "UW", "U": "UH",
    "y": "UW", "Y": "UH", "9": "ER", "8": "UH", "@": "AH", "6": "AH", "aI": "AY", "OY": "OY", "aU": "AW", "AU": "AW",
    "aO": "AW", "AO": "AW", "ao": "AW", "OU": "OW", "@O": "OW", "@a": "AA", "@E": "EH", "@6": "AH", "a6": "AA AH",
    "E6": "EH AH", "e@": "EH AH", "i6": "IY AH", "I6": "IH AH", "i@": "IY AH", "I@": "IH AH", "ia": "IY AA",
    "Y6": "UH AH", "m": "M", "n": "N", "N": "NG", "l": "L", "L": "L", "X": "R", "R": "R", "4": "R", "f": "F",
    "v": "V", "V": "V", "B": "V", "s": "S", "z": "Z", "S": "SH", "C": "HH", "x": "HH", "h": "HH", "H": "HH",
    "j": "Y", "J": "Y", "D": "DH", "G": "G", "(": SILENCE, "(gef": SILENCE, ".": SILENCE,
    "gas": "G", "dsap": "D",
}  # fmt: skip
"""Label to the ARPAbet phones of the nearest mouth shape, as `arpabet` has them; every "r" but a vowel's is R.

A symbol with two sounds shares its time evenly. The last line holds two labels that are written wrongly in the corpus.
"""
_MARKS_ALONE = ("", "!", "hoe")
_LINE = re.compile(r"(\d+(?:\.\d+)?)\s+-?\d+(?:\s+(.*))?", re.ASCII)
_AFTER_SYMBOL = re.compile(r"[\s+\-\[]")
_STOP = re.compile(r"([_!]?)([ptkbdg])(asp)?")


def load_lablaut(path: Path) -> tuple[Phone, ...] | None:
    """The phones of a label file, without gaps from the first label to the end of speech; None without any label.

    Raises:
        RuleError: the file cannot be read, its header does not end with "#", times do not rise, a label is not known,
            or the last label is not ".".
    """
    try:
        lines = path.read_bytes().decode("latin-1").splitlines()
    except OSError as error:
        raise RuleError(f"its label file {path.name} cannot be read: {error.strerror}") from error
    if "#" not in [line.strip() for line in lines]:
        raise RuleError(f"its label file {path.name} has no line # after the header")
    labels = lines[[line.strip() for line in lines].index("#") + 1 :]
    marks = _marks([line.strip() for line in labels if line.strip()], path.name)
    phones = []
    for (names, start_s), (_, end_s) in itertools.pairwise(marks):
        step_s = (end_s - start_s) / len(names)
        edges_s = [start_s + i * step_s for i in range(len(names))] + [end_s]
        phones += [Phone(name, *times_s) for name, times_s in zip(names, itertools.pairwise(edges_s), strict=True)]
    return tuple(phones) or None


def _marks(lines: list[str], name: str) -> list[tuple[list[str], float]]:
    """Phones and the time in seconds at which they begin, the last one the end of speech."""
    marks: list[tuple[list[str], float]] = []
    before_s, held_s, symbol = -1.0, None, "."
    for line in lines:
        match = _LINE.fullmatch(line)
        if not match or float(match[1]) <= before_s:
            raise RuleError(f"its label file {name} has the line {line!r}; times must rise, and a label follow")
        before_s = float(match[1])
        symbol = _AFTER_SYMBOL.split(match[2] or "", maxsplit=1)[0]
        stop = _STOP.fullmatch(symbol)
        if symbol in _MARKS_ALONE or (stop and (stop[1] == "!" or stop[3]) and _goes_on(marks, stop[2])):
            continue
        if symbol == "?":
            held_s = before_s
            continue
        marks.append((_names(symbol, name), before_s if held_s is None else held_s))
        held_s = None
    if symbol != ".":
        raise RuleError(f"its label file {name} ends with {symbol!r}; the last label is '.', the end of speech")
    return marks


def _goes_on(marks: list[tuple[list[str], float]], stop: str) -> bool:
    return bool(marks) and marks[-1][0] == [stop.upper()]


def _names(symbol: str, name: str) -> list[str]:
    if stop := _STOP.fullmatch(symbol):
        return [stop[2].upper()]
    single = symbol[0] if len(symbol) == 2 and symbol[0] == symbol[1] else symbol  # "nn" is one long n
    if single not in _ARPABET:
        raise RuleError(f"its label file {name} has the label {symbol!r}, which stands for no known sound")
    return _ARPABET[single].split()
