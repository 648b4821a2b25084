"""Runs: numbered notebooks executed by papermill into one folder, which can be resumed and repeated.

>>> run = run_notebooks(["00"], {"SEED": "7"}, Path("outputs/try"))
>>> describe(resume_run(run))["status"], verify_run(run)["repeats"]
('finished', True)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError, create_model

import avi_lib
from avi_lib.errors import InputError, cause
from avi_lib.files import atomic_path, file_sha256, folder_sha256, make_folder, place

MANIFEST, RECORD, LOCK = "manifest.json", "record.json", ".lock"
WRITTEN = {"OUT", "PREPARED", "RAW", "TRAIN", "BOARD"}
"""Parameters with folders that a notebook writes to, or reads in part: what they hold decides nothing."""
_GENERATOR = {"GENERATOR": "run:03_talking_generator/talking.safetensors"}
EARLIER = {"04": _GENERATOR, "06": {**_GENERATOR, "PRIOR": "run:04_diffusion_training/prior.safetensors"}}
"""What notebooks take from earlier ones of their run where nothing else is asked for."""
VARIABLES = {
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED"),
}  # what a run keeps of the environment and sets in its kernels: sums of floats depend on the number of threads
_TIME = re.compile(r"(^|_)(s|ms|seconds)$")
_VARYING = re.compile(r"\d+(?:\.\d+)?(?= (?:CPU )?(?:ms|s|seconds|minutes)\b)|(?<=0x)[0-9a-f]{6,}")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_KINDS |= {type(None): "a value"}
Values = dict[str, Any]
LOG = logging.getLogger(__name__)  # says when a notebook begins, waits and ends


def project_root() -> Path:
    """The folder with `notebooks/` and `pyproject.toml` at or above the working folder."""
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise InputError("the workbook's folder", f"{start}, which is not inside it", "change into the cloned project")


def record(folder: Path, **values: Any) -> None:
    """Add values to `folder/record.json`, by which a run is judged, with device and threads of this process."""
    torch, path = sys.modules.get("torch"), Path(folder) / RECORD
    values |= {"device": "cpu", "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))}
    if torch is not None:
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        device = f"cuda: {torch.cuda.get_device_name()}" if cuda else f"cpu: {torch.backends.cpu.get_cpu_capability()}"
        values |= {"device": device, "threads": torch.get_num_threads()}
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(known | values, indent=2, sort_keys=True) + "\n", "utf-8")


def run_notebooks(
    numbers: Sequence[str],
    parameters: Mapping[str, str],
    output: Path | None = None,
    root: Path | None = None,
    *,
    profile: str | None = None,
    cell_limit_s: float = math.inf,
    limit_s: float = math.inf,
) -> Path:
    """Execute the notebooks with these two-digit numbers (all without any) in order; return the run's folder.

    `parameters` are texts for values of the parameters cells, and `profile` PROFILE where there is one. The folder is
    `output`, or one below `outputs/` named after the time: OUT of a notebook alone; each of several has one in it.
    Raises InputError for an unknown number or parameter, a value that does not fit, and a folder that is in use;
    RunError for a cell that failed or took too long, or a killed kernel, from which `resume_run` goes on;
    KeyboardInterrupt when it was stopped.
    """
    root = (root or project_root()).resolve()
    values = choose(find_stages(root, numbers), parameters, profile)
    run = output or root / "outputs" / f"{datetime.now():%Y%m%d-%H%M%S}-{'-'.join(stage[:2] for stage in values)}"
    while output is None and run.exists():
        run = run.with_name(f"{run.name}+")
    make_folder(run := run.resolve())
    if not all(path.name.startswith(".") for path in run.iterdir()):
        raise InputError("an empty folder for the run", str(output), "name another, or go on with --resume")
    environment = {name: os.environ[name] for name in sorted(VARIABLES & os.environ.keys())} | {"PYTHONHASHSEED": "0"}
    return _begin(run, root, values, environment, cell_limit_s, limit_s)


def resume_run(
    run: Path, root: Path | None = None, *, cell_limit_s: float = math.inf, limit_s: float = math.inf
) -> Path:
    """Execute again what of a run is not finished, or has inputs or outputs that changed, with its own parameters.

    Trainings go on from their checkpoints. Raises as `run_notebooks`, and InputError for no run or a running one.
    """
    root, run = (root or project_root()).resolve(), run.resolve()
    read_manifest(run, root)
    with locked(run):
        return _execute_all(read_manifest(run), run, root, cell_limit_s, limit_s)


def find_stages(root: Path, numbers: Collection[str] = ()) -> dict[str, Values]:
    """Declared parameters of the notebooks of these numbers by name, all without any; InputError for another number."""
    from avi_lib.workbook.notebook import read_parameters

    known = {path.name[:2]: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    if unknown := [number for number in numbers or ["00"] * (not known) if number not in known]:
        do = f"did you mean {unknown[0].zfill(2)}?" if unknown[0].zfill(2) in known else "name them with two digits"
        raise InputError(f"notebook numbers among {', '.join(known)}", ", ".join(unknown), do)
    return {known[number].stem: read_parameters(known[number]) for number in sorted(set(numbers) or known)}


def choose(stages: Mapping[str, Values], texts: Mapping[str, str], profile: str | None = None) -> dict[str, Values]:
    """Values of every notebook: its defaults, outputs of earlier ones (run:NAME/FILE), the profile, and given texts.

    Raises InputError for a parameter that no notebook has, a value of another kind, or an output of no earlier one.
    """
    if "OUT" in texts:
        raise InputError("the run's folder as --output", "the parameter OUT", "pass --output FOLDER")
    if profile is not None and texts.get("PROFILE", profile) != profile:
        raise InputError("one profile", f"--profile {profile} and PROFILE={texts['PROFILE']}", "leave one out")
    known = {name for values in stages.values() for name in values} - {"OUT"}
    for name in texts.keys() - known:
        raise InputError(f"a parameter of {', '.join(stages)}", name, _nearest(name, known))
    if profile is not None:
        texts = {**texts, "PROFILE": value_of("PROFILE", profile, "")}
    chosen: dict[str, Values] = {}
    for stage, defaults in stages.items():
        earlier = EARLIER.get(stage[:2], {}).items()
        taken = {name: file for name, file in earlier if name in defaults and _made_by(file) in chosen}
        given = {name: value_of(name, texts[name], value) for name, value in defaults.items() if name in texts}
        values = {**defaults, **taken, **given}
        for name, value in values.items():
            if _made_by(value) and _made_by(value) not in chosen:
                do = f"{name} may name outputs of {', '.join(chosen) or 'no stage'}"
                raise InputError(f"run:STAGE/FILE with a stage before {stage}", value, do)
        chosen[stage] = values
    return chosen


def value_of(name: str, text: str, default: Any) -> Any:
    """A text as a value of its default's kind; InputError when it is none, or none that the setting takes."""
    from avi_lib.settings import PROFILES, RenderSettings, TalkSettings, validated

    value, kind = text, type(default)
    if kind is str and text in ("null", "None"):
        raise InputError(f"a text for {name}", f"{text}, which is none", f"write {name}= for an empty text")
    if kind is not str:
        numbers = Annotated[float, Field(allow_inf_nan=False)]
        checked: Any = {float: numbers, type(None): Any}.get(kind, kind)
        try:
            value = TypeAdapter(checked).validate_json(text.lower() if kind is bool else text, strict=True)
        except ValidationError:
            wanted = f"{_KINDS[kind]} as JSON for {name}"
            raise InputError(wanted, repr(text[:80]), f"write it like its default {json.dumps(default)}") from None
    if name == "PROFILE" and (not isinstance(value, str) or value not in PROFILES):
        raise InputError(f"a profile of {', '.join(PROFILES)}", repr(text), _nearest(text, PROFILES))
    if name in ("SEED", "SIZE"):
        validated(TalkSettings if name == "SEED" else RenderSettings, **{name.lower(): value})
    return value


