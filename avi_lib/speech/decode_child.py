"""The decoder's own process: a recording on standard input, samples on standard output, nothing else.

`decode.py` starts it by path with `python -P -B decode_child.py MEMORY_BYTES CPU_SECONDS < my.m4a`. It imports PyAV
and the standard library only, so it starts in about 0.15 s; it caps its own memory and processor time, may not write a
file, opens no path and no network address (the recording is the one open descriptor), and knows only `CONTAINERS`.

The answer is a sequence of messages, each one kind byte, a little-endian uint32 length and that many bytes:
`H` JSON about the source (once, before any samples), `P` interleaved float32 samples, `T` JSON trailer (all went
well), `E` JSON error.
"""

from __future__ import annotations

import errno
import json
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import av
from av.stream import Discard

CONTAINERS = (
    "aac", "aiff", "amr", "asf", "au", "avi", "caf", "flac", "flv", "matroska", "mov", "mp3", "mpeg", "mpegts", "ogg",
    "w64", "wav",
)  # fmt: skip
"""FFmpeg's names of the containers that are read; play lists, image sequences and scripts are not among them."""

CODECS = (
    "aac", "aac_latm", "ac3", "eac3", "alac", "flac", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "opus",
    "libopus", "vorbis", "speex", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "gsm", "gsm_ms",
    "wavpack", "wmav1", "wmav2", "wmapro", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "pcm_alaw", "pcm_mulaw",
    "pcm_bluray",
    "pcm_dvd", "pcm_s8", "pcm_u8", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le",
    "pcm_s64be", "pcm_s64le", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le",
)  # fmt: skip
"""FFmpeg's names of the decoders that may run; a video's pictures are never decoded, not even to probe them."""

MAX_CHANNELS = 8
PIECE_BYTES = 1 << 18
"""Samples are gathered to at least this many bytes before they are sent."""

Send = Callable[[bytes, bytes], None]


def main() -> None:
    """Cap this process, decode standard input to standard output and exit."""
    limit_resources(memory_bytes=int(sys.argv[1]), cpu_s=int(sys.argv[2]))
    output = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115 (open as long as the process)

    def send(kind: bytes, payload: bytes) -> None:
        message = memoryview(kind + struct.pack("<I", len(payload)) + payload)
        while message:
            message = message[output.write(message) :]

    with open(0, "rb", closefd=False) as recording, suppress(BrokenPipeError):
        decode(recording, send)


def limit_resources(memory_bytes: int, cpu_s: int) -> None:
    """Cap address space and processor time; forbid writing files, core dumps and many open files (POSIX only).

    macOS maps more address space into every process than any sensible cap, so memory is not capped there.
    """
    import resource

    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
    }
    if sys.platform != "darwin":
        limits[resource.RLIMIT_AS] = memory_bytes
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))


def decode(recording: BinaryIO, send: Send) -> None:
    """Decode the first-choice sound track of `recording`, calling `send(kind, payload)` as the module describes.

    Everything that FFmpeg can say about a bad file ends as an `E` message.
    """
    try:
        _decode(recording, send)
    except (av.FFmpegError, MemoryError, OSError) as error:
        memory = isinstance(error, MemoryError) or error.errno == errno.ENOMEM
        _send_error(send, "memory" if memory else "undecodable", getattr(error, "strerror", None) or "")


def _decode(recording: BinaryIO, send: Send) -> None:
    wav = wav_header(recording)
    if wav and not (1 <= wav["channels"] <= MAX_CHANNELS and wav["rate_hz"]):
        return _send_json(send, b"H", wav)
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join(CODECS),
        "protocol_whitelist": "none",
    }
    with av.open(recording, options=options, metadata_errors="replace") as container:
        if not container.streams.audio:
            return _send_error(send, "no_sound", container.format.name)
        stream = container.streams.best("audio") or container.streams.audio[0]
        for other in container.streams:
            other.discard = Discard.default if other is stream else Discard.all
        context: Any = stream.codec_context
        if context is None or context.name not in CODECS:
            return _send_error(send, "undecodable", f"codec {context.name if context else 'unknown'}")
        context.thread_count = 1
        source = {
            "container": container.format.name,
            "codec": context.name,
            "channels": context.channels,
            "rate_hz": context.sample_rate,
            "claimed_s": wav["claimed_s"] if wav else claimed_s(recording, container, stream),
        }
        if context.channels > MAX_CHANNELS:
            return _send_json(send, b"H", source)
        counts = {
            "damaged": 0,
            "changes": 0,
            "unfinished": int(container.format.name == "ogg" and not ogg_ends(recording)),
        }
        pieces = _pieces(_frames(container, stream, counts), source, counts)
        first = next(pieces, b"")
        if not first and (counts["damaged"] or not source["channels"]):
            return _send_error(send, "undecodable", f"no piece of {context.name} sound in it is whole")
        _send_json(send, b"H", source)
        while first:
            send(b"P", first)
            first = next(pieces, b"")
        _send_json(send, b"T", counts)


