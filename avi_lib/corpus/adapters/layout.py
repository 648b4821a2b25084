"""The layout of a raw corpus: which files lie in a folder, and which of them break a rule.

In: a source folder and the suffixes that matter. Out: files by name, recordings and refusals.

>>> found, refused = find(Path("ravdess"), SPEECH_SUFFIXES)
>>> recordings, broken = collect(found, read)  # read(name, path) -> Recording, or raises RuleError

No file is opened here.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from avi_lib.corpus.recording import SPEECH_SUFFIXES, UNKNOWN_SPEAKER, VIDEO_SUFFIXES, Recording, Refusal, source_folder
from avi_lib.errors import InputError

T = TypeVar("T")


class RuleError(ValueError):
    """A file or row breaks a rule of its corpus; the message says which, and becomes the reason of a Refusal."""


def find(source: Path, suffixes: Iterable[str]) -> tuple[dict[str, Path], list[Refusal]]:
    """Files below a folder whose suffix, in any case, is one of `suffixes`; hidden files and folders are left alone.

    Links are followed. A folder that several links lead to is searched once, so links in a circle do no harm.

    Returns:
        files by their name below the source, with forward slashes, in order; and refusals: folders that cannot be
        read, links that lead nowhere, and names with control characters or bytes that are not UTF-8.

    Raises:
        InputError: the source is not a folder.
    """
    wanted = frozenset(suffixes)
    found: dict[str, Path] = {}
    refused: list[Refusal] = []
    seen: set[tuple[int, int]] = set()
    waiting = [("", source_folder(source))]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            refused.append(Refusal(printable(prefix) or ".", f"the folder cannot be read: {error.strerror}"))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            name, is_folder = prefix + entry.name, _leads(entry.is_dir)
            if not is_folder and _suffix(entry.name) not in wanted:
                continue
            if _unusable(entry.name):
                refused.append(Refusal(printable(name), "the name has control characters or is not UTF-8; rename it"))
            elif is_folder:  # links wait until every real folder is searched, so that names follow the real ones
                waiting.insert(0 if entry.is_symlink() else len(waiting), (name + "/", Path(entry.path)))
            elif _leads(entry.is_file):
                found[name] = Path(entry.path)
            else:
                refused.append(Refusal(printable(name), "not a regular file, or a link that leads nowhere"))
    return dict(sorted(found.items())), refused


def collect(found: Mapping[str, T], read: Callable[[str, T], Recording]) -> tuple[list[Recording], list[Refusal]]:
    """Recordings of files or rows, in their order; what breaks a rule becomes a Refusal.

    `read(name, item)` raises RuleError or InputError for an item that is left out. Of several recordings with one name
    the first is kept and the others are refused.
    """
    kept: dict[str, str] = {}
    recordings: list[Recording] = []
    refused: list[Refusal] = []
    for name, item in found.items():
        try:
            recording = read(name, item)
            if recording.name in kept:
                raise RuleError(f"the same recording as {kept[recording.name]}, which is kept")
        except (RuleError, InputError) as error:
            refused.append(Refusal(printable(name), printable(str(error))))
        else:
            kept[recording.name] = name
            recordings.append(recording)
    return recordings, refused


def printable(name: str) -> str:
    """A name in one line: characters that cannot be shown are written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def stem(name: str) -> str:
    """A name below the source without its suffix; folders stay."""
    return posixpath.splitext(name)[0]


def speaker_folder(name: str) -> str:
    """The folder directly below the source that a file lies in, taken as its speaker; at the top UNKNOWN_SPEAKER."""
    return name.split("/")[0] if "/" in name else UNKNOWN_SPEAKER


def by_preference(found: Mapping[str, Path]) -> dict[str, Path]:
    """The same files, of one format after the other: lossless before lossy, sound before video; then by name."""
    order = {suffix: place for place, suffix in enumerate(SPEECH_SUFFIXES + VIDEO_SUFFIXES)}
    return dict(sorted(found.items(), key=lambda item: (order.get(_suffix(item[0]), len(order)), item[0])))


class Files:
    """Files of a source, looked up by what a table says: with or without the suffix, in either form of accents."""

    def __init__(self, found: Mapping[str, Path]) -> None:
        ordered = by_preference(found)
        self._exact = {unicodedata.normalize("NFC", name): path for name, path in ordered.items()}
        self._stems: dict[str, Path] = {}
        for name, path in self._exact.items():
            self._stems.setdefault(stem(name), path)

    def at(self, name: str) -> Path | None:
        """The file of this name below the source, else one that has a suffix more; None when there is neither."""
        key = unicodedata.normalize("NFC", name)
        return self._exact.get(key) or self._stems.get(key)


def inside(text: str, folder: str = "") -> str:
    """A relative path of a table as a name below the source; `folder` is where in the source the table lies.

    Raises:
        RuleError: empty, with control characters, absolute, or leaving the source.
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


def _leads(question: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; a link in a circle or without permission is of none."""
    try:
        return question()
    except OSError:
        return False


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