# What is relied on of a manifest, of a stage that began and of one that is finished.
_MANIFEST = create_model(
    "_MANIFEST",
    format=Literal[2],
    parameters=dict[str, Values],
    environment=dict[str, str],
    packages=dict[str, str | None],
    library=str,
    system=Any,
    stages=dict[str, Values],
    failure=Values | None,
)
_STAGE = create_model("_STAGE", address=str, inputs=dict[str, str])
_DONE = create_model(
    "_DONE", __base__=_STAGE, outputs=dict[str, str], seconds=float, device=str | None, threads=int | None
)


def read_manifest(run: Path, root: Path | None = None) -> dict[str, Any]:
    """The manifest of a run; InputError for a folder without one, or with a damaged one.

    With the project's `root` also where its notebooks have other parameters now, or it sets foreign variables.
    """
    path = run / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        _MANIFEST.model_validate(manifest, strict=True)
        for stage in manifest["stages"].values():
            (_DONE if "outputs" in stage else _STAGE).model_validate(stage, strict=True)
    except FileNotFoundError as error:
        raise InputError("the folder of a run", f"{run} without {MANIFEST}", "name a folder below outputs/") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("a whole manifest", f"{path}: {cause(error)}", "start another run") from error
    if root is not None:
        now, then = find_stages(root, [name[:2] for name in manifest["parameters"]]), manifest["parameters"]
        kinds_now, kinds_then = (
            {stage: {name: type(value) for name, value in values.items()} for stage, values in each.items()}
            for each in (now, then)
        )
        if kinds_now != kinds_then:
            raise InputError("the notebooks of the run with the parameters they had", ", ".join(now), "start another")
        if unknown := manifest["environment"].keys() - VARIABLES:
            raise InputError(f"variables among {', '.join(sorted(VARIABLES))}", ", ".join(unknown), "start another run")
    return manifest


