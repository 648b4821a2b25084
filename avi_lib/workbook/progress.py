"""Progress of a run on a terminal: which notebook, which cell, and how far a training is; nothing in a pipe.

>>> with Progress(["00_quickstart", "03_talking_generator"]) as progress:
...     progress.stage("00_quickstart", Path("outputs/a/00_quickstart"))
...     progress.cell(3, 13)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

_LOOK_EVERY_S = 1.0
_TAIL_BYTES = 4096


class Progress:
    """A bar of cells on stderr, with the newest line of a training's log behind it.

    Args:
        stages: names of the notebooks of the run.
        shown: show it; on a terminal only when None.
    """

    def __init__(self, stages: Sequence[str], shown: bool | None = None) -> None:
        self._stages, self._shown = list(stages), sys.stderr.isatty() if shown is None else shown
        self._bar: tqdm | None = None
        self._folder = Path()
        self._looked_s = self._begun_s = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            self._close()
            print(text, file=sys.stderr, flush=True)

    def stage(self, name: str, folder: Path) -> None:
        """Another notebook begins; trainings write their logs below the folder."""
        self._close()
        if self._shown:
            number = f"{self._stages.index(name) + 1}/{len(self._stages)}"
            self._bar = tqdm(desc=f"{number} {name}", unit=" cells", dynamic_ncols=True, file=sys.stderr)
            self._folder, self._begun_s = folder, time.time()

    def cell(self, number: int, cells: int) -> None:
        """A code cell begins."""
        if self._bar is not None:
            self._bar.total, self._bar.n = cells, number - 1
            self._bar.refresh()

    def tick(self) -> None:
        """Look at the logs; called often, reads seldom."""
        if self._bar is not None and time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            self._bar.set_postfix_str(training_line(self._folder, self._begun_s), refresh=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def training_line(folder: Path, since_s: float) -> str:
    """Step, epoch and loss at the end of the newest log below a folder that was written since; else nothing."""
    try:
        logs = [(path.stat().st_mtime, path) for path in folder.rglob("log.jsonl")]
        changed_s, newest = max(logs, default=(0.0, folder))
        if changed_s < since_s:
            return ""
        with newest.open("rb") as stream:
            stream.seek(max(0, newest.stat().st_size - _TAIL_BYTES))
            line = json.loads(stream.read().rpartition(b"\n")[0].rpartition(b"\n")[2])
        part = newest.parent.name
        return f"{part}: step {line['step']}, epoch {line['epoch']:.1f}, loss {line['loss']:.4g}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # a line in the making
