"""Between Arrow and NumPy by their buffers.

`to_numpy`, `pyarrow.array` and a Python value among the arguments of Arrow's functions would import
pandas first, which takes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[Any]]


_WINDOW = 1 << 17  # bytes that a core's own cache holds


def places_of(character: str, data: bytes) -> Numbers:
    """Where the ASCII character is."""
    values, code = np.frombuffer(data, np.uint8), ord(character)
    windows = range(0, len(data), _WINDOW)
    found = [np.flatnonzero(values[at : at + _WINDOW] == code) + at for at in windows]
    return np.concatenate(found) if found else np.arange(0)


def count_of(character: str, data: bytes) -> int:
    """How often the ASCII character is there; where it is frequent, `bytes.count` is slow."""
    values, code = np.frombuffer(data, np.uint8), ord(character)
    windows = range(0, len(data), _WINDOW)
    return sum(int(np.count_nonzero(values[at : at + _WINDOW] == code)) for at in windows)


def greatest_depth(data: bytes) -> int:
    """How many brackets are open at once in JSON without backslashes; those in strings are text."""
    depth = greatest = quoted = 0
    for at in range(0, len(data), _WINDOW):
        values = np.frombuffer(data, np.uint8, min(_WINDOW, len(data) - at), at)
        inside = np.bitwise_xor.accumulate((values == ord('"')).view(np.uint8)) ^ quoted
        folded = values & ~np.uint8(0x20)  # [ and ], and with the bit { and }: no other is so
        steps = (folded == ord("[")).view(np.int8) - (folded == ord("]")).view(np.int8)
        steps[inside.view(np.bool_)] = 0
        depths = np.cumsum(steps, dtype=np.int32)
        greatest = max(greatest, depth + int(depths.max()))
        depth, quoted = depth + int(depths[-1]), int(inside[-1])
    return greatest


def flags(booleans: pa.Array) -> Numbers:
    """Of an array without nulls."""
    bits = np.frombuffer(booleans.buffers()[1], np.uint8)
    found = np.unpackbits(bits, bitorder="little")
    return found[booleans.offset : booleans.offset + len(booleans)].view(np.bool_)


def holds_zero(integers: pa.Array) -> bool:
    """Whether one of the 64-bit integers is 0."""
    values = np.frombuffer(integers.buffers()[1], np.int64)
    zeros = values[integers.offset : integers.offset + len(integers)] == 0
    return bool(zeros.any() and (zeros & flags(integers.is_valid())).any())


def without_empty(strings: pa.Array) -> pa.Array:
    """The strings, with null for each that is empty."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)
    offsets = offsets[strings.offset : strings.offset + len(strings) + 1]
    kept = np.packbits((np.diff(offsets) > 0) & flags(strings.is_valid()), bitorder="little")
    buffers = [pa.py_buffer(kept), pa.py_buffer(offsets), strings.buffers()[2]]
    return pa.Array.from_buffers(strings.type, len(strings), buffers)


def positions(array: pa.Array) -> Numbers:
    """The indexes of what is not null."""
    if not array.null_count:
        return np.arange(len(array))
    if array.null_count == len(array):
        return np.arange(0)
    return np.flatnonzero(flags(array.is_valid()))


def distinct(ascending: Numbers) -> Numbers:
    """Each number once; `np.unique` would import NumPy's masked arrays first."""
    return ascending[np.diff(ascending, prepend=-1) > 0]


def indexes(numbers: Numbers) -> pa.Array:
    """As Arrow takes them."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(numbers, np.int64))]
    return pa.Array.from_buffers(pa.int64(), len(numbers), buffers)
