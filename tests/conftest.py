"""Fixtures shared by all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other on busy cores take many times as long

import atexit
import pwd
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flame_files import write_flame

from avi_lib.face.head import Head, load_any_head, load_head
from avi_lib.heads.flame_head import FlameHead

SCRATCH = tempfile.mkdtemp(prefix="avi-tests-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
for variable in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
    os.environ[variable] = str(Path(SCRATCH, variable.lower()))  # tests leave a home alone and need none
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the library is compiled once and not by every program of a test
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks come first: each takes longer than any other test, and none should be waited for at the end."""
    items.sort(key=lambda item: item.get_closest_marker("workbook") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("AVI_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the folder of real recordings is not beside the project (AVI_REAL_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def head() -> Head:
    """The open head that is shipped."""
    return load_head()


@pytest.fixture(scope="session")
def flame_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up FLAME model file."""
    return write_flame(tmp_path_factory.mktemp("flame") / "generic_model.pkl")


@pytest.fixture(scope="session")
def flame_head(flame_path: Path) -> FlameHead:
    """The head of that file."""
    return load_any_head(str(flame_path))


@pytest.fixture
def files_of_at_most() -> Iterator[Callable[[int], None]]:
    """Limits the size of files, as a full disk does, until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person whom the system does not know, without any variable that names a folder of theirs."""

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError("no such user")

    for variable in ("HOME", "AVI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora are prepared without worker processes, and sound is read and encoded by stand-ins."""
    from preparing import read_quickly, stand_in

    from avi_lib.corpus import segments

    stand_in(monkeypatch)
    monkeypatch.setattr(segments, "load_voice", read_quickly)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random speech encoders of every kind, each in a folder of its name."""
    from small_encoders import save_models

    return save_models(tmp_path_factory.mktemp("encoders"))
