"""Whole columns of numbers at once: the indexes that show which kinds they are of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.columnar.buffers import Numbers, positions
from feed_assets.ndjson.columnar.classify import Firsts
from feed_assets.ndjson.columnar.guards import DistrustedError
from feed_assets.ndjson.inference.observed import ValueKind

EXACT_IN_DOUBLE = 2**53


def kinds_of_integers(array: pa.Array) -> Firsts:
    """The index of the first of each kind."""
    valid = positions(array)
    if not len(valid):
        return {}
    bounds = pc.min_max(array)
    if bounds["min"].as_py() >= -EXACT_IN_DOUBLE and bounds["max"].as_py() <= EXACT_IN_DOUBLE:
        return {ValueKind.INTEGER: int(valid[0])}
    values = _values(array, np.int64)[valid]
    long = (values > EXACT_IN_DOUBLE) | (values < -EXACT_IN_DOUBLE)
    firsts = {ValueKind.LONG: int(valid[long][0])}
    if not long.all():
        firsts[ValueKind.INTEGER] = int(valid[~long][0])
    return firsts


class Doubles:
    """A column that Arrow made doubles of, though some of them may have been integers."""

    def __init__(self, array: pa.Array) -> None:
        """Raises DistrustedError for what is no number in JSON."""
        valid = positions(array)
        values = _values(array, np.float64)[valid]
        if not np.isfinite(values).all():
            raise DistrustedError("a number is not finite")
        whole = values == np.floor(values)
        large = np.abs(values) >= EXACT_IN_DOUBLE
        self.fractions = valid[~whole]
        """Surely written as fractions."""
        self.whole = valid[whole]
        """Integers, or fractions such as 1.0."""
        self.large = valid[large]
        """Of these, the ones for which a double may have lost digits."""
        self.zeros = valid[values == 0]
        """And those that were too small for a double, perhaps."""


def _values(array: pa.Array, kind: type) -> Numbers:
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
