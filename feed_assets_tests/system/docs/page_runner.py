"""Run the code blocks of a page from top to bottom, in one folder, and compare their output."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import duckdb
import pytest
import yaml

from feed_assets.alerts.config import Alerts
from feed_assets.config.feed import Feed
from feed_assets.demo.server import serving
from feed_assets.ndjson.strict_json import parse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.project_copy import (
    copy_project,
    declare_example,
    free_ports,
    run_command,
    start_command,
)
from feed_assets_tests.system.docs.example import CREDENTIALS, declared, import_example
from feed_assets_tests.system.docs.pages import PROJECT, Block, shown_in

FILE = re.compile(r"(?:#|//) (\S+\.(?:py|mjs|yaml))\n")
"""First line of a block that names its file."""
CURL = Path(__file__).with_name("curl.py")
DEMO_PORT, EXAMPLE_PORT = "8020", "8000"
ELSEWHERE = ("docker", "kubectl", "helm", "gcloud", "bq", "sudo", "make")
"""Commands that cannot run in a test, or that README's tests run; the shell only parses them."""


class PageRunner:
    """State that the blocks of a page share: folder, environment, names, the example's tables."""

    def __init__(self, path: Path, bigquery: Callable[[], Emulator]) -> None:
        self.path, self._emulator = path, bigquery
        (path / "var" / "dagster").mkdir(parents=True)
        self.ports = {**copy_project(path), EXAMPLE_PORT: str(free_ports(1)[0])}
        declare_example(path)
        self.environment = {**CREDENTIALS, "PATH": f"{path}/.venv/bin:{os.environ['PATH']}"}
        if shutil.which("curl") is None:
            program = path / "bin" / "curl"
            program.parent.mkdir()
            program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(CURL)])} "$@"\n')
            program.chmod(0o755)
            self.environment["PATH"] += f":{program.parent}"
        self.names: dict[str, Any] = {"__name__": "shown"}
        self.running: list[subprocess.Popen[str]] = []
        self._ends = ExitStack()
        self._project = f"docs-{uuid4().hex[:12]}"
        self._bigquery: BigQueryWarehouse | None = None
        self._duckdb: DuckDBWarehouse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._ends.close()
        for process in self.running:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)

    def run(self, block: Block) -> None:
        kinds = {
            "console": self._console,
            "yaml": self._yaml,
            "yml": self._of_another_tool,
            "sql": self._sql,
            "python": self._python,
            "javascript": self._file,
            "json": self._json,
            "mermaid": self._picture,
        }
        assert block.kind in kinds, f"{block} is of a kind that is not run; there are {[*kinds]}"
        kinds[block.kind](block)

    # Commands

    def _console(self, block: Block) -> None:
        for command, output in commands(block):
            if command.startswith(ELSEWHERE):
                read_by_shell(command)
            elif found := re.fullmatch(r"export (\w+)=(.*)", command):
                self.environment[found[1]] = found[2].strip("\"'").replace("$PWD", str(self.path))
            else:
                self._command(block, command, output)

    def _command(self, block: Block, command: str, output: str) -> None:
        if re.search(r"dg launch|feed-assets import|demo", command):
            self.serve_example()
        command = self._here(command)
        if re.fullmatch(r"\.venv/bin/(dg|feed-assets) .*[^&]", command):
            status, printed = run_command(command, self.path, self.environment)
            assert status == 0, f"{block}: {command}\n{printed}"
            self._compare(block, command, output, printed)
            return
        background = command.endswith(" &")
        process = start_command(command.removesuffix(" &"), self.path, self.environment)
        if background:
            self.running.append(process)
            assert process.stdout is not None
            printed = process.stdout.readline()  # by which it says that it serves
        else:
            printed, _ = process.communicate(timeout=120)
            assert process.returncode == 0, f"{block}: {command}\n{printed}"
        self._compare(block, command, output, printed)

    def _compare(self, block: Block, command: str, output: str, printed: str) -> None:
        printed = self._published(printed)
        if output.strip():
            assert shown_in(output, printed), f"{block}: {command}\n{printed}"

    def _here(self, text: str) -> str:
        for published, here in self.ports.items():
            text = re.sub(rf"\b{published}\b", here, text)
        return text

    def _published(self, text: str) -> str:
        for published, here in self.ports.items():
            text = re.sub(rf"\b{here}\b", published, text)
        return text

    def serve_example(self) -> None:
        """Serve the example CRM at the port that the copied project's feeds request."""
        if "example" not in self.names:
            port = int(self.ports[DEMO_PORT])
            self.names["example"] = self._ends.enter_context(serving(port=port))

    # Files, and code that is run here

    def _file(self, block: Block) -> bool:
        named = FILE.match(block.text)
        if named:
            file = self.path / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._here(block.text[named.end() :]))
        return named is not None

    def _python(self, block: Block) -> None:
        if self._file(block):
            return
        with pytest.MonkeyPatch.context() as here:
            here.chdir(self.path)
            for name, value in self.environment.items():
                here.setenv(name, value)
            if block.text.startswith("# BigQuery\n"):
                self.in_bigquery("SELECT 1")  # imports the example
                client = self._emulator().client(project=self._project)
                here.setattr("google.cloud.bigquery.Client", lambda project: client)
            if not block.text.startswith(">>> "):
                exec(compile(block.text, str(block), "exec"), self.names)
                return
            test = doctest.DocTestParser().get_doctest(
                block.text, self.names, str(block), block.page, block.line
            )
            test.globs = self.names  # the parser has copied them
            printed: list[str] = []
            failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
                test, out=printed.append, clear_globs=False
            )
            assert not failed, "".join(printed)

    def _json(self, block: Block) -> None:
        for line in block.text.splitlines():
            parse(line.encode())

    def _picture(self, block: Block) -> None:
        """Check that the folders and modules in a diagram exist; nothing draws it."""
        assert re.match(r"(flowchart|sequenceDiagram)\b", block.text), block
        for path in re.findall(r"\b[a-z_]+/(?:[a-z_]+\.py)?", block.text):
            assert (PROJECT / "feed_assets" / path).exists(), f"{block}: {path}"

    # Declarations

    def _yaml(self, block: Block) -> None:
        """Check a whole defs.yaml, lines of a file of the project, or attributes of a feed."""
        if named := FILE.match(block.text):
            text = (PROJECT / named[1]).read_text()
            for line in block.text.splitlines()[1:]:
                assert line in text, f"{block}: {named[1]} has no line {line!r}"
            return
        document = yaml.safe_load(block.text)
        if "type" in document:
            models = {"feed_assets.JsonFeed": Feed, "feed_assets.ImportAlerts": Alerts}
            models[document["type"]](**document.get("attributes", {}))
        else:
            declared(document)

    def _of_another_tool(self, block: Block) -> None:
        """Parse the YAML of another tool, which is not installed."""
        assert yaml.safe_load(block.text)

    # Queries

    def _sql(self, block: Block) -> None:
        """Run a query in both warehouses, or in the one that its first line names."""
        only = re.match(r"-- (BigQuery|DuckDB)\b", block.text)
        for name, query in (("BigQuery", self.in_bigquery), ("DuckDB", self.in_duckdb)):
            if only is None or only[1] == name:
                names, rows = query(block.text)
                if block.table:
                    assert [names, *rows] == block.table, f"{block} in {name}"

    def in_duckdb(self, query: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        if self._duckdb is None:
            self._duckdb = DuckDBWarehouse(self.path / "var" / "warehouse.duckdb")
            import_example(self._duckdb)
        with duckdb.connect(self.path / "var" / "warehouse.duckdb") as run:
            result = run.execute(query)
            names = [each[0] for each in result.description or ()]
            return names, [[*map(shown, row)] for row in result.fetchall()]

    def in_bigquery(self, query: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        client = self._emulator().client(project=self._project)
        if self._bigquery is None:
            self._bigquery = BigQueryWarehouse(client)
            import_example(self._bigquery)
            client.create_dataset("web")
        rows = client.query(query).result()
        names = [field.name for field in rows.schema]
        return names, [[*map(shown, row.values())] for row in rows]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each `$ command` with the output shown below it."""
    text = block.text.replace("\\\n", "")
    assert text.startswith("$ "), f"{block} begins with no command"
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def read_by_shell(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True)


def shown(value: Any) -> str:
    """Format a value as the tables of a page do."""
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)
