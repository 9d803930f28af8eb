"""The project as a user has it: a folder of its own, in which commands are run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from feed_assets.demo.__main__ import UI_PORT
from feed_assets.demo.server import HOST, PORT

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "feed_assets" / "demo" / "defs"
TREE = (
    *("feed_assets", "pyproject.toml", "requirements.lock", "workspace.yaml"),
    *("Makefile", "setup.sh", "deploy"),
)
KEPT = {"PATH", "HOME", "LANG"}


def make_clone(path: Path) -> dict[str, str]:
    """Copies the project as it stands to `path`, with this .venv and free ports.

    Returns what the ports are that its files name: port as published -> port here.
    """
    for name in TREE:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
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


def declare_example(path: Path) -> None:
    """Declare the example's feeds as those of the user to whom the clone belongs."""
    package = path / "feed_assets"
    shutil.copytree(package / "demo" / "defs", package / "defs", dirs_exist_ok=True)


def _link_environment(path: Path) -> None:
    """Give the clone a .venv that counts as ready, and that its `make setup` cannot empty."""
    environment = path / ".venv"
    environment.mkdir()
    for each in (PROJECT / ".venv").iterdir():
        if each.name != ".ready":
            (environment / each.name).symlink_to(each)
    state = ["sh", "-c", "pwd -P; cksum requirements.lock pyproject.toml"]
    with (environment / ".ready").open("w") as ready:
        subprocess.run(state, cwd=path, stdout=ready, check=True)


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def started(
    command: str, clone: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The command as typed there, in a session of its own; with what a user's shell has set."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    return subprocess.Popen(
        command,
        shell=True,
        executable="/bin/bash",
        cwd=clone,
        env={**kept, "PYTHONPATH": str(clone), **(environment or {})},  # else the installed one
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
