"""Workers: processes here and on a Ray cluster give what one process gives, and one that dies is said or replaced."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avi_lib.batch import talk_all
from avi_lib.errors import AssetError, AviError, InputError
from avi_lib.settings import TalkSettings
from avi_lib.workers import as_done, result_of, worker_pool

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = [ROOT / "data" / "samples" / f"{name}.flac" for name in ("angry", "sad")]

pytestmark = pytest.mark.processes


def square(number: int) -> int:
    return number * number


def refuse(number: int) -> int:
    raise InputError("another number", str(number), "name one")


def die_once(folder: str, number: int) -> int:
    """End the worker the first time this number comes."""
    died = Path(folder) / f"{number}"
    if not died.exists():
        died.touch()
        os._exit(1)
    return number


@pytest.fixture(params=["local:2", "ray://local:2"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param.startswith("ray"):
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'avi-lib[ray]'")
    return str(request.param)


def test_work_comes_back_and_errors_with_it(place: str, tmp_path: Path) -> None:
    with worker_pool(place) as pool:
        done = {
            future: result_of(future) for future in as_done({pool.submit(square, n): 1 for n in range(9)}, "", True)
        }
        assert sorted(done.values()) == [n * n for n in range(9)]
        with pytest.raises(InputError, match="expected another number; got 3"):
            result_of(pool.submit(refuse, 3))
        if place.startswith("ray"):  # a worker that dies is replaced
            assert [result_of(pool.submit(die_once, str(tmp_path), n)) for n in (1, 2)] == [1, 2]
        else:
            with pytest.raises(AviError, match="worker processes that live"):
                result_of(pool.submit(die_once, str(tmp_path), 1))


def test_recordings_made_by_workers_are_those_of_one_process(place: str, tmp_path: Path) -> None:
    settings = TalkSettings(generator="performer", seed=3)
    digests = []
    for name, workers in (("one", None), ("many", place)):
        folder = tmp_path / name
        outcomes = list(talk_all(SAMPLES, settings, {"motion": folder}, "She is sad.", workers=workers))
        assert [outcome.path for outcome in outcomes] == SAMPLES and not any(outcome.error for outcome in outcomes)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert digests[0] == digests[1] and len(digests[0]) == 2


MAIN = """
import numpy as np
from threadpoolctl import threadpool_info
from avi_lib.workers import worker_pool

def threads():
    np.ones((300, 300)) @ np.ones((300, 300))
    return {each["num_threads"] for each in threadpool_info()}

if __name__ == "__main__":
    with worker_pool("local:1") as pool:
        print(pool.submit(threads).result())
"""


def test_a_worker_has_one_thread_though_the_program_loads_numpy_first(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN, "utf-8")
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    ended = subprocess.run([sys.executable, tmp_path / "main.py"], env=given, capture_output=True, text=True)
    assert ended.stdout == "{1}\n", ended.stderr


@pytest.mark.parametrize("workers", [0, "none", "local:0", "local:many", "1000"])
def test_no_such_workers(workers: str) -> None:
    with pytest.raises(InputError, match="workers"), worker_pool(workers or "0"):
        pass


def test_a_cluster_needs_ray_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(AssetError, match="pip install"), worker_pool("ray://head:10001"):
        pass
