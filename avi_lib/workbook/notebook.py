"""One notebook executed by papermill, and the truth about how it ended.

>>> executed = execute(stage, {"SEED": 7}, Path("run/00_quickstart.ipynb"), Limits(cell_s=600), environment())
>>> executed.cells, executed.device
(13, 'cpu')

papermill puts the parameters in, and its client and manager carry out the cells. What they believe is not asked: a
stage is done when the kernel has answered for every code cell, and how a kernel ended is what the system says of its
process. The executed notebook is replaced as a whole each time, also when a cell fails, a limit is reached or the
kernel is killed; its cells' states are true then.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellTimeoutError
from papermill import PapermillExecutionError, execute_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from avi_lib.errors import AviError
from avi_lib.workbook.engine import ENGINE, Watch, runs
from avi_lib.workbook.manifest import Failure, Limits
from avi_lib.workbook.parameters import Values
from avi_lib.workbook.stages import Stage

_NO_START = "Kernel didn't respond"


@dataclass(frozen=True)
class Executed:
    """What a notebook that came to its end was carried out with."""

    cells: int
    device: str
    threads: int


class NotebookError(AviError):
    """A notebook did not come to its end; its partial output is kept."""

    def __init__(self, expected: str, got: str, do: str, failure: Failure) -> None:
        super().__init__(expected, got, do)
        self.failure = failure


def execute(
    stage: Stage,
    values: Values,
    output: Path,
    limits: Limits,
    environment: Mapping[str, str],
    deadline: float | None = None,
    on_cell: Callable[[int, int], None] = lambda cell, cells: None,
    tick: Callable[[], None] = lambda: None,
) -> Executed:
    """Carry out a notebook in a kernel of its own.

    Args:
        stage: the notebook.
        values: what to put into it beside its defaults.
        output: the executed notebook.
        limits: of the cells; that of the run is named when `deadline` passes.
        environment: variables set for the kernel.
        deadline: of the run, on `time.monotonic`.
        on_cell: called with the number of a code cell that begins, and how many there are.
        tick: called several times a second.

    Raises:
        NotebookError: says in which cell, and why, it did not come to its end.
        KeyboardInterrupt: it was told to stop; the partial notebook is written.
    """
    notebook = load_notebook_node(str(stage.path))
    given = {name: value for name, value in values.items() if name in stage.defaults and value != stage.defaults[name]}
    if given:
        notebook = parameterize_notebook(notebook, given, kernel_name="python3", language="python")
    cells = sum(map(runs, notebook.cells))
    watch = Watch(output, cells, limits, deadline, on_cell, tick, environment, stage.path.parent)
    starved = _oom_kills()
    try:
        execute_notebook(notebook, None, engine_name=ENGINE, kernel_name="python3", progress_bar=False, watch=watch)
        if watch.answered < cells or watch.facts is None:
            raise _error(watch, stage, "error", "SystemExit, with cells left to carry out", f"open {output}")
    except PapermillExecutionError as error:
        reason = (str(error.evalue).splitlines() or [""])[0]
        raise _error(watch, stage, "error", f"{error.ename}: {reason}", f"open {output}", error.ename) from error
    except AviError:
        raise
    except Exception as error:
        raise _explained(error, watch, stage, _oom_kills() > starved) from error
    finally:
        watch.save()
    return Executed(watch.answered, str(watch.facts["device"]), int(watch.facts["threads"]))


def _explained(error: Exception, watch: Watch, stage: Stage, starved: bool) -> NotebookError:
    """What an exception of the client means, told from the kernel's process."""
    code, go_on = watch.code, f"`avi run --resume {watch.output.parent}` goes on"
    slow_start = _NO_START in str(error)
    slow_cell = isinstance(error, CellTimeoutError) and "IOPub" not in str(error) and code is None
    if watch.limit and (slow_start or slow_cell):
        return _error(watch, stage, "limit", f"more than {watch.limit}", f"allow more; {go_on}")
    if code is not None and code < 0 and not slow_start:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        why = ", by the system for want of memory," if starved and name == "SIGKILL" else ""
        do = "free memory, or take less of it" if name == "SIGKILL" else "look at what the cell calls"
        return _error(watch, stage, "killed", f"its kernel killed by {name}{why}", f"{do}; {go_on}", signal_name=name)
    if code is not None and not slow_start:
        return _error(watch, stage, "ended", f"its kernel ended with exit code {code}", "look at what the cell calls")
    reason = (str(error).splitlines() or [""])[0]
    return _error(watch, stage, "error", f"{type(error).__name__}: {reason}", f"open {watch.output}")


def _error(
    watch: Watch,
    stage: Stage,
    kind: Any,
    what: str,
    do: str,
    ename: str | None = None,
    signal_name: str | None = None,
) -> NotebookError:
    cell = watch.cell or None
    where = f"in cell {cell}" if cell else "before its first cell"
    failure = Failure(kind=kind, stage=stage.name, cell=cell, what=what, signal=signal_name)
    error = NotebookError(f"{stage.path.name} to run to its end", f"{what} {where}", do, failure)
    if ename == "InputError":
        error.exit_code = 2
    return error


def _oom_kills() -> int:
    """How many processes this machine has killed for want of memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
