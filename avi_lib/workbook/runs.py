"""Runs: numbered notebooks executed headless by papermill into one folder.

>>> run_notebooks(["00"], {"SEED": "7"}, Path("outputs/try"))
PosixPath('outputs/try')

The folder holds each executed notebook, what it made, and what its record cell recorded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from avi_lib.errors import AviError, InputError
from avi_lib.files import atomic_path, make_folder

RECORD = "record.json"


class RunError(AviError):
    """A notebook stopped with an error; its partial output is kept."""


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
    numbers: Sequence[str], parameters: Mapping[str, str], output: Path | None = None, root: Path | None = None
) -> Path:
    """Execute the notebooks with these numbers (all when none are given) in order; return the run's folder.

    parameters: texts that replace values of the parameters cells, read as JSON where the default is no string. Raises
    InputError for an unknown number or parameter and RunError when a cell fails or the kernel dies. What a former run
    recorded in the same folder is forgotten.
    """
    root = root or project_root()
    notebooks = _notebooks(root, numbers)
    given = {path: _parameters(path, parameters) for path in notebooks}
    if "OUT" in parameters:
        raise InputError("the run's folder as --output", "the parameter OUT", "pass --output FOLDER")
    unknown = set(parameters).difference(*given.values())
    if unknown:
        known = sorted({name for path in notebooks for name in _defaults(path)})
        raise InputError(f"parameters among {', '.join(known)}", ", ".join(sorted(unknown)), "check the spelling")
    run = _new_folder(root, notebooks) if output is None else output.resolve()
    make_folder(run)
    (run / RECORD).unlink(missing_ok=True)
    for path in notebooks:
        _execute(path, run, given[path])
    return run


def record(folder: Path, **values: Any) -> None:
    """Add values to `folder/record.json`: what a run is judged by, readable without opening a notebook."""
    path = Path(folder) / RECORD
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(known | values, indent=2, sort_keys=True) + "\n", "utf-8")


def _new_folder(root: Path, notebooks: Sequence[Path]) -> Path:
    """A folder under `outputs` that no other run has, named after the time and the notebooks."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{'-'.join(path.stem[:2] for path in notebooks)}"
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


def _notebooks(root: Path, numbers: Sequence[str]) -> list[Path]:
    known = {path.name[:2]: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise InputError(f"notebook numbers among {', '.join(known)}", ", ".join(unknown), "name them with two digits")
    return [known[number] for number in sorted(set(numbers))] if numbers else list(known.values())


def _defaults(path: Path) -> dict[str, str]:
    """Names and default expressions of a notebook's parameters cell."""
    from papermill import inspect_notebook

    return {name: found["default"] for name, found in inspect_notebook(str(path)).items()}


def _parameters(path: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """The given parameters that this notebook has, as values of their default's kind."""
    return {name: _value(name, texts[name], default) for name, default in _defaults(path).items() if name in texts}


def _value(name: str, text: str, default: str) -> Any:
    if default[:1] in "\"'":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise InputError(f"{name} like its default {default}", repr(text), "write it as JSON") from None


def _execute(path: Path, run: Path, parameters: Mapping[str, Any]) -> None:
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    if "OUT" in _defaults(path):
        parameters = {**parameters, "OUT": str(run)}
    executed = run / path.name
    try:
        execute_notebook(
            str(path),
            str(executed),
            parameters=dict(parameters),
            cwd=str(path.parent),
            progress_bar=sys.stderr.isatty(),
            kernel_name="python3",
        )
    except PapermillExecutionError as error:
        reason = (str(error.evalue).splitlines() or [""])[0]
        kind = RunInputError if error.ename == "InputError" else RunError
        got = f"{error.ename} in cell {error.exec_count}: {reason}"
        raise kind(f"{path.name} to run to its end", got, f"open {executed}") from error
    except DeadKernelError as error:
        got = "its kernel was killed"
        raise RunError(f"{path.name} to run to its end", got, f"free memory, and open {executed}") from error
