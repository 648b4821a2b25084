"""The pins agree wherever they are written, and the package is light to import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.assets.lock import direct_pins, environment_yml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "avi_lib").rglob("*.py"))


def test_environment_yml_repeats_the_pins_of_pyproject():
    assert (ROOT / "environment.yml").read_text("utf-8") == environment_yml()


def test_the_lock_holds_every_direct_pin_and_only_exact_versions():
    lock = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if not line.startswith("#")]
    runtime, development = direct_pins()
    assert set(runtime + development) <= set(lock)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lock)


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"numpy", "torch", "av", "pydantic"}
    code = f"import sys, avi_lib; print(sorted(name for name in sys.modules if name.split('.')[0] in {heavy}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unpickler_is_reachable(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & {name.split(".")[0] for name in names}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "load")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_numpy_load = node.func.attr == "load" and getattr(node.func.value, "id", "") == "np"
            assert not is_numpy_load or any(word.arg == "allow_pickle" for word in node.keywords)
