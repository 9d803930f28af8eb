"""The example by date, imported through Dagster into BigQuery."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
import pytest

from feed_assets.config.feed import Feed
from feed_assets.demo import crm
from feed_assets.demo.server import PASSWORD, USERNAME, serving
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.dagster.instances import ephemeral_instance

DAYS = {RANGE_START: crm.FIRST.isoformat(), RANGE_END: crm.LAST.isoformat()}


def test_the_example_gives_the_same_rows_in_bigquery_and_in_duckdb(
    bigquery: Emulator, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    monkeypatch.setenv("CRM_USER", USERNAME)
    monkeypatch.setenv("CRM_PASSWORD", PASSWORD)
    warehouse = WarehouseResource(url="bigquery://test-project?location=EU")
    with serving() as url, ephemeral_instance() as instance:
        feed = Feed(
            name="crm_orders",
            url=f"{url}/feed.ndjson",
            basic_auth={"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"},
            dataset=dataset,
            table="orders",
            partition_by_date={"start_date": "2020-01-10"},
            key=["orderId"],
            updated_at="updatedAt",
        )
        job = dg.Definitions(
            [feed_asset(feed), latest_asset(feed)],
            resources={
                WAREHOUSE: warehouse,
                IO_MANAGER: WarehouseIOManager(warehouse=warehouse),
            },
        ).resolve_implicit_global_asset_job_def()
        for name, tags in (("crm_orders", DAYS), ("crm_orders_latest", {})):
            keys = [dg.AssetKey(name)]
            job.execute_in_process(instance=instance, asset_selection=keys, tags=tags)

    client = bigquery.client()
    latest = client.query_and_wait(f"SELECT * FROM `{dataset}.orders` ORDER BY orderId")
    assert [(field.name, field.field_type) for field in latest.schema] == [
        ("createdAt", "DATETIME"),
        ("updatedAt", "DATETIME"),
        ("orderId", "STRING"),
        ("currency", "STRING"),
        ("total", "FLOAT"),
        ("status", "STRING"),
        ("userId", "STRING"),
    ]
    assert [(row["orderId"], row["updatedAt"], row["status"]) for row in latest] == [
        ("N1", datetime(2020, 1, 15), "delivered"),
        ("N2", datetime(2020, 1, 20), "refunded"),
        ("N3", datetime(2020, 1, 20), "received"),
    ]
    shards = client.query_and_wait(
        f"SELECT _TABLE_SUFFIX AS day, COUNT(*) AS n FROM `{dataset}.orders_*` GROUP BY day"
    )
    assert {row["day"]: row["n"] for row in shards} == {
        "20200110": 1,
        "20200115": 2,
        "20200120": 2,
    }
