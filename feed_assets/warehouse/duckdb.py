"""The embedded warehouse: one DuckDB file, with the tables and the behaviour of the big one."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from feed_assets.errors import IS_A_VIEW, NotOurs, WarehouseFailed
from feed_assets.tables import Table
from feed_assets.warehouse import duckdb_catalog as catalog
from feed_assets.warehouse import duckdb_latest as latest
from feed_assets.warehouse.columns import Column, Columns, columns_of
from feed_assets.warehouse.duckdb_catalog import named, quoted
from feed_assets.warehouse.interface import Known, Load, Pending
from feed_assets.warehouse.shards import following

SQL_TYPES = {
    "BOOLEAN": "BOOLEAN",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "NUMERIC": "DECIMAL(38, 9)",
    "STRING": "VARCHAR",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}
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
        if not self._depth and self._connection is not None:
            self._connection.close()
            self._connection = None
        _one_at_a_time.release()

    def columns(self, table: Table) -> Columns | None:
        with self._session() as run:
            if catalog.kind(run, table) is None:
                return None
            return columns_of(
                run.execute(f"SELECT * FROM {named(table)} LIMIT 0").to_arrow_table().schema
            )

    def replace(
        self, table: Table, rows: pa.RecordBatchReader, columns: Columns, *, attempt: str
    ) -> Load:
        with self._transaction() as run:
            before = catalog.kind(run, table)
            if before == "VIEW":
                raise NotOurs(IS_A_VIEW.format(table=table))
            run.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.dataset)}")
            run.register("incoming_rows", rows)
            try:
                run.execute(
                    f"CREATE OR REPLACE TABLE {named(table)} AS SELECT * FROM incoming_rows"
                )
            finally:
                run.unregister("incoming_rows")
            if before is None or latest.hides_rowid(columns):
                latest.follow(run, table, columns)
            return Load(_one(run, f"SELECT count(*) FROM {named(table)}"))

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        listed = "*" if columns is None else ", ".join(map(quoted, columns))
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            return run.execute(f"SELECT {listed} FROM {named(table)}").to_arrow_table()

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
                name, kind = quoted(after.name), _sql_type(after)
                if before is None:
                    run.execute(f"ALTER TABLE {named(table)} ADD COLUMN {name} {kind}")
                elif before != after:
                    run.execute(f"ALTER TABLE {named(table)} ALTER {name} SET DATA TYPE {kind}")
            if latest.hides_rowid(wanted):
                latest.follow(run, table, wanted)

    def define_latest(self, table: Table, key: Sequence[str], updated_at: str) -> bool:
        with self._transaction() as run:
            return latest.define(run, table, self.known(table).columns, key, updated_at)

    @contextmanager
    def _session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self:
            assert self._connection is not None
            try:
                yield self._connection
            except duckdb.Error as failure:
                raise self._failed("refused", failure) from failure

    def _failed(self, what: str, failure: Exception) -> WarehouseFailed:
        if "Ambiguous reference to catalog" in str(failure):
            return WarehouseFailed(
                f"{self} is named like a schema in it, and DuckDB cannot tell the two apart; "
                f"name the file otherwise"
            )
        return WarehouseFailed(f"{self} {what}: {str(failure).splitlines()[0]}")

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._session() as run:
            run.execute("BEGIN")
            try:
                yield run
            except BaseException:
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


def _sql_type(column: Column) -> str:
    if column.type == "RECORD":
        fields = ", ".join(f"{quoted(field.name)} {_sql_type(field)}" for field in column.fields)
        kind = f"STRUCT({fields})"
    else:
        kind = SQL_TYPES[column.type]
    return f"{kind}[]" if column.repeated else kind


def _one(run: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = run.execute(query, list(values)).fetchone()
    assert row is not None
    return int(row[0])
