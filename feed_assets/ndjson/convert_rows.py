"""Rows to Arrow arrays of the resolved types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa

from feed_assets.ndjson import arrays
from feed_assets.ndjson.declared import Declared
from feed_assets.ndjson.moments import microseconds, moment
from feed_assets.ndjson.parse import Row
from feed_assets.ndjson.resolve import Column

Conversion = Callable[[list[Any]], pa.Array]


class RowConverter:
    """Converts batches of the rows that the columns were resolved from."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """`columns` are those of the row."""
        self.dropped_nulls: Counter[str] = Counter()
        """Null elements of arrays, which BigQuery's arrays cannot hold, by path as sent."""
        typed = [column for column in columns if column.type is not None]
        self.schema = pa.schema([(column.name, column.type) for column in typed])
        self._columns = [(column.key, self._of_column(column, "")) for column in typed]

    def batch(self, rows: list[Row]) -> pa.RecordBatch:
        """The rows as one batch of the schema."""
        found = [convert([row.get(key) for row in rows]) for key, convert in self._columns]
        return pa.RecordBatch.from_arrays(found, schema=self.schema)

    def _of_column(self, column: Column, parent: str) -> Conversion:
        if column.declared and column.type != pa.string():
            return of_declared(column.declared)
        return self._of_value(column, column.type, f"{parent}{column.key}")

    def _of_value(self, column: Column, to: pa.DataType, path: str) -> Conversion:
        if pa.types.is_struct(to):
            return self._of_record(column.fields, to, path)
        if pa.types.is_list(to):
            return self._of_array(self._of_value(column, to.value_type, path), path)
        return _SCALARS[to]

    def _of_record(self, columns: Sequence[Column], to: pa.DataType, path: str) -> Conversion:
        fields = [
            (column.key, self._of_column(column, f"{path}."))
            for column in columns
            if column.type is not None
        ]

        def convert(values: list[Any]) -> pa.Array:
            found = [
                of_field([None if value is None else value.get(key) for value in values])
                for key, of_field in fields
            ]
            return arrays.structs(values, to, found)

        return convert

    def _of_array(self, of_elements: Conversion, path: str) -> Conversion:
        def convert(values: list[Any]) -> pa.Array:
            kept = [
                None if value is None else [each for each in value if each is not None]
                for value in values
            ]
            flat = [each for value in kept if value for each in value]
            dropped = sum(len(value) for value in values if value) - len(flat)
            if dropped:
                self.dropped_nulls[path] += dropped
            return arrays.lists(kept, of_elements(flat))

        return convert


def of_declared(declared: Declared) -> Conversion:
    """Of values that it holds; not of those that are kept as text."""
    to, fill = declared.arrow, _filling(arrays.integers, declared.arrow)
    if pa.types.is_decimal(to):
        fill = _filling(arrays.decimals, to)
    elif pa.types.is_binary(to):
        fill = _filling(arrays.binaries, to)
    elif pa.types.is_boolean(to):
        fill = arrays.booleans
    elif pa.types.is_floating(to):
        fill = arrays.doubles
    convert = declared.convert
    return lambda values: fill([None if value is None else convert(value) for value in values])


def _filling(fill: Callable[[list[Any], pa.DataType], pa.Array], to: pa.DataType) -> Conversion:
    return lambda values: fill(values, to)


def _integers(values: list[Any]) -> pa.Array:
    """Exact: the texts were observed as integers of 64 bits, of 20 characters at most."""
    return arrays.integers([None if text is None else int(text) for text in values], pa.int64())


def _doubles(values: list[Any]) -> pa.Array:
    """The nearest doubles; exact for an integer, as it was observed to be at most 2^53."""
    return arrays.doubles([None if text is None else float(text) for text in values])


def _moments(to: pa.DataType) -> Conversion:
    return lambda values: arrays.integers(
        [None if text is None else _microseconds(text) for text in values], to
    )


def _microseconds(text: str) -> int:
    return microseconds(cast("datetime", moment(text)))  # it was observed as a moment


def _strings(values: list[Any]) -> pa.Array:
    """A string as it is, a number as it was sent; JSON text has been cut out by now."""
    return arrays.strings([_BOOLEANS[each] if type(each) is bool else each for each in values])


_BOOLEANS = {True: "true", False: "false"}

_SCALARS: dict[pa.DataType, Conversion] = {
    pa.bool_(): arrays.booleans,
    pa.int64(): _integers,
    pa.float64(): _doubles,
    pa.timestamp("us"): _moments(pa.timestamp("us")),
    pa.timestamp("us", "UTC"): _moments(pa.timestamp("us", "UTC")),
    pa.string(): _strings,
}
