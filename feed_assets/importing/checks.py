"""Checks of imported rows: complete, a unique key each, changed on the requested day."""

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
from feed_assets.importing.advice import TIMES
from feed_assets.importing.key_columns import ISO, declaration, texts_at
from feed_assets.ndjson import Reading
from feed_assets.schema.columns import columns_of
from feed_assets.schema.datatypes import DATATYPES
from feed_assets.warehouse.schema_evolution import Path, key_path, order_path
from feed_assets.warehouse.store import Stored

SAMPLES = 3
"""Keys, or values of `updated_at`, in a result; shown only with `quote_rows`."""
MAX_COMPARED = 10_000
"""Keys with a repeated hash that are compared in full; further ones count by their 64-bit hash."""
_BATCH = 1 << 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication keeps every bit of a hash
DAY_TYPES = {each.name for each in DATATYPES if each.has_day}


@dataclass(frozen=True)
class CheckResult:
    """Result of a check. A failed check alerts people only if `is_error`."""

    name: str
    passed: bool
    summary: str
    is_error: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[str] = ()


def check_content(feed: Feed, day: date | None, rows: pa.Table) -> tuple[CheckResult, ...]:
    """Check the rows of a feed; field metadata has the feed's own keys.

    Uses 16 bytes of memory per row with a key.
    """
    results = [_check("key", feed, day, rows)] if feed.key else []
    if feed.updated_at and day is not None:
        results.append(_check("updated_at", feed, day, rows))
    return tuple(results)


def check_columns(feed: Feed, reading: Reading) -> tuple[CheckResult, ...]:
    """Check that rows have the columns that `columns` names; a path can be mistyped."""
    if feed.columns is None:
        return ()
    unnamed = reading.unnamed if reading.rows else ()
    summary = (
        "each column that columns names is in the feed" if reading.rows else "there are no rows"
    )
    if unnamed:
        summary = f"columns names {', '.join(unnamed)}, which no row has; check the spelling"
    numbers = {"columns that no row has": len(unnamed)}
    return (CheckResult("columns", not unnamed, summary, False, numbers),)


def check_stored(
    stored: Stored, in_feed: int, bad_lines: int, wildcard_problem: str | None = None
) -> tuple[CheckResult, ...]:
    """Compare the stored rows with those in the feed, and the columns with before."""
    numbers = {
        "rows in the feed": in_feed + bad_lines,
        "rows stored": stored.rows,
        "bad lines": bad_lines,
    }
    summary = f"{stored.rows} of {in_feed + bad_lines} rows are stored"
    if bad_lines:
        summary = f"{summary}; {bad_lines} bad lines were accepted (max_bad_lines)"
    complete = stored.rows == in_feed
    rows = CheckResult("rows", complete and not bad_lines, summary, not complete, numbers)
    changes = [f"{path} is new, {column}" for path, column in stored.added.items()]
    changes += [f"{path} was {old} and is {new}" for path, (old, new) in stored.changed.items()]
    changes += [f"{path} is no longer in the feed" for path in stored.removed]
    changes += [wildcard_problem] if wildcard_problem else []
    numbers = {"new columns": len(stored.added), "changed types": len(stored.changed)}
    if stored.removed:
        numbers["removed columns"] = len(stored.removed)
    summary = "; ".join(changes) or "the columns are unchanged"
    return rows, CheckResult("schema", not changes, summary, False, numbers)


def _check(name: str, feed: Feed, day: date | None, rows: pa.Table) -> CheckResult:
    if not rows.num_rows:
        return CheckResult(name, True, "there are no rows")
    try:
        if day is not None and name == "updated_at":
            return _of_day(feed, day, rows)
        return _key(feed, rows)
    except TableError as failure:  # a missing column, or one that cannot be a key
        return CheckResult(name, False, str(failure), name == "key")


def _key(feed: Feed, rows: pa.Table) -> CheckResult:
    """Check that each row has a unique key.

    A repeated key is an error only without a latest state, which takes the newest row of each key.
    A row without a key is always an error: the latest state repeats it for each day.
    """
    columns = columns_of(rows.schema)
    paths = [key_path(feed.destination, columns, feed.in_table(part)) for part in feed.key]
    hashes = np.concatenate([_hashes(keys) for keys in _keys(rows, paths)])
    without = rows.num_rows - len(hashes)
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    candidates = np.unique(repeated)[:MAX_COMPARED]
    counts = Counter(_with_hashes(rows, paths, hashes, candidates))
    twice = {key: count for key, count in counts.items() if count > 1}
    more = len(repeated) - int(np.isin(repeated, candidates).sum())
    repeats = sum(twice.values()) - len(twice) + more
    key = ", ".join(feed.key)
    summary = f"each of {rows.num_rows} rows has a unique {key}"
    if repeats or without:
        parts = [f"{repeats} have the {key} of another row"] if repeats else []
        parts += [f"{without} have no {key}"] if without else []
        summary = f"of {rows.num_rows} rows {' and '.join(parts)}"
    return CheckResult(
        "key",
        not repeats and not without,
        summary,
        bool(without) or not feed.has_latest,
        {"rows": rows.num_rows, "repeated keys": repeats, "rows without a key": without},
        [f"{', '.join(map(str, key))} ({count} times)" for key, count in _most_frequent(twice)],
    )


