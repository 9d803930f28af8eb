"""Whole columns of strings at once: which of them are dates and times, and their microseconds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.columnar.buffers import Numbers, indexes, positions
from feed_assets.ndjson.inference.observed import ValueKind
from feed_assets.ndjson.rowwise.observe import kind_of_value

_DATE, _MINUTES = len("2020-01-20"), len("2020-01-20T10:00")
_TYPES = {ValueKind.DATETIME: pa.timestamp("us"), ValueKind.TIMESTAMP: pa.timestamp("us", "UTC")}
# Within these no zone leads out of the years 0001 to 9999, and Arrow's calendar is Python's.
_LEAST, _GREATEST = -62_135_510_400_000_000, 253_402_214_400_000_000
_DIGITS_BEYOND = r"(\.\d{6})\d+"

Firsts = dict[ValueKind, int]


def classified(strings: pa.Array) -> tuple[Firsts, pa.Array]:
    """The index of the first of each kind; and the strings, as times where all are of one kind."""
    valid = positions(strings)
    if not len(valid):
        return {}, pa.nulls(len(strings))
    shaped = _shaped(strings)
    if not len(shaped):
        return {ValueKind.TEXT: int(valid[0])}, strings
    candidates = strings if len(shaped) == len(valid) else strings.take(indexes(shaped))
    kind = kind_of_value(strings[int(shaped[0])].as_py())
    times = _times(candidates, kind)
    if times is None:
        return _one_by_one(strings, valid), strings
    firsts = {kind: int(shaped[0])}
    if len(shaped) == len(valid):
        return firsts, times
    others = valid[: len(shaped)] != shaped  # the first place where one is missing
    shapeless = valid[np.argmax(others) if others.any() else len(shaped)]
    return firsts | {ValueKind.TEXT: int(shapeless)}, strings


def _shaped(strings: pa.Array) -> Numbers:
    """The indexes of those that have hyphens and colons where a time does."""
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
    # Arrow knows times without minutes; to the feed's grammar they are text.
    colons = data[np.minimum(starts + 13, len(data) - 1)] == ord(":")
    shaped &= (lengths == _DATE) | ((lengths >= _MINUTES) & colons)
    found: Numbers = candidates[shaped]
    return found


def _times(strings: pa.Array, kind: ValueKind) -> pa.Array | None:
    """The microseconds of what is null or of that kind; None if something is not."""
    to = _TYPES.get(kind)
    if to is None:
        return None
    for candidates in (strings, None):
        if candidates is None:
            candidates = pc.replace_substring_regex(strings, _DIGITS_BEYOND, r"\1")
        try:
            # Exact for what is shaped like a time: Arrow's grammar is narrower then than the feed's
            # (it has no second 60, no hour 24, at most six digits), and the bounds are ours.
            found = candidates.cast(to)
        except pa.ArrowInvalid:
            continue
        bounds = pc.min_max(found.cast(pa.int64()))
        within = bounds["min"].as_py() >= _LEAST and bounds["max"].as_py() <= _GREATEST
        return found if within else None
    return None


def _one_by_one(strings: pa.Array, valid: Numbers) -> Firsts:
    firsts: Firsts = {}
    values = strings.to_pylist()
    for index in valid.tolist():
        kind = kind_of_value(values[index])
        if kind not in firsts:
            firsts[kind] = index
            if len(firsts) == len(_TYPES) + 1:
                break
    return firsts
