"""BigQuery's tables: labels, descriptions, location, and properties set by others."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from google.api_core.exceptions import PreconditionFailed
from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.columns import Column, columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.client import BigQueryClient
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.store import Stored, store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import FaultProxy
from feed_assets_tests.support.storing import store_shard

DAY = date(2020, 1, 20)
ROWS = pa.table({"id": ["N1"], "total": [1.5]})
ORIGIN = Origin({"feed": "CRM_orders", "day": "2020-01-20", "team": "crm"}, "Orders of the shop.")


@pytest.fixture
def client(bigquery: Emulator) -> bigquery.Client:
    return bigquery.client()


@pytest.fixture
def warehouse(client: bigquery.Client) -> BigQueryWarehouse:
    return BigQueryWarehouse(client)


def store(
    warehouse: BigQueryWarehouse, orders: Table, rows: pa.Table = ROWS, attempt: str = "1"
) -> Stored:
    return store_shard(warehouse, orders, DAY, rows, attempt=f"{orders} {attempt}", origin=ORIGIN)


def test_a_new_table_and_its_job_say_which_feed_and_day_they_are_of(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    stored = store(warehouse, orders)

    made = client.get_table(f"{orders}_20200120")
    labels = {"feed": "crm_orders", "day": "2020-01-20", "team": "crm", "managed_by": "feed_assets"}
    assert made.labels == labels
    assert made.description == "Orders of the shop."
    assert client.get_job(str(stored.figures["job"]), location="EU").labels == labels


def test_properties_set_by_others_stay_when_a_day_is_imported_again(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    store(warehouse, orders)
    table = client.get_table(f"{orders}_20200120")
    table.description, table.friendly_name = "As of our CRM", "Orders"
    table.labels = {"owner": "wilma"}
    table.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    table.schema = [
        bigquery.SchemaField("id", "STRING", description="The order's number"),
        bigquery.SchemaField("total", "FLOAT"),
    ]
    set_ = ["description", "friendly_name", "labels", "expires", "schema"]
    client.update_table(table, set_)

    store(warehouse, orders, pa.table({"id": ["N2"], "total": [2.5], "coupon": ["X"]}), "2")

    after = client.get_table(f"{orders}_20200120")
    assert after.created == table.created
    for name in ("description", "friendly_name", "expires"):
        assert getattr(after, name) == getattr(table, name)
    assert after.labels["owner"] == "wilma"
    assert [(field.name, field.description) for field in after.schema] == [
        ("id", "The order's number"),
        ("total", None),
        ("coupon", None),
    ]


def test_shards_expire_by_the_datasets_default_and_known_columns_do_not(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    place = bigquery.Dataset(f"{client.project}.{orders.dataset}")
    place.location = "EU"
    place.default_table_expiration_ms = 400 * 24 * 3600 * 1000
    client.create_dataset(place)

    store(warehouse, orders)
    warehouse.update_latest(orders, ["id"], "total")

    shard = client.get_table(f"{orders}_20200120")
    assert shard.expires is not None
    assert timedelta(days=399) < shard.expires - datetime.now(UTC) < timedelta(days=401)
    assert client.get_table(f"{orders.columns}").expires is None
    assert client.get_table(f"{orders}").expires is None


def test_a_missing_dataset_is_made_in_the_location_of_the_warehouse(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client(location="asia-northeast1")

    store_snapshot(BigQueryWarehouse(client), orders, ROWS, attempt="1")

    assert client.get_dataset(orders.dataset).location == "asia-northeast1"


def test_an_existing_dataset_is_not_changed(
    client: bigquery.Client, warehouse: BigQueryWarehouse, orders: Table
) -> None:
    place = bigquery.Dataset(f"{client.project}.{orders.dataset}")
    place.location, place.description, place.labels = "EU", "Wilma's", {"owner": "wilma"}
    client.create_dataset(place)

    store_snapshot(warehouse, orders, ROWS, attempt="1")

    found = client.get_dataset(orders.dataset)
    assert (found.description, found.labels) == ("Wilma's", {"owner": "wilma"})


def test_the_figures_of_a_load_are_reported(warehouse: BigQueryWarehouse, orders: Table) -> None:
    figures = store(warehouse, orders).figures

    assert set(figures) == {"bytes loaded", "slot ms", "job"}
    assert str(figures["job"]).startswith("feed_assets-")


def test_an_import_fails_if_others_alter_the_table_again_and_again(
    warehouse: BigQueryWarehouse, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(warehouse, orders)

    def others_were_faster(*_: object, **__: object) -> None:
        raise PreconditionFailed("etag mismatch")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(BigQueryClient, "update", others_were_faster)
    with pytest.raises(WarehouseFailed, match="altered by others 3 times in a row") as failed:
        warehouse.alter(orders.shard(DAY), (*columns_of(ROWS.schema), Column("more", "STRING")))
    assert failed.value.transient


@pytest.mark.parametrize("rows", [1, 0])
def test_a_small_snapshot_with_a_name_to_quote_is_loaded_in_one_request(
    proxy: FaultProxy, orders: Table, rows: int
) -> None:
    """Independent of the project's rule for column names, which in the emulator is V1."""
    warehouse = BigQueryWarehouse(proxy.client())
    named = pa.table({"a b-c": ["x"]})
    store_snapshot(warehouse, orders, named, attempt="1")
    proxy.clear()

    store_snapshot(warehouse, orders, named.slice(0, rows), attempt="2")

    assert warehouse.read(orders).to_pylist() == named.slice(0, rows).to_pylist()
    assert proxy.counted()["upload"] == 1
    assert not proxy.counted()["start upload"]