def describe(run: Path) -> dict[str, Any]:
    """Status, stages and failure of a run, for `avi run --json`; InputError when the folder holds no run.

    It is `running` while a live process holds its lock, which the system takes from a dead one; else `finished`,
    `failed` or `interrupted`.
    """
    manifest, running = read_manifest(run), False
    try:
        with locked(run):
            manifest = read_manifest(run)
    except InputError:
        running = True
    stages: dict[str, Values] = {name: {"finished": False} for name in manifest["parameters"]}
    for name, stage in manifest["stages"].items():
        if "outputs" in stage:
            stages[name] = {"finished": True, "seconds": stage["seconds"], "outputs": sorted(stage["outputs"])}
    failure = manifest["failure"]
    status = "finished" if all(stage["finished"] for stage in stages.values()) else "interrupted"
    status = "failed" if failure is not None and failure.get("kind") != "stopped" else status
    return {"run": str(run), "status": "running" if running else status, "stages": stages, "failure": failure}


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's lock; InputError when another process does."""
    try:
        with FileLock(run / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise InputError("a run that nobody works on", f"{run}, which is running", "wait for it") from error


def _made_by(value: Any) -> str:
    """The stage whose output run:STAGE/FILE names; nothing for any other value."""
    return value.removeprefix("run:").split("/")[0] if isinstance(value, str) and value.startswith("run:") else ""


def _nearest(name: str, known: Collection[str]) -> str:
    by_letters = {each.lower(): each for each in sorted(known)}
    near = get_close_matches(name.lower(), by_letters, 1)
    return f"did you mean {by_letters[near[0]]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(run: Path, manifest: dict[str, Any]) -> None:
    with atomic_path(run / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _begin(
    run: Path, root: Path, values: dict[str, Values], environment: dict[str, str], cell_s: float, limit_s: float
) -> Path:
    """Write down what a run is, and execute it."""
    from avi_lib.settings import PROFILES

    profiles = sorted({str(each["PROFILE"]) for each in values.values() if "PROFILE" in each})
    manifest = {
        "format": 2,
        "parameters": values,
        "settings": {name: PROFILES[name].model_dump(mode="json") for name in profiles},
        "seeds": {stage: each["SEED"] for stage, each in values.items() if "SEED" in each},
        "environment": environment,
        "began": _now(),
        "stages": {},
    }
    with locked(run):
        return _execute_all(manifest, run, root, cell_s, limit_s)


def _circumstances(root: Path) -> dict[str, Any]:
    """What a run is made with, beside its notebooks and their inputs."""
    library = Path(avi_lib.__file__).parent
    sources = sorted(path for path in library.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    digests = "\n".join(f"{path.relative_to(library).as_posix()} {file_sha256(path)}" for path in sources)
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    commit = None
    with suppress(OSError, subprocess.SubprocessError):  # no git, or no commit
        commit = subprocess.run(git, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    return {
        "commit": commit,
        "library": hashlib.sha256(digests.encode()).hexdigest(),
        "packages": {each.name: each.version for each in importlib.metadata.distributions() if each.name},
        "system": {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()},
    }


def _execute_all(manifest: dict[str, Any], run: Path, root: Path, cell_s: float, limit_s: float) -> Path:
    """Execute what is not finished of a run whose lock is held, and write down after each stage how it went."""
    from avi_lib.workbook.notebook import RunError, execute

    manifest |= {"failure": None, "ended": None, **_circumstances(root)}
    _write(run, manifest)
    until_s, stages = time.monotonic() + limit_s, manifest["stages"]
    for name, values in manifest["parameters"].items():
        out = run if len(manifest["parameters"]) == 1 else run / name
        notebook, output = root / "notebooks" / f"{name}.ipynb", run / f"{name}.ipynb"
        inputs = _inputs(values, notebook, manifest, root)
        decides = [inputs, {**values, "OUT": ""}, manifest["system"], manifest["environment"]]
        address = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        before = stages.get(name, {})
        if before.get("address") == address and "outputs" in before and not _changed(run, before["outputs"]):
            continue
        if before.get("address") != address or "outputs" in before:  # else a training goes on from its checkpoint
            for path in run.iterdir() if out == run else (output, out):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name not in (MANIFEST, LOCK):
                    path.unlink(missing_ok=True)
        stages[name] = {"address": address, "inputs": inputs, "began": _now()}
        _write(run, manifest)
        make_folder(out)
        (out / RECORD).unlink(missing_ok=True)
        given = {key: str(run / value[4:]) if _made_by(value) else value for key, value in values.items()}
        given |= {"OUT": str(out)} if "OUT" in values else {}
        prepared = place(str(values.get("PREPARED", ".")), root)
        turns = prepared.parent if isinstance(prepared, Path) else root
        make_folder(turns)
        begun_s, wait_s = time.perf_counter(), -1.0 if limit_s == math.inf else max(until_s - time.monotonic(), 0.0)
        try:
            with _turn(turns, wait_s) if "PREPARED" in values else nullcontext():
                LOG.info("%s begins", name)
                cells = execute(notebook, output, given, manifest["environment"], cell_s, until_s)
        except (RunError, Timeout) as error:
            if isinstance(error, Timeout):
                what = f"more than {limit_s:g} s for the run, in which it waited for another that prepares in {turns},"
                error = RunError({"kind": "limit", "stage": name, "cell": None, "what": what, "signal": None}, output)
            manifest |= {"failure": error.failure, "ended": _now()}
            _write(run, manifest)
            if error.failure["kind"] == "stopped":
                raise KeyboardInterrupt from error
            raise error
        made = {output, *(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())}
        files = {path.relative_to(run).as_posix(): path for path in sorted(made)}
        hidden = re.compile(rf"(^|/)\.|^{MANIFEST}$")
        recorded = json.loads((out / RECORD).read_text("utf-8")) if (out / RECORD).is_file() else {}
        stages[name] |= {
            "cells": cells,
            "seconds": round(time.perf_counter() - begun_s, 3),
            "device": recorded.get("device"),
            "threads": recorded.get("threads"),
            "outputs": {file: file_sha256(path) for file, path in files.items() if not hidden.search(file)},
        }
        _write(run, manifest)
        LOG.info("%s took %.0f s", name, stages[name]["seconds"])
    manifest["ended"] = _now()
    _write(run, manifest)
    return run


@contextmanager
def _turn(place: Path, wait_s: float) -> Iterator[None]:
    """Runs that prepare corpora in one place follow one another; Timeout where that takes too long."""
    lock = FileLock(place / ".turn.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOG.info("waiting for another run that prepares corpora in %s", place)
        lock.acquire(timeout=wait_s)
    try:
        yield
    finally:
        lock.release()


MOST_NAMED = 8


def made_lines(run: Path) -> Iterator[str]:
    """What a run made, for a person: by notebook its time and its files, videos and weights first."""
    kinds = (".mp4", ".webm", ".safetensors", ".html", ".png", ".npz")
    for name, stage in describe(run)["stages"].items():
        if not stage["finished"]:
            continue
        files = [file for file in stage["outputs"] if file != f"{name}.ipynb" and not file.endswith(RECORD)]
        files.sort(key=lambda file: ([Path(file).suffix != kind for kind in kinds], file))
        more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
        yield f"{name}: {stage['seconds']:.0f} s; {', '.join(files[:MOST_NAMED]) or 'no files'}{more}"
    yield f"run: {run}"


def _outputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files that all finished stages left, by path from the run's folder."""
    return {file: digest for each in manifest["stages"].values() for file, digest in each.get("outputs", {}).items()}


def _changed(run: Path, outputs: Mapping[str, str]) -> list[str]:
    """Files that are missing or have other bytes than a stage left."""
    inside = [name for name in outputs if (run / name).is_file() and (run / name).resolve().is_relative_to(run)]
    return sorted(outputs.keys() - {name for name in inside if file_sha256(run / name) == outputs[name]})


def _inputs(values: Values, notebook: Path, manifest: dict[str, Any], root: Path) -> dict[str, str]:
    """Digests of what a stage reads: notebook, library, packages, samples, files in its parameters, earlier outputs."""
    from avi_lib.corpus.adapters import find_corpora

    required = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in importlib.metadata.requires("avi-lib") or ()]
    inputs = {"notebook": file_sha256(notebook), "library": manifest["library"]}
    inputs |= {package: manifest["packages"].get(package, "absent") for package in required}
    named, made = {"data/samples"}, _outputs(manifest)
    for key, value in values.items():
        if _made_by(value):
            if value[4:] not in made:
                raise InputError(f"{value} of an earlier stage", "a run that did not make it", f"change {key}")
            inputs[value] = made[value[4:]]
        elif isinstance(value, str) and key not in WRITTEN:  # a.wav,b.wav or c=table:folder
            named |= {value, *(part.strip() for part in re.split(r"[,=:]", value))}
    used = [part.strip() for part in str(values.get("USE", "")).split(",") if part.strip()]
    named |= {f"{values.get('PREPARED', '')}/{part}" for part in used}
    if values.get("PROFILE") == "full" and "RAW" in values and not used:
        named |= {str(corpus.folder) for corpus in find_corpora(root / str(values["RAW"]))}
    for piece in sorted(named - {""}):
        with suppress(OSError, ValueError):  # a sentence may be too long or too odd to be a path
            if (path := root / piece).is_file():
                inputs[piece] = file_sha256(path)
            elif path.is_dir() and not root.is_relative_to(path.resolve()):
                inputs[piece] = folder_sha256(path)
    return inputs


def verify_run(run: Path, root: Path | None = None) -> dict[str, Any]:
    """Repeat a finished run in a folder beside it and compare: files that changed since, and that differ, and where.

    Times and outputs of cells tagged `varies` are left out. A repetition that differs is kept: `again`.
    Raises InputError when the run is not finished or its notebooks are others, and RunError when the repetition fails.
    """
    root, run = (root or project_root()).resolve(), run.resolve()
    if describe(run)["status"] != "finished":
        raise InputError("a finished run", f"{run}, which is not", f"`avi run --resume {run}` first")
    before = read_manifest(run, root)
    again = Path(tempfile.mkdtemp(prefix=f"{run.name}-again-", dir=run.parent))
    try:
        _begin(again, root, before["parameters"], before["environment"], math.inf, math.inf)
    except KeyboardInterrupt:
        shutil.rmtree(again)
        raise
    after = read_manifest(again)
    old, new = _outputs(before), _outputs(after)
    changed, differs = _changed(run, old), {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            differs[name] = ["made by one of them alone"]
        elif old[name] != new[name] and name not in changed:
            pair = [repeating(folder / name, {folder: "RUN", root: "ROOT"}) for folder in (run, again)]
            if places := list(differences(*pair)):
                differs[name] = places[:5] + [f"and {len(places) - 5} more"] * (len(places) > 5)
    conditions = [
        {key: each[key] for key in ("library", "packages", "system")}
        | {name: {key: stage[key] for key in ("inputs", "device", "threads")} for name, stage in each["stages"].items()}
        for each in (before, after)
    ]
    repeats = not changed and not differs
    if repeats:
        shutil.rmtree(again)
    return {
        "repeats": repeats,
        "run": str(run),
        "files": len(old.keys() | new.keys()),
        "changed": changed,
        "differs": differs,
        "conditions": list(differences(conditions[0], conditions[1])),
        "again": None if repeats else str(again),
    }


def repeating(path: Path, places: Mapping[Path, str]) -> Any:
    """What of a file must repeat: no times, addresses, widget numbers, folders, nor what `varies` cells show."""

    def untimed(pairs: list[tuple[str, Any]]) -> Values:
        return {key: value for key, value in pairs if not _TIME.search(key)}

    if path.suffix not in (".ipynb", ".jsonl") and path.name != RECORD:
        return path.read_bytes()
    text = path.read_text("utf-8", errors="replace")
    try:
        if path.suffix == ".ipynb":
            return [_cell(cell, places) for cell in json.loads(text)["cells"]]
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        return [json.loads(line, object_pairs_hook=untimed) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


def _cell(cell: dict[str, Any], places: Mapping[Path, str]) -> Values:
    """Source and outputs of a cell; what it printed as one text."""
    varies = "varies" in cell.get("metadata", {}).get("tags", ())
    outputs = cell["outputs"] if cell["cell_type"] == "code" and not varies else []
    kept: Values = {"source": "".join(cell["source"]), "shown": []}
    kept["printed"] = "".join("".join(each["text"]) for each in outputs if each.get("name") == "stdout")
    for each in outputs:
        if "name" not in each:
            widget = {"application/vnd.jupyter.widget-view+json": ""}
            kept["shown"].append({**each["data"], **widget} if each.get("data") else [each["ename"], each["evalue"]])
    text = json.dumps(kept)
    for folder, name in places.items():
        text = text.replace(json.dumps(str(folder))[1:-1], name)
    return json.loads(_VARYING.sub("#", text))


def differences(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Places at which two values differ, as `losses/align/3: 0.5, now 0.25`; the first byte of bytes."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{at}/{key}".lstrip("/"))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{at}/{number}".lstrip("/"))
    elif isinstance(before, bytes) and isinstance(after, bytes) and before != after:
        pairs = enumerate(zip(before, after, strict=False))
        first = next((byte for byte, (one, two) in pairs if one != two), min(len(before), len(after)))
        yield f"{len(before)} bytes and {len(after)}, from byte {first}"
    elif before != after and at.rpartition("/")[2] in ("png", "jpeg", "mp4"):
        yield f"{at}: another picture"
    elif before != after:
        then, now = str(before), str(after)
        same = next((i for i, (one, two) in enumerate(zip(then, now, strict=False)) if one != two), 0)
        first = max(same - 20, 0)
        yield f"{at or 'the whole'}: {then[first : first + 40]!r}, now {now[first : first + 40]!r}"


def report_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `verify_run` found, for a person."""
    yield from (f"condition  {condition}" for condition in found["conditions"])
    yield from (f"changed    {name}: not what the run left" for name in found["changed"])
    yield from (f"differs    {name}: {', '.join(where)}" for name, where in found["differs"].items())
    if found["again"]:
        yield f"again      {found['again']}"
    yield f"{found['files'] - len(found['differs'])} of {found['files']} files repeat"
