"""Runs: numbered notebooks executed headless by papermill into one folder, which can be gone on with and repeated.

>>> run = run_notebooks(["00"], {"SEED": "7"}, Path("outputs/try"))
>>> status_of(run)
'finished'
>>> resume_run(run)  # does nothing: every stage is finished, and nothing that decides it has changed
PosixPath('outputs/try')

The folder holds the executed notebooks, what they made and recorded, and `manifest.json`. OUT is the folder itself for
a notebook alone; each of several has a folder of its name in it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from avi_lib.errors import AviError, InputError
from avi_lib.files import atomic_path, make_folder
from avi_lib.workbook.outputs import RECORD, Output, digest_outputs, list_outputs

if TYPE_CHECKING:
    from avi_lib.workbook.manifest import Failure, Limits, Manifest, StageRecord
    from avi_lib.workbook.progress import Progress
    from avi_lib.workbook.stages import Stage


class RunError(AviError):
    """A notebook stopped with an error; its partial output is kept. `failure` says in which cell of `run` and why."""

    failure: Failure | None = None
    run: Path | None = None


class RunInputError(RunError, InputError):
    """A notebook stopped because of what it was given."""

    exit_code = InputError.exit_code


def project_root(start: Path | None = None) -> Path:
    """The folder with `notebooks/` and `data/` at or above `start` (default: the working folder)."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise InputError("the workbook's folder", f"{start}, which is not inside it", "change into the cloned project")


def run_notebooks(
    numbers: Sequence[str],
    parameters: Mapping[str, str],
    output: Path | None = None,
    root: Path | None = None,
    *,
    profile: str | None = None,
    limits: Limits | None = None,
) -> Path:
    """Execute the notebooks with these numbers (all when none are given) in order; return the run's folder.

    Args:
        numbers: two digits each.
        parameters: texts that replace values of the parameters cells, of the kind of their defaults.
        output: the run's folder, absent or empty; one named after the time when None.
        root: the project's folder; the one around the working folder when None.
        profile: PROFILE of all notebooks that have it.
        limits: of time, for a cell and for the run.

    Raises:
        InputError: an unknown number or parameter, a value that does not fit, or a folder that is in use.
        RunError: a cell failed or took too long, or the kernel was killed; `resume_run` goes on from there.
        KeyboardInterrupt: the run was told to stop; what is finished is kept.
    """
    from avi_lib.workbook.parameters import choose
    from avi_lib.workbook.stages import environment as own_environment
    from avi_lib.workbook.stages import find_stages, hand_over

    root = (root or project_root()).resolve()
    stages = find_stages(root, numbers)
    values = choose({stage.name: stage.defaults for stage in stages}, parameters, profile)
    values = hand_over(stages, values, parameters)
    run = _new_folder(root, stages) if output is None else _empty_folder(output)
    _begin(run, root, stages, values, limits, own_environment())
    return run


def repeat_run(manifest: Manifest, run: Path, root: Path) -> None:
    """Execute what a manifest asked for in another folder, which is empty, with its parameters and its environment."""
    from avi_lib.workbook.stages import find_stages

    stages = _planned(find_stages(root, [name[:2] for name in manifest.plan]), manifest)
    _begin(run, root, stages, manifest.parameters, None, manifest.environment)


def resume_run(run: Path, root: Path | None = None, *, limits: Limits | None = None) -> Path:
    """Go on with a run: stages are carried out that are not finished, or whose inputs or outputs have changed.

    Parameters and environment are those the run began with. A training goes on from its checkpoint.
    Raises what `run_notebooks` raises, and InputError when the folder holds no run or is being worked on.
    """
    from avi_lib.workbook import manifest as kept
    from avi_lib.workbook.stages import find_stages

    root = (root or project_root()).resolve()
    run = run.resolve()
    manifest = kept.read_manifest(run)
    stages = _planned(find_stages(root, [name[:2] for name in manifest.plan]), manifest)
    with kept.locked(run):
        manifest = kept.read_manifest(run)
        again = {"failure": None, "ended": None, **_circumstances(root)}
        _carry_out(manifest.model_copy(update=again), stages, run, root, limits)
    return run


def record(folder: Path, **values: Any) -> None:
    """Add values to `folder/record.json`: what a run is judged by, readable without opening a notebook."""
    path = Path(folder) / RECORD
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(known | values, indent=2, sort_keys=True) + "\n", "utf-8")


