"""The wall against hostile files: a parser runs in a child process with limits and hands back plain data.

>>> (head,) = behind_wall(read_pickle, file, name="flame.pkl", expected="a FLAME model", do="download it again")

Children are forked from one server a program, which starts with the first file, imports the modules of the parsers and
nothing else, and ends with the program. A child answers in JSON and raw bytes, never in a pickle.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from avi_lib import errors

_ENDS = {-signal.SIGALRM: "time", -signal.SIGKILL: "memory"}
_lock = threading.Lock()
_server: socket.socket | None = None


def behind_wall(
    parse: Callable[..., Any], *arguments: Any, name: str, expected: str, do: str, seconds: float = 30.0,
    memory_mb: int = 768,
) -> Generator[dict[str, Any], None, None]:  # fmt: skip
    """The dicts that the generator `parse(*arguments)` yields, or the one that a function returns, from a child.

    `parse` belongs to a module; it takes plain values and open files. Its dicts hold plain values, and bytes and arrays
    of numbers, which come as arrays. The child may take `seconds` and `memory_mb`, writes no file, and ends when the
    iterator is closed. Raises the AviError of `parse`; whatever else goes wrong with the file `name` is an InputError
    made of `expected` and `do`.
    """
    files = [a.fileno() for a in arguments if hasattr(a, "fileno")]
    plain = [{"file": files.index(a.fileno())} if hasattr(a, "fileno") else a for a in arguments]
    order = [parse.__module__, parse.__qualname__, plain, seconds, memory_mb << 20]
    request, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    with request, os.fdopen(read_end, "rb") as answer:
        try:
            _order(request, json.dumps(order).encode() + b"\n", [theirs.fileno(), write_end, *files])
        finally:
            theirs.close()
            os.close(write_end)
        kind: str = "value"
        said: Any = None
        while kind == "value":
            try:
                kind, said = _receive(answer, memory_mb << 20)
            except EOFError:
                code = os.waitstatus_to_exitcode(int(request.recv(16) or b"1"))
                kind, said = _ENDS.get(code, "failed"), f"its reader broke off, exit {code}"
            except (ValueError, TypeError, KeyError, struct.error, RecursionError):
                kind, said = "failed", "a malformed answer"
            if kind == "value":
                yield said
    if kind == "time":
        got = f"{name}, which takes longer"
        raise errors.InputError(f"reading to end within {seconds:g} s", got, f"{do}, or split it")
    if kind == "memory":
        raise errors.InputError(f"reading to need at most {memory_mb} MB", f"{name}, which wants more", do)
    if kind == "failed":
        raise errors.InputError(expected, f"{name}, which could not be decoded ({_printable(said)})", do)
    if kind != "end":
        raise (errors.InputError if kind == "InputError" else errors.AviError)(*map(_printable, said))


def _order(request: socket.socket, order: bytes, fds: list[int]) -> None:
    """Hand the server a request, starting this process's own server where there is none."""
    global _server
    try:
        with _lock:
            if _server is None:
                _server, theirs = socket.socketpair()
                path = [str(Path(__file__).parents[1]), *sys.path]
                code = f"import sys; sys.path[:] = {path!r}; from avi_lib.wall import serve; serve()"
                alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                with theirs:
                    subprocess.Popen(
                        [sys.executable, "-P", "-c", code], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **alone},
                    ).returncode = 0  # nobody waits for it: it ends when this process does  # fmt: skip
            socket.send_fds(_server, [b"."], fds)
        request.sendall(order)
    except OSError as error:
        _forget()
        raise errors.AviError("a process that reads files", str(error), "free memory and try again") from error


def _forget() -> None:
    global _server, _lock
    _server, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text)[:1000])


def _receive(answer: BinaryIO, left: int) -> tuple[str, Any]:
    """The kind and the content of the next message, checked as a stranger's."""
    (length,) = struct.unpack("<I", _take(answer, 4))
    kind, said, parts = json.loads(bytes(_take(answer, min(length, 1 << 24))))
    for key, code, shape in parts:
        import numpy as np

        size = math.prod(shape) * struct.calcsize(code)
        left -= size
        if code not in tuple("?bBhHiIlLqQfd") or min(shape, default=0) < 0 or left < 0:
            raise ValueError
        said[key] = np.frombuffer(_take(answer, size), code).reshape(shape)
    if kind == "value" and not isinstance(said, dict):
        raise TypeError
    if kind.endswith("Error") and len(said) != 3:
        raise ValueError
    return kind, said


def _take(file: Any, count: int) -> bytearray:
    taken = bytearray(count)
    if file.readinto(taken) < count:
        raise EOFError
    return taken


def serve() -> None:
    """Fork a child and its watcher for every request that comes through standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    while (got := socket.recv_fds(control, 1, 16))[0]:
        request, fds = socket.socket(fileno=got[1][0]), got[1][1:]
        with suppress(Exception):
            order = json.loads(request.makefile("rb").readline())
            with suppress(ImportError):
                importlib.import_module(order[0])
            if not os.fork():
                _watch(request, fds, order)
        request.close()
        for fd in fds:
            os.close(fd)


def _watch(request: socket.socket, fds: list[int], order: list[Any]) -> None:
    """Start a child, end it when nobody waits for it any more, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(1, 0)
    ended, alive = os.pipe()
    if not (child := os.fork()):
        os.closerange(ended, ended + 1)
        request.close()
        try:
            _run(fds, *order)
        finally:
            os._exit(1)
    for fd in (alive, *fds):
        os.close(fd)
    if request.fileno() in select.select([request.fileno(), ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    request.send(str(os.waitpid(child, 0)[1]).encode())
    os._exit(0)


def _run(fds: list[int], module: str, parse: str, plain: list[Any], seconds: float, memory: int) -> None:
    """In the child: the parser under its limits, its dicts sent away."""
    limits = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CPU: int(seconds) + 1}
    if sys.platform != "darwin":  # which maps more into every process than any sensible cap
        limits[resource.RLIMIT_AS] = memory
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)
    answer = os.fdopen(fds[0], "wb")

    def send(kind: str, said: Any) -> None:
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # the time that the other side takes is its own
        arrays = {}
        if isinstance(said, dict):
            plain = str | int | float | list | tuple | dict | None
            arrays = {key: memoryview(part) for key, part in said.items() if not isinstance(part, plain)}
            said = {key: part for key, part in said.items() if key not in arrays}
        header = json.dumps([kind, said, [(key, a.format, a.shape) for key, a in arrays.items()]]).encode()
        for part in (struct.pack("<I", len(header)), header, *(a.tobytes() for a in arrays.values())):
            answer.write(part)
        answer.flush()
        signal.setitimer(signal.ITIMER_REAL, left_s)

    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        arguments = [os.fdopen(fds[1 + a["file"]], "rb") if isinstance(a, dict) else a for a in plain]
        values = getattr(importlib.import_module(module), parse)(*arguments)
        for value in values if isinstance(values, Iterator) else [values]:
            send("value", value)
        send("end", None)
    except errors.AviError as error:
        kind = "InputError" if isinstance(error, errors.InputError) else "AviError"
        send(kind, [error.expected, error.got, error.do])
    except ImportError as error:
        send("AviError", ["a process that reads files", str(error), "repair the installation"])
    except Exception as error:
        memory_error = isinstance(error, MemoryError) or getattr(error, "errno", 0) == 12
        send("memory" if memory_error else "failed", getattr(error, "strerror", None) or str(error))
