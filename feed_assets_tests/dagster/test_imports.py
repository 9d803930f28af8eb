"""Imports through Dagster: an answer becomes a table, or one sentence and no change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import IO, Any

import dagster as dg
import duckdb
import pandas as pd
import pytest

from feed_assets import byte_source
from feed_assets.config.feed import Feed
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import PendingMigration
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.dagster.project import SNAPSHOT, Project, metadata_of
from feed_assets_tests.support.servers.feed import Answer, feed_server, lines


def days_of(**answers: Answer) -> Any:
    """Answers by day, `d20200101=...`; other days are empty."""
    return lambda path: answers.get(f"d{path.rpartition('=')[2]}", Answer())


def shard(day: str) -> Table:
    return Table("crm", f"orders_{day}")


def test_a_snapshot_becomes_a_table_and_replaces_it(snapshot: Project) -> None:
    assert snapshot.run().success
    assert snapshot.rows() == [{"id": "N1", "total": 1.5}]

    snapshot.server.answer = lambda path: lines({"id": "N2", "total": 2}, {"id": "N3"})
    assert snapshot.run().success
    assert snapshot.rows() == [{"id": "N2", "total": 2}, {"id": "N3", "total": None}]


def test_the_contents_hash_is_the_data_version(snapshot: Project) -> None:
    def version() -> str:
        event = snapshot.instance.get_latest_materialization_event(dg.AssetKey("orders"))
        assert event is not None
        assert event.asset_materialization is not None
        return (event.asset_materialization.tags or {})["dagster/data_version"]

    first = [snapshot.run().success, version()]
    again = [snapshot.run().success, version()]
    snapshot.server.answer = lambda path: lines({"id": "N2"})
    other = [snapshot.run().success, version()]

    assert first == again != other


def test_a_day_becomes_a_shard(by_date: Project) -> None:
    assert by_date.run("2020-01-20").success

    assert by_date.server.requests[0][0] == "/feed?date=20200120"
    assert by_date.rows(shard("20200120")) == [{"id": "N1", "total": 1.5}]
    assert by_date.materialized() == {"2020-01-20"}


def test_a_range_of_days_is_one_run_with_a_record_of_each(by_date: Project) -> None:
    by_date.server.answer = days_of(
        d20200101=lines({"id": "N1"}), d20200103=lines({"id": "N2", "coupon": "X"}, {"id": "N3"})
    )

    run = by_date.run("2020-01-01", "2020-01-03")

    assert by_date.materialized() == {"2020-01-01", "2020-01-02", "2020-01-03"}
    metadata = metadata_of(run)
    assert {day: found["dagster/row_count"] for day, found in metadata.items()} == {
        "2020-01-01": 1,
        "2020-01-02": 0,
        "2020-01-03": 2,
    }
    assert metadata["2020-01-03"]["new columns"] == ["coupon: STRING"]
    assert metadata["2020-01-03"]["dagster/table_name"] == "crm.orders_20200103"
    assert by_date.rows(shard("20200102")) == []


def test_an_empty_day_before_any_column_is_known_is_recorded_and_makes_no_table(
    by_date: Project,
) -> None:
    by_date.server.answer = days_of()

    run = by_date.run("2020-01-01")

    assert run.success
    assert by_date.materialized() == {"2020-01-01"}
    assert metadata_of(run)["2020-01-01"]["dagster/row_count"] == 0
    assert by_date.tables.columns(shard("20200101")) is None


def test_days_fail_alone_and_the_run_names_them(by_date: Project) -> None:
    by_date.server.answer = days_of(
        d20200101=lines({"id": "N1"}),
        d20200102=lines({"id": "N2"}, "{oops"),
        d20200103=Answer(status=404),
        d20200104=lines({"id": "N4"}),
    )

    run = by_date.run("2020-01-01", "2020-01-04")

    assert not run.success
    assert by_date.materialized() == {"2020-01-01", "2020-01-04"}
    assert by_date.rows(shard("20200104")) == [{"id": "N4"}]
    first, second = by_date.reason(run).splitlines()
    assert first.startswith("orders 2020-01-02: line 2 is not JSON")
    assert second.startswith("orders 2020-01-03: http://127.0.0.1")
    assert by_date.tables.columns(shard("20200102")) is None


def test_with_quote_rows_the_start_of_a_long_bad_line_is_quoted(
    project: Callable[..., Project],
) -> None:
    by_date = project(partition_by_date={"start_date": "2020-01-01"}, quote_rows=True)
    by_date.server.answer = lambda path: lines(f"{{oops{'x' * 100}")

    run = by_date.run("2020-01-01")

    assert by_date.reason(run).endswith(f": {{oops{'x' * 75}…")


def test_refused_credentials_are_not_tried_again_for_every_day(
    by_date: Project,
) -> None:
    by_date.server.answer = lambda path: Answer(status=401)

    reason = by_date.reason(by_date.run("2020-01-01", "2020-01-31"))

    assert len(by_date.server.requests) <= by_date.feed.parallel_requests
    assert reason.splitlines()[-1].startswith("orders 2020-01-0")
    assert " days more: http://127.0.0.1" in reason
    assert len(reason.splitlines()) <= by_date.feed.parallel_requests


FAILURES: Sequence[tuple[str, Answer, str]] = [
    ("a bad line", lines({"id": "N2"}, "[1,2"), "line 2 is not a JSON object"),
    ("a doubled key", lines('{"id": 1, "id": 2}'), "line 1 has a key twice in one object"),
    ("a page", Answer(b"<!DOCTYPE html><html>log in"), "HTML"),
    ("an array", Answer(b'[{"id": "N2"}]'), "array"),
    ("no rows", Answer(), "has no rows, which would empty crm.orders; set allow_empty"),
    ("no content", Answer(status=204), "answered 204"),
    ("no values", lines({}, {"id": None}), "2 rows and not one value"),
    ("no access", Answer(status=401), "answered 401"),
    ("no feed", Answer(status=404), "answered 404"),
    ("a broken server", Answer(status=502), "answered 502"),
    ("a short body", Answer(b"{}", headers={"Content-Length": "99"}), "broke off"),
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A snapshot that was imported once, for imports that do not change it."""
    with feed_server() as server, ephemeral_instance() as instance:
        server.answer = lambda path: lines({"id": "N1", "total": 1.5})
        snapshot = Project(server, tmp_path_factory.mktemp("imported"), instance)
        assert snapshot.run().success
        yield snapshot


