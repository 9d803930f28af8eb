"""Read whole columns again as source text, where numbers or times turn out to be text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.columnar.arrow_json import read_column
from feed_assets.ndjson.columnar.cast import cast_strings
from feed_assets.ndjson.columnar.guards import bounds_of_lines
from feed_assets.ndjson.datatypes.kinds import DeclaredType, DoesNotFit
from feed_assets.ndjson.inference.infer import Column


def reread_numbers_as_text(data: bytes, column: Column, of: pa.DataType) -> pa.Array | None:
    """Read a column of type `of` again, with strings where the table has STRING.

    None if only the row-wise reader can: numbers in arrays, and keys written with escapes.
    """
    try:
        return read_column(
            _quote_numbers(data, set(_number_keys(column, of))), column.key, _with_text(column, of)
        )
    except pa.ArrowInvalid:
        return None


def decimals_fit(data: bytes, key: str, declared: DeclaredType) -> bool:
    """Return whether a decimal type represents all numbers of a key exactly."""
    try:
        cast_strings(read_numbers_as_text(data, key), declared)
    except (pa.ArrowInvalid, DoesNotFit):
        return False
    return True


def read_numbers_as_text(data: bytes, key: str) -> pa.Array:
    """Read the numbers of a key as their source text. Raise ArrowInvalid if it has others."""
    return read_column(_quote_numbers(data, {key}), key, pa.string())


def _with_text(column: Column, of: pa.DataType) -> pa.DataType:
    """Return the type with strings in place of quoted numbers and times."""
    if pa.types.is_struct(of):
        columns = {each.key: each for each in column.fields}
        fields = [
            (field.name, _with_text(columns[field.name], field.type) if columns else field.type)
            for field in of
        ]
        return pa.struct(fields)
    if pa.types.is_list(of):
        return pa.list_(_with_text(column, of.value_type))
    return pa.string() if pa.types.is_timestamp(of) or _needs_text(of, column) else of


def _number_keys(column: Column, of: pa.DataType) -> Iterator[str]:
    """Yield the keys whose numbers become text."""
    if pa.types.is_struct(of):
        columns = {each.key: each for each in column.fields}
        for field in of if columns else ():
            yield from _number_keys(columns[field.name], field.type)
    elif pa.types.is_list(of):
        yield from _number_keys(column, of.value_type)
    elif _needs_text(of, column):
        yield column.key


def _needs_text(of: pa.DataType, column: Column) -> bool:
    """Return whether the array has numbers that the column needs as text."""
    is_number = pa.types.is_int64(of) or pa.types.is_floating(of)
    to = column.type
    return bool(is_number and to is not None and (to == pa.string() or pa.types.is_decimal(to)))


def _quote_numbers(data: bytes, keys: set[str]) -> pa.Buffer:
    """Quote the numbers under these keys.

    A quote inside a string has a backslash before it, so a key between two bare quotes is a key or
    the end of one. If a number of another column gets quotes, Arrow rejects it.
    """
    if not keys:
        return pa.py_buffer(data)
    starts, _ = bounds_of_lines(data)
    offsets = pa.py_buffer(np.append(starts, len(data)).astype(np.int32))
    lines = pa.Array.from_buffers(pa.binary(), len(starts), [None, offsets, pa.py_buffer(data)])
    for key in sorted(keys):
        number = rf'("{re.escape(key)}"\s*:\s*)(-?[0-9][-+.eE0-9]*)'
        lines = pc.replace_substring_regex(lines, number, r'\1"\2"')
    return lines.buffers()[2]
