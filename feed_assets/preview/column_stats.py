"""Of each column, how much of it is null, and one of its values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from feed_assets.ndjson.buffers import positions, without_empty
from feed_assets.schema.columns import Column, Columns

_ELEMENTS = 3  # of an array that is an example
_MIDNIGHT, _NO_FRACTION = " 00:00:00", ".000000"


@dataclass
class Facts:
    """Of one column. `values` are the rows, within a REPEATED record its elements."""

    column: Column
    depth: int
    values: int = 0
    nulls: int = 0
    """Empty arrays among them, which BigQuery stores as it does null."""
    example: str | None = None


def facts_of(columns: Columns, rows: pa.Table) -> list[Facts]:
    """Those of each column, records before what they hold."""
    found = list(_unknown(columns, 0))
    for batch in rows.to_batches():
        left = iter(found)
        for column, array in zip(columns, batch.columns, strict=True):
            _look(column, array, left)
    return found


def _unknown(columns: Columns, depth: int) -> Iterator[Facts]:
    for column in columns:
        yield Facts(column, depth)
        yield from _unknown(column.fields, depth + 1)


def _look(column: Column, array: pa.Array, left: Iterator[Facts]) -> None:
    facts = next(left)
    facts.values += len(array)
    if column.repeated:
        values = array.flatten()
        facts.nulls += len(array) - array.value_lengths().cast(pa.bool_()).true_count
    else:
        values = array
        facts.nulls += array.null_count
    if column.fields:
        for field, inside in zip(column.fields, values.flatten(), strict=True):
            _look(field, inside, left)
    elif facts.example is None:
        facts.example = _example(array, column)


def _example(array: pa.Array, column: Column) -> str | None:
    """The first that is something; an empty text is not."""
    if not column.repeated:
        if pa.types.is_string(array.type):
            array = without_empty(array)
        found = positions(array)
        return _text(array.slice(int(found[0]), 1)) if len(found) else None
    values = array.flatten()
    if not len(values):
        return None
    first = next(at for at in positions(array).tolist() if len(array[at]))
    elements = array[first].values
    texts = [_text(elements.slice(at, 1)) for at in range(min(len(elements), _ELEMENTS))]
    return ", ".join([*texts, "…"] if len(elements) > _ELEMENTS else texts)


def _text(one: pa.Array) -> str:
    """The array's one value as a person writes it: of a midnight, its date."""
    if pa.types.is_binary(one.type):
        return b64encode(one[0].as_py()).decode()
    text = str(one.cast(pa.string())[0])  # `as_py` of a time would import pandas
    if pa.types.is_timestamp(one.type) or pa.types.is_time(one.type):
        zone = "Z" if text.endswith("Z") else ""
        text = text.removesuffix("Z").removesuffix(_NO_FRACTION)
        text = text.removesuffix(_MIDNIGHT) if not zone else text + zone
    elif pa.types.is_decimal(one.type):
        text = f"{Decimal(text):f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text
