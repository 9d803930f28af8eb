"""The README is true: its commands run, its YAML loads, its example gives the table it shows."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from feed_assets.alerts.declared import Alerts
from feed_assets.delivery import Delivery
from feed_assets.demo.server import HOST
from feed_assets.download import Download
from feed_assets.feed import Feed
from feed_assets.importing import store
from feed_assets.orchestration.scaffold import alerts_yaml, feed_yaml
from feed_assets.source import Arriving, nameless
from feed_assets.warehouse.duckdb import DuckDBWarehouse
from feed_assets_tests.clone import PROJECT, make_clone, started

README = (PROJECT / "README.md").read_text(encoding="utf-8")
RUN_ELSEWHERE = {
    "make test": "is what runs this test",
    'export FEED_ASSETS_WAREHOUSE="bigquery://my-project?location=EU"': "wants a project at Google",
}


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


COMMANDS = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    make_clone(tmp_path)
    return tmp_path


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == {
        "make demo",
        "make ui",
        ".venv/bin/dg scaffold defs feed_assets.JsonFeed shop_orders",
        ".venv/bin/dg scaffold defs feed_assets.ImportAlerts team_alerts",
        ".venv/bin/dg check defs",
        ".venv/bin/feed-assets preview orders.ndjson --date 2020-01-20",
        *RUN_ELSEWHERE,
    }


def test_make_demo_imports_the_example_and_shows_it(clone: Path) -> None:
    with started("make demo", clone) as demo:
        shown, _ = demo.communicate(timeout=120)

    assert demo.returncode == 0, shown
    for text in ("crm.orders_20200115", "N1 delivered, N2 received", "refunded", "make ui"):
        assert text in shown
    tables = DuckDBWarehouse(clone / "var" / "demo" / "warehouse.duckdb")
    with tables:
        rows = duckdb_rows(tables, "orders")
        assert rows == duckdb_rows(tables, "current_orders")
    assert [(row["orderId"], row["status"], row["total"]) for row in rows] == [
        ("N1", "delivered", 120.13),
        ("N2", "refunded", 96.12),
        ("N3", "received", 299.99),
    ]


def test_make_ui_answers_with_the_project_loaded(clone: Path) -> None:
    demo = (clone / "feed_assets" / "demo" / "__main__.py").read_text()
    port = demo.partition("UI_PORT = ")[2].split()[0]
    with started("make ui", clone) as ui:
        try:
            query = "{repositoriesOrError {... on RepositoryConnection {nodes {location {name}}}}}"
            deadline = time.monotonic() + 100
            while True:
                assert ui.poll() is None, ui.stdout and ui.stdout.read()
                assert time.monotonic() < deadline, "the UI did not answer"
                try:
                    answer = requests.post(
                        f"http://{HOST}:{port}/graphql", json={"query": query}, timeout=10
                    ).json()
                except (requests.ConnectionError, requests.JSONDecodeError):
                    time.sleep(0.5)
                    continue
                if answer["data"]["repositoriesOrError"].get("nodes"):
                    break
                time.sleep(0.5)
        finally:
            os.killpg(ui.pid, signal.SIGINT)
            ui.wait(30)
    assert "feed_assets" in str(answer)


def duckdb_rows(tables: DuckDBWarehouse, name: str) -> list[dict[str, Any]]:
    from feed_assets.tables import Table

    rows: list[dict[str, Any]] = tables.read(Table("crm", name)).to_pylist()
    return sorted(rows, key=lambda row: str(row["orderId"]))


def test_dg_check_points_at_a_mistake_by_file_line_and_attribute(clone: Path) -> None:
    mistaken = clone / "feed_assets" / "defs" / "crm_orders" / "defs.yaml"
    mistaken.write_text(mistaken.read_text().replace("dataset: crm", "datset: crm"))

    with started(".venv/bin/dg check defs", clone) as dg:
        said, _ = dg.communicate(timeout=120)

    assert dg.returncode != 0
    line = mistaken.read_text().partition("datset")[0].count("\n") + 1
    assert f"crm_orders/defs.yaml:{line}" in said
    assert "datset" in said


def test_dg_scaffold_writes_what_dg_finds_valid(clone: Path) -> None:
    scaffold = " && ".join(command for command in COMMANDS if "scaffold" in command)
    with started(f"{scaffold} && .venv/bin/dg check yaml && .venv/bin/dg check defs", clone) as dg:
        said, _ = dg.communicate(timeout=120)

    assert "All definitions loaded successfully" in said, said
    written = (clone / "feed_assets" / "defs" / "shop_orders" / "defs.yaml").read_text()
    assert written == feed_yaml("shop_orders")
    for attribute in Feed.model_fields:
        assert f" {attribute}:" in written
    alerts = (clone / "feed_assets" / "defs" / "team_alerts" / "defs.yaml").read_text()
    assert alerts == alerts_yaml("team_alerts")
    for attribute in Alerts.model_fields:
        assert f" {attribute}: " in alerts


@pytest.mark.parametrize("block", blocks("yaml"))
def test_each_yaml_declares_what_it_says(block: str) -> None:
    document = yaml.safe_load(block)
    if "type" not in document:  # what the Makefile writes into an instance's dagster.yaml
        makefile = (PROJECT / "Makefile").read_text()
        assert all(line in makefile for line in block.splitlines())
        return

    models = {"feed_assets.JsonFeed": Feed, "feed_assets.ImportAlerts": Alerts}
    models[document["type"]](**document["attributes"])


def test_the_example_day_becomes_the_table_it_shows(tmp_path: Path) -> None:
    declared = yaml.safe_load(blocks("yaml")[1])["attributes"]
    lines = blocks("json")[0]
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")

    with nameless() as file:
        arriving = Arriving(file)
        arriving.write(lines.encode())
        arriving.end()
        got = Download("https://example.com/feed.ndjson", arriving)
        delivery = Delivery(Feed(**declared), date(2020, 1, 20), got)
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


def test_a_preview_prints_what_the_readme_shows(clone: Path) -> None:
    (clone / "orders.ndjson").write_text(blocks("json")[1])
    (command,) = (each for each in COMMANDS if "preview" in each)
    with started(command, clone) as preview:
        said, _ = preview.communicate(timeout=60)

    assert said in blocks("")
