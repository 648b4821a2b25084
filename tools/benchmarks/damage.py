"""Damage for the siege: bytes, texts, archives and documents that are nearly right, and sentences that are hardly so.

>>> mutated(path.read_bytes(), np.random.default_rng([1, 7]))
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE_HZ = 16_000
CONTAINERS = {
    "wav": ("wav", "pcm_s16le"), "flac": ("flac", "flac"), "mp3": ("mp3", "libmp3lame"), "m4a": ("ipod", "aac"),
    "ogg": ("ogg", "libopus"), "webm": ("webm", "libopus"), "aiff": ("aiff", "pcm_s16be"), "caf": ("caf", "pcm_s16le"),
    "w64": ("w64", "pcm_s16le"), "mpg": ("mpeg", "mp2"),
}  # fmt: skip
VIDEOS = {
    "mp4": ("mp4", "libx264"), "mov": ("mov", "libx264"), "mkv": ("matroska", "libx264"), "webm": ("webm", "libvpx"),
    "avi": ("avi", "mpeg4"), "mpg": ("mpeg", "mpeg2video"),
}  # fmt: skip
JUNK = [
    None, True, -1, 0, 0.5, 2**31, 10**30, 1e308, float("nan"), float("-inf"), "", "x", "x" * 5000, "../..", "\0",
    "\ud800", [], {}, [[]], [None], {"x": []}, "9" * 400, "\x1b[31m",
]  # fmt: skip
NUMBERS = "nan inf -inf 1e309 -1 0 1e30 0x10 ١٢ 3,5 99999999999999999999 - .. 1_0".split()


def mutated(content: bytes, rng: np.random.Generator, lead: int = 256) -> bytes:
    """Bytes with one to three damages, every other one in the first `lead` bytes, where headers are."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        end = len(data) if rng.random() < 0.5 else min(lead, len(data))
        at, size = int(rng.integers(0, max(end, 1))), int(2 ** rng.uniform(0, 10))
        kind = rng.integers(0, 7)
        if kind == 0:
            for place in rng.integers(at, max(len(data), at + 1), 8):
                if place < len(data):
                    data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size]
        elif kind == 4:
            data[at:at] = rng.bytes(size)
        elif kind == 5:
            data[at : at + size] = bytes(size)
        else:
            extreme = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF)[rng.integers(0, 6)]
            data[at : at + 4] = extreme.to_bytes(4, ("little", "big")[rng.integers(0, 2)])
    return bytes(data)


