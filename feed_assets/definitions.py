"""Where it is all put together: the feeds in defs/, the warehouse that the environment names."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import dagster as dg

from feed_assets.collisions import check_together
from feed_assets.orchestration.assets import IO_MANAGER
from feed_assets.orchestration.component import JsonFeed
from feed_assets.orchestration.documented import documentation
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.warehouse import WarehouseResource, warehouse_url


@dg.definitions
def defs() -> dg.Definitions:
    """The code location: every feed's assets and schedules, and what stores them."""
    gc.disable()  # what is declared stays, so looking for garbage in it is a quarter of the time
    try:
        return _location()
    finally:
        gc.freeze()
        gc.enable()


def _location() -> dg.Definitions:
    warnings.filterwarnings("ignore", category=dg.BetaWarning)  # of Dagster, about its own parts
    tree = dg.ComponentTree.for_project(Path(__file__).parent)
    for place, declared in tree.find_root_decl().iterate_loc_component_decl_pairs():
        # Else Dagster (1.13) walks through all that is declared to find each of them
        tree.state_tracker.set_cache_data(place, component_decl=declared)
    feeds = [component.feed for component in tree.get_all_components(of_type=JsonFeed)]
    check_together(feeds, wildcards=warehouse_url().startswith("bigquery:"))
    warehouse = WarehouseResource()
    return dg.Definitions.merge(
        # Of a path, as the whole tree would import dagster_gcp (1.7 s, 130 MB) into every process
        tree.build_defs(Path()),
        documentation(),
        dg.Definitions(
            component_tree=tree,
            executor=dg.in_process_executor,  # an import is one step; a process more costs seconds
            resources={"warehouse": warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
            sensors=[
                dg.AutomationConditionSensorDefinition(
                    "latest_state",
                    target=dg.AssetSelection.all(),
                    default_status=dg.DefaultSensorStatus.RUNNING,
                    description="Makes the view of a feed's latest state when a day is imported.",
                )
            ],
        ),
    )
