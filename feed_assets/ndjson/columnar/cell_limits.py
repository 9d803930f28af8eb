"""Whether keys may be data, thousands of them, of which columns would be made.

A column is as long as the longest: there are columns times rows of cells, whatever holds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from feed_assets.errors import ContentError
from feed_assets.ndjson.buffers import count_of
from feed_assets.ndjson.columnar.guards import FallBackToRows, Rows
from feed_assets.ndjson.inference.infer import Column

_MOST_CELLS, _CELLS_PER_BYTE = 8 << 20, 2
_TABLE_CELLS, _TABLE_CELLS_PER_BYTE = 64 << 20, 32
_ROW_CELLS, _ROW_CELLS_PER_BYTE = 16 << 20, 4
_BYTES_PER_COLUMN = 1 << 10  # in a block with less, looking at each row costs less
_LEAST_BYTES = 256 << 10  # so a small feed may have 256 columns
_LARGEST_SEARCHED, _SAMPLES, _SAMPLE_BYTES = 8 << 20, 8, 256 << 10
_STRINGS = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:)?+')
_PLAIN_KEYS, _APART = re.compile(rb'"([^"]*+)":'), re.compile(rb'"\s+:')


class TooManyColumns(Exception):
    """There are so many columns that the rows are better read one by one."""


def check_column_count(rows: Rows, columns: int) -> None:
    """For a block with that many columns; raises CrowdedError, or DistrustedError if large."""
    if columns * _BYTES_PER_COLUMN > max(len(rows.data), _LEAST_BYTES):
        raise TooManyColumns
    most = max(_MOST_CELLS, _CELLS_PER_BYTE * len(rows.data))  # more for a huge line
    if columns * len(rows) > most or columns * count_of("{", rows.data) > most:
        raise FallBackToRows("it may have too many cells")


def check_key_count(rows: Rows) -> None:
    """The same for a block of which the columns are not known: as many as it has keys."""
    data = rows.data
    if len(data) <= _LARGEST_SEARCHED:
        keys = distinct_keys(data)
    else:  # a huge line, of which samples will do
        starts = (data.find(b'{"', at) for at in range(0, len(data), len(data) // _SAMPLES))
        keys = set().union(
            *(distinct_keys(data[at : at + _SAMPLE_BYTES]) for at in starts if at >= 0)
        )
    check_column_count(rows, len(keys))


def distinct_keys(data: bytes) -> set[bytes]:
    """The keys of JSON. The usual way takes a third of the time, and sees where it does not do."""
    if b"\\" not in data and not _APART.search(data):
        keys = _PLAIN_KEYS.findall(data)
        if len(keys) == data.count(b'":'):  # else a string begins with a colon
            return set(keys)
    return {key[1:-1] for key, colon in _STRINGS.findall(data) if colon}


@dataclass(frozen=True)
class CellLimit:
    """How many cells the table of a feed may have: so many, or so many for each byte of the feed.

    A row of 100 bytes may have 3,200 columns. Beyond that nearly all cells are empty, and a
    warehouse is busy with them for minutes: DuckDB takes 6.9 GB to store 25,000 rows of 9,000
    columns without one value (docs/decisions, 0082).
    """

    bytes: int
    columns: Sequence[Column]

    @property
    def columns_per_row(self) -> int:
        """Columns outside of arrays: the cells of a row, at the least."""
        return sum(_count_flat_columns(each.type) for each in self.columns if each.type is not None)

    def check(self, cells: int) -> None:
        """Raises ContentError for a table with at least so many cells."""
        if cells > max(_TABLE_CELLS, _TABLE_CELLS_PER_BYTE * self.bytes):
            raise self._refusal(cells)

    def check_row(self, cells: int) -> None:
        """The same for a record of one row, or of the rows that are converted together.

        A row that is larger than these is alone, and is in memory as a whole.
        """
        if cells > max(_ROW_CELLS, _ROW_CELLS_PER_BYTE * self.bytes):
            raise self._refusal(cells)

    def _refusal(self, cells: int) -> ContentError:
        path, count = _widest("", self.columns)
        way = (
            f"declare that object as JSON (types: {{{path}: JSON}})"
            if path
            else "send them in one object under one key, and declare that as JSON "
            "(types: {the_key: JSON})"
        )
        return ContentError(
            f"the feed's {self.bytes:,} bytes would make a table of {cells:,} cells or more, "
            f"nearly all of them empty: {path or 'a row'} has {count:,} different keys. Keys that "
            f"are data cannot be columns: {way}"
        )


def _widest(path: str, columns: Sequence[Column]) -> tuple[str, int]:
    """The path, as sent, of the object with the most keys, and how many it has."""
    inside = (
        _widest(f"{path}.{each.key}" if path else each.key, each.fields)
        for each in columns
        if each.fields
    )
    return max(((path, len(columns)), *inside), key=lambda found: found[1])


def count_cells(array: pa.Array) -> int:
    """Of a column and the columns inside it."""
    if pa.types.is_list(array.type):
        return len(array) + count_cells(array.values)
    if pa.types.is_struct(array.type):
        fields = range(array.type.num_fields)
        return len(array) + sum(count_cells(array.field(index)) for index in fields)
    return len(array)


def _count_flat_columns(of: pa.DataType) -> int:
    if not pa.types.is_struct(of):
        return 1
    return 1 + sum(_count_flat_columns(of.field(index).type) for index in range(of.num_fields))


def count_columns(schema: pa.Schema) -> int:
    """Nested ones included."""
    return sum(_count_type_columns(field.type) for field in schema)


def _count_type_columns(of: pa.DataType) -> int:
    return 1 + sum(_count_type_columns(of.field(index).type) for index in range(of.num_fields))
