"""Files behind the wall: values come back, everything else that a child may do ends in words and leaves nothing."""

from __future__ import annotations

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
from bad_audio import FORMATS, NO_ERROR_TALK, encoded, mp3_with_huge_picture, save, voice

from avi_lib.errors import AviError, InputError
from avi_lib.speech import loading as audio
from avi_lib.speech.loading import load_voice
from avi_lib.speech.voice import Voice
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
def test_answer_of_a_child_gone_wrong_is_not_believed(answer: str) -> None:
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


def test_huge_cover_picture_does_not_get_past_the_memory_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MEMORY_MB", 200)
    speech = load_voice(mp3_with_huge_picture(tmp_path / "cover.mp3", 250 << 20))
    assert speech.duration_s == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [{}],
        [{"container": "wav", "codec": "pcm", "channels": "1", "rate_hz": 16000, "claimed_s": None}],
        [{"container": "wav", "codec": "pcm", "channels": 1, "rate_hz": 16000, "claimed_s": -1.0}],
        [
            {"container": "wav", "codec": "pcm", "channels": 1, "rate_hz": 16000, "claimed_s": None},
            {"samples": np.zeros(3, np.uint8)},
        ],
        [{"container": "wav", "codec": "pcm", "channels": 1, "rate_hz": 16000, "claimed_s": None}],
    ],
)
def test_sound_that_a_child_makes_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(audio, "behind_wall", lambda *_, **__: (answer for answer in answers))
    with pytest.raises(InputError, match="malformed"):
        load_voice(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


def test_full_temporary_folder_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> IO[bytes]:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr("avi_lib.speech.loading.tempfile.SpooledTemporaryFile", full)
    with pytest.raises(InputError, match="TMPDIR"):
        load_voice(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, overwrite or drop some bytes, most of them near the beginning where headers are."""
    mutated = bytearray(content)
    if rng.random() < 0.2:
        del mutated[int(rng.integers(1, len(mutated))) :]
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(min(len(mutated), 200) if rng.random() < 0.6 else len(mutated)))
        kind = rng.integers(3)
        if kind == 0:
            mutated[at] = int(rng.integers(256))
        elif kind == 1:
            mutated[at : at + 4] = b"\xff\xff\xff\x7f"
        elif len(mutated) > 100:
            del mutated[at : at + int(rng.integers(1, 64))]
    return bytes(mutated)


def test_mutated_recordings_are_loaded_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    loaded = 0
    for suffix in ("wav", *FORMATS):
        path = save(tmp_path / f"m.{suffix}", mutate(encoded(voice(0.2), suffix), rng))
        try:
            speech = load_voice(path)
        except InputError as error:
            assert not NO_ERROR_TALK.search(str(error))
        else:
            loaded += 1
            assert isinstance(speech, Voice)
            assert np.abs(speech.wave).max() <= 1
    assert loaded >= 2
