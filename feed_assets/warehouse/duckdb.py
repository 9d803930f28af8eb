"""The embedded warehouse: one DuckDB file, with the tables and the behaviour of the big one."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from feed_assets.errors import IN_THE_WAY, DiskFailed, NotOurs, WarehouseFailed
from feed_assets.tables import Table
from feed_assets.warehouse import duckdb_catalog as catalog
from feed_assets.warehouse import duckdb_latest as latest
from feed_assets.warehouse.columns import Column, Columns, arrow_schema, columns_of, described
from feed_assets.warehouse.duckdb_catalog import named
from feed_assets.warehouse.duckdb_schema import (
    altered,
    as_held,
    comment,
    literal,
    quoted,
    recommented,
    selected,
    sql_type,
    understood,
)
from feed_assets.warehouse.interface import NOWHERE, Known, Load, Origin, Pending
from feed_assets.warehouse.rows import conform, with_positive_zeros
from feed_assets.warehouse.shards import following, widened

BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS feed_assets;
CREATE TABLE IF NOT EXISTS feed_assets.known_columns (
    table_name VARCHAR PRIMARY KEY, version BIGINT, pending INTEGER, columns VARCHAR
);
"""
FORMAT = "v1.4.0"
"""Of the file. DuckDB's default can be read by v1.0.0, but what it knows of each column takes long
to read: to open a file of 3,000 tables takes three times as long, and to write it twice.
"""
KEPT_HERE = ("feed_assets.known_columns",)
FULL = ("No space left on device", "File too large", "Disk quota exceeded")  # the system's words
LOCK_SECONDS = 120.0
"""How long to wait while another process has the file open: DuckDB lets one at a time write."""

_one_at_a_time = threading.RLock()


