"""Paths at which declared types apply."""

from __future__ import annotations

from decimal import Decimal

from feed_assets.ndjson import Reading
from feed_assets_tests.unit.ndjson.feeds import read_column, read_lines, type_of, values_of

NUMERIC = "decimal128(38, 9)"


def test_declared_paths_apply_inside_records_and_arrays_of_records() -> None:
    reading = read_lines(
        '{"items":[{"price":1.10,"n":1},{"price":"2"},null],"o":{"p":{"id":7}},"x.y":5}',
        '{"items":[],"o":null}',
        '{"items":{"price":3}}',
        types={"items.price": "NUMERIC", "o.p.id": "STRING", "x.y": "FLOAT"},
        max_bad_lines=1,
    )
    assert values_of(reading, "o")[0] == {"p": {"id": "7"}}
    assert values_of(reading, "x_y")[0] == 5.0
    assert type_of(reading, "items") == "string"  # a mixture: stored as its text in the feed
    reading = read_lines(
        '{"items":[{"price":1.10},{"price":"2"}]}', types={"items.price": "NUMERIC"}
    )
    assert values_of(reading, "items") == [[{"price": Decimal("1.1")}, {"price": Decimal(2)}]]


def test_a_declared_column_exists_even_if_no_row_has_it() -> None:
    types = {"b": "DATE", "o.x": "NUMERIC", "a": "INTEGER", "n.x": "DATE"}
    reading = read_lines('{"z":1,"a":null,"o":{}}', '{"o":{"y":true}}', types=types)
    assert str(_schema(reading)) == str(
        {"z": "int64", "a": "int64", "o": f"struct<y: bool, x: {NUMERIC}>", "b": "date32[day]"}
    )
    assert reading.untyped == ()
    assert _schema(read_lines("", types=types)) == {"b": "date32[day]", "a": "int64"}
    with_key = read_lines('{"o":{"y":null}}', types={"o.x": "DATE"})
    assert _schema(with_key) == {"o": "struct<x: date32[day]>"}
    assert _schema(read_lines('{"o":{}}', types={"o.x": "DATE"})) == {}


def _schema(reading: Reading) -> dict[str, str]:
    return {field.name: str(field.type) for field in reading.table.schema}


def test_a_declared_path_does_not_apply_inside_text() -> None:
    reading = read_column('[[{"x": "n/a"}]]', "[[]]", types={"c.x": "INTEGER"})
    assert values_of(reading) == [['[{"x": "n/a"}]'], ["[]"]]


def test_null_values_are_applied_before_declared_types() -> None:
    reading = read_column('"-"', '"5"', types={"c": "INTEGER"}, null_values=["-"])
    assert values_of(reading) == [None, 5]


def test_an_object_declared_string_beside_an_empty_array_is_stored() -> None:
    reading = read_lines('{"o":{"p":{"k": 1}}}', '{"o":[]}', types={"o.p": "STRING"})
    assert values_of(reading, "o") == [{"p": '{"k": 1}'}, None]
