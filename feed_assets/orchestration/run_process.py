"""The process that imports a feed, and whether it still exists."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TEXT = re.compile(r"\w+ in process (?P<pid>\d+) of (?P<host>\S+) since (?P<started>.+)")
_PROC = Path("/proc")


@dataclass(frozen=True)
class RunProcess:
    """A process of a host. `started` tells it from a later process with the same number."""

    pid: int
    host: str
    started: str

    @classmethod
    def current(cls) -> RunProcess:
        pid = os.getpid()
        return cls(pid, _host(), _started(pid) or "")

    @classmethod
    def parse(cls, text: str) -> RunProcess | None:
        """The process that `claim_by` wrote; None for any other text."""
        found = _TEXT.fullmatch(text)
        return found and cls(int(found["pid"]), found["host"], found["started"])

    def claim_by(self, feed: str) -> str:
        """Name a feed's claim of its slot, so that the slot itself names the process."""
        return f"{feed} in process {self.pid} of {self.host} since {self.started}"

    @property
    def exists(self) -> bool | None:
        """Return whether it exists; None for a process of another host."""
        return _started(self.pid) == self.started if self.host == _host() else None

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host.partition(':')[0]}"


def _host() -> str:
    """The host's name, and on Linux the namespace of its process numbers: containers share one."""
    name = re.sub(r"\s", "_", socket.gethostname())
    try:
        return f"{name}:{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return name


def _started(pid: int) -> str | None:
    """Return an opaque start time of the process; None if it does not exist or is a zombie.

    On Linux, the boot and the clock ticks since then: https://man7.org/linux/man-pages/man5/proc.5.html
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return started_by_ps(pid)
    try:
        fields = (_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{boot}-{fields[19]}"


def started_by_ps(pid: int) -> str | None:
    """Do the same without /proc, as on macOS."""
    asked = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603  a number
    status, _, started = done.stdout.strip().partition(" ")
    return None if not started or status[0] in "ZX" else " ".join(started.split())
