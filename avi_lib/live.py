"""A live session: sound from a file, a pipe, a microphone or a page in; motion to receivers, as it is spoken.

>>> session = LiveSession(talker, played(voice), [LiveLink("127.0.0.1", 11111)], understand("She is furious."))
>>> session.run()                                             # returns when the sound has ended
LiveReport(frames=176, late=0, inserted_s=0.0, dropped_s=0.0, first_ms=281, jitter_ms=1.2, busy=0.3)

Frame i is sent `LATENCY_S` after the sound at i/25 s came in: by then it is known. Where a microphone or a page falls
silent for good, silence is put in; what comes later than that is left out, so that nothing is ever sent later.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import IO, NamedTuple

import numpy as np
import soxr
from jaxtyping import Float32

from avi_lib.errors import AssetError, AviError, InputError, expect
from avi_lib.instruction.instruction import Instruction, understand
from avi_lib.motion.clip import ARKIT, MotionClip
from avi_lib.motion.live import FPS, FRAME, HOP, LiveFace
from avi_lib.receivers import RATES_HZ, Page, Receiver, Values
from avi_lib.speech.encoders import RATE_HZ, Wave, one_thread
from avi_lib.speech.voice import Voice
from avi_lib.talker import Talker

LATENCY_S = 0.28  # from the sound of a frame's first sample to the frame
LATE_S = 0.2  # silence is put in where no sound came for so long
BEHIND_MS = 10.0  # frames that are later than this are helped by drawing none
MOST_WAITING_S = 1.0  # sound that waits to be worked on; the oldest beyond it is left out
FIRST_S, EVERY_S, HEARD_S = 3.0, 5.0, 6.0
"""Without an instruction: the voice is listened to after so long, then so often, each time to the last `HEARD_S`."""


# Sources of sound.


class Intake:
    """Sound on its way to the face: what comes too fast or too late is left out, and a pause that lasts is filled."""

    def __init__(self) -> None:
        self._pieces: deque[Wave] = deque()
        self._ready = threading.Condition()
        self._resampler: tuple[int, soxr.ResampleStream] | None = None
        self._taken, self._waiting, self.ended = 0, 0, False
        self.begun_s: float | None = None
        """When the first sample came, on the monotonic clock; later by what was left out because work was behind."""
        self.inserted, self.dropped = 0, 0

    def put(self, samples: Wave, rate_hz: int, fills: bool) -> None:
        """Sound (samples,) as it comes; with `fills` it is bound to the clock: none may come later than it was spoken.

        Raises InputError for a rate outside `RATES_HZ`.
        """
        expected = f"a rate of {RATES_HZ[0]} to {RATES_HZ[1]} Hz"
        expect(RATES_HZ[0] <= rate_hz <= RATES_HZ[1], expected, f"{rate_hz} Hz", "say at which rate the samples come")
        samples = np.clip(np.nan_to_num(samples, posinf=0.0, neginf=0.0), -1, 1)
        if rate_hz != RATE_HZ:
            if self._resampler is None or self._resampler[0] != rate_hz:
                self._resampler = rate_hz, soxr.ResampleStream(rate_hz, RATE_HZ, 1, "float32", "HQ")
            samples = self._resampler[1].resample_chunk(samples)
        with self._ready:
            now = time.monotonic()
            if self.begun_s is None:
                self.begun_s = now - (len(samples) / RATE_HZ if fills else 0.0)
            if fills:
                behind = self._taken + self._waiting + len(samples) - (now - self.begun_s + LATE_S / 2) * RATE_HZ
                late = min(max(round(behind), 0), len(samples))
                self.dropped += late
                samples = samples[late:]
            self._pieces.append(samples)
            self._waiting += len(samples)
            while self._waiting > MOST_WAITING_S * RATE_HZ and len(self._pieces) > 1:
                lost = len(self._pieces.popleft())
                self._waiting -= lost
                self.dropped += lost
                self.begun_s += lost / RATE_HZ
            self._ready.notify()

    def take(self, fills: bool) -> Wave | None:
        """The sound that has come, at most a hop of it; None at its end. With `fills`, silence where none comes."""
        with self._ready:
            if not self._pieces and not self.ended:
                self._ready.wait(LATE_S if self.begun_s is not None else 1.0)
            if not self._pieces:
                if self.ended:
                    return None
                if not fills or self.begun_s is None:
                    return np.zeros(0, np.float32)
                missing = round((time.monotonic() - self.begun_s) * RATE_HZ) - self._taken
                silence = min(max(missing, 0), HOP * FRAME)
                self.inserted += silence
                self._taken += silence
                return np.zeros(silence, np.float32)
            piece = self._pieces.popleft()
            self._waiting -= len(piece)
            self._taken += len(piece)
            return piece

    def end(self) -> None:
        """No more sound comes."""
        with self._ready:
            self.ended = True
            self._ready.notify()


class Source(NamedTuple):
    """Where sound comes from: `play` puts it in until it ends, or an event says stop, in a thread of its own.

    `fills` where it comes by the clock and may be late; `from_page` where a page's microphone puts it in; `recorded`
    where it can wait for whoever listens.
    """

    play: Callable[[Intake, threading.Event], object]
    fills: bool = False
    from_page: bool = False
    recorded: bool = False


def played(voice: Voice) -> Source:
    """A recording, as fast as it was spoken."""
    pieces = np.split(voice.wave, range(HOP * FRAME, len(voice.wave), HOP * FRAME))
    return Source(partial(_pace, pieces, RATE_HZ), recorded=True)


def piped(stream: IO[bytes], rate_hz: int = RATE_HZ) -> Source:
    """Samples of 16 bits, little-endian, one channel, as `ffmpeg -f s16le -ac 1 -ar 16000 -` writes them.

    They are taken no faster than they are spoken: what writes into the pipe is kept waiting.
    """

    def pieces() -> Iterator[Wave]:
        rest = b""
        while read := stream.read(2 * round(rate_hz * HOP / FPS)):
            whole = len(rest + read) // 2 * 2
            yield np.frombuffer((rest + read)[:whole], "<i2").astype(np.float32) / 32768
            rest = (rest + read)[whole:]

    return Source(partial(_pace, pieces(), rate_hz))


def _pace(pieces: Iterable[Wave], rate_hz: int, intake: Intake, stopped: threading.Event) -> None:
    """Pieces when the last of their samples has been spoken."""
    begun, spoken = time.monotonic(), 0
    for piece in pieces:
        spoken += len(piece)
        if stopped.wait(max(begun + spoken / rate_hz - time.monotonic(), 0.0)):
            return
        if time.monotonic() - begun - spoken / rate_hz > MOST_WAITING_S:  # what writes it paused
            begun = time.monotonic() - spoken / rate_hz
        intake.put(piece, rate_hz, fills=False)


def _listen(intake: Intake, stopped: threading.Event) -> None:
    """To the machine's own microphone, through PortAudio, until stopped; AssetError where there is none."""
    do = "name a recording, pipe samples into `avi live -`, or open the page of `avi live socket`"
    try:
        import sounddevice  # type: ignore[import-untyped]
    except OSError as error:
        raise AssetError("the library PortAudio for a microphone", str(error), do) from error

    def come(samples: np.ndarray, *_: object) -> None:
        intake.put(samples[:, 0].copy(), RATE_HZ, fills=True)

    try:
        with sounddevice.InputStream(RATE_HZ, HOP * FRAME // 4, channels=1, dtype="float32", callback=come):
            stopped.wait()
    except sounddevice.PortAudioError as error:
        raise AssetError("a microphone", str(error), do) from error


MICROPHONE = Source(_listen, fills=True)
SOCKET = Source(lambda _, stopped: stopped.wait(), fills=True, from_page=True)
"""Sound that a client of the page's WebSocket sends: `{"type": "audio", "rate_hz": 48000}`, then samples."""


# The session.


class LiveReport(NamedTuple):
    """How a session went.

    late: frames sent more than 20 ms after they were due; inserted_s, dropped_s: silence put in, sound left out;
    first_ms: from the first sample to the first frame; jitter_ms: 95th percentile of how far a frame was off its time;
    busy: share of the time of the sound that was worked.
    """

    frames: int
    late: int
    inserted_s: float
    dropped_s: float
    first_ms: float
    jitter_ms: float
    busy: float

    def lines(self) -> Iterator[str]:
        """The report for a person."""
        yield f"{self.frames} frames, the first after {self.first_ms:.0f} ms; {self.busy:.2f} s of work a second"
        yield f"95 % within {self.jitter_ms:.1f} ms of their time, {self.late} late by more than 20 ms"
        if self.inserted_s or self.dropped_s:
            left_out = f"{self.dropped_s:.2f} s of sound left out, by which the motion is shorter"
            yield f"{self.inserted_s:.2f} s of silence put in, {left_out}"


def _give_way() -> None:
    """Let this thread, and those that it starts, wait for the others of this process, where a thread can.

    A third of what another gets: with much less, no picture is drawn at all beside other busy programs.
    """
    import torch

    torch.set_num_threads(1)  # of this thread: two that wait for each other keep the motion waiting
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


class LiveSession:
    """A face that speaks what a source says, to receivers; see `run`.

    asked: the instruction; None where it follows the voice: calm at first, then what the instructor writes of it.
    """

    def __init__(
        self, talker: Talker, source: Source, receivers: Sequence[Receiver], asked: Instruction | None = None
    ) -> None:
        if talker.generator is None or talker.prior_sampler is None:
            expected = "the learned generator and prior, which go with the sound"
            raise InputError(expected, "the performer", "leave it out")
        self._talker, self._source, self._receivers = talker, source, receivers
        self.pages = [each for each in receivers if isinstance(each, Page)]
        self._follows = asked is None
        self._asked = asked or Instruction.parse("A person feels calm.")
        self._worker = ThreadPoolExecutor(1, "instruct", _give_way)
        self._next: Future[tuple[Instruction, np.ndarray]] | None = None
        self._wish: deque[str] = deque(maxlen=1)
        self._stopped, self._intake = threading.Event(), Intake()
        self._due: SimpleQueue[tuple[int, float, Values] | None] = SimpleQueue()
        self._offs_ms: list[float] = []
        self._latest: tuple[int, Values] | None = None
        self._drawing, self._shown, self._given = threading.Lock(), -1, -1

    def stop(self) -> None:
        """End the session soon, from any thread."""
        self._stopped.set()
        self._intake.end()

    def direct(self, text: str) -> None:
        """Ask for something else, from any thread; the instruction follows the voice no longer."""
        self._wish.append(text)

    @one_thread()  # two would wait for each other, and pictures for both
    def run(self) -> LiveReport:
        """Speak until the sound ends, or until stopped or interrupted; errors of the source are raised here."""
        talker, intake = self._talker, self._intake
        assert talker.generator is not None
        seed = talker.settings.seed
        new_face = partial(LiveFace, talker.generator, talker.style(self._asked, seed), self._asked, seed)
        list(new_face().push(np.zeros(16 * HOP * FRAME, np.float32)))  # what is slow the first time
        face = new_face()
        for page in self.pages:
            page.heard = lambda samples, rate_hz: intake.put(samples, rate_hz, fills=True)
            page.asked = self.direct
            page.hold("hello", fps=FPS, channels=list(ARKIT.channels), latency_s=LATENCY_S, rate_hz=RATE_HZ)
            page.hold("instruction", text=self._asked.text)
        problems: list[BaseException] = []

        def play() -> None:
            try:
                self._source.play(intake, self._stopped)
            except BaseException as problem:  # raised where it is awaited
                problems.append(problem)
            intake.end()

        threads = [threading.Thread(target=play, daemon=True), threading.Thread(target=self._publish, daemon=True)]
        if self.pages:
            threads += [threading.Thread(target=self._show, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        frame, busy_s, tail = 0, 0.0, np.zeros(0, np.float32)
        listened_s = FIRST_S - EVERY_S
        try:
            while (samples := intake.take(self._source.fills)) is not None and not self._stopped.is_set():
                began = time.thread_time()
                if not self._source.from_page:
                    for page in self.pages:
                        page.sound(samples)
                self._take_wishes(face)
                tail = np.concatenate([tail, samples])[-round(HEARD_S * RATE_HZ) :]
                for values in face.push(samples):
                    frame = self._add(frame, values)
                if self._follows and self._next is None and face.heard / FPS >= listened_s + EVERY_S:
                    listened_s = face.heard / FPS
                    self._next = self._worker.submit(self._ask, Voice(tail))
                busy_s += time.thread_time() - began
            if not self._stopped.is_set():
                for values in face.finish():
                    frame = self._add(frame, values)
        except KeyboardInterrupt:  # how a person ends it
            self.stop()
        finally:
            self._due.put(None)
            threads[1].join()
            self._stopped.set()
            self._worker.shutdown(cancel_futures=True)
            for receiver in self._receivers:
                receiver.close()
        if problems:
            raise problems[0]
        offs, spoken_s = np.array(self._offs_ms or [0.0]), max(face.heard / FPS, 1e-9)
        dropped_s, inserted_s = intake.dropped / RATE_HZ, intake.inserted / RATE_HZ
        first_ms = 1000 * LATENCY_S + float(offs[0])
        jitter_ms = float(np.percentile(np.abs(offs), 95))
        return LiveReport(frame, int((offs > 20).sum()), inserted_s, dropped_s, first_ms, jitter_ms, busy_s / spoken_s)

    def _ask(self, of: str | Voice) -> tuple[Instruction, np.ndarray]:
        """What a sentence asks for, or the instructor writes of a voice, and its style."""
        asked = understand(of) if isinstance(of, str) else self._talker.instructor.instruct(of).instruction
        return asked, self._talker.style(asked, self._talker.settings.seed)

    def _take_wishes(self, face: LiveFace) -> None:
        """Let the face do what was asked for meanwhile, once its style is drawn."""
        if self._next is not None and self._next.done():
            ready, self._next = self._next, None
            try:
                asked, style = ready.result()
            except AviError as error:
                for page in self.pages:
                    page.tell(json.dumps({"type": "error", "text": str(error)}))
            else:
                face.direct(asked, style)
                for page in self.pages:
                    page.hold("instruction", text=asked.text)
        if self._wish and self._next is None:
            self._follows = False
            self._next = self._worker.submit(self._ask, self._wish.popleft())

    def _add(self, frame: int, values: Float32[np.ndarray, "frames channels"]) -> int:
        """Frames that wait until they are due."""
        begun_s = self._intake.begun_s
        assert begun_s is not None, "there are frames where there was sound"
        for number, row in enumerate(values, frame):
            self._due.put((number, begun_s + number / FPS + LATENCY_S, row))
        return frame + len(values)

    def _publish(self) -> None:
        """Send each frame when it is due."""
        while (due := self._due.get()) is not None:
            frame, due_s, values = due
            if not self._stopped.wait(max(due_s - time.monotonic(), 0.0)) or self._intake.ended:
                self._offs_ms.append(1000 * (time.monotonic() - due_s))
                self._latest = frame, values
                for receiver in self._receivers:
                    receiver.send(frame, values)

    def _show(self) -> None:
        """Draw the latest frame again and again for the pages that want pictures; two threads take turns."""
        import cv2

        _give_way()
        while not self._stopped.is_set():
            if self._offs_ms and self._offs_ms[-1] > BEHIND_MS:
                self._stopped.wait(HOP / FPS)
            with self._drawing:
                latest = self._latest
                new = latest is not None and latest[0] != self._shown and any(page.wanted() for page in self.pages)
                if latest is not None and new:
                    self._shown = latest[0]
            if latest is None or not new:
                self._stopped.wait(0.005)
                continue
            frame, values = latest
            picture = next(iter(self._talker.frames(MotionClip(values[None], FPS, ARKIT))))
            _, jpeg = cv2.imencode(".jpg", picture[..., 2::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
            with self._drawing:
                if frame > self._given:
                    self._given = frame
                    for page in self.pages:
                        page.picture(jpeg.tobytes())
