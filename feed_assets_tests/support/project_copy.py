"""A copy of the project in its own folder, to run commands in as a user does."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from feed_assets.demo.__main__ import UI_PORT
from feed_assets.demo.server import HOST, PORT
from feed_assets_tests.support import warm

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "feed_assets" / "demo" / "defs"
TREE = (
    *("feed_assets", "pyproject.toml", "requirements.lock", "workspace.yaml"),
    *("Makefile", "setup.sh", "deploy"),
)
INHERITED_VARIABLES = {"PATH", "HOME", "LANG"}


def copy_project(path: Path) -> dict[str, str]:
    """Copy the project to `path`, with this .venv and free ports.

    Return the ports in the copied files, by the port in the project's files.
    """
    for name in TREE:
        copy = copy_tree if (PROJECT / name).is_dir() else shutil.copy2
        copy(PROJECT / name, path / name)
    _link_environment(path)
    ports = dict(zip([str(PORT), str(UI_PORT)], map(str, free_ports(2)), strict=True))
    for pattern in ("demo/defs/*/defs.yaml", "demo/*.py"):
        for file in (path / "feed_assets").glob(pattern):
            text = file.read_text()
            for published, here in ports.items():
                text = text.replace(published, here)
            file.write_text(text)
    return ports


def copy_tree(source: Path, to: Path, copy: Callable[..., Any] = shutil.copy2) -> None:
    """Copy a folder in which other processes may be compiling modules.

    Python writes bytecode to `name.pyc.NUMBER` and renames it: such a file can vanish at any time.
    """
    unfinished = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(source, to, ignore=unfinished, copy_function=copy, dirs_exist_ok=True)


def declare_example(path: Path) -> None:
    """Copy the example's feeds into the copy's own `defs`."""
    package = path / "feed_assets"
    copy_tree(package / "demo" / "defs", package / "defs")


def _link_environment(path: Path) -> None:
    """Link a .venv that counts as set up, and that `make setup` in the copy cannot delete."""
    environment = path / ".venv"
    environment.mkdir()
    for each in (PROJECT / ".venv").iterdir():
        if each.name != ".ready":
            (environment / each.name).symlink_to(each)
    state = ["sh", "-c", "pwd -P; cksum requirements.lock pyproject.toml"]
    with (environment / ".ready").open("w") as ready:
        subprocess.run(state, cwd=path, stdout=ready, check=True)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def start_command(
    command: str, project_copy: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in the copy, in its own session."""
    return subprocess.Popen(
        command,
        shell=True,
        executable="/bin/bash",
        cwd=project_copy,
        env=user_environment(project_copy, environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_command(
    command: str, project_copy: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command of .venv/bin in the copy; return its exit status and what it printed.

    It forks from a process that has imported Dagster; `start_command` starts the installed script.
    """
    program, *arguments = shlex.split(command)
    name = program.removeprefix(".venv/bin/")
    return warm.run(name, arguments, project_copy, user_environment(project_copy, environment))


def user_environment(
    project_copy: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a user's few variables, with which Python imports the copy's modules."""
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED_VARIABLES}
    return {**inherited, "PYTHONPATH": str(project_copy), **(environment or {})}
