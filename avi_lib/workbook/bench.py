"""The figures of the README's table, measured on this machine.

    python -m avi_lib.workbook.bench [--only SECTION ...] [--real FOLDER] [--json OUT.json]

FOLDER holds the real recordings (default: $AVI_REAL_DATA, else ../shared/data beside the project); its lines are left
out, with the reason, where it is absent. What is compared with a peer takes turns with it in the same run. Times are
medians; the number of threads is the machine's where a line does not say otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from avi_lib.evaluation.figure import Figure, markdown
from avi_lib.files import atomic_path

ROOT = Path(__file__).resolve().parents[2]
CLIP_S = 10.0
REAL_SAMPLES = ("arctic.flac", "librivox.flac")
HELD_OUT = "1114_2_05"
"""The recording of facegood/ that the shipped weights were not trained on."""
PEER_STEPS, PEER_SCRIPTS = 1000, 12000
"""How long, and on how many scripts, both priors are trained for the comparison."""
INSTRUCTION = "A person feels quite angry and speaks with brow strongly down."


def measure_import() -> Iterator[Figure]:
    """CPU time of a fresh interpreter that imports the package."""
    spent = [_child([sys.executable, "-c", "import avi_lib"])[1] for _ in range(7)]
    yield Figure(
        "import avi_lib", statistics.median(spent), "CPU s", "<= 0.3", "fresh interpreter included, median of 7"
    )


def measure_talk() -> Iterator[Figure]:
    """Wall time and peak memory of `avi talk` on ten seconds of real speech, from a cold process."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "ten_seconds.wav"
        ten_seconds(recording)
        command = [sys.executable, "-m", "avi_lib", "talk", str(recording), "--instruction", INSTRUCTION]
        command += ["-o", str(Path(folder) / "talk.mp4")]
        wall_s, cpu_s, peak_kb = zip(*(_child(command) for _ in range(5)), strict=True)
    how = f"median of 5, {min(wall_s):.1f} to {max(wall_s):.1f}; {statistics.median(cpu_s):.1f} CPU s"
    yield Figure("10 s of speech to mp4", statistics.median(wall_s), "s wall", "<= 10", how)
    yield Figure("peak memory of that", max(peak_kb) / 1024, "MB", "<= 2048", "largest process, most of 5")


def measure_renderer() -> Iterator[Figure]:
    """Pictures a second over two seconds of a performance, at 512 x 512."""
    from avi_lib.face.head import load_head
    from avi_lib.face.renderer import Renderer
    from avi_lib.face.view import View
    from avi_lib.instruction.instruction import Instruction
    from avi_lib.pipeline import Talker

    head = load_head()
    with Talker() as talker:
        talk = talker.listen(ROOT / "data" / "samples" / REAL_SAMPLES[0], Instruction.parse(INSTRUCTION))
    vertices = list(head.deform(talk.motion.values[25:75]))
    with Renderer(head, View.square(512)) as renderer:
        spent = [_seconds(lambda: [renderer.draw(each) for each in vertices]) for _ in range(12)]
    fps = sorted(len(vertices) / seconds for seconds in spent[1:])
    how = f"median of {len(fps)} turns, {fps[0]:.0f} to {fps[-1]:.0f}"
    yield Figure("renderer at 512", statistics.median(fps), "fps", ">= 60", how)


def measure_lips(real: Path) -> Iterator[Figure]:
    """Lip closure and correlation with real talkers."""
    from avi_lib.evaluation.lips import evaluate

    if not (real / "grid10").is_dir():
        print(f"left out: lips: no folder {real / 'grid10'}", file=sys.stderr)
        return
    scores = {name: float(np.nanmean(values)) for name, values in evaluate(real / "grid10").items()}
    how = "GRID, mean over the clips with /m b p/"
    yield Figure("lip closure, recording alone", scores["d recording"], "SD", ">= 1.5", how)
    yield Figure("lip closure, text given", scores["d text"], "SD", ">= 1.8", how)
    yield Figure("lip closure, another recording", scores["d another"], "SD", "about 0", how)
    yield Figure("lip closure, real video", scores["d real"], "SD", "-", how)
    how = "GRID, mean over ten clips, zero lag, silence included"
    yield Figure("lip gap r, text given", scores["r text"], "", ">= 0.45", how)
    yield Figure("lip gap r, recording alone", scores["r recording"], "", "-", how)
    yield Figure("lip gap r, another recording", scores["r another"], "", "-", how)


def measure_corpora(real: Path) -> Iterator[Figure]:
    """Preparing RAVDESS and reading it back."""
    from avi_lib.evaluation.preparation import measure_preparation

    if not (real / "ravdess").is_dir():
        print(f"left out: preparation: no folder {real / 'ravdess'}", file=sys.stderr)
        return
    yield from measure_preparation(real / "ravdess")


def measure_generator() -> Iterator[Figure]:
    """The talking generator on one thread, beside an autoregressive decoder."""
    from avi_lib.evaluation.speed import measure_speed

    yield from measure_speed()