@pytest.mark.parametrize(
    ("answer", "says"), [case[1:] for case in FAILURES], ids=[c[0] for c in FAILURES]
)
def test_a_failed_import_gives_its_reason_in_one_sentence_and_leaves_the_table(
    imported: Project, answer: Answer, says: str
) -> None:
    imported.server.answer = lambda path: answer

    run = imported.run()

    reason = imported.reason(run)
    assert reason.startswith("orders: ")
    assert says in reason
    assert "\n" not in reason
    assert "Traceback" not in reason
    assert imported.rows() == [{"id": "N1", "total": 1.5}]


def test_a_type_that_conflicts_with_the_shards_names_the_line_and_leaves_the_day(
    by_date: Project,
) -> None:
    by_date.run("2020-01-01", "2020-01-02")
    by_date.server.answer = days_of(d20200102=lines({"total": 1}, {"total": 2}, {"total": "n/a"}))

    run = by_date.run("2020-01-02")

    assert "column total of crm.orders is FLOAT in the shards so far and STRING today" in (
        by_date.reason(run)
    )
    assert "(first at line 3)" in by_date.reason(run)
    assert by_date.rows(shard("20200102")) == [{"id": "N1", "total": 1.5}]


def test_the_advice_for_a_type_conflict_works(
    by_date: Project, project: Callable[..., Project]
) -> None:
    """Declared and backfilled from the first day on, the column is text in every shard."""
    by_date.server.answer = days_of(
        d20200101=lines('{"total": 1.50}'), d20200102=lines({"total": "n/a"})
    )
    by_date.run("2020-01-01", "2020-01-02")
    assert by_date.rows(shard("20200101")) == [{"total": 1.5}]

    declared = project(
        partition_by_date={"start_date": "2020-01-01"},
        types={"total": "STRING"},
    )
    run = declared.run("2020-01-01", "2020-01-02")

    assert run.success, declared.reason(run)
    assert declared.rows(shard("20200101")) == [{"total": "1.50"}]
    assert declared.rows(shard("20200102")) == [{"total": "n/a"}]


