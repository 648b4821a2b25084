"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("AVI_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the folder of real recordings is not beside the project (AVI_REAL_DATA names another place)")
    return folder
