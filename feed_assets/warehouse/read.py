"""Read tables back; several shards with the columns of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pyarrow as pa

from feed_assets.errors import TableError
from feed_assets.schema.columns import Columns, arrow_schema
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.store import known_columns


def read_table(warehouse: Warehouse, table: Table, names: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a table or view, with all columns or those in `names`."""
    with warehouse:
        columns = warehouse.columns(table)
        if columns is None:
            raise TableError(f"there is no table {table}; materialize its asset first")
        _select(table, columns, names)
        return warehouse.read(table, names)


def read_shards(
    warehouse: Warehouse, table: Table, days: Sequence[date], names: Sequence[str] | None = None
) -> Mapping[date, pa.Table]:
    """Return the rows of each day, with the known columns of all shards or those in `names`.

    A day without a table, because its import found no row and no known column, has no rows.
    """
    with warehouse:
        columns = _select(table, known_columns(warehouse, table).columns, names)
        read = {}
        for day in days:
            current = warehouse.columns(table.shard(day))
            if current is None:
                read[day] = arrow_schema(columns).empty_table()
                continue
            has = {column.name.casefold() for column in current}
            wanted = [column.name for column in columns if column.name.casefold() in has]
            rows = warehouse.read(table.shard(day), wanted)
            read[day] = pa.Table.from_batches(conform(rows, columns), arrow_schema(columns))
        return read


def _select(table: Table, columns: Columns, names: Sequence[str] | None) -> Columns:
    if names is None:
        return columns
    named = {column.name: column for column in columns}
    for name in names:
        if name not in named:
            raise TableError(f"{table} has no column {name}; it has {', '.join(named)}")
    return tuple(named[name] for name in names)
