"""The playground in a real browser: JupyterLab served from a copy of the workbook, driven in headless Chromium."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "07_playground.ipynb"
MOST_EDIT_S = 4.0
SRC = "document.querySelector('.avi-page video')?.src"
READY = f"was => {SRC} && {SRC} !== was && document.querySelector('.avi-page video').readyState >= 3"

pytestmark = [pytest.mark.workbook, pytest.mark.processes]


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the notebook in a JupyterLab that knows nothing of this person and changes nothing of theirs."""
    home = tmp_path_factory.mktemp("lab")
    workbook = home / "workbook"
    (workbook / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, workbook / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", workbook)
    shutil.copytree(ROOT / "data" / "samples", workbook / "data" / "samples", ignore=shutil.ignore_patterns("corpus"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    own = {f"JUPYTER{'' if name.startswith('LAB') else '_'}{name}": str(home / name.lower()) for name in folders}
    log = home / "lab.log"
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": workbook,
        "IdentityProvider.token": token,
        "LabApp.news_url": None,
    }
    command = [sys.executable, "-m", "jupyterlab", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    environment = os.environ | own | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=workbook, env=environment, stdout=stream, stderr=stream)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{NOTEBOOK}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def wait_for_server(server: subprocess.Popen[bytes], address: str, log: Path, most_s: float = 60.0) -> None:
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text("utf-8")
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                json.load(answer)
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no JupyterLab after {most_s:g} s: {log.read_text('utf-8')[-2000:]}")


@pytest.fixture(scope="module")
def page(chromium: str, lab: str) -> Iterator[Any]:
    """The notebook with all its cells run, and the first preview ready."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(lab)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_function(READY, arg="")
        page.locator(".avi-page").scroll_into_view_if_needed()
        yield page
        browser.close()


def settled(page: Any) -> None:
    """Wait until nothing is being made."""
    page.wait_for_function("!document.querySelector('.avi-page .avi-spinner')")


def shown(page: Any, name: str, folder: Path) -> Path:
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    print(f"screenshot: {path}")
    return path


def test_an_edited_sentence_is_a_preview_within_seconds(page: Any, tmp_path: Path):
    settled(page)
    before = page.evaluate(SRC)
    box = page.locator(".avi-sentence input")
    box.fill("She is happy and raises her eyebrows a lot.")
    begun = time.monotonic()
    box.press("Enter")
    page.wait_for_function(READY, arg=before)
    took_s = time.monotonic() - begun
    print(f"edit to preview: {took_s:.2f} s")
    shown(page, "edited", tmp_path)
    assert took_s <= MOST_EDIT_S
    assert page.evaluate("document.querySelector('.avi-page video').videoWidth") == 256
    chips = page.locator(".avi-page .avi-chip").all_inner_texts()
    assert chips[0] == "happy · plain" and "outer brow raise 0.90" in chips
    assert page.locator(".avi-page .widget-toggle-button.mod-active", has_text="happy").count() == 1
