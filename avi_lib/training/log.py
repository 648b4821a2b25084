"""The log of a training: a line of losses every so many steps, in memory, in a file and on a board when asked for.

>>> with TrainingLog(folder / "log.jsonl", step=400) as log:
...     log.add(410, {"loss": 0.25}, epoch=1.3)
{'step': 410, 'epoch': 1.3, 'loss': 0.25, 's': 96.1}

Each line is on disk when `add` returns. A training that was killed goes on from its checkpoint, so lines past the
checkpoint's step are dropped when the log is opened and come again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from avi_lib.errors import InputError, OutputError
from avi_lib.files import atomic_path, check_writable, make_folder

LogLine = dict[str, Any]


class TrainingLog:
    """Lines of a training that stands at a step; those of earlier runs up to there are read from the file.

    Args:
        path: the file, a JSON object a line; its folder exists.
        step: where training goes on.
        board: folder of a TensorBoard, none when None.
        written: whether this process writes; others keep lines in memory alone.

    Raises:
        InputError: the file is not a log, or a board is asked for and the package `tensorboard` is not installed.
        OutputError: file or board cannot be written.
    """

    def __init__(self, path: Path, step: int, board: Path | None = None, written: bool = True) -> None:
        self.path, self.written = path, written
        self.lines = read_log(path, step) if path.exists() else []
        self._board = open_board(board, step) if board is not None and written else None
        self._file: IO[str] | None = None
        self._begun_s = time.perf_counter() - (self.lines[-1]["s"] if self.lines else 0.0)

    def __enter__(self) -> TrainingLog:
        if self.written:
            with atomic_path(self.path) as temporary:
                temporary.write_text("".join(map(_text, self.lines)), "utf-8")
            self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def add(self, step: int, losses: Mapping[str, float], epoch: float) -> LogLine:
        """Add a step's losses; `s` is the time that training has taken, in all runs together."""
        line = {"step": step, "epoch": epoch, **losses, "s": time.perf_counter() - self._begun_s}
        self.lines.append(line)
        try:
            if self._file is not None:
                self._file.write(_text(line))
                self._file.flush()
                os.fsync(self._file.fileno())
            if self._board is not None:
                for name, value in losses.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()
        except OSError as error:
            got = error.strerror or str(error)
            raise OutputError(f"room to write {self.path}", got, "free space; training goes on from there") from error
        return line


def read_log(path: Path, step: int) -> list[LogLine]:
    """Lines of a log up to a step; a last line that a kill cut short is dropped. InputError for another file."""
    try:
        whole = path.read_text("utf-8").rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["step"] <= step and line["s"] >= 0]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("the log of a training", f"{path}: {error}", "remove it, or train elsewhere") from error


def open_board(folder: Path, step: int) -> Any:
    """A writer to a TensorBoard on which nothing past the step is shown."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        do = "pip install 'avi-lib[board]', or train without a board"
        raise InputError("the package tensorboard for a board", str(error), do) from error
    make_folder(folder)
    check_writable(folder / "events")
    return SummaryWriter(str(folder), purge_step=step + 1)


def _text(line: LogLine) -> str:
    return f"{json.dumps(line)}\n"
