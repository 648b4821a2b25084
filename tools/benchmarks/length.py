"""How time and memory of `avi talk` grow with the length of a recording: speech to motion, without pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import soundfile

from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from tools.benchmarks.measuring import SAMPLES, Figure, Options, child
from tools.benchmarks.talk import INSTRUCTION


def measure(options: Options) -> Iterator[Figure]:
    """Time and memory of every length that is asked for, and what each minute more takes of both."""
    wave = np.concatenate([load_voice(path).wave for path in sorted(SAMPLES.glob("*.flac"))])
    spent: list[tuple[float, float, float]] = []
    for minutes in sorted(options.minutes):
        recording = options.work / f"{minutes:g}.wav"
        soundfile.write(recording, np.resize(wave, round(60 * minutes * RATE_HZ)), RATE_HZ)
        command = [sys.executable, "-m", "avi_lib", "talk", str(recording), "--instruction", INSTRUCTION, "--no-video"]
        wall_s, cpu_s, peak_mb = child([*command, "--motion", str(recording.with_suffix(".npz"))])
        spent.append((minutes, cpu_s, peak_mb))
        how = f"{wall_s:.0f} s wall, {peak_mb:.0f} MB"
        yield Figure(f"{minutes:g} minutes of speech to motion", cpu_s, "CPU s", "-", how)
    slopes = [
        ((second[1] - first[1]) / (second[0] - first[0]), (second[2] - first[2]) / (second[0] - first[0]))
        for first, second in pairwise(spent)
    ]
    if len(slopes) > 1:
        how = f"{slopes[0][0]:.1f} CPU s a minute between the first two lengths, {slopes[-1][0]:.1f} at the end"
        yield Figure(
            "time of a further minute, the last over the first", slopes[-1][0] / slopes[0][0], "x", "<= 1.2", how
        )
    if slopes:
        how = "wave, features and motion are held whole"
        yield Figure("memory that each minute more takes", max(each for _, each in slopes), "MB", "<= 20", how)
