"""Build Arrow arrays from Python lists through their buffers, with None as null.

`pyarrow.array` would import pandas first, which takes a second.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa


def booleans(values: Sequence[bool | None]) -> pa.Array:
    """Build a BOOLEAN array."""
    bits = _bits([value is True for value in values])
    return pa.Array.from_buffers(pa.bool_(), len(values), [_validity(values), bits])


def integers(values: Sequence[int | None], to: pa.DataType) -> pa.Array:
    """Build an array of a type that Arrow stores as 64-bit or 32-bit integers, such as times."""
    numbers = array("q" if to.bit_width == 64 else "i", [value or 0 for value in values])
    return pa.Array.from_buffers(to, len(values), [_validity(values), pa.py_buffer(numbers)])


def doubles(values: Sequence[float | None]) -> pa.Array:
    """Build a FLOAT array."""
    numbers = array("d", [0.0 if value is None else value for value in values])
    buffers = [_validity(values), pa.py_buffer(numbers)]
    return pa.Array.from_buffers(pa.float64(), len(values), buffers)


def decimals(values: Sequence[int | None], to: pa.DataType) -> pa.Array:
    """Build a decimal array from integers in the type's smallest unit."""
    width = to.bit_width // 8
    numbers = b"".join((value or 0).to_bytes(width, "little", signed=True) for value in values)
    return pa.Array.from_buffers(to, len(values), [_validity(values), pa.py_buffer(numbers)])


def strings(values: Sequence[str | None]) -> pa.Array:
    """Build a STRING array of less than 2 GiB."""
    return binaries([None if value is None else value.encode() for value in values], pa.string())


def binaries(values: Sequence[bytes | None], to: pa.DataType) -> pa.Array:
    """Build a BYTES array, or a STRING array from UTF-8, of less than 2 GiB."""
    ends = array("i", accumulate((len(value or b"") for value in values), initial=0))
    data = pa.py_buffer(b"".join(value or b"" for value in values))
    buffers = [_validity(values), pa.py_buffer(ends), data]
    return pa.Array.from_buffers(to, len(values), buffers)


def lists(values: Sequence[Sequence[Any] | None], elements: pa.Array) -> pa.Array:
    """Build a list array; `elements` are those of all lists in order."""
    ends = array("i", accumulate((len(value or ()) for value in values), initial=0))
    return pa.Array.from_buffers(
        pa.list_(elements.type),
        len(values),
        [_validity(values), pa.py_buffer(ends)],
        children=[elements],
    )


def structs(values: Sequence[Any], to: pa.DataType, fields: list[pa.Array]) -> pa.Array:
    """Build a struct array: `values` give the nulls, `fields` the children of the same length."""
    return pa.Array.from_buffers(to, len(values), [_validity(values)], children=fields)


def spread(values: pa.Array, places: Sequence[int], count: int) -> pa.Array:
    """Build an array of `count` values: `values` at their ascending `places`, nulls elsewhere."""
    if len(places) == count:
        return values
    if not places:
        return pa.nulls(count, values.type)
    to, valid = np.zeros(count, np.int32), np.zeros(count, np.bool_)
    to[places], valid[places] = np.arange(len(places)), True
    bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return values.take(pa.Array.from_buffers(pa.int32(), count, [bits, pa.py_buffer(to)]))


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    valid = [value is not None for value in values]
    return None if all(valid) else _bits(valid)


def _bits(flags: list[bool]) -> pa.Buffer:
    flag_bytes = pa.py_buffer(bytes(flags))
    return (
        pa.Array.from_buffers(pa.uint8(), len(flags), [None, flag_bytes])
        .cast(pa.bool_())
        .buffers()[1]
    )
