"""Statistics of each column: its share of nulls, and an example."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from feed_assets.ndjson.buffers import positions, without_empty
from feed_assets.schema.columns import Column, Columns

_ELEMENTS = 3  # array elements in an example
_MIDNIGHT, _NO_FRACTION = " 00:00:00", ".000000"


@dataclass
class ColumnStats:
    """Statistics of one column. `values` counts rows, or elements inside a REPEATED record."""

    column: Column
    depth: int
    values: int = 0
    nulls: int = 0
    """Includes empty arrays, which BigQuery stores as NULL."""
    example: str | None = None


def column_stats(columns: Columns, rows: pa.Table) -> list[ColumnStats]:
    """Compute the statistics of every column; a record comes before its fields."""
    found = list(_empty_stats(columns, 0))
    for batch in rows.to_batches():
        left = iter(found)
        for column, array in zip(columns, batch.columns, strict=True):
            _add_batch(column, array, left)
    return found


def _empty_stats(columns: Columns, depth: int) -> Iterator[ColumnStats]:
    for column in columns:
        yield ColumnStats(column, depth)
        yield from _empty_stats(column.fields, depth + 1)


def _add_batch(column: Column, array: pa.Array, left: Iterator[ColumnStats]) -> None:
    stats = next(left)
    stats.values += len(array)
    if column.repeated:
        values = array.flatten()
        stats.nulls += len(array) - array.value_lengths().cast(pa.bool_()).true_count
    else:
        values = array
        stats.nulls += array.null_count
    if column.fields:
        for field, inside in zip(column.fields, values.flatten(), strict=True):
            _add_batch(field, inside, left)
    elif stats.example is None:
        stats.example = _first_value(array, column)


def _first_value(array: pa.Array, column: Column) -> str | None:
    """Return the first value that is neither null nor empty."""
    if not column.repeated:
        if pa.types.is_string(array.type):
            array = without_empty(array)
        found = positions(array)
        return _format(array.slice(int(found[0]), 1)) if len(found) else None
    values = array.flatten()
    if not len(values):
        return None
    first = next(at for at in positions(array).tolist() if len(array[at]))
    elements = array[first].values
    texts = [_format(elements.slice(at, 1)) for at in range(min(len(elements), _ELEMENTS))]
    return ", ".join([*texts, "…"] if len(elements) > _ELEMENTS else texts)


def _format(one: pa.Array) -> str:
    """Format the array's only value for people; midnight as a date only."""
    if pa.types.is_binary(one.type):
        return b64encode(one[0].as_py()).decode()
    text = str(one.cast(pa.string())[0])  # exact; `as_py` of a time would import pandas
    if pa.types.is_timestamp(one.type) or pa.types.is_time(one.type):
        zone = "Z" if text.endswith("Z") else ""
        text = text.removesuffix("Z").removesuffix(_NO_FRACTION)
        text = text.removesuffix(_MIDNIGHT) if not zone else text + zone
    elif pa.types.is_decimal(one.type):
        text = f"{Decimal(text):f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text