def measure_shipped_prior() -> Iterator[Figure]:
    """The shipped prior on held-out voices of the sample corpus, and beside DALLE2-pytorch's where it is installed."""
    from avi_lib.corpus.corpus import Corpus
    from avi_lib.corpus.prepare import prepare
    from avi_lib.evaluation.peer_prior import MISSING, find_peer, measure_peer
    from avi_lib.evaluation.prior import measure_prior
    from avi_lib.motion.director import load_director
    from avi_lib.motion.learned import load_generator
    from avi_lib.settings import profile

    director, generator = load_director(), load_generator()
    with tempfile.TemporaryDirectory() as folder:
        prepare("table", ROOT / "data" / "samples" / "corpus", Path(folder) / "samples", profile("full").prepare)
        corpora = [Corpus(Path(folder) / "samples")]
        yield from measure_prior(director, generator, corpora)
        if find_peer() is None:
            print(f"left out: {MISSING}", file=sys.stderr)
            return
        settings = profile("full").prior
        train = settings.train.model_copy(update={"steps": PEER_STEPS, "average": 0.99})
        few = settings.model_copy(update={"scripts": PEER_SCRIPTS, "train": train})
        yield from measure_peer(corpora, generator, director.encoder, few, Path(folder) / "peer")


def measure_shipped_talking(real: Path) -> Iterator[Figure]:
    """The shipped talking model on real videos, on held-out voices of the sample corpus and on a real rig."""
    from avi_lib.corpus.corpus import Corpus
    from avi_lib.corpus.prepare import prepare
    from avi_lib.evaluation.talking import measure_talking
    from avi_lib.motion.learned import SHIPPED
    from avi_lib.motion.talking_model import load_talking_model
    from avi_lib.settings import profile

    raw = {"samples": ("table", ROOT / "data" / "samples" / "corpus"), "facegood": ("rig", real / "facegood")}
    if not (real / "facegood").is_dir():
        print(f"left out: jaw of a real rig: no folder {real / 'facegood'}", file=sys.stderr)
        del raw["facegood"]
    held_out = [HELD_OUT] if "facegood" in raw else []
    with tempfile.TemporaryDirectory() as folder:
        for name, (adapter, source) in raw.items():
            prepare(adapter, source, Path(folder) / name, profile("full").prepare)
        corpora = [Corpus(Path(folder) / name) for name in raw]
        yield from measure_talking(load_talking_model(SHIPPED), real, corpora, held_out)


def measure_instructor() -> Iterator[Figure]:
    """How long a sentence takes to be written, loaded and from a cold process, and the memory of that."""
    from avi_lib.evaluation.hardening import time_it
    from avi_lib.instruction.instructor import load_instructor

    yield from time_it(load_instructor())


def measure_runs() -> Iterator[Figure]:
    """What a run costs beyond papermill alone, in turns with it."""
    from avi_lib.workbook.hardening import OVERHEAD_S, OVERHEAD_TURNS, measure_overhead

    with tempfile.TemporaryDirectory() as folder:
        yield measure_overhead(Path(folder), OVERHEAD_TURNS, OVERHEAD_S)


def ten_seconds(target: Path) -> None:
    """Write exactly ten seconds of the shipped real recordings, one after the other, as 16-bit WAV."""
    import soundfile

    from avi_lib.speech.audio import load_speech

    wave = np.concatenate([load_speech(ROOT / "data" / "samples" / name).wave for name in REAL_SAMPLES])
    soundfile.write(target, np.resize(wave, int(CLIP_S * 16000)), 16000)


def _child(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident KB of one child process; raises when it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, float(usage.ru_maxrss)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


Section = Callable[[Path], Iterable[Figure]]
"""Figures of one part of the workbook; given the folder of real recordings."""


def _sections() -> dict[str, Section]:
    from avi_lib.evaluation.peer_render import measure_peer_render
    from avi_lib.evaluation.rendering import measure_rendering

    return {
        "import": lambda real: measure_import(),
        "talk": lambda real: measure_talk(),
        "renderer": lambda real: measure_renderer(),
        "rendering": lambda real: measure_rendering(),
        "pyrender": lambda real: measure_peer_render(),
        "lips": measure_lips,
        "corpora": measure_corpora,
        "generator": lambda real: measure_generator(),
        "talking": measure_shipped_talking,
        "prior": lambda real: measure_shipped_prior(),
        "instructor": lambda real: measure_instructor(),
        "runs": lambda real: measure_runs(),
    }


def environment() -> dict[str, str]:
    """What the figures were measured on."""
    packages = {name: version(name) for name in ("torch", "numpy", "numba", "av", "transformers")}
    threads = os.environ.get("OMP_NUM_THREADS", "as torch chooses")
    machine = {"cores": str(os.cpu_count()), "processor": _processor(), "threads": threads}
    return {**machine, "system": platform.platform(), "python": platform.python_version(), **packages}


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text("utf-8").splitlines() if described.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def main() -> None:
    """Measure what is asked for and print it as Markdown; with --json also write it."""
    sections = _sections()
    parser = argparse.ArgumentParser(description="Measure the figures of the README's table.")
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections), metavar="SECTION")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="write the figures and the environment there")
    default = Path(os.environ.get("AVI_REAL_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--real", type=Path, default=default, metavar="FOLDER", help="folder that holds grid10/, ravdess/"
    )
    options = parser.parse_args()
    on = environment()
    print(", ".join(f"{name} {value}" for name, value in on.items()), end="\n\n")
    print(markdown([]), flush=True)
    figures = []
    for name in options.only:
        for figure in sections[name](options.real):
            figures.append(figure)
            print(markdown([figure]).splitlines()[-1], flush=True)
    if options.json:
        with atomic_path(options.json) as temporary:
            told = {"environment": on, "figures": [asdict(figure) for figure in figures]}
            temporary.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
