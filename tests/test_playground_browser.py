"""The playground in a real browser: JupyterLab served from a copy of the workbook, driven in headless Chromium."""

from __future__ import annotations

import json
import math
import os
import re
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
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the notebook in a JupyterLab that knows nothing of this person and changes nothing of theirs."""
    home = tmp_path_factory.mktemp("lab")
    (home / "workbook" / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, home / "workbook" / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", home / "workbook")
    ignored = shutil.ignore_patterns("corpus")
    shutil.copytree(ROOT / "data" / "samples", home / "workbook" / "data" / "samples", ignore=ignored)
    quiet = home / "lab_settings_dir" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), "utf-8")
    quiet.with_name("themes.jupyterlab-settings").write_text(json.dumps({"adaptive-theme": True}), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    token, port = secrets.token_hex(16), address.rpartition(":")[2]
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")
    own = {f"JUPYTER{'' if name.startswith('LAB') else '_'}{name}": str(home / name.lower()) for name in folders}
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", f"--ServerApp.port={port}"]
    command += [f"--ServerApp.root_dir={home / 'workbook'}", f"--IdentityProvider.token={token}"]
    log, environment = home / "lab.log", os.environ | own | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=home / "workbook", env=environment, stdout=stream, stderr=stream)
    try:
        for _ in range(300):
            assert server.poll() is None, log.read_text("utf-8")
            with suppress(OSError), urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5):
                break
            time.sleep(0.2)
        yield f"{address}/lab/tree/notebooks/{NOTEBOOK}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The notebook with all its cells run, and the first preview ready."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="no playwright to drive a browser: pip install playwright"
    )
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(MOST_WAIT_MS)
        page.goto(request.getfixturevalue("lab"))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.get_by_text("| Idle").wait_for()  # what is run before the kernel has answered is dropped
        begun = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]"))
        for patience_ms in (5_000, 10_000, MOST_WAIT_MS):  # now and then even after that
            page.wait_for_timeout(1000)
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            with suppress(driver.TimeoutError):
                begun.first.wait_for(timeout=patience_ms)
                break
        page.locator(".avi-page").wait_for()
        page.locator(".avi-page").scroll_into_view_if_needed()  # Chromium loads no video that is out of sight
        page.wait_for_function(READY, arg="")
        yield page
        browser.close()


def renewed(page: Any, act: Callable[[], object]) -> float:
    """Do something when nothing is being made, wait for the preview that follows and could be played; seconds."""
    page.wait_for_function("!document.querySelector('.avi-page .avi-spinner')")
    before, begun = page.evaluate(SRC), time.monotonic()
    act()
    page.wait_for_function(READY, arg=before)
    return time.monotonic() - begun


def edited(page: Any, *sentences: str) -> float:
    """Seconds from a sentence to its preview: the shortest of a few, as other tests run beside this one."""
    sentence, took_s = page.locator(".avi-sentence input"), [math.inf]
    for text in sentences:
        if min(took_s) > MOST_EDIT_S:
            sentence.fill(text)
            took_s.append(renewed(page, lambda: sentence.press("Enter")))
    return min(took_s)


def picture(page: Any, path: Path) -> None:
    page.wait_for_timeout(800)
    page.screenshot(path=path)
    print(f"screenshot: {path}")


def video_width(page: Any) -> int:
    return int(page.evaluate("document.querySelector('.avi-page video').videoWidth"))


def open_tab(page: Any, name: str) -> None:
    page.locator(".avi-page .lm-TabBar-tab", has_text=name).click()


def test_an_edited_sentence_or_a_moved_slider_is_a_preview_within_seconds(page: Any, tmp_path: Path):
    sentence = page.locator(".avi-sentence input")
    took_s = edited(page, "She is sad.", "He is furious.", "They are calm.", "He is bored.", "She is glad.")
    sentence.fill("She is happy and raises her eyebrows a lot.")
    renewed(page, lambda: sentence.press("Enter"))
    print(f"edit to preview: {took_s:.2f} s")
    picture(page, tmp_path / "edited.png")
    assert took_s <= MOST_EDIT_S and video_width(page) == 320
    chips = page.locator(".avi-page .avi-chip").all_inner_texts()
    assert page.locator(".avi-page").evaluate("page => getComputedStyle(page).maxWidth") == "1320px"
    assert chips[0] == "happy · plain" and "outer brow raise 0.90" in chips
    assert page.locator(".avi-page .widget-toggle-button.mod-active", has_text="happy").count() == 1
    page.locator(".avi-page .widget-hslider", has_text="brow down").locator(".noUi-handle").focus()
    renewed(page, lambda: page.keyboard.press("End"))
    assert "brow extremely down" in sentence.input_value()
    renewed(page, lambda: page.get_by_role("button", name="Keep as A").click())
    took_s = edited(page, "He is sad.", "She is furious.", "They are surprised.", "He is calm.", "She is cross.")
    picture(page, tmp_path / "beside.png")
    assert took_s <= MOST_EDIT_S and video_width(page) == 640


def test_what_cannot_be_is_one_line_and_no_traceback(page: Any, tmp_path: Path):
    page.wait_for_function("!document.querySelector('.avi-page .avi-spinner')")
    before = page.evaluate(SRC)
    page.locator(".avi-sentence input").fill("")
    page.locator(".avi-sentence input").press("Enter")
    page.locator(".avi-page .avi-error", has_text="an instruction with at least one word").wait_for()
    open_tab(page, "Speech")
    bad = tmp_path / "nothing.wav"
    bad.write_bytes(b"nothing")
    with page.expect_file_chooser() as chooser:
        page.locator(".avi-page .widget-upload", has_text="Upload").click()
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
    page.locator(".avi-page .avi-timed img").first.wait_for()
    picture(page, tmp_path / "recorded.png")


def test_the_face_is_seen_in_3d_and_saved(page: Any, tmp_path: Path):
    open_tab(page, "3D")
    page.locator(".avi-page .js-plotly-plot canvas").first.wait_for()
    picture(page, tmp_path / "turned.png")
    open_tab(page, "Save")
    page.locator(".avi-page button", has_text="Save").click()
    page.locator(".avi-health", has_text="face.csv").wait_for()
    assert "face.mp4" in page.locator(".avi-health", has_text="face.csv").inner_text()


def test_a_line_runs_through_curves_and_waveform_where_the_video_is(page: Any, tmp_path: Path):
    page.evaluate("document.querySelector('.avi-page video').pause()")
    left = "() => parseFloat(document.querySelector('{} > .avi-playhead')?.style.left)"
    for tab, view in (("Speech", ".avi-page .avi-timed"), ("Curves", ".avi-page .js-plotly-plot")):
        open_tab(page, tab)
        page.wait_for_function(left.format(view) + " >= 0")
        places = []
        for time_s in (0.5, 1.5, 2.5):
            page.evaluate(f"document.querySelector('.avi-page video').currentTime = {time_s}")
            page.wait_for_timeout(400)
            places.append(page.evaluate(left.format(view)))
        assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=2.0) and places[1] > places[0] + 5
        picture(page, tmp_path / f"{tab.lower()}.png")
    open_tab(page, "Speech")
    wave = page.locator(".avi-page .avi-timed").bounding_box()
    page.mouse.click(wave["x"] + 0.5 * wave["width"], wave["y"] + 0.3 * wave["height"])
    assert 1.0 < page.evaluate("document.querySelector('.avi-page video').currentTime") < 3.0


def test_another_person_is_a_click_on_a_picture(page: Any, tmp_path: Path):
    renewed(page, lambda: page.locator(".avi-page .avi-face-grace").click())
    picture(page, tmp_path / "grace.png")
    assert page.locator(".avi-page .avi-face-grace.avi-chosen").count() == 1


def test_the_microphone_moves_a_live_face_in_its_tab(page: Any, tmp_path: Path):
    open_tab(page, "Live")
    page.locator(".avi-page button", has_text="Start").click()
    live = page.frame_locator(".avi-live")
    live.locator("#mic").click()
    live.locator("#time", has_text=" s").wait_for()
    page.wait_for_timeout(3000)
    picture(page, tmp_path / "live.png")
    assert float(live.locator("#time").inner_text().split()[0]) > 1.0
    page.locator(".avi-page button", has_text="Stop").click()
    page.locator(".avi-page .avi-state", has_text="frames, the first after").wait_for()


CONTRASTS = """() => {
  const rgba = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] > 0.5) return colour;
    }
    return [255, 255, 255, 1];
  };
  return [...document.querySelectorAll('.avi-page *')]
    .filter(node => node.offsetParent && node.tagName !== 'OPTION' && !node.closest('.js-plotly-plot, .avi-people')
      && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
    .map(node => {
      const [one, other] = [rgba(getComputedStyle(node).color), behind(node)].map(light);
      return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), node.innerText.slice(0, 40)];
    });
}"""


def test_all_words_can_be_read_in_light_and_in_dark(page: Any, tmp_path: Path):
    for theme in ("Light", "Dark"):
        page.emulate_media(color_scheme=theme.lower())
        page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'")
        for name in page.locator(".avi-page .lm-TabBar-tab").all_inner_texts():
            open_tab(page, name)
            picture(page, tmp_path / f"{theme}-{name}.png")
            seen = page.evaluate(CONTRASTS)
            assert len(seen) > 5 and min(seen)[0] >= 3.0, (theme, name, min(seen))
