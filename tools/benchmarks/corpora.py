"""Preparing a corpus in the layout of RAVDESS, again when nothing is left to do, and reading batches of it.

Memory is the sum over `avi prepare` and its child processes of their proportional share (PSS), sampled; Linux only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from avi_lib.corpus.dataset import Corpus
from tools.benchmarks.measuring import Figure, Options, there

BATCH = 32
BATCHES = 200
SAMPLE_EVERY_S = 0.25


def measure(options: Options) -> Iterator[Figure]:
    """Time and memory of preparing RAVDESS, time of doing it again, and time of reading a batch."""
    source, target = options.real / "ravdess", options.work / "ravdess"
    if not there(source, "preparing"):
        return
    command = [sys.executable, "-m", "avi_lib", "prepare", "ravdess", str(source), str(target)]
    first_s, peak_mb = watched(command)
    again_s, _ = watched(command)
    corpus = Corpus(target)
    spent_ms = batch_times_ms(corpus, BATCHES)
    minutes = sum(clip.duration_s for clip in corpus.clips) / 60
    gigabytes = sum(path.stat().st_size for path in target.rglob("*.safetensors")) / 1e9
    how = f"{len(corpus)} clips, {minutes:.1f} minutes, {os.cpu_count()} workers; {gigabytes:.2f} GB on disk"
    yield Figure("prepare RAVDESS", first_s, "s wall", "<= 180", how)
    yield Figure("peak memory of that", peak_mb, "MB", "<= 1536", "the command and all its processes, PSS")
    yield Figure("the same again", again_s, "s wall", "-", "nothing is left to do")
    how = f"whole clips of random speakers, median of {len(spent_ms)}, 90 % below {np.quantile(spent_ms, 0.9):.1f} ms"
    yield Figure(f"load a batch of {BATCH}", statistics.median(spent_ms), "ms", "<= 5", how)


def batch_times_ms(corpus: Corpus, batches: int) -> list[float]:
    """Milliseconds that each of so many random batches of whole clips takes, after a few to warm up."""
    rng = np.random.default_rng(0)
    spent_ms = []
    for number in range(batches + 20):
        clips = [corpus.clips[i] for i in rng.choice(len(corpus), BATCH)]
        scripts = [int(rng.integers(len(clip.scripts))) for clip in clips]
        begun = time.perf_counter()
        for clip, script in zip(clips, scripts, strict=True):
            corpus.features(clip), corpus.motion(clip, script), corpus.idle(clip, script), corpus.present(clip)
        if number >= 20:
            spent_ms.append(1000 * (time.perf_counter() - begun))
    return spent_ms


def watched(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a command and all its processes; raises when it fails."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, sum(map(_share_kb, _family(process.pid))))
            time.sleep(SAMPLE_EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, peak_kb / 1024


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(member for child in children for member in _family(child))]


def _share_kb(pid: int) -> int:
    """Memory of a process with its share of what is common, 0 when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
