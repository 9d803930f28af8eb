"""The command `feed-assets`, as it is installed, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("feed-assets")


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(PROJECT), "LANG": "C.UTF-8", **more}


def feed_assets(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What it prints and how it ends, where neither is a terminal."""
    done = subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(**variables),
        cwd=cwd,
        timeout=60,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """The same, running."""
    return subprocess.Popen([COMMAND, *arguments], env=environment(), **options)
