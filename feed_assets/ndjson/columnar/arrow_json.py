"""Parse rows with `pyarrow.json`, which must leave every string a string."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.json

Hints = dict[str, pa.DataType]
"""Types of columns in earlier blocks, by key; null for columns without values."""


def read_with_schema(data: bytes | pa.Buffer, hints: Hints) -> pa.Table:
    """Parse rows of exactly the types in `hints`; raise ArrowInvalid for others."""
    return _read(data, hints, "error")


def read_inferring(data: bytes | pa.Buffer, hints: Hints) -> pa.Table:
    """Parse rows and infer their types; raise ArrowInvalid, or UnicodeDecodeError for a key."""
    sure = {key: known for key, of in hints.items() if (known := _without_nulls(of)) is not None}
    table = _read(data, sure)
    unlike = {
        field.name: _without_nulls(_hint(field.type))
        for field in table.schema
        if _has_timestamps(field.type)
    }
    # Arrow parses strings as timestamps if all look like them, and would lose their text.
    return _read(data, merge_hints(sure, unlike)) if unlike else table


def read_column(data: bytes, column: str, to: pa.DataType) -> pa.Array:
    """Parse one column; the others are skipped, and so are most of their errors."""
    return _single(_read(data, {column: to}, "ignore").column(0))


def hints_from(schema: pa.Schema) -> Hints:
    """Return the hints for rows like those of a schema."""
    return {field.name: _hint(field.type) for field in schema}


def merge_hints(one: Hints, other: Hints) -> Hints:
    """Merge hints; where they disagree, `other` wins."""
    found = dict(one)
    for key, hint in other.items():
        found[key] = _merge_hint(found[key], hint) if key in found else hint
    return found


def _merge_hint(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = merge_hints(
            {each.name: each.type for each in one}, {f.name: f.type for f in other}
        )
        return pa.struct(fields)
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_merge_hint(one.value_type, other.value_type))
    if pa.types.is_null(other) or (pa.types.is_floating(one) and pa.types.is_integer(other)):
        return one
    return other


def _hint(of: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(of):
        return pa.struct([(each.name, _hint(each.type)) for each in of])
    if pa.types.is_list(of):
        return pa.list_(_hint(of.value_type))
    return pa.string() if pa.types.is_temporal(of) else of


def _without_nulls(of: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(of):
        inside = [(each.name, _without_nulls(each.type)) for each in of]
        return pa.struct([field for field in inside if field[1] is not None])
    if pa.types.is_list(of):
        elements = _without_nulls(of.value_type)
        return None if elements is None else pa.list_(elements)
    return None if pa.types.is_null(of) else of


def _has_timestamps(of: pa.DataType) -> bool:
    while pa.types.is_list(of):  # a loop, since a short line can open 500 arrays
        of = of.value_type
    if pa.types.is_struct(of):
        return any(_has_timestamps(each.type) for each in of)
    return bool(pa.types.is_temporal(of))


def _read(data: bytes | pa.Buffer, hints: Hints, unexpected: str = "infer") -> pa.Table:
    source = pa.BufferReader(data)
    return pyarrow.json.read_json(
        source,
        pyarrow.json.ReadOptions(use_threads=False, block_size=source.size() + 1),
        pyarrow.json.ParseOptions(pa.schema(hints), unexpected_field_behavior=unexpected),
    )


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
