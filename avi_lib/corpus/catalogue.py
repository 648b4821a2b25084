"""The catalogue: raw corpora that lie below a folder, recognised by the names of their folders.

>>> [corpus.name for corpus in find_corpora(Path("data/raw"))]
['emodb', 'ravdess']
>>> named_corpora("mine=table:recordings/2025", Path("."))
[RawCorpus(name='mine', adapter='table', folder=PosixPath('recordings/2025'))]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avi_lib.corpus.adapters import ADAPTERS
from avi_lib.errors import InputError

FOLDERS = {
    **{name: name for name in ADAPTERS},
    "cremad": "crema-d",
    "emo-db": "emodb",
    "facegood": "rig",
    "arkit_iphone": "rig",
    "synthesised": "table",
}
"""The adapter that reads a folder of a name; letters count in lower case, underscores as hyphens too."""


@dataclass(frozen=True)
class RawCorpus:
    """A raw corpus: the name it is known by, the adapter that reads it, and where it lies."""

    name: str
    adapter: str
    folder: Path


def find_corpora(raw: Path) -> list[RawCorpus]:
    """Corpora among the folders directly below `raw`, sorted by name; those of other names are left alone."""
    if not raw.is_dir():
        return []
    found = []
    for path in sorted(path for path in raw.iterdir() if path.is_dir()):
        name = path.name.lower()
        adapter = FOLDERS.get(name) or FOLDERS.get(name.replace("_", "-"))
        if adapter:
            found.append(RawCorpus(name, adapter, path))
    return found


def named_corpora(text: str, root: Path) -> list[RawCorpus]:
    """Corpora written as NAME=ADAPTER:FOLDER, several with commas between them; folders below `root` or absolute."""
    corpora = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition("=")
        adapter, _, folder = rest.partition(":")
        if not name or not folder or adapter not in ADAPTERS:
            raise InputError(
                f"corpora as NAME=ADAPTER:FOLDER with an adapter of {', '.join(ADAPTERS)}",
                repr(part),
                "write for example ravdess=ravdess:data/raw/ravdess",
            )
        corpora.append(RawCorpus(name.strip(), adapter.strip(), root / folder.strip()))
    return corpora
