"""Between Arrow and NumPy by their buffers.

`to_numpy` and `pyarrow.array` would import pandas first, which takes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[Any]]


def flags(booleans: pa.Array) -> Numbers:
    """Of an array without nulls."""
    bits = np.frombuffer(booleans.buffers()[1], np.uint8)
    found = np.unpackbits(bits, bitorder="little")
    return found[booleans.offset : booleans.offset + len(booleans)].view(np.bool_)


def positions(array: pa.Array) -> Numbers:
    """The indexes of what is not null."""
    if not array.null_count:
        return np.arange(len(array))
    if array.null_count == len(array):
        return np.arange(0)
    return np.flatnonzero(flags(array.is_valid()))


def indexes(numbers: Numbers) -> pa.Array:
    """As Arrow takes them."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(numbers, np.int64))]
    return pa.Array.from_buffers(pa.int64(), len(numbers), buffers)
