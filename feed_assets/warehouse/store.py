"""Store rows as a shard or a snapshot, the same way in every warehouse."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
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


@dataclass(frozen=True)
class Stored:
    """Result of storing rows. `table` is None for an empty day without known columns."""

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
    """Replace the whole `table`. Without any column, nothing is stored and the table stays.

    `named` has every column of the feed, those without a value as null. Default: the columns of
    `rows`. Without rows the columns stay.
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


@dataclass(frozen=True)
class Loaded:
    """Result of a load; for a shard, the known columns before its rows were read and after it."""

    stored: Stored
    known: KnownColumns | None = None
    now: KnownColumns | None = None
    created: bool = False


def load_shard(
    warehouse: Warehouse,
    table: Table,
    day: date,
    rows: pa.Table,
    known: KnownColumns,
    *,
    before: Columns,
    attempt: str,
    origin: Origin = NO_ORIGIN,
) -> Loaded:
    """Replace `table_YYYYMMDD` by the day's rows. The known columns include those of the rows.

    `before` are the known columns without the new ones of this day. If another import adds columns
    meanwhile, the shard gets them too. Call `finish_migration` afterwards if `now` is pending.
    """
    started = time.monotonic()
    if not known.columns:
        return Loaded(_nothing(table, rows))
    shard = table.shard(day)
    load = _replace(warehouse, shard, rows, known.columns, attempt, origin)
    now = warehouse.known(table)
    if now.columns != known.columns:
        warehouse.alter(shard, now.columns)
    stored = _stored(shard, load, before or None, known.columns, started)
    return Loaded(stored, known, now, load.created)


def _nothing(table: Table, rows: pa.Table) -> Stored:
    if rows.num_rows:
        raise UnsupportedColumn(
            f"{rows.num_rows} rows for {table} have no value in any column, so the table would "
            f"have no column"
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

    Raises TypeConflict if they disagree on a column that is not `declared`.
    """
    known = warehouse.known(table)
    if known.etag is not None:
        return known
    columns: Columns = ()
    for shard in warehouse.shards(table):
        current = tuple(_unmeasured(column) for column in warehouse.columns(shard) or ())
        columns = schema_evolution.merge_schemas(table, columns, current, declared)
    return KnownColumns(columns)


def add_columns(
    warehouse: Warehouse,
    table: Table,
    known: KnownColumns,
    rows: pa.Table,
    declared: Collection[str] = (),
) -> KnownColumns | None:
    """Record the columns of a day's rows; None if another import has changed the record meanwhile.

    `declared` are the paths, as in the feed, of columns with a declared type. Raises
    TypeConflict if a type of the rows cannot be merged, UnsupportedColumn for too many columns.
    """
    columns = schema_evolution.merge_schemas(table, known.columns, columns_in(rows), declared)
    if columns == known.columns and (known.etag is not None or not columns):
        return known
    schema_evolution.check_column_count(table, known.columns, columns)
    pending = (
        PendingMigration.TYPES
        if schema_evolution.changed(known.columns, columns)
        else PendingMigration.COLUMNS
    )
    return warehouse.record_columns(table, columns, max(pending, known.pending), expected=known)


def finish_migration(
    warehouse: Warehouse, table: Table, known: KnownColumns, *, created: bool
) -> KnownColumns | None:
    """Migrate all shards in types, and the one created last in columns; record that it is done.

    Skip the latter if this import has `created` its shard, which has every column. The import of
    a shard that is created later migrates that one after its load.

    BigQuery gives `table_*` the columns of the shard created last.
    https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema_used_for_query_evaluation
    """
    if known.pending is PendingMigration.TYPES:
        warehouse.widen(table, known.columns)
    if not created and (existing := warehouse.shards(table)):
        warehouse.alter(existing[-1], known.columns)
    return warehouse.record_columns(table, known.columns, PendingMigration.NOTHING, expected=known)


def finish_pending(warehouse: Warehouse, table: Table) -> None:
    """Finish the migration that a killed or failed import has left.

    An import under way is not disturbed: some work may then be done twice.
    """
    with warehouse:
        known = warehouse.known(table)
        if known.pending:
            finish_migration(warehouse, table, known, created=False)


def _unmeasured(column: Column) -> Column:
    """Mark the integers of another tool's table as long: they may have any size."""
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
