"""What is looked at in imported rows: is each there once, and of the day it was sent for?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from feed_assets.config.feed import Feed
from feed_assets.errors import TableError
from feed_assets.importing.key_columns import ISO, TIMES, declaration, texts_at
from feed_assets.schema.columns import columns_of
from feed_assets.warehouse.schema_evolution import Path, key_path, order_path
from feed_assets.warehouse.store import Stored

SAMPLES = 3
"""Keys, or values of `updated_at`, that are shown. Rows never are."""
MOST_COMPARED = 10_000
"""Keys that look repeated and are compared themselves. Beyond, their hashes of 64 bits count."""
_BATCH = 1 << 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a hash is lost
DAY_TYPES = ("DATE", "DATETIME", "TIMESTAMP")


@dataclass(frozen=True)
class Checked:
    """How a check went. `grave` is what somebody should be told of who is not looking."""

    name: str
    passed: bool
    said: str
    grave: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[str] = ()


def check_content(feed: Feed, day: date | None, rows: pa.Table) -> tuple[Checked, ...]:
    """The checks of what was sent, whose fields have the keys that they were sent as.

    Costs 16 bytes of memory for each row with a key, whatever the size of the rows.
    """
    checked = [_check("key", feed, day, rows)] if feed.key else []
    if feed.updated_at and day is not None:
        checked.append(_check("updated_at", feed, day, rows))
    return tuple(checked)


def check_stored(stored: Stored, sent: int, bad_lines: int) -> tuple[Checked, ...]:
    """The checks of what was stored of `sent` rows and `bad_lines` that are none."""
    numbers = {"rows sent": sent + bad_lines, "rows stored": stored.rows, "bad lines": bad_lines}
    said = f"{stored.rows} of {sent + bad_lines} rows sent are stored"
    if bad_lines:
        said = f"{said}; {bad_lines} bad lines were let pass (max_bad_lines)"
    whole = stored.rows == sent
    rows = Checked("rows", whole and not bad_lines, said, not whole, numbers)
    news = [f"{path} is new, {column}" for path, column in stored.added.items()]
    news += [f"{path} was {old} and is {new}" for path, (old, new) in stored.changed.items()]
    news += [f"{path} is in the feed no longer" for path in stored.removed]
    numbers = {"new columns": len(stored.added), "changed types": len(stored.changed)}
    if stored.removed:
        numbers["removed columns"] = len(stored.removed)
    said = "; ".join(news) or "the columns are those known before"
    return rows, Checked("schema", not news, said, False, numbers)


def _check(name: str, feed: Feed, day: date | None, rows: pa.Table) -> Checked:
    if not rows.num_rows:
        return Checked(name, True, "there are no rows")
    try:
        if day is not None and name == "updated_at":
            return _of_day(feed, day, rows)
        return _key(feed, rows)
    except TableError as failure:  # a column that is not there, or no key
        return Checked(name, False, str(failure), name == "key")


def _key(feed: Feed, rows: pa.Table) -> Checked:
    """Whether each row has a key of its own.

    Rows with one key are grave where nothing puts them right: the view of the latest state takes
    the newest of them. A row without a key it cannot tell from any other, and shows it once more
    for each day that it is sent.
    """
    columns = columns_of(rows.schema)
    paths = [key_path(feed.destination, columns, part) for part in feed.key]
    hashes = np.concatenate([_hashes(keys) for keys in _keys(rows, paths)])
    without = rows.num_rows - len(hashes)
    ordered = np.sort(hashes)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    looked_at = np.unique(again)[:MOST_COMPARED]
    counts = Counter(_with_hashes(rows, paths, hashes, looked_at))
    twice = {key: count for key, count in counts.items() if count > 1}
    more = len(again) - int(np.isin(again, looked_at).sum())
    repeats = sum(twice.values()) - len(twice) + more
    named = ", ".join(feed.key)
    said = f"each of {rows.num_rows} rows has its own {named}"
    if repeats or without:
        told = [f"{repeats} have the {named} of another row"] if repeats else []
        told += [f"{without} have no {named}"] if without else []
        said = f"of {rows.num_rows} rows {' and '.join(told)}"
    return Checked(
        "key",
        not repeats and not without,
        said,
        bool(without) or not feed.has_latest,
        {"rows": rows.num_rows, "repeated keys": repeats, "rows without a key": without},
        [f"{', '.join(map(str, key))} ({count} times)" for key, count in _most(twice)],
    )


def _most(twice: Mapping[tuple[Any, ...], int]) -> list[tuple[tuple[Any, ...], int]]:
    return sorted(twice.items(), key=lambda each: (-each[1], str(each[0])))[:SAMPLES]


def _of_day(feed: Feed, day: date, rows: pa.Table) -> Checked:
    """Whether the rows were last changed on the day that they were sent for; null is on none."""
    assert feed.updated_at
    assert feed.partition_by_date
    path = order_path(feed.destination, columns_of(rows.schema), feed.updated_at)
    zone = ZoneInfo(feed.partition_by_date.timezone)
    elsewhere = without = 0
    samples: dict[str, None] = {}
    for batch in rows.to_batches(_BATCH):
        values = _at(batch, path)
        (column,) = columns_of(pa.schema([pa.field("it", values.type)]))
        if column.type not in DAY_TYPES:
            texts = texts_at(rows, path).to_pylist() if column.type == "STRING" else ()
            way = declaration(feed.updated_at, texts, TIMES) or ISO
            raise TableError(f"{feed.updated_at} is {column.type}, which tells no day; {way}")
        without += values.null_count
        first, after = _bounds(day, values.type, zone)
        beyond = pc.or_(pc.less(values, first), pc.greater_equal(values, after))
        elsewhere += pc.sum(beyond).as_py() or 0
        if len(samples) < SAMPLES and elsewhere:
            samples |= dict.fromkeys(map(str, pc.unique(values.filter(beyond)).to_pylist()))
    numbers = {"rows": rows.num_rows, "of another day": elsewhere, "without a value": without}
    said = f"{rows.num_rows - elsewhere - without} of {rows.num_rows} rows are of the day"
    if elsewhere:
        said = (
            f"of {rows.num_rows} rows {elsewhere} have an {feed.updated_at} that is not on {day} "
            f"in {zone}"
        )
    elif without:
        said = f"{said}, {without} have no {feed.updated_at}"
    return Checked("updated_at", not elsewhere, said, False, numbers, list(samples)[:SAMPLES])


def _bounds(day: date, kind: pa.DataType, zone: ZoneInfo) -> tuple[pa.Scalar, pa.Scalar]:
    """The beginning of the day, and of the next one."""
    days = (day, day + timedelta(1))
    if pa.types.is_date(kind):
        return pa.scalar(days[0], kind), pa.scalar(days[1], kind)
    midnights = [datetime.combine(each, time.min) for each in days]
    if kind.tz is not None:
        midnights = [each.replace(tzinfo=zone).astimezone(UTC) for each in midnights]
    return pa.scalar(midnights[0], kind), pa.scalar(midnights[1], kind)


def _keys(rows: pa.Table, paths: Sequence[Path]) -> Iterator[list[pa.Array]]:
    """By batch, the parts of the keys of those rows that have all of them."""
    for batch in rows.to_batches(_BATCH):
        parts = [_at(batch, path) for path in paths]
        if any(part.null_count for part in parts):
            whole = parts[0].is_valid()
            for part in parts[1:]:
                whole = pc.and_(whole, part.is_valid())
            parts = [part.filter(whole) for part in parts]
        yield parts


def _at(batch: pa.RecordBatch, path: Path) -> pa.Array:
    values = batch.column(path[0])
    for name in path[1:]:
        values = pc.struct_field(values, name)  # null where the record is
    return values


def _hashes(parts: Sequence[pa.Array]) -> npt.NDArray[np.uint64]:
    found = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        values = part.to_numpy(zero_copy_only=False)
        found = found * _SPREAD ^ hash_array(values, categorize=False)
    return found


def _with_hashes(
    rows: pa.Table,
    paths: Sequence[Path],
    hashes: npt.NDArray[np.uint64],
    wanted: npt.NDArray[np.uint64],
) -> Iterator[tuple[Any, ...]]:
    """The keys that have those hashes, each as often as it is there."""
    at = 0
    for parts in _keys(rows, paths) if len(wanted) else ():
        here = np.isin(hashes[at : at + len(parts[0])], wanted)
        at += len(parts[0])
        if here.any():
            yield from zip(
                *(part.filter(pa.array(here)).to_pylist() for part in parts), strict=True
            )
