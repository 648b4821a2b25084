"""Shards: files of a prepared corpus, each with the tensors of some clips and everything that is known of them.

A shard's name is the address of its content: a digest of the recordings, their labels, the settings and the code that
made it. Its entries travel in the header of the safetensors file, so a shard is whole by itself and both tables of
a corpus can be made again from its shards.

>>> save_shard(folder / "0a1b2c.safetensors", arrays, Contents(clips, scripts, (), last=True))
>>> load_contents(folder / "0a1b2c.safetensors").clips[0].clip
'Actor_01/03-01-05-02-01-01-01'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avi_lib.corpus.entries import ClipEntry, ScriptEntry, entry
from avi_lib.corpus.recording import Refusal
from avi_lib.errors import InputError
from avi_lib.files import atomic_path

SHARD_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Contents:
    """Entries of a shard: clips, their own scripts, and recordings that had to be left out.

    A job that holds more than fits one shard has several; only its last one is `last`.
    """

    clips: tuple[ClipEntry, ...]
    scripts: tuple[ScriptEntry, ...]
    refused: tuple[Refusal, ...]
    last: bool


def save_shard(path: Path, arrays: Mapping[str, np.ndarray], contents: Contents) -> None:
    """Write tensors and entries in one file, atomically; the same content gives the same bytes."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(packed, metadata={"avi": json.dumps(asdict(contents), sort_keys=True)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_contents(path: Path) -> Contents:
    """The entries of a shard, without reading its tensors; InputError when it is no whole shard."""
    try:
        with safe_open(path, "np") as shard:
            header = json.loads((shard.metadata() or {})["avi"])
        return Contents(
            tuple(entry(ClipEntry, row) for row in header["clips"]),
            tuple(entry(ScriptEntry, row) for row in header["scripts"]),
            tuple(Refusal(**row) for row in header["refused"]),
            header["last"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError("a shard of a prepared corpus", f"{path}: {error}", "remove it and prepare again") from error
