"""Python objects in a DataFrame: stored as what they are, or refused by column, row and type."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feed_assets.errors import UnsupportedColumn
from feed_assets.importing.dataframes import to_arrow
from feed_assets.warehouse.conform import columns_in

NAIVE, ZONED = datetime(2020, 1, 1, 5), datetime(2020, 1, 1, 5, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))


class Size(enum.Enum):
    S = 1


def stored(values: list[Any]) -> tuple[str, list[Any]]:
    rows = to_arrow(pd.DataFrame({"c": pd.Series(values, dtype=object)}))
    (column,) = columns_in(rows)
    return str(column), rows.column("c").to_pylist()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 2**70], "column c has an int beyond 64 bits in row 1 (counted from 0), which no"),
        ([2**63], "an int beyond 64 bits in row 0"),
        ([-(2**63) - 1], "an int beyond 64 bits in row 0"),
        ([{"a": [1]}, {"a": [1, 2**70]}], "column c.a[] has an int beyond 64 bits in row 1"),
        (["a", "\ud800"], "column c has a text with a lone surrogate in row 1"),
        ([{"a": "\ud800"}], "column c.a has a text with a lone surrogate in row 0"),
        (
            [{"\ud800": 1}],
            "column c has a dict with a key that is text with a lone surrogate in row 0",
        ),
        ([{"a": 1}, {1: 1}], "column c has a dict with a key that is int in row 1"),
        ([None, {1}], "column c has a set, which has no order in row 1"),
        ([frozenset()], "column c has a frozenset, which has no order in row 0"),
        ([object()], "column c has a object in row 0"),
        ([Size.S], "column c has a Size in row 0"),
        ([Fraction(1, 2)], "column c has a Fraction in row 0"),
        ([1j], "column c has a complex in row 0"),
        ([range(3)], "column c has a range in row 0"),
        ([uuid.UUID(int=1)], "column c has a UUID in row 0"),
        ([timedelta(1)], "column c has a timedelta in row 0"),
        ([pd.Series([1])], "column c has a Series in row 0"),
        ([pd.Interval(0, 1)], "column c has a Interval in row 0"),
        ([pd.Period("2020")], "column c has a Period in row 0"),
        ([Decimal(10) ** 38], "a Decimal with more than 38 digits before or after the point in"),
        ([Decimal(1), Decimal("1e-39")], "a Decimal with more than 38 digits before or after"),
        ([Decimal("Infinity")], "column c has an infinite Decimal in row 0"),
        ([time(1, tzinfo=UTC)], "column c has a time with a UTC offset in row 0"),
        (
            [NAIVE, None, ZONED],
            "datetime without a UTC offset in row 0 and datetime with one in row 2",
        ),
        ([ZONED, NAIVE], "datetime with one in row 0 and datetime without a UTC offset in row 1"),
        ([pd.Timestamp(ZONED), np.datetime64("2020-01-01")], "several types, datetime with one"),
        ([{"a": NAIVE}, {"a": ZONED}], "column c.a has values of several types"),
        ([[NAIVE], [date(2020, 1, 1)]], "column c[] has values of several types"),
        ([date(2020, 1, 1), NAIVE], "date in row 0 and datetime without a UTC offset in row 1"),
        ([1.5, True], "float in row 0 and bool in row 1"),
        ([True, 1], "bool in row 0 and int in row 1"),
        ([1, 1.5, Decimal(1)], "float in row 0 and Decimal in row 2"),
        (["a", b"b"], "str in row 0 and bytes in row 1"),
        ([1, "a"], "int in row 0 and str in row 1"),
        ([{"a": 1}, "x"], "dict in row 0 and str in row 1"),
        ([[1], {"a": 1}], "list in row 0 and dict in row 1"),
        ([{"a": 1}, {"a": "x"}], "column c.a has values of several types, int in row 0 and str"),
        ([2**53 + 1, 2.5], "the DataFrame cannot be stored (Conversion failed for column c with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_without_a_column_type_are_refused_with_column_row_and_type(
    values: list[Any], says: str
) -> None:
    with pytest.raises(UnsupportedColumn) as refused:
        stored(values)
    assert says in str(refused.value)
    assert str(refused.value).encode()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, None, 2.5], "FLOAT", [1.0, None, 2.5]),
        ([Decimal("1.5"), 1, None], "NUMERIC", [Decimal("1.5"), Decimal(1), None]),
        ([float("nan"), 1, pd.NA, pd.NaT], "INTEGER", [None, 1, None, None]),
        ([Decimal("NaN"), Decimal(1)], "NUMERIC", [None, Decimal(1)]),
        ([ZONED, ZONED.astimezone(BERLIN)], "TIMESTAMP", [ZONED, ZONED]),
        ([pd.Timestamp(NAIVE), NAIVE], "DATETIME", [NAIVE, NAIVE]),
        ([date(2020, 1, 1), None], "DATE", [date(2020, 1, 1), None]),
        ([b"a", bytearray(b"b"), memoryview(b"c")], "BYTES", [b"a", b"b", b"c"]),
        ([[1], (2,), np.array([3])], "REPEATED INTEGER", [[1], [2], [3]]),
        ([np.int64(1), np.float64(2.5)], "FLOAT", [1.0, 2.5]),
        ([np.str_("x"), "y"], "STRING", ["x", "y"]),
        (
            [{"a": 1}, {"b": "x"}, None],
            "RECORD",
            [{"a": 1, "b": None}, {"a": None, "b": "x"}, None],
        ),
        ([-(2**63), 2**63 - 1], "INTEGER beyond 2^53", [-(2**63), 2**63 - 1]),
        ([Decimal("9" * 38)], "BIGNUMERIC", [Decimal("9" * 38)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_of_one_column_type_are_stored(values: list[Any], kind: str, read: Any) -> None:
    assert stored(values) == (kind, read)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"\ud800": [1]}), r"the column name '\ud800' has a lone surrogate"),
        (pd.DataFrame({"c": pd.Series(["\ud800"], dtype="string[python]")}), "column c has "),
        (pd.DataFrame({"c": pd.Categorical(["\ud800"])}), "column c has "),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column names"),
    ],
    ids=["a name", "a string column", "a category", "twice"],
)
def test_text_that_cannot_be_printed_is_shown_escaped(frame: pd.DataFrame, says: str) -> None:
    with pytest.raises(UnsupportedColumn) as refused:
        to_arrow(frame)
    assert says in str(refused.value)
    assert str(refused.value).encode()
