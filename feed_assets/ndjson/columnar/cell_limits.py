"""Limit the number of cells, for feeds whose keys are data and would become thousands of columns.

Every column has a cell for every row, also where the row does not have the key.
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
_BYTES_PER_COLUMN = 1 << 10  # in a block with fewer, the row-wise reader is faster
_LEAST_BYTES = 256 << 10  # so a small feed can have 256 columns
_LARGEST_SEARCHED, _SAMPLES, _SAMPLE_BYTES = 8 << 20, 8, 256 << 10
_STRINGS = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:)?+')
_PLAIN_KEYS, _APART = re.compile(rb'"([^"]*+)":'), re.compile(rb'"\s+:')


class TooManyColumns(Exception):
    """The block has so many columns that the row-wise reader is faster."""


def check_column_count(rows: Rows, columns: int) -> None:
    """Raise TooManyColumns, or FallBackToRows for too many cells, given a number of columns."""
    if columns * _BYTES_PER_COLUMN > max(len(rows.data), _LEAST_BYTES):
        raise TooManyColumns
    most = max(_MOST_CELLS, _CELLS_PER_BYTE * len(rows.data))  # more for a huge line
    if columns * len(rows) > most or columns * count_of("{", rows.data) > most:
        raise FallBackToRows("it may have too many cells")


def check_key_count(rows: Rows) -> None:
    """Check a block whose columns are unknown by the number of its keys."""
    data = rows.data
    if len(data) <= _LARGEST_SEARCHED:
        keys = distinct_keys(data)
    else:  # a huge line: samples suffice
        starts = (data.find(b'{"', at) for at in range(0, len(data), len(data) // _SAMPLES))
        keys = set().union(
            *(distinct_keys(data[at : at + _SAMPLE_BYTES]) for at in starts if at >= 0)
        )
    check_column_count(rows, len(keys))


def distinct_keys(data: bytes) -> set[bytes]:
    """Return the distinct keys of JSON. The common case takes a third of the time."""
    if b"\\" not in data and not _APART.search(data):
        keys = _PLAIN_KEYS.findall(data)
        if len(keys) == data.count(b'":'):  # else a string begins with a colon
            return set(keys)
    return {key[1:-1] for key, colon in _STRINGS.findall(data) if colon}


@dataclass(frozen=True)
class CellLimit:
    """Limit on the cells of a feed's table: a fixed number, or a number per byte of the feed.

    A row of 100 bytes can have 3,200 columns. Beyond that nearly all cells are empty, and a
    warehouse needs minutes for them: DuckDB takes 6.9 GB to store 25,000 rows of 9,000
    columns without one value (docs/decisions, 0082).
    """

    bytes: int
    columns: Sequence[Column]

    @property
    def columns_per_row(self) -> int:
        """Number of columns outside arrays, the minimum of cells in a row."""
        return sum(_count_flat_columns(each.type) for each in self.columns if each.type is not None)

    def check(self, cells: int) -> None:
        """Raise ContentError for a table with at least that many cells."""
        if cells > max(_TABLE_CELLS, _TABLE_CELLS_PER_BYTE * self.bytes):
            raise self._refusal(cells)

    def check_row(self, cells: int) -> None:
        """Raise ContentError for the cells of rows that are converted together in memory.

        A large row is converted alone.
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
    """Return the feed's path of the object with the most keys, and their number."""
    inside = (
        _widest(f"{path}.{each.key}" if path else each.key, each.fields)
        for each in columns
        if each.fields
    )
    return max(((path, len(columns)), *inside), key=lambda found: found[1])


def count_cells(array: pa.Array) -> int:
    """Count the cells of a column and the columns nested in it."""
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
    """Count the columns of a schema, nested ones included."""
    return sum(_count_type_columns(field.type) for field in schema)


def _count_type_columns(of: pa.DataType) -> int:
    return 1 + sum(_count_type_columns(of.field(index).type) for index in range(of.num_fields))
