"""The definitions of a project with feeds: its own, and those of any other Dagster project."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg

from feed_assets.config.collisions import check_names, check_together
from feed_assets.orchestration.alert_sensor import ImportAlerts
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE
from feed_assets.orchestration.component import JsonFeed
from feed_assets.orchestration.component_docs import documentation
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource, warehouse_url


def code_location(tree: dg.ComponentTree) -> dg.Definitions:
    """Build the definitions of a component tree, with the warehouse that its feeds need.

    For a project that has feed_assets installed, pass
    `dg.ComponentTree.for_project(Path(__file__).parent)`. Merge the result with definitions of
    your own (`dg.Definitions.merge`). It sets no executor, and changes nothing of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster warns about its own use
        return _definitions(tree)


def _definitions(tree: dg.ComponentTree) -> dg.Definitions:
    for place, declared in tree.find_root_decl().iterate_loc_component_decl_pairs():
        # Without this, Dagster 1.13 searches all declarations for each of them
        tree.state_tracker.set_cache_data(place, component_decl=declared)
    components = tree.get_all_components(of_type=JsonFeed)
    alerts = tree.get_all_components(of_type=ImportAlerts)
    check_names("feeds", [(component.feed.name, component.file) for component in components])
    check_names("alerts", [(component.alerts.name, component.file) for component in alerts])
    feeds = [component.feed for component in components]
    check_together(feeds, wildcards=warehouse_url().startswith("bigquery:"))
    warehouse = WarehouseResource()
    latest = [dg.AssetKey(f"{feed.name}_latest") for feed in feeds if feed.has_latest]
    return dg.Definitions.merge(
        # With a path: without, Dagster imports dagster_gcp (1.7 s, 130 MB) into every process
        tree.build_defs(Path()),
        documentation(),
        dg.Definitions(
            component_tree=tree,
            resources={WAREHOUSE: warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
            sensors=[_latest_state_sensor(latest)] if latest else [],
        ),
    )


def _latest_state_sensor(assets: list[dg.AssetKey]) -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "latest_state",
        target=dg.AssetSelection.assets(*assets),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Updates the latest state of a feed when a day is imported.",
    )
