"""The workbook's environment: pyproject.toml's pins in, environment.yml and requirements.lock out.

    python -m tools.assets.lock

pyproject.toml is the one place where a direct dependency is pinned. environment.yml repeats those pins for conda users,
under conda-forge's names where it has the package in the same numbering; requirements.lock names the exact version of
everything they draw in, as installed in the running environment.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from avi_lib.files import atomic_path

ROOT = Path(__file__).resolve().parents[2]
BUILD_TOOLS = {"pip", "setuptools", "wheel"}
CONDA = {
    **{
        name: name
        for name in (
            "accelerate av beartype ctranslate2 filelock fsspec hypothesis import-linter inflect ipykernel ipywidgets "
            "jaxtyping jinja2 jupyterlab librosa matplotlib mypy nbclient nbformat nbstripout numba numpy packaging "
            "papermill pillow plotly pyarrow pydantic pytest pytest-xdist pyyaml rapidfuzz ruff safetensors "
            "scikit-learn scipy tensorboard tornado tqdm transformers"
        ).split()
    },
    "huggingface-hub": "huggingface_hub",
    "jupyter-client": "jupyter_client",
    "sounddevice": "python-sounddevice",
    "soundfile": "pysoundfile",
    "soxr": "soxr-python",
    "torch": "pytorch-cpu",
}
"""Names on conda-forge by names on the package index. OpenCV counts its versions otherwise there and is left to pip, as
is what conda-forge lacks."""


def direct_pins(pyproject: Path = ROOT / "pyproject.toml") -> tuple[list[str], list[str]]:
    """The pinned run-time and development requirements of pyproject.toml, in its order."""
    project = tomllib.loads(pyproject.read_text("utf-8"))
    return project["project"]["dependencies"], project["project"]["optional-dependencies"]["dev"]


def environment_yml(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """Text of environment.yml: what conda-forge has from there, the rest through pip, with pyproject.toml's pins."""
    pins = [Requirement(pin) for pins in direct_pins(pyproject) for pin in pins]
    conda = [f"{CONDA[each.name]}{each.specifier}" for each in pins if each.name in CONDA]
    lines = [
        "# Written by `make lock` from pyproject.toml; edit that file instead.",
        "# With an NVIDIA card write pytorch-gpu for pytorch-cpu.",
        "name: avi",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        *[f"  - {pin.replace('==', '=')}" for pin in sorted(set(conda))],
        "  - pip:",
        *[f"      - {each.name}{each.specifier}" for each in pins if each.name not in CONDA],
        "      - -e .",
    ]
    return "\n".join(lines) + "\n"


def requirements_lock(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """Text of requirements.lock: the closure of the direct pins with the versions installed here."""
    runtime, development = direct_pins(pyproject)
    closure: dict[str, str] = {}
    queue = [Requirement(pin) for pin in [*runtime, *development]]
    seen: set[tuple[str, str]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = (name, ",".join(sorted(requirement.extras)))
        if key in seen or name in BUILD_TOOLS:
            continue
        seen.add(key)
        closure[name] = distribution(name).version.split("+")[0]
        for line in requires(name) or []:
            child = Requirement(line)
            extras = requirement.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(child)
    header = "# Written by `make lock`: the exact versions CI installs. torch is installed before the rest.\n"
    return header + "".join(f"{name}=={version}\n" for name, version in sorted(closure.items()))


def main() -> None:
    """Write both files at the root of the project."""
    for name, text in (("environment.yml", environment_yml()), ("requirements.lock", requirements_lock())):
        with atomic_path(ROOT / name) as temporary:
            temporary.write_text(text, "utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
