"""Rows as NDJSON for BigQuery: each value as its type is loaded, whatever is in it."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.schema.columns import Column, Columns, arrow_schema
from feed_assets.schema.datatypes import BY_NAME
from feed_assets.warehouse.bigquery import ndjson_file
from feed_assets_tests.unit.ndjson.feeds import made_up


def written(columns: Columns, rows: list[dict[str, Any]]) -> list[str]:
    file = io.BytesIO()
    table = pa.Table.from_pylist(rows, arrow_schema(columns))
    ndjson_file.write(table.to_reader(), columns, file)
    return file.getvalue().decode().splitlines()


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("BOOLEAN", True, "true"),
        ("INTEGER", -(2**63), '"-9223372036854775808"'),
        ("FLOAT", 0.1, "0.1"),
        ("FLOAT", 1e308, "1e+308"),
        ("FLOAT", float("nan"), '"NaN"'),
        ("FLOAT", float("-inf"), '"-Infinity"'),
        ("NUMERIC", Decimal("1e-9"), '"0.000000001"'),
        ("NUMERIC", Decimal(100), '"100"'),
        ("BIGNUMERIC", Decimal("-1.50"), '"-1.5"'),
        ("STRING", 'ä\\"\n\x00\u2028', '"\\u00e4\\\\\\"\\n\\u0000\\u2028"'),
        ("STRING", 'ä\\"', '"ä\\\\\\""'),
        ("BYTES", b"\x00\xff", '"AP8="'),
        ("DATE", date(1, 1, 1), '"0001-01-01"'),
        ("TIME", time(1, 2, 3, 4), '"01:02:03.000004"'),
        ("DATETIME", datetime(1, 1, 1), '"0001-01-01 00:00:00.000000"'),
        ("TIMESTAMP", datetime(1960, 1, 1, tzinfo=UTC), '"1960-01-01 00:00:00.000000Z"'),
        ("JSON", '{"a":\n1.50,\r\n"b": "\\n"}', '{"a": 1.50,  "b": "\\n"}'),
        ("GEOGRAPHY", '{"type":"Point"}', '"{\\"type\\":\\"Point\\"}"'),
    ],
)
def test_a_value_has_the_same_json_in_every_place(kind: str, value: Any, text: str) -> None:
    one, many = Column("c", kind), Column("l", kind, repeated=True)
    columns = (one, many, Column("r", "RECORD", fields=(one,)),
               Column("rs", "RECORD", repeated=True, fields=(one, many)))  # fmt: skip
    row = {"c": value, "l": [value, value], "r": {"c": value}, "rs": [{"c": value, "l": [value]}]}

    (line,) = written(columns, [row])

    assert line == (
        f'{{"c":{text},"l":[{text},{text}],"r":{{"c":{text}}},"rs":[{{"c":{text},"l":[{text}]}}]}}'
    )


def test_a_missing_value_is_null_and_a_missing_array_is_empty() -> None:
    one, many = Column("c", "INTEGER"), Column("l", "STRING", repeated=True)
    columns = (one, many, Column("r", "RECORD", fields=(one, many)), Column("name ü", "JSON"))
    rows: list[dict[str, Any]] = [{}, {"r": {}}, {"l": []}]
    nothing = '"l":[],"r":null,"name \\u00fc":null}'

    assert written(columns, rows) == [
        f'{{"c":null,{nothing}',
        '{"c":null,"l":[],"r":{"c":null,"l":[]},"name \\u00fc":null}',
        f'{{"c":null,{nothing}',
    ]
    assert written(columns, []) == []


def test_only_json_columns_need_an_ndjson_file() -> None:
    for kind in BY_NAME:
        inside = Column("r", "RECORD", repeated=True, fields=(Column("c", kind),))
        assert ndjson_file.is_needed((Column("c", kind),)) is (kind == "JSON")
        assert ndjson_file.is_needed((inside,)) is (kind == "JSON")


@made_up
@given(st.lists(st.text(max_size=9) | st.none(), min_size=1, max_size=4), st.floats())
def test_the_written_json_has_the_same_values(texts: list[str | None], number: float) -> None:
    columns = (Column("s", "STRING"), Column("f", "FLOAT"))
    file = io.BytesIO()
    rows = pa.Table.from_pylist([{"s": s, "f": number} for s in texts], arrow_schema(columns))
    ndjson_file.write(rows.to_reader(), columns, file)

    found = [json.loads(line, parse_int=float) for line in file.getvalue().split(b"\n")[:-1]]

    assert [row["s"] for row in found] == texts
    assert {repr(float(row["f"])) for row in found} == {repr(number)}
