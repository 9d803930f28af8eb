"""Run deploy/ without Docker: the image's environment, the services as processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from feed_assets_tests.support.dagster.client import (
    BIN,
    Dagster,
    copied_project,
    free_port,
    listens,
    process,
    waited_for,
)
from feed_assets_tests.support.project_copy import PROJECT, copy_tree

DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
INSTALLED = "/opt/feed_assets"
"""The environment that the Dockerfile makes."""


def instructions() -> Iterator[tuple[int, str, str]]:
    """Yield the instructions of the Dockerfile: stage number, keyword, arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage = 0
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line:
            word, rest = line.split(maxsplit=1)
            stage += word == "FROM"
            yield stage, word, rest


def project_with(to: Path, url: str, feeds: Mapping[str, Mapping[str, Any]]) -> Path:
    """A copy of this repository whose feeds are a company's own, at `url`."""
    copied_project(to, url, feeds)
    for name in ("requirements.lock", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, to)
    copy_tree(DEPLOY, to / "deploy")
    return to


@dataclass(frozen=True)
class Image:
    """Build the image's content: its own environment, and DAGSTER_HOME."""

    root: Path

    @property
    def programs(self) -> Path:
        return self.root / "installed/bin"

    @property
    def packages(self) -> Path:
        (found,) = self.root.glob("installed/lib/python*/site-packages")
        return found

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def wheel(self) -> Path:
        (found,) = (self.root / "build/dist").glob("*.whl")
        return found

    def environment(self, **more: str) -> dict[str, str]:
        """Return a container's variables, without those of this process."""
        path = f"{self.programs}:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.root), "DAGSTER_HOME": str(self.home), **more}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it to its end."""
        return subprocess.run(
            [self.programs / command[0], *command[1:]],
            cwd=self.home,
            env=self.environment(**more),
            capture_output=True,
            text=True,
        )


def built(project: Path, root: Path) -> Image:
    """Follow the instructions by which the Dockerfile installs the project."""
    image, build = Image(root), root / "build"
    build.mkdir(parents=True)
    image.home.mkdir()
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    env.pop("PYTHONPATH", None)
    for stage, word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                copy = copy_tree if (project / source).is_dir() else shutil.copy
                copy(project / source, (build if stage == 1 else image.home) / Path(source).name)
        if word == "RUN" and stage == 1:
            command = rest.replace(INSTALLED, str(root / "installed"))
            done = subprocess.run(
                command, shell=True, cwd=build, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
    share_bytecode(Path(sysconfig.get_path("purelib")), image.packages)
    return image


def share_bytecode(have: Path, lack: Path) -> None:
    """Link compiled modules from one environment to another, which else take 20 s to compile.

    uv links the files of both to those of its cache, so Python finds them unchanged.
    """
    for compiled in have.rglob("__pycache__"):
        target = lack / compiled.relative_to(have)
        if target.parent.is_dir():
            copy_tree(compiled, target, os.link)


@dataclass(frozen=True)
class Deployed:
    """The services of the compose file, running; only where they listen is changed.

    That is this machine's loopback, on ports that are free.
    """

    image: Image
    database: Mapping[str, str]
    secrets: Mapping[str, str]
    """Variables of deploy/.env."""
    ports: dict[str, str] = field(default_factory=lambda: {"0.0.0.0": "127.0.0.1"})

    @property
    def dagster(self) -> Dagster:
        found = Dagster(f"http://127.0.0.1:{self.ports['3000']}")
        found.session.trust_env = False  # loopback needs no proxy
        return found

    def log(self, service: str) -> str:
        return (self.image.root / f"{service}.log").read_text()

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's variables from the compose file."""
        known = {**self.database, **self.secrets}
        given = {name: known[name] for name in SERVICES[service]["environment"]}
        return {**given, **(self.secrets if SERVICES[service].get("env_file") else {})}

    def run(self, service: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a service to its end."""
        return self.image.run(*self._here(command), **self.environment(service))

    def check(self, service: str) -> bool:
        """Return whether the service's health check passes."""
        kind, *command = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(service, command).returncode == 0

    @contextmanager
    def started(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service."""
        command = SERVICES[service]["command"]
        if "--port" in command:
            self.ports[command[command.index("--port") + 1]] = str(free_port())
        program, *arguments = self._here(command)
        env = self.image.environment(**self.environment(service))
        log = self.image.root / f"{service}.log"
        with process([self.image.programs / program, *arguments], self.image.home, env, log) as it:
            yield it

    def _here(self, command: Sequence[str]) -> list[str]:
        return [self.ports.get(word, word) for word in command]


@contextmanager
def deployed(
    image: Image, database: Mapping[str, str], secrets: Mapping[str, str]
) -> Iterator[Deployed]:
    """Start the services of the compose file in the order it requires."""
    here = Deployed(image, database, secrets)
    done = here.run("migrate", SERVICES["migrate"]["command"])
    assert done.returncode == 0, done.stderr
    with here.started("code") as code:

        def answers() -> bool:
            assert code.poll() is None, here.log("code")
            return listens(int(here.ports["4000"]))

        waited_for("the code location", answers)
        workspace = image.home / "workspace.yaml"
        text = workspace.read_text().replace("host: code", "host: 127.0.0.1")
        workspace.write_text(text.replace("4000", here.ports["4000"]))
        with here.started("webserver"), here.started("daemon"):
            waited_for("Dagster", here.dagster.ready)
            yield here
