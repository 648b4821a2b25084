"""Decoding a recording that nobody vouches for: in a child process with a time, a memory and a file cap.

>>> with open("my.m4a", "rb") as file, Decoder(file) as decoder:
...     print(decoder.source.rate_hz, sum(len(block) for block in decoder.blocks()))

One decoder reads everything: PyAV's FFmpeg takes WAV, FLAC, OGG, MP3, M4A and the sound track of a video alike and
decodes ten minutes of 44.1 kHz stereo in 0.3 s. libsndfile reads half of these and still has a header that it never
returns from, so it would not spare the child. The child gets the open file as its standard input, no path, no shell;
what it answers is checked here as if it came from a stranger.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32

from avi_lib.errors import AviError, InputError

CHILD_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-B", str(Path(__file__).with_name("decode_child.py")))
MEMORY_CAP_BYTES = 768 << 20
BASE_TIME_CAP_S, TIME_CAP_S_PER_MB, LONGEST_TIME_CAP_S = 30.0, 10.0, 1800.0

_MAX_HEADER_BYTES = 1 << 12
_MAX_PIECE_BYTES = 1 << 26
_READABLE = "a recording in WAV, FLAC, OGG, MP3, M4A or a video with sound"
_CONVERT = "see whether it plays; convert what plays, for example with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"


@dataclass(frozen=True)
class Source:
    """What the child says a recording is; `claimed_s` is None where the container promises no length."""

    container: str
    codec: str
    channels: int
    rate_hz: int
    claimed_s: float | None


def time_cap_s(size_bytes: int) -> float:
    """Wall-clock seconds that decoding a file of this size may take: 30 s, 10 s a megabyte, half an hour at most."""
    return min(BASE_TIME_CAP_S + TIME_CAP_S_PER_MB * size_bytes / 1e6, LONGEST_TIME_CAP_S)


class Decoder:
    """A child process that decodes one open file; a context manager that leaves no process behind.

    `source` is known on entry, `blocks()` gives the samples once, the rest is known after the last block: `damaged`
    packets that could not be decoded, `changes` of rate or channels on the way, and whether the file is `unfinished`.
    Raises InputError from entry or from `blocks()` for whatever the file is, AviError when the decoder cannot start.
    """

    source: Source
    damaged: int = 0
    changes: int = 0
    unfinished: bool = False

    def __init__(self, file: BinaryIO, name: str = "the recording") -> None:
        self._file = file
        self._name = name
        self._cap_s = time_cap_s(os.fstat(file.fileno()).st_size)
        self._timed_out = False
        self._answered = False

    def __enter__(self) -> Decoder:
        self._file.seek(0)
        command = (*CHILD_COMMAND, str(MEMORY_CAP_BYTES), str(int(self._cap_s) + 1))
        try:
            self._process = subprocess.Popen(
                command, stdin=self._file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True, bufsize=0
            )
        except OSError as error:
            raise AviError("a decoder that starts", str(error), "free memory and try again") from error
        self._timer = threading.Timer(self._cap_s, self._stop_late_child)
        self._timer.daemon = True
        self._timer.start()
        try:
            kind, payload = self._message()
            if kind != b"H":
                raise self._refusal()
            self.source = self._parse_source(payload)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()

    def blocks(self) -> Iterator[Float32[np.ndarray, "samples channels"]]:
        """The samples in order, as they come; full scale is 1.0 unless the file itself says more."""
        frame_bytes = 4 * self.source.channels
        while True:
            kind, payload = self._message()
            if kind == b"T":
                self._take_counts(payload)
                return
            if kind != b"P" or not payload or len(payload) % frame_bytes:
                raise self._refusal()
            yield np.frombuffer(payload, "<f4").reshape(-1, self.source.channels)

    def _message(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack("<cI", self._read(5))
        if length > (_MAX_PIECE_BYTES if kind == b"P" else _MAX_HEADER_BYTES):
            raise self._refusal()
        payload = self._read(length)
        self._answered = True
        if kind == b"E":
            raise self._child_error(payload)
        return kind, payload

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        gathered = bytearray()
        while len(gathered) < count:
            piece = self._process.stdout.read(min(count - len(gathered), 1 << 16))
            if not piece:
                raise self._ending()
            gathered += piece
        return bytes(gathered)

    def _stop_late_child(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _ending(self) -> AviError:
        """Why the child went away before its last message."""
        code = self._process.wait()
        if code == 1 and not self._answered:
            return AviError("a decoder that starts", "an exit at its start", "see why with: python -c 'import av'")
        if self._timed_out or code == -signal.SIGXCPU:
            return InputError(
                f"decoding to end within {self._cap_s:.0f} s",
                f"{self._name}, which did not",
                f"{_CONVERT}, or split it",
            )
        return InputError(_READABLE, f"{self._name}, on which the decoder broke off (exit {code})", _CONVERT)

    def _refusal(self) -> InputError:
        return InputError(_READABLE, f"{self._name}, on which the decoder gave a malformed answer", _CONVERT)

    def _child_error(self, payload: bytes) -> AviError:
        fields = self._parse(payload)
        kind, detail = fields.get("kind"), "".join(c for c in str(fields.get("detail", ""))[:200] if c.isprintable())
        if kind == "memory":
            got = f"{self._name}, which wants more"
            return InputError(f"decoding to need at most {MEMORY_CAP_BYTES >> 20} MB", got, _CONVERT)
        if kind == "no_sound":
            return InputError(
                "a recording or a video with sound", f"{self._name} without a sound track", "choose another file"
            )
        return InputError(_READABLE, f"{self._name}, which could not be decoded ({detail})", _CONVERT)

    def _parse(self, payload: bytes) -> dict[str, Any]:
        try:
            value = json.loads(payload)
        except ValueError:
            raise self._refusal() from None
        if not isinstance(value, dict):
            raise self._refusal()
        return value

    def _parse_source(self, payload: bytes) -> Source:
        fields = self._parse(payload)
        claim = fields.get("claimed_s")
        container, codec, channels, rate_hz = (fields.get(key) for key in ("container", "codec", "channels", "rate_hz"))
        if not (isinstance(channels, int) and isinstance(rate_hz, int) and isinstance(claim, int | float | None)):
            raise self._refusal()
        if not (isinstance(container, str) and isinstance(codec, str)) or (claim is not None and not 0 <= claim < 1e9):
            raise self._refusal()
        return Source(container, codec, channels, rate_hz, None if claim is None else float(claim))

    def _take_counts(self, payload: bytes) -> None:
        fields = self._parse(payload)
        damaged, changes, unfinished = (fields.get(name) for name in ("damaged", "changes", "unfinished"))
        if not (isinstance(damaged, int) and isinstance(changes, int) and isinstance(unfinished, int)):
            raise self._refusal()
        self.damaged, self.changes, self.unfinished = damaged, changes, bool(unfinished)
