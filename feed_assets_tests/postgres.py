"""A PostgreSQL server of a test's own, as Debian installs it, on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "p@ss:word/1"  # what a URL would have to quote
USER = "postgres" if os.geteuid() == 0 else getpass.getuser()
"""Who runs it, as it refuses to be run by root."""


@dataclass(frozen=True)
class Postgres:
    """Where it listens, in the variables that deploy/dagster.yaml reads."""

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
    """Runs one in an empty folder, and removes both."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        password, data = Path(folder) / "password", Path(folder) / "data"
        password.write_text(PASSWORD)
        for path in (folder, password):
            shutil.chown(path, USER)

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [programs / program, "-D", data, *arguments],
                user=USER if os.geteuid() == 0 else None,
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


def _programs() -> Path:
    """Where they are; Debian keeps them, by version, out of the PATH."""
    newest_last = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4])
    )
    found = shutil.which("initdb") or (newest_last and newest_last[-1])
    assert found, "This test runs a PostgreSQL server: install it (apt-get install postgresql)."
    return Path(found).resolve().parent
