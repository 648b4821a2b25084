"""Workers: processes of this machine, or of many machines through Ray, that do one recording after the other.

>>> with worker_pool("local:4") as pool:                            # or "ray://head:10001", or 4
...     for future in as_done({pool.submit(work, job): 1 for job in jobs}, "preparing", None):
...         result_of(future)

What a worker is given and gives back is pickled, so it is a function of a module and plain values; results do not
depend on where they are made or in which order. Through Ray at most `IN_FLIGHT` times as many recordings as there are
processors are on their way; those of a machine that fails are done again on another. All machines see the same folders.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from avi_lib.errors import AssetError, AviError, InputError

MOST = 256
"""Processes of one machine."""
IN_FLIGHT = 4
AGAIN = 5
"""How often a recording is begun anew whose worker or machine failed."""
LOCAL, RAY = "local:", "ray://"
_ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_T = TypeVar("_T")


class _OneBlasThread:
    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._limit = ThreadpoolController().limit(limits=1, user_api="blas")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
"""Within this block, in any thread, numpy's products take one thread: small ones wait longer for two than they work."""


@contextmanager
def worker_pool(workers: int | str | None) -> Iterator[Executor]:
    """A pool of workers, each with one thread; whatever ends the block early ends them at once.

    workers: a number, or `local:N`, of processes here (one a processor when None), or `ray://HOST:PORT` of a Ray
    cluster, `ray://local:N` of one that is started here. Raises InputError for another text, AssetError where Ray is
    not installed or its cluster cannot be reached.
    """
    place = str(workers or multiprocessing.cpu_count())
    if place.startswith(RAY):
        with _ray_pool(place) as pool:
            yield pool
        return
    count = place.removeprefix(LOCAL)
    if not (count.isdecimal() and 1 <= int(count) <= MOST):
        expected = f"1 to {MOST} workers, {LOCAL}N or {RAY}HOST:PORT"
        raise InputError(expected, repr(workers), "leave it out for one a processor")
    processes = ProcessPoolExecutor(int(count), multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield processes
    except BaseException:
        running = list((processes._processes or {}).values())
        processes.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        raise
    processes.shutdown()


def _start() -> None:
    """Make a process ready to work: one thread, Ctrl-C left to the parent, and no life beyond the parent's."""

    def end_with_parent() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    os.environ.update(_ALONE)  # for libraries that come later; others came with the parent's main module
    ThreadpoolController().limit(limits=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def _ray_pool(place: str) -> Iterator[Executor]:
    """A cluster's workers; one that is started here ends with the block."""
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        do = "install it: pip install 'avi-lib[ray]'"
        raise AssetError("the package ray for workers on many machines", "none", do) from error
    host, _, number = place.removeprefix(RAY).partition(":")
    options: dict[str, Any] = {"address": place}
    if host == "local":
        if not (number.isdecimal() and 1 <= int(number) <= MOST):
            raise InputError(f"1 to {MOST} workers after {RAY}local:", repr(number), f"write for example {RAY}local:2")
        options = {"num_cpus": int(number), "include_dashboard": False, "address": "local"}
    here = host == "local"  # its workers are started at once, and inherit; those of a cluster are told
    seen = {"PYTHONPATH": os.pathsep.join(sys.path), **_ALONE} if here else {}
    options |= {} if here else {"runtime_env": {"env_vars": _ALONE}}
    try:
        with _surrounded(seen):
            ray.init(**options, log_to_driver=False, logging_level="error")
    except Exception as error:  # Ray's have no kind of their own
        do = "start one there with `ray start --head`, or check the address"
        raise AssetError(f"a Ray cluster at {place}", str(error) or "nobody answers", do) from error
    pool = RayPool(ray)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        ray.shutdown()


@contextmanager
def _surrounded(by: Mapping[str, str]) -> Iterator[None]:
    """The environment with these variables, which are as before afterwards."""
    before = {name: os.environ.get(name) for name in by}
    os.environ.update(by)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class RayPool(Executor):
    """Ray's workers as an executor: submitted work waits here until there is room for it there."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._more, self._closed = threading.Condition(), False
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """The result of a function to come; keyword arguments are not taken."""
        assert not kwargs, "positional arguments only"
        future: Future[_T] = Future()
        with self._more:
            self._waiting.append((future, function, args))
            self._more.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more work is taken; with `cancel_futures` what waits is dropped."""
        with self._more:
            self._closed = True
            if cancel_futures:
                while self._waiting:
                    self._waiting.popleft()[0].cancel()
            self._more.notify()
        if wait:
            self._feeder.join()

    def _feed(self) -> None:
        """Give work to the cluster while it has room, and results to whoever waits for them."""
        ray = self._ray
        call = ray.remote(num_cpus=1, max_retries=AGAIN)(_call)
        running: dict[Any, Future[Any]] = {}
        while True:
            with self._more:
                while not self._waiting and not running and not self._closed:
                    self._more.wait()
                if self._closed and not self._waiting and (not running or self._dropped(running)):
                    return
                room = max(IN_FLIGHT * int(ray.cluster_resources().get("CPU", 1)) - len(running), 0)
                begun = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            for future, function, args in begun:
                if future.set_running_or_notify_cancel():
                    running[call.remote(function, args)] = future
            if not running:
                continue
            done, _ = ray.wait(list(running), num_returns=1, timeout=0.5)
            for reference in done:
                future = running.pop(reference)
                try:
                    future.set_result(ray.get(reference))
                except ray.exceptions.RayTaskError as error:
                    future.set_exception(error.cause)
                except ray.exceptions.RayError as error:
                    future.set_exception(BrokenProcessPool(str(error)))

    def _dropped(self, running: dict[Any, Future[Any]]) -> bool:
        """Stop what runs in the cluster, which nobody waits for any longer."""
        for reference in running:
            with suppress(Exception):
                self._ray.cancel(reference, force=True)
        return True


def _call(function: Callable[..., _T], args: tuple[Any, ...]) -> _T:
    return function(*args)


def result_of(future: Future[_T]) -> _T:
    """What a worker gave; AviError when it died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        got = "one that died, most likely for want of memory"
        do = "run it again with fewer --workers; what is finished is kept"
        raise AviError("worker processes that live", got, do) from error


def bar_file(hidden: bool | None) -> Any:
    """Where a bar goes: in a notebook, which asks for it (`hidden` False), not where errors go: those are pink."""
    return sys.stdout if hidden is False else sys.stderr


def as_done(futures: Mapping[Future[_T], int], what: str, hidden: bool | None) -> Iterator[Future[_T]]:
    """Futures as they end, with a bar of their numbers of recordings unless it is hidden."""
    with tqdm(
        desc=what, total=sum(futures.values()), unit=" recordings", leave=False, disable=hidden, file=bar_file(hidden)
    ) as shown:
        for future in as_completed(futures):
            shown.update(futures[future])
            yield future
