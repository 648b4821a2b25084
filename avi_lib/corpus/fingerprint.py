"""Fingerprints: digests of source files, kept between runs, and of the code that prepares them.

>>> with SourceDigests(destination / "sources.json", source) as digests:
...     digests.of(source / "clip.wav")
'9f86d081884c7d65...'
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import time
from functools import cache
from pathlib import Path
from types import TracebackType

import avi_lib
from avi_lib.assets.digest import file_sha256
from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.settings import PerformerSettings

ROOMS = ("corpus", "instruction", "motion", "speech")
"""Parts of the library whose code decides what a prepared corpus contains; settings count by their values."""

PACKAGES = (
    "av",
    "ctranslate2",
    "hama",
    "librosa",
    "mediapipe",
    "numpy",
    "pocketsphinx",
    "scipy",
    "soxr",
    "transformers",
)
"""Packages whose version decides numbers."""

_SETTLED_S = 2.0
"""A file changed less than this before its digest was taken may change again within the clock's resolution."""


@cache
def code_digest() -> str:
    """SHA-256 of the code that prepares, of the settings' defaults and of versions: another code, another corpus."""
    root = Path(avi_lib.__file__).parent
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    defaults = PerformerSettings().model_dump_json()
    digest = hashlib.sha256("\n".join((avi_lib.__version__, defaults, *versions)).encode())
    for path in sorted(prepared_by()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prepared_by() -> set[Path]:
    """Files of `ROOMS` that a preparation runs: the orchestrating module, the adapters, and what they import."""
    corpus = Path(avi_lib.__file__).parent / "corpus"
    found = set(corpus.glob("rigs/*.json"))
    waiting = [corpus / "prepare.py", *(corpus / "adapters").glob("*.py")]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


def _imports(path: Path) -> list[Path]:
    """Files of `ROOMS` that a module imports, anywhere in it."""
    found = []
    root = Path(avi_lib.__file__).parents[1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(avi_lib.__name__):
            place = root.joinpath(*str(node.module).split("."))
            names = [place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)]
            found += [name for name in names if name.is_file() and name.relative_to(root).parts[1] in ROOMS]
    return found


class SourceDigests:
    """SHA-256 of files of a source; a file whose size and times of change are as before is not read again.

    Used as a context: what was found is kept in `memory` at its end.
    """

    def __init__(self, memory: Path, source: Path) -> None:
        self._memory, self._source = memory, source
        self._known: dict[str, list[int | str]] = _remembered(memory)
        self._seen: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """Digest of a file; InputError when it cannot be read."""
        try:
            status = path.stat()
            name = path.relative_to(self._source).as_posix() if path.is_relative_to(self._source) else str(path)
            state: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            known = self._known.get(name)
            digest = str(known[3]) if known is not None and known[:3] == state else file_sha256(path)
            if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
                self._seen[name] = [*state, digest]
            return digest
        except OSError as error:
            raise InputError(
                "a readable file", f"{path}: {error.strerror or error}", "check its permissions"
            ) from error

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with atomic_path(self._memory) as temporary:
            temporary.write_text(json.dumps(self._known | self._seen, sort_keys=True), "utf-8")


def _remembered(memory: Path) -> dict[str, list[int | str]]:
    """What an earlier run kept; without a whole file the sources are read again, nothing else."""
    try:
        kept = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: row for name, row in kept.items() if isinstance(row, list) and len(row) == 4}
