"""What a raw corpus consists of: recordings with labels, the files of a folder, tables, phones with times.

>>> found, refused = find(Path("ravdess"), SPEECH_SUFFIXES)
>>> phones_of([["hi", "HH", -0.05, 0.1], ["hi", "AY1", 0.1, 0.3]])
(Phone(phone='HH', start_s=0.0, end_s=0.1), Phone(phone='AY', start_s=0.1, end_s=0.3))
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
import posixpath
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from avi_lib.errors import InputError, cause
from avi_lib.files import table_rows
from avi_lib.instruction.action_units import EMOTIONS, levels
from avi_lib.instruction.instruction import Instruction
from avi_lib.motion.clip import MotionClip
from avi_lib.speech.decode import SOUND_SUFFIXES
from avi_lib.speech.phones import ARPABET, SILENCE, Phone

UNKNOWN_SPEAKER = "unknown"
"""Speaker of recordings that nobody is named for: one speaker for the splits, since people must not cross them."""

TABLES: dict[str, Any] = json.loads(Path(__file__).with_name("corpora.json").read_text("utf-8"))
"""What is known of raw corpora: rules of names, layouts, names of folders, genders and emotions."""
_LONGEST_S = 86_400


@dataclass(frozen=True)
class MotionFile:
    """A file with motion and the module function that reads it.

    `read(path)` returns motion of `space` at the recording's own frame rate and raises InputError. `also` are other
    files that decide what it returns.
    """

    path: Path
    read: Callable[[Path], MotionClip]
    space: str = "ARKIT"
    also: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Recording:
    """One recording of a raw corpus: files and labels, nothing read yet."""

    name: str  # unique in the corpus, with forward slashes; usually the path below the source without its suffix
    speaker: str  # who speaks; splits never part a speaker
    speech: Path | None = None  # file with the sound, which may be a video; None when the recording is silent motion
    video: Path | None = None  # file in which a face is tracked; None when there is none or `motion` is there
    motion: MotionFile | None = None  # recorded motion; None when there is none
    emotion: str | None = None  # one of `EMOTIONS`, None when not labelled
    level: int | None = None  # 1-3 together with an emotion, else None; 2 for corpora that know no levels
    text: str | None = None  # what is said, None when not known
    language: str = "en"  # of what is said, as a code such as "en" or "de"
    # ARPAbet phones with times in seconds from the start of `speech`, None when the corpus has none
    phones: tuple[Phone, ...] | None = None
    caption: str | None = None  # an instruction for the face that comes with the corpus, None when there is none
    # the speaker's, "female" or "male" as the corpus says, None when it does not; it is never guessed
    gender: str | None = None
    split: str | None = None  # train, validation or test where the corpus parts one speaker's clips, else None

    @property
    def face(self) -> str:
        """Whose neutral face the motion is measured against: the speaker's, or the recording's own if nobody is named.

        Recordings without a speaker may show different people.
        """
        return self.speaker if self.speaker != UNKNOWN_SPEAKER else f"{self.speaker}/{self.name}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the recording is made of, each once."""
        motion = (self.motion.path, *self.motion.also) if self.motion else ()
        return tuple(dict.fromkeys(path for path in (self.speech, self.video, *motion) if path is not None))


@dataclass(frozen=True)
class Refusal:
    """A recording, or a file that should be one, that is left out, and why."""

    name: str
    reason: str


class Scan(NamedTuple):
    """What an adapter found in a source: recordings sorted by name, and the files that broke a rule."""

    recordings: tuple[Recording, ...]
    refused: tuple[Refusal, ...]


class RuleError(ValueError):
    """A file or row breaks a rule of its corpus; the message says which, and becomes the reason of a Refusal."""


Found = dict[str, Path]  # files of a source by their names below it, with forward slashes