def test_a_type_conflict_in_a_renamed_column_is_resolved_by_its_name_in_the_feed(
    by_date: Project, project: Callable[..., Project]
) -> None:
    by_date.server.answer = days_of(
        d20200101=lines({"order-id": 1}), d20200102=lines({"order-id": "x"})
    )

    reason = by_date.reason(by_date.run("2020-01-01", "2020-01-02"))
    assert "column order_id of crm.orders" in reason
    assert "types: {order-id: STRING}" in reason

    declared = project(partition_by_date={"start_date": "2020-01-01"}, types={"order-id": "STRING"})
    assert declared.run("2020-01-01", "2020-01-02").success
    assert declared.rows(shard("20200101")) == [{"order_id": "1"}]


def test_a_disk_that_fails_in_a_backfill_leaves_the_other_days_recorded(
    by_date: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import feed_assets.download.prefetch as delivery
    from feed_assets.download import body_file as received
    from feed_assets.download import download

    asked = threading.local()

    def downloaded(http: Any, feed: Feed, day: date | None, *rest: Any, **options: Any) -> None:
        asked.day = day
        download(http, feed, day, *rest, **options)

    def new_file() -> IO[bytes]:
        full = asked.day == date(2020, 1, 2)
        return Path("/dev/full").open("wb") if full else byte_source.unnamed_temp_file()

    monkeypatch.setattr(delivery, "download", downloaded)
    monkeypatch.setattr(received, "unnamed_temp_file", new_file)

    run = by_date.run("2020-01-01", "2020-01-03")

    assert "2020-01-02: http" in by_date.reason(run)
    assert "No space left" in by_date.reason(run)
    assert by_date.materialized() == {"2020-01-01", "2020-01-03"}


def test_a_run_that_breaks_off_has_recorded_the_days_it_stored(
    by_date: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import feed_assets.importing.import_feed as importing

    real = importing.FeedFrame.read

    def killed(frame: importing.FeedFrame, known: Columns) -> pd.DataFrame:
        assert frame.origin is not None
        if frame.origin.labels["day"] == "2020-01-03":
            raise KeyboardInterrupt
        return real(frame, known)

    monkeypatch.setattr(importing.FeedFrame, "read", killed)

    with suppress(KeyboardInterrupt):
        by_date.run("2020-01-01", "2020-01-04")
    assert by_date.materialized() == {"2020-01-01", "2020-01-02"}


def test_an_unexpected_error_fails_only_its_day_with_one_sentence(
    by_date: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import feed_assets.importing.import_feed as importing

    real, secret = importing.FeedFrame.read, "hunter2"

    def surprised(frame: importing.FeedFrame, known: Columns) -> pd.DataFrame:
        assert frame.origin is not None
        if frame.origin.labels["day"] == "2020-01-03":
            raise OverflowError(secret)
        return real(frame, known)

    monkeypatch.setattr(importing.FeedFrame, "read", surprised)

    run = by_date.run("2020-01-01", "2020-01-04")

    assert by_date.reason(run) == (
        "orders 2020-01-03: the import failed by an unexpected OverflowError, which is a fault of "
        "feed_assets; please report it, with the traceback in the debug log"
    )
    assert by_date.materialized() == {"2020-01-01", "2020-01-02", "2020-01-04"}
    log = [entry.user_message for entry in by_date.instance.all_logs(run.run_id)]
    (traceback,) = [line for line in log if "in surprised" in line]
    assert secret not in traceback


def test_numbers_in_a_column_known_as_text_are_stored_as_the_text_of_the_feed(
    by_date: Project,
) -> None:
    by_date.server.answer = days_of(
        d20200101=lines({"zip": "00123", "tags": ["a"]}),
        d20200102=lines('{"zip": 1.50, "tags": [1e2, {"a": 1}]}'),
    )

    run = by_date.run("2020-01-01", "2020-01-02")

    assert run.success, by_date.reason(run)
    assert by_date.rows(shard("20200102")) == [{"zip": "1.50", "tags": ["1e2", '{"a": 1}']}]


def test_declared_types_are_stored_and_remembered_across_days(
    project: Callable[..., Project],
) -> None:
    types = {"big": "BIGNUMERIC", "at": "TIME", "raw": "BYTES", "any": "JSON", "o.at": "GEOGRAPHY"}
    declared = project(partition_by_date={"start_date": "2020-01-01"}, types=types)
    declared.server.answer = days_of(
        d20200101=lines('{"big":1e37,"at":"10:30","raw":"AP8=","any":{"a" : 1.50}}'),
        d20200102=lines('{"any":"x","o":{"at":"POINT(1 2)"}}'),
    )

    run = declared.run("2020-01-01", "2020-01-02")

    assert run.success, declared.reason(run)
    first, second = (declared.rows(shard(f"2020010{day}"))[0] for day in (1, 2))
    assert first["big"] == 10**37
    assert (first["at"], first["raw"], first["any"]) == (time(10, 30), b"\x00\xff", '{"a" : 1.50}')
    assert (second["any"], second["o"]) == ('"x"', {"at": "POINT(1 2)"})
    kinds = {c.name: str(c) for c in declared.tables.columns(shard("20200102")) or ()}
    assert kinds == {
        "big": "BIGNUMERIC",
        "at": "TIME",
        "raw": "BYTES",
        "any": "JSON",
        "o": "RECORD",
    }


def test_removing_a_declared_type_is_a_conflict_that_names_the_line(
    by_date: Project, project: Callable[..., Project]
) -> None:
    declared = project(partition_by_date={"start_date": "2020-01-01"}, types={"a": "JSON"})
    declared.server.answer = days_of(
        d20200101=lines('{"a":1}'), d20200102=lines("{}", '{"a":{"b":1}}')
    )
    declared.run("2020-01-01")

    reason = by_date.reason(by_date.run("2020-01-02"))

    assert "column a of crm.orders is JSON in the shards so far and RECORD today" in reason
    assert "(first at line 2)" in reason


def test_columns_have_plain_names_in_shards_and_flexible_names_in_snapshots(
    by_date: Project, project: Callable[..., Project]
) -> None:
    """BigQuery has no wildcard queries over flexible names."""
    by_date.server.answer = lambda path: lines({"order id": "N1", "line": {"Größe": 1}})
    snapshot = project(name="whole")

    by_date.run("2020-01-01")
    snapshot.run(asset="whole")

    assert by_date.rows(shard("20200101")) == [{"order_id": "N1", "line": {"Gr__e": 1}}]
    assert snapshot.rows(Table("crm", "whole")) == [{"order id": "N1", "line": {"Größe": 1}}]


def test_accepted_bad_lines_are_stored_in_a_table_of_their_own(
    project: Callable[..., Project],
) -> None:
    orders = project(max_bad_lines=1)
    orders.server.answer = lambda path: lines({"id": "N1"}, "{oops")

    run = orders.run()

    assert orders.rows() == [{"id": "N1"}]
    (rejected,) = orders.rows(SNAPSHOT.rejected)
    assert rejected["line"] == 2
    assert rejected["text"] == "{oops"
    assert metadata_of(run)[""]["bad lines"] == 1

    orders.server.answer = lambda path: lines({"id": "N1"}, "{oops", "{again")
    assert "max_bad_lines is 1" in orders.reason(orders.run())

    orders.server.answer = lambda path: lines({"id": "N2"})
    orders.run()
    assert orders.rows(SNAPSHOT.rejected) == []


def test_the_latest_state_is_a_view_over_the_days(project: Callable[..., Project]) -> None:
    orders = project(
        partition_by_date={"start_date": "2020-01-01"},
        key=["id"],
        updated_at="at",
    )
    orders.server.answer = days_of(
        d20200101=lines({"id": "N1", "at": "2020-01-01", "status": "received"}),
        d20200102=lines({"id": "N1", "at": "2020-01-02", "status": "shipped"}),
    )
    assert orders.run(asset="orders_latest").success  # no day yet: nothing to see, and no error
    orders.run("2020-01-01", "2020-01-02")

    assert orders.run(asset="orders_latest").success

    assert [row["status"] for row in orders.rows()] == ["shipped"]


def test_if_bad_lines_cannot_be_stored_the_table_is_unchanged(
    project: Callable[..., Project],
) -> None:
    orders = project(max_bad_lines=1)
    orders.run()
    with duckdb.connect(orders.url.removeprefix("duckdb://")) as connection:
        connection.execute("CREATE VIEW crm.rejected_orders AS SELECT 1 AS mine")
    orders.server.answer = lambda path: lines({"id": "N2"}, "{oops")

    assert "crm.rejected_orders is a view" in orders.reason(orders.run())
    assert orders.rows() == [{"id": "N1", "total": 1.5}]


def test_a_view_that_cannot_be_made_yet_does_not_stop_imports_of_days(
    project: Callable[..., Project],
) -> None:
    orders = project(
        partition_by_date={"start_date": "2020-01-01"}, key=["id"], updated_at="updatedAt"
    )
    orders.server.answer = lambda path: lines({"id": "N1", "updatedAt": None, "__row": 1})
    orders.run(asset="orders_latest")

    assert orders.run("2020-01-01").success
    assert "no column updatedAt" in orders.reason(orders.run(asset="orders_latest"))


def test_an_unknown_warehouse_fails_the_run_with_its_address(snapshot: Project) -> None:
    snapshot.url = "postgres://localhost/crm"

    reason = snapshot.reason(snapshot.run())

    assert "'postgres://localhost/crm', which is not a warehouse; write duckdb:///" in reason


def test_a_missing_credential_fails_the_run_with_its_variable(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    auth = {"username_env": "NO_SUCH_VARIABLE", "password_env": "NO_SUCH_VARIABLE"}
    orders = project(basic_auth=auth)

    reason = orders.reason(orders.run())

    assert reason.startswith("orders: the environment variable NO_SUCH_VARIABLE is not set")
    assert orders.server.requests == []


def test_the_records_of_a_run_contain_no_secret_and_no_row(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_USER", "me")
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    auth = {"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"}
    orders = project(basic_auth=auth, query="?token=hunter3")
    orders.server.answer = lambda path: lines({"id": "hunter4"})
    first = orders.run()
    orders.server.answer = lambda path: Answer(status=401)
    second = orders.run()

    for run in (first, second):
        records = orders.instance.all_logs(run.run_id)
        assert "hunter" not in json.dumps([str(record) for record in records])


@pytest.mark.parametrize("days", [(), ("2020-01-01",)], ids=["snapshot", "by date"])
def test_a_table_that_would_shrink_by_more_than_allowed_is_unchanged(
    project: Callable[..., Project], days: tuple[str, ...]
) -> None:
    by_date = {"partition_by_date": {"start_date": "2020-01-01"}} if days else {}
    orders = project(max_shrink=0.5, allow_empty=True, **by_date)
    table = shard("20200101") if days else SNAPSHOT

    def import_rows(rows: int) -> dg.ExecuteInProcessResult:
        orders.server.answer = lambda path: lines(*({"id": number} for number in range(rows)))
        return orders.run(*days)

    assert import_rows(10).success
    for rows in (0, 4):
        refused = import_rows(rows)
        assert not refused.success
        assert f"has {rows} rows to replace the 10 of {table}, and max_shrink is 0.5" in (
            orders.reason(refused)
        )
        assert len(orders.rows(table)) == 10
    for rows in (5, 20):
        assert import_rows(rows).success
        assert len(orders.rows(table)) == rows


@pytest.mark.parametrize("asset", ["orders", "orders_latest"])
def test_a_run_finishes_the_migration_of_a_killed_run_even_if_its_own_import_fails(
    project: Callable[..., Project], asset: str
) -> None:
    """INTEGER must become FLOAT in all shards; otherwise `table_*` fails in BigQuery."""
    orders = project(partition_by_date={"start_date": "2020-01-01"}, key=["id"], updated_at="at")
    orders.server.answer = lambda path: lines({"id": 1, "at": "2020-01-01", "total": 1})
    orders.run("2020-01-01", "2020-01-02")
    known = orders.tables.known(SNAPSHOT)
    wide = (*known.columns[:2], replace(known.columns[2], type="FLOAT"))
    assert orders.tables.record_columns(SNAPSHOT, wide, PendingMigration.TYPES, expected=known)
    orders.server.answer = lambda path: Answer(status=404)

    run = orders.run(*(["2020-01-02"] if asset == "orders" else []), asset=asset)

    assert run.success is (asset == "orders_latest")
    for day in ("20200101", "20200102"):
        assert str((orders.tables.columns(shard(day)) or ())[2]) == "FLOAT"
    assert orders.tables.known(SNAPSHOT).pending is PendingMigration.NOTHING


def test_a_warehouse_that_cannot_be_opened_fails_the_day_with_one_sentence(
    by_date: Project, tmp_path: Path
) -> None:
    by_date.url = f"duckdb://{tmp_path}/missing/warehouse.duckdb"
    reason = by_date.reason(by_date.run("2020-01-01"))
    assert reason.startswith("orders 2020-01-01: DuckDB file ")
    assert "create the folder, or correct FEED_ASSETS_WAREHOUSE" in reason
