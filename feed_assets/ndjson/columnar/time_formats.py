"""Cast whole columns to a declared type by its format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.columnar.classify import parse_times
from feed_assets.ndjson.datatypes.kinds import DeclaredType
from feed_assets.ndjson.inference.observed import ValueKind
from feed_assets.ndjson.rowwise.convert import of_declared
from feed_assets.schema.time_formats import GREATEST, LEAST, TimeFormat

_DIGITS = r"^-?[0-9]{1,18}$"
_TWO = "([0-9]{2})"
_GROUPS = {
    "Y": "([0-9]{4})",
    **dict.fromkeys("mdHMS", _TWO),
    "f": "([0-9]{1,6})[0-9]*",
    "z": "(Z|[+-][0-9]{2}(?::?[0-5][0-9])?)",
}
"""Directives that a regular expression can rearrange to ISO 8601."""
_ISO = (("Y", ""), ("m", "-"), ("d", "-"), ("H", "T"), ("M", ":"), ("S", ":"), ("f", "."))


def cast_formatted(values: pa.Array, declared: DeclaredType) -> pa.Array:
    """Cast strings or integers to a declared type with a format. Raise DoesNotFit."""
    time_format = declared.format
    assert time_format is not None
    if not _count(values):
        return pa.nulls(len(values), declared.arrow)
    if time_format.epoch and (integers := _integers(values)) is not None:
        found = _since_epoch(integers, time_format.epoch, declared.arrow)
        if found is not None:
            return found
    texts = values if pa.types.is_string(values.type) else values.cast(pa.string())
    iso = _rearrangement(time_format)
    if iso is not None:
        found = _rearranged(texts, *iso, zoned=declared.name == "TIMESTAMP")
        if found is not None:
            return found if found.type == declared.arrow else found.cast(declared.arrow)
    distinct = texts.dictionary_encode()
    return of_declared(declared)(distinct.dictionary.to_pylist()).take(distinct.indices)


def _integers(values: pa.Array) -> pa.Array | None:
    """Return the values as integers; None if one is written otherwise."""
    if pa.types.is_int64(values.type):
        return values
    plain = pc.match_substring_regex(values, _DIGITS)
    return values.cast(pa.int64()) if plain.true_count == _count(values) else None


def _since_epoch(integers: pa.Array, unit: int, to: pa.DataType) -> pa.Array | None:
    """Return the times; None if one is out of range."""
    bounds = pc.min_max(integers)
    least, greatest = bounds["min"].as_py(), bounds["max"].as_py()
    if least * unit < LEAST or greatest * unit > GREATEST:
        return None
    numbers = np.frombuffer(integers.buffers()[1], np.int64)
    numbers = numbers[integers.offset : integers.offset + len(integers)]
    if integers.null_count:
        numbers = np.where(np.abs(numbers) > GREATEST // unit, 0, numbers)  # behind a null
    valid = integers.is_valid().buffers()[1] if integers.null_count else None
    return pa.Array.from_buffers(to, len(integers), [valid, pa.py_buffer(numbers * unit)])


def _rearranged(strings: pa.Array, pattern: str, iso: str, *, zoned: bool) -> pa.Array | None:
    """Return the times of strings that all match, or null; None if one does not."""
    if pc.match_substring_regex(strings, pattern).true_count < _count(strings):
        return None
    texts = pc.replace_substring_regex(strings, pattern, iso)
    return parse_times(texts, ValueKind.TIMESTAMP if zoned else ValueKind.DATETIME)


@lru_cache(1024)
def _rearrangement(time_format: TimeFormat) -> tuple[str, str] | None:
    """Return a pattern of the format's usual texts, and ISO 8601 with its groups; None if none."""
    used = [directive for directive, _ in time_format.tokens if directive]
    if time_format.type == "TIME" or not _GROUPS.keys() >= {*used}:
        return None
    pattern = "".join(_GROUPS.get(name, re.escape(text)) for name, text in time_format.tokens)
    return f"^{pattern}$", "".join(_iso({each: at for at, each in enumerate(used, 1)}))


def _iso(groups: dict[str, int]) -> Iterator[str]:
    for directive, separator in _ISO:
        if directive in groups:
            yield rf"{separator}\{groups[directive]}"
            if directive == "H" and "M" not in groups:
                yield ":00"
    if "z" in groups:
        yield rf"\{groups['z']}"


def _count(values: pa.Array) -> int:
    return len(values) - int(values.null_count)
