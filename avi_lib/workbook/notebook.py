"""One notebook executed by papermill in a kernel that ends with its run; how it ended is read from its process."""

from __future__ import annotations

import ast
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError
from papermill.iorw import LocalHandler, papermill_io
from tqdm import tqdm

import avi_lib
from avi_lib.errors import AviError, InputError
from avi_lib.files import atomic_path

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it logs of a dead kernel, an error says once


class _WholeFiles(LocalHandler):
    """papermill's files, replaced as a whole."""

    def write(self, buf: str, path: str) -> None:
        with atomic_path(Path(path)) as temporary:
            super().write(buf, str(temporary))


papermill_io.register("/", _WholeFiles())


class RunError(AviError):
    """A notebook stopped; its partial output is kept. `failure` has kind, stage, cell, what happened, and signal."""

    def __init__(self, failure: dict[str, Any], output: Path) -> None:
        where = f"in cell {failure['cell']}" if failure["cell"] else "before its first cell"
        do = f"open {output}; `avi run --resume {output.parent}` goes on"
        super().__init__(f"{output.name} to run to its end", f"{failure['what']} {where}", do)
        self.failure, self.run = failure, output.parent
        self.exit_code = 2 if failure["what"].startswith("InputError") else 1


def read_parameters(path: Path) -> dict[str, Any]:
    """Names and defaults in a notebook's parameters cell, which must be literals; InputError when they are not."""
    try:
        declared = papermill.inspect_notebook(_braced(path))
        return {name: ast.literal_eval(each["default"]) for name, each in declared.items()}
    except Exception as error:  # damaged files fail in many ways
        got = f"{path}: {type(error).__name__}: {_first_line(error)}"
        raise InputError("a notebook with NAME = literal in its parameters cell", got, "restore the file") from error


def execute(
    notebook: Path,
    output: Path,
    values: Mapping[str, Any],
    environment: Mapping[str, str],
    cell_s: float,
    until_s: float,
) -> int:
    """Execute a notebook and return how many code cells it has; RunError with its failure when it does not end well.

    The executed notebook is kept at `output` in any case. A terminal shows cells and the last line of training logs.
    A cell may take `cell_s`, and none may end later than `until_s` on the monotonic clock.
    """
    bar = tqdm(desc=notebook.stem, unit=" cells", dynamic_ncols=True, disable=not sys.stderr.isatty())
    cells: list[int] = []
    kernels: list[subprocess.Popen] = []

    class Kernel(AsyncKernelManager):
        """A kernel of this interpreter with this library."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            self._kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python")

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            library = [str(Path(avi_lib.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            options["env"] = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(library)}
            options |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "preexec_fn": _end_with_parent}
            await super().start_kernel(**options, cwd=str(notebook.parent))
            kernels.append(self.provisioner.process)  # type: ignore[union-attr]

        async def _async_is_alive(self) -> bool:
            if not bar.disable and (logs := list(Path(values.get("OUT", "/dev/null")).rglob("log.jsonl"))):
                newest = max(logs, key=os.path.getmtime).read_text("utf-8")
                bar.set_postfix_str(newest.rpartition("\n{")[2].strip(" }\n"))
            return await super()._async_is_alive()

    def cell_timeout_s(_: object = None) -> float | None:
        least = min(cell_s, max(until_s - time.monotonic(), 0.01))
        return None if least == float("inf") else least

    def on_cell(cell_index: int, **_: object) -> None:
        cells.append(cell_index)
        bar.update()

    failure: dict[str, Any] = {"kind": "error", "what": "SystemExit, with cells left to carry out", "signal": None}
    try:
        executed = papermill.execute_notebook(
            *(_braced(notebook), _braced(output), dict(values)),
            kernel_name="python3",
            progress_bar=False,
            start_timeout=max(1, int(min(120.0, until_s - time.monotonic()))),
            kernel_manager_class=Kernel,
            shutdown_kernel="immediate",
            timeout_func=cell_timeout_s,
            iopub_timeout=60,
            on_cell_execute=on_cell,
        )
        if not executed.metadata.papermill.exception:  # of sys.exit() it says no more
            return len(cells)
    except AviError:
        raise
    except papermill.PapermillExecutionError as error:
        failure["what"] = f"{error.ename}: {_first_line(error.evalue)}"
    except KeyboardInterrupt:
        failure |= {"kind": "stopped", "what": "the run was stopped"}
    except Exception as error:
        code = kernels[0].poll() if kernels and "died" in str(error) else None
        if code is not None and code < 0:
            number = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            why = " (as the system does for want of memory)" if code == -9 else ""
            failure |= {"kind": "killed", "what": f"its kernel killed by {number}{why}", "signal": number}
        elif code is not None:
            failure |= {"kind": "ended", "what": f"its kernel ended with exit code {code}"}
        elif time.monotonic() >= until_s:
            failure |= {"kind": "limit", "what": "more than the time of the run"}
        elif isinstance(error, CellTimeoutError):
            failure |= {"kind": "limit", "what": f"more than {cell_s:g} s for a cell"}
        else:
            failure["what"] = f"{type(error).__name__}: {_first_line(error)}"
    finally:
        bar.close()
        for kernel in kernels:
            with suppress(OSError):
                os.killpg(kernel.pid, signal.SIGKILL)  # with what it started
            kernel.wait()
    raise RunError({**failure, "stage": notebook.stem, "cell": len(cells) or None}, output)


def _end_with_parent() -> None:
    """Have Linux kill this process when its parent ends: ipykernel's own watch waits while native code computes."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)


def _braced(path: Path) -> str:
    """A path as papermill takes it, which fills parameters in between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [""])[0]
