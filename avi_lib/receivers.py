"""Who gets motion while it is spoken: other programs over UDP, a page in a browser, a file at the end.

==============  ==========================================================================================
receiver        what it gets
==============  ==========================================================================================
`LiveLink`      packets of Apple's Live Link Face over UDP: Unreal, Blender
`Vmc`           bundles of OSC in the VMC protocol over UDP: blendshapes by ARKit's names, the head as a bone
`Page`          a page of its own, and JSON for any client of a WebSocket
`Recording`     a file of motion at the end
==============  ==========================================================================================

>>> receiver = LiveLink(*address("127.0.0.1:11111"))
>>> receiver.send(0, values)                                    # (55,) float32 in the ARKIT space

Nobody is waited for: a receiver that does not keep up misses frames.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from avi_lib.errors import AviError, InputError
from avi_lib.motion.clip import ARKIT, ARKIT_BLENDSHAPES, MotionClip
from avi_lib.motion.formats import check_motion, livelink_rows, save_motion
from avi_lib.motion.live import FPS
from avi_lib.speech.encoders import RATE_HZ, Wave

RATES_HZ = (8_000, 192_000)  # rates at which sound may come

Values = Float32[np.ndarray, " channels"]


@runtime_checkable
class Receiver(Protocol):
    """Takes frames as they are due."""

    def send(self, frame: int, values: Values) -> None:
        """A frame (55,) in the ARKIT space; it may not wait."""

    def close(self) -> None:
        """Nothing more comes."""


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; InputError for another text, or for a host that is not known."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError("an address as HOST:PORT", repr(text), "write for example 127.0.0.1:11111")
    try:
        return socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0][4][:2]  # type: ignore[return-value]
    except OSError as error:
        raise InputError("a host that is known here", repr(host), "check the name") from error


class _Datagrams:
    """Packets to one address; what cannot be delivered is lost, as usual with UDP."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def _give(self, packet: bytes) -> None:
        with suppress(OSError):
            self._socket.sendto(packet, self._to)

    def close(self) -> None:
        self._socket.close()


class LiveLink(_Datagrams):
    """Live Link Face packets (version 6), big-endian: device, subject, frame time and rate, 61 values."""

    def __init__(self, host: str, port: int, subject: str = "avi") -> None:
        super().__init__(host, port)
        device, name = b"00000000-0000-0000-0000-000000000000", subject.encode("ascii", "replace")[:64]
        self._head = struct.pack(f">Bi{len(device)}si{len(name)}s", 6, len(device), device, len(name), name)

    def send(self, frame: int, values: Values) -> None:
        """One packet of some 330 bytes."""
        row = livelink_rows(MotionClip(values[None], FPS, ARKIT))[0]
        self._give(self._head + struct.pack(">ifiiB61f", frame, 0.0, int(FPS), 1, len(row), *row))


class Vmc(_Datagrams):
    """The VMC protocol: `/VMC/Ext/Blend/Val` a blendshape, `/VMC/Ext/Blend/Apply`, and the head's rotation."""

    def send(self, frame: int, values: Values) -> None:
        """One bundle of messages."""
        from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
        from pythonosc.osc_message_builder import OscMessageBuilder
        from scipy.spatial.transform import Rotation

        bundle = OscBundleBuilder(IMMEDIATELY)

        def say(where: str, *what: Any) -> None:
            message = OscMessageBuilder(f"/VMC/Ext/{where}")
            for each in what:
                message.add_arg(each)
            bundle.add_content(message.build())

        say("OK", 1)
        say("T", frame / FPS)
        for name, value in zip(ARKIT_BLENDSHAPES, values.tolist(), strict=False):
            say("Blend/Val", f"{name[0].upper()}{name[1:]}", value)
        say("Blend/Apply")
        pitch, yaw, roll = values[len(ARKIT_BLENDSHAPES) :].tolist()
        turn = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_quat().tolist()
        say("Bone/Pos", "Head", 0.0, 0.0, 0.0, *turn)
        self._give(bundle.build().dgram)


class Recording:
    """A file of motion, written when the session ends; until then an hour of frames takes 20 MB of memory."""

    def __init__(self, path: Path) -> None:
        check_motion(path)
        self.path, self._kept = path, bytearray()

    def send(self, frame: int, values: Values) -> None:
        """Keep a frame."""
        self._kept += values.astype(np.float32).tobytes()

    def close(self) -> None:
        """Write what came, if anything."""
        if self._kept:
            values = np.frombuffer(self._kept, np.float32).reshape(-1, len(ARKIT))
            save_motion(MotionClip(values, FPS, ARKIT), self.path)


# The page and its WebSocket.


