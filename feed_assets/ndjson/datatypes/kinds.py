"""Types that a feed can declare, and the values that each accepts."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any

import pyarrow as pa

from feed_assets.ndjson.datatypes.datetimes import (
    microseconds,
    parse_date,
    parse_datetime,
    parse_time,
)
from feed_assets.ndjson.datatypes.geography import is_geography
from feed_assets.ndjson.datatypes.numbers import (
    INT64_GREATEST,
    INT64_LEAST,
    UINT64_GREATEST,
    double,
    is_zero,
)
from feed_assets.ndjson.inference.observed import ValueKind
from feed_assets.ndjson.strict_json import (
    FloatText,
    IntText,
    InvalidLine,
    decode_value,
    nested_too_deep,
)
from feed_assets.schema import datatypes
from feed_assets.schema.time_formats import TimeFormat
from feed_assets.schema.type_declarations import Declared, declared_format, declared_name

_NUMERAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INT64_DIGITS = 19
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])


class DoesNotFit(ValueError):
    """A value does not fit its declared type. The argument, if any, is the offending part of it."""


@dataclass(frozen=True)
class DeclaredType:
    """A declared type. `convert` takes a value that is not null and raises DoesNotFit."""

    name: str
    arrow: pa.DataType
    convert: Callable[[Any], Any]
    accepted_kinds: frozenset[ValueKind]
    """Kinds of value that all fit; a value of another kind has to be converted to know."""
    format: TimeFormat | None = None
    """Format of its values, in place of ISO 8601."""

    @property
    def label(self) -> str:
        """The name with the format, for messages."""
        return self.name if self.format is None else f"{self.name} {self.format.text}"

    @property
    def keeps_empty(self) -> bool:
        """True if `{}` and `[]` are stored as text; otherwise they count as null."""
        return self.name in ("STRING", "JSON")


def is_empty(value: Any) -> bool:
    """Return whether a value is `{}` or `[]`: null, unless a declared type stores them.

    PHP writes `[]` for an object without members.
    """
    return not value and (type(value) is dict or type(value) is list)


def _anything(value: Any) -> Any:
    return value


def _numeral(value: Any) -> str:
    if type(value) is str and not _NUMERAL.fullmatch(value):
        raise DoesNotFit
    if not isinstance(value, str):
        raise DoesNotFit
    return value


def _integer(value: Any) -> int:
    number = _decimal(_numeral(value))
    if (number and number.adjusted() >= _INT64_DIGITS) or number != number.to_integral_value():
        raise DoesNotFit
    whole = int(number)
    if not INT64_LEAST <= whole <= INT64_GREATEST:
        raise DoesNotFit
    return whole


def _float(value: Any) -> float:
    text = _numeral(value)
    number = double(text)
    if number is None:
        raise DoesNotFit
    if text.lstrip("+-").isdigit() and int(number) != _decimal(text):
        raise DoesNotFit  # an integer with more digits than a double keeps
    return number


def _decimals_of(to: pa.DataType) -> Callable[[Any], int]:
    """Return a converter to integers in the type's smallest unit, as Arrow stores decimals."""
    digits, step = to.precision - to.scale, Decimal(1).scaleb(-to.scale)

    def convert(value: Any) -> int:
        number = _decimal(_numeral(value))
        if not number:
            return 0
        if number.adjusted() >= digits:
            raise DoesNotFit
        try:
            return int(_EXACT.scaleb(_EXACT.quantize(number, step), to.scale))
        except DecimalException:
            raise DoesNotFit from None

    return convert


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except DecimalException:  # an exponent of twenty digits
        if is_zero(text):
            return Decimal(0)
        raise DoesNotFit from None


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in ("true", "false"):
        return value == "true"
    raise DoesNotFit


def _datetime(value: Any) -> int:
    found = parse_datetime(value) if type(value) is str else None
    if found is None or found.tzinfo is not None:
        raise DoesNotFit
    return microseconds(found)


def _timestamp(value: Any) -> int:
    found = parse_datetime(value) if type(value) is str else None
    if found is None or found.tzinfo is None:
        raise DoesNotFit
    return microseconds(found)


def _date(value: Any) -> int:
    found = parse_date(value) if type(value) is str else None
    if found is None:
        raise DoesNotFit
    return found.toordinal() - _EPOCH_DAY


