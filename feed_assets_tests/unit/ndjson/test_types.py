"""The table of types: JSON seen in a column, over all rows, and what is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.ndjson.datatypes.kinds import TYPES
from feed_assets.schema.arrow_metadata import keyed_field
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.feeds import (
    made_up,
    read_bytes,
    read_column,
    read_lines,
    type_of,
    values_of,
)

DATETIME, TIMESTAMP = "timestamp[us]", "timestamp[us, tz=UTC]"


def test_the_example_of_the_readme_has_these_types() -> None:
    reading = read_lines(
        '{"createdAt":"2020-01-15","updatedAt":"2020-01-20","orderId":"N2","total":96.12}',
        '{"createdAt":"2020-01-20","updatedAt":"2020-01-20","orderId":"N3","total":299.99}',
    )
    assert [(field.name, str(field.type)) for field in reading.table.schema] == [
        ("createdAt", DATETIME),
        ("updatedAt", DATETIME),
        ("orderId", "string"),
        ("total", "double"),
    ]
    assert reading.table.to_pylist()[0] == {
        "createdAt": datetime(2020, 1, 15),
        "updatedAt": datetime(2020, 1, 20),
        "orderId": "N2",
        "total": 96.12,
    }


@pytest.mark.parametrize(
    "values",
    [
        ["null"],
        ["[]"],
        ["{}"],
        ["null", "[]", "{}"],
        ["[null]"],
        ["[[]]", "[[], [null]]"],
        ['{"x": null}'],
        ['{"x": [{}]}', "[[{}]]"],
        ['[{"x": []}]', "{}"],
        ['{"a":' * 20 + "null" + "}" * 20],
    ],
)
def test_a_column_of_nulls_and_empty_things_is_untyped(values: list[str]) -> None:
    reading = read_column(*values)
    assert type_of(reading) is None
    assert reading.untyped == ("c",)
    assert reading.rows == len(values)


SCALARS: list[tuple[list[str], str, list[Any]]] = [
    (["true", "false", "null"], "bool", [True, False, None]),
    # integers
    (["0", "-0", "7"], "int64", [0, 0, 7]),
    (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
    (["9007199254740993", "1"], "int64", [2**53 + 1, 1]),
    # other numbers, alone or with integers
    (["1.50"], "double", [1.5]),
    (["1", "2.5"], "double", [1.0, 2.5]),
    (["1e3", "12.0"], "double", [1000.0, 12.0]),
    (["9007199254740992", "0.5"], "double", [2.0**53, 0.5]),
    (["-9007199254740992", "0.5"], "double", [-(2.0**53), 0.5]),
    (["1.7976931348623157e308", "5e-324"], "double", [1.7976931348623157e308, 5e-324]),
    (["0e999", "0.000", "-0.0"], "double", [0.0, 0.0, -0.0]),
    # numbers that no type holds exactly enough
    (["9223372036854775808", "1"], "string", ["9223372036854775808", "1"]),
    (["-9223372036854775809"], "string", ["-9223372036854775809"]),
    (["9007199254740993", "0.50"], "string", ["9007199254740993", "0.50"]),
    (["-9007199254740993", "1e2"], "string", ["-9007199254740993", "1e2"]),
    (["1e309", "1"], "string", ["1e309", "1"]),
    (["-1E+400", "2.0"], "string", ["-1E+400", "2.0"]),
    (["1e-400", "0.1"], "string", ["1e-400", "0.1"]),
    (["1" * 5000], "string", ["1" * 5000]),
    (["-0", "1e400"], "string", ["-0", "1e400"]),
    # dates and times
    (['"2020-01-20"', "null"], DATETIME, [datetime(2020, 1, 20), None]),
    (
        ['"2020-01-20"', '"2020-01-20T10:11"', '"2020-01-20 10:11:12.1234567"'],
        DATETIME,
        [
            datetime(2020, 1, 20),
            datetime(2020, 1, 20, 10, 11),
            datetime(2020, 1, 20, 10, 11, 12, 123456),
        ],
    ),
    (
        ['"2020-01-20T10:00:00Z"', '"2020-01-20 10:00+05:30"', '"2020-01-20T10:00-0300"'],
        TIMESTAMP,
        [
            datetime(2020, 1, 20, 10, tzinfo=UTC),
            datetime(2020, 1, 20, 4, 30, tzinfo=UTC),
            datetime(2020, 1, 20, 13, tzinfo=UTC),
        ],
    ),
    # other strings
    (['"x"', '""', "null"], "string", ["x", "", None]),
    (['"00123"', '"7"'], "string", ["00123", "7"]),
    (['"true"', '"null"'], "string", ["true", "null"]),
    (['"2020-02-30"'], "string", ["2020-02-30"]),
    (['"20200120"'], "string", ["20200120"]),
    (['"2020-01-20"', '"n/a"'], "string", ["2020-01-20", "n/a"]),
    (
        ['"2020-01-20T10:00:00"', '"2020-01-20T10:00:00Z"'],
        "string",
        ["2020-01-20T10:00:00", "2020-01-20T10:00:00Z"],
    ),
    (['"a\\u0000b\\n\\ud83c\\udf89 \\/ é"'], "string", ["a\0b\n🎉 / é"]),
    # mixtures: a string as it is, anything else as its JSON text in the feed
    (["1.50", '"x"', '"y"'], "string", ["1.50", "x", "y"]),
    (["1", '"2"'], "string", ["1", "2"]),
    (["true", "1E2", "false"], "string", ["true", "1E2", "false"]),
    (["true", '"yes"', "null"], "string", ["true", "yes", None]),
    (["1", '"2020-01-20"'], "string", ["1", "2020-01-20"]),
    (['{"a": 1,  "b":[ ]}', "5"], "string", ['{"a": 1,  "b":[ ]}', "5"]),
    (["[1, 2.50]", '"x"'], "string", ["[1, 2.50]", "x"]),
    (["[1]", "[ ]", "5"], "string", ["[1]", None, "5"]),
    # empty objects and arrays are not values, whatever is beside them
    (["[]", "5", "{}"], "int64", [None, 5, None]),
    (["{ }", '"x"'], "string", [None, "x"]),
    (["[]", "2.5"], "double", [None, 2.5]),
    (["{}", "true"], "bool", [None, True]),
    (["[]", '"2020-01-20"'], DATETIME, [None, datetime(2020, 1, 20)]),
    (["[]", '{"a":1}', "{}"], "struct<a: int64>", [None, {"a": 1}, {"a": None}]),
    (["{}", "[1]", "[]"], "list<item: int64>", [None, [1], []]),
    (["{}", '[{"a":1}, {}, []]'], "list<item: struct<a: int64>>", [None, [{"a": 1}, {"a": None}]]),
    (["[1, {}, [], null]"], "list<item: int64>", [[1]]),
    (["[[1], [], {}]", "[[]]"], "list<item: string>", [["[1]", "[]"], ["[]"]]),
    (['{"b":[]}', '{"b":{"c":1}}'], "struct<b: struct<c: int64>>", [{"b": None}, {"b": {"c": 1}}]),
    (['[{"b":[]},{"b":{"c":1}}]'], "list<item: struct<b: struct<c: int64>>>",
     [[{"b": None}, {"b": {"c": 1}}]]),
    (['{"a":null}', "[1]", "null"], "string", ['{"a":null}', "[1]", None]),
    (['{"\\u0061" : "\\u00e9}{"}', "true"], "string", ['{"\\u0061" : "\\u00e9}{"}', "true"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "type_", "stored"), SCALARS)
def test_the_observed_kinds_of_a_column_give_its_type_and_values(
    values: list[str], type_: str, stored: list[Any]
) -> None:
    reading = read_column(*values)
    assert type_of(reading) == type_
    assert repr(values_of(reading)) == repr(stored) or values_of(reading) == stored
    assert reading.untyped == ()


def test_empty_elements_are_dropped_and_counted_like_null_elements() -> None:
    reading = read_lines('{"n":[1,{},[]],"r":[{"a":1},{},[]],"t":[[1],[],{}]}')
    assert reading.dropped_nulls == {"n": 2, "r": 1, "t": 1}


@pytest.mark.parametrize("value", ["{}", "[]", "[ ]"])
@pytest.mark.parametrize("declared", [each.name for each in TYPES])
def test_empty_objects_and_arrays_are_values_only_of_declared_text(
    declared: str, value: str
) -> None:
    reading = read_lines(
        f'{{"c":{value}}}', f'{{"o":[{{"c":{value}}}]}}', types={"c": declared, "o.c": declared}
    )
    stored = value if declared in ("STRING", "JSON") else None
    assert values_of(reading) == [stored, None]
    if stored:
        assert values_of(reading, "o") == [None, [{"c": stored}]]


@pytest.mark.parametrize("value", ["{}", "[]"])
def test_an_empty_object_or_array_is_null_in_a_column_known_as_text(value: str) -> None:
    known = [pa.field("c", pa.string())]
    reading = read_bytes(f'{{"c":{value}}}\n{{"c":{{"a": 1}}}}'.encode(), known=known)
    assert values_of(reading) == [None, '{"a": 1}']


def test_null_elements_are_dropped_and_counted_by_path() -> None:
    reading = read_lines(
        '{"tags":["a",null],"items":[{"n":[null,1,null]},null]}',
        '{"tags":[null,"b"],"items":null,"raw":[[null],[1,null]]}',
    )
    assert reading.dropped_nulls == {"tags": 2, "items": 1, "items.n": 2}
    assert values_of(reading, "raw")[1] == ["[null]", "[1,null]"]  # the text of the feed, unchanged


def test_null_values_are_null_everywhere() -> None:
    reading = read_lines(
        '{"d":"0000-00-00","n":"N\\/A","o":{"x":""},"a":["","x"],"u":"","m":"N/A"}',
        '{"d":"2020-01-20","n":5,"o":{"x":1.5},"a":[],"u":null,"m":["",1]}',
        '{"m":" "}',
        null_values=["", "N/A", "0000-00-00"],
    )
    assert reading.untyped == ("u",)
    assert reading.dropped_nulls == {"a": 1}
    assert values_of(reading, "d") == [None, datetime(2020, 1, 20), None]
    assert values_of(reading, "n") == [None, 5, None]
    assert values_of(reading, "o") == [{"x": None}, {"x": 1.5}, None]
    assert values_of(reading, "a") == [["x"], [], None]
    assert values_of(reading, "m") == [None, '["",1]', " "]


def test_a_column_known_as_text_stores_the_text_of_the_feed() -> None:
    known = pa.schema(
        [
            keyed_field("TOTAL", pa.string(), "total"),
            ("o", pa.struct([("x", pa.string()), ("y", pa.int64())])),
            ("a", pa.list_(pa.string())),
            ("r", pa.string()),
            ("u", pa.string()),
            ("n", pa.int64()),
        ]
    )
    reading = read_lines(
        '{"total":1.50,"o":{"x":true,"y":1},"a":[1.0,null],"r":{"k": 1},"u":null,"n":1}',
        known=known,
    )
    assert reading.table.to_pylist() == [
        {"TOTAL": "1.50", "o": {"x": "true", "y": 1}, "a": ["1.0"], "r": '{"k": 1}', "n": 1}
    ]
    assert reading.untyped == ("u",)


def _without_order(type_: pa.DataType) -> Any:
    if pa.types.is_struct(type_):
        return {field.name: _without_order(field.type) for field in type_}
    return [_without_order(type_.value_type)] if pa.types.is_list(type_) else str(type_)


@made_up
@given(st.lists(feeds.rows, max_size=6).flatmap(lambda rows: st.permutations(rows).map(
    lambda turned: (rows, turned)
)))  # fmt: skip
def test_the_order_of_rows_changes_no_type_and_no_name(pair: tuple[list[str], list[str]]) -> None:
    one, other = (read_lines("{}", *rows, max_bad_lines=len(rows)) for rows in pair)
    assert _without_order(pa.struct(one.table.schema)) == _without_order(
        pa.struct(other.table.schema)
    )
    assert set(one.untyped) == set(other.untyped)
    assert one.renamed == other.renamed
    assert one.dropped_nulls == other.dropped_nulls
