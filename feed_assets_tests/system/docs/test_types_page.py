"""docs/types.md: the engine does what each row of its tables states."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from feed_assets.errors import BadLines, TypeConflict
from feed_assets.ndjson.datatypes.kinds import TYPES
from feed_assets.schema.columns import Column, columns_of, with_text_types
from feed_assets.schema.table import Table
from feed_assets.schema.time_formats import DIRECTIVES, EPOCHS, FORMATTED
from feed_assets.warehouse.duckdb.schema import sql_type
from feed_assets.warehouse.schema_evolution import merge_schemas
from feed_assets_tests.system.docs.pages import code, page
from feed_assets_tests.unit.ndjson.feeds import read_column, read_lines

TYPES_PAGE = page("types.md")


def spans(cell: str) -> list[str]:
    """Contents of each code span; `` `` is the empty text."""
    return re.findall(r"`([^`]*)`", cell)


def written(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict):
        return json.dumps(value)
    return str(value)


@pytest.mark.parametrize(
    ("example", "column", "stored"),
    [row[1:] for row in TYPES_PAGE.table_under("Inferred from the data")],
    ids=[row[0] for row in TYPES_PAGE.table_under("Inferred from the data")],
)
def test_a_column_of_these_values_has_this_type(example: str, column: str, stored: str) -> None:
    reading = read_column(*spans(example))

    columns = columns_of(reading.schema)
    assert [str(each) for each in columns] == ([] if column == "none" else [column])
    if columns:
        assert [written(each) for each in reading.table["c"].to_pylist()] == spans(stored)
    else:
        assert reading.untyped == ("c",)


def test_with_empty_text_as_null_value_dates_stay_dates() -> None:
    (row,) = (row for row in TYPES_PAGE.table_under("Inferred from the data") if '`""`' in row[1])
    assert "null_values: [" in TYPES_PAGE.prose

    reading = read_column(*spans(row[1]), null_values=[""])
    assert reading.table["c"].to_pylist() == [datetime(2020, 1, 20), None]


DECLARED = TYPES_PAGE.table_under("Declared")


@pytest.mark.parametrize(("described", "takes", "refuses", "in_duckdb"), DECLARED)
def test_a_declared_type_accepts_and_refuses(
    described: str, takes: str, refuses: str, in_duckdb: str
) -> None:
    name = described.partition(":")[0]
    reading = read_column(*spans(takes), types={"c": name})
    rows = with_text_types(
        pa.Table.from_arrays(reading.table.columns, schema=reading.schema), reading.types
    )
    (column,) = columns_of(rows.schema)

    assert column.type == name
    assert sql_type(column) == in_duckdb
    for value in spans(refuses):
        with pytest.raises(BadLines, match=f"in column c that is not {name}"):
            read_column(value, types={"c": name})


FORMATS = TYPES_PAGE.table_under("Dates and times in other formats")


@pytest.mark.parametrize(("name", "time_format", "takes", "refuses", "stored"), FORMATS)
def test_a_format_accepts_and_refuses(
    name: str, time_format: str, takes: str, refuses: str, stored: str
) -> None:
    types: Any = {"c": {"type": name, "format": code(time_format)}}
    reading = read_column(*spans(takes), types=types)

    assert [each.type for each in columns_of(reading.schema)] == [name]
    assert [written(each) for each in reading.table["c"].to_pylist()] == spans(stored)
    for value in spans(refuses):
        with pytest.raises(BadLines, match=f"in column c that is not {name} {code(time_format)}"):
            read_column(value, types=types)


def test_the_page_names_every_directive() -> None:
    assert f"`{' '.join(f'%{each}' for each in DIRECTIVES)} %%`" in TYPES_PAGE.prose
    assert {row[0] for row in FORMATS} == {*FORMATTED}
    assert all(f"`{each}`" in TYPES_PAGE.prose for each in EPOCHS)


def test_the_page_lists_every_type_that_can_be_declared() -> None:
    assert {row[0].partition(":")[0] for row in DECLARED} == {each.name for each in TYPES}


def column(described: str) -> tuple[Column, ...]:
    if described == "nothing":
        return ()
    fields = (Column("id", "INTEGER"),) if "RECORD" in described else ()
    return (Column("c", described.split()[-1], repeated="REPEATED" in described, fields=fields),)


@pytest.mark.parametrize(("known", "today", "then"), TYPES_PAGE.table_under("From day to day"))
def test_a_known_column_becomes_the_type_that_the_page_states(
    known: str, today: str, then: str
) -> None:
    table = Table("crm", "orders")
    if then == "refused":
        with pytest.raises(TypeConflict):
            merge_schemas(table, column(known), column(today))
        return
    (became,) = merge_schemas(table, column(known), column(today))
    assert str(became) == (known if "field by field" in then else then.partition(",")[0])


@pytest.mark.parametrize(
    ("key", "snapshot", "shards"),
    [[*map(code, row)] for row in TYPES_PAGE.table_under("Names of columns")],
)
def test_a_key_becomes_the_name_of_a_column(key: str, snapshot: str, shards: str) -> None:
    line = json.dumps({key: 1})
    assert read_lines(line).table.column_names == [snapshot]
    assert read_lines(line, flexible_names=False).table.column_names == [shards]


def test_names_that_differ_by_case_are_numbered_by_spelling() -> None:
    reading = read_lines('{"status": 1, "Status": 2}')
    assert reading.renamed == {"status": "status_2"}
    assert "`Status` and `status_2`" in " ".join(TYPES_PAGE.prose.split())
