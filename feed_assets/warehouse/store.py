"""How rows become a shard or a snapshot, the same way in every warehouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import pyarrow as pa

from feed_assets.errors import UnsupportedColumn, WarehouseFailed
from feed_assets.schema.columns import Column, Columns, arrow_schema
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.base import (
    NO_ORIGIN,
    KnownColumns,
    Load,
    Origin,
    PendingMigration,
    Warehouse,
)
from feed_assets.warehouse.conform import columns_in, conform

ROUNDS = 50  # of learning columns while others learn, too

Rows = Callable[[Columns], pa.Table]
"""Rows read in the light of the columns known so far: each key under the column that it had, and
text as it was sent where that is STRING. Fields have the keys that their columns are sent as."""


@dataclass(frozen=True)
class Stored:
    """A table as an import left it. `table` is None for an empty day without known columns."""

    table: Table | None
    rows: int
    columns: Columns
    added: Mapping[str, Column] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    removed: Mapping[str, Column] = field(default_factory=dict)
    seconds: float = 0.0
    figures: Mapping[str, int | float | str] = field(default_factory=dict)


def store_snapshot(
    warehouse: Warehouse,
    table: Table,
    rows: pa.Table,
    *,
    named: pa.Schema | None = None,
    attempt: str,
    origin: Origin = NO_ORIGIN,
) -> Stored:
    """Replace `table` whole. Without any column there is nothing to store, and it stays.

    `named` has every column of the rows, those without a value as null; by default as `rows` do.
    Without rows, nothing is named, so the columns stay.
    """
    started = time.monotonic()
    before = warehouse.columns(table)
    if not rows.num_rows:
        named = arrow_schema(before or ())
    elif named is None:
        named = rows.schema
    columns = schema_evolution.snapshot_schema(before or (), columns_in(rows), named)
    if not columns:
        return _nothing(table, rows)
    schema_evolution.check_column_count(table, before or (), columns)
    load = _replace(warehouse, table, rows, columns, attempt, origin)
    return _stored(table, load, before, columns, started)


def store_shard(
    warehouse: Warehouse,
    table: Table,
    day: date,
    read: Rows,
    *,
    attempt: str,
    declared: Collection[str] = (),
    origin: Origin = NO_ORIGIN,
) -> Stored:
    """Makes `table_YYYYMMDD` hold the day's rows, under the columns of all days so far.

    `declared` are the paths, as sent, of columns whose type is their user's decision.

    Raises TypeConflict, before anything is touched, where today's types cannot join those, and
    UnsupportedColumn where there are too many columns.
    """
    started = time.monotonic()
    before, known, rows = _learn(warehouse, table, read, declared)
    columns = known.columns
    if not columns:
        return _nothing(table, rows)
    shard = table.shard(day)
    load = _replace(warehouse, shard, rows, columns, attempt, origin)
    now = warehouse.known(table)
    if now.columns != columns:  # another import learned more meanwhile
        warehouse.alter(shard, now.columns)
    if now.pending:
        _settle(warehouse, table, now, created=load.created)
    return _stored(shard, load, before or None, columns, started)


def _nothing(table: Table, rows: pa.Table) -> Stored:
    if rows.num_rows:
        raise UnsupportedColumn(
            f"{rows.num_rows} rows for {table} have no value in any column, so there is no column "
            f"to make"
        )
    return Stored(None, 0, ())


def _stored(
    table: Table, load: Load, before: Columns | None, columns: Columns, started: float
) -> Stored:
    return Stored(
        table,
        load.rows,
        columns,
        schema_evolution.added(before, columns) if before is not None else {},
        schema_evolution.changed(before or (), columns),
        schema_evolution.added(columns, before or ()),
        time.monotonic() - started,
        load.figures,
    )


def known_columns(
    warehouse: Warehouse, table: Table, declared: Collection[str] = ()
) -> KnownColumns:
    """Return the known columns of a table's shards; for shards of another tool, their own.

    Raises TypeConflict where those do not agree on a column that is not `declared`.
    """
    known = warehouse.known(table)
    if known.etag is not None:
        return known
    columns: Columns = ()
    for shard in warehouse.shards(table):
        current = tuple(_unmeasured(column) for column in warehouse.columns(shard) or ())
        columns = schema_evolution.merge_schemas(table, columns, current, declared)
    return KnownColumns(columns)


def _learn(
    warehouse: Warehouse, table: Table, read: Rows, declared: Collection[str]
) -> tuple[Columns, KnownColumns, pa.Table]:
    """Adds today's columns to those known; returns those before, what is known now, the rows."""
    for _ in range(ROUNDS):
        known = known_columns(warehouse, table, declared)
        rows = read(known.columns)
        columns = schema_evolution.merge_schemas(table, known.columns, columns_in(rows), declared)
        if columns == known.columns and (known.etag is not None or not columns):
            return known.columns, known, rows
        schema_evolution.check_column_count(table, known.columns, columns)
        news = (
            PendingMigration.TYPES
            if schema_evolution.changed(known.columns, columns)
            else PendingMigration.COLUMNS
        )
        if warehouse.record_columns(table, columns, max(news, known.pending), expected=known):
            return known.columns, warehouse.known(table), rows
    raise WarehouseFailed(
        f"the columns of {table} were changed by other imports {ROUNDS} times in a row; "
        f"import again when fewer run at once",
        transient=True,
    )


def _settle(warehouse: Warehouse, table: Table, known: KnownColumns, *, created: bool) -> None:
    """Has the shards follow what was learned: all in types, the one created last in columns, too.

    That one need not be looked for where this import `created` its shard, with every column: one
    created still later is its import's business, which looks at what is known once it has loaded.

    BigQuery gives `table_*` the columns of the shard created last.
    https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema_used_for_query_evaluation
    """
    if known.pending is PendingMigration.TYPES:
        warehouse.widen(table, known.columns)
    if not created and (standing := warehouse.shards(table)):
        warehouse.alter(standing[-1], known.columns)
    warehouse.record_columns(table, known.columns, PendingMigration.NOTHING, expected=known)


def finish_pending(warehouse: Warehouse, table: Table) -> None:
    """Have the shards follow what an import has learned that was killed before they did.

    Beside an import that is under way it does no harm: what each of them does may be done twice.
    """
    known = warehouse.known(table)
    if known.pending:
        _settle(warehouse, table, known, created=False)


def _unmeasured(column: Column) -> Column:
    """A column of a table that is not ours: its integers may be of any size."""
    fields = tuple(_unmeasured(field) for field in column.fields)
    return replace(column, long=column.type == "INTEGER", fields=fields)


def _replace(
    warehouse: Warehouse,
    table: Table,
    rows: pa.Table,
    columns: Columns,
    attempt: str,
    origin: Origin,
) -> Load:
    incoming = conform(rows, columns)
    load = warehouse.replace(table, incoming, columns, attempt=attempt, origin=origin)
    if load.rows != rows.num_rows:
        raise WarehouseFailed(
            f"{table} holds {load.rows} rows after a load of {rows.num_rows}; import it again"
        )
    return load
