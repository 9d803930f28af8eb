"""Orders of a feed by date, their latest state, and the rows read from both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa

from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.latest_state import LatestUpdate
from feed_assets.warehouse.read import read_table
from feed_assets_tests.support.storing import store_shard

Row = dict[str, Any]
FIRST = date(2020, 1, 30)  # so that histories cross from one month to the next
DAYS = [FIRST + timedelta(days=number) for number in range(4)]


def store(warehouse: Warehouse, table: Table, day: date, rows: Sequence[Row]) -> None:
    arrow = table_of(rows)
    store_shard(warehouse, table, day, arrow, attempt=uuid4().hex)


def table_of(rows: Sequence[Row]) -> pa.Table:
    """The rows, with the columns of all of them; `from_pylist` takes those of the first."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {name: without_nulls(each) for name, each in value.items()}
        return {name: each for name, each in fields.items() if each not in (None, {}, [])}
    return value


def rows(found: Iterable[Row]) -> list[Row]:
    """Return the rows without nulls, to compare in any order."""
    return sorted(map(without_nulls, found), key=lambda row: sorted(map(repr, row.items())))


def rows_of(warehouse: Warehouse, table: Table) -> list[Row]:
    return rows(read_table(warehouse, table).to_pylist())


def order(number: str, updated: str, status: str) -> Row:
    return {"updatedAt": datetime.fromisoformat(updated), "orderId": number, "status": status}


N1 = order("N1", "2020-01-15", "delivered")
N2 = order("N2", "2020-01-15", "received")
N2_REFUNDED = order("N2", "2020-01-20", "refunded")
N3 = order("N3", "2020-01-20", "received")


def update(warehouse: Warehouse, table: Table, **options: Any) -> LatestUpdate:
    updated = warehouse.update_latest(table, ["orderId"], "updatedAt", **options)
    assert updated is not None
    return updated


def statuses(warehouse: Warehouse, table: Table) -> dict[str, str]:
    return {row["orderId"]: row["status"] for row in rows_of(warehouse, table)}


def sql(warehouse: Warehouse, statement: str) -> None:
    """Run a statement outside of feed_assets."""
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            run.execute(statement)
    elif isinstance(warehouse, BigQueryWarehouse):
        warehouse._client.query_and_wait(statement)
