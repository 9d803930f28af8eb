"""Imports on real parts: Dagster's web server and daemon, the example CRM, a DuckDB file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feed_assets.demo import crm
from feed_assets_tests.support.dagster.client import Asset, Backfill, Run, waited_for
from feed_assets_tests.support.dagster.running import RunningDagster

pytestmark = [
    pytest.mark.timeout(900),  # beside other tests, a run takes a minute to start
    pytest.mark.xdist_group("services"),
]

DAYS = [f"2020-01-{day}" for day in range(10, 21)]
COLUMNS = [
    ("createdAt", "DATETIME", "TIMESTAMP"),
    ("updatedAt", "DATETIME", "TIMESTAMP"),
    ("orderId", "STRING", "VARCHAR"),
    ("currency", "STRING", "VARCHAR"),
    ("total", "FLOAT", "DOUBLE"),
    ("status", "STRING", "VARCHAR"),
    ("userId", "STRING", "VARCHAR"),
]
TYPES = [(column, kind) for column, _, kind in COLUMNS]
TENTH, FIFTEENTH, TWENTIETH = (datetime(2020, 1, day) for day in (10, 15, 20))
N1_RECEIVED = (TENTH, TENTH, "N1", "USD", 120.13, "received", "U1")
N1_DELIVERED = (TENTH, FIFTEENTH, "N1", "USD", 120.13, "delivered", "U1")
N2_RECEIVED = (FIFTEENTH, FIFTEENTH, "N2", "USD", 96.12, "received", "U2")
N2_REFUNDED = (FIFTEENTH, TWENTIETH, "N2", "USD", 96.12, "refunded", "U2")
N3_RECEIVED = (TWENTIETH, TWENTIETH, "N3", "USD", 299.99, "received", "U3")
UPDATES: dict[str, list[tuple[Any, ...]]] = {
    **{day: [] for day in DAYS},
    "2020-01-10": [N1_RECEIVED],
    "2020-01-15": [N1_DELIVERED, N2_RECEIVED],
    "2020-01-20": [N2_REFUNDED, N3_RECEIVED],
}
NOW = [N1_DELIVERED, N2_REFUNDED, N3_RECEIVED]
BAD_DAY = "crm_orders 2020-01-15: line 2 is not JSON (NaN is not a JSON number)"


@dataclass(frozen=True)
class Tables:
    """The tables and views of schema `crm`: each one's columns, and its rows in their order."""

    columns: dict[str, list[tuple[str, str]]]
    rows: dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Imported:
    """The imported example: events of Dagster, and the tables right after the imports."""

    backfill: Backfill
    orders: Asset
    snapshot: Run
    tables: Tables = field(repr=False)


@pytest.fixture(scope="module")
def imported(running_dagster: RunningDagster) -> Imported:
    dagster = running_dagster.client
    backfill_id = dagster.launch_backfill("crm_orders", DAYS)
    snapshot_id = dagster.launch_run("crm_orders_snapshot")
    backfill = dagster.backfill(backfill_id)
    snapshot = dagster.run(snapshot_id)
    return Imported(backfill, dagster.asset("crm_orders"), snapshot, tables(running_dagster.file))


def tables(file: Path) -> Tables:
    def opened() -> duckdb.DuckDBPyConnection | None:
        try:
            return duckdb.connect(str(file), read_only=True)
        except duckdb.IOException:  # a run is writing
            return None

    with waited_for("the DuckDB file", opened) as connection:
        columns: dict[str, list[tuple[str, str]]] = {}
        for table, column, kind in connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'crm' ORDER BY table_name, ordinal_position"
        ).fetchall():
            columns.setdefault(table, []).append((column, kind))
        rows = {table: connection.execute(f"FROM crm.{table}").fetchall() for table in columns}
    return Tables(columns, {table: sorted(found, key=str) for table, found in rows.items()})


def test_eleven_days_picked_in_the_ui_are_backfilled_in_one_run(imported: Imported) -> None:
    (run,) = imported.backfill.runs
    assert (imported.backfill.status, imported.backfill.partitions) == ("COMPLETED_SUCCESS", 11)
    assert run.status == "SUCCESS"
    assert run.materialized == DAYS


def test_each_backfilled_day_shows_as_materialized_with_its_own_figures(
    imported: Imported, running_dagster: RunningDagster
) -> None:
    orders = imported.orders
    assert orders.statuses == [("MATERIALIZED", DAYS[0], DAYS[-1])]
    assert list(orders.materializations) == DAYS
    for day, rows in UPDATES.items():
        metadata, suffix = orders.materializations[day], day.replace("-", "")
        assert metadata["dagster/row_count"] == len(rows)
        assert metadata["dagster/table_name"] == f"crm.orders_{suffix}"
        assert metadata["dagster/column_schema"] == {
            "columns": [{"name": name, "type": kind} for name, kind, _ in COLUMNS]
        }
        assert metadata["url"] == f"{running_dagster.url}/feed.ndjson?date={suffix}"
        assert (metadata["bytes"] > 0) == bool(rows)
        assert metadata["bad lines"] == 0


