"""Reject DataFrame columns with Python objects that no single type can store; name the row.

Arrow silently drops the offset or the time of some mixed values, and its errors name no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from feed_assets.errors import UnsupportedColumn

_DIGITS = 38  # of a BIGNUMERIC, before the point and after it
_OF_ONE_KIND = {"string", "bytes", "integer", "floating", "boolean", "mixed-integer-float", "empty"}
"""Kinds of columns (pandas' names) that Arrow converts exactly or not at all."""
_TOGETHER = ({"int", "float"}, {"int", "Decimal"})  # Arrow itself detects a loss here

_Firsts = dict[str, tuple[str, int]]


def check_mixtures(frame: pd.DataFrame) -> None:
    """Raise UnsupportedColumn for a mixture that Arrow might change silently."""
    for place, label in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if values.dtype == object and pd.api.types.infer_dtype(values) not in _OF_ONE_KIND:
            _check(str(label), values)


def check_all(frame: pd.DataFrame) -> None:
    """Raise UnsupportedColumn for the first value that Arrow rejects."""
    for place, label in enumerate(frame.columns):
        if not _is_utf8(str(label)):
            raise UnsupportedColumn(
                f"the column name {str(label)!a} has a lone surrogate, which is not text; rename it"
            )
        values = frame.iloc[:, place]
        if values.dtype.kind == "O":
            _check(str(label), values)


def _check(path: str, values: Iterable[Any]) -> None:
    firsts: _Firsts = {}
    for row, value in enumerate(values):
        _look(path, row, value, firsts)


def _look(path: str, row: int, value: Any, firsts: _Firsts) -> None:
    kind, inside = _kind(path, row, value)
    if kind is None:
        return
    first, at = firsts.setdefault(path, (kind, row))
    if kind != first:
        if not any({kind, first} <= together for together in _TOGETHER):
            raise UnsupportedColumn(
                f"column {path} has values of several types, {first} in row {at} and {kind} in row "
                f"{row} (counted from 0); give it values of one type"
            )
        firsts[path] = (kind if first == "int" else first, at)
    for name, each in inside:
        _look(f"{path}.{name}" if name else path + "[]", row, each, firsts)


def _kind(path: str, row: int, value: Any) -> tuple[str | None, Iterable[tuple[str, Any]]]:
    """Return the kind of a value (None for null), and its inner values."""
    found: str | None = None
    inside: Iterable[tuple[str, Any]] = ()
    wrong = ""
    if value is None or value is pd.NA or value is pd.NaT:
        pass
    elif isinstance(value, bool | np.bool_):
        found = "bool"
    elif isinstance(value, int | np.integer):
        found = "int"
        wrong = "" if -(2**63) <= int(value) < 2**63 else "an int beyond 64 bits"
    elif isinstance(value, float | np.floating):
        found = None if np.isnan(value) else "float"
    elif isinstance(value, Decimal):
        found, wrong = (None, "") if value.is_nan() else ("Decimal", _too_wide(value))
    elif isinstance(value, str):
        found, wrong = "str", "" if _is_utf8(value) else "a text with a lone surrogate"
    elif isinstance(value, bytes | bytearray | memoryview):
        found = "bytes"
    elif isinstance(value, datetime):
        found = "datetime without a UTC offset" if value.tzinfo is None else "datetime with one"
    elif isinstance(value, np.datetime64):
        found = "datetime without a UTC offset"
    elif isinstance(value, date):
        found = "date"
    elif isinstance(value, time):
        found, wrong = "time", "a time with a UTC offset" if value.tzinfo else ""
    elif isinstance(value, Mapping):
        found, inside = "dict", value.items()
        odd = next((key for key in value if not isinstance(key, str) or not _is_utf8(key)), None)
        kind = "text with a lone surrogate" if isinstance(odd, str) else type(odd).__name__
        wrong = "" if odd is None else f"a dict with a key that is {kind}"
    elif isinstance(value, np.ndarray) or (
        isinstance(value, Sequence) and not isinstance(value, range)
    ):
        found, inside = "list", (("", each) for each in value)
    else:
        wrong = f"a {type(value).__name__}"
        if isinstance(value, Set):
            wrong += ", which has no order"
    if wrong:
        raise UnsupportedColumn(
            f"column {path} has {wrong} in row {row} (counted from 0), which no column type holds; "
            f"convert it first (to a string, say)"
        )
    return found, inside


def _too_wide(value: Decimal) -> str:
    if not value.is_finite():
        return "an infinite Decimal"
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if value.adjusted() >= _DIGITS or -exponent > _DIGITS:
        return f"a Decimal with more than {_DIGITS} digits before or after the point"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