def _time(value: Any) -> int:
    found = parse_time(value) if type(value) is str else None
    if found is None:
        raise DoesNotFit
    return found


def _json(value: Any) -> Any:
    """Check that BigQuery's JSON can store every number: 64 bits, signed or not, or a double.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type
    """
    if type(value) is dict or type(value) is list:
        for each in value.values() if type(value) is dict else value:
            _json(each)
    elif type(value) is IntText:
        if len(value) > _INTEGER_CHARACTERS or not INT64_LEAST <= int(value) <= UINT64_GREATEST:
            raise DoesNotFit(value)
    elif type(value) is FloatText and double(value) is None:
        raise DoesNotFit(value)
    return value


def _bytes(value: Any) -> bytes:
    """Decode padded base64 of the standard alphabet; reject characters a decoder would skip."""
    if type(value) is not str:
        raise DoesNotFit
    try:
        found = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DoesNotFit from None
    if b64encode(found).decode() != value:
        raise DoesNotFit
    return found


def _geography(value: Any) -> Any:
    if not is_geography(value):
        raise DoesNotFit
    return value


def is_valid(name: str, text: str) -> bool:
    """Return whether a string is a value of a type. For JSON it is the text of a non-null value."""
    try:
        if name == "JSON":
            text = text.strip(" \t\r\n")
            value, end = (None, 0) if nested_too_deep(text) else decode_value(text, 0)
            if value is None or end != len(text):
                return False
            _json(value)
        else:
            BY_NAME[name].convert(text)
    except (DoesNotFit, InvalidLine, json.JSONDecodeError, RecursionError):
        return False
    return True


_INTEGER_CHARACTERS = 20  # of 64 bits, the sign included
_EPOCH_DAY = 719_163  # date(1970, 1, 1).toordinal()

_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "STRING": _anything,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "DATETIME": _datetime,
    "TIMESTAMP": _timestamp,
    "NUMERIC": _decimals_of(datatypes.BY_NAME["NUMERIC"].arrow),
    "BIGNUMERIC": _decimals_of(datatypes.BY_NAME["BIGNUMERIC"].arrow),
    "DATE": _date,
    "TIME": _time,
    "BYTES": _bytes,
    "JSON": _json,
    "GEOGRAPHY": _geography,
}
_ACCEPTED_KINDS: Mapping[str, Set[ValueKind]] = {
    "STRING": set(ValueKind),
    "INTEGER": {ValueKind.INTEGER, ValueKind.LONG},
    "FLOAT": {ValueKind.INTEGER, ValueKind.FRACTION},
    "BOOLEAN": {ValueKind.BOOLEAN},
    "DATETIME": {ValueKind.DATETIME},
    "TIMESTAMP": {ValueKind.TIMESTAMP},
    "NUMERIC": {ValueKind.INTEGER, ValueKind.LONG},
    "BIGNUMERIC": {ValueKind.INTEGER, ValueKind.LONG},
    "JSON": set(ValueKind) - {ValueKind.BEYOND, ValueKind.OBJECT, ValueKind.ARRAY},
}
TYPES = tuple(
    DeclaredType(
        each.name,
        each.arrow,
        _CONVERTERS[each.name],
        frozenset(_ACCEPTED_KINDS.get(each.name, ())),
    )
    for each in datatypes.DATATYPES
)
BY_NAME = {each.name: each for each in TYPES}
"""Types by canonical name."""
JSON = BY_NAME["JSON"]


def declared_type(declared: Declared) -> DeclaredType:
    """Return the type of a parsed declaration."""
    found, time_format = BY_NAME[declared_name(declared)], declared_format(declared)
    return found if time_format is None else _with_format(found, time_format)


@lru_cache(1024)
def _with_format(declared: DeclaredType, time_format: TimeFormat) -> DeclaredType:
    unit = 86_400_000_000 if declared.name == "DATE" else 1  # Arrow stores days of a date

    def convert(value: Any) -> int:
        found = time_format.parse(value) if isinstance(value, str) else None
        if found is None:
            raise DoesNotFit
        return found // unit

    return replace(
        declared, convert=convert, accepted_kinds=frozenset[ValueKind](), format=time_format
    )
