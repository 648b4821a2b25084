"""One thread beside the page: work is done in order, and what was asked again meanwhile is done once.

>>> worker = Worker(begun=print, ended=lambda: None, failed=print)
>>> worker.ask("preview", make)      # while it is made, the page stays alive
>>> worker.ask("preview", remake)    # of several that wait, only the last is made
>>> worker.wait()
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition
from typing import TypeVar

from avi_lib.errors import AviError

T = TypeVar("T")


class Worker:
    """Does one thing after another, in the same thread: graphics memory belongs to the thread that asked for it.

    Args:
        begun: called with the kind of a work when it begins.
        ended: called when nothing is left to do.
        failed: called with one line for a person when a work fails.
    """

    def __init__(self, begun: Callable[[str], None], ended: Callable[[], None], failed: Callable[[str], None]) -> None:
        self._begun, self._ended, self._failed = begun, ended, failed
        self._thread = ThreadPoolExecutor(1, "playground")
        self._asked: Counter[str] = Counter()
        self._left, self._lock = 0, Condition()

    def ask(self, kind: str, work: Callable[[], None]) -> None:
        """Do this after what was asked before, unless the same kind is asked again before its turn."""
        with self._lock:
            self._asked[kind] += 1
            self._left += 1
            turn = self._asked[kind]
        self._thread.submit(self._do, kind, turn, work)

    def _do(self, kind: str, turn: int, work: Callable[[], None]) -> None:
        try:
            if turn == self._asked[kind]:
                self._begun(kind)
                work()
        except AviError as error:
            self._failed(str(error))
        except Exception as error:
            self._failed(unexpected(error))
        if self._left == 1:
            self._ended()
        with self._lock:
            self._left -= 1
            self._lock.notify_all()

    def call(self, work: Callable[[], T]) -> T:
        """Do this in the thread after what was asked before, and return what comes of it, or raise what it raises."""
        return self._thread.submit(work).result()

    def wait(self) -> None:
        """Return when nothing is left to do, not even what a work asked for on its way."""
        with self._lock:
            self._lock.wait_for(lambda: self._left == 0)

    def close(self) -> None:
        """Drop what is waiting, and wait for what is being done."""
        self._thread.shutdown(cancel_futures=True)


def unexpected(error: Exception) -> str:
    """An error of the program on one line: what it says and where it comes from."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"the program failed: {type(error).__name__}: {text} ({Path(where.filename).name}, line {where.lineno})"
