"""The way of an import: from what is delivered, to DataFrame, to table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pandas as pd
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
    UnsupportedColumn,
)
from feed_assets.importing.checks import Checked, check_content, check_stored
from feed_assets.importing.key_columns import check_key_columns
from feed_assets.importing.object_columns import check_all, check_mixtures
from feed_assets.importing.read_download import read_download
from feed_assets.ndjson.inference.infer import columns
from feed_assets.ndjson.inference.paths import schema_of_keys
from feed_assets.schema.columns import (
    Column,
    Columns,
    arrow_schema,
    columns_of,
    paths,
    told,
    types_told,
)
from feed_assets.schema.datatypes import TEXTS
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.store import Stored, known_columns, store_shard, store_snapshot

_QUOTED = 80  # characters of a value in a message
REJECTED_LINES = "The lines of the feed of {table} that were let pass, as they are no rows."
REJECTED = (Column("line", "INTEGER"), Column("reason", "STRING"), Column("text", "STRING"))


@dataclass(frozen=True)
class Held:
    """By what a later import knows that a snapshot's feed and table are as this one left them."""

    validators: Validators
    table: str


@dataclass(frozen=True)
class Import:
    """What an import did."""

    delivery: PendingDay
    reading: ndjson.Reading
    stored: Stored
    checked: tuple[Checked, ...] = ()
    held: Held | None = None


def store(delivery: PendingDay, warehouse: Warehouse, *, attempt: str) -> Import:
    """Reads a delivery and makes its table hold just its rows.

    Raises ContentError, TableError or DiskFailed; the table is then as it was.
    """
    try:
        if delivery.day is None:
            return _store_snapshot(delivery, warehouse, attempt)
        return _store_day(delivery, delivery.day, warehouse, attempt)
    except OSError as failure:
        raise disk_failed(f"{delivery.download.url} could not be read", failure) from None


def _store_snapshot(delivery: PendingDay, warehouse: Warehouse, attempt: str) -> Import:
    table = delivery.feed.destination
    reading = _read(delivery, ())
    checked = _check_content(delivery, reading)
    rows = _rows(reading)
    with warehouse:
        _check_rows(delivery, table, reading.rows, warehouse)
        _store_rejected(delivery, table.rejected, reading.bad_lines, warehouse, attempt)
        origin = _origin(delivery)
        stored = store_snapshot(
            warehouse, table, rows, named=_named(reading), attempt=attempt, origin=origin
        )
        held, validators = None, delivery.download.info.result().validators
        # with bad lines it is not held, so that each run shows their count
        if validators and not reading.bad_lines and (state := warehouse.state(table)):
            held = Held(validators, state)
    return _imported(delivery, reading, stored, checked, held)


def _store_day(delivery: PendingDay, day: date, warehouse: Warehouse, attempt: str) -> Import:
    feed, table = delivery.feed, delivery.feed.destination
    with warehouse:
        known = known_columns(warehouse, table, feed.types).columns
    reading = _read(delivery, known)  # takes its time, so it holds no warehouse
    checked = _check_content(delivery, reading)

    def read(now: Columns) -> pa.Table:
        nonlocal known, reading, checked
        if now != known:  # another import learned more meanwhile
            known, reading = now, _read(delivery, now)
            checked = _check_content(delivery, reading)
        return _rows(reading)

    with warehouse:
        _check_rows(delivery, table.shard(day), reading.rows, warehouse)
        _store_rejected(delivery, table.rejected.shard(day), reading.bad_lines, warehouse, attempt)
        try:
            stored = store_shard(
                warehouse,
                table,
                day,
                read,
                attempt=attempt,
                declared=feed.types,
                origin=_origin(delivery),
            )
        except TypeConflict as conflict:
            before = dict(paths(known)).get(conflict.column)
            if before is not None:
                kind = pa.null() if before.type in TEXTS else before.arrow
                conflict.line = reading.first_conflicting_line(conflict.column, kind)
            raise
    return _imported(delivery, reading, stored, checked)


def _imported(
    delivery: PendingDay,
    reading: ndjson.Reading,
    stored: Stored,
    checked: tuple[Checked, ...],
    held: Held | None = None,
) -> Import:
    of_rows = check_stored(stored, reading.rows, len(reading.bad_lines))
    return Import(delivery, reading, stored, (*of_rows, *checked), held)


def _rows(reading: ndjson.Reading) -> pa.Table:
    """By way of the DataFrame; with the keys that the columns were sent as."""
    rows = to_arrow(reading.frame(), checked=True)
    return told(pa.Table.from_arrays(rows.columns, schema=reading.schema), reading.types)


def _named(reading: ndjson.Reading) -> pa.Schema:
    return schema_of_keys(columns(reading.observed, reading.declared_types, reading.known))


