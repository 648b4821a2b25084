"""Tiny raw corpora made up for tests, and an encoder that costs nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from avi_lib.speech.encoders import WindowedEncoder

RATE_HZ = 16_000
WORDS = (("MAMA", ("M", "AA", "M", "AA")), ("BEE", ("B", "IY")), ("FIVE", ("F", "AY", "V")))


class StillEncoder(WindowedEncoder):
    """Stands in for a speech encoder: the level of every 20 ms, and a one."""

    name, dim, layers, fingerprint, reason = "still", 2, 1, "0" * 64, "made up for a test"
    window, overlap = 1500, 50

    def _prepare(self, wave, frames):
        return np.square(np.pad(wave, (0, frames * 320 - len(wave)))).reshape(1, frames, 320).mean(axis=2)

    def _encode_window(self, prepared, start, stop, every_layer):
        level = np.sqrt(prepared[0, start:stop])
        return np.stack([level, np.ones_like(level)], axis=1)[None]


def voice(duration_s: float, f0_hz: float = 120.0, gaps_s: Sequence[float] = ()) -> Float32[np.ndarray, " samples"]:
    """A voiced sound that swells like syllables, silent for 0.3 s around each of `gaps_s` and at both ends."""
    times_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * k * f0_hz * times_s) / k for k in range(1, 12))
    loud = 0.1 * (1.2 + np.sin(2 * np.pi * 3.1 * times_s))
    for gap_s in (0.0, *gaps_s, duration_s):
        loud[np.abs(times_s - gap_s) < 0.15] = 0.0
    return (tone * loud).astype(np.float32)


def phone_rows(duration_s: float) -> list[list[object]]:
    """Phones of made-up words, each 0.1 s, between silences of 0.2 s."""
    rows: list[list[object]] = [["<sil>", "SIL", 0.0, 0.2]]
    at_s, spoken = 0.2, 0
    while True:
        word, phones = WORDS[spoken % len(WORDS)]
        if at_s + 0.1 * len(phones) > duration_s - 0.2:
            return [*rows, ["<sil>", "SIL", at_s, duration_s]]
        for phone in phones:
            rows.append([word, phone, round(at_s, 3), round(at_s + 0.1, 3)])
            at_s += 0.1
        spoken += 1


def write_table_corpus(
    folder: Path, rows: Sequence[Mapping[str, object]], duration_s: float = 1.2, phones: bool = True
) -> Path:
    """A corpus for the adapter `table`: one made-up recording a row, whose voice is as high as its number."""
    (folder / "flac").mkdir(parents=True)
    times = {}
    for number, row in enumerate(rows):
        length_s = float(str(row.get("duration_s", duration_s + 0.04 * number)))
        path = folder / "flac" / f"{row['clip']}.flac"
        soundfile.write(path, voice(length_s, 100.0 + 7 * number), RATE_HZ, subtype="PCM_16")
        times[str(row["clip"])] = phone_rows(length_s)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    if phones:
        (folder / "phones.json").write_text(json.dumps(times), "utf-8")
    return folder


def talkers(speakers: int, clips: int) -> list[dict[str, object]]:
    """Rows of an index: every speaker says `clips` sentences in changing emotions."""
    emotions = (("angry", 3), ("happy", 2), ("neutral", 1), ("sad", 1))
    return [
        {
            "clip": f"s{s}-{c}",
            "speaker": f"s{s}",
            "emotion": emotions[(s + c) % 4][0],
            "level": emotions[(s + c) % 4][1],
        }
        for s in range(speakers)
        for c in range(clips)
    ]
