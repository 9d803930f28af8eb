"""The code location: the feeds in defs/ and the warehouse of the environment."""

from __future__ import annotations

import gc
import warnings
from importlib import import_module
from pathlib import Path

import dagster as dg

from feed_assets.config.collisions import check_names, check_together
from feed_assets.orchestration.alert_sensor import ImportAlerts
from feed_assets.orchestration.assets import IO_MANAGER
from feed_assets.orchestration.component import JsonFeed
from feed_assets.orchestration.component_docs import documentation
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource, warehouse_url


@dg.definitions
def defs() -> dg.Definitions:
    """Build the code location of the feeds in this package's `defs`."""
    # Not for_project: it needs a pyproject.toml, which an installed wheel lacks
    tree = dg.ComponentTree(
        defs_module=import_module("feed_assets.defs"),
        project_root=Path(__file__).parents[1],
    )
    return code_location(tree)


def code_location(tree: dg.ComponentTree) -> dg.Definitions:
    """Build the definitions of a project: assets, schedules, sensors and the warehouse.

    For a project that has feed_assets installed, pass
    `dg.ComponentTree.for_project(Path(__file__).parent)`.
    """
    gc.disable()  # definitions stay; collecting garbage in them takes a quarter of the time
    try:
        return _definitions(tree)
    finally:
        gc.freeze()
        gc.enable()


def _definitions(tree: dg.ComponentTree) -> dg.Definitions:
    warnings.filterwarnings("ignore", category=dg.BetaWarning)  # Dagster warns about its own use
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
    return dg.Definitions.merge(
        # With a path: without, Dagster imports dagster_gcp (1.7 s, 130 MB) into every process
        tree.build_defs(Path()),
        documentation(),
        dg.Definitions(
            component_tree=tree,
            executor=dg.in_process_executor,  # an import is one step; another process costs seconds
            resources={"warehouse": warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
            sensors=[
                dg.AutomationConditionSensorDefinition(
                    "latest_state",
                    target=dg.AssetSelection.all(),
                    default_status=dg.DefaultSensorStatus.RUNNING,
                    description="Updates the view of a feed's latest state when a day is imported.",
                )
            ],
        ),
    )
