"""The rule of the latest state, as SQL for both warehouses: the newest row of each key.

`latest_<table>` is a function of the shards, and follows them in batches of days whose shards
changed. For each batch, `incoming` has the newest row of each key over its days:

1. The key's row in the table is of another day: the newer of the two stays.
2. Its row is of a day of the batch, and the incoming row is not older: the incoming row
   replaces it.
3. Its row is of a day of the batch, and the incoming row is older or missing: the key is searched
   for in all other shards. `lost` lists these keys; normally there are none.
4. Rows with a NULL in the key are no key's: those of the batch's days are replaced.

Batches may follow each other in any order: of each key, the table's row is never older than a row
of a shard that is not waiting to be applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby

from feed_assets.errors import TableError
from feed_assets.schema.columns import Column, Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.schema_evolution import Path, changed, column_at, key_path, order_path

DAY = "_day"
"""Column of the latest state: the day of the shard that a row is from."""
OLD, NEW, ROWS, FOUND = "_table_old", "_table_new", "_table_rows", "_table_lost"
"""Aliases in statements: a row of the table, an incoming row, any rows, and lost keys.

An alias that is also a column would name the column. BigQuery reserves the prefix `_TABLE_`, so
no column has it.
"""
VERSION = 1
"""Version of the rule. Another version rebuilds every latest state."""


@dataclass(frozen=True)
class Deleted:
    """Rows that the view leaves out: those with one of the values in the column."""

    column: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True)
class LatestUpdate:
    """Result of bringing the latest state up to date, with the warehouse's own figures."""

    rows: int
    keys_changed: int = 0
    days_applied: int = 0
    days_waiting: int = 0
    keys_recomputed: int = 0
    rebuilt: bool = False
    figures: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """The loads that the latest state has, by day.

    `basis` names the rule and the very table they were applied to, None without an entry.
    `version` changes with every update.
    """

    basis: str | None = None
    version: str = ""
    loads: Mapping[date, str] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: Iterable[tuple[date | None, str]]) -> Ledger:
        """Read the rows of a ledger: one for each day, and one without a day."""
        loads = dict(rows)
        basis, _, version = loads.pop(None, "").partition(" ")
        return cls(basis or None, version, {day: load for day, load in loads.items() if day})

    def changes(self, shards: Mapping[date, str]) -> dict[date, str]:
        """Return the loads of the shards that the latest state does not have."""
        return {day: load for day, load in sorted(shards.items()) if self.loads.get(day) != load}