# Files of a source.
def find(source: Path, suffixes: Iterable[str] | None) -> tuple[Found, list[Refusal]]:
    """Files below a folder whose suffix, in any case, is one of `suffixes`, or all files; hidden ones are left.

    Links are followed. A folder that several links lead to is searched once, so links in a circle do no harm. Files
    come one format after the other, lossless before lossy and sound before video, then by name. Refused are folders
    that cannot be read, links that lead nowhere, and, where `suffixes` choose, names with control characters or bytes
    that are not UTF-8. Raises InputError for no folder.
    """
    if not source.is_dir():
        state = "a file" if source.exists() else "missing"
        raise InputError("a folder with a raw corpus", f"{source}, which is {state}", "pass the corpus' folder")
    found: Found = {}
    refused: list[Refusal] = []
    seen: set[tuple[int, int]] = set()
    waiting = [("", source)]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            status, entries = folder.stat(), sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            refused.append(Refusal(printable(prefix) or ".", f"the folder cannot be read: {cause(error)}"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            name, path = prefix + entry.name, Path(entry.path)
            is_folder = os.path.isdir(path)  # noqa: PTH112 (False for links that cannot be followed, never an error)
            if entry.name.startswith(".") or not (is_folder or suffixes is None or path.suffix.lower() in suffixes):
                continue
            if suffixes is not None and _unusable(entry.name):
                refused.append(Refusal(printable(name), "the name has control characters or is not UTF-8; rename it"))
            elif is_folder:  # links wait until every real folder is searched, so that names follow the real ones
                waiting.insert(0 if entry.is_symlink() else len(waiting), (name + "/", path))
            elif os.path.isfile(path):  # noqa: PTH113
                found[name] = path
            else:
                refused.append(Refusal(printable(name), "not a regular file, or a link that leads nowhere"))
    order = {suffix: place for place, suffix in enumerate(SOUND_SUFFIXES)}
    ordered = sorted(found.items(), key=lambda item: (order.get(item[1].suffix.lower(), len(order)), item[0]))
    return dict(ordered), refused


def printable(name: str) -> str:
    """A name in one line: characters that cannot be shown are written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def stem(name: str) -> str:
    """A name below the source without its suffix; folders stay."""
    return posixpath.splitext(name)[0]


def speaker_folder(name: str) -> str:
    """The folder directly below the source that a file lies in, taken as its speaker; at the top UNKNOWN_SPEAKER."""
    return name.split("/")[0] if "/" in name else UNKNOWN_SPEAKER


def of_suffix(found: Found, *suffixes: str) -> Found:
    """Those with one of the suffixes, in any case."""
    return {name: path for name, path in found.items() if path.suffix.lower() in suffixes}


def by_written_name(found: Found) -> Found:
    """Files as a table may write them, with the suffix or without, in the NFC form of accents; exact names win."""
    exact = {nfc(name): path for name, path in found.items()}
    return {stem(name): path for name, path in reversed(exact.items())} | exact


def nfc(name: str) -> str:
    """A name with composed accents, the form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def inside(text: str, folder: str = "") -> str:
    """A relative path of a table as a name below the source; `folder` is where in the source the table lies.

    Raises RuleError for one that is empty, has control characters, is absolute, or leaves the source.
    """
    if _unusable(text):
        raise RuleError(f"the path {text} has control characters")
    name = posixpath.normpath(posixpath.join(folder, text.strip()))
    if not text.strip() or name == ".":
        raise RuleError("an empty path; name a file below the source")
    if posixpath.isabs(name) or name.split("/")[0] == "..":
        raise RuleError(f"the path {text} leaves the source; name files below it")
    return name


def _unusable(name: str) -> bool:
    """Whether a name has control characters, or bytes that are not UTF-8."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in name)


# Tables and labels.
def read_json(path: Path) -> object:
    """What a JSON file says; InputError when it cannot be read, is no JSON or has a key twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries: dict[str, object] = {}
        for key, value in pairs:
            if key in entries:
                raise ValueError(f"the key {printable(key)!r} twice")
            entries[key] = value
        return entries

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("a readable JSON file", f"{path}: {cause(error)}", "mend it or remove it") from error


def read_table(path: Path, *needed: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row of a CSV, gzipped or not; cells that are missing are empty.

    Raises InputError for no readable CSV, one without a `needed` column, and a row with more cells than the header.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            rows = list(table_rows(stream.read()))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError("a readable CSV", f"{path}: {cause(error)}", "write it again as CSV in UTF-8") from error
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


def emotion_of(word: str) -> str:
    """One of EMOTIONS for its name or noun ("anger"), in any case; RuleError for other words."""
    plain = word.strip().lower()
    emotion = TABLES["emotions"].get(plain, plain)
    if emotion not in EMOTIONS:
        raise RuleError(f"the emotion {word!r}; known are {', '.join(EMOTIONS)}")
    return emotion


def level_of(emotion: str, level: int | str | None = None) -> int:
    """A level that the emotion has; without one 2, or 1 for neutral and calm; RuleError when it has no such level."""
    if level is None or level == "":
        return 2 if 2 in levels(emotion) else 1
    if level not in (1, 2, 3, "1", "2", "3"):
        raise RuleError(f"the level {level!r}; levels are 1, 2 and 3")
    if int(level) not in levels(emotion):
        raise RuleError(f"level {level} of {emotion}, which has {', '.join(map(str, levels(emotion)))}")
    return int(level)


def understood(sentence: str) -> tuple[str, str | None, int | None]:
    """A caption in plain characters, with the emotion and level it names; InputError when empty or too long."""
    instruction = Instruction.parse(sentence)
    return instruction.text, instruction.emotion, instruction.level


# Phones with times: `phones.json`, and the label files of EMO-DB.
def read_phones(source: Path) -> dict[str, object]:
    """The entries of `phones.json` in a source by clip, empty when there is no such file; InputError when damaged."""
    path = source / "phones.json"
    entries = read_json(path) if path.exists() else {}
    if not isinstance(entries, dict):
        raise InputError("one entry for each clip in phones.json", f"{path} with a list or value", "mend or remove it")
    return entries


def phones_of(entry: object) -> tuple[Phone, ...]:
    """The phones of one entry `[[word, phone, start_s, end_s], ...]` in order of time.

    Clips may have been cut after they were labelled: what lies before 0 s is dropped, and so are marks of stress.
    Raises RuleError for another form, a phone that is not ARPAbet or "SIL", an end before its start, and no phone at
    all: a slip in the file is to be seen.
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
                if end_s > max(start_s, 0):
                    phones.append(Phone(phone, max(float(start_s), 0.0), float(end_s)))
            case _:
                raise RuleError("its entry in phones.json is not a list of [word, phone, start_s, end_s]")
    if not phones:
        raise RuleError("its entry in phones.json has no phone after 0 s; mend or remove it")
    return tuple(sorted(phones, key=lambda phone: phone.start_s))


_LABLAUT: dict[str, str] = json.loads(Path(__file__).with_name("lablaut.json").read_text("utf-8"))
"""Label to the ARPAbet phones of the nearest mouth shape; "gas" and "dsap" are slips of the corpus."""
_LABLAUT_LINE = re.compile(r"(\d+(?:\.\d+)?)\s+-?\d+(?:\s+(.*))?", re.ASCII)
_STOP = re.compile(r"([_!]?)([ptkbdg])(asp)?")


def load_lablaut(path: Path) -> tuple[Phone, ...] | None:
    """The phones of an EMO-DB label file, narrow German transcription, without gaps up to the end of speech.

    A line such as "0.509149 -1 !p +na" holds the time at which its label begins: over 107 complete clips the energy of
    "s" above its level is 15 dB higher after the time than before it. A label is a SAMPA-like symbol, then marks. A
    line of marks alone goes on with the phone before it; "!p" is the release of a stop, "pasp" its aspiration, "_d" a
    closure without voice, "?" a glottal stop (given to the phone after it, whose shape the mouth takes already), "("
    and "(gef" a pause, and "." the end of speech. None without any label. Raises RuleError for a file that cannot be
    read, a header that does not end with "#", times that do not rise, an unknown label, and a last one that is not ".".
    """
    where = f"its label file {path.name}"
    try:
        lines = [line.strip() for line in path.read_bytes().decode("latin-1").splitlines()]
    except OSError as error:
        raise RuleError(f"{where} cannot be read: {cause(error)}") from error
    if "#" not in lines:
        raise RuleError(f"{where} has no line # after the header")
    marks: list[tuple[list[str], float]] = []
    before_s, held_s, symbol = -1.0, None, "."
    for line in filter(None, lines[lines.index("#") + 1 :]):
        match = _LABLAUT_LINE.fullmatch(line)
        if not match or float(match[1]) <= before_s:
            raise RuleError(f"{where} has the line {line!r}; times must rise, and a label follow")
        before_s = float(match[1])
        symbol = re.split(r"[\s+\-\[]", match[2] or "", maxsplit=1)[0]
        stop = _STOP.fullmatch(symbol)
        goes_on = stop and (stop[1] == "!" or stop[3]) and marks and marks[-1][0] == [stop[2].upper()]
        if symbol in ("", "!", "hoe") or goes_on:
            continue
        if symbol == "?":
            held_s = before_s
            continue
        single = symbol[0] if len(symbol) == 2 and symbol[0] == symbol[1] else symbol  # "nn" is one long n
        if not stop and single not in _LABLAUT:
            raise RuleError(f"{where} has the label {symbol!r}, which stands for no known sound")
        names = [stop[2].upper()] if stop else _LABLAUT[single].split()
        marks.append((names, before_s if held_s is None else held_s))
        held_s = None
    if symbol != ".":
        raise RuleError(f"{where} ends with {symbol!r}; the last label is '.', the end of speech")
    phones = []
    for (names, start_s), (_, end_s) in itertools.pairwise(marks):  # a label of two sounds shares its time evenly
        step_s = (end_s - start_s) / len(names)
        edges_s = [start_s + i * step_s for i in range(len(names))] + [end_s]
        phones += [Phone(name, *times_s) for name, times_s in zip(names, itertools.pairwise(edges_s), strict=True)]
    return tuple(phones) or None
