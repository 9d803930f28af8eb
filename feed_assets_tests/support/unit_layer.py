"""Pytest plugin of `make test-unit`: fail a test that starts a process, the emulator or Dagster."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
SLOW = {"bqemulator", "dagster", "dagster_gcp"}
_running = False


def _audit(event: str, args: object) -> None:
    if _running and event in STARTS:
        pytest.fail(f"a test of the unit layer starts a process ({event})")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """Fail the test if it starts a process or imports a slow package."""
    global _running
    before = SLOW & sys.modules.keys()
    _running = True
    try:
        yield
    finally:
        _running = False
    loaded = (SLOW & sys.modules.keys()) - before
    assert not loaded, f"a test of the unit layer loads {', '.join(loaded)}"
