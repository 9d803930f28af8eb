"""Convert between Arrow and NumPy through their buffers.

`to_numpy`, `pyarrow.array` and a Python value among the arguments of Arrow's functions would import
pandas first, which takes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[Any]]


_WINDOW = 1 << 17  # bytes, to fit the cache of a core


def places_of(character: str, data: bytes) -> Numbers:
    """Return the positions of an ASCII character."""
    values, code = np.frombuffer(data, np.uint8), ord(character)
    windows = range(0, len(data), _WINDOW)
    found = [np.flatnonzero(values[at : at + _WINDOW] == code) + at for at in windows]
    return np.concatenate(found) if found else np.arange(0)


def count_of(character: str, data: bytes) -> int:
    """Count an ASCII character; `bytes.count` is slow for a frequent one."""
    values, code = np.frombuffer(data, np.uint8), ord(character)
    windows = range(0, len(data), _WINDOW)
    return sum(int(np.count_nonzero(values[at : at + _WINDOW] == code)) for at in windows)


def greatest_depth(data: bytes) -> int:
    """Return the greatest depth of brackets in JSON without backslashes, ignoring strings."""
    depth = greatest = quoted = 0
    for at in range(0, len(data), _WINDOW):
        values = np.frombuffer(data, np.uint8, min(_WINDOW, len(data) - at), at)
        inside = np.bitwise_xor.accumulate((values == ord('"')).view(np.uint8)) ^ quoted
        folded = values & ~np.uint8(0x20)  # maps { and } to [ and ]; no other character becomes one
        steps = (folded == ord("[")).view(np.int8) - (folded == ord("]")).view(np.int8)
        steps[inside.view(np.bool_)] = 0
        depths = np.cumsum(steps, dtype=np.int32)
        greatest = max(greatest, depth + int(depths.max()))
        depth, quoted = depth + int(depths[-1]), int(inside[-1])
    return greatest


def flags(booleans: pa.Array) -> Numbers:
    """Return a boolean array without nulls as NumPy booleans."""
    bits = np.frombuffer(booleans.buffers()[1], np.uint8)
    found = np.unpackbits(bits, bitorder="little")
    return found[booleans.offset : booleans.offset + len(booleans)].view(np.bool_)


def holds_zero(integers: pa.Array) -> bool:
    """Return whether a 64-bit integer is 0."""
    values = np.frombuffer(integers.buffers()[1], np.int64)
    zeros = values[integers.offset : integers.offset + len(integers)] == 0
    return bool(zeros.any() and (zeros & flags(integers.is_valid())).any())


def without_empty(strings: pa.Array) -> pa.Array:
    """Return the strings with null for each empty one."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)
    offsets = offsets[strings.offset : strings.offset + len(strings) + 1]
    valid = np.packbits((np.diff(offsets) > 0) & flags(strings.is_valid()), bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), strings.buffers()[2]]
    return pa.Array.from_buffers(strings.type, len(strings), buffers)


def positions(array: pa.Array) -> Numbers:
    """Return the indexes of values that are not null."""
    if not array.null_count:
        return np.arange(len(array))
    if array.null_count == len(array):
        return np.arange(0)
    return np.flatnonzero(flags(array.is_valid()))


def distinct(ascending: Numbers) -> Numbers:
    """Return each number once; `np.unique` would import NumPy's masked arrays."""
    return ascending[np.diff(ascending, prepend=-1) > 0]


def indexes(numbers: Numbers) -> pa.Array:
    """Return integers as an Arrow array."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(numbers, np.int64))]
    return pa.Array.from_buffers(pa.int64(), len(numbers), buffers)
