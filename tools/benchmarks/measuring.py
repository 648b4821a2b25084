"""What benchmarks share: figures, times, their options, child processes that are watched, corpora to measure on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avi_lib.corpus.dataset import Corpus

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data" / "samples"
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Figure:
    """One measured number beside what it must reach."""

    name: str
    value: float
    unit: str
    must: str
    how: str


@dataclass(frozen=True)
class Options:
    """What is asked for on the command line; `work` is an empty folder that goes away in the end."""

    real: Path
    labelled: Path
    clips: int
    corpus: Sequence[Path]
    held_out: Sequence[str]
    talking: Path | None
    prior: Path | None
    renderer: Path | None
    identity: Path | None
    text_encoder: str | None
    cache: Path
    demo: Path | None
    minutes: Sequence[float]
    kills: int
    recordings: int
    index: int
    siege: float
    live_minutes: float
    work: Path


def left_out(what: str, why: str) -> None:
    """Say on standard error what is not measured and why."""
    print(f"left out: {what}: {why}", file=sys.stderr, flush=True)


def there(folder: Path, what: str) -> bool:
    """Whether a folder of real recordings is there; says so where it is not."""
    if not folder.is_dir():
        left_out(what, f"no folder {folder}")
    return folder.is_dir()


def corpora(options: Options) -> list[Corpus]:
    """The prepared corpora asked for, else the sample corpus, prepared once a run."""
    from avi_lib.corpus.prepare import prepare
    from avi_lib.settings import profile

    if options.corpus:
        return [Corpus(folder) for folder in options.corpus]
    target = options.work / "samples"
    if not target.is_dir():
        prepare("table", SAMPLES / "corpus", target, profile("full").prepare)
    return [Corpus(target)]


def child(command: Sequence[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident MB of one child process; raises when it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def own_peak_mb() -> float:
    """Peak memory of this process, from /proc: getrusage gives at least that of the process that started it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def in_turns_ms(
    work: Mapping[Kind, Callable[[], object]], turns: int, clock: Callable[[], float] = time.process_time
) -> dict[Kind, list[float]]:
    """Milliseconds of each piece of work in each turn, one piece after the other; a first turn warms up.

    clock: seconds, those of the processor unless another is given.
    """
    spent: dict[Kind, list[float]] = {kind: [] for kind in work}
    for turn in range(turns + 1):
        for kind, task in work.items():
            begun = clock()
            task()
            if turn:
                spent[kind].append(1000 * (clock() - begun))
    return spent


def spread(values: Sequence[float], digits: int = 1) -> str:
    """How many values a median is of, and between which they lie."""
    return f"median of {len(values)}, {min(values):.{digits}f} to {max(values):.{digits}f}"
