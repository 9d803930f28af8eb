"""DuckDB as a warehouse: one file, with the tables and the behaviour of BigQuery."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import duckdb
import pyarrow as pa

from feed_assets.errors import IN_THE_WAY, DiskFailed, NotOurs, WarehouseFailed, row_text
from feed_assets.schema.columns import Column, Columns, arrow_schema, columns_of, described
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import NO_ORIGIN, KnownColumns, Load, Origin, PendingMigration
from feed_assets.warehouse.conform import conform, with_positive_zeros
from feed_assets.warehouse.duckdb import catalog, latest
from feed_assets.warehouse.duckdb.catalog import named
from feed_assets.warehouse.duckdb.schema import (
    comment,
    literal,
    quoted,
    select_sql,
    set_type_sql,
    sql_type,
    storage_columns,
    updated_comment,
    with_commented_types,
)
from feed_assets.warehouse.erasure import Condition, Dialect, key_names
from feed_assets.warehouse.latest_state import Deleted, LatestUpdate, Rule, check_types, visible
from feed_assets.warehouse.schema_evolution import changed, migrated, with_wider_types

BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS feed_assets;
CREATE TABLE IF NOT EXISTS feed_assets.known_columns (
    table_name VARCHAR PRIMARY KEY, version BIGINT, pending INTEGER, columns VARCHAR
);
"""
DIALECT = Dialect(quoted, literal, sql_type, "contains({}, {})", "VARCHAR")
FORMAT = "v1.4.0"
"""Format of the file. DuckDB's default can be read by v1.0.0, but its statistics of each column are
slow: a file of 3,000 tables takes three times as long to open, and twice as long to write.
"""
KEPT_HERE = ("feed_assets.known_columns", "feed_assets.applied_loads")
FULL = ("No space left on device", "File too large", "Disk quota exceeded")  # the system's words
ABOUT_VALUES = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
"""Errors whose text quotes values of rows."""
LOCK_SECONDS = 120.0
"""Longest wait for another process: DuckDB allows one process at a time to write."""

PRIVATE = 0o600
"""Mode of a new file: only its owner can read the rows."""
IN_MEMORY = Path(":memory:")
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \((?P<pid>PID \d+)\)")

_locks: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)
"""One lock per file: DuckDB's own lock is between processes, not threads."""


