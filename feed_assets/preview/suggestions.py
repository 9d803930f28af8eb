"""Suggest `key` and `updated_at` for a feed from its rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feed_assets.ndjson import Column
from feed_assets.ndjson.buffers import Numbers

_KEY_NAME = re.compile(
    r"(?:^|[_\- ])(?:id|key|uuid|guid|number|no|nr)$|(?:Id|ID|Key|Uuid|UUID|Number|No|Nr)$"
)
_UPDATED_NAME = re.compile("updat|modif|(?<!ex)chang", re.IGNORECASE)
_OFFSET = re.compile(rb'"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(Z|[+-]\d\d(?::?\d\d)?)"')
_UTC = {"Z", "+00", "+0000", "+00:00", "-00:00"}
_MIN_ROWS = 20  # rows; with fewer, any column may be unique
_MAX_KEY_BYTES = 64  # bytes
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of FNV-1a


@dataclass(frozen=True)
class Suggestions:
    """Suggested columns, by their names in the feed."""

    key: str | None
    updated_at: str | None
    offsets: Sequence[str] = ()
    """Offsets from UTC that all times have, of which there are two at most: `+01:00`, `+02:00`."""


def suggestions(columns: Sequence[Column], rows: pa.Table, start: bytes = b"") -> Suggestions:
    """Suggest columns, and look for offsets in the `start` of the feed.

    Needs 8 bytes of memory per row.
    """
    usual = [each for each in columns if each.type is not None and "." not in each.key]
    return Suggestions(_key(usual, rows), _updated_at(usual), _offsets(start))


def _offsets(start: bytes) -> Sequence[str]:
    """Return the offsets of one time zone, in summer and in winter; none if there is UTC or more.

    Only a person knows which time zone has them.
    """
    found = sorted({offset.decode() for offset in _OFFSET.findall(start)})
    return found if len(found) <= 2 and not _UTC & {*found} else ()


def _key(columns: Sequence[Column], rows: pa.Table) -> str | None:
    named = [each for each in columns if _KEY_NAME.search(each.key)]
    others = [each for each in columns if each not in named] if len(rows) >= _MIN_ROWS else []
    for column in (*named, *others):
        if column.type in (pa.string(), pa.int64()) and _is_unique(rows.column(column.name)):
            return column.key
    return None


def _updated_at(columns: Sequence[Column]) -> str | None:
    for column in columns:
        is_time = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
        if is_time and _UPDATED_NAME.search(column.key):
            return column.key
    return None


def _is_unique(values: pa.ChunkedArray) -> bool:
    """Return whether every row has a different value.

    Compares 64-bit hashes of strings, so one feed in a billion may be misjudged.
    """
    if not len(values) or values.null_count:
        return False
    every, at = np.empty(len(values), np.uint64), 0
    for numbers in _numbers(values):
        if numbers is None:
            return False
        here = every[at : at + len(numbers)]
        here[:] = numbers.view(np.uint64)
        if not _all_differ(here):
            return False
        at += len(numbers)
    return _all_differ(every)


def _all_differ(numbers: Numbers) -> bool:
    """Return whether the numbers are all different; sorts them in place."""
    numbers.sort()
    return bool((numbers[1:] != numbers[:-1]).all())


def _numbers(values: pa.ChunkedArray) -> Iterator[Numbers | None]:
    for chunk in values.chunks:
        if pa.types.is_int64(chunk.type):
            all_of_it = np.frombuffer(chunk.buffers()[1], np.int64)
            yield all_of_it[chunk.offset : chunk.offset + len(chunk)]
        else:
            yield _hashes(chunk)


def _hashes(strings: pa.Array) -> Numbers | None:
    """Return a hash per string, or None if one is too long for a key."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)
    offsets = offsets[strings.offset : strings.offset + len(strings) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    longest = int(lengths.max(initial=0))
    if longest > _MAX_KEY_BYTES or not longest:
        return None
    data = np.frombuffer(strings.buffers()[2], np.uint8)
    found = np.full(len(starts), _SEED)
    for at in range(longest):
        within = lengths > at
        some = slice(None) if within.all() else within
        found[some] = (found[some] ^ data[starts[some] + at]) * _PRIME
    return found
