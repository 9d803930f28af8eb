"""An import killed at any point leaves its table as it was before or as it should be after."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from feed_assets.schema.columns import Column
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import PendingMigration, Warehouse
from feed_assets.warehouse.bigquery import alter_tables
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.killable_import import (
    HookedTransport,
    Killed,
    files,
    import_day,
    import_into_bigquery,
    import_into_duckdb,
    killed_copies,
    survives,
)

PARTS = 2  # each part of the points is a test, so that each test is quick
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
ORDERS = Table("crm", "orders")
OLDER = [date(2020, 1, day) for day in (1, 2)]
DAY, OTHER = date(2020, 1, 4), date(2020, 1, 5)
BEFORE = [{"id": "N0", "total": 1, "lines": [{"price": 1}]}]
AFTER = [
    {"id": "N1", "total": 1.5, "lines": [{"price": 1.5}], "coupon": "X"},
    {"id": "N2", "total": 2.5, "lines": [{"price": 2.5}, {"price": 3.5}], "coupon": None},
]
"""A new column, and INTEGER become FLOAT, in an array too."""


def rows_of(warehouse: Warehouse, table: Table) -> list[dict[str, Any]] | None:
    """Return its rows without nulls; None if it does not exist."""
    if warehouse.columns(table) is None:
        return None
    rows = read_table(warehouse, table).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def given(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def check(warehouse: Warehouse, orders: Table, had: list[dict[str, Any]] | None) -> None:
    """Check, after a kill, that the table is whole and that the next import succeeds."""
    assert rows_of(warehouse, orders.shard(DAY)) in (had, given(AFTER))

    import_day(warehouse, orders, OTHER, BEFORE, "another day")
    check_all(warehouse, orders)
    assert rows_of(warehouse, orders.shard(DAY)) in (had, given(AFTER))

    import_day(warehouse, orders, DAY, AFTER, "once more")
    check_all(warehouse, orders)
    assert rows_of(warehouse, orders.shard(DAY)) == given(AFTER)
    for day in (*OLDER, OTHER):
        assert rows_of(warehouse, orders.shard(day)) == given(BEFORE)
    total = {c.name: c.type for c in warehouse.known(orders).columns}["total"]
    assert total == "FLOAT"


def check_all(warehouse: Warehouse, orders: Table) -> None:
    """Check that every shard has the known types, and the shard created last every column."""
    known = warehouse.known(orders)
    assert known.pending is PendingMigration.NOTHING
    shards = warehouse.shards(orders)
    # BigQuery gives `table_*` the columns of the last; in DuckDB all are joined by name
    asked = shards[-1 if warehouse.wildcards else 0 :]
    names = {column.name for shard in asked for column in warehouse.columns(shard) or ()}
    assert names == {column.name for column in known.columns}
    types = {column.name: column for column in map(plain, known.columns)}
    for shard in shards:
        for column in warehouse.columns(shard) or ():
            assert column == types[column.name], shard


def plain(column: Column) -> Column:
    """Return the column as a table shows it, without notes that only known columns have."""
    return replace(column, long=False, fields=tuple(plain(f) for f in column.fields))


@pytest.mark.parametrize("part", range(PARTS))
def test_an_import_killed_at_any_call_to_bigquery_leaves_a_whole_table(
    part: int, bigquery: Emulator, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needs no process: only the calls of a dead client have reached the warehouse.

    From the fatal call on no call arrives, whatever cleans up on the way out. A call that only
    asks changes nothing, so that dying before it is dying before the next.
    """
    monkeypatch.setattr(alter_tables, "ALTERED_AT_ONCE", 1)  # one after the other
    client = bigquery.client()
    tables = BigQueryWarehouse(client)
    for at in itertools.count(1 + part, PARTS):
        orders = Table(f"{dataset}_{at}", "orders")
        for day in (*OLDER, DAY):
            import_day(tables, orders, day, BEFORE, "before")

        def die(number: int, at: int = at) -> None:
            if number >= at:
                raise Killed

        sending = HookedTransport(die, CHANGING)
        dying = BigQueryWarehouse(sending.client(bigquery))
        survived = True
        try:
            import_day(dying, orders, DAY, AFTER)
        except Killed:
            survived = False

        assert survived == (sending.calls < at)
        check(tables, orders, BEFORE)
        every = client.query_and_wait(f"SELECT * FROM `{orders}_*`")
        assert [field.name for field in every.schema] == ["id", "total", "lines", "coupon"]
        assert sum(1 for _ in every) == len(OLDER) + len(AFTER) + 1
        left = {table.table_id for table in client.list_tables(orders.dataset)}
        assert left == {"columns_orders"} | {s.name for s in tables.shards(orders)}
        if survived:
            assert at > PARTS  # else nothing was killed
            break


def test_a_process_killed_before_a_call_or_within_an_upload_leaves_a_whole_table(
    bigquery: Emulator, dataset: str
) -> None:
    client = bigquery.client()
    tables = BigQueryWarehouse(client)
    for at in (3, None):
        orders = Table(f"{dataset}_{at}", "orders")
        for day in (*OLDER, DAY):
            import_day(tables, orders, day, BEFORE, "before")

        arguments = bigquery.url, orders, DAY, AFTER, CHANGING, at
        assert not survives(import_into_bigquery, *arguments)

        check(tables, orders, BEFORE)
        left = {table.table_id for table in client.list_tables(orders.dataset)}
        assert left == {"columns_orders"} | {s.name for s in tables.shards(orders)}


@pytest.fixture(params=[None, BEFORE], ids=["a new day", "a day again"])
def had(request: pytest.FixtureRequest) -> list[dict[str, Any]] | None:
    """The rows of the day before it is imported."""
    rows: list[dict[str, Any]] | None = request.param
    return rows


@pytest.fixture
def file(had: list[dict[str, Any]] | None, tmp_path: Path) -> Path:
    """A DuckDB file, alone in its folder, with older days and a view of the latest state."""
    (tmp_path / "before").mkdir()
    made = DuckDBWarehouse(tmp_path / "before/warehouse.duckdb")
    with made:
        for day in OLDER + [DAY] * bool(had):
            import_day(made, ORDERS, day, BEFORE, "before")
        assert made.update_latest(ORDERS, ["id"], "total")
    return tmp_path / "before/warehouse.duckdb"


def import_after(warehouse: DuckDBWarehouse) -> None:
    import_day(warehouse, ORDERS, DAY, AFTER)


def test_an_import_killed_before_any_statement_leaves_a_whole_duckdb_file(
    had: list[dict[str, Any]] | None, file: Path, tmp_path: Path
) -> None:
    copies = killed_copies(file, tmp_path / "copies", import_after)

    assert len(copies) > len(OLDER)  # else nothing was killed
    for copy in (*copies.values(), file):
        tables = DuckDBWarehouse(copy)
        with tables:
            check(tables, ORDERS, had)
            assert tables.update_latest(ORDERS, ["id"], "total")
            assert len(rows_of(tables, ORDERS) or ()) == 3
        assert list(copy.parent.iterdir()) == [copy]


def test_a_killed_process_leaves_the_files_that_were_copied(file: Path, tmp_path: Path) -> None:
    killed = shutil.copytree(file.parent, tmp_path / "killed")
    copies = killed_copies(file, tmp_path / "copies", import_after)
    last = max(copies)  # when all is written, and the file not closed yet

    assert not survives(import_into_duckdb, killed / file.name, ORDERS, DAY, AFTER, last)

    assert files(killed) == files(copies[last].parent)
    assert set(files(killed)) > {file.name}  # there was a log to recover from
