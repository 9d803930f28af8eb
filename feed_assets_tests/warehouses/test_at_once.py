"""Concurrent imports, of one day or of several, lose no column and mix no rows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from feed_assets.schema.table import Table
from feed_assets.warehouse.base import PendingMigration, Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.killable_import import (
    HookedTransport,
    Rows,
    import_day,
    import_into_duckdb,
    survives,
)

PARTS = 2
FIRST, DAY, NEXT = (date(2020, 1, day) for day in (1, 2, 3))
PLAIN = [{"id": "N0", "total": 1}]
COUPON = [{"id": "N1", "total": 1.5, "coupon": "X"}, {"id": "N2", "total": 2.5, "coupon": "Y"}]
NOTE = [{"id": "N3", "total": 3, "note": "n"}, {"id": "N4", "total": 4, "note": "o"}]
BOTH = {
    "one day, each with a new column": ((DAY, COUPON), (DAY, NOTE)),
    "one day, the later without": ((DAY, PLAIN), (DAY, COUPON)),
    "two days, each with a new column": ((DAY, COUPON), (NEXT, NOTE)),
    "two days, one learns of the other": ((DAY, PLAIN), (NEXT, COUPON)),
}
"""Days and rows of two imports."""


def rows_of(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    """Return its rows without nulls."""
    rows = warehouse.read(table).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def check(warehouse: Warehouse, orders: Table, *imports: tuple[date, Rows]) -> None:
    """Check that each table has the rows of one import, and each known column has one type."""
    for day in {day for day, _ in imports}:
        assert rows_of(warehouse, orders.shard(day)) in [rows for on, rows in imports if on == day]
    assert rows_of(warehouse, orders.shard(FIRST)) == PLAIN
    known = warehouse.known(orders)
    assert known.pending is PendingMigration.NOTHING
    names = {name for _, rows in imports for row in rows for name in row}
    types = {column.name: column.type for column in known.columns}
    assert set(types) == names
    shards = warehouse.shards(orders)
    # BigQuery gives `table_*` the columns of the last; in DuckDB all are joined by name
    asked = shards[-1 if warehouse.wildcards else 0 :]
    assert {c.name for shard in asked for c in warehouse.columns(shard) or ()} == names
    for shard in shards:
        for column in warehouse.columns(shard) or ():
            assert column.type == types[column.name], f"{shard} {column.name}"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", BOTH)
def test_an_import_between_any_two_calls_of_another_loses_nothing(
    name: str, part: int, bigquery: Emulator, dataset: str
) -> None:
    one, other = BOTH[name]
    client = bigquery.client()
    tables = BigQueryWarehouse(client)
    for at in itertools.count(1 + part, PARTS):
        orders = Table(f"{dataset}_{at}", "orders")
        import_day(tables, orders, FIRST, PLAIN, "first")

        def before(number: int, orders: Table = orders, at: int = at) -> None:
            if number == at:
                import_day(BigQueryWarehouse(client), orders, *other, "other")

        sending = HookedTransport(before)
        import_day(BigQueryWarehouse(sending.client(bigquery)), orders, *one, "one")

        if sending.calls < at:
            assert at > PARTS
            break
        check(tables, orders, one, other)
        every = client.query_and_wait(f"SELECT * FROM `{orders}_*`")
        assert {field.name for field in every.schema} >= {"id", "total", "coupon"}
        assert sum(1 for _ in every) == sum(
            len(rows_of(tables, shard)) for shard in tables.shards(orders)
        )


@pytest.mark.parametrize("name", BOTH)
def test_imports_in_reverse_order_lose_nothing(
    name: str, warehouse: Warehouse, dataset: str
) -> None:
    orders = Table(dataset, "orders")
    import_day(warehouse, orders, FIRST, PLAIN, "first")

    for day, rows in reversed(BOTH[name]):
        import_day(warehouse, orders, day, rows, str(rows))

    check(warehouse, orders, *BOTH[name])


@pytest.mark.parametrize("name", BOTH)
def test_concurrent_threads_lose_nothing(
    name: str, closed_warehouse: Warehouse, dataset: str
) -> None:
    orders = Table(dataset, "orders")
    import_day(closed_warehouse, orders, FIRST, PLAIN, "first")

    with ThreadPoolExecutor(2) as pool:
        under_way = [
            pool.submit(import_day, closed_warehouse, orders, day, rows, f"{number}")
            for number, (day, rows) in enumerate(BOTH[name])
        ]
        stored = [each.result().rows for each in under_way]

    assert stored == [len(rows) for _, rows in BOTH[name]]
    check(closed_warehouse, orders, *BOTH[name])


@pytest.mark.parametrize("name", BOTH)
def test_concurrent_processes_lose_nothing(name: str, tmp_path: Path) -> None:
    orders, path = Table("crm", "orders"), tmp_path / "warehouse.duckdb"
    import_day(DuckDBWarehouse(path), orders, FIRST, PLAIN, "first")

    imports: list[Callable[[], bool]] = [
        partial(survives, import_into_duckdb, path, orders, day, rows) for day, rows in BOTH[name]
    ]
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(operator.call, imports))

    check(DuckDBWarehouse(path), orders, *BOTH[name])
