"""Weights that come quantised, read once: a GGUF file in, a folder as transformers saves one out, kept in the cache.

>>> folder = dequantised(resolve("smollm2"))
>>> sorted(path.name for path in folder.iterdir())
['config.json', 'model.safetensors', 'sizes.json', 'tokenizer.json', 'tokenizer_config.json']

Reading the GGUF takes most of ten seconds, the folder one. A folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from avi_lib.assets.digest import file_sha256
from avi_lib.assets.loading import loading
from avi_lib.assets.resolver import Resolved
from avi_lib.assets.store import cache_folder
from avi_lib.errors import InputError
from avi_lib.files import atomic_folder, make_folder

SIZES = "sizes.json"
"""Names and sizes of the folder's files: a copy that was cut short is made again."""
RECIPE = 1
"""Part of the folder's name; to be raised when the way from file to folder changes."""


def dequantised(found: Resolved) -> Path:
    """The folder with the weights of a model's one GGUF file as float32, made where the cache does not have it.

    Raises:
        InputError: the file is no causal language model that transformers can read.
    """
    (name, source), *_ = found.files.items()
    digest = found.sha256.get(name) or file_sha256(source)
    folder = cache_folder() / "dequantised" / f"{found.name}-{digest[:12]}-{RECIPE}"
    if _whole(folder):
        return folder
    make_folder(folder.parent)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not _whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _make(source, folder)
    return folder


def _whole(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / SIZES).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make(source: Path, folder: Path) -> None:
    with atomic_folder(folder) as made:
        model, tokenizer = _read(source)
        with loading():
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        (made / SIZES).write_text(json.dumps(sizes, indent=1), "utf-8")


def _read(source: Path) -> tuple[Any, Any]:
    import transformers

    where = {"gguf_file": source.name, "local_files_only": True}
    try:
        with loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **where)
            quantised = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    except Exception as error:  # whatever a damaged or foreign file makes transformers and gguf raise
        words = " ".join(str(error).split()) or type(error).__name__
        expected = "a GGUF file with a causal language model"
        raise InputError(expected, f"{source}: {words[:300]}", "copy it again, or name a folder of weights") from error
    config = quantised.config
    del config.quantization_config
    plain = type(quantised)(config)  # the same numbers in a model that may be saved
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer
