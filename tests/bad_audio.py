"""Recordings made for tests: good ones in every format, and bad ones that a person may really come with."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import av
import numpy as np

NO_ERROR_TALK = re.compile(r"Traceback|Error\(|\[Errno|av\.error|0x[0-9a-f]{6}")
"""What a library's trace would show and a sentence for a person must not."""

RATE_HZ = 16_000

FORMATS = {
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("ipod", "aac"),
    "ogg": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
    "aiff": ("aiff", "pcm_s16be"),
    "caf": ("caf", "pcm_s16le"),
    "w64": ("w64", "pcm_s16le"),
    "mpg": ("mpeg", "mp2"),
    "au": ("au", "pcm_s16be"),
    "wv": ("wv", "wavpack"),
    "ac3": ("ac3", "ac3"),
    "ec3": ("eac3", "eac3"),
    "oga": ("ogg", "flac"),
    "flv": ("flv", "aac"),
    "ts": ("mpegts", "mp2"),
    "avi": ("avi", "libmp3lame"),
    "loas": ("latm", "aac"),
}
"""Suffix -> FFmpeg's container and encoder; WAV comes from `wav_bytes`."""


def voice(seconds: float = 1.0, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """A buzz that swells and pauses three times a second, peak 0.5: like speech to every check."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    swell = np.clip(np.sin(2 * np.pi * 3 * t + 0.3), 0, None)
    wave = buzz * swell / 2 + 0.002 * np.random.default_rng(seed).standard_normal(len(t))
    return (0.5 * wave / max(np.abs(wave).max(), 1e-9)).astype(np.float32)


def wav_bytes(
    wave: np.ndarray,
    rate_hz: int = RATE_HZ,
    kind: str = "<i2",
    claim_bytes: int | None = None,
    channels: int | None = None,
) -> bytes:
    """A WAV file of (samples,) or (samples, channels) in [-1, 1]; the header may be made to lie."""
    wave = wave[:, None] if wave.ndim == 1 else wave
    channels = wave.shape[1] if channels is None else channels
    integer = np.dtype(kind).kind == "i"
    data = (np.round(wave * 32767) if integer else wave).astype(kind).tobytes()
    size = np.dtype(kind).itemsize
    block = (channels * size) & 0xFFFF
    form = struct.pack("<HHIIHH", 1 if integer else 3, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block, 8 * size)
    claim = len(data) if claim_bytes is None else claim_bytes
    return (
        b"RIFF" + struct.pack("<I", 36 + claim & 0xFFFFFFFF) + b"WAVE"
        + b"fmt " + struct.pack("<I", len(form)) + form
        + b"data" + struct.pack("<I", claim) + data
    )  # fmt: skip


def encoded(wave: np.ndarray, suffix: str, rate_hz: int = RATE_HZ, options: dict[str, str] | None = None) -> bytes:
    """Mono wave (samples,) in one of `FORMATS`, or as WAV."""
    if suffix == "wav":
        return wav_bytes(wave, rate_hz)
    container, codec = FORMATS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        wide = codec in ("libopus", "ac3", "eac3")
        stream = output.add_stream(codec, rate=48_000 if wide else rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None], np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = rate_hz, 0
        context = stream.codec_context
        context.open()
        convert = av.AudioResampler(context.format, "mono", context.rate, frame_size=context.frame_size or 1024)
        for piece in (*convert.resample(frame), *convert.resample(None)):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def write_video(path: Path, wave: np.ndarray | None, rate_hz: int = RATE_HZ) -> Path:
    """Ten grey pictures at 25 fps, with AAC sound unless `wave` is None."""
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        pictures.width = pictures.height = 64
        sound = output.add_stream("aac", rate=rate_hz, layout="mono") if wave is not None else None
        for i in range(10):
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8))))
        output.mux(pictures.encode(None))
        for start in range(0, 0 if wave is None else len(wave), 1024):
            piece = np.ascontiguousarray(wave[None, start : start + 1024], np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.rate, frame.pts = rate_hz, start
            output.mux(sound.encode(frame))
        if sound:
            output.mux(sound.encode(None))
    return path


def stamped(path: Path, *tracks: Sequence[tuple[float, np.ndarray]], picture: bool = False) -> Path:
    """PCM tracks in Matroska of parts whose time stamps begin at so many seconds."""
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono") for _ in tracks]
        if picture:
            output.add_stream("libx264", rate=25, width=64, height=64)
        for stream, parts in zip(streams, tracks, strict=True):
            for start_s, wave in parts:
                for first in range(0, len(wave), RATE_HZ // 10):
                    samples = np.round(32767 * wave[None, first : first + RATE_HZ // 10]).astype(np.int16)
                    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                    frame.rate, frame.pts = RATE_HZ, round(start_s * RATE_HZ) + first
                    output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        if picture:
            pictures = output.streams.video[0]
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
            output.mux(pictures.encode(None))
    return path


def mp3_with_huge_picture(path: Path, picture_bytes: int) -> Path:
    """An MP3 whose ID3 tag claims a cover picture of that size; the file is sparse and takes no room on the disk."""
    head = b"image/png\x00\x03\x00"
    body = len(head) + 1 + picture_bytes
    with path.open("wb") as file:
        file.write(b"ID3\x04\x00\x00" + _syncsafe(body + 10) + b"APIC" + _syncsafe(body) + b"\x00\x00" + b"\x00" + head)
        file.seek(10 + 10 + body)
        file.write(encoded(voice(0.3), "mp3"))
    return path


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _with(indices: Iterable[int], value: float) -> np.ndarray:
    """One second of voice (16000,) float64 with `value` at the indices."""
    wave = voice(1).astype(np.float64)
    wave[list(indices)] = value
    return wave


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.wav": (lambda: b"", "0 bytes"),
    "random.wav": (lambda: np.random.default_rng(1).bytes(5000), "could not be decoded"),
    "text.wav": (lambda: b"Dear diary, today I recorded nothing.\n" * 40, "could not be decoded"),
    "list.wav": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "could not be decoded"),
    "script.wav": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "could not be decoded"),
    "header_only.wav": (lambda: wav_bytes(np.zeros(0)), "no samples"),
    "half_header.wav": (lambda: wav_bytes(voice(1))[:30], ""),
    "twenty_ms.wav": (lambda: wav_bytes(voice(0.02)), "0.020 s"),
    "rate_0.wav": (lambda: wav_bytes(voice(1), rate_hz=0), ""),
    "rate_3999.wav": (lambda: wav_bytes(voice(1), rate_hz=3999), "3999 Hz"),
    "rate_2147483647.wav": (lambda: wav_bytes(voice(1), rate_hz=2**31 - 1), "2147483647 Hz"),
    "channels_9.wav": (lambda: wav_bytes(np.tile(voice(1)[:, None], (1, 9))), "9 in"),
    "channels_1000.wav": (lambda: wav_bytes(np.tile(voice(1)[:160, None], (1, 1000))), "1000 in"),
    "all_nan.wav": (lambda: wav_bytes(np.full(16000, np.nan), kind="<f4"), "100.00%"),
    "one_percent_inf.wav": (lambda: wav_bytes(_with(range(0, 16000, 100), np.inf), kind="<f4"), "1.00%"),
    "one_sample_1e30.wav": (lambda: wav_bytes(_with([5000], 1e30), kind="<f4"), "silent but for a click"),
    "silence.wav": (lambda: wav_bytes(np.zeros(16000)), "silent throughout"),
    "constant.wav": (lambda: wav_bytes(np.full(16000, 0.25)), "silent throughout"),
    "hiss.flac": (lambda: encoded(2e-4 * voice(1), "flac"), "silent throughout"),
    "cut.m4a": (lambda: encoded(voice(1), "m4a")[:3000], "could not be decoded"),
    "picture.png": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(200), "could not be decoded"),
}  # fmt: skip
"""Name -> bytes, and words that the error must contain."""

REPAIRED: dict[str, tuple[Callable[[], bytes], str, float]] = {
    "claims_4_gb.wav": (lambda: wav_bytes(voice(1), claim_bytes=4_000_000_000), "truncated", 124_999.0),
    "cut.wav": (lambda: wav_bytes(voice(2))[: 44 + 32_000], "truncated", 1.0),
    "nan.wav": (lambda: wav_bytes(_with([5000], np.nan), kind="<f4"), "not_finite", 1),
    "inf.wav": (lambda: wav_bytes(_with([0, 15999], -np.inf), kind="<f4"), "not_finite", 2),
    "overflows_float32.wav": (lambda: wav_bytes(_with([5000], 1e300), kind="<f8"), "not_finite", 1),
    "peak_1e30.wav": (lambda: wav_bytes(2e30 * voice(1).astype(float), kind="<f8"), "peak", 1e30),
    "integers_as_floats.wav": (lambda: wav_bytes(65536 * voice(1), kind="<f4"), "peak", 32768.0),
    "offset.wav": (lambda: wav_bytes(voice(1) + 0.25), "dc_offset", 0.25 + float(voice(1).mean())),
    "antiphase.wav": (lambda: wav_bytes(np.stack((voice(1), -voice(1)), 1)), "phase_cancelled", -120.0),
    "one_side.wav": (lambda: wav_bytes(np.stack((voice(1), 0 * voice(1)), 1)), "dead_channels", 1),
}
"""Name -> bytes, the repair that must be recorded, and its number."""


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
