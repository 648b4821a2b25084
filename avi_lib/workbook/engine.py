"""papermill's client and manager as runs use them: a kernel that is watched, and cells marked as they ended.

>>> watch = Watch(output, cells, limits, deadline, on_cell, tick, environment(), folder)
>>> execute_notebook(notebook, None, engine_name=ENGINE, kernel_name="python3", watch=watch)
>>> watch.answered, watch.code
(13, None)
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.utils import ensure_async
from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

import avi_lib
from avi_lib.files import atomic_path
from avi_lib.workbook.manifest import Limits

LOOK_EVERY_S = 0.2
"""Time between two looks at the kernel's process."""

SAVE_EVERY_S, SAVING_SHARE = 1.0, 20.0
"""The executed notebook is written at most this often, and at most one part in so many of the time."""

START_S = 120
"""A kernel that does not answer within this time after its start is given up."""

IOPUB_S = 60
"""What a cell shows may come this much later than the word that it is done."""

ANSWER_S = 60
"""A kernel that does not say within this time what it computed with, after its last cell, is given up."""

ENGINE = "avi"
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False
_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass
class Watch:
    """What is seen of a notebook while it is carried out."""

    output: Path
    cells: int
    limits: Limits
    deadline: float | None
    on_cell: Callable[[int, int], None]
    tick: Callable[[], None]
    environment: Mapping[str, str]
    folder: Path
    cell: int = 0
    answered: int = 0
    process: subprocess.Popen | None = None
    code: int | None = None
    facts: dict[str, Any] | None = None
    notebook: nbformat.NotebookNode | None = None
    limit: str = ""

    def cell_limit(self, _: object = None) -> float | None:
        """Seconds that the next cell may take; which limit that is, is noted."""
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.01)
        cell = self.limits.cell_s
        if left is None or (cell is not None and cell <= left):
            self.limit = f"{cell:g} s for a cell" if cell is not None else ""
            return cell
        self.limit = f"{self.limits.run_s:g} s for the run"
        return left

    def start_limit(self) -> int:
        """Whole seconds in which the kernel has to answer."""
        if self.deadline is None or self.limits.run_s is None:
            return START_S
        self.limit = f"{self.limits.run_s:g} s for the run"
        return max(1, min(START_S, math.ceil(self.deadline - time.monotonic())))

    def variables(self) -> dict[str, str]:
        """The kernel's environment, in which it finds the library that started it."""
        library = str(Path(avi_lib.__file__).parents[1])
        path = os.pathsep.join(filter(None, (library, os.environ.get("PYTHONPATH"))))
        return {**os.environ, **self.environment, "PYTHONPATH": path}

    def save(self) -> None:
        """Write the notebook as a whole."""
        if self.notebook is not None:
            with atomic_path(self.output) as temporary:
                temporary.write_text(nbformat.writes(self.notebook), "utf-8")


def runs(cell: nbformat.NotebookNode) -> bool:
    """Whether a kernel has something to do for a cell."""
    return cell.cell_type == "code" and bool(cell.source.strip())


class _Manager(NotebookExecutionManager):
    """papermill's state of a notebook, which is written seldom enough to cost little."""

    def __init__(self, nb: nbformat.NotebookNode, watch: Watch) -> None:
        super().__init__(nb, progress_bar=False)
        self._watch, self._next_save = watch, 0.0

    def save(self, **_: object) -> None:
        self._watch.notebook = self.nb
        begun = time.monotonic()
        if begun < self._next_save:
            return
        self._watch.save()
        ended = time.monotonic()
        self._next_save = ended + max(SAVE_EVERY_S, SAVING_SHARE * (ended - begun))

    def autosave_cell(self, **_: object) -> None:
        self.save()


