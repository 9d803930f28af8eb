"""Convert rows to the columns of their table, a batch at a time."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.errors import UnsupportedColumn
from feed_assets.schema.columns import Column, Columns, arrow_schema, columns_of
from feed_assets.schema.decimals import are_plain

BATCH = 65_536  # rows
EXACT = 2**53  # the integers up to here are doubles, too


def columns_in(rows: pa.Table) -> Columns:
    """Return the columns for these rows, with `long` for integers beyond 2^53."""
    return tuple(_measured(column, rows.column(column.name)) for column in columns_of(rows.schema))


def _measured(column: Column, values: pa.ChunkedArray) -> Column:
    for chunk in values.chunks:
        if column.repeated:
            chunk = chunk.flatten()
            if chunk.null_count:
                raise UnsupportedColumn(
                    f"column {column.name} has arrays with null elements, which BigQuery does not "
                    f"allow; drop them first"
                )
        if column.type == "RECORD":
            fields = (
                _measured(f, pa.chunked_array([_child(chunk, f.name)])) for f in column.fields
            )
            column = replace(
                column,
                fields=tuple(_longer(*both) for both in zip(column.fields, fields, strict=True)),
            )
        elif column.type == "INTEGER" and not column.long:
            least, most = pc.min_max(chunk).values()
            beyond = most.is_valid and (most.as_py() > EXACT or least.as_py() < -EXACT)
            column = replace(column, long=beyond)
    return column


def _longer(one: Column, other: Column) -> Column:
    fields = tuple(_longer(*both) for both in zip(one.fields, other.fields, strict=True))
    return replace(one, long=one.long or other.long, fields=fields)


def _child(values: pa.StructArray, name: str) -> pa.Array:
    """Return a field's values, null where the parent is null."""
    return pc.struct_field(values, name)


def conform(rows: pa.Table | pa.RecordBatchReader, columns: Columns) -> pa.RecordBatchReader:
    """Convert rows to `columns`: cast to wider types, NULL for missing columns."""
    schema = arrow_schema(columns)
    return pa.RecordBatchReader.from_batches(schema, _batches(rows, columns, schema))


def _batches(
    rows: pa.Table | pa.RecordBatchReader, columns: Columns, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    places = {field.name.casefold(): index for index, field in enumerate(rows.schema)}
    for batch in rows.to_batches(max_chunksize=BATCH) if isinstance(rows, pa.Table) else rows:
        arrays = [
            _fit(batch.column(places[column.name.casefold()]), column)
            if column.name.casefold() in places
            else pa.nulls(batch.num_rows, column.arrow)
            for column in columns
        ]
        yield pa.record_batch(arrays, schema=schema)


def _fit(values: pa.Array, column: Column) -> pa.Array:
    if values.type == column.arrow:
        return values
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), column.arrow)
    if column.repeated:
        element = replace(column, repeated=False)
        flat = _fit(values.flatten(), element)
        lengths = pc.fill_null(pc.list_value_length(values), 0)
        offsets = pa.concat_arrays(
            [pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())]
        )
        return pa.ListArray.from_arrays(offsets, flat, mask=values.is_null())
    if column.type == "RECORD":
        named = {field.name.casefold(): field.name for field in values.type}
        children = [
            _fit(_child(values, named[f.name.casefold()]), f)
            if f.name.casefold() in named
            else pa.nulls(len(values), f.arrow)
            for f in column.fields
        ]
        fields = [field.arrow_field for field in column.fields]
        return pa.StructArray.from_arrays(children, fields=fields, mask=values.is_null())
    if column.arrow == pa.string() and not _is_text(values.type):
        return decimal_texts(values) if pa.types.is_decimal(values.type) else _texts(values)
    if pa.types.is_decimal(column.arrow) and _is_text(values.type):
        return _decimals(values, column.arrow)
    if pa.types.is_temporal(values.type) and getattr(values.type, "unit", "") == "ns":
        values = _floor_to_microseconds(values)
    # Arrow's safe cast between numbers, decimals or times raises ArrowInvalid unless it is exact.
    return values.cast(column.arrow)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _decimals(texts: pa.Array, to: pa.DataType) -> pa.Array:
    """Parse decimals in plain digits; raise ArrowInvalid for any other text."""
    if pc.any(pc.invert(are_plain(texts, to))).as_py():
        raise pa.ArrowInvalid(f"a text is not a valid {to}")
    return texts.cast(to)  # exact for what is plain


def _floor_to_microseconds(values: pa.Array) -> pa.Array:
    """Round nanoseconds down to microseconds, also before 1970."""
    zoneless = values.view(pa.timestamp("ns")) if pa.types.is_timestamp(values.type) else values
    return pc.floor_temporal(zoneless, unit="microsecond").view(values.type)


def with_positive_zeros(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Replace each -0.0 by 0.0, which is equal to it."""
    batches = (
        pa.record_batch([_positive_zeros(each) for each in batch.columns], schema=rows.schema)
        for batch in rows
    )
    return pa.RecordBatchReader.from_batches(rows.schema, batches)


def _positive_zeros(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        return pc.add(values, pa.scalar(0.0, values.type))  # exact; -0.0 + 0.0 is 0.0
    if pa.types.is_struct(values.type):
        children = [
            _positive_zeros(child) for child in map(values.field, range(values.type.num_fields))
        ]
        return pa.StructArray.from_arrays(children, fields=list(values.type), mask=values.is_null())
    if pa.types.is_list(values.type):
        elements, buffers = _positive_zeros(values.values), values.buffers()[:2]
        return pa.Array.from_buffers(
            values.type, len(values), buffers, offset=values.offset, children=[elements]
        )
    return values


def decimal_texts(values: pa.Array) -> pa.Array:
    """Format decimals as digits, without exponents and trailing zeros.

    Exact: Arrow writes every digit of a decimal, and Python's `f` those of one with an exponent.
    """
    texts = values.cast(pa.string())
    if pc.any(pc.match_substring(texts, "E")).as_py():
        plain = [None if value is None else f"{value:f}" for value in values.to_pylist()]
        texts = pa.array(plain, pa.string())
    return pc.replace_substring_regex(texts, r"(\.[0-9]*[1-9])0+$|\.0+$", r"\1")


def _texts(values: pa.Array) -> pa.Array:
    return pa.array([_json_text(value) for value in values.to_pylist()], pa.string())


def _json_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict | list | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=_json_text)
    return None if value is None else str(value)
