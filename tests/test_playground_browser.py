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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "07_playground.ipynb"
MOST_EDIT_S = 4.0
MOST_WAIT_MS = 90_000
SRC = "document.querySelector('.avi-page video')?.src"
READY = f"was => {SRC} && {SRC} !== was && document.querySelector('.avi-page video').readyState >= 3"

pytestmark = [pytest.mark.workbook, pytest.mark.processes]


@pytest.fixture(scope="module")
def chromium() -> str:
    pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser: pip install playwright")
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
    quiet = home / "lab_settings_dir" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), "utf-8")
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
def page(chromium: str, lab: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The notebook with all its cells run, and the first preview ready."""
    from playwright import sync_api as driver

    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(MOST_WAIT_MS)
        try:
            run_all(page, lab, driver.TimeoutError)
        except driver.Error:
            picture(page, "failed", tmp_path_factory.mktemp("browser"))
            raise
        yield page
        browser.close()


def run_all(page: Any, address: str, timed_out: type[Exception]) -> None:
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()  # what is run before the kernel has answered is dropped
    for patience_ms in (30_000, MOST_WAIT_MS):  # now and then even after that
        page.wait_for_timeout(1000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with suppress(timed_out):
            page.locator(".avi-page").wait_for(timeout=patience_ms)
            break
    page.locator(".avi-page").scroll_into_view_if_needed()  # Chromium loads no video that is out of sight
    page.wait_for_function(READY, arg="")


def settled(page: Any) -> None:
    """Wait until nothing is being made."""
    page.wait_for_function("!document.querySelector('.avi-page .avi-spinner')")


def renewed(page: Any, act: Callable[[], object]) -> float:
    """Do something, wait for the preview that follows and could be played; how long that took, in seconds."""
    settled(page)
    before = page.evaluate(SRC)
    begun = time.monotonic()
    act()
    page.wait_for_function(READY, arg=before)
    return time.monotonic() - begun


def picture(page: Any, name: str, folder: Path) -> None:
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    print(f"screenshot: {path}")


def video_width(page: Any) -> int:
    return int(page.evaluate("document.querySelector('.avi-page video').videoWidth"))


def sentence(page: Any) -> Any:
    return page.locator(".avi-sentence input")


def open_tab(page: Any, name: str) -> None:
    page.locator(".avi-page .lm-TabBar-tab", has_text=name).click()


def test_an_edited_sentence_is_a_preview_within_seconds(page: Any, tmp_path: Path):
    sentence(page).fill("She is happy and raises her eyebrows a lot.")
    took_s = renewed(page, lambda: sentence(page).press("Enter"))
    print(f"edit to preview: {took_s:.2f} s")
    page.wait_for_timeout(800)
    picture(page, "edited", tmp_path)
    assert took_s <= MOST_EDIT_S and video_width(page) == 256
    chips = page.locator(".avi-page .avi-chip").all_inner_texts()
    assert chips[0] == "happy · plain" and "outer brow raise 0.90" in chips
    assert page.locator(".avi-page .widget-toggle-button.mod-active", has_text="happy").count() == 1


def test_a_moved_slider_rewrites_the_sentence_and_the_face(page: Any):
    handle = page.locator(".avi-page .widget-hslider", has_text="brow down").locator(".noUi-handle")
    handle.focus()
    renewed(page, lambda: page.keyboard.press("End"))
    assert "brow extremely down" in sentence(page).input_value()


def test_an_edit_is_shown_beside_the_face_that_was_kept(page: Any, tmp_path: Path):
    renewed(page, lambda: page.get_by_role("button", name="Keep as A").click())
    sentence(page).fill("He is deeply sad.")
    took_s = renewed(page, lambda: sentence(page).press("Enter"))
    page.wait_for_timeout(800)
    picture(page, "beside", tmp_path)
    assert took_s <= MOST_EDIT_S and video_width(page) == 512


def test_what_cannot_be_is_one_line_and_no_traceback(page: Any, tmp_path: Path):
    settled(page)
    before = page.evaluate(SRC)
    sentence(page).fill("")
    sentence(page).press("Enter")
    page.locator(".avi-page .avi-error", has_text="an instruction with at least one word").wait_for()
    open_tab(page, "Speech")
    bad = tmp_path / "nothing.wav"
    bad.write_bytes(b"nothing")
    with page.expect_file_chooser() as chooser:
        page.locator(".avi-page .widget-upload").click()
    chooser.value.set_files(bad)
    page.locator(".avi-page .avi-error", has_text="nothing").wait_for()
    assert page.evaluate(SRC) == before
    assert page.locator(".jp-RenderedText[data-mime-type*=error], .jp-OutputArea-output.jp-mod-error").count() == 0


def test_the_microphone_is_recorded_in_the_browser(page: Any, tmp_path: Path):
    open_tab(page, "Speech")
    button = page.locator(".avi-record button")
    button.click()
    page.wait_for_function("document.querySelector('.avi-record button').textContent.includes('Stop')")
    page.wait_for_timeout(3000)
    renewed(page, button.click)
    assert "the microphone" in page.locator(".avi-health").first.inner_text()
    settled(page)
    picture(page, "recorded", tmp_path)


def test_the_face_is_seen_in_3d_and_saved(page: Any, tmp_path: Path):
    open_tab(page, "3D")
    page.locator(".avi-page .js-plotly-plot canvas").first.wait_for()
    picture(page, "turned", tmp_path)
    open_tab(page, "Save")
    page.locator(".avi-page button", has_text="Save").click()
    page.locator(".avi-health", has_text="face.csv").wait_for()
    assert "face.mp4" in page.locator(".avi-health", has_text="face.csv").inner_text()
