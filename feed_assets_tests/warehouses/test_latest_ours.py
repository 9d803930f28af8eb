"""The latest state never replaces a view or a table of somebody else."""

from __future__ import annotations

import pytest
from google.cloud import bigquery as bigquery_client

from feed_assets.errors import NotOurs
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.latest_orders import (
    DAYS,
    N1,
    N2,
    rows,
    rows_of,
    sql,
    store,
    update,
)


def test_somebody_elses_view_is_never_replaced(warehouse: Warehouse, orders: Table) -> None:
    """Our view has a label in BigQuery and a comment in DuckDB; somebody else's has neither."""
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)
    sql(warehouse, f"DROP VIEW {orders}")
    sql(warehouse, f"CREATE VIEW {orders} AS SELECT 'mine' AS status FROM {orders.shard(DAYS[0])}")

    store(warehouse, orders, DAYS[1], [N2])
    with pytest.raises(NotOurs, match=rf"{orders} \(view\)"):
        update(warehouse, orders)

    assert rows_of(warehouse, orders) == [{"status": "mine"}]


@pytest.mark.parametrize("name", ["latest", "ledger"])
def test_somebody_elses_table_is_never_changed(
    name: str, warehouse: Warehouse, orders: Table
) -> None:
    if isinstance(warehouse, DuckDBWarehouse) and name == "ledger":
        name = "latest"  # the ledger is in the schema feed_assets
    table: Table = getattr(orders, name)
    store(warehouse, orders, DAYS[0], [N1])
    sql(warehouse, f"CREATE TABLE {table} AS SELECT 'mine' AS status")

    with pytest.raises(NotOurs, match=rf"{table} \(table\) was not made by feed_assets"):
        update(warehouse, orders)

    assert rows_of(warehouse, table) == [{"status": "mine"}]
    assert warehouse.columns(orders) is None


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("materialized view", "CREATE MATERIALIZED VIEW `{0}` AS SELECT status FROM `{1}`"),
        ("snapshot", "CREATE SNAPSHOT TABLE `{0}` CLONE `{1}`"),
    ],
)
def test_other_kinds_of_tables_in_bigquery_are_never_replaced(
    bigquery: Emulator, orders: Table, kind: str, statement: str
) -> None:
    warehouse = BigQueryWarehouse(bigquery.client())
    store(warehouse, orders, DAYS[0], [N1])
    bigquery.client().query_and_wait(statement.format(orders, orders.shard(DAYS[0])))

    with pytest.raises(NotOurs, match=rf"{orders} \({kind}\)"):
        update(warehouse, orders)


def test_our_view_of_an_earlier_version_is_replaced(warehouse: Warehouse, orders: Table) -> None:
    """In BigQuery it was over the wildcard, in DuckDB over views of months and years."""
    store(warehouse, orders, DAYS[0], [N1, N2])
    if isinstance(warehouse, BigQueryWarehouse):
        view = bigquery_client.Table(f"test-project.{orders}")
        view.view_query = f"SELECT * FROM `test-project.{orders}_*`"
        view.labels = {"managed_by": "feed_assets"}
        warehouse._client.create_table(view)
    else:
        day, month = DAYS[0], f'feed_assets."{orders}.{DAYS[0]:%Y%m}"'
        year, whole = f'feed_assets."{orders}.{day:%Y}"', f'feed_assets."{orders}"'
        for name, of in [
            (month, orders.shard(day)),
            (year, month),
            (whole, year),
            (orders, whole),
        ]:
            sql(warehouse, f"CREATE VIEW {name} AS SELECT * FROM {of}")
            sql(warehouse, f"COMMENT ON VIEW {name} IS 'Kept by feed_assets 0123'")

    update(warehouse, orders)
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)

    assert rows_of(warehouse, orders) == rows([N1])
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            left = run.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        assert left == [("orders",)]
