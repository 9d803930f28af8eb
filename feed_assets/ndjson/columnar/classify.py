"""Classify whole columns of strings and numbers by kind of value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.buffers import Numbers, indexes, positions
from feed_assets.ndjson.columnar.guards import FallBackToRows
from feed_assets.ndjson.inference.observed import ValueKind
from feed_assets.ndjson.rowwise.observe import kind_of_value

_EXACT_IN_DOUBLE = 2**53
_DATE, _MINUTES = len("2020-01-20"), len("2020-01-20T10:00")
_TYPES = {ValueKind.DATETIME: pa.timestamp("us"), ValueKind.TIMESTAMP: pa.timestamp("us", "UTC")}
# Within these, every zone stays in the years 0001 to 9999, and Arrow's calendar equals Python's.
_LEAST, _GREATEST = -62_135_510_400_000_000, 253_402_214_400_000_000
_DIGITS_BEYOND = r"(\.\d{6})\d+"

FirstIndexByKind = dict[ValueKind, int]


def classify_strings(strings: pa.Array) -> tuple[FirstIndexByKind, pa.Array]:
    """Return the first index of each kind, and the strings, parsed if all are timestamps."""
    valid = positions(strings)
    if not len(valid):
        return {}, pa.nulls(len(strings))
    shaped = _find_time_shaped(strings)
    if not len(shaped):
        return {ValueKind.TEXT: int(valid[0])}, strings
    candidates = strings if len(shaped) == len(valid) else strings.take(indexes(shaped))
    kind = kind_of_value(strings[int(shaped[0])].as_py())
    times = parse_times(candidates, kind)
    if times is None:
        return _classify_each(strings, valid), strings
    firsts = {kind: int(shaped[0])}
    if len(shaped) == len(valid):
        return firsts, times
    others = valid[: len(shaped)] != shaped  # the first difference is the first without shape
    shapeless = valid[np.argmax(others) if others.any() else len(shaped)]
    return firsts | {ValueKind.TEXT: int(shapeless)}, strings


def _find_time_shaped(strings: pa.Array) -> Numbers:
    """Return the indexes of strings with hyphens and colons where a time has them."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)
    offsets = offsets[strings.offset : strings.offset + len(strings) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    candidates = np.flatnonzero(lengths >= _DATE)  # what is null has no length
    if not len(candidates):
        return candidates
    if len(candidates) < len(starts):
        starts, lengths = starts[candidates], lengths[candidates]
    data = np.frombuffer(strings.buffers()[2], np.uint8)
    shaped = (data[starts + 4] == ord("-")) & (data[starts + 7] == ord("-"))
    # Arrow parses times without minutes; in the feed's grammar they are text.
    colons = data[np.minimum(starts + 13, len(data) - 1)] == ord(":")
    shaped &= (lengths == _DATE) | ((lengths >= _MINUTES) & colons)
    found: Numbers = candidates[shaped]
    return found


def parse_times(strings: pa.Array, kind: ValueKind) -> pa.Array | None:
    """Parse strings of one kind, or null, to timestamps; None if one is of another kind."""
    to = _TYPES.get(kind)
    if to is None:
        return None
    for candidates in (strings, None):
        if candidates is None:
            candidates = pc.replace_substring_regex(strings, _DIGITS_BEYOND, r"\1")
        try:
            # Exact for strings of this shape: Arrow's grammar is then narrower than the feed's (no
            # second 60, no hour 24, at most six digits), and the bounds are checked below.
            found = candidates.cast(to)
        except pa.ArrowInvalid:
            continue
        bounds = pc.min_max(found.cast(pa.int64()))
        within = bounds["min"].as_py() >= _LEAST and bounds["max"].as_py() <= _GREATEST
        return found if within else None
    return None


def _classify_each(strings: pa.Array, valid: Numbers) -> FirstIndexByKind:
    firsts: FirstIndexByKind = {}
    values = strings.to_pylist()
    for index in valid.tolist():
        kind = kind_of_value(values[index])
        if kind not in firsts:
            firsts[kind] = index
            if len(firsts) == len(_TYPES) + 1:
                break
    return firsts


def classify_integers(array: pa.Array) -> FirstIndexByKind:
    """Return the first index of each kind."""
    valid = positions(array)
    if not len(valid):
        return {}
    bounds = pc.min_max(array)
    if bounds["min"].as_py() >= -_EXACT_IN_DOUBLE and bounds["max"].as_py() <= _EXACT_IN_DOUBLE:
        return {ValueKind.INTEGER: int(valid[0])}
    values = _values(array, np.int64)[valid]
    long = (values > _EXACT_IN_DOUBLE) | (values < -_EXACT_IN_DOUBLE)
    firsts = {ValueKind.LONG: int(valid[long][0])}
    if not long.all():
        firsts[ValueKind.INTEGER] = int(valid[~long][0])
    return firsts


def check_finite(array: pa.Array) -> None:
    """Raise FallBackToRows for NaN and infinity, which are no JSON, in an array of any type."""
    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            check_finite(array.field(index))
    elif pa.types.is_list(array.type):
        check_finite(array.values)
    elif pa.types.is_floating(array.type):
        Doubles(array)


class Doubles:
    """Indexes in a column that Arrow parsed as doubles, some perhaps written as integers."""

    def __init__(self, array: pa.Array) -> None:
        """Raise FallBackToRows for values that are not JSON numbers."""
        valid = positions(array)
        values = _values(array, np.float64)[valid]
        if not np.isfinite(values).all():
            raise FallBackToRows("a number is not finite")
        whole = values == np.floor(values)
        large = np.abs(values) >= _EXACT_IN_DOUBLE
        self.fractions = valid[~whole]
        """Written as fractions."""
        self.whole = valid[whole]
        """Integers, or fractions such as 1.0."""
        self.large = valid[large]
        """Large values, for which a double can have lost digits."""
        self.zeros = valid[values == 0]
        """Zeros, some perhaps too small for a double."""


def _values(array: pa.Array, kind: type) -> Numbers:
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
