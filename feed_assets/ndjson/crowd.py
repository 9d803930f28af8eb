"""Whether the keys of a block may be data, thousands of them, of which Arrow would make columns.

Arrow fills each column up to the length of the longest: columns times rows, whatever holds nothing.
"""

from __future__ import annotations

import re

import pyarrow as pa

from feed_assets.ndjson.indexes import count_of
from feed_assets.ndjson.rows import DistrustedError, Rows

_MOST_CELLS, _CELLS_PER_BYTE = 16 << 20, 2
_BYTES_PER_COLUMN = 1 << 10  # in a block with less, looking at each row costs less
_LEAST_BYTES = 256 << 10  # so a small feed may have 256 columns
_LARGEST_SEARCHED, _SAMPLES, _SAMPLE_BYTES = 8 << 20, 8, 256 << 10
_STRINGS = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:)?+')
_PLAIN_KEYS, _APART = re.compile(rb'"([^"]*+)":'), re.compile(rb'"\s+:')


class CrowdedError(Exception):
    """There are so many columns that the rows are better read one by one."""


def refuse_crowd(rows: Rows, columns: int) -> None:
    """For a block with that many columns; raises CrowdedError, or DistrustedError if large."""
    if columns * _BYTES_PER_COLUMN > max(len(rows.data), _LEAST_BYTES):
        raise CrowdedError
    most = max(_MOST_CELLS, _CELLS_PER_BYTE * len(rows.data))  # more for a huge line
    if columns * len(rows) > most or columns * count_of("{", rows.data) > most:
        raise DistrustedError("it may have too many cells")


def refuse_new_crowd(rows: Rows) -> None:
    """The same for a block of which the columns are not known: as many as it has keys."""
    data = rows.data
    if len(data) <= _LARGEST_SEARCHED:
        keys = keys_in(data)
    else:  # a huge line, of which samples will do
        starts = (data.find(b'{"', at) for at in range(0, len(data), len(data) // _SAMPLES))
        keys = set().union(*(keys_in(data[at : at + _SAMPLE_BYTES]) for at in starts if at >= 0))
    refuse_crowd(rows, len(keys))


def keys_in(data: bytes) -> set[bytes]:
    """The keys of JSON. The usual way takes a third of the time, and sees where it does not do."""
    if b"\\" not in data and not _APART.search(data):
        keys = _PLAIN_KEYS.findall(data)
        if len(keys) == data.count(b'":'):  # else a string begins with a colon
            return set(keys)
    return {key[1:-1] for key, colon in _STRINGS.findall(data) if colon}


def width(schema: pa.Schema) -> int:
    """Nested ones included."""
    return sum(_count(field.type) for field in schema)


def _count(of: pa.DataType) -> int:
    return 1 + sum(_count(of.field(index).type) for index in range(of.num_fields))
