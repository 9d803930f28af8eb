"""docs/downstream.md: its assets are materialized when the latest state is updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.system.docs.example import BY_DATE, LATEST, SHORTEST
from feed_assets_tests.system.docs.pages import page

MART = [dg.AssetKey(["mart", name]) for name in ("refunds", "totals")]


def test_the_assets_of_the_page_follow_the_latest_state(tmp_path: Path) -> None:
    written: dict[str, Any] = {"__name__": "written"}
    for block in page("downstream.md").of("python"):
        exec(block.text, written)
    warehouse = WarehouseResource(url=f"duckdb://{tmp_path / 'warehouse.duckdb'}")
    feed = Feed(**{**SHORTEST, **BY_DATE, **LATEST})
    definitions = dg.Definitions(
        [feed_asset(feed), latest_asset(feed), written["refunds"], written["totals"]],
        resources={WAREHOUSE: warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
    )

    with ephemeral_instance() as instance:
        before = dg.evaluate_automation_conditions(definitions, instance)
        instance.report_runless_asset_event(dg.AssetMaterialization(f"{feed.name}_latest"))
        after = dg.evaluate_automation_conditions(definitions, instance, cursor=before.cursor)

    assert [before.get_num_requested(key) for key in MART] == [0, 0]
    assert [after.get_num_requested(key) for key in MART] == [1, 1]
