"""Files behind the wall: values come back, everything else that a child may do ends in words and leaves nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import wall_parsers
from bad_audio import encoded, mp3_with_huge_picture, save, voice

from avi_lib.errors import AviError, InputError, cause
from avi_lib.files import atomic_folder, atomic_path, cached, check_writable
from avi_lib.speech import loading as audio
from avi_lib.speech.loading import load_voice
from avi_lib.wall import behind_wall

TERMS = {"name": "a.bin", "expected": "a good file", "do": "make it again"}


def test_values_come_back_as_they_are(tmp_path: Path) -> None:
    with save(tmp_path / "a.bin", b"abc").open("rb") as file:
        (given,) = behind_wall(wall_parsers.give, file, 4, **TERMS)
    assert bytes(given["read"]) == b"abc" and given["list"] == [4, None, "ä"]
    np.testing.assert_array_equal(given["array"], np.eye(4, dtype="f4")[::2], strict=True)
    np.testing.assert_array_equal(given["none"], np.zeros((0, 3), np.int64), strict=True)


@pytest.mark.parametrize(
    ("parse", "error", "words"),
    [
        (wall_parsers.hang, InputError, "to end within 0.5 s; got a.bin.*split"),
        (wall_parsers.eat, InputError, "at most 300 MB; got a.bin"),
        (wall_parsers.write, InputError, "a good file; got a.bin.*No usable temporary directory.*make it again"),
        (wall_parsers.crash, InputError, "a good file; got a.bin.*broke off, exit -11"),
        (wall_parsers.fail, InputError, "byte 7 is no number"),
        (wall_parsers.refuse, InputError, "^expected room; got none; make some$"),
        (wall_parsers.miss, AviError, "no_such_module"),
    ],
)
def test_whatever_goes_wrong_behind_the_wall_is_one_error(parse, error: type[AviError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        list(behind_wall(parse, **TERMS, seconds=0.5 if parse is wall_parsers.hang else 20.0, memory_mb=300))
    assert isinstance(caught.value, InputError) == (error is InputError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not text in UTF-8"),
        (KeyError("fps"), "fps is missing"),
        (IndexError("list index out of range"), "a part of it is missing"),
        (AttributeError("'int' object has no attribute 'items'"), "a part of it is of another kind"),
        (ValueError("invalid literal for int() with base 10: '3,5'"), "'3,5' is no number"),
        (ValueError("could not convert string to float: 'x'"), "'x' is no number"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), "No space left on device"),
        (RuntimeError("no room\n" + "frame #0: c10::Error\n" * 40), "no room"),
        (ValueError(""), "it is damaged"),
    ],
)
def test_what_a_library_says_of_a_file_is_told_without_the_words_of_programmers(error: Exception, words: str) -> None:
    assert cause(error) == words


def test_an_error_is_one_line_that_a_terminal_can_show_however_long_what_came_is() -> None:
    said = str(InputError("a name", "\x1b[31m\ud800\n" + "x" * 10_000 + "!", "shorten it"))
    assert said.isprintable() and len(said) < 1000 and "x!; shorten it" in said


def message(text: str) -> str:
    return len(text).to_bytes(4, "big").hex() + text.encode().hex()


@pytest.mark.parametrize(
    "answer",
    [
        "ffffffff",
        b"hello".hex(),
        message("[]"),
        message('["value", [], []]'),
        message('["value", {}, [["a", "O", [1]]]]'),
        message('["value", {}, [["a", "f", [2]]]]') + message("four"),
        message('["value", {}, [["a", "f", [1]]]]') + "7fffffff",
        message('["value", {}, [["a", "f", [1]]]]') + "00",
        message('["exit", "0", []]'),
        message('["InputError", ["one"], []]'),
        message("[" * 100_000),
    ],
)
def test_a_false_answer_of_the_child_is_refused(answer: str) -> None:
    with pytest.raises(InputError, match=r"malformed|broke off"):
        list(behind_wall(wall_parsers.answer_badly, answer, **TERMS))


def _gone(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def test_child_ends_when_nobody_listens_any_more() -> None:
    with closing(behind_wall(wall_parsers.count_and_hang, **TERMS)) as values:
        pid = next(values)["pid"]
        assert Path(f"/proc/{pid}").exists()
    assert _gone(pid)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_program_that_ends_leaves_no_process_behind(ending: signal.Signals) -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import wall_parsers as p, avi_lib.wall as w\n"
        f"for value in w.behind_wall(p.count_and_hang, **{TERMS!r}): print(value['pid'], flush=True)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    watcher = int(Path(f"/proc/{pid}/stat").read_text().split()[3])
    server = int(Path(f"/proc/{watcher}/stat").read_text().split()[3])
    os.killpg(run.pid, ending)
    run.wait()
    run.stdout.close()
    assert _gone(pid) and _gone(watcher) and _gone(server)


def test_threads_and_forked_workers_read_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: [v["number"] for v in behind_wall(wall_parsers.count, n, **TERMS)], range(24)))
    assert found == [list(range(n)) for n in range(24)]
    program = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import wall_parsers as p, multiprocessing as m, avi_lib.wall as w\n"
        f"read = lambda n: len(list(w.behind_wall(p.count, n, **{TERMS!r})))\n"
        "def work(n): return read(n)\n"
        "read(1)\n"
        "with m.get_context('fork').Pool(2) as pool: print(pool.map(work, range(6)), read(7))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == "[0, 1, 2, 3, 4, 5] 7"


def test_a_huge_cover_picture_stays_below_the_memory_cap_and_a_full_folder_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MEMORY_MB", 200)
    speech = load_voice(mp3_with_huge_picture(tmp_path / "cover.mp3", 250 << 20))
    assert speech.duration_s == pytest.approx(0.3, abs=0.05)

    def full(**_: object) -> IO[bytes]:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr("avi_lib.speech.loading.tempfile.SpooledTemporaryFile", full)
    with pytest.raises(InputError, match="TMPDIR"):
        load_voice(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


FORMAT = {"container": "wav", "codec": "pcm", "channels": 1, "rate_hz": 16000, "claimed_s": None}


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [{}],
        [FORMAT | {"channels": "1"}],
        [FORMAT | {"claimed_s": -1.0}],
        [FORMAT, {"samples": np.zeros(3, np.uint8)}],
        [FORMAT],
    ],
)
def test_sound_that_a_child_makes_up_is_refused(tmp_path, monkeypatch, answers):
    monkeypatch.setattr(audio, "behind_wall", lambda *_, **__: (answer for answer in answers))
    with pytest.raises(InputError, match="malformed"):
        load_voice(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


def test_the_new_file_replaces_the_old_one_whole(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old" and temporary.suffix == ".txt"
    assert target.read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failing_writer_leaves_the_old_file_and_a_folder_is_no_target(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="file name"), atomic_path(tmp_path):
        pass


def test_a_full_disk_is_an_input_error_that_keeps_the_old_file_and_other_trouble_is_not_called_so(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(InputError, match="No space left"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        Path(tmp_path / "absent").read_text()


@pytest.mark.parametrize("place", ["missing/a.txt", "file/a.txt"])
def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="existing folder"):
        check_writable(tmp_path / place)


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
