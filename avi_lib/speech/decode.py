"""The sound of a recording that nobody vouches for, block by block; runs behind the wall.

>>> source, *blocks, counts = behind_wall(decode_sound, file, "my.m4a", **terms)

One decoder reads everything: PyAV's FFmpeg takes WAV, FLAC, OGG, MP3, M4A and the sound track of a video alike. It
opens no path and no network address and knows only CONTAINERS and CODECS. Nothing heavier is imported here than PyAV:
the first recording waits for it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
from av.stream import Discard

from avi_lib.errors import InputError

CONTAINERS = "aac aiff amr asf au avi caf flac flv matroska mov mp3 mpeg mpegts ogg w64 wav".split()
"""FFmpeg's names of the containers that are read; play lists, image sequences and scripts are not among them."""

CODECS = (
    "aac aac_latm ac3 eac3 alac flac mp1 mp1float mp2 mp2float mp3 mp3float opus libopus vorbis speex amrnb amrwb "
    "libopencore_amrnb libopencore_amrwb gsm gsm_ms wavpack wmav1 wmav2 wmapro adpcm_ima_qt adpcm_ima_wav adpcm_ms "
    "pcm_alaw pcm_mulaw pcm_bluray pcm_dvd pcm_s8 pcm_u8 pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le "
    "pcm_s64be pcm_s64le pcm_f32be pcm_f32le pcm_f64be pcm_f64le"
).split()
"""FFmpeg's names of the decoders that may run; a video's pictures are never decoded, not even to probe them."""

MAX_CHANNELS = 8
PIECE_BYTES = 1 << 18
"""Samples are gathered to at least this many bytes before they are given."""
READABLE = "a recording in WAV, FLAC, OGG, MP3, M4A or a video with sound"
CONVERT = "see whether it plays; convert what plays, for example with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"


def time_cap_s(size_bytes: int) -> float:
    """Seconds that decoding a file of this size may take: 30 s, 10 s a megabyte, half an hour at most."""
    return min(30.0 + size_bytes / 1e5, 1800.0)


def decode_sound(recording: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """The source (container, codec, channels, rate_hz, claimed_s), `samples` of interleaved float32, then the counts.

    The counts are of `damaged` pieces that could not be decoded, of `changes` of rate or channels on the way, and
    whether the file is `unfinished`. `claimed_s` is None where the container promises no length.
    """
    wav = _wav_header(recording)
    if wav and not (1 <= wav["channels"] <= MAX_CHANNELS and wav["rate_hz"]):
        yield wav
        return
    options = {"format_whitelist": ",".join(CONTAINERS), "codec_whitelist": ",".join(CODECS)}
    options["protocol_whitelist"] = "none"
    with av.open(recording, options=options, metadata_errors="replace") as container:
        if not container.streams.audio:
            got = f"{name} without a sound track"
            raise InputError("a recording or a video with sound", got, "choose another file")
        stream = container.streams.best("audio") or container.streams.audio[0]
        for other in container.streams:
            other.discard = Discard.default if other is stream else Discard.all
        context: Any = stream.codec_context
        if context is None or context.name not in CODECS:
            got = f"{name}, which could not be decoded (codec {context.name if context else 'unknown'})"
            raise InputError(READABLE, got, CONVERT)
        context.thread_count = 1
        source = {
            "container": container.format.name,
            "codec": context.name,
            "channels": context.channels,
            "rate_hz": context.sample_rate,
            "claimed_s": wav["claimed_s"] if wav else _claimed_s(recording, container, stream),
        }
        if context.channels > MAX_CHANNELS:
            yield source
            return
        counts = {"damaged": 0, "changes": 0, "unfinished": 0}
        if container.format.name == "ogg":  # promises no length, but marks its last page
            tail = _peek(recording, -1 << 17)
            flags = tail.rfind(b"OggS") + 5
            counts["unfinished"] = int(not (5 <= flags < len(tail) and tail[flags] & 4))
        pieces = _pieces(_frames(container, stream, counts), source, counts)
        first = next(pieces, b"")
        if not first and (counts["damaged"] or not source["channels"]):
            got = f"{name}, which could not be decoded (no piece of {context.name} sound in it is whole)"
            raise InputError(READABLE, got, CONVERT)
        yield source
        if first:
            yield {"samples": first}
        for piece in pieces:
            yield {"samples": piece}
        yield counts


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


def _peek(recording: BinaryIO, size: int) -> bytes:
    """The first bytes of a file, or the last ones where `size` is negative; keeps the position."""
    position, end = recording.tell(), recording.seek(0, 2)
    recording.seek(0 if size > 0 else max(0, end + size))
    found = recording.read(abs(size))
    recording.seek(position)
    return found


def _claimed_s(recording: BinaryIO, container: Any, stream: Any) -> float | None:
    """Seconds of sound that the container's header promises; None where it promises nothing (FFmpeg then guesses).

    MPEG streams, bare AAC and an MP3 without a Xing header promise nothing, so a cut between packets leaves no trace.
    """
    name = container.format.name
    if name == "mp3" and not any(tag in _peek(recording, 1 << 16) for tag in (b"Xing", b"Info", b"VBRI")):
        return None
    if name in ("ogg", "mpeg", "mpegts", "aac", "amr"):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration) / 1e6
    return None


def _wav_header(recording: BinaryIO) -> dict[str, Any] | None:
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
