"""`table_*` in BigQuery: one query over all shards runs and sees every column and row."""

from __future__ import annotations

from datetime import date
from functools import partial
from uuid import uuid4

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feed_assets.tables import Table
from feed_assets.warehouse.bigquery import BigQueryWarehouse
from feed_assets.warehouse.columns import Columns
from feed_assets.warehouse.store import store_shard
from feed_assets_tests.emulator import Emulator

VALUES = {
    "whole": st.integers(-9, 9),
    "number": st.one_of(st.integers(-9, 9), st.just(0.5)),
    "record": st.fixed_dictionaries({}, optional={"a": st.integers(0, 9), "b": st.just("x")}),
    "list": st.lists(st.integers(0, 9), max_size=2),
    "text": st.just("x"),
}
ROWS = st.lists(st.fixed_dictionaries({}, optional=VALUES), max_size=3)
HISTORIES = st.lists(st.tuples(st.integers(1, 5), ROWS), min_size=1, max_size=7)


def table_of(rows: list[dict[str, object]], known: Columns) -> pa.Table:
    names = ["id", *VALUES] if rows else []
    identified = [{"id": str(number), **row} for number, row in enumerate(rows)]
    return pa.table({name: [row.get(name) for row in identified] for name in names})


@given(HISTORIES)
@settings(max_examples=12)
def test_whatever_comes_on_which_day_in_which_order(
    bigquery: Emulator, history: list[tuple[int, list[dict[str, object]]]]
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    orders = Table(f"crm_{uuid4().hex[:12]}", "orders")
    held: dict[int, int] = {}
    for turn, (day, values) in enumerate(history):
        stored = store_shard(
            warehouse, orders, date(2020, 1, day), partial(table_of, values), attempt=str(turn)
        )
        if stored.table:
            held[day] = len(values)
    known = warehouse.known(orders).columns
    if not known:
        return

    answer = client.query_and_wait(f"SELECT * FROM `{orders}_*`")

    assert [field.name for field in answer.schema] == [column.name for column in known]
    assert sum(1 for _ in answer) == sum(held.values())
