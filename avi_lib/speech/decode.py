"""The sound of a recording that nobody vouches for, block by block; runs behind the wall.

>>> source, *blocks, counts = behind_wall(decode_sound, file, "my.m4a", 0, **terms)

One decoder reads everything: PyAV's FFmpeg takes WAV, FLAC, OGG, MP3, M4A and the sound track of a video alike. It
opens no path and no network address and knows only CONTAINERS and CODECS. Nothing heavier is imported here than PyAV:
the first recording waits for it.

Sound comes when its time stamps say: gaps between them are filled with silence, overlaps cut. Pictures go by the same
rule, so that both stay together.
"""

from __future__ import annotations

import errno
import itertools
import json
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Discard

from avi_lib.errors import expect

_FORMATS: dict[str, Any] = json.loads(Path(__file__).with_name("formats.json").read_text("utf-8"))
_SOUND, _VIDEO = _FORMATS["sound"], _FORMATS["video"]
CONTAINERS = tuple(dict.fromkeys((*_SOUND, *_VIDEO)))
"""FFmpeg's names of the containers that are read; play lists, image sequences and scripts are not among them."""
SPEECH_SUFFIXES = tuple(" ".join(_SOUND.values()).split())
VIDEO_SUFFIXES = tuple(" ".join(_VIDEO.values()).split())
SOUND_SUFFIXES = SPEECH_SUFFIXES + VIDEO_SUFFIXES
"""What is taken for a recording in a folder, lossless before lossy and sound before video; a file that is named on its
own may have any name."""
_STAMPED = tuple(_FORMATS["stamped"].split())
"""Containers whose time stamps are written in the file; those of others are counted from sizes, right or wrong."""
CODECS = " ".join(_FORMATS["codecs"]).split()
"""FFmpeg's names of the decoders that may run; a video's pictures are never decoded, not even to probe them."""
MAX_CHANNELS, RATES_HZ = 8, (4_000, 192_000)
PIECE_BYTES = 1 << 18  # samples are gathered to at least this many bytes before they are given
READABLE = "a recording in WAV, FLAC, OGG, MP3, M4A or a video with sound"
CONVERT = "see whether it plays; convert what plays, for example with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"


def decode_sound(recording: BinaryIO, name: str, track: int) -> Iterator[dict[str, Any]]:
    """The source (container, codec, channels, rate_hz, claimed_s), `samples` of interleaved float32, then the counts.

    Of several sound tracks `track` is read, counted from 1; without one (0) they are only named in `tracks`, and those
    beside it as `others`. The counts are of `damaged` pieces that could not be decoded whole, of `changes` of rate or
    channels on the way, of seconds `filled` with silence and `cut` where time stamps leave gaps or overlap, how often
    they begin `anew`, how `loose` of its stamp the end is in seconds, and whether the file is `unfinished`. `claimed_s`
    is None where no length is promised.
    """
    wav = _wav_header(recording)
    if wav:
        _check_form(wav["channels"], wav["rate_hz"], name)
    options = {"format_whitelist": ",".join(CONTAINERS), "codec_whitelist": ",".join(CODECS)}
    options["protocol_whitelist"] = "none"
    with av.open(recording, options=options, metadata_errors="replace") as container:
        got = f"{name} without a sound track"
        expect(container.streams.audio, "a recording or a video with sound", got, "choose another file")
        tracks = []
        for number, each in enumerate(container.streams.audio, 1):
            said = [each.metadata.get(key, "")[:80] for key in ("title", "language")]
            said += [each.codec_context.name, f"{each.codec_context.channels} channels"] if each.codec_context else []
            tracks.append(f"track {number} ({', '.join(filter(None, said))})")
        if len(tracks) > 1 and not track:
            yield {"tracks": tracks}
            return
        stream = sound_track(container, track, name)
        for other in container.streams:
            other.discard = Discard.default if other is stream else Discard.all
        context: Any = stream.codec_context
        if context is None or context.name not in CODECS:
            raise ValueError(f"codec {context.name if context else 'unknown'}")
        context.thread_count = 1
        source: dict[str, Any] = {
            "container": container.format.name,
            "codec": context.name,
            "channels": context.channels,
            "rate_hz": context.sample_rate,
            "claimed_s": _claimed_s(recording, container, stream),
            "open": bool(re.search(_OPEN.get(container.format.name, b"(?!)"), _peek(recording, 1 << 16), re.DOTALL)),
            "others": [each for i, each in enumerate(tracks, 1) if i != (track or 1)],
        }
        source |= {key: wav[key] for key in ("claimed_s", "open") if wav and key in wav}
        source["claimed_s"] = None if source["open"] else source["claimed_s"]
        counts = {"damaged": 0, "changes": 0, "unfinished": 0, "filled": 0.0, "cut": 0.0, "anew": 0, "loose": 0.0}
        if container.format.name == "ogg":  # promises no length, but marks its last page
            tail = _peek(recording, -1 << 17)
            flags = tail.rfind(b"OggS") + 5
            counts["unfinished"] = int(not (5 <= flags < len(tail) and tail[flags] & 4))
        begin_s = None
        if container.format.name.split(",")[0] in _STAMPED and stream.start_time is not None:
            begin_s = float(stream.start_time * stream.time_base)
        pieces = _pieces(_frames(container, stream, source["open"], counts), begin_s, source, counts)
        first = next(pieces, b"")
        if not first and (counts["damaged"] or not source["channels"]):
            raise ValueError(f"no piece of {context.name} sound in it is whole")
        _check_form(source["channels"], source["rate_hz"], name)
        yield source
        yield from ({"samples": piece} for piece in itertools.chain([first] if first else [], pieces))
        yield counts


