"""The way of an import: feed and day, to file, to DataFrame, to table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from http import HTTPStatus

import pandas as pd
import pyarrow as pa

from feed_assets import ndjson
from feed_assets.download import Download, download
from feed_assets.errors import (
    AccessRefused,
    BadLine,
    ContentError,
    DiskFailed,
    EmptyFeed,
    FeedAssetsError,
    TypeConflict,
    UnsupportedColumn,
)
from feed_assets.feed import Feed
from feed_assets.tables import Table
from feed_assets.warehouse.columns import Column, Columns, arrow_schema, paths
from feed_assets.warehouse.interface import Warehouse
from feed_assets.warehouse.rows import conform
from feed_assets.warehouse.store import Stored, known_columns, store_shard, store_snapshot

REJECTED = (Column("line", "INTEGER"), Column("reason", "STRING"), Column("text", "STRING"))


@dataclass(frozen=True)
class Delivery:
    """A feed, or one day of it, that has begun to arrive and is not yet stored."""

    feed: Feed
    day: date | None
    download: Download


@dataclass(frozen=True)
class Import:
    """What an import did."""

    delivery: Delivery
    reading: ndjson.Reading
    stored: Stored


def deliver(
    feed: Feed, days: Sequence[date | None]
) -> Iterator[tuple[date | None, Delivery | FeedAssetsError]]:
    """Downloads the days in their order, `feed.parallel_requests` of them ahead and at once.

    A day that fails is delivered as its error, and the others go on; but once the server has
    refused the credentials, it is not asked again. Each can be read until the next is asked for.
    """
    refused: list[AccessRefused] = []
    over = False

    def fetch(day: date | None, delivered: Future[Delivery | FeedAssetsError]) -> None:
        def begun(got: Download) -> None:
            delivered.set_result(Delivery(feed, day, got))
            if over:
                got.source.leave()

        try:
            if refused:
                raise refused[0]
            download(feed, day, begun)
        except FeedAssetsError as failure:
            if isinstance(failure, AccessRefused) and failure.status == HTTPStatus.UNAUTHORIZED:
                refused.append(failure)  # 403 may be meant for the one day
            delivered.set_result(failure)
        except Exception as bug:
            if delivered.done():
                raise
            delivered.set_exception(bug)

    with ThreadPoolExecutor(feed.parallel_requests, "download") as pool:
        under_way: deque[tuple[date | None, Future[Delivery | FeedAssetsError]]] = deque()
        try:
            for day in days:
                if len(under_way) == feed.parallel_requests:
                    yield from _taken(under_way)
                under_way.append((day, Future()))
                pool.submit(fetch, *under_way[-1])
            while under_way:
                yield from _taken(under_way)
        finally:
            over = True
            for _, result in under_way:  # nobody takes these
                if result.done() and isinstance(left := result.result(), Delivery):
                    left.download.source.leave()
            pool.shutdown(cancel_futures=True)


def _taken(
    under_way: deque[tuple[date | None, Future[Delivery | FeedAssetsError]]],
) -> Iterator[tuple[date | None, Delivery | FeedAssetsError]]:
    """The first of them, for as long as it is wanted."""
    day, result = under_way.popleft()
    delivery = result.result()
    try:
        yield day, delivery
    finally:
        if isinstance(delivery, Delivery):
            delivery.download.source.leave()


def store(delivery: Delivery, warehouse: Warehouse, *, attempt: str) -> Import:
    """Reads a delivery and makes its table hold just its rows.

    Raises ContentError, TableError or DiskFailed; the table is then as it was.
    """
    try:
        if delivery.day is None:
            reading, stored = _store_snapshot(delivery, warehouse, attempt)
        else:
            reading, stored = _store_day(delivery, delivery.day, warehouse, attempt)
    except OSError as failure:
        raise DiskFailed(f"reading the feed failed: {failure}; is the disk full?") from None
    return Import(delivery, reading, stored)


def _store_snapshot(
    delivery: Delivery, warehouse: Warehouse, attempt: str
) -> tuple[ndjson.Reading, Stored]:
    table = delivery.feed.destination
    reading = _read(delivery, ())
    rows = to_arrow(reading.frame())
    with warehouse:
        _store_rejected(table.rejected, reading.bad_lines, warehouse, attempt)
        return reading, store_snapshot(warehouse, table, rows, attempt=attempt)


def _store_day(
    delivery: Delivery, day: date, warehouse: Warehouse, attempt: str
) -> tuple[ndjson.Reading, Stored]:
    feed, table = delivery.feed, delivery.feed.destination
    with warehouse:
        known = known_columns(warehouse, table).columns
    reading = _read(delivery, known)  # takes its time, so it holds no warehouse

    def read(now: Columns) -> pa.Table:
        nonlocal known, reading
        if now != known:  # another import learned more meanwhile
            known, reading = now, _read(delivery, now)
        return to_arrow(reading.frame())

    declared = [reading.renamed.get(path, path) for path in feed.types]
    with warehouse:
        _store_rejected(table.rejected.shard(day), reading.bad_lines, warehouse, attempt)
        try:
            stored = store_shard(warehouse, table, day, read, attempt=attempt, declared=declared)
        except TypeConflict as conflict:
            before = dict(paths(known)).get(conflict.column)
            if before is not None:
                conflict.line = reading.first_line_unlike(conflict.column, before.arrow)
            sent = {stored: path for path, stored in reading.renamed.items()}
            conflict.declare = sent.get(conflict.column, conflict.column)
            raise
    return reading, stored


def _read(delivery: Delivery, known: Columns) -> ndjson.Reading:
    feed, source = delivery.feed, delivery.download.source
    options = ndjson.Options(
        types=feed.types,
        max_bad_lines=feed.max_bad_lines,
        empty_as_null=feed.empty_as_null,
        flexible_names=delivery.day is None,  # `table_*` works with plain names only
    )
    reading = ndjson.read(source, options=options, known=arrow_schema(known))
    if not reading.rows and delivery.day is None and not feed.allow_empty:
        raise EmptyFeed(
            f"{delivery.download.url} has no rows, which would empty {feed.destination}; "
            f"set allow_empty: true if that is right"
        )
    if reading.rows and not reading.table.num_columns:
        raise ContentError(
            f"{delivery.download.url} has {reading.rows} rows and not one value in them; "
            f"ask the feed's server why"
        )
    return reading


def _store_rejected(
    table: Table, lines: Sequence[BadLine], warehouse: Warehouse, attempt: str
) -> None:
    """Keeps the bad lines that were let pass; where none were, empties a table of earlier ones."""
    if lines or warehouse.columns(table) is not None:
        rows = pa.Table.from_pylist([asdict(line) for line in lines], arrow_schema(REJECTED))
        warehouse.replace(table, conform(rows, REJECTED), REJECTED, attempt=attempt)


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """The rows of a DataFrame; Arrow-backed columns are not copied.

    Raises UnsupportedColumn for an index that has a name, or a column without one type.
    """
    if any(name is not None for name in frame.index.names):
        raise UnsupportedColumn(
            f"the DataFrame's index {', '.join(map(str, frame.index.names))} would be lost; call "
            f"reset_index() to keep it as columns"
        )
    try:
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        for place, column in enumerate(rows.columns):
            if pa.types.is_dictionary(column.type):
                plain = column.cast(column.type.value_type)
                rows = rows.set_column(place, rows.column_names[place], plain)
    except (pa.ArrowException, ValueError, TypeError) as failure:
        raise UnsupportedColumn(
            f"the DataFrame cannot be stored ({'; '.join(map(str, failure.args))}); give each "
            f"column a name of its own and values of one type"
        ) from None
    if rows.num_rows != len(frame):
        raise UnsupportedColumn(f"the DataFrame has {len(frame)} rows and no columns to store")
    return rows.replace_schema_metadata(None)