def _most_frequent(
    keys: Mapping[tuple[Any, ...], int],
) -> list[tuple[tuple[Any, ...], int]]:
    return sorted(keys.items(), key=lambda each: (-each[1], str(each[0])))[:SAMPLES]


def _of_day(feed: Feed, day: date, rows: pa.Table) -> CheckResult:
    """Check that the last change of each row is on the requested day."""
    assert feed.updated_at
    assert feed.partition_by_date
    path = order_path(feed.destination, columns_of(rows.schema), feed.in_table(feed.updated_at))
    zone = ZoneInfo(feed.partition_by_date.timezone)
    elsewhere = without = 0
    samples: dict[str, None] = {}
    for batch in rows.to_batches(_BATCH):
        values = _at(batch, path)
        (column,) = columns_of(pa.schema([pa.field("it", values.type)]))
        if column.type not in DAY_TYPES:
            is_plain = column.type in ("STRING", "INTEGER")
            texts = texts_at(rows, path).to_pylist() if is_plain else ()
            path_in_feed = feed.selection.original(feed.updated_at)
            advice = declaration(feed, path_in_feed, texts, TIMES) or ISO
            raise TableError(f"{feed.updated_at} is {column.type}, which has no day; {advice}")
        without += values.null_count
        first, after = _bounds(day, values.type, zone)
        beyond = pc.or_(pc.less(values, first), pc.greater_equal(values, after))
        elsewhere += pc.sum(beyond).as_py() or 0
        if len(samples) < SAMPLES and elsewhere:
            samples |= dict.fromkeys(map(str, pc.unique(values.filter(beyond)).to_pylist()))
    numbers = {"rows": rows.num_rows, "of another day": elsewhere, "without a value": without}
    summary = f"{rows.num_rows - elsewhere - without} of {rows.num_rows} rows are of the day"
    if elsewhere:
        summary = (
            f"of {rows.num_rows} rows {elsewhere} have an {feed.updated_at} that is not on {day} "
            f"in {zone}"
        )
    elif without:
        summary = f"{summary}, {without} have no {feed.updated_at}"
    return CheckResult(
        "updated_at", not elsewhere, summary, False, numbers, list(samples)[:SAMPLES]
    )


def _bounds(day: date, kind: pa.DataType, zone: ZoneInfo) -> tuple[pa.Scalar, pa.Scalar]:
    """Start of the day and of the next, as values of the column type."""
    days = (day, day + timedelta(1))
    if pa.types.is_date(kind):
        return pa.scalar(days[0], kind), pa.scalar(days[1], kind)
    midnights = [datetime.combine(each, time.min) for each in days]
    if kind.tz is not None:
        midnights = [each.replace(tzinfo=zone).astimezone(UTC) for each in midnights]
    return pa.scalar(midnights[0], kind), pa.scalar(midnights[1], kind)


def _keys(rows: pa.Table, paths: Sequence[Path]) -> Iterator[list[pa.Array]]:
    """Yield per batch the columns of the key, without rows where one of them is null."""
    for batch in rows.to_batches(_BATCH):
        parts = [_at(batch, path) for path in paths]
        if any(part.null_count for part in parts):
            complete = parts[0].is_valid()
            for part in parts[1:]:
                complete = pc.and_(complete, part.is_valid())
            parts = [part.filter(complete) for part in parts]
        yield parts


def _at(batch: pa.RecordBatch, path: Path) -> pa.Array:
    values = batch.column(path[0])
    for name in path[1:]:
        values = pc.struct_field(values, name)  # null where the record is null
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
    """Yield the keys with these hashes, repeated ones repeatedly."""
    at = 0
    for parts in _keys(rows, paths) if len(wanted) else ():
        here = np.isin(hashes[at : at + len(parts[0])], wanted)
        at += len(parts[0])
        if here.any():
            yield from zip(
                *(part.filter(pa.array(here)).to_pylist() for part in parts), strict=True
            )
