"""The folder of a prepared corpus while it is being made: one process writes it, and it can be read at any moment.

>>> with Destination(Path("data/prepared/ravdess"), "ravdess", source) as place:
...     place.describe(description)
...     place.gather(contents)
...     place.publish()
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from avi_lib.corpus.entries import ClipEntry, ScriptEntry, to_table, write_table
from avi_lib.corpus.health import Health, examine
from avi_lib.corpus.recording import Refusal
from avi_lib.corpus.shards import SHARD_SUFFIX, Contents
from avi_lib.errors import InputError
from avi_lib.files import atomic_path, make_folder

DESCRIPTION = "corpus.json"
CLIPS, SCRIPTS = "clips.parquet", "scripts.parquet"


class Destination:
    """A folder for one corpus, locked while it is used as a context.

    Raises InputError when the folder is not empty and holds no corpus, holds one of another source or adapter, lies in
    the source or around it, or is being written by another process. Only files that a preparation wrote are removed.
    """

    def __init__(self, folder: Path, adapter: str, source: Path) -> None:
        self.folder = folder.resolve()
        self.shards, self.tracks = self.folder / "shards", self.folder / "tracks"
        if self.folder.is_relative_to(source) or source.is_relative_to(self.folder):
            got = f"{str(folder)!a}, which is the source, in it or around it"
            raise InputError("a destination of its own", got, "name another folder")
        make_folder(folder)
        self.refused: list[Refusal] = []
        self._clips, self._scripts = [to_table(ClipEntry, ())], [to_table(ScriptEntry, ())]
        self._lock = FileLock(self.folder / ".lock", timeout=0)
        self._refuse_another(adapter, source)

    def _refuse_another(self, adapter: str, source: Path) -> None:
        held = read_description(self.folder)
        names = {path.name for path in self.folder.iterdir()}
        begun = ".lock" in names and all(name in _OWN or _TORN.fullmatch(name) for name in names)
        if held is None and names and not begun:
            raise InputError(
                "an empty folder or a prepared corpus", f"{self.folder} with other files", "name another folder"
            )
        if held is not None and (held.get("adapter"), held.get("source")) != (adapter, str(source)):
            raise InputError(
                f"a corpus of {adapter} {source}",
                f"{self.folder} with one of {held.get('adapter')} {held.get('source')}",
                "name another folder, or remove that one",
            )

    def __enter__(self) -> Destination:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                "a corpus nobody else is preparing", f"{self.folder}, which is locked", "wait for the other process"
            ) from error
        for folder in (self.folder, self.shards, self.tracks):
            make_folder(folder)
            for path in folder.iterdir():
                if _TORN.fullmatch(path.name):
                    path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def describe(self, description: dict[str, Any]) -> None:
        """Say what the corpus is made of; another description than before starts with empty tables."""
        if read_description(self.folder) != description:
            for name, kind in ((CLIPS, ClipEntry), (SCRIPTS, ScriptEntry)):
                write_table(self.folder / name, to_table(kind, ()))
            with atomic_path(self.folder / DESCRIPTION) as temporary:
                temporary.write_text(json.dumps(description, indent=1, ensure_ascii=False), "utf-8")

    def gather(self, contents: Iterable[Contents]) -> None:
        """Take finished shards into the tables, which `publish` writes."""
        for shard in contents:
            self._clips.append(to_table(ClipEntry, shard.clips))
            self._scripts.append(to_table(ScriptEntry, shard.scripts))
            self.refused += shard.refused

    def publish(self) -> None:
        """Write the tables of what was gathered; scripts come first, so that no clip names one that is not there."""
        for name, tables, key in ((SCRIPTS, self._scripts, "script"), (CLIPS, self._clips, "clip")):
            write_table(self.folder / name, pa.concat_tables(tables).sort_by(key))

    def finish(self, keys: Collection[str]) -> Health:
        """Write and give the health report, and remove shards of jobs that are not among `keys`."""
        health = examine(pa.concat_tables(self._clips), pa.concat_tables(self._scripts), self.refused)
        with atomic_path(self.folder / "health.json") as temporary:
            temporary.write_text(json.dumps(health.as_dict(), indent=1, ensure_ascii=False), "utf-8")
        for path in self.shards.iterdir():
            if _SHARD.fullmatch(path.name) and path.name.partition("-")[0] not in keys:
                path.unlink(missing_ok=True)
        return health


_OWN = frozenset((".lock", "sources.json", "health.json", "shards", "tracks", CLIPS, SCRIPTS))
"""What a preparation leaves behind that was stopped before it said what it makes, or whose description is gone."""
_TORN = re.compile(r"\.[\w-]+\.[0-9a-f]{8}\.(json|parquet|safetensors|probe)")
"""Names of files in the making, see `atomic_path`."""
_SHARD = re.compile(rf"[0-9a-f]{{32}}-\d{{3}}{re.escape(SHARD_SUFFIX)}")


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a corpus is made of, None where there is none; InputError when the file is damaged."""
    path = folder / DESCRIPTION
    try:
        held = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            "a readable description of a corpus", f"{path}: {error}", "remove it and prepare again"
        ) from error
    if not isinstance(held, dict) or not {"adapter", "source", "settings", "features"} <= held.keys():
        raise InputError("a description of a corpus", f"{path} with something else", "remove it and prepare again")
    return held
