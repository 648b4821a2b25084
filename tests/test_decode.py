"""Decoding in a child process: hangs, memory, wrong answers and mutated recordings end in words."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from bad_audio import (
    FORMATS,
    NO_ERROR_TALK,
    encoded,
    mp3_with_huge_picture,
    save,
    voice,
)

from avi_lib.errors import AviError, InputError
from avi_lib.speech import decode, decode_child
from avi_lib.speech.audio import Speech, load_speech

SOURCE = b'{"container": "wav", "codec": "pcm", "channels": 1, "rate_hz": 16000, "claimed_s": null}'
ANSWER = b"H" + len(SOURCE).to_bytes(4, "little") + SOURCE


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_decoder_that_hangs_is_stopped_at_the_time_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "CHILD_COMMAND", child("import time; time.sleep(60)"))
    monkeypatch.setattr(decode, "LONGEST_TIME_CAP_S", 0.5)
    started = time.monotonic()
    with pytest.raises(InputError, match="to end within"):
        load_speech(save(tmp_path / "a.wav", encoded(voice(1), "wav")))
    assert time.monotonic() - started < 5


def test_child_caps_its_own_time_and_memory_and_files() -> None:
    prelude = f"import sys; sys.path.insert(0, {str(Path(decode_child.__file__).parent)!r}); import decode_child as c; "
    prelude += "c.limit_resources(300 << 20, 1); "
    run = subprocess.run(child(prelude + "bytearray(400 << 20)"), capture_output=True, text=True, check=False)
    assert "MemoryError" in run.stderr
    run = subprocess.run(child(prelude + "\nwhile True: pass"), capture_output=True, check=False, timeout=20)
    assert run.returncode < 0
    code = prelude + "import tempfile; f = tempfile.TemporaryFile(); f.write(b'x'); f.flush()"
    run = subprocess.run(child(code), capture_output=True, text=True, check=False)
    assert run.returncode != 0


def test_decoder_that_eats_memory_is_stopped_at_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eater = f"import sys; sys.path.insert(0, {str(Path(decode_child.__file__).parent)!r}); import decode_child as c\n"
    eater += "c._decode = lambda recording, send: bytearray(4 << 30)\nc.main()"
    monkeypatch.setattr(decode, "CHILD_COMMAND", child(eater))
    with pytest.raises(InputError, match="at most 768 MB"):
        load_speech(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


def test_huge_cover_picture_does_not_get_past_the_memory_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MEMORY_CAP_BYTES", 250 << 20)
    speech = load_speech(mp3_with_huge_picture(tmp_path / "cover.mp3", 200 << 20))
    assert speech.duration_s == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.write(1, b'H\\xff\\xff\\xff\\xff')", "malformed"),
        ("import os; os.write(1, b'H\\2\\0\\0\\0[]')", "malformed"),
        ("import os; os.write(1, b'H\\2\\0\\0\\0{}')", "malformed"),
        ("import os; os.write(1, b'P\\4\\0\\0\\0abcd')", "malformed"),
        (f"import os; os.write(1, {ANSWER + b'P' + bytes(4)!r})", "malformed"),
        (f"import os; os.write(1, {ANSWER + b'P' + bytes([3, 0, 0, 0]) + b'abc'!r})", "malformed"),
        (f"import os; os.write(1, {ANSWER!r})", "broke off"),
        ("import os; os.write(1, b'hello')", "malformed|broke off"),
        ("import os; os.kill(os.getpid(), 11)", "broke off"),
    ],
)
def test_answer_of_a_child_gone_wrong_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.setattr(decode, "CHILD_COMMAND", child(code))
    with pytest.raises(InputError, match=words):
        load_speech(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


def test_decoder_that_cannot_start_is_an_error_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CHILD_COMMAND", child("import no_such_module"))
    with pytest.raises(AviError, match="decoder that starts") as caught:
        load_speech(save(tmp_path / "a.wav", encoded(voice(1), "wav")))
    assert not isinstance(caught.value, InputError)


def test_no_child_is_left_behind(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", encoded(voice(1), "wav"))
    with path.open("rb") as file, decode.Decoder(file) as decoder:
        process = decoder._process
        assert process.poll() is None or process.returncode == 0
    assert process.returncode is not None


def test_full_temporary_folder_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> IO[bytes]:
        return Path("/dev/full").open("r+b", buffering=0)

    monkeypatch.setattr("avi_lib.speech.audio.tempfile.SpooledTemporaryFile", full)
    with pytest.raises(InputError, match="TMPDIR"):
        load_speech(save(tmp_path / "a.wav", encoded(voice(1), "wav")))


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


def test_mutated_recordings_never_raise_in_the_decoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for suffix in ("wav", *FORMATS):
        whole = encoded(voice(0.2), suffix)
        for _ in range(12):
            kinds: list[bytes] = []
            with save(tmp_path / "mutated", mutate(whole, rng)).open("rb") as file:
                decode_child.decode(file, lambda kind, _, kinds=kinds: kinds.append(kind))
            assert kinds[-1] in (b"T", b"E", b"H")


def test_mutated_recordings_are_loaded_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    loaded = 0
    for suffix in ("wav", *FORMATS):
        path = save(tmp_path / f"m.{suffix}", mutate(encoded(voice(0.2), suffix), rng))
        try:
            speech = load_speech(path)
        except InputError as error:
            assert not NO_ERROR_TALK.search(str(error))
        else:
            loaded += 1
            assert isinstance(speech, Speech)
            assert np.abs(speech.wave).max() <= 1
    assert loaded >= 2