class DuckDBWarehouse:
    """Tables in the DuckDB file at `path`, which is made when first written to."""

    wildcards = False

    def __init__(self, path: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._path = path
        self._lock_seconds = lock_seconds
        self._depth = 0
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __repr__(self) -> str:
        return f"DuckDB file {self._path}"

    def __enter__(self) -> Self:
        _one_at_a_time.acquire()
        try:
            if not self._depth:
                self._connection = self._connect()
        except BaseException:
            _one_at_a_time.release()
            raise
        self._depth += 1
        return self

    def __exit__(self, *failure: object) -> None:
        self._depth -= 1
        try:
            if not self._depth and self._connection is not None:
                held, self._connection = self._connection, None
                held.close()
        finally:
            _one_at_a_time.release()

    def columns(self, table: Table) -> Columns | None:
        with self._session() as run:
            kind = catalog.kind(run, table)
            if kind is None:
                return None
            held = run.execute(f"SELECT * FROM {named(table)} LIMIT 0").to_arrow_table()
            return understood(columns_of(held.schema), self._comments(run, table, kind))

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NOWHERE,
    ) -> Load:
        with self._transaction() as run:
            before = catalog.kind(run, table)
            if catalog.key(table) in KEPT_HERE:
                raise NotOurs(f"{table} is where feed_assets keeps what it knows; use another name")
            if before == "VIEW":
                raise NotOurs(IN_THE_WAY.format(table=table, kind="view"))
            run.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.dataset)}")
            # DuckDB's file packs equal values as one, and so gives -0.0 for 0.0 or 0.0 for -0.0.
            incoming = with_positive_zeros(conform(rows, as_held(columns)))
            run.register("incoming_rows", incoming)
            listed = ", ".join(map(selected, columns))
            try:
                run.execute(
                    f"CREATE OR REPLACE TABLE {named(table)} AS SELECT {listed} FROM incoming_rows"
                )
            finally:
                run.unregister("incoming_rows")
            said = described(columns, origin.columns)
            self._comment(run, table, {column: comment(column, said) for column in columns})
            if before is None or latest.hides_rowid(columns):
                latest.follow(run, table, columns)
            return Load(_one(run, f"SELECT count(*) FROM {named(table)}"), created=before is None)

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        listed = "*" if columns is None else ", ".join(map(quoted, columns))
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            rows = run.execute(f"SELECT {listed} FROM {named(table)}").to_arrow_table()
            known = {column.name.casefold(): column for column in self.columns(table) or ()}
        wanted = tuple(replace(known[name.casefold()], name=name) for name in rows.column_names)
        if wanted == as_held(wanted):
            return rows
        try:
            return pa.Table.from_batches(conform(rows, wanted), arrow_schema(wanted))
        except pa.ArrowInvalid as failure:  # of a view over a shard from before a declaration
            raise WarehouseFailed(
                f"{self} has in {table} what is not of its column's type ({failure}); import the "
                f"days again that were stored before it was declared"
            ) from None

    def count(self, table: Table) -> int | None:
        with self._session() as run:
            if catalog.kind(run, table) != "TABLE":
                return None
            return _one(run, f"SELECT count(*) FROM {named(table)}")

    def state(self, table: Table) -> str | None:
        columns, rows = self.columns(table), self.count(table)
        if rows is None:
            return None
        with self._session() as run:
            mark = _one(run, f"SELECT sum(hash(held)) FROM {named(table)} AS held")
        return hashlib.sha256(f"{columns} {rows} {mark}".encode()).hexdigest()[:32]

    def known(self, table: Table) -> Known:
        with self._session() as run:
            row = run.execute(
                "SELECT columns, pending, version FROM feed_assets.known_columns "
                "WHERE table_name = ?",
                [catalog.key(table)],
            ).fetchone()
        if row is None:
            return Known()
        return Known(tuple(map(_column, json.loads(row[0]))), Pending(row[1]), row[2])

    def learn(self, table: Table, columns: Columns, pending: Pending, *, then: Known) -> bool:
        with self._transaction() as run:
            if self.known(table).version != then.version:
                return False
            run.execute(
                "INSERT OR REPLACE INTO feed_assets.known_columns VALUES (?, ?, ?, ?)",
                [
                    catalog.key(table),
                    (then.version or 0) + 1,
                    int(pending),
                    json.dumps([asdict(column) for column in columns]),
                ],
            )
            return True

    def shards(self, table: Table) -> list[Table]:
        with self._session() as run:
            return catalog.shards(run, table)

    def alter(self, table: Table, columns: Columns) -> None:
        with self._transaction() as run:
            held = self.columns(table) or ()
            wanted = following(held, columns)
            for before, after in zip_longest(held, wanted):
                name = quoted(after.name)
                if before is None:
                    run.execute(f"ALTER TABLE {named(table)} ADD COLUMN {name} {sql_type(after)}")
                elif before != after:
                    run.execute(f"ALTER TABLE {named(table)} ALTER {name} {altered(before, after)}")
            stands = catalog.column_comments(run, table)
            news = [column for column in wanted if column not in held]
            self._comment(run, table, {c: recommented(stands.get(c.name), c) for c in news})
            if latest.hides_rowid(wanted):
                latest.follow(run, table, wanted)

    def widen(self, table: Table, columns: Columns) -> None:
        with self:
            for shard in self.shards(table):
                held = self.columns(shard) or ()
                if (wanted := widened(held, columns)) != held:
                    self.alter(shard, wanted)

    def define_latest(
        self, table: Table, key: Sequence[str], updated_at: str, *, origin: Origin = NOWHERE
    ) -> bool:
        with self._transaction() as run:
            known = self.known(table).columns
            made = latest.define(run, table, known, key, updated_at)
            if made and (said := described(known, origin.columns)):
                stands = catalog.column_comments(run, table)
                texts = {column: comment(column, said) for column in known}
                news = {c: text for c, text in texts.items() if text != stands.get(c.name)}
                self._comment(run, table, news)
            return made

    def _comments(
        self, run: duckdb.DuckDBPyConnection, table: Table, kind: str
    ) -> dict[str, str | None]:
        """By column; a view of the latest state has none, and the types of what is known."""
        if kind == "VIEW":
            return {column.name: comment(column) for column in self.known(table).columns}
        return catalog.column_comments(run, table)

    def _comment(
        self, run: duckdb.DuckDBPyConnection, table: Table, texts: Mapping[Column, str | None]
    ) -> None:
        for column, text in texts.items():
            if text:
                place = f"{named(table)}.{quoted(column.name)}"
                run.execute(f"COMMENT ON COLUMN {place} IS {literal(text)}")

    @contextmanager
    def _session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self:
            assert self._connection is not None
            try:
                yield self._connection
            except duckdb.Error as failure:
                raise self._failed("refused", failure) from failure
            except RuntimeError as failure:
                if str(failure) != "Query interrupted":
                    raise
                self._connection.interrupt()
                raise KeyboardInterrupt from None  # DuckDB has lost what a signal's handler raised

    def _failed(self, what: str, failure: Exception) -> WarehouseFailed | DiskFailed:
        reason = str(failure).splitlines()[0]
        if any(full in reason for full in FULL):
            return DiskFailed(f"{self} has no room left: {reason}; make some on its disk")
        if "Ambiguous reference to catalog" in str(failure):
            return WarehouseFailed(
                f"{self} is named like a schema in it, and DuckDB cannot tell the two apart; "
                f"name the file otherwise"
            )
        return WarehouseFailed(f"{self} {what}: {reason}")

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._session() as run:
            run.execute("BEGIN")
            try:
                yield run
            except BaseException:
                with suppress(duckdb.Error):  # what went wrong first is told
                    run.execute("ROLLBACK")
                raise
            run.execute("COMMIT")

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._make()
                connection = duckdb.connect(str(self._path))
                connection.execute(BOOKKEEPING)
                connection.execute("SET python_enable_replacements = false")
                return connection
            except (duckdb.Error, OSError) as failure:
                if "Could not set lock" not in str(failure):
                    raise self._failed("cannot be opened", failure) from failure
                if time.monotonic() > deadline:
                    raise WarehouseFailed(
                        f"{self} is held open by another process; close it there and try again",
                        transient=True,
                    ) from failure
            time.sleep(0.05)

    def _make(self) -> None:
        """Makes the file if there is none, in a format that is opened in half the time."""
        if not self._path.exists():
            with duckdb.connect() as nowhere:
                place = str(self._path).replace("'", "''")
                nowhere.execute(f"ATTACH '{place}' AS made (STORAGE_VERSION '{FORMAT}')")


def _column(described: dict[str, Any]) -> Column:
    return Column(**described | {"fields": tuple(map(_column, described["fields"]))})


def _one(run: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = run.execute(query, list(values)).fetchone()
    assert row is not None
    return int(row[0])
