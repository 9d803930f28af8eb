"""Imports that a test ends, or that it joins, at a point it names.

The points are counted, not timed. Between two calls to a warehouse (of DuckDB: two statements that
are no query) an import changes nothing that outlives it, so those are all the points there are.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import requests
from google.cloud import bigquery
from requests.adapters import HTTPAdapter

from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import Stored, store_shard
from feed_assets_tests.support.bigquery.emulator import Emulator

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


class Killed(BaseException):
    """The end of a process. No `except Exception` takes it."""


class Transport(HTTPAdapter):
    """Sends the calls of BigQuery's client, and does something `before` each, given its number.

    Only the calls of these `methods` are counted, from 1.
    """

    def __init__(self, before: Callable[[int], None], methods: Sequence[str] = ()) -> None:
        super().__init__()
        self.calls = 0
        self._before = before
        self._methods = methods
        self._lock = threading.Lock()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if not self._methods or request.method in self._methods:
            with self._lock:
                self.calls += 1
                number = self.calls
            self._before(number)
        return super().send(request, *args, **kwargs)

    def client(self, emulator: Emulator) -> bigquery.Client:
        """A client of the emulator whose calls these are."""
        client = emulator.client()
        client._http.mount("http://", self)
        return client


def into_duckdb(path: Path, table: Table, day: date, rows: Rows, at: int | None = None) -> None:
    """Import a day, and end this process by SIGKILL before the `at`-th statement, from 1."""

    def before(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    import_watched(path, table, day, rows, before)


def killed_copies(path: Path, to: Path, table: Table, day: date, rows: Rows) -> list[Path]:
    """Import a day; before each statement, copy what a process killed there would leave.

    That is the folder's files as the system has them: whatever a process has not yet written is
    lost with it, and the system loses nothing of what was written.
    """
    copies: list[Path] = []

    def before(number: int) -> None:
        copies.append(to / str(number) / path.name)
        shutil.copytree(path.parent, copies[-1].parent)

    import_watched(path, table, day, rows, before)
    return copies


def import_watched(
    path: Path, table: Table, day: date, rows: Rows, before: Callable[[int], None]
) -> None:
    """Import a day, and do something `before` each statement, given its number."""
    connect, number = duckdb.connect, 0

    def tell() -> None:
        nonlocal number
        number += 1
        before(number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duckdb, "connect", lambda path: Watched(connect(path), tell))
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


def survives(target: Callable[..., None], *arguments: Any) -> bool:
    """Run an import in a process of its own; return False if it was killed."""
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    assert code in (0, -signal.SIGKILL), f"the import ended with {code}"
    return bool(code == 0)
