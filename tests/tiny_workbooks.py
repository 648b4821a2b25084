"""Workbooks of a few cells that start quickly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 'NAME = "a"\nCOUNT = 1\nOUT = "x"'
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}


def write_workbook(root: Path, parameters: str = PARAMETERS, **notebooks: Sequence[str]) -> Path:
    """A project with notebooks of these cells; names begin with a letter: a00_first is notebooks/00_first.ipynb."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").touch()
    for name, cells in notebooks.items():
        declared = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        notebook = nbformat.v4.new_notebook(cells=[declared, *code], metadata=KERNEL)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"c{number:02d}"
        nbformat.write(notebook, root / "notebooks" / f"{name[1:]}.ipynb")
    return root


def start(root: Path, *arguments: str) -> subprocess.Popen:
    """`avi run` in a process of its own."""
    command = [sys.executable, "-m", "avi_lib", "run", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition: Callable[[], bool], most_s: float = 90.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    """Whether a process computes; one that ended and was not asked how does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kernels_of(run: int) -> list[int]:
    """Process numbers of the kernels that a run has at the moment, on Linux."""
    children = Path(f"/proc/{run}/task/{run}/children").read_text("ascii").split()
    return [int(child) for child in children if b"ipykernel" in Path(f"/proc/{child}/cmdline").read_bytes()]