class DuckDBWarehouse:
    """Tables in the DuckDB file at `path`; the first write creates it.

    Waits up to `lock_seconds` for a process that has the file open, and logs that it waits.
    """

    wildcards = False
    parallel_loads = 1

    def __init__(
        self,
        path: Path,
        *,
        lock_seconds: float = LOCK_SECONDS,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        self._path = path
        self._lock_seconds = lock_seconds
        self._log = log or logging.getLogger(__name__)
        self._lock = threading.RLock() if path == IN_MEMORY else _locks[path.resolve()]
        self._depth = 0
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._place = IN_MEMORY

    def __repr__(self) -> str:
        return f"DuckDB file {self._path}"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._lock_seconds
        if not self._lock.acquire(timeout=self._lock_seconds):
            raise self._in_use("another thread of this process")
        try:
            if not self._depth:
                self._open(self._path if self._is_there() else IN_MEMORY, deadline)
        except BaseException:
            self._lock.release()
            raise
        self._depth += 1
        return self

    def __exit__(self, *failure: object) -> None:
        self._depth -= 1
        try:
            if not self._depth:
                self._close()
        finally:
            self._lock.release()

    def _close(self) -> None:
        if self._connection is not None:
            current, self._connection = self._connection, None
            if self._place != IN_MEMORY:
                with suppress(OSError):  # something is in it
                    Path(f"{self._path}.tmp").rmdir()
            current.close()

    def columns(self, table: Table) -> Columns | None:
        with self._session() as run:
            kind = catalog.kind(run, table)
            if kind is None:
                return None
            current = run.execute(f"SELECT * FROM {named(table)} LIMIT 0").to_arrow_table()
            return with_commented_types(
                columns_of(current.schema), self._comments(run, table, kind)
            )

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NO_ORIGIN,
    ) -> Load:
        with self._transaction() as run:
            before = catalog.kind(run, table)
            if catalog.key(table) in KEPT_HERE:
                raise NotOurs(f"{table} is a table of feed_assets' own; use another name")
            if before == "VIEW":
                raise NotOurs(IN_THE_WAY.format(table=table, kind="view"))
            run.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table.dataset)}")
            # DuckDB's file packs equal values as one, and so gives -0.0 for 0.0 or 0.0 for -0.0.
            incoming = with_positive_zeros(conform(rows, storage_columns(columns)))
            run.register("incoming_rows", incoming)
            listed = ", ".join(map(select_sql, columns))
            try:
                run.execute(
                    f"CREATE OR REPLACE TABLE {named(table)} AS SELECT {listed} FROM incoming_rows"
                )
            finally:
                run.unregister("incoming_rows")
            descriptions = described(columns, origin.columns)
            self._comment(run, table, {column: comment(column, descriptions) for column in columns})
            if table.day:
                load = hashlib.sha256(attempt.encode()).hexdigest()[:32]
                run.execute(f"COMMENT ON TABLE {named(table)} IS 'Load {load}'")
            return Load(_one(run, f"SELECT count(*) FROM {named(table)}"), created=before is None)

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        listed = "*" if columns is None else ", ".join(map(quoted, columns))
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            rows = run.execute(f"SELECT {listed} FROM {named(table)}").to_arrow_table()
            known = {column.name.casefold(): column for column in self.columns(table) or ()}
        wanted = tuple(replace(known[name.casefold()], name=name) for name in rows.column_names)
        if wanted == storage_columns(wanted):
            return rows
        try:
            return pa.Table.from_batches(conform(rows, wanted), arrow_schema(wanted))
        except pa.ArrowInvalid:  # of a view over a shard from before a declaration
            raise WarehouseFailed(
                f"{self} has values in {table} that do not fit the declared type of their column; "
                f"import the days from before the declaration again"
            ) from None

    def count(self, table: Table) -> int | None:
        with self._session() as run:
            if catalog.kind(run, table) != "TABLE":
                return None
            return _one(run, f"SELECT count(*) FROM {named(table)}")

    def content_token(self, table: Table) -> str | None:
        columns, rows = self.columns(table), self.count(table)
        if rows is None:
            return None
        with self._session() as run:
            mark = _one(run, f"SELECT sum(hash(old)) FROM {named(table)} AS old")
        return hashlib.sha256(f"{columns} {rows} {mark}".encode()).hexdigest()[:32]

    def known(self, table: Table) -> KnownColumns:
        with self._session() as run:
            row = run.execute(
                "SELECT columns, pending, version FROM feed_assets.known_columns "
                "WHERE table_name = ?",
                [catalog.key(table)],
            ).fetchone()
        if row is None:
            return KnownColumns()
        return KnownColumns(
            tuple(map(_column, json.loads(row[0]))), PendingMigration(row[1]), row[2]
        )

    def record_columns(
        self, table: Table, columns: Columns, pending: PendingMigration, *, expected: KnownColumns
    ) -> KnownColumns | None:
        with self._transaction() as run:
            if self.known(table).etag != expected.etag:
                return None
            etag = (expected.etag or 0) + 1
            run.execute(
                "INSERT OR REPLACE INTO feed_assets.known_columns VALUES (?, ?, ?, ?)",
                [
                    catalog.key(table),
                    etag,
                    int(pending),
                    json.dumps([asdict(column) for column in columns]),
                ],
            )
            return KnownColumns(columns, pending, etag)

    def shards(self, table: Table) -> list[Table]:
        with self._session() as run:
            return catalog.shards(run, table)

    def wildcard_problem(self, table: Table, columns: Columns) -> str | None:
        return None

    def alter(self, table: Table, columns: Columns) -> None:
        with self._transaction() as run:
            self._alter(run, table, columns)

    def _alter(self, run: duckdb.DuckDBPyConnection, table: Table, columns: Columns) -> None:
        current = self.columns(table) or ()
        wanted = migrated(current, columns)
        for before, after in zip_longest(current, wanted):
            name = quoted(after.name)
            if before is None:
                run.execute(f"ALTER TABLE {named(table)} ADD COLUMN {name} {sql_type(after)}")
            elif before != after:
                run.execute(
                    f"ALTER TABLE {named(table)} ALTER {name} {set_type_sql(before, after)}"
                )
        if news := [column for column in wanted if column not in current]:
            comments = catalog.column_comments(run, table)
            self._comment(run, table, {c: updated_comment(comments.get(c.name), c) for c in news})

    def widen(self, table: Table, columns: Columns) -> None:
        with self:
            for shard in self.shards(table):
                current = self.columns(shard) or ()
                if (wanted := with_wider_types(current, columns)) != current:
                    self.alter(shard, wanted)

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
        with self._transaction() as run:
            known = self.known(table).columns
            if not catalog.shards(run, table):
                return None
            rule = Rule.of(table, known, key, updated_at, quoted)
            condition = visible(table, known, deleted, rule, literal)
            latest.check_ours(run, table)
            current = self.columns(table.latest)
            if current is None or (full_refresh and changed(migrated(current, known), known)):
                latest.create(run, table, known)
                self._comment(run, table.latest, {column: comment(column) for column in known})
            else:
                self._alter(run, table.latest, known)
            check_types(table, self.columns(table.latest) or (), known)
            result = latest.apply(run, table, rule, full_refresh=full_refresh)
            latest.define_view(run, table, known, condition)
            if descriptions := described(known, origin.columns):
                for target in (table.latest, table):
                    comments = catalog.column_comments(run, target)
                    texts = {column: comment(column, descriptions) for column in known}
                    news = {c: text for c, text in texts.items() if text != comments.get(c.name)}
                    self._comment(run, target, news)
            return result

    def count_matching(self, tables: Sequence[Table], condition: Condition) -> dict[Table, int]:
        found = {}
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            for table in tables:
                if where := condition.sql(self.columns(table) or (), DIALECT):
                    found[table] = _one(run, f"SELECT count(*) FROM {named(table)} WHERE {where}")
        return {table: rows for table, rows in found.items() if rows}

    def keys_matching(
        self, table: Table, condition: Condition, paths: Sequence[str]
    ) -> set[tuple[str, ...]]:
        columns = self.columns(table) or ()
        where, names = condition.sql(columns, DIALECT), key_names(columns, paths)
        if not where or names is None:
            return set()
        listed = ", ".join(map(DIALECT.as_text, names))
        with self._session() as run:
            run.execute("SET TimeZone = 'UTC'")
            query = f"SELECT DISTINCT {listed} FROM {named(table)} WHERE {where}"
            return {row for row in run.execute(query).fetchall() if None not in row}

    def delete_matching(self, table: Table, condition: Condition) -> None:
        with self._transaction() as run:
            run.execute("SET TimeZone = 'UTC'")
            if where := condition.sql(self.columns(table) or (), DIALECT):
                run.execute(f"DELETE FROM {named(table)} WHERE {where}")
                if table.day:
                    run.execute(f"COMMENT ON TABLE {named(table)} IS 'Load {uuid4().hex}'")

    def _comments(
        self, run: duckdb.DuckDBPyConnection, table: Table, kind: str
    ) -> dict[str, str | None]:
        """Return comments by column; for a view of the latest state, those of the known columns."""
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
                f"give the file another name"
            )
        if isinstance(failure, ABOUT_VALUES):
            kind, _, quoting = reason.partition(":")
            return WarehouseFailed(f"{self} {what}: {kind}" + row_text(f":{quoting}"))
        return WarehouseFailed(f"{self} {what}: {reason}")

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self:
            if self._place != self._path:
                self._make()
                self._open(self._path, time.monotonic() + self._lock_seconds)
            with self._session() as run:
                run.execute("BEGIN")
                try:
                    yield run
                except BaseException:
                    with suppress(duckdb.Error):  # the first error is the one to report
                        run.execute("ROLLBACK")
                    raise
                self._make_log_private()
                run.execute("COMMIT")

    def _is_there(self) -> bool:
        """Return whether the file exists; raise WarehouseFailed if it cannot be created."""
        if self._path == IN_MEMORY or self._path.exists():
            return True
        if not self._path.parent.is_dir():
            raise WarehouseFailed(
                f"{self} cannot be created, because there is no folder {self._path.parent}; "
                f"create the folder, or correct FEED_ASSETS_WAREHOUSE"
            )
        return False

    def _open(self, place: Path, deadline: float) -> None:
        """Open the file; as long as there is none, an empty database in its place."""
        waiting = False
        while True:
            try:
                connection = duckdb.connect(place)
                break
            except (duckdb.Error, OSError) as failure:
                if "Could not set lock" not in str(failure):
                    raise self._failed("cannot be opened", failure) from failure
                found = _HOLDER.search(str(failure))
                holder = f"{found['program']} ({found['pid']})" if found else "another process"
                if time.monotonic() > deadline:
                    raise self._in_use(holder) from failure
            if not waiting:
                self._log.warning(
                    f"{self} is open in {holder}; waiting up to {self._lock_seconds:g} "
                    f"seconds until it is closed there"
                )
                waiting = True
            time.sleep(0.05)
        self._close()
        self._connection, self._place = connection, place
        try:
            self._prepare(connection)
        except (duckdb.Error, OSError) as failure:
            self._close()
            raise self._failed("cannot be opened", failure) from failure

    def _in_use(self, holder: str) -> WarehouseFailed:
        return WarehouseFailed(
            f"{self} is open in {holder}; close it there and try again", transient=True
        )

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        try:
            connection.execute("SELECT 1 FROM feed_assets.known_columns LIMIT 0")
        except duckdb.CatalogException:
            self._make_log_private()
            connection.execute(BOOKKEEPING)
        connection.execute("SET python_enable_replacements = false")
        if self._place != IN_MEMORY:  # rows go there that do not fit in memory
            readers = self._path.stat().st_mode & 0o444
            with suppress(FileExistsError):
                Path(f"{self._path}.tmp").mkdir(readers | readers >> 1 | readers >> 2)

    def _make(self) -> None:
        """Make the file, private from its first byte, in a format that opens in half the time.

        It gets its name once it is whole, and only if nobody else has made one meanwhile.
        """
        try:
            with tempfile.TemporaryDirectory(prefix=".feed_assets-", dir=self._path.parent) as new:
                made = Path(new, "made.duckdb")
                with duckdb.connect() as nowhere:
                    place = str(made).replace("'", "''")
                    nowhere.execute(f"ATTACH '{place}' AS made (STORAGE_VERSION '{FORMAT}')")
                made.chmod(PRIVATE)
                with suppress(FileExistsError):
                    os.link(made, self._path)
        except (duckdb.Error, OSError) as failure:
            raise self._failed("cannot be made", failure) from failure

    def _make_log_private(self) -> None:
        """Give the log of what is committed the file's mode; DuckDB would let everybody read it."""
        if self._place != IN_MEMORY:
            mode = self._path.stat().st_mode & 0o666
            with suppress(FileExistsError):
                os.close(os.open(f"{self._path}.wal", os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))


def _column(described: dict[str, Any]) -> Column:
    return Column(**described | {"fields": tuple(map(_column, described["fields"]))})


def _one(run: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = run.execute(query, list(values)).fetchone()
    assert row is not None
    return int(row[0])
