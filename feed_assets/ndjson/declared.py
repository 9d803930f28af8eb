"""The types that a feed's author can declare, and what each of them accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any

import pyarrow as pa

from feed_assets.errors import SettingError
from feed_assets.ndjson.moments import day, microseconds, moment
from feed_assets.ndjson.numerals import INT64_GREATEST, INT64_LEAST, double

_NUMERAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INT64_DIGITS = 19
_NUMERIC_INTEGER_DIGITS = 29
_NUMERIC_STEP = Decimal("1e-9")
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])


class Unfit(ValueError):
    """A value that its declared type cannot hold."""


@dataclass(frozen=True)
class Declared:
    """A type of that name. `convert` takes a value that is not null and raises Unfit."""

    name: str
    arrow: pa.DataType
    convert: Callable[[Any], Any]


def _anything(value: Any) -> Any:
    return value


def _numeral(value: Any) -> str:
    if type(value) is str and not _NUMERAL.fullmatch(value):
        raise Unfit
    if not isinstance(value, str):
        raise Unfit
    return value


def _integer(value: Any) -> int:
    number = _decimal(_numeral(value))
    if (number and number.adjusted() >= _INT64_DIGITS) or number != number.to_integral_value():
        raise Unfit
    whole = int(number)
    if not INT64_LEAST <= whole <= INT64_GREATEST:
        raise Unfit
    return whole


def _float(value: Any) -> float:
    text = _numeral(value)
    number = double(text)
    if number is None:
        raise Unfit
    if text.lstrip("+-").isdigit() and int(number) != _decimal(text):
        raise Unfit  # an integer with more digits than a double keeps
    return number


def _numeric(value: Any) -> int:
    """In billionths, as decimal128(38, 9) stores it."""
    number = _decimal(_numeral(value))
    if not number:
        return 0
    if number.adjusted() >= _NUMERIC_INTEGER_DIGITS:
        raise Unfit
    try:
        return int(_EXACT.scaleb(_EXACT.quantize(number, _NUMERIC_STEP), 9))
    except DecimalException:
        raise Unfit from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except DecimalException:  # an exponent of twenty digits
        raise Unfit from None


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in ("true", "false"):
        return value == "true"
    raise Unfit


def _datetime(value: Any) -> int:
    found = moment(value) if type(value) is str else None
    if found is None or found.tzinfo is not None:
        raise Unfit
    return microseconds(found)


def _timestamp(value: Any) -> int:
    found = moment(value) if type(value) is str else None
    if found is None or found.tzinfo is None:
        raise Unfit
    return microseconds(found)


def _date(value: Any) -> int:
    found = day(value) if type(value) is str else None
    if found is None:
        raise Unfit
    return found.toordinal() - _EPOCH_DAY


_EPOCH_DAY = 719_163  # date(1970, 1, 1).toordinal()

TYPES = (
    Declared("STRING", pa.string(), _anything),
    Declared("INTEGER", pa.int64(), _integer),
    Declared("FLOAT", pa.float64(), _float),
    Declared("BOOLEAN", pa.bool_(), _boolean),
    Declared("DATETIME", pa.timestamp("us"), _datetime),
    Declared("TIMESTAMP", pa.timestamp("us", "UTC"), _timestamp),
    Declared("NUMERIC", pa.decimal128(38, 9), _numeric),
    Declared("DATE", pa.date32(), _date),
)
BY_NAME = {each.name: each for each in TYPES}
BY_NAME |= {
    standard: BY_NAME[legacy]
    for standard, legacy in (("INT64", "INTEGER"), ("FLOAT64", "FLOAT"), ("BOOL", "BOOLEAN"))
}


def check_types(types: Mapping[str, str]) -> Mapping[str, str]:
    """`types` with each name as it is written in full; raises SettingError where that cannot be.

    Paths have dots and pass through arrays of objects: `items.price`. Names may be BigQuery's
    legacy or standard ones, in any case.
    """
    checked = {}
    for path, name in types.items():
        if not isinstance(path, str) or not path.strip():
            raise SettingError(f"types declares {name} for an empty path; name a column")
        declared = BY_NAME.get(name.strip().upper()) if isinstance(name, str) else None
        if declared is None:
            raise SettingError(
                f"types declares {path} as {name}, which is no type; "
                f"there are {', '.join(each.name for each in TYPES)}"
            )
        checked[path] = declared.name
    for path in checked:
        for parent in parents(path):
            if parent in checked:
                raise SettingError(
                    f"types declares {parent} and also {path}, which is inside it; keep one of them"
                )
    return checked


def parents(path: str) -> Iterator[str]:
    """The paths that a dotted path may lie in: `a` and `a.b` for `a.b.c`."""
    return (path[:at] for at, character in enumerate(path) if character == ".")
