"""Import one day or one snapshot: read the download, check it, store it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from feed_assets import ndjson
from feed_assets.disk import disk_failed
from feed_assets.download import Validators
from feed_assets.download.prefetch import PendingDay
from feed_assets.errors import (
    BadLine,
    CheckFailed,
    ContentError,
    EmptyFeed,
    FeedAssetsError,
    TooFewRows,
    TypeConflict,
    full_text,
    row_text,
)
from feed_assets.importing.checks import CheckResult, check_columns, check_content, check_stored
from feed_assets.importing.dataframes import to_frame
from feed_assets.importing.frames import LazyFrame
from feed_assets.importing.key_columns import check_key_columns
from feed_assets.importing.read_download import read_download
from feed_assets.importing.read_options import read_options
from feed_assets.importing.table_writer import TableWriter
from feed_assets.schema.columns import Column, Columns, arrow_schema, paths, with_text_types
from feed_assets.schema.datatypes import is_text
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.store import Stored

if TYPE_CHECKING:
    import pandas as pd

SMALL_BYTES = 8 << 20
"""Largest download to read while the warehouse stays open."""
REJECTED_LINES = "Lines of the feed of {table} that are not rows; max_bad_lines accepts them."
REJECTED = (Column("line", "INTEGER"), Column("reason", "STRING"), Column("text", "STRING"))


@dataclass(frozen=True)
class SnapshotState:
    """Identity of an imported snapshot: validators of the feed, and a token of its table."""

    validators: Validators
    table: str


@dataclass(frozen=True)
class Import:
    """Result of an import: the rows that were read, what was stored, and the checks."""

    pending: PendingDay
    reading: ndjson.Reading
    stored: Stored
    checks: tuple[CheckResult, ...] = ()
    snapshot_state: SnapshotState | None = None


class FeedFrame(LazyFrame):
    """The rows of a pending day or snapshot, or the error of its request."""

    def __init__(
        self, pending: PendingDay | FeedAssetsError, rejected: Collection[Table] | None = None
    ) -> None:
        """`rejected` lists the tables of bad lines that exist; without it, the import looks."""
        self._outcome, self._rejected = pending, rejected
        self._reading: ndjson.Reading | None = None
        self._checks: tuple[CheckResult, ...] = ()
        self._snapshot_state: SnapshotState | None = None
        if isinstance(pending, PendingDay):
            feed = pending.feed
            self.declared = [*map(feed.in_table, (*feed.types, *feed.selection.hash))]
            self.origin = _origin(pending)

    @property
    def is_ready(self) -> bool:
        """Return whether the body is completely downloaded and at most SMALL_BYTES long."""
        info = self._outcome.download.info if isinstance(self._outcome, PendingDay) else None
        return bool(info and info.done() and info.result().bytes < SMALL_BYTES)

    def read(self, known: Columns) -> pd.DataFrame:
        """Raises ContentError, DownloadError and DiskFailed."""
        pending = self._pending
        with _disk_errors(pending):
            reading = self._reading = _read(pending, known)
            rows = pa.Table.from_arrays(reading.table.columns, schema=reading.schema)
            rows = with_text_types(rows, reading.types)
            self._checks = (*_check_content(pending, rows), *check_columns(pending.feed, reading))
        self.schema = rows.schema
        self.named = ndjson.schema_of_keys(reading.columns)
        return to_frame(rows)

    def check(self, warehouse: Warehouse, table: Table) -> None:
        """Raises TooFewRows."""
        _check_rows(self._pending, table, self._last_reading.rows, warehouse)

    def before_load(self, warehouse: Warehouse, attempt: str) -> None:
        """Store the bad lines. Without any, only a table of earlier ones is replaced."""
        pending, lines = self._pending, self._last_reading.bad_lines
        table = pending.feed.destination.rejected
        if pending.day is not None:
            table = table.shard(pending.day)
        if lines or self._has_rejected(table, warehouse):
            _store_rejected(pending, table, lines, warehouse, attempt)

    def _has_rejected(self, table: Table, warehouse: Warehouse) -> bool:
        if self._rejected is not None:
            return table in self._rejected
        return warehouse.columns(table) is not None

    def explain(self, conflict: TypeConflict, known: Columns) -> None:
        """Name the first line that does not fit the column."""
        conflict.declare = self._pending.feed.selection.original(conflict.declare)
        before = dict(paths(known)).get(conflict.column)
        if before is not None:
            kind = pa.null() if is_text(before.type) else before.arrow
            conflict.unit = self._last_reading.unit
            conflict.line = self._last_reading.first_conflicting_line(conflict.column, kind)

    def after_load(self, warehouse: Warehouse, stored: Stored) -> None:
        """Remember the state of a snapshot, so that the next run can find it unchanged."""
        validators = self._pending.download.info.result().validators
        # without a state the next run imports again, and reports the bad lines again
        if not validators or self._last_reading.bad_lines:
            return
        if token := warehouse.content_token(self._pending.feed.destination):
            self._snapshot_state = SnapshotState(validators, token)

    def imported(self, stored: Stored, wildcard_problem: str | None = None) -> Import:
        """Return the result once the rows are stored."""
        reading = self._last_reading
        row_checks = check_stored(stored, reading.rows, len(reading.bad_lines), wildcard_problem)
        checks = (*row_checks, *self._checks)
        return Import(self._pending, reading, stored, checks, self._snapshot_state)

    @property
    def _pending(self) -> PendingDay:
        if isinstance(self._outcome, FeedAssetsError):
            raise self._outcome
        return self._outcome

    @property
    def _last_reading(self) -> ndjson.Reading:
        assert self._reading is not None
        return self._reading


def store(pending: PendingDay, warehouse: Warehouse, *, attempt: str) -> Import:
    """Read a pending day, and replace its table with exactly these rows.

    Raises ContentError, TableError or DiskFailed; the table is then unchanged.
    """
    frame = FeedFrame(pending)
    writer = TableWriter(warehouse, pending.feed.destination, attempt)
    return frame.imported(writer.store(frame, pending.day))


@contextmanager
def _disk_errors(pending: PendingDay) -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        raise disk_failed(f"{pending.download.url} could not be read", failure) from None


def _check_content(pending: PendingDay, rows: pa.Table) -> tuple[CheckResult, ...]:
    """Check the rows; raise CheckFailed for a failure among `blocking_checks`."""
    feed = pending.feed
    checks = check_content(feed, pending.day, rows)
    for each in checks:
        if not each.passed and each.name in feed.blocking_checks:
            what = (
                f"{pending.download.url} did not pass the check {each.name}, which is among "
                f"blocking_checks: {each.summary}"
            )
            way = f"; correct the feed, or remove {each.name} from blocking_checks"
            examples = f" ({'; '.join(each.samples)})" if each.samples else ""
            raise CheckFailed(what + row_text(examples) + way)
    return checks


def _read(pending: PendingDay, known: Columns) -> ndjson.Reading:
    feed = pending.feed
    reading = read_download(pending.download, read_options(feed), known=arrow_schema(known))
    if not reading.rows and pending.day is None and not feed.allow_empty:
        raise EmptyFeed(
            f"{pending.download.url} has no rows, which would empty {feed.destination}; "
            f"set allow_empty: true if that is right"
        )
    if reading.rows and not reading.table.num_columns:
        raise ContentError(
            f"{pending.download.url} has {reading.rows} rows and not one value in them; "
            f"ask the feed's server why"
        )
    check_key_columns(feed, pending.download.url, reading, known)
    return reading


def _check_rows(pending: PendingDay, table: Table, rows: int, warehouse: Warehouse) -> None:
    """Raise TooFewRows for fewer rows than `min_rows` or `max_shrink` allow."""
    feed, url = pending.feed, pending.download.url
    if rows < feed.min_rows:
        raise TooFewRows(
            f"{url} has {rows} rows, and min_rows is {feed.min_rows}; look at the feed, and lower "
            f"min_rows if that is right"
        )
    before = warehouse.count(table) if feed.max_shrink is not None else None
    if before and feed.max_shrink is not None and rows < before * (1 - feed.max_shrink):
        raise TooFewRows(
            f"{url} has {rows} rows to replace the {before} of {table}, and max_shrink is "
            f"{feed.max_shrink:g}; look at the feed, and raise max_shrink if that is right"
        )


def _store_rejected(
    pending: PendingDay, table: Table, lines: Sequence[BadLine], warehouse: Warehouse, attempt: str
) -> None:
    """Store the accepted bad lines."""
    schema = arrow_schema(REJECTED)
    texts = [line.text or None for line in lines]
    reasons = [full_text(line.reason) for line in lines]
    columns = [[line.line for line in lines], reasons, texts]
    origin = replace(
        _origin(pending),
        description=REJECTED_LINES.format(table=pending.feed.destination),
        columns={},
    )
    rows = conform(pa.table(columns, schema), REJECTED)
    warehouse.replace(table, rows, REJECTED, attempt=attempt, origin=origin)


def _origin(pending: PendingDay) -> Origin:
    """Labels and descriptions for tables and load jobs."""
    feed, day = pending.feed, pending.day
    labels = {**feed.labels, "feed": feed.name, **({"day": day.isoformat()} if day else {})}
    return Origin(labels, feed.description or "", feed.table_descriptions)
