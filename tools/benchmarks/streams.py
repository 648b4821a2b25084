"""Streams for the siege: sound that is none, clients of the WebSocket that break its rules, receivers that are gone.

Whatever one client does, the next one is greeted and gets motion; whatever comes as sound, at most a hop of finite
samples goes on; and nobody is waited for.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np
from tornado.websocket import websocket_connect

from avi_lib.live import Intake, piped
from avi_lib.receivers import LiveLink, Page, Vmc, address
from tools.benchmarks.damage import JUNK, mutated

MESSAGES = (
    {"type": "instruction", "text": "She is furious."},
    {"type": "audio", "rate_hz": 48_000},
    {"type": "pictures", "on": True},
)
WAIT_S = 3.0
"""In which a greeting must come; the longest that a receiver may keep the sender is `SENT_S`."""
SENT_S = 0.5


class _Faults(logging.Handler):
    """Keeps what the server says that nobody caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.said.append(record.getMessage())


FAULTS = _Faults()


def attacks(count: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """So many attacks in turns, each with its words."""
    page = Page(0)
    for name in ("tornado.application", "asyncio"):
        logging.getLogger(name).addHandler(FAULTS)
    page.hold("hello", fps=25.0)
    kinds = [_garbage, _pipe, partial(_messages, page), partial(_frames, page), partial(_http, page), _receivers]
    names = ("garbage as sound", "a pipe", "messages", "frames", "requests", "receivers that are gone")
    try:
        for number in range(count):
            which = number % len(kinds)
            yield f"{names[which]} number {number}", partial(kinds[which], np.random.default_rng([21, number]))
    finally:
        page.close()


def _garbage(rng: np.random.Generator) -> None:
    """Pieces of any length, number and rate; a wrong rate is refused, the rest is taken a hop at a time."""
    intake, fills = Intake(), bool(rng.random() < 0.5)
    rate_hz = int(rng.choice([8_000, 16_000, 44_100, 48_000, 192_000, 0, -1, 10**9]))
    for _ in range(8):
        piece = rng.normal(size=int(2 ** rng.uniform(0, 16))).astype(np.float32)
        piece[rng.random(len(piece)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 1e38, 0.0])
        intake.put(piece, rate_hz, fills)
    intake.end()
    _drain(intake, fills)


def _pipe(rng: np.random.Generator) -> None:
    """Bytes of any number, in a hurry."""
    intake, stopped = Intake(), threading.Event()
    player = piped(io.BytesIO(rng.bytes(int(rng.integers(0, 20_000)))), int(rng.choice([8_000, 16_000, 48_000])))
    thread = threading.Thread(target=player.play, args=(intake, stopped))
    thread.start()
    time.sleep(0.05)
    stopped.set()
    thread.join(WAIT_S)
    assert not thread.is_alive(), "a pipe that does not stop"
    intake.end()
    _drain(intake, False)


def _drain(intake: Intake, fills: bool) -> None:
    while (piece := intake.take(fills)) is not None:
        assert np.isfinite(piece).all(), "sound that is not finite"


def _messages(page: Page, rng: np.random.Generator) -> None:
    """JSON and bytes that are nearly right: every text gets an answer or is taken, and the connection lasts."""

    async def talk() -> None:
        client = await websocket_connect(f"ws://127.0.0.1:{page.port}/motion")
        for _ in range(10):
            message = dict(MESSAGES[int(rng.integers(3))])
            message[str(rng.choice([*message, "x"]))] = JUNK[int(rng.integers(len(JUNK)))]  # type: ignore[assignment]
            text = json.dumps(message)
            if rng.random() < 0.5:
                text = mutated(text.encode(), rng).decode("utf-8", "replace")
            if rng.random() < 0.3:
                await client.write_message(rng.bytes(int(rng.integers(0, 5000))), binary=True)
            else:
                await client.write_message(text)
        client.close()

    asyncio.run(asyncio.wait_for(talk(), WAIT_S))
    _greeted(page)


def _frames(page: Page, rng: np.random.Generator) -> None:
    """A handshake, then frames against the protocol: no mask, wrong codes, lengths that lie, parts without an end."""
    with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as raw:
        key = base64.b64encode(rng.bytes(16)).decode()
        lines = ["GET /motion HTTP/1.1", f"Host: 127.0.0.1:{page.port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        raw.sendall("\r\n".join(lines).encode())
        raw.recv(4096)
        with suppress(OSError):
            for _ in range(4):
                code, length = int(rng.integers(256)), int(rng.choice([0, 1, 125, 126, 127, 128, 254, 255]))
                size = struct.pack(">Q", int(rng.integers(2**62))) if length & 127 == 127 else rng.bytes(2)
                raw.sendall(bytes([code, length]) + size + rng.bytes(int(rng.integers(0, 300))))
    _greeted(page)


def _http(page: Page, rng: np.random.Generator) -> None:
    """Requests that are none, too long, or end in the middle."""
    plain = b"GET /motion HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"
    with socket.create_connection(("127.0.0.1", page.port), WAIT_S) as raw, suppress(OSError):
        raw.sendall(mutated(plain, rng) if rng.random() < 0.8 else b"A" * 100_000)
        raw.settimeout(0.05)
        raw.recv(4096)
    _greeted(page)


def _greeted(page: Page) -> None:
    """A well-behaved client gets the greeting and a frame."""

    async def greeting() -> None:
        client = await websocket_connect(f"ws://127.0.0.1:{page.port}/motion")
        assert json.loads(await client.read_message() or "{}")["type"] == "hello"
        page.send(0, np.zeros(55, np.float32))
        while (message := await client.read_message()) is not None:
            if isinstance(message, str) and json.loads(message)["type"] == "motion":
                break
        client.close()

    asyncio.run(asyncio.wait_for(greeting(), WAIT_S))
    told, FAULTS.said = FAULTS.said, []
    assert not told, f"not caught: {told}"


def _receivers(rng: np.random.Generator) -> None:
    """Frames to a port where nobody listens, then to one that is closed meanwhile, of any numbers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        port = there.getsockname()[1]
        receivers = [LiveLink(*address(f"127.0.0.1:{port}")), Vmc(*address(f"127.0.0.1:{port}"))]
        for each in receivers:
            each.send(0, np.zeros(55, np.float32))
    begun = time.monotonic()
    for frame in range(20):
        values = rng.normal(size=55).astype(np.float32)
        values[rng.random(55) < 0.1] = rng.choice([0.0, 1.0, 1e30, -1e30])
        for each in receivers:
            each.send(frame, values)
    assert time.monotonic() - begun < SENT_S, "a receiver that is gone is waited for"
    for each in receivers:
        each.close()
