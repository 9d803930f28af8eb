"""The most memory that a process has at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.01  # seconds


@dataclass
class Peak:
    """MB, once it has been watched."""

    mb: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Return this process's own peak memory, without mapped files."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY):
            peak.mb = max(peak.mb, anonymous_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def anonymous_mb() -> float:
    """Return the MB of this process now, without mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
