"""Pictures of a video one at a time: upright, with square pixels, and with the times at which they are shown.

>>> with Footage(Path("my.mp4")) as footage:
...     for picture in footage.pictures():
...         print(round(picture.start_s, 3), picture.rgb.shape)

Time 0 is the first sample of the file's sound, which is where `load_speech` begins, or the first picture when there is
no sound. Pictures are decoded in this process, unlike sound: FFmpeg reads the file with the rights of the caller, so a
video from somebody who is not trusted belongs into a sandbox.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import UInt8

from avi_lib.errors import InputError
from avi_lib.speech.decode import CONTAINERS

SIDES = (32, 8192)
"""Smallest and largest width and height that are read."""
LONGEST_SIDE = 1280
"""Larger pictures are scaled down to this; face detectors look at far fewer pixels."""
TRUNCATED_S = 0.15
"""A video that ends this much before the length its header promises is called truncated."""

_VIDEO = "a video in MP4, MOV, MKV, WebM, AVI, MPEG, FLV or Ogg"
_CONVERT = "see whether it plays; convert what plays, for example with `ffmpeg -i IN OUT.mp4`"


@dataclass(frozen=True)
class Picture:
    """A picture (height, width, 3) sRGB, and when it begins to be shown."""

    start_s: float
    rgb: UInt8[np.ndarray, "height width 3"]


class Footage:
    """An open video; a context manager.

    `rate` is the mean frame rate and `expected` the number of frames that the header promises, each None where it
    promises nothing. Known after the last picture: `damaged`, the packets and pictures that could not be decoded whole
    and were left out, `unordered`, the pictures left out because their time does not follow the one before, and
    `truncated_s`, how much of the promised length is missing. Raises InputError for whatever is no video.
    """

    damaged: int = 0
    unordered: int = 0
    truncated_s: float = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Footage:
        with ExitStack() as stack:
            file = stack.enter_context(_open_file(self._path))
            options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
            try:
                container = stack.enter_context(av.open(file, options=options, metadata_errors="replace"))
            except av.FFmpegError as error:
                raise InputError(
                    _VIDEO, f"{self._path}, which could not be read ({error.strerror})", _CONVERT
                ) from error
            self._container: Any = container
            self._stream = _picture_track(container, self._path)
            self._close = stack.pop_all().close
        self.rate = float(self._stream.average_rate) if self._stream.average_rate else None
        self.expected: int | None = self._stream.frames or None
        self._zero_s = _sound_start_s(self._container)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def pictures(self) -> Iterator[Picture]:
        """The pictures in order of their times, once."""
        before_s = shown_s = -np.inf
        for frame in self._frames():
            step_s = 1 / (self.rate or 25.0)
            shown_s = frame.time if frame.time is not None else max(before_s, -step_s) + step_s
            if shown_s <= before_s:
                self.unordered += 1
                continue
            before_s = shown_s
            if self._zero_s is None:
                self._zero_s = shown_s
            yield Picture(float(shown_s - self._zero_s), self._upright(frame))
        stream = self._stream
        if stream.duration is not None and self._container.format.name not in ("mpeg", "mpegts"):
            promised_s = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
            missing_s = promised_s - max(shown_s, 0.0) - 1 / (self.rate or 25.0)
            self.truncated_s = missing_s if missing_s > TRUNCATED_S else 0.0

    def _frames(self) -> Iterator[Any]:
        """Decoded frames; what cannot be decoded whole is counted and skipped, a broken container ends the stream."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.FFmpegError as error:
                if error.errno == errno.ENOMEM:
                    got = f"{self._path}, which wants more"
                    raise InputError("decoding to fit in memory", got, "scale the video down") from error
                self.damaged += 1
                continue
            for frame in frames:
                _check_size(frame.width, frame.height, self._path)
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    yield frame

    def _upright(self, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
        """RGB with square pixels and turned as a player turns it, at most LONGEST_SIDE wide and high."""
        wide = frame.width * float(self._stream.sample_aspect_ratio or 1)
        scale = min(1.0, LONGEST_SIDE / max(wide, frame.height))
        width, height = max(round(wide * scale), 1), max(round(frame.height * scale), 1)
        rgb = frame.reformat(width, height, format="rgb24", interpolation="AREA" if scale < 1 else "BILINEAR")
        # FFmpeg pads the rows of many widths; MediaPipe reads the memory as if it did not
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file with something in it, without waiting on a pipe."""
    try:
        if path.is_file():
            if path.stat().st_size:
                return path.open("rb")
            raise InputError(_VIDEO, f"{path}, an empty file (0 bytes)", "copy or record it again")
    except OSError as error:
        raise InputError(_VIDEO, f"{path}: {error.strerror}", "check the path and its permissions") from error
    state = "a folder" if path.is_dir() else "no regular file" if path.exists() else "not there"
    raise InputError(_VIDEO, f"{path}, which is {state}", "check the path")


def _picture_track(container: Any, path: Path) -> Any:
    """The video stream to decode; the cover picture of a song is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        sound = "a sound track and no pictures" if container.streams.audio else "neither pictures nor sound"
        raise InputError("a video of a face", f"{path} with {sound}", "choose a file with a video track")
    stream = max(streams, key=lambda stream: stream.width * stream.height)
    if stream.codec_context is None:
        raise InputError("a video in a known codec", f"{path} in an unknown one", _CONVERT)
    stream.codec_context.thread_count = 1
    if stream.width or stream.height:
        _check_size(stream.width, stream.height, path)
    return stream


def _check_size(width: int, height: int, path: Path) -> None:
    if not SIDES[0] <= min(width, height) <= max(width, height) <= SIDES[1]:
        expected = f"pictures of {SIDES[0]} to {SIDES[1]} pixels a side"
        raise InputError(expected, f"{width} x {height} in {path}", "scale the video")


def _sound_start_s(container: Any) -> float | None:
    """When the sound begins that the file would be heard with; None when it has none or does not say."""
    if not container.streams.audio:
        return None
    stream = container.streams.best("audio") or container.streams.audio[0]
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else None
