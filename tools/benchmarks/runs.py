"""How well runs stand being killed, and what they cost beside papermill alone.

Notebooks of a few cells are run and killed at random instants, the kernel or the run itself, and gone on with.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

import avi_lib
from avi_lib.workbook.run import MANIFEST, describe, read_manifest, repeating, resume_run, run_notebooks
from tools.benchmarks.measuring import Figure, Options

_DECLARED = 'SEED = 0\nOUT = "out"'
_WORK = """import hashlib, time
from pathlib import Path
value = hashlib.sha256(str(SEED).encode()).digest()
until = time.perf_counter() + {seconds}
while time.perf_counter() < until:
    hashlib.sha256(value * 1000).digest()
Path(OUT, "part{part}.bin").write_bytes(value)
print(f"{{time.perf_counter():.3f}} s", value.hex())"""

FAILED_WITHIN_S = 5.0
OVERHEAD_TURNS, OVERHEAD_S = 7, 4.0
"""How often a run and bare papermill take turns, and how long the notebook's cells take."""


def measure(options: Options) -> Iterator[Figure]:
    """Overhead over papermill, then kills."""
    yield measure_overhead(options.work, OVERHEAD_TURNS, OVERHEAD_S)
    yield measure_kills(options.work, options.kills, seed=0)


def write_workbook(root: Path, notebooks: int, cells: int, seconds: float) -> Path:
    """A project whose notebooks compute for so many seconds a cell, and leave a file each."""
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    declared = nbformat.v4.new_code_cell(_DECLARED, metadata={"tags": ["parameters"]})
    code = [nbformat.v4.new_code_cell(_WORK.format(seconds=seconds, part=part)) for part in range(cells)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    made = nbformat.v4.new_notebook(cells=[declared, *code], metadata=kernel)
    for number, cell in enumerate(made.cells):
        cell.id = f"c{number:02d}"  # else drawn at random, and every notebook is another input
    for number in range(notebooks):
        nbformat.write(made, root / "notebooks" / f"{number:02d}_work.ipynb")
    return root


def digests(run: Path) -> dict[str, Any]:
    """What of a run must repeat, by file."""
    names = [name for stage in read_manifest(run)["stages"].values() for name in stage.get("outputs", {})]
    return {name: repeating(run / name, {run: "RUN"}) for name in names}


class Killing:
    """Runs that are killed once each. One that was killed after its last stage was written down is finished.

    Args:
        folder: an empty folder to work in.
        rng: draws the instants.
    """

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.root, self.rng = write_workbook(folder / "killing", 3, 4, 0.15), rng
        self.whole_s = min(self._time(name) for name in ("first", "whole"))
        self.expected = digests(self.root / "whole")

    def _time(self, name: str) -> float:
        begun = time.monotonic()
        with self._start(name) as process:
            process.communicate()
        return time.monotonic() - begun

    def _start(self, name: str) -> subprocess.Popen:
        path = os.pathsep.join(filter(None, (str(Path(avi_lib.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "avi_lib", "run", "--output", str(self.root / name)]
        variables = {**os.environ, "PYTHONPATH": path}
        quiet, piped = subprocess.DEVNULL, subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=variables, stdout=quiet, stderr=piped, text=True)

    def kill(self, number: int, victim: str) -> tuple[bool, str]:
        """Kill a run or its kernel at a random instant; whether all is right in the end, and the story."""
        name, instant_s = f"{number}", float(self.rng.uniform(0, self.whole_s))
        run = self.root / name
        with self._start(name) as process:
            time.sleep(instant_s)
            killed = self._send(process, victim)
            begun = time.monotonic()
            _, said = process.communicate()
            took_s = time.monotonic() - begun
        if not (run / MANIFEST).is_file():
            right, story = victim == "run" and killed, "before it began"
            shutil.rmtree(run, ignore_errors=True)
            run_notebooks([], {}, run, self.root)
        else:
            status = describe(run)["status"]
            expected = "finished" if not killed else "failed" if victim == "kernel" else "interrupted"
            failure = read_manifest(run)["failure"]
            done = status == "finished" and digests(run) == self.expected
            right = status == expected or (done and (victim == "run" or process.returncode == 0))
            if status == "failed":
                right &= failure is not None and failure["signal"] == "SIGKILL" and took_s < FAILED_WITHIN_S
                right &= sum("SIGKILL" in line for line in said.splitlines()) == 1
                right &= all(line.startswith("avi: ") for line in said.splitlines())  # what begins and ends is told too
            where = f" in {failure['stage']}, cell {failure['cell']}, said after {took_s:.2f} s" if failure else ""
            story = f"{status}{where}"
            resume_run(run, self.root)
        same = describe(run)["status"] == "finished" and digests(run) == self.expected
        return right and same, f"{victim} killed at {instant_s:.2f} s: {story}; {'same' if same else 'OTHER'} digests"

    def _send(self, process: subprocess.Popen, victim: str) -> bool:
        """Send SIGKILL to the run, or to the kernel it has at the moment or has next; whether there was one."""
        if victim == "run":
            process.kill()
            return True
        while process.poll() is None:
            for kernel in kernels_of(process.pid):
                os.kill(kernel, signal.SIGKILL)
                return True
            time.sleep(0.005)
        return False


def kernels_of(run: int) -> list[int]:
    """Process numbers of the kernels that a run has at the moment, on Linux."""
    try:
        children = Path(f"/proc/{run}/task/{run}/children").read_text("ascii").split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    except OSError:
        return []
    return [child for child, command in commands.items() if b"ipykernel" in command]


def measure_kills(folder: Path, kills: int, seed: int) -> Figure:
    """How many kills at random instants end with the right status and go on to the same digests."""
    killing = Killing(folder, np.random.default_rng(seed))
    right = 0
    for number in range(kills):
        fine, story = killing.kill(number, ("kernel", "run")[number % 2])
        right += fine
        print(f"{'right' if fine else 'WRONG'}  {story}", file=sys.stderr, flush=True)
    how = f"of {kills}: SIGKILL to kernel or run within the {killing.whole_s:.1f} s of a run"
    return Figure("kills with the right status that go on to the same digests", right, "", f"{kills}", how)


def measure_overhead(folder: Path, turns: int, seconds: float) -> Figure:
    """What a run takes beyond papermill alone, which executes the same notebook in turn with it."""
    from papermill import execute_notebook

    cells = 20
    root = write_workbook(folder / "overhead", 1, cells, seconds / cells)
    notebook = root / "notebooks" / "00_work.ipynb"
    run_notebooks([], {}, root / "first", root)
    bare, wrapped = [], []
    for turn in range(turns):
        (root / f"bare{turn}").mkdir()
        begun = time.perf_counter()
        execute_notebook(
            str(notebook),
            str(root / f"bare{turn}" / notebook.name),
            parameters={"OUT": str(root / f"bare{turn}")},
            cwd=str(notebook.parent),
            kernel_name="python3",
            progress_bar=False,
        )
        bare.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        run_notebooks([], {}, root / f"run{turn}", root)
        wrapped.append(time.perf_counter() - begun)
    ratio = 100 * (min(wrapped) / min(bare) - 1)
    how = f"shortest of {turns} in turn: {min(wrapped):.2f} s, bare {min(bare):.2f} s; {cells} cells"
    return Figure("a run beyond papermill alone", ratio, "%", "<= 10", how)
