"""The README is true: its commands run, its YAML loads, its example gives the table it shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from feed_assets.alerts.config import Alerts
from feed_assets.byte_source import GrowingByteSource, unnamed_temp_file
from feed_assets.config.feed import Feed
from feed_assets.demo.server import HOST
from feed_assets.download import Download
from feed_assets.download.prefetch import PendingDay
from feed_assets.importing.import_feed import store
from feed_assets.orchestration.scaffold import alerts_yaml, feed_yaml
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.project_copy import (
    PROJECT,
    copy_project,
    copy_tree,
    declare_example,
    free_ports,
    run_command,
    start_command,
)
from feed_assets_tests.support.servers.feed import feed_server, lines

pytestmark = pytest.mark.xdist_group("services")  # they wait; others compute meanwhile
README = (PROJECT / "README.md").read_text(encoding="utf-8")
RUN_ELSEWHERE = {
    "make test": "is what runs this test",
    "make dev": "is tried with a port of its own",
    'export FEED_ASSETS_WAREHOUSE="bigquery://my-project?location=EU"': "wants a project at Google",
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


COMMANDS = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


@pytest.fixture
def project_copy(tmp_path: Path) -> Path:
    copy_project(tmp_path)
    return tmp_path


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == {
        "make demo",
        ".venv/bin/dg scaffold defs feed_assets.JsonFeed shop_orders",
        ".venv/bin/dg scaffold defs feed_assets.ImportAlerts team_alerts",
        ".venv/bin/dg check defs",
        ".venv/bin/feed-assets preview orders.ndjson --date 2020-01-20",
        *RUN_ELSEWHERE,
    }


def test_make_demo_that_was_interrupted_goes_on_and_shows_the_example(project_copy: Path) -> None:
    with start_command("make demo", project_copy) as demo:
        assert demo.stdout is not None
        first = demo.stdout.readline()
        os.killpg(demo.pid, signal.SIGINT)
        printed, _ = demo.communicate(timeout=60)
    assert first.startswith("Importing crm_orders")
    assert "Interrupted." in printed
    assert "Traceback" not in printed

    with start_command("make demo", project_copy) as demo:
        shown, _ = demo.communicate(timeout=120)

    assert demo.returncode == 0, shown
    for text in ("crm.orders_20200115", "N1 delivered, N2 received", "refunded", "make ui"):
        assert text in shown
    assert blocks("")[0] in "\n".join(map(str.rstrip, shown.splitlines()))
    tables = DuckDBWarehouse(project_copy / "var" / "demo" / "warehouse.duckdb")
    with tables:
        rows = duckdb_rows(tables, "orders")
        assert rows == duckdb_rows(tables, "current_orders")
    assert [(row["orderId"], row["status"], row["total"]) for row in rows] == [
        ("N1", "delivered", 120.13),
        ("N2", "refunded", 96.12),
        ("N3", "received", 299.99),
    ]


ASSETS = "{assetNodes {assetKey {path}}}"


def test_make_ui_shows_the_example_even_if_a_users_feed_is_broken(project_copy: Path) -> None:
    port = (
        (project_copy / "feed_assets" / "demo" / "__main__.py")
        .read_text()
        .partition("UI_PORT = ")[2]
    )
    broken = project_copy / "feed_assets" / "defs" / "broken" / "defs.yaml"
    broken.parent.mkdir()
    broken.write_text("type: feed_assets.JsonFeed\nattributes: {name: broken}\n")
    example = {"crm_orders", "crm_orders_latest", "crm_orders_snapshot"}
    assert shown_assets("make ui", port.split()[0], project_copy) == example


def test_make_dev_shows_the_feeds_of_this_page_and_not_the_example(project_copy: Path) -> None:
    declare_readmes_feeds(project_copy)
    port = free_ports(1)[0]
    assert shown_assets(f"make dev PORT={port}", str(port), project_copy) == {
        "orders",
        "crm_orders",
        "crm_orders_latest",
    }


def declare_readmes_feeds(project_copy: Path) -> None:
    for block in blocks("yaml"):
        document = yaml.safe_load(block)
        if document.get("type") == "feed_assets.JsonFeed":
            path = (
                project_copy / "feed_assets" / "defs" / document["attributes"]["name"] / "defs.yaml"
            )
            path.parent.mkdir()
            path.write_text(block)


def test_the_step_to_bigquery_imports_a_feed_of_this_page(
    project_copy: Path, bigquery: Emulator
) -> None:
    """Run the page's commands with the variable that it exports, and the emulator as Google."""
    exported = next(each for each in COMMANDS if each.startswith("export FEED_ASSETS_WAREHOUSE"))
    checked = next(each for each in COMMANDS if "dg check" in each)
    with feed_server() as server:
        server.answer = lambda path: lines({"orderId": "N1", "total": 1.5})
        declare_readmes_feeds(project_copy)
        feed = project_copy / "feed_assets" / "defs" / "orders" / "defs.yaml"
        feed.write_text(feed.read_text().replace("https://example.com/feed.ndjson", server.url))
        home = project_copy / "var" / "dagster"
        copy_tree(PROJECT / "deploy" / "local", home)
        name, _, warehouse = shlex.split(exported)[1].partition("=")
        environment = {
            name: warehouse,
            "BIGQUERY_EMULATOR_HOST": bigquery.url,
            "DAGSTER_HOME": str(home),
        }
        for command in (checked, ".venv/bin/dg launch --assets orders"):
            status, printed = run_command(command, project_copy, environment)
            assert status == 0, printed
    client = bigquery.client(project="my-project")
    assert [dict(row) for row in client.list_rows("my-project.shop.orders")] == [
        {"orderId": "N1", "total": 1.5}
    ]


