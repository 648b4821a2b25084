"""Stages: the numbered notebooks of a run in order, and the address of everything that decides what one makes.

>>> stages = find_stages(project_root(), ["00", "03"])
>>> address(stages[0], values, root, made={}, environment=environment())
('5b1e...', {'notebook': '9d2c...', 'data/samples': '77aa...', ...})

Two stages with the same address make the same. It holds the notebook's bytes, its parameters, the library's source,
the versions of the packages it needs, what sets the number of threads, and every file that is read: the samples, those
that a parameter names, and outputs of former stages. It does not hold where the run lies.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import avi_lib
from avi_lib.corpus.catalogue import find_corpora
from avi_lib.errors import InputError
from avi_lib.files import file_sha256, folder_sha256
from avi_lib.workbook.outputs import Output
from avi_lib.workbook.parameters import OUT, PROFILE, Values, read_parameters

PREPARED, RAW, USE = "PREPARED", "RAW", "USE"
WORKED_ON = frozenset((OUT, PREPARED, RAW, "TRAIN", "BOARD"))
"""Parameters with folders that a notebook writes to, or reads in part; what they hold is no part of an address."""

SAMPLES = "data/samples"

RUN = "run:"
"""Begins a parameter that names an output of a former stage: run:03_talking_generator/talking.safetensors."""

HANDED: Mapping[str, Mapping[str, str]] = {
    "04": {"GENERATOR": "run:03_talking_generator/talking.safetensors"},
    "06": {
        "GENERATOR": "run:03_talking_generator/talking.safetensors",
        "PRIOR": "run:04_diffusion_training/prior.safetensors",
    },
}
"""What stages take from former ones by default, where both are in the run."""

VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG"),
)
"""Variables of the environment that decide how a notebook computes; sums of floats depend on the number of threads."""

ENVIRONMENT = frozenset((*VARIABLES, "PYTHONHASHSEED"))
"""What a run may set in the environment of its kernels."""

_SOURCES = (".py", ".json", ".npz", ".safetensors")


@dataclass(frozen=True)
class Stage:
    """A numbered notebook and the parameters it declares."""

    path: Path
    defaults: Values

    @property
    def name(self) -> str:
        """The notebook's name without its ending."""
        return self.path.stem

    @property
    def number(self) -> str:
        """The two digits in front."""
        return self.name[:2]


