"""Declared types: their names, the values each accepts, and the paths at which they apply."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import BadLines, SettingError, full_text
from feed_assets.ndjson import is_valid
from feed_assets.schema.arrow_metadata import text_field
from feed_assets.schema.type_declarations import parse_types
from feed_assets_tests.unit.ndjson.feeds import (
    PLACES,
    made_up,
    read_bytes,
    read_column,
    read_lines,
    type_of,
    values_of,
)

NUMERIC, BIGNUMERIC = "decimal128(38, 9)", "decimal256(76, 38)"
TIMESTAMP = "timestamp[us, tz=UTC]"

ACCEPTED: list[tuple[str, str, list[str], list[Any]]] = [
    (
        "STRING",
        "string",
        ['"x"', "1.50", "true", "[1, 2]", '{"a": 1}', "[]", "{}", '""', "null"],
        ["x", "1.50", "true", "[1, 2]", '{"a": 1}', "[]", "{}", "", None],
    ),
    (
        "INTEGER",
        "int64",
        ["1", '"00123"', '"-7"', "1.0", "1e3", '"9223372036854775807"', "-0", "0e99", "null"],
        [1, 123, -7, 1, 1000, 2**63 - 1, 0, 0, None],
    ),
    (
        "FLOAT",
        "double",
        ["1", "0.1", '"1.50"', '"-1e3"', "9007199254740992", "1152921504606846976", "0e999"],
        [1.0, 0.1, 1.5, -1000.0, 2.0**53, 2.0**60, 0.0],
    ),
    ("BOOLEAN", "bool", ["true", "false", '"true"', '"false"', "null"], [True, False] * 2 + [None]),
    (
        "DATETIME",
        "timestamp[us]",
        ['"2020-01-20"', '"2020-01-20T10:11:12.1234567"'],
        [datetime(2020, 1, 20), datetime(2020, 1, 20, 10, 11, 12, 123456)],
    ),
    (
        "TIMESTAMP",
        TIMESTAMP,
        ['"2020-01-20T10:00+01:00"', "null"],
        [datetime(2020, 1, 20, 9, tzinfo=UTC), None],
    ),
    (
        "NUMERIC",
        NUMERIC,
        [
            "96.12",
            '"0.000000001"',
            "-1e-9",
            "1.50000000000000",
            "1e28",
            '"-99999999999999999999999999999.999999999"',
            "0e9999",
            "-0.0",
            "null",
        ],
        [
            Decimal("96.12"),
            Decimal("1e-9"),
            Decimal("-1e-9"),
            Decimal("1.5"),
            Decimal("1e28"),
            Decimal("-99999999999999999999999999999.999999999"),
            Decimal(0),
            Decimal(0),
            None,
        ],
    ),
    (
        "DATE",
        "date32[day]",
        ['"2020-01-20"', '"0001-01-01"', '"1969-12-31"', "null"],
        [date(2020, 1, 20), date(1, 1, 1), date(1969, 12, 31), None],
    ),
    (
        "BIGNUMERIC",
        BIGNUMERIC,
        [
            "96.12",
            "18446744073709551616",
            '"1e-38"',
            f"-{'9' * 38}.{'9' * 38}",
            '"1.50"',
            "1E+37",
            "0e9999",
            "-0.0",
            "null",
        ],
        [
            Decimal("96.12"),
            Decimal(2**64),
            Decimal("1e-38"),
            Decimal(f"-{'9' * 38}.{'9' * 38}"),
            Decimal("1.5"),
            Decimal("1e37"),
            Decimal(0),
            Decimal(0),
            None,
        ],
    ),
    (
        "TIME",
        "time64[us]",
        ['"10:30"', '"00:00:00"', '"23:59:59.9999999"', '"01:02:03.5"', "null"],
        [time(10, 30), time(0), time(23, 59, 59, 999999), time(1, 2, 3, 500000), None],
    ),
    ("BYTES", "binary", ['"AP8="', '""', '"YWJj"', "null"], [b"\x00\xff", b"", b"abc", None]),
    (
        "JSON",
        "string",
        [
            '{"b" : 1.50, "a":[true, null, "\\u00e9"] }',
            '"\\u00e9 \\"x\\""',
            '"2020-01-20"',
            "1.50",
            "-0",
            "18446744073709551615",
            "[ ]",
            "true",
            '""',
            "null",
        ],
        [
            '{"b" : 1.50, "a":[true, null, "\\u00e9"] }',
            '"\\u00e9 \\"x\\""',
            '"2020-01-20"',
            "1.50",
            "-0",
            "18446744073709551615",
            "[ ]",
            "true",
            '""',
            None,
        ],
    ),
    (
        "GEOGRAPHY",
        "string",
        [
            '"POINT(-121 41.5)"',
            '"{\\"type\\":\\"Point\\",\\"coordinates\\":[1,2]}"',
            '{"type": "Point", "coordinates": [1.50, 2]}',
            "null",
        ],
        [
            "POINT(-121 41.5)",
            '{"type":"Point","coordinates":[1,2]}',
            '{"type": "Point", "coordinates": [1.50, 2]}',
            None,
        ],
    ),
]
REFUSED = [
    (
        "INTEGER",
        [
            "1.5",
            '"1.5"',
            '""',
            '"x"',
            '" 1"',
            '"1 "',
            '"0x1"',
            '"1_000"',
            '"\u0967"',
            "true",
            "[null]",
            "9223372036854775808",
            "1e19",
            "1e999999999",
            '"1e99999999999999999999"',
            "[1]",
            '{"a":null}',
        ],
    ),
    (
        "FLOAT",
        [
            "1e309",
            "-1e400",
            "1e-400",
            "9007199254740993",
            '"9007199254740993"',
            '"nan"',
            '"inf"',
            '""',
            '"1,5"',
            '".5"',
            '"5."',
            "true",
            "[1.5]",
        ],
    ),
    ("BOOLEAN", ["0", "1", '"True"', '"yes"', '""', '"0"', "[null]", '{"a":null}']),
    (
        "DATETIME",
        ['"2020-01-20T10:00Z"', '"20200120"', '"2020-02-30"', '""', "20200120", "true", "[null]"],
    ),
    ("TIMESTAMP", ['"2020-01-20T10:00"', '"2020-01-20"', '"n/a"', "1579510800", '{"a":null}']),
    (
        "NUMERIC",
        [
            '"n/a"',
            "1e29",
            "1e-10",
            "0.1234567891",
            '""',
            '"1.2.3"',
            '"-"',
            "true",
            "[null]",
            '{"a":null}',
            "1e999999999",
            '"1e99999999999999999999"',
            "99999999999999999999999999999.9999999999",
        ],
    ),
    (
        "BIGNUMERIC",
        [
            "1e38",  # a part of BigQuery's 39th digit would hold it, and Arrow's has 38
            "1e-39",
            f"0.{'1' * 39}",
            '"n/a"',
            '""',
            "true",
            "[1]",
            "1e99999999999999999999",
        ],
    ),
    (
        "TIME",
        [
            '"24:00"',
            '"10:60"',
            '"10:30:60"',
            '"1:30"',
            '"10"',
            '"10:30Z"',
            '"10:30:00."',
            '"2020-01-20T10:30"',
            '""',
            "1030",
            '{"a":null}',
        ],
    ),
    (
        "BYTES",
        [
            '"AP8"',
            '"AP8=="',
            '"AP9="',
            '"A-_="',
            '"AP8= "',
            '"x"',
            "1",
            "true",
            "[null]",
            '{"a":null}',
        ],
    ),
    (
        "JSON",
        [
            "18446744073709551616",
            "-9223372036854775809",
            "1e309",
            "1e-400",
            '{"a":[1,{"b":18446744073709551616}]}',
            '{"a":1e400}',
        ],
    ),
    (
        "GEOGRAPHY",
        [
            '"x"',
            '""',
            '"POINT(1)"',
            '"POINT(1 91)"',
            "1",
            "true",
            "[1,2]",
            '{"a":null}',
            '"{}"',
            '"AQ=="',
        ],
    ),
    ("DATE", ['"2020-01-20T00:00"', '"2020-01-20Z"', '"20.01.2020"', '""', "20200120"]),
]


@pytest.mark.parametrize(("declared", "type_", "values", "stored"), ACCEPTED)
def test_a_declared_type_accepts(
    declared: str, type_: str, values: list[str], stored: list[Any]
) -> None:
    reading = read_column(*values, types={"c": declared})
    assert (type_of(reading), values_of(reading)) == (type_, stored)


@pytest.mark.parametrize(
    ("declared", "value"), [(each, value) for each, values in REFUSED for value in values]
)
def test_a_value_that_a_declared_type_cannot_hold_makes_its_line_bad(
    declared: str, value: str
) -> None:
    reading = read_column(value, types={"c": declared}, max_bad_lines=1)
    reason = reading.bad_lines[0].reason
    assert reason == f"has a value in column c that is not {declared}"
    assert full_text(reason).endswith(f" in column c, declared {declared}")
    assert reading.rows == 0


@pytest.mark.parametrize(("declared", "type_", "values", "stored"), ACCEPTED)
def test_a_declared_type_accepts_the_same_values_in_objects_and_in_arrays_of_objects(
    declared: str, type_: str, values: list[str], stored: list[Any]
) -> None:
    lines = [f'{{"o":{{"c":{each}}},"l":[{{"c":{each}}},{{"d":1,"c":{each}}}]}}' for each in values]
    table = read_lines(*lines, types={"o.c": declared, "l.c": declared}).table
    assert [row["o"]["c"] for row in table.to_pylist()] == stored
    assert [[each["c"] for each in row["l"]] for row in table.to_pylist()] == [
        [each, each] for each in stored
    ]
    assert str(table.schema.field("o").type.field("c").type) == type_


ZEROS, NINES = "0" * 200, "9" * 29
DECIMALS: list[tuple[str, str, Decimal | None]] = [
    ("NUMERIC", "350043911355370246422922084560", None),
    ("NUMERIC", f"-{NINES}", Decimal(f"-{NINES}")),
    ("NUMERIC", f"{NINES}9", None),
    ("NUMERIC", "340282366920938463463374607431768211456", None),  # 2^128
    ("NUMERIC", "340282366920938463463374607431768211457.5", None),
    ("NUMERIC", f"75.57{ZEROS}", Decimal("75.57")),
    ("NUMERIC", f"{NINES}.999999999{ZEROS}", Decimal(f"{NINES}.999999999")),
    ("NUMERIC", f"75.57{ZEROS}1", None),
    ("NUMERIC", "0.0000000001", None),
    ("NUMERIC", "0.0000000010", Decimal("1e-9")),
    ("NUMERIC", "1e2", Decimal(100)),
    ("NUMERIC", "1E-9", Decimal("1e-9")),
    ("NUMERIC", "1e-10", None),
    ("NUMERIC", "10e-10", Decimal("1e-9")),
    ("NUMERIC", "123456789e20", Decimal("123456789e20")),
    ("NUMERIC", "123456789e21", None),
    ("NUMERIC", f"1{ZEROS}e-200", Decimal(1)),
    ("NUMERIC", f"0.{ZEROS}1e201", Decimal(1)),
    ("NUMERIC", "0e99999999999999999999", Decimal(0)),
    ("NUMERIC", "-0e-99999999999999999999", Decimal(0)),
    ("BIGNUMERIC", f"{'9' * 38}", Decimal("9" * 38)),
    ("BIGNUMERIC", f"1{'0' * 38}", None),
    ("BIGNUMERIC", str(2**256 + 5), None),
    ("BIGNUMERIC", f"{2**256 + 5}.5", None),
    ("BIGNUMERIC", f"75.57{ZEROS}", Decimal("75.57")),
    ("BIGNUMERIC", "1e-38", Decimal("1e-38")),
    ("BIGNUMERIC", "1e-39", None),
    ("INTEGER", "0e99999999999999999999", Decimal(0)),
]


@pytest.mark.parametrize("written", ["{}", '"{}"'])
@pytest.mark.parametrize(("declared", "number", "stored"), DECIMALS)
def test_a_decimal_is_stored_exactly_or_its_line_is_bad(
    declared: str, number: str, stored: Decimal | None, written: str
) -> None:
    for path, (line, value_in) in PLACES.items():
        row = line.format(written.format(number))
        reading = read_lines(row, types={path: declared}, max_bad_lines=1)
        assert len(reading.bad_lines) == (stored is None)
        assert reading.rows == (stored is not None)
        assert [value_in(row) for row in reading.table.to_pylist()] == [stored][: reading.rows]


MILLION = 1 << 20
"""Digits; longer than the first block of a feed."""


@pytest.mark.parametrize("declared", ["NUMERIC", "BIGNUMERIC", "FLOAT", "INTEGER"])
@pytest.mark.parametrize(
    ("number", "value"),
    [
        (f"1.5{'0' * MILLION}", Decimal("1.5")),
        (f"0.{'9' * MILLION}", None),
        (f"{'9' * MILLION}", None),
        (f"{'9' * MILLION}e-{MILLION}", None),
        (f"0.{'0' * MILLION}1e{MILLION + 1}", Decimal(1)),
        (f"1e{'9' * MILLION}", None),
    ],
    ids=["zeros", "fraction", "whole", "negative exponent", "exponent", "digits of the exponent"],
)
def test_a_number_of_a_million_digits_is_stored_or_refused(
    declared: str, number: str, value: Decimal | None
) -> None:
    for text in (number, f'"{number}"'):
        reading = read_column(text, types={"c": declared}, max_bad_lines=1)
        if declared in ("NUMERIC", "BIGNUMERIC"):
            assert values_of(reading) == ([] if value is None else [value])
        assert reading.rows + len(reading.bad_lines) == 1


def test_columns_of_json_and_geography_are_named_beside_the_table() -> None:
    types = {"a": "JSON", "o.g": "GEOGRAPHY", "l.j": "json", "never": "JSON", "s": "STRING"}
    reading = read_lines('{"a":1,"o":{"g":"POINT(1 2)"},"l":[{"j":{}}],"A":2,"s":[]}', types=types)
    text_types = {"a_2": "JSON", "o.g": "GEOGRAPHY", "l.j": "JSON", "never": "JSON"}
    assert reading.types == text_types
    assert reading.frame().attrs == {"types": text_types}
    assert read_lines('{"a":1}').frame().attrs == {}


def test_a_column_known_as_json_is_not_read_as_text() -> None:
    known = [
        text_field(pa.field("a", pa.string()), "JSON"),
        pa.field("o", pa.struct([text_field(pa.field("a", pa.list_(pa.string())), "JSON")])),
        pa.field("b", pa.string()),
    ]
    reading = read_bytes(b'{"a":1,"b":1,"o":{"a":[1]}}', known=known)
    assert reading.table.to_pylist() == [{"a": 1, "b": "1", "o": {"a": [1]}}]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ('{"a":[1,18446744073709551616]}', "18446744073709551616"),
        ('[{"a":-1e999}]', "-1e999"),
    ],
)
def test_the_reason_for_a_bad_line_names_the_number_that_json_cannot_store(
    value: str, named: str
) -> None:
    reading = read_column(value, types={"c": "JSON"}, max_bad_lines=1)
    assert full_text(reading.bad_lines[0].reason) == f"has {named} in column c, declared JSON"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("JSON", ' {"a": [1, "x", null]}\n', True),
        ("JSON", '"null"', True),
        ("JSON", "null", False),  # null is not a value: None
        ("JSON", "", False),
        ("JSON", "{", False),
        ("JSON", '{"a":1,"a":2}', False),
        ("JSON", "NaN", False),
        ("JSON", "1 2", False),
        ("JSON", "18446744073709551616", False),
        ("JSON", "[" * 100_000, False),
        ("GEOGRAPHY", "POINT(1 2)", True),
        ("GEOGRAPHY", "POINT", False),
    ],
)
def test_a_text_is_valid_for_a_type_or_not(name: str, text: str, expected: bool) -> None:
    assert is_valid(name, text) is expected


def test_the_reason_names_value_column_and_type() -> None:
    with pytest.raises(BadLines) as refused:
        read_lines('{"total":1}', '{"total":"n/a"}', types={"total": "NUMERIC"})
    assert str(refused.value) == "line 2 has a value in column total that is not NUMERIC"
    sentence = 'line 2 has "n/a" in column total, declared NUMERIC: {"total":"n/a"}'
    assert full_text(refused.value.sentence) == sentence
    long = read_lines(
        "{}", f'{{"a":[{{"b":"{"x" * 999}"}}]}}', types={"a.b": "FLOAT"}, max_bad_lines=1
    )
    assert (
        full_text(long.bad_lines[0].reason) == f'has "{"x" * 39}... in column a.b, declared FLOAT'
    )
    array = read_column("[1]", types={"c": "int64"}, max_bad_lines=1)
    assert full_text(array.bad_lines[0].reason) == "has an array in column c, declared INTEGER"


def test_a_bad_line_does_not_affect_the_types() -> None:
    reading = read_lines('{"a":1,"b":1}', '{"a":"x","b":"x","z":1}', types={"a": "INTEGER"},
                         max_bad_lines=1)  # fmt: skip
    assert reading.table.to_pylist() == [{"a": 1, "b": 1}]


@pytest.mark.parametrize(
    ("types", "checked"),
    [
        ({}, {}),
        (
            {"a": "INT64", "b": "FLOAT64", "c": "BOOL"},
            {"a": "INTEGER", "b": "FLOAT", "c": "BOOLEAN"},
        ),
        ({"a.b": " numeric "}, {"a.b": "NUMERIC"}),
    ],
)
def test_type_names_are_legacy_or_standard_in_any_case(
    types: dict[str, str], checked: dict[str, str]
) -> None:
    assert parse_types(types) == checked


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (
            {"total": "MONEY"},
            "^types declares total as MONEY, which is not a type; use one of STRING, ",
        ),
        (
            {"total": None},
            "^types declares total as None, which is not a type; use one of",
        ),
        ({"": "STRING"}, "^types declares STRING for an empty path"),
        ({" ": "STRING"}, "^types declares STRING for an empty path"),
        ({"a": "STRING", "a.b": "DATE"}, r"^types declares a and also a\.b, which is inside it"),
    ],
)
def test_a_wrong_declaration_is_named(types: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_types(types)
    with pytest.raises(SettingError, match=message):
        read_lines("{}", types=types)


@made_up
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**29) + 1,
                   max_value=10**29 - 1, places=9), st.booleans())  # fmt: skip
def test_numeric_is_exact(number: Decimal, quoted: bool) -> None:
    value = f'"{number:f}"' if quoted else f"{number:f}"
    assert values_of(read_column(value, types={"c": "NUMERIC"})) == [number]


@made_up
@given(st.integers(-(10**76) + 1, 10**76 - 1), st.booleans())
def test_bignumeric_is_exact(units: int, quoted: bool) -> None:
    number = Decimal((units < 0, tuple(map(int, str(abs(units)))), -38))
    value = f'"{number:f}"' if quoted else f"{number:f}"
    assert values_of(read_column(value, types={"c": "BIGNUMERIC"})) == [number]


@made_up
@given(st.binary(max_size=9))
def test_bytes_are_stored_unchanged(data: bytes) -> None:
    value = f'"{b64encode(data).decode()}"'
    assert values_of(read_column(value, types={"c": "BYTES"})) == [data]


@made_up
@given(st.times(), st.booleans())
def test_a_time_is_stored_unchanged(at: time, twice: bool) -> None:
    values = [f'"{at.isoformat()}"'] * (1 + twice)
    assert values_of(read_column(*values, types={"c": "TIME"})) == [at] * len(values)


@made_up
@given(st.text(alphabet="0123456789+-.eE _x", max_size=8))
def test_a_number_type_stores_quoted_numbers_exactly(text: str) -> None:
    for name in ("INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC"):
        reading = read_column(f'"{text}"', types={"c": name}, max_bad_lines=1)
        for value in values_of(reading):
            assert Decimal(value) == Decimal(text) or value == float(text)