def shown_assets(command: str, port: str, project_copy: Path) -> set[str]:
    """The assets that the UI shows which a command starts."""
    with start_command(command, project_copy) as ui:
        try:
            deadline = time.monotonic() + 100
            while True:
                assert ui.poll() is None, ui.stdout and ui.stdout.read()
                assert time.monotonic() < deadline, "the UI did not answer"
                try:
                    answer = requests.post(
                        f"http://{HOST}:{port}/graphql", json={"query": ASSETS}, timeout=10
                    ).json()
                except (requests.ConnectionError, requests.JSONDecodeError):
                    time.sleep(0.5)
                    continue
                if answer["data"]["assetNodes"]:
                    break
                time.sleep(0.5)
        finally:
            os.killpg(ui.pid, signal.SIGINT)
            ui.wait(30)
    return {node["assetKey"]["path"][-1] for node in answer["data"]["assetNodes"]}


def duckdb_rows(tables: DuckDBWarehouse, name: str) -> list[dict[str, Any]]:
    from feed_assets.schema.table import Table

    rows: list[dict[str, Any]] = tables.read(Table("crm", name)).to_pylist()
    return sorted(rows, key=lambda row: str(row["orderId"]))


def test_dg_check_points_at_a_mistake_by_file_line_and_attribute(project_copy: Path) -> None:
    declare_example(project_copy)
    mistaken = project_copy / "feed_assets" / "defs" / "crm_orders" / "defs.yaml"
    mistaken.write_text(mistaken.read_text().replace("dataset: crm", "datset: crm"))

    status, printed = run_command(".venv/bin/dg check defs", project_copy)

    assert status != 0
    line = mistaken.read_text().partition("datset")[0].count("\n") + 1
    assert f"crm_orders/defs.yaml:{line}" in printed
    assert "datset" in printed


def test_dg_scaffold_writes_yaml_that_dg_accepts(project_copy: Path) -> None:
    scaffold = [command for command in COMMANDS if "scaffold" in command]
    assert len(scaffold) == 2
    for command in scaffold:
        status, printed = run_command(command, project_copy)
        assert status == 0, printed
    status, printed = run_command(".venv/bin/dg check defs", project_copy)

    assert "All component YAML validated successfully" in printed, printed
    assert "All definitions loaded successfully" in printed, printed
    written = (project_copy / "feed_assets" / "defs" / "shop_orders" / "defs.yaml").read_text()
    assert written == feed_yaml("shop_orders")
    for attribute in Feed.model_fields:
        assert f" {attribute}:" in written
    alerts = (project_copy / "feed_assets" / "defs" / "team_alerts" / "defs.yaml").read_text()
    assert alerts == alerts_yaml("team_alerts", has_others=True)
    for attribute in Alerts.model_fields:
        assert f" {attribute}: " in alerts


@pytest.mark.parametrize("block", blocks("yaml"))
def test_each_yaml_block_is_valid(block: str) -> None:
    document = yaml.safe_load(block)
    if "type" not in document:  # lines of the instance's configuration
        instance = yaml.safe_load((PROJECT / "deploy" / "local" / "dagster.yaml").read_text())
        assert document.items() <= instance.items()
        return

    models = {"feed_assets.JsonFeed": Feed, "feed_assets.ImportAlerts": Alerts}
    models[document["type"]](**document["attributes"])


def test_the_example_day_becomes_the_table_it_shows(tmp_path: Path) -> None:
    declared = yaml.safe_load(blocks("yaml")[1])["attributes"]
    lines = blocks("json")[0]
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")

    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)
        arriving.write(lines.encode())
        arriving.end()
        got = Download("https://example.com/feed.ndjson", arriving)
        delivery = PendingDay(Feed(**declared), date(2020, 1, 20), got)
        stored = store(delivery, warehouse, attempt="1").stored

    with warehouse:
        assert stored.table is not None
        rows = warehouse.read(stored.table)
    shown = re.search(r"^\| createdAt DATETIME.*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert shown is not None
    header, _, *body = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in shown[0].splitlines()
        if line
    )
    assert header == [f"{column.name} {column}" for column in stored.columns]
    assert body == [
        [str(value.normalize() if name == "total" else value) for name, value in row.items()]
        for row in rows.to_pylist()
    ]


def test_a_preview_prints_what_the_readme_shows(project_copy: Path) -> None:
    (project_copy / "orders.ndjson").write_text(blocks("json")[1])
    (command,) = (each for each in COMMANDS if "preview" in each)
    with start_command(command, project_copy) as preview:
        printed, _ = preview.communicate(timeout=60)

    assert printed in blocks("")