def _check_content(delivery: PendingDay, reading: ndjson.Reading) -> tuple[Checked, ...]:
    """Raises CheckFailed where a check did not pass that the feed's user has said must."""
    rows = pa.Table.from_arrays(reading.table.columns, schema=reading.schema)
    feed = delivery.feed
    checked = check_content(feed, delivery.day, told(rows, reading.types))
    for each in checked:
        if not each.passed and each.name in feed.blocking_checks:
            examples = f" ({'; '.join(each.samples)})" if each.samples else ""
            raise CheckFailed(
                f"{delivery.download.url} did not pass the check {each.name}, which is among "
                f"blocking_checks: {each.said}{examples}; have the feed corrected, or take "
                f"{each.name} out of blocking_checks"
            )
    return checked


def _read(delivery: PendingDay, known: Columns) -> ndjson.Reading:
    feed = delivery.feed
    options = ndjson.Options(
        types=feed.types,
        max_bad_lines=feed.max_bad_lines,
        max_line_bytes=feed.max_line_bytes,
        empty_as_null=feed.empty_as_null,
        flexible_names=delivery.day is None,  # `table_*` works with plain names only
    )
    reading = read_download(delivery.download, options, known=arrow_schema(known))
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
    check_key_columns(feed, delivery.download.url, reading, known)
    return reading


def _check_rows(delivery: PendingDay, table: Table, rows: int, warehouse: Warehouse) -> None:
    """Refuses fewer rows than the feed's user has said there must be."""
    feed, url = delivery.feed, delivery.download.url
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
    delivery: PendingDay, table: Table, lines: Sequence[BadLine], warehouse: Warehouse, attempt: str
) -> None:
    """Keeps the bad lines that were let pass; where none were, empties a table of earlier ones."""
    if lines or warehouse.columns(table) is not None:
        schema = arrow_schema(REJECTED)
        columns = [[getattr(line, field.name) for line in lines] for field in schema]
        rows = pa.table(columns, schema)
        origin = replace(
            _origin(delivery),
            description=REJECTED_LINES.format(table=delivery.feed.destination),
            columns={},
        )
        warehouse.replace(table, conform(rows, REJECTED), REJECTED, attempt=attempt, origin=origin)


def _origin(delivery: PendingDay) -> Origin:
    """What the warehouse can say of tables and jobs: the feed, the day, its user's own words."""
    feed, day = delivery.feed, delivery.day
    labels = {**feed.labels, "feed": feed.name, **({"day": day.isoformat()} if day else {})}
    return Origin(labels, feed.description or "", feed.column_descriptions)


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """The rows as an Arrow-backed DataFrame; `attrs["types"]` tells which text is JSON, say.

    pandas has no place for that in a column, and cannot show Arrow's own type for it.
    """
    frame: pd.DataFrame = rows.to_pandas(types_mapper=pd.ArrowDtype)
    if types := types_told(columns_of(rows.schema)):
        frame.attrs["types"] = types
    return frame


def to_arrow(frame: pd.DataFrame, *, checked: bool = False) -> pa.Table:
    """The rows of a DataFrame; Arrow-backed columns are not copied.

    Text that `attrs["types"]` calls JSON or GEOGRAPHY, by path, is so; it is looked at unless it
    was `checked`. Raises UnsupportedColumn for an index that has a name, for a column without one
    type, or text that is not what it is called.
    """
    if any(name is not None for name in frame.index.names):
        raise UnsupportedColumn(
            f"the DataFrame's index {', '.join(map(str, frame.index.names))} would be lost; call "
            f"reset_index() to keep it as columns"
        )
    if not checked:
        check_mixtures(frame)
    try:
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        for place, column in enumerate(rows.columns):
            if pa.types.is_dictionary(column.type):
                plain = column.cast(column.type.value_type)
                rows = rows.set_column(place, rows.column_names[place], plain)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as failure:
        check_all(frame)
        reason = "; ".join(map(str, failure.args)).encode("ascii", "backslashreplace").decode()
        raise UnsupportedColumn(
            f"the DataFrame cannot be stored ({reason}); give each column a name of its own and "
            f"values of one type"
        ) from None
    if rows.num_rows != len(frame):
        raise UnsupportedColumn(f"the DataFrame has {len(frame)} rows and no columns to store")
    types = frame.attrs.get("types", {})
    if not isinstance(types, Mapping):
        raise UnsupportedColumn(
            f'the DataFrame\'s attrs["types"] is {types!r}, and has to tell by path which text is '
            f'JSON or GEOGRAPHY: {{"payload": "JSON"}}'
        )
    rows = told(rows, types)
    for column in () if checked else columns_of(rows.schema):
        if types_told((column,)):
            _check_texts(rows.column(column.name).to_pylist(), column, column.name)
    return rows


def _check_texts(values: Sequence[Any], column: Column, path: str) -> None:
    if column.repeated:
        values = [each for value in values if value for each in value]
    if column.type == "RECORD":
        for field in column.fields:
            inside = [None if value is None else value[field.name] for value in values]
            _check_texts(inside, field, f"{path}.{field.name}")
        return
    for value in values if column.type in TEXTS else ():
        if value is not None and not ndjson.is_valid(column.type, value):
            raise UnsupportedColumn(
                f"column {path} has {value[:_QUOTED]!r}, which is no {column.type}; correct it, or "
                f'take the column out of the DataFrame\'s attrs["types"]'
            )
