"""A real Chromium for tests, whose pages wait for what they expect."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from feed_assets_tests.dagster_ui import PATIENCE, PROJECT

SCREENSHOTS = PROJECT / "var" / "screenshots"
VARIABLE = "FEED_ASSETS_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATION = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


class NoBrowser(Exception):
    pass


def browser_path() -> str:
    """The browser that tests open. Raises NoBrowser, saying what to install."""
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and APPLICATION.exists():
        found = str(APPLICATION)
    if found is None:
        raise NoBrowser(
            f"Tests look at the Dagster UI in Chromium, and there is none. Install it (Debian: "
            f"apt-get install chromium), or Google Chrome, or name it in {VARIABLE}"
        )
    return found


@contextmanager
def opened_page(url: str) -> Iterator[Page]:
    """A page of a window of its own, whose relative addresses are those of a server."""
    path = browser_path()
    may_not_sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=may_not_sandbox)
        window = browser.new_context(
            base_url=url, viewport={"width": 1280, "height": 800}, timezone_id="UTC", locale="en-GB"
        )
        window.set_default_timeout(PATIENCE * 1000)
        try:
            yield window.new_page()
        finally:
            browser.close()


@contextmanager
def pictured(page: Page, name: str) -> Iterator[None]:
    """Keeps what a page shows at the end, also where that is a failure."""
    try:
        yield
    finally:
        screenshot(page, name)


def screenshot(page: Page, name: str) -> None:
    """Keeps what a page shows, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
