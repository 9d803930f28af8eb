"""Store frames in a table or its shards: read, check, record new columns, load, migrate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date
from functools import partial

import pyarrow as pa

from feed_assets.disk import disk_failed
from feed_assets.errors import TypeConflict, WarehouseFailed
from feed_assets.importing.dataframes import to_arrow
from feed_assets.importing.frames import LazyFrame
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import NO_ORIGIN, KnownColumns, Warehouse
from feed_assets.warehouse.store import (
    Loaded,
    Stored,
    add_columns,
    finish_migration,
    known_columns,
    load_shard,
    store_snapshot,
)

ROUNDS = 50
"""Readings of one frame while other imports change the known columns."""


Load = Callable[[], Loaded]


def load_now(load: Load) -> Future[Loaded]:
    """Run a load in this thread, as `ThreadPoolExecutor.submit` does in another."""
    done = Future[Loaded]()
    try:
        done.set_result(load())
    except Exception as failure:  # noqa: BLE001  (whoever asks for the result gets it)
        done.set_exception(failure)
    return done


class TableWriter:
    """Writes frames into one table, or into its shards, for one run.

    `start` is called in the order of the frames, so that columns are recorded in that order, and
    `finish` in the same order. Only the loads between them may run at once. The known columns are
    read once, and again when another import has changed them.
    """

    def __init__(self, warehouse: Warehouse, table: Table, attempt: str) -> None:
        """A load with the same `attempt` adopts the job that an earlier one has submitted."""
        self._warehouse, self._table, self._attempt = warehouse, table, attempt
        self._known: KnownColumns | None = None

    def store(self, frame: LazyFrame, day: date | None) -> Stored:
        """Replace the table, or the shard of the day, by the rows of the frame.

        Raises ContentError, TableError or DiskFailed; the table is then unchanged.
        """
        return self.finish(self.start(frame, day).result())

    def start(
        self,
        frame: LazyFrame,
        day: date | None,
        submit: Callable[[Load], Future[Loaded]] = load_now,
    ) -> Future[Loaded]:
        """Read and check the frame, and submit its load."""
        if day is None:
            return self._start_snapshot(frame, submit)
        for _ in range(ROUNDS):
            known = self._read_known(frame)
            rows = _rows(frame, known.columns)
            with self._warehouse:
                frame.check(self._warehouse, self._table.shard(day))
                try:
                    self._known = add_columns(
                        self._warehouse, self._table, known, rows, frame.declared
                    )
                except TypeConflict as conflict:
                    frame.explain(conflict, known.columns)
                    raise
                if self._known is None:  # another import was faster: read for its columns
                    continue
                return submit(
                    partial(self._load_shard, frame, day, rows, self._known, known.columns)
                )
        raise WarehouseFailed(
            f"the columns of {self._table} were changed by other imports {ROUNDS} times in a row; "
            f"import again when fewer run at once",
            transient=True,
        )

    def finish(self, loaded: Loaded) -> Stored:
        """Migrate the other shards to the new columns of this one."""
        known, now = loaded.known, loaded.now
        # With newer columns than this shard's, loads may run that were read for these. The shards
        # are migrated after the last of them, or else by the next run.
        if known is not None and now is not None and known is self._known:
            self._known = now
            if now.pending:
                with self._warehouse:
                    self._known = finish_migration(
                        self._warehouse, self._table, now, created=loaded.created
                    )
        return loaded.stored

    def _read_known(self, frame: LazyFrame) -> KnownColumns:
        if self._known is None or self._known.etag is None:
            with self._warehouse:
                self._known = known_columns(self._warehouse, self._table, frame.declared)
        return self._known

    def _start_snapshot(
        self, frame: LazyFrame, submit: Callable[[Load], Future[Loaded]]
    ) -> Future[Loaded]:
        rows = _rows(frame, ())
        with self._warehouse:
            frame.check(self._warehouse, self._table)
            return submit(partial(self._load_snapshot, frame, rows))

    @contextmanager
    def _loading(self, frame: LazyFrame) -> Iterator[None]:
        try:
            with self._warehouse:
                frame.before_load(self._warehouse, self._attempt)
                yield
        except OSError as failure:
            raise disk_failed(f"the rows for {self._table} could not be stored", failure) from None

    def _load_shard(
        self, frame: LazyFrame, day: date, rows: pa.Table, known: KnownColumns, before: Columns
    ) -> Loaded:
        with self._loading(frame):
            return load_shard(
                self._warehouse,
                self._table,
                day,
                rows,
                known,
                before=before,
                attempt=self._attempt,
                origin=frame.origin or NO_ORIGIN,
            )

    def _load_snapshot(self, frame: LazyFrame, rows: pa.Table) -> Loaded:
        with self._loading(frame):
            stored = store_snapshot(
                self._warehouse,
                self._table,
                rows,
                named=frame.named,
                attempt=self._attempt,
                origin=frame.origin or NO_ORIGIN,
            )
            frame.after_load(self._warehouse, stored)
        return Loaded(stored)


def _rows(frame: LazyFrame, known: Columns) -> pa.Table:
    read = frame.read(known)
    return to_arrow(read, schema=frame.schema)
