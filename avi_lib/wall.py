"""The wall against hostile files: a parser runs in a child process with limits and hands back plain data.

>>> (head,) = behind_wall(read_pickle, file, name="flame.pkl", expected="a FLAME model", do="download it again")

Children are forked from one server a program, which starts with the first file, imports the modules of the parsers and
nothing else, and ends with the program. A child answers in JSON and raw bytes, never in a pickle.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from avi_lib.errors import AviError, InputError, cause, expect

_SAID: dict[str, Any] = {"value": dict, "end": int, "exit": int, "failed": str, "memory": str}
_SAID |= {"InputError": list, "AviError": list}
"""Kinds of messages and the types of their contents."""
_lock = threading.Lock()
_server: socket.socket | None = None


def behind_wall(
    parse: Callable[..., Any], *given: Any, name: str, expected: str, do: str, seconds: float = 30, memory_mb: int = 768
) -> Generator[dict[str, Any], None, None]:
    """The dicts that the generator `parse(*given)` yields, or the one that a function returns, from a child.

    `parse` belongs to a module; it takes open files, then plain values. Its dicts hold plain values, and bytes and
    arrays of numbers, which come as arrays. The child may take `seconds` and `memory_mb`, writes no file, and ends when
    the iterator is closed. Raises the AviError of `parse`; whatever else goes wrong with the file `name` is an
    InputError made of `expected` and `do`.
    """
    files = [a.fileno() for a in given if hasattr(a, "fileno")]
    order = [parse.__module__, parse.__qualname__, given[len(files) :], seconds, memory_mb << 20]
    request, theirs = Pipe()
    with request:
        with theirs:
            _ask_server(request, json.dumps(order).encode(), [theirs.fileno(), *files])
        while True:
            try:
                kind, said = _receive(request, memory_mb << 20)
            except EOFError:
                kind, said = "failed", "its reader broke off"
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                kind, said = "failed", "a malformed answer"
            if kind != "value":
                break
            yield said
    if kind == "exit" and said == -signal.SIGALRM:
        raise InputError(f"reading to end within {seconds:g} s", f"{name}, which takes longer", f"{do}, or split it")
    if kind == "memory" or (kind == "exit" and said == -signal.SIGKILL):
        raise InputError(f"reading to need at most {memory_mb} MB", f"{name}, which wants more", do)
    why = said if kind == "failed" else f"its reader broke off, exit {said}"
    expect(kind not in ("exit", "failed"), expected, f"{name}, which could not be decoded ({why})", do)
    if kind != "end":
        raise (InputError if kind == "InputError" else AviError)(*said)


def _ask_server(request: Connection, order: bytes, fds: list[int]) -> None:
    """Hand this process's own server a request, starting it where there is none."""
    global _server
    try:
        with _lock:
            if _server is None:
                _server, control = socket.socketpair()
                path = [str(Path(__file__).parents[1]), *sys.path]
                code = f"import sys; sys.path[:] = {path!r}; from avi_lib.wall import serve; serve()"
                command, one = [sys.executable, "-P", "-c", code], {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                null = subprocess.DEVNULL
                with control:
                    streams: dict[str, Any] = {"stdin": control.fileno(), "stdout": null, "stderr": null}
                    server = subprocess.Popen(command, **streams, env=os.environ | one, start_new_session=True)
                server.returncode = 0  # nobody waits for it: it ends when this process does
            socket.send_fds(_server, [b"."], fds)
        request.send_bytes(order)
    except OSError as error:
        _forget_server()
        raise AviError("a process that reads files", str(error), "free memory and try again") from error


def _forget_server() -> None:
    global _server, _lock
    if _server is not None:
        _server.close()
    _server, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_server)
atexit.register(_forget_server)


def _receive(request: Connection, left: int) -> tuple[str, Any]:
    """The kind and the content of the next message, checked as a stranger's."""
    import numpy as np

    kind, said, arrays = json.loads(request.recv_bytes(1 << 24))
    if not isinstance(said, _SAID[kind]) or (kind.endswith("Error") and len(said) != 3):
        raise ValueError(kind)
    for key, code, shape in arrays:
        if code not in tuple("?bBhHiIlLqQfd"):
            raise ValueError(code)
        part = bytearray(request.recv_bytes(left))
        left -= len(part)
        said[key] = np.frombuffer(part, code).reshape(shape)
    return kind, said


def _send(request: Connection, kind: str, said: Any) -> None:
    arrays = {}
    if isinstance(said, dict):
        plain = str | int | float | list | tuple | dict | None
        arrays = {key: memoryview(part) for key, part in said.items() if not isinstance(part, plain)}
        said = {key: part for key, part in said.items() if key not in arrays}
    request.send_bytes(json.dumps([kind, said, [(key, a.format, a.shape) for key, a in arrays.items()]]).encode())
    for array in arrays.values():
        request.send_bytes(array.tobytes())


def serve() -> None:
    """Fork a child and its watcher for every request that comes through standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    while (got := socket.recv_fds(control, 1, 16))[0]:
        request, files = Connection(got[1][0]), got[1][1:]
        with request, suppress(Exception):
            order = json.loads(request.recv_bytes())
            with suppress(ImportError):
                importlib.import_module(order[0])
            if not os.fork():
                _watch(request, files, order)
        for fd in files:
            os.close(fd)


def _watch(request: Connection, files: list[int], order: list[Any]) -> None:
    """Start a child, end it when nobody waits for it any more, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(1, 0)
    ended, alive = os.pipe()
    if not (child := os.fork()):
        os.close(ended)
        try:
            _run(request, files, *order)
        finally:
            os._exit(1)
    os.close(alive)
    if request.fileno() in select.select([request.fileno(), ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    with suppress(OSError):
        _send(request, "exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def _run(request: Connection, files: list[int], module: str, parse: str, plain: Any, seconds: float, most: int) -> None:
    """In the child: the parser under its limits, its dicts sent away."""
    limits = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CPU: int(seconds) + 1}
    if sys.platform == "linux":  # beside what the modules of all parsers take, which the server has imported
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = held + most
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard),) * 2)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        values = getattr(importlib.import_module(module), parse)(*(os.fdopen(fd, "rb") for fd in files), *plain)
        for value in values if isinstance(values, Iterator) else [values]:
            left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # the time that the other side takes is its own
            _send(request, "value", value)
            signal.setitimer(signal.ITIMER_REAL, left_s)
        _send(request, "end", 0)
    except AviError as error:
        kind = "InputError" if isinstance(error, InputError) else "AviError"
        _send(request, kind, [error.expected, error.got, error.do])
    except ImportError as error:
        _send(request, "AviError", ["a process that reads files", str(error), "repair the installation"])
    except Exception as error:
        memory_error = isinstance(error, MemoryError) or getattr(error, "errno", 0) == errno.ENOMEM
        _send(request, "memory" if memory_error else "failed", cause(error))
