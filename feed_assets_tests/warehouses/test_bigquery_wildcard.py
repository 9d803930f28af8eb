"""The free check that `table_*` answers."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery as google

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import FaultProxy, refused
from feed_assets_tests.support.storing import store_shard

DAYS = [date(2020, 1, day) for day in (1, 2)]
ROWS = pa.table({"id": ["N1"], "total": [1], "lines": [[{"price": 1}]]})
KEY = google.EncryptionConfiguration("projects/p/locations/eu/keyRings/r/cryptoKeys/k")


@pytest.fixture
def client(bigquery: Emulator) -> google.Client:
    return bigquery.client()


@pytest.fixture
def orders(client: google.Client, dataset: str) -> Table:
    """Shards of two days."""
    table = Table(dataset, "orders")
    for day in DAYS:
        store_shard(BigQueryWarehouse(client), table, day, ROWS, attempt=str(day))
    return table


def problem(client: google.Client, orders: Table) -> str | None:
    warehouse = BigQueryWarehouse(client)
    return warehouse.wildcard_problem(orders, warehouse.known(orders).columns)


def test_a_wildcard_that_can_be_queried_takes_one_call_and_has_no_problem(
    proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    columns = warehouse.known(orders).columns
    proxy.clear()
    assert warehouse.wildcard_problem(orders, columns) is None
    (call,) = proxy.calls
    assert call.job["configuration"]["dryRun"]


def view(client: google.Client, orders: Table) -> None:
    client.query_and_wait(f"CREATE VIEW `{orders}_mine` AS SELECT 1 AS a")


def renamed(client: google.Client, orders: Table) -> None:
    client.query_and_wait(f"ALTER TABLE `{orders.shard(DAYS[0])}` RENAME COLUMN total TO sum")


def row_policy(client: google.Client, orders: Table) -> None:
    client.query_and_wait(
        f"CREATE ROW ACCESS POLICY mine ON `{orders.shard(DAYS[0])}` "
        f"GRANT TO ('user:test@example.com') FILTER USING (TRUE)"
    )


def key(client: google.Client, orders: Table) -> None:
    shard = client.get_table(str(orders.shard(DAYS[0])))
    shard.encryption_configuration = KEY
    client.update_table(shard, ["encryption_configuration"])


def tag(client: google.Client, orders: Table) -> None:
    shard = client.get_table(str(orders.shard(DAYS[0])))
    shard.resource_tags = {"p/env": "prod"}
    client.update_table(shard, ["resource_tags"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (view, "Views cannot be queried through prefix"),
        (renamed, "a renamed column"),
        (row_policy, "row access policies"),
        (key, "a customer-managed encryption key"),
        (tag, "all tables must have the same tags"),
    ],
)
def test_the_reason_a_wildcard_cannot_be_queried_is_named(
    client: google.Client, orders: Table, change: Any, reason: str
) -> None:
    change(client, orders)
    found = problem(client, orders) or ""
    assert found.startswith(f"{orders}_* cannot be queried: ")
    assert reason in found


def test_columns_that_are_missing_or_of_another_type_in_a_wildcard_are_named(
    client: google.Client, orders: Table
) -> None:
    field = google.SchemaField
    lines = field("lines", "RECORD", "REPEATED", fields=[field("a", "DATE")])
    shard = f"{client.project}.{orders.shard(date(2020, 1, 3))}"
    client.create_table(google.Table(shard, [field("id", "STRING"), lines]))
    assert problem(client, orders) == f"{orders}_* lacks total and lacks lines.price"


def test_more_tables_than_a_query_can_read_are_not_a_problem(
    proxy: FaultProxy, orders: Table
) -> None:
    message = "Too many tables and views for query: Max: 1000"
    proxy.on("insert job", refused(400, "invalidQuery", message))
    assert problem(proxy.client(), orders) is None


def test_a_warehouse_that_refuses_the_check_raises_its_error(
    proxy: FaultProxy, orders: Table
) -> None:
    proxy.on("insert job", refused(403, "accessDenied", "no permission bigquery.jobs.create"))
    with pytest.raises(WarehouseFailed, match="BigQuery Job User"):
        problem(proxy.client(), orders)
