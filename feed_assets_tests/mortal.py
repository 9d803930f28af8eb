"""Imports in a process of their own, which a test has killed at a point it names.

The points are counted, not timed. Between two calls to a warehouse (of DuckDB: two statements that
are no query) an import changes nothing that outlives it, so those are all the points there are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from feed_assets.tables import Table
from feed_assets.warehouse import bigquery_altering
from feed_assets.warehouse.bigquery import BigQueryWarehouse
from feed_assets.warehouse.duckdb import DuckDBWarehouse
from feed_assets.warehouse.interface import Warehouse
from feed_assets.warehouse.store import Stored, store_shard
from feed_assets_tests.emulator import Emulator
from feed_assets_tests.fault_proxy import Exchange

Rows = Sequence[dict[str, Any]]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def import_day(
    warehouse: Warehouse, table: Table, day: date, rows: Rows, attempt: str = "1"
) -> Stored:
    """Stores a day, as an import does."""
    sent = pa.Table.from_pylist(list(rows))
    with warehouse:
        return store_shard(warehouse, table, day, lambda known: sent, attempt=attempt)


def into_bigquery(url: str, table: Table, day: date, rows: Rows) -> None:
    """An import through the proxy at this URL, which kills it: its calls come one by one."""
    bigquery_altering.ALTERED_AT_ONCE = 1
    import_day(BigQueryWarehouse(Emulator(url).client()), table, day, rows)


def into_duckdb(path: Path, table: Table, day: date, rows: Rows, at: int | None) -> None:
    """An import that kills itself before its `at`-th statement, counted from 1."""
    connect, left = duckdb.connect, at or 0

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    duckdb.connect = lambda path: Watched(connect(path), die)  # type: ignore[assignment, misc]
    import_day(DuckDBWarehouse(path), table, day, rows)


class Watched:
    """A connection to DuckDB that tells before it is asked to change something."""

    def __init__(self, connection: Any, tell: Callable[[], None]) -> None:
        self._connection = connection
        self._tell = tell

    def execute(self, sql: str, *values: Any) -> Any:
        if not sql.startswith("SELECT"):
            self._tell()
        return self._connection.execute(sql, *values)

    def register(self, name: str, rows: pa.RecordBatchReader) -> None:
        """Within a statement, too: when it asks for rows."""

        def told() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                self._tell()
                yield batch

        watched = pa.RecordBatchReader.from_batches(rows.schema, told())
        self._connection.register(name, watched)

    def close(self) -> None:
        self._tell()
        self._connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Mortal:
    """An import in a process that `kill`, as a fault of a proxy, puts to an end."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self._process = PROCESSES.Process(target=target, args=arguments)
        self._started = threading.Event()

    def kill(self, exchange: Exchange) -> None:
        """Kills the process; its call is not forwarded."""
        self._started.wait()
        os.kill(self._process.pid or 0, signal.SIGKILL)
        wait([self._process.sentinel])
        exchange.reset()

    def survives(self) -> bool:
        """Runs it; False if it was killed."""
        self._process.start()
        self._started.set()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        assert code in (0, -signal.SIGKILL), f"the import ended with {code}"
        return bool(code == 0)
