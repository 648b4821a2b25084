"""Workers: processes that prepare recordings, and the bar that shows how far they are.

>>> with worker_pool(2) as pool:
...     futures = {pool.submit(carry_out, job, bench): job for job in jobs}
...     for future, contents in as_done(futures, "preparing", len(jobs), lambda future: 1, None):
...         ...
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from avi_lib.errors import AviError

_T = TypeVar("_T")


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """A pool of processes, started when first needed; whatever ends the block early ends them at once."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield pool
    except BaseException:
        running = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        raise
    pool.shutdown()


def as_done(
    futures: Collection[Future[_T]], what: str, total: int, weight: Callable[[Future[_T]], int], progress: bool | None
) -> Iterator[tuple[Future[_T], _T]]:
    """Futures and their results as they come, with a bar of `total` recordings; AviError when a worker died."""
    with tqdm(desc=what, total=total, unit=" recordings", leave=False, disable=_hidden(progress)) as shown:
        for future in as_completed(futures):
            result = result_of(future)
            shown.update(weight(future))
            yield future, result


def result_of(future: Future[_T]) -> _T:
    """What a worker gave; AviError when it died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        got = "one that died, most likely for want of memory"
        do = "run it again with fewer --workers; what is finished is kept"
        raise AviError("worker processes that live", got, do) from error


def bar(items: Collection[_T], what: str, progress: bool | None) -> Iterable[_T]:
    """The items behind a bar."""
    return tqdm(items, what, unit=" recordings", leave=False, disable=_hidden(progress))


def _hidden(progress: bool | None) -> bool | None:
    """What tqdm's `disable` says: None hides a bar where there is no terminal."""
    return None if progress is None else not progress


def _start() -> None:
    """Make a process ready to work: one thread, Ctrl-C left to the parent, and no life beyond the parent's."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
