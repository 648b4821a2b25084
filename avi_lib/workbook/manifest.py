"""The manifest of a run: what was asked for, what decides it, what came of it. A status is told from evidence.

>>> manifest = read_manifest(Path("outputs/20261126-101500-00"))
>>> manifest.stages["00_quickstart"].outputs["talking_face.mp4"].sha256
'80c1...'
>>> status_of(Path("outputs/20261126-101500-00"))
'finished'

`manifest.json` is replaced as a whole when a run begins, before and after every stage, and when it ends. A stage is in
`stages` only after all of its cells were carried out and all it left was read back. No status is stored: a run that is
being worked on holds the lock of its folder, which the system takes back from a process that was killed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avi_lib.errors import InputError
from avi_lib.files import atomic_path
from avi_lib.settings import PROFILES, Settings
from avi_lib.workbook.outputs import Output
from avi_lib.workbook.parameters import PROFILE, Values

MANIFEST, LOCK = "manifest.json", ".lock"
OWN = frozenset((MANIFEST, LOCK))
"""Names in a run's folder that are no outputs."""

MOST_BYTES = 1 << 26
"""A larger manifest is refused."""

Status = Literal["running", "finished", "failed", "interrupted"]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Settings):
    """Seconds that a cell, and the whole run, may take; None for as long as they like."""

    cell_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    run_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class Failure(_Kept):
    """Why a stage did not come to its end.

    `kind`: an error in a cell; the kernel killed by a signal, or ended by itself; a limit of time; the run itself told
    to stop. `cell` counts code cells from 1, as the numbers in brackets of an executed notebook; None before the first.
    """

    kind: Literal["error", "killed", "ended", "limit", "stopped"]
    stage: str
    cell: int | None
    what: str
    signal: str | None = None


class StageRecord(_Kept):
    """A finished stage."""

    address: str
    inputs: dict[str, str]
    outputs: dict[str, Output]
    cells: int
    device: str
    threads: int
    began: str
    seconds: float


class Manifest(_Kept):
    """A run: see the module's text. `begun` holds the address of every stage that was started."""

    format: Literal[1] = 1
    plan: list[str]
    parameters: dict[str, Values]
    settings: dict[str, Any]
    seeds: dict[str, int]
    began: str
    commit: str | None
    dirty: bool | None
    library: str
    packages: dict[str, str]
    system: dict[str, str]
    environment: dict[str, str]
    begun: dict[str, str] = Field(default_factory=dict)
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    failure: Failure | None = None
    ended: str | None = None

    @property
    def finished(self) -> bool:
        """Whether every stage of the plan is."""
        return self.failure is None and all(name in self.stages for name in self.plan)

    def folder_of(self, run: Path, stage: str) -> Path:
        """OUT of a stage: the run's folder for a notebook alone, a folder of its own for one of several."""
        return run if len(self.plan) == 1 else run / stage


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run; InputError for a folder without one, or with a damaged one."""
    path = run / MANIFEST
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"a manifest of at most {MOST_BYTES} bytes", str(path), "name the folder of a run")
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("the folder of a run", f"{run} without {MANIFEST}", "name a folder below outputs/") from error
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError("a whole manifest", got, "start the run again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("a manifest that can be read", f"{path}: {error}", "start the run again") from error


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Replace a run's manifest as a whole."""
    with atomic_path(run / MANIFEST) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")


def status_of(run: Path) -> Status:
    """What became of a run.

    `running` while a process holds its lock, `failed` when a stage could not be carried out, `finished` when all were,
    and else `interrupted`: it was stopped or killed. Raises InputError when the folder holds no run.
    """
    manifest = read_manifest(run)
    try:
        with locked(run):
            manifest = read_manifest(run)
    except InputError:
        return "running"
    if manifest.finished:
        return "finished"
    return "failed" if manifest.failure is not None and manifest.failure.kind != "stopped" else "interrupted"


def describe(run: Path) -> dict[str, Any]:
    """Status, stages and failure of a run, for `avi run --json`."""
    manifest = read_manifest(run)
    stages = {
        name: {"finished": name in manifest.stages}
        | ({"seconds": told.seconds, "outputs": sorted(told.outputs)} if (told := manifest.stages.get(name)) else {})
        for name in manifest.plan
    }
    failure = manifest.failure and manifest.failure.model_dump(mode="json")
    return {"run": str(run), "status": status_of(run), "stages": stages, "failure": failure}


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's lock; InputError when another process does."""
    lock = FileLock(run / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError("a run that nobody works on", f"{run}, which is running", "wait for it") from error
    try:
        yield
    finally:
        lock.release()


def settings_of(parameters: dict[str, Values]) -> dict[str, Any]:
    """Settings of the profiles that the stages ask for."""
    names = sorted({str(values[PROFILE]) for values in parameters.values() if PROFILE in values})
    return {name: PROFILES[name].model_dump(mode="json") for name in names}


def seeds_of(parameters: dict[str, Values]) -> dict[str, int]:
    """The seed of every stage that has one."""
    return {stage: values["SEED"] for stage, values in parameters.items() if isinstance(values.get("SEED"), int)}


def commit_of(root: Path) -> tuple[str | None, bool | None]:
    """The commit checked out in a folder and whether tracked files differ from it; None and None without one."""
    try:
        say = ["git", "-C", str(root)]
        commit = subprocess.run([*say, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20)
        changes = [*say, "status", "--porcelain", "--untracked-files=no"]
        dirty = subprocess.run(changes, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit.stdout.strip(), bool(dirty.stdout.strip())


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
