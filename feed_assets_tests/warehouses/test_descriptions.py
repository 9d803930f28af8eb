"""Descriptions of columns: in the tables of both warehouses, and in the view."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
from google.cloud import bigquery

from feed_assets.schema.arrow_metadata import keyed_field
from feed_assets.schema.columns import Column, columns_of, described
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.storing import store_shard

DAY = date(2020, 1, 20)
ROWS = pa.table(
    {
        "order_id": ["N1"],
        "at": [1],
        "customer": [{"id": "U1", "name": "Wilma"}],
        "payload": ['{"a": 1}'],
    },
    schema=pa.schema(
        [
            keyed_field("order_id", pa.string(), "order-id"),
            pa.field("at", pa.int64()),
            pa.field("customer", pa.struct([("id", pa.string()), ("name", pa.string())])),
            Column("payload", "JSON").arrow_field,
        ]
    ),
)

DESCRIPTIONS = {
    "order-id": "The shop's number of it; it's 'N' and digits.",
    "customer": "Who ordered.",
    "customer.id": "The CRM's number of them.",
    "payload": "What the shop sent.",
    "mistyped": "Never sent.",
}
IN_BIGQUERY = {
    "order_id": DESCRIPTIONS["order-id"],
    "customer": "Who ordered.",
    "customer.id": "The CRM's number of them.",
    "payload": "What the shop sent.",
}


def store(
    warehouse: Warehouse, orders: Table, descriptions: Mapping[str, str], attempt: str = "1"
) -> None:
    store_shard(
        warehouse,
        orders,
        DAY,
        ROWS,
        attempt=f"{orders} {attempt}",
        origin=Origin(columns=descriptions),
    )


def in_bigquery(client: bigquery.Client, table: str) -> dict[str, str]:
    found = {}
    for field in client.get_table(table).schema:
        found[field.name] = field.description
        found |= {f"{field.name}.{inner.name}": inner.description for inner in field.fields}
    return {path: text for path, text in found.items() if text}


def in_duckdb(path: Path, table: str) -> dict[str, str]:
    with duckdb.connect(str(path)) as run:
        rows = run.execute(
            "SELECT column_name, comment FROM duckdb_columns() "
            "WHERE comment IS NOT NULL AND table_name = ?",
            [table],
        ).fetchall()
    return dict(rows)


def test_a_description_is_found_by_the_path_in_the_feed_or_else_in_the_table() -> None:
    columns = columns_of(ROWS.schema)
    assert described(columns, DESCRIPTIONS) == IN_BIGQUERY
    assert described(columns, {"order_id": "x"}) == {"order_id": "x"}


def test_bigquerys_tables_and_view_have_the_columns_descriptions(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)

    store(warehouse, orders, DESCRIPTIONS)
    store_snapshot(
        warehouse,
        Table(orders.dataset, "now"),
        ROWS,
        attempt=f"{orders} 2",
        origin=Origin(columns=DESCRIPTIONS),
    )
    origin = Origin(description="The newest of each.", columns=DESCRIPTIONS)
    warehouse.update_latest(orders, ["order-id"], "at", origin=origin)

    assert in_bigquery(client, f"{orders}_20200120") == IN_BIGQUERY
    assert in_bigquery(client, f"{orders.dataset}.now") == IN_BIGQUERY
    assert in_bigquery(client, f"{orders}") == IN_BIGQUERY
    assert client.get_table(f"{orders}").description == "The newest of each."


def test_descriptions_made_in_bigquery_stay_unless_the_yaml_has_one(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    store(warehouse, orders, {"customer": "Who ordered."})

    store(warehouse, orders, {"at": "When.", "customer": "Who has ordered."}, "2")
    store(warehouse, orders, {}, "3")

    found = in_bigquery(client, f"{orders}_20200120")
    assert found == {"at": "When.", "customer": "Who has ordered."}


def test_the_view_gets_new_descriptions(bigquery: Emulator, orders: Table) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    store(warehouse, orders, {})
    warehouse.update_latest(orders, ["order-id"], "at")

    warehouse.update_latest(orders, ["order-id"], "at", origin=Origin(columns={"at": "When."}))

    assert in_bigquery(client, f"{orders}") == {"at": "When."}


def test_duckdbs_columns_have_comments_and_keep_their_types(tmp_path: Path, orders: Table) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path)

    for attempt in ("1", "2"):
        store(warehouse, orders, DESCRIPTIONS, attempt)
        warehouse.update_latest(orders, ["order-id"], "at", origin=Origin(columns=DESCRIPTIONS))

    comments = {
        "order_id": DESCRIPTIONS["order-id"],
        "customer": "Who ordered.\nid: The CRM's number of them.",
        "payload": 'What the shop sent.\n{"": "JSON"}',
    }
    assert in_duckdb(path, "orders_20200120") == comments
    assert in_duckdb(path, "orders") == comments
    for table in (orders.shard(DAY), orders):
        types = {column.name: column.type for column in warehouse.columns(table) or ()}
        assert types["payload"] == "JSON"


def test_a_duckdb_shard_that_gets_a_column_keeps_its_comments(
    tmp_path: Path, orders: Table
) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path)
    store(warehouse, orders, DESCRIPTIONS)
    before = in_duckdb(path, "orders_20200120")

    with_more = (*columns_of(ROWS.schema), Column("more", "JSON"))
    warehouse.alter(orders.shard(DAY), with_more)

    assert in_duckdb(path, "orders_20200120") == before | {"more": '{"": "JSON"}'}


def test_a_duckdb_column_that_gets_a_field_keeps_its_comment(tmp_path: Path, orders: Table) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path)
    record = Column("customer", "RECORD", fields=(Column("raw", "JSON"),))
    rows = pa.table({"customer": [{"raw": "{}"}]}, schema=pa.schema([record.arrow_field]))
    with warehouse:
        store_shard(
            warehouse,
            orders,
            DAY,
            rows,
            attempt="1",
            origin=Origin(columns={"customer": "Who ordered."}),
        )

    wider = Column("customer", "RECORD", fields=(*record.fields, Column("id", "STRING")))
    warehouse.alter(orders.shard(DAY), (wider,))

    comment = 'Who ordered.\n{"raw": "JSON"}'
    assert in_duckdb(path, "orders_20200120") == {"customer": comment}
    assert warehouse.columns(orders.shard(DAY)) == (wider,)
