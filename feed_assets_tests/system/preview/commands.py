"""The command `feed-assets`: in this process, or as it is installed, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from feed_assets import cli

PROJECT = Path(__file__).parents[3]
COMMAND = Path(sys.executable).with_name("feed-assets")


def environment(**more: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(PROJECT), "LANG": "C.UTF-8", **more}


def feed_assets(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command's `main` in this process; return its output and exit status.

    It sees only the arguments, files instead of a terminal for standard input and output, and
    `variables`. Python's start and the installed script are tested with `started`.
    """
    with contextlib.ExitStack() as stack:
        file = tempfile.TemporaryFile
        read, out, err = (stack.enter_context(file("w+", encoding="utf-8")) for _ in range(3))
        read.buffer.write(stdin)
        read.seek(0)
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, stream in (("stdin", read), ("stdout", out), ("stderr", err)):
            patched.setattr(sys, name, stream)
        patched.setattr(os, "environ", environment(**variables))
        patched.chdir(cwd or Path.cwd())
        try:
            status: Any = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), status, out.read(), err.read())


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start the installed command in a process of its own."""
    return subprocess.Popen([COMMAND, *arguments], env=environment(), **options)


def finished(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own, to its end."""
    with started(
        *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        printed = running.communicate(stdin, timeout=60)
    return subprocess.CompletedProcess(
        running.args, running.returncode, *(each.decode() for each in printed)
    )
