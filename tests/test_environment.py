"""The package is light to import and opens no pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "avi_lib").rglob("*.py"))


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
