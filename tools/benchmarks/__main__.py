"""Measures every figure of README and docs on this machine and writes docs/results.md.

    python -m tools.benchmarks [--only SECTION ...] [--real FOLDER] [--corpus PREPARED ...]

FOLDER holds the real recordings (default: $AVI_REAL_DATA, else ../shared/data beside the project). What cannot be
measured is left out with its reason. Peers take turns with ours in the same run; times are medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from avi_lib.errors import AviError
from avi_lib.files import atomic_path
from tools.benchmarks.measuring import ROOT, Figure, Options, left_out
from tools.benchmarks.results import HEADER, row, with_section

SECTIONS = (
    "talk",
    "length",
    "rendering",
    "cast",
    "portrait",
    "renderer",
    "phones",
    "tracks",
    "dynamics",
    "amplitudes",
    "units",
    "corpora",
    "generator",
    "flow",
    "asked",
    "rendered",
    "live",
    "prior",
    "peer_prior",
    "instructor",
    "reader",
    "cross_corpus",
    "runs",
    "depth",
    "scaling",
    "siege",
)
RESULTS = ROOT / "docs" / "results.md"


def machine() -> str:
    """What the figures are measured on, in words."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text("utf-8").splitlines() if cpu.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(named, platform.processor() or platform.machine())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    threads = f"{os.environ.get('OMP_NUM_THREADS', 'default')} threads"
    return f"{os.cpu_count()} cores ({processor}), {threads}, Python {platform.python_version()}, {packages}"


def arguments() -> argparse.ArgumentParser:
    """The one parser of all benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    default = Path(os.environ.get("AVI_REAL_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--real", type=Path, default=default, metavar="FOLDER", help="holds grid10/, ravdess/, facegood/"
    )
    labelled = ROOT / "data" / "samples" / "corpus"
    parser.add_argument("--labelled", type=Path, default=labelled, metavar="FOLDER", help="recordings, phones.json")
    parser.add_argument("--clips", type=int, default=96, metavar="N", help="of the labelled ones, spread evenly")
    parser.add_argument("--corpus", type=Path, nargs="+", default=[], metavar="PREPARED", help="not the sample corpus")
    parser.add_argument("--held-out", nargs="*", default=[], metavar="NAME", help="recordings of a rig not trained on")
    parser.add_argument("--talking", type=Path, metavar="WEIGHTS", help="a generator other than the shipped one")
    parser.add_argument("--prior", type=Path, metavar="WEIGHTS", help="a prior other than the shipped one")
    parser.add_argument("--renderer", type=Path, metavar="WEIGHTS", help="a portrait's neural renderer, of GRID's s1")
    parser.add_argument("--identity", type=Path, metavar="FOLDER", help="of a network that tells people apart")
    parser.add_argument("--text-encoder", metavar="NAME-or-PATH", help="of that prior, where it is a path")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "cache" / "features", help="acoustic features")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="demonstration clips for the instructor")
    lengths = {"type": float, "default": [1, 8, 64], "metavar": "N", "help": "lengths of recordings"}
    parser.add_argument("--minutes", nargs="+", **lengths)
    parser.add_argument("--live-minutes", type=float, default=1.0, metavar="N", help="of motion while it is spoken")
    parser.add_argument("--recordings", type=int, default=200, metavar="N", help="that workers prepare, five a take")
    parser.add_argument("--index", type=int, default=10_000_000, metavar="N", help="clips of a simulated index")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="runs that are killed")
    parser.add_argument("--siege", type=float, default=1.0, metavar="SHARE", help="of the counts of a whole siege")
    return parser


def measure(section: str, options: Options) -> Iterator[Figure]:
    """The figures of a section, each as soon as it is known."""
    found: Callable[[Options], Iterator[Figure]] = import_module(f"tools.benchmarks.{section}").measure
    yield from found(options)


def main(words: list[str] | None = None) -> int:
    """Measure what is asked for, print each figure, and write each section when it is done."""
    given = arguments().parse_args(words)
    on, status = machine(), 0
    print(f"{on}\n\n{HEADER}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = Options(**{name: value for name, value in vars(given).items() if name != "only"}, work=Path(folder))
        for section in given.only:
            figures = []
            try:
                for figure in measure(section, options):
                    figures.append(figure)
                    print(row(figure), flush=True)
            except AviError as error:
                left_out(f"the rest of {section}", str(error))
                status = error.exit_code
            if figures:
                before = RESULTS.read_text("utf-8") if RESULTS.is_file() else ""
                with atomic_path(RESULTS) as temporary:
                    temporary.write_text(with_section(before, section, figures, on), "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
