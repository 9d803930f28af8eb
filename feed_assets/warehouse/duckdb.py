"""The embedded warehouse: one DuckDB file, with the tables and the behaviour of the big one."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from feed_assets.errors import IN_THE_WAY, NOT_OUR_VIEW, NotOurs, WarehouseFailed
from feed_assets.tables import Table
from feed_assets.warehouse.columns import Column, Columns, columns_of
from feed_assets.warehouse.interface import NOWHERE, Known, Load, Origin, Pending
from feed_assets.warehouse.shards import following, latest_by, widened

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
CREATE TABLE IF NOT EXISTS feed_assets.latest_views (
    table_name VARCHAR PRIMARY KEY, key VARCHAR[], updated_at VARCHAR
);
"""
KEPT_HERE = ("feed_assets.known_columns", "feed_assets.latest_views")
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
            if self._kind(run, table) is None:
                return None
            return columns_of(
                run.execute(f"SELECT * FROM {_name(table)} LIMIT 0").to_arrow_table().schema
            )

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
            kind = self._kind(run, table)
            if _key(table) in KEPT_HERE:
                raise NotOurs(f"{table} is where feed_assets keeps what it knows; use another name")
            if kind == "VIEW":
                raise NotOurs(IN_THE_WAY.format(table=table, kind="view"))
            before = kind and self.columns(table)
            run.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(table.dataset)}")
            run.register("incoming_rows", rows)
            try:
                run.execute(
                    f"CREATE OR REPLACE TABLE {_name(table)} AS SELECT * FROM incoming_rows"
                )
            finally:
                run.unregister("incoming_rows")
            if before != columns:
                self._refresh_latest(run, table)
            return Load(_one(run, f"SELECT count(*) FROM {_name(table)}"), created=kind is None)

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        listed = "*" if columns is None else ", ".join(map(_quoted, columns))
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            return run.execute(f"SELECT {listed} FROM {_name(table)}").to_arrow_table()

    def count(self, table: Table) -> int | None:
        with self._session() as run:
            if self._kind(run, table) != "TABLE":
                return None
            return _one(run, f"SELECT count(*) FROM {_name(table)}")

    def state(self, table: Table) -> str | None:
        columns, rows = self.columns(table), self.count(table)
        if rows is None:
            return None
        with self._session() as run:
            mark = _one(run, f"SELECT sum(hash(held)) FROM {_name(table)} AS held")
        return hashlib.sha256(f"{columns} {rows} {mark}".encode()).hexdigest()[:32]

    def known(self, table: Table) -> Known:
        with self._session() as run:
            row = run.execute(
                "SELECT columns, pending, version FROM feed_assets.known_columns "
                "WHERE table_name = ?",
                [_key(table)],
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
                    _key(table),
                    (then.version or 0) + 1,
                    int(pending),
                    json.dumps([asdict(column) for column in columns]),
                ],
            )
            return True

    def shards(self, table: Table) -> list[Table]:
        with self._session() as run:
            names = run.execute(
                "SELECT table_name FROM duckdb_tables() WHERE lower(schema_name) = lower(?) "
                "AND starts_with(lower(table_name), lower(?)) ORDER BY table_oid",
                [table.dataset, f"{table.name}_"],
            ).fetchall()
        standing = [Table(table.dataset, name) for (name,) in names]
        return [shard for shard in standing if shard.is_shard_of(table)]

    def alter(self, table: Table, columns: Columns) -> None:
        with self._transaction() as run:
            held = self.columns(table) or ()
            wanted = following(held, columns)
            for before, after in zip_longest(held, wanted):
                name, kind = _quoted(after.name), _sql_type(after)
                if before is None:
                    run.execute(f"ALTER TABLE {_name(table)} ADD COLUMN {name} {kind}")
                elif before != after:
                    run.execute(f"ALTER TABLE {_name(table)} ALTER {name} SET DATA TYPE {kind}")
            if wanted != held:
                self._refresh_latest(run, table)

    def widen(self, table: Table, columns: Columns) -> None:
        with self:
            for shard in self.shards(table):
                held = self.columns(shard) or ()
                if (wanted := widened(held, columns)) != held:
                    self.alter(shard, wanted)

    def define_latest(self, table: Table, key: Sequence[str], updated_at: str) -> bool:
        with self._transaction() as run:
            ours = "SELECT count(*) FROM feed_assets.latest_views WHERE table_name = ?"
            kind = self._kind(run, table)
            if kind and not (kind == "VIEW" and _one(run, ours, _key(table))):
                raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=kind.lower()))
            shards, known = self.shards(table), self.known(table).columns
            if not shards:
                return False
            *key, updated_at = latest_by(table, known, (*key, updated_at))
            self._define(run, table, shards, key, updated_at)
            run.execute(
                "INSERT OR REPLACE INTO feed_assets.latest_views VALUES (?, ?, ?)",
                [_key(table), list(key), updated_at],
            )
            return True

    def _define(
        self,
        run: duckdb.DuckDBPyConnection,
        table: Table,
        shards: Sequence[Table],
        key: Sequence[str],
        updated_at: str,
    ) -> None:
        known = {column.name.casefold(): column.name for column in self.known(table).columns}
        shard, row = (_unused(name, known) for name in ("shard", "row"))
        union = " UNION ALL BY NAME ".join(
            f"SELECT *, '{each.name}' AS {shard}, rowid AS {row} FROM {_name(each)}"
            for each in sorted(shards)
        )
        # an import that was killed may have made a column known that no shard has yet
        held = run.execute(f"SELECT * FROM ({union}) LIMIT 0").to_arrow_table().column_names
        has = {name.casefold() for name in held}
        listed = ", ".join(_quoted(name) for folded, name in known.items() if folded in has)
        keys = ", ".join(map(_quoted, key))
        nulls = " OR ".join(f"{_quoted(name)} IS NULL" for name in key)
        run.execute(
            f"CREATE OR REPLACE VIEW {_name(table)} AS SELECT {listed} FROM ({union}) "
            f"QUALIFY {nulls} OR row_number() OVER (PARTITION BY {keys} ORDER BY "
            f"{_quoted(updated_at)} DESC NULLS LAST, {shard} DESC, {row} DESC) = 1"
        )

    def _refresh_latest(self, run: duckdb.DuckDBPyConnection, shard: Table) -> None:
        """A view in DuckDB names its shards one by one, so it is made anew for a new one."""
        table = Table(shard.dataset, shard.name.rpartition("_")[0])
        made = run.execute(
            "SELECT key, updated_at FROM feed_assets.latest_views WHERE table_name = ?",
            [_key(table)],
        ).fetchone()
        if made is not None and shard.is_shard_of(table) and self._kind(run, table) == "VIEW":
            self._define(run, table, self.shards(table), *made)

    def _kind(self, run: duckdb.DuckDBPyConnection, table: Table) -> str | None:
        """TABLE, VIEW, or None where nothing of that name stands."""
        row = run.execute(
            "SELECT table_type FROM information_schema.tables "
            "WHERE lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
            [table.dataset, table.name],
        ).fetchone()
        return None if row is None else "VIEW" if row[0] == "VIEW" else "TABLE"

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
                connection = duckdb.connect(str(self._path))
                connection.execute(BOOKKEEPING)
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


def _column(described: dict[str, Any]) -> Column:
    return Column(**described | {"fields": tuple(map(_column, described["fields"]))})


def _sql_type(column: Column) -> str:
    if column.type == "RECORD":
        fields = ", ".join(f"{_quoted(field.name)} {_sql_type(field)}" for field in column.fields)
        kind = f"STRUCT({fields})"
    else:
        kind = SQL_TYPES[column.type]
    return f"{kind}[]" if column.repeated else kind


def _one(run: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = run.execute(query, list(values)).fetchone()
    assert row is not None
    return int(row[0])


def _key(table: Table) -> str:
    """What bookkeeping knows a table by: to DuckDB, case does not distinguish."""
    return str(table).casefold()


def _unused(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _name(table: Table) -> str:
    return f"{_quoted(table.dataset)}.{_quoted(table.name)}"
