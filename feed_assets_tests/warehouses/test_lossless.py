"""Every value of the feed can be read back: from the frame, Parquet and both warehouses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings

from feed_assets.importing.dataframes import to_arrow
from feed_assets.ndjson import Reading
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery import parquet_file
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.examples import TIMES
from feed_assets_tests.unit.ndjson import feeds
from feed_assets_tests.unit.ndjson.declared_feeds import declared_feed, readings
from feed_assets_tests.unit.ndjson.declared_values import NAMES
from feed_assets_tests.unit.ndjson.feeds import made_up, read_bytes
from feed_assets_tests.unit.ndjson.oracle import expected

HARD = rb"""{"id":"00123","big":9007199254740993,"far":9223372036854775808,"total":0.1,"at":"2020-01-20"}
{"id":"\u0000 \"\\\/ \ud83c\udf89 \u2028","big":-9223372036854775808,"far":1,"total":1e308,"at":null}
{"id":"","big":null,"far":-0,"total":-0.0,"at":"0001-01-01T00:00"}
{"mix":1.50,"zoned":"2020-01-20T23:59:59.9999999-05:30","yes":true,"tags":["a",null,""],"deep":[[1, 2]]}
{"mix":"1.50","zoned":"1969-12-31T23:59:59.000001Z","yes":false,"tags":[],"deep":[{"k" : [1.0]}]}
{"mix":{"a" : [1e2, "x"]},"c":{"d":{"e":5e-324,"f":null}},"items":[{"sku":"A","n":1},{"n":2.5},{}]}
{"mix":true,"c":{"d":{"f":"x"}},"items":[],"u":{},"n":null,"name with \u00fc":1,"NAME with \u00fc":2}
{"mix":null,"c":null,"items":null,"tags":null,"at":"9999-12-31 23:59:59.999999"}
"""  # noqa: E501  (a row is a line)


def expected_rows(data: bytes) -> list[dict[str, Any]]:
    return [_plain(row) for row in expected(data).rows]


def _plain(value: Any) -> Any:
    """Remove empty arrays and objects, which BigQuery cannot store."""
    if isinstance(value, dict):
        fields = {key: _plain(each) for key, each in value.items()}
        return {key: each for key, each in fields.items() if each not in (None, [], {})}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.replace(tzinfo=UTC) if getattr(value, "tzinfo", None) is not None else value


def as_in(warehouse: Warehouse, value: Any) -> Any:
    """The value as that warehouse has it: DuckDB's file keeps no sign of a zero."""
    if isinstance(value, dict):
        return {key: as_in(warehouse, each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_in(warehouse, each) for each in value]
    is_zero = isinstance(value, float) and value == 0
    return 0.0 if is_zero and isinstance(warehouse, DuckDBWarehouse) else value


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    """repr, so that -0.0 is not 0.0 and true is not 1."""
    return sorted(repr(sorted(row.items())) for row in rows)


def test_every_value_is_in_the_frame_unchanged() -> None:
    frame = read_bytes(HARD).frame()
    assert [_plain(row) for row in to_arrow(frame).to_pylist()] == expected_rows(HARD)


@made_up
@given(feeds.feeds)
def test_every_value_is_in_parquet_unchanged(data: bytes) -> None:
    reading = read_bytes(data, max_bad_lines=len(data))
    assume(reading.table.num_columns)
    rows = [_plain(row) for row in _through_parquet(reading)]
    assert repr(rows) == repr(expected_rows(data))


def test_the_hard_values_are_in_parquet_unchanged() -> None:
    assert repr([_plain(row) for row in _through_parquet(read_bytes(HARD))]) == repr(
        expected_rows(HARD)
    )


def _through_parquet(reading: Reading) -> list[dict[str, Any]]:
    file = io.BytesIO()
    parquet_file.write(reading.table.to_reader(), file)
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def test_every_value_is_in_the_table_unchanged(warehouse: Warehouse, dataset: str) -> None:
    table = Table(dataset, "orders")
    store_snapshot(warehouse, table, to_arrow(read_bytes(HARD).frame()), attempt="1")
    stored = [_plain(row) for row in read_table(warehouse, table).to_pylist()]
    assert in_order(stored) == in_order(as_in(warehouse, expected_rows(HARD)))


@pytest.fixture
def numbers() -> Iterator[int]:
    return iter(range(10**6))


@settings(made_up, max_examples=15 * TIMES, suppress_health_check=list(HealthCheck))
@given(data=feeds.feeds)
def test_every_value_of_any_feed_is_in_the_table(
    warehouse: Warehouse, dataset: str, numbers: Iterator[int], data: bytes
) -> None:
    reading = read_bytes(data, max_bad_lines=len(data))
    assume(reading.table.num_columns)
    number = next(numbers)
    table = Table(dataset, f"orders{number}")
    with warehouse:
        store_snapshot(warehouse, table, to_arrow(reading.frame()), attempt=str(number))
    stored = [_plain(row) for row in read_table(warehouse, table).to_pylist()]
    assert in_order(stored) == in_order(as_in(warehouse, expected_rows(data)))


@pytest.mark.parametrize("name", [each for each in NAMES if each not in ("JSON", "GEOGRAPHY")])
def test_every_value_of_a_declared_type_is_in_the_table(
    warehouse: Warehouse, dataset: str, name: str
) -> None:
    for seed in range(3):  # as a column, in objects, in arrays of objects
        feed = declared_feed(name, seed, 300)
        read, _ = readings(feed)
        table = Table(dataset, f"{name.lower()}{seed}")
        with warehouse:
            store_snapshot(warehouse, table, to_arrow(read.frame()), attempt="1")
        stored = [_plain(row) for row in read_table(warehouse, table).to_pylist()]
        want = [_plain(row) for row in read.table.to_pylist()]
        assert in_order(stored) == in_order(as_in(warehouse, want))
