"""Replace strings that a feed declares as null."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.buffers import flags, indexes, without_empty
from feed_assets.ndjson.rowwise import arrow_builders


def without_null_values(strings: pa.Array, null_values: Collection[str]) -> pa.Array:
    """Return the strings with null for each that is one of `null_values`."""
    if "" in null_values:
        strings = without_empty(strings)
    texts = sorted({*null_values} - {""})
    if not texts or not len(strings):
        return strings
    offsets = np.frombuffer(strings.buffers()[1], np.int32)
    lengths = np.diff(offsets[strings.offset : strings.offset + len(strings) + 1])
    candidates = np.flatnonzero(np.isin(lengths, [len(text.encode()) for text in texts]))
    if not len(candidates):
        return strings
    found = pc.is_in(strings.take(indexes(candidates)), value_set=arrow_builders.strings(texts))
    if not found.true_count:
        return strings
    valid = np.ones(len(strings), np.bool_)
    valid[candidates[flags(found)]] = False
    bits = pa.py_buffer(np.packbits(valid, bitorder="little"))
    places: list[Any] = [bits, pa.py_buffer(np.arange(len(strings)))]
    # `take` leaves no text behind a null, on which the search for times relies.
    return strings.take(pa.Array.from_buffers(pa.int64(), len(strings), places))
