"""Whether the keys of a block may be data, thousands of them, of which Arrow would make columns.

Arrow fills each column up to the length of the longest: columns times rows, whatever holds nothing.
"""

from __future__ import annotations

import re

import pyarrow as pa

from feed_assets.ndjson.rows import DistrustedError, Rows

_MOST_CELLS = 16 << 20
_BYTES_PER_COLUMN = 1 << 10  # in a block with less, looking at each row costs less
_LEAST_BYTES = 256 << 10  # so a small feed may have 256 columns
_KEYS = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:)?+')


class CrowdedError(Exception):
    """There are so many columns that the rows are better read one by one."""


def refuse_crowd(rows: Rows, columns: int) -> None:
    """For a block with that many columns; raises CrowdedError, or DistrustedError if large."""
    if columns * _BYTES_PER_COLUMN > max(len(rows.data), _LEAST_BYTES):
        raise CrowdedError
    if columns * len(rows) > _MOST_CELLS and columns * rows.data.count(b"{") > _MOST_CELLS:
        raise DistrustedError("it may have too many cells")


def refuse_new_crowd(rows: Rows) -> None:
    """The same for a block of which the columns are not known."""
    keys = [key for key, colon in _KEYS.findall(rows.data) if colon]
    distinct = len(set(keys))
    if distinct * _BYTES_PER_COLUMN > max(len(rows.data), _LEAST_BYTES):
        raise CrowdedError
    objects = rows.data.count(b"{")
    paths = distinct if objects == len(rows) else len(keys)
    if paths * objects > _MOST_CELLS:
        raise DistrustedError("it may have too many cells")


def width(schema: pa.Schema) -> int:
    """Nested ones included."""
    return sum(_count(field.type) for field in schema)


def _count(of: pa.DataType) -> int:
    return 1 + sum(_count(of.field(index).type) for index in range(of.num_fields))