def _planned(stages: Sequence[Stage], manifest: Manifest) -> list[Stage]:
    """The stages of a manifest's plan; InputError when the notebooks are no longer those, or take other parameters."""
    from avi_lib.workbook.stages import ENVIRONMENT

    names = [stage.name for stage in stages]
    if names != manifest.plan:
        raise InputError(f"the notebooks {', '.join(manifest.plan)}", ", ".join(names), "start another run")
    for stage in stages:
        kinds = {name: type(value) for name, value in stage.defaults.items()}
        if kinds != {name: type(value) for name, value in manifest.parameters.get(stage.name, {}).items()}:
            raise InputError(f"the parameters {stage.name} had", "a notebook with others", "start another run")
    if not manifest.environment.keys() <= ENVIRONMENT:
        unknown = ", ".join(sorted(manifest.environment.keys() - ENVIRONMENT))
        raise InputError("a manifest that sets only what decides numbers", unknown, "start another run")
    return list(stages)


def _begin(
    run: Path,
    root: Path,
    stages: Sequence[Stage],
    values: dict[str, dict[str, Any]],
    limits: Limits | None,
    environment: Mapping[str, str],
) -> None:
    """Write down what a run is, and carry it out."""
    from avi_lib.workbook import manifest as kept

    manifest = kept.Manifest(
        plan=[stage.name for stage in stages],
        parameters=values,
        settings=kept.settings_of(values),
        seeds=kept.seeds_of(values),
        began=kept.now(),
        environment=dict(environment),
        **_circumstances(root),
    )
    with kept.locked(run):
        kept.write_manifest(run, manifest)
        _carry_out(manifest, stages, run, root, limits)


def _circumstances(root: Path) -> dict[str, Any]:
    """What a run is made with, beside its notebooks and their inputs."""
    from avi_lib.workbook.manifest import commit_of
    from avi_lib.workbook.stages import library_digest, packages, system

    commit, dirty = commit_of(root)
    library = library_digest()
    return {"commit": commit, "dirty": dirty, "library": library, "packages": packages(), "system": system()}


def _carry_out(manifest: Manifest, stages: Sequence[Stage], run: Path, root: Path, limits: Limits | None) -> None:
    """Carry out what is not finished of a run whose lock is held, and write down after each stage how it went."""
    from avi_lib.workbook.manifest import Failure, Limits, now, write_manifest
    from avi_lib.workbook.notebook import NotebookError
    from avi_lib.workbook.progress import Progress

    limits = limits or Limits()
    deadline = None if limits.run_s is None else time.monotonic() + limits.run_s
    made: dict[str, Output] = {}
    work = _Work(run, root, limits, deadline)
    with Progress(manifest.plan) as progress:
        for stage in stages:
            try:
                manifest = work.stage(stage, manifest, made, progress)
            except NotebookError as error:
                write_manifest(run, manifest.model_copy(update={"failure": error.failure, "ended": now()}))
                kind = RunInputError if error.exit_code == InputError.exit_code else RunError
                raised = kind(error.expected, error.got, error.do)
                raised.failure, raised.run = error.failure, run
                raise raised from error
            except KeyboardInterrupt:
                failure = Failure(kind="stopped", stage=stage.name, cell=work.cell, what="the run was told to stop")
                write_manifest(run, manifest.model_copy(update={"failure": failure, "ended": now()}))
                raise
            made |= manifest.stages[stage.name].outputs
    write_manifest(run, manifest.model_copy(update={"ended": now()}))