def _check_form(channels: int, rate_hz: int, name: str) -> None:
    got = f"{channels} in {name}"
    expect(1 <= channels <= MAX_CHANNELS, f"1 to {MAX_CHANNELS} channels", got, "mix the recording down to mono")
    slow, fast = RATES_HZ
    do = "record or export it at 16000 Hz or above"
    expect(slow <= rate_hz <= fast, f"a sampling rate of {slow} to {fast} Hz", f"{rate_hz} Hz in {name}", do)


def sound_track(container: Any, track: int, name: str) -> Any:
    """A sound track of an open container by its number from 1 on; 0 for the one that FFmpeg would play."""
    tracks = container.streams.audio
    expected, got = f"a track from 1 to {len(tracks)}", f"track {track} of {name}"
    expect(track <= len(tracks), expected, got, "name another or leave it out")
    return tracks[track - 1] if track else container.streams.best("audio") or tracks[0]


def _frames(container: Any, stream: Any, is_open: bool, counts: dict[str, Any]) -> Iterator[Any]:
    """Decoded frames; packets that cannot be decoded are counted and skipped, a broken container ends the stream.

    Packets that are marked as damaged count too, but for the last ones of a file whose length `is_open`: there the mark
    says that the file ends, and that is all.
    """
    packets = container.demux(stream)
    marked = 0
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            marked += bool(packet.is_corrupt)
            if packet.size and not (is_open and packet.is_corrupt):
                counts["damaged"] += marked
                marked = 0
            frames = packet.decode()
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise
            counts["damaged"] += 1
            continue
        yield from frames


LOOSE_S = 0.04  # sound that is this far from its time stamp, a frame of motion, is left where it is
_BACK_S, _AHEAD_S = 1.0, 600.0


def timed(
    frames: Iterator[Any], due_s: float | None, lasts_s: Callable[[Any], float], counts: dict[str, Any]
) -> Iterator[tuple[Any, float]]:
    """Frames, each with the time at which it comes; the first is `due_s`, or whenever it comes.

    A stamp that the frame after it does not follow is a stray one. Stamps that jump back by more than a second, or
    ahead by more than ten minutes, begin `anew`, as where files are joined: what is due goes on there.
    """
    shift_s = 0.0
    for frame, after in itertools.pairwise(itertools.chain(frames, [None])):
        at_s = (due_s or 0.0) if frame.time is None else frame.time + shift_s
        if due_s is not None and abs(jump_s := at_s - due_s) > LOOSE_S:
            ends_s = at_s + lasts_s(frame)
            next_s = ends_s if after is None or after.time is None else after.time + shift_s
            if abs(next_s - ends_s + jump_s) < abs(next_s - ends_s):
                at_s = due_s
            elif not -_BACK_S <= jump_s <= _AHEAD_S:
                counts["anew"] += 1
                shift_s -= jump_s
                at_s = due_s
        yield frame, at_s
        due_s = at_s + lasts_s(frame)


