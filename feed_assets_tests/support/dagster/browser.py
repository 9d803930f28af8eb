"""A Chromium for tests: found or installed, and its pages.

`make test` first runs `python -m feed_assets_tests.support.dagster.browser`, which opens one, and
installs one if there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from feed_assets_tests.support.dagster.client import PATIENCE
from feed_assets_tests.support.project_copy import PROJECT

SCREENSHOTS = PROJECT / "var" / "screenshots"
VARIABLE = "FEED_ASSETS_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)


class NoBrowser(Exception):
    pass


@contextmanager
def opened_page(url: str) -> Iterator[Page]:
    """A page of a window of its own, whose relative addresses are those of a server."""
    expect.set_options(timeout=PATIENCE * 1000)
    with opened_browser() as browser:
        window = browser.new_context(
            base_url=url,
            viewport={"width": 1280, "height": 800},
            timezone_id="UTC",
            locale="en-GB",
            reduced_motion="reduce",
        )
        window.set_default_timeout(PATIENCE * 1000)
        yield window.new_page()


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """The installed browser, else Playwright's own. Raise NoBrowser if neither opens."""
    found = installed()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found)
        except Error as failure:
            raise NoBrowser(
                f"{found or 'Playwright'} does not open a browser: {_reason(failure)}"
            ) from None
        try:
            yield browser
        finally:
            browser.close()


def installed() -> str | None:
    """The browser that the environment names, or one that this machine has."""
    return (
        os.environ.get(VARIABLE)
        or next(filter(None, map(shutil.which, NAMES)), None)
        or next((str(path) for path in APPLICATIONS if path.exists()), None)
    )


def provide() -> None:
    """Install a browser if none opens. Raise NoBrowser, which says what to install."""
    steps: Mapping[str, Callable[[], object]] = {
        "": lambda: None,
        "Playwright's Chromium": _from_playwright,
        "Debian's package chromium": _from_debian,
    }
    for name, install in steps.items():
        if os.environ.get(VARIABLE) and name:
            break  # the environment names another browser
        if name:
            print(f"Tests need a browser: installing {name} ...", flush=True)
        install()
        try:
            with opened_browser() as browser:
                browser.new_page()
        except NoBrowser as failure:
            reason = failure
        else:
            return
    raise NoBrowser(
        "Tests open the Dagster UI in Chromium, and no browser was found that opens. Install "
        "Chromium (Debian: apt-get install chromium) or Google Chrome, or set "
        f"{VARIABLE} to the path of one. {reason}"
    )


def _from_playwright() -> None:
    command = [sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]
    subprocess.run(command, capture_output=True)


def _from_debian() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = ["chromium", "fonts-liberation"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True)


def _reason(failure: Error) -> str:
    """The first line of Playwright's message."""
    return failure.message.partition("\n")[0].removeprefix("BrowserType.launch: ")


@contextmanager
def pictured(page: Page, name: str) -> Iterator[None]:
    """Save the page at the end, also after a failure."""
    try:
        yield
    finally:
        screenshot(page, name)


def screenshot(page: Page, name: str) -> None:
    """Save a screenshot of the page, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")


if __name__ == "__main__":
    try:
        provide()
    except NoBrowser as failure:
        sys.exit(str(failure))