class _KernelManager(AsyncKernelManager):
    """Starts this library's kernel, with sockets in a folder of its own: ports are not raced for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._room = Path(tempfile.mkdtemp(prefix="avi-"))
        self.connection_file = str(self._room / "k.json")
        if os.name == "posix" and len(str(self._room)) < 80:  # a socket's path has at most about 100 characters
            self.transport, self.ip = "ipc", str(self._room / "k")
        command = [sys.executable, "-m", "avi_lib.workbook.kernel", "-f", "{connection_file}"]
        self._kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python")

    def leave(self) -> None:
        """Remove the folder of the sockets."""
        shutil.rmtree(self._room, ignore_errors=True)


class _Client(PapermillNotebookClient):
    """papermill's client; it looks at the kernel's process often, and marks cells as they ended."""

    watch: Watch

    def carry_out(self) -> None:
        """Execute the cells; whatever ends that early ends the kernel."""
        try:
            self.papermill_execute_cells()
        except BaseException:
            self.kill()
            raise
        if self.watch.facts is None:
            self.kill()

    def papermill_execute_cells(self) -> None:
        """Execute the cells in order and mark each as it ended, up to the first that raises."""
        for index, cell in enumerate(self.nb.cells):
            if code := runs(cell):
                self.watch.cell += 1
                self.watch.on_cell(self.watch.cell, self.watch.cells)
            self.nb_man.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], index, exception=error)
                self.nb_man.cell_complete(self.nb.cells[index], index)
                return
            except BaseException as error:
                self.nb_man.cell_exception(self.nb.cells[index], index, exception=error)
                raise
            self.watch.answered += code
            self.nb_man.cell_complete(self.nb.cells[index], index)
        self.watch.facts = self._ask_facts()

    def start_new_kernel(self, **options: Any) -> None:
        """Start the kernel and keep hold of its process."""
        super().start_new_kernel(**options)
        self.watch.process = getattr(self.km.provisioner, "process", None)

    def kill(self) -> None:
        """Note how the kernel ended, if it did, and end it and what it started; a second time does nothing."""
        process, self.watch.process = self.watch.process, None
        if process is None:
            return
        self.watch.code = process.poll()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (OSError, AttributeError):
            process.kill()
        process.wait()

    async def _async_poll_kernel_alive(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.watch.tick()
            if not await ensure_async(self.kc.is_alive()):
                self.task_poll_for_reply.cancel()
                return

    def _ask_facts(self) -> dict[str, Any]:
        asked = {"facts": "__import__('avi_lib.workbook.kernel', fromlist=['facts']).facts()"}
        try:
            reply = self.wait_for_reply(self.kc.execute("", silent=True, user_expressions=asked))
        except AssertionError:  # what nbclient makes of a time-out without a cell
            raise TimeoutError("its kernel did not answer after its last cell") from None
        answer = reply["content"]["user_expressions"]["facts"]
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))


class _Engine(NBClientEngine):
    """Carries out a notebook under a watch."""

    @classmethod
    def execute_notebook(cls, nb: nbformat.NotebookNode, kernel_name: str, watch: Watch, **_: object) -> Any:
        manager = _Manager(nb, watch)
        manager.notebook_start()
        client = _Client(
            manager,
            kernel_name=kernel_name,
            kernel_manager_class=_KernelManager,
            timeout=ANSWER_S,
            timeout_func=watch.cell_limit,
            startup_timeout=watch.start_limit(),
            iopub_timeout=IOPUB_S,
            shell_timeout_interval=1,
            coalesce_streams=True,
            log=_LOG,
        )
        client.watch = watch
        kernel_manager = client.create_kernel_manager()
        try:
            with client.setup_kernel(cwd=str(watch.folder), env=watch.variables(), **_QUIET):
                client.carry_out()
        except BaseException:
            client.kill()
            raise
        finally:
            kernel_manager.leave()
        client.set_widgets_metadata()
        if watch.facts is not None:
            manager.notebook_complete()
        return nb


papermill_engines.register(ENGINE, _Engine)
