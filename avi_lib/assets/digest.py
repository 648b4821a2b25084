"""SHA-256 of files and of folders.

>>> file_sha256(Path("model.bin"))
'12f9...'
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in lower-case hexadecimal; OSError when it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
