"""Programs that fork from a process which keeps the packages that earlier ones imported.

To import Dagster takes seconds of CPU, in each process anew. Modules of this repository are
imported in the program, from its own PYTHONPATH.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Self

PROJECT = Path(__file__).parents[2]
SCRIPTS = "console_scripts"
DAGSTER = ("dagster", "dagster._core.storage.sqlite_storage", "duckdb", "pandas", "pyarrow.json")
IMPORTS = {
    "dg": (
        *(*DAGSTER, "dagster_dg_cli.cli.check", "dagster_dg_cli.cli.labs"),
        *("dagster_gcp.bigquery.io_manager", "dagster_gcp.components"),
    ),
    "feed-assets": DAGSTER,
    "dagster-webserver": (*DAGSTER, "dagster_webserver.cli", "dagster_webserver.app"),
    "feed_assets_tests.support.dagster.code_server:main": (*DAGSTER, "dagster._cli", "apprise"),
    "feed_assets_tests.support.dagster.daemon:main": (*DAGSTER, "dagster._daemon.cli"),
    "feed_assets_tests.support.dagster.loading:print_calls": (*DAGSTER, "dagster_gcp"),
    "feed_assets_tests.support.dagster.loading:print_pools": DAGSTER,
    "feed_assets_tests.support.dagster.project:import_into_bigquery": (
        *(*DAGSTER, "google.cloud.bigquery", "google.cloud.bigquery_storage"),
    ),
}
"""By program, the packages that are imported before it starts, for it and for later ones."""
Request = tuple[list[str], str, dict[str, str]]
"""Arguments, folder and environment of a program."""
LIMIT = 1 << 20
"""Bytes of a request."""


class Program:
    """A started program, in a session of its own."""

    def __init__(self, args: Sequence[str], status: int) -> None:
        self.args = args
        self.returncode: int | None = None
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """End it and the programs that it started."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.poll(timeout=None)

    def poll(self, timeout: float | None = 0) -> int | None:
        """Return its exit status, or None if it runs after `timeout` seconds."""
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(self._status.read())
            self._status.close()
        return self.returncode


def start(
    name: str,
    arguments: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str],
    output: IO[bytes],
) -> Program:
    """Start a command of .venv/bin, or a `module:function`."""
    script = name if ":" in name else entry_points(group=SCRIPTS)[name].value
    args = [script, *map(str, arguments)]
    request = [args, str(cwd), dict(environment), IMPORTS[name]]
    status, write = os.pipe()
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], [output.fileno(), write])
    finally:
        os.close(write)
    return Program(args, status)


def run(
    name: str, arguments: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program to its end; return its exit status and what it printed."""
    with (
        tempfile.TemporaryFile() as output,
        start(name, arguments, cwd, environment, output) as program,
    ):
        status = program.poll(timeout=120)
        assert status is not None, f"{program.args} runs after two minutes"
        output.seek(0)
        return status, output.read().decode()


@functools.cache
def _server() -> socket.socket:
    """The process from which programs fork; it ends with this one."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LIMIT)
    command = [sys.executable, "-m", __name__, str(there.fileno())]
    process = subprocess.Popen(
        command, cwd=PROJECT, pass_fds=[there.fileno()], start_new_session=True
    )
    there.close()

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


def _serve(requests: socket.socket) -> Request:
    """Fork a program for each request; return in the program, with its request."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    running: dict[int, int] = {}
    sources: list[socket.socket | int] = [requests, wake]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if wake in ready:
            os.read(wake, 100)
            for pid, status in _ended():
                os.write(running[pid], str(os.waitstatus_to_exitcode(status)).encode())
                os.close(running.pop(pid))
        if requests in ready:
            message, files, _, _ = socket.recv_fds(requests, LIMIT, 2)
            if not message:
                sys.exit()
            args, cwd, environment, imports = json.loads(message)
            for name in imports:
                import_module(name)
            gc.freeze()
            output, write = files
            if pid := os.fork():
                running[pid] = write
                os.write(write, b"%d\n" % pid)
                os.close(output)
                continue
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for file in (wake, woken, write, *running.values()):
                os.close(file)
            requests.close()
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            return args, cwd, environment


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _run(args: Sequence[str], cwd: str, environment: Mapping[str, str]) -> int:
    """Run the program in this process; return its exit status."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    sys.path[:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for name in [name for name in sys.modules if name.startswith("feed_assets")]:
        del sys.modules[name]
    module, _, function = args[0].partition(":")
    sys.argv[:] = args
    try:
        sys.exit(getattr(import_module(module), function)())
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


if __name__ == "__main__":
    ended = _run(*_serve(socket.socket(fileno=int(sys.argv[1]))))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(ended)  # as multiprocessing does: C++ would look for threads of the first process
