"""The page of `avi live` in headless Chromium: a microphone speaks, the face moves, and does what is asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browsers import chromium

from avi_lib.motion.clip import load_npz
from avi_lib.speech.loading import load_voice

ROOT = Path(__file__).resolve().parents[1]
MOST_WAIT_S = 120.0

pytestmark = pytest.mark.processes


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """Half a minute of speech for Chromium's microphone."""
    voice = load_voice(ROOT / "data" / "samples" / "librivox.flac")
    soundfile.write(tmp_path / "microphone.wav", np.tile(voice.wave, 5), voice.rate_hz)
    return tmp_path / "microphone.wav"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A session that waits for the page's microphone, and the page's address."""
    command = [sys.executable, "-m", "avi_lib", "live", "socket", "--instruction", "She is sad.", "--json"]
    command += ["--motion", str(tmp_path / "live.npz")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as session:
        assert session.stderr is not None
        line = session.stderr.readline()
        assert line.startswith("avi: open http://127.0.0.1:"), line
        yield session, line.split()[-1]
        session.kill()


def until(page: Any, condition: str) -> None:
    """Wait for a condition; the page's own policy forbids Playwright to evaluate it there again and again."""
    begun = time.monotonic()
    while not page.evaluate(condition):
        assert time.monotonic() - begun < MOST_WAIT_S, condition
        page.wait_for_timeout(50)


def test_a_page_lends_its_microphone_sees_the_face_and_asks(served, microphone, tmp_path):
    session, url = served
    options = ["--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with chromium(640, 480, *options, f"--use-file-for-fake-audio-capture={microphone}") as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        until(page, "document.getElementById('said').textContent === 'She is sad.'")
        page.click("#mic")
        until(page, "avi.frames > 50 && avi.pictures > 0")
        page.fill("#text", "She is extremely happy.")
        page.press("#text", "Enter")
        until(page, "document.getElementById('said').textContent === 'She is extremely happy.'")
        until(page, "avi.last.weights[hello.channels.indexOf('mouthSmileLeft')] > 0.3")
        assert page.evaluate("document.getElementById('face').naturalWidth") == 512
        page.screenshot(path=tmp_path / "live.png")
        print(f"screenshot: {tmp_path / 'live.png'}")
        assert not wrong and page.text_content("#error") == ""
    session.send_signal(signal.SIGINT)
    printed, said = session.communicate(timeout=60)
    assert session.returncode == 0, said
    assert json.loads(printed)["frames"] == len(load_npz(tmp_path / "live.npz"))
    assert load_npz(tmp_path / "live.npz")["jawOpen"].max() > 0.1
