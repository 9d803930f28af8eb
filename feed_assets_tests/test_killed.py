"""An import that is killed, wherever, leaves its table as it was or as it should be."""

from __future__ import annotations

import itertools
import operator
import shutil
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from feed_assets.tables import Table
from feed_assets.warehouse.bigquery import BigQueryWarehouse
from feed_assets.warehouse.columns import Column
from feed_assets.warehouse.duckdb import DuckDBWarehouse
from feed_assets.warehouse.interface import Pending, Warehouse
from feed_assets.warehouse.read import read_table
from feed_assets_tests.emulator import Emulator
from feed_assets_tests.fault_proxy import FaultProxy
from feed_assets_tests.mortal import Mortal, import_day, into_bigquery, into_duckdb

PARTS = 4  # of the points, so that each test is quick
OLDER = [date(2020, 1, day) for day in (1, 2, 3)]
DAY, OTHER = date(2020, 1, 4), date(2020, 1, 5)
BEFORE = [{"id": "N0", "total": 1, "lines": [{"price": 1}]}]
AFTER = [
    {"id": "N1", "total": 1.5, "lines": [{"price": 1.5}], "coupon": "X"},
    {"id": "N2", "total": 2.5, "lines": [{"price": 2.5}, {"price": 3.5}], "coupon": None},
]
"""A new column, and INTEGER become FLOAT, in an array too."""


def rows_of(warehouse: Warehouse, table: Table) -> list[dict[str, Any]] | None:
    """Its rows without nulls, None if it does not stand."""
    if warehouse.columns(table) is None:
        return None
    rows = read_table(warehouse, table).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def given(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def check(warehouse: Warehouse, orders: Table, had: list[dict[str, Any]] | None) -> None:
    """After a kill: the table is whole, and what follows finds nothing in its way."""
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
    """All shards have what is known, with one type each; the one created last has every column."""
    known = warehouse.known(orders)
    assert known.pending is Pending.NOTHING
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
    """As a table shows it, without what only the columns known say."""
    return replace(column, long=False, fields=tuple(plain(f) for f in column.fields))


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_any_call_to_bigquery(
    part: int, bigquery: Emulator, proxy: FaultProxy, dataset: str
) -> None:
    client = bigquery.client()
    tables = BigQueryWarehouse(client)
    for at in itertools.count(1 + part, PARTS):
        orders = Table(f"{dataset}_{at}", "orders")
        for day in (*OLDER, DAY):
            import_day(tables, orders, day, BEFORE, "before")
        process = Mortal(into_bigquery, proxy.url, orders, DAY, AFTER)
        proxy.clear()
        proxy.on(None, process.kill, when=partial(operator.eq, at))

        survived = process.survives()

        assert len(proxy.calls) == at or survived
        check(tables, orders, BEFORE)
        every = client.query_and_wait(f"SELECT * FROM `{orders}_*`")
        assert [field.name for field in every.schema] == ["id", "total", "lines", "coupon"]
        assert sum(1 for _ in every) == len(OLDER) + len(AFTER) + 1
        left = {table.table_id for table in client.list_tables(orders.dataset)}
        assert left == {"columns_orders"} | {s.name for s in tables.shards(orders)}
        if survived:
            assert at > PARTS  # else nothing was killed
            break


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("had", [None, BEFORE], ids=["a new day", "a day again"])
def test_killed_before_any_statement_to_duckdb(
    had: list[dict[str, Any]] | None, part: int, tmp_path: Path
) -> None:
    orders = Table("crm", "orders")
    made = DuckDBWarehouse(tmp_path / "made.duckdb")
    for day in OLDER + [DAY] * bool(had):
        import_day(made, orders, day, BEFORE, "before")
    with made:
        assert made.define_latest(orders, ["id"], "total")
    for at in itertools.count(1 + part, PARTS):
        path = tmp_path / str(at) / "warehouse.duckdb"
        path.parent.mkdir()
        shutil.copy(tmp_path / "made.duckdb", path)

        survived = Mortal(into_duckdb, path, orders, DAY, AFTER, at).survives()

        tables = DuckDBWarehouse(path)
        with tables:
            check(tables, orders, had)
            assert len(rows_of(tables, orders) or ()) == 3
        assert list(path.parent.iterdir()) == [path]
        if survived:
            assert at > PARTS  # else nothing was killed
            break
