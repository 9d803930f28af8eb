"""Import one day or one snapshot: read the download, check it, store it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

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
    TooFewRows,
    TypeConflict,
)
from feed_assets.importing.checks import CheckResult, check_content, check_stored
from feed_assets.importing.dataframes import to_arrow
from feed_assets.importing.key_columns import check_key_columns
from feed_assets.importing.read_download import read_download
from feed_assets.schema.columns import Column, Columns, arrow_schema, paths, with_text_types
from feed_assets.schema.datatypes import is_text
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.store import Stored, known_columns, store_shard, store_snapshot

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


def store(pending: PendingDay, warehouse: Warehouse, *, attempt: str) -> Import:
    """Read a pending day, and replace its table with exactly these rows.

    Raises ContentError, TableError or DiskFailed; the table is then unchanged.
    """
    try:
        if pending.day is None:
            return _store_snapshot(pending, warehouse, attempt)
        return _store_day(pending, pending.day, warehouse, attempt)
    except OSError as failure:
        raise disk_failed(f"{pending.download.url} could not be read", failure) from None


class _Content:
    """The rows of a download, read again when another import changes the known columns."""

    def __init__(self, pending: PendingDay, known: Columns) -> None:
        self._pending = pending
        self._read(known)

    def _read(self, known: Columns) -> None:
        self.known = known
        self.reading = _read(self._pending, known)
        self.checks = _check_content(self._pending, self.reading)

    def rows(self, known: Columns) -> pa.Table:
        """Return the rows, typed for these columns, with the feed's keys as field metadata."""
        if known != self.known:
            self._read(known)
        reading = self.reading
        rows = to_arrow(reading.frame(), validated=True)
        return with_text_types(
            pa.Table.from_arrays(rows.columns, schema=reading.schema), reading.types
        )

    def imported(self, stored: Stored, state: SnapshotState | None = None) -> Import:
        reading = self.reading
        row_checks = check_stored(stored, reading.rows, len(reading.bad_lines))
        return Import(self._pending, reading, stored, (*row_checks, *self.checks), state)


def _store_snapshot(pending: PendingDay, warehouse: Warehouse, attempt: str) -> Import:
    table = pending.feed.destination
    content = _Content(pending, ())
    reading, rows = content.reading, content.rows(())
    schema = ndjson.schema_of_keys(reading.columns)
    with warehouse:
        _check_rows(pending, table, reading.rows, warehouse)
        _store_rejected(pending, table.rejected, reading.bad_lines, warehouse, attempt)
        stored = store_snapshot(
            warehouse, table, rows, named=schema, attempt=attempt, origin=_origin(pending)
        )
        state, validators = None, pending.download.info.result().validators
        # without a state the next run imports again, and reports the bad lines again
        if validators and not reading.bad_lines and (token := warehouse.content_token(table)):
            state = SnapshotState(validators, token)
    return content.imported(stored, state)


def _store_day(pending: PendingDay, day: date, warehouse: Warehouse, attempt: str) -> Import:
    feed, table = pending.feed, pending.feed.destination
    with warehouse:
        known = known_columns(warehouse, table, feed.types).columns
    content = _Content(pending, known)  # reading is slow, so the warehouse is not open
    reading = content.reading
    with warehouse:
        _check_rows(pending, table.shard(day), reading.rows, warehouse)
        _store_rejected(pending, table.rejected.shard(day), reading.bad_lines, warehouse, attempt)
        try:
            stored = store_shard(
                warehouse,
                table,
                day,
                content.rows,
                attempt=attempt,
                declared=feed.types,
                origin=_origin(pending),
            )
        except TypeConflict as conflict:
            before = dict(paths(content.known)).get(conflict.column)
            if before is not None:
                kind = pa.null() if is_text(before.type) else before.arrow
                conflict.line = content.reading.first_conflicting_line(conflict.column, kind)
            raise
    return content.imported(stored)


def _check_content(pending: PendingDay, reading: ndjson.Reading) -> tuple[CheckResult, ...]:
    """Check the rows; raise CheckFailed for a failure among `blocking_checks`."""
    rows = pa.Table.from_arrays(reading.table.columns, schema=reading.schema)
    feed = pending.feed
    checks = check_content(feed, pending.day, with_text_types(rows, reading.types))
    for each in checks:
        if not each.passed and each.name in feed.blocking_checks:
            examples = f" ({'; '.join(each.samples)})" if each.samples else ""
            raise CheckFailed(
                f"{pending.download.url} did not pass the check {each.name}, which is among "
                f"blocking_checks: {each.summary}{examples}; correct the feed, or remove "
                f"{each.name} from blocking_checks"
            )
    return checks


def _read(pending: PendingDay, known: Columns) -> ndjson.Reading:
    feed = pending.feed
    options = ndjson.Options(
        types=feed.types,
        max_bad_lines=feed.max_bad_lines,
        max_line_bytes=feed.max_line_bytes,
        empty_as_null=feed.empty_as_null,
        flexible_names=pending.day is None,  # `table_*` needs plain names
    )
    reading = read_download(pending.download, options, known=arrow_schema(known))
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
    """Store the accepted bad lines. Without any, only a table of earlier ones is replaced."""
    if lines or warehouse.columns(table) is not None:
        schema = arrow_schema(REJECTED)
        columns = [[getattr(line, field.name) for line in lines] for field in schema]
        rows = pa.table(columns, schema)
        origin = replace(
            _origin(pending),
            description=REJECTED_LINES.format(table=pending.feed.destination),
            columns={},
        )
        warehouse.replace(table, conform(rows, REJECTED), REJECTED, attempt=attempt, origin=origin)


def _origin(pending: PendingDay) -> Origin:
    """Labels and descriptions for tables and load jobs."""
    feed, day = pending.feed, pending.day
    labels = {**feed.labels, "feed": feed.name, **({"day": day.isoformat()} if day else {})}
    return Origin(labels, feed.description or "", feed.column_descriptions)