@pytest.mark.usefixtures("imported")
def test_the_checks_tab_has_each_day_and_the_feed_has_its_deadline(
    running_dagster: RunningDagster,
) -> None:
    all_days = [("SUCCEEDED", DAYS[0], DAYS[-1])]
    names = ("rows", "key", "updated_at", "schema")
    assert running_dagster.client.checks("crm_orders") == dict.fromkeys(names, all_days)
    assert running_dagster.client.deadline("crm_orders_snapshot")["deadlineCron"] == "0 3 29 2 *"


def test_each_day_has_its_shard_and_the_snapshot_its_table(imported: Imported) -> None:
    expected = {f"orders_{day.replace('-', '')}": rows for day, rows in UPDATES.items()}
    expected["current_orders"] = NOW
    assert imported.snapshot.status == "SUCCESS"
    assert {name: imported.tables.rows[name] for name in expected} == expected
    for name in expected:
        assert imported.tables.columns[name] == TYPES
    assert set(imported.tables.rows) - set(expected) <= {"orders", "latest_orders"}


def test_a_password_missing_or_wrong_fails_the_run_and_not_the_code_location(
    running_dagster: RunningDagster,
) -> None:
    run = running_dagster.client.run(running_dagster.client.launch_run("crm_leads", "crm_returns"))
    assert run.status == "FAILURE"
    assert run.failures == {
        "crm_leads": "crm_leads: the environment variable CRM_LEADS_PASSWORD is not set; "
        "the feed's basic_auth reads it",
        "crm_returns": f"crm_returns: {running_dagster.url}/feed.ndjson answered 401 Unauthorized; "
        "check what the environment has in CRM_FEED_USERNAME and CRM_FEED_USERNAME",
    }
    assert running_dagster.client.location() == "LOADED"


def test_a_bad_day_of_a_backfill_fails_alone_and_its_table_stays(
    imported: Imported, running_dagster: RunningDagster
) -> None:
    (order,) = crm.updated_on(date(2020, 1, 10))
    running_dagster.answers[date(2020, 1, 14)] = [order]
    running_dagster.answers[date(2020, 1, 15)] = [order, {"orderId": "N4", "total": float("nan")}]
    backfill = running_dagster.client.backfill(
        running_dagster.client.launch_backfill("crm_orders", DAYS[4:7])
    )
    orders = running_dagster.client.asset("crm_orders")
    stored = tables(running_dagster.file).rows

    (run,) = backfill.runs
    assert (backfill.status, run.status) == ("COMPLETED_FAILED", "FAILURE")
    assert run.failures == {"crm_orders": BAD_DAY}
    assert run.materialized == ["2020-01-14", "2020-01-16"]
    assert orders.statuses == [
        ("MATERIALIZED", "2020-01-10", "2020-01-14"),
        ("FAILED", "2020-01-15", "2020-01-15"),
        ("MATERIALIZED", "2020-01-16", "2020-01-20"),
    ]
    assert orders.materializations["2020-01-14"]["dagster/row_count"] == 1
    assert stored["orders_20200114"] == [N1_RECEIVED]
    assert stored["orders_20200115"] == UPDATES["2020-01-15"]


@pytest.mark.usefixtures("imported")
def test_the_latest_state_is_updated_by_its_sensor_and_by_hand(
    running_dagster: RunningDagster,
) -> None:
    by_itself = running_dagster.client.sensor_run("crm_orders_latest", sensor="latest_state")
    before = tables(running_dagster.file)
    by_hand = running_dagster.client.run(running_dagster.client.launch_run("crm_orders_latest"))
    after = tables(running_dagster.file)
    assert by_itself.status == by_hand.status == "SUCCESS"
    assert before.rows["orders"]
    assert after.rows["orders"] == NOW
    assert before.columns["orders"] == after.columns["orders"] == TYPES


def test_a_failure_is_reported_to_chat_and_by_mail(running_dagster: RunningDagster) -> None:
    """No test before has failed for these reasons: a failure that repeats is reported once."""
    for day in (None, date(2020, 1, 15)):
        running_dagster.answers[day] = [{"orderId": "N4", "total": float("nan")}]
    backfill_id = running_dagster.client.launch_backfill("crm_orders", ["2020-01-15"])
    run_id = running_dagster.client.launch_run("crm_orders_snapshot")
    assert running_dagster.client.backfill(backfill_id).status == "COMPLETED_FAILED"
    assert running_dagster.client.run(run_id).status == "FAILURE"
    del running_dagster.answers[None]

    def received(link: str) -> dict[str, Any] | None:
        messages = running_dagster.hook.received
        return next((each for each in messages if link in each["message"]), None)

    backfill = waited_for("the alert of the backfill", lambda: received(f"/runs/b/{backfill_id}"))
    assert backfill["title"] == "crm_orders: backfill of 2020-01-15 failed"
    assert backfill["message"].startswith("2020-01-15: line 1 is not JSON (NaN is not a JSON")
    alert = waited_for("the alert of the run", lambda: received(f"/runs/{run_id}"))
    assert alert["title"] == "crm_orders_snapshot: import failed"
    assert alert["message"].startswith("line 1 is not JSON (NaN is not a JSON number)")
    assert alert["message"].endswith(
        "materialize crm_orders_snapshot again.\n\nRun: https://dagster.example.com/runs/" + run_id
    )
    assert waited_for(
        "the mail",
        lambda: any(run_id in mail.get_content() for mail in running_dagster.mailbox.received),
    )
