"""Headless Chromium for the tests that look at pages; they skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium(width: int, height: int, *options: str) -> Iterator[Any]:
    """A new page of this size in a browser started with these options."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", *options])
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()
