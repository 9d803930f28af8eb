"""A day costs the same calls to BigQuery, however many days there were before."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pyarrow as pa
import pytest
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery import Table as Shard

from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import FaultProxy
from feed_assets_tests.support.storing import store_shard

FIRST = date(2020, 1, 1)
LOAD = {"upload": 1}  # in one request, and then polling: here the job is done at once
ROWS = pa.table({"id": ["N1"], "at": ["2020-01-01"], "n": [1]})

ORIGIN = Origin(columns={"id": "The order's number."})


def import_day(proxy: FaultProxy, orders: Table, number: int, rows: pa.Table) -> Counter[str]:
    """The calls of one import, by a client that has made none before."""
    proxy.clear()
    day = FIRST + timedelta(days=number)
    warehouse = BigQueryWarehouse(proxy.client())
    store_shard(warehouse, orders, day, rows, attempt=f"{orders} {number} {id(rows)}")
    return proxy.counted()


def stand(bigquery: Emulator, orders: Table, days: range, *kinds: str) -> None:
    """Create shards of these days, with `n` of these types in turn."""
    client = bigquery.client()
    for number in days:
        kind = kinds[number % len(kinds)]
        columns = [("id", "STRING"), ("at", "STRING"), ("n", kind)]
        shard = f"{client.project}.{orders.shard(FIRST + timedelta(days=number))}"
        client.create_table(Shard(shard, [SchemaField(*column) for column in columns]))


@pytest.mark.parametrize("before", [10, 1100])  # a query reads 1,000 tables at most
def test_a_day_takes_four_calls_after_ten_days_and_after_many(
    bigquery: Emulator, proxy: FaultProxy, orders: Table, before: int
) -> None:
    import_day(proxy, orders, 0, ROWS)
    stand(bigquery, orders, range(1, before), "INTEGER")

    # get the known columns, get the table, load it, record the known columns
    assert import_day(proxy, orders, before, ROWS) == {"get table": 3, **LOAD}
    assert import_day(proxy, orders, 0, ROWS.slice(0, 0)) == {"get table": 3, **LOAD}

    # a new column is recorded before the load; after it, that all shards have it
    more = ROWS.append_column("coupon", pa.array(["X"]))
    assert import_day(proxy, orders, before + 1, more) == {
        "get table": 3,
        "update table": 2,
        **LOAD,
    }


@pytest.mark.parametrize("before", [5, 25])
def test_the_latest_state_takes_the_same_calls_after_few_days_and_after_many(
    bigquery: Emulator, proxy: FaultProxy, orders: Table, before: int
) -> None:
    def update() -> Counter[str]:
        proxy.clear()
        BigQueryWarehouse(proxy.client()).update_latest(orders, ["id"], "at")
        return proxy.counted()

    import_day(proxy, orders, 0, ROWS)
    stand(bigquery, orders, range(1, before), "INTEGER")
    update()
    import_day(proxy, orders, 1, ROWS)

    # known columns, view and table twice, ledger, columns of the shard; the shards, then ledger
    # and shards before and after the script
    assert update() == {"get table": 7, "query": 5, "insert job": 1, "get results": 2}
    assert update() == {"get table": 6, "query": 3}


def test_descriptions_of_columns_need_no_further_call(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    def import_described(number: int) -> Counter[str]:
        proxy.clear()
        store_shard(
            BigQueryWarehouse(proxy.client()),
            orders,
            FIRST + timedelta(days=number),
            ROWS,
            attempt=f"{orders} {number}",
            origin=ORIGIN,
        )
        return proxy.counted()

    def define() -> Counter[str]:
        proxy.clear()
        BigQueryWarehouse(proxy.client()).update_latest(orders, ["id"], "at", origin=ORIGIN)
        return proxy.counted()

    import_described(0)
    assert import_described(1) == {"get table": 3, **LOAD}
    # the view is described once, and then only looked at
    define()
    assert define() == {"get table": 8, "query": 3}


def test_only_shards_that_are_to_be_widened_are_altered(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    import_day(proxy, orders, 40, ROWS)
    stand(bigquery, orders, range(40), "INTEGER", "FLOAT", "FLOAT", "FLOAT")
    fraction = ROWS.set_column(2, "n", pa.array([1.5]))

    calls = import_day(proxy, orders, 41, fraction)

    client = bigquery.client()
    altered = [call for call in proxy.calls if b"ALTER TABLE" in call.body]
    assert len(altered) == 11  # ten of the older shards, and the one imported before
    assert calls["query"] == 12  # with one that finds them
    assert all(
        {f.name: f.field_type for f in client.get_table(f"{orders.shard(day)}").schema}["n"]
        == "FLOAT"
        for day in (FIRST, FIRST + timedelta(days=4), FIRST + timedelta(days=40))
    )
