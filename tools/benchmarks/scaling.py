"""Two workers of a Ray cluster on this machine beside two processes, and beside ones that are killed; a large index.

Prepares clips of a corpus (of real ones where they are there) and makes takes, in turns; the results must be equal.
The index is simulated: its partitions have as many rows, of the same sizes, as those of so many clips would have, and
each is a copy of one. A process of its own opens it, takes the training items of it, draws batches of an epoch and
reads their entries; another one goes on in the middle of the epoch, as after a kill.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from avi_lib.batch import talk_all
from avi_lib.corpus.dataset import ClipEntry, Corpus, Mixture, Part, save_part
from avi_lib.corpus.prepare import MOST_JOBS, prepare
from avi_lib.corpus.scripts import Script
from avi_lib.files import content_sha256
from avi_lib.settings import PrepareSettings, RenderSettings, TalkSettings, profile
from avi_lib.training.loop import batch_at
from avi_lib.workers import result_of, worker_pool
from tools.benchmarks.measuring import ROOT, Figure, Options, left_out, own_peak_mb, spread

PLACES = ("local:2", "ray://local:2")
TAKES_OF, TURNS = 5, 3
LEAST_APART_S = 12.0  # kills: a new worker loads for some seconds, and what is killed five times is given up
"""Recordings for one take, and turns."""
BATCHES = 200


def measure(options: Options) -> Iterator[Figure]:
    """A large index; time of workers; what becomes of killed ones."""
    yield from _index(options.index, options.work / "index")
    if find_spec("ray") is None:
        left_out("scaling", "Ray is not installed: pip install 'avi-lib[ray]'")
        return
    ravdess = options.real / "ravdess"
    adapter, source = ("ravdess", ravdess) if ravdess.is_dir() else ("samples", ROOT / "data" / "samples" / "corpus")
    settings, takes = PrepareSettings(limit=options.recordings), max(options.recordings // TAKES_OF, 1)

    def prepared(place: str) -> str:
        target = options.work / "scaling"
        shutil.rmtree(target, ignore_errors=True)
        prepare(adapter, source, target, settings, workers=place)
        return _digest(target)

    recordings = sorted((ROOT / "data" / "samples").glob("*.flac"))
    talking = TalkSettings(seed=1, render=RenderSettings(size=256))

    def taken(place: str) -> str:
        target = options.work / "takes"
        shutil.rmtree(target, ignore_errors=True)
        many = {"instruction": "She is sad.", "samples": -(-takes // len(recordings)), "workers": place}
        for outcome in talk_all(recordings, talking, {"video": target}, **many):  # type: ignore[arg-type]
            assert outcome.error is None, outcome.error
        return _digest(target)

    started = {place: statistics.median(_start_s(place) for _ in range(TURNS)) for place in PLACES}
    calm, took_s = yield from _beside(prepared, f"preparing {options.recordings} recordings of {adapter}", started)
    yield from _beside(taken, f"rendering {takes} takes and more at 256 x 256", started)
    kills = max(options.kills // 2, 1)
    with _killing(kills, max((took_s - started[PLACES[1]]) / kills, LEAST_APART_S)) as killed:
        times, same = 0, True
        while same and len(killed) < kills and times < kills:
            times, same = times + 1, prepared(PLACES[1]) == calm
    how = f"{adapter} prepared {times} times; a worker killed at random {len(killed)} times of {kills}"
    yield Figure("the same digests with killed workers", float(same and len(killed) > 0), "", "1", how)


def _start_s(place: str) -> float:
    """Seconds until a worker has done nothing."""
    begun = time.monotonic()
    with worker_pool(place) as pool:
        result_of(pool.submit(os.getpid))
        return time.monotonic() - begun


def _beside(
    work: Callable[[str], str], what: str, started: dict[str, float]
) -> Generator[Figure, None, tuple[str, float]]:
    """The ratio of speeds in steady work, without the start of workers; the digest of the results, seconds of Ray."""
    spent: dict[str, list[float]] = {place: [] for place in PLACES}
    digests = set()
    for _ in range(TURNS):
        for place in PLACES:
            begun = time.monotonic()
            digests.add(work(place))
            spent[place].append(time.monotonic() - begun)
    steady = [[each - started[place] for each in spent[place]] for place in PLACES]
    ratios = [processes / ray for processes, ray in zip(*steady, strict=True)]
    times = ", ".join(f"{p} {statistics.median(each):.0f} s, {started[p]:.1f} s to start" for p, each in spent.items())
    with_start = statistics.median(processes / ray for processes, ray in zip(*spent.values(), strict=True))
    how = f"{times}; with the start {with_start:.2f}; ratio {spread(ratios, 2)}; {len(digests)} digest"
    yield Figure(f"speed of two Ray workers to two processes, {what}", statistics.median(ratios), "x", ">= 0.95", how)
    assert len(digests) == 1, "other results"
    return digests.pop(), statistics.median(spent[PLACES[1]])


def _index(clips: int, folder: Path) -> Iterator[Figure]:
    """Write an index of so many clips and use it."""
    parts = min(MOST_JOBS, max(clips // 16, 1))
    rows = clips // parts
    (folder / "index").mkdir(parents=True)
    described = {"adapter": "table", "source": "x", "settings": {}, "space": "ARKIT", "fps": 25.0, "format": 3}
    (folder / "corpus.json").write_text(json.dumps(described | {"features": {"dim": 384}}), "utf-8")
    save_part(folder, "train", "0", _simulated(rows))
    (first,) = (folder / "index").iterdir()
    for number in range(parts):
        key = content_sha256(number)[:32]
        shutil.copyfile(first, folder / "index" / f"train-{key}-{rows:05d}.parquet")
    first.unlink()
    size_gb = parts * (folder / "index" / f"train-{content_sha256(0)[:32]}-{rows:05d}.parquet").stat().st_size / 1e9
    whole, middle = (_used(folder, share) for share in (0.0, 0.5))
    how = f"{parts} partitions, {size_gb:.2f} GB; lists them and reads none"
    yield Figure(f"open an index of {parts * rows:,} clips", whole["open_s"], "s", "-", how)
    how = f"six columns of all clips; {whole['items']:,} items; memory up by {whole['mixed_mb']:.0f} MB"
    yield Figure("take its training items", whole["mix_s"], "s", "-", how)
    how = f"of 32 items, entries read; {BATCHES} batches; memory up by {whole['peak_mb']:.0f} MB"
    yield Figure("draw a batch of it", 1000 * whole["batch_s"], "ms", "-", how)
    how = f"a new process: open, take, draw one batch; memory up by {middle['first_mb']:.0f} MB"
    seconds = middle["open_s"] + middle["mix_s"] + middle["first_s"]
    yield Figure("go on in the middle of an epoch", seconds, "s", "-", how)
    shutil.rmtree(folder)


def _simulated(rows: int) -> Part:
    """Clips of four seconds with four scripts each, as of one partition."""
    clips, scripts = [], []
    sentence = "A person feels quite angry and speaks with brow strongly lowered, lids raised and lips pressed"
    for number in range(rows):
        clip = f"speaker{number % 97:05d}/recording{content_sha256(number)[:12]}"
        own = tuple(f"{clip}/{each}" for each in range(4))
        asked = ("mix", "angry", 2, ("brow_down", "lid_raise"), (0.5, 0.7), number, (sentence,) * 4)
        scripts += [Script(name, clip, "train", *asked) for name in own]
        names = (*own, *(f"{name}x" for name in own * 3))
        where = {"split": "train", "emotion": "angry", "level": 2, "text": sentence, "language": "en"}
        made = {"motion": "performed", "phones_from": "text", "shard": f"0-{number % 17:03d}"}
        clips.append(
            ClipEntry(
                clip, clip, f"{clip}.flac", 0.0, 4.0, clip[:12], None, **where, **made, scripts=names, own=4,
                repairs=(), warnings=(), frames=100, features=200,
            )
        )  # fmt: skip
    return Part(tuple(clips), tuple(scripts))


def _used(folder: Path, share: float) -> dict[str, float]:
    """What a process of its own says that uses an index from a share of an epoch on."""
    command = [sys.executable, "-m", "tools.benchmarks.scaling", str(folder), str(share)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def use(folder: Path, share: float) -> dict[str, float]:
    """Seconds and megabytes (beyond the libraries') of opening, taking the items, a first batch and some more."""
    clock, before_mb = [time.perf_counter()], own_peak_mb()

    def passed() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    corpus = Corpus(folder)
    found = {"open_s": passed(), "clips": len(corpus)}
    settings = profile("full").talking
    mixture = Mixture.of([corpus], "train", settings.frames)
    items, batch = len(mixture.items), 32
    found |= {"mix_s": passed(), "mixed_mb": own_peak_mb() - before_mb, "items": items}
    first = int(items * share) // batch
    for step in range(first, first + BATCHES + 1):
        entries = [mixture.items[number] for number in batch_at(step, items, batch, seed=0).tolist()]
        assert len(entries) == batch
        if step == first:
            found |= {"first_s": passed(), "first_mb": own_peak_mb() - before_mb}
    return found | {"batch_s": passed() / BATCHES, "peak_mb": own_peak_mb() - before_mb}


def _digest(folder: Path) -> str:
    """SHA-256 over names and contents; of reports that hold times none."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".npz", ".safetensors", ".parquet", ".shard"):
            digest.update(f"{path.relative_to(folder)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _killing(times: int, every_s: float) -> Iterator[list[int]]:
    """Meanwhile kill a worker of Ray about every so many seconds."""
    killed: list[int] = []
    ended, rng = threading.Event(), random.Random(0)

    def kill() -> None:
        pause_s = 0.2
        while len(killed) < times and not ended.wait(pause_s):
            at_work, pause_s = [], 0.2
            for entry in Path("/proc").iterdir():
                with suppress(OSError, ValueError):
                    if (entry / "cmdline").read_bytes().startswith(b"ray::_call"):
                        at_work.append(int(entry.name))
            if at_work:
                os.kill(rng.choice(sorted(at_work)), signal.SIGKILL)
                killed.append(len(at_work))
                pause_s = rng.uniform(0.5, 1.5) * every_s

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    print(json.dumps(use(Path(sys.argv[1]), float(sys.argv[2]))))
