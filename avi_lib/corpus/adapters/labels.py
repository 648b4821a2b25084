"""The labels of a raw corpus: small CSV and JSON files, phones with times, emotions in other words.

>>> phones_of([["hi", "HH", -0.05, 0.1], ["hi", "AY1", 0.1, 0.3]])
(Phone(phone='HH', start_s=0.0, end_s=0.1), Phone(phone='AY', start_s=0.1, end_s=0.3))
>>> emotion_of("Anger")
'angry'
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from pathlib import Path

from avi_lib.corpus.adapters.layout import RuleError, printable
from avi_lib.errors import InputError
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.instruction.instruction import Instruction
from avi_lib.speech.phones import ARPABET, SILENCE, Phone

_LONGEST_S = 86_400
_SYNONYMS = {
    "anger": "angry", "disgust": "disgusted", "fearful": "fear", "happiness": "happy", "sadness": "sad",
    "surprise": "surprised", "boredom": "bored",
}  # fmt: skip


def read_json(path: Path) -> object:
    """What a JSON file says; InputError when it cannot be read, is no JSON or has a key twice."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("a readable JSON file", f"{path}: {error}", "mend it or remove it") from error


def read_table(path: Path, *needed: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row of a CSV, gzipped or not; cells that are missing are empty.

    Raises:
        InputError: not a readable CSV, without one of the `needed` columns, or a row with more cells than the header.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            reader = csv.reader(io.StringIO(stream.read().decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError("a readable CSV", f"{path}: {error}", "write it again as CSV in UTF-8") from error
    columns = [column.lower() for column in rows[0][1]] if rows else []
    missing = [column for column in needed if column not in columns]
    if missing or len(set(columns)) < len(columns):
        got = f"{path} without {', '.join(missing)}" if missing else f"{path} with a column twice"
        raise InputError(f"a CSV with a header and the columns {', '.join(needed)}", got, "mend its first line")
    for line, cells in rows[1:]:
        if len(cells) > len(columns):
            got = f"{len(cells)} in line {line} of {path}"
            raise InputError(f"at most {len(columns)} cells in a row", got, "put cells that hold a comma in quotes")
    return [(line, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))) for line, cells in rows[1:]]


def read_phones(source: Path) -> dict[str, object]:
    """The entries of `phones.json` in a source, clip to what `phones_of` reads; empty when there is no such file.

    Raises:
        InputError: the file is no JSON object.
    """
    path = source / "phones.json"
    if not path.exists():
        return {}
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise InputError("one entry for each clip in phones.json", f"{path} with a list or value", "mend or remove it")
    return entries


def phones_of(entry: object) -> tuple[Phone, ...]:
    """The phones of one entry `[[word, phone, start_s, end_s], ...]` in order of time.

    Clips may have been cut after they were labelled, so times may begin below 0: what lies before 0 is dropped. Marks
    of stress ("AH0") are dropped too.

    Raises:
        RuleError: another form, a phone that is not ARPAbet or "SIL", an end before its start, or no phone at all. A
            recording with such an entry is left out rather than used without its phones, so that a slip in the file
            is seen.
    """
    phones = []
    for label in entry if isinstance(entry, list) else [entry]:
        match label:
            case [str() | None, str(name), int() | float() as start_s, int() | float() as end_s]:
                phone = name.rstrip("012")
                if phone not in ARPABET and phone != SILENCE:
                    raise RuleError(f"its entry in phones.json has the phone {name!r}; use ARPAbet and SIL")
                if not -_LONGEST_S <= start_s <= end_s <= _LONGEST_S:
                    raise RuleError(f"its entry in phones.json has {phone} from {start_s} to {end_s} s; mend the times")
                phones.append(Phone(phone, max(float(start_s), 0.0), float(end_s)))
            case _:
                raise RuleError("its entry in phones.json is not a list of [word, phone, start_s, end_s]")
    heard = tuple(sorted((phone for phone in phones if phone.end_s > phone.start_s), key=lambda phone: phone.start_s))
    if not heard:
        raise RuleError("its entry in phones.json has no phone after 0 s; mend or remove it")
    return heard


def emotion_of(word: str) -> str:
    """One of EMOTIONS for its name or noun ("anger"), in any case; RuleError for other words."""
    plain = word.strip().lower()
    emotion = _SYNONYMS.get(plain, plain)
    if emotion not in EMOTIONS:
        raise RuleError(f"the emotion {word!r}; known are {', '.join(EMOTIONS)}")
    return emotion


def level_of(emotion: str, level: int | None = None) -> int:
    """A level that the emotion has; without one 2, or 1 for neutral and calm; RuleError when it has no such level."""
    if level is None:
        return 2 if 2 in levels(emotion) else 1
    if level not in levels(emotion):
        raise RuleError(f"level {level} of {emotion}, which has {', '.join(map(str, levels(emotion)))}")
    return level


def understood(sentence: str) -> tuple[str, str | None, int | None]:
    """A caption in plain characters, with the emotion and level it names; InputError when empty or too long."""
    instruction = Instruction.parse(sentence)
    return instruction.text, instruction.emotion, instruction.level


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in entries if keys.count(key) > 1)
        raise ValueError(f"the key {printable(twice)!r} twice")
    return entries
