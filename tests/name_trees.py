"""Made-up raw corpora for tests: trees of empty files, for adapters that read names, and what a scan says of them."""

from __future__ import annotations

import json
from pathlib import Path

from avi_lib.corpus.layouts import Scan


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def names(scan: Scan) -> list[str]:
    return [recording.name for recording in scan.recordings]


def reason(scan: Scan, name: str) -> str:
    (found,) = [refusal.reason for refusal in scan.refused if refusal.name == name]
    return found