class _Work:
    """Carries out the stages of one run."""

    def __init__(self, run: Path, root: Path, limits: Limits, deadline: float | None) -> None:
        self.run, self.root, self.limits, self.deadline = run, root, limits, deadline
        self.cell: int | None = None

    def stage(self, stage: Stage, manifest: Manifest, made: Mapping[str, Output], progress: Progress) -> Manifest:
        """The manifest with a stage finished, which is carried out unless it is already."""
        from avi_lib.workbook.manifest import write_manifest
        from avi_lib.workbook.stages import address

        values = manifest.parameters[stage.name]
        key, inputs = address(stage, values, self.root, made, manifest.environment)
        held = manifest.stages.get(stage.name)
        folder = manifest.folder_of(self.run, stage.name)
        if held is not None and held.address == key and self._whole(held, self._files(stage, folder)):
            progress.say(f"{stage.name}: finished before")
            return manifest
        if held is not None or manifest.begun.get(stage.name) != key:
            self._clear(stage, folder)
        finished = {name: each for name, each in manifest.stages.items() if name != stage.name}
        manifest = manifest.model_copy(update={"stages": finished, "begun": manifest.begun | {stage.name: key}})
        write_manifest(self.run, manifest)
        make_folder(folder)
        (folder / RECORD).unlink(missing_ok=True)
        self.cell = None
        with self._turn(stage, values, progress):
            told = self._execute(stage, manifest, folder, key, inputs, progress)
        manifest = manifest.model_copy(update={"stages": manifest.stages | {stage.name: told}})
        write_manifest(self.run, manifest)
        return manifest

    def _execute(
        self, stage: Stage, manifest: Manifest, folder: Path, key: str, inputs: dict[str, str], progress: Progress
    ) -> StageRecord:
        from avi_lib.workbook.manifest import StageRecord, now
        from avi_lib.workbook.notebook import execute
        from avi_lib.workbook.stages import resolved

        def on_cell(number: int, cells: int) -> None:
            self.cell = number
            progress.cell(number, cells)

        progress.stage(stage.name, folder)
        began, begun_s = now(), time.perf_counter()
        executed = execute(
            stage,
            resolved(manifest.parameters[stage.name], self.run, folder),
            self.run / stage.path.name,
            self.limits,
            manifest.environment,
            self.deadline,
            on_cell,
            progress.tick,
        )
        seconds = time.perf_counter() - begun_s
        outputs = digest_outputs(self._files(stage, folder), places(self.run, self.root))
        return StageRecord(
            address=key,
            inputs=inputs,
            outputs=outputs,
            cells=executed.cells,
            device=executed.device,
            threads=executed.threads,
            began=began,
            seconds=round(seconds, 3),
        )

    def _files(self, stage: Stage, folder: Path) -> dict[str, Path]:
        """What a stage left, by path from the run's folder."""
        from avi_lib.workbook.manifest import MANIFEST

        alone = folder == self.run
        files = list_outputs(folder, {MANIFEST, stage.path.name} if alone else ())
        files = files if alone else {f"{stage.name}/{name}": path for name, path in files.items()}
        return {stage.path.name: self.run / stage.path.name, **files}

    def _whole(self, held: StageRecord, files: Mapping[str, Path]) -> bool:
        """Whether everything a stage left is there as it left it."""
        from avi_lib.files import file_sha256

        try:
            return all(name in files and file_sha256(files[name]) == each.sha256 for name, each in held.outputs.items())
        except OSError:
            return False

    def _clear(self, stage: Stage, folder: Path) -> None:
        """Remove what a stage left of other inputs."""
        from avi_lib.workbook.manifest import OWN

        if folder != self.run:
            shutil.rmtree(folder, ignore_errors=True)
            (self.run / stage.path.name).unlink(missing_ok=True)
            return
        for path in folder.iterdir():
            if path.name not in OWN:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    @contextmanager
    def _turn(self, stage: Stage, values: Mapping[str, Any], progress: Progress) -> Iterator[None]:
        """Have stages of several runs that prepare corpora in one place follow one another."""
        from avi_lib.workbook.stages import PREPARED

        if PREPARED not in values:
            yield
            return
        place = (self.root / str(values[PREPARED])).parent
        make_folder(place)
        lock = FileLock(place / ".turn.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"waiting for another run that prepares corpora in {place}")
            self._wait(stage, lock)
        try:
            yield
        finally:
            lock.release()

    def _wait(self, stage: Stage, lock: FileLock) -> None:
        """Wait for another run, no longer than the limit of this one."""
        from avi_lib.workbook.manifest import Failure
        from avi_lib.workbook.notebook import NotebookError

        try:
            lock.acquire(timeout=-1 if self.deadline is None else max(self.deadline - time.monotonic(), 0))
        except Timeout as error:
            what = f"more than {self.limits.run_s:g} s for the run, in which it waited for another"
            failure = Failure(kind="limit", stage=stage.name, cell=None, what=what)
            raise NotebookError(f"{stage.path.name} to run", what, "give it a PREPARED of its own", failure) from error


def places(run: Path, root: Path) -> dict[str, str]:
    """Names for the folders whose paths are in what notebooks show, longest first."""
    return {str(run): "RUN", str(root): "ROOT"}


def _empty_folder(output: Path) -> Path:
    """The run's folder, made; InputError when something is in it but what a run leaves that was killed at once."""
    run = output.resolve()
    make_folder(run)
    if not all(path.name.startswith(".") for path in run.iterdir()):
        raise InputError("an empty folder for the run", str(output), "name another, or go on with --resume")
    return run


def _new_folder(root: Path, stages: Sequence[Stage]) -> Path:
    """A folder under `outputs` that no other run has, named after the time and the notebooks."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{'-'.join(stage.number for stage in stages)}"
    make_folder(root / "outputs")
    candidates = (root / "outputs" / (f"{name}.{again}" if again else name) for again in count())
    return next(folder for folder in candidates if _is_made(folder))


def _is_made(folder: Path) -> bool:
    """Make a folder; False when it is there already."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
