"""Interface of a warehouse: few operations, each whole or not at all; the rules are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, Self

import pyarrow as pa

from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table


class Pending(IntEnum):
    """In what the shards that stand have yet to follow the columns known."""

    NOTHING = 0
    COLUMNS = 1
    TYPES = 2


@dataclass(frozen=True)
class Known:
    """The columns known so far of all shards of a table.

    `pending` is kept from the moment columns are learned until the shards have followed, so that
    an import killed in between is finished by the next. `version` is the warehouse's own mark of
    this state, None where nothing is known yet.
    """

    columns: Columns = ()
    pending: Pending = Pending.NOTHING
    version: Any = None


@dataclass(frozen=True)
class Origin:
    """Origin of rows, for a warehouse that can say so of its tables and jobs.

    `labels` are of each job, and with `description` of a table that is made; a table that stands
    keeps its own. `columns` describes columns and fields, by path as sent; one that it does not
    know keeps the description that it has.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


NOWHERE = Origin()


@dataclass(frozen=True)
class Load:
    """Result of a load: rows, whether it made the table, and the warehouse's own figures."""

    rows: int
    created: bool
    figures: Mapping[str, int | float | str] = field(default_factory=dict)


class Warehouse(Protocol):
    """A warehouse. A missing dataset is made when first stored to.

    To be entered (`with warehouse:`) for as long as it is used, which may nest.
    Every method raises WarehouseFailed where the warehouse does not answer or refuses, and
    DiskFailed where a disk here is full.
    """

    wildcards: bool
    """True if users query shards by prefix (`table_*`), so that nothing else may match it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def columns(self, table: Table) -> Columns | None:
        """The columns of a table or view as it stands, None if there is none."""

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NOWHERE,
    ) -> Load:
        """Makes `table` hold just these rows under just these columns, atomically.

        `attempt` names this try: doing it again under the same name finds what was done.
        Raises NotOurs where a view stands in its place.
        """

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a table or view, of all or some columns."""

    def count(self, table: Table) -> int | None:
        """The rows of a table as it stands, None if there is none."""

    def state(self, table: Table) -> str | None:
        """A mark that is another one once the table's rows or columns are; None if none stands."""

    def known(self, table: Table) -> Known:
        """Return the known columns of the shards of `table`; `Known()` if there are none."""

    def learn(self, table: Table, columns: Columns, pending: Pending, *, then: Known) -> bool:
        """Replaces what is known, if it is still `then`; False if someone else was faster."""

    def shards(self, table: Table) -> list[Table]:
        """The shards that stand, in the order of their creation, or without wildcards by name.

        DuckDB numbers its tables anew, by name, whenever a file is opened.
        """

    def alter(self, table: Table, columns: Columns) -> None:
        """Has a table follow `columns` in place, by `shards.following`, keeping its rows."""

    def widen(self, table: Table, columns: Columns) -> None:
        """Has all shards of `table` follow `columns` in types, by `shards.widened`.

        Only those that need it are touched. Interrupted, it can be done again.
        """

    def define_latest(
        self, table: Table, key: Sequence[str], updated_at: str, *, origin: Origin = NOWHERE
    ) -> bool:
        """Makes the view `table`: the newest row of each key over all its shards, now and later.

        Key and updated_at are columns or, by paths in dots, fields of RECORDs. A row whose key
        has a null is never merged. Of rows of one time, the later shard's is newer; within a shard
        DuckDB takes the later line, BigQuery any. Nothing is done where the view stands already.

        False where no shard stands yet. Raises NotOurs where a table, or a view that somebody
        else made, stands in its place, and TableError where nothing to compare is at a path.
        """
