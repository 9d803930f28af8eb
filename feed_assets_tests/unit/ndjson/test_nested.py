"""The table of types, nested: records, arrays, and where they become text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from feed_assets_tests.unit.ndjson.feeds import read_column, type_of, values_of

DATETIME = "timestamp[us]"
DEEP = 16


NESTED: list[tuple[list[str], str, list[Any]]] = [
    (['{"x":1,"y":"a"}', "null"], "struct<x: int64, y: string>", [{"x": 1, "y": "a"}, None]),
    (['{"x":1}', "{}"], "struct<x: int64>", [{"x": 1}, {"x": None}]),
    (['{"x":1}', '{"x":0.5,"y":true}'], "struct<x: double, y: bool>", [
        {"x": 1.0, "y": None},
        {"x": 0.5, "y": True},
    ]),
    (['{"x":1,"n":null}'], "struct<x: int64>", [{"x": 1}]),
    (['{"x":{"y":"2020-01-20"}}'], f"struct<x: struct<y: {DATETIME}>>", [
        {"x": {"y": datetime(2020, 1, 20)}}
    ]),
    (['{"x":1}', '{"x":"a"}'], "struct<x: string>", [{"x": "1"}, {"x": "a"}]),
    # arrays
    (["[1,2]", "[]", "null"], "list<item: int64>", [[1, 2], [], None]),
    (["[1]", "[0.5]"], "list<item: double>", [[1.0], [0.5]]),
    (["[1,null,2]", "[null]"], "list<item: int64>", [[1, 2], []]),
    (['[1.50,"x",true,{"a": 1}]'], "list<item: string>", [["1.50", "x", "true", '{"a": 1}']]),
    (['[{"x":1},{"y":"b"},{}]'], "list<item: struct<x: int64, y: string>>", [
        [{"x": 1, "y": None}, {"x": None, "y": "b"}, {"x": None, "y": None}]
    ]),
    (['{"t":["a",null]}'], "struct<t: list<item: string>>", [{"t": ["a"]}]),
    (['["2020-01-20"]', '["n/a"]'], "list<item: string>", [["2020-01-20"], ["n/a"]]),
    # an array directly inside an array is text
    (["[[1, 2],[3]]"], "list<item: string>", [["[1, 2]", "[3]"]]),
    (["[[1],2]"], "list<item: string>", [["[1]", "2"]]),
    (["[[1],null,[null]]"], "list<item: string>", [["[1]", "[null]"]]),
    (['[[{"a" :1}]]'], "list<item: string>", [['[{"a" :1}]']]),
    (["[[[]]]", "[[[ 1 ]]]"], "list<item: string>", [["[[]]"], ["[[ 1 ]]"]]),
    (['[{"m":[[1]]}]'], "list<item: struct<m: list<item: string>>>", [[{"m": ["[1]"]}]]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "type_", "stored"), NESTED)
def test_objects_are_records_and_arrays_are_repeated(
    values: list[str], type_: str, stored: list[Any]
) -> None:
    reading = read_column(*values)
    assert type_of(reading) == type_
    assert values_of(reading) == stored


def test_an_object_at_the_sixteenth_level_is_stored_as_text() -> None:
    inner = '{ "x":1.50}'
    for level in (DEEP - 1, DEEP):
        value = '{"o":' * (level - 1) + inner + "}" * (level - 1)
        stored = values_of(read_column(value))[0]
        for _ in range(level - 1):
            stored = stored["o"]
        assert stored == ({"x": 1.5} if level < DEEP else inner)


def test_arrays_do_not_count_as_levels() -> None:
    value = '[{"o":' * 15 + "1" + "}]" * 15
    found = read_column(value).table.schema.field("c").type
    for _ in range(15):
        found = found.value_type.field("o").type
    assert found == pa.int64()


def test_objects_without_values_at_the_sixteenth_level_are_untyped() -> None:
    reading = read_column('{"t":1,"o":' + '{"o":' * 14 + '{"x":null}' + "}" * 15)
    assert type_of(reading) == "struct<t: int64>"
    assert reading.untyped == ("c.o",)