def find_stages(root: Path, numbers: Sequence[str] = ()) -> list[Stage]:
    """Stages of these numbers in order, all without any; InputError for a number that no notebook has."""
    known = {path.name[:2]: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    unknown = [number for number in numbers if number not in known]
    if unknown:
        near = [f"did you mean {number.zfill(2)}?" for number in unknown if number.zfill(2) in known]
        do = near[0] if near else "name them with two digits"
        raise InputError(f"notebook numbers among {', '.join(known)}", ", ".join(unknown), do)
    if not known:
        raise InputError("numbered notebooks", f"none in {root / 'notebooks'}", "restore them")
    paths = [known[number] for number in sorted(set(numbers))] if numbers else list(known.values())
    return [Stage(path, read_parameters(path)) for path in paths]


def hand_over(stages: Sequence[Stage], chosen: Mapping[str, Values], given: Mapping[str, str]) -> dict[str, Values]:
    """Values in which stages take what former ones make, where nothing else was asked for.

    Raises InputError for a text that begins with `run:` and names no stage before its own.
    """
    values, former = {}, set[str]()
    for stage in stages:
        own = dict(chosen[stage.name])
        for name, text in HANDED.get(stage.number, {}).items():
            if name not in given and name in own and _maker(text) in former:
                own[name] = text
        for name, value in own.items():
            if _is_handed(value) and _maker(value) not in former:
                do = f"{name} may name outputs of {', '.join(sorted(former)) or 'no stage'}"
                raise InputError(f"run:STAGE/FILE with a stage before {stage.name}", str(value), do)
        values[stage.name] = own
        former.add(stage.name)
    return values


def resolved(values: Values, run: Path, out: Path) -> Values:
    """Values as a notebook takes them: OUT is the stage's folder, and outputs of former stages are paths."""
    return {
        name: str(out)
        if name == OUT
        else str(run / value.removeprefix(RUN))
        if isinstance(value, str) and value.startswith(RUN)
        else value
        for name, value in values.items()
    }


def address(
    stage: Stage, values: Values, root: Path, made: Mapping[str, Output], environment: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Digest of everything that decides what a stage makes, and the digests of what it reads.

    Args:
        stage: the notebook.
        values: its parameters.
        root: the project's folder.
        made: outputs of the run's former stages.
        environment: variables that decide how it computes, see `environment`.

    Raises:
        InputError: it takes an output that no former stage left.
    """
    inputs = {"notebook": file_sha256(stage.path), "library": library_digest()}
    if (root / SAMPLES).is_dir():
        inputs[SAMPLES] = folder_sha256(root / SAMPLES)
    for name, value in values.items():
        if _is_handed(value):
            output = value.removeprefix(RUN)
            if output not in made:
                raise InputError(f"{output} of a former stage", "a run that did not make it", f"change {name}")
            inputs[value] = made[output].sha256
        elif isinstance(value, str) and name not in WORKED_ON:
            inputs |= _named_files(value, root)
    inputs |= _corpora(values, root)
    kept = {name: value for name, value in values.items() if name != OUT}
    decides = {
        "inputs": inputs,
        "parameters": kept,
        "packages": {name: packages().get(name) for name in needed_packages()},
        "system": system(),
        "environment": dict(environment),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(), inputs


def environment() -> dict[str, str]:
    """Variables that decide how a kernel computes: those of `VARIABLES` that are set, and the order of sets."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ} | {"PYTHONHASHSEED": "0"}


@cache
def library_digest() -> str:
    """SHA-256 over the library's source and its shipped assets."""
    root = Path(avi_lib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _SOURCES and path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


@cache
def packages() -> dict[str, str]:
    """Versions of all installed packages by name."""
    found = {each.name: each.version for each in importlib.metadata.distributions() if each.name}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


@cache
def needed_packages() -> list[str]:
    """Names of the packages that the library asks for."""
    lines = [line for line in importlib.metadata.requires("avi-lib") or () if "extra ==" not in line]
    return sorted(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines)


@cache
def system() -> dict[str, str]:
    """Interpreter and machine."""
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}


def _is_handed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(RUN)


def _maker(value: str) -> str:
    return value.removeprefix(RUN).partition("/")[0]


def _named_files(text: str, root: Path) -> dict[str, str]:
    """Digests of the files and folders that a text names, alone or in a list such as a.wav,b.wav or c=table:folder."""
    found = {}
    for piece in {text, *(part.strip() for part in re.split(r"[,=:]", text))}:
        try:
            path = root / piece
            if piece and path.is_file():
                found[piece] = file_sha256(path)
            elif piece and path.is_dir() and not root.is_relative_to(path.resolve()):
                found[piece] = folder_sha256(path)
        except (OSError, ValueError):
            continue  # a sentence, too long or too odd to be a path
    return found


def _corpora(values: Values, root: Path) -> dict[str, str]:
    """Digests of the raw corpora that profile `full` finds, and of prepared ones that are taken just as they are."""
    folders = []
    if values.get(PROFILE) == "full" and RAW in values and not values.get(USE):
        folders += [corpus.folder for corpus in find_corpora(root / str(values[RAW]))]
    for name in filter(None, (part.strip() for part in str(values.get(USE, "")).split(","))):
        folders.append(root / str(values.get(PREPARED, "")) / name)
    return {
        str(folder.relative_to(root) if folder.is_relative_to(root) else folder): folder_sha256(folder)
        for folder in folders
    }