def _pieces(
    frames: Iterator[Any], begin_s: float | None, source: dict[str, Any], counts: dict[str, Any]
) -> Iterator[bytes]:
    """Interleaved float32 pieces of whole frames; `source` takes the channels and rate of the first frame.

    A stream that changes its rate or its channels on the way is brought to those of its first frame. Without a time at
    which it begins, time stamps do not count.
    """
    form: tuple[Any, ...] | None = None
    output: tuple[Any, Any] | None = None
    resampler: Any = None
    gathered = bytearray()

    def given(part: bytes) -> Iterator[bytes]:
        gathered.extend(part)
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()

    def lasts_s(frame: Any) -> float:
        return float(frame.samples / frame.sample_rate)

    ends_s = begin_s
    counted = ((frame, 0.0) for frame in frames)
    for frame, at_s in counted if begin_s is None else timed(frames, begin_s, lasts_s, counts):
        if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            if output is None:
                output = frame.layout, frame.sample_rate
                source["channels"], source["rate_hz"] = frame.layout.nb_channels, frame.sample_rate
            else:
                yield from given(_interleaved(resampler.resample(None)))
                counts["changes"] += 1
            form = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = av.AudioResampler(format="flt", layout=output[0], rate=output[1])
        frame.pts = None
        part = _interleaved(resampler.resample(frame))
        if ends_s is not None:
            late_s = max(at_s - ends_s, -lasts_s(frame))
            counts["loose"] = late_s if abs(late_s) <= LOOSE_S else 0.0
            late_s -= counts["loose"]
            ends_s += late_s + lasts_s(frame)
            counts["filled" if late_s > 0 else "cut"] += abs(late_s)
            size = 4 * source["channels"]
            left = round(late_s * source["rate_hz"]) * size
            part = part[max(-left, 0) :]
            while left > 0:
                yield from given(bytes(min(left, PIECE_BYTES)))
                left -= PIECE_BYTES
        yield from given(part)
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


_OPEN = {
    "caf": rb"data\xff{8}",
    "au": rb"^\.snd.{4}\xff{4}",
    "avi": rb"^RIFF(\0{4}|\xff{4})",
    "asf": rb"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\0\xc0\x0c\x20\x53\x65.{72}[\1\3]",
}
"""By container the bytes with which a header leaves the length open, as those do who write to a pipe."""


def _claimed_s(recording: BinaryIO, container: Any, stream: Any) -> float | None:
    """Seconds of sound that the container's header promises; None where it promises nothing (FFmpeg then guesses).

    MPEG streams, bare AAC and an MP3 without a Xing header promise nothing, so a cut between packets leaves no trace.
    """
    name = container.format.name
    if name == "mp3" and not any(tag in _peek(recording, 1 << 16) for tag in (b"Xing", b"Info", b"VBRI")):
        return None
    if name in ("ogg", "mpeg", "mpegts", "aac", "loas", "ac3", "eac3", "amr", "gsm"):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:  # until its end, counted from 0
        return max(float(container.duration - max(container.start_time or 0, 0)) / 1e6, 0.0)
    return None


def _wav_header(recording: BinaryIO) -> dict[str, Any] | None:
    """Source of a RIFF/WAVE file as its header has it, since FFmpeg corrects a lie in silence; None for other files.

    A `data` chunk of no bytes, or of 2 or 4 GB, as those leave it who write to a pipe, claims nothing. Seeks back to
    the start.
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
                size -= 16
            elif name == b"data":
                if source:
                    source["open"] = not size or any(0 <= most - size < 5000 for most in (1 << 31, (1 << 32) - 1))
                    source |= {"claimed_s": size / bytes_per_s} if bytes_per_s else {}
                return source
            recording.seek(size + size % 2, 1)
        return source
    finally:
        recording.seek(0)
