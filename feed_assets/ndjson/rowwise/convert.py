"""Convert rows to Arrow arrays of the inferred types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa

from feed_assets.ndjson.columnar.cell_limits import CellLimit
from feed_assets.ndjson.datatypes.datetimes import microseconds, parse_datetime
from feed_assets.ndjson.datatypes.kinds import DeclaredType, is_empty
from feed_assets.ndjson.inference.infer import Column
from feed_assets.ndjson.rowwise import arrow_builders
from feed_assets.ndjson.strict_json import Row
from feed_assets.schema.datatypes import BY_NAME

Conversion = Callable[[list[Any]], pa.Array]
_Fields = Sequence[tuple[str, Conversion]]
_FULL = 2  # visit every cell if at least one in so many has a value


class RowConverter:
    """Converter of the rows from which the columns were inferred."""

    def __init__(self, columns: Sequence[Column], limit: CellLimit) -> None:
        """`columns` are those of the whole row."""
        self._limit = limit
        self.dropped_nulls: Counter[str] = Counter()
        """Number of null elements dropped, as BigQuery has none, by the array's path."""
        typed = [column for column in columns if column.type is not None]
        self.schema = pa.schema([(column.name, column.type) for column in typed])
        self._columns = [(column.key, self._of_column(column, "")) for column in typed]

    def batch(self, rows: list[Row]) -> pa.RecordBatch:
        """Convert rows to one batch of the schema."""
        found = _arrays(rows, self._columns)
        return pa.RecordBatch.from_arrays(found, schema=self.schema)

    def _of_column(self, column: Column, parent: str) -> Conversion:
        if column.declared and column.type != pa.string():
            return of_declared(column.declared)
        return self._of_value(column, column.type, f"{parent}{column.key}")

    def _of_value(self, column: Column, to: pa.DataType, path: str) -> Conversion:
        if pa.types.is_struct(to):
            return self._of_record(column.fields, to, path)
        if pa.types.is_list(to):
            elements = dict if pa.types.is_struct(to.value_type) else None
            return self._of_array(self._of_value(column, to.value_type, path), path, elements)
        return _but_empty(_SCALARS[to], None)

    def _of_record(self, columns: Sequence[Column], to: pa.DataType, path: str) -> Conversion:
        fields = [
            (column.key, self._of_column(column, f"{path}."))
            for column in columns
            if column.type is not None
        ]

        def convert(values: list[Any]) -> pa.Array:
            self._limit.check_row(len(values) * len(fields))
            return arrow_builders.structs(values, to, _arrays(values, fields))

        return _but_empty(convert, dict)

    def _of_array(
        self, of_elements: Conversion, path: str, empty_element: type | None
    ) -> Conversion:
        """Drop null elements, and empty ones unless of the type `empty_element`."""

        def convert(values: list[Any]) -> pa.Array:
            lists = [
                None
                if value is None
                else [
                    each
                    for each in value
                    if each is not None
                    and (each or type(each) is empty_element or not is_empty(each))
                ]
                for value in values
            ]
            flat = [each for value in lists if value for each in value]
            dropped = sum(len(value) for value in values if value) - len(flat)
            if dropped:
                self.dropped_nulls[path] += dropped
            return arrow_builders.lists(lists, of_elements(flat))

        return _but_empty(convert, list)


def _arrays(objects: Sequence[Row | None], fields: _Fields) -> list[pa.Array]:
    """Convert the fields of objects to arrays as long as `objects`.

    The time depends on the number of values, not of cells: most fields of a wide object are absent.
    """
    count = len(objects)
    if len(fields) * count <= _FULL * sum(len(each) for each in objects if each):
        return [
            convert([None if each is None else each.get(key) for each in objects])
            for key, convert in fields
        ]
    found: dict[str, tuple[list[int], list[Any]]] = {key: ([], []) for key, _ in fields}
    for at, each in enumerate(objects):
        for key, value in each.items() if each else ():
            if value is not None and key in found:
                places, values = found[key]
                places.append(at)
                values.append(value)
    return [
        arrow_builders.spread(convert(found[key][1]), found[key][0], count)
        for key, convert in fields
    ]


def of_declared(declared: DeclaredType) -> Conversion:
    """Return the conversion of a declared type that is not stored as text."""
    to, fill = declared.arrow, _filling(arrow_builders.integers, declared.arrow)
    if pa.types.is_decimal(to):
        fill = _filling(arrow_builders.decimals, to)
    elif pa.types.is_binary(to):
        fill = _filling(arrow_builders.binaries, to)
    elif pa.types.is_boolean(to):
        fill = arrow_builders.booleans
    elif pa.types.is_floating(to):
        fill = arrow_builders.doubles
    convert = declared.convert
    return lambda values: fill(
        [None if value is None or is_empty(value) else convert(value) for value in values]
    )


def _but_empty(convert: Conversion, of: type | None) -> Conversion:
    """Convert empty objects and arrays to null, except those of the type `of`."""

    def convert_others(values: list[Any]) -> pa.Array:
        return convert(
            [
                None if not value and type(value) is not of and is_empty(value) else value
                for value in values
            ]
        )

    return convert_others


def _filling(fill: Callable[[list[Any], pa.DataType], pa.Array], to: pa.DataType) -> Conversion:
    return lambda values: fill(values, to)


def _integers(values: list[Any]) -> pa.Array:
    """Convert integers exactly: they were observed to have 64 bits and at most 20 characters."""
    return arrow_builders.integers(
        [None if text is None else int(text) for text in values], pa.int64()
    )


def _doubles(values: list[Any]) -> pa.Array:
    """Convert to the nearest doubles; exact for integers, which were observed to be within 2^53."""
    return arrow_builders.doubles([None if text is None else float(text) for text in values])


def _moments(to: pa.DataType) -> Conversion:
    return lambda values: arrow_builders.integers(
        [None if text is None else _microseconds(text) for text in values], to
    )


def _microseconds(text: str) -> int:
    return microseconds(cast("datetime", parse_datetime(text)))  # it was observed as one


def _strings(values: list[Any]) -> pa.Array:
    """Convert strings, and numbers as source text; objects are raw JSON text by now."""
    return arrow_builders.strings(
        [_BOOLEANS[each] if type(each) is bool else each for each in values]
    )


_BOOLEANS = {True: "true", False: "false"}

_SCALARS: dict[pa.DataType, Conversion] = {
    BY_NAME["BOOLEAN"].arrow: arrow_builders.booleans,
    BY_NAME["INTEGER"].arrow: _integers,
    BY_NAME["FLOAT"].arrow: _doubles,
    BY_NAME["DATETIME"].arrow: _moments(BY_NAME["DATETIME"].arrow),
    BY_NAME["TIMESTAMP"].arrow: _moments(BY_NAME["TIMESTAMP"].arrow),
    BY_NAME["STRING"].arrow: _strings,
}
