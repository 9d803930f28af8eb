"""Interface of a warehouse: few atomic operations, without the rules of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, Self

import pyarrow as pa

from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.erasure import Condition
from feed_assets.warehouse.latest_state import Deleted, LatestUpdate


class PendingMigration(IntEnum):
    """Changes of the known columns that the existing shards still lack."""

    NOTHING = 0
    COLUMNS = 1
    TYPES = 2


@dataclass(frozen=True)
class KnownColumns:
    """The columns of all shards of a table so far.

    `pending` is recorded with new columns and cleared once the shards have them, so that the next
    import finishes the work of a killed one. `etag` identifies this state of the record; None if
    there is no record yet.
    """

    columns: Columns = ()
    pending: PendingMigration = PendingMigration.NOTHING
    etag: Any = None


@dataclass(frozen=True)
class Origin:
    """Labels and descriptions for tables and jobs, if the warehouse has a place for them.

    `labels` go to each job and, with `description`, to a new table; an existing table keeps its
    own. `columns` describes columns and fields by their path in the feed; others keep the
    description that they have.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


NO_ORIGIN = Origin()


@dataclass(frozen=True)
class Load:
    """Result of a load: rows, whether it created the table, and the warehouse's own figures."""

    rows: int
    created: bool
    figures: Mapping[str, int | float | str] = field(default_factory=dict)


class Warehouse(Protocol):
    """A warehouse. The first store to a missing dataset creates it.

    Use it inside `with warehouse:`, which may nest. Every method raises WarehouseFailed if the
    warehouse does not answer or refuses, and DiskFailed if a local disk is full.
    """

    wildcards: bool
    """True if users query shards by prefix (`table_*`), so that nothing else may match it."""
    parallel_loads: int
    """Calls of `replace` to run at once, unless a feed declares another number; 1 is the only one
    for a warehouse that one thread at a time can use."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def columns(self, table: Table) -> Columns | None:
        """Return the current columns of a table or view; None if it does not exist."""

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NO_ORIGIN,
    ) -> Load:
        """Replace rows and columns of `table`, or create it, atomically.

        `attempt` names this try: a repeated call with the same name finds the work already done.
        Raises NotOurs if a view has the name of the table.
        """

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a table or view, with all or some columns."""

    def count(self, table: Table) -> int | None:
        """Count the rows of a table; None if it does not exist."""

    def content_token(self, table: Table) -> str | None:
        """Return an opaque token that changes with the table's rows or columns.

        None if the table does not exist.
        """

    def known(self, table: Table) -> KnownColumns:
        """Return the known columns of the shards of `table`; `KnownColumns()` if there are none."""

    def record_columns(
        self, table: Table, columns: Columns, pending: PendingMigration, *, expected: KnownColumns
    ) -> KnownColumns | None:
        """Replace the record of known columns; None if it is not `expected` any more."""

    def shards(self, table: Table) -> list[Table]:
        """List the existing shards: by creation time, or without wildcards by name.

        DuckDB renumbers its tables by name each time a file is opened.
        """

    def wildcard_problem(self, table: Table, columns: Columns) -> str | None:
        """Return why users cannot query `table_*` with these columns; None if they can.

        None too without wildcards. Costs one call and nothing else.
        """

    def alter(self, table: Table, columns: Columns) -> None:
        """Add new columns and widen types in place, as `schema_evolution.migrated` does."""

    def widen(self, table: Table, columns: Columns) -> None:
        """Widen the types of all shards, as `schema_evolution.with_wider_types` does.

        Touch only shards that need it. After an interruption, call it again.
        """

    def update_latest(
        self,
        table: Table,
        key: Sequence[str],
        updated_at: str,
        *,
        deleted: Deleted | None = None,
        full_refresh: bool = False,
        origin: Origin = NO_ORIGIN,
    ) -> LatestUpdate | None:
        """Bring `latest_<table>`, the newest row of each key over all shards, up to date.

        Key and updated_at are columns or, by paths in dots, fields of RECORDs. The view `table`
        shows it without the rows that are `deleted`. A row whose key has a null is never merged.
        Of rows of one time, the later shard's is newer; within a shard DuckDB takes the later
        line, BigQuery the one with the greater values. `full_refresh` reads all shards again.

        None if there is no shard yet. Raises NotOurs if something else has one of the names, and
        TableError if there is nothing to compare at a path.
        """

    def count_matching(self, tables: Sequence[Table], condition: Condition) -> dict[Table, int]:
        """Count the rows that match, of the tables that have any.

        `tables` are one existing table, or shards of one prefix.
        """

    def keys_matching(
        self, table: Table, condition: Condition, paths: Sequence[str]
    ) -> set[tuple[str, ...]]:
        """Return the keys of the matching rows, each value as text; none with a null in it."""

    def delete_matching(self, table: Table, condition: Condition) -> None:
        """Delete the rows that match. A shard then counts as loaded again for its latest state."""
