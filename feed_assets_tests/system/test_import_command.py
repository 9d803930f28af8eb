"""`feed-assets import`: an import from a shell, in the instance that the UI shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from feed_assets.cli import main
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.dagster.client import BIN, INSTANCE, waited_for
from feed_assets_tests.support.servers.feed import Answer, FeedServer, feed_server, lines

DEFINITIONS = """
from pathlib import Path
import dagster as dg
from feed_assets import code_location

defs = code_location(dg.ComponentTree.for_project(Path(__file__).parent))
"""
BY_DATE = {"start_date": "2020-01-01", "timezone": "UTC"}
FEEDS: dict[str, dict[str, object]] = {
    "orders": {"partition_by_date": BY_DATE, "key": ["id"], "updated_at": "at"},
    "ended": {"partition_by_date": {**BY_DATE, "end_date": "2020-01-31"}},
    "leads": {"bearer_auth": {"token_env": "CRM_TOKEN"}},
}

ORDERS, LEADS = Table("crm", "orders"), Table("crm", "leads")


@dataclass
class Shell:
    """A project in the current folder."""

    server: FeedServer
    folder: Path
    home: Path

    @property
    def tables(self) -> DuckDBWarehouse:
        return DuckDBWarehouse(self.folder / "warehouse.duckdb")

    def runs(self) -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return list(instance.get_runs())


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    root = f"acme{abs(hash(tmp_path))}"
    package, home = tmp_path / root, tmp_path / "var/dagster"
    with feed_server() as server:
        server.answer = lambda path: lines({"id": 1, "at": "2020-01-01"})
        for name, attributes in FEEDS.items():
            declared = {"name": name, "url": server.url, "dataset": "crm", "allow_insecure": True}
            file = package / "defs" / name / "defs.yaml"
            file.parent.mkdir(parents=True)
            feed = {"type": "feed_assets.JsonFeed", "attributes": {**declared, **attributes}}
            file.write_text(yaml.safe_dump(feed))
        (package / "__init__.py").touch()
        (package / "definitions.py").write_text(DEFINITIONS)
        (tmp_path / "pyproject.toml").write_text(
            f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{root}"\n'
        )
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text(INSTANCE)
        (tmp_path / ".env").write_text("CRM_TOKEN=from-the-file\n")
        monkeypatch.setenv("CRM_TOKEN", "from-the-shell")
        monkeypatch.setenv("FEED_ASSETS_WAREHOUSE", f"duckdb://{tmp_path}/warehouse.duckdb")
        monkeypatch.setenv("DAGSTER_HOME", "")
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.chdir(tmp_path)
        yield Shell(server, tmp_path, home)


def test_days_are_imported_with_the_latest_state_and_shown_by_the_ui(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "orders", "--days", "2020-01-01..2020-01-02"]) == 0

    printed = capsys.readouterr()
    assert [line.rpartition(": ")[0].rpartition(": ")[2] for line in printed.out.splitlines()] == [
        "crm.orders_20200101",
        "crm.orders_20200102",
    ]
    assert printed.err == ""
    with shell.tables as tables:
        assert [str(shard) for shard in sorted(tables.shards(ORDERS))] == [
            "crm.orders_20200101",
            "crm.orders_20200102",
        ]
        assert tables.read(ORDERS).num_rows == 1
    assert [run.status for run in shell.runs()] == [dg.DagsterRunStatus.SUCCESS] * 2


@pytest.mark.parametrize(
    ("feed", "day"),
    [
        ("orders", f"{datetime.now(UTC).date() - timedelta(days=1):%Y%m%d}"),
        ("ended", "20200131"),
    ],
)
def test_without_a_day_the_last_complete_day_is_imported(shell: Shell, feed: str, day: str) -> None:
    assert main(["import", feed]) == 0
    assert [path for path, _ in shell.server.requests] == [f"/feed?date={day}"]


def test_the_projects_env_file_comes_before_the_environment_as_in_runs_of_dagster(
    shell: Shell,
) -> None:
    assert main(["import", "leads"]) == 0
    source = [shell.server.url, "--bearer-auth", "CRM_TOKEN"]
    assert main(["preview", *source]) == 0
    authorizations = [headers["Authorization"] for _, headers in shell.server.requests]
    assert authorizations == ["Bearer from-the-file"] * 2


def test_an_env_file_that_cannot_be_read_fails_with_one_sentence(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    (shell.folder / ".env").write_bytes(b"A=\xff")
    assert main(["preview", shell.server.url]) == 1
    expected = "feed-assets: .env cannot be read: it is not UTF-8 text; correct it, or remove it\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope", "--key", "id=1"], "nope is not a feed of this project; there are ended, leads"),
        (["orders"], "name the rows of orders to erase: --key id=VALUE or --where COLUMN=VALUE"),
        (["leads", "--key", "id=1"], "it has no key in its YAML; use --where"),
        (["orders", "--key", "id=1"], "crm.orders does not exist yet"),
    ],
)
def test_an_invalid_erasure_fails_with_one_sentence(
    shell: Shell, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["erase", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("feed-assets: ")
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("pair", ["id", "=1", "id="])
def test_a_key_without_a_value_fails_with_one_sentence(
    capsys: pytest.CaptureFixture[str], pair: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["erase", "orders", "--key", pair])
    assert f"{pair} is not COLUMN=VALUE, such as orderId=N2" in capsys.readouterr().err


def test_a_failure_is_reported_once_and_not_repeated_by_dagster(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.server.answer = lambda path: Answer(b"not JSON\n")
    assert main(["import", "ended", "--day", "2020-01-05"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("feed-assets: ended 2020-01-05: ")
    assert printed.err.count("\n") == 1
    (run,) = shell.runs()
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/max_retries"] == "0"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "nothing is not a feed of this project; there are ended, leads, orders"),
        (["leads", "--day", "2020-01-01"], "leads is a snapshot, so it has no days"),
        (["ended", "--day", "2020-02-01"], "ended has no day 2020-02-01; its days are 2020-01-01"),
        (["ended", "--days", "2019-12-31..2020-01-02"], "ended has no day 2019-12-31"),
        (["ended", "--days", "2020-01-30..2020-02-02"], "ended has no day 2020-02-02"),
    ],
)
def test_an_impossible_import_fails_with_one_sentence(
    shell: Shell, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["import", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not shell.server.requests


def test_a_missing_dagster_home_fails_with_one_sentence(
    shell: Shell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in ("var/dagster", str(shell.folder / "nowhere")):
        monkeypatch.setenv("DAGSTER_HOME", home)
        assert main(["import", "leads"]) == 1
        assert f"DAGSTER_HOME is {home!r}, which has to be the absolute path of a folder" in (
            capsys.readouterr().err
        )


def test_ctrl_c_ends_an_import_without_a_partial_table(shell: Shell) -> None:
    opened = threading.Event()

    def answer(path: str) -> Answer:
        assert opened.wait(60)
        return lines({"id": 1})

    shell.server.answer = answer
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [BIN / "feed-assets", "import", "leads"], stderr=subprocess.PIPE, text=True, env=env
    ) as command:
        waited_for("its request", lambda: shell.server.requests)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=60)
        opened.set()
    assert (command.returncode, err) == (130, "feed-assets: interrupted\n")
    with shell.tables as tables:
        assert tables.columns(LEADS) is None
