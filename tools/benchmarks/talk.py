"""What a person waits for: the import, and `avi talk` on ten seconds of real speech from a cold process."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from tools.benchmarks.measuring import SAMPLES, Figure, Options, child, spread

INSTRUCTION = "A person feels quite angry and speaks with brow strongly down."


def measure(options: Options) -> Iterator[Figure]:
    """Time and memory of the import and of a video, its sentence given and written."""
    spent = [child([sys.executable, "-c", "import avi_lib"])[1] for _ in range(7)]
    how = "fresh interpreter included, median of 7"
    yield Figure("import avi_lib", statistics.median(spent), "CPU s", "<= 0.3", how)
    recording, video = ten_seconds(options.work), options.work / "talk.mp4"
    command = [sys.executable, "-m", "avi_lib", "talk", str(recording), "-o", str(video)]
    for said, more, must in (("given", ["--instruction", INSTRUCTION], "<= 10"), ("written", [], "-")):
        wall_s, cpu_s, peaks_mb = zip(*(child([*command, *more]) for _ in range(5)), strict=True)
        how = f"{spread(wall_s)}; {statistics.median(cpu_s):.1f} CPU s"
        yield Figure(f"10 s of speech to mp4, the sentence {said}", statistics.median(wall_s), "s wall", must, how)
        yield Figure("peak memory of that", max(peaks_mb), "MB", "<= 2048", "largest process, most of 5")


def ten_seconds(folder: Path) -> Path:
    """A recording of ten seconds of real speech in a folder."""
    wave = np.concatenate([load_voice(SAMPLES / name).wave for name in ("arctic.flac", "librivox.flac")])
    soundfile.write(path := folder / "ten_seconds.wav", np.resize(wave, 10 * RATE_HZ), RATE_HZ)
    return path