def mutated_text(content: bytes, rng: np.random.Generator) -> bytes:
    """A text with numbers, lines or delimiters that are others."""
    text = content.decode("utf-8", "replace")
    for _ in range(rng.integers(1, 4)):
        lines = text.split("\n")
        at, kind = int(rng.integers(0, len(lines))), rng.integers(0, 7)
        if kind <= 2:
            places = [found.span() for found in re.finditer(r"-?\d+(?:\.\d+)?", text)] or [(0, 0)]
            start, end = places[rng.integers(0, min(len(places), 10**6 if kind else 12))]
            text = text[:start] + NUMBERS[rng.integers(0, len(NUMBERS))] + text[end:]
            continue
        if kind == 3:
            del lines[at]
        elif kind == 4:
            lines.insert(at, lines[rng.integers(0, len(lines))])
        elif kind == 5:
            lines[at] = lines[at][: len(lines[at]) // 2]
        else:
            lines[at] = lines[at].replace(",", (";", "\t", ",,", '"')[rng.integers(0, 4)])
        text = "\n".join(lines)
    return text.encode("utf-8", "replace")


def mutated_archive(content: bytes, rng: np.random.Generator) -> bytes:
    """A zip with a damaged member, whose sum is right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(held)[rng.integers(0, len(held))]
    held[name] = mutated_text(held[name], rng) if rng.random() < 0.3 else mutated(held[name], rng, 128)
    if rng.random() < 0.1:
        del held[name]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, each in held.items():
            archive.writestr(name, each)
    return file.getvalue()


def mutated_json(document: Any, rng: np.random.Generator) -> Any:
    """A document with one to three of its parts replaced or removed."""
    whole = [json.loads(json.dumps(document))]
    for _ in range(rng.integers(1, 4)):
        part: Any = whole
        while True:
            keys = list(part) if isinstance(part, dict) else range(len(part))
            key = keys[rng.integers(0, len(keys))]
            if not isinstance(part[key], dict | list) or not part[key] or rng.random() < 0.1:
                break
            part = part[key]
        if rng.random() < 0.2 and part is not whole:
            del part[key]
        else:
            part[key] = JUNK[rng.integers(0, len(JUNK))]
    return whole[0]


def mutated_glb(content: bytes, rng: np.random.Generator) -> bytes:
    """A GLB whose document is mutated, with lengths that are right again."""
    size = int.from_bytes(content[12:16], "little")
    text = json.dumps(mutated_json(json.loads(content[20 : 20 + size]), rng)).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    head = b"glTF" + (2).to_bytes(4, "little") + (20 + len(text) + len(rest)).to_bytes(4, "little")
    return head + len(text).to_bytes(4, "little") + b"JSON" + text + rest


def voice(seconds: float) -> np.ndarray:
    """A buzz that swells three times a second (samples,) float32, like speech to every check."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    return np.asarray(buzz * np.clip(np.sin(2 * np.pi * 3 * t + 0.3), 0, None) / 4, np.float32)


def encoded(container: str, codec: str, wave: np.ndarray | None, shown: Sequence[np.ndarray] = ()) -> bytes:
    """A wave as a sound file, or pictures as a video: ten small ones where none are given."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if wave is None:
            video: Any = output.add_stream(codec, rate=25)
            shown = shown or [np.full((64, 64, 3), 20 * number, np.uint8) for number in range(10)]
            video.height, video.width = shown[0].shape[:2]
            for picture in shown:
                output.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
            output.mux(video.encode(None))
            return file.getvalue()
        sound: Any = output.add_stream(codec, rate=48_000 if codec == "libopus" else RATE_HZ, layout="mono")
        context = sound.codec_context
        context.open()
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.rate, frame.pts = RATE_HZ, 0
        size = context.frame_size or 1024
        convert = av.AudioResampler(context.format, "mono", context.rate, frame_size=size)
        for piece in (*convert.resample(frame), *convert.resample(None)):
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return file.getvalue()


def picture_of(path: str) -> dict[str, Any]:
    """What a head's texture is read by, behind the wall."""
    from avi_lib.heads.placing import read_picture

    return {"picture": read_picture(Path(path), path)}


def fuzzed(rng: np.random.Generator) -> str:
    """A sentence of the grammar, of its words or of any characters, and mixtures of these."""
    from avi_lib.instruction.action_units import EMOTIONS
    from avi_lib.instruction.grammar import describe

    phrases = _phrases()
    parts: list[str] = []
    for _ in range(rng.integers(1, 5)):
        kind = rng.integers(0, 6)
        if kind == 0:
            parts.append(describe({}, list(EMOTIONS)[rng.integers(0, len(EMOTIONS))], 1, rng=rng))
        elif kind in (1, 2):
            words = [phrases[i] for i in rng.integers(0, len(phrases), rng.integers(1, 12))]
            parts.append((" ", ", ", " and ", ". ", " then ", "")[rng.integers(0, 6)].join(words))
        elif kind == 3:
            parts.append("".join(map(chr, rng.integers(0, 0x3000, rng.integers(1, 40)))))
        elif kind == 4:
            points = rng.integers(0, 0x110000, rng.integers(1, 20))
            parts.append("".join(map(chr, points)))
        else:
            odd = (
                "%s",
                "{0}",
                "100 %",
                "level 9",
                "9" * 50 + " %",
                "not " * 30,
                "(" * 40,
                "\n",
                "-",
                "½ %",
                "²%",
                "١٢ %",
            )
            parts.append(odd[rng.integers(0, len(odd))])
    return " ".join(parts)


@cache
def _phrases() -> list[str]:
    from avi_lib.instruction.parser import lexicon_entries

    return [phrase for phrase, _ in lexicon_entries()]
