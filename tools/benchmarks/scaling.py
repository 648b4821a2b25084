"""Two workers of a Ray cluster on this machine beside two processes, and beside ones that are killed.

Prepares clips of a corpus (of real ones where they are there) and makes takes, in turns; the results must be equal.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from avi_lib.batch import talk_all
from avi_lib.corpus.prepare import prepare
from avi_lib.settings import PrepareSettings, TalkSettings
from tools.benchmarks.measuring import ROOT, Figure, Options, left_out, spread

PLACES = ("local:2", "ray://local:2")
CLIPS, TAKES, KILLS, TURNS = 200, 40, 10, 3


def measure(options: Options) -> Iterator[Figure]:
    """Time of both, then what becomes of killed workers."""
    if find_spec("ray") is None:
        left_out("scaling", "Ray is not installed: pip install 'avi-lib[ray]'")
        return
    ravdess = options.real / "ravdess"
    adapter, source = ("ravdess", ravdess) if ravdess.is_dir() else ("samples", ROOT / "data" / "samples" / "corpus")
    settings = PrepareSettings(limit=CLIPS)

    def prepared(place: str) -> str:
        target = options.work / "scaling"
        shutil.rmtree(target, ignore_errors=True)
        prepare(adapter, source, target, settings, workers=place)
        return _digest(target)

    recordings = sorted((ROOT / "data" / "samples").glob("*.flac"))
    talking = TalkSettings(seed=1)

    def taken(place: str) -> str:
        target = options.work / "takes"
        shutil.rmtree(target, ignore_errors=True)
        many = {"instruction": "She is sad.", "samples": -(-TAKES // len(recordings)), "workers": place}
        for outcome in talk_all(recordings, talking, {"motion": target}, **many):  # type: ignore[arg-type]
            assert outcome.error is None, outcome.error
        return _digest(target)

    yield from _beside(prepared, f"preparing {CLIPS} recordings of {adapter}")
    yield from _beside(taken, f"{TAKES} takes")
    calm = prepared(PLACES[0])
    with _killing(options.kills // 2 or KILLS) as killed:
        same = prepared(PLACES[1]) == calm
    how = f"{adapter}; a worker killed at random {len(killed)} times"
    yield Figure("the same digests with killed workers", float(same), "", "1", how)


def _beside(work: Callable[[str], str], what: str) -> Iterator[Figure]:
    spent: dict[str, list[float]] = {place: [] for place in PLACES}
    digests = set()
    for _ in range(TURNS):
        for place in PLACES:
            begun = time.monotonic()
            digests.add(work(place))
            spent[place].append(time.monotonic() - begun)
    ratios = [processes / ray for processes, ray in zip(*spent.values(), strict=True)]
    times = ", ".join(f"{place} {statistics.median(each):.0f} s" for place, each in spent.items())
    how = f"start of the cluster included; {times}; ratio {spread(ratios)}; {len(digests)} digest"
    yield Figure(f"speed of two Ray workers to two processes, {what}", statistics.median(ratios), "x", ">= 0.95", how)


def _digest(folder: Path) -> str:
    """SHA-256 over names and contents; of reports that hold times none."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".npz", ".safetensors", ".parquet", ".shard"):
            digest.update(f"{path.relative_to(folder)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _killing(times: int) -> Iterator[list[int]]:
    """Meanwhile kill a worker of Ray now and then."""
    killed: list[int] = []
    ended, rng = threading.Event(), random.Random(0)

    def kill() -> None:
        while len(killed) < times and not ended.wait(rng.uniform(1.0, 4.0)):
            at_work = []
            for entry in Path("/proc").iterdir():
                with suppress(OSError, ValueError):
                    if (entry / "cmdline").read_bytes().startswith(b"ray::_call"):
                        at_work.append(int(entry.name))
            if at_work:
                os.kill(rng.choice(sorted(at_work)), signal.SIGKILL)
                killed.append(len(at_work))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()
