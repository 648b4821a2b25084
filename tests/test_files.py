"""Atomic writes."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from avi_lib.errors import InputError
from avi_lib.files import atomic_folder, atomic_path, cached, check_writable


def test_the_new_file_replaces_the_old_one_whole(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old" and temporary.suffix == ".txt"
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_an_input_error_and_keeps_the_old_file(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(InputError, match="No space left"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"


def test_other_trouble_while_writing_is_not_called_a_full_disk(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        Path(tmp_path / "absent").read_text()


@pytest.mark.parametrize("place", ["missing/a.txt", "file/a.txt"])
def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="existing folder"):
        check_writable(tmp_path / place)


def test_a_folder_is_no_target(tmp_path: Path):
    with pytest.raises(InputError, match="file name"), atomic_path(tmp_path):
        pass


def test_a_folder_appears_whole_or_not_at_all_and_nothing_is_left_behind(tmp_path: Path):
    stale = tmp_path / ".made.x7_2kfq9.avi-making"
    stale.mkdir()
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "made") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "whole").write_text("x")
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "whole").read_text() == "x"


def test_cached_arrays_are_made_once_for_a_key_and_again_where_they_are_damaged(tmp_path: Path):
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"values": np.arange(6.0).reshape(2, 3)[:, ::-1], "present": np.array([True, False])}

    for _ in range(2):
        found = cached(tmp_path / "new", ["a", 1], make)
        assert (found["values"] == make()["values"]).all() and found["present"].tolist() == [True, False]
    assert len(made) == 3
    next((tmp_path / "new").iterdir()).write_bytes(b"torn")
    cached(tmp_path / "new", ["a", 1], make)
    cached(tmp_path / "new", ["a", 2], make)
    assert len(made) == 5 and len(list((tmp_path / "new").iterdir())) == 2
    cached(None, ["a", 1], make)
    assert len(made) == 6
