"""Parsers that behave well and badly, for the tests of the wall."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
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
