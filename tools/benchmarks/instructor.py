"""How fast the shipped instructor is, and what it writes of the samples and of sounds that are no speech."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avi_lib.instruction.instructor import Instructor, load_instructor
from avi_lib.speech.augment import SOUNDS, draw_sound
from avi_lib.speech.encoders import RATE_HZ
from avi_lib.speech.loading import load_voice
from tools.benchmarks.measuring import ROOT, SAMPLES, Figure, Options

Wave = Float32[np.ndarray, " samples"]
SOUNDS_EACH = 10


def measure(options: Options) -> Iterator[Figure]:
    """Times, what is no speech, and demonstration clips where there are any."""
    shipped = load_instructor()
    yield from time_it(shipped)
    yield from judge_samples(shipped)
    yield from judge_sounds(shipped)
    if options.demo:
        yield from judge_demo(shipped, options.demo)


def judge_samples(instructor: Instructor) -> Iterator[Figure]:
    """How many of the shipped samples are written with the emotion that they were made with; calm is as neutral."""
    with (SAMPLES / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = {row["name"]: instructor.instruct(load_voice(SAMPLES / row["file"])).instruction.emotion for row in rows}
    alike = {name: "neutral" if emotion == "calm" else emotion for name, emotion in said.items()}
    right = sum(alike[row["name"]] == row["emotion"] for row in rows)
    words = ", ".join(f"{name} {emotion}" for name, emotion in said.items())
    yield Figure("samples written as they are meant", float(right), "", f">= {len(rows)}", f"of {len(rows)}: {words}")


def judge_sounds(instructor: Instructor) -> Iterator[Figure]:
    """Share of sounds that are no speech whose sentence is neutral and has a warning."""
    rng = np.random.default_rng(99)
    for kind in ("silence", *SOUNDS):
        right = []
        for _ in range(SOUNDS_EACH):
            seconds = float(rng.uniform(1.5, 6))
            wave = (
                np.zeros(round(seconds * RATE_HZ), np.float32) if kind == "silence" else draw_sound(seconds, rng, kind)
            )
            written = instructor.instruct(wave)
            right.append(written.instruction.emotion == "neutral" and bool(written.warnings))
        yield Figure(f"{kind}: neutral with a warning", float(np.mean(right)), "", "1", f"{SOUNDS_EACH} of 1.5 to 6 s")


def judge_demo(instructor: Instructor, folder: Path) -> Iterator[Figure]:
    """What is written of demonstration clips, whose names tell what they are."""
    wanted = {"anger": "angry", "neutral": "neutral", "joy": "happy"}
    for path in sorted(folder.glob("*.flac")):
        meant = next((emotion for word, emotion in wanted.items() if word in path.stem), None)
        written = instructor.instruct(load_voice(path).wave)
        likely = sorted(written.probabilities.items(), key=lambda pair: -pair[1])[:3]
        said = ", ".join(f"{name} {share:.2f}" for name, share in likely)
        right = float(written.instruction.emotion == meant)
        yield Figure(f"{path.stem}: read as {meant}", right, "", "1", f"{written.instruction.text} ({said})")


def time_it(instructor: Instructor, turns: int = 7) -> Iterator[Figure]:
    """Seconds for a clip of 5 s once loaded, seconds and memory of a process that does nothing else."""
    wave = load_voice(SAMPLES / "librivox.flac").wave[: 5 * RATE_HZ]
    took = []
    for _ in range(turns):
        begun = time.perf_counter()
        instructor.instruct(wave)
        took.append(time.perf_counter() - begun)
    yield Figure(
        "5 s to its sentence, loaded", float(np.median(took)), "s", "<= 1.2", f"{min(took):.2f} to {max(took):.2f}"
    )
    code = (
        "import pathlib, sys, time; begun = time.perf_counter()\n"
        "from avi_lib.cli import main\n"
        "main(['instruct', 'data/samples/angry.flac', '--json'])\n"
        "took = time.perf_counter() - begun\n"
        "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"  # getrusage knows the parent's peak
        "peak = next(line.split()[1] for line in lines if line.startswith('VmHWM'))\n"
        "print(took, int(peak) / 1e6, file=sys.stderr)"
    )
    cold, memory = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, used = map(float, done.stderr.split()[-2:])
        cold.append(seconds)
        memory.append(used)
    yield Figure("`avi instruct`, a process of its own", float(np.median(cold)), "s", "<= 5", "models in the cache")
    yield Figure("its memory", float(max(memory)), "GB", "<= 2", "largest resident set")
