"""Imports that a test kills, or runs code in, before a numbered warehouse call.

Points are counted, not timed. Between two calls (DuckDB: two statements other than SELECT) an
import changes nothing that outlives its process, so these are all points there are.
"""

from __future__ import annotations

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
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import Stored
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.forked import PROCESSES
from feed_assets_tests.support.storing import store_shard

Rows = Sequence[dict[str, Any]]


def import_day(
    warehouse: Warehouse, table: Table, day: date, rows: Rows, attempt: str = "1"
) -> Stored:
    """Store a day as an import does."""
    table_rows = pa.Table.from_pylist(list(rows))
    with warehouse:
        return store_shard(warehouse, table, day, table_rows, attempt=attempt)


class Killed(BaseException):
    """End of a simulated process; `except Exception` does not catch it."""


class HookedTransport(HTTPAdapter):
    """HTTP adapter for BigQuery's client that calls `before(number)` before each call.

    Counts calls of these HTTP `methods` only (default: all), from 1.
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
        """Return a client of the emulator that uses this adapter."""
        client = emulator.client()
        client._http.mount("http://", self)
        return client


class CutTransport(HTTPAdapter):
    """HTTP adapter that ends this process by SIGKILL within its first upload."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if "/upload/" in str(request.url):
            body: Any = _half_and_the_end(request.body)
            request.body = body
        return super().send(request, *args, **kwargs)


def _half_and_the_end(body: Any) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    os.kill(os.getpid(), signal.SIGKILL)


def import_into_bigquery(
    url: str, table: Table, day: date, rows: Rows, methods: Sequence[str], at: int | None = None
) -> None:
    """Import a day, and end this process by SIGKILL before the `at`-th call of these methods.

    Without `at`, within the upload.
    """

    def before(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    client = Emulator(url).client()
    client._http.mount("http://", HookedTransport(before, methods) if at else CutTransport())
    import_day(BigQueryWarehouse(client), table, day, rows)


def import_into_duckdb(
    path: Path, table: Table, day: date, rows: Rows, at: int | None = None
) -> None:
    """Import a day, and end this process by SIGKILL before the `at`-th statement, from 1."""

    def before(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    with_hook(path, before, lambda warehouse: import_day(warehouse, table, day, rows))


def killed_copies(
    path: Path, to: Path, change: Callable[[DuckDBWarehouse], object]
) -> dict[int, Path]:
    """Change a warehouse; before each statement, copy the files a process killed there would leave.

    Unwritten data is lost with the process; the system keeps what was written.
    Return the copies by the number of their statement; those that are alike only once, the last.
    """
    copies: dict[int, Path] = {}

    def before(number: int) -> None:
        copy = Path(shutil.copytree(path.parent, to / str(number)))
        if number > 1 and files(copies[number - 1].parent) == files(copy):
            del copies[number - 1]
        copies[number] = copy / path.name

    with_hook(path, before, change)
    return copies


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files in a folder, by path, without its subfolders."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in found.items()}


def with_hook(
    path: Path, before: Callable[[int], None], change: Callable[[DuckDBWarehouse], object]
) -> None:
    """Change a warehouse; call `before(number)` before each statement, counted from 1."""
    connect, number = duckdb.connect, 0

    def hook() -> None:
        nonlocal number
        number += 1
        before(number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duckdb, "connect", lambda path: HookedConnection(connect(path), hook))
        change(DuckDBWarehouse(path))


class HookedConnection:
    """DuckDB connection that calls `hook` before each statement that changes something."""

    def __init__(self, connection: Any, hook: Callable[[], None]) -> None:
        self._connection = connection
        self._hook = hook

    def execute(self, sql: str, *values: Any) -> Any:
        if not sql.startswith("SELECT"):
            self._hook()
        return self._connection.execute(sql, *values)

    def register(self, name: str, rows: pa.RecordBatchReader) -> None:
        """Call the hook within a statement, too: before each batch it reads."""

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                self._hook()
                yield batch

        watched = pa.RecordBatchReader.from_batches(rows.schema, batches())
        self._connection.register(name, watched)

    def close(self) -> None:
        self._hook()
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
