"""docs/querying.md: its example of an asset is stored beside the feeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feed_assets.config.feed import Feed
from feed_assets.demo import crm
from feed_assets.demo.server import serving
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset, latest_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.system.docs.example import BY_DATE, CREDENTIALS, LATEST, SHORTEST
from feed_assets_tests.system.docs.pages import page


def test_a_users_asset_is_stored_beside_the_feeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = (
        block.text for block in page("querying.md").of("python") if "@dg.asset" in block.text
    )
    written: dict[str, Any] = {"__name__": "written"}
    exec(code, written)
    warehouse = WarehouseResource(url=f"duckdb://{tmp_path / 'warehouse.duckdb'}")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    auth = {"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"}
    with serving() as url:
        declared = {**SHORTEST, **BY_DATE, **LATEST, "url": f"{url}/feed.ndjson"}
        feed = Feed(**{**declared, "basic_auth": auth})
        done = dg.materialize(
            [feed_asset(feed), latest_asset(feed), written["refunds"]],
            resources={WAREHOUSE: warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
            tags={RANGE_START: crm.FIRST.isoformat(), RANGE_END: crm.LAST.isoformat()},
        )

    assert done.success
    tables = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    refunds = tables.read(Table("mart", "refunds")).to_pylist()
    assert [(row["orderId"], row["status"]) for row in refunds] == [("N2", "refunded")]