def _frames(container: Any, stream: Any, counts: dict[str, int]) -> Iterator[Any]:
    """Decoded frames; packets that cannot be decoded are counted and skipped, a broken container ends the stream."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            counts["damaged"] += bool(packet.is_corrupt)
            yield from packet.decode()
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            counts["damaged"] += 1


def _pieces(frames: Iterator[Any], source: dict[str, Any], counts: dict[str, int]) -> Iterator[bytes]:
    """Interleaved float32 pieces of whole frames; `source` takes the channels and rate of the first frame.

    A stream that changes its rate or its channels on the way is brought to those of its first frame.
    """
    form: tuple[Any, ...] | None = None
    output: tuple[Any, Any] | None = None
    resampler: Any = None
    gathered = bytearray()
    for frame in frames:
        frame.pts = None
        if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            if output is None:
                output = frame.layout, frame.sample_rate
                source["channels"], source["rate_hz"] = frame.layout.nb_channels, frame.sample_rate
            else:
                gathered += _interleaved(resampler.resample(None))
                counts["changes"] += 1
            form = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = av.AudioResampler(format="flt", layout=output[0], rate=output[1])
        gathered += _interleaved(resampler.resample(frame))
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if resampler is not None:
        gathered += _interleaved(resampler.resample(None))
    if gathered:
        yield bytes(gathered)


def _interleaved(frames: list[Any]) -> bytes:
    return b"".join(bytes(memoryview(f.planes[0])[: f.samples * f.layout.nb_channels * 4]) for f in frames)


def claimed_s(recording: BinaryIO, container: Any, stream: Any) -> float | None:
    """Seconds of sound that the container's header promises; None where it promises nothing (FFmpeg then guesses).

    MPEG streams, bare AAC and an MP3 without a Xing header promise nothing, so a cut between packets leaves no trace.
    """
    name = container.format.name
    if name == "mp3" and not _starts_with_xing(recording):
        return None
    if name in ("ogg", "mpeg", "mpegts", "aac", "amr"):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration) / 1e6
    return None


def wav_header(recording: BinaryIO) -> dict[str, Any] | None:
    """Source of a RIFF/WAVE file as its header has it, since FFmpeg corrects a lie in silence; None for other files.

    A `data` chunk of 0xFFFFFFFF bytes, as streaming writers leave it, claims nothing. Seeks back to the start.
    """
    try:
        recording.seek(0)
        head = recording.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None
        source: dict[str, Any] | None = None
        bytes_per_s = 0
        for _ in range(64):
            name, size = struct.unpack("<4sI", recording.read(8).ljust(8))
            if name == b"fmt " and size >= 16:
                tag, channels, rate_hz, bytes_per_s = struct.unpack("<HHII4x", recording.read(16).ljust(16, b"\0"))
                source = {"container": "wav", "codec": f"format {tag}", "channels": channels, "rate_hz": rate_hz}
                source["claimed_s"] = None
                size -= 16
            elif name == b"data":
                if source and bytes_per_s and size != 0xFFFFFFFF:
                    source["claimed_s"] = size / bytes_per_s
                return source
            recording.seek(size + size % 2, 1)
        return source
    finally:
        recording.seek(0)


def ogg_ends(recording: BinaryIO) -> bool:
    """Whether the last page of an Ogg file is marked as the last; Ogg promises no length. Keeps the position."""
    position = recording.tell()
    recording.seek(max(0, recording.seek(0, 2) - (1 << 17)))
    tail = recording.read()
    recording.seek(position)
    flags = tail.rfind(b"OggS") + 5
    return 5 <= flags < len(tail) and bool(tail[flags] & 4)


def _starts_with_xing(recording: BinaryIO) -> bool:
    position = recording.tell()
    recording.seek(0)
    head = recording.read(1 << 16)
    recording.seek(position)
    return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))


def _send_error(send: Send, kind: str, detail: str) -> None:
    _send_json(send, b"E", {"kind": kind, "detail": detail[:200]})


def _send_json(send: Send, kind: bytes, value: dict[str, Any]) -> None:
    send(kind, json.dumps(value).encode())


if __name__ == "__main__":
    main()
