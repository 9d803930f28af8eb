"""Store Arrow rows as a shard, without a feed and without DataFrames."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import pyarrow as pa

from feed_assets.schema.table import Table
from feed_assets.warehouse.base import NO_ORIGIN, Origin, Warehouse
from feed_assets.warehouse.store import (
    Stored,
    add_columns,
    finish_migration,
    known_columns,
    load_shard,
)


def store_shard(
    warehouse: Warehouse,
    table: Table,
    day: date,
    rows: pa.Table,
    *,
    attempt: str,
    declared: Collection[str] = (),
    origin: Origin = NO_ORIGIN,
) -> Stored:
    """Store rows whose types do not depend on the known columns, as a run of one day does."""
    with warehouse:
        known = None
        while known is None:
            before = known_columns(warehouse, table, declared)
            known = add_columns(warehouse, table, before, rows, declared)
        loaded = load_shard(
            warehouse,
            table,
            day,
            rows,
            known,
            before=before.columns,
            attempt=attempt,
            origin=origin,
        )
        if loaded.now and loaded.now.pending:
            finish_migration(warehouse, table, loaded.now, created=loaded.created)
        return loaded.stored