class Page:
    """Serves `live.html` and its WebSocket `/motion` from a thread of its own, to this machine unless told otherwise.

    Text messages are JSON. Out: `hello` (fps, channels, latency_s), `motion` (frame, time_s, weights, head), the
    `instruction` that holds, `error`. In: `instruction` (text), `audio` (rate_hz), `pictures` (true for drawn ones);
    then bytes are samples of 16 bits. Bytes out begin with their kind: 1 a JPEG, 2 samples of the sound. Raises
    InputError for a port that is taken.
    """

    MOST_BYTES = 1 << 20

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.heard: Callable[[Wave, int], None] = lambda samples, rate_hz: None
        self.asked: Callable[[str], None] = lambda text: None
        self.clients: set[_Client] = set()
        self.opened = threading.Event()
        """That somebody came."""
        self.missed = 0
        """Messages that clients were too slow for."""
        self.state: dict[str, Any] = {}
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        begun: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, args=(host, port, begun), daemon=True)
        self._thread.start()
        try:
            self.port = begun.result()
        except (OSError, OverflowError) as error:
            got = f"{port}: {error.strerror if isinstance(error, OSError) else 'no port has this number'}"
            raise InputError(f"a free port on {host}", got, "name another with --port, or 0 for any") from error
        self.url = f"http://{host}:{self.port}/"

    def _serve(self, host: str, port: int, begun: Future[int]) -> None:
        async def serve() -> None:
            routes: list[Any] = [("/", _Front), ("/motion", _Client, {"page": self})]
            application = Application(routes, websocket_ping_interval=20, websocket_max_message_size=self.MOST_BYTES)
            server = HTTPServer(application, max_body_size=self.MOST_BYTES)
            try:
                listening = socket.create_server((host, port))
            except (OSError, OverflowError) as error:
                begun.set_exception(error)
                return
            listening.setblocking(False)
            server.add_socket(listening)
            begun.set_result(listening.getsockname()[1])
            await self._ended.wait()
            server.stop()
            for client in tuple(self.clients):
                client.close()
            with suppress(asyncio.TimeoutError):  # clients that do not answer
                await asyncio.wait_for(server.close_all_connections(), 1.0)

        self._loop.run_until_complete(serve())
        self._loop.close()

    def tell(self, message: str | bytes, pictures: bool = False) -> None:
        """Give a message to every client, or to those who want pictures, from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell, message, pictures)

    def _tell(self, message: str | bytes, pictures: bool) -> None:
        for client in tuple(self.clients):
            if client.pictures or not pictures:
                client.give(message)

    def hold(self, kind: str, **values: Any) -> None:
        """Tell every client, however slow, and those who come later, what holds from now on."""
        self.state[kind] = json.dumps({"type": kind, **values})
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._owe, kind)

    def _owe(self, kind: str) -> None:
        for client in tuple(self.clients):
            client.owe(kind)

    def send(self, frame: int, values: Values) -> None:
        """A frame as JSON."""
        count, rounded = len(ARKIT_BLENDSHAPES), [round(value, 4) for value in values.tolist()]
        motion = {"type": "motion", "frame": frame, "time_s": frame / FPS}
        self.tell(json.dumps({**motion, "weights": rounded[:count], "head": rounded[count:]}))

    def sound(self, samples: Wave) -> None:
        """The sound that is spoken, for pages that play it."""
        self.tell(b"\x02" + (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())

    def picture(self, jpeg: bytes) -> None:
        """A drawn picture of the face, to those who want pictures."""
        self.tell(b"\x01" + jpeg, pictures=True)

    def wanted(self) -> bool:
        """Does anybody want pictures?"""
        return any(client.pictures for client in tuple(self.clients))

    def close(self) -> None:
        """Stop serving."""
        self.tell(json.dumps({"type": "end"}))
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(3.0)


class _Front(RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline' blob: data:; connect-src 'self'")
        self.finish((Path(__file__).parent / "assets" / "live.html").read_bytes())


class _Client(WebSocketHandler):
    """One client; a message that comes while the last one is still on its way is not sent, but for what holds."""

    def initialize(self, page: Page) -> None:
        self.page, self.pictures, self.rate_hz = page, False, RATE_HZ
        self._busy: Any = None
        self._answer: Any = None
        self._owed: dict[str, None] = {}
        self._paying: Any = None

    def open(self, *_: str) -> None:
        self.set_nodelay(True)
        self.page.clients.add(self)
        self.page.opened.set()
        self.owe(*self.page.state)

    def on_close(self) -> None:
        self.page.clients.discard(self)

    def give(self, message: str | bytes) -> None:
        if self._busy is not None and not self._busy.done():
            self.page.missed += 1
            return
        try:
            self._busy = asyncio.ensure_future(self._write(message))
        except WebSocketClosedError:
            self.page.clients.discard(self)

    def owe(self, *kinds: str) -> None:
        """Tell what holds, one after another, the latest of each kind."""
        self._owed |= dict.fromkeys(kinds)
        if self._paying is None or self._paying.done():
            self._paying = asyncio.ensure_future(self._pay())

    async def _pay(self) -> None:
        while self._owed:
            kind = next(iter(self._owed))
            del self._owed[kind]
            await self._write(self.page.state[kind])

    async def _write(self, message: str | bytes) -> None:
        with suppress(WebSocketClosedError):
            await self.write_message(message, isinstance(message, bytes))

    def on_message(self, message: str | bytes) -> None:
        try:
            self._read(message)
        except (AviError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            got = str(error) if isinstance(error, AviError) else f"expected a message as docs/live.md says; got {error}"
            self._answer = asyncio.ensure_future(self._write(json.dumps({"type": "error", "text": got[:500]})))

    def _read(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.page.heard(
                np.frombuffer(message[: len(message) // 2 * 2], "<i2").astype(np.float32) / 32768, self.rate_hz
            )
            return
        asked = json.loads(message)
        kind = asked["type"]
        if kind == "instruction":
            self.page.asked(str(asked["text"]))
        elif kind == "audio":
            rate_hz = int(asked["rate_hz"])
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise InputError(f"a rate of {RATES_HZ[0]} to {RATES_HZ[1]} Hz", str(rate_hz), "send it as it is")
            self.rate_hz = rate_hz
        elif kind == "pictures":
            self.pictures = bool(asked["on"])
        else:
            raise InputError("a message of type instruction, audio or pictures", repr(kind), "see docs/live.md")