@dataclass(frozen=True)
class Rule:
    """Statements that apply changed days to the latest state of one table.

    `columns` are those of the latest state, without `_day`. `quote` quotes a name for SQL.
    """

    columns: Columns
    keys: tuple[Path, ...]
    order: Path
    quote: Callable[[str], str]

    @classmethod
    def of(
        cls,
        table: Table,
        columns: Columns,
        key: Sequence[str],
        updated_at: str,
        quote: Callable[[str], str],
    ) -> Rule:
        """Build the rule. Raises TableError for columns that cannot be key or order."""
        keys = tuple(key_path(table, columns, path) for path in key)
        if any(column.name.casefold() == DAY for column in columns):
            raise TableError(
                f"{table} has a column {DAY}, which {table.latest} needs for the day of each row; "
                f"have the feed name it otherwise"
            )
        return cls(columns, keys, order_path(table, columns, updated_at), quote)

    @property
    def basis(self) -> str:
        """Hash of what decides the rows besides the shards."""
        return hashlib.sha256(repr((VERSION, self.keys, self.order)).encode()).hexdigest()[:16]

    def names(self, alias: str = "") -> str:
        """List the columns and `_day` for SQL."""
        prefix = f"{alias}." if alias else ""
        names = [*(column.name for column in self.columns), DAY]
        return ", ".join(f"{prefix}{self.quote(name)}" for name in names)

    def at(self, alias: str, path: Path) -> str:
        """Name the field at a path of the rows `alias`."""
        column, *fields = map(self.quote, path)
        return ".".join([f"({alias}.{column})", *fields])

    def newest(self, rows: str, *ties: str) -> str:
        """Condition for QUALIFY: the row is the newest of its key, or has no key.

        `ties` order rows of one time: by day, then within a day.
        """
        keys = [self.at(rows, path) for path in self.keys]
        order = [f"{self.at(rows, self.order)} DESC NULLS LAST", *ties]
        nulls = " OR ".join(f"{key} IS NULL" for key in keys)
        return (
            f"{nulls} OR ROW_NUMBER() OVER "
            f"(PARTITION BY {', '.join(keys)} ORDER BY {', '.join(order)}) = 1"
        )

    def lost(self, latest: str, incoming: str, days: Iterable[date]) -> str:
        """Select the keys of step 3, as `key_0`, `key_1`, ..."""
        keys = [self.at(OLD, path) for path in self.keys]
        listed = ", ".join(f"{key} AS key_{number}" for number, key in enumerate(keys))
        filled = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        return (
            f"SELECT {listed} FROM {latest} AS {OLD} LEFT JOIN {incoming} AS {NEW} ON {self.same} "
            f"WHERE {_among(OLD, days)} AND {filled} AND NOT COALESCE({self._not_older}, FALSE)"
        )

    def is_lost(self, rows: str, lost: str) -> str:
        """Join `rows` with the keys that `lost` lists."""
        on = " AND ".join(
            f"{self.at(rows, path)} = {FOUND}.key_{number}" for number, path in enumerate(self.keys)
        )
        return f"JOIN {lost} AS {FOUND} ON {on}"

    def merge(self, latest: str, incoming: str, days: Sequence[date]) -> str:
        """Apply the incoming rows of these days. Without days, the latest state was empty."""
        set_all = ", ".join(
            f"{self.quote(name)} = {NEW}.{self.quote(name)}"
            for name in [*(column.name for column in self.columns), DAY]
        )
        merge = (
            f"MERGE INTO {latest} AS {OLD} USING {self.source(incoming)} AS {NEW} ON {self.same} "
            f"WHEN MATCHED AND {self.replaces(days)} THEN UPDATE SET {set_all} "
            f"WHEN NOT MATCHED BY TARGET THEN INSERT ({self.names()}) VALUES ({self.names(NEW)})"
        )
        if days:
            merge += f" WHEN NOT MATCHED BY SOURCE AND {_among(OLD, days)} THEN DELETE"
        return merge

    def source(self, incoming: str) -> str:
        """Select one row of each key from the incoming rows, with those found in other shards."""
        newest = self.newest(ROWS, f"{ROWS}.{self.quote(DAY)} DESC")
        return f"(SELECT * FROM {incoming} AS {ROWS} WHERE TRUE QUALIFY {newest})"

    def replaces(self, days: Iterable[date]) -> str:
        """Condition: the incoming row replaces the row of the same key."""
        return f"({_among(OLD, days)} OR {self._not_older})" if days else self._not_older

    @property
    def same(self) -> str:
        """Condition: the incoming row and the row in the table are of one key."""
        return " AND ".join(f"{self.at(OLD, key)} = {self.at(NEW, key)}" for key in self.keys)

    @property
    def _not_older(self) -> str:
        """Compare the incoming row with the row in the table; a NULL is older than any time."""
        new, old = self.at(NEW, self.order), self.at(OLD, self.order)
        day = self.quote(DAY)
        return (
            f"({new} > {old} OR ({old} IS NULL AND {new} IS NOT NULL) "
            f"OR ({new} IS NOT DISTINCT FROM {old} AND {NEW}.{day} >= {OLD}.{day}))"
        )


def visible(
    table: Table, columns: Columns, deleted: Deleted | None, rule: Rule, text: Callable[[str], str]
) -> str:
    """Condition of the view on the rows `OLD` of the latest state; `text` quotes a text for SQL.

    A column that no import has had yet hides nothing. Raises TableError for values that the
    column cannot have.
    """
    found = column_at(columns, deleted.column) if deleted else None
    if deleted is None or found is None:
        return "TRUE"
    path, column = found
    kinds = {"STRING": str, "INTEGER": int, "BOOLEAN": bool}
    if column.repeated or column.type not in kinds:
        raise TableError(
            f"deleted names {deleted.column} of {table}, which is {column}; name a column that is "
            f"STRING, INTEGER or BOOLEAN"
        )
    for value in deleted.values:
        if type(value) is not kinds[column.type]:
            raise TableError(
                f"deleted has the value {value!r} for {deleted.column} of {table}, which is "
                f"{column}; write values of that type"
            )
    where = rule.at(OLD, path)
    listed = ", ".join(text(v) if isinstance(v, str) else str(v).upper() for v in deleted.values)
    return f"{where} IS NULL OR {where} NOT IN ({listed})"


def check_types(table: Table, current: Columns, known: Columns) -> None:
    """Raise TableError if the latest state cannot follow the known columns in place."""
    for path, (old, new) in changed(current, known).items():
        raise TableError(
            f"{table.latest} has {path} as {old}, which is {new} now; import all days again that "
            f"have it as {old}, then materialize the latest state with full_refresh: true"
        )


def type_conflict(table: Table, path: str, old: str, new: str) -> TableError:
    """Build the error for shards with a column whose type has been declared otherwise since."""
    return TableError(
        f"shards of {table} have {path} as {old}, and {table.latest} has it as {new}; import the "
        f"days again that were stored before its type was declared"
    )


def by_year(days: Iterable[date]) -> Iterator[list[date]]:
    """Split days into batches: a query over a year's shards reads fewer than 1,000 tables."""
    for _, year in groupby(sorted(days), key=lambda day: day.year):
        yield list(year)


def day_column() -> Column:
    """The column `_day`."""
    return Column(DAY, "DATE")


def day_sql(day: date) -> str:
    """Write a day in SQL."""
    return f"DATE '{day}'"


def _among(rows: str, days: Iterable[date]) -> str:
    return f"{rows}.{DAY} IN ({', '.join(map(day_sql, days))})"
