"""Atomic writes, and results kept by content: a file is either the whole new one or the old one, never half of either.

>>> with atomic_path(Path("curve.csv")) as temporary:
...     temporary.write_text("...")
"""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from upath import UPath

from avi_lib.errors import AssetError, InputError, OutputError, cause, expect

_MAKING = ".avi-making"  # ending of the folder in which another one is made
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` with the same suffix; move it to `path` when the block succeeds.

    The temporary file is flushed to disk before the move and removed when the block raises, so `path` is untouched
    then. Raises OutputError when the folder does not exist or cannot be written, or when `path` is a folder.
    """
    path = Path(path)
    check_writable(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        got = cause(error)
        raise OutputError(f"room and permission to write {path}", got, "free space or choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `path`, which must not exist, when the block ends well.

    What an interrupted process left of the same folder is removed first: nobody else may make it at the same time.
    Nothing is left behind after a failure.
    """
    unfinished = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}" + re.escape(_MAKING))
    for stale in path.parent.iterdir():
        if unfinished.fullmatch(stale.name) and stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_MAKING, dir=path.parent))
    try:
        folder = room / "files"
        folder.mkdir()
        yield folder
        folder.rename(path)
    finally:
        shutil.rmtree(room)


def check_writable(path: Path) -> None:
    """Raise OutputError unless a file can be created or replaced at `path`; nothing is left behind."""
    folder = path.parent
    probe = folder / f".{path.stem}.{secrets.token_hex(4)}.probe"
    try:
        if path.is_dir():
            raise OutputError("a file to write", f"the folder {path}", "give a file name inside it")
        if not folder.is_dir():
            raise OutputError("an existing folder to write into", str(folder), "create it or choose another place")
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"a writable folder {folder}", cause(error), "choose another place") from error


def keep_inputs(inputs: Iterable[Path], targets: Iterable[Path]) -> None:
    """Raise InputError for a file to be written that is one of those that are read."""
    kept = {path.resolve() for path in inputs}
    for target in targets:
        expect(target.resolve() not in kept, "a new file to write", f"{target}, which is read", "choose another name")


Place = Path | UPath
"""A file or folder here, or on a file system of fsspec."""


def place(path: Place | str, root: Path = Path()) -> Place:
    """What a path seen from `root` says, `data/corpus` as well as `s3://bucket/corpus`.

    Raises InputError for an unknown file system, AssetError where its package is not installed or it does not answer.
    """
    system = re.match(r"(\w[\w+.-]*)://", str(path))
    if isinstance(path, Path) or system is None:
        return root / str(path)
    try:
        found = UPath(str(path))
        with suppress(FileNotFoundError):
            found.fs.info(found.path)
    except ValueError as error:
        raise InputError("a file system such as s3, gs or file", str(path), "check how it begins") from error
    except ImportError as error:
        do = "pip install 'avi-lib[s3]' for s3, or the package named"
        raise AssetError(f"the package for {system[1]}://", cause(error), do) from error
    except Exception as error:  # of as many kinds as there are file systems
        raise AssetError(f"{path} within reach", cause(error), "check address, name and permission") from error
    return Path(found.path) if found.fs.protocol == ("file", "local") else found


def write_file(path: Place, content: bytes) -> None:
    """Write a file of a place as a whole: whoever reads it meanwhile finds the old one or the new one."""
    if isinstance(path, UPath):
        try:
            path.write_bytes(content)
        except OSError as error:
            got = cause(error)
            raise OutputError(f"room and permission to write {path}", got, "check name and permission") from error
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def listed(folder: Place) -> list[Place]:
    """What is in a folder of a place just now, in order of names; nothing where there is none."""
    if isinstance(folder, UPath):
        folder.fs.invalidate_cache()
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_folder(folder: Place) -> None:
    """Make a folder and those above it; OutputError where that cannot be done."""
    if isinstance(folder, UPath):
        return  # an object store has no folders
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = cause(error)
        raise OutputError(f"a folder {folder} for the results", got, "choose another place") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in lower-case hexadecimal; OSError when it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_sha256(content: object) -> str:
    """SHA-256 in hexadecimal of what can be said in JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached(folder: Place | None, key: object, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that `make` gives, kept below `folder` under the digest of `key`, so that they are made only once.

    Args:
        folder: made where there is none; nothing is kept when None.
        key: all that decides the arrays, ready for JSON.
        make: what is called when nothing is kept, or what is kept is damaged.
    """
    if folder is None:
        return make()
    path = folder / f"{content_sha256(key)[:32]}.safetensors"
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError):
        arrays = make()
    make_folder(folder)
    write_file(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    return arrays


def folder_files(folder: Path) -> dict[str, Path]:
    """Every regular file below a folder, by its path relative to it with forward slashes, sorted."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the relative path and the SHA-256 of every file below a folder, in the order of the paths."""
    lines = sorted(f"{name}\n{file_sha256(path)}" for name, path in folder_files(folder).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def decoded(content: bytes, errors: str = "strict", whole: bool = True) -> str:
    """Text in UTF-8, or UTF-16 where a byte order mark says so; the last character may be cut unless it is `whole`."""
    marked = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return codecs.getincrementaldecoder("utf-16" if marked else "utf-8-sig")(errors).decode(content, whole)


def table_rows(content: bytes, whole: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every row with a cell that is not empty, the header first.

    Cells are parted by what parts most of the header: a comma, a semicolon, a tab or a bar. A spreadsheet's first line
    `sep=;` is passed over. Raises UnicodeDecodeError and csv.Error.
    """
    text = decoded(content, whole=whole)
    spoken = re.match(r"sep=.\s*\n", text)
    head = text[spoken.end() if spoken else 0 :].lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=head.count), skipinitialspace=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells) and not (reader.line_num == 1 and spoken):
            yield reader.line_num, cells


def number(cell: str) -> float:
    """The number of a table's cell, with a decimal point or comma; NaN for an empty one, ValueError for no number."""
    try:
        return float(cell.replace(",", ".") or "nan")
    except ValueError:
        raise ValueError(f"{cell[:40]!r}, which is no number") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
